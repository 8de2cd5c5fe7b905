//! Changes to networks, done and taken back. Links are named in plans; their numbers are found here, once.

use crate::journal::{Intent, Journal, UndoError};
use crate::net::error::NetError;
use crate::store::Store;
use jaula_plan::facts::net::{AddressFacts, RouteFacts};
use jaula_plan::names::LinkName;
use jaula_plan::net::bridge::NetPlan;
use jaula_plan::net::step::{LinkKind, NetStep, NewLink};
use jaula_plan::spec::net::{BondMode, BridgeSet, PortSet};
use jaula_sys::SysError;
use jaula_sys::error::Errno;
use jaula_sys::netlink::{self, Address, AddressLife, Batch, NewLinkKind, Route, Socket};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Errno: what is asked for is so already, or what should go is gone (errno(3)).
const ESRCH: i32 = 3;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EADDRNOTAVAIL: i32 = 99;

/// Numbers are taken this far above the largest there is, so that whoever makes a link meanwhile does not take ours.
const APART: u32 = 64;
/// How often a number may be found taken.
const TRIES: usize = 4;

/// A change and where it belongs: links of one network namespace, until the machine starts anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The change that takes back.
    pub step: NetStep,
    /// The inode of the network namespace.
    pub namespace: u64,
    /// Which start of the machine (proc(5), `random/boot_id`).
    pub boot: String,
}

/// Where this process is.
pub(crate) fn here() -> std::io::Result<(u64, String)> {
    let namespace = std::fs::metadata("/proc/self/ns/net")?.ino();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok((namespace, boot.trim().to_owned()))
}

impl Undo {
    /// Whether it belongs where this process is; what an earlier start of the machine left is gone with it.
    fn belongs(&self) -> std::io::Result<Belongs> {
        let (namespace, boot) = here()?;
        Ok(if boot != self.boot {
            Belongs::Past
        } else if namespace == self.namespace {
            Belongs::Here
        } else if is_there(self.namespace) {
            Belongs::Elsewhere
        } else {
            Belongs::Gone
        })
    }

    /// In words.
    pub fn words(&self) -> String {
        self.step.to_string()
    }

    /// Takes it back; what is so already is well.
    ///
    /// # Errors
    /// When the kernel refuses, or it belongs to another network namespace, where somebody else takes it back.
    pub(crate) fn apply(&self, store: &Path) -> Result<(), UndoError> {
        let refused = |source| UndoError::Net {
            step: self.words(),
            source,
        };
        let belongs = self
            .belongs()
            .map_err(|error| refused(SysError::io("read", "/proc", &error)))?;
        match belongs {
            // A network namespace that is gone took its links along.
            Belongs::Past | Belongs::Gone => return Ok(()),
            Belongs::Elsewhere => {
                return Err(UndoError::Elsewhere {
                    step: self.words(),
                    namespace: self.namespace,
                });
            }
            Belongs::Here => {}
        }
        let gone = |source| UndoError::Gives {
            step: self.words(),
            source: Box::new(source),
        };
        if let NetStep::StopGiving { name } = &self.step {
            let store = Store::open(store).map_err(|error| gone(error.into()))?;
            return crate::gateway::remove(&store, name).map_err(gone);
        }
        if let NetStep::Forget { name } = &self.step {
            // One that is there still keeps its firewall.
            if !jaula_sys::packet::is_gone(name.as_str()) {
                return Ok(());
            }
            let store = Store::open(store).map_err(|error| gone(error.into()))?;
            return crate::gateway::remove(&store, name).map_err(gone);
        }
        if let NetStep::SetSysctl { key, before, .. } = &self.step {
            // Of a link that is gone there is none any more, and what somebody else set is his.
            let is = std::fs::read_to_string(Path::new("/proc/sys").join(key)).unwrap_or_default();
            if is.trim() != before {
                return Ok(());
            }
        }
        let facts = crate::net::networks().map_err(|error| gone(error.into()))?;
        let Some(step) = self.step.still_ours(&facts) else {
            return Ok(());
        };
        let (numbers, mut socket) = Numbers::read().map_err(refused)?;
        again(&mut socket, &numbers, &step).map_err(refused)
    }
}

enum Belongs {
    Here,
    Elsewhere,
    Gone,
    Past,
}

/// Whether somebody has that network namespace: a process, or a mount that is seen here.
fn is_there(namespace: u64) -> bool {
    let name = format!("net:[{namespace}]");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounted = mounts
        .lines()
        .any(|line| line.split(' ').nth(3) == Some(name.as_str()));
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    mounted
        || processes
            .map(|entry| entry.path().join("ns/net"))
            .any(|path| {
                std::fs::read_link(path).is_ok_and(|link| link.as_os_str() == name.as_str())
            })
}

/// Does a step that may have been done already.
fn again(socket: &mut Socket, numbers: &Numbers, step: &NetStep) -> Result<(), SysError> {
    match one(socket, numbers, step, None) {
        Err(error) if matches!(error.errno.0, ESRCH | EEXIST | ENODEV | EADDRNOTAVAIL) => Ok(()),
        other => other,
    }
}

/// The numbers of links, by their names.
#[derive(Debug, Default)]
struct Numbers(HashMap<String, u32>);

impl Numbers {
    fn read() -> Result<(Self, Socket), SysError> {
        let mut socket = Socket::open()?;
        let links = socket.links()?;
        let all = links.into_iter().map(|link| (link.name, link.index));
        Ok((Self(all.collect()), socket))
    }

    fn of(&self, name: &LinkName) -> Option<u32> {
        self.0.get(name.as_str()).copied()
    }

    fn need(&self, name: &LinkName) -> Result<u32, SysError> {
        self.of(name).ok_or_else(|| SysError {
            call: "RTM_GETLINK",
            target: name.to_string(),
            errno: Errno(ENODEV),
        })
    }

    /// One that nobody has.
    fn fresh(&self) -> u32 {
        let largest = self.0.values().copied().max().unwrap_or(0);
        largest.saturating_add(APART).min(i32::MAX.cast_unsigned())
    }
}

fn bridge_set(set: &BridgeSet) -> netlink::BridgeSet {
    netlink::BridgeSet {
        forward_delay: set.forward_delay,
        hello_time: set.hello_time,
        max_age: set.max_age,
        ageing_time: set.ageing_time,
        stp: set.stp,
        priority: set.priority,
        vlan_filtering: set.vlan_filtering,
    }
}

fn port_set(set: &PortSet) -> netlink::PortSet {
    netlink::PortSet {
        priority: set.priority,
        cost: set.cost,
        hairpin: set.hairpin,
        learning: set.learning,
        isolated: set.isolated,
    }
}

fn bond_mode(mode: BondMode) -> netlink::BondMode {
    match mode {
        BondMode::BalanceRr => netlink::BondMode::BalanceRr,
        BondMode::ActiveBackup => netlink::BondMode::ActiveBackup,
        BondMode::BalanceXor => netlink::BondMode::BalanceXor,
        BondMode::Broadcast => netlink::BondMode::Broadcast,
        BondMode::Lacp => netlink::BondMode::Lacp,
        BondMode::BalanceTlb => netlink::BondMode::BalanceTlb,
        BondMode::BalanceAlb => netlink::BondMode::BalanceAlb,
    }
}

pub(crate) fn address(given: &AddressFacts, link: u32) -> Address {
    let (at, prefix) = (given.address.address, given.address.prefix);
    let mut address = Address::new(link, at, prefix).certain();
    address.scope = given.scope;
    address.broadcast = given.broadcast;
    address.life = given
        .life
        .map(|(preferred, valid)| AddressLife { preferred, valid });
    address
}

pub(crate) fn route(given: &RouteFacts, link: u32) -> Route {
    let mut route = Route::new(given.to.address, given.to.prefix, given.via, link);
    route.source = given.source;
    route.metric = given.metric;
    route.protocol = given.protocol;
    route.scope = given.scope;
    route.table = given.table;
    route.onlink = given.onlink;
    route
}

fn add_link(
    batch: &mut Batch,
    numbers: &Numbers,
    link: &NewLink,
    index: Option<u32>,
) -> Result<(), SysError> {
    let peer;
    let kind = match &link.kind {
        LinkKind::Bridge { set } => NewLinkKind::Bridge(bridge_set(set)),
        LinkKind::Veth { peer: name } => {
            peer = netlink::NewLink::new(name.as_str(), NewLinkKind::Dummy);
            NewLinkKind::Veth(&peer)
        }
        LinkKind::Macvlan { below } => NewLinkKind::Macvlan {
            below: numbers.need(below)?,
        },
        LinkKind::Vlan { below, id } => NewLinkKind::Vlan {
            below: numbers.need(below)?,
            id: *id,
        },
        LinkKind::Dummy => NewLinkKind::Dummy,
        LinkKind::Bond { mode, miimon } => NewLinkKind::Bond {
            mode: bond_mode(*mode),
            miimon: *miimon,
        },
    };
    let mut new = netlink::NewLink::new(link.name.as_str(), kind);
    new.index = index;
    new.mac = link.mac.map(|mac| mac.0);
    new.mtu = link.mtu;
    batch.add_link(&new);
    if let (Some(alias), Some(index)) = (&link.alias, index) {
        let set = netlink::LinkSet {
            alias: Some(alias),
            ..netlink::LinkSet::default()
        };
        batch.set_link(index, link.name.as_str(), &set);
    }
    Ok(())
}

/// Does one step; `index` is the number of the link that it makes.
fn one(
    socket: &mut Socket,
    numbers: &Numbers,
    step: &NetStep,
    index: Option<u32>,
) -> Result<(), SysError> {
    let mut batch = Batch::new();
    match step {
        NetStep::AddLink { link } => add_link(&mut batch, numbers, link, index)?,
        NetStep::RemoveLink { name, index } => {
            let found = numbers.need(name)?;
            if index.is_some_and(|index| index != found) {
                return Err(SysError {
                    call: "RTM_DELLINK",
                    target: name.to_string(),
                    errno: Errno(ENODEV),
                });
            }
            batch.remove_link(found, name.as_str());
        }
        NetStep::SetLink { name, to, .. } => {
            let set = netlink::LinkSet {
                up: to.up,
                mac: to.mac.map(|mac| mac.0),
                mtu: to.mtu,
                alias: to.alias.as_deref(),
                ..netlink::LinkSet::default()
            };
            batch.set_link(numbers.need(name)?, name.as_str(), &set);
        }
        NetStep::SetMaster { name, to, .. } => {
            let master = match to {
                Some(to) => numbers.need(to)?,
                None => 0,
            };
            let set = netlink::LinkSet {
                master: Some(master),
                ..netlink::LinkSet::default()
            };
            batch.set_link(numbers.need(name)?, name.as_str(), &set);
        }
        NetStep::SetBridge { name, to, .. } => {
            batch.set_bridge(numbers.need(name)?, name.as_str(), &bridge_set(to));
        }
        NetStep::SetPort { name, to, .. } => {
            batch.set_port(numbers.need(name)?, name.as_str(), &port_set(to));
        }
        NetStep::AddAddress { address: given } => {
            let link = numbers.need(&given.link)?;
            batch.add_address(&address(given, link), given.link.as_str());
        }
        NetStep::RemoveAddress { address: given } => {
            let link = numbers.need(&given.link)?;
            batch.remove_address(&address(given, link), given.link.as_str());
        }
        NetStep::AddRoute { route: given } => {
            let link = numbers.need(&given.link)?;
            batch.add_route(&route(given, link), given.link.as_str());
        }
        NetStep::RemoveRoute { route: given } => {
            let link = numbers.need(&given.link)?;
            batch.remove_route(&route(given, link), given.link.as_str());
        }
        // Whoever does these has the store.
        NetStep::StopGiving { .. } | NetStep::Forget { .. } => {}
        NetStep::SetSysctl { key, to, .. } => {
            let path = Path::new("/proc/sys").join(key);
            return std::fs::write(&path, to)
                .map_err(|error| SysError::io("write", path.display().to_string(), &error));
        }
    }
    socket.apply(&batch).map_err(|failed| failed.error)
}

/// Does one step that needs no way back, for faces that do what an old tool does with one call of the kernel.
///
/// # Errors
/// [`NetError::Step`] with what the kernel says.
pub fn once(step: &NetStep) -> Result<(), NetError> {
    let failed = |source| NetError::Step {
        step: step.to_string(),
        number: 1,
        of: 1,
        undone: false,
        source,
    };
    let (numbers, mut socket) = Numbers::read().map_err(failed)?;
    one(&mut socket, &numbers, step, None).map_err(failed)
}

/// Pins the address of a bridge's card to what it is: it follows that of its ports no longer.
///
/// # Errors
/// When there is no such link, or the kernel refuses.
pub(crate) fn pin(bridge: &LinkName) -> Result<(), NetError> {
    let look = |source| NetError::Look { source };
    let mut socket = Socket::open().map_err(look)?;
    let link = socket.link(bridge.as_str()).map_err(look)?;
    let mut batch = Batch::new();
    let set = netlink::LinkSet {
        mac: link.mac,
        ..netlink::LinkSet::default()
    };
    batch.set_link(link.index, bridge.as_str(), &set);
    socket.apply(&batch).map_err(|failed| look(failed.error))
}

/// Does a plan: the way back of every step is written and synced first, then the steps are done in order.
///
/// # Errors
/// When the kernel refuses a step; what was done is undone.
pub fn apply(store: &Store, plan: &NetPlan) -> Result<(), NetError> {
    apply_then(store, plan, || Ok(()))
}

/// Does a plan, and then what belongs to it; where that fails the plan is undone too.
///
/// # Errors
/// As [`apply`], and as `then`.
pub(crate) fn apply_then<T, E: From<NetError>>(
    store: &Store,
    plan: &NetPlan,
    then: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match attempt(store, plan) {
            // Somebody took the number between the look and the making.
            Err((NetError::Step { source, .. }, true)) if source.errno.0 == EBUSY && tries > 0 => {}
            Err((error, _)) => return Err(error.into()),
            Ok(mut made) => {
                let done = match then() {
                    Ok(done) => done,
                    Err(error) => {
                        // What cannot be undone now is found by the next start.
                        drop(made.journal.undo());
                        return Err(error);
                    }
                };
                let after = forgetting(store, plan)?;
                made.journal.finish().map_err(NetError::from)?;
                for (at, step) in plan.steps.iter().enumerate().skip(made.steps) {
                    if let NetStep::Forget { name } = step {
                        let gone = crate::gateway::remove(store, name);
                        gone.map_err(|error| NetError::Gateway(Box::new(error)))?;
                        continue;
                    }
                    one(&mut made.socket, &made.numbers, step, None)
                        .map_err(|source| step_failed(plan, at, source, false).0)?;
                }
                let done_all = after.map(Journal::finish).transpose();
                done_all.map_err(NetError::from)?;
                return Ok(done);
            }
        }
    }
}

/// What has to follow what cannot be taken back, on record: whoever is killed in between leaves it to the next start.
fn forgetting(store: &Store, plan: &NetPlan) -> Result<Option<Journal>, NetError> {
    let forgets = |step: &&NetStep| matches!(step, NetStep::Forget { .. });
    let steps: Vec<NetStep> = plan.steps.iter().filter(forgets).cloned().collect();
    if steps.is_empty() {
        return Ok(None);
    }
    let look = |error| SysError::io("read", "/proc", &error);
    let (namespace, boot) = here().map_err(|error| NetError::Look {
        source: look(error),
    })?;
    let intents = steps.into_iter().map(|step| {
        let boot = boot.clone();
        Intent::Net(Box::new(Undo {
            step,
            namespace,
            boot,
        }))
    });
    let (_, mut journal) = store.journal()?;
    journal.intend_all(intents.collect())?;
    Ok(Some(journal))
}

/// A plan done up to what cannot be taken back.
struct Done {
    journal: Journal,
    socket: Socket,
    numbers: Numbers,
    /// How many steps were done.
    steps: usize,
}

/// A step that failed, and whether it made a link.
type Failed = (NetError, bool);

fn step_failed(plan: &NetPlan, at: usize, source: SysError, undone: bool) -> Failed {
    let step = plan.steps.get(at);
    let error = NetError::Step {
        step: step.map(ToString::to_string).unwrap_or_default(),
        number: at + 1,
        of: plan.steps.len(),
        undone,
        source,
    };
    (error, matches!(step, Some(NetStep::AddLink { .. })))
}

fn attempt(store: &Store, plan: &NetPlan) -> Result<Done, Failed> {
    let look = |source| (NetError::Look { source }, false);
    let written = |error: crate::error::PathError| (NetError::from(error), false);
    let (mut numbers, mut socket) = Numbers::read().map_err(look)?;
    let (namespace, boot) = here().map_err(|error| look(SysError::io("read", "/proc", &error)))?;
    let mut made = HashMap::new();
    for step in &plan.steps {
        if let NetStep::AddLink { link } = step {
            let number = numbers.fresh();
            numbers.0.insert(link.name.to_string(), number);
            made.insert(link.name.clone(), number);
        }
    }
    let undos = plan.steps.iter().filter_map(|step| {
        let mut step = step.inverse()?;
        if let NetStep::RemoveLink { name, index } = &mut step {
            *index = made.get(name).copied();
        }
        let (namespace, boot) = (namespace, boot.clone());
        Some(Intent::Net(Box::new(Undo {
            step,
            namespace,
            boot,
        })))
    });
    let undos: Vec<_> = undos.collect();
    let (_, mut journal) = store.journal().map_err(|error| (error.into(), false))?;
    // What cannot be taken back comes last, when nothing is left to be taken back.
    let lasting = plan.steps.iter().position(|step| step.inverse().is_none());
    let back = plan.steps.iter().take(lasting.unwrap_or(plan.steps.len()));
    let mut done = 0;
    let result = (|| {
        journal.intend_all(undos).map_err(written)?;
        for step in back.clone() {
            let index = match step {
                NetStep::AddLink { link } => made.get(&link.name).copied(),
                _ => None,
            };
            one(&mut socket, &numbers, step, index)
                .map_err(|source| step_failed(plan, done, source, done > 0))?;
            done += 1;
            journal.point().map_err(written)?;
        }
        Ok(())
    })();
    if let Err(error) = result {
        // What was refused whole and what comes after it never came to be: something like it may be somebody else's.
        for (number, step) in back.enumerate().skip(done) {
            if number > done || !step.may_be_half_done() {
                drop(journal.disown(number));
            }
        }
        return Err(match journal.undo().into_iter().next() {
            Some(failed) => (NetError::Undo(failed), false),
            None => error,
        });
    }
    Ok(Done {
        journal,
        socket,
        numbers,
        steps: done,
    })
}
