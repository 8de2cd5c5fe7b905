//! Packets of one link as they are, for who has no address yet (packet(7)); and sockets of UDP that belong to one link.

use crate::{Errno, SysError};
use std::ffi::CString;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// IPv4's number on Ethernet.
pub const IP: u16 = 0x0800;
/// ARP's.
pub const ARP: u16 = 0x0806;
/// That of IPv6.
pub const IP6: u16 = 0x86dd;

/// A socket that sees the packets of one protocol on one link, without the link's own header.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    index: i32,
    protocol: u16,
    link: String,
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Its bytes in the buffer.
    pub length: usize,
    /// The card that sent it.
    pub from: [u8; 6],
}

fn index(link: &str) -> Result<i32, SysError> {
    let missing = || SysError {
        call: "if_nametoindex",
        target: link.to_owned(),
        errno: Errno(libc::ENODEV),
    };
    let name = CString::new(link).map_err(|_| missing())?;
    // SAFETY: a string with its end.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        // It opens a socket, which may fail too: that says nothing of the link.
        return Err(SysError::last("if_nametoindex", link));
    }
    i32::try_from(index).map_err(|_| missing())
}

/// Whether there is no such link. What cannot be told is no: who asks would let go of what is still there.
pub fn is_gone(link: &str) -> bool {
    index(link).is_err_and(|error| error.errno.0 == libc::ENODEV)
}

/// The address of a link's card.
///
/// # Errors
/// `ENODEV` where there is no such link; others of ioctl(2).
pub fn card(link: &str) -> Result<[u8; 6], SysError> {
    index(link)?;
    let last = || SysError::last("ioctl(SIOCGIFHWADDR)", link);
    // SAFETY: numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(last());
    }
    // SAFETY: the kernel just gave the descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeros is a value of this structure of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(link.bytes().take(15)) {
        *to = from.cast_signed() as libc::c_char;
    }
    // SAFETY: the structure is the one that the call fills.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) };
    if done < 0 {
        return Err(last());
    }
    // SAFETY: the call filled this member.
    let data = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(data) {
        *to = from as u8;
    }
    Ok(mac)
}

/// A program of classic BPF for UDP over IPv4 to one port (linux/filter.h): bytes start at IP's header.
fn only_port(port: u16) -> [libc::sock_filter; 9] {
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    [
        op(0x30, 0, 0, 9),               // load byte 9: the protocol
        op(0x15, 0, 6, 17),              // UDP?
        op(0x28, 0, 0, 6),               // load two bytes at 6
        op(0x45, 4, 0, 0x1fff),          // a later piece?
        op(0xb1, 0, 0, 0),               // the header's length
        op(0x48, 0, 0, 2),               // the destination port
        op(0x15, 0, 1, u32::from(port)), // this one?
        op(0x06, 0, 0, 0xffff),          // all of it
        op(0x06, 0, 0, 0),               // nothing
    ]
}

impl PacketSocket {
    /// Opens one; with a port it sees only datagrams of UDP to that port.
    ///
    /// # Errors
    /// `EPERM` without the right over the link's network namespace, `ENODEV` without the link.
    pub fn open(link: &str, protocol: u16, port: Option<u16>) -> Result<Self, SysError> {
        let index = index(link)?;
        let last = |call| SysError::last(call, link);
        // Without a protocol nothing is seen before the filter is there.
        // SAFETY: numbers only.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(last("socket(AF_PACKET)"));
        }
        // SAFETY: the kernel just gave the descriptor.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Self {
            fd: owned,
            index,
            protocol,
            link: link.to_owned(),
        };
        if let Some(port) = port {
            let mut code = only_port(port);
            let program = libc::sock_fprog {
                len: 9,
                filter: code.as_mut_ptr(),
            };
            // SAFETY: the program has nine instructions and lives as long as the call.
            let set = unsafe {
                libc::setsockopt(
                    fd,
                    libc::SOL_SOCKET,
                    libc::SO_ATTACH_FILTER,
                    (&raw const program).cast(),
                    size_of::<libc::sock_fprog>() as libc::socklen_t,
                )
            };
            if set < 0 {
                return Err(last("setsockopt(SO_ATTACH_FILTER)"));
            }
        }
        let address = socket.address([0; 6]);
        // SAFETY: the address is of the family's own type and length.
        let bound = unsafe {
            libc::bind(
                fd,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if bound < 0 {
            return Err(last("bind"));
        }
        Ok(socket)
    }

    fn address(&self, to: [u8; 6]) -> libc::sockaddr_ll {
        // SAFETY: all zeros is a value of this structure of numbers.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = self.protocol.to_be();
        address.sll_ifindex = self.index;
        address.sll_halen = 6;
        for (octet, byte) in address.sll_addr.iter_mut().zip(to) {
            *octet = byte;
        }
        address
    }

    /// Sends a packet to a card.
    ///
    /// # Errors
    /// Those of sendto(2): `ENETDOWN` while the link is down.
    pub fn send(&self, packet: &[u8], to: [u8; 6]) -> Result<(), SysError> {
        let address = self.address(to);
        // SAFETY: packet and address live as long as the call, and their lengths are given.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 {
            return Err(SysError::last("sendto", &self.link));
        }
        Ok(())
    }

    /// Waits for a packet from somebody else; nothing where none came in time. One that is longer than the buffer is cut.
    ///
    /// # Errors
    /// Those of recvfrom(2); an end of the link is one.
    pub fn receive(&self, buffer: &mut [u8], wait: Duration) -> Result<Option<Arrived>, SysError> {
        if !crate::packet::readable(&[self.fd.as_raw_fd()], wait)?.contains(&true) {
            return Ok(None);
        }
        // SAFETY: all zeros is a value of this structure of numbers.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: buffer and address are as long as is said.
        let got = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                (&raw mut from).cast(),
                &raw mut length,
            )
        };
        let Ok(got) = usize::try_from(got) else {
            return match Errno::last().0 {
                libc::EAGAIN | libc::EINTR => Ok(None),
                _ => Err(SysError::last("recvfrom", &self.link)),
            };
        };
        let mut mac = [0; 6];
        for (to, byte) in mac.iter_mut().zip(from.sll_addr) {
            *to = byte;
        }
        let own = from.sll_pkttype == libc::PACKET_OUTGOING;
        Ok((!own && from.sll_halen == 6).then_some(Arrived {
            length: got,
            from: mac,
        }))
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

/// Which of the descriptors can be read, or have ended; none where nothing happens in time.
///
/// # Errors
/// Those of poll(2), but for signals, which end the wait.
pub fn readable(fds: &[std::os::fd::RawFd], wait: Duration) -> Result<Vec<bool>, SysError> {
    let mut polled: Vec<libc::pollfd> = fds
        .iter()
        .map(|fd| libc::pollfd {
            fd: *fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    // Rounded up: a wait of less than a millisecond is not none.
    let millis = wait.as_micros().div_ceil(1000);
    let millis = libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX);
    let count = polled.len() as libc::nfds_t;
    // SAFETY: the list is as long as is said.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), count, millis) };
    if ready < 0 && Errno::last().0 != libc::EINTR {
        return Err(SysError::last("poll", "sockets"));
    }
    Ok(polled.iter().map(|p| ready > 0 && p.revents != 0).collect())
}

/// A socket of UDP at an address, for what comes by one link; others may have the same port on other links.
///
/// # Errors
/// `EADDRINUSE` where somebody listens there, `EADDRNOTAVAIL` where the address is not this host's.
pub fn udp_on(link: &str, address: SocketAddr) -> Result<UdpSocket, SysError> {
    let target = format!("{address} on {link}");
    let last = |call| SysError::last(call, target.clone());
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: numbers only.
    let fd = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(last("socket"));
    }
    // SAFETY: the kernel just gave the descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the name's bytes live as long as the call.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            link.as_ptr().cast(),
            link.len() as libc::socklen_t,
        )
    };
    if set < 0 {
        return Err(last("setsockopt(SO_BINDTODEVICE)"));
    }
    let native = rustix::net::bind(&fd, &address);
    native.map_err(|errno| SysError {
        call: "bind",
        target: target.clone(),
        errno: Errno(errno.raw_os_error()),
    })?;
    Ok(UdpSocket::from(fd))
}

/// An ARP packet over Ethernet for IPv4 (RFC 826): a question, with the address that is asked for.
pub fn arp_question(mac: [u8; 6], from: Ipv4Addr, about: Ipv4Addr) -> Vec<u8> {
    let mut out = vec![0, 1, 8, 0, 6, 4, 0, 1];
    out.extend(mac);
    out.extend(from.octets());
    out.extend([0; 6]);
    out.extend(about.octets());
    out
}

/// The card and the address that the sender of an ARP packet says he has; and the address that he asks for.
pub fn read_arp(bytes: &[u8]) -> Option<([u8; 6], Ipv4Addr, Ipv4Addr)> {
    if bytes.get(..6)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let mac: [u8; 6] = bytes.get(8..14)?.try_into().ok()?;
    let said: [u8; 4] = bytes.get(14..18)?.try_into().ok()?;
    let about: [u8; 4] = bytes.get(24..28)?.try_into().ok()?;
    Some((mac, said.into(), about.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arp_packet_is_read_as_it_was_written() {
        let (from, about) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let packet = arp_question([2, 0, 0, 0, 0, 1], from, about);
        assert_eq!(read_arp(&packet), Some(([2, 0, 0, 0, 0, 1], from, about)));
        for end in 0..packet.len() {
            assert_eq!(read_arp(packet.get(..end).unwrap()), None);
        }
    }

    #[test]
    fn there_is_no_link_without_a_name() {
        for name in ["", "no such link", "a\0b"] {
            assert_eq!(card(name).unwrap_err().errno, Errno(libc::ENODEV));
            PacketSocket::open(name, ARP, None).unwrap_err();
        }
    }
}
