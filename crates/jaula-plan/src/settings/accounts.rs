//! Accounts in passwd(5), shadow(5), group(5) and gshadow(5), edited as useradd(8) does it.

use super::{SettingError, bad};
use crate::spec::settings::Account;
use std::collections::BTreeSet;

/// The texts of the files. Those that a tree does not have are absent and are not made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// `/etc/passwd`
    pub passwd: String,
    /// `/etc/shadow`
    pub shadow: Option<String>,
    /// `/etc/group`
    pub group: String,
    /// `/etc/gshadow`
    pub gshadow: Option<String>,
    /// `/etc/subuid`
    pub subuid: Option<String>,
    /// `/etc/subgid`
    pub subgid: Option<String>,
}

/// What login.defs(5) and `/etc/default/useradd` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    uid: (u32, u32),
    gid: (u32, u32),
    sub: (u32, u32, u32),
    home_mode: u32,
    ages: [i64; 3],
    shell: String,
}

impl Default for Defaults {
    /// What shadow has built in, as Debian ships it.
    fn default() -> Self {
        Self {
            uid: (1000, 60_000),
            gid: (1000, 60_000),
            sub: (100_000, 600_100_000, 65_536),
            home_mode: 0o755,
            ages: [0, 99_999, 7],
            shell: "/bin/sh".into(),
        }
    }
}

impl Defaults {
    /// From the texts of both files. What makes no sense there does not count.
    pub fn read(login_defs: &str, useradd: &str) -> Self {
        let mut defaults = Self::default();
        let mut mask = None;
        let mut mode = None;
        for line in login_defs.lines() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(value)) = (words.next(), words.next()) else {
                continue;
            };
            let octal = || {
                u32::from_str_radix(value, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o777)
            };
            let number = value
                .parse::<u32>()
                .ok()
                .filter(|n| *n > 0 && *n < u32::MAX);
            let set = |place: &mut u32| {
                if let Some(number) = number {
                    *place = number;
                }
            };
            match name {
                "UID_MIN" => set(&mut defaults.uid.0),
                "UID_MAX" => set(&mut defaults.uid.1),
                "GID_MIN" => set(&mut defaults.gid.0),
                "GID_MAX" => set(&mut defaults.gid.1),
                "SUB_UID_MIN" => set(&mut defaults.sub.0),
                "SUB_UID_MAX" => set(&mut defaults.sub.1),
                "SUB_UID_COUNT" => set(&mut defaults.sub.2),
                "UMASK" => mask = octal(),
                "HOME_MODE" => mode = octal(),
                "PASS_MIN_DAYS" | "PASS_MAX_DAYS" | "PASS_WARN_AGE" => {
                    let at = match name {
                        "PASS_MIN_DAYS" => 0,
                        "PASS_MAX_DAYS" => 1,
                        _ => 2,
                    };
                    if let (Some(age), Ok(days)) = (defaults.ages.get_mut(at), value.parse()) {
                        *age = days;
                    }
                }
                _ => {}
            }
        }
        defaults.home_mode = mode.unwrap_or(0o777 & !mask.unwrap_or(0o022));
        let shell = useradd
            .lines()
            .find_map(|line| line.strip_prefix("SHELL="))
            .filter(|shell| is_path(shell));
        if let Some(shell) = shell {
            shell.clone_into(&mut defaults.shell);
        }
        defaults
    }
}

/// An account that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub uid: u32,
    /// That of its own group.
    pub gid: u32,
    /// Its home, absolute.
    pub home: String,
    /// The mode of the home.
    pub home_mode: u32,
}

/// A path that may stand in a field of passwd(5) and leads nowhere else.
fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 255
        && !path
            .chars()
            .any(|c| c.is_control() || c == ':' || c.is_whitespace())
        && !path.split('/').any(|part| part == "..")
}

/// The names that useradd(8) of Debian takes when it is asked to be strict.
fn is_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

/// Checks that a text is a hash of crypt(5) (`$y$…`, `$6$…`) or locks the account (`!`, `*`, `!` before a hash): a
/// password that somebody would write is refused.
///
/// # Errors
/// [`SettingError::PlainPassword`]
pub fn check_hash(account: &str, hash: &str) -> Result<(), SettingError> {
    let open = hash.strip_prefix('!').unwrap_or(hash);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"./$=+-_,".contains(&b);
    let parts: Vec<&str> = open.split('$').collect();
    let sound = match parts.as_slice() {
        // `$id$salt$hash`, with parameters between in some methods.
        ["", id, .., last] => {
            parts.len() >= 4
                && id.len() <= 12
                && !id.is_empty()
                && last.len() >= 13
                && open.len() <= 512
                && open.bytes().all(allowed)
        }
        // bcrypt has no sign between salt and hash: `$2b$12$…`.
        _ => false,
    } || open.starts_with("$2")
        && parts.len() == 4
        && open.len() == 60
        && open.bytes().all(allowed);
    if sound || hash == "*" || hash == "!" {
        return Ok(());
    }
    Err(SettingError::PlainPassword {
        account: account.to_owned(),
    })
}

/// Checks what can be checked of an account without the files.
///
/// # Errors
/// [`SettingError`]
pub fn check(account: &Account) -> Result<(), SettingError> {
    if !is_name(&account.name) {
        return Err(bad(
            "the name of an account",
            &account.name,
            "at most 32 small letters, digits, dashes and underscores, a letter first",
        ));
    }
    if let Some(group) = account.groups.iter().find(|group| !is_group(group)) {
        return Err(bad("the name of a group", group, "it is no name"));
    }
    if account.comment.len() > 255 || account.comment.chars().any(|c| c.is_control() || c == ':') {
        return Err(bad(
            "the comment of an account",
            &account.comment,
            "it has a colon or a control character, or is too long",
        ));
    }
    for (what, path) in [
        ("a login shell", &account.shell),
        ("a home directory", &account.home),
    ] {
        if let Some(path) = path.as_ref().filter(|path| !is_path(path)) {
            return Err(bad(
                what,
                path,
                "it is no absolute path without blanks and colons",
            ));
        }
    }
    if account.uid == Some(u32::MAX) {
        return Err(bad("a user's number", "4294967295", "the kernel keeps it"));
    }
    account
        .password
        .as_deref()
        .map_or(Ok(()), |hash| check_hash(&account.name, hash))
}

/// Groups of packages have names that useradd would not make: capital letters, dots.
fn is_group(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

fn fields(line: &str) -> impl Iterator<Item = &str> {
    line.split(':')
}

/// The numbers in the third field.
fn numbers(text: &str) -> BTreeSet<u32> {
    text.lines()
        .filter_map(|line| fields(line).nth(2)?.parse().ok())
        .collect()
}

fn has(text: &str, name: &str) -> bool {
    text.lines().any(|line| fields(line).next() == Some(name))
}

/// The number after the highest that is taken, else the lowest free one.
fn free(taken: &BTreeSet<u32>, (low, high): (u32, u32)) -> Option<u32> {
    if low > high {
        return None;
    }
    let next = taken
        .range(low..=high)
        .next_back()
        .map_or(Some(low), |last| last.checked_add(1))?;
    if next <= high {
        return Some(next);
    }
    (low..=high).find(|number| !taken.contains(number))
}

fn push(text: &mut String, line: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
}

/// The text with a name added to the members (the fourth field) of a group.
fn with_member(text: &str, group: &str, name: &str) -> String {
    text.lines()
        .map(|line| {
            let mut parts: Vec<&str> = fields(line).collect();
            if parts.first() != Some(&group) || parts.len() < 4 {
                return format!("{line}\n");
            }
            let members = match parts.get(3).copied().unwrap_or_default() {
                "" => name.to_owned(),
                members if members.split(',').any(|member| member == name) => members.to_owned(),
                members => format!("{members},{name}"),
            };
            if let Some(place) = parts.get_mut(3) {
                *place = &members;
            }
            format!("{}\n", parts.join(":"))
        })
        .collect()
}

/// The first free range of subordinate identifiers (subuid(5)).
fn free_range(text: &str, (low, high, count): (u32, u32, u32)) -> Option<u32> {
    let mut ranges: Vec<(u32, u32)> = text
        .lines()
        .filter_map(|line| {
            let mut parts = fields(line).skip(1);
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        })
        .collect();
    ranges.sort_unstable();
    let mut start = low;
    for (first, many) in ranges {
        if first.checked_sub(start).is_some_and(|room| room >= count) {
            break;
        }
        start = start.max(first.saturating_add(many));
    }
    start
        .checked_add(count - 1)
        .filter(|last| count > 0 && *last <= high)
        .map(|_| start)
}

/// Adds an account with a group of its own. `days` is the day of its password, counted from 1970.
///
/// # Errors
/// [`SettingError`]: a name or number that is taken, a group that is not there, no number left.
pub fn add(
    files: &mut Files,
    account: &Account,
    defaults: &Defaults,
    days: u64,
) -> Result<Made, SettingError> {
    check(account)?;
    let name = &account.name;
    let failed = |why: String| SettingError::Account {
        account: name.clone(),
        why,
    };
    if has(&files.passwd, name) {
        return Err(failed("there is one of that name".into()));
    }
    if has(&files.group, name) {
        return Err(failed("there is a group of that name".into()));
    }
    if let Some(missing) = account
        .groups
        .iter()
        .find(|group| !has(&files.group, group))
    {
        return Err(failed(format!("there is no group {missing}")));
    }
    let (uids, gids) = (numbers(&files.passwd), numbers(&files.group));
    let uid = match account.uid {
        Some(uid) if uids.contains(&uid) => {
            return Err(failed(format!("number {uid} is taken")));
        }
        Some(uid) => uid,
        None => free(&uids, defaults.uid).ok_or_else(|| failed("no number is left".into()))?,
    };
    // Its own group has the same number where that is free.
    let gid = match gids.contains(&uid) {
        false => uid,
        true => free(&gids, defaults.gid)
            .ok_or_else(|| failed("no number is left for its group".into()))?,
    };
    let home = account.home.clone().unwrap_or(format!("/home/{name}"));
    let shell = account.shell.as_deref().unwrap_or(&defaults.shell);
    let hash = account.password.as_deref().unwrap_or("!");
    let stored = if files.shadow.is_some() { "x" } else { hash };
    push(
        &mut files.passwd,
        &format!(
            "{name}:{stored}:{uid}:{gid}:{}:{home}:{shell}",
            account.comment
        ),
    );
    if let Some(shadow) = &mut files.shadow {
        let [least, most, warn] = defaults.ages;
        push(
            shadow,
            &format!("{name}:{hash}:{days}:{least}:{most}:{warn}:::"),
        );
    }
    push(&mut files.group, &format!("{name}:x:{gid}:"));
    for group in &account.groups {
        files.group = with_member(&files.group, group, name);
    }
    if let Some(gshadow) = &mut files.gshadow {
        push(gshadow, &format!("{name}:!::"));
        for group in &account.groups {
            *gshadow = with_member(gshadow, group, name);
        }
    }
    // As useradd: only for ordinary users, and only where the files are there.
    if (defaults.uid.0..=defaults.uid.1).contains(&uid) {
        for text in [&mut files.subuid, &mut files.subgid].into_iter().flatten() {
            if let Some(start) = free_range(text, defaults.sub) {
                push(text, &format!("{name}:{start}:{}", defaults.sub.2));
            }
        }
    }
    Ok(Made {
        uid,
        gid,
        home,
        home_mode: defaults.home_mode,
    })
}

/// Sets the password of an account that is there.
///
/// # Errors
/// [`SettingError`]
pub fn set_password(
    files: &mut Files,
    name: &str,
    hash: &str,
    days: u64,
) -> Result<(), SettingError> {
    check_hash(name, hash)?;
    let day = days.to_string();
    let (text, of_shadow) = match &mut files.shadow {
        Some(shadow) => (shadow, true),
        None => (&mut files.passwd, false),
    };
    if !has(text, name) {
        return Err(SettingError::Account {
            account: name.to_owned(),
            why: "there is no account of that name".into(),
        });
    }
    *text = text
        .lines()
        .map(|line| {
            let mut parts: Vec<&str> = fields(line).collect();
            if parts.first() == Some(&name) {
                if let Some(place) = parts.get_mut(1) {
                    *place = hash;
                }
                if let (true, Some(place)) = (of_shadow, parts.get_mut(2)) {
                    *place = &day;
                }
            }
            format!("{}\n", parts.join(":"))
        })
        .collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g.";

    fn account(name: &str) -> Account {
        Account {
            name: name.into(),
            uid: None,
            comment: String::new(),
            password: None,
            groups: vec![],
            shell: None,
            home: None,
        }
    }

    fn files() -> Files {
        Files {
            passwd: "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n".into(),
            shadow: Some("root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n".into()),
            group: "root:x:0:\nsudo:x:27:\nnogroup:x:65534:\n".into(),
            gshadow: Some("root:*::\nsudo:*::\nnogroup:*::\n".into()),
            subuid: Some(String::new()),
            subgid: None,
        }
    }

    #[test]
    fn an_account_is_in_every_file() {
        let mut files = files();
        let mut ana = account("ana");
        ana.groups = vec!["sudo".into()];
        ana.comment = "Ana,,,".into();
        ana.password = Some(HASH.into());
        ana.shell = Some("/bin/bash".into());
        let made = add(&mut files, &ana, &Defaults::default(), 20_000).unwrap();
        assert_eq!(
            (made.uid, made.gid, made.home.as_str()),
            (1000, 1000, "/home/ana")
        );
        assert!(
            files
                .passwd
                .ends_with("ana:x:1000:1000:Ana,,,:/home/ana:/bin/bash\n")
        );
        assert!(
            files
                .shadow
                .as_ref()
                .unwrap()
                .ends_with(&format!("ana:{HASH}:20000:0:99999:7:::\n"))
        );
        assert!(files.group.contains("sudo:x:27:ana\n") && files.group.ends_with("ana:x:1000:\n"));
        assert_eq!(
            files.gshadow.as_deref().unwrap(),
            "root:*::\nsudo:*::ana\nnogroup:*::\nana:!::\n"
        );
        assert_eq!(files.subuid.as_deref(), Some("ana:100000:65536\n"));
        assert_eq!(files.subgid, None);
        let made = add(&mut files, &account("bea"), &Defaults::default(), 1).unwrap();
        assert_eq!((made.uid, made.gid), (1001, 1001));
        assert!(files.shadow.as_ref().unwrap().contains("\nbea:!:1:"));
        assert!(
            files
                .subuid
                .as_ref()
                .unwrap()
                .contains("bea:165536:65536\n")
        );
    }

    #[test]
    fn what_is_taken_or_missing_is_refused_and_nothing_changes() {
        let mut files = files();
        let before = files.clone();
        let mut grouped = account("ana");
        grouped.groups = vec!["wheel".into()];
        let mut numbered = account("ana");
        numbered.uid = Some(65534);
        for wrong in [account("root"), account("sudo"), grouped, numbered] {
            assert!(
                add(&mut files, &wrong, &Defaults::default(), 1).is_err(),
                "{wrong:?}"
            );
            assert_eq!(files, before);
        }
        let mut system = account("ana");
        system.uid = Some(27);
        let made = add(&mut files, &system, &Defaults::default(), 1).unwrap();
        assert_eq!((made.uid, made.gid), (27, 1000));
        assert_eq!(files.subuid.as_deref(), Some(""));
    }

    #[test]
    fn only_hashes_are_passwords() {
        for good in [
            HASH,
            "!",
            "*",
            "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
            "$6$rounds=5000$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS",
            "$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
            "!$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130",
        ] {
            assert_eq!(check_hash("a", good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "secret",
            "$6$salt",
            "$6$s$x",
            "rZ7pX1y9aBcDe",
            "$6$a$b:c$ddddddddddddddddd",
            "$6$s$aaaaaaaaaaaaaaaa\n",
        ] {
            let error = check_hash("a", bad).unwrap_err();
            assert!(
                bad.is_empty() || !error.to_string().contains(bad),
                "{error}"
            );
        }
    }

    #[test]
    fn fields_cannot_be_broken_out_of() {
        for (what, change) in [
            (
                "name",
                (|a: &mut Account| a.name = "a:b".into()) as fn(&mut Account),
            ),
            ("name", |a| a.name = "Ana".into()),
            ("name", |a| a.name = "-x".into()),
            ("name", |a| a.name = String::new()),
            ("comment", |a| a.comment = "x:0:0".into()),
            ("comment", |a| a.comment = "x\nroot2::0:0".into()),
            ("shell", |a| a.shell = Some("bash".into())),
            ("home", |a| a.home = Some("/home/../etc".into())),
            ("home", |a| a.home = Some("/a:b".into())),
            ("group", |a| a.groups = vec!["a,b".into()]),
            ("uid", |a| a.uid = Some(u32::MAX)),
        ] {
            let mut wrong = account("ana");
            change(&mut wrong);
            assert!(check(&wrong).is_err(), "{what} {wrong:?}");
        }
    }

    #[test]
    fn numbers_come_from_login_defs() {
        let text = "# UID_MIN 5\nUID_MIN\t\t\t 2000\nUID_MAX 2001\nHOME_MODE\t0700\nUID_MAX x\nPASS_MAX_DAYS 90\n";
        let defaults = Defaults::read(text, "# SHELL=/bin/zsh\nSHELL=/bin/dash\n");
        let mut files = files();
        let made = add(&mut files, &account("a"), &defaults, 1).unwrap();
        assert_eq!((made.uid, made.home_mode), (2000, 0o700));
        assert!(files.passwd.ends_with("/bin/dash\n"));
        assert!(files.shadow.as_ref().unwrap().contains(":0:90:7:"));
        add(&mut files, &account("b"), &defaults, 1).unwrap();
        assert!(add(&mut files, &account("c"), &defaults, 1).is_err());
        assert_eq!(Defaults::read("UMASK 027\n", "").home_mode, 0o750);
    }

    #[test]
    fn roots_password_is_set_in_place() {
        let mut files = files();
        set_password(&mut files, "root", HASH, 20_000).unwrap();
        assert!(
            files
                .shadow
                .as_ref()
                .unwrap()
                .starts_with(&format!("root:{HASH}:20000:0:99999:7:::\nnobody:*"))
        );
        assert!(set_password(&mut files, "ana", HASH, 1).is_err());
        assert!(set_password(&mut files, "root", "secret", 1).is_err());
    }
}
