//! Several architectures in one image (Multi-Arch), and what APT prefers in it.

use super::error::BuildError;
use super::layout::Tree;
use super::plan::ImagePlan;
use crate::unpack::UnpackError;
use jaula_repo::deb::archive::Control;
use std::collections::BTreeMap;

/// dpkg's list of architectures, and APT's preferences.
pub fn write(plan: &ImagePlan, tree: &Tree<'_>) -> Result<(), BuildError> {
    let options = &plan.spec.options;
    if !options.foreign_archs.is_empty() {
        let mut archs = vec![plan.lock.arch.clone()];
        for arch in &options.foreign_archs {
            if !archs.iter().any(|known| *known == arch.as_str()) {
                archs.push(arch.to_string());
            }
        }
        let text = archs.join("\n") + "\n";
        tree.write("var/lib/dpkg/arch", 0o644, text.as_bytes())?;
    }
    for file in &options.sources.preferences {
        // The name was checked when the plan was made: no part of a path is in it.
        let path = format!("etc/apt/preferences.d/{}", file.name);
        tree.write(&path, 0o644, file.text.as_bytes())?;
    }
    Ok(())
}

/// Whether files that a package brings for several architectures are the same, as far as the packages say what they
/// hold: dpkg refuses others (Multi-Arch, "shared files").
pub fn check_shared<'c>(controls: impl Iterator<Item = &'c Control>) -> Result<(), BuildError> {
    let mut by_name: BTreeMap<&str, Vec<&Control>> = BTreeMap::new();
    for control in controls {
        let Ok(stanza) = control.stanza() else {
            continue;
        };
        if stanza.field("Multi-Arch") == Some("same") {
            let name = stanza.field("Package").unwrap_or_default();
            by_name.entry(name).or_default().push(control);
        }
    }
    for (name, controls) in by_name.iter().filter(|(_, controls)| controls.len() > 1) {
        let mut known: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
        for control in controls {
            let sums = control.file("md5sums").unwrap_or_default();
            for line in sums.split(|byte| *byte == b'\n') {
                let Some((sum, path)) = line.split_at_checked(32) else {
                    continue;
                };
                if *known.entry(path).or_insert(sum) != sum {
                    return Err(UnpackError::Conflict {
                        first: (*name).to_owned(),
                        second: format!("{name} of another architecture"),
                        path: String::from_utf8_lossy(path.trim_ascii()).into_owned(),
                    }
                    .into());
                }
            }
        }
    }
    Ok(())
}
