#![no_main]
//! `squashfs`: what has to hold is in the shared entry file, which the tests run too. `tests/disk/writer.rs` makes seeds.

#[path = "../../crates/jaula-repo/tests/disk/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::squashfs(data));
