//! Programs that are there while scripts run, and only then.
//!
//! Some keep the scripts from doing what is for a running system. The others are shortcuts: they stand before a program of
//! the same name in `PATH` and answer the calls that this program would answer by doing nothing; every other call goes
//! to it, with the same arguments. In a new system that is most of them (two thirds of `deb-systemd-helper`'s calls
//! start Perl for nothing), and they take a quarter of the time that all scripts take.

use super::error::BuildError;
use super::layout::Tree;
use crate::configure::SHORTCUTS_DIR as DIR;
use jaula_plan::spec::rootfs::Guard;

/// Whether a service may be started (invoke-rc.d(8)).
const POLICY: &str = "usr/sbin/policy-rc.d";
/// No service is started, and scripts are told that they are not in a running system (ischroot(1) cannot see it from
/// inside: libc6 would tell init to start anew, and sleep). The tree's own stay.
const GUARDS: [(&str, &str); 2] = [
    (POLICY, "#!/bin/sh\nexit 101\n"),
    ("usr/sbin/ischroot", "#!/bin/sh\nexit 0\n"),
];

/// The program that a shortcut stands before, its name, and what it is.
const SHORTCUTS: [(&str, &str, &str); 2] = [
    (
        "usr/bin/deb-systemd-helper",
        "deb-systemd-helper",
        include_str!("guards/deb-systemd-helper.sh"),
    ),
    (
        "usr/bin/dpkg-maintscript-helper",
        "dpkg-maintscript-helper",
        include_str!("guards/dpkg-maintscript-helper.sh"),
    ),
];

/// dpkg's own program for starting daemons, which some scripts call without asking anybody: as with debootstrap(8), another
/// stands in its place and does nothing.
pub const STARTERS: [&str; 2] = ["usr/sbin/start-stop-daemon", "sbin/start-stop-daemon"];
/// What is added to its name meanwhile.
pub const ASIDE: &str = ".REAL";
pub const NO_STARTER: &str =
    "#!/bin/sh\necho\necho \"Warning: Fake start-stop-daemon called, doing nothing\"\n";

/// What was put into a tree.
#[derive(Debug, Default)]
pub struct Guards {
    placed: Vec<String>,
    without: Vec<Guard>,
}

impl Guards {
    /// All but those.
    pub fn without(guards: &[Guard]) -> Self {
        Self {
            placed: Vec::new(),
            without: guards.to_vec(),
        }
    }

    /// Puts those into the tree that it has a place for by now; shortcuts only where `scripts` of packages will run.
    ///
    /// # Errors
    /// The tree cannot be written to.
    pub fn place(&mut self, tree: &Tree<'_>, scripts: bool) -> Result<(), BuildError> {
        for (path, text) in GUARDS {
            if path == POLICY && self.without.contains(&Guard::Policy) {
                continue;
            }
            if tree.has_parent(path) && tree.write_new(path, 0o755, text.as_bytes())? {
                self.placed.push(path.to_owned());
            }
        }
        for starter in STARTERS {
            let aside = format!("{starter}{ASIDE}");
            let wanted = !self.without.contains(&Guard::Starter);
            if wanted && tree.is_file(starter) && !tree.is_file(&aside) {
                tree.rename(starter, &aside)?;
                tree.write(starter, 0o755, NO_STARTER.as_bytes())?;
            }
        }
        for (program, name, text) in SHORTCUTS {
            if scripts && tree.is_file(program) && tree.has_parent(DIR) {
                let path = format!("{DIR}/{name}");
                tree.make_dirs(DIR, 0o755)?;
                tree.write(&path, 0o755, text.as_bytes())?;
                self.placed.push(path);
            }
        }
        Ok(())
    }

    /// Takes them out again.
    ///
    /// # Errors
    /// The tree cannot be written to.
    pub fn remove(self, tree: &Tree<'_>) -> Result<(), BuildError> {
        for path in &self.placed {
            // A hook may have put something of its own there, which stays.
            let ours = GUARDS.iter().find(|(guard, _)| guard == path);
            if let Some((_, text)) = ours
                && tree.read(path)?.as_deref() != Some(text.as_bytes())
            {
                continue;
            }
            tree.remove(path)?;
        }
        for starter in STARTERS {
            let aside = format!("{starter}{ASIDE}");
            if !tree.is_file(&aside) {
                continue;
            }
            // Its package may have been unpacked once more; a hook may have removed what stood there.
            match tree.read(starter)? {
                Some(text) if text != NO_STARTER.as_bytes() => tree.remove(&aside)?,
                _ => tree.rename(&aside, starter)?,
            }
        }
        Ok(tree.remove_dir(DIR)?)
    }
}

#[cfg(test)]
mod tests;
