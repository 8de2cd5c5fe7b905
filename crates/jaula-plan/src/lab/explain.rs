//! A lab as a script of ip(8), sysctl(8), tc(8) and nft(8) that starts itself again where nothing is the host's.

use super::{End, LabPlan, Queue, port_name, route_word};
use crate::explain::{ExplainLine, word};
use crate::spec::lab::NodeRoot;

/// Where the script goes on, and where it stops for a person to look around.
const AGAIN: &str = "[ \"$IN_LAB\" ] || exec env IN_LAB=1 unshare --user --map-root-user --net --mount --pid --fork \
                     --mount-proc sh \"$0\" \"$@\"";

pub fn explain(plan: &LabPlan) -> Vec<ExplainLine> {
    let mut lines = vec![
        ExplainLine::new(
            AGAIN,
            "all of it in one user, network and process namespace: the host sees none of it",
        ),
        ExplainLine::new(
            "mount -t tmpfs none /run",
            "ip netns keeps its names in a /run of the lab's own",
        ),
        ExplainLine::new(
            "sysctl -qw net.ipv6.conf.default.disable_ipv6=1",
            "switches have no addresses",
        ),
    ];
    let mut line = |command: String, reason: String| lines.push(ExplainLine::new(command, reason));
    for switch in &plan.switches {
        let name = word(&switch.name);
        let mut command = format!("ip link add {name}");
        if let Some(mtu) = switch.mtu {
            command.push_str(&format!(" mtu {mtu}"));
        }
        command.push_str(" type bridge");
        if switch.stp {
            command.push_str(" stp_state 1 forward_delay 200 hello_time 100");
        }
        line(
            format!("{command}; ip link set {name} up"),
            format!("the switch of LAN {}", switch.name),
        );
    }
    for node in &plan.nodes {
        let name = word(&node.name);
        let kind = if node.router { "router" } else { "host" };
        line(
            format!("ip netns add {name}; ip -n {name} link set lo up"),
            format!("{kind} {}: a network of its own", node.name),
        );
        if node.router {
            line(
                format!(
                    "ip netns exec {name} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"
                ),
                format!("{} hands packets on", node.name),
            );
        }
    }
    for (at, cable) in plan.cables.iter().enumerate() {
        let [a, b] = cable.ends;
        let mtu = cable.mtu.map(|mtu| format!(" mtu {mtu}"));
        let mtu = mtu.unwrap_or_default();
        let (first, place) = side(plan, a, at, false);
        let (second, other) = side(plan, b, at, true);
        let mut command =
            format!("ip link add {first}{mtu}{place} type veth peer {second}{mtu}{other}");
        for (end, second) in [(a, false), (b, true)] {
            if let End::Switch(switch) = end {
                let port = port_name(at, second);
                let master = plan.switches.get(switch).map(|s| word(&s.name));
                let master = master.unwrap_or_default();
                command.push_str(&format!("; ip link set {port} master {master} up"));
                if let Some(queue) = &cable.queue {
                    command.push_str(&format!("; tc qdisc add dev {port} root {}", tc(queue)));
                }
            }
        }
        let reason = format!(
            "a cable from {} to {}",
            plan.end(a, at, false),
            plan.end(b, at, true)
        );
        line(command, reason);
    }
    for (number, node) in plan.nodes.iter().enumerate() {
        let name = word(&node.name);
        for interface in &node.interfaces {
            let mut parts = Vec::new();
            for address in &interface.addresses {
                let sure = if address.address.is_ipv6() {
                    " nodad"
                } else {
                    ""
                };
                parts.push(format!(
                    "ip -n {name} addr add {address} dev {}{sure}",
                    interface.name
                ));
            }
            parts.push(format!("ip -n {name} link set {} up", interface.name));
            if let Some(queue) = &interface.queue {
                parts.push(format!(
                    "tc -n {name} qdisc add dev {} root {}",
                    interface.name,
                    tc(queue)
                ));
            }
            line(
                parts.join("; "),
                format!("{} is on {}", node.name, interface.to),
            );
        }
        if node.ospf {
            let told = super::ospf::settings(node, number);
            let program = super::ospf::ARGUMENTS.join(" ");
            line(
                format!("ip netns exec {name} bird {program} <<'EOF' &\n{told}EOF"),
                format!("a daemon finds the ways of {} by OSPF", node.name),
            );
        }
        for way in &node.routes {
            let device = node.interfaces.get(way.interface);
            let device = device.map(|interface| interface.name.as_str());
            line(
                format!(
                    "ip -n {name} route add {} via {} dev {} proto static",
                    route_word(way.to),
                    way.via,
                    device.unwrap_or_default()
                ),
                format!("the way of {} to {}", node.name, route_word(way.to)),
            );
        }
        if !node.nat.is_empty() {
            let names: Vec<String> = node.nat.iter().map(|n| format!("\"{n}\"")).collect();
            line(
                format!(
                    "ip netns exec {name} nft 'add table inet lab; add chain inet lab nat {{ type nat hook postrouting priority 100; }}; add rule inet lab nat oifname {{ {} }} masquerade'",
                    names.join(", ")
                ),
                format!("what leaves {} there has its address", node.name),
            );
        }
    }
    for node in plan.nodes.iter().filter(|node| !node.run.is_empty()) {
        let words: Vec<String> = node.run.iter().map(word).collect();
        let root = match &node.root {
            NodeRoot::Host => String::new(),
            NodeRoot::Image(image) => {
                format!("chroot \"$(jaula image show --path {})\" ", word(image))
            }
            NodeRoot::Directory(path) => format!("chroot {} ", word(path)),
        };
        line(
            format!(
                "ip netns exec {} {root}{} &",
                word(&node.name),
                words.join(" ")
            ),
            format!("what {} runs from the start", node.name),
        );
    }
    line(
        "${SHELL:-/bin/sh}".to_owned(),
        "ip netns exec NODE COMMAND runs a program in a node; the lab ends with this shell"
            .to_owned(),
    );
    lines
}

fn side(plan: &LabPlan, end: End, cable: usize, second: bool) -> (String, String) {
    match end {
        End::Switch(_) => (port_name(cable, second), String::new()),
        End::Node { node, interface } => {
            let node = plan.nodes.get(node);
            let interface = node.and_then(|node| node.interfaces.get(interface));
            match (node, interface) {
                (Some(node), Some(interface)) => (
                    format!("{} address {}", interface.name, interface.mac),
                    format!(" netns {}", word(&node.name)),
                ),
                _ => Default::default(),
            }
        }
    }
}

/// A queue as tc(8) takes it.
fn tc(queue: &Queue) -> String {
    queue.to_string()
}
