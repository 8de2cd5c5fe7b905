//! All effects: probing the host, fetching, unpacking, configuring, storing, and running what a plan says.
//! Never prints, never reads arguments or the environment, never asks.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod cgroup;
pub mod check;
pub mod configure;
mod descendants;
pub mod detached;
pub mod devices;
pub mod dhcp;
pub mod diff;
pub mod direct;
mod disk;
pub mod dns;
pub mod emperor;
pub mod engine;
pub mod enter;
pub mod error;
pub mod event;
pub mod export;
pub mod fault;
pub mod fetch;
pub mod firewall;
pub mod gateway;
pub mod image;
pub mod import;
pub mod jail;
pub mod journal;
pub mod lab;
pub mod links;
pub mod minimal;
pub mod named;
pub mod namespaces;
pub mod net;
pub mod outcome;
pub mod pkg;
pub mod plan;
pub mod probe;
pub mod processes;
pub mod recipe;
pub mod recover;
pub mod remove;
pub mod run;
pub mod sbom;
pub mod service;
pub mod session;
pub mod spec;
pub mod store;
pub mod trace;
pub mod unpack;
pub mod view;
pub mod words;

/// Ends this process at once: nothing is freed, nothing that standard output still holds is written. For after a run,
/// whose own effects are over then.
pub use jaula_sys::process::leave;

pub use check::{Finding, Verdict};
pub use diff::Diff;
pub use engine::{Config, Dry, Engine};
pub use enter::EnterPlan;
pub use error::{EngineError, Kind};
pub use event::{Event, Observer, Phase, Silent};
pub use export::ExportTarget;
pub use image::{FinishPlan, FinishSpec, Finished};
pub use jail::JailError;
pub use outcome::{Gate, Io, Outcome, Reached, Status};
pub use plan::{ImagePlan, Preview, StepPlan};
pub use run::{Detach, ExecPlan, NewPlan, RunPlan};
pub use spec::{
    DetachSpec, ExecSpec, GuardSpec, ImageOptions, JailSettings, NewSpec, RunChanges, RunSpec,
};
pub use view::{Image, ImageInfo, Jail};
