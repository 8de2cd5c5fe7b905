//! Reading the host.

use jaula_plan::facts::host::{
    Account, CallerFacts, CallerKind, ETC_ENTRIES, Entry, EntryKind, HostFacts, KernelFacts, OwnIds,
};
use jaula_plan::facts::host::{PROGRAM_DIRS, ProgramsFacts};
use jaula_plan::names::Arch;
use jaula_plan::seccomp::Abi;
use jaula_plan::spec::jail::{
    Changes, IdRange, IdSpec, JailNet, JailSpec, MountSpec, RootSpec, SeccompSpec, UserSpec,
};
use std::path::{Path, PathBuf};

pub(crate) mod account;
pub(crate) mod gate;

pub use gate::gates;

/// What a plan of this jail needs to know of the host, and no more: it is on the way of every start.
pub fn host(spec: &JailSpec) -> HostFacts {
    let programs = matches!(spec.root, RootSpec::HostPrograms).then(programs);
    // The resolver's file may be a link to anywhere on the host; what it leads to is what is bound.
    let resolv_conf = spec.net == JailNet::Host && Path::new("/etc/resolv.conf").is_file();
    let needs_account = matches!(spec.user, UserSpec::Named(_)) || spec.command.is_empty();
    let arch = spec.arch.clone().or_else(|| arch(&spec.root));
    let foreign = arch.as_ref().filter(|_| spec.namespaces.user);
    HostFacts {
        caller: caller(),
        programs,
        interpreter: foreign.and_then(crate::image::foreign::interpreter),
        arch,
        resolv_conf,
        disks: crate::disk::look(spec),
        account: if needs_account { account(spec) } else { None },
        limits: crate::cgroup::facts(spec),
        net: crate::net::guest::facts(&spec.net, spec.lessee.as_ref()),
        kernel: kernel(spec),
        absent: absent(spec),
        ids: match &spec.ids {
            IdSpec::Map { .. } => OwnIds {
                users: own("/proc/self/uid_map"),
                groups: own("/proc/self/gid_map"),
            },
            _ => OwnIds::default(),
        },
    }
}

/// What a tree's shell is for, where the tree is a directory of which nothing is on record.
fn arch(root: &RootSpec) -> Option<Arch> {
    let RootSpec::Tree { dir, .. } = root else {
        return None;
    };
    let start = jaula_sys::beneath::read_in_root(dir, "bin/sh", jaula_repo::elf::NEEDED).ok()?;
    jaula_repo::elf::Identity::read(&start)?
        .debian_arch()?
        .parse()
        .ok()
}

/// Looked at only when a filter depends on it.
fn kernel(spec: &JailSpec) -> KernelFacts {
    let profile = matches!(spec.seccomp, SeccompSpec::Profile(_));
    KernelFacts {
        native: if cfg!(target_arch = "aarch64") {
            Abi::Aarch64
        } else {
            Abi::X86_64
        },
        version: match profile {
            true => jaula_sys::process::kernel_version(),
            false => (0, 0),
        },
        landlock: match spec.landlock.is_empty() {
            true => 0,
            false => jaula_sys::landlock::version(),
        },
    }
}

/// Whether this process is root of the host, and not of a namespace.
pub(crate) fn is_real_root() -> bool {
    caller().kind == CallerKind::Root
        && std::fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// The sources that may be left out and are not there.
fn absent(spec: &JailSpec) -> Vec<PathBuf> {
    let optional = spec.mounts.iter().filter_map(|mount| match mount {
        MountSpec::Bind { from, options, .. } if options.optional => Some(from),
        _ => None,
    });
    let gone = |path: &&PathBuf| {
        let found = std::fs::metadata(path);
        found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    optional.filter(gone).cloned().collect()
}

/// The identifiers of this process's user namespace (user_namespaces(7)): a user without a session has his own only.
fn own(map: &str) -> Vec<IdRange> {
    let caller = caller();
    if caller.kind == CallerKind::Single {
        let own = if map.contains("uid") {
            caller.uid
        } else {
            caller.gid
        };
        return vec![IdRange {
            inside: own,
            outside: own,
            count: 1,
        }];
    }
    let text = std::fs::read_to_string(map).unwrap_or_default();
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(IdRange {
            inside: next()?,
            outside: next()?,
            count: next()?,
        })
    };
    text.lines().filter_map(line).collect()
}

/// How many characters wide the terminal of standard output is; none when it is no terminal or does not tell.
pub fn output_width() -> Option<usize> {
    jaula_sys::pty::output_width()
}

/// The names of the host's users by number, from passwd(5); of several lines with one number the first counts. Other
/// sources of names (nsswitch.conf(5)) are not asked.
pub fn user_names() -> std::collections::HashMap<u32, String> {
    let mut text = Vec::new();
    let read = std::fs::File::open("/etc/passwd").and_then(|file| {
        use std::io::Read;
        file.take(account::LIMIT as u64).read_to_end(&mut text)
    });
    if read.is_err() {
        text.clear();
    }
    let mut names = std::collections::HashMap::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1))
            && let Ok(uid) = uid.parse::<u32>()
            && !name.is_empty()
        {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// Who calls.
pub fn caller() -> CallerFacts {
    let (uid, gid) = jaula_sys::process::effective_ids();
    let kind = match (uid, crate::session::ids()) {
        (0, Some(ids)) => CallerKind::Session { ids },
        (0, None) => CallerKind::Root,
        _ => CallerKind::Single,
    };
    CallerFacts { uid, gid, kind }
}

fn programs() -> ProgramsFacts {
    let look = |dir: &str, names: &[&str]| {
        let entry = |name: &&str| {
            let path = Path::new(dir).join(name);
            let meta = std::fs::symlink_metadata(&path).ok()?;
            let kind = if meta.is_symlink() {
                EntryKind::Link(std::fs::read_link(&path).ok()?)
            } else if meta.is_dir() {
                EntryKind::Directory
            } else if meta.is_file() {
                EntryKind::File
            } else {
                return None;
            };
            Some(Entry {
                name: name.into(),
                kind,
            })
        };
        names.iter().filter_map(entry).collect()
    };
    ProgramsFacts {
        top: look("/", &PROGRAM_DIRS),
        etc: look("/etc", &ETC_ENTRIES),
    }
}

/// The account the program is to run as, from the tree that the jail will see: its layer first.
fn account(spec: &JailSpec) -> Option<Account> {
    let trees: Vec<PathBuf> = match &spec.root {
        RootSpec::HostPrograms => vec![PathBuf::from("/")],
        RootSpec::Empty => Vec::new(),
        RootSpec::Tree {
            dir,
            changes: Changes::Layer { upper, .. },
        } => vec![upper.clone(), dir.clone()],
        RootSpec::Tree { dir, .. } => vec![dir.clone()],
    };
    let own = spec.ids == IdSpec::CallerAsSelf;
    let wanted = match &spec.user {
        UserSpec::Named(name) => account::Wanted::Name(name.clone()),
        UserSpec::Ids { uid, .. } => account::Wanted::Id(*uid),
        UserSpec::Root => account::Wanted::Id(if own { caller().uid } else { 0 }),
    };
    let read = |path: &str| {
        let file = trees
            .iter()
            .find_map(|tree| jaula_sys::beneath::read_in_root(tree, path, account::LIMIT).ok());
        file.unwrap_or_default()
    };
    account::find(&read("etc/passwd"), &wanted, || read("etc/group"))
}
