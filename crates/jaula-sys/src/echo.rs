//! One echo, as ping(8) sends it (RFC 792, 4443), and what comes back: the answer, or who refuses.

use crate::SysError;
use crate::packet::readable;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// What came of an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// It was answered.
    Answered,
    /// Somebody says that it does not get there: who, and the code of "destination unreachable".
    Refused(IpAddr, u8),
    /// Nobody said anything in time.
    Silence,
}

/// What an echo is known by.
const NUMBER: [u8; 4] = [0x6a, 0x61, 0, 1];
/// Bytes of an IPv6 header, and of the least IPv4 header.
const HEAD_6: usize = 40;

/// The checksum of the Internet (RFC 1071); a last odd byte is left out.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let (pairs, _) = bytes.as_chunks::<2>();
    let mut sum: u32 = pairs
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap_or(0)).to_be_bytes()
}

/// The part of an IPv4 packet after its header.
fn after_ip4(packet: &[u8]) -> Option<&[u8]> {
    let head = usize::from(packet.first()? & 0xf) * 4;
    packet.get(head..)
}

/// What a message says about the echo, if it is about it.
fn about(message: &[u8], from: IpAddr) -> Option<Echo> {
    let (kind, code) = (*message.first()?, *message.get(1)?);
    let ours = |echo: &[u8]| echo.get(4..8) == Some(&NUMBER[..]);
    let inner = || {
        let original = message.get(8..)?;
        match from {
            IpAddr::V4(_) => after_ip4(original),
            IpAddr::V6(_) => original.get(HEAD_6..),
        }
    };
    let (answer, unreachable) = match from {
        IpAddr::V4(_) => (0, 3),
        IpAddr::V6(_) => (129, 1),
    };
    if kind == answer && ours(message) {
        return Some(Echo::Answered);
    }
    (kind == unreachable && inner().is_some_and(ours)).then_some(Echo::Refused(from, code))
}

/// Sends one echo and waits.
///
/// # Errors
/// Of the kernel here: `ENETUNREACH` where it knows no way, `EPERM` without the right.
pub fn echo(to: IpAddr, wait: Duration) -> Result<Echo, SysError> {
    let target = to.to_string();
    let (family, protocol) = match to {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
    };
    // SAFETY: numbers only.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(SysError::last("socket(ICMP)", target));
    }
    // SAFETY: the kernel just gave the descriptor.
    let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(NUMBER);
    message.extend(b"jaula net check!");
    if to.is_ipv4() {
        let sum = checksum(&message);
        message.splice(2..4, sum);
    }
    let sent = socket.send_to(&message, SocketAddr::new(to, 0));
    sent.map_err(|error| SysError::io("sendto", &target, &error))?;
    let until = Instant::now() + wait;
    let mut buffer = [0; 2048];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Echo::Silence);
        }
        if !readable(&[socket.as_raw_fd()], left)?.contains(&true) {
            continue;
        }
        let got = socket.recv_from(&mut buffer);
        let (length, from) = got.map_err(|error| SysError::io("recvfrom", &target, &error))?;
        let packet = buffer.get(..length).unwrap_or_default();
        let message = match to {
            IpAddr::V4(_) => after_ip4(packet),
            IpAddr::V6(_) => Some(packet),
        };
        if let Some(found) = message.and_then(|message| about(message, from.ip())) {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_echo_counts() {
        let four: IpAddr = [10, 0, 0, 1].into();
        let six: IpAddr = "fd77::1".parse().unwrap();
        let echo = |kind: u8| [&[kind, 0, 0, 0][..], &NUMBER].concat();
        assert_eq!(about(&echo(0), four), Some(Echo::Answered));
        assert_eq!(about(&echo(129), six), Some(Echo::Answered));
        assert_eq!(about(&echo(8), four), None);
        let mut ip = vec![0x46];
        ip.resize(24, 0);
        let refused = [&[3, 13, 0, 0, 0, 0, 0, 0][..], &ip, &echo(8)].concat();
        assert_eq!(about(&refused, four), Some(Echo::Refused(four, 13)));
        let refused = [&[1, 1, 0, 0, 0, 0, 0, 0][..], &[0; 40], &echo(128)].concat();
        assert_eq!(about(&refused, six), Some(Echo::Refused(six, 1)));
        for end in 0..refused.len() {
            assert_eq!(about(refused.get(..end).unwrap(), six), None);
            assert_eq!(after_ip4(&[]), None);
        }
    }
}
