//! nf_tables over netlink (nfnetlink, linux/netfilter/nf_tables.h): tables, chains, sets and rules, changed all at
//! once or not at all, and read. Without a program.

mod attr;
pub mod expr;
mod message;

use crate::{Errno, SysError};
use expr::Expr;
use message::{Message, Messages};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A family of tables (`NFPROTO_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// ARP.
    Arp = 3,
    /// Packets of one link, before everything else.
    Netdev = 5,
    /// Frames that a bridge handles.
    Bridge = 7,
    /// IPv6.
    Ip6 = 10,
}

impl Family {
    fn of(number: u8) -> Option<Self> {
        [
            Family::Inet,
            Family::Ip,
            Family::Arp,
            Family::Netdev,
            Family::Bridge,
            Family::Ip6,
        ]
        .into_iter()
        .find(|family| *family as u8 == number)
    }

    /// As `nft` writes it.
    pub fn word(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Ip => "ip",
            Family::Arp => "arp",
            Family::Netdev => "netdev",
            Family::Bridge => "bridge",
            Family::Ip6 => "ip6",
        }
    }
}

/// Where a base chain hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// The hook's number (`NF_INET_*`, `NF_BR_*`).
    pub number: u32,
    /// Its place among the chains of the hook; lower ones come first.
    pub priority: i32,
    /// Whether what no rule decided is dropped.
    pub drops: bool,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where it hangs; a chain without a hook is jumped to.
    pub hook: Option<Hook>,
}

/// A set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// The type of its elements, as `nft` numbers it; for the kernel it has no meaning.
    pub key_type: u32,
    /// Bytes of an element.
    pub key_length: u32,
    /// Whether elements end by themselves.
    pub timeout: bool,
    /// Whether elements are in this machine's order of bytes, as names of links are. Only `nft` asks, to list them.
    pub native: bool,
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// Its bytes.
    pub key: Vec<u8>,
    /// Milliseconds until it ends, if it does; of one that was read, those that are left.
    pub timeout: Option<u64>,
}

/// One change. The names of table and chain come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A table is there, new or not.
    Table(Family, String),
    /// A table goes, with all that is in it.
    DropTable(Family, String),
    /// A new chain in a table.
    Chain(Family, String, Chain),
    /// A new set in a table.
    Set(Family, String, Set),
    /// Elements of a set; one that is there keeps what it has.
    Elements(Family, String, String, Vec<Element>),
    /// Elements of a set go.
    DropElements(Family, String, String, Vec<Element>),
    /// A rule at the end of a chain.
    Rule(Family, String, String, Vec<Expr>),
}

impl Change {
    /// As a person would name it.
    fn target(&self) -> String {
        match self {
            Change::Table(f, t) | Change::DropTable(f, t) => format!("table {} {t}", f.word()),
            Change::Chain(f, t, chain) => format!("chain {} {t} {}", f.word(), chain.name),
            Change::Set(f, t, set) => format!("set {} {t} {}", f.word(), set.name),
            Change::Elements(f, t, s, _) | Change::DropElements(f, t, s, _) => {
                format!("elements of {} {t} {s}", f.word())
            }
            Change::Rule(f, t, c, _) => format!("rule of {} {t} {c}", f.word()),
        }
    }
}

/// What was read of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its chain.
    pub chain: String,
    /// Its number in the table.
    pub handle: u64,
    /// What it does.
    pub expressions: Vec<Expr>,
}

/// A family, and attributes.
type Row = (u8, Vec<u8>);

/// Times that a list which changed while it was read is read again.
const AGAIN: usize = 16;
/// Bytes of one answer: the kernel sends up to 32 KiB at once.
const ANSWER: usize = 1 << 16;
/// Seconds that an answer may take; the kernel answers at once.
const PATIENCE: i64 = 10;

/// A socket to nf_tables of the network namespace it was opened in.
#[derive(Debug)]
pub struct Tables {
    socket: OwnedFd,
    sequence: u32,
}

impl Tables {
    /// Opens one.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` where the kernel has no nfnetlink, and others of socket(2).
    pub fn open() -> Result<Self, SysError> {
        // SAFETY: numbers only.
        let fd = unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::NETLINK_NETFILTER,
            )
        };
        if fd < 0 {
            return Err(SysError::last("socket", "netfilter"));
        }
        // SAFETY: the kernel just gave the descriptor, and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let patience = libc::timeval {
            tv_sec: PATIENCE,
            tv_usec: 0,
        };
        // SAFETY: `patience` lives as long as the call, and its length is given.
        let set = unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const patience).cast(),
                libc::socklen_t::try_from(size_of::<libc::timeval>()).unwrap_or(0),
            )
        };
        if set < 0 {
            return Err(SysError::last("setsockopt", "netfilter"));
        }
        Ok(Self {
            socket,
            sequence: 1,
        })
    }

    fn room(&self, bytes: usize) {
        let size = libc::c_int::try_from(bytes.saturating_add(4096)).unwrap_or(libc::c_int::MAX);
        for option in [libc::SO_SNDBUFFORCE, libc::SO_SNDBUF] {
            // SAFETY: `size` lives as long as the call. Where neither is allowed the default stays, and sending says so.
            let set = unsafe {
                libc::setsockopt(
                    self.socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    option,
                    (&raw const size).cast(),
                    4,
                )
            };
            if set == 0 {
                break;
            }
        }
    }

    fn send(&self, bytes: &[u8], target: &str) -> Result<(), SysError> {
        self.room(bytes.len());
        // SAFETY: the bytes live as long as the call; an unconnected netlink socket sends to the kernel.
        let sent = unsafe {
            libc::send(
                self.socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
            )
        };
        if sent < 0 {
            return Err(SysError::last("send", target));
        }
        Ok(())
    }

    fn receive(&self, target: &str) -> Result<Vec<u8>, SysError> {
        let mut bytes = vec![0u8; ANSWER];
        loop {
            // SAFETY: the buffer is as long as is said.
            let got = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    bytes.as_mut_ptr().cast(),
                    bytes.len(),
                    libc::MSG_TRUNC,
                )
            };
            match usize::try_from(got) {
                Ok(length) if length <= ANSWER => {
                    bytes.truncate(length);
                    return Ok(bytes);
                }
                Ok(_) => {
                    return Err(SysError {
                        call: "recv",
                        target: target.to_owned(),
                        errno: Errno(libc::EMSGSIZE),
                    });
                }
                Err(_) if Errno::last().0 == libc::EINTR => {}
                Err(_) => return Err(SysError::last("recv", target)),
            }
        }
    }

    /// Makes all changes, or none.
    ///
    /// # Errors
    /// The first change that the kernel refused: `EPERM` without the right, `ENOENT` for what is not there,
    /// `EOPNOTSUPP` or `ENOENT` for an expression that this kernel has not, `EBUSY` for a set or chain in use.
    pub fn change(&mut self, changes: &[Change]) -> Result<(), SysError> {
        if changes.is_empty() {
            return Ok(());
        }
        let first = self.sequence;
        let mut out = Messages::new(first);
        out.begin();
        let mut owners = vec![None];
        for (index, change) in changes.iter().enumerate() {
            let last = index + 1 == changes.len();
            let before = out.count();
            out.change(change, last);
            owners.extend((before..out.count()).map(|_| Some(index)));
        }
        let last = out.last_sequence();
        out.end();
        self.sequence = out.next_sequence();
        self.send(&out.bytes, "nf_tables")?;
        loop {
            let bytes = self.receive("nf_tables")?;
            for message in Message::all(&bytes) {
                let Some(code) = message.error() else {
                    continue;
                };
                if code != 0 && message.sequence.wrapping_sub(first) < out.count() {
                    let place = usize::try_from(message.sequence.wrapping_sub(first));
                    let owner = place.ok().and_then(|at| owners.get(at).copied().flatten());
                    let target = owner.and_then(|index| changes.get(index));
                    self.forget();
                    return Err(SysError {
                        call: "nf_tables",
                        target: target.map_or_else(|| "all changes".into(), Change::target),
                        errno: Errno(code),
                    });
                }
                if code == 0 && message.sequence == last {
                    return Ok(());
                }
            }
        }
    }

    /// Answers that nobody waits for any more.
    fn forget(&self) {
        let mut bytes = vec![0u8; ANSWER];
        loop {
            // SAFETY: the buffer is as long as is said.
            let got = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    bytes.as_mut_ptr().cast(),
                    bytes.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            if got <= 0 {
                return;
            }
        }
    }

    /// All answers to one question.
    fn list(
        &mut self,
        kind: u16,
        family: Option<Family>,
        attributes: &[(u16, &str)],
    ) -> Result<Vec<Row>, SysError> {
        for _ in 0..AGAIN {
            let sequence = self.sequence;
            self.sequence = self.sequence.wrapping_add(1);
            let question = message::question(sequence, kind, family, attributes);
            self.send(&question, "nf_tables")?;
            if let Some(found) = self.answers(sequence)? {
                return Ok(found);
            }
        }
        Err(SysError {
            call: "nf_tables",
            target: "a list that changes all the time".into(),
            errno: Errno(libc::EINTR),
        })
    }

    fn answers(&self, sequence: u32) -> Result<Option<Vec<Row>>, SysError> {
        let mut found = Vec::new();
        let mut torn = false;
        loop {
            let bytes = self.receive("nf_tables")?;
            for message in Message::all(&bytes).filter(|m| m.sequence == sequence) {
                torn |= message.torn();
                match message.error() {
                    Some(0) => return Ok((!torn).then_some(found)),
                    Some(libc::EINTR) => return Ok(None),
                    Some(code) => {
                        return Err(SysError {
                            call: "nf_tables",
                            target: "list".into(),
                            errno: Errno(code),
                        });
                    }
                    None if message.done() => return Ok((!torn).then_some(found)),
                    None => found.extend(message.body()),
                }
            }
        }
    }

    /// All tables.
    ///
    /// # Errors
    /// Of sending and receiving; `EPERM` without the right.
    pub fn tables(&mut self) -> Result<Vec<(Family, String)>, SysError> {
        let rows = self.list(message::GET_TABLE, None, &[])?;
        let table = |(family, b): &Row| Some((Family::of(*family)?, attr::text(b, 1)?));
        Ok(rows.iter().filter_map(table).collect())
    }

    /// All chains, with their family and table.
    ///
    /// # Errors
    /// As [`Tables::tables`].
    pub fn chains(&mut self) -> Result<Vec<(Family, String, Chain)>, SysError> {
        let rows = self.list(message::GET_CHAIN, None, &[])?;
        Ok(rows
            .iter()
            .filter_map(|(family, b)| {
                let (table, chain) = message::read_chain(b)?;
                Some((Family::of(*family)?, table, chain))
            })
            .collect())
    }

    /// The rules of a table, in order within each chain.
    ///
    /// # Errors
    /// As [`Tables::tables`].
    pub fn rules(&mut self, family: Family, table: &str) -> Result<Vec<Rule>, SysError> {
        let rows = self.list(message::GET_RULE, Some(family), &[(1, table)])?;
        let ours = |(_, b): &&Row| attr::text(b, 1).as_deref() == Some(table);
        let rows = rows.iter().filter(ours);
        Ok(rows.filter_map(|(_, b)| message::read_rule(b)).collect())
    }

    /// The sets of a table.
    ///
    /// # Errors
    /// As [`Tables::tables`].
    pub fn sets(&mut self, family: Family, table: &str) -> Result<Vec<Set>, SysError> {
        let rows = self.list(message::GET_SET, Some(family), &[(1, table)])?;
        let ours = |(_, b): &&Row| attr::text(b, 1).as_deref() == Some(table);
        let rows = rows.iter().filter(ours);
        Ok(rows.filter_map(|(_, b)| message::read_set(b)).collect())
    }

    /// The elements of a set.
    ///
    /// # Errors
    /// As [`Tables::tables`]; `ENOENT` where there is no such set.
    pub fn elements(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
    ) -> Result<Vec<Element>, SysError> {
        let rows = self.list(message::GET_ELEMENTS, Some(family), &[(1, table), (2, set)])?;
        Ok(rows
            .iter()
            .flat_map(|(_, b)| message::read_elements(b))
            .collect())
    }
}
