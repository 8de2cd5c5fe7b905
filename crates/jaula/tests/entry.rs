//! What a login may take of the host, and the ways in where ordinary users get no user namespaces, in namespaces that
//! play the host.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod host;

use host::{Host, said, sh};
use jaula_testkit::{kernel_test, skip};

/// A host, or the test is skipped.
macro_rules! host {
    ($($tool:literal),*) => {
        match Host::start(&[$($tool),*]) {
            Ok(host) => host,
            Err(reason) => skip!("{reason}"),
        }
    };
}

/// A program that forks until it is refused, and tells how far it came; what it forked stays until it ends.
const FORKS: &str = "n=0; while [ $n -lt 2000 ]; do sleep 60 & n=$((n+1)); echo $n >count; done 2>/dev/null; echo all\n";

#[test]
fn a_fork_bomb_in_a_login_ends_by_itself_and_what_it_takes_is_bounded() {
    kernel_test!(Root);
    let host = host!("su", "python3");
    host.jail("/srv/golden");
    sh("jaula compat jk_cp -j /srv/golden /bin/sleep");
    let plan = sh("jaula user add /srv/golden ana --shell /bin/sh --plan");
    let text = "+# A session has at most: processes=256,data=2G,files=1024,core=0\n";
    assert!(plan.contains(text), "{plan}");
    sh("jaula user add /srv/golden ana --shell /bin/bash");
    assert_eq!(
        sh("su ana -c 'ulimit -u; ulimit -d; ulimit -n; ulimit -c'"),
        "256\n2097152\n1024\n0\n"
    );
    std::fs::write("/srv/golden/home/ana/bomb", FORKS).expect("a file");
    // Its shells and the last one that came to be.
    let forked = |limit: u32| {
        let (code, text) = said("su ana -c 'sh bomb'");
        assert!(!text.contains("all\n"), "{limit}: {code} {text}");
        let count: u32 = sh("cat /srv/golden/home/ana/count")
            .trim()
            .parse()
            .expect("a number");
        assert!((limit - 8..limit).contains(&count), "{limit}: {count}");
        // Nothing of it is left, and the next one is let in.
        assert_eq!(sh("su ana -c 'echo in'"), "in\n");
    };
    forked(256);
    // What the host gives less of is less.
    assert_eq!(sh("prlimit --nproc=30:30 -- su ana -c 'ulimit -u'"), "30\n");
    sh("jaula user set /srv/golden ana --limit processes=40,data=64M");
    forked(40);
    sh(
        "jaula compat jk_cp -j /srv/golden /usr/bin/python3; cp -a /usr/lib/python3* /srv/golden/usr/lib/",
    );
    let takes = "python3 -c \"b = bytearray(200 << 20); print(len(b))\"";
    let (code, text) = said(&format!("su ana -c '{takes}'"));
    assert!(code == 1 && text.contains("MemoryError"), "{code} {text}");
    sh("jaula user set /srv/golden ana --limit processes=unlimited,data=unlimited");
    assert_eq!(sh(&format!("su ana -c '{takes}'")), "209715200\n");
    assert_eq!(sh("su ana -c 'ulimit -d; ulimit -n'"), "unlimited\n1024\n");
}
