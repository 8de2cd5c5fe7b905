//! Tests that need the kernel for real run themselves again inside new namespaces, so that the
//! host's own links and mounts are never touched.

use std::process::Command;

/// The variable that tells a test it already runs inside.
const INSIDE: &str = "JAULA_TEST_INSIDE";

/// The full name of the test that a local function `marker` was defined in, as the test harness
/// spells it (`module::test`).
#[must_use]
pub fn test_name<F>(_marker: F) -> &'static str {
    let full = std::any::type_name::<F>();
    let inner = full.rsplit_once("::").map_or(full, |(outer, _)| outer);
    let inner = inner.trim_end_matches("::{{closure}}");
    inner.split_once("::").map_or(inner, |(_, name)| name)
}

/// Which namespaces [`enter`] makes, as arguments of unshare(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// User, mount, pid, network, ipc and uts namespaces; the test is root inside.
    Full,
    /// User and mount namespaces only: the host's network and processes stay visible.
    Mounts,
    /// As [`World::Full`], with the caller's subordinate ids mapped (needs `newuidmap`).
    ManyIds,
    /// As [`World::Full`] without a user namespace: the test is root of the host, whose accounts it may play with after
    /// it has put copies in their place. Only for root.
    Root,
}

impl World {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            World::Full => &[
                "--user",
                "--map-root-user",
                "--mount",
                "--pid",
                "--fork",
                "--net",
                "--ipc",
                "--uts",
                "--mount-proc",
                "--kill-child",
            ],
            World::Mounts => &["--user", "--map-root-user", "--mount"],
            World::Root => &[
                "--mount",
                "--pid",
                "--fork",
                "--net",
                "--ipc",
                "--uts",
                "--mount-proc",
                "--kill-child",
            ],
            World::ManyIds => &[
                "--map-auto",
                "--map-root-user",
                "--mount",
                "--pid",
                "--fork",
                "--net",
                "--ipc",
                "--uts",
                "--mount-proc",
                "--kill-child",
            ],
        }
    }
}

/// What [`enter`] says to its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered {
    /// This process is the inner one: run the test.
    Inside,
    /// The inner process ran the test, and it passed: return.
    Done,
    /// The kernel or the host refuses such namespaces: skip, with this reason.
    Refused(String),
}

/// Runs the test `name` again inside `world`, unless this process already is that run.
///
/// # Panics
/// When the inner run fails, or when it did not run exactly one test.
#[must_use]
pub fn enter(name: &str, world: World) -> Entered {
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == *name) {
        return Entered::Inside;
    }
    let probe = Command::new("unshare")
        .args(world.arguments())
        .arg("true")
        .output();
    match probe {
        Err(error) => return Entered::Refused(format!("unshare: {error}")),
        Ok(output) if !output.status.success() => {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Entered::Refused(format!("namespaces are refused: {text}"));
        }
        Ok(_) => {}
    }
    let program = std::env::current_exe().expect("a running program has a path");
    let output = Command::new("unshare")
        .args(world.arguments())
        .arg(program)
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, name)
        .output()
        .expect("unshare ran a moment ago");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "inside new namespaces: {}\n{stdout}\n{stderr}",
        output.status
    );
    Entered::Done
}

/// Keeps this thread, and what it starts, on one CPU.
///
/// A mount namespace can be kept by an older one only, and Linux 6.18 numbers them by CPU: one made on another
/// CPU may look older than it is. To be called before [`kernel_test!`].
///
/// # Panics
/// Where there is no `taskset`.
pub fn on_one_cpu() {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("a thread");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let thread = field("Pid:").expect("its number").trim();
    let allowed = field("Cpus_allowed_list:").expect("its CPUs").trim();
    let first = allowed.split(['-', ',']).next().expect("a CPU");
    let output = Command::new("taskset")
        .args(["-cp", first, thread])
        .output();
    assert!(
        output.is_ok_and(|output| output.status.success()),
        "taskset"
    );
}

/// First line of a test that needs namespaces: what follows runs inside them.
///
/// ```ignore
/// #[test]
/// fn mounts_stay_inside() {
///     kernel_test!();            // or kernel_test!(Mounts)
///     …
/// }
/// ```
#[macro_export]
macro_rules! kernel_test {
    () => {
        $crate::kernel_test!(Full)
    };
    ($world:ident) => {{
        fn here() {}
        match $crate::kernel::enter(
            $crate::kernel::test_name(here),
            $crate::kernel::World::$world,
        ) {
            $crate::kernel::Entered::Inside => {}
            $crate::kernel::Entered::Done => return,
            $crate::kernel::Entered::Refused(reason) => $crate::skip!("{reason}"),
        }
    }};
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_test_knows_its_name() {
        fn here() {}
        assert_eq!(
            super::test_name(here),
            "kernel::tests::a_test_knows_its_name"
        );
    }

    #[test]
    fn inside_there_is_one_link_and_few_processes() {
        crate::kernel_test!();
        let links = std::fs::read_to_string("/proc/self/net/dev").unwrap();
        assert_eq!(links.lines().skip(2).count(), 1, "{links}");
        let processes = std::fs::read_dir("/proc")
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy()
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
            })
            .count();
        assert!(processes <= 2, "{processes}");
    }
}
