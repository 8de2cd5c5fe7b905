//! Traces as data.

use super::*;
use crate::landlock::LandlockRule;
use crate::seccomp;

fn saw(list: &[(&str, Used, Was)]) -> Trace {
    let mut trace = Trace::default();
    for (path, used, was) in list {
        trace.saw(Path::new(path), *used, *was, "/usr/bin/x");
    }
    trace
}

fn example() -> Trace {
    let mut trace = saw(&[
        ("/usr/sbin/nginx", Used::Execute, Was::File),
        ("/etc/nginx/nginx.conf", Used::Read, Was::File),
        ("/etc/nginx/sites-enabled", Used::List, Was::Directory),
        ("/etc/ssl/none.cnf", Used::Read, Was::Absent),
        ("/var/log/nginx/access.log", Used::Write, Was::File),
        ("/var/lib/x/base", Used::Update, Was::File),
        ("/etc/shadow", Used::Read, Was::File),
        ("/proc/4711/status", Used::Read, Was::File),
        ("/tmp/sess_1", Used::Write, Was::Absent),
        ("/srv/a \"b\"\u{7f}", Used::Look, Was::File),
    ]);
    trace.runs.insert(Run {
        command: vec!["nginx".into(), "-g".into(), "daemon off;".into()],
        directory: "/".into(),
    });
    trace.binds.insert("tcp 0.0.0.0:80".into());
    trace.connects.insert("unix /run/x".into());
    trace.users.extend([0, 33]);
    trace.calls.extend(["openat".to_owned(), "bind".to_owned()]);
    trace.capabilities.insert("SETUID".into());
    trace
}

#[test]
fn a_use_is_what_it_was() {
    let trace = example();
    let has = |paths: &Paths, path: &str| paths.contains_key(Path::new(path));
    assert!(has(&trace.programs, "/usr/sbin/nginx") && has(&trace.read, "/etc/nginx/nginx.conf"));
    assert!(
        has(&trace.listed, "/etc/nginx/sites-enabled") && has(&trace.absent, "/etc/ssl/none.cnf")
    );
    assert!(
        has(&trace.written, "/var/log/nginx/access.log")
            && !has(&trace.read, "/var/log/nginx/access.log")
    );
    assert!(has(&trace.written, "/var/lib/x/base") && has(&trace.read, "/var/lib/x/base"));
    assert!(has(&trace.secret, "/etc/shadow") && !has(&trace.read, "/etc/shadow"));
    assert!(has(&trace.kernel, "/proc/PID/status"));
    assert!(has(&trace.written, "/tmp") && !has(&trace.written, "/tmp/sess_1"));
    assert!(trace.directories().contains(Path::new("/var/log/nginx")));
    assert!(!trace.files().contains(Path::new("/etc/shadow")));
}

#[test]
fn what_a_program_made_itself_is_not_of_the_host() {
    let trace = saw(&[
        ("/var/lib/x/new", Used::Write, Was::Absent),
        ("/var/lib/x/new", Used::Read, Was::File),
        ("/var/lib/x/new", Used::Look, Was::Absent),
    ]);
    assert!(trace.read.is_empty() && trace.absent.is_empty());
}

#[test]
fn a_trace_is_read_as_it_was_written() {
    let trace = example();
    let text = trace.to_string();
    let mut read = Trace::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    // Who asked is a comment.
    for paths in [
        &mut read.programs,
        &mut read.read,
        &mut read.looked,
        &mut read.listed,
        &mut read.written,
        &mut read.absent,
        &mut read.kernel,
        &mut read.secret,
    ] {
        paths
            .values_mut()
            .for_each(|by| "/usr/bin/x".clone_into(by));
    }
    read.made.clone_from(&trace.made);
    assert_eq!(read, trace);
    assert!(
        text.contains("\"/etc/nginx/nginx.conf\", # /usr/bin/x"),
        "{text}"
    );
}

#[test]
fn merging_twice_is_merging_once() {
    let mut both = example();
    both.merge(saw(&[("/etc/other", Used::Read, Was::File)]));
    let once = both.clone();
    both.merge(example());
    assert_eq!(both, once);
    assert!(both.read.contains_key(Path::new("/etc/other")));
}

#[test]
fn what_is_no_trace_is_refused_with_its_place() {
    for (text, part) in [
        ("version = 2", "version 2"),
        ("", "version"),
        ("version = 1\n[files]\nraed = []", "line 3"),
        ("version = 1\n[files]\nread = [\"../x\"]", "not absolute"),
        ("version = 1\n[files]\nread = [\"/a/../x\"]", ".."),
        ("version = 1\n[accounts]\nusers = [-1]", "line 3"),
    ] {
        let error = Trace::parse(text).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn rules_and_profiles_are_those_that_jaula_takes() {
    let trace = example();
    for rule in rules::landlock(&trace) {
        rule.parse::<LandlockRule>()
            .unwrap_or_else(|error| panic!("{rule}: {error}"));
    }
    let list = rules::landlock(&trace);
    for rule in [
        "exec:/usr",
        "ro:/etc",
        "rw:/tmp",
        "rw:/var/log/nginx",
        "bind:80",
        "connect:none",
    ] {
        assert!(list.iter().any(|known| known == rule), "{rule}: {list:?}");
    }
    let profile = trace.profile("x").expect("a profile");
    assert!(profile.unknown().is_empty(), "{:?}", profile.unknown());
    assert!(UNASKED.is_sorted());
    for name in UNASKED {
        assert!(seccomp::names().any(|known| known == *name), "{name}");
    }
}

#[test]
fn what_is_missing_inside_is_told_with_who_asked() {
    let outside = saw(&[
        ("/etc/a", Used::Read, Was::File),
        ("/etc/never", Used::Read, Was::Absent),
    ]);
    let inside = saw(&[
        ("/etc/a", Used::Read, Was::Absent),
        ("/etc/never", Used::Read, Was::Absent),
        ("/etc/nowhere", Used::Read, Was::Absent),
    ]);
    let found = compare(&outside, &inside, &mut |path| {
        path != Path::new("/etc/nowhere")
    });
    let missing = Missing {
        path: "/etc/a".into(),
        by: "/usr/bin/x".into(),
    };
    assert_eq!(found.missing, [missing]);
}

#[test]
fn whose_port_the_kernel_chooses_may_be_connected_to_wherever_it_is() {
    let mut trace = example();
    let ports = |trace: &Trace| {
        let rules = trace.landlock();
        let connects = rules
            .iter()
            .filter(|rule| matches!(rule, LandlockRule::Connect(_)));
        connects.cloned().collect::<Vec<_>>()
    };
    trace.connects.insert("tcp 127.0.0.1:40123".into());
    assert_eq!(ports(&trace), [LandlockRule::Connect(Some(40123))]);
    // The next time it is another one.
    trace.binds.insert("tcp 127.0.0.1:0".into());
    assert_eq!(ports(&trace), []);
}
