//! The sockets: a thread for each address and protocol, a few that wait for others' answers.

use super::DnsError;
use super::zone::{Decision, Zone, addresses, answers, failure};
use crate::fetch::servers;
use crate::firewall;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Where name servers listen.
const PORT: u16 = 53;
/// The largest message over UDP that is taken (with EDNS, RFC 6891).
const ROOM: usize = 4096;
/// Threads that wait for others.
const WORKERS: usize = 8;
/// Questions that wait for one of them; more are dropped, and asked again by who asked.
const WAITING: usize = 128;
/// How long one server is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rounds over all servers.
const ROUNDS: usize = 2;
/// Connections at once.
const CONNECTIONS: usize = 32;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(5);
/// Questions of one connection.
const QUESTIONS: usize = 100;
/// Seconds that an address stays reachable beyond what its answer says: a connection is opened after the answer.
const GRACE: u64 = 30;

/// Names of lists, as they are now, and whether those below are meant.
pub type Listed = dyn Fn() -> Vec<(String, bool)> + Send + Sync;

/// Names of lists: what they stand for goes into the sets of the firewall.
pub struct Watched {
    /// The bridge whose firewall it is.
    pub bridge: String,
    /// The names.
    pub names: Box<Listed>,
}

impl Watched {
    fn hit(&self, name: &str) -> impl Iterator<Item = (String, bool)> {
        (self.names)().into_iter().filter(move |(known, below)| {
            let rest = name.strip_suffix(known.as_str());
            match below {
                true => rest.is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
                false => rest == Some(""),
            }
        })
    }
}

/// What the names are, whenever somebody asks.
pub type Names = dyn Fn() -> Zone + Send + Sync;

/// A forwarder that runs.
pub struct Forwarder {
    shared: Arc<Shared>,
    sockets: Vec<(UdpSocket, TcpListener)>,
}

struct Shared {
    names: Box<Names>,
    watched: Watched,
    resolv_conf: PathBuf,
    own: Vec<IpAddr>,
    connections: AtomicUsize,
}

type Job = (Arc<UdpSocket>, Vec<u8>, String, SocketAddr);

impl Forwarder {
    /// Listens at the addresses.
    ///
    /// # Errors
    /// [`DnsError`] for the first where it cannot.
    pub fn open(
        own: &[IpAddr],
        names: Box<Names>,
        watched: Watched,
        resolv_conf: PathBuf,
    ) -> Result<Self, DnsError> {
        let mut sockets = Vec::new();
        for address in own {
            let address = SocketAddr::new(*address, PORT);
            let failed = |source| DnsError { address, source };
            let udp = UdpSocket::bind(address).map_err(failed)?;
            sockets.push((udp, TcpListener::bind(address).map_err(failed)?));
        }
        Ok(Self {
            sockets,
            shared: Arc::new(Shared {
                names,
                watched,
                resolv_conf,
                own: own.to_vec(),
                connections: AtomicUsize::new(0),
            }),
        })
    }

    /// Starts answering, in threads that end with the process.
    pub fn start(self) {
        let (sender, receiver) = sync_channel::<Job>(WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..WORKERS {
            let (shared, receiver) = (self.shared.clone(), receiver.clone());
            thread::spawn(move || work(&shared, &receiver));
        }
        for (udp, tcp) in self.sockets {
            let (shared, sender) = (self.shared.clone(), sender.clone());
            thread::spawn(move || listen(&shared, &Arc::new(udp), &sender));
            let shared = self.shared.clone();
            thread::spawn(move || accept(&shared, &tcp));
        }
    }
}

fn listen(shared: &Shared, socket: &Arc<UdpSocket>, jobs: &SyncSender<Job>) {
    let mut buffer = vec![0; ROOM];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            // An answer that did not arrive is reported here; a socket that is broken must not spin.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let question = buffer.get(..length).unwrap_or_default();
        let zone = (shared.names)();
        if !zone.serves(from.ip()) {
            continue;
        }
        match zone.decide(question) {
            // Who does not hear the answer asks again.
            Decision::Answer(answer) => drop(socket.send_to(&answer, from)),
            Decision::Ask(name) => {
                drop(jobs.try_send((socket.clone(), question.to_vec(), name, from)));
            }
            Decision::Nothing => {}
        }
    }
}

fn work(shared: &Shared, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().ok().and_then(|jobs| jobs.recv().ok());
        let Some((socket, question, name, from)) = job else {
            return;
        };
        let answer = shared.ask(&question, &name, over_udp);
        if let Some(answer) = answer.or_else(|| failure(&question)) {
            drop(socket.send_to(&answer, from));
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    loop {
        let Ok((stream, from)) = listener.accept() else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        if !(shared.names)().serves(from.ip()) {
            continue;
        }
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let mine = shared.clone();
        let started = thread::Builder::new().spawn(move || {
            // However it ends, it ends.
            drop(converse(&mine, stream));
            mine.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_err() {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn converse(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    for _ in 0..QUESTIONS {
        let question = read_message(&mut stream)?;
        let answer = match (shared.names)().decide(&question) {
            Decision::Answer(answer) => Some(answer),
            Decision::Ask(name) => shared.ask(&question, &name, over_tcp),
            Decision::Nothing => return Ok(()),
        };
        let Some(answer) = answer.or_else(|| failure(&question)) else {
            return Ok(());
        };
        write_message(&mut stream, &answer)?;
    }
    Ok(())
}

fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat())
}

fn over_udp(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each question: who wants to answer in another's place has to guess it.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(question)?;
    let until = Instant::now() + PATIENCE;
    let mut buffer = vec![0; ROOM];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        let answer = buffer.get(..length).unwrap_or_default();
        if answers(question, answer) {
            return Ok(answer.to_vec());
        }
    }
}

fn over_tcp(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_message(&mut stream, question)?;
    let answer = read_message(&mut stream)?;
    match answers(question, &answer) {
        true => Ok(answer),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

impl Shared {
    /// Asks the host's resolvers, with a number of our own; what the answer says of watched names goes to the firewall
    /// before it goes to who asked.
    fn ask(
        &self,
        question: &[u8],
        name: &str,
        way: fn(&[u8], SocketAddr) -> io::Result<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        use std::hash::{BuildHasher, Hasher};
        let conf = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
        let known: Vec<IpAddr> = servers(&conf);
        let known = known.iter().filter(|server| !self.own.contains(server));
        let chance = std::collections::hash_map::RandomState::new().build_hasher();
        let [a, b, ..] = chance.finish().to_ne_bytes();
        let (theirs, rest) = question.split_at_checked(2)?;
        let ours = [&[a, b][..], rest].concat();
        let mut all: Vec<&IpAddr> = Vec::new();
        for _ in 0..ROUNDS {
            all.extend(known.clone());
        }
        let answer = all.into_iter().find_map(|server| {
            let server = SocketAddr::new(*server, PORT);
            way(&ours, server).ok()
        })?;
        self.learn(name, &answer);
        Some([theirs, answer.get(2..)?].concat())
    }

    fn learn(&self, name: &str, answer: &[u8]) {
        for (known, below) in self.watched.hit(name) {
            let found: Vec<(IpAddr, Duration)> = addresses(answer)
                .into_iter()
                .map(|(address, ttl)| (address, Duration::from_secs(u64::from(ttl) + GRACE)))
                .collect();
            // Without the set nobody is let pass: the guest sees a closed door, as before.
            drop(firewall::feed(
                &self.watched.bridge,
                (&known, below),
                &found,
            ));
        }
    }
}
