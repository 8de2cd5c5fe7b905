//! Whether somebody who logs in is let into his jail, and what runs there. Nothing he can write decides: only his number,
//! the host's accounts, root's files, and the command he asks for.

use super::allow::{WordsError, base, words};
use super::hours::Moment;
use super::passwd::PasswdLine;
use super::policy::{Entry, LoginNet, Policy, PolicyError, Service};
use super::{LOGIN_SHELL, split_home};
use crate::explain::shown;
use crate::names::HostName;
use crate::spec::jail::{
    BindOptions, Changes, IdSpec, JailNet, JailSpec, MountSpec, RootSpec, UserSpec,
};
use crate::spec::limits::Resource;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// PATH in a login user's session.
pub(super) const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games";

/// Where a jail may have the server of sftp, the usual place first.
pub const SFTP_SERVERS: [&str; 6] = [
    "usr/lib/openssh/sftp-server",
    "usr/lib/sftp-server",
    "usr/libexec/openssh/sftp-server",
    "usr/libexec/sftp-server",
    "usr/lib/ssh/sftp-server",
    "usr/lib64/misc/sftp-server",
];

/// Shells that are login shells with `-l`.
const WITH_L: [&str; 12] = [
    "sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "rbash", "ksh93", "busybox", "yash",
];

/// The most that one variable of the environment may hold.
const LONG: usize = 1024;

/// What is seen of a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HomeFacts {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// What is seen of a jail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JailLook {
    /// Why it is not safe, each a sentence.
    pub dangers: Vec<String>,
    /// The user's line in its passwd(5).
    pub account: Option<PasswdLine>,
    /// His home in it.
    pub home: Option<HomeFacts>,
    /// Whether it has the directories that the kernel's file systems are put on.
    pub whole: bool,
    /// Its server of sftp, from its root.
    pub sftp_server: Option<PathBuf>,
}

/// What is left to the jail's owner to relax (jk_chrootsh(8), "relax_home_…").
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relax {
    /// The home may be somebody else's.
    pub owner: bool,
    /// Or of another group.
    pub group: bool,
    /// Its group may write.
    pub group_permissions: bool,
    /// Everybody may.
    pub other_permissions: bool,
    /// Variables that are passed on besides.
    pub env: Vec<String>,
    /// A shell other than the one in the jail's passwd(5).
    pub shell: Option<String>,
    /// Nobody has to be in the jail's passwd(5).
    pub skip_passwd: bool,
    /// The shell is given `--login`.
    pub login_option: bool,
}

/// What decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginFacts {
    /// The real user, as the kernel has it.
    pub uid: u32,
    /// And his group.
    pub gid: u32,
    /// Whether the effective ones are others.
    pub changed: bool,
    /// The host's accounts with this number.
    pub accounts: Vec<PasswdLine>,
    /// His policy; none: no such file. Else what it says, or why it cannot be trusted.
    pub policy: Option<Result<Policy, String>>,
    /// What is relaxed.
    pub relax: Relax,
    /// The jail that his home names.
    pub jail: Option<JailLook>,
    /// Now, in the host's time zone.
    pub now: Moment,
    /// The hard limits of this process (getrlimit(2)); none: no limit.
    pub hard: Vec<(Resource, Option<u64>)>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoginRequest {
    /// A command; none for a session.
    pub command: Option<OsString>,
    /// The environment as it came.
    pub env: Vec<(OsString, OsString)>,
}

/// A login that is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefusal {
    /// Root is never jailed by a login shell.
    #[error("root does not log in to a jail")]
    Root,
    /// Something set-uid started it.
    #[error("the effective user is not the real one")]
    Changed,
    /// The number has no account, or several.
    #[error("user {uid} has {} accounts in /etc/passwd", if *.names == 0 { "no" } else { "several" })]
    Account {
        /// The number.
        uid: u32,
        /// How many.
        names: usize,
    },
    /// The account names no jail.
    #[error("the home {home:?} names no jail: it has no /./")]
    NoMark {
        /// As in passwd(5).
        home: String,
    },
    /// The policy is not to be trusted, or not understood.
    #[error("what the user may do cannot be read: {0}")]
    Policy(String),
    /// It is of another jail.
    #[error("the home names the jail {}, and what the user may do is said for {}", shown(.home), shown(.policy))]
    OtherJail {
        /// Of passwd(5).
        home: PathBuf,
        /// Of the policy.
        policy: PathBuf,
    },
    /// sshd is to let him in.
    #[error("only sshd lets this user in, for sftp")]
    SshdOnly,
    /// Root has let in nobody of this name.
    #[error("{0} is not registered: jaula user add lets in")]
    NotRegistered(String),
    /// Others can change the jail.
    #[error("the jail is not safe: {0}")]
    Unsafe(String),
    /// The jail does not know him.
    #[error("{name} is not defined in the jail {}: jaula user add --from-existing {} {name}", shown(.jail), shown(.jail))]
    NotDefined {
        /// The user.
        name: String,
        /// The jail.
        jail: PathBuf,
    },
    /// The jail knows him as somebody else.
    #[error("the {what} of the account is {host} on the host and {inside} in the jail")]
    Differs {
        /// `user`, `group`, `home`.
        what: &'static str,
        /// On the host.
        host: String,
        /// Inside.
        inside: String,
    },
    /// The home cannot be used.
    #[error("the home {}: {why}", shown(.home))]
    Home {
        /// Inside.
        home: PathBuf,
        /// Why not.
        why: String,
    },
    /// Not now.
    #[error("it is {now}, and logins are allowed {hours}")]
    Hours {
        /// The moment.
        now: String,
        /// When he may.
        hours: String,
    },
    /// He has no shell.
    #[error("there is no shell for this user: only {0}")]
    NoShell(String),
    /// This command is none of his.
    #[error("this command is not allowed: only {0}")]
    NotAllowed(String),
    /// The command makes no sense without a shell.
    #[error("the command cannot be started: {0}")]
    Words(#[from] WordsError),
    /// The jail lacks it.
    #[error("the jail has no sftp-server")]
    NoSftpServer,
}

impl LoginRefusal {
    /// Whether the user himself is told the cause: what he asked for is his affair, how the host is set up is not.
    pub fn is_told(&self) -> bool {
        matches!(
            self,
            Self::Hours { .. }
                | Self::NoShell(_)
                | Self::NotAllowed(_)
                | Self::Words(_)
                | Self::NoSftpServer
        )
    }

    /// The exit code that jk_chrootsh(8) has for it, from its source's numbers.
    pub fn jailkit_code(&self) -> u8 {
        match self {
            Self::Root => 12,
            Self::Changed | Self::Account { .. } => 13,
            Self::Policy(_) | Self::OtherJail { .. } | Self::SshdOnly => 14,
            Self::NoMark { .. } => 16,
            Self::Unsafe(_) => 53,
            Self::NotDefined { .. } => 35,
            Self::Differs { what: "home", .. } => 39,
            Self::Differs { .. } => 37,
            Self::Home { .. } => 41,
            _ => 1,
        }
    }
}

/// Who is let in, where, and what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginPlan {
    /// His name.
    pub user: String,
    /// The jail's directory.
    pub dir: PathBuf,
    /// The jail with what runs in it.
    pub jail: JailSpec,
}

/// Decides.
///
/// # Errors
/// [`LoginRefusal`].
pub fn plan_login(facts: &LoginFacts, request: &LoginRequest) -> Result<LoginPlan, LoginRefusal> {
    if facts.uid == 0 {
        return Err(LoginRefusal::Root);
    }
    if facts.changed {
        return Err(LoginRefusal::Changed);
    }
    let [account] = facts.accounts.as_slice() else {
        return Err(LoginRefusal::Account {
            uid: facts.uid,
            names: facts.accounts.len(),
        });
    };
    let Some((dir, home)) = split_home(&account.home) else {
        return Err(LoginRefusal::NoMark {
            home: account.home.clone(),
        });
    };
    let policy = match &facts.policy {
        None => Policy::new(&dir),
        Some(Ok(policy)) => policy.clone(),
        Some(Err(why)) => return Err(LoginRefusal::Policy(why.clone())),
    };
    if policy.jail != dir {
        return Err(LoginRefusal::OtherJail {
            home: dir,
            policy: policy.jail,
        });
    }
    if policy.entry == Entry::Sshd {
        return Err(LoginRefusal::SshdOnly);
    }
    let look = facts.jail.clone().unwrap_or_default();
    if let Some(danger) = look.dangers.first() {
        return Err(LoginRefusal::Unsafe(danger.clone()));
    }
    let shell = shell(facts, account, &look, &dir, &home)?;
    check_home(facts, &look, &home)?;
    let said = |error: PolicyError| LoginRefusal::Policy(error.to_string());
    if let Some(hours) = policy
        .hours()
        .map_err(said)?
        .filter(|hours| !hours.has(facts.now))
    {
        return Err(LoginRefusal::Hours {
            now: facts.now.to_string(),
            hours: hours.to_string(),
        });
    }
    let command = command(&policy, &look, &shell, &home, request, &facts.relax)?;
    let changes = match look.whole {
        true => Changes::Direct,
        false => Changes::Ephemeral,
    };
    let root = RootSpec::Tree {
        dir: dir.clone(),
        changes,
    };
    let mut jail = JailSpec::new(root, command);
    if !look.whole {
        let relative = home.strip_prefix("/").unwrap_or(&home);
        jail.mounts.push(MountSpec::Bind {
            from: dir.join(relative),
            to: home.clone(),
            options: BindOptions::WRITABLE,
        });
    }
    jail.ids = IdSpec::CallerAsSelf;
    jail.user = UserSpec::Ids {
        uid: facts.uid,
        gid: facts.gid,
        groups: Vec::new(),
    };
    let name = dir.file_name().and_then(OsStr::to_str);
    jail.hostname = name.and_then(|name| name.replace('_', "-").parse::<HostName>().ok());
    jail.net = match policy.net {
        LoginNet::None => JailNet::None,
        LoginNet::Host => JailNet::Host,
    };
    jail.limits = policy.limits_within(&facts.hard).map_err(said)?;
    jail.env = environment(&account.name, &home, &shell, &request.env, &facts.relax.env);
    jail.cwd = Some(home);
    Ok(LoginPlan {
        user: account.name.clone(),
        dir,
        jail,
    })
}

/// The shell of the jail's account, which has to be that of the host's.
fn shell(
    facts: &LoginFacts,
    account: &PasswdLine,
    look: &JailLook,
    dir: &Path,
    home: &Path,
) -> Result<String, LoginRefusal> {
    let shell = facts.relax.shell.clone();
    let Some(inside) = &look.account else {
        return match shell.filter(|_| facts.relax.skip_passwd) {
            Some(shell) => Ok(shell),
            None => Err(LoginRefusal::NotDefined {
                name: account.name.clone(),
                jail: dir.to_owned(),
            }),
        };
    };
    let differs = |what, host: String, inside: String| LoginRefusal::Differs { what, host, inside };
    if inside.uid != facts.uid {
        return Err(differs(
            "user",
            facts.uid.to_string(),
            inside.uid.to_string(),
        ));
    }
    if inside.gid != account.gid || facts.gid != account.gid {
        return Err(differs(
            "group",
            facts.gid.to_string(),
            inside.gid.to_string(),
        ));
    }
    let their: PathBuf = Path::new(&inside.home).components().collect();
    if their != home {
        return Err(differs("home", shown(home), shown(&their)));
    }
    Ok(shell.unwrap_or_else(|| inside.shell().to_owned()))
}

fn check_home(facts: &LoginFacts, look: &JailLook, home: &Path) -> Result<(), LoginRefusal> {
    let relax = &facts.relax;
    let refuse = |why: String| LoginRefusal::Home {
        home: home.to_owned(),
        why,
    };
    let Some(found) = look.home else {
        return Err(refuse("it is not there".to_owned()));
    };
    if found.uid != facts.uid && !relax.owner {
        return Err(refuse(format!("it belongs to user {}", found.uid)));
    }
    if found.gid != facts.gid && !relax.group {
        return Err(refuse(format!("it belongs to group {}", found.gid)));
    }
    if found.mode & 0o020 != 0 && !relax.group_permissions {
        return Err(refuse(format!(
            "its group can write in it (mode {:o})",
            found.mode
        )));
    }
    if found.mode & 0o002 != 0 && !relax.other_permissions {
        return Err(refuse(format!(
            "everybody can write in it (mode {:o})",
            found.mode
        )));
    }
    Ok(())
}

/// What runs.
fn command(
    policy: &Policy,
    look: &JailLook,
    shell: &str,
    home: &Path,
    request: &LoginRequest,
    relax: &Relax,
) -> Result<Vec<OsString>, LoginRefusal> {
    let asked = asked(request);
    let Some(asked) = asked else {
        if !policy.has_shell() {
            return Err(LoginRefusal::NoShell(policy.words()));
        }
        let mut command = vec![OsString::from(shell)];
        if relax.login_option {
            command.push("--login".into());
        } else if WITH_L.contains(&base(shell)) {
            command.push("-l".into());
        }
        return Ok(command);
    };
    let split = asked.to_str().map(words);
    let sftp = match &split {
        Some(Ok(words)) => words
            .split_first()
            .filter(|(program, _)| matches!(base(program), "sftp-server" | "internal-sftp")),
        _ => None,
    };
    if policy.has_shell() {
        let asked = match (sftp, &look.sftp_server) {
            (Some((_, rest)), Some(server)) => {
                let words = [&[server.display().to_string()], rest].concat();
                let words: Vec<String> = words.iter().map(crate::explain::word).collect();
                words.join(" ").into()
            }
            _ => asked,
        };
        return Ok(vec![shell.into(), "-c".into(), asked]);
    }
    if let Some((_, rest)) = sftp.filter(|_| policy.only.contains(&Service::Sftp)) {
        let Some(server) = &look.sftp_server else {
            return Err(LoginRefusal::NoSftpServer);
        };
        let rest = rest.iter().map(OsString::from);
        return Ok([server.clone().into_os_string()]
            .into_iter()
            .chain(rest)
            .collect());
    }
    let not_allowed = || LoginRefusal::NotAllowed(policy.words());
    let words = split.ok_or_else(not_allowed)??;
    let allowed = policy
        .allowed()
        .map_err(|error| LoginRefusal::Policy(error.to_string()))?;
    if !policy.only.iter().any(|service| serves(*service, &words))
        && !allowed.iter().any(|allow| allow.permits(&words))
    {
        return Err(not_allowed());
    }
    // What a shell would do with a leading tilde.
    let tilde = |word: &String| match word.strip_prefix("~/") {
        Some(rest) => home.join(rest).into_os_string(),
        None if word == "~" => home.as_os_str().to_owned(),
        None => OsString::from(word),
    };
    Ok(words.iter().map(tilde).collect())
}

/// The command; sshd's ForceCommand names this shell, and then what was asked for is in the environment. That is no less
/// the user's word than the other: both are judged alike.
fn asked(request: &LoginRequest) -> Option<OsString> {
    let command = request.command.clone()?;
    if command != LOGIN_SHELL {
        return Some(command);
    }
    let original = request
        .env
        .iter()
        .find(|(name, _)| name == "SSH_ORIGINAL_COMMAND");
    original.map(|(_, value)| value.clone())
}

/// Whether a command is how this service is started on the far side of ssh.
fn serves(service: Service, words: &[String]) -> bool {
    let Some((program, arguments)) = words.split_first() else {
        return false;
    };
    // By name only: a path would be a program that the user has put there.
    let rest = || arguments.iter().map(String::as_str);
    match (service, program.as_str()) {
        (Service::Scp, "scp") => {
            // As the far side, and never as the side that starts ssh.
            let options = || rest().take_while(|word| word.starts_with('-') && *word != "--");
            let known = |word: &str| word.bytes().skip(1).all(|b| b"tfrpdvqC".contains(&b));
            options().any(|word| word == "-t" || word == "-f") && options().all(known)
        }
        (Service::Rsync, "rsync") => {
            let side = ["--daemon", "--config", "--dparam", "--rsh", "--log-file"];
            arguments.first().is_some_and(|word| word == "--server")
                && !rest().any(|word| side.iter().any(|bad| word.starts_with(bad)))
        }
        (Service::Git, "git-upload-pack" | "git-receive-pack" | "git-upload-archive") => {
            matches!(arguments, [path] if !path.starts_with('-'))
        }
        (Service::Git, "git") => match arguments {
            [verb, path] => {
                matches!(
                    verb.as_str(),
                    "upload-pack" | "receive-pack" | "upload-archive"
                ) && !path.starts_with('-')
            }
            _ => false,
        },
        _ => false,
    }
}

/// Whether a variable that came goes on into a session.
pub(super) fn is_passed(name: &str) -> bool {
    matches!(
        name,
        "TERM"
            | "COLORTERM"
            | "LANG"
            | "LANGUAGE"
            | "TZ"
            | "SSH_CLIENT"
            | "SSH_CONNECTION"
            | "SSH_TTY"
    ) || name.starts_with("LC_")
}

/// The environment of a session: what every login has, and of what came only the terminal, the language and where the
/// connection is from.
fn environment(
    user: &str,
    home: &Path,
    shell: &str,
    came: &[(OsString, OsString)],
    more: &[String],
) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = [
        ("PATH", PATH),
        ("LANG", "C.UTF-8"),
        ("USER", user),
        ("LOGNAME", user),
        ("SHELL", shell),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value.into()))
    .collect();
    env.push(("HOME".into(), home.as_os_str().to_owned()));
    let passed = |name: &str| is_passed(name) || more.iter().any(|known| known == name);
    for (name, value) in came {
        let plain = !value.as_bytes().iter().any(u8::is_ascii_control) && value.len() <= LONG;
        let Some(known) = name.to_str().filter(|name| passed(name) && plain) else {
            continue;
        };
        // Who the user is was said above.
        if matches!(
            known,
            "HOME" | "USER" | "LOGNAME" | "SHELL" | "LD_PRELOAD" | "LD_LIBRARY_PATH"
        ) {
            continue;
        }
        env.retain(|(have, _)| have != name);
        env.push((name.clone(), value.clone()));
    }
    env
}

#[cfg(test)]
mod tests;
