//! Device nodes of the host that a jail is given.

use crate::explain::shown;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// A device node of the host, at the same place inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec(PathBuf);

/// Why a word names no device that can be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Not beneath `/dev`.
    #[error("{} is not a path beneath /dev without \"..\"", shown(.0))]
    Outside(PathBuf),
    /// One that every jail has.
    #[error("the jail has a {} of its own", shown(.0))]
    Own(PathBuf),
    /// A mode that no mount can hold.
    #[error(
        "a device cannot be given for {0:?}: the kernel lets devices be written through read-only mounts, so only their own permissions say who may"
    )]
    Mode(String),
}

/// What a fresh `/dev` has.
const OWN: [&str; 14] = [
    "console", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
    "stdout", "tty", "urandom",
];

impl DeviceSpec {
    /// Where it is, in the host and inside.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for DeviceSpec {
    type Err = DeviceError;

    /// `PATH` or `PATH:rw`.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let path = match word.rsplit_once(':') {
            Some((path, "rw" | "rwm")) => path,
            Some((_, mode @ ("r" | "ro" | "w" | "m" | "rm" | "wm"))) => {
                return Err(DeviceError::Mode(mode.to_owned()));
            }
            _ => word,
        };
        let path = PathBuf::from(path);
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let beneath = path
            .strip_prefix("/dev")
            .ok()
            .filter(|rest| rest.components().next().is_some() && rest.components().all(plain));
        let Some(beneath) = beneath else {
            return Err(DeviceError::Outside(path));
        };
        let first = beneath.components().next().map(Component::as_os_str);
        if OWN
            .iter()
            .chain(&["zero"])
            .any(|own| first == Some(own.as_ref()))
        {
            return Err(DeviceError::Own(path));
        }
        Ok(Self(path.components().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_beneath_dev_and_not_the_jails_own() {
        for (word, path) in [
            ("/dev/kvm", "/dev/kvm"),
            ("/dev/fuse:rw", "/dev/fuse"),
            ("/dev/net/tun:rwm", "/dev/net/tun"),
            ("/dev//snd/./seq", "/dev/snd/seq"),
        ] {
            let device: DeviceSpec = word.parse().unwrap();
            assert_eq!(device.path(), Path::new(path), "{word}");
        }
        for (word, part) in [
            ("/dev", "beneath /dev"),
            ("/etc/passwd", "beneath /dev"),
            ("/dev/../etc/passwd", "beneath /dev"),
            ("kvm", "beneath /dev"),
            ("/devil", "beneath /dev"),
            ("/dev/null", "of its own"),
            ("/dev/pts/3", "of its own"),
            ("/dev/fd/9", "of its own"),
            ("/dev/kvm:ro", "read-only mounts"),
            ("/dev/sda:r", "read-only mounts"),
        ] {
            let error = word.parse::<DeviceSpec>().unwrap_err().to_string();
            assert!(error.contains(part), "{word}: {error}");
        }
    }
}
