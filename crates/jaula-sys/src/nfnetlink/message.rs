//! Messages of nfnetlink: headers, batches, and the bodies of what nf_tables knows.

use super::attr::{self, Writer};
use super::expr::Expr;
use super::{Chain, Change, Element, Family, Hook, Rule, Set};

/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of a type.
const NFTABLES: u16 = 10 << 8;
const NEW_TABLE: u16 = NFTABLES;
pub const GET_TABLE: u16 = NFTABLES | 1;
const DEL_TABLE: u16 = NFTABLES | 2;
const NEW_CHAIN: u16 = NFTABLES | 3;
pub const GET_CHAIN: u16 = NFTABLES | 4;
const NEW_RULE: u16 = NFTABLES | 6;
pub const GET_RULE: u16 = NFTABLES | 7;
const NEW_SET: u16 = NFTABLES | 9;
pub const GET_SET: u16 = NFTABLES | 10;
const NEW_ELEMENTS: u16 = NFTABLES | 12;
pub const GET_ELEMENTS: u16 = NFTABLES | 13;
const DEL_ELEMENTS: u16 = NFTABLES | 14;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const INTERRUPTED: u16 = 0x10;
const DUMP: u16 = 0x300;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// `NFT_SET_TIMEOUT`.
const SET_TIMEOUT: u32 = 0x10;
/// `NFTNL_UDATA_SET_KEYBYTEORDER`, and what it is for the host's order.
const KEY_ORDER: u8 = 0;
const NATIVE: u32 = 1;
/// Elements of one message: an attribute holds 64 KiB, and an element takes less than a hundred bytes.
const AT_ONCE: usize = 500;
/// Bytes of a message's header, and with nfgenmsg's.
const HEAD: usize = 16;
const WHOLE_HEAD: usize = 20;

/// Messages of one batch.
#[derive(Debug)]
pub struct Messages {
    pub bytes: Vec<u8>,
    first: u32,
    count: u32,
}

impl Messages {
    pub fn new(first: u32) -> Self {
        Self {
            bytes: Vec::new(),
            first,
            count: 0,
        }
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn next_sequence(&self) -> u32 {
        self.first.wrapping_add(self.count)
    }

    pub fn last_sequence(&self) -> u32 {
        self.next_sequence().wrapping_sub(1)
    }

    fn push(&mut self, kind: u16, flags: u16, family: u8, resource: u16, body: &[u8]) {
        let length = u32::try_from(WHOLE_HEAD + body.len()).unwrap_or(u32::MAX);
        let sequence = self.next_sequence();
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST).to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(body);
        self.count = self.count.wrapping_add(1);
    }

    pub fn begin(&mut self) {
        self.push(BATCH_BEGIN, 0, 0, NFTABLES >> 8, &[]);
    }

    pub fn end(&mut self) {
        self.push(BATCH_END, 0, 0, NFTABLES >> 8, &[]);
    }

    /// Appends a change; only the last of a batch is acknowledged.
    pub fn change(&mut self, change: &Change, last: bool) {
        let ack = if last { ACK } else { 0 };
        let mut w = Writer::default();
        match change {
            Change::Table(family, table) => {
                w.text(1, table);
                w.number(2, 0);
                self.push(NEW_TABLE, CREATE | ack, *family as u8, 0, &w.bytes);
            }
            Change::DropTable(family, table) => {
                w.text(1, table);
                self.push(DEL_TABLE, ack, *family as u8, 0, &w.bytes);
            }
            Change::Chain(family, table, chain) => {
                write_chain(&mut w, table, chain);
                let flags = CREATE | EXCLUSIVE | ack;
                self.push(NEW_CHAIN, flags, *family as u8, 0, &w.bytes);
            }
            Change::Set(family, table, set) => {
                write_set(&mut w, table, set);
                let flags = CREATE | EXCLUSIVE | ack;
                self.push(NEW_SET, flags, *family as u8, 0, &w.bytes);
            }
            Change::Elements(family, table, set, elements) => {
                self.elements(NEW_ELEMENTS, CREATE, *family, (table, set), elements, ack);
            }
            Change::DropElements(family, table, set, elements) => {
                self.elements(DEL_ELEMENTS, 0, *family, (table, set), elements, ack);
            }
            Change::Rule(family, table, chain, expressions) => {
                w.text(1, table);
                w.text(2, chain);
                w.nest(4, |list| expressions.iter().for_each(|e| e.write(list)));
                let flags = CREATE | APPEND | ack;
                self.push(NEW_RULE, flags, *family as u8, 0, &w.bytes);
            }
        }
    }

    fn elements(
        &mut self,
        kind: u16,
        flags: u16,
        family: Family,
        (table, set): (&str, &str),
        elements: &[Element],
        ack: u16,
    ) {
        let mut chunks: Vec<&[Element]> = elements.chunks(AT_ONCE).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let count = chunks.len();
        for (index, chunk) in chunks.into_iter().enumerate() {
            let mut w = Writer::default();
            w.text(1, table);
            w.text(2, set);
            w.nest(3, |list| {
                for element in chunk {
                    list.nest(1, |e| {
                        e.nest(1, |key| key.put(1, &element.key));
                        if let Some(timeout) = element.timeout.filter(|_| kind == NEW_ELEMENTS) {
                            e.long(4, timeout);
                        }
                    });
                }
            });
            let ack = if index + 1 == count { ack } else { 0 };
            self.push(kind, flags | ack, family as u8, 0, &w.bytes);
        }
    }
}

fn write_chain(w: &mut Writer, table: &str, chain: &Chain) {
    w.text(1, table);
    w.text(3, &chain.name);
    if let Some(hook) = &chain.hook {
        w.nest(4, |h| {
            h.number(1, hook.number);
            h.number(2, hook.priority.cast_unsigned());
        });
        w.number(5, u32::from(!hook.drops));
        w.text(7, &hook.kind);
    }
}

fn write_set(w: &mut Writer, table: &str, set: &Set) {
    w.text(1, table);
    w.text(2, &set.name);
    let timeout = if set.timeout { SET_TIMEOUT } else { 0 };
    w.number(3, timeout);
    w.number(4, set.key_type);
    w.number(5, set.key_length);
    // Sets are known by their names; the number is only for the batch.
    w.number(10, 0);
    if set.native {
        let mut order = vec![KEY_ORDER, 4];
        order.extend(NATIVE.to_ne_bytes());
        w.put(13, &order);
    }
}

/// A question for a list.
pub fn question(
    sequence: u32,
    kind: u16,
    family: Option<Family>,
    attributes: &[(u16, &str)],
) -> Vec<u8> {
    let mut w = Writer::default();
    for (kind, text) in attributes {
        w.text(*kind, text);
    }
    let mut out = Messages::new(sequence);
    let family = family.map_or(0, |family| family as u8);
    out.push(kind, DUMP, family, 0, &w.bytes);
    out.bytes
}

/// A message that was received.
#[derive(Debug)]
pub struct Message<'a> {
    kind: u16,
    flags: u16,
    pub sequence: u32,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The messages in what was received; ends at the first that does not fit.
    pub fn all(bytes: &'a [u8]) -> impl Iterator<Item = Message<'a>> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let four = |at: usize| -> Option<[u8; 4]> { rest.get(at..at + 4)?.try_into().ok() };
            let length = usize::try_from(u32::from_ne_bytes(four(0)?)).ok()?;
            let [a, b, c, d] = four(4)?;
            let sequence = u32::from_ne_bytes(four(8)?);
            let payload = rest.get(HEAD..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(Message {
                kind: u16::from_ne_bytes([a, b]),
                flags: u16::from_ne_bytes([c, d]),
                sequence,
                payload,
            })
        })
    }

    /// The errno of an error message, 0 for an acknowledgement; that of a list which ended too early.
    pub fn error(&self) -> Option<i32> {
        let code = self.payload.get(..4)?.try_into().ok()?;
        let errno = i32::from_ne_bytes(code).saturating_neg();
        (self.kind == ERROR || self.done() && errno > 0).then_some(errno)
    }

    pub fn done(&self) -> bool {
        self.kind == DONE
    }

    /// Whether the list changed while it was read.
    pub fn torn(&self) -> bool {
        self.flags & INTERRUPTED != 0
    }

    /// Family and attributes.
    pub fn body(&self) -> Option<(u8, Vec<u8>)> {
        let family = *self.payload.first()?;
        Some((family, self.payload.get(4..)?.to_vec()))
    }
}

pub fn read_chain(b: &[u8]) -> Option<(String, Chain)> {
    let hook = attr::find(b, 4).and_then(|h| {
        Some(Hook {
            kind: attr::text(b, 7)?,
            number: attr::number(h, 1)?,
            priority: attr::number(h, 2)?.cast_signed(),
            drops: attr::number(b, 5) == Some(0),
        })
    });
    let name = attr::text(b, 3)?;
    Some((attr::text(b, 1)?, Chain { name, hook }))
}

pub fn read_rule(b: &[u8]) -> Option<Rule> {
    let list = attr::find(b, 4).unwrap_or_default();
    Some(Rule {
        chain: attr::text(b, 2)?,
        handle: attr::long(b, 3)?,
        expressions: attr::read(list).map(|(_, e)| Expr::read(e)).collect(),
    })
}

pub fn read_set(b: &[u8]) -> Option<Set> {
    Some(Set {
        name: attr::text(b, 2)?,
        key_type: attr::number(b, 4)?,
        key_length: attr::number(b, 5)?,
        timeout: attr::number(b, 3).unwrap_or(0) & SET_TIMEOUT != 0,
        native: attr::find(b, 13)
            .and_then(|notes| notes.strip_prefix(&[KEY_ORDER, 4])?.get(..4))
            .is_some_and(|order| order == NATIVE.to_ne_bytes()),
    })
}

pub fn read_elements(b: &[u8]) -> Vec<Element> {
    let list = attr::find(b, 3).unwrap_or_default();
    attr::read(list)
        .filter_map(|(_, e)| {
            Some(Element {
                key: attr::find(attr::find(e, 1)?, 1)?.to_vec(),
                timeout: attr::long(e, 5).or_else(|| attr::long(e, 4)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_ends_too_early_says_why() {
        let end = |payload: &[u8]| {
            let length = u32::try_from(HEAD + payload.len()).unwrap();
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend(DONE.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(payload);
            let message = Message::all(&bytes).next().unwrap();
            (message.error(), message.done())
        };
        assert_eq!(end(&[]), (None, true));
        assert_eq!(end(&0i32.to_ne_bytes()), (None, true));
        assert_eq!(end(&(-12i32).to_ne_bytes()), (Some(12), true));
    }
}
