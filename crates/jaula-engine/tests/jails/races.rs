//! What an enemy does while a jail is made: a directory of its tree becomes a link out of it and back, all the time;
//! and what two jails with a directory in common can do for each other.

use super::*;
use jaula_plan::spec::jail::{OverlayTop, Terminal};
use jaula_sys::tree::Dir;

/// How often the two are exchanged for each operation.
const ROUNDS: u32 = 100_000;

/// Everything below a directory: names, kinds, sizes, modes.
fn listing(dir: &Path) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in io(std::fs::read_dir(&dir))? {
            let entry = io(entry)?;
            let meta = io(entry.metadata())?;
            let mode = meta.permissions().mode();
            found.push(format!(
                "{} {mode:o} {}",
                entry.path().display(),
                meta.len()
            ));
            if meta.is_dir() {
                left.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Every operation that puts something at a path of the tree.
fn operations(scratch: &Path) -> Vec<(&'static str, MountSpec)> {
    let at = |name: &str| PathBuf::from("/a").join(name);
    vec![
        (
            "bind of a directory",
            MountSpec::bind("/usr", at("made/bind"), BindOptions::READ_ONLY),
        ),
        (
            "bind of a file",
            MountSpec::bind("/etc/passwd", at("passwd"), BindOptions::READ_ONLY),
        ),
        ("tmpfs", MountSpec::tmpfs(at("deep/tmpfs"))),
        (
            "overlay",
            MountSpec::Overlay {
                lower: vec![scratch.join("lower"), scratch.join("lower2")],
                to: at("over"),
                top: OverlayTop::Memory,
            },
        ),
        (
            "symlink",
            MountSpec::Symlink {
                text: "/etc".into(),
                at: at("link"),
            },
        ),
        (
            "file",
            MountSpec::File {
                from: "/etc/passwd".into(),
                to: at("copy"),
                mode: Some(0o600),
            },
        ),
        (
            "directory",
            MountSpec::Directory {
                at: at("directory/below"),
                mode: 0o700,
            },
        ),
        ("dev", MountSpec::Dev { at: at("dev") }),
        ("proc", MountSpec::Proc { at: at("proc") }),
        ("mqueue", MountSpec::Mqueue { at: at("mqueue") }),
        (
            "chmod",
            MountSpec::Chmod {
                at: at("there"),
                mode: 0o711,
            },
        ),
        ("remount", MountSpec::RemountReadOnly { at: at("there") }),
    ]
}

/// Exchanges the directory and the link so often, then says that it is done.
fn racer(tree: &Path, done: &Path) -> u8 {
    let Ok(root) = Dir::open(tree) else { return 1 };
    for _ in 0..ROUNDS {
        if root.exchange(c"a", &root, c"evil").is_err() {
            return 1;
        }
    }
    u8::from(std::fs::write(done, "").is_err())
}

/// No operation of a jail on a directory that is exchanged with a link to outside makes or changes anything there.
pub fn a_race_for_a_mount_point_leads_nowhere() -> Checked {
    let scratch = Scratch::new("race")?;
    let outside = scratch.0.join("outside");
    for dir in ["outside", "outside/there", "lower", "lower2"] {
        io(std::fs::create_dir(scratch.0.join(dir)))?;
    }
    io(std::fs::write(outside.join("canary"), "untouched"))?;
    let before = listing(&outside)?;
    for (number, (name, mount)) in operations(&scratch.0).into_iter().enumerate() {
        let dir = scratch.0.join(format!("tree{number}"));
        io(std::fs::create_dir_all(dir.join("a/there")))?;
        io(symlink("../outside", dir.join("evil")))?;
        let mut spec = tree(&dir, Changes::Direct, &["true"])?;
        if let MountSpec::RemountReadOnly { at } = &mount {
            spec.mounts.push(MountSpec::tmpfs(at));
        }
        spec.mounts.push(mount);
        spec.terminal = Terminal::Captured;
        let plan = planned(&spec)?;
        let done = scratch.0.join(format!("done{number}"));
        let child = userns::fork(&mut || racer(&dir, &done)).map_err(|e| e.to_string())?;
        let (mut jails, mut ran) = (0, 0);
        while jails < 30 || !done.exists() {
            // Whether it was refused or not is chance.
            ran += u32::from(captured(&plan).0.is_ok());
            jails += 1;
            if jails > 20_000 {
                return Err(format!("{name}: the exchanges do not end"));
            }
        }
        let raced = child.wait().map_err(|e| e.to_string())?;
        same(raced, Some(0)).map_err(|e| format!("{name}: {e}"))?;
        same(listing(&outside)?, before.clone())
            .map_err(|e| format!("{name}, {ran} of {jails} jails ran: {e}"))?;
        is(ran > 0, format!("{name}: none of {jails} jails ran"))?;
    }
    Ok(())
}

/// A descriptor of one jail's directory, handed to another over a directory that both have, leads to that directory's
/// jail at most: climbing from it never ends at the host's root.
pub fn two_jails_with_one_directory_stay_jails() -> Checked {
    let scratch = Scratch::new("two")?;
    let shared = scratch.0.join("shared");
    io(std::fs::create_dir(&shared))?;
    io(std::fs::set_permissions(
        &shared,
        std::fs::Permissions::from_mode(0o777),
    ))?;
    io(std::fs::write(scratch.0.join("canary"), "host"))?;
    let look = format!(
        "import os, socket, sys, array, time\n\
         path = '/shared/s'\n\
         s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)\n\
         if sys.argv[1] == 'give':\n\
         \x20 s.settimeout(60); s.bind('/shared/new'); os.chmod('/shared/new', 0o777); s.listen(1); os.rename('/shared/new', path)\n\
         \x20 c, _ = s.accept()\n\
         \x20 fd = os.open('/', os.O_RDONLY | os.O_DIRECTORY)\n\
         \x20 socket.send_fds(c, [b'x'], [fd]); c.recv(1)\n\
         else:\n\
         \x20 for _ in range(2000):\n\
         \x20   try: s.connect(path); break\n\
         \x20   except OSError: time.sleep(0.01)\n\
         \x20 _, fds, _, _ = socket.recv_fds(s, 1, 1)\n\
         \x20 os.fchdir(fds[0])\n\
         \x20 for _ in range(64): os.chdir('..')\n\
         \x20 print(os.path.exists('.{}'), os.path.exists('./mark'))\n",
        scratch.0.join("canary").display()
    );
    let jail = |who: &str| {
        let mut spec = programs(&["python3", "-c", &look, who]);
        spec.mounts
            .push(MountSpec::bind(&shared, "/shared", BindOptions::default()));
        spec.mounts.push(MountSpec::Directory {
            at: PathBuf::from(if who == "give" { "/mark" } else { "/other" }),
            mode: 0o755,
        });
        planned(&spec)
    };
    if !Path::new("/usr/bin/python3").exists() {
        say("    no python3: nothing to see");
        return Ok(());
    }
    let (give, take) = (jail("give")?, jail("take")?);
    let mut giver = || u8::from(captured(&give).0.is_err());
    let child = userns::fork(&mut giver).map_err(|e| e.to_string())?;
    let (outcome, text) = captured(&take);
    let given = child.wait().map_err(|e| e.to_string())?;
    is(outcome.is_ok(), text.clone())?;
    same(given, Some(0))?;
    // Not the host, and at worst the other jail.
    is(
        text.starts_with("False "),
        format!("found the host: {text}"),
    )
}
