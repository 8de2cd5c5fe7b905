//! `jaula ps` beside jails that run.

use jaula_testkit::{Hermetic, hermetic, skip};
use serde_json::Value;

fn processes(place: &Hermetic, words: &[&str]) -> Vec<Value> {
    let ran = place.run(&[&["ps", "--json"], words].concat()).expect(0);
    let value: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    value["processes"].as_array().expect("a list").clone()
}

#[test]
fn the_processes_of_a_jail_are_listed_until_it_ends() {
    let place = hermetic!();
    let words = [
        "run",
        "--detach",
        "--name",
        "demo",
        "--",
        "sh",
        "-c",
        "sleep 1000 & exec sleep 1001",
    ];
    let started = place.run(&words);
    if started.code != 0 {
        skip!("no jail runs here: {}", started.stderr);
    }
    // The program has started; its own child may be a moment later.
    let found = loop {
        let found = processes(&place, &["demo"]);
        if found
            .iter()
            .any(|process| process["command"] == "sleep 1000")
        {
            break found;
        }
    };
    let of = |command: &str| {
        let process = found.iter().find(|process| process["command"] == command);
        process.unwrap_or_else(|| panic!("{command}: {found:?}"))
    };
    for process in &found {
        assert_eq!(
            (&process["jail"], &process["first"]),
            (&"demo".into(), &found[0]["first"])
        );
    }
    assert!(
        found.iter().any(|process| process["inner"] == 1),
        "{found:?}"
    );
    assert_ne!(of("sleep 1001")["inner"], of("sleep 1001")["pid"]);
    // By the number of any of them as well.
    let pid = of("sleep 1000")["pid"].to_string();
    assert_eq!(processes(&place, &[&pid]).len(), found.len());
    let table = place.run(&["ps"]).expect(0).stdout;
    assert!(table.starts_with("JAIL"), "{table}");
    assert!(
        table
            .lines()
            .any(|line| line.starts_with("demo ") && line.ends_with(" sleep 1001")),
        "{table}"
    );
    let refused = place.run(&["ps", "absent"]).expect(125);
    assert!(
        refused.stderr.contains("hint: jaula ps lists"),
        "{}",
        refused.stderr
    );
    place.run(&["rm", "--force", "demo"]).expect(0);
    assert!(
        processes(&place, &[])
            .iter()
            .all(|process| process["jail"].is_null())
    );
}
