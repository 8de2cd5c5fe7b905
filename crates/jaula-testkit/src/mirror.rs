//! A real, signed, partial mirror of a Debian suite: the archive's own `InRelease` and indices,
//! and just the packages that a test or a benchmark needs.
//!
//! It is made once with the host's own APT (its mirror, its keyring, its proxies) and kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::digest;

/// The variable that names the directory mirrors are kept in.
pub const CACHE: &str = "JAULA_TEST_CACHE";
/// The variable that names another mirror than the host's.
pub const MIRROR: &str = "JAULA_TEST_MIRROR";

/// How much of the suite is wanted, beside the named packages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// `Essential: yes` and what that needs.
    Essential,
    /// The same, `Priority: required` and apt.
    #[default]
    Minbase,
    /// The same and `Priority: important`: what debootstrap makes by default.
    Important,
    /// The same and `Priority: standard`.
    Standard,
}

impl std::str::FromStr for Variant {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "essential" => Variant::Essential,
            "minbase" => Variant::Minbase,
            "important" => Variant::Important,
            "standard" => Variant::Standard,
            other => bail!("no variant {other}: essential, minbase, important or standard"),
        })
    }
}

impl std::fmt::Display for Variant {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Variant::Essential => "essential",
            Variant::Minbase => "minbase",
            Variant::Important => "important",
            Variant::Standard => "standard",
        })
    }
}

/// What a partial mirror shall hold.
#[derive(Clone, Debug)]
pub struct MirrorWish {
    /// Suite, by default `bookworm`.
    pub suite: String,
    /// Architecture, by default `amd64`.
    pub arch: String,
    /// The base set.
    pub variant: Variant,
    /// Further packages with all they depend on.
    pub include: Vec<String>,
}

impl Default for MirrorWish {
    fn default() -> Self {
        MirrorWish {
            suite: "bookworm".into(),
            arch: "amd64".into(),
            variant: Variant::Minbase,
            include: Vec::new(),
        }
    }
}

/// Where an archive is and what verifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Address without a closing slash.
    pub url: String,
    /// Keyring file.
    pub keyring: PathBuf,
}

/// A file that APT would fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Full address.
    pub url: String,
    /// Bytes.
    pub size: u64,
    /// Lower-case hexadecimal SHA-256; empty where APT names another hash.
    pub sha256: String,
}

/// The directory of the mirror for tests: minbase of bookworm and `include`, made when it is not
/// there yet. Several tests may call this at once.
///
/// # Errors
/// When the host has no APT or its mirror cannot be reached: skip the test with that reason.
pub fn partial_mirror(include: &[&str]) -> Result<PathBuf> {
    let wish = MirrorWish {
        include: include.iter().map(|&name| name.to_owned()).collect(),
        ..MirrorWish::default()
    };
    let dir = cache_dir()?.join(format!("mirror-{}", wish.suite));
    make_mirror(&dir, &wish)?;
    Ok(dir)
}

/// A single package file of bookworm for an architecture, fetched with the host's APT when it is not in the cache.
///
/// # Errors
/// When the host has no APT, its mirror cannot be reached, or there is no such package.
pub fn package_file(name: &str, arch: &str) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let dir = cache.join(format!("packages-{arch}"));
    let place = dir.join(format!("{name}.deb"));
    if place.is_file() {
        return Ok(place);
    }
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let lock = fs::File::create(dir.join(".lock"))?;
    lock.lock().context("lock the packages")?;
    if place.is_file() {
        return Ok(place);
    }
    let archive = host_archive("bookworm", arch);
    let state = tempfile::tempdir()?;
    let keyring = &archive.keyring;
    let apt = PrivateApt::new(
        state.path(),
        &archive.url,
        "bookworm",
        "main",
        keyring,
        arch,
    )?;
    apt.update()?;
    let wanted = apt.uris(&[name])?;
    let found = wanted.into_iter().find(|file| {
        let last = file.url.rsplit('/').next().unwrap_or_default();
        last.starts_with(&format!("{name}_"))
    });
    let found = found.with_context(|| format!("APT has no {name} for {arch}"))?;
    download(&[(found.url, place.clone(), found.sha256)])?;
    Ok(place)
}

/// Where mirrors are kept: [`CACHE`], else `test-cache` in the build directory.
///
/// # Errors
/// When the running program is not below a build directory.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os(CACHE) {
        return Ok(dir.into());
    }
    let program = std::env::current_exe()?;
    let marked = program
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file());
    let target =
        marked.context("the program is not below a build directory; set JAULA_TEST_CACHE")?;
    Ok(target.join("test-cache"))
}

/// Adds to the mirror in `dir` what `wish` needs and it lacks.
///
/// Layout: `dists/SUITE/{InRelease,Release,Release.gpg,main/binary-ARCH/{Packages.xz,Packages.gz,
/// by-hash/SHA256/…}}`, `pool/…`, `keyring.gpg`. A stamp of what was completed makes a second call
/// free.
///
/// # Errors
/// When APT is missing, the archive cannot be reached, or a file's hash is wrong.
pub fn make_mirror(dir: &Path, wish: &MirrorWish) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let lock = fs::File::create(dir.join(".lock"))?;
    lock.lock().context("lock the mirror")?;
    let stamps = dir.join(".made");
    let made = fs::read_to_string(&stamps).unwrap_or_default();
    if made.lines().any(|line| satisfies(line, wish)) {
        return Ok(());
    }
    let archive = host_archive(&wish.suite, &wish.arch);
    let state = tempfile::tempdir()?;
    let apt = PrivateApt::new(
        state.path(),
        &archive.url,
        &wish.suite,
        "main",
        &archive.keyring,
        &wish.arch,
    )?;
    apt.update()?;
    refresh_indices(dir, wish, &archive, &apt)?;
    let packages = wanted_packages(&apt, wish)?;
    fetch_packages(dir, &archive, &packages)?;
    fs::copy(&archive.keyring, dir.join("keyring.gpg"))
        .with_context(|| archive.keyring.display().to_string())?;
    fs::write(&stamps, format!("{made}{}\n", stamp(wish)))?;
    Ok(())
}

/// What was completed, as one line.
fn stamp(wish: &MirrorWish) -> String {
    let mut line = format!("{} {} {}", wish.suite, wish.arch, wish.variant);
    for name in &wish.include {
        line.push(' ');
        line.push_str(name);
    }
    line
}

/// Whether what a stamp says was completed holds all of `wish`.
fn satisfies(stamp: &str, wish: &MirrorWish) -> bool {
    let mut words = stamp.split(' ');
    let same = words.next() == Some(&wish.suite) && words.next() == Some(&wish.arch);
    let variant = words.next().and_then(|word| word.parse::<Variant>().ok());
    let included: BTreeSet<&str> = words.collect();
    same && variant.is_some_and(|made| made >= wish.variant)
        && wish
            .include
            .iter()
            .all(|name| included.contains(name.as_str()))
}

/// The archive that the host's own APT uses for `suite`, else Debian's own address.
#[must_use]
pub fn host_archive(suite: &str, arch: &str) -> Archive {
    let usual = PathBuf::from("/usr/share/keyrings/debian-archive-keyring.gpg");
    if let Some(url) = std::env::var_os(MIRROR) {
        let url = url.to_string_lossy().trim_end_matches('/').to_owned();
        return Archive {
            url,
            keyring: usual,
        };
    }
    let listed = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ARCHITECTURE)|$(SIGNED_BY)",
        ])
        .arg("Created-By: Packages")
        .output();
    let text = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    for line in text.unwrap_or_default().lines() {
        let fields: Vec<&str> = line.split('|').collect();
        if let [url, release, "main", known, keyring] = fields[..]
            && release == suite
            && known == arch
            && url.starts_with("http")
        {
            let keyring = if keyring.starts_with('/') {
                keyring.into()
            } else {
                usual
            };
            return Archive {
                url: url.trim_end_matches('/').into(),
                keyring,
            };
        }
    }
    Archive {
        url: "http://deb.debian.org/debian".into(),
        keyring: usual,
    }
}

/// APT with its own lists, its own empty status and one source: it never reads or changes the
/// host's state, apart from the host's proxy settings.
#[derive(Debug)]
pub struct PrivateApt {
    root: PathBuf,
    arch: String,
}

impl PrivateApt {
    /// Prepares the directories below `parent/apt`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn new(
        parent: &Path,
        url: &str,
        suite: &str,
        component: &str,
        keyring: &Path,
        arch: &str,
    ) -> Result<Self> {
        let root = parent.join("apt");
        for part in [
            "lists/partial",
            "cache/archives/partial",
            "sources.d",
            "trusted.d",
            "prefs.d",
        ] {
            fs::create_dir_all(root.join(part))?;
        }
        fs::write(root.join("status"), "")?;
        fs::write(
            root.join("sources.list"),
            format!(
                "deb [signed-by={}] {url} {suite} {component}\n",
                keyring.display()
            ),
        )?;
        Ok(PrivateApt {
            root,
            arch: arch.into(),
        })
    }

    /// One more line of sources.list(5).
    pub(crate) fn add_source(&self, line: &str) -> Result<()> {
        let path = self.root.join("sources.list");
        let text = fs::read_to_string(&path)?;
        Ok(fs::write(path, format!("{text}{line}\n"))?)
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        let place = |part: &str| self.root.join(part).display().to_string();
        let options = [
            format!("Dir::State={}", self.root.display()),
            format!("Dir::State::Lists={}", place("lists")),
            format!("Dir::State::status={}", place("status")),
            format!("Dir::Cache={}", place("cache")),
            format!("Dir::Etc::SourceList={}", place("sources.list")),
            format!("Dir::Etc::SourceParts={}", place("sources.d")),
            format!("Dir::Etc::TrustedParts={}", place("trusted.d")),
            format!("Dir::Etc::PreferencesParts={}", place("prefs.d")),
            "Dir::Etc::Preferences=/dev/null".into(),
            "Dir::Log=/dev/null".into(),
            format!("APT::Architecture={}", self.arch),
            format!("APT::Architectures={}", self.arch),
            "APT::Sandbox::User=".into(),
            "APT::Install-Recommends=false".into(),
            "APT::Update::Post-Invoke=".into(),
            "APT::Update::Error-Mode=any".into(),
            "Acquire::Languages=none".into(),
            "Acquire::GzipIndexes=false".into(),
            "Acquire::Check-Valid-Until=true".into(),
            "Debug::NoLocking=true".into(),
        ];
        for option in options {
            command.args(["-o", &option]);
        }
        command.env("LC_ALL", "C.UTF-8");
        command
    }

    /// Fetches and verifies the indices.
    ///
    /// # Errors
    /// APT's own message.
    pub fn update(&self) -> Result<()> {
        let output = self
            .command()
            .args(["-q", "update"])
            .output()
            .context("apt-get")?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "apt-get update: {}", text.trim());
        // A bad signature is only a warning to APT when older lists are there.
        ensure!(
            !text.contains("\nW:") && !text.starts_with("W:"),
            "apt-get update: {}",
            text.trim()
        );
        Ok(())
    }

    /// The verified indices: files whose names end with `suffix`.
    fn list(&self, suffix: &str) -> Result<PathBuf> {
        let dir = self.root.join("lists");
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(suffix) {
                return Ok(path);
            }
        }
        bail!("APT kept no {suffix}")
    }

    /// What APT would fetch to install `names` into an empty system.
    ///
    /// # Errors
    /// When APT finds no solution.
    pub fn uris<N: AsRef<str>>(&self, names: &[N]) -> Result<Vec<Wanted>> {
        let output = self
            .command()
            .args([
                "-q",
                "--print-uris",
                "-y",
                "--allow-remove-essential",
                "install",
                "--",
            ])
            .args(names.iter().map(AsRef::as_ref))
            .output()
            .context("apt-get")?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "apt-get install: {}", text.trim());
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(parse_uri)
            .collect())
    }
}

/// One line of `--print-uris`: `'URL' FILE SIZE SHA256:HEX`.
fn parse_uri(line: &str) -> Option<Wanted> {
    let (url, rest) = line.strip_prefix('\'')?.split_once('\'')?;
    let mut words = rest.split_whitespace().skip(1);
    let size = words.next()?.parse().ok()?;
    let hash = words.next().unwrap_or_default();
    Some(Wanted {
        url: url.into(),
        size,
        sha256: hash.strip_prefix("SHA256:").unwrap_or_default().into(),
    })
}

/// Copies the archive's signed files; packages stay, so older ones may linger unlisted.
fn refresh_indices(
    dir: &Path,
    wish: &MirrorWish,
    archive: &Archive,
    apt: &PrivateApt,
) -> Result<()> {
    let dists = dir.join("dists").join(&wish.suite);
    let binary = dists.join(format!("main/binary-{}", wish.arch));
    let by_hash = binary.join("by-hash/SHA256");
    fs::create_dir_all(&by_hash)?;
    let inrelease = fs::read_to_string(apt.list("_InRelease")?)?;
    let remote = format!("{}/dists/{}", archive.url, wish.suite);
    for name in ["Packages.xz", "Packages.gz"] {
        let path = format!("main/binary-{}/{name}", wish.arch);
        let Some(hash) = listed_hash(&inrelease, &path) else {
            continue;
        };
        let url = format!("{remote}/main/binary-{}/by-hash/SHA256/{hash}", wish.arch);
        let place = binary.join(name);
        download(&[(url, place.clone(), hash.clone())])?;
        fs::copy(&place, by_hash.join(&hash))?;
    }
    fs::write(dists.join("InRelease"), &inrelease)?;
    // Release and Release.gpg are another signature of the same text; not every mirror has them.
    for name in ["Release", "Release.gpg"] {
        let place = dists.join(name);
        if download(&[(format!("{remote}/{name}"), place.clone(), String::new())]).is_err() {
            drop(fs::remove_file(place));
        }
    }
    Ok(())
}

/// The SHA-256 that a `Release` text gives a path: the first line with 64 digits and that name.
fn listed_hash(release: &str, path: &str) -> Option<String> {
    release.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (hash, _size, name) = (words.next()?, words.next()?, words.next()?);
        (name == path && hash.len() == 64).then(|| hash.to_owned())
    })
}

/// The union of what the different tools choose: `usrmerge` and `usr-is-merged` exclude each
/// other, and each tool picks its own.
fn wanted_packages(apt: &PrivateApt, wish: &MirrorWish) -> Result<Vec<Wanted>> {
    let index = apt.list("_Packages")?;
    let text = fs::read_to_string(&index).with_context(|| index.display().to_string())?;
    let base = base_names(&text, wish.variant);
    let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
    for merged in [None, Some("usr-is-merged"), Some("usrmerge")] {
        let mut names = base.clone();
        names.extend(merged.map(str::to_owned));
        names.extend(wish.include.iter().cloned());
        for wanted in apt.uris(&names)? {
            all.insert(wanted.url.clone(), wanted);
        }
    }
    Ok(all.into_values().collect())
}

/// Names of the base set, from the text of a `Packages` index.
fn base_names(text: &str, variant: Variant) -> Vec<String> {
    let wanted: &[&str] = match variant {
        Variant::Essential => &[],
        Variant::Minbase => &["required"],
        Variant::Important => &["required", "important"],
        Variant::Standard => &["required", "important", "standard"],
    };
    let mut names = BTreeSet::new();
    if variant != Variant::Essential {
        names.insert("apt".to_owned());
    }
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let essential = field("Essential:") == Some("yes");
        if essential || field("Priority:").is_some_and(|level| wanted.contains(&level)) {
            names.extend(field("Package:").map(str::to_owned));
        }
    }
    names.into_iter().collect()
}

fn fetch_packages(dir: &Path, archive: &Archive, packages: &[Wanted]) -> Result<()> {
    let mut missing = Vec::new();
    for wanted in packages {
        let relative = wanted
            .url
            .strip_prefix(&archive.url)
            .with_context(|| format!("{} is outside {}", wanted.url, archive.url))?;
        let relative = relative
            .trim_start_matches('/')
            .replace("%2b", "+")
            .replace("%7e", "~");
        let place = dir.join(relative);
        if fs::metadata(&place).is_ok_and(|known| known.len() == wanted.size) {
            continue;
        }
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        missing.push((wanted.url.clone(), place, wanted.sha256.clone()));
    }
    missing.chunks(40).try_for_each(download)
}

/// Fetches with APT's own transport (its proxies and certificates), and checks the bytes.
fn download(files: &[(String, PathBuf, String)]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("/usr/lib/apt/apt-helper");
    command.args(["-o", "APT::Sandbox::User=", "download-file"]);
    for (url, place, hash) in files {
        command.arg(url).arg(place);
        command.arg(if hash.is_empty() {
            String::new()
        } else {
            format!("SHA256:{hash}")
        });
    }
    let output = command.output().context("apt-helper")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "apt-helper: {}", text.trim());
    for (url, place, hash) in files {
        let bytes = fs::read(place).with_context(|| format!("{url} did not arrive"))?;
        if !hash.is_empty() && digest::sha256(&bytes) != *hash {
            drop(fs::remove_file(place));
            bail!("{url}: wrong hash");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_apt_are_read() {
        let line = "'http://h/pool/main/g/g++_1%3a2_amd64.deb' g++_1%3a2_amd64.deb 1360 SHA256:ab";
        let wanted = parse_uri(line).unwrap();
        assert_eq!(wanted.url, "http://h/pool/main/g/g++_1%3a2_amd64.deb");
        assert_eq!((wanted.size, wanted.sha256.as_str()), (1360, "ab"));
        assert_eq!(parse_uri("Reading package lists..."), None);
    }

    #[test]
    fn a_larger_mirror_serves_a_smaller_wish() {
        let wish = |variant, names: &[&str]| MirrorWish {
            variant,
            include: names.iter().map(|&name| name.to_owned()).collect(),
            ..MirrorWish::default()
        };
        let made = stamp(&wish(Variant::Important, &["hello", "nginx-light"]));
        assert!(satisfies(&made, &wish(Variant::Minbase, &["hello"])));
        assert!(satisfies(
            &made,
            &wish(Variant::Important, &["nginx-light", "hello"])
        ));
        assert!(!satisfies(&made, &wish(Variant::Standard, &[])));
        assert!(!satisfies(&made, &wish(Variant::Minbase, &["git"])));
        let other = MirrorWish {
            suite: "trixie".into(),
            ..MirrorWish::default()
        };
        assert!(!satisfies(&made, &other));
    }

    #[test]
    fn the_base_set_follows_priority_and_essential() {
        let text = "Package: a\nEssential: yes\nPriority: optional\n\nPackage: b\nPriority: \
                    required\n\nPackage: c\nPriority: important\n\nPackage: d\nPriority: extra\n";
        assert_eq!(base_names(text, Variant::Essential), ["a"]);
        assert_eq!(base_names(text, Variant::Minbase), ["a", "apt", "b"]);
        assert_eq!(base_names(text, Variant::Important), ["a", "apt", "b", "c"]);
    }
}
