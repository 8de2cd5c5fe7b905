//! Trees whose packages are unpacked and not configured: what is noted in them, and finishing them where their
//! programs run.

use super::database;
use super::error::BuildError;
use super::guards::Guards;
use super::layer::Changed;
use super::layout::Tree;
use super::normalise;
use crate::configure::{self, ConfigureError, Preinst, Runner};
use crate::error::At;
use crate::event::{Event, Observer, Phase};
use crate::unpack::Diversions;
use jaula_plan::names::{Arch, PackageName};
use jaula_plan::spec::hook::{Hook, HookAction};
use jaula_plan::spec::rootfs::ImageOptions;
use jaula_plan::spec::settings::Settings;
use jaula_sys::tree::Dir;
use std::path::Path;
use std::time::Instant;

/// Where a tree says that it is unfinished, and how it is finished. A shell can read it: a word and its values a line.
pub const FILE: &str = "var/lib/jaula/unfinished";
/// The directory it is in, which goes with it.
const DIR: &str = "var/lib/jaula";
/// The first line.
const HEAD: &str = "jaula unfinished 1";
/// Longest note, in bytes: a line of some dozen for each package.
const LIMIT: usize = 4 << 20;

/// What is noted in an unfinished tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// What its programs are for.
    pub arch: Arch,
    /// No time in the tree is later: seconds since 1970 (SOURCE_DATE_EPOCH).
    pub epoch: i64,
    /// The scripts that run first, in this order (deb-preinst(5)).
    pub preinsts: Vec<Preinst>,
}

impl Unfinished {
    /// Its text.
    pub fn text(&self) -> String {
        let mut text = format!("{HEAD}\narch {}\nepoch {}\n", self.arch, self.epoch);
        for preinst in &self.preinsts {
            let (package, arch, name) = (&preinst.package, &preinst.arch, &preinst.info_name);
            text.push_str(&format!("preinst {package} {arch} {name}\n"));
        }
        text
    }

    /// Reads it: a tree may come from anywhere, so every name is checked.
    ///
    /// # Errors
    /// The line that makes no sense.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(text.lines().next().unwrap_or_default().to_owned());
        }
        let (mut arch, mut epoch, mut preinsts) = (None, None, Vec::new());
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let refused = || line.to_owned();
            match words.as_slice() {
                ["arch", word] => arch = Some(word.parse().map_err(|_| refused())?),
                ["epoch", word] => epoch = Some(word.parse().map_err(|_| refused())?),
                ["preinst", package, of, info_name] => {
                    preinsts.push(preinst(package, of, info_name).ok_or_else(refused)?);
                }
                _ => return Err(refused()),
            }
        }
        match (arch, epoch) {
            (Some(arch), Some(epoch)) => Ok(Self {
                arch,
                epoch,
                preinsts,
            }),
            _ => Err("arch and epoch are missing".to_owned()),
        }
    }
}

/// Refuses what would have to run programs of the image.
///
/// # Errors
/// [`BuildError::NothingRuns`].
pub(super) fn needs_nothing(options: &ImageOptions) -> Result<(), BuildError> {
    let inside = |hook: &Hook| matches!(hook.action, HookAction::Inside { .. });
    // These are files, and nothing runs to write them.
    let of_programs = Settings {
        apt_options: Vec::new(),
        dpkg_options: Vec::new(),
        options_name: None,
        sources_list: None,
        ..options.settings.clone()
    };
    let what = if of_programs != Settings::default() {
        "a setting"
    } else if options.hooks.iter().any(inside) {
        "a hook"
    } else {
        return Ok(());
    };
    Err(BuildError::NothingRuns { what })
}

fn preinst(package: &str, arch: &str, info_name: &str) -> Option<Preinst> {
    package.parse::<PackageName>().ok()?;
    if arch != "all" {
        arch.parse::<Arch>().ok()?;
    }
    // `NAME` or `NAME:ARCH`, as dpkg calls the files in `info/`.
    let of_it = info_name == package || info_name.strip_prefix(package)?.strip_prefix(':')? == arch;
    of_it.then(|| Preinst {
        package: package.to_owned(),
        arch: arch.to_owned(),
        info_name: info_name.to_owned(),
    })
}

/// Notes in a tree what is left to do.
pub(super) fn leave(tree: &Tree<'_>, unfinished: &Unfinished) -> Result<(), BuildError> {
    tree.make_dirs(DIR, 0o755)?;
    Ok(tree.write(FILE, 0o644, unfinished.text().as_bytes())?)
}

/// What a tree says of itself; none when it is no unfinished one.
///
/// # Errors
/// The note cannot be read or makes no sense.
pub fn note(root: &Path) -> Result<Option<Unfinished>, BuildError> {
    if !jaula_sys::beneath::is_there(root, FILE) {
        return Ok(None);
    }
    let bytes = jaula_sys::beneath::read_in_root(root, FILE, LIMIT)
        .map_err(std::io::Error::other)
        .at("read", root.join(FILE))?;
    let text = String::from_utf8_lossy(&bytes);
    Unfinished::parse(&text)
        .map(Some)
        .map_err(|line| BuildError::Unfinished { line })
}

/// Runs what is left to be run in a tree, and takes the note out; how many bytes the tree has on disk.
pub(super) fn complete(
    shown: &Path,
    unfinished: &Unfinished,
    runner: Runner<'_>,
    observer: &dyn Observer,
) -> Result<u64, BuildError> {
    let root = Dir::open(shown).at("open", shown)?;
    let tree = Tree::new(&root, shown, unfinished.epoch);
    let started = Instant::now();
    let items = database::installed(&tree)?.len() as u64;
    observer.event(Event::Started {
        phase: Phase::Configure,
        items,
        bytes: 0,
    });
    let seconds = u64::try_from(unfinished.epoch).unwrap_or(0);
    let mut guards = Guards::default();
    guards.place(&tree, true)?;
    let preinsts = &unfinished.preinsts;
    let mut configure = || -> Result<(), BuildError> {
        if diverting(&tree, preinsts)? {
            configure::run(shown, preinsts, false, seconds, runner, observer)?;
            give_back(&root, &tree)?;
            configure::run(shown, &[], true, seconds, runner, observer)?;
        } else {
            configure::run(shown, preinsts, true, seconds, runner, observer)?;
        }
        let left = database::unfinished(shown, &tree)?;
        match left.is_empty() {
            true => Ok(()),
            false => Err(ConfigureError::Unfinished { packages: left }.into()),
        }
    };
    let done = configure();
    // The tree is its owner's: what stands in it for the scripts goes, however they ended.
    let removed = guards.remove(&tree);
    done?;
    removed?;
    tree.remove(FILE)?;
    // Somebody else may keep something there.
    drop(tree.remove_dir(DIR));
    tree.own_apt()?;
    observer.event(Event::Finished {
        phase: Phase::Configure,
        items,
        bytes: 0,
        millis: super::plan::millis(started),
    });
    normalise::normalise(&root, shown, &tree, unfinished.epoch, &Changed::new())
}

/// Whether a preinst may divert something.
fn diverting(tree: &Tree<'_>, preinsts: &[Preinst]) -> Result<bool, BuildError> {
    for preinst in preinsts {
        let path = format!("var/lib/dpkg/info/{}.preinst", preinst.info_name);
        let script = tree.read(&path)?.unwrap_or_default();
        if script.windows(11).any(|window| window == b"dpkg-divert") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives packages back what they moved away themselves: a preinst that diverts another package's file moves what has
/// the name, and by now that is the package's own.
fn give_back(root: &Dir, tree: &Tree<'_>) -> Result<(), BuildError> {
    use std::os::unix::ffi::OsStrExt;
    let diversions = Diversions::parse(&tree.read_text("var/lib/dpkg/diversions")?)?;
    if diversions.is_empty() {
        return Ok(());
    }
    let mut lists = Vec::new();
    for package in database::installed(tree)? {
        let list = database::list(tree, &package.info_name)?;
        lists.push((package.name, list));
    }
    for (from, to, by) in diversions.iter() {
        let has = |(_, list): &&(String, Vec<Vec<u8>>)| {
            list.iter()
                .any(|line| line.strip_prefix(b"/") == Some(from))
        };
        let owners: Vec<&str> = lists
            .iter()
            .filter(has)
            .map(|(name, _)| name.as_str())
            .collect();
        let (from, to) = (
            Path::new(std::ffi::OsStr::from_bytes(from)),
            Path::new(std::ffi::OsStr::from_bytes(to)),
        );
        if owners != [by] {
            continue;
        }
        let open = |path: &Path| {
            let dir = path.parent().unwrap_or(Path::new(""));
            let name = path.file_name().unwrap_or_default();
            let name = std::ffi::CString::new(name.as_bytes()).map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>((root.open_beneath(dir)?, name))
        };
        let (Ok((from_dir, from_name)), Ok((to_dir, to_name))) = (open(from), open(to)) else {
            continue;
        };
        if from_dir.stat(&from_name).is_err() && to_dir.stat(&to_name).is_ok() {
            to_dir
                .rename(&to_name, &from_dir, &from_name)
                .at("rename", Path::new("/").join(to))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let unfinished = Unfinished {
            arch: "arm64".parse().unwrap(),
            epoch: 1_700_000_000,
            preinsts: vec![
                preinst("dash", "arm64", "dash").unwrap(),
                preinst("libc6", "arm64", "libc6:arm64").unwrap(),
                preinst("init-system-helpers", "all", "init-system-helpers").unwrap(),
            ],
        };
        assert_eq!(Unfinished::parse(&unfinished.text()), Ok(unfinished));
    }

    #[test]
    fn a_note_that_names_other_files_is_refused() {
        let note =
            |line: &str| Unfinished::parse(&format!("{HEAD}\narch amd64\nepoch 0\n{line}\n"));
        assert!(note("preinst a-b amd64 a-b").is_ok());
        for line in [
            "preinst a-b amd64 ../../../bin/sh",
            "preinst a-b amd64 other",
            "preinst ../a amd64 ../a",
            "preinst a-b amd64 a-b:i386",
            "preinst a-b ../x a-b:../x",
            "preinst a-b amd64",
            "preinst  a-b amd64 a-b",
            "run sh",
        ] {
            assert_eq!(note(line), Err(line.to_owned()));
        }
        assert!(Unfinished::parse("").is_err());
        assert!(Unfinished::parse(HEAD).is_err());
    }
}
