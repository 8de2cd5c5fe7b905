//! An image of single files of the host and what they need. The host is read, nothing of it is executed.

mod copy;
mod error;
mod host;
mod inspect;
mod kept;
mod live;
mod outdated;
mod place;
mod renew;
mod safety;
mod tree;
mod within;

pub(crate) use host::Bytes;
pub(crate) use live::mounts as live_mounts;

pub use error::MinimalImageError;
pub use inspect::{CheckTarget, ContentCheck, Fault, FaultKind};
pub use outdated::{Looked, outdated};
pub use renew::{Change, UpdatePlan, UpdateSpec};
pub(crate) use renew::{interrupted, resume_one};
pub use safety::unsafe_parts;
pub(crate) use safety::unsafe_way;
pub use tree::{Tell, Told, TreePlan, TreeSpec};

use crate::engine::Engine;
use crate::error::{At, EngineError};
use crate::event::Observer;
use crate::plan::Preview;
use crate::store::Store;
use crate::unpack::HashReader;
use crate::view::Image;
use host::Host;
use jaula_plan::explain::{ExplainLine, shown, word};
use jaula_plan::minimal::{
    Content, Gathered, Item, ItemKind, Note, Origin, Placing, RECORD_VERSION, Record, Recorded,
    RecordedKind, Why, closure, gather,
};
use jaula_plan::names::{Digest, Tag};
use jaula_plan::step::{Step, human};
use jaula_repo::elf::Identity;
use jaula_repo::hex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One path of the image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct Taken {
    path: PathBuf,
    #[serde(flatten)]
    item: Item,
    /// Of a file.
    content: Option<ContentOf>,
}

/// What a file's bytes were when it was planned.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct ContentOf {
    size: u64,
    sha256: Digest,
    /// Modified: seconds since 1970.
    mtime: i64,
    /// The file that it is.
    #[serde(skip)]
    origin: Origin,
}

/// What an image of files of the host is made of. Its digest is that of its content: the same files give the same
/// image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinimalPlan {
    digest: Digest,
    arch: String,
    taken: Vec<Taken>,
    notes: Vec<Note>,
    /// What was asked for, of one that is asked for by words.
    record: Option<Record>,
    steps: [Step; 2],
}

/// What is wanted of the host.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// These files and all they need.
    Files(Vec<PathBuf>),
    /// What words and rules say.
    Content(Box<Content>, Placing),
}

impl Engine {
    /// Finds what is wanted, and says what an image of it takes.
    pub fn plan_wanted(&self, wanted: &Wanted) -> Result<MinimalPlan, EngineError> {
        match wanted {
            Wanted::Files(files) => self.plan_minimal(files),
            Wanted::Content(content, placing) => Ok(plan_content(self.store(), content, *placing)?),
        }
    }

    /// Reads these files of the host and all they need, and says what an image of them takes.
    pub fn plan_minimal(&self, files: &[PathBuf]) -> Result<MinimalPlan, EngineError> {
        Ok(plan(self.store(), files)?)
    }

    /// Makes the image, unless it is there.
    pub fn minimal(
        &self,
        plan: &MinimalPlan,
        observer: &dyn Observer,
    ) -> Result<Image, EngineError> {
        Ok(plan.make(self.store(), &[], observer)?)
    }
}

fn plan(store: &Store, files: &[PathBuf]) -> Result<MinimalPlan, MinimalImageError> {
    let mut host = Host::open()?;
    let native = host::native()?;
    let items = closure(&mut host, files, native)?;
    let found = Gathered {
        items,
        ..Gathered::default()
    };
    planned(store, &host, native, found, None)
}

fn plan_content(
    store: &Store,
    asked: &Content,
    placing: Placing,
) -> Result<MinimalPlan, MinimalImageError> {
    let mut host = Host::open()?;
    let native = host::native()?;
    let found = gather(&mut host, asked, native)?;
    let record = Record {
        version: RECORD_VERSION,
        at: None,
        with: asked.with.clone(),
        rules: tree::strange(&asked.rules),
        packs: asked.packs,
        placing,
        live: Vec::new(),
        entries: Default::default(),
    };
    planned(store, &host, native, found, Some(record))
}

fn planned(
    store: &Store,
    host: &Host,
    native: Identity,
    found: Gathered,
    mut record: Option<Record>,
) -> Result<MinimalPlan, MinimalImageError> {
    let mut notes = found.notes;
    let mut taken = Vec::new();
    let live = record
        .as_ref()
        .is_some_and(|record| record.placing == Placing::Live);
    for (path, item) in found.items {
        let content = match item.kind {
            ItemKind::File { .. } if !live => match content(host, &path) {
                Ok(content) => Some(content),
                // What a rule brings is no loss where the caller may not read it.
                Err(MinimalImageError::Io(error))
                    if matches!(item.why, Why::Rule { .. } | Why::Package { .. })
                        && error.source.kind() == std::io::ErrorKind::PermissionDenied =>
                {
                    let text = "cannot be read by the caller, and is left out".to_owned();
                    notes.push(Note { path, text });
                    continue;
                }
                Err(error) => return Err(error),
            },
            _ => None,
        };
        taken.push(Taken {
            path,
            item,
            content,
        });
    }
    if let Some(record) = record.as_mut().filter(|_| live) {
        record.live = live::split(&mut taken, &found.whole);
    }
    let digest = digest(native, &taken, record.as_ref())?;
    if let Some(record) = &mut record {
        record.entries = recorded(&taken);
    }
    let root = store.root().join("stages/NEW/root");
    let publish = Step::Publish {
        image: digest,
        from: root.clone(),
        to: store.image_dir(&digest),
    };
    Ok(MinimalPlan {
        digest,
        arch: native.debian_arch().unwrap_or_default().to_owned(),
        taken,
        notes,
        record,
        steps: [Step::MakeStage { root }, publish],
    })
}

/// What is placed, as it is kept on record.
fn recorded(taken: &[Taken]) -> BTreeMap<PathBuf, Recorded> {
    // Collected at once: they are in order.
    let entries = taken.iter().filter_map(|one| {
        let kind = match (&one.item.kind, &one.content) {
            (ItemKind::Directory { mode }, _) => RecordedKind::Directory { mode: *mode },
            (ItemKind::Link { target }, _) => RecordedKind::Link {
                target: target.clone(),
            },
            (ItemKind::Made { mode, text }, _) => RecordedKind::Made {
                mode: *mode,
                sha256: hex::encode(&Sha256::digest(text.as_bytes())),
            },
            (ItemKind::File { mode, .. }, Some(content)) => RecordedKind::File {
                mode: *mode,
                sha256: Some(content.sha256.to_string()),
                origin: content.origin,
            },
            (ItemKind::File { .. }, None) => return None,
        };
        Some((one.path.clone(), Recorded { kind }))
    });
    entries.collect()
}

fn content(host: &Host, path: &Path) -> Result<ContentOf, MinimalImageError> {
    let file = host.file(path)?;
    let meta = file.metadata().at("look at", path)?;
    let (size, sha256) = HashReader::new(file).finish().at("read", path)?;
    Ok(ContentOf {
        size,
        sha256: Digest(sha256),
        mtime: meta.mtime(),
        origin: kept::origin(&meta),
    })
}

/// Over everything that the tree consists of, each field with its length before it.
fn digest(
    native: Identity,
    taken: &[Taken],
    record: Option<&Record>,
) -> Result<Digest, MinimalImageError> {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    field(b"jaula files of a host 1");
    field(native.debian_arch().unwrap_or_default().as_bytes());
    for one in taken {
        field(one.path.as_os_str().as_bytes());
        match &one.item.kind {
            ItemKind::Directory { mode } => {
                field(b"directory");
                field(&mode.to_le_bytes());
            }
            ItemKind::Link { target } => {
                field(b"link");
                field(target.as_os_str().as_bytes());
            }
            ItemKind::File { mode, .. } => {
                field(b"file");
                field(&mode.to_le_bytes());
            }
            ItemKind::Made { mode, text } => {
                field(b"made");
                field(&mode.to_le_bytes());
                field(text.as_bytes());
            }
        }
        if let Some(content) = &one.content {
            field(&content.mtime.to_le_bytes());
            field(&content.sha256.0);
        }
    }
    if let Some(record) = record {
        // What was asked for is what an update renews, so it is part of what the image is.
        field(&kept::text(record)?);
    }
    Ok(Digest(hash.finalize().into()))
}

impl MinimalPlan {
    /// The image that it gives.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What it is on record as, of one that was asked for by words.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Debian's name of the machine that its programs are for.
    pub fn arch(&self) -> &str {
        &self.arch
    }

    pub(crate) fn make(
        &self,
        store: &Store,
        tags: &[Tag],
        observer: &dyn Observer,
    ) -> Result<Image, MinimalImageError> {
        copy::make(self, store, tags, observer)
    }

    fn files(&self) -> impl Iterator<Item = (&Taken, &ContentOf)> {
        let files = self.taken.iter();
        files.filter_map(|taken| Some((taken, taken.content.as_ref()?)))
    }

    fn bytes(&self) -> u64 {
        let sizes = self.files().map(|(_, content)| content.size);
        sizes.fold(0, u64::saturating_add)
    }
}

impl fmt::Display for MinimalPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "image {} of {} files of the host ({}) for {}",
            self.digest,
            self.files().count(),
            human(self.bytes()),
            self.arch
        )?;
        for Taken { path, item, .. } in &self.taken {
            let (path, why) = (shown(path), &item.why);
            match &item.kind {
                ItemKind::Directory { mode } => writeln!(f, "  {mode:04o} {path}/: {why}")?,
                ItemKind::Link { target } => {
                    writeln!(f, "  link {path} -> {}: {why}", shown(target))?;
                }
                ItemKind::File { mode, dropped } => {
                    let note = if *dropped {
                        ", set-id bits dropped"
                    } else {
                        ""
                    };
                    writeln!(f, "  {mode:04o} {path}: {why}{note}")?;
                }
                ItemKind::Made { mode, .. } => {
                    writeln!(f, "  {mode:04o} {path}, made: {why}")?;
                }
            }
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        Ok(())
    }
}

impl Preview for MinimalPlan {
    fn to_json(&self) -> Value {
        json!({ "version": 1, "digest": self.digest, "arch": self.arch, "items": self.taken, "notes": self.notes })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        let [stage, publish] = &self.steps;
        let root = match stage {
            Step::MakeStage { root } => root.clone(),
            _ => PathBuf::new(),
        };
        let inside = |path: &Path| word(root.join(path.strip_prefix("/").unwrap_or(path)));
        let (mut directories, mut links, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for Taken { path, item, .. } in &self.taken {
            let to = inside(path);
            match &item.kind {
                ItemKind::Directory { mode } => {
                    directories.push(format!("mkdir -m {mode:04o} {to}"))
                }
                ItemKind::Link { target } => {
                    links.push(format!("ln --symbolic {} {to}", word(target)));
                }
                ItemKind::File { mode, .. } => files.push(format!(
                    "install --preserve-timestamps -m {mode:04o} {} {to}",
                    word(path)
                )),
                ItemKind::Made { mode, text } => {
                    let text = word(text);
                    files.push(format!(
                        "printf %s {text} | install -m {mode:04o} /dev/stdin {to}"
                    ));
                }
            }
        }
        vec![
            stage.explain(),
            ExplainLine::new(
                directories.join("\n"),
                "directories with the modes that they have on the host",
            ),
            ExplainLine::new(
                links.join("\n"),
                "links as on the host, and where the loader looks without a cache",
            ),
            ExplainLine::new(
                files.join("\n"),
                "the files and what they need; set-id bits and file capabilities are dropped",
            ),
            publish.explain(),
        ]
    }
}

#[cfg(test)]
mod tests;
