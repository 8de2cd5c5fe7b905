//! What the first bytes of a program say about the machine it is for, and what its headers say it needs (elf(5)).
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod dynamic;

pub use dynamic::{Dynamic, ElfError};

/// Bytes of a file that are enough for [`Identity::read`].
pub const NEEDED: usize = 20;

/// The machine an ELF file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// 64-bit or 32-bit.
    pub wide: bool,
    /// Little-endian or big-endian.
    pub little_endian: bool,
    /// `e_machine`.
    pub machine: u16,
}

impl Identity {
    /// Reads the start of a file; nothing if it is not ELF, or cut.
    pub fn read(start: &[u8]) -> Option<Self> {
        let header: &[u8; NEEDED] = start.first_chunk()?;
        let [
            0x7f,
            b'E',
            b'L',
            b'F',
            class,
            data,
            _version,
            _abi,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            low,
            high,
        ] = *header
        else {
            return None;
        };
        let little_endian = match data {
            1 => true,
            2 => false,
            _ => return None,
        };
        let wide = match class {
            1 => false,
            2 => true,
            _ => return None,
        };
        let machine = if little_endian {
            u16::from_le_bytes([low, high])
        } else {
            u16::from_be_bytes([low, high])
        };
        Some(Self {
            wide,
            little_endian,
            machine,
        })
    }

    /// Debian's name for the machine, where it has one. The ARM ports share numbers: `armhf` stands for
    /// 32-bit ARM.
    pub fn debian_arch(self) -> Option<&'static str> {
        Some(match (self.machine, self.wide, self.little_endian) {
            (62, true, true) => "amd64",
            (62, false, true) => "x32",
            (3, false, true) => "i386",
            (183, true, true) => "arm64",
            (40, false, true) => "armhf",
            (243, true, true) => "riscv64",
            (21, true, true) => "ppc64el",
            (21, true, false) => "ppc64",
            (20, false, false) => "powerpc",
            (22, true, false) => "s390x",
            (258, true, true) => "loong64",
            (8, true, true) => "mips64el",
            (8, false, true) => "mipsel",
            (43, true, false) => "sparc64",
            (15, false, false) => "hppa",
            (4, false, false) => "m68k",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(class: u8, data: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.extend([class, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        bytes.extend(machine);
        bytes
    }

    #[test]
    fn machines() {
        let arch = |c, d, m| Identity::read(&start(c, d, m)).and_then(Identity::debian_arch);
        assert_eq!(arch(2, 1, [62, 0]), Some("amd64"));
        assert_eq!(arch(1, 1, [62, 0]), Some("x32"));
        assert_eq!(arch(1, 1, [3, 0]), Some("i386"));
        assert_eq!(arch(2, 1, [183, 0]), Some("arm64"));
        assert_eq!(arch(2, 2, [0, 22]), Some("s390x"));
        assert_eq!(arch(2, 1, [2, 1]), Some("loong64"));
        assert_eq!(arch(2, 1, [255, 255]), None);
    }

    #[test]
    fn not_elf() {
        for bytes in [
            &b""[..],
            b"#!/bin/sh\n............",
            b"\x7fELF",
            &start(3, 1, [62, 0]),
            &start(2, 0, [62, 0]),
        ] {
            assert_eq!(Identity::read(bytes), None);
        }
        assert_eq!(Identity::read(&start(2, 1, [62, 0])[..19]), None);
    }

    #[test]
    fn own_program() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let identity = Identity::read(&own).unwrap();
        let expected = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "i386",
            other => other,
        };
        assert_eq!(identity.debian_arch(), Some(expected));
    }
}
