//! What apt in an image is told of the sources: the files of sources.list(5).

use super::sources::{Source, Sources};
use crate::names::Arch;

/// A text file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptFile {
    /// Its path below the image's root.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// Where the main list is.
const SOURCES_LIST: &str = "etc/apt/sources.list";

impl Sources {
    /// The text of the image's `/etc/apt/sources.list`, as far as it needs no keys of its own.
    pub fn sources_list(&self) -> String {
        self.list(&|_| Vec::new())
    }

    fn list(&self, keys: &dyn Fn(&Source) -> Vec<String>) -> String {
        let own = self.written().filter(|source| source.name.is_none());
        own.map(|source| format!("{}\n", line(source, &keys(source))))
            .collect()
    }

    /// Sources that stay in the image.
    fn written(&self) -> impl Iterator<Item = &Source> {
        let all = self.entries.iter().chain(&self.image_only);
        all.filter(|source| source.used != crate::spec::source::Used::Build)
    }

    /// Sources that apt in the image needs keys for that no package brings.
    pub fn with_own_keys(&self) -> impl Iterator<Item = &Source> {
        self.written()
            .filter(|source| source.own_keys && !on_disc(source))
    }

    /// Every file that names sources: the main list first. `keys` tells where a source's keys are in the image.
    pub fn image_files(&self, keys: &dyn Fn(&Source) -> Vec<String>) -> Vec<AptFile> {
        let mut files = vec![AptFile {
            path: SOURCES_LIST.to_owned(),
            text: self.list(keys),
        }];
        let mut stanzas: Vec<(&Source, Vec<&str>)> = Vec::new();
        for source in self.written().filter(|source| !on_disc(source)) {
            match stanzas.last_mut() {
                Some((first, suites)) if same_but_suite(first, source) => {
                    suites.push(&source.suite);
                }
                _ => stanzas.push((source, vec![&source.suite])),
            }
        }
        for (source, suites) in stanzas {
            let Some(name) = &source.name else { continue };
            let path = format!("etc/apt/sources.list.d/{name}.sources");
            let text = stanza(source, &suites, &keys(source));
            match files.iter_mut().find(|file| file.path == path) {
                Some(file) => file.text.push_str(&format!("\n{text}")),
                None => files.push(AptFile { path, text }),
            }
        }
        files
    }
}

fn on_disc(source: &Source) -> bool {
    source.uri.starts_with("cdrom:")
}

fn same_but_suite(first: &Source, other: &Source) -> bool {
    let same = Source {
        suite: first.suite.clone(),
        ..other.clone()
    };
    *first == same && first.flat() == other.flat()
}

fn line(source: &Source, keys: &[String]) -> String {
    let mut options = Vec::new();
    if !source.archs.is_empty() {
        options.push(format!("arch={}", joined(&source.archs, ",")));
    }
    if !keys.is_empty() {
        options.push(format!("signed-by={}", keys.join(",")));
    }
    if source.trusted_always {
        options.push("trusted=yes".to_owned());
    }
    if !source.check_valid_until {
        options.push("check-valid-until=no".to_owned());
    }
    // A disc that was read as a file is nothing that apt in the image could read again.
    let mut text = String::from(if on_disc(source) { "# deb " } else { "deb " });
    if !options.is_empty() {
        text.push_str(&format!("[{}] ", options.join(" ")));
    }
    text.push_str(&format!("{} {}", source.uri, source.suite));
    for component in &source.components {
        text.push_str(&format!(" {component}"));
    }
    text
}

fn stanza(source: &Source, suites: &[&str], keys: &[String]) -> String {
    let types = if source.source_packages {
        "deb deb-src"
    } else {
        "deb"
    };
    let mut text = format!(
        "Types: {types}\nURIs: {}\nSuites: {}\n",
        source.uri,
        suites.join(" ")
    );
    let mut field = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("{name}: {value}\n"));
        }
    };
    field("Components", source.components.join(" "));
    field("Architectures", joined(&source.archs, " "));
    field("Signed-By", keys.join(" "));
    let word = |said: bool, word: &str| if said { word } else { "" }.to_owned();
    field("Trusted", word(source.trusted_always, "yes"));
    field("Check-Valid-Until", word(!source.check_valid_until, "no"));
    text
}

fn joined(archs: &[Arch], between: &str) -> String {
    let names: Vec<&str> = archs.iter().map(Arch::as_str).collect();
    names.join(between)
}
