//! Many packages at once into one tree.

mod one;

use super::aliases::Aliases;
use super::deb::{Deb, Deferred, Unpacked, Wave};
use super::error::UnpackError;
use super::hash::HashReader;
use super::kept::{Keeper, Kept, Share};
use super::registry::{Party, Registry};
use super::rules::{Diversions, StatOverrides};
use super::writer::{Attributes, FillError, Writer, c_name, failed};
use jaula_plan::path_filter::PathFilter;
use jaula_repo::deb::archive::{self, Control};
use jaula_repo::tar::TarError;
use jaula_sys::tree::Dir;
use one::OnePackage;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Unpacks packages into a tree, in parallel.
pub struct Unpacker<'a> {
    root: &'a Dir,
    debs: &'a [Deb],
    /// How many packages were there before; theirs are the first numbers of the registry.
    before: u32,
    aliases: Aliases,
    diversions: Diversions,
    overrides: StatOverrides,
    filter: PathFilter,
    /// Directories without an entry, and our own links, have this.
    default: Attributes,
    registry: Registry<'a>,
    linked: Mutex<HashSet<&'static str>>,
    threads: usize,
    /// Whether the tree is all of these packages, and nothing was finished yet.
    whole: AtomicBool,
    keeping: &'a Keeping<'a>,
}

/// What is there of the packages' content, and what becomes of it.
#[derive(Debug)]
pub struct Keeping<'a> {
    share: Share,
    /// Where packages that are not kept yet come to be.
    place: &'a Dir,
    /// By the package's SHA-256.
    kept: Mutex<HashMap<[u8; 32], Arc<Kept>>>,
}

impl<'a> Keeping<'a> {
    /// `kept` are packages that are kept already, by their SHA-256; the others come to be in `place`, each under its
    /// SHA-256.
    pub fn new(share: Share, place: &'a Dir, kept: HashMap<[u8; 32], Arc<Kept>>) -> Self {
        Self {
            share,
            place,
            kept: Mutex::new(kept),
        }
    }

    fn of(&self, sha256: &[u8; 32]) -> Option<Arc<Kept>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(sha256).cloned()
    }

    fn insert(&self, sha256: [u8; 32], kept: Kept) {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(sha256, Arc::new(kept));
    }
}

/// Packages that are still being fetched while others are unpacked.
pub trait Arriving: Sync {
    /// Comes back when a package is there or never will be, which is for who opens it to see; `false` when nothing more
    /// is to be unpacked.
    fn come(&self, deb: &Deb) -> bool;

    /// A package cannot be unpacked: nothing more is waited for.
    fn failed(&self);
}

/// All are there.
impl Arriving for () {
    fn come(&self, _: &Deb) -> bool {
        true
    }

    fn failed(&self) {}
}

/// Who was there before, for [`Unpacker::new`]: packages as (name, version, Replaces), and who brought which path
/// (relative, as in its list).
#[derive(Debug, Default)]
pub struct Before {
    parties: Vec<Party>,
    paths: HashMap<Vec<u8>, u32>,
    before: u32,
}

impl Before {
    /// The installed packages, each with the lines of its list, and then those that are to come.
    pub fn new<'d>(
        installed: impl IntoIterator<Item = (String, String, String, Vec<Vec<u8>>)>,
        debs: impl IntoIterator<Item = &'d Deb>,
    ) -> Self {
        let mut this = Self::default();
        for (name, version, replaces, list) in installed {
            for line in list {
                let path = line.strip_prefix(b"/").unwrap_or(&line).to_vec();
                this.paths.insert(path, this.before);
            }
            this.parties.push(Party {
                name,
                version,
                replaces,
            });
            this.before += 1;
        }
        for deb in debs {
            let (name, version, replaces) =
                (deb.name.clone(), deb.version.clone(), deb.replaces.clone());
            this.parties.push(Party {
                name,
                version,
                replaces,
            });
        }
        this
    }
}

impl<'a> Unpacker<'a> {
    /// `debs` in unpack order; `time` for what no archive gives a time, and no file that is shared is later.
    pub fn new(
        root: &'a Dir,
        debs: &'a [Deb],
        before: &'a Before,
        aliases: Aliases,
        time: i64,
        threads: usize,
        keeping: &'a Keeping<'a>,
    ) -> Self {
        let registry = Registry::new(&before.parties, &before.paths);
        if before.before == 0 {
            registry.made(b"");
        }
        Self {
            root,
            debs,
            before: before.before,
            aliases,
            diversions: Diversions::default(),
            overrides: StatOverrides::default(),
            filter: PathFilter::default(),
            default: Attributes {
                uid: 0,
                gid: 0,
                mode: 0o755,
                mtime: time,
                nanos: 0,
            },
            registry,
            linked: Mutex::default(),
            threads: threads.max(1),
            whole: AtomicBool::new(before.before == 0),
            keeping,
        }
    }

    /// Makes the links that every tree of this kind has (`/bin`, `/sbin`, `/lib`), where they are not there yet. The
    /// others come when something is in them.
    ///
    /// # Errors
    /// [`UnpackError::Tree`].
    pub fn prepare(&self) -> Result<(), UnpackError> {
        let mut writer = Writer::new(self.root);
        for link in ["bin", "sbin", "lib"] {
            if let (Some(link), Some(to)) = (
                self.aliases.link(link.as_bytes()),
                self.aliases.is_link(link.as_bytes()),
            ) {
                self.ensure_link(&mut writer, link, to)?;
            }
        }
        Ok(())
    }

    /// From now on these files are left out.
    pub fn set_filter(&mut self, filter: PathFilter) {
        self.filter = filter;
    }

    /// From now on these hold; what was unpacked before was moved accordingly (`dpkg-divert --rename`).
    pub fn set_rules(&mut self, diversions: Diversions, overrides: StatOverrides) {
        let real = |path: &[u8]| {
            self.aliases
                .rewrite(path)
                .map_or_else(|| path.to_vec(), |(path, _)| path)
        };
        for (from, to, by) in diversions
            .iter()
            .filter(|(from, _, by)| !self.diversions.is_by(from, by))
        {
            self.registry.divert(&real(from), &real(to), by);
        }
        self.diversions = diversions;
        self.overrides = overrides;
    }

    /// Unpacks the packages of these numbers (into `debs`), the largest first, with several threads. Those whose
    /// preinst diverts are only read, unless they are essential or `all` is said. `tell` hears of each package done: name and bytes.
    ///
    /// # Errors
    /// [`UnpackError`] of the first package in unpack order that failed; the tree is then to be discarded.
    pub fn unpack(
        &self,
        which: &[usize],
        all: bool,
        tell: &(dyn Fn(&str, u64) + Sync),
    ) -> Result<Wave, UnpackError> {
        self.unpack_all(which, all, tell, &())
    }

    /// The same without `all`, while packages are being fetched.
    ///
    /// # Errors
    /// As [`Unpacker::unpack`].
    pub fn unpack_coming(
        &self,
        which: &[usize],
        tell: &(dyn Fn(&str, u64) + Sync),
        arriving: &dyn Arriving,
    ) -> Result<Wave, UnpackError> {
        self.unpack_all(which, false, tell, arriving)
    }

    fn unpack_all(
        &self,
        which: &[usize],
        all: bool,
        tell: &(dyn Fn(&str, u64) + Sync),
        arriving: &dyn Arriving,
    ) -> Result<Wave, UnpackError> {
        let mut queue: Vec<(usize, &Deb)> = which
            .iter()
            .filter_map(|i| Some((*i, self.debs.get(*i)?)))
            .collect();
        queue.sort_by_key(|(index, deb)| (std::cmp::Reverse(deb.size), *index));
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let wave = Mutex::new(Wave::default());
        let errors: Mutex<BTreeMap<usize, UnpackError>> = Mutex::default();
        let work = || {
            let mut writer = Writer::new(self.root);
            while !stop.load(Ordering::Relaxed) {
                let Some((index, deb)) = queue.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    return;
                };
                if self.keeping.of(&deb.sha256).is_none() && !arriving.come(deb) {
                    return;
                }
                match self.package(*index, deb, all, &mut writer) {
                    Ok(Done::Unpacked(done)) => {
                        tell(&deb.name, deb.size);
                        wave.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .unpacked
                            .push(*done);
                    }
                    Ok(Done::Deferred(control)) => {
                        let deferred = Deferred {
                            index: *index,
                            control: *control,
                        };
                        wave.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .deferred
                            .push(deferred);
                    }
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        errors
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(*index, error);
                        arriving.failed();
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads.min(queue.len()) {
                scope.spawn(work);
            }
            work();
        });
        if let Some((_, error)) = errors
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_first()
        {
            return Err(error);
        }
        self.registry.check_links()?;
        self.finish_dirs()?;
        let mut wave = wave.into_inner().unwrap_or_else(PoisonError::into_inner);
        wave.unpacked.sort_by_key(|done| done.index);
        wave.deferred.sort_by_key(|deferred| deferred.index);
        Ok(wave)
    }

    /// The lines of an unpacked package's list that it did not lose to another.
    pub fn kept(&self, unpacked: &Unpacked) -> Vec<u8> {
        let lost = self.registry.lost(self.number(unpacked.index));
        let mut text = Vec::new();
        for line in &unpacked.list {
            let path = line.strip_prefix(b"/").unwrap_or(line);
            if !lost.iter().any(|lost| lost == path) {
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        }
        text
    }

    /// The paths (relative) that a package that was there before lost.
    pub fn lost_before(&self, installed: usize) -> Vec<Vec<u8>> {
        self.registry
            .lost(u32::try_from(installed).unwrap_or(u32::MAX))
    }

    fn number(&self, index: usize) -> u32 {
        u32::try_from(index)
            .unwrap_or(u32::MAX)
            .saturating_add(self.before)
    }

    fn finish_dirs(&self) -> Result<(), UnpackError> {
        let mut writer = Writer::new(self.root);
        let whole = self.whole.swap(false, Ordering::Relaxed);
        for (path, a) in self.registry.take_made(self.default, whole).iter().rev() {
            let dir = writer.dir(path, &mut |_| {})?;
            dir.set_self(a.uid, a.gid, a.mode, a.mtime, 0)
                .map_err(failed("set the mode of", path))?;
        }
        Ok(())
    }

    fn package(
        &self,
        index: usize,
        deb: &Deb,
        all: bool,
        writer: &mut Writer<'_>,
    ) -> Result<Done, UnpackError> {
        if let Some(kept) = self.keeping.of(&deb.sha256) {
            self.check(deb, kept.control())?;
            return self.laid_out(index, deb, all, writer, &kept);
        }
        let archive_error = |source| UnpackError::Archive {
            path: deb.path.clone(),
            source,
        };
        let file = File::open(&deb.path).map_err(archive_error)?;
        if file.metadata().map_err(archive_error)?.len() != deb.size {
            return Err(altered(deb, "size"));
        }
        let mut reader = HashReader::new(file);
        let result = self.stream(index, deb, all, writer, &mut reader);
        let (bytes, sha256) = reader.finish().map_err(archive_error)?;
        if sha256 != deb.sha256 || bytes != deb.size {
            // An altered package fails in many ways: this is the reason.
            return Err(altered(deb, "SHA-256"));
        }
        let (done, keeper) = result?;
        let control = match &done {
            Done::Unpacked(done) => &done.control,
            Done::Deferred(control) => control,
        };
        self.check(deb, control)?;
        if let Some(keeper) = keeper {
            let kept = keeper.finish(control).map_err(keep_error(deb))?;
            self.keeping.insert(deb.sha256, kept);
        }
        Ok(done)
    }

    /// Whether a control part is that of the package that the index lists.
    fn check(&self, deb: &Deb, control: &Control) -> Result<(), UnpackError> {
        let stanza = control.stanza().map_err(|error| UnpackError::Deb {
            package: deb.name.clone(),
            source: error.into(),
        })?;
        for (field, want, what) in [
            ("Package", &deb.name, "name"),
            ("Version", &deb.version, "version"),
            ("Architecture", &deb.arch, "architecture"),
        ] {
            if stanza.field(field) != Some(want) {
                return Err(altered(deb, what));
            }
        }
        Ok(())
    }

    /// A package from what was kept of it.
    fn laid_out(
        &self,
        index: usize,
        deb: &Deb,
        all: bool,
        writer: &mut Writer<'_>,
        kept: &Kept,
    ) -> Result<Done, UnpackError> {
        let control = kept.control();
        let again = !all && diverts(control);
        if again && !deb.essential {
            return Ok(Done::Deferred(Box::new(control.clone())));
        }
        let mut package = self.begin(index, deb, writer, control)?;
        for (number, entry) in kept.entries().iter().enumerate() {
            package.entry(number, entry, kept.into())?;
        }
        package.end(index, control.clone(), again)
    }

    fn begin<'p, 'w>(
        &'p self,
        index: usize,
        deb: &'p Deb,
        writer: &'p mut Writer<'w>,
        control: &Control,
    ) -> Result<OnePackage<'p, 'a, 'w>, UnpackError> {
        let mut conffiles: HashMap<Vec<u8>, Option<Option<[u8; 16]>>> = HashMap::new();
        for conffile in control.conffiles().map_err(|source| UnpackError::Deb {
            package: deb.name.clone(),
            source,
        })? {
            if !conffile.remove_on_upgrade {
                conffiles.insert(
                    conffile.path.trim_start_matches('/').as_bytes().to_vec(),
                    None,
                );
            }
        }
        Ok(OnePackage {
            unpacker: self,
            number: self.number(index),
            name: &deb.name,
            writer,
            conffiles,
            list: Vec::new(),
            listed: HashSet::new(),
        })
    }

    fn stream(
        &self,
        index: usize,
        deb: &Deb,
        all: bool,
        writer: &mut Writer<'_>,
        reader: &mut HashReader<File>,
    ) -> Result<(Done, Option<Keeper>), UnpackError> {
        let deb_error = |source| UnpackError::Deb {
            package: deb.name.clone(),
            source,
        };
        let (control, mut data) = archive::open(reader).map_err(deb_error)?;
        let again = !all && diverts(&control);
        if again && !deb.essential {
            return Ok((Done::Deferred(Box::new(control)), None));
        }
        let name = c_name(jaula_repo::hex::encode(&deb.sha256).as_bytes());
        let mut keeper = Keeper::new(self.keeping.place, &name).map_err(keep_error(deb))?;
        let mut package = self.begin(index, deb, writer, &control)?;
        let tar = |source| UnpackError::Tar {
            package: Some(deb.name.clone()),
            source,
        };
        let mut count = 0;
        while let Some(mut entry) = data.next_entry().map_err(tar)? {
            let meta = entry.meta().clone();
            let conffile = package.conffiles.contains_key(meta.path.as_bytes());
            let kept = keeper.add(package.writer, &meta, &mut entry, conffile);
            kept.map_err(|error| match error {
                FillError::Tree(error) => error,
                FillError::Content(source) => tar(TarError::Read {
                    entry: count,
                    source,
                }),
            })?;
            if let Some((number, entry)) = keeper.last() {
                package.entry(number, entry, keeper.contents())?;
            }
            count += 1;
        }
        Ok((package.end(index, control, again)?, Some(keeper)))
    }

    /// Makes one of our own links with what it leads to, once.
    fn ensure_link(
        &self,
        writer: &mut Writer<'_>,
        link: &'static str,
        to: &'static str,
    ) -> Result<(), UnpackError> {
        let mut linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        if linked.contains(link) {
            return Ok(());
        }
        let path = link.as_bytes();
        writer.dir(to.as_bytes(), &mut |path| self.registry.made(path))?;
        let (dir, name) = writer.place(path, &mut |path| self.registry.made(path))?;
        match dir.symlink(&c_name(to.as_bytes()), &name) {
            Ok(()) => Writer::finish_link(&dir, &name, path, self.default)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let there = dir
                    .read_link(&name)
                    .map_err(failed("read the link", path))?;
                if !self.aliases.means(path, there.as_bytes()) {
                    return Err(failed("make the link", path)(error));
                }
            }
            Err(error) => return Err(failed("make the link", path)(error)),
        }
        linked.insert(link);
        Ok(())
    }
}

/// Whether a package's preinst diverts files of others.
fn diverts(control: &Control) -> bool {
    let words = |script: &[u8]| script.windows(11).any(|window| window == b"dpkg-divert");
    control.file("preinst").is_some_and(words)
}

fn keep_error(deb: &Deb) -> impl FnOnce(std::io::Error) -> UnpackError {
    |source| UnpackError::Keep {
        package: deb.name.clone(),
        source,
    }
}

fn altered(deb: &Deb, what: &'static str) -> UnpackError {
    UnpackError::Altered {
        package: deb.name.clone(),
        what,
        path: deb.path.clone(),
    }
}

enum Done {
    Unpacked(Box<Unpacked>),
    Deferred(Box<Control>),
}
