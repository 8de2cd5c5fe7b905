//! The accounts of a small jail, taken over from the host's: names and numbers, never passwords.

use std::collections::BTreeSet;

pub(super) const PASSWD: &str = "/etc/passwd";
pub(super) const GROUP: &str = "/etc/group";
pub(super) const NSSWITCH: &str = "/etc/nsswitch.conf";

/// Only what needs nothing else of the host.
pub(super) const SWITCH: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
    protocols: files\nservices: files\n";

/// The two files.
pub(super) struct Accounts {
    pub passwd: String,
    pub group: String,
}

/// The lines of these users, with their groups, and of these groups. A name or a number may be given; what the host
/// does not have is passed over.
pub(super) fn made(
    passwd: &[u8],
    group: &[u8],
    users: &BTreeSet<String>,
    groups: &BTreeSet<String>,
) -> Accounts {
    let mut made = Accounts {
        passwd: String::new(),
        group: String::new(),
    };
    let mut wanted = groups.clone();
    for line in lines(passwd, 7) {
        let field = |at: usize| line.get(at).map(String::as_str).unwrap_or_default();
        if users.contains(field(0)) || users.contains(field(2)) {
            wanted.insert(field(3).to_owned());
            let rest = [field(2), field(3), field(4), field(5), field(6)].join(":");
            made.passwd.push_str(&format!("{}:x:{rest}\n", field(0)));
        }
    }
    for line in lines(group, 4) {
        let field = |at: usize| line.get(at).map(String::as_str).unwrap_or_default();
        if wanted.contains(field(0)) || wanted.contains(field(2)) {
            let members = field(3).split(',').filter(|name| users.contains(*name));
            let members: Vec<&str> = members.collect();
            let line = format!("{}:x:{}:{}\n", field(0), field(2), members.join(","));
            made.group.push_str(&line);
        }
    }
    made
}

/// The lines that have this many fields and begin with a name.
fn lines(text: &[u8], fields: usize) -> impl Iterator<Item = Vec<String>> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter_map(move |line| {
        let line = std::str::from_utf8(line).ok()?;
        let parts: Vec<String> = line.split(':').map(str::to_owned).collect();
        let named = parts.first().is_some_and(|name| !name.is_empty());
        (parts.len() == fields && named).then_some(parts)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_over_without_passwords_and_strangers() {
        let passwd = b"root:$6$x:0:0:root:/root:/bin/bash\nana:x:5:6::/h:/s\nbad:line\n";
        let group = b"root:x:0:ana,eva\nstaff:secret:6:eva\naudio:x:7:\n";
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let made = made(passwd, group, &set(&["root", "5"]), &set(&["audio"]));
        assert_eq!(
            made.passwd,
            "root:x:0:0:root:/root:/bin/bash\nana:x:5:6::/h:/s\n"
        );
        assert_eq!(made.group, "root:x:0:\nstaff:x:6:\naudio:x:7:\n");
    }
}
