//! The options that choose protections, and what was typed of them.

use crate::args::low;
use crate::args::nearest::nearest;
use crate::error::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::GuardSpec;
use jaula_plan::device::DeviceSpec;
use jaula_plan::explain::shown;
use jaula_plan::seccomp::{self, MAX_BYTES, Profile};
use jaula_plan::setup_op::{CAPABILITIES, CapSet};
use jaula_plan::spec::jail::{JailSpec, SeccompSpec};
use jaula_plan::trace::Trace;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::Path;

const PROTECTION: &str = "Protection options";

fn value(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(placeholder).help(help)
}

fn list(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    value(name, placeholder, help)
        .action(ArgAction::Append)
        .value_delimiter(',')
}

/// An option that is on unless `=off` is said.
fn on(name: &'static str, help: &'static str) -> Arg {
    value(name, "on|off", help)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("on")
        .value_parser(["on", "off"])
        .hide_possible_values(true)
}

/// What of a program's rights can be chosen, in a new jail and in a running one.
pub fn program(command: Command) -> Command {
    let command = command.next_help_heading(PROTECTION).args([
        list("cap-add", "CAP,…", "Keep a capability besides the default set; all"),
        list("cap-drop", "CAP,…", "Take a capability from the default set; all"),
        on("no-new-privs", "Whether programs inside may gain privileges: off lets them [default: on]"),
        value("seccomp", "FILE", "Filter system calls by a profile (OCI JSON, or a trace), by default, or off")
            .value_parser(value_parser!(OsString))
            .value_hint(ValueHint::FilePath),
        list("landlock", "RULE,…", "Allow only this: ro:PATH, rw:PATH, exec:PATH, bind:PORT, connect:PORT, scope:signals, scope:abstract-sockets"),
        list("keep-fd", "N,…", "Leave a descriptor open to the program"),
    ]);
    crate::args::limits::best_effort(command)
}

/// What can be chosen of a new jail besides.
pub fn jail(command: Command) -> Command {
    program(command).args([
        value(
            "device",
            "PATH",
            "Give the jail a device of the host, at the same path",
        )
        .action(ArgAction::Append),
        on(
            "die-with-parent",
            "Whether the jail ends when jaula is killed: off lets it go on [default: on]",
        ),
        Arg::new("as-pid-1")
            .long("as-pid-1")
            .action(ArgAction::SetTrue)
            .help("Make the program the first process, which reaps for itself and sees only signals it handles"),
    ])
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// Of the program.
    pub guards: GuardSpec,
    /// `--device`
    pub devices: Vec<DeviceSpec>,
    /// `--die-with-parent`
    pub die_with_parent: bool,
    /// `--as-pid-1`
    pub as_pid_1: bool,
}

impl Protection {
    /// From a verb's matches: of [`program`] or of [`jail`].
    ///
    /// # Errors
    /// When a word has no meaning; a profile is read here, and names of calls that do not exist are told.
    pub fn read(matches: &ArgMatches) -> Result<Self, CommandError> {
        let best_effort = matches.get_flag("best-effort");
        let is_on = |name: &str| {
            let given = matches.try_get_one::<String>(name).ok().flatten();
            given.is_none_or(|word| word == "on")
        };
        Ok(Self {
            guards: GuardSpec {
                cap_add: words(matches, "cap-add", capability)?,
                cap_drop: words(matches, "cap-drop", capability)?,
                no_new_privs: is_on("no-new-privs"),
                seccomp: match matches.get_one::<OsString>("seccomp") {
                    Some(word) => seccomp(word, best_effort)?,
                    None => SeccompSpec::Default,
                },
                landlock: words(matches, "landlock", |word| low::parse("--landlock", word))?,
                keep_fds: words(matches, "keep-fd", descriptor)?,
                best_effort,
            },
            devices: words(matches, "device", |word| low::parse("--device", word))?,
            die_with_parent: is_on("die-with-parent"),
            as_pid_1: matches!(matches.try_get_one("as-pid-1"), Ok(Some(true))),
        })
    }

    /// Puts it into a jail's specification.
    pub fn apply(self, jail: &mut JailSpec) {
        self.guards.apply(jail);
        jail.devices = self.devices;
        jail.die_with_parent = self.die_with_parent;
        jail.as_pid_1 = self.as_pid_1;
    }
}

fn words<T>(
    matches: &ArgMatches,
    name: &str,
    read: impl Fn(&str) -> Result<T, CommandError>,
) -> Result<Vec<T>, CommandError> {
    let given = matches.try_get_many::<String>(name).ok().flatten();
    given.into_iter().flatten().map(|word| read(word)).collect()
}

fn capability(word: &str) -> Result<String, CommandError> {
    if word.eq_ignore_ascii_case("all") || CapSet::number(word).is_some() {
        return Ok(word.to_owned());
    }
    let error = CommandError::usage(format!("there is no capability {word:?}"));
    let upper = word.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    Err(match nearest(bare, CAPABILITIES) {
        Some(meant) => error.hint(format!("did you mean {meant}?")),
        None => error.hint("capabilities(7) lists them; all is every one"),
    })
}

fn descriptor(word: &str) -> Result<u32, CommandError> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let number = word
        .parse::<u32>()
        .ok()
        .filter(|fd| digits && i32::try_from(*fd).is_ok());
    number.ok_or_else(|| {
        CommandError::usage(format!("cannot use {word:?} for --keep-fd"))
            .hint("write the number of a descriptor that jaula was started with, as in --keep-fd 3")
    })
}

fn seccomp(word: &OsStr, best_effort: bool) -> Result<SeccompSpec, CommandError> {
    if word == "default" {
        return Ok(SeccompSpec::Default);
    }
    if word == "off" {
        return Ok(SeccompSpec::Off);
    }
    let path = Path::new(word);
    let name = shown(path);
    let attempt = || CommandError::usage(format!("cannot use the seccomp profile {name}"));
    let text = read(path).map_err(|error| {
        attempt()
            .because(error)
            .hint("write a file (./default for one that is called so), default or off")
    })?;
    // JSON begins with a brace, and no trace does.
    let profile = match text.trim_start().starts_with('{') {
        true => Profile::parse(&name, &text),
        false => match Trace::parse(&text) {
            Ok(trace) => trace.profile(&name),
            Err(error) => return Err(attempt().because(error)),
        },
    };
    let profile = profile.map_err(|error| attempt().because(error))?;
    let unknown = profile.unknown();
    if unknown.is_empty() || best_effort {
        return Ok(SeccompSpec::Profile(Box::new(profile)));
    }
    let error =
        seccomp::ProfileError::UnknownCalls(unknown.iter().map(|n| (*n).to_owned()).collect());
    let mut error = attempt().because(error);
    for name in unknown.iter().take(8) {
        if let Some(near) = nearest(name, seccomp::names()) {
            error = error.hint(format!("{name}: did you mean {near}?"));
        }
    }
    Err(error.hint("--best-effort leaves them out"))
}

/// The text of a file that is no larger than a profile may be.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let most = u64::try_from(MAX_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(words: &[&str]) -> Result<Protection, CommandError> {
        let command = jail(Command::new("run").no_binary_name(true));
        let matches = command
            .try_get_matches_from(words)
            .map_err(|error| CommandError::usage(error.to_string()))?;
        Protection::read(&matches)
    }

    fn refused(words: &[&str]) -> String {
        let error = typed(words).expect_err("it makes no sense");
        let cause = error.source.as_ref().map(ToString::to_string);
        format!("{error} {cause:?} {}", error.hints.join(" "))
    }

    #[test]
    fn nothing_typed_is_every_default() {
        let none = typed(&[]).expect("nothing");
        assert!(none.guards.no_new_privs && none.die_with_parent && !none.guards.best_effort);
        assert_eq!(none.guards.seccomp, SeccompSpec::Default);
        assert!(
            none.guards.cap_add.is_empty()
                && none.guards.landlock.is_empty()
                && none.guards.keep_fds.is_empty()
        );
    }

    #[test]
    fn protections_are_read() {
        let words = [
            "--cap-drop",
            "all",
            "--cap-add=CAP_CHOWN,net_raw",
            "--no-new-privs=off",
            "--keep-fd",
            "3",
            "--keep-fd=7",
            "--landlock",
            "ro:/usr,connect:443",
            "--die-with-parent=off",
            "--seccomp",
            "off",
            "--device",
            "/dev/fuse",
        ];
        let read = typed(&words).expect("words that make sense");
        assert_eq!(read.guards.cap_add, ["CAP_CHOWN", "net_raw"]);
        assert_eq!(read.guards.keep_fds, [3, 7]);
        assert!(!read.guards.no_new_privs && !read.die_with_parent);
        assert_eq!(read.guards.seccomp, SeccompSpec::Off);
        assert_eq!(read.guards.landlock.len(), 2);
        assert_eq!(read.devices.len(), 1);
        assert!(typed(&["--no-new-privs"]).expect("on").guards.no_new_privs);
    }

    #[test]
    fn what_makes_no_sense_is_told_with_what_was_meant() {
        for (words, part) in [
            (
                &["--cap-add", "cap_sys_admn"][..],
                "did you mean SYS_ADMIN?",
            ),
            (&["--cap-drop", "frobnicate"], "capabilities(7)"),
            (&["--keep-fd=-1"], "--keep-fd"),
            (&["--keep-fd", "x"], "number of a descriptor"),
            (&["--landlock", "wr:/tmp"], "no kind of rule"),
            (&["--device", "/etc/passwd"], "beneath /dev"),
            (&["--no-new-privs=maybe"], "maybe"),
            (&["--seccomp", "/no/such/file"], "./default"),
        ] {
            let found = refused(words);
            assert!(found.contains(part), "{words:?}: {found}");
        }
    }

    #[test]
    fn a_profile_with_a_misspelt_call_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("profile.json");
        let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["ptrac","mount"],"action":"SCMP_ACT_ERRNO"}]}"#;
        std::fs::write(&file, text).expect("a file");
        let path = file.to_str().expect("text");
        let found = refused(&["--seccomp", path]);
        assert!(
            found.contains("do not exist: ptrac") && found.contains("did you mean ptrace?"),
            "{found}"
        );
        assert!(matches!(
            typed(&["--seccomp", path, "--best-effort"]).map(|p| p.guards.seccomp),
            Ok(SeccompSpec::Profile(_))
        ));
        std::fs::write(&file, "{").expect("a file");
        assert!(refused(&["--seccomp", path]).contains("no seccomp profile"));
    }
}
