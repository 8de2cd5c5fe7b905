//! Small signed Debian repositories, written into a directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::deb::{Compression, Deb};
use crate::digest;
use crate::keys::TestKey;

/// Describes a repository; [`RepoBuilder::write`] makes it.
///
/// ```
/// use jaula_testkit::{DebBuilder, RepoBuilder, TestKey};
/// let key = TestKey::sound("archive").unwrap();
/// let dir = tempfile::tempdir().unwrap();
/// let repo = RepoBuilder::new("bookworm")
///     .package(DebBuilder::new("hello", "1.0").build().unwrap())
///     .write(dir.path(), &key)
///     .unwrap();
/// assert!(repo.dir.join("dists/bookworm/InRelease").is_file());
/// ```
#[derive(Clone, Debug)]
pub struct RepoBuilder {
    suite: String,
    codename: String,
    component: String,
    arch: String,
    more_archs: Vec<String>,
    date: u64,
    valid_until: Option<u64>,
    by_hash: bool,
    inline: bool,
    detached: bool,
    compressions: Vec<Compression>,
    fields: Vec<(String, String)>,
    packages: Vec<Deb>,
    flat: Option<String>,
}

/// A repository on disk.
#[derive(Clone, Debug)]
pub struct Repo {
    /// The directory that a mirror's address names.
    pub dir: PathBuf,
    /// The binary keyring that verifies it, beside [`Repo::dir`].
    pub keyring: PathBuf,
    /// The suite's directory name under `dists`.
    pub suite: String,
}

impl Repo {
    /// `file://` address of the repository.
    #[must_use]
    pub fn url(&self) -> String {
        format!("file://{}", self.dir.display())
    }

    /// A file of the suite: `repo.dists("main/binary-amd64/Packages.xz")`.
    #[must_use]
    pub fn dists(&self, path: &str) -> PathBuf {
        self.dir.join("dists").join(&self.suite).join(path)
    }
}

impl RepoBuilder {
    /// An empty amd64 repository of component `main`, dated now, valid for a week.
    #[must_use]
    pub fn new(suite: &str) -> Self {
        let now = now();
        RepoBuilder {
            suite: suite.into(),
            codename: suite.into(),
            component: "main".into(),
            arch: "amd64".into(),
            more_archs: Vec::new(),
            date: now,
            valid_until: Some(now + 7 * 86_400),
            by_hash: true,
            inline: true,
            detached: true,
            compressions: vec![Compression::None, Compression::Gzip, Compression::Xz],
            fields: Vec::new(),
            packages: Vec::new(),
            flat: None,
        }
    }

    /// Sets the codename when it is not the directory's name.
    #[must_use]
    pub fn codename(mut self, codename: &str) -> Self {
        self.codename = codename.into();
        self
    }

    /// Sets the one component.
    #[must_use]
    pub fn component(mut self, component: &str) -> Self {
        self.component = component.into();
        self
    }

    /// Sets the one architecture.
    #[must_use]
    pub fn arch(mut self, arch: &str) -> Self {
        self.arch = arch.into();
        self
    }

    /// Adds an index of another architecture. Each index then has the packages of its architecture and of `all`.
    #[must_use]
    pub fn also_arch(mut self, arch: &str) -> Self {
        self.more_archs.push(arch.into());
        self
    }

    /// Sets `Date`, in seconds since the epoch.
    #[must_use]
    pub fn date(mut self, seconds: u64) -> Self {
        self.date = seconds;
        self
    }

    /// Sets or removes `Valid-Until`, in seconds since the epoch.
    #[must_use]
    pub fn valid_until(mut self, seconds: Option<u64>) -> Self {
        self.valid_until = seconds;
        self
    }

    /// Leaves out the by-hash layout.
    #[must_use]
    pub fn without_by_hash(mut self) -> Self {
        self.by_hash = false;
        self
    }

    /// Leaves out `InRelease`: only `Release` and `Release.gpg` stay.
    #[must_use]
    pub fn without_inrelease(mut self) -> Self {
        self.inline = false;
        self
    }

    /// Leaves out `Release.gpg`.
    #[must_use]
    pub fn without_detached(mut self) -> Self {
        self.detached = false;
        self
    }

    /// Which forms of `Packages` exist.
    #[must_use]
    pub fn compressions(mut self, list: &[Compression]) -> Self {
        self.compressions = list.to_vec();
        self
    }

    /// Adds a field to `Release`.
    #[must_use]
    pub fn release_field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Adds a package.
    #[must_use]
    pub fn package(mut self, deb: Deb) -> Self {
        self.packages.push(deb);
        self
    }

    fn pool_path(&self, deb: &Deb) -> String {
        if let Some(directory) = &self.flat {
            return format!("{directory}{}", deb.file_name());
        }
        let letter = deb.name.get(..1).unwrap_or("x");
        format!(
            "pool/{}/{letter}/{}/{}",
            self.component,
            deb.name,
            deb.file_name()
        )
    }

    /// The text of `Packages`.
    #[must_use]
    pub fn packages_text(&self) -> String {
        self.packages_of(&self.arch)
    }

    fn packages_of(&self, arch: &str) -> String {
        self.packages
            .iter()
            .filter(|deb| self.more_archs.is_empty() || deb.arch == arch || deb.arch == "all")
            .map(|deb| {
                format!(
                    "{}\nFilename: {}\nSize: {}\nMD5sum: {}\nSHA256: {}\n\n",
                    deb.control,
                    self.pool_path(deb),
                    deb.bytes.len(),
                    digest::md5(&deb.bytes),
                    digest::sha256(&deb.bytes)
                )
            })
            .collect()
    }

    /// Writes the repository below `parent`: `parent/repo` and `parent/keyring.gpg`.
    ///
    /// # Errors
    /// When a file cannot be written or signed.
    pub fn write(&self, parent: &Path, key: &TestKey) -> Result<Repo> {
        let dir = parent.join("repo");
        for deb in &self.packages {
            put(&dir.join(self.pool_path(deb)), &deb.bytes)?;
        }
        let dists = dir.join("dists").join(&self.suite);
        let mut indices = BTreeMap::new();
        for arch in std::iter::once(&self.arch).chain(&self.more_archs) {
            let binary = format!("{}/binary-{arch}", self.component);
            let text = self.packages_of(arch);
            indices.insert(format!("{binary}/Packages"), text.clone().into_bytes());
            for compression in &self.compressions {
                let name = format!("{binary}/Packages{}", compression.suffix());
                let bytes = compression.compress(text.as_bytes())?;
                put(&dists.join(&name), &bytes)?;
                if self.by_hash {
                    let place = format!("{binary}/by-hash/SHA256/{}", digest::sha256(&bytes));
                    put(&dists.join(place), &bytes)?;
                }
                indices.insert(name, bytes);
            }
        }
        let release = self.release_text(&indices);
        put(&dists.join("Release"), release.as_bytes())?;
        if self.inline {
            put(
                &dists.join("InRelease"),
                key.clearsign(&release)?.as_bytes(),
            )?;
        }
        if self.detached {
            put(
                &dists.join("Release.gpg"),
                key.detach(release.as_bytes())?.as_bytes(),
            )?;
        }
        let keyring = parent.join("keyring.gpg");
        put(&keyring, &key.keyring()?)?;
        Ok(Repo {
            dir,
            keyring,
            suite: self.suite.clone(),
        })
    }

    /// Writes a flat repository below `parent`, in `directory` of it (`./` or `debs/`): `Packages` beside the packages,
    /// and a `Release` where there is a key.
    ///
    /// # Errors
    /// When a file cannot be written or signed.
    pub fn write_flat(
        mut self,
        parent: &Path,
        key: Option<&TestKey>,
        directory: &str,
    ) -> Result<Repo> {
        self.flat = Some(directory.to_owned());
        self.by_hash = false;
        let dir = parent.join("repo");
        let place = dir.join(directory);
        for deb in &self.packages {
            put(&dir.join(self.pool_path(deb)), &deb.bytes)?;
        }
        let mut indices = BTreeMap::new();
        for compression in &self.compressions {
            let name = format!("Packages{}", compression.suffix());
            let bytes = compression.compress(self.packages_text().as_bytes())?;
            put(&place.join(&name), &bytes)?;
            indices.insert(name, bytes);
        }
        let keyring = parent.join("keyring.gpg");
        if let Some(key) = key {
            let release = self.release_text(&indices);
            put(
                &place.join("InRelease"),
                key.clearsign(&release)?.as_bytes(),
            )?;
            put(&keyring, &key.keyring()?)?;
        }
        Ok(Repo {
            dir,
            keyring,
            suite: directory.to_owned(),
        })
    }

    fn release_text(&self, indices: &BTreeMap<String, Vec<u8>>) -> String {
        let mut text = format!(
            "Origin: Debian\nLabel: Debian\nSuite: {}\nCodename: {}\nDate: {}\n",
            self.suite,
            self.codename,
            rfc_date(self.date)
        );
        if let Some(seconds) = self.valid_until {
            text.push_str(&format!("Valid-Until: {}\n", rfc_date(seconds)));
        }
        if self.by_hash {
            text.push_str("Acquire-By-Hash: yes\n");
        }
        text.push_str(&format!(
            "Architectures: {}\nComponents: {}\n",
            std::iter::once(&self.arch)
                .chain(&self.more_archs)
                .cloned()
                .collect::<Vec<_>>()
                .join(" "),
            self.component
        ));
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push_str("SHA256:\n");
        for (name, bytes) in indices {
            text.push_str(&format!(
                " {} {:>8} {name}\n",
                digest::sha256(bytes),
                bytes.len()
            ));
        }
        text
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// Now, in seconds since the epoch.
#[must_use]
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A date as `Release` files write it (RFC 2822 with the zone name UTC).
#[must_use]
pub fn rfc_date(seconds: u64) -> String {
    const WEEK: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const YEAR: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let days = seconds / 86_400;
    let clock = seconds % 86_400;
    // Days to civil date after Howard Hinnant's algorithm, era by era.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 {
        month_shifted + 3
    } else {
        month_shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} UTC",
        WEEK[(days % 7) as usize],
        YEAR[(month - 1) as usize],
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deb::DebBuilder;
    use std::process::Command;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc_date(0), "Thu, 01 Jan 1970 00:00:00 UTC");
        assert_eq!(rfc_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 UTC");
        assert_eq!(rfc_date(1_798_761_599), "Thu, 31 Dec 2026 23:59:59 UTC");
    }

    /// apt itself reads the repository, checks the signature and sees the package.
    #[test]
    fn apt_accepts_the_repository() {
        if Command::new("apt-get").arg("--version").output().is_err() {
            crate::skip!("apt is not installed");
        }
        let key = TestKey::with_subkey("archive").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let deb = DebBuilder::new("probe", "1.0").file("usr/share/probe", "x", 0o644);
        let repo = RepoBuilder::new("bookworm")
            .package(deb.build().unwrap())
            .write(dir.path(), &key)
            .unwrap();
        let apt = crate::mirror::PrivateApt::new(
            dir.path(),
            &repo.url(),
            "bookworm",
            "main",
            &repo.keyring,
            "amd64",
        )
        .unwrap();
        apt.update().unwrap();
        let found = apt.uris(&["probe"]).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0]
                .url
                .ends_with("pool/main/p/probe/probe_1.0_amd64.deb"),
            "{found:?}"
        );

        let other = TestKey::sound("stranger").unwrap();
        std::fs::write(&repo.keyring, other.keyring().unwrap()).unwrap();
        assert!(apt.update().is_err(), "a stranger's key must not verify");
    }
}
