//! What an image can be written as: by a word, or by the ending of a name.

use crate::step::Compression;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// How a squashfs is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockCompression {
    /// gzip, for the oldest kernels.
    Gzip,
    /// xz: the smallest.
    Xz,
    /// Zstandard.
    #[default]
    Zstd,
}

/// What a tree is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputKind {
    /// An ordinary tree.
    Directory,
    /// A tar archive (POSIX pax).
    Tar(Compression),
    /// A cpio archive (newc), as the kernel's initramfs.
    Cpio(Compression),
    /// A squashfs image.
    Squashfs(BlockCompression),
    /// An ext4 image.
    Ext4,
    /// An erofs image.
    Erofs,
    /// The directory of an OCI image layout, with one layer.
    OciDirectory(Compression),
    /// The same as a tar archive.
    OciArchive(Compression),
    /// Nothing: the image is made, and stays in the store.
    Null,
}

/// A word that names no kind of output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {0:?}")]
pub struct UnknownFormat(pub String);

/// The words of the kinds, for help and completion. `tar.gz` and the like are words too.
pub const WORDS: [&str; 17] = [
    "directory",
    "tar",
    "tar.gz",
    "tar.xz",
    "tar.zst",
    "squashfs",
    "squashfs-gzip",
    "squashfs-xz",
    "ext4",
    "erofs",
    "cpio",
    "cpio.gz",
    "cpio.xz",
    "cpio.zst",
    "oci",
    "oci-zstd",
    "null",
];

impl OutputKind {
    /// By the ending of a file's name; none when it says nothing, and a directory is meant.
    ///
    /// # Errors
    /// For endings of kinds that are not written.
    pub fn of_name(name: &str) -> Result<Option<Self>, UnknownFormat> {
        if let Some(base) = name
            .strip_suffix(".tar")
            .filter(|base| base.ends_with(".oci"))
        {
            return match base.len() {
                0..=4 => Err(UnknownFormat(name.to_owned())),
                _ => Ok(Some(Self::OciArchive(Compression::Gzip))),
            };
        }
        if let Some(compression) = Compression::of_name(name) {
            return Ok(Some(Self::Tar(compression)));
        }
        let table = [
            (".cpio", Self::Cpio(Compression::None)),
            (".cpio.gz", Self::Cpio(Compression::Gzip)),
            (".cpio.xz", Self::Cpio(Compression::Xz)),
            (".cpio.zst", Self::Cpio(Compression::Zstd)),
            (".squashfs", Self::Squashfs(BlockCompression::Zstd)),
            (".sqfs", Self::Squashfs(BlockCompression::Zstd)),
            (".ext4", Self::Ext4),
            (".img", Self::Ext4),
            (".erofs", Self::Erofs),
            (".oci", Self::OciDirectory(Compression::Gzip)),
        ];
        let found = table.into_iter().find(|(suffix, _)| name.ends_with(suffix));
        if let Some((_, kind)) = found {
            return Ok(Some(kind));
        }
        let others = [
            ".zip", ".iso", ".qcow2", ".vhd", ".vmdk", ".ext2", ".ext3", ".raw", ".rar", ".7z",
        ];
        if name.contains(".tar.")
            || name.contains(".cpio.")
            || others.iter().any(|end| name.ends_with(end))
        {
            return Err(UnknownFormat(name.to_owned()));
        }
        Ok(None)
    }

    /// Whether it is written from its beginning to its end, so that it can go into a pipe.
    pub const fn streams(self) -> bool {
        matches!(self, Self::Tar(_) | Self::Cpio(_))
    }

    /// Whether it comes to be a directory.
    pub const fn is_directory(self) -> bool {
        matches!(self, Self::Directory | Self::OciDirectory(_))
    }

    /// What writes such an image, by the tools that there are for it.
    pub(crate) fn command(self, root: &str, path: &str, size: Option<u64>) -> String {
        match self {
            Self::Squashfs(how) => {
                let how = match how {
                    BlockCompression::Gzip => "gzip",
                    BlockCompression::Xz => "xz",
                    BlockCompression::Zstd => "zstd",
                };
                format!("mksquashfs {root} {path} -noappend -comp {how} -no-exports")
            }
            Self::Ext4 => {
                let size = size.map_or(String::new(), |size| format!(" {}k", size / 1024));
                format!("mke2fs -t ext4 -d {root} {path}{size}")
            }
            Self::Erofs => format!("mkfs.erofs {path} {root}"),
            Self::Cpio(how) => {
                let filter = match how {
                    Compression::None => "",
                    Compression::Gzip => " | gzip",
                    Compression::Xz => " | xz --check=crc32",
                    Compression::Zstd => " | zstd",
                };
                format!(
                    "(cd {root} && find . -print0 | LC_ALL=C sort -z | \\\n    cpio --null --create --format=newc --reproducible){filter} > {path}"
                )
            }
            Self::OciDirectory(_) | Self::OciArchive(_) => format!(
                "umoci init --layout {path} && umoci new --image {path}:latest && umoci insert --image {path}:latest {root} /"
            ),
            Self::Directory | Self::Tar(_) | Self::Null => String::new(),
        }
    }
}

impl FromStr for OutputKind {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        Ok(match word {
            "directory" | "dir" => Self::Directory,
            "squashfs" | "sqfs" | "squashfs-zstd" => Self::Squashfs(BlockCompression::Zstd),
            "squashfs-gzip" => Self::Squashfs(BlockCompression::Gzip),
            "squashfs-xz" => Self::Squashfs(BlockCompression::Xz),
            "ext4" => Self::Ext4,
            "erofs" => Self::Erofs,
            "oci" | "oci-gzip" => Self::OciDirectory(Compression::Gzip),
            "oci-zstd" => Self::OciDirectory(Compression::Zstd),
            "null" => Self::Null,
            _ if word.starts_with("tar") || word.starts_with("cpio") => {
                match Self::of_name(&format!("x.{word}"))? {
                    Some(kind) => kind,
                    None => return Err(UnknownFormat(word.to_owned())),
                }
            }
            _ => return Err(UnknownFormat(word.to_owned())),
        })
    }
}

impl fmt::Display for OutputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = |compression: &Compression| match compression {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Xz => ".xz",
            Compression::Zstd => ".zst",
        };
        match self {
            Self::Directory => f.write_str("directory"),
            Self::Tar(how) => write!(f, "tar{}", ending(how)),
            Self::Cpio(how) => write!(f, "cpio{}", ending(how)),
            Self::Squashfs(BlockCompression::Zstd) => f.write_str("squashfs"),
            Self::Squashfs(BlockCompression::Gzip) => f.write_str("squashfs-gzip"),
            Self::Squashfs(BlockCompression::Xz) => f.write_str("squashfs-xz"),
            Self::Ext4 => f.write_str("ext4"),
            Self::Erofs => f.write_str("erofs"),
            Self::OciDirectory(Compression::Zstd) | Self::OciArchive(Compression::Zstd) => {
                f.write_str("oci-zstd")
            }
            Self::OciDirectory(_) | Self::OciArchive(_) => f.write_str("oci"),
            Self::Null => f.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_what_is_written() {
        for (name, kind) in [
            ("d.tar", "tar"),
            ("d.tar.zst", "tar.zst"),
            ("d.txz", "tar.xz"),
            ("d.tgz", "tar.gz"),
            ("d.cpio", "cpio"),
            ("initrd.cpio.zst", "cpio.zst"),
            ("d.squashfs", "squashfs"),
            ("d.sqfs", "squashfs"),
            ("d.ext4", "ext4"),
            ("d.img", "ext4"),
            ("d.erofs", "erofs"),
            ("d.oci", "oci"),
        ] {
            let found = OutputKind::of_name(name).unwrap().unwrap();
            assert_eq!(found.to_string(), kind, "{name}");
            assert_eq!(kind.parse(), Ok(found), "{kind}");
        }
        assert_eq!(
            OutputKind::of_name("d.oci.tar"),
            Ok(Some(OutputKind::OciArchive(Compression::Gzip)))
        );
        for name in ["d", "tar", "d.d", "zst", "my.dir-squashfs"] {
            assert_eq!(OutputKind::of_name(name), Ok(None), "{name}");
        }
        for name in [
            "d.tar.bz2",
            "d.tar.lz4",
            "d.iso",
            "d.qcow2",
            "d.cpio.bz2",
            "d.ext2",
        ] {
            assert!(OutputKind::of_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn every_word_names_a_kind() {
        for word in WORDS {
            assert_eq!(word.parse::<OutputKind>().unwrap().to_string(), word);
        }
        for word in ["", "tarball", "tar.", "zip", "cpio.lz4", "ext2"] {
            assert!(word.parse::<OutputKind>().is_err(), "{word}");
        }
    }
}
