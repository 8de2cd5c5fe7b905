use super::*;
use proptest::prelude::*;

fn one(text: &str, form: Form) -> Result<Repository, ListError> {
    let mut all = entries(text, form, Reading::Request);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).map(|mut entry| {
        assert_eq!(entry.repositories.len(), 1);
        entry.repositories.remove(0)
    })
}

#[test]
fn a_line_is_read_with_its_options() {
    let read = one(
        "deb [ arch=amd64,i386 signed-by=/k/a.gpg,/k/b.asc trusted=yes check-valid-until=no lang=en by-hash=force ] \
         https://ana:pw@h.example/debian/ bookworm main contrib # why\n",
        Form::Lines,
    );
    assert_eq!(
        read,
        Ok(Repository {
            uri: "https://ana:pw@h.example/debian".into(),
            suites: vec!["bookworm".into()],
            components: vec!["main".into(), "contrib".into()],
            archs: vec!["amd64".parse().unwrap(), "i386".parse().unwrap()],
            signed_by: SignedBy::Files(vec!["/k/a.gpg".into(), "/k/b.asc".into()]),
            trust: Trust::Unsigned,
            check_valid_until: false,
            ..Repository::default()
        })
    );
    let flat = one("deb [trusted=yes] file:/srv/debs ./", Form::Lines).unwrap();
    assert_eq!(
        (flat.uri.as_str(), flat.suites),
        ("file:///srv/debs", vec!["./".to_owned()])
    );
    assert!(flat.components.is_empty());
}

#[test]
fn a_stanza_is_read_with_its_fields() {
    let text = "# a comment\nTypes: deb deb-src\nURIs: http://a/x\n# another\n copy:/srv/y\nSuites: one two\n\
                Components: main\nArchitectures: arm64\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc=\n \
                -----END PGP PUBLIC KEY BLOCK-----\nX-Repolib-Name: mine\n\nTypes: deb\nEnabled: no\nURIs: x\n\n\n";
    let all = entries(text, Form::Stanzas, Reading::Request);
    let [Ok(entry)] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert!(entry.binary);
    let uris: Vec<&str> = entry.repositories.iter().map(|r| r.uri.as_str()).collect();
    assert_eq!(uris, ["http://a/x", "copy:///srv/y"]);
    let last = entry.repositories.last().unwrap();
    assert!(last.source_packages);
    assert_eq!(last.suites, ["one", "two"]);
    assert_eq!(
        last.signed_by,
        SignedBy::Inline(
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc=\n-----END PGP PUBLIC KEY BLOCK-----\n"
                .into()
        )
    );
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, said) in [
        (
            "dep http://a b main",
            "line 1, column 1: a line begins with deb or deb-src, not \"dep\"",
        ),
        (
            "\n  deb [arhc=amd64] http://a b main",
            "line 2, column 8: unknown option \"arhc\": is it arch?",
        ),
        ("deb [arch=amd64,Ä] http://a b main", "line 1, column 17: "),
        (
            "deb [snapshot=2024] http://a b main",
            "line 1, column 6: jaula cannot do what snapshot asks for",
        ),
        (
            "deb [allow-insecure=yes] http://a b main",
            "line 1, column 6: jaula cannot do",
        ),
        (
            "deb [trusted=maybe] http://a b main",
            "line 1, column 14: \"maybe\" is neither yes nor no",
        ),
        (
            "deb [trusted=no] http://a b main",
            "line 1, column 6: trusted=no would never trust it",
        ),
        (
            "deb [trusted] http://a b main",
            "line 1, column 6: the option \"trusted\" has no value",
        ),
        (
            "deb [signed-by=ABCDEF] http://a b main",
            "line 1, column 16: signed-by \"ABCDEF\" is no path",
        ),
        (
            "deb [arch=amd64 http://a b main",
            "line 1, column 5: the bracket of the options is not closed",
        ),
        ("deb", "line 1, column 4: the address is missing"),
        ("deb http://a", "line 1, column 13: the suite is missing"),
        ("deb http://a b", "line 1, column 15: the component"),
        (
            "deb http://a b/ main",
            "line 1, column 17: a flat repository",
        ),
        (
            "deb ssh://a b main",
            "line 1, column 5: \"ssh://a\" is no address",
        ),
        (
            "deb ftp://u:secret@a b main",
            "line 1, column 5: \"ftp://a\" is no address",
        ),
        (
            "deb http://a ../b main",
            "line 1, column 14: \"../b\" is no suite",
        ),
        (
            "deb http://a b ma%n",
            "line 1, column 16: \"ma%n\" is no component",
        ),
    ] {
        let error = one(text, Form::Lines).expect_err(text).to_string();
        assert!(error.starts_with(said), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let good = "Types: deb\nURIs: http://a\nSuites: b\nComponents: main\n";
    for (text, said) in [
        (
            format!("{good}Sined-By: /k\n"),
            "line 5, column 1: unknown field \"Sined-By\": is it signed-by?",
        ),
        (
            format!("{good}Suites: c\n"),
            "line 5, column 1: the field Suites stands there twice",
        ),
        (
            good.replace("deb\n", "deb rpm\n"),
            "line 1, column 12: unknown type \"rpm\"",
        ),
        (
            good.replace("Suites: b\n", ""),
            "line 1, column 1: the stanza has no Suites",
        ),
        (
            good.replace("Types: deb\n", ""),
            "line 1, column 1: the stanza has no Types",
        ),
        (
            good.replace("Components: main\n", ""),
            "line 1, column 1: the stanza has no Components",
        ),
        (
            format!(" x\n{good}"),
            "line 1, column 1: a line that goes on",
        ),
        (
            format!("{good}nonsense\n"),
            "line 5, column 1: a field has a name and a colon",
        ),
        (
            format!("{good}Signed-By: /k\n  relative\n"),
            "line 6, column 3: signed-by",
        ),
        (format!("{good}Enabled: perhaps\n"), "line 5, column 10: "),
        (
            format!("{good}Valid-Until-Max: 5\n"),
            "line 5, column 1: jaula cannot do",
        ),
    ] {
        let error = one(&text, Form::Stanzas).expect_err(&text).to_string();
        assert!(error.starts_with(said), "{text}: {error}");
    }
}

#[test]
fn the_hosts_odd_entries_are_passed_over() {
    let text = "deb [future-option=1] http://a b main\ndeb [signed-by=ABCD] http://c d main\nnonsense\ndeb cdrom:[x y]/ e main\n";
    let all = entries(text, Form::Lines, Reading::Host);
    let uris: Vec<String> = all
        .into_iter()
        .flatten()
        .flat_map(|entry| entry.repositories)
        .map(|repository| repository.uri)
        .collect();
    assert_eq!(uris, ["http://a", "cdrom:[x"]);
}

#[test]
fn a_text_of_a_million_lines_has_an_end() {
    let all = entries(
        &"deb http://a b main\n".repeat(10_000),
        Form::Lines,
        Reading::Request,
    );
    assert_eq!(all.len(), MAX_ENTRIES + 1);
    assert!(all.last().unwrap().is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}") {
        for form in [Form::Lines, Form::Stanzas] {
            for reading in [Reading::Host, Reading::Request] {
                let count = text.lines().count();
                for entry in entries(&text, form, reading) {
                    let line = match entry {
                        Ok(entry) => entry.line,
                        Err(error) => error.line,
                    };
                    prop_assert!(line >= 1 && line <= count.max(1) + 1);
                }
            }
        }
    }

    #[test]
    fn words_of_sources_make_no_panic(words in prop::collection::vec(
        prop::sample::select(vec![
            "deb", "deb-src", "[", "]", "[arch=", "amd64", ",", "=", "trusted=yes", "]x", "http://a", "main", "./", "\n",
            " ", "Types:", "URIs:", "Suites:", "#", "\u{e9}", "signed-by=/k]", "-----BEGIN PGP", ".",
        ]), 0..30))
    {
        let text = words.join(" ");
        for form in [Form::Lines, Form::Stanzas] {
            entries(&text, form, Reading::Request);
            entries(&words.concat(), form, Reading::Host);
        }
    }
}
