//! The rules. Each takes the tree and says what is wrong, one line a fault: `FILE[:LINE]: WHAT`.

use std::collections::BTreeSet;
use std::path::Path;

use super::Tree;
use super::source::{code_only, has_word, test_names, without_tests};
use crate::{clippy, coverage};

/// Crates and the crates of this workspace that they may depend on.
const MAY_USE: &[(&str, &[&str])] = &[
    ("jaula-sys", &[]),
    ("jaula-repo", &[]),
    ("jaula-plan", &["jaula-repo"]),
    ("jaula-engine", &["jaula-sys", "jaula-repo", "jaula-plan"]),
    ("jaula", &["jaula-engine", "jaula-plan"]),
    ("jaula-testkit", &[]),
];

/// Crates that raw system calls come from, and who alone may use them.
const RAW: &[&str] = &["rustix", "libc", "seccompiler", "nix"];

/// Names that say nothing about what is in the file.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "manager", "managers", "helper", "helpers", "misc", "common",
];

/// All rules.
pub fn all(tree: &Tree) -> Vec<String> {
    let rules: &[fn(&Tree) -> Vec<String>] = &[
        raw_calls_only_in_sys,
        unsafe_is_forbidden_elsewhere,
        only_two_files_print,
        dependencies_run_one_way,
        clippy_files_are_generated,
        coverage_is_honest,
        security_is_honest,
        files_are_short,
        nothing_is_unfinished,
        merges_are_whole,
        no_paths_of_a_developer,
        names_mean_something,
        every_verb_is_listed,
    ];
    rules.iter().flat_map(|rule| rule(tree)).collect()
}

/// `FILE:LINE: what` for every line of `code` that `wrong` is true of.
fn lines(path: &str, code: &str, wrong: impl Fn(&str) -> bool, what: &str) -> Vec<String> {
    code.lines()
        .enumerate()
        .filter(|(_, line)| wrong(line))
        .map(|(index, _)| format!("{path}:{}: {what}", index + 1))
        .collect()
}

fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.split('/').next()
}

/// Whether a file holds nothing but tests: below `tests/`, or called `tests.rs` or `tests_….rs`.
fn of_tests(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.contains("/tests/") || name == "tests.rs" || name.starts_with("tests_")
}

/// No line of a merge that was left half done.
fn merges_are_whole(tree: &Tree) -> Vec<String> {
    let marker = |line: &str| {
        ['<', '>', '|']
            .iter()
            .any(|mark| line.starts_with(&format!("{} ", mark.to_string().repeat(7))))
    };
    let what = "a conflict of a merge";
    tree.iter()
        .flat_map(|(path, text)| lines(path, text, marker, what))
        .collect()
}

fn raw_calls_only_in_sys(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".rs")) {
        if crate_of(path) == Some("jaula-sys") || path.starts_with("fuzz/") {
            continue;
        }
        let code = code_only(text);
        for word in ["unsafe", "libc::", "rustix::"] {
            wrong.extend(lines(
                path,
                &code,
                |line| has_word(line, word),
                &format!("`{word}` belongs to jaula-sys"),
            ));
        }
    }
    wrong
}

fn unsafe_is_forbidden_elsewhere(tree: &Tree) -> Vec<String> {
    let tops = MAY_USE
        .iter()
        .filter(|(name, _)| *name != "jaula-sys")
        .flat_map(|(name, _)| ["lib", "main"].map(|top| format!("crates/{name}/src/{top}.rs")))
        .chain(["xtask/src/main.rs".to_owned()]);
    tops.filter_map(|path| {
        let text = tree.file(&path)?;
        (!code_only(text).contains("#![forbid(unsafe_code)]"))
            .then(|| format!("{path}: lacks #![forbid(unsafe_code)]"))
    })
    .collect()
}

fn only_two_files_print(tree: &Tree) -> Vec<String> {
    const WORDS: &[&str] = &[
        "print!",
        "println!",
        "eprint!",
        "eprintln!",
        "dbg!",
        "io::stdout",
        "io::stderr",
        "stdout()",
        "stderr()",
    ];
    let mut wrong = Vec::new();
    for name in [
        "jaula-sys",
        "jaula-repo",
        "jaula-plan",
        "jaula-engine",
        "jaula",
    ] {
        for (path, text) in tree.rust_of(name) {
            // A build script speaks to cargo by printing, and is no part of the program.
            let may = [
                "crates/jaula/src/output.rs",
                "crates/jaula/src/error.rs",
                "crates/jaula/build.rs",
            ]
            .contains(&path);
            if may || of_tests(path) {
                continue;
            }
            let code = code_only(text);
            let code = without_tests(&code);
            wrong.extend(lines(
                path,
                code,
                |line| {
                    // Asking whether a stream is a terminal prints nothing.
                    let line = line.replace("io::stdout().is_terminal()", "");
                    let line = line.replace("io::stderr().is_terminal()", "");
                    WORDS.iter().any(|word| has_word(&line, word))
                },
                "only output.rs and error.rs of the face print",
            ));
        }
    }
    wrong
}

fn dependencies_run_one_way(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, may) in MAY_USE {
        let path = format!("crates/{name}/Cargo.toml");
        let Some(text) = tree.file(&path) else {
            wrong.push(format!("{path}: missing"));
            continue;
        };
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                wrong.push(format!("{path}: {error}"));
                continue;
            }
        };
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let used = table.get(section).and_then(toml::Value::as_table);
            for used in used.into_iter().flat_map(toml::Table::keys) {
                let own = used == "jaula" || used.starts_with("jaula-");
                let dev = section == "dev-dependencies";
                if own && !may.contains(&used.as_str()) && !(dev && used == "jaula-testkit") {
                    wrong.push(format!("{path}: {name} may not depend on {used}"));
                }
                if RAW.contains(&used.as_str()) && *name != "jaula-sys" {
                    wrong.push(format!("{path}: {used} belongs to jaula-sys"));
                }
            }
        }
    }
    for (path, _) in tree.iter() {
        if let Some(name) = crate_of(path)
            && path.ends_with("/Cargo.toml")
            && !MAY_USE.iter().any(|(known, _)| *known == name)
        {
            wrong.push(format!(
                "{path}: a further crate needs a further rule in xtask"
            ));
        }
    }
    wrong
}

fn clippy_files_are_generated(tree: &Tree) -> Vec<String> {
    clippy::files()
        .into_iter()
        .filter(|(path, text)| tree.file(&path.to_string_lossy()) != Some(text))
        .map(|(path, _)| {
            format!(
                "{}: not what `cargo xtask clippy-toml` writes",
                path.display()
            )
        })
        .collect()
}

/// Names of all tests: functions marked as such, and end-to-end scripts.
fn known_tests(tree: &Tree) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for (path, text) in tree.iter() {
        if path.ends_with(".rs") && !path.starts_with("xtask/") {
            known.extend(test_names(text));
        } else if path.ends_with(".sh") && path.contains("/tests/") {
            let stem = Path::new(path).file_stem().unwrap_or_default();
            known.insert(stem.to_string_lossy().into_owned());
        }
    }
    known
}

fn coverage_is_honest(tree: &Tree) -> Vec<String> {
    match tree.file("docs/coverage.md") {
        Some(text) => coverage::check(text, &known_tests(tree)),
        None => vec!["docs/coverage.md: missing".into()],
    }
}

/// The last cell of each class in SECURITY.md says `planned` or names tests that exist.
fn security_is_honest(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.file("SECURITY.md") else {
        return vec!["SECURITY.md: missing".into()];
    };
    let known = known_tests(tree);
    let mut wrong = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", number, _class, _rule, proof, ""] = cells[..] else {
            continue;
        };
        if number.parse::<u8>().is_err() {
            continue;
        }
        let named: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        if named.is_empty() && proof != "planned" {
            wrong.push(format!(
                "SECURITY.md:{}: neither planned nor proved",
                index + 1
            ));
        }
        for name in named.into_iter().filter(|name| !known.contains(*name)) {
            wrong.push(format!(
                "SECURITY.md:{}: no test is called {name}",
                index + 1
            ));
        }
    }
    wrong
}

fn files_are_short(tree: &Tree) -> Vec<String> {
    tree.iter()
        .filter_map(|(path, text)| {
            let limit = if path == "ARCHITECTURE.md" {
                200
            } else if !path.ends_with(".rs") {
                return None;
            } else if of_tests(path) {
                1000
            } else {
                700
            };
            let length = text.lines().count();
            (length > limit).then(|| format!("{path}: {length} lines, at most {limit}"))
        })
        .collect()
}

fn nothing_is_unfinished(tree: &Tree) -> Vec<String> {
    tree.iter()
        .filter(|(path, _)| path.ends_with(".rs"))
        .flat_map(|(path, text)| {
            let wrong = |line: &str| has_word(line, "todo!") || has_word(line, "unimplemented!");
            lines(path, &code_only(text), wrong, "unfinished")
        })
        .collect()
}

/// Paths that only the machine of whoever wrote the line has.
fn no_paths_of_a_developer(tree: &Tree) -> Vec<String> {
    let places = [
        concat!("/wo", "rk/wt"),
        concat!("/wo", "rk/main"),
        concat!("/wo", "rk/shared"),
        concat!("/root/", ".cargo"),
        concat!("/root/", ".py"),
        concat!("/tmp/tar", "get"),
    ];
    let starts = |line: &str, place: &str| {
        line.match_indices(place).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|one| one.is_alphanumeric() || "._-}/~$".contains(one))
        })
    };
    tree.iter()
        .flat_map(|(path, text)| {
            let wrong = |line: &str| places.iter().any(|place| starts(line, place));
            lines(path, text, wrong, "a path of one developer's machine")
        })
        .collect()
}

fn names_mean_something(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let empty = path
            .trim_end_matches(".rs")
            .split('/')
            .any(|part| EMPTY_NAMES.contains(&part) && !path.contains("/tests/"));
        if empty {
            wrong.push(format!("{path}: the name says nothing about what is in it"));
        }
        let code = code_only(text);
        wrong.extend(lines(
            path,
            &without_foreign_traits(&code),
            |line| has_word(line, "fn get_"),
            "`get_` says nothing: name what is returned",
        ));
        wrong.extend(lines(
            path,
            &code,
            |line| {
                EMPTY_NAMES
                    .iter()
                    .any(|name| has_word(line, &format!("mod {name}")))
            },
            "the module's name says nothing",
        ));
    }
    wrong
}

/// `code` with the bodies of `impl TRAIT for TYPE` blanked: their names are the trait's choice.
fn without_foreign_traits(code: &str) -> String {
    let mut foreign = false;
    let blank = |line: &str| {
        if line.starts_with("impl") {
            foreign = line.contains(" for ");
        }
        let kept = if foreign {
            String::new()
        } else {
            line.to_owned()
        };
        if line.starts_with('}') {
            foreign = false;
        }
        kept
    };
    code.lines().map(blank).collect::<Vec<_>>().join("\n")
}

/// A file under `cmd/` that the verb table does not know is a verb nobody can call.
fn every_verb_is_listed(tree: &Tree) -> Vec<String> {
    let table = ["mod.rs", "verbs.rs"].map(|name| {
        let path = format!("crates/jaula/src/cmd/{name}");
        tree.file(&path).map(code_only).unwrap_or_default()
    });
    let table = table.concat();
    tree.iter()
        .filter_map(|(path, _)| {
            let name = path
                .strip_prefix("crates/jaula/src/cmd/")?
                .strip_suffix(".rs")?;
            if name == "mod" || name == "verbs" || name.contains('/') {
                return None;
            }
            let listed =
                has_word(&table, &format!("mod {name}")) && has_word(&table, &format!("{name}::"));
            (!listed).then(|| format!("{path}: not in the verb table of cmd/verbs.rs"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The complaints of one rule about a tree of one file.
    fn about(rule: fn(&Tree) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
        rule(&Tree::of(&[(path, text)]))
    }

    #[test]
    fn raw_calls_are_found_with_their_line() {
        let text = "//! libc::open in words\nfn f() {\n    unsafe { libc::sync() }\n}\n";
        let found = about(raw_calls_only_in_sys, "crates/jaula-engine/src/a.rs", text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("crates/jaula-engine/src/a.rs:3:"),
            "{found:?}"
        );
        assert!(about(raw_calls_only_in_sys, "crates/jaula-sys/src/a.rs", text).is_empty());
    }

    #[test]
    fn a_crate_without_the_lint_is_found() {
        let path = "crates/jaula-plan/src/lib.rs";
        assert_eq!(
            about(
                unsafe_is_forbidden_elsewhere,
                path,
                "// #![forbid(unsafe_code)]"
            )
            .len(),
            1
        );
        assert!(
            about(
                unsafe_is_forbidden_elsewhere,
                path,
                "#![forbid(unsafe_code)]"
            )
            .is_empty()
        );
    }

    #[test]
    fn printing_is_found_outside_tests_only() {
        let text =
            "fn f() { println!(\"x\") }\n#[cfg(test)]\nmod tests {\n fn g() { println!() }\n}";
        assert_eq!(
            about(only_two_files_print, "crates/jaula/src/cmd/run.rs", text).len(),
            1
        );
        assert_eq!(
            about(
                only_two_files_print,
                "crates/jaula-engine/src/a.rs",
                "std::io::stderr()"
            )
            .len(),
            1
        );
        assert!(about(only_two_files_print, "crates/jaula/src/output.rs", text).is_empty());
    }

    #[test]
    fn dependencies_against_the_direction_are_found() {
        let found = |path: &str, text: &str| {
            let mut found = about(dependencies_run_one_way, path, text);
            found.retain(|line| !line.ends_with("missing"));
            found
        };
        let face = "crates/jaula/Cargo.toml";
        assert_eq!(found(face, "[dependencies]\njaula-sys = \"1\"").len(), 1);
        assert_eq!(found(face, "[dependencies]\njaula-engine = \"1\"").len(), 0);
        assert_eq!(
            found(face, "[dev-dependencies]\njaula-testkit = \"1\"").len(),
            0
        );
        assert_eq!(
            found(face, "[dependencies]\njaula-testkit = \"1\"").len(),
            1
        );
        assert_eq!(
            found(
                "crates/jaula-repo/Cargo.toml",
                "[dependencies]\njaula-plan = \"1\"\nlibc = \"1\""
            )
            .len(),
            2
        );
        assert_eq!(found("crates/jaula-more/Cargo.toml", "").len(), 1);
    }

    #[test]
    fn a_changed_clippy_file_is_found() {
        let files = clippy::files();
        let mut tree: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.to_str().unwrap(), text.as_str()))
            .collect();
        assert!(clippy_files_are_generated(&Tree::of(&tree)).is_empty());
        tree[1].1 = "disallowed-methods = []";
        assert_eq!(clippy_files_are_generated(&Tree::of(&tree)).len(), 1);
    }

    #[test]
    fn coverage_must_name_tests_that_exist() {
        let page = "| a.01 | x | must | works | `good` |\n";
        let with = |test: &str| {
            coverage_is_honest(&Tree::of(&[
                ("docs/coverage.md", page),
                ("crates/a/src/b.rs", test),
            ]))
        };
        assert!(with("#[test]\nfn good() {}").is_empty());
        assert_eq!(with("fn good() {}").len(), 1);
        assert_eq!(coverage_is_honest(&Tree::of(&[])).len(), 1);
    }

    #[test]
    fn security_must_name_tests_that_exist() {
        let with = |proof: &str| {
            let page = format!("| 1 | a class | a rule | {proof} |\n");
            let test = "#[test]\nfn good() {}";
            security_is_honest(&Tree::of(&[
                ("SECURITY.md", &page),
                ("crates/a/src/b.rs", test),
            ]))
        };
        assert!(with("planned").is_empty());
        assert!(with("partly: `good`; the rest is planned").is_empty());
        assert_eq!(with("`bad`").len(), 1);
        assert_eq!(with("surely").len(), 1);
    }

    #[test]
    fn long_files_are_found() {
        let long = "x\n".repeat(701);
        assert_eq!(
            about(files_are_short, "crates/jaula/src/a.rs", &long).len(),
            1
        );
        assert!(about(files_are_short, "crates/jaula/tests/a.rs", &long).is_empty());
        assert_eq!(
            about(files_are_short, "ARCHITECTURE.md", &"x\n".repeat(201)).len(),
            1
        );
    }

    #[test]
    fn unfinished_code_and_strange_paths_are_found() {
        assert_eq!(
            about(
                nothing_is_unfinished,
                "crates/a/src/b.rs",
                "fn f() { todo!() }"
            )
            .len(),
            1
        );
        assert!(about(nothing_is_unfinished, "crates/a/src/b.rs", "// todo! this").is_empty());
        let path = concat!(
            "see /wo",
            "rk/wt/x\n{upper}/wo",
            "rk/wt\nhttp://h/wo",
            "rk/main\n"
        );
        assert_eq!(about(no_paths_of_a_developer, "README.md", path).len(), 1);
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(
            about(names_mean_something, "crates/a/src/utils.rs", "").len(),
            1
        );
        let text = "mod helpers;\npub fn get_name() {}\nfn target_x() {}";
        assert_eq!(
            about(names_mean_something, "crates/a/src/b.rs", text).len(),
            2
        );
    }

    #[test]
    fn a_verb_outside_the_table_is_found() {
        let verbs = |table: &str| {
            every_verb_is_listed(&Tree::of(&[
                ("crates/jaula/src/cmd/mod.rs", table),
                ("crates/jaula/src/cmd/run.rs", ""),
            ]))
        };
        assert!(verbs("mod run;\nfn f() { run::run() }").is_empty());
        assert_eq!(verbs("mod run;").len(), 1);
        assert_eq!(verbs("").len(), 1);
    }
}
