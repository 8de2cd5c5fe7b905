//! Which limit is held by what: the unified hierarchy first, a hierarchy of the first version where the controller is
//! there, and limits of processes for what is of each process.

use super::JailPlanError;
use crate::explain::shown;
use crate::facts::cgroup::{Legacy, LimitFacts, Place};
use crate::limit_op::{GroupPlan, LimitOp, Setting};
use crate::setup_op::SetupOp;
use crate::spec::limits::{Device, Limit, Limits, Resource};

/// The limits of a plan, by where they belong in it.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// Before the process is there: groups, the clock, and what is done without.
    pub(super) outside: Vec<SetupOp>,
    /// In the process that becomes the program.
    pub(super) process: Vec<SetupOp>,
    /// In that process once it has closed what it does not need: the limit of descriptors.
    pub(super) late: Vec<SetupOp>,
}

/// Puts what is late behind the closing of descriptors.
pub(super) fn insert_late(late: Vec<SetupOp>, ops: &mut Vec<SetupOp>) {
    let closing =
        |op: &SetupOp| matches!(op, SetupOp::CloseDescriptors | SetupOp::KeepDescriptors(_));
    let at = ops.iter().rposition(closing).map_or(0, |at| at + 1);
    ops.splice(at..at, late);
}

/// The period over which time on CPUs is counted, in microseconds.
const PERIOD: u32 = 100_000;

/// Plans every limit, or says of the first that cannot be held why.
/// `host_root`: the program is the host's own root, whose processes the kernel does not count (setrlimit(2)).
pub(super) fn plan(
    limits: &Limits,
    facts: &LimitFacts,
    host_root: bool,
) -> Result<Planned, JailPlanError> {
    let mut planned = Planned::default();
    if limits.is_empty() {
        return Ok(planned);
    }
    let mut groups: Vec<GroupPlan> = Vec::new();
    let mut without = Vec::new();
    let place = unified_place(limits, facts);
    // Memory before swap, which the first version counts together with it.
    let mut sorted: Vec<&Limit> = limits.all().iter().collect();
    sorted.sort_by_key(|limit| matches!(limit, Limit::Swap(_)));
    for limit in sorted {
        let held = match limit.controller() {
            Some(controller) => group(limit, controller, limits, facts, &place, &mut groups),
            None if host_root && matches!(limit, Limit::Process(Resource::Processes, Some(_))) => {
                Err(
                    "the kernel does not count processes of the host's root; pids=N does"
                        .to_owned(),
                )
            }
            None => process(limit, limits, facts, &mut planned),
        };
        if let Err(why) = held {
            if !limits.best_effort {
                return Err(JailPlanError::Limit {
                    limit: limit.to_string(),
                    why,
                    group: limit.controller().is_some(),
                });
            }
            without.push(LimitOp::Without {
                limit: limit.to_string(),
                why,
            });
        }
    }
    let groups = groups.into_iter().map(LimitOp::Group);
    let all = groups.chain(without).map(SetupOp::Limit);
    planned.outside.splice(0..0, all);
    Ok(planned)
}

fn has(list: &[String], name: &str) -> bool {
    list.iter().any(|known| known == name)
}

/// Whether the unified hierarchy has the controller anywhere that can be seen.
fn is_unified(facts: &LimitFacts, controller: &str) -> bool {
    let places = facts.unified.iter().flatten();
    places
        .into_iter()
        .any(|place| has(&place.controllers, controller))
}

/// The nearest group of the unified hierarchy in which one with all the controllers that are needed of it can be made;
/// or why there is none.
fn unified_place<'f>(limits: &Limits, facts: &'f LimitFacts) -> Result<&'f Place, String> {
    let needed: Vec<&str> = limits
        .all()
        .iter()
        .filter_map(Limit::controller)
        .filter(|controller| is_unified(facts, controller))
        .collect();
    let places = facts.unified.as_deref().unwrap_or_default();
    let all = |place: &&Place| needed.iter().all(|name| has(&place.controllers, name));
    if let Some(place) = places
        .iter()
        .find(|place| place.writable && !place.busy && all(place))
    {
        return Ok(place);
    }
    let mut writable = places.iter().filter(|place| place.writable).peekable();
    if writable.peek().is_none() {
        return Err(match places.first() {
            Some(own) => format!(
                "this user may make no group in {} or above",
                shown(&own.dir)
            ),
            None => "there is no unified hierarchy".to_owned(),
        });
    }
    let lacking = writable
        .clone()
        .filter(|place| !place.busy)
        .find_map(|place| {
            let missing = needed.iter().find(|name| !has(&place.controllers, name))?;
            Some(format!("{} has no controller {missing}", shown(&place.dir)))
        });
    Err(lacking.unwrap_or_else(|| {
        let busy = writable.next().map(|place| shown(&place.dir));
        format!(
            "{} has processes of its own, so no group in it can have controllers",
            busy.unwrap_or_default()
        )
    }))
}

/// One limit of a control group.
fn group(
    limit: &Limit,
    controller: &'static str,
    limits: &Limits,
    facts: &LimitFacts,
    place: &Result<&Place, String>,
    groups: &mut Vec<GroupPlan>,
) -> Result<(), String> {
    if let Limit::Cpus(list) = limit
        && let Some(absent) = absent_cpu(list, &facts.cpus)
    {
        return Err(format!(
            "there is no CPU {absent}: this host has {}",
            facts.cpus
        ));
    }
    if is_unified(facts, controller) {
        let place = place
            .as_ref()
            .map_err(|why| format!("the controller {controller} cannot be had: {why}"))?;
        let settings = unified(limit, facts)?;
        let group = match groups.iter_mut().find(|group| group.unified) {
            Some(group) => group,
            None => {
                groups.insert(0, new_group(true, place.dir.clone(), limits.joined));
                groups.first_mut().ok_or("no group")?
            }
        };
        add(group, controller, settings);
        if !has(&place.enabled, controller) && !group.enable.contains(&controller) {
            group.enable.push(controller);
        }
        return Ok(());
    }
    // The first version's name.
    let name = if controller == "io" {
        "blkio"
    } else {
        controller
    };
    let Some(legacy) = facts
        .legacy
        .iter()
        .find(|legacy| has(&legacy.controllers, name))
    else {
        return Err(format!(
            "no hierarchy of control groups has the controller {controller}"
        ));
    };
    if !legacy.writable {
        return Err(format!(
            "the controller {name} cannot be had: this user may make no group in {}",
            shown(&legacy.dir)
        ));
    }
    let settings = first_version(limit, limits, facts, legacy)?;
    let group = match groups
        .iter_mut()
        .position(|group| !group.unified && group.parent == legacy.dir)
    {
        Some(at) => groups.get_mut(at),
        None => {
            groups.push(new_group(false, legacy.dir.clone(), false));
            groups.last_mut()
        }
    };
    add(group.ok_or("no group")?, name, settings);
    Ok(())
}

fn new_group(unified: bool, parent: std::path::PathBuf, inner: bool) -> GroupPlan {
    GroupPlan {
        unified,
        parent,
        enable: Vec::new(),
        controllers: Vec::new(),
        settings: Vec::new(),
        inner,
    }
}

fn add(group: &mut GroupPlan, controller: &'static str, settings: Vec<Setting>) {
    if !group.controllers.contains(&controller) {
        group.controllers.push(controller);
    }
    group.settings.extend(settings);
}

fn set(limit: &Limit, file: &'static str, value: impl ToString) -> Setting {
    Setting {
        limit: limit.to_string(),
        file,
        value: value.to_string(),
    }
}

fn number(device: &Device, facts: &LimitFacts) -> Result<String, String> {
    match device {
        Device::Number(major, minor) => Ok(format!("{major}:{minor}")),
        Device::Path(path) => match facts.devices.iter().find(|(known, _)| known == path) {
            Some((_, (major, minor))) => Ok(format!("{major}:{minor}")),
            None => Err(format!("{} is no block device", shown(path))),
        },
    }
}

/// The files of the unified hierarchy (cgroup-v2, "Controllers").
fn unified(limit: &Limit, facts: &LimitFacts) -> Result<Vec<Setting>, String> {
    let one = |file, value: String| Ok(vec![set(limit, file, value)]);
    match limit {
        Limit::Memory(n) => one("memory.max", n.to_string()),
        Limit::Swap(n) => one("memory.swap.max", n.to_string()),
        Limit::Cpu(n) => one("cpu.max", format!("{} {PERIOD}", quota(*n))),
        Limit::CpuWeight(n) => one("cpu.weight", n.to_string()),
        Limit::Cpus(list) => one("cpuset.cpus", list.clone()),
        Limit::Pids(n) => one("pids.max", n.to_string()),
        Limit::IoRead(device, n) => one("io.max", format!("{} rbps={n}", number(device, facts)?)),
        Limit::IoWrite(device, n) => one("io.max", format!("{} wbps={n}", number(device, facts)?)),
        Limit::IoWeight(n) => one("io.weight", format!("default {n}")),
        Limit::Process(..) | Limit::Nice(_) | Limit::Time(_) => Ok(Vec::new()),
    }
}

/// Microseconds of a period for thousandths of a CPU.
fn quota(thousandths: u32) -> u64 {
    u64::from(thousandths) * u64::from(PERIOD) / 1000
}

/// The files of the first version (cgroup-v1: memory, cpusets, blkio-controller, pids; sched-bwc).
fn first_version(
    limit: &Limit,
    limits: &Limits,
    facts: &LimitFacts,
    legacy: &Legacy,
) -> Result<Vec<Setting>, String> {
    let one = |file, value: String| Ok(vec![set(limit, file, value)]);
    match limit {
        Limit::Memory(n) => one("memory.limit_in_bytes", n.to_string()),
        Limit::Swap(swap) => {
            let memory = limits.all().iter().find_map(|limit| match limit {
                Limit::Memory(n) => Some(*n),
                _ => None,
            });
            let Some(memory) = memory else {
                return Err("the first version of the controller memory counts swap together with memory: limit both".to_owned());
            };
            if !legacy.swap {
                return Err("the controller memory does not count swap on this host".to_owned());
            }
            let both = memory.saturating_add(*swap);
            one("memory.memsw.limit_in_bytes", both.to_string())
        }
        Limit::Cpu(n) => Ok(vec![
            Setting {
                limit: String::new(),
                ..set(limit, "cpu.cfs_period_us", PERIOD)
            },
            set(limit, "cpu.cfs_quota_us", quota(*n)),
        ]),
        // 100 here is 1024 there, and 2 is the least.
        Limit::CpuWeight(n) => one(
            "cpu.shares",
            (u64::from(*n) * 1024 / 100).max(2).to_string(),
        ),
        Limit::Cpus(list) => Ok(vec![
            // Without them no process can be put into the group.
            Setting {
                limit: String::new(),
                ..set(limit, "cpuset.mems", &legacy.mems)
            },
            set(limit, "cpuset.cpus", list),
        ]),
        Limit::Pids(n) => one("pids.max", n.to_string()),
        Limit::IoRead(device, n) => one(
            "blkio.throttle.read_bps_device",
            format!("{} {n}", number(device, facts)?),
        ),
        Limit::IoWrite(device, n) => one(
            "blkio.throttle.write_bps_device",
            format!("{} {n}", number(device, facts)?),
        ),
        // 1 to 1000 there.
        Limit::IoWeight(n) => one("blkio.bfq.weight", n.min(&1000).to_string()),
        Limit::Process(..) | Limit::Nice(_) | Limit::Time(_) => Ok(Vec::new()),
    }
}

/// One limit that no group holds.
fn process(
    limit: &Limit,
    limits: &Limits,
    facts: &LimitFacts,
    planned: &mut Planned,
) -> Result<(), String> {
    let op = match limit {
        Limit::Process(resource, value) => {
            let hard = facts.hard.iter().find(|(known, _)| known == resource);
            let hard = hard.and_then(|(_, hard)| *hard);
            let raised = hard.filter(|hard| value.is_none_or(|value| value > *hard));
            if let (Some(hard), false) = (raised, facts.may_raise) {
                return Err(format!(
                    "it is above the hard limit of this process, {hard}, which only CAP_SYS_RESOURCE can raise"
                ));
            }
            let op = LimitOp::Process {
                resource: *resource,
                value: *value,
            };
            // Raised while it has the capability, lowered when it needs no more descriptors itself.
            if *resource == Resource::Files && raised.is_none() {
                planned.late.push(SetupOp::Limit(op));
                return Ok(());
            }
            op
        }
        Limit::Nice(nice) if *nice < facts.lowest_nice => {
            return Err(format!(
                "the lowest that this process may take is {}, without CAP_SYS_NICE",
                facts.lowest_nice
            ));
        }
        Limit::Nice(nice) => LimitOp::Nice(*nice),
        Limit::Time(after) => {
            planned.outside.push(SetupOp::Limit(LimitOp::Time {
                after: *after,
                kill_after: limits.kill_after,
            }));
            return Ok(());
        }
        _ => return Err("no controller holds it".to_owned()),
    };
    planned.process.push(SetupOp::Limit(op));
    Ok(())
}

/// The first CPU of a list that is not in the other one; none when the other one is not known.
fn absent_cpu(list: &str, online: &str) -> Option<u32> {
    let ranges = |list: &str| -> Vec<(u32, u32)> {
        let part = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
        };
        list.split(',').filter_map(part).collect()
    };
    let online = ranges(online);
    if online.is_empty() {
        return None;
    }
    let is = |cpu: &u32| {
        online
            .iter()
            .any(|(first, last)| (first..=last).contains(&cpu))
    };
    ranges(list)
        .into_iter()
        .flat_map(|(first, last)| first..=last)
        .find(|cpu| !is(cpu))
}

#[cfg(test)]
mod tests;
