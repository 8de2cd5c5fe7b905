//! Dates as Release files write them, and as messages show them. No clock here: times are arguments.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Days from 1970-01-01 to a day of the Gregorian calendar (Howard Hinnant's `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The day of the calendar, `days` after 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * of_year + 2) / 153;
    let month = if m < 10 { m + 3 } else { m - 9 };
    (
        year_of_era + era * 400 + i64::from(month <= 2),
        month,
        of_year - (153 * m + 2) / 5 + 1,
    )
}

/// Reads a date of RFC 2822 (`Sat, 06 Jun 2026 09:12:13 UTC`) as seconds since 1970. The name of the day
/// may be missing and is not compared; the zone is `UTC`, `GMT`, `Z` or an offset like `+0200`.
pub fn parse_rfc2822(text: &str) -> Option<u64> {
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>| -> Option<i64> {
        (digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse().ok())?
    };
    let text = text.trim();
    let text = match text.split_once(',') {
        Some((day, rest)) if day.len() == 3 && day.bytes().all(|b| b.is_ascii_alphabetic()) => rest,
        Some(_) => return None,
        None => text,
    };
    let mut words = text.split_ascii_whitespace();
    let day = number(words.next()?, 1..=2)?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(name))?;
    let month = i64::try_from(month).ok()? + 1;
    let year = number(words.next()?, 4..=4)?;
    let mut clock = words.next()?.split(':');
    let hour = number(clock.next()?, 1..=2)?;
    let minute = number(clock.next()?, 2..=2)?;
    let second = match clock.next() {
        Some(second) => number(second, 2..=2)?,
        None => 0,
    };
    let zone = words.next()?;
    if clock.next().is_some() || words.next().is_some() {
        return None;
    }
    let offset = match zone {
        "UTC" | "GMT" | "Z" => 0,
        _ => {
            let (sign, digits) = match zone.strip_prefix('+') {
                Some(digits) => (1, digits),
                None => (-1, zone.strip_prefix('-')?),
            };
            let value = number(digits, 4..=4)?;
            if value % 100 > 59 || value > 1400 {
                return None;
            }
            sign * (value / 100 * 3600 + value % 100 * 60)
        }
    };
    let at = days(year, month, day);
    // A day that the month does not have comes back as another one.
    if civil(at) != (year, month, day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    u64::try_from(at * 86_400 + hour * 3600 + minute * 60 + second - offset).ok()
}

/// Reads `2026-06-06` or `2026-06-06T09:12:13Z` (RFC 3339, in UTC) as seconds since 1970.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let (day, clock) = match text.split_once('T') {
        Some((day, clock)) => (day, clock.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let mut parts = day.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let shape = [year.len(), month.len(), day.len(), clock.len()] == [4, 2, 2, 8];
    let digits = [year, month, day]
        .iter()
        .all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    if !shape || !digits || parts.next().is_some() {
        return None;
    }
    let month: usize = month.parse().ok()?;
    let name = MONTHS.get(month.checked_sub(1)?)?;
    parse_rfc2822(&format!("{day} {name} {year} {clock} UTC"))
}

/// Seconds since 1970 as archives that keep their past write it: `20260606T091213Z`.
pub fn stamp(seconds: u64) -> String {
    let text = format(seconds).replace(['-', ':'], "");
    match text.split_once(' ') {
        Some((day, clock)) => format!("{day}T{}Z", clock.trim_end_matches(" UTC")),
        None => text,
    }
}

/// Seconds since 1970 as `2026-06-06 09:12:13 UTC`.
pub fn format(seconds: u64) -> String {
    // Past the year 9999 nothing in these formats can mean a date.
    let seconds = i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .min(253_402_300_799);
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_the_past() {
        assert_eq!(parse_rfc3339("2026-06-06T09:12:13Z"), Some(1_780_737_133));
        assert_eq!(parse_rfc3339("1970-01-02"), Some(86_400));
        assert_eq!(stamp(1_780_737_133), "20260606T091213Z");
        for bad in [
            "",
            "2026",
            "2026-6-06",
            "2026-13-01",
            "2026-00-01",
            "2026-02-30",
            "2026-06-06T",
            "2026-06-06T09:12:13",
            "2026-06-06T25:00:00Z",
            "2026-06-06T9:12:13Z",
            "2026-06-06-01",
            "+026-06-06",
            "2026-06-06 09:12:13",
            "1969-12-31",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates() {
        for (text, shown) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", "1970-01-01 00:00:00 UTC"),
            ("Sat, 06 Jun 2026 09:12:13 UTC", "2026-06-06 09:12:13 UTC"),
            ("Thu, 29 Feb 2024 23:59:59 GMT", "2024-02-29 23:59:59 UTC"),
            ("29 Feb 2000 1:02 Z", "2000-02-29 01:02:00 UTC"),
            ("Sat, 6 Jun 2026 01:30:00 +0200", "2026-06-05 23:30:00 UTC"),
            ("Sat, 6 Jun 2026 23:30:00 -0130", "2026-06-07 01:00:00 UTC"),
        ] {
            assert_eq!(
                parse_rfc2822(text).map(format).as_deref(),
                Some(shown),
                "{text}"
            );
        }
        assert_eq!(
            parse_rfc2822("Tue, 24 Nov 2026 02:12:10 UTC"),
            Some(1_795_486_330)
        );
        for bad in [
            "",
            "now",
            "Sat, 31 Jun 2026 09:12:13 UTC",
            "Thu, 29 Feb 2023 00:00:00 UTC",
            "Sat, 06 Jun 2026 24:00:00 UTC",
            "Sat, 06 Jun 2026 09:60:00 UTC",
            "Sat, 06 Jun 2026 09:12:13",
            "Sat, 06 Jun 2026 09:12:13 CEST",
            "Sat, 06 Jun 99999 09:12:13 UTC",
            "Sat, +6 Jun 2026 09:12:13 UTC",
            "Wed, 31 Dec 1969 23:59:59 UTC",
            "Sat, 06 Jun 2026 09:12:13 UTC x",
            "Sat, 06 Jun 2026 09:12:13 +9900",
            "Sat, 0 Jun 2026 09:12:13 UTC",
        ] {
            assert_eq!(parse_rfc2822(bad), None, "{bad}");
        }
        assert_eq!(format(u64::MAX), "9999-12-31 23:59:59 UTC");
    }

    #[test]
    fn every_day_comes_back() {
        for day in 0..200_000 {
            let (y, m, d) = civil(day);
            assert_eq!(days(y, m, d), day);
        }
    }
}
