//! What a user does to an image while it is made, but for scripts inside: files in and out, archives, programs of the host.

use super::super::error::BuildError;
use super::super::hooks::HookError;
use super::*;
use jaula_plan::spec::hook::{Hook, HookAction, HookStage};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

fn customize(action: HookAction) -> Hook {
    Hook {
        stage: HookStage::Customize,
        action,
    }
}

/// A tree with a file in a place of its own, and links that lead out, absolutely and up; out of the image they are
/// what they are inside.
fn with_links() -> World {
    let repo = base().package(package("links", |b| {
        b.field("Essential", "yes")
            .dir("./proc", 0o555)
            .dir("./sys", 0o555)
            .dir("./srv", 0o755)
            .dir("./srv/deep", 0o2750)
            .file("./srv/deep/script", "inside\n", 0o4755)
            .hardlink("./srv/deep/again", "./srv/deep/script")
            .symlink("./srv/deep/link", "script")
            .file("./etc/canary", "the image's\n", 0o640)
            .symlink("./srv/absolute", "/etc/canary")
            .symlink("./srv/up", "../../../../../../../../etc/canary")
            .symlink("./srv/dir", "/../../../../../srv/deep")
    }));
    world_of(repo, &TestKey::sound("archive").unwrap())
}

/// Of the host: what a test writes, and where it looks.
struct Around {
    dir: tempfile::TempDir,
}

impl Around {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("in/below")).unwrap();
        fs::write(dir.path().join("in/below/file"), "from the host\n").unwrap();
        std::os::unix::fs::chown(dir.path().join("in/below/file"), Some(12), Some(34)).unwrap();
        fs::set_permissions(
            dir.path().join("in/below/file"),
            fs::Permissions::from_mode(0o4711),
        )
        .unwrap();
        symlink("/etc/shadow", dir.path().join("in/below/link")).unwrap();
        Self { dir }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

#[test]
fn files_go_in_and_out_at_each_hook_and_never_by_a_link_of_the_tree() {
    if needs_root("files_go_in_and_out_at_each_hook_and_never_by_a_link_of_the_tree") {
        return;
    }
    let (mut world, around) = (with_links(), Around::new());
    let tar = around.at("in.tar");
    let mut archive = tar::Builder::new(fs::File::create(&tar).unwrap());
    archive.append_dir_all("packed", around.at("in")).unwrap();
    archive.finish().unwrap();
    drop(archive);
    let to = |path: &str| around.at(path);
    world.spec.options.hooks = vec![
        customize(HookAction::CopyIn {
            from: vec![to("in/below"), to("in/.")],
            to: "/srv/dir".into(),
        }),
        customize(HookAction::TarIn {
            from: tar.clone(),
            to: "/srv".into(),
            no_devices: false,
        }),
        customize(HookAction::Upload {
            from: to("in/below/file"),
            to: "/srv/dir/uploaded".into(),
        }),
        customize(HookAction::CopyOut {
            from: vec!["/srv/deep".into(), "srv/dir/.".into()],
            to: to("out/made"),
        }),
        customize(HookAction::TarOut {
            from: "/srv/dir".into(),
            to: to("out/of.tar"),
            named: false,
        }),
        customize(HookAction::Download {
            from: "/srv/absolute".into(),
            to: to("out/down/absolute"),
        }),
        customize(HookAction::Download {
            from: "srv/up".into(),
            to: to("out/up"),
        }),
    ];
    let plan = world.plan().unwrap();
    let image = world.build(&plan).unwrap();
    let inside = |path: &str| image.root().join(path);
    let (epoch, meta) = (plan.epoch() as i64, |path: PathBuf| {
        let meta = path
            .symlink_metadata()
            .unwrap_or_else(|e| panic!("{path:?}: {e}"));
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    });

    // In: owners and modes stay with copies, what is uploaded is root's and plain.
    for path in ["srv/deep/below/file", "srv/packed/below/file"] {
        assert_eq!(fs::read_to_string(inside(path)).unwrap(), "from the host\n");
        assert_eq!(meta(inside(path)), (0o4711, 12, 34), "{path}");
    }
    assert_eq!(
        fs::read_link(inside("srv/deep/below/link")).unwrap(),
        Path::new("/etc/shadow")
    );
    assert_eq!(meta(inside("srv/deep/uploaded")), (0o644, 0, 0));
    assert!(
        inside("srv/deep/uploaded")
            .symlink_metadata()
            .unwrap()
            .mtime()
            <= epoch
    );
    // What was there stays, and is still one file.
    let script = inside("srv/deep/script").metadata().unwrap();
    assert_eq!(
        script.ino(),
        inside("srv/deep/again").metadata().unwrap().ino()
    );

    // Out: the directory with its name, and what is in it; modes, links and hard links kept.
    for dir in ["out/made/deep", "out/made"] {
        let at = |name: &str| around.at(&format!("{dir}/{name}"));
        assert_eq!(fs::read_to_string(at("script")).unwrap(), "inside\n");
        assert_eq!(meta(at("script")).0, 0o4755);
        assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("script"));
        assert_eq!(
            at("script").metadata().unwrap().ino(),
            at("again").metadata().unwrap().ino()
        );
        assert!(at("uploaded").is_file());
    }
    assert_eq!(meta(around.at("out/made/deep")).0, 0o2750);
    let mut archive = tar::Archive::new(fs::File::open(around.at("out/of.tar")).unwrap());
    let names: BTreeSet<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .map(|name| {
            name.trim_start_matches("./")
                .trim_end_matches('/')
                .to_owned()
        })
        .collect();
    for name in ["script", "again", "link", "uploaded", "below/file"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    // The host has a /etc/passwd and no such canary: what came is the image's.
    assert_eq!(around.read("out/down/absolute"), "the image's\n");
    assert_eq!(around.read("out/up"), "the image's\n");

    // What leaves something outside is done again though the image is there.
    fs::remove_dir_all(around.at("out")).unwrap();
    let again = world.plan().unwrap();
    world.build(&again).unwrap();
    assert_eq!(around.read("out/up"), "the image's\n");
}

#[test]
fn files_that_cannot_go_are_named_and_nothing_is_registered() {
    if needs_root("files_that_cannot_go_are_named_and_nothing_is_registered") {
        return;
    }
    let (mut world, around) = (with_links(), Around::new());
    assert!(
        std::process::Command::new("mkfifo")
            .arg(around.at("pipe"))
            .status()
            .unwrap()
            .success()
    );
    fs::write(around.at("no.tar"), "this is no archive").unwrap();
    // A file that leaves its directory, packed by hand: the crate would not.
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    let name = b"../../canary";
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_cksum();
    let mut archive = tar::Builder::new(fs::File::create(around.at("up.tar")).unwrap());
    archive.append(&header, &b"x"[..]).unwrap();
    archive.finish().unwrap();
    drop(archive);
    let to = |path: &str| around.at(path);
    for (action, says) in [
        (
            HookAction::CopyIn {
                from: vec![to("in/below")],
                to: "/nowhere".into(),
            },
            "nowhere",
        ),
        (
            HookAction::TarIn {
                from: to("no.tar"),
                to: "/srv".into(),
                no_devices: false,
            },
            "no.tar",
        ),
        (
            HookAction::TarIn {
                from: to("up.tar"),
                to: "/srv".into(),
                no_devices: false,
            },
            "canary",
        ),
        (
            HookAction::Upload {
                from: to("pipe"),
                to: "/srv/x".into(),
            },
            "no regular file",
        ),
        (
            HookAction::Download {
                from: "/srv".into(),
                to: to("x"),
            },
            "no regular file",
        ),
        (
            HookAction::Download {
                from: "/etc/nothing".into(),
                to: to("x"),
            },
            "etc/nothing",
        ),
        (
            HookAction::CopyOut {
                from: vec!["/etc/nothing".into()],
                to: to("x"),
            },
            "etc/nothing",
        ),
        (
            HookAction::TarOut {
                from: "/etc/canary".into(),
                to: to("x.tar"),
                named: false,
            },
            "etc/canary",
        ),
    ] {
        world.spec.options.hooks = vec![customize(action.clone())];
        let error = world.fails();
        let text = whole(&error);
        assert!(text.contains(says), "{action:?}: {text}");
        assert!(!around.at("canary").exists() && !around.dir.path().join("../canary").exists());
    }
}

/// Builds in a thread of its own: the mounts that it makes for itself are those of this thread.
fn apart(world: &World, plan: &ImagePlan) -> Result<Image, BuildError> {
    std::thread::scope(|scope| scope.spawn(|| world.build(plan)).join().unwrap())
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[test]
fn a_program_of_the_host_sees_the_tree_and_its_end_is_told() {
    if needs_root("a_program_of_the_host_sees_the_tree_and_its_end_is_told") {
        return;
    }
    let (mut world, around) = (with_links(), Around::new());
    let outside = |script: &str, mounts: bool| {
        customize(HookAction::Outside {
            command: ["/bin/sh", "-c", script, "sh", "first"]
                .map(str::to_owned)
                .to_vec(),
            after: vec!["after".to_owned()],
            env: vec![("ABOUT".to_owned(), "this".to_owned())],
            apt_config: Some("APT".to_owned()),
            mounts: match mounts {
                true => ["proc", "sys", "dev"].map(str::to_owned).to_vec(),
                false => Vec::new(),
            },
        })
    };
    let seen = around.at("seen");
    let script = format!(
        "echo \"$1 $3 $ABOUT $SOURCE_DATE_EPOCH $(cat \"$2/etc/canary\")\" >{seen}\n\
         ls -A \"$2/proc\" \"$2/sys\" | wc -l >>{seen}\necho more >\"$2/etc/more\"\n",
        seen = seen.display()
    );
    let mounts = || fs::read_to_string("/proc/1/mountinfo").unwrap();
    let before = mounts();
    world.spec.options.hooks = vec![outside(&script, false)];
    let plan = world.plan().unwrap();
    let image = apart(&world, &plan);
    let image = image.unwrap();
    let said = fs::read_to_string(&seen).unwrap();
    let expected = format!("first after this {} the image's\n", plan.epoch());
    assert!(said.starts_with(&expected), "{said}");
    assert_eq!(
        fs::read_to_string(image.root().join("etc/more")).unwrap(),
        "more\n"
    );

    // With what mmdebstrap's hooks find in it; nobody else sees that, and it is gone from the image.
    world.spec.options.hooks = vec![outside(&script, true)];
    let plan = world.plan().unwrap();
    let image = apart(&world, &plan);
    let said = fs::read_to_string(&seen).unwrap();
    let count: usize = said.lines().nth(1).unwrap().trim().parse().unwrap();
    assert!(count > 20, "{said}");
    let proc = image.unwrap().root().join("proc");
    assert_eq!(fs::read_dir(proc).map_or(0, Iterator::count), 0);
    assert_eq!(mounts(), before);

    // One that fails: its number, the end of what it said, and nothing in the store.
    world.spec.options.hooks = vec![outside("echo one; echo two >&2; exit 7", false)];
    let before = fs::read_dir(world.store.root().join("images"))
        .unwrap()
        .count();
    let plan = world.plan().unwrap();
    let failed = apart(&world, &plan);
    match failed {
        Err(BuildError::Hook(HookError::Failed {
            stage: HookStage::Customize,
            status: Status::Exited(7),
            tail,
            ..
        })) => assert_eq!(tail, ["one", "two"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        fs::read_dir(world.store.root().join("images"))
            .unwrap()
            .count(),
        before
    );
    let signalled = outside("kill -KILL $$", false);
    let absent = customize(HookAction::Outside {
        command: vec!["/nowhere/program".to_owned()],
        after: Vec::new(),
        env: Vec::new(),
        apt_config: None,
        mounts: Vec::new(),
    });
    for (hook, says) in [(signalled, "signal 9"), (absent, "/nowhere/program")] {
        world.spec.options.hooks = vec![hook];
        let plan = world.plan().unwrap();
        let failed = apart(&world, &plan);
        let text = whole(&failed.unwrap_err());
        assert!(text.contains(says), "{text}");
    }
}

/// A script of the host, with the tree as its argument.
fn script(stage: HookStage, script: &str) -> Hook {
    let action = HookAction::Outside {
        command: ["/bin/sh", "-c", script, "sh"].map(str::to_owned).to_vec(),
        after: Vec::new(),
        env: Vec::new(),
        apt_config: None,
        mounts: Vec::new(),
    };
    Hook { stage, action }
}

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{dir:?}: {error}"));
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn apt_of_a_hook_finds_its_lists_and_what_it_leaves_goes() {
    if needs_root("apt_of_a_hook_finds_its_lists_and_what_it_leaves_goes") {
        return;
    }
    let (mut world, around) = (world(), Around::new());
    let look = |at: &str| {
        let to = around.at(at);
        format!("mkdir {to:?}; cp -r \"$1/var/lib/apt/lists\" {to:?}\n")
    };
    let leave = "cd \"$1/var\"; mkdir lib/apt/lists/auxfiles; touch lib/apt/lists/auxfiles/x lib/apt/lists/partial/x\n\
                 touch cache/apt/pkgcache.bin cache/apt/kept cache/apt/archives/x.deb cache/apt/archives/partial/x\n\
                 touch log/apt/eipp.log.xz\n";
    let url = world.server.url();
    let place = url.trim_start_matches("http://").trim_end_matches('/');
    let lists = ["main_binary-amd64_Packages.xz", "InRelease"]
        .map(|name| format!("{place}_dists_bookworm_{name}"));
    for (at, [lent, stay, cache]) in [
        [false, false, false],
        [true, false, false],
        [true, true, false],
        [true, false, true],
    ]
    .into_iter()
    .enumerate()
    {
        let (early, late) = (format!("early{at}"), format!("late{at}"));
        world.spec.options.apt_traces = AptTraces {
            lent,
            lists: stay,
            cache,
        };
        world.spec.options.hooks = vec![
            script(HookStage::Setup, &look(&early)),
            script(HookStage::Extract, &format!("{}{leave}", look(&late))),
        ];
        let plan = world.plan().unwrap();
        let image = apart(&world, &plan).unwrap();
        // As with the tool: not before the setup hooks.
        assert_eq!(names(&around.at(&format!("{early}/lists"))), ["partial"]);
        let there = around.at(&format!("{late}/lists"));
        let expected = lists.iter().filter(|_| lent).map(String::as_str);
        let mut expected: Vec<&str> = expected.chain(["partial"]).collect();
        expected.sort_unstable();
        assert_eq!(names(&there), expected);
        if lent {
            // As they came.
            for (list, path) in lists
                .iter()
                .zip(["main/binary-amd64/Packages.xz", "InRelease"])
            {
                let came =
                    fs::read(world.dir.path().join("repo/dists/bookworm").join(path)).unwrap();
                assert_eq!(fs::read(there.join(list)).unwrap(), came, "{list}");
            }
        }
        let left = |path: &str| names(&image.root().join("var").join(path));
        let has = |path: &str, name: &str| left(path).iter().any(|there| there == name);
        let lists_stay = !lent || stay;
        let cache_stays = !lent || cache;
        assert_eq!(has("lib/apt/lists", "auxfiles"), lists_stay);
        assert_eq!(has("lib/apt/lists/partial", "x"), lists_stay);
        assert_eq!(has("lib/apt/lists", &lists[1]), lent && stay);
        assert_eq!(has("cache/apt", "pkgcache.bin"), cache_stays);
        assert_eq!(has("cache/apt/archives", "x.deb"), cache_stays);
        assert_eq!(has("cache/apt/archives/partial", "x"), cache_stays);
        assert!(has("cache/apt", "kept") && has("lib/apt/lists", "lock"));
        assert!(!has("log/apt", "eipp.log.xz"));
    }
}

#[test]
fn an_index_that_changed_since_is_not_given_to_a_hook() {
    if needs_root("an_index_that_changed_since_is_not_given_to_a_hook") {
        return;
    }
    let (mut world, around) = (world(), Around::new());
    world.spec.options.apt_traces.lent = true;
    let ran = around.at("ran");
    world.spec.options.hooks = vec![script(HookStage::Extract, &format!("touch {ran:?}"))];
    let plan = world.plan().unwrap();
    let index = world
        .dir
        .path()
        .join("repo/dists/bookworm/main/binary-amd64");
    for (path, (mode, .., mut bytes)) in tree(&index) {
        if let Some(last) = bytes.last_mut().filter(|_| mode & 0o170_000 == 0o100_000) {
            *last ^= 1;
            fs::write(index.join(path), bytes).unwrap();
        }
    }
    let error = apart(&world, &plan).unwrap_err();
    let text = whole(&error);
    assert!(text.contains("Packages.xz"), "{text}");
    assert!(!ran.exists());
    for place in ["images", "stages", "journal"] {
        let left = fs::read_dir(world.store.root().join(place)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{place}");
    }
}

#[test]
fn what_essential_packages_need_is_configured_with_them_also_when_it_is_asked_for() {
    if needs_root("what_essential_packages_need_is_configured_with_them_also_when_it_is_asked_for")
    {
        return;
    }
    let needy = package("needy", |b| {
        b.field("Essential", "yes").field("Depends", "library")
    });
    let repo = base().package(needy);
    let (mut world, around) = (
        world_of(repo, &TestKey::sound("archive").unwrap()),
        Around::new(),
    );
    let seen = around.at("status");
    let look = format!("cp \"$1/var/lib/dpkg/status\" {seen:?}");
    world.spec.options.hooks = vec![script(HookStage::Essential, &look)];
    world.spec.options.include = ["library", "extra"]
        .map(|name| Want::any(name.parse().unwrap()))
        .to_vec();
    let plan = world.plan().unwrap();
    apart(&world, &plan).unwrap();
    let status = around.read("status");
    let there: Vec<&str> = status
        .lines()
        .filter_map(|line| line.strip_prefix("Package: "))
        .collect();
    assert_eq!(there, ["library", "needy", "tool"]);
}
