//! Paths in JSON: as they are where they are UTF-8, else as a NUL, which no path has, and hexadecimal digits.

use jaula_repo::hex;
use serde::{Deserialize as _, Deserializer, Serializer};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

fn text(path: &Path) -> Cow<'_, str> {
    match path.to_str() {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(format!("\0{}", hex::encode(path.as_os_str().as_bytes()))),
    }
}

fn path(text: &str) -> Option<PathBuf> {
    let Some(digits) = text.strip_prefix('\0') else {
        return Some(PathBuf::from(text));
    };
    let bytes = hex::decode(digits)?;
    Some(PathBuf::from(OsStr::from_bytes(&bytes)))
}

fn read<E: serde::de::Error>(text: &str) -> Result<PathBuf, E> {
    path(text).ok_or_else(|| E::custom("no path"))
}

/// For `#[serde(with)]`: one path.
///
/// # Errors
/// What the serializer says.
pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(path))
}

/// One path.
///
/// # Errors
/// When it is none.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    read(&Cow::<str>::deserialize(deserializer)?)
}

/// The same of what has a path as its key.
pub mod map {
    use super::{read, text};
    use serde::de::{MapAccess, Visitor};
    use serde::ser::SerializeMap;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::borrow::Cow;
    use std::collections::BTreeMap;
    use std::fmt;
    use std::marker::PhantomData;
    use std::path::PathBuf;

    /// A map.
    ///
    /// # Errors
    /// What the serializer says.
    pub fn serialize<S: Serializer, T: Serialize>(
        map: &BTreeMap<PathBuf, T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(map.len()))?;
        for (path, value) in map {
            out.serialize_entry(&text(path), value)?;
        }
        out.end()
    }

    struct Entries<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
        type Value = BTreeMap<PathBuf, T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of paths")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry::<Cow<'de, str>, T>()? {
                map.insert(read(&key)?, value);
            }
            Ok(map)
        }
    }

    /// A map.
    ///
    /// # Errors
    /// When it is none.
    pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<PathBuf, T>, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// The same of a list.
pub mod list {
    use super::{read, text};
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::path::PathBuf;

    /// A list.
    ///
    /// # Errors
    /// What the serializer says.
    pub fn serialize<S: Serializer>(list: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|path| text(path)))
    }

    /// A list.
    ///
    /// # Errors
    /// When it is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<PathBuf>, D::Error> {
        let list = Vec::<String>::deserialize(deserializer)?;
        list.iter().map(|text| read(text)).collect()
    }
}

/// The same of one that may be absent.
pub mod option {
    use super::{read, text};
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::path::PathBuf;

    /// A path.
    ///
    /// # Errors
    /// What the serializer says.
    pub fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => serializer.serialize_some(&text(path)),
            None => serializer.serialize_none(),
        }
    }

    /// A path.
    ///
    /// # Errors
    /// When it is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| read(&text)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_bytes_is_read_as_it_was_written() {
        for bytes in [&b"/a b"[..], b"/a\xff\n", "/ä".as_bytes(), b""] {
            let before = PathBuf::from(OsStr::from_bytes(bytes));
            assert_eq!(path(&text(&before)), Some(before));
        }
        assert_eq!(path("\0xy"), None);
    }
}
