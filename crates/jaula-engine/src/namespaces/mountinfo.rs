//! Mounts of namespaces in mountinfo (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A mount of a namespace on a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NsMount {
    /// The name of its kind as the kernel writes it.
    pub kind: String,
    /// The namespace's inode.
    pub inode: u64,
    /// Where it is mounted, as the owner of the list sees it.
    pub target: PathBuf,
}

/// The mounts of namespaces in the text of a mountinfo, in its order. Lines of another form are passed over.
pub fn ns_mounts(text: &[u8]) -> Vec<NsMount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// Where anything is mounted, and the type of its file system, in the order of the text.
pub fn mounts(text: &[u8]) -> impl Iterator<Item = (PathBuf, &[u8])> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let target = PathBuf::from(OsString::from_vec(unescape(fields.nth(4)?)));
        // Optional fields end with a dash; behind it stands the type.
        fields.find(|field| *field == b"-")?;
        Some((target, fields.next()?))
    })
}

fn line(line: &[u8]) -> Option<NsMount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = std::str::from_utf8(fields.nth(3)?).ok()?;
    let target = fields.next()?;
    // Optional fields end with a dash; behind it stands the type.
    fields.find(|field| *field == b"-")?;
    if fields.next()? != b"nsfs" {
        return None;
    }
    let (kind, inode) = root.strip_suffix(']')?.split_once(":[")?;
    Some(NsMount {
        kind: kind.to_owned(),
        inode: inode.parse().ok()?,
        target: PathBuf::from(OsString::from_vec(unescape(target))),
    })
}

/// Octal escapes of blanks and backslashes as the characters they stand for.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        let digits = rest.get(..3).filter(|_| *first == b'\\');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        text = if byte.is_some() {
            rest.get(3..).unwrap_or_default()
        } else {
            rest
        };
    }
    // What the kernel writes behind a path that was unlinked.
    for suffix in [&b"//deleted"[..], b" (deleted)"] {
        if let Some(shorter) = bytes.strip_suffix(suffix) {
            return shorter.to_vec();
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_namespaces_are_found_among_others() {
        let text = b"22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            90 22 0:4 net:[4026532281] /run/netns/a\\040b rw shared:7 master:2 - nsfs nsfs rw\n\
            91 22 0:4 mnt:[4026532300] /run/x\\134y\\012z//deleted rw - nsfs nsfs rw\n\
            92 22 0:4 / /run/odd rw - nsfs nsfs rw\n\
            93 22 0:4 net:[x] /run/odd rw - nsfs nsfs rw\nrubbish\n";
        let found = ns_mounts(text);
        let shown: Vec<_> = found
            .iter()
            .map(|mount| (mount.kind.as_str(), mount.inode, mount.target.to_str()))
            .collect();
        let types: Vec<&[u8]> = mounts(text).map(|(_, kind)| kind).collect();
        assert_eq!(types, [&b"ext4"[..], b"nsfs", b"nsfs", b"nsfs", b"nsfs"]);
        assert_eq!(
            shown,
            [
                ("net", 4_026_532_281, Some("/run/netns/a b")),
                ("mnt", 4_026_532_300, Some("/run/x\\y\nz")),
            ]
        );
    }

    #[test]
    fn any_bytes_are_taken() {
        for text in [
            &b"\\"[..],
            b"\\99",
            b"1 2 3 net:[1] \\04 rw - nsfs",
            b"- - - - - -",
        ] {
            ns_mounts(text);
        }
        assert_eq!(unescape(b"a\\999\\04"), b"a\\999\\04");
    }
}
