//! Relations between packages: `Depends`, `Conflicts`, `Provides` and their kin (deb-control(5),
//! Debian policy 7.1).

use super::version::{self, cmp_versions};
use std::cmp::Ordering;
use std::fmt;

/// Most alternatives in one group.
pub const MAX_ALTERNATIVES: usize = 1024;

/// How the other package's version has to relate to the one named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Relation {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Relation {
    /// Whether version `have` stands in this relation to version `wanted`.
    pub fn holds(self, have: &str, wanted: &str) -> bool {
        let order = cmp_versions(have, wanted);
        match self {
            Self::Earlier => order == Ordering::Less,
            Self::EarlierOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::LaterOrEqual => order != Ordering::Less,
            Self::Later => order == Ordering::Greater,
        }
    }

    /// The sign, as Debian writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not a relation. `at` is the piece of text, at most 60 characters of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelationError {
    /// No package name where one has to be, or bytes that may not be in one.
    #[error("bad package name in relation {at:?}")]
    Name {
        /// The piece.
        at: String,
    },
    /// A bad architecture behind a colon.
    #[error("bad architecture qualifier in relation {at:?}")]
    Qualifier {
        /// The piece.
        at: String,
    },
    /// `(…)` that is not a sign and a version.
    #[error("bad version restriction in relation {at:?}")]
    Version {
        /// The piece.
        at: String,
    },
    /// `[…]` that is not a list of architectures, all or none of them negated.
    #[error("bad architecture list in relation {at:?}")]
    Architectures {
        /// The piece.
        at: String,
    },
    /// `<…>` that is not a list of build profiles.
    #[error("bad profile list in relation {at:?}")]
    Profiles {
        /// The piece.
        at: String,
    },
    /// Something behind the last part.
    #[error("unexpected text in relation {at:?}")]
    Trailing {
        /// The piece.
        at: String,
    },
    /// More than [`MAX_ALTERNATIVES`].
    #[error("more than {MAX_ALTERNATIVES} alternatives in one relation")]
    TooMany,
}

fn piece(text: &str) -> String {
    text.chars().take(60).collect()
}

/// One alternative: `name:qualifier (>= version) [arches] <profiles>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alternative<'a> {
    /// The package's name.
    pub name: &'a str,
    /// `any`, `native` or an architecture, from behind the colon.
    pub arch_qualifier: Option<&'a str>,
    /// The version restriction.
    pub version: Option<(Relation, &'a str)>,
    /// The inside of `[…]`, checked.
    pub arches: Option<&'a str>,
    /// All `<…>` with their brackets, checked.
    pub profiles: Option<&'a str>,
}

impl<'a> Alternative<'a> {
    /// Parses one alternative, white space around it allowed.
    pub fn parse(text: &'a str) -> Result<Self, RelationError> {
        let text = text.trim();
        // The bytes looked for are ASCII, so the place found is between characters.
        let name_end = text
            .bytes()
            .position(|b| b.is_ascii_whitespace() || matches!(b, b':' | b'(' | b'[' | b'<'))
            .unwrap_or(text.len());
        let (name, mut rest) = text.split_at(name_end);
        if !super::is_package_name(name) {
            return Err(RelationError::Name { at: piece(text) });
        }
        let mut parsed = Self {
            name,
            arch_qualifier: None,
            version: None,
            arches: None,
            profiles: None,
        };
        if let Some(after) = rest.strip_prefix(':') {
            let end = after
                .find(|c: char| c.is_ascii_whitespace() || matches!(c, '(' | '[' | '<'))
                .unwrap_or(after.len());
            let (qualifier, after) = after.split_at(end);
            if !super::is_architecture_name(qualifier) {
                return Err(RelationError::Qualifier { at: piece(text) });
            }
            parsed.arch_qualifier = Some(qualifier);
            rest = after;
        }
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('(') {
            let bad = || RelationError::Version { at: piece(text) };
            let (inside, after) = after.split_once(')').ok_or_else(bad)?;
            parsed.version = Some(parse_restriction(inside).ok_or_else(bad)?);
            rest = after.trim_start();
        }
        if let Some(after) = rest.strip_prefix('[') {
            let bad = || RelationError::Architectures { at: piece(text) };
            let (inside, after) = after.split_once(']').ok_or_else(bad)?;
            let words = inside.split_ascii_whitespace();
            let negated = words.clone().filter(|w| w.starts_with('!')).count();
            let total = words.clone().count();
            let good = words
                .clone()
                .all(|w| super::is_architecture_name(w.strip_prefix('!').unwrap_or(w)));
            if !good || total == 0 || (negated != 0 && negated != total) {
                return Err(bad());
            }
            parsed.arches = Some(inside);
            rest = after.trim_start();
        }
        if rest.starts_with('<') {
            let all = rest;
            let bad = || RelationError::Profiles { at: piece(text) };
            while let Some(after) = rest.strip_prefix('<') {
                let (inside, after) = after.split_once('>').ok_or_else(bad)?;
                let mut words = inside.split_ascii_whitespace().peekable();
                let name = |w: &str| {
                    let w = w.strip_prefix('!').unwrap_or(w);
                    !w.is_empty()
                        && w.bytes()
                            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'))
                };
                if words.peek().is_none() || !words.all(name) {
                    return Err(bad());
                }
                rest = after.trim_start();
            }
            parsed.profiles = all.get(..all.len() - rest.len()).map(str::trim_end);
        }
        if !rest.is_empty() {
            return Err(RelationError::Trailing { at: piece(text) });
        }
        Ok(parsed)
    }

    /// Whether the alternative counts for `arch` with the build profiles `profiles` active.
    pub fn applies(&self, arch: &str, profiles: &[&str]) -> bool {
        self.applies_to_arch(arch) && self.applies_to_profiles(profiles)
    }

    fn applies_to_arch(&self, arch: &str) -> bool {
        let Some(list) = self.arches else { return true };
        let mut words = list.split_ascii_whitespace().peekable();
        if words.peek().is_some_and(|w| w.starts_with('!')) {
            !words.any(|w| arch_matches(arch, w.strip_prefix('!').unwrap_or(w)))
        } else {
            words.any(|w| arch_matches(arch, w))
        }
    }

    /// One of the `<…>` lists has to hold as a whole.
    fn applies_to_profiles(&self, active: &[&str]) -> bool {
        let Some(lists) = self.profiles else {
            return true;
        };
        lists
            .split('>')
            .map(|l| l.trim_start().trim_start_matches('<'))
            .filter(|l| !l.trim().is_empty())
            .any(|list| {
                list.split_ascii_whitespace()
                    .all(|word| match word.strip_prefix('!') {
                        Some(word) => !active.contains(&word),
                        None => active.contains(&word),
                    })
            })
    }

    /// Whether a package of version `version` satisfies the version restriction.
    pub fn accepts_version(&self, version: &str) -> bool {
        self.version
            .is_none_or(|(relation, wanted)| relation.holds(version, wanted))
    }
}

impl fmt::Display for Alternative<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.arch_qualifier {
            write!(f, ":{qualifier}")?;
        }
        if let Some((relation, version)) = self.version {
            write!(f, " ({relation} {version})")?;
        }
        if let Some(arches) = self.arches {
            write!(f, " [{arches}]")?;
        }
        if let Some(profiles) = self.profiles {
            write!(f, " {profiles}")?;
        }
        Ok(())
    }
}

/// Parses the inside of `(…)`. A single `<` or `>` means `<=` and `>=`, as dpkg reads them.
fn parse_restriction(inside: &str) -> Option<(Relation, &str)> {
    let inside = inside.trim();
    let signs = [
        ("<<", Relation::Earlier),
        ("<=", Relation::EarlierOrEqual),
        (">=", Relation::LaterOrEqual),
        (">>", Relation::Later),
        ("=", Relation::Equal),
        ("<", Relation::EarlierOrEqual),
        (">", Relation::LaterOrEqual),
    ];
    let (relation, version) = signs
        .iter()
        .find_map(|(sign, relation)| Some((*relation, inside.strip_prefix(sign)?.trim_start())))?;
    version::validate(version).ok()?;
    Some((relation, version))
}

/// Whether architecture `arch` is meant by `pattern` (`amd64`, `any`, `linux-any`, `any-arm64`).
pub fn arch_matches(arch: &str, pattern: &str) -> bool {
    if arch == pattern || pattern == "any" {
        return true;
    }
    let split = |name: &'_ str| -> (String, String) {
        match name.rsplit_once('-') {
            Some((os, cpu)) => (os.to_owned(), cpu.to_owned()),
            None => ("linux".to_owned(), name.to_owned()),
        }
    };
    if !pattern.split('-').any(|part| part == "any") {
        return false;
    }
    let ((os, cpu), (pattern_os, pattern_cpu)) = (split(arch), split(pattern));
    (pattern_os == "any" || pattern_os == os || os.rsplit('-').next() == Some(pattern_os.as_str()))
        && (pattern_cpu == "any" || pattern_cpu == cpu)
}

/// Alternatives of which one is enough: `a | b (>= 1)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Group<'a> {
    /// In the order of the text, at least one.
    pub alternatives: Vec<Alternative<'a>>,
}

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, alternative) in self.alternatives.iter().enumerate() {
            if i > 0 {
                f.write_str(" | ")?;
            }
            alternative.fmt(f)?;
        }
        Ok(())
    }
}

/// The groups of a relation field, one after the other. Empty groups (a comma too many) are passed
/// over, as dpkg does.
pub fn groups(text: &str) -> impl Iterator<Item = Result<Group<'_>, RelationError>> {
    text.split(',')
        .map(str::trim)
        .filter(|g| !g.is_empty())
        .map(|group| {
            let mut alternatives = Vec::with_capacity(1);
            for text in group.split('|') {
                if alternatives.len() >= MAX_ALTERNATIVES {
                    return Err(RelationError::TooMany);
                }
                alternatives.push(Alternative::parse(text)?);
            }
            Ok(Group { alternatives })
        })
}

/// Parses a whole relation field.
pub fn parse(text: &str) -> Result<Vec<Group<'_>>, RelationError> {
    groups(text).collect()
}

/// Parses a relation field and keeps what counts for `arch` with `profiles` active. A group of which
/// nothing is left is dropped.
pub fn parse_for<'a>(
    text: &'a str,
    arch: &str,
    profiles: &[&str],
) -> Result<Vec<Group<'a>>, RelationError> {
    let mut all = parse(text)?;
    for group in &mut all {
        group.alternatives.retain(|a| a.applies(arch, profiles));
    }
    all.retain(|g| !g.alternatives.is_empty());
    Ok(all)
}

/// One thing a package provides: a name, perhaps with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Provide<'a> {
    /// The provided name.
    pub name: &'a str,
    /// The architecture qualifier, where there is one.
    pub arch_qualifier: Option<&'a str>,
    /// The version from `(= version)`.
    pub version: Option<&'a str>,
}

/// The entries of a `Provides` field. Only `=` may restrict (policy 7.5), and there are no alternatives.
pub fn provides(text: &str) -> impl Iterator<Item = Result<Provide<'_>, RelationError>> {
    text.split(',')
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .map(|text| {
            let parsed = Alternative::parse(text)?;
            let version = match parsed.version {
                None => None,
                Some((Relation::Equal, version)) => Some(version),
                Some(_) => return Err(RelationError::Version { at: piece(text) }),
            };
            Ok(Provide {
                name: parsed.name,
                arch_qualifier: parsed.arch_qualifier,
                version,
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_everything_at_once() {
        let text = "a (>= 1) [amd64 linux-any] <!nocheck> <stage1 cross> | b:any,\n c(<<2~), d (> 3), , e [!i386]";
        let all = parse(text).unwrap();
        assert_eq!(all.len(), 4);
        let a = all[0].alternatives[0];
        assert_eq!(
            (a.name, a.version),
            ("a", Some((Relation::LaterOrEqual, "1")))
        );
        assert_eq!(
            (a.arches, a.profiles),
            (Some("amd64 linux-any"), Some("<!nocheck> <stage1 cross>"))
        );
        assert_eq!(all[0].alternatives[1].arch_qualifier, Some("any"));
        assert_eq!(
            all[1].alternatives[0].version,
            Some((Relation::Earlier, "2~"))
        );
        assert_eq!(
            all[2].alternatives[0].version,
            Some((Relation::LaterOrEqual, "3"))
        );
        assert_eq!(
            all[0].to_string(),
            "a (>= 1) [amd64 linux-any] <!nocheck> <stage1 cross> | b:any"
        );
        for group in &all {
            assert_eq!(
                parse(&group.to_string()).unwrap(),
                std::slice::from_ref(group)
            );
        }
    }

    #[test]
    fn restricts_by_architecture_and_profile() {
        let count = |text: &str, arch: &str, profiles: &[&str]| {
            parse_for(text, arch, profiles).unwrap().len()
        };
        assert_eq!(count("a [amd64]", "amd64", &[]), 1);
        assert_eq!(count("a [amd64]", "arm64", &[]), 0);
        assert_eq!(count("a [!amd64 !i386]", "amd64", &[]), 0);
        assert_eq!(count("a [!amd64 !i386]", "arm64", &[]), 1);
        assert_eq!(count("a [linux-any]", "amd64", &[]), 1);
        assert_eq!(count("a [linux-any]", "hurd-i386", &[]), 0);
        assert_eq!(count("a [any-i386]", "hurd-i386", &[]), 1);
        assert_eq!(count("a [any-arm64]", "amd64", &[]), 0);
        assert_eq!(count("a [linux-any]", "musl-linux-amd64", &[]), 1);
        assert_eq!(count("a <!nocheck>", "amd64", &[]), 1);
        assert_eq!(count("a <!nocheck>", "amd64", &["nocheck"]), 0);
        assert_eq!(count("a <stage1 cross> <nodoc>", "amd64", &["stage1"]), 0);
        assert_eq!(
            count("a <stage1 cross> <nodoc>", "amd64", &["stage1", "cross"]),
            1
        );
        assert_eq!(count("a <stage1 cross> <nodoc>", "amd64", &["nodoc"]), 1);
        assert_eq!(
            parse_for("a [i386] | b", "amd64", &[]).unwrap()[0].to_string(),
            "b"
        );
    }

    #[test]
    fn relations_hold() {
        let a = Alternative::parse("a (<< 1.0)").unwrap();
        assert!(a.accepts_version("1.0~rc1") && !a.accepts_version("1.0"));
        assert!(Relation::Equal.holds("1.0", "1.0-0") && Relation::Later.holds("1.1", "1.0"));
        assert!(
            Relation::EarlierOrEqual.holds("1.0", "1.0")
                && Relation::LaterOrEqual.holds("1.0", "1.0")
        );
        assert!(Alternative::parse("a").unwrap().accepts_version("0"));
    }

    #[test]
    fn reads_provides() {
        let all: Vec<_> = provides("mail-transport-agent, libfoo (= 1:2.0-1), x:amd64")
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(
            all[1],
            Provide {
                name: "libfoo",
                arch_qualifier: None,
                version: Some("1:2.0-1")
            }
        );
        assert_eq!(all[2].arch_qualifier, Some("amd64"));
        assert!(provides("a (>= 1)").any(|p| p.is_err()));
        assert!(provides("a | b").any(|p| p.is_err()));
    }

    #[test]
    fn refusals() {
        for text in [
            "(>= 1)",
            "a (",
            "a (1)",
            "a (>= )",
            "a (>= 1",
            "a (== 1)",
            "a (>= ../x)",
            "a [",
            "a []",
            "a [amd64 !i386]",
            "a [amd/64]",
            "a <",
            "a <>",
            "a <!>",
            "a b",
            "a (= 1) b",
            "a:",
            "a:-x",
            "a |",
            "| a",
            "/etc",
            "..",
            "a\0b",
            "a (= 1)(= 2)",
            "é",
            "-a",
        ] {
            assert!(
                parse(text).is_err(),
                "{text:?} was accepted: {:?}",
                parse(text)
            );
        }
        let many = vec!["a"; MAX_ALTERNATIVES + 1].join("|");
        assert_eq!(parse(&many).unwrap_err(), RelationError::TooMany);
        assert!(parse("").unwrap().is_empty());
    }
}
