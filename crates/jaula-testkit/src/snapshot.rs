//! What a host looks like to those who share it, to show that a run left nothing behind.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// Links, mounts, loop devices, accounts, control groups and processes of this host.
///
/// Take one before, one after, and call [`HostSnapshot::assert_same`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSnapshot {
    /// Kind of thing → the sorted things.
    facts: BTreeMap<&'static str, Vec<String>>,
}

impl HostSnapshot {
    /// Reads the host as this process sees it. What cannot be read counts as empty.
    #[must_use]
    pub fn take() -> Self {
        let mut facts = BTreeMap::new();
        facts.insert("links", names("/sys/class/net"));
        facts.insert("addresses", told("ip", &["-o", "address"]));
        facts.insert("routes", routes());
        facts.insert("firewall", told("nft", &["list", "ruleset"]));
        facts.insert("switches", switches());
        facts.insert("mounts", mounts());
        facts.insert("loop devices", loops());
        facts.insert("accounts", accounts());
        facts.insert("control groups", groups());
        facts.insert("processes", processes());
        for list in facts.values_mut() {
            list.sort();
        }
        HostSnapshot { facts }
    }

    /// The differences, one line each: `+ mounts: …` appeared, `- links: …` went.
    #[must_use]
    pub fn difference(&self, after: &HostSnapshot) -> Vec<String> {
        let empty = Vec::new();
        let mut lines = Vec::new();
        for (kind, before) in &self.facts {
            let now = after.facts.get(kind).unwrap_or(&empty);
            let (before, now) = match *kind {
                // A driver that comes brings its own.
                "switches" => (&common(before, now), &common(now, before)),
                _ => (before, now),
            };
            lines.extend(surplus(before, now).map(|thing| format!("- {kind}: {thing}")));
            lines.extend(surplus(now, before).map(|thing| format!("+ {kind}: {thing}")));
        }
        lines
    }

    /// # Panics
    /// When `after` differs, with the differences.
    pub fn assert_same(&self, after: &HostSnapshot) {
        let lines = self.difference(after);
        assert!(lines.is_empty(), "the host changed:\n{}", lines.join("\n"));
    }
}

impl fmt::Display for HostSnapshot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, list) in &self.facts {
            writeln!(out, "{kind}: {}", list.len())?;
        }
        Ok(())
    }
}

/// Those lines of a list whose first word begins a line of another one too.
fn common(list: &[String], other: &[String]) -> Vec<String> {
    let first = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    let known: std::collections::BTreeSet<String> = other.iter().map(first).collect();
    let both = list.iter().filter(|line| known.contains(&first(line)));
    both.cloned().collect()
}

/// What `list` has more of than `other`.
fn surplus<'a>(list: &'a [String], other: &'a [String]) -> impl Iterator<Item = &'a String> {
    let mut left: Vec<&String> = other.iter().collect();
    list.iter().filter(
        move |thing| match left.iter().position(|known| known == thing) {
            Some(place) => {
                left.swap_remove(place);
                false
            }
            None => true,
        },
    )
}

fn names(dir: &str) -> Vec<String> {
    fs::read_dir(dir).map_or_else(
        |_| Vec::new(),
        |entries| {
            entries
                .filter_map(Result::ok)
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        },
    )
}

/// Root, mount point, type and source: ids change when nothing else does.
fn mounts() -> Vec<String> {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
        .map(|line| line.split(' ').skip(3).collect::<Vec<_>>().join(" "))
        .collect()
}

fn loops() -> Vec<String> {
    names("/sys/block")
        .into_iter()
        .filter_map(|name| {
            let file = Path::new("/sys/block")
                .join(&name)
                .join("loop/backing_file");
            fs::read_to_string(file)
                .ok()
                .map(|back| format!("{name} {}", back.trim()))
        })
        .collect()
}

/// Accounts, and what sshd and jailkit go by.
fn accounts() -> Vec<String> {
    let mut paths: Vec<String> = [
        "passwd",
        "group",
        "shadow",
        "gshadow",
        "subuid",
        "subgid",
        "shells",
        "ssh/sshd_config",
    ]
    .map(|name| format!("/etc/{name}"))
    .to_vec();
    for dir in ["/etc/ssh/sshd_config.d", "/etc/jailkit", "/etc/jaula"] {
        paths.extend(names(dir).into_iter().map(|name| format!("{dir}/{name}")));
    }
    let whole = paths.iter().filter_map(|path| {
        let bytes = fs::read(path).ok()?;
        Some(format!("{path} {}", crate::digest::sha256(&bytes)))
    });
    whole.collect()
}

/// The lines of a program's answer, without what counts down; none where there is no such program.
fn told(program: &str, words: &[&str]) -> Vec<String> {
    let mut command = std::process::Command::new(program);
    let output = command.args(words).output();
    let text = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let line = |line: &str| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        for falling in ["expires", "valid_lft", "preferred_lft"] {
            if let Some(place) = words.iter().position(|word| *word == falling) {
                words.drain(place..words.len().min(place + 2));
            }
        }
        words.join(" ")
    };
    text.lines().map(line).collect()
}

fn routes() -> Vec<String> {
    let mut all = told("ip", &["-4", "route", "show", "table", "all"]);
    all.extend(told("ip", &["-6", "route", "show", "table", "all"]));
    all
}

/// Switches of the network and of namespaces (sysctl(8)), but for those that only count, and keys that the kernel makes up
/// when it first needs them.
fn switches() -> Vec<String> {
    let mut found = Vec::new();
    let mut queue = ["net", "user"]
        .map(|name| Path::new("/proc/sys").join(name))
        .to_vec();
    while let Some(dir) = queue.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                queue.push(path);
            } else if !path.ends_with("nf_conntrack_count")
                && !path.to_string_lossy().ends_with("_key")
            {
                let value = fs::read_to_string(&path).unwrap_or_default();
                found.push(format!("{} {}", path.display(), value.trim()));
            }
        }
    }
    found
}

fn groups() -> Vec<String> {
    let mut found = Vec::new();
    let mut queue = vec![Path::new("/sys/fs/cgroup").to_path_buf()];
    while let Some(dir) = queue.pop() {
        for entry in fs::read_dir(&dir)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path().to_string_lossy().into_owned());
                queue.push(entry.path());
            }
        }
    }
    found
}

/// Processes whose program is called `jaula` something, by their command line.
fn processes() -> Vec<String> {
    names("/proc")
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            (name.trim() == "jaula").then(|| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                format!(
                    "{pid} {}",
                    String::from_utf8_lossy(&line).replace('\0', " ")
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_mount_is_seen_and_named() {
        crate::kernel_test!();
        let before = HostSnapshot::take();
        let dir = tempfile::tempdir().unwrap();
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "probe"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(done.success());
        let lines = before.difference(&HostSnapshot::take());
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("+ mounts:"), "{lines:?}");
        assert!(
            std::process::Command::new("umount")
                .arg(dir.path())
                .status()
                .unwrap()
                .success()
        );
        before.assert_same(&HostSnapshot::take());
    }

    #[test]
    fn addresses_routes_and_switches_are_seen() {
        let taken = HostSnapshot::take();
        for kind in ["addresses", "routes", "switches"] {
            assert!(!taken.facts[kind].is_empty(), "{kind}");
        }
        assert_eq!(
            taken.difference(&HostSnapshot::take()),
            Vec::<String>::new()
        );
    }
}
