//! Writing images out of the store.

use super::Engine;
use crate::diff::Diff;
use crate::error::{At, EngineError};
use crate::event::{Event, Observer};
use crate::export::{About, DevDir, ExportTarget, export_to};
use crate::plan::StepPlan;
use crate::sbom::Contents;
use crate::store::StoreError;
use crate::view::Image;
use jaula_plan::names::Digest;
use jaula_plan::output::OutputKind;
use jaula_plan::spec::rootfs::Reference;
use jaula_plan::step::Step;
use std::io::Write;
use std::path::{Path, PathBuf};

impl Engine {
    fn there(&self, image: &Digest) -> Result<Image, EngineError> {
        let found = self.store.image(image)?;
        Ok(found.ok_or(StoreError::NoImage { digest: *image })?)
    }

    /// What writing an image as a directory, an archive or another image takes.
    pub fn plan_export(
        &self,
        image: &Digest,
        target: &ExportTarget,
    ) -> Result<StepPlan, EngineError> {
        let image = self.there(image)?;
        Ok(StepPlan::new(
            format!("export {}", image.digest()),
            vec![target.plan(image.root())?],
        ))
    }

    /// What is known of an image's tree.
    fn about(&self, image: &Image) -> Result<About, EngineError> {
        let info = self.store.info(image.digest())?;
        let arch = match info.arch.is_empty() {
            true => crate::sbom::architecture(image.root()),
            false => info.arch,
        };
        Ok(About {
            newest: Some(info.created).filter(|newest| *newest > 0),
            size: info.size,
            arch,
            dev: DevDir::AsItIs,
        })
    }

    /// Writes an image as a plan says.
    pub fn export(&self, plan: &StepPlan, observer: &dyn Observer) -> Result<(), EngineError> {
        self.export_as(plan, DevDir::AsItIs, None, observer)
    }

    /// [`Self::export`], with this in `/dev` of images of file systems, and with no time later than this one: seconds
    /// since 1970.
    ///
    /// # Errors
    /// As there.
    pub fn export_as(
        &self,
        plan: &StepPlan,
        dev: DevDir,
        newest: Option<i64>,
        observer: &dyn Observer,
    ) -> Result<(), EngineError> {
        for step in plan.steps() {
            let (Step::WriteArchive { root, path, .. }
            | Step::WriteImage { root, path, .. }
            | Step::WriteDirectory { root, path }) = step
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
            let about = image.as_ref().map(|image| self.about(image)).transpose()?;
            let mut about = about.unwrap_or_default();
            about.dev = dev;
            about.newest = about.newest.into_iter().chain(newest).min();
            crate::export::export(&self.store, step, &about, observer)?;
            drop(held);
            let mapped = crate::session::ids().is_some() && !crate::session::is_bare();
            if matches!(step, Step::WriteDirectory { .. }) && mapped {
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

    /// What an image of the store, a directory or an archive is made of.
    pub fn contents(
        &self,
        reference: &Reference,
        observer: &dyn Observer,
    ) -> Result<Contents, EngineError> {
        let (tree, image) = self.tree(reference, observer)?;
        let Some(image) = image else {
            return Ok(Contents::read(&tree, Contents::default(), None)?);
        };
        let _held = image.hold()?;
        let info = self.store.info(image.digest())?;
        let known = Contents {
            distro: info.distro,
            suite: info.suite,
            arch: info.arch,
            created: info.created,
            packages: Vec::new(),
        };
        // An image without a lock has no hashes.
        let lock = std::fs::read_to_string(image.dir().join("lock")).ok();
        Ok(Contents::read(&tree, known, lock.as_deref())?)
    }

    /// Writes a text to a file, whole or not at all.
    pub fn put(&self, path: &Path, text: &str, observer: &dyn Observer) -> Result<(), EngineError> {
        Ok(crate::export::put(&self.store, path, text, observer)?)
    }

    /// The tree that a reference names: a directory as it is, an archive taken into the store, an image.
    fn tree(
        &self,
        reference: &Reference,
        observer: &dyn Observer,
    ) -> Result<(PathBuf, Option<Image>), EngineError> {
        let image = match reference {
            Reference::Directory(path) => return Ok((crate::import::directory(path)?, None)),
            Reference::Archive(path) => match crate::import::find(&self.store, path)? {
                Some(image) => image,
                None => crate::import::plan(path)?.import(&self.store, &[], observer)?,
            },
            _ => self.known(reference)?,
        };
        Ok((image.root().to_owned(), Some(image)))
    }

    /// What differs between two trees. With `packages_only` no file is looked at.
    pub fn diff(
        &self,
        a: &Reference,
        b: &Reference,
        packages_only: bool,
        observer: &dyn Observer,
    ) -> Result<Diff, EngineError> {
        let ((one, image), (two, other)) = (self.tree(a, observer)?, self.tree(b, observer)?);
        let _held = [image, other]
            .iter()
            .flatten()
            .map(Image::hold)
            .collect::<Result<Vec<_>, _>>()?;
        crate::diff::diff(&one, &two, packages_only)
    }

    /// Writes an image into a pipe, as an archive.
    ///
    /// # Errors
    /// For kinds that need a file, and when something cannot be read or written.
    pub fn export_to<W: Write>(
        &self,
        image: &Digest,
        kind: OutputKind,
        out: W,
        observer: &dyn Observer,
    ) -> Result<(), EngineError> {
        let image = self.there(image)?;
        let held = image.hold()?;
        let about = self.about(&image)?;
        let target = Path::new("standard output");
        let mut out = export_to(image.root(), kind, &about, out, target, observer)?;
        out.flush().at("write", target)?;
        drop(held);
        Ok(())
    }
}
