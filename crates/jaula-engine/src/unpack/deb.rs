//! What goes into an unpacking, and what comes out.

use jaula_repo::deb::archive::Control;
use std::path::PathBuf;

/// One package to be unpacked, as the verified index describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deb {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// `Replaces`.
    pub replaces: String,
    /// The archive file.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// What every script may need, so that it is unpacked before any runs.
    pub essential: bool,
}

/// A configuration file that was unpacked: its absolute path, and its MD5 if it lies in its own place already. Else it
/// waits for dpkg as `.dpkg-new`.
pub type Laid = (String, Option<[u8; 16]>);

/// What is kept of an unpacked package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Its place in the unpack order.
    pub index: usize,
    /// Its control part.
    pub control: Control,
    /// The configuration files it brought, in the order it declares them.
    pub conffiles: Vec<Laid>,
    /// Its preinst diverts: once that ran, it is to be unpacked again.
    pub again: bool,
    /// The lines of its `.list`.
    pub list: Vec<Vec<u8>>,
}

/// A package whose preinst diverts files: its files wait until the preinsts ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferred {
    /// Its place in the unpack order.
    pub index: usize,
    /// Its control part.
    pub control: Control,
}

/// What one wave gave.
#[derive(Debug, Default)]
pub struct Wave {
    /// Unpacked, in unpack order.
    pub unpacked: Vec<Unpacked>,
    /// To be unpacked after the preinsts.
    pub deferred: Vec<Deferred>,
}
