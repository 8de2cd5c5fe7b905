//! What a run takes, and what making a named jail takes.

use crate::import::Archive;
use crate::minimal::MinimalPlan;
use crate::plan::{ImagePlan, Preview, StepPlan};
use crate::spec::ExecSpec;
use crate::view::Image;
use jaula_plan::explain::ExplainLine;
use jaula_plan::jail::JailPlan;
use jaula_plan::spec::jail::JailSpec;
use serde_json::{Value, json};
use std::fmt;

/// Where a root file system comes from.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one of them exists at a time")]
pub(crate) enum Source {
    /// It is there: the host's programs, or a directory.
    There,
    /// An image of the store.
    Ready(Image),
    /// An archive that the store does not have yet.
    Import(Archive, StepPlan),
    /// An image to be made.
    Build(ImagePlan),
    /// An image of files of the host.
    Minimal(MinimalPlan),
}

impl Source {
    fn preview(&self) -> Option<&dyn Preview> {
        match self {
            Self::There | Self::Ready(_) => None,
            Self::Import(_, steps) => Some(steps),
            Self::Build(plan) => Some(plan),
            Self::Minimal(plan) => Some(plan),
        }
    }
}

/// What a run takes: an image when it is missing, and a jail.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPlan {
    pub(crate) source: Source,
    /// The jail as asked, its root as far as it is known.
    pub(crate) spec: JailSpec,
    /// The jail; planned again when the image is there. None while nothing can be said without it (a user looked up
    /// in an image that does not exist yet).
    pub(crate) jail: Option<JailPlan>,
    /// Whether it goes on in the background, and how.
    pub(crate) detach: Option<Detach>,
}

/// A run that goes on in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detach {
    /// Its name.
    pub name: jaula_plan::names::JailName,
    /// Whether what it writes is kept.
    pub logged: bool,
}

impl RunPlan {
    /// How it goes on in the background, if it does.
    pub fn detach(&self) -> Option<&Detach> {
        self.detach.as_ref()
    }

    /// Whether everything it needs is there: no network, nothing to make.
    pub fn is_ready(&self) -> bool {
        self.source.preview().is_none()
    }

    /// The jail's plan, when it can be told already.
    pub fn jail(&self) -> Option<&JailPlan> {
        self.jail.as_ref()
    }
}

impl fmt::Display for RunPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(made) = self.source.preview() {
            writeln!(f, "{made}")?;
        }
        match &self.jail {
            Some(jail) => jail.fmt(f)?,
            None => writeln!(f, "then run in a jail on it")?,
        }
        match &self.detach {
            Some(detach) if detach.logged => {
                writeln!(
                    f,
                    "go on in the background as {}, its output to a log",
                    detach.name
                )
            }
            Some(detach) => writeln!(f, "go on in the background as {}", detach.name),
            None => Ok(()),
        }
    }
}

impl Preview for RunPlan {
    fn to_json(&self) -> Value {
        json!({
            "version": 1,
            "image": self.source.preview().map(Preview::to_json),
            "jail": self.jail.as_ref().map(JailPlan::to_json),
            "detached": self.detach.as_ref().map(|detach| detach.name.to_string()),
        })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        let mut lines = self
            .source
            .preview()
            .map(Preview::explain)
            .unwrap_or_default();
        lines.extend(self.jail.iter().flat_map(jaula_plan::jail::explain));
        lines
    }
}

/// What making a named jail takes: an image when it is missing, and the jail's own directory.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPlan {
    pub(crate) source: Source,
    pub(crate) record: crate::named::Record,
    pub(crate) steps: StepPlan,
}

impl fmt::Display for NewPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(made) = self.source.preview() {
            writeln!(f, "{made}")?;
        }
        self.steps.fmt(f)
    }
}

impl Preview for NewPlan {
    fn to_json(&self) -> Value {
        let image = self.source.preview().map(Preview::to_json);
        json!({ "version": 1, "image": image, "jail": self.steps.to_json() })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        let mut lines = self
            .source
            .preview()
            .map(Preview::explain)
            .unwrap_or_default();
        lines.extend(self.steps.explain());
        lines
    }
}

/// What running a program in a named jail takes.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecPlan {
    pub(crate) record: crate::named::Record,
    pub(crate) exec: ExecSpec,
    /// The whole jail with this program, as its first session plans it.
    pub(crate) jail: JailPlan,
    /// The first process of the jail, when it runs.
    pub(crate) joins: Option<u32>,
}

impl ExecPlan {
    /// Whether the jail runs already, so that its program joins it.
    pub fn joins(&self) -> bool {
        self.joins.is_some()
    }
}

impl fmt::Display for ExecPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.joins {
            Some(pid) => writeln!(
                f,
                "join jail {} (pid {pid}), as it was set up:",
                self.record.name
            )?,
            None => writeln!(f, "start jail {}:", self.record.name)?,
        }
        self.jail.fmt(f)
    }
}

impl Preview for ExecPlan {
    fn to_json(&self) -> Value {
        json!({ "version": 1, "name": self.record.name, "joins": self.joins, "jail": self.jail.to_json() })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        match self.joins {
            Some(pid) => {
                let command: Vec<String> = self
                    .exec
                    .command
                    .iter()
                    .map(jaula_plan::explain::word)
                    .collect();
                let command = format!(
                    "nsenter --target {pid} --all --root --wd -- {}",
                    command.join(" ")
                );
                vec![ExplainLine::new(
                    command,
                    "join the running jail; jaula also takes its rights away as in a new one",
                )]
            }
            None => jaula_plan::jail::explain(&self.jail),
        }
    }
}
