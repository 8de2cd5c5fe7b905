//! cdebootstrap(1). Its rules for suites and flavours are the engine's variants here.

use super::Face;
use super::debootstrap::own_arch;
use super::getopt::{Opt, Order, Reader, Takes, both, long};
use super::making::{self, NotOpened};
use super::tool::{self, Stopped, Tool};
use crate::output::{clean, write_stderr, write_stdout};
use jaula_engine::export::{DEVICES, Extra, ExtraKind, MixTarget};
use jaula_engine::fetch::FetchError;
use jaula_engine::image::{BuildError, Mismatch, Way};
use jaula_engine::session::Need;
use jaula_engine::{Dry, Engine, EngineError, Event, ImagePlan, Observer, Phase};
use jaula_plan::rootfs::address::without_login;
use jaula_plan::rootfs::{Families, Relative};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec, Variant, Want};
use jaula_plan::spec::source::{SourceOptions, Trust};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The face.
pub const FACE: Face = Face {
    name: "cdebootstrap",
    of: "cdebootstrap 0.7",
    run,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Unauthenticated,
    Arch,
    ConfigDir,
    Debug,
    DownloadOnly,
    Exclude,
    Flavour,
    Foreign,
    Keyring,
    HelperDir,
    Include,
    Quiet,
    SuiteConfig,
    Verbose,
    Help,
    Version,
}

const TABLE: &[Opt<Key>] = &[
    long(
        "allow-unauthenticated",
        Takes::Nothing,
        Key::Unauthenticated,
    ),
    both(b'a', "arch", Takes::Required, Key::Arch),
    both(b'c', "configdir", Takes::Required, Key::ConfigDir),
    long("debug", Takes::Nothing, Key::Debug),
    both(b'd', "download-only", Takes::Nothing, Key::DownloadOnly),
    long("exclude", Takes::Required, Key::Exclude),
    both(b'f', "flavour", Takes::Required, Key::Flavour),
    long("foreign", Takes::Nothing, Key::Foreign),
    both(b'k', "keyring", Takes::Required, Key::Keyring),
    both(b'H', "helperdir", Takes::Required, Key::HelperDir),
    long("include", Takes::Required, Key::Include),
    both(b'q', "quiet", Takes::Nothing, Key::Quiet),
    long("suite-config", Takes::Required, Key::SuiteConfig),
    both(b'v', "verbose", Takes::Nothing, Key::Verbose),
    both(b'h', "help", Takes::Nothing, Key::Help),
    long("version", Takes::Nothing, Key::Version),
];

const HELP: &str = "\
Usage: cdebootstrap [OPTION]... [ORIGIN/]CODENAME TARGET [MIRROR]

Make a Debian base system in a directory.
      --allow-unauthenticated  do not look at signatures
  -a, --arch=ARCH              architecture of the packages
      --debug                  say everything
  -d, --download-only          fetch the packages into TARGET, and install nothing
      --exclude=A,B,C          do not install these
  -f, --flavour=FLAVOUR        minimal, build or standard (the default)
      --foreign                packages of an architecture that runs by emulation
  -k, --keyring=KEYRING        check signatures by these keys
      --include=A,B,C          also install these
  -q, --quiet                  say only what went wrong
  -v, --verbose                also say what packages' scripts say
  -h, --help                   print this and exit
      --version                print the version and exit

-c, -H and --suite-config are refused: the rules are the program's own.
";

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Loudness {
    Quiet,
    Normal,
    Verbose,
    Debug,
}

#[derive(Debug)]
struct Asked {
    unauthenticated: bool,
    arch: Option<String>,
    download_only: bool,
    exclude: Vec<String>,
    include: Vec<String>,
    flavour: String,
    keyring: Option<String>,
    loudness: Loudness,
    origin: Option<String>,
    suite: String,
    target: PathBuf,
    mirror: Option<String>,
}

/// Says how far it is, as the tool does.
#[derive(Debug)]
struct Voice {
    loudness: Loudness,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: String,
    fetched: BTreeSet<String>,
}

impl Voice {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere is no reason to stop speaking.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, line: &str) {
        let line = clean(line);
        let mut state = self.state();
        state.log.push_str(&line);
        state.log.push('\n');
        if self.loudness > Loudness::Quiet {
            // Who stops listening does not stop the work.
            drop(write_stdout(&format!("{line}\n")));
        }
    }

    fn progress(&self, text: &str) {
        self.line(&format!("P: {text}"));
    }

    fn debug(&self, text: &str) {
        if self.loudness >= Loudness::Debug {
            self.line(&format!("D: {text}"));
        }
    }

    /// What is not kept from those who want to hear nothing else.
    fn warning(&self, text: &str) {
        match self.loudness {
            Loudness::Quiet => write_stderr(&format!("W: {}\n", clean(text))),
            _ => self.line(&format!("W: {text}")),
        }
    }

    fn error(&self, text: &str) {
        write_stderr(&format!("E: {}\n", clean(text)));
    }
}

impl Observer for Voice {
    fn event(&self, event: Event) {
        match event {
            Event::Started {
                phase: Phase::Indices,
                ..
            } => self.progress("Retrieving InRelease"),
            Event::Verified { signers, .. } => {
                self.progress("Validating InRelease");
                for key in signers {
                    self.line(&format!("I: Good signature by key {key}"));
                }
                self.progress("Parsing Release");
            }
            Event::Finished {
                phase: Phase::Indices,
                ..
            } => {
                for did in ["Retrieving", "Validating", "Parsing"] {
                    self.progress(&format!("{did} Packages"));
                }
            }
            Event::Progress { phase, item, .. } if !item.is_empty() => match phase {
                Phase::Fetch if self.state().fetched.insert(item.clone()) => {
                    self.progress(&format!("Retrieving {item}"));
                    self.progress(&format!("Validating {item}"));
                }
                Phase::Unpack => self.progress(&format!("Extracting {item}")),
                _ => {}
            },
            Event::Output { line } => {
                if let Some(rest) = line.strip_prefix("Setting up ") {
                    let name = rest.split([' ', ':']).next().unwrap_or(rest);
                    self.progress(&format!("Configuring package {name}"));
                }
                if self.loudness >= Loudness::Verbose {
                    self.line(&line);
                } else {
                    let mut state = self.state();
                    state.log.push_str(&clean(&line));
                    state.log.push('\n');
                }
            }
            Event::Note { text } => self.warning(&text),
            Event::Started { .. }
            | Event::Finished { .. }
            | Event::Progress { .. }
            | Event::Made { .. } => {}
        }
    }
}

fn run(words: &[OsString]) -> ExitCode {
    let tool = Tool::new(FACE.name, 1);
    let asked = match read(&tool, words) {
        Ok(asked) => asked,
        Err(code) => return code,
    };
    let voice = Voice {
        loudness: asked.loudness,
        state: Mutex::default(),
    };
    match act(&asked, &voice) {
        Ok(()) => ExitCode::SUCCESS,
        Err(lines) => {
            for line in &lines {
                voice.error(line);
            }
            ExitCode::FAILURE
        }
    }
}

fn complain(tool: &Tool, text: &str) -> Stopped {
    let called = &tool.called;
    write_stderr(&format!(
        "{called}: {text}\nTry `{called} --help' for more information.\n"
    ));
    ExitCode::FAILURE
}

fn list(value: &str) -> impl Iterator<Item = String> {
    value
        .split([',', ' '])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
}

fn read(tool: &Tool, words: &[OsString]) -> Result<Asked, Stopped> {
    let mut asked = Asked {
        unauthenticated: false,
        arch: None,
        download_only: false,
        exclude: Vec::new(),
        include: Vec::new(),
        flavour: "standard".to_owned(),
        keyring: None,
        loudness: Loudness::Normal,
        origin: None,
        suite: String::new(),
        target: PathBuf::new(),
        mirror: None,
    };
    let mut reader = Reader::new(words, TABLE, Order::Anywhere);
    for met in &mut reader {
        let (key, argument) = met.map_err(|complaint| complain(tool, &complaint.to_string()))?;
        let value = argument.unwrap_or_default().to_string_lossy().into_owned();
        match key {
            Key::Unauthenticated => asked.unauthenticated = true,
            Key::Arch => asked.arch = Some(value),
            Key::DownloadOnly => asked.download_only = true,
            Key::Exclude => asked.exclude.extend(list(&value)),
            Key::Include => asked.include.extend(list(&value)),
            Key::Flavour => asked.flavour = value,
            // What can run here by emulation is found out by looking.
            Key::Foreign => {}
            Key::Keyring => asked.keyring = Some(value),
            Key::Quiet => asked.loudness = Loudness::Quiet,
            Key::Verbose => asked.loudness = Loudness::Verbose,
            Key::Debug => asked.loudness = Loudness::Debug,
            Key::ConfigDir | Key::HelperDir | Key::SuiteConfig => {
                return Err(complain(
                    tool,
                    "the rules for suites and flavours are the program's own",
                ));
            }
            Key::Help => return Err(tool::show(HELP)),
            Key::Version => {
                let jaula = env!("CARGO_PKG_VERSION");
                return Err(tool::show(&format!("cdebootstrap 0.7.8 (jaula {jaula})\n")));
            }
        }
    }
    let operands = reader.operands();
    let word = |at: usize| {
        operands
            .get(at)
            .map(|word| word.to_string_lossy().into_owned())
    };
    let suite = word(0).ok_or_else(|| complain(tool, "missing codename argument"))?;
    let target = operands
        .get(1)
        .ok_or_else(|| complain(tool, "missing target argument"))?;
    if operands.len() > 3 {
        return Err(complain(tool, "too much arguments"));
    }
    (asked.origin, asked.suite) = match suite.split_once('/') {
        Some((origin, suite)) => (Some(origin.to_owned()), suite.to_owned()),
        None => (None, suite),
    };
    asked.target = PathBuf::from(target);
    asked.mirror = word(2).map(|mirror| mirror.trim_end_matches('/').to_owned());
    Ok(asked)
}

type Lines = Vec<String>;

fn one(line: impl Into<String>) -> Lines {
    vec![line.into()]
}

fn parse<T: FromStr>(what: &str, word: &str) -> Result<T, Lines> {
    word.parse()
        .map_err(|_| one(format!("{what} {word:?} makes no sense")))
}

fn act(asked: &Asked, voice: &Voice) -> Result<(), Lines> {
    let engine = making::open(Need::ManyUsers).map_err(|error| match error {
        NotOpened::OnlyRoot(error) => {
            let mut lines =
                one("This program must be run as root, or as a user with subordinate identifiers");
            lines.extend(error.hints());
            lines
        }
        NotOpened::Failed(text) => one(text),
    })?;
    let spec = spec(asked)?;
    let sources = &spec.options.sources;
    let mirror = sources.mirror.as_deref().unwrap_or_default();
    voice.debug(&format!("Using mirror {}", without_login(mirror)));
    for keyring in &sources.keyrings {
        voice.debug(&format!("Using keyring {}", keyring.display()));
    }
    let failed = |error: EngineError| said(&error);
    let plan = engine
        .plan_image_by(&spec, Way::Whole, voice, Dry::MayCache)
        .map_err(failed)?;
    for package in &plan.lock().packages {
        let (name, role) = (&package.name, package.role.as_str());
        voice.debug(&format!("Using {name} {}: {role}", package.version));
    }
    let target = std::path::absolute(&asked.target).map_err(|error| one(making::reason(&error)))?;
    if asked.download_only {
        return download(&engine, &plan, &target, voice).map_err(failed);
    }
    let image = engine.image(&plan, voice).map_err(failed)?;
    let mixing = MixTarget {
        path: target,
        mixed: true,
        usable: making::is_root(),
        extras: extras(asked, &spec, voice),
    };
    let mix = engine
        .plan_mix(Some(image.digest()), &mixing)
        .map_err(failed)?;
    engine.mix(&mix, voice).map_err(failed)?;
    for what in ["apt sources.list", "hosts", "resolv.conf"] {
        voice.progress(&format!("Writing {what}"));
    }
    Ok(())
}

fn download(
    engine: &Engine,
    plan: &ImagePlan,
    target: &Path,
    voice: &Voice,
) -> Result<(), EngineError> {
    let _held = engine.fetch_packages(plan, voice)?;
    let archives = PathBuf::from("var/cache/bootstrap");
    let mixing = MixTarget {
        path: target.to_owned(),
        mixed: true,
        usable: false,
        extras: vec![Extra {
            path: archives.clone(),
            what: ExtraKind::Directory { mode: 0o755 },
            replaces: false,
        }],
    };
    engine.mix(&engine.plan_mix(None, &mixing)?, voice)?;
    engine.lay_packages(plan, target, Some(&archives))?;
    voice.line("I: Download-only mode, not installing anything");
    Ok(())
}

/// The family of the suite, or of the origin that was named before it.
fn relative(asked: &Asked) -> Result<Relative, Lines> {
    let families = Families::builtin().map_err(|error| one(error.to_string()))?;
    let like = asked
        .origin
        .as_ref()
        .and_then(|origin| families.script(&origin.to_lowercase()));
    if asked.origin.is_some() && like.is_none() && asked.mirror.is_none() {
        return Err(one("No mirror specified and no default available"));
    }
    // An unknown suite is Debian's, as far as anybody knows.
    families
        .relative(&asked.suite, like)
        .or_else(|| families.relative(&asked.suite, Some("sid")))
        .ok_or_else(|| one("there is no table of suites"))
}

fn spec(asked: &Asked) -> Result<ImageSpec, Lines> {
    let relative = relative(asked)?;
    let arch = asked.arch.clone().unwrap_or_else(|| own_arch().to_owned());
    let (variant, more): (_, &[&str]) = match asked.flavour.as_str() {
        "standard" => (Variant::Important, &[]),
        "minimal" => (Variant::Apt, &[]),
        "build" => (Variant::Apt, &["build-essential", "fakeroot"]),
        other => {
            return Err(one(format!(
                "Unknown flavour {other}: there are build, minimal and standard"
            )));
        }
    };
    let keyring = keyring(asked, &relative)?;
    let include = asked
        .include
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied());
    let mirror = asked
        .mirror
        .clone()
        .unwrap_or_else(|| relative.mirror(&arch).to_owned());
    let options = ImageOptions {
        arch: Some(parse("architecture", &arch)?),
        variant,
        include: include
            .map(|word| Ok(Want::any(parse("package", word)?)))
            .collect::<Result<_, Lines>>()?,
        spared: asked
            .exclude
            .iter()
            .map(|word| parse("package", word))
            .collect::<Result<_, Lines>>()?,
        merged_usr: Some(relative.merged_usr(false)),
        // What is only fetched need not run here.
        unpack_only: asked.download_only,
        sources: SourceOptions {
            mirror: Some(mirror),
            components: vec![parse("component", "main")?],
            keyrings: keyring.into_iter().collect(),
            trust: match asked.unauthenticated {
                true => Trust::Unsigned,
                false => Trust::Signed,
            },
            ..SourceOptions::default()
        },
        ..ImageOptions::default()
    };
    Ok(ImageSpec {
        distro: parse("distribution", &relative.name)?,
        suite: Some(parse("suite", &asked.suite)?),
        options,
    })
}

/// A keyring by its path, or by its name where keyrings are.
fn keyring(asked: &Asked, relative: &Relative) -> Result<Option<PathBuf>, Lines> {
    let name = match &asked.keyring {
        Some(name) => PathBuf::from(name),
        None => relative.keyring().to_owned(),
    };
    let places = [
        name.clone(),
        Path::new("/usr/share/keyrings").join(&name),
        Path::new("/usr/local/share/keyrings").join(&name),
    ];
    match places.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(Some(path)),
        None if asked.unauthenticated => Ok(None),
        None => Err(one(format!("Can't find keyring {}", name.display()))),
    }
}

fn extras(asked: &Asked, spec: &ImageSpec, voice: &Voice) -> Vec<Extra> {
    let mirror = spec.options.sources.mirror.clone().unwrap_or_default();
    let file = |path: &str, mode: u32, content: &str, replaces: bool| Extra {
        path: path.into(),
        what: ExtraKind::File {
            mode,
            content: content.as_bytes().to_vec(),
        },
        replaces,
    };
    let mut extras = vec![
        file(
            "etc/apt/sources.list",
            0o644,
            &format!("deb {mirror} {} main\n", asked.suite),
            true,
        ),
        file("etc/hosts", 0o644, "127.0.0.1 localhost\n", false),
        file("var/log/bootstrap.log", 0o600, &voice.state().log, true),
    ];
    if Path::new("/etc/resolv.conf").is_file() {
        extras.push(Extra {
            path: "etc/resolv.conf".into(),
            what: ExtraKind::Copy {
                from: "/etc/resolv.conf".into(),
            },
            replaces: true,
        });
    }
    if asked.flavour != "standard" {
        // Nothing is to be started in a system for building (invoke-rc.d(8)).
        let policy = "#!/bin/sh\n# No service is started here.\nexit 101\n";
        extras.push(file("usr/sbin/policy-rc.d", 0o755, policy, false));
    }
    // The tool makes all but the console's.
    extras.extend(
        DEVICES
            .iter()
            .filter(|(name, _)| *name != "console")
            .map(|(name, node)| Extra {
                path: format!("dev/{name}").into(),
                what: ExtraKind::Device { node: *node },
                replaces: false,
            }),
    );
    extras
}

/// An error in the tool's words, where it has some.
fn said(error: &EngineError) -> Lines {
    match error {
        EngineError::Build(BuildError::Mismatch {
            what: Mismatch::Absent { .. },
            ..
        }) => one("Couldn't download Release!"),
        EngineError::Build(BuildError::Mismatch {
            what: Mismatch::Arch { .. } | Mismatch::Component { .. },
            ..
        }) => {
            let mut lines = one("Couldn't download Packages!");
            lines.push(making::line(error));
            lines
        }
        EngineError::Build(BuildError::Signature { .. }) => {
            let mut lines = one(making::line(error));
            lines.push("Can't validate Release".to_owned());
            lines
        }
        EngineError::Build(BuildError::Fetch(
            FetchError::Altered { url, .. } | FetchError::NotFound { url },
        )) => one(format!(
            "Couldn't download {}!",
            url.rsplit('/').next().unwrap_or(url)
        )),
        other => making::lines(other),
    }
}
