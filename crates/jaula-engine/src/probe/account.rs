//! passwd(5) and group(5) of a tree that may have been written by an enemy.

use jaula_plan::facts::host::Account;
use std::path::PathBuf;

/// The most that is read of either file.
pub(crate) const LIMIT: usize = 1 << 20;

/// The most supplementary groups that are taken (getgroups(2), NGROUPS_MAX).
const GROUPS: usize = 65536;

/// Which account is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// By name; a number when no account is called so.
    Name(String),
    /// By number.
    Id(u32),
}

/// The account in the text of passwd(5); the groups it is in, from group(5), which is read only when needed. The
/// first line that fits counts, as with getpwnam(3). A user given as a number that has no line is an account
/// without a name of its own.
pub(crate) fn find(
    passwd: &[u8],
    wanted: &Wanted,
    group: impl FnOnce() -> Vec<u8>,
) -> Option<Account> {
    let text = String::from_utf8_lossy(passwd);
    let number = match wanted {
        Wanted::Id(id) => Some(*id),
        // Digits only: no sign, no space, and nothing that wraps round to 0.
        Wanted::Name(name) if name.bytes().all(|b| b.is_ascii_digit()) => name.parse().ok(),
        Wanted::Name(_) => None,
    };
    let line = |fits: &dyn Fn(&str, u32) -> bool| {
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, _, uid, gid) = (
                fields.next()?,
                fields.next()?,
                fields.next()?,
                fields.next()?,
            );
            let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
            let (_, home, shell) = (fields.next()?, fields.next()?, fields.next().unwrap_or(""));
            if name.is_empty() || !fits(name, uid) {
                return None;
            }
            let (home, shell) = (PathBuf::from(home), PathBuf::from(shell));
            Some(Account {
                name: name.to_owned(),
                uid,
                gid,
                groups: Vec::new(),
                home,
                shell,
            })
        })
    };
    let found = match wanted {
        Wanted::Name(asked) => line(&|name, _| name == asked),
        Wanted::Id(_) => None,
    };
    let found = found.or_else(|| number.and_then(|id| line(&|_, uid| uid == id)));
    if let Some(mut account) = found {
        account.groups = groups(&String::from_utf8_lossy(&group()), &account.name);
        return Some(account);
    }
    let Wanted::Name(name) = wanted else {
        return None;
    };
    let id = number?;
    Some(Account {
        name: name.clone(),
        uid: id,
        gid: id,
        groups: Vec::new(),
        home: PathBuf::from("/"),
        shell: PathBuf::new(),
    })
}

fn groups(text: &str, user: &str) -> Vec<u32> {
    let member = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let (gid, members) = (fields.next()?.parse().ok()?, fields.next()?);
        members.split(',').any(|m| m == user).then_some(gid)
    };
    text.lines().filter_map(member).take(GROUPS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\nbad\nana:x:1000:1000::/home/ana:\nx:x:-1:0::/:/bin/sh\nbig:x:4294967296:0::/:\n1000:x:7:7::/seven:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:\nsudo:x:27:bob,ana\nvideo:x:44:ana\nbroken:x:a:ana\n";

    fn found(wanted: Wanted) -> Option<Account> {
        find(PASSWD, &wanted, || GROUP.to_vec())
    }

    #[test]
    fn by_name_and_by_number() {
        let ana = found(Wanted::Name("ana".into())).unwrap();
        assert_eq!(
            (ana.uid, ana.gid, ana.groups.as_slice()),
            (1000, 1000, &[27, 44][..])
        );
        assert_eq!(found(Wanted::Id(0)).unwrap().name, "root");
        // A name made of digits is a name first (as chown(1) takes it).
        assert_eq!(found(Wanted::Name("1000".into())).unwrap().uid, 7);
        assert_eq!(found(Wanted::Name("33".into())).unwrap().uid, 33);
    }

    #[test]
    fn nothing_becomes_root_by_mistake() {
        for name in [
            "x",
            "big",
            "-1",
            "+0",
            " 0",
            "0x0",
            "4294967296",
            "",
            "bad",
            "nobody",
        ] {
            assert_eq!(found(Wanted::Name(name.into())), None, "{name:?}");
        }
    }
}
