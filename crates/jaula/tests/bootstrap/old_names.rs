//! The names are listed, and linked.

use jaula_testkit::hermetic;

#[test]
fn the_bootstrappers_are_among_the_tools() {
    let place = hermetic!();
    let listed = place.run(&["compat", "ls"]).expect(0).stdout;
    let made = place.run(&["compat", "install", "."]).expect(0);
    for name in ["cdebootstrap", "debootstrap", "mmdebstrap"] {
        assert!(
            listed
                .lines()
                .any(|line| line.split_whitespace().next() == Some(name)),
            "{listed}"
        );
        assert!(place.work().join(name).is_symlink(), "{}", made.stdout);
    }
    let link = place.work().join("debootstrap");
    let output = std::process::Command::new(link)
        .arg("--version")
        .output()
        .expect("it runs");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("debootstrap 1.0."));
}
