//! From the text of a Packages file to the binary form, in one pass over a bounded window.

use super::layout::{self, Parts, TEXTS, Text};
use super::{Index, IndexError, MultiArch, Priority};
use crate::deb::{is_architecture_name, is_package_name, relation, version};
use std::collections::HashMap;
use std::io::Read;

/// Longest stanza accepted, in bytes. The longest in Debian are some tens of kB.
const MAX_STANZA: usize = 8 << 20;
const CHUNK: usize = 256 << 10;
/// More packages than this are refused (Debian's largest suite has some 70 thousand).
const MAX_PACKAGES: usize = 4_000_000;
const MAX_PROVIDES: usize = 16_000_000;
/// Section and architecture names remembered for sharing.
const MAX_SHARED: usize = 1024;

pub(super) fn parse(mut reader: impl Read) -> Result<Index, IndexError> {
    let mut builder = Builder::new();
    let mut window: Vec<u8> = Vec::with_capacity(2 * CHUNK);
    let mut line = 0usize;
    loop {
        let kept = window.len();
        let got = (&mut reader)
            .take(CHUNK as u64)
            .read_to_end(&mut window)
            .map_err(|source| IndexError::Read { line, source })?;
        let last = got == 0;
        // Up to and with the last blank line, whole stanzas; the rest waits for the next chunk. What was
        // there before has been searched already, but for its last byte.
        let end = if last {
            window.len()
        } else {
            let from = kept.saturating_sub(1);
            let fresh = window.get(from..).unwrap_or_default();
            fresh
                .windows(2)
                .rposition(|w| w == b"\n\n")
                .map_or(0, |at| from + at + 2)
        };
        let whole = window.get(..end).unwrap_or_default();
        let text = match std::str::from_utf8(whole) {
            Ok(text) => text,
            Err(error) => {
                let good = whole.get(..error.valid_up_to()).unwrap_or_default();
                let lines = good.iter().filter(|b| **b == b'\n').count();
                return Err(IndexError::Syntax {
                    line: line + lines + 1,
                    what: "not valid UTF-8",
                });
            }
        };
        line = builder.stanzas(text, line)?;
        window.drain(..end);
        if last {
            return builder.finish();
        }
        if window.len() > MAX_STANZA {
            return Err(IndexError::Syntax {
                line: line + 1,
                what: "a stanza longer than 8 MiB",
            });
        }
    }
}

/// The fields kept, each seen at most once in a stanza.
#[derive(Default)]
struct Fields<'a> {
    /// In the order of [`Text`].
    texts: [&'a str; TEXTS],
    size: &'a str,
    installed: &'a str,
    sha256: &'a str,
    multi_arch: &'a str,
    priority: &'a str,
    essential: &'a str,
    protected: &'a str,
    /// The name that `Protected` had before (deb-control(5)).
    important: &'a str,
    seen: u32,
}

/// A slot of [`Fields`] and its bit in `seen`.
fn slot<'f, 'a>(fields: &'f mut Fields<'a>, name: &str) -> Option<(&'f mut &'a str, u32)> {
    // The length decides nearly everything, so that the many fields we pass over cost one look.
    let text = |t: Text| t as usize;
    let candidates: &[(&str, usize)] = match name.len() {
        4 => &[("Size", 20), ("Task", text(Text::Task))],
        6 => &[
            ("SHA256", 21),
            ("Source", text(Text::Source)),
            ("Breaks", text(Text::Breaks)),
        ],
        7 => &[
            ("Package", text(Text::Name)),
            ("Version", text(Text::Version)),
            ("Depends", text(Text::Depends)),
            ("Section", text(Text::Section)),
        ],
        8 => &[
            ("Filename", text(Text::Filename)),
            ("Provides", text(Text::Provides)),
            ("Priority", 22),
            ("Replaces", text(Text::Replaces)),
            ("Suggests", text(Text::Suggests)),
        ],
        9 => &[
            ("Conflicts", text(Text::Conflicts)),
            ("Essential", 23),
            ("Protected", 24),
            ("Important", 27),
        ],
        10 => &[("Recommends", text(Text::Recommends)), ("Multi-Arch", 25)],
        11 => &[("Pre-Depends", text(Text::PreDepends))],
        12 => &[("Architecture", text(Text::Architecture))],
        14 => &[("Installed-Size", 26)],
        _ => return None,
    };
    let (_, which) = candidates
        .iter()
        .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))?;
    let slot = match which {
        20 => &mut fields.size,
        21 => &mut fields.sha256,
        22 => &mut fields.priority,
        23 => &mut fields.essential,
        24 => &mut fields.protected,
        25 => &mut fields.multi_arch,
        26 => &mut fields.installed,
        27 => &mut fields.important,
        other => fields.texts.get_mut(*other)?,
    };
    Some((slot, 1 << which))
}

struct Provide {
    name: u32,
    package: u32,
    version: u32,
}

struct Builder {
    /// Header (still empty) and strings; the other parts are put behind them at the end.
    block: Vec<u8>,
    records: Vec<u8>,
    provides: Vec<Provide>,
    packages: usize,
    /// The texts of the package before, as offsets: neighbours of one source share many.
    before: [u32; TEXTS],
    shared: HashMap<Box<str>, u32>,
}

impl Builder {
    fn new() -> Self {
        Self {
            block: vec![0; layout::HEADER],
            records: Vec::new(),
            provides: Vec::new(),
            packages: 0,
            before: [0; TEXTS],
            shared: HashMap::new(),
        }
    }

    /// Takes whole stanzas; `line` is the number of lines before `text`. Returns the number after it.
    fn stanzas(&mut self, text: &str, mut line: usize) -> Result<usize, IndexError> {
        let mut fields = Fields::default();
        let mut start = line + 1;
        let mut any = false;
        let mut rest = text;
        while !rest.is_empty() {
            let (this, after) = rest.split_once('\n').unwrap_or((rest, ""));
            line += 1;
            rest = after;
            match this.as_bytes().first() {
                None => {
                    if any {
                        self.package(&fields, start)?;
                        fields = Fields::default();
                        any = false;
                    }
                    start = line + 1;
                    continue;
                }
                Some(b' ' | b'\t') => {
                    if !any {
                        return Err(IndexError::Syntax {
                            line,
                            what: "a continuation line without a field",
                        });
                    }
                    continue;
                }
                Some(b'#') => continue,
                Some(_) => {}
            }
            let Some((name, value)) = this.split_once(':') else {
                return Err(IndexError::Syntax {
                    line,
                    what: "expected `Field: value`",
                });
            };
            any = true;
            let Some((slot, bit)) = slot(&mut fields, name) else {
                continue;
            };
            // A folded field: its continuation lines belong to the value.
            let value = if rest.starts_with([' ', '\t']) {
                let value_start = text.len() - rest.len() - 1 - value.len();
                while rest.starts_with([' ', '\t']) {
                    rest = rest.split_once('\n').unwrap_or((rest, "")).1;
                    line += 1;
                }
                text.get(value_start..text.len() - rest.len())
                    .unwrap_or_default()
            } else {
                value
            };
            *slot = value.trim();
            if fields.seen & bit != 0 {
                return Err(IndexError::Syntax {
                    line,
                    what: "a field twice in one stanza",
                });
            }
            fields.seen |= bit;
        }
        if any {
            self.package(&fields, start)?;
        }
        Ok(line)
    }

    fn put(&mut self, text: &str) -> Result<u32, IndexError> {
        if text.is_empty() {
            return Ok(0);
        }
        let at = self.block.len();
        if at.saturating_add(text.len()) > layout::MAX_BLOCK / 2 {
            return Err(IndexError::TooLarge);
        }
        match u16::try_from(text.len()) {
            Ok(len) if len != u16::MAX => self.block.extend_from_slice(&len.to_le_bytes()),
            _ => {
                self.block.extend_from_slice(&u16::MAX.to_le_bytes());
                self.block.extend_from_slice(
                    &u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes(),
                );
            }
        }
        self.block.extend_from_slice(text.as_bytes());
        u32::try_from(at).map_err(|_| IndexError::TooLarge)
    }

    /// Puts a text that many packages share.
    fn put_shared(&mut self, text: &str) -> Result<u32, IndexError> {
        if let Some(at) = self.shared.get(text) {
            return Ok(*at);
        }
        let at = self.put(text)?;
        if self.shared.len() < MAX_SHARED {
            self.shared.insert(text.into(), at);
        }
        Ok(at)
    }

    fn package(&mut self, fields: &Fields<'_>, line: usize) -> Result<(), IndexError> {
        let text = |t: Text| fields.texts.get(t as usize).copied().unwrap_or_default();
        let name = text(Text::Name);
        let bad = |field: &'static str, value: &str| IndexError::Field {
            line,
            package: name.chars().take(80).collect(),
            field,
            value: value.chars().take(120).collect(),
        };
        if !is_package_name(name) {
            return Err(bad("Package", name));
        }
        if version::validate(text(Text::Version)).is_err() {
            return Err(bad("Version", text(Text::Version)));
        }
        if !is_architecture_name(text(Text::Architecture)) {
            return Err(bad("Architecture", text(Text::Architecture)));
        }
        if !is_safe_path(text(Text::Filename)) {
            return Err(bad("Filename", text(Text::Filename)));
        }
        let size: u64 = number(fields.size).ok_or_else(|| bad("Size", fields.size))?;
        let installed: u64 = match fields.installed {
            "" => 0,
            text => number(text).ok_or_else(|| bad("Installed-Size", text))?,
        };
        let sha256 =
            crate::hex::decode32(fields.sha256).ok_or_else(|| bad("SHA256", fields.sha256))?;
        let multi_arch = match fields.multi_arch {
            "" | "no" => MultiArch::No,
            "same" => MultiArch::Same,
            "foreign" => MultiArch::Foreign,
            "allowed" => MultiArch::Allowed,
            other => return Err(bad("Multi-Arch", other)),
        };
        let truth = |field: &'static str, value: &str| match value {
            "yes" => Ok(true),
            "" | "no" => Ok(false),
            other => Err(bad(field, other)),
        };
        let mut flags = 0;
        if truth("Essential", fields.essential)? {
            flags |= layout::FLAG_ESSENTIAL;
        }
        if truth("Protected", fields.protected)? || truth("Important", fields.important)? {
            flags |= layout::FLAG_PROTECTED;
        }
        if self.packages >= MAX_PACKAGES {
            return Err(IndexError::TooLarge);
        }
        let package = u32::try_from(self.packages).map_err(|_| IndexError::TooLarge)?;

        let mut now = [0u32; TEXTS];
        for (which, (value, slot)) in fields.texts.iter().zip(&mut now).enumerate() {
            let before = self.before.get(which).copied().unwrap_or(0);
            *slot = if value.is_empty() {
                // Said here for speed: comparing nothing with nothing takes a tenth of the whole (a masked load from a
                // place that is none).
                0
            } else if which == Text::Section as usize || which == Text::Architecture as usize {
                self.put_shared(value)?
            } else if layout::string_at(&self.block, self.block.len(), before)
                == Some(value.as_bytes())
            {
                before
            } else {
                self.put(value)?
            };
        }
        self.before = now;
        for at in now {
            self.records.extend_from_slice(&at.to_le_bytes());
        }
        self.records.extend_from_slice(&size.to_le_bytes());
        self.records.extend_from_slice(&installed.to_le_bytes());
        self.records.extend_from_slice(&sha256);
        self.records.extend_from_slice(&[
            multi_arch as u8,
            Priority::parse(fields.priority) as u8,
            flags,
            0,
        ]);

        let list = text(Text::Provides);
        if !list.is_empty() {
            for provide in relation::provides(list) {
                let provide = provide.map_err(|_| bad("Provides", list))?;
                if self.provides.len() >= MAX_PROVIDES {
                    return Err(IndexError::TooLarge);
                }
                let name = self.put(provide.name)?;
                let version = provide.version.map_or(Ok(0), |v| self.put(v))?;
                self.provides.push(Provide {
                    name,
                    package,
                    version,
                });
            }
        }
        self.packages += 1;
        Ok(())
    }

    fn finish(self) -> Result<Index, IndexError> {
        let Self {
            mut block,
            records,
            provides,
            packages,
            ..
        } = self;
        let strings_end = block.len();
        let text = |at: u32| layout::string_at(&block, strings_end, at).unwrap_or_default();
        let name_of = |package: &u32| {
            let record = *package as usize * layout::RECORD;
            text(layout::u32_at(&records, record + Text::Name as usize * 4))
        };
        let count = u32::try_from(packages).map_err(|_| IndexError::TooLarge)?;
        let mut order: Vec<(u128, u32)> = (0..count)
            .map(|package| (start(name_of(&package)), package))
            .collect();
        order.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| name_of(&a.1).cmp(name_of(&b.1))));
        let mut provides: Vec<(u128, Provide)> = provides
            .into_iter()
            .map(|p| (start(text(p.name)), p))
            .collect();
        provides.sort_by(|a, b| {
            a.0.cmp(&b.0)
                .then_with(|| text(a.1.name).cmp(text(b.1.name)))
        });
        let parts = Parts {
            packages: count,
            provides: u32::try_from(provides.len()).map_err(|_| IndexError::TooLarge)?,
            strings_end,
        };
        if parts.end() > layout::MAX_BLOCK {
            return Err(IndexError::TooLarge);
        }
        block.reserve_exact(parts.end() - block.len());
        block.extend_from_slice(&records);
        drop(records);
        for (_, package) in order {
            block.extend_from_slice(&package.to_le_bytes());
        }
        for (_, provide) in provides {
            for number in [provide.name, provide.package, provide.version] {
                block.extend_from_slice(&number.to_le_bytes());
            }
        }
        parts.seal(&mut block);
        Ok(Index { block, parts })
    }
}

/// The first bytes of a name as a number that orders as they do: sorting by it first saves most looks at
/// the names themselves, which are all over the block.
fn start(name: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    for (slot, byte) in bytes.iter_mut().zip(name) {
        *slot = *byte;
    }
    u128::from_be_bytes(bytes)
}

/// A decimal number, digits only.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// Whether `path` names something below an archive's root: relative, no `..`, nothing a terminal or
/// an address could trip over.
pub(crate) fn is_safe_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 4096
        && !path.starts_with('/')
        && !path.ends_with('/')
        && path.split('/').all(|part| part != "..")
        && !path.bytes().any(|b| b.is_ascii_control() || b == b'\\')
        && (path.is_ascii() || !path.chars().any(char::is_control))
}
