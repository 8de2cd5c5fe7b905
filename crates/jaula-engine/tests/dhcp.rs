//! Our client with servers of others, and our server with clients of others, each in namespaces of its own.

use jaula_engine::dhcp::{AddressClient, AddressServer, DhcpError, Ended, LeaseBook};
use jaula_repo::dhcp::{Lease, News, ServerSettings};
use jaula_testkit::kernel_test;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

fn sh(line: &str) -> std::process::Output {
    Command::new("bash").args(["-c", line]).output().unwrap()
}

#[track_caller]
fn ok(line: &str) -> String {
    let output = sh(line);
    assert!(
        output.status.success(),
        "{line}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(line: &str) -> Running {
    Running(
        Command::new("bash")
            .args(["-c", &format!("exec {line}")])
            .spawn()
            .unwrap(),
    )
}

/// Two ends of a wire: `eth0` here, `far0` in the namespace `far` with 192.0.2.1.
fn wire() {
    ok(
        "mount -t tmpfs none /run && mount -t tmpfs none /tmp && mkdir -p /run/netns && ip link set lo up",
    );
    ok(
        "ip netns add far && ip link add eth0 type veth peer name far0 netns far && ip link set eth0 address 02:00:00:00:00:07 up",
    );
    ok(
        "nsenter --net=/run/netns/far bash -c 'ip link set lo up; ip addr add 192.0.2.1/24 dev far0; ip link set far0 up'",
    );
}

fn far(line: &str) -> String {
    format!("nsenter --net=/run/netns/far {line}")
}

const DNSMASQ: &str = "dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=far0 --bind-interfaces \
    --dhcp-leasefile=/run/leases --pid-file= --dhcp-authoritative --log-dhcp \
    --dhcp-range=192.0.2.50,192.0.2.60,2m --dhcp-option=option:dns-server,192.0.2.53,192.0.2.54 \
    --dhcp-option=option:domain-name,example.org --dhcp-option=option:domain-search,example.org,example.net \
    --dhcp-option=option:mtu,1400 --dhcp-option=option:ntp-server,192.0.2.123 \
    --dhcp-option=option:classless-static-route,198.51.100.0/24,192.0.2.9,0.0.0.0/0,192.0.2.1";

/// Runs a client until it has an address.
fn lease(client: &mut AddressClient, seconds: u64) -> Option<Lease> {
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut found = None;
    let mut tell = |news: &News| {
        if let News::Bound(lease) = news {
            found = Some((**lease).clone());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    client.run(Some(until), &mut tell).unwrap();
    found
}

fn check(lease: &Lease) {
    assert_eq!(lease.prefix, 24);
    assert_eq!(lease.server, Ipv4Addr::new(192, 0, 2, 1));
    let servers = [53, 54].map(|n| Ipv4Addr::new(192, 0, 2, n));
    assert_eq!(lease.name_servers, servers);
    assert_eq!(lease.domain.as_deref(), Some("example.org"));
    assert_eq!(lease.search, ["example.org", "example.net"]);
    assert_eq!(lease.mtu, Some(1400));
    assert_eq!(lease.time_servers, [Ipv4Addr::new(192, 0, 2, 123)]);
    let routes: Vec<(String, u8, Ipv4Addr)> = lease
        .routes
        .iter()
        .map(|route| (route.to.to_string(), route.prefix, route.by))
        .collect();
    let wanted = [
        ("198.51.100.0".to_owned(), 24, Ipv4Addr::new(192, 0, 2, 9)),
        ("0.0.0.0".to_owned(), 0, Ipv4Addr::new(192, 0, 2, 1)),
    ];
    assert_eq!(routes, wanted);
}

#[test]
fn dnsmasq_gives_our_client_an_address() {
    kernel_test!();
    if !sh("dnsmasq --version").status.success() {
        jaula_testkit::skip!("no dnsmasq");
    }
    wire();
    // Nobody answers at first.
    let mut client = AddressClient::open("eth0", Some("jaula".into())).unwrap();
    assert_eq!(lease(&mut client, 1), None);
    let server = start(&far(&format!("{DNSMASQ} 2>/run/log")));
    let began = Instant::now();
    let first = lease(&mut client, 20).expect("an address");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    check(&first);
    assert_eq!(first.seconds, Some(120));
    let leases = std::fs::read_to_string("/run/leases").unwrap();
    assert!(
        leases.contains(&first.address.to_string()) && leases.contains("jaula"),
        "{leases}"
    );
    // Given back, the server knows.
    client.release().unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while !std::fs::read_to_string("/run/leases").unwrap().is_empty() {
        assert!(Instant::now() < until, "not released");
    }
    // An address that somebody else has is declined, and another one taken.
    let taken = first.address;
    ok("ip netns add third");
    ok(&far(
        "ip link add link far0 name mv0 netns third type macvlan mode bridge",
    ));
    ok(&format!(
        "nsenter --net=/run/netns/third bash -c 'ip addr add {taken}/24 dev mv0; ip link set mv0 up'"
    ));
    drop(server);
    // This one hands out the address that it believes free: it does not ask around.
    let _server = start(&far(&format!(
        "{DNSMASQ} --no-ping --dhcp-host=02:00:00:00:00:07,{taken},2m 2>/run/log"
    )));
    let mut client = AddressClient::open("eth0", None).unwrap();
    let second = lease(&mut client, 40).expect("an address");
    assert_ne!(second.address, taken);
    let log = std::fs::read_to_string("/run/log").unwrap();
    assert!(log.contains("DHCPDECLINE"), "{log}");
}

#[test]
fn iscs_server_gives_our_client_an_address() {
    kernel_test!();
    if sh("dhcpd --version").status.code() != Some(0) {
        jaula_testkit::skip!("no dhcpd of ISC");
    }
    wire();
    std::fs::write(
        "/run/dhcpd.conf",
        "option classless code 121 = array of unsigned integer 8;\n\
         subnet 192.0.2.0 netmask 255.255.255.0 { range 192.0.2.70 192.0.2.80; default-lease-time 300;\n\
         option routers 192.0.2.1; option domain-name-servers 192.0.2.53, 192.0.2.54;\n\
         option domain-name \"example.org\"; option domain-search \"example.org\", \"example.net\";\n\
         option interface-mtu 1400; option ntp-servers 192.0.2.123;\n\
         option classless 24,198,51,100,192,0,2,9, 0,192,0,2,1; }\n",
    )
    .unwrap();
    std::fs::write("/run/dhcpd.leases", "").unwrap();
    let _server = start(&far(
        "dhcpd -f -q --no-pid -cf /run/dhcpd.conf -lf /run/dhcpd.leases far0 2>/run/dhcpd.log",
    ));
    let mut client = AddressClient::open("eth0", Some("jaula".into())).unwrap();
    let Some(found) = lease(&mut client, 20) else {
        let log = std::fs::read_to_string("/run/dhcpd.log").unwrap();
        // A confined server may not read the test's files.
        jaula_testkit::skip!("dhcpd did not start: {log}");
    };
    check(&found);
    assert_eq!(found.seconds, Some(300));
}

fn serving(seconds: u32) -> ServerSettings {
    ServerSettings {
        address: Ipv4Addr::new(192, 0, 2, 1),
        prefix: 24,
        pool: Some((Ipv4Addr::new(192, 0, 2, 90), Ipv4Addr::new(192, 0, 2, 99))),
        fixed: [([2, 0, 0, 0, 0, 9], Ipv4Addr::new(192, 0, 2, 9))].into(),
        taken: vec![Ipv4Addr::new(192, 0, 2, 90)],
        router: Some(Ipv4Addr::new(192, 0, 2, 1)),
        name_servers: vec![Ipv4Addr::new(192, 0, 2, 1)],
        domain: Some("alcantara".into()),
        search: vec!["alcantara".into()],
        routes: Vec::new(),
        mtu: None,
        seconds,
    }
}

/// Serves until `done` says so, at most for so many seconds.
fn serve(server: &mut AddressServer, seconds: u64, done: &mut dyn FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        assert!(Instant::now() < until, "not done: {:?}", server.held());
        server.serve(Duration::from_millis(50)).unwrap();
    }
}

#[test]
fn debians_dhclient_gets_an_address_of_our_server() {
    kernel_test!();
    if !sh("command -v dhclient").status.success() {
        jaula_testkit::skip!("no dhclient");
    }
    wire();
    ok("ip addr add 192.0.2.1/24 dev eth0");
    ok(&far("ip addr del 192.0.2.1/24 dev far0"));
    std::fs::write(
        "/run/script",
        "#!/bin/sh\nenv | sort >/run/said.$reason\n[ \"$reason\" = BOUND ] && ip addr add $new_ip_address/24 dev far0\nexit 0\n",
    )
    .unwrap();
    ok("chmod +x /run/script");
    let book = || LeaseBook::new("/run/book".into());
    let mut server = AddressServer::open("eth0", serving(600), book()).unwrap();
    for (mac, address) in [("08", "192.0.2.91"), ("09", "192.0.2.9")] {
        ok(&far(&format!("ip link set far0 down; {}", "true")));
        ok(&far(&format!(
            "ip link set far0 address 02:00:00:00:00:{mac} up"
        )));
        sh("rm -f /run/said.*");
        let client = start(&far(&format!(
            "dhclient -d -1 -sf /run/script -lf /run/client.{mac} -pf /run/pid.{mac} -cf /dev/null far0 2>/run/dhclient.log"
        )));
        let mut said = String::new();
        serve(&mut server, 20, &mut || {
            said = std::fs::read_to_string("/run/said.BOUND").unwrap_or_default();
            said.contains("new_ip_address")
        });
        for line in [
            &format!("new_ip_address={address}"),
            "new_subnet_mask=255.255.255.0",
            "new_routers=192.0.2.1",
            "new_domain_name_servers=192.0.2.1",
            "new_domain_name=alcantara",
            "new_dhcp_lease_time=600",
            "new_broadcast_address=192.0.2.255",
        ] {
            assert!(said.lines().any(|l| l == line), "{line}\n{said}");
        }
        drop(client);
        ok(&far("ip addr flush dev far0"));
    }
    // The book is read again.
    let held = server.held().clone();
    assert_eq!(held.len(), 2);
    drop(server);
    let server = AddressServer::open("eth0", serving(600), book()).unwrap();
    assert_eq!(*server.held(), held);
    // Two servers on one link: the second is told so.
    let second = AddressServer::open("eth0", serving(600), book()).unwrap_err();
    assert!(
        matches!(&second, DhcpError::Link { source, .. } if source.errno.0 == 98),
        "{second}"
    );
}

#[test]
fn our_client_and_our_server_renew_and_end_together() {
    kernel_test!();
    wire();
    ok("ip addr add 192.0.2.1/24 dev eth0");
    ok(&far("ip addr del 192.0.2.1/24 dev far0"));
    // The client lives in the far namespace: a thread cannot, so the server's end is moved there instead.
    ok(
        "ip link add here0 type veth peer name here1 && ip link set here0 up && ip link set here1 up",
    );
    ok("ip addr add 192.0.2.1/24 dev here0");
    let book = LeaseBook::new("/run/book".into());
    let mut server = AddressServer::open("here0", serving(12), book).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let served = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            server.serve(Duration::from_millis(20)).unwrap();
        }
        server.held().clone()
    });
    let mut client = AddressClient::open("here1", None).unwrap();
    let began = Instant::now();
    let mut times = Vec::new();
    let mut tell = |news: &News| {
        assert!(
            matches!(news, News::Bound(lease) if lease.address == Ipv4Addr::new(192, 0, 2, 91))
        );
        times.push(began.elapsed());
        if times.len() == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let until = Instant::now() + Duration::from_secs(30);
    assert_eq!(client.run(Some(until), &mut tell).unwrap(), Ended::Told);
    // Half of twelve seconds, twice.
    let between = times[2] - times[0];
    assert!(
        between >= Duration::from_secs(11) && between < Duration::from_secs(15),
        "{times:?}"
    );
    client.release().unwrap();
    // Once more answered, so that the release was heard.
    let mut other = AddressClient::open("here1", None).unwrap();
    lease(&mut other, 10).expect("an address");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(served.join().unwrap().len(), 1);
}
