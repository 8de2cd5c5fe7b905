//! What is asked of bwrap(1), and what the plan depends on besides.

use crate::setup_op::CapSet;
use crate::spec::jail::{BindOptions, OverlayTop};
use std::ffi::OsString;
use std::path::PathBuf;

/// Where a bind comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path of the host.
    Path(PathBuf),
    /// What a descriptor of the caller's is.
    Descriptor(i32),
}

impl Source {
    /// As a path of the host.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Descriptor(fd) => PathBuf::from(format!("/proc/self/fd/{fd}")),
        }
    }
}

/// One thing that is put into the tree, or done on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeSpec {
    /// `--bind`, `--ro-bind`, `--dev-bind`, their `-try` and `-fd` forms.
    Bind {
        /// Where from.
        from: Source,
        /// Where to.
        to: PathBuf,
        /// How.
        options: BindOptions,
    },
    /// `--overlay`, `--tmp-overlay`, `--ro-overlay`.
    Overlay {
        /// The uppermost first.
        lower: Vec<PathBuf>,
        /// Where to.
        to: PathBuf,
        /// What becomes of writes.
        top: OverlayTop,
    },
    /// `--tmpfs`
    Tmpfs {
        /// Where.
        to: PathBuf,
        /// `--perms`
        mode: u32,
        /// `--size`
        size: Option<u64>,
    },
    /// `--proc`
    Proc(PathBuf),
    /// `--dev`
    Dev(PathBuf),
    /// `--mqueue`
    Mqueue(PathBuf),
    /// `--dir`
    Directory {
        /// Where.
        to: PathBuf,
        /// `--perms`
        mode: u32,
    },
    /// `--file`
    File {
        /// What is read.
        from: i32,
        /// Where.
        to: PathBuf,
        /// `--perms`
        mode: u32,
    },
    /// `--bind-data`, `--ro-bind-data`
    Data {
        /// What is read.
        from: i32,
        /// Where.
        to: PathBuf,
        /// `--perms`
        mode: u32,
        /// Not writable.
        read_only: bool,
    },
    /// `--symlink`
    Symlink {
        /// Its text.
        text: PathBuf,
        /// Where.
        to: PathBuf,
    },
    /// `--remount-ro`
    RemountReadOnly(PathBuf),
    /// `--chmod`
    Chmod {
        /// Where.
        to: PathBuf,
        /// The mode.
        mode: u32,
    },
    /// `--hostname`
    HostName(OsString),
}

/// A sandbox as asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BwrapSpec {
    /// The tree, in order.
    pub tree: Vec<TreeSpec>,
    /// `--unshare-user`
    pub user: bool,
    /// `--unshare-user-try`
    pub user_try: bool,
    /// `--unshare-ipc`
    pub ipc: bool,
    /// `--unshare-pid`
    pub pid: bool,
    /// `--unshare-net`
    pub net: bool,
    /// `--unshare-uts`
    pub uts: bool,
    /// `--unshare-cgroup`
    pub cgroup: bool,
    /// `--unshare-cgroup-try`
    pub cgroup_try: bool,
    /// `--userns`
    pub userns: Option<i32>,
    /// `--userns2`
    pub userns2: Option<i32>,
    /// `--pidns`
    pub pidns: Option<i32>,
    /// `--disable-userns`
    pub disable_userns: bool,
    /// `--assert-userns-disabled`
    pub assert_userns_disabled: bool,
    /// `--uid`
    pub uid: Option<u32>,
    /// `--gid`
    pub gid: Option<u32>,
    /// `--chdir`
    pub chdir: Option<PathBuf>,
    /// `--lock-file`
    pub lock_files: Vec<PathBuf>,
    /// `--sync-fd`
    pub sync_fd: Option<i32>,
    /// `--block-fd`
    pub block_fd: Option<i32>,
    /// `--userns-block-fd`
    pub userns_block_fd: Option<i32>,
    /// `--info-fd`
    pub info_fd: Option<i32>,
    /// `--json-status-fd`
    pub json_status_fd: Option<i32>,
    /// `--seccomp`
    pub seccomp_fd: Option<i32>,
    /// `--add-seccomp-fd`: what was read.
    pub seccomp: Vec<Vec<u8>>,
    /// `--new-session`
    pub new_session: bool,
    /// `--die-with-parent`
    pub die_with_parent: bool,
    /// `--as-pid-1`
    pub as_pid_1: bool,
    /// `--cap-add`, `--cap-drop`: the set that is asked for; the caller's own when absent.
    pub capabilities: Option<CapSet>,
    /// What `--cap-add` and `--cap-drop` start from: what root has.
    pub own_capabilities: u64,
    /// `--argv0`
    pub argv0: Option<OsString>,
    /// The program's environment.
    pub env: Vec<(OsString, OsString)>,
    /// Program and arguments.
    pub command: Vec<OsString>,
}

impl TreeSpec {
    /// Its sources, and whether they may be absent.
    pub fn sources(&self) -> Vec<(PathBuf, bool)> {
        match self {
            Self::Bind { from, options, .. } => vec![(from.path(), options.optional)],
            Self::Overlay { lower, top, .. } => {
                let mut all = Vec::new();
                if let OverlayTop::Directory { upper, work } = top {
                    all.extend([(upper.clone(), false), (work.clone(), false)]);
                }
                all.extend(lower.iter().map(|dir| (dir.clone(), false)));
                all
            }
            _ => Vec::new(),
        }
    }
}

/// What the plan depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BwrapFacts {
    /// Real user of the caller.
    pub uid: u32,
    /// Real group of the caller.
    pub gid: u32,
    /// Effective capabilities of the caller.
    pub capabilities: u64,
    /// Whether user namespaces can be made, as far as the kernel's settings say.
    pub user_namespaces: bool,
    /// Whether this kernel has cgroup namespaces.
    pub cgroup_namespaces: bool,
    /// The caller's working directory.
    pub cwd: Option<PathBuf>,
    /// The terminal that standard output is.
    pub terminal: Option<PathBuf>,
    /// For each source of the tree, in order, without a link on the way: none when it is not there and need not be.
    pub sources: Vec<Option<PathBuf>>,
}
