//! What is set in an image, as text: checked before anything is done, and the content of the files it comes to. No file
//! is read here.

pub mod accounts;
pub mod locale;
pub mod options;
pub mod preseed;

use crate::spec::settings::{Keyboard, Settings};

/// A setting that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// A value that breaks the rules of its kind.
    #[error("cannot use {value:?} for {what}: {why}")]
    Value {
        /// Of what.
        what: &'static str,
        /// As written.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Answers for debconf that it would not understand.
    #[error("answers for debconf, line {line}, column {column}: {why}")]
    Preseed {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong there.
        why: &'static str,
    },
    /// A password that is no hash. It is not shown.
    #[error("cannot set the password of {account}: it is no hash of crypt(5)")]
    PlainPassword {
        /// Whose.
        account: String,
    },
    /// An account that cannot be made among those that are there.
    #[error("cannot make account {account}: {why}")]
    Account {
        /// Its name.
        account: String,
        /// What stands against it.
        why: String,
    },
    /// Nothing of the archive brings it.
    #[error("{what} needs package {package}, which the archive does not have")]
    NoPackage {
        /// What was asked for.
        what: String,
        /// What would bring it.
        package: String,
    },
    /// The image has no such locale or time zone.
    #[error("the image has no {what} {value}")]
    Unknown {
        /// Which kind.
        what: &'static str,
        /// As asked.
        value: String,
    },
}

impl SettingError {
    /// What the user may do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Value {
                what: "a locale", ..
            } => "a locale is like es_ES.UTF-8",
            Self::Value {
                what: "the time zone",
                ..
            } => "a time zone is like Europe/Madrid",
            Self::Value { .. } => return None,
            Self::Preseed { .. } => {
                "a line is: PACKAGE QUESTION TYPE ANSWER, as debconf-set-selections(1) says"
            }
            Self::PlainPassword { .. } => "openssl passwd -6, or mkpasswd, makes the hash",
            Self::Account { .. } => "look at the accounts and groups that the packages bring",
            Self::NoPackage { .. } => "name an archive that has it, or leave the setting out",
            Self::Unknown {
                what: "time zone", ..
            } => "old names of zones are in package tzdata-legacy on newer releases",
            Self::Unknown { .. } => {
                "/usr/share/i18n/SUPPORTED in an image with package locales lists them"
            }
        })
    }
}

fn bad(what: &'static str, value: &str, why: &'static str) -> SettingError {
    SettingError::Value {
        what,
        value: value.to_owned(),
        why,
    }
}

/// Checks everything that can be checked without a tree.
///
/// # Errors
/// [`SettingError`] of the first that is wrong.
pub fn check(settings: &Settings) -> Result<(), SettingError> {
    for account in &settings.users {
        accounts::check(account)?;
    }
    if let Some(hash) = &settings.root_password {
        accounts::check_hash("root", hash)?;
    }
    for name in &settings.locales {
        locale::Locale::parse(name)?;
    }
    if let Some(zone) = &settings.timezone {
        check_zone(zone)?;
    }
    if let Some(keyboard) = &settings.keyboard {
        check_keyboard(keyboard)?;
    }
    for text in &settings.preseed {
        preseed::check(text)?;
    }
    for text in &settings.apt_options {
        options::check_apt(text)?;
    }
    for text in &settings.dpkg_options {
        options::check_dpkg(text)?;
    }
    let texts = [
        ("resolv.conf", &settings.resolv_conf),
        ("sources.list", &settings.sources_list),
    ];
    for (what, text) in texts {
        if let Some(text) = text
            && text.contains('\0')
        {
            return Err(bad(what, "\0", "it is no text"));
        }
    }
    Ok(())
}

/// A name below `/usr/share/zoneinfo`.
fn check_zone(zone: &str) -> Result<(), SettingError> {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b))
    };
    if zone.len() <= 64 && zone.split('/').all(part) {
        return Ok(());
    }
    Err(bad("the time zone", zone, "it is no name of a zone"))
}

fn check_keyboard(keyboard: &Keyboard) -> Result<(), SettingError> {
    let word = |text: &str, more: &[u8]| {
        !text.is_empty()
            && text.len() <= 256
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b) || more.contains(&b))
    };
    let optional =
        |text: &Option<String>, more: &[u8]| text.as_deref().is_none_or(|text| word(text, more));
    let whole = word(&keyboard.layout, b",()")
        && optional(&keyboard.variant, b",")
        && optional(&keyboard.model, b"")
        && keyboard.options.iter().all(|option| word(option, b":"));
    if whole {
        return Ok(());
    }
    Err(bad(
        "the keyboard",
        &keyboard.layout,
        "keyboard(5) has words of letters, digits and dashes",
    ))
}

/// `/etc/default/keyboard` (keyboard(5)).
pub fn keyboard_file(keyboard: &Keyboard) -> String {
    let text = |text: &Option<String>, default: &str| text.clone().unwrap_or(default.to_owned());
    format!(
        "# KEYBOARD CONFIGURATION FILE\n\nXKBMODEL=\"{}\"\nXKBLAYOUT=\"{}\"\nXKBVARIANT=\"{}\"\nXKBOPTIONS=\"{}\"\n\n\
         BACKSPACE=\"guess\"\n",
        text(&keyboard.model, "pc105"),
        keyboard.layout,
        text(&keyboard.variant, ""),
        keyboard.options.join(",")
    )
}

/// What package keyboard-configuration would ask, answered.
pub fn keyboard_answers(keyboard: &Keyboard) -> String {
    let text = |text: &Option<String>, default: &str| text.clone().unwrap_or(default.to_owned());
    let answers = [
        ("modelcode", text(&keyboard.model, "pc105")),
        ("layoutcode", keyboard.layout.clone()),
        ("variantcode", text(&keyboard.variant, "")),
        ("optionscode", keyboard.options.join(",")),
    ];
    answers
        .iter()
        .map(|(question, answer)| {
            format!("keyboard-configuration keyboard-configuration/{question} string {answer}\n")
        })
        .collect()
}

/// `/etc/hosts` (hosts(5)) with the host's own name, as Debian's installer writes it: the line of 127.0.1.1 is made
/// or replaced, the rest stays.
pub fn hosts_file(before: Option<&str>, name: &str) -> String {
    const NEW: &str = "127.0.0.1\tlocalhost\n\n::1\t\tlocalhost ip6-localhost ip6-loopback\n\
                       ff02::1\t\tip6-allnodes\nff02::2\t\tip6-allrouters\n";
    let own = format!("127.0.1.1\t{name}\n");
    let before = before.filter(|text| !text.trim().is_empty()).unwrap_or(NEW);
    let mut text = String::new();
    let mut written = false;
    for line in before.lines() {
        let first = line.split_whitespace().next();
        if first == Some("127.0.1.1") {
            continue;
        }
        text.push_str(line);
        text.push('\n');
        if first == Some("127.0.0.1") && !written {
            text.push_str(&own);
            written = true;
        }
    }
    if !written {
        text = own + &text;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Settings)) -> Result<(), SettingError> {
        let mut settings = Settings::default();
        change(&mut settings);
        check(&settings)
    }

    #[test]
    fn nothing_asked_is_nothing_wrong() {
        assert_eq!(check(&Settings::default()), Ok(()));
    }

    #[test]
    fn zones_are_names() {
        for good in [
            "UTC",
            "Europe/Madrid",
            "America/Argentina/Buenos_Aires",
            "Etc/GMT+3",
        ] {
            assert_eq!(with(|s| s.timezone = Some(good.into())), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../../etc",
            "Europe/",
            "a b",
            "-x",
            "a/../b",
            "x\ny",
        ] {
            assert!(with(|s| s.timezone = Some(bad.into())).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_keyboard_is_words() {
        let keyboard = Keyboard {
            layout: "es,us".into(),
            variant: Some("nodeadkeys,".into()),
            model: None,
            options: vec!["compose:rctrl".into()],
        };
        assert_eq!(with(|s| s.keyboard = Some(keyboard.clone())), Ok(()));
        let file = keyboard_file(&keyboard);
        assert!(file.contains(
            "XKBLAYOUT=\"es,us\"\nXKBVARIANT=\"nodeadkeys,\"\nXKBOPTIONS=\"compose:rctrl\"\n"
        ));
        assert!(keyboard_answers(&keyboard).contains("/layoutcode string es,us\n"));
        preseed::check(&keyboard_answers(&keyboard)).unwrap();
        let evil = Keyboard {
            layout: "es\"; reboot; \"".into(),
            ..keyboard
        };
        assert!(with(|s| s.keyboard = Some(evil)).is_err());
    }

    #[test]
    fn the_own_name_is_among_the_hosts_once() {
        let new = hosts_file(None, "uno");
        assert!(
            new.starts_with("127.0.0.1\tlocalhost\n127.0.1.1\tuno\n"),
            "{new}"
        );
        let twice = hosts_file(Some(&new), "dos");
        assert_eq!(twice, new.replace("uno", "dos"));
        assert_eq!(hosts_file(Some("::1 x\n"), "a"), "127.0.1.1\ta\n::1 x\n");
    }

    #[test]
    fn texts_with_a_nul_are_refused() {
        assert!(with(|s| s.resolv_conf = Some("a\0".into())).is_err());
    }
}
