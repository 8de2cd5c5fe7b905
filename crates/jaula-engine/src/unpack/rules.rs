//! What the administrator of a tree, or a package's script, decided about paths: diversions and stat overrides, as
//! dpkg-divert(1) and dpkg-statoverride(1) keep them.

use super::error::UnpackError;
use std::collections::HashMap;

/// `/var/lib/dpkg/diversions`: three lines each, the path, where it goes, and the package that may keep the path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diversions {
    by_path: HashMap<Vec<u8>, (Vec<u8>, String)>,
}

impl Diversions {
    /// Reads the file's text.
    ///
    /// # Errors
    /// [`UnpackError::Database`] if the lines are not three each, or a path is not absolute or leads up.
    pub fn parse(text: &str) -> Result<Self, UnpackError> {
        let bad = |line: &str| UnpackError::Database {
            file: "var/lib/dpkg/diversions",
            line: line.to_owned(),
        };
        let mut by_path = HashMap::new();
        let mut lines = text.lines();
        while let Some(from) = lines.next() {
            let (Some(to), Some(package)) = (lines.next(), lines.next()) else {
                return Err(bad(from));
            };
            let path = |line: &str| {
                let path = line.strip_prefix('/').ok_or_else(|| bad(line))?;
                let path =
                    jaula_repo::tar::TarPath::parse(path.as_bytes()).map_err(|_| bad(line))?;
                Ok::<_, UnpackError>(path.as_bytes().to_vec())
            };
            by_path.insert(path(from)?, (path(to)?, package.to_owned()));
        }
        Ok(Self { by_path })
    }

    /// Where `path` of `package` really goes, if not there.
    pub fn of(&self, path: &[u8], package: &str) -> Option<&[u8]> {
        self.by_path
            .get(path)
            .filter(|(_, by)| by != package)
            .map(|(to, _)| to.as_slice())
    }

    /// Whether `package` is the one that diverted `path`, and so keeps it.
    pub fn is_by(&self, path: &[u8], package: &str) -> bool {
        self.by_path.get(path).is_some_and(|(_, by)| by == package)
    }

    /// Every diversion: the path, where it goes, and who keeps the path.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], &str)> {
        self.by_path
            .iter()
            .map(|(from, (to, by))| (from.as_slice(), to.as_slice(), by.as_str()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }
}

/// `/var/lib/dpkg/statoverride`: `USER GROUP MODE PATH`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatOverrides {
    by_path: HashMap<Vec<u8>, (u32, u32, u32)>,
}

impl StatOverrides {
    /// Reads the file's text; names are looked up in the tree's own `passwd` and `group`.
    ///
    /// # Errors
    /// [`UnpackError::Database`] for a line that makes no sense or an unknown name.
    pub fn parse(text: &str, passwd: &str, group: &str) -> Result<Self, UnpackError> {
        let mut by_path = HashMap::new();
        for line in text.lines() {
            let bad = || UnpackError::Database {
                file: "var/lib/dpkg/statoverride",
                line: line.to_owned(),
            };
            let mut words = line.splitn(4, ' ');
            let mut word = || words.next().ok_or_else(bad);
            let (user, group_name, mode, path) = (word()?, word()?, word()?, word()?);
            let mode = u32::from_str_radix(mode, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .ok_or_else(bad)?;
            let uid = id(user, passwd).ok_or_else(bad)?;
            let gid = id(group_name, group).ok_or_else(bad)?;
            let path = path.strip_prefix('/').ok_or_else(bad)?;
            by_path.insert(path.as_bytes().to_vec(), (uid, gid, mode));
        }
        Ok(Self { by_path })
    }

    /// Owner, group and mode of `path`, if they are overridden.
    pub fn of(&self, path: &[u8]) -> Option<(u32, u32, u32)> {
        self.by_path.get(path).copied()
    }
}

/// `#NUMBER`, or the third field of the line of that name.
fn id(name: &str, database: &str) -> Option<u32> {
    if let Some(number) = name.strip_prefix('#') {
        return number.parse().ok();
    }
    let line = database
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}
