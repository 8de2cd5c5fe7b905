//! What is run for a file: a jail of `jaula run` around a program.

use super::ini::{IniError, Line, lines};
use crate::names::HostName;
use serde::Deserialize;
use std::path::Path;

/// Where an app finds its configuration, in the jail.
pub const CONFIG_DIR: &str = "/run/jaula-app";

/// The keys of uWSGI's that are jaula's business.
const OURS: [&str; 5] = [
    "namespace",
    "ns",
    "namespace-keep-mount",
    "namespace-net",
    "ns-net",
];

/// An app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Options of `jaula run`.
    pub options: Vec<String>,
    /// What it starts from; the host's programs when absent.
    pub root: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// A file for [`CONFIG_DIR`]: its name and its text. A change of it alone needs no new jail.
    pub config: Option<(String, String)>,
    /// The signal by which it reads its settings again; none: it is started anew.
    pub reload: Option<String>,
    /// The signal by which it ends in peace.
    pub stop: String,
}

/// Why a file describes no app.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// The file's name.
    #[error("its name is no name of a host: {0}")]
    Name(String),
    /// As uWSGI's.
    #[error(transparent)]
    Ini(#[from] IniError),
    /// A value that makes no sense.
    #[error("line {line}: {key} = {value:?}: {why}")]
    Value {
        /// Which line.
        line: usize,
        /// The key.
        key: String,
        /// What it says.
        value: String,
        /// What is wrong.
        why: String,
    },
    /// As ours.
    #[error("{0}")]
    Toml(String),
    /// Bytes that are no text.
    #[error("it is no text (UTF-8)")]
    NotText,
}

/// Whether a file's name is that of an app: `NAME.ini` as uWSGI's, `NAME.toml` as jaula's own.
pub fn is_app(name: &str) -> bool {
    let ending = Path::new(name).extension();
    !name.starts_with('.') && ending.is_some_and(|ending| ending == "ini" || ending == "toml")
}

/// What a file of jaula's own may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Own {
    command: Vec<String>,
    root: Option<String>,
    hostname: Option<String>,
    #[serde(default)]
    net: Vec<String>,
    #[serde(default)]
    bind: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    user: Option<String>,
    cwd: Option<String>,
    #[serde(default)]
    limit: Vec<String>,
    #[serde(default)]
    write: bool,
    #[serde(default)]
    as_pid_1: bool,
    reload: Option<String>,
    stop: Option<String>,
}

impl App {
    /// Reads a file.
    ///
    /// # Errors
    /// [`AppError`]; unknown keys of jaula's own form are errors with line and column.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, AppError> {
        let stem = Path::new(name).file_stem().unwrap_or_default();
        let stem = stem.to_str().ok_or(AppError::NotText)?;
        let host: HostName = stem
            .parse()
            .map_err(|error| AppError::Name(format!("{error}")))?;
        let text = std::str::from_utf8(bytes).map_err(|_| AppError::NotText)?;
        match name.ends_with(".toml") {
            true => Self::own(text, &host),
            false => Self::uwsgi(name, text, &host),
        }
    }

    fn own(text: &str, host: &HostName) -> Result<Self, AppError> {
        let wrong = |text: String| AppError::Toml(text.trim().to_owned());
        let own: Own = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if own.command.is_empty() {
            return Err(wrong("command is empty".to_owned()));
        }
        let host = match &own.hostname {
            Some(name) => name
                .parse::<HostName>()
                .map_err(|error| wrong(format!("hostname = {name:?}: {error}")))?,
            None => host.clone(),
        };
        let mut options = vec![format!("--hostname={host}")];
        let lists = [
            ("net", &own.net),
            ("bind", &own.bind),
            ("env", &own.env),
            ("limit", &own.limit),
        ];
        for (option, values) in lists {
            options.extend(values.iter().map(|value| format!("--{option}={value}")));
        }
        options.extend(own.user.map(|user| format!("--user={user}")));
        options.extend(own.cwd.map(|dir| format!("--cwd={dir}")));
        options.extend(own.write.then(|| "--write".to_owned()));
        options.extend(own.as_pid_1.then(|| "--as-pid-1".to_owned()));
        Ok(Self {
            options,
            root: own.root,
            command: own.command,
            config: None,
            reload: own.reload,
            stop: own.stop.unwrap_or_else(|| "TERM".to_owned()),
        })
    }

    fn uwsgi(name: &str, text: &str, host: &HostName) -> Result<Self, AppError> {
        let found = lines(text, &OURS)?;
        let mut jail = Jail::new(host.clone());
        for line in &found.taken {
            jail.take(line)?;
        }
        let file = format!("{CONFIG_DIR}/{name}");
        let command = vec!["uwsgi".to_owned(), "--ini".to_owned(), file];
        Ok(jail.app(command, Some((name.to_owned(), found.rest))))
    }

    /// uWSGI by its own command line: the options of namespaces are taken out of it.
    ///
    /// # Errors
    /// [`AppError::Value`], with the number of the argument as its line.
    pub fn of_arguments(arguments: &[String], host: &HostName) -> Result<Self, AppError> {
        let mut jail = Jail::new(host.clone());
        let mut rest = vec!["uwsgi".to_owned()];
        let mut words = (1..).zip(arguments);
        while let Some((number, word)) = words.next() {
            let long = word.strip_prefix("--").unwrap_or_default();
            let (key, value) = match long.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (long, None),
            };
            if !OURS.contains(&key) {
                rest.push(word.clone());
                continue;
            }
            let value = match value {
                Some(value) => value,
                None if key.ends_with("-net") => "true".to_owned(),
                None => words
                    .next()
                    .map(|(_, word)| word.clone())
                    .unwrap_or_default(),
            };
            jail.take(&Line {
                number,
                key: key.to_owned(),
                value,
            })?;
        }
        Ok(jail.app(rest, None))
    }
}

/// What uWSGI's keys say of a jail.
struct Jail {
    root: Option<String>,
    host: HostName,
    binds: Vec<String>,
    net: bool,
}

impl Jail {
    fn new(host: HostName) -> Self {
        Self {
            root: None,
            host,
            binds: Vec::new(),
            net: false,
        }
    }

    fn take(&mut self, line: &Line) -> Result<(), AppError> {
        let wrong = |why: String| AppError::Value {
            line: line.number,
            key: line.key.clone(),
            value: line.value.clone(),
            why,
        };
        match line.key.as_str() {
            "namespace" | "ns" => {
                let (root, host) = match line.value.split_once(':') {
                    Some((root, host)) => (root, Some(host)),
                    None => (line.value.as_str(), None),
                };
                if !root.starts_with('/') {
                    return Err(wrong("the root is no absolute path".to_owned()));
                }
                // The whole host again is what the host's programs are for.
                let whole = Path::new(root).components().count() == 1;
                self.root = (!whole).then(|| format!("{}/", root.trim_end_matches('/')));
                if let Some(host) = host {
                    self.host = host.parse().map_err(|error| wrong(format!("{error}")))?;
                }
            }
            "namespace-keep-mount" => {
                let (from, to) = line
                    .value
                    .split_once(':')
                    .unwrap_or((&line.value, &line.value));
                if !from.starts_with('/') || !to.starts_with('/') {
                    return Err(wrong("a path is not absolute".to_owned()));
                }
                self.binds.push(format!("{from}:{to}"));
            }
            _ => self.net = !matches!(line.value.as_str(), "false" | "0" | "no"),
        }
        Ok(())
    }

    fn app(self, command: Vec<String>, config: Option<(String, String)>) -> App {
        let mut options = vec!["--as-pid-1".to_owned(), format!("--hostname={}", self.host)];
        options.push(format!("--net={}", if self.net { "none" } else { "host" }));
        if self.root.is_some() {
            options.push("--write".to_owned());
        }
        options.extend(self.binds.into_iter().map(|bind| format!("--bind={bind}")));
        App {
            options,
            root: self.root,
            command,
            config,
            // SIGTERM would have it start again.
            reload: Some("HUP".to_owned()),
            stop: "INT".to_owned(),
        }
    }
}
