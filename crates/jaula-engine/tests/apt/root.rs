//! A root of APT's own.

use std::path::PathBuf;
use std::process::{Command, Output};

/// APT with its own lists, status, caches and preferences.
pub struct Apt {
    dir: tempfile::TempDir,
    archs: String,
}

impl Apt {
    /// With these lines of sources.list(5); why not, if APT cannot read them.
    pub fn new(sources: &str, archs: &[&str]) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let apt = Self {
            dir,
            archs: archs.join(","),
        };
        for part in ["lists/partial", "cache/archives/partial", "parts"] {
            std::fs::create_dir_all(apt.place(part)).map_err(|e| e.to_string())?;
        }
        for (name, text) in [("status", ""), ("sources.list", sources), ("pins", "")] {
            std::fs::write(apt.place(name), text).map_err(|e| e.to_string())?;
        }
        // Read before everything else: nothing of the host's configuration counts.
        let parts = apt.place("parts").display().to_string();
        let text = format!("Dir::Etc::Parts \"{parts}\";\nDir::Etc::Main \"{parts}/none\";\n");
        std::fs::write(apt.place("apt.conf"), text).map_err(|e| e.to_string())?;
        let out = apt
            .command("apt-get")
            .args(["-q", "update"])
            .output()
            .map_err(|e| format!("apt-get does not run: {e}"))?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        if !out.status.success() || said.contains("E:") {
            return Err(format!("apt-get update: {said}"));
        }
        Ok(apt)
    }

    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let native = self.archs.split(',').next().unwrap_or_default();
        let place = |name: &str| self.place(name).display().to_string();
        for option in [
            format!("Dir::State={}", place(".")),
            format!("Dir::State::Lists={}", place("lists")),
            format!("Dir::State::status={}", place("status")),
            format!("Dir::State::extended_states={}", place("extended_states")),
            format!("Dir::Cache={}", place("cache")),
            format!("Dir::Etc::SourceList={}", place("sources.list")),
            format!("Dir::Etc::SourceParts={}", place("parts")),
            format!("Dir::Etc::TrustedParts={}", place("parts")),
            format!("Dir::Etc::Preferences={}", place("pins")),
            format!("Dir::Etc::PreferencesParts={}", place("parts")),
            "Dir::Log=/dev/null".into(),
            format!("APT::Architecture={native}"),
            format!("APT::Architectures={}", self.archs),
            "APT::Sandbox::User=".into(),
            "APT::Update::Post-Invoke=".into(),
            "Acquire::Languages=none".into(),
            "Acquire::http::Proxy=DIRECT".into(),
            "Debug::NoLocking=true".into(),
            "pkgCacheGen::ForceEssential=,".into(),
        ] {
            command.args(["-o", &option]);
        }
        command
            .env("LC_ALL", "C.UTF-8")
            .env("APT_CONFIG", self.place("apt.conf"));
        command
    }

    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program)
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"))
    }
}

/// A small generator, so that every run asks for the same.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
