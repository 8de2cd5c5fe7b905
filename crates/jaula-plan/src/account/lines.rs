//! Files of lines, changed line by line: the change can be shown, and taken back when others changed other lines
//! meanwhile.

use std::path::Path;

/// Unchanged lines that are shown around a change.
const CONTEXT: usize = 3;

/// In place of a password.
pub const HIDDEN: &str = "…";

/// What stands in place of a password and is none.
const MARKS: [&str; 7] = ["", "x", "*", "!", "!!", "!*", HIDDEN];

/// A line of passwd(5), group(5), shadow(5) or gshadow(5) without its password. Any other line is as it is.
pub fn without_password(line: &str) -> String {
    let fields: Vec<&str> = line.splitn(3, ':').collect();
    match fields.as_slice() {
        [name, password, rest] if rest.contains(':') && !MARKS.contains(password) => {
            format!("{name}:{HIDDEN}:{rest}")
        }
        _ => line.to_owned(),
    }
}

/// Edits to be shown: without passwords.
///
/// # Errors
/// Of the serializer.
pub fn shown_edits<S: serde::Serializer>(edits: &[LineEdit], to: S) -> Result<S::Ok, S::Error> {
    let shown = |line: &Option<String>| line.as_deref().map(without_password);
    to.collect_seq(edits.iter().map(|edit| LineEdit {
        before: shown(&edit.before),
        after: shown(&edit.after),
        at: edit.at,
    }))
}

/// One line that changes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LineEdit {
    /// The line that is there; none: a line is added.
    pub before: Option<String>,
    /// The line that is to be; none: it goes.
    pub after: Option<String>,
    /// Where an added line goes, in lines from 0; at the end when absent.
    pub at: Option<usize>,
}

impl LineEdit {
    /// A line more.
    pub fn add(line: impl Into<String>) -> Self {
        Self {
            before: None,
            after: Some(line.into()),
            at: None,
        }
    }

    /// Another line in a line's place.
    pub fn replace(before: impl Into<String>, after: impl Into<String>) -> Self {
        Self {
            before: Some(before.into()),
            after: Some(after.into()),
            at: None,
        }
    }

    /// A line less.
    pub fn remove(line: impl Into<String>) -> Self {
        Self {
            before: Some(line.into()),
            after: None,
            at: None,
        }
    }
}

/// A line that is to change is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the line that is to change is not there any more")]
pub struct Changed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Same,
    Gone,
    New,
}

/// A text with its changes marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    lines: Vec<(Mark, String)>,
    undo: Vec<LineEdit>,
}

/// The lines of a text, each with all its bytes.
pub fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.split_terminator('\n')
}

/// Makes the changes.
///
/// # Errors
/// [`Changed`].
pub fn edit(text: &str, edits: &[LineEdit]) -> Result<Edited, Changed> {
    let mut lines: Vec<(Mark, String)> = rows(text)
        .map(|line| (Mark::Same, line.to_owned()))
        .collect();
    let mut undo = Vec::new();
    for edit in edits {
        let Some(before) = &edit.before else {
            let Some(after) = &edit.after else { continue };
            let at = edit.at.and_then(|at| {
                let mut kept = lines
                    .iter()
                    .enumerate()
                    .filter(|(_, (mark, _))| *mark != Mark::Gone);
                kept.nth(at).map(|(index, _)| index)
            });
            lines.insert(at.unwrap_or(lines.len()), (Mark::New, after.clone()));
            undo.push(LineEdit::remove(after.clone()));
            continue;
        };
        let found = lines
            .iter()
            .position(|(mark, line)| *mark != Mark::Gone && line == before);
        let Some(index) = found else {
            return Err(Changed);
        };
        let number = lines
            .iter()
            .take(index)
            .filter(|(mark, _)| *mark != Mark::Gone)
            .count();
        if let Some(line) = lines.get_mut(index) {
            line.0 = Mark::Gone;
        }
        match &edit.after {
            Some(after) => {
                lines.insert(index.saturating_add(1), (Mark::New, after.clone()));
                undo.push(LineEdit::replace(after.clone(), before.clone()));
            }
            None => undo.push(LineEdit {
                before: None,
                after: Some(before.clone()),
                at: Some(number),
            }),
        }
    }
    undo.reverse();
    Ok(Edited { lines, undo })
}

impl Edited {
    /// The text as it is to be.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (_, line) in self.lines.iter().filter(|(mark, _)| *mark != Mark::Gone) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The changes that take it back.
    pub fn undo(&self) -> &[LineEdit] {
        &self.undo
    }

    /// Whether anything changes.
    pub fn is_same(&self) -> bool {
        self.lines.iter().all(|(mark, _)| *mark == Mark::Same)
    }

    /// What changes, as `diff -u` shows it; passwords are not shown.
    pub fn diff(&self, path: &Path) -> String {
        let named = |names: [&str; 2]| {
            path.file_name()
                .is_some_and(|name| names.iter().any(|known| name == *known))
        };
        let (secret, accounts) = (named(["shadow", "gshadow"]), named(["passwd", "group"]));
        let shown = |line: &str| match (secret, line.split_once(':')) {
            (true, Some((name, rest))) => {
                let rest = rest.split_once(':').map_or("", |(_, rest)| rest);
                format!("{name}:{HIDDEN}:{rest}")
            }
            _ if accounts => without_password(line),
            _ => line.to_owned(),
        };
        let name = path.display();
        let mut out = format!("--- {name}\n+++ {name}\n");
        let near = |index: usize| {
            let from = index.saturating_sub(CONTEXT);
            let to = index.saturating_add(CONTEXT).saturating_add(1);
            self.lines
                .get(from..to.min(self.lines.len()))
                .is_some_and(|lines| lines.iter().any(|(mark, _)| *mark != Mark::Same))
        };
        let (mut old, mut new) = (0usize, 0usize);
        let mut hunk: Option<(usize, usize, usize, usize, String)> = None;
        for (index, (mark, line)) in self.lines.iter().enumerate() {
            if near(index) {
                let open = hunk.get_or_insert_with(|| (old, new, 0, 0, String::new()));
                let sign = match mark {
                    Mark::Same => ' ',
                    Mark::Gone => '-',
                    Mark::New => '+',
                };
                open.2 += usize::from(*mark != Mark::New);
                open.3 += usize::from(*mark != Mark::Gone);
                open.4.push_str(&format!("{sign}{}\n", shown(line)));
            } else if let Some(done) = hunk.take() {
                out.push_str(&headed(&done));
            }
            old += usize::from(*mark != Mark::New);
            new += usize::from(*mark != Mark::Gone);
        }
        if let Some(done) = hunk {
            out.push_str(&headed(&done));
        }
        out
    }
}

fn headed((old, new, removed, added, text): &(usize, usize, usize, usize, String)) -> String {
    let start = |at: &usize, count: &usize| at.saturating_add(usize::from(*count > 0));
    format!(
        "@@ -{},{removed} +{},{added} @@\n{text}",
        start(old, removed),
        start(new, added)
    )
}

/// A whole new file as `diff -u` shows it.
pub fn new_file(path: &Path, text: &str) -> String {
    whole("/dev/null", &path.display().to_string(), '+', text)
}

/// A file that goes.
pub fn gone_file(path: &Path, text: &str) -> String {
    whole(&path.display().to_string(), "/dev/null", '-', text)
}

fn whole(old: &str, new: &str, sign: char, text: &str) -> String {
    let count = text.lines().count();
    let head = match sign {
        '+' => format!("@@ -0,0 +1,{count} @@"),
        _ => format!("@@ -1,{count} +0,0 @@"),
    };
    let mut out = format!("--- {old}\n+++ {new}\n{head}\n");
    for line in text.lines() {
        out.push_str(&format!("{sign}{line}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a:1\nb:2\nc:3\nd:4\ne:5\nf:6\ng:7\nh:8\ni:9\n";

    #[test]
    fn what_is_changed_can_be_taken_back() {
        let edits = [
            LineEdit::replace("b:2", "b:x"),
            LineEdit::remove("e:5"),
            LineEdit::add("z:0"),
        ];
        let edited = edit(TEXT, &edits).unwrap();
        assert_eq!(
            edited.text(),
            "a:1\nb:x\nc:3\nd:4\nf:6\ng:7\nh:8\ni:9\nz:0\n"
        );
        let back = edit(&edited.text(), edited.undo()).unwrap();
        assert_eq!(back.text(), TEXT);
        assert_eq!(edit(TEXT, &[LineEdit::remove("b:")]), Err(Changed));
    }

    #[test]
    fn a_change_is_shown_as_diff_shows_it() {
        let edited = edit(
            TEXT,
            &[LineEdit::replace("b:2", "b:x"), LineEdit::add("z:0")],
        )
        .unwrap();
        assert_eq!(
            edited.diff(Path::new("/etc/x")),
            "--- /etc/x\n+++ /etc/x\n@@ -1,5 +1,5 @@\n a:1\n-b:2\n+b:x\n c:3\n d:4\n e:5\n@@ -7,3 +7,4 @@\n g:7\n h:8\n i:9\n+z:0\n"
        );
        assert_eq!(
            new_file(Path::new("/n"), "x\ny\n"),
            "--- /dev/null\n+++ /n\n@@ -0,0 +1,2 @@\n+x\n+y\n"
        );
    }

    #[test]
    fn passwords_are_not_shown() {
        let edited = edit(
            "ana:$6$secret:1:::::\n",
            &[LineEdit::remove("ana:$6$secret:1:::::")],
        )
        .unwrap();
        let shown = edited.diff(Path::new("/etc/shadow"));
        assert!(
            !shown.contains("secret") && shown.contains("-ana:…:1"),
            "{shown}"
        );
        for (line, shown) in [
            (
                "ana:$6$secret:1000:100::/home/ana:/bin/sh",
                "ana:…:1000:100::/home/ana:/bin/sh",
            ),
            ("club:secret:7:ana,bob", "club:…:7:ana,bob"),
            (
                "ana:x:1000:100::/home/ana:/bin/sh",
                "ana:x:1000:100::/home/ana:/bin/sh",
            ),
            ("ana:*:20000:0:99999:7:::", "ana:*:20000:0:99999:7:::"),
            ("/bin/sh", "/bin/sh"),
            ("a:b:c", "a:b:c"),
        ] {
            assert_eq!(without_password(line), shown);
        }
        let edited = edit("club:secret:7:\nx:x:8:\n", &[LineEdit::remove("x:x:8:")]).unwrap();
        assert!(
            edited
                .diff(Path::new("/etc/group"))
                .contains(" club:…:7:\n")
        );
    }
}
