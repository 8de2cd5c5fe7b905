//! `jaula man`: the manual pages.

use crate::args::low;
use crate::cmd::{Context, GROUPS, VERBS, group, help, tree};
use crate::error::CommandError;
use crate::output::{Done, write_stdout, write_stdout_bytes};
use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use clap_mangen::Man;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// What every page ends with, roff(7); `docs/cli.md` tells the same at length.
const COMMON: &str = r#".SH "EXIT STATUS"
.TP
\fB0\fR
Done.
.TP
\fB125\fR
jaula failed, or its arguments make no sense.
.TP
\fB126\fR
The program in the jail cannot be executed.
.TP
\fB127\fR
There is no such program in the jail.
.TP
\fB128 + n\fR
Signal n ended the program.
.PP
Otherwise the exit status of the program that ran in the jail.
.SH ENVIRONMENT
.TP
\fBJAULA_STORE\fR
Where everything is kept; \fB\-\-store\fR goes before it.
.TP
\fBXDG_DATA_HOME\fR, \fBXDG_CONFIG_HOME\fR, \fBHOME\fR
Where an ordinary user's store and table of distributions are.
.TP
\fBhttp_proxy\fR, \fBhttps_proxy\fR, \fBall_proxy\fR, \fBno_proxy\fR
Proxies.
.TP
\fBNO_COLOR\fR
No colour.
.SH FILES
.TP
\fI/var/lib/jaula\fR, \fI~/.local/share/jaula\fR
Root's store, and an ordinary user's.
.TP
\fI~/.config/jaula/distros.toml\fR, \fI/etc/jaula/distros.toml\fR
Adds to the table of distributions; the first that exists is read.
"#;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    command
        .about("Print a manual page, or write them all")
        .after_help(
            "Examples:\n  jaula man run | man -l -\n  jaula man --dir /usr/local/share/man/man1",
        )
        .arg(
            Arg::new("verb")
                .value_name("VERB")
                .num_args(0..=3)
                .value_parser(value_parser!(OsString))
                .help("The verb [default: jaula itself]"),
        )
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .conflicts_with("verb")
                .help("Write every page into DIR"),
        )
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    if let Some(dir) = low::path(matches, "dir") {
        return write_all(&context.around.absolute(&dir)?);
    }
    let words = low::words(matches, "verb");
    let command = if words.is_empty() {
        tree()
    } else {
        help::find(&words)?
    };
    write_stdout_bytes(&page(command)?.1)
}

/// A page: the name of its file and its text, roff(7).
fn page(command: Command) -> Result<(String, Vec<u8>), CommandError> {
    let name = command.get_display_name().unwrap_or("jaula").to_owned();
    let called = command.get_bin_name().unwrap_or("jaula").to_owned();
    let command = command.bin_name(called);
    let mut text = Vec::new();
    Man::new(command)
        .title(name.to_uppercase())
        .manual("jaula")
        .source(concat!("jaula ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)
        .map_err(|error| {
            CommandError::failed(format!("cannot write the page of {name}")).because(error)
        })?;
    text.extend_from_slice(COMMON.as_bytes());
    let others = VERBS.iter().map(|verb| verb.called().replace(' ', "-"));
    let others = std::iter::once("jaula".to_owned())
        .chain(others)
        .filter(|other| *other != name);
    let others: Vec<String> = others
        .map(|other| format!("\\fB{}\\fR(1)", other.replace('-', "\\-")))
        .collect();
    text.extend_from_slice(format!(".SH \"SEE ALSO\"\n{}\n", others.join(",\n")).as_bytes());
    Ok((format!("{name}.1"), text))
}

fn write_all(dir: &Path) -> Done {
    let attempt = |path: &Path| format!("cannot write {}", path.display());
    fs::create_dir_all(dir).map_err(|error| CommandError::failed(attempt(dir)).because(error))?;
    let mut written = String::new();
    let groups = GROUPS.iter().map(|(name, about)| group(name, about));
    let commands = std::iter::once(tree())
        .chain(groups)
        .chain(VERBS.iter().map(super::Verb::build));
    for command in commands {
        let (name, text) = page(command)?;
        let path = dir.join(&name);
        fs::write(&path, text)
            .map_err(|error| CommandError::failed(attempt(&path)).because(error))?;
        written.push_str(&format!("{}\n", jaula_plan::explain::shown(&path)));
    }
    write_stdout(&written)
}
