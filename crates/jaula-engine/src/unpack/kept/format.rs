//! The index of a kept package as bytes: numbers in little-endian order, each text with its length before it, and at the
//! end the SHA-256 of everything before. It is read only from our own store, and still bounded and checked.

use super::KeptEntry;
use jaula_repo::deb::archive::{Control, ControlFile};
use jaula_repo::tar::{Kind, Meta, TarPath};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The first bytes; another version has others and is made anew.
const MAGIC: &[u8] = b"jaula unpacked 1\n";
/// No index is longer, in bytes: a package's control part may have 64 MiB, and a million entries are half of the rest.
pub const LIMIT: u64 = 256 << 20;

const FILE: u8 = 0;
const DIRECTORY: u8 = 1;
const SYMLINK: u8 = 2;
const HARDLINK: u8 = 3;
const FIFO: u8 = 4;

/// The bytes of an index. Devices are not kept: no package with one is unpacked.
pub fn encode(control: &Control, entries: &[KeptEntry]) -> Vec<u8> {
    let mut out = Out(MAGIC.to_vec());
    out.bytes(control.text().as_bytes());
    out.number(control.files().len() as u64);
    for (name, file) in control.files() {
        out.bytes(name.as_bytes());
        out.number(file.mode.into());
        out.bytes(&file.content);
    }
    out.number(entries.len() as u64);
    for KeptEntry { meta, md5 } in entries {
        let (kind, target): (u8, &[u8]) = match &meta.kind {
            Kind::Directory => (DIRECTORY, b""),
            Kind::Symlink(target) => (SYMLINK, target),
            Kind::Hardlink(target) => (HARDLINK, target.as_bytes()),
            Kind::Fifo => (FIFO, b""),
            Kind::File | Kind::CharDevice { .. } | Kind::BlockDevice { .. } => (FILE, b""),
        };
        out.0.push(kind);
        out.bytes(match meta.path.is_root() {
            true => b".",
            false => meta.path.as_bytes(),
        });
        out.bytes(target);
        for number in [meta.mode, meta.uid, meta.gid] {
            out.0.extend_from_slice(&number.to_le_bytes());
        }
        out.0.extend_from_slice(&meta.mtime.to_le_bytes());
        out.number(meta.size);
        out.bytes(md5.as_ref().map_or(b"".as_slice(), |md5| md5.as_slice()));
        out.number(meta.xattrs.len() as u64);
        for (name, value) in &meta.xattrs {
            out.bytes(name.as_bytes());
            out.bytes(value);
        }
    }
    let digest = Sha256::digest(&out.0);
    out.0.extend_from_slice(&digest);
    out.0
}

struct Out(Vec<u8>);

impl Out {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

/// Reads an index. None if its digest or anything else is wrong.
pub fn decode(text: &[u8]) -> Option<(Control, Vec<KeptEntry>)> {
    let (body, digest) = text.split_at_checked(text.len().checked_sub(32)?)?;
    if Sha256::digest(body).as_slice() != digest {
        return None;
    }
    let mut left = In(body.strip_prefix(MAGIC)?);
    let control = left.bytes()?.to_vec();
    let mut files = BTreeMap::new();
    for _ in 0..left.number()? {
        let name = String::from_utf8(left.bytes()?.to_vec()).ok()?;
        let mode = u32::try_from(left.number()?).ok()?;
        let content = left.bytes()?.to_vec();
        files.insert(name, ControlFile { mode, content });
    }
    let control = Control::from_parts(control, files).ok()?;
    let count = left.number()?;
    let mut entries = Vec::with_capacity(usize::try_from(count).ok()?.min(1 << 16));
    for _ in 0..count {
        entries.push(left.entry()?);
    }
    left.0.is_empty().then_some((control, entries))
}

struct In<'t>(&'t [u8]);

impl<'t> In<'t> {
    fn take(&mut self, count: usize) -> Option<&'t [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn word(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'t [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.take(count)
    }

    fn entry(&mut self) -> Option<KeptEntry> {
        let kind = *self.take(1)?.first()?;
        let path = TarPath::parse(self.bytes()?).ok()?;
        let target = self.bytes()?;
        let kind = match kind {
            FILE => Kind::File,
            DIRECTORY => Kind::Directory,
            SYMLINK => Kind::Symlink(target.to_vec()),
            HARDLINK => Kind::Hardlink(TarPath::parse(target).ok()?),
            FIFO => Kind::Fifo,
            _ => return None,
        };
        let (mode, uid, gid) = (self.word()?, self.word()?, self.word()?);
        let mtime = i64::from_le_bytes(self.take(8)?.try_into().ok()?);
        let size = self.number()?;
        let md5 = match self.bytes()? {
            b"" => None,
            md5 => Some(md5.try_into().ok()?),
        };
        let mut xattrs = Vec::new();
        for _ in 0..self.number()? {
            let name = String::from_utf8(self.bytes()?.to_vec()).ok()?;
            xattrs.push((name, self.bytes()?.to_vec()));
        }
        let meta = Meta {
            path,
            kind,
            mode,
            uid,
            gid,
            mtime,
            mtime_nanos: 0,
            size,
            xattrs,
        };
        Some(KeptEntry { meta, md5 })
    }
}
