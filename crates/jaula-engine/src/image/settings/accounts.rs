//! Accounts: the files that name them, and their homes.

use super::super::build::Site;
use super::super::error::BuildError;
use super::super::hooks::{Merge, merge_all};
use super::super::layout::Tree;
use crate::error::At;
use jaula_plan::settings::accounts::{self, Defaults, Files, Made};
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;

/// Seconds of a day: shadow(5) counts in days.
const DAY: u64 = 86_400;

fn optional(tree: &Tree<'_>, path: &str) -> Result<Option<String>, BuildError> {
    let bytes = tree.read(path)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

pub fn apply(site: &Site<'_>) -> Result<(), BuildError> {
    let (asked, tree) = (&site.plan.spec.options.settings, site.tree);
    if asked.users.is_empty() && asked.root_password.is_none() {
        return Ok(());
    }
    let before = Files {
        passwd: tree.read_text("etc/passwd")?,
        shadow: optional(tree, "etc/shadow")?,
        group: tree.read_text("etc/group")?,
        gshadow: optional(tree, "etc/gshadow")?,
        subuid: optional(tree, "etc/subuid")?,
        subgid: optional(tree, "etc/subgid")?,
    };
    let defaults = Defaults::read(
        &tree.read_text("etc/login.defs")?,
        &tree.read_text("etc/default/useradd")?,
    );
    // As useradd has it with SOURCE_DATE_EPOCH.
    let days = site.plan.epoch() / DAY;
    let mut files = before.clone();
    if let Some(hash) = &asked.root_password {
        accounts::set_password(&mut files, "root", hash, days)?;
    }
    let mut made = Vec::new();
    for account in &asked.users {
        made.push(accounts::add(&mut files, account, &defaults, days)?);
    }
    let write = |path: &str, before: Option<&str>, after: Option<&str>| match after
        .filter(|after| Some(*after) != before)
    {
        Some(text) => tree.rewrite(path, text.as_bytes()),
        None => Ok(()),
    };
    let pairs = [
        ("etc/shadow", &before.shadow, &files.shadow),
        ("etc/gshadow", &before.gshadow, &files.gshadow),
        ("etc/subuid", &before.subuid, &files.subuid),
        ("etc/subgid", &before.subgid, &files.subgid),
    ];
    write("etc/passwd", Some(&before.passwd), Some(&files.passwd))?;
    write("etc/group", Some(&before.group), Some(&files.group))?;
    for (path, before, after) in pairs {
        write(path, before.as_deref(), after.as_deref())?;
    }
    for made in &made {
        home(site, made)?;
    }
    Ok(())
}

/// Makes a home with what is in `/etc/skel`, unless it is there.
fn home(site: &Site<'_>, made: &Made) -> Result<(), BuildError> {
    let path = made.home.trim_matches('/');
    if path.is_empty() || site.tree.is_there(path) {
        return Ok(());
    }
    site.tree.make_dirs(path, 0o755)?;
    let open = |path: &str| site.root.open_beneath(Path::new(path));
    let shown = site.shown.join(path);
    match open("etc/skel") {
        Ok(skel) => {
            let home = Rc::new(open(path).at("open", &shown)?);
            let mut merge = Merge::owned(made.uid, made.gid);
            merge_all(
                &skel,
                &site.shown.join("etc/skel"),
                &home,
                &shown,
                &mut merge,
            )?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => Err(error).at("open", site.shown.join("etc/skel"))?,
    }
    Ok(site.tree.own(path, made.uid, made.gid, made.home_mode)?)
}
