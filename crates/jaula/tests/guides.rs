//! Every command of the guides, typed as it stands there, in both languages, as root and as an ordinary user, with the
//! links to the old names first in PATH. A block is what a person sees: after `# ` (root) or `$ ` (anyone) a command,
//! below it what it shows; `…` stands for anything.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::skip;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use who::{User, Who, everyone};

/// A block of a guide.
struct Block {
    line: usize,
    root: bool,
    script: String,
    shown: String,
}

/// The blocks marked `console`.
fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (&mut open, line) {
            (None, "```console") => {
                open = Some(Block {
                    line: number,
                    root: false,
                    script: String::new(),
                    shown: String::new(),
                });
            }
            (Some(_), "```") => found.extend(open.take()),
            (Some(block), line) => {
                let typed = line.strip_prefix("# ").or_else(|| line.strip_prefix("$ "));
                let to = match typed {
                    Some(_) => &mut block.script,
                    None => &mut block.shown,
                };
                block.root |= line.starts_with("# ");
                to.push_str(typed.unwrap_or(line));
                to.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a block without an end");
    found
}

/// Whether a text is what is shown, where `…` stands for anything.
fn fits(text: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some((_, after)) = rest.split_once(middle) else {
                return false;
            };
            rest = after;
        }
    }
    last.map_or(rest.is_empty(), |last: &str| rest.ends_with(last))
}

/// A shell that reads what is typed, byte by byte, so that a shell it starts goes on where it stopped. Root's has a host
/// name and mounts of its own, so that a command that does not do what it should does it to nobody.
fn shell(user: &User) -> Command {
    let mut shell = match user.who {
        Who::Root => user.other("/usr/bin/unshare", &["--uts", "--mount", "bash"]),
        Who::Caller | Who::Ana => user.other("bash", &[]),
    };
    shell.stdin(Stdio::piped()).stdout(Stdio::piped());
    shell.stderr(Stdio::piped());
    shell
}

fn run(user: &User, guide: &str, block: &Block) {
    let bin = user.place.path().join("bin");
    let mut child = shell(user).spawn().expect("bash");
    let mut input = child.stdin.take().expect("a pipe");
    let script = format!(
        "exec 2>&1\nexport PATH={}:$PATH\nexport SHELL=/bin/bash\n{}",
        bin.display(),
        block.script
    );
    input.write_all(script.as_bytes()).expect("typed");
    drop(input);
    let output = child.wait_with_output().expect("an end");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        fits(&text, &block.shown),
        "{guide}:{} as {:?}\n--- typed\n{}--- to be shown\n{}--- shown\n{text}{}",
        block.line,
        user.who,
        block.script,
        block.shown,
        String::from_utf8_lossy(&output.stderr),
    );
}

/// A place with the program and its links in `bin`.
fn prepare(user: &User) -> bool {
    let bin = user.place.path().join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    let program = std::env::var_os("JAULA_TEST_PROGRAM");
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_jaula").into());
    std::fs::copy(program, bin.join("jaula")).expect("a copy of the program");
    let link = |name: &str| std::os::unix::fs::symlink("jaula", bin.join(name)).expect("a link");
    ["unshare", "nsenter", "lsns", "chroot", "bwrap"]
        .into_iter()
        .for_each(link);
    ["bash", "genisoimage"].iter().all(|tool| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .stdout(Stdio::null())
            .status();
        found.is_ok_and(|status| status.success())
    })
}

/// The top of the source tree.
fn top() -> PathBuf {
    let workspace = std::env::var_os("INSTA_WORKSPACE_ROOT");
    workspace.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
        Into::into,
    )
}

fn guide(path: &str) {
    let text = std::fs::read_to_string(top().join(path)).expect(path);
    let blocks = blocks(&text);
    assert!(blocks.len() > 5, "{path} has {} blocks", blocks.len());
    everyone(|user| {
        if !prepare(user) {
            skip!("there is no bash or no genisoimage");
        }
        for block in &blocks {
            if user.who == Who::Root || !block.root {
                run(user, path, block);
            }
        }
    });
}

#[test]
fn the_guide_to_isolation_shows_what_happens() {
    guide("docs/guide/isolation.md");
}

#[test]
fn la_guia_del_aislamiento_muestra_lo_que_ocurre() {
    guide("docs/guia/aislamiento.md");
}

#[test]
fn what_is_shown_is_matched_whole() {
    assert!(fits("a\n", "a\n"));
    assert!(!fits("a\nb\n", "a\n"));
    assert!(fits("pid 42 of 43\n", "pid … of …\n"));
    assert!(!fits("pid 42 of 43\nmore\n", "pid … of 43\n"));
    assert!(fits("one\ntwo\nthree\n", "one\n…three\n"));
    assert!(!fits("", "x\n"));
}

#[test]
fn both_languages_type_the_same() {
    let read = |path: &str| std::fs::read_to_string(top().join(path)).expect(path);
    let english = read("docs/guide/isolation.md");
    let spanish = read("docs/guia/aislamiento.md");
    let typed = |text: &str| {
        blocks(text)
            .into_iter()
            .map(|block| block.script)
            .collect::<Vec<_>>()
    };
    assert_eq!(typed(&english), typed(&spanish));
}
