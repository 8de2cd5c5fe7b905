//! A bridge as files that make it again when the machine starts: a unit of systemd that calls jaula, or what
//! systemd-networkd(8) and ifupdown's interfaces(5) read.

use crate::explain::word;
use crate::facts::net::{BridgeFacts, LinkFacts, NetFacts};
use crate::gateway::GatewaySpec;
use crate::names::LinkName;
use crate::net::address::Cidr;
use crate::net::error::NetPlanError;
use crate::net::mark::Moved;
use serde::Serialize;
use std::fmt::Write;

/// Who makes it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A service of systemd.unit(5) that calls jaula: everything that jaula does.
    Systemd,
    /// systemd.netdev(5) and systemd.network(5).
    Networkd,
    /// interfaces(5) and bridge-utils-interfaces(5).
    Ifupdown,
}

impl Form {
    /// All.
    pub const ALL: [Self; 3] = [Self::Systemd, Self::Networkd, Self::Ifupdown];

    /// By its word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.word() == word)
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Networkd => "networkd",
            Self::Ifupdown => "ifupdown",
        }
    }
}

/// A file and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// The directory that its reader looks in.
    pub dir: &'static str,
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The files, and what should be known of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Save {
    /// Which.
    pub files: Vec<Saved>,
    /// What they leave out.
    pub notes: Vec<String>,
    /// The command that puts them in force.
    pub then: String,
}

/// What a new bridge has, hundredths of a second (`net/bridge/br_device.c`).
const FORWARD_DELAY: u32 = 1500;
const HELLO_TIME: u32 = 200;
const MAX_AGE: u32 = 2000;
const AGEING_TIME: u32 = 30_000;
const PRIORITY: u16 = 32_768;

struct Bridge<'a> {
    name: &'a LinkName,
    facts: &'a BridgeFacts,
    /// Cards, and whether their addresses moved to the bridge.
    ports: Vec<(&'a LinkName, bool)>,
    addresses: Vec<Cidr>,
}

/// Plans it.
///
/// # Errors
/// When there is no such bridge, or a name in it means something in such files.
pub fn plan_save(
    name: &LinkName,
    gives: Option<&GatewaySpec>,
    form: Form,
    facts: &NetFacts,
) -> Result<Save, NetPlanError> {
    let link = facts.link(name).ok_or_else(|| NetPlanError::NoSuchLink {
        name: name.clone(),
        links: facts
            .bridges()
            .iter()
            .map(|link| link.name.clone())
            .collect(),
    })?;
    let Some(bridge) = &link.bridge else {
        return Err(NetPlanError::NotABridge {
            name: name.clone(),
            kind: link.kind_word().to_owned(),
        });
    };
    let moved = |port: &LinkFacts| Moved::read(port.alias.as_deref());
    let plain = |name: &LinkName| {
        let mut letters = name.as_str().bytes();
        letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    // Guests come by themselves; cards whose cable happens to end in another namespace are told by their mark.
    let cards: Vec<_> = facts
        .ports(name)
        .into_iter()
        .filter(|port| !port.leads_away || moved(port).is_some())
        .collect();
    let uplink = gives.and_then(|gives| gives.uplink.as_ref());
    let mut written = cards
        .iter()
        .map(|card| &card.name)
        .chain(uplink)
        .chain([name]);
    if let Some(name) = written.find(|name| !plain(name)) {
        return Err(NetPlanError::NotPlain { name: name.clone() });
    }
    let borrowed = |address: Cidr| {
        cards
            .iter()
            .any(|card| moved(card).is_some_and(|m| m.holds(address)))
    };
    let lasting = facts
        .addresses_of(name)
        .filter(|a| a.scope == 0 && !a.passing);
    let bridge = Bridge {
        name,
        facts: bridge,
        addresses: lasting
            .map(|a| a.address)
            .filter(|a| form != Form::Systemd || !borrowed(*a))
            .collect(),
        ports: cards
            .iter()
            .map(|card| (&card.name, moved(card).is_some()))
            .collect(),
    };
    let mut notes = Vec::new();
    if facts.addresses_of(name).any(|a| a.scope == 0 && a.passing) {
        notes.push(format!(
            "{name} has addresses that it was given for a time: --dhcp, or its routers, give them again"
        ));
    }
    let (files, then) = match form {
        Form::Systemd => (
            vec![unit(&bridge, gives)],
            format!("systemctl enable jaula-net-{name}"),
        ),
        Form::Networkd => (networkd(&bridge), "networkctl reload".to_owned()),
        Form::Ifupdown => (vec![ifupdown(&bridge)], format!("ifup {name}")),
    };
    if form != Form::Systemd && gives.is_some_and(GatewaySpec::gives) {
        notes.push(format!(
            "what {name} gives its guests is not in it: jaula's own unit (--as systemd) has that"
        ));
    }
    if form != Form::Systemd {
        let routes = facts.routes_of(name).filter(|route| route.via.is_some());
        notes.extend(routes.map(|route| format!("the route to {} is not in it", route.to)));
    }
    Ok(Save { files, notes, then })
}

/// `KEY=VALUE` words of `net set` for what is not as in every new bridge.
fn chosen(facts: &BridgeFacts) -> Vec<String> {
    let seconds = |hundredths: u32| format!("{}.{:02}", hundredths / 100, hundredths % 100);
    let mut words = Vec::new();
    let mut add = |differs: bool, word: String| {
        if differs {
            words.push(word);
        }
    };
    add(facts.stp, "stp=on".to_owned());
    add(
        facts.priority != PRIORITY,
        format!("priority={}", facts.priority),
    );
    add(
        facts.forward_delay != FORWARD_DELAY,
        format!("fd={}", seconds(facts.forward_delay)),
    );
    add(
        facts.hello_time != HELLO_TIME,
        format!("hello={}", seconds(facts.hello_time)),
    );
    add(
        facts.max_age != MAX_AGE,
        format!("maxage={}", seconds(facts.max_age)),
    );
    add(
        facts.ageing_time != AGEING_TIME,
        format!("ageing={}", seconds(facts.ageing_time)),
    );
    add(facts.vlan_filtering, "vlan-filtering=on".to_owned());
    words
}

fn unit(bridge: &Bridge<'_>, gives: Option<&GatewaySpec>) -> Saved {
    let name = bridge.name;
    let mut words = vec![
        "net".to_owned(),
        "add".to_owned(),
        name.to_string(),
        "--up".to_owned(),
    ];
    for address in &bridge.addresses {
        words.extend(["--addr".to_owned(), address.to_string()]);
    }
    for (port, _) in &bridge.ports {
        words.extend(["--port".to_owned(), port.to_string()]);
    }
    if bridge.ports.iter().any(|(_, moved)| *moved) {
        words.push("--move-address".to_owned());
    }
    for word in chosen(bridge.facts) {
        words.extend(["--set".to_owned(), word]);
    }
    if let Some(gives) = gives {
        match &gives.uplink {
            Some(uplink) => words.extend(["--uplink".to_owned(), uplink.to_string()]),
            None if gives.nat => words.push("--nat".to_owned()),
            None => {}
        }
        let more = [(gives.dhcp, "--dhcp-server"), (gives.dns, "--dns")];
        words.extend(
            more.iter()
                .filter(|(asked, _)| *asked)
                .map(|(_, word)| (*word).to_owned()),
        );
    }
    // Nothing of this means more to systemd.syntax(7) than to a shell: names have letters, digits and a few signs.
    let words: Vec<_> = words.iter().map(word).collect();
    let mut text = format!(
        "[Unit]\nDescription=The network {} of jaula\n",
        name.as_str().replace('%', "%%")
    );
    text.push_str("Wants=network-pre.target\nAfter=network-pre.target\nBefore=network.target\n");
    for (port, _) in &bridge.ports {
        let device = format!("sys-subsystem-net-devices-{}.device", escaped(port));
        write!(text, "Wants={device}\nAfter={device}\n").ok();
    }
    write!(
        text,
        "\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=jaula {}\nExecStop=jaula net rm {name}\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        words.join(" "),
    )
    .ok();
    Saved {
        dir: "/etc/systemd/system",
        name: format!("jaula-net-{name}.service"),
        text,
    }
}

/// A link's name in the name of a unit (systemd-escape(1)).
fn escaped(name: &LinkName) -> String {
    let mut text = String::new();
    for (place, byte) in name.as_str().bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b':' | b'_')
            || byte == b'.' && place > 0;
        if plain {
            text.push(char::from(byte));
        } else {
            write!(text, "\\x{byte:02x}").ok();
        }
    }
    text
}

fn networkd(bridge: &Bridge<'_>) -> Vec<Saved> {
    let name = bridge.name;
    let facts = bridge.facts;
    let file = |name: String, text: String| Saved {
        dir: "/etc/systemd/network",
        name,
        text,
    };
    let yes = |on: bool| if on { "yes" } else { "no" };
    let seconds = |hundredths: u32| format!("{}.{:02}s", hundredths / 100, hundredths % 100);
    let device = format!(
        "[NetDev]\nName={name}\nKind=bridge\n\n[Bridge]\nSTP={}\nPriority={}\nForwardDelaySec={}\nHelloTimeSec={}\n\
         MaxAgeSec={}\nAgeingTimeSec={}\nVLANFiltering={}\n",
        yes(facts.stp),
        facts.priority,
        seconds(facts.forward_delay),
        seconds(facts.hello_time),
        seconds(facts.max_age),
        seconds(facts.ageing_time),
        yes(facts.vlan_filtering),
    );
    let mut network = format!("[Match]\nName={name}\n\n[Network]\nConfigureWithoutCarrier=yes\n");
    for address in &bridge.addresses {
        writeln!(network, "Address={address}").ok();
    }
    let mut files = vec![
        file(format!("40-{name}.netdev"), device),
        file(format!("40-{name}.network"), network),
    ];
    for (port, _) in &bridge.ports {
        let text = format!("[Match]\nName={port}\n\n[Network]\nBridge={name}\n");
        files.push(file(format!("40-{name}-{port}.network"), text));
    }
    files
}

fn ifupdown(bridge: &Bridge<'_>) -> Saved {
    let name = bridge.name;
    let facts = bridge.facts;
    let seconds = |hundredths: u32| format!("{}.{:02}", hundredths / 100, hundredths % 100);
    let mut options = String::new();
    let ports: Vec<_> = bridge.ports.iter().map(|(port, _)| port.as_str()).collect();
    let ports = if ports.is_empty() {
        "none".to_owned()
    } else {
        ports.join(" ")
    };
    writeln!(options, "    bridge_ports {ports}").ok();
    writeln!(
        options,
        "    bridge_stp {}",
        if facts.stp { "on" } else { "off" }
    )
    .ok();
    writeln!(options, "    bridge_bridgeprio {}", facts.priority).ok();
    writeln!(options, "    bridge_fd {}", seconds(facts.forward_delay)).ok();
    writeln!(options, "    bridge_hello {}", seconds(facts.hello_time)).ok();
    writeln!(options, "    bridge_maxage {}", seconds(facts.max_age)).ok();
    writeln!(options, "    bridge_ageing {}", seconds(facts.ageing_time)).ok();
    if facts.vlan_filtering {
        options.push_str("    bridge_vlan_aware yes\n");
    }
    let mut text = format!("auto {name}\n");
    for (port, _) in &bridge.ports {
        writeln!(text, "iface {port} inet manual").ok();
    }
    if bridge.addresses.is_empty() {
        write!(text, "iface {name} inet manual\n{options}").ok();
    }
    for (place, address) in bridge.addresses.iter().enumerate() {
        let family = if address.address.is_ipv4() {
            "inet"
        } else {
            "inet6"
        };
        write!(
            text,
            "iface {name} {family} static\n    address {address}\n"
        )
        .ok();
        if place == 0 {
            text.push_str(&options);
        }
    }
    Saved {
        dir: "/etc/network/interfaces.d",
        name: name.to_string(),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::net::{AddressFacts, PortFacts};

    fn name(text: &str) -> LinkName {
        text.parse().expect(text)
    }

    /// A bridge with a card whose address moved, a guest, an address of its own and one for a time.
    fn host() -> NetFacts {
        let mut facts = NetFacts::default();
        for (index, text) in (1..).zip(["br0", "eth0", "v-web"]) {
            facts.links.push(LinkFacts::new(index, name(text)));
        }
        let [bridge, card, guest] = facts.links.as_mut_slice() else {
            unreachable!("three links");
        };
        bridge.kind = Some("bridge".to_owned());
        bridge.bridge = Some(BridgeFacts {
            stp: true,
            priority: PRIORITY,
            forward_delay: 400,
            hello_time: HELLO_TIME,
            max_age: MAX_AGE,
            ageing_time: AGEING_TIME,
            ..BridgeFacts::default()
        });
        for port in [&mut *card, &mut *guest] {
            port.master = Some(name("br0"));
            port.port = Some(PortFacts::default());
        }
        card.alias = Some("jaula-moved=192.0.2.7/24".to_owned());
        guest.leads_away = true;
        let address = |text: &str| AddressFacts::new(name("br0"), text.parse().expect(text));
        facts.addresses = vec![
            address("192.0.2.7/24"),
            address("10.77.0.1/24"),
            address("fd77::1/64"),
        ];
        facts.addresses.push(AddressFacts {
            passing: true,
            ..address("2001:db8::9/64")
        });
        facts
    }

    fn shown(form: Form, gives: Option<&GatewaySpec>) -> String {
        let save = plan_save(&name("br0"), gives, form, &host()).expect("a plan");
        let mut text = String::new();
        for file in &save.files {
            write!(text, "# {}/{}\n{}", file.dir, file.name, file.text).expect("a text");
        }
        for note in &save.notes {
            writeln!(text, "note: {note}").expect("a text");
        }
        text
    }

    #[test]
    fn a_unit_calls_jaula_with_what_is_there() {
        let gives = GatewaySpec {
            bridge: name("br0"),
            nat: true,
            uplink: None,
            dhcp: true,
            dns: false,
        };
        assert_eq!(
            shown(Form::Systemd, Some(&gives)),
            "# /etc/systemd/system/jaula-net-br0.service\n\
             [Unit]\n\
             Description=The network br0 of jaula\n\
             Wants=network-pre.target\n\
             After=network-pre.target\n\
             Before=network.target\n\
             Wants=sys-subsystem-net-devices-eth0.device\n\
             After=sys-subsystem-net-devices-eth0.device\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             RemainAfterExit=yes\n\
             ExecStart=jaula net add br0 --up --addr 10.77.0.1/24 --addr fd77::1/64 --port eth0 --move-address \
             --set stp=on --set fd=4.00 --nat --dhcp-server\n\
             ExecStop=jaula net rm br0\n\
             \n\
             [Install]\n\
             WantedBy=multi-user.target\n\
             note: br0 has addresses that it was given for a time: --dhcp, or its routers, give them again\n"
        );
    }

    #[test]
    fn others_read_their_own_files() {
        assert_eq!(
            shown(Form::Ifupdown, None),
            "# /etc/network/interfaces.d/br0\n\
             auto br0\n\
             iface eth0 inet manual\n\
             iface br0 inet static\n    address 192.0.2.7/24\n    bridge_ports eth0\n    bridge_stp on\n    \
             bridge_bridgeprio 32768\n    bridge_fd 4.00\n    bridge_hello 2.00\n    bridge_maxage 20.00\n    \
             bridge_ageing 300.00\n\
             iface br0 inet static\n    address 10.77.0.1/24\n\
             iface br0 inet6 static\n    address fd77::1/64\n\
             note: br0 has addresses that it was given for a time: --dhcp, or its routers, give them again\n"
        );
        let text = shown(Form::Networkd, None);
        for part in [
            "40-br0.netdev",
            "Kind=bridge",
            "ForwardDelaySec=4.00s",
            "Address=fd77::1/64",
            "Bridge=br0",
        ] {
            assert!(text.contains(part), "{part} of {text}");
        }
        assert!(!text.contains("v-web"), "{text}");
    }

    #[test]
    fn what_is_no_bridge_is_not_saved() {
        let refused = |text| plan_save(&name(text), None, Form::Systemd, &host()).is_err();
        assert!(refused("eth0") && refused("nothing"));
        let mut facts = host();
        facts.links[1].name = name("e$(id)");
        let error = plan_save(&name("br0"), None, Form::Ifupdown, &facts)
            .expect_err("a name that is a command");
        assert!(
            error.to_string().starts_with("e$(id) cannot be written"),
            "{error}"
        );
    }

    #[test]
    fn names_are_escaped_as_systemd_does_it() {
        assert_eq!(escaped(&name("eth0.7")), "eth0.7");
        assert_eq!(escaped(&name("wl-a")), "wl\\x2da");
    }
}
