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
