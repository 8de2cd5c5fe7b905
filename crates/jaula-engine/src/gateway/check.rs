//! A network tried with real packets: a guest of its own on the bridge, in a network namespace that a thread has while
//! the check lasts, sends along the path of all guests. Where nothing comes back the first thing that explains it is named.

use super::{GatewayFailure, known, plan, running, words};
use crate::firewall;
use crate::net::networks;
use crate::net::taken::who_has;
use crate::store::Store;
use jaula_plan::facts::net::NetFacts;
use jaula_plan::gateway::GatewayPlan;
use jaula_plan::names::LinkName;
use jaula_plan::nft::Subnet;
use jaula_sys::SysError;
use jaula_sys::direct;
use jaula_sys::echo::{Echo, echo};
use jaula_sys::netlink::{Address, Batch, LinkSet, NewLink, NewLinkKind, Place, Route, Socket};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// `EADDRINUSE`.
const IN_USE: i32 = 98;
/// `CLONE_NEWNET`.
const NEW_NET: i32 = 0x4000_0000;
/// How long one answer is waited for; a bridge that was just given a port may take a moment.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the forwarder is waited for: it asks others, twice.
const NAMES: Duration = Duration::from_secs(9);
/// How many addresses are tried for the guest, from the top.
const ADDRESSES: u32 = 16;

/// The name of the host's end of the guest's cable: of this process, so that two checks are not in each other's way.
fn port() -> String {
    format!("jaula-c{}", std::process::id())
}

/// One part of the path.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Hop {
    /// What was tried.
    pub what: String,
    /// Whether it went well.
    pub ok: bool,
    /// What came back.
    pub said: String,
    /// What explains it, if it did not go well.
    pub cause: Option<String>,
    /// What the user may do.
    pub hint: Option<String>,
}

/// What the guest is to try.
struct Trial {
    what: String,
    kind: Kind,
}

enum Kind {
    /// An echo; those that leave the host depend on more.
    Echo(IpAddr, bool),
    /// A question for a name server: a name of this network, or one that others know.
    Name(IpAddr, bool),
}

/// What came of it.
type Tried = Result<(), String>;

/// Tries a network.
///
/// # Errors
/// [`GatewayFailure::Unknown`], and where no guest can be made.
pub fn check(store: &Store, bridge: &LinkName) -> Result<Vec<Hop>, GatewayFailure> {
    let spec = known(store, bridge)?;
    let plan = plan(store, &spec, &[])?;
    let facts = networks()?;
    let trials = trials(&plan, &facts);
    let looked = |source| GatewayFailure::Net(Box::new(crate::net::NetError::Look { source }));
    let found = guest(bridge, &plan.firewall.subnets, &trials).map_err(looked)?;
    let mut hops = Vec::new();
    for (trial, tried) in trials.into_iter().zip(found) {
        let (cause, hint) = match &tried {
            Ok(()) => (None, None),
            Err(_) => explained(store, &plan, &facts, &trial)?,
        };
        hops.push(Hop {
            what: trial.what,
            ok: tried.is_ok(),
            said: tried.err().unwrap_or_else(|| "answered".into()),
            cause,
            hint,
        });
    }
    Ok(hops)
}

fn trials(plan: &GatewayPlan, facts: &NetFacts) -> Vec<Trial> {
    let mut trials = Vec::new();
    for subnet in &plan.firewall.subnets {
        let address = subnet.address;
        trials.push(Trial {
            what: format!("guest to bridge, {address}"),
            kind: Kind::Echo(address, false),
        });
        if plan.spec.nat {
            match beyond(plan, facts, address.is_ipv4()) {
                Some((to, what)) => trials.push(Trial {
                    what: format!("guest to {what}, {to}"),
                    kind: Kind::Echo(to, true),
                }),
                None => trials.push(Trial {
                    what: format!(
                        "the way out of IPv{}",
                        if address.is_ipv4() { 4 } else { 6 }
                    ),
                    kind: Kind::Echo(address, true),
                }),
            }
        }
        if plan.spec.dns {
            trials.push(Trial {
                what: format!("names of this network, {address}"),
                kind: Kind::Name(address, false),
            });
            trials.push(Trial {
                what: format!("names of others, {address}"),
                kind: Kind::Name(address, true),
            });
        }
    }
    // A way that the host itself has not is not tried: the trial would be one of the bridge.
    trials.retain(|trial| !trial.what.starts_with("the way out of"));
    trials
}

/// The nearest address beyond this host: the router; where that one has only an address of its link, the host's own on
/// the link that leads there.
fn beyond(plan: &GatewayPlan, facts: &NetFacts, four: bool) -> Option<(IpAddr, &'static str)> {
    let ways = facts
        .routes
        .iter()
        .filter(|r| r.to.prefix == 0 && r.to.address.is_ipv4() == four);
    let way = ways.min_by_key(|route| route.metric.unwrap_or(0))?;
    if way.link == plan.spec.bridge {
        return None;
    }
    let local = |address: &IpAddr| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(six) => six.segments().first().is_some_and(|s| s & 0xffc0 == 0xfe80),
    };
    if let Some(router) = way.via.filter(|router| !local(router)) {
        return Some((router, "router"));
    }
    let mut own = facts.addresses_of(&way.link).map(|row| row.address.address);
    let own = own.find(|a| a.is_ipv4() == four && !local(a))?;
    Some((own, "the host's own address outside"))
}

/// Makes the guest, has it try, and takes it away.
fn guest(bridge: &LinkName, subnets: &[Subnet], trials: &[Trial]) -> Result<Vec<Tried>, SysError> {
    let mut here = Socket::open()?;
    let index = here.link(bridge.as_str())?.index;
    let port = port();
    let mut own = None;
    let (ready, is_ready) = channel::<Result<File, SysError>>();
    let (cabled, is_cabled) = channel::<()>();
    let result = std::thread::scope(|scope| {
        let inside = scope.spawn(move || inside(subnets, trials, &ready, &is_cabled));
        let gone = || SysError::io("unshare", "network", &std::io::ErrorKind::BrokenPipe.into());
        let namespace = is_ready.recv().map_err(|_| gone())??;
        let peer = NewLink {
            // Not up: at that moment it is no pair yet.
            place: Place::Net(namespace.as_fd()),
            ..NewLink::new("eth0", NewLinkKind::Dummy)
        };
        let pair = NewLink {
            master: Some(index),
            up: true,
            ..NewLink::new(&port, NewLinkKind::Veth(&peer))
        };
        let mut batch = Batch::new();
        batch.add_link(&pair);
        let made = here.apply(&batch).map_err(|failed| failed.error);
        if made.is_ok() {
            own = here.link(&port).ok().map(|link| link.index);
            // A guest that has ended already says why.
            cabled.send(()).ok();
        }
        drop(cabled);
        let found = inside.join().map_err(|_| gone())?;
        made.and(found)
    });
    if let Some(own) = own {
        let mut batch = Batch::new();
        batch.remove_link(own, &port);
        // Gone with its namespace at the latest, as that of a check that was killed.
        drop(here.apply(&batch));
    }
    result
}

/// What the guest does, in its own network namespace.
fn inside(
    subnets: &[Subnet],
    trials: &[Trial],
    ready: &Sender<Result<File, SysError>>,
    is_cabled: &Receiver<()>,
) -> Result<Vec<Tried>, SysError> {
    let made = direct::unshare(NEW_NET).map_err(|errno| SysError {
        call: "unshare",
        target: "network".into(),
        errno: jaula_sys::Errno(errno.0),
    });
    let own = made.and_then(|()| {
        File::open("/proc/thread-self/ns/net")
            .map_err(|error| SysError::io("open", "ns/net", &error))
    });
    drop(ready.send(own));
    if is_cabled.recv().is_err() {
        return Ok(Vec::new());
    }
    let mut socket = Socket::open()?;
    let index = socket.link("eth0")?.index;
    let mut batch = Batch::new();
    let up = LinkSet {
        up: Some(true),
        ..LinkSet::default()
    };
    batch.set_link(index, "eth0", &up);
    socket.apply(&batch).map_err(|failed| failed.error)?;
    let mut batch = Batch::new();
    for subnet in subnets {
        let own = address_in(*subnet)?;
        batch.add_address(&Address::new(index, own, subnet.prefix).certain(), "eth0");
    }
    for subnet in subnets {
        let everywhere: IpAddr = match subnet.address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        batch.add_route(
            &Route::new(everywhere, 0, Some(subnet.address), index),
            "eth0",
        );
    }
    socket.apply(&batch).map_err(|failed| failed.error)?;
    Ok(trials.iter().map(tried).collect())
}

/// The last of the subnet's addresses that nobody answers for: what is given out starts at the other end.
fn address_in(subnet: Subnet) -> Result<IpAddr, SysError> {
    let size = |bits: u32| 1u128.checked_shl(bits).unwrap_or(0);
    match subnet.network() {
        IpAddr::V4(net) => {
            let size = size(32 - u32::from(subnet.prefix.min(32)));
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            for back in 2..=ADDRESSES.min(size.saturating_sub(1)) {
                let address = Ipv4Addr::from(u32::from(net) | (size - back));
                if subnet.address != address && who_has("eth0", address.into())?.is_none() {
                    return Ok(address.into());
                }
            }
            Err(SysError {
                call: "arp",
                target: format!("the last addresses of {net}/{}", subnet.prefix),
                errno: jaula_sys::Errno(IN_USE),
            })
        }
        // So many that chance does not choose one that somebody has.
        IpAddr::V6(net) => {
            let ones = size(128 - u32::from(subnet.prefix.min(128))).wrapping_sub(2);
            Ok(IpAddr::V6((u128::from(net) | ones).into()))
        }
    }
}

fn tried(trial: &Trial) -> Tried {
    match trial.kind {
        Kind::Echo(to, _) => match echo(to, PATIENCE) {
            Ok(Echo::Answered) => Ok(()),
            Ok(Echo::Refused(who, code)) => Err(format!("{who} refuses (code {code})")),
            Ok(Echo::Silence) => Err("no answer".into()),
            Err(error) => Err(error.to_string()),
        },
        Kind::Name(server, others) => asked(server, others).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => "no answer".into(),
            _ => error.to_string(),
        }),
    }
}

/// Asks for the name servers of the root, which everybody knows, or for a name that is known here alone.
fn asked(server: IpAddr, others: bool) -> std::io::Result<()> {
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(SocketAddr::new(server, 53))?;
    socket.set_read_timeout(Some(NAMES))?;
    let mut question = vec![0x6a, 0x61, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    match others {
        true => question.extend([0, 0, 2, 0, 1]),
        false => question.extend(b"\x0bjaula-check\0\0\x01\0\x01"),
    }
    socket.send(&question)?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer)?;
    let code = answer.get(3).map_or(0, |byte| byte & 15);
    match (length, code) {
        (..12, _) => Err(std::io::ErrorKind::InvalidData.into()),
        // That there is no such guest is an answer.
        (_, 0) => Ok(()),
        (_, 3) if !others => Ok(()),
        (_, 2) => Err(std::io::Error::other("the host's resolvers do not answer")),
        (_, code) => Err(std::io::Error::other(format!("refused with code {code}"))),
    }
}

type Explained = (Option<String>, Option<String>);

/// The first thing that explains why a trial failed.
fn explained(
    store: &Store,
    plan: &GatewayPlan,
    facts: &NetFacts,
    trial: &Trial,
) -> Result<Explained, GatewayFailure> {
    let bridge = &plan.spec.bridge;
    let heal = || Some(format!("jaula net heal {bridge}"));
    if let Some(link) = facts.link(bridge)
        && !link.up
    {
        let hint = format!("jaula net set {bridge} up");
        return Ok((Some(format!("the bridge {bridge} is down")), Some(hint)));
    }
    if let Some(difference) = firewall::differences(&plan.tables)?.first() {
        let cause = format!("the network's own firewall: {}", words(difference));
        return Ok((Some(cause), heal()));
    }
    match trial.kind {
        Kind::Name(..) if running(store, bridge, "process")?.is_none() => {
            return Ok((Some("the process that serves is gone".into()), heal()));
        }
        Kind::Name(_, true) => {
            let cause = "the host's resolvers (/etc/resolv.conf) do not answer";
            return Ok((Some(cause.into()), None));
        }
        Kind::Echo(_, true) => {
            if let Some(sysctl) = plan.sysctls.first() {
                let cause = format!(
                    "a switch of the kernel: {} is not {}",
                    sysctl.dotted(),
                    sysctl.value
                );
                return Ok((Some(cause), heal()));
            }
        }
        _ => {}
    }
    let hook = match trial.kind {
        Kind::Echo(_, true) => "forward",
        _ => "input",
    };
    let others = firewall::others(bridge.as_str())?;
    let other = others
        .iter()
        .find(|other| other.hook == hook && other.stands_in_the_way());
    Ok(match other {
        Some(other) => {
            let cause = format!(
                "{}'s firewall: the chain {} of table {} {} drops what no rule of it lets pass (hook {hook})",
                other.owner, other.chain, other.family, other.table
            );
            (Some(cause), Some(other.hint(bridge.as_str())))
        }
        None => (None, None),
    })
}
