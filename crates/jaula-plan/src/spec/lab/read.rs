//! From the text of a lab's file to what it asks.

use super::schema::LAB;
use super::{
    At, ExpectSpec, LabError, LabSpec, LanSpec, LinkSpec, Mistake, NodeRoot, NodeSpec, Shape,
};
use crate::names::NameError;
use crate::net::address::Cidr;
use crate::spec::recipe::tree::{Node, Table, Value, parse_as};
use crate::spec::recipe::{Place, What};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// The smallest packet that a link must take: what IPv6 demands (RFC 8200, 5), and the largest there can be.
const MTU: std::ops::RangeInclusive<u64> = 1280..=65535;

/// Reads the text of a lab's file.
///
/// # Errors
/// The first thing that is wrong, and where.
pub fn parse(path: &Path, text: &str) -> Result<LabSpec, LabError> {
    let table = parse_as(path, text, LAB, "a lab")?;
    let file = Keys {
        place: Place {
            file: Arc::from(path),
            line: 1,
            column: 1,
        },
        table,
    };
    let name = match file.text("name") {
        Some(name) => named(name.as_ref())?.value,
        None => {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            named(At {
                place: file.place.clone(),
                value: stem.unwrap_or("lab"),
            })?
            .value
        }
    };
    let mtu = file.mtu()?;
    let mut nodes = Vec::new();
    for (kind, router) in [("router", true), ("host", false)] {
        for node in file.tables(kind) {
            nodes.push(read_node(&node, router)?);
        }
    }
    nodes.sort_by_key(|node| (node.name.place.line, node.name.place.column));
    let lans = file.tables("lan");
    let lans = lans.iter().map(|lan| read_lan(lan, mtu));
    let links = file.tables("link");
    let links = links.iter().map(|link| read_link(link, mtu));
    let expects = file.tables("expect");
    let expects = expects.iter().map(|expect| {
        Ok(ExpectSpec {
            from: expect.needed("from")?,
            to: expect.needed("to")?,
            reach: expect.flag("reach").unwrap_or(true),
        })
    });
    Ok(LabSpec {
        name,
        auto_routes: file.text("routes").is_none_or(|word| word.value == "auto"),
        islands: file.flag("islands").unwrap_or(false),
        best_effort: file.flag("best-effort").unwrap_or(false),
        lans: lans.collect::<Result<_, LabError>>()?,
        nodes,
        links: links.collect::<Result<_, LabError>>()?,
        expects: expects.collect::<Result<_, LabError>>()?,
    })
}

/// The values of a table, and where the table stands.
struct Keys {
    place: Place,
    table: Table,
}

impl<T> At<T> {
    fn wrong(&self, what: Mistake) -> LabError {
        LabError {
            place: self.place.clone(),
            what,
        }
    }

    fn other(&self, text: impl Into<String>) -> LabError {
        self.wrong(Mistake::Other(text.into()))
    }
}

impl At<String> {
    fn as_ref(&self) -> At<&str> {
        At {
            place: self.place.clone(),
            value: &self.value,
        }
    }
}

/// A name of its kind.
fn named<T: FromStr<Err = NameError>>(text: At<&str>) -> Result<At<T>, LabError> {
    match text.value.parse() {
        Ok(value) => Ok(At {
            place: text.place,
            value,
        }),
        Err(error) => Err(text.wrong(Mistake::Written(What::Name(error)))),
    }
}

impl Keys {
    fn node(&self, key: &str) -> Option<&Node> {
        self.table.get(key)
    }

    fn text(&self, key: &str) -> Option<At<String>> {
        match self.node(key)? {
            Node {
                place,
                value: Value::Text(text),
            } => Some(At {
                place: place.clone(),
                value: text.clone(),
            }),
            _ => None,
        }
    }

    fn needed(&self, key: &str) -> Result<At<String>, LabError> {
        self.text(key).ok_or_else(|| LabError {
            place: self.place.clone(),
            what: Mistake::Written(What::Keys(format!("{key} is missing here"))),
        })
    }

    fn texts(&self, key: &str) -> Vec<At<String>> {
        match self.node(key).map(|node| &node.value) {
            Some(Value::Texts(list)) => list
                .iter()
                .map(|(place, value)| At {
                    place: place.clone(),
                    value: value.clone(),
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.node(key)?.value {
            Value::Bool(set) => Some(set),
            _ => None,
        }
    }

    fn tables(&self, key: &str) -> Vec<Keys> {
        match self.node(key).map(|node| &node.value) {
            Some(Value::Tables(list)) => list
                .iter()
                .map(|(place, table)| Keys {
                    place: place.clone(),
                    table: table.clone(),
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn mtu(&self) -> Result<Option<u32>, LabError> {
        match self.node("mtu") {
            Some(Node {
                place,
                value: Value::Number(bytes),
            }) => match u32::try_from(*bytes) {
                Ok(mtu) if MTU.contains(bytes) => Ok(Some(mtu)),
                _ => Err(LabError {
                    place: place.clone(),
                    what: Mistake::Other(format!(
                        "mtu is from {} to {}, not {bytes}",
                        MTU.start(),
                        MTU.end()
                    )),
                }),
            },
            _ => Ok(None),
        }
    }

    fn shape(&self) -> Result<Shape, LabError> {
        let read = |key, read: fn(&str) -> Option<u64>, example| match self.text(key) {
            None => Ok(None),
            Some(text) => match read(&text.value) {
                Some(value) => Ok(Some(value)),
                None => Err(text.other(format!(
                    "{key} cannot be {:?}: write it as {example}",
                    text.value
                ))),
            },
        };
        let narrow = |value: Option<u64>| value.and_then(|value| u32::try_from(value).ok());
        Ok(Shape {
            rate: read("rate", rate, "10mbit")?,
            delay: narrow(read("delay", delay, "20ms")?),
            loss: narrow(read("loss", loss, "0.5%")?),
        })
    }

    /// At most one network of each family.
    fn subnets(&self) -> Result<Vec<At<Cidr>>, LabError> {
        let mut subnets: Vec<At<Cidr>> = Vec::new();
        for text in self.texts("subnets") {
            let subnet: Cidr = text
                .value
                .parse()
                .map_err(|error: crate::net::address::BadAddress| text.other(error.to_string()))?;
            if subnet.network() != subnet {
                return Err(text.other(format!(
                    "{subnet} is an address, not a network: did you mean {}?",
                    subnet.network()
                )));
            }
            let odd = subnet.address.is_loopback()
                || subnet.address.is_multicast()
                || subnet.prefix == 0
                || subnet.nth(1).is_none();
            if odd {
                return Err(text.other(format!("{subnet} cannot be a LAN's network")));
            }
            let same =
                |other: &&At<Cidr>| other.value.address.is_ipv4() == subnet.address.is_ipv4();
            if let Some(other) = subnets.iter().find(same) {
                return Err(text.other(format!(
                    "there is {} already: one network of each family",
                    other.value
                )));
            }
            subnets.push(At {
                place: text.place,
                value: subnet,
            });
        }
        Ok(subnets)
    }
}

fn read_lan(lan: &Keys, mtu: Option<u32>) -> Result<LanSpec, LabError> {
    let name = lan.needed("name")?;
    // Beside the switch stand the loopback interface and the ends of cables, p0, p1, p1b.
    let cable = name
        .value
        .strip_prefix('p')
        .map(|rest| rest.strip_suffix('b').unwrap_or(rest));
    let number = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    if name.value == "lo" || cable.is_some_and(number) {
        return Err(name.other(format!(
            "{:?} cannot be a LAN: a link has that name",
            name.value
        )));
    }
    Ok(LanSpec {
        name: named(name.as_ref())?,
        subnets: lan.subnets()?,
        stp: lan.flag("stp").unwrap_or(false),
        mtu: lan.mtu()?.or(mtu),
        shape: lan.shape()?,
    })
}

fn read_node(node: &Keys, router: bool) -> Result<NodeSpec, LabError> {
    let name = node.needed("name")?;
    let mut lans = node.texts("lans");
    lans.extend(node.text("lan"));
    let mut addresses = Vec::new();
    for text in node.texts("addresses") {
        let address: IpAddr = text
            .value
            .parse()
            .map_err(|_| text.other(format!("{:?} is no address (10.1.0.254)", text.value)))?;
        addresses.push(At {
            place: text.place,
            value: address,
        });
    }
    let mut routes = Vec::new();
    for text in node.texts("routes") {
        let read = || {
            let (to, via) = text.value.split_once(" via ")?;
            let via: IpAddr = via.trim().parse().ok()?;
            let to = match to.trim() {
                "default" => Cidr::all(via.is_ipv6()),
                to => to.parse::<Cidr>().ok()?.network(),
            };
            (to.address.is_ipv4() == via.is_ipv4()).then_some((to, via))
        };
        let value = read().ok_or_else(|| {
            text.other(format!(
                "{:?} is no route (192.0.2.0/24 via 10.1.0.9)",
                text.value
            ))
        })?;
        routes.push(At {
            place: text.place.clone(),
            value,
        });
    }
    let root = match (node.text("image"), node.text("root")) {
        (Some(image), Some(_)) => {
            return Err(image.other("image and root cannot stand together"));
        }
        (Some(image), None) => NodeRoot::Image(image.value),
        (None, Some(root)) => {
            let base = root.place.file.parent().unwrap_or(Path::new(""));
            NodeRoot::Directory(base.join(&root.value))
        }
        (None, None) => NodeRoot::Host,
    };
    let run = node.texts("run");
    if let Some(word) = run.iter().find(|word| word.value.contains('\0')) {
        return Err(word.other("a word of a command holds no NUL byte"));
    }
    Ok(NodeSpec {
        name: named(name.as_ref())?,
        router,
        ospf: node
            .text("routing")
            .is_some_and(|word| word.value == "ospf"),
        lans,
        addresses,
        gateway: node.text("gateway"),
        routes,
        nat: node.texts("nat"),
        root,
        run: run.into_iter().map(|word| word.value).collect(),
    })
}

fn read_link(link: &Keys, mtu: Option<u32>) -> Result<LinkSpec, LabError> {
    let ends = link.texts("ends");
    let count = ends.len();
    let ends: [At<String>; 2] = ends.try_into().map_err(|_| LabError {
        place: link.node("ends").map_or(&link.place, |n| &n.place).clone(),
        what: Mistake::Other(format!("a link has two ends, not {count}")),
    })?;
    Ok(LinkSpec {
        place: link.place.clone(),
        ends,
        subnets: link.subnets()?,
        mtu: link.mtu()?.or(mtu),
        shape: link.shape()?,
    })
}

/// A decimal number with a unit, in thousandths.
fn thousandths(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(end)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.len() > 3 || (number.contains('.') && part.is_empty()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    Some((whole.checked_mul(1000)?.checked_add(part)?, unit.trim()))
}

/// Bits a second, as tc(8) writes them: decimal units.
fn rate(text: &str) -> Option<u64> {
    let (number, unit) = thousandths(text)?;
    let bits = match unit.to_ascii_lowercase().as_str() {
        "bit" => number / 1000,
        "kbit" => number,
        "mbit" => number.checked_mul(1000)?,
        "gbit" => number.checked_mul(1_000_000)?,
        _ => return None,
    };
    (bits >= 8).then_some(bits)
}

/// Microseconds, at most a minute.
fn delay(text: &str) -> Option<u64> {
    let (number, unit) = thousandths(text)?;
    let micros = match unit {
        "us" => number / 1000,
        "ms" => number,
        "s" => number.checked_mul(1000)?,
        _ => return None,
    };
    (micros <= 60_000_000).then_some(micros)
}

/// Of a million packets.
fn loss(text: &str) -> Option<u64> {
    let (number, unit) = thousandths(text)?;
    (unit == "%" && number <= 100_000).then_some(number * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lan_is_not_called_as_a_link_beside_its_switch() {
        let read = |name: &str| {
            let text =
                format!("[[lan]]\nname = {name:?}\n[[host]]\nname = \"a\"\nlan = {name:?}\n");
            parse(Path::new("lab.toml"), &text)
        };
        for name in ["lo", "p0", "p12", "p3b"] {
            let error = read(name).unwrap_err().to_string();
            assert!(
                error.contains("a link has that name") && error.contains("2:8"),
                "{error}"
            );
        }
        for name in ["p", "pb", "left", "p0x"] {
            read(name).unwrap();
        }
    }

    #[test]
    fn units_are_those_of_tc() {
        assert_eq!(rate("10mbit"), Some(10_000_000));
        assert_eq!(rate("1.5gbit"), Some(1_500_000_000));
        assert_eq!(rate("64 kbit"), Some(64_000));
        for wrong in [
            "",
            "10",
            "10mb",
            "mbit",
            "1.mbit",
            "0.001bit",
            "-1mbit",
            "99999999999999999999gbit",
        ] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
        assert_eq!(delay("20ms"), Some(20_000));
        assert_eq!(delay("1.5s"), Some(1_500_000));
        assert_eq!(delay("61s"), None);
        assert_eq!(loss("0.5%"), Some(5_000));
        assert_eq!(loss("100%"), Some(1_000_000));
        assert_eq!(loss("100.1%"), None);
    }
}
