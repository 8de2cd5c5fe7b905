//! What can be wrong with an image.

use std::io;

/// Why a squashfs image, or one file of it, is refused. `at` is a byte offset in the image.
#[derive(Debug, thiserror::Error)]
pub enum SquashfsError {
    /// The source could not be read.
    #[error("cannot read the image at byte {at}")]
    Read {
        /// Where the reading began.
        at: u64,
        /// The source's error.
        #[source]
        source: io::Error,
    },
    /// Something lies behind the end of the image: it is cut off, or it lies about itself.
    #[error("{need} bytes at byte {at} are outside the image, which has {len} bytes")]
    Outside {
        /// First byte asked for.
        at: u64,
        /// Bytes asked for.
        need: u64,
        /// Length of the image.
        len: u64,
    },
    /// The super block is none.
    #[error("this is not a squashfs image: {what}")]
    NotSquashfs {
        /// What is wrong.
        what: &'static str,
    },
    /// Valid, but this reader does not do it.
    #[error("not supported: {what}")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// Compressed bytes that cannot be unpacked, or to more than they may.
    #[error("the compressed block at byte {at} is damaged")]
    Block {
        /// Where it begins.
        at: u64,
    },
    /// A node, directory or table that makes no sense.
    #[error("damaged, at byte {at}: {what}")]
    Damaged {
        /// The block it is in.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A bound of this reader is passed.
    #[error("more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
}
