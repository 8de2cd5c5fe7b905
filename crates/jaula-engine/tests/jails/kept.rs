//! The user namespace that is kept between the sessions of a user.

use super::{Checked, Scratch, io, is, same};
use jaula_engine::jail::Running;
use jaula_engine::session::{Caller, Need, Session, enter_kept};
use jaula_sys::{process, userns};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A session in a process of its own: the user namespace that it works in.
fn session(dir: &Path) -> Result<String, String> {
    let answer = dir.with_extension("answer");
    let mut inside = || {
        let entered = enter_kept(&Caller::current(), Need::Users, dir);
        let works =
            matches!(entered, Ok(Session::Entered { .. })) && process::effective_ids() == (0, 0);
        let link = std::fs::read_link("/proc/self/ns/user").unwrap_or_default();
        u8::from(!works || std::fs::write(&answer, link.to_string_lossy().as_bytes()).is_err())
    };
    let child = userns::fork(&mut inside).map_err(|e| e.to_string())?;
    same(child.wait().map_err(|e| e.to_string())?, Some(0))?;
    io(std::fs::read_to_string(&answer))
}

/// The entry, as soon as the process that writes it has done so.
fn holder(dir: &Path, other_than: Option<Running>) -> Result<Running, String> {
    for _ in 0..10_000 {
        let text = std::fs::read_to_string(dir.join("session")).unwrap_or_default();
        match serde_json::from_str::<Running>(&text) {
            Ok(running) if Some(running) != other_than => return Ok(running),
            _ => std::thread::yield_now(),
        }
        process::readable(&[], 1);
    }
    Err("nothing is kept".to_owned())
}

/// A process in a user namespace of the caller's own that is not what a session makes: it has one identifier.
struct Impostor(Child);

impl Impostor {
    fn new() -> Result<Self, String> {
        let script = "echo; exec cat";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = io(command.spawn())?;
        let mut byte = [0];
        let out = child.stdout.as_mut().ok_or("no output")?;
        io(out.read_exact(&mut byte))?;
        Ok(Self(child))
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

fn plant(dir: &Path, running: Running) -> Checked {
    let text = serde_json::to_string(&running).map_err(|e| e.to_string())?;
    let aside = dir.join("planted");
    io(std::fs::write(&aside, text))?;
    io(std::fs::rename(aside, dir.join("session")))
}

pub fn a_namespace_is_kept_and_verified_before_it_is_joined() -> Checked {
    let scratch = Scratch::new("kept")?;
    let dir = scratch.0.join("store");
    io(std::fs::create_dir(&dir))?;
    let mode = |mode| {
        io(std::fs::set_permissions(
            &dir,
            std::fs::Permissions::from_mode(mode),
        ))
    };
    // Where others may write, nothing is looked for and nothing is left.
    mode(0o777)?;
    session(&dir)?;
    is(!dir.join("session").exists(), "kept where others can write")?;
    mode(0o700)?;
    let first = session(&dir)?;
    let running = holder(&dir, None)?;
    let own = |pid: u32| io(std::fs::read_link(format!("/proc/{pid}/ns/user")));
    same(
        own(running.pid)?.to_string_lossy().into_owned(),
        first.clone(),
    )?;
    same(session(&dir)?, first.clone())?;
    same(session(&dir)?, first.clone())?;
    same(holder(&dir, None)?, running)?;

    // A namespace with other maps, of the same user.
    let impostor = Impostor::new()?;
    let pid = impostor.0.id();
    let planted = Running::of(pid).ok_or("the impostor is gone")?;
    plant(&dir, planted)?;
    let second = session(&dir)?;
    is(
        second != own(pid)?.to_string_lossy(),
        "a planted namespace was joined",
    )?;
    let after = holder(&dir, Some(planted))?;
    same(session(&dir)?, second.clone())?;
    // The right process at another time; this process, in no namespace of its own; none at all.
    let aged = Running {
        start_time: after.start_time + 1,
        ..after
    };
    let here = Running::of(std::process::id()).ok_or("no process")?;
    let nobody = Running {
        pid: 0x3fff_fff0,
        start_time: 1,
    };
    let mut last = after;
    for wrong in [aged, here, nobody] {
        plant(&dir, wrong)?;
        let made = session(&dir)?;
        is(
            made != second && made != first,
            format!("{wrong:?} was joined"),
        )?;
        last = holder(&dir, Some(wrong))?;
    }
    // A link is not followed, whatever it leads to.
    let elsewhere = scratch.0.join("elsewhere");
    io(std::fs::rename(dir.join("session"), &elsewhere))?;
    io(symlink(&elsewhere, dir.join("session")))?;
    let through = io(std::fs::read_link(format!("/proc/{}/ns/user", last.pid))).ok();
    let made = session(&dir)?;
    is(
        through.is_none_or(|link| link.to_string_lossy() != made),
        "a link was followed",
    )?;

    // Whoever holds one ends with its entry.
    let last = holder(&dir, None)?;
    let pidfd = process::pidfd(last.pid).map_err(|e| e.to_string())?;
    io(std::fs::remove_dir_all(&dir))?;
    is(
        process::readable(&[pidfd.as_fd()], 10_000) != 0,
        "it stays without its entry",
    )?;
    drop(impostor);
    Ok(())
}
