//! The plan's files, copied into a stage beneath its descriptor.

use super::host::Host;
use super::{MinimalImageError, MinimalPlan};
use crate::error::At;
use crate::event::{Event, Observer, Phase};
use crate::store::{Begin, Manifest, Store};
use crate::unpack::HashReader;
use crate::view::Image;
use jaula_plan::minimal::ItemKind;
use jaula_plan::names::Tag;
use jaula_sys::dir::{Dir, set_mtime};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

/// Makes the image. A file whose bytes are no more those of the plan is refused.
pub(super) fn make(
    plan: &MinimalPlan,
    store: &Store,
    tags: &[Tag],
    observer: &dyn Observer,
) -> Result<Image, MinimalImageError> {
    let stage = match store.begin(&plan.digest)? {
        Begin::Ready(image) => {
            store.label_keys(&plan.digest, tags, &[])?;
            return Ok(image);
        }
        Begin::Stage(stage) => stage,
    };
    let start = Instant::now();
    let (items, bytes) = (plan.taken.len() as u64, plan.bytes());
    observer.event(Event::Started {
        phase: Phase::Unpack,
        items,
        bytes,
    });
    let host = Host::open()?;
    let root = Dir::open(stage.root()).at("open", stage.root())?;
    let newest = plan.files().map(|(_, content)| content.mtime).max();
    let newest = newest.unwrap_or_default();
    for taken in &plan.taken {
        let path = &taken.path;
        let inside = path.strip_prefix("/").unwrap_or(path);
        match &taken.item.kind {
            // Whatever its mode will be, it is filled first.
            ItemKind::Directory { .. } => root.make_dir(inside, 0o700).at("make", path)?,
            ItemKind::Link { target } => {
                root.make_link(target.as_os_str(), inside)
                    .at("make", path)?;
                root.set_mtime(inside, newest, 0).at("change", path)?;
            }
            ItemKind::Made { mode, text } => {
                let mut to = root.create_file(inside, *mode).at("make", path)?;
                to.write_all(text.as_bytes()).at("write", path)?;
                jaula_sys::dir::set_mode(to.as_fd(), *mode).at("change", path)?;
                set_mtime(to.as_fd(), newest, 0).at("change", path)?;
            }
            ItemKind::File { mode, .. } => {
                let mut from = HashReader::new(host.file(path)?);
                let mut to = root.create_file(inside, *mode).at("make", path)?;
                std::io::copy(&mut from, &mut to).at("copy", path)?;
                let (size, digest) = from.finish().at("read", path)?;
                let same =
                    |content: &super::ContentOf| content.sha256.0 == digest && content.size == size;
                let content = taken.content.as_ref().filter(|content| same(content));
                let Some(content) = content else {
                    return Err(MinimalImageError::Changed { path: path.clone() });
                };
                jaula_sys::dir::set_mode(to.as_fd(), *mode).at("change", path)?;
                set_mtime(to.as_fd(), content.mtime, 0).at("change", path)?;
            }
        }
    }
    for taken in plan.taken.iter().rev() {
        if let ItemKind::Directory { mode } = taken.item.kind {
            let inside = taken.path.strip_prefix("/").unwrap_or(&taken.path);
            root.set_mtime(inside, newest, 0)
                .at("change", &taken.path)?;
            root.set_mode(inside, mode).at("change", &taken.path)?;
        }
    }
    root.set_mtime(Path::new("."), newest, 0)
        .at("change", stage.root())?;
    let manifest = Manifest {
        distro: "files".to_owned(),
        arch: plan.arch.clone(),
        created: newest,
        ..Manifest::default()
    };
    let mut lock = String::from("files of a host\n");
    for (taken, content) in plan.files() {
        let path = jaula_plan::explain::word(&taken.path);
        lock.push_str(&format!("sha256:{} {path}\n", content.sha256));
    }
    if let Some(record) = &plan.record {
        let path = stage.dir().join(super::kept::NAME);
        crate::store::write_new(&path, &super::kept::text(record)?)?;
        if !record.live.is_empty() {
            let path = stage.dir().join(super::live::NAME);
            let text = serde_json::to_vec(&record.live);
            let text = text.map_err(std::io::Error::from).at("write", &path)?;
            crate::store::write_new(&path, &text)?;
        }
    }
    let image = stage.publish_keys(plan.digest, &lock, &manifest, tags, &[])?;
    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    observer.event(Event::Finished {
        phase: Phase::Unpack,
        items,
        bytes,
        millis,
    });
    observer.event(Event::Made {
        what: "image",
        path: image.root().to_owned(),
    });
    Ok(image)
}
