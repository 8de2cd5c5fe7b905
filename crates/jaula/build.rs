//! Tells the linker in which order to place the functions of a release build.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=start.ld");
    let is = |name: &str, value: &str| var(name).is_ok_and(|found| found == value);
    // A debug build has other functions, and nobody waits for it.
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        let dir = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bin=jaula=-Wl,-T,{dir}/start.ld");
    }
}
