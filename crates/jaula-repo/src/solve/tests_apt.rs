//! The same requests to this solver and to the host's `apt-get -s`, over the host's own lists.
//!
//! APT runs with an empty status file and its own cache, so the host's state plays no part and is not
//! changed. Without apt or its lists the tests say so and end.

use super::*;
use crate::deb::packages::Index;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

struct Host {
    dir: PathBuf,
    architecture: String,
    indices: Vec<Index>,
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("left behind {}: {error}", self.dir.display());
        }
    }
}

fn output(command: &mut Command) -> Option<String> {
    let out = command.output().ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

impl Host {
    /// The host's lists, or why there are none.
    fn open(test: &str) -> Result<Self, String> {
        let architecture = output(Command::new("dpkg").arg("--print-architecture"))
            .ok_or("dpkg does not run")?
            .trim()
            .to_owned();
        let targets = output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(FILENAME)",
            "Created-By: Packages",
            &format!("Architecture: {architecture}"),
        ]))
        .ok_or("apt-get does not run")?;
        let files: Vec<&str> = targets.lines().filter(|f| Path::new(f).exists()).collect();
        if files.is_empty() {
            return Err("apt has no package lists".to_owned());
        }
        let dir = std::env::temp_dir().join(format!("jaula-solve-{test}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("cache/archives/partial")).map_err(|e| e.to_string())?;
        let mut host = Self {
            dir,
            architecture,
            indices: Vec::new(),
        };
        for file in files {
            let out = Command::new("/usr/lib/apt/apt-helper")
                .args(["cat-file", file])
                .output()
                .map_err(|e| format!("apt-helper: {e}"))?;
            if !out.status.success() {
                return Err(format!("apt-helper cannot read {file}"));
            }
            let index =
                Index::parse(Cursor::new(out.stdout)).map_err(|e| format!("{file}: {e}"))?;
            host.indices.push(index);
        }
        Ok(host)
    }

    fn universe(&self) -> Universe<'_> {
        let mut universe = Universe::new(&*self.architecture);
        for index in &self.indices {
            universe.add(index);
        }
        universe
    }

    /// Runs `apt-get -s` with `status` as the installed packages. `None`: apt finds no way.
    fn apt(
        &self,
        status: &str,
        recommends: bool,
        arguments: &[&str],
    ) -> Option<BTreeMap<String, String>> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        status.hash(&mut hasher);
        let file = self.dir.join(format!("status-{:x}", hasher.finish()));
        if !file.exists() {
            std::fs::write(&file, status).unwrap();
        }
        let dir = self.dir.display();
        let out = output(
            Command::new("apt-get")
                .args(["-s", "-q", "-y"])
                .arg(format!("-oDir::State::status={}", file.display()))
                .arg(format!(
                    "-oDir::State::extended_states={dir}/extended_states"
                ))
                .arg(format!("-oDir::Cache={dir}/cache"))
                .arg("-oDir::Etc::preferences=/dev/null")
                .arg("-oDir::Etc::preferencesparts=/dev/null")
                .arg(format!("-oAPT::Architecture={}", self.architecture))
                .arg(format!("-oAPT::Architectures={}", self.architecture))
                .arg(format!("-oAPT::Install-Recommends={recommends}"))
                .arg("-opkgCacheGen::ForceEssential=,")
                .arg("-oDebug::NoLocking=true")
                .args(arguments)
                .env("LC_ALL", "C"),
        )?;
        let mut found = BTreeMap::new();
        for line in out.lines() {
            let Some(rest) = line.strip_prefix("Inst ") else {
                continue;
            };
            let name = rest.split(' ').next().unwrap_or_default();
            let name = name.split(':').next().unwrap_or_default();
            let version = rest.split_once('(').and_then(|(_, v)| v.split(' ').next());
            found.insert(name.to_owned(), version.unwrap_or_default().to_owned());
        }
        Some(found)
    }
}

fn set(universe: &Universe<'_>, solution: &Solution) -> BTreeMap<String, String> {
    solution
        .packages(universe)
        .map(|(p, _)| (p.name().to_owned(), p.version().to_owned()))
        .collect()
}

fn difference(apt: &BTreeMap<String, String>, ours: &BTreeMap<String, String>) -> String {
    let only = |a: &BTreeMap<String, String>, b: &BTreeMap<String, String>| -> Vec<String> {
        a.iter()
            .filter(|(n, v)| b.get(*n) != Some(v))
            .map(|(n, v)| format!("{n}={v}"))
            .collect()
    };
    format!(
        "only apt: {:?}, only here: {:?}",
        only(apt, ours),
        only(ours, apt)
    )
}

/// A dpkg status file in which `set` is installed.
fn status_of(universe: &Universe<'_>, set: &Solution) -> String {
    let mut text = String::new();
    for (p, _) in set.packages(universe) {
        text += &format!(
            "Package: {}\nStatus: install ok installed\nPriority: {}\nSection: x\nMaintainer: x\nArchitecture: {}\nVersion: {}\n",
            p.name(),
            p.priority().as_str(),
            p.architecture(),
            p.version(),
        );
        for (field, value) in [
            ("Provides", p.provides()),
            ("Pre-Depends", p.pre_depends()),
            ("Depends", p.depends()),
            ("Recommends", p.recommends()),
            ("Conflicts", p.conflicts()),
            ("Breaks", p.breaks()),
            ("Replaces", p.replaces()),
        ] {
            if !value.is_empty() {
                text += &format!("{field}: {value}\n");
            }
        }
        if p.essential() {
            text += "Essential: yes\n";
        }
        match p.multi_arch() {
            crate::deb::packages::MultiArch::Same => text += "Multi-Arch: same\n",
            crate::deb::packages::MultiArch::Foreign => text += "Multi-Arch: foreign\n",
            crate::deb::packages::MultiArch::Allowed => text += "Multi-Arch: allowed\n",
            crate::deb::packages::MultiArch::No => {}
        }
        text += "Description: x\n\n";
    }
    text
}

/// The packages of every variant are those that apt chooses when mmdebstrap asks it.
#[test]
fn variants_are_those_of_mmdebstrap() {
    let host = match Host::open("variants") {
        Ok(host) => host,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let universe = host.universe();
    // What mmdebstrap 1.3 has apt install, first into nothing and then on top.
    let rows = [
        (Variant::Essential, None),
        (
            Variant::Minbase,
            Some(&["?and(?priority(required),?not(?essential))"][..]),
        ),
        (
            Variant::Buildd,
            Some(
                &[
                    "build-essential",
                    "?and(?priority(required),?not(?essential))",
                ][..],
            ),
        ),
        (
            Variant::Important,
            Some(&["?and(?or(~prequired,~pimportant),?not(?essential))"][..]),
        ),
        (
            Variant::Standard,
            Some(&["?and(?or(~prequired,~pimportant,~pstandard),?not(?essential))"][..]),
        ),
    ];
    let essential = select(&universe, Variant::Essential, &[], &[]);
    let base = solve(&universe, &essential.request).expect("essential is solvable");
    let status = status_of(&universe, &base);
    let mut apt_base = host
        .apt("", false, &["install", "?essential"])
        .expect("apt solves essential");
    for (variant, on_top) in rows {
        let selection = select(&universe, variant, &[], &[]);
        let started = Instant::now();
        let solution = solve(&universe, &selection.request).expect("a variant is solvable");
        let took = started.elapsed();
        let mut theirs = apt_base.clone();
        if let Some(wanted) = on_top {
            let mut arguments = vec!["install"];
            arguments.extend(wanted);
            theirs.append(
                &mut host
                    .apt(&status, false, &arguments)
                    .expect("apt solves the variant"),
            );
        }
        let ours = set(&universe, &solution);
        eprintln!(
            "{}: {} packages, {:?}, {took:?}",
            variant.as_str(),
            ours.len(),
            solution.found_by
        );
        assert!(
            theirs == ours,
            "{}: {}",
            variant.as_str(),
            difference(&theirs, &ours)
        );
    }
    // The variant `apt` is made by an upgrade of nothing, in which apt is essential.
    let selection = select(&universe, Variant::Apt, &[], &[]);
    let ours = set(&universe, &solve(&universe, &selection.request).unwrap());
    apt_base = host
        .apt(
            "",
            false,
            &["-opkgCacheGen::ForceEssential=apt", "dist-upgrade"],
        )
        .expect("apt upgrades nothing");
    assert!(apt_base == ours, "apt: {}", difference(&apt_base, &ours));
}

/// A small generator, so that every run asks for the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[derive(Default)]
struct Tally {
    same: usize,
    /// Both find a way, and they differ.
    differ: usize,
    /// Neither finds a way.
    neither: usize,
    only_apt: usize,
    only_here: usize,
    by_solver: usize,
}

fn compare(test: &str, requests: usize, recommends: bool, seed: u64) -> Option<Tally> {
    let host = match Host::open(test) {
        Ok(host) => host,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return None;
        }
    };
    let universe = host.universe();
    let names: Vec<&str> = host.indices.first()?.names().collect();
    let mut random = Random(seed);
    let mut tally = Tally::default();
    for _ in 0..requests {
        let wanted: Vec<&str> = (0..=random.below(3))
            .filter_map(|_| names.get(random.below(names.len())).copied())
            .collect();
        let request = Request {
            roots: wanted.iter().map(|n| Want::new(*n)).collect(),
            recommends,
            ..Request::default()
        };
        let started = Instant::now();
        let ours = solve(&universe, &request);
        let took = started.elapsed();
        let mut arguments = vec!["install"];
        arguments.extend(&wanted);
        let theirs = host.apt("", recommends, &arguments);
        match (theirs, ours) {
            (None, Err(_)) => tally.neither += 1,
            (Some(_), Err(error)) => {
                tally.only_apt += 1;
                eprintln!("{wanted:?}: only apt finds a way; {error}");
            }
            (theirs, Ok(solution)) => {
                assert_valid(&universe, &request, &solution);
                let by_solver = solution.found_by == FoundBy::Solver;
                tally.by_solver += usize::from(by_solver);
                let ours = set(&universe, &solution);
                match theirs {
                    None => {
                        tally.only_here += 1;
                        eprintln!("{wanted:?}: apt finds no way, {} packages here", ours.len());
                    }
                    Some(theirs) if theirs == ours => tally.same += 1,
                    Some(theirs) => {
                        tally.differ += 1;
                        let found_by = solution.found_by;
                        eprintln!(
                            "{wanted:?} ({found_by:?}, {took:?}): {}",
                            difference(&theirs, &ours)
                        );
                    }
                }
            }
        }
    }
    eprintln!(
        "{requests} requests, recommends {recommends}: {} the same, {} differ, {} impossible for both, {} only apt, {} only here; {} by the solver",
        tally.same, tally.differ, tally.neither, tally.only_apt, tally.only_here, tally.by_solver,
    );
    Some(tally)
}

/// Checks a solution with the code that judges the walk, which knows nothing of how it was found.
fn assert_valid(universe: &Universe<'_>, request: &Request, solution: &Solution) {
    let texts: Vec<String> = request
        .base
        .iter()
        .chain(&request.roots)
        .map(ToString::to_string)
        .collect();
    let mut pool = Pool::new(universe, request);
    let all: Vec<CandIx> = solution
        .chosen
        .iter()
        .map(|c| {
            pool.cand_of(c.package)
                .expect("the chosen are in the universe")
        })
        .collect();
    let wants: Vec<_> = texts.iter().map(|t| pool.group(t)).collect();
    assert!(walk::is_consistent(&mut pool, &all, &wants), "{request:?}");
    let mut order = solution.unpack_order.clone();
    order.sort_unstable();
    assert!(
        order.into_iter().eq(0..solution.chosen.len()),
        "every package once"
    );
}

#[test]
fn random_requests_as_apt() {
    let Some(tally) = compare("random", 30, false, 0x9e37_79b9_7f4a_7c15) else {
        return;
    };
    assert_eq!(tally.only_apt, 0, "what apt can do can be done here");
    assert!(tally.differ <= 1, "{} of 30 differ", tally.differ);
}

#[test]
#[ignore = "200 runs of apt take minutes"]
fn many_random_requests_as_apt() {
    for (recommends, seed) in [
        (false, 0xdead_beef_cafe_f00d),
        (true, 0x0123_4567_89ab_cdef),
    ] {
        let Some(tally) = compare("many", 200, recommends, seed) else {
            return;
        };
        assert_eq!(tally.only_apt, 0, "what apt can do can be done here");
        assert!(tally.differ <= 10, "{} of 200 differ", tally.differ);
    }
}

/// Prints how long things take; run it in a release build.
#[test]
#[ignore = "a measurement"]
fn how_fast() {
    let host = match Host::open("speed") {
        Ok(host) => host,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let universe = host.universe();
    for variant in Variant::ALL {
        for engine in [Engine::Both, Engine::SolverOnly] {
            let mut times = Vec::new();
            let mut selecting = Vec::new();
            let mut count = 0;
            for _ in 0..9 {
                let started = Instant::now();
                let selection = select(&universe, variant, &[], &[]);
                selecting.push(started.elapsed());
                let started = Instant::now();
                let solution = solve_with(&universe, &selection.request, engine).unwrap();
                times.push(started.elapsed());
                count = solution.chosen.len();
                assert_valid(&universe, &selection.request, &solution);
            }
            times.sort();
            selecting.sort();
            eprintln!(
                "{:10} {engine:?}: {count} packages, select {:?}, solve {:?}",
                variant.as_str(),
                selecting[4],
                times[4],
            );
        }
    }
}

/// The complete solver alone also finds valid sets, for whatever the walk solves.
#[test]
fn solver_alone_is_valid() {
    let host = match Host::open("alone") {
        Ok(host) => host,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let universe = host.universe();
    let names: Vec<&str> = host.indices[0].names().collect();
    let mut random = Random(42);
    let (mut same, mut solved) = (0, 0);
    for _ in 0..40 {
        let request = Request {
            roots: vec![Want::new(names[random.below(names.len())])],
            ..Request::default()
        };
        let both = solve(&universe, &request);
        let alone = solve_with(&universe, &request, Engine::SolverOnly);
        assert_eq!(both.is_ok(), alone.is_ok(), "{request:?}");
        if let (Ok(both), Ok(alone)) = (both, alone) {
            assert_valid(&universe, &request, &alone);
            solved += 1;
            same += usize::from(both.chosen == alone.chosen);
        }
    }
    eprintln!("{solved} solved, {same} the same with and without the walk");
    assert!(solved > 20);
}
