//! Who asks: users and passwords for servers that want them (HTTP Basic, RFC 7617). None of them is ever shown.

use jaula_plan::facts::auth::Machine;
use jaula_plan::rootfs::Source;
use jaula_plan::rootfs::address::Login;

/// Users and passwords by the addresses they are for.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    /// Address of an archive, with everything below it.
    archives: Vec<(String, Login)>,
    machines: Vec<Machine>,
}

impl Accounts {
    pub fn of_machines(machines: &[Machine]) -> Self {
        Self {
            archives: Vec::new(),
            machines: machines.to_vec(),
        }
    }

    pub fn add_sources(&mut self, sources: &[Source]) {
        for source in sources {
            if let Some(login) = &source.login {
                self.archives.push((source.uri.clone(), login.clone()));
            }
        }
    }

    /// The value of `Authorization` for an address: of the archive itself, else of the host's apt_auth.conf(5).
    pub fn authorization(&self, url: &str) -> Option<String> {
        let below = |archive: &str| {
            url.strip_prefix(archive)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let own = self.archives.iter().find(|(archive, _)| below(archive));
        let login = own.map(|(_, login)| login);
        let login = login.or_else(|| {
            let machine = self.machines.iter().find(|machine| machine.is_for(url));
            machine.map(|machine| &machine.login)
        })?;
        let pair = format!("{}:{}", login.user, login.password);
        Some(format!("Basic {}", base64(pair.as_bytes())))
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = DIGITS.get((bits >> shift & 63) as usize).copied();
            let digit = digit.filter(|_| at <= three.len()).unwrap_or(b'=');
            text.push(char::from(digit));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
