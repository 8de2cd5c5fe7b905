//! Apps as data, and who reigns over them.

use super::*;
use std::collections::BTreeMap;
use std::time::Duration;

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn files(all: &[(&str, i64)]) -> BTreeMap<String, Stamp> {
    let stamp = |mtime| Stamp {
        mtime: (mtime, 0),
        size: 1,
        inode: 1,
    };
    all.iter()
        .map(|(name, mtime)| ((*name).to_owned(), stamp(*mtime)))
        .collect()
}

fn reign() -> Reign {
    Reign::new(Duration::from_secs(5))
}

#[test]
fn files_that_come_change_and_go() {
    let mut reign = reign();
    let uno = || "uno.ini".to_owned();
    assert_eq!(
        reign.files(at(0), &files(&[("uno.ini", 1)])),
        [Order::Start(uno())]
    );
    assert_eq!(reign.files(at(1), &files(&[("uno.ini", 1)])), []);
    assert_eq!(
        reign.files(at(2), &files(&[("uno.ini", 2)])),
        [Order::Renew(uno())]
    );
    assert_eq!(reign.files(at(3), &files(&[])), [Order::Stop(uno())]);
    assert_eq!(reign.files(at(4), &files(&[])), []);
    // Patience ends once.
    assert_eq!(reign.next(), Some(at(5003)));
    assert_eq!(reign.due(at(5003)), [Order::Kill(uno())]);
    assert_eq!(reign.due(at(9000)), []);
    assert_eq!(reign.ended(at(9001), "uno.ini"), None);
    assert!(reign.vassals().is_empty() && !reign.is_over());
}

#[test]
fn one_that_ends_comes_back_after_pauses_that_grow() {
    let mut reign = reign();
    reign.files(at(0), &files(&[("uno.ini", 1)]));
    let mut now = 0;
    for pause in [200, 400, 800] {
        assert_eq!(reign.ended(at(now), "uno.ini"), Some(at(pause)));
        assert_eq!(reign.due(at(now + pause - 1)), []);
        now += pause;
        assert_eq!(reign.next(), Some(at(now)));
        assert_eq!(reign.due(at(now)).len(), 1);
    }
    // A change of its file begins afresh, at once.
    reign.ended(at(now), "uno.ini");
    assert_eq!(reign.files(at(now), &files(&[("uno.ini", 2)])).len(), 1);
    assert_eq!(reign.ended(at(now), "uno.ini"), Some(at(200)));
    let vassal = &reign.vassals()["uno.ini"];
    assert_eq!((vassal.starts, vassal.born), (5, Some(at(0))));
}

#[test]
fn one_that_has_to_be_made_anew_ends_first() {
    let mut reign = reign();
    reign.files(at(0), &files(&[("uno.ini", 1)]));
    assert_eq!(
        reign.restart(at(1), "uno.ini"),
        Some(Order::Stop("uno.ini".into()))
    );
    assert_eq!(reign.ended(at(2), "uno.ini"), None);
    assert_eq!(reign.due(at(2)), [Order::Start("uno.ini".into())]);
    // Gone and back while it ends.
    reign.files(at(3), &files(&[]));
    reign.files(at(4), &files(&[("uno.ini", 1)]));
    reign.ended(at(5), "uno.ini");
    assert_eq!(reign.due(at(5)), [Order::Start("uno.ini".into())]);
    // Gone for good.
    reign.restart(at(6), "uno.ini");
    reign.files(at(7), &files(&[]));
    reign.ended(at(8), "uno.ini");
    assert!(reign.vassals().is_empty());
}

#[test]
fn a_file_that_makes_no_sense_is_waited_for() {
    let mut reign = reign();
    reign.files(at(0), &files(&[("uno.ini", 1), ("dos.ini", 1)]));
    reign.curse("uno.ini", false);
    reign.curse("dos.ini", true);
    assert_eq!(reign.vassals()["uno.ini"].state, State::Cursed);
    assert_eq!(reign.vassals()["dos.ini"].state, State::Running);
    assert_eq!(reign.next(), None);
    let orders = reign.files(at(1), &files(&[("uno.ini", 2), ("dos.ini", 1)]));
    assert_eq!(orders, [Order::Start("uno.ini".into())]);
}

#[test]
fn the_end_is_everybodys() {
    let mut reign = reign();
    let all = files(&[("dos.ini", 1), ("tres.ini", 1), ("uno.ini", 1)]);
    reign.files(at(0), &all);
    reign.ended(at(1), "tres.ini");
    assert_eq!(reign.renew().len(), 2);
    let stop = |name: &str| Order::Stop(name.to_owned());
    assert_eq!(reign.end(at(2)), [stop("dos.ini"), stop("uno.ini")]);
    assert_eq!(reign.files(at(3), &all), []);
    reign.ended(at(4), "uno.ini");
    assert!(!reign.is_over());
    reign.ended(at(5), "dos.ini");
    assert!(reign.is_over());
}

#[test]
fn uwsgis_files_keep_what_is_uwsgis() {
    let text = "; mine\n[uwsgi]\nnamespace = /srv/jail:my-host\nplugin=python3\nnamespace-keep-mount=/run/x:/y\n\
                master\n[other]\nnamespace = no\n";
    let app = App::read("uno.ini", text.as_bytes()).expect("an app");
    assert_eq!(app.root.as_deref(), Some("/srv/jail/"));
    let options = [
        "--as-pid-1",
        "--hostname=my-host",
        "--net=host",
        "--write",
        "--bind=/run/x:/y",
    ];
    assert_eq!(app.options, options);
    assert_eq!(app.command, ["uwsgi", "--ini", "/run/jaula-app/uno.ini"]);
    let rest = "; mine\n[uwsgi]\n\nplugin=python3\n\nmaster\n[other]\nnamespace = no\n";
    assert_eq!(app.config, Some(("uno.ini".into(), rest.into())));
    assert_eq!(
        (app.reload.as_deref(), app.stop.as_str()),
        (Some("HUP"), "INT")
    );
    // Without a namespace: the host's programs, under its own name.
    let app = App::read("dos.ini", b"[uwsgi]\nns-net\nns = /\n").expect("an app");
    assert_eq!(app.options, ["--as-pid-1", "--hostname=dos", "--net=none"]);
    assert_eq!(app.root, None);
}

#[test]
fn uwsgis_arguments_keep_what_is_uwsgis() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let host = "app".parse().expect("a name");
    let line = "--master --namespace /srv/j:beautiful --http-socket :80 --ns-net --namespace-keep-mount=/tmp";
    let app = App::of_arguments(&words(line), &host).expect("an app");
    assert_eq!(app.command, ["uwsgi", "--master", "--http-socket", ":80"]);
    let options = [
        "--as-pid-1",
        "--hostname=beautiful",
        "--net=none",
        "--write",
        "--bind=/tmp:/tmp",
    ];
    assert_eq!(app.options, options);
    assert!(App::of_arguments(&words("--namespace"), &host).is_err());
}

#[test]
fn our_own_files_are_read_strictly() {
    let text = "command = [\"python3\", \"-m\", \"http.server\"]\nnet = [\"host\"]\nbind = [\"/srv/w:/w:ro\"]\ncwd = \"/w\"\n\
                limit = [\"memory=64M\"]\nroot = \"debian\"\nstop = \"INT\"\n";
    let app = App::read("web.toml", text.as_bytes()).expect("an app");
    let options = [
        "--hostname=web",
        "--net=host",
        "--bind=/srv/w:/w:ro",
        "--limit=memory=64M",
        "--cwd=/w",
    ];
    assert_eq!(app.options, options);
    assert_eq!(
        (app.root.as_deref(), app.stop.as_str()),
        (Some("debian"), "INT")
    );
    for (name, text, says) in [
        (
            "web.toml",
            "command = [\"x\"]\nnett = 1\n",
            "line 2, column 1",
        ),
        ("web.toml", "command = []\n", "empty"),
        (
            "web.toml",
            "command = [\"x\"]\nhostname = \"a b\"\n",
            "hostname",
        ),
        ("a b.toml", "command = [\"x\"]\n", "name"),
        ("web.ini", "plugin = x\n", "line 1"),
        ("web.ini", "[other]\nx = y\n", "[uwsgi]"),
        ("web.ini", "[uwsgi\n", "line 1"),
        (
            "web.ini",
            "[uwsgi]\nnamespace = jail\n",
            "line 2: namespace = \"jail\"",
        ),
        ("web.ini", "[uwsgi]\nnamespace = /j:a/b\n", "line 2"),
        (
            "web.ini",
            "[uwsgi]\nnamespace-keep-mount = /a:b\n",
            "not absolute",
        ),
    ] {
        let error = App::read(name, text.as_bytes())
            .expect_err(text)
            .to_string();
        assert!(error.contains(says), "{text:?}: {error}");
    }
    assert_eq!(App::read("web.ini", b"\xff"), Err(AppError::NotText));
    for (name, is) in [
        ("a.ini", true),
        ("a.toml", true),
        (".a.ini", false),
        ("a.xml", false),
        ("ini", false),
    ] {
        assert_eq!(is_app(name), is, "{name}");
    }
}
