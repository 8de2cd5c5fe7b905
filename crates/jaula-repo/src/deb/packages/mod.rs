//! A Packages index (Debian repository format), kept in a compact binary form that loads without
//! parsing.

mod layout;
mod parse;
#[cfg(test)]
mod tests;

pub(crate) use parse::is_safe_path;

use layout::{Parts, Text};
use std::io::Read;

/// Why an index could not be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The reader failed (for a compressed index: also bad compressed data).
    #[error("cannot read the index after line {line}")]
    Read {
        /// Lines understood before.
        line: usize,
        /// The reader's error.
        #[source]
        source: std::io::Error,
    },
    /// The text is not made of stanzas.
    #[error("line {line} of the index: {what}")]
    Syntax {
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A field is missing, or its value is not possible.
    #[error(
        "stanza at line {line} of the index: package {package:?} has a missing or bad {field}: {value:?}"
    )]
    Field {
        /// Where the stanza starts.
        line: usize,
        /// The package's name, as far as known.
        package: String,
        /// The field.
        field: &'static str,
        /// Its value, at most 120 characters of it.
        value: String,
    },
    /// More packages or text than any real index has.
    #[error("the index is too large")]
    TooLarge,
    /// The cached form is damaged or of another version. Parse the index again.
    #[error("the cached index is unusable: {what}")]
    Cache {
        /// What is wrong.
        what: &'static str,
    },
}

/// The number of a package in its [`Index`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(pub u32);

/// `Multi-Arch` (deb-control(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MultiArch {
    /// Satisfies dependencies of its own architecture only.
    No,
    /// Installable for several architectures at once.
    Same,
    /// Satisfies dependencies of any architecture.
    Foreign,
    /// The dependent chooses with `:any`.
    Allowed,
}

/// `Priority` (Debian policy 2.5), most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    /// Needed for packages to be installed at all.
    Required,
    /// What any Unix-like system is expected to have.
    Important,
    /// A reasonably small character-mode system.
    Standard,
    /// Nearly everything.
    Optional,
    /// Old name for less than optional.
    Extra,
    /// Missing or something else.
    Unknown,
}

impl Priority {
    fn parse(text: &str) -> Self {
        match text {
            "required" => Self::Required,
            "important" => Self::Important,
            "standard" => Self::Standard,
            "optional" => Self::Optional,
            "extra" => Self::Extra,
            _ => Self::Unknown,
        }
    }

    /// The word, as in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Important => "important",
            Self::Standard => "standard",
            Self::Optional => "optional",
            Self::Extra => "extra",
            Self::Unknown => "unknown",
        }
    }
}

/// One parsed Packages file.
#[derive(Clone)]
pub struct Index {
    block: Vec<u8>,
    parts: Parts,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("packages", &self.parts.packages)
            .field("bytes", &self.block.len())
            .finish()
    }
}

impl Index {
    /// Parses the (decompressed) text of a Packages file. Memory: the result, some 25 MB for Debian's
    /// main, and a window of under a megabyte.
    pub fn parse(reader: impl Read) -> Result<Self, IndexError> {
        parse::parse(reader)
    }

    /// The form to keep in a cache. Put it back with [`Index::from_bytes`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.block
    }

    /// Loads the cached form. Damage is an error; nothing read later can panic or leave the block.
    pub fn from_bytes(block: Vec<u8>) -> Result<Self, IndexError> {
        let parts = Parts::open(&block)?;
        let index = Self { block, parts };
        index.check()?;
        Ok(index)
    }

    /// Every offset and number in the tables lies where it has to.
    fn check(&self) -> Result<(), IndexError> {
        let bad = |what| IndexError::Cache { what };
        let table = |from: usize, to: usize| {
            self.block
                .get(from..to)
                .ok_or(bad("a table outside of the block"))
        };
        let parts = &self.parts;
        let good = |at: u32| layout::string_at(&self.block, parts.strings_end, at).is_some();
        for record in table(parts.records_at(), parts.names_at())?.chunks_exact(layout::RECORD) {
            if !record
                .as_chunks::<4>()
                .0
                .iter()
                .take(layout::TEXTS)
                .all(|at| good(u32::from_le_bytes(*at)))
            {
                return Err(bad("a text outside of the block"));
            }
        }
        for number in table(parts.names_at(), parts.provides_at())?
            .as_chunks::<4>()
            .0
        {
            if u32::from_le_bytes(*number) >= parts.packages {
                return Err(bad("a package number that is too high"));
            }
        }
        for entry in table(parts.provides_at(), parts.end())?.chunks_exact(layout::PROVIDE) {
            if layout::u32_at(entry, 4) >= parts.packages
                || !good(layout::u32_at(entry, 0))
                || !good(layout::u32_at(entry, 8))
            {
                return Err(bad("a provided name that is outside of the block"));
            }
        }
        Ok(())
    }

    /// Number of packages.
    pub fn len(&self) -> usize {
        self.parts.packages as usize
    }

    /// Whether there is no package.
    pub fn is_empty(&self) -> bool {
        self.parts.packages == 0
    }

    /// A package. An id from another index gives a package whose texts are empty.
    pub fn package(&self, id: PackageId) -> Package<'_> {
        let at = (id.0 as usize).saturating_mul(layout::RECORD);
        let records = self
            .block
            .get(self.parts.records_at()..self.parts.names_at())
            .unwrap_or_default();
        let record = records
            .get(at..)
            .and_then(|r| r.get(..layout::RECORD))
            .unwrap_or_default();
        Package {
            index: self,
            record,
            id,
        }
    }

    /// All packages, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Package<'_>> {
        (0..self.parts.packages).map(|id| self.package(PackageId(id)))
    }

    fn text(&self, at: u32) -> &str {
        layout::string_at(&self.block, self.parts.strings_end, at)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }

    /// The package at a place of the table ordered by name.
    fn nth_by_name(&self, place: usize) -> PackageId {
        PackageId(layout::u32_at(
            &self.block,
            self.parts
                .names_at()
                .saturating_add(place.saturating_mul(4)),
        ))
    }

    /// All packages of a name (of several versions or architectures), in the order of the file.
    pub fn by_name(&self, name: &str) -> impl Iterator<Item = PackageId> {
        let first = partition_point(self.len(), |i| {
            self.package(self.nth_by_name(i)).name() < name
        });
        (first..self.len())
            .map(|i| self.nth_by_name(i))
            .take_while(move |id| self.package(*id).name() == name)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// All different names, in byte order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let mut last = "";
        (0..self.len())
            .map(|i| self.package(self.nth_by_name(i)).name())
            .filter(move |name| {
                let new = *name != last;
                last = name;
                new
            })
    }

    fn provide(&self, place: usize) -> (u32, PackageId, u32) {
        let at = self
            .parts
            .provides_at()
            .saturating_add(place.saturating_mul(layout::PROVIDE));
        let entry = self.block.get(at..).unwrap_or_default();
        (
            layout::u32_at(entry, 0),
            PackageId(layout::u32_at(entry, 4)),
            layout::u32_at(entry, 8),
        )
    }

    /// The packages whose `Provides` has `name`, with the provided version where one is given, in the
    /// order of the file. A real package of that name is not among them unless it says so itself.
    pub fn providers(&self, name: &str) -> impl Iterator<Item = (PackageId, Option<&str>)> {
        let count = self.parts.provides as usize;
        let first = partition_point(count, |i| self.text(self.provide(i).0) < name);
        let after = first.saturating_add(partition_point(count.saturating_sub(first), |i| {
            self.text(self.provide(first.saturating_add(i)).0) <= name
        }));
        (first..after).map(|i| {
            let (_, package, version) = self.provide(i);
            (package, (version != 0).then(|| self.text(version)))
        })
    }

    /// All different provided names, in byte order.
    pub fn provided_names(&self) -> impl Iterator<Item = &str> {
        let mut last = "";
        (0..self.parts.provides as usize)
            .map(|i| self.text(self.provide(i).0))
            .filter(move |name| {
                let new = *name != last;
                last = name;
                new
            })
    }
}

/// The first of `0..count` for which `before` does not hold.
fn partition_point(count: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// One package of an [`Index`]. A text that is not in the stanza is empty.
#[derive(Clone, Copy)]
pub struct Package<'a> {
    index: &'a Index,
    record: &'a [u8],
    id: PackageId,
}

impl std::fmt::Debug for Package<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} {}",
            self.name(),
            self.version(),
            self.architecture()
        )
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident $which:ident;)*) => {
        impl<'a> Package<'a> {
            $($(#[$doc])* pub fn $name(&self) -> &'a str { self.text(Text::$which) })*
        }
    };
}

texts! {
    /// `Package`
    name Name;
    /// `Version`, valid
    version Version;
    /// `Architecture`
    architecture Architecture;
    /// `Section`
    section Section;
    /// `Filename`: a safe path below the archive's root
    filename Filename;
    /// `Pre-Depends`
    pre_depends PreDepends;
    /// `Depends`
    depends Depends;
    /// `Recommends`
    recommends Recommends;
    /// `Suggests`
    suggests Suggests;
    /// `Conflicts`
    conflicts Conflicts;
    /// `Breaks`
    breaks Breaks;
    /// `Replaces`
    replaces Replaces;
    /// `Provides`, valid
    provides Provides;
    /// `Task`: names of tasks, separated by commas
    task Task;
}

impl<'a> Package<'a> {
    fn text(&self, which: Text) -> &'a str {
        self.index
            .text(layout::u32_at(self.record, which as usize * 4))
    }

    fn byte(&self, at: usize) -> u8 {
        self.record.get(at).copied().unwrap_or(0)
    }

    /// The package's number.
    pub fn id(&self) -> PackageId {
        self.id
    }

    /// The source package's name: the `Source` field without its version, else the package's own name.
    pub fn source(&self) -> &'a str {
        match self.text(Text::Source).split_whitespace().next() {
            Some(source) => source,
            None => self.name(),
        }
    }

    /// `Multi-Arch`
    pub fn multi_arch(&self) -> MultiArch {
        match self.byte(layout::MULTI_ARCH_AT) {
            1 => MultiArch::Same,
            2 => MultiArch::Foreign,
            3 => MultiArch::Allowed,
            _ => MultiArch::No,
        }
    }

    /// `Priority`
    pub fn priority(&self) -> Priority {
        match self.byte(layout::PRIORITY_AT) {
            0 => Priority::Required,
            1 => Priority::Important,
            2 => Priority::Standard,
            3 => Priority::Optional,
            4 => Priority::Extra,
            _ => Priority::Unknown,
        }
    }

    /// `Essential: yes`
    pub fn essential(&self) -> bool {
        self.byte(layout::FLAGS_AT) & layout::FLAG_ESSENTIAL != 0
    }

    /// `Protected: yes`, or `Important: yes` as it was called before
    pub fn protected(&self) -> bool {
        self.byte(layout::FLAGS_AT) & layout::FLAG_PROTECTED != 0
    }

    /// Size of the archive file in bytes.
    pub fn size(&self) -> u64 {
        layout::u64_at(self.record, layout::SIZE_AT)
    }

    /// `Installed-Size` in KiB, 0 where it is not given.
    pub fn installed_size(&self) -> u64 {
        layout::u64_at(self.record, layout::INSTALLED_AT)
    }

    /// SHA-256 of the archive file.
    pub fn sha256(&self) -> [u8; 32] {
        self.record
            .get(layout::SHA256_AT..)
            .and_then(<[u8]>::first_chunk)
            .copied()
            .unwrap_or([0; 32])
    }
}
