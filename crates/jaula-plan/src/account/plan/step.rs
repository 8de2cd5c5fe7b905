//! The changes themselves, as data and as text.

use super::super::lines::{HIDDEN, LineEdit};
use crate::explain::{ExplainLine, shown, word};
use std::fmt;
use std::path::PathBuf;

/// One lasting change. Paths of a jail are given with its root and opened beneath it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum AccountStep {
    /// Lines of a file change, under the file's lock where it is the host's.
    Edit {
        /// `/`, or a jail.
        root: PathBuf,
        /// From there.
        path: PathBuf,
        /// The lines.
        #[serde(serialize_with = "super::super::lines::shown_edits")]
        edits: Vec<LineEdit>,
        /// The mode with which a missing file is made; none: it has to be there.
        make: Option<u32>,
        /// The change as `diff -u` shows it.
        diff: String,
    },
    /// A file of the host comes to be, or is replaced by another text.
    Write {
        /// The file.
        path: PathBuf,
        /// What is in it now; none: it is not there.
        before: Option<String>,
        /// What is to be in it; none: it goes.
        after: Option<String>,
        /// The change as `diff -u` shows it.
        diff: String,
    },
    /// A link of the host's.
    Link {
        /// Where.
        path: PathBuf,
        /// To what.
        target: PathBuf,
    },
    /// A directory of a jail, unless it is there.
    Directory {
        /// The jail.
        root: PathBuf,
        /// From there.
        path: PathBuf,
        /// Mode.
        mode: u32,
    },
    /// A home of a jail, with what `/etc/skel` has.
    Home {
        /// The jail.
        root: PathBuf,
        /// From there.
        path: PathBuf,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A home of the host's is moved into a jail, and everything in it that was root's becomes the user's.
    MoveHome {
        /// On the host.
        from: PathBuf,
        /// The jail.
        root: PathBuf,
        /// From there.
        path: PathBuf,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A home of a jail is removed with all in it.
    RemoveHome {
        /// The jail.
        root: PathBuf,
        /// From there.
        path: PathBuf,
    },
}

/// Changes in their order.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AccountPlan {
    /// What for.
    pub title: String,
    /// The changes.
    pub steps: Vec<AccountStep>,
    /// What is to be known besides.
    pub notes: Vec<String>,
}

impl fmt::Display for AccountStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edit { root, path, .. } => write!(f, "edit {}", shown(&root.join(path))),
            Self::Write {
                path, before: None, ..
            } => write!(f, "write {}", shown(path)),
            Self::Write {
                path, after: None, ..
            } => write!(f, "remove {}", shown(path)),
            Self::Write { path, .. } => write!(f, "rewrite {}", shown(path)),
            Self::Link { path, target } => {
                write!(f, "make link {} -> {}", shown(path), shown(target))
            }
            Self::Directory { root, path, mode } => {
                write!(
                    f,
                    "make directory {} with mode {mode:o}",
                    shown(&root.join(path))
                )
            }
            Self::Home {
                root,
                path,
                uid,
                gid,
            } => write!(
                f,
                "make home {} of user {uid} and group {gid}, with what /etc/skel has",
                shown(&root.join(path))
            ),
            Self::MoveHome {
                from, root, path, ..
            } => {
                write!(
                    f,
                    "move home {} to {}",
                    shown(from),
                    shown(&root.join(path))
                )
            }
            Self::RemoveHome { root, path } => write!(f, "remove home {}", shown(&root.join(path))),
        }
    }
}

impl AccountStep {
    /// The change as `diff -u` shows it, of a file of text.
    pub fn diff(&self) -> Option<&str> {
        match self {
            Self::Edit { diff, .. } | Self::Write { diff, .. } => Some(diff),
            _ => None,
        }
    }

    fn explain(&self) -> ExplainLine {
        match self {
            Self::Edit {
                root,
                path,
                diff,
                edits,
                ..
            } => ExplainLine::new(
                match diff.contains(HIDDEN) {
                    // A patch says what is around it, too, which is not for everybody.
                    true => {
                        let at = word(root.join(path));
                        let lines: Vec<String> =
                            edits.iter().map(|edit| command(edit, &at)).collect();
                        lines.join("\n")
                    }
                    false => patch(diff),
                },
                "the lines of accounts, as useradd and usermod change them, under the same locks",
            ),
            Self::Write {
                after: None, path, ..
            } => ExplainLine::new(
                format!("rm {}", word(path)),
                "what was said of this user goes",
            ),
            Self::Write { path, after, .. } => ExplainLine::new(
                format!(
                    "cat >{} <<'END'\n{}END",
                    word(path),
                    after.as_deref().unwrap_or_default()
                ),
                "what this user may do, and how he is let in",
            ),
            Self::Link { path, target } => ExplainLine::new(
                format!("ln -s {} {}", word(target), word(path)),
                "the login shell: it goes into the jail in a user namespace of the user's own, so it needs no set-uid bit",
            ),
            Self::Directory { root, path, mode } => ExplainLine::new(
                format!("install -d -m {mode:o} {}", word(root.join(path))),
                "a place for what the kernel shows inside",
            ),
            Self::Home {
                root,
                path,
                uid,
                gid,
            } => {
                let at = word(root.join(path));
                ExplainLine::new(
                    format!("cp -r /etc/skel {at}\nchown -R {uid}:{gid} {at}\nchmod 700 {at}"),
                    "the home, the only place inside where the user can write",
                )
            }
            Self::MoveHome {
                from, root, path, ..
            } => ExplainLine::new(
                format!("mv {} {}", word(from), word(root.join(path))),
                "the home goes along into the jail",
            ),
            Self::RemoveHome { root, path } => ExplainLine::new(
                format!("rm -r --one-file-system {}", word(root.join(path))),
                "the home with everything in it",
            ),
        }
    }
}

/// A change of one line whose password stays what it is.
fn command(edit: &LineEdit, at: &str) -> String {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    match (&edit.before, &edit.after) {
        (None, Some(after)) => format!("printf '%s\\n' {} >>{at}", word(after)),
        (Some(before), None) => format!("sed -i {} {at}", word(format!("/^{}:/d", name(before)))),
        (Some(before), Some(after)) => {
            let rest: String = after.splitn(3, ':').skip(2).collect();
            let rest: String = rest
                .chars()
                .flat_map(|c| {
                    matches!(c, '\\' | '&' | '|')
                        .then_some('\\')
                        .into_iter()
                        .chain([c])
                })
                .collect();
            let name = name(before);
            let script = format!("s|^{name}:\\([^:]*\\):.*|{name}:\\1:{rest}|");
            format!("sed -i {} {at}", word(script))
        }
        (None, None) => String::new(),
    }
}

fn patch(diff: &str) -> String {
    format!("patch -p0 -d / <<'END'\n{diff}END")
}

impl AccountPlan {
    /// The plan as commands of the classic tools.
    pub fn explain(&self) -> Vec<ExplainLine> {
        self.steps.iter().map(AccountStep::explain).collect()
    }
}

impl fmt::Display for AccountPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(f, "  {number}. {step}")?;
        }
        for diff in self.steps.iter().filter_map(AccountStep::diff) {
            write!(f, "{diff}")?;
        }
        self.notes
            .iter()
            .try_for_each(|note| writeln!(f, "note: {note}"))
    }
}
