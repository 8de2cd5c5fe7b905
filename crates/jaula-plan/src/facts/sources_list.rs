//! Reads sources.list(5): the one-line form and deb822 stanzas, the host's own and the user's.

use crate::names::Arch;
use crate::rootfs::address;
use crate::spec::source::{Repository, SignedBy, Trust};
use std::path::{Path, PathBuf};

/// Which of the two forms a text has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `deb [option=value …] URI SUITE COMPONENT…`, a line each (`*.list`).
    Lines,
    /// Stanzas of fields (`*.sources`).
    Stanzas,
}

impl Form {
    /// As apt tells it: by the ending of the file's name.
    pub fn of(path: &Path) -> Self {
        match path.extension().is_some_and(|ending| ending == "sources") {
            true => Self::Stanzas,
            false => Self::Lines,
        }
    }
}

/// Who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The host's own file, which apt understands: what jaula does not know is passed over.
    Host,
    /// The user's request: nothing is ignored.
    Request,
}

/// One entry. It has a repository for each of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line it begins in, from 1.
    pub line: usize,
    /// Whether it is of binary packages.
    pub binary: bool,
    /// What it describes.
    pub repositories: Vec<Repository>,
}

/// Why a text is no list of sources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct ListError {
    /// Where, from 1.
    pub line: usize,
    /// Where in the line, in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub what: String,
}

/// The most entries of one text: a host with more sources is none.
const MAX_ENTRIES: usize = 4096;

/// A word and where it stands.
#[derive(Debug, Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    line: usize,
    column: usize,
}

impl Word<'_> {
    fn bad(&self, what: impl Into<String>) -> ListError {
        ListError {
            line: self.line,
            column: self.column,
            what: what.into(),
        }
    }
}

/// Reads a text. Each entry is by itself right or wrong: the host's other entries count when one is odd.
pub fn entries(text: &str, form: Form, reading: Reading) -> Vec<Result<Entry, ListError>> {
    let mut found = match form {
        Form::Lines => lines(text, reading),
        Form::Stanzas => stanzas(text, reading),
    };
    if found.len() > MAX_ENTRIES {
        found.truncate(MAX_ENTRIES);
        found.push(Err(ListError {
            line: 1,
            column: 1,
            what: format!("there are more than {MAX_ENTRIES} entries"),
        }));
    }
    found
}

/// The words of a line.
fn words(text: &str, line: usize, first_column: usize) -> Vec<Word<'_>> {
    let mut found = Vec::new();
    let mut start = None;
    let end = (text.len(), text.chars().count(), ' ');
    let all = text.char_indices().enumerate();
    let all = all.map(|(column, (at, c))| (at, column, c)).chain([end]);
    for (at, column, c) in all {
        match (c.is_whitespace(), start) {
            (false, None) => start = Some((at, column)),
            (true, Some((from, column))) => {
                start = None;
                found.push(Word {
                    text: text.get(from..at).unwrap_or_default(),
                    line,
                    column: column + first_column,
                });
            }
            _ => {}
        }
    }
    found
}

/// What options and fields say, in the words of the deb822 form.
#[derive(Default)]
struct Options {
    archs: Vec<Arch>,
    signed_by: SignedBy,
    trust: Trust,
    until: Option<bool>,
}

/// What jaula has no counterpart for, and what each does when it is not set: a value that says the same is fine.
const ONLY: [(&str, &[&str]); 12] = [
    ("allow-insecure", &["no"]),
    ("allow-weak", &["no"]),
    ("allow-downgrade-to-insecure", &["no"]),
    ("check-date", &["yes"]),
    ("valid-until-min", &[]),
    ("valid-until-max", &[]),
    ("date-max-future", &[]),
    ("inrelease-path", &[]),
    ("snapshot", &[]),
    ("include", &[]),
    ("exclude", &[]),
    ("targets", &["packages"]),
];
/// What says how apt keeps and shows its lists, and nothing of the packages.
const FREE: [&str; 3] = ["languages", "pdiffs", "by-hash"];

/// What `signed-by` says: paths, or fingerprints, which are not looked for in the host's keyrings.
fn signers(values: &[Word<'_>]) -> Result<SignedBy, ListError> {
    let mut files = Vec::new();
    for word in values.iter().filter(|word| !word.text.is_empty()) {
        if !word.text.starts_with('/') {
            return Err(word.bad(format!(
                "signed-by {:?} is no path from the root: name the keyring's file",
                word.text
            )));
        }
        files.push(PathBuf::from(word.text));
    }
    Ok(if files.is_empty() {
        SignedBy::Default
    } else {
        SignedBy::Files(files)
    })
}

fn yes_or_no(word: &Word<'_>) -> Result<bool, ListError> {
    match word.text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" | "on" | "with" | "enable" => Ok(true),
        "no" | "false" | "0" | "off" | "without" | "disable" => Ok(false),
        _ => Err(word.bad(format!("{:?} is neither yes nor no", word.text))),
    }
}

impl Options {
    /// One option with its values. Tells whether it is one.
    fn set(
        &mut self,
        name: &str,
        key: &Word<'_>,
        values: &[Word<'_>],
        reading: Reading,
    ) -> Result<bool, ListError> {
        let one = || match values {
            [one] => Ok(one),
            _ => Err(key.bad(format!("{} has one value", key.text))),
        };
        match name {
            "architectures" => {
                for word in values {
                    let arch = word
                        .text
                        .parse()
                        .map_err(|error| word.bad(format!("{error}")))?;
                    self.archs.push(arch);
                }
            }
            "signed-by" => self.signed_by = signers(values)?,
            "trusted" if yes_or_no(one()?)? => self.trust = Trust::Unsigned,
            "trusted" if reading == Reading::Request => {
                return Err(
                    key.bad("trusted=no would never trust it, whoever signs: leave the source out")
                );
            }
            "trusted" => {}
            "check-valid-until" => self.until = Some(yes_or_no(one()?)?),
            _ if FREE.contains(&name) => {}
            _ => {
                let Some((_, same)) = ONLY.iter().find(|(only, _)| *only == name) else {
                    return Ok(false);
                };
                let plain = !values.is_empty()
                    && values
                        .iter()
                        .all(|v| same.contains(&v.text.to_ascii_lowercase().as_str()));
                if reading == Reading::Request && !plain {
                    return Err(key.bad(format!("jaula cannot do what {} asks for", key.text)));
                }
            }
        }
        Ok(true)
    }
}

/// The name of an option of the one-line form among the fields of deb822.
fn field_of(option: &str) -> &str {
    match option {
        "arch" => "architectures",
        "lang" => "languages",
        "target" => "targets",
        other => other,
    }
}

fn lines(text: &str, reading: Reading) -> Vec<Result<Entry, ListError>> {
    text.lines()
        .enumerate()
        .filter_map(|(number, line)| {
            let line = line.split('#').next().unwrap_or("");
            let words = words(line, number + 1, 1);
            (!words.is_empty()).then(|| one_line(&words, reading))
        })
        .collect()
}

fn one_line(words: &[Word<'_>], reading: Reading) -> Result<Entry, ListError> {
    let nothing = Word {
        text: "",
        line: 1,
        column: 1,
    };
    let (kind, mut rest) = words.split_first().unwrap_or((&nothing, &[]));
    let binary = match kind.text {
        "deb" => true,
        "deb-src" => false,
        other => return Err(kind.bad(format!("a line begins with deb or deb-src, not {other:?}"))),
    };
    let mut options = Options::default();
    if let Some(first) = rest.first().filter(|word| word.text.starts_with('[')) {
        let end = rest.iter().position(|word| word.text.ends_with(']'));
        let Some((inside, after)) = end.and_then(|end| rest.split_at_checked(end + 1)) else {
            return Err(first.bad("the bracket of the options is not closed"));
        };
        rest = after;
        for (at, word) in inside.iter().enumerate() {
            let mut word = *word;
            if at == 0 {
                word.text = word.text.strip_prefix('[').unwrap_or(word.text);
                word.column += 1;
            }
            if at + 1 == inside.len() {
                word.text = word.text.strip_suffix(']').unwrap_or(word.text);
            }
            if !word.text.is_empty() {
                option(&mut options, word, reading)?;
            }
        }
    }
    let missing = |what: &str| {
        let mut end = *words.last().unwrap_or(&nothing);
        end.column += end.text.chars().count();
        end.bad(format!("{what} is missing"))
    };
    let uri = rest.first().ok_or_else(|| missing("the address"))?;
    let suite = rest.get(1).ok_or_else(|| missing("the suite"))?;
    let components = rest.get(2..).unwrap_or_default();
    if components.is_empty() && !suite.text.ends_with('/') {
        return Err(missing(
            "the component (or the slash at the end of a flat repository)",
        ));
    }
    entry(
        binary,
        !binary,
        &[*uri],
        &[*suite],
        components,
        options,
        reading,
    )
}

/// `name=value,…`
fn option(options: &mut Options, word: Word<'_>, reading: Reading) -> Result<(), ListError> {
    let (name, value) = word
        .text
        .split_once('=')
        .ok_or_else(|| word.bad(format!("the option {:?} has no value", word.text)))?;
    let lower = name.to_ascii_lowercase();
    let key = Word { text: name, ..word };
    let mut column = word.column + name.chars().count() + 1;
    let mut values = Vec::new();
    for text in value.split(',') {
        if !text.is_empty() {
            values.push(Word {
                text,
                column,
                ..word
            });
        }
        column += text.chars().count() + 1;
    }
    let known = options.set(field_of(&lower), &key, &values, reading)?;
    if !known && reading == Reading::Request {
        return Err(unknown(&key, "option"));
    }
    Ok(())
}

fn unknown(key: &Word<'_>, what: &str) -> ListError {
    let names = [
        "architectures",
        "signed-by",
        "trusted",
        "check-valid-until",
        "types",
        "uris",
        "suites",
        "components",
        "enabled",
        "arch",
    ];
    let lower = key.text.to_ascii_lowercase();
    let near = crate::rootfs::nearest(&lower, names.into_iter());
    match near.first() {
        Some(near) => key.bad(format!("unknown {what} {:?}: is it {near}?", key.text)),
        None => key.bad(format!("unknown {what} {:?}", key.text)),
    }
}

fn entry(
    binary: bool,
    source_packages: bool,
    uris: &[Word<'_>],
    suites: &[Word<'_>],
    components: &[Word<'_>],
    options: Options,
    reading: Reading,
) -> Result<Entry, ListError> {
    let flat = suites
        .iter()
        .filter(|suite| suite.text.ends_with('/'))
        .count();
    let line = uris.first().map_or(1, |word| word.line);
    if reading == Reading::Request {
        if let Some(first) = components.first().filter(|_| flat > 0) {
            return Err(
                first.bad("a flat repository (a suite that ends in a slash) has no components")
            );
        }
        for (what, words) in [("suite", suites), ("component", components)] {
            for word in words {
                let good = |c: char| c.is_ascii_alphanumeric() || "-_.+~:/".contains(c);
                if !word.text.chars().all(good) || word.text.split('/').any(|part| part == "..") {
                    return Err(word.bad(format!("{:?} is no {what}", word.text)));
                }
            }
        }
    }
    let mut repositories = Vec::new();
    for uri in uris {
        let address = match (address::checked(uri.text), reading) {
            (Some(address), _) => address,
            (None, Reading::Host) => uri.text.trim_end_matches('/').to_owned(),
            (None, Reading::Request) => {
                return Err(uri.bad(format!(
                    "{:?} is no address of http:, https:, file:, copy: or cdrom:/path/of.iso",
                    address::without_login(uri.text)
                )));
            }
        };
        let texts = |words: &[Word<'_>]| words.iter().map(|word| word.text.to_owned()).collect();
        repositories.push(Repository {
            uri: address,
            suites: texts(suites),
            components: texts(components),
            archs: options.archs.clone(),
            signed_by: options.signed_by.clone(),
            trust: options.trust,
            check_valid_until: options.until.unwrap_or(true),
            source_packages,
            ..Repository::default()
        });
    }
    Ok(Entry {
        line,
        binary,
        repositories,
    })
}

/// A field of a stanza: its name, and its lines.
struct Field<'t> {
    key: Word<'t>,
    lower: String,
    lines: Vec<Word<'t>>,
}

impl<'t> Field<'t> {
    fn words(&self) -> Vec<Word<'t>> {
        self.lines
            .iter()
            .flat_map(|line| words(line.text, line.line, line.column))
            .collect()
    }
}

fn stanzas(text: &str, reading: Reading) -> Vec<Result<Entry, ListError>> {
    let mut found = Vec::new();
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut wrong: Option<ListError> = None;
    for (number, line) in text.lines().chain([""]).enumerate() {
        let here = Word {
            text: line,
            line: number + 1,
            column: 1,
        };
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            match wrong.take() {
                Some(error) => found.push(Err(error)),
                None if fields.is_empty() => {}
                None => found.extend(stanza(&fields, reading).transpose()),
            }
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            match fields.last_mut() {
                Some(field) => field.lines.push(here),
                None => {
                    wrong = wrong
                        .or_else(|| Some(here.bad("a line that goes on, but no field before it")))
                }
            }
        } else if let Some((name, value)) = line.split_once(':') {
            let lower = name.trim_end().to_ascii_lowercase();
            let key = Word {
                text: name.trim_end(),
                ..here
            };
            if fields.iter().any(|field| field.lower == lower) && reading == Reading::Request {
                wrong = wrong.or_else(|| {
                    Some(key.bad(format!("the field {} stands there twice", key.text)))
                });
            }
            fields.push(Field {
                key,
                lower,
                lines: vec![Word {
                    text: value,
                    line: number + 1,
                    column: name.chars().count() + 2,
                }],
            });
        } else {
            wrong = wrong.or_else(|| Some(here.bad("a field has a name and a colon")));
        }
    }
    found
}

/// An armoured key in the stanza itself: its lines, a lone dot for an empty one.
fn inline_key(field: &Field<'_>) -> Option<String> {
    let lines: Vec<&str> = field.lines.iter().map(|line| line.text.trim()).collect();
    if !lines.iter().any(|line| line.starts_with("-----BEGIN PGP")) {
        return None;
    }
    let mut key = String::new();
    for line in lines.iter().skip_while(|line| line.is_empty()) {
        key.push_str(if *line == "." { "" } else { line });
        key.push('\n');
    }
    Some(key)
}

fn needed<'t>(
    first: &Word<'_>,
    what: &str,
    words: Option<Vec<Word<'t>>>,
) -> Result<Vec<Word<'t>>, ListError> {
    words
        .filter(|words| !words.is_empty())
        .ok_or_else(|| first.bad(format!("the stanza has no {what}")))
}

fn stanza(fields: &[Field<'_>], reading: Reading) -> Result<Option<Entry>, ListError> {
    let mut options = Options::default();
    let (mut uris, mut suites, mut components) = (None, None, None);
    let (mut binary, mut source, mut enabled) = (false, false, true);
    let mut types = false;
    for field in fields {
        let values = field.words();
        match field.lower.as_str() {
            "types" => {
                types = true;
                for word in &values {
                    match word.text {
                        "deb" => binary = true,
                        "deb-src" => source = true,
                        _ if reading == Reading::Host => {}
                        other => {
                            return Err(word.bad(format!("unknown type {other:?}: deb or deb-src")));
                        }
                    }
                }
            }
            "uris" => uris = Some(values),
            "suites" => suites = Some(values),
            "components" => components = Some(values),
            "enabled" => {
                enabled = match values.as_slice() {
                    [one] => yes_or_no(one)?,
                    _ => return Err(field.key.bad("Enabled has one value")),
                };
            }
            "signed-by" if inline_key(field).is_some() => {
                options.signed_by = SignedBy::Inline(inline_key(field).unwrap_or_default());
            }
            // deb822-style extensions, which are comments to everybody but who made them.
            extension if extension.starts_with("x-") => {}
            name => {
                let known = options.set(name, &field.key, &values, reading)?;
                if !known && reading == Reading::Request {
                    return Err(unknown(&field.key, "field"));
                }
            }
        }
    }
    if !enabled {
        return Ok(None);
    }
    let first = fields.first().map_or(
        Word {
            text: "",
            line: 1,
            column: 1,
        },
        |field| field.key,
    );
    if !types || !(binary || source) {
        return Err(first.bad("the stanza has no Types"));
    }
    let uris = needed(&first, "URIs", uris)?;
    let suites = needed(&first, "Suites", suites)?;
    let flat = suites.iter().all(|suite| suite.text.ends_with('/'));
    let components = match components {
        Some(words) if flat || !words.is_empty() => words,
        None if flat => Vec::new(),
        _ => return Err(first.bad("the stanza has no Components")),
    };
    entry(
        binary,
        source,
        &uris,
        &suites,
        &components,
        options,
        reading,
    )
    .map(Some)
}

#[cfg(test)]
mod tests;
