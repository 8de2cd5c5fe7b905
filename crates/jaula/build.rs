//! Tells the linker in which order to place the functions of a release build.

use std::env::var;
use std::io::Write;

fn main() -> std::io::Result<()> {
    let is = |name: &str, value: &str| var(name).is_ok_and(|found| found == value);
    let mut cargo = std::io::stdout().lock();
    writeln!(cargo, "cargo::rerun-if-changed=start.ld")?;
    // A debug build has other functions, and nobody waits for it.
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        let dir = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        writeln!(
            cargo,
            "cargo::rustc-link-arg-bin=jaula=-Wl,-T,{dir}/start.ld"
        )?;
    }
    Ok(())
}
