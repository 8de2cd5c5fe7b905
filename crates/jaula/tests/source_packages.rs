//! Source packages of Debian, built in a jail that we made. It takes minutes: `JAULA_TEST_FULL` runs it.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs, and look into their environment; the rule is for the program itself"
)]

mod mirror;
mod who;

use jaula_testkit::skip;
use jaula_testkit::source::source_packages;
use mirror::{Web, assert_gone};
use std::collections::BTreeSet;
use who::everyone;

/// Each with a program of it and what that says.
const PACKAGES: [(&str, &str, &str); 3] = [
    ("hello", "usr/bin/hello", "Hello, world!"),
    ("ed", "bin/ed --version", "GNU ed "),
    ("tree", "usr/bin/tree --version", "tree v"),
];

/// Unpacks, builds as the user who calls it, and runs what came of it.
const BUILD: &str = r#"
set -e
cd "$(mktemp -d)"
dpkg-source -x "/sources/$1" tree >/dev/null
cd tree
dpkg-checkbuilddeps
dpkg-buildpackage -us -uc -b >../log 2>&1 || { tail -n 30 ../log; exit 1; }
cd ..
dpkg-deb -x "$2"_*_amd64.deb out
dpkg-deb -f "$2"_*_amd64.deb Package Architecture
"./out/$3" $4
"#;

#[test]
fn three_source_packages_of_debian_are_built_in_a_jail() {
    if std::env::var_os("JAULA_TEST_FULL").is_none() {
        skip!("takes minutes; JAULA_TEST_FULL=1 runs it");
    }
    let sources = match source_packages(&PACKAGES.map(|(name, _, _)| name)) {
        Ok(sources) => sources,
        Err(error) => skip!("no source packages: {error:#}"),
    };
    let needs: BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| source.needs.iter().map(String::as_str))
        .chain(["fakeroot"])
        .collect();
    let needs: Vec<&str> = needs.into_iter().collect();
    let web = match Web::start(&[&["build-essential", "apt"], needs.as_slice()].concat()) {
        Ok(web) => web,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let (list, dir) = (needs.join(","), user.place.work().join("sources"));
        std::fs::create_dir(&dir).expect("a directory");
        for source in &sources {
            let from = source.dsc.parent().expect("a directory");
            for entry in std::fs::read_dir(from).expect("the sources").flatten() {
                std::fs::copy(entry.path(), dir.join(entry.file_name())).expect("a file");
            }
        }
        let words = [
            "build",
            "debian:bookworm",
            "--variant",
            "buildd",
            "--include",
            &list,
        ];
        web.run(user, &[&words[..], &["--tag", "sbuild"]].concat())
            .expect(0);
        for (source, (name, program, says)) in sources.iter().zip(PACKAGES) {
            let (program, argument) = program.split_once(' ').unwrap_or((program, ""));
            let dsc = source.dsc.file_name().and_then(|name| name.to_str());
            let bind = format!("{}:/sources:ro", dir.display());
            let words = [
                "run",
                "sbuild",
                "--bind",
                &bind,
                "--user",
                "1000:1000",
                "--env",
                "HOME=/tmp",
                "--",
                "sh",
                "-c",
                BUILD,
                "sh",
                dsc.expect("a name"),
                name,
                program,
                argument,
            ];
            let ran = user.place.run(&words).expect(0);
            let expected = format!("Package: {name}\nArchitecture: amd64\n{says}");
            assert!(ran.stdout.contains(&expected), "{name}: {}", ran.stdout);
        }
        assert_gone(user.place.path());
    });
}
