//! Tar and ar archives written byte by byte, so that everything in them can be wrong.
#![allow(dead_code)]

/// One tar header, all fields open.
#[derive(Clone)]
pub struct H {
    pub name: Vec<u8>,
    pub mode: Vec<u8>,
    pub uid: Vec<u8>,
    pub gid: Vec<u8>,
    pub size: Vec<u8>,
    pub mtime: Vec<u8>,
    pub kind: u8,
    pub link: Vec<u8>,
    pub magic: Vec<u8>,
    pub major: Vec<u8>,
    pub minor: Vec<u8>,
    pub prefix: Vec<u8>,
    pub checksum: Option<Vec<u8>>,
}

pub fn h(kind: u8, name: &str) -> H {
    H {
        name: name.into(),
        mode: b"0000644\0".into(),
        uid: b"0000000\0".into(),
        gid: b"0000000\0".into(),
        size: b"00000000000\0".into(),
        mtime: b"14000000000\0".into(),
        kind,
        link: vec![],
        magic: b"ustar\x0000".into(),
        major: b"0000000\0".into(),
        minor: b"0000000\0".into(),
        prefix: vec![],
        checksum: None,
    }
}

impl H {
    pub fn link(mut self, to: &str) -> Self {
        self.link = to.into();
        self
    }
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
    pub fn sized(mut self, size: usize) -> Self {
        self.size = format!("{size:011o}\0").into();
        self
    }
    pub fn block(&self) -> Vec<u8> {
        let mut block = vec![0u8; 512];
        let fields: [(usize, usize, &[u8]); 12] = [
            (0, 100, &self.name),
            (100, 8, &self.mode),
            (108, 8, &self.uid),
            (116, 8, &self.gid),
            (124, 12, &self.size),
            (136, 12, &self.mtime),
            (156, 1, std::slice::from_ref(&self.kind)),
            (157, 100, &self.link),
            (257, 8, &self.magic),
            (329, 8, &self.major),
            (337, 8, &self.minor),
            (345, 155, &self.prefix),
        ];
        for (at, len, value) in fields {
            let len = len.min(value.len());
            block[at..at + len].copy_from_slice(&value[..len]);
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        let own = format!("{sum:06o}\0 ").into_bytes();
        let sum = self.checksum.as_deref().unwrap_or(&own);
        block[148..148 + sum.len()].copy_from_slice(sum);
        block
    }
    /// Header and content.
    pub fn data(self, content: &[u8]) -> Vec<u8> {
        let mut out = self.sized(content.len()).block();
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }
    pub fn empty(self) -> Vec<u8> {
        self.block()
    }
}

pub fn file(name: &str, content: &str) -> Vec<u8> {
    h(b'0', name).data(content.as_bytes())
}
pub fn dir(name: &str) -> Vec<u8> {
    h(b'5', name).empty()
}
pub fn symlink(name: &str, to: &str) -> Vec<u8> {
    h(b'2', name).link(to).empty()
}
pub fn hardlink(name: &str, to: &str) -> Vec<u8> {
    h(b'1', name).link(to).empty()
}

/// A PAX record with its right length.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [format!("{len} {key}=").as_bytes(), value, b"\n"].concat()
}

pub fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let body: Vec<u8> = records.iter().flat_map(|(k, v)| record(k, v)).collect();
    h(b'x', "PaxHeaders/x").data(&body)
}

/// Entries and the end mark.
pub fn tar(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = parts.concat();
    out.resize(out.len() + 1024, 0);
    out
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
        0,
        0,
        0,
        100644,
        content.len()
    )
    .into_bytes();
    out.extend_from_slice(content);
    if content.len() % 2 == 1 {
        out.push(b'\n');
    }
    out
}

pub fn ar(members: &[Vec<u8>]) -> Vec<u8> {
    [b"!<arch>\n".to_vec(), members.concat()].concat()
}

pub const CONTROL: &str =
    "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: M <m@example.org>\nDescription: d\n";

pub fn control() -> Vec<u8> {
    tar(&[dir("./"), file("./control", CONTROL)])
}

pub fn deb(control: &[u8], data: &[u8]) -> Vec<u8> {
    ar(&[
        member("debian-binary", b"2.0\n"),
        member("control.tar.gz", &gz(control)),
        member("data.tar.xz", &xz(data)),
    ])
}
