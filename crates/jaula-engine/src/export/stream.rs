//! An image written as a tar archive to somebody who takes it from its beginning to its end, with the device nodes that
//! mmdebstrap(1) puts into its archives: an image of the store has none, because not everybody may make one.

use super::{Compressor, DEVICES, DevDir, ExportError, Meter, TarOptions, write_tar};
use crate::engine::Engine;
use crate::error::{At, EngineError};
use crate::event::Observer;
use crate::store::StoreError;
use jaula_plan::names::Digest;
use jaula_plan::step::Compression;
use jaula_sys::dir::Dir;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

const BLOCK: usize = 512;

/// How an archive is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamOptions {
    /// How it is compressed.
    pub compression: Compression,
    /// Times later than this become this, where that is earlier than the image's own: seconds since 1970.
    pub newest: Option<i64>,
    /// What is in its `/dev`.
    pub dev: DevDir,
}

/// The headers of the device nodes. They come first and with GNU's magic, as mmdebstrap(1) writes them: by this its archives
/// are told from others.
fn nodes(mtime: i64) -> Vec<u8> {
    let mut blocks = Vec::new();
    for (name, (major, minor)) in DEVICES {
        let mut block = [0u8; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(field) = block.get_mut(at..at.saturating_add(bytes.len())) {
                field.copy_from_slice(bytes);
            }
        };
        put(0, format!("./dev/{name}").as_bytes());
        put(100, b"0000666\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, b"00000000000\0");
        put(
            136,
            format!("{:011o}\0", mtime.clamp(0, (1 << 33) - 1)).as_bytes(),
        );
        put(148, b"        ");
        put(156, b"3");
        put(257, b"ustar  \0");
        put(329, format!("{major:07o}\0").as_bytes());
        put(337, format!("{minor:07o}\0").as_bytes());
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let sum = format!("{sum:06o}\0 ");
        if let Some(field) = block.get_mut(148..156) {
            field.copy_from_slice(sum.as_bytes().get(..8).unwrap_or(b"        "));
        }
        blocks.extend_from_slice(&block);
    }
    blocks
}

impl Engine {
    /// Writes an image as a tar archive.
    ///
    /// # Errors
    /// When something cannot be read or written; what was written so far is no archive then.
    pub fn stream<W: Write>(
        &self,
        image: &Digest,
        options: StreamOptions,
        out: W,
        observer: &dyn Observer,
    ) -> Result<W, EngineError> {
        let image = self
            .store()
            .image(image)?
            .ok_or(StoreError::NoImage { digest: *image })?;
        let held = image.hold()?;
        let info = self.store().info(image.digest())?;
        let own = Some(info.created).filter(|created| *created > 0);
        let newest = own.into_iter().chain(options.newest).min();
        let target = Path::new("the archive");
        let write = || -> Result<W, ExportError> {
            let meter = Meter::start(observer, 0, info.size);
            let tree = Dir::open(image.root()).at("open", image.root())?;
            let mut out = Compressor::new(out, options.compression).at("compress", target)?;
            if options.dev == DevDir::WithNodes {
                out.write_all(&nodes(newest.unwrap_or(0)))
                    .at("write", target)?;
            }
            let mut told = Instant::now();
            let mut tell = |items: u64, bytes: u64, name: &Path| {
                if told.elapsed().as_millis() >= 40 {
                    told = Instant::now();
                    meter.progress(items, bytes, jaula_plan::explain::shown(name));
                }
            };
            let options = TarOptions {
                clamp: newest,
                empty: (options.dev == DevDir::Empty).then(|| "dev".into()),
                ..TarOptions::default()
            };
            let (out, written) = write_tar(&tree, image.root(), out, target, &options, &mut tell)?;
            meter.finish(written.items, written.bytes);
            let mut out = out.finish().at("write", target)?;
            out.flush().at("write", target)?;
            Ok(out)
        };
        let out = write()?;
        drop(held);
        Ok(out)
    }
}
