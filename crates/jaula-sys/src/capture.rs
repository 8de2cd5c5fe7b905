//! Frames as they pass a network namespace (packet(7)).

use crate::error::SysError;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// All protocols, in network byte order (ETH_P_ALL of linux/if_ether.h).
const ALL: u16 = 0x0003u16.to_be();
/// Bytes that may wait to be read: a burst is not lost while a file is written.
static WAITING: libc::c_int = 4 << 20;

/// What of a frame is told beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The link's number.
    pub link: u32,
    /// How many bytes were read.
    pub captured: usize,
    /// How many bytes it has.
    pub length: usize,
    /// Whether it leaves by the link.
    pub leaves: bool,
}

/// Reads frames in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// Of one link, by its number, or of all. Needs CAP_NET_RAW there.
    ///
    /// # Errors
    /// When the kernel has no such sockets or does not permit it.
    pub fn open(link: Option<u32>) -> Result<Self, SysError> {
        let failed = |call| SysError::last(call, "packet socket");
        // With no protocol nothing comes before it is bound.
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(failed("socket"));
        }
        // SAFETY: just opened, and owned by nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // What cannot be enlarged stays as it is: then more is lost in a burst.
        // SAFETY: the value is an int of the size given.
        unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_RCVBUF,
                (&raw const WAITING).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        // SAFETY: zero is a valid value of every field.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ALL;
        address.sll_ifindex = link.unwrap_or(0).cast_signed();
        // SAFETY: the address is whole, of the size given.
        let bound = unsafe {
            libc::bind(
                fd,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if bound < 0 {
            return Err(failed("bind"));
        }
        Ok(Self { socket })
    }

    /// To wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// How many frames there was no room for, since it was opened or since this was asked last.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn lost(&self) -> Result<u64, SysError> {
        // `struct tpacket_stats` of linux/if_packet.h: all, and what there was no room for.
        let mut counts = [0u32; 2];
        let mut size = size_of_val(&counts) as libc::socklen_t;
        // SAFETY: the two numbers are as long as said.
        let got = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                counts.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        match got {
            0 => Ok(counts[1].into()),
            _ => Err(SysError::last("getsockopt", "packet socket")),
        }
    }

    /// The next frame, if one waits; what does not fit the buffer is cut off.
    ///
    /// # Errors
    /// Those of recvfrom(2); ENETDOWN when the link is gone.
    pub fn next(&self, buffer: &mut [u8]) -> Result<Option<Frame>, SysError> {
        let mut address = MaybeUninit::<libc::sockaddr_ll>::zeroed();
        let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the buffer and the address are as long as said.
        let length = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                address.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        let Ok(length) = usize::try_from(length) else {
            let error = SysError::last("recvfrom", "packet socket");
            return match error.errno.0 {
                libc::EAGAIN | libc::EINTR => Ok(None),
                _ => Err(error),
            };
        };
        // SAFETY: all bytes were zero, which is valid, before the kernel wrote some.
        let address = unsafe { address.assume_init() };
        Ok(Some(Frame {
            link: address.sll_ifindex.cast_unsigned(),
            captured: length.min(buffer.len()),
            length,
            leaves: address.sll_pkttype == libc::PACKET_OUTGOING,
        }))
    }
}
