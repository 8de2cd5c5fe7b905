//! Addresses of archives: `http:`, `https:`, `file:`, `copy:` and `cdrom:`, as sources.list(5) writes them.

use std::fmt;

/// Who says he is a user of the server (RFC 7617). Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

/// Scheme, what stands before an `@`, and the rest. None where there is no `//`.
fn parts(uri: &str) -> Option<(&str, Option<&str>, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    match authority.rsplit_once('@') {
        Some((login, _)) => Some((scheme, Some(login), rest.get(login.len() + 1..)?)),
        None => Some((scheme, None, rest)),
    }
}

/// An address without the user and the password that stand in it.
pub fn without_login(uri: &str) -> String {
    match parts(uri) {
        Some((scheme, Some(_), rest)) => format!("{scheme}://{rest}"),
        _ => uri.to_owned(),
    }
}

/// An address, and the user and password that stood in it, their escapes undone.
pub fn split_login(uri: &str) -> (String, Option<Login>) {
    let Some((_, Some(login), _)) = parts(uri) else {
        return (uri.to_owned(), None);
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let login = Login {
        user: unescape(user),
        password: unescape(password),
    };
    (without_login(uri), Some(login))
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = after
            .split_at_checked(2)
            .filter(|_| *first == b'%')
            .and_then(|(two, after)| {
                let two = std::str::from_utf8(two).ok()?;
                let digits = two.bytes().all(|b| b.is_ascii_hexdigit());
                Some((u8::from_str_radix(two, 16).ok().filter(|_| digits)?, after))
            });
        let (byte, after) = escape.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The host of an address, without its port; empty for files of this machine.
pub fn host(uri: &str) -> &str {
    let Some((_, _, rest)) = parts(uri) else {
        return "";
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.starts_with('[') {
        let end = authority.find(']').map_or(authority.len(), |at| at + 1);
        return authority.get(..end).unwrap_or("");
    }
    authority.split(':').next().unwrap_or("")
}

/// The address in its one spelling, if it is one that jaula can fetch from: the scheme in small letters, no slash at
/// the end, paths of this machine behind `//`.
pub fn checked(uri: &str) -> Option<String> {
    if !uri.chars().all(|c| c.is_ascii_graphic()) || uri.contains(['?', '#']) {
        return None;
    }
    let (scheme, rest) = uri.split_once(':')?;
    let scheme = scheme.to_ascii_lowercase();
    let rest = match scheme.as_str() {
        "http" | "https" => rest
            .strip_prefix("//")
            .filter(|_| !host(&format!("x:{rest}")).is_empty())?,
        "file" | "copy" | "cdrom" => {
            let path = match rest.strip_prefix("//") {
                // RFC 8089: this machine may be called by its name for itself.
                Some(path) => path.strip_prefix("localhost").unwrap_or(path),
                None => rest,
            };
            Some(path).filter(|path| path.starts_with('/'))?
        }
        _ => return None,
    };
    Some(format!("{scheme}://{}", rest.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_taken_out_of_an_address() {
        for (uri, plain, login) in [
            ("http://h/p", "http://h/p", None),
            (
                "https://ana:s%3ae%40c@h:8/p@q",
                "https://h:8/p@q",
                Some(("ana", "s:e@c")),
            ),
            ("http://ana@h", "http://h", Some(("ana", ""))),
            ("http://a:b@c@h/", "http://h/", Some(("a", "b@c"))),
            ("http://u:%zz@h/", "http://h/", Some(("u", "%zz"))),
            ("file:///srv/a@b", "file:///srv/a@b", None),
            ("file:/srv/a@b", "file:/srv/a@b", None),
        ] {
            let (without, found) = split_login(uri);
            assert_eq!(without, plain);
            assert_eq!(without_login(uri), plain);
            let expected = login.map(|(user, password)| Login {
                user: user.to_owned(),
                password: password.to_owned(),
            });
            assert_eq!(found, expected, "{uri}");
            assert!(!format!("{found:?}").contains("ana"));
        }
    }

    #[test]
    fn hosts_are_found() {
        for (uri, name) in [
            ("http://deb.debian.org/debian", "deb.debian.org"),
            ("http://u:p@h:80/x", "h"),
            ("https://[::1]:8080/x", "[::1]"),
            ("file:///srv", ""),
            ("cdrom:///a.iso", ""),
        ] {
            assert_eq!(host(uri), name, "{uri}");
        }
    }

    #[test]
    fn addresses_have_one_spelling() {
        for (uri, plain) in [
            ("HTTP://h/debian//", "http://h/debian"),
            ("https://h", "https://h"),
            ("file:/srv/x/", "file:///srv/x"),
            ("file:///srv/x", "file:///srv/x"),
            ("file://localhost/srv/x", "file:///srv/x"),
            ("copy:/srv/x", "copy:///srv/x"),
            ("cdrom:/d.iso", "cdrom:///d.iso"),
        ] {
            assert_eq!(checked(uri).as_deref(), Some(plain), "{uri}");
        }
        for uri in [
            "",
            "x",
            "ftp://h/x",
            "http:/h",
            "http://",
            "http:///x",
            "file:x",
            "file://host/x",
            "http://h/a b",
            "http://h/\u{e9}",
            "cdrom:[Debian 12]/",
            "http://h/?x",
            "ssh:h",
            "mirror+http://h/x",
        ] {
            assert_eq!(checked(uri), None, "{uri}");
        }
    }
}
