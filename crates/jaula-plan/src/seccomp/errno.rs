//! errno(3) by name, as Podman's profiles spell them beside the numbers. The numbers of asm-generic/errno.h, which x86
//! and arm64 have.

pub(super) const EPERM: u16 = 1;
pub(super) const ENOSYS: u16 = 38;

/// The greatest that a filter can answer (MAX_ERRNO of the kernel).
pub(super) const MAX: u32 = 4095;

const NAMES: &str = "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK \
    EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE \
    EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP";

const FURTHER: [(&str, u16); 8] = [
    ("EPROTO", 71),
    ("EOVERFLOW", 75),
    ("EOPNOTSUPP", 95),
    ("ENOTSUP", 95),
    ("EPROTONOSUPPORT", 93),
    ("EAFNOSUPPORT", 97),
    ("ECONNREFUSED", 111),
    ("ETIMEDOUT", 110),
];

/// The number behind a name.
pub(super) fn number(name: &str) -> Option<u16> {
    (1u16..)
        .zip(NAMES.split_whitespace())
        .find_map(|(number, known)| (known == name).then_some(number))
        .or_else(|| {
            let found = FURTHER.iter().find(|(known, _)| *known == name);
            found.map(|(_, number)| *number)
        })
}

#[cfg(test)]
mod tests {
    #[test]
    fn errors_by_name() {
        let table = [
            ("EPERM", 1),
            ("EINVAL", 22),
            ("ENOSYS", 38),
            ("ELOOP", 40),
            ("EAFNOSUPPORT", 97),
        ];
        for (name, number) in table {
            assert_eq!(super::number(name), Some(number), "{name}");
        }
        assert_eq!(super::number("EWHAT"), None);
    }
}
