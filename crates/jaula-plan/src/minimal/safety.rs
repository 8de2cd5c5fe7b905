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

/// The reasons for which others than root and this user could exchange something while he changes the jail. Where the
/// caller is root of a user namespace, whoever `/` belongs to is the host's root; in a directory with the sticky bit
/// nobody exchanges what is another one's; a group with a user's number is his own.
pub fn changeable(way: &[PathPart], top: &[PathPart], user: u32) -> Vec<Unsafe> {
    let host = way.first().map_or(0, |part| part.uid);
    let mut parts: Vec<PathPart> = Vec::new();
    let owned = |part: &PathPart| {
        let mut part = part.clone();
        if part.uid == user {
            part.uid = 0;
        }
        if part.gid == user || part.gid == 0 {
            part.mode &= !0o020;
        }
        part
    };
    let last = way.len().saturating_sub(1);
    let mut shared = false;
    for (index, part) in way.iter().enumerate() {
        let mut part = owned(part);
        if index < last {
            // What stands in a shared directory may be anybody's whose number is not known here.
            if part.uid == host && !shared {
                part.uid = 0;
            }
            shared = part.mode & 0o1002 == 0o1002;
            if part.mode & 0o1000 != 0 {
                part.mode &= !0o022;
            }
        }
        parts.push(part);
    }
    let top: Vec<PathPart> = top.iter().map(owned).collect();
    let mut reasons = reasons(&parts, &top);
    reasons.retain(|reason| !matches!(reason.what, UnsafePart::Group { .. }));
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

    #[test]
    fn what_others_can_exchange_is_told_from_what_they_cannot() {
        let dir = |path, uid, gid, mode| part(path, PartKind::Directory, uid, gid, mode);
        let said = |way: &[PathPart], top: &[PathPart]| {
            let said = changeable(way, top, 0);
            said.iter().map(Unsafe::to_string).collect::<Vec<_>>()
        };
        // A user's, as he sees it from his namespace.
        let way = [
            dir("/", 65534, 65534, 0o755),
            dir("/tmp", 65534, 65534, 0o1777),
            dir("/tmp/j", 0, 0, 0o775),
        ];
        assert_eq!(said(&way, &[]), [] as [&str; 0]);
        // As root sees another one's.
        let way = [
            dir("/", 0, 0, 0o755),
            dir("/srv", 0, 5, 0o775),
            dir("/srv/j", 1000, 1000, 0o755),
        ];
        let top = [dir("/srv/j/usr", 0, 0, 0o757)];
        assert_eq!(
            said(&way, &top),
            [
                "/srv can be written by its group (mode 0775)",
                "/srv/j belongs to user 1000, not to root",
                "/srv/j/usr can be written by everybody (mode 0757)",
            ]
        );
        // As that user, and as another one.
        let way = [
            dir("/", 0, 0, 0o755),
            dir("/home", 0, 0, 0o775),
            dir("/home/j", 1000, 1000, 0o775),
        ];
        assert_eq!(changeable(&way, &[], 1000), []);
        assert_eq!(changeable(&way, &[], 1001).len(), 2);
    }

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
