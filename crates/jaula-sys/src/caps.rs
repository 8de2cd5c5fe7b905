//! capabilities(7) by raw calls.

use crate::error::Errno;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// Sets effective and permitted to `keep`, inheritable and (with it) ambient to nothing.
pub(crate) fn set(keep: u64) -> Result<(), Errno> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let half = |bits: u32| Data {
        effective: bits,
        permitted: bits,
        inheritable: 0,
    };
    let data = [half(keep as u32), half((keep >> 32) as u32)];
    // SAFETY: version 3 takes a header and two data structures.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Makes everything that is permitted effective.
pub(crate) fn raise() -> Result<(), Errno> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let none = || Data {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    let mut data = [none(), none()];
    // SAFETY: version 3 takes a header and has room for two data structures.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    if got < 0 {
        return Err(Errno::last());
    }
    for half in &mut data {
        half.effective = half.permitted;
    }
    // SAFETY: as above.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Takes everything but `keep` from the bounding set, up to the last capability this kernel knows.
pub(crate) fn bound(keep: u64) -> Result<(), Errno> {
    for number in 0..64 {
        if keep >> number & 1 == 1 {
            continue;
        }
        // SAFETY: takes numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } < 0 {
            let errno = Errno::last();
            // Past the last one of this kernel.
            return if errno.0 == libc::EINVAL && number > 30 {
                Ok(())
            } else {
                Err(errno)
            };
        }
    }
    Ok(())
}

/// Takes back what the caller may have set of securebits: inside, a change of user has its usual effect.
pub(crate) fn default_securebits() -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    let bits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) };
    if bits == 0 {
        return Ok(());
    }
    // SAFETY: takes numbers only.
    let done = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, 0, 0, 0, 0) };
    if bits < 0 || done < 0 {
        Err(Errno::last())
    } else {
        Ok(())
    }
}

/// What is in force, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The bounding set, as far as this kernel knows capabilities.
    pub bounding: u64,
    /// The permitted set.
    pub permitted: u64,
    /// The effective set.
    pub effective: u64,
    /// The inheritable set.
    pub inheritable: u64,
    /// Securebits (capabilities(7)).
    pub securebits: u32,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
}

/// Asks for everything; none when a filter keeps the kernel from answering.
pub(crate) fn found() -> Option<Found> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let none = || Data {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    let mut data = [none(), none()];
    // SAFETY: version 3 takes a header and has room for two data structures.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    // SAFETY: takes numbers only.
    let securebits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) };
    // SAFETY: takes numbers only.
    let privileges = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) };
    if got < 0 || securebits < 0 || privileges < 0 {
        return None;
    }
    let mut bounding = 0u64;
    for number in 0..64 {
        // SAFETY: takes numbers only.
        match unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) } {
            1 => bounding |= 1 << number,
            0 => {}
            // Past the last one of this kernel.
            _ => break,
        }
    }
    let [low, high] = data;
    let both = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Some(Found {
        bounding,
        permitted: both(low.permitted, high.permitted),
        effective: both(low.effective, high.effective),
        inheritable: both(low.inheritable, high.inheritable),
        securebits: securebits as u32,
        no_new_privs: privileges == 1,
    })
}

/// CAP_SYS_ADMIN (capabilities(7)).
const SYS_ADMIN: u32 = 21;

/// Whether this process may mount, and make namespaces without a user namespace of its own.
pub fn may_mount() -> bool {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let none = || Data {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    let mut data = [none(), none()];
    // SAFETY: version 3 takes a header and has room for two data structures.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    // Where a filter keeps the kernel from answering, trying will tell.
    got < 0 || data[0].effective >> SYS_ADMIN & 1 == 1
}

/// Sets effective, permitted and inheritable to `keep`.
pub(crate) fn set_inheritable(keep: u64) -> Result<(), Errno> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let half = |bits: u32| Data {
        effective: bits,
        permitted: bits,
        inheritable: bits,
    };
    let data = [half(keep as u32), half((keep >> 32) as u32)];
    // SAFETY: version 3 takes a header and two data structures.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// As [`bound`], as far as this process may.
pub(crate) fn try_bound(keep: u64) -> Result<(), Errno> {
    for number in (0..64).filter(|number| keep >> number & 1 == 0) {
        // SAFETY: takes numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } < 0 {
            match Errno::last() {
                // Past the last one of this kernel.
                Errno(libc::EINVAL) => return Ok(()),
                Errno(libc::EPERM) => {}
                errno => return Err(errno),
            }
        }
    }
    Ok(())
}

/// Adds to the ambient set what is permitted and inheritable of `set`.
pub(crate) fn ambient(set: u64) -> Result<(), Errno> {
    for number in (0..64u64).filter(|number| set >> number & 1 == 1) {
        let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
        // SAFETY: takes numbers only.
        if unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, number, 0, 0) } < 0 {
            match Errno::last() {
                Errno(libc::EINVAL | libc::EPERM) => {}
                errno => return Err(errno),
            }
        }
    }
    Ok(())
}

/// Which of the three calls of [`keep_over_exec`] failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AmbientCall {
    /// capget(2).
    Get,
    /// capset(2).
    Set,
    /// prctl(2) with PR_CAP_AMBIENT.
    Raise,
}

/// Makes every permitted capability inheritable, and every effective one ambient: they survive execve(2) of a
/// program without capabilities of its own (capabilities(7)).
pub fn keep_over_exec() -> Result<(), (AmbientCall, Errno)> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let none = || Data {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    let mut data = [none(), none()];
    let call = |number: libc::c_long, data: *mut Data, call: AmbientCall| {
        // SAFETY: version 3 takes a header and two data structures.
        let done = unsafe { libc::syscall(number, &raw const header, data) };
        if done < 0 {
            Err((call, Errno::last()))
        } else {
            Ok(())
        }
    };
    call(libc::SYS_capget, data.as_mut_ptr(), AmbientCall::Get)?;
    for half in &mut data {
        half.inheritable = half.permitted;
    }
    call(libc::SYS_capset, data.as_mut_ptr(), AmbientCall::Set)?;
    let effective = u64::from(data[0].effective) | u64::from(data[1].effective) << 32;
    for number in (0..u64::BITS).filter(|number| effective >> number & 1 == 1) {
        // SAFETY: takes numbers only.
        let done = unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE,
                libc::c_ulong::from(number),
                0,
                0,
            )
        };
        if done < 0 {
            return Err((AmbientCall::Raise, Errno::last()));
        }
    }
    Ok(())
}
