//! `bwrap`, as bubblewrap 0.11 spells it: a sandbox made up from its arguments, in their order.

mod args;
mod message;
mod usage;

use crate::output::{terminals, write_stderr, write_stdout};
use args::{Asked, Stop};
use jaula_engine::jail::bwrap::{self, BwrapError};
use jaula_plan::bwrap::{BwrapSpec, check, plan};
use std::ffi::OsString;
use std::process::ExitCode;

/// What `--version` prints: the release whose behaviour this is. Callers compare it.
const VERSION: &str = "bubblewrap 0.11.1";

/// bwrap's own failures.
const FAILED: u8 = 1;

/// Does what bwrap does with these arguments.
pub fn run(words: &[OsString]) -> ExitCode {
    ExitCode::from(sandbox(words))
}

fn sandbox(words: &[OsString]) -> u8 {
    if let [only] = words
        && only == "--version"
    {
        return print(VERSION);
    }
    let mut asked = Asked::new(std::env::vars_os().collect());
    if let Err(why) = caller(&mut asked.spec) {
        return fail(&asked, &why);
    }
    if words.is_empty() {
        write_stderr(&usage::text());
        return FAILED;
    }
    match asked.read(words) {
        Ok(()) => {}
        Err(Stop::Help) => return print(usage::text().trim_end()),
        Err(Stop::Version) => return print(VERSION),
        Err(Stop::Wrong(why)) => return fail(&asked, &why),
    }
    if let Err(why) = check(&asked.spec) {
        return fail(&asked, &why.to_string());
    }
    if asked.spec.command.is_empty() {
        write_stderr(&usage::text());
        return FAILED;
    }
    match start(&mut asked.spec) {
        Ok(code) => code,
        Err(why) => fail(&asked, &why),
    }
}

/// Who calls decides which capabilities are the start of `--cap-add` and `--cap-drop`.
fn caller(spec: &mut BwrapSpec) -> Result<(), String> {
    let (uid, _, effective, permitted) = bwrap::caller();
    if uid != 0 && permitted != 0 {
        return Err("Unexpected capabilities but not setuid, old file caps config?".to_owned());
    }
    spec.own_capabilities = if uid == 0 { effective } else { 0 };
    Ok(())
}

fn start(spec: &mut BwrapSpec) -> Result<u8, String> {
    if let Some(fd) = spec.seccomp_fd {
        spec.seccomp = vec![args::filter(fd)?];
    }
    let [_, on_terminal, _] = terminals();
    let told = |error: BwrapError| message::text(&error, spec);
    let facts = bwrap::facts(spec, on_terminal).map_err(told)?;
    let plan = plan(spec, &facts).map_err(|why| why.to_string())?;
    bwrap::run(&plan).map_err(told)
}

fn print(text: &str) -> u8 {
    write_stdout(&format!("{text}\n")).unwrap_or(FAILED)
}

fn fail(asked: &Asked, why: &str) -> u8 {
    let level = if asked.level_prefix { "<3>" } else { "" };
    write_stderr(&format!("{level}bwrap: {why}\n"));
    FAILED
}
