//! Where ld.so(8) looks for libraries: the directories that a file itself names, those of ld.so.conf, and its own.

use super::MinimalError;
use crate::facts::elf::HostFiles;
use jaula_repo::elf::Identity;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Files of settings that name each other; more is a circle.
const MOST_FILES: usize = 256;
/// Kinds of processors; there are four of x86-64.
const MOST_HARDWARE: usize = 64;
/// Directories of all of them.
const MOST_DIRECTORIES: usize = 1024;

/// Names of a machine in paths: Debian's multiarch tuple, and what `$PLATFORM` stands for (ld.so(8)).
pub fn machine_names(identity: Identity) -> (Option<&'static str>, &'static str) {
    match identity.debian_arch() {
        Some("amd64") => (Some("x86_64-linux-gnu"), "x86_64"),
        Some("x32") => (Some("x86_64-linux-gnux32"), "x86_64"),
        Some("i386") => (Some("i386-linux-gnu"), "i686"),
        Some("arm64") => (Some("aarch64-linux-gnu"), "aarch64"),
        Some("armhf") => (Some("arm-linux-gnueabihf"), "v7l"),
        Some("riscv64") => (Some("riscv64-linux-gnu"), "riscv64"),
        Some("ppc64el") => (Some("powerpc64le-linux-gnu"), "power8"),
        Some("s390x") => (Some("s390x-linux-gnu"), "z900"),
        Some("loong64") => (Some("loongarch64-linux-gnu"), "loongarch64"),
        _ => (None, ""),
    }
}

/// The directories that the loader knows by itself.
pub fn default_directories(identity: Identity, musl: bool) -> Vec<PathBuf> {
    if musl {
        return ["/lib", "/usr/local/lib", "/usr/lib"]
            .map(PathBuf::from)
            .to_vec();
    }
    let mut directories = Vec::new();
    let (tuple, _) = machine_names(identity);
    if let Some(name) = tuple {
        directories.push(Path::new("/lib").join(name));
        directories.push(Path::new("/usr/lib").join(name));
    }
    if identity.wide {
        directories.extend(["/lib64", "/usr/lib64"].map(PathBuf::from));
    }
    directories.extend(["/lib", "/usr/lib"].map(PathBuf::from));
    directories
}

/// Directories within a directory of libraries in which ld.so(8) looks first, on processors that have what their names
/// say (`glibc-hwcaps/x86-64-v3`). Which of them one processor takes is not known here: all are.
pub fn hardware_directories(
    host: &mut dyn HostFiles,
    directory: &Path,
) -> Result<Vec<PathBuf>, MinimalError> {
    let all = directory.join("glibc-hwcaps");
    let mut names = host.names(&all)?;
    if names.len() > MOST_HARDWARE {
        return Err(MinimalError::TooMuch {
            most: MOST_HARDWARE,
            what: "directories of glibc-hwcaps",
        });
    }
    // The best first, as far as a number tells.
    names.sort();
    Ok(names.iter().rev().map(|name| all.join(name)).collect())
}

/// The directories of a DT_RPATH or DT_RUNPATH, with `$ORIGIN`, `$LIB` and `$PLATFORM` put in (ld.so(8)). What
/// `$LIB` is depends on how the loader was built: each possibility is one directory. A directory that depends on
/// where the program is started is left out: in a jail it means nothing.
pub fn run_path(list: &[u8], origin: &Path, identity: Identity) -> Vec<PathBuf> {
    let (tuple, platform) = machine_names(identity);
    let mut directories = Vec::new();
    for entry in list.split(|byte| *byte == b':') {
        let entry = replaced(entry, "ORIGIN", origin.as_os_str().as_bytes());
        let entry = replaced(&entry, "PLATFORM", platform.as_bytes());
        let mut libs: Vec<String> = tuple.iter().map(|tuple| format!("lib/{tuple}")).collect();
        if identity.wide {
            libs.push("lib64".to_owned());
        }
        libs.push("lib".to_owned());
        for lib in libs {
            let directory =
                PathBuf::from(OsString::from_vec(replaced(&entry, "LIB", lib.as_bytes())));
            if directory.is_absolute() && !directories.contains(&directory) {
                directories.push(directory);
            }
        }
    }
    directories
}

/// `$NAME` and `${NAME}` replaced.
fn replaced(text: &[u8], name: &str, value: &[u8]) -> Vec<u8> {
    let (plain, braced) = (format!("${name}"), format!("${{{name}}}"));
    let mut made = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(braced.as_bytes()) {
            made.extend_from_slice(value);
            rest = after;
            continue;
        }
        let ends = |after: &&[u8]| {
            !after
                .first()
                .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        };
        if let Some(after) = rest.strip_prefix(plain.as_bytes()).filter(ends) {
            made.extend_from_slice(value);
            rest = after;
            continue;
        }
        made.push(*first);
        rest = after;
    }
    made
}

/// A needed name that is a path: `$ORIGIN` and the others put in.
pub fn named_path(name: &[u8], origin: &Path, identity: Identity) -> Vec<PathBuf> {
    run_path(name, origin, identity)
}

/// The directories that ld.so.conf and the files that it includes list (ldconfig(8)), in their order.
pub fn configured(host: &mut dyn HostFiles) -> Result<Vec<PathBuf>, MinimalError> {
    let mut directories = Vec::new();
    let mut files = vec![PathBuf::from("/etc/ld.so.conf")];
    let mut read = 0usize;
    // The last is the next: what a file includes comes where it is included only if that is its last line, which is
    // how every distribution has it; the rest of an order between equals decides nothing.
    while let Some(file) = files.pop() {
        read = read.saturating_add(1);
        if read > MOST_FILES {
            return Err(MinimalError::TooMuch {
                most: MOST_FILES,
                what: "files of ld.so.conf",
            });
        }
        let Some(text) = host.text(&file)? else {
            continue;
        };
        let mut included = Vec::new();
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
            let mut words = line
                .split(|byte| b" \t,:=\r".contains(byte))
                .filter(|word| !word.is_empty());
            let Some(first) = words.next() else { continue };
            match first {
                b"include" => {
                    for pattern in words {
                        included.extend(matching(host, &file, OsStr::from_bytes(pattern))?);
                    }
                }
                // Of processors that no kernel has any more.
                b"hwcap" => {}
                first => {
                    let directory = PathBuf::from(OsStr::from_bytes(first));
                    if directory.is_absolute() && !directories.contains(&directory) {
                        directories.push(directory);
                    }
                }
            }
            if directories.len() > MOST_DIRECTORIES {
                return Err(MinimalError::TooMuch {
                    most: MOST_DIRECTORIES,
                    what: "directories of ld.so.conf",
                });
            }
        }
        files.extend(included.into_iter().rev());
    }
    Ok(directories)
}

/// The files that an `include` names; its last component may be a pattern of glob(7).
fn matching(
    host: &mut dyn HostFiles,
    file: &Path,
    pattern: &OsStr,
) -> Result<Vec<PathBuf>, MinimalError> {
    let pattern = file.parent().unwrap_or(Path::new("/")).join(pattern);
    let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name()) else {
        return Ok(Vec::new());
    };
    if !name.as_bytes().iter().any(|byte| b"*?".contains(byte)) {
        return Ok(vec![pattern]);
    }
    let mut names = host.names(directory)?;
    names.sort();
    Ok(names
        .iter()
        .filter(|found| {
            !found.as_bytes().starts_with(b".") && glob(name.as_bytes(), found.as_bytes())
        })
        .map(|found| directory.join(found))
        .collect())
}

/// Whether a name fits a pattern of `*` and `?`.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (pattern, name);
    // After the last star, and what it has swallowed less by one than next time.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (p.split_first(), n.split_first()) {
            (Some((b'*', rest)), _) => {
                retry = Some((rest, n));
                p = rest;
            }
            (Some((wanted, rest)), Some((is, left))) if *wanted == b'?' || wanted == is => {
                (p, n) = (rest, left);
            }
            (None, None) => return true,
            _ => match retry.and_then(|(p, n)| Some((p, n.split_first()?.1))) {
                Some((after, left)) => {
                    retry = Some((after, left));
                    (p, n) = (after, left);
                }
                None => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMD64: Identity = Identity {
        wide: true,
        little_endian: true,
        machine: 62,
    };

    #[test]
    fn tokens_of_the_loader_are_put_in() {
        let dirs = |list: &str| run_path(list.as_bytes(), Path::new("/opt/x/bin"), AMD64);
        assert_eq!(dirs("$ORIGIN/../lib"), [Path::new("/opt/x/bin/../lib")]);
        assert_eq!(
            dirs("${ORIGIN}:/a/$PLATFORM::rel"),
            [Path::new("/opt/x/bin"), Path::new("/a/x86_64")]
        );
        assert_eq!(
            dirs("/usr/$LIB/a"),
            ["/usr/lib/x86_64-linux-gnu/a", "/usr/lib64/a", "/usr/lib/a"].map(Path::new)
        );
        assert_eq!(dirs("/$ORIGINAL"), [Path::new("/$ORIGINAL")]);
    }

    #[test]
    fn patterns() {
        for (pattern, name, fits) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf~", false),
            ("a*b*c", "aXbYbZc", true),
            ("?", "", false),
            ("a?", "ab", true),
            ("*", "", true),
        ] {
            assert_eq!(
                glob(pattern.as_bytes(), name.as_bytes()),
                fits,
                "{pattern} {name}"
            );
        }
    }
}
