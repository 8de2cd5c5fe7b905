//! The verbs of simulated networks.

use super::Engine;
use crate::error::{At, EngineError};
use crate::event::{Event, Observer};
use crate::lab::{self, Answer, Bounds, Captured, LabEntry, NodeProgram};
use crate::outcome::Io;
use crate::spec::ExecSpec;
use jaula_plan::lab::ospf::{ARGUMENTS, PROGRAMS, settings};
use jaula_plan::lab::{LabPlan, plan_lab};
use jaula_plan::names::JailName;
use jaula_plan::spec::jail::{Changes, RootSpec, Terminal, UserSpec};
use jaula_plan::spec::lab::{MAX_BYTES, NodeRoot, parse};
use jaula_plan::spec::rootfs::Reference;
use std::io::Read;
use std::path::Path;

impl Engine {
    /// What a lab takes, from its file.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn plan_lab(&self, file: &Path, name: Option<JailName>) -> Result<LabPlan, EngineError> {
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(file).at("open", file)?;
        // One byte more than is allowed: the parser says so.
        let limit = u64::try_from(MAX_BYTES)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        opened
            .take(limit)
            .read_to_end(&mut bytes)
            .at("read", file)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData))
            .at("read as text", file)?;
        let mut spec = parse(file, &text).map_err(lab::LabRunError::from)?;
        if let Some(name) = name {
            spec.name = name;
        }
        for node in &mut spec.nodes {
            // It is opened later, by processes that are elsewhere.
            if let NodeRoot::Directory(path) = &mut node.root {
                let absolute = std::path::absolute(&*path).at("find", &*path)?;
                *path = absolute;
            }
        }
        let facts = lab::facts(&spec);
        Ok(plan_lab(&spec, &facts).map_err(lab::LabRunError::from)?)
    }

    /// Starts a lab and what its nodes run.
    ///
    /// # Errors
    /// When one of its name runs, its networks cannot be made, or a node's files are not there. Then nothing is left.
    pub fn lab_up(&self, plan: &LabPlan, observer: &dyn Observer) -> Result<LabEntry, EngineError> {
        let mut programs = Vec::new();
        for (at, node) in plan.nodes.iter().enumerate() {
            let root = self.node_root(&node.root)?;
            if !node.run.is_empty() {
                programs.push((
                    at,
                    NodeProgram {
                        root,
                        user: UserSpec::Root,
                        cwd: Some("/".into()),
                        env: ExecSpec::default().env,
                        terminal: Terminal::Inherit,
                        command: node.run.iter().map(Into::into).collect(),
                        told: None,
                    },
                ));
            }
            if node.ospf {
                let program = match &node.root {
                    NodeRoot::Host => PROGRAMS.into_iter().find(|path| Path::new(path).exists()),
                    _ => Some("bird"),
                };
                let program = program.ok_or_else(|| lab::LabRunError::NoDaemon {
                    node: node.name.clone(),
                })?;
                let words = std::iter::once(program).chain(ARGUMENTS);
                programs.push((
                    at,
                    NodeProgram {
                        root: self.node_root(&node.root)?,
                        user: UserSpec::Root,
                        cwd: Some("/".into()),
                        env: ExecSpec::default().env,
                        terminal: Terminal::Inherit,
                        command: words.map(Into::into).collect(),
                        told: Some(settings(node, at)),
                    },
                ));
            }
        }
        for text in &plan.notes {
            let text = text.clone();
            observer.event(Event::Note { text });
        }
        let mut prepare = || self.config.prepare.map_or(Ok(()), |prepare| prepare());
        let entry = lab::up(&self.store, plan, &mut prepare)?;
        for (node, program) in programs {
            if let Err(error) = lab::start_in(&self.store, &entry, node, &program) {
                // All or nothing.
                lab::down(&self.store, &entry)?;
                return Err(error.into());
            }
        }
        Ok(entry)
    }

    /// The labs that run.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn labs(&self) -> Result<Vec<LabEntry>, EngineError> {
        Ok(lab::running(&self.store)?)
    }

    /// A lab that runs; without a name the only one there is.
    ///
    /// # Errors
    /// When there is none, or there are several.
    pub fn lab(&self, name: Option<&JailName>) -> Result<LabEntry, EngineError> {
        let Some(name) = name else {
            let mut all = lab::running(&self.store)?;
            return match (all.pop(), all.is_empty()) {
                (Some(only), true) => Ok(only),
                (None, _) => Err(lab::LabRunError::NoneRuns.into()),
                (Some(last), false) => {
                    let all = all.iter().chain([&last]);
                    let names = all.map(|lab| lab.plan.name.to_string()).collect();
                    Err(lab::LabRunError::Several { names }.into())
                }
            };
        };
        let entry = lab::entry(&self.store, name)?;
        if !entry.alive() {
            let name = name.clone();
            return Err(lab::LabRunError::Ended { name }.into());
        }
        Ok(entry)
    }

    /// Ends a lab with all that runs in it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn lab_down(&self, entry: &LabEntry) -> Result<(), EngineError> {
        Ok(lab::down(&self.store, entry)?)
    }

    /// Runs a program in a node and waits for it; its exit code. This process is in the lab from then on.
    ///
    /// # Errors
    /// When there is no such node, or the program cannot be started.
    pub fn lab_run(
        &self,
        entry: &LabEntry,
        node: &str,
        spec: &ExecSpec,
        io: Io<'_>,
    ) -> Result<u8, EngineError> {
        let at = entry.node(node)?;
        let root = match entry.plan.nodes.get(at) {
            Some(node) => self.node_root(&node.root)?,
            None => RootSpec::HostPrograms,
        };
        let program = NodeProgram {
            root,
            user: spec.user.clone(),
            cwd: spec.cwd.clone(),
            env: spec.env.clone(),
            terminal: spec.terminal,
            command: spec.command.clone(),
            told: None,
        };
        Ok(lab::run_in(&self.store, entry, at, &program, io)?)
    }

    /// Writes what passes a node. This process is in the lab from then on.
    ///
    /// # Errors
    /// When there is no such node or interface, or the file cannot be written.
    pub fn lab_capture(
        &self,
        entry: &LabEntry,
        node: &str,
        interface: Option<&str>,
        file: &Path,
        bounds: Bounds,
        ready: &mut dyn FnMut(),
    ) -> Result<Captured, EngineError> {
        let at = entry.node(node)?;
        Ok(lab::capture(entry, at, interface, file, bounds, ready)?)
    }

    /// Tries who reaches whom. This process is in the lab from then on.
    ///
    /// # Errors
    /// When the lab has ended.
    pub fn lab_check(&self, entry: &LabEntry) -> Result<Vec<Answer>, EngineError> {
        Ok(lab::check(entry)?)
    }

    /// The files of a node: an image must be there.
    fn node_root(&self, root: &NodeRoot) -> Result<RootSpec, EngineError> {
        let dir = match root {
            NodeRoot::Host => return Ok(RootSpec::HostPrograms),
            NodeRoot::Directory(dir) => std::path::absolute(dir).at("find", dir)?,
            NodeRoot::Image(words) => {
                let digest = words
                    .strip_prefix("sha256:")
                    .and_then(|hex| hex.parse().ok());
                let reference = match (digest, words.parse()) {
                    (Some(digest), _) => Reference::Digest(digest),
                    (None, Ok(tag)) => Reference::Tag(tag),
                    (None, Err(_)) => {
                        return Err(EngineError::BadReference {
                            reference: words.clone(),
                            why: "it is neither a tag nor a digest of an image",
                        });
                    }
                };
                self.known(&reference)?.root().to_owned()
            }
        };
        std::fs::read_dir(&dir).at("use as a node's files", &dir)?;
        let changes = Changes::Ephemeral;
        Ok(RootSpec::Tree { dir, changes })
    }
}
