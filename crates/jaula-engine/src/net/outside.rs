//! Jails that reach the outside through a program of the host's.

use crate::error::At;
use crate::jail::JailError;
use crate::journal::{Intent, Journal};
use crate::store::{Store, StoreError};
use jaula_plan::net::nat::{DIRECTORIES, NatFacts, NatPlan};
use jaula_plan::spec::net::NatTool;
use jaula_sys::companion::{Absent, Companion};
use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long it may take to connect a jail, in milliseconds.
const READY: i32 = 10_000;

/// What is there for it.
pub(crate) fn facts(store: Option<&Path>) -> NatFacts {
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
        store: store.map(Path::to_owned),
    }
}

/// Connects a jail whose first process waits; it is connected as long as what this gives is kept.
pub(crate) fn connect(pid: u32, plan: &NatPlan) -> Result<Companion, JailError> {
    let failed = |why: String| JailError::Outside {
        tool: plan.tool.name(),
        why,
    };
    let words = plan.arguments(&pid.to_string());
    let mut words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    let place = plan.asks().then(|| Place::make(plan.store.as_deref()));
    let place = place.transpose();
    let place = place.map_err(|error| failed(format!("no place for its socket: {error}")))?;
    if place.is_some() {
        words.splice(0..0, ["--api-socket".into(), SOCKET.into()]);
    }
    let directory = place.as_ref().map_or(Path::new("/"), |place| &place.path);
    let started = Companion::start(&plan.program, &words, directory, READY);
    let companion = started.map_err(|absent| match absent {
        Absent::NotStarted(error) => failed(error.to_string()),
        Absent::NotReady(said) => failed(reason(&said)),
    })?;
    if let Some(place) = place {
        for (request, publish) in plan.requests().iter().zip(&plan.publish) {
            place
                .ask(&request.to_string())
                .map_err(|why| failed(format!("cannot publish {publish}: {why}")))?;
        }
    }
    Ok(companion)
}

/// A directory of the store for a socket by which a program is told what to publish; gone at the end, or with the next
/// start.
struct Place {
    path: PathBuf,
    /// The program and this process go by it: the name of a socket has 107 bytes, and a store's may have more.
    opened: File,
    journal: Option<Journal>,
}

/// The socket, beneath that directory.
const SOCKET: &str = "s";

/// How often a program that starts is tried, and when again.
const TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(5);
/// How long it may take to answer, and how much it says.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST: u64 = 4096;

impl Place {
    fn make(store: Option<&Path>) -> Result<Self, StoreError> {
        let store = store.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        let store = Store::open(store.at("open", Path::new("the store"))?)?;
        let stages = store.made("stages")?;
        let (id, mut journal) = store.journal()?;
        journal.intend(Intent::Create(Path::new("stages").join(&id)))?;
        let path = stages.join(&id);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.at("make", &path)?;
        Ok(Self {
            opened: File::open(&path).at("open", &path)?,
            path,
            journal: Some(journal),
        })
    }

    fn socket(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/self/fd/{}/{SOCKET}",
            self.opened.as_raw_fd()
        ))
    }

    /// Asks for one thing; what it says against it.
    fn ask(&self, request: &str) -> Result<(), String> {
        let talk = || -> io::Result<Vec<u8>> {
            let mut tries = TRIES;
            // It says that it is ready before it has its socket.
            let mut stream = loop {
                match UnixStream::connect(self.socket()) {
                    Err(_) if tries > 0 => tries = tries.saturating_sub(1),
                    other => break other?,
                }
                std::thread::sleep(PAUSE);
            };
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(request.as_bytes())?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = Vec::new();
            stream.take(LONGEST).read_to_end(&mut answer)?;
            Ok(answer)
        };
        let answer = talk().map_err(|error| error.to_string())?;
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        match answer.get("return") {
            Some(_) => Ok(()),
            None => {
                let said = answer.pointer("/error/desc").and_then(|said| said.as_str());
                let said = said.unwrap_or("it refuses");
                Err(said.chars().filter(|c| !c.is_control()).collect())
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The socket is not used again. What is left is gone with the next start.
        drop(self.journal.take().map(Journal::undo));
    }
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
