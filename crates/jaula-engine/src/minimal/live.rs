//! Files of the host that a jail has bound read-only at each start, instead of copies.

use super::{MinimalImageError, Taken};
use crate::error::At;
use crate::store::Store;
use jaula_plan::minimal::ItemKind;
use jaula_plan::names::Digest;
use jaula_plan::spec::jail::{BindOptions, MountSpec};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The list's name beside an image's root.
pub(super) const NAME: &str = "live.json";
/// It is never longer than this.
const MOST_BYTES: u64 = 16 << 20;

/// Takes out of the image what is bound, leaves a place for each bind, and lists the binds: whole directories where
/// everything in them is wanted, else single files.
pub(super) fn split(taken: &mut Vec<Taken>, whole: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    // Both are in the order of paths: what is beneath a directory follows it.
    let mut tops: Vec<&Path> = Vec::new();
    for dir in whole {
        if tops.last().is_none_or(|top| !dir.starts_with(top)) {
            tops.push(dir);
        }
    }
    let mut tops = tops.into_iter().peekable();
    let mut binds = BTreeSet::new();
    taken.retain_mut(|one| {
        let is_beneath = |top: &Path| {
            let bytes = one.path.as_os_str().as_bytes();
            let rest = bytes.strip_prefix(top.as_os_str().as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"/"))
        };
        while tops
            .next_if(|top| !is_beneath(top) && *top < one.path)
            .is_some()
        {}
        if let Some(dir) = tops.peek().filter(|top| is_beneath(top)) {
            if binds.last().is_none_or(|last: &PathBuf| last != dir) {
                binds.insert((*dir).to_owned());
            }
            return false;
        }
        if matches!(one.item.kind, ItemKind::File { .. }) {
            binds.insert(one.path.clone());
            one.content = None;
            one.item.kind = ItemKind::Made {
                mode: 0o444,
                text: String::new(),
            };
        }
        true
    });
    // A directory in which nothing is has nothing to be bound.
    binds.into_iter().collect()
}

/// The binds of a jail that stands on this image.
pub(crate) fn mounts(store: &Store, image: &Digest) -> Result<Vec<MountSpec>, MinimalImageError> {
    let path = store.image_dir(image).join(NAME);
    let mut text = Vec::new();
    match std::fs::File::open(&path) {
        // Every start asks: nothing else is read of an image that has no binds.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file
            .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text))
            .at("read", &path)?,
    };
    let live: Vec<PathBuf> = serde_json::from_slice(&text)
        .map_err(|source| MinimalImageError::Record { path, source })?;
    let bind = |path: PathBuf| MountSpec::Bind {
        from: path.clone(),
        to: path,
        options: BindOptions::READ_ONLY,
    };
    Ok(live.into_iter().map(bind).collect())
}
