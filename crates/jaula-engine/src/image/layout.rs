//! What a tree has before and beside its packages: what mmdebstrap(1) makes in `run_setup`, so that the outcome is the
//! same tree.

use super::error::BuildError;
use crate::error::{At, PathError};
use jaula_sys::tree::{self, Dir};
use std::ffi::CString;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Directories that are there whatever the packages bring.
const DIRS: [(&str, u32); 16] = [
    ("dev/pts", 0o755),
    ("dev/shm", 0o755),
    ("etc/apt/apt.conf.d", 0o755),
    ("etc/apt/preferences.d", 0o755),
    ("etc/apt/sources.list.d", 0o755),
    ("etc/dpkg/dpkg.cfg.d", 0o755),
    ("var/cache/apt/archives/partial", 0o700),
    ("var/lib/apt/lists/partial", 0o700),
    ("var/lib/dpkg/alternatives", 0o755),
    ("var/lib/dpkg/info", 0o755),
    ("var/lib/dpkg/parts", 0o755),
    ("var/lib/dpkg/triggers", 0o755),
    ("var/lib/dpkg/updates", 0o755),
    ("var/log/apt", 0o755),
    ("usr/sbin", 0o755),
    ("tmp", 0o1777),
];

/// Links of `/dev` (the nodes are made by whoever mounts something there: a build needs no right to make any).
const DEV_LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The tree being made. Every path is one of ours, relative, and goes through no link.
pub struct Tree<'a> {
    root: &'a Dir,
    shown: &'a Path,
    epoch: i64,
}

fn name(part: &str) -> CString {
    CString::new(part).unwrap_or_default()
}

impl<'a> Tree<'a> {
    pub fn new(root: &'a Dir, shown: &'a Path, epoch: i64) -> Self {
        Self { root, shown, epoch }
    }

    /// The parent of `path` and the last name.
    fn parent(&self, path: &str) -> std::io::Result<(Dir, CString)> {
        let (parent, last) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = if parent.is_empty() {
            self.root.try_clone()?
        } else {
            self.root.open_beneath(Path::new(parent))?
        };
        Ok((dir, name(last)))
    }

    pub fn make_dirs(&self, path: &str, mode: u32) -> Result<(), PathError> {
        let make = || -> std::io::Result<()> {
            let mut dir = self.root.try_clone()?;
            let parts: Vec<&str> = path.split('/').collect();
            for (at, part) in parts.iter().enumerate() {
                let part = name(part);
                match dir.make_dir(&part, 0o755) {
                    Ok(()) => {
                        let mode = if at + 1 == parts.len() { mode } else { 0o755 };
                        dir = dir.dir(&part)?;
                        dir.set_self(0, 0, mode, self.epoch, 0)?;
                    }
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        dir = dir.dir(&part)?
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        make().at("make", self.shown.join(path))
    }

    /// Writes a file anew, whatever was there.
    pub fn write(&self, path: &str, mode: u32, text: &[u8]) -> Result<(), PathError> {
        let write = || -> std::io::Result<()> {
            let (dir, last) = self.parent(path)?;
            match dir.unlink(&last) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = dir.create(&last, 0o600)?;
            file.write_all(text)?;
            tree::set_file(&file, 0, 0, mode, self.epoch, 0)
        };
        write().at("write", self.shown.join(path))
    }

    /// Writes the file anew with the owner and the mode of the one that is there.
    pub fn rewrite(&self, path: &str, text: &[u8]) -> Result<(), PathError> {
        let rewrite = || -> std::io::Result<()> {
            let (dir, last) = self.parent(path)?;
            let stat = dir.stat(&last)?;
            dir.unlink(&last)?;
            let mut file = dir.create(&last, 0o600)?;
            file.write_all(text)?;
            tree::set_file(&file, stat.uid, stat.gid, stat.mode, self.epoch, 0)
        };
        rewrite().at("write", self.shown.join(path))
    }

    /// Makes a symbolic link anew, whatever was there.
    pub fn link(&self, path: &str, to: &str) -> Result<(), PathError> {
        let link = || -> std::io::Result<()> {
            let (dir, last) = self.parent(path)?;
            match dir.unlink(&last) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            dir.symlink(&name(to), &last)?;
            dir.set_mtime(&last, self.epoch, 0)
        };
        link().at("make", self.shown.join(path))
    }

    /// Whether there is something of that name.
    pub fn is_there(&self, path: &str) -> bool {
        self.kind(path).is_some()
    }

    /// What has that name, if anything; a link is not followed.
    pub fn kind(&self, path: &str) -> Option<tree::Kind> {
        let there = self.parent(path).and_then(|(dir, last)| dir.stat(&last));
        there.ok().map(|stat| stat.kind)
    }

    /// Whether the directory that `path` is to be in is there.
    pub fn has_parent(&self, path: &str) -> bool {
        self.parent(path).is_ok()
    }

    /// Whether there is a file of that name.
    pub fn is_file(&self, path: &str) -> bool {
        let there = self.parent(path).and_then(|(dir, last)| dir.stat(&last));
        there.is_ok_and(|stat| stat.kind == tree::Kind::File)
    }

    /// Writes a file unless there is something of that name. Tells whether it did.
    pub fn write_new(&self, path: &str, mode: u32, text: &[u8]) -> Result<bool, PathError> {
        let there = self.parent(path).and_then(|(dir, last)| dir.stat(&last));
        match there {
            Ok(_) => Ok(false),
            Err(_) => self.write(path, mode, text).map(|()| true),
        }
    }

    /// The text of a file; nothing if there is none.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, PathError> {
        let read = || -> std::io::Result<Option<Vec<u8>>> {
            let opened = self.parent(path).and_then(|(dir, last)| dir.read(&last));
            let file = match opened {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                other => other?,
            };
            // dpkg's largest file, the list of everything installed, stays below this by far.
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(file, 256 << 20), &mut bytes)?;
            Ok(Some(bytes))
        };
        read().at("read", self.shown.join(path))
    }

    /// The same as text.
    pub fn read_text(&self, path: &str) -> Result<String, PathError> {
        Ok(String::from_utf8_lossy(&self.read(path)?.unwrap_or_default()).into_owned())
    }

    /// Gives a file another name; what has that name goes.
    pub fn rename(&self, path: &str, to: &str) -> Result<(), PathError> {
        let renamed = self.parent(path).and_then(|(dir, last)| {
            let (to_dir, to_last) = self.parent(to)?;
            dir.rename(&last, &to_dir, &to_last)
        });
        renamed.at("rename", self.shown.join(path))
    }

    /// Owner and mode of a directory that is there.
    pub fn own(&self, path: &str, uid: u32, gid: u32, mode: u32) -> Result<(), PathError> {
        let own = self
            .root
            .open_beneath(Path::new(path))
            .and_then(|dir| dir.set_self(uid, gid, mode, self.epoch, 0));
        own.at("set the owner of", self.shown.join(path))
    }

    /// apt gives what it downloads to a user of its own.
    pub fn own_apt(&self) -> Result<(), PathError> {
        let passwd = self.read_text("etc/passwd")?;
        let apt = passwd
            .lines()
            .find_map(|line| line.strip_prefix("_apt:")?.split(':').nth(1)?.parse().ok());
        if let Some(apt) = apt {
            self.own("var/cache/apt/archives/partial", apt, 0, 0o700)?;
            self.own("var/lib/apt/lists/partial", apt, 0, 0o700)?;
        }
        Ok(())
    }

    /// Removes a name that is no directory, if it is there.
    pub fn remove(&self, path: &str) -> Result<(), PathError> {
        let (dir, last) = match self.parent(path) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(());
            }
            other => other.at("open", self.shown.join(path))?,
        };
        match dir.unlink(&last) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).at("remove", self.shown.join(path))
            }
            _ => Ok(()),
        }
    }

    /// Removes an empty directory, if it is there.
    pub fn remove_dir(&self, path: &str) -> Result<(), PathError> {
        let removed = self
            .parent(path)
            .and_then(|(dir, last)| dir.remove_dir(&last));
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).at("remove", self.shown.join(path))
            }
            _ => Ok(()),
        }
    }

    /// Everything that is there before packages are unpacked.
    pub fn begin(&self, arch: &str, sources_list: &str) -> Result<(), BuildError> {
        for (path, mode) in DIRS {
            self.make_dirs(path, mode)?;
        }
        let dev = self
            .root
            .open_beneath(Path::new("dev"))
            .at("open", self.shown.join("dev"))?;
        for (link, target) in DEV_LINKS {
            let made = dev
                .symlink(&name(target), &name(link))
                .and_then(|()| dev.set_mtime(&name(link), self.epoch, 0));
            made.at("make", self.shown.join("dev").join(link))?;
        }
        self.write(
            "etc/fstab",
            0o644,
            b"# UNCONFIGURED FSTAB FOR BASE SYSTEM\n",
        )?;
        // Not the host's: the image is the same wherever it is made. A jail has its own.
        self.write("etc/hostname", 0o644, b"localhost\n")?;
        self.write("etc/resolv.conf", 0o644, b"")?;
        self.write("etc/apt/sources.list", 0o644, sources_list.as_bytes())?;
        self.write("var/lib/dpkg/arch", 0o644, format!("{arch}\n").as_bytes())?;
        Ok(())
    }
}
