//! `cargo xtask test`: makes what the tests need, runs every check and every test, as root and as
//! an ordinary user, and counts.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use jaula_testkit::{Guest, HostSnapshot, hermetic, mirror, partial_mirror, skip};

/// The account that root's run makes, and removes again.
const USER: &str = "jaula-test";
/// First of its subordinate ids; far above what useradd(8) hands out.
const FIRST_ID: u64 = 3_000_000_000;

/// Packages beside minbase that tests install.
const INCLUDED: &[&str] = &["nginx-light", "hello"];

/// The crates whose tests depend on who runs them.
const FACING: &[&str] = &["jaula-sys", "jaula-engine", "jaula", "jaula-testkit"];

/// What `cargo test` said, summed up over all its programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
}

/// Set in a run whose `/tmp` is its own.
const OWN_TMP: &str = "JAULA_TEST_OWN_TMP";
/// mount(8)'s words for it.
const TMPFS: &[&str] = &[
    "-t",
    "tmpfs",
    "-o",
    "mode=1777,size=60%",
    "jaula-test",
    "/tmp",
];
/// Free memory, in KiB, from which on the tests' files are kept in it.
const ENOUGH: u64 = 10 << 20;

/// Runs everything; `--quick` leaves out the second run as an ordinary user and the lints.
///
/// Root's run has a `/tmp` in memory, in a mount namespace of its own: a hundred trees are made and removed, and ext4
/// looks at every inode removed in the last minute before it takes a new one.
///
/// # Errors
///
/// What could not be run, or did not pass.
pub fn run(root: &Path, options: &[&str]) -> Result<()> {
    if std::env::var_os(OWN_TMP).is_some() {
        output("mount", TMPFS)?;
    } else if is_root()? && own_tmp_is_possible(root)? {
        let status = Command::new("unshare")
            .args(["--mount", "--"])
            .arg(std::env::current_exe()?)
            .arg("test")
            .args(options)
            .env(OWN_TMP, "1")
            .env_remove("TMPDIR")
            .status()
            .context("unshare")?;
        ensure!(
            status.success(),
            "the tests in a /tmp of their own: {status}"
        );
        return Ok(());
    }
    run_here(root, options)
}

/// Whether nothing that is needed lies in `/tmp`, and there is memory for what the tests make.
fn own_tmp_is_possible(root: &Path) -> Result<bool> {
    let needed = [
        Some(root.to_path_buf()),
        Some(mirror::cache_dir()?),
        Some(std::env::current_exe()?),
        std::env::var_os("CARGO_HOME").map(PathBuf::from),
        std::env::var_os("HOME").map(PathBuf::from),
    ];
    let elsewhere = needed.iter().flatten().all(|path| {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        !real.starts_with("/tmp")
    });
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mut tried = vec!["--mount", "--", "mount"];
    tried.extend(TMPFS);
    Ok(elsewhere && free_memory(&memory) >= ENOUGH && output("unshare", &tried).is_ok())
}

/// `MemAvailable` of proc_meminfo(5), in KiB.
fn free_memory(text: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn run_here(root: &Path, options: &[&str]) -> Result<()> {
    let quick = match options {
        [] => false,
        ["--quick"] => true,
        other => bail!("not understood: {}", other.join(" ")),
    };
    let cache = mirror::cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    let skips = cache.join("skips");
    fs::write(&skips, "").with_context(|| skips.display().to_string())?;
    say("the test mirror");
    if let Err(error) = partial_mirror(INCLUDED) {
        say(&format!(
            "no mirror: {error:#}; tests that need it will skip"
        ));
    }
    say("the kernel of guests");
    if let Err(reason) = Guest::new() {
        say(&format!("{reason}; tests that need a guest will skip"));
    }
    let before = HostSnapshot::take();
    let mut count = Count::default();
    let mut broken = Vec::new();
    if !quick {
        step(root, "cargo fmt", &["fmt", "--all", "--check"], &mut broken)?;
        let lint = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        step(root, "cargo clippy", &lint, &mut broken)?;
    }
    say("cargo test");
    let mut command = cargo(root);
    command.args(["test", "--workspace", "--no-fail-fast"]);
    command
        .env(mirror::CACHE, &cache)
        .env(skip::SKIP_FILE, &skips);
    let user_follows = !quick && is_root()?;
    if user_follows {
        // What follows need not be played.
        command.env("JAULA_TEST_USER_FOLLOWS", "1");
    }
    let own = tests(&mut command)?;
    add(&mut count, own);
    if user_follows {
        let theirs = as_ordinary_user(root, &cache, &skips)?;
        add(&mut count, theirs);
    }
    let changes = before.difference(&HostSnapshot::take());
    for change in &changes {
        println!("the host changed: {change}");
    }
    let skipped = fs::read_to_string(&skips)?;
    print!("{skipped}");
    let number = skipped.lines().count();
    println!(
        "jaula: {} passed, {} failed, {number} skipped",
        count.passed, count.failed
    );
    ensure!(broken.is_empty(), "failed: {}", broken.join(", "));
    ensure!(
        changes.is_empty(),
        "the host changed in {} places",
        changes.len()
    );
    ensure!(count.failed == 0, "{} tests failed", count.failed);
    ensure!(count.passed > 0, "no test ran");
    if let Some(most) = std::env::var_os("JAULA_TEST_MAX_SKIPS") {
        let most: usize = most
            .to_string_lossy()
            .parse()
            .context("JAULA_TEST_MAX_SKIPS")?;
        ensure!(number <= most, "{number} tests skipped, at most {most} may");
    }
    Ok(())
}

fn say(text: &str) {
    println!("== {text}");
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

fn step(root: &Path, name: &str, arguments: &[&str], broken: &mut Vec<String>) -> Result<()> {
    say(name);
    let status = cargo(root)
        .args(arguments)
        .status()
        .with_context(|| name.to_owned())?;
    if !status.success() {
        broken.push(name.to_owned());
    }
    Ok(())
}

fn add(sum: &mut Count, more: Count) {
    sum.passed += more.passed;
    sum.failed += more.failed;
}

/// Runs a test command, shows its output, and counts its `test result:` lines. A command that
/// fails without one (it did not compile, it crashed) counts as one failure.
fn tests(command: &mut Command) -> Result<Count> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("start the tests")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let mut count = count(&text);
    if !output.status.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// Sums of `test result: ok. 3 passed; 0 failed; …` lines.
fn count(text: &str) -> Count {
    let mut sum = Count::default();
    for line in text.lines().filter(|line| line.starts_with("test result:")) {
        let number = |word: &str| {
            let before = line.split(word).next()?;
            before.split_whitespace().next_back()?.parse::<usize>().ok()
        };
        sum.passed += number(" passed").unwrap_or(0);
        sum.failed += number(" failed").unwrap_or(0);
    }
    sum
}

fn is_root() -> Result<bool> {
    Ok(output("id", &["-u"])?.trim() == "0")
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .context(program.to_owned())?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The account of the second run; dropping it removes what was made.
struct Account {
    made: bool,
    saved: Vec<(PathBuf, Vec<u8>)>,
}

impl Account {
    /// Makes [`USER`] with subordinate ids, unless it is there.
    fn make() -> Result<Self> {
        let there = output("id", &["-u", USER]).is_ok();
        let mut account = Account {
            made: !there,
            saved: Vec::new(),
        };
        if there {
            return Ok(account);
        }
        for path in [
            "/etc/passwd",
            "/etc/group",
            "/etc/shadow",
            "/etc/gshadow",
            "/etc/subuid",
            "/etc/subgid",
        ] {
            if let Ok(bytes) = fs::read(path) {
                account.saved.push((path.into(), bytes));
            }
        }
        output(
            "useradd",
            &["--create-home", "--shell", "/bin/sh", "--user-group", USER],
        )?;
        for path in ["/etc/subuid", "/etc/subgid"] {
            let text = fs::read_to_string(path).unwrap_or_default();
            if !text
                .lines()
                .any(|line| line.starts_with(&format!("{USER}:")))
            {
                fs::write(path, format!("{text}{USER}:{FIRST_ID}:65536\n"))?;
            }
        }
        Ok(account)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.made {
            return;
        }
        if let Err(error) = output("userdel", &["--remove", USER]) {
            eprintln!("xtask: {error:#}");
        }
        // userdel leaves its own marks (backup lines, order); the host shall be as before.
        for (path, bytes) in &self.saved {
            if fs::read(path).ok().as_ref() != Some(bytes)
                && let Err(error) = fs::write(path, bytes)
            {
                eprintln!("xtask: {}: {error}", path.display());
            }
        }
    }
}

/// Runs the built test programs of the kernel-facing crates once more as [`USER`].
fn as_ordinary_user(root: &Path, cache: &Path, skips: &Path) -> Result<Count> {
    say("the same as an ordinary user");
    let programs = test_programs(root)?;
    let account = Account::make()?;
    let stage = tempfile_for_user()?;
    let list = stage.join("skips");
    fs::write(&list, "")?;
    let mirror = stage.join("cache");
    // Its own copy: the directories above the build directory may be closed to it.
    copy_readable(cache, &mirror)?;
    // Snapshots and fixtures lie beside the sources, and guides are typed as they stand.
    let source = stage.join("source");
    fs::create_dir(&source)?;
    for part in ["crates", "docs"] {
        copy_readable(&root.join(part), &source.join(part))?;
    }
    let mut count = Count::default();
    for (package, program, face) in &programs {
        let copy = stage.join(program.file_name().context("a program has a name")?);
        fs::copy(program, &copy)?;
        let mut command = Command::new("runuser");
        command.args(["-u", USER, "--", "env", "-i"]);
        let mut set = |name: &str, value: &OsStr| {
            let mut pair = std::ffi::OsString::from(name);
            pair.push("=");
            pair.push(value);
            command.arg(pair);
        };
        set(
            "PATH",
            OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        );
        set("HOME", stage.as_os_str());
        set("LC_ALL", OsStr::new("C.UTF-8"));
        set(mirror::CACHE, mirror.as_os_str());
        set(skip::SKIP_FILE, list.as_os_str());
        set("INSTA_WORKSPACE_ROOT", source.as_os_str());
        set("INSTA_UPDATE", OsStr::new("no"));
        if let Some(face) = face {
            let own = stage.join("jaula");
            if !own.exists() {
                fs::copy(face, &own)?;
            }
            set(hermetic::PROGRAM, own.as_os_str());
        }
        own_by_user(&stage)?;
        command.arg(&copy).current_dir(&stage);
        println!("-- {package}: {}", copy.display());
        let theirs = tests(&mut command)?;
        add(&mut count, theirs);
        fs::remove_file(&copy)?;
    }
    let theirs = fs::read_to_string(&list)?.replace("skipped: ", "skipped: (user) ");
    let own = fs::read_to_string(skips)?;
    fs::write(skips, own + &theirs)?;
    fs::remove_dir_all(&stage).with_context(|| stage.display().to_string())?;
    drop(account);
    Ok(count)
}

/// The test programs of the engine and of the face, as cargo built them: package, program, and
/// the face's own program for the face's tests.
///
/// All crates are named, as in the first run: with fewer, dependencies would have other features and be built again.
fn test_programs(root: &Path) -> Result<Vec<(String, PathBuf, Option<PathBuf>)>> {
    let output = cargo(root)
        .args(["test", "--no-run", "--message-format=json", "--workspace"])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the tests do not build");
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
        Some(rest.split('"').next().unwrap_or_default().to_owned())
    };
    let mut programs = Vec::new();
    let mut face = None;
    for line in text
        .lines()
        .filter(|line| line.contains("\"executable\":\""))
    {
        let Some(program) = field(line, "executable").map(PathBuf::from) else {
            continue;
        };
        let package = field(line, "manifest_path")
            .and_then(|path| {
                Some(
                    Path::new(&path)
                        .parent()?
                        .file_name()?
                        .to_string_lossy()
                        .into_owned(),
                )
            })
            .unwrap_or_default();
        if is_test(line) && FACING.contains(&package.as_str()) {
            programs.push((package, program));
        } else if package == "jaula" {
            face = Some(program);
        }
    }
    ensure!(!programs.is_empty(), "cargo built no test program");
    Ok(programs
        .into_iter()
        .map(|(package, program)| (package, program, face.clone()))
        .collect())
}

/// Whether an artifact's message says that it was built as a test program.
fn is_test(line: &str) -> bool {
    line.split_once("\"profile\":{")
        .and_then(|(_, rest)| rest.split('}').next())
        .is_some_and(|profile| profile.contains("\"test\":true"))
}

fn tempfile_for_user() -> Result<PathBuf> {
    let below = if std::env::var_os(OWN_TMP).is_some() {
        "/tmp"
    } else {
        "/var/tmp"
    };
    let path = output(
        "mktemp",
        &["-d", &format!("{below}/jaula-user-test-XXXXXXXX")],
    )?;
    Ok(PathBuf::from(path.trim()))
}

fn copy_readable(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-rL").arg(from).arg(to).status()?;
    ensure!(status.success(), "cp {}", from.display());
    Ok(())
}

fn own_by_user(path: &Path) -> Result<()> {
    let status = Command::new("chown")
        .arg("-R")
        .arg(format!("{USER}:"))
        .arg(path)
        .status()?;
    ensure!(status.success(), "chown {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let text = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\n\
                    test result: FAILED. 5 passed; 3 failed; 1 ignored\n";
        assert_eq!(
            count(text),
            Count {
                passed: 7,
                failed: 3
            }
        );
    }

    #[test]
    fn free_memory_is_read() {
        assert_eq!(
            free_memory("MemTotal:  9 kB\nMemAvailable:   8123 kB\n"),
            8123
        );
        assert_eq!(free_memory("nothing"), 0);
    }

    #[test]
    fn a_test_artifact_is_told_from_a_program() {
        assert!(is_test(
            r#"{"target":{"test":true},"profile":{"opt_level":"0","test":true}}"#
        ));
        assert!(!is_test(
            r#"{"target":{"test":true},"profile":{"opt_level":"0","test":false}}"#
        ));
    }
}
