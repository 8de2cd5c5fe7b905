//! SPDX 2.3 as JSON (ISO/IEC 5962; the specification's chapters 6, 7, 10 and 11).

use super::{Contents, Package, timestamp};
use jaula_repo::deb::copyright::spdx;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Names of licences that are not in SPDX's list: by their references.
type Others = BTreeMap<String, String>;

/// The document.
pub(super) fn document(contents: &Contents) -> Value {
    let mut others = Others::new();
    let packages = contents.packages.iter().enumerate();
    let listed: Vec<Value> = packages
        .map(|(number, package)| listed(contents, number, package, &mut others))
        .collect();
    let name = contents.name();
    let image = json!({
        "SPDXID": IMAGE,
        "copyrightText": "NOASSERTION",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "name": name,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "supplier": "NOASSERTION",
    });
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    let ids = listed
        .iter()
        .filter_map(|package| package.get("SPDXID")?.as_str());
    relations.extend(ids.map(|id| relation(IMAGE, "CONTAINS", id)));
    let mut document = json!({
        "SPDXID": "SPDXRef-DOCUMENT",
        "creationInfo": {
            "created": timestamp(contents.created),
            "creators": [format!("Tool: jaula-{}", env!("CARGO_PKG_VERSION"))],
        },
        "dataLicense": "CC0-1.0",
        "documentNamespace": format!("https://spdx.org/spdxdocs/{}-{}", super::encoded(&name), contents.uuid()),
        "name": name,
        "packages": std::iter::once(image).chain(listed).collect::<Vec<_>>(),
        "relationships": relations,
        "spdxVersion": "SPDX-2.3",
    });
    let texts: Vec<Value> = others
        .iter()
        .map(|(id, name)| {
            json!({
                "extractedText": "See the file copyright of the package in /usr/share/doc.",
                "licenseId": id,
                "name": name,
            })
        })
        .collect();
    if let Some(fields) = document.as_object_mut()
        && !texts.is_empty()
    {
        fields.insert("hasExtractedLicensingInfos".to_owned(), Value::Array(texts));
    }
    document
}

const IMAGE: &str = "SPDXRef-Image";

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "relatedSpdxElement": to, "relationshipType": kind, "spdxElementId": from })
}

fn listed(contents: &Contents, number: usize, package: &Package, others: &mut Others) -> Value {
    let mut value = json!({
        // Names may hold what identifiers may not; the number makes them differ.
        "SPDXID": format!("SPDXRef-Package-{}-{}", number.saturating_add(1), word(&package.name)),
        "copyrightText": "NOASSERTION",
        "downloadLocation": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceLocator": contents.purl(package),
            "referenceType": "purl",
        }],
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": expression(&package.licences, others),
        "name": package.name,
        "sourceInfo": format!("built from: {}", package.source),
        "supplier": supplier(&package.maintainer),
        "versionInfo": package.version,
    });
    if let Some(fields) = value.as_object_mut() {
        if let Some(sha256) = &package.sha256 {
            let sums = json!([{ "algorithm": "SHA256", "checksumValue": sha256 }]);
            fields.insert("checksums".to_owned(), sums);
        }
        if package.homepage.contains("://") {
            fields.insert("homepage".to_owned(), json!(package.homepage));
        }
        if !package.summary.is_empty() {
            fields.insert("summary".to_owned(), json!(package.summary));
        }
    }
    value
}

/// `Name <address>` as `Organization: Name (address)`.
fn supplier(maintainer: &str) -> String {
    match maintainer.split_once('<') {
        _ if maintainer.is_empty() => "NOASSERTION".to_owned(),
        Some((name, address)) => format!(
            "Organization: {} ({})",
            name.trim(),
            address.trim_end_matches('>').trim()
        ),
        None => format!("Organization: {maintainer}"),
    }
}

/// All licences of a package in one expression (annex D); names that SPDX lacks become references.
fn expression(licences: &[String], others: &mut Others) -> String {
    if licences.is_empty() {
        return "NOASSERTION".to_owned();
    }
    let mut all: Vec<String> = licences
        .iter()
        .map(|licence| {
            let choices: Vec<String> = licence
                .split(" or ")
                .map(|choice| {
                    let parts: Vec<String> = choice
                        .split(" and ")
                        .map(|name| identifier(name.trim(), others))
                        .collect();
                    parts.join(" AND ")
                })
                .collect();
            match choices.as_slice() {
                [only] => only.clone(),
                several => format!("({})", several.join(" OR ")),
            }
        })
        .collect();
    // Several short names may be one licence, or one reference.
    all.sort_unstable();
    all.dedup();
    all.join(" AND ")
}

fn identifier(name: &str, others: &mut Others) -> String {
    if let Some(known) = spdx(name) {
        return known.to_owned();
    }
    let id = format!("LicenseRef-{}", word(name));
    others.entry(id.clone()).or_insert_with(|| name.to_owned());
    id
}

/// What identifiers may hold: letters, digits, `.` and `-`.
fn word(text: &str) -> String {
    let word: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else if c == '+' {
                'p'
            } else {
                '-'
            }
        })
        .collect();
    if word.is_empty() {
        "none".to_owned()
    } else {
        word
    }
}
