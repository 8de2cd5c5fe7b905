//! The time in the host's own zone, as localtime_r(3) has it.

/// A moment in the host's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// From 1.
    pub month: u8,
    /// Of the month, from 1.
    pub day: u8,
    /// 0 is Monday.
    pub weekday: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
}

/// Now, in the host's own zone whatever the environment says of one. This process has one thread, and no zone of its own
/// afterwards.
pub fn of_the_host() -> LocalTime {
    // SAFETY: the caller has one thread, so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var("TZ") };
    now()
}

/// Now.
pub fn now() -> LocalTime {
    // SAFETY: a null pointer asks for the value only.
    let now = unsafe { libc::time(std::ptr::null_mut()) };
    // SAFETY: tm is plain numbers and a pointer that may be null.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both live during the call. When it fails, zeros stay.
    unsafe { libc::localtime_r(&raw const now, &raw mut parts) };
    let small = |number: i32| u8::try_from(number).unwrap_or(0);
    LocalTime {
        month: small(parts.tm_mon.saturating_add(1)),
        day: small(parts.tm_mday),
        weekday: small(parts.tm_wday.saturating_add(6) % 7),
        hour: small(parts.tm_hour),
        minute: small(parts.tm_min),
        second: small(parts.tm_sec),
    }
}
