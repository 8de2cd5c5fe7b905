//! mmdebstrap(1), without apt: packages are chosen and unpacked by the engine.

mod help;

mod hooks;
mod mirrors;
mod options;
mod output;
mod request;
mod transfer;
mod voice;

use super::Face;
use super::making::{self, NotOpened};
use super::tool;
use jaula_engine::image::Way;
use jaula_engine::session::Need;
use jaula_engine::{Dry, EngineError, ImagePlan};
use options::{Asked, HookWord, Stage, Stop};
use output::Output;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;
use voice::Voice;

/// The face.
pub const FACE: Face = Face {
    name: "mmdebstrap",
    of: "mmdebstrap 1.4",
    run,
};

/// What its own failures end with.
const FAILURE: u8 = 25;

fn run(words: &[OsString]) -> ExitCode {
    if let Some(code) = transfer::run(words) {
        return code;
    }
    let asked = match options::read(words) {
        Ok(asked) => asked,
        Err(Stop::Help) => return tool::show(&help::help()),
        Err(Stop::Man) => return tool::show(&help::man()),
        Err(Stop::Version) => return tool::show(help::VERSION),
        Err(Stop::Complaints(lines)) => {
            let mut text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            text.push_str(&help::help());
            crate::output::write_stderr(&text);
            return ExitCode::from(2);
        }
    };
    let log = match asked
        .logfile
        .as_ref()
        .map(std::fs::File::create)
        .transpose()
    {
        Ok(log) => log,
        Err(error) => {
            let name = asked.logfile.clone().unwrap_or_default();
            Voice::new(asked.loudness, None).error(&format!("cannot open {name}: {error}"));
            return ExitCode::from(FAILURE);
        }
    };
    let small = ["extract", "custom", "essential", "apt"];
    let more = !asked.include.is_empty() || !small.contains(&asked.variant.as_str());
    let voice = Voice::new(asked.loudness, log).of_more(more);
    match act(&asked, &voice) {
        Ok(()) => ExitCode::SUCCESS,
        Err(lines) => {
            if let Some((first, more)) = lines.split_first() {
                voice.error(first);
                more.iter().for_each(|line| voice.info(line));
            }
            ExitCode::from(FAILURE)
        }
    }
}

/// The sources of a plan as lines.
fn sources_list(plan: &ImagePlan) -> String {
    let sources = plan.lock().sources.iter();
    sources
        .map(|source| {
            let components = source.components.replace(',', " ");
            format!("deb {} {} {components}\n", source.uri, source.suite)
        })
        .collect()
}

/// One line of an error is what the tool says; more are hints.
type Lines = Vec<String>;

fn one(line: impl Into<String>) -> Lines {
    vec![line.into()]
}

fn act(asked: &Asked, voice: &Voice) -> Result<(), Lines> {
    let began = Instant::now();
    for idle in &asked.idle {
        voice.info(&format!(
            "the option --{idle} is a no-op. It only exists for compatibility with some debootstrap wrappers."
        ));
    }
    if asked.simulate {
        let has = |wanted: Stage| {
            asked
                .hooks
                .iter()
                .any(|hook| matches!(hook, HookWord::Command { stage, .. } if *stage == wanted))
        };
        for stage in Stage::ALL.into_iter().filter(|stage| has(*stage)) {
            voice.warning(&format!(
                "In dry-run mode, --{}-hook options have no effect",
                stage.as_str()
            ));
        }
    }
    let request = request::read(asked, voice).map_err(one)?;
    let (suite, rest) = match asked.operands.split_first() {
        Some((suite, rest)) => (Some(suite.as_str()), rest),
        None => {
            voice.info("No SUITE specified, expecting sources.list on standard input");
            (None, asked.operands.as_slice())
        }
    };
    let (target, mirrors) = match rest.split_first() {
        Some((target, mirrors)) => (target.as_str(), mirrors),
        None => ("-", rest),
    };
    let spec = request::spec(asked, &request, suite, mirrors, voice).map_err(one)?;
    let output = Output::choose(&asked.format, target, asked.simulate, voice).map_err(one)?;
    let skips = |word: &str| asked.skip.iter().any(|skip| skip == word);
    let output = output.without(skips("output/mknod"), skips("output/dev"));
    let mut spec = spec;
    hooks::tell_format(&mut spec.options.hooks, output.word());
    let held = output.prepare(skips("check/empty"), asked.simulate, voice);
    let held = held.map_err(one)?;
    // Without subordinate identifiers the tool goes on as fakeroot(1) does, unless it is told to unshare.
    let need = match asked.mode.as_str() {
        "unshare" => Need::ManyUsers,
        _ => Need::Users,
    };
    let engine = making::open(need).map_err(|error| match error {
        NotOpened::OnlyRoot(error) => {
            let mut lines =
                one("unable to pick chroot mode automatically (use --mode for manual selection)");
            lines.push(making::line(&error));
            lines.extend(error.hints());
            lines
        }
        NotOpened::Failed(text) => one(text),
    })?;
    let failed = |error: EngineError| making::lines(&error);
    let dry = if asked.simulate {
        Dry::ReadOnly
    } else {
        Dry::MayCache
    };
    let mut plan = engine
        .plan_image_by(&spec, Way::Whole, voice, dry)
        .map_err(failed)?;
    if request::leaves_usr(asked, &spec, &plan) {
        spec.options.merged_usr = Some(false);
        plan = engine
            .plan_image_by(&spec, Way::Whole, voice, dry)
            .map_err(failed)?;
    }
    for package in &plan.lock().packages {
        let line = format!("{} {} {}", package.name, package.version, package.arch);
        if asked.simulate {
            voice.info(&format!("would install {line}"));
        } else {
            voice.debug(&format!("chosen: {line}"));
        }
    }
    if asked.simulate {
        let list = spec.options.settings.sources_list.clone();
        let list = list.unwrap_or_else(|| sources_list(&plan));
        output
            .skeleton(&engine, &list, plan.lock().arch.as_str(), voice)
            .map_err(failed)?;
    } else {
        let image = engine.image(&plan, voice).map_err(failed)?;
        voice.made();
        output
            .write(held, &engine, image.digest(), voice)
            .map_err(failed)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    voice.info(&format!("success in {seconds:.4} seconds"));
    Ok(())
}
