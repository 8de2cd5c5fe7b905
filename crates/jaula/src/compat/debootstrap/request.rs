//! From debootstrap's words to what the engine is asked for.

use super::options::{Asked, Work};
use super::voice::Voice;
use jaula_engine::image::Collection;
use jaula_plan::names::{Arch, Suite};
use jaula_plan::rootfs::{Families, Relative};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec, Variant, Want};
use jaula_plan::spec::settings::Settings;
use jaula_plan::spec::source::{SourceOptions, TlsClient, Trust};
use std::path::PathBuf;
use std::str::FromStr;

/// Where debootstrap keeps its scripts. Ours are a table, but the message is known.
const SCRIPTS: &str = "/usr/share/debootstrap/scripts";

/// What is made, and where its packages come from.
#[derive(Debug)]
pub struct Request {
    /// The image.
    pub spec: ImageSpec,
    /// The archive's address, without a slash at its end.
    pub mirror: String,
    /// The suite and its family.
    pub relative: Relative,
    /// The architecture, by Debian's name.
    pub arch: String,
    /// The keyring that signatures are checked by, for messages.
    pub keyring: PathBuf,
}

/// Debian's name of the architecture this program was built for.
pub fn own_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "i386",
        "aarch64" => "arm64",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// Parses a name, or says which is none.
fn parse<T: FromStr>(what: &str, word: &str, voice: &Voice) -> Result<T, ()> {
    word.parse().map_err(|_| {
        voice.error(&format!("{what} {word:?} makes no sense"));
    })
}

fn all<T: FromStr>(what: &str, words: &[String], voice: &Voice) -> Result<Vec<T>, ()> {
    words.iter().map(|word| parse(what, word, voice)).collect()
}

/// The family of the suite; says what there is when there is none.
///
/// # Errors
/// Said already.
pub fn family(asked: &Asked, voice: &Voice) -> Result<Relative, ()> {
    let families = Families::builtin().map_err(|error| voice.error(&error.to_string()))?;
    let word = |at: usize| {
        asked
            .operands
            .get(at)
            .map(String::as_str)
            .filter(|w| !w.is_empty())
    };
    let suite = word(0).unwrap_or_default();
    // A script of another place is a file of its own: none is ever run here, but its name may be a suite's.
    let like = word(3);
    if let Some(relative) = families.relative(suite, like) {
        return Ok(relative);
    }
    let missing = match like {
        Some(like) if like.contains('/') => like.to_owned(),
        Some(like) => like.to_owned(),
        None => format!("{SCRIPTS}/{suite}"),
    };
    voice.error(&format!("No such script: {missing}"));
    let target = word(1).unwrap_or("DIR");
    let mirror = word(2).unwrap_or("MIRROR");
    if let Some(script) = families.likeliest(&[suite, mirror]) {
        voice.info(&format!(
            "If {suite} is made like {script}, name that as the fourth word: debootstrap {suite} {target} {mirror} {script}"
        ));
    }
    Err(())
}

/// # Errors
/// Said already.
pub fn request(asked: &Asked, relative: Relative, voice: &Voice) -> Result<Request, ()> {
    let arch = asked.arch.clone().unwrap_or_else(|| own_arch().to_owned());
    let variant = match asked.variant.as_str() {
        // Without root there is a namespace, which needs no variant of its own.
        "" | "-" | "fakechroot" => Variant::Important,
        "minbase" => Variant::Minbase,
        "buildd" => Variant::Buildd,
        _ => {
            voice.error("unsupported variant");
            voice.info("The variants are minbase, buildd, fakechroot and -");
            return Err(());
        }
    };
    let buildd = variant == Variant::Buildd;
    let mirror = match asked
        .operands
        .get(2)
        .map(String::as_str)
        .filter(|w| !w.is_empty())
    {
        Some(mirror) => mirror,
        None => relative.mirror(&arch),
    };
    let mirror = mirror.trim_end_matches('/').to_owned();
    if !["http://", "https://", "file:"]
        .iter()
        .any(|s| mirror.starts_with(s))
    {
        voice.error(&format!(
            "unknown location {mirror}/dists/{}/InRelease",
            relative.suite
        ));
        if mirror.starts_with("ftp:") || mirror.starts_with("ssh:") {
            voice.more("   archives are read by http:, https: and file:, not by ftp: and ssh:");
        }
        return Err(());
    }
    let keyring = asked
        .keyring
        .clone()
        .unwrap_or_else(|| relative.keyring().to_owned());
    if !asked.unchecked && !keyring.exists() {
        voice.warning(&format!(
            "Cannot check Release signature; keyring file not available {}",
            keyring.display()
        ));
        voice.error("Nothing is installed that nobody signed; name a keyring with --keyring");
        return Err(());
    }
    if asked.unchecked {
        voice.warning("Signatures are not checked: whoever is between here and the mirror can replace every package");
    }
    if asked.alone {
        voice.warning(
            "Nothing is added that packages need: what lacks something will not be configured",
        );
    }
    let merged = asked
        .merged_usr
        .unwrap_or_else(|| relative.merged_usr(buildd));
    let mut include: Vec<String> = asked.include.clone();
    if mirror.starts_with("https://") {
        include.extend(relative.https_packages().iter().map(ToString::to_string));
    }
    let mut exclude: Vec<String> = Vec::new();
    if merged && relative.has_usr_is_merged() {
        // What would convert a tree that needs no conversion, with half of Perl.
        include.push("usr-is-merged".to_owned());
        exclude.push("usrmerge".to_owned());
    }
    include.sort();
    include.dedup();
    let suite: Suite = parse("suite", &relative.suite, voice)?;
    let options = ImageOptions {
        arch: Some(parse::<Arch>("architecture", &arch, voice)?),
        variant,
        include: all("package", &include, voice)?
            .into_iter()
            .map(Want::any)
            .collect(),
        exclude: all("package", &exclude, voice)?,
        spared: all("package", &asked.exclude, voice)?,
        merged_usr: Some(merged),
        // What is only listed or fetched need not run here.
        unpack_only: asked.work != Work::Install,
        alone: asked.alone,
        sources: SourceOptions {
            mirror: Some(mirror.clone()),
            components: all("component", &asked.components, voice)?,
            keyrings: vec![keyring.clone()],
            extra_suites: all("suite", &asked.extra_suites, voice)?,
            trust: if asked.unchecked {
                Trust::Unsigned
            } else {
                Trust::Signed
            },
            client: asked.certificate.clone().map(|certificate| TlsClient {
                certificate,
                key: asked.private_key.clone(),
            }),
            ..SourceOptions::default()
        },
        ..ImageOptions::default()
    };
    let spec = ImageSpec {
        distro: parse("distribution", &relative.name, voice)?,
        suite: Some(suite),
        options,
    };
    Ok(Request {
        spec,
        mirror,
        relative,
        arch,
        keyring,
    })
}

/// The request for what is in an archive of packages, all of it.
///
/// # Errors
/// Said already.
pub fn of_collection(
    asked: &Asked,
    relative: Relative,
    collection: &Collection,
    voice: &Voice,
) -> Result<Request, ()> {
    let note = |name: &str| collection.words(name).into_iter().next();
    if note("suite").is_some_and(|suite| suite != relative.suite) {
        voice.error(&format!(
            "Asked to install suite {}, but the archive has {}",
            relative.suite,
            note("suite").unwrap_or_default()
        ));
        return Err(());
    }
    let arch = asked.arch.clone().or_else(|| note("arch"));
    let arch = arch.unwrap_or_else(|| own_arch().to_owned());
    let buildd = asked.variant == "buildd" || note("variant").as_deref() == Some("buildd");
    let merged = asked
        .merged_usr
        .unwrap_or_else(|| relative.merged_usr(buildd));
    let given = asked
        .operands
        .get(2)
        .cloned()
        .filter(|word| !word.is_empty());
    let mirror = given
        .or_else(|| note("mirror"))
        .unwrap_or_else(|| relative.mirror(&arch).to_owned());
    let mirror = mirror.trim_end_matches('/').to_owned();
    let suite: Suite = parse("suite", &relative.suite, voice)?;
    let list = format!("deb {mirror} {suite} {}\n", asked.components.join(" "));
    voice.info(&format!(
        "{} packages are taken from the archive as they are",
        collection.packages.len()
    ));
    let options = ImageOptions {
        arch: Some(parse::<Arch>("architecture", &arch, voice)?),
        variant: Variant::Custom,
        include: all("package", &collection.packages, voice)?
            .into_iter()
            .map(Want::any)
            .collect(),
        merged_usr: Some(merged),
        unpack_only: asked.work == Work::Foreign,
        sources: SourceOptions {
            mirror: Some(collection.mirror()),
            components: vec![parse("component", "main", voice)?],
            trust: Trust::Unsigned,
            ..SourceOptions::default()
        },
        settings: Settings {
            sources_list: Some(list),
            ..Settings::default()
        },
        ..ImageOptions::default()
    };
    let spec = ImageSpec {
        distro: parse("distribution", &relative.name, voice)?,
        suite: Some(suite),
        options,
    };
    Ok(Request {
        spec,
        mirror,
        keyring: relative.keyring().to_owned(),
        relative,
        arch,
    })
}
