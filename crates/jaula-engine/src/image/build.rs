//! Doing what a plan says.

use super::arrivals::{Arrivals, Unpack};
use super::database::{self, Installed, New};
use super::error::BuildError;
use super::guards::Guards;
use super::hooks;
use super::layer::Layers;
use super::layout::Tree;
use super::leave::finish;
use super::lists;
use super::plan::{ImagePlan, millis};
use super::settings;
use super::unfinished::{self, Unfinished};
use super::{archs, base, normalise};
use crate::configure::{self, ConfigureError, Preinst, Runner};
use crate::error::At;
use crate::event::{Event, Observer, Phase};
use crate::fetch::Client;
use crate::store::{Begin, Manifest, Stage, Store};
use crate::unpack::{
    Aliases, Before, Deb, Diversions, Keeping, Kept, Share, StatOverrides, Unpacked, Unpacker, Wave,
};
use crate::view::Image;
use jaula_plan::names::Tag;
use jaula_plan::path_filter::PathFilter;
use jaula_plan::spec::hook::HookStage;
use jaula_repo::deb::archive::Control;
use jaula_repo::lock::Role;
use jaula_sys::tree::Dir;
use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// More threads than this only cost memory: each decompresses with a window of its own.
const THREADS: usize = 16;

/// Makes the image of a plan, unless it is there by now.
///
/// The caller must have one thread when this is called, since jails are started.
///
/// # Errors
/// [`BuildError`]; nothing of the image is left in the store but packages that were fetched whole.
pub fn build(
    plan: &ImagePlan,
    tags: &[Tag],
    store: &Store,
    client: &Client,
    observer: &dyn Observer,
) -> Result<Image, BuildError> {
    build_with(plan, tags, store, client, &mut configure::in_jail, observer)
}

/// [`build`], with something else than a jail for the packages' scripts.
pub(crate) fn build_with(
    plan: &ImagePlan,
    tags: &[Tag],
    store: &Store,
    client: &Client,
    runner: Runner<'_>,
    observer: &dyn Observer,
) -> Result<Image, BuildError> {
    let stage = match store.begin(&plan.digest)? {
        Begin::Ready(image) => {
            store.label(&plan.digest, tags, Some(&plan.spec))?;
            return Ok(image);
        }
        Begin::Stage(stage) => stage,
    };
    if let Some(why) = crate::session::one_because() {
        let text = format!("{why}: whose files are is recorded, and restored in outputs");
        observer.event(Event::Note { text });
    }
    let made = kept(plan, store).and_then(|kept| {
        let arrivals = Arrivals::new(plan, store, &kept, client, observer)?;
        stage.point()?;
        make(plan, store, &stage, kept, &arrivals, runner, observer)
    });
    let size = match made {
        Ok(size) => size,
        Err(error) => {
            if matches!(error, BuildError::Configure(_)) {
                // Best effort: the next build would unpack them again.
                drop(stage.keep_unpacked());
            }
            if let Some(path) = error.bad_file() {
                // Best effort: the next build would find the same again, and say so.
                drop(std::fs::remove_file(path));
            }
            stage.abandon()?;
            return Err(error);
        }
    };
    let started = Instant::now();
    observer.event(Event::Started {
        phase: Phase::Finish,
        items: 0,
        bytes: 0,
    });
    let sources = &plan.sources;
    let manifest = Manifest {
        distro: sources.distro.to_string(),
        suite: sources.suite.to_string(),
        arch: sources.arch.to_string(),
        variant: plan.spec.options.variant.to_string(),
        packages: plan.lock.packages.len() as u64,
        created: epoch(plan),
        size,
        unfinished: plan.becomes.map(|digest| digest.to_string()),
        lang: settings::language(&plan.spec.options),
        ..Manifest::default()
    };
    super::Origin::write(plan, &stage)?;
    let image = stage.publish(
        plan.digest,
        &plan.lock.to_string(),
        &manifest,
        tags,
        Some(&plan.spec),
    )?;
    observer.event(Event::Finished {
        phase: Phase::Finish,
        items: 1,
        bytes: 0,
        millis: millis(started),
    });
    observer.event(Event::Made {
        what: "image",
        path: image.root().to_owned(),
    });
    Ok(image)
}

fn epoch(plan: &ImagePlan) -> i64 {
    i64::try_from(plan.epoch()).unwrap_or(i64::MAX)
}

/// The packages of the plan that were unpacked before, by their SHA-256.
fn kept(plan: &ImagePlan, store: &Store) -> Result<HashMap<[u8; 32], Arc<Kept>>, BuildError> {
    let wanted: Vec<[u8; 32]> = plan
        .packages
        .iter()
        .zip(&plan.lock.packages)
        .filter(|(planned, _)| !planned.in_base)
        .map(|(_, package)| package.sha256)
        .collect();
    Ok(store.open_unpacked(&wanted, threads())?)
}

fn threads() -> usize {
    if cfg!(test) {
        // As on a machine that has them: one fails while others wait.
        return 3;
    }
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .min(THREADS)
}

/// A path in an address (RFC 3986): `~` and `+` stay, as apt writes them.
pub(super) fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~+:=@,".contains(&byte) {
            text.push(byte as char);
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    text
}

/// What every phase works on.
pub(super) struct Site<'a> {
    pub plan: &'a ImagePlan,
    pub stage: &'a Stage,
    /// What is there of the packages' content.
    pub keeping: &'a Keeping<'a>,
    /// What is yet to be fetched.
    pub arrivals: &'a Arrivals<'a>,
    pub store: &'a Store,
    /// The tree's place, for messages and jails.
    pub shown: &'a Path,
    pub root: &'a Dir,
    pub tree: &'a Tree<'a>,
    pub observer: &'a dyn Observer,
    /// Whether debconf has its answers.
    answered: Cell<bool>,
}

/// Packages that are unpacked together and then configured together.
struct Round<'a> {
    debs: &'a [Deb],
    /// What was there before.
    installed: &'a [Installed],
    /// Whether the tree has nothing yet.
    fresh: bool,
}

/// What is told of a round.
struct Told {
    items: u64,
    bytes: u64,
    started: Instant,
}

/// Fills the stage; how many bytes it has on disk. The phases: for each round of packages set-up, unpacking, preinsts
/// and configuring; then what was asked to be set, the last hooks, what apt would have left, and normalising.
fn make(
    plan: &ImagePlan,
    store: &Store,
    stage: &Stage,
    kept: HashMap<[u8; 32], Arc<Kept>>,
    arrivals: &Arrivals<'_>,
    runner: Runner<'_>,
    observer: &dyn Observer,
) -> Result<u64, BuildError> {
    let shown = stage.root();
    if hooks::any_outside(&plan.spec.options.hooks) {
        // What is mounted by them, or for them, is theirs alone and goes with this process.
        let own = jaula_sys::lent::own_mounts().map_err(std::io::Error::other);
        own.at("have mounts of one's own for", shown)?;
    }
    let (mut share, place) = stage.unpacking()?;
    if share == Share::Link && hooks::any_outside(&plan.spec.options.hooks) {
        // A program of the host may write into a file in place, and then nobody else may have it.
        share = Share::Copy;
    }
    let place = Dir::open(&place).at("open", &place)?;
    let keeping = Keeping::new(share, &place, kept);
    // Whatever runs in the tree goes through this.
    let mut layers = Layers::new(stage.dir(), shown, share);
    let layered: Runner<'_> = &mut |spec, hear| layers.run(spec, hear, &mut *runner);
    let _held = plan
        .base
        .as_ref()
        .map(|base| base::begin(base, store, shown, share))
        .transpose()?;
    let root = Dir::open(shown).at("open", shown)?;
    let tree = Tree::new(&root, shown, epoch(plan));
    let site = Site {
        plan,
        stage,
        keeping: &keeping,
        arrivals,
        store,
        shown,
        root: &root,
        tree: &tree,
        observer,
        // Nothing is asked where nothing is configured.
        answered: Cell::new(plan.spec.options.unpack_only),
    };
    let mut guards = Guards::without(&plan.spec.options.unguarded);
    let mut fresh = plan.base.is_none();
    for (number, debs) in rounds(plan, store).into_iter().enumerate() {
        let installed = if fresh {
            Vec::new()
        } else {
            database::installed(&tree)?
        };
        let debs = database::lacking(debs, &installed);
        let round = Round {
            debs: &debs,
            installed: &installed,
            fresh,
        };
        site.round(&round, &mut guards, layered)?;
        if number == 0 {
            hooks::run(&site, HookStage::Essential, layered)?;
        }
        fresh = false;
    }
    if !site.answered.get() {
        // Nothing of the image could take them.
        return Err(settings::unanswered().into());
    }
    settings::apply(&site, layered)?;
    hooks::run(&site, HookStage::Customize, layered)?;
    stage.point()?;
    lists::clean(&site)?;
    guards.remove(&tree)?;
    settings::leave(&site)?;
    finish(plan, &tree)?;
    normalise::normalise(&root, shown, &tree, epoch(plan), &layers.changed())
}

/// The packages that are to come, in the order of unpacking, by rounds.
fn rounds(plan: &ImagePlan, store: &Store) -> Vec<Vec<Deb>> {
    let debs = plan
        .packages
        .iter()
        .zip(&plan.lock.packages)
        .filter(|(planned, _)| !planned.in_base)
        .map(|(planned, package)| Deb {
            name: package.name.clone(),
            version: package.version.clone(),
            arch: package.arch.clone(),
            replaces: planned.replaces.clone(),
            path: store.package_path(&package.sha256),
            size: package.size,
            sha256: package.sha256,
            essential: package.role == Role::Essential,
        });
    let hooks = &plan.spec.options.hooks;
    let essential = hooks.iter().any(|hook| hook.stage == HookStage::Essential);
    if essential && !plan.spec.options.unpack_only {
        // They want the essential packages to be configured, and the others not to be there.
        let (first, then) = debs.partition(|deb| deb.essential);
        return vec![first, then];
    }
    vec![debs.collect()]
}

/// The files of packages that are left out.
fn filter(plan: &ImagePlan) -> Result<PathFilter, BuildError> {
    Ok(PathFilter::new(&plan.spec.options.paths)?)
}

/// What packages that are there replace, and their files.
fn before(tree: &Tree<'_>, installed: &[Installed], debs: &[Deb]) -> Result<Before, BuildError> {
    let mut lists = Vec::new();
    for package in installed {
        let list = database::list(tree, &package.info_name)?;
        lists.push((
            package.name.clone(),
            package.version.clone(),
            package.replaces.clone(),
            list,
        ));
    }
    Ok(Before::new(lists, debs))
}

impl Site<'_> {
    /// Unpacks and configures one round of packages.
    fn round(
        &self,
        round: &Round<'_>,
        guards: &mut Guards,
        runner: Runner<'_>,
    ) -> Result<(), BuildError> {
        let mut told = Told {
            items: round.debs.len() as u64,
            bytes: round.debs.iter().map(|deb| deb.size).sum(),
            started: Instant::now(),
        };
        let before = before(self.tree, round.installed, round.debs)?;
        let asked = self.plan.spec.options.merged_usr;
        let aliases = Aliases::debian(asked.unwrap_or(self.plan.sources.merged_usr));
        let time = epoch(self.plan);
        let mut unpacker = Unpacker::new(
            self.root,
            round.debs,
            &before,
            aliases,
            time,
            threads(),
            self.keeping,
        );
        unpacker.set_filter(filter(self.plan)?);
        self.setup(round, &mut unpacker, runner)?;
        let count = (AtomicU64::new(0), AtomicU64::new(0));
        let tell = |name: &str, bytes: u64| {
            let items = count.0.fetch_add(1, Ordering::Relaxed) + 1;
            let bytes = count.1.fetch_add(bytes, Ordering::Relaxed) + bytes;
            self.observer.event(Event::Progress {
                phase: Phase::Unpack,
                items,
                bytes,
                item: name.to_owned(),
            });
        };
        let begun = || {
            self.observer.event(Event::Started {
                phase: Phase::Unpack,
                items: told.items,
                bytes: told.bytes,
            });
        };
        let wave = self.unpack(round, &unpacker, &begun, &tell)?;
        let unpacking = millis(told.started);
        told.started = Instant::now();
        if self.plan.spec.options.unpack_only {
            self.leave_unpacked(round, &unpacker, wave, &tell, runner)?;
            self.finished(Phase::Unpack, told.items, told.bytes, unpacking);
            return Ok(());
        }
        self.started(Phase::Configure, told.items, 0);
        self.configure(round, &mut unpacker, wave, &tell, guards, runner)?;
        self.finished(Phase::Unpack, told.items, told.bytes, unpacking);
        self.finished(Phase::Configure, told.items, 0, millis(told.started));
        Ok(())
    }

    fn started(&self, phase: Phase, items: u64, bytes: u64) {
        self.observer.event(Event::Started {
            phase,
            items,
            bytes,
        });
    }

    fn finished(&self, phase: Phase, items: u64, bytes: u64, millis: u64) {
        self.observer.event(Event::Finished {
            phase,
            items,
            bytes,
            millis,
        });
    }

    /// What a tree has before and beside its packages.
    fn setup(
        &self,
        round: &Round<'_>,
        unpacker: &mut Unpacker<'_>,
        runner: Runner<'_>,
    ) -> Result<(), BuildError> {
        unpacker.prepare()?;
        if round.fresh {
            let plan = self.plan;
            self.tree.begin(&plan.lock.arch, &plan.apt.main_list())?;
            archs::write(plan, self.tree)?;
            settings::setup(self)?;
            hooks::run(self, HookStage::Setup, runner)?;
            lists::place(self)?;
        } else {
            rules(self.tree, unpacker)?;
        }
        self.plan.apt.write(self.tree)?;
        Ok(())
    }

    /// Unpacks all packages of a round but those that must wait for the others' preinsts.
    fn unpack(
        &self,
        round: &Round<'_>,
        unpacker: &Unpacker<'_>,
        begun: &(dyn Fn() + Sync),
        tell: &(dyn Fn(&str, u64) + Sync),
    ) -> Result<Wave, BuildError> {
        let all: Vec<usize> = (0..round.debs.len()).collect();
        let unpack: Unpack<'_> = &|tell, arriving| unpacker.unpack_coming(&all, tell, arriving);
        let wave = self.arrivals.unpack(begun, tell, unpack)?;
        self.stage.point()?;
        Ok(wave)
    }

    /// Unpacks what would wait for the preinsts too, and notes what is left to do.
    fn leave_unpacked(
        &self,
        round: &Round<'_>,
        unpacker: &Unpacker<'_>,
        mut wave: Wave,
        tell: &(dyn Fn(&str, u64) + Sync),
        runner: Runner<'_>,
    ) -> Result<(), BuildError> {
        let rest: Vec<usize> = wave.deferred.drain(..).map(|later| later.index).collect();
        wave.unpacked
            .extend(unpacker.unpack(&rest, true, tell)?.unpacked);
        wave.unpacked.sort_by_key(|unpacked| unpacked.index);
        archs::check_shared(wave.unpacked.iter().map(|u| &u.control))?;
        let left = Unfinished {
            arch: self.plan.sources.arch.clone(),
            epoch: epoch(self.plan),
            preinsts: preinsts(self.tree, round.debs, &wave)?,
        };
        write_database(self.tree, round, &wave.unpacked, std::iter::empty())?;
        write_lists(self.tree, unpacker, &wave.unpacked, round.installed)?;
        unfinished::leave(self.tree, &left)?;
        hooks::run(self, HookStage::Extract, runner)
    }

    /// Runs the preinsts, unpacks what waited for them, and configures everything.
    fn configure(
        &self,
        round: &Round<'_>,
        unpacker: &mut Unpacker<'_>,
        mut wave: Wave,
        tell: &(dyn Fn(&str, u64) + Sync),
        guards: &mut Guards,
        runner: Runner<'_>,
    ) -> Result<(), BuildError> {
        let Self {
            plan,
            tree,
            shown,
            observer,
            ..
        } = *self;
        let installed = round.installed;
        guards.place(tree, !round.debs.is_empty())?;
        let preinsts = preinsts(tree, round.debs, &wave)?;
        let unpacked = wave.unpacked.iter().map(|u| &u.control);
        archs::check_shared(unpacked.chain(wave.deferred.iter().map(|d| &d.control)))?;
        let waiting = wave.deferred.iter().map(|d| &d.control);
        write_database(tree, round, &wave.unpacked, waiting)?;
        if round.fresh {
            settings::check_usr(self)?;
            hooks::run(self, HookStage::Extract, runner)?;
        }
        if !self.answered.get() {
            self.answered.set(settings::answer(self, runner)?);
        }

        let deferred: Vec<usize> = wave
            .deferred
            .iter()
            .map(|deferred| deferred.index)
            .collect();
        let again: Vec<usize> = wave
            .unpacked
            .iter()
            .filter(|unpacked| unpacked.again)
            .map(|unpacked| unpacked.index)
            .collect();
        let epoch = plan.epoch();
        if deferred.is_empty() && again.is_empty() {
            write_lists(tree, unpacker, &wave.unpacked, installed)?;
            configure::run(shown, &preinsts, true, epoch, runner, observer)
                .map_err(|error| database::asking(tree, error))?;
        } else {
            configure::run(shown, &preinsts, false, epoch, runner, observer)?;
            // As with mmdebstrap: the essential packages are there without any script, and once more after theirs if
            // they divert anything.
            let mut rest = deferred;
            if rules(tree, unpacker)? {
                rest.extend(again);
            }
            let more = unpacker.unpack(&rest, true, tell)?;
            wave.unpacked
                .retain(|unpacked| !rest.contains(&unpacked.index));
            wave.unpacked.extend(more.unpacked);
            wave.unpacked.sort_by_key(|unpacked| unpacked.index);
            // Again, now that it is known which configuration files came; a preinst may have asked dpkg for triggers.
            write_database(tree, round, &wave.unpacked, std::iter::empty())?;
            write_lists(tree, unpacker, &wave.unpacked, installed)?;
            configure::run(shown, &[], true, epoch, runner, observer)
                .map_err(|error| database::asking(tree, error))?;
        }
        let unfinished = database::unfinished(shown, tree)?;
        if unfinished.is_empty() {
            return Ok(());
        }
        Err(ConfigureError::Unfinished {
            packages: unfinished,
        }
        .into())
    }
}

/// Writes the control files of a wave; its preinsts in the order of unpacking.
fn preinsts(tree: &Tree<'_>, debs: &[Deb], wave: &Wave) -> Result<Vec<Preinst>, BuildError> {
    let mut found: Vec<(usize, Preinst)> = Vec::new();
    let controls = wave
        .unpacked
        .iter()
        .map(|u| (u.index, &u.control))
        .chain(wave.deferred.iter().map(|d| (d.index, &d.control)));
    for (index, control) in controls {
        let info_name = database::write_info(tree, control)?;
        if let (Some(_), Some(deb)) = (control.file("preinst"), debs.get(index)) {
            found.push((
                index,
                Preinst {
                    package: deb.name.clone(),
                    arch: deb.arch.clone(),
                    info_name,
                },
            ));
        }
    }
    found.sort_by_key(|(index, _)| *index);
    Ok(found.into_iter().map(|(_, preinst)| preinst).collect())
}

/// Diversions and stat overrides that hold in the tree by now; whether there are diversions.
fn rules(tree: &Tree<'_>, unpacker: &mut Unpacker<'_>) -> Result<bool, BuildError> {
    let diversions = Diversions::parse(&tree.read_text("var/lib/dpkg/diversions")?)?;
    let (passwd, group) = (tree.read_text("etc/passwd")?, tree.read_text("etc/group")?);
    let overrides = StatOverrides::parse(
        &tree.read_text("var/lib/dpkg/statoverride")?,
        &passwd,
        &group,
    )?;
    let any = !diversions.is_empty();
    unpacker.set_rules(diversions, overrides);
    Ok(any)
}

fn write_database<'c>(
    tree: &Tree<'_>,
    round: &Round<'_>,
    unpacked: &[Unpacked],
    deferred: impl Iterator<Item = &'c Control>,
) -> Result<(), BuildError> {
    let mut new: Vec<New<'_>> = unpacked
        .iter()
        .map(|u| New {
            control: &u.control,
            conffiles: &u.conffiles,
        })
        .collect();
    new.extend(deferred.map(|control| New {
        control,
        conffiles: &[],
    }));
    database::write(tree, round.installed, &new, round.fresh)?;
    if !round.fresh {
        let pairs: Vec<(&Control, &Unpacked)> = unpacked.iter().map(|u| (&u.control, u)).collect();
        database::activate(tree, &pairs)?;
    }
    Ok(())
}

/// The lists of the new packages, and those of packages that lost files to them.
fn write_lists(
    tree: &Tree<'_>,
    unpacker: &Unpacker<'_>,
    unpacked: &[Unpacked],
    installed: &[Installed],
) -> Result<(), BuildError> {
    for package in unpacked {
        let stanza = package
            .control
            .stanza()
            .map_err(std::io::Error::other)
            .at("read", Path::new("control"))?;
        database::write_list(
            tree,
            &jaula_repo::deb::dpkg::info_name(&stanza),
            &unpacker.kept(package),
        )?;
    }
    for (number, package) in installed.iter().enumerate() {
        let lost = unpacker.lost_before(number);
        if lost.is_empty() {
            continue;
        }
        let mut text = Vec::new();
        for line in database::list(tree, &package.info_name)? {
            if !lost
                .iter()
                .any(|lost| line.strip_prefix(b"/") == Some(lost.as_slice()))
            {
                text.extend_from_slice(&line);
                text.push(b'\n');
            }
        }
        database::write_list(tree, &package.info_name, &text)?;
    }
    Ok(())
}
