//! When somebody may log in: `mon-fri 8:00-18:00, sat 10:00-14:00`.

use std::fmt;
use std::str::FromStr;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A moment of the host's week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// 0 is Monday.
    pub day: u8,
    /// Minutes since midnight.
    pub minute: u16,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = DAYS.get(usize::from(self.day)).unwrap_or(&"?");
        write!(f, "{day} {:02}:{:02}", self.minute / 60, self.minute % 60)
    }
}

/// Hours that are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} are no hours: {why}")]
pub struct HoursError {
    text: String,
    why: &'static str,
}

/// Days and times, in the host's time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    text: String,
    /// Days as bits, from a minute to the minute before another.
    spans: Vec<(u8, u16, u16)>,
}

impl Hours {
    /// Whether a moment is one of them.
    pub fn has(&self, moment: Moment) -> bool {
        self.spans.iter().any(|(days, from, to)| {
            days & 1u8.checked_shl(moment.day.into()).unwrap_or(0) != 0
                && (*from..*to).contains(&moment.minute)
        })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Hours {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, HoursError> {
        let bad = |why| HoursError {
            text: text.to_owned(),
            why,
        };
        let mut spans = Vec::new();
        for part in text.split(',') {
            let mut words = part.split_whitespace();
            let (first, second) = (words.next(), words.next());
            if words.next().is_some() {
                return Err(bad("expected DAYS FROM-TO with commas between"));
            }
            let (days, times) = match (first, second) {
                (Some(days), Some(times)) => (read_days(days), times),
                (Some(times), None) => (Some(0x7f), times),
                _ => return Err(bad("a part is empty")),
            };
            let days = days.ok_or_else(|| bad("a day is one of mon tue wed thu fri sat sun"))?;
            let (from, to) = times
                .split_once('-')
                .ok_or_else(|| bad("a time is FROM-TO"))?;
            let time = |text: &str| read_time(text).ok_or_else(|| bad("a time is HH:MM, to 24:00"));
            let (from, to) = (time(from)?, time(to)?);
            if from >= to {
                return Err(bad(
                    "the end is not after the beginning: write two parts over midnight",
                ));
            }
            spans.push((days, from, to));
        }
        Ok(Self {
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            spans,
        })
    }
}

fn read_days(text: &str) -> Option<u8> {
    let number = |name: &str| {
        DAYS.iter()
            .position(|day| *day == name.to_ascii_lowercase())
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    let mut days = 0;
    let mut day = first;
    loop {
        days |= 1 << day;
        if day == last {
            return Some(days);
        }
        day = (day + 1) % DAYS.len();
    }
}

fn read_time(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':').unwrap_or((text, "0"));
    let number = |text: &str| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let whole = hour * 60 + minute;
    (minute < 60 && whole <= 24 * 60).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u8, hour: u16, minute: u16) -> Moment {
        Moment {
            day,
            minute: hour * 60 + minute,
        }
    }

    #[test]
    fn hours_have_an_end() {
        let hours: Hours = "mon-fri 8:00-18:00, sat 10-14".parse().unwrap();
        assert!(hours.has(at(0, 8, 0)) && hours.has(at(4, 17, 59)) && hours.has(at(5, 12, 0)));
        assert!(!hours.has(at(0, 7, 59)) && !hours.has(at(4, 18, 0)) && !hours.has(at(6, 12, 0)));
        let always: Hours = "0:00-24:00".parse().unwrap();
        assert!(always.has(at(6, 23, 59)));
        let weekend: Hours = "sat-mon 9-10".parse().unwrap();
        assert!(
            weekend.has(at(0, 9, 30)) && weekend.has(at(5, 9, 30)) && !weekend.has(at(1, 9, 30))
        );
        for bad in [
            "",
            "mon",
            "mo 8-9",
            "mon 9-8",
            "mon 8:60-9",
            "mon 25-26",
            "mon 8-9 x",
            "8-9,",
        ] {
            assert!(bad.parse::<Hours>().is_err(), "{bad:?}");
        }
    }
}
