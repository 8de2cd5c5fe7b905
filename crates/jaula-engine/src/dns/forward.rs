//! The sockets: a thread for each address and protocol, a few that wait for others' answers.

use super::DnsError;
use super::queue::{Limits, Queue};
use super::zone::{Decision, Zone, addresses, answers, failure, question_for, refusal};
use crate::fetch::servers;
use crate::firewall;
use jaula_plan::nft::may_be_named;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Where name servers listen.
const PORT: u16 = 53;
/// The largest message over UDP that is taken (with EDNS, RFC 6891).
const ROOM: usize = 4096;
/// Threads that wait for others.
const WORKERS: usize = 16;
/// Questions that wait for one of them; more are dropped, and asked again by who asked.
const LIMITS: Limits = Limits {
    waiting: 512,
    of_one: 64,
    at_once: 6,
};
/// How often the same question is passed on at a time before one that this host itself asks is taken for our own that
/// came back.
const AGAIN: usize = 2;
/// How long one server is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rounds over all servers.
const ROUNDS: usize = 2;
/// Connections at once, of all and of one guest.
const CONNECTIONS: usize = 64;
const CONNECTIONS_OF_ONE: usize = 8;
/// How long a message may take to come or to go, however slowly its bytes do, and how long a connection may last.
const IDLE: Duration = Duration::from_secs(5);
const TALK: Duration = Duration::from_secs(60);
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
    /// Connections, by who made them.
    connections: Mutex<BTreeMap<IpAddr, usize>>,
    /// What is asked elsewhere now: the questions without their numbers, and how often.
    asking: Mutex<BTreeMap<Vec<u8>, usize>>,
}

type Job = (Arc<UdpSocket>, Vec<u8>, String, SocketAddr);

/// One more of something that is counted by a key, until this is dropped.
struct Counted<'a, K: Ord + Clone>(&'a Mutex<BTreeMap<K, usize>>, K);

impl<'a, K: Ord + Clone> Counted<'a, K> {
    /// None if there are so many already, of this key or of all.
    fn add(all: &'a Mutex<BTreeMap<K, usize>>, key: K, of_one: usize, most: usize) -> Option<Self> {
        let mut counts = all.lock().ok()?;
        let one = counts.get(&key).copied().unwrap_or(0);
        if one >= of_one || counts.values().sum::<usize>() >= most {
            return None;
        }
        counts.insert(key.clone(), one.saturating_add(1));
        Some(Self(all, key))
    }
}

impl<K: Ord + Clone> Drop for Counted<'_, K> {
    fn drop(&mut self) {
        if let Ok(mut counts) = self.0.lock() {
            match counts.get_mut(&self.1) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(counts.remove(&self.1)),
            }
        }
    }
}

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
                connections: Mutex::default(),
                asking: Mutex::default(),
            }),
        })
    }

    /// Starts answering, in threads that end with the process.
    pub fn start(self) {
        let queue = Arc::new(Queue::<Job>::new(LIMITS));
        for _ in 0..WORKERS {
            let (shared, queue) = (self.shared.clone(), queue.clone());
            thread::spawn(move || work(&shared, &queue));
        }
        for (udp, tcp) in self.sockets {
            let (shared, queue) = (self.shared.clone(), queue.clone());
            thread::spawn(move || listen(&shared, &Arc::new(udp), &queue));
            let shared = self.shared.clone();
            thread::spawn(move || accept(&shared, &tcp));
        }
    }
}

fn listen(shared: &Shared, socket: &Arc<UdpSocket>, jobs: &Queue<Job>) {
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
            Decision::Ask(_) if shared.came_back(from.ip(), question) => {
                drop(failure(question).map(|answer| socket.send_to(&answer, from)));
            }
            Decision::Ask(name) => {
                let job = (socket.clone(), question.to_vec(), name, from);
                jobs.put(from.ip(), job);
            }
            Decision::Nothing => {}
        }
    }
}

fn work(shared: &Shared, jobs: &Queue<Job>) {
    while let Some((guest, (socket, question, name, from))) = jobs.take() {
        let answer = shared.ask(&question, &name, over_udp);
        if let Some(answer) = answer.or_else(|| failure(&question)) {
            drop(socket.send_to(&answer, from));
        }
        jobs.done(guest);
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
        let mine = shared.clone();
        // Where no thread is to be had the connection ends, as it does however the talk ends.
        drop(thread::Builder::new().spawn(move || {
            let counts = &mine.connections;
            let one = Counted::add(counts, from.ip(), CONNECTIONS_OF_ONE, CONNECTIONS);
            if one.is_some() {
                drop(converse(&mine, stream, from.ip()));
            }
        }));
    }
}

fn converse(shared: &Shared, mut stream: TcpStream, from: IpAddr) -> io::Result<()> {
    let end = Instant::now() + TALK;
    for _ in 0..QUESTIONS {
        let question = read_message(&mut stream, end.min(Instant::now() + IDLE))?;
        let answer = match (shared.names)().decide(&question) {
            Decision::Answer(answer) => Some(answer),
            Decision::Ask(_) if shared.came_back(from, &question) => None,
            Decision::Ask(name) => shared.ask(&question, &name, over_tcp),
            Decision::Nothing => return Ok(()),
        };
        let Some(answer) = answer.or_else(|| failure(&question)) else {
            return Ok(());
        };
        write_message(&mut stream, &answer, Instant::now() + IDLE)?;
    }
    Ok(())
}

/// What is left until then; a socket's time for one call is never nothing.
fn left(until: Instant) -> io::Result<Option<Duration>> {
    let left = until.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(Some(left)),
    }
}

/// Fills the buffer before a point in time, however many calls that takes.
fn fill(stream: &mut TcpStream, mut buffer: &mut [u8], until: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        stream.set_read_timeout(left(until)?)?;
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer = buffer.get_mut(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_message(stream: &mut TcpStream, until: Instant) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    fill(stream, &mut length, until)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    fill(stream, &mut message, until)?;
    Ok(message)
}

fn write_message(stream: &mut TcpStream, message: &[u8], until: Instant) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let bytes = [&length.to_be_bytes()[..], message].concat();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        stream.set_write_timeout(left(until)?)?;
        match stream.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
        socket.set_read_timeout(left(until)?)?;
        let length = socket.recv(&mut buffer)?;
        let answer = buffer.get(..length).unwrap_or_default();
        if answers(question, answer) {
            return Ok(answer.to_vec());
        }
    }
}

fn over_tcp(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let until = Instant::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    write_message(&mut stream, question, until)?;
    let answer = read_message(&mut stream, until)?;
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
        let key = question.get(2..)?.to_vec();
        let _asking = Counted::add(&self.asking, key, usize::MAX, usize::MAX);
        // One that cannot say may have neighbours that can.
        let mut last = None;
        for server in all {
            match way(&ours, SocketAddr::new(*server, PORT)) {
                Ok(answer) if refusal(&answer) => last = Some(answer),
                Ok(answer) => {
                    last = Some(answer);
                    break;
                }
                Err(_) => {}
            }
        }
        let answer = last?;
        // Nobody hears of an address before the firewall knows it: a denied one would be open, an allowed one closed.
        if !self.learn(name, &answer) {
            return None;
        }
        Some([theirs, answer.get(2..)?].concat())
    }

    /// Whether a question is one that we pass on already, and that came back by another forwarder of this host: from
    /// one of our own addresses, and not once only, for the host may ask the same as a guest.
    fn came_back(&self, from: IpAddr, question: &[u8]) -> bool {
        let asking = self.asking.lock();
        let key = question.get(2..).unwrap_or_default();
        let again = asking.is_ok_and(|asking| asking.get(key).is_some_and(|n| *n >= AGAIN));
        again && self.own.contains(&from)
    }

    /// Tells the firewall what watched names stand for; whether it knows it now.
    fn learn(&self, name: &str, answer: &[u8]) -> bool {
        self.watched.hit(name).into_iter().all(|(known, below)| {
            let found: Vec<(IpAddr, Duration)> = addresses(answer)
                .into_iter()
                .filter(|(address, _)| may_be_named(*address))
                .map(|(address, ttl)| (address, Duration::from_secs(u64::from(ttl) + GRACE)))
                .collect();
            found.is_empty()
                || firewall::feed(&self.watched.bridge, (&known, below), &found).is_ok()
        })
    }
}

/// Whether the host's resolvers say that there is no such name. Where none of them answers nothing is known of it.
pub(crate) fn is_unknown(name: &str, resolv_conf: &str) -> bool {
    let Some(question) = question_for(name) else {
        return true;
    };
    for server in servers(resolv_conf) {
        match over_udp(&question, SocketAddr::new(server, PORT)) {
            Ok(answer) if refusal(&answer) => {}
            Ok(answer) => return super::zone::is_no_name(&answer),
            Err(_) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_message_has_one_end_of_time_however_slowly_it_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        // A byte now and then, so that no single read waits long.
        let slow = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[0, 200]).unwrap();
            while stopped.recv_timeout(Duration::from_millis(5)).is_err() {
                if stream.write_all(&[0]).is_err() {
                    break;
                }
            }
        });
        let mut stream = TcpStream::connect(at).unwrap();
        let until = Instant::now() + Duration::from_millis(100);
        let error = read_message(&mut stream, until).unwrap_err();
        let kinds = [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock];
        assert!(kinds.contains(&error.kind()), "{error}");
        stop.send(()).unwrap();
        slow.join().unwrap();
    }

    #[test]
    fn what_is_counted_has_two_bounds_and_is_given_back() {
        let all = Mutex::default();
        let one = Counted::add(&all, 1, 2, 3).unwrap();
        let _two = Counted::add(&all, 1, 2, 3).unwrap();
        assert!(Counted::add(&all, 1, 2, 3).is_none());
        let _other = Counted::add(&all, 2, 2, 3).unwrap();
        assert!(Counted::add(&all, 3, 2, 3).is_none());
        drop(one);
        assert!(Counted::add(&all, 1, 2, 3).is_some());
        assert_eq!(all.lock().unwrap().get(&1), Some(&1));
    }
}
