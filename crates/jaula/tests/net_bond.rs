//! Several cards as one, and VLANs, in a machine whose kernel has the drivers: what is sent arrives, and goes on arriving
//! when a cable is pulled.

use jaula_testkit::guest::Guest;
use jaula_testkit::skip;
use std::time::Duration;

/// The far side is a switch in a namespace of its own with an address, and one in VLAN 7.
const SCRIPT: &str = r#"
set -e
export JAULA_STORE=/store
# Busybox would take its own.
ip() { /usr/sbin/ip "$@"; }
ping() { /usr/bin/ping "$@"; }
ip link set lo up
mkdir -p /run/netns
ip netns add far
for n in card1 card2; do
  ip link add $n type veth peer name $n netns far
  ip -n far link set $n up
done
ip -n far link add sw type bridge
ip -n far link set card1 master sw
ip -n far link set card2 master sw
ip -n far link set sw up
ip -n far addr add 10.5.0.2/24 dev sw
ip -n far link add link sw name sw.7 type vlan id 7
ip -n far link set sw.7 up
ip -n far addr add 10.7.0.2/24 dev sw.7

jaula net bond pair0 card1 card2
ip addr add 10.5.0.1/24 dev pair0
jaula net vlan pair0 7
ip addr add 10.7.0.1/24 dev pair0.7
ip link set pair0.7 up
jaula net show pair0
grep -q 'Bonding Mode: fault-tolerance (active-backup)' /proc/net/bonding/pair0
ping -c2 -W2 10.5.0.2
ping -c2 -W2 10.7.0.2
active=$(cat /sys/class/net/pair0/bonding/active_slave)
echo first $active
# Somebody pulls the cable that is in use; at least eight answers of twelve are less than a second of silence.
ping -c12 -i0.2 -W1 10.5.0.2 >/said &
sleep 0.5
ip -n far link set $active down
wait
cat /said
echo then $(cat /sys/class/net/pair0/bonding/active_slave)
jaula net rm pair0.7
jaula net rm pair0
ip link show pair0 2>&1 || true

# Both cables again, as one: packets go by each in turn, to a far side that does the same.
ip -n far link del sw.7
ip -n far link del sw
ip -n far link set card1 down
ip -n far link set card2 down
ip -n far link add pair type bond mode balance-rr miimon 100
ip -n far link set card1 master pair
ip -n far link set card2 master pair
ip -n far link set pair up
ip -n far addr add 10.5.0.2/24 dev pair
jaula net bond pair1 card1 card2 --mode balance-rr
grep -q 'load balancing (round-robin)' /proc/net/bonding/pair1
test "$(grep -c 'Slave Interface' /proc/net/bonding/pair1)" = 2
ip addr add 10.5.0.1/24 dev pair1
for card in card1 card2; do cat /sys/class/net/$card/statistics/tx_packets >/before.$card; done
ping -c10 -i0.2 -W2 10.5.0.2
for card in card1 card2; do
  sent=$(($(cat /sys/class/net/$card/statistics/tx_packets) - $(cat /before.$card)))
  echo "$card sent $sent"
  test $sent -ge 4
done
"#;

#[test]
fn a_bond_lives_on_one_cable_and_a_vlan_on_it() {
    let mut guest = match Guest::new() {
        Ok(guest) => guest,
        Err(reason) => skip!("{reason}"),
    };
    for module in [
        "ipv6", "llc", "stp", "bridge", "veth", "garp", "mrp", "8021q", "bonding",
    ] {
        // One that is built in is no module.
        if let Err(error) = guest.modules(&[module]) {
            assert!(!["8021q", "bonding"].contains(&module), "{error}");
        }
    }
    for program in ["/usr/sbin/ip", "/usr/bin/ping"] {
        if let Err(error) = guest.program(program) {
            skip!("{error:#}");
        }
    }
    let program = std::env::var("JAULA_TEST_PROGRAM");
    let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_jaula").to_owned());
    guest.built(program, "/bin/jaula").expect("the program");
    let ran = guest.run(SCRIPT, Duration::from_secs(180)).expect("a run");
    assert_eq!(ran.code, Some(0), "{ran}");
    let text = ran.to_string();
    assert!(text.contains("cards:     card1 up"), "{ran}");
    let after = |word: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(word));
        line.map(str::trim).unwrap_or_default().to_owned()
    };
    let (first, then) = (after("first "), after("then "));
    assert!(["card1", "card2"].contains(&first.as_str()), "{ran}");
    assert!(
        ["card1", "card2"].contains(&then.as_str()) && first != then,
        "{ran}"
    );
    let answers = text
        .lines()
        .find_map(|line| {
            line.split_once("12 packets transmitted, ")?
                .1
                .split(' ')
                .next()
        })
        .and_then(|count| count.parse::<u32>().ok())
        .unwrap_or(0);
    assert!(answers >= 8, "{ran}");
    assert!(
        text.contains("can't find device 'pair0'") || text.contains("does not exist"),
        "{ran}"
    );
}
