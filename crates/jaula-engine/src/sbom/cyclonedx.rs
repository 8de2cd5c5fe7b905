//! CycloneDX 1.5 as JSON (ECMA-424's forerunner; the specification's `bom-1.5.schema.json`).

use super::{Contents, Package, timestamp};
use jaula_repo::deb::copyright::spdx;
use serde_json::{Value, json};

/// The document.
pub(super) fn document(contents: &Contents) -> Value {
    let parts: Vec<Value> = contents
        .packages
        .iter()
        .map(|package| component(contents, package))
        .collect();
    let refs: Vec<&Value> = parts
        .iter()
        .filter_map(|part| part.get("bom-ref"))
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "dependencies": [{ "dependsOn": refs, "ref": IMAGE }],
        "components": parts,
        "metadata": {
            "component": {
                "bom-ref": IMAGE,
                "name": contents.name(),
                "type": "operating-system",
                "version": if contents.suite.is_empty() { "0" } else { &contents.suite },
            },
            "timestamp": timestamp(contents.created),
            "tools": { "components": [{
                "name": "jaula", "type": "application", "version": env!("CARGO_PKG_VERSION"),
            }] },
        },
        "serialNumber": format!("urn:uuid:{}", contents.uuid()),
        "specVersion": "1.5",
        "version": 1,
    })
}

const IMAGE: &str = "image";

fn component(contents: &Contents, package: &Package) -> Value {
    let purl = contents.purl(package);
    let mut value = json!({
        "bom-ref": purl,
        "name": package.name,
        "properties": [
            { "name": "jaula:deb:arch", "value": package.arch },
            { "name": "jaula:deb:source", "value": package.source },
        ],
        "purl": purl,
        "type": "library",
        "version": package.version,
    });
    let Some(fields) = value.as_object_mut() else {
        return value;
    };
    if let Some(sha256) = &package.sha256 {
        fields.insert(
            "hashes".to_owned(),
            json!([{ "alg": "SHA-256", "content": sha256 }]),
        );
    }
    if !package.licences.is_empty() {
        let licences: Vec<Value> = package
            .licences
            .iter()
            .map(|name| match spdx(name) {
                Some(id) => json!({ "license": { "id": id } }),
                None => json!({ "license": { "name": name } }),
            })
            .collect();
        fields.insert("licenses".to_owned(), Value::Array(licences));
    }
    if !package.maintainer.is_empty() {
        fields.insert("publisher".to_owned(), json!(package.maintainer));
    }
    if !package.summary.is_empty() {
        fields.insert("description".to_owned(), json!(package.summary));
    }
    if package.homepage.starts_with("http") && package.homepage.contains("://") {
        let there = json!([{ "type": "website", "url": package.homepage }]);
        fields.insert("externalReferences".to_owned(), there);
    }
    value
}
