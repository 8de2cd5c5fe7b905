use super::*;

fn bad(text: &str) -> String {
    Preferences::parse("pins", text).unwrap_err().to_string()
}

#[test]
fn what_is_not_understood_is_named_with_its_place() {
    let rows = [
        (
            "Package: a\nPin: release a=x\nPin-Prio: 1\n",
            "line 3, column 1: unknown key \"Pin-Prio\": there are Package, Pin, Pin-Priority and Explanation",
        ),
        (
            "Package: a\nPin: release a=x, z=y\nPin-Priority: 1\n",
            "line 2, column 19: unknown key \"z\" of a release: there are a, n, v, c, o, l and b",
        ),
        (
            "Package: a\nPin: orgin x\nPin-Priority: 1\n",
            "line 2, column 6: unknown pin \"orgin\": there are release, origin and version",
        ),
        (
            "Package: a\nPin: release a=x\nPin-Priority: 0\n",
            "line 3, column 15: a priority of 0 means nothing: leave the record out, or use a negative one",
        ),
        (
            "Package: a\nPin: release a=x\nPin-Priority: 40000\n",
            "line 3, column 15: \"40000\" is no priority: a number from -32768 to 32767",
        ),
        (
            "Package: a\nPin: release a=x\nPin-Priority: never\n",
            "line 3, column 15: `never` is for records of `Package: *` alone",
        ),
        (
            "Package: *\nPin: version 1\nPin-Priority: 1\n",
            "line 2, column 6: `Package: *` cannot be pinned to a version: name packages, or pin a release",
        ),
        (
            "Package: a\nPin: release a=x\n",
            "line 1, column 1: the record has no Pin-Priority",
        ),
        (
            "# c\n\nPackage: a\nPin-Priority: 1\n",
            "line 3, column 1: the record has no Pin",
        ),
        (
            "Pin: release a=x\nPin-Priority: 1\n",
            "line 1, column 1: the record has no Package",
        ),
        (
            "Package: a b\n /c(/\nPin: release a=x\nPin-Priority: 1\n",
            "line 2, column 2: a bad regular expression \"c(\": ",
        ),
        (
            "Package: a ü\nPin: release a=x\nPin-Priority: 1\n",
            "line 1, column 12: \"ü\" is no package name",
        ),
        (
            "Package: a:ü\nPin: release a=x\nPin-Priority: 1\n",
            "line 1, column 10: \"ü\" is no architecture",
        ),
        (
            "Package: a\nPackage: b\n",
            "line 2, column 1: Package twice in one record",
        ),
        (
            "Package: a\nPin: release a=\nPin-Priority: 1\n",
            "line 2, column 14: a= without a value",
        ),
        (
            "Package: a\nPin: release a=x, a=y\nPin-Priority: 1\n",
            "line 2, column 19: a= twice",
        ),
        (
            "Package: a\nPin: release\nPin-Priority: 1\n",
            "line 2, column 13: what release is pinned to is missing",
        ),
        (
            "Package: a\nPin: release a=x\n b\nPin-Priority: 1\n",
            "line 3, column 2: Pin cannot go on in a second line",
        ),
        ("nonsense\n", "line 1, column 1: expected `Field: value`"),
        (" x\n", "line 1, column 2: a continued line without a field"),
        (
            "Package: a\u{7}\n",
            "line 1, column 11: a control character",
        ),
    ];
    for (text, expected) in rows {
        let found = bad(text);
        assert!(found.starts_with(&format!("pins, {expected}")), "{found}");
    }
    assert!(bad(&"#".repeat(MAX_BYTES + 1)).contains("longer than"));
}

#[test]
fn comments_and_folded_names_are_read() {
    let text = "# all of it\nExplanation: why\n and more\nPackage: a\n b /^c/\n# within\nPin: release n=bookworm, c=main\nPin-Priority: -1\n\n\nPackage: *\nPin: origin \"\"\nPin-Priority: never\n";
    assert_eq!(Preferences::parse("x", text).unwrap().len(), 2);
    assert!(Preferences::parse("x", "").unwrap().is_empty());
    assert!(
        Preferences::parse("x", "# only\n\n  \n")
            .unwrap()
            .is_empty()
    );
}

#[test]
fn names_that_apt_would_pass_over_are_known() {
    for good in ["99mine", "a_b-c", "x.pref"] {
        assert!(is_preferences_name(good), "{good}");
    }
    for bad in ["", ".pref", "a.bak", "a/b", "a b", "a.pref~", "../x"] {
        assert!(!is_preferences_name(bad), "{bad}");
    }
}

fn facts(archive: &str, codename: &str, site: &str) -> ReleaseFacts {
    ReleaseFacts {
        archive: Some(archive.into()),
        codename: Some(codename.into()),
        version: Some("12.5".into()),
        origin: Some("Debian".into()),
        label: Some("Debian".into()),
        component: Some("main".into()),
        architecture: Some("amd64".into()),
        site: site.into(),
        ..ReleaseFacts::default()
    }
}

fn policy(text: &str) -> Policy {
    Policy::new("amd64", [Preferences::parse("x", text).unwrap()])
}

#[test]
fn sources_get_the_first_record_that_fits() {
    let stable = facts("stable", "bookworm", "deb.debian.org");
    let text = "Package: *\nPin: release a=testing\nPin-Priority: 10\n\nPackage: *\nPin: release n=book*, v=12*\nPin-Priority: 20\n\nPackage: *\nPin: origin *.debian.org\nPin-Priority: 30\n";
    assert_eq!(policy(text).of_source(&stable), 20);
    assert_eq!(
        policy(text).of_source(&facts("x", "y", "ftp.debian.org")),
        30
    );
    assert_eq!(policy(text).of_source(&facts("x", "y", "example.org")), 500);
    let plain = policy("");
    let mut other = stable.clone();
    other.not_automatic = true;
    assert_eq!(plain.of_source(&other), 1);
    other.but_automatic_upgrades = true;
    assert_eq!(plain.of_source(&other), 100);
    assert_eq!(
        plain.clone().with_target("bookworm").of_source(&stable),
        990
    );
    assert_eq!(plain.with_target("12*").of_source(&stable), 990);
    let never = policy("Package: *\nPin: release l=/^debian$/\nPin-Priority: never\n");
    assert_eq!(never.of_source(&stable), Policy::NEVER);
    let least = policy("Package: *\nPin: release *\nPin-Priority: -32768\n");
    assert_eq!(least.of_source(&stable), Policy::NEVER + 1);
}

#[test]
fn versions_get_the_first_record_that_names_them() {
    let stable = facts("stable", "bookworm", "");
    let of = |text: &str, name: &str, version: &str| {
        let subject = Subject {
            name,
            arch: "amd64",
            source: "glibc",
            version,
        };
        policy(text).of_version(subject, std::iter::once(&stable))
    };
    let record =
        |package: &str, pin: &str| format!("Package: {package}\nPin: {pin}\nPin-Priority: 7\n");
    for (package, pin, version, fits) in [
        ("libc6", "version 2.3*", "2.36", true),
        ("libc6", "version 2.3", "2.36", false),
        ("libc6", "version 2.?6", "2.36", true),
        ("libc6", "version /^2/", "2.36", true),
        ("libc6", "release a=stable", "1", true),
        ("libc6", "release bookworm", "1", true),
        ("libc6", "release 12*", "1", true),
        ("libc6", "release 11*", "1", false),
        ("libc6", "release a=stable,c=contrib", "1", false),
        ("libc6", "release b=amd64", "1", true),
        ("libc6", "origin \"\"", "1", true),
        ("libc6", "origin example.org", "1", false),
        ("lib*", "release *", "1", true),
        ("/c6$/", "release *", "1", true),
        ("x libc6", "release *", "1", true),
        ("libc6:amd64", "release *", "1", true),
        ("libc6:any", "release *", "1", true),
        ("libc6:i386", "release *", "1", false),
        ("src:glibc", "release *", "1", true),
        ("src:gli*", "release *", "1", true),
        ("glibc", "release *", "1", false),
        ("libc", "release *", "1", false),
    ] {
        let found = of(&record(package, pin), "libc6", version);
        assert_eq!(found.is_some(), fits, "{package} {pin} {version}");
    }
}

#[test]
fn hosts_of_addresses() {
    for (uri, host) in [
        ("http://deb.debian.org/debian", "deb.debian.org"),
        ("https://me:secret@host:8080/x", "host"),
        ("http://[::1]:80/x", "::1"),
        ("file:///srv/mirror", ""),
        ("copy:/x", ""),
    ] {
        assert_eq!(ReleaseFacts::site_of(uri), host);
    }
}
