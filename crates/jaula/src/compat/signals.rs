//! Signals by name (signal(7)), in the numbering of x86 and ARM.

const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The real-time signals that the C library leaves to programs.
const REAL_TIME: (i32, i32) = (34, 64);

/// The signal of this name, with or without `SIG`, in any case; `RTMIN+N` and `RTMAX-N` too.
pub fn by_name(name: &str) -> Option<i32> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let digits = |text: &str| {
        let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        all.then(|| text.parse::<i32>().ok()).flatten()
    };
    let (first, last) = REAL_TIME;
    let real_time = match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
        (Some(above), _) => digits(above).and_then(|n| first.checked_add(n)),
        (_, Some(below)) => digits(below).and_then(|n| last.checked_sub(n)),
        _ => None,
    };
    let known = || {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| *number)
    };
    real_time
        .filter(|number| (first..=last).contains(number))
        .or_else(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kill() {
        for (name, number) in [
            ("KILL", Some(9)),
            ("SIGTERM", Some(15)),
            ("sigint", Some(2)),
            ("RTMIN+1", Some(35)),
            ("RTMAX-0", Some(64)),
            ("RTMIN+31", None),
            ("RTMIN", None),
            ("9", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(by_name(name), number, "{name}");
        }
    }
}
