//! The verbs, one file each, and the way from the first word to one of them.

pub mod build;
pub mod check;
pub mod compat;
pub mod completions;
pub mod cp;
pub mod doctor;
pub mod emperor;
pub mod enter;
pub mod exec;
pub mod finish;
pub mod gc;
pub mod help;
pub mod image;
pub mod kill;
pub mod lab;
pub mod locale;
pub mod lock;
pub mod logs;
pub mod ls;
pub mod man;
pub mod net;
pub mod new;
pub mod ns;
pub mod outputs;
pub mod pkg;
pub mod profiles;
pub mod ps;
pub mod recover;
pub mod rm;
pub mod run;
pub mod service;
pub mod sh;
pub mod show;
pub mod stats;
pub mod stop;
pub mod trace;
pub mod update;
pub mod user;
mod verbs;
pub mod wait;

pub use verbs::VERBS;

use crate::args::complaint::{Refused, complain};
use crate::args::high::Surroundings;
use crate::args::low::{Global, Shown};
use crate::args::nearest::nearest;
use crate::args::options;
use crate::bars::Progress;
use crate::error::CommandError;
use crate::output::{Done, Output, write_stderr, write_stdout};
use clap::{ArgMatches, Command};
use jaula_engine::session::{Caller, Need, enter, enter_kept, root_needs_one};
use jaula_engine::{Engine, EngineError, Event, Kind, Observer, Outcome, Preview};
use jaula_plan::explain::{in_language, script};
use jaula_plan::spec::rootfs::Reference;
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::mem::ManuallyDrop;

/// One verb.
pub struct Verb {
    /// What is typed after `jaula`: one word, or a group and a word.
    pub name: &'static str,
    /// Its operands and options, without the global ones.
    pub command: fn(Command) -> Command,
    /// Does it.
    pub run: fn(&ArgMatches, &Context) -> Done,
}

/// The verbs that stand in a group, with what the group is about.
pub const GROUPS: &[(&str, &str)] = &[
    ("image", "Images of the store"),
    ("pkg", "Packages of a named jail"),
    (
        "lock",
        "Locks of recipes: which packages a build takes, to the byte",
    ),
    (
        "net",
        "Networks: bridges, their ports, addresses and stations",
    ),
    (
        "net lab",
        "Simulated networks: LANs, routers, hosts and links from a file",
    ),
    ("ns", "Namespaces: what there is, and what is kept by name"),
    (
        "user",
        "Users who live in jails: accounts, what each may do, sessions",
    ),
    (
        "service",
        "Services in jails: kept running, and started by systemd",
    ),
    (
        compat::GROUP,
        "Old tools' names: jaula compat TOOL ARGUMENTS… answers as TOOL does",
    ),
];

impl Verb {
    /// `jaula run`
    pub fn called(&self) -> String {
        format!("jaula {}", self.name)
    }

    /// The last word of its name.
    fn word(&self) -> &'static str {
        self.name.rsplit(' ').next().unwrap_or(self.name)
    }

    /// The whole command, as it stands below its parent.
    pub fn build(&self) -> Command {
        options::global((self.command)(Command::new(self.word())))
            .bin_name(self.called())
            .display_name(self.called().replace(' ', "-"))
            .max_term_width(100)
    }
}

/// The whole tree: for help, completions and manual pages only.
pub fn tree() -> Command {
    let mut root = options::global(Command::new("jaula"))
        .version(env!("CARGO_PKG_VERSION"))
        .about("Makes, isolates, connects, shares and exports jails")
        .disable_help_subcommand(true)
        .max_term_width(100)
        .after_help("jaula help VERB tells more of a verb; jaula man VERB prints its manual page.");
    for verb in VERBS.iter().filter(|verb| !verb.name.contains(' ')) {
        if verb.name == "recover" {
            for (name, about) in GROUPS.iter().filter(|(name, _)| !name.contains(' ')) {
                root = root.subcommand(group(name, about));
            }
        }
        root = root.subcommand(verb.build());
    }
    root
}

fn group(name: &'static str, about: &'static str) -> Command {
    let inside = |member: &str| {
        let above = member.rsplit_once(' ').map(|(group, _)| group);
        above == Some(name)
    };
    let members = VERBS.iter().filter(|verb| inside(verb.name));
    let groups = GROUPS.iter().filter(|(member, _)| inside(member));
    let word = name.rsplit(' ').next().unwrap_or(name);
    options::global(Command::new(word))
        .about(about)
        .bin_name(format!("jaula {name}"))
        .display_name(format!("jaula-{name}").replace(' ', "-"))
        .subcommands(groups.map(|(name, about)| group(name, about)))
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .max_term_width(100)
        .subcommands(members.map(Verb::build))
}

/// What a verb works with.
#[derive(Debug)]
pub struct Context {
    /// The options of every verb.
    pub global: Global,
    /// Is the caller root?
    pub root: bool,
    /// What surrounds the process.
    pub around: Surroundings,
    /// Where results and errors go.
    pub out: Output,
    /// Where events go.
    pub progress: Progress,
}

impl Context {
    fn new(global: Global, around: Surroundings) -> Self {
        let out = Output::new(&global, &around);
        let bars = around.stderr_terminal;
        let progress = Progress::new(global.json, global.quiet, global.verbose, bars);
        Self {
            global,
            root: jaula_engine::probe::caller().uid == 0,
            around,
            out,
            progress,
        }
    }

    /// A REF as typed.
    ///
    /// # Errors
    /// When it is in none of the forms.
    pub fn reference(&self, text: &OsStr) -> Result<Reference, CommandError> {
        self.around.reference(text, self.root)
    }

    /// The store's engine. With a `session` the process becomes root of the caller's own identifiers on the way, so
    /// this comes first and while there is one thread; without one it works as the caller himself.
    ///
    /// # Errors
    /// When the session or the store cannot be opened.
    pub fn engine(&self, session: Option<Need>, offline: bool) -> Result<Engine, CommandError> {
        let mut config = self.around.config(&self.global, self.root, offline)?;
        config.prepare = Some(prepare);
        if let Some(need) = session.filter(|_| !self.root || root_needs_one()) {
            enter_kept(&Caller::current(), need, &config.store).map_err(|error| {
                let hints = error.hints();
                let mut failed =
                    CommandError::failed("cannot work with several users").because(error);
                failed.hints = hints;
                failed
            })?;
        }
        Engine::open(config).map_err(|error| failed("cannot open the store", error))
    }

    /// Prints a plan as `--plan` or `--explain` want it.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn show(&self, shown: Shown, plan: &dyn Preview) -> Done {
        self.progress.clear();
        if shown == Shown::Explain {
            let lines = plan.explain();
            let text = || {
                let lines = in_language(lines.clone(), self.around.language);
                format!("#!/bin/sh\n{}", script(&lines))
            };
            return self
                .out
                .result("explanation", || json!({ "lines": lines }), text);
        }
        let text = || {
            plan.to_string()
                .lines()
                .map(crate::output::clean)
                .collect::<Vec<_>>()
                .join("\n")
        };
        self.out.result("plan", || plan.to_json(), text)
    }

    /// The exit code of a program that ran, as chroot(1) has it; with `--json` also what was enforced, on standard
    /// error: standard output belongs to the program. Ends jaula with it: what a start made in memory takes longer to
    /// give back than the whole of it.
    pub fn outcome(&self, outcome: &Outcome) -> u8 {
        self.progress.clear();
        if self.out.json() {
            let version = crate::output::JSON_VERSION;
            let shape = json!({
                "version": version, "event": "outcome", "status": outcome.status, "enforced": outcome.enforced(),
                "reached": outcome.limit,
            });
            write_stderr(&format!("{shape}\n"));
        }
        if let Some(reached) = outcome.limit {
            let enforced = serde_json::to_value(outcome.enforced()).unwrap_or_default();
            crate::args::limits::reached(reached, &enforced)
                .into_iter()
                .for_each(|text| self.progress.event(Event::Note { text }));
            self.progress.clear();
        }
        jaula_engine::leave(outcome.code())
    }
}

/// The engine's error below what the verb attempted, with the engine's hints.
pub fn failed(attempt: impl Into<String>, error: EngineError) -> CommandError {
    let hints = error.hints();
    let mut failed = CommandError::failed(attempt);
    if error.kind() == Kind::User {
        failed.kind = crate::error::Kind::Usage;
    }
    if let EngineError::Jail(error) = &error {
        failed.kind = match error.exit_code() {
            126 => crate::error::Kind::NotExecutable,
            127 => crate::error::Kind::NotFound,
            _ => failed.kind,
        };
    }
    failed.hints = hints;
    failed.because(error)
}

/// What the keeper of a named jail does first: an ordinary user's enters his session.
fn prepare() -> Result<(), String> {
    match enter(&Caller::current(), Need::Users) {
        Ok(_) => Ok(()),
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(source) = cause {
                text.push_str(&format!(": {source}"));
                cause = source.source();
            }
            error
                .hints()
                .iter()
                .for_each(|hint| text.push_str(&format!("; {hint}")));
            Err(text)
        }
    }
}

/// The session that work on a REF needs, also when it is only shown: everything that makes or uses an image has files of
/// several users. The host's own programs do with one.
pub fn session_for(reference: Option<&Reference>) -> Option<Need> {
    reference.map(|_| Need::Users)
}

/// The same for an image of files of the host.
pub fn session_for_files(shown: Shown) -> Option<Need> {
    Some(match shown {
        Shown::Done => Need::Users,
        Shown::Plan | Shown::Explain => Need::OneUser,
    })
}

/// From the words after the program's name to the exit code.
pub fn dispatch(words: &[OsString]) -> u8 {
    let around = Surroundings::read();
    let early = Output::early(&around, words);
    let answer = match find(words) {
        Ok(Found::Verb(verb, words)) => start(verb, words, around),
        Ok(Found::Version) => write_stdout(&format!("jaula {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Found::Help(words)) => help::text(&words).and_then(|text| write_stdout(&text)),
        Err(error) => Err(error),
    };
    answer.unwrap_or_else(|error| early.error(&error))
}

fn start(verb: &'static Verb, words: Vec<OsString>, around: Surroundings) -> Done {
    // Never taken apart again: that takes a tenth of what a start computes.
    let mut command = ManuallyDrop::new(verb.build().no_binary_name(true));
    let takes_program = matches!(
        verb.name,
        "run" | "exec" | "enter" | "trace" | "new" | "service run" | "service add" | "net lab run"
    );
    let matches = match command.try_get_matches_from_mut(words) {
        Ok(matches) => ManuallyDrop::new(matches),
        Err(error) => {
            return match complain(&verb.called(), takes_program, &error) {
                Refused::Help(text) => write_stdout(&text),
                Refused::Wrong(error) => Err(error),
            };
        }
    };
    let context = Context::new(Global::read(&matches), around);
    let answer = (verb.run)(&matches, &context);
    context.progress.clear();
    Ok(answer.unwrap_or_else(|error| context.out.error(&error)))
}

/// What the words ask for.
enum Found {
    /// A verb, with all other words in their order.
    Verb(&'static Verb, Vec<OsString>),
    /// The help text of these words.
    Help(Vec<OsString>),
    /// `--version`
    Version,
}

/// Finds the verb: the first word that is neither a global option nor the value of one.
fn find(words: &[OsString]) -> Result<Found, CommandError> {
    let mut before: Vec<OsString> = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.to_str() {
            Some("-h" | "--help") => return Ok(Found::Help(Vec::new())),
            Some("-V" | "--version") => return Ok(Found::Version),
            Some(option) if option.starts_with('-') && option.len() > 1 => {
                before.push(word.clone());
                if options::GLOBAL_WITH_VALUE.contains(&option) {
                    before.extend(rest.next().cloned());
                }
            }
            _ => {
                let shown = word.to_string_lossy();
                if let Some(verb) = VERBS.iter().find(|verb| verb.name == shown) {
                    before.extend(rest.cloned());
                    return Ok(Found::Verb(verb, before));
                }
                return member(&shown, before, rest.as_slice());
            }
        }
    }
    if before.is_empty() {
        return Ok(Found::Help(Vec::new()));
    }
    Err(CommandError::usage("cannot start jaula: a verb is missing")
        .hint("jaula help lists the verbs"))
}

/// Finds the verb of a group, or says what there is instead.
fn member(
    group: &str,
    mut before: Vec<OsString>,
    rest: &[OsString],
) -> Result<Found, CommandError> {
    if !GROUPS.iter().any(|(name, _)| *name == group) {
        let known = VERBS.iter().filter_map(|verb| verb.name.split(' ').next());
        let error = CommandError::usage(format!(
            "cannot understand {group:?}: jaula has no such verb"
        ));
        return Err(match nearest(group, known) {
            Some(meant) => error.hint(format!("did you mean jaula {meant}?")),
            None => error.hint("jaula help lists the verbs"),
        });
    }
    let members = || {
        VERBS.iter().filter_map(|verb| {
            verb.name
                .strip_prefix(group)?
                .strip_prefix(' ')
                .filter(|word| !word.contains(' '))
                .map(|w| (w, verb))
        })
    };
    let groups = || {
        GROUPS
            .iter()
            .filter_map(|(name, _)| name.strip_prefix(group)?.strip_prefix(' '))
    };
    let mut words: Vec<&str> = members().map(|(word, _)| word).chain(groups()).collect();
    if group == compat::GROUP {
        words.extend(crate::compat::FACES.iter().map(|face| face.name));
    }
    let Some((word, after)) = rest.split_first() else {
        return Err(
            CommandError::usage(format!("cannot start jaula {group}: a verb is missing"))
                .hint(format!("jaula {group} takes {}", words.join(", "))),
        );
    };
    let word = word.to_string_lossy();
    if matches!(&*word, "-h" | "--help") {
        return Ok(Found::Help(group.split(' ').map(Into::into).collect()));
    }
    if groups().any(|name| name == word) {
        return member(&format!("{group} {word}"), before, after);
    }
    if let Some((_, verb)) = members().find(|(name, _)| *name == word) {
        before.extend(after.iter().cloned());
        return Ok(Found::Verb(verb, before));
    }
    if group == compat::GROUP && crate::compat::by_name(&*word).is_some() {
        return Err(CommandError::usage(format!(
            "cannot start {word}: options of jaula stand before it"
        ))
        .hint(format!(
            "write jaula compat {word}, and its own options after that"
        )));
    }
    let error = CommandError::usage(format!(
        "cannot understand {word:?}: jaula {group} has no such verb"
    ));
    Err(match nearest(&word, words.iter().copied()) {
        Some(meant) => error.hint(format!("did you mean jaula {group} {meant}?")),
        None => error.hint(format!("jaula {group} takes {}", words.join(", "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_tree_is_sound() {
        tree().debug_assert();
        for verb in VERBS {
            verb.build().debug_assert();
        }
    }

    #[test]
    fn the_verb_is_found_among_global_options() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (text, name, left) in [
            ("run -- x", "run", "-- x"),
            ("--store run ls --json", "ls", "--store run --json"),
            (
                "-q --color never image rm x",
                "image rm",
                "-q --color never x",
            ),
            ("--store=/x show a", "show", "--store=/x a"),
        ] {
            let Ok(Found::Verb(verb, rest)) = find(&words(text)) else {
                panic!("{text}")
            };
            assert_eq!((verb.name, rest), (name, words(left)));
        }
        for (text, hint) in [
            ("rnu", "run"),
            ("image lss", "image ls"),
            ("image", "ls"),
            ("-q", "help"),
        ] {
            let error = find(&words(text)).err().expect("no verb");
            assert!(
                error.hints.iter().any(|line| line.contains(hint)),
                "{text}: {:?}",
                error.hints
            );
        }
    }
}
