//! What jailkit's login shells need to know: jk_chrootsh of the host's settings, jk_lsh of those of the jail it is in.

use super::log::Log;
use super::look::{inside, look};
use super::read;
use crate::outcome::Io;
use jaula_plan::account::jailkit::{DIR, Lsh, LshRefusal, relax};
use jaula_plan::account::login::{JailLook, Relax};
use jaula_plan::account::passwd;
use jaula_plan::account::uchroot::{UchrootFacts, UchrootSpec, plan_uchroot};
use jaula_plan::direct::{DirectPlan, Environment, Program};
use jaula_plan::jail::plan_jail;
use jaula_plan::jailkit::Ini;
use jaula_sys::process;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn group_name(gid: u32) -> Option<String> {
    let text = read(Path::new("/etc/group")).ok()??;
    let found = passwd::groups(&text).find(|group| group.gid == gid);
    found.map(|group| group.name)
}

/// What jk_chrootsh.ini says of a user; nothing where there is no such file.
///
/// # Errors
/// When it cannot be read or understood, or others than root could have written it.
pub fn chrootsh_relax(user: &str, gid: u32) -> Result<Relax, String> {
    let path = Path::new(DIR).join("jk_chrootsh.ini");
    let Some(ini) = trusted(&path)? else {
        return Ok(Relax::default());
    };
    let said = |error: jaula_plan::jailkit::IniError| format!("{}, {error}", path.display());
    relax(&ini, user, group_name(gid).as_deref()).map_err(said)
}

/// Settings of the host's that only root can have written; none when there are none.
fn trusted(path: &Path) -> Result<Option<Ini>, String> {
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        return Ok(None);
    };
    for (part, meta) in [
        (path, Some(meta)),
        (Path::new(DIR), std::fs::symlink_metadata(DIR).ok()),
    ] {
        let safe = meta.is_some_and(|meta| meta.uid() == 0 && meta.mode() & 0o022 == 0);
        if !safe {
            return Err(format!(
                "{} is not root's, or writable by others",
                part.display()
            ));
        }
    }
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let ini = Ini::read(&bytes).map_err(|error| format!("{}, {error}", path.display()))?;
    Ok(Some(ini))
}

/// Goes into a jail that jk_uchroot.ini lists for the user of this process, and runs a program there. The log is told.
///
/// # Errors
/// Why he does not go in, with the exit code of the original.
pub fn uchroot(spec: &UchrootSpec, io: Io<'_>) -> Result<u8, (u8, String)> {
    let log = Log::open("jk_uchroot");
    let (uid, gid) = process::real_ids();
    let refused = |code: u8, text: String| {
        log.say(&format!(
            "refused uid={uid} jail={:?} program={:?} cause=\"{text}\"",
            spec.jail, spec.program
        ));
        (code, text)
    };
    let text = read(Path::new("/etc/passwd"))
        .ok()
        .flatten()
        .unwrap_or_default();
    let account = passwd::accounts(&text).find(|account| account.uid == uid);
    let name = account.as_ref().map(|account| account.name.clone());
    let name = name.unwrap_or_default();
    let program = spec.inside();
    let relative = program.strip_prefix("/").unwrap_or(&program);
    let look = inside(&spec.jail, "etc/passwd")
        .and_then(|text| look(&spec.jail, &name, Path::new("/"), text.as_deref()));
    let facts = UchrootFacts {
        ids: (uid, gid),
        account,
        group: group_name(gid),
        ini: trusted(&Path::new(DIR).join("jk_uchroot.ini")),
        program: relative
            .to_str()
            .is_some_and(|path| jaula_sys::beneath::is_there(&spec.jail, path)),
        look: look.unwrap_or_else(|error| JailLook {
            dangers: vec![error.to_string()],
            ..JailLook::default()
        }),
    };
    let jail = plan_uchroot(spec, &facts);
    let jail = jail.map_err(|refusal| refused(refusal.code(), refusal.to_string()))?;
    let mut host = crate::probe::host(&jail);
    host.resolv_conf &= jaula_sys::beneath::is_there(&spec.jail, "etc/resolv.conf");
    let plan = plan_jail(&jail, &host);
    let plan = plan.map_err(|error| refused(1, error.to_string()))?;
    log.say(&format!(
        "opened user={name} uid={uid} jail={:?} program={program:?}",
        spec.jail
    ));
    match crate::jail::run(&plan, io) {
        Ok(outcome) => Ok(outcome.code()),
        Err(error) => Err(refused(111, error.to_string())),
    }
}

/// Becomes the program that a command means, as jk_lsh.ini allows it. Comes back only when it does not; the log was told.
/// `env` is the environment as it came.
pub fn lsh(command: Option<&str>, env: &[(OsString, OsString)]) -> (u8, String) {
    let log = Log::open("jk_lsh");
    let uid = process::real_ids().0;
    let refusal = match start(command, env, uid) {
        Ok(code) => return (code, String::new()),
        Err(refusal) => refusal,
    };
    log.say(&format!(
        "refused uid={uid} command={:?} cause=\"{refusal}\"",
        command.unwrap_or("-")
    ));
    (refusal.code(), refusal.to_string())
}

fn start(command: Option<&str>, env: &[(OsString, OsString)], uid: u32) -> Result<u8, LshRefusal> {
    let command = command.ok_or(LshRefusal::Interactive)?;
    let text = read(Path::new("/etc/passwd"))
        .ok()
        .flatten()
        .unwrap_or_default();
    let account = passwd::accounts(&text).find(|account| account.uid == uid);
    let account = account.ok_or(LshRefusal::NoUser(uid))?;
    let path = Path::new(DIR).join("jk_lsh.ini");
    let bytes = std::fs::read(&path)
        .map_err(|error| LshRefusal::NoSettings(format!("{}: {error}", path.display())))?;
    let ini = Ini::read(&bytes)
        .map_err(|error| LshRefusal::NoSettings(format!("{}, {error}", path.display())))?;
    let settings = Lsh::read(&ini, &account.name, group_name(account.gid).as_deref())?;
    let variable = |name: &str| {
        let found = env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.to_string_lossy().into_owned())
    };
    let words = settings.words(command, &variable, &files)?;
    let first = words
        .first()
        .ok_or_else(|| LshRefusal::NotAllowed(String::new()))?;
    let program = settings.program(first, &|path| Path::new(path).is_file())?;
    if let Some(mask) = settings.umask {
        process::set_umask(mask);
    }
    let set = |name: &OsString| {
        settings
            .environment
            .iter()
            .any(|(known, _)| name == known.as_str())
    };
    let kept = env.iter().filter(|(name, _)| !set(name));
    let mut list: Vec<OsString> = kept
        .map(|(name, value)| {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            pair
        })
        .collect();
    list.extend(
        settings
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}").into()),
    );
    let plan = DirectPlan {
        ops: Vec::new(),
        program: Program {
            name: program.into(),
            args: words.into_iter().map(OsString::from).collect(),
            path: None,
            env: Environment::Given(list),
        },
    };
    match crate::direct::apply(&plan, &mut |_| ()) {
        Err(crate::direct::Failure::Exec { name, .. }) => {
            Err(LshRefusal::NotAllowed(name.to_string_lossy().into_owned()))
        }
        _ => Ok(1),
    }
}

/// The files that a pattern means in its last part, in order; none when there is none.
fn files(pattern: &str) -> Vec<String> {
    let (dir, name) = pattern
        .rsplit_once('/')
        .map_or((".", pattern), |(dir, name)| (dir, name));
    let listed = std::fs::read_dir(if dir.is_empty() { "/" } else { dir });
    let mut found: Vec<String> = listed
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|known| !known.starts_with('.') || name.starts_with('.'))
        .filter(|known| jaula_plan::account::allow::fits(name, known))
        .map(|known| match pattern.rsplit_once('/') {
            Some((dir, _)) => format!("{dir}/{known}"),
            None => known,
        })
        .take(4096)
        .collect();
    found.sort();
    found
}
