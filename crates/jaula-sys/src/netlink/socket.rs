//! The socket, and requests in batches.

use super::wire::{Message, Writer, messages, u32_at};
use crate::error::{Errno, SysError};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::os::fd::{BorrowedFd, OwnedFd};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;

/// How many requests go to the kernel in one call. Their answers wait in the socket's buffer, which holds at least
/// 208 KiB, of which each takes less than one.
const AT_ONCE: usize = 128;
/// A dump that changed while it was read is read again, so many times.
const DUMPS: usize = 8;
/// Room for one datagram of a dump; the kernel makes them of at most 32 KiB.
const ROOM: usize = 64 << 10;

/// A socket of the kernel's networks, in one network namespace for as long as it is open.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// A request that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// Which of the batch, from 0.
    pub at: usize,
    /// What the kernel said.
    #[source]
    pub error: SysError,
}

/// Requests, in order.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    requests: Vec<Request>,
}

#[derive(Debug, Clone)]
struct Request {
    writer: Writer,
    call: &'static str,
    target: String,
}

impl Batch {
    /// Without requests.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many requests it holds.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// One more request; `target` is what a person calls what it is about.
    pub(super) fn push(
        &mut self,
        (kind, call): (u16, &'static str),
        flags: u16,
        target: impl Into<String>,
        write: impl FnOnce(&mut Writer),
    ) {
        let mut writer = Writer::default();
        let start = writer.begin(kind, NLM_F_REQUEST | NLM_F_ACK | flags, 0);
        write(&mut writer);
        writer.end(start);
        self.requests.push(Request {
            writer,
            call,
            target: target.into(),
        });
    }
}

fn refused(call: &'static str, target: &str, errno: i32) -> SysError {
    SysError {
        call,
        target: target.to_owned(),
        errno: Errno(errno),
    }
}

impl Socket {
    /// In the network namespace of this thread.
    ///
    /// # Errors
    /// When the kernel has no such sockets, or the process no descriptors left.
    pub fn open() -> Result<Self, SysError> {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE
            None,
        )
        .map_err(|errno| SysError::io("socket", "NETLINK_ROUTE", &errno.into()))?;
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; ROOM],
        })
    }

    /// In another network namespace ([`crate::namespace::in_network`]).
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn open_in(namespace: BorrowedFd<'_>) -> Result<Self, SysError> {
        crate::namespace::in_network(namespace, Self::open)?
    }

    /// Has the kernel do every request, in order. It goes on after one that it refuses; the first such is returned.
    ///
    /// # Errors
    /// The first refusal.
    pub fn apply(&mut self, batch: &Batch) -> Result<(), Failed> {
        let mut first = None;
        for (number, chunk) in batch.requests.chunks(AT_ONCE).enumerate() {
            let before = number * AT_ONCE;
            if let Err(failed) = self.apply_chunk(chunk, before)
                && first.is_none()
            {
                first = Some(failed);
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn apply_chunk(&mut self, chunk: &[Request], before: usize) -> Result<(), Failed> {
        let base = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(chunk.len() * 128);
        for request in chunk {
            self.sequence = self.sequence.wrapping_add(1);
            let start = bytes.len();
            bytes.extend_from_slice(request.writer.bytes());
            if let Some(place) = bytes.get_mut(start + 8..start + 12) {
                place.copy_from_slice(&self.sequence.to_ne_bytes());
            }
        }
        let broken = |at: usize, error: std::io::Error| {
            let request = chunk.get(at);
            Failed {
                at: before + at,
                error: SysError::io(
                    request.map_or("netlink", |request| request.call),
                    request.map_or("", |request| request.target.as_str()),
                    &error,
                ),
            }
        };
        send(&self.fd, &bytes, SendFlags::empty()).map_err(|errno| broken(0, errno.into()))?;
        let mut first: Option<Failed> = None;
        let mut answered = 0;
        while answered < chunk.len() {
            let length =
                receive(&self.fd, &mut self.buffer).map_err(|error| broken(answered, error))?;
            for message in messages(self.buffer.get(..length).unwrap_or_default()) {
                let at = message.sequence.wrapping_sub(base) as usize;
                let Some(request) = chunk.get(at).filter(|_| message.kind == NLMSG_ERROR) else {
                    continue;
                };
                answered += 1;
                let errno = error_of(message);
                if errno != 0 && first.as_ref().is_none_or(|first| at + before < first.at) {
                    first = Some(Failed {
                        at: before + at,
                        error: refused(request.call, &request.target, errno),
                    });
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// All that a request asks for, each answer's body read by `read`.
    pub(super) fn dump<T>(
        &mut self,
        (kind, call): (u16, &'static str),
        fixed: &[u8],
        read: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, SysError> {
        for _ in 0..DUMPS {
            if let Some(all) = self.dump_once((kind, call), NLM_F_DUMP, fixed, &read)? {
                return Ok(all);
            }
        }
        Err(refused(call, "all", libc::EINTR))
    }

    /// What a request for one thing answers.
    pub(super) fn one<T>(
        &mut self,
        (kind, call): (u16, &'static str),
        target: &str,
        write: impl FnOnce(&mut Writer),
        read: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<T, SysError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut writer = Writer::default();
        let start = writer.begin(kind, NLM_F_REQUEST, self.sequence);
        write(&mut writer);
        writer.end(start);
        let io = |error: std::io::Error| SysError::io(call, target, &error);
        send(&self.fd, writer.bytes(), SendFlags::empty()).map_err(|errno| io(errno.into()))?;
        loop {
            let length = receive(&self.fd, &mut self.buffer).map_err(io)?;
            for message in messages(self.buffer.get(..length).unwrap_or_default()) {
                if message.sequence != self.sequence {
                    continue;
                }
                if message.kind == NLMSG_ERROR {
                    return Err(refused(call, target, error_of(message)));
                }
                return read(message.kind, message.body)
                    .ok_or_else(|| refused(call, target, libc::EBADMSG));
            }
        }
    }

    /// None when what was read changed meanwhile.
    fn dump_once<T>(
        &mut self,
        (kind, call): (u16, &'static str),
        flags: u16,
        fixed: &[u8],
        read: &impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, SysError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut writer = Writer::default();
        let start = writer.begin(kind, NLM_F_REQUEST | flags, self.sequence);
        writer.raw(fixed);
        writer.end(start);
        let io = |error: std::io::Error| SysError::io(call, "all", &error);
        send(&self.fd, writer.bytes(), SendFlags::empty()).map_err(|errno| io(errno.into()))?;
        let mut all = Vec::new();
        let mut whole = true;
        loop {
            let length = receive(&self.fd, &mut self.buffer).map_err(io)?;
            for message in messages(self.buffer.get(..length).unwrap_or_default()) {
                if message.sequence != self.sequence {
                    continue;
                }
                whole &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE => match done_of(message) {
                        0 => return Ok(whole.then_some(all)),
                        errno => return Err(refused(call, "all", errno)),
                    },
                    NLMSG_ERROR => return Err(refused(call, "all", error_of(message))),
                    kind => all.extend(read(kind, message.body)),
                }
            }
        }
    }
}

/// The errno of an error message; 0 is an acknowledgement.
fn error_of(message: Message<'_>) -> i32 {
    u32_at(message.body, 0).map_or(libc::EBADMSG, |word| {
        word.cast_signed().checked_neg().unwrap_or(libc::EBADMSG)
    })
}

/// The errno of a dump's last message: how it ended. Nothing is said where the kernel is old.
fn done_of(message: Message<'_>) -> i32 {
    let said = u32_at(message.body, 0).unwrap_or(0).cast_signed();
    said.checked_neg().unwrap_or(libc::EBADMSG).max(0)
}

/// The next datagram, whole.
fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize, std::io::Error> {
    let length = loop {
        match recv(fd, &mut buffer[..], RecvFlags::TRUNC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?.1,
        }
    };
    if length > buffer.len() {
        return Err(std::io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    Ok(length)
}
