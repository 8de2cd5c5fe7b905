//! Units of systemd (systemd.service(5), systemd.socket(5)).

use crate::names::JailName;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The first line of every unit that is ours: what does not begin so is left alone.
pub const MARK: &str = "# Written by jaula service add; jaula service rm removes it.";

/// Where a socket listens, as `ListenStream=` and `ListenDatagram=` take it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen {
    /// Datagrams instead of a stream.
    pub datagrams: bool,
    /// A port, `ADDRESS:PORT`, or a path.
    pub address: String,
}

/// Why words make no unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a place where a socket can listen.
    #[error(
        "{0:?} is no place to listen: a port, ADDRESS:PORT or a path, with /udp behind it for datagrams"
    )]
    Listen(String),
    /// A word that no unit can hold.
    #[error("{0:?} holds a character that no unit can have")]
    Word(String),
}

impl std::str::FromStr for Listen {
    type Err = UnitError;

    fn from_str(word: &str) -> Result<Self, UnitError> {
        let (address, datagrams) = match word.strip_suffix("/udp") {
            Some(address) => (address, true),
            None => (word, false),
        };
        let port = |text: &str| {
            text.parse::<u16>().is_ok_and(|port| port > 0)
                && text.bytes().all(|b| b.is_ascii_digit())
        };
        // A specifier, and what ends a line without ending it (systemd.syntax(7)).
        let plain = !address
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "%\\".contains(c));
        let path = address.starts_with('/') && !address.ends_with('/');
        let with_port = address.rsplit_once(':').is_some_and(|(host, last)| {
            let host = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'))
                .unwrap_or(host);
            port(last) && host.parse::<std::net::IpAddr>().is_ok()
        });
        match plain && (path || port(address) || with_port) {
            true => Ok(Self {
                datagrams,
                address: address.to_owned(),
            }),
            false => Err(UnitError::Listen(word.to_owned())),
        }
    }
}

/// What a unit is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSpec {
    /// The jail.
    pub jail: JailName,
    /// jaula's own program.
    pub program: PathBuf,
    /// The store, where it is not the usual one.
    pub store: Option<PathBuf>,
    /// Everything behind `service run`: options, name, `--`, command.
    pub words: Vec<String>,
    /// What is run, for people.
    pub about: String,
    /// Sockets that systemd opens.
    pub listen: Vec<Listen>,
    /// Seconds between being told to end and being ended.
    pub stop_after: u64,
    /// Whether it is of a user's own systemd.
    pub user: bool,
}

/// A file of systemd's.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// The names of the units that a jail's service may have.
pub fn unit_names(jail: &JailName) -> [String; 2] {
    [
        format!("jaula-{jail}.service"),
        format!("jaula-{jail}.socket"),
    ]
}

/// Whether a text is a unit of ours.
pub fn is_ours(text: &str) -> bool {
    text.starts_with(MARK)
}

/// A word of a command line in a unit (systemd.syntax(7), systemd.service(5) COMMAND LINES): specifiers and variables
/// mean nothing.
///
/// # Errors
/// When it holds what a unit cannot have.
pub fn quoted(word: &str) -> Result<String, UnitError> {
    if word.contains('\0') {
        return Err(UnitError::Word(word.to_owned()));
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return Ok(word.to_owned());
    }
    let mut out = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '%' => out.push_str("%%"),
            '$' => out.push_str("$$"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    // Writing to text cannot fail.
                    write!(out, "\\x{byte:02x}").ok();
                }
            }
            other => out.push(other),
        }
    }
    out.push('"');
    Ok(out)
}

/// The units of a service.
///
/// # Errors
/// When a word cannot be in a unit.
pub fn units(spec: &UnitSpec) -> Result<Vec<Unit>, UnitError> {
    let jail = &spec.jail;
    let text = |path: &Path| match path.to_str() {
        Some(text) => quoted(text),
        None => Err(UnitError::Word(path.to_string_lossy().into_owned())),
    };
    let mut line = vec![text(&spec.program)?];
    if let Some(store) = &spec.store {
        line.push("--store".to_owned());
        line.push(text(store)?);
    }
    line.extend(["service".to_owned(), "run".to_owned()]);
    for word in &spec.words {
        // A semicolon alone begins another command.
        line.push(match word.as_str() {
            ";" => "\\;".to_owned(),
            word => quoted(word)?,
        });
    }
    let about: String = spec.about.chars().filter(|c| !c.is_control()).collect();
    let about = about.replace('%', "%%");
    let [service, socket] = unit_names(jail);
    let mut text = format!("{MARK}\n[Unit]\nDescription={about} in jail {jail}\n");
    if !spec.user {
        text.push_str("After=network.target\n");
    }
    if !spec.listen.is_empty() {
        text.push_str(&format!("Requires={socket}\nAfter={socket}\n"));
    }
    text.push_str(&format!(
        "\n[Service]\nType=exec\nExecStart={}\nExecReload=/bin/kill -HUP $MAINPID\nKillMode=mixed\nTimeoutStopSec={}\n\
         Restart=on-failure\nRestartSec=1\nSyslogIdentifier={jail}\nDelegate=yes\n",
        line.join(" "),
        // jaula ends it itself before that.
        spec.stop_after.saturating_add(10),
    ));
    let target = if spec.user {
        "default.target"
    } else {
        "multi-user.target"
    };
    text.push_str(&format!("\n[Install]\nWantedBy={target}\n"));
    let mut all = vec![Unit {
        name: service.clone(),
        text,
    }];
    if !spec.listen.is_empty() {
        let mut text =
            format!("{MARK}\n[Unit]\nDescription=Sockets of {about} in jail {jail}\n\n[Socket]\n");
        for listen in &spec.listen {
            let key = if listen.datagrams {
                "ListenDatagram"
            } else {
                "ListenStream"
            };
            text.push_str(&format!("{key}={}\n", listen.address));
        }
        text.push_str(&format!(
            "Service={service}\n\n[Install]\nWantedBy=sockets.target\n"
        ));
        all.push(Unit { name: socket, text });
    }
    Ok(all)
}
