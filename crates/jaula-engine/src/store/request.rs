//! What was asked, as one name: the same request finds its image again without any index.

use super::local;
use jaula_plan::names::Digest;
use jaula_plan::rootfs::address::without_login;
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec, Variant};
use jaula_plan::spec::source::SourceOptions;
use sha2::{Digest as _, Sha256};

/// The longest request that is its own name; a file's name has at most 255 bytes.
const READABLE: usize = 200;

/// A request as the name of a file: the words themselves while they are few, else their SHA-256 in hexadecimal digits.
/// The order in which packages were named does not matter. None when the request may not be answered by an image that is
/// there: it does something besides ([`ImageOptions::is_repeatable`]), or a file that it names cannot be read.
pub fn request_key(spec: &ImageSpec) -> Option<String> {
    if !spec.options.is_repeatable() {
        return None;
    }
    let mut text = request(spec);
    // A file of the same name may hold something else by now.
    for path in spec.options.local_files() {
        text.push_str(&format!("file={}\n", local::digest(path).ok()?));
    }
    let mut name = String::with_capacity(READABLE);
    for byte in text.trim_end().bytes() {
        match byte {
            b'\n' => name.push(','),
            // What is left out is what would be ambiguous, or is no part of a file's name.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'+' | b'~' | b':' | b'=' => {
                name.push(char::from(byte));
            }
            _ => name.push_str(&format!("%{byte:02x}")),
        }
        if name.len() > READABLE {
            return Some(Digest(Sha256::digest(text.as_bytes()).into()).to_string());
        }
    }
    Some(name)
}

/// Everything that was asked, a line each.
fn request(spec: &ImageSpec) -> String {
    let mut text = String::from("1\n");
    let mut line = |key: &str, value: &str| {
        text.push_str(key);
        text.push('=');
        // A line end in a value would be taken for the end of it; `%` is what the name is escaped by already.
        text.push_str(&value.replace('\n', "%0a"));
        text.push('\n');
    };
    line("distro", spec.distro.as_str());
    if let Some(suite) = &spec.suite {
        line("suite", suite.as_str());
    }
    let ImageOptions {
        arch,
        variant,
        include,
        exclude,
        sources,
        ..
    } = &spec.options;
    if let Some(arch) = arch {
        line("arch", arch.as_str());
    }
    line("variant", variant.as_str());
    // No package's name holds `=` or `:`.
    let mut words: Vec<String> = include.iter().map(ToString::to_string).collect();
    words.sort_unstable();
    words.dedup();
    words.iter().for_each(|want| line("include", want));
    let mut names: Vec<_> = exclude.iter().map(|name| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.iter().for_each(|name| line("exclude", name));
    if let Some(mirror) = &sources.mirror {
        // A name can be read by more than a file: no password is in it.
        line("mirror", &without_login(mirror));
    }
    sources
        .components
        .iter()
        .for_each(|component| line("component", component.as_str()));
    for keyring in &sources.keyrings {
        line("keyring", &format!("{keyring:?}"));
    }
    let rest = ImageOptions {
        arch: None,
        variant: Variant::default(),
        include: Vec::new(),
        exclude: Vec::new(),
        sources: SourceOptions {
            mirror: None,
            components: Vec::new(),
            keyrings: Vec::new(),
            ..sources.clone()
        },
        ..spec.options.clone()
    };
    if rest != ImageOptions::default() {
        // Paths that are no text cannot be written so, but then Debug's text is as good a name.
        let whole = serde_json::to_string(&rest).unwrap_or_else(|_| {
            let text = format!("{rest:?}");
            jaula_repo::hex::encode(&Sha256::digest(text.as_bytes()))
        });
        line("options", &whole);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaula_plan::spec::rootfs::Want;

    #[test]
    fn every_part_of_a_request_counts_and_order_does_not()
    -> Result<(), jaula_plan::names::NameError> {
        let plain = ImageSpec {
            distro: "debian".parse()?,
            suite: Some("bookworm".parse()?),
            options: ImageOptions {
                include: vec![
                    Want::any("nginx".parse()?),
                    Want {
                        version: Some("1".into()),
                        ..Want::any("curl".parse()?)
                    },
                ],
                exclude: vec!["dash".parse()?],
                sources: SourceOptions {
                    components: vec!["main".parse()?],
                    ..SourceOptions::default()
                },
                ..ImageOptions::default()
            },
        };
        let mut turned = plain.clone();
        turned.options.include.reverse();
        assert_eq!(request_key(&plain), request_key(&turned));
        let mut keys = vec![request_key(&plain)];
        for change in 0..11 {
            let mut other = plain.clone();
            match change {
                0 => other.distro = "ubuntu".parse()?,
                1 => other.suite = None,
                2 => other.options.arch = Some("i386".parse()?),
                3 => other.options.variant = Variant::Apt,
                4 => other.options.include.truncate(1),
                5 => other.options.exclude.clear(),
                6 => other.options.sources.mirror = Some("file:///m".into()),
                7 => other.options.sources.components.push("contrib".parse()?),
                8 => other.options.sources.keyrings = vec!["/k".into()],
                9 => other.options.recommends = true,
                _ => other.options.settings.timezone = Some("UTC".into()),
            }
            keys.push(request_key(&other));
        }
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
        Ok(())
    }
}
