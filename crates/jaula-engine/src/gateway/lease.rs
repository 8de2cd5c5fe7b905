//! A bridge that gets its own address by DHCP: a process asks for it, renews it while the bridge is there, and takes it
//! away when its time is over. The kernel knows the time too, so that an address whose process was killed ends.

use super::{GatewayFailure, at, file};
use crate::dhcp::{AddressClient, DhcpError};
use crate::jail::Running;
use crate::store::Store;
use jaula_plan::names::LinkName;
use jaula_repo::dhcp::{Lease, News};
use jaula_sys::SysError;
use jaula_sys::confine::{ADMIN, BIND, Kept, RAW, confine};
use jaula_sys::detach::detach;
use jaula_sys::netlink::{Address, AddressLife, Batch, Route, Socket};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of an answer of the process.
const REPORT: u64 = 4096;
/// How long somebody is waited for who gives an address.
const PATIENCE: Duration = Duration::from_secs(15);
/// RTPROT_DHCP of linux/rtnetlink.h.
const BY_DHCP: u8 = 16;

/// What a bridge was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits that the addresses of its network share.
    pub prefix: u8,
    /// Routers.
    pub routers: Vec<Ipv4Addr>,
    /// Who resolves names.
    pub name_servers: Vec<Ipv4Addr>,
    /// The domain of this host.
    pub domain: Option<String>,
    /// Seconds that it holds; none: for ever.
    pub seconds: Option<u32>,
}

impl Given {
    fn of(lease: &Lease) -> Self {
        let mut routers: Vec<Ipv4Addr> = Vec::new();
        for route in lease.routes.iter().filter(|route| route.prefix == 0) {
            routers.push(route.by);
        }
        Self {
            address: lease.address,
            prefix: lease.prefix,
            routers,
            name_servers: lease.name_servers.clone(),
            domain: lease.domain.clone(),
            seconds: lease.seconds,
        }
    }
}

/// Asks for an address; returns when the bridge has it.
pub fn start(
    store: &Store,
    bridge: &LinkName,
    host_name: Option<&str>,
) -> Result<Given, GatewayFailure> {
    let record = file(store, bridge, "client")?;
    let nothing = File::open("/dev/null").map_err(at(&record))?;
    let (answer, report) = std::io::pipe().map_err(at(&record))?;
    detach(nothing.as_fd(), report.as_fd(), &mut |report| {
        let mut holder = Holder {
            link: bridge.as_str(),
            report: Some(report),
            record: &record,
            given: None,
        };
        match holder.run(host_name.map(str::to_owned)) {
            Ok(()) => 0,
            Err(error) => {
                holder.say(&serde_json::json!({ "silent": matches!(error, GatewayFailure::Dhcp(DhcpError::Silence { .. })), "error": crate::named::chain(&error) }));
                1
            }
        }
    })
    .map_err(at(&record))?;
    drop(report);
    let mut text = String::new();
    let mut limited = BufReader::new(answer.take(REPORT));
    limited.read_line(&mut text).map_err(at(&record))?;
    if let Ok(given) = serde_json::from_str::<Given>(&text) {
        return Ok(given);
    }
    let said: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    if said["silent"] == true {
        return Err(DhcpError::Silence {
            link: bridge.to_string(),
            seconds: PATIENCE.as_secs(),
        }
        .into());
    }
    let error = said["error"].as_str().unwrap_or("it ended");
    Err(GatewayFailure::Start {
        bridge: bridge.clone(),
        text: error.chars().filter(|c| !c.is_control()).collect(),
    })
}

/// The process: what it holds.
struct Holder<'a> {
    link: &'a str,
    report: Option<File>,
    record: &'a Path,
    given: Option<Lease>,
}

impl Holder<'_> {
    fn say(&mut self, what: &impl Serialize) {
        if let Some(mut report) = self.report.take()
            && let Ok(text) = serde_json::to_string(what)
        {
            // Who started it may be gone.
            writeln!(report, "{text}").ok();
        }
    }

    fn run(&mut self, host_name: Option<String>) -> Result<(), GatewayFailure> {
        let mut client = AddressClient::open(self.link, host_name)?;
        let own = Running::of(std::process::id());
        let text = serde_json::to_vec(&own).unwrap_or_default();
        crate::store::replace(self.record, &text).map_err(at(self.record))?;
        // From here on what others say is read.
        let kept = Kept {
            capabilities: ADMIN | RAW | BIND,
            ..Kept::default()
        };
        confine(&kept).map_err(|source| DhcpError::Link {
            link: self.link.to_owned(),
            source,
        })?;
        let end = Instant::now() + PATIENCE;
        let mut failed = None;
        client.run(Some(end), &mut |news| self.first(news, &mut failed))?;
        if let Some(error) = failed {
            return Err(error);
        }
        let Some(lease) = &self.given else {
            return Err(DhcpError::Silence {
                link: self.link.to_owned(),
                seconds: PATIENCE.as_secs(),
            }
            .into());
        };
        let given = Given::of(lease);
        self.say(&given);
        // Until the bridge is gone. What the kernel refuses now may be possible at the next renewal.
        client.run(None, &mut |news| {
            self.apply(news).ok();
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    fn first(&mut self, news: &News, failed: &mut Option<GatewayFailure>) -> ControlFlow<()> {
        if let Err(source) = self.apply(news) {
            let link = self.link.to_owned();
            *failed = Some(DhcpError::Link { link, source }.into());
        }
        match self.given {
            None if failed.is_none() => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    /// Makes so what the news says.
    fn apply(&mut self, news: &News) -> Result<(), SysError> {
        let mut socket = Socket::open()?;
        let link = socket.link(self.link)?.index;
        let lease = match news {
            News::Bound(lease) => Some(lease.as_ref().clone()),
            News::Lost(_) | News::Probe(_) => None,
        };
        let old = self.given.take();
        let same = |a: &Lease, b: &Lease| (a.address, a.prefix) == (b.address, b.prefix);
        let stays = matches!((&old, &lease), (Some(old), Some(new)) if same(old, new));
        if let Some(old) = &old {
            let kept = |route: &Route| {
                stays
                    && lease
                        .as_ref()
                        .is_some_and(|new| routes(new, link).contains(route))
            };
            let gone = routes(old, link);
            for route in gone.iter().filter(|route| !kept(route)) {
                let mut batch = Batch::new();
                batch.remove_route(route, self.link);
                // Somebody may have removed it.
                socket.apply(&batch).ok();
            }
            if !stays {
                let mut batch = Batch::new();
                batch.remove_address(&address(old, link), self.link);
                socket.apply(&batch).ok();
            }
        }
        let Some(new) = lease else {
            return Ok(());
        };
        let mut batch = Batch::new();
        batch.renew_address(&address(&new, link), self.link);
        let known = old.map(|old| routes(&old, link)).unwrap_or_default();
        for route in routes(&new, link) {
            if !stays || !known.contains(&route) {
                batch.add_route(&route, self.link);
            }
        }
        socket.apply(&batch).map_err(|failed| failed.error)?;
        self.given = Some(new);
        Ok(())
    }
}

fn address(lease: &Lease, link: u32) -> Address {
    let mut address = Address::new(link, lease.address.into(), lease.prefix);
    address.life = lease.seconds.map(|seconds| AddressLife {
        preferred: seconds,
        valid: seconds,
    });
    address
}

fn routes(lease: &Lease, link: u32) -> Vec<Route> {
    let one = |route: &jaula_repo::dhcp::Route| {
        let via = (!route.by.is_unspecified()).then_some(IpAddr::V4(route.by));
        let mut made = Route::new(route.to.into(), route.prefix, via, link);
        made.protocol = BY_DHCP;
        made
    };
    let mut all: Vec<Route> = lease.routes.iter().map(one).collect();
    // Those on the link itself come first: routers are reached by them.
    all.sort_by_key(|route| route.via.is_some());
    all
}
