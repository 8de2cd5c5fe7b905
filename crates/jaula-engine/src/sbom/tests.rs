//! Lists of a made-up tree: what is in them, and that they are the same each time.

use super::*;
use serde_json::Value;
use std::fs;

const STATUS: &str = "Package: libx\nStatus: install ok installed\nVersion: 1:2.0+b1\nArchitecture: amd64\nSource: x (1:2.0)\n\
                      Maintainer: Debian X Team <x@example.org>\nHomepage: https://x.example/\nDescription: the X library\n long\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n\n\
                      Package: dpkg\nStatus: install ok installed\nVersion: 1.22\nArchitecture: amd64\n\n\
                      Package: evil\nStatus: install ok installed\nVersion: 1\u{1b}[31m\nArchitecture: i386\n";

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("var/lib/dpkg/status", STATUS);
    put("etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n");
    let head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n";
    put(
        "usr/share/doc/libx/copyright",
        &format!("{head}Files: *\nLicense: GPL-2+ or Artistic\n\nFiles: a\nLicense: own words\n"),
    );
    // A link in the tree leads nowhere but into the tree.
    std::os::unix::fs::symlink("/etc", dir.path().join("usr/share/doc/dpkg")).unwrap();
    dir
}

fn contents(dir: &Path) -> Contents {
    let known = Contents {
        created: 1_780_736_400,
        distro: "archive".to_owned(),
        ..Contents::default()
    };
    Contents::read(dir, known, None).unwrap()
}

#[test]
fn packages_are_those_that_are_installed() {
    let dir = tree();
    let all = contents(dir.path());
    assert_eq!(all.name(), "debian-bookworm-amd64");
    assert_eq!(
        all.manifest(),
        "dpkg\t1.22\nevil:i386\t1[31m\nlibx\t1:2.0+b1\n"
    );
    let x = all
        .packages
        .iter()
        .find(|package| package.name == "libx")
        .unwrap();
    assert_eq!(x.source, "x (1:2.0)");
    assert_eq!(x.licences, ["GPL-2+ or Artistic", "own words"]);
    assert_eq!(
        all.purl(x),
        "pkg:deb/debian/libx@1:2.0%2Bb1?arch=amd64&distro=bookworm"
    );
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(packages(empty.path()).unwrap(), []);
}

#[test]
fn an_spdx_document_has_what_the_schema_requires() {
    let dir = tree();
    let all = contents(dir.path());
    let text = all.written(SbomFormat::Spdx);
    assert_eq!(text, contents(dir.path()).written(SbomFormat::Spdx));
    let value: Value = serde_json::from_str(&text).unwrap();
    for field in [
        "SPDXID",
        "creationInfo",
        "dataLicense",
        "name",
        "spdxVersion",
        "documentNamespace",
    ] {
        assert!(value.get(field).is_some(), "{field}");
    }
    assert_eq!(value["creationInfo"]["created"], "2026-06-06T09:00:00Z");
    let packages = value["packages"].as_array().unwrap();
    let mut ids: Vec<&str> = packages
        .iter()
        .map(|package| package["SPDXID"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 4);
    for package in packages {
        assert!(package["name"].is_string() && package["downloadLocation"].is_string());
        let id = package["SPDXID"].as_str().unwrap();
        assert!(
            id.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'),
            "{id}"
        );
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    let x = packages
        .iter()
        .find(|package| package["name"] == "libx")
        .unwrap();
    assert_eq!(
        x["licenseDeclared"],
        "(GPL-2.0-or-later OR Artistic-1.0-Perl) AND LicenseRef-own-words"
    );
    assert_eq!(x["supplier"], "Organization: Debian X Team (x@example.org)");
    let texts = value["hasExtractedLicensingInfos"].as_array().unwrap();
    assert!(texts.iter().all(
        |text| text["licenseId"] == "LicenseRef-own-words" && text["extractedText"].is_string()
    ));
    assert_eq!(value["relationships"].as_array().unwrap().len(), 4);
}

#[test]
fn a_cyclonedx_document_has_what_the_schema_requires() {
    let dir = tree();
    let value: Value =
        serde_json::from_str(&contents(dir.path()).written(SbomFormat::CycloneDx)).unwrap();
    assert_eq!(
        (
            &value["bomFormat"],
            &value["specVersion"],
            &value["version"]
        ),
        (&"CycloneDX".into(), &"1.5".into(), &1.into())
    );
    let serial = value["serialNumber"].as_str().unwrap();
    let uuid: Vec<usize> = serial
        .strip_prefix("urn:uuid:")
        .unwrap()
        .split('-')
        .map(str::len)
        .collect();
    assert_eq!(uuid, [8, 4, 4, 4, 12]);
    for part in value["components"].as_array().unwrap() {
        assert!(
            part["type"] == "library" && part["name"].is_string(),
            "{part}"
        );
        assert!(
            part["purl"]
                .as_str()
                .unwrap()
                .starts_with("pkg:deb/debian/")
        );
    }
}

#[test]
fn hashes_come_from_the_lock() {
    let dir = tree();
    let sum = "ab".repeat(32);
    let lock = format!(
        "jaula-lock 1\ndistribution debian\narchitecture amd64\nvariant minbase\nsource 1 http://m/debian bookworm main {sum}\n\
         package dpkg 1.22 amd64 5 {sum} 0 pool/d.deb essential\n"
    );
    let all = Contents::read(dir.path(), Contents::default(), Some(&lock)).unwrap();
    let with: Vec<&str> = all
        .packages
        .iter()
        .filter(|p| p.sha256.is_some())
        .map(|p| p.name.as_str())
        .collect();
    assert_eq!(with, ["dpkg"]);
    assert_ne!(
        all.uuid(),
        Contents::read(dir.path(), Contents::default(), None)
            .unwrap()
            .uuid()
    );
}
