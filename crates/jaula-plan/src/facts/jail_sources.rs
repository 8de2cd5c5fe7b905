//! The sources.list(5) files inside a jail, read only when a user asks for that. They say where packages are, and nothing
//! else: not whom to trust, and nothing of the host.

use super::sources_list::{Form, ListError, Reading, entries};
use crate::rootfs::address::without_login;
use crate::spec::source::{Repository, SignedBy, Trust};
use std::path::Path;

/// Most sources of one jail.
pub const MOST: usize = 256;

/// Why the sources inside a jail are not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JailSourcesError {
    /// There is none.
    #[error("there is no source of packages in its /etc/apt")]
    None,
    /// There are too many.
    #[error("there are more than {MOST} sources in its /etc/apt")]
    TooMany,
    /// A file that is no text.
    #[error("{file:?} is no text")]
    NoText {
        /// Its name.
        file: String,
    },
    /// A file that cannot be read as what it is.
    #[error("{file:?} cannot be used")]
    List {
        /// Its name.
        file: String,
        /// What is wrong, and where.
        #[source]
        source: ListError,
    },
    /// An entry that asks for what a jail does not decide.
    #[error("{file:?}, line {line}: {what}")]
    Refused {
        /// Its name.
        file: String,
        /// Where, from 1.
        line: usize,
        /// What it asks for.
        what: String,
    },
}

/// The repositories of a jail's files, each with its name and content. Whom they name to sign them is set aside: keys are the
/// host's. Source packages are passed over.
///
/// # Errors
/// [`JailSourcesError`]: an entry that is not understood; that is on no web server, as all else is a path of the host; that
/// wants signatures or dates not to be looked at.
pub fn repositories(files: &[(String, Vec<u8>)]) -> Result<Vec<Repository>, JailSourcesError> {
    let mut found = Vec::new();
    for (file, bytes) in files {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| JailSourcesError::NoText { file: file.clone() })?;
        for entry in entries(text, Form::of(Path::new(file)), Reading::Request) {
            let entry = entry.map_err(|source| JailSourcesError::List {
                file: file.clone(),
                source,
            })?;
            if !entry.binary {
                continue;
            }
            for mut repository in entry.repositories {
                if let Some(what) = refused(&repository) {
                    return Err(JailSourcesError::Refused {
                        file: file.clone(),
                        line: entry.line,
                        what,
                    });
                }
                repository.signed_by = SignedBy::Default;
                if found.len() >= MOST {
                    return Err(JailSourcesError::TooMany);
                }
                found.push(repository);
            }
        }
    }
    match found.is_empty() {
        true => Err(JailSourcesError::None),
        false => Ok(found),
    }
}

/// What a jail does not decide.
fn refused(repository: &Repository) -> Option<String> {
    let shown = without_login(&repository.uri);
    let scheme = repository.uri.split_once("://").map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("http" | "https")) {
        return Some(format!(
            "{shown:?} is on no web server, and a jail names nothing of the host"
        ));
    }
    if repository.trust == Trust::Unsigned {
        return Some(format!(
            "{shown:?} wants its signatures not to be looked at"
        ));
    }
    if !repository.check_valid_until {
        return Some(format!("{shown:?} wants its dates not to be looked at"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<Repository>, JailSourcesError> {
        repositories(&[(name.to_owned(), text.as_bytes().to_vec())])
    }

    #[test]
    fn places_are_taken_and_keys_are_not() {
        let found = read(
            "debian.sources",
            "Types: deb deb-src\nURIs: https://u:p@mirror.example/debian\nSuites: bookworm bookworm-updates\n\
             Components: main\nSigned-By: /etc/mine.gpg\n\nTypes: deb\nURIs: http://x.example/flat\nSuites: ./\n\
             Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n -----END PGP PUBLIC KEY BLOCK-----\n",
        )
        .expect("sources");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(found[0].uri, "https://u:p@mirror.example/debian");
        assert!(found.iter().all(|one| one.signed_by == SignedBy::Default));
        let found = read(
            "sources.list",
            "deb-src http://x y main\ndeb http://x y main # z\n",
        );
        assert_eq!(found.map(|found| found.len()), Ok(1));
    }

    #[test]
    fn what_a_jail_does_not_decide_is_refused() {
        for (line, says) in [
            ("deb [trusted=yes] http://x y main", "signatures"),
            ("deb [allow-insecure=yes] http://x y main", "allow-insecure"),
            ("deb [check-valid-until=no] http://x y main", "dates"),
            (
                "deb [signed-by=0123456789ABCDEF] http://x y main",
                "signed-by",
            ),
            ("deb file:/etc y main", "of the host"),
            ("deb file:///etc y main", "of the host"),
            ("deb copy:/etc y main", "of the host"),
            ("deb cdrom:/dev/sda y main", "of the host"),
            ("deb cdrom:[x]/ y main", ""),
            ("deb ssh://x/y y main", ""),
            ("deb mirror+file:/etc/passwd y main", ""),
            ("deb /etc y main", ""),
            ("rpm http://x y main", "deb"),
            ("deb http://x y", "component"),
        ] {
            let error = read("sources.list", line).expect_err(line);
            let mut text = error.to_string();
            if let JailSourcesError::List { source, .. } = &error {
                text.push_str(&source.to_string());
            }
            assert!(text.contains(says), "{line}: {text}");
            assert!(!text.chars().any(char::is_control), "{text}");
        }
        let secret = read("x.list", "deb [trusted=yes] http://me:secret@x y main").expect_err("no");
        assert!(!secret.to_string().contains("secret"), "{secret}");
        assert_eq!(read("x.list", "# nothing\n"), Err(JailSourcesError::None));
        assert_eq!(
            read("x.list", &"deb http://x y main\n".repeat(MOST + 1)),
            Err(JailSourcesError::TooMany)
        );
        let bytes = [("x.list".to_owned(), vec![0xff])];
        assert!(matches!(
            repositories(&bytes),
            Err(JailSourcesError::NoText { .. })
        ));
    }
}
