//! What is chosen against `apt-get -s install`, in a system that has minbase, over the real index of bookworm.

use crate::root::{Apt, Random};
use jaula_repo::compress::Decoder;
use jaula_repo::deb::packages::{Index, MultiArch, Package};
use jaula_repo::solve::{
    FoundBy, PackageRef, Request, SolveError, Universe, Variant, Want, select, solve,
};
use jaula_testkit::{partial_mirror, skip};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests without recommended packages, and as many with them.
const REQUESTS: usize = 110;

type Set = BTreeMap<String, String>;

/// A stanza of dpkg's status file.
fn status(p: &Package<'_>) -> String {
    let mut text = format!(
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
        ("Suggests", p.suggests()),
        ("Conflicts", p.conflicts()),
        ("Breaks", p.breaks()),
        ("Replaces", p.replaces()),
    ] {
        if !value.is_empty() {
            text += &format!("{field}: {value}\n");
        }
    }
    // Part of what APT knows two versions apart by.
    if p.installed_size() > 0 {
        text += &format!("Installed-Size: {}\n", p.installed_size());
    }
    if p.essential() {
        text += "Essential: yes\n";
    }
    text += match p.multi_arch() {
        MultiArch::Same => "Multi-Arch: same\n",
        MultiArch::Foreign => "Multi-Arch: foreign\n",
        MultiArch::Allowed => "Multi-Arch: allowed\n",
        MultiArch::No => "",
    };
    text + "Description: x\n\n"
}

/// What APT would do.
#[derive(Debug, PartialEq)]
enum Answer {
    Install(Set),
    /// It would remove what is there.
    Remove(Vec<String>),
    Impossible,
}

fn ask(apt: &Apt, recommends: bool, wanted: &[&str]) -> Answer {
    let option = format!("-oAPT::Install-Recommends={recommends}");
    let mut arguments = vec!["-s", "-q", "-y", option.as_str(), "install"];
    arguments.extend(wanted);
    let out = apt.run("apt-get", &arguments);
    if !out.status.success() {
        return Answer::Impossible;
    }
    let said = String::from_utf8_lossy(&out.stdout);
    let mut set = Set::new();
    let mut removed = Vec::new();
    for line in said.lines() {
        if let Some(rest) = line.strip_prefix("Inst ") {
            let name = rest.split([' ', ':']).next().unwrap_or_default();
            let version = rest.split_once('(').and_then(|(_, v)| v.split(' ').next());
            set.insert(name.to_owned(), version.unwrap_or_default().to_owned());
        } else if let Some(rest) = line.strip_prefix("Remv ") {
            removed.extend(rest.split(' ').next().map(str::to_owned));
        }
    }
    match removed.as_slice() {
        [] => Answer::Install(set),
        _ => Answer::Remove(removed),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Same,
    BothImpossible,
    /// APT would remove packages that are there; here nothing is ever removed.
    AptRemoves,
    /// APT gives up where a set exists: its walk never goes back on a choice, and the complete solver does.
    AptGivesUp,
    /// Where APT's walk ends in a contradiction its problem resolver repairs one package after the other, and the
    /// complete solver searches anew: both sets are valid, and they differ.
    OtherRepair,
    Different,
}

#[test]
fn the_same_packages_as_apt() {
    let mirror = match partial_mirror(&[]) {
        Ok(mirror) => mirror,
        Err(reason) => skip!("no mirror: {reason:#}"),
    };
    let line = format!(
        "deb [signed-by={0}/keyring.gpg] file:{0} bookworm main\n",
        mirror.display()
    );
    let apt = match Apt::new(&line, &["amd64"]) {
        Ok(apt) => apt,
        Err(reason) => skip!("{reason}"),
    };
    let packages = mirror.join("dists/bookworm/main/binary-amd64/Packages.xz");
    let file = std::io::BufReader::new(std::fs::File::open(packages).unwrap());
    let index = Index::parse(Decoder::new(file).unwrap()).unwrap();
    let mut universe = Universe::new("amd64");
    universe.add(&index);
    let minbase = select(&universe, Variant::Minbase, &[], &[]).request;
    let there = solve(&universe, &minbase).unwrap();
    let text: String = there.packages(&universe).map(|(p, _)| status(&p)).collect();
    std::fs::write(apt.place("status"), text).unwrap();
    let installed: Vec<PackageRef> = there.chosen.iter().map(|c| c.package).collect();
    // APT builds its cache once, before it is asked at once from several threads.
    assert!(apt.run("apt-cache", &["gencaches"]).status.success());

    let names: Vec<&str> = index.names().collect();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let requests: Vec<(bool, Vec<&str>)> = (0..2 * REQUESTS)
        .map(|number| {
            let wanted = (0..1 + number % 2).map(|_| random.one(&names)).collect();
            (number % 4 < 2, wanted)
        })
        .collect();
    let next = AtomicUsize::new(0);
    let verdicts: Mutex<BTreeMap<Verdict, usize>> = Mutex::default();
    let one = |(recommends, wanted): &(bool, Vec<&str>)| {
        let request = Request {
            roots: wanted.iter().map(|name| Want::new(*name)).collect(),
            recommends: *recommends,
            installed: installed.clone(),
            ..Request::default()
        };
        let theirs = ask(&apt, *recommends, wanted);
        let ours = solve(&universe, &request);
        let set = |solution: &jaula_repo::solve::Solution| -> Set {
            let packages = solution.packages(&universe);
            packages
                .map(|(p, _)| (p.name().to_owned(), p.version().to_owned()))
                .collect()
        };
        let verdict = match (&theirs, &ours) {
            (Answer::Install(theirs), Ok(ours)) if *theirs == set(ours) => Verdict::Same,
            (Answer::Install(_), Ok(ours)) if ours.found_by == FoundBy::Solver => {
                Verdict::OtherRepair
            }
            (Answer::Install(_), Ok(_)) => Verdict::Different,
            (Answer::Impossible, Err(_)) => Verdict::BothImpossible,
            (Answer::Impossible, Ok(_)) => Verdict::AptGivesUp,
            (Answer::Remove(_), _) => Verdict::AptRemoves,
            (Answer::Install(_), Err(_)) => Verdict::Different,
        };
        if verdict != Verdict::Same && verdict != Verdict::BothImpossible {
            let said = match (&theirs, &ours) {
                (Answer::Install(theirs), Ok(ours)) => {
                    let ours = set(ours);
                    let only = |a: &Set, b: &Set| -> Vec<String> {
                        let missing = a.iter().filter(|(n, v)| b.get(*n) != Some(v));
                        missing.map(|(n, v)| format!("{n}={v}")).collect()
                    };
                    format!(
                        "only apt {:?}, only here {:?}",
                        only(theirs, &ours),
                        only(&ours, theirs)
                    )
                }
                (theirs, Err(error)) => format!("apt {theirs:?}, here {error}"),
                (theirs, Ok(_)) => format!("apt {theirs:?}"),
            };
            println!("{verdict:?} {wanted:?} recommends {recommends}: {said}");
        }
        assert!(
            !matches!(ours, Err(SolveError::GaveUp { .. })),
            "{wanted:?}"
        );
        *verdicts.lock().unwrap().entry(verdict).or_default() += 1;
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one(request);
                }
            });
        }
    });
    let verdicts = verdicts.into_inner().unwrap();
    println!("{} requests: {verdicts:?}", requests.len());
    let count = |verdict| verdicts.get(&verdict).copied().unwrap_or(0);
    assert_eq!(count(Verdict::Different), 0, "see above");
    // What is explained is rare.
    let explained: usize = [
        Verdict::AptRemoves,
        Verdict::AptGivesUp,
        Verdict::OtherRepair,
    ]
    .into_iter()
    .map(count)
    .sum();
    assert!(explained <= 10, "{explained} differ for a reason");
    assert!(
        count(Verdict::Same) >= 190,
        "{} the same",
        count(Verdict::Same)
    );
}
