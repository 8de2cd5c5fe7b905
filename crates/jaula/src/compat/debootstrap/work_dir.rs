//! The directory `debootstrap` in the target: what the tool leaves there for its second stage, and for whoever looks.

use super::options::{Asked, Work};
use super::request::Request;
use super::voice::Voice;
use jaula_engine::export::{Extra, ExtraKind};
use jaula_engine::image::deb_name;
use jaula_engine::{Engine, EngineError, ImagePlan};
use std::collections::{BTreeMap, BTreeSet};

/// The second stage, where no jaula is: run in the target by its own shell.
pub const SECOND_STAGE: &str = include_str!("second_stage.sh");

fn file(name: &str, mode: u32, content: impl Into<Vec<u8>>) -> Extra {
    Extra {
        path: format!("debootstrap/{name}").into(),
        what: ExtraKind::File {
            mode,
            content: content.into(),
        },
        replaces: true,
    }
}

/// What the tool installs first, and then: packages of priority `required` with what they need, and the others. By
/// their control fields, where they were fetched; else as jaula itself parts them.
fn parts(engine: &Engine, plan: &ImagePlan, voice: &Voice) -> (Vec<String>, Vec<String>) {
    let mut index = String::new();
    for source in 0..plan.lock().sources.len() {
        match engine.index_text(plan, source) {
            Ok(text) => index.push_str(&text),
            Err(_) => return voice.parts(),
        }
    }
    let first = required(&index);
    let all = plan
        .lock()
        .packages
        .iter()
        .map(|package| package.name.clone());
    let (mut required, mut base): (Vec<String>, Vec<String>) =
        all.partition(|name| first.contains(name));
    required.sort();
    base.sort();
    (required, base)
}

/// Packages of an index whose priority is `required` and those of it that they need, alternatives and providers too.
fn required(index: &str) -> BTreeSet<String> {
    fn value<'a>(stanza: &'a str, field: &str) -> &'a str {
        let mut lines = stanza.lines();
        let found = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        found.unwrap_or_default()
    }
    // Names only: what is in the plan has the right version.
    fn relations(text: &str) -> impl Iterator<Item = &str> {
        text.split([',', '|'])
            .filter_map(|word| word.split([' ', ':', '(']).find(|part| !part.is_empty()))
    }
    let stanzas: Vec<&str> = index
        .split("\n\n")
        .filter(|stanza| !stanza.trim().is_empty())
        .collect();
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for stanza in &stanzas {
        let names = std::iter::once(value(stanza, "Package"));
        for name in names.chain(relations(value(stanza, "Provides"))) {
            by_name.entry(name).or_default().push(stanza);
        }
    }
    let mut found = BTreeSet::new();
    let mut left: Vec<&str> = stanzas
        .iter()
        .copied()
        .filter(|stanza| {
            value(stanza, "Priority") == "required" || value(stanza, "Essential") == "yes"
        })
        .collect();
    while let Some(stanza) = left.pop() {
        if !found.insert(value(stanza, "Package").to_owned()) {
            continue;
        }
        for field in ["Pre-Depends", "Depends"] {
            for name in relations(value(stanza, field)) {
                left.extend(by_name.get(name).into_iter().flatten().copied());
            }
        }
    }
    found
}

/// The files that name what is to be installed.
pub fn files(
    engine: &Engine,
    asked: &Asked,
    request: &Request,
    plan: &ImagePlan,
    voice: &Voice,
) -> Vec<Extra> {
    let (required, base) = parts(engine, plan, voice);
    // Once it is done there is no second stage.
    let script = if asked.work == Work::Install {
        0o644
    } else {
        0o755
    };
    let (mut paths, mut uris) = (String::new(), String::new());
    for package in &plan.lock().packages {
        let name = &package.name;
        paths.push_str(&format!(
            "{name} /var/cache/apt/archives/{}\n",
            deb_name(package)
        ));
        uris.push_str(&format!(
            "{name} {} {}/{}\n",
            package.version, request.mirror, package.path
        ));
    }
    let mut files = vec![
        file("arch", 0o644, format!("{}\n", request.arch)),
        file("suite", 0o644, format!("{}\n", request.relative.suite)),
        file("mirror", 0o644, format!("{}\n", request.mirror)),
        file("required", 0o644, format!("{}\n", required.join("\n"))),
        file("base", 0o644, format!("{} \n", base.join(" "))),
        file("debpaths", 0o644, paths),
        file("deburis", 0o644, uris),
        file("debootstrap", script, SECOND_STAGE),
    ];
    if !asked.variant.is_empty() {
        files.push(file("variant", 0o644, format!("{}\n", asked.variant)));
    }
    if !asked.extra_suites.is_empty() {
        files.push(file(
            "extra-suites",
            0o644,
            format!("{}\n", asked.extra_suites.join(" ")),
        ));
    }
    files
}

/// The packages' indices, where apt in the target would have them.
///
/// # Errors
/// When a package cannot be read.
pub fn lists(
    engine: &Engine,
    request: &Request,
    plan: &ImagePlan,
) -> Result<Vec<Extra>, EngineError> {
    let mut lists = Vec::new();
    for (number, source) in plan.lock().sources.iter().enumerate() {
        for (at, component) in source.components.split(',').enumerate() {
            let path = format!(
                "dists/{}/{component}/binary-{}/Packages",
                source.suite, request.arch
            );
            let place = request
                .mirror
                .split_once("://")
                .map_or(request.mirror.as_str(), |(_, rest)| rest);
            let name = format!("{place}_{path}").replace('/', "_");
            let content = if at == 0 {
                engine.index_text(plan, number)?
            } else {
                String::new()
            };
            lists.push(Extra {
                path: format!("var/lib/apt/lists/{name}").into(),
                what: ExtraKind::File {
                    mode: 0o644,
                    content: content.into_bytes(),
                },
                replaces: true,
            });
        }
    }
    Ok(lists)
}

/// What was said so far, where the tool keeps it meanwhile.
pub fn log(voice: &Voice) -> Extra {
    file("debootstrap.log", 0o644, voice.log())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_required_packages_need_comes_with_them() {
        let index = "Package: libc6\nPriority: optional\n\n\
                     Package: login\nPriority: required\nPre-Depends: libc6 (>= 2.3), libpam:any\n\n\
                     Package: libpam\nDepends: none-such | debconf-2.0\n\n\
                     Package: debconf\nProvides: debconf-2.0 (= 1)\nDepends: login\n\n\
                     Package: apt\nPriority: important\nDepends: libc6, other\n\nPackage: other\n\n";
        let found: Vec<String> = required(index).into_iter().collect();
        assert_eq!(found, ["debconf", "libc6", "libpam", "login"]);
    }
}
