//! The old tools' names, by which the program may be called through a link. Each is a face of the engine in a file
//! of its own: it reads that tool's arguments, and answers with its messages and exit codes.

#[allow(
    dead_code,
    reason = "the faces that read their arguments with it are being added"
)]
pub mod getopt;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

/// An old tool's name and its face.
pub type Face = (&'static str, fn(&[OsString]) -> ExitCode);

/// The faces, by name.
pub const FACES: &[Face] = &[];

/// The face for a program name (`argv[0]`), by its last part.
pub fn face(argv0: &OsStr) -> Option<&'static Face> {
    let name = std::path::Path::new(argv0).file_name()?;
    FACES.iter().find(|(known, _)| OsStr::new(known) == name)
}
