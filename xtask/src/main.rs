//! Work on jaula that is not jaula: `cargo xtask` lists it.
#![forbid(unsafe_code)]

mod clippy;
mod coverage;
mod mirror;
mod suite;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask tidy                         check what no compiler checks
cargo xtask clippy-toml                  write each crate's clippy.toml from the one list
cargo xtask coverage                     sums of docs/coverage.md
cargo xtask coverage set ID STATE TEST…  change a row; STATE as docs/coverage.md explains
cargo xtask mirror DIR [--suite S] [--arch A] [--variant V] [--include PKG,…]
                                         make a real, signed, partial mirror
cargo xtask mirror DIR --serve PORT      serve it on 127.0.0.1 until killed
cargo xtask test [--quick]               what the tests need, then every check and test";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let root = root();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tidy"] => {
            let complaints = tidy::check(&root)?;
            for complaint in &complaints {
                println!("{complaint}");
            }
            if !complaints.is_empty() {
                bail!("{} complaints", complaints.len());
            }
            println!("tidy");
            Ok(())
        }
        ["clippy-toml"] => clippy::write(&root),
        ["coverage"] => {
            print!("{}", coverage::sums(&coverage::read(&root)?));
            Ok(())
        }
        ["coverage", "set", id, state, tests @ ..] => coverage::set(&root, id, state, tests),
        ["mirror", dir, options @ ..] => mirror::run(Path::new(dir), options),
        ["test", options @ ..] => suite::run(&root, options),
        [] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("not understood: {}\n{USAGE}", arguments.join(" ")),
    }
}

/// The top of the source tree: of the one that cargo runs this in, which need not be where it was compiled.
fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR");
    Path::new(
        own.as_deref()
            .unwrap_or(env!("CARGO_MANIFEST_DIR").as_ref()),
    )
    .parent()
    .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
