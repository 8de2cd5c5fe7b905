//! A small HTTP/1.1 server of static files on the loopback, with faults on request.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What goes wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 404.
    NotFound,
    /// 503, the kind of failure that is worth another try.
    Unavailable,
    /// The connection ends after this many bytes of the body, though more were promised.
    Truncate(u64),
    /// At most this many bytes a second.
    Slow(u64),
    /// The byte at this place of the body is another one.
    Flip(u64),
    /// The connection ends before any answer.
    Hangup,
    /// `Range` is ignored: the whole file is sent with 200.
    IgnoreRange,
}

/// One request as it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path with its leading slash.
    pub path: String,
    /// First byte asked for, where a range was asked for.
    pub from: Option<u64>,
    /// The status sent; 0 when the connection was dropped.
    pub status: u16,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Request>,
    /// Requests that are being answered.
    answering: usize,
    /// End of the path → the fault and how many more answers have it.
    faults: HashMap<String, (Fault, usize)>,
    stop: bool,
}

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    listener: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Serves the files below `dir` on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(dir: &Path) -> Result<Self> {
        Self::start_on(dir, 0)
    }

    /// The same on a chosen port.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start_on(dir: &Path, port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).context("bind the loopback")?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, root) = (Arc::clone(&state), dir.to_path_buf());
        let handle = thread::spawn(move || {
            for stream in listener.incoming() {
                if lock(&shared).stop {
                    break;
                }
                if let Ok(stream) = stream {
                    let (shared, root) = (Arc::clone(&shared), root.clone());
                    thread::spawn(move || talk(&stream, &root, &shared));
                }
            }
        });
        Ok(Server {
            address,
            state,
            listener: Some(handle),
        })
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next `times` answers to paths that end with `suffix` go wrong.
    pub fn fault(&self, suffix: &str, fault: Fault, times: usize) {
        lock(&self.state)
            .faults
            .insert(suffix.into(), (fault, times));
    }

    /// All requests so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        // An answer's last byte may be there before its status is noted.
        let end = Instant::now() + Duration::from_secs(1);
        while lock(&self.state).answering > 0 && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        lock(&self.state).requests.clone()
    }

    /// How many requests named a path that ends with `suffix`.
    #[must_use]
    pub fn count(&self, suffix: &str) -> usize {
        lock(&self.state)
            .requests
            .iter()
            .filter(|one| one.path.ends_with(suffix))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        lock(&self.state).stop = true;
        // The listener sleeps in accept: one connection wakes it.
        drop(TcpStream::connect(self.address));
        if let Some(handle) = self.listener.take() {
            drop(handle.join());
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Answers requests on one connection until the peer or a fault ends it.
fn talk(stream: &TcpStream, root: &Path, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some((path, from))) = read_request(&mut reader) {
        let fault = take_fault(state, &path);
        // Noted before it is answered: whoever has the answer finds the note.
        let place = {
            let mut state = lock(state);
            let path = path.clone();
            state.requests.push(Request {
                path,
                from,
                status: 0,
            });
            state.answering += 1;
            state.requests.len() - 1
        };
        let answered = answer(stream, root, &path, from, fault);
        let mut state = lock(state);
        state.answering -= 1;
        let Ok((status, alive)) = answered else {
            break;
        };
        if let Some(request) = state.requests.get_mut(place) {
            request.status = status;
        }
        if !alive {
            break;
        }
    }
}

fn take_fault(state: &Mutex<State>, path: &str) -> Option<Fault> {
    let mut state = lock(state);
    let (fault, times) = state
        .faults
        .iter_mut()
        .find(|(suffix, _)| path.ends_with(suffix.as_str()))?
        .1;
    if *times == 0 {
        return None;
    }
    *times -= 1;
    Some(*fault)
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<(String, Option<u64>)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let mut from = None;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(Some((path, from)));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("range")
        {
            from = value
                .trim()
                .strip_prefix("bytes=")
                .and_then(|range| range.split('-').next())
                .and_then(|start| start.parse().ok());
        }
    }
}

/// The file a path means; nothing above `root`, no percent signs but `%2b`-like pairs.
fn locate(root: &Path, path: &str) -> Option<PathBuf> {
    let path = path.split(['?', '#']).next()?;
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let pair = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(pair, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    let relative = Path::new(text.trim_start_matches('/'));
    relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
        .then(|| root.join(relative))
}

/// Sends one answer; says its status and whether the connection goes on.
fn answer(
    mut stream: &TcpStream,
    root: &Path,
    path: &str,
    from: Option<u64>,
    fault: Option<Fault>,
) -> Result<(u16, bool)> {
    let refuse = |status: u16, words: &str| -> Result<(u16, bool)> {
        let mut stream = stream;
        write!(
            stream,
            "HTTP/1.1 {status} {words}\r\nContent-Length: 0\r\n\r\n"
        )?;
        Ok((status, true))
    };
    match fault {
        Some(Fault::Hangup) => return Ok((0, false)),
        Some(Fault::NotFound) => return refuse(404, "Not Found"),
        Some(Fault::Unavailable) => return refuse(503, "Service Unavailable"),
        _ => {}
    }
    let file = locate(root, path).filter(|file| file.is_file());
    let Some(file) = file else {
        return refuse(404, "Not Found");
    };
    let from = from.filter(|_| fault != Some(Fault::IgnoreRange));
    let mut body = fs::read(&file)?;
    let total = body.len() as u64;
    if let Some(Fault::Flip(place)) = fault
        && let Some(byte) = body.get_mut(usize::try_from(place)?)
    {
        *byte ^= 0x20;
    }
    let start = match from {
        Some(start) if start >= total => {
            write!(stream, "HTTP/1.1 416 Range Not Satisfiable\r\n")?;
            write!(
                stream,
                "Content-Range: bytes */{total}\r\nContent-Length: 0\r\n\r\n"
            )?;
            return Ok((416, true));
        }
        Some(start) => start,
        None => 0,
    };
    let status = if from.is_some() { 206 } else { 200 };
    let words = if from.is_some() {
        "Partial Content"
    } else {
        "OK"
    };
    let mut head = format!(
        "HTTP/1.1 {status} {words}\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\n\
         Content-Type: application/octet-stream\r\n",
        total - start
    );
    if from.is_some() {
        head.push_str(&format!(
            "Content-Range: bytes {start}-{}/{total}\r\n",
            total - 1
        ));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    let mut part = body.get(usize::try_from(start)?..).unwrap_or_default();
    match fault {
        Some(Fault::Truncate(bytes)) => {
            part = part.get(..usize::try_from(bytes)?).unwrap_or(part);
            stream.write_all(part)?;
            return Ok((status, false));
        }
        Some(Fault::Slow(rate)) => {
            let piece = usize::try_from((rate / 10).max(1))?;
            for chunk in part.chunks(piece) {
                stream.write_all(chunk)?;
                thread::sleep(Duration::from_millis(100));
            }
        }
        _ => stream.write_all(part)?,
    }
    Ok((status, true))
}

/// Fetches `url` from a [`Server`]: for tests of the server itself and quick checks.
///
/// # Errors
/// When the connection fails.
pub fn fetch(url: &str, from: Option<u64>) -> Result<(u16, Vec<u8>)> {
    let rest = url.strip_prefix("http://").context("an http address")?;
    let (host, path) = rest.split_once('/').context("a path")?;
    let mut stream = TcpStream::connect(host)?;
    let range = from.map_or(String::new(), |start| format!("Range: bytes={start}-\r\n"));
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\n{range}\r\n"
    )?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .parse()
        .unwrap_or(0);
    let mut length = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("Content-Length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served() -> (tempfile::TempDir, Server) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/x+y"), "0123456789").unwrap();
        let server = Server::start(dir.path()).unwrap();
        (dir, server)
    }

    #[test]
    fn serves_ranges_and_counts() {
        let (_dir, server) = served();
        let url = format!("{}/a/x%2by", server.url());
        assert_eq!(fetch(&url, None).unwrap(), (200, b"0123456789".to_vec()));
        assert_eq!(fetch(&url, Some(7)).unwrap(), (206, b"789".to_vec()));
        assert_eq!(fetch(&url, Some(10)).unwrap().0, 416);
        assert_eq!(
            fetch(&format!("{}/../etc/passwd", server.url()), None)
                .unwrap()
                .0,
            404
        );
        assert_eq!(server.count("x%2by"), 3);
    }

    #[test]
    fn faults_happen_as_often_as_asked() {
        let (_dir, server) = served();
        let url = format!("{}/a/x+y", server.url());
        server.fault("x+y", Fault::Unavailable, 2);
        assert_eq!(fetch(&url, None).unwrap().0, 503);
        assert_eq!(fetch(&url, None).unwrap().0, 503);
        assert_eq!(fetch(&url, None).unwrap().0, 200);
        server.fault("x+y", Fault::Truncate(4), 1);
        assert_eq!(fetch(&url, None).unwrap(), (200, b"0123".to_vec()));
        server.fault("x+y", Fault::Flip(1), 1);
        assert_eq!(fetch(&url, None).unwrap().1, b"0\x1123456789");
        server.fault("x+y", Fault::IgnoreRange, 1);
        assert_eq!(fetch(&url, Some(5)).unwrap(), (200, b"0123456789".to_vec()));
        server.fault("x+y", Fault::Hangup, 1);
        assert_eq!(fetch(&url, None).unwrap().0, 0);
    }
}
