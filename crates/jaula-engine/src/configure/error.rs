use crate::error::{Kind, PathError};
use crate::jail::JailError;
use crate::outcome::Status;
use jaula_plan::jail::JailPlanError;

/// Why the packages could not be configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// The jail could not be planned.
    #[error("the packages' scripts cannot be run")]
    Plan(#[from] JailPlanError),
    /// The jail could not be started.
    #[error("the packages' scripts cannot be run")]
    Jail(#[from] JailError),
    /// The layer that they write into.
    #[error("the changes of the packages' scripts cannot be kept")]
    Layer(#[from] PathError),
    /// A preinst.
    #[error(
        "the preinst script of package {package} failed with status {code}{}",
        shown(tail)
    )]
    Preinst {
        /// The package.
        package: String,
        /// What it exited with.
        code: u8,
        /// The last lines it wrote.
        tail: Vec<String>,
    },
    /// dpkg, or a script that it ran.
    #[error("{}{}", what(package, script, status), shown(tail))]
    Configure {
        /// The package, if dpkg named one.
        package: String,
        /// What failed of it, as dpkg calls it.
        script: String,
        /// How dpkg ended.
        status: Status,
        /// The last lines that were written.
        tail: Vec<String>,
        /// What the package asks by debconf, and nobody answers while an image is made.
        questions: Vec<String>,
    },
    /// dpkg ended well, but not every package is installed.
    #[error("not installed after dpkg ended: {}", list(packages))]
    Unfinished {
        /// Packages and their state.
        packages: Vec<(String, String)>,
    },
}

fn what(package: &str, script: &str, status: &Status) -> String {
    let status = match status {
        Status::Exited(code) => format!("status {code}"),
        Status::Signalled(signal) => format!("signal {signal}"),
    };
    if package.is_empty() {
        format!("dpkg could not configure the packages ({status})")
    } else {
        format!("package {package} could not be configured ({script}, {status})")
    }
}

fn shown(tail: &[String]) -> String {
    tail.iter().map(|line| format!("\n  {line}")).collect()
}

fn list(packages: &[(String, String)]) -> String {
    packages
        .iter()
        .map(|(name, state)| format!("{name} ({state})"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn look(package: &str) -> String {
    format!("look at the lines above; --exclude {package} leaves it out if nothing needs it")
}

impl ConfigureError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Plan(_) | Self::Jail(_) => Kind::KernelRefused,
            Self::Layer(error) => error.kind(),
            _ => Kind::Internal,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Preinst { package, .. } if !package.is_empty() => vec![look(package)],
            Self::Configure {
                package, questions, ..
            } if !package.is_empty() => {
                let mut hints = vec![look(package)];
                if !questions.is_empty() {
                    hints.push(format!(
                        "it asks {} and nobody answers; --preseed FILE does",
                        questions.join(", ")
                    ));
                }
                hints
            }
            _ => Vec::new(),
        }
    }
}
