#![no_main]
//! `inrelease`: what has to hold is in the shared entry file, which the smoke test runs too.

#[allow(dead_code)]
#[path = "../../crates/jaula-repo/tests/support/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::inrelease(data));
