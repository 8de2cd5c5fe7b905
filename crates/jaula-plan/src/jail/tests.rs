use super::*;
use crate::facts::cgroup::LimitFacts;
use crate::facts::host::{Account, CallerFacts, CallerKind, Entry, KernelFacts, OwnIds};
use crate::spec::jail::{IdSpec, MountSpec};

fn facts(kind: CallerKind) -> HostFacts {
    let (uid, gid) = if kind == CallerKind::Single {
        (1000, 1000)
    } else {
        (0, 0)
    };
    HostFacts {
        caller: CallerFacts { uid, gid, kind },
        programs: Some(ProgramsFacts {
            top: vec![
                Entry {
                    name: "usr".into(),
                    kind: EntryKind::Directory,
                },
                Entry {
                    name: "bin".into(),
                    kind: EntryKind::Link("usr/bin".into()),
                },
            ],
            etc: vec![Entry {
                name: "passwd".into(),
                kind: EntryKind::File,
            }],
        }),
        resolv_conf: true,
        arch: None,
        interpreter: None,
        account: None,
        disks: None,
        net: None,
        kernel: KernelFacts::default(),
        absent: Vec::new(),
        ids: OwnIds::default(),
        limits: LimitFacts::default(),
    }
}

fn tree(changes: Changes) -> JailSpec {
    JailSpec::new(
        RootSpec::Tree {
            dir: "/store/image".into(),
            changes,
        },
        vec!["true".into()],
    )
}

#[test]
fn a_stored_image_as_root() {
    let plan = plan_jail(&tree(Changes::Ephemeral), &facts(CallerKind::Root)).unwrap();
    let expected = "\
start a process in new namespaces: mount user pid ipc uts net cgroup
bring up the loopback interface
set the host name to jaula
keep every mount private to the jail
map 65536 identifiers from 0 to a block no other jail has
end when the supervisor ends
take /store/image as root, under a layer in memory, identifiers mapped
make a fresh /dev
mount a fresh /proc
mount a read-only /sys
hide /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware
make read-only: /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger
change the root and let go of the old one
start a session, on a terminal of its own if the caller is on one
become user 0, group 0
keep these capabilities only: CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP
let no program gain privileges
work in /root or else /
close every descriptor but input, output and error
filter system calls: the default list
run true
";
    assert_eq!(plan.to_string(), expected);
}

#[test]
fn the_hosts_programs_as_a_user_without_subordinate_identifiers() {
    let mut spec = JailSpec::new(RootSpec::HostPrograms, vec!["id".into(), "-u".into()]);
    spec.net = JailNet::Host;
    let text = plan_jail(&spec, &facts(CallerKind::Single))
        .unwrap()
        .to_string();
    for line in [
        "start a process in new namespaces: mount user pid ipc uts cgroup",
        "map user 0 to 1000 and group 0 to 1000",
        "make an empty root in memory",
        "bind /usr at /usr, read-only",
        "make link /bin to usr/bin",
        "bind /etc/passwd at /etc/passwd, read-only",
        "mount memory at /tmp (mode 1777)",
        "leave /sys empty",
        "bind the host's /etc/resolv.conf, read-only",
        "run id -u",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(
        !text.contains("loopback") && !text.contains("/sys/firmware"),
        "{text}"
    );
}

#[test]
fn refusals() {
    let root = facts(CallerKind::Root);
    let single = facts(CallerKind::Single);
    let base = tree(Changes::Ephemeral);
    let with = |change: &dyn Fn(&mut JailSpec)| {
        let mut spec = base.clone();
        change(&mut spec);
        spec
    };
    let refused =
        |spec: &JailSpec, facts: &HostFacts| plan_jail(spec, facts).unwrap_err().to_string();
    let mount = |to: &str| {
        let to = PathBuf::from(to);
        with(&|s| {
            s.mounts = vec![MountSpec::Bind {
                from: "/srv".into(),
                to: to.clone(),
                options: BindOptions::READ_ONLY,
            }]
        })
    };
    let layer = Changes::Layer {
        upper: "/a/upper".into(),
        work: "/b/work".into(),
    };
    let user = |uid| {
        with(&|s| {
            s.user = UserSpec::Ids {
                uid,
                gid: uid,
                groups: Vec::new(),
            }
        })
    };
    let named = with(&|s| s.user = UserSpec::Named("www".into()));
    let table = [
        (
            refused(&with(&|s| s.ids = IdSpec::Host), &single),
            "only root can run",
        ),
        (refused(&user(5), &single), "only user 0"),
        (refused(&user(70000), &root), "70000 does not exist"),
        (refused(&named, &root), "www is not defined in this jail"),
        (
            refused(&with(&|s| s.cap_add = vec!["FLY".into()]), &root),
            "no capability \"FLY\"",
        ),
        (refused(&mount("relative"), &root), "not absolute"),
        (refused(&mount("/a/../../b"), &root), "holds .."),
        (refused(&mount("/proc/sys"), &root), "its own there"),
        (refused(&mount("/"), &root), "its own there"),
        (refused(&tree(layer), &root), "not in the same directory"),
        (
            refused(&with(&|s| s.command = vec!["a\0b".into()]), &root),
            "NUL",
        ),
        (
            refused(&with(&|s| s.env = vec![("a=b".into(), "".into())]), &root),
            "environment variable",
        ),
        (
            refused(&with(&|s| s.cwd = Some("/x/..".into())), &root),
            "holds ..",
        ),
    ];
    for (message, part) in table {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
    let mut none = root;
    none.programs = None;
    assert_eq!(
        plan_jail(&JailSpec::new(RootSpec::HostPrograms, Vec::new()), &none),
        Err(JailPlanError::NoPrograms)
    );
}

#[test]
fn capabilities_by_name() {
    let set = |add: &[&str], drop: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        guard::caps(&owned(add), &owned(drop)).unwrap()
    };
    assert_eq!(set(&[], &["all"]).to_string(), "none");
    assert_eq!(set(&["cap_chown"], &["all"]).to_string(), "CHOWN");
    assert!(set(&["SYS_ADMIN"], &[]).names().contains(&"SYS_ADMIN"));
    assert!(!set(&[], &["NET_RAW"]).names().contains(&"NET_RAW"));
    assert_eq!(CapSet::number("CHECKPOINT_RESTORE"), Some(40));
    // The numbers of linux/capability.h at a few places along the table.
    for (name, number) in [
        ("KILL", 5),
        ("SYS_CHROOT", 18),
        ("SYS_ADMIN", 21),
        ("MKNOD", 27),
        ("SETFCAP", 31),
    ] {
        assert_eq!(CapSet::number(name), Some(number));
    }
}

#[test]
fn an_account_gives_home_and_shell() {
    let mut facts = facts(CallerKind::Session { ids: 65537 });
    facts.account = Some(Account {
        name: "ana".into(),
        uid: 1000,
        gid: 1000,
        groups: vec![27],
        home: "/home/ana".into(),
        shell: "/bin/bash".into(),
    });
    let mut spec = tree(Changes::ReadOnly);
    spec.command = Vec::new();
    spec.user = UserSpec::Named("ana".into());
    let plan = plan_jail(&spec, &facts).unwrap();
    let text = plan.to_string();
    assert!(
        text.contains("become user 1000, group 1000, groups 27\n"),
        "{text}"
    );
    assert!(text.contains("work in /home/ana or else /\n"), "{text}");
    assert!(text.ends_with("run /bin/bash\n"), "{text}");
    let Some(SetupOp::Exec { env, .. }) = plan.ops.last() else {
        panic!("{text}")
    };
    assert!(env.contains(&("HOME".into(), "/home/ana".into())));
}
