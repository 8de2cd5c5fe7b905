//! Running the packages' own scripts, in a jail: the preinsts in unpack order, then `dpkg --configure` of everything.
//! No shell text is ever made from a package's name: the driver is one constant script, and names are its arguments.

mod error;
#[cfg(test)]
mod tests;

pub use error::ConfigureError;

use crate::event::{Event, Observer};
use crate::outcome::{Io, Status};
use crate::{jail, probe};
use jaula_plan::jail::plan_jail;
use jaula_plan::spec::jail::{
    Changes, IdSpec, JailNet, JailSpec, Namespaces, Propagation, RootSpec, SeccompSpec, Terminal,
    UserSpec,
};
use jaula_plan::spec::limits::Limits;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::Path;

/// Runs the scripts. Arguments: how many preinsts; of each the package, its architecture and its name in `info/`;
/// then `configure` or `no`. The environment of a preinst is that of deb-preinst(5) and dpkg(1); debconf finds the package
/// by `DEBCONF_PACKAGE`, since there is no `tmp.ci` directory of dpkg's.
const DRIVER: &str = r#"
count=$1
shift
while [ "$count" -gt 0 ]; do
    DPKG_MAINTSCRIPT_PACKAGE=$1 DPKG_MAINTSCRIPT_ARCH=$2 DPKG_MAINTSCRIPT_NAME=preinst \
    DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= DEBCONF_PACKAGE=$1 \
        "/var/lib/dpkg/info/$3.preinst" install
    status=$?
    if [ "$status" -ne 0 ]; then
        printf '\njaula: preinst of %s: %s\n' "$1" "$status"
        exit 99
    fi
    shift 3
    count=$((count - 1))
done
if [ "$1" = configure ]; then
    exec dpkg --configure --pending
fi
"#;

/// What the driver exits with when a preinst failed.
const PREINST_FAILED: u8 = 99;
/// Lines of output that an error shows.
const TAIL: usize = 12;
/// Longest line kept.
const LINE: usize = 2000;

/// A directory of the tree that is first in the scripts' `PATH`: whoever prepares the tree may put programs there that
/// stand before others. `/run` is empty in every image.
pub const SHORTCUTS_DIR: &str = "run/jaula-shortcuts";

/// A preinst to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preinst {
    /// The package.
    pub package: String,
    /// Its architecture.
    pub arch: String,
    /// As its files in `info/` are called.
    pub info_name: String,
}

/// Something that runs a command in the tree: a jail, or what a test has instead.
pub type Runner<'a> =
    &'a mut dyn FnMut(JailSpec, &mut dyn FnMut(&[u8])) -> Result<Status, ConfigureError>;

/// The jail that scripts run in: everything private, no network, no sync, root of the tree.
fn spec(root: &Path, epoch: u64, command: Vec<OsString>) -> JailSpec {
    let env = [
        (
            "PATH",
            "/run/jaula-shortcuts:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", "/root"),
        ("SHELL", "/bin/sh"),
        ("TERM", "dumb"),
        // As debootstrap has it. C.UTF-8 sorts alike, but every program that starts reads a dozen files for it.
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("DEBCONF_NOWARNINGS", "yes"),
    ];
    let mut env: Vec<(OsString, OsString)> = env
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    env.push(("SOURCE_DATE_EPOCH".into(), epoch.to_string().into()));
    JailSpec {
        root: RootSpec::Tree {
            dir: root.to_owned(),
            changes: Changes::Direct,
        },
        arch: None,
        namespaces: Namespaces {
            uts: true,
            ipc: true,
            pid: true,
            net: true,
            user: true,
            cgroup: true,
            time: false,
        },
        ids: IdSpec::Private,
        user: UserSpec::Root,
        own_names: false,
        hostname: "localhost".parse().ok(),
        net: JailNet::None,
        lessee: None,
        mounts: Vec::new(),
        propagation: Propagation::Private,
        clocks: None,
        cwd: Some("/".into()),
        env,
        seccomp: SeccompSpec::DefaultNoSync,
        cap_add: Vec::new(),
        cap_drop: Vec::new(),
        no_new_privs: true,
        landlock: Vec::new(),
        devices: Vec::new(),
        keep_fds: Vec::new(),
        die_with_parent: true,
        as_pid_1: false,
        best_effort: false,
        limits: Limits::default(),
        terminal: Terminal::Captured,
        command,
    }
}

/// The runner of real builds.
///
/// # Errors
/// [`ConfigureError::Plan`], [`ConfigureError::Jail`].
pub fn in_jail(spec: JailSpec, hear: &mut dyn FnMut(&[u8])) -> Result<Status, ConfigureError> {
    let plan = plan_jail(&spec, &probe::host(&spec))?;
    Ok(jail::run(&plan, Io::Captured(hear))?.status)
}

/// Runs one program on the tree, as packages' scripts are run, and with the host's network if it is said. How it ended,
/// and the last lines it wrote, which went to the observer too.
///
/// # Errors
/// [`ConfigureError::Plan`], [`ConfigureError::Jail`].
pub fn program(
    root: &Path,
    command: Vec<OsString>,
    env: &[(&str, &str)],
    network: bool,
    epoch: u64,
    runner: Runner<'_>,
    observer: &dyn Observer,
) -> Result<(Status, Vec<String>), ConfigureError> {
    let mut spec = spec(root, epoch, command);
    spec.env
        .extend(env.iter().map(|(name, value)| (name.into(), value.into())));
    if network {
        spec.net = JailNet::Host;
        spec.namespaces.net = false;
    }
    let mut log = Log::new(observer);
    let status = runner(spec, &mut |bytes| log.hear(bytes))?;
    log.end();
    Ok((status, log.tail()))
}

/// Runs preinsts, and then, if `configure`, dpkg.
///
/// # Errors
/// [`ConfigureError`]; the output so far went to the observer line by line.
pub fn run(
    root: &Path,
    preinsts: &[Preinst],
    configure: bool,
    epoch: u64,
    runner: Runner<'_>,
    observer: &dyn Observer,
) -> Result<(), ConfigureError> {
    if preinsts.is_empty() && !configure {
        return Ok(());
    }
    let mut command: Vec<OsString> = ["/bin/sh", "-c", DRIVER, "jaula"]
        .iter()
        .map(Into::into)
        .collect();
    command.push(preinsts.len().to_string().into());
    for preinst in preinsts {
        command.extend([&preinst.package, &preinst.arch, &preinst.info_name].map(Into::into));
    }
    command.push(if configure { "configure" } else { "no" }.into());
    let mut log = Log::new(observer);
    let status = runner(spec(root, epoch, command), &mut |bytes| log.hear(bytes))?;
    log.end();
    match status {
        Status::Exited(0) => Ok(()),
        Status::Exited(PREINST_FAILED) => {
            let (package, code) = log.preinst().unwrap_or_default();
            Err(ConfigureError::Preinst {
                package,
                code,
                tail: log.tail(),
            })
        }
        status => {
            let (package, script) = log.failed().unwrap_or_default();
            Err(ConfigureError::Configure {
                package,
                script,
                status,
                tail: log.tail_of_failure(),
                questions: Vec::new(),
            })
        }
    }
}

/// Takes output apart into lines, tells them, and keeps the last.
pub(crate) struct Log<'a> {
    observer: &'a dyn Observer,
    open: Vec<u8>,
    last: VecDeque<String>,
    /// What dpkg said of the first package that failed.
    failed: Option<(String, String)>,
    /// The last lines when it did, and the one after: dpkg goes on with other packages.
    when_failed: Vec<String>,
    /// Whether that line has come.
    whole: bool,
}

impl<'a> Log<'a> {
    pub(crate) fn new(observer: &'a dyn Observer) -> Self {
        Self {
            observer,
            open: Vec::new(),
            last: VecDeque::new(),
            failed: None,
            when_failed: Vec::new(),
            whole: false,
        }
    }

    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.line(),
                _ if self.open.len() < LINE => self.open.push(*byte),
                _ => {}
            }
        }
    }

    fn line(&mut self) {
        let text = String::from_utf8_lossy(&self.open);
        // A script may write to a terminal what it likes; this is not one.
        let line: String = text
            .chars()
            .map(|c| if c == '\t' { ' ' } else { c })
            .filter(|c| !c.is_control())
            .collect();
        self.open.clear();
        let named = line
            .strip_prefix("dpkg: error processing package ")
            .and_then(|rest| rest.split_once(' '));
        if let Some((package, rest)) = named
            && self.failed.is_none()
        {
            let script = rest
                .trim_start_matches('(')
                .split(')')
                .next()
                .unwrap_or_default();
            self.failed = Some((package.to_owned(), script.to_owned()));
        }
        if self.last.len() >= TAIL {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        if self.failed.is_some() && !self.whole {
            self.whole = named.is_none();
            self.when_failed = self.tail();
        }
        self.observer.event(Event::Output { line });
    }

    pub(crate) fn end(&mut self) {
        if !self.open.is_empty() {
            self.line();
        }
    }

    /// What the driver said last.
    fn preinst(&self) -> Option<(String, u8)> {
        let (package, code) = self
            .last
            .back()?
            .strip_prefix("jaula: preinst of ")?
            .rsplit_once(": ")?;
        Some((package.to_owned(), code.parse().ok()?))
    }

    pub(crate) fn failed(&self) -> Option<(String, String)> {
        self.failed.clone()
    }

    /// The end of what was written when the first package failed; the end of all where none did.
    pub(crate) fn tail_of_failure(&self) -> Vec<String> {
        match self.failed {
            Some(_) => self.when_failed.clone(),
            None => self.tail(),
        }
    }

    pub(crate) fn tail(&self) -> Vec<String> {
        let said = |line: &&String| !line.is_empty() && !line.starts_with("jaula: preinst of ");
        self.last.iter().filter(said).cloned().collect()
    }
}
