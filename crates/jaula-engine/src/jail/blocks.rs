//! Blocks of identifiers for the jails of root: one jail, one block, so that no two jails share a user outside.

use super::JailError;
use jaula_plan::jail::ID_COUNT;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Where blocks are locked; gone at the next boot, as the jails are.
const DIR: &str = "/run/jaula/ids";

/// The first identifier: after those that systemd-nspawn(1) takes (524288 to 1879048191) and far after those that
/// useradd(8) gives to users (100000 to 600100000 by login.defs(5)).
const FIRST: u32 = 0x7000_0000;

/// The last block ends before 2^31, past which some programs take identifiers for negative.
const COUNT: u32 = (0x8000_0000 - FIRST) / ID_COUNT;

/// A block, held until this is dropped or the process ends.
pub(super) struct Block {
    /// Its first identifier.
    pub(super) first: u32,
    _lock: File,
}

/// Takes the first block that nobody holds.
pub(super) fn take() -> Result<Block, JailError> {
    let dir = Path::new(DIR);
    let fail = |source| JailError::Blocks {
        dir: dir.to_owned(),
        source,
    };
    let open = |block: u32| {
        let path = dir.join(block.to_string());
        // libc's O_NOFOLLOW on every architecture we run on but a few; the directory is root's own anyway.
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
    };
    let mut last = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
    for block in 0..COUNT {
        let file = match open(block) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(dir)
                    .map_err(fail)?;
                open(block)
            }
            other => other,
        }
        .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {
                return Ok(Block {
                    first: FIRST + block * ID_COUNT,
                    _lock: file,
                });
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => last = error,
        }
    }
    Err(fail(last))
}
