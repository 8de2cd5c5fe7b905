//! The kernel's FUSE protocol, as far as a file system that is only read needs it: requests taken apart, answers put
//! together (`linux/fuse.h`, protocol 7). All numbers are in the machine's own byte order.

use jaula_repo::disk::{Attributes, NodeKind};

/// Bytes of `fuse_in_header`.
const IN_HEADER: usize = 40;
/// Bytes of `fuse_out_header`.
pub(super) const OUT_HEADER: usize = 16;

/// What the kernel asks. Names are without the NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask<'a> {
    Init {
        major: u32,
        read_ahead: u32,
        flags: u32,
    },
    Lookup(&'a [u8]),
    Attributes,
    ReadLink,
    Read {
        offset: u64,
        size: u32,
    },
    ReadDir {
        offset: u64,
        size: u32,
        plus: bool,
    },
    StatFs,
    Release,
    /// No answer is wanted.
    Forget,
    Destroy,
    /// Open or opendir: the kernel goes on without asking when it hears that there is no such call.
    Open,
    Other,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub unique: u64,
    pub node: u64,
    pub ask: Ask<'a>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let raw = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*raw))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let raw = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_ne_bytes(*raw))
}

impl<'a> Request<'a> {
    /// None when it is shorter than its kind.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let opcode = u32_at(bytes, 4)?;
        let body = bytes.get(IN_HEADER..)?;
        let ask = match opcode {
            1 => Ask::Lookup(body.split(|byte| *byte == 0).next()?),
            2 | 42 => Ask::Forget,
            3 => Ask::Attributes,
            5 => Ask::ReadLink,
            14 | 27 => Ask::Open,
            15 => Ask::Read {
                offset: u64_at(body, 8)?,
                size: u32_at(body, 16)?,
            },
            17 => Ask::StatFs,
            18 | 25 | 29 => Ask::Release,
            26 => Ask::Init {
                major: u32_at(body, 0)?,
                read_ahead: u32_at(body, 8)?,
                flags: u32_at(body, 12)?,
            },
            28 | 44 => Ask::ReadDir {
                offset: u64_at(body, 8)?,
                size: u32_at(body, 16)?,
                plus: opcode == 44,
            },
            // An interruption: what is asked for is always about to come.
            36 => Ask::Forget,
            38 => Ask::Destroy,
            _ => Ask::Other,
        };
        Some(Self {
            unique: u64_at(bytes, 8)?,
            node: u64_at(bytes, 16)?,
            ask,
        })
    }
}

/// An answer being put together; it grows from its header.
#[derive(Debug, Default)]
pub(super) struct Answer(Vec<u8>);

/// How long the kernel may believe what it was told, in seconds: nothing changes in an image.
const FOREVER: u64 = 1 << 30;

/// Flags of FUSE_INIT that are taken when the kernel offers them: reads at once, directories with attributes when they
/// are wanted, no open and no opendir, lookups side by side, longer reads, links kept.
const FLAGS: u32 = 1 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 18 | 1 << 22 | 1 << 23 | 1 << 24;

/// Pages of the longest read.
const MAX_PAGES: u16 = 256;

/// The longest read that is answered, in bytes.
pub(super) const MAX_READ: usize = MAX_PAGES as usize * 4096;

impl Answer {
    pub(super) fn start(&mut self, unique: u64) {
        self.0.clear();
        self.u32(0);
        self.u32(0);
        self.u64(unique);
    }

    /// The whole answer is this errno(3).
    pub(super) fn error(&mut self, unique: u64, errno: i32) {
        self.start(unique);
        if let Some(to) = self.0.get_mut(4..8) {
            to.copy_from_slice(&(-errno).to_ne_bytes());
        }
    }

    /// The finished bytes.
    pub(super) fn finish(&mut self) -> &[u8] {
        let len = u32::try_from(self.0.len()).unwrap_or(0);
        if let Some(to) = self.0.get_mut(..4) {
            to.copy_from_slice(&len.to_ne_bytes());
        }
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn u16(&mut self, number: u16) {
        self.0.extend(number.to_ne_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.0.extend(number.to_ne_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend(number.to_ne_bytes());
    }

    fn u16s<const N: usize>(&mut self, numbers: [u16; N]) {
        numbers.into_iter().for_each(|number| self.u16(number));
    }

    fn u32s<const N: usize>(&mut self, numbers: [u32; N]) {
        numbers.into_iter().for_each(|number| self.u32(number));
    }

    fn u64s<const N: usize>(&mut self, numbers: [u64; N]) {
        numbers.into_iter().for_each(|number| self.u64(number));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Room for `len` bytes that are filled in place; what is not filled is cut off by [`Answer::cut`].
    pub(super) fn room(&mut self, len: usize) -> &mut [u8] {
        let at = self.0.len();
        self.0.resize(at.saturating_add(len), 0);
        self.0.get_mut(at..).unwrap_or_default()
    }

    pub(super) fn cut(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// `fuse_init_out`
    pub(super) fn init(&mut self, read_ahead: u32, offered: u32) {
        // Minor version 31 is from Linux 5.4 on; newer fields are left out.
        self.u32s([7, 31]);
        self.u32(read_ahead);
        self.u32(offered & FLAGS);
        // Requests in the background, and where the kernel begins to wait.
        self.u16s([12, 9]);
        // The longest write, which never comes; the unit of times.
        self.u32s([4096, 1]);
        self.u16s([MAX_PAGES, 0]);
        self.room(32);
    }

    /// `fuse_attr`
    fn attributes(&mut self, known: &Attributes, owner: (u32, u32)) {
        self.u64(known.ino);
        self.u64(known.size);
        self.u64(known.size.div_ceil(512));
        for time in [known.atime, known.mtime, known.ctime] {
            self.u64(time as u64);
        }
        self.u32s([0, 0, 0]);
        self.u32(file_type(known.kind) << 12 | known.mode);
        self.u32(known.nlink);
        self.u32s([owner.0, owner.1]);
        let (major, minor) = known.device.unwrap_or((0, 0));
        // As new_encode_dev() of the kernel packs it.
        self.u32((minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12);
        self.u32s([4096, 0]);
    }

    /// `fuse_attr_out`
    pub(super) fn stat(&mut self, known: &Attributes, owner: (u32, u32)) {
        self.u64(FOREVER);
        self.u32(0);
        self.u32(0);
        self.attributes(known, owner);
    }

    /// `fuse_entry_out`; without a node, that there is none is remembered.
    pub(super) fn entry(&mut self, node: u64, known: Option<(&Attributes, (u32, u32))>) {
        self.u64s([node, 0]);
        self.u64s([FOREVER, FOREVER]);
        self.u32s([0, 0]);
        match known {
            Some((known, owner)) => self.attributes(known, owner),
            None => drop(self.room(88)),
        }
    }

    /// `fuse_dirent`, and its length in a list.
    pub(super) fn name(&mut self, ino: u64, next: u64, kind: NodeKind, name: &[u8]) {
        self.u64s([ino, next]);
        self.u32(name.len() as u32);
        self.u32(file_type(kind));
        self.bytes(name);
        let padded = self.0.len().next_multiple_of(8);
        self.0.resize(padded, 0);
    }

    /// `fuse_statfs_out`: full, as a read-only medium is.
    pub(super) fn stat_fs(&mut self, bytes: u64) {
        self.u64(bytes.div_ceil(2048));
        self.u64s([0, 0, 0, 0]);
        self.u32s([2048, 255, 2048]);
        self.room(28);
    }
}

/// Bytes of a name in a listing.
pub(super) fn name_len(name: &[u8], plus: bool) -> usize {
    let head = if plus { 24 + 128 } else { 24 };
    (head + name.len()).next_multiple_of(8)
}

/// The upper four bits of a mode (inode(7)).
fn file_type(kind: NodeKind) -> u32 {
    match kind {
        NodeKind::Fifo => 1,
        NodeKind::CharDevice => 2,
        NodeKind::Directory => 4,
        NodeKind::BlockDevice => 6,
        NodeKind::File => 8,
        NodeKind::Symlink => 10,
        NodeKind::Socket => 12,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(opcode: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((40 + body.len() as u32).to_ne_bytes());
        bytes.extend(opcode.to_ne_bytes());
        bytes.extend(77u64.to_ne_bytes());
        bytes.extend(5u64.to_ne_bytes());
        bytes.extend([0; 16]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn requests_are_taken_apart() {
        let bytes = request(1, b"name\0");
        let parsed = Request::parse(&bytes).unwrap();
        assert_eq!((parsed.unique, parsed.node), (77, 5));
        assert_eq!(parsed.ask, Ask::Lookup(b"name"));
        let mut body = [0u8; 40];
        body[8..16].copy_from_slice(&(5u64 << 32).to_ne_bytes());
        body[16..20].copy_from_slice(&4096u32.to_ne_bytes());
        let bytes = request(15, &body);
        let ask = Request::parse(&bytes).unwrap().ask;
        assert_eq!(
            ask,
            Ask::Read {
                offset: 5 << 32,
                size: 4096
            }
        );
        assert_eq!(Request::parse(&request(999, b"")).unwrap().ask, Ask::Other);
    }

    #[test]
    fn a_request_that_is_too_short_is_none() {
        let whole = request(15, &[0; 40]);
        for len in 0..60 {
            assert!(Request::parse(&whole[..len]).is_none(), "{len}");
        }
        assert!(Request::parse(&whole[..60]).is_some());
    }

    #[test]
    fn answers_have_the_sizes_of_the_kernels_structures() {
        let known = Attributes {
            kind: NodeKind::File,
            ino: 9,
            mode: 0o644,
            uid: 0,
            gid: 0,
            nlink: 1,
            size: 513,
            atime: 0,
            mtime: -1,
            ctime: 0,
            device: None,
        };
        let len = |make: &dyn Fn(&mut Answer)| {
            let mut answer = Answer::default();
            answer.start(1);
            make(&mut answer);
            let bytes = answer.finish().to_vec();
            assert_eq!(u32_at(&bytes, 0).unwrap() as usize, bytes.len());
            bytes.len() - OUT_HEADER
        };
        assert_eq!(len(&|a| a.init(0, 0)), 64);
        assert_eq!(len(&|a| a.stat(&known, (0, 0))), 104);
        assert_eq!(len(&|a| a.entry(2, Some((&known, (0, 0))))), 128);
        assert_eq!(len(&|a| a.entry(0, None)), 128);
        assert_eq!(len(&|a| a.stat_fs(1)), 80);
        assert_eq!(len(&|a| a.name(1, 1, NodeKind::File, b"abc")), 32);
        assert_eq!(name_len(b"abc", false), 32);
        assert_eq!(name_len(b"abc", true), 160);
    }

    #[test]
    fn an_error_is_negative_and_alone() {
        let mut answer = Answer::default();
        answer.start(3);
        answer.bytes(b"half of something");
        answer.error(3, 5);
        let bytes = answer.finish();
        assert_eq!(bytes.len(), OUT_HEADER);
        assert_eq!(u32_at(bytes, 4).unwrap() as i32, -5);
        assert_eq!(u64_at(bytes, 8), Some(3));
    }
}
