//! What is installed in a jail: dpkg's and apt's files, read beneath its root.

use super::{Inventory, PkgError, PkgTarget};
use crate::engine::Engine;
use crate::error::At;
use crate::named::{Files, look};
use jaula_plan::facts::jail_sources::repositories;
use jaula_plan::spec::source::Repository;
use jaula_repo::deb::control::{Stanza, stanzas};
use jaula_repo::deb::installed::{AutoMarks, InstalledSet};
use jaula_repo::deb::is_architecture_name;
use jaula_sys::dir::Dir;
use std::io::{ErrorKind, Read};
use std::path::Path;

const STATUS: &str = "status";
const STATES: &str = "extended_states";
const ARCH: &str = "arch";

/// Directory, name and largest size of each.
const FILES: [(&str, &str, u64); 3] = [
    ("/var/lib/dpkg", STATUS, 64 << 20),
    ("/var/lib/apt", STATES, 16 << 20),
    ("/var/lib/dpkg", ARCH, 64 << 10),
];

/// The files that are there.
fn files(root: &Dir) -> std::io::Result<Files> {
    let mut found = Files::new();
    for (dir, name, limit) in FILES {
        let opened = root
            .open_dir_in_root(Path::new(dir))
            .and_then(|dir| dir.open_file(name));
        let file = match opened {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(ErrorKind::FileTooLarge.into());
        }
        found.push((name.to_owned(), bytes));
    }
    Ok(found)
}

/// Largest of the files that name sources, in bytes, and most of them.
const SOURCES: (u64, usize) = (1 << 20, 100);

/// The sources.list(5) files, in apt's order; apt passes over the same names.
fn sources(root: &Dir) -> std::io::Result<Files> {
    let mut found = Files::new();
    let mut take = |file: std::fs::File, name: String| {
        let mut bytes = Vec::new();
        file.take(SOURCES.0 + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > SOURCES.0 || found.len() >= SOURCES.1 {
            return Err(std::io::Error::from(ErrorKind::FileTooLarge));
        }
        found.push((name, bytes));
        Ok(())
    };
    let absent = |error: &std::io::Error| error.kind() == ErrorKind::NotFound;
    let apt = match root.open_dir_in_root(Path::new("/etc/apt")) {
        Err(error) if absent(&error) => return Ok(found),
        other => other?,
    };
    match apt.open_file("sources.list") {
        Err(error) if absent(&error) => {}
        file => take(file?, "sources.list".to_owned())?,
    }
    let parts = match root.open_dir_in_root(Path::new("/etc/apt/sources.list.d")) {
        Err(error) if absent(&error) => return Ok(found),
        other => other?,
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let names = parts.entries()?.into_iter();
    let mut names: Vec<String> = names
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.bytes().all(plain))
        .filter(|name| name.ends_with(".list") || name.ends_with(".sources"))
        .collect();
    names.sort();
    for name in names {
        take(parts.open_file(&name)?, name)?;
    }
    Ok(found)
}

impl Engine {
    /// Packages that are not wholly installed, with their state, as far as that can be read.
    pub(super) fn unfinished(&self, target: &PkgTarget) -> Result<Vec<(String, String)>, PkgError> {
        let found = self.found(target)?;
        let status = found.into_iter().find(|(name, _)| name == STATUS);
        let text = String::from_utf8_lossy(&status.unwrap_or_default().1).into_owned();
        let state = |stanza: &Stanza<'_>| {
            let name = stanza.field("Package")?.to_owned();
            let state = stanza.field("Status")?.rsplit(' ').next()?.to_owned();
            let whole = matches!(
                state.as_str(),
                "installed" | "config-files" | "not-installed"
            );
            (!whole).then_some((name, state))
        };
        Ok(stanzas(&text)
            .filter_map(Result::ok)
            .filter_map(|stanza| state(&stanza))
            .collect())
    }

    fn found(&self, target: &PkgTarget) -> Result<Files, PkgError> {
        self.look_at(target, "read the packages of", &mut files)
    }

    fn look_at(
        &self,
        target: &PkgTarget,
        action: &'static str,
        files: &mut dyn FnMut(&Dir) -> std::io::Result<Files>,
    ) -> Result<Files, PkgError> {
        Ok(match target {
            PkgTarget::Jail(name) => {
                let record = crate::named::record(self.store(), name)?;
                look(self.store(), &record, self.config().prepare, files)?
            }
            PkgTarget::Tree(path) => {
                let root = Dir::open(path).at("open", path)?;
                files(&root).at(action, path)?
            }
        })
    }

    /// The places that the sources.list(5) inside names.
    pub(super) fn jail_repositories(
        &self,
        target: &PkgTarget,
    ) -> Result<Vec<Repository>, PkgError> {
        let found = self.look_at(target, "read the sources of", &mut sources)?;
        repositories(&found).map_err(|source| PkgError::JailSources {
            of: target.shown(),
            source,
        })
    }

    pub(super) fn inventory(&self, target: &PkgTarget) -> Result<Inventory, PkgError> {
        let found = self.found(target)?;
        let text = |name: &str| {
            let found = found.iter().find(|(known, _)| known == name);
            found.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
        };
        let of = || target.shown();
        let status = text(STATUS).ok_or_else(|| PkgError::NoDatabase { of: of() })?;
        let set = InstalledSet::parse(&status).map_err(|source| PkgError::Database {
            of: of(),
            file: STATUS,
            source,
        })?;
        let archs = text(ARCH).unwrap_or_default();
        // The first is the native one; without the file it is dpkg's own, which is dpkg's package's.
        let first = archs
            .lines()
            .map(str::trim)
            .find(|line| is_architecture_name(line));
        let dpkg = set.packages.iter().find(|package| package.name == "dpkg");
        let arch = first.or(dpkg.map(|package| package.arch.as_str()));
        let arch = arch
            .ok_or_else(|| PkgError::NoDatabase { of: of() })?
            .to_owned();
        Ok(Inventory {
            auto: AutoMarks::parse(&text(STATES).unwrap_or_default()),
            arch,
            set,
        })
    }
}
