//! What is written on a card whose addresses moved to a bridge (IFLA_IFALIAS): which ones, and what stood there.

use crate::net::address::Cidr;

/// The first word.
const MOVED: &str = "jaula-moved=";
/// The kernel keeps no more bytes (IFALIASZ of linux/if.h, less its NUL).
const LIMIT: usize = 255;

/// The addresses that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Which; all that the bridge has when there are too many to write down.
    pub addresses: Option<Vec<Cidr>>,
    /// What was written on the card before.
    pub was: String,
}

impl Moved {
    /// The text.
    pub fn text(&self) -> String {
        let words: Vec<_> = self
            .addresses
            .iter()
            .flatten()
            .map(Cidr::to_string)
            .collect();
        let full = format!("{MOVED}{} {}", words.join(","), self.was);
        if self.addresses.is_some() && full.len() <= LIMIT {
            return full.trim_end().to_owned();
        }
        let mut short = format!("{MOVED}all {}", self.was);
        while short.len() > LIMIT {
            short.pop();
        }
        short.trim_end().to_owned()
    }

    /// From a text.
    pub fn read(alias: Option<&str>) -> Option<Self> {
        let text = alias?.strip_prefix(MOVED)?;
        let (list, was) = text.split_once(' ').unwrap_or((text, ""));
        let addresses = match list {
            "all" => None,
            "" => Some(Vec::new()),
            list => Some(
                list.split(',')
                    .map(|word| word.parse().ok())
                    .collect::<Option<Vec<Cidr>>>()?,
            ),
        };
        Some(Self {
            addresses,
            was: was.to_owned(),
        })
    }

    /// Whether an address of the bridge is one that moved.
    pub fn holds(&self, address: Cidr) -> bool {
        self.addresses
            .as_ref()
            .is_none_or(|addresses| addresses.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_is_read_again() {
        let address = |text: &str| text.parse::<Cidr>().expect(text);
        for (addresses, was) in [
            (vec![address("10.9.0.5/24"), address("2001:db8::5/64")], ""),
            (vec![address("10.9.0.5/24")], "uplink of the lab"),
            (Vec::new(), ""),
        ] {
            let moved = Moved {
                addresses: Some(addresses),
                was: was.to_owned(),
            };
            assert_eq!(Moved::read(Some(&moved.text())), Some(moved));
        }
        assert_eq!(Moved::read(None), None);
        assert_eq!(Moved::read(Some("jaula")), None);
        assert_eq!(Moved::read(Some("jaula-moved=x")), None);
    }

    #[test]
    fn too_many_are_all() {
        let addresses = (0..40u16).map(|n| format!("2001:db8::{n:x}/64").parse().expect("6"));
        let moved = Moved {
            addresses: Some(addresses.collect()),
            was: "ñ".repeat(140),
        };
        let text = moved.text();
        assert!(text.len() <= LIMIT, "{}", text.len());
        let read = Moved::read(Some(&text)).expect("ours");
        assert_eq!(read.addresses, None);
        assert!(read.holds("10.0.0.1/8".parse().expect("4")));
    }
}
