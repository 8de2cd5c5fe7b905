//! Files of this machine: `file:`, `copy:`, and `cdrom:`, which is an ISO 9660 image that is read and never mounted.

use super::error::FetchError;
use jaula_repo::iso9660::{Iso, Node, NodeKind, ReadAt};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Component, Path, PathBuf};

/// Links that are followed in an image.
const MAX_LINKS: usize = 16;

/// Opens a file of this machine at a place. None for an address of a server.
pub fn open(url: &str, at: u64) -> Option<Result<Box<dyn Read>, FetchError>> {
    let disc = url.strip_prefix("cdrom://");
    let path = disc
        .or_else(|| url.strip_prefix("file://"))
        .or_else(|| url.strip_prefix("copy://"))?;
    let Some(path) = unescaped(path).filter(|path| path.is_absolute()) else {
        return Some(Err(FetchError::BadAddress {
            url: url.to_owned(),
        }));
    };
    let opened: io::Result<Box<dyn Read>> = if disc.is_some() {
        on_disc(&path, at)
    } else {
        plain(&path, at)
    };
    Some(opened.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FetchError::NotFound {
            url: url.to_owned(),
        },
        _ => FetchError::Read {
            url: url.to_owned(),
            source,
        },
    }))
}

/// The path of an address, its escapes undone.
fn unescaped(path: &str) -> Option<PathBuf> {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| (byte as char).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) if (high, low) != (0, 0) => bytes.push((high * 16 + low) as u8),
            _ => return None,
        }
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

fn plain(path: &Path, at: u64) -> io::Result<Box<dyn Read>> {
    // Before it is opened: a fifo would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(Box::new(file))
}

/// An image's bytes.
struct Image {
    file: File,
    len: u64,
}

impl ReadAt for Image {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

/// A file of an image, read from a place on.
struct OnDisc {
    iso: Iso<Image>,
    node: Node,
    at: u64,
}

impl Read for OnDisc {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.iso.read(&self.node, self.at, buf);
        let read = read.map_err(io::Error::other)?;
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}

/// The first part of the path that is no directory is the image; the rest is a path in it.
fn on_disc(path: &Path, at: u64) -> io::Result<Box<dyn Read>> {
    let mut image = PathBuf::new();
    let mut rest = path.components();
    loop {
        let part = rest
            .next()
            .ok_or_else(|| io::Error::other("no part of the path is an image"))?;
        if part == Component::ParentDir {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        image.push(part);
        let kind = std::fs::metadata(&image)?;
        if kind.is_file() || kind.file_type().is_block_device() {
            break;
        }
        if !kind.is_dir() {
            return Err(io::Error::other(
                "the image is neither a file nor a block device",
            ));
        }
    }
    let mut file = File::open(&image)?;
    let len = file.seek(SeekFrom::End(0))?;
    let iso = Iso::open(Image { file, len }).map_err(io::Error::other)?;
    let mut left: Vec<Vec<u8>> = rest
        .rev()
        .map(|part| part.as_os_str().as_bytes().to_owned())
        .collect();
    let mut links = 0;
    // The directories gone through, the root first.
    let mut dirs = vec![iso.root().map_err(io::Error::other)?];
    let mut found = None;
    while let Some(name) = left.pop() {
        match name.as_slice() {
            b"" | b"." => continue,
            // As in any tree: above its root is its root.
            b".." => {
                dirs.truncate(dirs.len().saturating_sub(1).max(1));
                continue;
            }
            _ => {}
        }
        let dir = dirs.last().ok_or(io::ErrorKind::NotFound)?;
        let node = iso
            .lookup(dir, &name)
            .map_err(io::Error::other)?
            .ok_or(io::ErrorKind::NotFound)?;
        match (node.kind, &node.target) {
            (NodeKind::Directory, _) => dirs.push(node),
            (NodeKind::Symlink, Some(target)) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other("too many links in the image"));
                }
                if target.starts_with(b"/") {
                    dirs.truncate(1);
                }
                left.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
            }
            (NodeKind::File, _) if left.is_empty() => found = Some(node),
            _ => return Err(io::ErrorKind::NotFound.into()),
        }
    }
    let node = found.ok_or(io::ErrorKind::NotFound)?;
    Ok(Box::new(OnDisc { iso, node, at }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaula_testkit::{relative::iso, skip};

    fn read(url: &str, at: u64) -> Result<String, FetchError> {
        let mut text = String::new();
        let mut file = open(url, at).expect("an address of this machine")?;
        file.read_to_string(&mut text)
            .map_err(|source| FetchError::Read {
                url: url.to_owned(),
                source,
            })?;
        Ok(text)
    }

    #[test]
    fn files_of_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a b"), "hello").unwrap();
        let here = dir.path().display();
        for scheme in ["file", "copy"] {
            assert_eq!(
                read(&format!("{scheme}://{here}/a%20b"), 0).unwrap(),
                "hello"
            );
            assert_eq!(read(&format!("{scheme}://{here}/a%20b"), 2).unwrap(), "llo");
            let none = read(&format!("{scheme}://{here}/a%20b/c"), 0);
            assert!(matches!(none, Err(FetchError::NotFound { .. })));
        }
        assert!(matches!(
            read(&format!("file://{here}"), 0),
            Err(FetchError::Read { .. })
        ));
        for bad in [
            "file://relative",
            "file:///x%00",
            "file:///x%2",
            "cdrom://x",
        ] {
            assert!(
                matches!(read(bad, 0), Err(FetchError::BadAddress { .. })),
                "{bad}"
            );
        }
        assert!(open("http://h/", 0).is_none());
    }

    #[test]
    fn a_disc_is_read_through_its_links_and_never_left() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("dists/buho")).unwrap();
        std::fs::write(tree.join("dists/buho/Release"), "release").unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        for (target, name) in [
            ("buho", "dists/stable"),
            ("/dists/buho", "dists/absolute"),
            ("../../../../../dists/buho", "dists/above"),
            ("round", "dists/round"),
            (dir.path().join("secret").to_str().unwrap(), "out"),
        ] {
            std::os::unix::fs::symlink(target, tree.join(name)).unwrap();
        }
        let disc = dir.path().join("d.iso");
        if let Err(error) = iso(&tree, &disc, false) {
            skip!("no disc: {error:#}");
        }
        let url = |path: &str| format!("cdrom://{}/{path}", disc.display());
        for way in ["buho", "stable", "absolute", "above"] {
            assert_eq!(
                read(&url(&format!("dists/{way}/Release")), 0).unwrap(),
                "release",
                "{way}"
            );
        }
        assert_eq!(read(&url("dists/buho/Release"), 3).unwrap(), "ease");
        for none in [
            "dists/buho/InRelease",
            "out",
            "dists/buho/Release/x",
            "dists",
            "../secret",
        ] {
            assert!(
                matches!(
                    read(&url(none), 0),
                    Err(FetchError::NotFound { .. } | FetchError::Read { .. })
                ),
                "{none}"
            );
        }
        assert!(matches!(
            read(&url("dists/round/x"), 0),
            Err(FetchError::Read { .. })
        ));
        // Not a disc, and no file at all.
        let file = format!("cdrom://{}/x", dir.path().join("secret").display());
        assert!(matches!(read(&file, 0), Err(FetchError::Read { .. })));
        assert!(matches!(
            read("cdrom:///no/such.iso/x", 0),
            Err(FetchError::NotFound { .. })
        ));
    }
}
