//! Little universes written by hand: what is chosen, in which order, and how a refusal reads.

use super::*;
use crate::deb::packages::Index;
use crate::deb::preferences::ReleaseFacts;

/// One line per package: `name version field: value; field: value`. Where a field is given twice the
/// relations are joined.
fn index(lines: &str) -> Index {
    const SHA: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let mut text = String::new();
    for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let name = words.next().unwrap();
        let version = words.next().unwrap();
        let fields = words.next().unwrap_or("");
        text += &format!(
            "Package: {name}\nVersion: {version}\nFilename: pool/{name}_{version}.deb\nSize: 1\nSHA256: {SHA}\n"
        );
        if !fields.contains("architecture:") {
            text += "Architecture: amd64\n";
        }
        for field in fields.split("; ").filter(|f| !f.is_empty()) {
            text += field;
            text += "\n";
        }
        text += "\n";
    }
    Index::parse(text.as_bytes()).expect("the test's index is sound")
}

fn request(wants: &str) -> Request {
    let mut request = Request::default();
    for want in wants.split(", ") {
        match want.split_once(' ') {
            Some(("not", name)) => request.exclude.push(name.to_owned()),
            Some((name, version)) => request.roots.push(Want {
                name: name.to_owned(),
                version: Some(version.trim_matches(['(', ')']).to_owned()),
                ..Want::default()
            }),
            None => request.roots.push(Want::new(want)),
        }
    }
    request
}

fn names(universe: &Universe<'_>, solution: &Solution) -> String {
    solution
        .packages(universe)
        .map(|(p, _)| format!("{}={}", p.name(), p.version()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Solves with both engines. Where both find something, both outcomes have to be valid; the first is
/// returned.
fn solved(lines: &str, wants: &str) -> String {
    let index = index(lines);
    let mut universe = Universe::new("amd64");
    universe.add(&index);
    let request = request(wants);
    let alone = solve_with(&universe, &request, Engine::SolverOnly);
    match solve(&universe, &request) {
        Ok(solution) => {
            assert!(alone.is_ok(), "the solver alone: {alone:?}");
            names(&universe, &solution)
        }
        Err(error) => {
            assert!(alone.is_err(), "the solver alone: {alone:?}");
            error.to_string()
        }
    }
}

fn order(lines: &str, wants: &str) -> String {
    let index = index(lines);
    let mut universe = Universe::new("amd64");
    universe.add(&index);
    let solution = solve(&universe, &request(wants)).unwrap();
    let name = |i: &usize| {
        universe
            .package(solution.chosen[*i].package)
            .unwrap()
            .name()
            .to_owned()
    };
    solution
        .unpack_order
        .iter()
        .map(name)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn takes_the_newest_and_the_first_alternative() {
    assert_eq!(solved("a 1\na 2\na 1.5", "a"), "a=2");
    assert_eq!(solved("a 1 depends: b | c\nb 1\nc 1", "a"), "a=1 b=1");
    assert_eq!(solved("a 1 depends: x | c\nb 1\nc 1", "a"), "a=1 c=1");
    // An alternative that is wanted anyway makes the first needless.
    assert_eq!(solved("a 1 depends: b | c\nb 1\nc 1", "a, c"), "a=1 c=1");
    assert_eq!(solved("a 1\na 2", "a (<< 2)"), "a=1");
    // A later choice cannot undo an earlier one on the walk: the solver goes back.
    assert_eq!(
        solved("a 1 depends: b | c, d\nb 1 conflicts: d\nc 1\nd 1", "a"),
        "a=1 c=1 d=1"
    );
    // The newest version is impossible, an older one is not.
    assert_eq!(solved("a 2 depends: x\na 1", "a"), "a=1");
    assert_eq!(
        solved("a 2 depends: b\na 1\nb 1 depends: c (>= 2)\nc 1", "a"),
        "a=1"
    );
}

#[test]
fn virtual_packages() {
    let mail = "a 1 depends: mta\nexim 1 provides: mta; Priority: optional\npostfix 1 provides: mta; Priority: important";
    assert_eq!(solved(mail, "a"), "a=1 postfix=1");
    assert_eq!(solved(mail, "a, exim"), "a=1 exim=1");
    assert_eq!(solved(mail, "a, not postfix"), "a=1 exim=1");
    // A real package comes before all who provide its name.
    assert_eq!(
        solved(
            "a 1 depends: b\nb 1\nc 1 provides: b; Priority: required",
            "a"
        ),
        "a=1 b=1"
    );
    // Only a versioned Provides satisfies a versioned dependency.
    assert_eq!(
        solved(
            "a 1 depends: v (>= 2)\nb 1 provides: v\nc 1 provides: v (= 2)",
            "a"
        ),
        "a=1 c=1"
    );
    // A package does not conflict with itself through what it provides.
    assert_eq!(solved("a 1 provides: mta; conflicts: mta", "a"), "a=1");
    let two = "a 1 provides: mta; conflicts: mta\nb 1 provides: mta; conflicts: mta";
    assert!(solved(two, "a, b").starts_with("a and b cannot be installed together:"));
}

#[test]
fn architectures() {
    assert_eq!(
        solved("a 1 depends: b:any\nb 1 multi-arch: allowed", "a"),
        "a=1 b=1"
    );
    assert_eq!(solved("a 1 depends: b:native\nb 1", "a"), "a=1 b=1");
    assert_eq!(
        solved("a 1 depends: b:amd64\nb 1 architecture: all", "a"),
        "a=1 b=1"
    );
    assert!(solved("a 1 depends: b:any\nb 1 multi-arch: same", "a").starts_with("a cannot"));
    assert!(solved("a 1 depends: b:i386\nb 1", "a").starts_with("a cannot"));
    assert!(solved("a 1 depends: b\nb 1 architecture: i386", "a").starts_with("a cannot"));
}

#[test]
fn sources_in_order() {
    let (first, second) = (index("a 1\nb 1"), index("a 1\na 2\nb 1"));
    let mut universe = Universe::new("amd64");
    universe.add(&first).add(&second);
    let solution = solve(&universe, &request("a, b")).unwrap();
    assert_eq!(names(&universe, &solution), "a=2 b=1");
    let sources: Vec<usize> = solution.chosen.iter().map(|c| c.package.source).collect();
    assert_eq!(
        sources,
        [1, 0],
        "the same version in two sources is taken from the first"
    );
    // A source that is not preferred gives a version only where the others cannot.
    let mut universe = Universe::new("amd64");
    let backports = ReleaseFacts {
        not_automatic: true,
        but_automatic_upgrades: true,
        ..ReleaseFacts::default()
    };
    universe.add(&first).add_source(&second, backports);
    assert_eq!(
        names(&universe, &solve(&universe, &request("a")).unwrap()),
        "a=1"
    );
    assert_eq!(
        names(&universe, &solve(&universe, &request("a (>= 2)")).unwrap()),
        "a=2"
    );
}

#[test]
fn recommends_where_they_can_be() {
    let index = index(
        "a 1 depends: b; recommends: r, gone, bad\nb 1\nr 1 recommends: s\ns 1\nbad 1 conflicts: b",
    );
    let mut universe = Universe::new("amd64");
    universe.add(&index);
    let mut request = request("a");
    assert_eq!(
        names(&universe, &solve(&universe, &request).unwrap()),
        "a=1 b=1"
    );
    request.recommends = true;
    for engine in [Engine::Both, Engine::SolverOnly] {
        let solution = solve_with(&universe, &request, engine).unwrap();
        assert_eq!(names(&universe, &solution), "a=1 b=1 r=1 s=1", "{engine:?}");
    }
}

#[test]
fn on_top_of_what_is_there() {
    let index = index(
        "a 1\na 2\nb 1 depends: a\nc 1 depends: a (>= 2)\nd 1 conflicts: a\nv 1 depends: x | a\nx 1",
    );
    let mut universe = Universe::new("amd64");
    universe.add(&index);
    let there = PackageRef {
        source: 0,
        id: index.by_name("a").next().unwrap(),
    };
    let on_top = |wants: &str| {
        let request = Request {
            installed: vec![there],
            ..request(wants)
        };
        solve(&universe, &request)
            .map(|s| names(&universe, &s))
            .map_err(|e| e.to_string())
    };
    assert_eq!(on_top("b").unwrap(), "b=1", "what is there stays as it is");
    assert_eq!(
        on_top("c").unwrap(),
        "a=2 c=1",
        "unless a newer version is needed"
    );
    assert_eq!(
        on_top("v").unwrap(),
        "v=1",
        "what is there satisfies an alternative"
    );
    assert_eq!(
        on_top("d").unwrap_err(),
        "d and a (installed) cannot be installed together:\n\
         ├─ d 1 conflicts with a 2\n\
         ├─ d 1 conflicts with a 1\n\
         └─ a 2, 1 is refused by d 1"
    );
}

#[test]
fn manual_marks() {
    let index = index("e 1 essential: yes; depends: l\nl 1\na 1 depends: m\nm 1");
    let mut universe = Universe::new("amd64");
    universe.add(&index);
    let selection = select(&universe, Variant::Essential, &[Want::new("a")], &[]);
    let solution = solve(&universe, &selection.request).unwrap();
    let marks: Vec<(&str, bool)> = solution
        .packages(&universe)
        .map(|(p, m)| (p.name(), m))
        .collect();
    assert_eq!(marks, [("a", true), ("e", true), ("l", true), ("m", false)]);
    // What is asked for is of the base all the same when the base needs it, however it was found.
    for engine in [Engine::Both, Engine::SolverOnly] {
        let selection = select(
            &universe,
            Variant::Essential,
            &[Want::new("a"), Want::new("l")],
            &[],
        );
        let solution = solve_with(&universe, &selection.request, engine).unwrap();
        let base: Vec<bool> = solution.chosen.iter().map(|chosen| chosen.base).collect();
        assert_eq!(base, [false, true, true, false], "{engine:?}");
    }
}

#[test]
fn unpacks_what_is_needed_first() {
    assert_eq!(order("a 1 depends: b\nb 1 depends: c\nc 1", "a"), "c b a");
    assert_eq!(order("z 1 essential: yes\na 1", "a, z"), "z a");
    // The cycle through Depends is cut, but never at a Pre-Depends.
    assert_eq!(order("a 1 depends: b\nb 1 pre-depends: a", "a, b"), "a b");
    assert_eq!(order("b 1 depends: a\na 1 pre-depends: b", "a, b"), "b a");
    assert_eq!(
        order("a 1 pre-depends: b\nb 1 pre-depends: a", "a, b").len(),
        3
    );
}

#[test]
fn a_long_chain_is_no_problem() {
    let mut lines = String::new();
    for i in 0..5000 {
        lines += &format!("p{i} 1 depends: p{}\n", i + 1);
    }
    lines += "p5000 1\n";
    let index = index(&lines);
    let mut universe = Universe::new("amd64");
    universe.add(&index);
    let solution = solve(&universe, &request("p0")).unwrap();
    assert_eq!(
        (solution.chosen.len(), solution.found_by),
        (5001, FoundBy::Solver)
    );
}

#[test]
fn hostile_relations_do_no_harm() {
    for depends in [
        "(",
        ")",
        "|",
        "b |",
        "| b",
        "b (",
        "b ()",
        "b (>= )",
        "b (>=",
        ",,,",
        "b:",
        ":",
        "b (= 1) (= 1)",
        "b [",
        "b <",
        "ü",
        "b (>= 1:2:3:4)",
        "-",
        "b\u{0}",
        "a",
        "a (>> 1)",
    ] {
        let line =
            format!("a 1 depends: {depends}; conflicts: {depends}; recommends: {depends}\nb 1");
        let text = solved(&line, "a");
        assert!(!text.is_empty(), "{depends}");
    }
    assert_eq!(
        solved("a 1 depends: b (>= \nb 1", "a"),
        "a cannot be installed:\n└─ a 1 depends on b (>=\n   └─ which cannot be read"
    );
    let many = vec!["x"; relation_limit() + 1].join(" | ");
    assert!(solved(&format!("a 1 depends: {many}\nx 1"), "a").contains("which cannot be read"));
}

fn relation_limit() -> usize {
    crate::deb::relation::MAX_ALTERNATIVES
}

#[test]
fn a_puzzle_without_an_answer_ends() {
    // Nine pigeons and eight holes: hard for every solver of this kind.
    let mut lines = String::new();
    for pigeon in 0..9 {
        let holes: Vec<String> = (0..8).map(|hole| format!("p{pigeon}h{hole}")).collect();
        lines += &format!("pigeon{pigeon} 1 depends: {}\n", holes.join(" | "));
        for (hole, name) in holes.iter().enumerate() {
            lines += &format!("{name} 1 provides: hole{hole}; conflicts: hole{hole}\n");
        }
    }
    let index = index(&lines);
    let mut universe = Universe::new("amd64");
    universe.add(&index);
    let wants: Vec<String> = (0..9).map(|p| format!("pigeon{p}")).collect();
    let error = solve(&universe, &request(&wants.join(", "))).unwrap_err();
    assert!(
        matches!(error, SolveError::Unsolvable(_) | SolveError::GaveUp { .. }),
        "{error}"
    );
}

#[test]
fn refusals_missing_dependency() {
    assert_eq!(
        solved("a 1 depends: b\nb 1 depends: gone", "a"),
        "a cannot be installed:\n\
         └─ a 1 depends on b\n\
         \u{20}  └─ b 1 depends on gone\n\
         \u{20}     └─ which no source offers, and no package provides"
    );
}

#[test]
fn refusals_version_too_old() {
    assert_eq!(
        solved(
            "nginx-full 1.22 depends: libfoo (>= 2)\nlibfoo 1.9",
            "nginx-full"
        ),
        "nginx-full cannot be installed:\n\
         └─ nginx-full 1.22 depends on libfoo (>= 2)\n\
         \u{20}  └─ which no source offers (1.9 is there)"
    );
    assert_eq!(
        solved("a 1 depends: b (>= 2) | c\nb 1\nb 1.5", "a"),
        "a cannot be installed:\n\
         └─ a 1 depends on b (>= 2) | c\n\
         \u{20}  ├─ b (>= 2) no source offers (1.5, 1 are there)\n\
         \u{20}  └─ c no source offers, and no package provides"
    );
}

#[test]
fn refusals_two_roots() {
    assert_eq!(
        solved("a 1 depends: c\nb 1 conflicts: c\nc 1", "a, b"),
        "a and b cannot be installed together:\n\
         ├─ a 1 depends on c\n\
         │  └─ c 1 is refused by b 1\n\
         └─ b 1 conflicts with c 1"
    );
}

#[test]
fn refusals_excluded() {
    assert_eq!(
        solved("a 1 depends: b\nb 1\nb 2", "a, not b"),
        "a cannot be installed:\n\
         └─ a 1 depends on b\n\
         \u{20}  └─ b 2, 1 is excluded by the request"
    );
}

#[test]
fn refusals_nobody_provides() {
    assert_eq!(
        solved(
            "a 1 depends: mta (>= 3)\nb 1 provides: mta\nc 1 provides: mta (= 2)",
            "a"
        ),
        "a cannot be installed:\n\
         └─ a 1 depends on mta (>= 3)\n\
         \u{20}  └─ which no source offers (provided by b without a version, c as version 2)"
    );
}

#[test]
fn refusals_two_versions_of_one_package() {
    assert_eq!(
        solved(
            "a 1 depends: c (<< 2)\nb 1 depends: c (>= 2)\nc 1\nc 2",
            "a, b"
        ),
        "a and b cannot be installed together:\n\
         ├─ a 1 depends on c (<< 2)\n\
         │  └─ c 1 would have to be there beside another version\n\
         └─ b 1 depends on c (>= 2)\n\
         \u{20}  └─ c 2 would have to be there beside another version"
    );
}

#[test]
fn unknown_names_come_with_the_nearest() {
    assert_eq!(
        solved(
            "nginx 1\nnginx-light 1\nnginx-full 1\napache2 1\nzsh 1",
            "ngnix, apache"
        ),
        "no source offers ngnix (near: nginx); apache (near: apache2)"
    );
    assert_eq!(
        solved("nginx-light 1\nnginx-full 1", "nginx"),
        "no source offers nginx (near: nginx-full, nginx-light)"
    );
    assert_eq!(solved("a 1", "zzzzzzzz"), "no source offers zzzzzzzz");
}

#[test]
fn selects_variants() {
    let old = index(
        "e 1 essential: yes\nr 1 priority: required\ni 1 priority: important\ns 1 priority: standard\napt 1\no 1 priority: required\nbuild-essential 1",
    );
    let new = index("o 2 priority: optional");
    let mut universe = Universe::new("amd64");
    universe.add(&old).add(&new);
    let wanted = |variant: Variant, include: &[&str], exclude: &[&str]| {
        let own = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let include: Vec<Want> = include.iter().map(|name| Want::new(*name)).collect();
        let s = select(&universe, variant, &include, &own(exclude));
        let list = |w: &[Want]| {
            w.iter()
                .map(|w| w.name.clone())
                .collect::<Vec<_>>()
                .join(" ")
        };
        (
            list(&s.request.base),
            list(&s.request.roots),
            s.excluded_essential.join(" "),
        )
    };
    let row = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(wanted(Variant::Essential, &[], &[]), row("e", "", ""));
    assert_eq!(wanted(Variant::Apt, &["x"], &[]), row("e apt", "x", ""));
    assert_eq!(
        wanted(Variant::Minbase, &[], &[]),
        row("e", "r apt", ""),
        "o is required no more"
    );
    assert_eq!(
        wanted(Variant::Important, &[], &["r"]),
        row("e", "i apt", "")
    );
    assert_eq!(
        wanted(Variant::Standard, &[], &["apt"]),
        row("e", "i r s", "")
    );
    assert_eq!(
        wanted(Variant::Buildd, &[], &["e"]),
        row("", "build-essential r apt", "e")
    );
    assert_eq!("minbase".parse::<Variant>(), Ok(Variant::Minbase));
    assert_eq!("debootstrap".parse::<Variant>(), Ok(Variant::Important));
    assert!("huge".parse::<Variant>().is_err());
}

/// What cannot be solved, with the reason a person reads.
#[test]
fn refusals_through_three_levels() {
    assert_eq!(
        solved(
            "a 1 depends: b\nb 1 depends: c\nc 1 depends: d (>= 2)\nx 1 depends: y\ny 1 depends: z\nz 1 conflicts: d (>= 2)\nd 2",
            "a, x"
        ),
        "a and x cannot be installed together:\n\
         ├─ a 1 depends on b\n\
         │  └─ b 1 depends on c\n\
         │     └─ c 1 depends on d (>= 2)\n\
         │        └─ d 2 is refused by z 1\n\
         └─ x 1 depends on y\n\
         \u{20}  └─ y 1 depends on z\n\
         \u{20}     └─ z 1 conflicts with d 2"
    );
}

#[test]
fn refusals_of_a_version_that_nobody_has() {
    assert_eq!(
        solved("a 1\na 2", "a (= 3)"),
        "a (= 3) cannot be installed:\n└─ which no source offers (2, 1 are there)"
    );
}

#[test]
fn refusals_by_pins() {
    let index = index("a 2 depends: b\na 1 depends: b\nb 1");
    let with = |text: &str, wants: &str| {
        let file = crate::deb::preferences::Preferences::parse("pins", text).unwrap();
        let policy = crate::deb::preferences::Policy::new("amd64", [file]);
        let mut universe = Universe::new("amd64").with_policy(policy);
        universe.add(&index);
        match solve(&universe, &request(wants)) {
            Ok(solution) => names(&universe, &solution),
            Err(error) => error.to_string(),
        }
    };
    let deny = "Package: b\nPin: release *\nPin-Priority: -1\n";
    assert_eq!(
        with(deny, "a"),
        "a cannot be installed:\n\
         └─ a 2, 1 depends on b\n\
         \u{20}  └─ b 1 is forbidden by a pin (priority -1)"
    );
    assert_eq!(
        with("Package: *\nPin: release *\nPin-Priority: never\n", "b"),
        "b cannot be installed:\n└─ b 1 comes from a source that is never to be used"
    );
    let old = "Package: a\nPin: version 1\nPin-Priority: 600\n";
    assert_eq!(with(old, "a"), "a=1 b=1");
    // In so many words a pin is overruled.
    assert_eq!(with(old, "a (= 2)"), "a=2 b=1");
}

#[test]
fn refusals_of_architectures() {
    let index = index(
        "a 1\nb 1 architecture: i386\nboth 1 architecture: i386\nboth 2\nc 1 architecture: i386; depends: a",
    );
    let with = |foreign: &[&str], name: &str, arch: Option<&str>| {
        let foreign = foreign.iter().map(|arch| (*arch).to_owned());
        let mut universe = Universe::new("amd64").with_foreign(foreign);
        universe.add(&index);
        let want = Want {
            arch: arch.map(str::to_owned),
            ..Want::new(name)
        };
        let request = Request {
            roots: vec![want, Want::new("both")],
            ..Request::default()
        };
        match solve(&universe, &request) {
            Ok(solution) => names(&universe, &solution),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(
        with(&["i386"], "a", Some("i386")),
        "no source offers a:i386 (only for amd64)"
    );
    assert_eq!(
        with(&[], "a", Some("i386")),
        "a:i386 is of an architecture that is not among those of the image (amd64)"
    );
    assert_eq!(with(&["i386"], "b", None), "b=1 both=2");
    assert_eq!(
        with(&["i386"], "c", None),
        "c:i386 cannot be installed:\n\
         └─ c:i386 1 depends on a\n\
         \u{20}  └─ which no source offers, and no package provides"
    );
    // One package for two architectures only when it says that it can be.
    assert!(with(&["i386"], "both", Some("i386")).contains("cannot be installed together"));
}

#[test]
fn refusals_without_an_essential_package() {
    let index = index("e 1 essential: yes\na 1 depends: e");
    let mut universe = Universe::new("amd64");
    universe.add(&index);
    let selection = select(
        &universe,
        Variant::Essential,
        &[Want::new("a")],
        &["e".to_owned()],
    );
    assert_eq!(selection.excluded_essential, ["e"]);
    assert_eq!(
        solve(&universe, &selection.request)
            .unwrap_err()
            .to_string(),
        "a cannot be installed:\n\
         └─ a 1 depends on e\n\
         \u{20}  └─ e 1 is excluded by the request"
    );
}

#[test]
fn of_a_release_with_what_it_needs() {
    let (stable, backports) = (
        index("a 1\nlib 1\nb 1"),
        index("a 2 depends: lib (>= 2), b\nlib 2\nb 2"),
    );
    let facts = |name: &str, automatic: bool| ReleaseFacts {
        codename: Some(name.to_owned()),
        not_automatic: !automatic,
        but_automatic_upgrades: !automatic,
        ..ReleaseFacts::default()
    };
    let mut universe = Universe::new("amd64");
    universe.add_source(&stable, facts("bookworm", true));
    universe.add_source(&backports, facts("bookworm-backports", false));
    let with = |release: Option<&str>| {
        let request = Request {
            roots: vec![Want {
                release: release.map(str::to_owned),
                ..Want::new("a")
            }],
            ..Request::default()
        };
        match solve(&universe, &request) {
            Ok(solution) => names(&universe, &solution),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(with(None), "a=1");
    assert_eq!(with(Some("bookworm-backports")), "a=2 b=1 lib=2");
    assert_eq!(with(Some("bookworm")), "a=1");
    assert_eq!(
        with(Some("trixie")),
        "no source offers a/trixie (2 in bookworm-backports; 1 in bookworm are there)"
    );
}
