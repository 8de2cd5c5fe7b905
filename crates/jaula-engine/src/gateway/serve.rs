//! The process of a network: it gives addresses, tells of the router and resolves names at the bridge, and is gone when
//! the bridge is.

use super::guests::Note;
use super::{GatewayFailure, at, file};
use crate::dhcp::{AddressServer, LeaseBook};
use crate::dns::{Forwarder, Listed, Watched, Zone};
use crate::jail::Running;
use crate::store::Store;
use jaula_plan::gateway::GatewayPlan;
use jaula_repo::dhcp::ServerSettings;
use jaula_repo::router::{Advertisement, is_solicitation};
use jaula_sys::confine::{ADMIN, Kept, NOBODY, confine};
use jaula_sys::detach::detach;
use jaula_sys::icmp6::RouterSocket;
use jaula_sys::packet::{card, is_gone, readable};
use jaula_sys::watch::Watch;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// Bytes of an answer of the process.
const REPORT: u64 = 4096;
/// Seconds of a lease.
const LEASE: u32 = 3600;
/// The time between two advertisements that nobody asked for (RFC 4861 section 6.2.1), and after one that was asked for.
const ADVERTISE: Duration = Duration::from_secs(200);
const SOON: Duration = Duration::from_secs(3);
/// Seconds that the router is one after it was last heard of.
const ROUTER: u16 = 1800;
/// How long the process waits before it looks whether the bridge is there still, and which jails are on it.
const FRESH: Duration = Duration::from_secs(1);

/// Starts it; returns when it serves.
pub fn start(store: &Store, plan: &GatewayPlan) -> Result<(), GatewayFailure> {
    let bridge = plan.spec.bridge.clone();
    let record = file(store, &bridge, "process")?;
    let net = store.made("net")?;
    let nothing = File::open("/dev/null").map_err(at(&record))?;
    let (answer, report) = std::io::pipe().map_err(at(&record))?;
    detach(nothing.as_fd(), report.as_fd(), &mut |report| {
        u8::from(serve(plan, &record, &net, report).is_err())
    })
    .map_err(at(&record))?;
    drop(report);
    let mut text = String::new();
    let mut limited = BufReader::new(answer.take(REPORT));
    limited.read_line(&mut text).map_err(at(&record))?;
    match text.trim() {
        "serving" => Ok(()),
        text => Err(GatewayFailure::Start {
            bridge,
            text: text.chars().filter(|c| !c.is_control()).collect(),
        }),
    }
}

/// One that was killed a moment ago may still have its ports: how often they are tried again, and when.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// `EADDRINUSE`.
const IN_USE: i32 = 98;

fn in_use(failure: &GatewayFailure) -> bool {
    match failure {
        GatewayFailure::Dns(error) => error.source.kind() == std::io::ErrorKind::AddrInUse,
        GatewayFailure::Dhcp(crate::dhcp::DhcpError::Link { source, .. }) => {
            source.errno.0 == IN_USE
        }
        _ => false,
    }
}

/// All that the process has open.
struct Parts {
    /// Started when nothing can be taken back any more.
    forwarder: Option<Forwarder>,
    /// The directory that `notes` goes by: who this process is then cannot come there by its name.
    _net: File,
    addresses: Option<AddressServer>,
    router: Option<(RouterSocket, Advertisement)>,
    zone: Arc<RwLock<Zone>>,
    /// Where jails are noted.
    notes: (PathBuf, jaula_plan::names::LinkName),
    /// Tells when one comes or goes.
    watch: Option<Watch>,
}

fn serve(
    plan: &GatewayPlan,
    record: &std::path::Path,
    net: &std::path::Path,
    mut report: File,
) -> Result<(), GatewayFailure> {
    let mut opened = open(plan, net);
    for _ in 0..TRIES {
        if !opened.as_ref().is_err_and(in_use) {
            break;
        }
        std::thread::sleep(PAUSE);
        opened = open(plan, net);
    }
    let opened = opened.and_then(|mut parts| {
        let own = Running::of(std::process::id())
            .ok_or_else(|| at(record)(std::io::ErrorKind::NotFound.into()))?;
        let text = serde_json::to_vec(&own).unwrap_or_default();
        crate::store::replace(record, &text).map_err(at(record))?;
        confined(plan, net)?;
        // Only when all is open: threads cannot be taken back.
        if let Some(forwarder) = parts.forwarder.take() {
            forwarder.start();
        }
        Ok(parts)
    });
    let line = match &opened {
        Ok(_) => "serving\n".to_owned(),
        Err(error) => {
            let text = crate::named::chain(error);
            format!("{text}\n")
        }
    };
    // Who started it may be gone.
    drop(report.write_all(line.as_bytes()));
    drop(report);
    run(plan.spec.bridge.as_str(), opened?);
    Ok(())
}

/// Where the book of leases is: the one place where the process writes.
fn given(net: &std::path::Path, bridge: &jaula_plan::names::LinkName) -> PathBuf {
    net.join(format!("{bridge}.given"))
}

/// From here on what guests say is read: by nobody, who sees the jails' notes and the host's resolvers, writes leases, and
/// says to the firewall what names stand for.
fn confined(plan: &GatewayPlan, net: &std::path::Path) -> Result<(), GatewayFailure> {
    let bridge = &plan.spec.bridge;
    let conf = std::fs::canonicalize("/etc/resolv.conf").ok();
    let mut reads = vec![super::guests::dir(net, bridge)];
    if plan.spec.dns {
        reads.extend(["/etc".into(), "/run".into()]);
        reads.extend(conf.and_then(|path| Some(path.parent()?.to_owned())));
    }
    let kept = Kept {
        capabilities: if plan.spec.dns { ADMIN } else { 0 },
        reads,
        writes: vec![given(net, bridge)],
    };
    confine(&kept).map_err(|source| {
        let link = bridge.to_string();
        GatewayFailure::Dhcp(crate::dhcp::DhcpError::Link { link, source })
    })
}

/// Makes the directories that the process needs, so that nobody reaches them by the descriptor of `net`; the store is
/// closed to others above it.
fn prepared(
    net: &std::path::Path,
    bridge: &jaula_plan::names::LinkName,
) -> Result<File, GatewayFailure> {
    use std::os::unix::fs::{PermissionsExt, chown};
    let mode = |path: &std::path::Path, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, mode).map_err(at(path))
    };
    mode(net, 0o711)?;
    let (notes, given) = (super::guests::dir(net, bridge), given(net, bridge));
    for dir in [&notes, &given] {
        std::fs::create_dir_all(dir).map_err(at(dir))?;
    }
    mode(&notes, 0o755)?;
    mode(&given, 0o700)?;
    // In a user namespace that has no such user the process stays who it is.
    for path in [given.join("leases"), given] {
        match chown(&path, Some(NOBODY), Some(NOBODY)) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(at(&path)(error));
            }
            _ => {}
        }
    }
    File::open(net).map_err(at(net))
}

fn open(plan: &GatewayPlan, net: &std::path::Path) -> Result<Parts, GatewayFailure> {
    let opened = prepared(net, &plan.spec.bridge)?;
    let net = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    let bridge = plan.spec.bridge.as_str();
    let domain = bridge.to_ascii_lowercase();
    let own: Vec<IpAddr> = plan.firewall.subnets.iter().map(|s| s.address).collect();
    let four = plan.firewall.subnets.iter().find_map(|s| match s.address {
        IpAddr::V4(address) => Some((address, s.prefix)),
        IpAddr::V6(_) => None,
    });
    let zone = Arc::new(RwLock::new(Zone {
        domain: domain.clone(),
        hosts: BTreeMap::new(),
        subnets: plan.firewall.subnets.clone(),
    }));
    let mut forwarder = None;
    if plan.spec.dns {
        let shared = zone.clone();
        let names = move || shared.read().map(|zone| zone.clone()).unwrap_or_default();
        let watched = Watched {
            bridge: bridge.to_owned(),
            names: watched(&net, &plan.spec.bridge),
        };
        let conf = PathBuf::from("/etc/resolv.conf");
        forwarder = Some(Forwarder::open(&own, Box::new(names), watched, conf)?);
    }
    let addresses = match four.filter(|_| plan.spec.dhcp) {
        None => None,
        Some((address, prefix)) => {
            let settings = ServerSettings {
                address,
                prefix,
                pool: plan.pool,
                // Jails come and go: see `name`, which is called before anything is answered.
                fixed: BTreeMap::new(),
                taken: Vec::new(),
                router: plan.spec.nat.then_some(address),
                name_servers: plan.spec.dns.then_some(address).into_iter().collect(),
                domain: Some(domain.clone()),
                search: plan
                    .spec
                    .dns
                    .then_some(domain.clone())
                    .into_iter()
                    .collect(),
                routes: Vec::new(),
                mtu: None,
                seconds: LEASE,
            };
            let book = LeaseBook::new(given(&net, &plan.spec.bridge).join("leases"));
            Some(AddressServer::open(bridge, settings, book)?)
        }
    };
    let prefixes = plan.prefixes();
    let router = if plan.spec.dhcp && !prefixes.is_empty() {
        let failed = |source| crate::dhcp::DhcpError::Link {
            link: bridge.to_owned(),
            source,
        };
        let servers = own.iter().filter_map(|address| match address {
            IpAddr::V6(six) if plan.spec.dns => Some(*six),
            _ => None,
        });
        let advertisement = Advertisement {
            mac: card(bridge).map_err(failed)?,
            lifetime: if plan.spec.nat { ROUTER } else { 0 },
            prefixes,
            seconds: LEASE,
            name_servers: servers.collect(),
            search: plan.spec.dns.then_some(domain).into_iter().collect(),
            mtu: None,
        };
        let socket = RouterSocket::open(bridge).map_err(failed)?;
        Some((socket, advertisement))
    } else {
        None
    };
    Ok(Parts {
        forwarder,
        _net: opened,
        addresses,
        router,
        zone,
        // Without it jails are noticed a moment later.
        watch: Watch::entries(&super::guests::dir(&net, &plan.spec.bridge)).ok(),
        notes: (net, plan.spec.bridge.clone()),
    })
}

/// What changes in a directory within this is not told apart by its time.
const BLUR: Duration = Duration::from_millis(100);

/// The names of all lists, looked for again when a jail came or went: what a jail asks first counts already.
fn watched(net: &std::path::Path, bridge: &jaula_plan::names::LinkName) -> Box<Listed> {
    use jaula_plan::nft::Target;
    let (net, bridge) = (net.to_owned(), bridge.clone());
    let known = std::sync::Mutex::new((None, Vec::new()));
    Box::new(move || {
        let Ok(mut known) = known.lock() else {
            return Vec::new();
        };
        let changed = super::guests::changed(&net, &bridge);
        let settled = |time: std::time::SystemTime| time.elapsed().is_ok_and(|age| age > BLUR);
        if changed.is_none() || known.0 != changed {
            let notes = super::guests::notes(&net, &bridge);
            let lines = notes.iter().flat_map(super::guests::Note::access);
            let mut names: Vec<(String, bool)> = lines
                .filter_map(|line| match line.target {
                    Target::Name { name, below } => Some((name, below)),
                    _ => None,
                })
                .collect();
            names.sort();
            names.dedup();
            *known = (changed.filter(|time| settled(*time)), names);
        }
        known.1.clone()
    })
}

/// Serves until the bridge is gone.
fn run(bridge: &str, mut parts: Parts) {
    let mut advertise = Instant::now();
    let mut buffer = vec![0; 2048];
    let mut named = Instant::now();
    while !is_gone(bridge) {
        if named <= Instant::now() {
            name(&mut parts);
            named = Instant::now() + FRESH;
        }
        let mut fds = Vec::new();
        let mut place = |fd: Option<RawFd>| {
            fds.extend(fd);
            fd.map(|_| fds.len() - 1)
        };
        let watch = place(parts.watch.as_ref().map(AsRawFd::as_raw_fd));
        let router = place(parts.router.as_ref().map(|(socket, _)| socket.as_raw_fd()));
        let addresses = place(parts.addresses.as_ref().map(AsRawFd::as_raw_fd));
        let ready = readable(&fds, FRESH).unwrap_or_default();
        let is_ready = |place: Option<usize>| place.and_then(|at| ready.get(at)) == Some(&true);
        if is_ready(watch)
            && let Some(watch) = &parts.watch
        {
            watch.wait(0);
            name(&mut parts);
        }
        if let Some((socket, message)) = &parts.router {
            if is_ready(router)
                && let Ok(length) = socket.receive(&mut buffer)
                && is_solicitation(buffer.get(..length).unwrap_or_default())
            {
                // Not more often than that, however often somebody asks.
                advertise = advertise.min(Instant::now() + SOON / 10);
            }
            if advertise <= Instant::now() {
                // A bridge's card is that of its ports: it changes when they do.
                if let Ok(mac) = card(bridge) {
                    let message = Advertisement {
                        mac,
                        ..message.clone()
                    };
                    // On a bridge that is down nobody hears it.
                    drop(socket.tell(&message.bytes()));
                }
                advertise = Instant::now() + ADVERTISE;
            }
        }
        if is_ready(addresses)
            && let Some(server) = &mut parts.addresses
        {
            match server.serve(Duration::ZERO) {
                Ok(true) => name(&mut parts),
                Ok(false) => {}
                // A full disk, a link that went down: what was asked is asked again.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}

/// Names that programs ask for by themselves and believe (CERT VU#598349, RFC 6761): no guest may call itself so.
const OTHERS: [&str; 3] = ["localhost", "wpad", "isatap"];

/// Jails are known by their names, and guests that were given an address by those that they gave themselves. A jail's
/// name is nobody else's; of guests with one name, who has the lowest address has it.
fn name(parts: &mut Parts) {
    let mut hosts: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    let mut jails: BTreeMap<String, Vec<[u8; 6]>> = BTreeMap::new();
    let notes = super::guests::notes(&parts.notes.0, &parts.notes.1);
    if let Some(server) = &mut parts.addresses {
        let four = |address: &IpAddr| match address {
            IpAddr::V4(four) => Some(*four),
            IpAddr::V6(_) => None,
        };
        let first = |note: &Note| note.addresses.iter().find_map(four);
        let fixed = notes
            .iter()
            .filter_map(|note| Some((note.card(), first(note)?)));
        let taken = notes
            .iter()
            .flat_map(|note| &note.addresses)
            .filter_map(four);
        server.learn(fixed.collect(), taken.collect());
    }
    for note in notes {
        let name = note.name.to_ascii_lowercase();
        jails.entry(name.clone()).or_default().push(note.card());
        hosts.entry(name).or_default().extend(note.addresses);
    }
    let now = crate::dhcp::now();
    let held = parts.addresses.as_ref().map(AddressServer::held);
    for (address, row) in held.into_iter().flatten() {
        if !row.taken || row.until < now {
            continue;
        }
        let label = row.name.as_deref().and_then(|name| name.split('.').next());
        let label = label.filter(|label| !OTHERS.contains(label) && !label.starts_with('_'));
        if let Some(label) = label {
            let jail = jails.get(label);
            let known = hosts.entry(label.to_owned()).or_default();
            if known.is_empty() && jail.is_none_or(|cards| cards.contains(&row.mac)) {
                known.push((*address).into());
            }
        }
    }
    if let Ok(mut zone) = parts.zone.write() {
        zone.hosts = hosts;
    }
}
