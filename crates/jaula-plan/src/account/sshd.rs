//! What sshd_config(5) says of a user, and the addition that leaves him to his login shell.

use super::allow::fits;
use super::policy::{Entry, Policy};
use super::{LOGIN_SHELL, SSHD_DIR};
use crate::explain::shown;
use std::path::{Path, PathBuf};

/// The files of sshd's settings, each pattern of an Include, as [`includes`] gives it, with the files it means now.
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

/// A path that cannot be said in sshd's settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} holds {bad:?}, which sshd's settings cannot say there", shown(.path))]
pub struct Unwritable {
    /// The path.
    pub path: PathBuf,
    /// The first character that cannot be.
    pub bad: char,
}

/// Where patterns that are no absolute paths begin.
const ETC: &str = "/etc/ssh";

/// Files deep in each other's Include that are still read (servconf.c, SERVCONF_MAX_DEPTH).
const DEPTH: usize = 16;

/// The words of a line after its keyword, which is in lower case (misc.c, `argv_split`): a comment begins a word, quotes of
/// both sorts keep blanks. None for an empty line; an error when a quote has no end, which sshd refuses.
fn split(line: &str) -> Option<Result<(String, Vec<String>), OpenQuote>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let at = line.find(|c: char| c.is_whitespace() || c == '=');
    let (key, rest) = line.split_at(at.unwrap_or(line.len()));
    // One equals sign among the blanks (misc.c, `strdelim`).
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    Some(words(rest).map(|words| (key.to_ascii_lowercase(), words)))
}

/// A quote without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OpenQuote;

fn words(text: &str) -> Result<Vec<String>, OpenQuote> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        if matches!(chars.peek(), None | Some('#')) {
            return Ok(words);
        }
        let (mut word, mut quote) = (String::new(), None);
        while let Some(c) = chars.next_if(|c| quote.is_some() || !matches!(c, ' ' | '\t')) {
            match (c, quote) {
                ('\\', _) => {
                    let known = |next: &char| {
                        matches!(next, '\'' | '"' | '\\') || quote.is_none() && *next == ' '
                    };
                    word.push(chars.next_if(known).unwrap_or(c));
                }
                ('"' | '\'', None) => quote = Some(c),
                (_, Some(open)) if c == open => quote = None,
                _ => word.push(c),
            }
        }
        if quote.is_some() {
            return Err(OpenQuote);
        }
        words.push(word);
    }
}

/// The patterns that the Include lines of a text name, as absolute paths.
pub fn includes(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(split).flatten();
    let found = lines.filter(|(key, _)| key == "include");
    found
        .flat_map(|(_, patterns)| patterns)
        .map(|pattern| absolute(&pattern))
        .collect()
}

fn absolute(pattern: &str) -> String {
    match pattern.starts_with('/') {
        true => pattern.to_owned(),
        false => format!("{ETC}/{pattern}"),
    }
}

/// Whether one part of a path is meant by one part of a pattern, as glob(7) has it.
pub fn part_fits(pattern: &str, name: &str) -> bool {
    // A dot at the beginning is only meant by a dot.
    let hidden = name.starts_with('.') && !pattern.starts_with('.') && !pattern.starts_with("\\.");
    !hidden && crate::path_filter::fits(pattern.as_bytes(), name.as_bytes())
}

/// Whether a part of a pattern means anything but itself.
pub fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?', '[', '\\'])
}

fn path_fits(pattern: &str, path: &Path) -> bool {
    let parts = |text: &str| -> Vec<String> {
        let parts = text.split('/').filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let (pattern, path) = (parts(pattern), parts(&path.to_string_lossy()));
    let mut pairs = pattern.iter().zip(&path);
    pattern.len() == path.len() && pairs.all(|(pattern, part)| part_fits(pattern, part))
}

/// A path as an argument. sshd's older readers know no escapes, so what would need one is not written.
///
/// # Errors
/// What is in it that cannot be written.
pub fn argument(path: &str, words: bool) -> Result<String, char> {
    let bad = |c: &char| matches!(c, '"' | '\'' | '\\') || c.is_control();
    if let Some(bad) = path.chars().find(bad) {
        return Err(bad);
    }
    let text = path.replace('%', "%%");
    match text.contains([' ', '#']) {
        // The server inside of sshd splits its own words, and knows no quotes (session.c, `strtok`).
        true if words && text.contains(' ') => Err(' '),
        true if !words => Ok(format!("\"{text}\"")),
        _ => Ok(text),
    }
}

/// The name of the addition for a user. First of all, because of several settings the first one counts.
pub fn addition_path(user: &str) -> PathBuf {
    Path::new(SSHD_DIR).join(format!("00-jaula-{user}.conf"))
}

/// The addition.
///
/// # Errors
/// The path that sshd could not be told.
pub fn addition(user: &str, policy: &Policy, home: &Path) -> Result<String, Unwritable> {
    let word = |path: &Path, words| {
        let said = path.to_str().ok_or('\u{fffd}');
        let said = said.and_then(|path| argument(path, words));
        said.map_err(|bad| Unwritable {
            path: path.to_owned(),
            bad,
        })
    };
    let mut text = format!(
        "# Written by jaula user: {user} lives in {}.\nMatch User {user}\n",
        shown(&policy.jail)
    );
    let mut say = |line: &str| text.push_str(&format!("    {line}\n"));
    match policy.entry {
        Entry::Shell => {
            say(&format!("ForceCommand {LOGIN_SHELL}"));
            say("ChrootDirectory none");
        }
        Entry::Sshd => {
            let (home, jail) = (word(home, true)?, word(&policy.jail, false)?);
            say(&format!("ForceCommand internal-sftp -d {home}"));
            say(&format!("ChrootDirectory {jail}"));
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
    Ok(text)
}

/// What an addition says, with keywords in lower case.
fn settings(addition: &str) -> Vec<(String, Vec<String>)> {
    let lines = addition.lines().filter_map(split).flatten();
    lines.filter(|(key, _)| key != "match").collect()
}

/// What of the settings contradicts an addition, and whether additions are read at all.
///
/// # Errors
/// The first [`Contradiction`].
pub fn check(
    facts: &SshdFacts,
    user: &str,
    groups: &[String],
    addition: &str,
) -> Result<(), Contradiction> {
    let mut reader = Reader {
        ours: settings(addition),
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
    ours: Vec<(String, Vec<String>)>,
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
            let Some(read) = split(line) else {
                continue;
            };
            let line = line.trim();
            let refuse = |why| Contradiction {
                file: file.to_owned(),
                line: number,
                text: line.to_owned(),
                why,
            };
            let (key, value) =
                read.map_err(|OpenQuote| refuse("a quote has no end, which sshd refuses"))?;
            match key.as_str() {
                "match" => *matched = Some(self.may_match(&value)),
                "include" if depth >= DEPTH => {
                    return Err(refuse(
                        "files include each other too deep, which sshd refuses",
                    ));
                }
                "include" => {
                    for pattern in &value {
                        let pattern = absolute(pattern);
                        let known = self.include(&pattern, *matched, depth)?;
                        if !known {
                            return Err(refuse("what it includes was not read"));
                        }
                    }
                }
                // Ours comes first of those in a Match, once it is there; outside of one it is stronger anyway.
                key if *matched == Some(true)
                    && !self.included
                    && self.is_otherwise(key, &value) =>
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
    ) -> Result<bool, Contradiction> {
        let facts = self.facts;
        let found = facts.included.iter().find(|(known, _)| known == pattern);
        let Some((_, files)) = found else {
            return Ok(false);
        };
        for (path, text) in files {
            if *path == self.own {
                continue;
            }
            if path.as_os_str() > self.own.as_os_str() && self.is_ours(pattern) && matched.is_none()
            {
                self.included = true;
            }
            let mut inner = matched;
            self.file(path, text, &mut inner, depth + 1)?;
        }
        self.included |= self.is_ours(pattern) && matched.is_none();
        Ok(true)
    }

    fn is_ours(&self, pattern: &str) -> bool {
        path_fits(pattern, &self.own)
    }

    /// Whether it says something else of what the addition says, too.
    fn is_otherwise(&self, key: &str, value: &[String]) -> bool {
        let same = |ours: &[String]| {
            let pairs = ours.iter().zip(value);
            ours.len() == value.len() && pairs.into_iter().all(|(a, b)| a.eq_ignore_ascii_case(b))
        };
        let ours = self.ours.iter().find(|(known, _)| known == key);
        ours.is_some_and(|(_, ours)| !same(ours))
    }

    /// Whether a Match may be of the user: what depends on where he comes from may be.
    fn may_match(&self, value: &[String]) -> bool {
        let mut words = value.iter().map(String::as_str);
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
            let list: Vec<String> = list.split(',').map(str::to_owned).collect();
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

    fn listed(&self, list: &[String], users: bool) -> bool {
        let mut found = false;
        for pattern in list.iter().map(String::as_str) {
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
        let policy = Policy::new(Path::new("/srv/golden"));
        let ours = addition("ana", &policy, Path::new("/home/ana")).expect("an addition");
        match check(&facts(main, files), "ana", &["users".to_owned()], &ours) {
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
        let text = addition("ana", &policy, Path::new("/home/ana")).unwrap();
        assert!(text.starts_with("# Written by jaula user: ana lives in /srv/golden.\nMatch User ana\n    ForceCommand /usr/sbin/jaula-login\n"));
        assert!(text.contains("DisableForwarding yes\n") && text.contains("PermitTTY yes\n"));
        let policy = Policy {
            forward: true,
            entry: Entry::Sshd,
            ..policy
        };
        let text = addition("ana", &policy, Path::new("/home/ana")).unwrap();
        assert!(text.contains(
            "ForceCommand internal-sftp -d /home/ana\n    ChrootDirectory /srv/golden\n"
        ));
        assert!(
            text.contains("AllowTcpForwarding yes\n")
                && text.contains("AllowStreamLocalForwarding no\n")
        );
        assert!(text.contains("PermitTTY no\n"));
    }

    #[test]
    fn lines_are_split_as_sshd_splits_them() {
        let read =
            |line: &str| split(line).map(|read| read.map(|(key, words)| (key, words.join("|"))));
        let is = |key: &str, words: &str| Some(Ok((key.to_owned(), words.to_owned())));
        assert_eq!(read("  # x"), None);
        assert_eq!(read("Include a b#c #d"), is("include", "a|b#c"));
        assert_eq!(
            read("INCLUDE=\"a b\"'c d'  e\\ f"),
            is("include", "a bc d|e f")
        );
        assert_eq!(read("Banner = \"it's\""), is("banner", "it's"));
        assert_eq!(read("Banner \"x"), Some(Err(OpenQuote)));
        assert_eq!(
            includes("Include x.conf '/a b/*'\nMatch all\n include /c#"),
            ["/etc/ssh/x.conf", "/a b/*", "/c#"]
        );
    }

    #[test]
    fn patterns_mean_what_glob_finds() {
        for (pattern, name, fits) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".a.conf", false),
            (".*.conf", ".a.conf", true),
            ("?0-[a-j]*", "00-jaula-ana.conf", true),
            ("[!0]*", "00-x", false),
            ("[[:digit:]]?-x", "00-x", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
        ] {
            assert_eq!(part_fits(pattern, name), fits, "{pattern} {name}");
        }
        // Ours is read wherever a pattern means it.
        let is_read = |pattern: &str| {
            let mut facts = facts(&format!("Include {pattern}\n"), &[]);
            facts.included = vec![(absolute(pattern), Vec::new())];
            check(&facts, "ana", &[], "").is_ok()
        };
        for (pattern, read) in [
            ("sshd_config.d/*", true),
            ("/etc/ssh/*.d/[0-9]?-*.conf", true),
            ("/etc/ssh/sshd_config.d/[1-9]*.conf", false),
            ("/etc/ssh/sshd_config.d/?.conf", false),
            ("/etc/ssh/*", false),
        ] {
            assert_eq!(is_read(pattern), read, "{pattern}");
        }
    }

    #[test]
    fn what_counts_before_ours_is_a_contradiction_whatever_it_undoes() {
        for line in [
            "ForceCommand none",
            "AllowTcpForwarding yes",
            "disableforwarding no",
            "X11Forwarding=yes",
            "ChrootDirectory /srv/other",
            "PermitTunnel yes",
        ] {
            let said = said(INCLUDE, &[("00-a.conf", &format!("Match all\n{line}\n"))]);
            assert!(
                said.contains("00-a.conf, line 2") && said.contains("counts instead"),
                "{said}"
            );
        }
        for line in [
            "ChrootDirectory none",
            "AllowAgentForwarding no",
            "Banner /etc/issue",
        ] {
            let text = format!("Match all\n{line}\n");
            assert_eq!(said(INCLUDE, &[("00-a.conf", &text)]), "fine");
            assert_eq!(said(INCLUDE, &[("50-a.conf", &text)]), "fine");
        }
        let deep = said(&format!("{INCLUDE}Include /etc/ssh/more\n"), &[]);
        assert!(
            deep.contains("line 2") && deep.contains("was not read"),
            "{deep}"
        );
        let open = said(&format!("{INCLUDE}Banner 'x\n"), &[]);
        assert!(open.contains("line 2") && open.contains("no end"), "{open}");
    }

    #[test]
    fn paths_are_quoted_or_refused() {
        let policy = |jail: &str| Policy {
            entry: Entry::Sshd,
            ..Policy::new(Path::new(jail))
        };
        let said = |jail: &str, home: &str| {
            addition("ana", &policy(jail), Path::new(home)).map_err(|error| error.to_string())
        };
        let text = said("/srv/a b#c%d", "/home/a%u").unwrap();
        assert!(
            text.contains("\n    ChrootDirectory \"/srv/a b#c%%d\"\n"),
            "{text}"
        );
        assert!(
            text.contains("\n    ForceCommand internal-sftp -d /home/a%%u\n"),
            "{text}"
        );
        let chroot = settings(&text)
            .into_iter()
            .find(|(key, _)| key == "chrootdirectory");
        assert_eq!(chroot.unwrap().1, ["/srv/a b#c%%d"]);
        for (jail, home, bad) in [
            ("/srv/a\"b", "/h", "/srv/a\"b holds '\"'"),
            ("/srv/it's", "/h", "holds '\\''"),
            ("/srv/a\\b", "/h", "holds '\\\\'"),
            ("/srv/a\nMatch all", "/h", "holds '\\n'"),
            ("/srv/a", "/home/a b", "/home/a b holds ' '"),
        ] {
            let said = said(jail, home).unwrap_err();
            assert!(said.contains(bad), "{said}");
        }
        // Where the login shell finds the jail, sshd is not told of it.
        assert!(addition("ana", &Policy::new(Path::new("/srv/it's")), Path::new("/h")).is_ok());
    }
}
