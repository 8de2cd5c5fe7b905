//! Which packages are asked for: `--include` in all its forms, tasks, recommended ones, foreign architectures, and what
//! is preferred.

use crate::error::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::ImageOptions;
use jaula_plan::names::Arch;
use jaula_plan::spec::rootfs::Want;
use std::path::PathBuf;

use super::low::parse;

/// The options, in the group of those that say what an image is.
pub fn options(command: Command) -> Command {
    let list = |name: &'static str, placeholder: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name(placeholder)
            .help(help)
            .action(ArgAction::Append)
            .value_delimiter(',')
    };
    command.args([
        list(
            "include",
            "PKG[:ARCH][=VERSION][/SUITE],…",
            "Packages besides those of the variant; TASK^ and package files (./x.deb) too",
        ),
        list("task", "TASK,…", "All packages of a task"),
        Arg::new("recommends")
            .long("recommends")
            .action(ArgAction::SetTrue)
            .help("Take what packages recommend too"),
        list(
            "foreign-arch",
            "ARCH,…",
            "Architectures besides the image's own, for packages asked for as PKG:ARCH and what they need",
        ),
    ])
}

/// The names of the options, for REFs that are no distribution.
pub const NAMES: [&str; 4] = ["include", "task", "recommends", "foreign-arch"];

/// Reads the options into an image's.
///
/// # Errors
/// When a word is none of the forms that it may have.
pub fn read(matches: &ArgMatches, options: &mut ImageOptions) -> Result<(), CommandError> {
    let words = |name: &str| -> Vec<String> {
        let given = matches.get_many::<String>(name).into_iter().flatten();
        let trimmed = given.map(|word| word.trim().to_owned());
        trimmed.filter(|word| !word.is_empty()).collect()
    };
    for word in words("include") {
        match asked(&word)? {
            Asked::Package(want) => options.include.push(want),
            Asked::Task(task) => options.tasks.push(task),
            Asked::File(path) => options.debs.push(path),
        }
    }
    for word in words("task") {
        options
            .tasks
            .push(task("--task", word.strip_suffix('^').unwrap_or(&word))?);
    }
    for word in words("foreign-arch") {
        options
            .foreign_archs
            .push(parse::<Arch>("--foreign-arch", &word)?);
    }
    options.recommends = matches.get_flag("recommends");
    Ok(())
}

/// One word of `--include`.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// `NAME[:ARCH][=VERSION][/SUITE]`
    Package(Want),
    /// `TASK^`
    Task(String),
    /// A package file: a word with a slash before its name, or that begins with one.
    File(PathBuf),
}

/// Reads a word of `--include`, as apt-get(8) reads those of `install`.
///
/// # Errors
/// When it is none of the forms.
pub fn asked(word: &str) -> Result<Asked, CommandError> {
    let is_path = ["/", "./", "../"]
        .iter()
        .any(|start| word.starts_with(start));
    if is_path {
        return Ok(Asked::File(PathBuf::from(word)));
    }
    if let Some(name) = word.strip_suffix('^') {
        return task("--include", name).map(Asked::Task);
    }
    if word.ends_with(".deb") {
        return Err(wrong(word).hint("write ./ before the name of a package file"));
    }
    want(word).map(Asked::Package)
}

fn wrong(word: &str) -> CommandError {
    CommandError::usage(format!("cannot use {word:?} for --include"))
}

fn task(option: &str, name: &str) -> Result<String, CommandError> {
    // What tasksel's own list has, and nothing that a field could be split at.
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-+.".contains(c);
    if name.is_empty() || !name.chars().all(good) {
        return Err(CommandError::usage(format!(
            "cannot use {name:?} as a task for {option}"
        )));
    }
    Ok(name.to_owned())
}

/// `NAME[:ARCH][=VERSION][/SUITE]`
///
/// # Errors
/// When it is in none of these forms.
pub fn want(word: &str) -> Result<Want, CommandError> {
    let forms = "write PACKAGE, PACKAGE:ARCH, PACKAGE=VERSION or PACKAGE/SUITE";
    let (rest, suite) = match word.split_once('/') {
        Some((rest, suite)) => (rest, Some(suite)),
        None => (word, None),
    };
    let (rest, version) = match rest.split_once('=') {
        Some((rest, version)) => (rest, Some(version)),
        None => (rest, None),
    };
    let (name, arch) = match rest.split_once(':') {
        Some((name, arch)) => (name, Some(arch)),
        None => (rest, None),
    };
    // Debian Policy 5.6.12: what a version may hold.
    let in_version = |c: char| c.is_ascii_alphanumeric() || ".+~:-".contains(c);
    let in_suite = |c: char| c.is_ascii_alphanumeric() || ".+~-_".contains(c);
    let good = |text: Option<&str>, allowed: &dyn Fn(char) -> bool| {
        text.is_none_or(|text| !text.is_empty() && text.chars().all(allowed))
    };
    if !good(version, &in_version) || !good(suite, &in_suite) {
        return Err(wrong(word).hint(forms));
    }
    Ok(Want {
        arch: arch.map(|arch| parse("--include", arch)).transpose()?,
        version: version.map(str::to_owned),
        suite: suite.map(str::to_owned),
        ..Want::any(parse("--include", name)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_forms_of_apt_get() {
        let package = |word: &str| match asked(word) {
            Ok(Asked::Package(want)) => want.to_string(),
            other => panic!("{word}: {other:?}"),
        };
        for word in [
            "nginx",
            "nginx=1:2~a",
            "libc6:i386",
            "libc6:i386=2.36-9",
            "nginx/bookworm-backports",
            "nginx=1/stable",
            "g++",
        ] {
            assert_eq!(package(word), word);
        }
        assert!(matches!(asked("mail-server^"), Ok(Asked::Task(task)) if task == "mail-server"));
        for path in ["./x.deb", "../x.deb", "/tmp/x.deb"] {
            assert!(
                matches!(asked(path), Ok(Asked::File(file)) if file == std::path::Path::new(path))
            );
        }
        for bad in [
            "",
            "=1",
            "nginx=",
            "nginx=1 2",
            "nginx=$(x)",
            "a/",
            "a/b/c",
            "a:",
            ":a",
            "a:b:c",
            "a=1=2",
            "^",
            "a b^",
            "x.deb",
            "a/../b",
            "-a",
            "a,b",
        ] {
            assert!(asked(bad).is_err(), "{bad:?}");
        }
    }
}
