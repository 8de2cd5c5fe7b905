//! What a change of packages takes, as it is printed and done.

use super::{PkgTarget, PkgVerb};
use crate::image::Logins;
use crate::plan::Preview;
use jaula_plan::explain::{ExplainLine, word};
use jaula_plan::rootfs::Source;
use jaula_plan::spec::source::SourceOptions;
use serde_json::{Value, json};
use std::fmt;

/// A package that comes, in unpack order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// The version that is there.
    pub old: Option<String>,
    /// It comes for others.
    pub auto: bool,
    /// Size of its file in bytes.
    pub size: u64,
    /// SHA-256 of its file.
    pub sha256: [u8; 32],
    /// Where it may be fetched.
    pub urls: Vec<String>,
    /// Those of the packages that come which have to be configured before this one is unpacked.
    pub before: Vec<usize>,
}

/// A package that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Why.
    pub why: &'static str,
}

/// What a change of a jail's packages takes. [`Engine::pkg`](crate::Engine::pkg) does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PkgPlan {
    pub(super) target: PkgTarget,
    pub(super) verb: PkgVerb,
    pub(super) purge: bool,
    /// What comes.
    pub install: Vec<Taken>,
    /// What goes.
    pub remove: Vec<Leaving>,
    /// What could be newer and is not: held, or the others do not fit.
    pub kept_back: Vec<String>,
    /// What came for others and is needed no more, and stays.
    pub unneeded: Vec<String>,
    /// The whole text of apt's `extended_states` afterwards; none when it stays.
    pub(super) states: Option<String>,
    /// How whoever asked gets at archives.
    pub(super) sources: SourceOptions,
    /// Whose passwords are told to them.
    pub(super) logins: Logins,
    pub(super) entries: Vec<Source>,
}

impl PkgPlan {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.install.is_empty() && self.remove.is_empty() && self.states.is_none()
    }

    /// Bytes to be fetched when the store has none of them.
    pub fn download(&self) -> u64 {
        self.install.iter().map(|taken| taken.size).sum()
    }
}

impl fmt::Display for PkgPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "packages of {}", self.target.shown())?;
        if self.logins == Logins::None {
            for entry in &self.entries {
                writeln!(f, "  from {entry}, which the jail names")?;
            }
        }
        for leaving in &self.remove {
            let Leaving {
                name,
                version,
                arch,
                why,
            } = leaving;
            let verb = if self.purge { "purge" } else { "remove" };
            writeln!(f, "  {verb} {name} {version} {arch} ({why})")?;
        }
        for taken in &self.install {
            let Taken {
                name,
                version,
                arch,
                size,
                ..
            } = taken;
            let auto = if taken.auto { ", needed by others" } else { "" };
            match &taken.old {
                None => writeln!(f, "  install {name} {version} {arch}, {size} B{auto}")?,
                Some(old) => writeln!(
                    f,
                    "  upgrade {name} {old} → {version} {arch}, {size} B{auto}"
                )?,
            }
        }
        for name in &self.kept_back {
            writeln!(f, "  kept back: {name}")?;
        }
        for name in &self.unneeded {
            writeln!(f, "  needed no more: {name}")?;
        }
        if self.is_empty() {
            writeln!(f, "  nothing to do")?;
        }
        Ok(())
    }
}

impl Preview for PkgPlan {
    fn to_json(&self) -> Value {
        let install: Vec<Value> = self
            .install
            .iter()
            .map(|taken| {
                json!({
                    "name": taken.name, "version": taken.version, "architecture": taken.arch, "old": taken.old,
                    "auto": taken.auto, "size": taken.size, "sha256": jaula_repo::hex::encode(&taken.sha256),
                })
            })
            .collect();
        let remove: Vec<Value> = self
            .remove
            .iter()
            .map(|leaving| {
                json!({
                    "name": leaving.name, "version": leaving.version, "architecture": leaving.arch, "why": leaving.why,
                })
            })
            .collect();
        json!({
            "version": 1,
            "target": self.target.shown(),
            "install": install,
            "remove": remove,
            "purge": self.purge,
            "kept_back": self.kept_back,
            "unneeded": self.unneeded,
            "bytes": self.download(),
        })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        let mut command = match &self.target {
            PkgTarget::Jail(name) => format!("jaula exec {name} --"),
            PkgTarget::Tree(path) => format!("chroot {}", word(path)),
        };
        command.push_str(" apt-get -y ");
        command.push_str(match (&self.verb, self.purge) {
            (PkgVerb::Remove(_), true) => "purge",
            (PkgVerb::Remove(_), false) => "remove",
            (PkgVerb::Install(_), _) => "install",
            (PkgVerb::Upgrade(names), _) if names.is_empty() => "upgrade",
            (PkgVerb::Upgrade(_), _) => "install --only-upgrade",
        });
        let names: Vec<String> = match &self.verb {
            PkgVerb::Remove(names) | PkgVerb::Upgrade(names) => {
                names.iter().map(ToString::to_string).collect()
            }
            PkgVerb::Install(wants) => wants.iter().map(ToString::to_string).collect(),
        };
        for name in names {
            command.push(' ');
            command.push_str(&word(name));
        }
        vec![ExplainLine::new(
            command,
            "change packages of a jail: fetched and checked outside, configured inside by its own dpkg",
        )]
    }
}
