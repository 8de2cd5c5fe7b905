//! What jk_uchroot(8) does: an ordinary user goes into a jail that root's file lists for him. The original is set-uid root
//! and uses chroot(2); here it is a jail of the user's own, in which he is nobody else.

use super::jailkit::section;
use super::login::{JailLook, PATH};
use super::passwd::PasswdLine;
use crate::explain::shown;
use crate::jailkit::Ini;
use crate::names::HostName;
use crate::spec::jail::{Changes, IdSpec, JailSpec, RootSpec, UserSpec};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UchrootSpec {
    /// The jail's directory.
    pub jail: PathBuf,
    /// The program, by its path in the jail.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// What decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UchrootFacts {
    /// The real user and group, as the kernel has them.
    pub ids: (u32, u32),
    /// The host's account with this number.
    pub account: Option<PasswdLine>,
    /// The name of his primary group.
    pub group: Option<String>,
    /// jk_uchroot.ini; or why it cannot be trusted.
    pub ini: Result<Option<Ini>, String>,
    /// The jail.
    pub look: JailLook,
    /// Whether the program is there.
    pub program: bool,
}

/// Why he does not go in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UchrootRefusal {
    /// No jail.
    #[error("a jail must be named with --jail")]
    NoJail,
    /// No program.
    #[error("a program must be named with --exec")]
    NoProgram,
    /// Root needs no permission.
    #[error("root does not need this; chroot does it")]
    Root,
    /// His account.
    #[error("user {0} has no account")]
    NoAccount(u32),
    /// The settings.
    #[error("{0}")]
    Settings(String),
    /// Nothing is said of him.
    #[error("no section of /etc/jailkit/jk_uchroot.ini is for {0}")]
    NoSection(String),
    /// Not this one.
    #[error("{} is not among the jails that {user} is allowed", shown(.jail))]
    NotAllowed {
        /// The user.
        user: String,
        /// The jail.
        jail: PathBuf,
    },
    /// Others could have changed it.
    #[error("{} is not a safe jail: {why}", shown(.jail))]
    Unsafe {
        /// The jail.
        jail: PathBuf,
        /// The first reason.
        why: String,
    },
    /// The jail does not know him.
    #[error("{user} is not defined in the jail {}, or as somebody else", shown(.jail))]
    NotDefined {
        /// The user.
        user: String,
        /// The jail.
        jail: PathBuf,
    },
    /// The program.
    #[error("the jail has no program {}", shown(.0))]
    Missing(PathBuf),
}

impl UchrootRefusal {
    /// The exit code of the original.
    pub fn code(&self) -> u8 {
        match self {
            Self::Root => 12,
            Self::NoAccount(_) => 13,
            Self::NotAllowed { .. } => 21,
            Self::NotDefined { .. } => 37,
            Self::Unsafe { .. } => 53,
            _ => 1,
        }
    }
}

/// Plain: without a slash at the end, and without `.`; `..` is refused by not being found.
fn plain(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| !matches!(part, Component::CurDir))
        .collect()
}

impl UchrootSpec {
    /// The program's path in the jail.
    pub fn inside(&self) -> PathBuf {
        Path::new("/").join(&self.program)
    }
}

/// The jail with what runs in it.
///
/// # Errors
/// The first reason against it.
pub fn plan_uchroot(spec: &UchrootSpec, facts: &UchrootFacts) -> Result<JailSpec, UchrootRefusal> {
    if facts.ids.0 == 0 {
        return Err(UchrootRefusal::Root);
    }
    if spec.jail.as_os_str().is_empty() {
        return Err(UchrootRefusal::NoJail);
    }
    if spec.program.as_os_str().is_empty() {
        return Err(UchrootRefusal::NoProgram);
    }
    let account = facts.account.as_ref();
    let account = account.ok_or(UchrootRefusal::NoAccount(facts.ids.0))?;
    let user = account.name.clone();
    let ini = facts.ini.as_ref();
    let ini = ini.map_err(|why| UchrootRefusal::Settings(why.clone()))?;
    let found = ini
        .as_ref()
        .and_then(|ini| section(ini, &user, facts.group.as_deref()));
    let section = found.ok_or_else(|| UchrootRefusal::NoSection(user.clone()))?;
    let known = section.only(&["allowed_jails", "skip_injail_passwd_check"]);
    known.map_err(|error| UchrootRefusal::Settings(error.to_string()))?;
    let jail = plain(&spec.jail);
    let allowed = section.list("allowed_jails");
    if !jail.is_absolute() || !allowed.iter().any(|known| plain(Path::new(known)) == jail) {
        return Err(UchrootRefusal::NotAllowed { user, jail });
    }
    if let Some(why) = facts.look.dangers.first().cloned() {
        return Err(UchrootRefusal::Unsafe { jail, why });
    }
    let skip = section
        .entry("skip_injail_passwd_check")
        .is_some_and(crate::jailkit::IniEntry::is_on);
    let same =
        facts.look.account.as_ref().is_some_and(|inside| {
            (inside.uid, inside.gid) == facts.ids && inside.name == account.name
        });
    if !skip && !same {
        return Err(UchrootRefusal::NotDefined { user, jail });
    }
    let program = spec.inside();
    if !facts.program {
        return Err(UchrootRefusal::Missing(program));
    }
    let changes = match facts.look.whole {
        true => Changes::Direct,
        false => Changes::Ephemeral,
    };
    let mut command = vec![program.into_os_string()];
    command.extend(spec.args.iter().cloned());
    let name = jail.file_name().and_then(OsStr::to_str);
    let hostname = name.and_then(|name| name.replace('_', "-").parse::<HostName>().ok());
    let mut jail = JailSpec::new(RootSpec::Tree { dir: jail, changes }, command);
    jail.ids = IdSpec::CallerAsSelf;
    jail.user = UserSpec::Ids {
        uid: facts.ids.0,
        gid: facts.ids.1,
        groups: Vec::new(),
    };
    jail.hostname = hostname;
    jail.env = [
        ("PATH", PATH),
        ("LANG", "C.UTF-8"),
        ("USER", &user),
        ("LOGNAME", &user),
        ("HOME", "/"),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value.into()))
    .collect();
    jail.cwd = Some("/".into());
    Ok(jail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::passwd;

    const LINE: &str = "ana:x:1002:1002::/home/ana:/bin/sh\n";

    fn facts(ini: &str) -> UchrootFacts {
        let account = passwd::accounts(LINE).next();
        UchrootFacts {
            ids: (1002, 1002),
            group: Some("staff".into()),
            ini: Ok(Some(Ini::read(ini.as_bytes()).unwrap())),
            look: JailLook {
                account: account.clone(),
                whole: true,
                ..JailLook::default()
            },
            account,
            program: true,
        }
    }

    fn code(jail: &str, facts: &UchrootFacts) -> u8 {
        let spec = UchrootSpec {
            jail: jail.into(),
            program: "/bin/id".into(),
            args: vec!["-u".into()],
        };
        plan_uchroot(&spec, facts).map_or_else(|refusal| refusal.code(), |_| 0)
    }

    #[test]
    fn who_is_listed_goes_where_he_is_listed_for_and_nowhere_else() {
        let listed = facts("[ana]\nallowed_jails = /srv/j, /srv/k/\n");
        for (jail, expected) in [
            ("/srv/j", 0),
            ("/srv/j/", 0),
            ("/srv//k", 0),
            ("/srv/j/../l", 21),
            ("/srv/l", 21),
            ("srv/j", 21),
            ("", 1),
        ] {
            assert_eq!(code(jail, &listed), expected, "{jail}");
        }
        assert_eq!(
            code("/srv/j", &facts("[group staff]\nallowed_jails = /srv/j\n")),
            0
        );
        assert_eq!(code("/srv/j", &facts("[bob]\nallowed_jails = /srv/j\n")), 1);
        assert_eq!(
            code(
                "/srv/j",
                &facts("[ana]\nallowed_jails = /srv/j\nmore = 1\n")
            ),
            1
        );
        let none = UchrootFacts {
            ini: Ok(None),
            ..facts("")
        };
        assert_eq!(code("/srv/j", &none), 1);
    }

    #[test]
    fn root_the_unknown_and_the_unsafe_have_their_codes() {
        let good = facts("[ana]\nallowed_jails = /srv/j\n");
        let root = UchrootFacts {
            ids: (0, 0),
            ..good.clone()
        };
        assert_eq!(code("/srv/j", &root), 12);
        let mut strange = good.clone();
        strange.look.account = None;
        assert_eq!(code("/srv/j", &strange), 37);
        strange.ini = facts("[ana]\nallowed_jails = /srv/j\nskip_injail_passwd_check = 1\n").ini;
        assert_eq!(code("/srv/j", &strange), 0);
        let mut open = good.clone();
        open.look.dangers.push("everybody can write".into());
        assert_eq!(code("/srv/j", &open), 53);
        let missing = UchrootFacts {
            program: false,
            ..good
        };
        assert_eq!(code("/srv/j", &missing), 1);
    }
}
