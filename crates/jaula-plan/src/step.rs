//! One lasting change to the host, with its undo. Plans of everything that stays after the program ends are lists
//! of these; what dies with a process or a namespace is a [`crate::setup_op`].

use crate::explain::{ExplainLine, shown, word};
use crate::names::{Digest, JailName, Tag};
use crate::net::step::NetStep;
use crate::output::OutputKind;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How an archive is compressed, chosen by the suffix of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Plain tar.
    #[default]
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// xz, the .xz file format 1.2.
    Xz,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl Compression {
    /// By the suffix of a file's name: `.tar`, `.tar.gz`, `.tgz`, `.tar.xz`, `.txz`, `.tar.zst`, `.tzst`; none
    /// when the name is not that of a tar archive.
    pub fn of_name(name: &str) -> Option<Self> {
        let table = [
            (".tar", Self::None),
            (".tar.gz", Self::Gzip),
            (".tgz", Self::Gzip),
            (".tar.xz", Self::Xz),
            (".txz", Self::Xz),
            (".tar.zst", Self::Zstd),
            (".tzst", Self::Zstd),
        ];
        table
            .into_iter()
            .find(|(suffix, _)| name.ends_with(suffix))
            .map(|(_, compression)| compression)
    }
}

/// One lasting change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// A private directory in which a tree comes to be.
    MakeStage {
        /// The root of the tree.
        root: PathBuf,
    },
    /// Packages that the store does not have yet.
    FetchPackages {
        /// Where each comes from.
        urls: Vec<String>,
        /// Their sizes, added up.
        bytes: u64,
        /// The directory of the store that keeps them.
        into: PathBuf,
    },
    /// Packages' files, straight into the tree.
    UnpackPackages {
        /// The packages, in the order in which a later one may replace files of an earlier one.
        packages: Vec<PathBuf>,
        /// The tree.
        root: PathBuf,
    },
    /// A tar archive, into the tree.
    UnpackArchive {
        /// The archive.
        archive: PathBuf,
        /// How it is compressed, as its first bytes say.
        compression: Compression,
        /// The tree.
        root: PathBuf,
    },
    /// dpkg's status file, lists and scripts.
    WriteDpkgDatabase {
        /// How many packages.
        packages: u64,
        /// The tree.
        root: PathBuf,
    },
    /// The packages' own scripts, in a jail.
    Configure {
        /// How many packages.
        packages: u64,
        /// The tree.
        root: PathBuf,
    },
    /// What differs between two builds of the same inputs is removed or set.
    Normalise {
        /// Times later than this become this (seconds since 1970, UTC).
        epoch: i64,
        /// The tree.
        root: PathBuf,
    },
    /// The finished tree becomes an image of the store, at once.
    Publish {
        /// The image.
        image: Digest,
        /// The tree as it was made.
        from: PathBuf,
        /// The image's directory.
        to: PathBuf,
    },
    /// A tag is given to an image.
    Tag {
        /// The tag.
        tag: Tag,
        /// The image.
        image: Digest,
        /// The file that holds the tag.
        path: PathBuf,
        /// The image it named before.
        before: Option<Digest>,
    },
    /// A tag is taken away.
    Untag {
        /// The tag.
        tag: Tag,
        /// The file that holds the tag.
        path: PathBuf,
    },
    /// An image is removed.
    RemoveImage {
        /// The image.
        image: Digest,
        /// Its directory.
        path: PathBuf,
    },
    /// A named jail is made.
    CreateJail {
        /// The jail.
        name: JailName,
        /// Its directory: settings and a writable layer.
        path: PathBuf,
    },
    /// A running jail is ended.
    StopJail {
        /// The jail.
        name: JailName,
        /// Its first process, as seen by the caller.
        pid: u32,
    },
    /// A running jail is told to end, and killed when it has not ended in time.
    EndJail {
        /// The jail or run.
        name: JailName,
        /// Its program, as seen by the caller.
        pid: u32,
        /// How long it has.
        kill_after: Duration,
    },
    /// The programs of a running jail are sent a signal.
    SignalJail {
        /// The jail or run.
        name: JailName,
        /// Its program, as seen by the caller.
        pid: u32,
        /// The signal's number.
        signal: i32,
    },
    /// What is kept of a run in the background is removed.
    RemoveRun {
        /// The run.
        name: JailName,
        /// Its log.
        path: PathBuf,
    },
    /// A named jail is removed with all that was written in it.
    RemoveJail {
        /// The jail.
        name: JailName,
        /// Its directory.
        path: PathBuf,
    },
    /// A tree is written as an archive.
    WriteArchive {
        /// The tree.
        root: PathBuf,
        /// The archive.
        path: PathBuf,
        /// How it is compressed.
        compression: Compression,
    },
    /// A tree is written as an image of a file system, a cpio archive or an OCI image layout.
    WriteImage {
        /// The tree.
        root: PathBuf,
        /// The file; for an OCI image layout the directory, new or empty.
        path: PathBuf,
        /// What.
        kind: OutputKind,
        /// Bytes of the image, where that is free; as many as needed, and room, when absent.
        size: Option<u64>,
    },
    /// A tree is copied to a directory.
    WriteDirectory {
        /// The tree.
        root: PathBuf,
        /// The directory; new or empty.
        path: PathBuf,
    },
    /// Files of the host are copied into a jail.
    CopyIn {
        /// The jail.
        name: JailName,
        /// On the host.
        from: PathBuf,
        /// In the jail.
        to: PathBuf,
    },
    /// Files of a jail are copied out.
    CopyOut {
        /// The jail.
        name: JailName,
        /// In the jail.
        from: PathBuf,
        /// On the host.
        to: PathBuf,
    },
    /// A namespace is mounted on a file, where it stays without processes.
    MountNamespace {
        /// The namespace as the kernel writes it, `net:[4026532281]`.
        namespace: String,
        /// The file below `/proc` by which it is opened.
        from: PathBuf,
        /// The file it is mounted on; made for it.
        path: PathBuf,
    },
    /// Such a mount is taken away, with its file.
    UnmountNamespace {
        /// The namespace.
        namespace: String,
        /// The file.
        path: PathBuf,
    },
    /// A process that holds namespaces open is started.
    HoldNamespaces {
        /// The name they are kept by.
        name: JailName,
        /// The namespaces.
        namespaces: Vec<String>,
        /// Whose they are.
        pid: u32,
    },
    /// That process is ended.
    EndHolder {
        /// The name they were kept by.
        name: JailName,
        /// The process.
        pid: u32,
    },
    /// A symbolic link that was not there is made.
    MakeLink {
        /// Where it is.
        path: PathBuf,
        /// What it leads to.
        target: PathBuf,
    },
    /// Networks change.
    Net {
        /// How.
        #[serde(flatten)]
        change: NetStep,
    },
    /// What an interrupted run left in the store is removed.
    RemoveLeftover {
        /// The file or directory.
        path: PathBuf,
    },
}

/// What takes a step back when a later one fails.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "undo", content = "path", rename_all = "snake_case")]
pub enum Undo {
    /// This path, which the step created, is removed with all beneath it.
    Remove(PathBuf),
    /// The tag names again what it named before.
    RestoreTag(PathBuf),
    /// Networks change back.
    Net(Box<NetStep>),
    /// Nothing: the undo of the stage that the step worked in takes it away.
    WithItsStage,
    /// Nothing: what was fetched is whole, verified and useful to the next run.
    Kept,
    /// It cannot be undone; therefore it is the last of its plan, or can be done again.
    Final,
}

impl Step {
    /// What takes this step back.
    pub fn undo(&self) -> Undo {
        match self {
            Self::MakeStage { root } => Undo::Remove(root.clone()),
            Self::FetchPackages { .. } => Undo::Kept,
            Self::UnpackPackages { .. }
            | Self::UnpackArchive { .. }
            | Self::WriteDpkgDatabase { .. }
            | Self::Configure { .. }
            | Self::Normalise { .. } => Undo::WithItsStage,
            Self::Publish { .. } => Undo::Kept,
            Self::Tag {
                path, before: None, ..
            } => Undo::Remove(path.clone()),
            Self::Tag {
                path,
                before: Some(_),
                ..
            } => Undo::RestoreTag(path.clone()),
            Self::CreateJail { path, .. }
            | Self::MakeLink { path, .. }
            | Self::MountNamespace { path, .. }
            | Self::WriteArchive { path, .. }
            | Self::WriteImage { path, .. }
            | Self::WriteDirectory { path, .. } => Undo::Remove(path.clone()),
            Self::Untag { .. }
            | Self::RemoveImage { .. }
            | Self::StopJail { .. }
            | Self::EndJail { .. }
            | Self::SignalJail { .. }
            | Self::RemoveRun { .. }
            | Self::UnmountNamespace { .. }
            | Self::HoldNamespaces { .. }
            | Self::EndHolder { .. }
            | Self::RemoveJail { .. }
            | Self::CopyIn { .. }
            | Self::CopyOut { .. }
            | Self::RemoveLeftover { .. } => Undo::Final,
            Self::Net { change } => {
                let inverse = change.inverse().map(Box::new);
                inverse.map_or(Undo::Final, Undo::Net)
            }
        }
    }

    /// The same as a command of the classic tools.
    pub fn explain(&self) -> ExplainLine {
        match self {
            Self::MakeStage { root } => ExplainLine::new(
                format!("mkdir -p -m 0755 {}", word(root)),
                "a private tree, seen by nobody until it is whole",
            ),
            Self::FetchPackages { urls, into, .. } => ExplainLine::new(
                std::iter::once(format!(
                    "wget --no-clobber --directory-prefix={}",
                    word(into)
                ))
                .chain(urls.iter().map(word))
                .collect::<Vec<_>>()
                .join(" \\\n    "),
                "fetch what the store lacks; each file's size and SHA-256 are those of the signed index",
            ),
            Self::UnpackPackages { packages, root } => ExplainLine::new(
                format!(
                    "for deb in {}; do dpkg-deb --extract \"$deb\" {}; done",
                    packages
                        .iter()
                        .map(word)
                        .collect::<Vec<_>>()
                        .join(" \\\n    "),
                    word(root)
                ),
                "unpack every package once, straight into the tree",
            ),
            Self::UnpackArchive {
                archive,
                compression,
                root,
            } => ExplainLine::new(
                format!(
                    "tar --extract{} --numeric-owner --xattrs --xattrs-include='*' --file {} --directory {}",
                    tar_flag(*compression),
                    word(archive),
                    word(root)
                ),
                "unpack the archive; no entry can leave the tree",
            ),
            Self::WriteDpkgDatabase { root, .. } => ExplainLine::new(
                String::new(),
                format!(
                    "write dpkg's database in {}; dpkg --unpack does it package by package",
                    shown(root)
                ),
            ),
            Self::Configure { root, .. } => ExplainLine::new(
                format!(
                    "unshare --mount --pid --fork --net --ipc --uts --mount-proc={0}/proc chroot {0} \
                     env DEBIAN_FRONTEND=noninteractive dpkg --configure --pending",
                    word(root)
                ),
                "run the packages' own scripts, cut off from the host and the network",
            ),
            Self::Normalise { epoch, root } => ExplainLine::new(
                format!(
                    "find {} -xdev -newermt @{epoch} -exec touch --no-dereference --date=@{epoch} {{}} +",
                    word(root)
                ),
                "two builds of the same packages become the same bytes",
            ),
            Self::Publish { from, to, .. } => ExplainLine::new(
                format!(
                    "sync --file-system {0} && mv --no-target-directory {0} {1}",
                    word(from),
                    word(to)
                ),
                "the image is there whole, or not at all",
            ),
            Self::Tag { image, path, .. } => ExplainLine::new(
                format!(
                    "ln --symbolic --force --no-dereference {image} {}",
                    word(path)
                ),
                "a name for the image",
            ),
            Self::Net { change } => change.explain(),
            Self::Untag { path, .. } => {
                ExplainLine::new(format!("rm {}", word(path)), "take the name away")
            }
            Self::RemoveImage { path, .. }
            | Self::RemoveJail { path, .. }
            | Self::RemoveLeftover { path } => ExplainLine::new(
                format!("rm --recursive --force --one-file-system {}", word(path)),
                "remove it; a link is never followed and nothing mounted beneath is touched",
            ),
            Self::CreateJail { path, .. } => ExplainLine::new(
                format!("mkdir -p -m 0700 {0}/upper {0}/work", word(path)),
                "a layer for what it writes",
            ),
            Self::MountNamespace { from, path, .. } => ExplainLine::new(
                format!(
                    "install -D -m 0400 /dev/null {0} && mount --bind {1} {0}",
                    word(path),
                    word(from)
                ),
                "the namespace stays without processes, and is entered by this file (its place is a private mount)",
            ),
            Self::UnmountNamespace { path, .. } => ExplainLine::new(
                format!("umount {0} && rm {0}", word(path)),
                "a namespace that nothing else uses is gone then",
            ),
            Self::HoldNamespaces {
                namespaces, pid, ..
            } => {
                let open = namespaces.iter().enumerate().map(|(number, namespace)| {
                    let kind = namespace.split(':').next().unwrap_or_default();
                    format!("{}</proc/{pid}/ns/{kind}", number.saturating_add(3))
                });
                let open: Vec<_> = open.collect();
                ExplainLine::new(
                    format!("setsid sleep infinity {} &", open.join(" ")),
                    "an ordinary user cannot mount them: a process holds them open",
                )
            }
            Self::EndHolder { pid, .. } => ExplainLine::new(
                format!("kill -KILL {pid}"),
                "end the process that holds them; what nothing else uses is gone then",
            ),
            Self::MakeLink { path, target } => ExplainLine::new(
                format!("ln --symbolic {} {}", word(target), word(path)),
                "a name under which the program is found; what is there already stays",
            ),
            Self::StopJail { pid, .. } => ExplainLine::new(
                format!("kill -KILL {pid}"),
                "end the jail's first process, and all others with it",
            ),
            Self::EndJail {
                pid, kill_after, ..
            } => ExplainLine::new(
                format!(
                    "kill -TERM {pid}; timeout {} tail --pid={pid} -f /dev/null || kill -KILL {pid}",
                    kill_after.as_secs()
                ),
                "tell it to end, wait, and end it by force",
            ),
            Self::SignalJail { pid, signal, .. } => {
                ExplainLine::new(format!("kill -{signal} {pid}"), "send it a signal")
            }
            Self::RemoveRun { path, .. } => {
                ExplainLine::new(format!("rm --force {}", word(path)), "forget the run")
            }
            Self::WriteArchive {
                root,
                path,
                compression,
            } => ExplainLine::new(
                format!(
                    "tar --create{} --sort=name --numeric-owner --format=posix \
                     --pax-option=delete=atime,delete=ctime --xattrs --xattrs-include='*' --file {} --directory {} .",
                    tar_flag(*compression),
                    word(path),
                    word(root)
                ),
                "an archive whose bytes depend on the tree alone",
            ),
            Self::WriteImage {
                root,
                path,
                kind,
                size,
            } => ExplainLine::new(
                kind.command(&word(root), &word(path), *size),
                "an image whose bytes depend on the tree alone",
            ),
            Self::WriteDirectory { root, path } => ExplainLine::new(
                format!(
                    "cp --archive --reflink=auto --no-target-directory {} {}",
                    word(root),
                    word(path)
                ),
                "an ordinary tree, for chroot, systemd-nspawn -D and bwrap too",
            ),
            Self::CopyIn { name, from, to } => ExplainLine::new(
                format!(
                    "tar --create --directory {} . | jaula exec {name} -- tar --extract --directory {}",
                    word(from),
                    word(to)
                ),
                "copy into the jail; no link in it leads out of it",
            ),
            Self::CopyOut { name, from, to } => ExplainLine::new(
                format!(
                    "jaula exec {name} -- tar --create --directory {} . | tar --extract --directory {}",
                    word(from),
                    word(to)
                ),
                "copy out of the jail; no link in it leads out of it",
            ),
        }
    }
}

fn tar_flag(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "",
        Compression::Gzip => " --gzip",
        Compression::Xz => " --xz",
        Compression::Zstd => " --zstd",
    }
}

/// A number of bytes as people write it: `512 B`, `3.4 MiB`.
pub fn human(bytes: u64) -> String {
    let mut units = ["KiB", "MiB", "GiB", "TiB"].into_iter();
    let (mut value, mut unit) = (bytes as f64, "B");
    while value >= 1024.0 {
        let Some(next) = units.next() else { break };
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeStage { root } => write!(f, "make stage {}", shown(root)),
            Self::FetchPackages { urls, bytes, .. } => {
                write!(f, "fetch {} packages ({})", urls.len(), human(*bytes))
            }
            Self::UnpackPackages { packages, .. } => {
                write!(f, "unpack {} packages", packages.len())
            }
            Self::UnpackArchive { archive, .. } => write!(f, "unpack archive {}", shown(archive)),
            Self::WriteDpkgDatabase { packages, .. } => {
                write!(f, "write dpkg database of {packages} packages")
            }
            Self::Configure { packages, .. } => {
                write!(f, "configure {packages} packages in a jail")
            }
            Self::Normalise { epoch, .. } => write!(f, "normalise, times no later than {epoch}"),
            Self::Publish { image, .. } => write!(f, "publish image {image}"),
            Self::Tag {
                tag, image, before, ..
            } => {
                write!(f, "tag {tag} -> {image}")?;
                before
                    .iter()
                    .try_for_each(|before| write!(f, " (was {before})"))
            }
            Self::Untag { tag, .. } => write!(f, "untag {tag}"),
            Self::RemoveImage { image, .. } => write!(f, "remove image {image}"),
            Self::CreateJail { name, path } => write!(f, "create jail {name} in {}", shown(path)),
            Self::StopJail { name, pid } => write!(f, "stop jail {name} (pid {pid})"),
            Self::EndJail {
                name,
                pid,
                kill_after,
            } => write!(
                f,
                "tell {name} (pid {pid}) to end, and kill it after {}",
                crate::spec::limits::shown_duration(*kill_after)
            ),
            Self::SignalJail { name, pid, signal } => {
                write!(f, "send signal {signal} to {name} (pid {pid})")
            }
            Self::RemoveRun { name, .. } => write!(f, "remove run {name}"),
            Self::RemoveJail { name, path } => write!(f, "remove jail {name} in {}", shown(path)),
            Self::WriteArchive { path, .. } => write!(f, "write archive {}", shown(path)),
            Self::WriteImage { path, kind, .. } => write!(f, "write {kind} {}", shown(path)),
            Self::WriteDirectory { path, .. } => write!(f, "write directory {}", shown(path)),
            Self::CopyIn { name, from, to } => {
                write!(f, "copy {} to {name}:{}", shown(from), shown(to))
            }
            Self::CopyOut { name, from, to } => {
                write!(f, "copy {name}:{} to {}", shown(from), shown(to))
            }
            Self::MountNamespace {
                namespace, path, ..
            } => {
                write!(f, "mount {namespace} on {}", shown(path))
            }
            Self::UnmountNamespace { namespace, path } => {
                write!(f, "unmount {namespace} from {}", shown(path))
            }
            Self::HoldNamespaces {
                name, namespaces, ..
            } => {
                write!(
                    f,
                    "start a process that holds {} as {name}",
                    namespaces.join(", ")
                )
            }
            Self::EndHolder { name, pid } => write!(f, "end the process {pid} that holds {name}"),
            Self::MakeLink { path, target } => {
                write!(f, "make link {} -> {}", shown(path), shown(target))
            }
            Self::Net { change } => change.fmt(f),
            Self::RemoveLeftover { path } => write!(f, "remove leftover {}", shown(path)),
        }
    }
}

/// An ordered list of lasting changes, printable before anything happens.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Plan {
    /// What it is for, in a few words.
    pub title: String,
    /// The changes, in order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// A plan of these steps.
    pub fn new(title: impl Into<String>, steps: Vec<Step>) -> Self {
        Self {
            title: title.into(),
            steps,
        }
    }

    /// The plan as commands of the classic tools.
    pub fn explain(&self) -> Vec<ExplainLine> {
        self.steps.iter().map(Step::explain).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        if self.steps.is_empty() {
            writeln!(f, "  nothing to do")?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {}. {step}", number.saturating_add(1))?;
        }
        Ok(())
    }
}
