//! Debian's kernel for virtual machines, out of its package, without installing it.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable that names a directory in which such a package was unpacked, in the cache's stead.
pub const KERNEL: &str = "JAULA_TEST_KERNEL";
/// Packages that name the newest kernel, the best first: what tests want of one began with Linux 6.7.
const NEWEST: [&str; 2] = ["linux-image-6.12-cloud-amd64", "linux-image-cloud-amd64"];

/// A kernel and where its modules are.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    pub release: String,
    pub image: PathBuf,
    /// By name, with underscores.
    modules: BTreeMap<String, PathBuf>,
}

/// A module as it is loaded.
pub(super) struct Module {
    pub bytes: Vec<u8>,
    /// Those that have to be there before.
    pub needs: Vec<String>,
}

impl Kernel {
    /// The one of [`KERNEL`], else the cache's, else one that APT fetches into the cache.
    pub fn find() -> Result<Self> {
        if let Some(dir) = std::env::var_os(KERNEL) {
            return Self::within(Path::new(&dir));
        }
        let cache = crate::mirror::cache_dir()?;
        let dir = cache.join("guest-kernel");
        if let Ok(kernel) = Self::within(&dir) {
            return Ok(kernel);
        }
        fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
        let lock = fs::File::create(cache.join(".guest-kernel.lock"))?;
        lock.lock().context("lock the kernel")?;
        if !dir.exists() {
            fetch(&cache, &dir)?;
        }
        Self::within(&dir)
    }

    fn within(dir: &Path) -> Result<Self> {
        let shown = || dir.display().to_string();
        let boot = dir.join("boot");
        for entry in fs::read_dir(&boot).with_context(shown)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(release) = name.strip_prefix("vmlinuz-") {
                let mut modules = BTreeMap::new();
                // Debian's packages have them in either.
                for lib in ["lib", "usr/lib"] {
                    let top = dir.join(lib).join("modules").join(release);
                    gather(&top.join("kernel"), &mut modules)?;
                }
                return Ok(Self {
                    release: release.to_owned(),
                    image: entry.path(),
                    modules,
                });
            }
        }
        bail!("{} has no boot/vmlinuz-…", shown())
    }

    /// A module, unpacked; none when the kernel has no file of that name.
    pub fn module(&self, name: &str) -> Result<Option<Module>> {
        let Some(path) = self.modules.get(name) else {
            return Ok(None);
        };
        let packed = fs::read(path).with_context(|| path.display().to_string())?;
        let mut bytes = Vec::new();
        match path.extension().and_then(|end| end.to_str()) {
            Some("xz") => {
                liblzma::read::XzDecoder::new(packed.as_slice()).read_to_end(&mut bytes)?;
            }
            Some("zst") => bytes = zstd::decode_all(packed.as_slice())?,
            _ => bytes = packed,
        }
        // The section .modinfo: texts that end in NUL (modinfo(8)).
        let needs = bytes
            .split(|byte| *byte == 0)
            .find_map(|text| text.strip_prefix(b"depends="))
            .unwrap_or_default();
        let needs = String::from_utf8_lossy(needs)
            .split(',')
            .filter(|name| !name.is_empty())
            .map(|name| name.replace('-', "_"))
            .collect();
        Ok(Some(Module { bytes, needs }))
    }
}

fn gather(dir: &Path, modules: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            gather(&entry.path(), modules)?;
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            modules.insert(name.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

/// What a command wrote.
fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| shown.clone())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown}: {}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Fetches the newest kernel's package and unpacks it to `dir`, all of it or nothing.
fn fetch(cache: &Path, dir: &Path) -> Result<()> {
    let work = tempfile::Builder::new()
        .prefix(".guest-kernel-")
        .tempdir_in(cache)?;
    let mut package = None;
    for newest in NEWEST {
        let Ok(text) = output(Command::new("apt-cache").args(["depends", newest])) else {
            continue;
        };
        let word = |line: &str| Some(line.trim().strip_prefix("Depends: ")?.to_owned());
        package = text
            .lines()
            .filter_map(word)
            .find(|name| name.starts_with("linux-image-"));
        if package.is_some() {
            break;
        }
    }
    let package = package.context("APT knows no linux-image-cloud-amd64")?;
    let mut get = Command::new("apt-get");
    // As root APT would go on as another user, who cannot write here.
    get.args(["-q", "-o", "APT::Sandbox::User=root", "download", &package])
        .current_dir(work.path());
    output(&mut get)?;
    let deb = fs::read_dir(work.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .with_context(|| format!("apt-get fetched no {package}"))?;
    let tree = work.path().join("tree");
    output(Command::new("dpkg-deb").arg("-x").args([&deb, &tree]))?;
    fs::rename(&tree, dir).with_context(|| dir.display().to_string())
}
