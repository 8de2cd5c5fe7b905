//! mmdebstrap's words, as Getopt::Long(3perl) reads them there: options anywhere, in any case, abbreviated, letters
//! bundled.

use crate::compat::getopt::{Complaint, Opt, Order, Reader, Takes, both, long};
use std::ffi::OsString;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Help,
    Man,
    Version,
    Components,
    Variant,
    Include,
    Architectures,
    Mode,
    DpkgOpt,
    AptOpt,
    Keyring,
    Quiet,
    Verbose,
    Debug,
    Format,
    Logfile,
    ResolveDeps,
    MergedUsr,
    NoMergedUsr,
    ForceCheckGpg,
    Hook(Stage, Place),
    HookDirectory,
    Simulate,
    Skip,
}

/// When a hook is run, in the tool's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// `--setup-hook`
    Setup,
    /// `--extract-hook`
    Extract,
    /// `--essential-hook`
    Essential,
    /// `--customize-hook`
    Customize,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 4] = [Self::Setup, Self::Extract, Self::Essential, Self::Customize];

    /// The word in the option's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Extract => "extract",
            Self::Essential => "essential",
            Self::Customize => "customize",
        }
    }
}

/// Where a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the host, with the tree as its argument.
    Host,
    /// In the tree (`--chrooted-…-hook`).
    Tree,
}

const TABLE: &[Opt<Key>] = &[
    both(b'h', "help", Takes::Nothing, Key::Help),
    long("man", Takes::Nothing, Key::Man),
    long("version", Takes::Nothing, Key::Version),
    long("components", Takes::Required, Key::Components),
    long("variant", Takes::Required, Key::Variant),
    long("include", Takes::Required, Key::Include),
    long("architectures", Takes::Required, Key::Architectures),
    long("mode", Takes::Required, Key::Mode),
    long("dpkgopt", Takes::Required, Key::DpkgOpt),
    long("aptopt", Takes::Required, Key::AptOpt),
    long("keyring", Takes::Required, Key::Keyring),
    both(b's', "silent", Takes::Nothing, Key::Quiet),
    both(b'q', "quiet", Takes::Nothing, Key::Quiet),
    both(b'v', "verbose", Takes::Nothing, Key::Verbose),
    both(b'd', "debug", Takes::Nothing, Key::Debug),
    long("format", Takes::Required, Key::Format),
    long("logfile", Takes::Required, Key::Logfile),
    long("resolve-deps", Takes::Nothing, Key::ResolveDeps),
    long("merged-usr", Takes::Nothing, Key::MergedUsr),
    long("no-merged-usr", Takes::Nothing, Key::NoMergedUsr),
    long("force-check-gpg", Takes::Nothing, Key::ForceCheckGpg),
    long(
        "setup-hook",
        Takes::Required,
        Key::Hook(Stage::Setup, Place::Host),
    ),
    long(
        "extract-hook",
        Takes::Required,
        Key::Hook(Stage::Extract, Place::Host),
    ),
    long(
        "chrooted-extract-hook",
        Takes::Required,
        Key::Hook(Stage::Extract, Place::Tree),
    ),
    long(
        "essential-hook",
        Takes::Required,
        Key::Hook(Stage::Essential, Place::Host),
    ),
    long(
        "chrooted-essential-hook",
        Takes::Required,
        Key::Hook(Stage::Essential, Place::Tree),
    ),
    long(
        "customize-hook",
        Takes::Required,
        Key::Hook(Stage::Customize, Place::Host),
    ),
    long(
        "chrooted-customize-hook",
        Takes::Required,
        Key::Hook(Stage::Customize, Place::Tree),
    ),
    long("hook-directory", Takes::Required, Key::HookDirectory),
    long("simulate", Takes::Nothing, Key::Simulate),
    long("dry-run", Takes::Nothing, Key::Simulate),
    long("skip", Takes::Required, Key::Skip),
];

/// A hook as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookWord {
    /// One command.
    Command {
        /// When.
        stage: Stage,
        /// Where.
        place: Place,
        /// The text.
        text: String,
    },
    /// Every hook of a directory.
    Directory(String),
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Loudness {
    /// Errors only.
    Quiet,
    /// What is being done.
    #[default]
    Normal,
    /// And what scripts say.
    Verbose,
    /// And what was decided.
    Debug,
}

/// What was asked, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `--components`, parted.
    pub components: Vec<String>,
    /// `--variant`
    pub variant: String,
    /// `--include`, each as given.
    pub include: Vec<String>,
    /// `--architectures`, parted.
    pub architectures: Vec<String>,
    /// `--mode`
    pub mode: String,
    /// `--dpkgopt`
    pub dpkg_options: Vec<String>,
    /// `--aptopt`
    pub apt_options: Vec<String>,
    /// `--keyring`
    pub keyrings: Vec<String>,
    /// `-q`, `-v`, `-d`
    pub loudness: Loudness,
    /// `--format`
    pub format: String,
    /// `--logfile`
    pub logfile: Option<String>,
    /// Options that do nothing there, and here.
    pub idle: Vec<&'static str>,
    /// Hooks in their order.
    pub hooks: Vec<HookWord>,
    /// `--simulate`
    pub simulate: bool,
    /// `--skip`, parted.
    pub skip: Vec<String>,
    /// The other words.
    pub operands: Vec<String>,
}

/// Why nothing is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// `--help`
    Help,
    /// `--man`
    Man,
    /// `--version`
    Version,
    /// What Getopt::Long says, a line each.
    Complaints(Vec<String>),
}

/// What the lists of an option are parted by.
fn parts(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
}

fn add(list: &mut Vec<String>, text: &str) {
    for part in parts(text) {
        if !list.contains(&part) {
            list.push(part);
        }
    }
}

/// Names of options in lower case: Getopt::Long is told to ignore case.
fn lower(word: &OsString) -> OsString {
    match word.to_str().filter(|text| text.starts_with("--")) {
        Some(text) => match text.split_once('=') {
            Some((name, value)) => format!("{}={value}", name.to_lowercase()).into(),
            None => text.to_lowercase().into(),
        },
        None => word.clone(),
    }
}

fn said(complaint: &Complaint) -> String {
    match complaint {
        Complaint::Unrecognized(word) => {
            let word = word.to_string_lossy();
            format!(
                "Unknown option: {}",
                word.split('=').next().unwrap_or(&word)
            )
        }
        Complaint::Invalid(letter) => format!("Unknown option: {}", char::from(*letter)),
        Complaint::Ambiguous(word, names) => {
            let word = word.to_string_lossy();
            let word = word.split('=').next().unwrap_or(&word).to_owned();
            format!("Option {word} is ambiguous ({})", names.join(", "))
        }
        Complaint::LongWants(name) => format!("Option {name} requires an argument"),
        Complaint::ShortWants(letter) => {
            format!("Option {} requires an argument", char::from(*letter))
        }
        Complaint::Refuses(name) => format!("Option {name} does not take an argument"),
    }
}

/// Reads the words after the name.
///
/// # Errors
/// [`Stop`].
pub fn read(words: &[OsString]) -> Result<Asked, Stop> {
    let mut asked = Asked {
        components: Vec::new(),
        variant: "important".to_owned(),
        include: Vec::new(),
        architectures: Vec::new(),
        mode: "auto".to_owned(),
        dpkg_options: Vec::new(),
        apt_options: Vec::new(),
        keyrings: Vec::new(),
        loudness: Loudness::Normal,
        format: "auto".to_owned(),
        logfile: None,
        idle: Vec::new(),
        hooks: Vec::new(),
        simulate: false,
        skip: Vec::new(),
        operands: Vec::new(),
    };
    // Values that are words of their own may begin with dashes and be anything: only options are lowered.
    let words: Vec<OsString> = lowered(words);
    let mut complaints = Vec::new();
    let mut reader = Reader::new(&words, TABLE, Order::Anywhere);
    for met in &mut reader {
        let (key, argument) = match met {
            Ok(met) => met,
            Err(complaint) => {
                complaints.push(said(&complaint));
                continue;
            }
        };
        let value = argument.unwrap_or_default().to_string_lossy().into_owned();
        match key {
            Key::Help => return Err(Stop::Help),
            Key::Man => return Err(Stop::Man),
            Key::Version => return Err(Stop::Version),
            Key::Components => add(&mut asked.components, &value),
            Key::Variant => asked.variant = value,
            Key::Include => include(&mut asked.include, &value),
            Key::Architectures => add(&mut asked.architectures, &value),
            Key::Mode => asked.mode = value,
            Key::DpkgOpt => asked.dpkg_options.push(value),
            Key::AptOpt => asked.apt_options.push(value),
            Key::Keyring => asked.keyrings.push(value),
            Key::Quiet => asked.loudness = Loudness::Quiet,
            Key::Verbose => asked.loudness = Loudness::Verbose,
            Key::Debug => asked.loudness = Loudness::Debug,
            Key::Format => asked.format = value,
            Key::Logfile => asked.logfile = Some(value),
            Key::ResolveDeps => asked.idle.push("resolve-deps"),
            Key::MergedUsr => asked.idle.push("merged-usr"),
            Key::NoMergedUsr => asked.idle.push("no-merged-usr"),
            Key::ForceCheckGpg => asked.idle.push("force-check-gpg"),
            Key::Hook(stage, place) => asked.hooks.push(HookWord::Command {
                stage,
                place,
                text: value,
            }),
            Key::HookDirectory => asked.hooks.push(HookWord::Directory(value)),
            Key::Simulate => asked.simulate = true,
            Key::Skip => add(&mut asked.skip, &value),
        }
    }
    if !complaints.is_empty() {
        return Err(Stop::Complaints(complaints));
    }
    let operands = reader.operands();
    asked.operands = operands
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if asked.components.is_empty() {
        asked.components.push("main".to_owned());
    }
    Ok(asked)
}

/// The words with the names of options in lower case. A value in a word of its own stays as it is.
fn lowered(words: &[OsString]) -> Vec<OsString> {
    let mut made = Vec::with_capacity(words.len());
    let mut value_next = false;
    let mut ended = false;
    for word in words {
        if ended || value_next {
            value_next = false;
            made.push(word.clone());
            continue;
        }
        let low = lower(word);
        ended = low == "--";
        if let Some(name) = low.to_str().and_then(|text| text.strip_prefix("--"))
            && !name.is_empty()
            && !name.contains('=')
        {
            let exact = TABLE.iter().find(|opt| opt.long == Some(name));
            let begins = || {
                TABLE
                    .iter()
                    .find(|opt| opt.long.is_some_and(|l| l.starts_with(name)))
            };
            value_next = exact
                .or_else(begins)
                .is_some_and(|opt| opt.takes == Takes::Required);
        }
        made.push(low);
    }
    made
}

/// A pattern or a path is one; names are parted.
fn include(list: &mut Vec<String>, value: &str) {
    let whole = value.starts_with(['?', '~', '!', '('])
        || value.starts_with('/')
        || value.starts_with("./")
        || value.starts_with("../");
    if whole {
        list.push(value.to_owned());
    } else {
        list.extend(parts(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ')
            .filter(|w| !w.is_empty())
            .map(OsString::from)
            .collect()
    }

    #[test]
    fn options_stand_anywhere_in_any_case_and_short() {
        let asked = read(&words(
            "sid --VARIANT=apt -qv /t --incl a,b --hook-dir /Hooks --skip x,y --Mode ROOT",
        ))
        .expect("sound");
        assert_eq!(asked.operands, ["sid", "/t"]);
        assert_eq!(
            (asked.variant.as_str(), asked.mode.as_str()),
            ("apt", "ROOT")
        );
        assert_eq!(asked.include, ["a", "b"]);
        assert_eq!(asked.hooks, [HookWord::Directory("/Hooks".into())]);
        assert_eq!(asked.skip, ["x", "y"]);
        assert_eq!(asked.loudness, Loudness::Verbose);
        assert_eq!(asked.components, ["main"]);
    }

    #[test]
    fn every_complaint_is_made() {
        let stop = read(&words("--bogus=1 -x --variant")).expect_err("nonsense");
        let lines = [
            "Unknown option: bogus",
            "Unknown option: x",
            "Option variant requires an argument",
        ];
        assert_eq!(stop, Stop::Complaints(lines.map(str::to_owned).to_vec()));
        assert_eq!(read(&words("a --help --bogus")), Err(Stop::Help));
    }

    #[test]
    fn patterns_and_paths_are_not_parted() {
        let asked = read(&[
            "--include".into(),
            "?priority(important), x".into(),
            "--include=/a,b.deb".into(),
        ])
        .expect("sound");
        assert_eq!(asked.include, ["?priority(important), x", "/a,b.deb"]);
    }
}
