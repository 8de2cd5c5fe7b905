//! ICMPv6 on one link, for a router that tells its neighbours about itself (RFC 4861, 3542).

use crate::{Errno, SysError};
use std::ffi::CString;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// All nodes and all routers of a link (RFC 4291 section 2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// What has come this far has come by no router (RFC 4861 section 6.1).
const HOPS: libc::c_int = 255;

/// A packet that asks whose an address is, of one who has none yet, and the card of those whom it concerns (RFC 4862
/// section 5.4.2, RFC 4291 section 2.7.1).
pub fn neighbour_question(about: Ipv6Addr) -> (Vec<u8>, [u8; 6]) {
    let [.., a, b, c] = about.octets();
    let mut to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
    let [.., x, y, z] = &mut to;
    (*x, *y, *z) = (a, b, c);
    let mut message = vec![SOLICITS, 0, 0, 0, 0, 0, 0, 0];
    message.extend(about.octets());
    // The header that the sum is of (RFC 8200 section 8.1): from nobody.
    let mut summed = vec![0; 16];
    summed.extend(to);
    summed.extend([0, 0, 0, LENGTH, 0, 0, 0, ICMP]);
    summed.extend(&message);
    if let [_, _, high, low, ..] = message.as_mut_slice() {
        [*high, *low] = crate::echo::checksum(&summed);
    }
    let mut packet = vec![0x60, 0, 0, 0, 0, LENGTH, ICMP, 255];
    packet.extend([0; 16]);
    packet.extend(to);
    packet.extend(message);
    (packet, [0x33, 0x33, 0xff, a, b, c])
}

/// The number of ICMP for IPv6, of a neighbour's question and his answer (RFC 4861), and the length of the former.
const ICMP: u8 = 58;
const SOLICITS: u8 = 135;
const ADVERTISES: u8 = 136;
const LENGTH: u8 = 24;

/// The address that the sender of a packet says is his, or is about to take.
pub fn claimed(packet: &[u8]) -> Option<Ipv6Addr> {
    let header: &[u8; 40] = packet.first_chunk()?;
    let message: &[u8; 24] = packet.get(40..)?.first_chunk()?;
    let nobody = header.get(8..24)? == [0; 16];
    let claims = match (header[6], header[7], message[0]) {
        (ICMP, 255, ADVERTISES) => true,
        (ICMP, 255, SOLICITS) => nobody,
        _ => false,
    };
    let about: [u8; 16] = message.get(8..)?.try_into().ok()?;
    claims.then(|| about.into())
}

/// A socket that hears and speaks as a router does.
#[derive(Debug)]
pub struct RouterSocket {
    // The standard library's type sends and receives; the protocol below makes no difference to it.
    socket: UdpSocket,
    index: u32,
}

impl RouterSocket {
    /// Opens one on a link.
    ///
    /// # Errors
    /// `EPERM` without the right, `ENODEV` without the link.
    pub fn open(link: &str) -> Result<Self, SysError> {
        let last = |call| SysError::last(call, link);
        let name = CString::new(link).map_err(|_| SysError {
            call: "if_nametoindex",
            target: link.to_owned(),
            errno: Errno(libc::ENODEV),
        })?;
        // SAFETY: a string with its end.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(last("if_nametoindex"));
        }
        // SAFETY: numbers only.
        let fd = unsafe {
            libc::socket(
                libc::AF_INET6,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::IPPROTO_ICMPV6,
            )
        };
        if fd < 0 {
            return Err(last("socket(ICMPv6)"));
        }
        // SAFETY: the kernel just gave the descriptor.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        let set = |level, option, value: *const libc::c_void, length: usize| {
            let length = libc::socklen_t::try_from(length).unwrap_or(0);
            // SAFETY: each caller below gives a value that lives as long as the call, with its length.
            match unsafe { libc::setsockopt(fd, level, option, value, length) } {
                0 => Ok(()),
                _ => Err(last("setsockopt")),
            }
        };
        set(
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            link.as_ptr().cast(),
            link.len(),
        )?;
        let hops = HOPS;
        for option in [libc::IPV6_MULTICAST_HOPS, libc::IPV6_UNICAST_HOPS] {
            set(libc::IPPROTO_IPV6, option, (&raw const hops).cast(), 4)?;
        }
        let never: libc::c_int = 0;
        let option = libc::IPV6_MULTICAST_LOOP;
        set(libc::IPPROTO_IPV6, option, (&raw const never).cast(), 4)?;
        // Of all messages only solicitations (RFC 3542 section 3.2): a bit that is set keeps a type out.
        let mut filter = [u32::MAX; 8];
        if let Some(word) = filter.get_mut(133 / 32) {
            *word &= !(1 << (133 % 32));
        }
        set(libc::IPPROTO_ICMPV6, 1, (&raw const filter).cast(), 32)?;
        let socket = UdpSocket::from(owned);
        socket
            .join_multicast_v6(&ALL_ROUTERS, index)
            .map_err(|error| SysError::io("join", link, &error))?;
        Ok(Self { socket, index })
    }

    /// Tells all nodes of the link.
    ///
    /// # Errors
    /// Those of sendto(2).
    pub fn tell(&self, message: &[u8]) -> Result<(), SysError> {
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, self.index);
        let sent = self.socket.send_to(message, to);
        sent.map(|_| ())
            .map_err(|error| SysError::io("sendto", "all nodes", &error))
    }

    /// Takes a message that has come.
    ///
    /// # Errors
    /// Those of recvfrom(2).
    pub fn receive(&self, buffer: &mut [u8]) -> Result<usize, SysError> {
        let got = self.socket.recv_from(buffer);
        got.map(|(length, _)| length)
            .map_err(|error| SysError::io("recvfrom", "ICMPv6", &error))
    }
}

impl AsRawFd for RouterSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_about_an_address_claims_it() {
        let about = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0x12, 0x3456);
        let (packet, to) = neighbour_question(about);
        assert_eq!(to, [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        assert_eq!(claimed(&packet), Some(about));
        let sum = packet.get(42..44).unwrap();
        let mut whole = vec![0; 16];
        whole.extend(packet.get(24..40).unwrap());
        whole.extend([0, 0, 0, 24, 0, 0, 0, 58]);
        whole.extend(packet.get(40..).unwrap());
        assert_ne!(sum, [0, 0]);
        assert_eq!(crate::echo::checksum(&whole), [0, 0]);
        // Who asks as somebody wants to know where a neighbour is.
        let mut asked = packet.clone();
        asked[8] = 0xfd;
        assert_eq!(claimed(&asked), None);
        asked[40] = ADVERTISES;
        assert_eq!(claimed(&asked), Some(about));
        // What came by a router is none of this link's.
        asked[7] = 64;
        assert_eq!(claimed(&asked), None);
        for end in 0..packet.len() {
            assert_eq!(claimed(&packet[..end]), None);
        }
    }
}
