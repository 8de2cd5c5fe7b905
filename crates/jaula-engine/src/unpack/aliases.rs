//! The few links of a tree that paths may lead through: those that Debian itself makes. They are followed by rewriting
//! the path, never by the kernel.

/// Links by path, and where each leads (both relative to the root, without slashes at the ends).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases {
    links: Vec<(&'static str, &'static str)>,
    later: &'static [(&'static str, &'static str)],
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
/// Links that base-files makes of empty directories when it is configured: nothing may be put into those.
const RUN: [(&str, &str); 2] = [("var/run", "run"), ("var/lock", "run/lock")];

/// A link and where it leads.
pub type Link = (&'static str, &'static str);

impl Aliases {
    /// Those of a release: with or without `/bin` and its like as links into `/usr`.
    pub fn debian(merged_usr: bool) -> Self {
        let merged: &[_] = if merged_usr { &MERGED } else { &[] };
        Self {
            links: merged.to_vec(),
            later: &RUN,
        }
    }

    /// None: every link is as good as any other.
    pub fn none() -> Self {
        Self::default()
    }

    /// If `path` is one of the links, where it leads.
    pub fn is_link(&self, path: &[u8]) -> Option<&'static str> {
        self.links
            .iter()
            .find(|(link, _)| link.as_bytes() == path)
            .map(|(_, to)| *to)
    }

    /// The link's own name, if `path` is one.
    pub fn link(&self, path: &[u8]) -> Option<&'static str> {
        self.links
            .iter()
            .find(|(link, _)| link.as_bytes() == path)
            .map(|(link, _)| *link)
    }

    /// If `path` leads through one of the links: the path as it really is, and the link and where it leads if it is
    /// for us to make.
    pub fn rewrite(&self, path: &[u8]) -> Option<(Vec<u8>, Option<Link>)> {
        self.links
            .iter()
            .map(|pair| (pair, true))
            .chain(self.later.iter().map(|pair| (pair, false)))
            .find_map(|((link, to), ours)| {
                let rest = path.strip_prefix(link.as_bytes())?;
                rest.starts_with(b"/")
                    .then(|| ([to.as_bytes(), rest].concat(), ours.then_some((*link, *to))))
            })
    }

    /// Whether the link `name` with `target` is the one that this table means (`usr/bin` or `/usr/bin`).
    pub fn means(&self, name: &[u8], target: &[u8]) -> bool {
        let target = target.strip_prefix(b"/").unwrap_or(target);
        self.is_link(name).is_some_and(|to| to.as_bytes() == target)
    }
}
