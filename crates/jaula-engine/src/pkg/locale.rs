//! Locales of a jail that is there: the packages they take, and generating them inside.

use super::{PkgError, PkgOrigin, PkgPlan, PkgSpec, PkgTarget, PkgVerb};
use crate::engine::{Dry, Engine};
use crate::error::EngineError;
use crate::event::Observer;
use crate::image::Repositories;
use crate::plan::Preview;
use jaula_plan::explain::{ExplainLine, word};
use jaula_plan::spec::rootfs::Want;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fmt;

/// Adds each of its arguments to `/etc/locale.gen`, in the words of the C library's own list, generates them, and makes
/// the first the default one. 96: there is no such locale.
const DRIVER: &str = r#"
set -f
for locale in "$@"; do
    line=
    while read -r name charset; do
        if [ "$name" = "$locale" ]; then line="$name $charset"; fi
    done </usr/share/i18n/SUPPORTED || exit 95
    if [ -z "$line" ]; then
        printf 'there is no locale %s\n' "$locale"
        exit 96
    fi
    touch /etc/locale.gen
    grep -qxF -- "$line" /etc/locale.gen || printf '%s\n' "$line" >>/etc/locale.gen
done
locale-gen --keep-existing || exit "$?"
exec update-locale "LANG=$1"
"#;

/// Longest name of a locale.
const LONGEST: usize = 64;

/// What locales of a jail take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalePlan {
    /// The packages.
    pub packages: PkgPlan,
    /// The locales, the default one first.
    pub locales: Vec<String>,
}

impl fmt::Display for LocalePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.packages.fmt(f)?;
        writeln!(f, "  generate {}", self.locales.join(", "))?;
        match self.locales.first() {
            Some(first) => writeln!(f, "  make {first} the default"),
            None => Ok(()),
        }
    }
}

impl Preview for LocalePlan {
    fn to_json(&self) -> Value {
        json!({ "version": 1, "packages": self.packages.to_json(), "locales": self.locales })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        let mut lines = match self.packages.install.is_empty() {
            true => Vec::new(),
            false => self.packages.explain(),
        };
        let names: Vec<String> = self.locales.iter().map(word).collect();
        let into = match &self.packages.target {
            PkgTarget::Jail(name) => format!("jaula exec {name} --"),
            PkgTarget::Tree(path) => format!("chroot {}", word(path)),
        };
        lines.push(ExplainLine::new(
            format!("{into} locale-gen {}", names.join(" ")),
            "generate locales from what the C library knows",
        ));
        lines
    }
}

/// A name of a locale as the C library's list spells it; none when it can be none.
pub fn locale_name(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.@-".contains(c);
    let first = text.chars().next()?;
    if text.len() > LONGEST || !first.is_ascii_alphabetic() || !text.chars().all(fits) {
        return None;
    }
    let (name, modifier) = match text.split_once('@') {
        Some((name, modifier)) => (name, format!("@{modifier}")),
        None => (text, String::new()),
    };
    Some(match name.split_once('.') {
        Some((name, charset))
            if matches!(charset.to_ascii_lowercase().as_str(), "utf8" | "utf-8") =>
        {
            format!("{name}.UTF-8{modifier}")
        }
        _ => text.to_owned(),
    })
}

/// The language of a locale, by which language packs are called.
fn language(locale: &str) -> &str {
    locale.split(['_', '.', '@']).next().unwrap_or(locale)
}

impl Engine {
    /// What locales of a jail take: Debian's `locales`, and the language packs where the distribution has some.
    ///
    /// # Errors
    /// [`EngineError::Pkg`].
    pub fn plan_locale(
        &self,
        target: &PkgTarget,
        origin: &PkgOrigin,
        locales: &[String],
        observer: &dyn Observer,
        dry: Dry,
    ) -> Result<LocalePlan, EngineError> {
        let target = &self.changeable(target)?;
        let inventory = self.inventory(target)?;
        let spec = self.packages_of(target, origin, &inventory.arch)?;
        let mut names = vec!["locales".to_owned()];
        self.with_host(&spec.options.sources, |host| {
            let repositories = Repositories::read(&spec, self.store(), host, observer, dry)
                .map_err(PkgError::from)?;
            for locale in locales {
                let pack = format!("language-pack-{}", language(locale));
                if !repositories.named(&pack).is_empty() {
                    names.push(pack);
                }
            }
            Ok(())
        })?;
        names.dedup();
        // What is there already may stay as old as it is.
        names.retain(|name| inventory.set.find(name, &inventory.arch).is_none());
        let wants = names.iter().filter_map(|name| name.parse().ok());
        let packages = self.plan_pkg(
            &PkgSpec {
                target: target.clone(),
                verb: PkgVerb::Install(wants.map(Want::any).collect()),
                purge: false,
                autoremove: false,
                recommends: None,
                origin: origin.clone(),
            },
            observer,
            dry,
        )?;
        Ok(LocalePlan {
            packages,
            locales: locales.to_vec(),
        })
    }

    /// Generates locales in a jail, and makes the first the default one.
    ///
    /// # Errors
    /// [`EngineError::Pkg`].
    pub fn locale(&self, plan: &LocalePlan, observer: &dyn Observer) -> Result<(), EngineError> {
        self.pkg(&plan.packages, observer)?;
        let mut command: Vec<OsString> = ["/bin/sh", "-c", DRIVER, "jaula"]
            .iter()
            .map(Into::into)
            .collect();
        command.extend(plan.locales.iter().map(OsString::from));
        Ok(self.script(&plan.packages.target, command, Vec::new(), observer)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_the_list_has_them() {
        for (text, name) in [
            ("es_ES.UTF-8", Some("es_ES.UTF-8")),
            ("es_ES.utf8", Some("es_ES.UTF-8")),
            ("ca_ES.utf8@valencia", Some("ca_ES.UTF-8@valencia")),
            ("es_ES@euro", Some("es_ES@euro")),
            ("es", Some("es")),
            ("", None),
            ("-x", None),
            ("es ES", None),
            ("../x", None),
            ("es_ES.UTF-8\n", None),
        ] {
            assert_eq!(locale_name(text).as_deref(), name, "{text}");
        }
        assert_eq!(language("es_ES.UTF-8"), "es");
    }
}
