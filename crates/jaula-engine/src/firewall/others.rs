//! Tables of others that stand in the way. An `accept` of ours does not overrule a `drop` of theirs: what can be done
//! is to say who it is, and how he is asked.

use super::{FilterError, read};
use jaula_plan::nft::network;
use jaula_sys::nfnetlink::expr::{Expr, Verdict};
use jaula_sys::nfnetlink::{Family, Rule, Tables};

/// Hooks by number, as `nft` writes them.
const HOOKS: [&str; 5] = ["prerouting", "input", "forward", "output", "postrouting"];
/// The hook of packets that go through this host.
const FORWARD: u32 = 2;
/// The hook of packets for this host.
const INPUT: u32 = 1;

/// A base chain of somebody else that may drop what is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Other {
    /// Its table's family, as `nft` writes it.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// Its hook.
    pub hook: &'static str,
    /// Whether what none of its rules decides is dropped, by its policy or by its last rule.
    pub drops: bool,
    /// Whether a rule that it reaches accepts what comes from the bridge.
    pub lets_pass: bool,
    /// Who it seems to belong to.
    pub owner: &'static str,
}

impl Other {
    /// Whether packets of the network are dropped there unless somebody does something.
    pub fn stands_in_the_way(&self) -> bool {
        self.drops && !self.lets_pass
    }

    /// What the user may do.
    pub fn hint(&self, bridge: &str) -> String {
        match self.owner {
            "Docker" => format!(
                "iptables -I DOCKER-USER -i {bridge} -j ACCEPT; iptables -I DOCKER-USER -o {bridge} -j ACCEPT (and ip6tables)"
            ),
            "firewalld" => format!(
                "firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
            ),
            "ufw" => format!("ufw route allow in on {bridge}; ufw route allow out on {bridge}"),
            _ => format!(
                "nft insert rule {f} {t} {c} iifname \"{bridge}\" accept; nft insert rule {f} {t} {c} oifname \"{bridge}\" accept",
                f = self.family,
                t = self.table,
                c = self.chain
            ),
        }
    }
}

/// The chains of others through which a network's packets go.
///
/// # Errors
/// [`FilterError::Read`].
pub fn others(bridge: &str) -> Result<Vec<Other>, FilterError> {
    let mut kernel = Tables::open().map_err(read)?;
    let chains = kernel.chains().map_err(read)?;
    let ours = network::table_name("");
    let names = |family: Family, table: &str| -> Vec<&str> {
        chains
            .iter()
            .filter(|(f, t, _)| *f == family && t == table)
            .map(|(_, _, chain)| chain.name.as_str())
            .collect()
    };
    let mut found = Vec::new();
    for (family, table, chain) in &chains {
        let Some(hook) = &chain.hook else { continue };
        let ip = matches!(family, Family::Inet | Family::Ip | Family::Ip6);
        let through = [FORWARD, INPUT].contains(&hook.number) && hook.kind == "filter";
        if !ip || !through || table.starts_with(&ours) {
            continue;
        }
        let rules = kernel.rules(*family, table).map_err(read)?;
        let of_chain =
            |name: &str| -> Vec<&Rule> { rules.iter().filter(|rule| rule.chain == name).collect() };
        let last = of_chain(&chain.name)
            .last()
            .is_some_and(|rule| refuses_all(rule));
        let hook_name = usize::try_from(hook.number)
            .ok()
            .and_then(|at| HOOKS.get(at));
        found.push(Other {
            family: family.word(),
            table: table.clone(),
            chain: chain.name.clone(),
            hook: hook_name.copied().unwrap_or("?"),
            drops: hook.drops || last,
            lets_pass: accepts_link(&rules, &chain.name, bridge, 0),
            owner: owner(table, &names(*family, table)),
        });
    }
    Ok(found)
}

fn owner(table: &str, chains: &[&str]) -> &'static str {
    let has = |start: &str| chains.iter().any(|name| name.starts_with(start));
    if table == "firewalld" {
        "firewalld"
    } else if has("DOCKER") {
        "Docker"
    } else if has("ufw") {
        "ufw"
    } else {
        "somebody else"
    }
}

/// A rule that matches everything and lets nothing pass.
fn refuses_all(rule: &Rule) -> bool {
    let mut rest = rule.expressions.iter().filter(|e| **e != Expr::Counter);
    let first = rest.next();
    let alone = rest.next().is_none();
    alone
        && matches!(
            first,
            Some(Expr::Verdict(Verdict::Drop) | Expr::Reject { .. })
        )
}

/// How deep chains jump (the kernel allows 16).
const DEEPEST: usize = 16;

/// Whether a chain, or one that it jumps to for everything, has a rule that accepts whatever comes by the link.
fn accepts_link(rules: &[Rule], chain: &str, link: &str, depth: usize) -> bool {
    if depth > DEEPEST {
        return false;
    }
    rules.iter().filter(|rule| rule.chain == chain).any(|rule| {
        let conditions: Vec<&Expr> = rule
            .expressions
            .iter()
            .filter(|e| !matches!(e, Expr::Counter))
            .collect();
        match conditions.as_slice() {
            [Expr::Verdict(Verdict::Accept)] => true,
            [Expr::Verdict(Verdict::Jump(next) | Verdict::Goto(next))] => {
                accepts_link(rules, next, link, depth + 1)
            }
            [
                Expr::Meta { key: 6, .. },
                Expr::Compare { data, .. },
                Expr::Verdict(last),
            ] => {
                let name = data.split(|b| *b == 0).next().unwrap_or_default();
                let ours = name == link.as_bytes();
                match last {
                    Verdict::Accept => ours,
                    Verdict::Jump(next) | Verdict::Goto(next) if ours => {
                        accepts_link(rules, next, link, depth + 1)
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    })
}
