//! Words that make no sense, beside the tools themselves: the same bytes, the same exit code.

use jaula_testkit::{hermetic, skip};
use std::process::{Command, Stdio};

type Said = (Option<i32>, String, String);

fn said(mut command: Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Both answers to each line; the tool's own name without its directory.
fn compare(tool: &str, program: &str, lines: &[&str]) {
    let place = hermetic!();
    let mut different = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let ours = said(place.command(&[&["compat", tool], &words[..]].concat()));
        let mut original = Command::new(program);
        original.args(&words).env_clear().env("LC_ALL", "C.UTF-8");
        original.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        original.current_dir(place.work());
        let (code, out, err) = said(original);
        let plain = |text: String| text.replace(program, tool);
        let theirs = (code, plain(out), plain(err));
        if ours != theirs {
            different.push(format!(
                "{tool} {line}\n  theirs {theirs:?}\n  ours   {ours:?}"
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn debootstraps_complaints_are_its_own() {
    let program = "/usr/sbin/debootstrap";
    if !version(program).starts_with("debootstrap 1.0.128") {
        skip!("no debootstrap 1.0.128 here");
    }
    compare(
        "debootstrap",
        program,
        &[
            "",
            "sid",
            "--bogus",
            "--arch",
            "--arch=",
            "--inc=a",
            "--foreign --print-debs sid x",
            "--make-tarball=/t --download-only sid x",
            "--second-stage-target /x",
            "--second-stage-target=/x",
            "--cache-dir=x",
            "--cache-dir=/no/such/place",
            "--keyring=/no/such/keyring sid x",
            "--extractor=zip sid x",
            "--unpack-tarball /no/such/archive sid x",
            "--no-check-gpg --force-check-gpg sid x",
            "--variant minbase --debian-installer sid x",
        ],
    );
}

#[test]
fn cdebootstraps_complaints_are_its_own() {
    let own = std::fs::metadata("/proc/self").expect("our own process");
    if std::os::unix::fs::MetadataExt::uid(&own) != 0 {
        skip!("the original looks whether it is root before anything else");
    }
    let program = "/usr/bin/cdebootstrap";
    if !version(program).starts_with("cdebootstrap 0.7") {
        skip!("no cdebootstrap 0.7 here");
    }
    compare(
        "cdebootstrap",
        program,
        &[
            "",
            "sid",
            "a b c d",
            "--bogus a b",
            "-f",
            "--arch",
            "-x",
            "--flavour=build",
            "--verb=1 a b",
            "-k no-such-keyring.gpg bookworm no-such-dir file:///nowhere",
        ],
    );
}
