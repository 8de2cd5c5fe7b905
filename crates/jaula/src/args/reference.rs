//! What a REF means. The grammar is in `docs/cli.md`; nothing here looks at the host.

use jaula_plan::names::{Digest, DistroName, NameError, Suite, Tag};
use jaula_plan::spec::rootfs::Reference;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Why a REF was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("a REF may not be empty")]
    Empty,
    /// It holds a control character.
    #[error("{shown} holds a control character")]
    Control {
        /// The REF, quoted and escaped.
        shown: String,
    },
    /// It is no path and not UTF-8.
    #[error("{shown} is neither a path nor a name")]
    NotText {
        /// The REF, quoted and escaped.
        shown: String,
    },
    /// A name holds `..`.
    #[error("{shown} holds \"..\", which no name may")]
    DotDot {
        /// The REF, quoted and escaped.
        shown: String,
    },
    /// A digest of another length.
    #[error("{shown} is no digest: after \"sha256:\" stand 64 hexadecimal digits")]
    Digest {
        /// The REF, quoted and escaped.
        shown: String,
    },
    /// A name breaks its rules.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// The endings by which an archive is known.
pub const ARCHIVE_ENDINGS: [&str; 7] = [
    ".tar", ".tar.gz", ".tar.xz", ".tar.zst", ".tgz", ".txz", ".tzst",
];

/// Reads a REF. `known` says which words are distributions of the table.
///
/// # Errors
/// When it is none of the forms; control characters are refused in every form, paths too.
pub fn parse(text: &OsStr, known: impl Fn(&str) -> bool) -> Result<Reference, ReferenceError> {
    let shown = || format!("{:?}", text.to_string_lossy());
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err(ReferenceError::Empty);
    }
    let control = match text.to_str() {
        Some(text) => text.chars().any(char::is_control),
        None => bytes.iter().any(u8::is_ascii_control),
    };
    if control {
        return Err(ReferenceError::Control { shown: shown() });
    }
    let archive = ARCHIVE_ENDINGS
        .iter()
        .any(|ending| bytes.ends_with(ending.as_bytes()));
    if archive {
        return Ok(Reference::Archive(PathBuf::from(text)));
    }
    if bytes.contains(&b'/') || bytes == b"." || bytes == b".." {
        return Ok(Reference::Directory(PathBuf::from(text)));
    }
    let Some(name) = text.to_str() else {
        return Err(ReferenceError::NotText { shown: shown() });
    };
    if name.contains("..") {
        return Err(ReferenceError::DotDot { shown: shown() });
    }
    let all_hex = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    if name.starts_with("sha256:") || all_hex {
        let digest = name.parse::<Digest>();
        return digest
            .map(Reference::Digest)
            .map_err(|_| ReferenceError::Digest { shown: shown() });
    }
    let (first, rest) = match name.split_once(':') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    if known(first) {
        let distro: DistroName = first.parse()?;
        let suite = rest.map(str::parse::<Suite>).transpose()?;
        return Ok(Reference::Distro { distro, suite });
    }
    Ok(Reference::Tag(name.parse::<Tag>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Reference, ReferenceError> {
        parse(OsStr::new(text), |word| word == "debian")
    }

    #[test]
    fn each_form_is_recognised() {
        let distro = |suite: Option<&str>| Reference::Distro {
            distro: "debian".parse().expect("a name"),
            suite: suite.map(|s| s.parse().expect("a suite")),
        };
        assert_eq!(read("debian"), Ok(distro(None)));
        assert_eq!(read("debian:bookworm"), Ok(distro(Some("bookworm"))));
        assert_eq!(
            read("web:1"),
            Ok(Reference::Tag("web:1".parse().expect("a tag")))
        );
        for path in [".", "..", "./x", "/srv/../x", "a/b", "debian/"] {
            assert_eq!(read(path), Ok(Reference::Directory(path.into())), "{path}");
        }
        for path in ["d.tar", "../d.tar.zst", "x.tgz"] {
            assert_eq!(read(path), Ok(Reference::Archive(path.into())), "{path}");
        }
        let hex = "ab".repeat(32);
        let digest = Reference::Digest(hex.parse().expect("a digest"));
        assert_eq!(read(&hex), Ok(digest.clone()));
        assert_eq!(read(&format!("sha256:{hex}")), Ok(digest));
    }

    #[test]
    fn what_is_hostile_is_refused() {
        assert_eq!(read(""), Err(ReferenceError::Empty));
        for text in ["debian\x1b[2J", "./a\nb", "x\u{9b}", "d\x7f.tar"] {
            let refused = read(text).expect_err("a control character");
            assert!(matches!(refused, ReferenceError::Control { .. }));
            assert!(!refused.to_string().contains(char::is_control), "{refused}");
        }
        for text in ["debian:..", "..debian", "a..b"] {
            assert!(
                matches!(read(text), Err(ReferenceError::DotDot { .. })),
                "{text}"
            );
        }
        for text in ["sha256:", "sha256:12", "sha256:zz"] {
            assert!(
                matches!(read(text), Err(ReferenceError::Digest { .. })),
                "{text}"
            );
        }
        for text in ["-x", "debian:", "debian: x", "a b", "é"] {
            assert!(matches!(read(text), Err(ReferenceError::Name(_))), "{text}");
        }
        let raw = OsStr::from_bytes(b"a\xff");
        assert!(matches!(
            parse(raw, |_| false),
            Err(ReferenceError::NotText { .. })
        ));
    }
}
