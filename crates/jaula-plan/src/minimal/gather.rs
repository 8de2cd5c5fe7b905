//! From words to everything that a jail needs of the host: programs, sections, packages, and the rules that what is
//! found brings along.

use super::closure::Search;
use super::pattern::Pattern;
use super::with::{With, is_secret};
use super::{ItemKind, Items, MinimalError, Rule, Rules, Why, accounts};
use crate::explain::shown;
use crate::facts::elf::{Content as Is, HostFiles, Seen};
use jaula_repo::elf::Identity;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories within each other.
const MOST_DEPTH: usize = 64;
/// Notes that are kept; more say nothing new.
const MOST_NOTES: usize = 2000;
/// Paths of one pattern.
const MOST_MATCHES: usize = 50_000;

/// What a jail's content is to be.
#[derive(Debug, Clone)]
pub struct Content {
    /// What is asked for.
    pub with: Vec<With>,
    /// The rules that can be asked for and that come by themselves.
    pub rules: Rules,
    /// Whether what is found brings rules along.
    pub packs: bool,
    /// Whether the jail gets accounts and an nsswitch.conf that are made for it, instead of the host's.
    pub make: bool,
    /// Whether secrets are taken too.
    pub secrets: bool,
}

/// Something that somebody may want to know.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Note {
    /// The path.
    pub path: PathBuf,
    /// What about it.
    pub text: String,
}

/// Everything that comes into the jail.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// Files, directories, links.
    pub items: Items,
    /// Devices of the host.
    pub devices: BTreeSet<PathBuf>,
    /// Paths that keep their owner; with their set-id bits where true.
    pub kept: BTreeMap<PathBuf, bool>,
    /// The rules that were followed, in their order.
    pub rules: Vec<String>,
    /// What was passed over, and why.
    pub notes: Vec<Note>,
    /// Directories of which everything was taken.
    pub whole: BTreeSet<PathBuf>,
}

/// Finds it.
///
/// # Errors
/// When something that was asked for, or what it needs, cannot be had.
pub fn gather(
    host: &mut dyn HostFiles,
    content: &Content,
    native: Identity,
) -> Result<Gathered, MinimalError> {
    let mut gather = Gather {
        search: Search::new(host, native)?,
        content,
        packs: match content.packs {
            true => content.rules.packs().collect(),
            false => Vec::new(),
        },
        queue: VecDeque::new(),
        followed: BTreeSet::new(),
        trees: BTreeSet::new(),
        users: BTreeSet::new(),
        groups: BTreeSet::new(),
        found: Gathered::default(),
    };
    gather.search.later = true;
    for with in &content.with {
        gather.with(with)?;
    }
    gather.rules()?;
    gather.accounts()?;
    let mut found = gather.found;
    found.items = gather.search.into_items();
    Ok(found)
}

struct Gather<'a> {
    search: Search<'a>,
    content: &'a Content,
    /// Those that nothing has brought yet.
    packs: Vec<&'a Rule>,
    queue: VecDeque<&'a Rule>,
    followed: BTreeSet<String>,
    /// Directories that were taken whole.
    trees: BTreeSet<PathBuf>,
    users: BTreeSet<String>,
    groups: BTreeSet<String>,
    found: Gathered,
}

/// How a path of a rule is taken.
#[derive(Clone, Copy)]
struct How<'a> {
    why: &'a Why,
    without: &'a [String],
    /// Keeps its owner; with set-id bits where true.
    keep: Option<bool>,
}

impl<'a> Gather<'a> {
    fn note(&mut self, path: &Path, text: impl Into<String>) {
        if self.found.notes.len() < MOST_NOTES {
            self.found.notes.push(Note {
                path: path.to_owned(),
                text: text.into(),
            });
        }
    }

    fn with(&mut self, with: &With) -> Result<(), MinimalError> {
        let nothing = |rules: &Rules, word: &str| MinimalError::Nothing {
            word: word.to_owned(),
            nearest: nearest(rules, word),
        };
        match with {
            With::Section(name) => match self.content.rules.section(name) {
                Some(rule) => self.queue.push_back(rule),
                None => return Err(nothing(&self.content.rules, name)),
            },
            With::Program(path) if path.contains('/') => self.asked(Path::new(path))?,
            With::Program(name) => match self.search.in_path(OsStr::new(name))? {
                Some(path) => self.asked(&path)?,
                None => return Err(nothing(&self.content.rules, name)),
            },
            With::Package(name) => {
                if !self.package(name)? {
                    return Err(nothing(&self.content.rules, name));
                }
            }
            With::Any(name) => {
                if let Some(rule) = self.content.rules.section(name) {
                    self.queue.push_back(rule);
                } else if let Some(path) = self.search.in_path(OsStr::new(name))? {
                    self.asked(&path)?;
                } else if !self.package(name)? {
                    return Err(nothing(&self.content.rules, name));
                }
            }
        }
        Ok(())
    }

    /// A path that the user named: it must be there.
    fn asked(&mut self, path: &Path) -> Result<(), MinimalError> {
        if !path.is_absolute() {
            return Err(MinimalError::Relative {
                path: path.to_owned(),
                by: None,
            });
        }
        let walked = self.search.walk(path)?;
        if !self.content.secrets && (is_secret(path) || is_secret(&walked.real)) {
            return Err(MinimalError::Secret {
                path: path.to_owned(),
            });
        }
        let how = How {
            why: &Why::Asked,
            without: &[],
            keep: None,
        };
        match walked.end {
            Seen::Directory { .. } => {
                self.search.take(walked.way, &Why::Asked)?;
                self.tree(&walked.real, how, 0).map(drop)
            }
            Seen::File { mode } if looks_loadable(&walked.real, mode) => {
                match self.search.content(&walked.real)? {
                    Is::Other => self.search.take(walked.way, &Why::Asked),
                    _ => self.search.program(path, &Why::Asked, None, 0),
                }
            }
            Seen::File { .. } => self.search.take(walked.way, &Why::Asked),
            Seen::Special if path.starts_with("/dev") => {
                self.found.devices.insert(path.to_owned());
                Ok(())
            }
            Seen::Missing => Err(MinimalError::Missing {
                path: path.to_owned(),
                by: None,
            }),
            _ => Err(MinimalError::NoProgram {
                path: path.to_owned(),
            }),
        }
    }

    /// Follows rules until none brings another.
    fn rules(&mut self) -> Result<(), MinimalError> {
        loop {
            while let Some(rule) = self.queue.pop_front() {
                self.rule(rule)?;
            }
            let fresh = std::mem::take(&mut self.search.fresh);
            if fresh.is_empty() {
                return Ok(());
            }
            let mut left = Vec::new();
            for pack in std::mem::take(&mut self.packs) {
                let brings = |path: &PathBuf| pack.is_for(path.as_os_str().as_bytes());
                match fresh.iter().any(brings) {
                    true => self.queue.push_back(pack),
                    false => left.push(pack),
                }
            }
            self.packs = left;
        }
    }

    fn rule(&mut self, rule: &'a Rule) -> Result<(), MinimalError> {
        if !self.followed.insert(rule.name.clone()) {
            return Ok(());
        }
        for name in &rule.includes {
            match self.content.rules.named(name) {
                Some(included) => self.rule(included)?,
                None => {
                    return Err(MinimalError::Nothing {
                        word: name.clone(),
                        nearest: nearest(&self.content.rules, name),
                    });
                }
            }
        }
        self.found.rules.push(rule.name.clone());
        let why = Why::Rule {
            name: rule.name.clone(),
        };
        let plain = How {
            why: &why,
            without: &rule.without,
            keep: None,
        };
        for name in &rule.required {
            if self.search.in_path(OsStr::new(name))?.is_none() {
                return Err(MinimalError::Nothing {
                    word: name.clone(),
                    nearest: None,
                });
            }
        }
        let owner = How {
            keep: Some(false),
            ..plain
        };
        let set_id = How {
            keep: Some(true),
            ..plain
        };
        for (entries, how) in [
            (&rule.programs, plain),
            (&rule.required, plain),
            (&rule.paths, plain),
            (&rule.keep_owner, owner),
            (&rule.keep_setuid, set_id),
        ] {
            for entry in entries {
                self.entry(entry, how)?;
            }
        }
        for dir in &rule.dirs {
            self.empty_dir(Path::new(dir), &why)?;
        }
        for device in &rule.devices {
            let path = PathBuf::from(device);
            match self.search.walk(&path)?.end {
                Seen::Special => drop(self.found.devices.insert(path)),
                _ => self.note(&path, "is no device of this host"),
            }
        }
        self.users.extend(rule.users.iter().cloned());
        self.groups.extend(rule.groups.iter().cloned());
        Ok(())
    }

    /// One entry of a rule: a program's name, a path, a pattern.
    fn entry(&mut self, entry: &str, how: How<'_>) -> Result<(), MinimalError> {
        if !entry.contains('/') {
            return match self.search.in_path(OsStr::new(entry))? {
                Some(path) => self.path(&path, how),
                None => {
                    self.note(Path::new(entry), "is no program of this host");
                    Ok(())
                }
            };
        }
        if !entry.starts_with('/') {
            self.note(Path::new(entry), "is not absolute");
            return Ok(());
        }
        if !Pattern::is_one(entry) {
            return self.path(Path::new(entry), how);
        }
        let found = self.matching(entry)?;
        if found.is_empty() {
            self.note(Path::new(entry), "fits nothing on this host");
        }
        for path in found {
            self.path(&path, how)?;
        }
        Ok(())
    }

    /// The host's paths that fit a pattern.
    fn matching(&mut self, pattern: &str) -> Result<Vec<PathBuf>, MinimalError> {
        let mut found = vec![PathBuf::from("/")];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            let mut next = Vec::new();
            for directory in &found {
                if !Pattern::is_one(part) {
                    next.push(directory.join(part));
                    continue;
                }
                let mut names = self.search.host.names(directory)?;
                names.sort();
                for name in names {
                    let bytes = name.as_bytes();
                    let hidden = bytes.starts_with(b".") && !part.starts_with('.');
                    if !hidden && Pattern::new(part).fits(bytes) {
                        next.push(directory.join(&name));
                    }
                }
                if next.len() > MOST_MATCHES {
                    return Err(MinimalError::TooMuch {
                        most: MOST_MATCHES,
                        what: "paths that fit a pattern",
                    });
                }
            }
            // A name beneath what is no directory is seen to be nothing only when it is the last.
            found = next;
        }
        let mut there = Vec::new();
        for path in found {
            if !matches!(self.search.walk(&path)?.end, Seen::Missing) {
                there.push(path);
            }
        }
        Ok(there)
    }

    /// A path of a rule or a package: what is missing is passed over.
    fn path(&mut self, path: &Path, how: How<'_>) -> Result<(), MinimalError> {
        if self.content.make && path == Path::new(accounts::NSSWITCH) {
            return Ok(());
        }
        let walked = self.search.walk(path)?;
        let real = walked.real.clone();
        match walked.end {
            Seen::Missing => self.note(path, "is not on this host"),
            Seen::Special => self.note(path, "is neither a file nor a directory"),
            _ if !self.content.secrets && (is_secret(path) || is_secret(&real)) => {
                self.note(path, "is a secret, and left out");
            }
            _ if left_out(how.without, path) => {}
            Seen::Directory { .. } => {
                self.search.take(walked.way, how.why)?;
                self.tree(&real, how, 0)?;
            }
            Seen::File { mode } => {
                self.search.take(walked.way, how.why)?;
                self.keep(&real, how);
                if looks_loadable(&real, mode) {
                    self.loadable(path, &real, how, true)?;
                }
            }
            Seen::Link { .. } => {}
        }
        Ok(())
    }

    fn keep(&mut self, real: &Path, how: How<'_>) {
        if let Some(set_id) = how.keep {
            self.found.kept.insert(real.to_owned(), set_id);
        }
    }

    /// What a program or a library needs; a script's interpreter when `scripts`.
    fn loadable(
        &mut self,
        path: &Path,
        real: &Path,
        how: How<'_>,
        scripts: bool,
    ) -> Result<(), MinimalError> {
        let content = match self.search.content(real) {
            Err(error) => {
                self.note(path, error.to_string());
                return Ok(());
            }
            Ok(content) => content,
        };
        match content {
            Is::Elf(_) => {}
            Is::Script(_) if scripts => {}
            Is::Damaged(error) => {
                self.note(path, error.to_string());
                return Ok(());
            }
            _ => return Ok(()),
        }
        match self.search.program(path, how.why, None, 0) {
            Ok(()) => Ok(()),
            Err(error @ MinimalError::TooMuch { .. }) => Err(error),
            Err(error) => {
                self.note(path, error.to_string());
                Ok(())
            }
        }
    }

    /// A directory with all that is in it, and whether that is everything. `real` has no link in it.
    fn tree(&mut self, real: &Path, how: How<'_>, depth: usize) -> Result<bool, MinimalError> {
        if depth > MOST_DEPTH {
            return Err(MinimalError::TooMuch {
                most: MOST_DEPTH,
                what: "directories within each other",
            });
        }
        if !self.trees.insert(real.to_owned()) {
            return Ok(self.found.whole.contains(real));
        }
        let mut whole = how.keep.is_none();
        let mut entries = match self.search.host.entries(real) {
            Err(error) if error.source.kind() == std::io::ErrorKind::PermissionDenied => {
                self.note(real, "cannot be read by the caller, and is left out");
                return Ok(false);
            }
            entries => entries?,
        };
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        for (name, seen) in entries {
            let path = real.join(&name);
            if left_out(how.without, &path) {
                whole = false;
                continue;
            }
            if !self.content.secrets && is_secret(&path) {
                self.note(&path, "is a secret, and left out");
                whole = false;
                continue;
            }
            if !matches!(seen, Seen::File { .. }) {
                // Paths are followed through it.
                self.search.saw(&path, &seen);
            }
            match seen {
                Seen::Directory { mode } => {
                    let kind = ItemKind::Directory {
                        mode: mode & 0o1777,
                    };
                    self.search.take(vec![(path.clone(), kind)], how.why)?;
                    whole &= self.tree(&path, how, depth.saturating_add(1))?;
                }
                Seen::File { mode } => {
                    let kind = ItemKind::of_file(mode);
                    self.search.take(vec![(path.clone(), kind)], how.why)?;
                    self.keep(&path, how);
                    if looks_loadable(&path, mode) {
                        self.loadable(&path, &path, how, false)?;
                    }
                }
                Seen::Link { .. } => self.linked(&path, how)?,
                Seen::Special => {
                    self.note(&path, "is neither a file nor a directory");
                    whole = false;
                }
                Seen::Missing => {}
            }
        }
        if whole {
            self.found.whole.insert(real.to_owned());
        }
        Ok(whole)
    }

    /// A link in a tree, and where it leads: a file is taken, a directory only as such.
    fn linked(&mut self, path: &Path, how: How<'_>) -> Result<(), MinimalError> {
        let walked = match self.search.walk(path) {
            Err(MinimalError::Loop { .. }) => {
                self.note(path, "leads to itself");
                return Ok(());
            }
            walked => walked?,
        };
        match walked.end {
            Seen::File { mode } if self.content.secrets || !is_secret(&walked.real) => {
                let real = walked.real.clone();
                self.search.take(walked.way, how.why)?;
                if looks_loadable(&real, mode) {
                    self.loadable(path, &real, how, false)?;
                }
            }
            Seen::Directory { .. } => self.search.take(walked.way, how.why)?,
            _ => self.note(path, "leads to nothing that can be taken"),
        }
        Ok(())
    }

    fn empty_dir(&mut self, path: &Path, why: &Why) -> Result<(), MinimalError> {
        if !path.is_absolute() {
            self.note(path, "is not absolute");
            return Ok(());
        }
        let mut made = PathBuf::from("/");
        for part in path.components().skip(1) {
            let std::path::Component::Normal(name) = part else {
                self.note(path, "is no plain path");
                return Ok(());
            };
            made.push(name);
            let walked = self.search.walk(&made)?;
            match walked.end {
                Seen::Directory { .. } => {
                    made.clone_from(&walked.real);
                    self.search.take(walked.way, why)?;
                }
                Seen::Missing => {
                    let kind = ItemKind::Directory { mode: 0o755 };
                    self.search.take(vec![(made.clone(), kind)], why)?;
                }
                _ => {
                    self.note(path, "is no directory on this host");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// What a package of dpkg or RPM has installed, without its documentation. Whether there is such a package.
    fn package(&mut self, name: &str) -> Result<bool, MinimalError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "+-.:_".contains(c);
        if !name.chars().all(allowed) || name.starts_with('.') {
            return Ok(false);
        }
        let arch = self.search.native.debian_arch().unwrap_or_default();
        let mut list = None;
        for file in [format!("{name}.list"), format!("{name}:{arch}.list")] {
            if list.is_none() {
                let path = Path::new("/var/lib/dpkg/info").join(file);
                list = self.search.host.text(&path)?;
            }
        }
        let list = match list {
            Some(list) => list
                .split(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect(),
            None => {
                let machines = rpm_machines(arch);
                match self.search.host.rpm(name, machines)? {
                    Some(list) => list,
                    None => return Ok(false),
                }
            }
        };
        let why = Why::Package {
            name: name.to_owned(),
        };
        let how = How {
            why: &why,
            without: &[],
            keep: None,
        };
        for line in &list {
            let path = Path::new(OsStr::from_bytes(line));
            let papers = PAPERS.iter().any(|papers| path.starts_with(papers));
            if !path.is_absolute() || path == Path::new("/") || papers {
                continue;
            }
            let walked = self.search.walk(path)?;
            match walked.end {
                Seen::Directory { .. } => self.search.take(walked.way, &why)?,
                Seen::File { .. } => self.path(path, how)?,
                _ => self.note(path, "is not on this host"),
            }
        }
        Ok(true)
    }

    /// The accounts that rules ask for.
    fn accounts(&mut self) -> Result<(), MinimalError> {
        if self.users.is_empty() && self.groups.is_empty() {
            return Ok(());
        }
        let read = |search: &mut Search<'_>, path| search.host.text(Path::new(path));
        let passwd = read(&mut self.search, accounts::PASSWD)?.unwrap_or_default();
        let group = read(&mut self.search, accounts::GROUP)?.unwrap_or_default();
        let made = accounts::made(&passwd, &group, &self.users, &self.groups);
        self.empty_dir(Path::new("/etc"), &Why::Account)?;
        let mut texts = vec![
            (accounts::PASSWD, made.passwd),
            (accounts::GROUP, made.group),
        ];
        if self.content.make {
            texts.push((accounts::NSSWITCH, accounts::SWITCH.to_owned()));
        }
        for (path, text) in texts {
            let kind = ItemKind::Made { mode: 0o644, text };
            self.search.put(PathBuf::from(path), kind, Why::Account);
        }
        Ok(())
    }
}

/// What RPM calls a machine, with what runs anywhere.
fn rpm_machines(debian: &str) -> &'static [&'static str] {
    match debian {
        "amd64" => &["x86_64", "x86_64_v2", "x86_64_v3", "x86_64_v4", "noarch"],
        "i386" => &["i386", "i486", "i586", "i686", "athlon", "noarch"],
        "arm64" => &["aarch64", "noarch"],
        "armhf" => &["armv7hl", "armv7hnl", "noarch"],
        "ppc64el" => &["ppc64le", "noarch"],
        "s390x" => &["s390x", "noarch"],
        "riscv64" => &["riscv64", "noarch"],
        "loong64" => &["loongarch64", "noarch"],
        _ => &["noarch"],
    }
}

/// Where packages have what no program reads.
const PAPERS: [&str; 10] = [
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/bug",
    "/usr/share/doc-base",
    "/usr/share/menu",
    "/usr/share/locale",
    "/usr/share/bash-completion",
    "/usr/share/zsh",
];

fn left_out(without: &[String], path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    let fits = |pattern: &String| {
        // What is left out whole is left out itself.
        let whole = pattern.strip_suffix("/**").unwrap_or(pattern);
        Pattern::new(pattern).fits(path) || Pattern::new(whole).fits(path)
    };
    without.iter().any(fits)
}

/// Whether a file may be something that a loader or the kernel reads: only such are opened.
fn looks_loadable(path: &Path, mode: u32) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    mode & 0o111 != 0 || name.windows(3).any(|part| part == b".so")
}

/// A section of nearly this name.
fn nearest(rules: &Rules, word: &str) -> Option<String> {
    let close = |name: &str| {
        let same = name.chars().zip(word.chars()).take_while(|(a, b)| a == b);
        let same = same.count();
        same >= 3 && same.saturating_add(3) >= word.chars().count()
    };
    let mut names = rules.sections().map(|rule| rule.name.clone());
    names.find(|name| close(name))
}

/// One line a note.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", shown(&self.path), self.text)
    }
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
