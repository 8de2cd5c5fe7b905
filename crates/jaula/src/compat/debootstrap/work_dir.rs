//! The directory `debootstrap` in the target: what the tool leaves there for its second stage, and for whoever looks.

use super::options::Asked;
use super::request::Request;
use super::voice::Voice;
use jaula_engine::export::{Extra, ExtraKind};
use jaula_engine::image::deb_name;
use jaula_engine::{Engine, EngineError, ImagePlan};

/// The second stage, where no jaula is: run in the target by its own shell.
pub const SECOND_STAGE: &str = include_str!("second_stage.sh");

fn file(name: &str, mode: u32, content: impl Into<Vec<u8>>) -> Extra {
    Extra {
        path: format!("debootstrap/{name}").into(),
        what: ExtraKind::File {
            mode,
            content: content.into(),
        },
        replaces: true,
    }
}

/// The files that name what is to be installed.
pub fn files(asked: &Asked, request: &Request, plan: &ImagePlan, voice: &Voice) -> Vec<Extra> {
    let (required, base) = voice.parts();
    let (mut paths, mut uris) = (String::new(), String::new());
    for package in &plan.lock().packages {
        let name = &package.name;
        paths.push_str(&format!(
            "{name} /var/cache/apt/archives/{}\n",
            deb_name(package)
        ));
        uris.push_str(&format!(
            "{name} {} {}/{}\n",
            package.version, request.mirror, package.path
        ));
    }
    let mut files = vec![
        file("arch", 0o644, format!("{}\n", request.arch)),
        file("suite", 0o644, format!("{}\n", request.relative.suite)),
        file("mirror", 0o644, format!("{}\n", request.mirror)),
        file("required", 0o644, format!("{}\n", required.join("\n"))),
        file("base", 0o644, format!("{} \n", base.join(" "))),
        file("debpaths", 0o644, paths),
        file("deburis", 0o644, uris),
        file("debootstrap", 0o755, SECOND_STAGE),
    ];
    if !asked.variant.is_empty() {
        files.push(file("variant", 0o644, format!("{}\n", asked.variant)));
    }
    if !asked.extra_suites.is_empty() {
        files.push(file(
            "extra-suites",
            0o644,
            format!("{}\n", asked.extra_suites.join(" ")),
        ));
    }
    files
}

/// The packages' indices, where apt in the target would have them.
///
/// # Errors
/// When a package cannot be read.
pub fn lists(
    engine: &Engine,
    request: &Request,
    plan: &ImagePlan,
) -> Result<Vec<Extra>, EngineError> {
    let mut lists = Vec::new();
    for (number, source) in plan.lock().sources.iter().enumerate() {
        for (at, component) in source.components.split(',').enumerate() {
            let path = format!(
                "dists/{}/{component}/binary-{}/Packages",
                source.suite, request.arch
            );
            let place = request
                .mirror
                .split_once("://")
                .map_or(request.mirror.as_str(), |(_, rest)| rest);
            let name = format!("{place}_{path}").replace('/', "_");
            let content = if at == 0 {
                engine.index_text(plan, number)?
            } else {
                String::new()
            };
            lists.push(Extra {
                path: format!("var/lib/apt/lists/{name}").into(),
                what: ExtraKind::File {
                    mode: 0o644,
                    content: content.into_bytes(),
                },
                replaces: true,
            });
        }
    }
    Ok(lists)
}

/// What was said so far, where the tool keeps it meanwhile.
pub fn log(voice: &Voice) -> Extra {
    file("debootstrap.log", 0o644, voice.log())
}
