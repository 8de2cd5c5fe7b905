//! `--simulate`: the merged settings as multistrap(1) 2.2.11 writes them, which people compare with diff(1).

use super::settings::Settings;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

/// What is shown, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// For standard output.
    pub text: String,
    /// For standard error; its presence makes the exit code 1.
    pub wrong: Option<String>,
}

/// One thing, or several.
fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

fn joined<'a>(words: impl IntoIterator<Item = &'a String>, between: &str) -> String {
    let words: Vec<&str> = words.into_iter().map(String::as_str).collect();
    words.join(between)
}

/// Shows them. `file` is as it was named, `host` the host's architecture.
pub fn show(settings: &Settings, file: &str, host: &str) -> Shown {
    let mut text = String::new();
    let mut wrong = String::new();
    let cannot_do_without = settings.directory.is_none() || settings.arch.is_none();
    if cannot_do_without {
        wrong.push_str(&format!(
            "\nThe supplied configuration file '{file}' cannot be parsed correctly.\n\n"
        ));
    }
    let mut missing = String::new();
    for name in settings.undefined() {
        missing.push_str(&format!("ERR: The '{name}' section is not defined.\n"));
    }
    // Writing to a String does not fail.
    write_all(settings, &mut text).unwrap_or_default();
    if settings.arch.is_none() {
        missing.push_str(&format!(
            "Cannot determine architecture from '{file}'. Using {host}.\n"
        ));
    }
    if settings.directory.is_none() {
        missing.push_str(&format!("Cannot determine directory from '{file}'.\n"));
    }
    let fails = !missing.is_empty();
    if fails {
        wrong.push_str(&format!("\n{missing}\n"));
    }
    Shown {
        text,
        wrong: fails.then_some(wrong),
    }
}

fn write_all(settings: &Settings, text: &mut String) -> std::fmt::Result {
    let includes: BTreeSet<&String> = settings.includes.iter().collect();
    match includes.len() {
        0 => writeln!(text, "include:\t\tNo included configuration files.")?,
        count => writeln!(
            text,
            "include:\t{} '{}'",
            plural(
                count,
                "Including configuration file from:",
                "Including configuration files from:"
            ),
            joined(includes, "', '")
        )?,
    }
    writeln!(text)?;
    sections(settings, text)?;
    let (bootstrap, apt) = (&settings.bootstrap, &settings.apt_sources);
    let install = plural(bootstrap.len(), "Section to install", "Sections to install");
    writeln!(text, "{install}:\t{}", joined(bootstrap, " "))?;
    let updates = plural(apt.len(), "Section for updates", "Sections for updates");
    writeln!(text, "{updates}:\t{}", joined(apt, " "))?;
    write!(
        text,
        "omitdebsrc\t\tOmit deb-src from sources.list for sections:"
    )?;
    let omitted: Vec<&String> = settings
        .repositories
        .iter()
        .filter(|(_, repository)| repository.omit_deb_src)
        .map(|(name, _)| name)
        .collect();
    match omitted.as_slice() {
        [] => writeln!(text, " None.")?,
        names => writeln!(text, " {}", joined(names.iter().copied(), " "))?,
    }
    writeln!(
        text,
        "explicitsuite:\t\tExplicit suite selection: {}",
        if settings.explicit_suite {
            "Yes"
        } else {
            "No - let apt use latest."
        }
    )?;
    writeln!(
        text,
        "allowrecommends:\tRecommended packages are {}.",
        if settings.recommends {
            "added to the selection"
        } else {
            "ignored"
        }
    )?;
    if let Some(release) = &settings.default_release {
        writeln!(text, "aptdefaultrelease:\tAPT::Default-Release: {release}")?;
    }
    if settings.mark_auto {
        writeln!(
            text,
            "markauto:\t\tMarking dependency packages as auto-installed."
        )?;
    }
    lists(settings, text)?;
    rest(settings, text)
}

fn sections(settings: &Settings, text: &mut String) -> std::fmt::Result {
    for name in settings.bootstrap.union(&settings.apt_sources) {
        let Some(repository) = settings.repositories.get(name) else {
            continue;
        };
        writeln!(text, "Section name:\t{name}")?;
        writeln!(text, "\tsource:\t\t{}", repository.source)?;
        if !repository.is_flat() {
            writeln!(text, "\tsuite:\t\t{}", repository.suite)?;
            writeln!(text, "\tcomponents:\t{}", repository.components)?;
        }
        if settings.bootstrap.contains(name) {
            let packages: BTreeSet<String> = repository.wanted().collect();
            writeln!(text, "\tpackages:\t{}", joined(&packages, " "))?;
        } else {
            writeln!(text, "\tNot listed as a 'Bootstrap' section.")?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn paths(paths: &[PathBuf]) -> Vec<String> {
    let mut paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.sort();
    paths
}

fn lists(settings: &Settings, text: &mut String) -> std::fmt::Result {
    let seeds = paths(&settings.seeds);
    if !seeds.is_empty() {
        let what = plural(seeds.len(), "Debconf preseed file", "Debconf preseed files");
        writeln!(text, "{what}:\t{}", joined(&seeds, " "))?;
    }
    let hooks = [
        (
            "download hooks:\t\t",
            "Download hook: ",
            &settings.download_hooks,
        ),
        ("native hooks:\t\t", "Native hook: ", &settings.native_hooks),
        (
            "completion hooks:\t",
            "Completion hook: ",
            &settings.completion_hooks,
        ),
    ];
    for (label, one, hooks) in hooks {
        if !hooks.is_empty() {
            let what = plural(hooks.len(), one, "");
            writeln!(text, "{label}{what}{}", joined(&paths(hooks), ", "))?;
        }
    }
    let additional = &settings.additional;
    if !additional.is_empty() {
        let what = plural(additional.len(), "Extra Package: ", "Extra Packages: ");
        writeln!(text, "additional:\t\t{what}{}", joined(additional, ", "))?;
    }
    if !settings.reinstall.is_empty() {
        writeln!(text, "reinstall:\t\t{}", joined(&settings.reinstall, ", "))?;
    }
    Ok(())
}

fn rest(settings: &Settings, text: &mut String) -> std::fmt::Result {
    if let Some(arch) = &settings.arch {
        writeln!(text, "Architecture:\t\tArchitecture to download: {arch}")?;
    }
    if !settings.multiarch.is_empty() {
        let mut archs = settings.multiarch.clone();
        archs.sort();
        let what = plural(archs.len(), "Foreign architecture", "Foreign architectures");
        writeln!(text, "MultiArch:\t\t{what}: {}", joined(&archs, " "))?;
    }
    if let Some(directory) = &settings.directory {
        writeln!(text, "dir:\t\t\tOutput directory: '{directory}'")?;
    }
    writeln!(
        text,
        "unpack:\t\t\textract all downloaded archives: {}",
        settings.unpack
    )?;
    if let Some(script) = &settings.config_script {
        writeln!(text, "configscript:\t\t{}", script.display())?;
    }
    if let Some(script) = &settings.setup_script {
        writeln!(
            text,
            "setupscript:\t\tScript to be run after unpacking: {}",
            script.display()
        )?;
    }
    if settings.omit_required {
        writeln!(
            text,
            "omitrequired:\t\t'Priority required' packages are not included."
        )?;
    } else {
        writeln!(
            text,
            "omitrequired:\t\t'Priority: required' packages are included."
        )?;
    }
    writeln!(
        text,
        "addimportant:\t\t'Priority: important' packages are {}.",
        if settings.add_important {
            "included"
        } else {
            "ignored"
        }
    )?;
    writeln!(
        text,
        "cleanup:\t\tremove apt cache data: {}",
        settings.cleanup
    )?;
    writeln!(
        text,
        "noauth:\t\t\tallow the use of unauthenticated repositories: {}",
        settings.no_auth
    )?;
    if let Some(dir) = &settings.source_dir {
        writeln!(
            text,
            "retainsources:\tSources will be retained in: {}",
            dir.display()
        )?;
    }
    if let Some(name) = &settings.tarball {
        writeln!(text, "tarballname:\t\tTarball name: '{name}'")?;
    }
    writeln!(
        text,
        "omitpreinst:\t\tPreinst scripts are {}.",
        if settings.omit_preinst {
            "not executed"
        } else {
            "executed with the install argument"
        }
    )?;
    // The original says so whatever ignorenativearch is: it has not looked yet.
    writeln!(text, "ignorenativearch:\tPackages will be configured.")?;
    match &settings.preferences {
        Some(file) => writeln!(
            text,
            "aptpreferences:\t\tApt preferences file to use: '{}'",
            file.display()
        )?,
        None => writeln!(
            text,
            "aptpreferences:\t\tNo apt preferences file. Default release: *"
        )?,
    }
    writeln!(text)
}
