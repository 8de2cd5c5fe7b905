//! The process beside a bridge that looks after its jails: it listens where no rule can lead on, and tidies up after those
//! that were killed. It reads nothing that guests say, so it is root's, and is gone when the bridge is.

use super::guests::{Note, dir, notes, reap};
use super::relay::Relays;
use super::{GatewayFailure, at, file, replace};
use crate::jail::Running;
use crate::store::Store;
use jaula_plan::gateway::GatewayPlan;
use jaula_plan::names::LinkName;
use jaula_plan::nft::{Publish, Subnet};
use jaula_sys::detach::detach;
use jaula_sys::packet::is_gone;
use jaula_sys::watch::Watch;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The record of it.
pub(super) const RECORD: &str = "ports";
/// How long it waits before it looks whether all are there still, in milliseconds.
const FRESH: i32 = 1000;

/// Starts it; returns when it looks.
pub(super) fn start(store: &Store, plan: &GatewayPlan) -> Result<(), GatewayFailure> {
    let bridge = plan.spec.bridge.clone();
    let record = file(store, &bridge, RECORD)?;
    let net = store.made("net")?;
    let jails = dir(&net, &bridge);
    std::fs::create_dir_all(&jails).map_err(at(&jails))?;
    let nothing = File::open("/dev/null").map_err(at(&record))?;
    let (mut answer, report) = std::io::pipe().map_err(at(&record))?;
    detach(nothing.as_fd(), report.as_fd(), &mut |mut report| {
        let look = || -> Result<Watch, GatewayFailure> {
            let own = serde_json::to_vec(&Running::of(std::process::id())).unwrap_or_default();
            crate::store::replace(&record, &own).map_err(at(&record))?;
            let watch = Watch::entries(&jails);
            watch.map_err(|error| at(&jails)(std::io::Error::from_raw_os_error(error.errno.0)))
        };
        let said = match look() {
            Ok(watch) => {
                // Who started it may be gone.
                drop(report.write_all(b"!"));
                drop(report);
                run(&watch, net.clone(), &bridge, &plan.firewall.subnets);
                return 0;
            }
            Err(error) => crate::named::chain(&error),
        };
        drop(report.write_all(said.as_bytes()));
        1
    })
    .map_err(at(&record))?;
    drop(report);
    let mut first = [0; 256];
    let length = answer.read(&mut first).map_err(at(&record))?;
    match first.get(..length) {
        Some(b"!") => Ok(()),
        said => Err(GatewayFailure::Start {
            bridge,
            text: String::from_utf8_lossy(said.unwrap_or_default())
                .chars()
                .filter(|c| !c.is_control())
                .collect(),
        }),
    }
}

/// What became of a jail's ports of `::1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heard {
    /// That of the jail's note.
    pub(super) mark: String,
    /// Those that somebody else has, as they are typed.
    pub(super) taken: Vec<String>,
}

/// Where the process tells.
pub(super) const TOLD: &str = "told";
/// Bytes of it: each jail with as many ports as it may have.
const LONGEST: u64 = 16 << 20;

/// What it told last.
pub(super) fn heard(net: &Path, bridge: &LinkName) -> Vec<Heard> {
    let mut text = Vec::new();
    let file = File::open(net.join(format!("{bridge}.{TOLD}")));
    let read = file.and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    read.ok()
        .and_then(|_| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

/// Looks after them until the bridge is gone.
fn run(watch: &Watch, net: PathBuf, bridge: &LinkName, subnets: &[Subnet]) {
    let mut ports = Ports {
        relays: Relays::default(),
        told: None,
        net: &net,
        bridge,
        subnets,
    };
    // With the usual thousand it serves fewer connections; the limits of each port hold either way.
    drop(jaula_sys::process::more_descriptors());
    while !is_gone(bridge.as_str()) {
        ports.listen(&notes(&net, bridge));
        // What came or went is looked at now, and those who went without a word when nothing happens for a while.
        if !watch.wait(FRESH) {
            reap(&net, bridge, |left| ports.listen(left));
        }
    }
}

/// The ports, and what was told of them.
struct Ports<'a> {
    relays: Relays,
    told: Option<Vec<Heard>>,
    net: &'a Path,
    bridge: &'a LinkName,
    subnets: &'a [Subnet],
}

impl Ports<'_> {
    /// Listens for those who are there, and tells them.
    fn listen(&mut self, notes: &[Note]) {
        let there: Vec<&Note> = notes.iter().filter(|note| note.is_alive()).collect();
        let all = there.iter().map(|note| (note, note.relayed(self.subnets)));
        let all: Vec<_> = all.collect();
        let wanted: Vec<_> = all.iter().flat_map(|(_, ports)| ports).copied().collect();
        self.relays.set(&wanted);
        let taken = |(publish, _): &(Publish, _)| {
            let has = self.relays.has(publish.port, publish.protocol);
            (!has).then(|| publish.to_string())
        };
        let told = all.iter().filter(|(_, ports)| !ports.is_empty());
        let told = told.map(|(note, ports)| Heard {
            mark: note.mark.clone(),
            taken: ports.iter().filter_map(taken).collect(),
        });
        let told: Vec<Heard> = told.collect();
        if self.told.as_ref() == Some(&told) {
            return;
        }
        let text = serde_json::to_vec(&told).unwrap_or_default();
        let path = self.net.join(format!("{}.{TOLD}", self.bridge));
        let new = self.net.join(format!("{}.{TOLD}.new", self.bridge));
        // Who waits for it gives up; it is tried with the next change.
        let written = replace(&new, &path, &text);
        self.told = written.is_ok().then_some(told);
    }
}
