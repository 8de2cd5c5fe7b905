//! Lines under a jail's name: to standard output, or to the host's log.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// The longest line that is put together.
const LINE: usize = 16 << 10;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// Standard output, each behind the tag.
    Output,
    /// Standard output as they are: for whoever tags them himself.
    Plain,
    /// A socket of syslog(3) or journald: daemon.info, with the tag.
    Syslog(PathBuf),
}

/// Takes bytes and gives lines.
#[derive(Debug)]
pub struct Sink {
    tag: String,
    to: To,
    output: Option<File>,
    socket: Option<UnixDatagram>,
    rest: Vec<u8>,
}

impl Sink {
    /// A sink for the lines of a jail.
    ///
    /// # Errors
    /// When the place cannot be opened.
    pub fn new(tag: &str, to: To) -> std::io::Result<Self> {
        let (mut output, mut socket) = (None, None);
        match &to {
            To::Syslog(path) => {
                let unbound = UnixDatagram::unbound()?;
                unbound.connect(path)?;
                socket = Some(unbound);
            }
            To::Output | To::Plain => {
                output = Some(File::from(
                    jaula_sys::pty::output().map_err(std::io::Error::other)?,
                ));
            }
        }
        Ok(Self {
            tag: tag.to_owned(),
            to,
            output,
            socket,
            rest: Vec::new(),
        })
    }

    /// More bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(line.strip_suffix(b"\n").unwrap_or(&line));
        }
        if self.rest.len() > LINE {
            let line = std::mem::take(&mut self.rest);
            self.line(&line);
        }
    }

    /// No more come of this run.
    pub fn end(&mut self) {
        if !self.rest.is_empty() {
            let line = std::mem::take(&mut self.rest);
            self.line(&line);
        }
    }

    fn line(&mut self, line: &[u8]) {
        // Nothing that a jail writes moves a cursor or forges another line.
        let clean: Vec<u8> = line
            .iter()
            .map(|byte| {
                if *byte < b' ' && *byte != b'\t' || *byte == 0x7f {
                    b'?'
                } else {
                    *byte
                }
            })
            .collect();
        let mut whole = match &self.to {
            To::Output => format!("{}: ", self.tag).into_bytes(),
            To::Plain => Vec::new(),
            // facility daemon (3), severity info (6)
            To::Syslog(_) => format!("<30>{}: ", self.tag).into_bytes(),
        };
        whole.extend(clean);
        if let Some(socket) = &self.socket {
            // A log that is not read any more does not stop the service.
            socket.send(&whole).ok();
        }
        if let Some(output) = &mut self.output {
            whole.push(b'\n');
            output.write_all(&whole).ok();
        }
    }
}
