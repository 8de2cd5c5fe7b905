//! What sshd_config(5) says of a user, and the addition that leaves him to his login shell.

use super::allow::fits;
use super::policy::{Entry, Policy};
use super::{LOGIN_SHELL, SSHD_DIR};
use std::path::{Path, PathBuf};

/// The files of sshd's settings, each pattern of an Include with the files it means now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SshdFacts {
    /// `/etc/ssh/sshd_config`.
    pub main: String,
    /// Included files in the order of their names.
    pub included: Vec<(String, Vec<(PathBuf, String)>)>,
}

/// Settings that would undo the jail, or keep its user out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}, line {line}: {text:?}: {why}", .file.display())]
pub struct Contradiction {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// The line.
    pub text: String,
    /// What it does.
    pub why: &'static str,
}

/// Files deep in each other's Include that are still read (servconf.c, SERVCONF_MAX_DEPTH).
const DEPTH: usize = 16;

/// The name of the addition for a user. First of all, because of several settings the first one counts.
pub fn addition_path(user: &str) -> PathBuf {
    Path::new(SSHD_DIR).join(format!("00-jaula-{user}.conf"))
}

/// The addition.
pub fn addition(user: &str, policy: &Policy, home: &Path) -> String {
    let mut text = format!(
        "# Written by jaula user: {user} lives in {}.\nMatch User {user}\n",
        policy.jail.display()
    );
    let mut say = |line: &str| text.push_str(&format!("    {line}\n"));
    match policy.entry {
        Entry::Shell => {
            say(&format!("ForceCommand {LOGIN_SHELL}"));
            say("ChrootDirectory none");
        }
        Entry::Sshd => {
            say(&format!("ForceCommand internal-sftp -d {}", home.display()));
            say(&format!("ChrootDirectory {}", policy.jail.display()));
        }
    }
    if policy.has_shell() {
        say("PermitTTY yes");
    } else {
        say("PermitTTY no");
    }
    match policy.forward {
        true => {
            say("DisableForwarding no");
            say("AllowTcpForwarding yes");
            say("GatewayPorts no");
        }
        false => {
            say("DisableForwarding yes");
            say("AllowTcpForwarding no");
        }
    }
    say("AllowStreamLocalForwarding no");
    say("AllowAgentForwarding no");
    say("X11Forwarding no");
    say("PermitTunnel no");
    say("PermitUserRC no");
    text
}

/// What of the settings contradicts, and whether additions are read at all.
///
/// # Errors
/// The first [`Contradiction`].
pub fn check(facts: &SshdFacts, user: &str, groups: &[String]) -> Result<(), Contradiction> {
    let mut reader = Reader {
        facts,
        user,
        groups,
        included: false,
        own: addition_path(user),
    };
    let main = Path::new("/etc/ssh/sshd_config");
    let mut matched = None;
    reader.file(main, &facts.main, &mut matched, 0)?;
    match reader.included {
        true => Ok(()),
        false => Err(Contradiction {
            file: main.to_owned(),
            line: 1,
            text: String::new(),
            why: "it does not include /etc/ssh/sshd_config.d/*.conf before any Match, where what jaula adds is",
        }),
    }
}

struct Reader<'a> {
    facts: &'a SshdFacts,
    user: &'a str,
    groups: &'a [String],
    included: bool,
    own: PathBuf,
}

impl Reader<'_> {
    /// `matched`: none outside of any Match, else whether the Match may be of the user.
    fn file(
        &mut self,
        file: &Path,
        text: &str,
        matched: &mut Option<bool>,
        depth: usize,
    ) -> Result<(), Contradiction> {
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            let Some((key, value)) = split(line) else {
                continue;
            };
            let refuse = |why| Contradiction {
                file: file.to_owned(),
                line: number,
                text: line.to_owned(),
                why,
            };
            match key.as_str() {
                "match" => *matched = Some(self.may_match(&value)),
                "include" if depth < DEPTH => {
                    for pattern in value.split_whitespace() {
                        self.include(pattern, *matched, depth)?;
                    }
                }
                // Ours comes first of those in a Match, once it is there; outside of one it is stronger anyway.
                "forcecommand" | "chrootdirectory"
                    if *matched == Some(true) && !self.included && value != "none" =>
                {
                    return Err(refuse(
                        "it comes before what jaula would add, and counts instead",
                    ));
                }
                "allowusers" if *matched != Some(false) && !self.listed(&value, true) => {
                    return Err(refuse(
                        "the user is not among them, so sshd does not let him in",
                    ));
                }
                "denyusers" if *matched != Some(false) && self.listed(&value, true) => {
                    return Err(refuse("the user is among them"));
                }
                "allowgroups" if *matched != Some(false) && !self.listed(&value, false) => {
                    return Err(refuse(
                        "none of the user's groups is among them, so sshd does not let him in",
                    ));
                }
                "denygroups" if *matched != Some(false) && self.listed(&value, false) => {
                    return Err(refuse("a group of the user's is among them"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn include(
        &mut self,
        pattern: &str,
        matched: Option<bool>,
        depth: usize,
    ) -> Result<(), Contradiction> {
        let facts = self.facts;
        let found = facts.included.iter().find(|(known, _)| known == pattern);
        for (path, text) in found.map(|(_, files)| files.as_slice()).unwrap_or_default() {
            if *path == self.own {
                continue;
            }
            if *path > self.own && self.is_ours(pattern) && matched.is_none() {
                self.included = true;
            }
            let mut inner = matched;
            self.file(path, text, &mut inner, depth + 1)?;
        }
        self.included |= self.is_ours(pattern) && matched.is_none();
        Ok(())
    }

    fn is_ours(&self, pattern: &str) -> bool {
        pattern == "/etc/ssh/sshd_config.d/*.conf" || pattern == "sshd_config.d/*.conf"
    }

    /// Whether a Match may be of the user: what depends on where he comes from may be.
    fn may_match(&self, value: &str) -> bool {
        let mut words = value.split_whitespace();
        while let Some(word) = words.next() {
            let (criterion, inline) = match word.split_once('=') {
                Some((criterion, value)) => (criterion, Some(value)),
                None => (word, None),
            };
            if criterion.eq_ignore_ascii_case("all") {
                return true;
            }
            let Some(list) = inline.or_else(|| words.next()) else {
                return true;
            };
            let list = list.replace(',', " ");
            let fits = match criterion.to_ascii_lowercase().as_str() {
                "user" => self.listed(&list, true),
                "group" => self.listed(&list, false),
                _ => true,
            };
            if !fits {
                return false;
            }
        }
        true
    }

    fn listed(&self, list: &str, users: bool) -> bool {
        let mut found = false;
        for pattern in list.split_whitespace() {
            let (negated, pattern) = match pattern.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, pattern),
            };
            // USER@HOST: from some hosts.
            let pattern = pattern.split('@').next().unwrap_or(pattern);
            let fits = match users {
                true => fits(pattern, self.user),
                false => self.groups.iter().any(|group| fits(pattern, group)),
            };
            match (fits, negated) {
                (true, true) => return false,
                (true, false) => found = true,
                _ => {}
            }
        }
        found
    }
}

/// The keyword in lower case and its arguments; quotes around an argument go.
fn split(line: &str) -> Option<(String, String)> {
    let line = line
        .split_once('#')
        .map_or(line, |(before, _)| before)
        .trim();
    let at = line.find(|c: char| c.is_whitespace() || c == '=')?;
    let (key, value) = line.split_at(at);
    let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
    Some((key.to_ascii_lowercase(), value.trim().replace('"', "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(main: &str, files: &[(&str, &str)]) -> SshdFacts {
        let files = files.iter().map(|(name, text)| {
            let path = Path::new(SSHD_DIR).join(name);
            (path, (*text).to_owned())
        });
        SshdFacts {
            main: main.to_owned(),
            included: vec![("/etc/ssh/sshd_config.d/*.conf".to_owned(), files.collect())],
        }
    }

    fn said(main: &str, files: &[(&str, &str)]) -> String {
        match check(&facts(main, files), "ana", &["users".to_owned()]) {
            Ok(()) => "fine".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    const INCLUDE: &str = "Include /etc/ssh/sshd_config.d/*.conf\n";

    #[test]
    fn debians_settings_are_fine() {
        let main =
            format!("{INCLUDE}UsePAM yes\nSubsystem sftp internal-sftp\nX11Forwarding yes\n");
        assert_eq!(said(&main, &[]), "fine");
        // What comes after ours, and what is outside of a Match, is weaker than ours.
        let after = format!("{main}ForceCommand /bin/true\nMatch User ana\n  ChrootDirectory /x\n");
        assert_eq!(
            said(&after, &[("50-x.conf", "Match All\nForceCommand /x\n")]),
            "fine"
        );
        assert_eq!(
            said(&format!("{INCLUDE}DenyUsers bob\nAllowUsers an?\n"), &[]),
            "fine"
        );
    }

    #[test]
    fn what_contradicts_is_named_with_its_line() {
        assert!(said("UsePAM yes\n", &[]).contains("does not include"));
        assert!(said(&format!("Match User bob\n{INCLUDE}"), &[]).contains("does not include"));
        assert_eq!(
            said(
                INCLUDE,
                &[("00-a.conf", "Match Group users\nForceCommand /x\n")]
            ),
            "/etc/ssh/sshd_config.d/00-a.conf, line 2: \"ForceCommand /x\": it comes before what jaula would add, and \
             counts instead"
        );
        assert_eq!(
            said(
                INCLUDE,
                &[("00-a.conf", "Match User bob\nForceCommand /x\n")]
            ),
            "fine"
        );
        for (line, why) in [
            ("AllowUsers bob luis@host", "not among"),
            ("DenyUsers a*", "is among"),
            ("AllowGroups staff", "none of the user's groups"),
            ("DenyGroups \"users\"", "a group of the user's"),
            ("allowusers=bob", "not among"),
        ] {
            let said = said(&format!("{INCLUDE}{line}\n"), &[]);
            assert!(
                said.contains("line 2") && said.contains(why),
                "{line}: {said}"
            );
        }
    }

    #[test]
    fn the_addition_leaves_nothing_open() {
        let policy = Policy::new(Path::new("/srv/golden"));
        let text = addition("ana", &policy, Path::new("/home/ana"));
        assert!(text.starts_with("# Written by jaula user: ana lives in /srv/golden.\nMatch User ana\n    ForceCommand /usr/sbin/jaula-login\n"));
        assert!(text.contains("DisableForwarding yes\n") && text.contains("PermitTTY yes\n"));
        let policy = Policy {
            forward: true,
            entry: Entry::Sshd,
            ..policy
        };
        let text = addition("ana", &policy, Path::new("/home/ana"));
        assert!(text.contains(
            "ForceCommand internal-sftp -d /home/ana\n    ChrootDirectory /srv/golden\n"
        ));
        assert!(
            text.contains("AllowTcpForwarding yes\n")
                && text.contains("AllowStreamLocalForwarding no\n")
        );
        assert!(text.contains("PermitTTY no\n"));
    }
}
