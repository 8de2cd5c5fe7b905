//! Binary packages (deb(5)): an ar archive with `debian-binary`, `control.tar` and `data.tar`.

use super::control::{self, ControlError, Stanza};
use crate::compress::{CompressError, Decoder, Format};
use crate::tar::{Entries, Kind, Limits, TarError};
use std::collections::BTreeMap;
use std::io::{self, Read};

/// Largest `control.tar`, compressed, in bytes.
const MAX_CONTROL_MEMBER: u64 = 64 << 20;
/// Bounds on what is in it.
const CONTROL_LIMITS: Limits = Limits {
    entries: 4096,
    file: 32 << 20,
    total: 64 << 20,
};
/// Ar members passed over before `control.tar` and `data.tar`.
const MAX_SKIPPED: usize = 16;

/// Why a package is refused.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// Reading failed; an end in the middle is `UnexpectedEof`.
    #[error("cannot read the package's {part}")]
    Read {
        /// Which part.
        part: &'static str,
        /// The reader's error.
        #[source]
        source: io::Error,
    },
    /// The outer archive is not that of a package.
    #[error("not a Debian package: {what}")]
    Container {
        /// What is wrong.
        what: &'static str,
    },
    /// A member is compressed in a way that is not handled.
    #[error("the package's {part}")]
    Compress {
        /// Which part.
        part: &'static str,
        /// What is wrong.
        #[source]
        source: CompressError,
    },
    /// A tar archive inside is refused.
    #[error("the package's {part}")]
    Tar {
        /// Which part.
        part: &'static str,
        /// What is wrong.
        #[source]
        source: TarError,
    },
    /// The control part has something that may not be in it.
    #[error("the package's control part: {what}: {name:?}")]
    ControlMember {
        /// What is wrong.
        what: &'static str,
        /// The member's name, at most 200 characters of it.
        name: String,
    },
    /// The `control` file is bad.
    #[error("the package's control file")]
    Control(#[from] ControlError),
}

/// One file of the control part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// Permission bits.
    pub mode: u32,
    /// The content.
    pub content: Vec<u8>,
}

/// The control part of a package, in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    control: String,
    files: BTreeMap<String, ControlFile>,
}

/// A configuration file that a package declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conffile<'a> {
    /// Absolute path.
    pub path: &'a str,
    /// Declared only to be removed with an upgrade; the package does not bring it.
    pub remove_on_upgrade: bool,
}

impl Control {
    /// Reads a `control.tar` that is not compressed any more.
    fn read(reader: impl Read) -> Result<Self, DebError> {
        let part = "control part";
        let tar = |source| DebError::Tar { part, source };
        let mut entries = Entries::new(reader, CONTROL_LIMITS);
        let mut files = BTreeMap::new();
        while let Some(mut entry) = entries.next_entry().map_err(tar)? {
            let meta = entry.meta().clone();
            if meta.path.is_root() {
                continue;
            }
            let bad = |what| DebError::ControlMember {
                what,
                name: meta.path.to_string().chars().take(200).collect(),
            };
            let name = std::str::from_utf8(meta.path.as_bytes())
                .ok()
                .filter(|n| {
                    n.bytes().all(|b| {
                        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-')
                    })
                })
                .filter(|n| !n.starts_with(['.', '-']))
                .ok_or_else(|| bad("a name that may not be"))?
                .to_owned();
            if meta.kind != Kind::File {
                return Err(bad("not a regular file"));
            }
            let mut content = Vec::new();
            entry
                .read_to_end(&mut content)
                .map_err(|source| DebError::Read { part, source })?;
            if files
                .insert(
                    name,
                    ControlFile {
                        mode: meta.mode,
                        content,
                    },
                )
                .is_some()
            {
                return Err(bad("twice in the archive"));
            }
        }
        let control = files.remove("control").ok_or(DebError::Container {
            what: "no control file",
        })?;
        Self::from_parts(control.content, files)
    }

    /// From the text of the `control` file and the other files, as [`Control::text`] and [`Control::files`] give them.
    ///
    /// # Errors
    /// [`DebError::Control`] and [`DebError::ControlMember`] for a `control` file that is refused.
    pub fn from_parts(
        control: Vec<u8>,
        files: BTreeMap<String, ControlFile>,
    ) -> Result<Self, DebError> {
        let control = String::from_utf8(control).map_err(|e| {
            let good = e
                .as_bytes()
                .get(..e.utf8_error().valid_up_to())
                .unwrap_or_default();
            ControlError::Utf8 {
                line: good
                    .iter()
                    .filter(|b| **b == b'\n')
                    .count()
                    .saturating_add(1),
            }
        })?;
        let this = Self { control, files };
        let stanza = this.stanza()?;
        let checked = |name, good: fn(&str) -> bool| {
            stanza
                .required(name)
                .map_err(DebError::from)
                .and_then(|value| match good(value) {
                    true => Ok(()),
                    false => Err(DebError::ControlMember {
                        what: "a bad value of a field",
                        name: name.to_owned(),
                    }),
                })
        };
        checked("Package", super::is_package_name)?;
        checked("Version", |v| super::version::validate(v).is_ok())?;
        checked("Architecture", super::is_architecture_name)?;
        drop(stanza);
        Ok(this)
    }

    /// The text of the `control` file.
    pub fn text(&self) -> &str {
        &self.control
    }

    /// The `control` file's one stanza. Its Package, Version and Architecture are there and valid.
    pub fn stanza(&self) -> Result<Stanza<'_>, ControlError> {
        control::single_stanza(&self.control)
    }

    /// All other files, by name: maintainer scripts, `md5sums`, `conffiles`, `triggers`, `shlibs`, …
    pub fn files(&self) -> &BTreeMap<String, ControlFile> {
        &self.files
    }

    /// The content of one file.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(|f| f.content.as_slice())
    }

    /// The configuration files, in the order of `conffiles` (deb-conffiles(5)).
    pub fn conffiles(&self) -> Result<Vec<Conffile<'_>>, DebError> {
        let bad = |line: &str, what| DebError::ControlMember {
            what,
            name: line.chars().take(200).collect(),
        };
        let text = std::str::from_utf8(self.file("conffiles").unwrap_or_default())
            .map_err(|_| bad("conffiles", "not valid UTF-8"))?;
        let mut all = Vec::new();
        for line in text.lines().map(str::trim_end).filter(|l| !l.is_empty()) {
            let (path, remove_on_upgrade) = match line.strip_prefix("remove-on-upgrade") {
                Some(rest) if rest.starts_with([' ', '\t']) => (rest.trim_start(), true),
                _ => (line, false),
            };
            let relative = path
                .strip_prefix('/')
                .ok_or_else(|| bad(line, "a conffile that is not absolute"))?;
            crate::tar::TarPath::parse(relative.as_bytes())
                .map_err(|_| bad(line, "a conffile with a bad path"))?;
            if path.chars().any(char::is_control) {
                return Err(bad(line, "a conffile with a bad path"));
            }
            all.push(Conffile {
                path,
                remove_on_upgrade,
            });
        }
        Ok(all)
    }
}

/// The entries of a package's `data.tar`.
pub type Data<R> = Entries<Decoder<Content<R>>>;

/// The content of the last member: exactly as many bytes as its header says. Fewer are an error, as with dpkg-deb(1).
#[derive(Debug)]
pub struct Content<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.reader.read(buf.get_mut(..most).unwrap_or_default())?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

/// Reads a package: the control part at once, the data as a stream of entries. The caller compares the hash of what
/// `reader` gave with the index's before he uses any of it: a damaged data part need not be noticed here.
pub fn open<R: Read>(reader: R) -> Result<(Control, Data<R>), DebError> {
    open_with(reader, Limits::default())
}

/// [`open`] with other limits for the data.
pub fn open_with<R: Read>(mut reader: R, limits: Limits) -> Result<(Control, Data<R>), DebError> {
    let read = |part| move |source| DebError::Read { part, source };
    let mut magic = [0; 8];
    reader
        .read_exact(&mut magic)
        .map_err(read("outer archive"))?;
    if &magic != b"!<arch>\n" {
        return Err(DebError::Container {
            what: "no ar archive",
        });
    }
    let first = Member::read(&mut reader)?;
    if first.name != "debian-binary" || first.size > 128 {
        return Err(DebError::Container {
            what: "the first member is not debian-binary",
        });
    }
    let mut version = Vec::new();
    (&mut reader)
        .take(first.size)
        .read_to_end(&mut version)
        .map_err(read("debian-binary"))?;
    first.pad(&mut reader)?;
    if !version.starts_with(b"2.") || !version.contains(&b'\n') {
        return Err(DebError::Container {
            what: "a format version that is not 2.x",
        });
    }

    let part = "control part";
    let member = Member::find(&mut reader, "control.tar")?;
    if member.size > MAX_CONTROL_MEMBER {
        return Err(DebError::Container {
            what: "a control part of more than 64 MiB",
        });
    }
    let format = member.format(part)?;
    let mut bounded = (&mut reader).take(member.size);
    let decoder = Decoder::with_format(&mut bounded, format)
        .map_err(|source| DebError::Compress { part, source })?;
    let control = Control::read(decoder)?;
    io::copy(&mut bounded, &mut io::sink()).map_err(read(part))?;
    if bounded.limit() > 0 {
        return Err(read(part)(io::ErrorKind::UnexpectedEof.into()));
    }
    member.pad(&mut reader)?;

    let part = "data part";
    let member = Member::find(&mut reader, "data.tar")?;
    let format = member.format(part)?;
    let content = Content {
        reader,
        left: member.size,
    };
    let decoder = Decoder::of_hashed(content, format)
        .map_err(|source| DebError::Compress { part, source })?;
    Ok((control, Entries::new(decoder, limits)))
}

/// The header of an ar member.
struct Member {
    name: String,
    size: u64,
}

impl Member {
    fn read(reader: &mut impl Read) -> Result<Self, DebError> {
        let bad = |what| DebError::Container { what };
        let mut header = [0u8; 60];
        reader
            .read_exact(&mut header)
            .map_err(|source| DebError::Read {
                part: "outer archive",
                source,
            })?;
        if header.get(58..) != Some(b"`\n") {
            return Err(bad("an ar header without its end mark"));
        }
        let name = header
            .get(..16)
            .and_then(|n| std::str::from_utf8(n).ok())
            .map(|n| n.trim_end_matches(' '));
        let name = name
            .map(|n| n.strip_suffix('/').unwrap_or(n))
            .unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b'/') {
            return Err(bad("an ar member with a bad name"));
        }
        let size = header
            .get(48..58)
            .and_then(|s| std::str::from_utf8(s).ok())
            .map(|s| s.trim_end_matches(' '));
        let size = size
            .filter(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|s| s.parse().ok())
            .ok_or(bad("an ar member with a bad size"))?;
        Ok(Self {
            name: name.to_owned(),
            size,
        })
    }

    /// The next member that counts; those whose names start with `_` are for others (deb(5)).
    fn find(reader: &mut impl Read, wanted: &'static str) -> Result<Self, DebError> {
        for _ in 0..MAX_SKIPPED {
            let member = Self::read(reader)?;
            if member.name.starts_with(wanted) {
                return Ok(member);
            }
            if !member.name.starts_with('_') {
                return Err(DebError::Container {
                    what: "members in another order than debian-binary, control, data",
                });
            }
            let skipped =
                io::copy(&mut reader.take(member.size), &mut io::sink()).map_err(|source| {
                    DebError::Read {
                        part: "outer archive",
                        source,
                    }
                })?;
            if skipped < member.size {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Err(DebError::Read {
                    part: "outer archive",
                    source,
                });
            }
            member.pad(reader)?;
        }
        Err(DebError::Container {
            what: "too many members before control and data",
        })
    }

    /// Members start at even places.
    fn pad(&self, reader: &mut impl Read) -> Result<(), DebError> {
        if self.size % 2 == 1 {
            reader
                .read_exact(&mut [0])
                .map_err(|source| DebError::Read {
                    part: "outer archive",
                    source,
                })?;
        }
        Ok(())
    }

    fn format(&self, part: &'static str) -> Result<Format, DebError> {
        match self.name.split_once(".tar").map(|(_, ending)| ending) {
            Some("") => Ok(Format::Plain),
            Some(ending @ (".gz" | ".xz" | ".zst" | ".bz2" | ".lzma")) => {
                Format::from_name(ending).map_err(|source| DebError::Compress { part, source })
            }
            _ => Err(DebError::Container {
                what: "a member with an unknown ending",
            }),
        }
    }
}
