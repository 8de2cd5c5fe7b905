//! The server of a small network (RFC 2131 section 4.3): fixed addresses by card, a pool for the rest, no relays.
//! Times are seconds of the wall clock: leases outlive the process.

use super::lease::Route;
use super::message::{Message, MessageKind};
use super::names;
use super::options;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Seconds that an offer is kept for who asked.
const OFFER: u64 = 60;
/// Seconds that a declined address is left alone.
const DECLINED: u64 = 600;
/// Bytes of a client's identifier.
const LONGEST_ID: usize = 255;
/// Leases that are remembered, at most.
pub const MOST: usize = 4096;
/// Addresses that one card has at a time: a machine that starts by several programs has some, by their identifiers.
const OF_A_CARD: usize = 4;

/// What a server gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Its own address on the link.
    pub address: Ipv4Addr,
    /// Bits that the network's addresses share.
    pub prefix: u8,
    /// The first and the last address for who has no fixed one.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Addresses by card.
    pub fixed: BTreeMap<[u8; 6], Ipv4Addr>,
    /// Addresses that others have without asking.
    pub taken: Vec<Ipv4Addr>,
    /// The way to everywhere.
    pub router: Option<Ipv4Addr>,
    /// Who resolves names.
    pub name_servers: Vec<Ipv4Addr>,
    /// The domain.
    pub domain: Option<String>,
    /// Where names are searched.
    pub search: Vec<String>,
    /// Further routes.
    pub routes: Vec<Route>,
    /// The largest packet.
    pub mtu: Option<u16>,
    /// Seconds of a lease.
    pub seconds: u32,
}

/// An address that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whose it is: the client's card, and its identifier where it gives one.
    pub client: Vec<u8>,
    /// The card.
    pub mac: [u8; 6],
    /// Until when, in seconds of the clock.
    pub until: u64,
    /// Whether it was taken, and not only offered.
    pub taken: bool,
    /// The name that the client gave itself, if it can be one.
    pub name: Option<String>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The message.
    pub message: Message,
    /// The address it goes to.
    pub to: Ipv4Addr,
    /// Whether everybody on the link gets it, because the client has no address to be reached by.
    pub to_all: bool,
}

/// A server.
#[derive(Debug, Clone)]
pub struct Server {
    settings: ServerSettings,
    held: BTreeMap<Ipv4Addr, Held>,
}

impl Server {
    /// A server that knows what was given before; what is not of this network is forgotten.
    pub fn new(settings: ServerSettings, held: BTreeMap<Ipv4Addr, Held>) -> Self {
        let mut server = Server {
            settings,
            held: BTreeMap::new(),
        };
        for (address, row) in held.into_iter().take(MOST) {
            if server.in_network(address) {
                server.held.insert(address, row);
            }
        }
        server
    }

    /// Who has which address without asking, as it is now: by card, and others'.
    pub fn learn(&mut self, fixed: BTreeMap<[u8; 6], Ipv4Addr>, taken: Vec<Ipv4Addr>) {
        self.settings.fixed = fixed;
        self.settings.taken = taken;
    }

    /// Who has what.
    pub fn held(&self) -> &BTreeMap<Ipv4Addr, Held> {
        &self.held
    }

    fn mask(&self) -> u32 {
        let host = 32 - u32::from(self.settings.prefix.min(32));
        u32::MAX.checked_shl(host).unwrap_or(0)
    }

    /// An address that a client can have here: not the network's own, not that of all, not ours.
    fn in_network(&self, address: Ipv4Addr) -> bool {
        let (mask, own) = (self.mask(), u32::from(self.settings.address));
        let number = u32::from(address);
        let ends = self.settings.prefix < 31 && [0, !mask].contains(&(number & !mask));
        number & mask == own & mask && !ends && number != own
    }

    /// Answers a message that came from `mac` at the time `now`.
    pub fn answer(&mut self, message: &Message, mac: [u8; 6], now: u64) -> Option<Answer> {
        // A card speaks for itself, and relays do not come here.
        if message.kind.of_server() || message.mac != mac || !message.relay.is_unspecified() {
            return None;
        }
        // The option has one byte for its length (RFC 2132 section 9.14); joined ones would not fit an answer.
        let id = message.options.raw(options::CLIENT_ID);
        if id.is_some_and(|id| id.len() > LONGEST_ID) {
            return None;
        }
        let client = client_of(message);
        let server = message.options.address(options::SERVER);
        let asked = message.options.address(options::REQUESTED);
        let ours = server.is_none_or(|server| server == self.settings.address);
        match message.kind {
            MessageKind::Discover => {
                let address = self.choose(&client, mac, asked, now)?;
                let held = self.hold(address, message, now.saturating_add(OFFER), false, now);
                held.then(|| self.give(message, MessageKind::Offer, address))
            }
            MessageKind::Request if !ours => {
                // Another server's offer was taken: ours is free again.
                self.held.retain(|_, row| row.taken || row.client != client);
                None
            }
            MessageKind::Request => self.request(message, &client, mac, now),
            MessageKind::Decline if ours => {
                let address = asked.filter(|a| self.holds(*a, &client, now))?;
                let mut row = self.held.remove(&address)?;
                row.client = Vec::new();
                row.mac = [0; 6];
                row.until = now.saturating_add(DECLINED);
                row.taken = false;
                row.name = None;
                self.held.insert(address, row);
                None
            }
            MessageKind::Release if ours => {
                if self.holds(message.client, &client, now) {
                    self.held.remove(&message.client);
                }
                None
            }
            MessageKind::Inform if self.in_network(message.client) => {
                let mut answer = self.reply(message, MessageKind::Ack);
                self.describe(&mut answer, message);
                Some(Answer {
                    message: answer,
                    to: message.client,
                    to_all: false,
                })
            }
            _ => None,
        }
    }

    fn request(
        &mut self,
        message: &Message,
        client: &[u8],
        mac: [u8; 6],
        now: u64,
    ) -> Option<Answer> {
        let selecting = message.options.raw(options::SERVER).is_some();
        let asked = message.options.address(options::REQUESTED);
        let wanted = asked.unwrap_or(message.client);
        let fixed = self.settings.fixed.get(&mac);
        let may = match fixed {
            Some(fixed) => *fixed == wanted,
            None if !self.is_left(wanted) => false,
            None => self.holds(wanted, client, now) || !selecting && self.is_free(wanted, now),
        };
        let may = may && self.in_network(wanted);
        let more = fixed.is_some() || self.may_have_one_more(mac, client, now);
        if may && (self.holds(wanted, client, now) || more) {
            let until = now.saturating_add(u64::from(self.settings.seconds));
            // What else the client had goes back.
            self.held
                .retain(|address, row| *address == wanted || row.client != client);
            if !self.hold(wanted, message, until, true, now) {
                return None;
            }
            return Some(self.give(message, MessageKind::Ack, wanted));
        }
        // An address that this network knows nothing of may be another server's (RFC 2131 section 4.3.2), but one that
        // cannot be right here is refused, so that the client starts anew at once.
        let answer = self.reply(message, MessageKind::Nak);
        Some(Answer {
            message: answer,
            to: Ipv4Addr::BROADCAST,
            to_all: true,
        })
    }

    fn holds(&self, address: Ipv4Addr, client: &[u8], now: u64) -> bool {
        let row = self.held.get(&address);
        row.is_some_and(|row| row.client == client && now <= row.until)
    }

    /// Whether nobody has it without asking.
    fn is_left(&self, address: Ipv4Addr) -> bool {
        let fixed = self.settings.fixed.values().any(|fixed| *fixed == address);
        !fixed && !self.settings.taken.contains(&address)
    }

    fn is_free(&self, address: Ipv4Addr, now: u64) -> bool {
        let pool = self
            .settings
            .pool
            .is_some_and(|(a, b)| a <= address && address <= b);
        let held = self.held.get(&address).is_some_and(|row| now <= row.until);
        pool && !held && self.is_left(address) && self.in_network(address)
    }

    /// Identifiers cost nothing: without a bound one card could have the whole pool.
    fn may_have_one_more(&self, mac: [u8; 6], client: &[u8], now: u64) -> bool {
        let others = |row: &&Held| row.mac == mac && row.client != client && now <= row.until;
        self.held.values().filter(others).count() < OF_A_CARD
    }

    /// The address for a client: its fixed one, the one it has or had, the one it wants, the first that is free, the
    /// one whose time ended first.
    fn choose(
        &self,
        client: &[u8],
        mac: [u8; 6],
        asked: Option<Ipv4Addr>,
        now: u64,
    ) -> Option<Ipv4Addr> {
        if let Some(fixed) = self.settings.fixed.get(&mac) {
            return Some(*fixed);
        }
        let own = |(address, row): (&Ipv4Addr, &Held)| (row.client == client).then_some(*address);
        let had = self.held.iter().find_map(own);
        let had = had.filter(|a| self.is_left(*a));
        let had = had.filter(|a| self.holds(*a, client, now) || self.is_free(*a, now));
        if had.is_none() && !self.may_have_one_more(mac, client, now) {
            return None;
        }
        let asked = asked.filter(|address| self.is_free(*address, now));
        if let Some(address) = had.or(asked) {
            return Some(address);
        }
        let (first, last) = self.settings.pool?;
        let pool = u32::from(first)..=u32::from(last);
        // What nobody ever had comes first; among so many rows a free one is found after as many steps.
        pool.clone()
            .take(MOST)
            .map(Ipv4Addr::from)
            .find(|address| !self.held.contains_key(address) && self.is_free(*address, now))
            .or_else(|| {
                let old = self.held.iter().filter(|(a, _)| self.is_free(**a, now));
                old.min_by_key(|(_, row)| row.until).map(|(a, _)| *a)
            })
    }

    /// Notes it. Where no more can be remembered what is over makes room, and nothing else does: then it is not held.
    fn hold(
        &mut self,
        address: Ipv4Addr,
        message: &Message,
        until: u64,
        taken: bool,
        now: u64,
    ) -> bool {
        if self.held.len() >= MOST && !self.held.contains_key(&address) {
            let over = self.held.iter().filter(|(_, row)| row.until < now);
            let Some(oldest) = over.min_by_key(|(_, row)| row.until).map(|(a, _)| *a) else {
                return false;
            };
            self.held.remove(&oldest);
        }
        let client = client_of(message);
        let before = self.held.get(&address).filter(|row| row.client == client);
        // Asking again takes nothing away.
        let (until, taken) = match before {
            Some(row) if row.taken && !taken => (row.until.max(until), true),
            _ => (until, taken),
        };
        let row = Held {
            client,
            mac: message.mac,
            until,
            taken,
            name: message.options.name(options::HOST_NAME),
        };
        self.held.insert(address, row);
        true
    }

    fn reply(&self, message: &Message, kind: MessageKind) -> Message {
        let mut reply = Message::new(kind, message.transaction, message.mac);
        reply.broadcast = message.broadcast;
        reply
            .options
            .set_addresses(options::SERVER, &[self.settings.address]);
        // RFC 6842: who identifies himself is told that he was understood.
        if let Some(id) = message.options.raw(options::CLIENT_ID) {
            let id = id.to_vec();
            reply.options.set(options::CLIENT_ID, &id);
        }
        reply
    }

    fn give(&self, message: &Message, kind: MessageKind, address: Ipv4Addr) -> Answer {
        let mut reply = self.reply(message, kind);
        reply.yours = address;
        reply.client = message.client;
        let seconds = self.settings.seconds;
        reply.options.set_seconds(options::LEASE_TIME, seconds);
        let part =
            |eighths: u64| u32::try_from(u64::from(seconds) * eighths / 8).unwrap_or(seconds);
        reply.options.set_seconds(options::RENEW, part(4));
        reply.options.set_seconds(options::REBIND, part(7));
        self.describe(&mut reply, message);
        let renewing = !message.client.is_unspecified();
        Answer {
            message: reply,
            to: if renewing { message.client } else { address },
            to_all: message.broadcast && !renewing,
        }
    }

    fn describe(&self, reply: &mut Message, message: &Message) {
        let settings = &self.settings;
        let (mask, own) = (self.mask(), u32::from(settings.address));
        let options = &mut reply.options;
        let wanted = message.options.raw(options::WANTED).unwrap_or_default();
        let wants = |code: u8| wanted.is_empty() || wanted.contains(&code);
        options.set_addresses(options::SUBNET_MASK, &[mask.into()]);
        options.set_addresses(options::BROADCAST_ADDRESS, &[(own | !mask).into()]);
        options.set_addresses(options::NAME_SERVERS, &settings.name_servers);
        if let Some(router) = settings.router {
            options.set_addresses(options::ROUTERS, &[router]);
        }
        if !settings.routes.is_empty() && wants(options::ROUTES) {
            // Who understands these passes over routers.
            let everywhere = settings.router.map(|by| Route {
                to: Ipv4Addr::UNSPECIFIED,
                prefix: 0,
                by,
            });
            let routes: Vec<Route> = settings.routes.iter().copied().chain(everywhere).collect();
            options.set_routes(&routes);
        }
        if let Some(domain) = settings.domain.as_deref().and_then(names::checked) {
            options.set(options::DOMAIN, domain.as_bytes());
        }
        let search = names::write(&settings.search);
        if !search.is_empty() && wants(options::SEARCH) {
            options.set(options::SEARCH, &search);
        }
        if let Some(mtu) = settings.mtu.filter(|_| wants(options::MTU)) {
            options.set(options::MTU, &mtu.to_be_bytes());
        }
    }
}

/// Who asks: by his card, and by his identifier where he gives one (RFC 2131 section 4.2). An identifier alone is no
/// proof: anybody on the link sees those of others.
fn client_of(message: &Message) -> Vec<u8> {
    let id = message.options.raw(options::CLIENT_ID);
    match id {
        Some(id) if id.len() > 1 => [&message.mac[..], id].concat(),
        _ => message.mac.to_vec(),
    }
}
