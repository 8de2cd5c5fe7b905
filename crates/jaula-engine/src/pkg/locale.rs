//! Locales of a jail that is there: the packages they take, and generating them inside.

use super::{PkgError, PkgOrigin, PkgPlan, PkgSpec, PkgTarget, PkgVerb};
use crate::engine::{Dry, Engine};
use crate::error::EngineError;
use crate::event::Observer;
use crate::image::{BuildError, Repositories};
use crate::plan::Preview;
use jaula_plan::explain::{ExplainLine, word};
use jaula_plan::settings::locale::locale_packages;
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
        let there = |name: &str| inventory.set.find(name, &inventory.arch).is_some();
        let mut names = self.with_host_as(&spec.options, origin.logins(), |host| {
            let repositories = Repositories::read(&spec, self.store(), host, observer, dry)
                .map_err(PkgError::from)?;
            let has = |name: &str| there(name) || !repositories.named(name).is_empty();
            let names = locale_packages(&has, locales).map_err(BuildError::from);
            Ok(names.map_err(PkgError::from)?)
        })?;
        // What is there already may stay as old as it is.
        names.retain(|name| !there(name));
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
