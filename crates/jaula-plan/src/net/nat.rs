//! A jail that reaches the outside through a program of the host's: which one, and how it is told.

use crate::net::error::NetPlanError;
use crate::net::guest::GuestFacts;
use crate::net::published::check_listeners;
use crate::nft::{Protocol, Publish};
use crate::spec::net::{NatSpec, NatTool};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Where such programs are looked for: never in a tree, and not where the caller's PATH leads.
pub const DIRECTORIES: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/bin"];

/// Where clouds tell a machine its secrets: a jail on it is not that machine.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The name of the jail's card.
const CARD: &str = "eth0";

/// What connects a jail without rights over the host's networks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NatFacts {
    /// The programs that are there, and where.
    pub tools: Vec<(NatTool, PathBuf)>,
    /// Whether the caller may make cards of namespaces that are his (`/dev/net/tun`).
    pub tun: bool,
    /// Whether the caller is root of the host: pasta(1) would become nobody, who cannot enter the jail.
    pub root: bool,
    /// The store, in which a program may have its socket.
    pub store: Option<PathBuf>,
}

/// The program that connects a jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatPlan {
    /// Which.
    pub tool: NatTool,
    /// Where it is.
    pub program: PathBuf,
    /// Whether the jail has a user namespace of its own, which it has to enter first.
    pub own_user: bool,
    /// See [`NatFacts::root`].
    pub root: bool,
    /// Ports of the host that lead to the jail.
    pub publish: Vec<Publish>,
    /// See [`NatFacts::store`].
    pub store: Option<PathBuf>,
}

impl NatPlan {
    /// Chooses the program.
    ///
    /// # Errors
    /// When it is not there, or could not do anything; when a port is somebody's.
    pub fn new(spec: &NatSpec, own_user: bool, guest: &GuestFacts) -> Result<Self, NetPlanError> {
        let (wanted, facts) = (spec.tool, &guest.nat);
        let fits = |tool: NatTool| wanted.is_none_or(|wanted| wanted == tool);
        let mut all = NatTool::ALL.into_iter().filter(|tool| fits(*tool));
        let found = all.find_map(|tool| facts.tools.iter().find(|(there, _)| *there == tool));
        let (tool, program) = found.ok_or(NetPlanError::NoNat { wanted })?;
        if !facts.tun {
            return Err(NetPlanError::NoTun);
        }
        for (number, publish) in spec.publish.iter().enumerate() {
            let six = publish.address.is_some_and(|address| address.is_ipv6());
            if *tool == NatTool::Slirp4netns && six {
                return Err(NetPlanError::OnlyIpv4(*publish));
            }
            let earlier = spec.publish.iter().take(number);
            check_listeners(publish, earlier, &guest.listeners)?;
        }
        Ok(Self {
            tool: *tool,
            program: program.clone(),
            own_user,
            root: facts.root,
            publish: spec.publish.clone(),
            store: facts.store.clone(),
        })
    }

    /// Where it answers questions for names, as seen from inside.
    pub fn resolver(&self) -> Ipv4Addr {
        match self.tool {
            // Not an address of anybody's network.
            NatTool::Pasta => Ipv4Addr::new(169, 254, 1, 1),
            NatTool::Slirp4netns => Ipv4Addr::new(10, 0, 2, 3),
        }
    }

    /// Its arguments for the jail of this process. It writes to its descriptor 0 when the jail is connected, stays in
    /// the foreground, publishes what was asked for only, and does not let the jail reach the host's loopback addresses.
    pub fn arguments(&self, pid: &str) -> Vec<String> {
        let mut words = self.options(pid);
        match self.tool {
            NatTool::Pasta => {
                let more = ["--foreground", "--quiet", "--pid", "/proc/self/fd/0"];
                words.splice(0..0, more.map(str::to_owned));
            }
            NatTool::Slirp4netns => words.insert(0, "--ready-fd=0".to_owned()),
        }
        words
    }

    /// The same as a person would type it, with the process in `$jail`.
    pub fn command(&self) -> String {
        let program = crate::explain::word(&self.program);
        let mut line = format!("{program} {}", self.options("$jail").join(" "));
        if self.asks() {
            line.push_str(" --api-socket /run/slirp.sock");
        }
        line.push_str(" &");
        for request in self.requests() {
            line.push_str(&format!("\n  echo '{request}' | nc -NU /run/slirp.sock"));
        }
        line
    }

    /// Whether it is told of ports by a socket once it runs, and not by arguments.
    pub fn asks(&self) -> bool {
        self.tool == NatTool::Slirp4netns && !self.publish.is_empty()
    }

    /// What it is told by that socket: one request a connection (slirp4netns(1), API SOCKET).
    pub fn requests(&self) -> Vec<serde_json::Value> {
        let one = |publish: &Publish| {
            serde_json::json!({ "execute": "add_hostfwd", "arguments": {
                "proto": publish.protocol.word(),
                "host_addr": publish.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()).to_string(),
                "host_port": publish.port,
                "guest_port": publish.guest_port,
            } })
        };
        let asks = self.asks();
        self.publish.iter().filter(|_| asks).map(one).collect()
    }

    fn options(&self, pid: &str) -> Vec<String> {
        let (user, net) = (
            format!("/proc/{pid}/ns/user"),
            format!("/proc/{pid}/ns/net"),
        );
        let mut words: Vec<String> = Vec::new();
        let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
        match self.tool {
            NatTool::Pasta => {
                let resolver = self.resolver().to_string();
                add(&["--config-net", "--ns-ifname", CARD, "--no-map-gw"]);
                add(&["--dns-forward", &resolver]);
                // Otherwise it publishes what listens inside, and shows inside what listens outside.
                add(&["-T", "none", "-U", "none"]);
                for (option, protocol) in [("-t", Protocol::Tcp), ("-u", Protocol::Udp)] {
                    let all = self.publish.iter().filter(|p| p.protocol == protocol);
                    let mut words: Vec<String> = all.map(pasta_port).collect();
                    if words.is_empty() {
                        words.push("none".to_owned());
                    }
                    words.iter().for_each(|word| add(&[option, word]));
                }
                if self.root {
                    add(&["--runas", "0"]);
                }
                match self.own_user {
                    true => add(&["--userns", &user]),
                    false => add(&["--netns-only"]),
                }
                add(&["--netns", &net]);
            }
            NatTool::Slirp4netns => {
                add(&["--configure", "--mtu=65520", "--disable-host-loopback"]);
                add(&["--enable-seccomp"]);
                if self.own_user {
                    add(&[&format!("--userns-path={user}")]);
                }
                add(&["--netns-type=path", &net, CARD]);
            }
        }
        words
    }
}

/// A port as pasta(1) reads it.
fn pasta_port(publish: &Publish) -> String {
    let address = publish.address.map(|address: IpAddr| format!("{address}/"));
    let (from, to) = (publish.port, publish.guest_port);
    format!("{}{from}:{to}", address.unwrap_or_default())
}

impl fmt::Display for NatPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tool, program) = (self.tool.name(), self.program.display());
        write!(
            f,
            "reach the outside through {tool} ({program}), not the host's loopback, nor {METADATA}"
        )?;
        let mut all = self.publish.iter();
        all.try_for_each(|publish| write!(f, ", published {publish}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::published::Listener;

    fn facts(tools: &[NatTool]) -> GuestFacts {
        let place = |tool: &NatTool| (*tool, PathBuf::from("/usr/bin").join(tool.name()));
        GuestFacts {
            nat: NatFacts {
                tools: tools.iter().map(place).collect(),
                tun: true,
                root: false,
                store: None,
            },
            ..GuestFacts::default()
        }
    }

    fn spec(tool: Option<NatTool>, publish: &[&str]) -> NatSpec {
        let publish = publish.iter().map(|text| text.parse().expect(text));
        NatSpec {
            tool,
            publish: publish.collect(),
        }
    }

    #[test]
    fn ports_are_published_as_each_program_wants_it() {
        let both = facts(&NatTool::ALL);
        let ports = ["8080:80", "127.0.0.1:8081:81", "[::1]:53:5353/udp"];
        let plan = NatPlan::new(&spec(None, &ports), true, &both).expect("a plan");
        let words = plan.arguments("7").join(" ");
        assert!(
            words.contains("-t 8080:80 -t 127.0.0.1/8081:81 -u ::1/53:5353 "),
            "{words}"
        );
        assert!(plan.requests().is_empty());
        let slirp = Some(NatTool::Slirp4netns);
        let refused = NatPlan::new(&spec(slirp, &ports), true, &both).expect_err("IPv6");
        assert_eq!(
            refused,
            NetPlanError::OnlyIpv4("[::1]:53:5353/udp".parse().expect("a port"))
        );
        let plan = NatPlan::new(&spec(slirp, &ports[..2]), true, &both).expect("a plan");
        assert_eq!(
            plan.requests()[1].to_string(),
            r#"{"arguments":{"guest_port":81,"host_addr":"127.0.0.1","host_port":8081,"proto":"tcp"},"execute":"add_hostfwd"}"#
        );
        assert!(
            plan.to_string()
                .ends_with(", published 8080:80, published 127.0.0.1:8081:81")
        );
        for ports in [["80:80", "80:81"], ["22:22", "80:80"]] {
            let mut both = both.clone();
            both.listeners = vec![Listener {
                at: "0.0.0.0:22".parse().expect("an address"),
                protocol: Protocol::Tcp,
            }];
            NatPlan::new(&spec(None, &ports), true, &both).expect_err(ports[0]);
        }
    }

    #[test]
    fn the_first_is_taken_and_another_when_named() {
        let both = facts(&[NatTool::Slirp4netns, NatTool::Pasta]);
        let plan = |wanted| {
            NatPlan::new(&spec(wanted, &[]), true, &both)
                .expect("a plan")
                .tool
        };
        assert_eq!(plan(None), NatTool::Pasta);
        assert_eq!(plan(Some(NatTool::Slirp4netns)), NatTool::Slirp4netns);
        let one = NatPlan::new(&NatSpec::default(), true, &facts(&[NatTool::Slirp4netns]))
            .expect("a plan");
        assert_eq!(one.tool, NatTool::Slirp4netns);
    }

    #[test]
    fn what_is_missing_is_said_with_a_hint() {
        let none =
            NatPlan::new(&NatSpec::default(), true, &facts(&[])).expect_err("nothing is there");
        assert_eq!(
            none.to_string(),
            "--net nat needs pasta or slirp4netns, which is not installed"
        );
        assert_eq!(none.hints(), ["apt install passt"]);
        let other = facts(&[NatTool::Pasta]);
        let named = NatPlan::new(&spec(Some(NatTool::Slirp4netns), &[]), true, &other)
            .expect_err("not there");
        assert_eq!(named.hints(), ["apt install slirp4netns"]);
        let mut closed = facts(&[NatTool::Pasta]);
        closed.nat.tun = false;
        let closed = NatPlan::new(&NatSpec::default(), true, &closed).expect_err("no device");
        assert!(matches!(closed, NetPlanError::NoTun));
    }

    #[test]
    fn neither_shows_the_jail_the_hosts_loopback() {
        for (tool, closes) in [
            (NatTool::Pasta, "--no-map-gw"),
            (NatTool::Slirp4netns, "--disable-host-loopback"),
        ] {
            let plan = NatPlan::new(&spec(Some(tool), &[]), true, &facts(&[tool])).expect("a plan");
            let words = plan.arguments("7");
            assert!(words.iter().any(|word| word == closes), "{words:?}");
            let user = words.iter().any(|word| word.contains("/proc/7/ns/user"));
            assert!(user, "{words:?}");
        }
    }
}
