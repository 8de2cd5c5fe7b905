//! What the kernel tells programs it is (personality(2)).

use crate::names::Arch;
use crate::seccomp::Abi;
use std::fmt;

/// A personality other than that of every program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Personality {
    /// A 32-bit machine: uname(2) says `i686` on x86-64, `armv8l` on arm64. Scripts that ask uname(1) what to
    /// install or to compile for are right then.
    Linux32,
}

impl Personality {
    /// The number of personality(2) (`PER_LINUX32`).
    pub const fn number(self) -> u32 {
        match self {
            Self::Linux32 => 0x0008,
        }
    }

    /// What a process has whose `/proc/PID/personality` says this number. Its flags are not looked at.
    pub const fn of_number(number: u32) -> Option<Self> {
        match number & 0xff {
            0x08 => Some(Self::Linux32),
            _ => None,
        }
    }

    /// What programs of an architecture expect of a kernel whose own entry is `native`.
    pub fn of(native: Abi, arch: &Arch) -> Option<Self> {
        let narrow: &[&str] = match native {
            Abi::X86_64 => &["i386"],
            Abi::Aarch64 => &["armhf", "armel"],
            Abi::I386 => &[],
        };
        narrow.contains(&arch.as_str()).then_some(Self::Linux32)
    }
}

impl fmt::Display for Personality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linux32 => "linux32",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_narrower_programs_of_the_same_family_get_one() {
        let of = |native, arch: &str| Personality::of(native, &arch.parse().unwrap());
        assert_eq!(of(Abi::X86_64, "i386"), Some(Personality::Linux32));
        assert_eq!(of(Abi::X86_64, "amd64"), None);
        assert_eq!(of(Abi::X86_64, "armhf"), None);
        assert_eq!(of(Abi::Aarch64, "armhf"), Some(Personality::Linux32));
        assert_eq!(of(Abi::I386, "i386"), None);
        let number = Personality::Linux32.number();
        assert_eq!(
            Personality::of_number(number | 0x0040_0000),
            Some(Personality::Linux32)
        );
        assert_eq!(Personality::of_number(0), None);
    }
}
