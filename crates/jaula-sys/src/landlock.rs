//! landlock(7) by raw calls.

use crate::beneath::{self, Fd, Links};
use crate::error::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

const CREATE_RULESET: libc::c_long = 444;
const ADD_RULE: libc::c_long = 445;
const RESTRICT_SELF: libc::c_long = 446;

const PATH_BENEATH: u32 = 1;
const NET_PORT: u32 = 2;

/// Rights that a rule on anything but a directory may hold: execute, write, read, truncate, device commands.
const OF_FILES: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15;

/// A ruleset to be made in the child, from what a path is in the jail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    /// LANDLOCK_ACCESS_FS_* that are refused where no rule grants them.
    pub handled_files: u64,
    /// LANDLOCK_ACCESS_NET_*, likewise.
    pub handled_net: u64,
    /// LANDLOCK_SCOPE_*
    pub scoped: u64,
    /// Granted on paths, which are looked up beneath the jail's root.
    pub paths: Vec<(CString, u64)>,
    /// Granted on TCP ports.
    pub ports: Vec<(u16, u64)>,
}

#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

// The kernel has no padding after the descriptor.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

#[repr(C)]
struct NetPortAttr {
    allowed_access: u64,
    port: u64,
}

/// The version of the interface; 0 when the kernel has none, or has it switched off.
pub fn version() -> u32 {
    // SAFETY: with the flag for the version no attributes are read.
    let version = unsafe { libc::syscall(CREATE_RULESET, std::ptr::null::<u8>(), 0usize, 1u32) };
    u32::try_from(version).unwrap_or(0)
}

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// Makes the ruleset and restricts this process by it, for good.
pub(crate) fn restrict(set: &Ruleset) -> Result<(), Errno> {
    let attr = RulesetAttr {
        handled_access_fs: set.handled_files,
        handled_access_net: set.handled_net,
        scoped: set.scoped,
    };
    // An older kernel knows fewer fields; those it does not know are 0 here, which it accepts.
    // SAFETY: the structure is as long as said.
    let ruleset = check(unsafe {
        libc::syscall(
            CREATE_RULESET,
            &raw const attr,
            size_of::<RulesetAttr>(),
            0u32,
        )
    })?;
    let ruleset = Fd(ruleset as RawFd);
    // SAFETY: the path ends in NUL.
    let root = check(
        unsafe {
            libc::open(
                c"/".as_ptr(),
                libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC,
            )
        }
        .into(),
    )?;
    let root = Fd(root as RawFd);
    for (path, rights) in &set.paths {
        add_path(&ruleset, &root, path, *rights)?;
    }
    for (port, rights) in &set.ports {
        let rule = NetPortAttr {
            allowed_access: *rights,
            port: u64::from(*port),
        };
        // SAFETY: the structure is the one of this kind of rule.
        check(unsafe { libc::syscall(ADD_RULE, ruleset.0, NET_PORT, &raw const rule, 0u32) })?;
    }
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(RESTRICT_SELF, ruleset.0, 0u32) })?;
    Ok(())
}

fn add_path(ruleset: &Fd, root: &Fd, path: &CStr, rights: u64) -> Result<(), Errno> {
    let at = beneath::open_raw(root.0, path, libc::O_PATH, Links::InRoot)?;
    // SAFETY: zero is a valid value of every field.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is written only.
    check(unsafe { libc::fstat(at.0, &raw mut stat) }.into())?;
    let directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let rule = PathBeneathAttr {
        allowed_access: if directory { rights } else { rights & OF_FILES },
        parent_fd: at.0,
    };
    // SAFETY: the structure is the one of this kind of rule.
    check(unsafe { libc::syscall(ADD_RULE, ruleset.0, PATH_BENEATH, &raw const rule, 0u32) })?;
    Ok(())
}
