//! What the plans of `jaula_plan::direct` need to know of the host, and nothing more: these programs start often.

use super::{Failure, Part};
use jaula_plan::direct::accounts::Accounts;
use jaula_plan::direct::map::MapFacts;
use jaula_plan::direct::{
    ChrootFacts, ChrootSpec, DirectOp, Kind, Kinds, NsenterFacts, NsenterSpec, UnshareFacts,
    UnshareSpec, Which,
};
use jaula_sys::direct as sys;
use jaula_sys::process;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most that is read of a list of accounts or identifiers.
const LIMIT: usize = 1 << 24;

fn read(path: &Path) -> Result<Vec<u8>, i32> {
    let mut bytes = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(LIMIT as u64).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.raw_os_error().unwrap_or(5)),
    }
}

/// The accounts of a root, which may be an enemy's. What cannot be read has no lines.
pub fn accounts(root: &Path) -> Accounts {
    let read = |path| jaula_sys::beneath::read_in_root(root, path, LIMIT).unwrap_or_default();
    Accounts {
        passwd: read("etc/passwd"),
        group: read("etc/group"),
    }
}

/// The effective user and group of this process.
pub fn caller() -> (u32, u32) {
    process::effective_ids()
}

/// Whether SELinux decides on this host.
pub fn selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Whether a path leads to this process's root.
pub fn is_root(path: &Path) -> bool {
    std::fs::canonicalize(path).is_ok_and(|path| path == Path::new("/"))
}

/// Of unshare(1).
pub fn probe_unshare(spec: &UnshareSpec) -> UnshareFacts {
    let (uid, gid) = process::effective_ids();
    let mut facts = UnshareFacts {
        uid,
        gid,
        ..UnshareFacts::default()
    };
    let mut user = None;
    for (which, facts) in [
        (Which::Users, &mut facts.users),
        (Which::Groups, &mut facts.groups),
    ] {
        let subordinate = spec.needs_subordinate(which);
        if subordinate && user.is_none() {
            user = accounts(Path::new("/")).user_of(uid).map(|user| user.name);
        }
        *facts = MapFacts {
            user: user.clone(),
            subordinate: subordinate.then(|| read(Path::new(which.subordinate()))),
            own: spec
                .needs_own(which)
                .then(|| read(Path::new(which.own_map()))),
        };
    }
    facts
}

/// Of nsenter(1).
///
/// # Errors
/// The target's user namespace cannot be looked at: [`Part::Look`].
pub fn probe_nsenter(spec: &NsenterSpec) -> Result<NsenterFacts, Failure> {
    let (true, Some(target)) = (spec.all, spec.target) else {
        return Ok(NsenterFacts::default());
    };
    let mut usable = Kinds::NONE;
    for kind in Kind::ALL {
        let own = PathBuf::from(format!("/proc/self/{}", kind.file()));
        let Ok(own) = sys::identity(&own) else {
            continue;
        };
        if kind == Kind::User {
            let path = PathBuf::from(format!("/proc/{}/{}", target.pid, kind.file()));
            let its = sys::identity(&path).map_err(|errno| {
                Failure::step(&DirectOp::Target(target), Part::Look(path), errno.0)
            })?;
            if its == own {
                continue;
            }
        }
        usable.insert(kind);
    }
    Ok(NsenterFacts { usable })
}

/// Of chroot(1). The new root's accounts are read beneath it before it becomes the root.
pub fn probe_chroot(spec: &ChrootSpec) -> ChrootFacts {
    if spec.user.is_none() && spec.groups.is_none() {
        return ChrootFacts::default();
    }
    let same_root = is_root(&spec.root);
    let outside = accounts(Path::new("/"));
    let inside = if same_root {
        outside.clone()
    } else {
        accounts(&spec.root)
    };
    ChrootFacts {
        same_root,
        outside,
        inside,
    }
}
