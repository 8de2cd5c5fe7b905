//! Networks: looked at, changed, and given to jails.

mod apply;
mod error;
pub(crate) mod guest;
mod interfaces;
pub(crate) mod outside;
mod probe;
pub(crate) mod taken;

pub use apply::{Undo, apply, once};
pub(crate) use apply::{apply_then, here, pin};
pub use error::NetError;

use crate::engine::Engine;
use crate::error::{At, EngineError};
use crate::plan::Preview;
use jaula_plan::explain::ExplainLine;
use jaula_plan::facts::net::NetFacts;
use jaula_plan::names::LinkName;
use jaula_plan::net::bridge::{self, NetPlan};
use jaula_plan::net::error::NetPlanError;
use jaula_plan::net::interfaces::Stanza;
use jaula_plan::net::save::{Form, Save, plan_save};
use jaula_plan::net::set;
use jaula_plan::net::step::NetStep;
use jaula_plan::spec::net::{BondMode, BridgeSet, BridgeSpec, LinkSet, PortSet};
use jaula_sys::netlink::Socket;
use serde::Serialize;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

impl Preview for NetPlan {
    fn to_json(&self) -> Value {
        json!({ "version": 1, "plan": self })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        Self::explain(self)
    }
}

/// The kernel takes a moment to remove what a jail that ended had: how often it is looked at again, and when.
const GONE_TRIES: u32 = 20;
const GONE_PAUSE: Duration = Duration::from_millis(25);

/// A station that a bridge knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Station {
    /// Its address.
    pub mac: jaula_plan::net::address::Mac,
    /// The port that it is behind; the bridge itself has none.
    pub port: Option<LinkName>,
    /// The port's number.
    pub number: u16,
    /// Whether it is an address of the bridge's own, as those of its ports are.
    pub local: bool,
    /// The VLAN it was seen in.
    pub vlan: Option<u16>,
    /// For how long it was not seen, in hundredths of a second.
    pub age: u32,
    /// Addresses that this host knows it by.
    pub addresses: Vec<IpAddr>,
}

/// What `net` changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetChange {
    /// A bridge comes to be.
    Add(BridgeSpec),
    /// A link of ours goes.
    Remove {
        /// Which.
        name: LinkName,
        /// Also when it is somebody else's, or in use.
        forced: bool,
    },
    /// Links become ports of a bridge.
    Attach {
        /// The bridge.
        bridge: LinkName,
        /// The links.
        ports: Vec<LinkName>,
        /// Their addresses and routes become the bridge's.
        move_address: bool,
    },
    /// Links are ports no longer.
    Detach {
        /// The bridge.
        bridge: LinkName,
        /// The links.
        ports: Vec<LinkName>,
    },
    /// A link or bridge is changed.
    Set {
        /// Which.
        name: LinkName,
        /// To what.
        link: LinkSet,
        /// And of a bridge.
        bridge: BridgeSet,
    },
    /// A port is changed.
    SetPort {
        /// The bridge.
        bridge: LinkName,
        /// The port.
        port: LinkName,
        /// To what.
        set: PortSet,
    },
    /// A VLAN comes to be.
    Vlan {
        /// Its name.
        name: LinkName,
        /// The card.
        below: LinkName,
        /// Its number.
        id: u16,
    },
    /// Several cards become one.
    Bond {
        /// Its name.
        name: LinkName,
        /// How.
        mode: BondMode,
        /// The cards.
        cards: Vec<LinkName>,
    },
}

impl NetChange {
    /// What it takes, as the networks are.
    ///
    /// # Errors
    /// When it is refused.
    pub fn plan(&self, facts: &NetFacts) -> Result<NetPlan, NetPlanError> {
        match self {
            Self::Add(spec) => bridge::plan_add(spec, facts),
            Self::Remove { name, forced } => bridge::plan_rm(name, *forced, facts),
            Self::Attach {
                bridge,
                ports,
                move_address,
            } => bridge::plan_attach(bridge, ports, *move_address, facts),
            Self::Detach { bridge, ports } => bridge::plan_detach(bridge, ports, facts),
            Self::Set { name, link, bridge } => set::plan_set(name, link, bridge, facts),
            Self::SetPort { bridge, port, set } => set::plan_set_port(bridge, port, set, facts),
            Self::Vlan { name, below, id } => bridge::plan_vlan(name, below, *id, facts),
            Self::Bond { name, mode, cards } => bridge::plan_bond(name, *mode, cards, facts),
        }
    }
}

/// The networks of this process's network namespace.
///
/// # Errors
/// When the kernel does not tell.
pub fn networks() -> Result<NetFacts, NetError> {
    probe::probe()
}

/// The stations that a bridge knows, by their addresses.
///
/// # Errors
/// When there is no such bridge.
pub fn stations(name: &LinkName) -> Result<Vec<Station>, NetError> {
    let facts = networks()?;
    let found = facts.link(name).ok_or_else(|| NetPlanError::NoSuchLink {
        name: name.clone(),
        links: facts
            .bridges()
            .iter()
            .map(|link| link.name.clone())
            .collect(),
    })?;
    if found.bridge.is_none() {
        return Err(NetError::Plan(NetPlanError::NotABridge {
            name: name.clone(),
            kind: found.kind_word().to_owned(),
        }));
    }
    let look = |source| NetError::Look { source };
    let mut socket = Socket::open().map_err(look)?;
    let known = socket.forwarding().map_err(look)?;
    let mut neighbours = Vec::new();
    for family in [2, 10] {
        neighbours.extend(socket.neighbours(family).map_err(look)?);
    }
    let mut stations: Vec<Station> = Vec::new();
    for entry in known {
        let port = facts.links.iter().find(|link| link.index == entry.link);
        let (Some(port), Some(mac)) = (port, entry.mac) else {
            continue;
        };
        if port.master.as_ref() != Some(name) || entry.bridge != Some(found.index) {
            continue;
        }
        let same = neighbours
            .iter()
            .filter(|neighbour| neighbour.mac == Some(mac) && neighbour.link == found.index);
        stations.push(Station {
            mac: jaula_plan::net::address::Mac(mac),
            port: Some(port.name.clone()),
            number: port.port.map_or(0, |port| port.number),
            local: entry.permanent(),
            vlan: entry.vlan.filter(|vlan| *vlan != 0),
            age: if entry.fixed() { 0 } else { entry.age },
            addresses: same.filter_map(|neighbour| neighbour.address).collect(),
        });
    }
    stations.sort_by_key(|station| (station.mac, station.number));
    Ok(stations)
}

impl Engine {
    /// What a change to networks takes.
    ///
    /// # Errors
    /// When it is refused.
    pub fn plan_net(&self, change: &NetChange) -> Result<NetPlan, EngineError> {
        let mut planned = change.plan(&networks()?);
        for _ in 0..GONE_TRIES {
            if !matches!(planned, Err(NetPlanError::Guests { .. })) {
                break;
            }
            // The cards of a jail that has just ended are still there.
            std::thread::sleep(GONE_PAUSE);
            planned = change.plan(&networks()?);
        }
        let mut plan = planned.map_err(NetError::Plan)?;
        if let NetChange::Remove { name, .. } = change
            && crate::gateway::is_known(self.store(), name)?
        {
            // Last: as long as there is a way through it, its firewall holds.
            let name = name.clone();
            plan.steps.push(NetStep::Forget { name });
        }
        Ok(plan)
    }

    /// What the files of ifupdown say of a bridge (interfaces(5)), beginning with this one.
    ///
    /// # Errors
    /// When they do not, or not what can be meant.
    pub fn net_stanza(&self, name: &LinkName, file: &Path) -> Result<Stanza, EngineError> {
        let sources = interfaces::sources(file)?;
        let stanza = jaula_plan::net::interfaces::read(name, &sources);
        Ok(stanza.map_err(NetError::from)?)
    }

    /// What makes a bridge again when the machine starts.
    ///
    /// # Errors
    /// When there is no such bridge, or a name cannot be written.
    pub fn plan_net_save(&self, name: &LinkName, form: Form) -> Result<Save, EngineError> {
        let facts = networks()?;
        let gives = crate::gateway::known(self.store(), name).ok();
        Ok(plan_save(name, gives.as_ref(), form, &facts).map_err(NetError::Plan)?)
    }

    /// Writes it into a directory: all or nothing, and over nothing.
    ///
    /// # Errors
    /// When one of the files is there already, or cannot be written; those that were written are gone again.
    pub fn net_save(&self, save: &Save, dir: &Path) -> Result<Vec<PathBuf>, EngineError> {
        let mut written: Vec<PathBuf> = Vec::new();
        for file in &save.files {
            let path = dir.join(&file.name);
            let made = OpenOptions::new().write(true).create_new(true).open(&path);
            let made = made.at("make", &path).and_then(|mut new| {
                written.push(path.clone());
                new.write_all(file.text.as_bytes()).at("write", &path)
            });
            if let Err(error) = made {
                for path in &written {
                    drop(std::fs::remove_file(path));
                }
                return Err(NetError::from(error).into());
            }
        }
        Ok(written)
    }

    /// Does it.
    ///
    /// # Errors
    /// When the kernel refuses a step; what was done is undone.
    pub fn net(&self, plan: &NetPlan) -> Result<(), EngineError> {
        if jaula_sys::process::effective_ids().0 != 0 {
            return Err(NetError::NotRoot.into());
        }
        taken::refuse_taken(plan, &networks()?)?;
        apply(self.store(), plan)?;
        self.ports_changed(&plan.steps)
    }

    /// Does one step as an old tool does it, which knows no way back; what the bridge gives follows.
    ///
    /// # Errors
    /// [`NetError::Step`] with what the kernel says, and [`NetError::Gateway`] when the step is done and the rest is not.
    pub fn net_once(&self, step: &NetStep) -> Result<(), EngineError> {
        once(step)?;
        match step {
            NetStep::RemoveLink { name, .. } => crate::gateway::remove(self.store(), name)?,
            step => self.ports_changed(std::slice::from_ref(step))?,
        }
        Ok(())
    }

    /// Does it, and then something that belongs to it: where that fails, all is undone.
    ///
    /// # Errors
    /// When the kernel refuses a step, and as `then`; what was done is undone.
    pub fn net_then<T>(
        &self,
        plan: &NetPlan,
        then: impl FnOnce() -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if jaula_sys::process::effective_ids().0 != 0 {
            return Err(NetError::NotRoot.into());
        }
        taken::refuse_taken(plan, &networks()?)?;
        apply_then(self.store(), plan, then)
    }

    /// What a bridge lets through depends on what its ports lead to.
    fn ports_changed(&self, steps: &[NetStep]) -> Result<(), EngineError> {
        let mut bridges: Vec<&LinkName> = Vec::new();
        for step in steps {
            if let NetStep::SetMaster { to, before, .. } = step {
                bridges.extend([to, before].into_iter().flatten());
            }
        }
        bridges.sort();
        bridges.dedup();
        for bridge in &bridges {
            crate::gateway::refresh(self.store(), bridge)?;
        }
        // Somebody else may have given another bridge ports. Its troubles are no reason for this change to fail.
        for other in crate::gateway::all(self.store())? {
            if !bridges.contains(&&other) {
                drop(crate::gateway::renew(self.store(), &other));
            }
        }
        Ok(())
    }
}
