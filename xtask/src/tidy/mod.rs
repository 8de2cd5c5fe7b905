//! What no compiler checks, checked: `cargo xtask tidy`, and the same as a test.

mod rules;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Directories that hold nothing committed.
const SKIPPED: &[&str] = &[
    "target",
    ".git",
    "fuzz/target",
    "fuzz/corpus",
    "fuzz/artifacts",
    "fuzz/coverage",
];

/// The text files of the source tree, by path from its top.
#[derive(Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the tree below `root`; files that are not text are left out.
    pub fn read(root: &Path) -> Result<Self> {
        let mut tree = Tree::default();
        let mut queue = vec![root.to_path_buf()];
        while let Some(dir) = queue.pop() {
            for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
                let entry = entry?;
                let path = entry.path();
                let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
                if SKIPPED.contains(&name.as_str()) {
                    continue;
                }
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    queue.push(path);
                } else if kind.is_file()
                    && let Ok(text) = fs::read_to_string(&path)
                {
                    tree.files.insert(name, text);
                }
            }
        }
        Ok(tree)
    }

    /// A tree of these files, for tests.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|&(name, text)| (name.to_owned(), text.to_owned()))
            .collect();
        Tree { files }
    }

    /// One file's text.
    pub fn file(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }

    /// All files, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The Rust files below `crates/NAME/`.
    pub fn rust_of<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let prefix = format!("crates/{name}/");
        self.iter()
            .filter(move |(path, _)| path.starts_with(&prefix) && path.ends_with(".rs"))
    }
}

/// Everything that is wrong with the tree below `root`.
pub fn check(root: &Path) -> Result<Vec<String>> {
    Ok(rules::all(&Tree::read(root)?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let complaints = super::check(&crate::root()).unwrap();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}
