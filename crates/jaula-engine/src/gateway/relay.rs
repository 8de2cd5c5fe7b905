//! Ports that rules cannot lead on: what is sent to `::1` never leaves the loopback, so the process of a network listens
//! there and carries to the guest what comes.

use jaula_plan::nft::{Protocol, Publish};
use jaula_sys::packet::readable;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connections of one port at once, and senders of datagrams that are told apart.
const MOST: usize = 128;
/// How long a guest may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// After how long without an answer a sender of datagrams is forgotten.
const IDLE: Duration = Duration::from_secs(60);
/// Nothing happens in this time that is not told.
const LONG: Duration = Duration::from_secs(3600);
/// Before it is tried again what failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// For how long it is tried to get ports that somebody has: another bridge's process gives up those of a jail that was
/// killed within a second.
const TAKEN: Duration = Duration::from_secs(2);
/// The largest datagram.
const ROOM: usize = 65_535;

/// The ports that are listened at, and where each leads.
#[derive(Default)]
pub(super) struct Relays(BTreeMap<(u16, Protocol), Relay>);

/// One port; it is closed when this is dropped, with all that goes through it.
struct Relay {
    to: SocketAddr,
    live: Arc<Live>,
    stop: Option<PipeWriter>,
    listens: Option<JoinHandle<()>>,
}

impl Drop for Relay {
    /// The port is free when this returns.
    fn drop(&mut self) {
        self.live.end();
        drop(self.stop.take());
        // It waits for nothing else than that.
        drop(self.listens.take().map(JoinHandle::join));
    }
}

/// The connections of a port.
#[derive(Default)]
struct Live {
    all: Mutex<All>,
    places: Arc<()>,
}

#[derive(Default)]
struct All {
    /// Both ends of each.
    ends: BTreeMap<u64, [TcpStream; 2]>,
    last: u64,
    /// The port is closed: one that was accepted before ends too.
    over: bool,
}

impl Live {
    /// Room for one more connection, for as long as it is held.
    fn place(&self) -> Option<Arc<()>> {
        (Arc::strong_count(&self.places) <= MOST).then(|| self.places.clone())
    }

    fn add(&self, ends: [TcpStream; 2]) -> Option<u64> {
        let mut all = self.all.lock().ok()?;
        if all.over || all.ends.len() >= MOST {
            return None;
        }
        all.last = all.last.wrapping_add(1);
        let number = all.last;
        all.ends.insert(number, ends);
        Some(number)
    }

    fn remove(&self, number: u64) {
        if let Ok(mut all) = self.all.lock() {
            all.ends.remove(&number);
        }
    }

    fn end(&self) {
        if let Ok(mut all) = self.all.lock() {
            all.over = true;
            // One that is closed already is what is wanted.
            let ends = all.ends.values().flatten();
            ends.for_each(|end| drop(end.shutdown(Shutdown::Both)));
        }
    }
}

impl Relays {
    /// Whether it listens at such a port of `::1`.
    pub(super) fn has(&self, port: u16, protocol: Protocol) -> bool {
        self.0.contains_key(&(port, protocol))
    }

    /// Listens where it should, and nowhere else. A port that somebody has is tried again with the next change.
    pub(super) fn set(&mut self, wanted: &[(Publish, IpAddr)]) {
        let all: BTreeMap<(u16, Protocol), SocketAddr> = wanted
            .iter()
            .map(|(publish, to)| {
                let key = (publish.port, publish.protocol);
                (key, SocketAddr::new(*to, publish.guest_port))
            })
            .collect();
        self.0.retain(|key, relay| all.get(key) == Some(&relay.to));
        let end = Instant::now() + TAKEN;
        for ((port, protocol), to) in all {
            if self.has(port, protocol) {
                continue;
            }
            let start = || match protocol {
                Protocol::Tcp => listen(port, to),
                Protocol::Udp => receive(port, to),
            };
            let mut started = start();
            let taken = |started: &io::Result<Relay>| {
                let kind = started.as_ref().err().map(io::Error::kind);
                kind == Some(ErrorKind::AddrInUse)
            };
            while taken(&started) && Instant::now() < end {
                thread::sleep(PAUSE);
                started = start();
            }
            if let Ok(relay) = started {
                self.0.insert((port, protocol), relay);
            }
        }
    }
}

fn here(port: u16) -> SocketAddr {
    (Ipv6Addr::LOCALHOST, port).into()
}

fn listen(port: u16, to: SocketAddr) -> io::Result<Relay> {
    let listener = TcpListener::bind(here(port))?;
    listener.set_nonblocking(true)?;
    let (stopped, stop) = io::pipe()?;
    let live = Arc::new(Live::default());
    let shared = live.clone();
    let listens = thread::Builder::new().spawn(move || {
        loop {
            let fds = [listener.as_raw_fd(), stopped.as_raw_fd()];
            if readable(&fds, LONG).is_ok_and(|ready| ready.get(1) == Some(&true)) {
                return;
            }
            let Ok((client, _)) = listener.accept() else {
                // Without a descriptor for it who knocks goes on knocking.
                thread::sleep(PAUSE);
                continue;
            };
            // Counted before anything is spent on it: who knocks may be any user of this host.
            let Some(place) = shared.place() else {
                continue;
            };
            let shared = shared.clone();
            // Where no thread is to be had the connection ends.
            drop(thread::Builder::new().spawn(move || {
                let _place = place;
                carry(&client, to, &shared)
            }));
        }
    })?;
    Ok(Relay {
        to,
        live,
        stop: Some(stop),
        listens: Some(listens),
    })
}

/// Carries what each end says to the other one, until both have said all.
fn carry(client: &TcpStream, to: SocketAddr, live: &Live) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let guest = TcpStream::connect_timeout(&to, PATIENCE)?;
    let Some(number) = live.add([client.try_clone()?, guest.try_clone()?]) else {
        return Ok(());
    };
    thread::scope(|scope| {
        let back = thread::Builder::new().spawn_scoped(scope, || one_way(&guest, client));
        match back {
            Ok(_) => one_way(client, &guest),
            Err(_) => drop(client.shutdown(Shutdown::Both)),
        }
    });
    live.remove(number);
    Ok(())
}

fn one_way(mut from: &TcpStream, mut to: &TcpStream) {
    let whole = io::copy(&mut from, &mut to);
    // The other way may go on, unless this one broke.
    let how = if whole.is_ok() {
        Shutdown::Write
    } else {
        Shutdown::Both
    };
    drop(to.shutdown(how));
    if whole.is_err() {
        drop(from.shutdown(Shutdown::Both));
    }
}

type Senders = Mutex<BTreeMap<SocketAddr, Arc<UdpSocket>>>;

fn receive(port: u16, to: SocketAddr) -> io::Result<Relay> {
    let socket = Arc::new(UdpSocket::bind(here(port))?);
    socket.set_nonblocking(true)?;
    let (stopped, stop) = io::pipe()?;
    let stopped = Arc::new(stopped);
    let listens = thread::Builder::new().spawn(move || {
        let senders = Arc::new(Senders::default());
        let mut buffer = vec![0; ROOM];
        loop {
            let fds = [socket.as_raw_fd(), stopped.as_raw_fd()];
            if readable(&fds, LONG).is_ok_and(|ready| ready.get(1) == Some(&true)) {
                return;
            }
            let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            let known = senders.lock().ok().and_then(|all| all.get(&from).cloned());
            let way = known.or_else(|| answers(&socket, &stopped, &senders, from, to).ok());
            if let Some(way) = way {
                // A datagram may be lost.
                drop(way.send(buffer.get(..length).unwrap_or_default()));
            }
        }
    })?;
    Ok(Relay {
        to,
        live: Arc::default(),
        stop: Some(stop),
        listens: Some(listens),
    })
}

/// A socket to the guest for one sender, and a thread that brings him what comes back. It ends with the port, which is
/// not its own to keep.
fn answers(
    socket: &Arc<UdpSocket>,
    stopped: &Arc<PipeReader>,
    senders: &Arc<Senders>,
    from: SocketAddr,
    to: SocketAddr,
) -> io::Result<Arc<UdpSocket>> {
    let full = || io::Error::from(io::ErrorKind::QuotaExceeded);
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let way = Arc::new(UdpSocket::bind((any, 0))?);
    way.connect(to)?;
    way.set_nonblocking(true)?;
    {
        let mut all = senders.lock().map_err(|_| full())?;
        if all.len() >= MOST {
            return Err(full());
        }
        all.insert(from, way.clone());
    }
    let (socket, stopped) = (Arc::downgrade(socket), stopped.clone());
    let (senders, back) = (senders.clone(), way.clone());
    thread::Builder::new().spawn(move || {
        bring(&socket, &stopped, &back, from);
        if let Ok(mut all) = senders.lock() {
            all.remove(&from);
        }
    })?;
    Ok(way)
}

/// Brings a sender what comes back, until nothing does for a while or the port is closed.
fn bring(socket: &Weak<UdpSocket>, stopped: &PipeReader, back: &UdpSocket, to: SocketAddr) {
    let mut buffer = vec![0; ROOM];
    loop {
        let ready = readable(&[back.as_raw_fd(), stopped.as_raw_fd()], IDLE);
        if ready.unwrap_or_default() != [true, false] {
            return;
        }
        // What the guest refuses ends it, as what nobody answers does.
        let Ok(length) = back.recv(&mut buffer) else {
            return;
        };
        let Some(socket) = socket.upgrade() else {
            return;
        };
        drop(socket.send_to(buffer.get(..length).unwrap_or_default(), to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// A port of `::1` that is free.
    fn free() -> u16 {
        let any = TcpListener::bind(here(0)).unwrap();
        any.local_addr().unwrap().port()
    }

    fn publish(port: u16, to: SocketAddr, protocol: Protocol) -> (Publish, IpAddr) {
        let publish = Publish {
            address: None,
            port,
            guest_port: to.port(),
            protocol,
        };
        (publish, to.ip())
    }

    #[test]
    fn what_comes_is_carried_both_ways_and_ends_with_the_port() {
        let guest = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = guest.local_addr().unwrap();
        let (mut relays, port) = (Relays::default(), free());
        relays.set(&[publish(port, to, Protocol::Tcp)]);
        let mut client = TcpStream::connect(here(port)).unwrap();
        let (mut inside, _) = guest.accept().unwrap();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        inside.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "question");
        inside.write_all(b"answer").unwrap();
        drop(inside);
        heard.clear();
        client.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "answer");
        // One that lasts is ended with the port, and nobody listens there any more.
        let mut client = TcpStream::connect(here(port)).unwrap();
        let (_inside, _) = guest.accept().unwrap();
        relays.set(&[]);
        assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0);
        while TcpListener::bind(here(port)).is_err() {
            thread::yield_now();
        }
    }

    #[test]
    fn answers_to_datagrams_find_who_asked() {
        let guest = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = guest.local_addr().unwrap();
        let (mut relays, port) = (Relays::default(), free());
        relays.set(&[publish(port, to, Protocol::Udp)]);
        let clients = [(); 2].map(|()| UdpSocket::bind(here(0)).unwrap());
        let mut buffer = [0; 64];
        for (client, word) in clients.iter().zip([b"one", b"two"]) {
            client.send_to(word, here(port)).unwrap();
            let (length, from) = guest.recv_from(&mut buffer).unwrap();
            guest.send_to(&buffer[..length], from).unwrap();
        }
        for (client, word) in clients.iter().zip([b"one", b"two"]) {
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (&word[..], here(port)));
        }
        // Who was answered a moment ago keeps nothing.
        relays.set(&[]);
        UdpSocket::bind(here(port)).unwrap();
    }

    #[test]
    fn a_port_that_somebody_has_is_not_listened_at_until_he_leaves_it() {
        let guest = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = guest.local_addr().unwrap();
        let (mut relays, other) = (Relays::default(), TcpListener::bind(here(0)).unwrap());
        let port = other.local_addr().unwrap().port();
        relays.set(&[publish(port, to, Protocol::Tcp)]);
        assert!(!relays.has(port, Protocol::Tcp));
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(PAUSE);
                drop(other);
            });
            relays.set(&[publish(port, to, Protocol::Tcp)]);
        });
        assert!(relays.has(port, Protocol::Tcp));
    }
}
