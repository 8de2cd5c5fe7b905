//! The process beside a bridge that looks after its jails: it listens where no rule can lead on, and tidies up after those
//! that were killed. It reads nothing that guests say, so it is root's, and is gone when the bridge is.

use super::guests::{Note, dir, notes, reap};
use super::relay::Relays;
use super::{GatewayFailure, at, file};
use crate::jail::Running;
use crate::store::Store;
use jaula_plan::gateway::GatewayPlan;
use jaula_plan::names::LinkName;
use jaula_plan::nft::Subnet;
use jaula_sys::detach::detach;
use jaula_sys::packet::is_gone;
use jaula_sys::watch::Watch;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

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

/// Looks after them until the bridge is gone.
fn run(watch: &Watch, net: PathBuf, bridge: &LinkName, subnets: &[Subnet]) {
    let mut relays = Relays::default();
    // With the usual thousand it serves fewer connections; the limits of each port hold either way.
    drop(jaula_sys::process::more_descriptors());
    while !is_gone(bridge.as_str()) {
        listen(&mut relays, &notes(&net, bridge), subnets);
        // What came or went is looked at now, and those who went without a word when nothing happens for a while.
        if !watch.wait(FRESH) {
            let tidy = |left: &[Note]| listen(&mut relays, left, subnets);
            reap(&net, bridge, tidy);
        }
    }
}

fn listen(relays: &mut Relays, notes: &[Note], subnets: &[Subnet]) {
    let ports = notes.iter().flat_map(|note| note.relayed(subnets));
    relays.set(&ports.collect::<Vec<_>>());
}
