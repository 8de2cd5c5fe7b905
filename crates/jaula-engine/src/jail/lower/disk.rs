//! Disk images as operations of the child.

use super::mounts::PARENTS;
use super::{ANY, JailError, Lowering, ROOT, relative, text};
use jaula_plan::disk::{DiskHow, DiskPlan};
use jaula_plan::setup_op::IdPlan;
use jaula_sys::beneath::Links;
use jaula_sys::child::{Op, PlaceKind, Slot};
use jaula_sys::disk_op::DiskOp;
use std::os::fd::RawFd;
use std::path::Path;

/// The first place for what an image needs from early on: a FUSE descriptor, or a mount.
const FIRST: Slot = 16;

/// An image as it was started: its step, how it is shown, the socket to its server.
pub(in crate::jail) type Started = (usize, DiskHow, RawFd);

impl Lowering<'_> {
    /// The slots of the mounts that the supervisor sends.
    pub(super) fn disk_mounts(&self) -> impl Iterator<Item = Slot> {
        let all = (FIRST..).zip(self.disks);
        all.filter(|(_, (_, how, _))| *how == DiskHow::Kernel)
            .map(|(slot, _)| slot)
    }

    /// Opens `/dev/fuse` once an image, while the child still has its caller's rights.
    pub(super) fn open_fuse(&mut self) {
        let own = self.step;
        for (slot, (step, how, _)) in (FIRST..).zip(self.disks) {
            if *how == DiskHow::Fuse {
                self.step = *step;
                self.first(Op::Disk(DiskOp::OpenFuse { slot }));
            }
        }
        self.step = own;
    }

    pub(super) fn disk(&mut self, plan: &DiskPlan) -> Result<(), JailError> {
        let mut started = (FIRST..).zip(self.disks);
        let Some((early, (.., server))) = started.find(|(_, (step, ..))| *step == self.step) else {
            return Ok(());
        };
        let server = *server;
        let mut slot = ANY;
        match plan.how {
            DiskHow::Kernel => slot = early,
            DiskHow::Fuse => {
                let owner = match self.out.ids {
                    IdPlan::Single { inside, .. } => inside,
                    _ => (0, 0),
                };
                self.first(Op::Disk(DiskOp::Fuse {
                    device: early,
                    server,
                    owner,
                    slot,
                }));
            }
            DiskHow::Unpack { limit } => {
                let size = text(limit.to_string())?;
                self.first(Op::Disk(DiskOp::Unpacked { server, size, slot }));
            }
        }
        if plan.at == Path::new("/") {
            return self.put(slot, &plan.at);
        }
        // A directory whatever it says of itself: nothing is asked of a server that may not answer.
        let path = relative(&plan.at)?;
        self.first(Op::Place {
            dir: ROOT,
            path: path.clone(),
            like: PlaceKind::Directory(0o755),
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
}
