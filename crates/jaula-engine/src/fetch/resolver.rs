//! Names of hosts, without the C library: a program that is linked statically cannot rely on its resolver. `/etc/hosts`
//! first, then the servers of `/etc/resolv.conf` over UDP, and TCP where the answer did not fit (RFC 1035, 7766).

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Rounds over all servers.
const ROUNDS: u32 = 2;
/// How long one server is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Addresses that ureq takes.
const MOST: usize = 16;

/// Where the answers come from.
#[derive(Debug, Clone)]
pub struct Stub {
    pub hosts: PathBuf,
    pub resolv_conf: PathBuf,
    pub port: u16,
}

impl Default for Stub {
    fn default() -> Self {
        Self {
            hosts: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            port: 53,
        }
    }
}

impl Stub {
    /// The addresses of `host`, IPv4 first; none if it has none.
    pub fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        // RFC 6761: never asked for.
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let hosts = std::fs::read_to_string(&self.hosts).unwrap_or_default();
        let known = in_hosts(&hosts, &host);
        if !known.is_empty() {
            return Ok(known);
        }
        let conf = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
        let servers = servers(&conf);
        let mut failure = io::Error::from(io::ErrorKind::TimedOut);
        for _ in 0..ROUNDS {
            for server in &servers {
                let server = SocketAddr::new(*server, self.port);
                match ask_both(server, &host) {
                    Ok(addresses) => return Ok(addresses),
                    Err(error) => failure = error,
                }
            }
        }
        Err(failure)
    }
}

/// resolv.conf(5): `nameserver`; this machine itself if there is none.
pub fn servers(conf: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = conf
        .lines()
        .filter_map(|line| {
            line.split_whitespace()
                .collect::<Vec<_>>()
                .split_first()
                .map(|(w, r)| (*w, r.first().copied()))
        })
        .filter(|(word, _)| *word == "nameserver")
        // A zone (`fe80::1%eth0`) cannot be said with an address alone.
        .filter_map(|(_, address)| address?.parse().ok())
        .take(3)
        .collect();
    if found.is_empty() {
        found.push(Ipv4Addr::LOCALHOST.into());
    }
    found
}

/// hosts(5)
pub fn in_hosts(hosts: &str, host: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else {
            continue;
        };
        if words.any(|name| name.eq_ignore_ascii_case(host)) && found.len() < MOST {
            found.push(address);
        }
    }
    found
}

fn ask_both(server: SocketAddr, host: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses = ask(server, host, TYPE::A)?;
    // A server that knows nothing of IPv6 does no harm when there is an IPv4 address.
    match ask(server, host, TYPE::AAAA) {
        Ok(more) => addresses.extend(more),
        Err(error) if addresses.is_empty() => return Err(error),
        Err(_) => {}
    }
    addresses.truncate(MOST);
    Ok(addresses)
}

fn bad<E: std::error::Error + Send + Sync + 'static>(error: E) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn ask(server: SocketAddr, host: &str, kind: TYPE) -> io::Result<Vec<IpAddr>> {
    let id = jaula_sys::dir::random().map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))?;
    let mut query = Packet::new_query(id);
    query.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(host).map_err(bad)?;
    query
        .questions
        .push(Question::new(name, kind.into(), CLASS::IN.into(), false));
    let query = query.build_bytes_vec().map_err(bad)?;

    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(server)?;
    socket.send(&query)?;
    let mut buffer = vec![0u8; 4096];
    // Strays are passed over, not endlessly.
    for _ in 0..8 {
        let length = socket.recv(&mut buffer)?;
        let answer = buffer.get(..length).unwrap_or_default();
        match read(answer, id, host, kind) {
            Answer::Stray => {}
            Answer::Truncated => return ask_tcp(server, &query, id, host, kind),
            Answer::Failed => return Err(io::ErrorKind::InvalidData.into()),
            Answer::Addresses(addresses) => return Ok(addresses),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn ask_tcp(
    server: SocketAddr,
    query: &[u8],
    id: u16,
    host: &str,
    kind: TYPE,
) -> io::Result<Vec<IpAddr>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = u16::try_from(query.len()).map_err(bad)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(query)?;
    let mut length = [0u8; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0u8; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer)?;
    match read(&answer, id, host, kind) {
        Answer::Addresses(addresses) => Ok(addresses),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not to our question.
    Stray,
    /// To be asked again over TCP.
    Truncated,
    /// The server cannot tell.
    Failed,
    /// These; none if the name has none.
    Addresses(Vec<IpAddr>),
}

/// Reads an answer to our question: aliases are followed within it (RFC 1034, 3.6.2), nothing else is taken.
pub fn read(bytes: &[u8], id: u16, host: &str, kind: TYPE) -> Answer {
    // The reader of the crate is strict about trailing bytes and counts; a broken answer is no answer.
    let Ok(packet) = Packet::parse(bytes) else {
        return Answer::Stray;
    };
    let asked = packet.questions.first().is_some_and(|question| {
        question.qtype == kind.into() && question.qname.to_string().eq_ignore_ascii_case(host)
    });
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !asked {
        return Answer::Stray;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Answer::Truncated;
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Answer::Addresses(Vec::new()),
        _ => return Answer::Failed,
    }
    let mut names = vec![host.to_ascii_lowercase()];
    // Aliases may come in any order: as many rounds as there are answers, within reason.
    for _ in 0..packet.answers.len().min(MOST) {
        for answer in &packet.answers {
            if let RData::CNAME(alias) = &answer.rdata {
                let (from, to) = (
                    answer.name.to_string().to_ascii_lowercase(),
                    alias.0.to_string().to_ascii_lowercase(),
                );
                if names.contains(&from) && !names.contains(&to) && names.len() <= MOST {
                    names.push(to);
                }
            }
        }
    }
    let addresses = packet
        .answers
        .iter()
        .filter(|answer| names.contains(&answer.name.to_string().to_ascii_lowercase()));
    let addresses = addresses.filter_map(|answer| match &answer.rdata {
        RData::A(a) => Some(Ipv4Addr::from(a.address).into()),
        RData::AAAA(aaaa) => Some(Ipv6Addr::from(aaaa.address).into()),
        _ => None,
    });
    Answer::Addresses(addresses.take(MOST).collect())
}

impl Resolver for Stub {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri
            .host()
            .ok_or_else(|| ureq::Error::BadUri(uri.to_string()))?;
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        });
        let mut found = self.empty();
        for address in self.lookup(host)?.into_iter().take(MOST) {
            found.push(SocketAddr::new(address, port));
        }
        if found.is_empty() {
            Err(ureq::Error::HostNotFound)
        } else {
            Ok(found)
        }
    }
}
