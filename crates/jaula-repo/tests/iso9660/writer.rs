//! Writes small images, byte by byte as the standards say, so that each byte can be altered.

use std::collections::HashMap;
use std::io::Write;

pub const SECTOR: usize = 2048;

/// What an item is.
pub enum What {
    File(Vec<u8>),
    /// A file in several parts, each but the last of whole blocks.
    Parts(Vec<Vec<u8>>),
    /// A file to be compressed with zisofs.
    Packed(Vec<u8>),
    Dir(Vec<Item>),
    Link(&'static str),
    Device(u32, u32),
    Fifo,
    /// Stands for the directory of this name that was moved to another place.
    Child(&'static str),
}

pub struct Item {
    pub iso: Vec<u8>,
    pub name: &'static str,
    pub what: What,
    pub mode: u32,
    pub flags: u8,
    /// A directory that was moved here.
    pub moved: bool,
    /// Further fields, before the others.
    pub extra: Vec<u8>,
}

fn item(iso: &[u8], name: &'static str, what: What, mode: u32) -> Item {
    Item {
        iso: iso.to_vec(),
        name,
        what,
        mode,
        flags: 0,
        moved: false,
        extra: vec![],
    }
}

pub fn file(iso: &str, name: &'static str, data: &[u8]) -> Item {
    item(iso.as_bytes(), name, What::File(data.to_vec()), 0o100_640)
}
pub fn parts(iso: &str, name: &'static str, parts: &[&[u8]]) -> Item {
    item(
        iso.as_bytes(),
        name,
        What::Parts(parts.iter().map(|p| p.to_vec()).collect()),
        0o100_644,
    )
}
pub fn packed(iso: &str, name: &'static str, data: &[u8]) -> Item {
    item(iso.as_bytes(), name, What::Packed(data.to_vec()), 0o100_644)
}
pub fn dir(iso: &str, name: &'static str, items: Vec<Item>) -> Item {
    item(iso.as_bytes(), name, What::Dir(items), 0o040_750)
}
pub fn link(iso: &str, name: &'static str, target: &'static str) -> Item {
    item(iso.as_bytes(), name, What::Link(target), 0o120_777)
}
pub fn device(iso: &str, name: &'static str, major: u32, minor: u32) -> Item {
    item(iso.as_bytes(), name, What::Device(major, minor), 0o020_666)
}
pub fn fifo(iso: &str, name: &'static str) -> Item {
    item(iso.as_bytes(), name, What::Fifo, 0o010_600)
}
pub fn child(iso: &str, name: &'static str) -> Item {
    item(iso.as_bytes(), name, What::Child(name), 0o040_700)
}
impl Item {
    pub fn moved(mut self) -> Self {
        self.moved = true;
        self
    }
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }
    pub fn extra(mut self, extra: &[u8]) -> Self {
        self.extra = extra.to_vec();
        self
    }
}

pub fn both32(n: u32) -> Vec<u8> {
    [n.to_le_bytes(), n.to_be_bytes()].concat()
}
fn both16(n: u16) -> Vec<u8> {
    [n.to_le_bytes(), n.to_be_bytes()].concat()
}
/// A System Use field.
pub fn field(signature: &[u8; 2], body: &[u8]) -> Vec<u8> {
    let mut raw = signature.to_vec();
    raw.extend([u8::try_from(4 + body.len()).unwrap(), 1]);
    raw.extend(body);
    raw
}
/// 2024-02-29 12:34:56, one hour east.
pub const DATE: [u8; 7] = [124, 2, 29, 12, 34, 56, 4];
pub const TIME: i64 = 1_709_206_496;

#[derive(Clone, Copy, PartialEq, Eq)]
enum TreeKind {
    Primary,
    Joliet,
}

pub struct Writer {
    pub rock: bool,
    /// Rock Ridge says what it is (`ER`).
    pub declared: bool,
    pub joliet: bool,
    pub block: usize,
    /// Fields behind this many bytes go to a continuation area.
    pub inline: usize,
    pub image: Vec<u8>,
    pub data: HashMap<usize, Vec<(u32, u32)>>,
    pub moved: HashMap<&'static str, u32>,
}

pub fn plain() -> Writer {
    Writer {
        rock: false,
        declared: true,
        joliet: false,
        block: SECTOR,
        inline: 140,
        image: vec![0; 20 * SECTOR],
        data: HashMap::new(),
        moved: HashMap::new(),
    }
}
pub fn rock() -> Writer {
    Writer {
        rock: true,
        ..plain()
    }
}
pub fn joliet() -> Writer {
    Writer {
        joliet: true,
        ..plain()
    }
}

impl Writer {
    pub fn write(mut self, items: &[Item]) -> Vec<u8> {
        let root = self.directory(items, None, TreeKind::Primary, false);
        let second = self
            .joliet
            .then(|| self.directory(items, None, TreeKind::Joliet, false));
        self.image
            .resize(self.image.len().next_multiple_of(SECTOR), 0);
        self.descriptor(16, 1, b"ETIQUETA", root);
        let mut end = 17;
        if let Some(second) = second {
            let label: Vec<u8> = "Etiquetá"
                .encode_utf16()
                .flat_map(u16::to_be_bytes)
                .collect();
            self.descriptor(17, 2, &label, second);
            self.image[17 * SECTOR + 88..][..3].copy_from_slice(b"%/E");
            end = 18;
        }
        self.image[end * SECTOR..][..7].copy_from_slice(b"\xffCD001\x01");
        self.image
    }

    fn descriptor(&mut self, sector: usize, kind: u8, label: &[u8], root: (u32, u32)) {
        let blocks = u32::try_from(self.image.len() / self.block).unwrap();
        let block = u16::try_from(self.block).unwrap();
        let record = record(&[0], root.0, root.1, 2, &[]);
        let raw = &mut self.image[sector * SECTOR..][..SECTOR];
        raw[..7].copy_from_slice(&[kind, b'C', b'D', b'0', b'0', b'1', 1]);
        let padding: &[u8] = if kind == 2 { &[0, b' '] } else { b"  " };
        raw[40..72].copy_from_slice(&padding.repeat(16));
        raw[40..40 + label.len()].copy_from_slice(label);
        raw[80..88].copy_from_slice(&both32(blocks));
        raw[128..132].copy_from_slice(&both16(block));
        raw[156..156 + record.len()].copy_from_slice(&record);
    }

    fn add(&mut self, data: &[u8]) -> u32 {
        let at = self.image.len();
        self.image.extend(data);
        self.image
            .resize(self.image.len().next_multiple_of(self.block), 0);
        u32::try_from(at / self.block).unwrap()
    }

    fn stored(&mut self, item: &Item) -> Vec<(u32, u32)> {
        let key = std::ptr::from_ref(item) as usize;
        if let Some(known) = self.data.get(&key) {
            return known.clone();
        }
        let pieces: Vec<Vec<u8>> = match &item.what {
            What::File(data) => vec![data.clone()],
            What::Parts(parts) => parts.clone(),
            What::Packed(data) => vec![zisofs(data)],
            _ => vec![vec![]],
        };
        let extents: Vec<_> = pieces
            .iter()
            .map(|p| (self.add(p), u32::try_from(p.len()).unwrap()))
            .collect();
        self.data.insert(key, extents.clone());
        extents
    }

    /// The fields of a record; what does not fit goes to a continuation area.
    fn fields(&mut self, item: Option<&Item>, root: bool) -> Vec<u8> {
        if !self.rock {
            return vec![];
        }
        let mut all = vec![];
        if root {
            all.push(field(b"SP", &[0xbe, 0xef, 0]));
        }
        let mode = item.map_or(0o040_755, |i| i.mode);
        let mut px = vec![];
        for n in [mode, 1, 1000, 100, 7] {
            px.extend(both32(n));
        }
        all.push(field(b"PX", &px));
        all.push(field(b"TF", &[&[0b1110][..], &DATE, &DATE, &DATE].concat()));
        if root && self.declared {
            all.push(field(
                b"ER",
                &[&[10, 3, 3, 1][..], b"RRIP_1991ATHEsrc"].concat(),
            ));
        }
        if let Some(item) = item {
            all.push(item.extra.clone());
            let chunks: Vec<&[u8]> = item.name.as_bytes().chunks(100).collect();
            for (n, chunk) in chunks.iter().enumerate() {
                all.push(field(
                    b"NM",
                    &[&[u8::from(n + 1 < chunks.len())][..], chunk].concat(),
                ));
            }
            match &item.what {
                What::Link(target) => all.extend(link_fields(target)),
                What::Device(major, minor) => {
                    all.push(field(b"PN", &[both32(*major), both32(*minor)].concat()))
                }
                What::Child(name) => all.push(field(b"CL", &both32(self.moved[name]))),
                What::Packed(data) => {
                    let size = u32::try_from(data.len()).unwrap();
                    all.push(field(b"ZF", &[&b"pz\x04\x0f"[..], &both32(size)].concat()));
                }
                _ => {}
            }
            if item.moved {
                all.push(field(b"RE", &[]));
            }
        }
        self.split(&all)
    }

    /// Joins fields; those that do not fit go to a block of their own, and so on.
    fn split(&mut self, all: &[Vec<u8>]) -> Vec<u8> {
        let mut here = vec![];
        for (n, one) in all.iter().enumerate() {
            let last = n + 1 == all.len();
            if here.len() + one.len() + if last { 0 } else { 28 } > self.inline {
                let inline = std::mem::replace(&mut self.inline, 500);
                let rest = self.split(&all[n..]);
                self.inline = inline;
                let block = self.add(&rest);
                let size = u32::try_from(rest.len()).unwrap();
                here.extend(field(
                    b"CE",
                    &[both32(block), both32(0), both32(size)].concat(),
                ));
                break;
            }
            here.extend(one);
        }
        here
    }

    fn directory(
        &mut self,
        items: &[Item],
        parent: Option<u32>,
        tree: TreeKind,
        moved: bool,
    ) -> (u32, u32) {
        let rock = self.rock;
        self.rock = rock && tree == TreeKind::Primary;
        // Room enough: a record has at most 255 bytes.
        let records: usize = items
            .iter()
            .map(|i| {
                if let What::Parts(p) = &i.what {
                    p.len()
                } else {
                    1
                }
            })
            .sum();
        let size = (records + 3).div_ceil(7) * SECTOR;
        let block = self.add(&vec![0; size]);
        let size32 = u32::try_from(size).unwrap();
        let own = self.fields(None, parent.is_none());
        let mut raw = vec![record(&[0], block, size32, 2, &own)];
        raw.push(record(&[1], parent.unwrap_or(block), size32, 2, &[]));
        for item in items {
            let name = match tree {
                TreeKind::Primary => item.iso.clone(),
                TreeKind::Joliet => item
                    .name
                    .encode_utf16()
                    .take(100)
                    .flat_map(u16::to_be_bytes)
                    .collect(),
            };
            if let What::Dir(inside) = &item.what {
                self.rock = rock;
                let (at, size) = self.directory(inside, Some(block), tree, item.moved);
                self.rock = rock && tree == TreeKind::Primary;
                if item.moved {
                    self.moved.insert(item.name, at);
                }
                let fields = self.fields(Some(item), false);
                raw.push(record(&name, at, size, 2 | item.flags, &fields));
                continue;
            }
            let fields = self.fields(Some(item), false);
            let extents = self.stored(item);
            for (n, (at, size)) in extents.iter().enumerate() {
                let more = if n + 1 < extents.len() { 0x80 } else { 0 };
                raw.push(record(&name, *at, *size, item.flags | more, &fields));
            }
        }
        let start = block as usize * self.block;
        let mut pos = start;
        for one in raw {
            if pos % SECTOR + one.len() > SECTOR {
                pos = pos.next_multiple_of(SECTOR);
            }
            self.image[pos..pos + one.len()].copy_from_slice(&one);
            pos += one.len();
        }
        assert!(pos <= start + size, "{moved}");
        self.rock = rock;
        (block, size32)
    }
}

/// A directory record.
pub fn record(name: &[u8], block: u32, size: u32, flags: u8, system_use: &[u8]) -> Vec<u8> {
    let mut raw = vec![0, 0];
    raw.extend(both32(block));
    raw.extend(both32(size));
    raw.extend(DATE);
    raw.extend([flags, 0, 0]);
    raw.extend(both16(1));
    raw.push(u8::try_from(name.len()).unwrap());
    raw.extend(name);
    if raw.len() % 2 == 1 {
        raw.push(0);
    }
    raw.extend(system_use);
    if raw.len() % 2 == 1 {
        raw.push(0);
    }
    raw[0] = u8::try_from(raw.len()).expect("fields behind the limit go to a continuation area");
    raw
}

/// A target as `SL` fields: components of at most 100 bytes, fields of at most two components.
fn link_fields(target: &str) -> Vec<Vec<u8>> {
    let mut components = vec![];
    let mut rest = target;
    if let Some(relative) = target.strip_prefix('/') {
        components.push(vec![8, 0]);
        rest = relative;
    }
    for name in rest.split('/') {
        match name {
            "." => components.push(vec![2, 0]),
            ".." => components.push(vec![4, 0]),
            _ => {
                let chunks: Vec<&[u8]> = name.as_bytes().chunks(100).collect();
                for (n, chunk) in chunks.iter().enumerate() {
                    let more = u8::from(n + 1 < chunks.len());
                    components
                        .push([&[more, u8::try_from(chunk.len()).unwrap()][..], chunk].concat());
                }
            }
        }
    }
    let fields: Vec<_> = components.chunks(2).collect();
    let last = fields.len() - 1;
    fields
        .iter()
        .enumerate()
        .map(|(n, c)| field(b"SL", &[&[u8::from(n < last)][..], &c.concat()].concat()))
        .collect()
}

/// Compresses with blocks of 32 KiB; a block of zeros becomes nothing.
pub fn zisofs(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x37, 0xe4, 0x53, 0x96, 0xc9, 0xdb, 0xd6, 0x07];
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out.extend([4, 15, 0, 0]);
    let blocks: Vec<Vec<u8>> = data
        .chunks(1 << 15)
        .map(|block| {
            if block.iter().all(|b| *b == 0) {
                return vec![];
            }
            let mut encoder =
                flate2::write::ZlibEncoder::new(vec![], flate2::Compression::default());
            encoder.write_all(block).unwrap();
            encoder.finish().unwrap()
        })
        .collect();
    let mut at = out.len() + 4 * (blocks.len() + 1);
    out.extend(u32::try_from(at).unwrap().to_le_bytes());
    for block in &blocks {
        at += block.len();
        out.extend(u32::try_from(at).unwrap().to_le_bytes());
    }
    out.extend(blocks.concat());
    out
}

/// Where these bytes are, from `from`; they must be there.
pub fn find(image: &[u8], from: usize, what: &[u8]) -> usize {
    from + image[from..]
        .windows(what.len())
        .position(|w| w == what)
        .expect("the bytes are in the image")
}

/// Where the record with this plain name begins.
pub fn record_of(image: &[u8], iso: &str) -> usize {
    find(
        image,
        20 * SECTOR,
        &[&[u8::try_from(iso.len()).unwrap()][..], iso.as_bytes()].concat(),
    ) - 32
}
