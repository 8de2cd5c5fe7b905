//! chroot(1) of GNU coreutils.

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, long};
use super::tool::{self, ENOENT, Stopped, Tool};
use jaula_engine::direct::{self, End, Failure};
use jaula_plan::direct::{ChrootSpec, DirectOp, Program, Refusal, plan_chroot};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "chroot",
    of: "GNU coreutils 9.1",
    run,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Groups,
    UserSpec,
    SkipChdir,
    Help,
    Version,
}

const TABLE: &[Opt<Key>] = &[
    long("groups", Takes::Required, Key::Groups),
    long("userspec", Takes::Required, Key::UserSpec),
    long("skip-chdir", Takes::Nothing, Key::SkipChdir),
    long("help", Takes::Nothing, Key::Help),
    long("version", Takes::Nothing, Key::Version),
];

const HELP: &str = "\
Make NEWROOT the root directory, and run COMMAND there.

      --groups=G_LIST        supplementary groups, as g1,g2,..,gN
      --userspec=USER:GROUP  user and group to run as, names or numbers
      --skip-chdir           stay in the working directory, where NEWROOT is '/'
      --help        display this help and exit
      --version     output version information and exit

Without a COMMAND it runs '\"$SHELL\" -i', or '/bin/sh -i' where SHELL is not set.
Users and groups are those of NEWROOT; where it does not know them, the caller's.
";

fn run(words: &[OsString]) -> ExitCode {
    let mut tool = Tool::new("chroot", 125);
    // The programs of coreutils say how they were called.
    tool.name.clone_from(&tool.called);
    match read(&tool, words).and_then(|spec| act(&tool, spec)) {
        Ok(code) | Err(code) => code,
    }
}

fn act(tool: &Tool, spec: ChrootSpec) -> Result<ExitCode, Stopped> {
    let groups = spec.groups.clone().unwrap_or_default();
    let facts = direct::probe_chroot(&spec);
    let plan = plan_chroot(spec, &facts);
    let mut warn = |_| tool::say(&tool.name, "warning: '.' should be ':'", 0);
    match direct::apply(&plan, &mut warn) {
        // Nothing is forked.
        Ok(End::Exited(_) | End::Survived(_)) => Ok(ExitCode::SUCCESS),
        Err(failure) => Err(failed(tool, &groups, failure)),
    }
}

fn read(tool: &Tool, words: &[OsString]) -> Result<ChrootSpec, Stopped> {
    let mut spec = ChrootSpec {
        root: "/".into(),
        user: None,
        groups: None,
        stay: false,
        program: Program::login_shell(None),
    };
    let mut reader = Reader::new(words, TABLE, Order::First);
    for met in &mut reader {
        let (key, argument) = met.map_err(|complaint| tool.complain(&complaint))?;
        let text = || argument.unwrap_or_default().to_string_lossy().into_owned();
        match key {
            Key::Groups => spec.groups = Some(text()),
            Key::UserSpec => spec.user = Some(text()),
            Key::SkipChdir => spec.stay = true,
            Key::Help => {
                let usage = format!(
                    "Usage: {name} [OPTION] NEWROOT [COMMAND [ARG]...]\n  or:  {name} OPTION\n{HELP}",
                    name = tool.name
                );
                return Err(tool::show(&usage));
            }
            Key::Version => {
                let jaula = env!("CARGO_PKG_VERSION");
                let line = format!("chroot (jaula {jaula}, as GNU coreutils) 9.1\n");
                return Err(tool::show(&line));
            }
        }
    }
    let operands = reader.operands();
    let Some((root, command)) = operands.split_first() else {
        tool.fail("missing operand", 0);
        return Err(tool.try_help(&tool.name));
    };
    spec.root = root.into();
    if spec.stay && !direct::is_root(Path::new(root)) {
        let text = "option --skip-chdir only permitted if NEWROOT is old '/'";
        tool.fail(text, 0);
        return Err(tool.try_help(&tool.name));
    }
    let path = std::env::var_os("PATH");
    let shell = || {
        let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
        vec![shell, "-i".into()]
    };
    let words = if command.is_empty() {
        shell()
    } else {
        command.to_vec()
    };
    if let Some(program) = Program::of_words(words, path) {
        spec.program = program;
    }
    Ok(spec)
}

fn failed(tool: &Tool, groups: &str, failure: Failure) -> Stopped {
    match failure {
        Failure::Exec { name, errno } => {
            let code = if errno == ENOENT { 127 } else { 126 };
            tool.end(
                code,
                format_args!("failed to run command {}", quote(&name)),
                errno,
            )
        }
        Failure::Refused(refusal) => match refusal {
            Refusal::InvalidUser => tool.fail("invalid user", 0),
            Refusal::InvalidGroup => tool.fail("invalid group", 0),
            Refusal::InvalidSpec => tool.fail("invalid spec", 0),
            Refusal::NoGroupFor(uid) => {
                tool.fail(format_args!("no group specified for unknown uid: {uid}"), 0)
            }
            Refusal::InvalidGroups(unknown) => {
                for group in &unknown {
                    let group = quote(OsStr::new(group));
                    tool::say(&tool.name, &format!("invalid group {group}"), 0);
                }
                if unknown.is_empty() {
                    let list = quote(OsStr::new(groups));
                    tool::say(&tool.name, &format!("invalid group list {list}"), 0);
                }
                ExitCode::from(tool.failure)
            }
            Refusal::SetGroupsAllow => tool.fail("refused", 0),
        },
        Failure::Step { op, errno, .. } => tool.fail(text(&op), errno),
        other => tool.fail(other, 0),
    }
}

/// What coreutils say when a step fails.
fn text(op: &DirectOp) -> String {
    match op {
        DirectOp::Chroot(path) => format!(
            "cannot change root directory to {}",
            shell_quote(path.as_os_str())
        ),
        DirectOp::Chdir(_) => "cannot chdir to root directory".into(),
        DirectOp::Groups(_) | DirectOp::ClearGroups(_) => {
            "failed to set supplemental groups".into()
        }
        DirectOp::SetGid(_) => "failed to set group-ID".into(),
        DirectOp::SetUid(_) => "failed to set user-ID".into(),
        _ => format!("cannot {op}"),
    }
}

/// Always in quotes that a shell understands.
fn shell_quote(text: &OsStr) -> String {
    // A single quote alone is put in double ones, where nothing else in it means anything there.
    if let Some(plain) = text.to_str()
        && plain.contains('\'')
        && !plain.contains(['"', '$', '`', '\\', '!'])
        && !plain.chars().any(char::is_control)
    {
        return format!("\"{plain}\"");
    }
    let word = jaula_plan::explain::word(text);
    if word.starts_with(['\'', '$']) {
        word
    } else {
        format!("'{word}'")
    }
}

/// In the quotes of the user's locale, what cannot be seen as escapes.
fn quote(text: &OsStr) -> String {
    let mut inner = String::new();
    let curly = super::util_linux::utf8();
    for letter in text.to_string_lossy().chars() {
        match letter {
            '\\' => inner.push_str("\\\\"),
            '\'' if !curly => inner.push_str("\\'"),
            '\n' => inner.push_str("\\n"),
            '\t' => inner.push_str("\\t"),
            '\r' => inner.push_str("\\r"),
            control if control.is_control() => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    inner.push_str(&format!("\\{byte:03o}"));
                }
            }
            other => inner.push(other),
        }
    }
    if curly {
        format!("‘{inner}’")
    } else {
        format!("'{inner}'")
    }
}
