//! `device-table.pl` of multistrap: devices, directories and links of a tree by a table, as the file systems' own
//! builders read it (`NAME TYPE MODE UID GID MAJOR MINOR START INC COUNT`).

use super::Face;
use super::tool::{say, show};
use jaula_engine::devices::{Node, NodeKind, make};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const NAME: &str = "device-table.pl";

/// How it is called.
pub const FACE: Face = Face {
    name: NAME,
    of: "multistrap 2.2",
    run,
};

/// Longest table, in bytes.
const LIMIT: u64 = 1 << 20;
/// Most nodes of one line.
const MAX_COUNT: u32 = 4096;
/// Perl's exit code of die().
const DIED: u8 = 255;

const USAGE: &str = "
device-table.pl version 2.2.11

Usage:
 device-table.pl [-n] [-d DIR] -f FILE

 -f|--file FILE:     the table: NAME TYPE MODE UID GID MAJOR MINOR START INC COUNT
 -d|--dir DIR:       the tree
 -n|--dry-run:       say what would be made
    --no-fakeroot:   taken and not needed
";

/// Reads a table.
///
/// # Errors
/// A sentence with the line.
fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut nodes = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first().is_none_or(|word| word.starts_with('#')) {
            continue;
        }
        let made = one(&words).map_err(|what| format!("line {}: {what}", number + 1))?;
        nodes.extend(made);
    }
    Ok(nodes)
}

fn one(words: &[&str]) -> Result<Vec<Node>, String> {
    let [name, kind, mode, uid, gid, major, minor, start, step, count] = words else {
        return Err(format!(
            "there are {} fields, and ten are needed",
            words.len()
        ));
    };
    let inside = Path::new(name)
        .components()
        .all(|part| part != std::path::Component::ParentDir);
    if !name.starts_with('/') || !inside {
        return Err(format!("{name} is no absolute path without .."));
    }
    let number = |what: &str, word: &str| {
        word.parse::<u32>()
            .map_err(|_| format!("{what} {word:?} is no number"))
    };
    let link = |kind| {
        vec![Node {
            path: name.into(),
            kind,
            mode: 0,
            owner: (0, 0),
        }]
    };
    match *kind {
        "s" => return Ok(link(NodeKind::Link(mode.into()))),
        "h" => return Ok(link(NodeKind::HardLink(mode.into()))),
        _ => {}
    }
    let bits = u32::from_str_radix(mode, 8)
        .ok()
        .filter(|bits| *bits <= 0o7777)
        .ok_or_else(|| format!("mode {mode:?} is no mode"))?;
    let owner = (number("user", uid)?, number("group", gid)?);
    let node = |path: String, kind| Node {
        path: path.into(),
        kind,
        mode: bits,
        owner,
    };
    let device = |minor: u32| {
        let major = number("major number", major)?;
        match *kind {
            "c" => Ok(NodeKind::Character(major, minor)),
            "b" => Ok(NodeKind::Block(major, minor)),
            other => Err(format!("there is no type {other:?}: f d s h c b p")),
        }
    };
    match *kind {
        "d" => return Ok(vec![node((*name).to_owned(), NodeKind::Directory)]),
        "f" => return Ok(vec![node((*name).to_owned(), NodeKind::File)]),
        "p" => return Ok(vec![node((*name).to_owned(), NodeKind::Fifo)]),
        _ => {}
    }
    let first = number("minor number", minor)?;
    if *count == "-" {
        return Ok(vec![node((*name).to_owned(), device(first)?)]);
    }
    let (start, count) = (number("start", start)?, number("count", count)?);
    let step = number("increment", step)?;
    if step == 0 || count > MAX_COUNT {
        return Err(format!(
            "an increment of {step} up to {count} makes no sense"
        ));
    }
    let mut all = Vec::new();
    let mut at = start;
    while at < count {
        let minor = first
            .checked_add(at)
            .ok_or("the minor numbers are too large")?;
        all.push(node(format!("{name}{at}"), device(minor)?));
        at = at
            .checked_add(step)
            .ok_or("the minor numbers are too large")?;
    }
    Ok(all)
}

/// What would be typed to make it.
fn shown(node: &Node) -> String {
    let path = jaula_plan::explain::word(
        Path::new(".").join(node.path.strip_prefix("/").unwrap_or(&node.path)),
    );
    let rest = format!(
        "chmod {:o} {path}\nchown {}:{} {path}\n",
        node.mode, node.owner.0, node.owner.1
    );
    let word = |path: &PathBuf| jaula_plan::explain::word(path);
    match &node.kind {
        NodeKind::Character(major, minor) => format!("mknod {path} c {major} {minor}\n{rest}"),
        NodeKind::Block(major, minor) => format!("mknod {path} b {major} {minor}\n{rest}"),
        NodeKind::Fifo => format!("mkfifo {path}\n{rest}"),
        NodeKind::Directory => format!("mkdir -p {path}\n{rest}"),
        NodeKind::File => rest,
        NodeKind::Link(to) => format!("ln -s {} {path}\n", word(to)),
        NodeKind::HardLink(to) => format!("ln .{} {path}\n", word(to)),
    }
}

fn run(words: &[OsString]) -> ExitCode {
    match work(words) {
        Ok(code) => code,
        Err(text) => {
            say(NAME, &text, 0);
            ExitCode::from(DIED)
        }
    }
}

fn work(words: &[OsString]) -> Result<ExitCode, String> {
    let (mut file, mut dir, mut dry) = (None, None, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let word = word.to_string_lossy();
        let mut value = || {
            words
                .next()
                .map(PathBuf::from)
                .ok_or_else(|| format!("option {word} needs a value"))
        };
        match word.as_ref() {
            "-?" | "-h" | "--help" | "--version" => {
                crate::output::write_stderr(USAGE);
                return Ok(ExitCode::SUCCESS);
            }
            "-f" | "--file" => file = Some(value()?),
            "-d" | "--dir" => dir = Some(value()?),
            "-n" | "--dry-run" => dry = true,
            "--no-fakeroot" => {}
            other => return Err(format!("Unknown option {other}.")),
        }
    }
    let file = file.ok_or("Need a configuration file - use device-table.pl -f")?;
    let dir = dir.ok_or("Need the tree's directory - use device-table.pl -d")?;
    let mut text = String::new();
    let opened = std::fs::File::open(&file);
    let read = opened.and_then(|table| table.take(LIMIT).read_to_string(&mut text));
    read.map_err(|error| format!("{}: {error}", file.display()))?;
    let nodes = parse(&text).map_err(|error| format!("{}, {error}", file.display()))?;
    if dry {
        let text: String = nodes.iter().map(shown).collect();
        return Ok(show(&format!(
            "cd {}\n{text}",
            jaula_plan::explain::word(&dir)
        )));
    }
    let mut code = ExitCode::SUCCESS;
    for node in &nodes {
        if let Err(error) = make(&dir, node) {
            say(NAME, &super::making::line(&error), 0);
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_table() {
        let text = "# comment\n\n/dev\td\t755\t0\t0\t-\t-\t-\t-\t-\n/dev/null c 640 0 3 1 3 0 0 -\n\
                    /dev/hda b 640 0 0 3 1 1 1 3\n/dev/random s urandom - - - - - - -\n";
        let nodes = parse(text).unwrap();
        let text: String = nodes.iter().map(shown).collect();
        let expected = "mkdir -p ./dev\nchmod 755 ./dev\nchown 0:0 ./dev\n\
                        mknod ./dev/null c 1 3\nchmod 640 ./dev/null\nchown 0:3 ./dev/null\n\
                        mknod ./dev/hda1 b 3 2\nchmod 640 ./dev/hda1\nchown 0:0 ./dev/hda1\n\
                        mknod ./dev/hda2 b 3 3\nchmod 640 ./dev/hda2\nchown 0:0 ./dev/hda2\n\
                        ln -s urandom ./dev/random\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_makes_no_sense_is_named_by_its_line() {
        for (line, what) in [
            (
                "/dev/x c 640 0 0 1 3 0 0",
                "line 1: there are 9 fields, and ten are needed",
            ),
            (
                "dev/x c 640 0 0 1 3 0 0 -",
                "line 1: dev/x is no absolute path without ..",
            ),
            (
                "/a/../../x c 640 0 0 1 3 0 0 -",
                "line 1: /a/../../x is no absolute path without ..",
            ),
            ("/dev/x c 9 0 0 1 3 0 0 -", "line 1: mode \"9\" is no mode"),
            (
                "/dev/x u 640 0 0 1 3 0 0 -",
                "line 1: there is no type \"u\": f d s h c b p",
            ),
            (
                "/dev/x c 640 0 0 1 3 0 0 5",
                "line 1: an increment of 0 up to 5 makes no sense",
            ),
            (
                "/dev/x c 640 0 0 x 3 0 0 -",
                "line 1: major number \"x\" is no number",
            ),
        ] {
            assert_eq!(parse(line), Err(what.to_owned()));
        }
    }
}
