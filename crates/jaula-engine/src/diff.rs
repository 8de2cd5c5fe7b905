//! What differs between two trees: packages by dpkg's databases, files by their attributes and bytes. Times do not
//! count. One and the same file under two trees is not read.

use crate::error::{At, EngineError, PathError};
use crate::export::ExportError;
use crate::export::scan::{Scan, scan};
use crate::sbom::{Package, packages};
use jaula_repo::deb::version;
use jaula_repo::pack::{Item, NodeKind};
use jaula_sys::dir::Dir;
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A package that is in both, in two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// The version in the first.
    pub from: String,
    /// The version in the second.
    pub to: String,
}

/// A package that is in one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Only {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Its version.
    pub version: String,
}

/// A file that is in both, and not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Its path beneath the root.
    pub path: String,
    /// What differs: `kind`, `mode`, `owner`, `size`, `content`, `link`, `device`, `xattr`, with both values where
    /// they are short.
    pub what: Vec<String>,
}

/// All that differs, the second against the first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Diff {
    /// Packages that only the second has.
    pub packages_added: Vec<Only>,
    /// Packages that only the first has.
    pub packages_removed: Vec<Only>,
    /// Packages whose version is higher in the second.
    pub packages_upgraded: Vec<Moved>,
    /// Packages whose version is lower in the second.
    pub packages_downgraded: Vec<Moved>,
    /// Paths that only the second has.
    pub files_added: Vec<String>,
    /// Paths that only the first has.
    pub files_removed: Vec<String>,
    /// Paths of both that are not the same.
    pub files_changed: Vec<Changed>,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares the trees at `a` and `b`.
pub(crate) fn diff(a: &Path, b: &Path, packages_only: bool) -> Result<Diff, EngineError> {
    let mut diff = Diff::default();
    compare_packages(&packages(a)?, &packages(b)?, &mut diff);
    if !packages_only {
        let (one, two) = (Dir::open(a).at("open", a)?, Dir::open(b).at("open", b)?);
        let (mut one, mut two) = (scan(&one, a, None, None)?, scan(&two, b, None, None)?);
        compare_files(&mut one, &mut two, (a, b), &mut diff).map_err(ExportError::from)?;
    }
    Ok(diff)
}

fn compare_packages(a: &[Package], b: &[Package], diff: &mut Diff) {
    type ByName<'a> = BTreeMap<(&'a str, &'a str), &'a str>;
    fn by_name(all: &[Package]) -> ByName<'_> {
        let pairs = all.iter().map(|p| ((&*p.name, &*p.arch), &*p.version));
        pairs.collect()
    }
    let (a, b) = (by_name(a), by_name(b));
    let only = |(name, arch): &(&str, &str), version: &str| Only {
        name: (*name).to_owned(),
        arch: (*arch).to_owned(),
        version: version.to_owned(),
    };
    for (key, version) in &a {
        match b.get(key) {
            None => diff.packages_removed.push(only(key, version)),
            Some(other) if other != version => {
                let moved = Moved {
                    name: key.0.to_owned(),
                    arch: key.1.to_owned(),
                    from: (*version).to_owned(),
                    to: (*other).to_owned(),
                };
                match version::cmp_versions(version, other) {
                    Ordering::Greater => diff.packages_downgraded.push(moved),
                    _ => diff.packages_upgraded.push(moved),
                }
            }
            Some(_) => {}
        }
    }
    let added = b.iter().filter(|(key, _)| !a.contains_key(*key));
    diff.packages_added
        .extend(added.map(|(key, version)| only(key, version)));
}

fn by_path(scan: &Scan<'_>) -> BTreeMap<PathBuf, usize> {
    (0..scan.items.len())
        .map(|index| (scan.path(index), index))
        .collect()
}

fn shown(path: &Path) -> String {
    let path = jaula_plan::explain::shown(path);
    if path.is_empty() {
        ".".to_owned()
    } else {
        path
    }
}

fn compare_files(
    a: &mut Scan<'_>,
    b: &mut Scan<'_>,
    roots: (&Path, &Path),
    diff: &mut Diff,
) -> Result<(), PathError> {
    let (all_a, all_b) = (by_path(a), by_path(b));
    let (items_a, items_b) = (a.items.clone(), b.items.clone());
    for (path, one) in &all_a {
        let Some(two) = all_b.get(path) else {
            diff.files_removed.push(shown(path));
            continue;
        };
        if a.inodes.get(*one) == b.inodes.get(*two) {
            continue;
        }
        let (Some(x), Some(y)) = (items_a.get(*one), items_b.get(*two)) else {
            continue;
        };
        let mut what = attributes(x, y);
        if x.kind == NodeKind::File && y.kind == NodeKind::File && x.size == y.size && x.size > 0 {
            let (at_a, at_b) = (roots.0.join(path), roots.1.join(path));
            let one = a.file(*one).at("open", at_a)?;
            let two = b.file(*two).at("open", at_b)?;
            if !same_bytes(one, two).at("read", roots.1.join(path))? {
                what.push("content".to_owned());
            }
        }
        if !what.is_empty() {
            diff.files_changed.push(Changed {
                path: shown(path),
                what,
            });
        }
    }
    let added = all_b.keys().filter(|path| !all_a.contains_key(*path));
    diff.files_added.extend(added.map(|path| shown(path)));
    Ok(())
}

/// What differs besides the bytes.
fn attributes(a: &Item, b: &Item) -> Vec<String> {
    let mut what = Vec::new();
    if a.kind != b.kind {
        let name = |kind| format!("{kind:?}").to_lowercase();
        return vec![format!("kind {} -> {}", name(a.kind), name(b.kind))];
    }
    if a.mode != b.mode {
        what.push(format!("mode {:04o} -> {:04o}", a.mode, b.mode));
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        what.push(format!("owner {}:{} -> {}:{}", a.uid, a.gid, b.uid, b.gid));
    }
    if a.size != b.size {
        what.push(format!("size {} -> {}", a.size, b.size));
    }
    if a.target != b.target {
        let text = |bytes: &[u8]| shown(Path::new(std::ffi::OsStr::from_bytes(bytes)));
        what.push(format!("link {} -> {}", text(&a.target), text(&b.target)));
    }
    if matches!(a.kind, NodeKind::CharDevice | NodeKind::BlockDevice) && a.device != b.device {
        let (one, two) = (a.device, b.device);
        what.push(format!("device {}:{} -> {}:{}", one.0, one.1, two.0, two.1));
    }
    if a.xattrs != b.xattrs {
        let names = a.xattrs.iter().chain(&b.xattrs).map(|(name, _)| name);
        let value = |of: &Item, name: &[u8]| {
            of.xattrs
                .iter()
                .find(|(own, _)| own == name)
                .map(|(_, value)| value.clone())
        };
        let mut differ: Vec<String> = names
            .filter(|name| value(a, name) != value(b, name))
            .map(|name| shown(Path::new(std::ffi::OsStr::from_bytes(name))))
            .collect();
        differ.sort_unstable();
        differ.dedup();
        what.push(format!("xattr {}", differ.join(", ")));
    }
    what
}

fn same_bytes(mut a: std::fs::File, mut b: std::fs::File) -> std::io::Result<bool> {
    let (mut x, mut y) = (vec![0u8; 128 << 10], vec![0u8; 128 << 10]);
    loop {
        let got = a.read(&mut x)?;
        if got == 0 {
            return Ok(b.read(&mut y)? == 0);
        }
        let part = y.get_mut(..got).unwrap_or_default();
        match b.read_exact(part) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        if x.get(..got) != Some(&*part) {
            return Ok(false);
        }
    }
}
