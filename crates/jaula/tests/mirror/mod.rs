//! A partial mirror of bookworm behind a web server that counts and that can go away.
#![allow(dead_code, reason = "no test uses all of it")]

use crate::who::User;
use jaula_testkit::{Deb, Ran, Server, partial_mirror};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The mirror.
pub struct Web {
    pub server: Server,
    options: Vec<String>,
}

impl Web {
    /// Starts it; else the reason to skip.
    pub fn start(include: &[&str]) -> Result<Self, String> {
        let dir = partial_mirror(include).map_err(|error| format!("no mirror: {error:#}"))?;
        let server = Server::start(&dir).map_err(|error| format!("no server: {error:#}"))?;
        let keyring = dir.join("keyring.gpg").display().to_string();
        let options = vec!["--mirror".into(), server.url(), "--keyring".into(), keyring];
        Ok(Self { server, options })
    }

    /// The words with the mirror's options before `--`.
    pub fn words(&self, words: &[&str]) -> Vec<String> {
        let at = words.iter().position(|word| *word == "--");
        let (before, after) = words.split_at(at.unwrap_or(words.len()));
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        [owned(before), self.options.clone(), owned(after)].concat()
    }

    /// `jaula WORDS`.
    #[track_caller]
    pub fn run(&self, user: &User, words: &[&str]) -> Ran {
        user.place.run(&self.words(words))
    }

    /// The command, not yet started.
    pub fn command(&self, user: &User, words: &[&str]) -> Command {
        user.place.command(&self.words(words))
    }

    /// The packages that were asked for up to now.
    pub fn packages(&self) -> BTreeSet<String> {
        let requests = self.server.requests().into_iter();
        requests
            .map(|request| request.path)
            .filter(|path| path.ends_with(".deb"))
            .collect()
    }
}

/// The essential packages of bookworm and these, as files: a tree that can configure itself, and small.
pub fn essential(user: &User, mirror: &Path, include: &[&str]) -> Vec<Deb> {
    let (url, keyring) = (
        format!("file:{}", mirror.display()),
        mirror.join("keyring.gpg").display().to_string(),
    );
    let mut words = vec![
        "build",
        "debian:bookworm",
        "--variant",
        "essential",
        // With all of Perl, for a conversion that nothing here needs.
        "--exclude",
        "usrmerge",
        "--arch",
        "amd64",
        "--mirror",
        &url,
        "--keyring",
        &keyring,
        "--plan",
        "--json",
    ];
    words.extend(include.iter().flat_map(|name| ["--include", name]));
    let text = user.place.run(&words).expect(0).stdout;
    let plan: serde_json::Value = serde_json::from_str(&text).expect("a plan");
    let packages = plan["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| Deb::read(&mirror.join(package["path"].as_str().expect("a path"))))
        .collect::<Result<_, _>>()
        .expect("packages of the mirror")
}

/// Every file below a directory with its size and time of change; empty when there is none.
pub fn tree(dir: &Path) -> BTreeSet<(PathBuf, u64, Option<std::time::SystemTime>)> {
    let mut found = BTreeSet::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else {
                continue;
            };
            if meta.is_dir() {
                left.push(entry.path());
            }
            found.insert((entry.path(), meta.len(), meta.modified().ok()));
        }
    }
    found
}

/// The processes that a place's runs left: whose command, directory or mounts are in it.
pub fn left_in(place: &Path) -> Vec<String> {
    let needle = place.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) || name == std::process::id().to_string()
        {
            continue;
        }
        let text = |file: &str| {
            let bytes = std::fs::read(path.join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let cwd = std::fs::read_link(path.join("cwd")).unwrap_or_default();
        let here = [text("cmdline"), text("mountinfo"), text("environ")]
            .iter()
            .any(|text| text.contains(&needle))
            || cwd.starts_with(place);
        if here {
            found.push(format!("{name} {}", text("cmdline").replace('\0', " ")));
        }
    }
    found
}

/// Waits until nothing of a place's runs is left, but for the process that holds a user's namespace for the next.
///
/// # Panics
/// When something still is after ten seconds.
#[track_caller]
pub fn assert_gone(place: &Path) {
    let start = Instant::now();
    loop {
        // Who holds a user's namespace for his next run goes with the entry that says where he is.
        drop(std::fs::remove_file(place.join("store/session")));
        let left = left_in(place);
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "left: {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a command that lists things of the host says, sorted.
pub fn lines(program: &str, words: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(words).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let mut lines: Vec<String> = String::from_utf8_lossy(&text)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}
