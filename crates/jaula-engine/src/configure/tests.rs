use super::*;
use crate::event::Silent;
use std::process::{Command, Stdio};

/// Runs the driver on the host with a `/var/lib/dpkg/info` that is not there: every preinst fails with 127.
fn on_host(spec: JailSpec, hear: &mut dyn FnMut(&[u8])) -> Result<Status, ConfigureError> {
    let (program, arguments) = spec.command.split_first().unwrap();
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(spec.env)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    hear(&output.stdout);
    hear(&output.stderr);
    Ok(Status::Exited(output.status.code().unwrap() as u8))
}

fn preinst(name: &str) -> Preinst {
    Preinst {
        package: name.into(),
        arch: "all".into(),
        info_name: name.into(),
    }
}

#[test]
fn a_failing_preinst_is_named() {
    let names = [
        preinst("jaula-test-no-such-package"),
        preinst("never-reached"),
    ];
    let mut quiet = |spec: JailSpec, hear: &mut dyn FnMut(&[u8])| {
        let mut output = Vec::new();
        let status = on_host(spec, &mut |bytes| output.extend_from_slice(bytes));
        // Standard error (the shell's own words) first, so that the driver's line is the last, as on one pipe.
        let text = String::from_utf8(output).unwrap();
        let (said, marker): (Vec<&str>, Vec<&str>) = text
            .lines()
            .partition(|line| !line.starts_with("jaula: preinst of "));
        hear(format!("{}\n{}\n", said.join("\n"), marker.join("\n")).as_bytes());
        status
    };
    let error = run(Path::new("/"), &names, false, 0, &mut quiet, &Silent).unwrap_err();
    let ConfigureError::Preinst { package, code, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        (package.as_str(), *code),
        ("jaula-test-no-such-package", 127),
        "{:?}",
        error
    );
}

#[test]
fn names_are_arguments_and_never_shell_text() {
    let mut seen = Vec::new();
    let mut spy = |spec: JailSpec, _: &mut dyn FnMut(&[u8])| {
        seen = spec.command;
        Ok(Status::Exited(0))
    };
    let names = [preinst("a;touch /tmp/x"), preinst("$(id)")];
    run(Path::new("/"), &names, true, 0, &mut spy, &Silent).unwrap();
    assert_eq!(
        seen.iter()
            .filter(|word| word.to_str().unwrap().contains("touch"))
            .count(),
        2
    );
    assert_eq!(seen[2], DRIVER);
    assert_eq!(seen.last().unwrap(), "configure");
}

#[test]
fn dpkg_tells_which_package_failed() {
    let mut failing = |_: JailSpec, hear: &mut dyn FnMut(&[u8])| {
        hear(b"Setting up web (1.0) ...\nno port left\ndpkg: error processing package we");
        hear(b"b (--configure):\n installed web package post-installation script subprocess returned error exit status 3\n");
        hear(b"dpkg: error processing package other (--configure):\n\x1b]0;evil\x07 dependency problems\n");
        // dpkg goes on with what does not need it.
        for number in 0..100 {
            hear(format!("Setting up number{number} (1.0) ...\n").as_bytes());
        }
        Ok(Status::Exited(1))
    };
    let error = run(Path::new("/"), &[], true, 0, &mut failing, &Silent).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("package web could not be configured (--configure, status 1)"),
        "{text}"
    );
    assert!(
        text.contains("no port left") && text.contains("error exit status 3"),
        "{text}"
    );
    assert!(!text.contains('\x1b') && !text.contains('\x07'));
    assert!(error.hints()[0].contains("--exclude web"));
}

#[test]
fn nothing_to_run_runs_nothing() {
    let mut never =
        |_: JailSpec, _: &mut dyn FnMut(&[u8])| -> Result<Status, ConfigureError> { panic!("ran") };
    run(Path::new("/"), &[], false, 0, &mut never, &Silent).unwrap();
}
