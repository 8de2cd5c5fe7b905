//! One thing that is asked for, and what is never given without being asked for.

use super::MinimalError;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "what", content = "name", rename_all = "snake_case")]
pub enum With {
    /// A section of the rules.
    Section(String),
    /// A program by its name, or any file or directory by its path.
    Program(String),
    /// What a package has installed on the host.
    Package(String),
    /// The first of these that there is.
    Any(String),
}

impl FromStr for With {
    type Err = MinimalError;

    fn from_str(word: &str) -> Result<Self, MinimalError> {
        let with = match word.split_once(':') {
            Some(("section", name)) => Self::Section(name.to_owned()),
            Some(("program", name)) => Self::Program(name.to_owned()),
            Some(("package", name)) => Self::Package(name.to_owned()),
            _ if word.contains('/') => Self::Program(word.to_owned()),
            _ => Self::Any(word.to_owned()),
        };
        let plain = with.name();
        let odd = plain.is_empty() || plain.contains(['\n', '\0']) || plain.starts_with('-');
        match odd {
            true => Err(MinimalError::Nothing {
                word: word.to_owned(),
                nearest: None,
            }),
            false => Ok(with),
        }
    }
}

impl With {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Section(name) | Self::Program(name) | Self::Package(name) | Self::Any(name) => {
                name
            }
        }
    }
}

impl fmt::Display for With {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Section(_) => "section:",
            Self::Program(name) if name.contains('/') => "",
            Self::Program(_) => "program:",
            Self::Package(_) => "package:",
            Self::Any(_) => "",
        };
        write!(f, "{kind}{}", self.name())
    }
}

/// What a jail should never be given without being told to.
pub(crate) fn is_secret(path: &Path) -> bool {
    // Asked of every file of large directories: most are answered here.
    let bytes = path.as_os_str().as_bytes();
    let beneath = |top: &[u8]| bytes.strip_prefix(top).is_some_and(|rest| !rest.is_empty());
    let key_of_user = bytes.windows(b"/id_".len()).any(|part| part == b"/id_");
    if [b"/usr/".as_slice(), b"/lib/"].into_iter().any(beneath) && !key_of_user {
        return false;
    }
    let name = path.file_name().unwrap_or_default().as_bytes();
    let in_ssh = path
        .parent()
        .is_some_and(|dir| dir.ancestors().any(|dir| dir.ends_with(".ssh")));
    let key = name.ends_with(b"_key")
        && (path.starts_with("/etc/ssh") || path.starts_with("/etc/dropbear"));
    ["shadow", "shadow-", "gshadow", "gshadow-"]
        .iter()
        .any(|secret| path == Path::new("/etc").join(secret))
        || key
        || path.starts_with("/etc/ssl/private")
        || path.starts_with("/etc/pki/tls/private")
        || path.starts_with("/etc/sudoers.d")
        || path == Path::new("/etc/sudoers")
        || path.starts_with("/root/.ssh")
        || path.starts_with("/root/.gnupg")
        || (in_ssh && name.starts_with(b"id_") && !name.ends_with(b".pub"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_secret_is_one_whatever_the_bytes_of_its_name() {
        for (path, secret) in [
            (&b"/etc/ssh/h\xff_key"[..], true),
            (b"/home/\xfe/.ssh/id_rsa", true),
            (b"/home/ana/.ssh/id_\xff", true),
            (b"/etc/ssl/private/\xff.pem", true),
            (b"/home/ana/.ssh/id_\xff.pub", false),
            (b"/home/ana/.ssh", false),
            (b"/etc/ssh/ssh_config", false),
            (b"/srv/\xff_key", false),
        ] {
            let path = Path::new(OsStr::from_bytes(path));
            assert_eq!(is_secret(path), secret, "{path:?}");
        }
    }
}
