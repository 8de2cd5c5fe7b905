//! An archive of a relative of Debian's that no table knows: the packages of another archive under another name, signed
//! by a key of its own.

use crate::deb::Compression;
use crate::digest;
use crate::keys::TestKey;
use crate::repo::{Repo, now, rfc_date};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// Makes `to/repo` from the archive in `of`, whose packages it shares by a link, and `to/keyring.gpg`.
///
/// # Errors
/// When `of` has no such suite, or a file cannot be written.
pub fn relative(of: &Path, suite: &str, to: &Path, called: &str, key: &TestKey) -> Result<Repo> {
    let dir = to.join("repo");
    let index = "main/binary-amd64/Packages.gz";
    let bytes = present(of, suite).with_context(|| format!("the index of {suite}"))?;
    let dists = dir.join("dists").join(called);
    let place = dists.join(index);
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(place, &bytes)?;
    let release = format!(
        "Origin: Guadalinex\nSuite: {called}\nCodename: {called}\nDate: {}\nArchitectures: amd64\nComponents: main\n\
         SHA256:\n {} {} {index}\n",
        rfc_date(now()),
        digest::sha256(&bytes),
        bytes.len()
    );
    fs::write(dists.join("InRelease"), key.clearsign(&release)?)?;
    std::os::unix::fs::symlink(of.join("pool"), dir.join("pool"))?;
    let keyring = to.join("keyring.gpg");
    fs::write(&keyring, key.keyring()?)?;
    Ok(Repo {
        dir,
        keyring,
        suite: called.to_owned(),
    })
}

/// The index of the packages that are really there: the archive in `of` is a part of one.
fn present(of: &Path, suite: &str) -> Result<Vec<u8>> {
    let file = of
        .join("dists")
        .join(suite)
        .join("main/binary-amd64/Packages.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(file)?).read_to_string(&mut text)?;
    let there = |stanza: &&str| {
        let name = stanza
            .lines()
            .find_map(|line| line.strip_prefix("Filename: "));
        name.is_some_and(|name| of.join(name).is_file())
    };
    let stanzas: Vec<&str> = text.split("\n\n").filter(there).collect();
    Compression::Gzip.compress(format!("{}\n\n", stanzas.join("\n\n")).as_bytes())
}

/// Writes a directory into an ISO 9660 image, its links followed or as they are.
///
/// # Errors
/// When there is no genisoimage(1), or it fails: skip the test with that reason.
pub fn iso(dir: &Path, to: &Path, follow: bool) -> Result<()> {
    let ran = Command::new("genisoimage")
        .args(["-quiet", "-rock", "-joliet", "-joliet-long"])
        .args(follow.then_some("-follow-links"))
        .arg("-output")
        .args([to, dir])
        .output()
        .context("genisoimage")?;
    ensure!(
        ran.status.success(),
        "genisoimage: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok(())
}
