//! The keys of a lab's file.

use crate::spec::recipe::schema::{Key, Kind};

/// How routes come about.
pub const ROUTES: &[&str] = &["auto", "none"];

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    example: &'static str,
    about: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default,
        example,
        about,
    }
}

/// The whole file.
pub const LAB: &[Key] = &[
    key(
        "name",
        Kind::Text,
        "the file's name",
        "\"campus\"",
        "What the lab is called",
    ),
    key(
        "routes",
        Kind::Choice(ROUTES),
        "auto",
        "\"none\"",
        "Whether the shortest ways are found",
    ),
    key(
        "mtu",
        Kind::Number,
        "1500",
        "1400",
        "The largest packet of every LAN and link",
    ),
    key(
        "islands",
        Kind::Bool,
        "false",
        "true",
        "Whether parts may have no connection to the rest",
    ),
    key(
        "best-effort",
        Kind::Bool,
        "false",
        "true",
        "Leave out what this kernel cannot do",
    ),
    key("lan", Kind::Tables(LAN), "", "", "A LAN"),
    key("router", Kind::Tables(ROUTER), "", "", "A router"),
    key("host", Kind::Tables(HOST), "", "", "A host"),
    key("link", Kind::Tables(LINK), "", "", "A cable"),
    key(
        "expect",
        Kind::Tables(EXPECT),
        "",
        "",
        "What lab check looks for",
    ),
];

const SUBNETS: Key = key(
    "subnets",
    Kind::Texts,
    "chosen: 10.0.N.0/24 and fd00:0:0:N::/64",
    "[\"10.1.0.0/24\", \"fd01::/64\"]",
    "Its networks",
);
const MTU: Key = key(
    "mtu",
    Kind::Number,
    "that of the file",
    "9000",
    "Its largest packet",
);
const RATE: Key = key(
    "rate",
    Kind::Text,
    "no limit",
    "\"10mbit\"",
    "Bits a second",
);
const DELAY: Key = key(
    "delay",
    Kind::Text,
    "none",
    "\"20ms\"",
    "What a packet takes, one way",
);
const LOSS: Key = key(
    "loss",
    Kind::Text,
    "none",
    "\"0.5%\"",
    "How many packets are lost",
);
const NAME: Key = key("name", Kind::Text, "must be there", "\"h1\"", "Its name");
const LANS: Key = key(
    "lans",
    Kind::Texts,
    "none",
    "[\"left\", \"right\"]",
    "The LANs it is on",
);
const ADDRESSES: Key = key(
    "addresses",
    Kind::Texts,
    "the next that is free, routers first",
    "[\"10.1.0.254\"]",
    "Its addresses; each is of one of its LANs or links",
);
const BY_HAND: Key = key(
    "routes",
    Kind::Texts,
    "none",
    "[\"192.0.2.0/24 via 10.1.0.9\"]",
    "Routes by hand",
);
const GATEWAY: Key = key(
    "gateway",
    Kind::Text,
    "found",
    "\"r1\"",
    "Who gets what has no other way: a router's name or an address",
);
const IMAGE: Key = key(
    "image",
    Kind::Text,
    "the host's programs",
    "\"debian:bookworm\"",
    "An image of the store",
);
const ROOT: Key = key(
    "root",
    Kind::Path,
    "the host's programs",
    "\"/srv/tree\"",
    "A directory with its files",
);
const RUN: Key = key(
    "run",
    Kind::Texts,
    "nothing",
    "[\"python3\", \"-m\", \"http.server\"]",
    "A program that it runs from the start",
);

/// `[[lan]]`
const LAN: &[Key] = &[
    NAME,
    SUBNETS,
    key(
        "stp",
        Kind::Bool,
        "false",
        "true",
        "Whether its switch breaks loops (IEEE 802.1D)",
    ),
    MTU,
    RATE,
    DELAY,
    LOSS,
];

/// `[[router]]`
const ROUTER: &[Key] = &[
    NAME,
    LANS,
    ADDRESSES,
    BY_HAND,
    GATEWAY,
    key(
        "routing",
        Kind::Choice(&["static", "ospf"]),
        "static",
        "\"ospf\"",
        "ospf: it finds its ways by a daemon (bird), and others when a link is cut",
    ),
    key(
        "nat",
        Kind::Texts,
        "none",
        "[\"outside\"]",
        "LANs that see its own address instead of those behind it",
    ),
    IMAGE,
    ROOT,
    RUN,
];

/// `[[host]]`
const HOST: &[Key] = &[
    NAME,
    LANS,
    key("lan", Kind::Text, "none", "\"left\"", "The LAN it is on"),
    ADDRESSES,
    BY_HAND,
    GATEWAY,
    IMAGE,
    ROOT,
    RUN,
];

/// `[[link]]`
const LINK: &[Key] = &[
    key(
        "ends",
        Kind::Texts,
        "must be there",
        "[\"r1\", \"r2\"]",
        "The two that it joins: nodes or LANs",
    ),
    SUBNETS,
    MTU,
    RATE,
    DELAY,
    LOSS,
];

/// `[[expect]]`
const EXPECT: &[Key] = &[
    key(
        "from",
        Kind::Text,
        "must be there",
        "\"h1\"",
        "The node that asks",
    ),
    key(
        "to",
        Kind::Text,
        "must be there",
        "\"h2\"",
        "The node that is asked",
    ),
    key(
        "reach",
        Kind::Bool,
        "true",
        "false",
        "Whether it is to answer",
    ),
];
