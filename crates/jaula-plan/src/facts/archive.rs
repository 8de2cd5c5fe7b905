//! What the host knows of package archives: its own APT sources and the keyrings that lie on it.

use crate::names::Arch;
use std::path::PathBuf;

/// One of the files `/etc/apt/sources.list`, `/etc/apt/sources.list.d/*.list` and `*.sources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcesFile {
    /// Where it lies. Its ending tells its format (sources.list(5)).
    pub path: PathBuf,
    /// What it holds.
    pub text: String,
}

/// The host as APT sees it, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptFacts {
    /// The host's own architecture.
    pub arch: Arch,
    /// Every architecture whose programs this processor and kernel run, the host's own first.
    pub runnable: Vec<Arch>,
    /// The host's sources, in APT's order.
    pub sources: Vec<SourcesFile>,
    /// Keyrings that APT trusts for every source (`/etc/apt/trusted.gpg`, `/etc/apt/trusted.gpg.d/*`).
    pub trusted: Vec<PathBuf>,
    /// Keyrings below `/usr/share/keyrings` and `/etc/apt/keyrings`.
    pub keyrings: Vec<PathBuf>,
}

/// One line or stanza of the host's sources, for one suite and one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptSource {
    /// Address of the archive, without a slash at its end.
    pub uri: String,
    /// Suite, as it stands in the address after `dists/`.
    pub suite: String,
    /// Components.
    pub components: Vec<String>,
    /// What `Signed-By` (`signed-by=`) says.
    pub signed_by: SignedBy,
}

/// Who may sign a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedBy {
    /// Any keyring that APT trusts.
    Trusted,
    /// The keys of these files.
    Files(Vec<PathBuf>),
    /// An armoured key that stands in the stanza itself.
    Inline(String),
    /// Something else (a fingerprint): such an entry is not used.
    Other,
}

/// Reads the binary-package entries of `files`. Lines that make no sense are skipped, as are source packages
/// (`deb-src`), disabled stanzas, flat archives (a suite that ends in a slash) and other architectures than `arch`.
pub fn apt_sources(files: &[SourcesFile], arch: &Arch) -> Vec<AptSource> {
    let mut found = Vec::new();
    for file in files {
        if file
            .path
            .extension()
            .is_some_and(|ending| ending == "sources")
        {
            stanzas(&file.text, arch, &mut found);
        } else {
            file.text
                .lines()
                .filter_map(|line| one_line(line, arch))
                .for_each(|source| found.push(source));
        }
    }
    found
}

fn clean(uri: &str) -> String {
    uri.trim_end_matches('/').to_owned()
}

/// `deb [option=value …] URI SUITE COMPONENT…`
fn one_line(line: &str, arch: &Arch) -> Option<AptSource> {
    let line = line.split('#').next().unwrap_or("").trim();
    let mut rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    rest = rest.trim_start();
    let mut signed_by = SignedBy::Trusted;
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']')?;
        rest = after.trim_start();
        for option in options.split_whitespace() {
            match option.split_once('=') {
                Some(("signed-by", value)) => signed_by = signers(value.split(',')),
                Some(("arch", value)) if !value.split(',').any(|a| a == arch.as_str()) => {
                    return None;
                }
                _ => {}
            }
        }
    }
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let components: Vec<String> = words.map(str::to_owned).collect();
    if suite.ends_with('/') || components.is_empty() {
        return None;
    }
    Some(AptSource {
        uri: clean(uri),
        suite: suite.to_owned(),
        components,
        signed_by,
    })
}

fn signers<'a>(words: impl Iterator<Item = &'a str>) -> SignedBy {
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let files: Vec<PathBuf> = words
        .iter()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect();
    if files.is_empty() || files.len() != words.len() {
        SignedBy::Other
    } else {
        SignedBy::Files(files)
    }
}

/// deb822 stanzas.
fn stanzas(text: &str, arch: &Arch, found: &mut Vec<AptSource>) {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            stanza(&fields, arch, found);
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                let line = line.trim();
                value.push_str(if line == "." { "" } else { line });
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

fn stanza(fields: &[(String, String)], arch: &Arch, found: &mut Vec<AptSource>) {
    let field = |name: &str| {
        fields
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    };
    let words = |name: &str| {
        field(name)
            .unwrap_or("")
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    let off = field("enabled").is_some_and(|v| {
        matches!(
            v.to_ascii_lowercase().as_str(),
            "no" | "false" | "0" | "off"
        )
    });
    let archs = words("architectures");
    if off
        || !words("types").contains(&"deb")
        || !(archs.is_empty() || archs.contains(&arch.as_str()))
    {
        return;
    }
    let signed_by = match field("signed-by") {
        None | Some("") => SignedBy::Trusted,
        Some(value) if value.contains("-----BEGIN PGP") => {
            SignedBy::Inline(value.trim_start().to_owned() + "\n")
        }
        Some(value) => signers(value.split_whitespace()),
    };
    let components: Vec<String> = words("components").into_iter().map(str::to_owned).collect();
    if components.is_empty() {
        return;
    }
    for uri in words("uris") {
        for suite in words("suites")
            .into_iter()
            .filter(|suite| !suite.ends_with('/'))
        {
            found.push(AptSource {
                uri: clean(uri),
                suite: suite.to_owned(),
                components: components.clone(),
                signed_by: signed_by.clone(),
            });
        }
    }
}
