//! Whether a directory is safe as the root of a jail: who can change it, or what leads to it, can let a set-user-id
//! program or a login into a root of his own making.

use crate::explain::shown;
use std::fmt;
use std::path::{Path, PathBuf};

/// The directories of a jail that its programs trust.
pub const TOP: [&str; 10] = [
    "etc", "usr", "var", "bin", "dev", "proc", "sbin", "sys", "lib", "lib64",
];

/// What is at one place of the path to a jail, or in it; a last link not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPart {
    /// Its path on the host.
    pub path: PathBuf,
    /// What it is.
    pub kind: PartKind,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
}

/// The sorts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartKind {
    /// Nothing is there.
    Missing,
    /// A directory.
    Directory,
    /// A link to this place.
    Link(PathBuf),
    /// Something else.
    Other,
}

/// One reason why a jail is not safe.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Unsafe {
    /// The place.
    pub path: PathBuf,
    /// What is wrong with it.
    #[serde(flatten)]
    pub what: UnsafePart,
}

/// What may be wrong with a place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum UnsafePart {
    /// A link that leads elsewhere than into `usr/`.
    Link {
        /// Where it leads.
        target: PathBuf,
    },
    /// Neither a directory nor a link.
    NoDirectory,
    /// Somebody else's.
    Owner {
        /// Whose.
        uid: u32,
    },
    /// Another group's.
    Group {
        /// Which.
        gid: u32,
    },
    /// The group can write in it.
    GroupWritable {
        /// The permission bits.
        mode: u32,
    },
    /// Everybody can.
    WorldWritable {
        /// The permission bits.
        mode: u32,
    },
}

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", shown(&self.path))?;
        match &self.what {
            UnsafePart::Link { target } => write!(f, "is a link to {}", shown(target)),
            UnsafePart::NoDirectory => f.write_str("is not a directory"),
            UnsafePart::Owner { uid } => write!(f, "belongs to user {uid}, not to root"),
            UnsafePart::Group { gid } => write!(f, "belongs to group {gid}, not to root's"),
            UnsafePart::GroupWritable { mode } => {
                write!(f, "can be written by its group (mode {mode:04o})")
            }
            UnsafePart::WorldWritable { mode } => {
                write!(f, "can be written by everybody (mode {mode:04o})")
            }
        }
    }
}

/// Every reason against a jail: `way` are `/` and each directory down to the jail, the jail itself last; `top` are
/// those of [`TOP`] in it. What is missing is no reason.
pub fn reasons(way: &[PathPart], top: &[PathPart]) -> Vec<Unsafe> {
    let way = way.iter().map(|part| (part, false));
    let top = top.iter().map(|part| (part, true));
    let mut reasons = Vec::new();
    for (part, in_jail) in way.chain(top) {
        let mut add = |what| {
            reasons.push(Unsafe {
                path: part.path.clone(),
                what,
            });
        };
        match &part.kind {
            PartKind::Missing => continue,
            PartKind::Link(target) if in_jail && into_usr(target) => continue,
            PartKind::Link(target) => {
                let target = target.clone();
                add(UnsafePart::Link { target });
                continue;
            }
            PartKind::Other => add(UnsafePart::NoDirectory),
            PartKind::Directory => {}
        }
        if part.uid != 0 {
            add(UnsafePart::Owner { uid: part.uid });
        }
        if part.gid != 0 {
            add(UnsafePart::Group { gid: part.gid });
        }
        let mode = part.mode;
        if mode & 0o020 != 0 {
            add(UnsafePart::GroupWritable { mode });
        }
        if mode & 0o002 != 0 {
            add(UnsafePart::WorldWritable { mode });
        }
    }
    reasons
}

/// As a merged `/usr` has it: `bin -> usr/bin`, also written absolutely.
fn into_usr(target: &Path) -> bool {
    let relative = target.strip_prefix("/").unwrap_or(target);
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    relative.starts_with("usr") && relative.components().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(path: &str, kind: PartKind, uid: u32, gid: u32, mode: u32) -> PathPart {
        PathPart {
            path: path.into(),
            kind,
            uid,
            gid,
            mode,
        }
    }

    #[test]
    fn each_reason_is_said() {
        let dir = |path, uid, gid, mode| part(path, PartKind::Directory, uid, gid, mode);
        let link = |path, to: &str| part(path, PartKind::Link(to.into()), 0, 0, 0o777);
        let way = [
            dir("/", 0, 0, 0o755),
            dir("/tmp", 0, 0, 0o1777),
            link("/tmp/a", "/x"),
            dir("/tmp/a/j", 7, 8, 0o755),
        ];
        let top = [
            link("/tmp/a/j/bin", "usr/bin"),
            link("/tmp/a/j/lib", "usr/../../x"),
            part("/tmp/a/j/sys", PartKind::Missing, 0, 0, 0),
            part("/tmp/a/j/etc", PartKind::Other, 0, 0, 0o644),
        ];
        let said: Vec<String> = reasons(&way, &top).iter().map(Unsafe::to_string).collect();
        assert_eq!(
            said,
            [
                "/tmp can be written by its group (mode 1777)",
                "/tmp can be written by everybody (mode 1777)",
                "/tmp/a is a link to /x",
                "/tmp/a/j belongs to user 7, not to root",
                "/tmp/a/j belongs to group 8, not to root's",
                "/tmp/a/j/lib is a link to usr/../../x",
                "/tmp/a/j/etc is not a directory",
            ]
        );
    }
}
