use super::*;
use std::collections::BTreeSet;
use std::process::Command;

/// The files that the host's own loader lists for a program that this host trusts, without links.
#[allow(
    clippy::disallowed_types,
    reason = "the loader itself is the oracle; it runs in this test only"
)]
fn listed(program: &str) -> BTreeSet<PathBuf> {
    let ran = Command::new(program)
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .output()
        .expect("a program of the host");
    let text = String::from_utf8(ran.stdout).expect("a list");
    let paths = text.lines().filter_map(|line| {
        let line = line.split(" (").next()?;
        let path = line.rsplit("=>").next()?.trim();
        path.starts_with('/')
            .then(|| std::fs::canonicalize(path).expect("a library"))
    });
    paths.collect()
}

#[test]
fn the_closure_is_what_the_loader_itself_lists() {
    let mut compared = 0;
    for program in [
        "/bin/bash",
        "/bin/ls",
        "/usr/bin/perl",
        "/usr/bin/apt",
        "/usr/bin/gpgv",
        "/usr/bin/systemctl",
        "/usr/bin/curl",
    ] {
        if !Path::new(program).exists() {
            continue;
        }
        let mut expected = listed(program);
        expected.insert(std::fs::canonicalize(program).expect("a program"));
        let mut host = Host::open().expect("the host");
        let native = host::native().expect("a machine");
        let items = closure(&mut host, &[program.into()], native).expect(program);
        let files: BTreeSet<PathBuf> = items
            .into_iter()
            .filter(|(_, item)| matches!(item.kind, ItemKind::File { .. }))
            .map(|(path, _)| path)
            .collect();
        assert_eq!(files, expected, "{program}");
        compared += 1;
    }
    assert!(compared >= 2);
}
