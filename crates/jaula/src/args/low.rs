//! What was typed, in plain structures. Pure: the same words give the same structures on every host.

use crate::args::high::Colour;
use crate::args::sources;
use crate::error::CommandError;
use clap::ArgMatches;
use clap::parser::ValueSource;
use jaula_engine::{ImageOptions, JailSettings, RunChanges};
use jaula_plan::names::{JailName, PackageName};
use jaula_plan::nft::Access;
use jaula_plan::spec::jail::{IdSpec, JailNet, UserSpec};
use jaula_plan::spec::rootfs::Variant;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The options of every verb.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Global {
    /// `--store`
    pub store: Option<PathBuf>,
    /// `--json`
    pub json: bool,
    /// `--quiet`
    pub quiet: bool,
    /// How often `--verbose`.
    pub verbose: u8,
    /// `--color`
    pub colour: Colour,
}

impl Global {
    /// From a verb's matches.
    pub fn read(matches: &ArgMatches) -> Self {
        Self {
            store: path(matches, "store"),
            json: matches.get_flag("json"),
            quiet: matches.get_flag("quiet"),
            verbose: matches.get_count("verbose"),
            colour: match text(matches, "color") {
                Some("always") => Colour::Always,
                Some("never") => Colour::Never,
                _ => Colour::Auto,
            },
        }
    }
}

/// Shall it be done, or shown?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Do it.
    Done,
    /// `--plan`
    Plan,
    /// `--explain`
    Explain,
}

impl Shown {
    /// From a verb's matches.
    pub fn read(matches: &ArgMatches) -> Self {
        if matches.get_flag("plan") {
            Self::Plan
        } else if matches.get_flag("explain") {
            Self::Explain
        } else {
            Self::Done
        }
    }
}

/// How the program is started in a jail, as typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessArgs {
    /// As whom.
    pub user: UserSpec,
    /// Where inside.
    pub cwd: Option<PathBuf>,
    /// Names, and values where one was given.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Whether nothing but PATH is set besides.
    pub clean_env: bool,
    /// Program and arguments.
    pub command: Vec<OsString>,
}

/// The text of an option, when it is given.
pub fn text<'m>(matches: &'m ArgMatches, name: &str) -> Option<&'m str> {
    matches.get_one::<String>(name).map(String::as_str)
}

/// The path of an option, when it is given.
pub fn path(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    matches.get_one::<PathBuf>(name).cloned()
}

/// The words of an operand as the system gave them; none where the verb has no such operand.
pub fn words(matches: &ArgMatches, name: &str) -> Vec<OsString> {
    let given = matches.try_get_many::<OsString>(name);
    given
        .ok()
        .flatten()
        .map(|words| words.cloned().collect())
        .unwrap_or_default()
}

/// A value of one of the validated types.
///
/// # Errors
/// When the text breaks the rules of the type; the option is named.
pub fn parse<T>(what: &str, text: &str) -> Result<T, CommandError>
where
    T: FromStr,
    T::Err: std::error::Error + 'static,
{
    text.parse::<T>().map_err(|error| {
        CommandError::usage(format!("cannot use {text:?} for {what}")).because(error)
    })
}

fn parsed<T>(matches: &ArgMatches, name: &str) -> Result<Option<T>, CommandError>
where
    T: FromStr,
    T::Err: std::error::Error + 'static,
{
    text(matches, name)
        .map(|text| parse(&format!("--{name}"), text))
        .transpose()
}

fn many<T>(
    matches: &ArgMatches,
    name: &str,
    read: impl Fn(&str) -> Result<T, CommandError>,
) -> Result<Vec<T>, CommandError> {
    let given = matches.get_many::<String>(name).into_iter().flatten();
    given
        .map(|word| word.trim())
        .filter(|word| !word.is_empty())
        .map(read)
        .collect()
}

/// The image options.
///
/// # Errors
/// When a name breaks its rules or the mirror is no URL.
pub fn image(matches: &ArgMatches) -> Result<ImageOptions, CommandError> {
    let mut options = ImageOptions {
        arch: parsed(matches, "arch")?,
        variant: parsed::<Variant>(matches, "variant")?.unwrap_or_default(),
        exclude: many(matches, "exclude", |word| {
            parse::<PackageName>("--exclude", word)
        })?,
        sources: sources::read(matches)?,
        ..ImageOptions::default()
    };
    crate::args::packages::read(matches, &mut options)?;
    Ok(options)
}

/// The image options that were typed, to say which of them make no sense with a REF that is no distribution.
pub fn typed_image_options(matches: &ArgMatches) -> Vec<&'static str> {
    let names = ["variant", "exclude", "arch"];
    names
        .into_iter()
        .chain(crate::args::settings::NAMES)
        .chain(crate::args::packages::NAMES)
        // A switch has a value whether it was typed or not.
        .filter(|name| matches.value_source(name) == Some(ValueSource::CommandLine))
        .chain(sources::typed(matches))
        .collect()
}

/// The settings that a jail keeps.
///
/// # Errors
/// When the host name breaks its rules.
pub fn settings(matches: &ArgMatches) -> Result<JailSettings, CommandError> {
    Ok(JailSettings {
        hostname: parsed(matches, "hostname")?,
        net: net(matches)?,
        ids: match text(matches, "ids") {
            Some("host") => IdSpec::Host,
            Some("caller") => IdSpec::CallerAsRoot,
            _ => IdSpec::Private,
        },
        limits: crate::args::limits::limits(matches)?,
    })
}

/// `--net`, as often as it was given.
fn net(matches: &ArgMatches) -> Result<JailNet, CommandError> {
    let words = matches.get_many::<String>("net").into_iter().flatten();
    let all = words
        .map(|word| parse("--net", word))
        .collect::<Result<Vec<JailNet>, _>>()?;
    let refused = |error| CommandError::usage("cannot use --net so").because(error);
    let publish = matches.get_many::<String>("publish").into_iter().flatten();
    let publish = publish
        .map(|word| parse("--publish", word))
        .collect::<Result<_, _>>()?;
    let net = JailNet::together(all).map_err(refused)?;
    net.with(publish, access(matches)?).map_err(refused)
}

/// `--allow` and `--deny`, in the order in which they stand.
fn access(matches: &ArgMatches) -> Result<Vec<Access>, CommandError> {
    let mut lines = Vec::new();
    for (option, allow) in [("allow", true), ("deny", false)] {
        let words = matches.get_many::<String>(option).into_iter().flatten();
        let places = matches.indices_of(option).into_iter().flatten();
        for (place, word) in places.zip(words) {
            let refused =
                |error| CommandError::usage(format!("cannot use --{option} so")).because(error);
            lines.push((place, Access::parse(allow, word).map_err(refused)?));
        }
    }
    lines.sort_by_key(|(place, _)| *place);
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// Who runs, where and with what environment.
///
/// # Errors
/// When the user, the directory or a variable is not in its form.
pub fn process(matches: &ArgMatches) -> Result<ProcessArgs, CommandError> {
    let cwd = path(matches, "cwd");
    if let Some(dir) = &cwd {
        inside(dir, "--cwd")?;
    }
    Ok(ProcessArgs {
        user: text(matches, "user")
            .map(user)
            .transpose()?
            .unwrap_or_default(),
        cwd,
        env: words(matches, "env")
            .iter()
            .map(|word| variable(word))
            .collect::<Result<_, _>>()?,
        clean_env: matches.get_flag("clean-env"),
        command: words(matches, "command"),
    })
}

/// `NAME`, `UID`, `UID:GID` or `UID:GID,GID…`.
fn user(word: &str) -> Result<UserSpec, CommandError> {
    let usage = || {
        CommandError::usage(format!("cannot use {word:?} for --user"))
            .hint("write NAME, UID or UID:GID[,GID…]")
    };
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        // As useradd(8) allows names, and a final `$`.
        let bad = |c: char| !c.is_ascii_alphanumeric() && !"-_.$".contains(c);
        let named =
            !word.is_empty() && word.len() <= 255 && !word.starts_with('-') && !word.contains(bad);
        return if named {
            Ok(UserSpec::Named(word.to_owned()))
        } else {
            Err(usage())
        };
    }
    let (uid, rest) = match word.split_once(':') {
        Some((uid, rest)) => (uid, Some(rest)),
        None => (word, None),
    };
    let number = |digits: &str| {
        digits
            .parse::<u32>()
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(usage)
    };
    let uid = number(uid)?;
    let Some(rest) = rest else {
        return Ok(UserSpec::Ids {
            uid,
            gid: uid,
            groups: Vec::new(),
        });
    };
    let mut gids = rest.split(',').map(number);
    let gid = gids.next().unwrap_or_else(|| Err(usage()))?;
    Ok(UserSpec::Ids {
        uid,
        gid,
        groups: gids.collect::<Result<_, _>>()?,
    })
}

fn variable(word: &OsStr) -> Result<(OsString, Option<OsString>), CommandError> {
    let bytes = word.as_bytes();
    let (name, value) = match bytes.iter().position(|b| *b == b'=') {
        Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..)),
        None => (bytes, None),
    };
    if name.is_empty() {
        return Err(CommandError::usage(format!(
            "cannot use {:?} for --env",
            word.to_string_lossy()
        ))
        .hint("write NAME=VALUE, or NAME to pass on the caller's value"));
    }
    let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    Ok((owned(name), value.map(owned)))
}

/// A path in the jail must be absolute and without `..`.
///
/// # Errors
/// When it is not.
pub fn inside(dir: &Path, option: &str) -> Result<(), CommandError> {
    let up = dir
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    if dir.is_absolute() && !up {
        return Ok(());
    }
    Err(CommandError::usage(format!(
        "cannot use {:?} for {option}",
        dir.to_string_lossy()
    ))
    .hint("a path inside the jail is absolute and has no \"..\""))
}

/// What becomes of what a run writes.
pub fn changes(matches: &ArgMatches) -> RunChanges {
    if matches.get_flag("read-only") {
        RunChanges::ReadOnly
    } else if matches.get_flag("write") {
        RunChanges::Direct
    } else {
        RunChanges::Ephemeral
    }
}

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// A path of the host.
    Host(PathBuf),
    /// `NAME:PATH`
    Jail(JailName, PathBuf),
}

/// A copy: from which side to which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copy {
    /// Into a jail.
    In {
        /// Of the host.
        from: PathBuf,
        /// The jail.
        name: JailName,
        /// Inside.
        to: PathBuf,
    },
    /// Out of a jail.
    Out {
        /// The jail.
        name: JailName,
        /// Inside.
        from: PathBuf,
        /// Of the host.
        to: PathBuf,
    },
}

/// Reads the two operands of `cp`: exactly one is `NAME:PATH`.
///
/// # Errors
/// When none or both are, or the name or the path inside is not in its form.
pub fn copy(from: &OsStr, to: &OsStr) -> Result<Copy, CommandError> {
    match (side(from)?, side(to)?) {
        (Side::Host(from), Side::Jail(name, to)) => Ok(Copy::In { from, name, to }),
        (Side::Jail(name, from), Side::Host(to)) => Ok(Copy::Out { name, from, to }),
        (Side::Host(_), Side::Host(_)) => Err(CommandError::usage(
            "cannot copy: neither operand is in a jail",
        )
        .hint("write NAME:PATH for the one that is")),
        (Side::Jail(..), Side::Jail(..)) => Err(CommandError::usage(
            "cannot copy: both operands are in a jail",
        )
        .hint("copy to the host first, then into the other jail")),
    }
}

/// `NAME:PATH` when a colon stands before any slash; a host's file with a colon is written `./a:b`.
fn side(word: &OsStr) -> Result<Side, CommandError> {
    let bytes = word.as_bytes();
    if bytes.is_empty() {
        return Err(CommandError::usage("cannot copy: an operand is empty"));
    }
    let colon = bytes.iter().position(|b| *b == b':');
    let slash = bytes.iter().position(|b| *b == b'/').unwrap_or(usize::MAX);
    let Some(colon) = colon.filter(|colon| *colon < slash) else {
        return Ok(Side::Host(PathBuf::from(word)));
    };
    let name = String::from_utf8_lossy(bytes.get(..colon).unwrap_or_default()).into_owned();
    let path = PathBuf::from(OsStr::from_bytes(
        bytes.get(colon + 1..).unwrap_or_default(),
    ));
    let name: JailName = parse("the jail of a copy", &name).map_err(|error| {
        error.hint(format!(
            "a file of the host with a colon is written ./{}",
            word.to_string_lossy()
        ))
    })?;
    let path = if path.is_absolute() {
        path
    } else {
        Path::new("/").join(path)
    };
    Ok(Side::Jail(name, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn users_in_every_form() {
        assert_eq!(
            user("www-data").ok(),
            Some(UserSpec::Named("www-data".into()))
        );
        assert_eq!(
            user("7").ok(),
            Some(UserSpec::Ids {
                uid: 7,
                gid: 7,
                groups: vec![]
            })
        );
        assert_eq!(
            user("7:8,9,10").ok(),
            Some(UserSpec::Ids {
                uid: 7,
                gid: 8,
                groups: vec![9, 10]
            })
        );
        for bad in [
            "",
            "-x",
            "7:",
            "7:x",
            "4294967295",
            "99999999999",
            "a b",
            "7,8",
            "a\x1b",
        ] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn variables_in_every_form() {
        assert_eq!(
            variable(os("A=b=c")).ok(),
            Some(("A".into(), Some("b=c".into())))
        );
        assert_eq!(variable(os("A=")).ok(), Some(("A".into(), Some("".into()))));
        assert_eq!(variable(os("A")).ok(), Some(("A".into(), None)));
        assert!(variable(os("=b")).is_err());
    }

    #[test]
    fn a_copy_has_one_side_in_a_jail() {
        let name: JailName = "web".parse().expect("a name");
        let into = Copy::In {
            from: "x".into(),
            name: name.clone(),
            to: "/srv".into(),
        };
        assert_eq!(copy(os("x"), os("web:srv")).ok(), Some(into));
        let out = Copy::Out {
            name,
            from: "/etc/a:b".into(),
            to: "./c:d".into(),
        };
        assert_eq!(copy(os("web:/etc/a:b"), os("./c:d")).ok(), Some(out));
        for (from, to) in [
            ("a", "b"),
            ("web:/a", "db:/b"),
            ("", "web:/a"),
            ("we b:/a", "x"),
            (":/a", "x"),
        ] {
            assert!(copy(os(from), os(to)).is_err(), "{from} {to}");
        }
    }
}
