//! A table as JSON, with the indentation and the breaks of the tools.

use super::Table;

const STEP: &str = "   ";

/// The table as an object with one member.
pub fn text(table: &Table) -> Vec<u8> {
    let walk = table.walk();
    let mut out = Vec::new();
    out.extend_from_slice(format!("{{\n{STEP}\"{}\": [\n", table.name).as_bytes());
    let roots: Vec<usize> = if table.has_tree() {
        (0..table.rows.len())
            .filter(|row| table.parent(*row).is_none())
            .collect()
    } else {
        (0..table.rows.len()).collect()
    };
    rows(table, &walk.children, &roots, 2, &mut out);
    out.extend_from_slice(format!("\n{STEP}]\n}}\n").as_bytes());
    out
}

fn indent(out: &mut Vec<u8>, depth: usize) {
    for _ in 0..depth {
        out.extend_from_slice(STEP.as_bytes());
    }
}

/// The rows beside each other and all below them. A list of what is still open stands for recursion: processes are
/// started as deep as somebody likes.
fn rows(table: &Table, children: &[Vec<usize>], these: &[usize], depth: usize, out: &mut Vec<u8>) {
    let mut open: Vec<(&[usize], bool)> = vec![(these, true)];
    while let Some((siblings, first)) = open.pop() {
        let level = depth + 2 * open.len();
        let Some((row, rest)) = siblings.split_first() else {
            // Behind the last one its list ends, and then the object that the list is in.
            if level > depth {
                out.push(b'\n');
                indent(out, level - 1);
                out.extend_from_slice(b"]\n");
                indent(out, level - 2);
                out.push(b'}');
            }
            continue;
        };
        if first {
            indent(out, level);
        } else {
            out.push(b',');
        }
        members(table, *row, level + 1, out);
        open.push((rest, false));
        let below = children
            .get(*row)
            .filter(|below| table.has_tree() && !below.is_empty());
        if let Some(below) = below {
            out.extend_from_slice(b",\n");
            indent(out, level + 1);
            out.extend_from_slice(b"\"children\": [\n");
            open.push((below, true));
        } else {
            out.push(b'\n');
            indent(out, level);
            out.push(b'}');
        }
    }
}

/// The beginning of a row's object, up to its last cell.
fn members(table: &Table, row: usize, depth: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\n");
    for (at, column) in table.columns.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b",\n");
        }
        indent(out, depth);
        out.extend_from_slice(format!("\"{}\": ", column.name.to_ascii_lowercase()).as_bytes());
        match table.cell(row, at) {
            [] => out.extend_from_slice(b"null"),
            cell if column.number => out.extend_from_slice(cell),
            cell => string(cell, out),
        }
    }
}

/// A string (RFC 8259, 7). What is no UTF-8 becomes U+FFFD: no reader of JSON would take it.
fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in String::from_utf8_lossy(bytes).as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0..0x20 => {
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            }
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}
