//! What is put into the tree of a jail.

use super::{ANY, BASE, JailError, Lowering, ROOT, relative, text};
use jaula_plan::setup_op::{BindKind, SetupOp};
use jaula_plan::spec::jail::{BindOptions, Clocks, OverlayTop};
use jaula_sys::beneath::Links;
use jaula_sys::child::{Op, OverlayDirs, PlaceKind, SelfOp, Slot, TreeOp};
use jaula_sys::mount::attr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// mount_namespaces(7); the numbers are those of `linux/mount.h`.
pub(super) const MS_SLAVE: u64 = 1 << 19;
pub(super) const MS_SHARED: u64 = 1 << 20;
/// open(2): a fifo is not waited for.
const O_NONBLOCK: i32 = 0o4000;
/// The mode of directories on the way that have to be made.
pub(super) const PARENTS: u32 = 0o755;

/// The attributes of a bind.
pub(super) fn bind_attrs(options: &BindOptions) -> u64 {
    let list = [
        (options.read_only, attr::RDONLY),
        (options.no_exec, attr::NOEXEC),
        (!options.devices, attr::NODEV),
    ];
    list.iter()
        .filter(|(set, _)| *set)
        .fold(attr::NOSUID, |attrs, (_, attr)| attrs | attr)
}

impl Lowering<'_> {
    pub(super) fn propagation(&mut self, kind: u64) {
        self.first(Op::Tree(TreeOp::Propagation(kind)));
    }

    /// The mode of directories on the way to something of this mode.
    pub(super) fn parents(&self, mode: u32) -> u32 {
        let closed = |bits: u32, taken: u32| if mode & bits == 0 { taken } else { 0 };
        match self.narrow {
            true => PARENTS & !closed(0o070, 0o050) & !closed(0o007, 0o005),
            false => PARENTS,
        }
    }

    pub(super) fn clocks(&mut self, clocks: Clocks) -> Result<(), JailError> {
        // Made by the child itself, who may not be in it before its clocks are set.
        self.out.namespaces.time = false;
        let lines = format!(
            "monotonic {} 0\nboottime {} 0\n",
            clocks.monotonic, clocks.boottime
        );
        let lines = text(lines)?;
        self.first(Op::Itself(SelfOp::Clocks(lines)));
        Ok(())
    }

    /// Attaches the mount of a slot at a place of the jail, which is made when there is none.
    pub(super) fn put(&mut self, slot: Slot, at: &Path) -> Result<(), JailError> {
        if at == Path::new("/") {
            // It becomes the root itself: later paths are beneath it.
            self.attach(slot, BASE, "m", Links::Refuse)?;
            self.first(Op::Tree(TreeOp::Move {
                from: slot,
                to: ROOT,
            }));
            return Ok(());
        }
        let path = relative(at)?;
        self.first(Op::Place {
            dir: ROOT,
            path: path.clone(),
            like: PlaceKind::Like(slot, self.mount_point),
            parents: PARENTS,
        });
        self.first(Op::Attach {
            slot,
            dir: ROOT,
            path,
            links: Links::InRoot,
        });
        Ok(())
    }

    pub(super) fn mount(&mut self, op: &SetupOp) -> Result<(), JailError> {
        match op {
            SetupOp::Directory { at, mode } => {
                let path = relative(at)?;
                self.first(Op::Place {
                    dir: ROOT,
                    path,
                    like: PlaceKind::Directory(*mode),
                    parents: self.parents(*mode),
                });
            }
            SetupOp::Link { at, to } => {
                let (path, to) = (relative(at)?, text(to)?);
                self.first(Op::Symlink {
                    dir: ROOT,
                    path,
                    to,
                    same: true,
                });
            }
            SetupOp::Bind {
                from,
                to,
                options,
                kind,
            } => {
                // What is mounted beneath a file is nothing.
                let recursive = options.recursive && *kind != BindKind::File;
                self.first(Op::OpenTree {
                    path: text(from)?,
                    recursive,
                    slot: ANY,
                });
                self.first(Op::SetAttr {
                    slot: ANY,
                    set: bind_attrs(options),
                    recursive,
                });
                self.put(ANY, to)?;
            }
            SetupOp::Tmpfs { at, mode, size } => {
                let mode = format!("{mode:o}");
                let size = size.map(|size| size.to_string());
                let mut list = vec![("mode", Some(mode.as_str()))];
                if let Some(size) = &size {
                    list.push(("size", Some(size)));
                }
                self.new_fs(c"tmpfs", &list, attr::NOSUID | attr::NODEV, ANY)?;
                self.put(ANY, at)?;
            }
            SetupOp::Overlay { lower, to, top } => {
                self.overlay(lower, top)?;
                self.put(ANY, to)?;
            }
            SetupOp::File { from, to, mode } => {
                let file = File::options()
                    .read(true)
                    .custom_flags(O_NONBLOCK)
                    .open(from)
                    .and_then(|file| match file.metadata()?.is_file() {
                        true => Ok(file),
                        false => Err(std::io::ErrorKind::InvalidInput.into()),
                    });
                let file = file.map_err(|source| JailError::Source {
                    path: from.clone(),
                    source,
                })?;
                let path = relative(to)?;
                self.first(Op::Tree(TreeOp::WriteFile {
                    from: file.as_raw_fd(),
                    dir: ROOT,
                    path,
                    mode: *mode,
                    parents: PARENTS,
                }));
                self.out.held.push(file);
            }
            SetupOp::Mqueue { at } => {
                let attrs = attr::NOSUID | attr::NODEV | attr::NOEXEC;
                self.new_fs(c"mqueue", &[], attrs, ANY)?;
                self.put(ANY, at)?;
            }
            SetupOp::RemountReadOnly { at } => {
                let path = relative(at)?;
                self.first(Op::Tree(TreeOp::RemountReadOnly { dir: ROOT, path }));
            }
            SetupOp::Chmod { at, mode } => {
                let path = relative(at)?;
                self.first(Op::Tree(TreeOp::Chmod {
                    dir: ROOT,
                    path,
                    mode: *mode,
                }));
            }
            _ => {}
        }
        Ok(())
    }

    /// Into the slot for anything.
    pub(super) fn overlay(&mut self, lower: &[PathBuf], top: &OverlayTop) -> Result<(), JailError> {
        let lower = lower.iter().map(text).collect::<Result<_, _>>()?;
        let top = match top {
            OverlayTop::Nothing => OverlayDirs::Nothing,
            OverlayTop::Directory { upper, work } => OverlayDirs::Host {
                upper: text(upper)?,
                work: text(work)?,
            },
            OverlayTop::Memory => {
                let number = self.overlays;
                self.overlays += 1;
                let (upper, work) = (format!("u{number}"), format!("w{number}"));
                for name in [&upper, &work] {
                    self.first(Op::MakeDir {
                        dir: BASE,
                        name: text(name)?,
                        mode: 0o755,
                    });
                }
                OverlayDirs::Own {
                    dir: BASE,
                    upper: text(upper)?,
                    work: text(work)?,
                }
            }
        };
        self.first(Op::Tree(TreeOp::Overlay {
            lower,
            top,
            attrs: attr::NOSUID | attr::NODEV,
            slot: ANY,
        }));
        Ok(())
    }
}
