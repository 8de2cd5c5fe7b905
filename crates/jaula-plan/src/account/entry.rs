//! The service that lets users in where they get no user namespace of their own: what is said between a login shell and it,
//! and the units of systemd that start it. What comes from the shell is data that others may have written.

use super::login::{LoginFacts, LoginPlan, LoginRefusal, LoginRequest, is_passed, plan_login};
use super::{JK_LOGIN, LOGIN, allow};
use crate::explain::shown;
use crate::service::{UnitError, quoted};
use crate::spec::jail::IdSpec;
use crate::spec::limits::{Limit, Limits, Resource};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where it listens: not in a directory of root's own, which others may not enter.
pub const SOCKET: &str = "/run/jaula-entry";

/// The units that start it.
pub const UNITS: [&str; 2] = [
    "/etc/systemd/system/jaula-entry.socket",
    "/etc/systemd/system/jaula-entry.service",
];

/// What has systemd listen from the next start of the machine on.
pub const WANTED: &str = "/etc/systemd/system/sockets.target.wants/jaula-entry.socket";

/// How the units of ours begin.
const MARK: &str = "# Written by jaula user: users get no user namespace of their own here.";

/// The longest command: what execve(2) takes as one word.
const COMMAND: usize = 128 << 10;
/// The most variables.
const VARIABLES: usize = 64;
/// The longest name of one, and the longest value.
const NAME: usize = 128;
const VALUE: usize = 1024;

/// The longest request: a command, variables, and the lengths of all.
pub const REQUEST: usize = COMMAND + 32 * 1024;

/// The longest answer.
pub const ANSWER: usize = 2048;

/// The form of what is said.
const VERSION: u8 = 1;

/// A request that is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It ends too early, or goes on behind its end.
    #[error("the request is cut short, or too long")]
    Length,
    /// Of another version.
    #[error("the request is of version {0}, and this jaula knows version {VERSION}")]
    Version(u8),
    /// More than may be.
    #[error("the request has a command or a variable that is too long, or too many variables")]
    Much,
}

/// A request as bytes: a version, whether there is a command, and lists of lengths and words. Only what a session may have
/// of the environment is in it.
///
/// # Errors
/// [`WireError::Much`].
pub fn request(request: &LoginRequest) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![VERSION, u8::from(request.command.is_some())];
    let word = |bytes: &mut Vec<u8>, word: &OsStr, most: usize| {
        let size = u32::try_from(word.len()).map_err(|_| WireError::Much)?;
        if word.len() > most {
            return Err(WireError::Much);
        }
        bytes.extend(size.to_le_bytes());
        bytes.extend(word.as_bytes());
        Ok(())
    };
    if let Some(command) = &request.command {
        word(&mut bytes, command, COMMAND)?;
    }
    let known = |name: &OsStr| {
        name.to_str()
            .is_some_and(|name| name == "SSH_ORIGINAL_COMMAND" || is_passed(name))
    };
    let mut left = VARIABLES;
    for (name, value) in &request.env {
        // The same command again, which may be as long.
        let most = match name == "SSH_ORIGINAL_COMMAND" {
            true => COMMAND,
            false => VALUE,
        };
        if left > 0 && known(name) && name.len() <= NAME && value.len() <= most {
            left -= 1;
            word(&mut bytes, name, NAME)?;
            word(&mut bytes, value, most)?;
        }
    }
    match bytes.len() <= REQUEST {
        true => Ok(bytes),
        false => Err(WireError::Much),
    }
}

/// What a request asks for.
///
/// # Errors
/// [`WireError`].
pub fn read_request(bytes: &[u8]) -> Result<LoginRequest, WireError> {
    if bytes.len() > REQUEST {
        return Err(WireError::Length);
    }
    let (version, bytes) = bytes.split_first().ok_or(WireError::Length)?;
    if *version != VERSION {
        return Err(WireError::Version(*version));
    }
    let (command, mut rest) = bytes.split_first().ok_or(WireError::Length)?;
    let mut word = |most: usize| {
        let (size, behind) = rest.split_first_chunk::<4>().ok_or(WireError::Length)?;
        let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| WireError::Much)?;
        if size > most {
            return Err(WireError::Much);
        }
        let (word, behind) = behind.split_at_checked(size).ok_or(WireError::Length)?;
        rest = behind;
        Ok((OsString::from_vec(word.to_vec()), rest.is_empty()))
    };
    let mut request = LoginRequest::default();
    let mut last = bytes.len() == 1;
    match command {
        0 => {}
        1 => {
            let (command, end) = word(COMMAND)?;
            request.command = Some(command);
            last = end;
        }
        _ => return Err(WireError::Length),
    }
    while !last {
        if request.env.len() >= VARIABLES {
            return Err(WireError::Much);
        }
        let (name, _) = word(NAME)?;
        let most = match name == "SSH_ORIGINAL_COMMAND" {
            true => COMMAND,
            false => VALUE,
        };
        let (value, end) = word(most)?;
        request.env.push((name, value));
        last = end;
    }
    Ok(request)
}

/// What a login shell tells while its session runs: a signal that came to it. Those that it may hand on are the ones that
/// people and terminals send.
pub fn signal(bytes: &[u8]) -> Option<i32> {
    // SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGCONT, SIGTSTP, SIGWINCH
    const KNOWN: [u8; 9] = [1, 2, 3, 10, 12, 15, 18, 20, 28];
    match bytes {
        [b's', number] if KNOWN.contains(number) => Some(i32::from(*number)),
        _ => None,
    }
}

/// The same as bytes.
pub fn signal_bytes(number: i32) -> Option<[u8; 2]> {
    let bytes = [b's', u8::try_from(number).ok()?];
    signal(&bytes).map(|_| bytes)
}

/// What the service says in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The session ended with this code.
    Ended(u8),
    /// There was none. What its user may know of the cause; the log has it all.
    Refused(Option<String>),
}

impl Answer {
    /// As bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Ended(code) => vec![b'e', *code],
            Self::Refused(text) => {
                let mut bytes = vec![b'r'];
                let text = text.as_deref().unwrap_or_default().as_bytes();
                bytes.extend(text.iter().take(ANSWER.saturating_sub(1)));
                bytes
            }
        }
    }

    /// From bytes; none when they mean nothing.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'e', code] => Some(Self::Ended(*code)),
            [b'r'] => Some(Self::Refused(None)),
            [b'r', text @ ..] => Some(Self::Refused(Some(
                String::from_utf8_lossy(text).into_owned(),
            ))),
            _ => None,
        }
    }
}

/// Whether somebody is let in by the service, and what it starts for him: as [`plan_login`], for users whom root has
/// registered only. The jail has the host's identifiers, for which root alone can make one.
///
/// # Errors
/// [`LoginRefusal`].
pub fn plan_entry(facts: &LoginFacts, request: &LoginRequest) -> Result<LoginPlan, LoginRefusal> {
    if let [account] = facts.accounts.as_slice()
        && facts.uid != 0
    {
        let registered = matches!(allow::base(account.shell()), LOGIN | JK_LOGIN);
        if facts.policy.is_none() || !registered {
            return Err(LoginRefusal::NotRegistered(account.name.clone()));
        }
    }
    let mut plan = plan_login(facts, request)?;
    plan.jail.ids = IdSpec::Host;
    // Of the host: nothing inside could do something good with one.
    plan.jail.cap_drop = vec!["all".to_owned()];
    Ok(plan)
}

/// The same limits with groups of control behind them: of the whole session what else is of each process, and as many
/// processes. What is said of groups already stays.
pub fn with_groups(limits: &Limits) -> Limits {
    let mut all = limits.clone();
    let has = |key: &str| limits.all().iter().any(|limit| limit.key() == key);
    for limit in limits.all() {
        match limit {
            Limit::Process(Resource::Processes, Some(count)) if !has("pids") => {
                all.set(Limit::Pids(*count));
            }
            Limit::Process(Resource::Data, Some(bytes)) if !has("memory") => {
                all.set(Limit::Memory(*bytes));
            }
            _ => {}
        }
    }
    all
}

/// What is seen of the service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntryFacts {
    /// Whether somebody listens.
    pub listens: bool,
    /// Whether systemd runs here.
    pub systemd: bool,
    /// The texts of [`UNITS`], where they are.
    pub units: [Option<String>; 2],
    /// Whether [`WANTED`] is there.
    pub wanted: bool,
}

/// Whether a unit is ours.
pub fn is_ours(text: &str) -> bool {
    text.starts_with(MARK)
}

/// The texts of [`UNITS`].
///
/// # Errors
/// When the program's path cannot be in a unit.
pub fn units(program: &Path) -> Result<[String; 2], UnitError> {
    let socket = format!(
        "{MARK}\n[Unit]\nDescription=The way into jails for their users\n\n[Socket]\nListenSequentialPacket={SOCKET}\n\
         SocketMode=0666\nRemoveOnStop=yes\n\n[Install]\nWantedBy=sockets.target\n"
    );
    let service = format!(
        "{MARK}\n[Unit]\nDescription=Lets users into their jails\nDocumentation=man:jaula(1)\n\n[Service]\n\
         ExecStart={} user serve\nDelegate=yes\nDelegateSubgroup=service\nLimitNOFILE=65536\nTasksMax=infinity\n",
        quoted(&program.to_string_lossy())?
    );
    Ok([socket, service])
}

/// What is still to be done by hand, in words; none when it listens already.
pub fn note(facts: &EntryFacts, program: &Path) -> Option<String> {
    let how = match facts.systemd {
        true => "systemctl daemon-reload && systemctl start jaula-entry.socket".to_owned(),
        false => format!("start {} user serve at boot, as root", shown(program)),
    };
    (!facts.listens).then(|| {
        format!(
            "nobody is let in before the service listens that does without user namespaces: {how}"
        )
    })
}

/// The link of [`WANTED`] leads there.
pub fn unit() -> PathBuf {
    PathBuf::from(UNITS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(command: Option<&str>, env: &[(&str, &str)]) -> LoginRequest {
        LoginRequest {
            command: command.map(OsString::from),
            env: env
                .iter()
                .map(|(n, v)| ((*n).into(), (*v).into()))
                .collect(),
        }
    }

    #[test]
    fn a_request_is_read_as_it_was_written_without_what_nobody_is_to_know() {
        let env = [
            ("TERM", "dumb"),
            ("LD_PRELOAD", "/tmp/x.so"),
            ("LC_ALL", "C"),
            ("SECRET", "x"),
            ("SSH_ORIGINAL_COMMAND", "ls"),
        ];
        for command in [None, Some("ls -l /"), Some("")] {
            let bytes = request(&asked(command, &env)).expect("bytes");
            let read = read_request(&bytes).expect("a request");
            let kept = [
                ("TERM", "dumb"),
                ("LC_ALL", "C"),
                ("SSH_ORIGINAL_COMMAND", "ls"),
            ];
            assert_eq!(read, asked(command, &kept));
        }
        let plain = asked(None, &[]);
        assert_eq!(read_request(&request(&plain).expect("bytes")), Ok(plain));
        let long = "x".repeat(COMMAND);
        let request_of = |command: &str| request(&asked(Some(command), &[]));
        assert!(read_request(&request_of(&long).expect("bytes")).is_ok());
        assert_eq!(request_of(&format!("{long}x")), Err(WireError::Much));
    }

    #[test]
    fn what_is_cut_or_goes_on_or_is_too_much_is_refused() {
        let bytes = request(&asked(Some("ls"), &[("TERM", "dumb")])).expect("bytes");
        for end in 0..bytes.len() {
            let cut = bytes.get(..end).expect("a part");
            // Before the variables a shorter one is whole too.
            let whole = end == 2 + 4 + 2;
            assert_eq!(read_request(cut).is_ok(), whole, "{end}");
        }
        let more = [bytes.as_slice(), b"x"].concat();
        assert_eq!(read_request(&more), Err(WireError::Length));
        assert_eq!(read_request(&[2, 0]), Err(WireError::Version(2)));
        assert_eq!(read_request(&[1, 2]), Err(WireError::Length));
        assert_eq!(
            read_request(&[1, 1, 255, 255, 255, 255]),
            Err(WireError::Much)
        );
        let mut many = vec![1, 0];
        for _ in 0..=VARIABLES {
            many.extend([1, 0, 0, 0, b'A', 0, 0, 0, 0]);
        }
        assert_eq!(read_request(&many), Err(WireError::Much));
    }

    #[test]
    fn only_known_signals_and_answers_mean_something() {
        assert_eq!(signal(b"s\x0f"), Some(15));
        for bytes in [
            b"s\x09".as_slice(),
            b"s\x13",
            b"s\x0e",
            b"s",
            b"x\x0f",
            b"s\x0f\x0f",
        ] {
            assert_eq!(signal(bytes), None, "{bytes:?}");
        }
        assert_eq!(signal_bytes(28), Some([b's', 28]));
        assert_eq!(signal_bytes(17), None);
        for answer in [
            Answer::Ended(7),
            Answer::Refused(None),
            Answer::Refused(Some("only sftp".to_owned())),
        ] {
            assert_eq!(Answer::read(&answer.bytes()), Some(answer));
        }
        assert_eq!(Answer::read(b""), None);
        assert_eq!(Answer::read(b"e"), None);
        let long = Answer::Refused(Some("x".repeat(2 * ANSWER))).bytes();
        assert_eq!(long.len(), ANSWER);
    }

    #[test]
    fn the_units_start_this_program() {
        let [socket, service] = units(Path::new("/opt/my jaula")).expect("units");
        assert!(socket.contains("\nListenSequentialPacket=/run/jaula-entry\nSocketMode=0666\n"));
        assert!(service.contains("\nExecStart=\"/opt/my jaula\" user serve\n"));
        assert!(units(Path::new("/a\0b")).is_err());
    }
}
