//! What taking a step back may change: only what is still as that step made it. What somebody else changed meanwhile is
//! his, and of a step that was done by half the other half is as it was.

use crate::facts::net::NetFacts;
use crate::net::step::NetStep;

/// Forgets what is to be set where what is there is not what was made.
fn spare<T: PartialEq>(to: &mut Option<T>, made: Option<&T>, is: Option<&T>) {
    if made.is_some() && made != is {
        *to = None;
    }
}

impl NetStep {
    /// What of a step that takes back is left to be done; nothing when the links, and what they are set to, are not those
    /// that were made. `before` of such a step is what was made.
    pub fn still_ours(&self, facts: &NetFacts) -> Option<Self> {
        let mut step = self.clone();
        match &mut step {
            Self::SetMaster { name, before, .. } => {
                let link = facts.link(name)?;
                (link.master == *before).then_some(step)
            }
            Self::SetLink { name, to, before } => {
                let link = facts.link(name)?;
                spare(&mut to.up, before.up.as_ref(), Some(&link.up));
                spare(&mut to.mtu, before.mtu.as_ref(), Some(&link.mtu));
                spare(&mut to.mac, before.mac.as_ref(), link.mac.as_ref());
                let alias = link.alias.clone().unwrap_or_default();
                spare(&mut to.alias, before.alias.as_ref(), Some(&alias));
                (*to != Default::default()).then_some(step)
            }
            Self::SetBridge { name, to, before } => {
                let is = facts.link(name)?.bridge.as_ref()?;
                spare(&mut to.stp, before.stp.as_ref(), Some(&is.stp));
                spare(
                    &mut to.priority,
                    before.priority.as_ref(),
                    Some(&is.priority),
                );
                let times = [
                    (
                        &mut to.forward_delay,
                        before.forward_delay,
                        is.forward_delay,
                    ),
                    (&mut to.hello_time, before.hello_time, is.hello_time),
                    (&mut to.max_age, before.max_age, is.max_age),
                    (&mut to.ageing_time, before.ageing_time, is.ageing_time),
                ];
                for (to, made, is) in times {
                    spare(to, made.as_ref(), Some(&is));
                }
                let made = before.vlan_filtering.as_ref();
                spare(&mut to.vlan_filtering, made, Some(&is.vlan_filtering));
                (*to != Default::default()).then_some(step)
            }
            Self::SetPort { name, to, before } => {
                let is = facts.link(name)?.port.as_ref()?;
                spare(
                    &mut to.priority,
                    before.priority.as_ref(),
                    Some(&is.priority),
                );
                spare(&mut to.cost, before.cost.as_ref(), Some(&is.cost));
                let switches = [
                    (&mut to.hairpin, before.hairpin, is.hairpin),
                    (&mut to.learning, before.learning, is.learning),
                    (&mut to.isolated, before.isolated, is.isolated),
                ];
                for (to, made, is) in switches {
                    spare(to, made.as_ref(), Some(&is));
                }
                (*to != Default::default()).then_some(step)
            }
            _ => Some(step),
        }
    }

    /// Whether it can be done by half, so that taking it back has to look at what is there even when the kernel refused
    /// it: several things are set one after another.
    pub fn may_be_half_done(&self) -> bool {
        matches!(
            self,
            Self::AddLink { .. }
                | Self::SetLink { .. }
                | Self::SetBridge { .. }
                | Self::SetPort { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::net::LinkFacts;
    use crate::spec::net::LinkSet;

    fn facts(mtu: u32, up: bool, master: Option<&str>) -> NetFacts {
        let mut link = LinkFacts::new(2, "eth0".parse().unwrap());
        link.mtu = mtu;
        link.up = up;
        link.master = master.map(|name| name.parse().unwrap());
        NetFacts {
            links: vec![link],
            ..NetFacts::default()
        }
    }

    #[test]
    fn what_somebody_else_changed_meanwhile_is_not_taken_back() {
        let name = || "eth0".parse().unwrap();
        let set = |mtu, up| LinkSet {
            mtu: Some(mtu),
            up: Some(up),
            ..LinkSet::default()
        };
        let back = NetStep::SetLink {
            name: name(),
            to: set(1500, false),
            before: set(9000, true),
        };
        assert_eq!(
            back.still_ours(&facts(9000, true, None)),
            Some(back.clone())
        );
        // Somebody chose another size: it stays, and what is still ours goes back.
        let only = |to| {
            let before = set(9000, true);
            Some(NetStep::SetLink {
                name: name(),
                to,
                before,
            })
        };
        let down = LinkSet {
            mtu: None,
            ..set(1, false)
        };
        assert_eq!(back.still_ours(&facts(1400, true, None)), only(down));
        // The kernel took the size and refused the rest.
        let size = LinkSet {
            up: None,
            ..set(1500, false)
        };
        assert_eq!(back.still_ours(&facts(9000, false, None)), only(size));
        assert_eq!(back.still_ours(&facts(1400, false, None)), None);
        assert_eq!(back.still_ours(&NetFacts::default()), None);
        let detach = NetStep::SetMaster {
            name: name(),
            to: None,
            before: Some("br0".parse().unwrap()),
        };
        assert!(detach.still_ours(&facts(1500, true, Some("br0"))).is_some());
        for other in [None, Some("br1")] {
            assert_eq!(detach.still_ours(&facts(1500, true, other)), None);
        }
    }
}
