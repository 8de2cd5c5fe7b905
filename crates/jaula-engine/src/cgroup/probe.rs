//! The hierarchies of this host, and a process's own groups in them.

use super::PREFIX;
use jaula_plan::facts::cgroup::{Legacy, LimitFacts, Place};
use jaula_plan::spec::jail::{IdSpec, JailSpec};
use jaula_plan::spec::limits::{Device, Limit, Resource};
use jaula_sys::cgroup::writable;
use jaula_sys::limits::{hard, nice, resource};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// The most groups above one that are looked at.
const DEPTH: usize = 32;

/// What a plan with these limits needs to know; nothing is read when there are none.
pub fn facts(spec: &JailSpec) -> LimitFacts {
    facts_at(spec, None)
}

/// As [`facts`], for a program that joins the jail of a running process: its limits are within those of the jail.
pub fn facts_at(spec: &JailSpec, jail: Option<u32>) -> LimitFacts {
    let mut facts = LimitFacts::default();
    if spec.limits.is_empty() {
        return facts;
    }
    if spec.limits.need_group() {
        for (hierarchy, dir) in own_groups(jail) {
            match hierarchy {
                Hierarchy::Unified => facts.unified = Some(places(&dir)),
                Hierarchy::Legacy(controllers) => facts.legacy.push(legacy(controllers, dir)),
            }
        }
        facts.cpus = trimmed(Path::new("/sys/devices/system/cpu/online"));
    }
    let host_ids = spec.ids == IdSpec::Host;
    for limit in spec.limits.all() {
        match limit {
            Limit::Process(kind, _) => {
                if let Ok(hard) = hard(number(*kind)) {
                    facts.hard.push((*kind, hard));
                }
                // CAP_SYS_RESOURCE
                facts.may_raise = host_ids && has_capability(24);
            }
            Limit::Nice(_) => {
                // CAP_SYS_NICE
                let free = host_ids && has_capability(23);
                let lowest = if free { -20 } else { nice().1 };
                facts.lowest_nice = i8::try_from(lowest).unwrap_or(0);
            }
            Limit::IoRead(Device::Path(path), _) | Limit::IoWrite(Device::Path(path), _) => {
                facts
                    .devices
                    .extend(block_device(path).map(|number| (path.clone(), number)));
            }
            _ => {}
        }
    }
    facts
}

/// The hard limits of this process; none: no limit.
pub(crate) fn hard_limits() -> Vec<(Resource, Option<u64>)> {
    let all = Resource::ALL.into_iter();
    all.filter_map(|kind| Some((kind, hard(number(kind)).ok()?)))
        .collect()
}

/// The kernel's number of a resource.
pub(crate) fn number(kind: Resource) -> u32 {
    match kind {
        Resource::Files => resource::NOFILE,
        Resource::FileSize => resource::FSIZE,
        Resource::Core => resource::CORE,
        Resource::Stack => resource::STACK,
        Resource::CpuTime => resource::CPU,
        Resource::Processes => resource::NPROC,
        Resource::Data => resource::DATA,
    }
}

fn has_capability(number: u32) -> bool {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set >> number & 1 == 1)
}

/// The numbers of a block device; of the whole disk for a partition, which cannot be limited by itself.
fn block_device(path: &Path) -> Option<(u32, u32)> {
    let meta = std::fs::metadata(path).ok()?;
    if !meta.file_type().is_block_device() {
        return None;
    }
    // makedev(3), as Linux encodes it.
    let device = meta.rdev();
    let (major, minor) = (
        (device >> 8 & 0xfff) as u32 | (device >> 32 & !0xfff) as u32,
        (device & 0xff) as u32 | (device >> 12 & !0xff) as u32,
    );
    let own = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    if own.join("partition").exists() {
        let disk = trimmed(&own.join("../dev"));
        let (major, minor) = disk.split_once(':')?;
        return Some((major.parse().ok()?, minor.parse().ok()?));
    }
    Some((major, minor))
}

fn trimmed(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

/// A hierarchy: the unified one, or one of the first version with these controllers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hierarchy {
    Unified,
    Legacy(Vec<String>),
}

/// The groups of a process, of this one when none is named, by hierarchy: those that can be seen here.
pub(super) fn own_groups(pid: Option<u32>) -> Vec<(Hierarchy, PathBuf)> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mounts = read("/proc/self/mountinfo");
    let groups = match pid {
        Some(pid) => read(&format!("/proc/{pid}/cgroup")),
        None => read("/proc/self/cgroup"),
    };
    locate(&mounts, &groups)
}

/// From proc_pid_mountinfo(5) and proc_pid_cgroup(5) to directories.
fn locate(mounts: &str, groups: &str) -> Vec<(Hierarchy, PathBuf)> {
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::read).collect();
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let names: Vec<String> = controllers
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        let ours = |mount: &&Mount| match names.as_slice() {
            [] => mount.unified,
            names => !mount.unified && names.iter().all(|name| mount.options.contains(name)),
        };
        // The last mount of a hierarchy is as good as the first.
        let Some(dir) = mounts.iter().filter(ours).find_map(|mount| mount.dir(path)) else {
            continue;
        };
        let hierarchy = match names.is_empty() {
            true => Hierarchy::Unified,
            false => Hierarchy::Legacy(names),
        };
        found.push((hierarchy, dir));
    }
    found
}

struct Mount {
    unified: bool,
    root: PathBuf,
    at: PathBuf,
    options: Vec<String>,
}

impl Mount {
    fn read(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let unified = match after.next()? {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        let options = after.nth(1)?.split(',').map(str::to_owned).collect();
        let mut fields = before.split(' ').skip(3);
        Some(Self {
            unified,
            root: unescaped(fields.next()?),
            at: unescaped(fields.next()?),
            options,
        })
    }

    /// The directory of a group; none when it is outside of what is mounted.
    fn dir(&self, group: &str) -> Option<PathBuf> {
        let path = Path::new(group);
        let plain = |path: &Path| !path.components().any(|part| part == Component::ParentDir);
        let within = path.strip_prefix(&self.root).ok()?;
        (plain(path) && plain(&self.root)).then(|| self.at.join(within).components().collect())
    }
}

/// A field of mountinfo: blanks and backslashes are `\` and three octal digits.
fn unescaped(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|_| *byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(*byte));
        at += if octal.is_some() { 4 } else { 1 };
    }
    OsString::from_vec(out).into()
}

/// A group of the unified hierarchy and those above it, up to the first that is a jail's own or the last one there is.
fn places(own: &Path) -> Vec<Place> {
    let mut found = Vec::new();
    for dir in own.ancestors().take(DEPTH) {
        let Ok(controllers) = std::fs::read_to_string(dir.join("cgroup.controllers")) else {
            break;
        };
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let enabled = std::fs::read_to_string(dir.join("cgroup.subtree_control"));
        // The root of a hierarchy has no type, and may have both.
        let is_root = !dir.join("cgroup.type").exists();
        let processes = std::fs::read_to_string(dir.join("cgroup.procs"));
        found.push(Place {
            dir: dir.to_owned(),
            controllers: words(&controllers),
            enabled: words(&enabled.unwrap_or_default()),
            writable: writable(dir, true),
            busy: !is_root && processes.map_or(true, |text| !text.is_empty()),
        });
        if is_jails(dir) {
            break;
        }
    }
    found
}

/// Whether a group is one of ours.
pub(super) fn is_jails(dir: &Path) -> bool {
    dir.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(PREFIX))
}

fn legacy(controllers: Vec<String>, dir: PathBuf) -> Legacy {
    let has = |name: &str| controllers.iter().any(|known| known == name);
    let mems = match has("cpuset") {
        true => trimmed(&dir.join("cpuset.mems")),
        false => String::new(),
    };
    Legacy {
        swap: has("memory") && dir.join("memory.memsw.limit_in_bytes").exists(),
        writable: writable(&dir, false),
        mems,
        controllers,
        dir,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mounts: &str, groups: &str) -> Vec<(Hierarchy, PathBuf)> {
        locate(mounts, groups)
    }

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:4 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn groups_of_a_hybrid_host_are_found() {
        let groups = "4:memory:/a/b\n2:cpu,cpuacct:/\n1:name=systemd:/x\n0::/user.slice\n";
        let at = |path: &str| PathBuf::from("/sys/fs/cgroup").join(path);
        let legacy = |names: &[&str]| {
            Hierarchy::Legacy(names.iter().map(|name| (*name).to_owned()).collect())
        };
        assert_eq!(
            found(HYBRID, groups),
            [
                (legacy(&["memory"]), at("memory/a/b")),
                (legacy(&["cpu", "cpuacct"]), at("cpu,cpuacct")),
                (Hierarchy::Unified, at("unified/user.slice")),
            ]
        );
    }

    #[test]
    fn a_part_of_a_hierarchy_may_be_mounted_anywhere() {
        let mount = r"41 31 0:38 /docker/x /my\040groups rw - cgroup2 cgroup2 rw";
        let dir = |group: &str| {
            found(mount, &format!("0::{group}\n"))
                .pop()
                .map(|(_, dir)| dir)
        };
        assert_eq!(dir("/docker/x/y"), Some("/my groups/y".into()));
        assert_eq!(dir("/docker/x"), Some("/my groups".into()));
        for outside in ["/docker", "/docker/xy", "/../x", "/docker/x/../y"] {
            assert_eq!(dir(outside), None, "{outside}");
        }
    }

    #[test]
    fn garbage_names_no_group() {
        assert_eq!(found("x\n - \n1 - cgroup2\n", "0::/\n"), []);
        assert_eq!(found(HYBRID, "::\n0:\nx\n"), []);
    }
}
