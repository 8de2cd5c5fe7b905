//! What this host allows, found by doing the real next step in a process that is thrown away.

use crate::outcome::Gate;
use crate::session::{self, Caller, Need};
use jaula_plan::net::guest::GuestFacts;
use jaula_plan::net::nat::NatPlan;
use jaula_plan::spec::net::NatSpec;
use jaula_sys::child::Op;
use jaula_sys::idmap::{self, Range};
use jaula_sys::seccomp::{Filter, Options};
use jaula_sys::signal::Blocked;
use jaula_sys::spawn::{Payload, Progress, Spawn, ns};
use jaula_sys::{SysError, process, userns};
use std::ffi::CString;
use std::fs::OpenOptions;
use std::path::Path;

type Found = Result<String, String>;

/// Every gate, in the order in which a jail comes to it. `store` is where images are kept. The process must have one
/// thread.
pub fn gates(store: &Path) -> Vec<Gate> {
    let caller = Caller::current();
    let gate = |name: &str, found: Found, follows: &str, fix: &str| Gate {
        name: name.to_owned(),
        open: found.is_ok(),
        found: found.unwrap_or_else(|why| why),
        follows: follows.to_owned(),
        fix: fix.to_owned(),
    };
    vec![
        gate(
            "user namespaces",
            trial(ns::CLONE_NEWUSER, |_| Vec::new()),
            "no jail at all without root; with root only --ids host",
            "set user.max_user_namespaces above 0; on Ubuntu an AppArmor profile with userns for jaula; on old Debian kernel.unprivileged_userns_clone=1",
        ),
        gate(
            "subordinate identifiers",
            subordinate(&caller),
            "jails of one user: no program in them can be another",
            "install the package uidmap, and give the user a range in /etc/subuid and /etc/subgid",
        ),
        gate(
            "pid file descriptors",
            said(process::pidfd(std::process::id()).map(drop)),
            "no jail: Linux 5.4 or later is needed",
            "a newer kernel",
        ),
        gate(
            "openat2",
            said(userns::openat2()),
            "paths in trees are walked step by step, more slowly",
            "Linux 5.6 or later, and a container runtime that does not filter it",
        ),
        gate(
            "network namespaces",
            trial(ns::CLONE_NEWNET, |_| vec![Op::LoopbackUp]),
            "only jails with --net host",
            "a kernel with CONFIG_NET_NS",
        ),
        gate(
            "overlay in a user namespace",
            trial(0, overlay),
            "images cannot be run without being written",
            "Linux 5.11 or later with the module overlay",
        ),
        gate(
            "attributes in memory file systems",
            trial(0, |base| base).and_then(|_| xattr()),
            "a directory of an image cannot be removed and made again in a run",
            "Linux 6.6 or later with CONFIG_TMPFS_XATTR",
        ),
        gate(
            "interpreters of a jail's own",
            interpreters(),
            "programs of other machines run only where the host's own binfmt_misc starts them",
            "Linux 6.7 or later with the module binfmt_misc",
        ),
        gate(
            "id-mapped mounts",
            id_mapped(store, &caller),
            "root's jails need --ids host",
            "keep the store on ext4, xfs, btrfs or tmpfs; Linux 5.12 or later (5.19 under overlay)",
        ),
        gate(
            "system call filter",
            filter(),
            "no jail: its filter is never left out",
            "a kernel with CONFIG_SECCOMP_FILTER",
        ),
        gate(
            "control groups",
            control_groups(),
            "no limits of memory, processes or CPU",
            "mount the unified hierarchy, or delegate a group to the user (systemd: Delegate=yes)",
        ),
        gate(
            "FUSE",
            device("/dev/fuse"),
            "no image can be mounted as a file system of the user's own",
            "load the module fuse; let the user open /dev/fuse",
        ),
        gate(
            "loop devices",
            device("/dev/loop-control"),
            "disk images cannot be mounted",
            "root, and the module loop",
        ),
        gate(
            "the outside without root",
            outside(),
            "no --net nat",
            "install the package passt; load the module tun, and let the user open /dev/net/tun",
        ),
        gate(
            "packet filter",
            packet_filter(),
            "no networks between jails",
            "the module nf_tables",
        ),
    ]
}

fn said(result: Result<(), SysError>) -> Found {
    result
        .map(|()| "works".to_owned())
        .map_err(|error| error.to_string())
}

/// Starts a process in a user namespace and `more`, with one identifier mapped, and lets it do these operations. Slot
/// 0 is a file system in memory, and the working directory.
fn trial(more: i32, then: impl Fn(Vec<Op>) -> Vec<Op>) -> Found {
    trial_with(more, then, Vec::new(), &mut || 0)
}

fn memory() -> Vec<Op> {
    vec![
        Op::PrivateMounts,
        Op::NewFs {
            fs: c"tmpfs",
            options: Vec::new(),
            attrs: 0,
            slot: 0,
        },
        Op::AttachAside(0),
        Op::Chdir(0),
    ]
}

fn trial_with(
    more: i32,
    then: impl Fn(Vec<Op>) -> Vec<Op>,
    last: Vec<Op>,
    function: &mut dyn FnMut() -> u8,
) -> Found {
    let say = |error: SysError| error.to_string();
    let mut first = vec![Op::Await(Vec::new()), Op::BecomeRoot { set_groups: false }];
    first.append(&mut then(memory()));
    let blocked = Blocked::new().map_err(say)?;
    let namespaces = more | ns::CLONE_NEWUSER | ns::CLONE_NEWNS;
    let spawn = Spawn {
        namespaces,
        first: &first,
        last: &last,
        payload: Payload::Call(function),
        announce: false,
        as_pid_1: false,
    };
    let mut child = spawn.start().map_err(say)?;
    let (uid, gid) = process::effective_ids();
    let one = |outside| {
        [Range {
            inside: 0,
            outside,
            count: 1,
        }]
    };
    idmap::map(child.pid(), &one(uid), &one(gid), true).map_err(say)?;
    child.go(&[]).map_err(say)?;
    let progress = child.wait().map_err(say)?;
    drop(blocked);
    match progress {
        Progress::Ended(0) => Ok("works".to_owned()),
        Progress::Failed(op, errno) => {
            let op = first
                .iter()
                .chain(&last)
                .nth(op)
                .map(|op| format!("{op:?}"))
                .unwrap_or_default();
            let name = op.split([' ', '(']).next().unwrap_or_default().to_owned();
            Err(format!("{name}: {errno}"))
        }
        Progress::Ended(status) => {
            Err(std::io::Error::from_raw_os_error(status >> 8 & 0xff).to_string())
        }
        other => Err(format!("{other:?}")),
    }
}

fn overlay(mut ops: Vec<Op>) -> Vec<Op> {
    for name in [c"l", c"u", c"w"] {
        ops.push(Op::MakeDir {
            dir: 0,
            name: name.into(),
            mode: 0o755,
        });
    }
    let option = |key: &std::ffi::CStr, value: Option<&std::ffi::CStr>| {
        (CString::from(key), value.map(CString::from))
    };
    let options = vec![
        option(c"lowerdir", Some(c"l")),
        option(c"upperdir", Some(c"u")),
        option(c"workdir", Some(c"w")),
        option(c"userxattr", None),
    ];
    ops.push(Op::NewFs {
        fs: c"overlay",
        options,
        attrs: 0,
        slot: 1,
    });
    ops
}

/// Whether a user namespace may have a binfmt_misc of its own.
pub(crate) fn interpreters() -> Found {
    trial(0, |mut ops| {
        ops.push(Op::NewFs {
            fs: c"binfmt_misc",
            options: Vec::new(),
            attrs: 0,
            slot: 1,
        });
        ops
    })
}

/// The errno of a failed try as an exit code.
fn code(result: Result<(), SysError>) -> u8 {
    result.map_or_else(|error| u8::try_from(error.errno.0).unwrap_or(255), |()| 0)
}

fn xattr() -> Found {
    trial_with(0, |base| base, Vec::new(), &mut || {
        code(userns::user_xattr_here())
    })
}

fn filter() -> Found {
    let filter = Filter::new(Options {
        no_sync: false,
        mounts: false,
    });
    trial_with(
        0,
        |base| base,
        vec![Op::NoNewPrivs, Op::Seccomp(filter)],
        &mut || 0,
    )
}

fn packet_filter() -> Found {
    trial_with(ns::CLONE_NEWNET, |base| base, Vec::new(), &mut || {
        code(userns::netfilter_socket())
    })
}

fn subordinate(caller: &Caller) -> Found {
    if caller.uid == 0 {
        return Ok("not needed by root".to_owned());
    }
    if let Some(why) = session::one_because() {
        return Ok(recorded(&why));
    }
    if let Some(ids) = session::ids() {
        return Ok(format!("{ids} identifiers"));
    }
    let (mut reader, writer) = std::io::pipe().map_err(|e| e.to_string())?;
    let mut writer = Some(writer);
    let mut try_it = || {
        use std::io::Write;
        let (why, code) = match session::enter(caller, Need::Users) {
            Ok(_) => match session::one_because() {
                Some(why) => (why, ONE),
                None => return 0,
            },
            Err(error) => (error.to_string(), 1),
        };
        // Without the message the exit code still says how it went.
        writer
            .take()
            .iter_mut()
            .for_each(|w| drop(w.write_all(why.as_bytes())));
        code
    };
    let child = userns::fork(&mut try_it).map_err(|e| e.to_string())?;
    drop(writer.take());
    let mut why = String::new();
    std::io::Read::read_to_string(&mut reader, &mut why).map_err(|e| e.to_string())?;
    match child.wait() {
        Ok(Some(0)) => Ok("works".to_owned()),
        Ok(Some(ONE)) => Ok(recorded(&why)),
        _ => Err(why),
    }
}

/// What the child that tries a session ends with when it has one identifier.
const ONE: u8 = 2;

fn recorded(why: &str) -> String {
    format!("none ({why}): images are made with one, and whose files are is recorded")
}

fn id_mapped(store: &Path, caller: &Caller) -> Found {
    if caller.uid != 0 || session::ids().is_some() {
        return Ok("not needed by this user".to_owned());
    }
    let place = store
        .ancestors()
        .find(|dir| dir.is_dir())
        .unwrap_or(Path::new("/"));
    let say = |error: SysError| error.to_string();
    let first = [Op::Await(Vec::new())];
    let blocked = Blocked::new().map_err(say)?;
    let namespaces = ns::CLONE_NEWUSER;
    let payload = Payload::Call(&mut || 0);
    let mut child = Spawn {
        namespaces,
        first: &first,
        last: &[],
        payload,
        announce: false,
        as_pid_1: false,
    }
    .start()
    .map_err(say)?;
    let all = [Range {
        inside: 0,
        outside: 0x7fff_0000,
        count: 65536,
    }];
    idmap::map(child.pid(), &all, &all, false).map_err(say)?;
    let userns = idmap::user_namespace(child.pid()).map_err(say)?;
    let tree = idmap::mapped_tree(place, &userns);
    child.go(&[]).map_err(say)?;
    child.wait().map_err(say)?;
    drop(blocked);
    tree.map(|_| format!("works on {}", place.display()))
        .map_err(say)
}

fn device(path: &str) -> Found {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Ok("works".to_owned()),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

/// What --net nat would go through.
fn outside() -> Found {
    let facts = GuestFacts {
        nat: crate::net::outside::facts(None),
        ..GuestFacts::default()
    };
    let plan =
        NatPlan::new(&NatSpec::default(), true, &facts).map_err(|error| error.to_string())?;
    Ok(plan.program.display().to_string())
}

/// The controllers, and in which hierarchy each is.
fn control_groups() -> Found {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let unified = [
        "/sys/fs/cgroup/cgroup.controllers",
        "/sys/fs/cgroup/unified/cgroup.controllers",
    ];
    let new: Vec<String> = unified
        .iter()
        .map(|p| read(p).trim().to_owned())
        .filter(|t| !t.is_empty())
        .collect();
    let table = read("/proc/cgroups");
    let old = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (name, hierarchy) = (fields.next()?, fields.next()?);
            (hierarchy != "0").then_some(name)
        });
    let old: Vec<&str> = old.collect();
    let text = match (new.join(" "), old.join(" ")) {
        (new, old) if new.is_empty() && old.is_empty() => {
            return Err("no controller in any hierarchy".to_owned());
        }
        (new, old) if old.is_empty() => format!("unified: {new}"),
        (new, old) if new.is_empty() => format!("old hierarchies: {old}"),
        (new, old) => format!("unified: {new}; old hierarchies: {old}"),
    };
    // The real next step: a group of our own in one of them.
    let made = [
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup/pids",
    ]
    .iter()
    .any(|top| {
        let group = Path::new(top).join(format!("jaula-doctor-{}", std::process::id()));
        let controlled = Path::new(top).join("cgroup.procs").exists();
        controlled && std::fs::create_dir(&group).is_ok() && std::fs::remove_dir(&group).is_ok()
    });
    if made {
        Ok(text)
    } else {
        Err(format!("{text}; this user may make no group"))
    }
}
