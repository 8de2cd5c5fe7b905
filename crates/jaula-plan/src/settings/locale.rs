//! Locales: their names, the packages that bring them, and Debian's list of those to be generated.

use super::{SettingError, bad};
use std::fmt;

/// A locale's name in its parts (setlocale(3)): `es_ES.UTF-8`, `ca_ES@valencia`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locale {
    language: String,
    territory: Option<String>,
    codeset: Option<String>,
    modifier: Option<String>,
}

impl Locale {
    /// Reads a name. `utf8` in any spelling becomes `UTF-8`, as glibc's list has it.
    ///
    /// # Errors
    /// [`SettingError::Value`]
    pub fn parse(name: &str) -> Result<Self, SettingError> {
        let wrong = || bad("a locale", name, "it is no name of a locale");
        let (rest, modifier) = match name.split_once('@') {
            Some((rest, modifier)) => (rest, Some(modifier)),
            None => (name, None),
        };
        let (rest, codeset) = match rest.split_once('.') {
            Some((rest, codeset)) => (rest, Some(codeset)),
            None => (rest, None),
        };
        let (language, territory) = match rest.split_once('_') {
            Some((language, territory)) => (language, Some(territory)),
            None => (rest, None),
        };
        let of = |text: &str, allowed: fn(&u8) -> bool, most: usize| {
            !text.is_empty() && text.len() <= most && text.as_bytes().iter().all(allowed)
        };
        let plain = ["C", "POSIX"].contains(&language) && territory.is_none();
        let sound = (plain || of(language, u8::is_ascii_lowercase, 3) && language.len() > 1)
            && territory.is_none_or(|t| of(t, |b| b.is_ascii_uppercase() || b.is_ascii_digit(), 3))
            && codeset.is_none_or(|c| of(c, |b| b.is_ascii_alphanumeric() || *b == b'-', 20))
            && modifier.is_none_or(|m| of(m, u8::is_ascii_alphanumeric, 20));
        if !sound {
            return Err(wrong());
        }
        let utf8 = |codeset: &str| codeset.replace('-', "").eq_ignore_ascii_case("utf8");
        Ok(Self {
            language: language.to_owned(),
            territory: territory.map(str::to_owned),
            codeset: codeset.map(|c| if utf8(c) { "UTF-8" } else { c }.to_owned()),
            modifier: modifier.map(str::to_owned),
        })
    }

    /// Whether every system has it.
    pub fn is_built_in(&self) -> bool {
        ["C", "POSIX"].contains(&self.language.as_str())
    }

    /// Its language, `es`.
    pub fn language(&self) -> &str {
        &self.language
    }

    /// The ending of Ubuntu's language packs: Chinese has one by script.
    fn pack(&self) -> String {
        let traditional = ["TW", "HK", "MO"];
        match (self.language.as_str(), self.territory.as_deref()) {
            ("zh", Some(territory)) if traditional.contains(&territory) => "zh-hant".into(),
            ("zh", _) => "zh-hans".into(),
            (language, _) => language.to_owned(),
        }
    }
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.language)?;
        for (sign, part) in [
            ('_', &self.territory),
            ('.', &self.codeset),
            ('@', &self.modifier),
        ] {
            if let Some(part) = part {
                write!(f, "{sign}{part}")?;
            }
        }
        Ok(())
    }
}

/// The packages that an archive brings these locales by, in order: Ubuntu's `language-pack-XX` where it has them, and
/// `locales`, which has what they are generated from. `has` tells whether the archive has a package.
///
/// # Errors
/// [`SettingError::Value`] for what is no locale, [`SettingError::NoPackage`] when there is neither.
pub fn locale_packages(
    has: &dyn Fn(&str) -> bool,
    locales: &[String],
) -> Result<Vec<String>, SettingError> {
    let mut found: Vec<String> = Vec::new();
    for name in locales {
        let locale = Locale::parse(name)?;
        if locale.is_built_in() {
            continue;
        }
        if !has("locales") {
            return Err(SettingError::NoPackage {
                what: format!("locale {name}"),
                package: "locales".into(),
            });
        }
        let pack = format!("language-pack-{}", locale.pack());
        for package in ["locales".to_owned(), pack] {
            if has(&package) && !found.contains(&package) {
                found.push(package);
            }
        }
    }
    Ok(found)
}

/// The line of `/etc/locale.gen` (locale-gen(8)) for a locale: its name and its character set, as glibc's list of
/// locales (`/usr/share/i18n/SUPPORTED`) has them.
///
/// # Errors
/// [`SettingError::Unknown`]
pub fn gen_line(locale: &Locale, supported: &str) -> Result<String, SettingError> {
    let name = locale.to_string();
    let mut lines = supported
        .lines()
        .map(|line| line.trim_end_matches('\\').trim());
    // The list writes some as `es_ES.UTF-8 UTF-8`, older ones as `es_ES.UTF-8/UTF-8`.
    let found = lines.find_map(|line| {
        let (known, charset) = line.split_once([' ', '/'])?;
        (known == name).then(|| charset.trim().to_owned())
    });
    let charset = found.filter(|charset| {
        !charset.is_empty()
            && charset
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    });
    match charset {
        Some(charset) => Ok(format!("{name} {charset}")),
        None => Err(SettingError::Unknown {
            what: "locale",
            value: name,
        }),
    }
}

/// `/etc/locale.gen` with these lines; of what was there, comments stay.
pub fn gen_file(before: &str, lines: &[String]) -> String {
    let mut text: String = before
        .lines()
        .filter(|line| {
            let said = line.trim();
            (said.is_empty() || said.starts_with('#'))
                && !lines
                    .iter()
                    .any(|line| said.trim_start_matches('#').trim() == line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (typed, written) in [
            ("es_ES.UTF-8", "es_ES.UTF-8"),
            ("es_ES.utf8", "es_ES.UTF-8"),
            ("ca_ES.UTF-8@valencia", "ca_ES.UTF-8@valencia"),
            ("es_ES@euro", "es_ES@euro"),
            ("C.UTF-8", "C.UTF-8"),
            ("es_419", "es_419"),
            ("eo", "eo"),
        ] {
            assert_eq!(Locale::parse(typed).unwrap().to_string(), written);
        }
        for bad in [
            "",
            "e",
            "ES_es",
            "es_ES/x",
            "es_ES.UTF-8 ",
            "../x",
            "es_",
            "es_ES.",
            "es;ls",
        ] {
            assert!(Locale::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn packages_are_what_the_archive_has() {
        let asked = ["es_ES.UTF-8".to_owned(), "zh_TW.UTF-8".to_owned()];
        let debian = |name: &str| name == "locales";
        let ubuntu = |name: &str| name == "locales" || name.starts_with("language-pack-");
        assert_eq!(locale_packages(&debian, &asked).unwrap(), ["locales"]);
        assert_eq!(
            locale_packages(&ubuntu, &asked).unwrap(),
            ["locales", "language-pack-es", "language-pack-zh-hant"]
        );
        assert!(locale_packages(&|_| false, &asked).is_err());
        assert!(
            locale_packages(&|_| false, &["C.UTF-8".into()])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn lines_of_locale_gen() {
        let supported = "en_US.UTF-8 UTF-8\nes_ES.UTF-8 UTF-8\nes_ES ISO-8859-1\nes_ES@euro ISO-8859-15\nx_X a;b\n";
        let line = |name: &str| gen_line(&Locale::parse(name).unwrap(), supported);
        assert_eq!(line("es_ES.utf8").unwrap(), "es_ES.UTF-8 UTF-8");
        assert_eq!(line("es_ES@euro").unwrap(), "es_ES@euro ISO-8859-15");
        assert!(line("de_DE.UTF-8").is_err());
        let lines = ["es_ES.UTF-8 UTF-8".to_owned()];
        let before = "# All\n# es_ES.UTF-8 UTF-8\nold_OLD UTF-8\n# fr_FR.UTF-8 UTF-8\n";
        let file = gen_file(before, &lines);
        assert_eq!(file, "# All\n# fr_FR.UTF-8 UTF-8\nes_ES.UTF-8 UTF-8\n");
        assert_eq!(gen_file(&file, &lines), file);
    }
}
