//! Updates of jails that live at a path: faults and kills at every point, and two at once.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests start programs and read the environment; the rules are for the engine itself"
)]

use jaula_engine::event::Silent;
use jaula_engine::fault::{Faults, Mode};
use jaula_engine::minimal::{Change, CheckTarget, FaultKind, TreeSpec, UpdateSpec};
use jaula_engine::recover::{leftovers, recover};
use jaula_engine::{Config, Engine};
use jaula_plan::minimal::{Content, Placing, Rules, With};
use jaula_testkit::kernel_test;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// A jail of a directory of the host.
struct Place {
    base: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            base: tempfile::tempdir().expect("a directory"),
        };
        let host = place.host();
        fs::create_dir(&host).expect("a directory");
        for name in ["stays", "changes", "goes"] {
            fs::write(host.join(name), format!("{name} of before\n")).expect("a file");
        }
        let content = Content {
            with: vec![With::Program(host.display().to_string())],
            rules: Rules::default(),
            packs: false,
            make: false,
            secrets: false,
        };
        let spec = TreeSpec {
            dir: place.jail(),
            content,
            placing: Placing::Copy,
            force: false,
            hash: true,
        };
        let engine = place.engine();
        let plan = engine.plan_fill(&spec).expect("a plan");
        engine.fill(&plan, &mut |_| {}).expect("a jail");
        fs::write(place.jail().join("own"), "the user's\n").expect("a file");
        fs::write(host.join("changes"), "changed on the host\n").expect("a file");
        fs::write(host.join("comes"), "comes\n").expect("a file");
        fs::remove_file(host.join("goes")).expect("a file");
        place
    }

    fn host(&self) -> PathBuf {
        self.base.path().join("host")
    }

    fn jail(&self) -> PathBuf {
        self.base.path().join("jail")
    }

    fn engine(&self) -> Engine {
        engine(self.base.path())
    }

    /// What is in the jail of what it has of the host.
    fn content(&self) -> BTreeMap<String, String> {
        let within = self
            .jail()
            .join(self.host().strip_prefix("/").expect("absolute"));
        let entries = fs::read_dir(within).expect("the jail").flatten();
        let text = |path: PathBuf| fs::read_to_string(path).expect("a file");
        let named = entries.map(|entry| {
            let name = entry.file_name().into_string().expect("a name");
            (name, text(entry.path()))
        });
        named.collect()
    }

    /// Beside the jail nothing is left, in it all is of before or all is new, and the user's file is the same.
    fn assert_sound(&self, own: u64, at: u32) -> bool {
        let mut names: Vec<_> = fs::read_dir(self.base.path())
            .expect("the place")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["host", "jail", "store"], "at {at}");
        let trees = fs::read_dir(self.base.path().join("store/trees")).expect("records");
        for entry in trees.flatten() {
            let path = entry.path();
            assert!(!path.to_string_lossy().contains("updating"), "at {at}");
        }
        let meta = fs::metadata(self.jail().join("own")).expect("the user's file");
        assert_eq!(meta.ino(), own, "at {at}");
        let content = self.content();
        let new = content.contains_key("comes");
        let names: Vec<&str> = content.keys().map(String::as_str).collect();
        match new {
            true => {
                assert_eq!(names, ["changes", "comes", "stays"], "at {at}");
                assert_eq!(content["changes"], "changed on the host\n", "at {at}");
            }
            false => {
                assert_eq!(names, ["changes", "goes", "stays"], "at {at}");
                assert_eq!(content["changes"], "changes of before\n", "at {at}");
            }
        }
        // The record is that of what is there: nothing is taken for changed by the user.
        let engine = self.engine();
        let target = CheckTarget::Directory(self.jail());
        let check = engine.check_content(&target).expect("a check");
        assert!(check.recorded, "at {at}");
        let wrong = |kind: FaultKind| matches!(kind, FaultKind::Changed | FaultKind::Missing);
        let wrong: Vec<_> = check.faults.iter().filter(|f| wrong(f.kind)).collect();
        assert!(wrong.is_empty(), "at {at}: {wrong:?}");
        let plan = engine
            .plan_update(&target, UpdateSpec::default())
            .expect("a plan");
        assert!(
            plan.changes()
                .values()
                .all(|change| *change != Change::Kept),
            "at {at}: {plan}"
        );
        assert_eq!(plan.is_empty(), new, "at {at}: {plan}");
        new
    }
}

fn engine(base: &Path) -> Engine {
    Engine::open(Config::new(base.join("store"))).expect("a store")
}

fn update(engine: &Engine, base: &Path) -> Result<(), jaula_engine::EngineError> {
    let target = CheckTarget::Directory(base.join("jail"));
    let plan = engine.plan_update(&target, UpdateSpec::default())?;
    engine.update(&plan, &Silent)
}

/// The variable that tells a test's own program where it is killed, and in which place.
const KILLED: &str = "JAULA_TEST_KILLED_AT";

#[test]
fn an_update_killed_at_any_point_is_finished_or_taken_back() {
    kernel_test!();
    if let Some(words) = std::env::var_os(KILLED) {
        let words = words.into_string().expect("words");
        let (point, base) = words.split_once(' ').expect("two words");
        let faults = Arc::new(Faults::after(point.parse().expect("a number"), Mode::Kill));
        let base = Path::new(base);
        update(&engine(base).with_faults(faults), base).expect("an update");
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let (mut old, mut new) = (0, 0);
    for point in 0..40 {
        let place = Place::new();
        let own = fs::metadata(place.jail().join("own"))
            .expect("a file")
            .ino();
        let status = Command::new(&program)
            .args([
                "--exact",
                "an_update_killed_at_any_point_is_finished_or_taken_back",
            ])
            .env(KILLED, format!("{point} {}", place.base.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("this program");
        let killed = status.signal() == Some(9);
        assert!(killed || status.success(), "{status:?} at {point}");
        let engine = place.engine();
        // Each of the three commands finishes it.
        match point % 3 {
            0 => {
                let left = leftovers(engine.store()).expect("a list");
                let (removed, errors) = recover(engine.store()).expect("recovery");
                assert!(errors.is_empty(), "{errors:?} at {point}");
                assert_eq!(left.len(), removed.len(), "at {point}");
                assert_eq!(left.is_empty(), !killed, "at {point}");
            }
            1 => {
                let target = CheckTarget::Directory(place.jail());
                engine.check_content(&target).expect("a check");
            }
            _ => {
                let target = CheckTarget::Directory(place.jail());
                let plan = engine.plan_update(&target, UpdateSpec::default());
                drop(plan.expect("a plan"));
            }
        }
        match place.assert_sound(own, point) {
            true => new += 1,
            false => old += 1,
        }
        if !killed {
            assert!(old >= 4 && new >= 4, "{old} of before and {new} new");
            return;
        }
        update(&engine, place.base.path()).expect("an update");
        assert!(place.assert_sound(own, point), "at {point}");
    }
    panic!("no end of points");
}

#[test]
fn an_update_that_fails_at_any_point_leaves_the_jail_as_it_was() {
    kernel_test!();
    for point in 0..40 {
        let place = Place::new();
        let own = fs::metadata(place.jail().join("own"))
            .expect("a file")
            .ino();
        let faults = Arc::new(Faults::after(point, Mode::Fail));
        let done = update(
            &place.engine().with_faults(faults.clone()),
            place.base.path(),
        );
        let new = place.assert_sound(own, point);
        if !faults.struck() {
            done.expect("an update");
            assert!(new && point > 6, "only {point} points were passed");
            return;
        }
        assert!(done.is_err(), "at {point}");
        // After the old tree is gone nothing can be taken back.
        let target = CheckTarget::Directory(place.jail());
        let plan = place.engine().plan_update(&target, UpdateSpec::default());
        assert_eq!(plan.expect("a plan").is_empty(), new, "at {point}");
    }
    panic!("no end of points");
}

#[test]
fn a_second_update_waits_for_the_first() {
    kernel_test!();
    let place = Place::new();
    let target = CheckTarget::Directory(place.jail());
    let engine = place.engine();
    let plan = engine.plan_update(&target, UpdateSpec::default());
    let plan = plan.expect("a plan");
    let (tell, told) = channel();
    let base = place.base.path().to_owned();
    let other = std::thread::spawn(move || {
        let engine = crate::engine(&base);
        let plan = engine.plan_update(&target, UpdateSpec::default());
        let changes = plan.expect("a plan").changes().len();
        tell.send(changes).expect("somebody who waits");
    });
    let early = told.recv_timeout(Duration::from_millis(300));
    assert_eq!(early, Err(RecvTimeoutError::Timeout));
    engine.update(&plan, &Silent).expect("an update");
    drop(plan);
    assert_eq!(told.recv(), Ok(0));
    other.join().expect("the other one");
}
