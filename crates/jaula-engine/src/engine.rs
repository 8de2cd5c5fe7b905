//! The engine: the verbs, in pairs `plan_x` and `x`.

mod accounts;
mod jails;
mod labs;
mod namespaces;
mod outputs;
mod running;
mod written;

use crate::cgroup::Groups;
use crate::error::EngineError;
use crate::event::{Event, Observer};
use crate::fetch::Proxies;
use crate::image::Way;
use crate::named::Record;
use crate::outcome::{Gate, Io, Outcome};
use crate::plan::{ImagePlan, StepPlan};
use crate::run::{Detach, RunPlan, Source};
use crate::spec::{ExecSpec, ImageOptions, RunChanges, RunSpec};
use crate::store::{GcPlan, GcSpec, Store, StoreError};
use crate::view::{Image, ImageInfo};
use jaula_plan::jail::{JailPlan, plan_jail};
use jaula_plan::names::{Arch, Digest, Tag};
use jaula_plan::spec::jail::{Changes, JailNet, JailSpec, Lessee, Namespaces, RootSpec};
use jaula_plan::spec::limits::Limits;
use jaula_plan::spec::rootfs::{ImageSpec, Reference};
use jaula_plan::step::Step;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// How an engine is opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where everything is kept; made when it is not there yet.
    pub store: PathBuf,
    /// A file that adds to the table of distributions.
    pub distros: Option<PathBuf>,
    /// Never use the network.
    pub offline: bool,
    /// Proxies, as the caller's environment has them.
    pub proxies: Proxies,
    /// What the keeper of a named jail does first, in its own process: an ordinary user's enters his session. The
    /// verbs that run programs in named jails are called outside of it. An error is a sentence for the user.
    pub prepare: Option<fn() -> Result<(), String>>,
}

impl Config {
    /// Everything as usual, kept in this directory.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Self {
            store: store.into(),
            distros: None,
            offline: false,
            proxies: Proxies::default(),
            prepare: None,
        }
    }
}

/// Whether a plan of an image may fill the store's caches on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dry {
    /// Nothing is written (`--plan`, `--explain`).
    ReadOnly,
    /// Verified indices may be kept for the next time.
    MayCache,
}

/// Puts a language into an environment.
fn set_language(env: &mut Vec<(OsString, OsString)>, language: Option<String>) {
    if let Some(language) = language {
        env.retain(|(name, _)| name != "LANG");
        env.push(("LANG".into(), language.into()));
    }
}

/// An open store and what works on it.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    store: Store,
}

impl Engine {
    /// The store it works on.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The image a reference names, or an error that says what there is.
    pub(crate) fn known(&self, reference: &Reference) -> Result<Image, EngineError> {
        match self.store.find(reference)? {
            Some(image) => Ok(image),
            None => Err(EngineError::NoSuchImage {
                reference: crate::view::reference_text(reference),
                nearest: self
                    .store
                    .tags()?
                    .into_iter()
                    .map(|(tag, _)| tag.to_string())
                    .take(8)
                    .collect(),
            }),
        }
    }

    /// Opens the store. Cheap: nothing is read until it is needed.
    pub fn open(config: Config) -> Result<Self, EngineError> {
        let store = Store::open(&config.store)?;
        Ok(Self { config, store })
    }

    /// The same, for tests that stop its changes on the way.
    #[must_use]
    pub fn with_faults(self, faults: std::sync::Arc<crate::fault::Faults>) -> Self {
        Self {
            store: self.store.with_faults(faults),
            ..self
        }
    }

    /// How it was opened.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the root file system that a reference names comes from.
    fn source(
        &self,
        reference: &Reference,
        options: &ImageOptions,
        observer: &dyn Observer,
        dry: Dry,
    ) -> Result<Source, EngineError> {
        match reference {
            Reference::Directory(_) => Ok(Source::There),
            Reference::Archive(path) => {
                if let Some(image) = crate::import::find(&self.store, path)? {
                    return Ok(Source::Ready(image));
                }
                let archive = crate::import::plan(path)?;
                if let Some(image) = self.store.image(&archive.digest)? {
                    return Ok(Source::Ready(image));
                }
                let steps = StepPlan::new(
                    "take the archive into the store".to_owned(),
                    archive.steps(&self.store),
                );
                Ok(Source::Import(archive, steps))
            }
            Reference::Tag(_) | Reference::Digest(_) => Ok(Source::Ready(self.known(reference)?)),
            Reference::Distro { .. } => {
                let found = match options.spec(reference) {
                    Some(spec) => self.store.by_request(&spec)?,
                    None => None,
                };
                // Without options a tag of that name will do.
                let found = match found {
                    None if *options == ImageOptions::default() => self.store.find(reference)?,
                    found => found,
                };
                match (found, options.spec(reference)) {
                    (Some(image), _) => Ok(Source::Ready(image)),
                    (None, Some(spec)) => {
                        let plan = self.plan_image_by(&spec, Way::Reuse, observer, dry)?;
                        Ok(match plan.ready() {
                            Some(image) => {
                                // Another request led to it; from now on this one does too.
                                if dry == Dry::MayCache {
                                    self.store.label(image.digest(), &[], Some(&spec))?;
                                }
                                Source::Ready(image.clone())
                            }
                            None => Source::Build(plan),
                        })
                    }

                    (None, None) => Ok(Source::Ready(self.known(reference)?)),
                }
            }
        }
    }

    /// The tree that a source is, or will be.
    fn root_of(&self, source: &Source) -> PathBuf {
        match source {
            Source::There => PathBuf::from("/"),
            Source::Ready(image) => image.root().to_owned(),
            Source::Import(archive, _) => self.store.image_dir(&archive.digest).join("root"),
            Source::Build(plan) => self.store.image_dir(plan.digest()).join("root"),
            Source::Minimal(plan) => self.store.image_dir(plan.digest()).join("root"),
        }
    }

    /// What the programs of a source are for, where it is on record. Nothing runs in what is not finished.
    fn arch_of(&self, source: &Source) -> Result<Option<Arch>, EngineError> {
        Ok(self.arch_and_language(source)?.0)
    }

    /// The same, and the language that its programs are started with.
    fn arch_and_language(
        &self,
        source: &Source,
    ) -> Result<(Option<Arch>, Option<String>), EngineError> {
        match source {
            Source::There | Source::Import(..) => Ok((None, None)),
            Source::Ready(image) => {
                let manifest = self.store.manifest(image)?;
                match manifest.unfinished {
                    Some(_) => Err(EngineError::Unfinished {
                        what: image.digest().to_string(),
                    }),
                    None => Ok((manifest.arch.parse().ok(), manifest.language())),
                }
            }
            Source::Build(plan) => Ok((plan.lock().arch.parse().ok(), plan.language())),
            Source::Minimal(plan) => Ok((plan.arch().parse().ok(), None)),
        }
    }

    /// The same of what a named jail stands on.
    fn arch_of_jail(&self, record: &Record) -> Result<Option<Arch>, EngineError> {
        if let Some(directory) = &record.directory {
            finished(directory)?;
        }
        match record.image.map(|digest| self.store.image(&digest)) {
            Some(image) => match image? {
                Some(image) => self.arch_of(&Source::Ready(image)),
                None => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// Makes what is missing.
    fn realise(
        &self,
        source: &Source,
        observer: &dyn Observer,
    ) -> Result<Option<Image>, EngineError> {
        match source {
            Source::There => Ok(None),
            Source::Ready(image) => Ok(Some(image.clone())),
            Source::Import(archive, _) => Ok(Some(archive.import(&self.store, &[], observer)?)),
            Source::Build(plan) => Ok(Some(self.image(plan, observer)?)),
            Source::Minimal(plan) => Ok(Some(plan.make(&self.store, &[], observer)?)),
        }
    }

    /// The jail that a session of a named jail runs in.
    fn session_spec(
        &self,
        record: &Record,
        exec: &ExecSpec,
        limits: Limits,
    ) -> Result<JailSpec, EngineError> {
        let hostname = record
            .settings
            .hostname
            .clone()
            .or_else(|| record.name.as_str().replace('_', "-").parse().ok());
        let all = Namespaces {
            uts: true,
            ipc: true,
            pid: true,
            net: true,
            user: true,
            cgroup: true,
            time: false,
        };
        let root = crate::named::root_spec(&self.store, record)?;
        let mut jail = JailSpec::new(root, exec.command.clone());
        jail.arch = self.arch_of_jail(record)?;
        jail.namespaces = all;
        jail.ids = record.settings.ids.clone();
        jail.user = exec.user.clone();
        jail.hostname = hostname;
        jail.net = record.settings.net.clone();
        jail.lessee = Some(self.lessee(record.name.to_string(), true));
        jail.cwd.clone_from(&exec.cwd);
        jail.env.clone_from(&exec.env);
        if let (true, Some(image)) = (exec.image_language, &record.image) {
            set_language(&mut jail.env, self.store.language(image));
        }
        if let Some(image) = &record.image {
            jail.mounts = crate::minimal::live_mounts(&self.store, image)?;
        }
        jail.terminal = exec.terminal;
        jail.limits = limits;
        exec.guards.apply(&mut jail);
        Ok(jail)
    }

    /// By what name a jail's addresses are leased.
    fn lessee(&self, holder: String, lasting: bool) -> Lessee {
        Lessee {
            holder,
            lasting,
            dir: self.store.root().join("leases"),
        }
    }

    /// Fetches and verifies indices, chooses packages, and says what making the image takes.
    pub fn plan_image(
        &self,
        spec: &ImageSpec,
        observer: &dyn Observer,
        dry: Dry,
    ) -> Result<ImagePlan, EngineError> {
        self.plan_image_by(spec, Way::Whole, observer, dry)
    }

    /// Makes the image, unless it is there.
    pub fn image(&self, plan: &ImagePlan, observer: &dyn Observer) -> Result<Image, EngineError> {
        self.make_image(plan, observer)
    }

    /// The image a reference names, from the store alone; microseconds. None for a distribution that has no image
    /// yet, and for a directory or an archive.
    pub fn find(&self, reference: &Reference) -> Result<Option<Image>, EngineError> {
        Ok(self.store.find(reference)?)
    }

    /// What a run takes: the image when it is missing, and the jail.
    pub fn plan_run(
        &self,
        spec: &RunSpec,
        observer: &dyn Observer,
        dry: Dry,
    ) -> Result<RunPlan, EngineError> {
        let source = match &spec.reference {
            None => Source::There,
            Some(reference) => self.source(reference, &spec.image, observer, dry)?,
        };
        let root = match (&spec.reference, &source) {
            (None, _) if spec.jail.root == RootSpec::Empty => RootSpec::Empty,
            (None, _) => RootSpec::HostPrograms,
            (Some(Reference::Directory(path)), _) => {
                let changes = match spec.changes {
                    RunChanges::Ephemeral => Changes::Ephemeral,
                    RunChanges::ReadOnly => Changes::ReadOnly,
                    RunChanges::Direct => Changes::Direct,
                };
                let dir = crate::import::directory(path)?;
                finished(&dir)?;
                // Images share files with each other and with kept packages.
                if changes == Changes::Direct && self.store.holds_image(&dir) {
                    return Err(EngineError::BadReference {
                        reference: jaula_plan::explain::shown(path),
                        why: "it is an image of the store, and an image is never written",
                    });
                }
                RootSpec::Tree { dir, changes }
            }
            (Some(reference), source) => {
                let changes = match spec.changes {
                    RunChanges::Ephemeral => Changes::Ephemeral,
                    RunChanges::ReadOnly => Changes::ReadOnly,
                    RunChanges::Direct => {
                        let reference = crate::view::reference_text(reference);
                        return Err(EngineError::BadReference {
                            reference,
                            why: "an image is never written",
                        });
                    }
                };
                RootSpec::Tree {
                    dir: self.root_of(source),
                    changes,
                }
            }
        };
        let spec_detach = spec.detach.clone();
        let (arch, language) = self.arch_and_language(&source)?;
        let language = language.filter(|_| spec.image_language);
        let mut spec = JailSpec {
            root,
            arch,
            ..spec.jail.clone()
        };
        set_language(&mut spec.env, language);
        let detach = match &spec_detach {
            Some(asked) => Some(Detach {
                name: self.run_name(asked.name.as_ref())?,
                logged: asked.logged,
            }),
            None => None,
        };
        if matches!(
            spec.net,
            JailNet::Links(_) | JailNet::Namespace(_) | JailNet::Nat(_)
        ) {
            let holder = match &detach {
                Some(detach) => detach.name.clone(),
                None => self.run_name(None)?,
            };
            spec.lessee = Some(self.lessee(holder.to_string(), false));
        }
        let jail = match (plan_jail(&spec, &crate::probe::host(&spec)), &source) {
            (Ok(jail), _) => Some(jail),
            (Err(error), Source::There | Source::Ready(_)) => return Err(error.into()),
            // It may well be possible once the image is there.
            (Err(_), _) => None,
        };
        Ok(RunPlan {
            source,
            spec,
            jail,
            detach,
        })
    }

    /// Makes the image when it is missing, and runs the jail.
    pub fn run(
        &self,
        plan: &RunPlan,
        io: Io<'_>,
        observer: &dyn Observer,
    ) -> Result<Outcome, EngineError> {
        self.run_by(plan, observer, |jail| self.run_jail(jail, io, observer))
    }

    /// Makes the image when it is missing, and starts the jail on it by `start`.
    pub(crate) fn run_by<T>(
        &self,
        plan: &RunPlan,
        observer: &dyn Observer,
        start: impl FnOnce(&JailPlan) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let image = self.realise(&plan.source, observer)?;
        let _held = image.as_ref().map(Image::hold).transpose()?;
        let start = |jail: &JailPlan| {
            tell(jail, observer);
            start(jail)
        };
        match (&plan.source, &plan.jail) {
            (Source::There | Source::Ready(_), Some(jail)) => start(jail),
            _ => {
                let mut spec = plan.spec.clone();
                if let (RootSpec::Tree { dir, .. }, Some(image)) = (&mut spec.root, &image) {
                    image.root().clone_into(dir);
                }
                start(&plan_jail(&spec, &crate::probe::host(&spec))?)
            }
        }
    }

    /// Runs a jail in its control groups, if it has any.
    fn run_jail(
        &self,
        plan: &JailPlan,
        io: Io<'_>,
        observer: &dyn Observer,
    ) -> Result<Outcome, EngineError> {
        crate::cgroup::tell_of_missing(plan, observer);
        let groups = Groups::make(plan, Some(&self.store))?;
        Ok(crate::jail::run_in(plan, io, groups, None)?)
    }

    /// The images, newest first. One that cannot be read is left out and noted.
    pub fn images(&self, observer: &dyn Observer) -> Result<Vec<ImageInfo>, EngineError> {
        let (images, notes) = self.store.images()?;
        notes
            .into_iter()
            .for_each(|text| observer.event(Event::Note { text }));
        Ok(images)
    }

    /// Everything the store knows of one image.
    pub fn image_info(&self, reference: &Reference) -> Result<ImageInfo, EngineError> {
        let image = self.known(reference)?;
        Ok(self.store.info(image.digest())?)
    }

    /// What removing an image, or only a tag of several, takes. Refused while a named jail stands on the image.
    pub fn plan_rm_image(&self, reference: &Reference) -> Result<StepPlan, EngineError> {
        let image = self.known(reference)?;
        let title = format!("remove {}", crate::view::reference_text(reference));
        if let Reference::Tag(tag) = reference {
            // Of several names, only this one goes.
            if self.store.info(image.digest())?.tags.len() > 1 {
                let step = Step::Untag {
                    tag: tag.clone(),
                    path: self.store.tag_path(tag),
                };
                return Ok(StepPlan::new(title, vec![step]));
            }
        }
        Ok(StepPlan::new(
            title,
            self.store.plan_remove(image.digest())?,
        ))
    }

    /// Removes an image or a tag.
    pub fn rm_image(&self, plan: &StepPlan, _observer: &dyn Observer) -> Result<(), EngineError> {
        for step in plan.steps() {
            match step {
                Step::Untag { tag, .. } => self.store.untag(tag)?,
                Step::RemoveImage { image, .. } => self.store.remove_image(image)?,
                _ => {
                    return Err(EngineError::Foreign {
                        step: step.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Gives an image a further tag.
    pub fn tag(&self, image: &Digest, tag: &Tag) -> Result<(), EngineError> {
        Ok(self.store.label(image, std::slice::from_ref(tag), None)?)
    }

    /// What interrupted runs left, and what removing it takes.
    pub fn plan_recover(&self) -> Result<StepPlan, EngineError> {
        let nets = crate::recover::net_leftovers(&self.store)?;
        let left = crate::recover::leftovers(&self.store)?;
        let nets = nets.into_iter().map(|change| Step::Net { change });
        let left = left.into_iter().map(|path| Step::RemoveLeftover { path });
        Ok(StepPlan::new(
            "recover".to_owned(),
            nets.chain(left).collect(),
        ))
    }

    /// Removes what interrupted runs left.
    pub fn recover(&self, _plan: &StepPlan, observer: &dyn Observer) -> Result<(), EngineError> {
        // Not the plan's list but what is dead now: the living change in between.
        let (removed, errors) = crate::recover::recover(&self.store)?;
        for path in removed {
            observer.event(Event::Note {
                text: format!("removed {}", jaula_plan::explain::shown(&path)),
            });
        }
        errors
            .into_iter()
            .next()
            .map_or(Ok(()), |error| Err(StoreError::from(error).into()))
    }

    /// What a collection of garbage takes.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn plan_gc(&self, spec: &GcSpec) -> Result<GcPlan, EngineError> {
        Ok(self.store.plan_gc(spec)?)
    }

    /// Does it; not by an earlier plan, but for what nobody uses now.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn gc(&self, spec: &GcSpec) -> Result<GcPlan, EngineError> {
        Ok(self.store.gc(spec)?)
    }

    /// What this host allows, each probed by doing the real next step.
    pub fn doctor(&self) -> Vec<Gate> {
        crate::probe::gates(&self.config.store)
    }
}

/// Refuses a tree that says it is not finished.
fn finished(dir: &Path) -> Result<(), EngineError> {
    if jaula_sys::beneath::is_there(dir, crate::image::unfinished::FILE) {
        return Err(EngineError::Unfinished {
            what: jaula_plan::explain::shown(dir),
        });
    }
    Ok(())
}

/// Says aloud what a plan wants to be said.
fn tell(plan: &jaula_plan::jail::JailPlan, observer: &dyn Observer) {
    for text in &plan.notes {
        observer.event(Event::Note { text: text.clone() });
    }
}
