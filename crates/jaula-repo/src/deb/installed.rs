//! What is installed in a tree, by dpkg's `status` and apt's `extended_states`: text that the tree could write, so
//! every line of it is checked.

use super::control::{ControlError, Stanza, stanzas};
use super::relation::{self, Alternative, Group};
use super::{is_architecture_name, is_package_name, version};
use crate::hex;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// More packages than this are refused.
const MAX_PACKAGES: usize = 1_000_000;

/// Why what is installed cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstalledError {
    /// Not the form of such a file.
    #[error(transparent)]
    Syntax(#[from] ControlError),
    /// A stanza that cannot be of an installed package.
    #[error("line {line}: {what}")]
    Stanza {
        /// Where it begins, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A package that dpkg was interrupted in.
    #[error("package {name} is in the state {state:?}")]
    Broken {
        /// Its name.
        name: String,
        /// Its state.
        state: String,
    },
}

/// One package that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// What dpkg says of it: `installed`, `unpacked`, `half-configured`, `triggers-awaited`, `triggers-pending`.
    pub state: String,
    /// It is not to be changed (`hold`).
    pub held: bool,
    /// `Essential: yes` or `Protected: yes`
    pub essential: bool,
    /// `Priority: required` or `important`
    pub important: bool,
    /// `Installed-Size` in KiB.
    pub installed_size: u64,
    relations: BTreeMap<&'static str, String>,
}

/// The fields by which packages belong together.
const RELATIONS: [&str; 8] = [
    "Multi-Arch",
    "Pre-Depends",
    "Depends",
    "Recommends",
    "Suggests",
    "Conflicts",
    "Breaks",
    "Provides",
];

impl Installed {
    fn read(stanza: &Stanza<'_>) -> Result<Option<Self>, InstalledError> {
        let line = stanza.line();
        let bad = |what| InstalledError::Stanza { line, what };
        let field = |name| stanza.field(name).unwrap_or_default();
        let (name, arch) = (field("Package"), field("Architecture"));
        if !is_package_name(name) {
            return Err(bad("a bad name of a package"));
        }
        let status: Vec<&str> = field("Status").split(' ').collect();
        let [selection, _, state] = status.as_slice() else {
            return Err(bad("a bad Status"));
        };
        match *state {
            "not-installed" | "config-files" => return Ok(None),
            "installed" | "unpacked" | "half-configured" | "triggers-awaited"
            | "triggers-pending" => {}
            state => {
                return Err(InstalledError::Broken {
                    name: name.to_owned(),
                    state: state.chars().take(40).collect(),
                });
            }
        }
        if !is_architecture_name(arch) {
            return Err(bad("a bad Architecture"));
        }
        if version::validate(field("Version")).is_err() {
            return Err(bad("a bad Version"));
        }
        let mut relations = BTreeMap::new();
        for name in RELATIONS {
            if let Some(value) = stanza.field(name).filter(|value| !value.is_empty()) {
                relations.insert(name, value.replace('\n', " "));
            }
        }
        let yes = |name| field(name) == "yes";
        Ok(Some(Self {
            name: name.to_owned(),
            version: field("Version").to_owned(),
            arch: arch.to_owned(),
            state: (*state).to_owned(),
            held: *selection == "hold",
            essential: yes("Essential") || yes("Protected"),
            important: matches!(field("Priority"), "required" | "important"),
            installed_size: field("Installed-Size").parse().unwrap_or(0),
            relations,
        }))
    }

    fn groups(&self, field: &str) -> Vec<Group<'_>> {
        let text = self.relations.get(field).map_or("", String::as_str);
        // A relation that cannot be read binds nothing that is there already.
        relation::groups(text).filter_map(Result::ok).collect()
    }
}

/// Size and SHA-256 of the file of a package.
pub type FileOf<'a> = &'a dyn Fn(&Installed) -> Option<(u64, [u8; 32])>;

/// Everything that is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstalledSet {
    /// In the order of the file.
    pub packages: Vec<Installed>,
}

impl InstalledSet {
    /// Reads `status`.
    ///
    /// # Errors
    /// [`InstalledError`]
    pub fn parse(text: &str) -> Result<Self, InstalledError> {
        let mut packages = Vec::new();
        let mut met = BTreeSet::new();
        for stanza in stanzas(text) {
            let stanza = stanza?;
            let Some(package) = Installed::read(&stanza)? else {
                continue;
            };
            let line = stanza.line();
            if packages.len() >= MAX_PACKAGES {
                let what = "too many packages";
                return Err(InstalledError::Stanza { line, what });
            }
            if !met.insert((package.name.clone(), package.arch.clone())) {
                let what = "a package that is there twice";
                return Err(InstalledError::Stanza { line, what });
            }
            packages.push(package);
        }
        Ok(Self { packages })
    }

    /// The package of that name; of `arch` or for all, when there are several.
    pub fn find(&self, name: &str, arch: &str) -> Option<&Installed> {
        let mut named = self.packages.iter().filter(|package| package.name == name);
        let native = |package: &&Installed| package.arch == arch || package.arch == "all";
        let first = named.clone().find(native);
        first.or_else(|| named.next())
    }

    /// The same as the text of an index of packages, so that it can be solved with. `file` gives size and SHA-256 of the
    /// package file that an archive has of a package, by which the two are known to be the same.
    pub fn index_text(&self, file: FileOf<'_>) -> String {
        let mut text = String::new();
        for package in &self.packages {
            let Installed {
                name,
                version,
                arch,
                essential,
                important,
                ..
            } = package;
            // Writing into a String cannot fail.
            text.push_str(&format!(
                "Package: {name}\nVersion: {version}\nArchitecture: {arch}\n"
            ));
            if *essential {
                text.push_str("Essential: yes\n");
            }
            let priority = if *important { "important" } else { "optional" };
            text.push_str(&format!(
                "Priority: {priority}\nInstalled-Size: {}\n",
                package.installed_size
            ));
            for (field, value) in &package.relations {
                text.push_str(&format!("{field}: {value}\n"));
            }
            let (size, sha256) = file(package).unwrap_or((1, [0; 32]));
            let sha256 = hex::encode(&sha256);
            text.push_str(&format!(
                "Filename: installed/{name}\nSize: {size}\nSHA256: {sha256}\n\n"
            ));
        }
        text
    }

    /// The packages that cannot stay without those of `gone` (numbers into [`InstalledSet::packages`]): the closure of
    /// what depends on them and on nothing else that stays. `gone` is part of it.
    pub fn dependents(&self, gone: &BTreeSet<usize>) -> BTreeSet<usize> {
        let names = Names::of(self);
        let mut gone = gone.clone();
        loop {
            let mut more = Vec::new();
            for (number, package) in self.packages.iter().enumerate() {
                if gone.contains(&number) {
                    continue;
                }
                let broken = ["Pre-Depends", "Depends"].into_iter().any(|field| {
                    package.groups(field).iter().any(|group| {
                        let before = names.satisfying(self, group);
                        // What was not satisfied before is not this removal's affair.
                        !before.is_empty() && before.iter().all(|by| gone.contains(by))
                    })
                });
                if broken {
                    more.push(number);
                }
            }
            if more.is_empty() {
                return gone;
            }
            gone.extend(more);
        }
    }

    /// The packages that came for others (`auto`) and that none needs any more, once those of `gone` are: neither by
    /// Depends nor by Recommends or Suggests, which is apt's rule.
    pub fn unneeded(&self, auto: &AutoMarks, gone: &BTreeSet<usize>) -> BTreeSet<usize> {
        let names = Names::of(self);
        let mut kept = BTreeSet::new();
        let mut todo: Vec<usize> = (0..self.packages.len())
            .filter(|number| !gone.contains(number))
            .filter(|number| {
                let package = self.packages.get(*number);
                package.is_some_and(|package| {
                    package.essential || package.held || !auto.is_auto(&package.name)
                })
            })
            .collect();
        while let Some(number) = todo.pop() {
            let Some(package) = self.packages.get(number) else {
                continue;
            };
            if !kept.insert(number) {
                continue;
            }
            for field in ["Pre-Depends", "Depends", "Recommends", "Suggests"] {
                for group in package.groups(field) {
                    let needed = names.satisfying(self, &group);
                    todo.extend(needed.into_iter().filter(|by| !gone.contains(by)));
                }
            }
        }
        (0..self.packages.len())
            .filter(|number| !gone.contains(number) && !kept.contains(number))
            .collect()
    }
}

/// Who has a name, real or provided.
struct Names<'s> {
    real: HashMap<&'s str, Vec<usize>>,
    provided: HashMap<&'s str, Vec<(usize, Option<&'s str>)>>,
}

impl<'s> Names<'s> {
    fn of(set: &'s InstalledSet) -> Self {
        let mut names = Self {
            real: HashMap::new(),
            provided: HashMap::new(),
        };
        for (number, package) in set.packages.iter().enumerate() {
            names.real.entry(&package.name).or_default().push(number);
            let text = package.relations.get("Provides").map_or("", String::as_str);
            for provide in relation::provides(text).filter_map(Result::ok) {
                let provided = names.provided.entry(provide.name).or_default();
                provided.push((number, provide.version));
            }
        }
        names
    }

    fn satisfying(&self, set: &InstalledSet, group: &Group<'_>) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for alternative in &group.alternatives {
            found.extend(self.matching(set, alternative));
        }
        found
    }

    fn matching(&self, set: &InstalledSet, alternative: &Alternative<'_>) -> Vec<usize> {
        let mut found = Vec::new();
        for number in self.real.get(alternative.name).into_iter().flatten() {
            let version = set
                .packages
                .get(*number)
                .map(|package| package.version.as_str());
            if version.is_some_and(|version| alternative.accepts_version(version)) {
                found.push(*number);
            }
        }
        for (number, version) in self.provided.get(alternative.name).into_iter().flatten() {
            let fits = match (alternative.version, version) {
                (None, _) => true,
                (Some(_), Some(version)) => alternative.accepts_version(version),
                (Some(_), None) => false,
            };
            if fits {
                found.push(*number);
            }
        }
        found
    }
}

/// apt's `extended_states`: which packages came only because others need them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AutoMarks {
    stanzas: Vec<(String, String, bool)>,
}

impl AutoMarks {
    /// Reads the file. What is none of its stanzas is passed over: the worst that follows is a package that is kept.
    pub fn parse(text: &str) -> Self {
        let mut marks = Self::default();
        for stanza in stanzas(text).filter_map(Result::ok) {
            let field = |name| stanza.field(name).unwrap_or_default();
            let (name, arch) = (field("Package"), field("Architecture"));
            if is_package_name(name) && is_architecture_name(arch) {
                let auto = field("Auto-Installed") == "1";
                marks.stanzas.push((name.to_owned(), arch.to_owned(), auto));
            }
        }
        marks
    }

    /// Whether a package came only because others need it.
    pub fn is_auto(&self, name: &str) -> bool {
        self.stanzas
            .iter()
            .any(|(known, _, auto)| known == name && *auto)
    }

    /// Notes of a package whether it did.
    pub fn set(&mut self, name: &str, arch: &str, auto: bool) {
        self.forget(name);
        if auto {
            self.stanzas.push((name.to_owned(), arch.to_owned(), true));
        }
    }

    /// Takes out what is said of a package.
    pub fn forget(&mut self, name: &str) {
        self.stanzas.retain(|(known, _, _)| known != name);
    }
}

impl std::fmt::Display for AutoMarks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, arch, auto) in &self.stanzas {
            let auto = u8::from(*auto);
            write!(
                f,
                "Package: {name}\nArchitecture: {arch}\nAuto-Installed: {auto}\n\n"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deb::packages::Index;

    const STATUS: &str = "Package: base\nEssential: yes\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n\
        Package: app\nStatus: install ok installed\nArchitecture: all\nVersion: 2\nDepends: lib (>= 1), base\n\
        Conffiles:\n /etc/app 0123\n\n\
        Package: lib\nStatus: install ok unpacked\nArchitecture: amd64\nVersion: 1.5\nRecommends: extra\nProvides: virtual (= 3)\n\n\
        Package: extra\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 1\nDepends: virtual (>= 2) | nothing\n\n\
        Package: old\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n";

    fn names(set: &InstalledSet, numbers: &BTreeSet<usize>) -> Vec<String> {
        numbers
            .iter()
            .map(|at| set.packages[*at].name.clone())
            .collect()
    }

    #[test]
    fn what_is_there_is_read_and_can_be_solved_with() {
        let set = InstalledSet::parse(STATUS).unwrap();
        let all: Vec<&str> = set.packages.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(all, ["base", "app", "lib", "extra"]);
        assert!(set.packages[0].essential && set.packages[3].held);
        assert_eq!(
            set.find("lib", "amd64").map(|p| p.state.as_str()),
            Some("unpacked")
        );
        let index = Index::parse(set.index_text(&|_| None).as_bytes()).unwrap();
        assert_eq!(index.len(), 4);
        let id = index.by_name("app").next().unwrap();
        assert_eq!(index.package(id).depends(), "lib (>= 1), base");
        for (from, to, says) in [
            ("Version: 1.5", "Version: x y", "a bad Version"),
            ("Package: lib", "Package: ../x", "a bad name"),
            ("install ok unpacked", "install unpacked", "a bad Status"),
            (
                "install ok unpacked",
                "install reinstreq half-installed",
                "half-installed",
            ),
            ("Package: extra", "Package: base", "twice"),
            ("Package: app\n", "Package app\n", "line 7"),
        ] {
            let error = InstalledSet::parse(&STATUS.replacen(from, to, 1)).expect_err(to);
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn what_goes_takes_its_dependents_along_and_leaves_what_is_needed() {
        let set = InstalledSet::parse(STATUS).unwrap();
        let lib = BTreeSet::from([2]);
        assert_eq!(names(&set, &set.dependents(&lib)), ["app", "lib", "extra"]);
        assert_eq!(names(&set, &set.dependents(&BTreeSet::from([1]))), ["app"]);
        let mut auto = AutoMarks::parse("Package: lib\nArchitecture: amd64\nAuto-Installed: 1\n\n");
        auto.set("base", "amd64", true);
        assert!(set.unneeded(&auto, &BTreeSet::new()).is_empty());
        // Held packages stay, and what they need.
        assert!(set.unneeded(&auto, &BTreeSet::from([1])).is_empty());
        let free = InstalledSet::parse(&STATUS.replace("hold ok", "install ok")).unwrap();
        auto.set("extra", "amd64", true);
        assert_eq!(
            names(&free, &free.unneeded(&auto, &BTreeSet::from([1]))),
            ["lib", "extra"]
        );
        auto.set("lib", "amd64", false);
        assert!(free.unneeded(&auto, &BTreeSet::from([1])).is_empty());
        assert_eq!(
            auto.to_string(),
            "Package: base\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: extra\nArchitecture: amd64\nAuto-Installed: 1\n\n"
        );
    }
}
