//! Who brings which path. Asked by every thread before it makes something, so that the outcome is that of unpacking
//! one package after the other, whatever the timing.

use super::error::UnpackError;
use super::writer::{Attributes, shown};
use jaula_repo::deb::relation::{self, Alternative};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What of a package decides over a conflict.
#[derive(Debug, Clone)]
pub struct Party {
    pub name: String,
    pub version: String,
    pub replaces: String,
}

impl Party {
    /// Whether this package may take over files of `other` (`Replaces`, Debian Policy 7.6.1).
    fn replaces(&self, other: &Self) -> bool {
        let takes = |a: &Alternative<'_>| a.name == other.name && a.accepts_version(&other.version);
        relation::groups(&self.replaces)
            .flatten()
            .any(|group| group.alternatives.iter().any(takes))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Dir,
    Other,
}

struct Claim {
    shape: Shape,
    owner: u32,
    /// The path as the owner's archive has it: two names of one place (usr-merge) are no conflict for dpkg.
    as_written: Vec<u8>,
}

#[derive(Default)]
struct State {
    claims: HashMap<Vec<u8>, Claim>,
    /// Attributes of directories, of the first package in unpack order that has them.
    dirs: HashMap<Vec<u8>, (u32, Attributes)>,
    /// Directories that this unpacking made and that have no attributes yet.
    made: BTreeSet<Vec<u8>>,
    /// Hard links: package, link and target.
    links: Vec<(u32, Vec<u8>, Vec<u8>)>,
    /// Paths that a package lost to another, as its archive has them.
    lost: HashMap<u32, Vec<Vec<u8>>>,
}

/// May a package make what it wants to?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes: nobody has it.
    Make,
    /// Yes, in place of what another package made or is about to make.
    TakeOver,
    /// No: another package has it and is to keep it.
    Leave,
}

pub struct Registry<'a> {
    parties: &'a [Party],
    /// Who brought what was there before.
    base: &'a HashMap<Vec<u8>, u32>,
    state: Mutex<State>,
    by_name: Mutex<()>,
}

impl<'a> Registry<'a> {
    /// `parties` in unpack order, those that were there before first.
    pub fn new(parties: &'a [Party], base: &'a HashMap<Vec<u8>, u32>) -> Self {
        Self {
            parties,
            base,
            state: Mutex::default(),
            by_name: Mutex::default(),
        }
    }

    /// Held while something is made and finished by its name.
    pub fn by_name(&self) -> MutexGuard<'_, ()> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory was made.
    pub fn made(&self, path: &[u8]) {
        self.state().made.insert(path.to_vec());
    }

    /// The directories made since the last call, with the attributes they are to have; with `whole` all that a package
    /// has, although they were there.
    pub fn take_made(&self, default: Attributes, whole: bool) -> Vec<(Vec<u8>, Attributes)> {
        let mut state = self.state();
        let mut made = std::mem::take(&mut state.made);
        let dirs = std::mem::take(&mut state.dirs);
        if whole {
            made.extend(dirs.keys().cloned());
        }
        let with = |path: Vec<u8>| {
            let attributes = dirs
                .get(&path)
                .map_or(default, |(_, attributes)| *attributes);
            (path, attributes)
        };
        made.into_iter().map(with).collect()
    }

    /// A hard link was made.
    pub fn linked(&self, package: u32, link: &[u8], target: &[u8]) {
        self.state()
            .links
            .push((package, link.to_vec(), target.to_vec()));
    }

    /// Whether every hard link made is to a file that still is its package's.
    pub fn check_links(&self) -> Result<(), UnpackError> {
        let state = self.state();
        let lost = state.links.iter().find(|(package, _, target)| {
            state
                .claims
                .get(target)
                .is_none_or(|claim| claim.owner != *package)
        });
        match lost {
            None => Ok(()),
            Some((package, link, target)) => Err(UnpackError::LostTarget {
                package: self.name(*package).to_owned(),
                path: shown(link),
                target: shown(target),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn party(&self, index: u32) -> &Party {
        static NOBODY: Party = Party {
            name: String::new(),
            version: String::new(),
            replaces: String::new(),
        };
        self.parties.get(index as usize).unwrap_or(&NOBODY)
    }

    pub fn name(&self, index: u32) -> &str {
        &self.party(index).name
    }

    /// `package` has a directory at `path`, with its attributes; without any when it only stands in the way there.
    pub fn dir(
        &self,
        path: &[u8],
        package: u32,
        attributes: Option<Attributes>,
    ) -> Result<(), UnpackError> {
        let mut state = self.state();
        match state.claims.get(path) {
            Some(Claim {
                shape: Shape::Other,
                owner,
                ..
            }) => return Err(self.shape(path, package, *owner)),
            Some(_) => {}
            None => {
                let claim = Claim {
                    shape: Shape::Dir,
                    owner: package,
                    as_written: Vec::new(),
                };
                state.claims.insert(path.to_vec(), claim);
            }
        }
        // The first in unpack order gives a directory its attributes, as with dpkg, which leaves existing ones alone.
        if let Some(attributes) = attributes {
            let known = state
                .dirs
                .entry(path.to_vec())
                .or_insert((package, attributes));
            if package < known.0 {
                *known = (package, attributes);
            }
        }
        Ok(())
    }

    fn shape(&self, path: &[u8], directory: u32, other: u32) -> UnpackError {
        let (directory, other) = (self.name(directory).to_owned(), self.name(other).to_owned());
        UnpackError::Shape {
            path: shown(path),
            directory,
            other,
        }
    }

    /// `package` wants something that is no directory at `path`, which its archive calls `as_written`.
    /// With `diverts`, it is the one that diverted the files of all others away from there.
    pub fn claim(
        &self,
        path: &[u8],
        as_written: &[u8],
        package: u32,
        diverts: bool,
    ) -> Result<Verdict, UnpackError> {
        let mut state = self.state();
        let Some(claim) = state.claims.get_mut(path) else {
            let fresh = |owner: u32| Claim {
                shape: Shape::Other,
                owner,
                as_written: as_written.to_vec(),
            };
            let Some(before) = self.base.get(as_written).copied().filter(|_| !diverts) else {
                state.claims.insert(path.to_vec(), fresh(package));
                return Ok(Verdict::Make);
            };
            if self.is_shared(before, package) {
                state.claims.insert(path.to_vec(), fresh(before));
                return Ok(Verdict::Leave);
            }
            return match self.winner(before, package, path)? {
                winner if winner == package => {
                    state.claims.insert(path.to_vec(), fresh(package));
                    state
                        .lost
                        .entry(before)
                        .or_default()
                        .push(as_written.to_vec());
                    Ok(Verdict::TakeOver)
                }
                _ => {
                    state.claims.insert(path.to_vec(), fresh(before));
                    state
                        .lost
                        .entry(package)
                        .or_default()
                        .push(as_written.to_vec());
                    Ok(Verdict::Leave)
                }
            };
        };
        if claim.owner == package && claim.shape == Shape::Other {
            // The same path twice in one archive: the last one counts.
            return Ok(Verdict::TakeOver);
        }
        if claim.shape == Shape::Dir {
            let owner = claim.owner;
            return Err(self.shape(path, owner, package));
        }
        let owner = claim.owner;
        if self.is_shared(owner, package) {
            // The first in unpack order brings it, whoever comes here first; both have it in their lists.
            if owner < package {
                return Ok(Verdict::Leave);
            }
            claim.owner = package;
            claim.as_written = as_written.to_vec();
            return Ok(Verdict::TakeOver);
        }
        let other_name = claim.as_written != as_written;
        let winner = if other_name {
            owner.max(package)
        } else {
            self.winner(owner, package, path)?
        };
        if winner != package {
            state
                .lost
                .entry(package)
                .or_default()
                .push(as_written.to_vec());
            return Ok(Verdict::Leave);
        }
        let before = std::mem::replace(&mut claim.owner, package);
        let lost = std::mem::replace(&mut claim.as_written, as_written.to_vec());
        // Two names of one place: dpkg does not notice, so the loser keeps it in its list.
        if lost == as_written {
            state.lost.entry(before).or_default().push(lost);
        }
        Ok(Verdict::TakeOver)
    }

    /// What was unpacked at `from` by another package than `by` was moved to `to`.
    pub fn divert(&self, from: &[u8], to: &[u8], by: &str) {
        let mut state = self.state();
        if state
            .claims
            .get(from)
            .is_some_and(|claim| claim.shape == Shape::Other && self.name(claim.owner) != by)
            && let Some(claim) = state.claims.remove(from)
        {
            state.claims.insert(to.to_vec(), claim);
        }
        for (package, _, target) in &mut state.links {
            if target == from && self.name(*package) != by {
                *target = to.to_vec();
            }
        }
    }

    /// Whether two packages are one for two architectures: what both bring is the same (`Multi-Arch: same`). No other
    /// packages of one name are there at once.
    fn is_shared(&self, one: u32, other: u32) -> bool {
        one != other && self.party(one).name == self.party(other).name
    }

    /// Of two packages that bring the same file: the later one if it replaces the earlier, else the earlier if it
    /// replaces the later (dpkg's archives.c, tarobject).
    fn winner(&self, one: u32, other: u32, path: &[u8]) -> Result<u32, UnpackError> {
        let (first, second) = (one.min(other), one.max(other));
        if self.party(second).replaces(self.party(first)) {
            Ok(second)
        } else if self.party(first).replaces(self.party(second)) {
            Ok(first)
        } else {
            let (first, second) = (self.name(first).to_owned(), self.name(second).to_owned());
            Err(UnpackError::Conflict {
                first,
                second,
                path: shown(path),
            })
        }
    }

    /// Whether `path` still is `package`'s.
    pub fn holds(&self, path: &[u8], package: u32) -> bool {
        self.state()
            .claims
            .get(path)
            .is_some_and(|claim| claim.owner == package && claim.shape == Shape::Other)
    }

    /// What `package` lost to others, as its archive has it.
    pub fn lost(&self, package: u32) -> Vec<Vec<u8>> {
        self.state().lost.get(&package).cloned().unwrap_or_default()
    }
}
