//! Preferences files of APT (apt_preferences(5)) and what they come to: the priority of each version
//! in each source.
//!
//! Reading is stricter than APT's own: a key, a pin or a part of a pin that APT would pass over with a
//! warning, or without, is an error with its place. What a file says is never half obeyed.

mod pattern;
mod policy;
#[cfg(test)]
mod tests;

pub use policy::{Policy, ReleaseFacts, Subject};

use pattern::Pattern;

/// Longest file, in bytes. Real ones have some hundred.
pub const MAX_BYTES: usize = 1 << 20;
/// Most records of one file.
const MAX_RECORDS: usize = 10_000;
/// Most names in one record.
const MAX_NAMES: usize = 10_000;

/// Why a preferences file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}, column {column}: {what}")]
pub struct PreferencesError {
    /// The file's name, as it was given.
    pub file: String,
    /// Where, from 1.
    pub line: usize,
    /// Where in the line, in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub what: String,
}

/// How much a pin is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Priority(i16),
    /// `never`: no source that it names gives anything, whatever else is said.
    Never,
}

/// What a record is about.
#[derive(Debug, Clone)]
enum About {
    /// `Package: *`: every package, the general form.
    All,
    /// The specific form.
    Names(Vec<Name>),
}

/// One word of `Package:`.
#[derive(Debug, Clone)]
struct Name {
    pattern: Pattern,
    /// Behind the last colon; the native architecture when absent.
    arch: Option<String>,
    /// `src:`: the name is of a source package.
    source: bool,
}

/// The `Pin:` of a record.
#[derive(Debug, Clone)]
enum Pin {
    /// `version 5.10*`
    Version(Pattern),
    /// `release a=stable, c=main`
    Release(Vec<(Part, Pattern)>),
    /// `release *`
    AnyRelease,
    /// `release bookworm`: its archive or its code name.
    ReleaseName(Pattern),
    /// `origin "deb.debian.org"`: the host; empty for what comes from this machine.
    Origin(Pattern),
    /// `origin ""`
    Local,
}

/// What a `release` pin can look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Archive,
    Codename,
    Version,
    Component,
    Origin,
    Label,
    Architecture,
}

#[derive(Debug, Clone)]
struct Record {
    about: About,
    pin: Pin,
    worth: Worth,
}

/// The records of one file, in its order.
#[derive(Debug, Clone, Default)]
pub struct Preferences {
    records: Vec<Record>,
}

impl Preferences {
    /// Reads a file; `file` is its name for messages.
    ///
    /// # Errors
    /// [`PreferencesError`] with the place of the first thing that is wrong.
    pub fn parse(file: &str, text: &str) -> Result<Self, PreferencesError> {
        let fail = |at: Place, what: String| PreferencesError {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            what,
        };
        if text.len() > MAX_BYTES {
            let what = format!("the file is longer than {MAX_BYTES} bytes");
            return Err(fail(Place::new(1, 1), what));
        }
        let mut records = Vec::new();
        for stanza in stanzas(text).map_err(|(at, what)| fail(at, what))? {
            if records.len() >= MAX_RECORDS {
                let what = format!("more than {MAX_RECORDS} records");
                return Err(fail(stanza.at, what));
            }
            records.push(record(&stanza).map_err(|(at, what)| fail(at, what))?);
        }
        Ok(Self { records })
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// Whether APT reads a file of this name in `preferences.d`: letters, digits, `-`, `_`, `.`, and no ending but
/// `.pref` (apt_preferences(5)).
pub fn is_preferences_name(name: &str) -> bool {
    let stem = name.strip_suffix(".pref").unwrap_or(name);
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    !stem.is_empty() && name.len() <= 200 && stem.bytes().all(good)
}

type Wrong = (Place, String);

#[derive(Debug, Clone, Copy)]
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    const fn new(line: usize, column: usize) -> Self {
        Self { line, column }
    }
}

/// A piece of text and where it stands.
#[derive(Debug, Clone, Copy)]
struct Piece<'t> {
    text: &'t str,
    at: Place,
}

impl<'t> Piece<'t> {
    /// Its words.
    fn words(self) -> impl Iterator<Item = Piece<'t>> {
        self.split(char::is_whitespace)
            .filter(|word| !word.text.is_empty())
    }

    fn split(self, mut at: impl FnMut(char) -> bool) -> impl Iterator<Item = Piece<'t>> {
        let mut pieces = Vec::new();
        let (mut start, mut column) = (0, self.at.column);
        let mut start_column = column;
        for (place, c) in self.text.char_indices() {
            column += 1;
            if at(c) {
                pieces.push(self.part(start, place, start_column));
                start = place + c.len_utf8();
                start_column = column;
            }
        }
        pieces.push(self.part(start, self.text.len(), start_column));
        pieces.into_iter()
    }

    fn part(self, from: usize, to: usize, column: usize) -> Piece<'t> {
        Piece {
            text: self.text.get(from..to).unwrap_or_default(),
            at: Place::new(self.at.line, column),
        }
    }

    /// Without white space around it.
    fn trim(self) -> Piece<'t> {
        let text = self.text.trim_start();
        let skipped = self.text.chars().count() - text.chars().count();
        Piece {
            text: text.trim_end(),
            at: Place::new(self.at.line, self.at.column + skipped),
        }
    }
}

struct Field<'t> {
    name: Piece<'t>,
    /// One piece a line.
    lines: Vec<Piece<'t>>,
}

struct Stanza<'t> {
    at: Place,
    fields: Vec<Field<'t>>,
}

fn stanzas(text: &str) -> Result<Vec<Stanza<'_>>, Wrong> {
    let mut all: Vec<Stanza<'_>> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        let at = Place::new(number + 1, 1);
        if let Some(bad) = line.chars().position(|c| c.is_control() && c != '\t') {
            let place = Place::new(at.line, bad + 1);
            return Err((place, "a control character".to_owned()));
        }
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            open = false;
            continue;
        }
        let whole = Piece { text: line, at };
        if line.starts_with([' ', '\t']) {
            let field = all.last_mut().filter(|_| open);
            match field.and_then(|stanza| stanza.fields.last_mut()) {
                Some(field) => field.lines.push(whole.trim()),
                None => return Err((whole.trim().at, "a continued line without a field".into())),
            }
            continue;
        }
        let Some(colon) = line.find(':') else {
            return Err((at, "expected `Field: value`".to_owned()));
        };
        let name = whole.part(0, colon, 1).trim();
        let column = line.get(..colon).unwrap_or_default().chars().count() + 2;
        let value = whole.part(colon + 1, line.len(), column).trim();
        if !open {
            open = true;
            all.push(Stanza {
                at,
                fields: Vec::new(),
            });
        }
        if let Some(stanza) = all.last_mut() {
            if stanza.fields.len() > 16 {
                return Err((at, "more fields than a record can have".to_owned()));
            }
            stanza.fields.push(Field {
                name,
                lines: vec![value],
            });
        }
    }
    Ok(all)
}

fn record(stanza: &Stanza<'_>) -> Result<Record, Wrong> {
    let (mut package, mut pin, mut priority) = (None, None, None);
    for field in &stanza.fields {
        let name = field.name;
        let slot = match name.text.to_ascii_lowercase().as_str() {
            "package" => &mut package,
            "pin" => &mut pin,
            "pin-priority" => &mut priority,
            "explanation" => continue,
            _ => {
                let what = format!(
                    "unknown key {:?}: there are Package, Pin, Pin-Priority and Explanation",
                    short(name.text)
                );
                return Err((name.at, what));
            }
        };
        if slot.is_some() {
            return Err((name.at, format!("{} twice in one record", name.text)));
        }
        *slot = Some(field);
    }
    let missing = |what: &str| (stanza.at, format!("the record has no {what}"));
    let package = package.ok_or_else(|| missing("Package"))?;
    let pin = one_line(pin.ok_or_else(|| missing("Pin"))?)?;
    let priority = one_line(priority.ok_or_else(|| missing("Pin-Priority"))?)?;
    let about = about(package)?;
    let general = matches!(about, About::All);
    let pin = self::pin(pin, general)?;
    let worth = worth(priority, general)?;
    Ok(Record { about, pin, worth })
}

fn one_line<'t>(field: &Field<'t>) -> Result<Piece<'t>, Wrong> {
    match field.lines.as_slice() {
        [one] if one.text.is_empty() => Err((one.at, format!("{} is empty", field.name.text))),
        [one] => Ok(*one),
        [_, second, ..] => {
            let what = format!("{} cannot go on in a second line", field.name.text);
            Err((second.at, what))
        }
        [] => Err((field.name.at, format!("{} is empty", field.name.text))),
    }
}

fn about(field: &Field<'_>) -> Result<About, Wrong> {
    let words: Vec<Piece<'_>> = field.lines.iter().flat_map(|line| line.words()).collect();
    match words.as_slice() {
        [] => Err((field.name.at, "Package is empty".to_owned())),
        [all] if all.text == "*" => Ok(About::All),
        words if words.len() > MAX_NAMES => {
            Err((field.name.at, format!("more than {MAX_NAMES} names")))
        }
        words => words
            .iter()
            .map(|word| name(*word))
            .collect::<Result<_, _>>()
            .map(About::Names),
    }
}

fn name(word: Piece<'_>) -> Result<Name, Wrong> {
    let (rest, source) = match word.text.strip_prefix("src:") {
        Some(rest) => (rest, true),
        None => (word.text, false),
    };
    // As APT does it: what is behind the last colon is an architecture, in a regular expression too.
    let (rest, arch) = match rest.rsplit_once(':') {
        Some((rest, arch)) => (rest, Some(arch)),
        None => (rest, None),
    };
    if let Some(arch) = arch
        // APT takes `native` for a name like others here, and nothing is of it.
        && (!super::is_architecture_name(arch) || arch == "native")
    {
        return Err((word.at, format!("{arch:?} is no architecture")));
    }
    let special = rest.starts_with('/') || rest.contains(['*', '[', '?']);
    if !special && !super::is_package_name(rest) {
        return Err((word.at, format!("{:?} is no package name", short(rest))));
    }
    let pattern = if special {
        Pattern::new(rest).map_err(|what| (word.at, what))?
    } else {
        Pattern::exact(rest)
    };
    Ok(Name {
        pattern,
        arch: arch.map(str::to_owned),
        source,
    })
}

fn pin(piece: Piece<'_>, general: bool) -> Result<Pin, Wrong> {
    let end = piece
        .text
        .find(char::is_whitespace)
        .unwrap_or(piece.text.len());
    let kind = piece.part(0, end, piece.at.column);
    let behind = kind.text.chars().count();
    let data = piece
        .part(end, piece.text.len(), piece.at.column + behind)
        .trim();
    let pattern = |piece: Piece<'_>| Pattern::new(piece.text).map_err(|what| (piece.at, what));
    match kind.text.to_ascii_lowercase().as_str() {
        "version" if general => Err((
            kind.at,
            "`Package: *` cannot be pinned to a version: name packages, or pin a release".into(),
        )),
        "version" | "release" if data.text.is_empty() => Err((
            data.at,
            format!("what {} is pinned to is missing", kind.text),
        )),
        "version" => match data.text.strip_suffix('*') {
            // A star at the end is part of the pattern, and what is before it counts as it stands.
            Some(_) => Ok(Pin::Version(Pattern::version(data.text))),
            None => Pattern::new(data.text)
                .map(|p| Pin::Version(p.or_exact(data.text)))
                .map_err(|what| (data.at, what)),
        },
        "release" if data.text == "*" => Ok(Pin::AnyRelease),
        "release" if !data.text.contains('=') => {
            if data.text.starts_with(|c: char| c.is_ascii_digit()) {
                let version = Pattern::version(data.text);
                return Ok(Pin::Release(vec![(Part::Version, version)]));
            }
            Ok(Pin::ReleaseName(pattern(data)?))
        }
        "release" => release_parts(data).map(Pin::Release),
        "origin" => {
            let inside = data
                .text
                .strip_prefix('"')
                .and_then(|text| text.strip_suffix('"'));
            match inside.unwrap_or(data.text) {
                "" => Ok(Pin::Local),
                host => Pattern::new(host)
                    .map(Pin::Origin)
                    .map_err(|what| (data.at, what)),
            }
        }
        _ => Err((
            kind.at,
            format!(
                "unknown pin {:?}: there are release, origin and version",
                short(kind.text)
            ),
        )),
    }
}

fn release_parts(data: Piece<'_>) -> Result<Vec<(Part, Pattern)>, Wrong> {
    let mut parts: Vec<(Part, Pattern)> = Vec::new();
    for piece in data.split(|c| c == ',') {
        let piece = piece.trim();
        let Some((key, value)) = piece.text.split_once('=') else {
            return Err((
                piece.at,
                format!("expected `key=value`, and not {:?}", short(piece.text)),
            ));
        };
        let part = match key.to_ascii_lowercase().as_str() {
            "a" => Part::Archive,
            "n" => Part::Codename,
            "v" => Part::Version,
            "c" => Part::Component,
            "o" => Part::Origin,
            "l" => Part::Label,
            "b" => Part::Architecture,
            _ => {
                return Err((
                    piece.at,
                    format!(
                        "unknown key {:?} of a release: there are a, n, v, c, o, l and b",
                        short(key)
                    ),
                ));
            }
        };
        if value.is_empty() {
            return Err((piece.at, format!("{key}= without a value")));
        }
        if parts.iter().any(|(p, _)| *p == part) {
            return Err((piece.at, format!("{key}= twice")));
        }
        let pattern = match part {
            Part::Version => Pattern::version(value),
            _ => Pattern::new(value).map_err(|what| (piece.at, what))?,
        };
        parts.push((part, pattern));
    }
    Ok(parts)
}

fn worth(piece: Piece<'_>, general: bool) -> Result<Worth, Wrong> {
    if piece.text == "never" {
        return match general {
            true => Ok(Worth::Never),
            false => Err((
                piece.at,
                "`never` is for records of `Package: *` alone".to_owned(),
            )),
        };
    }
    let digits = piece.text.strip_prefix(['-', '+']).unwrap_or(piece.text);
    let number = digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| piece.text.parse::<i16>());
    match number {
        Some(Ok(0)) => Err((
            piece.at,
            "a priority of 0 means nothing: leave the record out, or use a negative one".to_owned(),
        )),
        Some(Ok(number)) => Ok(Worth::Priority(number)),
        _ => Err((
            piece.at,
            format!(
                "{:?} is no priority: a number from {} to {}",
                short(piece.text),
                i16::MIN,
                i16::MAX
            ),
        )),
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
