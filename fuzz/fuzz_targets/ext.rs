#![no_main]
//! `ext`: what has to hold is in the shared entry file, which the tests run too. Give it what mke2fs makes of a small tree.

#[path = "../../crates/jaula-repo/tests/disk/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::ext(data));
