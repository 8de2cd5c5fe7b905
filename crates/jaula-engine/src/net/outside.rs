//! Jails that reach the outside through a program of the host's.

use crate::jail::JailError;
use jaula_plan::net::nat::{DIRECTORIES, NatFacts, NatPlan};
use jaula_plan::spec::net::NatTool;
use jaula_sys::companion::{Absent, Companion};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// How long it may take to connect a jail, in milliseconds.
const READY: i32 = 10_000;

/// What is there for it.
pub(crate) fn facts() -> NatFacts {
    let find = |tool: NatTool| {
        let places = DIRECTORIES.map(|directory| Path::new(directory).join(tool.name()));
        let place: Option<PathBuf> = places.into_iter().find(|place| place.is_file());
        place.map(|place| (tool, place))
    };
    let mut device = std::fs::OpenOptions::new();
    device.read(true).write(true);
    NatFacts {
        tools: NatTool::ALL.into_iter().filter_map(find).collect(),
        tun: device.open("/dev/net/tun").is_ok(),
        root: crate::probe::is_real_root(),
    }
}

/// Connects a jail whose first process waits; it is connected as long as what this gives is kept.
pub(crate) fn connect(pid: u32, plan: &NatPlan) -> Result<Companion, JailError> {
    let words = plan.arguments(&pid.to_string());
    let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    Companion::start(&plan.program, &words, READY).map_err(|absent| JailError::Outside {
        tool: plan.tool.name(),
        why: match absent {
            Absent::NotStarted(error) => error.to_string(),
            Absent::NotReady(said) => reason(&said),
        },
    })
}

/// The last thing that it said; what it says about not being able to write to a log is no reason.
fn reason(said: &str) -> String {
    let mut lines = said.lines().map(str::trim).rev();
    let last = lines.find(|line| !line.is_empty() && !line.contains("syslog"));
    last.unwrap_or("it did not say why").to_owned()
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn the_reason_is_what_was_said_last() {
        let said = "Failed to send 46 bytes to syslog\nNo interface\nFailed to open tun socket\n\n";
        assert_eq!(reason(said), "Failed to open tun socket");
        assert_eq!(reason(""), "it did not say why");
    }
}
