//! The few links of a tree that paths may lead through: those that Debian itself makes. They are followed by rewriting
//! the path, never by the kernel.

/// Links by path, and where each leads (both relative to the root, without slashes at the ends).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases {
    links: Vec<(&'static str, &'static str)>,
}

/// Top-level directories that became links into `/usr` (usr-merge).
const MERGED: [(&str, &str); 7] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib32", "usr/lib32"),
    ("lib64", "usr/lib64"),
    ("libo32", "usr/libo32"),
    ("libx32", "usr/libx32"),
];
/// Links of base-files that old packages still lead through.
const RUN: [(&str, &str); 2] = [("var/run", "run"), ("var/lock", "run/lock")];

impl Aliases {
    /// Those of a release: with or without `/bin` and its like as links into `/usr`.
    pub fn debian(merged_usr: bool) -> Self {
        let merged: &[_] = if merged_usr { &MERGED } else { &[] };
        Self { links: merged.iter().chain(&RUN).copied().collect() }
    }

    /// None: every link is as good as any other.
    pub fn none() -> Self {
        Self::default()
    }

    /// If `path` is one of the links, where it leads.
    pub fn is_link(&self, path: &[u8]) -> Option<&'static str> {
        self.links.iter().find(|(link, _)| link.as_bytes() == path).map(|(_, to)| *to)
    }

    /// The link's own name, if `path` is one.
    pub fn link(&self, path: &[u8]) -> Option<&'static str> {
        self.links.iter().find(|(link, _)| link.as_bytes() == path).map(|(link, _)| *link)
    }

    /// If `path` leads through one of the links: the link, where it leads, and the path as it really is.
    pub fn rewrite(&self, path: &[u8]) -> Option<(&'static str, &'static str, Vec<u8>)> {
        self.links.iter().find_map(|(link, to)| {
            let rest = path.strip_prefix(link.as_bytes())?;
            rest.starts_with(b"/").then(|| (*link, *to, [to.as_bytes(), rest].concat()))
        })
    }

    /// Whether the link `name` with `target` is the one that this table means (relative or absolute, `usr/bin` or
    /// `/usr/bin`, `../run` or `/run`).
    pub fn means(&self, name: &[u8], target: &[u8]) -> bool {
        let Some(to) = self.is_link(name) else { return false };
        let depth = name.iter().filter(|byte| **byte == b'/').count();
        let relative = "../".repeat(depth) + to;
        target == relative.as_bytes() || target == format!("/{to}").as_bytes()
    }

    /// What the link must hold.
    pub fn target(link: &str, to: &str) -> String {
        // base-files has /var/run and /var/lock absolute, and the links into /usr relative.
        if link.contains('/') { format!("/{to}") } else { to.to_owned() }
    }
}
