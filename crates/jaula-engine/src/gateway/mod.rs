//! What a bridge gives its guests, put in place, healed and taken away.

mod check;
pub(crate) mod guests;
mod lease;
mod ports;
mod relay;
mod serve;

pub use check::Hop;
pub use lease::Given;

use crate::dhcp::DhcpError;
use crate::dns::DnsError;
use crate::engine::Engine;
use crate::error::{EngineError, Kind, PathError};
use crate::firewall::{self, Difference, FilterError};
use crate::jail::Running;
use crate::journal::Intent;
use crate::net::{Undo, here, networks, pin};
use crate::plan::Preview;
use crate::store::{Store, StoreError};
use jaula_plan::explain::ExplainLine;
use jaula_plan::facts::net::NetFacts;
use jaula_plan::gateway::{self, ALL_6, GatewayError, GatewayPlan, GatewaySpec};
use jaula_plan::names::LinkName;
use jaula_plan::net::address::Cidr;
use jaula_plan::net::step::NetStep;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A bridge that cannot give what it should.
#[derive(Debug, thiserror::Error)]
pub enum GatewayFailure {
    /// What is asked.
    #[error(transparent)]
    Plan(#[from] GatewayError),
    /// The networks.
    #[error(transparent)]
    Net(Box<crate::net::NetError>),
    /// The firewall.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Addresses.
    #[error(transparent)]
    Dhcp(#[from] DhcpError),
    /// Names.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the kernel or of the store.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What would take it back could not be written.
    #[error(transparent)]
    Journal(#[from] PathError),
    /// A process that was killed is there still.
    #[error("process {pid} of {bridge} was killed and does not end")]
    Stuck {
        /// The bridge.
        bridge: LinkName,
        /// The process.
        pid: u32,
    },
    /// The process that serves did not start.
    #[error("the process that serves {bridge} did not start: {text}")]
    Start {
        /// The bridge.
        bridge: LinkName,
        /// What it said.
        text: String,
    },
    /// The process that listens for jails says nothing.
    #[error(
        "the process that listens at [::1] for jails on {bridge} does not say that it has their ports"
    )]
    Unheard {
        /// The bridge.
        bridge: LinkName,
    },
    /// Nothing is known of such a network.
    #[error("{bridge} gives nothing to guests")]
    Unknown {
        /// The bridge.
        bridge: LinkName,
    },
}

impl GatewayFailure {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Plan(_) => Kind::User,
            Self::Net(error) => error.kind(),
            Self::Filter(error) => error.kind(),
            Self::Dhcp(error) => error.kind(),
            Self::Dns(_) | Self::Start { .. } | Self::Stuck { .. } | Self::Unheard { .. } => {
                Kind::KernelRefused
            }
            Self::Journal(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::File { .. } => Kind::Internal,
            Self::Unknown { .. } => Kind::NotFound,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        let one = |hint: Option<&str>| hint.map(str::to_owned).into_iter().collect();
        match self {
            Self::Plan(error) => one(error.hint()),
            Self::Net(error) => error.hints(),
            Self::Filter(error) => one(error.hint()),
            Self::Dhcp(error) => one(error.hint()),
            Self::Dns(error) => one(error.hint()),
            Self::Store(error) => error.hints(),
            Self::Start { text, .. } if text.contains("in use") => vec![
                "another server has the port at that address; `ss -lnup 'sport = :53 or sport = :67'` names it".into(),
            ],
            Self::Unheard { bridge } => vec![format!(
                "jaula net heal {bridge} starts it again when it is gone; --publish 127.0.0.1:PORT:PORT does without it"
            )],
            Self::Unknown { .. } => vec!["`jaula net add NAME --addr … --nat --dhcp-server --dns`".into()],
            _ => Vec::new(),
        }
    }
}

impl From<crate::net::NetError> for GatewayFailure {
    fn from(error: crate::net::NetError) -> Self {
        Self::Net(Box::new(error))
    }
}

/// What was wrong, and is not any more.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Healed {
    /// Parts of the firewall.
    pub firewall: Vec<String>,
    /// Switches of the kernel.
    pub sysctls: Vec<String>,
    /// Whether the process that serves was started again.
    pub started: bool,
}

impl Healed {
    /// Whether all was well.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> GatewayFailure {
    let path = path.to_owned();
    move |source| GatewayFailure::File { path, source }
}

fn file(store: &Store, bridge: &LinkName, what: &str) -> Result<PathBuf, GatewayFailure> {
    Ok(store.made("net")?.join(format!("{bridge}.{what}")))
}

/// Writes a file whole by way of another one, or leaves it as it was.
fn replace(aside: &Path, path: &Path, text: &[u8]) -> Result<(), GatewayFailure> {
    // Who serves is nobody, and the store is closed to others above.
    let readable = Permissions::from_mode(0o644);
    crate::store::replace_by(aside, path, text, Some(readable)).map_err(at(path))
}

/// Who changes what a bridge gives waits here for who does the same, until the file is dropped.
fn lock(net: &Path, bridge: &LinkName) -> Result<File, GatewayFailure> {
    let path = net.join(format!("{bridge}.lock"));
    loop {
        let file = File::create(&path).map_err(at(&path))?;
        file.lock().map_err(at(&path))?;
        let own = file.metadata().map_err(at(&path))?.ino();
        // Meanwhile it may have gone, with all of the bridge's, and another one be there.
        if std::fs::metadata(&path).is_ok_and(|there| there.ino() == own) {
            return Ok(file);
        }
    }
}

fn switched(bridge: &LinkName, facts: &NetFacts) -> BTreeMap<String, String> {
    let mut links = gateway::uplinks(bridge, facts);
    links.push(bridge.clone());
    let keys = links.iter().flat_map(gateway::switches);
    keys.chain([ALL_6.to_owned()])
        .filter_map(|key| {
            let value = std::fs::read_to_string(Path::new("/proc/sys").join(&key)).ok()?;
            Some((key, value.trim().to_owned()))
        })
        .collect()
}

/// Plans what a bridge gives. One that is not there yet has the addresses that are given here.
///
/// # Errors
/// What stands against it.
pub fn plan(
    store: &Store,
    spec: &GatewaySpec,
    new: &[Cidr],
) -> Result<GatewayPlan, GatewayFailure> {
    let facts = networks()?;
    let guests = guests::guests(&store.root().join("net"), &spec.bridge, &facts);
    let mut addresses = new.to_vec();
    addresses.extend(facts.addresses_of(&spec.bridge).map(|row| row.address));
    let switched = switched(&spec.bridge, &facts);
    Ok(gateway::plan(spec, &addresses, guests, &facts, &switched)?)
}

/// Puts it in place. The bridge has to be there. What takes it back is written first.
///
/// # Errors
/// What the kernel refuses; the firewall and the process are gone again then, and the switches are as they were.
pub fn put(store: &Store, plan: &GatewayPlan) -> Result<(), GatewayFailure> {
    let bridge = &plan.spec.bridge;
    let settings = file(store, bridge, "gateway")?;
    let (namespace, boot) = here().map_err(at(Path::new("/proc")))?;
    // Before the lock: it heals what others left, and that may be of this bridge.
    let (_, mut journal) = store.journal()?;
    let undo = |step| {
        let boot = boot.clone();
        Intent::Net(Box::new(Undo {
            step,
            namespace,
            boot,
        }))
    };
    let mut intents = vec![undo(NetStep::StopGiving {
        name: bridge.clone(),
    })];
    for sysctl in &plan.sysctls {
        let path = Path::new("/proc/sys").join(&sysctl.key);
        let is = std::fs::read_to_string(&path).map_err(at(&path))?;
        intents.push(undo(NetStep::SetSysctl {
            key: sysctl.key.clone(),
            to: is.trim().to_owned(),
            before: sysctl.value.clone(),
        }));
    }
    let text = serde_json::to_vec(&plan.spec).unwrap_or_default();
    journal.intend_all(intents)?;
    let lock = lock(&store.made("net")?, bridge)?;
    let done = (|| {
        replace(&settings.with_extension("new"), &settings, &text)?;
        journal.point()?;
        // Closed before anything is opened.
        firewall::put(&plan.tables)?;
        journal.point()?;
        switch(plan)?;
        journal.point()?;
        for what in ["process", ports::RECORD] {
            stop(store, bridge, what)?;
        }
        if plan.spec.serves() {
            serve::start(store, plan)?;
        }
        ports::start(store, plan)?;
        Ok(journal.point()?)
    })();
    drop(lock);
    match done {
        Ok(()) => Ok(journal.finish()?),
        Err(error) => {
            // What cannot be taken away now is found by the next attempt.
            drop(journal.undo());
            Err(error)
        }
    }
}

fn switch(plan: &GatewayPlan) -> Result<(), GatewayFailure> {
    plan.sysctls.iter().try_for_each(|sysctl| {
        let path = Path::new("/proc/sys").join(&sysctl.key);
        std::fs::write(&path, &sysctl.value).map_err(at(&path))
    })
}

/// Puts the tables again, where a bridge that gives something has other ports now.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn refresh(store: &Store, bridge: &LinkName) -> Result<(), GatewayFailure> {
    let spec = match known(store, bridge) {
        Err(GatewayFailure::Unknown { .. }) => return Ok(()),
        spec => spec?,
    };
    let _lock = lock(&store.made("net")?, bridge)?;
    Ok(firewall::put(&plan(store, &spec, &[])?.tables)?)
}

/// Puts the tables again where they are not as they should be.
///
/// # Errors
/// [`GatewayFailure::Unknown`], and what the kernel refuses.
pub(crate) fn renew(store: &Store, bridge: &LinkName) -> Result<(), GatewayFailure> {
    let spec = known(store, bridge)?;
    let _lock = lock(&store.made("net")?, bridge)?;
    firewall::heal(&plan(store, &spec, &[])?.tables)?;
    Ok(())
}

/// Whether a bridge gives something, or was given its address.
///
/// # Errors
/// The store.
pub(crate) fn is_known(store: &Store, bridge: &LinkName) -> Result<bool, GatewayFailure> {
    let (gives, asks) = (
        file(store, bridge, "gateway")?,
        file(store, bridge, "client")?,
    );
    Ok(gives.exists() || asks.exists())
}

/// What a bridge gives, by the store.
///
/// # Errors
/// [`GatewayFailure::Unknown`].
pub fn known(store: &Store, bridge: &LinkName) -> Result<GatewaySpec, GatewayFailure> {
    let path = file(store, bridge, "gateway")?;
    let unknown = || GatewayFailure::Unknown {
        bridge: bridge.clone(),
    };
    // What is there and cannot be read is not the same as nothing: it would be passed over.
    let text = std::fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unknown(),
        _ => at(&path)(error),
    })?;
    let spec: GatewaySpec =
        serde_json::from_slice(&text).map_err(|error| at(&path)(error.into()))?;
    (spec.bridge == *bridge).then_some(spec).ok_or_else(unknown)
}

/// The bridges that give something.
///
/// # Errors
/// The store.
pub fn all(store: &Store) -> Result<Vec<LinkName>, GatewayFailure> {
    let dir = store.made("net")?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&dir).map_err(at(&dir))?.flatten() {
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".gateway"));
        found.extend(name.and_then(|name| name.parse().ok()));
    }
    found.sort();
    Ok(found)
}

/// Takes it away: the process, the tables. Switches stay as they are: others may count on them by now.
///
/// # Errors
/// What the kernel refuses.
pub fn remove(store: &Store, bridge: &LinkName) -> Result<(), GatewayFailure> {
    let _lock = lock(&store.made("net")?, bridge)?;
    stop(store, bridge, "client")?;
    if !matches!(known(store, bridge), Err(GatewayFailure::Unknown { .. })) {
        stop(store, bridge, ports::RECORD)?;
        stop(store, bridge, "process")?;
        firewall::remove(bridge.as_str())?;
    }
    for what in [
        "gateway",
        "new",
        "note",
        "leases",
        "process",
        "client",
        "ports",
        ports::TOLD,
        "lock",
    ] {
        let path = file(store, bridge, what)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(at(&path)(error));
            }
            _ => {}
        }
    }
    for what in ["guests", "given"] {
        let notes = file(store, bridge, what)?;
        for entry in std::fs::read_dir(&notes).into_iter().flatten().flatten() {
            std::fs::remove_file(entry.path()).ok();
        }
        std::fs::remove_dir(&notes).ok();
    }
    Ok(())
}

fn running(
    store: &Store,
    bridge: &LinkName,
    what: &str,
) -> Result<Option<Running>, GatewayFailure> {
    let path = file(store, bridge, what)?;
    let text = std::fs::read(&path).unwrap_or_default();
    let found: Option<Running> = serde_json::from_slice(&text).ok();
    Ok(found.filter(Running::is_alive))
}

/// How long a process may take to be gone, in milliseconds.
const LEAVING: i64 = 5_000;

fn stop(store: &Store, bridge: &LinkName, what: &str) -> Result<(), GatewayFailure> {
    if let Some(found) = running(store, bridge, what)? {
        let path = file(store, bridge, what)?;
        let ended = jaula_sys::dir::kill_and_wait(found.pid, &|| found.is_alive(), LEAVING);
        if !ended.map_err(at(&path))? {
            let (bridge, pid) = (bridge.clone(), found.pid);
            return Err(GatewayFailure::Stuck { bridge, pid });
        }
    }
    Ok(())
}

/// Compares what is there with what should be, and puts back what is not.
///
/// # Errors
/// [`GatewayFailure::Unknown`], and as [`put`].
pub fn heal(store: &Store, bridge: &LinkName) -> Result<Healed, GatewayFailure> {
    let spec = known(store, bridge)?;
    let _lock = lock(&store.made("net")?, bridge)?;
    let plan = plan(store, &spec, &[])?;
    // Each part is tried, whatever became of those before it.
    let found = firewall::heal(&plan.tables);
    let switched = switch(&plan);
    let gone = running(store, bridge, "process").map(|found| found.is_none());
    let started = gone.and_then(|gone| {
        let started = spec.serves() && gone;
        if started {
            serve::start(store, &plan)?;
        }
        let looks = running(store, bridge, ports::RECORD)?.is_some();
        if !looks {
            ports::start(store, &plan)?;
        }
        Ok(started || !looks)
    });
    switched?;
    Ok(Healed {
        firewall: found?.iter().map(words).collect(),
        sysctls: plan.sysctls.iter().map(ToString::to_string).collect(),
        started: started?,
    })
}

/// A difference in words.
pub fn words(difference: &Difference) -> String {
    match difference {
        Difference::NoTable(family) => format!("the table of {family} was gone"),
        Difference::Chain(name) => format!("the chain {name} was gone"),
        Difference::ForeignChain(name) => format!("a chain {name} was added"),
        Difference::Rules(name) => format!("the chain {name} had other rules"),
        Difference::Set(name) => format!("the set {name} was gone"),
        Difference::Elements(name) => format!("the set {name} had other elements"),
    }
}

impl Preview for GatewayPlan {
    fn to_json(&self) -> Value {
        json!({
            "version": 1,
            "gateway": self.spec,
            "sysctls": self.sysctls,
            "tables": self.tables.each_ref().map(ToString::to_string),
            "pool": self.pool,
        })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        Self::explain(self)
    }
}

impl Engine {
    /// What a bridge would give, with these addresses besides those that it has.
    ///
    /// # Errors
    /// What stands against it.
    pub fn plan_gateway(
        &self,
        spec: &GatewaySpec,
        new: &[Cidr],
    ) -> Result<GatewayPlan, EngineError> {
        Ok(plan(self.store(), spec, new)?)
    }

    /// Has a bridge give what is asked; it is planned anew, with the bridge as it is now.
    ///
    /// # Errors
    /// What stands against it, and what the kernel refuses.
    pub fn give(&self, spec: &GatewaySpec) -> Result<GatewayPlan, EngineError> {
        // Its card's address no longer changes with its ports: guests know it by that.
        pin(&spec.bridge).map_err(GatewayFailure::from)?;
        let plan = plan(self.store(), spec, &[])?;
        put(self.store(), &plan)?;
        Ok(plan)
    }

    /// Has a bridge ask for its own address; returns when it has one. A process renews it while the bridge is there.
    ///
    /// # Errors
    /// When nobody answers, and what the kernel refuses; no process is left then.
    pub fn ask_address(
        &self,
        bridge: &LinkName,
        host_name: Option<&str>,
    ) -> Result<Given, EngineError> {
        stop(self.store(), bridge, "client")?;
        Ok(lease::start(self.store(), bridge, host_name)?)
    }

    /// Takes away what a bridge gives, if anything, and what it was given.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn take_away(&self, bridge: &LinkName) -> Result<(), EngineError> {
        Ok(remove(self.store(), bridge)?)
    }

    /// The bridges that give something.
    ///
    /// # Errors
    /// The store.
    pub fn gateways(&self) -> Result<Vec<LinkName>, EngineError> {
        Ok(all(self.store())?)
    }

    /// Puts back what of a bridge's gifts is not as it should be.
    ///
    /// # Errors
    /// What stands against it.
    pub fn heal(&self, bridge: &LinkName) -> Result<Healed, EngineError> {
        Ok(heal(self.store(), bridge)?)
    }

    /// Tries a network with real packets.
    ///
    /// # Errors
    /// When it gives nothing, and where no guest can be made.
    pub fn check_network(&self, bridge: &LinkName) -> Result<Vec<Hop>, EngineError> {
        Ok(check::check(self.store(), bridge)?)
    }

    /// Chains of others through which a bridge's packets go.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn others(&self, bridge: &LinkName) -> Result<Vec<firewall::Other>, EngineError> {
        let found = firewall::others(bridge.as_str());
        Ok(found.map_err(GatewayFailure::from)?)
    }
}
