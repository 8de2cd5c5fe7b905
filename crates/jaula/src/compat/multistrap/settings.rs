//! What the files of multistrap(1) say together. The file that is named counts before those that it includes, key by
//! key; lists (sections, architectures, seeds, hooks, packages) add up.

use super::ini::{self, Entry, Place, Refused, Section};
use crate::args::nearest::nearest;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Keys of `[General]`.
const GENERAL: [&str; 25] = [
    "addimportant",
    "allowrecommends",
    "aptdefaultrelease",
    "aptpreferences",
    "aptsources",
    "arch",
    "bootstrap",
    "cleanup",
    "configscript",
    "debconfseed",
    "debootstrap",
    "directory",
    "explicitsuite",
    "forceunpack",
    "hookdir",
    "ignorenativearch",
    "include",
    "markauto",
    "multiarch",
    "noauth",
    "omitpreinst",
    "omitrequired",
    "retainsources",
    "setupscript",
    "tarballname",
];
/// A second spelling that this one's key got later.
const UNPACK: &str = "unpack";

/// Keys of every other section.
const SECTION: [&str; 9] = [
    "additional",
    "architecture",
    "components",
    "keyring",
    "omitdebsrc",
    "packages",
    "reinstall",
    "source",
    "suite",
];

/// More files than this are a circle.
const MAX_FILES: usize = 64;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Something in a file.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A file cannot be read.
    #[error("cannot read {}", jaula_plan::explain::shown(.path))]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("Failed to parse '{}'!", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// An included file is not there.
    #[error("ERR: Cannot find include file: '{name}' for '{}'", .file.display())]
    NoInclude {
        /// As it was named.
        name: String,
        /// Where.
        file: PathBuf,
    },
}

/// A section that names a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repository {
    /// Address; with a directory after a blank it is a flat repository.
    pub source: String,
    /// Suite.
    pub suite: String,
    /// Components.
    pub components: String,
    /// The architecture of its packages, if it is another.
    pub architecture: String,
    /// The package with its keys.
    pub keyring: String,
    /// Whether the image's sources have no `deb-src` line.
    pub omit_deb_src: bool,
    /// Packages.
    pub packages: Vec<String>,
    /// Where it was named first.
    pub place: Option<Place>,
}

impl Repository {
    /// Its packages as they are asked for: of its architecture, if it has one.
    pub fn wanted(&self) -> impl Iterator<Item = String> + '_ {
        let arch = self.architecture.as_str();
        self.packages.iter().map(move |name| match arch {
            "" => name.clone(),
            arch => format!("{name}:{arch}"),
        })
    }

    /// Whether it is a flat one, without suite and components.
    pub fn is_flat(&self) -> bool {
        self.source.ends_with('/') && self.source.contains(' ')
    }
}

/// What all files say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Architecture.
    pub arch: Option<String>,
    /// Where the tree is made.
    pub directory: Option<String>,
    /// Files that were included.
    pub includes: Vec<String>,
    /// Sections whose packages are installed, sorted.
    pub bootstrap: BTreeSet<String>,
    /// Sections that stay in the image's sources, sorted.
    pub apt_sources: BTreeSet<String>,
    /// The repositories by the names of their sections.
    pub repositories: BTreeMap<String, Repository>,
    /// Packages of a second round.
    pub additional: BTreeSet<String>,
    /// Packages whose scripts are to run once more.
    pub reinstall: BTreeSet<String>,
    /// Further architectures, in their order.
    pub multiarch: Vec<String>,
    /// Files for debconf-set-selections(1).
    pub seeds: Vec<PathBuf>,
    /// Programs, sorted by path within their stage.
    pub download_hooks: Vec<PathBuf>,
    /// The same.
    pub native_hooks: Vec<PathBuf>,
    /// The same.
    pub completion_hooks: Vec<PathBuf>,
    /// Unpacked, not only fetched.
    pub unpack: bool,
    /// Dependencies are marked so.
    pub mark_auto: bool,
    /// A script for the tree.
    pub config_script: Option<PathBuf>,
    /// A program run on the tree after unpacking.
    pub setup_script: Option<PathBuf>,
    /// An archive of the tree.
    pub tarball: Option<String>,
    /// Leave out `Priority: required`.
    pub omit_required: bool,
    /// Add `Priority: important`.
    pub add_important: bool,
    /// Run no preinst.
    pub omit_preinst: bool,
    /// Remove APT's caches.
    pub cleanup: bool,
    /// Ask for no signature.
    pub no_auth: bool,
    /// Do not configure even where it is possible.
    pub ignore_native: bool,
    /// Ask for the packages of a section from its suite.
    pub explicit_suite: bool,
    /// Follow `Recommends`.
    pub recommends: bool,
    /// A file of apt_preferences(5).
    pub preferences: Option<PathBuf>,
    /// What is preferred (`APT::Default-Release`).
    pub default_release: Option<String>,
    /// Where sources are kept.
    pub source_dir: Option<PathBuf>,
    /// What was asked for and is not there, a sentence each: each counts as an error at the end.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Sections that are named by `bootstrap` or `aptsources` and defined nowhere.
    pub fn undefined(&self) -> Vec<&str> {
        let named: BTreeSet<&String> = self.bootstrap.union(&self.apt_sources).collect();
        let missing = named
            .into_iter()
            .filter(|name| !self.repositories.contains_key(*name));
        missing.map(String::as_str).collect()
    }
}

/// Reads a file and all it includes.
///
/// # Errors
/// [`SettingsError`].
pub fn read(file: &Path) -> Result<Settings, SettingsError> {
    let beside = file.parent().unwrap_or(Path::new(""));
    let mut merged = Settings {
        unpack: true,
        ..Settings::default()
    };
    let mut scalars = BTreeSet::new();
    let mut waiting = vec![file.to_owned()];
    let mut count = 0usize;
    while let Some(path) = waiting.pop() {
        count += 1;
        if count > MAX_FILES {
            return Err(SettingsError::NoInclude {
                name: format!("more than {MAX_FILES} files: they include each other"),
                file: path,
            });
        }
        let mut more = Vec::new();
        for section in parse_file(&path)? {
            if section.name == "general" {
                general(&mut merged, &section, &mut scalars, beside, &mut more)?;
            } else {
                repository(&mut merged, &section, &mut scalars)?;
            }
        }
        // In their order, each before what comes after it.
        more.reverse();
        waiting.extend(more);
    }
    for repository in merged.repositories.values_mut() {
        if repository.components.is_empty() {
            repository.components = "main".to_owned();
        }
    }
    for hooks in [
        &mut merged.download_hooks,
        &mut merged.native_hooks,
        &mut merged.completion_hooks,
    ] {
        hooks.sort();
    }
    architectures(&merged)?;
    Ok(merged)
}

fn parse_file(path: &Path) -> Result<Vec<Section>, SettingsError> {
    let mut text = Vec::new();
    let unread = |source| SettingsError::Unread {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(ini::LIMIT)
        .read_to_end(&mut text)
        .map_err(unread)?;
    let text = String::from_utf8(text)
        .map_err(|_| unread(std::io::Error::from(std::io::ErrorKind::InvalidData)))?;
    let sections = ini::parse(path, &text)?;
    if sections.is_empty() {
        return Err(SettingsError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(sections)
}

fn refuse(place: Place, what: String) -> SettingsError {
    Refused { place, what }.into()
}

/// A key that nobody knows, and what may have been meant.
fn unknown<'k>(entry: &Entry, keys: impl Iterator<Item = &'k str>) -> SettingsError {
    let meant = nearest(&entry.key.to_lowercase(), keys);
    let meant = meant.map_or(String::new(), |key| format!("; did you mean {key}?"));
    refuse(
        entry.place.clone(),
        format!("there is no key {:?} here{meant}", entry.key),
    )
}

fn flag(entry: &Entry) -> Result<bool, SettingsError> {
    match entry.value.to_lowercase().as_str() {
        "true" => Ok(true),
        "false" | "" => Ok(false),
        _ => Err(refuse(
            entry.value_place(),
            format!("{}={} is neither true nor false", entry.key, entry.value),
        )),
    }
}

fn words(value: &str) -> impl Iterator<Item = String> {
    value.split_whitespace().map(str::to_owned)
}

/// One line of `[General]`. `set` has what a file before gave already.
fn general(
    merged: &mut Settings,
    section: &Section,
    set: &mut BTreeSet<String>,
    beside: &Path,
    more: &mut Vec<PathBuf>,
) -> Result<(), SettingsError> {
    let mut here = BTreeSet::new();
    for entry in &section.entries {
        let key = entry.key.as_str();
        if !GENERAL.contains(&key) && key != UNPACK {
            return Err(unknown(entry, GENERAL.into_iter().chain([UNPACK])));
        }
        if !here.insert(key) {
            return Err(refuse(
                entry.place.clone(),
                format!("{key} is given twice in one section"),
            ));
        }
        let value = entry.value.as_str();
        let path = || Some(PathBuf::from(value)).filter(|path| !path.as_os_str().is_empty());
        match key {
            "bootstrap" | "debootstrap" => merged.bootstrap.extend(words(&value.to_lowercase())),
            "aptsources" => merged.apt_sources.extend(words(&value.to_lowercase())),
            "multiarch" => {
                for arch in words(value) {
                    if !merged.multiarch.contains(&arch) {
                        merged.multiarch.push(arch);
                    }
                }
            }
            "include" => {
                for name in words(value) {
                    let found = [PathBuf::from(&name), beside.join(&name)];
                    let Some(path) = found.into_iter().find(|path| path.is_file()) else {
                        return Err(SettingsError::NoInclude {
                            name,
                            file: entry.place.file.clone(),
                        });
                    };
                    merged.includes.push(path.display().to_string());
                    more.push(path);
                }
            }
            "debconfseed" => {
                for name in words(value) {
                    match std::fs::canonicalize(&name) {
                        Ok(path) if path.is_file() => merged.seeds.push(path),
                        _ => merged.warnings.push(format!(
                            "{}: there is no preseed file {name:?}",
                            entry.value_place()
                        )),
                    }
                }
            }
            "hookdir" => words(value).for_each(|name| hooks(merged, entry, &name)),
            "unpack" | "forceunpack" => {
                if !value.is_empty() && !flag(entry)? {
                    merged.unpack = false;
                }
            }
            "markauto" => merged.mark_auto |= flag(entry)?,
            "omitrequired" => merged.omit_required |= flag(entry)?,
            "addimportant" => merged.add_important |= flag(entry)?,
            "omitpreinst" => merged.omit_preinst |= flag(entry)?,
            "cleanup" => merged.cleanup |= flag(entry)?,
            "noauth" => merged.no_auth |= flag(entry)?,
            "ignorenativearch" => merged.ignore_native |= flag(entry)?,
            "explicitsuite" => merged.explicit_suite |= flag(entry)?,
            "allowrecommends" => merged.recommends |= flag(entry)?,
            _ => {
                // An empty value says nothing; what was said first stays.
                if value.is_empty() || !set.insert(key.to_owned()) {
                    continue;
                }
                match key {
                    "arch" => merged.arch = Some(value.to_owned()),
                    "directory" => merged.directory = Some(value.to_owned()),
                    "tarballname" => merged.tarball = Some(value.to_owned()),
                    "aptdefaultrelease" => {
                        merged.default_release = Some(value.to_owned()).filter(|v| v != "*");
                    }
                    "configscript" => merged.config_script = script(merged, entry),
                    "setupscript" => merged.setup_script = script(merged, entry),
                    "aptpreferences" => {
                        merged.preferences = path();
                        if !Path::new(value).is_file() {
                            return Err(refuse(
                                entry.value_place(),
                                format!("there is no file {value:?} of preferences"),
                            ));
                        }
                    }
                    _ => merged.source_dir = path().filter(|path| path.is_dir()),
                }
            }
        }
    }
    Ok(())
}

/// A program that is there and can be executed.
fn script(merged: &mut Settings, entry: &Entry) -> Option<PathBuf> {
    if is_program(Path::new(&entry.value)) {
        return std::fs::canonicalize(&entry.value).ok();
    }
    merged.warnings.push(format!(
        "INF: '{}' exists but is not executable - ignoring.",
        entry.value
    ));
    None
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The programs of a directory, by how their names begin.
fn hooks(merged: &mut Settings, entry: &Entry, name: &str) {
    let Ok(listed) = std::fs::read_dir(name) else {
        merged.warnings.push(format!(
            "{}: there is no directory of hooks {name:?}",
            entry.value_place()
        ));
        return;
    };
    for file in listed.flatten() {
        let file_name = file.file_name();
        let stages = [
            ("download", &mut merged.download_hooks),
            ("native", &mut merged.native_hooks),
            ("completion", &mut merged.completion_hooks),
        ];
        let Some(text) = file_name.to_str() else {
            continue;
        };
        for (start, hooks) in stages {
            if text.starts_with(start)
                && let Ok(path) = std::fs::canonicalize(file.path())
                && is_program(&path)
            {
                hooks.push(path);
            }
        }
    }
}

/// One line of another section.
fn repository(
    merged: &mut Settings,
    section: &Section,
    set: &mut BTreeSet<String>,
) -> Result<(), SettingsError> {
    let known = merged.repositories.entry(section.name.clone()).or_default();
    known.place.get_or_insert_with(|| section.place.clone());
    let mut here = BTreeSet::new();
    // Packages of the more specific file, if it has any.
    let listed = !known.packages.is_empty();
    for entry in &section.entries {
        let key = entry.key.as_str();
        if !SECTION.contains(&key) {
            return Err(unknown(entry, SECTION.into_iter()));
        }
        if !here.insert(key) && key != "packages" {
            return Err(refuse(
                entry.place.clone(),
                format!("{key} is given twice in one section"),
            ));
        }
        let value = entry.value.as_str();
        match key {
            "packages" if listed => {}
            "packages" => known.packages.extend(words(value)),
            "additional" => merged.additional.extend(words(value)),
            "reinstall" => merged.reinstall.extend(words(value)),
            "omitdebsrc" => known.omit_deb_src |= flag(entry)?,
            _ => {
                if value.is_empty() || !set.insert(format!("{}\n{key}", section.name)) {
                    continue;
                }
                let field = match key {
                    "source" => &mut known.source,
                    "suite" => &mut known.suite,
                    "components" => &mut known.components,
                    "architecture" => &mut known.architecture,
                    _ => &mut known.keyring,
                };
                value.clone_into(field);
            }
        }
    }
    Ok(())
}

/// Packages of another architecture need that one among the image's.
fn architectures(merged: &Settings) -> Result<(), SettingsError> {
    for repository in merged.repositories.values() {
        let arch = &repository.architecture;
        if !arch.is_empty()
            && !repository.packages.is_empty()
            && !merged.multiarch.contains(arch)
            && let Some(place) = &repository.place
        {
            let what = format!(
                "ERR: Misconfiguration in: 'architecture' option. Packages of architecture={arch} requested but \
                 '{arch}' is not included in the multiarch={} option.",
                merged.multiarch.join(" ")
            );
            return Err(refuse(place.clone(), what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_texts(files: &[(&str, &str)]) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let (first, _) = files[0];
        let read = read(&dir.path().join(first));
        read.map_err(|error| {
            error
                .to_string()
                .replace(&format!("{}/", dir.path().display()), "")
        })
    }

    #[test]
    fn unknown_keys_are_named_with_their_place() {
        let refused = |text: &str| read_texts(&[("c", text)]).unwrap_err();
        assert_eq!(
            refused("[General]\narch=amd64\n boostrap=Debian\n"),
            "c, line 3, column 2: there is no key \"boostrap\" here; did you mean bootstrap?"
        );
        assert_eq!(
            refused("[General]\nArch=amd64\n"),
            "c, line 2, column 1: there is no key \"Arch\" here; did you mean arch?"
        );
        assert_eq!(
            refused("[Debian]\nsuite=sid\nsuites=x\n"),
            "c, line 3, column 1: there is no key \"suites\" here; did you mean suite?"
        );
        assert_eq!(
            refused("[General]\ncleanup= yes\n"),
            "c, line 2, column 10: cleanup=yes is neither true nor false"
        );
        assert_eq!(
            refused("[General]\narch=a\narch=b\n"),
            "c, line 3, column 1: arch is given twice in one section"
        );
    }

    #[test]
    fn the_more_specific_file_counts_first_and_lists_add_up() {
        let merged = read_texts(&[
            ("c", "[General]\narch=armhf\ninclude=base\nbootstrap=Own\n[Own]\nsource=http://a\nsuite=x\npackages=one\n"),
            (
                "base",
                "[General]\narch=amd64\ndirectory=/d\ncleanup=TRUE\nbootstrap=Debian\n\
                 [own]\nsource=http://b\ncomponents=contrib\npackages=two\n[Debian]\nsource=http://c\nsuite=sid\n",
            ),
        ])
        .unwrap();
        assert_eq!(merged.arch.as_deref(), Some("armhf"));
        assert_eq!(merged.directory.as_deref(), Some("/d"));
        assert!(merged.cleanup && merged.unpack);
        let names: Vec<&str> = merged.bootstrap.iter().map(String::as_str).collect();
        assert_eq!(names, ["debian", "own"]);
        let own = &merged.repositories["own"];
        assert_eq!(
            (own.source.as_str(), own.components.as_str()),
            ("http://a", "contrib")
        );
        assert_eq!(own.packages, ["one"]);
        assert_eq!(merged.repositories["debian"].components, "main");
        assert!(merged.undefined().is_empty());
    }

    #[test]
    fn files_that_include_each_other_end() {
        let refused = read_texts(&[
            ("a", "[General]\ninclude=b\n"),
            ("b", "[General]\ninclude=a\n"),
        ]);
        assert!(refused.unwrap_err().contains("include each other"));
        let refused = read_texts(&[("a", "[General]\ninclude=none\n")]);
        assert_eq!(
            refused.unwrap_err(),
            "ERR: Cannot find include file: 'none' for 'a'"
        );
    }

    #[test]
    fn packages_of_another_architecture_need_it() {
        let text = "[General]\nmultiarch=i386\n[X]\narchitecture=armhf\npackages=a\n";
        let refused = read_texts(&[("c", text)]).unwrap_err();
        assert!(
            refused.starts_with("c, line 3, column 1: ERR: Misconfiguration"),
            "{refused}"
        );
    }

    #[test]
    fn hooks_are_programs_and_sorted() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [
            ("download2", 0o755),
            ("download1.sh", 0o755),
            ("native", 0o755),
            ("completion", 0o644),
            ("other", 0o755),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let text = format!("[General]\nhookdir={} /no/such/dir\n", dir.path().display());
        let merged = read_texts(&[("c", &text)]).unwrap();
        let names = |hooks: &[PathBuf]| -> Vec<String> {
            let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            hooks.iter().map(name).collect()
        };
        assert_eq!(names(&merged.download_hooks), ["download1.sh", "download2"]);
        assert_eq!(names(&merged.native_hooks), ["native"]);
        assert!(merged.completion_hooks.is_empty());
        assert_eq!(merged.warnings.len(), 1, "{:?}", merged.warnings);
    }
}
