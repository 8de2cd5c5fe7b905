#![no_main]
//! `iso9660`: what has to hold is in the shared entry file, which the smoke test runs too. Give the
//! bytes 17 sectors at least; `tests/iso9660/writer.rs` makes seeds.

#[path = "../../crates/jaula-repo/tests/iso9660/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::iso9660(data));
