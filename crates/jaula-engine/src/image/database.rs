//! dpkg's database, written directly: what `dpkg --unpack` leaves, so that `dpkg --configure` goes on from there.

use super::error::BuildError;
use super::layout::Tree;
use crate::configure::ConfigureError;
use crate::error::At;
use crate::unpack::{Deb, Laid, UnpackError, Unpacked};
use jaula_repo::deb::archive::{Conffile, Control};
use jaula_repo::deb::control::{single_stanza, stanzas};
use jaula_repo::deb::dpkg::{self, Interests, State};
use std::collections::BTreeSet;
use std::path::Path;

const ADMIN: &str = "var/lib/dpkg";

/// A package that has been installed before, of a tree that is gone on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub name: String,
    pub version: String,
    pub arch: String,
    pub replaces: String,
    /// As its files in `info/` are called.
    pub info_name: String,
    /// Its stanza in `status`.
    pub stanza: String,
}

/// Those of these packages that are not installed, in any version: a hook may have done it before.
pub fn lacking(debs: Vec<Deb>, installed: &[Installed]) -> Vec<Deb> {
    let is_there = |deb: &Deb| {
        installed
            .iter()
            .any(|there| there.name == deb.name && there.arch == deb.arch)
    };
    debs.into_iter().filter(|deb| !is_there(deb)).collect()
}

/// The packages of a tree's `status` that are installed.
pub fn installed(tree: &Tree<'_>) -> Result<Vec<Installed>, BuildError> {
    let text = tree.read_text("var/lib/dpkg/status")?;
    let mut found = Vec::new();
    for paragraph in text
        .split("\n\n")
        .map(|text| text.trim_matches('\n'))
        .filter(|text| !text.is_empty())
    {
        let Ok(stanza) = single_stanza(paragraph) else {
            let line = paragraph.lines().next().unwrap_or_default().to_owned();
            return Err(UnpackError::Database {
                file: "var/lib/dpkg/status",
                line,
            }
            .into());
        };
        let field = |name: &str| stanza.field(name).unwrap_or_default().to_owned();
        found.push(Installed {
            name: field("Package"),
            version: field("Version"),
            arch: field("Architecture"),
            replaces: field("Replaces"),
            info_name: dpkg::info_name(&stanza),
            stanza: format!("{paragraph}\n"),
        });
    }
    Ok(found)
}

/// The lines of a package's list.
pub fn list(tree: &Tree<'_>, info_name: &str) -> Result<Vec<Vec<u8>>, BuildError> {
    let text = tree
        .read(&format!("{ADMIN}/info/{info_name}.list"))?
        .unwrap_or_default();
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// A package as the database needs it.
pub struct New<'a> {
    pub control: &'a Control,
    /// Its configuration files as they were laid.
    pub conffiles: &'a [Laid],
}

fn bad(error: impl std::fmt::Display) -> BuildError {
    UnpackError::Database {
        file: "the control part of a package",
        line: error.to_string(),
    }
    .into()
}

/// The files of `info/` but the list, for a package.
pub fn write_info(tree: &Tree<'_>, control: &Control) -> Result<String, BuildError> {
    let stanza = control.stanza().map_err(bad)?;
    let name = dpkg::info_name(&stanza);
    for (ending, file) in control.files() {
        tree.write(
            &format!("{ADMIN}/info/{name}.{ending}"),
            file.mode,
            &file.content,
        )?;
    }
    Ok(name)
}

/// The list of a package.
pub fn write_list(tree: &Tree<'_>, info_name: &str, text: &[u8]) -> Result<(), BuildError> {
    Ok(tree.write(&format!("{ADMIN}/info/{info_name}.list"), 0o644, text)?)
}

/// `status`, `triggers/` and the small files. `before` is what the tree had.
pub fn write(
    tree: &Tree<'_>,
    before: &[Installed],
    new: &[New<'_>],
    fresh: bool,
) -> Result<(), BuildError> {
    // With nothing new, what a hook brought of a database stays as it is.
    if new.is_empty() && tree.is_file("var/lib/dpkg/status") {
        return Ok(());
    }
    let mut rows: Vec<(String, String, String)> = before
        .iter()
        .map(|p| (p.name.clone(), p.arch.clone(), p.stanza.clone()))
        .collect();
    let mut interests = Interests::default();
    for package in new {
        let stanza = package.control.stanza().map_err(bad)?;
        let conffiles: Vec<(Conffile<'_>, Option<[u8; 16]>)> = package
            .control
            .conffiles()
            .map_err(bad)?
            .into_iter()
            .filter_map(|conffile| {
                match package
                    .conffiles
                    .iter()
                    .find(|(path, _)| path == conffile.path)
                {
                    Some((_, md5)) => Some((conffile, *md5)),
                    None => conffile.remove_on_upgrade.then_some((conffile, None)),
                }
            })
            .collect();
        let text = dpkg::status_stanza(&stanza, State::Unpacked, &conffiles).map_err(bad)?;
        let field = |name: &str| stanza.field(name).unwrap_or_default().to_owned();
        rows.push((field("Package"), field("Architecture"), text));
        let triggers =
            String::from_utf8_lossy(package.control.file("triggers").unwrap_or_default())
                .into_owned();
        let name = dpkg::info_name(&stanza);
        interests.add(&name, &dpkg::parse_triggers(&triggers, &name).map_err(bad)?);
    }
    let status = dpkg::status_file(
        rows.iter()
            .map(|(name, arch, stanza)| (name.as_str(), arch.as_str(), stanza.as_str())),
    );
    tree.write(&format!("{ADMIN}/status"), 0o644, status.as_bytes())?;
    for (name, text) in interests.files() {
        let path = format!("{ADMIN}/triggers/{name}");
        let mode = if name == "Lock" { 0o600 } else { 0o644 };
        let mut whole = tree.read_text(&path)?;
        for line in text.lines() {
            if !whole.lines().any(|have| have == line) {
                whole.push_str(line);
                whole.push('\n');
            }
        }
        tree.write(&path, mode, whole.as_bytes())?;
    }
    if fresh {
        tree.write(
            &format!("{ADMIN}/info/format"),
            0o644,
            dpkg::INFO_FORMAT.as_bytes(),
        )?;
    }
    Ok(())
}

/// Tells those installed before what new packages brought that they are interested in: dpkg does this while it
/// unpacks. All get it without waiting, since the new packages are configured in the same run.
pub fn activate(tree: &Tree<'_>, new: &[(&Control, &Unpacked)]) -> Result<(), BuildError> {
    let mut active: BTreeSet<String> = BTreeSet::new();
    let file = tree.read_text(&format!("{ADMIN}/triggers/File"))?;
    let watched: Vec<&str> = file
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    for (control, unpacked) in new {
        let text =
            String::from_utf8_lossy(control.file("triggers").unwrap_or_default()).into_owned();
        for trigger in dpkg::parse_triggers(&text, "")
            .map_err(bad)?
            .iter()
            .filter(|trigger| !trigger.interest)
        {
            active.insert(trigger.name.to_owned());
        }
        for line in &unpacked.list {
            let path = String::from_utf8_lossy(line);
            let hit = |watch: &&&str| {
                path.strip_prefix(**watch)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            active.extend(watched.iter().filter(hit).map(|watch| (*watch).to_owned()));
        }
    }
    let text: String = active.iter().map(|name| format!("{name} -\n")).collect();
    Ok(tree.write(
        &format!("{ADMIN}/triggers/Unincorp"),
        0o644,
        text.as_bytes(),
    )?)
}

/// apt's file of packages that came only because others need them; made without any such package too, if `asked`: apt
/// makes it when it installs what it was asked for.
pub fn write_extended_states<'a>(
    tree: &Tree<'_>,
    asked: bool,
    auto: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), BuildError> {
    let before = tree.read_text("var/lib/apt/extended_states")?;
    let mut text = before.clone();
    for (name, arch) in auto {
        if !before.contains(&format!("Package: {name}\n")) {
            text.push_str(&format!(
                "Package: {name}\nArchitecture: {arch}\nAuto-Installed: 1\n\n"
            ));
        }
    }
    if text.is_empty() && !asked {
        return Ok(());
    }
    tree.make_dirs("var/lib/apt", 0o755)?;
    Ok(tree.write("var/lib/apt/extended_states", 0o644, text.as_bytes())?)
}

/// Packages that are not wholly installed, with their state.
pub fn unfinished(root: &Path, tree: &Tree<'_>) -> Result<Vec<(String, String)>, BuildError> {
    let text = tree.read_text("var/lib/dpkg/status")?;
    let mut found = Vec::new();
    for stanza in stanzas(&text) {
        let stanza = stanza
            .map_err(std::io::Error::other)
            .at("read", root.join("var/lib/dpkg/status"))?;
        let state = stanza.field("Status").unwrap_or_default();
        if state != "install ok installed" {
            found.push((
                stanza.field("Package").unwrap_or_default().to_owned(),
                state.to_owned(),
            ));
        }
    }
    Ok(found)
}

/// Most questions that are named.
const MOST_QUESTIONS: usize = 5;

/// A failure to configure a package, with what the package asks by debconf.
pub fn asking(tree: &Tree<'_>, mut error: ConfigureError) -> ConfigureError {
    if let ConfigureError::Configure {
        package, questions, ..
    } = &mut error
    {
        // Only a package with such a script asks anything.
        let text = |what: &str| {
            tree.read_text(&format!("{ADMIN}/info/{package}.{what}"))
                .ok()
        };
        if text("config").is_some_and(|text| !text.is_empty()) {
            *questions = asked(&text("templates").unwrap_or_default());
        }
    }
    error
}

/// The names of the questions of debconf's templates; not of what is only shown.
fn asked(templates: &str) -> Vec<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "+-._/".contains(c);
    let stanzas = templates.split("\n\n").filter_map(|stanza| {
        let field = |name: &str| {
            let mut lines = stanza.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let kind = field("Type:")?;
        let name = field("Template:")?;
        let asks = !matches!(kind, "note" | "text" | "error" | "title");
        (asks && name.chars().all(fits)).then(|| name.to_owned())
    });
    stanzas.take(MOST_QUESTIONS).collect()
}
