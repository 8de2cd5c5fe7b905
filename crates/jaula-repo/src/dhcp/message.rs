//! A message's fixed part (RFC 2131 section 2), and its type.

use super::DhcpError;
use super::options::{self, Options};
use std::net::Ipv4Addr;

/// Bytes before the options, with the cookie.
const HEAD: usize = 240;
/// The largest packet that anybody sends over Ethernet, jumbo frames included.
const LONGEST: usize = 9216;
/// Old relays drop what is shorter (RFC 1542 section 2.1).
const SHORTEST: usize = 300;
/// `99, 130, 83, 99` (RFC 2131 section 3).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// The flag that asks for answers to all (RFC 2131 figure 2).
const BROADCAST: u16 = 0x8000;

/// What a message is (RFC 2132 section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum MessageKind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
    Inform = 8,
}

impl MessageKind {
    fn of(number: u8) -> Option<Self> {
        use MessageKind::*;
        [Discover, Offer, Request, Decline, Ack, Nak, Release, Inform]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }

    /// Whether a server sends it.
    pub fn of_server(self) -> bool {
        matches!(self, Self::Offer | Self::Ack | Self::Nak)
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: MessageKind,
    /// Relays that it passed.
    pub hops: u8,
    /// The number by which an answer knows its question.
    pub transaction: u32,
    /// Seconds since the client began.
    pub seconds: u16,
    /// Whether the client cannot hear what is sent to it alone yet.
    pub broadcast: bool,
    /// The address that the client has.
    pub client: Ipv4Addr,
    /// The address that it is given.
    pub yours: Ipv4Addr,
    /// The next server of a start from the network.
    pub next_server: Ipv4Addr,
    /// The relay.
    pub relay: Ipv4Addr,
    /// The client's card.
    pub mac: [u8; 6],
    /// The options.
    pub options: Options,
}

impl Message {
    /// A message with nothing in it.
    pub fn new(kind: MessageKind, transaction: u32, mac: [u8; 6]) -> Self {
        let none = Ipv4Addr::UNSPECIFIED;
        Message {
            kind,
            hops: 0,
            transaction,
            seconds: 0,
            broadcast: false,
            client: none,
            yours: none,
            next_server: none,
            relay: none,
            mac,
            options: Options::default(),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, DhcpError> {
        let length = bytes.len();
        let wrong = DhcpError::Length { length };
        if length > LONGEST {
            return Err(wrong);
        }
        let (head, rest) = bytes.split_at_checked(HEAD).ok_or(wrong)?;
        let byte = |at: usize| head.get(at).copied().unwrap_or(0);
        let two = |at: usize| u16::from_be_bytes([byte(at), byte(at + 1)]);
        let four = |at: usize| [byte(at), byte(at + 1), byte(at + 2), byte(at + 3)];
        let (operation, kind, size) = (byte(0), byte(1), byte(2));
        if ![1, 2].contains(&operation) {
            return Err(DhcpError::Operation(operation));
        }
        if (kind, size) != (1, 6) {
            return Err(DhcpError::Hardware { kind, length: size });
        }
        if four(236) != COOKIE {
            return Err(DhcpError::Cookie);
        }
        let field = |from: usize, to: usize| head.get(from..to).unwrap_or_default();
        let options = Options::parse(rest, field(108, 236), field(44, 108))?;
        let kind = options.first(options::KIND).and_then(MessageKind::of);
        let kind = kind.ok_or(DhcpError::Kind)?;
        if kind.of_server() != (operation == 2) {
            return Err(DhcpError::Operation(operation));
        }
        let mut mac = [0; 6];
        mac.copy_from_slice(field(28, 34));
        Ok(Message {
            kind,
            hops: byte(3),
            transaction: u32::from_be_bytes(four(4)),
            seconds: two(8),
            broadcast: two(10) & BROADCAST != 0,
            client: four(12).into(),
            yours: four(16).into(),
            next_server: four(20).into(),
            relay: four(24).into(),
            mac,
            options,
        })
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let operation = if self.kind.of_server() { 2 } else { 1 };
        let mut out = vec![operation, 1, 6, self.hops];
        out.extend(self.transaction.to_be_bytes());
        out.extend(self.seconds.to_be_bytes());
        let flags = if self.broadcast { BROADCAST } else { 0 };
        out.extend(flags.to_be_bytes());
        for address in [self.client, self.yours, self.next_server, self.relay] {
            out.extend(address.octets());
        }
        out.extend(self.mac);
        // The rest of the card's field, the server's name and the file: empty.
        out.resize(HEAD - COOKIE.len(), 0);
        out.extend(COOKIE);
        out.extend([options::KIND, 1, self.kind as u8]);
        self.options.write(&mut out);
        out.push(options::END);
        if out.len() < SHORTEST {
            out.resize(SHORTEST, options::PAD);
        }
        out
    }
}
