//! `jaula ns`: namespaces, seen and kept.

use crate::args::{low, options};
use crate::cmd::{Context, failed};
use crate::compat::lsns::columns::{BadList, Col, list};
use crate::compat::lsns::{Asked, End, Tree, rows};
use crate::error::CommandError;
use crate::output::{Done, facts, write_stdout_bytes};
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::namespaces::{
    Found, KeepSource, Namespace, NsKind, Snapshot, Wanted, takes_processes,
};
use jaula_engine::{Engine, Event, Observer};
use jaula_plan::names::JailName;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;

/// The kinds of namespaces, as below `/proc/PID/ns`.
const KINDS: [&str; 8] = ["mnt", "net", "pid", "uts", "ipc", "user", "cgroup", "time"];

fn kinds(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("KIND,…")
        .action(ArgAction::Append)
        .value_delimiter(',')
        .value_parser(KINDS)
        .hide_possible_values(true)
        .help(help)
}

fn chosen(matches: &ArgMatches, name: &str) -> Result<Vec<NsKind>, CommandError> {
    let words = matches.get_many::<String>(name).into_iter().flatten();
    words
        .map(|word| low::parse(&format!("--{name}"), word))
        .collect()
}

fn process(help: &'static str) -> Arg {
    Arg::new("pid").long("pid").value_name("PID").help(help)
}

fn pid(matches: &ArgMatches) -> Result<Option<u32>, CommandError> {
    let Some(word) = low::text(matches, "pid") else {
        return Ok(None);
    };
    number(word).map(Some).ok_or_else(|| {
        CommandError::usage(format!("cannot use {word:?} for --pid"))
            .hint("a pid is a number from 1 on, as jaula ps and ps(1) show it")
    })
}

fn number(word: &str) -> Option<u32> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let number = word.parse::<u32>().ok().filter(|_| digits)?;
    (1..=i32::MAX as u32).contains(&number).then_some(number)
}

/// The operands and options of `ns ls`.
pub fn ls_command(command: Command) -> Command {
    let switch = |name, help| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    command
        .about("List the namespaces that can be seen")
        .long_about(
            "List the namespaces that can be seen, of all eight kinds: those that processes are in, those that only a \
             mount (anywhere a process sees it), an open descriptor or a socket keeps, and those above or owning \
             others. An ordinary user sees what he may look at. Columns: NS TYPE PATH NPROCS PID PPID COMMAND UID USER \
             NETNSID NSFS PNS ONS HELD; + in front of a list adds to the usual ones.",
        )
        .args([
            kinds("type", "Only these kinds: mnt, net, pid, uts, ipc, user, cgroup, time"),
            process("Only those of one process"),
            Arg::new("columns")
                .long("columns")
                .value_name("[+]COLUMN,…")
                .help("These columns"),
            Arg::new("tree")
                .long("tree")
                .value_name("OF")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("owner")
                .value_parser(["owner", "parent", "process"])
                .hide_possible_values(true)
                .help("As a tree of owner, parent or process [default: owner]"),
            switch("plain", "One blank between columns and everything else escaped, for scripts"),
            switch("no-header", "No line of headings"),
        ])
}

/// Lists the namespaces.
pub fn ls(matches: &ArgMatches, context: &Context) -> Done {
    let engine = context.engine(None, false)?;
    let mut asked = Asked {
        kinds: chosen(matches, "type")?,
        pid: pid(matches)?.map_or(0, i128::from),
        raw: matches.get_flag("plain"),
        no_headings: matches.get_flag("no-header"),
        tree: low::text(matches, "tree").map(|word| match word {
            "parent" => Tree::Parent,
            "process" => Tree::Process,
            _ => Tree::Owner,
        }),
        columns: vec![
            Col::Ns,
            Col::Type,
            Col::Nprocs,
            Col::Pid,
            Col::User,
            Col::Command,
        ],
        known_users_only: true,
        ..Asked::default()
    };
    if let Some(text) = low::text(matches, "columns") {
        columns(text, &mut asked.columns)?;
    }
    let look = Look::new(&engine)?;
    if context.out.json() {
        let listed = look.snapshot.namespaces.iter().filter(|namespace| {
            let kind = asked.kinds.is_empty() || asked.kinds.contains(&namespace.kind);
            let in_it = |at: &usize| {
                let process = look.snapshot.processes.get(*at);
                process.is_some_and(|process| i128::from(process.pid) == asked.pid)
            };
            kind && (asked.pid == 0 || namespace.processes.iter().any(in_it))
        });
        let listed: Vec<Value> = listed.map(|namespace| look.json(namespace)).collect();
        return context.out.result(
            "namespaces",
            || json!({ "namespaces": listed }),
            String::new,
        );
    }
    asked.held = look.held;
    write_stdout_bytes(&listing(&asked, look.snapshot)?)
}

fn columns(text: &str, columns: &mut Vec<Col>) -> Result<(), CommandError> {
    let error = match list(text.as_bytes(), &Col::NATIVE, columns) {
        Ok(()) => return Ok(()),
        Err(BadList::Unknown(_) | BadList::Form) => {
            CommandError::usage(format!("cannot use {text:?} for --columns"))
        }
    };
    let names = Col::NATIVE.map(Col::name).join(" ");
    Err(error.hint(format!("columns are {names}, with commas between")))
}

fn listing(asked: &Asked, snapshot: Snapshot) -> Result<Vec<u8>, CommandError> {
    rows::list(asked, |_| Ok(snapshot)).map_err(|end| match end {
        End::Message(text) => CommandError::failed(format!("cannot list the namespaces: {text}")),
        _ => CommandError::failed("cannot list the namespaces"),
    })
}

/// What there is, and what keeps it.
struct Look {
    snapshot: Snapshot,
    /// In words, by inode.
    held: HashMap<u64, String>,
    /// Names, by inode.
    names: HashMap<u64, Vec<String>>,
}

impl Look {
    fn new(engine: &Engine) -> Result<Self, CommandError> {
        let refused = |error| failed("cannot list the namespaces", error);
        let snapshot = engine.namespaces(&Wanted::ALL).map_err(refused)?;
        let mut names: HashMap<u64, Vec<String>> = HashMap::new();
        for kept in engine.all_kept().map_err(refused)? {
            // What is gone may have left its number to another one.
            if engine.kept(&kept.name).is_err() {
                continue;
            }
            for (_, inode) in &kept.namespaces {
                names.entry(*inode).or_default().push(kept.name.to_string());
            }
        }
        let held = snapshot
            .namespaces
            .iter()
            .filter_map(|namespace| Some((namespace.inode, words(&snapshot, &names, namespace)?)))
            .collect();
        Ok(Self {
            snapshot,
            held,
            names,
        })
    }

    fn json(&self, namespace: &Namespace) -> Value {
        let first = self.snapshot.first(namespace);
        let maker = (namespace.kind == NsKind::User).then_some(namespace.owner_uid);
        let uid = first.map(|process| process.uid).or(maker);
        let number = |inode: u64| (inode != 0).then_some(inode);
        let mounts = self
            .snapshot
            .mounts_of(namespace)
            .map(|seen| json!({ "path": seen.mount.target.to_string_lossy(), "process": seen.of }));
        let (found, holder) = match namespace.found {
            Found::Process => ("process", None),
            Found::Descriptor(pid) => ("descriptor", Some(pid)),
            Found::Socket(pid) => ("socket", Some(pid)),
            Found::Mount => ("mount", None),
            Found::Relative => ("relative", None),
        };
        json!({
            "inode": namespace.inode,
            "type": namespace.kind,
            "processes": namespace.processes.len(),
            "pid": first.map(|process| process.pid),
            "ppid": first.map(|process| process.ppid),
            "uid": uid,
            "command": first.map(|process| String::from_utf8_lossy(&process.command)),
            "parent": number(namespace.parent),
            "owner": number(namespace.owner),
            "net_id": namespace.net_number.filter(|number| *number >= 0),
            "found": found,
            "holder": holder,
            "mounts": mounts.collect::<Vec<_>>(),
            "kept": self.names.get(&namespace.inode).cloned().unwrap_or_default(),
        })
    }
}

/// What keeps a namespace besides processes, in words.
fn words(
    snapshot: &Snapshot,
    names: &HashMap<u64, Vec<String>>,
    namespace: &Namespace,
) -> Option<String> {
    let mut words = Vec::new();
    for name in names.get(&namespace.inode).into_iter().flatten() {
        words.push(format!("kept as {name}"));
    }
    match namespace.found {
        Found::Descriptor(pid) => words.push(format!("open in process {pid}")),
        Found::Socket(pid) => words.push(format!("a socket of process {pid}")),
        Found::Relative => words.push("above or owner of others".to_owned()),
        Found::Process | Found::Mount => {}
    }
    for seen in snapshot.mounts_of(namespace) {
        let path = String::from_utf8_lossy(seen.mount.target.as_os_str().as_bytes()).into_owned();
        words.push(match seen.of {
            None => format!("mounted on {path}"),
            Some(pid) => format!("mounted on {path} of process {pid}"),
        });
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// The operands and options of `ns show`.
pub fn show_command(command: Command) -> Command {
    command
        .about("Show a namespace and the processes in it")
        .long_about(
            "Show a namespace, by the inode that ns ls lists, or all that are kept by a name, and the tree of the \
             processes in it.",
        )
        .arg(
            Arg::new("namespace")
                .value_name("INODE|NAME")
                .required(true)
                .help("An inode, or the name of what is kept"),
        )
}

/// Shows a namespace.
pub fn show(matches: &ArgMatches, context: &Context) -> Done {
    let word = low::text(matches, "namespace").unwrap_or_default();
    let engine = context.engine(None, false)?;
    let attempt = || format!("cannot show {word}");
    let inodes = match word.parse::<u64>() {
        Ok(inode) => vec![inode],
        Err(_) => {
            let name: JailName = low::parse("an inode or a name", word)?;
            let kept = engine
                .find_kept(&name)
                .map_err(|error| failed(attempt(), error))?;
            engine
                .kept(&name)
                .map_err(|error| failed(attempt(), error))?;
            kept.namespaces.iter().map(|(_, inode)| *inode).collect()
        }
    };
    let look = Look::new(&engine)?;
    let mut found = Vec::new();
    for inode in inodes {
        found.push(look.snapshot.namespace(inode).ok_or_else(|| {
            CommandError::failed(format!("{}: there is no namespace {inode}", attempt()))
                .hint("jaula ns ls lists them; an ordinary user sees only what he may look at")
        })?);
    }
    if context.out.json() {
        let shapes: Vec<Value> = found
            .iter()
            .map(|namespace| {
                let mut shape = look.json(namespace);
                if let Some(object) = shape.as_object_mut() {
                    object.insert("members".to_owned(), members(&look.snapshot, namespace));
                }
                shape
            })
            .collect();
        return context.out.result(
            "namespaces",
            || json!({ "namespaces": shapes }),
            String::new,
        );
    }
    let mut text = Vec::new();
    for namespace in found {
        text.extend_from_slice(&described(&look, namespace)?);
    }
    write_stdout_bytes(&text)
}

fn members(snapshot: &Snapshot, namespace: &Namespace) -> Value {
    let processes = namespace
        .processes
        .iter()
        .filter_map(|at| snapshot.processes.get(*at));
    processes
        .map(|process| {
            json!({
                "pid": process.pid, "ppid": process.ppid, "uid": process.uid,
                "command": String::from_utf8_lossy(&process.command),
            })
        })
        .collect()
}

fn described(look: &Look, namespace: &Namespace) -> Result<Vec<u8>, CommandError> {
    let related = |inode: u64| match inode {
        0 => "-".to_owned(),
        inode => inode.to_string(),
    };
    let mut pairs = vec![
        (
            "namespace",
            format!("{}:[{}]", namespace.kind, namespace.inode),
        ),
        ("owner", related(namespace.owner)),
    ];
    if namespace.kind.nested() {
        pairs.push(("above", related(namespace.parent)));
    }
    if let Some(held) = look.held.get(&namespace.inode) {
        pairs.push(("held", held.clone()));
    }
    if namespace.kind == NsKind::Pid && !takes_processes(namespace.inode) {
        pairs.push((
            "note",
            "its first process has ended: it takes no new ones".to_owned(),
        ));
    }
    let mut text = facts(&pairs).into_bytes();
    let asked = Asked {
        namespace: namespace.inode,
        tree: Some(Tree::Process),
        columns: vec![Col::Pid, Col::Ppid, Col::User, Col::Command],
        ..Asked::default()
    };
    text.extend_from_slice(&listing(&asked, look.snapshot.clone())?);
    text.push(b'\n');
    Ok(text)
}

/// The operands and options of `ns keep`.
pub fn keep_command(command: Command) -> Command {
    let command = command
        .about("Keep namespaces by a name, also when their processes end")
        .long_about(
            "Keep the namespaces of a named jail that runs (the one called NAME unless another is named), or of a \
             process, by a name. Root's are mounted on files below the store, in a mount that no other mount namespace \
             sees; an ordinary user's are held open by a process of his that waits. A pid namespace takes new \
             processes only as long as its first process lives. Without --only, all that the caller has not himself \
             are kept.",
        )
        .arg(Arg::new("name").value_name("NAME").required(true).help("The name they are kept by"))
        .args([
            process("Those of a process"),
            Arg::new("jail")
                .long("jail")
                .value_name("JAIL")
                .conflicts_with("pid")
                .help("Those of a named jail that runs [default: NAME]"),
            kinds("only", "Only these kinds"),
        ]);
    options::preview(command)
}

/// Keeps namespaces.
pub fn keep(matches: &ArgMatches, context: &Context) -> Done {
    let name: JailName = low::parse(
        "a name to keep by",
        low::text(matches, "name").unwrap_or_default(),
    )?;
    let only = chosen(matches, "only")?;
    let engine = context.engine(None, false)?;
    let refused = |error| failed(format!("cannot keep namespaces as {name}"), error);
    let source = match (pid(matches)?, low::text(matches, "jail")) {
        (Some(pid), _) => KeepSource::Process(pid),
        (None, Some(jail)) => {
            let jail: JailName = low::parse("--jail", jail)?;
            engine.running_jail(&jail).map_err(refused)?
        }
        (None, None) => engine
            .running_jail(&name)
            .map_err(|error| refused(error).hint("or name a process with --pid PID"))?,
    };
    let plan = engine.plan_keep(&name, source, &only).map_err(refused)?;
    let shown = low::Shown::read(matches);
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    engine.keep(&plan).map_err(refused)?;
    for text in plan.notes() {
        context.progress.event(Event::Note { text });
    }
    context.progress.clear();
    let kinds: Vec<&str> = plan
        .namespaces()
        .iter()
        .map(|(kind, _)| kind.name())
        .collect();
    context.out.did(
        "kept",
        || json!({ "name": name, "types": kinds }),
        || format!("kept as {name}: {}", kinds.join(", ")),
    )
}

/// The operands and options of `ns rm`.
pub fn rm_command(command: Command) -> Command {
    let command = command
        .about("Let go of namespaces that are kept by name")
        .long_about(
            "Let go of namespaces that are kept by name: their mounts, or the process that holds them, are taken away. \
             What nothing else uses is gone then; processes in them are not touched.",
        )
        .arg(
            Arg::new("name")
                .value_name("NAME")
                .required(true)
                .num_args(1..)
                .help("The names"),
        );
    options::preview(command)
}

/// Lets go of them.
pub fn rm(matches: &ArgMatches, context: &Context) -> Done {
    let words = matches.get_many::<String>("name").into_iter().flatten();
    let names: Vec<JailName> = words
        .map(|word| low::parse("a name that is kept by", word))
        .collect::<Result<_, _>>()?;
    let engine = context.engine(None, false)?;
    let refused = |name: &JailName, error| failed(format!("cannot let go of {name}"), error);
    let mut plans = Vec::new();
    // All are looked at before one is touched.
    for name in &names {
        plans.push(
            engine
                .plan_let_go(name)
                .map_err(|error| refused(name, error))?,
        );
    }
    let shown = low::Shown::read(matches);
    if shown != low::Shown::Done {
        for plan in &plans {
            context.show(shown, plan)?;
        }
        return Ok(0);
    }
    for name in &names {
        engine.let_go(name).map_err(|error| refused(name, error))?;
    }
    context
        .out
        .did("let go", || json!({ "names": names }), String::new)
}
