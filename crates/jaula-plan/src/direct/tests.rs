//! Plans as text: what is done, in which order, and what is not done.

use super::accounts::Accounts;
use super::chroot::{ChrootFacts, ChrootSpec, plan_chroot};
use super::nsenter::{NsenterError, NsenterFacts, NsenterSpec, plan_nsenter};
use super::unshare::{UnshareError, UnshareFacts, UnshareSpec, plan_unshare};
use super::*;

fn program() -> Program {
    Program::of_words(vec!["true".into()], None).expect("one word")
}

fn steps(ops: &[DirectOp]) -> Vec<String> {
    ops.iter().map(ToString::to_string).collect()
}

fn unshared(change: impl FnOnce(&mut UnshareSpec), uid: u32) -> Vec<String> {
    let mut spec = UnshareSpec::new(program());
    change(&mut spec);
    let facts = UnshareFacts {
        uid,
        gid: uid,
        ..UnshareFacts::default()
    };
    steps(&plan_unshare(spec, &facts).expect("a plan").ops)
}

#[test]
fn nothing_asked_is_nothing_done() {
    assert_eq!(unshared(|_| {}, 1000), ["let a child's end be noticed"]);
}

#[test]
fn everything_is_done_in_the_order_that_rights_need() {
    let plan = unshared(
        |spec| {
            spec.kinds = Kind::ALL.into_iter().collect();
            spec.keep.push(Kept {
                kind: Kind::Net,
                on: "/run/n".into(),
            });
            spec.kill_child = Some(9);
            spec.map_user = Some(0);
            spec.map_group = Some(0);
            spec.set_groups = Some(SetGroups::Deny);
            spec.mount_proc = Some("/proc".into());
            spec.root = Some("/r".into());
            spec.monotonic = Some(-5);
            spec.uid = Some(7);
            spec.gid = Some(8);
            spec.keep_caps = true;
        },
        1000,
    );
    assert_eq!(
        plan,
        [
            "let a child's end be noticed",
            "start a helper that will mount the new namespaces on files",
            "go on in new namespaces: user,cgroup,ipc,uts,net,pid,mnt,time",
            "move the clock Monotonic by -5 s",
            "go on in a child; wait for it; it gets signal 9 when this process ends",
            "user 1000 is 0 inside",
            "forbid setgroups(2)",
            "group 1000 is 0 inside",
            "forbid setgroups(2)",
            "make every mount private",
            "make /r the root",
            "go to /",
            "mount proc on /proc",
            "drop supplementary groups",
            "become group 8",
            "become user 7",
            "get signal 9 when the parent ends",
            "keep capabilities over the start of the program",
        ]
    );
}

#[test]
fn who_maps_blocks_depends_on_who_calls() {
    let by = |uid: u32| {
        let mut spec = UnshareSpec::new(program());
        spec.kinds.insert(Kind::User);
        let block = IdRange {
            inside: 0,
            outside: 9,
            count: 3,
        };
        spec.map_users.push(Choice::Range(block));
        spec.map_group = Some(0);
        let facts = UnshareFacts {
            uid,
            ..UnshareFacts::default()
        };
        let plan = plan_unshare(spec, &facts).expect("a plan");
        plan.ops.into_iter().find_map(|op| match op {
            DirectOp::Start(Helper::Map { users, groups, by }) => Some((users, groups, by)),
            _ => None,
        })
    };
    let (users, groups, root) = by(0).expect("a helper");
    // One group alone needs no helper: the process maps its own.
    assert_eq!((users.len(), groups.len(), root), (1, 0, MapBy::Itself));
    let (.., user) = by(1000).expect("a helper");
    assert_eq!(user, MapBy::Programs { path: None });
}

#[test]
fn clocks_need_a_namespace_of_time() {
    let mut spec = UnshareSpec::new(program());
    spec.boottime = Some(0);
    assert_eq!(
        plan_unshare(spec, &UnshareFacts::default()),
        Err(UnshareError::ClocksWithoutTime)
    );
}

fn entered(
    change: impl FnOnce(&mut NsenterSpec),
    usable: Kinds,
) -> Result<Vec<String>, NsenterError> {
    let mut spec = NsenterSpec::new(program());
    spec.target = Some(Target {
        pid: 7,
        inode: None,
    });
    change(&mut spec);
    plan_nsenter(spec, &NsenterFacts { usable }).map(|plan| steps(&plan.ops))
}

#[test]
fn everything_is_opened_before_anything_is_joined() {
    let plan = entered(
        |spec| {
            spec.all = true;
            spec.opens.push(DirectOp::OpenNamespace {
                kind: Kind::Net,
                from: NamespaceFrom::File("/run/n".into()),
            });
            (spec.root, spec.work, spec.environment, spec.cgroup) = (true, true, true, true);
            spec.uid = Some(IdFrom::Target);
        },
        Kind::ALL.into_iter().collect(),
    );
    assert_eq!(
        plan.expect("a plan"),
        [
            "open the net namespace /run/n",
            "hold process 7 by a descriptor",
            "open the new root: the target's",
            "open the working directory: the target's",
            "open the target's environment",
            "open what tells the target's user and group",
            "open the target's control group",
            "see that the target still is the same process",
            "drop supplementary groups, where it is allowed",
            "join what can be joined already of: cgroup,ipc,uts,net,pid,mnt,time",
            "join: user,cgroup,ipc,uts,net,pid,mnt,time",
            "make the opened directory the root",
            "go to the opened working directory",
            "move into the target's control group",
            "read the target's user and group",
            "let a child's end be noticed",
            "go on in a child; stop and go on with it, wait for it",
            "drop supplementary groups, where it is allowed",
            "become group 0",
            "become user that of the target",
        ]
    );
}

#[test]
fn what_is_asked_of_nobody_is_refused() {
    let nobody = |change: fn(&mut NsenterSpec)| {
        entered(
            |spec| {
                spec.target = None;
                change(spec);
            },
            Kinds::NONE,
        )
        .unwrap_err()
    };
    assert_eq!(nobody(|spec| spec.all = true), NsenterError::AllOfNobody);
    assert_eq!(
        nobody(|spec| spec.kinds.insert(Kind::Uts)),
        NsenterError::NoTarget
    );
    assert_eq!(
        nobody(|spec| spec.user_parent = true),
        NsenterError::NoTarget
    );
    assert_eq!(
        nobody(|spec| spec.root = true),
        NsenterError::NothingFor("root")
    );
    assert_eq!(nobody(|_| {}), NsenterError::NoNamespace);
    assert_eq!(entered(|_| {}, Kinds::NONE), Err(NsenterError::NoNamespace));
}

fn rooted(user: Option<&str>, groups: Option<&str>, inside: &str, outside: &str) -> Vec<String> {
    let accounts = |passwd: &str| Accounts {
        passwd: passwd.into(),
        group: b"staff:x:50:ana,bob\nwheel:x:10:ana\n7:x:77:\n".to_vec(),
    };
    let spec = ChrootSpec {
        root: "/r".into(),
        user: user.map(str::to_owned),
        groups: groups.map(str::to_owned),
        stay: false,
        program: program(),
    };
    let facts = ChrootFacts {
        same_root: false,
        outside: accounts(outside),
        inside: accounts(inside),
    };
    let ops = plan_chroot(spec, &facts).ops;
    assert_eq!(steps(&ops[..2]), ["make /r the root", "go to /"]);
    steps(&ops[2..])
}

#[test]
fn names_are_those_of_the_new_root_first() {
    let ana = "ana:x:1000:1000::/:\n";
    let other = "ana:x:5:6::/:\n";
    let as_ana = [
        "set supplementary groups [1000, 50, 10]",
        "become group 1000",
        "become user 1000",
    ];
    assert_eq!(rooted(Some("ana"), None, ana, other), as_ana);
    assert_eq!(rooted(Some("ana:"), None, ana, other), as_ana);
    // A name that the new root does not know is refused, whatever is known outside.
    assert_eq!(
        rooted(Some("ana"), None, "", other),
        ["stop: the user is not known"]
    );
    // A number of the new root's own list has its groups.
    assert_eq!(rooted(Some("1000"), None, ana, ""), as_ana);
    let numbers = [
        "drop supplementary groups",
        "become group 50",
        "become user 1000",
    ];
    assert_eq!(rooted(Some("1000:staff"), None, "", ""), numbers);
    assert_eq!(
        rooted(Some("1000"), None, "", ""),
        ["stop: the user has no group"]
    );
    assert_eq!(
        rooted(Some("ana.staff"), None, ana, ""),
        [
            "say that a dot should be a colon",
            "set supplementary groups [1000, 50, 10]",
            "become group 50",
            "become user 1000"
        ]
        .map(|line| line.replace("[1000, 50, 10]", "[50, 10]"))
    );
}

#[test]
fn groups_are_names_before_they_are_numbers() {
    let groups = |list: &str| rooted(None, Some(list), "", "");
    assert_eq!(
        groups("7,staff,+7"),
        ["set supplementary groups [77, 50, 7]"]
    );
    assert_eq!(groups(""), ["drop supplementary groups"]);
    for list in [
        ",",
        "nosuch",
        "staff,nosuch",
        "-1",
        "4294967295",
        "0x1",
        " 5",
    ] {
        assert_eq!(
            groups(list),
            ["stop: supplementary groups are not known"],
            "{list}"
        );
    }
}

#[test]
fn a_plan_explains_itself_as_commands() {
    let mut spec = UnshareSpec::new(program());
    spec.kinds = Kinds::NONE.with(Kind::User).with(Kind::Mnt);
    spec.map_user = Some(0);
    spec.mount_proc = Some("/proc".into());
    let plan = plan_unshare(spec, &UnshareFacts::default()).expect("a plan");
    let lines = explain::explain(&plan);
    let commands: Vec<_> = lines.iter().map(|line| line.command.as_str()).collect();
    assert_eq!(
        commands,
        [
            "",
            "unshare --user --mount",
            "echo 0 0 1 > /proc/self/uid_map",
            "mount --make-rprivate /",
            "mount -t proc -o nosuid,nodev,noexec proc /proc",
            "exec true",
        ]
    );
    assert!(lines.iter().all(|line| !line.reason.is_empty()));
}

#[test]
fn an_interpreter_is_registered_where_it_is_opened() {
    let plan = |text: &str, root: bool| {
        let all = unshared(
            |spec| {
                spec.mount_binfmt = Some(unshare::BINFMT.into());
                spec.load_interp = Some(text.as_bytes().to_vec());
                spec.root = root.then(|| "/r".into());
            },
            0,
        );
        all.into_iter().skip(1).collect::<Vec<_>>()
    };
    let (mount, register) = (
        "mount binfmt_misc on /proc/sys/fs/binfmt_misc",
        "register an interpreter at /proc/sys/fs/binfmt_misc",
    );
    let enter = ["make /r the root", "go to /"];
    assert_eq!(plan(":x:M::ab::/i:", false), [mount, register]);
    assert_eq!(plan(":x:M::ab::/i:F", false), [mount, register]);
    assert_eq!(
        plan(":x:M::ab::/i:", true),
        [enter[0], enter[1], mount, register]
    );
    // The kernel opens it at once: it is the old root's.
    assert_eq!(
        plan(":x:M::ab::/i:F", true),
        [mount, register, enter[0], enter[1], mount]
    );
}
