//! What a jail needs of this host, from what was seen.

use crate::minimal::Wanted;
use jaula_plan::minimal::{Content, Placing, Rule, Rules, With};
use jaula_plan::trace::Trace;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The rule that holds directories and accounts.
const RULE: &str = "what-was-seen";
/// A list of accounts is never longer than this.
const ACCOUNTS: u64 = 16 << 20;
/// Made for the jail, or of no use there: the loader's cache names libraries that the jail does not have.
const MADE: [&str; 4] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/ld.so.cache",
];

/// Whether a jail has something of its own in place of this, or none on purpose.
pub(super) fn is_made(path: &Path) -> bool {
    MADE.iter().any(|made| Path::new(made) == path)
}

/// What a trace wants, and what it names that is not on this host any more.
pub fn wanted(trace: &Trace, secrets: bool) -> (Wanted, Vec<PathBuf>) {
    let mut gone = Vec::new();
    let mut with = Vec::new();
    for path in trace.files() {
        if is_made(&path) {
            continue;
        }
        match (path.to_str(), path.metadata()) {
            (Some(text), Ok(found)) if found.is_file() => with.push(With::Program(text.to_owned())),
            _ => gone.push(path),
        }
    }
    let text = |path: PathBuf| path.to_str().map(str::to_owned);
    let root: BTreeSet<u32> = [0].into();
    let names = |file: &str, ids: &BTreeSet<u32>| {
        named(Path::new(file), &ids.union(&root).copied().collect())
    };
    let rule = Rule {
        name: RULE.to_owned(),
        dirs: trace
            .directories()
            .into_iter()
            .filter(|path| path.parent().is_some())
            .filter_map(text)
            .collect(),
        users: names("/etc/passwd", &trace.users),
        groups: names("/etc/group", &trace.groups),
        ..Rule::default()
    };
    let mut rules = Rules::default();
    rules.put(rule);
    with.push(With::Section(RULE.to_owned()));
    let content = Content {
        with,
        rules,
        // The evidence is all there is to be.
        packs: false,
        make: true,
        secrets,
    };
    (Wanted::Content(Box::new(content), Placing::Copy), gone)
}

/// The names that these numbers have in a file of accounts (passwd(5), group(5)).
fn named(file: &Path, ids: &BTreeSet<u32>) -> Vec<String> {
    let mut text = Vec::new();
    let read =
        std::fs::File::open(file).and_then(|file| file.take(ACCOUNTS).read_to_end(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&text);
    let line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let id = fields.nth(1)?.parse().ok()?;
        ids.contains(&id).then(|| name.to_owned())
    };
    text.lines().filter_map(line).collect()
}
