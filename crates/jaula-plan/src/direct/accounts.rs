//! Users and groups by the texts of passwd(5) and group(5), looked up as getpwnam(3), getgrnam(3) and
//! getgrouplist(3) do. The texts may be an enemy's: lines that make no sense are passed over.

use super::map::parse_id;

/// The most supplementary groups that the kernel takes (setgroups(2), NGROUPS_MAX).
const GROUPS: usize = 65536;

/// The two texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounts {
    /// Of passwd(5).
    pub passwd: Vec<u8>,
    /// Of group(5).
    pub group: Vec<u8>,
}

/// A user's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its login group.
    pub gid: u32,
}

impl Accounts {
    fn users(&self) -> impl Iterator<Item = User> {
        lines(&self.passwd).filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _) = (fields.next()?, fields.next()?);
            let (uid, gid) = (parse_id(fields.next()?)?, parse_id(fields.next()?)?);
            usable(name).then(|| User {
                name: name.to_owned(),
                uid,
                gid,
            })
        })
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<User> {
        self.users().find(|user| user.name == name)
    }

    /// The first user of this number.
    pub fn user_of(&self, uid: u32) -> Option<User> {
        self.users().find(|user| user.uid == uid)
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups()
            .find(|(known, ..)| known == name)
            .map(|(_, gid, _)| gid)
    }

    /// The first group of this number, by its name.
    pub fn group_of(&self, gid: u32) -> Option<String> {
        self.groups()
            .find(|(_, known, _)| *known == gid)
            .map(|(name, ..)| name)
    }

    /// The login group, then all groups that the user is a member of, each once.
    pub fn groups_of(&self, user: &str, login: u32) -> Vec<u32> {
        let mut groups = vec![login];
        for (_, gid, members) in self.groups() {
            if members.split(',').any(|member| member == user)
                && !groups.contains(&gid)
                && groups.len() < GROUPS
            {
                groups.push(gid);
            }
        }
        groups
    }

    fn groups(&self) -> impl Iterator<Item = (String, u32, String)> {
        lines(&self.group).filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _) = (fields.next()?, fields.next()?);
            let (gid, members) = (parse_id(fields.next()?)?, fields.next().unwrap_or(""));
            usable(name).then(|| (name.to_owned(), gid, members.to_owned()))
        })
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = String> {
    text.split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line).into_owned())
}

/// Names that begin so are no accounts but directions to other sources (nsswitch.conf(5), "compat").
fn usable(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['+', '-', '#'])
}
