//! The jails on bridges that give something: noted before their cards are there, so that the firewall knows what each may
//! say it is, and gone from the notes when they end.

use super::ports::{Heard, RECORD, heard};
use super::{GatewayFailure, at, known, lock, plan, replace};
use crate::firewall;
use crate::jail::Running;
use crate::store::Store;
use jaula_plan::facts::net::NetFacts;
use jaula_plan::gateway::GatewaySpec;
use jaula_plan::names::LinkName;
use jaula_plan::net::address::Mac;
use jaula_plan::net::error::NetPlanError;
use jaula_plan::net::guest::GuestLink;
use jaula_plan::net::published::{Published, check_others};
use jaula_plan::nft::{Access, Guest, Protocol, Publish, Subnet, relayed_to};
use jaula_plan::spec::net::{Lessee, Uplink};
use jaula_sys::packet::is_gone;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Notes of one bridge, at most: a bridge has 1024 ports.
const MOST: usize = 1024;
/// Bytes of a note.
const LONGEST: u64 = 64 << 10;

/// A jail's card on a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    port: LinkName,
    mac: Mac,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) name: String,
    rate: Option<u64>,
    /// As they are typed.
    #[serde(default)]
    publish: Vec<String>,
    #[serde(default)]
    allow: Vec<Line>,
    process: Option<Running>,
    /// By which this note is known from one that was there before.
    #[serde(default)]
    pub(super) mark: String,
}

/// A line of a list, as it is typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    allow: bool,
    to: String,
}

impl Note {
    /// The card's address.
    pub(super) fn card(&self) -> [u8; 6] {
        self.mac.0
    }

    /// The same, without all that the kernel knows.
    pub(super) fn is_alive(&self) -> bool {
        let starts = || self.process.is_some_and(|process| process.is_alive());
        !is_gone(self.port.as_str()) || starts()
    }

    /// Where the ports of `::1` lead that lead to it.
    pub(super) fn relayed(&self, subnets: &[Subnet]) -> Vec<(Publish, IpAddr)> {
        let held = |address: &&IpAddr| subnets.iter().any(|subnet| subnet.holds(**address));
        let own: Vec<IpAddr> = self.addresses.iter().filter(held).copied().collect();
        let ports = self.publish.iter().filter_map(|port| port.parse().ok());
        ports
            .filter_map(|publish| Some((publish, relayed_to(&own, &publish)?)))
            .collect()
    }

    fn is_there(&self, facts: &NetFacts) -> bool {
        let starts = || self.process.is_some_and(|process| process.is_alive());
        facts.link(&self.port).is_some() || starts()
    }

    pub(super) fn access(&self) -> Vec<Access> {
        let lines = self.allow.iter();
        lines
            .filter_map(|line| Access::parse(line.allow, &line.to).ok())
            .collect()
    }
}

pub(super) fn dir(net: &Path, bridge: &LinkName) -> PathBuf {
    net.join(format!("{bridge}.guests"))
}

/// When a note came or went last.
pub(super) fn changed(net: &Path, bridge: &LinkName) -> Option<SystemTime> {
    std::fs::metadata(dir(net, bridge)).ok()?.modified().ok()
}

/// The notes of a bridge; what cannot be read is passed over.
pub(super) fn notes(net: &Path, bridge: &LinkName) -> Vec<Note> {
    let entries = std::fs::read_dir(dir(net, bridge)).into_iter().flatten();
    let one = |entry: std::fs::DirEntry| -> Option<Note> {
        let short = entry.metadata().ok()?.len() <= LONGEST;
        let text = short.then(|| std::fs::read(entry.path()).ok())??;
        serde_json::from_slice(&text).ok()
    };
    let mut found: Vec<Note> = entries.flatten().filter_map(one).take(MOST).collect();
    found.sort_by(|a, b| a.port.cmp(&b.port));
    found
}

/// The guests of a bridge: those whose card is there, and those who are about to have one.
pub(super) fn guests(net: &Path, bridge: &LinkName, facts: &NetFacts) -> Vec<Guest> {
    let own: Vec<_> = facts.addresses_of(bridge).map(|row| row.address).collect();
    let guest = |note: Note| Guest {
        port: note.port.to_string(),
        mac: note.mac.0,
        // An address of a network that the bridge is not in needs no way through it.
        addresses: note
            .addresses
            .iter()
            .copied()
            .filter(|address| own.iter().any(|cidr| cidr.holds(*address)))
            .collect(),
        asks: note.addresses.is_empty(),
        publish: note.publish.iter().filter_map(|p| p.parse().ok()).collect(),
        access: note.access(),
        rate: note.rate,
    };
    notes(net, bridge)
        .into_iter()
        .filter(|note| note.is_there(facts))
        .map(guest)
        .collect()
}

/// What bridges give, and the ports of the host that lead to jails.
pub(crate) fn given(root: &Path, facts: &NetFacts) -> (Vec<GatewaySpec>, Vec<Published>) {
    let net = root.join("net");
    // A store that has made no network has nothing to tell.
    let Some(store) = net.is_dir().then(|| Store::open(root).ok()).flatten() else {
        return (Vec::new(), Vec::new());
    };
    let bridges = super::all(&store).unwrap_or_default();
    let specs: Vec<GatewaySpec> = bridges
        .iter()
        .filter_map(|bridge| known(&store, bridge).ok())
        .collect();
    let mut published = Vec::new();
    for spec in &specs {
        let there = notes(&net, &spec.bridge).into_iter();
        for note in there.filter(|note| note.is_there(facts)) {
            let ports = note.publish.iter().filter_map(|port| port.parse().ok());
            published.extend(ports.map(|publish| Published {
                publish,
                holder: note.name.clone(),
            }));
        }
    }
    (specs, published)
}

/// Ports of `::1` at which processes of bridges listen for jails, also for some that are gone.
pub(crate) fn relays(root: &Path, bridges: &[GatewaySpec]) -> Vec<(u16, Protocol)> {
    let net = root.join("net");
    let all = bridges.iter().flat_map(|spec| notes(&net, &spec.bridge));
    let one = |note: Note| {
        let ports = note.publish.iter().filter_map(|port| port.parse().ok());
        let relayed = |publish: &Publish| relayed_to(&note.addresses, publish).is_some();
        let ports: Vec<Publish> = ports.filter(relayed).collect();
        ports.into_iter().map(|port| (port.port, port.protocol))
    };
    all.flat_map(one).collect()
}

fn locked(path: &Path) -> Result<File, GatewayFailure> {
    let lock = File::create(path).map_err(at(path))?;
    lock.lock().map_err(at(path))?;
    Ok(lock)
}

/// The lock of all published ports, whichever bridge they lead to.
const PUBLISHED: &str = "published.lock";

/// Notes a jail's cards and has the firewall know them, before there are any.
///
/// # Errors
/// When the firewall refuses; then the jail must not start.
pub(crate) fn join(lessee: &Lessee, links: &[GuestLink]) -> Result<(), GatewayFailure> {
    let Some(root) = lessee.dir.parent().filter(|root| root.join("net").is_dir()) else {
        return Ok(());
    };
    for link in links {
        let Uplink::Bridge(bridge) = &link.on else {
            continue;
        };
        let store = Store::open(root)?;
        let spec = match known(&store, bridge) {
            // It may have been taken away since the jail was planned: what was to hold it is not there.
            Err(GatewayFailure::Unknown { .. })
                if link.publish.is_empty() && link.access.is_empty() && link.rate.is_none() =>
            {
                continue;
            }
            spec => spec?,
        };
        let net = store.made("net")?;
        let dir = dir(&net, bridge);
        std::fs::create_dir_all(&dir).map_err(at(&dir))?;
        // Two that want one port at once: the second sees the note of the first.
        let mut ports = None;
        if !link.publish.is_empty() {
            ports = Some(locked(&net.join(PUBLISHED))?);
            let (_, others) = given(root, &crate::net::networks()?);
            for publish in &link.publish {
                let free = check_others(publish, &lessee.holder, &others);
                free.map_err(crate::net::NetError::from)?;
            }
        }
        // Two that start at once: the second's tables have the first in them.
        let held = lock(&net, bridge)?;
        let chance = jaula_sys::dir::random().map_err(at(&net))?;
        let note = Note {
            port: link.host_end.clone(),
            mac: link.mac,
            addresses: link.addresses.iter().map(|cidr| cidr.address).collect(),
            name: lessee.holder.clone(),
            rate: link.rate,
            publish: link.publish.iter().map(ToString::to_string).collect(),
            allow: link
                .access
                .iter()
                .map(|line| Line {
                    allow: line.allow,
                    to: line.to_string(),
                })
                .collect(),
            process: Running::of(std::process::id()),
            mark: jaula_repo::hex::encode(&chance),
        };
        let path = dir.join(link.host_end.as_str());
        let text = serde_json::to_vec(&note).unwrap_or_default();
        // Aside first: who reads it sees all of it, and that the directory has changed.
        replace(&net.join(format!("{bridge}.note")), &path, &text)?;
        drop(ports);
        let plan = plan(&store, &spec, &[])?;
        firewall::put(&plan.tables)?;
        super::switch(&plan)?;
        if spec.serves() && super::running(&store, bridge, "process")?.is_none() {
            super::serve::start(&store, &plan)?;
        }
        if super::running(&store, bridge, RECORD)?.is_none() {
            super::ports::start(&store, &plan)?;
        }
        // Who listens may wait for it.
        drop(held);
        listened_at(&net, bridge, &note.mark, link)?;
    }
    Ok(())
}

/// Whether somebody has to listen for a card.
fn is_relayed(link: &GuestLink) -> bool {
    let addresses: Vec<IpAddr> = link.addresses.iter().map(|cidr| cidr.address).collect();
    let mut all = link.publish.iter();
    all.any(|publish| relayed_to(&addresses, publish).is_some())
}

/// How long the bridge's process may take to listen, or to do so no longer, and when it is looked again.
const PATIENCE: Duration = Duration::from_secs(10);
const LEAVING: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(2);

fn told(net: &Path, bridge: &LinkName, mark: &str) -> Option<Heard> {
    let mut all = heard(net, bridge).into_iter();
    all.find(|heard| heard.mark == mark)
}

/// Waits until the bridge's process says that it listens at the ports of a card.
///
/// # Errors
/// When somebody took one meanwhile, or nothing is heard.
fn listened_at(
    net: &Path,
    bridge: &LinkName,
    mark: &str,
    link: &GuestLink,
) -> Result<(), GatewayFailure> {
    if !is_relayed(link) {
        return Ok(());
    }
    let end = Instant::now() + PATIENCE;
    let unheard = || GatewayFailure::Unheard {
        bridge: bridge.clone(),
    };
    let heard = loop {
        match told(net, bridge, mark) {
            Some(heard) => break heard,
            None if Instant::now() >= end => return Err(unheard()),
            None => std::thread::sleep(PAUSE),
        }
    };
    let is_taken = |publish: &&Publish| heard.taken.contains(&publish.to_string());
    let Some(taken) = link.publish.iter().find(is_taken) else {
        return Ok(());
    };
    let publish = Publish {
        address: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ..*taken
    };
    let listeners = crate::net::guest::listeners();
    let listener = listeners.into_iter().find(|l| l.meets(&publish));
    let listener = listener.ok_or_else(unheard)?;
    let publish = *taken;
    Err(crate::net::NetError::from(NetPlanError::Listens { publish, listener }).into())
}

/// Waits until the bridge's process listens no longer for a card: the next jail may want its ports at once.
fn forgotten(net: &Path, bridge: &LinkName, mark: &str) {
    let end = Instant::now() + LEAVING;
    while told(net, bridge, mark).is_some() && Instant::now() < end {
        std::thread::sleep(PAUSE);
    }
}

/// Forgets jails that are gone without a word; who serves a bridge looks now and then. `left` is called before, with
/// those that are not.
pub(super) fn reap(net: &Path, bridge: &LinkName, left: impl FnOnce(&[Note])) {
    // One that starts meanwhile under the same name is not taken for the one that is gone.
    let Ok(_lock) = lock(net, bridge) else { return };
    let (there, gone): (Vec<Note>, Vec<Note>) =
        notes(net, bridge).into_iter().partition(Note::is_alive);
    let Some(root) = net.parent().filter(|_| !gone.is_empty()) else {
        return;
    };
    left(&there);
    // The notes go when the tables are put: what cannot be done now is tried again.
    if put(root, bridge).is_ok() {
        for note in gone {
            std::fs::remove_file(dir(net, bridge).join(note.port.as_str())).ok();
        }
    }
}

/// Takes the notes of a jail's cards away, and has the firewall forget them. What fails here is put right by the next
/// change, or by `net heal`: the jail is over.
pub(crate) fn leave(lessee: &Lessee, links: &[GuestLink]) {
    let Some(root) = lessee.dir.parent() else {
        return;
    };
    for link in links {
        if let Uplink::Bridge(bridge) = &link.on {
            let net = root.join("net");
            let note = dir(&net, bridge).join(link.host_end.as_str());
            let text = std::fs::read(&note).unwrap_or_default();
            // There is none on a bridge that gives nothing.
            if std::fs::remove_file(note).is_ok() {
                drop(forget(root, bridge));
                if let Ok(note) = serde_json::from_slice::<Note>(&text) {
                    forgotten(&net, bridge, &note.mark);
                }
            }
        }
    }
}

fn forget(root: &Path, bridge: &LinkName) -> Result<(), GatewayFailure> {
    let _lock = lock(&root.join("net"), bridge)?;
    put(root, bridge)
}

/// Puts the tables for those who are there; the caller has the lock.
fn put(root: &Path, bridge: &LinkName) -> Result<(), GatewayFailure> {
    let store = Store::open(root)?;
    let spec = known(&store, bridge)?;
    firewall::put(&plan(&store, &spec, &[])?.tables)?;
    Ok(())
}
