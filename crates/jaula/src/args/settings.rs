//! What is set in an image, what is run while it is made, and which files are left out of it: the options, and what they
//! say.

use crate::args::high::Surroundings;
use crate::args::low;
use crate::error::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::ImageOptions;
use jaula_plan::path_filter;
use jaula_plan::spec::hook::{Hook, HookAction, HookStage};
use jaula_plan::spec::settings::{Account, Keyboard, PathRule};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The names of the options: each needs an image that is made.
pub const NAMES: [&str; 20] = [
    "locale",
    "timezone",
    "keyboard",
    "preseed",
    "set-hostname",
    "add-user",
    "root-password-hash",
    "hook",
    "copy-in",
    "path-exclude",
    "path-include",
    "no-docs",
    "no-man",
    "keep-locales",
    "apt-option",
    "dpkg-option",
    "resolv-conf",
    "no-services",
    "merged-usr",
    "sources-list",
];

/// The most that is read of a file of text.
const LONGEST: u64 = 16 << 20;

fn value(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(placeholder).help(help)
}

fn many(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    value(name, placeholder, help).action(ArgAction::Append)
}

fn file(name: &'static str, help: &'static str) -> Arg {
    value(name, "FILE", help)
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::FilePath)
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

/// Adds the options.
pub fn options(command: Command) -> Command {
    command
        .next_help_heading("Settings of an image that is made")
        .args([
            many(
                "locale",
                "LOCALE,…",
                "Locales to have, as es_ES.UTF-8; the first is the language of programs",
            )
            .value_delimiter(','),
            value("timezone", "ZONE", "Time zone, as Europe/Madrid"),
            value("keyboard", "LAYOUT[:VARIANT[:MODEL]]", "Keyboard, as es:nodeadkeys"),
            file("preseed", "Answers to packages' questions, as debconf-set-selections(1) reads them")
                .action(ArgAction::Append),
            value("set-hostname", "NAME", "Host name in /etc/hostname and /etc/hosts"),
            many(
                "add-user",
                "NAME[:KEY=VALUE,…]",
                "An account; keys: uid, password (a hash), groups (joined by +), shell, home, comment",
            ),
            value("root-password-hash", "HASH", "Password of root, as crypt(5) writes it"),
            many(
                "hook",
                "STAGE[+net]:FILE",
                "Run a script in a jail on the tree; stages: extract, essential, customize",
            )
            .value_parser(value_parser!(OsString)),
            many("copy-in", "PATH:DIR", "Copy a file or directory into DIR of the tree")
                .value_parser(value_parser!(OsString)),
            many("path-exclude", "PATTERN", "Leave out files of packages, as dpkg(1) does"),
            many("path-include", "PATTERN", "Lay files that --path-exclude left out; the last one counts"),
            switch("no-docs", "Leave out documentation and manual pages; licences stay"),
            switch("no-man", "Leave out manual pages"),
            many("keep-locales", "LANGUAGE,…", "Leave out translations into other languages")
                .value_delimiter(','),
            many("apt-option", "TEXT", "An option for apt in the image, as apt.conf(5) has it"),
            many("dpkg-option", "TEXT", "An option for dpkg in the image, as dpkg.cfg(5) has it"),
            file("resolv-conf", "The file that becomes /etc/resolv.conf"),
            file("sources-list", "The file that becomes /etc/apt/sources.list"),
            switch("no-services", "Packages installed later start no services either (policy-rc.d)"),
            value("merged-usr", "yes|no", "Whether /bin and its like are links into /usr [default: as released]")
                .value_parser(["yes", "no"])
                .hide_possible_values(true),
        ])
}

fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    let given = matches.get_many::<String>(name);
    given.map(|all| all.cloned().collect()).unwrap_or_default()
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, CommandError> {
    use std::io::Read;
    let attempt = || CommandError::failed(format!("cannot read {} for --{option}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| attempt().because(error))?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| attempt().because(error))?;
    if bytes.len() as u64 > LONGEST {
        return Err(attempt().hint("it is larger than 16 MiB"));
    }
    Ok(bytes)
}

fn text_of(option: &str, path: &Path) -> Result<String, CommandError> {
    String::from_utf8(read(option, path)?).map_err(|error| {
        CommandError::failed(format!("cannot read {} for --{option}", path.display()))
            .because(error)
    })
}

/// How an image is made, with its settings.
///
/// # Errors
/// As [`low::image`] and [`apply`].
pub fn image(matches: &ArgMatches, around: &Surroundings) -> Result<ImageOptions, CommandError> {
    let mut options = low::image(matches)?;
    apply(matches, around, &mut options)?;
    Ok(options)
}

/// Takes what was typed into the options of an image.
///
/// # Errors
/// When a word makes no sense, or a file cannot be read.
pub fn apply(
    matches: &ArgMatches,
    around: &Surroundings,
    options: &mut ImageOptions,
) -> Result<(), CommandError> {
    let settings = &mut options.settings;
    settings.locales = texts(matches, "locale");
    settings.timezone = low::text(matches, "timezone").map(str::to_owned);
    settings.keyboard = low::text(matches, "keyboard").map(keyboard);
    for path in matches.get_many::<PathBuf>("preseed").into_iter().flatten() {
        settings.preseed.push(text_of("preseed", path)?);
    }
    settings.hostname = low::text(matches, "set-hostname")
        .map(|name| low::parse("--set-hostname", name))
        .transpose()?;
    for word in texts(matches, "add-user") {
        settings.users.push(account(&word)?);
    }
    settings.root_password = low::text(matches, "root-password-hash").map(str::to_owned);
    settings.apt_options = texts(matches, "apt-option");
    settings.dpkg_options = texts(matches, "dpkg-option");
    settings.resolv_conf = low::path(matches, "resolv-conf")
        .map(|path| text_of("resolv-conf", &path))
        .transpose()?;
    settings.sources_list = low::path(matches, "sources-list")
        .map(|path| text_of("sources-list", &path))
        .transpose()?;
    settings.no_services = matches.get_flag("no-services");
    options.merged_usr = low::text(matches, "merged-usr").map(|word| word == "yes");
    options.paths = paths(matches);
    options.hooks.extend(hooks(matches, around)?);
    Ok(())
}

fn keyboard(word: &str) -> Keyboard {
    let mut parts = word.split(':').map(str::to_owned);
    let layout = parts.next().unwrap_or_default();
    let mut next = || parts.next().filter(|part| !part.is_empty());
    Keyboard {
        layout,
        variant: next(),
        model: next(),
        options: Vec::new(),
    }
}

fn account(word: &str) -> Result<Account, CommandError> {
    let (name, rest) = word.split_once(':').unwrap_or((word, ""));
    let mut account = Account {
        name: name.to_owned(),
        uid: None,
        comment: String::new(),
        password: None,
        groups: Vec::new(),
        shell: None,
        home: None,
    };
    for pair in rest.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = value.to_owned();
        match key {
            "uid" => account.uid = Some(low::parse("uid of --add-user", value)?),
            "comment" => account.comment = text,
            "password" => account.password = Some(text),
            "groups" => account.groups = value.split('+').map(str::to_owned).collect(),
            "shell" => account.shell = Some(text),
            "home" => account.home = Some(text),
            _ => {
                return Err(
                    CommandError::usage(format!("cannot use {key:?} for --add-user"))
                        .hint("the keys are uid, password, groups, shell, home and comment"),
                );
            }
        }
    }
    Ok(account)
}

/// Values of several options in the order in which they were typed.
fn in_order<T>(mut all: Vec<(usize, T)>) -> Vec<T> {
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, value)| value).collect()
}

fn paths(matches: &ArgMatches) -> Vec<PathRule> {
    let mut found: Vec<(usize, Vec<PathRule>)> = Vec::new();
    for name in ["path-exclude", "path-include"] {
        let indices = matches.indices_of(name).into_iter().flatten();
        for (index, pattern) in indices.zip(texts(matches, name)) {
            let rule = match name {
                "path-include" => PathRule::Include(pattern),
                _ => PathRule::Exclude(pattern),
            };
            found.push((index, vec![rule]));
        }
    }
    let at = |name: &str| matches.index_of(name).unwrap_or_default();
    if matches.get_flag("no-docs") {
        found.push((at("no-docs"), path_filter::no_docs()));
    }
    if matches.get_flag("no-man") {
        found.push((at("no-man"), path_filter::no_man()));
    }
    let languages = texts(matches, "keep-locales");
    if !languages.is_empty() {
        found.push((at("keep-locales"), path_filter::keep_locales(&languages)));
    }
    in_order(found).into_iter().flatten().collect()
}

/// The words of an option before and after its first colon.
fn split<'w>(
    option: &str,
    word: &'w OsStr,
    shape: &str,
) -> Result<(&'w OsStr, &'w OsStr), CommandError> {
    let bytes = word.as_bytes();
    let colon = bytes.iter().position(|byte| *byte == b':');
    let parts = colon.and_then(|at| Some((bytes.get(..at)?, bytes.get(at + 1..)?)));
    match parts {
        Some((before, after)) if !before.is_empty() && !after.is_empty() => {
            Ok((OsStr::from_bytes(before), OsStr::from_bytes(after)))
        }
        _ => Err(CommandError::usage(format!(
            "cannot use {:?} for --{option}",
            word.to_string_lossy()
        ))
        .hint(format!("write it as {shape}"))),
    }
}

fn hooks(matches: &ArgMatches, around: &Surroundings) -> Result<Vec<Hook>, CommandError> {
    let mut found = Vec::new();
    let words = |name: &str| -> Vec<(usize, OsString)> {
        let indices = matches.indices_of(name).into_iter().flatten();
        let values = matches.get_many::<OsString>(name).into_iter().flatten();
        indices.zip(values.cloned()).collect()
    };
    for (index, word) in words("hook") {
        found.push((index, hook(&word)?));
    }
    for (index, word) in words("copy-in") {
        let (from, to) = split("copy-in", &word, "PATH:DIR")?;
        let mut from_absolute = around.absolute(Path::new(from))?;
        if from.as_bytes().ends_with(b"/.") {
            // What is in it, and not itself.
            from_absolute.push(".");
        }
        let action = HookAction::CopyIn {
            from: vec![from_absolute],
            to: PathBuf::from(to),
        };
        let stage = HookStage::Customize;
        found.push((index, Hook { stage, action }));
    }
    Ok(in_order(found))
}

fn hook(word: &OsStr) -> Result<Hook, CommandError> {
    let (stage, path) = split("hook", word, "STAGE:FILE, as customize:setup.sh")?;
    let stage = stage.to_string_lossy();
    let (name, network) = match stage.strip_suffix("+net") {
        Some(name) => (name, true),
        None => (stage.as_ref(), false),
    };
    let Some(stage) = HookStage::ALL.into_iter().find(|s| s.as_str() == name) else {
        return Err(
            CommandError::usage(format!("cannot use {name:?} as a stage"))
                .hint("the stages are setup, extract, essential and customize"),
        );
    };
    let path = Path::new(path);
    let action = HookAction::Inside {
        name: path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned(),
        script: read("hook", path)?,
        args: Vec::new(),
        network,
    };
    Ok(Hook { stage, action })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(words: &[&str]) -> Result<ImageOptions, CommandError> {
        let command = options(Command::new("t").no_binary_name(true));
        let matches = command.try_get_matches_from(words).expect("words");
        let around = Surroundings {
            cwd: Some("/work".into()),
            ..Surroundings::default()
        };
        let mut options = ImageOptions::default();
        apply(&matches, &around, &mut options)?;
        Ok(options)
    }

    #[test]
    fn nothing_typed_is_nothing_set() {
        assert_eq!(typed(&[]).expect("options"), ImageOptions::default());
    }

    #[test]
    fn settings_are_read() {
        let options = typed(&[
            "--locale",
            "es_ES.UTF-8,en_GB.UTF-8",
            "--keyboard",
            "es::pc104",
            "--add-user",
            "ana:uid=1500,groups=sudo+audio,comment=Ana B",
            "--merged-usr",
            "no",
            "--no-services",
        ])
        .expect("options");
        let settings = &options.settings;
        assert_eq!(settings.locales, ["es_ES.UTF-8", "en_GB.UTF-8"]);
        let keyboard = settings.keyboard.as_ref().expect("a keyboard");
        assert_eq!(
            (keyboard.variant.as_deref(), keyboard.model.as_deref()),
            (None, Some("pc104"))
        );
        let ana = settings.users.first().expect("an account");
        assert_eq!(
            (ana.uid, ana.groups.len(), ana.comment.as_str()),
            (Some(1500), 2, "Ana B")
        );
        assert_eq!(options.merged_usr, Some(false));
        assert!(settings.no_services);
        assert!(typed(&["--add-user", "ana:gid=4"]).is_err());
        assert!(typed(&["--add-user", "ana:uid=x"]).is_err());
        assert!(typed(&["--set-hostname", "a b"]).is_err());
    }

    #[test]
    fn filters_and_hooks_keep_their_order() {
        let options = typed(&[
            "--path-include",
            "/a",
            "--no-man",
            "--path-exclude",
            "/b",
            "--copy-in",
            "x/.:/srv",
            "--copy-in",
            "y:/etc",
        ])
        .expect("options");
        assert_eq!(options.paths.first(), Some(&PathRule::Include("/a".into())));
        assert_eq!(options.paths.last(), Some(&PathRule::Exclude("/b".into())));
        let from: Vec<_> = options
            .hooks
            .iter()
            .flat_map(|hook| hook.action.reads())
            .collect();
        assert_eq!(
            from.iter().map(|p| p.as_os_str()).collect::<Vec<_>>(),
            ["/work/x/.", "/work/y"]
        );
        for bad in ["customize", "customize:", "never:/x", ":x"] {
            assert!(typed(&["--hook", bad]).is_err(), "{bad}");
        }
    }
}
