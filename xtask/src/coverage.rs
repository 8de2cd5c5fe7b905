//! `docs/coverage.md`: reading it, checking it, changing a row.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// How far a row is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// All of it works.
    Works,
    /// Some of it works; the cell says which part.
    Partly,
    /// Nothing yet.
    NotYet,
    /// Never, and why.
    NotWanted,
}

/// One row of the page.
#[derive(Clone, Debug)]
pub struct Row {
    /// Line number, from 1.
    pub line: usize,
    /// `unshare.01`, `S18`.
    pub id: String,
    /// `must` or `should`.
    pub priority: String,
    /// The state's cell as written.
    pub state: String,
    /// Names of tests.
    pub tests: Vec<String>,
}

fn path(root: &Path) -> PathBuf {
    root.join("docs/coverage.md")
}

/// The text of the page.
pub fn read(root: &Path) -> Result<String> {
    let path = path(root);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Cells of a table line; `None` for other lines, heads and rules.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
    let first = *cells.first()?;
    (first != "id" && !first.starts_with("---")).then_some(cells)
}

/// All rows, and what is wrong with their form.
pub fn rows(text: &str) -> (Vec<Row>, Vec<String>) {
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
    {
        let Some(cells) = cells(line) else { continue };
        let [id, _label, priority, state, tests] = cells[..] else {
            wrong.push(format!("docs/coverage.md:{number}: a row has five cells"));
            continue;
        };
        rows.push(Row {
            line: number,
            id: id.into(),
            priority: priority.into(),
            state: state.into(),
            tests: tests
                .split([',', ' '])
                .map(|name| name.trim_matches('`').to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
        });
    }
    (rows, wrong)
}

/// What a state's cell means.
pub fn state(cell: &str) -> Result<State> {
    let reason = |rest: &str| !rest.trim().is_empty();
    if cell == "works" {
        return Ok(State::Works);
    }
    if cell == "not yet" {
        return Ok(State::NotYet);
    }
    if let Some(rest) = cell.strip_prefix("not wanted:") {
        ensure!(reason(rest), "`not wanted` needs a reason");
        return Ok(State::NotWanted);
    }
    if let Some(rest) = cell
        .strip_prefix("partly (")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        ensure!(reason(rest), "`partly` says which part");
        return Ok(State::Partly);
    }
    bail!("no such state: {cell}")
}

/// Everything wrong with the page, given the names of all tests in the tree.
pub fn check(text: &str, known: &BTreeSet<String>) -> Vec<String> {
    let (rows, mut wrong) = rows(text);
    let mut seen = BTreeSet::new();
    for row in &rows {
        let mut complain =
            |what: String| wrong.push(format!("docs/coverage.md:{}: {}: {what}", row.line, row.id));
        if !seen.insert(&row.id) {
            complain("listed twice".into());
        }
        if row.priority != "must" && row.priority != "should" {
            complain(format!("no such priority: {}", row.priority));
        }
        match state(&row.state) {
            Err(error) => complain(error.to_string()),
            Ok(State::Works | State::Partly) if row.tests.is_empty() => {
                complain("called working, and no test is named".into());
            }
            Ok(_) => {}
        }
        for test in row.tests.iter().filter(|test| !known.contains(*test)) {
            complain(format!("no test is called {test}"));
        }
    }
    if rows.is_empty() {
        wrong.push("docs/coverage.md: no rows".into());
    }
    wrong
}

/// A table of states by priority.
pub fn sums(text: &str) -> String {
    let mut counts: BTreeMap<(String, State), usize> = BTreeMap::new();
    for row in rows(text).0 {
        if let Ok(state) = state(&row.state) {
            *counts.entry((row.priority, state)).or_default() += 1;
        }
    }
    counts
        .iter()
        .fold(String::new(), |mut out, ((priority, state), count)| {
            writeln!(
                out,
                "{priority:8} {state:<10} {count:4}",
                state = format!("{state:?}")
            )
            .expect("writing into a String cannot fail");
            out
        })
}

/// The page with one row changed.
pub fn changed(text: &str, id: &str, cell: &str, tests: &[&str]) -> Result<String> {
    state(cell)?;
    let mut found = false;
    let lines: Vec<String> = text
        .lines()
        .map(|line| match cells(line).as_deref() {
            Some([known, label, priority, _, _]) if *known == id => {
                found = true;
                let names: Vec<String> = tests.iter().map(|name| format!("`{name}`")).collect();
                let proof = names.join(" ");
                let space = if proof.is_empty() { "" } else { " " };
                format!("| {id} | {label} | {priority} | {cell} | {proof}{space}|")
            }
            _ => line.to_owned(),
        })
        .collect();
    ensure!(found, "no row {id}");
    Ok(lines.join("\n") + "\n")
}

/// Changes one row on disk.
pub fn set(root: &Path, id: &str, cell: &str, tests: &[&str]) -> Result<()> {
    let text = changed(&read(root)?, id, cell, tests)?;
    fs::write(path(root), text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "| id | row | prio | state | proved by |\n|---|---|---|---|---|\n\
        | a.01 | x | must | not yet | |\n| a.02 | y | should | works | `one` `two` |\n";

    fn known(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_sound_page_passes() {
        assert_eq!(check(PAGE, &known(&["one", "two"])), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_named() {
        let missing = check(PAGE, &known(&["one"]));
        assert_eq!(missing, ["docs/coverage.md:4: a.02: no test is called two"]);
        for (from, to, words) in [
            ("a.02", "a.01", "listed twice"),
            ("should", "maybe", "no such priority"),
            ("`one` `two`", "", "no test is named"),
            ("not yet", "not wanted: ", "needs a reason"),
            ("not yet", "partly", "no such state"),
            ("| x ", "", "five cells"),
        ] {
            let wrong = check(&PAGE.replace(from, to), &known(&["one", "two"]));
            assert!(
                wrong.iter().any(|line| line.contains(words)),
                "{from}: {wrong:?}"
            );
        }
        assert_eq!(check("", &known(&[])), ["docs/coverage.md: no rows"]);
    }

    #[test]
    fn a_row_changes_and_no_other() {
        let text = changed(PAGE, "a.01", "partly (root only)", &["three"]).unwrap();
        assert!(text.contains("| a.01 | x | must | partly (root only) | `three` |\n"));
        assert!(text.contains("| a.02 | y | should | works | `one` `two` |\n"));
        assert!(changed(PAGE, "b.01", "works", &[]).is_err());
        assert!(changed(PAGE, "a.01", "done", &[]).is_err());
    }
}
