//! `jk_init.ini`: sections that say what comes into a jail.

use super::ini::{Ini, IniError, IniSection};
use crate::minimal::Rule;

/// What a section may say; the last four are older names of `paths`.
const KEYS: [&str; 14] = [
    "comment",
    "paths",
    "paths_w_owner",
    "paths_w_setuid",
    "users",
    "groups",
    "devices",
    "emptydirs",
    "includesections",
    "need_logsocket",
    "need_proc",
    "executables",
    "libraries",
    "regularfiles",
];
/// One more of them.
const DIRECTORIES: &str = "directories";

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Init {
    /// Its sections in their order.
    pub sections: Vec<InitSection>,
}

/// A section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitSection {
    /// What comes into the jail.
    pub rule: Rule,
    /// Whether it has a socket for the log, which jk_socketd serves.
    pub log_socket: bool,
    /// Whether it has /proc.
    pub proc: bool,
}

impl Init {
    /// Reads the file's bytes.
    ///
    /// # Errors
    /// At the first line that is not understood, and at the first key that does not exist.
    pub fn read(bytes: &[u8]) -> Result<Self, IniError> {
        let ini = Ini::read(bytes)?;
        let sections = ini.sections.iter().map(section);
        let sections = sections.collect::<Result<_, _>>()?;
        Ok(Self { sections })
    }

    /// The section of this name.
    pub fn section(&self, name: &str) -> Option<&InitSection> {
        self.sections.iter().find(|s| s.rule.name == name)
    }
}

fn section(from: &IniSection) -> Result<InitSection, IniError> {
    let mut known = KEYS.to_vec();
    known.push(DIRECTORIES);
    from.only(&known)?;
    let mut paths = from.list("paths");
    for old in ["libraries", "executables", "regularfiles", DIRECTORIES] {
        paths.extend(from.list(old));
    }
    let is_on = |key| from.entry(key).is_some_and(super::IniEntry::is_on);
    Ok(InitSection {
        rule: Rule {
            name: from.name.clone(),
            comment: from.value("comment").unwrap_or_default().to_owned(),
            paths,
            keep_owner: from.list("paths_w_owner"),
            keep_setuid: from.list("paths_w_setuid"),
            users: from.list("users"),
            groups: from.list("groups"),
            devices: from.list("devices"),
            dirs: from.list("emptydirs"),
            includes: from.list("includesections"),
            ..Rule::default()
        },
        log_socket: is_on("need_logsocket"),
        proc: is_on("need_proc"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let text = b"[ping]\ncomment = p\npaths_w_setuid = /bin/ping\nexecutables = a\npaths = b, /c\n\
            need_logsocket = 0\nneed_proc = 1\nincludesections = x, y\nemptydirs = /var\nusers=root\n";
        let init = Init::read(text).unwrap();
        let ping = init.section("ping").unwrap();
        assert_eq!(ping.rule.paths, ["b", "/c", "a"]);
        assert_eq!(ping.rule.keep_setuid, ["/bin/ping"]);
        assert_eq!(ping.rule.includes, ["x", "y"]);
        assert_eq!((ping.log_socket, ping.proc), (false, true));
        let error = Init::read(b"[a]\npath = b\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2, column 1: there is no key path; did you mean paths?"
        );
    }
}
