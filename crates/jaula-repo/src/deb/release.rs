//! Release files (Debian repository format). The text given here has been verified before: see
//! [`crate::verify`].

use super::control::{self, ControlError};
use super::packages::is_safe_path;
use crate::{date, hex};
use std::collections::BTreeMap;

/// Most files a Release may list.
const MAX_FILES: usize = 200_000;

/// Why a Release file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// Not one stanza.
    #[error("the Release file")]
    Control(#[from] ControlError),
    /// A field with an impossible value.
    #[error("the Release file has a bad {field}: {value:?}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value, at most 200 characters of it.
        value: String,
    },
    /// A field that has to be there.
    #[error("the Release file has no {field}")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// More files than any archive has.
    #[error("the Release file lists more than {MAX_FILES} files")]
    TooMany,
    /// Dated in the future.
    #[error("the Release file is dated {} and it is {} now: is the clock right?", date::format(*.date), date::format(*.now))]
    Future {
        /// Its date, seconds since 1970.
        date: u64,
        /// The time compared with.
        now: u64,
    },
    /// Past its `Valid-Until`, or older than the policy allows.
    #[error("the Release file expired on {} (it is {} now)", date::format(*.expired), date::format(*.now))]
    Expired {
        /// When, seconds since 1970.
        expired: u64,
        /// The time compared with.
        now: u64,
    },
}

/// A file the Release vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseFile {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

/// A Release file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Release {
    /// Who publishes it.
    pub origin: Option<String>,
    /// What it is called.
    pub label: Option<String>,
    /// `stable`, `testing`, …
    pub suite: Option<String>,
    /// `bookworm`, `trixie`, …
    pub codename: Option<String>,
    /// Version of the distribution.
    pub version: Option<String>,
    /// When it was made, seconds since 1970.
    pub date: Option<u64>,
    /// Until when it counts, seconds since 1970.
    pub valid_until: Option<u64>,
    /// Architectures, each a valid name.
    pub architectures: Vec<String>,
    /// Components (`main`, `updates/main`), each a safe path.
    pub components: Vec<String>,
    /// Whether indices can be fetched by their hash.
    pub acquire_by_hash: bool,
    /// `NotAutomatic: yes`: apt takes its packages only when asked to (apt_preferences(5)).
    pub not_automatic: bool,
    /// `ButAutomaticUpgrades: yes`: what was once taken from it is upgraded from it.
    pub but_automatic_upgrades: bool,
    /// `Packages`: the indices of each architecture have all packages of architecture `all` too.
    pub no_support_for_all: Option<String>,
    /// Path below the Release file's directory, what it has to be.
    pub files: BTreeMap<String, ReleaseFile>,
}

impl Release {
    /// Reads the text of a verified Release file. There has to be an `SHA256` table; weaker tables are
    /// not looked at.
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let stanza = control::single_stanza(text)?;
        let short = |value: &str| value.chars().take(200).collect::<String>();
        let word = |field: &'static str| match stanza.field(field) {
            None | Some("") => Ok(None),
            Some(value) if value.chars().any(char::is_control) || value.len() > 1024 => {
                Err(ReleaseError::Field {
                    field,
                    value: short(value),
                })
            }
            Some(value) => Ok(Some(value.to_owned())),
        };
        let time = |field: &'static str| match word(field)? {
            None => Ok(None),
            Some(value) => match date::parse_rfc2822(&value) {
                Some(time) => Ok(Some(time)),
                None => Err(ReleaseError::Field {
                    field,
                    value: short(&value),
                }),
            },
        };
        let words =
            |field: &'static str, good: fn(&str) -> bool| -> Result<Vec<String>, ReleaseError> {
                let all = stanza
                    .field(field)
                    .unwrap_or_default()
                    .split_ascii_whitespace();
                all.map(|w| match good(w) {
                    true => Ok(w.to_owned()),
                    false => Err(ReleaseError::Field {
                        field,
                        value: short(w),
                    }),
                })
                .collect()
            };
        let yes = |field: &'static str| {
            stanza
                .field(field)
                .is_some_and(|v| v.eq_ignore_ascii_case("yes"))
        };
        if stanza.field("SHA256").is_none() {
            return Err(ReleaseError::Missing { field: "SHA256" });
        }
        let mut files = BTreeMap::new();
        for line in stanza.lines("SHA256").filter(|l| !l.is_empty()) {
            let bad = || ReleaseError::Field {
                field: "SHA256",
                value: short(line),
            };
            let mut parts = line.split_ascii_whitespace();
            let (Some(hash), Some(size), Some(path), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(bad());
            };
            let sha256 = hex::decode32(hash).ok_or_else(bad)?;
            if size.is_empty() || !size.bytes().all(|b| b.is_ascii_digit()) || !is_safe_path(path) {
                return Err(bad());
            }
            let file = ReleaseFile {
                size: size.parse().map_err(|_| bad())?,
                sha256,
            };
            if files.len() >= MAX_FILES {
                return Err(ReleaseError::TooMany);
            }
            // The same line twice does no harm; two meanings for one path do.
            if files
                .insert(path.to_owned(), file)
                .is_some_and(|before| before != file)
            {
                return Err(bad());
            }
        }
        Ok(Self {
            origin: word("Origin")?,
            label: word("Label")?,
            suite: word("Suite")?,
            codename: word("Codename")?,
            version: word("Version")?,
            date: time("Date")?,
            valid_until: time("Valid-Until")?,
            architectures: words("Architectures", super::is_architecture_name)?,
            components: words("Components", is_safe_path)?,
            acquire_by_hash: yes("Acquire-By-Hash"),
            not_automatic: yes("NotAutomatic"),
            but_automatic_upgrades: yes("ButAutomaticUpgrades"),
            no_support_for_all: word("No-Support-for-Architecture-all")?,
            files,
        })
    }

    /// What the Release says of a file, by its path below the Release's directory.
    pub fn file(&self, path: &str) -> Option<&ReleaseFile> {
        self.files.get(path)
    }

    /// The path to fetch a file by its hash: `main/binary-amd64/by-hash/SHA256/…`.
    pub fn by_hash_path(path: &str, file: &ReleaseFile) -> String {
        let directory = path
            .rsplit_once('/')
            .map(|(directory, _)| format!("{directory}/"))
            .unwrap_or_default();
        format!("{directory}by-hash/SHA256/{}", hex::encode(&file.sha256))
    }
}

/// How old a Release may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshnessPolicy {
    /// Whether `Valid-Until` counts. Off only for snapshots of archives.
    pub valid_until: bool,
    /// Greatest age in seconds since `Date`, where one is wanted.
    pub max_age: Option<u64>,
    /// Seconds a date may lie in the future.
    pub clock_skew: u64,
}

impl Default for FreshnessPolicy {
    /// `Valid-Until` counts, no other age limit, ten seconds of skew as in apt.
    fn default() -> Self {
        Self {
            valid_until: true,
            max_age: None,
            clock_skew: 10,
        }
    }
}

/// Checks that a Release counts at the time `now` (seconds since 1970).
pub fn check_freshness(
    release: &Release,
    now: u64,
    policy: &FreshnessPolicy,
) -> Result<(), ReleaseError> {
    if let Some(date) = release
        .date
        .filter(|date| *date > now.saturating_add(policy.clock_skew))
    {
        return Err(ReleaseError::Future { date, now });
    }
    let limit = policy.valid_until.then_some(release.valid_until).flatten();
    let age = match policy.max_age {
        // Without a date nobody can tell how old it is.
        Some(_) if release.date.is_none() => return Err(ReleaseError::Missing { field: "Date" }),
        Some(age) => release.date.map(|date| date.saturating_add(age)),
        None => None,
    };
    match limit.into_iter().chain(age).min() {
        Some(expired) if expired < now => Err(ReleaseError::Expired { expired, now }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn text() -> String {
        format!(
            "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: bookworm\nDate: Sat, 06 Jun 2026 09:00:00 UTC\n\
             Valid-Until: Sat, 13 Jun 2026 09:00:00 UTC\nAcquire-By-Hash: yes\nArchitectures: all amd64\n\
             Components: main updates/main\nNo-Support-for-Architecture-all: Packages\nMD5Sum:\n x 1 y\nSHA256:\n {SHA} 12 main/binary-amd64/Packages.xz\n {SHA}        0 main/x\n"
        )
    }

    #[test]
    fn reads_the_fields_and_the_table() {
        let release = Release::parse(&text()).unwrap();
        assert_eq!(release.codename.as_deref(), Some("bookworm"));
        assert_eq!(release.architectures, ["all", "amd64"]);
        assert_eq!(release.components, ["main", "updates/main"]);
        assert!(release.acquire_by_hash);
        assert!(!release.not_automatic && !release.but_automatic_upgrades);
        let held = text().replace(
            "Acquire-By-Hash: yes",
            "NotAutomatic: yes\nButAutomaticUpgrades: Yes",
        );
        let held = Release::parse(&held).unwrap();
        assert!(held.not_automatic && held.but_automatic_upgrades);
        assert_eq!(release.no_support_for_all.as_deref(), Some("Packages"));
        let path = "main/binary-amd64/Packages.xz";
        let file = release.file(path).unwrap();
        assert_eq!(file.size, 12);
        assert_eq!(
            Release::by_hash_path(path, file),
            format!("main/binary-amd64/by-hash/SHA256/{SHA}")
        );
        assert_eq!(release.files.len(), 2);
    }

    #[test]
    fn refusals() {
        for (from, to) in [
            ("main/x", "../x"),
            ("main/x", "/main/x"),
            ("main/x", "main/../../x"),
            ("main/x", "main/\x1bx"),
            ("main/x", "main/x more"),
            (" 0 main", " -1 main"),
            (" 0 main", " 99999999999999999999 main"),
            (SHA, "beef"),
            ("Architectures: all", "Architectures: ../all"),
            ("Components: main", "Components: ../main"),
            ("Date: Sat", "Date: someday, Sat"),
            ("SHA256:", "SHA1:"),
            ("MD5Sum:", "\nMD5Sum:"),
            ("main/x", "main/binary-amd64/Packages.xz"),
            ("Suite: stable", "Suite: sta\x07ble"),
        ] {
            let bad = text().replace(from, to);
            assert!(Release::parse(&bad).is_err(), "{to:?}");
        }
        assert!(Release::parse("").is_err());
    }

    #[test]
    fn freshness() {
        let release = Release::parse(&text()).unwrap();
        let (date, until) = (release.date.unwrap(), release.valid_until.unwrap());
        let check = |now, policy: &FreshnessPolicy| check_freshness(&release, now, policy);
        let normal = FreshnessPolicy::default();
        assert_eq!(check(date, &normal), Ok(()));
        assert_eq!(check(until, &normal), Ok(()));
        assert_eq!(
            check(until + 1, &normal),
            Err(ReleaseError::Expired {
                expired: until,
                now: until + 1
            })
        );
        assert_eq!(
            check(date - 11, &normal),
            Err(ReleaseError::Future {
                date,
                now: date - 11
            })
        );
        assert_eq!(check(date - 10, &normal), Ok(()));
        let snapshot = FreshnessPolicy {
            valid_until: false,
            ..normal
        };
        assert_eq!(check(until + 1, &snapshot), Ok(()));
        let strict = FreshnessPolicy {
            max_age: Some(60),
            ..snapshot
        };
        assert_eq!(
            check(date + 61, &strict),
            Err(ReleaseError::Expired {
                expired: date + 60,
                now: date + 61
            })
        );
        let undated = Release {
            date: None,
            ..release.clone()
        };
        assert_eq!(
            check_freshness(&undated, date, &strict),
            Err(ReleaseError::Missing { field: "Date" })
        );
        let shown = check(until + 1, &normal).unwrap_err().to_string();
        assert!(
            shown.contains("expired on 2026-06-13 09:00:00 UTC"),
            "{shown}"
        );
    }
}
