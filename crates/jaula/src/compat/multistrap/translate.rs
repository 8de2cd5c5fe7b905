//! From multistrap's settings to what the engine is asked for.

use super::settings::{Repository, Settings};
use jaula_plan::names::{Arch, Suite};
use jaula_plan::spec::hook::{Hook, HookAction, HookStage};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec, Variant, Want};
use jaula_plan::spec::settings::Settings as ImageSettings;
use jaula_plan::spec::source::{self, Preferences, SignedBy, SourceOptions, Trust, Used};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest file of seeds or preferences, in bytes.
const LIMIT: u64 = 1 << 20;

/// Where the keys of a package are, as far as it is known: by the package's name.
pub type Keyrings = std::collections::BTreeMap<String, Vec<PathBuf>>;

/// What is asked, or a sentence on what cannot be.
pub fn image(
    settings: &Settings,
    arch: &str,
    configures: bool,
    keyrings: &Keyrings,
) -> Result<ImageSpec, String> {
    if !settings.unpack {
        return Err("unpack=false: an image that is fetched and not unpacked is none; jaula keeps fetched packages in \
                    its store anyway"
            .to_owned());
    }
    if settings.omit_preinst {
        return Err("omitpreinst=true: packages are not configured without their preinsts; they run in unpack order here".to_owned());
    }
    if let Some(dir) = &settings.source_dir {
        return Err(format!(
            "retainsources={}: jaula fetches no source packages",
            dir.display()
        ));
    }
    let arch: Arch = parse("architecture", arch)?;
    let used: Vec<(&String, &Repository)> = settings
        .repositories
        .iter()
        .filter(|(name, _)| {
            settings.bootstrap.contains(*name) || settings.apt_sources.contains(*name)
        })
        .collect();
    let mut repositories = Vec::new();
    for (name, repository) in &used {
        repositories.push(of_section(settings, name, repository, keyrings)?);
    }
    let suite = used
        .iter()
        .find(|(name, repository)| settings.bootstrap.contains(*name) && !repository.is_flat())
        .map(|(_, repository)| parse::<Suite>("suite", &repository.suite))
        .transpose()?;
    let own = repositories.is_empty();
    let variant = match (settings.omit_required, settings.add_important) {
        (true, _) => Variant::Custom,
        (false, true) => Variant::Important,
        (false, false) => Variant::Minbase,
    };
    let options = ImageOptions {
        foreign_archs: settings
            .multiarch
            .iter()
            .filter(|word| word.as_str() != arch.as_str())
            .map(|word| parse("architecture", word))
            .collect::<Result<_, _>>()?,
        arch: Some(arch),
        variant,
        include: wanted(settings)?,
        recommends: settings.recommends,
        sources: SourceOptions {
            only_repositories: !own,
            repositories,
            preferences: preferences(settings)?,
            trust: trust(settings),
            ..SourceOptions::default()
        },
        unpack_only: !configures,
        settings: ImageSettings {
            preseed: match configures {
                true => settings
                    .seeds
                    .iter()
                    .map(|path| text(path))
                    .collect::<Result<_, _>>()?,
                false => Vec::new(),
            },
            ..ImageSettings::default()
        },
        hooks: hooks(settings, configures)?,
        ..ImageOptions::default()
    };
    Ok(ImageSpec {
        distro: parse("distribution", "debian")?,
        suite,
        options,
    })
}

fn parse<T: FromStr>(what: &str, word: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| format!("{what} {word:?} makes no sense"))
}

fn text(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(LIMIT).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn trust(settings: &Settings) -> Trust {
    match settings.no_auth {
        true => Trust::Unsigned,
        false => Trust::Signed,
    }
}

/// A section as an entry of sources.list(5).
fn of_section(
    settings: &Settings,
    name: &str,
    section: &Repository,
    keyrings: &Keyrings,
) -> Result<source::Repository, String> {
    let (uri, flat) = match section.source.split_once(' ') {
        Some((uri, suite)) if section.is_flat() => (uri, Some(suite.trim())),
        _ => (section.source.as_str(), None),
    };
    if uri.is_empty() {
        return Err(format!("section {name} has no source"));
    }
    let own: Vec<PathBuf> = match section.keyring.as_str() {
        // As the original: all keys that are there may sign what names none.
        "" => keyrings.values().flatten().cloned().collect(),
        package => keyrings.get(package).cloned().unwrap_or_default(),
    };
    if own.is_empty() && !settings.no_auth {
        return Err(format!(
            "section {name}: no keyring says who may sign {uri}"
        ));
    }
    let (boot, stays) = (
        settings.bootstrap.contains(name),
        settings.apt_sources.contains(name),
    );
    Ok(source::Repository {
        name: Some(format!("multistrap-{name}")),
        uri: uri.to_owned(),
        suites: vec![flat.unwrap_or(&section.suite).to_owned()],
        components: match flat {
            Some(_) => Vec::new(),
            None => section
                .components
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        },
        archs: Vec::new(),
        signed_by: SignedBy::Files(own),
        trust: trust(settings),
        check_valid_until: true,
        used: match (boot, stays) {
            (true, true) => Used::Both,
            (true, false) => Used::Build,
            (false, _) => Used::Image,
        },
        source_packages: !section.omit_deb_src,
    })
}

/// The packages of the sections that are installed, those with their keys, and those of a second round.
fn wanted(settings: &Settings) -> Result<Vec<Want>, String> {
    let mut all = Vec::new();
    for (name, section) in &settings.repositories {
        if !settings.bootstrap.contains(name) {
            continue;
        }
        for word in section.wanted() {
            let mut want = want(&word)?;
            if settings.explicit_suite && want.suite.is_none() && !section.suite.is_empty() {
                want.suite = Some(section.suite.clone());
            }
            all.push(want);
        }
        // A package; a file is only for here.
        if !section.keyring.is_empty() && !section.keyring.contains('/') {
            all.push(want(&section.keyring)?);
        }
    }
    for word in &settings.additional {
        all.push(want(word)?);
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// `name[:arch][=version][/suite]`
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
        Some((name, arch)) => (name, Some(parse::<Arch>("architecture", arch)?)),
        None => (rest, None),
    };
    Ok(Want {
        arch,
        version,
        suite,
        ..Want::any(parse("package", name)?)
    })
}

fn preferences(settings: &Settings) -> Result<Vec<Preferences>, String> {
    let mut all = Vec::new();
    if let Some(path) = &settings.preferences {
        // apt reads no file whose name has another ending.
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let stem: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '_' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        all.push(Preferences {
            name: format!("{stem}.pref"),
            text: text(path)?,
        });
    } else if let Some(release) = &settings.default_release {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.+~".contains(c);
        if !release.chars().all(good) {
            return Err(format!(
                "aptdefaultrelease={release} is no name of a release"
            ));
        }
        // What APT::Default-Release is worth (apt_preferences(5)).
        all.push(Preferences {
            name: "multistrap-default-release.pref".to_owned(),
            text: format!("Package: *\nPin: release {release}\nPin-Priority: 990\n"),
        });
    }
    Ok(all)
}

/// Programs in the order of multistrap(1): set-up script, download, native start; then native end, the script that is
/// left in the tree, completion.
fn hooks(settings: &Settings, configures: bool) -> Result<Vec<Hook>, String> {
    let arch = settings.arch.clone().unwrap_or_default();
    let outside = |stage, path: &Path, after: &[&str]| {
        let command = path.to_str().map(str::to_owned);
        let command = command.ok_or_else(|| format!("{} is no UTF-8", path.display()))?;
        Ok::<_, String>(Hook {
            stage,
            action: HookAction::Outside {
                apt_config: None,
                mounts: Vec::new(),
                command: vec![command],
                after: after.iter().map(|word| (*word).to_owned()).collect(),
                env: Vec::new(),
            },
        })
    };
    let mut all = Vec::new();
    if let Some(script) = &settings.setup_script {
        all.push(outside(HookStage::Extract, script, &[&arch])?);
    }
    for hook in &settings.download_hooks {
        all.push(outside(HookStage::Extract, hook, &[])?);
    }
    if configures {
        for hook in &settings.native_hooks {
            all.push(outside(HookStage::Extract, hook, &["start"])?);
        }
        for hook in &settings.native_hooks {
            all.push(outside(HookStage::Customize, hook, &["end"])?);
        }
    }
    if let Some(script) = &settings.config_script {
        // As cp(1): what can be executed stays so.
        all.push(Hook {
            stage: HookStage::Customize,
            action: HookAction::CopyIn {
                from: vec![script.clone()],
                to: "/".into(),
            },
        });
    }
    for hook in &settings.completion_hooks {
        all.push(outside(HookStage::Customize, hook, &[])?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let section = |suite: &str, packages: &[&str]| Repository {
            source: "http://a/debian".into(),
            suite: suite.into(),
            components: "main".into(),
            keyring: "keys".into(),
            packages: packages.iter().map(|name| (*name).to_owned()).collect(),
            ..Repository::default()
        };
        Settings {
            unpack: true,
            bootstrap: ["a".into(), "b".into()].into(),
            apt_sources: ["a".into(), "c".into()].into(),
            repositories: [
                ("a".into(), section("x", &["one", "two:i386"])),
                ("b".into(), section("y", &["three"])),
                ("c".into(), section("z", &["never"])),
            ]
            .into(),
            multiarch: vec!["amd64".into(), "i386".into()],
            ..Settings::default()
        }
    }

    fn keyrings() -> Keyrings {
        [("keys".to_owned(), vec![PathBuf::from("/k.gpg")])].into()
    }

    #[test]
    fn sections_become_repositories_by_what_they_are_for() {
        let spec = image(&settings(), "amd64", true, &keyrings()).unwrap();
        let options = &spec.options;
        let used: Vec<(&str, Used)> = options
            .sources
            .repositories
            .iter()
            .map(|r| (r.name.as_deref().unwrap(), r.used))
            .collect();
        assert_eq!(
            used,
            [
                ("multistrap-a", Used::Both),
                ("multistrap-b", Used::Build),
                ("multistrap-c", Used::Image)
            ]
        );
        let names: Vec<String> = options.include.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["keys", "one", "three", "two:i386"]);
        assert_eq!(options.foreign_archs, ["i386".parse().unwrap()]);
        assert!(options.sources.only_repositories && !options.unpack_only);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_its_key() {
        let refused = |change: &dyn Fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            image(&settings, "amd64", true, &keyrings()).unwrap_err()
        };
        assert!(refused(&|s| s.unpack = false).starts_with("unpack=false"));
        assert!(refused(&|s| s.omit_preinst = true).starts_with("omitpreinst=true"));
        assert!(refused(&|s| s.source_dir = Some("/d".into())).starts_with("retainsources=/d"));
        assert!(refused(&|s| s.default_release = Some("a b".into())).contains("aptdefaultrelease"));
        let missing = image(&settings(), "amd64", true, &Keyrings::new()).unwrap_err();
        assert!(missing.contains("no keyring"), "{missing}");
    }

    #[test]
    fn explicit_suites_and_the_order_of_hooks() {
        let mut settings = settings();
        settings.explicit_suite = true;
        settings.native_hooks = vec!["/h/native".into()];
        settings.download_hooks = vec!["/h/download".into()];
        settings.completion_hooks = vec!["/h/completion".into()];
        let spec = image(&settings, "amd64", true, &keyrings()).unwrap();
        let names: Vec<String> = spec
            .options
            .include
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["keys", "one/x", "three/y", "two:i386/x"]);
        let order: Vec<(HookStage, String)> = spec
            .options
            .hooks
            .iter()
            .filter_map(|hook| match &hook.action {
                HookAction::Outside { command, after, .. } => {
                    Some((hook.stage, format!("{} {}", command[0], after.join(" "))))
                }
                _ => None,
            })
            .collect();
        assert_eq!(
            order,
            [
                (HookStage::Extract, "/h/download ".to_owned()),
                (HookStage::Extract, "/h/native start".to_owned()),
                (HookStage::Customize, "/h/native end".to_owned()),
                (HookStage::Customize, "/h/completion ".to_owned()),
            ]
        );
        let foreign = image(&settings, "armhf", false, &keyrings()).unwrap();
        assert!(foreign.options.unpack_only && foreign.options.hooks.len() == 2);
    }
}
