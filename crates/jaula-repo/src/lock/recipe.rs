//! The lock file of a recipe: the lock of its image, what it was made for, and what a build needs to know of each
//! package besides, so that it reads no index.
//!
//! ```text
//! jaula-recipe-lock 1
//! recipe <SHA-256 of what the recipe says of packages>
//! merged-usr yes
//! unpacks base-files 341 -
//! jaula-lock 1
//! …
//! ```
//!
//! `unpacks` has the name of a package, its installed size in KiB and its `Replaces`, in the order of the lock's packages.

use super::{Lock, LockError, LockPackage, MAX_BYTES, escape, hash, number, unescape};
use crate::hex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The number in the first line. Another number is refused.
pub const FORMAT: u32 = 1;

/// What unpacking needs to know of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacks {
    /// Installed size in KiB.
    pub installed_size: u64,
    /// `Replaces`.
    pub replaces: String,
}

/// A recipe's lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeLock {
    /// SHA-256 of what the recipe says of packages.
    pub recipe: [u8; 32],
    /// Whether the release has `/bin` and its like as links into `/usr`.
    pub merged_usr: bool,
    /// The image's lock.
    pub lock: Lock,
    /// Of each package of the lock.
    pub unpacks: Vec<Unpacks>,
}

impl fmt::Display for RecipeLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "jaula-recipe-lock {FORMAT}")?;
        writeln!(f, "recipe {}", hex::encode(&self.recipe))?;
        writeln!(
            f,
            "merged-usr {}",
            if self.merged_usr { "yes" } else { "no" }
        )?;
        for (package, unpacks) in self.lock.packages.iter().zip(&self.unpacks) {
            let (name, replaces) = (escape(&package.name), escape(&unpacks.replaces));
            writeln!(f, "unpacks {name} {} {replaces}", unpacks.installed_size)?;
        }
        write!(f, "{}", self.lock)
    }
}

impl RecipeLock {
    /// Reads a lock file. What comes out is written back to the byte.
    ///
    /// # Errors
    /// [`LockError`], with the line in this file.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        if text.len() > MAX_BYTES {
            return Err(LockError::TooLarge);
        }
        let bad = |line, what| LockError::Line { line, what };
        let mut at = 0;
        let mut line = 0;
        let mut next = || {
            let rest = text.get(at..).unwrap_or_default();
            let end = rest.find('\n')?;
            at += end + 1;
            line += 1;
            Some((line, at - end - 1, rest.get(..end).unwrap_or_default()))
        };
        let (_, _, first) = next().ok_or(bad(1, "not a recipe's lock file"))?;
        let found = first
            .strip_prefix("jaula-recipe-lock ")
            .ok_or(bad(1, "not a recipe's lock file"))?;
        if found != FORMAT.to_string() {
            let found = found.chars().take(40).collect();
            return Err(LockError::Format { found });
        }
        let (_, _, second) = next().ok_or(bad(2, "the file is cut"))?;
        let recipe = second.strip_prefix("recipe ").and_then(hash);
        let recipe = recipe.ok_or(bad(2, "expected `recipe` and a SHA-256"))?;
        let merged_usr = match next() {
            Some((_, _, "merged-usr yes")) => true,
            Some((_, _, "merged-usr no")) => false,
            _ => return Err(bad(3, "expected `merged-usr` and yes or no")),
        };
        let mut names = Vec::new();
        let mut unpacks = Vec::new();
        let (lines, start) = loop {
            let (line, start, text) = next().ok_or(bad(4, "there is no lock in the file"))?;
            if text.starts_with("jaula-lock ") {
                break (line - 1, start);
            }
            let words: Vec<&str> = text.split(' ').collect();
            let ["unpacks", name, size, replaces] = words.as_slice() else {
                return Err(bad(line, "expected `unpacks` or the lock"));
            };
            let read = || {
                let installed_size = number(size)?;
                let replaces = unescape(replaces)?;
                Some((
                    unescape(name)?,
                    Unpacks {
                        installed_size,
                        replaces,
                    },
                ))
            };
            let (name, of) = read().ok_or(bad(line, "a bad `unpacks`"))?;
            names.push(name);
            unpacks.push(of);
        };
        let lock = Lock::parse(text.get(start..).unwrap_or_default()).map_err(|error| {
            if let LockError::Line { line, what } = error {
                let line = line + lines;
                return LockError::Line { line, what };
            }
            error
        })?;
        let same = names.iter().eq(lock.packages.iter().map(|p| &p.name));
        if !same {
            return Err(bad(lines + 1, "its packages are not those of `unpacks`"));
        }
        Ok(Self {
            recipe,
            merged_usr,
            lock,
            unpacks,
        })
    }
}

/// A package in one version, as a change shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// Version.
    pub version: String,
    /// Size of its file in bytes.
    pub size: u64,
}

/// What became of one package between two locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// What it was; none for a new one.
    pub old: Option<At>,
    /// What it is; none for one that is gone.
    pub new: Option<At>,
}

/// What is different between the packages of two locks, by name. A package with the same version and other bytes is
/// different too.
pub fn changes(old: &Lock, new: &Lock) -> Vec<Change> {
    let index = |lock: &'_ Lock| -> BTreeMap<(String, String), LockPackage> {
        let packages = lock.packages.iter().cloned();
        packages
            .map(|package| ((package.name.clone(), package.arch.clone()), package))
            .collect()
    };
    let (before, after) = (index(old), index(new));
    let at = |package: &LockPackage| At {
        version: package.version.clone(),
        size: package.size,
    };
    let names: BTreeSet<&(String, String)> = before.keys().chain(after.keys()).collect();
    let change = |key: &(String, String)| {
        let (old, new) = (before.get(key), after.get(key));
        let same = old.map(|package| package.sha256) == new.map(|package| package.sha256);
        (!same).then(|| Change {
            name: key.0.clone(),
            arch: key.1.clone(),
            old: old.map(at),
            new: new.map(at),
        })
    };
    names.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{LockSource, Role};

    fn sample() -> RecipeLock {
        let package = |name: &str, version: &str| LockPackage {
            name: name.into(),
            version: version.into(),
            arch: "amd64".into(),
            size: 7,
            sha256: [u8::try_from(version.len()).unwrap_or(0); 32],
            source: 0,
            path: format!("pool/{name}"),
            role: Role::Requested,
        };
        let unpacks = |replaces: &str| Unpacks {
            installed_size: 3,
            replaces: replaces.into(),
        };
        RecipeLock {
            recipe: [7; 32],
            merged_usr: true,
            lock: Lock {
                distribution: "debian".into(),
                arch: "amd64".into(),
                variant: "custom".into(),
                sources: vec![LockSource {
                    date: 1,
                    uri: "http://x/y".into(),
                    suite: "bookworm".into(),
                    components: "main".into(),
                    release_sha256: [1; 32],
                }],
                packages: vec![package("a", "1.0"), package("b", "1")],
            },
            unpacks: vec![unpacks("old (<< 2), other"), unpacks("")],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = sample().to_string();
        assert!(text.contains("\nunpacks b 3 -\njaula-lock 1\n"), "{text}");
        assert_eq!(RecipeLock::parse(&text), Ok(sample()));
        for (from, to, line) in [
            ("recipe 07", "recipe 7", 2),
            ("merged-usr yes", "merged-usr", 3),
            ("unpacks b", "unpacks c", 6),
            ("unpacks b 3 -\n", "", 5),
            ("unpacks b 3", "unpacks b 03", 5),
            ("unpacks b", "unpack b", 5),
            ("source 1 ", "source x ", 10),
        ] {
            let text = text.replacen(from, to, 1);
            let error = RecipeLock::parse(&text).expect_err(from).to_string();
            assert!(error.contains(&format!("line {line} ")), "{from}: {error}");
        }
        assert!(RecipeLock::parse("").is_err());
        assert!(RecipeLock::parse("jaula-recipe-lock 2\n").is_err());
        assert!(RecipeLock::parse(text.split_at(text.len() - 1).0).is_err());
    }

    #[test]
    fn changes_are_told_by_name() {
        let (old, mut new) = (sample().lock, sample().lock);
        assert_eq!(changes(&old, &new), []);
        new.packages[0].version = "1.1".into();
        new.packages[0].sha256 = [9; 32];
        new.packages[1].name = "c".into();
        let found: Vec<(String, bool, bool)> = changes(&old, &new)
            .into_iter()
            .map(|change| (change.name, change.old.is_some(), change.new.is_some()))
            .collect();
        assert_eq!(
            found,
            [
                ("a".into(), true, true),
                ("b".into(), true, false),
                ("c".into(), false, true)
            ]
        );
    }
}
