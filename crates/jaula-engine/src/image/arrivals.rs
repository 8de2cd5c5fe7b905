//! Packages are unpacked as they arrive, so that the network and the processors work at once.

use super::error::BuildError;
use super::plan::{ImagePlan, millis};
use super::{debs, locked};
use crate::error::At;
use crate::event::{Event, Observer, Phase};
use crate::fetch::{Client, Wanted};
use crate::store::Store;
use crate::unpack::{Arriving, Deb, Kept, UnpackError, Wave};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Hears of each package that is unpacked: name and bytes.
pub(super) type Tell<'a> = &'a (dyn Fn(&str, u64) + Sync);
/// Unpacks what comes.
pub(super) type Unpack<'a> = &'a dyn Fn(Tell<'_>, &dyn Arriving) -> Result<Wave, UnpackError>;

/// What the store lacks of a plan's packages.
pub(super) struct Arrivals<'a> {
    plan: &'a ImagePlan,
    client: &'a Client,
    observer: &'a dyn Observer,
    wanted: Cell<Vec<Wanted>>,
}

impl<'a> Arrivals<'a> {
    /// Those packages of a plan that are neither in the store nor unpacked already; package files of the host are taken
    /// into the store.
    pub fn new(
        plan: &'a ImagePlan,
        store: &Store,
        kept: &HashMap<[u8; 32], Arc<Kept>>,
        client: &'a Client,
        observer: &'a dyn Observer,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            plan,
            client,
            observer,
            wanted: Cell::new(wanted(plan, store, kept)?),
        })
    }

    /// The network, with what the sources' servers want to know.
    pub fn client(&self) -> Client {
        self.client.with_logins(&self.plan.sources.entries)
    }

    /// Fetches everything.
    pub fn fetch(&self) -> Result<(), BuildError> {
        let wanted = self.wanted.take();
        fetch(self.plan, wanted, self.client, self.observer, &|| ())
    }

    /// Unpacks what there is, and fetches the rest meanwhile. To the observer, unpacking has `begun` when all is
    /// fetched.
    ///
    /// # Errors
    /// Of what failed first; the other one ends then.
    pub fn unpack(
        &self,
        begun: &(dyn Fn() + Sync),
        tell: Tell<'_>,
        unpack: Unpack<'_>,
    ) -> Result<Wave, BuildError> {
        let wanted = self.wanted.take();
        if wanted.is_empty() {
            begun();
            return Ok(unpack(tell, &())?);
        }
        let meanwhile = Meanwhile::default();
        let client = self.client.until(&meanwhile.stop);
        let (plan, observer) = (self.plan, self.observer);
        std::thread::scope(|scope| {
            let fetching = scope.spawn(|| {
                let fetched = fetch(plan, wanted, &client, observer, &|| meanwhile.arrived());
                meanwhile.end(fetched.is_ok(), begun, tell);
                fetched
            });
            let unpacked = unpack(&|name, bytes| meanwhile.tell(name, bytes, tell), &meanwhile);
            if unpacked.is_err() {
                meanwhile.failed();
            }
            let fetched = match fetching.join() {
                Ok(fetched) => fetched,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            if !meanwhile.state().first {
                fetched?;
            }
            Ok(unpacked?)
        })
    }
}

/// What who fetches and who unpacks know of each other.
#[derive(Default)]
struct Meanwhile {
    state: Mutex<State>,
    changed: Condvar,
    /// Ends the fetching.
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    fetching: Fetching,
    /// Whether unpacking failed before fetching did.
    first: bool,
    /// What was unpacked before all was there, to be told then.
    unpacked: Vec<(String, u64)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Fetching {
    #[default]
    On,
    Done,
    Failed,
}

impl Meanwhile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file came. Who is just about to wait has the lock, and hears of it.
    fn arrived(&self) {
        drop(self.state());
        self.changed.notify_all();
    }

    fn end(&self, fetched: bool, begun: &dyn Fn(), tell: Tell<'_>) {
        let mut state = self.state();
        state.fetching = Fetching::Failed;
        if fetched {
            state.fetching = Fetching::Done;
            begun();
            for (name, bytes) in state.unpacked.drain(..) {
                tell(&name, bytes);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    fn tell(&self, name: &str, bytes: u64, tell: Tell<'_>) {
        let mut state = self.state();
        match state.fetching {
            Fetching::On => state.unpacked.push((name.to_owned(), bytes)),
            Fetching::Done => {
                drop(state);
                tell(name, bytes);
            }
            // That unpacking began was never told.
            Fetching::Failed => {}
        }
    }
}

impl Arriving for Meanwhile {
    fn come(&self, deb: &Deb) -> bool {
        let mut state = self.state();
        while !state.first && state.fetching == Fetching::On && !deb.path.exists() {
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        !state.first
    }

    fn failed(&self) {
        let mut state = self.state();
        state.first |= state.fetching != Fetching::Failed;
        drop(state);
        self.stop.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }
}

fn wanted(
    plan: &ImagePlan,
    store: &Store,
    kept: &HashMap<[u8; 32], Arc<Kept>>,
) -> Result<Vec<Wanted>, BuildError> {
    debs::keep(plan, store)?;
    let mut wanted = Vec::new();
    for (planned, package) in plan.packages.iter().zip(&plan.lock.packages) {
        if planned.in_base
            || kept.contains_key(&package.sha256)
            || store.package(&package.sha256).is_some()
        {
            continue;
        }
        let path = store.package_path(&package.sha256);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).at("make", parent)?;
        }
        wanted.push(Wanted {
            urls: locked::urls(plan, package),
            size: package.size,
            sha256: package.sha256,
            label: package.name.clone(),
            part: store.partial_path(&package.sha256)?,
            path,
        });
    }
    // The largest first, as they are unpacked, and so that the end is not waiting for one.
    wanted.sort_by_key(|file| std::cmp::Reverse(file.size));
    Ok(wanted)
}

/// Fetches what is wanted; `arrived` hears whenever something did.
fn fetch(
    plan: &ImagePlan,
    wanted: Vec<Wanted>,
    client: &Client,
    observer: &dyn Observer,
    arrived: &(dyn Fn() + Sync),
) -> Result<(), BuildError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    let (items, bytes) = (
        wanted.len() as u64,
        wanted.iter().map(|file| file.size).sum(),
    );
    observer.event(Event::Started {
        phase: Phase::Fetch,
        items,
        bytes,
    });
    let client = &client.with_logins(&plan.sources.entries);
    locked::download(plan, client, wanted, &|items, bytes, item| {
        arrived();
        observer.event(Event::Progress {
            phase: Phase::Fetch,
            items,
            bytes,
            item: item.to_owned(),
        });
    })?;
    observer.event(Event::Finished {
        phase: Phase::Fetch,
        items,
        bytes,
        millis: millis(started),
    });
    Ok(())
}
