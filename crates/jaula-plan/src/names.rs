//! Names, validated once. A value of one of these types needs no further check wherever it travels:
//! none holds a slash, a control character or a leading dash or dot.

use std::fmt;
use std::str::FromStr;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("{what} is empty")]
    Empty {
        /// The kind of name.
        what: &'static str,
    },
    /// Longer than the limit of its kind.
    #[error("{what} {name:?} is longer than {limit} characters")]
    TooLong {
        /// The kind of name.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The most characters allowed.
        limit: usize,
    },
    /// Holds a character that its kind does not allow.
    #[error("{what} {name:?} may not hold {found:?}")]
    BadCharacter {
        /// The kind of name.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The first character refused.
        found: char,
    },
    /// Starts with a character that would make it an option, a hidden file or `..`.
    #[error("{what} {name:?} may not start with {found:?}")]
    BadStart {
        /// The kind of name.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The first character.
        found: char,
    },
}

fn check(what: &'static str, name: &str, limit: usize, extra: &[char]) -> Result<(), NameError> {
    let Some(first) = name.chars().next() else {
        return Err(NameError::Empty { what });
    };
    if name.len() > limit {
        let name = name.chars().take(limit).collect();
        return Err(NameError::TooLong { what, name, limit });
    }
    let bad = |c: char| !c.is_ascii_alphanumeric() && !extra.contains(&c);
    if let Some(found) = name.chars().find(|c| bad(*c)) {
        return Err(NameError::BadCharacter {
            what,
            name: name.to_owned(),
            found,
        });
    }
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::BadStart {
            what,
            name: name.to_owned(),
            found: first,
        });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $limit:literal, $extra:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type(String);

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                name.parse()
            }
        }

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                check($what, name, $limit, $extra)?;
                Ok(Self(name.to_owned()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of a jail in the store; also its host name unless another is given (so at most 63 characters).
    JailName, "jail name", 63, &['-', '_', '.']
);
name!(
    /// A distribution as the table of distributions calls it: `debian`, `ubuntu`.
    DistroName, "distribution", 63, &['-', '_', '.']
);
name!(
    /// A suite or codename of an archive: `bookworm`, `noble`, `stable`.
    Suite, "suite", 63, &['-', '_', '.', '+', '~']
);
name!(
    /// A component of an archive: `main`, `non-free-firmware`.
    Component, "component", 63, &['-', '_', '.', '+']
);
name!(
    /// A Debian architecture: `amd64`, `i386`, `arm64`.
    Arch, "architecture", 31, &['-']
);
name!(
    /// A package (Debian Policy 5.6.7; an upper-case letter is tolerated, as apt does).
    PackageName, "package", 255, &['-', '+', '.']
);
name!(
    /// A user of the host (passwd(5)); not of digits only, which would be taken for a number.
    UserName, "user name", 32, &['-', '_', '.']
);
name!(
    /// A host name of one label or several (`sethostname(2)` allows 64 bytes).
    HostName, "host name", 64, &['-', '.']
);
name!(
    /// A tag of an image in the store, `debian:bookworm` or `web`.
    Tag, "tag", 255, &['-', '_', '.', ':', '+', '~']
);

/// The name of a link of a network (netdevice(7)): at most fifteen bytes; any character but `/`, `:`, `%`, blanks and
/// control characters, and none that makes it an option or a directory.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String")]
pub struct LinkName(String);

impl LinkName {
    /// The most bytes.
    pub const LIMIT: usize = 15;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LinkName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl FromStr for LinkName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let what = "link name";
        let Some(first) = name.chars().next() else {
            return Err(NameError::Empty { what });
        };
        if name.len() > Self::LIMIT {
            let (name, limit) = (name.chars().take(64).collect(), Self::LIMIT);
            return Err(NameError::TooLong { what, name, limit });
        }
        let bad = |c: char| {
            c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%' | ',' | '\u{fffd}')
        };
        let name = name.to_owned();
        if let Some(found) = name.chars().find(|c| bad(*c)) {
            return Err(NameError::BadCharacter { what, name, found });
        }
        if first == '-' || name == "." || name == ".." {
            let found = first;
            return Err(NameError::BadStart { what, name, found });
        }
        Ok(Self(name))
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The SHA-256 digest of an image's lock, by which the store knows the image. Sixty-four hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&jaula_repo::hex::encode(&self.0))
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Digest {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let what = "digest";
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.is_empty() {
            return Err(NameError::Empty { what });
        }
        if let Some(found) = hex.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(NameError::BadCharacter {
                what,
                name: text.to_owned(),
                found,
            });
        }
        let mut bytes = [0u8; 32];
        if hex.len() != 64 {
            return Err(NameError::TooLong {
                what,
                name: hex.chars().take(64).collect(),
                limit: 64,
            });
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digit = |c: &u8| (*c as char).to_digit(16).unwrap_or(0) as u8;
            if let [high, low] = pair {
                *byte = digit(high) << 4 | digit(low);
            }
        }
        Ok(Self(bytes))
    }
}
