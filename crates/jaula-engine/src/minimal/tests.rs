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

#[test]
fn binds_are_the_outermost_whole_directories_and_else_single_files() {
    let file = ItemKind::File {
        mode: 0o644,
        dropped: false,
    };
    let directory = ItemKind::Directory { mode: 0o755 };
    let mut taken: Vec<Taken> = [
        ("/a", &directory),
        ("/a/b", &directory),
        ("/a/b/c", &directory),
        ("/a/b/c/f", &file),
        ("/a/b/d", &file),
        ("/a/b-e", &directory),
        ("/a/b-e/f", &file),
        ("/a/b.f", &file),
        ("/a/empty", &directory),
        ("/a/z", &directory),
        ("/a/z/f", &file),
    ]
    .map(|(path, kind)| Taken {
        path: path.into(),
        item: Item {
            kind: kind.clone(),
            why: Why::Asked,
        },
        content: None,
    })
    .into();
    assert!(taken.is_sorted_by_key(|one| one.path.clone()));
    let whole = ["/a/b", "/a/b/c", "/a/empty", "/a/z"].map(PathBuf::from);
    let binds = live::split(&mut taken, &whole.into());
    let expected = ["/a/b", "/a/b-e/f", "/a/b.f", "/a/z"];
    assert_eq!(binds, expected.map(PathBuf::from));
    let left: Vec<_> = taken.iter().filter_map(|one| one.path.to_str()).collect();
    assert_eq!(
        left,
        [
            "/a", "/a/b", "/a/b-e", "/a/b-e/f", "/a/b.f", "/a/empty", "/a/z"
        ]
    );
}
