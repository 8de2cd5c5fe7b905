//! Runs a program in a jail, without the store and the command line: for measuring and trying.
//! `jail ROOT|- PROGRAM...`

use jaula_engine::session::{self, Caller, Need};
use jaula_engine::{Io, Status, jail, probe};
use jaula_plan::jail::plan_jail;
use jaula_plan::spec::jail::{Changes, JailSpec, RootSpec};

fn main() -> std::process::ExitCode {
    let mut args = std::env::args_os().skip(1);
    if let Err(error) = session::enter(&Caller::current(), Need::OneUser) {
        return say(&error, 125);
    }
    if std::env::args_os().len() == 1 {
        for gate in probe::gates(std::path::Path::new("/var/lib/jaula")) {
            let line = format!("{:5} {}: {}", gate.open, gate.name, gate.found);
            drop(std::io::Write::write_all(
                &mut std::io::stdout(),
                format!("{line}\n").as_bytes(),
            ));
        }
        return 0.into();
    }
    let root = match args.next() {
        Some(root) if root != "-" => RootSpec::Tree {
            dir: root.into(),
            changes: Changes::Ephemeral,
        },
        _ => RootSpec::HostPrograms,
    };
    let mut command: Vec<_> = args.collect();
    let pty = command.first().is_some_and(|word| word == "-t");
    if pty {
        command.remove(0);
    }
    let spec = JailSpec::new(root, command);
    let facts = probe::host(&spec);
    let outcome = match plan_jail(&spec, &facts) {
        Ok(plan) => jail::run(&plan, if pty { Io::Pty } else { Io::Inherit }),
        Err(error) => return say(&error, 125),
    };
    match outcome {
        Ok(outcome) => match outcome.status {
            Status::Exited(code) => code.into(),
            Status::Signalled(signal) => (128 + signal as u8).into(),
        },
        Err(error) => say(&error, error.exit_code()),
    }
}

fn say(error: &dyn std::error::Error, code: u8) -> std::process::ExitCode {
    use std::io::Write;
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!("\n  {error}"));
        source = error.source();
    }
    drop(writeln!(std::io::stderr(), "{text}"));
    code.into()
}
