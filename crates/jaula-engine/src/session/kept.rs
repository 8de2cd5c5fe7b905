//! A user namespace that outlives the session it was made for, because making it takes longer than everything else
//! that a start does: newuidmap(1) and newgidmap(1) are set-uid programs.
//!
//! A process holds it that does nothing else; no file can, for an ordinary user may bind none. It ends when no
//! session was started for a while, and when its entry in the store is gone. It is in the host's other namespaces, so
//! that it holds no mount of anybody.
//!
//! **Who finds it trusts nothing that he finds.** The entry only says where to look. A namespace is joined when the
//! kernel says that it belongs to the caller, that its parent is the caller's own namespace, and that its maps are, to
//! the byte, those that he would have made: then it gives nobody anything that a new one would not. Nobody else can
//! make such a namespace, and no process of a jail: those it makes have the jail's as their parent.

use super::{Caller, Maps};
use crate::jail::Running;
use jaula_sys::detach::detach;
use jaula_sys::watch::Watch;
use jaula_sys::{namespace, process, userns};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long a namespace is kept after the last session was started in it.
const IDLE: Duration = Duration::from_secs(30);

/// An entry is never longer than this.
const LIMIT: u64 = 256;

/// open(2): the same number on all architectures that we run on but three, where the check of the type does.
const O_NOFOLLOW: i32 = 0o400_000;

/// Where the entry is.
pub(super) struct Place {
    entry: PathBuf,
    uid: u32,
}

impl Place {
    /// None when the directory is not there, is not the caller's, or lets others in.
    pub(super) fn new(dir: &Path, caller: &Caller) -> Option<Self> {
        let meta = std::fs::symlink_metadata(dir).ok()?;
        let uid = caller.uid;
        (meta.is_dir() && meta.uid() == uid && meta.mode() & 0o077 == 0).then(|| Self {
            entry: dir.join("session"),
            uid,
        })
    }

    /// Whether there was a kept namespace with these maps, and this process is in it now.
    pub(super) fn join(&self, maps: &Maps) -> bool {
        self.found(maps)
            .is_some_and(|namespace| userns::join(namespace.as_fd()).is_ok())
    }

    /// The namespace, every property looked at.
    fn found(&self, maps: &Maps) -> Option<File> {
        let mut entry = OpenOptions::new()
            .read(true)
            .custom_flags(O_NOFOLLOW)
            .open(&self.entry)
            .ok()?;
        let meta = entry.metadata().ok()?;
        if !meta.is_file() || meta.uid() != self.uid {
            return None;
        }
        let mut text = String::new();
        (&mut entry).take(LIMIT).read_to_string(&mut text).ok()?;
        let holder: Running = serde_json::from_str(&text).ok()?;
        let proc = PathBuf::from(format!("/proc/{}", holder.pid));
        let namespace = File::open(proc.join("ns/user")).ok()?;
        let own = std::fs::metadata("/proc/self/ns/user").ok()?;
        let parent = File::from(namespace::parent(namespace.as_fd()).ok()?);
        let read = |name: &str| std::fs::read_to_string(proc.join(name)).ok();
        let right = namespace::owner_uid(namespace.as_fd()).ok()? == self.uid
            && same(&parent.metadata().ok()?, &own)
            && has(&read("uid_map")?, maps.own.0, maps.first.0, maps.count)
            && has(&read("gid_map")?, maps.own.1, maps.first.1, maps.count)
            && read("setgroups")?.trim() == "allow"
            // All that was read above is of the process that the entry names, if that one is still alive.
            && holder.is_alive();
        // What the holder looks at to know that its namespace is wanted.
        (right && entry.set_modified(SystemTime::now()).is_ok()).then_some(namespace)
    }

    /// Has the namespace that this process is in kept. That it cannot be is no error: then the next session makes
    /// another.
    pub(super) fn keep(&self) {
        let Ok(nothing) = File::open("/dev/null") else {
            return;
        };
        let mut hold = |_| {
            drop(self.hold());
            0
        };
        drop(detach(nothing.as_fd(), nothing.as_fd(), &mut hold));
    }

    /// What the holder does.
    fn hold(&self) -> std::io::Result<()> {
        // A change of identity hides a process; this one has to be found.
        process::let_be_seen().map_err(std::io::Error::other)?;
        let holder = std::process::id();
        let running = Running::of(holder).ok_or(std::io::ErrorKind::NotFound)?;
        let aside = self.entry.with_extension(format!("session-{holder}"));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(serde_json::to_string(&running)?.as_bytes())?;
        let own = file.metadata()?;
        let placed = std::fs::rename(&aside, &self.entry);
        drop(file);
        if placed.is_err() {
            return std::fs::remove_file(&aside);
        }
        let watch = Watch::new(&self.entry).map_err(std::io::Error::other)?;
        process::release_code();
        loop {
            let now = std::fs::symlink_metadata(&self.entry)?;
            if !same(&now, &own) {
                // Somebody else's, who holds another namespace.
                return Ok(());
            }
            // A clock that was set back makes it seem used just now.
            let unused = now.modified()?.elapsed().unwrap_or_default();
            let Some(left) = IDLE.checked_sub(unused).filter(|left| !left.is_zero()) else {
                return std::fs::remove_file(&self.entry);
            };
            watch.wait(i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX));
        }
    }
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Whether a map is the caller himself as 0, and his subordinate identifiers from 1 on, and nothing else.
fn has(map: &str, own: u32, first: u32, count: u32) -> bool {
    let mut found = map.split_ascii_whitespace().map(str::parse::<u32>);
    let wanted = [0, own, 1, 1, first, count];
    wanted
        .into_iter()
        .all(|number| found.next() == Some(Ok(number)))
        && found.next().is_none()
}

/// Whether this process is in a namespace with these maps: what was seen from outside was a process's word for its
/// namespace, and this is the kernel's.
pub(super) fn is_ours(maps: &Maps) -> bool {
    let read = |name: &str| std::fs::read_to_string(name).unwrap_or_default();
    has(
        &read("/proc/self/uid_map"),
        maps.own.0,
        maps.first.0,
        maps.count,
    ) && has(
        &read("/proc/self/gid_map"),
        maps.own.1,
        maps.first.1,
        maps.count,
    )
}

#[cfg(test)]
mod tests {
    use super::has;

    #[test]
    fn only_the_very_map_is_taken() {
        let map = "         0       1001          1\n         1     100000      65536\n";
        assert!(has(map, 1001, 100_000, 65536));
        assert!(!has(map, 1002, 100_000, 65536));
        assert!(!has(map, 1001, 100_001, 65536));
        assert!(!has(map, 1001, 100_000, 65535));
        assert!(!has(&format!("{map} 65537 0 1\n"), 1001, 100_000, 65536));
        assert!(!has("0 1001 1\n", 1001, 100_000, 65536));
        assert!(!has("", 1001, 100_000, 65536));
    }
}
