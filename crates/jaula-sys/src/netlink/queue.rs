//! Queueing disciplines that make a link slow, late or lossy (tc(8), linux/pkt_sched.h).

use super::socket::Batch;

const NEWQDISC: (u16, &str) = (36, "RTM_NEWQDISC");
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_NETEM_RATE: u16 = 6;
const TCA_NETEM_RATE64: u16 = 8;
const TCA_NETEM_LATENCY64: u16 = 10;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TC_H_ROOT: u32 = u32::MAX;
/// The size of `struct tcmsg`.
const TCMSG: usize = 20;
/// How many packets wait at most in a netem queue: what tc-netem(8) takes unless told otherwise.
const PACKETS: u32 = 1000;
/// TC_LINKLAYER_ETHERNET: with it the kernel computes times itself and wants no table of them.
const ETHERNET: u8 = 1;

/// A queue for packets that leave by a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qdisc {
    /// tc-netem(8)
    Netem {
        /// Nanoseconds that a packet is late.
        delay: u64,
        /// How many of 2³² − 1 packets are lost.
        loss: u32,
        /// Bytes a second; 0: no limit.
        rate: u64,
    },
    /// tc-tbf(8)
    Tbf {
        /// Bytes a second.
        rate: u64,
        /// Bytes that may leave at once.
        burst: u32,
        /// Bytes that may wait.
        limit: u32,
    },
}

/// What of a rate the old field of 32 bits can hold; all of it is in the new one.
fn narrow(rate: u64) -> u32 {
    u32::try_from(rate).unwrap_or(u32::MAX)
}

/// `struct tc_ratespec`
fn rate_spec(rate: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[1] = ETHERNET;
    bytes[8..12].copy_from_slice(&narrow(rate).to_ne_bytes());
    bytes
}

impl Batch {
    /// Gives a link a queue in place of the kernel's own; `name` is for people.
    pub fn add_qdisc(&mut self, link: u32, qdisc: &Qdisc, name: &str) {
        self.push(NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, name, |writer| {
            let mut head = [0; TCMSG];
            head[4..8].copy_from_slice(&link.to_ne_bytes());
            head[12..16].copy_from_slice(&TC_H_ROOT.to_ne_bytes());
            writer.raw(&head);
            match *qdisc {
                Qdisc::Netem { delay, loss, rate } => {
                    writer.put_text(TCA_KIND, "netem");
                    writer.nest(TCA_OPTIONS, |writer| {
                        // struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter.
                        for word in [0, PACKETS, loss, 0, 0, 0] {
                            writer.raw(&word.to_ne_bytes());
                        }
                        writer.put(TCA_NETEM_LATENCY64, &delay.to_ne_bytes());
                        if rate > 0 {
                            // struct tc_netem_rate: rate, packet_overhead, cell_size, cell_overhead.
                            let mut bytes = [0; 16];
                            bytes[0..4].copy_from_slice(&narrow(rate).to_ne_bytes());
                            writer.put(TCA_NETEM_RATE, &bytes);
                            writer.put(TCA_NETEM_RATE64, &rate.to_ne_bytes());
                        }
                    });
                }
                Qdisc::Tbf { rate, burst, limit } => {
                    writer.put_text(TCA_KIND, "tbf");
                    writer.nest(TCA_OPTIONS, |writer| {
                        // struct tc_tbf_qopt: rate, peakrate, limit, buffer, mtu.
                        let mut bytes = [0; 36];
                        bytes[0..12].copy_from_slice(&rate_spec(rate));
                        bytes[24..28].copy_from_slice(&limit.to_ne_bytes());
                        writer.put(TCA_TBF_PARMS, &bytes);
                        writer.put_u32(TCA_TBF_BURST, burst);
                        if rate > u64::from(u32::MAX) {
                            writer.put(TCA_TBF_RATE64, &rate.to_ne_bytes());
                        }
                    });
                }
            }
        });
    }
}
