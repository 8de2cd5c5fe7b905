//! Tables as the tools of util-linux print them: aligned for a person, cut off at the edge of a terminal, raw, or as
//! JSON; flat or as a tree (scols-filter(5) and the tools' manuals describe the result).

mod json;
pub mod text;

use text::{cut, shown, width};

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its heading; in JSON the same in lower case.
    pub name: &'static str,
    /// The least width it takes when something in it is wider than its heading.
    pub hint: usize,
    /// Aligned to the right?
    pub right: bool,
    /// May it be cut off at the edge of a terminal?
    pub cut: bool,
    /// Does it show the tree?
    pub tree: bool,
    /// Do newlines in its cells start further lines?
    pub lines: bool,
    /// Are its cells numbers in JSON?
    pub number: bool,
}

/// One row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Its cells, one a column; any bytes.
    pub cells: Vec<Vec<u8>>,
    /// The row above it in the tree, by its place.
    pub parent: Option<usize>,
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Aligned.
    Aligned {
        /// The width of the terminal; none when it goes elsewhere.
        terminal: Option<usize>,
    },
    /// One blank between columns, everything else escaped.
    Raw,
    /// JSON.
    Json,
}

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    /// What its rows are called in JSON.
    pub name: &'static str,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, in their order.
    pub rows: Vec<Row>,
    /// Is there a line of headings?
    pub headings: bool,
    /// Does the caller's locale have UTF-8?
    pub utf8: bool,
}

/// Rows in the order in which a tree is walked, with what is below each.
struct Walk {
    order: Vec<usize>,
    children: Vec<Vec<usize>>,
}

impl Table {
    /// The text, whole.
    pub fn text(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Json => json::text(self),
            _ if self.rows.is_empty() => Vec::new(),
            Form::Raw => self.raw(),
            Form::Aligned { terminal } => self.aligned(terminal),
        }
    }

    fn has_tree(&self) -> bool {
        self.columns.iter().any(|column| column.tree)
    }

    fn cell(&self, row: usize, column: usize) -> &[u8] {
        let cell = self.rows.get(row).and_then(|row| row.cells.get(column));
        cell.map_or(&[], Vec::as_slice)
    }

    fn parent(&self, row: usize) -> Option<usize> {
        self.rows.get(row).and_then(|row| row.parent)
    }

    fn walk(&self) -> Walk {
        let mut children = vec![Vec::new(); self.rows.len()];
        let mut roots = Vec::new();
        for (at, row) in self.rows.iter().enumerate() {
            match row.parent.and_then(|parent| children.get_mut(parent)) {
                Some(siblings) => siblings.push(at),
                None => roots.push(at),
            }
        }
        if !self.has_tree() {
            let order = (0..self.rows.len()).collect();
            return Walk { order, children };
        }
        let mut order = Vec::with_capacity(self.rows.len());
        let mut ahead: Vec<usize> = roots.into_iter().rev().collect();
        while let Some(row) = ahead.pop() {
            order.push(row);
            if let Some(below) = children.get(row) {
                ahead.extend(below.iter().rev());
            }
        }
        Walk { order, children }
    }

    /// The branch in front of a row: what continues of those above it, and its own.
    fn branch(&self, walk: &Walk, row: usize) -> String {
        let mut parts = Vec::new();
        let mut at = row;
        while let Some(parent) = self.parent(at) {
            let last = walk
                .children
                .get(parent)
                .and_then(|siblings| siblings.last())
                == Some(&at);
            parts.push(match (parts.is_empty(), last, self.utf8) {
                (true, true, true) => "└─",
                (true, true, false) => "`-",
                (true, false, true) => "├─",
                (true, false, false) => "|-",
                (false, true, _) => "  ",
                (false, false, true) => "│ ",
                (false, false, false) => "| ",
            });
            at = parent;
        }
        parts.into_iter().rev().collect()
    }

    /// The branch beside a row's further lines.
    fn branch_beside(&self, walk: &Walk, row: usize) -> String {
        let mut parts = Vec::new();
        if walk
            .children
            .get(row)
            .is_some_and(|below| !below.is_empty())
        {
            parts.push(if self.utf8 { "│ " } else { "| " });
        }
        let mut at = row;
        while let Some(parent) = self.parent(at) {
            let last = walk
                .children
                .get(parent)
                .and_then(|siblings| siblings.last())
                == Some(&at);
            parts.push(match (last, self.utf8) {
                (true, _) => "  ",
                (false, true) => "│ ",
                (false, false) => "| ",
            });
            at = parent;
        }
        parts.into_iter().rev().collect()
    }

    /// A cell's bytes with the branch in front of them.
    fn content(&self, walk: &Walk, row: usize, at: usize, column: &Column) -> Vec<u8> {
        let cell = self.cell(row, at);
        if !column.tree {
            return cell.to_vec();
        }
        let mut content = self.branch(walk, row).into_bytes();
        content.extend_from_slice(cell);
        content
    }

    fn raw(&self) -> Vec<u8> {
        let walk = self.walk();
        let mut text = Vec::new();
        if self.headings {
            let names: Vec<_> = self.columns.iter().map(|column| column.name).collect();
            text.extend_from_slice(names.join(" ").as_bytes());
            text.push(b'\n');
        }
        for row in &walk.order {
            for (at, column) in self.columns.iter().enumerate() {
                if at > 0 {
                    text.push(b' ');
                }
                text::escape_all(&self.content(&walk, *row, at, column), &mut text);
            }
            text.push(b'\n');
        }
        text
    }

    fn aligned(&self, terminal: Option<usize>) -> Vec<u8> {
        let walk = self.walk();
        let last = self.columns.len().saturating_sub(1);
        // The cells as they are shown, line by line where a column has several.
        let cells: Vec<Vec<Vec<String>>> = (walk.order.iter())
            .map(|row| {
                let columns = self.columns.iter().enumerate();
                columns
                    .map(|(at, column)| {
                        let content = self.content(&walk, *row, at, column);
                        if column.lines {
                            let lines = content.split(|byte| *byte == b'\n');
                            lines.map(|line| shown(line, self.utf8)).collect()
                        } else {
                            vec![shown(&content, self.utf8)]
                        }
                    })
                    .collect()
            })
            .collect();
        let widths = self.widths(&cells, terminal);
        let mut text = String::new();
        if self.headings {
            for (at, column) in self.columns.iter().enumerate() {
                let wide = widths.get(at).copied().unwrap_or(0);
                put(&mut text, column, column.name, wide, at == last);
            }
            text.push('\n');
        }
        for (row, cells) in walk.order.iter().zip(&cells) {
            let height = cells.iter().map(Vec::len).max().unwrap_or(1);
            for line in 0..height {
                for (at, column) in self.columns.iter().enumerate() {
                    let wide = widths.get(at).copied().unwrap_or(0);
                    let part = cells.get(at).and_then(|lines| lines.get(line));
                    match part {
                        Some(part) => put(&mut text, column, part, wide, at == last),
                        None => {
                            let art = if column.tree {
                                self.branch_beside(&walk, *row)
                            } else {
                                String::new()
                            };
                            text.push_str(&art);
                            if at != last {
                                pad(&mut text, width(&art), wide);
                                text.push(' ');
                            }
                        }
                    }
                }
                text.push('\n');
            }
        }
        text.into_bytes()
    }

    /// The columns' widths: as wide as what is in them, or as their hint where that is wider than the heading; on a
    /// terminal the columns that may be cut give way.
    fn widths(&self, cells: &[Vec<Vec<String>>], terminal: Option<usize>) -> Vec<usize> {
        let mut least = Vec::new();
        let mut widths: Vec<usize> = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            let heading = if self.headings { column.name.len() } else { 0 };
            let lines = cells.iter().filter_map(|row| row.get(at)).flatten();
            let widest = lines.map(|line| width(line)).max().unwrap_or(0);
            let floor = heading.max(1);
            let wide = if widest < floor {
                floor
            } else if widest < column.hint && floor < column.hint {
                column.hint
            } else {
                widest
            };
            let nothing = widest == 0 && !self.headings && wide <= 1;
            widths.push(if nothing { 0 } else { wide });
            least.push(if nothing { 0 } else { floor });
        }
        let Some(edge) = terminal else {
            return widths;
        };
        let mut total = widths.iter().sum::<usize>() + widths.len().saturating_sub(1);
        for ((wide, least), column) in widths.iter_mut().zip(&least).zip(&self.columns) {
            if column.cut && total > edge {
                let less = (total - edge).min(wide.saturating_sub(*least));
                *wide -= less;
                total -= less;
            }
        }
        widths
    }
}

fn pad(text: &mut String, from: usize, to: usize) {
    text.extend(std::iter::repeat_n(' ', to.saturating_sub(from)));
}

fn put(text: &mut String, column: &Column, cell: &str, wide: usize, last: bool) {
    let cell = if column.cut { cut(cell, wide) } else { cell };
    let taken = width(cell);
    if column.right && !cell.is_empty() {
        pad(text, taken, wide);
    }
    text.push_str(cell);
    if !last {
        if !column.right || cell.is_empty() {
            pad(text, taken, wide);
        }
        text.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &'static str) -> Column {
        Column {
            name,
            hint: 0,
            right: false,
            cut: false,
            tree: false,
            lines: false,
            number: false,
        }
    }

    fn table(columns: Vec<Column>, rows: &[(&[&str], Option<usize>)]) -> Table {
        let rows = rows.iter().map(|(cells, parent)| Row {
            cells: cells.iter().map(|cell| cell.as_bytes().to_vec()).collect(),
            parent: *parent,
        });
        Table {
            name: "things",
            columns,
            rows: rows.collect(),
            headings: true,
            utf8: true,
        }
    }

    fn text(table: &Table, form: Form) -> String {
        String::from_utf8(table.text(form)).expect("UTF-8")
    }

    const NOWHERE: Form = Form::Aligned { terminal: None };

    #[test]
    fn columns_align_and_the_last_is_not_padded() {
        let number = Column {
            right: true,
            number: true,
            hint: 5,
            ..column("NO")
        };
        let rows: &[(&[&str], _)] = &[(&["1", "a", "x"], None), (&["123", "bcd", ""], None)];
        let table = table(vec![number, column("B"), column("C")], rows);
        assert_eq!(
            text(&table, NOWHERE),
            "   NO B   C\n    1 a   x\n  123 bcd \n"
        );
        assert_eq!(text(&table, Form::Raw), "NO B C\n1 a x\n123 bcd \n");
        let bare = Table {
            headings: false,
            ..table
        };
        assert_eq!(text(&bare, NOWHERE), "    1 a   x\n  123 bcd \n");
    }

    #[test]
    fn a_tree_is_drawn_beside_its_column_and_its_further_lines() {
        let tree = Column {
            tree: true,
            ..column("T")
        };
        let lines = Column {
            lines: true,
            ..column("L")
        };
        let rows: &[(&[&str], _)] = &[
            (&["a", "1\n2"], None),
            (&["b", "3"], Some(0)),
            (&["c", "4\n5"], Some(1)),
            (&["d", "6"], Some(0)),
            (&["e", ""], None),
        ];
        let mut table = table(vec![tree, lines], rows);
        let drawn = "T     L\na     1\n│     2\n├─b   3\n│ └─c 4\n│     5\n└─d   6\ne     \n";
        assert_eq!(text(&table, NOWHERE), drawn);
        table.utf8 = false;
        assert!(text(&table, NOWHERE).contains("| `-c 4\n|     5\n`-d   6"));
    }

    #[test]
    fn a_terminal_cuts_what_may_be_cut() {
        let cut = Column {
            cut: true,
            ..column("COMMAND")
        };
        let rows: &[(&[&str], _)] = &[(&["x", "0123456789012345"], None)];
        let table = table(vec![column("A"), cut], rows);
        let at = |terminal| {
            text(
                &table,
                Form::Aligned {
                    terminal: Some(terminal),
                },
            )
        };
        assert_eq!(at(12), "A COMMAND\nx 0123456789\n");
        assert_eq!(at(5), "A COMMAND\nx 0123456\n");
        assert_eq!(at(80), "A COMMAND\nx 0123456789012345\n");
    }

    #[test]
    fn json_nests_what_is_below() {
        let tree = Column {
            tree: true,
            ..column("T")
        };
        let number = Column {
            number: true,
            ..column("N")
        };
        let rows: &[(&[&str], _)] = &[
            (&["a\"\u{1}", "1"], None),
            (&["b", ""], Some(0)),
            (&["c", "2"], None),
        ];
        let table = table(vec![tree, number], rows);
        let expected = "{\n   \"things\": [\n      {\n         \"t\": \"a\\\"\\u0001\",\n         \"n\": 1,\n         \
            \"children\": [\n            {\n               \"t\": \"b\",\n               \"n\": null\n            }\n         \
            ]\n      },{\n         \"t\": \"c\",\n         \"n\": 2\n      }\n   ]\n}\n";
        assert_eq!(text(&table, Form::Json), expected);
        let empty = Table {
            rows: Vec::new(),
            ..table
        };
        assert_eq!(text(&empty, NOWHERE), "");
    }
}
