//! What passes a node, as a pcapng file (draft-ietf-opsawg-pcapng).

use super::{LabEntry, LabRunError};
use crate::error::At;
use jaula_sys::capture::{Capture, Frame};
use jaula_sys::netlink::{Link, Socket};
use jaula_sys::signal::Blocked;
use jaula_sys::{namespace, process};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What is written of a frame at most: more than the largest that a link takes.
const SNAP: usize = 65_550;
/// LINKTYPE_ETHERNET
const ETHERNET: u16 = 1;

/// When a capture ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// After so many frames.
    pub frames: u64,
    /// After so long.
    pub time: Option<Duration>,
    /// Before the file would be longer, in bytes.
    pub bytes: u64,
}

/// What was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Captured {
    /// How many frames.
    pub frames: u64,
    /// The file's length.
    pub bytes: u64,
    /// How many more passed that the kernel had no room for: they came faster than the file is written.
    pub lost: u64,
}

/// Writes what passes a node's interface, or all of them, until a bound is reached or a signal that ends a program
/// comes. `ready` is called when nothing is missed any more. This process must have one thread, and is in the lab from
/// then on.
///
/// # Errors
/// When the lab has ended, there is no such interface, or the file cannot be written.
pub fn capture(
    entry: &LabEntry,
    node: usize,
    interface: Option<&str>,
    file: &Path,
    bounds: Bounds,
    ready: &mut dyn FnMut(),
) -> Result<Captured, LabRunError> {
    let made = |what: &str| {
        let what = what.to_owned();
        move |source| LabRunError::Make { what, source }
    };
    let (users, net) = (entry.users()?, entry.net(node)?);
    let mut out = BufWriter::new(File::create(file).at("make", file)?);
    namespace::join_kind(users.0.as_fd(), users.1).map_err(made("the way into the lab"))?;
    namespace::join(net.0.as_fd()).map_err(made("the way into the node"))?;
    let links = Socket::open().and_then(|mut socket| socket.links());
    let mut links = links.map_err(made("a list of interfaces"))?;
    if let Some(name) = interface {
        links.retain(|link| link.name == name);
    }
    let only = match (interface, links.first()) {
        (None, _) => None,
        (Some(_), Some(link)) => Some(link.index),
        (Some(name), None) => {
            return Err(LabRunError::Node {
                what: "capture".to_owned(),
                text: format!("the node has no interface {name:?}"),
                code: 125,
            });
        }
    };
    let socket = Capture::open(only).map_err(made("a packet socket"))?;
    let blocked = Blocked::new().map_err(made("room for signals"))?;
    let signals = blocked.descriptor().map_err(made("room for signals"))?;
    let mut captured = Captured::default();
    let put = |out: &mut BufWriter<File>, block: &[u8], captured: &mut Captured| {
        captured.bytes += block.len() as u64;
        out.write_all(block).at("write", file)
    };
    put(&mut out, &head(&links), &mut captured)?;
    out.flush().at("write", file)?;
    ready();
    let start = Instant::now();
    let mut buffer = vec![0; SNAP];
    'all: while captured.frames < bounds.frames {
        loop {
            let frame = match socket.next(&mut buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                // ENETDOWN: the interface went, with its lab or by somebody in the node.
                Err(error) if error.errno.0 == 100 => break 'all,
                Err(error) => return Err(made("the capture")(error)),
            };
            let Some(number) = links.iter().position(|link| link.index == frame.link) else {
                continue;
            };
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let block = packet(
                number,
                &frame,
                since,
                buffer.get(..frame.captured).unwrap_or_default(),
            );
            if captured.bytes.saturating_add(block.len() as u64) > bounds.bytes {
                break 'all;
            }
            put(&mut out, &block, &mut captured)?;
            captured.frames += 1;
            if captured.frames >= bounds.frames {
                break 'all;
            }
        }
        // Who looks at the file meanwhile finds whole blocks.
        out.flush().at("write", file)?;
        let left = bounds.time.map(|time| time.saturating_sub(start.elapsed()));
        if left == Some(Duration::ZERO) || !entry.alive() {
            break;
        }
        let left = left
            .unwrap_or(Duration::MAX)
            .min(Duration::from_millis(500));
        let millis = i32::try_from(left.as_millis()).unwrap_or(500).max(1);
        let ready = process::readable(&[socket.fd(), signals.as_fd()], millis);
        // SIGHUP, SIGINT, SIGQUIT, SIGTERM; others, a window's new size among them, end nothing.
        if ready & 2 != 0 && matches!(jaula_sys::signal::next(&signals), Some(1 | 2 | 3 | 15)) {
            break;
        }
    }
    out.flush().at("write", file)?;
    captured.lost = socket.lost().map_err(made("the capture"))?;
    Ok(captured)
}

/// A block: its type, its length before and behind its body, which is padded to four bytes.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let length = u32::try_from(padded + 12).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(padded + 12);
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(body);
    bytes.resize(padded + 8, 0);
    bytes.extend_from_slice(&length);
    bytes
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The section's head, and an interface for every link.
fn head(links: &[Link]) -> Vec<u8> {
    const SECTION: u32 = 0x0a0d_0d0a;
    const INTERFACE: u32 = 1;
    const NAME: u16 = 2;
    let mut body = Vec::new();
    body.extend_from_slice(&0x1a2b_3c4du32.to_le_bytes());
    body.extend_from_slice(&1u16.to_le_bytes());
    body.extend_from_slice(&0u16.to_le_bytes());
    // Of unknown length.
    body.extend_from_slice(&u64::MAX.to_le_bytes());
    let mut bytes = block(SECTION, &body);
    for link in links {
        let mut body = Vec::new();
        body.extend_from_slice(&ETHERNET.to_le_bytes());
        body.extend_from_slice(&0u16.to_le_bytes());
        body.extend_from_slice(&u32::try_from(SNAP).unwrap_or(0).to_le_bytes());
        option(&mut body, NAME, link.name.as_bytes());
        option(&mut body, 0, &[]);
        bytes.extend(block(INTERFACE, &body));
    }
    bytes
}

/// An enhanced packet block. Times are microseconds.
fn packet(interface: usize, frame: &Frame, since: Duration, data: &[u8]) -> Vec<u8> {
    const ENHANCED: u32 = 6;
    const FLAGS: u16 = 2;
    let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    let word = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let mut body = Vec::with_capacity(data.len() + 40);
    body.extend_from_slice(&word(interface));
    body.extend_from_slice(&((micros >> 32) as u32).to_le_bytes());
    body.extend_from_slice(&(micros as u32).to_le_bytes());
    body.extend_from_slice(&word(data.len()));
    body.extend_from_slice(&word(frame.length));
    body.extend_from_slice(data);
    body.resize(body.len().next_multiple_of(4), 0);
    let direction: u32 = if frame.leaves { 2 } else { 1 };
    option(&mut body, FLAGS, &direction.to_le_bytes());
    option(&mut body, 0, &[]);
    block(ENHANCED, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_say_their_length_twice() {
        let frame = Frame {
            link: 2,
            captured: 5,
            length: 60,
            leaves: true,
        };
        let bytes = packet(1, &frame, Duration::from_secs(1 << 20), b"hello");
        assert_eq!(bytes.len() % 4, 0);
        let length = u32::try_from(bytes.len()).expect("short").to_le_bytes();
        assert_eq!(bytes[4..8], length);
        assert_eq!(bytes[bytes.len() - 4..], length);
        assert_eq!(&bytes[28..33], b"hello");
        assert_eq!(bytes[24..28], 60u32.to_le_bytes());
    }
}
