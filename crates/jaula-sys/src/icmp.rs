//! Echo requests and their answers (RFC 792, RFC 4443).

use crate::error::SysError;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto,
    socket_with,
};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Asks and hears answers of one family, in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Echo {
    socket: OwnedFd,
    v6: bool,
    id: u16,
}

/// RFC 1071
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| {
            u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Echo {
    /// `id` tells its answers from those of others. Needs CAP_NET_RAW.
    ///
    /// # Errors
    /// When the kernel has no such sockets or does not permit it.
    pub fn open(v6: bool, id: u16) -> Result<Self, SysError> {
        let (family, protocol) = match v6 {
            true => (AddressFamily::INET6, ipproto::ICMPV6),
            false => (AddressFamily::INET, ipproto::ICMP),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::RAW, flags, Some(protocol));
        let socket = socket.map_err(|errno| SysError::io("socket", "ICMP", &errno.into()))?;
        Ok(Self { socket, v6, id })
    }

    /// To wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Asks.
    ///
    /// # Errors
    /// ENETUNREACH and its like when there is no way.
    pub fn ask(&self, to: IpAddr, sequence: u16) -> Result<(), SysError> {
        let mut message = [0u8; 16];
        message[0] = if self.v6 { 128 } else { 8 };
        message[4..6].copy_from_slice(&self.id.to_be_bytes());
        message[6..8].copy_from_slice(&sequence.to_be_bytes());
        // The kernel computes that of ICMPv6, in which addresses have a part.
        if !self.v6 {
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let to = SocketAddr::new(to, 0);
        let sent = sendto(&self.socket, &message, SendFlags::empty(), &to);
        sent.map(drop)
            .map_err(|errno| SysError::io("sendto", to.ip().to_string(), &errno.into()))
    }

    /// Who has answered, to which question, with which hop limit left, if an answer waits. What else comes is passed
    /// over.
    pub fn answer(&self) -> Option<(IpAddr, u16)> {
        let mut buffer = [0u8; 1500];
        // As long as something waits.
        while let Ok((length, _, from)) =
            recvfrom(&self.socket, &mut buffer[..], RecvFlags::empty())
        {
            let bytes = buffer.get(..length).unwrap_or_default();
            // IPv4's raw sockets give the packet with its head, whose length is in words (RFC 791, 3.1).
            let skip = match (self.v6, bytes.first()) {
                (false, Some(first)) => usize::from(first & 0xf) * 4,
                _ => 0,
            };
            let message = bytes.get(skip..).unwrap_or_default();
            let reply = if self.v6 { 129 } else { 0 };
            let half = |at: usize| {
                let pair = message.get(at..at + 2)?;
                Some(u16::from_be_bytes(pair.try_into().ok()?))
            };
            if message.first() == Some(&reply)
                && half(4) == Some(self.id)
                && let Some(sequence) = half(6)
                && let Some(from) = from
                && let Ok(from) = SocketAddr::try_from(from)
            {
                return Some((from.ip(), sequence));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // RFC 1071, 3: the sum of these is ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes), !0xddf2);
        assert_eq!(checksum(&[]), 0xffff);
    }
}
