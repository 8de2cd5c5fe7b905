//! The options that several verbs share, as clap arguments. Each verb builds only its own command: the whole tree
//! is built for help, completions and manual pages alone.

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command, ValueHint, value_parser};
use jaula_plan::spec::rootfs::Variant;
use std::ffi::OsString;
use std::path::PathBuf;

/// The heading under which help lists the options that every verb takes.
const GLOBAL: &str = "Global options";
const IMAGE: &str = "Image options";
const JAIL: &str = "Jail options";

/// An option with a value.
fn value(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(placeholder).help(help)
}

/// A switch.
fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

/// An option with a comma-separated list, to be given once or often.
fn list(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    value(name, placeholder, help)
        .action(ArgAction::Append)
        .value_delimiter(',')
}

/// The options that every verb takes, before or after its name.
pub fn global(command: Command) -> Command {
    command.args([
        value(
            "store",
            "DIR",
            "Keep images, jails and packages in DIR [env: JAULA_STORE]",
        )
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::DirPath)
        .help_heading(GLOBAL),
        switch("json", "Write results and events as JSON").help_heading(GLOBAL),
        switch("quiet", "Say nothing but errors")
            .short('q')
            .help_heading(GLOBAL),
        Arg::new("verbose")
            .long("verbose")
            .short('v')
            .action(ArgAction::Count)
            .help("Say more; twice, everything")
            .help_heading(GLOBAL),
        value(
            "color",
            "WHEN",
            "Colour on standard error: auto, always or never",
        )
        .value_parser(["auto", "always", "never"])
        .hide_possible_values(true)
        .help_heading(GLOBAL),
    ])
}

/// The names of the global options that take a value: the dispatcher must step over it.
pub const GLOBAL_WITH_VALUE: [&str; 2] = ["--store", "--color"];

/// `--plan` and `--explain`, on every verb that changes something.
pub fn preview(command: Command) -> Command {
    command.args([
        switch("plan", "Print what would be done, and stop").conflicts_with("explain"),
        switch(
            "explain",
            "Print the same as a script of the classic tools, and stop",
        ),
    ])
}

/// REF.
pub fn reference(required: bool) -> Arg {
    Arg::new("ref")
        .value_name("REF")
        .value_parser(value_parser!(OsString))
        .value_hint(ValueHint::AnyPath)
        .required(required)
        .help("DISTRO[:SUITE], a tag, a digest, a directory or a tar archive")
}

/// `-- COMMAND…`.
pub fn program(help: &'static str) -> Arg {
    Arg::new("command")
        .value_name("COMMAND")
        .value_parser(value_parser!(OsString))
        .value_hint(ValueHint::CommandWithArguments)
        .num_args(1..)
        .last(true)
        .help(help)
}

/// How an image is made that the store does not have.
pub fn image(command: Command) -> Command {
    let command = crate::args::packages::options(command.next_help_heading(IMAGE)).args([
        value(
            "variant",
            "VARIANT",
            "How much of the distribution goes in [default: minbase]",
        )
        .value_parser(Variant::ALL.map(Variant::as_str)),
        list("exclude", "PKG,…", "Packages that may not be chosen"),
        value(
            "arch",
            "ARCH",
            "Debian architecture, if its programs run here [default: the host's]",
        ),
        switch("offline", "Never use the network: only what the store has"),
    ]);
    let command = crate::args::sources::options(command);
    crate::args::settings::options(command)
}

/// Settings that a jail keeps.
pub fn settings(command: Command) -> Command {
    let command = command.next_help_heading(JAIL).args([
        value(
            "net",
            "NET",
            "Network: none, host, ns:NAME, or cards: bridge:NAME[,ip=,mac=,mtu=,rate=], macvlan:LINK [default: none]",
        )
        .action(ArgAction::Append),
        value(
            "publish",
            "[ADDR:]PORT:PORT[/udp]",
            "A port of the host that leads to a port of the jail, on a bridge with --nat or with --net nat",
        )
        .action(ArgAction::Append),
        value(
            "allow",
            "DEST",
            "Reach DEST and nothing else: ADDRESS[/BITS], a name or any, with [:PORT[-PORT][/udp]]",
        )
        .action(ArgAction::Append),
        value("deny", "DEST", "Do not reach DEST; the first of --allow and --deny that fits decides")
            .action(ArgAction::Append),
        value("hostname", "NAME", "Host name inside"),
        value(
            "ids",
            "IDS",
            "Identifiers outside: private, caller or host [default: private]",
        )
        .value_parser(["private", "caller", "host"])
        .hide_possible_values(true),
    ]);
    crate::args::limits::options(command)
}

/// Who runs, where, and with what around it.
pub fn process(command: Command) -> Command {
    command.next_help_heading(JAIL).args([
        value(
            "user",
            "USER",
            "Run as USER: NAME or UID[:GID[,GID…]] [default: root]",
        ),
        value("cwd", "DIR", "Working directory inside").value_parser(ValueParser::path_buf()),
        value(
            "env",
            "NAME[=VALUE]",
            "Set a variable, or pass on the caller's",
        )
        .action(ArgAction::Append)
        .value_parser(value_parser!(OsString)),
        switch(
            "clean-env",
            "Start from an empty environment: only PATH and what --env says",
        ),
    ])
}

/// What is mounted besides the root, and which namespaces and identifiers there are.
pub fn mounts(command: Command) -> Command {
    let command = command.next_help_heading("Isolation options");
    let command = crate::args::isolation::options(command);
    let command = command.next_help_heading("Mount options, done in the order in which they stand");
    crate::args::tree::options(command).args([
        switch(
            "read-only",
            "Mount the root read-only: nothing can be changed",
        )
        .conflicts_with("write"),
        switch("write", "Write changes into the directory that REF names"),
    ])
}
