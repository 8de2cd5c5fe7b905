//! Bridges as ifupdown has them: stanzas of interfaces(5) with the options of bridge-utils-interfaces(5), read into what
//! `net add` takes. What such a file says and a bridge of ours has no place for is said, and not passed over.

use crate::names::LinkName;
use crate::net::address::{Cidr, Mac};
use crate::net::error::NetPlanError;
use crate::net::set::read_link;
use crate::spec::net::BridgeSpec;
use std::net::{IpAddr, Ipv4Addr};

/// A file and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name, for people.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// What the stanzas of one bridge say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stanza {
    /// The bridge.
    pub spec: BridgeSpec,
    /// Whether it asks for its own address by DHCP.
    pub dhcp: bool,
    /// What is not taken over.
    pub notes: Vec<String>,
}

/// Files that say nothing of the bridge, or what cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterfacesError {
    /// No stanza with ports.
    #[error("{files} have no bridge {name}{}", if .found.is_empty() { String::new() } else { format!(", but {}", .found.join(", ")) })]
    NoBridge {
        /// Which was looked for.
        name: LinkName,
        /// Where.
        files: String,
        /// Those that there are.
        found: Vec<String>,
    },
    /// A line that is not understood.
    #[error("{file}:{line}: {why}")]
    Line {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// Why.
        why: String,
    },
}

/// Other files that a file names, as it names them: `source` takes a pattern, `source-directory` a directory.
pub fn named(text: &str) -> Vec<(bool, String)> {
    let words = lines(text).map(|(_, line)| line);
    words
        .filter_map(|line| {
            let (word, rest) = line.split_once(char::is_whitespace)?;
            let directory = match word {
                "source" => false,
                "source-directory" => true,
                _ => return None,
            };
            Some((directory, rest.trim().to_owned()))
        })
        .collect()
}

/// Lines without comments; one that ends in a backslash goes on in the next.
fn lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match all.last_mut().filter(|_| open) {
            Some((_, last)) => {
                last.push(' ');
                last.push_str(part.trim());
            }
            None => all.push((number, part.trim().to_owned())),
        }
        open = goes_on;
    }
    all.into_iter()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Words that begin something else than an option of the stanza above.
fn begins(word: &str) -> bool {
    let others = [
        "iface",
        "auto",
        "mapping",
        "source",
        "source-directory",
        "rename",
        "template",
        "no-auto-down",
        "no-scripts",
    ];
    others.contains(&word) || word.starts_with("allow-")
}

/// What of a stanza is read at its end.
#[derive(Default)]
struct Open {
    address: Option<(usize, String)>,
    netmask: Option<String>,
}

/// The bridge of a name.
///
/// # Errors
/// When there is none, or a line cannot be meant.
pub fn read(name: &LinkName, sources: &[Source]) -> Result<Stanza, InterfacesError> {
    let mut stanza = Stanza {
        spec: BridgeSpec::new(name.clone()),
        dhcp: false,
        notes: Vec::new(),
    };
    let (mut is_bridge, mut found) = (false, Vec::new());
    for source in sources {
        let mut inside = None;
        let mut open: Option<Open> = None;
        for (line, text) in lines(&source.text) {
            let fail = |why: String| InterfacesError::Line {
                file: source.file.clone(),
                line,
                why,
            };
            let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
            let rest = rest.trim();
            if begins(word) {
                if let Some(open) = open.take() {
                    close(open, &mut stanza).map_err(|(line, why)| InterfacesError::Line {
                        file: source.file.clone(),
                        line,
                        why,
                    })?;
                }
                inside = None;
                let words: Vec<&str> = rest.split_whitespace().collect();
                if let ("iface", [of, family, method]) = (word, words.as_slice()) {
                    inside = Some((*of).to_owned());
                    if *of == name.as_str() {
                        open = Some(Open::default());
                        match (*family, *method) {
                            ("inet", "dhcp") => stanza.dhcp = true,
                            ("inet" | "inet6", "static" | "manual") => {}
                            ("inet6", "auto") => stanza.notes.push(
                                "inet6 auto is not read: the kernel makes addresses of what routers say anyway".into(),
                            ),
                            _ => return Err(fail(format!("{family} {method} is not read"))),
                        }
                    }
                }
                continue;
            }
            let key = word.replace('-', "_");
            if key == "bridge_ports"
                && let Some(of) = &inside
            {
                found.push(of.clone());
                is_bridge |= of == name.as_str();
            }
            if let Some(open) = &mut open {
                option(&key, rest, line, open, &mut stanza).map_err(fail)?;
            }
        }
        if let Some(open) = open.take() {
            close(open, &mut stanza).map_err(|(line, why)| InterfacesError::Line {
                file: source.file.clone(),
                line,
                why,
            })?;
        }
    }
    if !is_bridge {
        found.sort();
        found.dedup();
        let files: Vec<&str> = sources.iter().map(|source| source.file.as_str()).collect();
        return Err(InterfacesError::NoBridge {
            name: name.clone(),
            files: files.join(", "),
            found,
        });
    }
    stanza.spec.up = true;
    Ok(stanza)
}

fn option(
    key: &str,
    value: &str,
    line: usize,
    open: &mut Open,
    stanza: &mut Stanza,
) -> Result<(), String> {
    let spec = &mut stanza.spec;
    let plain = |key: &str, value: &str| read_link(&[format!("{key}={value}")]).map_err(words);
    match key {
        "address" => open.address = Some((line, value.to_owned())),
        "netmask" => open.netmask = Some(value.to_owned()),
        "bridge_ports" => {
            for word in value.split_whitespace().filter(|word| *word != "none") {
                if matches!(word, "all" | "regex" | "noregex") {
                    return Err(format!("{word} is not read: name the ports"));
                }
                let port: LinkName = word
                    .parse()
                    .map_err(|error: crate::names::NameError| error.to_string())?;
                if !spec.ports.contains(&port) {
                    spec.ports.push(port);
                }
            }
        }
        "bridge_hw" | "hwaddress" => {
            let text = value.rsplit(char::is_whitespace).next().unwrap_or_default();
            let mac = text.parse::<Mac>().ok().filter(|mac| mac.is_station());
            spec.mac = Some(mac.ok_or_else(|| format!("{value:?} is no card's address"))?);
        }
        "mtu" => spec.mtu = plain("mtu", value)?.0.mtu,
        "bridge_stp" => {
            let word = match value {
                "yes" => "on",
                "no" => "off",
                other => other,
            };
            spec.set.stp = plain("stp", word)?.1.stp;
        }
        "bridge_vlan_aware" => spec.set.vlan_filtering = Some(matches!(value, "yes" | "on")),
        "bridge_bridgeprio" => spec.set.priority = plain("priority", value)?.1.priority,
        "bridge_fd" => spec.set.forward_delay = plain("fd", value)?.1.forward_delay,
        "bridge_hello" => spec.set.hello_time = plain("hello", value)?.1.hello_time,
        "bridge_maxage" => spec.set.max_age = plain("maxage", value)?.1.max_age,
        "bridge_ageing" => spec.set.ageing_time = plain("ageing", value)?.1.ageing_time,
        "bridge_portprio" | "bridge_pathcost" => {
            let word = if key.ends_with("prio") {
                "priority"
            } else {
                "cost"
            };
            let (port, number) = value
                .split_once(char::is_whitespace)
                .unwrap_or((value, "N"));
            stanza.notes.push(format!(
                "{key} is not read: jaula net set {} {port} {word}={}",
                spec.name,
                number.trim()
            ));
        }
        "gateway" => stanza.notes.push(format!(
            "gateway {value} is not read: --move-address brings a port's routes along"
        )),
        // What waits for the carriers of ports, and what is the same by itself.
        "bridge_waitport" | "bridge_maxwait" | "bridge_gcint" | "broadcast" | "network" => {}
        other => stanza.notes.push(format!("{other} is not read")),
    }
    Ok(())
}

fn words(error: NetPlanError) -> String {
    error.to_string()
}

/// An address is whole when its stanza ends: the mask may stand on a line of its own.
fn close(open: Open, stanza: &mut Stanza) -> Result<(), (usize, String)> {
    let Some((line, text)) = open.address else {
        return Ok(());
    };
    let mask = open.netmask.as_deref().map(|mask| {
        let dotted = mask.parse::<Ipv4Addr>().map(u32::from);
        match dotted {
            Ok(bits) if bits.leading_ones() + bits.trailing_zeros() >= 32 => {
                Ok(bits.leading_ones().to_string())
            }
            Ok(_) => Err((line, format!("{mask} is no netmask"))),
            Err(_) => Ok(mask.to_owned()),
        }
    });
    let text = match (text.contains('/'), mask.transpose()?) {
        (false, Some(bits)) => format!("{text}/{bits}"),
        (false, None) if text.parse::<IpAddr>().is_ok() => {
            return Err((line, format!("{text} has no netmask")));
        }
        _ => text,
    };
    let address: Cidr = text
        .parse()
        .map_err(|_| (line, format!("{text:?} is no address")))?;
    stanza.spec.addresses.push(address);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Vec<Source> {
        vec![Source {
            file: "interfaces".into(),
            text: text.into(),
        }]
    }

    const TEXT: &str = "source /etc/network/interfaces.d/*\n# a comment\nauto lo\niface lo inet loopback\n\
        auto br0\niface br0 inet static\n\taddress 192.0.2.7\n\tnetmask 255.255.255.0\n\tgateway 192.0.2.1\n\
        \tbridge_ports eth0 \\\n\t\teth1\n\tbridge-stp on\n\tbridge_fd 4\n\tbridge_hw 02:00:00:00:00:07\n\
        \tbridge_pathcost eth0 7\n\tbridge_maxwait 0\niface br0 inet6 static\n\taddress fd77::1/64\n\
        iface br1 inet dhcp\n\tbridge_ports none\n";

    #[test]
    fn stanzas_of_a_bridge_are_read() {
        let name = |text: &str| text.parse::<LinkName>().unwrap();
        let read = |of: &str| read(&name(of), &source(TEXT));
        let stanza = read("br0").unwrap();
        let spec = &stanza.spec;
        assert_eq!(spec.ports, [name("eth0"), name("eth1")]);
        let addresses: Vec<String> = spec.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.7/24", "fd77::1/64"]);
        assert_eq!(spec.mac.unwrap().to_string(), "02:00:00:00:00:07");
        assert_eq!(
            (spec.set.stp, spec.set.forward_delay),
            (Some(true), Some(400))
        );
        assert_eq!(stanza.notes.len(), 2, "{:?}", stanza.notes);
        assert!(
            stanza
                .notes
                .iter()
                .any(|note| note.ends_with("net set br0 eth0 cost=7"))
        );
        let other = read("br1").unwrap();
        assert!(other.dhcp && other.spec.ports.is_empty() && other.notes.is_empty());
        let error = read("eth0").unwrap_err().to_string();
        assert_eq!(error, "interfaces have no bridge eth0, but br0, br1");
        assert_eq!(
            named(TEXT),
            [(false, "/etc/network/interfaces.d/*".to_owned())]
        );
    }

    #[test]
    fn what_cannot_be_meant_is_said_with_its_line() {
        for (lines, why) in [
            ("bridge_ports all", ":2: all is not read"),
            ("bridge_ports a/b", ":2:"),
            ("bridge_ports none\nbridge_fd soon", ":3:"),
            (
                "bridge_ports none\naddress 192.0.2.7",
                ":3: 192.0.2.7 has no netmask",
            ),
            (
                "bridge_ports none\naddress 192.0.2.7\nnetmask 255.0.255.0",
                "is no netmask",
            ),
            ("bridge_hw 01:00:00:00:00:01", ":2:"),
        ] {
            let text = format!("iface br0 inet static\n{lines}\n");
            let error = read(&"br0".parse().unwrap(), &source(&text)).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        let error = read(&"br0".parse().unwrap(), &source("iface br0 inet ppp\n")).unwrap_err();
        assert_eq!(error.to_string(), "interfaces:1: inet ppp is not read");
    }

    #[test]
    fn no_text_makes_it_panic() {
        for text in [
            "\\",
            "iface",
            "iface br0",
            "iface br0 inet static\naddress",
            "\\\n\\\n",
        ] {
            read(&"br0".parse().unwrap(), &source(text)).unwrap_err();
        }
    }

    #[test]
    fn what_save_writes_is_read_again() {
        let text = "auto br0\niface eth0 inet manual\niface br0 inet static\n    address 192.0.2.7/24\n    \
            bridge_ports eth0\n    bridge_stp on\n    bridge_bridgeprio 32768\n    bridge_fd 4.00\n    bridge_hello 2.00\n    \
            bridge_maxage 20.00\n    bridge_ageing 300.00\niface br0 inet static\n    address 10.77.0.1/24\n";
        let stanza = read(&"br0".parse().unwrap(), &source(text)).unwrap();
        assert_eq!(stanza.notes, Vec::<String>::new());
        assert_eq!(stanza.spec.addresses.len(), 2);
        assert_eq!(stanza.spec.set.ageing_time, Some(30_000));
    }
}
