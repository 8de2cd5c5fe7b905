//! `jk_socketd.ini`: sockets in jails whose lines go to the host's log, so many bytes in a time.

use super::ini::{Ini, IniError};
use crate::service::Flow;
use std::path::{Path, PathBuf};

/// Sockets of one process.
const MOST: usize = 256;

/// One socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSocket {
    /// Its path on the host.
    pub path: PathBuf,
    /// What it lets through.
    pub flow: Flow,
}

/// Why the sockets cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SocketsError {
    /// The file is not understood.
    #[error(transparent)]
    Ini(#[from] IniError),
    /// A path is no path.
    #[error("the socket {0:?} is not an absolute path")]
    Relative(String),
    /// None at all.
    #[error("no socket is named")]
    None,
    /// Too many.
    #[error("more than {MOST} sockets")]
    Many,
}

impl LogSocket {
    /// Those of the file, in its order.
    ///
    /// # Errors
    /// At a key or a number that means nothing, a section that is no absolute path, a file without sections.
    pub fn read(bytes: &[u8]) -> Result<Vec<Self>, SocketsError> {
        let ini = Ini::read(bytes)?;
        let sockets = ini.sections.iter().map(|section| {
            section.only(&["base", "peak", "peek", "interval"])?;
            let peak = ["peak", "peek"]
                .into_iter()
                .find_map(|key| section.entry(key));
            let entries = [section.entry("base"), peak, section.entry("interval")];
            let [base, top, interval] =
                entries.map(|entry| entry.map(|entry| entry.value.as_str()));
            // One after the other, so that the place of the fault is known.
            let parts = [
                (base, None, None),
                (None, top, None),
                (None, None, interval),
            ];
            for (entry, (base, peak, interval)) in entries.into_iter().zip(parts) {
                if let (Some(entry), Err(error)) = (entry, Flow::parse(base, peak, interval)) {
                    return Err(entry.wrong(error.to_string()).into());
                }
            }
            let flow = Flow::parse(base, top, interval).unwrap_or_default();
            Self::new(&section.name, flow)
        });
        let sockets = sockets.collect::<Result<Vec<_>, SocketsError>>()?;
        match sockets.len() {
            0 => Err(SocketsError::None),
            1..=MOST => Ok(sockets),
            _ => Err(SocketsError::Many),
        }
    }

    /// One socket.
    ///
    /// # Errors
    /// When the path is not absolute.
    pub fn new(path: &str, flow: Flow) -> Result<Self, SocketsError> {
        match Path::new(path).is_absolute() && !path.ends_with('/') {
            true => Ok(Self {
                path: path.into(),
                flow,
            }),
            false => Err(SocketsError::Relative(path.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_section_is_a_socket_with_what_it_lets_through() {
        let text = b"[/srv/j/dev/log]\nbase=512\npeek=2048\ninterval=0.5\n[/srv/k/dev/log]\n";
        let sockets = LogSocket::read(text).unwrap();
        let flow = Flow {
            base: 512,
            peak: 2048,
            interval: Duration::from_millis(500),
        };
        assert_eq!(sockets[0], LogSocket::new("/srv/j/dev/log", flow).unwrap());
        assert_eq!(
            sockets[1],
            LogSocket::new("/srv/k/dev/log", Flow::default()).unwrap()
        );
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_place() {
        let said = |text: &str| LogSocket::read(text.as_bytes()).unwrap_err().to_string();
        assert!(said("[/j/log]\nbase=5\n").starts_with("line 2, column 6: "));
        assert!(said("[/j/log]\nbase=50\npeak=x\n").contains("line 3"));
        assert!(said("[/j/log]\nburst=50\n").contains("burst"));
        assert!(said("[dev/log]\n").contains("not an absolute path"));
        assert_eq!(said("# none\n"), "no socket is named");
    }
}
