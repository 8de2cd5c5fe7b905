use super::*;

const STRINGS: u64 = 0x300;
const LOADED_AT: u64 = 0x40_0000;

/// A 64-bit little-endian program with one loaded segment, an interpreter and these entries of its dynamic section.
fn program(entries: &[(u64, u64)], strings: &[u8]) -> Vec<u8> {
    let mut file = vec![0u8; 0x300];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &3u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &3u16.to_le_bytes());
    let interpreter = b"/lib64/ld.so\0";
    put(0x120, interpreter);
    let headers = [
        (PT_LOAD, 0, LOADED_AT, 0x1000),
        (PT_INTERP, 0x120, 0, interpreter.len() as u64),
        (PT_DYNAMIC, 0x180, 0, 16 * (entries.len() as u64 + 1)),
    ];
    for (number, (kind, offset, address, size)) in headers.into_iter().enumerate() {
        let at = 64 + 56 * number;
        put(at, &kind.to_le_bytes());
        put(at + 8, &(offset as u64).to_le_bytes());
        put(at + 16, &address.to_le_bytes());
        put(at + 32, &size.to_le_bytes());
    }
    for (number, (tag, value)) in entries.iter().enumerate() {
        put(0x180 + 16 * number, &tag.to_le_bytes());
        put(0x188 + 16 * number, &value.to_le_bytes());
    }
    file.extend_from_slice(strings);
    file
}

fn usual() -> Vec<u8> {
    let strings = b"\0libc.so.6\0$ORIGIN/../lib:/opt\0me.so.1\0";
    let size = strings.len() as u64;
    let table = [(5, LOADED_AT + STRINGS), (10, size)];
    let names = [(1, 1), (29, 11), (14, 31), (15, 0)];
    program(&[&table[..], &names[..]].concat(), strings)
}

#[test]
fn what_a_program_says_it_needs_is_read() {
    let read = Dynamic::read(&usual()).unwrap();
    assert_eq!(read.interpreter.as_deref(), Some(&b"/lib64/ld.so"[..]));
    assert_eq!(read.needed, [b"libc.so.6".to_vec()]);
    assert_eq!(read.runpath.as_deref(), Some(&b"$ORIGIN/../lib:/opt"[..]));
    assert_eq!(read.soname.as_deref(), Some(&b"me.so.1"[..]));
    assert_eq!(read.rpath.as_deref(), Some(&b""[..]));
    assert_eq!(read.identity.debian_arch(), Some("amd64"));
}

#[test]
fn no_cut_or_changed_byte_makes_it_panic() {
    let whole = usual();
    for length in 0..whole.len() {
        assert!(
            Dynamic::read(&whole[..length].to_vec()).is_err(),
            "{length}"
        );
    }
    for at in 0..whole.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut changed = whole.clone();
            changed[at] = byte;
            drop(Dynamic::read(&changed));
        }
    }
}

#[test]
fn names_outside_of_their_table_are_refused() {
    let table = |size| [(5, LOADED_AT + STRINGS), (10, size)];
    let named = |size: u64, at: u64, strings: &[u8]| {
        Dynamic::read(&program(&[&table(size)[..], &[(1, at)]].concat(), strings))
    };
    assert!(named(4, 0, b"abc\0").is_ok());
    assert!(matches!(named(3, 0, b"abc\0"), Err(ElfError::Cut(_))));
    assert!(matches!(named(4, 5, b"abc\0"), Err(ElfError::Cut(_))));
    assert!(matches!(named(9, 4, b"abc\0"), Err(ElfError::Cut(_))));
    assert!(matches!(
        named(4, u64::MAX, b"abc\0"),
        Err(ElfError::Cut(_))
    ));
    let long = vec![b'a'; 5000];
    assert!(matches!(named(5000, 0, &long), Err(ElfError::TooMuch(_))));
    // No table at all, and one that no segment holds.
    let none = program(&[(1, 0)], b"");
    assert!(matches!(Dynamic::read(&none), Err(ElfError::Cut(_))));
    let outside = program(&[(5, 1), (10, 4), (1, 0)], b"abc\0");
    assert!(matches!(Dynamic::read(&outside), Err(ElfError::Cut(_))));
}

#[test]
fn what_is_no_program_is_refused() {
    assert!(matches!(
        Dynamic::read(&b"#!/bin/sh\n".to_vec()),
        Err(ElfError::NotElf)
    ));
    assert!(matches!(Dynamic::read(&Vec::new()), Err(ElfError::NotElf)));
    let mut object = usual();
    object[16] = 1;
    assert!(matches!(Dynamic::read(&object), Err(ElfError::Type(1))));
    let mut many = usual();
    many[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
    assert!(matches!(Dynamic::read(&many), Err(ElfError::TooMuch(_))));
}
