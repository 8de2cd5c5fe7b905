//! Jails on trees: hostile ones, layers, identifiers.

use super::*;

/// Trees in which what the jail needs is a link, a loop, or no directory at all.
pub fn hostile_roots() -> Checked {
    let scratch = Scratch::new("hostile")?;
    let outside = scratch.0.join("outside");
    io(std::fs::create_dir(&outside))?;
    let canary = outside.join("canary");
    io(std::fs::write(&canary, "untouched"))?;
    let mounts = io(std::fs::read_to_string("/proc/self/mountinfo"))?;
    let places = [
        "dev",
        "dev/null",
        "dev/console",
        "proc",
        "sys",
        "run",
        "tmp",
        "etc",
        "etc/resolv.conf",
        "etc/passwd",
    ];
    for (number, place) in places.iter().enumerate() {
        for kind in ["absolute", "relative", "file", "loop", "dangling", "fifo"] {
            for ephemeral in [true, false] {
                let dir = scratch.0.join(format!("{number}-{kind}-{ephemeral}"));
                io(std::fs::create_dir(&dir))?;
                let changes = if ephemeral {
                    Changes::Ephemeral
                } else {
                    Changes::Direct
                };
                let mut spec = tree(
                    &dir,
                    changes,
                    &["sh", "-c", "echo in > /dev/null; ls /proc/self > /dev/null"],
                )?;
                spec.net = jaula_plan::spec::jail::JailNet::Host;
                let at = dir.join(place);
                drop(std::fs::remove_dir(&at));
                match kind {
                    "absolute" => io(symlink(&outside, &at))?,
                    "relative" => io(symlink("../outside", &at))?,
                    "file" => io(symlink(&canary, &at))?,
                    "loop" => io(symlink(at.file_name().unwrap_or_default(), &at))?,
                    "dangling" => io(symlink("/no/where", &at))?,
                    _ => {
                        let made = io(std::process::Command::new("mkfifo").arg(&at).status())?;
                        is(made.success(), "mkfifo failed")?;
                    }
                }
                let what = format!("{place} as {kind}, ephemeral {ephemeral}");
                let (outcome, text) = captured(&planned(&spec)?);
                let direct = matches!(*place, "dev" | "proc" | "sys") && !ephemeral;
                match outcome {
                    Ok(_) if direct => return Err(format!("{what}: was not refused: {text}")),
                    Ok(outcome) => same(
                        (what.as_str(), outcome.status),
                        (what.as_str(), Status::Exited(0)),
                    )
                    .map_err(|e| format!("{e} {text}"))?,
                    Err(JailError::Step { .. }) if direct || place.starts_with("etc") => {}
                    Err(error) => return Err(format!("{what}: {error}")),
                }
                same(
                    (
                        what.as_str(),
                        io(std::fs::read_to_string(&canary))?.as_str(),
                    ),
                    (what.as_str(), "untouched"),
                )?;
                let left = io(std::fs::read_dir(&outside))?.count();
                same((what.as_str(), left), (what.as_str(), 1))?;
            }
        }
    }
    same(io(std::fs::read_to_string("/proc/self/mountinfo"))?, mounts)
}

pub fn the_tree_is_not_written() -> Checked {
    let scratch = Scratch::new("overlay")?;
    io(std::fs::write(scratch.0.join("file"), "as it was"))?;
    let script =
        "echo changed > /file; rm -r /etc; mkdir /etc; echo new > /etc/new; cat /file; ls /etc";
    let spec = tree(&scratch.0, Changes::Ephemeral, &["sh", "-c", script])?;
    same(output(&spec)?, "changed\nnew\n".to_owned())?;
    same(
        io(std::fs::read_to_string(scratch.0.join("file")))?,
        "as it was".to_owned(),
    )?;
    let spec = tree(
        &scratch.0,
        Changes::ReadOnly,
        &["sh", "-c", "echo x > /file || echo refused"],
    )?;
    is(output(&spec)?.contains("refused"), "the tree was written")?;
    let spec = tree(
        &scratch.0,
        Changes::Direct,
        &["sh", "-c", "echo direct > /file"],
    )?;
    output(&spec)?;
    same(
        io(std::fs::read_to_string(scratch.0.join("file")))?,
        "direct\n".to_owned(),
    )
}

pub fn a_layer_lasts() -> Checked {
    let scratch = Scratch::new("layer")?;
    let (image, upper, work) = (
        scratch.0.join("image"),
        scratch.0.join("upper"),
        scratch.0.join("work"),
    );
    for dir in [&image, &upper, &work] {
        io(std::fs::create_dir(dir))?;
    }
    let layer = || Changes::Layer {
        upper: upper.clone(),
        work: work.clone(),
    };
    output(&tree(&image, layer(), &["sh", "-c", "echo kept > /kept"])?)?;
    same(
        output(&tree(&image, layer(), &["cat", "/kept"])?)?,
        "kept\n".to_owned(),
    )?;
    is(!image.join("kept").exists(), "the image was written")
}

pub fn root_has_identifiers_of_its_own() -> Checked {
    let scratch = Scratch::new("ids")?;
    let script =
        "cat /proc/self/uid_map; stat -c %u /file /; chown 33:33 /file; stat -c %u:%g /file";
    io(std::fs::write(scratch.0.join("file"), ""))?;
    let text = output(&tree(&scratch.0, Changes::Direct, &["sh", "-c", script])?)?;
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    is(
        lines
            .first()
            .is_some_and(|l| l.len() == 3 && l[0] == "0" && l[1] != "0" && l[2] == "65536"),
        &*text,
    )?;
    same(
        lines.get(1..).unwrap_or_default().concat(),
        vec!["0", "0", "33:33"],
    )?;
    use std::os::unix::fs::MetadataExt;
    same(io(std::fs::metadata(scratch.0.join("file")))?.uid(), 33)?;
    let mut spec = tree(
        &scratch.0,
        Changes::Ephemeral,
        &["cat", "/proc/self/uid_map"],
    )?;
    spec.ids = IdSpec::Host;
    is(
        output(&spec)?.contains("4294967295"),
        "the host's identifiers were not kept",
    )?;
    let mut spec = tree(&scratch.0, Changes::Ephemeral, &["id", "-u"])?;
    spec.user = UserSpec::Ids {
        uid: 33,
        gid: 33,
        groups: vec![44],
    };
    same(output(&spec)?, "33\n".to_owned())?;
    spec.command = words(&["grep", "CapEff", "/proc/self/status"]);
    same(output(&spec)?, "CapEff:\t0000000000000000\n".to_owned())
}

/// What an ordinary user with subordinate identifiers does; the process works in a session of his.
pub fn in_a_session() -> Checked {
    let caller = session::Caller::current();
    let session = session::enter(&caller, session::Need::Users).map_err(|e| e.to_string())?;
    same(session, session::Session::Entered { ids: 65537 })?;
    let scratch = Scratch::new("session")?;
    io(std::fs::write(scratch.0.join("file"), ""))?;
    let script =
        "cat /proc/self/uid_map; stat -c %u /file; chown 33:44 /file && stat -c %u:%g /file";
    let text = output(&tree(&scratch.0, Changes::Direct, &["sh", "-c", script])?)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    same(words, vec!["0", "0", "1", "1", "1", "65535", "0", "33:44"])?;
    let mut spec = tree(&scratch.0, Changes::Ephemeral, &["id", "-u"])?;
    spec.user = UserSpec::Ids {
        uid: 1000,
        gid: 1000,
        groups: Vec::new(),
    };
    same(output(&spec)?, "1000\n".to_owned())
}

/// The same from root's side: a user is given a range in a mount namespace of the test's own.
pub fn a_user_with_subordinate_identifiers() -> Checked {
    let scratch = Scratch::new("subid")?;
    let ranges = scratch.0.join("subid");
    io(std::fs::write(&ranges, "65534:200000:65536\n"))?;
    let exe = io(std::env::current_exe())?;
    let own = scratch.0.join("jails");
    io(std::fs::copy(exe, &own))?;
    let script = "mount --bind \"$1\" /etc/subuid && mount --bind \"$1\" /etc/subgid && \
        exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$2\" --in-a-session";
    let mut command = std::process::Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(&ranges)
        .arg(&own);
    let result = io(command.output())?;
    is(
        result.status.success(),
        String::from_utf8_lossy(&[result.stdout, result.stderr].concat()),
    )
}
