//! The blocks of a guide: what is typed, and what is shown.

/// A block of a guide.
pub struct Block {
    pub line: usize,
    pub root: bool,
    pub script: String,
    pub shown: String,
}

/// The blocks marked `console`.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (&mut open, line) {
            (None, "```console") => {
                open = Some(Block {
                    line: number,
                    root: false,
                    script: String::new(),
                    shown: String::new(),
                });
            }
            (Some(_), "```") => found.extend(open.take()),
            (Some(block), line) => {
                let starts = ["# ", "$ ", "> "];
                let typed = starts.iter().find_map(|start| line.strip_prefix(start));
                let typed = typed.or((line == ">").then_some(""));
                let to = match typed {
                    Some(_) => &mut block.script,
                    None => &mut block.shown,
                };
                block.root |= line.starts_with("# ");
                to.push_str(typed.unwrap_or(line));
                to.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a block without an end");
    found
}

/// Whether a text is what is shown, where `…` stands for anything.
pub fn fits(text: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some((_, after)) = rest.split_once(middle) else {
                return false;
            };
            rest = after;
        }
    }
    last.map_or(rest.is_empty(), |last: &str| rest.ends_with(last))
}
