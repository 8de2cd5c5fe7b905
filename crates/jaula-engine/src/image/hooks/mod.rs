//! What the user runs while an image is made, at the stages of mmdebstrap(1).

mod copy;
mod error;
mod files;
mod terminal;

pub use copy::{Merge, merge_all};
pub use error::HookError;

use self::files::Place;
use super::build::Site;
use super::error::BuildError;
use crate::configure::{self, Runner};
use crate::error::At;
use crate::event::{Event, Observer};
use crate::outcome::Status;
use jaula_plan::spec::hook::{Hook, HookAction, HookStage};
use jaula_sys::lent::Lent;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a script is while it runs: in the first of these directories that the tree has.
const PLACES: [&str; 2] = ["run/jaula-hook", "tmp/jaula-hook"];

/// Exec format error.
const ENOEXEC: i32 = 8;

/// What cannot be done, before anything is done.
///
/// # Errors
/// [`HookError::NoPrograms`].
pub fn check(hooks: &[Hook]) -> Result<(), HookError> {
    for hook in hooks {
        if let (HookStage::Setup, HookAction::Inside { name, .. }) = (hook.stage, &hook.action) {
            return Err(HookError::NoPrograms { name: name.clone() });
        }
    }
    Ok(())
}

/// Whether a program of the host is to see the tree.
pub fn any_outside(hooks: &[Hook]) -> bool {
    hooks
        .iter()
        .any(|hook| matches!(hook.action, HookAction::Outside { .. }))
}

/// What an event and an error call it.
pub fn name(action: &HookAction) -> String {
    let first = |paths: &[std::path::PathBuf]| {
        paths
            .first()
            .map(|path| jaula_plan::explain::shown(path))
            .unwrap_or_default()
    };
    match action {
        HookAction::Inside { name, .. } => name.clone(),
        HookAction::Outside { command, .. } => command.first().cloned().unwrap_or_default(),
        HookAction::CopyIn { from, .. } => format!("copy-in {}", first(from)),
        HookAction::CopyOut { from, .. } => format!("copy-out {}", first(from)),
        HookAction::TarIn { from, .. } => format!("tar-in {}", jaula_plan::explain::shown(from)),
        HookAction::TarOut { from, .. } => format!("tar-out {}", jaula_plan::explain::shown(from)),
        HookAction::Upload { from, .. } => format!("upload {}", jaula_plan::explain::shown(from)),
        HookAction::Download { from, .. } => {
            format!("download {}", jaula_plan::explain::shown(from))
        }
    }
}

/// Runs the hooks of a stage in their order.
///
/// # Errors
/// [`HookError`] of the first that fails.
pub fn run(site: &Site<'_>, stage: HookStage, runner: Runner<'_>) -> Result<(), BuildError> {
    let hooks = &site.plan.spec.options.hooks;
    for hook in hooks.iter().filter(|hook| hook.stage == stage) {
        let name = name(&hook.action);
        site.observer.event(Event::Note {
            text: format!("{stage} hook {name}"),
        });
        let (status, tail) = match &hook.action {
            HookAction::Inside {
                script,
                args,
                network,
                ..
            } => inside(site, script, args, *network, runner)?,
            HookAction::Outside {
                command,
                after,
                env,
                apt_config,
                mounts,
            } => {
                let lent = match mounts.is_empty() {
                    true => None,
                    false => Some(lend(site, mounts)?),
                };
                let mut env = env.clone();
                if let Some(name) = apt_config {
                    env.push((name.clone(), write_apt_config(site)?));
                }
                let lent_names = names(site)?;
                let ended = outside(site, command, after, &env)?;
                if lent_names {
                    take_names(site)?;
                }
                if apt_config.is_some() {
                    let path = apt_config_place(site);
                    std::fs::remove_file(&path).at("remove", &path)?;
                }
                drop(lent);
                ended
            }
            action => {
                let place = Place {
                    shown: site.shown,
                    epoch: site.plan.epoch(),
                };
                files::run(&place, action).map_err(|source| HookError::Files {
                    stage,
                    name,
                    source: Box::new(source),
                })?;
                continue;
            }
        };
        if status != Status::Exited(0) {
            return Err(HookError::Failed {
                stage,
                name,
                status,
                tail,
            }
            .into());
        }
    }
    Ok(())
}

/// Does what a hook does with files, on a tree at this place; programs are not run.
///
/// # Errors
/// What cannot be read or written, or is not there.
pub fn transfer(tree: &Path, action: &HookAction, epoch: u64) -> Result<(), BuildError> {
    let place = Place { shown: tree, epoch };
    files::run(&place, action)
}

/// A script in a jail on the tree. It is a file there, so nothing of it passes through a shell's command line.
fn inside(
    site: &Site<'_>,
    script: &[u8],
    args: &[String],
    network: bool,
    runner: Runner<'_>,
) -> Result<(Status, Vec<String>), BuildError> {
    let place = PLACES
        .into_iter()
        .find(|place| site.tree.has_parent(place))
        .unwrap_or("run/jaula-hook");
    let path = format!("{place}/hook");
    site.tree.make_dirs(place, 0o755)?;
    site.tree.write(&path, 0o755, script)?;
    let mut command: Vec<OsString> = Vec::new();
    if !script.starts_with(b"#!") {
        command.push("/bin/sh".into());
    }
    command.push(format!("/{path}").into());
    command.extend(args.iter().map(OsString::from));
    let ended = configure::program(
        site.shown,
        command,
        &[],
        network,
        site.plan.epoch(),
        runner,
        site.observer,
    )?;
    site.tree.remove(&path)?;
    site.tree.remove_dir(place)?;
    Ok(ended)
}

/// What a program of the host finds mounted in the tree, in the mount namespace that [`super::build`] made.
fn lend(site: &Site<'_>, mounts: &[String]) -> Result<Lent, BuildError> {
    let wanted: Vec<&str> = mounts.iter().map(String::as_str).collect();
    let lent = Lent::place(site.shown, &wanted).map_err(std::io::Error::other);
    Ok(lent.at("mount /proc, /sys and /dev in", site.shown)?)
}

/// Where names are looked up by programs of the tree.
const NAMES: &str = "etc/resolv.conf";
/// A file of settings is never longer than this.
const NAMES_LIMIT: u64 = 64 << 10;

fn names_of_host() -> Vec<u8> {
    let mut text = Vec::new();
    // A host without one has nothing to lend.
    if let Ok(file) = std::fs::File::open(Path::new("/").join(NAMES))
        && file.take(NAMES_LIMIT).read_to_end(&mut text).is_err()
    {
        text.clear();
    }
    text
}

/// Lends the host's resolv.conf(5) to a tree that has an empty one, for programs that chroot(1) into it: they have the
/// host's network. Whether it was lent.
fn names(site: &Site<'_>) -> Result<bool, BuildError> {
    let is_empty =
        site.tree.is_file(NAMES) && site.tree.read(NAMES)?.is_some_and(|text| text.is_empty());
    let text = match is_empty {
        true => names_of_host(),
        false => Vec::new(),
    };
    if !text.is_empty() {
        site.tree.write(NAMES, 0o644, &text)?;
    }
    Ok(!text.is_empty())
}

/// Takes it back, unless the hook has written another: an image is the same wherever it is made.
fn take_names(site: &Site<'_>) -> Result<(), BuildError> {
    if site.tree.is_file(NAMES) && site.tree.read(NAMES)? == Some(names_of_host()) {
        site.tree.write(NAMES, 0o644, b"")?;
    }
    Ok(())
}

fn apt_config_place(site: &Site<'_>) -> PathBuf {
    site.stage.dir().join("apt.conf")
}

/// Writes by what the host's apt works on the tree, and not on the host, beside the tree; its path.
fn write_apt_config(site: &Site<'_>) -> Result<String, BuildError> {
    let arch = &site.plan.lock.arch;
    let foreign = site.plan.spec.options.foreign_archs.iter();
    let archs: String = std::iter::once(arch.clone())
        .chain(foreign.map(ToString::to_string))
        .map(|arch| format!(" \"{arch}\";"))
        .collect();
    // The store's own path: no quotes are in it, unless somebody chose them.
    let tree = site.shown.display();
    let recommends = site.plan.spec.options.recommends;
    let text = format!(
        "Apt::Architecture \"{arch}\";\nApt::Architectures {{{archs} }};\nDir \"{tree}/\";\n\
         Dir::Etc::Trusted \"/etc/apt/trusted.gpg\";\nDir::Etc::TrustedParts \"/etc/apt/trusted.gpg.d/\";\n\
         DPkg::Chroot-Directory \"{tree}\";\nApt::Install-Recommends \"{recommends}\";\n"
    );
    let path = apt_config_place(site);
    std::fs::write(&path, text).at("write", &path)?;
    Ok(path.display().to_string())
}

/// A program of the host, with the tree's place as an argument. It has the caller's environment, as with mmdebstrap,
/// and what the stage says besides.
fn outside(
    site: &Site<'_>,
    command: &[String],
    after: &[String],
    env: &[(String, String)],
) -> Result<(Status, Vec<String>), BuildError> {
    let (program, arguments) = command
        .split_first()
        .map_or(("", command), |(program, rest)| (program.as_str(), rest));
    let run = |observer: &dyn Observer| -> std::io::Result<(Status, Vec<String>)> {
        // Who started us in a shell's background may still end us and the hook.
        jaula_sys::signal::interruptible();
        let made = |shell: bool| {
            let mut command = Command::new(if shell { "/bin/sh" } else { program });
            command
                .args(shell.then_some(program))
                .args(arguments)
                .arg(site.shown)
                .args(after)
                .env("SOURCE_DATE_EPOCH", site.plan.epoch().to_string())
                // The caller's own would be read for the tree's.
                .env_remove("APT_CONFIG")
                .envs(env.iter().map(|(name, value)| (name, value)));
            command
        };
        if observer.lends_terminal()
            && jaula_sys::pty::may_be_typed_to()
            && let Ok(terminal) = terminal::Terminal::open()
        {
            let (status, tail) = terminal.run(&|shell| made(shell))?;
            return Ok((ended(status), tail));
        }
        let (mut hear, tell) = std::io::pipe()?;
        let start = |shell: bool| {
            let mut starting = made(shell);
            starting
                .stdin(Stdio::null())
                .stdout(tell.try_clone()?)
                .stderr(tell.try_clone()?);
            starting.spawn()
        };
        let mut child = or_by_a_shell(&start)?;
        // The child has the ends of the pipe that it writes to.
        drop(tell);
        let mut log = configure::Log::new(observer);
        let mut buffer = [0; 8192];
        loop {
            match hear.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => log.hear(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        log.end();
        Ok((ended(child.wait()?), log.tail()))
    };
    run(site.observer).map_err(|source| {
        HookError::Start {
            program: program.to_owned(),
            source,
        }
        .into()
    })
}

/// Starts a program, or a shell with it, as execvp(3) has it: a script that does not say of what.
fn or_by_a_shell<T>(start: &dyn Fn(bool) -> std::io::Result<T>) -> std::io::Result<T> {
    match start(false) {
        Err(error) if error.raw_os_error() == Some(ENOEXEC) => start(true),
        other => other,
    }
}

fn ended(status: std::process::ExitStatus) -> Status {
    match (status.code(), status.signal()) {
        (Some(code), _) => Status::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => Status::Signalled(signal.unwrap_or_default()),
    }
}
