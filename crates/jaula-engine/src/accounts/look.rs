//! What is seen of the host's accounts and of a jail.

use super::{AccountsError, parent, read};
use crate::error::{At, PathError};
use jaula_plan::account::login::{HomeFacts, JailLook, SFTP_SERVERS};
use jaula_plan::account::passwd::{self, PasswdLine};
use jaula_plan::account::plan::{AccountFacts, JAIL_DIRS};
use jaula_plan::account::policy::{self, Policy};
use jaula_plan::account::sshd::{self, SshdFacts};
use jaula_plan::account::{LOGIN_SHELL, split_home};
use jaula_sys::beneath;
use jaula_sys::dir::{Dir, Kind};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most that is read of a jail's file of accounts.
const INSIDE: usize = 1 << 20;

/// What is to be looked at besides the files of accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked<'a> {
    /// The jail's directory.
    pub jail: &'a Path,
    /// The user.
    pub user: &'a str,
    /// The shell that is asked for; that of the account when absent.
    pub shell: Option<&'a str>,
    /// The home inside that is asked for.
    pub home: Option<&'a Path>,
    /// The program that runs.
    pub program: &'a Path,
}

/// Everything that a plan of accounts needs to know.
///
/// # Errors
/// When a file cannot be read.
pub fn facts(looked: &Looked<'_>) -> Result<AccountFacts, AccountsError> {
    let etc = |name: &str| read(&Path::new("/etc").join(name));
    let jail = looked.jail;
    let passwd = etc("passwd")?.unwrap_or_default();
    let account = passwd::named(&passwd, looked.user);
    let mut facts = AccountFacts {
        group: etc("group")?.unwrap_or_default(),
        shadow: etc("shadow")?,
        gshadow: etc("gshadow")?,
        shells: etc("shells")?,
        today: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() / 86_400),
        sshd: sshd_facts()?,
        addition: read(&sshd::addition_path(looked.user))?,
        policy: read(&Policy::path(looked.user))?,
        program: (looked.program.to_owned(), program_doubt(looked.program)),
        login_shell: leads(Path::new(LOGIN_SHELL), looked.program),
        namespaces_refused: namespaces_refused(),
        entry: super::entry::facts()?,
        jail: jail.is_dir(),
        passwd,
        ..AccountFacts::default()
    };
    if !facts.jail {
        return Ok(facts);
    }
    facts.inside_passwd = inside(jail, "etc/passwd")?;
    facts.inside_group = inside(jail, "etc/group")?;
    let own = account
        .as_ref()
        .and_then(|account| split_home(&account.home));
    let default = || Path::new("/home").join(looked.user);
    let home = match (looked.home, own) {
        (Some(home), _) => home.strip_prefix(jail).unwrap_or(home).to_owned(),
        (None, Some((_, home))) => home,
        (None, None) => default(),
    };
    facts.look = look(jail, looked.user, &home, facts.inside_passwd.as_deref())?;
    let top = Dir::open(jail).at("open", jail)?;
    facts.lacks = JAIL_DIRS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| top.meta(name).is_err())
        .collect();
    let in_passwd = facts
        .inside_passwd
        .as_ref()
        .and_then(|text| passwd::named(text, looked.user));
    let shell = match looked.shell {
        Some(shell) => shell.to_owned(),
        None => {
            let known = in_passwd.or(account.clone());
            let shell = known.map_or("/bin/sh".to_owned(), |known| known.shell().to_owned());
            match shell.ends_with("/jaula-login") || shell.ends_with("/jk_chrootsh") {
                true => "/bin/sh".to_owned(),
                false => shell,
            }
        }
    };
    facts.shell_there = is_program(&top, Path::new(&shell));
    if let Some(account) = account.filter(|account| split_home(&account.home).is_none()) {
        let meta = std::fs::symlink_metadata(&account.home).ok();
        facts.old_home = meta
            .filter(std::fs::Metadata::is_dir)
            .map(|meta| HomeFacts {
                uid: meta.uid(),
                gid: meta.gid(),
                mode: meta.mode() & 0o7777,
            });
    }
    let relative = home.strip_prefix("/").unwrap_or(&home);
    let mut way: Vec<PathBuf> = relative
        .ancestors()
        .skip(1)
        .filter(|dir| !dir.as_os_str().is_empty() && top.open_dir_in_root(dir).is_err())
        .map(Path::to_owned)
        .collect();
    way.reverse();
    facts.way = way;
    Ok(facts)
}

/// The text of a jail's file of accounts; none only when it is not there.
pub(super) fn inside(jail: &Path, name: &str) -> Result<Option<String>, PathError> {
    let whole = jail.join(name);
    let bytes = match beneath::read_in_root(jail, name, INSIDE + 1) {
        Ok(bytes) => bytes,
        Err(error) => {
            let error = std::io::Error::from_raw_os_error(error.errno.0);
            return match error.kind() {
                ErrorKind::NotFound => Ok(None),
                _ => Err(error).at("read", whole),
            };
        }
    };
    if bytes.len() > INSIDE {
        return Err(std::io::Error::from(ErrorKind::FileTooLarge)).at("read", whole);
    }
    let text = String::from_utf8(bytes).map_err(|_| std::io::Error::from(ErrorKind::InvalidData));
    text.map(Some).at("read", whole)
}

/// What is seen of a jail by whoever is to be let in.
pub(super) fn look(
    jail: &Path,
    user: &str,
    home: &Path,
    passwd: Option<&str>,
) -> Result<JailLook, PathError> {
    let mut dangers = crate::minimal::unsafe_parts(jail)?;
    let relative = home.strip_prefix("/").unwrap_or(home);
    // The home is moved, bound and removed by its path: nobody else decides where that leads.
    let above = jail.join(relative.parent().unwrap_or(Path::new("")));
    for reason in crate::minimal::unsafe_way(&above)? {
        if !dangers.contains(&reason) {
            dangers.push(reason);
        }
    }
    let top = Dir::open(jail).at("open", jail)?;
    let directory = |name: &str| {
        top.meta(name)
            .is_ok_and(|meta| meta.kind == Kind::Directory)
    };
    let found = parent(jail, relative)
        .ok()
        .and_then(|(dir, name)| dir.meta(&name).ok());
    let server = SFTP_SERVERS
        .iter()
        .find(|path| is_program(&top, Path::new(path)));
    Ok(JailLook {
        dangers: dangers.iter().map(ToString::to_string).collect(),
        account: passwd.and_then(|text| passwd::named(text, user)),
        home: found
            .filter(|meta| meta.kind == Kind::Directory)
            .map(|meta| HomeFacts {
                uid: meta.uid,
                gid: meta.gid,
                mode: meta.mode,
            }),
        whole: ["dev", "proc", "sys"].into_iter().all(directory),
        sftp_server: server.map(|path| Path::new("/").join(path)),
    })
}

fn is_program(top: &Dir, path: &Path) -> bool {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let opened = top.open_file_in_root(relative);
    opened
        .and_then(|file| file.metadata())
        .is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0)
}

/// Whether a name leads to the program; none when it is not there.
pub(crate) fn leads(path: &Path, program: &Path) -> Option<bool> {
    path.symlink_metadata().ok()?;
    Some(crate::links::leads_to(path, program))
}

/// Why a program cannot be anybody's login shell: somebody other than root could replace it.
fn program_doubt(program: &Path) -> Option<String> {
    for part in program.ancestors() {
        let meta = match std::fs::metadata(part) {
            Ok(meta) => meta,
            Err(error) => return Some(error.to_string()),
        };
        let shown = jaula_plan::explain::shown(part);
        // Who can write in a sticky directory can still not replace what is root's.
        let open = meta.mode() & 0o022 != 0 && (meta.mode() & 0o1000 == 0 || meta.is_file());
        if meta.uid() != 0 {
            return Some(format!("{shown} belongs to user {}", meta.uid()));
        }
        if open {
            return Some(format!("{shown} is writable by others than root"));
        }
        if part == program && meta.mode() & 0o001 == 0 {
            return Some(format!("{shown} cannot be executed by everybody"));
        }
        if part != program && meta.mode() & 0o001 == 0 {
            return Some(format!("{shown} cannot be entered by everybody"));
        }
    }
    None
}

/// What the kernel's settings say of user namespaces of ordinary users.
pub(super) fn namespaces_refused() -> Option<String> {
    let number = |path: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let base = "/proc/sys";
    for (path, bad) in [
        ("user/max_user_namespaces", 0),
        ("kernel/unprivileged_userns_clone", 0),
        ("kernel/apparmor_restrict_unprivileged_userns", 1),
    ] {
        if number(&format!("{base}/{path}")) == Some(bad) {
            return Some(format!("{} is {bad}", path.replace('/', ".")));
        }
    }
    None
}

/// Files of sshd's settings that are read at most.
const SETTINGS: usize = 4096;

/// sshd's settings; none when the host has none.
///
/// # Errors
/// When one of them cannot be read, which sshd would not start with either.
pub(crate) fn sshd_facts() -> Result<Option<SshdFacts>, PathError> {
    let main = Path::new("/etc/ssh/sshd_config");
    let Some(main) = sshd_text(main)? else {
        return Ok(None);
    };
    let mut facts = SshdFacts {
        main,
        included: Vec::new(),
    };
    let mut texts = vec![facts.main.clone()];
    let mut count = 0usize;
    // Files in each other's Include are read once.
    while let Some(text) = texts.pop() {
        for pattern in sshd::includes(&text) {
            if facts.included.iter().any(|(known, _)| *known == pattern) {
                continue;
            }
            let mut files = Vec::new();
            for path in globbed(&pattern)? {
                count = count.saturating_add(1);
                if count > SETTINGS {
                    return Err(std::io::Error::from(ErrorKind::FileTooLarge)).at("read", path);
                }
                if let Some(text) = sshd_text(&path)? {
                    texts.push(text.clone());
                    files.push((path, text));
                }
            }
            facts.included.push((pattern, files));
        }
    }
    Ok(Some(facts))
}

/// The text of one; what is not UTF-8 in it is of no keyword.
fn sshd_text(path: &Path) -> Result<Option<String>, PathError> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.at("open", path)?,
    };
    let mut bytes = Vec::new();
    let mut file = file.take(super::LIMIT.saturating_add(1));
    file.read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() as u64 > super::LIMIT {
        return Err(std::io::Error::from(ErrorKind::FileTooLarge)).at("read", path);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The files of a pattern, as glob(3) finds them, in the order of their names.
fn globbed(pattern: &str) -> Result<Vec<PathBuf>, PathError> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for dir in found {
            if !sshd::is_pattern(part) {
                next.push(dir.join(part));
                continue;
            }
            let entries = match std::fs::read_dir(&dir) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                other => other.at("read", &dir)?,
            };
            for entry in entries {
                let name = entry.at("read", &dir)?.file_name();
                if sshd::part_fits(part, &name.to_string_lossy()) {
                    next.push(dir.join(name));
                }
            }
            if next.len() > SETTINGS {
                return Err(std::io::Error::from(ErrorKind::FileTooLarge)).at("read", dir);
            }
        }
        found = next;
    }
    found.retain(|path| path.symlink_metadata().is_ok());
    found.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    Ok(found)
}

/// A user's account on the host.
///
/// # Errors
/// When passwd(5) cannot be read.
pub fn account(user: &str) -> Result<Option<PasswdLine>, AccountsError> {
    let passwd = read(Path::new("/etc/passwd"))?.unwrap_or_default();
    Ok(passwd::named(&passwd, user))
}

/// Somebody who lives in a jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    /// His account on the host.
    pub account: PasswdLine,
    /// The jail.
    pub jail: PathBuf,
    /// His home inside.
    pub home: PathBuf,
    /// His shell inside; none when the jail does not know him.
    pub shell: Option<String>,
    /// What he may do; none where nothing is said. Else why it cannot be told.
    pub policy: Option<Result<Policy, String>>,
    /// Why he is not let in, as far as it can be told before he comes.
    pub trouble: Option<String>,
}

/// Everybody whose home names a jail, by the order of passwd(5).
///
/// # Errors
/// When passwd(5) cannot be read.
pub fn residents() -> Result<Vec<Resident>, AccountsError> {
    let passwd = read(Path::new("/etc/passwd"))?.unwrap_or_default();
    let closed = namespaces_refused().filter(|_| !super::entry::is_there());
    let mut found = Vec::new();
    for account in passwd::accounts(&passwd) {
        let Some((jail, home)) = split_home(&account.home) else {
            continue;
        };
        let inside = inside(&jail, "etc/passwd");
        let looked = look(&jail, &account.name, &home, None);
        let looked = inside.as_ref().map_or_else(
            |error| Err(error.to_string()),
            |_| looked.map_err(|error| error.to_string()),
        );
        let known = inside
            .ok()
            .flatten()
            .and_then(|text| passwd::named(&text, &account.name));
        let shell = jaula_plan::account::allow::base(account.shell());
        let trouble = match (&looked, &known) {
            (Err(error), _) => Some(error.clone()),
            (Ok(look), _) if !look.dangers.is_empty() => look.dangers.first().cloned(),
            (_, None) => Some("not defined in the jail".to_owned()),
            (_, Some(known)) if (known.uid, known.gid) != (account.uid, account.gid) => {
                Some("another number in the jail".to_owned())
            }
            _ if shell != jaula_plan::account::LOGIN && shell != "jk_chrootsh" => Some(format!(
                "not jailed: the login shell is {}",
                account.shell()
            )),
            _ => None,
        };
        let policy = policy(&account.name);
        let by_sshd = matches!(&policy, Some(Ok(policy)) if policy.entry == policy::Entry::Sshd);
        let trouble = trouble.or_else(|| {
            let why = closed.as_ref().filter(|_| !by_sshd)?;
            Some(format!(
                "{why}, and nobody listens at {}",
                jaula_plan::account::entry::SOCKET
            ))
        });
        found.push(Resident {
            policy,
            shell: known.map(|known| known.shell().to_owned()),
            account,
            jail,
            home,
            trouble,
        });
    }
    Ok(found)
}

/// What root wrote about a user; not to be trusted when somebody else could have.
pub(super) fn policy(user: &str) -> Option<Result<Policy, String>> {
    // The name is from passwd(5), and a path is made of it.
    if user.contains('/') || user.starts_with('.') {
        return Some(Err(format!("{user:?} is no name")));
    }
    let path = Policy::path(user);
    let meta = match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(error.to_string())),
        Ok(meta) => meta,
    };
    for part in path.ancestors() {
        let Ok(meta) = std::fs::symlink_metadata(part) else {
            continue;
        };
        let shown = jaula_plan::explain::shown(part);
        if meta.uid() != 0 {
            return Some(Err(format!("{shown} belongs to user {}", meta.uid())));
        }
        if meta.mode() & 0o022 != 0 {
            return Some(Err(format!("{shown} is writable by others than root")));
        }
    }
    if !meta.is_file() || meta.len() > policy::LIMIT as u64 {
        return Some(Err(format!("{} is no such file", path.display())));
    }
    let text = match read(&path) {
        Ok(text) => text?,
        Err(error) => return Some(Err(error.to_string())),
    };
    Some(Policy::read(&text).map_err(|error| format!("{}: {error}", path.display())))
}
