//! Tasks: sets of packages with a name (tasksel(8)).

use super::error::SolveError;
use super::universe::Universe;
use std::collections::BTreeSet;

/// The packages of a task: those whose candidate version says so in its `Task` field, as `TASK^` of apt-get(8) takes
/// them. Where no index has such fields, as in Debian's, the package `task-TASK` stands for it.
///
/// # Errors
/// [`SolveError::NoTask`] with the tasks that are like it.
pub fn task_members(universe: &Universe<'_>, task: &str) -> Result<Vec<String>, SolveError> {
    let mut members: BTreeSet<&str> = BTreeSet::new();
    let mut tasks: BTreeSet<&str> = BTreeSet::new();
    for source in universe.sources() {
        for package in source.index.iter() {
            let names = || {
                let words = package.task().split([',', ' ', '\n', '\t']);
                words.filter(|word| !word.is_empty())
            };
            tasks.extend(names());
            if !names().any(|name| name == task) || members.contains(package.name()) {
                continue;
            }
            let candidate = universe.candidate(package.name());
            let counts = candidate
                .and_then(|at| universe.package(at))
                .is_some_and(|best| {
                    best.version() == package.version() && best.sha256() == package.sha256()
                });
            if counts {
                members.insert(package.name());
            }
        }
    }
    if !members.is_empty() {
        return Ok(members.into_iter().map(str::to_owned).collect());
    }
    let package = format!("task-{task}");
    if universe.candidate(&package).is_some() {
        return Ok(vec![package]);
    }
    let by_package = universe
        .sources()
        .iter()
        .flat_map(|source| source.index.names())
        .filter_map(|name| name.strip_prefix("task-"));
    tasks.extend(by_package);
    let near = tasks
        .into_iter()
        .filter(|name| name.contains(task) || task.contains(*name))
        .take(5)
        .map(str::to_owned)
        .collect();
    Err(SolveError::NoTask {
        task: task.to_owned(),
        near,
    })
}
