//! Answering for the kernel, in a jail with one identifier, what it cannot do there: give files to others. What is given is
//! recorded ([`jaula_sys::owner`]) and told again to who asks. A process of its own does so, beside the supervisor; it
//! ends when nobody is left who could ask.

use super::JailError;
use jaula_sys::error::Errno;
use jaula_sys::joining::Held;
use jaula_sys::notify::{Asked, Call, Eyes, Give, ITS_OWN, Listener};
use jaula_sys::spawn::ns;
use jaula_sys::userns::{self, Forked};
use jaula_sys::{namespace, process};
use std::os::fd::{AsFd, OwnedFd};

/// Users and groups that a jail with many identifiers has: what root could not give there is refused here too.
const IDS: u32 = 65536;

/// Starts the process that answers. The caller must have one thread. `session` is the user namespace that the jail's is
/// beneath, for a caller who is outside of it.
pub(super) fn answer(listener: OwnedFd, session: Option<OwnedFd>) -> Result<Forked, JailError> {
    let mut listener = Some(Listener::new(listener));
    let mut work = || {
        let Some(listener) = listener.take() else {
            return 1;
        };
        if let Some(session) = &session
            && userns::join(session.as_fd()).is_err()
        {
            return 1;
        }
        let Ok(eyes) = Eyes::new() else { return 1 };
        // Nothing of the supervisor's is held open by it, above all no end of a pipe.
        let [proc, own] = eyes.raw();
        if process::alone_with(&[listener.raw(), proc, own]).is_err() {
            return 1;
        }
        while let Ok(Some(call)) = listener.next() {
            reply(&listener, &eyes, &call);
        }
        0
    };
    Ok(userns::fork(&mut work)?)
}

/// The user namespace above the one of a jail that is joined.
pub(super) fn session(held: &[Held]) -> Result<Option<OwnedFd>, JailError> {
    let user = held.iter().find(|(_, flag)| *flag == ns::CLONE_NEWUSER);
    let above = user.map(|(fd, _)| namespace::parent(fd.as_fd()));
    Ok(above.transpose()?)
}

fn reply(listener: &Listener, eyes: &Eyes, call: &Call) {
    let done = match call.asked() {
        Some(Asked::Give(give)) => match given(listener, eyes, call, &give) {
            // As the kernel would say it: the caller's path leads nowhere, or is not its own to read.
            Err(_) if !listener.waits(call) => return,
            Err(ITS_OWN) => None,
            done => Some(done),
        },
        Some(Asked::Tell(place, told)) => {
            let found = eyes.see(call, &place).and_then(|seen| {
                let Some(owner) = eyes.owner(&seen)? else {
                    return Ok(None);
                };
                let ours = eyes.is_of_jail(call, &seen)?;
                Ok(ours.then_some((seen, owner)))
            });
            match found {
                Ok(Some((seen, owner))) if listener.waits(call) => {
                    Some(call.tell(told, seen.as_fd(), owner))
                }
                // Nothing is on record, or nothing is there: the kernel knows best.
                _ => None,
            }
        }
        Some(Asked::Become(true)) => Some(Ok(())),
        Some(Asked::Become(false)) | None => None,
    };
    match done {
        Some(done) => listener.answer(call, done),
        None => listener.proceed(call),
    }
}

fn given(listener: &Listener, eyes: &Eyes, call: &Call, give: &Give) -> Result<(), Errno> {
    if [give.uid, give.gid].iter().flatten().any(|id| *id >= IDS) {
        // EINVAL: an identifier that no jail has.
        return Err(Errno(22));
    }
    let seen = eyes.see(call, &give.place)?;
    if !eyes.is_of_jail(call, &seen)? {
        return Err(ITS_OWN);
    }
    let (uid, gid) = eyes.owner(&seen)?.unwrap_or_default();
    if !listener.waits(call) {
        // ESRCH: what was seen may be another process's, which got the number.
        return Err(Errno(3));
    }
    eyes.give(&seen, give.uid.unwrap_or(uid), give.gid.unwrap_or(gid))
}
