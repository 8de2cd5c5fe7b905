//! Control groups and processes as the host sees them.
#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For as long as it is held no other test of this program has jails in groups.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    // A test that failed has not harmed the others.
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The groups of a process: controllers and path, a line each of proc_pid_cgroup(5).
pub fn groups_of(pid: u32) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(1)?.parse().ok()
}

/// Whether a process has ended (it may wait to be reaped).
pub fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, fields)| fields.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

/// Every process that descends from this one, without it.
pub fn held_by(pid: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent(pid)?))
        })
        .collect();
    let mut found = BTreeSet::from([pid]);
    loop {
        let before = found.len();
        let more = all.iter().filter(|(_, parent)| found.contains(parent));
        let more: Vec<u32> = more.map(|(pid, _)| *pid).collect();
        found.extend(more);
        if found.len() == before {
            break;
        }
    }
    found.remove(&pid);
    found.into_iter().filter(|pid| !is_gone(*pid)).collect()
}

/// The time a process was on CPUs, in milliseconds.
pub fn cpu_millis(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum::<u64>()
        * 10
}

/// Whether a group has no processes.
pub fn is_empty(group: &str) -> bool {
    fs::read_to_string(format!("{group}/cgroup.procs")).map_or(true, |text| text.is_empty())
}

/// The directories of groups of jails that there are.
///
/// Tests that use them run one after the other: see [`alone`].
pub fn left() -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![(std::path::PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((dir, depth)) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || depth > 6 {
                continue;
            }
            match entry.file_name().to_string_lossy().starts_with("jaula-") {
                true => found.push(entry.path().display().to_string()),
                false => dirs.push((entry.path(), depth + 1)),
            }
        }
    }
    found
}

/// Waits for something that happens by itself; a minute at most.
#[track_caller]
pub fn until(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::yield_now();
    }
}
