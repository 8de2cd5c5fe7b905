//! What was asked, as one name: the same request finds its image again without any index.

use jaula_plan::spec::rootfs::ImageSpec;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a request, in hexadecimal digits. The order in which packages were named does not matter.
pub fn request_key(spec: &ImageSpec) -> String {
    let mut text = String::from("jaula request 1\n");
    let mut line = |key: &str, value: &dyn std::fmt::Debug| {
        text.push_str(&format!("{key} {value:?}\n"));
    };
    line("distro", &spec.distro.as_str());
    line("suite", &spec.suite.as_ref().map(|suite| suite.as_str()));
    line("arch", &spec.arch.as_ref().map(|arch| arch.as_str()));
    line("variant", &spec.variant.as_str());
    let mut include = spec.include.clone();
    include.sort();
    include.dedup();
    for want in &include {
        line("include", &(want.name.as_str(), &want.version));
    }
    let mut exclude: Vec<_> = spec.exclude.iter().map(|name| name.as_str()).collect();
    exclude.sort_unstable();
    exclude.dedup();
    exclude.iter().for_each(|name| line("exclude", name));
    line("mirror", &spec.mirror);
    spec.components
        .iter()
        .for_each(|component| line("component", &component.as_str()));
    line("keyring", &spec.keyring);
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
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
