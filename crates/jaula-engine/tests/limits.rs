//! Control groups under faults: whatever step fails, and wherever the process is killed, none is left.

#![allow(clippy::disallowed_methods)]

use jaula_engine::cgroup::{Groups, facts};
use jaula_engine::fault::{Faults, Mode};
use jaula_engine::store::Store;
use jaula_engine::{jail, probe, recover};
use jaula_plan::jail::{Fault, JailPlan, plan_jail};
use jaula_plan::limit_op::{GroupPlan, LimitOp};
use jaula_plan::setup_op::SetupOp;
use jaula_plan::spec::jail::{JailSpec, RootSpec};
use jaula_testkit::skip;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// One test at a time forks, and looks at what groups there are.
static ONE: Mutex<()> = Mutex::new(());

/// A plan with two groups or more; none where this host or user has none to give.
fn plan(command: &str) -> Result<JailPlan, String> {
    let mut spec = JailSpec::new(RootSpec::HostPrograms, vec![command.into()]);
    spec.limits
        .add("memory=64M,pids=20,files=50")
        .map_err(|error| error.to_string())?;
    let found = facts(&spec);
    let plan = plan_jail(&spec, &probe::host(&spec)).map_err(|error| error.to_string());
    assert!(plan.is_ok() || found.legacy.iter().all(|group| !group.writable));
    plan
}

fn parents(plan: &JailPlan) -> Vec<PathBuf> {
    let group = |op: &SetupOp| match op {
        SetupOp::Limit(LimitOp::Group(group)) => Some(group.parent.clone()),
        _ => None,
    };
    plan.ops.iter().filter_map(group).collect()
}

fn left(plan: &JailPlan) -> Vec<PathBuf> {
    let all = parents(plan)
        .into_iter()
        .flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
    all.map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("jaula-")
        })
        .collect()
}

fn journals(store: &Store) -> usize {
    let dir = std::fs::read_dir(store.root().join("journal"));
    dir.into_iter().flatten().count()
}

#[test]
fn a_failure_at_any_point_leaves_no_group() {
    let _one = ONE.lock();
    let plan = match plan("true") {
        Ok(plan) => plan,
        Err(reason) => skip!("{reason}"),
    };
    let before = left(&plan);
    for point in 0.. {
        let dir = tempfile::tempdir().expect("a directory");
        let faults = Arc::new(Faults::after(point, Mode::Fail));
        let store = Store::open(dir.path()).expect("a store");
        let store = store.with_faults(Arc::clone(&faults));
        let made = Groups::make(&plan, Some(&store)).map(Groups::remove);
        let whole = matches!(made, Ok(Ok(())));
        assert_eq!(left(&plan), before, "after a fault at {point}");
        if !faults.struck() {
            assert!(whole && point > 4, "{point}");
            assert_eq!(journals(&store), 0);
            return;
        }
        assert!(!whole, "the fault at {point} went unnoticed");
        recover::recover(&store).expect("a recovery");
        assert_eq!(journals(&store), 0);
    }
}

#[test]
fn a_kill_at_any_point_leaves_groups_that_recovery_removes() {
    let _one = ONE.lock();
    let plan = match plan("true") {
        Ok(plan) => plan,
        Err(reason) => skip!("{reason}"),
    };
    let before = left(&plan);
    for point in 0.. {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("a store");
        let faulty = store
            .clone()
            .with_faults(Arc::new(Faults::after(point, Mode::Kill)));
        let mut child = || match Groups::make(&plan, Some(&faulty)).map(Groups::remove) {
            Ok(Ok(())) => 0,
            _ => 1,
        };
        let ended = jaula_sys::userns::fork(&mut child).expect("a child").wait();
        recover::recover(&store).expect("a recovery");
        assert_eq!(left(&plan), before, "killed at {point}");
        assert_eq!(journals(&store), 0, "killed at {point}");
        if ended.expect("an end") == Some(0) {
            assert!(point > 4, "{point}");
            return;
        }
    }
}

#[test]
fn a_fault_in_any_limit_of_a_plan_starts_nothing() {
    let _one = ONE.lock();
    let plan = match plan("true") {
        Ok(plan) => plan,
        Err(reason) => skip!("{reason}"),
    };
    let before = left(&plan);
    let limits = plan.ops.iter().enumerate();
    let limits = limits.filter(|(_, op)| matches!(op, SetupOp::Limit(_)));
    let mut struck = 0;
    for (op, _) in limits {
        let faulty = JailPlan {
            fault: Some(Fault { op, errno: 5 }),
            ..plan.clone()
        };
        let outcome = in_a_child(&faulty);
        assert_eq!(outcome, Some(125), "operation {op}");
        assert_eq!(left(&plan), before, "operation {op}");
        struck += 1;
    }
    assert!(struck >= 3);
    assert_eq!(in_a_child(&plan), Some(0));
    assert_eq!(left(&plan), before);
}

/// Runs a jail in a process with one thread.
fn in_a_child(plan: &JailPlan) -> Option<u8> {
    let mut child = || {
        let mut output = |_: &[u8]| ();
        match jail::run(plan, jaula_engine::Io::Captured(&mut output)) {
            Ok(outcome) => outcome.code(),
            Err(error) => error.exit_code(),
        }
    };
    let forked = jaula_sys::userns::fork(&mut child).expect("a child");
    forked.wait().expect("an end")
}

/// Where the unified hierarchy is, if this process may make groups in it.
fn unified() -> Option<PathBuf> {
    let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from);
    places
        .into_iter()
        .find(|dir| dir.join("cgroup.subtree_control").exists())
        .filter(|dir| jaula_sys::cgroup::writable(dir, true))
}

#[test]
fn a_group_of_the_unified_hierarchy_is_entered_by_all_of_a_jail_and_emptied_at_its_end() {
    let _one = ONE.lock();
    let Some(parent) = unified() else {
        skip!("this user may make no group in the unified hierarchy");
    };
    // Without a controller, which no kernel refuses: what is made, entered and emptied is the same.
    let group = |inner| {
        SetupOp::Limit(LimitOp::Group(GroupPlan {
            unified: true,
            parent: parent.clone(),
            enable: Vec::new(),
            controllers: Vec::new(),
            settings: Vec::new(),
            inner,
        }))
    };
    for inner in [false, true] {
        let words = ["sh", "-c", "grep ^0: /proc/self/cgroup; sleep 60 & exit 0"];
        let command = words.iter().map(Into::into).collect();
        let mut spec = JailSpec::new(RootSpec::HostPrograms, command);
        // Its processes would outlive it, but for the group.
        spec.namespaces.pid = false;
        let mut plan = plan_jail(&spec, &probe::host(&spec)).expect("a plan");
        plan.ops.insert(0, group(inner));
        let mut child = || {
            let mut text = Vec::new();
            let mut output = |bytes: &[u8]| text.extend_from_slice(bytes);
            match jail::run(&plan, jaula_engine::Io::Captured(&mut output)) {
                Ok(outcome) if text == b"0::/\n" => outcome.code(),
                Ok(_) => 1,
                Err(error) => error.exit_code(),
            }
        };
        let forked = jaula_sys::userns::fork(&mut child).expect("a child");
        assert_eq!(forked.wait().expect("an end"), Some(0), "inner: {inner}");
        assert_eq!(left(&plan), Vec::<PathBuf>::new());
    }
}
