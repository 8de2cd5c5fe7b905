//! Disk images in a jail: by FUSE, unpacked into memory, or by the kernel's driver, as the plan says.
//!
//! What reads an image is a process of its own, one an image, forked before the jail is cloned ([`jaula_sys::server`]):
//! it has no capabilities, a short list of system calls, a bound of memory, and ends with the supervisor. An image that
//! is damaged so that the reader dies takes nothing with it: the jail sees ENOTCONN.

mod fuse;
mod image;
mod unpack;
mod wire;

pub(crate) use image::look;

use crate::jail::JailError;
use image::Image;
use jaula_plan::disk::{DiskHow, DiskPlan, images, kind_name};
use jaula_plan::jail::JailPlan;
use jaula_plan::setup_op::{IdPlan, SetupOp};
use jaula_repo::disk::{self, DiskError};
use jaula_sys::loopdev::{self, Owners};
use jaula_sys::process::readable;
use jaula_sys::server::{Confinement, Inside, Server};
use jaula_sys::tree::Dir;
use std::error::Error;
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;

/// How long an image may take to be opened, in seconds.
const OPENING: u32 = 60;
/// How long one request to a server may take, in seconds: whoever waits for it cannot be killed.
const REQUEST: u32 = 120;
/// Longest report of a server, in bytes.
const REPORT: u64 = 4096;

/// The images of one jail, while it runs.
#[derive(Debug, Default)]
pub(crate) struct Disks(Vec<Disk>);

#[derive(Debug)]
struct Disk {
    plan: DiskPlan,
    /// The step of the plan.
    step: usize,
    image: Image,
    server: Option<Server>,
}

/// How files' identifiers are seen inside.
#[derive(Debug, Clone)]
struct Identifiers(IdPlan);

impl Identifiers {
    /// As stored when it exists inside, else root's: nobody gains by what only root may read.
    fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        match &self.0 {
            IdPlan::Host => (uid, gid),
            IdPlan::Single { inside, .. } => *inside,
            ids => (
                if ids.has_user(uid) { uid } else { 0 },
                if ids.has_group(gid) { gid } else { 0 },
            ),
        }
    }

    /// Who makes the files.
    fn root(&self) -> (u32, u32) {
        match self.0 {
            IdPlan::Single { inside, .. } => inside,
            _ => (0, 0),
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

fn refused(plan: &DiskPlan, why: impl Into<String>) -> JailError {
    JailError::Disk {
        file: plan.file.clone(),
        why: why.into(),
    }
}

/// The identifiers of a plan.
fn identifiers(plan: &JailPlan) -> Identifiers {
    let ids = plan.ops.iter().find_map(|op| match op {
        SetupOp::MapIds(ids) => Some(ids.clone()),
        _ => None,
    });
    Identifiers(ids.unwrap_or(IdPlan::Host))
}

impl Disks {
    /// Whether a plan has any.
    pub(crate) fn wanted(plan: &JailPlan) -> bool {
        images(&plan.ops).next().is_some()
    }

    /// Opens every image of a plan, and starts what serves it. All signals must be blocked, and the process have one
    /// thread.
    pub(crate) fn start(plan: &JailPlan) -> Result<Self, JailError> {
        let ids = identifiers(plan);
        let mut disks = Vec::new();
        for (step, op) in plan.ops.iter().enumerate() {
            let SetupOp::Disk(disk) = op else { continue };
            let image = Image::open(&disk.file, disk.offset).map_err(|why| refused(disk, why))?;
            let server = match disk.how {
                DiskHow::Kernel => None,
                DiskHow::Fuse => {
                    let server = start(disk, &image, &mut |inside| {
                        serve(inside, disk, &image, &ids)
                    })?;
                    ready(disk, &server)?;
                    Some(server)
                }
                DiskHow::Unpack { limit } => {
                    let looking = start(disk, &image, &mut |inside| {
                        measure(inside, disk, &image, limit)
                    })?;
                    ready(disk, &looking)?;
                    drop(looking);
                    Some(start(disk, &image, &mut |inside| {
                        unpack(inside, disk, &image, &ids)
                    })?)
                }
            };
            disks.push(Disk {
                plan: disk.clone(),
                step,
                image,
                server,
            });
        }
        Ok(Self(disks))
    }

    /// For each image, in the order of the plan: its step, how it is shown, and the jail's end of the socket to its
    /// server (-1 without one).
    pub(crate) fn sockets(&self) -> Vec<(usize, DiskHow, RawFd)> {
        let socket = |disk: &Disk| disk.server.as_ref().map_or(-1, Server::jail);
        let all = self.0.iter();
        all.map(|disk| (disk.step, disk.plan.how, socket(disk)))
            .collect()
    }

    /// Whether the kernel's drivers show any.
    pub(crate) fn has_mounts(&self) -> bool {
        self.0.iter().any(|disk| disk.plan.how == DiskHow::Kernel)
    }

    /// The images that the kernel's drivers show, mounted and attached nowhere. `userns` is the jail's, `first` the
    /// host's identifier of its root.
    pub(crate) fn mounts(
        &self,
        userns: Option<&OwnedFd>,
        first: Option<u32>,
    ) -> Result<Vec<OwnedFd>, JailError> {
        let by_kernel = self
            .0
            .iter()
            .filter(|disk| disk.plan.how == DiskHow::Kernel);
        by_kernel
            .map(|disk| {
                let name = CString::new(kind_name(disk.plan.kind)).unwrap_or_default();
                let mount = |owners: &Owners<'_>| {
                    loopdev::mount_image(disk.image.file(), disk.plan.offset, &name, owners)
                };
                let mounted = match userns {
                    None => mount(&Owners::AsStored),
                    Some(userns) => match (mount(&Owners::Mapped(userns)), first) {
                        // A driver that maps no identifiers: all files are root's.
                        (Err(error), Some(first)) if error.call == "mount_setattr" => {
                            mount(&Owners::All(first))
                        }
                        (other, _) => other,
                    },
                };
                mounted.map_err(|error| refused(&disk.plan, chain(&error)))
            })
            .collect()
    }

    /// A failure of a step, with the reason that a server gave.
    pub(crate) fn reason(&self, error: JailError) -> JailError {
        let JailError::Step { step, errno, .. } = &error else {
            return error;
        };
        let Some(disk) = self.0.iter().find(|disk| disk.step + 1 == *step) else {
            return error;
        };
        let said = disk.server.as_ref().map(said).unwrap_or_default();
        match (said.is_empty(), disk.plan.how) {
            (false, _) => refused(&disk.plan, said),
            (true, DiskHow::Fuse) => refused(
                &disk.plan,
                format!("FUSE cannot be used here ({errno}); --image-driver unpack does without"),
            ),
            (true, _) => error,
        }
    }
}

fn start(
    plan: &DiskPlan,
    image: &Image,
    function: &mut dyn FnMut(Inside) -> u8,
) -> Result<Server, JailError> {
    Server::start(image.file().as_fd(), function).map_err(|e| refused(plan, chain(&e)))
}

/// Waits until a server has opened its image.
fn ready(plan: &DiskPlan, server: &Server) -> Result<(), JailError> {
    let mut first = [0u8; 1];
    // Its own deadline comes first, and ends the report.
    let millis = (OPENING as i32 + 10).saturating_mul(1000);
    let seen = readable(&[server.report().as_fd()], millis) != 0;
    if seen && matches!(server.report().read(&mut first), Ok(1)) && first == *b"+" {
        return Ok(());
    }
    let mut said = String::from_utf8_lossy(&first).replace('\0', "");
    if seen {
        said.push_str(&rest(server));
    }
    if said.is_empty() {
        said = "its reader gave up: it is damaged, or needs more memory or time than a reader may take"
            .to_owned();
    }
    Err(refused(plan, said))
}

/// What a server reports until it ends.
fn rest(server: &Server) -> String {
    let mut said = Vec::new();
    // What cannot be read was not said.
    drop(server.report().take(REPORT).read_to_end(&mut said));
    String::from_utf8_lossy(&said).into_owned()
}

/// What a server that serves no more has said.
fn said(server: &Server) -> String {
    if readable(&[server.report().as_fd()], 0) == 0 {
        return String::new();
    }
    rest(server)
}

/// Tells the supervisor; if that is gone, so is this process.
fn report(inside: &Inside, text: &str) {
    drop((&inside.report).write_all(text.as_bytes()));
}

fn open(
    inside: &mut Inside,
    plan: &DiskPlan,
    image: &Image,
) -> Result<Box<dyn disk::DiskTree>, DiskError> {
    // There always is one: it is taken once.
    let file = inside.file.take().ok_or(DiskError::NoReader(plan.kind))?;
    disk::open(plan.kind, image.source(file))
}

/// The whole of a server by FUSE.
fn serve(mut inside: Inside, plan: &DiskPlan, image: &Image, ids: &Identifiers) -> u8 {
    jaula_sys::server::deadline(OPENING);
    if let Err(error) = inside.confine(Confinement::Serve) {
        report(&inside, &chain(&error));
        return 125;
    }
    let tree = match open(&mut inside, plan, image) {
        Ok(tree) => tree,
        Err(error) => {
            report(&inside, &chain(&error));
            return 125;
        }
    };
    report(&inside, "+");
    jaula_sys::server::deadline(0);
    let device = inside.receive().into_iter().next();
    // The image and the device are all it has from here on.
    drop(inside);
    match device {
        Some(device) => fuse::serve(device.into(), tree, ids),
        // There was no jail.
        None => 0,
    }
}

/// The whole of a process that looks whether an image can be unpacked.
fn measure(mut inside: Inside, plan: &DiskPlan, image: &Image, limit: u64) -> u8 {
    jaula_sys::server::deadline(OPENING);
    let done = inside.confine(Confinement::Serve).map_err(|e| chain(&e));
    let done = done.and_then(|()| {
        let mut tree = open(&mut inside, plan, image).map_err(|e| chain(&e))?;
        unpack::measure(tree.as_mut(), limit)
    });
    match done {
        Ok(()) => report(&inside, "+"),
        Err(why) => report(&inside, &why),
    }
    0
}

/// The whole of a process that unpacks an image.
fn unpack(mut inside: Inside, plan: &DiskPlan, image: &Image, ids: &Identifiers) -> u8 {
    let mut received = inside.receive().into_iter();
    let (Some(memory), Some(userns)) = (received.next(), received.next()) else {
        return 0;
    };
    let own = (!matches!(ids.0, IdPlan::Host)).then_some(&userns);
    let set_groups = ids.0.set_groups();
    let done = jaula_sys::server::move_in(own, ids.root(), set_groups, &memory);
    drop((memory, userns));
    let done = done.map_err(|e| chain(&e)).and_then(|()| {
        // The memory is all there is of paths now.
        let top = Dir::open(Path::new("/")).map_err(|e| chain(&e))?;
        inside.confine(Confinement::Write).map_err(|e| chain(&e))?;
        let mut tree = open(&mut inside, plan, image).map_err(|e| chain(&e))?;
        unpack::fill(tree.as_mut(), top, ids)
    });
    let answer = match done {
        Ok(()) => 0,
        Err(why) => {
            report(&inside, &why);
            // EIO
            5
        }
    };
    u8::from(inside.answer(answer).is_err())
}
