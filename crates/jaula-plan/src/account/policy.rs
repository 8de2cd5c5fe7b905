//! What one user may do, as it is kept in `/etc/jaula/users/NAME.toml`: written by `jaula user`, read at each login.

use super::allow::Allow;
use super::hours::Hours;
use crate::spec::limits::{Limits, Resource};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The most that is read of such a file.
pub const LIMIT: usize = 64 << 10;

/// Something that goes over ssh and has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// sftp(1), and scp(1) since OpenSSH 9.
    Sftp,
    /// The older scp(1), `scp -O`.
    Scp,
    /// rsync(1) over ssh.
    Rsync,
    /// git-fetch(1) and git-push(1) over ssh.
    Git,
}

impl Service {
    /// As `--only` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sftp => "sftp",
            Self::Scp => "scp",
            Self::Rsync => "rsync",
            Self::Git => "git",
        }
    }
}

/// A service that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of sftp, scp, rsync, git")]
pub struct NoService(String);

impl FromStr for Service {
    type Err = NoService;

    fn from_str(text: &str) -> Result<Self, NoService> {
        let all = [Self::Sftp, Self::Scp, Self::Rsync, Self::Git];
        let found = all.into_iter().find(|service| service.name() == text);
        found.ok_or_else(|| NoService(text.to_owned()))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whose network a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoginNet {
    /// A loopback of its own.
    #[default]
    None,
    /// The host's.
    Host,
}

impl FromStr for LoginNet {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        match text {
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ => Err(PolicyError::Net(text.to_owned())),
        }
    }
}

/// Who lets him in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// His login shell, which is jaula.
    #[default]
    Shell,
    /// sshd itself, by its ChrootDirectory: sftp only.
    Sshd,
}

/// What the account was before it was ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Its home.
    pub home: String,
    /// Its login shell.
    pub shell: String,
}

/// What a user may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// Form of the file.
    pub version: u32,
    /// The jail's directory.
    pub jail: PathBuf,
    /// The only services; none: whatever else is said.
    #[serde(default)]
    pub only: Vec<Service>,
    /// The only commands besides, as patterns.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Network.
    #[serde(default)]
    pub net: LoginNet,
    /// Limits, as `--limit` takes them.
    #[serde(default)]
    pub limit: Vec<String>,
    /// When he may log in.
    #[serde(default)]
    pub hours: Option<String>,
    /// Whether sshd forwards ports for him.
    #[serde(default)]
    pub forward: bool,
    /// Who lets him in.
    #[serde(default)]
    pub entry: Entry,
    /// What the account was; absent when it was made for the jail.
    #[serde(default)]
    pub before: Option<Before>,
    /// Lines that were added to the jail's accounts, which `rm` takes away.
    #[serde(default)]
    pub inside: Vec<String>,
}

/// A policy that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No such file's form.
    #[error("{0}")]
    Form(String),
    /// A later version's.
    #[error("its version is {0}, and this jaula knows version 1")]
    Version(u32),
    /// A command pattern.
    #[error("cannot allow {text:?}: {why}")]
    Allow {
        /// As written.
        text: String,
        /// Why not.
        why: super::allow::AllowError,
    },
    /// Hours.
    #[error(transparent)]
    Hours(#[from] super::hours::HoursError),
    /// A limit.
    #[error(transparent)]
    Limit(#[from] crate::spec::limits::LimitError),
    /// A network.
    #[error("{0:?} is no network of a login: none or host")]
    Net(String),
}

impl Policy {
    /// A policy for a jail: a shell, no network, nothing forwarded.
    pub fn new(jail: &Path) -> Self {
        Self {
            version: 1,
            jail: jail.to_owned(),
            ..Self::default()
        }
    }

    /// Where it is kept.
    pub fn path(user: &str) -> PathBuf {
        Path::new(super::POLICIES).join(format!("{user}.toml"))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn read(text: &str) -> Result<Self, PolicyError> {
        let policy: Self =
            toml::from_str(text).map_err(|error| PolicyError::Form(error.message().to_owned()))?;
        match policy.version {
            1 => policy.check().map(|()| policy),
            other => Err(PolicyError::Version(other)),
        }
    }

    /// Whether everything in it means something.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn check(&self) -> Result<(), PolicyError> {
        self.allowed()?;
        self.hours()?;
        self.limits()?;
        Ok(())
    }

    /// The patterns.
    ///
    /// # Errors
    /// [`PolicyError::Allow`].
    pub fn allowed(&self) -> Result<Vec<Allow>, PolicyError> {
        let read = |text: &String| {
            text.parse().map_err(|why| PolicyError::Allow {
                text: text.clone(),
                why,
            })
        };
        self.allow.iter().map(read).collect()
    }

    /// The hours.
    ///
    /// # Errors
    /// [`PolicyError::Hours`].
    pub fn hours(&self) -> Result<Option<Hours>, PolicyError> {
        Ok(self.hours.as_deref().map(str::parse).transpose()?)
    }

    /// The limits: those of every login user, and his own in their place.
    ///
    /// # Errors
    /// [`PolicyError::Limit`].
    pub fn limits(&self) -> Result<Limits, PolicyError> {
        self.limits_within(&[])
    }

    /// As [`Self::limits`], for a process with these hard limits: what holds by default is less where it is less there.
    ///
    /// # Errors
    /// [`PolicyError::Limit`].
    pub fn limits_within(&self, hard: &[(Resource, Option<u64>)]) -> Result<Limits, PolicyError> {
        let mut limits = Limits::default();
        for text in DEFAULT_LIMITS {
            limits.add(text)?;
        }
        limits.lower(hard);
        for text in &self.limit {
            limits.add(text)?;
        }
        limits.lower_unlimited(hard);
        Ok(limits)
    }

    /// Whether he has a shell.
    pub fn has_shell(&self) -> bool {
        self.only.is_empty() && self.allow.is_empty() && self.entry == Entry::Shell
    }

    /// What he may do, in a few words.
    pub fn words(&self) -> String {
        if self.has_shell() {
            return "shell".to_owned();
        }
        let only = self.only.iter().map(|service| service.name().to_owned());
        let all: Vec<String> = only.chain(self.allow.iter().cloned()).collect();
        all.join(", ")
    }

    /// The file's text.
    pub fn text(&self) -> String {
        // A JSON string is a basic string of TOML (TOML 1.0, "String").
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let list = |words: Vec<String>| {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            format!("[{}]", words.join(", "))
        };
        let mut text =
            String::from("# Written by jaula user; change it with jaula user set.\nversion = 1\n");
        text.push_str(&format!(
            "jail = {}\n",
            quoted(&self.jail.to_string_lossy())
        ));
        if self.entry == Entry::Sshd {
            text.push_str("entry = \"sshd\"\n");
        }
        if !self.only.is_empty() {
            let only = self.only.iter().map(ToString::to_string).collect();
            text.push_str(&format!("only = {}\n", list(only)));
        }
        if !self.allow.is_empty() {
            text.push_str(&format!("allow = {}\n", list(self.allow.clone())));
        }
        if self.net == LoginNet::Host {
            text.push_str("net = \"host\"\n");
        }
        if !self.limit.is_empty() {
            text.push_str(&format!("limit = {}\n", list(self.limit.clone())));
        }
        if let Ok(limits) = self.limits() {
            let all: Vec<String> = limits.all().iter().map(ToString::to_string).collect();
            text.push_str(&format!("# A session has at most: {}\n", all.join(",")));
        }
        if let Some(hours) = &self.hours {
            text.push_str(&format!("hours = {}\n", quoted(hours)));
        }
        if self.forward {
            text.push_str("forward = true\n");
        }
        if !self.inside.is_empty() {
            text.push_str(&format!("inside = {}\n", list(self.inside.clone())));
        }
        if let Some(before) = &self.before {
            text.push_str(&format!(
                "\n[before]\nhome = {}\nshell = {}\n",
                quoted(&before.home),
                quoted(&before.shell)
            ));
        }
        text
    }
}

/// What holds for every login user unless something else is said.
const DEFAULT_LIMITS: [&str; 4] = ["processes=256", "data=2G", "files=1024", "core=0"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut policy = Policy::new(Path::new("/srv/jails/golden \"one\""));
        assert_eq!(Policy::read(&policy.text()), Ok(policy.clone()));
        policy.only = vec![Service::Sftp, Service::Git];
        policy.allow = vec!["tar cf - *".into(), "say 'a b'".into()];
        policy.net = LoginNet::Host;
        policy.limit = vec!["files=64,time=2h".into()];
        policy.hours = Some("mon-fri 8-18".into());
        policy.forward = true;
        policy.entry = Entry::Sshd;
        policy.inside = vec!["ana:x:1001:1001::/home/ana:/bin/sh".into()];
        policy.before = Some(Before {
            home: "/home/ana".into(),
            shell: "/bin/bash".into(),
        });
        assert_eq!(Policy::read(&policy.text()), Ok(policy.clone()));
        assert_eq!(policy.words(), "sftp, git, tar cf - *, say 'a b'");
    }

    #[test]
    fn a_session_is_limited_unless_it_is_said_otherwise() {
        let mut policy = Policy::new(Path::new("/srv/golden"));
        let said = |policy: &Policy, hard: &[(Resource, Option<u64>)]| {
            let limits = policy.limits_within(hard).expect("limits");
            let all: Vec<String> = limits.all().iter().map(ToString::to_string).collect();
            all.join(",")
        };
        assert_eq!(
            said(&policy, &[]),
            "processes=256,data=2G,files=1024,core=0"
        );
        // What the host gives less of is no reason to keep him out.
        let hard = [
            (Resource::Processes, Some(100)),
            (Resource::Data, None),
            (Resource::Files, Some(4096)),
        ];
        assert_eq!(
            said(&policy, &hard),
            "processes=100,data=2G,files=1024,core=0"
        );
        policy.limit = vec!["processes=500,data=unlimited".into(), "time=2h".into()];
        let now = "processes=500,data=unlimited,files=1024,core=0,time=2h";
        assert_eq!(said(&policy, &hard), now);
        let less = [(Resource::Data, Some(4096))];
        assert_eq!(said(&policy, &less), now.replace("unlimited", "4K"));
        assert!(
            policy
                .text()
                .contains(&format!("# A session has at most: {now}\n"))
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "",
            "version = 2\njail = \"/x\"\n",
            "version = 1\njail = \"/x\"\nonyl = [\"sftp\"]\n",
            "version = 1\njail = \"/x\"\nonly = [\"ftp\"]\n",
            "version = 1\njail = \"/x\"\nallow = [\"*\"]\n",
            "version = 1\njail = \"/x\"\nhours = \"never\"\n",
            "version = 1\njail = \"/x\"\nlimit = [\"many\"]\n",
        ] {
            assert!(Policy::read(text).is_err(), "{text:?}");
        }
    }
}
