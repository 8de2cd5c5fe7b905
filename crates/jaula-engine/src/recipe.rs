//! Recipes and their lock files on the host: read with those they extend, and written whole or not at all.

use crate::engine::{Dry, Engine};
use crate::error::{At, EngineError, Kind, PathError};
use crate::event::{Event, Observer};
use crate::image::{Hold, ImagePlan, absent};
use crate::plan::Preview;
use jaula_plan::explain::{ExplainLine, shown};
use jaula_plan::names::PackageName;
use jaula_plan::spec::recipe::{Part, Place, Recipe, RecipeError, What};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec};
use jaula_plan::spec::settings::Settings;
use jaula_repo::lock::LockError;
pub use jaula_repo::lock::recipe::{Change, RecipeLock, changes};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Recipes that extend each other, at most.
const DEPTH: usize = 16;
/// Largest file that a recipe names, in bytes.
const NAMED: u64 = 16 << 20;
/// Largest lock file, in bytes.
const LOCK: u64 = 64 << 20;

/// What can go wrong with a recipe or its lock.
#[derive(Debug, thiserror::Error)]
pub enum RecipeFileError {
    /// The recipe itself.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The lock file.
    #[error("cannot read {}", shown(.path))]
    Lock {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: LockError,
    },
    /// A locked build without a lock.
    #[error("there is no lock {}", shown(.path))]
    NoLock {
        /// Where it would be.
        path: PathBuf,
    },
    /// Packages to be chosen anew that the lock does not have.
    #[error("{} has no {}", shown(.path), .names.join(", "))]
    NotLocked {
        /// The lock.
        path: PathBuf,
        /// The names.
        names: Vec<String>,
    },
    /// A locked build of a recipe that asks for other packages.
    #[error("{} was made for another recipe: what it says of packages has changed", shown(.path))]
    OtherRecipe {
        /// The lock.
        path: PathBuf,
    },
}

impl RecipeFileError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Recipe(error) => match &error.what {
                What::File { source, .. } => crate::error::kind_of_io(source),
                _ => Kind::User,
            },
            Self::Io(error) => error.kind(),
            Self::Lock { .. } | Self::OtherRecipe { .. } => Kind::User,
            Self::NoLock { .. } | Self::NotLocked { .. } => Kind::NotFound,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Recipe(_) => {
                vec!["docs/recipe.md and jaula build --schema tell every key".to_owned()]
            }
            Self::Io(_) => Vec::new(),
            Self::Lock { .. } => {
                vec![
                    "take it from where it was good, or make a new one with jaula lock update"
                        .to_owned(),
                ]
            }
            Self::NoLock { .. } => {
                vec!["build once without --locked, or use jaula lock update".to_owned()]
            }
            Self::NotLocked { .. } => vec![
                "jaula lock show lists its packages; what the recipe asks for newly comes without being named"
                    .to_owned(),
            ],
            Self::OtherRecipe { .. } => {
                vec!["jaula lock update shows what changes and writes it".to_owned()]
            }
        }
    }
}

/// A recipe that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What it says.
    pub recipe: Recipe,
    /// Its file.
    pub path: PathBuf,
    /// Where its lock is, whether it is there or not.
    pub lock_path: PathBuf,
    /// SHA-256 of what it says of packages.
    pub digest: [u8; 32],
}

/// What a build does about the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// By the lock where it is there and fits, else solve and write it.
    Usual,
    /// By the lock, or not at all.
    Locked,
    /// Solve and write it.
    Update,
}

/// Reads a recipe and those it extends.
///
/// # Errors
/// [`RecipeFileError`].
pub fn load(path: &Path) -> Result<Loaded, RecipeFileError> {
    let mut parts = Vec::new();
    let mut met: Vec<PathBuf> = Vec::new();
    let mut next = Some((path.to_owned(), None::<Place>));
    while let Some((path, place)) = next.take() {
        let failed = |source: std::io::Error| match &place {
            Some(place) => RecipeFileError::Recipe(RecipeError {
                place: place.clone(),
                what: What::File {
                    path: path.clone(),
                    source,
                },
            }),
            None => PathError {
                action: "read",
                path: path.clone(),
                source,
            }
            .into(),
        };
        let real = std::fs::canonicalize(&path).map_err(failed)?;
        if met.contains(&real) || met.len() >= DEPTH {
            let place = place.unwrap_or_else(|| Place {
                file: Arc::from(path.as_path()),
                line: 1,
                column: 1,
            });
            let what = What::Loop { path };
            return Err(RecipeError { place, what }.into());
        }
        met.push(real);
        let bytes = bounded(&path, NAMED).map_err(failed)?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| failed(std::io::Error::from(ErrorKind::InvalidData)))?;
        let part = Part::parse(&path, &text)?;
        next = part.extends()?.map(|(path, place)| (path, Some(place)));
        parts.push(part);
    }
    let dirs: Vec<PathBuf> = met
        .iter()
        .filter_map(|path| path.parent().map(Path::to_owned))
        .collect();
    let recipe = Recipe::new(parts, &mut |path| {
        let real = std::fs::canonicalize(path)?;
        let given = path.parent().map(std::fs::canonicalize).transpose()?;
        // A link in the recipe's directory does not lead out of it.
        let below = |dir: &PathBuf| given.as_ref().is_some_and(|given| given.starts_with(dir));
        if dirs.iter().any(below) && !dirs.iter().any(|dir| real.starts_with(dir)) {
            return Err(std::io::Error::new(
                ErrorKind::PermissionDenied,
                "it is a link that leads out of the recipe's directory",
            ));
        }
        bounded(&real, NAMED)
    })?;
    let digest = digest(&recipe.spec);
    Ok(Loaded {
        recipe,
        path: path.to_owned(),
        lock_path: path.with_extension("lock"),
        digest,
    })
}

/// A file, if it is none of those without an end.
fn bounded(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::new(
            ErrorKind::InvalidInput,
            "it is no ordinary file",
        ));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Of what decides which packages are in the image: everything but hooks, left-out files, and settings that bring no
/// packages.
fn digest(spec: &ImageSpec) -> [u8; 32] {
    let settings = &spec.options.settings;
    let options = ImageOptions {
        hooks: Vec::new(),
        paths: Vec::new(),
        settings: Settings {
            locales: settings.locales.clone(),
            timezone: settings.timezone.clone(),
            keyboard: settings.keyboard.clone(),
            ..Settings::default()
        },
        ..spec.options.clone()
    };
    let whole = json!({ "distro": spec.distro, "suite": spec.suite, "options": options });
    Sha256::digest(whole.to_string().as_bytes()).into()
}

/// The lock of a recipe; none when there is none yet.
///
/// # Errors
/// [`RecipeFileError::Lock`] when there is one that is none.
pub fn read_lock(path: &Path) -> Result<Option<RecipeLock>, RecipeFileError> {
    let bytes = match bounded(path, LOCK) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.at("read", path)?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let lock = RecipeLock::parse(&text).map_err(|source| RecipeFileError::Lock {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(lock))
}

/// Writes a lock beside its place and renames it. Tells whether anything changed.
///
/// # Errors
/// [`RecipeFileError::Io`].
pub fn write_lock(path: &Path, lock: &RecipeLock) -> Result<bool, RecipeFileError> {
    let text = lock.to_string();
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(false);
    }
    let random = jaula_sys::dir::random().at("write", path)?;
    let beside = path.with_extension(format!("lock.{}", jaula_repo::hex::encode(&random)));
    let write = || {
        let mut file = std::fs::File::create_new(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write()
        .inspect_err(|_| drop(std::fs::remove_file(&beside)))
        .at("write", path)?;
    Ok(true)
}

/// What making the image of a recipe takes, and what becomes of its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipePlan {
    /// The image.
    pub image: ImagePlan,
    /// The lock as it is.
    pub old: Option<RecipeLock>,
    /// The lock as it will be.
    pub lock: RecipeLock,
    /// Its file.
    pub lock_path: PathBuf,
}

impl RecipePlan {
    /// What is different from the lock that is there.
    pub fn changes(&self) -> Vec<Change> {
        match &self.old {
            Some(old) => changes(&old.lock, &self.lock.lock),
            None => Vec::new(),
        }
    }

    /// Whether the lock is to be written.
    pub fn writes_lock(&self) -> bool {
        self.old.as_ref() != Some(&self.lock)
    }
}

impl fmt::Display for RecipePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.image.fmt(f)?;
        match (&self.old, self.writes_lock()) {
            (_, false) => writeln!(f, "  locked by {}", shown(&self.lock_path)),
            (None, true) => writeln!(f, "  write {}", shown(&self.lock_path)),
            (Some(_), true) => {
                writeln!(f, "  write {} anew", shown(&self.lock_path))?;
                self.changes()
                    .iter()
                    .try_for_each(|change| writeln!(f, "    {}", told(change)))
            }
        }
    }
}

impl Preview for RecipePlan {
    fn to_json(&self) -> Value {
        json!({
            "version": 1,
            "image": self.image.to_json(),
            "lock": shown(&self.lock_path),
            "writes_lock": self.writes_lock(),
            "changes": self.changes().iter().map(change_json).collect::<Vec<_>>(),
        })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        self.image.explain()
    }
}

/// A change as one line: `hello 2.10-2 → 2.10-3 amd64, +4 B`.
pub fn told(change: &Change) -> String {
    let Change {
        name,
        arch,
        old,
        new,
    } = change;
    let size = |of: &Option<jaula_repo::lock::recipe::At>| of.as_ref().map_or(0, |at| at.size);
    let (before, after) = (size(old), size(new));
    let difference = match after.checked_sub(before) {
        Some(more) => format!("+{more} B"),
        None => format!("-{} B", before - after),
    };
    match (old, new) {
        (Some(old), Some(new)) => {
            let (from, to) = (&old.version, &new.version);
            format!("{name} {from} → {to} {arch}, {difference}")
        }
        (None, Some(new)) => format!("+ {name} {} {arch}, {difference}", new.version),
        (Some(old), None) => format!("- {name} {} {arch}, {difference}", old.version),
        (None, None) => name.clone(),
    }
}

/// A change as data.
pub fn change_json(change: &Change) -> Value {
    let at = |of: &Option<jaula_repo::lock::recipe::At>| {
        of.as_ref()
            .map(|at| json!({ "version": at.version, "size": at.size }))
    };
    json!({ "name": change.name, "arch": change.arch, "old": at(&change.old), "new": at(&change.new) })
}

impl Engine {
    /// What making the image of a recipe takes.
    ///
    /// # Errors
    /// [`EngineError::Recipe`], [`EngineError::Build`].
    pub fn plan_recipe(
        &self,
        loaded: &Loaded,
        locking: Locking,
        observer: &dyn Observer,
        dry: Dry,
    ) -> Result<RecipePlan, EngineError> {
        let lock_path = loaded.lock_path.clone();
        // A lock that cannot be read stands in no way of a new one.
        let old = match (read_lock(&lock_path), locking) {
            (Err(RecipeFileError::Lock { .. }), Locking::Update) => None,
            (read, _) => read?,
        };
        let fits = old.as_ref().filter(|old| old.recipe == loaded.digest);
        let image = match (locking, &old, fits) {
            (Locking::Locked, None, _) => {
                return Err(RecipeFileError::NoLock { path: lock_path }.into());
            }
            (Locking::Locked, Some(_), None) => {
                return Err(RecipeFileError::OtherRecipe { path: lock_path }.into());
            }
            (Locking::Usual | Locking::Locked, _, Some(lock)) => {
                self.plan_image_locked(&loaded.recipe.spec, lock, &loaded.recipe.mirrors)?
            }
            (Locking::Usual | Locking::Update, _, _) => {
                if locking == Locking::Usual && old.is_some() {
                    let path = shown(&lock_path);
                    let text = format!(
                        "what the recipe says of packages has changed: {path} is written anew"
                    );
                    observer.event(Event::Note { text });
                }
                self.plan_image(&loaded.recipe.spec, observer, dry)?
            }
        };
        let lock = match fits {
            Some(lock) if image.is_locked() => lock.clone(),
            _ => image.recipe_lock(loaded.digest),
        };
        Ok(RecipePlan {
            image,
            old,
            lock,
            lock_path,
        })
    }

    /// What choosing only these packages of a recipe's lock anew takes. The others stay at their versions, but for what
    /// does not go together with that.
    ///
    /// # Errors
    /// [`EngineError::Recipe`], also when there is no lock or it does not have them; [`EngineError::Build`].
    pub fn plan_lock_of(
        &self,
        loaded: &Loaded,
        moving: &[PackageName],
        observer: &dyn Observer,
        dry: Dry,
    ) -> Result<RecipePlan, EngineError> {
        let path = loaded.lock_path.clone();
        let Some(old) = read_lock(&path)? else {
            return Err(RecipeFileError::NoLock { path }.into());
        };
        let names = absent(&old, moving);
        if !names.is_empty() {
            return Err(RecipeFileError::NotLocked { path, names }.into());
        }
        let hold = Hold {
            lock: &old,
            moving,
            mirrors: &loaded.recipe.mirrors,
        };
        let image = self.plan_image_holding(&loaded.recipe.spec, hold, observer, dry)?;
        let lock = image.recipe_lock(loaded.digest);
        Ok(RecipePlan {
            image,
            old: Some(old),
            lock,
            lock_path: path,
        })
    }
}
