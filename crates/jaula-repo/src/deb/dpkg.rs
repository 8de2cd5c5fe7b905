//! The text of dpkg's database (deb-status(5), dpkg's `lib/dpkg/dump.c`, `triglib.c`). Only text: the
//! caller writes it.

use super::archive::Conffile;
use super::control::Stanza;
use super::relation;
use crate::hex;
use crate::tar::TarPath;
use std::collections::BTreeMap;

/// The content of `info/format`.
pub const INFO_FORMAT: &str = "1\n";

/// dpkg's order of the fields it knows (`fieldinfos` in `lib/dpkg/parse.c`); all others follow in the
/// order of the control file.
const FIELDS: [&str; 25] = [
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Config-Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
];
/// Known too, and written behind those.
const LATE: [&str; 1] = ["Description"];
/// Fields that dpkg knows and that belong to indices or to itself: never copied from a control file.
const DROPPED: [&str; 7] = [
    "Filename",
    "Size",
    "MD5sum",
    "MSDOS-Filename",
    "Triggers-Pending",
    "Triggers-Awaited",
    "Revision",
];
const RELATIONS: [&str; 9] = [
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
];

/// Why no text can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DpkgError {
    /// A relation field that cannot be read.
    #[error("field {field} of package {package}")]
    Relation {
        /// The package.
        package: String,
        /// The field.
        field: &'static str,
        /// What is wrong.
        #[source]
        source: relation::RelationError,
    },
    /// A line of a `triggers` file.
    #[error("package {package}: bad trigger line {line:?}")]
    Trigger {
        /// The package.
        package: String,
        /// The line, at most 200 characters of it.
        line: String,
    },
}

/// The state a package is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Files in place, `configure` to come.
    Unpacked,
    /// Configured.
    Installed,
}

/// The base name of a package's files in `info/`: with the architecture where several of them can be
/// installed at once.
pub fn info_name(control: &Stanza<'_>) -> String {
    let field = |name| control.field(name).unwrap_or_default();
    match field("Multi-Arch") {
        "same" => format!("{}:{}", field("Package"), field("Architecture")),
        _ => field("Package").to_owned(),
    }
}

/// The stanza of `status` for a package, as dpkg writes it, without the blank line behind it.
///
/// `conffiles` are the configuration files with the MD5 of what was installed; without one they are
/// `newconffile`, as after unpacking.
pub fn status_stanza(
    control: &Stanza<'_>,
    state: State,
    conffiles: &[(Conffile<'_>, Option<[u8; 16]>)],
) -> Result<String, DpkgError> {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        out.push_str(name);
        out.push(':');
        if !value.starts_with('\n') && !value.is_empty() {
            out.push(' ');
        }
        out.push_str(value);
        out.push('\n');
    };
    for name in FIELDS.into_iter().chain(LATE) {
        match name {
            "Status" => line(
                name,
                match state {
                    State::Unpacked => "install ok unpacked",
                    State::Installed => "install ok installed",
                },
            ),
            "Conffiles" if !conffiles.is_empty() => {
                let mut block = String::new();
                for (file, md5) in conffiles {
                    let hash = md5.map_or("newconffile".to_owned(), |md5| hex::encode(&md5));
                    let more = if file.remove_on_upgrade {
                        " remove-on-upgrade"
                    } else {
                        ""
                    };
                    block.push_str(&format!("\n {} {hash}{more}", file.path));
                }
                line(name, &block);
            }
            // The database's own.
            "Conffiles" | "Config-Version" => {}
            _ => {
                let Some(value) = control.field(name).filter(|v| !v.is_empty()) else {
                    continue;
                };
                if (matches!(name, "Essential" | "Protected") && value != "yes")
                    || (name == "Multi-Arch" && value == "no")
                {
                    continue;
                }
                if let Some(field) = RELATIONS.iter().find(|r| **r == name) {
                    let groups = relation::parse(&value.replace('\n', " ")).map(|groups| {
                        groups
                            .iter()
                            .map(ToString::to_string)
                            .collect::<Vec<_>>()
                            .join(", ")
                    });
                    let value = groups.map_err(|source| DpkgError::Relation {
                        package: control.field("Package").unwrap_or_default().to_owned(),
                        field,
                        source,
                    })?;
                    if !value.is_empty() {
                        line(name, &value);
                    }
                } else {
                    line(name, value);
                }
            }
        }
    }
    for field in control.fields() {
        let known = |name: &&str| name.eq_ignore_ascii_case(field.name);
        if !FIELDS.iter().chain(&LATE).chain(&DROPPED).any(known) {
            line(field.name, field.raw);
        }
    }
    Ok(out)
}

/// The whole `status` file: `(name, architecture, stanza)` in dpkg's order, each followed by a blank line.
pub fn status_file<'a>(stanzas: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> String {
    let mut all: Vec<_> = stanzas.into_iter().collect();
    all.sort_by_key(|(name, arch, _)| (*name, *arch));
    all.iter()
        .flat_map(|(_, _, stanza)| [*stanza, "\n"])
        .collect()
}

/// The content of `info/NAME.list`: the paths of a package's data in the archive's order.
pub fn list_file<'a>(paths: impl IntoIterator<Item = &'a TarPath>) -> Vec<u8> {
    let mut out = Vec::new();
    for path in paths {
        out.push(b'/');
        out.extend_from_slice(if path.is_root() {
            b"."
        } else {
            path.as_bytes()
        });
        out.push(b'\n');
    }
    out
}

/// The content of `info/NAME.md5sums`, which dpkg makes itself for packages that bring none. Regular
/// files only, without configuration files.
pub fn md5sums_file<'a>(files: impl IntoIterator<Item = (&'a TarPath, [u8; 16])>) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, md5) in files {
        out.extend_from_slice(hex::encode(&md5).as_bytes());
        out.extend_from_slice(b"  ");
        out.extend_from_slice(path.as_bytes());
        out.push(b'\n');
    }
    out
}

/// One directive of a package's `triggers` file (deb-triggers(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger<'a> {
    /// An absolute path, or a name.
    pub name: &'a str,
    /// Whether the package wants to know (`interest`) or tells (`activate`).
    pub interest: bool,
    /// Whether the activating package waits for the processing.
    pub awaits: bool,
}

/// Whether a name can be that of a trigger: a clean absolute path, or a word that is no special file of
/// the directory it will be put into.
fn is_trigger_name(name: &str) -> bool {
    if !name.bytes().all(|b| b.is_ascii_graphic()) || name.len() > 255 {
        return false;
    }
    match name.strip_prefix('/') {
        Some(path) => TarPath::parse(path.as_bytes()).is_ok_and(|p| !p.is_root()),
        None => {
            !name.is_empty()
                && !name.contains('/')
                && !name.starts_with(['.', '-'])
                && !matches!(name, "File" | "Lock" | "Unincorp")
        }
    }
}

/// Reads a package's `triggers` file. `package` is for messages.
pub fn parse_triggers<'a>(text: &'a str, package: &str) -> Result<Vec<Trigger<'a>>, DpkgError> {
    let mut all = Vec::new();
    for line in text.lines() {
        let words = line.split_once('#').map_or(line, |(before, _)| before);
        let mut words = words.split_ascii_whitespace();
        let Some(directive) = words.next() else {
            continue;
        };
        let (interest, awaits) = match directive {
            "interest" | "interest-await" => (true, true),
            "interest-noawait" => (true, false),
            "activate" | "activate-await" => (false, true),
            "activate-noawait" => (false, false),
            _ => (false, false),
        };
        let known = interest
            || matches!(
                directive,
                "activate" | "activate-await" | "activate-noawait"
            );
        match (words.next(), words.next()) {
            (Some(name), None) if known && is_trigger_name(name) => all.push(Trigger {
                name,
                interest,
                awaits,
            }),
            _ => {
                return Err(DpkgError::Trigger {
                    package: package.to_owned(),
                    line: line.chars().take(200).collect(),
                });
            }
        }
    }
    Ok(all)
}

/// The files of `triggers/`, gathered package by package in the order of unpacking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interests {
    paths: Vec<String>,
    names: BTreeMap<String, Vec<String>>,
}

impl Interests {
    /// Notes the interests of a package, which is named as in [`info_name`].
    pub fn add(&mut self, info_name: &str, triggers: &[Trigger<'_>]) {
        for trigger in triggers.iter().filter(|t| t.interest) {
            let who = if trigger.awaits {
                info_name.to_owned()
            } else {
                format!("{info_name}/noawait")
            };
            if trigger.name.starts_with('/') {
                let line = format!("{} {who}", trigger.name);
                if !self.paths.contains(&line) {
                    self.paths.push(line);
                }
            } else {
                let list = self.names.entry(trigger.name.to_owned()).or_default();
                if !list.contains(&who) {
                    list.push(who);
                }
            }
        }
    }

    /// File name below `triggers/`, content. `File` is only there when someone is interested in a path;
    /// `Unincorp` and `Lock` are always there, empty.
    pub fn files(&self) -> BTreeMap<String, String> {
        let text = |lines: &[String]| {
            lines
                .iter()
                .flat_map(|l| [l.as_str(), "\n"])
                .collect::<String>()
        };
        let mut files: BTreeMap<_, _> = self
            .names
            .iter()
            .map(|(name, who)| (name.clone(), text(who)))
            .collect();
        if !self.paths.is_empty() {
            files.insert("File".into(), text(&self.paths));
        }
        files.insert("Lock".into(), String::new());
        files.insert("Unincorp".into(), String::new());
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deb::archive;
    use std::path::Path;
    use std::process::{Command, Stdio};

    /// Packages with every field dpkg knows and some it does not, in an order that is not dpkg's.
    const CONTROLS: [(&str, &str, &str); 3] = [
        (
            "Package: alpha\nVersion: 1:2.0-1\nX-Own: kept\n more of it\nDepends: beta(>=1)|gamma:any ,\n delta (<< 3~)\n\
             Architecture: all\nMaintainer: A <a@example.org>\nMulti-Arch: foreign\nDescription: short\n long\n .\n more\n\
             Homepage: https://example.org\nInstalled-Size: 12\nSection: misc\nPriority: optional\nEssential: no\n\
             Source: alpha-src (2.0)\nRecommends: r\nSuggests: s\nBreaks: b (<< 1)\nConflicts: c\nReplaces: c, b (<= 1)\n\
             Provides: virt (= 1.0), other\nEnhances: e\nPre-Depends: p\nBugs: mailto:x@example.org\nOrigin: Test\n",
            "/etc/alpha.conf\n/etc/alpha/two.conf\n",
            "# comment\ninterest /usr/share/alpha\ninterest-noawait alpha-trigger\nactivate-noawait ldconfig\n",
        ),
        (
            "Package: libbeta1\nVersion: 1\nArchitecture: ARCH\nMaintainer: B <b@example.org>\nMulti-Arch: same\n\
             Description: b\nEssential: yes\nProtected: yes\nImportant: yes\nPriority: required\n",
            "",
            "interest-noawait /usr/lib/beta\ninterest alpha-trigger\ninterest-await other-trigger\n",
        ),
        (
            "Package: gamma\nVersion: 0\nArchitecture: all\nMaintainer: C <c@example.org>\nDescription: c\nDepends: a,\n b\n\
             Multi-Arch: no\n",
            "",
            "",
        ),
    ];

    fn dpkg(args: &[&str]) -> Option<std::process::Output> {
        Command::new("dpkg")
            .args(args)
            .stdin(Stdio::null())
            .env("LC_ALL", "C")
            .output()
            .ok()
    }

    fn build(dir: &Path, control: &str, conffiles: &str, triggers: &str) -> std::path::PathBuf {
        let tree = dir.join("tree");
        std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let write = |path: &str, text: &str| {
            let path = tree.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("DEBIAN/control", control);
        let name = control.lines().next().unwrap().split_once(": ").unwrap().1;
        write(&format!("usr/share/doc/{name}/copyright"), "c");
        for path in conffiles.lines() {
            write(&path[1..], "x");
        }
        if !conffiles.is_empty() {
            write("DEBIAN/conffiles", conffiles);
        }
        if !triggers.is_empty() {
            write("DEBIAN/triggers", triggers);
        }
        let deb = dir.join(format!("{name}.deb"));
        let done = Command::new("dpkg-deb")
            .args(["--nocheck", "-Zgzip", "--root-owner-group", "--build"])
            .args([&tree, &deb])
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        std::fs::remove_dir_all(tree).unwrap();
        deb
    }

    /// What dpkg itself writes when it unpacks the same packages below a scratch root.
    #[test]
    fn same_text_as_dpkg() {
        let Some(arch) = dpkg(&["--print-architecture"]).filter(|o| o.status.success()) else {
            eprintln!("skipped: no dpkg on this host");
            return;
        };
        let arch = String::from_utf8(arch.stdout).unwrap().trim().to_owned();
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let database = root.join("var/lib/dpkg");
        std::fs::create_dir_all(database.join("updates")).unwrap();
        std::fs::create_dir_all(database.join("info")).unwrap();
        std::fs::write(database.join("status"), "").unwrap();
        let mut debs = vec![];
        for (control, conffiles, triggers) in CONTROLS {
            debs.push(build(
                dir.path(),
                &control.replace("ARCH", &arch),
                conffiles,
                triggers,
            ));
        }
        let root_option = format!("--root={}", root.display());
        let mut args = vec![
            root_option.as_str(),
            "--force-depends",
            "--force-not-root",
            "--force-bad-path",
            "--log=/dev/null",
            "--no-triggers",
            "--unpack",
        ];
        args.extend(debs.iter().map(|d| d.to_str().unwrap()));
        let out = dpkg(&args).unwrap();
        if !out.status.success() {
            let why = String::from_utf8_lossy(&out.stderr);
            assert!(
                why.contains("privilege") || why.contains("not permitted"),
                "{why}"
            );
            eprintln!("skipped: dpkg may not unpack here: {why}");
            return;
        }

        let mut interests = Interests::default();
        let mut stanzas = vec![];
        for deb in &debs {
            let (control, mut data) = archive::open(std::fs::File::open(deb).unwrap()).unwrap();
            let stanza = control.stanza().unwrap();
            let conffiles: Vec<_> = control
                .conffiles()
                .unwrap()
                .into_iter()
                .map(|c| (c, None))
                .collect();
            let name = info_name(&stanza);
            let text = status_stanza(&stanza, State::Unpacked, &conffiles).unwrap();
            let field = |f| stanza.field(f).unwrap().to_owned();
            stanzas.push((field("Package"), field("Architecture"), text));
            let triggers =
                std::str::from_utf8(control.file("triggers").unwrap_or_default()).unwrap();
            interests.add(&name, &parse_triggers(triggers, &name).unwrap());
            let mut paths = vec![];
            while let Some(entry) = data.next_entry().unwrap() {
                paths.push(entry.into_meta().path);
            }
            let theirs = std::fs::read(database.join(format!("info/{name}.list"))).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&list_file(&paths)),
                String::from_utf8_lossy(&theirs)
            );
        }
        let ours = status_file(
            stanzas
                .iter()
                .map(|(n, a, s)| (n.as_str(), a.as_str(), s.as_str())),
        );
        assert_eq!(
            ours,
            std::fs::read_to_string(database.join("status")).unwrap()
        );
        assert_eq!(
            INFO_FORMAT,
            std::fs::read_to_string(database.join("info/format")).unwrap()
        );
        let mut theirs = BTreeMap::new();
        for file in std::fs::read_dir(database.join("triggers"))
            .unwrap()
            .flatten()
        {
            theirs.insert(
                file.file_name().into_string().unwrap(),
                std::fs::read_to_string(file.path()).unwrap(),
            );
        }
        // What waits to be processed is the run's business, not the interests'.
        theirs.insert("Unincorp".into(), String::new());
        assert_eq!(interests.files(), theirs);
    }

    #[test]
    fn conffiles_with_hashes() {
        let text = "Package: a\nVersion: 1\nArchitecture: all\nDescription: x\n";
        let stanza = crate::deb::control::single_stanza(text).unwrap();
        let files = [
            (
                Conffile {
                    path: "/etc/a",
                    remove_on_upgrade: false,
                },
                Some([0xab; 16]),
            ),
            (
                Conffile {
                    path: "/etc/b",
                    remove_on_upgrade: true,
                },
                None,
            ),
        ];
        let out = status_stanza(&stanza, State::Installed, &files).unwrap();
        let block = format!(
            "Conffiles:\n /etc/a {}\n /etc/b newconffile remove-on-upgrade\n",
            "ab".repeat(16)
        );
        assert!(
            out.contains(&block) && out.contains("Status: install ok installed\n"),
            "{out}"
        );
    }

    #[test]
    fn bad_triggers() {
        for line in [
            "interest",
            "interest a b",
            "watch a",
            "interest ../a",
            "interest /a/../b",
            "interest File",
            "interest .x",
            "interest -x",
            "interest a/b",
            "interest /",
            "activatex y/z",
            "interest é",
        ] {
            assert!(parse_triggers(line, "p").is_err(), "{line}");
        }
    }

    #[test]
    fn sums() {
        let path = TarPath::parse(b"./usr/bin/x").unwrap();
        assert_eq!(
            md5sums_file([(&path, [0; 16])]),
            format!("{}  usr/bin/x\n", "0".repeat(32)).into_bytes()
        );
        assert_eq!(list_file([&TarPath::default(), &path]), b"/.\n/usr/bin/x\n");
    }
}
