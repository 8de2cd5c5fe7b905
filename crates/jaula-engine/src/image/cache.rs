//! Packages in a directory of the user's, under the names that apt and debootstrap(8) give them.

use super::plan::ImagePlan;
use crate::engine::Engine;
use crate::error::{At, EngineError};
use crate::unpack::HashReader;
use jaula_repo::lock::LockPackage;
use jaula_sys::dir::Dir;
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

/// `NAME_VERSION_ARCH.deb`, the first colon of the version as `%3a`.
pub fn deb_name(package: &LockPackage) -> String {
    let LockPackage {
        name,
        version,
        arch,
        ..
    } = package;
    format!("{name}_{version}_{arch}.deb").replacen(':', "%3a", 1)
}

impl Engine {
    /// Takes packages of a plan that the store lacks from a directory, those whose bytes are the right ones; how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn take_packages(&self, plan: &ImagePlan, dir: &Path) -> Result<usize, EngineError> {
        let store = self.store();
        let mut taken = 0;
        for package in &plan.lock().packages {
            if store.package(&package.sha256).is_some() {
                continue;
            }
            let path = dir.join(deb_name(package));
            let Ok(file) = File::open(&path) else {
                continue;
            };
            let part = store.partial_path(&package.sha256)?;
            let mut reader = HashReader::new(file);
            let mut out = File::create(&part).at("create", &part)?;
            std::io::copy(&mut reader, &mut out).at("copy", &path)?;
            let (_, sha256) = reader.finish().at("read", &path)?;
            if sha256 == package.sha256 {
                store.keep_package(&package.sha256)?;
                taken += 1;
            } else {
                std::fs::remove_file(&part).at("remove", &part)?;
            }
        }
        Ok(taken)
    }

    /// The text of an index with the packages of one source of a plan, which were fetched: their control fields, and
    /// where the archive has them.
    ///
    /// # Errors
    /// When a package cannot be read.
    pub fn index_text(&self, plan: &ImagePlan, source: usize) -> Result<String, EngineError> {
        let mut text = String::new();
        let of_source = |package: &&LockPackage| package.source == source;
        for package in plan.lock().packages.iter().filter(of_source) {
            let path = self.store().package_path(&package.sha256);
            let file = File::open(&path).at("read", &path)?;
            let (control, _) = jaula_repo::deb::archive::open(BufReader::new(file))
                .map_err(std::io::Error::other)
                .at("read", &path)?;
            text.push_str(control.text().trim_end());
            text.push_str(&format!(
                "\nFilename: {}\nSize: {}\nSHA256: {}\n\n",
                package.path,
                package.size,
                jaula_repo::hex::encode(&package.sha256)
            ));
        }
        Ok(text)
    }

    /// Copies the packages of a plan, which were fetched, into a directory beneath `tree`, or into `tree` itself; what it
    /// has stays. A link on the way leads to what it leads to inside.
    ///
    /// # Errors
    /// When a package cannot be read, or the directory not be written.
    pub fn lay_packages(
        &self,
        plan: &ImagePlan,
        tree: &Path,
        beneath: Option<&Path>,
    ) -> Result<(), EngineError> {
        let shown = beneath.map_or_else(|| tree.to_owned(), |inner| tree.join(inner));
        let mut dir = Dir::open(tree).at("open", tree)?;
        if let Some(inner) = beneath {
            let inner = Path::new("/").join(inner);
            dir = dir.open_dir_in_root(&inner).at("open", &shown)?;
        }
        for package in &plan.lock().packages {
            let (from, name) = (
                self.store().package_path(&package.sha256),
                deb_name(package),
            );
            let to = shown.join(&name);
            let mut out = match dir.create_file(&name, 0o644) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                other => other.at("create", &to)?,
            };
            let mut file = File::open(&from).at("read", &from)?;
            std::io::copy(&mut file, &mut out).at("copy", &from)?;
        }
        Ok(())
    }
}
