//! What preferences come to: APT's policy (`pkgPolicy`, `pkgVersionMatch`; apt_preferences(5), "APT's Default
//! Priority Assignments" and "The Effect of APT Preferences").

use super::pattern::Pattern;
use super::{About, Name, Part, Pin, Preferences, Record, Worth};
use crate::deb::relation::arch_matches;

/// What a Release file and its place say about an index, as far as preferences look at it. Absent where nothing is
/// said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReleaseFacts {
    /// `Suite`: what APT calls the archive.
    pub archive: Option<String>,
    /// `Codename`
    pub codename: Option<String>,
    /// `Version`
    pub version: Option<String>,
    /// `Origin`
    pub origin: Option<String>,
    /// `Label`
    pub label: Option<String>,
    /// The index's component.
    pub component: Option<String>,
    /// The index's architecture.
    pub architecture: Option<String>,
    /// The host it is fetched from; empty for what comes from this machine.
    pub site: String,
    /// `NotAutomatic: yes`
    pub not_automatic: bool,
    /// `ButAutomaticUpgrades: yes`
    pub but_automatic_upgrades: bool,
}

impl ReleaseFacts {
    /// The host in an address, as `origin` pins name it: without a user, a password or a port.
    pub fn site_of(uri: &str) -> String {
        let Some((scheme, rest)) = uri.split_once("://") else {
            return String::new();
        };
        if !scheme.ends_with("http") && !scheme.ends_with("https") && !scheme.ends_with("ftp") {
            return String::new();
        }
        let host = rest.split('/').next().unwrap_or_default();
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let bare = match host.strip_prefix('[') {
            Some(six) => six.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        bare.to_owned()
    }

    fn part(&self, part: Part) -> Option<&str> {
        match part {
            Part::Archive => &self.archive,
            Part::Codename => &self.codename,
            Part::Version => &self.version,
            Part::Component => &self.component,
            Part::Origin => &self.origin,
            Part::Label => &self.label,
            Part::Architecture => &self.architecture,
        }
        .as_deref()
    }

    /// Whether `PKG/WORD` means this release: its archive or code name, or its version when the word begins with a
    /// digit (apt-get(8)).
    pub fn is_called(&self, word: &str) -> bool {
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            let pattern = Pattern::version(word);
            return self.version.as_deref().is_some_and(|v| pattern.fits(v));
        }
        let Ok(pattern) = Pattern::new(word) else {
            return false;
        };
        [&self.archive, &self.codename]
            .into_iter()
            .flatten()
            .any(|name| pattern.fits(name))
    }
}

/// One version of a package, as far as pins look at it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The package.
    pub name: &'a str,
    /// The architecture it is of; that of the machine for packages of all.
    pub arch: &'a str,
    /// Its source package.
    pub source: &'a str,
    /// The version.
    pub version: &'a str,
}

/// Every preference that counts, in order.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    records: Vec<Record>,
    native: String,
}

impl Policy {
    /// The priority of an ordinary source.
    pub const DEFAULT: i32 = 500;
    /// The priority of what is installed and in no source.
    pub const INSTALLED: i32 = 100;
    /// Less than every number: `Pin-Priority: never`.
    pub const NEVER: i32 = i16::MIN as i32;

    /// The policy of files in their order, on a machine of this architecture.
    pub fn new(native: &str, files: impl IntoIterator<Item = Preferences>) -> Self {
        Self {
            records: files.into_iter().flat_map(|file| file.records).collect(),
            native: native.to_owned(),
        }
    }

    /// The same with a target release (`APT::Default-Release`): 990, unless something says otherwise.
    #[must_use]
    pub fn with_target(mut self, release: &str) -> Self {
        let pin = match super::pin(
            super::Piece {
                text: &format!("release {release}"),
                at: super::Place::new(1, 1),
            },
            true,
        ) {
            Ok(pin) => pin,
            Err(_) => return self,
        };
        // The first that fits counts, and this one is read before the files.
        self.records.insert(
            0,
            Record {
                about: About::All,
                pin,
                worth: Worth::Priority(990),
            },
        );
        self
    }

    /// The same behind a file that is read before all others: of what it names, nothing else counts.
    #[must_use]
    pub fn behind(mut self, first: Option<Preferences>) -> Self {
        if let Some(first) = first {
            self.records.splice(0..0, first.records);
        }
        self
    }

    /// The priority of everything in an index that no record of the specific form names.
    pub fn of_source(&self, facts: &ReleaseFacts) -> i32 {
        let general = || {
            let all = self.records.iter();
            all.filter(|r| matches!(r.about, About::All) && r.pin.fits_release(facts))
        };
        // `never` counts wherever it stands, of the others the first.
        if general().any(|record| record.worth == Worth::Never) {
            return Self::NEVER;
        }
        if let Some(record) = general().next() {
            return number(record.worth);
        }
        match (facts.but_automatic_upgrades, facts.not_automatic) {
            (true, _) => 100,
            (false, true) => 1,
            (false, false) => Self::DEFAULT,
        }
    }

    /// Whether any record is of the specific form.
    pub fn has_specific(&self) -> bool {
        self.records
            .iter()
            .any(|record| !matches!(record.about, About::All))
    }

    /// The priority that a record of the specific form gives a version. `files` are the indices that have it.
    pub fn of_version<'f>(
        &self,
        subject: Subject<'_>,
        files: impl Iterator<Item = &'f ReleaseFacts> + Clone,
    ) -> Option<i32> {
        self.records.iter().find_map(|record| {
            let About::Names(names) = &record.about else {
                return None;
            };
            let named = names.iter().any(|name| name.fits(subject, &self.native));
            let pinned = named
                && match &record.pin {
                    Pin::Version(pattern) => pattern.fits(subject.version),
                    pin => files.clone().any(|file| pin.fits_release(file)),
                };
            pinned.then_some(number(record.worth))
        })
    }
}

fn number(worth: Worth) -> i32 {
    match worth {
        // What is written is always more than `never`.
        Worth::Priority(number) => i32::from(number).max(Policy::NEVER + 1),
        Worth::Never => Policy::NEVER,
    }
}

impl Name {
    fn fits(&self, subject: Subject<'_>, native: &str) -> bool {
        let arch = match self.arch.as_deref() {
            None => subject.arch == native,
            Some(arch) => arch_matches(subject.arch, arch),
        };
        let name = if self.source {
            subject.source
        } else {
            subject.name
        };
        arch && match self.pattern.only() {
            Some(only) => only == name,
            None => self.pattern.fits(name),
        }
    }
}

impl Pin {
    fn fits_release(&self, facts: &ReleaseFacts) -> bool {
        match self {
            Self::Version(_) => false,
            Self::AnyRelease => true,
            Self::Release(parts) => parts
                .iter()
                .all(|(part, pattern)| facts.part(*part).is_some_and(|value| pattern.fits(value))),
            Self::ReleaseName(pattern) => [&facts.archive, &facts.codename]
                .into_iter()
                .flatten()
                .any(|name| pattern.fits(name)),
            Self::Origin(pattern) => pattern.fits(&facts.site),
            Self::Local => facts.site.is_empty(),
        }
    }
}
