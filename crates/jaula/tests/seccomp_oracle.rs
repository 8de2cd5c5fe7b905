//! The same profile by jaula and by the OCI runtimes that are installed: the same calls are answered alike.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::{hermetic, skip};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// Number, and arguments that change nothing whether or not the call is done.
const CALLS: &str = "([83,0,0],[258,-1,0,0],[41,16,3,9],[41,16,3,8],[41,1,3,9],[41,99,1,0],[62,0,77],[62,0,0],\
    [121,0x100000000],[121,0xffffffff],[121,0],[135,0xffffffff],[135,0x40000],[135,0x123456789],[16,-1,0x5412],\
    [16,-1,0x541c],[16,-1,0x5413],[16,-1,0xdead00005412],[39],[102],[157,99,0,0],[157,99,1,0],[218,0],[250,0,0],\
    [248,0,0],[321,-1,0,0],[272,0x10000000],[272,0],[56,0x10000000,1],[435,0,0],[437,-1,0,0,0],[439,-1,0,0,0],\
    [441,-1,0,0,0],[449,0,0,0],[450,0,0,0],[451,-1,0,0],[460,0,0,0],[999],[161,0],[165,0,0,0],[101,-1,0,0])";

/// Everything but a few calls, each comparison in turn.
fn permissive() -> Value {
    let arg = |index: u32, op: &str, value: u64| json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value});
    let entry = |name: &str, errno: u32, args: Vec<Value>| json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args});
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["mkdir", "mkdirat", "no_such_call_here"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            entry("socket", 93, vec![arg(0, "EQ", 16), arg(2, "EQ", 9)]),
            entry("kill", 71, vec![arg(1, "GE", 65), arg(0, "LE", 5)]),
            entry("getpgid", 72, vec![arg(0, "GT", 0xffff_ffff)]),
            entry("personality", 73, vec![arg(0, "NE", 0xffff_ffff)]),
            entry("ioctl", 74, vec![arg(1, "EQ", 0x5412), arg(1, "EQ", 0x541c)]),
            entry("prctl", 75, vec![arg(0, "LT", 100), arg(1, "LT", 1)]),
            json!({"names": ["unshare", "clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 76, "args": [
                {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0x1000_0000, "valueTwo": 0x1000_0000}]}),
        ],
    })
}

/// A list of permitted calls, long enough to run perl(1).
fn strict() -> Value {
    let shipped = include_str!("../../jaula-plan/src/seccomp/shipped.json");
    let mut profile: Value = serde_json::from_str(shipped).expect("JSON");
    let plain = |entry: &Value| {
        let none = |key: &str| entry[key].as_object().is_none_or(serde_json::Map::is_empty);
        none("includes") && none("excludes") && entry["errno"].is_null()
    };
    let entries = profile["syscalls"].as_array_mut().expect("a list");
    entries.retain(plain);
    // What the runtimes call after the filter is loaded.
    entries.push(json!({"names": ["capget", "capset", "epoll_ctl", "epoll_pwait", "fchdir", "fstatfs", "nanosleep",
        "readlinkat", "sched_yield", "setgid", "setgroups", "setresgid", "setresuid", "setuid", "tgkill"],
        "action": "SCMP_ACT_ALLOW"}));
    let object = profile.as_object_mut().expect("an object");
    object.remove("archMap");
    object.insert(
        "architectures".into(),
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]),
    );
    profile
}

fn script() -> String {
    format!("for my $c ({CALLS}) {{ for my $a ($c) {{ $! = 0; syscall($a->[0], map {{ $_ // 0 }} @$a[1..6]); print $a->[0], qq{{ }}, $!+0, qq{{\\n}}; }} }}")
        .replace("for my $c ((", "for my $c (")
        .replace(")) {", ") {")
}

/// What a runtime's container prints.
fn by_runtime(runtime: &str, bundle: &Path, profile: &Value) -> Result<String, String> {
    let root = bundle.join("root");
    for name in ["usr", "proc", "dev", "etc", "tmp"] {
        fs::create_dir_all(root.join(name)).expect("a directory");
    }
    for name in ["bin", "lib", "lib64"] {
        if !root.join(name).is_symlink() {
            symlink(Path::new("usr").join(name), root.join(name)).expect("a link");
        }
    }
    let caps = [
        "CAP_CHOWN",
        "CAP_KILL",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_NET_RAW",
    ];
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "noNewPrivileges": true,
            "args": ["perl", "-e", script()], "env": ["PATH=/usr/bin:/bin", "LANG=C"],
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "root": {"path": "root", "readonly": false},
        "mounts": [
            {"destination": "/usr", "type": "none", "source": "/usr", "options": ["rbind", "ro"]},
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
            "seccomp": profile,
        },
    });
    fs::write(bundle.join("config.json"), config.to_string()).expect("a file");
    let name = format!("jaula-oracle-{}", std::process::id());
    // The one that knows no hybrid hierarchies does without control groups.
    let before: &[&str] = match runtime {
        "crun" => &["--cgroup-manager=disabled"],
        _ => &[],
    };
    let output = Command::new(runtime)
        .args(before)
        .args(["run", "--bundle"])
        .arg(bundle)
        .arg(&name)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    // After a failure nothing may be left.
    drop(
        Command::new(runtime)
            .args(["delete", "--force", &name])
            .output(),
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && !text.is_empty() {
        Ok(text)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

#[test]
fn the_runtimes_answer_the_same() {
    if fs::metadata("/proc/self").expect("our own process").uid() != 0 {
        skip!("the runtimes are asked as root only");
    }
    let place = hermetic!();
    let profiles = [("permissive", permissive()), ("strict", strict())];
    let mut compared = 0;
    for (name, profile) in &profiles {
        let file = place.work().join(format!("{name}.json"));
        fs::write(&file, profile.to_string()).expect("a file");
        let file = file.to_str().expect("text");
        let script = script();
        let words = [
            "run",
            "--ids",
            "host",
            "--cap-drop",
            "all",
            "--cap-add",
            "chown,kill,setuid,setgid,net_raw",
            "--best-effort",
            "--seccomp",
            file,
            "--env",
            "LANG=C",
            "--",
            "perl",
            "-e",
            &script,
        ];
        let ours = place.run(&words).expect(0).stdout;
        assert_eq!(ours.lines().count(), CALLS.matches('[').count(), "{ours}");
        for runtime in ["runc", "crun"] {
            let bundle = place.work().join(format!("{runtime}-{name}"));
            match by_runtime(runtime, &bundle, profile) {
                Ok(theirs) => {
                    compared += 1;
                    let differences: Vec<String> = ours
                        .lines()
                        .zip(theirs.lines())
                        .zip(CALLS.split("],"))
                        .filter(|((a, b), _)| a != b)
                        .map(|((a, b), call)| format!("{call}: jaula {a}, {runtime} {b}"))
                        .collect();
                    assert!(
                        differences.is_empty(),
                        "{name}, {runtime}:\n{}",
                        differences.join("\n")
                    );
                }
                Err(why) => eprintln!("{runtime} with {name}: {why}"),
            }
        }
    }
    if compared == 0 {
        skip!("no OCI runtime works here");
    }
    // The permissive one has refused at every comparison, or the test says nothing.
    let text = place
        .run(&[
            "run",
            "--best-effort",
            "--seccomp",
            place.work().join("permissive.json").to_str().expect("text"),
            "--",
            "perl",
            "-e",
            &script(),
        ])
        .expect(0)
        .stdout;
    for errno in ["95", "93", "71", "72", "73", "74", "75", "76"] {
        assert!(
            text.lines()
                .any(|line| line.ends_with(&format!(" {errno}"))),
            "no {errno} in {text}"
        );
    }
}
