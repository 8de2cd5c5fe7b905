//! Where packages come from: distributions that no table knows, discs, flat repositories, several sources, and what is
//! wrong with them.

#![allow(clippy::disallowed_types)]

mod tls;
mod who;

use jaula_testkit::relative::{iso, relative};
use jaula_testkit::{
    DebBuilder, Hermetic, Ran, RepoBuilder, TestKey, hermetic, partial_mirror, skip,
};
use std::fs;
use std::path::Path;
use who::everyone;

fn key(name: &str) -> TestKey {
    TestKey::sound(name).expect("a key")
}

/// S20: the archive of a relative that nobody has heard of, its key, and nothing else.
#[test]
fn a_distribution_that_no_table_knows_is_made_from_its_index_alone() {
    let mirror = match partial_mirror(&[]) {
        Ok(dir) => dir,
        Err(error) => skip!("no mirror: {error:#}"),
    };
    everyone(|user| {
        let place = &user.place;
        let archive = relative(
            &mirror,
            "bookworm",
            &place.path().join("work/guadalinex-buho"),
            "buho",
            &key("buho"),
        );
        let archive = archive.expect("an archive");
        let (url, keyring) = (archive.url(), archive.keyring.display().to_string());
        // Without its archive nobody knows it, and what to do is said.
        let ran = place
            .run(&["new", "buho", "--from", "guadalinex:buho"])
            .expect(125);
        assert!(ran.stderr.contains("--mirror"), "{}", ran.stderr);
        let ran = place
            .run(&["new", "buho", "--from", "guadalinex:buho", "--mirror", &url])
            .expect(125);
        assert!(
            ran.stderr.contains("no key for deb file://") && ran.stderr.contains("--keyring"),
            "{}",
            ran.stderr
        );
        let words = [
            "new",
            "buho",
            "--mirror",
            &url,
            "--suite",
            "buho",
            "--keyring",
            &keyring,
            "--arch",
            "amd64",
        ];
        place.run(&words).expect(0);
        let script = "cat /etc/apt/sources.list; readlink /bin; dpkg-query -W -f '${db:Status-Status}\\n' | sort | uniq -c; \
                      test -s /etc/apt/keyrings/buho.gpg && ls /etc/apt/sources.list.d | wc -l";
        let ran = place
            .run(&["exec", "buho", "--", "sh", "-c", script])
            .expect(0);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        let [list, bin, status, more] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert_eq!(
            *list,
            format!("deb [signed-by=/etc/apt/keyrings/buho.gpg] {url} buho main")
        );
        assert_eq!((*bin, more.trim()), ("usr/bin", "0"));
        assert!(status.trim().ends_with(" installed"), "{status}");
        // The same by REF is the same image.
        let words = [
            "build",
            "buho:buho",
            "--mirror",
            &url,
            "--keyring",
            &keyring,
            "--arch",
            "amd64",
            "--plan",
        ];
        let ran = place.run(&words).expect(0);
        assert!(ran.stdout.contains("the store has it"), "{}", ran.stdout);
    });
}

#[test]
fn a_disc_is_an_archive() {
    let mirror = match partial_mirror(&[]) {
        Ok(dir) => dir,
        Err(error) => skip!("no mirror: {error:#}"),
    };
    let place = hermetic!();
    let work = place.path().join("work");
    let archive = relative(&mirror, "bookworm", &work, "buho", &key("buho")).expect("an archive");
    // As on Debian's discs: a suite by another name is a link.
    let disc = work.join("disc.iso");
    if let Err(error) = iso(&archive.dir, &disc, true) {
        skip!("no disc: {error:#}");
    }
    let keyring = archive.keyring.display().to_string();
    let mirror = format!("cdrom:{}", disc.display());
    let words = [
        "build",
        "guadalinex:buho",
        "--mirror",
        &mirror,
        "--keyring",
        &keyring,
        "--arch",
        "amd64",
        "--variant",
        "essential",
    ];
    place.run(&[&words[..], &["-o", "tree"]].concat()).expect(0);
    let list = fs::read_to_string(work.join("tree/etc/apt/sources.list")).expect("a list");
    // Nothing that apt in the image could read again.
    assert!(list.starts_with("# deb cdrom:"), "{list}");
    assert!(work.join("tree/var/lib/dpkg/status").is_file());
    assert!(!work.join("tree/etc/apt/keyrings").exists());
}

fn deb(name: &str, version: &str, text: &str) -> jaula_testkit::Deb {
    DebBuilder::new(name, version)
        .file("usr/share/probe", text, 0o644)
        .build()
        .expect("a package")
}

struct Shown {
    place: Hermetic,
}

impl Shown {
    /// The packages of the plan: name and version, in the order of their names.
    #[track_caller]
    fn packages(&self, words: &[&str]) -> Vec<String> {
        let fixed = [
            "build",
            "guadalinex:buho",
            "--arch",
            "amd64",
            "--variant",
            "custom",
            "--plan",
            "--json",
        ];
        let ran = self.place.run(&[&fixed, words].concat()).expect(0);
        let plan: serde_json::Value = ran
            .stdout
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .find(|value: &serde_json::Value| value.to_string().contains("\"packages\""))
            .expect("a plan");
        let mut found = Vec::new();
        collect(&plan, &mut found);
        found.sort();
        found
    }

    fn run(&self, words: &[&str]) -> Ran {
        let fixed = [
            "build",
            "guadalinex:buho",
            "--arch",
            "amd64",
            "--variant",
            "custom",
            "--plan",
        ];
        self.place.run(&[&fixed, words].concat())
    }

    /// One error that says all of it.
    #[track_caller]
    fn refuses(&self, words: &[&str], said: &[&str]) {
        let ran = self.run(words).expect(125);
        for word in said {
            assert!(ran.stderr.contains(word), "no {word:?} in\n{}", ran.stderr);
        }
        assert_eq!(ran.stdout, "");
    }
}

fn collect(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            match (map.get("name"), map.get("version"), map.get("sha256")) {
                (Some(name), Some(version), Some(_)) => {
                    let text =
                        |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                    found.push(format!("{} {}", text(name), text(version)));
                }
                _ => map.values().for_each(|value| collect(value, found)),
            }
        }
        serde_json::Value::Array(all) => all.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

fn shown() -> Shown {
    Shown { place: hermetic!() }
}

fn line(options: &str, url: &str, rest: &str) -> String {
    format!("deb {options}{url} {rest}")
}

#[test]
fn several_repositories_each_with_its_key_are_one_archive() {
    let shown = shown();
    let (one, two) = (
        shown.place.path().join("work/one"),
        shown.place.path().join("work/two"),
    );
    let first = RepoBuilder::new("buho")
        .package(deb("probe", "1.0", "one"))
        .package(deb("only-one", "1.0", "x"))
        .write(&one, &key("first"))
        .expect("a repository");
    RepoBuilder::new("nuevo")
        .package(deb("probe", "2.0", "two"))
        .write(&one, &key("first"))
        .expect("a second suite");
    let flat = RepoBuilder::new("ignored")
        .package(deb("flat", "3.0", "flat"))
        .write_flat(&two, Some(&key("second")), "debs/")
        .expect("a flat repository");
    let (k1, k2) = (
        first.keyring.display().to_string(),
        flat.keyring.display().to_string(),
    );
    let buho = line(&format!("[signed-by={k1}] "), &first.url(), "buho main");
    let nuevo = line(&format!("[signed-by={k1}] "), &first.url(), "nuevo main");
    let second = line(&format!("[signed-by={k2}] "), &flat.url(), "debs/");
    let include = ["--include", "probe,flat,only-one"];
    let all = [
        "--only-sources",
        "--source",
        &buho,
        "--source",
        &nuevo,
        "--source",
        &second,
    ];
    assert_eq!(
        shown.packages(&[&all[..], &include].concat()),
        ["flat 3.0", "only-one 1.0", "probe 2.0"]
    );
    // The same by a mirror, a further suite of it, and a file of stanzas.
    let stanzas = shown.place.path().join("work/more.sources");
    let text = format!(
        "Types: deb\nURIs: {}\nSuites: debs/\nSigned-By: {k2}\n",
        flat.url()
    );
    fs::write(&stanzas, text).expect("a file");
    let stanzas = stanzas.display().to_string();
    let url = first.url();
    let by_mirror = [
        "--mirror",
        &url,
        "--keyring",
        &k1,
        "--extra-suite",
        "nuevo",
        "--sources",
        &stanzas,
    ];
    assert_eq!(
        shown.packages(&[&by_mirror[..], &include].concat()),
        ["flat 3.0", "only-one 1.0", "probe 2.0"]
    );
    // A directory of keyrings.
    let keys = shown.place.path().join("work/keys");
    fs::create_dir(&keys).expect("a directory");
    fs::copy(&first.keyring, keys.join("a.gpg")).expect("a key");
    fs::copy(&flat.keyring, keys.join("b.gpg")).expect("a key");
    let keys = keys.display().to_string();
    let plain = line("", &flat.url(), "debs/");
    let by_dir = [
        "--mirror",
        &url,
        "--keyring",
        &keys,
        "--source",
        &plain,
        "--include",
        "flat",
    ];
    assert_eq!(shown.packages(&by_dir), ["flat 3.0"]);
    // The key of the one does not sign the other.
    let wrong = line(&format!("[signed-by={k1}] "), &flat.url(), "debs/");
    shown.refuses(
        &["--only-sources", "--source", &wrong, "--include", "flat"],
        &["not signed by", &k1],
    );
    shown.refuses(
        &["--only-sources", "--source", &plain, "--include", "flat"],
        &["no key for deb file://", "debs/", "signed-by"],
    );
}

#[test]
fn a_flat_directory_without_any_signature_is_taken_only_when_that_is_said() {
    let shown = shown();
    let work = shown.place.path().join("work/flat");
    let repo = RepoBuilder::new("x")
        .package(deb("probe", "1.0", "x"))
        .write_flat(&work, None, "./")
        .expect("a directory");
    let trusted = line("[trusted=yes] ", &repo.url(), "./");
    let words = ["--only-sources", "--source", &trusted, "--include", "probe"];
    assert_eq!(shown.packages(&words), ["probe 1.0"]);
    let ran = shown.run(&words).expect(0);
    assert!(
        ran.stderr.contains("the signatures of file://"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stdout.contains("SIGNATURES ARE NOT LOOKED AT"),
        "{}",
        ran.stdout
    );
    let plain = line("", &repo.url(), "./");
    let insecure = [
        "--only-sources",
        "--source",
        &plain,
        "--insecure-no-signature",
        "--include",
        "probe",
    ];
    assert_eq!(shown.packages(&insecure), ["probe 1.0"]);
    // Packages whose bytes are not those of the index are refused all the same.
    let debs = fs::read_dir(&repo.dir).expect("the directory").flatten();
    let file = debs
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "deb"));
    fs::write(file.expect("a package"), "not a package").expect("a file");
    let words = [
        "build",
        "guadalinex:buho",
        "--arch",
        "amd64",
        "--variant",
        "custom",
    ];
    let ran = shown
        .place
        .run(&[&words[..], &insecure].concat())
        .expect(125);
    assert!(ran.stderr.contains("bytes"), "{}", ran.stderr);
}

#[test]
fn sources_that_disagree_are_both_named() {
    let shown = shown();
    let (one, two) = (
        shown.place.path().join("work/one"),
        shown.place.path().join("work/two"),
    );
    let first = RepoBuilder::new("buho")
        .package(deb("probe", "1.0", "one"))
        .write(&one, &key("k"))
        .expect("a repository");
    let second = RepoBuilder::new("buho")
        .package(deb("probe", "1.0", "two"))
        .write(&two, &key("k"))
        .expect("a repository");
    let keyring = first.keyring.display().to_string();
    let (url, more) = (first.url(), line("", &second.url(), "buho main"));
    shown.refuses(
        &[
            "--mirror",
            &url,
            "--keyring",
            &keyring,
            "--source",
            &more,
            "--include",
            "probe",
        ],
        &["probe", "1.0", &first.url(), &second.url()],
    );
}

#[test]
fn archives_that_say_something_else_are_refused() {
    let shown = shown();
    let work = shown.place.path().join("work/one");
    let repo = RepoBuilder::new("buho")
        .codename("lechuza")
        .release_field("Suite-Of", "x")
        .package(deb("probe", "1.0", "one"))
        .write(&work, &key("k"))
        .expect("a repository");
    let (url, keyring) = (repo.url(), repo.keyring.display().to_string());
    let dists = repo.dir.join("dists");
    // A suite that answers with its codename is right.
    std::os::unix::fs::symlink("buho", dists.join("lechuza")).expect("a link");
    let words = [
        "--mirror",
        &url,
        "--keyring",
        &keyring,
        "--include",
        "probe",
    ];
    let by_name = |suite: &str| {
        let reference = format!("guadalinex:{suite}");
        let fixed = [
            "build",
            &reference,
            "--arch",
            "amd64",
            "--variant",
            "custom",
            "--plan",
        ];
        shown.place.run(&[&fixed[..], &words].concat())
    };
    by_name("buho").expect(0);
    by_name("lechuza").expect(0);
    std::os::unix::fs::symlink("buho", dists.join("mochuelo")).expect("a link");
    let ran = by_name("mochuelo").expect(125);
    assert!(
        ran.stderr
            .contains("asked for mochuelo, but it is of buho, lechuza"),
        "{}",
        ran.stderr
    );
    // A component that nobody has.
    shown.refuses(
        &[&words[..], &["--components", "main,sorpresa"]].concat(),
        &["no component sorpresa", "main"],
    );
    // Indices that are longer or shorter than the signed file says.
    for file in walk(&dists)
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("binary-amd64"))
    {
        let mut bytes = fs::read(&file).expect("an index");
        bytes.extend_from_slice(b"more");
        fs::write(&file, bytes).expect("an index");
    }
    shown.refuses(&words, &["larger than"]);
    // What is wrong in what was typed is named with its place.
    let list = shown.place.path().join("work/bad.list");
    fs::write(
        &list,
        format!("# mine\ndeb [singed-by=/k] {url} buho main\n"),
    )
    .expect("a file");
    let list = list.display().to_string();
    shown.refuses(
        &["--only-sources", "--sources", &list],
        &["bad.list", "line 2, column 6", "singed-by", "signed-by"],
    );
    shown.refuses(
        &["--only-sources", "--source", "deb gopher://h/x buho main"],
        &["line 1, column 5", "gopher://h/x", "https:"],
    );
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            found.extend(walk(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_it() {
    let shown = shown();
    let work = shown.place.path().join("work/one");
    let repo = RepoBuilder::new("buho")
        .without_by_hash()
        .package(deb("probe", "1.0", "one"))
        .write(&work, &key("k"))
        .expect("a repository");
    if let Err(why) = tls::certificates(&work) {
        skip!("{why}");
    }
    let tls = match tls::serve(&repo.dir, &work) {
        Ok(tls) => tls,
        Err(why) => skip!("{why}"),
    };
    let at = |name: &str| work.join(name).display().to_string();
    let (keyring, certificate, private) = (
        repo.keyring.display().to_string(),
        at("client.pem"),
        at("client.key"),
    );
    let run = |words: &[&str]| {
        let fixed = [
            "build",
            "guadalinex:buho",
            "--arch",
            "amd64",
            "--variant",
            "custom",
            "--include",
            "probe",
            "--plan",
        ];
        let source = ["--mirror", &tls.url, "--keyring", &keyring];
        let mut command = shown.place.command(&[&fixed[..], &source, words].concat());
        command.env("SSL_CERT_FILE", work.join("ca.pem"));
        command.output().expect("jaula")
    };
    let ran = run(&["--tls-cert", &certificate, "--tls-key", &private]);
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{errors}");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("probe 1.0"));
    assert_eq!(run(&[]).status.code(), Some(125));
    // A key that is none, and a certificate without one.
    for words in [
        vec!["--tls-cert", &certificate, "--tls-key", &keyring],
        vec!["--tls-cert", &certificate],
    ] {
        let ran = run(&words);
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(125));
        assert!(errors.contains("cannot use the certificate"), "{errors}");
    }
}
