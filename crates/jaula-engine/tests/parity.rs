//! Images have the same files as mmdebstrap(1) and debootstrap(8) make, file by file: kind, mode, owner, size, content,
//! link targets, extended attributes and hard links, apart from the lists of [`EXPLAINED`] and [`DEBOOTSTRAP`]. Times
//! are not compared: ours are never later than the archive.
//!
//! What the reference tools made is kept as a listing by the archive's index, so that it is made once. The pairs that
//! take long to make run when `JAULA_TEST_FULL` is set, or when their listings are there.
#![allow(
    clippy::disallowed_methods,
    reason = "a test starts the reference tools, and looks into its environment"
)]

use jaula_engine::{Config, Dry, Engine, Silent};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec, Variant};
use jaula_plan::spec::source::SourceOptions;
use jaula_sys::tree::{Dir, file_xattrs};
use jaula_testkit::mirror::{self, MirrorWish, cache_dir, make_mirror};
use jaula_testkit::{Server, skip};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Paths that differ from every tool's, and why. With a slash at the end: everything below.
const EXPLAINED: &[(&str, &str)] = &[
    (
        "dev/",
        "no device nodes: a build needs no right to make any, and a jail has a fresh /dev",
    ),
    (
        "etc/hostname",
        "not the host's: an image is the same wherever it is made",
    ),
    (
        "etc/resolv.conf",
        "not the host's: an image is the same wherever it is made",
    ),
    (
        "etc/group-",
        "what was before the last change tells only of the order of the run",
    ),
    (
        "etc/gshadow-",
        "what was before the last change tells only of the order of the run",
    ),
    (
        "etc/passwd-",
        "what was before the last change tells only of the order of the run",
    ),
    (
        "etc/shadow-",
        "what was before the last change tells only of the order of the run",
    ),
    (
        "var/cache/debconf/config.dat-old",
        "what was before the last change tells only of the order of the run",
    ),
    (
        "var/cache/debconf/templates.dat-old",
        "what was before the last change tells only of the order of the run",
    ),
    (
        "var/lib/dpkg/diversions-old",
        "what was before the last change tells only of the order of the run",
    ),
    (
        "var/lib/dpkg/status-old",
        "what was before the last change tells only of the order of the run",
    ),
];

/// Paths in which debootstrap differs from mmdebstrap too, and why.
const DEBOOTSTRAP: &[(&str, &str)] = &[
    ("debootstrap/", "its own working directory"),
    ("proc", "its own mount point"),
    ("sys", "its own mount point"),
    ("run/", "what is in /run of one boot only"),
    ("tmp/", "what one run left"),
    (
        "var/cache/apt/",
        "it keeps the packages and APT's caches; an image has them in the store",
    ),
    (
        "var/lib/apt/",
        "it keeps package lists, and marks nothing as automatic",
    ),
    ("var/log/", "logs tell of one run"),
    ("var/cache/ldconfig/aux-cache", "inode numbers of one run"),
    (
        "var/lib/dpkg/arch",
        "dpkg has the native architecture without it",
    ),
    (
        "var/lib/dpkg/available",
        "what dselect would read; APT does not",
    ),
    (
        "var/lib/dpkg/cmethopt",
        "what dselect would read; APT does not",
    ),
    (
        "var/lib/dpkg/methods/",
        "what dselect would read; APT does not",
    ),
    ("var/lib/dpkg/lock", "made by whoever locks first"),
    ("var/lib/dpkg/lock-frontend", "made by whoever locks first"),
    ("var/lib/dpkg/parts", "dpkg makes it when it needs it"),
    (
        "var/lib/dpkg/statoverride-old",
        "what was before the last change",
    ),
    (
        "var/lib/dpkg/available-old",
        "what was before the last change",
    ),
    ("etc/fstab", "a comment by another program"),
    ("etc/hosts", "the host's, copied"),
    ("etc/apt/sources.list", "written in another form"),
    (
        "etc/machine-id",
        "empty in an image that is used on several machines",
    ),
];

/// Names that are one file in the package, in an image and in what debootstrap makes, and two after mmdebstrap, which
/// unpacks essential packages twice.
const SPLIT: [&str; 2] = ["usr/bin/gunzip", "usr/bin/uncompress"];

/// Files whose parts come in another order, because everything is unpacked before anything is configured; and what
/// their parts are separated by. The order of configuring numbers system users and groups, too, and it is another in
/// each tool: they are compared by their names.
const REORDERED: [(&str, &str); 7] = [
    ("etc/group", "\n"),
    ("etc/gshadow", "\n"),
    ("etc/passwd", "\n"),
    ("etc/shadow", "\n"),
    ("etc/shells", "\n"),
    ("var/lib/apt/extended_states", "\n\n"),
    ("var/lib/dpkg/status", "\n\n"),
];

/// A line of a listing for each path.
type Listing = BTreeMap<String, String>;

/// Kind, mode, owner, size, content or target, attributes, and the first of its names of everything in a tree.
fn listing(root: &Path, mirror: &str, tool: Tool) -> Listing {
    let (users, groups) = (names(root, "etc/passwd"), names(root, "etc/group"));
    let named = |names: &BTreeMap<u32, String>, id: u32| {
        names.get(&id).cloned().unwrap_or_else(|| id.to_string())
    };
    let mut found = Listing::new();
    let mut inodes: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        let at = Dir::open(&dir).unwrap();
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let name = CString::new(path.file_name().unwrap().as_bytes()).unwrap();
            let short = path.strip_prefix(root).unwrap().display().to_string();
            let (user, group) = (named(&users, meta.uid()), named(&groups, meta.gid()));
            let mut line = format!("{:o} {user} {group}", meta.mode());
            if meta.is_dir() {
                open.push(path.clone());
                attributes(&mut line, at.dir(&name).unwrap());
            } else if meta.is_symlink() {
                write!(line, " -> {:?}", std::fs::read_link(&path).unwrap()).unwrap();
            } else if meta.is_file() {
                let content = canonical(&short, std::fs::read(&path).unwrap(), mirror, tool);
                write!(
                    line,
                    " {} {}",
                    content.len(),
                    hex(&Sha256::digest(&content))
                )
                .unwrap();
                attributes(&mut line, at.read(&name).unwrap());
                inodes.entry(meta.ino()).or_default().push(short.clone());
            } else {
                write!(line, " device {:x}", meta.rdev()).unwrap();
            }
            found.insert(short, line);
        }
    }
    for names in inodes.values_mut().filter(|names| names.len() > 1) {
        names.sort();
        for name in names.iter() {
            let line = found.get_mut(name).unwrap();
            write!(line, " = {}", names[0]).unwrap();
        }
    }
    found
}

/// Numbers and names of a tree's own users or groups.
fn names(root: &Path, file: &str) -> BTreeMap<u32, String> {
    let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
    let name = |line: &str| {
        let mut fields = line.split(':');
        Some((
            fields.clone().nth(2)?.parse().ok()?,
            fields.next()?.to_owned(),
        ))
    };
    text.lines().filter_map(name).collect()
}

/// A line of passwd(5) or group(5) with the numbers of system users and groups left out.
fn unnumbered(line: &str) -> String {
    let fields = line.split(':').map(|field| match field.parse::<u32>() {
        Ok(100..1000) => "N",
        _ => field,
    });
    fields.collect::<Vec<_>>().join(":")
}

fn attributes(line: &mut String, file: impl std::os::fd::AsFd) {
    for (key, value) in file_xattrs(file).unwrap() {
        write!(line, " {key:?}={}", hex(&value)).unwrap();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Content with what may come in any order in one order, and without the address of the test's server.
fn canonical(path: &str, content: Vec<u8>, mirror: &str, tool: Tool) -> Vec<u8> {
    if path == "etc/apt/sources.list" {
        return String::from_utf8(content)
            .unwrap()
            .replace(mirror, "MIRROR")
            .into_bytes();
    }
    let Some((_, separator)) = REORDERED.iter().find(|(known, _)| path == *known) else {
        return content;
    };
    let mut text = String::from_utf8(content).unwrap();
    if path == "var/lib/dpkg/status" && tool == Tool::Debootstrap {
        // It fills `available` before it unpacks, and dpkg then takes the archive's priorities; APT leaves a package its
        // own, and so do we.
        let lines = text.lines().filter(|line| !line.starts_with("Priority: "));
        text = lines.map(|line| format!("{line}\n")).collect();
    }
    let numbered = ["etc/group", "etc/passwd"].contains(&path);
    let parts = text.trim_end().split(separator);
    let mut parts: Vec<String> = match numbered {
        true => parts.map(unnumbered).collect(),
        false => parts.map(str::to_owned).collect(),
    };
    parts.sort_unstable();
    parts.join(separator).into_bytes()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Mmdebstrap,
    Debootstrap,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Mmdebstrap => "mmdebstrap",
            Self::Debootstrap => "debootstrap",
        }
    }

    fn explained(self, path: &str) -> bool {
        let more = if self == Self::Debootstrap {
            DEBOOTSTRAP
        } else {
            &[]
        };
        EXPLAINED.iter().chain(more).any(|(known, _)| {
            path == *known
                || (known.ends_with('/')
                    && (path.starts_with(known) || path == known.trim_end_matches('/')))
        })
    }
}

/// The archive that all is made from.
struct Archive {
    suite: &'static str,
    dir: PathBuf,
    server: Server,
}

impl Archive {
    fn new(suite: &'static str, variant: Variant) -> anyhow::Result<Self> {
        let wish = MirrorWish {
            suite: suite.into(),
            variant: match variant {
                Variant::Important => mirror::Variant::Important,
                _ => mirror::Variant::Minbase,
            },
            include: match variant {
                Variant::Buildd => vec!["build-essential".into(), "apt".into()],
                _ => Vec::new(),
            },
            ..MirrorWish::default()
        };
        let dir = cache_dir()?.join(format!("mirror-{suite}"));
        make_mirror(&dir, &wish)?;
        let server = Server::start(&dir)?;
        Ok(Self { suite, dir, server })
    }

    fn keyring(&self) -> PathBuf {
        self.dir.join("keyring.gpg")
    }

    /// What `tool` makes: the kept listing, or one that is made now.
    fn reference(&self, tool: Tool, variant: Variant, epoch: u64) -> anyhow::Result<Listing> {
        let place = self.place(tool, variant)?;
        if let Ok(text) = std::fs::read_to_string(&place) {
            return Ok(serde_json::from_str(&text)?);
        }
        let dir = tempfile::tempdir()?;
        let tree = dir.path().join("tree");
        // debootstrap mounts things; the host's mounts stay as they are.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", tool.name()]);
        let keyring = format!("--keyring={}", self.keyring().display());
        match tool {
            Tool::Mmdebstrap => command
                .args(["--quiet", "--mode=root", "--architectures=amd64"])
                .arg(format!("--variant={variant}")),
            Tool::Debootstrap => {
                if variant != Variant::Important {
                    command.arg(format!("--variant={variant}"));
                }
                // By itself it leaves /usr of a build chroot of bookworm apart, as no installed system has it.
                command.args(["--arch=amd64", "--merged-usr"])
            }
        };
        let made = command
            .args([&keyring, self.suite])
            .arg(&tree)
            .arg(self.server.url())
            .env("SOURCE_DATE_EPOCH", epoch.to_string())
            .output()?;
        anyhow::ensure!(
            made.status.success(),
            "{}: {}{}",
            tool.name(),
            String::from_utf8_lossy(&made.stdout),
            String::from_utf8_lossy(&made.stderr)
        );
        let listing = listing(&tree, &self.server.url(), tool);
        anyhow::ensure!(listing.len() > 4000, "a real tree: {}", listing.len());
        let aside = place.with_extension(format!("{}", std::process::id()));
        std::fs::create_dir_all(place.parent().unwrap_or(&place))?;
        std::fs::write(&aside, serde_json::to_vec_pretty(&listing)?)?;
        std::fs::rename(&aside, &place)?;
        Ok(listing)
    }

    /// By all that the outcome depends on: the archive, the tool, and how it is listed here.
    fn place(&self, tool: Tool, variant: Variant) -> anyhow::Result<PathBuf> {
        let release = std::fs::read(self.dir.join(format!("dists/{}/InRelease", self.suite)))?;
        let version = Command::new(tool.name()).arg("--version").output()?.stdout;
        let mut hash = Sha256::new();
        hash.update(b"listing 2");
        hash.update(&release);
        hash.update(&version);
        let name = format!(
            "{}-{}-{variant}-{}",
            tool.name(),
            self.suite,
            hex(&hash.finalize()[..8])
        );
        Ok(cache_dir()?.join("references").join(name))
    }

    /// The image's listing, and the time that nothing in it is later than.
    fn ours(&self, tool: Tool, variant: Variant) -> (Listing, u64) {
        let dir = tempfile::tempdir().unwrap();
        // debootstrap knows no alternatives: it takes what is in its list.
        let exclude = match tool {
            Tool::Debootstrap => vec!["usrmerge".parse().unwrap()],
            Tool::Mmdebstrap => Vec::new(),
        };
        let spec = ImageSpec {
            distro: "debian".parse().unwrap(),
            suite: Some(self.suite.parse().unwrap()),
            options: ImageOptions {
                arch: Some("amd64".parse().unwrap()),
                variant,
                exclude,
                sources: SourceOptions {
                    mirror: Some(self.server.url()),
                    keyrings: vec![self.keyring()],
                    ..SourceOptions::default()
                },
                ..ImageOptions::default()
            },
        };
        let engine = Engine::open(Config::new(dir.path().join("store"))).unwrap();
        let plan = engine
            .plan_image(&spec, &Silent, Dry::MayCache)
            .unwrap_or_else(|error| panic!("{error}"));
        let image = engine
            .image(&plan, &Silent)
            .unwrap_or_else(|error| panic!("{error}"));
        (
            listing(image.root(), &self.server.url(), tool),
            plan.epoch(),
        )
    }
}

/// Compares a pair; why it cannot, if so.
fn compare(suite: &'static str, tool: Tool, variant: Variant, heavy: bool) -> Result<(), String> {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Err("only root's build has the same owners as root's reference tools".into());
    }
    let name = tool.name();
    if Command::new(name).arg("--version").output().is_err() {
        return Err(format!("no {name} on this host"));
    }
    let full = std::env::var_os("JAULA_TEST_FULL").is_some();
    let mirrored = cache_dir()
        .ok()
        .map(|dir| dir.join(format!("mirror-{suite}/dists/{suite}/InRelease")))
        .is_some_and(|release| release.is_file());
    // Of a second release the smallest is enough, when its listing is kept.
    let large = suite != "bookworm" && variant != Variant::Minbase;
    if heavy && !full && (large || !mirrored) {
        return Err("takes minutes; JAULA_TEST_FULL=1 runs it".into());
    }
    let archive = Archive::new(suite, variant).map_err(|error| format!("no mirror: {error:#}"))?;
    let place = archive
        .place(tool, variant)
        .map_err(|error| error.to_string())?;
    if heavy && !full && !place.is_file() {
        return Err(format!(
            "takes minutes, and no listing of {name} is kept yet; JAULA_TEST_FULL=1 runs it"
        ));
    }
    let (ours, epoch) = archive.ours(tool, variant);
    let theirs = archive
        .reference(tool, variant, epoch)
        .unwrap_or_else(|error| panic!("{error:#}"));
    let mut differ = Vec::new();
    let one = |path: &str, line: &str| -> String {
        let split = tool == Tool::Mmdebstrap && SPLIT.contains(&path);
        let kept = line.split(" = ").next().filter(|_| split).unwrap_or(line);
        // Since trixie a timer is enabled by systemd's presets or by its package's script, whichever is configured first,
        // and the script goes by another name of the same directory.
        kept.replace(" -> \"/lib/systemd/", " -> \"/usr/lib/systemd/")
    };
    for path in ours
        .keys()
        .chain(theirs.keys())
        .filter(|path| !tool.explained(path))
    {
        match (ours.get(path), theirs.get(path)) {
            (Some(a), Some(b)) if one(path, a) == one(path, b) => {}
            (Some(a), Some(b)) => differ.push(format!("{path}: {a} here, {b} there")),
            (Some(_), None) => differ.push(format!("{path}: only here")),
            (None, _) => differ.push(format!("{path}: only there")),
        }
    }
    differ.sort();
    differ.dedup();
    assert!(differ.is_empty(), "{suite} {name} {variant}: {differ:#?}");
    Ok(())
}

fn pair(suite: &'static str, tool: Tool, variant: Variant, heavy: bool) {
    if let Err(reason) = compare(suite, tool, variant, heavy) {
        skip!("{reason}");
    }
}

#[test]
fn minbase_is_what_mmdebstrap_makes() {
    pair("bookworm", Tool::Mmdebstrap, Variant::Minbase, false);
}

#[test]
fn minbase_is_what_debootstrap_makes() {
    pair("bookworm", Tool::Debootstrap, Variant::Minbase, true);
}

#[test]
fn apt_is_what_mmdebstrap_makes() {
    pair("bookworm", Tool::Mmdebstrap, Variant::Apt, true);
}

#[test]
fn important_is_what_mmdebstrap_makes() {
    pair("bookworm", Tool::Mmdebstrap, Variant::Important, true);
}

#[test]
fn important_is_what_debootstrap_makes() {
    pair("bookworm", Tool::Debootstrap, Variant::Important, true);
}

#[test]
fn buildd_is_what_mmdebstrap_makes() {
    pair("bookworm", Tool::Mmdebstrap, Variant::Buildd, true);
}

#[test]
fn buildd_is_what_debootstrap_makes() {
    pair("bookworm", Tool::Debootstrap, Variant::Buildd, true);
}

#[test]
fn trixie_minbase_is_what_mmdebstrap_makes() {
    pair("trixie", Tool::Mmdebstrap, Variant::Minbase, true);
}

#[test]
fn trixie_minbase_is_what_debootstrap_makes() {
    pair("trixie", Tool::Debootstrap, Variant::Minbase, true);
}

#[test]
fn trixie_apt_is_what_mmdebstrap_makes() {
    pair("trixie", Tool::Mmdebstrap, Variant::Apt, true);
}

#[test]
fn trixie_important_is_what_mmdebstrap_makes() {
    pair("trixie", Tool::Mmdebstrap, Variant::Important, true);
}

#[test]
fn trixie_important_is_what_debootstrap_makes() {
    pair("trixie", Tool::Debootstrap, Variant::Important, true);
}

#[test]
fn trixie_buildd_is_what_mmdebstrap_makes() {
    pair("trixie", Tool::Mmdebstrap, Variant::Buildd, true);
}

#[test]
fn trixie_buildd_is_what_debootstrap_makes() {
    pair("trixie", Tool::Debootstrap, Variant::Buildd, true);
}
