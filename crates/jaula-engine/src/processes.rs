//! The processes of jails that run.

use crate::error::PathError;
use crate::namespaces::scan::{command_of, parse_stat, pids};
use jaula_plan::names::JailName;
use jaula_sys::procfs::ProcDir;
use std::collections::HashMap;

/// No more of proc_pid_status(5) is read.
const STATUS: usize = 16 << 10;
/// Clock ticks a second in proc_pid_stat(5): the kernel's USER_HZ.
const TICKS: u64 = 100;

/// A process of a jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailProcess {
    /// The jail's name; none for a run in the foreground, which has none.
    pub jail: Option<JailName>,
    /// The jail's first process, as the caller numbers it.
    pub first: u32,
    /// Its number as the caller sees it.
    pub pid: u32,
    /// Its number in its own pid namespace.
    pub inner: u32,
    /// Its effective user, as the caller numbers it.
    pub uid: u32,
    /// Its state (proc_pid_stat(5)): `R`, `S`, `D`, `Z`, …
    pub state: char,
    /// Time it has had on CPUs, in milliseconds.
    pub cpu_millis: u64,
    /// Memory it has resident, in bytes.
    pub memory: u64,
    /// Its arguments with blanks between, or its name: any bytes, its own choice.
    pub command: Vec<u8>,
}

/// A process as it was read.
struct Seen {
    ppid: u32,
    start_time: u64,
    /// Its numbers from the caller's pid namespace to its own.
    numbers: Vec<u32>,
    /// The file it executes, by device and inode, where the caller may know.
    program: Option<(u64, u64)>,
    /// Its pid namespace, where the caller may know.
    namespace: Option<u64>,
    found: JailProcess,
}

fn look(pid: u32) -> Option<Seen> {
    let dir = ProcDir::open(pid).ok()?;
    let stat = dir.read("stat", 2048).ok()?;
    let (_, state, ppid, start_time) = parse_stat(&stat)?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(end.checked_add(2)?..)?).ok()?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let cpu = ticks()?.saturating_add(ticks()?);
    // Before anything else, a name of any bytes stands there, with newlines escaped.
    let status = String::from_utf8_lossy(&dir.read("status", STATUS).ok()?).into_owned();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.strip_prefix(':'))
            .unwrap_or_default()
    };
    let numbers: Vec<u32> = line("NSpid")
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    let uid = line("Uid").split_whitespace().nth(1)?.parse().ok()?;
    let kib: u64 = line("VmRSS")
        .split_whitespace()
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let identity = |link: &str| dir.identity(link).ok().map(|found| (found.dev, found.ino));
    Some(Seen {
        ppid,
        start_time,
        program: identity("exe"),
        namespace: identity("ns/pid").map(|(_, inode)| inode),
        found: JailProcess {
            jail: None,
            first: 0,
            pid,
            inner: numbers.last().copied().unwrap_or(pid),
            uid,
            state: char::from(state),
            cpu_millis: cpu.saturating_mul(1000 / TICKS),
            memory: kib.saturating_mul(1024),
            command: command_of(&dir),
        },
        numbers,
    })
}

/// The processes of these jails, each named with its first process and when that started, and of runs in the
/// foreground, which nothing names: what a process of this very program started as the first of a pid namespace.
/// Ordered by jail and number. What ends meanwhile is left out.
///
/// # Errors
/// When there is no proc(5).
pub fn processes(jails: &[(JailName, u32, u64)]) -> Result<Vec<JailProcess>, PathError> {
    let mut seen: HashMap<u32, Seen> = HashMap::new();
    for pid in pids()? {
        seen.extend(look(pid).map(|found| (pid, found)));
    }
    let own = seen
        .get(&std::process::id())
        .map(|own| (own.program, own.numbers.len()));
    let (program, depth) = own.unwrap_or((None, 1));
    // The first processes, with the names of their jails.
    let mut firsts: HashMap<u32, Option<JailName>> = HashMap::new();
    for (name, pid, start_time) in jails {
        if let Some(process) = seen
            .get(pid)
            .filter(|found| found.start_time == *start_time)
        {
            // A jail without a pid namespace of its own is its first process and what that has started, not the host.
            let first = match process.numbers.len() > depth {
                true => init_of(process, &seen),
                false => *pid,
            };
            firsts.insert(first, Some(name.clone()));
        }
    }
    for (pid, process) in &seen {
        let inner = process.numbers.len() == depth.saturating_add(1) && process.found.inner == 1;
        let ours = || {
            let parent = seen.get(&process.ppid).and_then(|parent| parent.program);
            parent.is_some() && parent == program
        };
        if inner && !firsts.contains_key(pid) && ours() {
            firsts.insert(*pid, None);
        }
    }
    let namespaces: HashMap<u64, u32> = firsts
        .keys()
        .filter_map(|first| {
            let process = seen.get(first)?;
            let own = process.numbers.len() > depth;
            own.then_some((process.namespace?, *first))
        })
        .collect();
    let mut found = Vec::new();
    for process in seen.values() {
        let Some(first) = first_of(process, &seen, &firsts, &namespaces) else {
            continue;
        };
        found.push(JailProcess {
            jail: firsts.get(&first).cloned().flatten(),
            first,
            ..process.found.clone()
        });
    }
    found.sort_by(|a, b| (&a.jail, a.first, a.pid).cmp(&(&b.jail, b.first, b.pid)));
    Ok(found)
}

/// The first process of a process's pid namespace, when it is one above it; else the process itself.
fn init_of(process: &Seen, seen: &HashMap<u32, Seen>) -> u32 {
    let mut at = process;
    for _ in 0..=seen.len() {
        if at.found.inner == 1 {
            return at.found.pid;
        }
        match seen.get(&at.ppid) {
            Some(parent) if parent.numbers.len() == process.numbers.len() => at = parent,
            _ => break,
        }
    }
    process.found.pid
}

/// The first process of the jail that a process is in: itself, one above it, or the one that has its pid namespace
/// or that of one above it (a session joins without being a child of the first).
fn first_of(
    process: &Seen,
    seen: &HashMap<u32, Seen>,
    firsts: &HashMap<u32, Option<JailName>>,
    namespaces: &HashMap<u64, u32>,
) -> Option<u32> {
    let mut at = process;
    for _ in 0..=seen.len() {
        if firsts.contains_key(&at.found.pid) {
            return Some(at.found.pid);
        }
        let joined = at
            .namespace
            .and_then(|namespace| namespaces.get(&namespace));
        if let Some(first) = joined {
            return Some(*first);
        }
        at = seen.get(&at.ppid)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read_whole() {
        let own = look(std::process::id()).expect("this process");
        assert!(own.found.memory > 0 && !own.found.command.is_empty());
        assert_eq!(own.numbers.first(), Some(&own.found.pid));
    }

    #[test]
    fn a_jail_is_its_first_process_and_all_below() {
        let name: JailName = "demo".parse().expect("a name");
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 100 & echo ready; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a child");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)
            .expect("ready");
        let start = look(child.id()).expect("alive").start_time;
        let of = |start| {
            let all = processes(&[(name.clone(), child.id(), start)]).expect("proc(5)");
            all.into_iter()
                .filter(|process| process.jail.is_some())
                .collect::<Vec<_>>()
        };
        let found = of(start);
        let words: Vec<_> = found
            .iter()
            .map(|process| String::from_utf8_lossy(&process.command))
            .collect();
        assert!(words.iter().any(|word| word == "sleep 100"), "{words:?}");
        // The number alone names nobody.
        assert!(of(start + 1).is_empty());
        // The shell and its child, and nobody else of those who have the same pid namespace.
        assert_eq!(found.len(), 2, "{words:?}");
        let below = found.iter().find(|process| process.pid != child.id());
        let below = below.map(|process| process.pid).expect("its child");
        assert_eq!(look(below).map(|process| process.ppid), Some(child.id()));
        let right = || look(below).is_some_and(|process| process.ppid == child.id());
        jaula_sys::dir::kill_and_wait(below, &right, 5000).expect("ended");
        child.wait().expect("ended");
    }
}
