use super::*;
use crate::spec::limits::Resource;

fn limits(text: &str) -> Limits {
    let mut limits = Limits::default();
    limits.add(text).expect("limits");
    limits
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn place(dir: &str, controllers: &str, enabled: &str, writable: bool, busy: bool) -> Place {
    Place {
        dir: dir.into(),
        controllers: words(controllers),
        enabled: words(enabled),
        writable,
        busy,
    }
}

/// The unified hierarchy alone, as root in a session of a systemd host, or as a user with a delegated part.
fn unified_only(root: bool, delegated: bool) -> LimitFacts {
    let all = "cpuset cpu io memory pids";
    let user = "/sys/fs/cgroup/user.slice/user-1000.slice";
    let mut places = vec![
        place(
            &format!("{user}/user@1000.service/app.slice/x.scope"),
            "memory pids",
            "",
            root || delegated,
            true,
        ),
        place(
            &format!("{user}/user@1000.service/app.slice"),
            "memory pids",
            "memory pids",
            root || delegated,
            false,
        ),
        place(user, "memory pids", "memory pids", root, false),
        place("/sys/fs/cgroup", all, "memory pids", root, false),
    ];
    if !root && !delegated {
        places.remove(1);
    }
    LimitFacts {
        unified: Some(places),
        ..LimitFacts::default()
    }
}

fn legacy(dir: &str, controllers: &str, writable: bool) -> Legacy {
    Legacy {
        controllers: words(controllers),
        dir: dir.into(),
        writable,
        swap: true,
        mems: "0".to_owned(),
    }
}

/// Controllers in hierarchies of the first version; the unified one has none of them.
fn hybrid(root: bool) -> LimitFacts {
    LimitFacts {
        unified: Some(vec![place(
            "/sys/fs/cgroup/unified",
            "hugetlb",
            "",
            root,
            false,
        )]),
        legacy: vec![
            legacy("/sys/fs/cgroup/cpu,cpuacct", "cpu cpuacct", root),
            legacy("/sys/fs/cgroup/memory/a", "memory", root),
            legacy("/sys/fs/cgroup/pids", "pids", root),
            legacy("/sys/fs/cgroup/cpuset", "cpuset", root),
            legacy("/sys/fs/cgroup/blkio", "blkio", root),
        ],
        cpus: "0-1".to_owned(),
        ..LimitFacts::default()
    }
}

fn text(limits: &Limits, facts: &LimitFacts) -> String {
    match plan(limits, facts, false) {
        Ok(planned) => {
            let all = planned
                .outside
                .iter()
                .chain(&planned.process)
                .chain(&planned.late);
            all.map(|op| format!("{op}\n")).collect()
        }
        Err(error) => format!("{error}\n"),
    }
}

#[test]
fn the_unified_hierarchy_is_taken_as_near_as_it_has_what_is_needed() {
    let facts = unified_only(true, false);
    assert_eq!(
        text(&limits("memory=64M,swap=0,pids=20"), &facts),
        "make a control group in /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice for memory pids: memory.max = 67108864, pids.max = 20, memory.swap.max = 0\n"
    );
    assert_eq!(
        text(
            &limits(
                "cpu=1.5,cpus=0-1,cpu-weight=50,io-read=8:0:1M,io-write=8:0:2M,io-weight=200,memory=1G"
            ),
            &facts
        ),
        "make a control group in /sys/fs/cgroup for cpu cpuset io memory (enabled there: cpu cpuset io): cpu.max = 150000 100000, cpuset.cpus = 0-1, cpu.weight = 50, io.max = 8:0 rbps=1048576, io.max = 8:0 wbps=2097152, io.weight = default 200, memory.max = 1073741824\n"
    );
    let mut joined = limits("pids=20");
    joined.joined = true;
    let planned = plan(&joined, &facts, false).expect("a plan");
    assert!(
        matches!(planned.outside.as_slice(), [SetupOp::Limit(LimitOp::Group(group))] if group.inner)
    );
}

#[test]
fn a_user_has_what_was_delegated_to_him_and_nothing_else() {
    let delegated = unified_only(false, true);
    let planned = text(&limits("memory=64M,pids=20"), &delegated);
    assert!(planned.starts_with("make a control group in /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice for memory pids:"), "{planned}");
    assert_eq!(
        text(&limits("cpu=1"), &delegated),
        "cannot enforce the limit cpu=1: the controller cpu cannot be had: /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice has no controller cpu\n"
    );
    assert_eq!(
        text(&limits("pids=20"), &unified_only(false, false)),
        "cannot enforce the limit pids=20: the controller pids cannot be had: this user may make no group in /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope or above\n"
    );
}

#[test]
fn a_group_with_processes_can_have_no_groups_with_controllers() {
    let facts = LimitFacts {
        unified: Some(vec![place("/sys/fs/cgroup/a", "pids", "", true, true)]),
        ..LimitFacts::default()
    };
    assert_eq!(
        text(&limits("pids=20"), &facts),
        "cannot enforce the limit pids=20: the controller pids cannot be had: /sys/fs/cgroup/a has processes of its own, so no group in it can have controllers\n"
    );
}

#[test]
fn a_hybrid_host_has_one_group_in_each_hierarchy_that_is_needed() {
    let all = "memory=64M,swap=1M,pids=20,cpu=50%,cpu-weight=200,cpus=1,io-read=8:0:1M,io-write=8:16:2M,files=100,nice=5,time=3s";
    let expected = "\
make a control group in /sys/fs/cgroup/memory/a for memory: memory.limit_in_bytes = 67108864, memory.memsw.limit_in_bytes = 68157440
make a control group in /sys/fs/cgroup/pids for pids: pids.max = 20
make a control group in /sys/fs/cgroup/cpu,cpuacct for cpu: cpu.cfs_period_us = 100000, cpu.cfs_quota_us = 50000, cpu.shares = 2048
make a control group in /sys/fs/cgroup/cpuset for cpuset: cpuset.mems = 0, cpuset.cpus = 1
make a control group in /sys/fs/cgroup/blkio for blkio: blkio.throttle.read_bps_device = 8:0 1048576, blkio.throttle.write_bps_device = 8:16 2097152
end it after 3s, by force 10s later
run at nice 5
limit files of each process to 100
";
    assert_eq!(text(&limits(all), &hybrid(true)), expected);
    // The first version alone is the same.
    let first_version_only = LimitFacts {
        unified: None,
        ..hybrid(true)
    };
    assert_eq!(text(&limits(all), &first_version_only), expected);
    assert_eq!(
        text(&limits("pids=20"), &hybrid(false)),
        "cannot enforce the limit pids=20: the controller pids cannot be had: this user may make no group in /sys/fs/cgroup/pids\n"
    );
}

#[test]
fn without_a_hierarchy_the_limit_is_refused_or_said_to_be_missing() {
    let mut limits = limits("memory=64M,files=10");
    let none = LimitFacts::default();
    assert_eq!(
        text(&limits, &none),
        "cannot enforce the limit memory=64M: no hierarchy of control groups has the controller memory\n"
    );
    limits.best_effort = true;
    assert_eq!(
        text(&limits, &none),
        "go on without memory=64M: no hierarchy of control groups has the controller memory\nlimit files of each process to 10\n"
    );
}

#[test]
fn what_the_host_cannot_do_is_said_before_anything_happens() {
    let facts = hybrid(true);
    for (limit, why) in [
        ("cpus=1-2", "there is no CPU 2: this host has 0-1"),
        ("swap=1M", "counts swap together with memory"),
        ("io-read=/dev/none:1M", "/dev/none is no block device"),
    ] {
        let text = text(&limits(limit), &facts);
        assert!(text.contains(why), "{text}");
    }
    let mut facts = LimitFacts {
        hard: vec![(Resource::Files, Some(100)), (Resource::Core, Some(0))],
        ..LimitFacts::default()
    };
    assert!(plan(&limits("files=100"), &facts, false).is_ok());
    for limit in ["files=101", "files=unlimited", "core=1"] {
        let text = text(&limits(limit), &facts);
        assert!(
            text.contains("which only CAP_SYS_RESOURCE can raise"),
            "{text}"
        );
    }
    assert!(text(&limits("nice=-1"), &facts).contains("CAP_SYS_NICE"));
    facts.may_raise = true;
    assert!(plan(&limits("files=101"), &facts, false).is_ok());
}

#[test]
fn processes_of_the_hosts_root_are_not_counted() {
    let facts = LimitFacts::default();
    for text in ["processes=20", "processes=20,data=64M"] {
        assert!(plan(&limits(text), &facts, false).is_ok());
        let refused = plan(&limits(text), &facts, true).unwrap_err().to_string();
        assert!(refused.contains("pids=N does"), "{refused}");
    }
    assert!(plan(&limits("processes=unlimited,data=1M"), &facts, true).is_ok());
}

#[test]
fn a_group_is_explained_by_its_files() {
    let planned = plan(&limits("cpu=1,pids=20"), &unified_only(true, false), false);
    let planned = planned.expect("a plan");
    let Some(SetupOp::Limit(op)) = planned.outside.first() else {
        panic!("no group");
    };
    assert_eq!(
        op.explain().command,
        "echo +cpu >/sys/fs/cgroup/cgroup.subtree_control\n\
         mkdir /sys/fs/cgroup/jaula-$$\n\
         echo '100000 100000' >/sys/fs/cgroup/jaula-$$/cpu.max\n\
         echo 20 >/sys/fs/cgroup/jaula-$$/pids.max\n\
         echo $$ >/sys/fs/cgroup/jaula-$$/cgroup.procs"
    );
}
