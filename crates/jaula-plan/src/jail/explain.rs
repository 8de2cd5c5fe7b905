//! The plan of a jail as commands of util-linux: a script that works, given the rights to run it.

use super::JailPlan;
use crate::explain::{ExplainLine, shown, word};
use crate::landlock::{FILE_RIGHTS, Ruleset};
use crate::net::nat::METADATA;
use crate::setup_op::{CapSet, IdPlan, JoinTarget, RootPlan, SetupOp, StdioPlan};
use crate::spec::jail::{BindOptions, Changes, IdRange, Namespaces, OverlayTop};
use std::path::{Path, PathBuf};

/// Where the script puts its own mounts, seen by nobody else. Another when the tree itself is beneath it.
fn base(plan: &JailPlan) -> &'static str {
    let beneath = |dir: &str| {
        plan.ops.iter().any(|op| match op {
            SetupOp::Root(RootPlan::Tree { dir: tree, .. }) => tree.starts_with(dir),
            SetupOp::Bind { from, .. } => from.starts_with(dir),
            SetupOp::Disk(disk) => crate::disk::is_beneath(disk, dir),
            _ => false,
        })
    };
    if beneath("/mnt") { "/media" } else { "/mnt" }
}

/// Every operation as a command and a reason. Joined by [`crate::explain::script`] they are a shell script that does
/// the same with unshare(1), mount(8), pivot_root(8) and setpriv(1), but for what no classic tool does.
pub fn explain(plan: &JailPlan) -> Vec<ExplainLine> {
    let base = base(plan);
    let ids = plan.ops.iter().find_map(|op| match op {
        SetupOp::MapIds(ids) => Some(ids),
        _ => None,
    });
    let ids = ids.unwrap_or(&IdPlan::Host);
    let mut proc = PathBuf::from("/proc");
    let mut setpriv = vec!["setpriv".to_owned()];
    let mut lines = Vec::new();
    for op in &plan.ops {
        if let SetupOp::Proc { at } = op {
            proc.clone_from(at);
        }
        lines.push(line(op, base, ids, &proc, &mut setpriv));
    }
    lines.push(ExplainLine::new(
        "JAULA",
        "the end of what the new process does",
    ));
    lines
}

fn in_root(path: &Path) -> String {
    let relative = path.strip_prefix("/").unwrap_or(path);
    word(Path::new(".").join(relative))
}

/// A block of identifiers that is nobody's, for the script.
const BLOCK: u32 = 0x7000_0000;

fn unshare(ns: &Namespaces, ids: &IdPlan) -> String {
    let mut options = String::from("unshare --mount --propagation private");
    let rest = [
        (ns.pid, " --pid --fork --kill-child"),
        (ns.ipc, " --ipc"),
        (ns.uts, " --uts"),
        (ns.net, " --net"),
        (ns.cgroup, " --cgroup"),
        (ns.time, " --time"),
    ];
    rest.iter()
        .filter(|(set, _)| *set)
        .for_each(|(_, option)| options.push_str(option));
    // The script of the new process comes by descriptor 3, so that standard input stays the program's.
    let script = "sh -ec \"$(cat <&3)\" 3<<'JAULA'";
    let inside = "sh -ec 'exec sh -ec \"$(cat <&3)\"' 3<<'JAULA'";
    if !ns.user {
        return format!("{options} {inside}");
    }
    // Only root may map what he does not own, and unshare(1) leaves that to newuidmap(1), which asks subuid(5).
    let mapped = |users: &[IdRange], groups: &[IdRange]| {
        let map = |ranges: &[IdRange], file| {
            let line = |r: &IdRange| format!("{} {} {}", r.inside, r.outside, r.count);
            let lines: Vec<String> = ranges.iter().map(line).collect();
            match lines.as_slice() {
                [line] => format!("echo '{line}' >/proc/$pid/{file}"),
                _ => format!("printf '{}\\n' >/proc/$pid/{file}", lines.join("\\n")),
            }
        };
        format!(
            "meet=$(mktemp -d)\nmkfifo $meet/who $meet/go\nexport meet\n\
             {{ read -r pid rest <$meet/who; {}; {}; echo >$meet/go; }} &\n\
             trap 'kill $! 2>/dev/null || :; rm -r $meet' EXIT\n\
             {options} --user --keep-caps sh -ec 'read -r self rest </proc/self/stat; echo $self >$meet/who; \
             read -r go <$meet/go || :; exec setpriv --reuid 0 --regid 0 --clear-groups --inh-caps -all {}",
            map(users, "uid_map"),
            map(groups, "gid_map"),
            script.replace(" 3<<", "' 3<<")
        )
    };
    match ids {
        IdPlan::PrivateBlock { count } => {
            let block = [IdRange {
                inside: 0,
                outside: BLOCK,
                count: *count,
            }];
            mapped(&block, &block)
        }
        IdPlan::Map { users, groups, .. } => mapped(users, groups),
        // The session and the namespace in it are one here.
        IdPlan::Nested { .. } => format!("{options} --user --map-auto --map-root-user {inside}"),
        IdPlan::Single { inside: (0, _), .. } => {
            format!("{options} --user --map-root-user {inside}")
        }
        IdPlan::Single { .. } => {
            format!("{options} --user --map-current-user --keep-caps {inside}")
        }
        IdPlan::Host => format!("{options} --user {inside}"),
    }
}

fn root(root: &RootPlan, base: &str) -> ExplainLine {
    let memory = format!("mount -t tmpfs -o mode=755 tmpfs {base}\n");
    match root {
        RootPlan::Memory => ExplainLine::new(
            format!(
                "{memory}mkdir {base}/root {base}/empty.d\n: > {base}/empty\nmount --bind {base}/root {base}/root\ncd {base}/root"
            ),
            "an empty tree that is gone with its last process",
        ),
        RootPlan::Tree {
            dir,
            changes,
            id_mapped,
        } => {
            let tree = word(dir);
            let map = if *id_mapped {
                ",X-mount.idmap=/proc/self/ns/user"
            } else {
                ""
            };
            let made = format!(
                "{memory}mkdir {base}/root {base}/lower {base}/upper {base}/work {base}/empty.d\n: > {base}/empty\n"
            );
            let lower = format!("mount --bind -o bind{map} {tree} {base}/lower\n");
            let (command, reason) = match changes {
                Changes::Ephemeral => (
                    format!(
                        "{made}{lower}mount -t overlay -o lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work,userxattr overlay {base}/root\ncd {base}/root"
                    ),
                    "the tree is never written: changes go to memory and end with the jail",
                ),
                Changes::Layer { upper, work } => (
                    format!(
                        "{made}{lower}mount -t overlay -o lowerdir={base}/lower,upperdir={},workdir={},userxattr overlay {base}/root\ncd {base}/root",
                        word(upper),
                        word(work)
                    ),
                    "the tree is never written: changes go to the jail's own layer",
                ),
                Changes::Direct => (
                    format!("{made}mount --bind -o bind{map} {tree} {base}/root\ncd {base}/root"),
                    "the tree itself is written",
                ),
                Changes::ReadOnly => (
                    format!(
                        "{made}mount --bind -o bind{map} {tree} {base}/root\nmount -o remount,bind,ro {base}/root\ncd {base}/root"
                    ),
                    "the tree can be read only",
                ),
            };
            let note = if *id_mapped {
                "; X-mount.idmap needs the rights of the host's root, so by hand this line comes before unshare, with util-linux 2.39; --ids host does without"
            } else {
                ""
            };
            ExplainLine::new(command, format!("{reason}{note}"))
        }
    }
}

fn dev(at: &str, tty_group: bool) -> String {
    let gid = if tty_group { ",gid=5" } else { "" };
    format!(
        "mkdir -p {at}\nmount -t tmpfs -o mode=755,nosuid,noexec tmpfs {at}\n\
         for n in null zero full random urandom tty; do : > {at}/$n; mount --bind /dev/$n {at}/$n; done\n\
         mkdir -m 1777 {at}/shm\nmkdir {at}/pts\n\
         mount -t devpts -o newinstance,ptmxmode=0666,mode=0620{gid},nosuid,noexec devpts {at}/pts\n\
         ln -s pts/ptmx {at}/ptmx\nln -s /proc/self/fd {at}/fd\n\
         ln -s /proc/self/fd/0 {at}/stdin\nln -s /proc/self/fd/1 {at}/stdout\nln -s /proc/self/fd/2 {at}/stderr"
    )
}

fn line(
    op: &SetupOp,
    base: &str,
    ids: &IdPlan,
    proc: &Path,
    setpriv: &mut Vec<String>,
) -> ExplainLine {
    let say = |command: String, reason: &str| ExplainLine::new(command, reason);
    match op {
        SetupOp::Namespaces(ns) => say(unshare(ns, ids), "a process that sees none of the host's processes, mounts, names or links"),
        SetupOp::Join(join) => {
            let script = "sh -ec \"$(cat <&3)\" 3<<'JAULA'";
            match &join.target {
                JoinTarget::Process(pid) => {
                    let kinds: Vec<String> = join.kinds.iter().map(|kind| format!(" --{}", long_option(kind))).collect();
                    say(format!("nsenter --target {pid}{}{} -- {script}", kinds.concat(), if join.root { " --root" } else { "" }), "where that process is; a pid that was used again is not noticed this way")
                }
                JoinTarget::Kept(name) => {
                    let kinds: Vec<String> = join.kinds.iter().map(|kind| format!(" --{}=\"$kept/{kind}\"", long_option(kind))).collect();
                    say(format!(": \"${{kept:?the directory where the namespaces of {name} are mounted}}\"\nnsenter{} -- {script}", kinds.concat()), "what is kept under a name")
                }
            }
        }
        SetupOp::MapIds(_) => say(String::new(), "done by unshare above: nobody inside is anybody outside"),
        SetupOp::DieWithParent => say(String::new(), "done by --kill-child above"),
        SetupOp::Outlive => say(String::new(), "asked for: by hand, leave --kill-child out above"),
        SetupOp::Loopback => say("ip link set lo up".into(), "programs expect to reach themselves"),
        SetupOp::Links { links, .. } => {
            let all = links.iter().flat_map(|link| link.commands());
            let all: Vec<_> = all.map(|command| format!("\n  {command}")).collect();
            say(String::new(), &format!("its cards are made on the host once it is there, with its process in $jail:{}", all.concat()))
        }
        SetupOp::Nat(plan) => say(format!("ip route add unreachable {METADATA}"), &format!("secrets of a cloud's machine are not the jail's; what connects it is started on the host once it is there, with its process in $jail:\n  {}", plan.command())),
        SetupOp::Network { path, .. } => say(String::new(), &format!("asked for: before unshare above comes nsenter --net={}", word(path))),
        SetupOp::HostName(name) => say(format!("hostname {}", word(name.as_str())), "prompts and logs say where they are"),
        SetupOp::PrivateMounts => say("mount --make-rprivate /".into(), "nothing mounted here is seen outside, nor the other way round"),
        SetupOp::Root(plan) => root(plan, base),
        SetupOp::Directory { at, mode } => say(format!("mkdir -p -m {mode:o} {}", in_root(at)), "a place the tree lacks"),
        SetupOp::Link { at, to } => {
            let deep = at.parent().filter(|dir| *dir != Path::new("/"));
            let mkdir = deep.map(|dir| format!("mkdir -p {}\n", in_root(dir))).unwrap_or_default();
            say(format!("{mkdir}ln -s {} {}", word(to), in_root(at)), "as the host has it, or asked for")
        }
        SetupOp::SlaveMounts => say("mount --make-rslave /".into(), "nothing mounted here is seen outside; what the host mounts later is seen here"),
        SetupOp::SharedMounts => say("mount --make-rshared /".into(), "namespaces made inside see each other's mounts"),
        SetupOp::Clocks(clocks) => say(String::new(), &format!("clocks of its own: unshare above would take --monotonic {} --boottime {}", clocks.monotonic, clocks.boottime)),
        SetupOp::Bind { from, to, options, .. } => {
            let (from, to) = (word(from), in_root(to));
            let mut command = format!("if [ -d {from} ]; then mkdir -p {to}; else mkdir -p \"$(dirname {to})\"; : > {to}; fi\nmount {} {from} {to}", if options.recursive { "--rbind" } else { "--bind" });
            let flags = bind_flags(options);
            if !flags.is_empty() {
                command.push_str(&format!("\nmount -o remount,bind{flags} {to}"));
            }
            say(command, "asked for, or needed by the host's programs")
        }
        SetupOp::Tmpfs { at, mode, size } => {
            let at = in_root(at);
            let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
            say(format!("mkdir -p {at}\nmount -t tmpfs -o mode={mode:o}{size},nosuid,nodev tmpfs {at}"), "written, and gone with the jail")
        }
        SetupOp::Overlay { lower, to, top } => {
            let to = in_root(to);
            let list: Vec<String> = lower.iter().map(|dir| dir.display().to_string()).collect();
            let mut options = format!("lowerdir={},userxattr,nosuid,nodev", list.join(":"));
            let mut command = format!("mkdir -p {to}\n");
            match top {
                OverlayTop::Nothing => {}
                OverlayTop::Directory { upper, work } => options.push_str(&format!(",upperdir={},workdir={}", upper.display(), work.display())),
                OverlayTop::Memory => {
                    command.push_str(&format!("layer=$(mktemp -d -p {base})\nmkdir \"$layer\"/u \"$layer\"/w\n"));
                    let options = word(options);
                    return say(format!("{command}mount -t overlay -o {options},upperdir=\"$layer\"/u,workdir=\"$layer\"/w overlay {to}"), "directories over each other; changes go with the jail");
                }
            }
            say(format!("{command}mount -t overlay -o {} overlay {to}", word(options)), "directories over each other")
        }
        SetupOp::File { from, to, mode } => {
            say(format!("install -D -m {mode:o} {} {}", word(from), in_root(to)), "a copy: the caller's own stays as it is")
        }
        SetupOp::Mqueue { at } => {
            let at = in_root(at);
            say(format!("mkdir -p {at}\nmount -t mqueue mqueue {at}"), "message queues of its own")
        }
        SetupOp::RemountReadOnly { at } => say(format!("mount -o remount,bind,ro {}", in_root(at)), "nothing more is written there"),
        SetupOp::Chmod { at, mode } => say(format!("chmod {mode:o} {}", in_root(at)), "asked for"),
        SetupOp::Disk(disk) => crate::disk::explain(disk, &in_root(&disk.at)),
        SetupOp::Dev { at, tty_group } => say(dev(&in_root(at), *tty_group), "device nodes that hold no data, and terminals of its own"),
        SetupOp::HostProc => say("mkdir -p proc\nmount --rbind /proc proc".into(), "the host's processes are seen: the kernel gives no other /proc to who has them"),
        SetupOp::Proc { at } => {
            let at = in_root(at);
            say(format!("mkdir -p {at}\nmount -t proc -o nosuid,nodev,noexec proc {at}"), "shows the jail's processes only")
        }
        SetupOp::Device(at) => {
            let (host, inside) = (word(at), in_root(at));
            say(format!("mkdir -p \"$(dirname {inside})\"\n: > {inside}\nmount --bind {host} {inside}"), "the host's own device, asked for")
        }
        SetupOp::Sys { empty: false } => say("mkdir -p sys\nmount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys".into(), "shows the jail's network, changes nothing"),
        SetupOp::Sys { empty: true } => say("mkdir -p sys\nmount -t tmpfs -o ro,mode=555 tmpfs sys".into(), "sysfs would show the host's network"),
        SetupOp::Mask(paths) => {
            let list = below(paths, proc);
            say(format!("for p in {}; do\n  if [ -d $p ]; then mount --bind {base}/empty.d $p; elif [ -e $p ]; then mount --bind {base}/empty $p; fi\ndone", list.join(" ")), "they tell about, or reach into, the whole machine")
        }
        SetupOp::ReadOnly(paths) => {
            let list = below(paths, proc);
            say(format!("for p in {}; do\n  [ ! -e $p ] || {{ mount --bind $p $p; mount -o remount,bind,ro $p; }}\ndone", list.join(" ")), "through them the kernel is changed")
        }
        SetupOp::Names(names) => say(names.commands(), "names are resolved by what connects it"),
        SetupOp::ResolvConf => say("rm -f etc/resolv.conf\n: > etc/resolv.conf\nmount --bind /etc/resolv.conf etc/resolv.conf".into(), "names are resolved as on the host, whose network it is"),
        SetupOp::PivotRoot => say("pivot_root . .\numount -l .\ncd /".into(), "unlike after chroot, there is no way back to the old root"),
        SetupOp::Stdio(stdio) => say(String::new(), match stdio {
            StdioPlan::Auto => "a terminal of its own: script(1) comes near",
            StdioPlan::Inherit => "a session of its own, so that nothing can be typed into the caller's terminal: setsid below",
            StdioPlan::Captured => "input from nothing, output to the caller",
        }),
        SetupOp::Personality(kind) => {
            setpriv.insert(0, format!("setarch {kind}"));
            say(String::new(), "the tree's programs are 32-bit ones, and ask uname(1) what they are: setarch below")
        }
        SetupOp::User { uid, gid, groups, set_groups } => {
            if (*uid, *gid) != (0, 0) {
                setpriv.extend([format!("--reuid {uid}"), format!("--regid {gid}")]);
            }
            if *set_groups {
                let list: Vec<String> = groups.iter().map(u32::to_string).collect();
                setpriv.push(if list.is_empty() { "--clear-groups".into() } else { format!("--groups {}", list.join(",")) });
            }
            say(String::new(), "who the program is: setpriv below")
        }
        SetupOp::Capabilities(set) => {
            setpriv.push(format!("--bounding-set {}", caps(*set)));
            setpriv.push("--inh-caps -all".into());
            say(String::new(), "root inside can do no more than these: setpriv below")
        }
        SetupOp::NoNewPrivs => {
            setpriv.push("--no-new-privs".into());
            say(String::new(), "set-user-id programs gain nothing: setpriv below")
        }
        SetupOp::Chdir(dirs) => {
            let tries: Vec<String> = dirs.iter().map(|d| format!("cd {} 2>/dev/null", word(d))).collect();
            say(tries.join(" || "), "a directory inside")
        }
        SetupOp::CloseDescriptors => say(String::new(), "the shell closes 3 below; jaula closes everything past 2"),
        SetupOp::KeepDescriptors(keep) => {
            let list: Vec<String> = keep.iter().map(u32::to_string).collect();
            say(String::new(), &format!("the shell keeps what it was given; jaula closes everything past 2 but {}", list.join(" ")))
        }
        SetupOp::Interpret(interpreter) => {
            let at = format!("{base}/proc/sys/fs/binfmt_misc");
            let text = word(interpreter.registration().unwrap_or_default());
            say(format!("mount -t binfmt_misc binfmt_misc {at}\nprintf '%s' {text} >{at}/register"), "programs of another machine start by an interpreter, in this jail only (Linux 6.7)")
        }
        SetupOp::RecordOwners { .. } => say(String::new(), "no classic tool records owners without changing the programs that run (fakeroot(1) does by a library); jaula answers chown(2) and stat(2) itself"),
        SetupOp::Seccomp(_) => say(String::new(), "no classic tool loads a system call filter"),
        SetupOp::SeccompProfile { name, .. } => say(String::new(), &format!("no classic tool reads {}; setpriv(1) of util-linux 2.41 loads a filter that was compiled (--seccomp-filter)", shown(name.as_ref()))),
        SetupOp::Landlock(set) => {
            setpriv.extend(landlock(set));
            say(String::new(), "what it may touch of what it sees: setpriv below, of util-linux 2.40 for files; no classic tool for ports and scopes")
        }
        SetupOp::Limit(limit) => limit.explain(),
        SetupOp::Exec { command, env } => {
            let env: Vec<String> = env.iter().map(|(n, v)| {
                let mut pair = n.clone();
                pair.push("=");
                pair.push(v);
                word(pair)
            }).collect();
            let words: Vec<String> = command.iter().map(word).collect();
            say(format!("exec {} env -i {} {} 3<&-", setpriv.join(" "), env.join(" "), words.join(" ")), "the program")
        }
    }
}

/// The part of a ruleset that setpriv(1) can make.
fn landlock(set: &Ruleset) -> Vec<String> {
    let names = |rights: u64| {
        let of = |(bit, name): (u32, &'static str)| (rights >> bit & 1 == 1).then_some(name);
        let list: Vec<&str> = (0u32..).zip(FILE_RIGHTS).filter_map(of).collect();
        list.join(",")
    };
    if set.handled_files == 0 {
        return Vec::new();
    }
    let mut words = vec!["--landlock-access fs".to_owned()];
    for (path, rights) in &set.paths {
        let mut rule = std::ffi::OsString::from(format!("path-beneath:{}:", names(*rights)));
        rule.push(path);
        words.push(format!("--landlock-rule {}", word(rule)));
    }
    words
}

/// Flags of mount(8) that a bind does not have by itself.
fn bind_flags(options: &BindOptions) -> String {
    let all = [(options.read_only, ",ro"), (options.no_exec, ",noexec")];
    all.iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| *flag)
        .collect()
}

/// Paths of `/proc` where it is mounted, from the root.
fn below(paths: &[&str], proc: &Path) -> Vec<String> {
    let place = |path: &&str| match path.strip_prefix("/proc/") {
        Some(rest) => proc.join(rest).display().to_string(),
        None => (*path).to_owned(),
    };
    let relative = |path: String| path.trim_start_matches('/').to_owned();
    paths.iter().map(place).map(relative).collect()
}

/// The long option of nsenter(1) for a kind of namespace.
fn long_option(kind: &str) -> &str {
    if kind == "mnt" { "mount" } else { kind }
}

fn caps(set: CapSet) -> String {
    let mut text = String::from("-all");
    for name in set.names() {
        text.push_str(",+");
        text.push_str(&name.to_ascii_lowercase());
    }
    text
}
