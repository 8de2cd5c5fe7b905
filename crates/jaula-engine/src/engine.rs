//! The engine: the verbs, in pairs `plan_x` and `x`.

use crate::error::EngineError;
use crate::event::{Event, Observer};
use crate::export::ExportTarget;
use crate::fetch::Proxies;
use crate::image::Way;
use crate::outcome::{Gate, Io, Outcome};
use crate::plan::{ImagePlan, RunPlan, StepPlan};
use crate::spec::{ExecSpec, NewSpec, RunSpec};
use crate::store::{Store, StoreError};
use crate::view::{Image, ImageInfo, Jail};
use jaula_plan::names::{Digest, JailName, Tag};
use jaula_plan::spec::rootfs::{ImageSpec, Reference};
use jaula_plan::step::Step;
use std::path::{Path, PathBuf};

/// How an engine is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl Config {
    /// Everything as usual, kept in this directory.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Self {
            store: store.into(),
            distros: None,
            offline: false,
            proxies: Proxies::default(),
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
    fn known(&self, reference: &Reference) -> Result<Image, EngineError> {
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

    /// How it was opened.
    pub fn config(&self) -> &Config {
        &self.config
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
        _spec: &RunSpec,
        _observer: &dyn Observer,
        _dry: Dry,
    ) -> Result<RunPlan, EngineError> {
        Err(EngineError::Absent { what: "running" })
    }

    /// Makes the image when it is missing, and runs the jail.
    pub fn run(
        &self,
        _plan: &RunPlan,
        _io: Io<'_>,
        _observer: &dyn Observer,
    ) -> Result<Outcome, EngineError> {
        Err(EngineError::Absent { what: "running" })
    }

    /// What making a named jail takes.
    pub fn plan_new(
        &self,
        _spec: &NewSpec,
        _observer: &dyn Observer,
        _dry: Dry,
    ) -> Result<StepPlan, EngineError> {
        Err(EngineError::Absent {
            what: "named jails",
        })
    }

    /// Makes a named jail.
    pub fn new_jail(
        &self,
        _plan: &StepPlan,
        _observer: &dyn Observer,
    ) -> Result<Jail, EngineError> {
        Err(EngineError::Absent {
            what: "named jails",
        })
    }

    /// What removing a named jail takes; a running one only when `force`.
    pub fn plan_rm_jail(&self, _name: &JailName, _force: bool) -> Result<StepPlan, EngineError> {
        Err(EngineError::Absent {
            what: "named jails",
        })
    }

    /// Removes a named jail.
    pub fn rm_jail(&self, _plan: &StepPlan, _observer: &dyn Observer) -> Result<(), EngineError> {
        Err(EngineError::Absent {
            what: "named jails",
        })
    }

    /// The named jails, by name. A jail whose settings cannot be read is left out and noted.
    pub fn jails(&self, observer: &dyn Observer) -> Result<Vec<Jail>, EngineError> {
        let (records, notes) = crate::named::records(&self.store)?;
        notes
            .into_iter()
            .for_each(|text| observer.event(Event::Note { text }));
        Ok(records
            .iter()
            .map(|record| record.view(&self.store))
            .collect())
    }

    /// One named jail.
    pub fn jail(&self, name: &JailName) -> Result<Jail, EngineError> {
        Ok(crate::named::record(&self.store, name)?.view(&self.store))
    }

    /// What running a program in a named jail takes.
    pub fn plan_exec(&self, _name: &JailName, _spec: &ExecSpec) -> Result<RunPlan, EngineError> {
        Err(EngineError::Absent {
            what: "named jails",
        })
    }

    /// Runs a program in a named jail; joins it when it runs already.
    pub fn exec(
        &self,
        _plan: &RunPlan,
        _io: Io<'_>,
        _observer: &dyn Observer,
    ) -> Result<Outcome, EngineError> {
        Err(EngineError::Absent {
            what: "named jails",
        })
    }

    /// What copying from the host into a jail takes.
    pub fn plan_copy_in(
        &self,
        _name: &JailName,
        _from: &Path,
        _to: &Path,
    ) -> Result<StepPlan, EngineError> {
        Err(EngineError::Absent {
            what: "named jails",
        })
    }

    /// Copies from the host into a jail.
    pub fn copy_in(&self, _plan: &StepPlan, _observer: &dyn Observer) -> Result<(), EngineError> {
        Err(EngineError::Absent {
            what: "named jails",
        })
    }

    /// What copying out of a jail takes.
    pub fn plan_copy_out(
        &self,
        _name: &JailName,
        _from: &Path,
        _to: &Path,
    ) -> Result<StepPlan, EngineError> {
        Err(EngineError::Absent {
            what: "named jails",
        })
    }

    /// Copies out of a jail.
    pub fn copy_out(&self, _plan: &StepPlan, _observer: &dyn Observer) -> Result<(), EngineError> {
        Err(EngineError::Absent {
            what: "named jails",
        })
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

    /// What writing an image as a directory or an archive takes.
    pub fn plan_export(
        &self,
        image: &Digest,
        target: &ExportTarget,
    ) -> Result<StepPlan, EngineError> {
        let image = self
            .store
            .image(image)?
            .ok_or(StoreError::NoImage { digest: *image })?;
        Ok(StepPlan::new(
            format!("export {}", image.digest()),
            vec![target.plan(image.root())?],
        ))
    }

    /// Writes an image as a directory or an archive.
    pub fn export(&self, plan: &StepPlan, observer: &dyn Observer) -> Result<(), EngineError> {
        for step in plan.steps() {
            let (Step::WriteArchive { root, path, .. } | Step::WriteDirectory { root, path }) =
                step
            else {
                return Err(EngineError::Foreign {
                    step: step.to_string(),
                });
            };
            // An image of the store lies beside its manifest, which says how new its files may be.
            let digest = root
                .parent()
                .and_then(Path::file_name)
                .and_then(|name| name.to_str()?.parse().ok());
            let image = digest.map_or(Ok(None), |digest| self.store.image(&digest))?;
            let held = image.as_ref().map(Image::hold).transpose()?;
            let info = image
                .map(|image| self.store.info(image.digest()))
                .transpose()?;
            let (clamp, size) = info.map_or((None, 0), |info| (Some(info.created), info.size));
            crate::export::export(
                &self.store,
                step,
                clamp.filter(|clamp| *clamp > 0),
                size,
                observer,
            )?;
            drop(held);
            if matches!(step, Step::WriteDirectory { .. }) && crate::session::ids().is_some() {
                let text = format!(
                    "files in {} that are not root's belong to your subordinate identifiers; remove them with: \
                     unshare --map-auto --map-root-user rm -r {}",
                    jaula_plan::explain::shown(path),
                    jaula_plan::explain::word(path)
                );
                observer.event(Event::Note { text });
            }
        }
        Ok(())
    }

    /// What interrupted runs left, and what removing it takes.
    pub fn plan_recover(&self) -> Result<StepPlan, EngineError> {
        let left = crate::recover::leftovers(&self.store)?;
        Ok(StepPlan::new(
            "recover".to_owned(),
            left.into_iter()
                .map(|path| Step::RemoveLeftover { path })
                .collect(),
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

    /// What this host allows, each probed by doing the real next step.
    pub fn doctor(&self) -> Vec<Gate> {
        Vec::new()
    }
}
