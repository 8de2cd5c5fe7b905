//! Lines of passwd(5) and group(5).

use std::fmt;

/// A line of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswdLine {
    /// Login name.
    pub name: String,
    /// `x`, or what stands in its place.
    pub password: String,
    /// Number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Full name and more.
    pub gecos: String,
    /// Home.
    pub home: String,
    /// Login shell; `/bin/sh` when empty.
    pub shell: String,
}

impl PasswdLine {
    /// A line, when it has all seven fields and its numbers are numbers.
    pub fn read(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, password, uid, gid, gecos, home, shell] = fields.as_slice() else {
            return None;
        };
        let number = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse::<u32>().ok())
                .flatten()
        };
        (!name.is_empty() && !name.starts_with(['+', '-'])).then_some(())?;
        Some(Self {
            name: (*name).to_owned(),
            password: (*password).to_owned(),
            uid: number(uid)?,
            gid: number(gid)?,
            gecos: (*gecos).to_owned(),
            home: (*home).to_owned(),
            shell: (*shell).to_owned(),
        })
    }

    /// The shell, with what an empty field means.
    pub fn shell(&self) -> &str {
        match self.shell.as_str() {
            "" => "/bin/sh",
            shell => shell,
        }
    }
}

impl fmt::Display for PasswdLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            password,
            uid,
            gid,
            gecos,
            home,
            shell,
        } = self;
        write!(f, "{name}:{password}:{uid}:{gid}:{gecos}:{home}:{shell}")
    }
}

/// The accounts of a file, in their order; what is no account is passed over.
pub fn accounts(text: &str) -> impl Iterator<Item = PasswdLine> {
    text.lines().filter_map(PasswdLine::read)
}

/// The first account of this name (getpwnam(3)).
pub fn named(text: &str, name: &str) -> Option<PasswdLine> {
    accounts(text).find(|account| account.name == name)
}

/// The line of a file whose first field is this.
pub fn line_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find(|line| line.split_once(':').is_some_and(|(first, _)| first == name))
}

/// A line of group(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLine {
    /// Name.
    pub name: String,
    /// `x`, or what stands in its place.
    pub password: String,
    /// Number.
    pub gid: u32,
    /// Who is in it besides those whose primary group it is.
    pub members: Vec<String>,
}

impl GroupLine {
    /// A line, when it has all four fields.
    pub fn read(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, password, gid, members] = fields.as_slice() else {
            return None;
        };
        if name.is_empty() || !gid.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            name: (*name).to_owned(),
            password: (*password).to_owned(),
            gid: gid.parse().ok()?,
            members: members
                .split(',')
                .filter(|member| !member.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }

    /// Whether somebody is in it.
    pub fn has(&self, user: &str) -> bool {
        self.members.iter().any(|member| member == user)
    }
}

impl fmt::Display for GroupLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            password,
            gid,
            members,
        } = self;
        write!(f, "{name}:{password}:{gid}:{}", members.join(","))
    }
}

/// The groups of a file.
pub fn groups(text: &str) -> impl Iterator<Item = GroupLine> {
    text.lines().filter_map(GroupLine::read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_written_as_they_are() {
        let line =
            "rjmerelo:x:1001:100:Raring jmerelo:/home/jaulas/raring/./home/rjmerelo:/bin/bash";
        assert_eq!(PasswdLine::read(line).unwrap().to_string(), line);
        let line = "users:x:100:ana,luis";
        assert_eq!(GroupLine::read(line).unwrap().to_string(), line);
        assert!(GroupLine::read(line).unwrap().has("luis"));
    }

    #[test]
    fn nobody_becomes_root_by_a_bad_line() {
        for line in [
            "a:x::0:::",
            "a:x:-1:0:::",
            "a:x:+0:0:::",
            ":x:0:0:::",
            "+:x:0:0:::",
            "a:x:0:0::",
            "a:x: 0:0:::",
        ] {
            let read = PasswdLine::read(line);
            assert!(read.is_none(), "{line:?}: {read:?}");
        }
    }
}
