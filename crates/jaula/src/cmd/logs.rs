//! `jaula logs`: what a run in the background wrote.

use crate::cmd::exec::named;
use crate::cmd::{Context, exec, failed};
use crate::error::CommandError;
use crate::output::{Done, write_stdout_bytes};
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::Engine;
use jaula_plan::names::JailName;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

/// How often a log is looked at for more.
const PERIOD: Duration = Duration::from_millis(100);

/// Its operands and options.
pub fn command(command: Command) -> Command {
    command
        .about("Show what a run in the background wrote")
        .long_about(
            "Show what a run that was started with --detach wrote to its standard output and error: the last 16 to \
             32 MiB of it.",
        )
        .arg(exec::name())
        .arg(
            Arg::new("follow")
                .long("follow")
                .short('f')
                .action(ArgAction::SetTrue)
                .help("Go on with what it writes until it has ended"),
        )
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let name = named(matches)?;
    let engine = context.engine(None, false)?;
    let explained = |error| failed(format!("cannot show what {name} wrote"), error);
    let paths = engine.log_of(&name).map_err(explained)?;
    context.progress.clear();
    let mut last = None;
    for path in &paths {
        match File::open(path) {
            Ok(mut file) => {
                copy(&mut file, path)?;
                last = Some((file, path));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unread(path).because(error)),
        }
    }
    if matches.get_flag("follow")
        && let Some((file, path)) = last
    {
        follow(&engine, &name, file, path)?;
    }
    Ok(0)
}

fn unread(path: &Path) -> CommandError {
    CommandError::failed(format!("cannot read {}", jaula_plan::explain::shown(path)))
}

/// Everything from where the file stands.
fn copy(file: &mut File, path: &Path) -> Result<(), CommandError> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                write_stdout_bytes(buffer.get(..n).unwrap_or_default())?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(unread(path).because(error)),
        }
    }
}

fn follow(
    engine: &Engine,
    name: &JailName,
    mut file: File,
    path: &Path,
) -> Result<(), CommandError> {
    loop {
        // Asked before it is read: what it wrote before it ended is read after that.
        let entry = engine
            .run_entry(name)
            .map_err(|error| failed(format!("cannot follow {name}"), error))?;
        copy(&mut file, path)?;
        if !entry.is_some_and(|entry| entry.is_alive()) {
            return Ok(());
        }
        // A log that became too long is another file now.
        use std::os::unix::fs::MetadataExt;
        let inode = |meta: std::io::Result<std::fs::Metadata>| meta.map(|meta| meta.ino()).ok();
        if inode(file.metadata()) != inode(std::fs::metadata(path))
            && let Ok(newer) = File::open(path)
        {
            file = newer;
            continue;
        }
        std::thread::sleep(PERIOD);
    }
}
