//! The old tools' names. Each is a face of the engine in a file of its own: it reads that tool's arguments, and
//! answers with its messages and exit codes. A face is reached by a link with the tool's name (`jaula compat install`
//! makes them) and as `jaula compat TOOL ARGUMENTS…`.

mod brctl;
mod bwrap;
mod cdebootstrap;
mod chroot;
mod debootstrap;
mod device_table;
pub mod getopt;
mod jk_check;
mod jk_chrootlaunch;
mod jk_chrootsh;
mod jk_cp;
mod jk_init;
mod jk_jailuser;
mod jk_list;
mod jk_lsh;
mod jk_socketd;
mod jk_tree;
mod jk_uchroot;
mod jk_update;
pub mod login;
pub mod lsns;
mod making;
mod mmdebstrap;
mod multistrap;
mod nsenter;
pub mod signals;
pub mod smartcols;
pub mod tool;
mod unshare;
mod useradd;
pub mod util_linux;
mod uwsgi;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

/// An old tool that the program answers as.
#[derive(Debug)]
pub struct Face {
    /// Its name: the last part of `argv[0]`, or the word after `jaula compat`.
    pub name: &'static str,
    /// Where the tool comes from and which of its releases are spoken, for `jaula compat ls`.
    pub of: &'static str,
    /// Does what the tool does with these arguments, those after its name.
    pub run: fn(&[OsString]) -> ExitCode,
}

/// The faces, by name.
pub const FACES: &[Face] = &[
    brctl::FACE,
    Face {
        name: "bwrap",
        of: "bubblewrap 0.8 to 0.11",
        run: bwrap::run,
    },
    cdebootstrap::FACE,
    chroot::FACE,
    debootstrap::FACE,
    device_table::FACE,
    jk_jailuser::ADD,
    jk_check::FACE,
    jk_chrootlaunch::FACE,
    jk_chrootsh::FACE,
    jk_cp::FACE,
    jk_init::FACE,
    jk_jailuser::FACE,
    jk_list::FACE,
    jk_lsh::FACE,
    jk_socketd::FACE,
    jk_uchroot::FACE,
    jk_update::FACE,
    Face {
        name: "lsns",
        of: "util-linux 2.38 to 2.41",
        run: lsns::run,
    },
    mmdebstrap::FACE,
    multistrap::FACE,
    nsenter::FACE,
    unshare::FACE,
    uwsgi::FACE,
];

/// Names of jaula's own that other programs start it by; they are no old tool's.
pub const OWN: &[Face] = &[
    Face {
        name: jaula_plan::account::LOGIN,
        of: "login shells",
        run: login::run,
    },
    Face {
        name: useradd::NAME,
        of: "shadow's useradd-post.d",
        run: useradd::run,
    },
];

/// The face of a program's last part of its path; a login shell is called with a dash before it (login(1)).
fn by_link(name: &OsStr) -> Option<&'static Face> {
    use std::os::unix::ffi::OsStrExt;
    let plain = name.as_bytes().strip_prefix(b"-").map(OsStr::from_bytes);
    let name = plain.unwrap_or(name);
    by_name(name).or_else(|| OWN.iter().find(|face| OsStr::new(face.name) == name))
}

/// The face of this name.
pub fn by_name(name: impl AsRef<OsStr>) -> Option<&'static Face> {
    FACES
        .iter()
        .find(|face| OsStr::new(face.name) == name.as_ref())
}

/// The face that was called, with its arguments: by `argv[0]`, else by the first words; none when jaula itself was.
pub fn called<'a>(argv0: &OsStr, words: &'a [OsString]) -> Option<(&'static Face, &'a [OsString])> {
    if let Some(face) = std::path::Path::new(argv0).file_name().and_then(by_link) {
        return Some((face, words));
    }
    // A program in a sandbox may start another one like itself by this name, where its own path is out of sight.
    if argv0 == "/proc/self/exe"
        && let Ok(program) = std::fs::read_link(argv0)
        && let Some(face) = program.file_name().and_then(by_name)
    {
        return Some((face, words));
    }
    match words {
        [group, name, rest @ ..] if group == crate::cmd::compat::GROUP => {
            by_name(name).map(|face| (face, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faces_are_sorted_and_shadow_no_verb() {
        assert!(FACES.is_sorted_by(|a, b| a.name < b.name));
        for face in FACES {
            assert!(face.name != "jaula" && !face.of.is_empty());
            let verb = format!("{} {}", crate::cmd::compat::GROUP, face.name);
            assert!(crate::cmd::VERBS.iter().all(|known| known.name != verb));
        }
    }

    #[test]
    fn a_face_is_called_by_its_link_or_by_the_words() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for face in FACES {
            let link = format!("/somewhere/{}", face.name);
            let given = words("-x y");
            let (found, rest) = called(OsStr::new(&link), &given).expect("by its link");
            assert_eq!((found.name, rest), (face.name, &given[..]));
            let given = words(&format!("compat {} -x y", face.name));
            let (found, rest) = called(OsStr::new("jaula"), &given).expect("by the words");
            assert_eq!((found.name, rest), (face.name, &given[2..]));
        }
        for given in ["compat", "compat ls", "compat install x", "run lsns"] {
            assert!(called(OsStr::new("/usr/bin/jaula"), &words(given)).is_none());
        }
    }
}
