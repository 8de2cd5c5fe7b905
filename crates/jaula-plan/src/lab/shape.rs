//! How links are made slow, late and lossy.

use super::Queue;
use crate::facts::lab::LabFacts;
use crate::spec::lab::{LabError, LabSpec, Mistake, Shape};
use crate::spec::recipe::Place;

/// The queues of the LANs' and of the links' cables, in their order.
pub struct Shapes {
    pub lans: Vec<Option<Queue>>,
    pub links: Vec<Option<Queue>>,
}

/// How many bytes a token bucket holds, and how many wait for it: what comes in a hundredth of a second, at least some
/// packets, and a twentieth of a second.
pub fn tbf_bytes(rate: u64) -> (u32, u32) {
    let bytes = rate / 8;
    let burst = u32::try_from(bytes / 100).unwrap_or(u32::MAX).max(5_000);
    let limit = u32::try_from(bytes / 20).unwrap_or(u32::MAX);
    (burst, limit.max(burst).max(15_000))
}

pub fn queues(
    spec: &LabSpec,
    facts: &LabFacts,
    notes: &mut Vec<String>,
) -> Result<Shapes, LabError> {
    let mut queue = |shape: &Shape, place: &Place| queue(spec, facts, shape, place, notes);
    let lans = spec.lans.iter();
    let lans = lans.map(|lan| queue(&lan.shape, &lan.name.place));
    let lans = lans.collect::<Result<_, _>>()?;
    let links = spec.links.iter();
    let links = links.map(|link| queue(&link.shape, &link.place));
    let links = links.collect::<Result<_, _>>()?;
    Ok(Shapes { lans, links })
}

fn queue(
    spec: &LabSpec,
    facts: &LabFacts,
    shape: &Shape,
    place: &Place,
    notes: &mut Vec<String>,
) -> Result<Option<Queue>, LabError> {
    let mut missing = |queue: &'static str, what: &'static str| {
        let what = Mistake::NoQueue { queue, what };
        if !spec.best_effort {
            return Err(LabError {
                place: place.clone(),
                what,
            });
        }
        notes.push(format!("line {}: {what}: left out", place.line));
        Ok(())
    };
    let (delay, loss) = (shape.delay.unwrap_or(0), shape.loss.unwrap_or(0));
    let rate = shape.rate.unwrap_or(0);
    if delay > 0 || loss > 0 {
        if facts.netem {
            return Ok(Some(Queue::Netem { delay, loss, rate }));
        }
        missing("netem", if delay > 0 { "delay" } else { "loss" })?;
    }
    if rate == 0 {
        return Ok(None);
    }
    if !facts.tbf {
        missing("tbf", "rate")?;
        return Ok(None);
    }
    Ok(Some(Queue::Tbf { rate }))
}
