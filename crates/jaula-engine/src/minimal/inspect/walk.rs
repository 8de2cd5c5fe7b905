//! Every entry of a jail's tree, beneath its descriptor.

use super::{ContentCheck, Fault, FaultKind, Mend};
use crate::error::{At, PathError};
use crate::minimal::MinimalImageError;
use crate::minimal::host::Host;
use crate::minimal::kept::origin;
use crate::minimal::within::inside;
use crate::unpack::HashReader;
use jaula_plan::explain::shown;
use jaula_plan::minimal::{Record, RecordedKind};
use jaula_repo::hex;
use jaula_sys::dir::{Dir as Beneath, Kind as Found, set_mode};
use jaula_sys::tree::{Dir, Kind, Stat, file_xattrs, remove_xattr};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directories within each other.
const MOST_DEPTH: usize = 128;
const SET_ID: u32 = 0o6000;
const CAPABILITY: &std::ffi::CStr = c"security.capability";

/// Devices that every jail may have, by major and minor: null, zero, full, random, urandom, tty, console, ptmx, tun,
/// fuse, kmsg's console.
const DEVICES: [(u64, u64); 11] = [
    (1, 3),
    (1, 5),
    (1, 7),
    (1, 8),
    (1, 9),
    (5, 0),
    (5, 1),
    (10, 200),
    (10, 229),
    (5, 2),
    (1, 11),
];

/// Looks at a whole tree.
pub(super) fn tree(
    top: &Path,
    mendable: bool,
    record: Option<&Record>,
    found: &mut ContentCheck,
    seen: &mut BTreeSet<PathBuf>,
) -> Result<(), MinimalImageError> {
    let dir = Dir::open(top).at("open", top)?;
    let device = dir.stat_self().at("look at", top)?.dev;
    let mut walk = Walk {
        device,
        mendable,
        record,
        found,
        seen,
    };
    walk.dir(&dir, Path::new("/"), 0)
}

struct Walk<'a> {
    device: u64,
    mendable: bool,
    record: Option<&'a Record>,
    found: &'a mut ContentCheck,
    /// What an upper layer has.
    seen: &'a mut BTreeSet<PathBuf>,
}

impl Walk<'_> {
    fn dir(&mut self, dir: &Dir, path: &Path, depth: usize) -> Result<(), MinimalImageError> {
        if depth > MOST_DEPTH {
            let why = format!("more than {MOST_DEPTH} directories are within each other");
            self.found.unseen(path, why);
            return Ok(());
        }
        let mut entries = dir.entries().at("list", path)?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in entries {
            let here = path.join(OsStr::from_bytes(entry.name.to_bytes()));
            let stat = match dir.stat(&entry.name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                stat => stat.at("look at", &here)?,
            };
            self.found.looked = self.found.looked.saturating_add(1);
            if !self.seen.insert(here.clone()) && stat.kind != Kind::Dir {
                continue;
            }
            match stat.kind {
                // What is mounted there is another one's.
                Kind::Dir if stat.dev != self.device => {}
                Kind::Dir => {
                    self.writable(&here, &stat);
                    let inner = dir.dir(&entry.name).at("open", &here)?;
                    self.dir(&inner, &here, depth.saturating_add(1))?;
                }
                Kind::File => {
                    self.set_id(&here, &stat);
                    self.writable(&here, &stat);
                    if stat.mode & 0o111 != 0 {
                        let file = dir.read(&entry.name).at("open", &here)?;
                        let names = file_xattrs(&file).at("look at", &here)?;
                        if names.iter().any(|(name, _)| name.as_c_str() == CAPABILITY) {
                            let mend = self.mendable.then_some(Mend::Capability);
                            let text = "has file capabilities: who executes it gets rights";
                            self.found.add(FaultKind::Capability, &here, text, mend);
                        }
                    }
                }
                Kind::Char | Kind::Block => self.node(&here, &stat),
                Kind::Symlink | Kind::Fifo | Kind::Socket => {}
            }
        }
        Ok(())
    }

    fn set_id(&mut self, path: &Path, stat: &Stat) {
        let bits = stat.mode & SET_ID;
        // Kept on purpose where the record says so.
        let kept = self.record.and_then(|record| record.entries.get(path));
        let kept = match kept.map(|entry| &entry.kind) {
            Some(RecordedKind::File { mode, .. }) => mode & SET_ID,
            _ => 0,
        };
        if bits & !kept == 0 || stat.mode & 0o111 == 0 {
            return;
        }
        let whose = match bits & 0o4000 != 0 {
            true => format!("user {}", stat.uid),
            false => format!("group {}", stat.gid),
        };
        let text = format!(
            "is set-id (mode {:04o}): who executes it becomes {whose}",
            stat.mode
        );
        let mend = self.mendable.then_some(Mend::Mode(SET_ID));
        self.found.add(FaultKind::SetId, path, text, mend);
    }

    fn writable(&mut self, path: &Path, stat: &Stat) {
        let sticky = stat.kind == Kind::Dir && stat.mode & 0o1000 != 0;
        if sticky || path.starts_with("/proc") || path.starts_with("/dev/pts") {
            return;
        }
        if stat.mode & 0o002 != 0 {
            let text = format!("can be written by everybody (mode {:04o})", stat.mode);
            let mend = self.mendable.then_some(Mend::Mode(0o002));
            self.found.add(FaultKind::Writable, path, text, mend);
        } else if stat.mode & 0o020 != 0 && stat.uid == 0 && stat.gid != 0 {
            let text = format!(
                "can be written by group {} (mode {:04o})",
                stat.gid, stat.mode
            );
            let mend = self.mendable.then_some(Mend::Mode(0o020));
            self.found.add(FaultKind::Writable, path, text, mend);
        }
    }

    fn node(&mut self, path: &Path, stat: &Stat) {
        // makedev(3) of the C library.
        let major = ((stat.rdev >> 8) & 0xfff) | ((stat.rdev >> 32) & 0xffff_f000);
        let minor = (stat.rdev & 0xff) | ((stat.rdev >> 12) & 0xffff_ff00);
        // What an overlay has in the place of what was removed.
        if stat.kind == Kind::Char && major == 0 && minor == 0 {
            return;
        }
        let usual = stat.kind == Kind::Char && DEVICES.contains(&(major, minor));
        if !usual {
            let text = format!("is the device {major}:{minor}, which no jail needs");
            self.found.add(FaultKind::Device, path, text, None);
        }
    }
}

/// What is at a path in the uppermost layer that has it.
enum There {
    Nothing,
    Link(PathBuf),
    File(std::fs::File),
    Other,
}

fn at(layers: &[Beneath], path: &Path) -> Result<There, PathError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(There::Other);
    };
    for layer in layers {
        let Ok(dir) = layer.open_dir(inside(parent)) else {
            continue;
        };
        let Ok(meta) = dir.meta(name) else { continue };
        return Ok(match meta.kind {
            Found::Link => There::Link(dir.read_link(name).at("read", path)?.into()),
            Found::File => There::File(dir.open_file(name).at("open", path)?),
            // What an overlay has in the place of what was removed.
            Found::CharDevice => There::Nothing,
            _ => There::Other,
        });
    }
    Ok(There::Nothing)
}

/// What was placed against what is there, and against what the host has now.
pub(super) fn compare(
    layers: &[PathBuf],
    record: &Record,
    found: &mut ContentCheck,
) -> Result<(), MinimalImageError> {
    let host = Host::open()?;
    let mut open = Vec::new();
    for layer in layers {
        open.push(Beneath::open(layer).at("open", layer)?);
    }
    let live = |path: &Path| record.live.iter().any(|bound| path.starts_with(bound));
    for (path, entry) in &record.entries {
        match &entry.kind {
            RecordedKind::Directory { .. } | RecordedKind::Made { .. } => {}
            RecordedKind::Link { target } => match at(&open, path)? {
                There::Nothing => {
                    found.add(FaultKind::Missing, path, "is not there any more", None)
                }
                There::Link(is) if is == *target => {}
                There::Link(is) => {
                    let text = format!("leads to {}, not to {}", shown(&is), shown(target));
                    found.add(FaultKind::Changed, path, text, None);
                }
                _ => found.add(FaultKind::Changed, path, "is no link any more", None),
            },
            RecordedKind::File { .. } if live(path) => {}
            RecordedKind::File {
                sha256,
                origin: was,
                ..
            } => {
                let is = match at(&open, path)? {
                    There::Nothing => {
                        found.add(FaultKind::Missing, path, "is not there any more", None);
                        continue;
                    }
                    There::File(file) => file,
                    _ => {
                        found.add(FaultKind::Changed, path, "is no file any more", None);
                        continue;
                    }
                };
                let now = path.symlink_metadata().ok().map(|meta| origin(&meta));
                let same_inode = is.metadata().ok().map(|meta| origin(&meta)) == now;
                // What is the host's own file is neither changed nor stale by itself.
                let in_jail = match same_inode {
                    true => None,
                    false => Some(hash(is, path)?),
                };
                let placed = match sha256 {
                    Some(sha256) => Some(sha256.clone()),
                    // Never hashed: the host's file tells, as long as it is the one of then.
                    None if same_inode => None,
                    None if now == Some(*was) => match host.file(path) {
                        Ok(file) => Some(hash(file, path)?),
                        Err(error) => {
                            found.unseen(
                                path,
                                format_args!("the host's cannot be read: {}", error.source),
                            );
                            continue;
                        }
                    },
                    None => None,
                };
                if let (Some(in_jail), Some(placed)) = (&in_jail, &placed)
                    && in_jail != placed
                {
                    found.add(
                        FaultKind::Changed,
                        path,
                        "is not what was placed there",
                        None,
                    );
                }
                if now != Some(*was) && !same_inode {
                    let on_host = match host.file(path) {
                        Ok(file) => Some(hash(file, path)?),
                        Err(_) if now.is_none() => None,
                        Err(error) => {
                            found.unseen(
                                path,
                                format_args!("the host's cannot be read: {}", error.source),
                            );
                            continue;
                        }
                    };
                    match on_host {
                        None => {
                            found.add(FaultKind::Stale, path, "is not on the host any more", None)
                        }
                        Some(on_host)
                            if placed.as_ref() != Some(&on_host)
                                && in_jail.as_ref() != Some(&on_host) =>
                        {
                            found.add(
                                FaultKind::Stale,
                                path,
                                "is another one on the host now",
                                None,
                            );
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }
    Ok(())
}

pub(in crate::minimal) fn hash(file: std::fs::File, path: &Path) -> Result<String, PathError> {
    let (_, digest) = HashReader::new(file).finish().at("read", path)?;
    Ok(hex::encode(&digest))
}

/// What a loader or the kernel reads of what was placed.
pub(super) fn loadable(record: &Record) -> Vec<PathBuf> {
    let files = record.entries.iter().filter(|(path, entry)| {
        let mode = match entry.kind {
            RecordedKind::File { mode, .. } => mode,
            _ => return false,
        };
        let name = path.file_name().unwrap_or_default().as_bytes();
        mode & 0o111 != 0 || name.windows(3).any(|part| part == b".so")
    });
    files.map(|(path, _)| path.clone()).collect()
}

/// Takes away bits and capabilities.
pub(super) fn mend(top: &Path, faults: &[Fault]) -> Result<usize, MinimalImageError> {
    let root = Dir::open(top).at("open", top)?;
    let mut done = 0usize;
    for fault in faults {
        let Some(mend) = fault.mend else { continue };
        let path = &fault.path;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let name = std::ffi::CString::new(name.as_bytes())
            .map_err(io::Error::from)
            .at("change", path)?;
        let dir = match inside(parent) {
            here if here == Path::new(".") => root.try_clone(),
            parent => root.open_beneath(parent),
        };
        let dir = dir.at("open", path)?;
        match mend {
            Mend::Mode(bits) if dir.stat(&name).at("look at", path)?.kind == Kind::Dir => {
                let inner = dir.dir(&name).at("open", path)?;
                let mode = inner.stat_self().at("look at", path)?.mode;
                set_mode(inner.as_fd(), mode & !bits).at("change", path)?;
            }
            Mend::Mode(_) | Mend::Capability => {
                let file = dir.read(&name).at("open", path)?;
                let meta = file.metadata().at("look at", path)?;
                // With another name it may be a file of the host's, which is not ours to mend.
                if meta.nlink() > 1 {
                    continue;
                }
                match mend {
                    Mend::Mode(bits) => set_mode(file.as_fd(), meta.mode() & 0o7777 & !bits),
                    Mend::Capability => remove_xattr(&file, CAPABILITY),
                }
                .at("change", path)?;
            }
        }
        done = done.saturating_add(1);
    }
    Ok(done)
}
