//! The jails on bridges that give something: noted before their cards are there, so that the firewall knows what each may
//! say it is, and gone from the notes when they end.

use super::{GatewayFailure, at, known, plan};
use crate::firewall;
use crate::jail::Running;
use crate::store::Store;
use jaula_plan::facts::net::NetFacts;
use jaula_plan::names::LinkName;
use jaula_plan::net::address::Mac;
use jaula_plan::net::guest::GuestLink;
use jaula_plan::nft::Guest;
use jaula_plan::spec::net::{Lessee, Uplink};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

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
    process: Option<Running>,
}

impl Note {
    /// The card's address.
    pub(super) fn card(&self) -> [u8; 6] {
        self.mac.0
    }
}

fn dir(net: &Path, bridge: &LinkName) -> PathBuf {
    net.join(format!("{bridge}.guests"))
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
    let is_there = |note: &Note| {
        let starts = || note.process.is_some_and(|process| process.is_alive());
        facts.link(&note.port).is_some() || starts()
    };
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
        publish: Vec::new(),
        access: Vec::new(),
        rate: note.rate,
    };
    notes(net, bridge)
        .into_iter()
        .filter(is_there)
        .map(guest)
        .collect()
}

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
        let Ok(spec) = known(&store, bridge) else {
            continue;
        };
        let net = store.made("net")?;
        let dir = dir(&net, bridge);
        std::fs::create_dir_all(&dir).map_err(at(&dir))?;
        let path = net.join(format!("{bridge}.lock"));
        // Two that start at once: the second's tables have the first in them.
        let lock = File::create(&path).map_err(at(&path))?;
        lock.lock().map_err(at(&path))?;
        let note = Note {
            port: link.host_end.clone(),
            mac: link.mac,
            addresses: link.addresses.iter().map(|cidr| cidr.address).collect(),
            name: lessee.holder.clone(),
            rate: None,
            process: Running::of(std::process::id()),
        };
        let path = dir.join(link.host_end.as_str());
        let text = serde_json::to_vec(&note).unwrap_or_default();
        std::fs::write(&path, text).map_err(at(&path))?;
        let plan = plan(&store, &spec, &[])?;
        firewall::put(&plan.tables)?;
    }
    Ok(())
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
            // There is none on a bridge that gives nothing.
            if std::fs::remove_file(note).is_ok() {
                drop(forget(root, &net, bridge));
            }
        }
    }
}

fn forget(root: &Path, net: &Path, bridge: &LinkName) -> Result<(), GatewayFailure> {
    let store = Store::open(root)?;
    let spec = known(&store, bridge)?;
    let path = net.join(format!("{bridge}.lock"));
    let lock = File::create(&path).map_err(at(&path))?;
    lock.lock().map_err(at(&path))?;
    firewall::put(&plan(&store, &spec, &[])?.tables)?;
    Ok(())
}
