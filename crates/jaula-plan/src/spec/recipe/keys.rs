//! The values of a table, taken out one by one.

use super::tree::{Node, Table, Value};
use super::{Place, Read, RecipeError, What};
use crate::names::NameError;
use crate::rootfs::address::split_login;
use crate::spec::rootfs::Want;
use crate::spec::settings::PathRule;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// `name[:arch][=version][/suite]`
fn want(text: &str) -> Result<Want, NameOr> {
    let (rest, suite) = match text.split_once('/') {
        Some((rest, suite)) => (rest, Some(suite)),
        None => (text, None),
    };
    let (rest, version) = match rest.split_once('=') {
        Some((rest, version)) => (rest, Some(version)),
        None => (rest, None),
    };
    let (name, arch) = match rest.split_once(':') {
        Some((name, arch)) => (name, Some(arch)),
        None => (rest, None),
    };
    let no_version = |version: &str| jaula_repo::deb::version::validate(version).is_err();
    if version.is_some_and(no_version) {
        return Err(NameOr::Why("that is no version"));
    }
    if let Some(suite) = suite {
        crate::names::Suite::from_str(suite)?;
    }
    Ok(Want {
        arch: arch.map(str::parse).transpose()?,
        version: version.map(str::to_owned),
        suite: suite.map(str::to_owned),
        ..Want::any(name.parse()?)
    })
}

enum NameOr {
    Name(NameError),
    Why(&'static str),
}

impl From<NameError> for NameOr {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

/// The bytes of a named file as text.
pub(super) fn as_text(place: Place, bytes: Vec<u8>) -> Result<String, RecipeError> {
    String::from_utf8(bytes).map_err(|_| RecipeError {
        place,
        what: What::Keys("the file that is named here is no text".to_owned()),
    })
}

/// A path as it stands in a recipe: beside the file it stands in.
pub(super) fn beside(place: &Place, text: &str) -> Result<PathBuf, RecipeError> {
    let error = |what| RecipeError {
        place: place.clone(),
        what,
    };
    let path = Path::new(text);
    if text.is_empty() || text.contains('\0') {
        return Err(error(What::Keys("a path is missing here".to_owned())));
    }
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            _ => {
                return Err(error(What::Outside {
                    path: text.to_owned(),
                }));
            }
        }
    }
    let dir = place.file.parent().unwrap_or(Path::new(""));
    Ok(dir.join(clean))
}

pub(super) fn named(place: &Place, path: &Path, read: Read<'_>) -> Result<Vec<u8>, RecipeError> {
    read(path).map_err(|source| RecipeError {
        place: place.clone(),
        what: What::File {
            path: path.to_owned(),
            source,
        },
    })
}

/// A table whose values are taken out one by one.
pub(super) struct Keys {
    pub(super) table: Table,
    pub(super) place: Place,
}

impl Keys {
    pub(super) fn keys(&self, what: &str) -> RecipeError {
        RecipeError {
            place: self.place.clone(),
            what: What::Keys(what.to_owned()),
        }
    }

    pub(super) fn missing(&self, key: &str) -> RecipeError {
        self.keys(&format!("{key} is missing"))
    }

    pub(super) fn text(&mut self, key: &str) -> Option<(Place, String)> {
        match self.table.get(key)? {
            Node {
                place,
                value: Value::Text(text),
            } => Some((place.clone(), text.clone())),
            _ => None,
        }
    }

    pub(super) fn set(&mut self, key: &str) -> Option<bool> {
        match self.table.get(key)?.value {
            Value::Bool(set) => Some(set),
            _ => None,
        }
    }

    pub(super) fn number(&mut self, key: &str) -> Option<u64> {
        match self.table.get(key)?.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn places(&mut self, key: &str) -> Vec<(Place, String)> {
        match self.table.get(key).map(|node| &node.value) {
            Some(Value::Texts(texts)) => texts.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn texts(&mut self, key: &str) -> Vec<String> {
        let places = self.places(key).into_iter();
        places.map(|(_, text)| text).collect()
    }

    pub(super) fn parsed<T: FromStr<Err = NameError>>(
        &mut self,
        key: &str,
    ) -> Result<Option<T>, RecipeError> {
        let Some((place, text)) = self.text(key) else {
            return Ok(None);
        };
        let parsed = text.parse().map_err(|error| RecipeError {
            place,
            what: What::Name(error),
        })?;
        Ok(Some(parsed))
    }

    /// A word that the table of keys has checked.
    pub(super) fn word<T: FromStr>(&mut self, key: &'static str) -> Result<Option<T>, RecipeError> {
        let Some((place, value)) = self.text(key) else {
            return Ok(None);
        };
        let why = "there is no such word";
        let what = What::BadValue {
            key,
            value: value.clone(),
            why,
        };
        let word = value.parse().map_err(|_| RecipeError { place, what })?;
        Ok(Some(word))
    }

    pub(super) fn parsed_list<T: FromStr<Err = NameError>>(
        &mut self,
        key: &str,
    ) -> Result<Vec<T>, RecipeError> {
        let parse = |(place, text): (Place, String)| {
            text.parse().map_err(|error| RecipeError {
                place,
                what: What::Name(error),
            })
        };
        self.places(key).into_iter().map(parse).collect()
    }

    /// Addresses without a login: what is looked up in other places is shown when it is not there.
    pub(super) fn addresses(&mut self, key: &'static str) -> Result<Vec<String>, RecipeError> {
        let clean = |(place, value): (Place, String)| match split_login(&value) {
            (_, None) => Ok(value),
            (value, Some(_)) => Err(RecipeError {
                place,
                what: What::BadValue {
                    key,
                    value,
                    why: "a login belongs into auth.conf(5) of the host's apt",
                },
            }),
        };
        self.places(key).into_iter().map(clean).collect()
    }

    pub(super) fn wants(&mut self) -> Result<Vec<Want>, RecipeError> {
        let parse = |(place, value): (Place, String)| {
            want(&value).map_err(|error| RecipeError {
                place,
                what: match error {
                    NameOr::Name(error) => What::Name(error),
                    NameOr::Why(why) => What::BadValue {
                        key: "include",
                        value,
                        why,
                    },
                },
            })
        };
        self.places("include").into_iter().map(parse).collect()
    }

    pub(super) fn path_rules(&mut self) -> Result<Vec<PathRule>, RecipeError> {
        let rule = |(place, value): (Place, String)| match value.split_once(' ') {
            Some(("exclude", glob)) if glob.starts_with('/') => {
                Ok(PathRule::Exclude(glob.to_owned()))
            }
            Some(("include", glob)) if glob.starts_with('/') => {
                Ok(PathRule::Include(glob.to_owned()))
            }
            _ => Err(RecipeError {
                place,
                what: What::BadValue {
                    key: "paths",
                    value,
                    why: "write `exclude /PATTERN` or `include /PATTERN`",
                },
            }),
        };
        self.places("paths").into_iter().map(rule).collect()
    }

    pub(super) fn path(&mut self, key: &str) -> Result<Option<PathBuf>, RecipeError> {
        let found = self.text(key);
        found.map(|(place, text)| beside(&place, &text)).transpose()
    }

    pub(super) fn paths(&mut self, key: &str) -> Result<Vec<PathBuf>, RecipeError> {
        let places = self.places(key).into_iter();
        places.map(|(place, text)| beside(&place, &text)).collect()
    }

    pub(super) fn file(
        &mut self,
        key: &str,
        read: Read<'_>,
    ) -> Result<Option<(Place, Vec<u8>)>, RecipeError> {
        let Some((place, text)) = self.text(key) else {
            return Ok(None);
        };
        let path = beside(&place, &text)?;
        let bytes = named(&place, &path, read)?;
        Ok(Some((place, bytes)))
    }

    /// A table of its own; empty when it is not there.
    pub(super) fn table(&mut self, key: &str) -> Keys {
        match self.table.get(key) {
            Some(Node {
                place,
                value: Value::Table(table),
            }) => Keys {
                table: table.clone(),
                place: place.clone(),
            },
            _ => Keys {
                table: Table::new(),
                place: self.place.clone(),
            },
        }
    }

    pub(super) fn tables(&mut self, key: &str) -> Vec<Keys> {
        match self.table.get(key).map(|node| &node.value) {
            Some(Value::Tables(tables)) => tables
                .iter()
                .map(|(place, table)| Keys {
                    table: table.clone(),
                    place: place.clone(),
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}
