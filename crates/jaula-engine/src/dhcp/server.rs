//! Runs the server's machine on a link, and keeps its leases in a file.

use super::DhcpError;
use jaula_repo::dhcp::{
    CLIENT_PORT, Datagram, Held, MOST_LEASES, Message, SERVER_PORT, Server, ServerSettings,
    datagram, read_datagram,
};
use jaula_sys::packet::{IP, PacketSocket, udp_on};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

/// The largest packet that is read.
const ROOM: usize = 9216;
/// Bytes of a lease in a file: those of a client's identifier are numbers of up to three digits there.
const LONGEST_ROW: u64 = 2048;
/// Bytes of a file of leases: as many as are remembered fit.
const LONGEST_BOOK: u64 = LONGEST_ROW * MOST_LEASES as u64;

/// A file with the leases of a network.
#[derive(Debug, Clone)]
pub struct LeaseBook {
    path: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    address: Ipv4Addr,
    client: Vec<u8>,
    mac: [u8; 6],
    until: u64,
    taken: bool,
    name: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Book {
    version: u32,
    leases: Vec<Row>,
}

impl LeaseBook {
    /// The book in a file, which need not be there.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn failed(&self, source: std::io::Error) -> DhcpError {
        DhcpError::Book {
            path: self.path.clone(),
            source,
        }
    }

    /// What is written in it. One that cannot be understood is empty: its clients ask again.
    ///
    /// # Errors
    /// [`DhcpError::Book`] where it is there and cannot be read.
    pub fn read(&self) -> Result<BTreeMap<Ipv4Addr, Held>, DhcpError> {
        let text = match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(BTreeMap::new());
            }
            Err(error) => return Err(self.failed(error)),
            // Who writes it is not trusted by who reads it: what is no file could keep him waiting.
            Ok(meta) if !meta.is_file() || meta.len() > LONGEST_BOOK => {
                return Ok(BTreeMap::new());
            }
            Ok(_) => std::fs::read(&self.path).map_err(|e| self.failed(e))?,
        };
        let book: Option<Book> = serde_json::from_slice(&text).ok();
        let rows = book
            .filter(|book| book.version == 1)
            .map(|book| book.leases);
        let held = |row: Row| {
            let held = Held {
                client: row.client,
                mac: row.mac,
                until: row.until,
                taken: row.taken,
                name: row.name,
            };
            (row.address, held)
        };
        Ok(rows.into_iter().flatten().map(held).collect())
    }

    /// Writes what is held, by a rename.
    ///
    /// # Errors
    /// [`DhcpError::Book`].
    pub fn write(&self, held: &BTreeMap<Ipv4Addr, Held>) -> Result<(), DhcpError> {
        let row = |(address, held): (&Ipv4Addr, &Held)| Row {
            address: *address,
            client: held.client.clone(),
            mac: held.mac,
            until: held.until,
            taken: held.taken,
            name: held.name.clone(),
        };
        let book = Book {
            version: 1,
            leases: held.iter().map(row).collect(),
        };
        let text = serde_json::to_vec(&book).map_err(|e| self.failed(e.into()))?;
        crate::store::replace(&self.path, &text).map_err(|error| self.failed(error))
    }
}

/// A server on a link.
#[derive(Debug)]
pub struct AddressServer {
    link: String,
    socket: PacketSocket,
    /// The port is taken, so that nobody else gives addresses here and the kernel does not refuse what comes.
    _listening: UdpSocket,
    server: Server,
    address: Ipv4Addr,
    book: LeaseBook,
    buffer: Vec<u8>,
}

impl AddressServer {
    /// A server with what its book holds.
    ///
    /// # Errors
    /// [`DhcpError::Link`], with `EADDRINUSE` where another server has the port of this link; [`DhcpError::Book`].
    pub fn open(link: &str, settings: ServerSettings, book: LeaseBook) -> Result<Self, DhcpError> {
        let failed = |source| DhcpError::Link {
            link: link.to_owned(),
            source,
        };
        let address = settings.address;
        let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, SERVER_PORT));
        let listening = udp_on(link, all).map_err(failed)?;
        let socket = PacketSocket::open(link, IP, Some(SERVER_PORT)).map_err(failed)?;
        Ok(Self {
            link: link.to_owned(),
            socket,
            _listening: listening,
            server: Server::new(settings, book.read()?),
            address,
            book,
            buffer: vec![0; ROOM],
        })
    }

    /// Who has which address without asking, as it is now: by card, and others'.
    pub fn learn(&mut self, fixed: BTreeMap<[u8; 6], Ipv4Addr>, taken: Vec<Ipv4Addr>) {
        self.server.learn(fixed, taken);
    }

    /// Who has what.
    pub fn held(&self) -> &BTreeMap<Ipv4Addr, Held> {
        self.server.held()
    }

    /// Answers one message, if one comes in time; says whether who has what has changed.
    ///
    /// # Errors
    /// [`DhcpError::Link`] when the link is gone; [`DhcpError::Book`].
    pub fn serve(&mut self, wait: Duration) -> Result<bool, DhcpError> {
        let failed = |source| DhcpError::Link {
            link: self.link.clone(),
            source,
        };
        let arrived = self.socket.receive(&mut self.buffer, wait);
        let Some(arrived) = arrived.map_err(failed)? else {
            return Ok(false);
        };
        let packet = self.buffer.get(..arrived.length).unwrap_or_default();
        let heard = read_datagram(packet, true).filter(|d| d.from_port == CLIENT_PORT);
        let Some(message) = heard.and_then(|d| Message::parse(d.data).ok()) else {
            return Ok(false);
        };
        let before = self.server.held().clone();
        let answer = self.server.answer(&message, arrived.from, super::now());
        let changed = *self.server.held() != before;
        if changed {
            // Written before it is promised.
            self.book.write(self.server.held())?;
        }
        if let Some(answer) = answer {
            let to = if answer.to_all {
                Ipv4Addr::BROADCAST
            } else {
                answer.to
            };
            let packet = datagram(&Datagram {
                from: self.address,
                to,
                from_port: SERVER_PORT,
                to_port: CLIENT_PORT,
                data: &answer.message.bytes(),
            });
            let card = if answer.to_all {
                [0xff; 6]
            } else {
                arrived.from
            };
            self.socket
                .send(&packet.unwrap_or_default(), card)
                .map_err(failed)?;
        }
        Ok(changed)
    }
}

impl AsRawFd for AddressServer {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_with_all_that_is_remembered_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let book = LeaseBook::new(dir.path().join("alcantara.leases"));
        let label = "n".repeat(63);
        let longest = [&*label, &label, &label, &label[..61]].join(".");
        let most = u32::try_from(MOST_LEASES).unwrap();
        let held: BTreeMap<Ipv4Addr, Held> = (0..most)
            .map(|number| {
                let row = Held {
                    client: vec![0xff; 6 + 255],
                    mac: [0xff; 6],
                    until: u64::MAX,
                    taken: false,
                    name: Some(longest.clone()),
                };
                (Ipv4Addr::from(0xffff_ffff - number), row)
            })
            .collect();
        book.write(&held).unwrap();
        assert_eq!(book.read().unwrap(), held);
        let length = std::fs::metadata(dir.path().join("alcantara.leases")).unwrap();
        assert!(length.len() > 4 << 20 && length.len() <= LONGEST_BOOK);
    }
}
