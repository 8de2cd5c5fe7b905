use super::*;
use std::path::Path;
use std::process::Command;

/// Runs a shortcut whose program says that it was asked, and whose state is below `dir`.
fn asked(name: &str, dir: &Path, env: &[(&str, &str)], args: &str) -> bool {
    let (program, _, text) = SHORTCUTS
        .into_iter()
        .find(|(_, other, _)| *other == name)
        .unwrap();
    let text = text
        .replace(&format!("exec /{program}"), "exec echo asked")
        .replace("/var/lib/systemd", &dir.to_string_lossy());
    let script = dir.join(name);
    std::fs::write(&script, text).unwrap();
    // Words as a shell has them: '' is an empty one.
    let words = args
        .split(' ')
        .map(|word| if word == "''" { "" } else { word });
    let output = Command::new("/bin/sh")
        .arg(&script)
        .args(words.clone())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(env.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{args}");
    assert_eq!(output.stderr, b"", "{args}");
    let said = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = words.collect();
    assert!(
        said.is_empty() || said == format!("asked {}\n", words.join(" ")),
        "{said}"
    );
    !said.is_empty()
}

#[test]
fn a_first_installation_asks_dpkgs_helper_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    for name in ["preinst", "postinst"] {
        let env = [
            ("DPKG_MAINTSCRIPT_PACKAGE", "pkg"),
            ("DPKG_MAINTSCRIPT_NAME", name),
            ("DPKG_ROOT", ""),
        ];
        let action = match name {
            "preinst" => "install",
            _ => "configure ''",
        };
        let ask = |args: &str| asked("dpkg-maintscript-helper", dir.path(), &env, args);
        for args in [
            format!("rm_conffile /etc/x 1.0-1~ -- {action}"),
            format!("rm_conffile /etc/x 1.0-1~ pkg -- {action}"),
            format!("rm_conffile /etc/x -- {action}"),
            format!("mv_conffile /etc/x /etc/y 1.0~ -- {action}"),
            format!("symlink_to_dir {here}/x y 1.0 pkg -- {action}"),
            format!("dir_to_symlink {here}/x ../y 1.0 -- {action}"),
        ] {
            assert!(!ask(&args), "{name} {args}");
        }
    }
}

#[test]
fn whatever_else_is_dpkgs_helpers_to_answer() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("x.dpkg-backup")).unwrap();
    std::fs::create_dir(dir.path().join("y.dpkg-backup")).unwrap();
    let preinst = [
        ("DPKG_MAINTSCRIPT_PACKAGE", "pkg"),
        ("DPKG_MAINTSCRIPT_NAME", "preinst"),
    ];
    let postinst = [
        ("DPKG_MAINTSCRIPT_PACKAGE", "pkg"),
        ("DPKG_MAINTSCRIPT_NAME", "postinst"),
    ];
    let of_root = [preinst[0], preinst[1], ("DPKG_ROOT", "/x")];
    let telling = [preinst[0], preinst[1], ("DPKG_DEBUG", "1")];
    let removing = [preinst[0], ("DPKG_MAINTSCRIPT_NAME", "postrm")];
    let cases: &[(&[(&str, &str)], String)] = &[
        // What it would complain of.
        (&preinst[1..], "rm_conffile /etc/x 1.0 -- install".into()),
        (&preinst[..1], "rm_conffile /etc/x 1.0 -- install".into()),
        (&preinst, "rm_conffile etc/x 1.0 -- install".into()),
        (&preinst, "rm_conffile /etc/x 1.0-- -- install".into()),
        (&preinst, "rm_conffile /etc/x a1 -- install".into()),
        (&preinst, "rm_conffile /etc/x 1_0 -- install".into()),
        (&preinst, "rm_conffile /etc/x 1.0 install".into()),
        (&preinst, "rm_conffile /etc/x 1.0 --".into()),
        (&preinst, "rm_conffile".into()),
        (&preinst, "mv_conffile /etc/x -- install".into()),
        (&preinst, "mv_conffile /etc/x y 1.0 -- install".into()),
        (&preinst, "symlink_to_dir /etc/x/ y 1.0 -- install".into()),
        (&preinst, "symlink_to_dir /etc/x '' 1.0 -- install".into()),
        (&preinst, "frobnicate /etc/x -- install".into()),
        // What it has an answer for.
        (&preinst, "supports rm_conffile".into()),
        (&of_root, "rm_conffile /etc/x 1.0 -- install".into()),
        (&telling, "rm_conffile /etc/x 1.0 -- install".into()),
        // An upgrade, a removal, and something half done.
        (&preinst, "rm_conffile /etc/x 1.0 -- install 0.9".into()),
        (&preinst, "rm_conffile /etc/x 1.0 -- upgrade 0.9".into()),
        (&postinst, "rm_conffile /etc/x 1.0 -- configure 0.9".into()),
        (&postinst, "rm_conffile /etc/x 1.0 -- install".into()),
        (&removing, "rm_conffile /etc/x 1.0 -- purge".into()),
        (
            &postinst,
            format!("symlink_to_dir {here}/x y 1.0 -- configure ''"),
        ),
        (
            &postinst,
            format!("dir_to_symlink {here}/y x 1.0 -- configure ''"),
        ),
    ];
    for (env, args) in cases {
        assert!(
            asked("dpkg-maintscript-helper", dir.path(), env, args),
            "{args}"
        );
    }
}

#[test]
fn units_that_nothing_was_done_to_need_no_helper() {
    let dir = tempfile::tempdir().unwrap();
    let env = [("DPKG_MAINTSCRIPT_PACKAGE", "pkg")];
    let ask = |args: &str| asked("deb-systemd-helper", dir.path(), &env, args);
    assert!(!ask("unmask a-b@c_d.timer"));
    assert!(!ask("--quiet was-enabled a-b@c_d.timer"));
    for args in [
        "enable a.timer",
        "update-state a.timer",
        "was-enabled a.timer",
        "--user unmask a.timer",
        "unmask a.timer b.timer",
        "unmask --user",
        "unmask",
        "unmask a\\x2d.mount",
        "--quiet was-enabled ../a.timer",
        "--quiet debian-installed a.timer",
    ] {
        assert!(ask(args), "{args}");
    }
    assert!(asked("deb-systemd-helper", dir.path(), &[], "unmask a"));

    let enabled = dir.path().join("deb-systemd-helper-enabled");
    std::fs::create_dir(&enabled).unwrap();
    std::fs::write(enabled.join("a.timer.dsh-also"), "/etc/x\n").unwrap();
    assert!(ask("--quiet was-enabled a.timer"));
    assert!(!ask("--quiet was-enabled b.timer"));
    for state in [
        "deb-systemd-user-helper-masked",
        "deb-systemd-helper-masked",
    ] {
        let masked = dir.path().join(state);
        std::fs::create_dir(&masked).unwrap();
        assert!(ask("unmask a.timer"));
        std::fs::remove_dir(masked).unwrap();
    }
}
