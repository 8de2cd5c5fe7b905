//! The values of limits as text.

use super::KEYS;
use crate::explain::shown;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A limit that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No `=` in it.
    #[error("{text:?} is not KEY=VALUE")]
    Form {
        /// As given.
        text: String,
    },
    /// There is no such limit.
    #[error("there is no limit {key:?}; there are {}", keys())]
    Key {
        /// As given.
        key: String,
    },
    /// The value is not in the form that the key wants.
    #[error("{key} cannot be {value:?}: {why}")]
    Value {
        /// As given.
        key: String,
        /// As given.
        value: String,
        /// What is wrong.
        why: &'static str,
    },
}

fn keys() -> String {
    KEYS.map(|(key, _)| key).join(", ")
}

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// By major and minor number.
    Number(u32, u32),
    /// By the path of its node.
    Path(PathBuf),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(major, minor) => write!(f, "{major}:{minor}"),
            Self::Path(path) => f.write_str(&shown(path)),
        }
    }
}

const SIZE: &str = "write bytes, or a number with K, M, G or T (1024 each)";

/// A number of bytes from 0: `64M`, `1GiB`, `4096`, `1.5G`.
pub(super) fn size_or_none(text: &str) -> Result<u64, &'static str> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let shift = match unit {
        "" | "B" => 0,
        "k" | "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return Err(SIZE),
    };
    let thousandths = decimal(digits).ok_or(SIZE)?;
    let bytes = (u128::from(thousandths) << shift) / 1000;
    // What the kernel counts in is signed.
    u64::try_from(bytes)
        .ok()
        .filter(|bytes| *bytes <= i64::MAX as u64)
        .ok_or("it is too large")
}

/// As [`size_or_none`], but not 0.
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    match size_or_none(text)? {
        0 => Err("it leaves nothing to run in"),
        bytes => Ok(bytes),
    }
}

/// A number with at most three decimals, in thousandths.
fn decimal(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(part)
}

/// A whole number from 1.
pub(super) fn amount(text: &str) -> Result<u64, &'static str> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number @ 1..=0xffff_ffff) if digits => Ok(number),
        _ => Err("it is no whole number from 1"),
    }
}

pub(super) fn weight(text: &str) -> Result<u32, &'static str> {
    match text.parse() {
        Ok(weight @ 1..=10_000) => Ok(weight),
        _ => Err("it is no whole number from 1 to 10000"),
    }
}

/// CPUs or percents of one, in thousandths of one; the kernel wants at least one of a thousand microseconds in a
/// hundred thousand.
pub(super) fn share(text: &str) -> Result<u32, &'static str> {
    let thousandths = match text.strip_suffix('%') {
        Some(percent) => decimal(percent).map(|n| n / 100),
        None => decimal(text),
    };
    match thousandths {
        Some(n @ 10..=10_000_000) => Ok(u32::try_from(n).unwrap_or(10_000_000)),
        Some(_) => Err("it is not between 0.01 and 10000 CPUs"),
        None => Err("write a number of CPUs (1.5) or percents of one (50%)"),
    }
}

/// Numbers and ranges of numbers (cpuset(7), "List format").
pub(super) fn cpus(text: &str) -> Result<String, &'static str> {
    const FORM: &str = "write numbers and ranges of CPUs: 0,2-3";
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u32>()
                .ok()
                .filter(|n| digits && *n < 1 << 16)
                .ok_or(FORM)
        };
        if number(first)? > number(last)? {
            return Err("a range ends before it begins");
        }
    }
    Ok(text.to_owned())
}

pub(super) fn device_rate(text: &str) -> Result<(Device, u64), &'static str> {
    const FORM: &str = "write DEVICE:SIZE, as /dev/sda:10M or 8:0:10M";
    let (device, rate) = text.rsplit_once(':').ok_or(FORM)?;
    let rate = size(rate)?;
    if device.starts_with('/') {
        return Ok((Device::Path(device.into()), rate));
    }
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n < 1 << 20);
    match device
        .split_once(':')
        .map(|(major, minor)| (number(major), number(minor)))
    {
        Some((Some(major), Some(minor))) => Ok((Device::Number(major, minor), rate)),
        _ => Err(FORM),
    }
}

/// Whole seconds of CPU time, at least 1.
pub(super) fn seconds(text: &str) -> Result<u64, &'static str> {
    let time = parse_duration(text)?;
    if time.subsec_nanos() != 0 {
        return Err("CPU time is counted in whole seconds");
    }
    Ok(time.as_secs())
}

/// A duration as timeout(1) takes it: a number, with `ms`, `s`, `m`, `h` or `d`; seconds without. Not 0.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const FORM: &str = "write a number with ms, s, m, h or d";
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    // In thousandths of a millisecond, at most.
    let millis: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(FORM),
    };
    let thousandths = decimal(digits).ok_or(FORM)?;
    let micros = thousandths.checked_mul(millis).ok_or("it is too long")?;
    if micros == 0 {
        return Err("it is no time at all");
    }
    // A hundred years, so that no sum of times can overflow.
    if micros / 1_000_000 > 100 * 366 * 86_400 {
        return Err("it is too long");
    }
    Ok(Duration::from_micros(micros))
}

/// A duration in the largest unit that shows it whole.
pub fn shown_duration(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    if millis != 0 && seconds == 0 {
        return format!("{millis}ms");
    }
    if millis != 0 {
        let text = format!("{seconds}.{millis:03}");
        return format!("{}s", text.trim_end_matches('0'));
    }
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    match units
        .iter()
        .find(|(unit, _)| seconds >= *unit && seconds % unit == 0)
    {
        Some((unit, name)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// A number of bytes in the largest unit that shows it whole.
pub(super) fn shown_size(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    let whole = |shift: u32| bytes != 0 && bytes.trailing_zeros() >= shift;
    match units.iter().find(|(shift, _)| whole(*shift)) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}
