//! What the host's apt was told of fetching.

use jaula_plan::facts::apt_conf::ProxyRules;
use jaula_plan::facts::auth::{Machine, machines};
use std::path::{Path, PathBuf};

/// Proxies, and users with their passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AptConfig {
    /// Of apt.conf(5).
    pub proxies: ProxyRules,
    /// Of apt_auth.conf(5), as far as the caller may read it.
    pub machines: Vec<Machine>,
}

impl AptConfig {
    /// Reads the host's, in apt's own order.
    pub fn read() -> Self {
        Self::below(Path::new("/etc/apt"))
    }

    fn below(dir: &Path) -> Self {
        let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let mut config = Self::default();
        let mut files = parts(&dir.join("apt.conf.d"));
        files.push(dir.join("apt.conf"));
        for file in files {
            config.proxies.read(&text(&file));
        }
        let mut files = vec![dir.join("auth.conf")];
        files.extend(parts(&dir.join("auth.conf.d")));
        for file in files {
            config.machines.extend(machines(&text(&file)));
        }
        config
    }
}

/// The files of a directory that apt reads: of a plain name, with no ending or `.conf`.
fn parts(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| {
            let stem = name.strip_suffix(".conf").unwrap_or(name);
            let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            !stem.is_empty() && stem.chars().all(good)
        })
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(named).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_in_apts_order() {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["apt.conf.d", "auth.conf.d"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
        }
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            "apt.conf.d/10first",
            "Acquire::http::Proxy \"http://first:1\";",
        );
        write(
            "apt.conf.d/20last.conf",
            "Acquire::http::Proxy \"http://last:1\";",
        );
        write(
            "apt.conf.d/30not.dpkg-old",
            "Acquire::http::Proxy \"http://old:1\";",
        );
        write("auth.conf.d/a.conf", "machine h login u password p");
        let config = AptConfig::below(dir.path());
        assert_eq!(
            config.proxies.of("http", ""),
            Some(Some("http://last:1".to_owned()))
        );
        assert_eq!(config.machines.len(), 1);
        assert_eq!(
            AptConfig::below(Path::new("/nonexistent")),
            AptConfig::default()
        );
    }
}
