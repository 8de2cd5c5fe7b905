//! Helpers: children that stay in the old namespaces, do one thing when they are told to, and are never left behind.
//! Each ends by itself when the one end of its socket that is not its own closes, whyever that happens.

use super::{Failure, Part};
use jaula_plan::direct::{DirectOp, Helper, HelperName, IdRange, Kept, MapBy, Which, program};
use jaula_sys::direct::{self as sys, Change, Side};
use jaula_sys::error::Errno;
use jaula_sys::userns;
use std::ffi::{CString, OsStr};
use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Those that wait.
#[derive(Default)]
pub(super) struct Helpers {
    keep: Option<Waiting>,
    map: Option<Waiting>,
}

struct Waiting {
    work: Helper,
    child: Option<i32>,
    /// The process that it works for.
    of: i32,
    socket: Option<OwnedFd>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.socket.take());
        if let Some(child) = self.child.take() {
            // It ends now; how does not matter.
            let _ended = sys::wait(child, false);
        }
    }
}

impl Helpers {
    /// In a child: they are the parent's.
    pub(super) fn forget(&mut self) {
        for waiting in [self.keep.take(), self.map.take()].into_iter().flatten() {
            let mut waiting = waiting;
            waiting.child = None;
        }
    }

    pub(super) fn start(&mut self, op: &DirectOp, work: &Helper) -> Result<(), Failure> {
        let failed = |part, errno: Errno| Failure::step(op, part, errno.0);
        let (ours, its) = sys::pair().map_err(|errno| failed(Part::Pair, errno))?;
        let of = userns::own_pid();
        match sys::fork().map_err(|errno| failed(Part::Fork, errno))? {
            Side::Child => {
                drop(ours);
                // Holding an end of another's socket, it would keep that one from noticing.
                self.forget();
                sys::exit(serve(work, of, &its))
            }
            Side::Parent(child) => {
                let waiting = Waiting {
                    work: work.clone(),
                    child: Some(child),
                    of,
                    socket: Some(ours),
                };
                match work {
                    Helper::Keep(_) => self.keep = Some(waiting),
                    Helper::Map { .. } => self.map = Some(waiting),
                }
                Ok(())
            }
        }
    }

    /// Lets it work, and waits for its end.
    pub(super) fn release(&mut self, op: &DirectOp, name: HelperName) -> Result<(), Failure> {
        let waiting = match name {
            HelperName::Keep => self.keep.take(),
            HelperName::Map => self.map.take(),
        };
        let Some(mut waiting) = waiting else {
            return Ok(());
        };
        let failed = |part, errno: Errno| Failure::step(op, part, errno.0);
        let answer = match &waiting.socket {
            Some(socket) => {
                sys::send(socket.as_fd(), [0, 0]).map_err(|errno| failed(Part::Pair, errno))?;
                sys::receive(socket.as_fd()).map_err(|errno| failed(Part::Pair, errno))?
            }
            None => None,
        };
        let child = waiting.child.take().unwrap_or_default();
        let end = sys::wait(child, false).map_err(|errno| failed(Part::Wait, errno))?;
        match (answer, end) {
            (Some([index, errno]), _) => {
                Err(failed(part(&waiting.work, waiting.of, index), Errno(errno)))
            }
            (None, Change::Exited(0)) => Ok(()),
            (None, Change::Exited(code)) => Err(Failure::Said(code)),
            (None, _) => Err(failed(Part::Wait, Errno(0))),
        }
    }
}

/// What a helper means by the index that it answers with.
fn part(work: &Helper, of: i32, index: i32) -> Part {
    let index = usize::try_from(index).unwrap_or_default();
    match work {
        Helper::Keep(files) => match files.get(index) {
            Some(kept) => Part::Mount(source(of, kept), kept.on.clone()),
            None => Part::Whole,
        },
        Helper::Map { .. } => match index {
            0 => Part::Open(map_file(of, Which::Users)),
            1 => Part::Open(map_file(of, Which::Groups)),
            2 => Part::Write(map_file(of, Which::Users)),
            3 => Part::Write(map_file(of, Which::Groups)),
            4 => Part::Exec(Which::Users.program()),
            5 => Part::Exec(Which::Groups.program()),
            _ => Part::Fork,
        },
    }
}

fn map_file(of: i32, which: Which) -> PathBuf {
    PathBuf::from(format!("/proc/{of}/{}", which.map()))
}

fn source(of: i32, kept: &Kept) -> PathBuf {
    PathBuf::from(format!("/proc/{of}/{}", kept.kind.new_file()))
}

/// Mounts the namespaces of a process on files: the index of the one that failed.
pub(super) fn keep(of: i32, files: &[Kept]) -> Result<(), (usize, PathBuf, Errno)> {
    for (index, kept) in files.iter().enumerate() {
        let from = source(of, kept);
        let done = sys::c_path(&from)
            .and_then(|path| sys::mount(&path, &kept.on, None, sys::mount_flag::MS_BIND));
        done.map_err(|errno| (index, from, errno))?;
    }
    Ok(())
}

/// The helper's life; its exit code.
fn serve(work: &Helper, of: i32, socket: &OwnedFd) -> u8 {
    // Closed: whoever started it is gone or has failed.
    let Ok(Some(_)) = sys::receive(socket.as_fd()) else {
        return 1;
    };
    let answer = |index: usize, errno: Errno| {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        // When nobody hears it, the exit code still tells.
        let _sent = sys::send(socket.as_fd(), [index, errno.0]);
        1
    };
    match work {
        Helper::Keep(files) => match keep(of, files) {
            Ok(()) => 0,
            Err((index, _, errno)) => answer(index, errno),
        },
        Helper::Map {
            users,
            groups,
            by: MapBy::Itself,
        } => {
            let both = [(Which::Users, users), (Which::Groups, groups)];
            for (place, (which, ranges)) in both.into_iter().enumerate() {
                if ranges.is_empty() {
                    continue;
                }
                let file = match sys::open_to_write(&map_file(of, which)) {
                    Ok(file) => file,
                    Err(errno) => return answer(place, errno),
                };
                let mut text = String::new();
                for IdRange {
                    inside,
                    outside,
                    count,
                } in ranges
                {
                    // Writing into a string cannot fail.
                    let _written = writeln!(text, "{inside} {outside} {count}");
                }
                if let Err(errno) = sys::write_once(file.as_fd(), text.as_bytes()) {
                    return answer(place + 2, errno);
                }
            }
            0
        }
        Helper::Map {
            users,
            groups,
            by: MapBy::Programs { path },
        } => {
            let mut left = [(4, Which::Users, users), (5, Which::Groups, groups)]
                .into_iter()
                .filter(|(.., ranges)| !ranges.is_empty())
                .peekable();
            while let Some((place, which, ranges)) = left.next() {
                // The last becomes the program itself.
                if left.peek().is_some() {
                    match sys::fork() {
                        Ok(Side::Child) => {}
                        Ok(Side::Parent(child)) => match sys::wait(child, false) {
                            Ok(Change::Exited(0)) => continue,
                            Ok(Change::Exited(code)) => return code,
                            _ => return 1,
                        },
                        Err(errno) => return answer(6, errno),
                    }
                }
                let errno = run(which, of, ranges, path.as_deref());
                return answer(place, errno);
            }
            0
        }
    }
}

/// Becomes newuidmap(1) or newgidmap(1).
fn run(which: Which, of: i32, ranges: &[IdRange], path: Option<&OsStr>) -> Errno {
    let name = which.program();
    let mut words = vec![name.to_owned(), of.to_string()];
    for range in ranges {
        words.extend([range.inside, range.outside, range.count].map(|id| id.to_string()));
    }
    let texts = |list: &[String]| -> Option<Vec<CString>> {
        list.iter()
            .map(|word| CString::new(word.as_str()).ok())
            .collect()
    };
    let paths: Option<Vec<_>> = program::candidates(OsStr::new(name), path)
        .iter()
        .map(|path: &PathBuf| CString::new(Path::as_os_str(path).as_bytes()).ok())
        .collect();
    match (paths, texts(&words)) {
        (Some(paths), Some(args)) => sys::exec(&paths, &args, None),
        _ => Errno(super::libc_einval()),
    }
}
