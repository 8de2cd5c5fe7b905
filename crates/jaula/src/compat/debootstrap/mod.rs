//! debootstrap(8). Its suite scripts are not run: what they say of suites is a table ([`jaula_plan::rootfs::Families`]).

mod failure;
mod options;
mod request;
mod voice;
mod work_dir;

use super::Face;
use super::making::{self, NotOpened};
use super::tool;
use jaula_engine::export::{DEVICES, Extra, ExtraKind, MixTarget};
use jaula_engine::image::{Collection, FinishSpec, Way};
use jaula_engine::session::Need;
use jaula_engine::{Dry, Engine, EngineError, ImagePlan};
use jaula_plan::spec::rootfs::Reference;
use jaula_plan::step::Compression;
use options::{Asked, Stop, Work};
use request::Request;
pub use request::own_arch;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use voice::Voice;

/// The face.
pub const FACE: Face = Face {
    name: "debootstrap",
    of: "debootstrap 1.0.128",
    run,
};

/// A failure that was said already.
type Said = ();

fn run(words: &[OsString]) -> ExitCode {
    let mut voice = Voice::default();
    let name = tool::Tool::new(FACE.name, 1).called;
    let name = name.rsplit('/').next().unwrap_or(FACE.name).to_owned();
    let asked = match options::read(words) {
        Ok(asked) => asked,
        Err(Stop::Help) => return tool::show(&options::help(&name)),
        Err(Stop::Version) => {
            let jaula = env!("CARGO_PKG_VERSION");
            return tool::show(&format!("debootstrap 1.0.128 (jaula {jaula})\n"));
        }
        Err(Stop::Error(text)) => {
            voice.error(&text);
            return ExitCode::FAILURE;
        }
    };
    voice.verbose = asked.verbose;
    match act(&asked, &mut voice, &name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(()) => ExitCode::FAILURE,
    }
}

fn act(asked: &Asked, voice: &mut Voice, name: &str) -> Result<(), Said> {
    if asked.work == Work::SecondStage {
        return second_stage(asked, voice);
    }
    let target = match asked.operands.as_slice() {
        [suite, target, ..] if !suite.is_empty() && !target.is_empty() => Path::new(target),
        _ => {
            voice.info("usage: [OPTION]... <suite> <target> [<mirror> [<script>]]");
            voice.info(&format!("Try `{name} --help' for more information."));
            voice.error("You must specify a suite and a target.");
            return Err(());
        }
    };
    let target = absolute(target, voice)?;
    let wiped = matches!(asked.work, Work::PrintDebs | Work::MakeTarball(_)) && !asked.keep;
    if wiped && is_occupied(&target) {
        voice.error(&format!(
            "Target directory '{}' is not empty and it would be wiped",
            target.display()
        ));
        return Err(());
    }
    let engine = match making::open(Need::ManyUsers) {
        Ok(engine) => engine,
        Err(NotOpened::OnlyRoot(error)) => {
            voice.error("debootstrap can only run as root");
            let hints = error.hints();
            hints
                .iter()
                .for_each(|hint| voice.more(&format!("   or: {hint}")));
            return Err(());
        }
        Err(NotOpened::Failed(text)) => {
            voice.error(&text);
            return Err(());
        }
    };
    let relative = request::family(asked, voice)?;
    voice.aside = asked.work == Work::PrintDebs;
    if let Some(path) = &asked.tarball {
        let collection = collection(&engine, path, voice)?;
        let request = request::of_collection(asked, relative, &collection, voice);
        let made = request.and_then(|request| make(asked, &engine, &target, &request, voice));
        collection.close(voice);
        return made;
    }
    let request = request::request(asked, relative, voice)?;
    make(asked, &engine, &target, &request, voice)
}

/// Opens an archive of packages.
fn collection(engine: &Engine, path: &Path, voice: &Voice) -> Result<Collection, Said> {
    let name = path.to_string_lossy();
    if !path.is_absolute() {
        voice.error("Tarball must be given an absolute path");
        return Err(());
    }
    if ![".tar", ".tar.gz", ".tar.xz", ".tgz"]
        .iter()
        .any(|ending| name.ends_with(ending))
    {
        voice.error("Unknown tarball: must be .tar.[gz,xz], .tar or .tgz");
        return Err(());
    }
    engine.open_collection(path).map_err(|error| {
        making::lines(&error)
            .iter()
            .for_each(|line| voice.error(line));
    })
}

/// Finishes what was unpacked only.
fn second_stage(asked: &Asked, voice: &Voice) -> Result<(), Said> {
    let dir = asked
        .second_stage_target
        .clone()
        .unwrap_or_else(|| "/".into());
    if dir == Path::new("/") {
        voice.error("The second stage of this system is begun by /debootstrap/debootstrap --second-stage in it");
        return Err(());
    }
    let failed = |lines: Vec<String>| lines.iter().for_each(|line| voice.error(line));
    let dir = absolute(&dir, voice)?;
    let engine = match making::open(Need::ManyUsers) {
        Ok(engine) => engine,
        Err(NotOpened::OnlyRoot(_)) => {
            voice.error("debootstrap can only run as root");
            return Err(());
        }
        Err(NotOpened::Failed(text)) => {
            voice.error(&text);
            return Err(());
        }
    };
    let spec = FinishSpec::Reference(Reference::Directory(dir.clone()));
    let done = engine
        .plan_finish(&spec)
        .and_then(|plan| engine.finish(&plan, &[], voice));
    done.map_err(|error| failed(making::lines(&error)))?;
    voice.finish();
    if !asked.keep && dir.join("debootstrap").is_dir() {
        let removed = engine.discard(&dir.join("debootstrap"));
        removed.map_err(|error| failed(making::lines(&error)))?;
    }
    voice.done();
    Ok(())
}

fn make(
    asked: &Asked,
    engine: &Engine,
    target: &Path,
    request: &Request,
    voice: &Voice,
) -> Result<(), Said> {
    let shown = target.display().to_string();
    let failed = |error: EngineError| failure::tell(&error, request, &shown, voice);
    let plan = engine
        .plan_image_by(&request.spec, Way::Whole, voice, Dry::MayCache)
        .map_err(failed)?;
    voice.know(&plan);
    if asked.log_extra {
        let added: Vec<&str> = plan
            .lock()
            .packages
            .iter()
            .filter(|package| package.role.as_str() == "dependency")
            .map(|package| package.name.as_str())
            .collect();
        if !added.is_empty() {
            voice.info(&format!(
                "Found additional base dependencies: {}",
                added.join(" ")
            ));
        }
    }
    if asked.work == Work::PrintDebs {
        let (required, base) = voice.parts();
        let list = format!("{} {} \n", required.join("\n"), base.join(" "));
        let _code = tool::show(&list);
        if asked.keep {
            let mut extras = work_dir::files(engine, asked, request, &plan, voice);
            extras.push(work_dir::log(voice));
            return put(engine, target, extras, voice).map_err(failed);
        }
        voice.info("Deleting target directory");
        return Ok(());
    }
    for component in &asked.components {
        voice.info(&format!(
            "Checking component {component} on {}...",
            request.mirror
        ));
    }
    if let Some(dir) = &asked.cache {
        engine.take_packages(&plan, dir).map_err(failed)?;
    }
    if let Work::Download | Work::MakeTarball(_) = &asked.work {
        return lay(engine, target, asked, request, &plan, voice).map_err(failed);
    }
    let image = engine.image(&plan, voice).map_err(failed)?;
    if let Some(dir) = &asked.cache {
        engine.lay_packages(&plan, dir, None).map_err(failed)?;
    }
    let mut extras = places_own(request);
    let foreign = asked.work == Work::Foreign;
    if asked.keep || foreign {
        extras.extend(work_dir::files(engine, asked, request, &plan, voice));
    }
    if !foreign {
        voice.finish();
        extras.push(log(voice));
    }
    if foreign || asked.keep {
        extras.push(work_dir::log(voice));
    }
    let mixing = MixTarget {
        path: target.to_owned(),
        mixed: true,
        usable: making::is_root(),
        extras,
    };
    let mix = engine
        .plan_mix(Some(image.digest()), &mixing)
        .map_err(failed)?;
    engine.mix(&mix, voice).map_err(failed)?;
    if !foreign {
        voice.done();
    }
    Ok(())
}

/// Fetches the packages into the target, as the tool has them there before it installs them.
fn lay(
    engine: &Engine,
    target: &Path,
    asked: &Asked,
    request: &Request,
    plan: &ImagePlan,
    voice: &Voice,
) -> Result<(), EngineError> {
    let _held = engine.fetch_packages(plan, voice)?;
    if let Some(dir) = &asked.cache {
        engine.lay_packages(plan, dir, None)?;
    }
    let mut extras = work_dir::files(engine, asked, request, plan, voice);
    extras.extend(work_dir::lists(engine, request, plan)?);
    extras.push(work_dir::log(voice));
    let archives = "var/cache/apt/archives";
    extras.push(extra(
        &format!("{archives}/partial"),
        ExtraKind::Directory { mode: 0o755 },
    ));
    put(engine, target, extras, voice)?;
    engine.lay_packages(plan, target, Some(Path::new(archives)))?;
    if let Work::MakeTarball(path) = &asked.work {
        engine.pack(target, path, Compression::Gzip, voice)?;
        if !asked.keep {
            voice.info("Deleting target directory");
            engine.discard(target)?;
        }
    }
    Ok(())
}

/// Puts files into the target, and nothing else.
fn put(
    engine: &Engine,
    target: &Path,
    extras: Vec<Extra>,
    voice: &Voice,
) -> Result<(), EngineError> {
    let mixing = MixTarget {
        path: target.to_owned(),
        mixed: true,
        usable: false,
        extras,
    };
    engine.mix(&engine.plan_mix(None, &mixing)?, voice)
}

fn absolute(path: &Path, voice: &Voice) -> Result<PathBuf, Said> {
    std::path::absolute(path).map_err(|error| voice.error(&format!("{}: {error}", path.display())))
}

fn is_occupied(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
}

fn extra(path: &str, what: ExtraKind) -> Extra {
    Extra {
        path: path.into(),
        what,
        replaces: false,
    }
}

fn text(path: &str, content: &str) -> Extra {
    let content = content.as_bytes().to_vec();
    extra(
        path,
        ExtraKind::File {
            mode: 0o644,
            content,
        },
    )
}

/// What the tool puts into a tree that no package brings.
fn places_own(request: &Request) -> Vec<Extra> {
    let mut extras: Vec<Extra> = ["/etc/resolv.conf", "/etc/hostname"]
        .into_iter()
        .filter(|path| Path::new(path).is_file())
        .map(|path| {
            let from = PathBuf::from(path);
            Extra {
                replaces: true,
                ..extra(path.trim_start_matches('/'), ExtraKind::Copy { from })
            }
        })
        .collect();
    extras.push(sources_list(request));
    extras.push(text("etc/fstab", "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n"));
    extras.push(extra(
        "etc/localtime",
        ExtraKind::Link("/usr/share/zoneinfo/UTC".into()),
    ));
    extras.push(text("var/lib/dpkg/cmethopt", "apt apt\n"));
    if request.spec.options.merged_usr == Some(false) && request.relative.merged_usr(false) {
        // What keeps the package usrmerge from converting the tree.
        let note = "this system will not be supported in the future\n";
        extras.push(text("etc/unsupported-skip-usrmerge-conversion", note));
    }
    for (name, node) in DEVICES {
        extras.push(extra(&format!("dev/{name}"), ExtraKind::Device { node }));
    }
    extras
}

/// One line a suite, as plain as the tool writes it.
fn sources_list(request: &Request) -> Extra {
    let sources = &request.spec.options.sources;
    let components: Vec<String> = match &request.spec.options.settings.sources_list {
        // Of an archive of packages the request itself is no source.
        Some(list) => {
            return Extra {
                replaces: true,
                ..text("etc/apt/sources.list", list)
            };
        }
        None => sources.components.iter().map(ToString::to_string).collect(),
    };
    let suites = std::iter::once(request.relative.suite.clone())
        .chain(sources.extra_suites.iter().map(ToString::to_string));
    let list: String = suites
        .map(|suite| format!("deb {} {suite} {}\n", request.mirror, components.join(" ")))
        .collect();
    Extra {
        replaces: true,
        ..text("etc/apt/sources.list", &list)
    }
}

fn log(voice: &Voice) -> Extra {
    Extra {
        path: "var/log/bootstrap.log".into(),
        what: ExtraKind::File {
            mode: 0o644,
            content: voice.log().into_bytes(),
        },
        replaces: true,
    }
}
