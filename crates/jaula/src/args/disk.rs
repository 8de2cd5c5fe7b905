//! Disk images, as typed.

use crate::args::low::{inside, text};
use crate::error::CommandError;
use clap::{Arg, ArgMatches};
use jaula_plan::spec::disk::{DiskDriver, DiskSpec};
use jaula_plan::spec::jail::MountSpec;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// `--image-driver`
pub fn driver() -> Arg {
    Arg::new("image-driver")
        .long("image-driver")
        .value_name("WHO")
        .help("Who reads images: auto, fuse, unpack or kernel (root only) [default: auto]")
        .value_parser(["auto", "fuse", "unpack", "kernel"])
        .hide_possible_values(true)
}

/// One driver for all images.
pub fn choose_driver(matches: &ArgMatches, mounts: &mut [MountSpec]) {
    let driver = match text(matches, "image-driver") {
        Some("fuse") => DiskDriver::Fuse,
        Some("unpack") => DiskDriver::Unpack,
        Some("kernel") => DiskDriver::Kernel,
        _ => DiskDriver::Auto,
    };
    for mount in mounts {
        if let MountSpec::Disk(disk) = mount {
            disk.driver = driver;
        }
    }
}

/// `--iso`
///
/// # Errors
/// When it is not in its form.
pub fn iso(_: &'static str, word: &OsStr) -> Result<MountSpec, CommandError> {
    disk(word, true).map(MountSpec::Disk)
}

/// `--image`
///
/// # Errors
/// When it is not in its form.
pub fn image(_: &'static str, word: &OsStr) -> Result<MountSpec, CommandError> {
    disk(word, false).map(MountSpec::Disk)
}

fn disk(word: &OsStr, iso: bool) -> Result<DiskSpec, CommandError> {
    let option = if iso { "--iso" } else { "--image" };
    let usage = |hint: &str| {
        CommandError::usage(format!(
            "cannot use {:?} for {option}",
            word.to_string_lossy()
        ))
        .hint(hint)
    };
    let form = if iso {
        "write FILE:DIR"
    } else {
        "write FILE:DIR or FILE@OFFSET:DIR"
    };
    let bytes = word.as_bytes();
    // The last colon: a file's name may have one, and a directory inside hardly has.
    let colon = bytes.iter().rposition(|b| *b == b':');
    let (file, at) = match colon.and_then(|colon| bytes.split_at_checked(colon)) {
        Some((file, [_, at @ ..])) if !file.is_empty() && !at.is_empty() => (file, at),
        _ => return Err(usage(form)),
    };
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let at = path(at);
    inside(&at, option)?;
    let (file, offset) = match file.iter().rposition(|b| *b == b'@').filter(|_| !iso) {
        Some(sign) => {
            let (name, digits) = file.split_at_checked(sign).unwrap_or((file, b""));
            let digits = digits.get(1..).unwrap_or_default();
            let number = bytes_of(digits).ok_or_else(|| {
                usage(
                    "an offset is a number of bytes, or of K, M or G of 1024: \
                     a file with @ in its name is written FILE@0",
                )
            })?;
            (name, number)
        }
        None => (file, 0),
    };
    if file.is_empty() {
        return Err(usage(form));
    }
    Ok(DiskSpec {
        file: path(file),
        offset,
        at,
        iso,
        driver: DiskDriver::Auto,
    })
}

/// `512`, `1M`.
fn bytes_of(digits: &[u8]) -> Option<u64> {
    let (digits, shift) = match digits.split_last()? {
        (b'K', digits) => (digits, 10),
        (b'M', digits) => (digits, 20),
        (b'G', digits) => (digits, 30),
        _ => (digits, 0),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(word: &str, iso: bool) -> Option<(String, u64, String)> {
        let disk = disk(OsStr::new(word), iso).ok()?;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        Some((text(disk.file), disk.offset, text(disk.at)))
    }

    #[test]
    fn a_file_an_offset_and_a_place() {
        let some = |file: &str, offset, at: &str| Some((file.to_owned(), offset, at.to_owned()));
        for (word, iso, meant) in [
            ("p.iso:/mnt/cd", true, some("p.iso", 0, "/mnt/cd")),
            ("a:b.iso:/cd", true, some("a:b.iso", 0, "/cd")),
            ("a@b.iso:/cd", true, some("a@b.iso", 0, "/cd")),
            ("d.img@1048576:/d", false, some("d.img", 1 << 20, "/d")),
            ("d.img@1M:/d", false, some("d.img", 1 << 20, "/d")),
            ("a@b@0:/d", false, some("a@b", 0, "/d")),
            ("a@b:/d", false, None),
            ("d.img@:/d", false, None),
            ("d.img@99999999999999999999:/d", false, None),
            ("d.img@99999999999G:/d", false, None),
            ("@1:/d", false, None),
            ("p.iso", true, None),
            (":/cd", true, None),
            ("p.iso:", true, None),
            ("p.iso:cd", true, None),
            ("p.iso:/a/../b", true, None),
        ] {
            assert_eq!(read(word, iso), meant, "{word}");
        }
    }
}
