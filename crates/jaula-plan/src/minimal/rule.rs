//! Rules: what belongs together though no header of a file says so. They are data; the program's own are in
//! `rules.toml`, a file of the same form adds to them.

use super::pattern::Pattern;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Bytes of one file of rules.
const MOST_BYTES: usize = 1 << 20;
/// Rules of one file.
const MOST_RULES: usize = 4096;

/// What comes into a jail together. Paths that the host does not have are passed over, unless `required` lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// What it is for, in a few words.
    pub comment: String,
    /// Patterns of paths: one of them in a jail brings the rule.
    pub when: Vec<String>,
    /// Programs by name or path, with all they need; patterns too.
    pub programs: Vec<String>,
    /// Files, directories with all that is in them, patterns; a name without `/` is a program. Libraries among them
    /// bring what they need.
    pub paths: Vec<String>,
    /// The same with their owner.
    pub keep_owner: Vec<String>,
    /// The same with their owner and set-id bits.
    pub keep_setuid: Vec<String>,
    /// Patterns of what of all this is left out.
    pub without: Vec<String>,
    /// Accounts of the host.
    pub users: Vec<String>,
    /// Groups of the host.
    pub groups: Vec<String>,
    /// Devices of the host.
    pub devices: Vec<String>,
    /// Directories that are empty.
    pub dirs: Vec<String>,
    /// Other rules that come along.
    pub includes: Vec<String>,
    /// Programs that must be there.
    pub required: Vec<String>,
}

impl Rule {
    /// Takes over what another one brings.
    pub fn join(&mut self, other: &Self) {
        for (own, more) in [
            (&mut self.when, &other.when),
            (&mut self.programs, &other.programs),
            (&mut self.paths, &other.paths),
            (&mut self.keep_owner, &other.keep_owner),
            (&mut self.keep_setuid, &other.keep_setuid),
            (&mut self.users, &other.users),
            (&mut self.groups, &other.groups),
            (&mut self.devices, &other.devices),
            (&mut self.dirs, &other.dirs),
            (&mut self.includes, &other.includes),
        ] {
            for one in more {
                if !own.contains(one) {
                    own.push(one.clone());
                }
            }
        }
        // What one of both wants is not left out, and what one needs not is not required.
        self.without
            .retain(|pattern| other.without.contains(pattern));
        self.required.retain(|name| other.required.contains(name));
    }
}

/// Rules by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    rules: BTreeMap<String, Rule>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    #[serde(default)]
    section: BTreeMap<String, Rule>,
    #[serde(default)]
    pack: BTreeMap<String, Rule>,
}

/// A file of rules that is not one.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// Its form.
    #[error("cannot read rules from {}: {text}", .file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// What is wrong, with line and column.
        text: String,
    },
    /// A pack that nothing brings.
    #[error("rule {name} of {} is a pack and has no when", .file.display())]
    NoWhen {
        /// The file.
        file: PathBuf,
        /// The rule.
        name: String,
    },
    /// An inclusion of nothing.
    #[error("rule {name} includes {included}, which does not exist")]
    Included {
        /// The rule.
        name: String,
        /// What it includes.
        included: String,
    },
}

impl Rules {
    /// The program's own.
    pub fn own() -> &'static Self {
        static OWN: OnceLock<Rules> = OnceLock::new();
        OWN.get_or_init(|| {
            let mut rules = Self::default();
            let text = include_str!("rules.toml");
            // A test reads them; what cannot be read would be no rule at all.
            let _read = rules.add(&PathBuf::from("rules.toml"), text);
            rules
        })
    }

    /// Adds those of a file; one of the same name replaces.
    ///
    /// # Errors
    /// When it is none.
    pub fn add(&mut self, file: &std::path::Path, text: &str) -> Result<(), RuleError> {
        let form = |text: String| RuleError::Form {
            file: file.to_owned(),
            text,
        };
        if text.len() > MOST_BYTES {
            return Err(form(format!("it has more than {MOST_BYTES} bytes")));
        }
        let read: RulesFile = toml::from_str(text).map_err(|error| form(error.to_string()))?;
        if read.section.len().saturating_add(read.pack.len()) > MOST_RULES {
            return Err(form(format!("it has more than {MOST_RULES} rules")));
        }
        for (name, rule) in &read.pack {
            if rule.when.is_empty() {
                return Err(RuleError::NoWhen {
                    file: file.to_owned(),
                    name: name.clone(),
                });
            }
        }
        for (name, mut rule) in read.section.into_iter().chain(read.pack) {
            rule.name.clone_from(&name);
            self.rules.insert(name, rule);
        }
        for rule in self.rules.values() {
            if let Some(included) = rule.includes.iter().find(|i| !self.rules.contains_key(*i)) {
                return Err(RuleError::Included {
                    name: rule.name.clone(),
                    included: included.clone(),
                });
            }
        }
        Ok(())
    }

    /// Puts a rule in; one of the same name is replaced.
    pub fn put(&mut self, rule: Rule) {
        self.rules.insert(rule.name.clone(), rule);
    }

    /// The rule of this name.
    pub fn named(&self, name: &str) -> Option<&Rule> {
        self.rules.get(name)
    }

    /// The rule of this name, if it can be asked for.
    pub fn section(&self, name: &str) -> Option<&Rule> {
        self.named(name).filter(|rule| rule.when.is_empty())
    }

    /// Those that can be asked for, by name.
    pub fn sections(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values().filter(|rule| rule.when.is_empty())
    }

    /// Those that what is in a jail brings, by name.
    pub fn packs(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values().filter(|rule| !rule.when.is_empty())
    }

    /// All, by name.
    pub fn all(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }
}

impl Rule {
    /// Whether a path brings it.
    pub(super) fn is_for(&self, path: &[u8]) -> bool {
        self.when.iter().any(|when| Pattern::new(when).fits(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_own_rules_can_be_read() {
        let mut rules = Rules::default();
        let read = rules.add(Path::new("rules.toml"), include_str!("rules.toml"));
        assert!(read.is_ok(), "{}", read.unwrap_err());
        for name in ["basicshell", "netutils", "editors", "jk_lsh", "git", "sftp"] {
            assert!(rules.named(name).is_some(), "{name}");
        }
        assert!(rules.packs().count() > 10);
        assert!(rules.all().all(|rule| !rule.comment.is_empty()));
    }

    #[test]
    fn what_is_no_rule_is_refused_with_its_place() {
        let mut rules = Rules::default();
        let mut add = |text: &str| {
            let error = rules.add(Path::new("r.toml"), text).unwrap_err();
            error.to_string()
        };
        assert!(add("[section.a]\npath = []\n").contains("line 2, column 1"));
        assert_eq!(
            add("[pack.a]\n"),
            "rule a of r.toml is a pack and has no when"
        );
        assert_eq!(
            add("[section.a]\nincludes = [\"b\"]\n"),
            "rule a includes b, which does not exist"
        );
    }
}
