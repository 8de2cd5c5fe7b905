//! One process as proc(5) shows it, by a descriptor of its directory: what is read through it is of that process or
//! an error, also when its number is used again.

use rustix::fs::{FileType, Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The directory of a process.
#[derive(Debug)]
pub struct ProcDir {
    dir: OwnedFd,
    pid: u32,
}

/// What a file is, found without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
    /// The owner.
    pub uid: u32,
    /// Is it a socket?
    pub socket: bool,
}

fn identity(stat: &rustix::fs::Stat) -> Identity {
    Identity {
        dev: stat.st_dev,
        ino: stat.st_ino,
        uid: stat.st_uid,
        socket: FileType::from_raw_mode(stat.st_mode) == FileType::Socket,
    }
}

impl ProcDir {
    /// Opens `/proc/PID`.
    ///
    /// # Errors
    /// NotFound when there is no such process.
    pub fn open(pid: u32) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let dir = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty())?;
        Ok(Self { dir, pid })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The owner of its files: the effective user, or root when others may not look at it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn uid(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(&self.dir)?.st_uid)
    }

    /// The first `limit` bytes of one of its files.
    ///
    /// # Errors
    /// When it is gone, or may not be read.
    pub fn read(&self, file: &str, limit: usize) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, file, flags, Mode::empty())?;
        let mut text = Vec::new();
        io::Read::read_to_end(
            &mut io::Read::take(std::fs::File::from(file), limit as u64),
            &mut text,
        )?;
        Ok(text)
    }

    /// What one of its magic links leads to.
    ///
    /// # Errors
    /// When it is gone, or the caller may not trace it (ptrace(2), "Ptrace access mode checking").
    pub fn identity(&self, link: &str) -> io::Result<Identity> {
        let stat = rustix::fs::statat(&self.dir, link, rustix::fs::AtFlags::empty())?;
        Ok(identity(&stat))
    }

    /// Opens what a magic link leads to, when it is a file of the device `dev`. Anything else is not touched: opening
    /// a fifo or a device would do something.
    ///
    /// # Errors
    /// When it is gone, may not be opened, or is of another device (InvalidInput).
    pub fn open_of_device(&self, link: &str, dev: u64) -> io::Result<(OwnedFd, Identity)> {
        let pinned = rustix::fs::openat(
            &self.dir,
            link,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        reopen(pinned, dev)
    }

    /// The numbers of its open descriptors.
    ///
    /// # Errors
    /// When it is gone, or the caller may not trace it.
    pub fn descriptors(&self) -> io::Result<Vec<i32>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&self.dir, "fd", flags, Mode::empty())?;
        let mut numbers = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_str().ok();
            numbers.extend(name.and_then(|name| name.parse::<i32>().ok()));
        }
        Ok(numbers)
    }

    /// Opens a path as this process sees it, without following a link in it, when it is a file of the device `dev`.
    ///
    /// # Errors
    /// When there is none, or it is of another device (InvalidInput).
    pub fn open_in_its_root(
        &self,
        path: &std::path::Path,
        dev: u64,
    ) -> io::Result<(OwnedFd, Identity)> {
        let root = rustix::fs::openat(
            &self.dir,
            "root",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let relative = path.strip_prefix("/").unwrap_or(path);
        let pinned = rustix::fs::openat2(
            &root,
            relative,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_SYMLINKS,
        )?;
        reopen(pinned, dev)
    }
}

/// Opens what an O_PATH descriptor names, when it is of the device.
fn reopen(pinned: OwnedFd, dev: u64) -> io::Result<(OwnedFd, Identity)> {
    let found = identity(&rustix::fs::fstat(&pinned)?);
    if found.dev != dev {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let path = format!("/proc/self/fd/{}", pinned.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok((rustix::fs::open(path, flags, Mode::empty())?, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_process_is_read_by_its_directory() {
        let own = ProcDir::open(std::process::id()).expect("this process");
        let stat = own.read("stat", 4096).expect("stat");
        assert!(stat.starts_with(std::process::id().to_string().as_bytes()));
        assert_eq!(own.read("stat", 3).expect("stat").len(), 3);
        let net = own.identity("ns/net").expect("own");
        let (_, opened) = own.open_of_device("ns/net", net.dev).expect("nsfs");
        assert_eq!(opened, net);
        own.open_of_device("exe", net.dev)
            .expect_err("no namespace");
        let (file, dev) = {
            let file = std::fs::File::open("/proc/self/ns/net").expect("own");
            let dev = file.metadata().expect("own").dev();
            (file, dev)
        };
        let number = file.as_raw_fd();
        assert!(own.descriptors().expect("own").contains(&number));
        let (_, found) = own
            .open_of_device(&format!("fd/{number}"), dev)
            .expect("own");
        assert_eq!(found.ino, net.ino);
    }

    #[test]
    fn a_process_that_ended_is_gone_through_its_directory() {
        let mut child = std::process::Command::new("/bin/cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("a child");
        let dir = ProcDir::open(child.id()).expect("alive");
        assert!(dir.read("stat", 4096).is_ok());
        drop(child.stdin.take());
        child.wait().expect("ended");
        assert!(dir.read("stat", 4096).is_err());
        assert!(dir.descriptors().is_err());
    }
}
