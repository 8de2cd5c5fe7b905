//! Runs the client's machine on a link.

use super::DhcpError;
use jaula_repo::dhcp::{
    CLIENT_PORT, Client, ClientEvent, ClientOutput, Datagram, Message, News, SERVER_PORT, datagram,
    read_datagram,
};
use jaula_sys::SysError;
use jaula_sys::packet::{ARP, IP, PacketSocket, arp_question, card, read_arp, udp_on};
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// All cards of a link.
const EVERYBODY: [u8; 6] = [0xff; 6];
/// Questions whether an address is somebody's, and the time between them (RFC 5227 waits longer; on a link of this host
/// and its neighbours an answer takes a millisecond).
const PROBES: u32 = 3;
const PROBE_WAIT: Duration = Duration::from_millis(200);
/// The largest packet that is read.
const ROOM: usize = 9216;
/// The longest wait for one packet: who wants the client to stop is heard in between.
const LONGEST: Duration = Duration::from_secs(3600);

/// Why the client's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Who was told the news wanted no more.
    Told,
    /// The time was over.
    Time,
}

/// A client on a link.
#[derive(Debug)]
pub struct AddressClient {
    link: String,
    mac: [u8; 6],
    socket: PacketSocket,
    client: Client,
    began: Instant,
    /// The card that answered last: what goes to the server alone goes there.
    server: [u8; 6],
    /// While we have an address the kernel would answer for a port where nobody listens.
    listening: Option<UdpSocket>,
    buffer: Vec<u8>,
}

impl AddressClient {
    /// A client of a link's card.
    ///
    /// # Errors
    /// [`DhcpError::Link`].
    pub fn open(link: &str, host_name: Option<String>) -> Result<Self, DhcpError> {
        let failed = |source| DhcpError::Link {
            link: link.to_owned(),
            source,
        };
        let mac = card(link).map_err(failed)?;
        let socket = PacketSocket::open(link, IP, Some(CLIENT_PORT)).map_err(failed)?;
        let chance = std::collections::hash_map::RandomState::new();
        let chance = chance.build_hasher().finish() as u32;
        Ok(Self {
            link: link.to_owned(),
            mac,
            socket,
            client: Client::new(mac, host_name, chance, 0),
            began: Instant::now(),
            server: EVERYBODY,
            listening: None,
            buffer: vec![0; ROOM],
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn failed(&self, source: SysError) -> DhcpError {
        DhcpError::Link {
            link: self.link.clone(),
            source,
        }
    }

    /// Runs until the time is over, or until who is told the news breaks off.
    ///
    /// # Errors
    /// [`DhcpError::Link`].
    pub fn run(
        &mut self,
        until: Option<Instant>,
        tell: &mut dyn FnMut(&News) -> ControlFlow<()>,
    ) -> Result<Ended, DhcpError> {
        loop {
            let mut event = ClientEvent::Time;
            let due = self.client.wake().unwrap_or(u64::MAX);
            let wait = Duration::from_millis(due.saturating_sub(self.now())).min(LONGEST);
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Ended::Time);
            }
            if let Some(message) = self.receive(wait.min(left.unwrap_or(LONGEST)))? {
                event = ClientEvent::Heard(Box::new(message));
            }
            if self.step(event, tell)?.is_break() {
                return Ok(Ended::Told);
            }
        }
    }

    /// Gives the address back.
    ///
    /// # Errors
    /// [`DhcpError::Link`].
    pub fn release(&mut self) -> Result<(), DhcpError> {
        self.step(ClientEvent::Release, &mut |_| ControlFlow::Continue(()))
            .map(|_| ())
    }

    /// Says that somebody else has the address.
    ///
    /// # Errors
    /// [`DhcpError::Link`].
    pub fn is_taken(
        &mut self,
        tell: &mut dyn FnMut(&News) -> ControlFlow<()>,
    ) -> Result<(), DhcpError> {
        self.step(ClientEvent::Taken, tell).map(|_| ())
    }

    fn step(
        &mut self,
        event: ClientEvent,
        tell: &mut dyn FnMut(&News) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, DhcpError> {
        let now = self.now();
        let mut output = self.client.step(event, now);
        loop {
            self.send(&output)?;
            let Some(news) = output.news else {
                return Ok(ControlFlow::Continue(()));
            };
            match news {
                News::Probe(address) => {
                    let taken = self.probe(address)?;
                    let event = if taken {
                        ClientEvent::Taken
                    } else {
                        ClientEvent::Free
                    };
                    let now = self.now();
                    output = self.client.step(event, now);
                }
                News::Bound(_) => {
                    if self.listening.is_none() {
                        // Where another client has the port, that one keeps the kernel quiet.
                        let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT_PORT));
                        self.listening = udp_on(&self.link, all).ok();
                    }
                    return Ok(tell(&news));
                }
                News::Lost(_) => {
                    self.listening = None;
                    return Ok(tell(&news));
                }
            }
        }
    }

    fn send(&self, output: &ClientOutput) -> Result<(), DhcpError> {
        for out in &output.send {
            let packet = datagram(&Datagram {
                from: out.from,
                to: out.to,
                from_port: CLIENT_PORT,
                to_port: SERVER_PORT,
                data: &out.message.bytes(),
            });
            let all = out.to == Ipv4Addr::BROADCAST;
            let to = if all { EVERYBODY } else { self.server };
            let sent = self.socket.send(&packet.unwrap_or_default(), to);
            match sent {
                // A link that is down now may be up for the next repetition.
                Err(error) if error.errno.0 != NETDOWN => return Err(self.failed(error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn receive(&mut self, wait: Duration) -> Result<Option<Message>, DhcpError> {
        let arrived = match self.socket.receive(&mut self.buffer, wait) {
            Ok(arrived) => arrived,
            Err(error) if error.errno.0 == NETDOWN && card(&self.link).is_ok() => None,
            Err(error) => return Err(self.failed(error)),
        };
        let Some(arrived) = arrived else {
            return Ok(None);
        };
        let packet = self.buffer.get(..arrived.length).unwrap_or_default();
        // On virtual links the sum is left to a card that never comes.
        let heard = read_datagram(packet, true).filter(|d| d.from_port == SERVER_PORT);
        let message = heard.and_then(|d| Message::parse(d.data).ok());
        let ours = message.filter(|message| message.mac == self.mac);
        if ours.is_some() {
            self.server = arrived.from;
        }
        Ok(ours)
    }

    /// Whether somebody answers for an address.
    fn probe(&mut self, address: Ipv4Addr) -> Result<bool, DhcpError> {
        let socket = PacketSocket::open(&self.link, ARP, None).map_err(|e| self.failed(e))?;
        let question = arp_question(self.mac, Ipv4Addr::UNSPECIFIED, address);
        for _ in 0..PROBES {
            let sent = socket.send(&question, EVERYBODY);
            sent.map_err(|error| self.failed(error))?;
            let end = Instant::now() + PROBE_WAIT;
            loop {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let got = socket.receive(&mut self.buffer, left);
                let Some(arrived) = got.map_err(|error| self.failed(error))? else {
                    continue;
                };
                let packet = self.buffer.get(..arrived.length).unwrap_or_default();
                // Who says that it is his, or who is about to say so himself (RFC 5227 section 2.1.1).
                if let Some((mac, said, about)) = read_arp(packet)
                    && mac != self.mac
                    && (said == address || said.is_unspecified() && about == address)
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// `ENETDOWN`.
const NETDOWN: i32 = 100;
