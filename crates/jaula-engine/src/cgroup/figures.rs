//! What a running jail uses: from its control groups where it has some, else summed over its processes in proc(5).

use super::probe::{is_jails, own_groups};
use crate::jail::Running;
use std::path::{Path, PathBuf};

/// What a jail uses. Totals are since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Figures {
    /// Time on CPUs, in microseconds.
    pub cpu_micros: u64,
    /// Bytes of memory: what its group is charged for, or the resident sizes of its processes, in which what they
    /// share is counted more than once.
    pub memory: u64,
    /// The limit of it.
    pub memory_limit: Option<u64>,
    /// Processes (with a group: and threads).
    pub pids: u64,
    /// The limit of them.
    pub pids_limit: Option<u64>,
    /// Bytes read from block devices; none where the kernel does not say.
    pub io_read: Option<u64>,
    /// Bytes written to them.
    pub io_written: Option<u64>,
    /// Bytes received on its own network, loopback left out; none when it is the host's.
    pub net_received: Option<u64>,
    /// Bytes sent on it.
    pub net_sent: Option<u64>,
}

/// The figures of the jail in which this process is; none when it has ended.
pub fn figures(running: &Running) -> Option<Figures> {
    let mut figures = summed(running.pid)?;
    for (_, path) in own_groups(Some(running.pid)) {
        if let Some(group) = path.ancestors().find(|path| is_jails(path)) {
            from_group(group, &mut figures);
        }
    }
    (figures.net_received, figures.net_sent) = network(running.pid).unzip();
    // Everything above was of this process only if it still is the same.
    running.is_alive().then_some(figures)
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn number(path: PathBuf) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

/// A limit; what stands for none is no number, or one that no host has.
fn limit(path: PathBuf) -> Option<u64> {
    number(path).filter(|n| *n < 1 << 60)
}

fn from_group(group: &Path, figures: &mut Figures) {
    let first = |names: [&str; 2]| names.iter().find_map(|name| number(group.join(name)));
    if let Some(n) = first(["memory.current", "memory.usage_in_bytes"]) {
        figures.memory = n;
        figures.memory_limit =
            limit(group.join("memory.max")).or_else(|| limit(group.join("memory.limit_in_bytes")));
    }
    if let Some(n) = number(group.join("pids.current")) {
        figures.pids = n;
        figures.pids_limit = limit(group.join("pids.max"));
    }
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    // The unified hierarchy counts it in every group, the first version where cpuacct is.
    if let Some(n) = text(group.join("cpu.stat")).and_then(|text| field(&text, "usage_usec ")) {
        figures.cpu_micros = n;
    } else if let Some(nanos) = number(group.join("cpuacct.usage")) {
        figures.cpu_micros = nanos / 1000;
    }
    if let Some(text) = text(group.join("io.stat")) {
        let sum = |name: &str| {
            text.split_whitespace()
                .filter_map(|word| word.strip_prefix(name)?.parse::<u64>().ok())
                .sum()
        };
        (figures.io_read, figures.io_written) = (Some(sum("rbytes=")), Some(sum("wbytes=")));
    } else if let Some(text) = text(group.join("blkio.throttle.io_service_bytes")) {
        let sum = |name: &str| {
            text.lines()
                .filter_map(|line| {
                    let mut words = line.split(' ').skip(1);
                    (words.next()? == name).then(|| words.next()?.parse::<u64>().ok())?
                })
                .sum()
        };
        (figures.io_read, figures.io_written) = (Some(sum("Read")), Some(sum("Write")));
    }
}

/// One process of proc(5).
struct Process {
    pid: u32,
    parent: u32,
    ticks: u64,
    pages: u64,
}

fn process(pid: u32) -> Option<Process> {
    let stat = text(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<u64> = fields
        .split(' ')
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    // Numbered from the state, which is field 3 of proc_pid_stat(5).
    let field = |n: usize| fields.get(n - 3).copied().unwrap_or(0);
    Some(Process {
        pid,
        parent: u32::try_from(field(4)).ok()?,
        // Of itself, and of the children it has waited for.
        ticks: (14..=17).map(field).sum(),
        pages: field(24),
    })
}

/// The processes of the jail in which `pid` is: those of its process identifier namespace, and where the kernel does
/// not tell that, those that descend from its first process.
fn found(pid: u32) -> Vec<Process> {
    let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(target) = process(pid) else {
        return Vec::new();
    };
    let own = namespace(pid).filter(|own| namespace(std::process::id()).as_ref() != Some(own));
    let all: Vec<Process> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?))
        .collect();
    // The first process of the jail is the program's parent.
    let first = target.parent;
    let descends = |process: &Process| {
        let (mut at, mut steps) = (process, 0);
        while at.pid != first && at.pid != pid {
            let parent = all.iter().find(|other| other.pid == at.parent);
            match parent.filter(|_| steps < 4096) {
                Some(parent) => (at, steps) = (parent, steps + 1),
                None => return false,
            }
        }
        true
    };
    let inside: Vec<u32> = all
        .iter()
        .filter(|process| match (namespace(process.pid), &own) {
            (Some(namespace), Some(own)) => namespace == *own,
            _ => descends(process),
        })
        .map(|process| process.pid)
        .collect();
    all.into_iter()
        .filter(|process| inside.contains(&process.pid))
        .collect()
}

fn summed(pid: u32) -> Option<Figures> {
    let all = found(pid);
    if all.is_empty() {
        return None;
    }
    let sum = |of: fn(&Process) -> u64| all.iter().map(of).sum::<u64>();
    let io: Vec<(u64, u64)> = all.iter().filter_map(|process| io(process.pid)).collect();
    let told = |of: fn(&(u64, u64)) -> u64| (!io.is_empty()).then(|| io.iter().map(of).sum());
    let page = jaula_sys::process::page_size();
    Some(Figures {
        // Hundredths of a second, whatever the kernel counts in (times(2), sysconf(3) _SC_CLK_TCK).
        cpu_micros: sum(|process| process.ticks).saturating_mul(10_000),
        memory: sum(|process| process.pages).saturating_mul(page),
        pids: all.len() as u64,
        io_read: told(|io| io.0),
        io_written: told(|io| io.1),
        ..Figures::default()
    })
}

fn io(pid: u32) -> Option<(u64, u64)> {
    let text = text(format!("/proc/{pid}/io"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some((field("read_bytes: ")?, field("write_bytes: ")?))
}

/// Bytes received and sent by all interfaces but the loopback of a process's network, when it is not ours.
fn network(pid: u32) -> Option<(u64, u64)> {
    let text = text(format!("/proc/{pid}/net/dev"))?;
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    // Where the namespace cannot be asked for, the same list of interfaces tells.
    let same = match (namespace(&pid.to_string()), namespace("self")) {
        (Some(theirs), Some(ours)) => theirs == ours,
        _ => {
            let names = |text: &str| -> Vec<String> {
                let lines = text.lines().skip(2);
                lines
                    .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
                    .collect()
            };
            names(&text) == names(&self::text("/proc/self/net/dev").unwrap_or_default())
        }
    };
    if same {
        return None;
    }
    let mut totals = (0u64, 0u64);
    for line in text.lines().skip(2) {
        let Some((name, counts)) = line.split_once(':') else {
            continue;
        };
        let counts: Vec<u64> = counts
            .split_whitespace()
            .map(|count| count.parse().unwrap_or(0))
            .collect();
        if name.trim() != "lo" {
            totals.0 += counts.first().unwrap_or(&0);
            totals.1 += counts.get(8).unwrap_or(&0);
        }
    }
    Some(totals)
}
