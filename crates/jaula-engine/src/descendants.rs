//! All that descends from this process: found by proc(5), told by descriptor.

use jaula_sys::{observe, process};
use std::time::{Duration, Instant};

const SIGKILL: i32 = 9;
/// Between two looks at what is left.
const PAUSE: Duration = Duration::from_millis(2);

/// Sends a signal to every descendant that is there now.
pub(crate) fn tell(signal: i32) {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    for pid in entries.filter_map(number) {
        // Held first: a number may be another process's a moment later.
        if let Ok(process) = process::pidfd(pid)
            && descends(pid)
        {
            drop(process::signal(&process, signal));
        }
    }
}

/// Ends all of them, also those that they start meanwhile, and reaps what is this process's own or was left to it
/// ([`observe::adopt`]). After `patience` it is given up.
pub(crate) fn end(patience: Duration) {
    let until = Instant::now() + patience;
    loop {
        tell(SIGKILL);
        loop {
            match observe::ended() {
                (Some(_), _) => {}
                (None, true) => break,
                (None, false) => return,
            }
        }
        if Instant::now() >= until {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether a process is a descendant of this one.
fn descends(pid: u32) -> bool {
    let own = std::process::id();
    let mut at = pid;
    for _ in 0..64 {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{at}/stat")) else {
            return false;
        };
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, fields)| fields.split(' ').nth(1)?.parse().ok());
        match parent {
            Some(parent) if parent == own => return true,
            Some(parent) if parent > 1 => at = parent,
            _ => return false,
        }
    }
    false
}
