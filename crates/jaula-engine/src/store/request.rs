//! What was asked, as one name: the same request finds its image again without any index.

use jaula_plan::spec::rootfs::ImageSpec;
use sha2::{Digest as _, Sha256};

/// The longest request that is its own name; a file's name has at most 255 bytes.
const READABLE: usize = 200;

/// A request as the name of a file: the words themselves while they are few, else their SHA-256 in hexadecimal digits.
/// The order in which packages were named does not matter.
pub fn request_key(spec: &ImageSpec) -> String {
    let text = request(spec);
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
            return Sha256::digest(text.as_bytes())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
        }
    }
    name
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
    if let Some(arch) = &spec.arch {
        line("arch", arch.as_str());
    }
    line("variant", spec.variant.as_str());
    let mut include = spec.include.clone();
    include.sort();
    include.dedup();
    for want in &include {
        // No package's name holds `=`.
        match &want.version {
            Some(version) => line("include", &format!("{}={version}", want.name)),
            None => line("include", want.name.as_str()),
        }
    }
    let mut exclude: Vec<_> = spec.exclude.iter().map(|name| name.as_str()).collect();
    exclude.sort_unstable();
    exclude.dedup();
    exclude.iter().for_each(|name| line("exclude", name));
    if let Some(mirror) = &spec.mirror {
        line("mirror", mirror);
    }
    spec.components
        .iter()
        .for_each(|component| line("component", component.as_str()));
    if let Some(keyring) = &spec.keyring {
        line("keyring", &format!("{keyring:?}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaula_plan::spec::rootfs::{Variant, Want};

    #[test]
    fn every_part_of_a_request_counts_and_order_does_not()
    -> Result<(), jaula_plan::names::NameError> {
        let plain = ImageSpec {
            distro: "debian".parse()?,
            suite: Some("bookworm".parse()?),
            arch: None,
            variant: Variant::Minbase,
            include: vec![
                Want {
                    name: "nginx".parse()?,
                    version: None,
                },
                Want {
                    name: "curl".parse()?,
                    version: Some("1".into()),
                },
            ],
            exclude: vec!["dash".parse()?],
            mirror: None,
            components: vec!["main".parse()?],
            keyring: None,
        };
        let mut turned = plain.clone();
        turned.include.reverse();
        assert_eq!(request_key(&plain), request_key(&turned));
        let mut keys = vec![request_key(&plain)];
        for change in 0..9 {
            let mut other = plain.clone();
            match change {
                0 => other.distro = "ubuntu".parse()?,
                1 => other.suite = None,
                2 => other.arch = Some("i386".parse()?),
                3 => other.variant = Variant::Apt,
                4 => other.include.truncate(1),
                5 => other.exclude.clear(),
                6 => other.mirror = Some("file:///m".into()),
                7 => other.components.push("contrib".parse()?),
                _ => other.keyring = Some("/k".into()),
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
