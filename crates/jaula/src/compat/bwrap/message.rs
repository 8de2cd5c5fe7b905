//! What went wrong, in bwrap's words.

use jaula_engine::jail::bwrap::{BwrapError, Part, Stage};
use jaula_plan::bwrap::{BwrapOp, BwrapSpec};
use jaula_plan::setup_op::SetupOp;
use jaula_plan::spec::jail::OverlayTop;
use std::ffi::OsStr;
use std::path::Path;

const ENOENT: i32 = 2;
const EPERM: i32 = 1;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;
const ELOOP: i32 = 40;

/// strerror(3)
pub fn errno(number: i32) -> String {
    let text = std::io::Error::from_raw_os_error(number).to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The same for what mounts, where one of them misleads.
fn mounting(number: i32) -> String {
    match number {
        ENOSPC => "Limit exceeded (ENOSPC). (Hint: Check that /proc/sys/fs/mount-max is sufficient, typically 100000)".to_owned(),
        other => errno(other),
    }
}

fn shown(text: impl AsRef<OsStr>) -> String {
    text.as_ref().to_string_lossy().into_owned()
}

/// A path in the sandbox, as bwrap names it while it makes the sandbox.
fn new_root(path: &Path) -> String {
    format!("/newroot/{}", shown(path).trim_start_matches('/'))
}

/// The whole message, without `bwrap: `.
pub fn text(error: &BwrapError, spec: &BwrapSpec) -> String {
    match error {
        BwrapError::Source { path, errno: e } => {
            format!("Can't find source path {}: {}", shown(path), errno(*e))
        }
        BwrapError::Join { op, errno: e } => join(op, *e),
        BwrapError::Namespaces { user, errno: e } => namespaces(*user, *e),
        BwrapError::NotExecuted { errno: e } => {
            let program = spec.command.first().map(shown).unwrap_or_default();
            format!("execvp {program}: {}", errno(*e))
        }
        BwrapError::Told { errno: e } => format!("Write to info_fd: {}", errno(*e)),
        BwrapError::Operation {
            op,
            part,
            stage,
            errno: e,
            note,
        } => operation(op, *part, *stage, *e, note),
        BwrapError::Other { source } => source.to_string(),
    }
}

fn join(op: &BwrapOp, e: i32) -> String {
    match op {
        BwrapOp::JoinUser(_) if e == EINVAL => "Joining the specified user namespace failed, it might not be a descendant of the current user namespace.".to_owned(),
        BwrapOp::JoinUser(_) => format!("Joining specified user namespace failed: {}", errno(e)),
        BwrapOp::JoinSecondUser(_) => format!("Setting userns2 failed: {}", errno(e)),
        _ => format!("Setting pidns failed: {}", errno(e)),
    }
}

fn namespaces(user: bool, e: i32) -> String {
    match e {
        EINVAL if user => "Creating new namespace failed, likely because the kernel does not support user namespaces.  bwrap must be installed setuid on such systems.".to_owned(),
        EPERM if user => "No permissions to create a new namespace, likely because the kernel does not allow non-privileged user namespaces. On e.g. debian this can be enabled with 'sysctl kernel.unprivileged_userns_clone=1'.".to_owned(),
        ENOSPC => "Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)".to_owned(),
        other => format!("Creating new namespace failed: {}", errno(other)),
    }
}

fn operation(op: &BwrapOp, part: Part, stage: Stage, e: i32, note: &[u8]) -> String {
    let plain = |what: &str| format!("{what}: {}", errno(e));
    match op {
        BwrapOp::Tree(op) => tree(op, part, stage, e, note),
        BwrapOp::BindDescriptor { .. } if part == Part::Changed => {
            plain("Race condition binding dirfd")
        }
        BwrapOp::BindDescriptor { bind, .. } => tree(bind, part, stage, e, note),
        BwrapOp::NoNewPrivs => plain("Can't open /proc"),
        BwrapOp::ChangeIds { uid: Some(uid), .. } => plain(&format!("unable to switch to uid {uid}")),
        BwrapOp::ChangeIds { gid, .. } => {
            plain(&format!("unable to switch to gid {}", gid.unwrap_or_default()))
        }
        BwrapOp::Loopback => plain("loopback: Failed RTM_NEWLINK"),
        BwrapOp::Map { .. } => plain("setting up uid map"),
        BwrapOp::SlaveMounts => format!("Failed to make / slave: {}", mounting(e)),
        BwrapOp::Root => format!("Failed to mount tmpfs: {}", mounting(e)),
        BwrapOp::Proc { to, .. } => {
            made(to, true, part, stage, e, || mount_failed("proc", to, e))
        }
        BwrapOp::Dev { to, .. } => made(to, true, part, stage, e, || match part {
            Part::FileSystem => mount_failed("devpts", &to.join("pts"), e),
            Part::Attach => format!(
                "Can't bind mount /oldroot/dev on {}: Unable to mount source on destination: {}",
                new_root(to),
                mounting(e)
            ),
            _ => plain(&format!("Can't create file {}", shown(to))),
        }),
        BwrapOp::File { to, .. } => file(to, stage, e, "Can't create file"),
        BwrapOp::Data { to, .. } => match part {
            Part::Whole => file(to, stage, e, "Can't create tmpfile for"),
            Part::Place => made(to, false, part, stage, e, String::new),
            _ => bind_failed(Path::new("/bindfile"), to, e),
        },
        BwrapOp::HostName(name) => plain(&format!("Can't set hostname to {}", shown(name))),
        BwrapOp::PivotRoot => plain("pivot_root(/newroot)"),
        BwrapOp::JoinSecondUser(_) => plain("Setting userns2 failed"),
        BwrapOp::LastUserNamespace => plain("cannot open /proc/sys/user/max_user_namespaces"),
        BwrapOp::SecondUserNamespace => plain("unshare user ns"),
        BwrapOp::NoUserNamespace => {
            "creation of new user namespaces was not disabled as requested".to_owned()
        }
        BwrapOp::Bound(_) => plain("Dropping capability from bounds"),
        BwrapOp::Capabilities { .. } => plain("capset failed"),
        BwrapOp::Ambient(_) => plain("Adding ambient capability"),
        BwrapOp::Dumpable => plain("can't set dumpable"),
        BwrapOp::Chdir(dirs) => {
            let dir = dirs.first().map(shown).unwrap_or_default();
            plain(&format!("Can't chdir to {dir}"))
        }
        BwrapOp::NewSession => plain("setsid"),
        BwrapOp::Reap(reaper) => {
            let path = reaper.lock_files.first().map(shown).unwrap_or_default();
            match stage {
                Stage::Last => plain(&format!("Unable to lock file {path}")),
                _ => plain(&format!("Unable to open lock file {path}")),
            }
        }
        BwrapOp::DieWithParent => plain("prctl"),
        BwrapOp::Filters(_) if e == EINVAL => "Unable to set up system call filtering as requested: prctl(PR_SET_SECCOMP) reported EINVAL. (Hint: this requires a kernel configured with CONFIG_SECCOMP and CONFIG_SECCOMP_FILTER.)".to_owned(),
        BwrapOp::Filters(_) => plain("prctl(PR_SET_SECCOMP)"),
        _ => plain("Creating new namespace failed"),
    }
}

fn mount_failed(what: &str, to: &Path, e: i32) -> String {
    format!("Can't mount {what} on {}: {}", new_root(to), mounting(e))
}

fn bind_failed(from: &Path, to: &Path, e: i32) -> String {
    format!(
        "Can't bind mount /oldroot{} on {}: Unable to mount source on destination: {}",
        shown(from),
        new_root(to),
        mounting(e)
    )
}

/// A place that could not be made, or what `other` says.
fn made(
    to: &Path,
    directory: bool,
    part: Part,
    stage: Stage,
    e: i32,
    other: impl FnOnce() -> String,
) -> String {
    if part != Part::Place {
        return other();
    }
    let to = shown(to);
    let what = match (stage, directory) {
        (Stage::Parents, _) => "Can't mkdir parents for",
        (_, true) => "Can't mkdir",
        (_, false) => "Can't create file at",
    };
    format!("{what} {to}: {}", errno(e))
}

fn file(to: &Path, stage: Stage, e: i32, what: &str) -> String {
    let what = match stage {
        Stage::Parents => "Can't mkdir parents for",
        Stage::Data => "Can't write data to file",
        _ => what,
    };
    format!("{what} {}: {}", shown(to), errno(e))
}

fn tree(op: &SetupOp, part: Part, stage: Stage, e: i32, note: &[u8]) -> String {
    match op {
        SetupOp::Bind { from, to, .. } => made(to, from.is_dir(), part, stage, e, || match part {
            Part::Source if e == ENOENT => {
                format!("Can't get type of source {}: {}", shown(from), errno(e))
            }
            Part::Attributes => format!(
                "Can't bind mount /oldroot{} on {}: Unable to remount destination \"{}\" with correct flags: {}",
                shown(from),
                new_root(to),
                new_root(to),
                mounting(e)
            ),
            _ => bind_failed(from, to, e),
        }),
        SetupOp::Tmpfs { at, .. } => {
            made(at, true, part, stage, e, || mount_failed("tmpfs", at, e))
        }
        SetupOp::Mqueue { at } => made(at, true, part, stage, e, || mount_failed("mqueue", at, e)),
        SetupOp::Overlay { lower, to, top } => made(to, true, part, stage, e, || {
            let why = match e {
                ELOOP => "Overlay directories may not overlap".to_owned(),
                other => mounting(other),
            };
            let mut options = String::new();
            if let OverlayTop::Directory { upper, work } = top {
                options = format!(
                    "upperdir=/oldroot{},workdir=/oldroot{},",
                    shown(upper),
                    shown(work)
                );
            }
            let lower: Vec<String> = lower
                .iter()
                .map(|dir| format!("/oldroot{}", shown(dir)))
                .collect();
            format!(
                "Can't make overlay mount on {} with options {options}lowerdir={},userxattr: {why}",
                new_root(to),
                lower.join(":")
            )
        }),
        SetupOp::Directory { at, .. } => made(at, true, part, stage, e, String::new),
        SetupOp::Chmod { at, mode } => {
            format!("Can't chmod {mode:#o} {}: {}", shown(at), errno(e)).replace("0o", "0")
        }
        SetupOp::Link { at, .. } => {
            let at = shown(at);
            match (stage, e, note) {
                (Stage::Parents, ..) => format!("Can't mkdir parents for {at}: {}", errno(e)),
                (_, EEXIST, []) => {
                    format!("Can't make symlink at {at}: destination exists and is not a symlink")
                }
                (_, EEXIST, note) => {
                    let found = String::from_utf8_lossy(note);
                    format!("Can't make symlink at {at}: existing destination is {found}")
                }
                _ => format!("Can't make symlink at {at}: {}", errno(e)),
            }
        }
        SetupOp::RemountReadOnly { at } => {
            let at = new_root(at);
            let why = match e {
                EINVAL => format!("Unable to find \"{at}\" in mount table"),
                ENOENT => format!("realpath(destination): {}", errno(e)),
                _ => format!(
                    "Unable to remount destination \"{at}\" with correct flags: {}",
                    mounting(e)
                ),
            };
            format!("Can't remount readonly on {at}: {why}")
        }
        _ => errno(e),
    }
}
