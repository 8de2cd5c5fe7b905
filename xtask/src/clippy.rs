//! The bans of each crate, from one list. A crate's own `clippy.toml` replaces the one at the
//! top, and clippy knows no wildcards, so every function is spelled out, and nobody does by hand.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A thing a crate may not touch.
struct Ban {
    /// `method` for functions, `type` for structs.
    kind: Kind,
    path: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Method,
    Type,
}

/// A group of bans with one reason.
struct Group {
    reason: &'static str,
    bans: &'static [Ban],
}

const fn method(path: &'static str) -> Ban {
    Ban {
        kind: Kind::Method,
        path,
    }
}

const fn kind(path: &'static str) -> Ban {
    Ban {
        kind: Kind::Type,
        path,
    }
}

const FILES: Group = Group {
    reason: "pure crate: files are read and written by jaula-engine",
    bans: &[
        kind("std::fs::File"),
        kind("std::fs::OpenOptions"),
        kind("std::fs::DirBuilder"),
        kind("std::fs::ReadDir"),
        method("std::fs::canonicalize"),
        method("std::fs::copy"),
        method("std::fs::create_dir"),
        method("std::fs::create_dir_all"),
        method("std::fs::exists"),
        method("std::fs::hard_link"),
        method("std::fs::metadata"),
        method("std::fs::read"),
        method("std::fs::read_dir"),
        method("std::fs::read_link"),
        method("std::fs::read_to_string"),
        method("std::fs::remove_dir"),
        method("std::fs::remove_dir_all"),
        method("std::fs::remove_file"),
        method("std::fs::rename"),
        method("std::fs::set_permissions"),
        method("std::fs::symlink_metadata"),
        method("std::fs::write"),
        method("std::os::unix::fs::chown"),
        method("std::os::unix::fs::chroot"),
        method("std::os::unix::fs::fchown"),
        method("std::os::unix::fs::lchown"),
        method("std::os::unix::fs::symlink"),
        method("std::path::Path::canonicalize"),
        method("std::path::Path::exists"),
        method("std::path::Path::is_dir"),
        method("std::path::Path::is_file"),
        method("std::path::Path::is_symlink"),
        method("std::path::Path::metadata"),
        method("std::path::Path::read_dir"),
        method("std::path::Path::read_link"),
        method("std::path::Path::symlink_metadata"),
        method("std::path::Path::try_exists"),
    ],
};

const NET: Group = Group {
    reason: "pure crate: the network belongs to jaula-engine",
    bans: &[
        kind("std::net::TcpListener"),
        kind("std::net::TcpStream"),
        kind("std::net::UdpSocket"),
        kind("std::os::unix::net::UnixDatagram"),
        kind("std::os::unix::net::UnixListener"),
        kind("std::os::unix::net::UnixStream"),
        method("std::net::ToSocketAddrs::to_socket_addrs"),
    ],
};

const PROCESS: Group = Group {
    reason: "pure crate: processes belong to jaula-engine",
    bans: &[
        kind("std::process::Child"),
        kind("std::process::Command"),
        method("std::process::abort"),
        method("std::process::exit"),
        method("std::process::id"),
    ],
};

const STREAMS: Group = Group {
    reason: "pure crate: standard streams belong to the faces",
    bans: &[
        method("std::io::stderr"),
        method("std::io::stdin"),
        method("std::io::stdout"),
    ],
};

const ENVIRONMENT: &[Ban] = &[
    method("std::env::args"),
    method("std::env::args_os"),
    method("std::env::current_dir"),
    method("std::env::home_dir"),
    method("std::env::remove_var"),
    method("std::env::set_current_dir"),
    method("std::env::set_var"),
    method("std::env::temp_dir"),
    method("std::env::var"),
    method("std::env::var_os"),
    method("std::env::vars"),
    method("std::env::vars_os"),
];

const ENV_PURE: Group = Group {
    reason: "pure crate: what the caller's environment says comes in the spec",
    bans: ENVIRONMENT,
};

const EXE_PURE: Group = Group {
    reason: "pure crate: it does not know what program it is in",
    bans: &[method("std::env::current_exe")],
};

const ENV_ENGINE: Group = Group {
    reason: "jaula-engine never reads argv or the environment: the face hands them in",
    bans: ENVIRONMENT,
};

const STREAMS_ENGINE: Group = Group {
    reason: "jaula-engine never prints and never asks: it sends events",
    bans: &[
        method("std::io::stderr"),
        method("std::io::stdin"),
        method("std::io::stdout"),
    ],
};

const CLOCK: Group = Group {
    reason: "a plan depends on its inputs only: time comes in the facts",
    bans: &[
        method("std::time::Instant::now"),
        method("std::time::SystemTime::now"),
        method("std::thread::sleep"),
    ],
};

const EXIT_ENGINE: Group = Group {
    reason: "only the face ends the program; a child ends through jaula-sys",
    bans: &[method("std::process::abort"), method("std::process::exit")],
};

const FACE: Group = Group {
    reason: "the face decides nothing about the host: programs are started by jaula-engine",
    bans: &[
        kind("std::process::Child"),
        kind("std::process::Command"),
        method("std::env::set_current_dir"),
        method("std::fs::remove_dir_all"),
        method("std::os::unix::fs::chown"),
        method("std::os::unix::fs::chroot"),
        method("std::os::unix::fs::lchown"),
    ],
};

/// The one list: crate → what it may not touch.
const CRATES: &[(&str, &[Group])] = &[
    ("crates/jaula-sys", &[]),
    (
        "crates/jaula-repo",
        &[FILES, NET, PROCESS, STREAMS, ENV_PURE, EXE_PURE],
    ),
    (
        "crates/jaula-plan",
        &[FILES, NET, PROCESS, STREAMS, ENV_PURE, EXE_PURE, CLOCK],
    ),
    (
        "crates/jaula-engine",
        &[ENV_ENGINE, STREAMS_ENGINE, EXIT_ENGINE],
    ),
    ("crates/jaula", &[FACE]),
];

/// Path and text of every `clippy.toml`, relative to the top.
pub fn files() -> Vec<(PathBuf, String)> {
    CRATES
        .iter()
        .map(|(place, groups)| (Path::new(place).join("clippy.toml"), text(groups)))
        .collect()
}

fn text(groups: &[Group]) -> String {
    let mut out = String::from(
        "# Written by `cargo xtask clippy-toml`; the list and its reasons are in xtask/src/clippy.rs.\n\
         allow-print-in-tests = true\n",
    );
    for (wanted, table) in [
        (Kind::Method, "disallowed-methods"),
        (Kind::Type, "disallowed-types"),
    ] {
        let lines: String = groups
            .iter()
            .flat_map(|group| {
                group
                    .bans
                    .iter()
                    .filter(|ban| ban.kind == wanted)
                    .map(|ban| {
                        let mut line = String::new();
                        writeln!(
                            line,
                            "    {{ path = \"{}\", reason = \"{}\" }},",
                            ban.path, group.reason
                        )
                        .expect("writing into a String cannot fail");
                        line
                    })
            })
            .collect();
        if !lines.is_empty() {
            out.push_str(&format!("\n{table} = [\n{lines}]\n"));
        }
    }
    out
}

/// Writes them all.
pub fn write(root: &Path) -> Result<()> {
    for (place, text) in files() {
        let path = root.join(place);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_has_one_and_it_parses() {
        let files = files();
        assert_eq!(files.len(), 5);
        for (place, text) in files {
            let table: toml::Table = text
                .parse()
                .unwrap_or_else(|error| panic!("{place:?}: {error}"));
            assert!(table.contains_key("allow-print-in-tests"));
        }
    }

    #[test]
    fn the_plan_may_not_look_at_the_clock_and_repo_may() {
        let with = |name: &str| {
            files()
                .into_iter()
                .find(|(place, _)| place.starts_with(name))
                .expect("listed")
                .1
        };
        assert!(with("crates/jaula-plan").contains("SystemTime::now"));
        assert!(!with("crates/jaula-repo").contains("SystemTime::now"));
    }
}
