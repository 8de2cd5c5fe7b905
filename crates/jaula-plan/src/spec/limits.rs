//! What a jail may use at most: `KEY=VALUE`, several with commas between.

mod value;

pub use value::{Device, LimitError, parse_duration, shown_duration};

use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use value::{amount, cpus, device_rate, share, size, weight};

/// How long a jail has between SIGTERM and SIGKILL when its time is up.
pub const KILL_AFTER: Duration = Duration::from_secs(10);

/// A resource of setrlimit(2): a limit of each process, which its children inherit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Open descriptors (RLIMIT_NOFILE).
    Files,
    /// Size of a file that is written, in bytes (RLIMIT_FSIZE).
    FileSize,
    /// Size of a core dump in bytes (RLIMIT_CORE).
    Core,
    /// Size of the stack in bytes (RLIMIT_STACK).
    Stack,
    /// CPU time in seconds (RLIMIT_CPU).
    CpuTime,
    /// Processes and threads of its user in its user namespace (RLIMIT_NPROC, counted so since Linux 5.14).
    Processes,
    /// Bytes of memory that it writes to and shares with nobody (RLIMIT_DATA, counted so since Linux 4.7).
    Data,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Files,
        Self::FileSize,
        Self::Core,
        Self::Stack,
        Self::CpuTime,
        Self::Processes,
        Self::Data,
    ];

    /// As `--limit` names it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::FileSize => "file-size",
            Self::Core => "core",
            Self::Stack => "stack",
            Self::CpuTime => "cpu-time",
            Self::Processes => "processes",
            Self::Data => "data",
        }
    }

    /// As prlimit(1) names its option.
    pub fn option(self) -> &'static str {
        match self {
            Self::Files => "nofile",
            Self::FileSize => "fsize",
            Self::Core => "core",
            Self::Stack => "stack",
            Self::CpuTime => "cpu",
            Self::Processes => "nproc",
            Self::Data => "data",
        }
    }
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of memory of the whole jail.
    Memory(u64),
    /// Bytes of swap of the whole jail.
    Swap(u64),
    /// Time on CPUs of the whole jail, in thousandths of one CPU.
    Cpu(u32),
    /// Its share when CPUs are scarce, 1 to 10000; 100 is everybody's.
    CpuWeight(u32),
    /// The CPUs it runs on, in the list format of cpuset(7).
    Cpus(String),
    /// Processes and threads.
    Pids(u64),
    /// Bytes read from a block device in a second.
    IoRead(Device, u64),
    /// Bytes written to a block device in a second.
    IoWrite(Device, u64),
    /// Its share when a block device is busy, 1 to 10000; 100 is everybody's.
    IoWeight(u32),
    /// A limit of each process; none: no limit.
    Process(Resource, Option<u64>),
    /// How much it yields to others, -20 to 19 (nice(1)).
    Nice(i8),
    /// How long it may run.
    Time(Duration),
}

impl Limit {
    /// As `--limit` names it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Swap(_) => "swap",
            Self::Cpu(_) => "cpu",
            Self::CpuWeight(_) => "cpu-weight",
            Self::Cpus(_) => "cpus",
            Self::Pids(_) => "pids",
            Self::IoRead(..) => "io-read",
            Self::IoWrite(..) => "io-write",
            Self::IoWeight(_) => "io-weight",
            Self::Process(resource, _) => resource.key(),
            Self::Nice(_) => "nice",
            Self::Time(_) => "time",
        }
    }

    /// The controller of control groups that holds it (cgroups(7)); none when it is held otherwise.
    pub fn controller(&self) -> Option<&'static str> {
        match self {
            Self::Memory(_) | Self::Swap(_) => Some("memory"),
            Self::Cpu(_) | Self::CpuWeight(_) => Some("cpu"),
            Self::Cpus(_) => Some("cpuset"),
            Self::Pids(_) => Some("pids"),
            Self::IoRead(..) | Self::IoWrite(..) | Self::IoWeight(_) => Some("io"),
            Self::Process(..) | Self::Nice(_) | Self::Time(_) => None,
        }
    }

    /// Whether both limit the same.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::IoRead(one, _), Self::IoRead(two, _))
            | (Self::IoWrite(one, _), Self::IoWrite(two, _)) => one == two,
            _ => self.key() == other.key(),
        }
    }
}

/// Every key of `--limit`, with the form of its value.
pub const KEYS: [(&str, &str); 18] = [
    ("memory", "SIZE"),
    ("swap", "SIZE"),
    ("cpu", "CPUS or PERCENT%"),
    ("cpu-weight", "1-10000"),
    ("cpus", "LIST"),
    ("pids", "NUMBER"),
    ("io-read", "DEVICE:SIZE"),
    ("io-write", "DEVICE:SIZE"),
    ("io-weight", "1-10000"),
    ("files", "NUMBER"),
    ("file-size", "SIZE"),
    ("core", "SIZE"),
    ("stack", "SIZE"),
    ("cpu-time", "DURATION"),
    ("processes", "NUMBER"),
    ("data", "SIZE"),
    ("nice", "-20-19"),
    ("time", "DURATION"),
];

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let Some((key, value)) = text.split_once('=') else {
            return Err(LimitError::Form {
                text: text.to_owned(),
            });
        };
        let bad = |why: &'static str| LimitError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            why,
        };
        let process = |resource, read: fn(&str) -> Result<u64, &'static str>| {
            let value = match value {
                "unlimited" => None,
                value => Some(read(value).map_err(bad)?),
            };
            Ok(Self::Process(resource, value))
        };
        match key {
            "memory" => size(value).map(Self::Memory).map_err(bad),
            "swap" => value::size_or_none(value).map(Self::Swap).map_err(bad),
            "cpu" => share(value).map(Self::Cpu).map_err(bad),
            "cpu-weight" => weight(value).map(Self::CpuWeight).map_err(bad),
            "cpus" => cpus(value).map(Self::Cpus).map_err(bad),
            "pids" => amount(value).map(Self::Pids).map_err(bad),
            "io-read" => device_rate(value)
                .map(|(device, rate)| Self::IoRead(device, rate))
                .map_err(bad),
            "io-write" => device_rate(value)
                .map(|(device, rate)| Self::IoWrite(device, rate))
                .map_err(bad),
            "io-weight" => weight(value).map(Self::IoWeight).map_err(bad),
            "files" => process(Resource::Files, amount),
            "file-size" => process(Resource::FileSize, value::size_or_none),
            "core" => process(Resource::Core, value::size_or_none),
            "stack" => process(Resource::Stack, size),
            "cpu-time" => process(Resource::CpuTime, value::seconds),
            "processes" => process(Resource::Processes, amount),
            "data" => process(Resource::Data, size),
            "nice" => match value.parse() {
                Ok(nice @ -20..=19) => Ok(Self::Nice(nice)),
                _ => Err(bad("it is no whole number from -20 to 19")),
            },
            "time" => parse_duration(value).map(Self::Time).map_err(bad),
            _ => Err(LimitError::Key {
                key: key.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.key())?;
        let bytes = value::shown_size;
        match self {
            Self::Memory(n) | Self::Swap(n) => f.write_str(&bytes(*n)),
            Self::Cpu(n) => {
                let text = format!("{}.{:03}", n / 1000, n % 1000);
                f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
            }
            Self::CpuWeight(n) | Self::IoWeight(n) => n.fmt(f),
            Self::Cpus(list) => f.write_str(list),
            Self::Pids(n) => n.fmt(f),
            Self::IoRead(device, n) | Self::IoWrite(device, n) => {
                write!(f, "{device}:{}", bytes(*n))
            }
            Self::Process(_, None) => f.write_str("unlimited"),
            Self::Process(Resource::Files | Resource::Processes, Some(n)) => n.fmt(f),
            Self::Process(Resource::CpuTime, Some(n)) => {
                f.write_str(&shown_duration(Duration::from_secs(*n)))
            }
            Self::Process(_, Some(n)) => f.write_str(&bytes(*n)),
            Self::Nice(n) => n.fmt(f),
            Self::Time(time) => f.write_str(&shown_duration(*time)),
        }
    }
}

/// All limits of a jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Each at most once.
    all: Vec<Limit>,
    /// Whether a limit that cannot be enforced is done without instead of an error.
    pub best_effort: bool,
    /// How long after SIGTERM the jail is killed when its time is up.
    pub kill_after: Duration,
    /// Whether further programs join the jail, each perhaps with limits of its own within those of the jail.
    pub joined: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            best_effort: false,
            kill_after: KILL_AFTER,
            joined: false,
        }
    }
}

impl Limits {
    /// The limits, in the order in which they were first said.
    pub fn all(&self) -> &[Limit] {
        &self.all
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds a limit; it takes the place of another one of the same.
    pub fn set(&mut self, limit: Limit) {
        match self.all.iter_mut().find(|known| known.same(&limit)) {
            Some(known) => *known = limit,
            None => self.all.push(limit),
        }
    }

    /// Adds what one `--limit` says. A part without `=` goes on with the value before it: `cpus=0,2,memory=1G`.
    pub fn add(&mut self, text: &str) -> Result<(), LimitError> {
        let mut parts: Vec<String> = Vec::new();
        for part in text.split(',') {
            match parts.last_mut() {
                Some(last) if !part.contains('=') => {
                    last.push(',');
                    last.push_str(part);
                }
                _ => parts.push(part.to_owned()),
            }
        }
        for part in parts {
            self.set(part.parse()?);
        }
        Ok(())
    }

    /// Those of `self`, and those of `other` in the place of the same ones.
    pub fn with(mut self, other: &Self) -> Self {
        other.all.iter().cloned().for_each(|limit| self.set(limit));
        self.best_effort |= other.best_effort;
        if other.kill_after != KILL_AFTER {
            self.kill_after = other.kill_after;
        }
        self
    }

    /// Those that are of each process, and not of the jail as a whole.
    pub fn of_processes(&self) -> Self {
        let own = |limit: &&Limit| matches!(limit, Limit::Process(..) | Limit::Nice(_));
        Self {
            all: self.all.iter().filter(own).cloned().collect(),
            ..self.clone()
        }
    }

    /// Lowers limits of each process to what its starter may have itself: what is at most so much is kept by less.
    pub fn lower(&mut self, hard: &[(Resource, Option<u64>)]) {
        self.change(hard, |value, hard| {
            value.map_or(hard, |value| value.min(hard))
        });
    }

    /// As [`Self::lower`], of those only that are to be without limit.
    pub fn lower_unlimited(&mut self, hard: &[(Resource, Option<u64>)]) {
        self.change(hard, |value, hard| value.unwrap_or(hard));
    }

    fn change(
        &mut self,
        hard: &[(Resource, Option<u64>)],
        changed: impl Fn(Option<u64>, u64) -> u64,
    ) {
        for limit in &mut self.all {
            if let Limit::Process(resource, value) = limit
                && let Some((_, Some(hard))) = hard.iter().find(|(known, _)| known == resource)
            {
                *value = Some(changed(*value, *hard));
            }
        }
    }

    /// Whether a control group is needed.
    pub fn need_group(&self) -> bool {
        self.all.iter().any(|limit| limit.controller().is_some())
    }
}

#[cfg(test)]
mod tests;
