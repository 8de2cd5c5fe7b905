//! Applies plans of `jaula_plan::direct` to the calling process, which must have one thread. What comes back after a
//! fork comes back twice: in the parent with the child's end, and in the child only when something failed there.

mod failure;
mod launch;
mod namespaces;
mod probe;
mod standby;
mod steps;
mod wait;

pub use failure::{Failure, Part};
pub use launch::{NumberFile, probe_launch, write_number};
pub use probe::{accounts, caller, is_root, probe_chroot, probe_nsenter, probe_unshare, selinux};

use jaula_plan::direct::{DirectOp, DirectPlan, Environment, Kind, Warning, program};
use jaula_sys::direct as sys;
use standby::Helpers;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The most that is read of a target's environment: what the kernel takes of arguments and environment (execve(2)).
const ENVIRONMENT: u64 = 8 << 20;

/// Descriptors that were opened before the process went anywhere, and what was learned on the way.
#[derive(Default)]
struct State {
    target: Option<(u32, OwnedFd)>,
    namespaces: [Option<OwnedFd>; Kind::ALL.len()],
    root: Option<OwnedFd>,
    work: Option<OwnedFd>,
    environment: Option<OwnedFd>,
    ids: Option<OwnedFd>,
    cgroup: Option<OwnedFd>,
    /// The target's user and group.
    target_ids: Option<(u32, u32)>,
    /// The first attempt to drop the supplementary groups failed.
    kept_groups: bool,
    helpers: Helpers,
    /// What was joined by [`DirectOp::TryJoin`].
    joined: jaula_plan::direct::Kinds,
}

/// Why [`apply`] comes back at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// This is the parent: its child ended with this code.
    Exited(u8),
    /// This is the parent: the signal that ended its child did not end it.
    Survived(i32),
}

/// Does what the plan says, and becomes the program. `warn` hears what is worth a word.
///
/// # Errors
/// The first step that fails ends it. What was done to the process stays done, since it ends; nothing else is left
/// behind: a helper that was not let go ends with this process or when this returns.
pub fn apply(plan: &DirectPlan, warn: &mut dyn FnMut(Warning)) -> Result<End, Failure> {
    let mut state = State::default();
    for op in &plan.ops {
        if let DirectOp::Warn(warning) = op {
            warn(*warning);
            continue;
        }
        if let Some(end) = steps::step(op, &mut state)? {
            return Ok(end);
        }
    }
    Err(become_program(plan, state))
}

/// Comes back only when it cannot.
fn become_program(plan: &DirectPlan, state: State) -> Failure {
    let wanted = &plan.program;
    let failed = |errno| Failure::Exec {
        name: wanted.name.clone(),
        errno,
    };
    let env = match (&wanted.env, &state.environment) {
        (Environment::Inherited, _) => None,
        (Environment::Given(list), _) => Some(list.clone()),
        (Environment::OfTarget, Some(file)) => match environment(file) {
            Ok(list) => Some(list),
            Err(error) => {
                return Failure::step(
                    &DirectOp::OpenEnvironment,
                    Part::Read,
                    error.raw_os_error().unwrap_or(libc_eio()),
                );
            }
        },
        (Environment::OfTarget, None) => Some(Vec::new()),
    };
    let path = match (&wanted.env, &env) {
        (Environment::OfTarget, Some(list)) => {
            let value = |entry: &OsString| {
                let value = entry.as_bytes().strip_prefix(b"PATH=")?;
                Some(OsStr::from_bytes(value).to_owned())
            };
            list.iter().find_map(value)
        }
        _ => wanted.path.clone(),
    };
    let text = |text: &OsStr| CString::new(text.as_bytes()).ok();
    let texts = |list: &[OsString]| list.iter().map(|t| text(t)).collect::<Option<Vec<_>>>();
    let paths: Option<Vec<_>> = program::candidates(&wanted.name, path.as_deref())
        .iter()
        .map(|path| text(path.as_os_str()))
        .collect();
    let (Some(paths), Some(args)) = (paths, texts(&wanted.args)) else {
        return failed(libc_einval());
    };
    let env = match env.as_deref().map(texts) {
        Some(None) => return failed(libc_einval()),
        Some(Some(env)) => Some(env),
        None => None,
    };
    // Every descriptor of ours closes by itself when the program starts.
    failed(sys::exec(&paths, &args, env.as_deref()).0)
}

const fn libc_eio() -> i32 {
    5
}

const fn libc_einval() -> i32 {
    22
}

/// The environment of a process (proc_pid_environ(5)); of several entries for one name the last counts.
fn environment(file: &OwnedFd) -> std::io::Result<Vec<OsString>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::from(file.as_fd().try_clone_to_owned()?);
    file.take(ENVIRONMENT).read_to_end(&mut bytes)?;
    let mut list: Vec<OsString> = Vec::new();
    let mut names = std::collections::HashSet::new();
    for entry in bytes.split(|byte| *byte == 0).rev() {
        let Some(equals) = entry.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let name = entry.get(..equals).unwrap_or_default();
        if !name.is_empty() && names.insert(name.to_vec()) {
            list.push(OsString::from_vec(entry.to_vec()));
        }
    }
    list.reverse();
    Ok(list)
}

#[cfg(test)]
mod tests;
