//! What is put into a tree: every kind of mount, in order, contained whatever the tree is; ranges of identifiers, and
//! clocks.

use super::*;
use jaula_plan::spec::jail::{Clocks, IdRange, OverlayTop, Propagation};

pub const MOUNTS: [Case; 6] = [
    (
        "an_empty_root_has_what_is_put_there",
        an_empty_root_has_what_is_put_there,
    ),
    ("mounts_keep_their_options", mounts_keep_their_options),
    ("overlays_in_every_form", overlays_in_every_form),
    ("no_mount_leaves_the_root", no_mount_leaves_the_root),
    (
        "a_copy_of_the_host_shows_no_jail",
        a_copy_of_the_host_shows_no_jail,
    ),
    ("clocks_are_ahead", clocks_are_ahead),
];

pub const RANGES: [Case; 1] = [("ranges_are_mapped_as_asked", ranges_are_mapped_as_asked)];

/// The host's programs in an empty root, by mounts.
fn empty(command: &[&str]) -> JailSpec {
    let mut spec = JailSpec::new(RootSpec::Empty, words(command));
    spec.mounts
        .push(MountSpec::bind("/usr", "/usr", BindOptions::READ_ONLY));
    for name in ["bin", "sbin", "lib", "lib64"] {
        spec.mounts.push(MountSpec::Symlink {
            text: Path::new("usr").join(name),
            at: Path::new("/").join(name),
        });
    }
    spec
}

fn an_empty_root_has_what_is_put_there() -> Checked {
    let text = output(&empty(&["sh", "-c", "echo /*"]))?;
    same(text.trim(), "/bin /lib /lib64 /sbin /usr")?;
    let scratch = Scratch::new("empty")?;
    let file = scratch.0.join("file");
    io(std::fs::write(&file, "content"))?;
    let script = "cat /etc/copy; stat -c %a /etc/copy /d/e /tmp; ls /dev | wc -l; readlink /a/link; \
        ls -d /proc/[0-9]*; cat /proc/sys/kernel/ostype; echo x >/proc/sys/kernel/domainname; stat -f -c %T /q";
    let mut spec = empty(&["sh", "-c", &format!("{{ {script}; }} 2>&1")]);
    spec.mounts.extend([
        MountSpec::File {
            from: file,
            to: "/etc/copy".into(),
            mode: Some(0o400),
        },
        MountSpec::Directory {
            at: "/d/e".into(),
            mode: 0o700,
        },
        MountSpec::Tmpfs {
            at: "/tmp".into(),
            size: None,
            mode: Some(0o711),
        },
        MountSpec::Chmod {
            at: "/tmp".into(),
            mode: 0o750,
        },
        MountSpec::Symlink {
            text: "/there".into(),
            at: "/a/link".into(),
        },
        MountSpec::Dev { at: "/dev".into() },
        MountSpec::Proc { at: "/proc".into() },
        MountSpec::Mqueue { at: "/q".into() },
    ]);
    let text = output(&spec)?;
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        "content400",
        "700",
        "750",
        "13",
        "/there",
        "/proc/1",
        "/proc/2",
    ];
    same(lines.get(..expected.len()).unwrap_or_default(), &expected)?;
    is(
        text.contains("Linux\n") && text.contains("Read-only file system"),
        text.clone(),
    )?;
    is(text.ends_with("mqueue\n"), text.clone())
}

fn mounts_keep_their_options() -> Checked {
    let scratch = Scratch::new("options")?;
    let dir = &scratch.0;
    io(std::fs::write(dir.join("program"), "#!/bin/sh\necho ran\n"))?;
    io(std::fs::set_permissions(
        dir.join("program"),
        std::fs::Permissions::from_mode(0o755),
    ))?;
    let script = "awk '$5 ~ \"^/m\" {print $5, $6}' /proc/self/mountinfo; /m/noexec/program || echo refused; \
        /m/plain/program; echo x >/m/ro/x || echo refused; echo x >/m/late/x || echo refused; \
        dd if=/dev/zero of=/m/small/f bs=64k count=2 2>/dev/null || echo full; ls /m";
    let mut spec = programs(&["sh", "-c", &format!("{{ {script}; }} 2>/dev/null")]);
    let options = BindOptions {
        no_exec: true,
        ..BindOptions::WRITABLE
    };
    let gone = BindOptions {
        optional: true,
        ..BindOptions::WRITABLE
    };
    spec.mounts = vec![
        MountSpec::tmpfs("/m"),
        MountSpec::bind(dir, "/m/plain", BindOptions::WRITABLE),
        MountSpec::bind(dir, "/m/ro", BindOptions::READ_ONLY),
        MountSpec::bind(dir, "/m/noexec", options),
        MountSpec::bind("/no/such/path", "/m/gone", gone),
        MountSpec::Tmpfs {
            at: "/m/small".into(),
            size: Some(65536),
            mode: None,
        },
        MountSpec::tmpfs("/m/late"),
        MountSpec::RemountReadOnly {
            at: "/m/late".into(),
        },
    ];
    let text = output(&spec)?;
    for line in [
        "/m/ro ro,nosuid,nodev",
        "/m/noexec rw,nosuid,nodev,noexec",
        "/m/late ro,nosuid,nodev",
        "/m/plain rw,nosuid,nodev",
    ] {
        is(
            text.lines().any(|l| l.starts_with(line)),
            format!("{line} is not in\n{text}"),
        )?;
    }
    let rest: Vec<&str> = text.lines().filter(|line| !line.starts_with('/')).collect();
    let expected = [
        "refused", "ran", "refused", "refused", "full", "late", "noexec", "plain", "ro", "small",
    ];
    same(rest, expected.to_vec())?;
    spec.mounts = vec![MountSpec::bind(
        "/no/such/path",
        "/m/gone",
        BindOptions::WRITABLE,
    )];
    is(
        output(&spec).is_err(),
        "a source that is not there was taken",
    )
}

fn overlays_in_every_form() -> Checked {
    let scratch = Scratch::new("overlay")?;
    let dir = &scratch.0;
    for name in ["low,er:1", "lower2", "upper", "work"] {
        io(std::fs::create_dir(dir.join(name)))?;
    }
    io(std::fs::write(dir.join("low,er:1/a"), "1\n"))?;
    io(std::fs::write(dir.join("lower2/a"), "2\n"))?;
    io(std::fs::write(dir.join("lower2/b"), "b\n"))?;
    let overlay = |to: &str, top| MountSpec::Overlay {
        lower: vec![dir.join("low,er:1"), dir.join("lower2")],
        to: to.into(),
        top,
    };
    let mut spec = programs(&[
        "sh",
        "-c",
        "for o in /o /p; do cat $o/a $o/b; { echo x >$o/a; } 2>/dev/null; cat $o/a; done",
    ]);
    // Whoever owns the layers has to be somebody inside, to write.
    spec.ids = IdSpec::CallerAsRoot;
    spec.mounts = vec![
        overlay("/o", OverlayTop::Memory),
        overlay("/p", OverlayTop::Nothing),
    ];
    same(
        output(&spec)?.split_whitespace().collect::<Vec<_>>(),
        vec!["1", "b", "x", "1", "b", "1"],
    )?;
    same(
        io(std::fs::read_to_string(dir.join("low,er:1/a")))?.trim(),
        "1",
    )?;
    let top = OverlayTop::Directory {
        upper: dir.join("upper"),
        work: dir.join("work"),
    };
    spec.mounts = vec![overlay("/o", top)];
    spec.command = words(&["sh", "-c", "echo kept >/o/new; cat /o/a"]);
    same(output(&spec)?.trim(), "1")?;
    same(
        io(std::fs::read_to_string(dir.join("upper/new")))?.trim(),
        "kept",
    )
}

/// A tree with links of every sort where mounts are to go.
fn hostile(dir: &Path) -> Checked {
    let root = dir.join("root");
    io(std::fs::create_dir_all(root.join("in")))?;
    io(std::fs::create_dir(dir.join("out")))?;
    for (name, to) in [
        ("absolute", dir.join("out")),
        ("relative", PathBuf::from("../out")),
        ("deep", PathBuf::from("../../../../../../../../tmp")),
        ("magic", PathBuf::from("/proc/self/root/tmp")),
    ] {
        io(symlink(to, root.join(name)))?;
    }
    Ok(())
}

fn no_mount_leaves_the_root() -> Checked {
    let scratch = Scratch::new("links")?;
    let dir = &scratch.0;
    hostile(dir)?;
    let file = dir.join("file");
    io(std::fs::write(&file, "content"))?;
    let count = || -> Result<usize, String> { Ok(io(std::fs::read_dir(dir.join("out")))?.count()) };
    let before = count()?;
    let mark = format!("jaula-escaped-{}-", std::process::id());
    for name in ["absolute", "relative", "deep", "magic"] {
        let at = |rest: &str| Path::new("/").join(name).join(format!("{mark}{rest}"));
        let all = [
            MountSpec::tmpfs(at("t")),
            MountSpec::bind("/usr", at("b"), BindOptions::READ_ONLY),
            MountSpec::File {
                from: file.clone(),
                to: at("f"),
                mode: None,
            },
            MountSpec::Directory {
                at: at("d"),
                mode: 0o755,
            },
            MountSpec::Symlink {
                text: "x".into(),
                at: at("l"),
            },
            MountSpec::Proc { at: at("p") },
            MountSpec::Dev { at: at("v") },
            MountSpec::Overlay {
                lower: vec![file.parent().unwrap_or(dir).to_owned()],
                to: at("o"),
                top: OverlayTop::Memory,
            },
        ];
        for mount in all {
            let what = format!("{mount:?}");
            let mut spec = tree(&dir.join("root"), Changes::Ephemeral, &["true"])?;
            spec.mounts.push(mount);
            // Either it lands inside or it is refused: that it is nowhere else is what counts.
            drop(output(&spec));
            same(count()?, before).map_err(|why| format!("{what}: {why}"))?;
            let beside = std::fs::read_dir("/tmp").into_iter().flatten().flatten();
            let made = beside
                .map(|entry| entry.file_name())
                .find(|name| name.to_string_lossy().starts_with(mark.as_str()));
            is(
                made.is_none(),
                format!("{what}: {made:?} is in the host's /tmp"),
            )?;
        }
    }
    Ok(())
}

/// What holds a jail while it is made lies somewhere in the host's tree: a copy of that tree must not show it.
fn a_copy_of_the_host_shows_no_jail() -> Checked {
    let mut spec = programs(&[
        "sh",
        "-c",
        "ls /host/proc/fs; grep -c /host/proc/fs /proc/self/mountinfo",
    ]);
    spec.mounts = vec![MountSpec::bind("/", "/host", BindOptions::READ_ONLY)];
    let (outcome, text) = captured(&planned(&spec)?);
    is(outcome.is_ok(), format!("{outcome:?}"))?;
    is(
        !text
            .split_whitespace()
            .any(|name| name == "m" || name == "k"),
        text.clone(),
    )?;
    is(text.trim().ends_with('0'), text.clone())
}

fn clocks_are_ahead() -> Checked {
    if !Path::new("/proc/self/ns/time").exists() {
        say("    no time namespaces in this kernel: nothing to see");
        return Ok(());
    }
    let mut spec = programs(&["cat", "/proc/uptime", "/proc/self/timens_offsets"]);
    spec.namespaces.time = true;
    spec.clocks = Some(Clocks {
        monotonic: 5000,
        boottime: 1_000_000,
    });
    let text = output(&spec)?;
    let inside: f64 = text
        .split('.')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0.0);
    is(inside > 1_000_000.0, text.clone())?;
    let lines: Vec<Vec<&str>> = text
        .lines()
        .skip(1)
        .map(|l| l.split_whitespace().collect())
        .collect();
    same(
        lines,
        vec![
            vec!["monotonic", "5000", "0"],
            vec!["boottime", "1000000", "0"],
        ],
    )?;
    spec.namespaces.time = false;
    is(
        planned(&spec).is_err(),
        "clocks without a namespace of their own were taken",
    )?;
    // And how mounts travel is as asked.
    let mut spec = programs(&["sh", "-c", "grep -c shared: /proc/self/mountinfo"]);
    spec.propagation = Propagation::Shared;
    is(output(&spec)?.trim() != "0", "nothing is shared")?;
    spec.propagation = Propagation::Private;
    let (_, text) = captured(&planned(&spec)?);
    same(text.trim(), "0")
}

fn ranges_are_mapped_as_asked() -> Checked {
    let range = |inside, outside, count| IdRange {
        inside,
        outside,
        count,
    };
    let mut spec = programs(&["cat", "/proc/self/uid_map", "/proc/self/gid_map"]);
    spec.ids = IdSpec::Map {
        users: vec![range(0, 500_000, 10), range(100, 600_000, 5)],
        groups: vec![range(0, 700_000, 20)],
    };
    let text = output(&spec)?;
    let numbers: Vec<&str> = text.split_whitespace().collect();
    same(
        numbers,
        vec![
            "0", "500000", "10", "100", "600000", "5", "0", "700000", "20",
        ],
    )?;
    spec.user = UserSpec::Ids {
        uid: 104,
        gid: 19,
        groups: vec![3],
    };
    spec.command = words(&["id", "-u"]);
    same(output(&spec)?.trim(), "104")?;
    spec.user = UserSpec::Ids {
        uid: 105,
        gid: 19,
        groups: vec![],
    };
    is(
        planned(&spec).is_err(),
        "an identifier that is in no range was taken",
    )
}
