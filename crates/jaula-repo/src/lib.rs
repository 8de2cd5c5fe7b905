//! Reads untrusted bytes: Debian indices, signatures, archives and program headers; orders versions
//! and solves dependencies.
//!
//! Everything here works on bytes the caller hands in. The crate knows no host, no network and no
//! privilege: `clippy.toml` bans the doors to them. Every parser is written for hostile input: sizes
//! and counts have limits, and a malformed input gives a typed error, never a panic.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::print_stderr
    )
)]

pub mod compress;
pub mod date;
pub mod deb;
pub mod dhcp;
pub mod disk;
pub mod elf;
pub mod ext;
pub mod hex;
pub mod image_kind;
pub mod iso9660;
pub mod lock;
pub mod pack;
pub mod router;
pub mod rpm;
pub mod solve;
pub mod squashfs;
pub mod tar;
pub mod verify;
