//! Links that are slow, late and lossy, in a machine whose kernel has netem.

use jaula_testkit::guest::Guest;
use jaula_testkit::skip;
use std::time::Duration;

/// A round trip by a link that takes 20 ms each way, and one by a link that loses all.
const LAB: &str = r#"
[[lan]]
name = "a"
[[host]]
name = "near"
lan = "a"
[[host]]
name = "far"
[[link]]
ends = ["far", "a"]
delay = "20ms"
rate = "10mbit"
[[host]]
name = "lost"
[[link]]
ends = ["lost", "a"]
loss = "100%"
[[expect]]
from = "near"
to = "far"
[[expect]]
from = "near"
to = "lost"
reach = false
"#;

#[test]
fn a_link_is_late_and_lossy_where_the_kernel_has_netem() {
    let mut guest = match Guest::new() {
        Ok(guest) => guest,
        Err(reason) => skip!("{reason}"),
    };
    let modules = ["ipv6", "llc", "stp", "bridge", "veth", "sch_netem"];
    for module in modules {
        // One that is built in is no module.
        if let Err(error) = guest.modules(&[module]) {
            assert!(module != "sch_netem", "{error}");
        }
    }
    let program = std::env::var("JAULA_TEST_PROGRAM");
    let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_jaula").to_owned());
    guest.built(program, "/bin/jaula").expect("the program");
    guest.file("late.toml", 0o644, LAB);
    let script = "export JAULA_STORE=/store\njaula net lab up /late.toml || exit 1\n\
                  jaula net lab check --json || exit 2\njaula net lab down || exit 3\n";
    let ran = guest.run(script, Duration::from_secs(120)).expect("a run");
    assert_eq!(ran.code, Some(0), "{ran}");
    let text = ran.to_string();
    let line = text
        .lines()
        .find(|line| line.contains("\"answers\""))
        .expect("the check");
    let start = line.find('{').expect("json");
    let check: serde_json::Value = serde_json::from_str(line[start..].trim()).expect("json");
    let answers = check["answers"].as_array().expect("a list");
    assert_eq!(answers.len(), 4, "{line}");
    for answer in answers {
        if answer["to"] == "far" {
            let micros = answer["micros"].as_u64().expect("an answer");
            assert!((40_000..2_000_000).contains(&micros), "{answer}");
        } else {
            assert_eq!(answer["reached"], false, "{answer}");
        }
    }
}
