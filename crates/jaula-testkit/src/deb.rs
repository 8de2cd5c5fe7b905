//! Binary packages written by code (deb(5)): honest ones, and on request hostile ones.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tar::{EntryType, Header};

use crate::digest;

/// How a member tar is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// A plain `.tar`.
    None,
    /// `.tar.gz`
    Gzip,
    /// `.tar.xz`, what Debian uses.
    #[default]
    Xz,
    /// `.tar.zst`, what Ubuntu uses.
    Zstd,
}

impl Compression {
    /// The ending of a compressed file's name, with its dot; empty for [`Compression::None`].
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Xz => ".xz",
            Compression::Zstd => ".zst",
        }
    }

    /// Compresses `bytes`; the same input always gives the same output.
    pub fn compress(self, bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(match self {
            Compression::None => bytes.to_vec(),
            Compression::Gzip => {
                let mut encoder = flate2::GzBuilder::new()
                    .mtime(0)
                    .write(Vec::new(), flate2::Compression::new(6));
                encoder.write_all(bytes)?;
                encoder.finish()?
            }
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
                encoder.write_all(bytes)?;
                encoder.finish()?
            }
            Compression::Zstd => zstd::stream::encode_all(bytes, 3)?,
        })
    }
}

/// One entry of the data archive, written without any check: tests need hostile ones too.
#[derive(Clone, Debug)]
struct Entry {
    path: Vec<u8>,
    kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    link: Vec<u8>,
    content: Vec<u8>,
    device: Option<(u32, u32)>,
}

/// A finished package.
#[derive(Clone, Debug)]
pub struct Deb {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// The `control` paragraph without its closing empty line.
    pub control: String,
    /// Package name.
    pub name: String,
    /// Version with epoch.
    pub version: String,
    /// `amd64`, `all`, …
    pub arch: String,
}

impl Deb {
    /// A package from a file, as dpkg-deb(1) reads its control paragraph: real packages can go into a
    /// repository of a test's own.
    ///
    /// # Errors
    /// When the file cannot be read or dpkg-deb does not take it for a package.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let output = Command::new("dpkg-deb")
            .arg("-f")
            .arg(path)
            .output()
            .context("dpkg-deb")?;
        ensure!(
            output.status.success(),
            "{}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let control = String::from_utf8(output.stdout)?.trim_end().to_owned();
        let field = |name: &str| {
            let found = control
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            found
                .map(str::to_owned)
                .with_context(|| format!("{}: no {name}", path.display()))
        };
        let (name, version, arch) = (field("Package")?, field("Version")?, field("Architecture")?);
        Ok(Deb {
            bytes,
            control,
            name,
            version,
            arch,
        })
    }

    /// `NAME_VERSION_ARCH.deb`, without the epoch, as archives name it.
    #[must_use]
    pub fn file_name(&self) -> String {
        let version = self
            .version
            .split_once(':')
            .map_or(self.version.as_str(), |(_, rest)| rest);
        format!("{}_{}_{}.deb", self.name, version, self.arch)
    }
}

/// Builds one binary package.
///
/// ```
/// use jaula_testkit::DebBuilder;
/// let deb = DebBuilder::new("hello", "1.0-1")
///     .field("Depends", "libc6")
///     .file("usr/bin/hello", "#!/bin/sh\necho hello\n", 0o755)
///     .script("postinst", "#!/bin/sh\nexit 0\n")
///     .build()
///     .unwrap();
/// assert!(deb.bytes.starts_with(b"!<arch>\n"));
/// ```
#[derive(Clone, Debug)]
pub struct DebBuilder {
    name: String,
    version: String,
    arch: String,
    fields: Vec<(String, String)>,
    entries: Vec<Entry>,
    control_files: Vec<(String, Vec<u8>, u32)>,
    conffiles: Vec<String>,
    compression: Compression,
    mtime: u64,
}

impl DebBuilder {
    /// A package with no files for architecture `amd64`.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        DebBuilder {
            name: name.into(),
            version: version.into(),
            arch: "amd64".into(),
            fields: Vec::new(),
            entries: Vec::new(),
            control_files: Vec::new(),
            conffiles: Vec::new(),
            compression: Compression::default(),
            mtime: 1_700_000_000,
        }
    }

    /// Sets the architecture.
    #[must_use]
    pub fn arch(mut self, arch: &str) -> Self {
        self.arch = arch.into();
        self
    }

    /// Adds or replaces a control field; continuation lines are the caller's.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Sets the compression of both member archives.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets every entry's time, in seconds since the epoch.
    #[must_use]
    pub fn mtime(mut self, seconds: u64) -> Self {
        self.mtime = seconds;
        self
    }

    /// A regular file; `path` has no leading slash.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Self {
        self.raw(
            format!("./{path}").as_bytes(),
            EntryType::Regular,
            mode,
            b"",
            content.as_ref(),
        )
    }

    /// A regular file that is also listed as a conffile.
    #[must_use]
    pub fn conffile(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.conffiles.push(format!("/{path}"));
        self.file(path, content, 0o644)
    }

    /// A directory.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.raw(
            format!("./{path}/").as_bytes(),
            EntryType::Directory,
            mode,
            b"",
            b"",
        )
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.raw(
            format!("./{path}").as_bytes(),
            EntryType::Symlink,
            0o777,
            target.as_bytes(),
            b"",
        )
    }

    /// A hard link to an earlier entry of the same package.
    #[must_use]
    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.raw(
            format!("./{path}").as_bytes(),
            EntryType::Link,
            0o644,
            format!("./{target}").as_bytes(),
            b"",
        )
    }

    /// A character device.
    #[must_use]
    pub fn device(mut self, path: &str, major: u32, minor: u32) -> Self {
        self = self.raw(
            format!("./{path}").as_bytes(),
            EntryType::Char,
            0o644,
            b"",
            b"",
        );
        if let Some(entry) = self.entries.last_mut() {
            entry.device = Some((major, minor));
        }
        self
    }

    /// Gives the last entry an owner.
    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        if let Some(entry) = self.entries.last_mut() {
            entry.owner = (uid, gid);
        }
        self
    }

    /// An entry exactly as given, whatever its name: absolute, with `..`, twice, too long (a long
    /// name goes out as a GNU `@LongLink` entry).
    #[must_use]
    pub fn raw(
        mut self,
        path: &[u8],
        kind: EntryType,
        mode: u32,
        link: &[u8],
        content: &[u8],
    ) -> Self {
        self.entries.push(Entry {
            path: path.to_vec(),
            kind,
            mode,
            owner: (0, 0),
            link: link.to_vec(),
            content: content.to_vec(),
            device: None,
        });
        self
    }

    /// A maintainer script: `preinst`, `postinst`, `prerm`, `postrm` or `config`.
    #[must_use]
    pub fn script(self, which: &str, text: &str) -> Self {
        self.control_file(which, text.as_bytes(), 0o755)
    }

    /// The text of the `triggers` member (deb-triggers(5)).
    #[must_use]
    pub fn triggers(self, text: &str) -> Self {
        self.control_file("triggers", text.as_bytes(), 0o644)
    }

    /// Any other member of the control archive.
    #[must_use]
    pub fn control_file(mut self, name: &str, content: &[u8], mode: u32) -> Self {
        self.control_files
            .push((name.into(), content.to_vec(), mode));
        self
    }

    /// The `control` paragraph.
    #[must_use]
    pub fn control(&self) -> String {
        let kilobytes: usize = self
            .entries
            .iter()
            .map(|entry| entry.content.len().div_ceil(1024))
            .sum();
        let mut text = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\n",
            self.name, self.version, self.arch
        );
        let defaults = [
            ("Maintainer", "Nobody <nobody@example.org>".to_owned()),
            ("Installed-Size", kilobytes.to_string()),
            ("Priority", "optional".into()),
            ("Section", "misc".into()),
            ("Description", format!("test package {}", self.name)),
        ];
        for (name, value) in defaults {
            if !self.fields.iter().any(|(known, _)| known == name) {
                text.push_str(&format!("{name}: {value}\n"));
            }
        }
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// Writes the package.
    ///
    /// # Errors
    /// When a compressor or the tar writer fails.
    pub fn build(&self) -> Result<Deb> {
        let control = self.control();
        let data = self.data_tar().context("data archive")?;
        let control_tar = self.control_tar(&control).context("control archive")?;
        let suffix = self.compression.suffix();
        let mut bytes = b"!<arch>\n".to_vec();
        ar_member(&mut bytes, "debian-binary", self.mtime, b"2.0\n");
        ar_member(
            &mut bytes,
            &format!("control.tar{suffix}"),
            self.mtime,
            &self.compression.compress(&control_tar)?,
        );
        ar_member(
            &mut bytes,
            &format!("data.tar{suffix}"),
            self.mtime,
            &self.compression.compress(&data)?,
        );
        Ok(Deb {
            bytes,
            control,
            name: self.name.clone(),
            version: self.version.clone(),
            arch: self.arch.clone(),
        })
    }

    fn control_tar(&self, control: &str) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut put = |name: &str, content: &[u8], mode: u32| {
            append(
                &mut archive,
                &control_entry(name, content, mode),
                self.mtime,
            )
        };
        put("control", format!("{control}\n").as_bytes(), 0o644)?;
        let sums: String = self
            .entries
            .iter()
            .filter(|entry| entry.kind == EntryType::Regular)
            .map(|entry| {
                let path = String::from_utf8_lossy(&entry.path);
                format!(
                    "{}  {}\n",
                    digest::md5(&entry.content),
                    path.trim_start_matches("./")
                )
            })
            .collect();
        put("md5sums", sums.as_bytes(), 0o644)?;
        if !self.conffiles.is_empty() {
            put(
                "conffiles",
                format!("{}\n", self.conffiles.join("\n")).as_bytes(),
                0o644,
            )?;
        }
        for (name, content, mode) in &self.control_files {
            put(name, content, *mode)?;
        }
        Ok(archive.into_inner()?)
    }

    fn data_tar(&self) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for entry in &self.entries {
            append(&mut archive, entry, self.mtime)?;
        }
        Ok(archive.into_inner()?)
    }
}

fn control_entry(name: &str, content: &[u8], mode: u32) -> Entry {
    Entry {
        path: format!("./{name}").into_bytes(),
        kind: EntryType::Regular,
        mode,
        owner: (0, 0),
        link: Vec::new(),
        content: content.to_vec(),
        device: None,
    }
}

/// Writes an entry without the checks of the tar crate's own path setters.
fn append(archive: &mut tar::Builder<Vec<u8>>, entry: &Entry, mtime: u64) -> Result<()> {
    if entry.path.len() > 100 {
        long_name(archive, EntryType::GNULongName, &entry.path)?;
    }
    if entry.link.len() > 100 {
        long_name(archive, EntryType::GNULongLink, &entry.link)?;
    }
    let mut header = Header::new_gnu();
    copy_field(&mut header.as_old_mut().name, &entry.path);
    copy_field(&mut header.as_old_mut().linkname, &entry.link);
    header.set_entry_type(entry.kind);
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.0);
    header.set_gid(entry.owner.1);
    header.set_username("root")?;
    header.set_groupname("root")?;
    header.set_mtime(mtime);
    header.set_size(entry.content.len() as u64);
    if let Some((major, minor)) = entry.device {
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
    }
    header.set_cksum();
    archive.append(&header, entry.content.as_slice())?;
    Ok(())
}

fn long_name(archive: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    copy_field(&mut header.as_old_mut().name, b"././@LongLink");
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(name.len() as u64 + 1);
    header.set_cksum();
    let mut content = name.to_vec();
    content.push(0);
    archive.append(&header, content.as_slice())?;
    Ok(())
}

fn copy_field(field: &mut [u8], value: &[u8]) {
    for (place, byte) in field.iter_mut().zip(value) {
        *place = *byte;
    }
}

/// Appends one member in the common `ar` format, padded to an even length.
pub fn ar_member(archive: &mut Vec<u8>, name: &str, mtime: u64, content: &[u8]) {
    let head = format!(
        "{name:<16}{mtime:<12}{:<6}{:<6}{:<8}{:<10}`\n",
        0,
        0,
        100_644,
        content.len()
    );
    archive.extend_from_slice(head.as_bytes());
    archive.extend_from_slice(content);
    if content.len() % 2 == 1 {
        archive.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `dpkg-deb` is the judge of what a package is.
    #[test]
    fn dpkg_deb_reads_what_is_written() {
        if Command::new("dpkg-deb").arg("--version").output().is_err() {
            crate::skip!("dpkg-deb is not installed");
        }
        let dir = tempfile::tempdir().unwrap();
        for compression in [
            Compression::None,
            Compression::Gzip,
            Compression::Xz,
            Compression::Zstd,
        ] {
            let deb = DebBuilder::new("probe", "1:2.0-3")
                .field("Depends", "libc6 (>= 2.36)")
                .dir("usr", 0o755)
                .file("usr/odd", "abc", 0o4755)
                .hardlink("usr/twin", "usr/odd")
                .symlink("usr/link", "odd")
                .file(&format!("usr/{}", "n".repeat(150)), "long", 0o644)
                .conffile("etc/probe.conf", "a=1\n")
                .script("postinst", "#!/bin/sh\n")
                .compression(compression)
                .build()
                .unwrap();
            assert_eq!(deb.file_name(), "probe_2.0-3_amd64.deb");
            let path = dir.path().join(deb.file_name());
            std::fs::write(&path, &deb.bytes).unwrap();
            let listed = Command::new("dpkg-deb")
                .arg("-c")
                .arg(&path)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&listed.stdout).into_owned();
            assert!(listed.status.success(), "{compression:?}: {listed:?}");
            assert!(text.contains("./usr/link -> odd"), "{text}");
            assert!(text.contains("-rwsr-xr-x root/root"), "{text}");
            assert!(text.contains(&"n".repeat(150)), "{text}");
            let depends = Command::new("dpkg-deb")
                .arg("-f")
                .arg(&path)
                .arg("Depends")
                .output()
                .unwrap();
            assert_eq!(depends.stdout, b"libc6 (>= 2.36)\n");
            let again = Deb::read(&path).unwrap();
            assert_eq!((again.bytes, again.control), (deb.bytes, deb.control));
            assert_eq!((again.name, again.version), (deb.name, deb.version));
        }
    }
}
