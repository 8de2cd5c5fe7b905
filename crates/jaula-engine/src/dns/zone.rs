//! What is known here, and what has to be asked for. Pure: a question's bytes in, an answer's bytes out.

use simple_dns::rdata::{A, AAAA, PTR, RData};
use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Seconds that answers hold: guests come and go.
const TTL: u32 = 5;
/// Addresses in one answer.
const MOST: usize = 32;

/// The names of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    /// The domain that they are in, in small letters.
    pub domain: String,
    /// Addresses by name, in small letters, without the domain.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// The subnets, by an address and the bits in common: addresses in them are asked for nowhere else.
    pub subnets: Vec<jaula_plan::nft::Subnet>,
}

impl Zone {
    /// Whether an address is in the network, so that it may ask: whoever else can reach the socket would have an open
    /// resolver, and one that answers forged senders.
    pub fn serves(&self, from: IpAddr) -> bool {
        let local = match from {
            IpAddr::V4(_) => false,
            IpAddr::V6(six) => six.is_unicast_link_local(),
        };
        local || self.subnets.iter().any(|subnet| subnet.holds(from))
    }
}

/// What to do with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is answered.
    Answer(Vec<u8>),
    /// Somebody else is asked, for this name.
    Ask(String),
    /// It is no question.
    Nothing,
}

/// A name as text, in small letters.
pub(super) fn text(name: &Name<'_>) -> String {
    name.to_string().trim_end_matches('.').to_ascii_lowercase()
}

/// The address that a name of `in-addr.arpa` or `ip6.arpa` stands for (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(rest) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0u8; 4];
        let mut parts = rest.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts
            .next()
            .is_none()
            .then(|| Ipv4Addr::from(octets).into());
    }
    let rest = name.strip_suffix(".ip6.arpa")?;
    let mut number = 0u128;
    let mut count = 0;
    for part in rest.split('.').rev() {
        let digit = u128::from_str_radix(part, 16)
            .ok()
            .filter(|_| part.len() == 1)?;
        count += 1;
        number = (number << 4) | digit;
        if count > 32 {
            return None;
        }
    }
    (count == 32).then(|| Ipv6Addr::from(number).into())
}

impl Zone {
    /// Decides about the bytes of a question.
    pub fn decide(&self, bytes: &[u8]) -> Decision {
        let Ok(query) = Packet::parse(bytes) else {
            return Decision::Nothing;
        };
        let [question] = query.questions.as_slice() else {
            return Decision::Nothing;
        };
        if query.has_flags(PacketFlag::RESPONSE) || query.opcode() != OPCODE::StandardQuery {
            return Decision::Nothing;
        }
        let name = text(&question.qname);
        if let Some(address) = reverse(&name) {
            if !self.subnets.iter().any(|subnet| subnet.holds(address)) {
                return Decision::Ask(name);
            }
            let host = self.hosts.iter().find(|(_, all)| all.contains(&address));
            let host = host.map(|(host, _)| self.whole(host));
            let known = host.is_some();
            let pointer = host.as_deref().and_then(|host| Name::new(host).ok());
            let records = pointer.map(|name| RData::PTR(PTR(name)));
            return self.answer(&query, question, known, TYPE::PTR, records);
        }
        let below = name
            .strip_suffix(&self.domain)
            .and_then(|rest| rest.strip_suffix('.'));
        let single = !name.is_empty() && !name.contains('.');
        let is_address = [TYPE::A, TYPE::AAAA]
            .map(QTYPE::TYPE)
            .contains(&question.qtype);
        let host = match below {
            Some(host) => host,
            None if name == self.domain => "",
            None if self.hosts.contains_key(&name) => name.as_str(),
            // Names of one label are not told to others; but that there is no `com` would be a lie (RFC 8020).
            None if single && is_address => {
                return self.answer(&query, question, true, TYPE::A, []);
            }
            None => return Decision::Ask(name),
        };
        let addresses = self.hosts.get(host).map(Vec::as_slice);
        let known = addresses.is_some() || host.is_empty();
        let four = addresses
            .unwrap_or_default()
            .iter()
            .filter_map(|a| match a {
                IpAddr::V4(a) => Some(RData::A(A {
                    address: u32::from(*a),
                })),
                IpAddr::V6(_) => None,
            });
        let six = addresses
            .unwrap_or_default()
            .iter()
            .filter_map(|a| match a {
                IpAddr::V6(a) => Some(RData::AAAA(AAAA {
                    address: u128::from(*a),
                })),
                IpAddr::V4(_) => None,
            });
        match question.qtype {
            QTYPE::TYPE(TYPE::AAAA) => self.answer(&query, question, known, TYPE::AAAA, six),
            _ => self.answer(&query, question, known, TYPE::A, four),
        }
    }

    fn whole(&self, host: &str) -> String {
        match self.domain.as_str() {
            "" => host.to_owned(),
            domain => format!("{host}.{domain}"),
        }
    }

    fn answer<'a>(
        &self,
        query: &Packet<'a>,
        question: &Question<'a>,
        known: bool,
        kind: TYPE,
        records: impl IntoIterator<Item = RData<'a>>,
    ) -> Decision {
        let mut reply = Packet::new_reply(query.id());
        reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_AVAILABLE);
        if query.has_flags(PacketFlag::RECURSION_DESIRED) {
            reply.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        if !known {
            *reply.rcode_mut() = RCODE::NameError;
        }
        let asked = [QTYPE::TYPE(kind), QTYPE::ANY].contains(&question.qtype);
        reply.questions.push(question.clone());
        for data in records.into_iter().filter(|_| asked).take(MOST) {
            let record = ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data);
            reply.answers.push(record);
        }
        match reply.build_bytes_vec() {
            Ok(bytes) => Decision::Answer(bytes),
            Err(_) => Decision::Nothing,
        }
    }
}

/// An answer without records, for a question that cannot be asked further (RFC 1035 section 4.1.1).
pub(super) fn failure(bytes: &[u8]) -> Option<Vec<u8>> {
    let query = Packet::parse(bytes).ok()?;
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    *reply.rcode_mut() = RCODE::ServerFailure;
    reply.questions = query.questions.clone();
    reply.build_bytes_vec().ok()
}

/// A question for a name's address.
pub(super) fn question_for(name: &str) -> Option<Vec<u8>> {
    let chance = std::hash::RandomState::new();
    let number = std::hash::BuildHasher::hash_one(&chance, name) as u16;
    let mut packet = Packet::new_query(number);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new(name).ok()?,
        QTYPE::TYPE(TYPE::A),
        simple_dns::QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().ok()
}

fn rcode(bytes: &[u8]) -> Option<u8> {
    Some(bytes.get(3)? & 15)
}

/// Whether who answers only says that he cannot, or will not.
pub(super) fn refusal(answer: &[u8]) -> bool {
    matches!(rcode(answer), None | Some(2 | 4 | 5))
}

/// Whether an answer says that there is no such name (RFC 2308).
pub(super) fn is_no_name(answer: &[u8]) -> bool {
    rcode(answer) == Some(3)
}

/// The addresses in an answer, with the seconds that they hold.
pub(super) fn addresses(bytes: &[u8]) -> Vec<(IpAddr, u32)> {
    let Ok(reply) = Packet::parse(bytes) else {
        return Vec::new();
    };
    let one = |record: &ResourceRecord<'_>| match &record.rdata {
        RData::A(a) => Some((Ipv4Addr::from(a.address).into(), record.ttl)),
        RData::AAAA(a) => Some((Ipv6Addr::from(a.address).into(), record.ttl)),
        _ => None,
    };
    reply.answers.iter().filter_map(one).take(MOST).collect()
}

/// Whether an answer is to a question: the same number, the same name, the same type.
pub(super) fn answers(question: &[u8], answer: &[u8]) -> bool {
    let (Ok(question), Ok(answer)) = (Packet::parse(question), Packet::parse(answer)) else {
        return false;
    };
    let key = |packet: &Packet<'_>| {
        let asked = packet.questions.first();
        asked.map(|q| (packet.id(), text(&q.qname), q.qtype, q.qclass))
    };
    answer.has_flags(PacketFlag::RESPONSE)
        && key(&question).is_some()
        && key(&question) == key(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::QCLASS;

    fn zone() -> Zone {
        let address = |text: &str| text.parse().unwrap();
        Zone {
            domain: "alcantara".into(),
            hosts: [(
                "web".to_owned(),
                vec![address("10.77.0.2"), address("fd77::2")],
            )]
            .into(),
            subnets: ["10.77.0.1", "fd77::1"]
                .map(|text| jaula_plan::nft::Subnet {
                    address: address(text),
                    prefix: if text.contains(':') { 64 } else { 24 },
                })
                .to_vec(),
        }
    }

    fn ask(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.questions.push(Question::new(
            Name::new(name).unwrap(),
            QTYPE::TYPE(kind),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        packet.build_bytes_vec().unwrap()
    }

    fn said(name: &str, kind: TYPE) -> (RCODE, Vec<String>) {
        let Decision::Answer(bytes) = zone().decide(&ask(name, kind)) else {
            panic!("{name} is not answered");
        };
        assert!(answers(&ask(name, kind), &bytes));
        let packet = Packet::parse(&bytes).unwrap();
        let one = |record: &ResourceRecord<'_>| match &record.rdata {
            RData::A(a) => Ipv4Addr::from(a.address).to_string(),
            RData::AAAA(a) => Ipv6Addr::from(a.address).to_string(),
            RData::PTR(p) => text(&p.0),
            other => format!("{other:?}"),
        };
        (packet.rcode(), packet.answers.iter().map(one).collect())
    }

    #[test]
    fn names_of_guests_are_answered_and_others_asked_for() {
        for name in ["web", "WEB.alcantara", "web.Alcantara"] {
            assert_eq!(
                said(name, TYPE::A),
                (RCODE::NoError, vec!["10.77.0.2".into()])
            );
            assert_eq!(
                said(name, TYPE::AAAA),
                (RCODE::NoError, vec!["fd77::2".into()])
            );
            assert_eq!(said(name, TYPE::TXT), (RCODE::NoError, vec![]));
        }
        for name in ["db.alcantara", "a.web.alcantara", "9.0.77.10.in-addr.arpa"] {
            for kind in [TYPE::A, TYPE::AAAA, TYPE::MX] {
                assert_eq!(said(name, kind).0, RCODE::NameError, "{name}");
            }
        }
        // What is there, but not of that type; of what is not ours nothing is denied.
        for (name, kind) in [
            ("web", TYPE::MX),
            ("web.alcantara", TYPE::TXT),
            ("alcantara", TYPE::A),
            ("alcantara", TYPE::NS),
            ("2.0.77.10.in-addr.arpa", TYPE::A),
            ("db", TYPE::A),
            ("com", TYPE::AAAA),
        ] {
            assert_eq!(said(name, kind), (RCODE::NoError, vec![]), "{name}");
        }
        for (name, kind) in [("com", TYPE::NS), ("db", TYPE::TXT)] {
            assert_eq!(zone().decide(&ask(name, kind)), Decision::Ask(name.into()));
        }
        for name in [
            "2.0.77.10.in-addr.arpa",
            &format!("2.{}7.7.d.f.ip6.arpa", "0.".repeat(27)),
        ] {
            assert_eq!(
                said(name, TYPE::PTR),
                (RCODE::NoError, vec!["web.alcantara".into()])
            );
        }
        for name in [
            "example.org",
            "web.example.org",
            "1.2.0.192.in-addr.arpa",
            "1.ip6.arpa",
            "alcantara.org",
        ] {
            assert_eq!(
                zone().decide(&ask(name, TYPE::A)),
                Decision::Ask(name.into())
            );
        }
    }

    #[test]
    fn what_is_no_question_is_passed_over() {
        let good = ask("web", TYPE::A);
        for end in 0..good.len() {
            assert_eq!(zone().decide(&good[..end]), Decision::Nothing);
        }
        let Decision::Answer(answer) = zone().decide(&good) else {
            panic!()
        };
        assert_eq!(zone().decide(&answer), Decision::Nothing);
        // Small changes everywhere: nothing panics.
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut other = good.clone();
                other[at] ^= 1 << bit;
                zone().decide(&other);
                addresses(&other);
                failure(&other);
            }
        }
    }
}
