//! The client (RFC 2131 section 4.4): what comes in and what time it is go in, what is to be sent and what is now so
//! come out. Times are milliseconds of any clock that only goes forward.

use super::lease::{Lease, usable};
use super::message::{Message, MessageKind};
use super::options;
use std::net::Ipv4Addr;

const SECOND: u64 = 1000;
/// The wait before the first repetition; each one is twice as long, up to the last.
const FIRST_WAIT: u64 = SECOND;
const LAST_WAIT: u64 = 64 * SECOND;
/// Repetitions of a request before another server is looked for.
const REQUESTS: u32 = 4;
/// The wait after an address was found to be another's (RFC 2131 section 3.1.5).
const AFTER_DECLINE: u64 = 10 * SECOND;
/// The least time between two requests for the same address (RFC 2131 section 4.4.5).
const RENEW_WAIT: u64 = 60 * SECOND;
/// What is asked for, of RFC 2132, 3397 and 3442; routes come first, as RFC 3442 wants.
const WANTED: [u8; 9] = [
    options::ROUTES,
    options::SUBNET_MASK,
    options::ROUTERS,
    options::NAME_SERVERS,
    options::HOST_NAME,
    options::DOMAIN,
    options::MTU,
    options::SEARCH,
    options::TIME_SERVERS,
];
/// The largest message that is taken.
const LARGEST: u16 = 1472;

/// What happens to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// It begins, or its time has come.
    Time,
    /// A message came.
    Heard(Box<Message>),
    /// Nobody else answers for the address that is to be ours.
    Free,
    /// Somebody does.
    Taken,
    /// The address is not needed any more.
    Release,
}

/// A message that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The message.
    pub message: Message,
    /// Our address, where we have one.
    pub from: Ipv4Addr,
    /// Whom it is for; everybody unless it is a server's address.
    pub to: Ipv4Addr,
}

/// What is now so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Somebody has to ask whether the address is another's (RFC 5227), and come back with `Free` or `Taken`.
    Probe(Ipv4Addr),
    /// The address and what goes with it hold from now on, newly or again.
    Bound(Box<Lease>),
    /// The address has to go: its time is over, or the server wants it so.
    Lost(Ipv4Addr),
}

/// What comes of an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientOutput {
    /// To be sent.
    pub send: Vec<Outgoing>,
    /// What is so.
    pub news: Option<News>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Looking for servers.
    Selecting { tries: u32 },
    /// Taking an offer.
    Requesting { offer: Box<Lease>, tries: u32 },
    /// It is ours if nobody else has it.
    Probing { lease: Box<Lease> },
    /// It is ours.
    Bound { lease: Box<Lease>, since: u64 },
    /// Nothing more is wanted.
    Released,
}

/// A client of one card.
#[derive(Debug, Clone)]
pub struct Client {
    mac: [u8; 6],
    host_name: Option<String>,
    transaction: u32,
    began: u64,
    /// When it has to be woken.
    wake: u64,
    state: State,
}

impl Client {
    /// A client that has nothing yet. `chance` makes its numbers differ from others'.
    pub fn new(mac: [u8; 6], host_name: Option<String>, chance: u32, now: u64) -> Self {
        Client {
            mac,
            host_name,
            transaction: chance,
            began: now,
            wake: now,
            state: State::Selecting { tries: 0 },
        }
    }

    /// When [`ClientEvent::Time`] is due; never while it waits for who asks around, or is done.
    pub fn wake(&self) -> Option<u64> {
        match self.state {
            State::Probing { .. } | State::Released => None,
            _ => (self.wake != u64::MAX).then_some(self.wake),
        }
    }

    /// The address and what goes with it, while they hold.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// Takes an event.
    pub fn step(&mut self, event: ClientEvent, now: u64) -> ClientOutput {
        match event {
            ClientEvent::Time if self.wake().is_some_and(|wake| wake <= now) => self.time(now),
            ClientEvent::Time => ClientOutput::default(),
            ClientEvent::Heard(message) => self.heard(&message, now),
            ClientEvent::Free => self.free(now),
            ClientEvent::Taken => self.taken(now),
            ClientEvent::Release => self.release(),
        }
    }

    /// Another number for another talk: a small generator, so that talks do not repeat (Marsaglia's xorshift).
    fn next_transaction(&mut self) {
        let mut x = self.transaction ^ 0x9e37_79b9;
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.transaction = x.max(1);
    }

    fn wait(&self, tries: u32) -> u64 {
        let wait = FIRST_WAIT
            .checked_shl(tries)
            .unwrap_or(LAST_WAIT)
            .min(LAST_WAIT);
        // Up to a quarter more, so that many clients do not ask together.
        wait + u64::from(self.transaction % 256) * wait / 1024
    }

    fn start_again(&mut self, at: u64) {
        self.state = State::Selecting { tries: 0 };
        self.wake = at;
        self.began = at;
    }

    fn message(&self, kind: MessageKind, now: u64) -> Message {
        let mut message = Message::new(kind, self.transaction, self.mac);
        let seconds = now.saturating_sub(self.began) / SECOND;
        message.seconds = u16::try_from(seconds).unwrap_or(u16::MAX);
        let mut id = vec![1];
        id.extend(self.mac);
        message.options.set(options::CLIENT_ID, &id);
        let asks = matches!(kind, MessageKind::Discover | MessageKind::Request);
        if asks {
            message.options.set(options::WANTED, &WANTED);
            message
                .options
                .set(options::LARGEST, &LARGEST.to_be_bytes());
            if let Some(name) = &self.host_name {
                message.options.set(options::HOST_NAME, name.as_bytes());
            }
        }
        message
    }

    fn to_all(message: Message) -> Vec<Outgoing> {
        vec![Outgoing {
            message,
            from: Ipv4Addr::UNSPECIFIED,
            to: Ipv4Addr::BROADCAST,
        }]
    }

    fn time(&mut self, now: u64) -> ClientOutput {
        match self.state.clone() {
            State::Selecting { tries } => {
                self.next_transaction();
                self.state = State::Selecting {
                    tries: tries.saturating_add(1),
                };
                self.wake = now + self.wait(tries);
                ClientOutput {
                    send: Self::to_all(self.message(MessageKind::Discover, now)),
                    news: None,
                }
            }
            State::Requesting { tries, .. } if tries >= REQUESTS => {
                self.start_again(now);
                self.time(now)
            }
            State::Requesting { offer, tries } => self.request(offer, tries, now),
            State::Bound { lease, since } => self.renew(&lease, since, now),
            State::Probing { .. } | State::Released => ClientOutput::default(),
        }
    }

    fn request(&mut self, offer: Box<Lease>, tries: u32, now: u64) -> ClientOutput {
        let mut message = self.message(MessageKind::Request, now);
        let addresses = [
            (options::REQUESTED, offer.address),
            (options::SERVER, offer.server),
        ];
        for (code, address) in addresses {
            message.options.set_addresses(code, &[address]);
        }
        self.wake = now + self.wait(tries);
        self.state = State::Requesting {
            offer,
            tries: tries + 1,
        };
        ClientOutput {
            send: Self::to_all(message),
            news: None,
        }
    }

    fn renew(&mut self, lease: &Lease, since: u64, now: u64) -> ClientOutput {
        let after = |seconds: u32| since.saturating_add(u64::from(seconds) * SECOND);
        let Some(seconds) = lease.seconds else {
            self.wake = u64::MAX;
            return ClientOutput::default();
        };
        let (rebind, end) = (after(lease.rebind), after(seconds));
        if now >= end {
            let lost = lease.address;
            self.start_again(now);
            return ClientOutput {
                send: self.time(now).send,
                news: Some(News::Lost(lost)),
            };
        }
        let alone = now < rebind;
        let next = if alone { rebind } else { end };
        // Half of what is left, but not more often than once a minute; the end is never missed.
        let half = (next - now) / 2;
        self.wake = now.saturating_add(half.max(RENEW_WAIT)).min(next);
        self.next_transaction();
        self.began = now;
        let mut message = self.message(MessageKind::Request, now);
        message.client = lease.address;
        ClientOutput {
            send: vec![Outgoing {
                message,
                from: lease.address,
                to: if alone {
                    lease.server
                } else {
                    Ipv4Addr::BROADCAST
                },
            }],
            news: None,
        }
    }

    fn heard(&mut self, message: &Message, now: u64) -> ClientOutput {
        let ours = message.mac == self.mac && message.transaction == self.transaction;
        if !ours || !message.kind.of_server() {
            return ClientOutput::default();
        }
        match (self.state.clone(), message.kind) {
            (State::Selecting { tries: 1.. }, MessageKind::Offer) => match Lease::of(message) {
                Some(offer) => self.request(Box::new(offer), 0, now),
                None => ClientOutput::default(),
            },
            (State::Requesting { offer, .. }, MessageKind::Ack) => {
                let lease = Lease::of(message);
                let Some(lease) = lease.filter(|lease| lease.server == offer.server) else {
                    return ClientOutput::default();
                };
                let address = lease.address;
                self.state = State::Probing {
                    lease: Box::new(lease),
                };
                ClientOutput {
                    send: Vec::new(),
                    news: Some(News::Probe(address)),
                }
            }
            (State::Requesting { offer, .. }, MessageKind::Nak) => {
                let from = message.options.address(options::SERVER);
                if from == Some(offer.server) {
                    self.start_again(now + FIRST_WAIT);
                }
                ClientOutput::default()
            }
            (State::Bound { lease, .. }, MessageKind::Ack) => match Lease::of(message) {
                Some(new) if new.address == lease.address => self.bound(Box::new(new), now),
                _ => ClientOutput::default(),
            },
            (State::Bound { lease, since }, MessageKind::Nak) => {
                // Only while something was asked, and only from who may say so.
                let asked = now >= since.saturating_add(u64::from(lease.renew) * SECOND);
                let rebinding = now >= since.saturating_add(u64::from(lease.rebind) * SECOND);
                let from = message.options.address(options::SERVER);
                if !asked || !rebinding && from != Some(lease.server) {
                    return ClientOutput::default();
                }
                self.start_again(now);
                ClientOutput {
                    send: self.time(now).send,
                    news: Some(News::Lost(lease.address)),
                }
            }
            _ => ClientOutput::default(),
        }
    }

    fn bound(&mut self, lease: Box<Lease>, now: u64) -> ClientOutput {
        self.wake = match lease.seconds {
            Some(_) => now.saturating_add(u64::from(lease.renew) * SECOND),
            None => u64::MAX,
        };
        self.state = State::Bound {
            lease: lease.clone(),
            since: now,
        };
        ClientOutput {
            send: Vec::new(),
            news: Some(News::Bound(lease)),
        }
    }

    fn free(&mut self, now: u64) -> ClientOutput {
        match self.state.clone() {
            State::Probing { lease } => self.bound(lease, now),
            _ => ClientOutput::default(),
        }
    }

    fn taken(&mut self, now: u64) -> ClientOutput {
        let (lease, news) = match self.state.clone() {
            State::Probing { lease } => (lease, None),
            // Somebody came later and insists.
            State::Bound { lease, .. } => {
                let news = News::Lost(lease.address);
                (lease, Some(news))
            }
            _ => return ClientOutput::default(),
        };
        let mut message = self.message(MessageKind::Decline, now);
        let addresses = [
            (options::REQUESTED, lease.address),
            (options::SERVER, lease.server),
        ];
        for (code, address) in addresses {
            message.options.set_addresses(code, &[address]);
        }
        self.start_again(now + AFTER_DECLINE);
        ClientOutput {
            send: Self::to_all(message),
            news,
        }
    }

    fn release(&mut self) -> ClientOutput {
        let old = std::mem::replace(&mut self.state, State::Released);
        let State::Bound { lease, .. } = old else {
            return ClientOutput::default();
        };
        self.next_transaction();
        let mut message = self.message(MessageKind::Release, self.began);
        message.client = lease.address;
        message
            .options
            .set_addresses(options::SERVER, &[lease.server]);
        let to = if usable(lease.server) {
            lease.server
        } else {
            Ipv4Addr::BROADCAST
        };
        ClientOutput {
            send: vec![Outgoing {
                message,
                from: lease.address,
                to,
            }],
            news: Some(News::Lost(lease.address)),
        }
    }
}
