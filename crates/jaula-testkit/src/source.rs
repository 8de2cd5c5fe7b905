//! Source packages of the host's archive, fetched once through its own APT and kept beside the mirrors.

use crate::mirror::{PrivateApt, cache_dir, host_archive};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// A source package: its description, beside which its files lie.
#[derive(Clone, Debug)]
pub struct SourcePackage {
    /// The `.dsc` file.
    pub dsc: PathBuf,
    /// The packages that building it takes, without versions: of alternatives the first.
    pub needs: Vec<String>,
}

/// Source packages of bookworm.
///
/// # Errors
/// When the host has no APT or its mirror cannot be reached: skip the test with that reason.
pub fn source_packages(names: &[&str]) -> Result<Vec<SourcePackage>> {
    let dir = cache_dir()?.join("sources-bookworm");
    fs::create_dir_all(&dir)?;
    // One at a time; and a package is there when its description is, which comes last.
    let lock = fs::File::create(dir.join(".lock"))?;
    lock.lock().context("lock the source packages")?;
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| find(&dir, name).is_none())
        .collect();
    if !missing.is_empty() {
        let work = tempfile::tempdir()?;
        let archive = host_archive("bookworm", "amd64");
        let (url, keyring) = (&archive.url, &archive.keyring);
        let apt = PrivateApt::new(work.path(), url, "bookworm", "main", keyring, "amd64")?;
        apt.add_source(&format!(
            "deb-src [signed-by={}] {url} bookworm main",
            keyring.display()
        ))?;
        apt.update()?;
        let coming = tempfile::Builder::new()
            .prefix(".coming-")
            .tempdir_in(&dir)?;
        let got = apt
            .command()
            .args(["-q", "source", "--download-only", "--"])
            .args(&missing)
            .current_dir(coming.path())
            .output()
            .context("apt-get")?;
        let text = String::from_utf8_lossy(&got.stderr);
        ensure!(got.status.success(), "apt-get source: {}", text.trim());
        take(coming.path(), &dir)?;
    }
    names
        .iter()
        .map(|name| {
            let dsc = find(&dir, name).with_context(|| format!("no source package {name}"))?;
            let needs = needs(&fs::read_to_string(&dsc)?);
            Ok(SourcePackage { dsc, needs })
        })
        .collect()
}

/// Moves every file of a directory to another, descriptions last.
fn take(from: &Path, to: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort_by_key(|path| path.extension().is_some_and(|ending| ending == "dsc"));
    for path in files {
        let name = path.file_name().context("a file without a name")?;
        fs::rename(&path, to.join(name)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let start = format!("{name}_");
    let entries = fs::read_dir(dir).ok()?.flatten();
    let mut found = entries.map(|entry| entry.path()).filter(|path| {
        let file = path.file_name().and_then(|file| file.to_str());
        file.is_some_and(|file| file.starts_with(&start) && file.ends_with(".dsc"))
    });
    found.next()
}

/// What `Build-Depends` and its like name. `debhelper-compat` is a version of debhelper.
fn needs(dsc: &str) -> Vec<String> {
    let mut names = Vec::new();
    let joined = dsc.replace("\n ", " ");
    for line in joined.lines() {
        let Some((field, value)) = line.split_once(": ") else {
            continue;
        };
        if !["Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep"].contains(&field) {
            continue;
        }
        for relation in value.split(',') {
            let word = relation.split_whitespace().next().unwrap_or_default();
            let name = word.split(['(', '[', '<', ':', '|']).next();
            let name = match name.unwrap_or_default() {
                "debhelper-compat" => "debhelper",
                name => name,
            };
            if !name.is_empty() && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_there_when_all_its_files_are() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["a_1.dsc", "a_1.orig.tar.xz", "a_1.debian.tar.xz"] {
            fs::write(from.path().join(name), name).unwrap();
        }
        // In the place of one there is a directory: what comes after it does not come.
        fs::create_dir_all(to.path().join("a_1.orig.tar.xz/in the way")).unwrap();
        assert!(take(from.path(), to.path()).is_err());
        assert_eq!(find(to.path(), "a"), None);
        fs::remove_dir_all(to.path().join("a_1.orig.tar.xz")).unwrap();
        take(from.path(), to.path()).unwrap();
        assert_eq!(find(to.path(), "a"), Some(to.path().join("a_1.dsc")));
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_building_takes_is_read() {
        let dsc = "Format: 3.0 (quilt)\nBuild-Depends: debhelper-compat (= 13), help2man,\n texinfo <!nodoc>, a:any | b\n\
                   Build-Depends-Indep: texinfo\nFiles:\n x 1 y: z\n";
        assert_eq!(needs(dsc), ["debhelper", "help2man", "texinfo", "a"]);
    }
}
