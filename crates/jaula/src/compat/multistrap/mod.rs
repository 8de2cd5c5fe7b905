//! `multistrap`: several repositories in one tree, by a configuration file.

mod ini;
mod keys;
mod settings;
mod simulate;
mod translate;

use super::Face;
use super::making::{self, NotOpened};
use super::tool::{say, show};
use crate::output;
use jaula_engine::export::{Extra, ExtraKind, MixTarget};
use jaula_engine::session::Need;
use jaula_engine::{Dry, EngineError, Event, Observer};
use jaula_plan::step::Compression;
use settings::{Settings, SettingsError};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use translate::Keyrings;

/// The release whose words are spoken.
const RELEASE: &str = "2.2.11";
const NAME: &str = "multistrap";

/// How it is called.
pub const FACE: Face = Face {
    name: NAME,
    of: "multistrap 2.2",
    run,
};

/// Perl's exit code of die().
const DIED: u8 = 255;
/// No directory or architecture.
const INCOMPLETE: u8 = 3;
/// Two keys that contradict each other.
const CONTRADICTION: u8 = 7;

const USAGE: &str = "
multistrap version 2.2.11

Usage:
 multistrap [-a ARCH] [-d DIR] -f CONFIG_FILE
 multistrap [-a ARCH] [-d DIR] -s NAME
 multistrap -?|-h|--help|--version

Options:
 -f|--file CONFIG_FILE:  the configuration file.
 -s|--shortcut NAME:     NAME.conf of /etc/multistrap.d or /usr/share/multistrap.
 -a|--arch ARCHITECTURE: another architecture than the file's.
 -d|--dir PATH:          another directory than the file's.
    --no-auth:           ask for no signatures.
    --tidy-up:           leave no caches of APT (there are none anyway).
    --dry-run:           print the merged settings and stop.
    --simulate:          the same.
 -?|-h|--help:           print this text and stop.
 --version:              the same.

jaula compat multistrap makes the tree with jaula's own engine: packages are
chosen as apt does, and configured in a jail.
";

/// Where the shortcuts are, the one that counts last.
const SHORTCUTS: [&str; 2] = ["/usr/share/multistrap", "/etc/multistrap.d"];

/// The devices of every tree.
const DEVICES: [(&str, (u32, u32)); 7] = [
    ("null", (1, 3)),
    ("zero", (1, 5)),
    ("full", (1, 7)),
    ("random", (1, 8)),
    ("urandom", (1, 9)),
    ("tty", (5, 0)),
    ("console", (5, 1)),
];

/// What was typed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    file: Option<String>,
    shortcut: Option<String>,
    arch: Option<String>,
    directory: Option<String>,
    source_dir: Option<PathBuf>,
    tidy: bool,
    no_auth: bool,
    simulate: bool,
    help: bool,
}

/// A sentence that was not said yet, and the exit code.
type Failed = (u8, String);

fn read(words: &[OsString]) -> Result<Asked, Failed> {
    let mut asked = Asked::default();
    let mut words = words.iter().map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        let mut value = |name: &str| {
            words
                .next()
                .ok_or_else(|| (DIED, format!("option {name} needs a value")))
        };
        match word.as_str() {
            "--" => break,
            "-?" | "-h" | "--help" | "--version" => asked.help = true,
            "-f" | "--file" => asked.file = Some(value(&word)?),
            "-s" | "--shortcut" => asked.shortcut = Some(value(&word)?),
            "-a" | "--arch" => asked.arch = Some(value(&word)?),
            "-d" | "--dir" => asked.directory = Some(value(&word)?),
            "--source-dir" => asked.source_dir = Some(value(&word)?.into()),
            "--tidy-up" => asked.tidy = true,
            "--no-auth" => asked.no_auth = true,
            "--dry-run" | "--simulate" => asked.simulate = true,
            word => return Err((DIED, format!("Unknown option {word}."))),
        }
    }
    Ok(asked)
}

fn run(words: &[OsString]) -> ExitCode {
    let done = read(words).and_then(|asked| match asked.help {
        true => {
            output::write_stderr(USAGE);
            Ok(0)
        }
        false => work(&asked),
    });
    match done {
        Ok(code) => ExitCode::from(code),
        Err((code, text)) => {
            say(NAME, text.trim_end(), 0);
            ExitCode::from(code)
        }
    }
}

/// The file that is meant.
fn file(asked: &Asked) -> Result<String, Failed> {
    let mut file = asked.file.clone();
    if let Some(name) = &asked.shortcut {
        for dir in SHORTCUTS {
            let path = Path::new(dir).join(format!("{name}.conf"));
            if path.is_file() {
                file = Some(path.display().to_string());
            }
        }
    }
    file.ok_or_else(|| {
        let text = format!("Need a configuration file - use {NAME} -f");
        (DIED, text)
    })
}

fn work(asked: &Asked) -> Result<u8, Failed> {
    let file = file(asked)?;
    let mut settings = settings::read(Path::new(&file)).map_err(|error| {
        let code = match &error {
            SettingsError::Unread { source, .. } => source
                .raw_os_error()
                .and_then(|errno| u8::try_from(errno).ok()),
            _ => None,
        };
        (code.unwrap_or(DIED), making::line(&error))
    })?;
    settings.arch = asked.arch.clone().or(settings.arch);
    settings.directory = asked.directory.clone().or(settings.directory);
    settings.cleanup |= asked.tidy;
    settings.no_auth |= asked.no_auth;
    let source_dir = asked.source_dir.clone().filter(|dir| dir.is_dir());
    settings.source_dir = source_dir.or(settings.source_dir);
    let own = own_arch();
    let using = format!("{NAME} {RELEASE} using {file}\n");
    let _said = show(&using);
    let contradiction = settings.omit_required && settings.add_important;
    if contradiction {
        let text = "\nError: Cannot set 'add Priority: important' when packages of 'Priority: required' are being omitted.\n";
        output::write_stderr(text);
    }
    if asked.simulate {
        let shown = simulate::show(&settings, &file, own);
        let _said = show(&shown.text);
        return Ok(match shown.wrong {
            Some(text) => {
                output::write_stderr(&text);
                1
            }
            None => 0,
        });
    }
    if contradiction {
        return Ok(CONTRADICTION);
    }
    let _said = show(&using);
    let arch = settings.arch.clone().unwrap_or_else(|| own.to_owned());
    let native = arch == own;
    let _said = show(&if native {
        format!("Defaulting architecture to native: {arch}\n")
    } else {
        format!("Using foreign architecture: {arch}\n")
    });
    let Some(directory) = settings.directory.clone() else {
        let shown = simulate::show(&settings, &file, own);
        let _said = show(&shown.text);
        output::write_stderr(shown.wrong.as_deref().unwrap_or_default());
        return Ok(INCOMPLETE);
    };
    let missing = settings.undefined();
    if let Some(name) = missing.first() {
        return Err((1, format!("ERR: The '{name}' section is not defined.")));
    }
    let _said = show(&format!("{NAME} building {arch} {NAME} on '{own}'\n"));
    settings.arch = Some(arch);
    make(
        &settings,
        Path::new(&directory),
        native && !settings.ignore_native,
    )
}

/// Debian's name of the architecture this program was built for.
fn own_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "i386",
        "aarch64" => "arm64",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// Tells what the engine tells, in the tool's way.
struct Voice;

impl Observer for Voice {
    fn event(&self, event: Event) {
        match event {
            Event::Note { text } => output::write_stderr(&format!("{text}\n")),
            Event::Output { line } => {
                let _said = show(&format!("{line}\n"));
            }
            _ => {}
        }
    }
}

fn make(settings: &Settings, directory: &Path, configures: bool) -> Result<u8, Failed> {
    let one = |text: String| (1, text);
    let directory = std::path::absolute(directory).map_err(|error| one(error.to_string()))?;
    let warnings = settings.warnings.clone();
    for name in &settings.reinstall {
        let text =
            format!("reinstall={name}: not needed, scripts run in the order of the packages\n");
        output::write_stderr(&text);
    }
    for warning in &warnings {
        output::write_stderr(&format!("{warning}\n"));
    }
    let engine = making::open(Need::ManyUsers).map_err(|error| match error {
        NotOpened::OnlyRoot(error) => one(making::line(&error)),
        NotOpened::Failed(text) => one(text),
    })?;
    let failed = |error: EngineError| one(making::lines(&error).join("\n"));
    let keyrings = match settings.no_auth {
        true => Keyrings::new(),
        false => keys::keyrings(&engine, settings)?,
    };
    let arch = settings.arch.clone().unwrap_or_default();
    let spec = translate::image(settings, &arch, configures, &keyrings).map_err(one)?;
    let plan = engine
        .plan_image(&spec, &Voice, Dry::MayCache)
        .map_err(failed)?;
    let _said = show("I: Calculating required packages.\n");
    let image = engine.image(&plan, &Voice).map_err(failed)?;
    let _said = show("I: Unpacking complete.\n");
    let devices = DEVICES.iter().map(|(name, node)| Extra {
        path: Path::new("dev").join(name),
        what: ExtraKind::Device { node: *node },
        replaces: true,
    });
    let target = MixTarget {
        path: directory.clone(),
        mixed: true,
        usable: making::is_root(),
        extras: devices.chain(left(settings)).collect(),
    };
    let mix = engine
        .plan_mix(Some(image.digest()), &target)
        .map_err(failed)?;
    engine.mix(&mix, &Voice).map_err(failed)?;
    let shown = directory.display();
    let count = warnings.len();
    match count {
        0 => {
            let _said = show(&format!(
                "\nMultistrap system installed successfully in {shown}/.\n"
            ));
        }
        1 => output::write_stderr(&format!(
            "\nMultistrap system reported 1 error in {shown}/.\n"
        )),
        _ => output::write_stderr(&format!(
            "\nMultistrap system reported {count} errors in {shown}/.\n"
        )),
    }
    if let Some(name) = &settings.tarball {
        let path = directory.parent().unwrap_or(Path::new("/")).join(name);
        let _said = show(&format!(
            "\nCompressing multistrap system in '{shown}/' to a tarball called: '{name}'.\n"
        ));
        let compression = Compression::of_name(name).unwrap_or(Compression::Gzip);
        engine
            .pack(&directory, &path, compression, &Voice)
            .map_err(failed)?;
        let _said = show(&format!("\nRemoving build directory: '{shown}/'\n"));
        engine.discard(&directory).map_err(failed)?;
        let _said = show(&format!(
            "\nMultistrap system packaged successfully as '{}'.\n",
            path.display()
        ));
    }
    let _said = show("\n");
    Ok(u8::try_from(count).unwrap_or(u8::MAX))
}

/// What the tree has besides its packages: the answers for debconf, for whoever configures it later, and what APT knows
/// of what it may remove.
fn left(settings: &Settings) -> Vec<Extra> {
    let mut left: Vec<Extra> = settings
        .seeds
        .iter()
        .filter_map(|from| {
            let name = from.file_name()?;
            let what = ExtraKind::Copy { from: from.clone() };
            Some((Path::new("tmp/preseeds").join(name), what))
        })
        .map(|(path, what)| Extra {
            path,
            what,
            replaces: true,
        })
        .collect();
    if !settings.mark_auto {
        let (mode, content) = (0o644, Vec::new());
        left.push(Extra {
            path: "var/lib/apt/extended_states".into(),
            what: ExtraKind::File { mode, content },
            replaces: true,
        });
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Result<Asked, Failed> {
        let words: Vec<OsString> = text.split_whitespace().map(Into::into).collect();
        read(&words)
    }

    #[test]
    fn options_as_they_are_typed() {
        let asked = typed("-a armhf --dir /d -f c.conf --no-auth --dry-run").unwrap();
        assert_eq!(asked.arch.as_deref(), Some("armhf"));
        assert_eq!(
            (asked.directory.as_deref(), asked.file.as_deref()),
            (Some("/d"), Some("c.conf"))
        );
        assert!(asked.no_auth && asked.simulate && !asked.tidy);
        assert_eq!(
            typed("--bogus"),
            Err((255, "Unknown option --bogus.".to_owned()))
        );
        assert!(typed("-f").is_err());
        let nothing = file(&typed("-s no-such-shortcut").unwrap()).unwrap_err();
        assert_eq!(nothing.0, 255);
    }
}
