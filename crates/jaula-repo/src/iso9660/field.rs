//! Numbers and dates as ECMA-119 section 7 and 8.4.26 writes them.

use super::error::IsoError;

/// `N` bytes of `bytes` from `at`.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// One byte.
pub(super) fn byte(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// A number in both byte orders (ECMA-119 7.2.3 and 7.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Both {
    little: u32,
    big: u32,
}

impl Both {
    /// 7.3.3: 32 bits.
    pub(super) fn long(bytes: &[u8], at: usize) -> Option<Self> {
        let raw: [u8; 8] = array(bytes, at)?;
        let [a, b, c, d, e, f, g, h] = raw;
        Some(Self {
            little: u32::from_le_bytes([a, b, c, d]),
            big: u32::from_be_bytes([e, f, g, h]),
        })
    }

    /// 7.2.3: 16 bits.
    pub(super) fn short(bytes: &[u8], at: usize) -> Option<Self> {
        let [a, b, c, d]: [u8; 4] = array(bytes, at)?;
        Some(Self {
            little: u16::from_le_bytes([a, b]).into(),
            big: u16::from_be_bytes([c, d]).into(),
        })
    }

    /// The value. Two different values are an error: a reader of the other half would see another image.
    /// A big half of zero is a known fault of some writers; then the little half counts, as for Linux.
    pub(super) fn value(self, at: u64, what: &'static str) -> Result<u32, IsoError> {
        let Self { little, big } = self;
        if little == big || big == 0 {
            Ok(little)
        } else {
            Err(IsoError::TwoValues {
                at,
                what,
                little,
                big,
            })
        }
    }
}

/// Seconds from 1970 of a civil date; `None` where a part is out of range.
fn seconds(
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    quarter: i8,
) -> Option<i64> {
    let plausible = (0..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !plausible {
        return None;
    }
    // Days from the civil calendar, with the year beginning in March so that the leap day is last.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    // East of Greenwich is positive, in quarters of an hour. Linux ignores what is out of range.
    let zone = if (-52..=52).contains(&quarter) {
        i64::from(quarter) * 900
    } else {
        0
    };
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - zone)
}

/// A date of a directory record (ECMA-119 9.1.5), in seconds from 1970. A date that is none gives 0.
pub(super) fn short_date(raw: [u8; 7]) -> i64 {
    let [year, month, day, hour, minute, second, zone] = raw;
    let n = i64::from;
    seconds(
        1900 + n(year),
        n(month),
        n(day),
        n(hour),
        n(minute),
        n(second),
        zone.cast_signed(),
    )
    .unwrap_or(0)
}

/// A date in digits (ECMA-119 8.4.26.1), in seconds from 1970. A date that is none gives 0.
pub(super) fn long_date(raw: [u8; 17]) -> i64 {
    let number = |from: usize, to: usize| {
        raw.get(from..to)?.iter().try_fold(0i64, |n, c| {
            c.is_ascii_digit().then(|| n * 10 + i64::from(*c - b'0'))
        })
    };
    let all = || {
        let zone = byte(&raw, 16)?.cast_signed();
        seconds(
            number(0, 4)?,
            number(4, 6)?,
            number(6, 8)?,
            number(8, 10)?,
            number(10, 12)?,
            number(12, 14)?,
            zone,
        )
    };
    all().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(short_date([70, 1, 1, 0, 0, 0, 0]), 0);
        assert_eq!(
            short_date([124, 2, 29, 12, 34, 56, 4]),
            1_709_210_096 - 3600
        );
        assert_eq!(short_date([0; 7]), 0);
        assert_eq!(short_date([69, 12, 31, 23, 59, 59, 0]), -1);
        assert_eq!(long_date(*b"2024022912345600\x04"), 1_709_210_096 - 3600);
        assert_eq!(long_date(*b"0000000000000000\0"), 0);
        assert_eq!(long_date(*b"2024-22912345600\0"), 0);
    }

    #[test]
    fn both_orders() {
        let good = [1, 2, 0, 0, 0, 0, 2, 1];
        assert_eq!(Both::long(&good, 0).unwrap().value(0, "x").unwrap(), 0x201);
        assert_eq!(
            Both::long(&[7, 0, 0, 0, 0, 0, 0, 0], 0)
                .unwrap()
                .value(0, "x")
                .unwrap(),
            7
        );
        assert!(matches!(
            Both::long(&[7, 0, 0, 0, 0, 0, 0, 8], 0)
                .unwrap()
                .value(9, "x"),
            Err(IsoError::TwoValues {
                at: 9,
                little: 7,
                big: 8,
                ..
            })
        ));
        assert_eq!(Both::long(&good, 1), None);
        assert_eq!(
            Both::short(&[0, 8, 8, 0], 0)
                .unwrap()
                .value(0, "x")
                .unwrap(),
            2048
        );
    }
}
