//! What is set in a tree: what the plan's settings come to, in the order in which a build gets to them.

mod accounts;
mod shown;

pub use shown::{arguments, explain, texts};

use super::build::Site;
use super::error::BuildError;
use super::layout::Tree;
use crate::configure::{self, Runner};
use crate::outcome::Status;
use jaula_plan::path_filter::PathFilter;
use jaula_plan::settings::locale::{self, Locale};
use jaula_plan::settings::{self, SettingError, options};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec, Variant, Want};
use jaula_repo::lock::Lock;
use jaula_sys::tree::Kind;
use std::ffi::OsString;

/// Where glibc lists the locales that can be generated.
const SUPPORTED: &str = "usr/share/i18n/SUPPORTED";
/// Where answers for debconf are while it reads them.
const ANSWERS: &str = "run/jaula-answers";

/// The request with the packages that its settings need. `has` tells whether the archive has a package.
///
/// # Errors
/// [`SettingError`]: a setting that is wrong, or that no package of the archive brings.
pub fn with_packages(
    spec: &ImageSpec,
    has: &dyn Fn(&str) -> bool,
) -> Result<ImageSpec, SettingError> {
    let asked = &spec.options.settings;
    settings::check(asked)?;
    let mut names = locale::locale_packages(has, &asked.locales)?;
    let needs = [
        (asked.timezone.is_some(), "a time zone", "tzdata"),
        (
            !asked.preseed.is_empty(),
            "an answer for debconf",
            "debconf",
        ),
        (
            !asked.users.is_empty() || asked.root_password.is_some(),
            "an account",
            "passwd",
        ),
    ];
    for (needed, what, package) in needs {
        if needed && !has(package) {
            return Err(SettingError::NoPackage {
                what: what.to_owned(),
                package: package.to_owned(),
            });
        }
        names.extend(needed.then(|| package.to_owned()));
    }
    let mut spec = spec.clone();
    for name in names {
        let Ok(name) = name.parse() else { continue };
        let want = Want::any(name);
        let there = spec
            .options
            .include
            .iter()
            .any(|have| have.name == want.name);
        if !there {
            spec.options.include.push(want);
        }
    }
    Ok(spec)
}

/// The language that programs of an image are started with: its first locale.
pub fn language(options: &ImageOptions) -> Option<String> {
    let first = options.settings.locales.first()?;
    Locale::parse(first).ok().map(|locale| locale.to_string())
}

/// What apt and dpkg of the tree are told, before any of them runs.
///
/// # Errors
/// The tree cannot be written to.
pub fn setup(site: &Site<'_>) -> Result<(), BuildError> {
    let asked = &site.plan.spec.options;
    let mut apt = String::new();
    for option in &asked.settings.apt_options {
        apt.push_str(&options::apt_text(option)?);
    }
    let given: Vec<&str> = asked
        .settings
        .dpkg_options
        .iter()
        .flat_map(|option| option.lines())
        .map(|line| line.trim().trim_start_matches("--"))
        .collect();
    // Rules that were given as options stand where they stand among those.
    let mut dpkg: String = PathFilter::new(&asked.paths)?
        .lines()
        .split_inclusive('\n')
        .filter(|line| !given.contains(&line.trim_end()))
        .collect();
    for option in &asked.settings.dpkg_options {
        options::check_dpkg(option)?;
        dpkg.push_str(&options::dpkg_text(option));
    }
    for (path, text) in [("etc/apt/apt.conf.d", apt), ("etc/dpkg/dpkg.cfg.d", dpkg)] {
        if !text.is_empty() {
            let path = &format!("{path}/{}", asked.settings.options_name());
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            site.tree.make_dirs(dir, 0o755)?;
            site.tree.write(path, 0o644, text.as_bytes())?;
        }
    }
    if asked.merged_usr == Some(false)
        && site
            .plan
            .lock
            .packages
            .iter()
            .any(|p| p.name == "usr-is-merged")
    {
        site.tree.write(
            "etc/unsupported-skip-usrmerge-conversion",
            0o644,
            b"this system will not be supported in the future\n",
        )?;
    }
    if let Some(text) = &asked.settings.sources_list {
        site.tree
            .write("etc/apt/sources.list", 0o644, text.as_bytes())?;
    }
    Ok(())
}

/// Gives debconf its answers, as soon as it is unpacked; to be called before packages are configured. Tells whether there
/// is nothing left to be told.
///
/// # Errors
/// debconf does not take them.
pub fn answer(site: &Site<'_>, runner: Runner<'_>) -> Result<bool, BuildError> {
    let asked = &site.plan.spec.options.settings;
    let mut text = String::new();
    for answers in &asked.preseed {
        text.push_str(answers);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    let package = |name: &str| site.plan.lock.packages.iter().any(|p| p.name == name);
    if let Some(keyboard) = asked
        .keyboard
        .as_ref()
        .filter(|_| package("keyboard-configuration"))
    {
        text.push_str(&settings::keyboard_answers(keyboard));
    }
    if text.is_empty() {
        return Ok(true);
    }
    if !site.tree.is_file("usr/bin/debconf-set-selections") {
        return Ok(false);
    }
    site.tree.make_dirs("run", 0o755)?;
    site.tree.write(ANSWERS, 0o600, text.as_bytes())?;
    let path = format!("/{ANSWERS}");
    program(
        site,
        "give debconf its answers",
        &["debconf-set-selections", &path],
        runner,
    )?;
    site.tree.remove(ANSWERS)?;
    Ok(true)
}

/// What is said when debconf never came.
pub fn unanswered() -> SettingError {
    SettingError::NoPackage {
        what: "an answer for debconf".to_owned(),
        package: "debconf".to_owned(),
    }
}

/// Whether `/bin` is what was asked for, as soon as packages are unpacked.
///
/// # Errors
/// [`SettingError`]: a package brings it otherwise.
pub fn check_usr(site: &Site<'_>) -> Result<(), SettingError> {
    let Some(merged) = site.plan.spec.options.merged_usr else {
        return Ok(());
    };
    let (value, kind, why) = match merged {
        true => (
            "yes",
            Kind::Symlink,
            "packages of this release bring /bin as a directory",
        ),
        false => (
            "no",
            Kind::Dir,
            "packages of this release bring /bin as a link",
        ),
    };
    match site.tree.kind("bin") {
        Some(found) if found != kind => Err(usr(value, why)),
        _ => Ok(()),
    }
}

fn usr(value: &str, why: &'static str) -> SettingError {
    SettingError::Value {
        what: "--merged-usr",
        value: value.to_owned(),
        why,
    }
}

/// What the packages of a plan say of `/bin` without links. Debian's bookworm checks it when it is configured; only the
/// machines that build packages for it may do without, as debootstrap(8) has it.
///
/// # Errors
/// [`SettingError`]
pub fn check_packages(spec: &ImageSpec, lock: &Lock) -> Result<(), SettingError> {
    let checks = ["usrmerge", "usr-is-merged"];
    let checked = lock
        .packages
        .iter()
        .any(|p| checks.contains(&p.name.as_str()));
    if spec.options.merged_usr == Some(false) && checked && spec.options.variant != Variant::Buildd
    {
        return Err(usr(
            "no",
            "package usr-is-merged of this release refuses it, but for variant buildd",
        ));
    }
    Ok(())
}

/// What stays when the guards are gone.
///
/// # Errors
/// The tree cannot be written to.
pub fn leave(site: &Site<'_>) -> Result<(), BuildError> {
    if site.plan.spec.options.settings.no_services {
        site.tree.make_dirs("usr/sbin", 0o755)?;
        site.tree
            .write_new("usr/sbin/policy-rc.d", 0o755, b"#!/bin/sh\nexit 101\n")?;
    }
    Ok(())
}

/// Runs a program of the tree that a setting needs.
fn program(
    site: &Site<'_>,
    what: &'static str,
    command: &[&str],
    runner: Runner<'_>,
) -> Result<(), BuildError> {
    let command: Vec<OsString> = command.iter().map(OsString::from).collect();
    let epoch = site.plan.epoch();
    let (status, tail) = configure::program(
        site.shown,
        command,
        &[],
        false,
        epoch,
        runner,
        site.observer,
    )?;
    if status == Status::Exited(0) {
        return Ok(());
    }
    Err(BuildError::Setting { what, status, tail })
}

/// Everything that is set when all packages are there.
///
/// # Errors
/// [`BuildError`]
pub fn apply(site: &Site<'_>, runner: Runner<'_>) -> Result<(), BuildError> {
    let asked = &site.plan.spec.options.settings;
    let tree = site.tree;
    if let Some(name) = &asked.hostname {
        tree.write("etc/hostname", 0o644, format!("{name}\n").as_bytes())?;
        let before = tree.read_text("etc/hosts")?;
        let hosts = settings::hosts_file(Some(&before), &name.to_string());
        tree.write("etc/hosts", 0o644, hosts.as_bytes())?;
    }
    if let Some(zone) = &asked.timezone {
        time_zone(tree, zone)?;
    }
    if let Some(keyboard) = &asked.keyboard {
        let text = settings::keyboard_file(keyboard);
        tree.make_dirs("etc/default", 0o755)?;
        tree.write("etc/default/keyboard", 0o644, text.as_bytes())?;
    }
    locales(site, runner)?;
    accounts::apply(site)?;
    if let Some(text) = &asked.resolv_conf {
        tree.write("etc/resolv.conf", 0o644, text.as_bytes())?;
    }
    Ok(())
}

fn time_zone(tree: &Tree<'_>, zone: &str) -> Result<(), BuildError> {
    if !tree.is_there(&format!("usr/share/zoneinfo/{zone}")) {
        return Err(SettingError::Unknown {
            what: "time zone",
            value: zone.to_owned(),
        }
        .into());
    }
    tree.write("etc/timezone", 0o644, format!("{zone}\n").as_bytes())?;
    Ok(tree.link("etc/localtime", &format!("/usr/share/zoneinfo/{zone}"))?)
}

/// Generates locales and makes the first the default one.
fn locales(site: &Site<'_>, runner: Runner<'_>) -> Result<(), BuildError> {
    let (asked, tree) = (&site.plan.spec.options.settings.locales, site.tree);
    let mut read = Vec::new();
    for name in asked {
        read.push(Locale::parse(name)?);
    }
    let Some(first) = read.first() else {
        return Ok(());
    };
    let generated: Vec<&Locale> = read.iter().filter(|locale| !locale.is_built_in()).collect();
    if !generated.is_empty() {
        let supported = tree.read_text(SUPPORTED)?;
        let mut lines = Vec::new();
        for locale in generated {
            lines.push(locale::gen_line(locale, &supported)?);
        }
        let text = locale::gen_file(&tree.read_text("etc/locale.gen")?, &lines);
        tree.write("etc/locale.gen", 0o644, text.as_bytes())?;
        program(site, "generate the locales", &["locale-gen"], runner)?;
    }
    // Newer releases have it as a link to this file.
    let (path, text) = ("etc/locale.conf", format!("LANG={first}\n"));
    if tree.is_file(path) {
        return Ok(tree.write(path, 0o644, text.as_bytes())?);
    }
    tree.make_dirs("etc/default", 0o755)?;
    Ok(tree.write("etc/default/locale", 0o644, text.as_bytes())?)
}
