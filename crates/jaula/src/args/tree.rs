//! What is put into a jail's tree, as typed: one option each, in the order in which they stand.

use crate::args::disk;
use crate::args::low::inside;
use crate::error::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use jaula_plan::spec::jail::{BindOptions, MountSpec, OverlayTop};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

type Reader = fn(&'static str, &OsStr) -> Result<MountSpec, CommandError>;

/// An option: its name, its form, what it does, and who reads it.
struct Form {
    name: &'static str,
    form: &'static str,
    help: &'static str,
    read: Reader,
}

const FORMS: [Form; 13] = [
    Form {
        name: "bind",
        form: "SRC:DST[:OPT,…]",
        help: "Show SRC of the host at DST inside; OPT: ro, noexec, dev, norec, try, and rw, exec, nodev, nosuid, rec",
        read: bind,
    },
    Form {
        name: "tmpfs",
        form: "DIR[:OPT,…]",
        help: "An empty directory in memory at DIR inside; OPT: size=BYTES[k|M|G], mode=OCTAL",
        read: tmpfs,
    },
    Form {
        name: "iso",
        form: "FILE:DIR",
        help: "The ISO 9660 image FILE at DIR inside, read-only, without a driver and without root",
        read: disk::iso,
    },
    Form {
        name: "image",
        form: "FILE[@OFFSET]:DIR",
        help: "A disk image at DIR inside, read-only: ISO 9660, squashfs, ext2/3/4; OFFSET: BYTES[K|M|G]",
        read: disk::image,
    },
    Form {
        name: "overlay",
        form: "LOWER[:LOWER…]:DST[,OPT…]",
        help: "Directories of the host over each other at DST, the first uppermost, changes in memory; OPT: upper=DIR and work=DIR, or ro",
        read: overlay,
    },
    Form {
        name: "symlink",
        form: "TEXT:DST",
        help: "A symbolic link to TEXT at DST inside",
        read: symlink,
    },
    Form {
        name: "file",
        form: "SRC:DST[:MODE]",
        help: "A copy of the file SRC at DST inside [default mode: 644]",
        read: file,
    },
    Form {
        name: "dir",
        form: "DIR[:MODE]",
        help: "A directory at DIR inside, if there is none [default mode: 755]",
        read: directory,
    },
    Form {
        name: "dev",
        form: "DIR",
        help: "A /dev of its own at DIR inside",
        read: |name, word| {
            Ok(MountSpec::Dev {
                at: place(name, word)?,
            })
        },
    },
    Form {
        name: "proc",
        form: "DIR",
        help: "A procfs of its own at DIR inside",
        read: |name, word| {
            Ok(MountSpec::Proc {
                at: place(name, word)?,
            })
        },
    },
    Form {
        name: "mqueue",
        form: "DIR",
        help: "POSIX message queues at DIR inside",
        read: |name, word| {
            Ok(MountSpec::Mqueue {
                at: place(name, word)?,
            })
        },
    },
    Form {
        name: "remount-ro",
        form: "DIR",
        help: "Make the mount at DIR inside read-only, not what is mounted beneath it",
        read: |name, word| {
            Ok(MountSpec::RemountReadOnly {
                at: place(name, word)?,
            })
        },
    },
    Form {
        name: "chmod",
        form: "MODE:PATH",
        help: "Change the mode of PATH inside",
        read: chmod,
    },
];

/// The options.
pub fn options(command: Command) -> Command {
    command
        .args(FORMS.iter().map(|form| {
            Arg::new(form.name)
                .long(form.name)
                .value_name(form.form)
                .help(form.help)
                .action(ArgAction::Append)
                .value_parser(value_parser!(OsString))
        }))
        .arg(disk::driver())
}

/// What was typed, in its order.
///
/// # Errors
/// When one is not in its form.
pub fn read(matches: &ArgMatches) -> Result<Vec<MountSpec>, CommandError> {
    let mut found = Vec::new();
    for form in &FORMS {
        let indices = matches.indices_of(form.name).into_iter().flatten();
        let words = matches
            .get_many::<OsString>(form.name)
            .into_iter()
            .flatten();
        for (index, word) in indices.zip(words) {
            found.push((index, (form.read)(form.name, word)?));
        }
    }
    found.sort_by_key(|(index, _)| *index);
    let mut mounts: Vec<MountSpec> = found.into_iter().map(|(_, mount)| mount).collect();
    disk::choose_driver(matches, &mut mounts);
    Ok(mounts)
}

fn wrong(name: &'static str, word: &OsStr) -> CommandError {
    let form = FORMS.iter().find(|form| form.name == name);
    let form = form.map_or("", |form| form.form);
    CommandError::usage(format!(
        "cannot use {:?} for --{name}",
        word.to_string_lossy()
    ))
    .hint(format!("write {form}"))
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn place(name: &'static str, word: &OsStr) -> Result<PathBuf, CommandError> {
    inside(Path::new(word), &format!("--{name}"))?;
    Ok(PathBuf::from(word))
}

/// The parts between colons; none of the first `paths` is empty.
fn parts<'w>(
    name: &'static str,
    word: &'w OsStr,
    paths: usize,
    most: usize,
) -> Result<Vec<&'w [u8]>, CommandError> {
    let parts: Vec<&[u8]> = word.as_bytes().split(|b| *b == b':').collect();
    let whole = parts.len() >= paths && parts.len() <= most;
    if !whole || parts.iter().take(paths).any(|part| part.is_empty()) {
        return Err(wrong(name, word));
    }
    Ok(parts)
}

fn octal(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let digits = text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| digits && *mode <= 0o7777)
}

/// A number of bytes, with or without a unit of 1024.
pub fn size(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let unit = text.char_indices().last().and_then(|(at, unit)| {
        let power = match unit.to_ascii_lowercase() {
            'k' => 1,
            'm' => 2,
            'g' => 3,
            't' => 4,
            _ => return None,
        };
        Some((text.get(..at)?, 1024u64.pow(power)))
    });
    let (digits, unit) = unit.unwrap_or((text, 1));
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| plain)?;
    number.checked_mul(unit).filter(|size| *size > 0)
}

fn bind(name: &'static str, word: &OsStr) -> Result<MountSpec, CommandError> {
    let parts = parts(name, word, 2, 3)?;
    let mut options = BindOptions::WRITABLE;
    if let Some(list) = parts.get(2) {
        for option in list.split(|b| *b == b',') {
            match option {
                b"ro" => options.read_only = true,
                b"rw" => options.read_only = false,
                b"noexec" => options.no_exec = true,
                b"exec" => options.no_exec = false,
                b"dev" => options.devices = true,
                b"nodev" => options.devices = false,
                b"rec" => options.recursive = true,
                b"norec" => options.recursive = false,
                b"try" => options.optional = true,
                // It always is so.
                b"nosuid" => {}
                _ => return Err(wrong(name, word)),
            }
        }
    }
    let (from, to) = (parts.first(), parts.get(1));
    let to = place(name, OsStr::from_bytes(to.copied().unwrap_or_default()))?;
    Ok(MountSpec::Bind {
        from: path(from.copied().unwrap_or_default()),
        to,
        options,
    })
}

fn tmpfs(name: &'static str, word: &OsStr) -> Result<MountSpec, CommandError> {
    let parts = parts(name, word, 1, 2)?;
    let (mut most, mut mode) = (None, None);
    if let Some(list) = parts.get(1) {
        for option in list.split(|b| *b == b',') {
            let refuse = || wrong(name, word);
            if let Some(text) = option.strip_prefix(b"size=") {
                most = Some(size(text).ok_or_else(refuse)?);
            } else if let Some(text) = option.strip_prefix(b"mode=") {
                mode = Some(octal(text).ok_or_else(refuse)?);
            } else {
                return Err(refuse());
            }
        }
    }
    let at = parts.first().copied().unwrap_or_default();
    Ok(MountSpec::Tmpfs {
        at: place(name, OsStr::from_bytes(at))?,
        size: most,
        mode,
    })
}

fn overlay(name: &'static str, word: &OsStr) -> Result<MountSpec, CommandError> {
    let refuse = || wrong(name, word);
    let mut fields = word.as_bytes().split(|b| *b == b',');
    let mut dirs: Vec<&[u8]> = fields
        .next()
        .unwrap_or_default()
        .split(|b| *b == b':')
        .collect();
    let to = dirs.pop().unwrap_or_default();
    if dirs.is_empty() || to.is_empty() || dirs.iter().any(|dir| dir.is_empty()) {
        return Err(refuse());
    }
    let (mut upper, mut work, mut read_only) = (None, None, false);
    for field in fields {
        if let Some(dir) = field.strip_prefix(b"upper=") {
            upper = Some(path(dir)).filter(|dir| !dir.as_os_str().is_empty());
        } else if let Some(dir) = field.strip_prefix(b"work=") {
            work = Some(path(dir)).filter(|dir| !dir.as_os_str().is_empty());
        } else if field == b"ro" {
            read_only = true;
        } else {
            return Err(refuse());
        }
    }
    let top = match (upper, work, read_only) {
        (None, None, false) => OverlayTop::Memory,
        (None, None, true) => OverlayTop::Nothing,
        (Some(upper), Some(work), false) => OverlayTop::Directory { upper, work },
        _ => return Err(refuse().hint("upper= and work= go together, and not with ro")),
    };
    Ok(MountSpec::Overlay {
        lower: dirs.into_iter().map(path).collect(),
        to: place(name, OsStr::from_bytes(to))?,
        top,
    })
}

fn symlink(name: &'static str, word: &OsStr) -> Result<MountSpec, CommandError> {
    let parts = parts(name, word, 2, 2)?;
    let (text, at) = (parts.first(), parts.get(1));
    Ok(MountSpec::Symlink {
        text: path(text.copied().unwrap_or_default()),
        at: place(name, OsStr::from_bytes(at.copied().unwrap_or_default()))?,
    })
}

fn file(name: &'static str, word: &OsStr) -> Result<MountSpec, CommandError> {
    let parts = parts(name, word, 2, 3)?;
    let mode = parts
        .get(2)
        .map(|mode| octal(mode).ok_or_else(|| wrong(name, word)));
    let (from, to) = (parts.first(), parts.get(1));
    Ok(MountSpec::File {
        from: path(from.copied().unwrap_or_default()),
        to: place(name, OsStr::from_bytes(to.copied().unwrap_or_default()))?,
        mode: mode.transpose()?,
    })
}

fn directory(name: &'static str, word: &OsStr) -> Result<MountSpec, CommandError> {
    let parts = parts(name, word, 1, 2)?;
    let mode = parts
        .get(1)
        .map(|mode| octal(mode).ok_or_else(|| wrong(name, word)));
    let at = parts.first().copied().unwrap_or_default();
    Ok(MountSpec::Directory {
        at: place(name, OsStr::from_bytes(at))?,
        mode: mode.transpose()?.unwrap_or(0o755),
    })
}

fn chmod(name: &'static str, word: &OsStr) -> Result<MountSpec, CommandError> {
    let parts = parts(name, word, 2, 2)?;
    let mode = parts.first().and_then(|mode| octal(mode));
    let at = parts.get(1).copied().unwrap_or_default();
    Ok(MountSpec::Chmod {
        at: place(name, OsStr::from_bytes(at))?,
        mode: mode.ok_or_else(|| wrong(name, word))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Result<Vec<MountSpec>, CommandError> {
        let command = options(Command::new("x").no_binary_name(true));
        read(
            &command
                .try_get_matches_from(text.split(' '))
                .expect("options"),
        )
    }

    fn one(text: &str) -> MountSpec {
        typed(text).expect(text).pop().expect("one")
    }

    #[test]
    fn the_order_is_that_of_the_line() {
        let all = typed("--tmpfs /a --bind /x:/a/b --tmpfs /a/b/c --dev /dev").expect("mounts");
        let targets: Vec<&PathBuf> = all.iter().map(MountSpec::target).collect();
        assert_eq!(targets, ["/a", "/a/b", "/a/b/c", "/dev"].map(Path::new));
    }

    #[test]
    fn binds_in_every_form() {
        let made = |from: &str, to: &str, options| MountSpec::bind(from, to, options);
        assert_eq!(one("--bind /a:/b"), made("/a", "/b", BindOptions::WRITABLE));
        assert_eq!(
            one("--bind a:/b:ro"),
            made("a", "/b", BindOptions::READ_ONLY)
        );
        let odd = BindOptions {
            no_exec: true,
            devices: true,
            recursive: false,
            optional: true,
            ..BindOptions::READ_ONLY
        };
        assert_eq!(
            one("--bind a:/b:ro,noexec,dev,norec,try,nosuid"),
            made("a", "/b", odd)
        );
        assert_eq!(
            one("--bind a:/b:ro,dev,rw,nodev"),
            made("a", "/b", BindOptions::WRITABLE)
        );
    }

    #[test]
    fn every_other_form() {
        let tmpfs = |size, mode| MountSpec::Tmpfs {
            at: "/t".into(),
            size,
            mode,
        };
        assert_eq!(one("--tmpfs /t"), tmpfs(None, None));
        assert_eq!(
            one("--tmpfs /t:size=5M,mode=700"),
            tmpfs(Some(5 << 20), Some(0o700))
        );
        let overlay = |lower: &[&str], top| MountSpec::Overlay {
            lower: lower.iter().map(PathBuf::from).collect(),
            to: "/o".into(),
            top,
        };
        assert_eq!(
            one("--overlay a:b:/o"),
            overlay(&["a", "b"], OverlayTop::Memory)
        );
        assert_eq!(
            one("--overlay a:b:/o,ro"),
            overlay(&["a", "b"], OverlayTop::Nothing)
        );
        let top = OverlayTop::Directory {
            upper: "u".into(),
            work: "w".into(),
        };
        assert_eq!(one("--overlay a:/o,work=w,upper=u"), overlay(&["a"], top));
        let file = |mode| MountSpec::File {
            from: "f".into(),
            to: "/f".into(),
            mode,
        };
        assert_eq!(one("--file f:/f"), file(None));
        assert_eq!(one("--file f:/f:4755"), file(Some(0o4755)));
        let chmod = MountSpec::Chmod {
            at: "/x".into(),
            mode: 0o1777,
        };
        assert_eq!(one("--chmod 1777:/x"), chmod);
    }

    #[test]
    fn what_is_in_no_form_is_refused() {
        for bad in [
            "--bind=",
            "--bind=/a",
            "--bind=:/b",
            "--bind=/a:",
            "--bind=/a:b",
            "--bind=/a:/b:x",
            "--bind=/a:/b:ro:",
            "--bind=/a:/b/../c",
            "--tmpfs=a",
            "--tmpfs=/a:5M",
            "--tmpfs=/a:size=0",
            "--tmpfs=/a:size=-1",
            "--tmpfs=/a:size=99999999999999999999",
            "--tmpfs=/a:size=9999999999999G",
            "--tmpfs=/a:mode=8",
            "--tmpfs=/a:mode=10000",
            "--overlay=/o",
            "--overlay=a::/o",
            "--overlay=a:o",
            "--overlay=a:/o,upper=u",
            "--overlay=a:/o,ro,upper=u,work=w",
            "--overlay=a:/o,x",
            "--symlink=/a",
            "--symlink=:/a",
            "--file=/a",
            "--file=a:/b:rw",
            "--dir=x",
            "--dir=/x:9",
            "--dev=dev",
            "--chmod=/x",
            "--chmod=9:/x",
            "--chmod=:/x",
        ] {
            assert!(typed(bad).is_err(), "{bad}");
        }
    }
}
