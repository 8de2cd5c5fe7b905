//! Users and passwords for servers: apt_auth.conf(5), which is netrc's form.

use crate::rootfs::address::{self, Login};

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// `https`, `http`; when absent it is for HTTPS alone, since anybody could read it on the way otherwise.
    scheme: Option<String>,
    /// Host, with a port where one was given.
    host: String,
    /// Only addresses whose path begins so.
    path: String,
    /// Who.
    pub login: Login,
}

impl Machine {
    /// Whether it is for this address.
    pub fn is_for(&self, url: &str) -> bool {
        let Some((scheme, rest)) = url.split_once("://") else {
            return false;
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let fits = authority == self.host || address::host(url) == self.host;
        scheme == self.scheme.as_deref().unwrap_or("https") && fits && path.starts_with(&self.path)
    }
}

/// The entries of a text. What it does not know is passed over, and nothing of it is ever shown.
pub fn machines(text: &str) -> Vec<Machine> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    let mut found: Vec<Machine> = Vec::new();
    while let Some(word) = words.next() {
        match (word, found.last_mut()) {
            ("machine", _) => {
                let Some(place) = words.next() else { break };
                let (scheme, rest) = match place.split_once("://") {
                    Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
                    None => (None, place),
                };
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                found.push(Machine {
                    scheme,
                    host: host.to_owned(),
                    path: path.to_owned(),
                    login: Login {
                        user: String::new(),
                        password: String::new(),
                    },
                });
            }
            ("login", Some(machine)) => {
                words
                    .next()
                    .unwrap_or("")
                    .clone_into(&mut machine.login.user);
            }
            ("password", Some(machine)) => {
                words
                    .next()
                    .unwrap_or("")
                    .clone_into(&mut machine.login.password);
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_for_what_they_name() {
        let all = machines(
            "# machine x login y password z\nmachine example.org/deb login ana password secret\n\
             machine http://plain.example:8080\n  login b\n  password c\nmachine",
        );
        let [one, two] = all.as_slice() else {
            panic!("{all:?}")
        };
        assert!(one.is_for("https://example.org/debian/x"));
        assert!(one.is_for("https://example.org:444/debian/x"));
        for other in [
            "http://example.org/debian",
            "https://example.org/x",
            "https://example.org.evil/debian",
            "file:///debian",
            "https://evil/example.org/deb",
        ] {
            assert!(!one.is_for(other), "{other}");
        }
        assert!(two.is_for("http://plain.example:8080/x") && !two.is_for("http://plain.example/x"));
        assert_eq!(
            (two.login.user.as_str(), two.login.password.as_str()),
            ("b", "c")
        );
        assert!(!format!("{all:?}").contains("secret"));
    }
}
