//! The help text.

use std::ffi::OsStr;
use std::path::Path;

const OPTIONS: [(&str, &str); 66] = [
    ("--help", "Show this text"),
    ("--version", "Show the release that is spoken"),
    (
        "--args FD",
        "Read more arguments from FD, each ended by a NUL",
    ),
    ("--argv0 VALUE", "Call the program by the name VALUE"),
    ("--level-prefix", "Begin messages with their level, as <3>"),
    (
        "--unshare-all",
        "All namespaces below, user and cgroup as far as there are such",
    ),
    (
        "--share-net",
        "After --unshare-all: stay in the network namespace",
    ),
    (
        "--unshare-user",
        "A user namespace of its own; always, unless root calls",
    ),
    ("--unshare-user-try", "The same, if the kernel allows it"),
    ("--unshare-ipc", "An IPC namespace of its own"),
    ("--unshare-pid", "A PID namespace of its own"),
    (
        "--unshare-net",
        "A network namespace of its own, with a loopback interface",
    ),
    ("--unshare-uts", "A UTS namespace of its own"),
    ("--unshare-cgroup", "A cgroup namespace of its own"),
    ("--unshare-cgroup-try", "The same, if the kernel has them"),
    (
        "--userns FD",
        "Go into this user namespace; not with --unshare-user",
    ),
    (
        "--userns2 FD",
        "After the setup go into this one; with --userns",
    ),
    ("--disable-userns", "Let no user namespace be made inside"),
    (
        "--assert-userns-disabled",
        "Fail if a user namespace can be made inside",
    ),
    (
        "--pidns FD",
        "Go into this PID namespace, or make one beneath it",
    ),
    ("--uid UID", "This user inside; needs a user namespace"),
    ("--gid GID", "This group inside; needs a user namespace"),
    (
        "--hostname NAME",
        "This host name inside; needs --unshare-uts",
    ),
    ("--chdir DIR", "Work in DIR"),
    ("--clearenv", "Start from an empty environment"),
    ("--setenv VAR VALUE", "Set a variable"),
    ("--unsetenv VAR", "Remove a variable"),
    (
        "--lock-file DEST",
        "Hold a lock on DEST as long as the sandbox lives",
    ),
    ("--sync-fd FD", "Keep FD open as long as the sandbox lives"),
    ("--bind SRC DEST", "Show SRC of the host at DEST"),
    ("--bind-try SRC DEST", "The same, if there is SRC"),
    (
        "--dev-bind SRC DEST",
        "As --bind, and devices can be opened",
    ),
    ("--dev-bind-try SRC DEST", "The same, if there is SRC"),
    (
        "--ro-bind SRC DEST",
        "As --bind, and nothing can be written",
    ),
    ("--ro-bind-try SRC DEST", "The same, if there is SRC"),
    ("--bind-fd FD DEST", "Show what FD is at DEST"),
    (
        "--ro-bind-fd FD DEST",
        "The same, and nothing can be written",
    ),
    (
        "--remount-ro DEST",
        "Make the mount at DEST read-only, not what is beneath it",
    ),
    (
        "--overlay-src SRC",
        "A directory below the following overlay",
    ),
    (
        "--overlay RWSRC WORKDIR DEST",
        "An overlay at DEST, written to RWSRC; WORKDIR is empty, on the same file system",
    ),
    (
        "--tmp-overlay DEST",
        "An overlay at DEST, written to memory",
    ),
    (
        "--ro-overlay DEST",
        "An overlay at DEST that cannot be written",
    ),
    (
        "--exec-label LABEL",
        "SELinux label of the program; nothing without SELinux",
    ),
    (
        "--file-label LABEL",
        "SELinux label of what is made; nothing without SELinux",
    ),
    ("--proc DEST", "A procfs at DEST"),
    ("--dev DEST", "A new /dev at DEST"),
    ("--tmpfs DEST", "Memory at DEST"),
    ("--mqueue DEST", "Message queues at DEST"),
    ("--dir DEST", "A directory at DEST"),
    ("--file FD DEST", "A file at DEST with what FD gives"),
    (
        "--bind-data FD DEST",
        "The same, in memory and shown at DEST",
    ),
    (
        "--ro-bind-data FD DEST",
        "The same, and it cannot be written",
    ),
    ("--symlink SRC DEST", "A symbolic link to SRC at DEST"),
    (
        "--seccomp FD",
        "Load the system call filter that FD gives; only one",
    ),
    (
        "--add-seccomp-fd FD",
        "Load the system call filter that FD gives; any number",
    ),
    (
        "--block-fd FD",
        "Wait until there is something to read from FD",
    ),
    (
        "--userns-block-fd FD",
        "Wait for FD, and leave the maps to whoever writes to it",
    ),
    ("--info-fd FD", "Write what the sandbox is to FD, as JSON"),
    (
        "--json-status-fd FD",
        "Write what becomes of it to FD, a JSON object each",
    ),
    ("--new-session", "A terminal session of its own"),
    (
        "--die-with-parent",
        "Kill the program when bwrap or its parent ends",
    ),
    ("--as-pid-1", "The program is PID 1: nothing reaps for it"),
    ("--cap-add CAP", "Let the program have a capability"),
    ("--cap-drop CAP", "Take a capability from the program"),
    ("--perms OCTAL", "The mode of what the next option makes"),
    ("--size BYTES", "The size of the next --tmpfs"),
];

/// By what name it was called.
fn called() -> String {
    let argv0 = std::env::args_os().next().unwrap_or_default();
    let by_name = Path::new(&argv0).file_name() == Some(OsStr::new("bwrap"));
    match by_name {
        true => argv0.to_string_lossy().into_owned(),
        false => "bwrap".to_owned(),
    }
}

/// The whole text.
pub fn text() -> String {
    let mut text = format!(
        "usage: {} [OPTIONS...] [--] COMMAND [ARGS...]\n\n",
        called()
    );
    let last = (
        "--chmod OCTAL PATH",
        "Change the mode of PATH, which is there",
    );
    for (option, help) in OPTIONS.iter().chain([&last]) {
        text.push_str(&format!("    {option:<28} {help}\n"));
    }
    text
}
