//! What queues the kernel has: tried out where nothing is the host's.

use jaula_plan::facts::lab::LabFacts;
use jaula_plan::lab::Queue;
use jaula_plan::spec::lab::LabSpec;
use jaula_sys::namespace::unshare_net;
use jaula_sys::netlink::{Batch, Socket};
use jaula_sys::userns;

/// What a plan of this lab has to know; tried only when it asks for what may be missing.
pub fn facts(spec: &LabSpec) -> LabFacts {
    let shapes = || {
        let lans = spec.lans.iter().map(|lan| &lan.shape);
        lans.chain(spec.links.iter().map(|link| &link.shape))
    };
    let late = shapes().any(|shape| shape.delay.is_some() || shape.loss.is_some());
    let netem = !late
        || has(Queue::Netem {
            delay: 1,
            loss: 0,
            rate: 0,
        });
    let slow = shapes().any(|shape| shape.rate.is_some());
    LabFacts {
        netem,
        tbf: !slow || has(Queue::Tbf { rate: 1_000_000 }),
    }
}

/// In a child, whose loopback interface nobody else has. What cannot be tried is taken for there: the kernel will say.
fn has(queue: Queue) -> bool {
    const MISSING: u8 = 1;
    let mut child = || {
        if jaula_sys::process::effective_ids().0 != 0 && userns::unshare().is_err() {
            return 0;
        }
        if unshare_net().is_err() {
            return 0;
        }
        let mut batch = Batch::new();
        batch.add_qdisc(1, &super::build::qdisc(&queue), "lo");
        match Socket::open().map(|mut socket| socket.apply(&batch)) {
            // ENOENT: no such queue.
            Ok(Err(failed)) if failed.error.errno.0 == 2 => MISSING,
            _ => 0,
        }
    };
    let ended = userns::fork(&mut child).and_then(userns::Forked::wait);
    !matches!(ended, Ok(Some(MISSING)))
}
