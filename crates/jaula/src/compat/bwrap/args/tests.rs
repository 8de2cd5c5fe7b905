use super::*;

fn read(text: &str) -> Result<BwrapSpec, Stop> {
    let words: Vec<OsString> = text.split(' ').map(OsString::from).collect();
    let mut asked = Asked::new(vec![("A".into(), "1".into())]);
    asked.read(&words)?;
    Ok(asked.spec)
}

fn complaint(text: &str) -> String {
    match read(text) {
        Err(Stop::Wrong(why)) => why,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn the_command_follows_the_options() {
    let spec = read("--unshare-pid ls -l --unshare-net").expect("options");
    assert_eq!(spec.command, ["ls", "-l", "--unshare-net"]);
    assert!(spec.pid && !spec.net);
    let spec = read("--unshare-pid -- --odd x").expect("options");
    assert_eq!(spec.command, ["--odd", "x"]);
}

#[test]
fn modifiers_belong_to_the_next_option() {
    let spec = read("--perms 0700 --size 0x10 --tmpfs /a --tmpfs /b x").expect("options");
    let tmpfs = |to: &str, mode, size| TreeSpec::Tmpfs {
        to: to.into(),
        mode,
        size,
    };
    assert_eq!(
        spec.tree,
        [tmpfs("/a", 0o700, Some(16)), tmpfs("/b", 0o755, None)]
    );
    for (text, why) in [
        (
            "--perms 700 --proc /p x",
            "--perms must be followed by an option that creates a file",
        ),
        ("--size 5 --dir /p x", "--size must be followed by --tmpfs"),
        (
            "--perms 700 --perms 700 x",
            "--perms given twice for the same action",
        ),
        (
            "--size 5 --size 5 x",
            "--size given twice for the same action",
        ),
        ("--perms 8 x", "--perms takes an octal argument <= 07777"),
        (
            "--perms 10000 x",
            "--perms takes an octal argument <= 07777",
        ),
        ("--chmod 9 / x", "--chmod takes an octal argument <= 07777"),
        ("--overlay-src /a --chdir / x", OVERLAY_SRC),
        ("--overlay-src /a x", OVERLAY_SRC),
        (
            "--overlay-src /a --ro-overlay /b x",
            "--ro-overlay requires at least two --overlay-src",
        ),
        (
            "--tmp-overlay /b x",
            "--tmp-overlay requires at least one --overlay-src",
        ),
    ] {
        assert_eq!(complaint(text), why, "{text}");
    }
    for size in ["0", "12x", "-1", "18446744073709551616", "08"] {
        let why = complaint(&format!("--size {size} --tmpfs /a x"));
        assert_eq!(why, "--size takes a non-zero number of bytes", "{size}");
    }
    assert!(
        complaint("--size 9223372036854775809 --tmpfs /a x")
            .starts_with("--size (for tmpfs) is limited to")
    );
}

#[test]
fn an_overlay_has_its_last_source_uppermost() {
    let spec = read("--overlay-src a --overlay-src b --overlay u w /o x").expect("options");
    let top = OverlayTop::Directory {
        upper: "u".into(),
        work: "w".into(),
    };
    let overlay = TreeSpec::Overlay {
        lower: vec!["b".into(), "a".into()],
        to: "/o".into(),
        top,
    };
    assert_eq!(spec.tree, [overlay]);
}

#[test]
fn what_is_missing_or_wrong_is_told_in_bwraps_words() {
    for (text, why) in [
        ("--bind /a", "--bind takes two arguments"),
        ("--ro-bind-try", "--ro-bind-try takes two arguments"),
        ("--overlay a b", "--overlay takes three arguments"),
        ("--chdir", "--chdir takes one argument"),
        ("--remount-ro", "--remount-ro takes one argument"),
        ("--dev", "--dev takes an argument"),
        ("--info-fd x y", "Invalid fd: x"),
        ("--info-fd -1 y", "Invalid fd: -1"),
        ("--file 1x /a y", "Invalid fd: 1x"),
        ("--uid x y", "Invalid uid: x"),
        ("--gid -1 y", "Invalid gid: -1"),
        ("--cap-add kill x", "unknown cap: kill"),
        ("--unshare-al x", "Unknown option --unshare-al"),
        ("-x", "Unknown option -x"),
        ("--setenv A=B C x", "setenv failed"),
        ("--argv0 a --argv0 b x", "--argv0 used multiple times"),
    ] {
        assert_eq!(complaint(text), why, "{text}");
    }
}

#[test]
fn the_environment_keeps_its_order() {
    let spec = read("--setenv B 2 --setenv A 3 --setenv C 4 --unsetenv B x").expect("options");
    let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    assert_eq!(spec.env, [pair("A", "3"), pair("C", "4")]);
    assert!(read("--clearenv x").expect("options").env.is_empty());
}

#[test]
fn capabilities_add_up() {
    let caps = |text: &str| read(text).expect(text).capabilities;
    assert_eq!(caps("x"), None);
    assert_eq!(
        caps("--cap-add CAP_KILL --cap-add cap_chown x"),
        Some(CapSet(0b10_0001))
    );
    assert_eq!(
        caps("--cap-add ALL --cap-drop CAP_CHOWN x"),
        Some(CapSet(u64::MAX - 1))
    );
}
