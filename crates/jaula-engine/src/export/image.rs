//! Images of file systems and cpio archives into a file.

use super::compress::{Compressor, workers};
use super::scan::Scan;
use super::{ExportError, ext4};
use crate::error::At;
use jaula_plan::output::{BlockCompression, OutputKind};
use jaula_plan::step::Compression;
use jaula_repo::pack::{Item, Packed, cpio, erofs, squashfs};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What an image needs besides the tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// What it is.
    pub kind: OutputKind,
    /// The time that it says it was made at: seconds since 1970.
    pub time: i64,
    /// Its bytes, where that is free.
    pub size: Option<u64>,
}

/// The newest time in a tree, for an image that says when it was made.
pub(super) fn newest(scan: &Scan<'_>) -> i64 {
    scan.items
        .iter()
        .map(|item| item.mtime)
        .max()
        .unwrap_or(0)
        .max(0)
}

fn name_of(items: &[Item], index: usize) -> &Path {
    let name = items.get(index).map_or(&[][..], |item| &item.name);
    Path::new(OsStr::from_bytes(name))
}

/// A large buffer in front of a file.
fn buffered(file: File) -> BufWriter<File> {
    BufWriter::with_capacity(1 << 20, file)
}

/// Writes the tree to an empty file.
pub(super) fn write(
    scan: &mut Scan<'_>,
    file: File,
    part: &Path,
    wish: Wish,
    tell: &mut dyn FnMut(u64, u64, &Path),
) -> Result<(File, Packed), ExportError> {
    let (items, uuid) = (scan.items.clone(), scan.uuid());
    let mut told = |done: u64, bytes: u64, index: usize| tell(done, bytes, name_of(&items, index));
    let written = match wish.kind {
        OutputKind::Squashfs(how) => {
            let options = squashfs::Options {
                compression: match how {
                    BlockCompression::Gzip => squashfs::Compression::Gzip,
                    BlockCompression::Xz => squashfs::Compression::Xz,
                    BlockCompression::Zstd => squashfs::Compression::Zstd,
                },
                time: wish.time,
                threads: workers(),
            };
            squashfs::write(&items, scan, buffered(file), &options, &mut told)
        }
        OutputKind::Erofs => {
            super::bounded(scan)?;
            let options = erofs::Options {
                time: wish.time,
                uuid,
            };
            erofs::write(&items, scan, buffered(file), &options, &mut told)
        }
        OutputKind::Ext4 => {
            return ext4::write(scan, &items, file, part, wish, uuid, &mut told);
        }
        other => {
            return Err(ExportError::Foreign {
                step: other.to_string(),
            });
        }
    };
    let (out, packed) = written.map_err(|error| scan.explained(error, part))?;
    let file = out
        .into_inner()
        .map_err(|error| error.into_error())
        .at("write", part)?;
    Ok((file, packed))
}

/// Writes a cpio archive to wherever it goes.
pub(super) fn write_cpio<W: Write>(
    scan: &mut Scan<'_>,
    out: W,
    target: &Path,
    how: Compression,
    tell: &mut dyn FnMut(u64, u64, &Path),
) -> Result<(W, Packed), ExportError> {
    super::bounded(scan)?;
    let items = scan.items.clone();
    let mut told = |done: u64, bytes: u64, index: usize| tell(done, bytes, name_of(&items, index));
    let out = Compressor::for_kernel(out, how).at("compress", target)?;
    let written = cpio::write(&items, scan, out, &mut told);
    let (out, packed) = written.map_err(|error| scan.explained(error, target))?;
    Ok((out.finish().at("write", target)?, packed))
}
