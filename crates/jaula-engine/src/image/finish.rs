//! The engine's verb that finishes what was unpacked only.

use super::unfinished::{self, Unfinished};
use super::{BuildError, foreign};
use crate::configure::in_jail;
use crate::engine::Engine;
use crate::error::{At, EngineError};
use crate::event::{Event, Observer};
use crate::export::{CopyOptions, copy_tree};
use crate::named::Record;
use crate::plan::Preview;
use crate::store::{Begin, Manifest};
use crate::view::Image;
use jaula_plan::explain::{ExplainLine, shown, word};
use jaula_plan::names::{Digest, JailName, Tag};
use jaula_plan::spec::rootfs::Reference;
use jaula_sys::dir::Dir;
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};

/// What is finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishSpec {
    /// The image that a named jail stands on; the jail stands on the finished one then.
    Jail(JailName),
    /// An image, or a directory.
    Reference(Reference),
}

/// What finishing takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishPlan {
    what: What,
    left: Unfinished,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Directory(PathBuf),
    Image {
        image: Image,
        digest: Digest,
        jail: Option<Box<Record>>,
    },
}

/// What was finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// A directory, in place.
    Directory(PathBuf),
    /// A new image.
    Image(Image),
}

impl FinishPlan {
    fn root(&self) -> &Path {
        match &self.what {
            What::Directory(path) => path,
            What::Image { image, .. } => image.root(),
        }
    }
}

impl fmt::Display for FinishPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Directory(path) => writeln!(f, "finish {} in place", shown(path))?,
            What::Image { image, digest, .. } => writeln!(
                f,
                "finish image {}: a copy of it becomes image {digest}",
                image.digest()
            )?,
        }
        writeln!(
            f,
            "  1. run {} preinst scripts and dpkg --configure in a jail without network",
            self.left.preinsts.len()
        )?;
        writeln!(
            f,
            "  2. remove what only one run has: logs, caches, times later than the archive's"
        )?;
        match &self.what {
            What::Directory(_) => Ok(()),
            What::Image { jail, .. } => {
                writeln!(f, "  3. put the tree into the store")?;
                match jail {
                    Some(jail) => writeln!(f, "  4. let jail {} stand on it", jail.name),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Preview for FinishPlan {
    fn to_json(&self) -> Value {
        let (image, digest) = match &self.what {
            What::Directory(_) => (None, None),
            What::Image { image, digest, .. } => (Some(image.digest()), Some(digest)),
        };
        json!({
            "version": 1,
            "root": self.root().to_string_lossy(),
            "image": image,
            "digest": digest,
            "architecture": self.left.arch,
            "preinsts": self.left.preinsts.len(),
        })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        let root = word(self.root());
        vec![ExplainLine::new(
            format!("chroot {root} dpkg --configure --pending"),
            "configure what was unpacked only; jaula runs the preinsts before, in the order it unpacked the packages, and all of it in a jail",
        )]
    }
}

impl Engine {
    /// What finishing an image or a directory takes.
    ///
    /// # Errors
    /// There is nothing to finish, or its programs do not run here.
    pub fn plan_finish(&self, spec: &FinishSpec) -> Result<FinishPlan, EngineError> {
        let (what, named) = match spec {
            FinishSpec::Jail(name) => {
                let record = crate::named::record(self.store(), name)?;
                let Some(digest) = record.image else {
                    let path = record.directory.clone().unwrap_or_default();
                    return self.plan_finish(&FinishSpec::Reference(Reference::Directory(path)));
                };
                let image = self.known(&Reference::Digest(digest))?;
                (
                    self.unfinished_image(image, Some(record))?,
                    name.to_string(),
                )
            }
            FinishSpec::Reference(Reference::Directory(path)) => {
                let path = crate::import::directory(path)?;
                if self.store().holds_image(&path) {
                    return Err(EngineError::BadReference {
                        reference: shown(&path),
                        why: "it is an image of the store, and an image is never written",
                    });
                }
                let named = shown(&path);
                (What::Directory(path), named)
            }
            FinishSpec::Reference(reference) => {
                let image = self.known(reference)?;
                (
                    self.unfinished_image(image, None)?,
                    crate::view::reference_text(reference),
                )
            }
        };
        let root = match &what {
            What::Directory(path) => path,
            What::Image { image, .. } => image.root(),
        };
        let left = unfinished::note(root)?.ok_or(BuildError::NothingLeft { what: named })?;
        if let Some(error) = foreign::refuse(&left.arch) {
            return Err(BuildError::from(error).into());
        }
        Ok(FinishPlan { what, left })
    }

    fn unfinished_image(&self, image: Image, jail: Option<Record>) -> Result<What, EngineError> {
        let manifest = self.store().manifest(&image)?;
        let digest = manifest.unfinished.and_then(|digest| digest.parse().ok());
        let Some(digest) = digest else {
            return Err(BuildError::NothingLeft {
                what: image.digest().to_string(),
            }
            .into());
        };
        Ok(What::Image {
            image,
            digest,
            jail: jail.map(Box::new),
        })
    }

    /// Finishes it. The caller must have one thread, since jails are started.
    ///
    /// # Errors
    /// A script failed: then no image was made; a directory is as far as the scripts came, and can be finished again.
    pub fn finish(
        &self,
        plan: &FinishPlan,
        tags: &[Tag],
        observer: &dyn Observer,
    ) -> Result<Finished, EngineError> {
        match &plan.what {
            What::Directory(path) => {
                unfinished::complete(path, &plan.left, &mut in_jail, observer)?;
                observer.event(Event::Made {
                    what: "directory",
                    path: path.clone(),
                });
                Ok(Finished::Directory(path.clone()))
            }
            What::Image {
                image,
                digest,
                jail,
            } => {
                let made = self.finish_image(plan, image, digest, tags, observer)?;
                if let Some(record) = jail {
                    let mut record = Record::clone(record);
                    record.image = Some(*made.digest());
                    crate::named::rewrite(self.store(), &record)?;
                }
                Ok(Finished::Image(made))
            }
        }
    }

    fn finish_image(
        &self,
        plan: &FinishPlan,
        image: &Image,
        digest: &Digest,
        tags: &[Tag],
        observer: &dyn Observer,
    ) -> Result<Image, EngineError> {
        let store = self.store();
        let _held = image.hold()?;
        let stage = match store.begin(digest)? {
            Begin::Ready(ready) => {
                store.label(digest, tags, None)?;
                return Ok(ready);
            }
            Begin::Stage(stage) => stage,
        };
        let fill = || {
            let (from, to) = (image.root(), stage.root());
            let source = Dir::open(from).at("open", from)?;
            let target = Dir::open(to).at("open", to)?;
            let quiet = |_: u64, _: u64, _: &Path| {};
            copy_tree(&source, from, &target, to, &CopyOptions::default(), &quiet)?;
            Ok::<_, EngineError>(unfinished::complete(
                to,
                &plan.left,
                &mut in_jail,
                observer,
            )?)
        };
        let size = match fill() {
            Ok(size) => size,
            Err(error) => {
                stage.abandon()?;
                return Err(error);
            }
        };
        let manifest = Manifest {
            size,
            unfinished: None,
            ..store.manifest(image)?
        };
        let lock = store.lock_text(image.digest())?;
        let made = stage.publish(*digest, &lock, &manifest, tags, None)?;
        observer.event(Event::Made {
            what: "image",
            path: made.root().to_owned(),
        });
        Ok(made)
    }
}
