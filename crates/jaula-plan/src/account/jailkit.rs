//! The settings of jailkit's login shells, jk_chrootsh.ini and jk_lsh.ini: of several sections one counts, the user's, else
//! that of the primary group, else `DEFAULT`.

use super::login::Relax;
use crate::jailkit::{Ini, IniError, IniSection};

/// Where the settings are, on the host for jk_chrootsh and in the jail for jk_lsh.
pub const DIR: &str = "/etc/jailkit";

/// The section that counts for a user.
pub fn section<'a>(ini: &'a Ini, user: &str, group: Option<&str>) -> Option<&'a IniSection> {
    let of_group = || ini.section_named(&format!("group {}", group?));
    ini.section_named(user)
        .or_else(of_group)
        .or_else(|| ini.section_named("DEFAULT"))
}

/// What jk_chrootsh.ini says of a user.
///
/// # Errors
/// At a key that means nothing, or a shell without its check.
pub fn relax(ini: &Ini, user: &str, group: Option<&str>) -> Result<Relax, IniError> {
    let Some(section) = section(ini, user, group) else {
        return Ok(Relax::default());
    };
    section.only(&[
        "env",
        "relax_home_owner",
        "relax_home_group",
        "relax_home_group_permissions",
        "relax_home_other_permissions",
        "injail_shell",
        "skip_injail_passwd_check",
        "injail_login_shell",
    ])?;
    let on = |key: &str| {
        section
            .entry(key)
            .is_some_and(crate::jailkit::IniEntry::is_on)
    };
    if let Some(skip) = section.entry("skip_injail_passwd_check")
        && skip.is_on()
        && section.entry("injail_shell").is_none()
    {
        return Err(
            skip.wrong("injail_shell besides, because there is no shell without the jail's passwd")
        );
    }
    Ok(Relax {
        owner: on("relax_home_owner"),
        group: on("relax_home_group"),
        group_permissions: on("relax_home_group_permissions"),
        other_permissions: on("relax_home_other_permissions"),
        env: section.list("env"),
        shell: section.value("injail_shell").map(str::to_owned),
        skip_passwd: on("skip_injail_passwd_check"),
        login_option: on("injail_login_shell"),
    })
}

/// What jk_lsh.ini says of a user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lsh {
    /// Whole paths of the programs that may be started.
    pub executables: Vec<String>,
    /// Where a name without a slash is looked up.
    pub paths: Vec<String>,
    /// Whether words are expanded as wordexp(3) does without commands.
    pub expand: bool,
    /// umask(2).
    pub umask: Option<u32>,
    /// Variables and their values.
    pub environment: Vec<(String, String)>,
}

/// A command that jk_lsh does not start, with its exit codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LshRefusal {
    /// No file.
    #[error("cannot read the settings: {0}")]
    NoSettings(String),
    /// No user of this number.
    #[error("there is no user {0}")]
    NoUser(u32),
    /// Nothing is said of him.
    #[error("no section of the settings is for this user")]
    NoSection,
    /// The program is not listed, or not there.
    #[error("{0:?} is not allowed")]
    NotAllowed(String),
    /// No programs are listed.
    #[error("the section lists no executables")]
    NoExecutables,
    /// A session.
    #[error("a shell without a command is never allowed")]
    Interactive,
    /// The words cannot be told.
    #[error("cannot understand the command: {0}")]
    Words(String),
}

impl LshRefusal {
    /// The exit code (jk_lsh(8)).
    pub fn code(&self) -> u8 {
        match self {
            Self::NoSettings(_) => 1,
            Self::NoUser(_) => 2,
            Self::NoSection => 3,
            Self::NotAllowed(_) | Self::Words(_) => 4,
            Self::NoExecutables => 5,
            Self::Interactive => 7,
        }
    }
}

impl Lsh {
    /// Reads the section that counts.
    ///
    /// # Errors
    /// Without one, or when it is not understood.
    pub fn read(ini: &Ini, user: &str, group: Option<&str>) -> Result<Self, LshRefusal> {
        let section = section(ini, user, group).ok_or(LshRefusal::NoSection)?;
        let wrong = |error: IniError| LshRefusal::NoSettings(error.to_string());
        let known = [
            "executables",
            "paths",
            "allow_word_expansion",
            "umask",
            "environment",
        ];
        section.only(&known).map_err(wrong)?;
        if section.entry("executables").is_none() {
            return Err(LshRefusal::NoExecutables);
        }
        let umask = section.entry("umask").map(|entry| {
            let mask = u32::from_str_radix(&entry.value, 8)
                .ok()
                .filter(|mask| *mask <= 0o777);
            mask.ok_or_else(|| wrong(entry.wrong("an octal number to 777")))
        });
        let environment =
            section
                .list("environment")
                .into_iter()
                .map(|pair| match pair.split_once('=') {
                    Some((name, value)) if !name.trim().is_empty() => {
                        Ok((name.trim().to_owned(), value.trim().to_owned()))
                    }
                    _ => Err(LshRefusal::NoSettings(format!(
                        "{pair:?} is not NAME=VALUE"
                    ))),
                });
        Ok(Self {
            executables: section.list("executables"),
            paths: section.list("paths"),
            expand: section
                .entry("allow_word_expansion")
                .is_some_and(crate::jailkit::IniEntry::is_on),
            umask: umask.transpose()?,
            environment: environment.collect::<Result<_, _>>()?,
        })
    }

    /// The words of a command: split at blanks with no quoting, or expanded. `variable` is of the environment, `files`
    /// gives the files of a pattern.
    ///
    /// # Errors
    /// [`LshRefusal::Words`].
    pub fn words(
        &self,
        command: &str,
        variable: &dyn Fn(&str) -> Option<String>,
        files: &dyn Fn(&str) -> Vec<String>,
    ) -> Result<Vec<String>, LshRefusal> {
        if !self.expand {
            return Ok(command
                .split_ascii_whitespace()
                .map(str::to_owned)
                .collect());
        }
        expand(command, variable, files)
    }

    /// The program that a first word means, when it may be started.
    ///
    /// # Errors
    /// [`LshRefusal::NotAllowed`].
    pub fn program(
        &self,
        word: &str,
        is_there: &dyn Fn(&str) -> bool,
    ) -> Result<String, LshRefusal> {
        let refused = || LshRefusal::NotAllowed(word.to_owned());
        let whole = match word.starts_with('/') {
            true => Some(word.to_owned()),
            false if word.contains('/') => None,
            false => {
                let tried = self
                    .paths
                    .iter()
                    .map(|dir| format!("{}/{word}", dir.trim_end_matches('/')));
                tried.into_iter().find(|path| is_there(path))
            }
        };
        let listed = whole.filter(|whole| self.executables.contains(whole));
        listed.ok_or_else(refused)
    }
}

/// What wordexp(3) does with WRDE_NOCMD: quotes, `~`, variables, patterns; what starts a command or another one is
/// refused.
fn expand(
    command: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    files: &dyn Fn(&str) -> Vec<String>,
) -> Result<Vec<String>, LshRefusal> {
    let refuse = |why: &str| LshRefusal::Words(why.to_owned());
    let mut words = Vec::new();
    let mut word: Option<(String, bool)> = None;
    let mut quote = None;
    let mut letters = command.chars().peekable();
    let mut end = |word: Option<(String, bool)>| {
        let Some((text, pattern)) = word else { return };
        let mut found = if pattern { files(&text) } else { Vec::new() };
        match found.is_empty() {
            true => words.push(text),
            false => words.append(&mut found),
        }
    };
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), other) => word.get_or_insert_default().0.push(other),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(letter);
            }
            (_, '`') => return Err(refuse("it would start a command")),
            (_, '$') => {
                if letters.peek() == Some(&'(') {
                    return Err(refuse("it would start a command"));
                }
                let braces = letters.next_if_eq(&'{').is_some();
                let mut name = String::new();
                while let Some(c) = letters.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                }
                if braces && letters.next_if_eq(&'}').is_none() {
                    return Err(refuse("${ without its end"));
                }
                let value = variable(&name).unwrap_or_default();
                word.get_or_insert_default().0.push_str(&value);
            }
            (_, '\\') => {
                let next = letters
                    .next()
                    .ok_or_else(|| refuse("it ends in a backslash"))?;
                word.get_or_insert_default().0.push(next);
            }
            (Some(_), other) => word.get_or_insert_default().0.push(other),
            (None, ' ' | '\t') => end(word.take()),
            (None, ';' | '&' | '|' | '<' | '>' | '(' | ')' | '{' | '}' | '\n') => {
                return Err(refuse("a letter that only a shell understands"));
            }
            (None, '~') if word.is_none() && matches!(letters.peek(), None | Some('/' | ' ')) => {
                let home = variable("HOME").unwrap_or_default();
                word.get_or_insert_default().0.push_str(&home);
            }
            (None, other) => {
                let word = word.get_or_insert_default();
                word.1 |= matches!(other, '*' | '?');
                word.0.push(other);
            }
        }
    }
    if quote.is_some() {
        return Err(refuse("a quote has no end"));
    }
    end(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROOTSH: &[u8] = b"[ana]\nenv = DISPLAY, TERM\nrelax_home_group_permissions = 1\n[group users]\ninjail_shell=/bin/sh\nskip_injail_passwd_check=1\n[DEFAULT]\nrelax_home_owner=0\n";

    #[test]
    fn one_section_counts_and_no_other() {
        let ini = Ini::read(CHROOTSH).unwrap();
        let of = |user, group| relax(&ini, user, group).unwrap();
        let ana = of("ana", Some("users"));
        assert_eq!(ana.env, ["DISPLAY", "TERM"]);
        assert!(ana.group_permissions && !ana.owner && ana.shell.is_none());
        let bob = of("bob", Some("users"));
        assert!(bob.skip_passwd && bob.shell.as_deref() == Some("/bin/sh"));
        assert_eq!(of("bob", None), Relax::default());
        for bad in [
            "[ana]\nrelax_hom_owner=1\n",
            "[ana]\nskip_injail_passwd_check=1\n",
        ] {
            let ini = Ini::read(bad.as_bytes()).unwrap();
            let error = relax(&ini, "ana", None).unwrap_err().to_string();
            assert!(error.starts_with("line 2, column"), "{error}");
        }
    }

    #[test]
    fn lsh_starts_what_is_listed_and_nothing_else() {
        let text = b"[ana]\nexecutables = /usr/bin/scp, /usr/lib/sftp-server\npaths = /usr/bin, /usr/lib\numask = 027\nenvironment = A=1, B=x y\n[bob]\npaths=/usr/bin\n[eva]\nexecutables=/bin/ls\nallow_word_expansion=1\n";
        let ini = Ini::read(text).unwrap();
        let ana = Lsh::read(&ini, "ana", None).unwrap();
        assert_eq!((ana.umask, ana.environment.len()), (Some(0o27), 2));
        let program = |word: &str| {
            ana.program(word, &|path| {
                path == "/usr/bin/scp" || path == "/usr/bin/id"
            })
        };
        assert_eq!(program("scp").unwrap(), "/usr/bin/scp");
        assert_eq!(
            program("/usr/lib/sftp-server").unwrap(),
            "/usr/lib/sftp-server"
        );
        for bad in [
            "id",
            "./scp",
            "/usr/bin/../bin/scp",
            "/usr/bin/id",
            "sftp-server",
            "",
        ] {
            assert_eq!(program(bad).unwrap_err().code(), 4, "{bad}");
        }
        assert_eq!(Lsh::read(&ini, "bob", None), Err(LshRefusal::NoExecutables));
        assert_eq!(
            Lsh::read(&ini, "luis", Some("ana")),
            Err(LshRefusal::NoSection)
        );
        let none = |_: &str| None;
        let no_files = |_: &str| Vec::new();
        assert_eq!(
            ana.words("scp -t 'a b'; id", &none, &no_files).unwrap(),
            ["scp", "-t", "'a", "b';", "id"]
        );
        let eva = Lsh::read(&ini, "eva", None).unwrap();
        let variable = |name: &str| (name == "HOME").then(|| "/home/eva".to_owned());
        let files = |pattern: &str| match pattern {
            "*.txt" => vec!["a.txt".to_owned(), "b.txt".to_owned()],
            _ => Vec::new(),
        };
        let words = eva
            .words("ls ~/x \"$HOME\" '$HOME' *.txt no*", &variable, &files)
            .unwrap();
        assert_eq!(
            words,
            [
                "ls",
                "/home/eva/x",
                "/home/eva",
                "$HOME",
                "a.txt",
                "b.txt",
                "no*"
            ]
        );
        for bad in [
            "ls; id",
            "ls $(id)",
            "ls `id`",
            "ls \"$(id)\"",
            "ls | id",
            "ls 'x",
            "ls >x",
        ] {
            assert_eq!(
                eva.words(bad, &variable, &files).unwrap_err().code(),
                4,
                "{bad}"
            );
        }
    }
}
