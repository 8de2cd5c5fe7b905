//! Tests that cannot run say why, and are counted.

use std::io::Write;

/// The variable that names the file skips are appended to; `cargo xtask test` sets it and checks
/// the count against what it expects of the machine.
pub const SKIP_FILE: &str = "JAULA_TEST_SKIPS";

/// Leaves the current test with a reason: `skip!("no overlay here")`.
///
/// Prints `skipped: TEST: REASON` and appends the same line to the file that [`SKIP_FILE`] names.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        fn here() {}
        $crate::skip::note($crate::kernel::test_name(here), &format!($($reason)+));
        return;
    }};
}

/// What [`skip!`] does before it returns from the test.
///
/// # Panics
/// When the list of skips cannot be written: a skip that is not counted is a hole.
pub fn note(test: &str, reason: &str) {
    let line = format!("skipped: {test}: {reason}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error is writable");
    if let Some(path) = std::env::var_os(SKIP_FILE) {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.write_all(line.as_bytes())
            .expect("the list of skips is writable");
    }
}
