//! Where packages come from, as it is typed: mirrors, repositories, keys, preferences.

use crate::args::{high, low};
use crate::error::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_plan::facts::sources_list::{Entry, Form, ListError, Reading, entries};
use jaula_plan::names::{DistroName, Suite};
use jaula_plan::rootfs::address::{checked, without_login};
use jaula_plan::rootfs::{Table, moment};
use jaula_plan::spec::rootfs::Reference;
use jaula_plan::spec::source::{Preferences, Repository, SourceOptions, TlsClient, Trust};
use std::path::{Path, PathBuf};

/// The names of the options with a value.
const VALUES: [&str; 11] = [
    "mirror",
    "suite",
    "extra-suite",
    "components",
    "source",
    "sources",
    "keyring",
    "preferences",
    "snapshot",
    "tls-cert",
    "tls-key",
];
const SWITCHES: [&str; 2] = ["only-sources", "insecure-no-signature"];
/// Largest file of sources or preferences, in bytes.
const LIMIT: u64 = 16 << 20;

fn value(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(placeholder).help(help)
}

fn file(name: &'static str, help: &'static str) -> Arg {
    value(name, "FILE", help)
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::FilePath)
}

/// The options of every verb that may make an image.
pub fn options(command: Command) -> Command {
    command.next_help_heading("Source options").args([
        value(
            "mirror",
            "URL",
            "Archive to fetch from: http:, https:, file:, copy:, cdrom:/FILE.iso [default: the host's APT sources]",
        )
        .value_hint(ValueHint::Url),
        value("suite", "SUITE", "The suite, where REF does not say it"),
        value("extra-suite", "SUITE,…", "Further suites of the same archive")
            .action(ArgAction::Append)
            .value_delimiter(','),
        value("components", "NAME,…", "Components of the archive")
            .action(ArgAction::Append)
            .value_delimiter(','),
        value(
            "source",
            "LINE",
            "A further repository, as a line of sources.list(5): deb [OPTIONS] URL SUITE COMPONENT…",
        )
        .action(ArgAction::Append),
        file("sources", "Further repositories: a file as sources.list(5) has it, .list or .sources")
            .action(ArgAction::Append),
        Arg::new("only-sources")
            .long("only-sources")
            .action(ArgAction::SetTrue)
            .help("Only the repositories of --source and --sources"),
        file("keyring", "OpenPGP keys that may sign the archive: a file, or a directory of some")
            .action(ArgAction::Append),
        file("preferences", "Pins, as apt_preferences(5) writes them; they stay in the image")
            .action(ArgAction::Append),
        value(
            "snapshot",
            "WHEN",
            "The archive as it was then: YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ",
        ),
        Arg::new("insecure-no-signature")
            .long("insecure-no-signature")
            .action(ArgAction::SetTrue)
            .help("DANGEROUS: take packages that nobody vouches for"),
        file("tls-cert", "Certificate to show to servers that ask for one (PEM)"),
        file("tls-key", "Its private key, where it is not in the same file").requires("tls-cert"),
    ])
}

/// The options that were typed.
pub fn typed(matches: &ArgMatches) -> impl Iterator<Item = &'static str> {
    let values = VALUES.into_iter().filter(|name| matches.contains_id(name));
    values.chain(SWITCHES.into_iter().filter(|name| matches.get_flag(name)))
}

fn paths(matches: &ArgMatches, name: &str) -> Vec<PathBuf> {
    let given = matches.get_many::<PathBuf>(name);
    given.into_iter().flatten().cloned().collect()
}

fn words<'m>(matches: &'m ArgMatches, name: &str) -> impl Iterator<Item = &'m str> {
    let given = matches.get_many::<String>(name).into_iter().flatten();
    given
        .map(|word| word.trim())
        .filter(|word| !word.is_empty())
}

/// Everything that was said of sources.
///
/// # Errors
/// When something makes no sense; a file's line and column are named.
pub fn read(matches: &ArgMatches) -> Result<SourceOptions, CommandError> {
    let mut repositories = Vec::new();
    if let Some(lines) = matches.get_many::<String>("source") {
        for line in lines {
            let attempt = || {
                let shown: Vec<String> = line.split(' ').map(without_login).collect();
                CommandError::usage(format!("cannot use {:?} for --source", shown.join(" ")))
                    .hint("write it as a line of sources.list(5): deb [signed-by=/FILE] URL SUITE COMPONENT…")
            };
            let found = gathered(entries(line, Form::Lines, Reading::Request), None)
                .map_err(|error| attempt().because(error))?;
            if found.is_empty() {
                return Err(attempt());
            }
            repositories.extend(found);
        }
    }
    for path in paths(matches, "sources") {
        repositories.extend(of_file(&path)?);
    }
    let only_repositories = matches.get_flag("only-sources");
    if only_repositories && repositories.is_empty() {
        return Err(
            CommandError::usage("cannot use --only-sources: there is no source")
                .hint("name one with --source or --sources"),
        );
    }
    let snapshot = low::text(matches, "snapshot").map(|text| {
        moment(text).ok_or_else(|| {
            CommandError::usage(format!("cannot use {text:?} for --snapshot"))
                .hint("write a day, 2026-06-01, or a moment in UTC, 2026-06-01T12:00:00Z")
        })
    });
    Ok(SourceOptions {
        mirror: low::text(matches, "mirror").map(mirror).transpose()?,
        components: words(matches, "components")
            .map(|word| low::parse("--components", word))
            .collect::<Result<_, _>>()?,
        keyrings: paths(matches, "keyring"),
        extra_suites: words(matches, "extra-suite")
            .map(|word| low::parse("--extra-suite", word))
            .collect::<Result<_, _>>()?,
        repositories,
        only_repositories,
        preferences: paths(matches, "preferences")
            .iter()
            .map(|path| preferences(path))
            .collect::<Result<_, _>>()?,
        snapshot: snapshot.transpose()?,
        trust: match matches.get_flag("insecure-no-signature") {
            true => Trust::Unsigned,
            false => Trust::Signed,
        },
        client: low::path(matches, "tls-cert").map(|certificate| TlsClient {
            certificate,
            key: low::path(matches, "tls-key"),
        }),
    })
}

fn text_of(path: &Path, option: &str) -> Result<String, CommandError> {
    let attempt = || {
        let shown = jaula_plan::explain::shown(path);
        CommandError::usage(format!("cannot read {shown} for {option}"))
    };
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        let file = std::fs::File::open(path)?;
        let read =
            std::io::Read::read_to_string(&mut std::io::Read::take(file, LIMIT + 1), &mut text)?;
        match read as u64 > LIMIT {
            true => Err(std::io::Error::other("it is too large")),
            false => Ok(text),
        }
    };
    read().map_err(|error| attempt().because(error))
}

/// The repositories of a file, which go into a file of the same name in the image.
fn of_file(path: &Path) -> Result<Vec<Repository>, CommandError> {
    let text = text_of(path, "--sources")?;
    let name = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    gathered(entries(&text, Form::of(path), Reading::Request), name).map_err(|error| {
        let shown = jaula_plan::explain::shown(path);
        CommandError::usage(format!("cannot use {shown} for --sources"))
            .because(error)
            .hint("a name that ends in .sources has stanzas of fields, any other has lines: sources.list(5)")
    })
}

/// Entries for source packages go with the entry for binary packages of the same place.
fn gathered(
    entries: Vec<Result<Entry, ListError>>,
    name: Option<String>,
) -> Result<Vec<Repository>, ListError> {
    let mut found: Vec<Repository> = Vec::new();
    let mut alone: Vec<(usize, Repository)> = Vec::new();
    for entry in entries {
        let entry = entry?;
        for mut repository in entry.repositories {
            repository.name.clone_from(&name);
            if entry.binary {
                found.push(repository);
            } else {
                alone.push((entry.line, repository));
            }
        }
    }
    for (line, source) in alone {
        let same = |one: &&mut Repository| {
            one.uri == source.uri
                && one.suites == source.suites
                && one.components == source.components
        };
        match found.iter_mut().find(same) {
            Some(binary) => binary.source_packages = true,
            None => {
                return Err(ListError {
                    line,
                    column: 1,
                    what: "source packages alone: there is no deb entry for the same place"
                        .to_owned(),
                });
            }
        }
    }
    Ok(found)
}

fn preferences(path: &Path) -> Result<Preferences, CommandError> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    Ok(Preferences {
        name: name.unwrap_or_default(),
        text: text_of(path, "--preferences")?,
    })
}

/// An address of an archive, or a directory.
///
/// # Errors
/// When it is neither.
pub fn mirror(url: &str) -> Result<String, CommandError> {
    let typed = match url.starts_with('/') {
        true => format!("file:{url}"),
        false => url.to_owned(),
    };
    checked(&typed).ok_or_else(|| {
        let shown = without_login(url);
        CommandError::usage(format!("cannot use {shown:?} for --mirror")).hint(
            "write http://…, https://…, file:/…, copy:/…, cdrom:/FILE.iso or an absolute path",
        )
    })
}

/// What the REF means now that an archive may have been named: a distribution that no table knows is fine with one,
/// and `--suite` says which suite. `typed` is whether there was a REF.
///
/// # Errors
/// When REF and `--suite` name two suites, or a name breaks its rules.
pub fn reference(
    matches: &ArgMatches,
    reference: Reference,
    typed: bool,
) -> Result<Reference, CommandError> {
    let suite: Option<Suite> = low::text(matches, "suite")
        .map(|text| low::parse("--suite", text))
        .transpose()?;
    let archive = matches.contains_id("mirror") || matches.get_flag("only-sources");
    let reference = match reference {
        Reference::Tag(tag) if archive => {
            let (distro, named) = match tag.as_str().split_once(':') {
                Some((distro, suite)) => (distro, Some(suite)),
                None => (tag.as_str(), None),
            };
            Reference::Distro {
                distro: low::parse("REF", distro)?,
                suite: named.map(|suite| low::parse("REF", suite)).transpose()?,
            }
        }
        other => other,
    };
    match (reference, suite) {
        (
            Reference::Distro {
                distro,
                suite: Some(named),
            },
            Some(suite),
        ) if named != suite => Err(CommandError::usage(format!(
            "cannot use --suite {suite}: REF says {distro}:{named}"
        ))
        .hint("name the suite once")),
        (
            Reference::Distro {
                distro,
                suite: None,
            },
            Some(suite),
        ) => {
            // Nobody said whose suite it is: the distribution that has it, or one that is called like it.
            let distro = if archive && !typed {
                of_suite(&suite)?
            } else {
                distro
            };
            Ok(Reference::Distro {
                distro,
                suite: Some(suite),
            })
        }
        (reference, _) => Ok(reference),
    }
}

fn of_suite(suite: &Suite) -> Result<DistroName, CommandError> {
    let table = Table::builtin().map_err(|error| {
        CommandError::failed("cannot read the table of distributions").because(error)
    })?;
    let known = table.names().find(|name| {
        table
            .distro(name)
            .is_some_and(|distro| distro.release(suite.as_str()).is_some())
    });
    low::parse("--suite", known.unwrap_or(suite.as_str()))
}

/// What to say of a name that is neither a tag nor a distribution.
pub fn unknown_hint(reference: &Reference) -> Option<String> {
    let Reference::Tag(tag) = reference else {
        return None;
    };
    Some(match high::meant_distro(reference) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!(
            "a distribution that jaula does not know comes from an archive that is named: {tag} --mirror URL --keyring FILE"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaula_plan::spec::source::Used;

    fn parsed(words: &[&str]) -> ArgMatches {
        options(Command::new("x"))
            .try_get_matches_from([&["x"], words].concat())
            .expect("good words")
    }

    fn refused(words: &[&str]) -> String {
        let error = read(&parsed(words)).expect_err("a refusal");
        let mut text = error.headline().to_owned();
        for cause in error.causes() {
            text.push_str(&format!(": {cause}"));
        }
        text
    }

    #[test]
    fn everything_that_is_typed_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let list = write(
            "extra.list",
            "deb file:/srv/x one main\ndeb-src file:/srv/x one main\n",
        );
        let stanzas = write(
            "more.sources",
            "Types: deb\nURIs: file:/srv/y\nSuites: ./\nTrusted: yes\n",
        );
        let pins = write("pins", "Package: *\nPin: release a=x\nPin-Priority: 1\n");
        let options = read(&parsed(&[
            "--mirror",
            "/srv/m",
            "--components",
            "main,contrib",
            "--keyring",
            "a.gpg",
            "--keyring",
            "/keys",
            "--extra-suite",
            "s-updates,s-more",
            "--source",
            "deb http://u:p@h/z two main",
            "--sources",
            &list,
            "--sources",
            &stanzas,
            "--preferences",
            &pins,
            "--snapshot",
            "2026-06-06T09:12:13Z",
            "--tls-cert",
            "c.pem",
        ]))
        .expect("options");
        assert_eq!(options.mirror.as_deref(), Some("file:///srv/m"));
        assert_eq!(options.components.len(), 2);
        assert_eq!(options.keyrings, [PathBuf::from("a.gpg"), "/keys".into()]);
        assert_eq!(options.extra_suites.len(), 2);
        let [line, listed, stanza] = options.repositories.as_slice() else {
            panic!("{:?}", options.repositories)
        };
        assert_eq!((line.uri.as_str(), &line.name), ("http://u:p@h/z", &None));
        assert_eq!(listed.name.as_deref(), Some("extra"));
        assert!(listed.source_packages && listed.used == Used::Both);
        assert_eq!(
            (stanza.name.as_deref(), stanza.trust),
            (Some("more"), Trust::Unsigned)
        );
        assert_eq!(
            options.preferences.first().map(|p| p.name.as_str()),
            Some("pins")
        );
        assert_eq!(options.snapshot, Some(1_780_737_133));
        assert!(options.client.is_some() && options.trust == Trust::Signed);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.sources");
        std::fs::write(
            &path,
            "Types: deb\nURIs: http://h\nSuite: x\nComponents: main\n",
        )
        .expect("a file");
        let path = path.display().to_string();
        for (words, said) in [
            (vec!["--source", "http://h x main"], "line 1, column 1"),
            (vec!["--source", ""], "cannot use"),
            (
                vec!["--source", "deb gopher://ana:secret@h x main"],
                "\"gopher://h\" is no address",
            ),
            (
                vec!["--source", "deb-src http://h x main"],
                "source packages alone",
            ),
            (
                vec!["--sources", &path],
                "line 3, column 1: unknown field \"Suite\": is it suites?",
            ),
            (vec!["--sources", "/no/such.list"], "/no/such.list"),
            (vec!["--only-sources"], "there is no source"),
            (vec!["--snapshot", "yesterday"], "\"yesterday\""),
            (vec!["--mirror", "ftp://ana:secret@h/x"], "\"ftp://h/x\""),
            (vec!["--extra-suite", "a/b"], "--extra-suite"),
        ] {
            let text = refused(&words);
            assert!(text.contains(said), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn an_archive_makes_a_distribution_of_a_name() {
        let tag = || Reference::Tag("guadalinex:buho".parse().expect("a tag"));
        let debian = || Reference::Distro {
            distro: "debian".parse().expect("a name"),
            suite: None,
        };
        let shown = |words: &[&str], from: Reference, typed| {
            let read = reference(&parsed(words), from, typed);
            read.map(|r| jaula_engine::view::reference_text(&r)).ok()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(shown(&[], tag(), true), some("guadalinex:buho"));
        assert!(matches!(
            reference(&parsed(&[]), tag(), true),
            Ok(Reference::Tag(_))
        ));
        let made = reference(&parsed(&["--mirror", "/m"]), tag(), true);
        assert!(matches!(made, Ok(Reference::Distro { suite: Some(_), .. })));
        let suite = ["--mirror", "/m", "--suite", "buho"];
        assert_eq!(shown(&suite, debian(), false), some("buho:buho"));
        assert_eq!(shown(&suite, debian(), true), some("debian:buho"));
        assert_eq!(shown(&suite, tag(), true), some("guadalinex:buho"));
        assert_eq!(
            shown(&["--mirror", "/m", "--suite", "noble"], debian(), false),
            some("ubuntu:noble")
        );
        assert_eq!(
            shown(&["--suite", "bookworm"], debian(), true),
            some("debian:bookworm")
        );
        assert_eq!(
            shown(&["--mirror", "/m", "--suite", "other"], tag(), true),
            None
        );
    }
}
