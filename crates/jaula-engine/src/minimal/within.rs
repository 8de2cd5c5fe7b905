//! Paths of a jail's tree.

use std::path::Path;

/// A path of the tree, relative to its root.
pub(super) fn inside(path: &Path) -> &Path {
    let inside = path.strip_prefix("/").unwrap_or(path);
    match inside.as_os_str().is_empty() {
        true => Path::new("."),
        false => inside,
    }
}
