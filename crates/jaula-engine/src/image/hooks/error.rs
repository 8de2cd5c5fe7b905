use super::super::error::BuildError;
use crate::error::Kind;
use crate::outcome::Status;
use jaula_plan::spec::hook::HookStage;

/// Why a hook ended the making of an image.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// There is nothing to run it with yet.
    #[error("hook {name} cannot be run at stage setup: no program is in the tree then")]
    NoPrograms {
        /// Its name.
        name: String,
    },
    /// It failed.
    #[error("{stage} hook {name} failed with {}{}", words(status), shown(tail))]
    Failed {
        /// When.
        stage: HookStage,
        /// Its name.
        name: String,
        /// How it ended.
        status: Status,
        /// The last lines it wrote.
        tail: Vec<String>,
    },
    /// A program of the host that cannot be started.
    #[error("hook {program} cannot be started")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Files that cannot be copied.
    #[error("{stage} hook {name} failed")]
    Files {
        /// When.
        stage: HookStage,
        /// Its name.
        name: String,
        /// What is wrong.
        #[source]
        source: Box<BuildError>,
    },
}

fn words(status: &Status) -> String {
    match status {
        Status::Exited(code) => format!("status {code}"),
        Status::Signalled(signal) => format!("signal {signal}"),
    }
}

fn shown(tail: &[String]) -> String {
    tail.iter().map(|line| format!("\n  {line}")).collect()
}

impl HookError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Files { source, .. } => source.kind(),
            Self::NoPrograms { .. } | Self::Failed { .. } | Self::Start { .. } => Kind::User,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoPrograms { .. } => {
                "run it at stage extract or later; files can be copied in at stage setup"
            }
            Self::Failed {
                status: Status::Exited(127),
                ..
            } => "127 says that a program was not found: --include its package",
            Self::Failed { .. } => {
                "the lines above are the end of what it wrote; nothing of the image was kept"
            }
            Self::Start { .. } => "look at its name, and whether it may be executed",
            Self::Files { source, .. } => return source.hints(),
        };
        vec![hint.to_owned()]
    }
}
