//! The command line as a stranger meets it: help, refusals, shapes. Nothing here needs a right, a kernel feature or
//! a network.

use jaula_testkit::{Hermetic, hermetic};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What a terminal would show: the command, both outputs, the exit code when it is not 0.
fn transcript(place: &Hermetic, commands: &[&[&str]]) -> String {
    let mut text = String::new();
    for words in commands {
        let ran = place.run(words);
        let shown: Vec<String> = words
            .iter()
            .map(|word| word.escape_debug().to_string())
            .collect();
        text.push_str(&format!("$ jaula {}\n", shown.join(" ")));
        text.push_str(&ran.stdout);
        text.push_str(&ran.stderr);
        if ran.code != 0 {
            text.push_str(&format!("[{}]\n", ran.code));
        }
        text.push('\n');
    }
    text.replace(&place.path().display().to_string(), "PLACE")
}

#[test]
fn help_of_jaula_and_of_every_verb() {
    let place = hermetic!();
    insta::assert_snapshot!(transcript(
        &place,
        &[
            &["help"],
            &["help", "run"],
            &["build", "-h"],
            &["new", "-h"],
            &["exec", "-h"],
            &["sh", "-h"],
            &["cp", "-h"],
            &["ls", "-h"],
            &["show", "-h"],
            &["rm", "-h"],
            &["help", "image"],
            &["image", "ls", "-h"],
            &["image", "show", "-h"],
            &["image", "rm", "-h"],
            &["ps", "-h"],
            &["help", "ns"],
            &["ns", "ls", "-h"],
            &["ns", "show", "-h"],
            &["ns", "keep", "-h"],
            &["ns", "rm", "-h"],
            &["help", "compat"],
            &["compat", "ls", "-h"],
            &["compat", "install", "-h"],
            &["gc", "-h"],
            &["recover", "-h"],
            &["doctor", "-h"],
            &["completions", "-h"],
            &["man", "-h"],
        ],
    ));
    assert_eq!(
        place.run::<&str>(&[]).expect(0).stdout,
        place.run(&["--help"]).expect(0).stdout
    );
    assert_eq!(
        place.run(&["help", "run"]).stdout,
        place.run(&["run", "--help"]).stdout
    );
    let version = format!("jaula {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(place.run(&["--version"]).expect(0).stdout, version);
}

#[test]
fn bad_words_are_refused_with_one_error_and_a_hint() {
    let place = hermetic!();
    insta::assert_snapshot!(transcript(
        &place,
        &[
            &["rnu"],
            &["frobnicate"],
            &["-q"],
            &["image"],
            &["image", "lst"],
            &["help", "bulid"],
            &["run", "--inclde", "x"],
            &["run", "--zzz"],
            &["run", "debian", "cat", "/etc/os-release"],
            &["ls", "web"],
            &["build"],
            &["cp", "a"],
            &["cp"],
            &["run", "debian", "--plan", "--explain"],
            &["run", "debian", "--net", "none", "--net", "host"],
            &["run", "debian", "--net", "bridge"],
            &["run", "--ids", "mine"],
            &["run", "debian", "--variant", "tiny"],
            &["run", "debian", "--variant", "minbse"],
            &["run", "debian", "--variant"],
            &["--color", "blue", "ls"],
            &["completions", "tcsh"],
        ],
    ));
}

#[test]
fn bad_names_and_values_are_refused_before_anything_happens() {
    let place = hermetic!();
    insta::assert_snapshot!(transcript(
        &place,
        &[
            &["run", ""],
            &["run", "debian\u{1b}[2J"],
            &["run", "./a\nb"],
            &["run", "debian:.."],
            &["run", "debian:"],
            &["run", "debian:book worm"],
            &["run", "sha256:abc"],
            &["run", "--include", "nginx"],
            &["run", "debain:bookworm", "--include", "nginx"],
            &["run", "./tree", "--mirror", "/srv/mirror"],
            &["run", "debian", "--include", "../x"],
            &["run", "debian", "--include", "nginx="],
            &["run", "debian", "--exclude", "a b"],
            &["run", "debian", "--arch", "amd64;"],
            &["run", "debian", "--mirror", "ftp://x"],
            &["run", "debian", "--hostname", "-x"],
            &["run", "debian", "--user", "7:"],
            &["run", "debian", "--cwd", "srv"],
            &["run", "debian", "--env", "=x"],
            &["run", "debian", "--bind", "/srv"],
            &["run", "debian", "--bind", "/srv:/a/../b"],
            &["run", "debian", "--tmpfs", "tmp"],
            &["run", "debian", "--write"],
            &["build", "./tree", "-o", "x.tar"],
            &["build", "debian", "--tag", "a/b"],
            &["new", "../x"],
            &["new", "-x"],
            &["exec", "web;", "--", "id"],
            &["rm", "web", ".."],
            &["cp", "a", "b"],
            &["cp", "web:/a", "db:/b"],
            &["cp", "we b:/a", "b"],
            &["image", "show", "./x"],
            &["--store", "", "ls"],
        ],
    ));
    // Nothing was made for any of them.
    assert_eq!(
        std::fs::read_dir(place.store()).expect("the store").count(),
        0
    );
}

#[test]
fn a_reference_that_is_not_text_is_refused() {
    let place = hermetic!();
    let words = [OsStr::new("run"), OsStr::from_bytes(b"deb\xffian")];
    let ran = place.run(&words).expect(125);
    assert!(
        ran.stderr.contains("neither a path nor a name"),
        "{}",
        ran.stderr
    );
    let words = [OsStr::new("new"), OsStr::from_bytes(b"deb\xffian")];
    let ran = place.run(&words).expect(125);
    assert!(ran.stderr.starts_with("error: cannot"), "{}", ran.stderr);
}

#[test]
fn an_empty_store_has_tables_and_shapes() {
    let place = hermetic!();
    insta::assert_snapshot!(transcript(
        &place,
        &[
            &["ls"],
            &["ls", "--json"],
            &["--json", "image", "ls"],
            &["image", "ls"],
            &["image", "show", "web"],
            &["--json", "image", "show", "web"],
            &["image", "rm", "web"],
            &["show", "web"],
            &["gc"],
            &["gc", "--keep-bytes", "much"],
            &["gc", "--older-than", "long"],
            &["recover"],
            &["recover", "--plan"],
            &["recover", "--explain"],
            &["recover", "--json"],
            &["--json", "rnu"],
        ],
    ));
}

#[test]
fn every_line_of_json_is_an_object_with_a_version() {
    let place = hermetic!();
    for words in [
        &["ls", "--json"][..],
        &["image", "ls", "--json"],
        &["show", "web", "--json"],
        &["--json", "x"],
    ] {
        let ran = place.run(words);
        let lines: Vec<&str> = ran.stdout.lines().chain(ran.stderr.lines()).collect();
        assert!(!lines.is_empty(), "{words:?}");
        for line in lines {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(value["version"], 1, "{line}");
        }
    }
}

#[test]
fn completions_name_every_verb() {
    let place = hermetic!();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&["completions", shell]).expect(0).stdout;
        for word in ["run", "build", "recover", "explain", "image"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    // The script is one that bash accepts.
    let script = place.run(&["completions", "bash"]).expect(0).stdout;
    let file = place.work().join("jaula.bash");
    std::fs::write(&file, script).expect("a file");
    let bash = Hermetic::new("/bin/bash")
        .run(&[OsStr::new("-n"), file.as_os_str()])
        .expect(0);
    assert_eq!(bash.stderr, "");
}

#[test]
fn there_is_a_manual_page_for_every_verb() {
    let place = hermetic!();
    let written = place.run(&["man", "--dir", "man1"]).expect(0).stdout;
    let pages: Vec<&str> = written
        .lines()
        .filter_map(|line| line.rsplit('/').next())
        .collect();
    for name in [
        "jaula.1",
        "jaula-run.1",
        "jaula-image-rm.1",
        "jaula-doctor.1",
    ] {
        assert!(pages.contains(&name), "{name} in {pages:?}");
    }
    for &page in &pages {
        let text = std::fs::read_to_string(place.work().join("man1").join(page)).expect("a page");
        assert!(text.contains("\n.TH JAULA"), "{page}");
        assert!(
            text.contains(".SH SYNOPSIS") && text.contains(".SH NAME"),
            "{page}"
        );
    }
    // Whatever page a page names is there.
    for page in &pages {
        let text = std::fs::read_to_string(place.work().join("man1").join(page)).expect("a page");
        let text = text
            .replace("\\fB", "")
            .replace("\\fR", "")
            .replace("\\-", "-");
        for (at, _) in text.match_indices("(1)") {
            let named: String = text[..at]
                .chars()
                .rev()
                .take_while(|c| c.is_alphanumeric() || *c == '-')
                .collect();
            let named: String = named.chars().rev().chain(".1".chars()).collect();
            let ours = !named.starts_with("jaula") || pages.contains(&named.as_str());
            assert!(ours, "{page} names {named}");
        }
    }
    let run = place.run(&["man", "run"]).expect(0).stdout;
    assert!(run.contains("jaula\\-run \\- Run a program"), "{run}");
    place.run(&["man", "nothing"]).expect(125);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = hermetic!();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = place.command(&["completions", "bash"]);
    let output = command
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .output()
        .expect("jaula");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}

#[test]
fn colour_only_where_it_is_wanted() {
    let place = hermetic!();
    assert!(!place.run(&["rnu"]).stderr.contains('\x1b'));
    let painted = place
        .run(&["show", "--color", "always", "web"])
        .expect(125)
        .stderr;
    assert!(
        painted.starts_with("\x1b[1;31merror\x1b[0m: cannot"),
        "{painted:?}"
    );
    let plain = place
        .run(&["show", "--color", "never", "web"])
        .expect(125)
        .stderr;
    assert!(!plain.contains('\x1b'));
}

#[test]
fn without_a_home_the_store_must_be_named() {
    // Only an ordinary user's store is in his home: root becomes one for this.
    let root = std::fs::metadata("/proc/self")
        .map(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
        .expect("our own process");
    let program = env!("CARGO_BIN_EXE_jaula");
    let (place, words) = if root {
        let words = vec![
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            program,
            "ls",
        ];
        (Hermetic::new("/usr/bin/setpriv"), words)
    } else {
        (hermetic!(), vec!["ls"])
    };
    let mut command = place.command(&words);
    command
        .env_remove("JAULA_STORE")
        .env_remove("HOME")
        .current_dir("/");
    let output = command.output().expect("jaula");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert!(text.contains("--store DIR"), "{text}");
}

/// Verbs below `words` that have none below them.
fn verbs(place: &Hermetic, words: &mut Vec<String>, found: &mut Vec<(String, String)>) {
    let mut line = vec!["help"];
    line.extend(words.iter().map(String::as_str));
    let help = place.run(&line).expect(0).stdout;
    let Some((_, below)) = help.split_once("\nCommands:\n") else {
        found.push((words.join(" "), help));
        return;
    };
    let lines = below.lines().take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()) {
        if name != "help" {
            words.push(name.to_owned());
            verbs(place, words, found);
            words.pop();
        }
    }
}

#[test]
fn the_reference_has_every_option() {
    let place = hermetic!();
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
    let reference = std::fs::read_to_string(reference).expect("docs/cli.md");
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let told: std::collections::BTreeSet<&str> = reference
        .split(|c| !is_part(c))
        .filter(|word| word.starts_with("--"))
        .collect();
    let (mut all, mut missing) = (Vec::new(), Vec::new());
    verbs(&place, &mut Vec::new(), &mut all);
    assert!(all.len() > 60, "{}", all.len());
    for (verb, help) in &all {
        for line in help.lines().map(str::trim_start) {
            let long = match line.split_once(", --") {
                Some((short, rest)) if short.len() == 2 => format!("--{rest}"),
                _ => line.to_owned(),
            };
            let option: String = long.chars().take_while(|c| is_part(*c)).collect();
            if option.len() > 2 && option.starts_with("--") && !told.contains(option.as_str()) {
                missing.push(format!("{verb} {option}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}
