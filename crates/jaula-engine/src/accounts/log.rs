//! The system's log: one line for each session that begins or ends, and for each that is refused.

use jaula_plan::account::LOGIN;
use jaula_plan::account::login::LoginRequest;
use jaula_sys::local_time;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most that is told of a command.
const COMMAND: usize = 512;

/// Facility auth, severity info (syslog(3)).
const PRIORITY: u8 = (4 << 3) | 6;

/// The log's socket; silent where there is none.
#[derive(Debug)]
pub struct Log {
    socket: Option<UnixDatagram>,
    name: &'static str,
}

impl Log {
    /// Opens it, for lines under a program's name.
    pub fn open(name: &'static str) -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.connect("/dev/log")?;
            Ok(socket)
        });
        Self {
            socket: socket.ok(),
            name,
        }
    }

    /// One line, in the form of RFC 3164.
    pub fn say(&self, text: &str) {
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let Some(socket) = &self.socket else {
            return;
        };
        let now = local_time::now();
        let month = MONTHS
            .get(usize::from(now.month).saturating_sub(1))
            .unwrap_or(&"Jan");
        let line = format!(
            "<{PRIORITY}>{month} {:2} {:02}:{:02}:{:02} {}[{}]: {text}",
            now.day,
            now.hour,
            now.minute,
            now.second,
            self.name,
            std::process::id()
        );
        // Nobody is kept out, or in, because nobody listens.
        drop(socket.send(line.as_bytes()));
    }
}

/// Who comes, from where, and what he asks for.
#[derive(Debug, Clone)]
pub struct Said {
    user: String,
    uid: u32,
    from: String,
    command: String,
}

impl Said {
    /// Of a login.
    pub fn new(user: &str, uid: u32, request: &LoginRequest) -> Self {
        let variable = |name: &str| {
            let found = request.env.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.to_string_lossy().into_owned())
        };
        let client = variable("SSH_CLIENT").unwrap_or_default();
        let from = client.split(' ').next().filter(|from| !from.is_empty());
        let command = match &request.command {
            Some(command) if command == jaula_plan::account::LOGIN_SHELL => {
                variable("SSH_ORIGINAL_COMMAND")
            }
            Some(command) => Some(command.to_string_lossy().into_owned()),
            None => None,
        };
        let command: String = command
            .unwrap_or_else(|| "-".to_owned())
            .chars()
            .take(COMMAND)
            .collect();
        Self {
            user: plain(user),
            uid,
            from: plain(from.unwrap_or("-")),
            command: plain(&command),
        }
    }

    fn who(&self) -> String {
        format!("user={} uid={} from={}", self.user, self.uid, self.from)
    }

    /// He is let in.
    pub fn opened(&self, jail: &Path) -> String {
        let jail = plain(&jail.to_string_lossy());
        format!("opened {} jail={jail} command={}", self.who(), self.command)
    }

    /// His session is over.
    pub fn closed(&self, code: u8, after: Duration) -> String {
        format!(
            "closed {} exit={code} seconds={}",
            self.who(),
            after.as_secs()
        )
    }

    /// He is not let in.
    pub fn refused(&self, cause: &str) -> String {
        format!(
            "refused {} command={} cause={}",
            self.who(),
            self.command,
            plain(cause)
        )
    }
}

/// Text that stays on one line and says nothing to a terminal; in quotes when it holds blanks.
fn plain(text: &str) -> String {
    let text: String = text
        .chars()
        .flat_map(|c| match c {
            c if c.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c) =>
            {
                c.escape_unicode().collect::<Vec<char>>()
            }
            c => vec![c],
        })
        .collect();
    match text.is_empty() || text.contains([' ', '"']) {
        true => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        false => text,
    }
}

/// A line of the log that is of a login.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LogLine {
    /// When, as the log has it.
    pub when: String,
    /// `opened`, `closed`, `refused`.
    pub what: String,
    /// Who.
    pub user: String,
    /// From where; `-` for this host.
    pub from: String,
    /// What he asked for, how it ended, or why he was refused.
    pub rest: String,
}

/// The files in which such lines are found, the older first.
pub const FILES: [&str; 6] = [
    "/var/log/auth.log.1",
    "/var/log/auth.log",
    "/var/log/secure",
    "/var/log/syslog",
    "/var/log/messages",
    "/var/log/auth",
];

/// The most lines that are kept of what is read.
const LINES: usize = 100_000;

/// The lines about logins of a user, or of all; from `file`, or from the first kind of file that there is. None when there
/// is no such file.
///
/// # Errors
/// When a file that is there cannot be read.
pub fn lines(
    file: Option<&Path>,
    user: Option<&str>,
) -> Result<Option<Vec<LogLine>>, crate::error::PathError> {
    use crate::error::At;
    let files: Vec<PathBuf> = match file {
        Some(file) => vec![file.to_owned()],
        None => {
            let there = FILES
                .iter()
                .map(PathBuf::from)
                .filter(|path| path.is_file());
            there.collect()
        }
    };
    if files.is_empty() {
        return Ok(None);
    }
    let mut found = std::collections::VecDeque::new();
    for path in files {
        let mut reader = BufReader::new(File::open(&path).at("open", &path)?);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).at("read", &path)? > 0 {
            let line = String::from_utf8_lossy(&bytes);
            if let Some(line) =
                read_line(line.trim_end()).filter(|line| user.is_none_or(|user| line.user == user))
            {
                found.push_back(line);
                if found.len() > LINES {
                    found.pop_front();
                }
            }
            drop(line);
            bytes.clear();
        }
    }
    Ok(Some(found.into()))
}

/// What stands before and after our tag, which comes behind the time and at most the name of the host: elsewhere it is
/// somebody's words.
fn tagged(line: &str) -> Option<(&str, &str)> {
    let tag = format!("{LOGIN}[");
    let times = match line.split_whitespace().next()?.contains('T') {
        true => 1,
        false => 3,
    };
    let mut words = line.split_whitespace().skip(times);
    let behind = |word: &str| word.starts_with(&tag);
    (behind(words.next()?) || behind(words.next()?)).then_some(())?;
    line.split_once(&tag)
}

fn read_line(line: &str) -> Option<LogLine> {
    let (head, text) = tagged(line)?;
    let (_, text) = text.split_once("]: ")?;
    let (what, text) = text.split_once(' ')?;
    matches!(what, "opened" | "closed" | "refused").then_some(())?;
    let text = text.strip_prefix("user=")?;
    let (user, text) = text.split_once(" uid=")?;
    let (_, text) = text.split_once(" from=")?;
    let (from, rest) = text.split_once(' ')?;
    // `Nov 27 03:00:00 host `, or one word of RFC 3339.
    let mut words = head.split_whitespace();
    let first = words.next()?;
    let when = match first.contains('T') {
        true => first.to_owned(),
        false => format!("{first} {} {}", words.next()?, words.next()?),
    };
    Some(LogLine {
        when: when
            .trim_start_matches(|c: char| c == '<' || c == '>' || c.is_ascii_digit())
            .to_owned(),
        what: what.to_owned(),
        user: user.to_owned(),
        from: from.to_owned(),
        rest: rest.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_stays_on_one_line_and_is_read_again() {
        let request = LoginRequest {
            command: Some(
                "ls\nNov 1 00:00:00 h jaula-login[1]: opened user=root \u{1b}[2J\"x\"".into(),
            ),
            env: vec![("SSH_CLIENT".into(), "192.0.2.1 4000 22".into())],
        };
        let said = Said::new("ana", 1001, &request);
        let line = said.refused("this command is not allowed: only sftp");
        assert!(!line.contains('\n') && !line.contains('\u{1b}'), "{line}");
        let logged = format!("Nov 27 03:00:00 host jaula-login[77]: {line}");
        let read = read_line(&logged).unwrap();
        assert_eq!(
            (&*read.what, &*read.user, &*read.from, &*read.when),
            ("refused", "ana", "192.0.2.1", "Nov 27 03:00:00")
        );
        assert!(
            read.rest
                .ends_with("cause=\"this command is not allowed: only sftp\"")
        );
        assert_eq!(read_line("Nov 27 03:00:00 host sshd[1]: x"), None);
        // Somebody's words in another program's line are no line of ours.
        let said = "jaula-login[1]: opened user=ana uid=1 from=x y";
        for head in [
            "Nov 27 03:00:00 host sshd[1]: Invalid user",
            "2026-11-27T03:00:00 host sshd[1]:",
        ] {
            assert_eq!(read_line(&format!("{head} {said}")), None);
        }
        for head in ["<38>Nov 27 03:00:00", "2026-11-27T03:00:00+01:00 host"] {
            assert!(read_line(&format!("{head} {said}")).is_some(), "{head}");
        }
    }
}
