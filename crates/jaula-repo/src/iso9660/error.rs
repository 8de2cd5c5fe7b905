//! What can be wrong with an image.

use std::io;

/// Why an ISO 9660 image, or one entry of it, is refused. `at` is always a byte offset in the image.
#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    /// The source could not be read.
    #[error("cannot read the image at byte {at}")]
    Read {
        /// Where the reading began.
        at: u64,
        /// The source's error.
        #[source]
        source: io::Error,
    },
    /// Something lies, wholly or partly, behind the end of the image: it is cut off, or it lies about itself.
    #[error("{need} bytes at byte {at} are outside the image, which has {len} bytes")]
    Outside {
        /// First byte asked for.
        at: u64,
        /// Bytes asked for.
        need: u64,
        /// Length of the image.
        len: u64,
    },
    /// No volume descriptor: this is another kind of file.
    #[error("this is not an ISO 9660 image: {what}")]
    NotIso {
        /// What is missing.
        what: &'static str,
    },
    /// A volume descriptor makes no sense.
    #[error("the volume descriptor at byte {at} is broken: {what}")]
    Descriptor {
        /// Start of the descriptor.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A number written in both byte orders has two values.
    #[error("{what} at byte {at} is {little} in one byte order and {big} in the other")]
    TwoValues {
        /// Start of the number.
        at: u64,
        /// What the number is.
        what: &'static str,
        /// The little-endian value.
        little: u32,
        /// The big-endian value.
        big: u32,
    },
    /// A directory record makes no sense.
    #[error("the directory record at byte {at} is broken: {what}")]
    Record {
        /// Start of the record.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A System Use or Rock Ridge field makes no sense.
    #[error("the Rock Ridge field at byte {at} is broken: {what}")]
    RockRidge {
        /// Start of the field.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A name that cannot be a name on Linux.
    #[error("the name in the record at byte {at} is refused: {what}")]
    Name {
        /// Start of the record.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Valid, but this reader does not do it.
    #[error("not supported, at byte {at}: {what}")]
    Unsupported {
        /// Where it stands.
        at: u64,
        /// What it is.
        what: &'static str,
    },
    /// A compressed file (zisofs) is broken.
    #[error("the compressed file recorded at byte {at} is broken: {what}")]
    Zisofs {
        /// Start of the file's record.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A bound of this reader, or of the caller, is passed.
    #[error("{what} at byte {at}: more than {limit}")]
    Limit {
        /// Where it stands.
        at: u64,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// A directory was asked for its bytes, or a file for its entries.
    #[error("what is recorded at byte {at} is not a {wanted}")]
    Kind {
        /// Start of the record.
        at: u64,
        /// What the operation needs.
        wanted: &'static str,
    },
}
