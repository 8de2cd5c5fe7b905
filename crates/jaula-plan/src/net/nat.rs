//! A jail that reaches the outside through a program of the host's: which one, and how it is told.

use crate::net::error::NetPlanError;
use crate::spec::net::NatTool;
use std::fmt;
use std::net::Ipv4Addr;
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
}

impl NatPlan {
    /// Chooses the program.
    ///
    /// # Errors
    /// When it is not there, or could not do anything.
    pub fn new(
        wanted: Option<NatTool>,
        own_user: bool,
        facts: &NatFacts,
    ) -> Result<Self, NetPlanError> {
        let fits = |tool: NatTool| wanted.is_none_or(|wanted| wanted == tool);
        let mut all = NatTool::ALL.into_iter().filter(|tool| fits(*tool));
        let found = all.find_map(|tool| facts.tools.iter().find(|(there, _)| *there == tool));
        let (tool, program) = found.ok_or(NetPlanError::NoNat { wanted })?;
        if !facts.tun {
            return Err(NetPlanError::NoTun);
        }
        Ok(Self {
            tool: *tool,
            program: program.clone(),
            own_user,
            root: facts.root,
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
    /// the foreground, publishes nothing, and does not let the jail reach the host's loopback addresses.
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
        format!("{program} {} &", self.options("$jail").join(" "))
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
                add(&["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
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

impl fmt::Display for NatPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tool, program) = (self.tool.name(), self.program.display());
        write!(
            f,
            "reach the outside through {tool} ({program}), not the host's loopback, nor {METADATA}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(tools: &[NatTool]) -> NatFacts {
        let place = |tool: &NatTool| (*tool, PathBuf::from("/usr/bin").join(tool.name()));
        NatFacts {
            tools: tools.iter().map(place).collect(),
            tun: true,
            root: false,
        }
    }

    #[test]
    fn the_first_is_taken_and_another_when_named() {
        let both = facts(&[NatTool::Slirp4netns, NatTool::Pasta]);
        let plan = |wanted| NatPlan::new(wanted, true, &both).expect("a plan").tool;
        assert_eq!(plan(None), NatTool::Pasta);
        assert_eq!(plan(Some(NatTool::Slirp4netns)), NatTool::Slirp4netns);
        let one = NatPlan::new(None, true, &facts(&[NatTool::Slirp4netns])).expect("a plan");
        assert_eq!(one.tool, NatTool::Slirp4netns);
    }

    #[test]
    fn what_is_missing_is_said_with_a_hint() {
        let none = NatPlan::new(None, true, &facts(&[])).expect_err("nothing is there");
        assert_eq!(
            none.to_string(),
            "--net nat needs pasta or slirp4netns, which is not installed"
        );
        assert_eq!(none.hints(), ["apt install passt"]);
        let other = facts(&[NatTool::Pasta]);
        let named = NatPlan::new(Some(NatTool::Slirp4netns), true, &other).expect_err("not there");
        assert_eq!(named.hints(), ["apt install slirp4netns"]);
        let mut closed = facts(&[NatTool::Pasta]);
        closed.tun = false;
        let closed = NatPlan::new(None, true, &closed).expect_err("no device");
        assert!(matches!(closed, NetPlanError::NoTun));
    }

    #[test]
    fn neither_shows_the_jail_the_hosts_loopback() {
        for (tool, closes) in [
            (NatTool::Pasta, "--no-map-gw"),
            (NatTool::Slirp4netns, "--disable-host-loopback"),
        ] {
            let plan = NatPlan::new(Some(tool), true, &facts(&[tool])).expect("a plan");
            let words = plan.arguments("7");
            assert!(words.iter().any(|word| word == closes), "{words:?}");
            let user = words.iter().any(|word| word.contains("/proc/7/ns/user"));
            assert!(user, "{words:?}");
        }
    }
}
