//! lsns(8) of util-linux 2.38 to 2.41: namespaces and who is in them.

pub mod columns;
pub mod filter;
pub mod rows;

use crate::compat::getopt::{Complaint, Opt, Order, Reader, Takes, both, long};
use crate::compat::smartcols::{Column, Form, Row, Table};
use crate::compat::util_linux::{BadNumber, RELEASE, complain, complain_of_options, number, utf8};
use crate::output::write_stdout_bytes;
use columns::{BadList, Col, list};
use filter::Filter;
use jaula_engine::namespaces::NsKind;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

const NAME: &str = "lsns";

/// What an option is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Json,
    Task,
    Help,
    Output,
    OutputAll,
    Persistent,
    Filter,
    NoTruncate,
    Version,
    NoHeadings,
    NoWrap,
    List,
    Raw,
    Type,
    Tree,
    ListColumns,
}

const OPTIONS: &[Opt<Key>] = &[
    both(b'J', "json", Takes::Nothing, Key::Json),
    both(b'p', "task", Takes::Required, Key::Task),
    both(b'h', "help", Takes::Nothing, Key::Help),
    both(b'o', "output", Takes::Required, Key::Output),
    long("output-all", Takes::Nothing, Key::OutputAll),
    both(b'P', "persistent", Takes::Nothing, Key::Persistent),
    both(b'Q', "filter", Takes::Required, Key::Filter),
    both(b'u', "notruncate", Takes::Nothing, Key::NoTruncate),
    both(b'V', "version", Takes::Nothing, Key::Version),
    both(b'n', "noheadings", Takes::Nothing, Key::NoHeadings),
    both(b'W', "nowrap", Takes::Nothing, Key::NoWrap),
    both(b'l', "list", Takes::Nothing, Key::List),
    both(b'r', "raw", Takes::Nothing, Key::Raw),
    both(b't', "type", Takes::Required, Key::Type),
    both(b'T', "tree", Takes::Optional, Key::Tree),
    both(b'H', "list-columns", Takes::Nothing, Key::ListColumns),
];

/// Options of which one excludes the other. `--list` and `--tree` are meant to be a third pair; the tool's test for it
/// never applies, so the later defaults decide.
const EXCLUSIVE: [(Key, Key, &str); 2] = [
    (Key::Json, Key::Raw, "--json --raw"),
    (Key::Persistent, Key::Task, "--persistent --task"),
];

/// What the tree shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// Processes below their parents.
    Process,
    /// Namespaces below the user namespace that owns them.
    Owner,
    /// Namespaces below the one above them.
    Parent,
}

/// What was asked for.
#[derive(Debug, Default)]
pub struct Asked {
    /// As JSON?
    pub json: bool,
    /// Not aligned?
    pub raw: bool,
    /// Those without processes only?
    pub persistent: bool,
    /// Nothing cut off at the edge of a terminal?
    pub no_truncate: bool,
    /// No line of headings?
    pub no_headings: bool,
    /// One line a row?
    pub no_wrap: bool,
    /// As a tree, and of what.
    pub tree: Option<Tree>,
    /// Those of one process only; 0: of any.
    pub pid: i128,
    /// The processes of one namespace instead; 0: none.
    pub namespace: u64,
    /// These kinds only; all when empty.
    pub kinds: Vec<NsKind>,
    /// The columns.
    pub columns: Vec<Col>,
    /// Only rows that pass.
    pub filter: Option<Filter>,
    /// Is nothing shown for a user that is not known, where lsns(8) shows root?
    pub known_users_only: bool,
    /// What keeps namespaces besides processes, in words, by inode: shown where there is no command.
    pub held: HashMap<u64, String>,
}

/// How it ends before anything is listed.
#[derive(Debug)]
pub enum End {
    /// With this text on standard output.
    Text(String),
    /// With a message behind the tool's name.
    Message(String),
    /// The options make no sense.
    Options(Complaint),
    /// Without a word.
    Silent,
}

/// Does what the tool does.
pub fn run(words: &[OsString]) -> ExitCode {
    let text = match ask(words).and_then(|asked| rows::listing(&asked)) {
        Ok(text) => text,
        Err(End::Text(text)) => text.into_bytes(),
        Err(End::Message(message)) => {
            complain(NAME, &message);
            return ExitCode::FAILURE;
        }
        Err(End::Options(complaint)) => {
            complain_of_options(NAME, &complaint);
            return ExitCode::FAILURE;
        }
        Err(End::Silent) => return ExitCode::FAILURE,
    };
    match write_stdout_bytes(&text) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(NAME, &format!("write error: {}", error.causes().join(": ")));
            ExitCode::FAILURE
        }
    }
}

fn message<T>(text: String) -> Result<T, End> {
    Err(End::Message(text))
}

fn ask(words: &[OsString]) -> Result<Asked, End> {
    let mut asked = Asked::default();
    let (mut force_list, mut list_columns, mut columns_text) = (false, false, None);
    let mut met: Vec<Key> = Vec::new();
    let mut reader = Reader::new(words, OPTIONS, Order::Anywhere);
    for option in &mut reader {
        let (key, argument) = option.map_err(End::Options)?;
        for (one, other, both) in EXCLUSIVE {
            if (key == one && met.contains(&other)) || (key == other && met.contains(&one)) {
                return message(format!("mutually exclusive arguments: {both}"));
            }
        }
        met.push(key);
        let argument = argument.unwrap_or_default();
        match key {
            Key::Json => asked.json = true,
            Key::List => force_list = true,
            Key::Output => columns_text = Some(argument),
            Key::OutputAll => asked.columns = Col::ALL.to_vec(),
            Key::Persistent => asked.persistent = true,
            Key::Task => asked.pid = pid(&argument)?,
            Key::NoHeadings => asked.no_headings = true,
            Key::Raw => (asked.no_wrap, asked.raw) = (true, true),
            Key::NoTruncate => asked.no_truncate = true,
            Key::Type => asked.kinds.push(kind(&argument)?),
            Key::NoWrap => asked.no_wrap = true,
            Key::Tree => asked.tree = Some(tree(&argument)?),
            Key::Filter => asked.filter = Some(parse_filter(&argument)?),
            Key::ListColumns => list_columns = true,
            Key::Help => return Err(End::Text(help())),
            Key::Version => return Err(End::Text(format!("{NAME} from {RELEASE}\n"))),
        }
    }
    if list_columns {
        return Err(End::Text(column_list(&asked)));
    }
    defaults(&mut asked, &reader.operands(), force_list)?;
    if let Some(text) = columns_text {
        list(text.as_bytes(), &Col::ALL, &mut asked.columns).map_err(|bad| match bad {
            BadList::Unknown(name) => End::Message(format!(
                "unknown column: {}",
                String::from_utf8_lossy(&name)
            )),
            BadList::Form => End::Silent,
        })?;
    }
    Ok(asked)
}

/// What follows from the namespace that is named, or from there being none.
fn defaults(asked: &mut Asked, operands: &[OsString], force_list: bool) -> Result<(), End> {
    if let Some(word) = operands.first() {
        if asked.pid != 0 {
            return message("--task is mutually exclusive with <namespace>".to_owned());
        }
        asked.namespace = inode(word)?;
        if asked.tree.is_none() && !force_list {
            asked.tree = Some(Tree::Process);
        }
        if asked.columns.is_empty() {
            asked.columns = vec![Col::Pid, Col::Ppid, Col::User, Col::Command];
        }
    }
    if asked.columns.is_empty() {
        asked.columns = vec![Col::Ns, Col::Type, Col::Nprocs, Col::Pid, Col::User];
        if asked.kinds.contains(&NsKind::Net) {
            asked.columns.extend([Col::Netnsid, Col::Nsfs]);
        }
        asked.columns.push(Col::Command);
        if asked.tree.is_none() && !force_list {
            asked.tree = Some(Tree::Process);
        }
    }
    Ok(())
}

fn pid(word: &OsStr) -> Result<i128, End> {
    let read = number(word).and_then(|pid| match i32::try_from(pid) {
        Ok(pid) => Ok(i128::from(pid)),
        Err(_) => Err(BadNumber::Range),
    });
    read.map_err(|bad| End::Message(bad.message("invalid PID argument", word)))
}

fn inode(word: &OsStr) -> Result<u64, End> {
    let read = number(word).and_then(|inode| u64::try_from(inode).map_err(|_| BadNumber::Range));
    read.map_err(|bad| End::Message(bad.message("invalid namespace argument", word)))
}

fn kind(word: &OsStr) -> Result<NsKind, End> {
    let found = word.to_str().and_then(|word| word.parse().ok());
    found.ok_or_else(|| End::Message(format!("unknown namespace type: {}", word.display())))
}

fn tree(word: &OsStr) -> Result<Tree, End> {
    let bytes = word.as_bytes();
    // `-T=parent` is written by many: the letter takes what is attached, with its sign.
    let name = bytes.strip_prefix(b"=").unwrap_or(bytes);
    match name {
        b"" if bytes.is_empty() => Ok(Tree::Owner),
        b"owner" => Ok(Tree::Owner),
        b"parent" => Ok(Tree::Parent),
        b"process" => Ok(Tree::Process),
        _ => message(format!(
            "unknown tree type: {}",
            OsStr::from_bytes(name).display()
        )),
    }
}

fn parse_filter(word: &OsStr) -> Result<Filter, End> {
    let text = word.to_string_lossy();
    Filter::parse(&text)
        .map_err(|error| End::Message(format!("failed to parse \"{text}\": {error}")))
}

fn help() -> String {
    format!(
        "\nUsage:\n {NAME} [options] [<namespace>]\n\nList system namespaces.\n\nOptions:\n{}",
        concat!(
            " -J, --json             use JSON output format\n",
            " -l, --list             use list format output\n",
            " -n, --noheadings       don't print headings\n",
            " -o, --output <list>    define which output columns to use\n",
            "     --output-all       output all columns\n",
            " -P, --persistent       namespaces without processes\n",
            " -p, --task <pid>       print process namespaces\n",
            " -Q, --filter <expr>    apply display filter\n",
            " -r, --raw              use the raw output format\n",
            " -u, --notruncate       don't truncate text in columns\n",
            " -W, --nowrap           don't use multi-line representation\n",
            " -t, --type <name>      namespace type (mnt, net, ipc, user, pid, uts, cgroup, time)\n",
            " -T, --tree[=<rel>]     use tree format (parent, owner, or process)\n",
            "\n",
            " -H, --list-columns     list the available columns\n",
            " -h, --help             display this help\n",
            " -V, --version          display version\n",
            "\nFor more details see lsns(8).\n",
        )
    )
}

/// The columns that there are, in the form that was asked for.
fn column_list(asked: &Asked) -> String {
    let column = |name, right| Column {
        name,
        hint: 0,
        right,
        cut: false,
        tree: false,
        lines: false,
        number: false,
    };
    let rows = Col::ALL.into_iter().map(|col| {
        let kind = if col.number() {
            "<integer>"
        } else {
            "<string>"
        };
        let cells = [col.name(), kind, col.help()];
        Row {
            cells: cells.map(|cell| cell.as_bytes().to_vec()).to_vec(),
            parent: None,
        }
    });
    let table = Table {
        name: "lsns-columns",
        columns: vec![
            column("HOLDER", true),
            column("TYPE", false),
            column("DESCRIPTION", false),
        ],
        rows: rows.collect(),
        headings: false,
        utf8: utf8(),
    };
    String::from_utf8_lossy(&table.text(asked.form())).into_owned()
}

impl Asked {
    fn form(&self) -> Form {
        match (self.json, self.raw) {
            (true, _) => Form::Json,
            (_, true) => Form::Raw,
            _ => Form::Aligned {
                terminal: rows::terminal(),
            },
        }
    }
}
