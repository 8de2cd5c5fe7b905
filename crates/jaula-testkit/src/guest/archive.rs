//! The guest's root as the kernel reads it: a cpio archive in the "new ASCII" form (initramfs buffer format,
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeMap;

/// Files by path; parents come before what is in them.
#[derive(Debug, Clone, Default)]
pub(super) struct Archive {
    entries: BTreeMap<String, (u32, Vec<u8>)>,
}

/// Kinds of files, as in stat(2).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

impl Archive {
    /// A directory and its parents; what is there already stays.
    pub fn dir(&mut self, path: &str, mode: u32) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.dir(parent, 0o755);
        }
        if !path.is_empty() {
            let made = (DIRECTORY | mode, Vec::new());
            self.entries.entry(path.to_owned()).or_insert(made);
        }
    }

    /// A file and its parents.
    pub fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.dir(parent, 0o755);
        }
        self.entries.insert(path.to_owned(), (FILE | mode, content));
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (path, (mode, content))) in (1_u32..).zip(&self.entries) {
            entry(&mut out, number, path, *mode, content);
        }
        entry(&mut out, 0, "TRAILER!!!", 0, &[]);
        out
    }
}

fn entry(out: &mut Vec<u8>, number: u32, path: &str, mode: u32, content: &[u8]) {
    let links = 1;
    let size = u32::try_from(content.len()).expect("a file of less than four gibibytes");
    let name = u32::try_from(path.len() + 1).expect("a short path");
    // Number, mode, user, group, links, time, size, four numbers of devices, length of the name, checksum.
    let fields = [number, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name, 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(4), 0);
}
