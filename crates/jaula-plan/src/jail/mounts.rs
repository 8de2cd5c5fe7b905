//! What is mounted besides the root, checked.

use super::{JailPlanError, MASKED, READ_ONLY, absolute, inside};
use crate::disk::{DiskPlanError, MAX_IMAGES, plan_disk};
use crate::facts::host::HostFacts;
use crate::setup_op::{BindKind, IdPlan, SetupOp};
use crate::spec::jail::{JailSpec, MountSpec, OverlayTop, RootSpec};
use std::path::{Path, PathBuf};

/// The most directories that may lie over each other: more cost every look-up of a name.
pub const OVERLAY_LAYERS: usize = 64;

/// All of them, in order.
pub(super) fn plan(
    spec: &JailSpec,
    ids: &IdPlan,
    facts: &HostFacts,
    ops: &mut Vec<SetupOp>,
) -> Result<(), JailPlanError> {
    let empty = spec.root == RootSpec::Empty;
    // What is put over these would undo their masks.
    let mut kept: Vec<PathBuf> = match empty {
        true => Vec::new(),
        false => vec!["/proc".into(), "/sys".into()],
    };
    let mut images = 0;
    for mount in &spec.mounts {
        let at = target(mount.target(), empty, &kept)?;
        match mount {
            MountSpec::Bind { from, options, .. } => {
                absolute(from, "source of a mount")?;
                if options.optional && facts.absent.contains(from) {
                    continue;
                }
                ops.push(SetupOp::Bind {
                    from: from.clone(),
                    to: at,
                    options: *options,
                    kind: BindKind::Unknown,
                });
            }
            MountSpec::Disk(disk) => {
                absolute(&disk.file, "disk image")?;
                images += 1;
                if images > MAX_IMAGES {
                    return Err(DiskPlanError::TooMany.into());
                }
                let known = facts.disks.clone().unwrap_or_default();
                ops.push(SetupOp::Disk(plan_disk(disk, at, &known)?));
            }
            MountSpec::Tmpfs { size, mode, .. } => ops.push(SetupOp::Tmpfs {
                at,
                mode: checked_mode(&mode.unwrap_or(0o1777))?,
                size: *size,
            }),
            MountSpec::Overlay { lower, top, .. } => {
                overlay(lower, top)?;
                ops.push(SetupOp::Overlay {
                    lower: lower.clone(),
                    to: at,
                    top: top.clone(),
                });
            }
            MountSpec::Symlink { text, .. } => {
                not_the_root(&at, "link")?;
                ops.push(SetupOp::Link {
                    at,
                    to: text.clone(),
                });
            }
            MountSpec::File { from, mode, .. } => {
                absolute(from, "file to be copied")?;
                not_the_root(&at, "file")?;
                ops.push(SetupOp::File {
                    from: from.clone(),
                    to: at,
                    mode: checked_mode(&mode.unwrap_or(0o644))?,
                });
            }
            MountSpec::Directory { mode, .. } => ops.push(SetupOp::Directory {
                at,
                mode: checked_mode(mode)?,
            }),
            MountSpec::Dev { .. } => ops.push(SetupOp::Dev {
                tty_group: ids.has_group(5),
                at,
            }),
            MountSpec::Proc { .. } => {
                kept.push(at.clone());
                ops.push(SetupOp::Proc { at });
                let hidden = MASKED.into_iter().filter(|path| path.starts_with("/proc/"));
                ops.push(SetupOp::Mask(hidden.collect()));
                ops.push(SetupOp::ReadOnly(READ_ONLY.to_vec()));
            }
            MountSpec::Mqueue { .. } => ops.push(SetupOp::Mqueue { at }),
            MountSpec::RemountReadOnly { .. } => ops.push(SetupOp::RemountReadOnly { at }),
            MountSpec::Chmod { mode, .. } => ops.push(SetupOp::Chmod {
                at,
                mode: checked_mode(mode)?,
            }),
        }
    }
    Ok(())
}

fn target(to: &Path, empty: bool, kept: &[PathBuf]) -> Result<PathBuf, JailPlanError> {
    let to = inside(to, "mount point")?;
    let top = !empty && (to == Path::new("/") || to == Path::new("/dev"));
    if top || kept.iter().any(|kept| to.starts_with(kept)) {
        return Err(JailPlanError::BadPath {
            path: to,
            what: "mount point",
            why: "the jail has its own there",
        });
    }
    Ok(to)
}

fn not_the_root(at: &Path, what: &'static str) -> Result<(), JailPlanError> {
    if at == Path::new("/") {
        return Err(JailPlanError::BadPath {
            path: at.to_owned(),
            what,
            why: "it is the root itself",
        });
    }
    Ok(())
}

fn checked_mode(mode: &u32) -> Result<u32, JailPlanError> {
    match mode {
        0..=0o7777 => Ok(*mode),
        _ => Err(JailPlanError::BadMode { mode: *mode }),
    }
}

fn overlay(lower: &[PathBuf], top: &OverlayTop) -> Result<(), JailPlanError> {
    for dir in lower {
        absolute(dir, "directory of an overlay")?;
    }
    let least = if *top == OverlayTop::Nothing { 2 } else { 1 };
    if lower.len() < least || lower.len() > OVERLAY_LAYERS {
        return Err(JailPlanError::OverlayLayers {
            count: lower.len(),
            least,
        });
    }
    if let OverlayTop::Directory { upper, work } = top {
        absolute(upper, "layer of an overlay")?;
        absolute(work, "work directory of an overlay")?;
        if upper == work {
            return Err(JailPlanError::BadPath {
                path: work.clone(),
                what: "work directory of an overlay",
                why: "it is the layer itself",
            });
        }
    }
    Ok(())
}
