//! The only reader of the environment, the working directory and the terminal. What it finds, with what was typed,
//! becomes the engine's configuration and specifications.

use crate::args::low::{Global, ProcessArgs};
use crate::args::nearest::nearest;
use crate::args::reference;
use crate::error::CommandError;
use crate::output::terminals;
use jaula_engine::fetch::Proxies;
use jaula_engine::{Config, ExecSpec, Io};
use jaula_plan::explain::Language;
use jaula_plan::rootfs::{Table, builtin_names};
use jaula_plan::spec::jail::{JailNet, Namespaces, Terminal, UserSpec};
use jaula_plan::spec::limits::Limits;
use jaula_plan::spec::rootfs::Reference;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The PATH of a jail's program: Debian's login.defs(5) ENV_SUPATH.
const JAIL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What surrounds the process, read once.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `JAULA_STORE`
    pub store: Option<PathBuf>,
    /// `XDG_DATA_HOME`, when absolute (XDG Base Directory Specification 0.8).
    pub data_home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`, when absolute.
    pub config_home: Option<PathBuf>,
    /// `HOME`, when absolute.
    pub home: Option<PathBuf>,
    /// Is `NO_COLOR` set and not empty, or `TERM` `dumb`?
    pub no_colour: bool,
    /// Are standard input, output and error all terminals?
    pub all_terminals: bool,
    /// Is standard output a terminal?
    pub stdout_terminal: bool,
    /// Is standard error a terminal?
    pub stderr_terminal: bool,
    /// `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`.
    pub proxies: Proxies,
    /// The language of messages: `LC_ALL`, `LC_MESSAGES` or `LANG` (locale(7)).
    pub language: Language,
    /// The working directory; none when it is gone.
    pub cwd: Option<PathBuf>,
    /// The absolute directories of `PATH`, in their order.
    pub path: Vec<PathBuf>,
}

impl Surroundings {
    /// Looks around.
    pub fn read() -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let absolute = |name: &str| {
            set(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let [stdin, stdout, stderr] = terminals();
        Self {
            store: set("JAULA_STORE").map(PathBuf::from),
            data_home: absolute("XDG_DATA_HOME"),
            config_home: absolute("XDG_CONFIG_HOME"),
            home: absolute("HOME"),
            no_colour: set("NO_COLOR").is_some() || set("TERM").is_some_and(|term| term == "dumb"),
            all_terminals: stdin && stdout && stderr,
            stdout_terminal: stdout,
            stderr_terminal: stderr,
            proxies: proxies(|name| env::var(name).ok()),
            language: ["LC_ALL", "LC_MESSAGES", "LANG"]
                .into_iter()
                .find_map(set)
                .map_or(Language::English, |name| {
                    Language::of_locale(&name.to_string_lossy())
                }),
            cwd: env::current_dir().ok(),
            path: set("PATH")
                .map(|path| {
                    env::split_paths(&path)
                        .filter(|dir| dir.is_absolute())
                        .collect()
                })
                .unwrap_or_default(),
        }
    }

    /// A path as typed, made absolute.
    ///
    /// # Errors
    /// When it is relative and the working directory is gone.
    pub fn absolute(&self, path: &Path) -> Result<PathBuf, CommandError> {
        if path.is_absolute() {
            return Ok(path.to_owned());
        }
        match &self.cwd {
            // Without `.` parts, so that messages and mounts name the path plainly.
            Some(cwd) => Ok(cwd.join(path).components().collect()),
            None => Err(
                CommandError::failed(format!("cannot find {}", path.display()))
                    .hint("the working directory is gone: write an absolute path"),
            ),
        }
    }

    /// Where everything is kept: `--store`, `JAULA_STORE`, `/var/lib/jaula` for root (FHS 3.0, 5.8), else
    /// `$XDG_DATA_HOME/jaula` or `~/.local/share/jaula`.
    ///
    /// # Errors
    /// When an ordinary user has no home.
    pub fn store(&self, global: &Global, root: bool) -> Result<PathBuf, CommandError> {
        if let Some(path) = global.store.as_ref().or(self.store.as_ref()) {
            if path.as_os_str().is_empty() {
                return Err(CommandError::usage("cannot use an empty path for --store"));
            }
            return self.absolute(path);
        }
        if root {
            return Ok(PathBuf::from("/var/lib/jaula"));
        }
        let data = self
            .data_home
            .clone()
            .or_else(|| Some(self.home.as_ref()?.join(".local/share")));
        data.map(|dir| dir.join("jaula")).ok_or_else(|| {
            CommandError::failed("cannot find a place for the store: HOME is not set")
                .hint("set HOME, or name a place with --store DIR")
        })
    }

    /// The files that may add to the table of distributions, the likeliest first: the user's, then the host's.
    pub fn distros(&self, root: bool) -> Option<PathBuf> {
        let users = self
            .config_home
            .clone()
            .or_else(|| Some(self.home.as_ref()?.join(".config")));
        let users = users
            .filter(|_| !root)
            .map(|dir| dir.join("jaula/distros.toml"));
        let host = PathBuf::from("/etc/jaula/distros.toml");
        users.into_iter().chain([host]).find(|file| file.is_file())
    }

    /// The engine's configuration.
    ///
    /// # Errors
    /// When no place for the store can be found.
    pub fn config(
        &self,
        global: &Global,
        root: bool,
        offline: bool,
    ) -> Result<Config, CommandError> {
        let mut config = Config::new(self.store(global, root)?);
        config.distros = self.distros(root);
        config.offline = offline;
        config.proxies = self.proxies.clone();
        Ok(config)
    }

    /// Where a jail's program reads and writes: a pseudo-terminal of its own when all three are a terminal.
    pub fn io(&self) -> Io<'static> {
        if self.all_terminals {
            Io::Pty
        } else {
            Io::Inherit
        }
    }

    /// A REF, with its path made absolute.
    ///
    /// # Errors
    /// When it is in none of the forms, or a file that may tell what it means cannot be read.
    pub fn reference(&self, text: &OsStr, root: bool) -> Result<Reference, CommandError> {
        let read = |known: &dyn Fn(&str) -> bool| {
            reference::parse(text, known).map_err(|error| {
                CommandError::usage(format!("cannot use {:?} as REF", text.to_string_lossy()))
                    .because(error)
                    .hint("a REF is DISTRO[:SUITE], a tag, a digest, a directory (with a slash) or a tar archive")
            })
        };
        let mut parsed = read(&|word| builtin_names().any(|name| name == word))?;
        // Only a name that is not in the table may be in a file that adds to it: few starts read one.
        if let (Reference::Tag(_), Some(file)) = (&parsed, self.distros(root)) {
            let table = more_distros(&file)?;
            parsed = read(&|word| table.distro(word).is_some())?;
        }
        Ok(match parsed {
            Reference::Directory(path) => Reference::Directory(self.absolute(&path)?),
            Reference::Archive(path) => Reference::Archive(self.absolute(&path)?),
            other => other,
        })
    }
}

/// The table of distributions with what a file adds.
fn more_distros(file: &Path) -> Result<Table, CommandError> {
    let attempt =
        || CommandError::failed(format!("cannot read {}", jaula_plan::explain::shown(file)));
    let text = std::fs::read_to_string(file).map_err(|error| attempt().because(error))?;
    let mut table = Table::builtin().map_err(|error| attempt().because(error))?;
    let added = table.extend(&text);
    added.map_err(|error| {
        attempt()
            .because(error)
            .hint("docs/cli.md tells the shape of the table")
    })?;
    Ok(table)
}

/// The proxies, each name in lower case before the same in upper case, as curl(1) reads them.
fn proxies(variable: impl Fn(&str) -> Option<String>) -> Proxies {
    let read = |name: &str| {
        let upper = || variable(&name.to_ascii_uppercase());
        variable(name)
            .or_else(upper)
            .filter(|value| !value.is_empty())
    };
    let all = || read("all_proxy");
    Proxies {
        http: read("http_proxy").or_else(all),
        https: read("https_proxy").or_else(all),
        no_proxy: read("no_proxy"),
    }
}

/// The environment of a jail's program, whole: the defaults (none with `--clean-env` but PATH), then what was typed;
/// a variable named without a value is the caller's, if he has it.
pub fn environment(args: &ProcessArgs, host_programs: bool) -> Vec<(OsString, OsString)> {
    compose(args, host_programs, |name| env::var_os(name))
}

/// The sockets that this process was started with (sd_listen_fds(3)): how many, from descriptor 3 on, and their names.
pub fn given_sockets() -> Option<(u32, Option<String>)> {
    let number = |name: &str| env::var(name).ok()?.parse::<u32>().ok();
    let own = number("LISTEN_PID")? == std::process::id();
    let count = number("LISTEN_FDS").filter(|count| own && (1..=64).contains(count))?;
    Some((count, env::var("LISTEN_FDNAMES").ok()))
}

/// The environment as it is: of a program that runs as if jaula were not there.
pub fn own_environment() -> Vec<(OsString, OsString)> {
    env::vars_os().collect()
}

/// The environment of a program in a jail of which nothing else is said.
pub fn jail_environment() -> Vec<(OsString, OsString)> {
    environment(&ProcessArgs::default(), false)
}

/// Whether the image's own language counts: nobody said another.
pub fn image_language(args: &ProcessArgs) -> bool {
    !args.clean_env && args.env.iter().all(|(name, _)| name != "LANG")
}

fn compose(
    args: &ProcessArgs,
    host_programs: bool,
    caller: impl Fn(&OsStr) -> Option<OsString>,
) -> Vec<(OsString, OsString)> {
    let mut composed: Vec<(OsString, OsString)> = vec![("PATH".into(), JAIL_PATH.into())];
    let mut set = |name: &OsStr, value: OsString| match composed
        .iter_mut()
        .find(|(known, _)| known == name)
    {
        Some(known) => known.1 = value,
        None => composed.push((name.to_owned(), value)),
    };
    if !args.clean_env {
        if args.user == UserSpec::Root {
            set(OsStr::new("HOME"), "/root".into());
            set(OsStr::new("USER"), "root".into());
            set(OsStr::new("LOGNAME"), "root".into());
        }
        // A small image has no locale but C; the host's programs have the host's.
        set(OsStr::new("LANG"), "C.UTF-8".into());
        let passed: &[&str] = if host_programs {
            &["TERM", "COLORTERM", "LANG", "LC_ALL"]
        } else {
            &["TERM", "COLORTERM"]
        };
        for name in passed {
            if let Some(value) = caller(OsStr::new(name)) {
                set(OsStr::new(name), value);
            }
        }
    }
    for (name, value) in &args.env {
        if let Some(value) = value.clone().or_else(|| caller(name)) {
            set(name, value);
        }
    }
    composed
}

/// The specification of a program to be run in a named jail.
pub fn exec_spec(args: &ProcessArgs, limits: Limits) -> ExecSpec {
    ExecSpec {
        limits,
        command: args.command.clone(),
        user: args.user.clone(),
        cwd: args.cwd.clone(),
        env: environment(args, false),
        image_language: image_language(args),
        terminal: Terminal::Auto,
        ..ExecSpec::default()
    }
}

/// The namespaces of a run: all but time, and the network's only when it is not the host's. (The user namespace goes
/// with `--ids host`.)
pub fn namespaces(net: &JailNet, user: bool) -> Namespaces {
    Namespaces {
        uts: true,
        ipc: true,
        pid: true,
        net: net.is_own(),
        user,
        cgroup: true,
        time: false,
    }
}

/// The distribution that a mistyped tag may have meant, with the suite kept.
pub fn meant_distro(reference: &Reference) -> Option<String> {
    let Reference::Tag(tag) = reference else {
        return None;
    };
    let (word, suite) = match tag.as_str().split_once(':') {
        Some((word, suite)) => (word, format!(":{suite}")),
        None => (tag.as_str(), String::new()),
    };
    Some(format!("{}{suite}", nearest(word, builtin_names())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Surroundings {
        Surroundings {
            home: Some("/srv/ana".into()),
            cwd: Some("/work".into()),
            ..Surroundings::default()
        }
    }

    #[test]
    fn the_store_is_found_in_order() {
        let mut around = around();
        let mut global = Global::default();
        let store = |around: &Surroundings, global: &Global, root| around.store(global, root).ok();
        assert_eq!(store(&around, &global, true), Some("/var/lib/jaula".into()));
        assert_eq!(
            store(&around, &global, false),
            Some("/srv/ana/.local/share/jaula".into())
        );
        around.data_home = Some("/data".into());
        assert_eq!(store(&around, &global, false), Some("/data/jaula".into()));
        around.store = Some("mine".into());
        assert_eq!(store(&around, &global, true), Some("/work/mine".into()));
        global.store = Some("/typed".into());
        assert_eq!(store(&around, &global, true), Some("/typed".into()));
        let nowhere = Surroundings::default();
        assert!(nowhere.store(&Global::default(), false).is_err());
    }

    #[test]
    fn the_environment_is_whole() {
        let caller = |name: &OsStr| match name.to_str() {
            Some("TERM") => Some("xterm".into()),
            Some("SECRET") => Some("s".into()),
            Some("LANG") => Some("es_AR.UTF-8".into()),
            _ => None,
        };
        let value = |env: &[(OsString, OsString)], name: &str| {
            env.iter()
                .find(|(known, _)| known == name)
                .and_then(|(_, value)| value.to_str().map(str::to_owned))
        };
        let mut args = ProcessArgs::default();
        let env = compose(&args, false, caller);
        assert_eq!(value(&env, "TERM").as_deref(), Some("xterm"));
        assert_eq!(value(&env, "LANG").as_deref(), Some("C.UTF-8"));
        assert_eq!(value(&env, "HOME").as_deref(), Some("/root"));
        assert_eq!(value(&env, "SECRET"), None);
        assert_eq!(
            value(&compose(&args, true, caller), "LANG").as_deref(),
            Some("es_AR.UTF-8")
        );
        args.clean_env = true;
        args.env = vec![
            ("SECRET".into(), None),
            ("ABSENT".into(), None),
            ("PATH".into(), Some("/x".into())),
        ];
        let env = compose(&args, false, caller);
        assert_eq!(
            env,
            [("PATH".into(), "/x".into()), ("SECRET".into(), "s".into())]
        );
    }

    #[test]
    fn a_file_adds_distributions() {
        let home = tempfile::tempdir().expect("a directory");
        let around = Surroundings {
            config_home: Some(home.path().to_owned()),
            ..around()
        };
        let file = home.path().join("jaula/distros.toml");
        std::fs::create_dir(home.path().join("jaula")).expect("a directory");
        let shape =
            "default-suite = \"x\"\ncomponents = []\nmirror = \"http://x\"\nkeyrings = []\n";
        std::fs::write(&file, format!("[ours]\n{shape}")).expect("a file");
        let read = |text: &str| around.reference(OsStr::new(text), false);
        assert!(matches!(read("ours:x"), Ok(Reference::Distro { .. })));
        assert!(matches!(read("debian"), Ok(Reference::Distro { .. })));
        assert!(matches!(read("other"), Ok(Reference::Tag(_))));
        std::fs::write(&file, "[ours").expect("a file");
        assert!(matches!(read("debian"), Ok(Reference::Distro { .. })));
        assert!(
            read("ours")
                .expect_err("a broken table")
                .to_string()
                .contains("distros.toml")
        );
    }

    #[test]
    fn proxies_in_either_case() {
        let variable = |name: &str| match name {
            "http_proxy" => Some("http://low".to_owned()),
            "HTTP_PROXY" => Some("http://HIGH".to_owned()),
            "ALL_PROXY" => Some("http://all".to_owned()),
            "no_proxy" => Some(String::new()),
            _ => None,
        };
        let read = proxies(variable);
        assert_eq!(read.http.as_deref(), Some("http://low"));
        assert_eq!(read.https.as_deref(), Some("http://all"));
        assert_eq!(read.no_proxy, None);
    }

    #[test]
    fn references_become_absolute() {
        let read = |text: &str| around().reference(OsStr::new(text), true).ok();
        assert_eq!(read("./x"), Some(Reference::Directory("/work/x".into())));
        assert_eq!(
            read("d.tar"),
            Some(Reference::Archive("/work/d.tar".into()))
        );
        assert!(around().reference(OsStr::new("a\nb"), true).is_err());
    }
}
