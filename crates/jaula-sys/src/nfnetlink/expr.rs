//! Expressions of rules, as the kernel has them (linux/netfilter/nf_tables.h). A rule is a list of them: the first that
//! does not match ends it.

use super::attr::{self, Writer};

/// The register of verdicts.
pub const VERDICT: u32 = 0;
/// The first register of data, of 16 bytes.
pub const REG_1: u32 = 1;
/// The first register of data, counted by four bytes: the next ones follow.
pub const REG32_00: u32 = 8;

/// Where a payload starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The link's header.
    Link,
    /// The header of IP or ARP.
    Network,
    /// The header of TCP, UDP or ICMP.
    Transport,
}

/// What a comparison asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The same.
    Equal,
    /// Another.
    NotEqual,
    /// Less or the same, as bytes.
    AtMost,
    /// More or the same, as bytes.
    AtLeast,
}

/// What becomes of a packet, or where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is dropped.
    Drop,
    /// This hook is done with it.
    Accept,
    /// On with another chain, then back.
    Jump(String),
    /// On with another chain.
    Goto(String),
    /// Back to the chain that jumped here.
    Return,
    /// Another, by its number.
    Other(i32),
}

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// A fact about the packet (`NFT_META_*`) goes to a register.
    Meta {
        /// Which.
        key: u32,
        /// Where to.
        register: u32,
    },
    /// Bytes of the packet go to a register.
    Payload {
        /// Where it starts.
        base: Base,
        /// Bytes from there.
        offset: u32,
        /// How many.
        length: u32,
        /// Where to.
        register: u32,
    },
    /// A fact about the connection (`NFT_CT_*`) goes to a register.
    Connection {
        /// Which.
        key: u32,
        /// Where to.
        register: u32,
    },
    /// What the routing table says (`NFT_FIB_RESULT_*`) goes to a register.
    Route {
        /// What is asked.
        result: u32,
        /// About what (`NFTA_FIB_F_*`).
        flags: u32,
        /// Where to.
        register: u32,
    },
    /// Register one is masked.
    Mask {
        /// The bits that stay.
        mask: Vec<u8>,
    },
    /// Register one is compared.
    Compare {
        /// How.
        order: Order,
        /// With what.
        data: Vec<u8>,
    },
    /// Whether registers are in a set.
    Lookup {
        /// Its name.
        set: String,
        /// Whether they must not be.
        not: bool,
    },
    /// Data goes to a register.
    Data {
        /// Where to.
        register: u32,
        /// The bytes.
        data: Vec<u8>,
    },
    /// A verdict.
    Verdict(Verdict),
    /// Packets and bytes are counted.
    Counter,
    /// Matches what is over a rate.
    Over {
        /// Bytes a second.
        rate: u64,
        /// Bytes more for a moment.
        burst: u32,
    },
    /// Another destination: the address is in register 1, the port in register 2.
    Destination {
        /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
        family: u32,
        /// Whether there is a port.
        port: bool,
    },
    /// The address of the link that it leaves by becomes its source.
    Masquerade,
    /// It is answered with an error: `NFT_REJECT_*` and a code.
    Reject {
        /// The type.
        kind: u32,
        /// The code.
        code: u8,
    },
    /// One that this program does not write.
    Other(String),
}

fn data(writer: &mut Writer, kind: u16, bytes: &[u8]) {
    writer.nest(kind, |value| value.put(1, bytes));
}

fn read_data(bytes: &[u8], kind: u16) -> Option<Vec<u8>> {
    attr::find(attr::find(bytes, kind)?, 1).map(<[u8]>::to_vec)
}

impl Verdict {
    fn number(&self) -> i32 {
        match self {
            Verdict::Drop => 0,
            Verdict::Accept => 1,
            Verdict::Jump(_) => -3,
            Verdict::Goto(_) => -4,
            Verdict::Return => -5,
            Verdict::Other(number) => *number,
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let code = attr::number(bytes, 1)?.cast_signed();
        let chain = || attr::text(bytes, 2).unwrap_or_default();
        Some(match code {
            0 => Verdict::Drop,
            1 => Verdict::Accept,
            -3 => Verdict::Jump(chain()),
            -4 => Verdict::Goto(chain()),
            -5 => Verdict::Return,
            other => Verdict::Other(other),
        })
    }
}

impl Expr {
    fn name(&self) -> &str {
        match self {
            Expr::Meta { .. } => "meta",
            Expr::Payload { .. } => "payload",
            Expr::Connection { .. } => "ct",
            Expr::Route { .. } => "fib",
            Expr::Mask { .. } => "bitwise",
            Expr::Compare { .. } => "cmp",
            Expr::Lookup { .. } => "lookup",
            Expr::Data { .. } | Expr::Verdict(_) => "immediate",
            Expr::Counter => "counter",
            Expr::Over { .. } => "limit",
            Expr::Destination { .. } => "nat",
            Expr::Masquerade => "masq",
            Expr::Reject { .. } => "reject",
            Expr::Other(name) => name,
        }
    }

    /// Appends it, as an element of a rule's list.
    pub(super) fn write(&self, list: &mut Writer) {
        list.nest(1, |element| {
            element.text(1, self.name());
            element.nest(2, |w| self.write_data(w));
        });
    }

    fn write_data(&self, w: &mut Writer) {
        match self {
            Expr::Meta { key, register } => {
                w.number(2, *key);
                w.number(1, *register);
            }
            Expr::Payload {
                base,
                offset,
                length,
                register,
            } => {
                w.number(1, *register);
                w.number(
                    2,
                    match base {
                        Base::Link => 0,
                        Base::Network => 1,
                        Base::Transport => 2,
                    },
                );
                w.number(3, *offset);
                w.number(4, *length);
            }
            Expr::Connection { key, register } => {
                w.number(2, *key);
                w.number(1, *register);
            }
            Expr::Route {
                result,
                flags,
                register,
            } => {
                w.number(1, *register);
                w.number(2, *result);
                w.number(3, *flags);
            }
            Expr::Mask { mask } => {
                w.number(1, REG_1);
                w.number(2, REG_1);
                w.number(3, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                data(w, 4, mask);
                data(w, 5, &vec![0; mask.len()]);
            }
            Expr::Compare {
                order,
                data: compared,
            } => {
                w.number(1, REG_1);
                w.number(
                    2,
                    match order {
                        Order::Equal => 0,
                        Order::NotEqual => 1,
                        Order::AtMost => 3,
                        Order::AtLeast => 5,
                    },
                );
                data(w, 3, compared);
            }
            Expr::Lookup { set, not } => {
                w.text(1, set);
                w.number(2, REG_1);
                if *not {
                    w.number(5, 1);
                }
            }
            Expr::Data {
                register,
                data: loaded,
            } => {
                w.number(1, *register);
                data(w, 2, loaded);
            }
            Expr::Verdict(verdict) => {
                w.number(1, VERDICT);
                w.nest(2, |value| {
                    value.nest(2, |v| {
                        v.number(1, verdict.number().cast_unsigned());
                        if let Verdict::Jump(chain) | Verdict::Goto(chain) = verdict {
                            v.text(2, chain);
                        }
                    });
                });
            }
            Expr::Counter | Expr::Masquerade | Expr::Other(_) => {}
            Expr::Over { rate, burst } => {
                w.long(1, *rate);
                w.long(2, 1);
                w.number(3, *burst);
                w.number(4, 1);
                w.number(5, 1);
            }
            Expr::Destination { family, port } => {
                w.number(1, 1);
                w.number(2, *family);
                w.number(3, REG_1);
                if *port {
                    w.number(5, 2);
                }
            }
            Expr::Reject { kind, code } => {
                w.number(1, *kind);
                w.put(2, &[*code]);
            }
        }
    }

    /// Reads one element of a rule's list. What this program would not write is [`Expr::Other`].
    pub(super) fn read(element: &[u8]) -> Self {
        let name = attr::text(element, 1).unwrap_or_default();
        let bytes = attr::find(element, 2).unwrap_or_default();
        Self::read_data(&name, bytes).unwrap_or(Expr::Other(name))
    }

    fn read_data(name: &str, b: &[u8]) -> Option<Self> {
        let number = |kind| attr::number(b, kind);
        Some(match name {
            "meta" => Expr::Meta {
                key: number(2)?,
                register: number(1)?,
            },
            "payload" => Expr::Payload {
                base: match number(2)? {
                    0 => Base::Link,
                    1 => Base::Network,
                    2 => Base::Transport,
                    _ => return None,
                },
                offset: number(3)?,
                length: number(4)?,
                register: number(1)?,
            },
            "ct" => Expr::Connection {
                key: number(2)?,
                register: number(1)?,
            },
            "fib" => Expr::Route {
                result: number(2)?,
                flags: number(3)?,
                register: number(1)?,
            },
            "bitwise" => {
                let plain = number(1)? == REG_1 && number(2)? == REG_1;
                let flips = read_data(b, 5)?.iter().any(|byte| *byte != 0);
                if !plain || flips {
                    return None;
                }
                Expr::Mask {
                    mask: read_data(b, 4)?,
                }
            }
            "cmp" if number(1)? == REG_1 => Expr::Compare {
                order: match number(2)? {
                    0 => Order::Equal,
                    1 => Order::NotEqual,
                    3 => Order::AtMost,
                    5 => Order::AtLeast,
                    _ => return None,
                },
                data: read_data(b, 3)?,
            },
            "lookup" if number(2)? == REG_1 && number(3).is_none() => Expr::Lookup {
                set: attr::text(b, 1)?,
                not: number(5).unwrap_or(0) & 1 == 1,
            },
            "immediate" if number(1)? == VERDICT => {
                Expr::Verdict(Verdict::read(attr::find(attr::find(b, 2)?, 2)?)?)
            }
            "immediate" => Expr::Data {
                register: number(1)?,
                data: read_data(b, 2)?,
            },
            "counter" => Expr::Counter,
            "limit" => {
                let ours = attr::long(b, 2)? == 1 && number(4)? == 1 && number(5)? == 1;
                if !ours {
                    return None;
                }
                Expr::Over {
                    rate: attr::long(b, 1)?,
                    burst: number(3)?,
                }
            }
            "nat" if number(1)? == 1 && number(3)? == REG_1 => Expr::Destination {
                family: number(2)?,
                port: number(5).is_some(),
            },
            "masq" if number(2).is_none() && number(1).unwrap_or(0) == 0 => Expr::Masquerade,
            "reject" => Expr::Reject {
                kind: number(1)?,
                code: *attr::find(b, 2).unwrap_or(&[0]).first()?,
            },
            _ => return None,
        })
    }
}
