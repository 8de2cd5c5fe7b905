//! Services as data.

use super::*;

fn spec() -> UnitSpec {
    UnitSpec {
        jail: "web".parse().expect("a name"),
        program: "/usr/bin/jaula".into(),
        store: None,
        words: [
            "web",
            "--log",
            "plain",
            "--",
            "nginx",
            "-g",
            "daemon off; # 100% $x \"q\"",
            ";",
        ]
        .map(str::to_owned)
        .to_vec(),
        about: "nginx".into(),
        listen: Vec::new(),
        stop_after: 20,
        user: false,
    }
}

#[test]
fn a_unit_holds_every_word_as_it_was_typed() {
    let all = units(&spec()).expect("units");
    let [unit] = &all[..] else { panic!("{all:?}") };
    assert_eq!(unit.name, "jaula-web.service");
    assert!(is_ours(&unit.text));
    let line = "ExecStart=/usr/bin/jaula service run web --log plain -- nginx -g \"daemon off; # 100%% $$x \\\"q\\\"\" \\;\n";
    assert!(unit.text.contains(line), "{}", unit.text);
    for part in [
        "KillMode=mixed",
        "TimeoutStopSec=30",
        "SyslogIdentifier=web",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ] {
        assert!(unit.text.contains(part), "{part}");
    }
}

#[test]
fn sockets_get_a_unit_of_their_own() {
    let spec = UnitSpec {
        listen: vec![
            "8080".parse().expect("a port"),
            "[::1]:53/udp".parse().expect("an address"),
        ],
        ..spec()
    };
    let all = units(&spec).expect("units");
    assert_eq!(all.len(), 2);
    assert!(all[0].text.contains("Requires=jaula-web.socket"));
    assert!(
        all[1]
            .text
            .contains("ListenStream=8080\nListenDatagram=[::1]:53\nService=jaula-web.service\n"),
        "{}",
        all[1].text
    );
}

#[test]
fn where_nothing_can_listen_is_refused() {
    for word in [
        "/run/x\\",
        "/run/\\x2d",
        "",
        "0",
        "65536",
        "x",
        "1.2.3.4",
        "1.2.3.4:x",
        "+80",
        "/a b",
        "/x/",
        "80\nExecStart=/bin/sh",
        "%n:80",
    ] {
        assert!(word.parse::<Listen>().is_err(), "{word:?}");
    }
    for word in ["80", "127.0.0.1:80", "[::]:443", "/run/x.sock", "53/udp"] {
        assert!(word.parse::<Listen>().is_ok(), "{word:?}");
    }
    assert!(quoted("a\0b").is_err());
}

#[test]
fn pauses_grow_until_a_run_lasts() {
    let mut pauses = BackOff::default();
    let short = Duration::from_millis(1);
    let found: Vec<u128> = (0..10).map(|_| pauses.after(short).as_millis()).collect();
    assert_eq!(
        found,
        [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]
    );
    assert_eq!(pauses.after(Duration::from_secs(11)).as_millis(), 200);
    assert!(
        Restart::OnFailure.again(1)
            && !Restart::OnFailure.again(0)
            && Restart::Always.again(0)
            && !Restart::Never.again(1)
    );
}

#[test]
fn the_table_of_services_is_sound() {
    let all = known().expect("the table");
    assert!(all.contains_key("nginx"));
    for (name, service) in all {
        assert!(
            service.program.is_absolute()
                && service.command.first().map(std::path::Path::new) == Some(&service.program),
            "{name}"
        );
        assert!(
            Known::number(&service.reload).is_some() && Known::number(&service.stop).is_some(),
            "{name}"
        );
        assert!(
            service
                .dirs
                .iter()
                .chain(&service.logs)
                .all(|path| path.is_absolute()),
            "{name}"
        );
    }
}

#[test]
fn a_bucket_lets_a_peak_through_once() {
    let flow = Flow {
        base: 100,
        peak: 300,
        interval: Duration::from_secs(10),
    };
    let at = Duration::from_secs;
    let mut bucket = Bucket::new(flow, at(0));
    // Nothing came before: the peak counts.
    assert_eq!(bucket.take(300, at(1)), None);
    assert_eq!(bucket.take(1, at(4)), Some(at(6)));
    // The interval before was full: now it is the base.
    assert_eq!(bucket.take(100, at(10)), None);
    assert_eq!(bucket.take(1, at(12)), Some(at(8)));
    // A quiet one gives the peak back.
    assert_eq!(bucket.take(50, at(20)), None);
    assert_eq!(bucket.take(300, at(30)), None);
    assert_eq!(bucket.take(1, at(31)), Some(at(9)));
}

#[test]
fn flows_are_within_the_tools_ranges() {
    let parse = Flow::parse;
    assert_eq!(parse(None, None, None), Ok(Flow::default()));
    let flow = parse(Some("10"), Some("100"), Some("0.5")).expect("numbers");
    assert_eq!(
        (flow.base, flow.peak, flow.interval),
        (10, 100, Duration::from_millis(500))
    );
    for (base, peak, interval) in [
        ("9", "100", "1"),
        ("10", "99", "1"),
        ("10", "100", "0.001"),
        ("10", "100", "61"),
        ("x", "100", "1"),
        ("10", "100", "NaN"),
    ] {
        assert!(
            parse(Some(base), Some(peak), Some(interval)).is_err(),
            "{base} {peak} {interval}"
        );
    }
}
