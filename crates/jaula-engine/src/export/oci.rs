//! A tree as an OCI image layout (OCI Image Format Specification 1.1: `image-layout.md`, `manifest.md`, `config.md`,
//! `layer.md`): one layer, one manifest, nothing that depends on the clock.

use super::compress::Compressor;
use super::tar::{TarOptions, Written, write_tar};
use super::{About, ExportError};
use crate::error::At;
use jaula_plan::step::Compression;
use jaula_repo::hex;
use jaula_sys::dir::Dir;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// A writer that hashes and counts what goes through it.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Hashed<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    fn finish(self) -> (W, String, u64) {
        let digest: [u8; 32] = self.hash.finalize().into();
        (self.inner, hex::encode(&digest), self.bytes)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// What the specification calls Debian's architectures (as Go does): architecture and variant.
fn platform(arch: &str) -> (&str, Option<&str>) {
    match arch {
        "i386" => ("386", None),
        "armhf" => ("arm", Some("v7")),
        "armel" => ("arm", Some("v5")),
        "arm64" => ("arm64", Some("v8")),
        "ppc64el" => ("ppc64le", None),
        "mips64el" => ("mips64le", None),
        "mipsel" => ("mipsle", None),
        "loong64" => ("loong64", None),
        other => (other, None),
    }
}

/// Fills the empty directory `part` with a layout of the tree.
pub(super) fn write(
    tree: &Dir,
    root: &Path,
    part: &Path,
    how: Compression,
    about: &About,
    tell: &mut dyn FnMut(u64, u64, &Path),
) -> Result<Written, ExportError> {
    let blobs = part.join("blobs");
    let sha = blobs.join("sha256");
    for dir in [&blobs, &sha] {
        DirBuilder::new().mode(0o755).create(dir).at("make", dir)?;
    }
    let path = sha.join("layer.part");
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .at("create", &path)?;
    let out = Hashed::new(BufWriter::with_capacity(1 << 20, file));
    let out = Hashed::new(Compressor::new(out, how).at("compress", &path)?);
    let options = TarOptions {
        clamp: about.newest,
        ..TarOptions::default()
    };
    let (out, written) = write_tar(tree, root, out, &path, &options, tell)?;
    let (compressor, diff_id, _) = out.finish();
    let (file, layer, size) = compressor.finish().at("write", &path)?.finish();
    let file = file
        .into_inner()
        .map_err(|error| error.into_error())
        .at("write", &path)?;
    file.sync_data().at("sync", &path)?;
    let named = sha.join(&layer);
    std::fs::rename(&path, &named).at("rename", &path)?;

    let (architecture, variant) = platform(&about.arch);
    let created = crate::sbom::timestamp(about.newest.unwrap_or(0));
    let mut config = json!({
        "architecture": architecture,
        "config": {
            "Cmd": ["/bin/sh"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "created": created,
        "history": [{ "created": created, "created_by": "jaula build" }],
        "os": "linux",
        "rootfs": { "diff_ids": [format!("sha256:{diff_id}")], "type": "layers" },
    });
    let mut here = json!({ "architecture": architecture, "os": "linux" });
    if let Some(variant) = variant {
        for of in [&mut config, &mut here] {
            if let Some(fields) = of.as_object_mut() {
                fields.insert("variant".to_owned(), json!(variant));
            }
        }
    }
    let ending = match how {
        Compression::None => "",
        Compression::Zstd => "+zstd",
        // The specification knows no other.
        Compression::Gzip | Compression::Xz => "+gzip",
    };
    let config = blob(&sha, &config, "application/vnd.oci.image.config.v1+json")?;
    let manifest = json!({
        "config": config,
        "layers": [{
            "digest": format!("sha256:{layer}"),
            "mediaType": format!("application/vnd.oci.image.layer.v1.tar{ending}"),
            "size": size,
        }],
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "schemaVersion": 2,
    });
    let mut manifest = blob(
        &sha,
        &manifest,
        "application/vnd.oci.image.manifest.v1+json",
    )?;
    if let Some(fields) = manifest.as_object_mut() {
        fields.insert("platform".to_owned(), here);
        let names = json!({ "org.opencontainers.image.ref.name": "latest" });
        fields.insert("annotations".to_owned(), names);
    }
    let index = json!({
        "manifests": [manifest],
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "schemaVersion": 2,
    });
    put(&part.join("index.json"), &index)?;
    put(
        &part.join("oci-layout"),
        &json!({ "imageLayoutVersion": "1.0.0" }),
    )?;
    Ok(written)
}

/// Writes JSON as a blob; its descriptor.
fn blob(dir: &Path, value: &Value, media_type: &str) -> Result<Value, ExportError> {
    let text = value.to_string();
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let digest = hex::encode(&digest);
    put(&dir.join(&digest), value)?;
    Ok(json!({
        "digest": format!("sha256:{digest}"),
        "mediaType": media_type,
        "size": text.len(),
    }))
}

fn put(path: &Path, value: &Value) -> Result<(), ExportError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .at("create", path)?;
    file.write_all(value.to_string().as_bytes())
        .at("write", path)?;
    Ok(file.sync_data().at("sync", path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_called_as_the_specification_has_them() {
        assert_eq!(platform("amd64"), ("amd64", None));
        assert_eq!(platform("armhf"), ("arm", Some("v7")));
        assert_eq!(platform("ppc64el"), ("ppc64le", None));
        assert_eq!(platform("riscv64"), ("riscv64", None));
    }
}
