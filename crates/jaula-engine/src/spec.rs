//! What the faces ask of the engine.

use jaula_plan::landlock::LandlockRule;
use jaula_plan::names::{HostName, JailName};
use jaula_plan::spec::jail::{IdSpec, JailNet, JailSpec, SeccompSpec, Terminal, UserSpec};
use jaula_plan::spec::limits::Limits;
use jaula_plan::spec::rootfs::Reference;
use std::ffi::OsString;
use std::path::PathBuf;

pub use jaula_plan::spec::rootfs::ImageOptions;

/// What becomes of what a run writes in its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunChanges {
    /// Gone with the run.
    #[default]
    Ephemeral,
    /// Refused: the root is read-only.
    ReadOnly,
    /// Written into the directory itself; only for [`Reference::Directory`].
    Direct,
}

/// A run: an image, made when it is missing, and a jail on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSpec {
    /// What the root is; the host's own programs when absent.
    pub reference: Option<Reference>,
    /// How a missing image is made.
    pub image: ImageOptions,
    /// What becomes of what is written.
    pub changes: RunChanges,
    /// The jail; its `root` is replaced by what `reference` names.
    pub jail: JailSpec,
    /// Whether `LANG` is what the image says, where it says anything, instead of what is in the environment.
    pub image_language: bool,
    /// Whether it goes on in the background.
    pub detach: Option<DetachSpec>,
}

/// A run that is to go on in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachSpec {
    /// Its name; one is made up when absent.
    pub name: Option<JailName>,
    /// Whether what it writes is kept.
    pub logged: bool,
}

/// A named jail to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSpec {
    /// Its name.
    pub name: JailName,
    /// What it starts from; the default distribution of the table is the face's affair.
    pub from: Reference,
    /// How a missing image is made.
    pub image: ImageOptions,
    /// What lasts of its settings.
    pub settings: JailSettings,
}

/// The lasting settings of a named jail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JailSettings {
    /// Host name; the jail's name when absent.
    pub hostname: Option<HostName>,
    /// Network.
    pub net: JailNet,
    /// Identifiers outside.
    pub ids: IdSpec,
    /// What it may use at most.
    pub limits: Limits,
}

/// A program to be run in a named jail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecSpec {
    /// Program and arguments; the user's shell when empty.
    pub command: Vec<OsString>,
    /// As whom.
    pub user: UserSpec,
    /// Working directory inside; the user's home or `/` when absent.
    pub cwd: Option<PathBuf>,
    /// Environment, whole.
    pub env: Vec<(OsString, OsString)>,
    /// Whether `LANG` is what the jail's image says, where it says anything, instead of what is in the environment.
    pub image_language: bool,
    /// Terminal.
    pub terminal: Terminal,
    /// What it may use at most, besides the limits of the jail.
    pub limits: Limits,
    /// What is taken from it, and left to it, other than the jail's other programs.
    pub guards: GuardSpec,
}

/// The protections of one program: the defaults of every jail, unless something is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardSpec {
    /// Capabilities kept beyond the default set.
    pub cap_add: Vec<String>,
    /// Capabilities taken from the default set.
    pub cap_drop: Vec<String>,
    /// prctl(2) PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// System calls.
    pub seccomp: SeccompSpec,
    /// What may be touched of what is seen.
    pub landlock: Vec<LandlockRule>,
    /// Descriptors that it keeps.
    pub keep_fds: Vec<u32>,
    /// Leave out what this kernel cannot hold.
    pub best_effort: bool,
}

impl Default for GuardSpec {
    fn default() -> Self {
        Self {
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            no_new_privs: true,
            seccomp: SeccompSpec::Default,
            landlock: Vec::new(),
            keep_fds: Vec::new(),
            best_effort: false,
        }
    }
}

impl GuardSpec {
    /// Puts them into a jail's specification.
    pub fn apply(&self, jail: &mut JailSpec) {
        jail.cap_add.clone_from(&self.cap_add);
        jail.cap_drop.clone_from(&self.cap_drop);
        jail.no_new_privs = self.no_new_privs;
        jail.seccomp.clone_from(&self.seccomp);
        jail.landlock.clone_from(&self.landlock);
        jail.keep_fds.clone_from(&self.keep_fds);
        jail.best_effort = self.best_effort;
    }
}
