//! The package sets that `mmdebstrap` and `debootstrap` call variants.

use super::universe::Universe;
use super::{Request, Want};
use crate::deb::packages::{Package, Priority};
use std::collections::{BTreeMap, BTreeSet};

/// Which packages a root file system begins with (mmdebstrap(1), VARIANTS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Variant {
    /// Nothing but what is asked for by name.
    Custom,
    /// The packages marked `Essential: yes`.
    Essential,
    /// The essential packages and apt.
    Apt,
    /// Essential, priority required, and apt. The same as debootstrap's `minbase`.
    #[default]
    Minbase,
    /// What `Minbase` has, and priority important. What debootstrap makes by default.
    Important,
    /// What `Important` has, and priority standard.
    Standard,
    /// What `Minbase` has, and build-essential.
    Buildd,
}

impl Variant {
    /// All of them, smallest first.
    pub const ALL: [Self; 7] = [
        Self::Custom,
        Self::Essential,
        Self::Apt,
        Self::Minbase,
        Self::Buildd,
        Self::Important,
        Self::Standard,
    ];

    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Custom => "custom",
            Self::Essential => "essential",
            Self::Apt => "apt",
            Self::Minbase => "minbase",
            Self::Important => "important",
            Self::Standard => "standard",
            Self::Buildd => "buildd",
        }
    }

    /// The least important priority that is taken as a whole.
    fn least(self) -> Option<Priority> {
        match self {
            Self::Custom | Self::Essential | Self::Apt => None,
            Self::Minbase | Self::Buildd => Some(Priority::Required),
            Self::Important => Some(Priority::Important),
            Self::Standard => Some(Priority::Standard),
        }
    }
}

impl std::str::FromStr for Variant {
    type Err = UnknownVariant;

    /// The words of [`Variant::as_str`], and mmdebstrap's other names for them.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "required" => Ok(Self::Minbase),
            "debootstrap" | "-" => Ok(Self::Important),
            _ => Self::ALL
                .into_iter()
                .find(|v| v.as_str() == word)
                .ok_or_else(|| UnknownVariant(word.chars().take(60).collect())),
        }
    }
}

/// A word that is no variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no variant is called {0:?}: there are custom, essential, apt, minbase, buildd, important and standard"
)]
pub struct UnknownVariant(pub String);

/// What a variant comes to in a universe.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The request that has to be solved.
    pub request: Request,
    /// Essential packages that were excluded by name. This is allowed, but what comes out may not
    /// work.
    pub excluded_essential: Vec<String>,
}

/// States the request for `variant` with the packages `include` and without `exclude`.
///
/// The essential packages become [`Request::base`]; what the variant adds and `include` become
/// [`Request::roots`]. That is how mmdebstrap goes about it, in two runs of apt, and so the choice is
/// the same. Names in `include` are not checked here; [`super::solve`] does.
pub fn select(
    universe: &Universe<'_>,
    variant: Variant,
    include: &[Want],
    exclude: &[String],
) -> Selection {
    // Of each name the version that would be installed decides, as in apt's patterns. First the names
    // that may count at all, by what is cheap to look at.
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for source in universe.sources() {
        for package in source.index.iter() {
            if package.essential() || package.priority() <= Priority::Standard {
                names.insert(package.name());
            }
        }
    }
    let mut candidates: BTreeMap<&str, Package<'_>> = BTreeMap::new();
    for name in names {
        let package = universe.candidate(name).and_then(|at| universe.package(at));
        candidates.extend(package.map(|package| (name, package)));
    }
    let mut selection = Selection::default();
    let mut by_priority = Vec::new();
    for (name, package) in &candidates {
        let excluded = exclude.iter().any(|e| e == name);
        if variant == Variant::Custom {
            break;
        }
        if package.essential() {
            if excluded {
                selection.excluded_essential.push((*name).to_owned());
            } else {
                // In the version that was asked for, if one was.
                let asked = include
                    .iter()
                    .find(|want| want.name == **name && want.arch.is_none());
                let want = asked.cloned().unwrap_or_else(|| Want::new(*name));
                selection.request.base.push(want);
            }
        } else if !excluded
            && variant
                .least()
                .is_some_and(|least| package.priority() <= least)
        {
            by_priority.push(Want::new(*name));
        }
    }
    let roots = &mut selection.request.roots;
    roots.extend(include.iter().cloned());
    if variant == Variant::Buildd {
        roots.push(Want::new("build-essential"));
    }
    // Asked for in other words, perhaps in another version.
    by_priority.retain(|want| {
        !include
            .iter()
            .any(|asked| asked.name == want.name && asked.arch.is_none())
    });
    roots.extend(by_priority);
    if !matches!(variant, Variant::Custom | Variant::Essential)
        && !exclude.iter().any(|e| e == "apt")
    {
        // apt takes itself for essential: in the variant `apt` it belongs to the base.
        let into = if variant == Variant::Apt {
            &mut selection.request.base
        } else {
            roots
        };
        if !into.iter().any(|w| w.name == "apt") {
            into.push(Want::new("apt"));
        }
    }
    selection.request.exclude = exclude.to_vec();
    selection
}
