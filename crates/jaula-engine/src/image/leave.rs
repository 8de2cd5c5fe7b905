//! What apt leaves in a tree beside the packages.

use super::database;
use super::error::BuildError;
use super::layout::Tree;
use super::plan::ImagePlan;
use jaula_plan::spec::rootfs::Variant;
use jaula_repo::lock::Role;

/// What apt would have left.
pub fn finish(plan: &ImagePlan, tree: &Tree<'_>) -> Result<(), BuildError> {
    let auto = plan
        .lock
        .packages
        .iter()
        .filter(|package| package.role == Role::Dependency);
    // apt names the native architecture for packages of all architectures too.
    let options = &plan.spec.options;
    // Where apt itself would install nothing it notes nothing.
    let asked = options.variant != Variant::Custom
        && !(options.include.is_empty() && options.debs.is_empty() && options.tasks.is_empty());
    database::write_extended_states(
        tree,
        asked,
        auto.map(|package| match package.arch.as_str() {
            "all" => (package.name.as_str(), plan.lock.arch.as_str()),
            arch => (package.name.as_str(), arch),
        }),
    )?;
    for (path, mode) in [
        ("var/cache/apt/archives/lock", 0o640),
        ("var/lib/apt/lists/lock", 0o640),
        ("var/lib/dpkg/lock", 0o640),
        ("var/lib/dpkg/lock-frontend", 0o640),
    ] {
        tree.write(path, mode, b"")?;
    }
    Ok(tree.own_apt()?)
}
