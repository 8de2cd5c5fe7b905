//! The licences that a package's `copyright` file names, where it is machine-readable ("Machine-readable
//! debian/copyright file", version 1.0), in the words of SPDX where there are such.

use super::control::{Stanza, stanzas};
use std::collections::BTreeSet;

/// Most licences of one package that are told.
const MAX_LICENCES: usize = 64;
/// Longest name of a licence.
const MAX_NAME: usize = 64;

/// The short names of all licences in a file, sorted, each once; none when the file is only for people.
pub fn licences(text: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut all = stanzas(text);
    match all.next() {
        Some(Ok(head)) => {
            let format = head.field("Format").unwrap_or_default();
            if !format.contains("copyright-format/1.")
                && !format.contains("dep.debian.net/deps/dep5")
            {
                return Vec::new();
            }
            take(&head, &mut found);
        }
        _ => return Vec::new(),
    }
    // What cannot be read ends the file: what was found until then holds.
    for stanza in all.map_while(Result::ok) {
        take(&stanza, &mut found);
        if found.len() >= MAX_LICENCES {
            break;
        }
    }
    found.into_iter().collect()
}

fn take(stanza: &Stanza<'_>, found: &mut BTreeSet<String>) {
    let Some(field) = stanza.field("License") else {
        return;
    };
    let line = field.lines().next().unwrap_or_default().trim();
    let sound = line.len() <= MAX_NAME && line.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !line.is_empty() && sound {
        found.insert(line.to_owned());
    }
}

/// Short names of Debian and what SPDX calls the same.
const NAMES: [(&str, &str); 46] = [
    ("AGPL-3", "AGPL-3.0-only"),
    ("AGPL-3+", "AGPL-3.0-or-later"),
    ("Apache-2", "Apache-2.0"),
    ("Apache-2.0", "Apache-2.0"),
    ("Artistic", "Artistic-1.0-Perl"),
    ("Artistic-2.0", "Artistic-2.0"),
    ("BSD-2-clause", "BSD-2-Clause"),
    ("BSD-3-clause", "BSD-3-Clause"),
    ("BSD-4-clause", "BSD-4-Clause"),
    ("BSL-1.0", "BSL-1.0"),
    ("CC-BY-3.0", "CC-BY-3.0"),
    ("CC-BY-4.0", "CC-BY-4.0"),
    ("CC-BY-SA-3.0", "CC-BY-SA-3.0"),
    ("CC-BY-SA-4.0", "CC-BY-SA-4.0"),
    ("CC0", "CC0-1.0"),
    ("CC0-1.0", "CC0-1.0"),
    ("Expat", "MIT"),
    ("FTL", "FTL"),
    ("GFDL-1.2", "GFDL-1.2-only"),
    ("GFDL-1.2+", "GFDL-1.2-or-later"),
    ("GFDL-1.3", "GFDL-1.3-only"),
    ("GFDL-1.3+", "GFDL-1.3-or-later"),
    ("GPL-1", "GPL-1.0-only"),
    ("GPL-1+", "GPL-1.0-or-later"),
    ("GPL-2", "GPL-2.0-only"),
    ("GPL-2+", "GPL-2.0-or-later"),
    ("GPL-2.0", "GPL-2.0-only"),
    ("GPL-2.0+", "GPL-2.0-or-later"),
    ("GPL-3", "GPL-3.0-only"),
    ("GPL-3+", "GPL-3.0-or-later"),
    ("GPL-3.0", "GPL-3.0-only"),
    ("GPL-3.0+", "GPL-3.0-or-later"),
    ("ISC", "ISC"),
    ("LGPL-2", "LGPL-2.0-only"),
    ("LGPL-2+", "LGPL-2.0-or-later"),
    ("LGPL-2.1", "LGPL-2.1-only"),
    ("LGPL-2.1+", "LGPL-2.1-or-later"),
    ("LGPL-3", "LGPL-3.0-only"),
    ("LGPL-3+", "LGPL-3.0-or-later"),
    ("MIT", "MIT"),
    ("MPL-1.1", "MPL-1.1"),
    ("MPL-2.0", "MPL-2.0"),
    ("OFL-1.1", "OFL-1.1"),
    ("PSF-2", "PSF-2.0"),
    ("W3C", "W3C"),
    ("Zlib", "Zlib"),
];

/// What SPDX calls a licence of this short name, when it has it in its list.
pub fn spdx(name: &str) -> Option<&'static str> {
    NAMES
        .iter()
        .find(|(debian, _)| debian.eq_ignore_ascii_case(name))
        .map(|(_, spdx)| *spdx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_of_a_machine_readable_file() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n\n\
                    Files: *\nCopyright: 2020 A\nLicense: GPL-2+\n\nFiles: debian/*\nCopyright: B\nLicense: Expat\n Permission\n\n\
                    License: GPL-2+\n This program\n";
        assert_eq!(licences(text), ["Expat", "GPL-2+"]);
        assert_eq!(
            licences("This package was debianized by X.\n\nLicense:\n\nGPL\n"),
            Vec::<String>::new()
        );
        assert_eq!(licences(""), Vec::<String>::new());
    }

    #[test]
    fn names_are_bounded_and_plain() {
        let head = "Format: http://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n";
        let long = format!("{head}Files: *\nLicense: {}\n", "x".repeat(65));
        assert_eq!(licences(&long), Vec::<String>::new());
        assert_eq!(
            licences(&format!("{head}Files: *\nLicense: a\u{1b}b\n")),
            Vec::<String>::new()
        );
        let many: String = (0..100)
            .map(|n| format!("Files: {n}\nLicense: L{n:03}\n\n"))
            .collect();
        assert_eq!(licences(&format!("{head}{many}")).len(), MAX_LICENCES);
    }

    #[test]
    fn the_names_of_spdx() {
        assert_eq!(spdx("gpl-2+"), Some("GPL-2.0-or-later"));
        assert_eq!(spdx("Expat"), Some("MIT"));
        assert_eq!(spdx("public-domain"), None);
    }
}
