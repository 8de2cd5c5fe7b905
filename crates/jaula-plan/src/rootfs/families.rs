//! The suites that debootstrap(8) knows by name, as data: mirror, keyring and the era's way with `/usr`.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const BUILTIN: &str = include_str!("../families.toml");

/// Relatives that one script of debootstrap's makes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Family {
    /// The suite that stands for all of them.
    pub script: String,
    /// Its entry in the table of distributions; the family's name when absent.
    distro: Option<String>,
    /// The archive.
    mirror: String,
    /// The archive of architectures that are not on the mirrors proper (amd64 and i386 are).
    ports_mirror: Option<String>,
    /// The archive's keyring, as its package installs it.
    keyring: PathBuf,
    /// The archive of releases that the mirrors no longer have.
    old_mirror: Option<String>,
    /// Its keyring; the same when absent.
    old_keyring: Option<PathBuf>,
    /// Suites that are only there.
    #[serde(default)]
    old: Vec<String>,
    /// The others.
    suites: Vec<String>,
    /// Suites with `/bin`, `/sbin` and `/lib` beside `/usr`.
    #[serde(default)]
    unmerged: Vec<String>,
    /// Suites of which only the `buildd` variant is so.
    #[serde(default)]
    unmerged_buildd: Vec<String>,
    /// Suites whose apt needs a package of its own to speak HTTPS.
    #[serde(default)]
    https_transport: Vec<String>,
    /// Suites in which a merged `/usr` is marked by the package `usr-is-merged`, instead of made by `usrmerge`.
    #[serde(default)]
    usr_is_merged: Vec<String>,
}

/// A suite and the family it is of, or is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relative {
    /// The distribution, by its name in the table.
    pub name: String,
    /// The suite itself.
    pub suite: String,
    /// The suite whose rules hold for it.
    like: String,
    /// The family.
    pub family: Family,
}

/// Every family, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Families(BTreeMap<String, Family>);

fn has(list: &[String], suite: &str) -> bool {
    list.iter().any(|known| known == suite)
}

impl Families {
    /// Those that come with the program.
    ///
    /// # Errors
    /// If the built-in text were broken, which a test excludes.
    pub fn builtin() -> Result<Self, toml::de::Error> {
        Ok(Self(toml::from_str(BUILTIN)?))
    }

    fn of(&self, suite: &str) -> Option<(&str, &Family)> {
        self.0
            .iter()
            .map(|(name, family)| (name.as_str(), family))
            .find(|(_, family)| has(&family.suites, suite) || has(&family.old, suite))
    }

    /// The suite `suite`, made as `like` is where another one was named.
    pub fn relative(&self, suite: &str, like: Option<&str>) -> Option<Relative> {
        let like = like.unwrap_or(suite);
        let (name, family) = self.of(like)?;
        Some(Relative {
            name: family.distro.clone().unwrap_or_else(|| name.to_owned()),
            suite: suite.to_owned(),
            // A suite that is like another family member has that one's rules, unless it has its own.
            like: if self.of(suite).is_some() {
                suite
            } else {
                like
            }
            .to_owned(),
            family: family.clone(),
        })
    }

    /// The suite that an unknown one is most likely to be like: by a family's name in what is known of it, else
    /// Debian's.
    pub fn likeliest(&self, words: &[&str]) -> Option<&str> {
        let named = self.0.iter().find(|(name, _)| {
            let name = name.as_str();
            words.iter().any(|word| word.to_lowercase().contains(name))
        });
        let family = named.map(|(_, family)| family);
        family
            .or_else(|| self.0.get("debian"))
            .map(|family| family.script.as_str())
    }

    /// The suite that stands for the family of this name.
    pub fn script(&self, family: &str) -> Option<&str> {
        self.0.get(family).map(|family| family.script.as_str())
    }

    /// Known suites, sorted within their family.
    pub fn suites(&self) -> impl Iterator<Item = &str> {
        self.0
            .values()
            .flat_map(|family| family.old.iter().chain(&family.suites).map(String::as_str))
    }
}

impl Relative {
    /// The archive that has the suite for this architecture.
    pub fn mirror(&self, arch: &str) -> &str {
        let family = &self.family;
        let ports = !matches!(arch, "amd64" | "i386");
        match (&family.old_mirror, &family.ports_mirror) {
            (Some(old), _) if has(&family.old, &self.suite) => old,
            (_, Some(mirror)) if ports => mirror,
            _ => &family.mirror,
        }
    }

    /// The keyring of the archive.
    pub fn keyring(&self) -> &Path {
        match &self.family.old_keyring {
            Some(old) if has(&self.family.old, &self.suite) => old,
            _ => &self.family.keyring,
        }
    }

    /// Whether `/bin` and its like are links into `/usr`.
    pub fn merged_usr(&self, buildd: bool) -> bool {
        let apart = has(&self.family.unmerged, &self.like)
            || buildd && has(&self.family.unmerged_buildd, &self.like);
        !apart
    }

    /// Packages without which apt in the tree could not read an HTTPS archive.
    pub fn https_packages(&self) -> &'static [&'static str] {
        if has(&self.family.https_transport, &self.like) {
            &["apt-transport-https", "ca-certificates"]
        } else {
            &["ca-certificates"]
        }
    }

    /// Whether the package `usr-is-merged` says that `/usr` is merged.
    pub fn has_usr_is_merged(&self) -> bool {
        has(&self.family.usr_is_merged, &self.like)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_families_are_sound() {
        let families = Families::builtin().expect("a table");
        let suites: Vec<&str> = families.suites().collect();
        for suite in &suites {
            assert!(suite.parse::<crate::names::Suite>().is_ok(), "{suite}");
            assert_eq!(
                suites.iter().filter(|s| s == &suite).count(),
                1,
                "{suite} twice"
            );
        }
        for family in families.0.values() {
            let own = |suite: &String| has(&family.suites, suite) || has(&family.old, suite);
            assert!(own(&family.script));
            for list in [
                &family.unmerged,
                &family.unmerged_buildd,
                &family.https_transport,
                &family.usr_is_merged,
            ] {
                for suite in list {
                    assert!(own(suite), "{suite} is of another family");
                }
            }
        }
    }

    #[test]
    fn eras_differ() {
        let families = Families::builtin().expect("a table");
        let relative = |suite, like| families.relative(suite, like).expect("known");
        let old = relative("lenny", None);
        assert_eq!(old.mirror("amd64"), "http://archive.debian.org/debian");
        assert!(old.keyring().ends_with("debian-archive-removed-keys.gpg"));
        assert!(!old.merged_usr(false));
        let bookworm = relative("bookworm", None);
        assert!(bookworm.merged_usr(false) && !bookworm.merged_usr(true));
        assert!(relative("trixie", None).merged_usr(true));
        assert_eq!(
            relative("noble", None).mirror("arm64"),
            "http://ports.ubuntu.com/ubuntu-ports"
        );
        // The chapter's relative of Debian's, and a fourth argument.
        assert!(families.relative("buho", None).is_none());
        let buho = relative("buho", Some("sid"));
        assert!(buho.merged_usr(true) && buho.suite == "buho");
        assert_eq!(
            families.likeliest(&["buho", "http://x/ubuntu"]),
            Some("gutsy")
        );
        assert_eq!(families.likeliest(&["buho"]), Some("sid"));
    }
}
