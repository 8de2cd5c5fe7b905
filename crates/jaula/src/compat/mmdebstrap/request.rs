//! From mmdebstrap's words to what the engine is asked for.

use super::hooks::{self, Told};
use super::mirrors::{self, Mirrors};
use super::options::{Asked, Loudness};
use super::voice::Voice;
use crate::compat::debootstrap::own_arch;
use crate::compat::making;
use jaula_engine::ImagePlan;
use jaula_plan::names::Arch;
use jaula_plan::rootfs::Families;
use jaula_plan::spec::hook::{Hook, HookAction, HookStage};
use jaula_plan::spec::rootfs::{AptTraces, Guard, ImageOptions, ImageSpec, Variant, Want};
use jaula_plan::spec::settings::{PathRule, Settings};
use std::path::{Path, PathBuf};
use std::str::FromStr;

const VARIANTS: [&str; 11] = [
    "extract",
    "custom",
    "essential",
    "apt",
    "required",
    "minbase",
    "buildd",
    "important",
    "debootstrap",
    "-",
    "standard",
];
const MODES: [&str; 5] = ["auto", "root", "unshare", "fakechroot", "chrootless"];
const FORMATS: [&str; 7] = [
    "auto",
    "directory",
    "tar",
    "squashfs",
    "ext2",
    "ext4",
    "null",
];

/// The files of options in the tree, by the tool's own name: scripts remove them there.
const OPTIONS_NAME: &str = "99mmdebstrap";

/// The largest file of options, in bytes.
const LIMIT: u64 = 1 << 20;

/// What of the words makes sense by itself.
#[derive(Debug)]
pub struct Request {
    variant: Variant,
    unpack_only: bool,
    /// How the tree is made, in the tool's word.
    mode: String,
    archs: Vec<Arch>,
    keyrings: Vec<PathBuf>,
    include: Vec<Want>,
    debs: Vec<PathBuf>,
}

fn parse<T: FromStr>(what: &str, word: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| format!("{what} {word:?} makes no sense"))
}

/// Reads what needs no sources.
///
/// # Errors
/// One line, in the tool's words where it has some.
pub fn read(asked: &Asked, voice: &Voice) -> Result<Request, String> {
    let keyrings = asked
        .keyrings
        .iter()
        .map(|word| keyring(word))
        .collect::<Result<_, _>>()?;
    if !VARIANTS.contains(&asked.variant.as_str()) {
        return Err(format!(
            "invalid variant. Choose from {}",
            VARIANTS.join(", ")
        ));
    }
    let variant = match asked.variant.as_str() {
        "extract" | "custom" => Variant::Custom,
        "essential" => Variant::Essential,
        "apt" => Variant::Apt,
        "required" | "minbase" => Variant::Minbase,
        "buildd" => Variant::Buildd,
        "standard" => Variant::Standard,
        _ => Variant::Important,
    };
    let mode = mode(&asked.mode, voice)?;
    let format = match asked.format.as_str() {
        "sqfs" => "squashfs",
        "dir" => "directory",
        other => other,
    };
    if !FORMATS.contains(&format) {
        return Err(format!(
            "invalid format. Choose from {}",
            FORMATS.join(", ")
        ));
    }
    let archs = archs(asked, voice)?;
    let (mut include, mut debs) = (Vec::new(), Vec::new());
    for word in &asked.include {
        match word.chars().next() {
            Some('?' | '~' | '!' | '(') => {
                return Err(format!(
                    "the pattern {word} is apt's own, and apt is not asked here"
                ));
            }
            Some('/' | '.') => debs.push(deb(word)?),
            _ => include.push(want(word)?),
        }
    }
    for skip in &asked.skip {
        let known = [
            "check/empty",
            "check/qemu",
            "check/signed-by",
            "cleanup/apt",
            "cleanup/apt/cache",
            "cleanup/apt/lists",
            "chroot/mount",
            "chroot/mount/dev",
            "chroot/mount/proc",
            "chroot/mount/sys",
            "chroot/policy-rc.d",
            "chroot/start-stop-daemon",
            "output/dev",
            "output/mknod",
            "tar-in/mknod",
        ];
        if !known.contains(&skip.as_str()) {
            voice.warning(&format!("--skip={skip} has no effect here"));
        }
    }
    Ok(Request {
        variant,
        unpack_only: asked.variant == "extract",
        mode,
        archs,
        keyrings,
        include,
        debs,
    })
}

fn keyring(word: &str) -> Result<PathBuf, String> {
    let path = Path::new(word);
    if !path.exists() {
        return Err(format!("keyring \"{word}\" does not exist"));
    }
    std::fs::canonicalize(path)
        .map_err(|_| format!("unable to get absolute path of --keyring: {word}"))
}

fn mode(word: &str, voice: &Voice) -> Result<String, String> {
    let root = making::is_root();
    let mode = match word {
        "fakeroot" => "fakechroot",
        "sudo" => "root",
        other => other,
    };
    if !MODES.contains(&mode) {
        return Err(format!("invalid mode. Choose from {}", MODES.join(", ")));
    }
    match mode {
        "auto" => {
            let chosen = if root { "root" } else { "unshare" };
            voice.info(&format!("automatically chosen mode: {chosen}"));
            Ok(chosen.to_owned())
        }
        "root" if !root => Err("need to be root".to_owned()),
        "chrootless" => Err(
            "chrootless mode would run packages' scripts on this host itself, and that is never done here; \
             use --mode=unshare"
                .to_owned(),
        ),
        "fakechroot" => {
            voice.info("fakechroot mode is not needed: a user namespace is used, as with --mode=unshare");
            Ok("unshare".to_owned())
        }
        other => Ok(other.to_owned()),
    }
}

fn archs(asked: &Asked, voice: &Voice) -> Result<Vec<Arch>, String> {
    let own = own_arch();
    let archs: Vec<Arch> = asked
        .architectures
        .iter()
        .map(|word| parse("architecture", word))
        .collect::<Result<_, _>>()?;
    match archs.first() {
        None => voice.info(&format!(
            "chroot architecture {own} is equal to the host's architecture"
        )),
        Some(first) if first.as_str() == own => {
            voice.info(&format!(
                "chroot architecture {own} is equal to the host's architecture"
            ));
        }
        Some(first) => voice.debug(&format!("{first} is different from {own}")),
    }
    Ok(archs)
}

fn deb(word: &str) -> Result<PathBuf, String> {
    let path = std::fs::canonicalize(word).map_err(|error| {
        format!(
            "cannot resolve absolute path of {word}: {}",
            making::reason(&error)
        )
    })?;
    if !path.is_file() {
        return Err(format!("{word} is not an existing file"));
    }
    Ok(path)
}

/// `name[:arch][=version][/suite]`, as apt-get(8) reads them.
fn want(word: &str) -> Result<Want, String> {
    let (rest, suite) = match word.split_once('/') {
        Some((rest, suite)) => (rest, Some(suite.to_owned())),
        None => (word, None),
    };
    let (rest, version) = match rest.split_once('=') {
        Some((rest, version)) => (rest, Some(version.to_owned())),
        None => (rest, None),
    };
    let (name, arch) = match rest.split_once(':') {
        Some((name, arch)) => (name, Some(parse("architecture", arch)?)),
        None => (rest, None),
    };
    Ok(Want {
        name: parse("package", name)?,
        arch,
        version,
        suite,
    })
}

/// The specification.
///
/// # Errors
/// One line.
pub fn spec(
    asked: &Asked,
    request: &Request,
    suite: Option<&str>,
    mirrors: &[String],
    voice: &Voice,
) -> Result<ImageSpec, String> {
    let apt = texts(&asked.apt_options)?;
    let dpkg = texts(&asked.dpkg_options)?;
    let skips = |word: &str| asked.skip.iter().any(|skip| skip == word);
    let mountable = !(making::is_root() && jaula_engine::session::root_needs_one());
    if !mountable {
        voice.warning("cannot mount because CAP_SYS_ADMIN is not in the effective set");
    }
    let told = Told {
        called: crate::compat::tool::Tool::new(super::FACE.name, super::FAILURE).called,
        mode: request.mode.clone(),
        suite: suite.map(str::to_owned),
        verbosity: match asked.loudness {
            Loudness::Quiet => 0,
            Loudness::Normal => 1,
            Loudness::Verbose => 2,
            Loudness::Debug => 3,
        },
        include: asked.include.clone(),
        no_devices: skips("tar-in/mknod"),
        mounts: ["proc", "sys", "dev"]
            .into_iter()
            .filter(|_| mountable)
            .filter(|name| !skips("chroot/mount") && !skips(&format!("chroot/mount/{name}")))
            .map(str::to_owned)
            .collect(),
    };
    let hooks = hooks::hooks(&asked.hooks, &told, voice)?;
    let sources = mirrors::Asked {
        suite,
        components: &asked.components,
        keyrings: &request.keyrings,
        signed_by: !asked.skip.iter().any(|skip| skip == "check/signed-by"),
        outdated: says_no(&apt, "acquire::check-valid-until"),
    };
    let Mirrors { mut sources, list } = mirrors::sources(&sources, mirrors, voice)?;
    if !sources.only_repositories {
        sources.components = asked
            .components
            .iter()
            .map(|word| parse("component", word))
            .collect::<Result<_, _>>()?;
    }
    let families = Families::builtin().map_err(|error| error.to_string())?;
    // An empty one stands before a target, and the sources say it.
    let suite = suite.filter(|suite| !suite.is_empty());
    let named = suite.map(str::to_owned).or_else(|| {
        let first = sources.repositories.first()?;
        first.suites.first().cloned()
    });
    let name = named
        .as_deref()
        .and_then(|suite| families.relative(suite, None))
        .map_or_else(|| "debian".to_owned(), |relative| relative.name);
    let (arch, foreign) = match request.archs.split_first() {
        Some((first, rest)) => (Some(first.clone()), rest.to_vec()),
        None => (None, Vec::new()),
    };
    Ok(ImageSpec {
        distro: parse("distribution", &name)?,
        suite: named
            .as_deref()
            .map(|suite| parse("suite", suite))
            .transpose()?,
        options: ImageOptions {
            arch,
            foreign_archs: foreign,
            variant: request.variant,
            include: request.include.clone(),
            debs: request.debs.clone(),
            recommends: says_yes(&apt, "apt::install-recommends"),
            sources,
            unpack_only: request.unpack_only,
            unguarded: [
                ("chroot/policy-rc.d", Guard::Policy),
                ("chroot/start-stop-daemon", Guard::Starter),
            ]
            .into_iter()
            .filter(|(word, _)| skips(word))
            .map(|(_, guard)| guard)
            .collect(),
            apt_traces: apt_traces(asked, &hooks),
            paths: paths(&dpkg),
            settings: Settings {
                apt_options: apt,
                dpkg_options: dpkg,
                options_name: Some(OPTIONS_NAME),
                sources_list: list,
                ..Settings::default()
            },
            hooks,
            ..ImageOptions::default()
        },
    })
}

/// Hooks run apt, on the tree or in it, and find the lists of what there is, as with the tool.
fn apt_traces(asked: &Asked, hooks: &[Hook]) -> AptTraces {
    let skips = |word: &str| asked.skip.iter().any(|skip| skip == word);
    let stays = |word: &str| skips("cleanup/apt") || skips(word);
    let (lists, cache) = (stays("cleanup/apt/lists"), stays("cleanup/apt/cache"));
    let runs = |action: &HookAction| {
        matches!(
            action,
            HookAction::Outside { .. } | HookAction::Inside { .. }
        )
    };
    let late = hooks
        .iter()
        .any(|hook| hook.stage != HookStage::Setup && runs(&hook.action));
    AptTraces {
        lent: late || lists,
        lists,
        cache,
    }
}

/// Whether `/bin` and its like are what the packages make of them: where nothing but the named packages is wanted, none of
/// them says that they are links, and the release does not bring them as links.
pub fn leaves_usr(asked: &Asked, spec: &ImageSpec, plan: &ImagePlan) -> bool {
    let only_named = ["extract", "custom"].contains(&asked.variant.as_str());
    let says_so = |name: &str| ["usrmerge", "usr-is-merged"].contains(&name);
    let packages = &plan.lock().packages;
    only_named
        && spec.options.merged_usr.is_none()
        && by_package(spec)
        && !packages.iter().any(|package| says_so(&package.name))
}

/// Whether links in the place of `/bin` and its like are a matter of a package in this release.
fn by_package(spec: &ImageSpec) -> bool {
    let families = Families::builtin().ok();
    let suite = spec.suite.as_ref().map(|suite| suite.as_str());
    let relative = families.zip(suite);
    relative
        .and_then(|(families, suite)| families.relative(suite, None))
        .is_some_and(|relative| relative.has_usr_is_merged())
}

/// Options as they were given, or the text of a file that is named.
fn texts(words: &[String]) -> Result<Vec<String>, String> {
    let mut options = Vec::new();
    for word in words {
        let path = Path::new(word);
        if !path.is_file() {
            options.push(word.clone());
            continue;
        }
        if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LIMIT) {
            return Err(format!("{word} is too long for a file of options"));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot open {word}: {error}"))?;
        if !text.trim().is_empty() {
            options.push(text);
        }
    }
    Ok(options)
}

/// The value of an option of apt.conf(5) that stands in a line of its own.
fn value<'a>(options: &'a [String], name: &str) -> Option<&'a str> {
    let lines = options.iter().flat_map(|option| option.lines());
    lines.rev().find_map(|line| {
        let (key, value) = line.trim().split_once(char::is_whitespace)?;
        let value = value.trim().trim_end_matches(';').trim().trim_matches('"');
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// StringToBool of apt's library.
fn says_yes(options: &[String], name: &str) -> bool {
    value(options, name).is_some_and(|value| {
        matches!(
            value.to_ascii_lowercase().as_str(),
            "1" | "yes" | "true" | "with" | "on" | "enable"
        )
    })
}

fn says_no(options: &[String], name: &str) -> bool {
    value(options, name).is_some_and(|value| {
        matches!(
            value.to_ascii_lowercase().as_str(),
            "0" | "no" | "false" | "without" | "off" | "disable"
        )
    })
}

/// What dpkg is told to leave out, obeyed from the first package on.
fn paths(options: &[String]) -> Vec<PathRule> {
    let rule = |line: &str| {
        let line = line.trim().trim_start_matches("--");
        let (name, pattern) = line.split_once(['=', ' ', '\t'])?;
        match name {
            "path-exclude" => Some(PathRule::Exclude(pattern.trim().to_owned())),
            "path-include" => Some(PathRule::Include(pattern.trim().to_owned())),
            _ => None,
        }
    };
    let lines = options.iter().flat_map(|option| option.lines());
    lines.filter_map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_as_apt_names_them() {
        let want = want("libc6:i386=2.36-9/bookworm").expect("sound");
        assert_eq!(want.to_string(), "libc6:i386=2.36-9/bookworm");
        assert!(super::want("no such").is_err());
    }

    #[test]
    fn options_of_apt_and_dpkg_that_hold_for_the_build_are_heard() {
        let options = [
            "APT::Install-Recommends \"true\";".to_owned(),
            "Acquire::Check-Valid-Until false".to_owned(),
        ];
        assert!(says_yes(&options, "apt::install-recommends"));
        assert!(says_no(&options, "acquire::check-valid-until"));
        let options = [
            "path-exclude=/usr/share/doc/*".to_owned(),
            "--path-include=/a".to_owned(),
            "force-unsafe-io".to_owned(),
        ];
        assert_eq!(
            paths(&options),
            [
                PathRule::Exclude("/usr/share/doc/*".into()),
                PathRule::Include("/a".into())
            ]
        );
    }
}
