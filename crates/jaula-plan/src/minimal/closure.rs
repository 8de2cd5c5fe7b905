//! All that some files of the host need, found by reading them.

use super::search::{configured, default_directories, hardware_directories, named_path, run_path};
use super::walk::Walked;
use super::{Item, ItemKind, Items, MinimalError, Why};
use crate::facts::elf::{Content, HostFiles, Seen};
use jaula_repo::elf::{Dynamic, Identity};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Paths of one root: the data of the largest programs are some ten thousand files.
const MOST_ITEMS: usize = 200_000;
/// Objects of one program.
const MOST_OBJECTS: usize = 4096;
/// Scripts whose interpreter is a script; the kernel allows four.
const MOST_SCRIPTS: usize = 4;
/// Set-user-id and set-group-id.
pub(super) const SET_ID: u32 = 0o6000;

/// Names below `/` that a merged `/usr` makes links.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Where a jail's programs are looked for by name.
const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// What these files need, with themselves. `native` is the machine whose programs run here.
///
/// # Errors
/// When one of them, or something that it needs, cannot be had.
pub fn closure(
    host: &mut dyn HostFiles,
    asked: &[PathBuf],
    native: Identity,
) -> Result<Items, MinimalError> {
    let mut search = Search::new(host, native)?;
    for path in asked {
        search.program(path, &Why::Asked, None, 0)?;
    }
    Ok(search.into_items())
}

/// Those of these programs and libraries that cannot be loaded where they are, with the reason. What is neither is
/// passed over.
///
/// # Errors
/// When the files cannot be read.
pub fn verify(
    host: &mut dyn HostFiles,
    programs: &[PathBuf],
    native: Identity,
) -> Result<Vec<(PathBuf, String)>, MinimalError> {
    let mut search = Search::new(host, native)?;
    let mut failed = Vec::new();
    for path in programs {
        let walked = search.walk(path)?;
        let Seen::File { .. } = walked.end else {
            continue;
        };
        if !matches!(search.content(&walked.real)?, Content::Elf(_)) {
            continue;
        }
        // Once more even when something else needs it too: its own failure is what is asked for.
        search.done.remove(&walked.real);
        match search.program(path, &Why::Asked, None, 0) {
            Ok(()) => {}
            Err(error @ (MinimalError::Host(_) | MinimalError::TooMuch { .. })) => {
                return Err(error);
            }
            Err(error) => failed.push((path.clone(), error.to_string())),
        }
    }
    Ok(failed)
}

/// A library that was found by its name: as it was looked for, and where it is.
type Named = (PathBuf, PathBuf);

pub(super) struct Search<'a> {
    pub(super) host: &'a mut dyn HostFiles,
    pub(super) native: Identity,
    configured: Vec<PathBuf>,
    /// By the bytes of the path: comparing components takes far longer.
    pub(super) seen: BTreeMap<OsString, Seen>,
    /// Where paths of directories led.
    pub(super) ways: BTreeMap<OsString, Walked>,
    /// Programs and libraries that were read: some are needed by all others.
    read: BTreeMap<OsString, Dynamic>,
    /// Libraries that were found by nothing but their name, musl's loader's or the other's, and those that some
    /// processors take instead: where, and where really.
    by_name: BTreeMap<(bool, Vec<u8>), Vec<Named>>,
    /// Directories of libraries, and those in them for what some processors have.
    hardware: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// Programs that were followed.
    done: BTreeSet<PathBuf>,
    /// Whether what is loaded later by dlopen(3) comes too, where a file says so.
    pub(super) later: bool,
    /// Programs and libraries that were taken and that nobody has asked rules for yet.
    pub(super) fresh: Vec<PathBuf>,
    /// By the bytes of the path, until all are there.
    items: BTreeMap<OsString, Item>,
}

/// An object that the loader has mapped.
struct Loaded {
    /// Where it was found; a program's without links, because it is by them that `$ORIGIN` is meant.
    path: PathBuf,
    real: PathBuf,
    dynamic: Dynamic,
    /// Who made it be loaded.
    by: Option<usize>,
}

impl<'a> Search<'a> {
    pub(super) fn new(host: &'a mut dyn HostFiles, native: Identity) -> Result<Self, MinimalError> {
        let configured = configured(host)?;
        let mut search = Self {
            host,
            native,
            configured,
            seen: BTreeMap::new(),
            ways: BTreeMap::new(),
            read: BTreeMap::new(),
            by_name: BTreeMap::new(),
            hardware: BTreeMap::new(),
            done: BTreeSet::new(),
            later: false,
            fresh: Vec::new(),
            items: BTreeMap::new(),
        };
        search.merged()?;
        Ok(search)
    }

    pub(super) fn content(&mut self, real: &Path) -> Result<Content, MinimalError> {
        if let Some(dynamic) = self.read.get(real.as_os_str()) {
            return Ok(Content::Elf(dynamic.clone()));
        }
        let content = self.host.content(real)?;
        if let Content::Elf(dynamic) = &content {
            self.read.insert(real.into(), dynamic.clone());
        }
        Ok(content)
    }

    /// The program of this name, where a jail's are looked for.
    pub(super) fn in_path(&mut self, name: &OsStr) -> Result<Option<PathBuf>, MinimalError> {
        for directory in PATH {
            let candidate = Path::new(directory).join(name);
            let walked = self.walk(&candidate)?;
            if matches!(walked.end, Seen::File { mode } if mode & 0o111 != 0) {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    /// All that was taken, in the order of paths.
    pub(super) fn into_items(self) -> Items {
        let items = self.items.into_iter();
        items.map(|(path, item)| (path.into(), item)).collect()
    }

    /// Puts in what is at a path, whatever was there.
    pub(super) fn put(&mut self, path: PathBuf, kind: ItemKind, why: Why) {
        self.items.insert(path.into(), Item { kind, why });
    }

    pub(super) fn take(
        &mut self,
        way: Vec<(PathBuf, ItemKind)>,
        why: &Why,
    ) -> Result<(), MinimalError> {
        for (path, kind) in way {
            match self.items.get(path.as_os_str()) {
                None => self.put(path, kind, why.clone()),
                // The host does not change meanwhile: one of them is a link in the place of a cache.
                Some(there) if there.kind != kind => {
                    let (first, then) = (there.why.to_string(), why.to_string());
                    return Err(MinimalError::Clash { path, first, then });
                }
                Some(_) => {}
            }
        }
        match self.items.len() > MOST_ITEMS {
            true => Err(MinimalError::TooMuch {
                most: MOST_ITEMS,
                what: "files, directories and links",
            }),
            false => Ok(()),
        }
    }

    /// The links of a merged `/usr`, and what they lead to.
    fn merged(&mut self) -> Result<(), MinimalError> {
        for name in MERGED {
            let path = Path::new("/").join(name);
            if matches!(self.look(&path)?, Seen::Link { .. }) {
                let walked = self.walk(&path)?;
                if matches!(walked.end, Seen::Directory { .. }) {
                    self.take(walked.way, &Why::Merged)?;
                }
            }
        }
        Ok(())
    }

    /// Takes a program, a library or a script with all it needs.
    pub(super) fn program(
        &mut self,
        path: &Path,
        why: &Why,
        by: Option<&Path>,
        depth: usize,
    ) -> Result<(), MinimalError> {
        if !path.is_absolute() {
            return Err(MinimalError::Relative {
                path: path.to_owned(),
                by: by.map(Path::to_owned),
            });
        }
        let walked = self.walk(path)?;
        match walked.end {
            Seen::Missing => {
                return Err(MinimalError::Missing {
                    path: path.to_owned(),
                    by: by.map(Path::to_owned),
                });
            }
            Seen::File { .. } => {}
            _ => {
                return Err(MinimalError::NoProgram {
                    path: path.to_owned(),
                });
            }
        }
        let real = walked.real;
        self.take(walked.way, why)?;
        if !self.done.insert(real.clone()) {
            return Ok(());
        }
        self.fresh.push(path.to_owned());
        self.fresh.push(real.clone());
        let content = self.content(&real)?;
        if matches!(why, Why::Loader { .. }) {
            // The kernel runs no loader of a loader, and no script as one (load_elf_binary of fs/binfmt_elf.c).
            let Content::Elf(mut dynamic) = content else {
                return Err(MinimalError::NoProgram {
                    path: path.to_owned(),
                });
            };
            dynamic.interpreter = None;
            return self.objects(path, real, dynamic);
        }
        match content {
            Content::Elf(dynamic) => self.objects(path, real, dynamic),
            Content::Script(line) => self.script(path, line, depth),
            Content::Damaged(source) => Err(MinimalError::Damaged {
                path: path.to_owned(),
                source,
            }),
            Content::Other => Err(MinimalError::NoProgram {
                path: path.to_owned(),
            }),
        }
    }

    fn native(&self, path: &Path, dynamic: &Dynamic) -> Result<(), MinimalError> {
        if dynamic.identity == self.native {
            return Ok(());
        }
        Err(MinimalError::Machine {
            path: path.to_owned(),
            is: machine(dynamic.identity),
            host: machine(self.native),
        })
    }

    /// A program or library, its loader, and its libraries in the order in which the loader maps them.
    fn objects(
        &mut self,
        path: &Path,
        real: PathBuf,
        dynamic: Dynamic,
    ) -> Result<(), MinimalError> {
        self.native(path, &dynamic)?;
        let mut names: BTreeSet<Vec<u8>> = dynamic.soname.iter().cloned().collect();
        let mut musl = false;
        if let Some(loader) = &dynamic.interpreter {
            let loader = PathBuf::from(OsStr::from_bytes(loader));
            musl = file_name(&loader).starts_with(b"ld-musl-");
            let why = Why::Loader {
                of: path.to_owned(),
            };
            self.program(&loader, &why, Some(path), 0)?;
            let walked = self.walk(&loader)?;
            if let Content::Elf(dynamic) = self.content(&walked.real)? {
                names.extend(dynamic.soname);
            }
            names.insert(file_name(&loader).to_vec());
        }
        let mut loaded = vec![Loaded {
            path: real.clone(),
            real,
            dynamic,
            by: None,
        }];
        let mut next = 0usize;
        while let Some(object) = loaded.get(next) {
            let later = match self.later {
                true => object_later(object),
                false => Vec::new(),
            };
            for name in object.dynamic.needed.clone() {
                if names.contains(&name) || musl && own_of_musl(&name) {
                    continue;
                }
                let found = self.library(&loaded, next, &name, musl)?;
                names.insert(name);
                for found in found {
                    names.extend(found.dynamic.soname.clone());
                    if !loaded.iter().any(|object| object.real == found.real) {
                        loaded.push(found);
                    }
                }
                if loaded.len() > MOST_OBJECTS {
                    return Err(MinimalError::TooMuch {
                        most: MOST_OBJECTS,
                        what: "libraries of one program",
                    });
                }
            }
            for names in later {
                for name in names {
                    // The first that there is; that there is none is what the program is written for.
                    match self.library(&loaded, next, name.as_bytes(), musl) {
                        Ok(found) => {
                            for found in found {
                                if !loaded.iter().any(|object| object.real == found.real) {
                                    loaded.push(found);
                                }
                            }
                            break;
                        }
                        Err(MinimalError::Library { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            next = next.saturating_add(1);
        }
        Ok(())
    }

    /// Finds and takes one library, as ld.so(8) says: the directories of DT_RPATH of whoever led to it, unless there
    /// is a DT_RUNPATH; those of DT_RUNPATH; those of ld.so.conf; its own. Behind it come those of the same name that
    /// some processors take instead.
    fn library(
        &mut self,
        loaded: &[Loaded],
        by: usize,
        name: &[u8],
        musl: bool,
    ) -> Result<Vec<Loaded>, MinimalError> {
        let needing = loaded.get(by).map(|object| object.path.clone());
        let needing = needing.unwrap_or_default();
        let own = own_directories(loaded, by);
        let plain = own.is_empty() && !name.contains(&b'/');
        let key = (musl, name.to_vec());
        if let Some(known) = self.by_name.get(&key).filter(|_| plain).cloned() {
            // They and the ways to them were taken then.
            let mut found = Vec::new();
            for (path, real) in known {
                if let Content::Elf(dynamic) = self.content(&real)? {
                    found.push(Loaded {
                        path,
                        real,
                        dynamic,
                        by: Some(by),
                    });
                }
            }
            return Ok(found);
        }
        let defaults = default_directories(self.native, musl);
        let general: Vec<PathBuf> = match musl {
            true => Vec::new(),
            false => self.configured.clone(),
        };
        let mut candidates: Vec<PathBuf> = Vec::new();
        let mut sought = Vec::new();
        if name.contains(&b'/') {
            let origin = needing.parent().unwrap_or(Path::new("/"));
            candidates = named_path(name, origin, self.native);
        } else {
            for directory in own.iter().chain(&general).chain(&defaults) {
                if !sought.contains(directory) {
                    sought.push(directory.clone());
                    candidates.push(directory.join(OsStr::from_bytes(name)));
                }
            }
        }
        let why = Why::Needed {
            name: String::from_utf8_lossy(name).into_owned(),
            by: needing.clone(),
        };
        let mut instead = Vec::new();
        for path in &candidates {
            let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
            let own_or_default = own.contains(&directory) || defaults.contains(&directory);
            // The root has no cache, which is what leads to those of ld.so.conf.
            if own_or_default && !musl && !name.contains(&b'/') {
                for other in self.hardware(&directory)? {
                    let other = other.join(OsStr::from_bytes(name));
                    instead.extend(self.loadable(&other, &why, by)?);
                }
            }
            let Some(found) = self.loadable(path, &why, by)? else {
                continue;
            };
            if !own.contains(&directory) && general.contains(&directory) {
                self.link_for(path, &directory, &defaults)?;
            }
            instead.insert(0, found);
            if plain {
                let found = instead
                    .iter()
                    .map(|one| (one.path.clone(), one.real.clone()));
                self.by_name.insert(key, found.collect());
            }
            return Ok(instead);
        }
        // Only for some processors: this one may be of them.
        if !instead.is_empty() {
            return Ok(instead);
        }
        Err(MinimalError::Library {
            name: String::from_utf8_lossy(name).into_owned(),
            by: needing,
            sought,
        })
    }

    /// What the loader would map of a path; taken when there is something.
    fn loadable(
        &mut self,
        path: &Path,
        why: &Why,
        by: usize,
    ) -> Result<Option<Loaded>, MinimalError> {
        let walked = self.walk(path)?;
        let Seen::File { .. } = walked.end else {
            return Ok(None);
        };
        // The loader passes over what is for another machine too; a text for the linker is no library either.
        let Content::Elf(dynamic) = self.content(&walked.real)? else {
            return Ok(None);
        };
        if dynamic.identity != self.native {
            return Ok(None);
        }
        self.fresh.push(walked.real.clone());
        self.take(walked.way, why)?;
        Ok(Some(Loaded {
            path: path.to_owned(),
            real: walked.real,
            dynamic,
            by: Some(by),
        }))
    }

    fn hardware(&mut self, directory: &Path) -> Result<Vec<PathBuf>, MinimalError> {
        if let Some(known) = self.hardware.get(directory) {
            return Ok(known.clone());
        }
        let found = hardware_directories(self.host, directory)?;
        self.hardware.insert(directory.to_owned(), found.clone());
        Ok(found)
    }

    /// A library that only ld.so.conf leads to gets a link where the loader looks by itself: the root has no cache.
    fn link_for(
        &mut self,
        path: &Path,
        directory: &Path,
        defaults: &[PathBuf],
    ) -> Result<(), MinimalError> {
        let real = self.walk(directory)?.real;
        let mut usable = None;
        for default in defaults {
            let walked = self.walk(default)?;
            let Seen::Directory { .. } = walked.end else {
                continue;
            };
            if walked.real == real {
                return Ok(());
            }
            // Not every loader knows each of them: the C library's place is one that this host's does.
            let libc = self.walk(&walked.real.join("libc.so.6"))?;
            let has_libc = matches!(libc.end, Seen::File { .. });
            if usable.is_none() && has_libc {
                usable = Some(walked);
            }
        }
        let (Some(place), Some(name)) = (usable, path.file_name()) else {
            return Ok(());
        };
        let why = Why::Found {
            library: path.to_owned(),
        };
        let mut way = place.way;
        let target = path.to_owned();
        way.push((place.real.join(name), ItemKind::Link { target }));
        self.take(way, &why)
    }

    /// A script's interpreter, and what env(1) starts for it.
    fn script(
        &mut self,
        path: &Path,
        line: Option<Vec<u8>>,
        depth: usize,
    ) -> Result<(), MinimalError> {
        let wrong = |why| MinimalError::Script {
            path: path.to_owned(),
            why,
        };
        if depth >= MOST_SCRIPTS {
            return Err(wrong("its interpreter is a script of a script of a script"));
        }
        let line = line.ok_or_else(|| wrong("it is longer than the kernel reads"))?;
        let line = line.trim_ascii();
        let end = line.iter().position(|byte| b" \t".contains(byte));
        let (interpreter, argument) = line.split_at(end.unwrap_or(line.len()));
        if interpreter.is_empty() {
            return Err(wrong("it names no interpreter"));
        }
        let interpreter = Path::new(OsStr::from_bytes(interpreter));
        let of = path.to_owned();
        let deeper = depth.saturating_add(1);
        let why = Why::Interpreter { of: of.clone() };
        self.program(interpreter, &why, Some(path), deeper)?;
        if file_name(interpreter) != b"env" {
            return Ok(());
        }
        let Some(name) = env_program(argument.trim_ascii()).map_err(wrong)? else {
            return Ok(());
        };
        let why = Why::Program { of };
        let name = Path::new(OsStr::from_bytes(name));
        if name.as_os_str().as_bytes().contains(&b'/') {
            return self.program(name, &why, Some(path), deeper);
        }
        if let Some(candidate) = self.in_path(name.as_os_str())? {
            return self.program(&candidate, &why, Some(path), deeper);
        }
        Err(MinimalError::Program {
            name: name.to_string_lossy().into_owned(),
            by: path.to_owned(),
            sought: PATH.map(PathBuf::from).to_vec(),
        })
    }
}

/// What an object says that it loads later: groups of names, the best first. What is only suggested is left out.
fn object_later(object: &Loaded) -> Vec<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Written {
        #[serde(default)]
        soname: Vec<String>,
        #[serde(default)]
        priority: String,
    }
    let mut groups = Vec::new();
    for text in &object.dynamic.later {
        // What is no such text says nothing.
        let written: Vec<Written> = serde_json::from_slice(text).unwrap_or_default();
        let wanted = written
            .into_iter()
            .filter(|one| one.priority != "suggested");
        groups.extend(wanted.map(|one| one.soname));
    }
    groups
}

/// The directories that objects themselves name for what one of them needs.
fn own_directories(loaded: &[Loaded], by: usize) -> Vec<PathBuf> {
    let origin = |object: &Loaded| object.path.parent().unwrap_or(Path::new("/")).to_owned();
    let mut directories = Vec::new();
    let Some(needing) = loaded.get(by) else {
        return directories;
    };
    let identity = needing.dynamic.identity;
    if let Some(list) = &needing.dynamic.runpath {
        return run_path(list, &origin(needing), identity);
    }
    let mut next = Some(by);
    while let Some(object) = next.and_then(|at| loaded.get(at)) {
        if let (Some(list), None) = (&object.dynamic.rpath, &object.dynamic.runpath) {
            directories.extend(run_path(list, &origin(object), identity));
        }
        // Whoever made an object be loaded stands before it, so this ends.
        next = object.by;
    }
    directories
}

/// The program that env(1) starts, from its one argument in a `#!` line.
fn env_program(argument: &[u8]) -> Result<Option<&[u8]>, &'static str> {
    if argument.is_empty() {
        return Ok(None);
    }
    let Some(words) = argument
        .strip_prefix(b"-S")
        .or_else(|| argument.strip_prefix(b"--split-string="))
    else {
        return match argument.first() {
            Some(b'-') => Err("env is given an option, and no program"),
            _ => Ok(Some(argument)),
        };
    };
    if words.iter().any(|byte| b"\"'\\$".contains(byte)) {
        return Err("env's -S has quotes or variables, which only env understands");
    }
    let mut words = words
        .split(|byte| b" \t".contains(byte))
        .filter(|word| !word.is_empty());
    match words.find(|word| !word.contains(&b'=')) {
        Some([b'-', ..]) => Err("env's -S has further options"),
        word => Ok(word),
    }
}

/// Names that musl's loader is itself (its `reserved` names: c, pthread, rt, m, dl, util, xnet).
fn own_of_musl(name: &[u8]) -> bool {
    let kind = name
        .strip_prefix(b"lib")
        .and_then(|rest| rest.split(|byte| *byte == b'.').next());
    kind.is_some_and(|kind| {
        [&b"c"[..], b"pthread", b"rt", b"m", b"dl", b"util", b"xnet"].contains(&kind)
    })
}

fn machine(identity: Identity) -> String {
    match identity.debian_arch() {
        Some(name) => name.to_owned(),
        None => format!("ELF machine {}", identity.machine),
    }
}

fn file_name(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_bytes()
}
