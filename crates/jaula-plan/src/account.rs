//! Users who live in jails: their accounts on the host and inside, what they may do, and how they are let in.
//!
//! The home of such a user is written `JAIL/./home/USER` in passwd(5): what is left of the last `/./` is the jail, what
//! is right of it the home inside (jk_chrootsh(8)).

pub mod allow;
pub mod entry;
pub mod hours;
pub mod jailkit;
pub mod lines;
pub mod login;
pub mod passwd;
pub mod plan;
pub mod policy;
pub mod sshd;
pub mod uchroot;

pub use login::{LoginFacts, LoginPlan, LoginRefusal, plan_login};
pub use plan::{AccountError, AccountPlan, AccountStep};
pub use policy::{Policy, Service};

use std::path::{Path, PathBuf};

/// The name under which jaula is a login shell.
pub const LOGIN: &str = "jaula-login";

/// The name under which it is one as jailkit's is.
pub const JK_LOGIN: &str = "jk_chrootsh";

/// Where that name is.
pub const LOGIN_SHELL: &str = "/usr/sbin/jaula-login";

/// Where what each user may do is written.
pub const POLICIES: &str = "/etc/jaula/users";

/// Where sshd looks for additions.
pub const SSHD_DIR: &str = "/etc/ssh/sshd_config.d";

/// The program that useradd(8) calls when it has added somebody.
pub const USERADD_HOOK: &str = "/etc/shadow-maint/useradd-post.d/jaula-useradd";

/// A home as passwd(5) has it, split at its last `/./`: the jail and the home inside. None where there is no mark, or
/// either part is not absolute and plain.
pub fn split_home(home: &str) -> Option<(PathBuf, PathBuf)> {
    let at = home.rfind("/./")?;
    let (jail, rest) = (home.get(..at)?, home.get(at.checked_add(2)?..)?);
    let plain = |path: &Path| {
        path.is_absolute()
            && path
                .components()
                .all(|part| !matches!(part, std::path::Component::ParentDir))
    };
    let (jail, inside): (PathBuf, PathBuf) = (
        Path::new(jail).components().collect(),
        Path::new(rest).components().collect(),
    );
    (plain(&jail) && plain(&inside) && jail != Path::new("/")).then_some((jail, inside))
}

/// The home of passwd(5) for a jail and a home inside.
pub fn joined_home(jail: &Path, inside: &Path) -> String {
    format!("{}/.{}", jail.display(), inside.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_split_at_its_last_mark() {
        let split = |home| {
            split_home(home).map(|(a, b)| (a.display().to_string(), b.display().to_string()))
        };
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(split("/srv/j/./home/ana"), pair("/srv/j", "/home/ana"));
        assert_eq!(split("/a/./b/./home/ana"), pair("/a/b", "/home/ana"));
        assert_eq!(split("/srv/j/./"), pair("/srv/j", "/"));
        for none in [
            "/home/ana",
            "",
            "/./home/ana",
            "x/./home",
            "/srv/../j/./home",
            "/srv/j/./../x",
        ] {
            assert_eq!(split(none), None, "{none:?}");
        }
        assert_eq!(
            joined_home(Path::new("/srv/j"), Path::new("/home/ana")),
            "/srv/j/./home/ana"
        );
    }
}
