//! A recipe: one TOML file that says everything an image can be, and what is written of it.
//!
//! Reading is pure: whoever has the files gives their text. [`Part`] is one file, [`Recipe::new`] puts a recipe together
//! from one and those it extends. A path in a recipe is relative to the directory of the file it stands in and never
//! leads above that; an absolute one may be anywhere.

mod keys;
pub mod schema;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

use crate::names::{DistroName, NameError, Tag};
use crate::spec::hook::{Hook, HookAction, HookStage};
use crate::spec::rootfs::{AptTraces, ImageOptions, ImageSpec};
use crate::spec::settings::{Account, Keyboard, Settings};
use crate::spec::source::{
    Preferences, Repository, SignedBy, SourceOptions, TlsClient, Trust, Used,
};
use keys::{Keys, as_text, beside, named};
use schema::{STAGES, USED};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tree::{Node, Table, Value};

/// Where something stands in a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column } = self;
        write!(f, "{}:{line}:{column}", crate::explain::shown(file))
    }
}

/// What is wrong at a place.
#[derive(Debug, thiserror::Error)]
pub enum What {
    /// Not TOML.
    #[error("{0}")]
    Toml(String),
    /// Larger than any recipe.
    #[error("such a file has at most {} bytes", tree::MAX_BYTES)]
    TooLarge,
    /// A key that is none.
    #[error("{within} has no key {key:?}{}", .nearest.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default())]
    UnknownKey {
        /// As written.
        key: String,
        /// The table it stands in.
        within: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// A value of another type.
    #[error("{key} takes a {wanted}, not a {found}")]
    WrongType {
        /// The key.
        key: &'static str,
        /// What it takes.
        wanted: String,
        /// What stands there.
        found: &'static str,
    },
    /// A word that is none of those there are.
    #[error("{key} cannot be {word:?}: there are {words}{}", .nearest.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default())]
    NoSuchWord {
        /// The key.
        key: &'static str,
        /// As written.
        word: String,
        /// What there is.
        words: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// A name that breaks its rules.
    #[error("{0}")]
    Name(#[from] NameError),
    /// A key that must be there is not, or keys that cannot stand together do.
    #[error("{0}")]
    Keys(String),
    /// A value that is no such thing.
    #[error("{key} cannot be {value:?}: {why}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// As written.
        value: String,
        /// Why not.
        why: &'static str,
    },
    /// A path that leads out of the recipe's directory.
    #[error(
        "{path:?} leads out of the directory of the recipe: write it absolute if that is meant"
    )]
    Outside {
        /// As written.
        path: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {path:?}")]
    File {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Recipes that extend each other.
    #[error("{path:?} extends itself")]
    Loop {
        /// The one that came twice.
        path: PathBuf,
    },
}

/// What is wrong with a recipe, and where.
#[derive(Debug)]
pub struct RecipeError {
    /// Where.
    pub place: Place,
    /// What.
    pub what: What,
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for RecipeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.what)
    }
}

/// One file, read and checked against the table of keys.
#[derive(Debug, Clone)]
pub struct Part {
    table: Table,
    place: Place,
}

impl Part {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`RecipeError`]: the first thing that is wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, RecipeError> {
        let place = Place {
            file: path.into(),
            line: 1,
            column: 1,
        };
        let table = tree::parse(path, text)?;
        Ok(Self { table, place })
    }

    /// The file that this one extends, and where it says so.
    ///
    /// # Errors
    /// [`What::Outside`].
    pub fn extends(&self) -> Result<Option<(PathBuf, Place)>, RecipeError> {
        match self.table.get("extends") {
            Some(Node {
                place,
                value: Value::Text(text),
            }) => Ok(Some((beside(place, text)?, place.clone()))),
            _ => Ok(None),
        }
    }
}

/// What is to be written of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wished {
    /// Where.
    pub path: PathBuf,
    /// What, when the path's ending is not to tell.
    pub format: Option<String>,
    /// Where the recipe says so.
    pub place: Place,
}

/// A whole recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The image.
    pub spec: ImageSpec,
    /// Further names of it.
    pub tags: Vec<Tag>,
    /// What is written of it.
    pub outputs: Vec<Wished>,
    /// Further places of a locked build's packages.
    pub mirrors: Vec<String>,
}

/// Reads a file that a recipe names.
pub type Read<'a> = &'a mut dyn FnMut(&Path) -> std::io::Result<Vec<u8>>;

impl Recipe {
    /// Puts a recipe together from a file and those it extends, the file itself first. `read` gives the content of
    /// files that are named in them.
    ///
    /// # Errors
    /// [`RecipeError`]: the first thing that is wrong.
    pub fn new(parts: Vec<Part>, read: Read<'_>) -> Result<Self, RecipeError> {
        let place = parts.first().map(|part| part.place.clone());
        let mut whole = Table::new();
        let count = parts.len();
        for (number, part) in parts.into_iter().rev().enumerate() {
            let mut table = part.table;
            // Whoever extends a recipe wants its image, and not its files written again.
            if number + 1 < count {
                table.remove("output");
            }
            tree::lay(&mut whole, table);
        }
        let place = place.unwrap_or_else(|| Place {
            file: Path::new("").into(),
            line: 1,
            column: 1,
        });
        let mut top = Keys {
            table: whole,
            place,
        };
        let options = ImageOptions {
            arch: top.parsed("arch")?,
            foreign_archs: top.parsed_list("foreign-archs")?,
            variant: top.word("variant")?.unwrap_or_default(),
            include: top.wants()?,
            tasks: top.texts("tasks"),
            debs: top.paths("debs")?,
            exclude: top.parsed_list("exclude")?,
            recommends: top.set("recommends").unwrap_or_default(),
            spared: Vec::new(),
            alone: false,
            sources: sources(&mut top, read)?,
            merged_usr: top.set("merged-usr"),
            unpack_only: top.set("unpack-only").unwrap_or_default(),
            unguarded: Vec::new(),
            apt_traces: AptTraces::default(),
            paths: top.path_rules()?,
            settings: settings(&mut top, read)?,
            hooks: top
                .tables("hook")
                .into_iter()
                .map(|table| hook(table, read))
                .collect::<Result<_, _>>()?,
        };
        let distro: Option<DistroName> = top.parsed("distro")?;
        let distro = distro.ok_or_else(|| top.missing("distro"))?;
        let suite = top.parsed("suite")?;
        let tags = top.parsed_list("tags")?;
        let mut sources = top.table("sources");
        let mirrors = sources.addresses("mirrors")?;
        let outputs = top.tables("output");
        Ok(Self {
            spec: ImageSpec {
                distro,
                suite,
                options,
            },
            tags,
            outputs: outputs.into_iter().map(output).collect::<Result<_, _>>()?,
            mirrors,
        })
    }
}

fn output(mut table: Keys) -> Result<Wished, RecipeError> {
    Ok(Wished {
        path: table.path("path")?.ok_or_else(|| table.missing("path"))?,
        format: table.text("format").map(|(_, format)| format),
        place: table.place,
    })
}

fn sources(top: &mut Keys, read: Read<'_>) -> Result<SourceOptions, RecipeError> {
    let mut table = top.table("sources");
    let client = match table.table.contains_key("client") {
        false => None,
        true => {
            let mut client = table.table("client");
            Some(TlsClient {
                certificate: client
                    .path("certificate")?
                    .ok_or_else(|| client.missing("certificate"))?,
                key: client.path("key")?,
            })
        }
    };
    let preferences = |mut table: Keys, read: Read<'_>| -> Result<Preferences, RecipeError> {
        let name = table.text("name").ok_or_else(|| table.missing("name"))?.1;
        let text = match (table.text("text"), table.file("file", read)?) {
            (Some((_, text)), None) => text,
            (None, Some((place, bytes))) => as_text(place, bytes)?,
            _ => return Err(table.keys("exactly one of text and file must be there")),
        };
        Ok(Preferences { name, text })
    };
    Ok(SourceOptions {
        mirror: table.text("mirror").map(|(_, text)| text),
        components: table.parsed_list("components")?,
        keyrings: table.paths("keyrings")?,
        extra_suites: table.parsed_list("suites")?,
        repositories: top
            .tables("repository")
            .into_iter()
            .map(repository)
            .collect::<Result<_, _>>()?,
        only_repositories: table.set("only-repositories").unwrap_or_default(),
        preferences: top
            .tables("preferences")
            .into_iter()
            .map(|table| preferences(table, read))
            .collect::<Result<_, _>>()?,
        snapshot: table.number("snapshot"),
        trust: trust(&mut table),
        client,
    })
}

fn trust(table: &mut Keys) -> Trust {
    match table.text("trust") {
        Some((_, word)) if word == "unsigned" => Trust::Unsigned,
        _ => Trust::Signed,
    }
}

fn repository(mut table: Keys) -> Result<Repository, RecipeError> {
    let keyrings = table.paths("keyrings")?;
    let signed_by = match (keyrings.is_empty(), table.text("key")) {
        (true, None) => SignedBy::Default,
        (false, None) => SignedBy::Files(keyrings),
        (true, Some((_, key))) => SignedBy::Inline(key),
        (false, Some(_)) => return Err(table.keys("keyrings and key cannot stand together")),
    };
    let suites = table.texts("suites");
    if suites.is_empty() {
        return Err(table.missing("suites"));
    }
    let used = [Used::Both, Used::Build, Used::Image];
    let word = table.text("used").map(|(_, word)| word);
    let used = word.and_then(|word| {
        let at = USED.iter().position(|known| *known == word)?;
        used.get(at).copied()
    });
    Ok(Repository {
        name: table.text("name").map(|(_, text)| text),
        uri: table.text("uri").ok_or_else(|| table.missing("uri"))?.1,
        suites,
        components: table.texts("components"),
        archs: table.parsed_list("archs")?,
        signed_by,
        trust: trust(&mut table),
        check_valid_until: table.set("check-valid-until").unwrap_or(true),
        used: used.unwrap_or_default(),
        source_packages: table.set("source-packages").unwrap_or_default(),
    })
}

fn settings(top: &mut Keys, read: Read<'_>) -> Result<Settings, RecipeError> {
    let mut table = top.table("settings");
    let mut preseed = table.texts("preseed");
    preseed.iter_mut().for_each(|text| {
        if !text.ends_with('\n') {
            text.push('\n');
        }
    });
    for (place, path) in table.places("preseed-files") {
        let path = beside(&place, &path)?;
        let bytes = named(&place, &path, read)?;
        preseed.push(as_text(place, bytes)?);
    }
    let keyboard = match table.table.contains_key("keyboard") {
        false => None,
        true => {
            let mut keyboard = table.table("keyboard");
            let text = |table: &mut Keys, key| table.text(key).map(|(_, text)| text);
            Some(Keyboard {
                layout: text(&mut keyboard, "layout").ok_or_else(|| keyboard.missing("layout"))?,
                variant: text(&mut keyboard, "variant"),
                model: text(&mut keyboard, "model"),
                options: keyboard.texts("options"),
            })
        }
    };
    let users = table.tables("user");
    let mut text = |key| table.text(key).map(|(_, text)| text);
    let (root_password, timezone) = (text("root-password"), text("timezone"));
    let (resolv_conf, sources_list) = (text("resolv-conf"), text("sources-list"));
    Ok(Settings {
        options_name: None,
        hostname: table.parsed("hostname")?,
        users: users.into_iter().map(account).collect::<Result<_, _>>()?,
        root_password,
        locales: table.texts("locales"),
        timezone,
        keyboard,
        preseed,
        resolv_conf,
        sources_list,
        apt_options: table.texts("apt-options"),
        dpkg_options: table.texts("dpkg-options"),
        no_services: table.set("no-services").unwrap_or_default(),
    })
}

fn account(mut table: Keys) -> Result<Account, RecipeError> {
    let uid = table.number("uid").and_then(|uid| u32::try_from(uid).ok());
    let mut text = |key| table.text(key).map(|(_, text)| text);
    let (name, comment) = (text("name"), text("comment"));
    let (password, shell, home) = (text("password"), text("shell"), text("home"));
    Ok(Account {
        name: name.ok_or_else(|| table.missing("name"))?,
        uid,
        comment: comment.unwrap_or_default(),
        password,
        groups: table.texts("groups"),
        shell,
        home,
    })
}

/// The keys that say what a hook does.
const ACTIONS: [&str; 8] = [
    "run", "script", "copy-in", "copy-out", "tar-in", "tar-out", "upload", "download",
];

fn hook(mut table: Keys, read: Read<'_>) -> Result<Hook, RecipeError> {
    let stages = [
        HookStage::Setup,
        HookStage::Extract,
        HookStage::Essential,
        HookStage::Customize,
    ];
    let word = table.text("stage").map(|(_, word)| word);
    let stage = word
        .and_then(|word| STAGES.iter().position(|known| *known == word))
        .and_then(|at| stages.get(at).copied())
        .unwrap_or(HookStage::Customize);
    let asked: Vec<&str> = ACTIONS
        .into_iter()
        .filter(|action| table.table.contains_key(action))
        .collect();
    let [action] = asked.as_slice() else {
        return Err(table.keys(&format!(
            "a hook does exactly one of {}",
            ACTIONS.join(", ")
        )));
    };
    let inside = matches!(*action, "run" | "script");
    let to = table.text("to");
    let args = table.texts("args");
    let network = table.set("network");
    if !inside && (!args.is_empty() || network.is_some()) {
        return Err(table.keys("args and network belong to run and script"));
    }
    let network = network.unwrap_or_default();
    let to = match to {
        Some(_) if inside => return Err(table.keys("to belongs to what copies")),
        None if !inside => return Err(table.missing("to")),
        to => to,
    };
    // Of the host, or of the tree.
    let (place, word) = to.unwrap_or_else(|| (table.place.clone(), String::new()));
    let (host, tree) = (|| beside(&place, &word), PathBuf::from(&word));
    let mut text = |key| PathBuf::from(table.text(key).map(|(_, text)| text).unwrap_or_default());
    let action = match *action {
        "run" => HookAction::Inside {
            name: "hook".to_owned(),
            script: text("run").into_os_string().into_encoded_bytes(),
            args,
            network,
        },
        "script" => {
            let name = text("script").display().to_string();
            let script = table.file("script", read)?;
            let script = script.ok_or_else(|| table.missing("script"))?.1;
            HookAction::Inside {
                name,
                script,
                args,
                network,
            }
        }
        "copy-in" => HookAction::CopyIn {
            from: table.paths("copy-in")?,
            to: tree,
        },
        "copy-out" => HookAction::CopyOut {
            from: table.texts("copy-out").iter().map(PathBuf::from).collect(),
            to: host()?,
        },
        "tar-in" => HookAction::TarIn {
            from: table.path("tar-in")?.unwrap_or_default(),
            to: tree,
            no_devices: false,
        },
        "tar-out" => HookAction::TarOut {
            named: false,
            from: text("tar-out"),
            to: host()?,
        },
        "upload" => HookAction::Upload {
            from: table.path("upload")?.unwrap_or_default(),
            to: tree,
        },
        _ => HookAction::Download {
            from: text("download"),
            to: host()?,
        },
    };
    Ok(Hook { stage, action })
}
