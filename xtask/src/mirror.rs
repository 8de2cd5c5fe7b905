//! `cargo xtask mirror`: the partial mirror for benchmarks and for trying things by hand.

use std::path::Path;

use anyhow::{Context, Result, bail};
use jaula_testkit::server::Server;
use jaula_testkit::{MirrorWish, Variant, mirror};

/// Makes or completes the mirror in `dir`, or serves it.
pub fn run(dir: &Path, options: &[&str]) -> Result<()> {
    let mut wish = MirrorWish {
        variant: Variant::Important,
        ..MirrorWish::default()
    };
    let mut serve = None;
    let mut rest = options.iter();
    while let Some(&option) = rest.next() {
        let value = *rest
            .next()
            .with_context(|| format!("{option} needs a value"))?;
        match option {
            "--suite" => wish.suite = value.into(),
            "--arch" => wish.arch = value.into(),
            "--variant" => wish.variant = value.parse()?,
            "--include" => wish.include.extend(value.split(',').map(str::to_owned)),
            "--serve" => serve = Some(value.parse().context("a port")?),
            other => bail!("no option {other}"),
        }
    }
    match serve {
        None => {
            mirror::make_mirror(dir, &wish)?;
            println!("{}", dir.display());
            Ok(())
        }
        Some(port) => {
            let server = Server::start_on(dir, port)?;
            println!("{}", server.url());
            loop {
                std::thread::park();
            }
        }
    }
}
