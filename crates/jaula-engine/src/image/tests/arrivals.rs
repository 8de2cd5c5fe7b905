//! Packages are unpacked as they arrive.

use super::*;
use crate::event::{Event, Observer, Phase};
use std::sync::Mutex;

/// Notes phases as they are told.
#[derive(Default)]
struct Told(Mutex<Vec<(&'static str, Phase)>>);

impl Observer for Told {
    fn event(&self, event: Event) {
        let told = match event {
            Event::Started { phase, .. } => ("started", phase),
            Event::Progress { phase, .. } => ("progress", phase),
            Event::Finished { phase, .. } => ("finished", phase),
            _ => return,
        };
        self.0.lock().unwrap().push(told);
    }
}

#[test]
fn what_is_unpacked_while_others_are_fetched_is_told_when_all_are_there() {
    if needs_root("what_is_unpacked_while_others_are_fetched_is_told_when_all_are_there") {
        return;
    }
    let mut world = world();
    world.include(&["extra"]);
    let plan = world.plan().unwrap();
    assert_eq!(plan.to_fetch().0, 3);
    let told = Told::default();
    build::build_with(&plan, &[], &world.store, &world.client, &mut pretend, &told).unwrap();
    let told = told.0.into_inner().unwrap();
    let at = |what| told.iter().position(|told| *told == what).unwrap();
    let fetched = at(("finished", Phase::Fetch));
    assert_eq!(told[0], ("started", Phase::Fetch), "{told:?}");
    assert_eq!(told[fetched + 1], ("started", Phase::Unpack), "{told:?}");
    let (before, after) = told.split_at(fetched + 1);
    assert!(
        before.iter().all(|(_, phase)| *phase == Phase::Fetch),
        "{told:?}"
    );
    assert!(
        after.iter().all(|(_, phase)| *phase != Phase::Fetch),
        "{told:?}"
    );
    let unpacked = after
        .iter()
        .filter(|told| **told == ("progress", Phase::Unpack));
    assert_eq!(unpacked.count(), 3, "{told:?}");
}

#[test]
fn a_package_that_cannot_be_unpacked_ends_the_fetching_of_others() {
    if needs_root("a_package_that_cannot_be_unpacked_ends_the_fetching_of_others") {
        return;
    }
    let liar = lies::liar();
    let slow = package("slow", |b| b.field("Essential", "yes"));
    let key = TestKey::sound("archive").unwrap();
    let world = world_of(base().package(liar).package(slow), &key);
    // It would take minutes.
    world.server.fault("slow_1.0_amd64.deb", Fault::Slow(5), 99);
    let error = world.fails();
    assert!(matches!(&error, BuildError::Unpack(_)), "{error}");
    let plan = world.plan().unwrap();
    let packages = plan.lock().packages.iter();
    for package in packages.filter(|package| package.name == "slow") {
        assert!(!world.store.package_path(&package.sha256).exists());
    }
    let requests = world.server.requests();
    let asked = requests
        .iter()
        .filter(|request| request.path.ends_with("slow_1.0_amd64.deb"));
    // Not tried again either.
    assert!(asked.count() <= 1, "{requests:?}");
}
