//! The cards of jails: made while the jail waits to be prepared, gone with its network namespace; and the leases of
//! their addresses.

use crate::error::At;
use crate::jail::Running;
use crate::net::error::NetError;
use jaula_plan::names::LinkName;
use jaula_plan::net::guest::{GuestFacts, GuestLink, Lease};
use jaula_plan::net::names::Neighbour;
use jaula_plan::net::published::{self, Listener};
use jaula_plan::nft::{Protocol, Target};
use jaula_plan::spec::net::{JailLink, JailNet, Lessee, Uplink};
use jaula_sys::SysError;
use jaula_sys::netlink::{
    Address, Batch, LinkSet, NewLink, NewLinkKind, Place, PortSet, Route, Socket,
};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// A file of leases is never longer than this; a longer one is garbage.
const LIMIT: u64 = 8 << 20;
/// Cards have numbers from here on in their jail: nothing else is there before its first program runs.
const FIRST: u32 = 2;
const EEXIST: i32 = 17;
/// The kernel takes a moment to remove what a jail that ended had: how often a name is tried again, and when.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);
const MOMENT: Duration = Duration::from_millis(5);

/// What cards of a jail are planned from.
pub(crate) fn facts(net: &JailNet, lessee: Option<&Lessee>) -> Option<GuestFacts> {
    match net {
        JailNet::Links(links) => {
            let net = crate::net::networks().unwrap_or_default();
            let store = lessee.and_then(|lessee| lessee.dir.parent());
            let given = store.map(|store| crate::gateway::guests::given(store, &net));
            let (gateways, published) = given.unwrap_or_default();
            let asked = links.iter().any(|link| !link.publish.is_empty());
            let all = lessee.map(|lessee| read(&lessee.dir)).unwrap_or_default();
            let mut foreign = if asked { listeners() } else { Vec::new() };
            if let Some(store) = store.filter(|_| asked) {
                let ours = crate::gateway::guests::relays(store, &gateways);
                let relays = |l: &Listener| {
                    l.at.ip() == Ipv6Addr::LOCALHOST && ours.contains(&(l.at.port(), l.protocol))
                };
                foreign.retain(|listener| !relays(listener));
            }
            let conf = std::fs::read_to_string(RESOLVERS).unwrap_or_default();
            let resolves = |link: &JailLink| {
                let mut all = gateways.iter();
                all.any(|given| given.dns && link.on == Uplink::Bridge(given.bridge.clone()))
            };
            Some(GuestFacts {
                net,
                leases: all.iter().map(OnDisk::lease).collect(),
                neighbours: all.into_iter().map(OnDisk::neighbour).collect(),
                resolvers: crate::fetch::servers(&conf),
                unknown: unknown(links.iter().filter(|link| resolves(link)), &conf),
                gateways,
                published,
                listeners: foreign,
                filtered_frames: Path::new(FILTERED).is_dir(),
                ..GuestFacts::default()
            })
        }
        JailNet::Nat(nat) => Some(GuestFacts {
            nat: super::outside::facts(lessee.and_then(|lessee| lessee.dir.parent())),
            listeners: if nat.publish.is_empty() {
                Vec::new()
            } else {
                listeners()
            },
            ..GuestFacts::default()
        }),
        JailNet::Namespace(name) => Some(GuestFacts {
            namespace: lessee.and_then(|lessee| namespace(lessee, name)),
            ..GuestFacts::default()
        }),
        _ => None,
    }
}

/// The settings of br_netfilter, where the kernel has it.
const FILTERED: &str = "/proc/sys/net/bridge";
/// Who resolves names for the host (resolv.conf(5)).
const RESOLVERS: &str = "/etc/resolv.conf";

/// Names of allow lists that nobody knows.
fn unknown<'a>(links: impl Iterator<Item = &'a JailLink>, conf: &str) -> Vec<String> {
    let names = links
        .flat_map(|link| &link.access)
        .filter(|line| line.allow);
    let names = names.filter_map(|line| match &line.target {
        Target::Name { name, .. } => Some(name),
        Target::Any | Target::Net(..) => None,
    });
    let unknown = names.filter(|name| crate::dns::is_unknown(name, conf));
    unknown.cloned().collect()
}

/// Bytes of a list of sockets that are read.
const SOCKETS: u64 = 16 << 20;

/// Where programs of the host listen.
pub(crate) fn listeners() -> Vec<Listener> {
    let mut found = Vec::new();
    for (file, protocol) in [
        ("tcp", Protocol::Tcp),
        ("tcp6", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("udp6", Protocol::Udp),
    ] {
        let mut text = String::new();
        let path = Path::new("/proc/thread-self/net").join(file);
        let read = File::open(path).and_then(|file| file.take(SOCKETS).read_to_string(&mut text));
        // A kernel without IPv6 has no file of it.
        if read.is_ok() {
            found.extend(published::listeners(&text, protocol));
        }
    }
    found
}

/// The file of the network namespace of a jail that runs, or of what is kept by a name.
fn namespace(lessee: &Lessee, name: &str) -> Option<std::path::PathBuf> {
    let store = lessee.dir.parent()?;
    let kept = store.join("run/kept").join(name).join("net");
    if kept.exists() {
        return Some(kept);
    }
    let store = crate::store::Store::open(store).ok()?;
    let running = crate::named::running(&store, &name.parse().ok()?)?;
    Some(format!("/proc/{}/ns/net", running.pid).into())
}

/// A lease as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OnDisk {
    address: IpAddr,
    bridge: LinkName,
    holder: String,
    /// A named jail's: it stays as long as the jail does.
    lasting: bool,
    /// The process that started the jail.
    process: Option<Running>,
}

impl OnDisk {
    fn lease(&self) -> Lease {
        Lease {
            address: self.address,
            holder: self.holder.clone(),
        }
    }

    fn neighbour(self) -> Neighbour {
        Neighbour {
            bridge: self.bridge,
            address: self.address,
            name: self.holder,
        }
    }

    fn is_held(&self, dir: &Path) -> bool {
        let process = self.process.is_some_and(|process| process.is_alive());
        let jails = dir.parent().map(|store| store.join("jails"));
        process || self.lasting && jails.is_some_and(|jails| jails.join(&self.holder).exists())
    }
}

fn read(dir: &Path) -> Vec<OnDisk> {
    let mut text = Vec::new();
    let file = File::open(dir.join("all.json"));
    let read = file.and_then(|file| file.take(LIMIT).read_to_end(&mut text));
    let all: Vec<OnDisk> = match read {
        Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    all.into_iter().filter(|lease| lease.is_held(dir)).collect()
}

/// Writes them whole, under the lock.
fn write(dir: &Path, leases: &[OnDisk]) -> Result<(), NetError> {
    let path = dir.join("all.json");
    let text = serde_json::to_vec(leases).map_err(std::io::Error::from);
    let written = text.and_then(|text| crate::store::replace(&path, &text));
    Ok(written.at("write", &path)?)
}

fn lock(dir: &Path) -> Result<File, NetError> {
    if !dir.is_dir() {
        let mut made = DirBuilder::new();
        made.recursive(true)
            .mode(0o700)
            .create(dir)
            .at("make", dir)?;
    }
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).at("open", &path)?;
    file.lock().at("lock", &path)?;
    Ok(file)
}

/// Takes the leases of a jail's addresses; those of a plan that somebody took meanwhile are chosen anew.
///
/// # Errors
/// When one that was asked for is somebody's.
pub(crate) fn reserve(lessee: &Lessee, links: &[GuestLink]) -> Result<Vec<GuestLink>, NetError> {
    if links.iter().all(|link| link.addresses.is_empty()) {
        return Ok(links.to_vec());
    }
    super::taken::refuse_by_hand(links)?;
    let _lock = lock(&lessee.dir)?;
    let mut all = read(&lessee.dir);
    let mut others: Vec<Lease> = all
        .iter()
        .filter(|lease| lease.holder != lessee.holder)
        .map(OnDisk::lease)
        .collect();
    all.retain(|lease| lease.holder != lessee.holder);
    let mut chosen = Vec::new();
    for link in links {
        let link = link.clone().with_free_addresses(&lessee.holder, &others)?;
        others.extend(link.leases(&lessee.holder));
        let (Uplink::Bridge(on) | Uplink::Macvlan(on)) = &link.on;
        all.extend(link.addresses.iter().map(|address| OnDisk {
            address: address.address,
            bridge: on.clone(),
            holder: lessee.holder.clone(),
            lasting: lessee.lasting,
            process: Running::of(std::process::id()),
        }));
        chosen.push(link);
    }
    write(&lessee.dir, &all)?;
    Ok(chosen)
}

/// Gives back what was taken for a jail that is over; a named one keeps its addresses.
pub(crate) fn release(lessee: &Lessee) {
    if lessee.lasting {
        return;
    }
    // What cannot be given back now is free with the end of this process.
    if let Ok(_lock) = lock(&lessee.dir) {
        let mut all = read(&lessee.dir);
        all.retain(|lease| lease.holder != lessee.holder);
        drop(write(&lessee.dir, &all));
    }
}

/// Makes the cards of a jail whose first process waits.
pub(crate) fn connect(pid: u32, links: &[GuestLink]) -> Result<(), SysError> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).map_err(|error| SysError::io("open", &path, &error))?;
    let mut outside = Socket::open()?;
    for (number, link) in (FIRST..).zip(links) {
        let (Uplink::Bridge(on) | Uplink::Macvlan(on)) = &link.on;
        let below = outside.link(on.as_str())?.index;
        let mut card = NewLink::new(link.name.as_str(), NewLinkKind::Macvlan { below });
        card.index = Some(number);
        card.mac = Some(link.mac.0);
        card.mtu = Some(link.mtu);
        // It is set up inside: before a pair is whole neither end can be.
        card.place = Place::Net(namespace.as_fd());
        let mut batch = Batch::new();
        match link.on {
            Uplink::Macvlan(_) => batch.add_link(&card),
            Uplink::Bridge(_) => {
                let mut end = NewLink::new(link.host_end.as_str(), NewLinkKind::Veth(&card));
                end.mac = Some(link.host_mac.0);
                end.mtu = Some(link.mtu);
                end.master = Some(below);
                end.up = true;
                batch.add_link(&end);
            }
        }
        let mut tries = TRIES;
        while let Err(failed) = outside.apply(&batch) {
            tries = tries.saturating_sub(1);
            if failed.error.errno.0 != EEXIST || tries == 0 {
                return Err(failed.error);
            }
            std::thread::sleep(PAUSE);
        }
        if link.hairpin {
            let end = outside.link(link.host_end.as_str())?;
            let back = PortSet {
                hairpin: Some(true),
                ..PortSet::default()
            };
            let mut batch = Batch::new();
            batch.set_port(end.index, link.host_end.as_str(), &back);
            outside.apply(&batch).map_err(|failed| failed.error)?;
        }
    }
    let mut inside = Socket::open_in(namespace.as_fd())?;
    let mut batch = Batch::new();
    for (number, link) in (FIRST..).zip(links) {
        let name = link.name.as_str();
        let up = LinkSet {
            up: Some(true),
            ..LinkSet::default()
        };
        batch.set_link(number, name, &up);
        for address in &link.addresses {
            let address = Address::new(number, address.address, address.prefix);
            batch.add_address(&address.certain(), name);
        }
        for router in &link.routers {
            let any: IpAddr = match router {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            batch.add_route(&Route::new(any, 0, Some(*router), number), name);
        }
    }
    inside.apply(&batch).map_err(|failed| failed.error)?;
    let six = links.iter().flat_map(|link| &link.addresses);
    for address in six.filter(|address| address.address.is_ipv6()) {
        // What is sent before is lost, and what is answered; a jail that sends at once would wait for seconds.
        let mut tries = TRIES;
        while tries > 0 && !inside.is_own(address.address).unwrap_or(true) {
            std::thread::sleep(MOMENT);
            tries = tries.saturating_sub(1);
        }
    }
    Ok(())
}
