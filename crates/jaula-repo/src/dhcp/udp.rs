//! UDP over IPv4 as bytes: a client has no address yet, so it writes its packets itself (RFC 768, 791).

use std::net::Ipv4Addr;

/// Where servers listen.
pub const SERVER_PORT: u16 = 67;
/// Where clients listen.
pub const CLIENT_PORT: u16 = 68;
/// Bytes of IPv4's header without options.
const HEAD: usize = 20;
/// Bytes of UDP's header.
const UDP_HEAD: usize = 8;
/// UDP's number above IP.
const UDP: u8 = 17;
/// Hops that a packet may take.
const HOPS: u8 = 64;

/// A datagram that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it, as it says.
    pub from: Ipv4Addr,
    /// Whom it is for.
    pub to: Ipv4Addr,
    /// Its source port.
    pub from_port: u16,
    /// Its destination port.
    pub to_port: u16,
    /// What is in it.
    pub data: &'a [u8],
}

fn add(sum: u32, bytes: &[u8]) -> u32 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map(|byte| u32::from(*byte) << 8);
    let pairs = pairs
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)));
    // At most 32 Ki pairs of 16 bits, folded before they are added to others.
    let total = pairs.chain(last).fold(0u32, u32::wrapping_add);
    fold(sum) + fold(total)
}

fn fold(mut sum: u32) -> u32 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// The ones' complement of the ones' complement sum (RFC 1071).
fn checksum(sum: u32) -> u16 {
    !u16::try_from(fold(sum)).unwrap_or(0)
}

fn pseudo(from: Ipv4Addr, to: Ipv4Addr, length: u16) -> u32 {
    let sum = add(add(0, &from.octets()), &to.octets());
    sum + u32::from(UDP) + u32::from(length)
}

/// The packet of a datagram; none where it would be longer than a packet can be.
pub fn datagram(d: &Datagram<'_>) -> Option<Vec<u8>> {
    let length = u16::try_from(UDP_HEAD + d.data.len()).ok()?;
    let whole = length.checked_add(u16::try_from(HEAD).ok()?)?;
    let mut head = vec![0x45, 0];
    head.extend(whole.to_be_bytes());
    // No identification, not to be split.
    head.extend([0, 0, 0x40, 0, HOPS, UDP, 0, 0]);
    head.extend(d.from.octets());
    head.extend(d.to.octets());
    let sum = checksum(add(0, &head)).to_be_bytes();
    head.splice(10..12, sum);
    let mut udp = Vec::new();
    for number in [d.from_port, d.to_port, length, 0] {
        udp.extend(number.to_be_bytes());
    }
    udp.extend(d.data);
    let sum = match checksum(add(pseudo(d.from, d.to, length), &udp)) {
        // No sum at all is written as nothing.
        0 => 0xffff_u16,
        sum => sum,
    };
    udp.splice(6..8, sum.to_be_bytes());
    head.extend(udp);
    Some(head)
}

/// Reads a packet: one piece, whole, with sums that are right where there are any. Sums of UDP that the sender left to
/// its card never arrive on a virtual link; `trusted` says that they are not looked at.
pub fn read_datagram(packet: &[u8], trusted: bool) -> Option<Datagram<'_>> {
    let byte = |at: usize| packet.get(at).copied();
    let two = |at: usize| Some(u16::from_be_bytes([byte(at)?, byte(at + 1)?]));
    let four = |at: usize| -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(bytes.into())
    };
    let first = byte(0)?;
    let head = usize::from(first & 0xf) * 4;
    let whole = usize::from(two(2)?);
    let split = two(6)? & 0x3fff != 0;
    if first >> 4 != 4 || head < HEAD || byte(9)? != UDP || split {
        return None;
    }
    let header = packet.get(..head)?;
    if checksum(add(0, header)) != 0 {
        return None;
    }
    let (from, to) = (four(12)?, four(16)?);
    let udp = packet.get(head..whole)?;
    let length = two(head + 4)?;
    let udp = udp.get(..usize::from(length))?;
    let data = udp.get(UDP_HEAD..)?;
    let sum = two(head + 6)?;
    if sum != 0 && !trusted && checksum(add(pseudo(from, to, length), udp)) != 0 {
        return None;
    }
    Some(Datagram {
        from,
        to,
        from_port: two(head)?,
        to_port: two(head + 2)?,
        data,
    })
}
