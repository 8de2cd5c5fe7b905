//! What a command line cannot show: moments between two steps.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

use super::{Failure, Part, State, steps::step};
use jaula_plan::direct::{DirectOp, Helper, HelperName, Kept, Kind, Place, Target};
use std::process::{Child, Command};

fn sleeper() -> (Child, DirectOp) {
    let child = Command::new("sleep").arg("1000").spawn().expect("sleep(1)");
    let target = Target {
        pid: child.id(),
        inode: None,
    };
    (child, DirectOp::Target(target))
}

#[test]
fn a_target_that_ended_is_not_taken_for_another() {
    let (mut child, hold) = sleeper();
    let mut state = State::default();
    step(&hold, &mut state).expect("a process");
    step(&DirectOp::OpenRoot(Place::Target), &mut state).expect("its root");
    step(&DirectOp::TargetUnchanged, &mut state).expect("still there");
    child.kill().expect("ours");
    // Its number is free only when it was waited for.
    child.wait().expect("ours");
    let gone = step(&DirectOp::TargetUnchanged, &mut state);
    assert!(
        matches!(gone, Err(Failure::Step { errno: 3, .. })),
        "{gone:?}"
    );
    // Whoever has the number now is not joined: the descriptor is that of the one that ended.
    let join = DirectOp::Join {
        target: jaula_plan::direct::Kinds::NONE.with(Kind::Uts),
        files: jaula_plan::direct::Kinds::NONE,
    };
    let joined = step(&join, &mut state);
    assert!(
        matches!(joined, Err(Failure::Step { errno: 3, .. })),
        "{joined:?}"
    );
}

#[test]
fn another_process_with_the_number_is_refused() {
    let (mut child, _) = sleeper();
    let target = Target {
        pid: child.id(),
        inode: Some(1),
    };
    let held = step(&DirectOp::Target(target), &mut State::default());
    let unfit = matches!(
        held,
        Err(Failure::Step {
            part: Part::Unfit,
            ..
        })
    );
    child.kill().expect("ours");
    child.wait().expect("ours");
    assert!(unfit, "{held:?}");
}

#[test]
fn everything_that_is_held_closes_when_a_program_starts() {
    let (mut child, hold) = sleeper();
    let listed = || {
        let listed = Command::new("ls").arg("/proc/self/fd").output();
        String::from_utf8_lossy(&listed.expect("ls(1)").stdout).into_owned()
    };
    let before = listed();
    let mut state = State::default();
    let file = |place: fn(Place) -> DirectOp| place(Place::Target);
    for op in [
        hold,
        file(DirectOp::OpenRoot),
        file(DirectOp::OpenWork),
        DirectOp::OpenEnvironment,
        DirectOp::OpenIds,
    ] {
        step(&op, &mut state).expect("ours to open");
    }
    let after = listed();
    child.kill().expect("ours");
    child.wait().expect("ours");
    // This program was given others, which it passes on.
    assert_eq!(after, before);
}

#[test]
fn a_step_without_what_it_needs_fails() {
    for op in [
        DirectOp::EnterRoot,
        DirectOp::EnterWork,
        DirectOp::JoinCgroup,
        DirectOp::ReadIds,
        DirectOp::TargetUnchanged,
        DirectOp::OpenRoot(Place::Target),
        DirectOp::SetUid(jaula_plan::direct::IdFrom::Target),
    ] {
        assert!(step(&op, &mut State::default()).is_err(), "{op}");
    }
}

#[test]
fn what_a_standby_could_not_do_is_told() {
    let mut state = State::default();
    let files = vec![Kept {
        kind: Kind::Uts,
        on: "/nonexistent/file".into(),
    }];
    step(&DirectOp::Start(Helper::Keep(files)), &mut state).expect("a helper");
    let told = step(&DirectOp::Release(HelperName::Keep), &mut state);
    let Err(Failure::Step {
        part: Part::Mount(from, on),
        errno,
        ..
    }) = told
    else {
        panic!("{told:?}");
    };
    assert!(from.ends_with("ns/uts") && on.ends_with("file"));
    // Without the right to mount the path is not looked at.
    assert!([1, 2].contains(&errno), "{errno}");
}
