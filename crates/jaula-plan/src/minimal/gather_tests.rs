use super::super::tests::{AMD64, LOADER, Made, merged};
use super::*;

fn content(words: &[&str], rules: &str) -> Content {
    let mut own = Rules::default();
    own.add(Path::new("r"), rules).unwrap();
    Content {
        with: words.iter().map(|word| word.parse().unwrap()).collect(),
        rules: own,
        packs: true,
        make: true,
        secrets: false,
    }
}

fn found(mut host: Made, words: &[&str], rules: &str) -> Gathered {
    gather(&mut host, &content(words, rules), AMD64).unwrap()
}

fn error(mut host: Made, words: &[&str]) -> String {
    let error = gather(&mut host, &content(words, ""), AMD64).unwrap_err();
    error.to_string()
}

fn has(found: &Gathered, path: &str) -> bool {
    found.items.contains_key(Path::new(path))
}

fn host() -> Made {
    merged()
        .dir("/etc")
        .dir("/usr/share")
        .dir("/usr/share/cat")
        .dir("/usr/share/cat/deep")
        .file("/usr/share/cat/deep/data", 0o644, "data")
        .file("/usr/share/cat/tool", 0o755, "#!/usr/bin/perl\n")
        .file("/usr/share/cat/id_rsa", 0o600, "")
        .file("/etc/shadow", 0o600, "root:!:::\n")
        .file(
            "/etc/passwd",
            0o644,
            "root:x:0:0:r:/root:/bin/sh\nana:x:9:9::/:/\n",
        )
        .file("/etc/group", 0o644, "root:x:0:\n")
        .elf(
            "/usr/share/cat/plugin.so",
            0o644,
            &["libextra.so", "libc.so.6"],
        )
        .elf(
            "/usr/lib/x86_64-linux-gnu/libextra.so",
            0o644,
            &["soname=libextra.so"],
        )
}

#[test]
fn a_program_brings_its_pack_and_the_pack_what_its_libraries_need() {
    let rules = "[pack.cat]\ncomment='c'\nwhen=['/usr/bin/cat']\npaths=['/usr/share/cat','/nowhere']\nusers=['root']\n\
        without=['**/deep/**']\n";
    let found = found(host(), &["cat"], rules);
    for path in [
        "/usr/bin/cat",
        "/usr/share/cat/tool",
        "/usr/share/cat/plugin.so",
        "/usr/lib/x86_64-linux-gnu/libextra.so",
        "/etc/passwd",
        "/etc/nsswitch.conf",
    ] {
        assert!(has(&found, path), "{path}: {:?}", found.items.keys());
    }
    assert!(!has(&found, "/usr/share/cat/deep") && !has(&found, "/usr/bin/perl"));
    let made = &found.items[Path::new("/etc/passwd")].kind;
    assert!(matches!(made, ItemKind::Made { text, .. } if text == "root:x:0:0:r:/root:/bin/sh\n"));
    let notes: Vec<String> = found.notes.iter().map(Note::to_string).collect();
    assert_eq!(notes, ["/nowhere is not on this host"]);
}

#[test]
fn what_is_no_program_brings_no_rule() {
    let rules = "[pack.cat]\ncomment='c'\nwhen=['/usr/bin/dog']\npaths=['/usr/share/cat']\n";
    assert!(!has(&found(host(), &["cat"], rules), "/usr/share/cat"));
}

#[test]
fn secrets_are_refused_when_named_and_left_out_of_trees() {
    assert_eq!(
        error(host(), &["/etc/shadow"]),
        "/etc/shadow is a secret of this host"
    );
    let host = host()
        .dir("/etc/ssh")
        .file("/etc/ssh/ssh_host_rsa_key", 0o600, "");
    let found = found(host, &["/etc/ssh"], "");
    assert!(has(&found, "/etc/ssh") && !has(&found, "/etc/ssh/ssh_host_rsa_key"));
}

#[test]
fn a_word_is_a_section_else_a_program_else_a_package() {
    let rules = "[section.cat]\ncomment='c'\npaths=['/usr/share/cat']\n";
    let section = found(host(), &["cat"], rules);
    assert!(has(&section, "/usr/share/cat/deep/data") && !has(&section, "/usr/bin/cat"));
    let program = found(host(), &["program:cat"], rules);
    assert!(has(&program, "/usr/bin/cat"));
    let list = "/.\n/usr\n/usr/bin\n/usr/bin/cat\n/usr/share/doc/x\n";
    let host = host().file("/var/lib/dpkg/info/pet:amd64.list", 0o644, list);
    assert!(has(&found(host, &["pet"], ""), "/usr/bin/cat"));
    assert_eq!(
        error(merged(), &["dog"]),
        "there is no section, program or package dog"
    );
}

#[test]
fn patterns_go_through_directories() {
    let rules = "[section.s]\ncomment='c'\npaths=['/usr/*/cat/deep/d*']\n";
    let found = found(host(), &["s"], rules);
    assert!(has(&found, "/usr/share/cat/deep/data") && !has(&found, "/usr/share/cat/tool"));
}

#[test]
fn a_library_that_is_missing_is_an_error_of_the_asked_and_a_note_of_a_rule() {
    let host = || merged().elf("/usr/bin/x", 0o755, &[LOADER, "libnone.so"]);
    assert!(error(host(), &["x"]).contains("libnone.so"));
    let found = found(host(), &["s"], "[section.s]\ncomment='c'\nprograms=['x']\n");
    assert!(found.notes[0].text.contains("libnone.so"));
}

#[test]
fn what_a_file_says_it_loads_later_comes_unless_it_is_only_suggested() {
    let later = r#"later=[{"soname":["libgone.so","libl.so.1"],"priority":"recommended"},{"soname":["libs.so"],"priority":"suggested"}]"#;
    let host = merged()
        .elf("/usr/bin/x", 0o755, &[LOADER, "libc.so.6", later])
        .elf("/usr/lib/libl.so.1", 0o644, &["libm.so"])
        .elf("/usr/lib/libm.so", 0o644, &[])
        .elf("/usr/lib/libs.so", 0o644, &[]);
    let found = found(host, &["x"], "");
    assert!(has(&found, "/usr/lib/libl.so.1") && has(&found, "/usr/lib/libm.so"));
    assert!(!has(&found, "/usr/lib/libs.so"));
}
