//! Hostile archives, made in code: each is refused with a reason, or comes out harmless.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, missing_docs)]

#[path = "hostile_archives/packages.rs"]
mod packages;
mod support;
#[path = "hostile_archives/tars.rs"]
mod tars;

use jaula_repo::tar::Meta;
use std::error::Error;

type Read1 = Result<Vec<(Meta, Vec<u8>)>, Box<dyn Error>>;

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

fn long(n: usize) -> String {
    "d/".repeat(n)
}
