//! What a routing daemon is told: bird(8) speaks OSPF for IPv4 (RFC 2328) and IPv6 (RFC 5340) on all of a router's
//! networks, quickly, for nobody wants to wait 40 seconds until a cut link is noticed.

use super::LabNode;

/// The programs that do it: where bird(8) is.
pub const PROGRAMS: [&str; 3] = ["/usr/sbin/bird", "/usr/bin/bird", "/usr/local/sbin/bird"];

/// The arguments of the daemon, which reads what it is told from its input.
pub const ARGUMENTS: [&str; 7] = [
    "-f",
    "-c",
    "/dev/stdin",
    "-s",
    "/run/bird.ctl",
    "-P",
    "/run/bird.pid",
];

/// What the daemon of a router is told; `number` is the node's, and no other's.
pub fn settings(node: &LabNode, number: usize) -> String {
    let number = u16::try_from(number.saturating_add(1)).unwrap_or(u16::MAX);
    let [high, low] = number.to_be_bytes();
    let names: Vec<String> = node
        .interfaces
        .iter()
        .map(|interface| format!("\"{}\"", interface.name))
        .collect();
    let names = names.join(", ");
    let mut text = format!("router id 0.0.{high}.{low};\nprotocol device {{ scan time 1; }}\n");
    for (protocol, version, family) in [("four", "v2", "ipv4"), ("six", "v3", "ipv6")] {
        let four = family == "ipv4";
        let mut addresses = node.interfaces.iter().flat_map(|i| &i.addresses);
        if names.is_empty() || !addresses.any(|cidr| cidr.address.is_ipv4() == four) {
            continue;
        }
        text.push_str(&format!(
            "protocol kernel k{protocol} {{ {family} {{ import none; export where source != RTS_DEVICE; }}; }}\n\
             protocol ospf {version} {protocol} {{\n  {family} {{ import all; export none; }};\n  area 0 {{\n    \
             interface {names} {{ hello 1; wait 3; dead 4; retransmit 2; }};\n  }};\n}}\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::lab::LabFacts;
    use crate::lab::plan_lab;
    use crate::spec::lab::parse;

    const FILE: &str = r#"
[[lan]]
name = "left"
subnets = ["10.1.0.0/24"]
[[lan]]
name = "right"
subnets = ["10.2.0.0/24"]
[[router]]
name = "r1"
lans = ["left"]
routing = "ospf"
[[router]]
name = "r2"
lans = ["right"]
routing = "ospf"
[[link]]
ends = ["r1", "r2"]
"#;

    #[test]
    fn a_router_that_speaks_ospf_is_given_no_ways() {
        let spec = parse(std::path::Path::new("two.toml"), FILE).unwrap();
        let plan = plan_lab(&spec, &LabFacts::ALL).unwrap();
        for (at, node) in plan.nodes.iter().enumerate() {
            assert!(node.ospf && node.routes.is_empty(), "{node:?}");
            let text = settings(node, at);
            let wanted = format!("router id 0.0.0.{};", at + 1);
            assert!(
                text.contains(&wanted) && text.contains("\"eth0\", \"eth1\""),
                "{text}"
            );
        }
        let fixed = FILE.replace("ospf", "static");
        let spec = parse(std::path::Path::new("two.toml"), &fixed).unwrap();
        let plan = plan_lab(&spec, &LabFacts::ALL).unwrap();
        assert!(plan.nodes.iter().all(|node| !node.routes.is_empty()));
        let odd = FILE.replace("\"ospf\"", "\"rip\"");
        parse(std::path::Path::new("two.toml"), &odd).unwrap_err();
    }
}
