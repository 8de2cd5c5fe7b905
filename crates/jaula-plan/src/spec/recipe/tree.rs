//! A recipe as it is written: checked against the table of keys, every value with its place, several files laid over
//! each other.

use super::schema::{Key, Kind, RECIPE};
use super::{Place, RecipeError, What};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// Largest recipe, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone)]
pub enum Value {
    Text(String),
    Bool(bool),
    /// A number, or a date as seconds since 1970.
    Number(u64),
    Texts(Vec<(Place, String)>),
    Table(Table),
    Tables(Vec<(Place, Table)>),
}

/// A table: names of keys to values.
pub type Table = BTreeMap<&'static str, Node>;

/// Reads one file.
pub fn parse(path: &Path, text: &str) -> Result<Table, RecipeError> {
    parse_as(path, text, RECIPE, "a recipe")
}

/// Reads a file of other keys, which are those of `within`.
pub fn parse_as(
    path: &Path,
    text: &str,
    keys: &'static [Key],
    within: &str,
) -> Result<Table, RecipeError> {
    let reader = Reader {
        file: path.into(),
        text,
    };
    if text.len() > MAX_BYTES {
        return Err(reader.error(0, What::TooLarge));
    }
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        reader.error(at, What::Toml(error.message().to_owned()))
    })?;
    reader.table(table.get_ref(), keys, within)
}

struct Reader<'t> {
    file: Arc<Path>,
    text: &'t str,
}

impl Reader<'_> {
    fn place(&self, at: usize) -> Place {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        Place {
            file: Arc::clone(&self.file),
            line,
            column,
        }
    }

    fn error(&self, at: usize, what: What) -> RecipeError {
        RecipeError {
            place: self.place(at),
            what,
        }
    }

    fn table(
        &self,
        table: &DeTable<'_>,
        keys: &'static [Key],
        within: &str,
    ) -> Result<Table, RecipeError> {
        let mut read = Table::new();
        // The first mistake of the file is told first.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let word = name.get_ref().as_ref();
            let Some(key) = keys.iter().find(|key| key.name == word) else {
                let what = What::UnknownKey {
                    key: word.chars().take(60).collect(),
                    within: within.to_owned(),
                    nearest: nearest(word, keys.iter().map(|key| key.name)),
                };
                return Err(self.error(name.span().start, what));
            };
            let node = self.value(value, key)?;
            read.insert(key.name, node);
        }
        Ok(read)
    }

    fn value(&self, value: &Spanned<DeValue<'_>>, key: &'static Key) -> Result<Node, RecipeError> {
        let at = value.span().start;
        let wrong = |found: &DeValue<'_>, at: usize| {
            self.error(
                at,
                What::WrongType {
                    key: key.name,
                    wanted: key.kind.words(),
                    found: found.type_str(),
                },
            )
        };
        let whole = value.get_ref();
        let read = match (key.kind, whole) {
            (Kind::Text | Kind::Path, DeValue::String(text)) => Value::Text(text.to_string()),
            (Kind::Choice(words), DeValue::String(text)) => {
                if !words.contains(&text.as_ref()) {
                    return Err(self.error(
                        at,
                        What::NoSuchWord {
                            key: key.name,
                            word: text.chars().take(60).collect(),
                            words: words.join(", "),
                            nearest: nearest(text, words.iter().copied()),
                        },
                    ));
                }
                Value::Text(text.to_string())
            }
            (Kind::Bool, DeValue::Boolean(set)) => Value::Bool(*set),
            (Kind::Number, DeValue::Integer(number)) => {
                let fits = integer(number).filter(|n| *n < u64::from(u32::MAX));
                Value::Number(fits.ok_or_else(|| wrong(whole, at))?)
            }
            (Kind::Date, DeValue::Integer(number)) => {
                Value::Number(integer(number).ok_or_else(|| wrong(whole, at))?)
            }
            (Kind::Date, DeValue::Datetime(date)) => {
                Value::Number(seconds(date).ok_or_else(|| wrong(whole, at))?)
            }
            (Kind::Texts | Kind::Paths, DeValue::Array(items)) => {
                let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                    DeValue::String(text) => Ok((self.place(item.span().start), text.to_string())),
                    other => Err(wrong(other, item.span().start)),
                };
                Value::Texts(items.iter().map(text).collect::<Result<_, _>>()?)
            }
            (Kind::Table(keys), DeValue::Table(table)) => {
                Value::Table(self.table(table, keys, &format!("[{}]", key.name))?)
            }
            (Kind::Tables(keys), DeValue::Array(items)) => {
                let within = format!("[[{}]]", key.name);
                let table = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                    DeValue::Table(table) => {
                        let place = self.place(item.span().start);
                        Ok((place, self.table(table, keys, &within)?))
                    }
                    other => Err(wrong(other, item.span().start)),
                };
                Value::Tables(items.iter().map(table).collect::<Result<_, _>>()?)
            }
            (_, other) => return Err(wrong(other, at)),
        };
        Ok(Node {
            place: self.place(at),
            value: read,
        })
    }
}

fn integer(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Seconds since 1970 of a date with an offset.
fn seconds(date: &toml::value::Datetime) -> Option<u64> {
    let (day, time, offset) = (date.date?, date.time?, date.offset?);
    let offset = match offset {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes) * 60,
    };
    // Days to civil date: the era of 400 years begins in March.
    let (year, month) = (i64::from(day.year), i64::from(day.month));
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(day.day) - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let clock = i64::from(time.hour) * 3600
        + i64::from(time.minute) * 60
        + i64::from(time.second.unwrap_or(0));
    u64::try_from(days * 86_400 + clock - offset).ok()
}

/// Lays `over` over `base`: what it says wins, tables are laid over each other, lists go on where those of `base` end.
pub fn lay(base: &mut Table, over: Table) {
    for (name, node) in over {
        match (base.get_mut(name).map(|node| &mut node.value), node.value) {
            (Some(Value::Table(base)), Value::Table(over)) => lay(base, over),
            (Some(Value::Texts(base)), Value::Texts(over)) => base.extend(over),
            (Some(Value::Tables(base)), Value::Tables(over)) => {
                for (place, table) in over {
                    let same = |other: &(Place, Table)| matches!((named(&other.1), named(&table)), (Some(a), Some(b)) if a == b);
                    match base.iter().position(same).and_then(|at| base.get_mut(at)) {
                        Some(old) => *old = (place, table),
                        None => base.push((place, table)),
                    }
                }
            }
            (_, value) => {
                let place = node.place;
                base.insert(name, Node { place, value });
            }
        }
    }
}

/// What a table is called, where tables have names.
fn named(table: &Table) -> Option<&str> {
    match table.get("name").map(|node| &node.value) {
        Some(Value::Text(name)) => Some(name),
        _ => None,
    }
}

/// The known word that a mistyped one may have meant.
fn nearest(word: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    if word.len() > 64 {
        return None;
    }
    known
        .map(|known| (distance(word, known), known))
        .min()
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .map(|(_, known)| known)
}

/// Letters to be changed, added or taken away.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let (mut left, mut diagonal) = (i + 1, i);
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let here = (diagonal + usize::from(from != *to))
                .min(left + 1)
                .min(*cell + 1);
            diagonal = std::mem::replace(cell, here);
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
