use super::*;
use std::io::Write;

fn scratch(name: &str) -> (std::path::PathBuf, Dir) {
    let path = std::env::temp_dir().join(format!("jaula-tree-{}-{name}", std::process::id()));
    std::fs::create_dir(&path).unwrap();
    let dir = Dir::open(&path).unwrap();
    (path, dir)
}

#[test]
fn names_are_one_component() {
    let (path, dir) = scratch("names");
    for bad in [c"", c".", c"..", c"a/b", c"/", c"../x"] {
        assert!(dir.make_dir(bad, 0o755).is_err(), "{bad:?}");
        assert!(dir.create(bad, 0o644).is_err(), "{bad:?}");
        assert!(dir.symlink(c"x", bad).is_err(), "{bad:?}");
    }
    assert!(dir.entries().unwrap().is_empty());
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn links_are_not_followed() {
    let (path, dir) = scratch("links");
    dir.make_dir(c"real", 0o755).unwrap();
    dir.symlink(c"real", c"way").unwrap();
    dir.symlink(c"/", c"out").unwrap();
    assert!(dir.dir(c"real").is_ok());
    assert!(dir.dir(c"way").is_err());
    assert!(dir.open_beneath(Path::new("way")).is_err());
    assert!(dir.open_beneath(Path::new("out/etc")).is_err());
    assert!(dir.open_beneath(Path::new("real/../../..")).is_err());
    assert!(dir.open_beneath(Path::new("/")).is_err());
    dir.create(c"file", 0o600).unwrap();
    dir.symlink(c"file", c"to-file").unwrap();
    assert!(dir.chmod(c"to-file", 0o777).is_err());
    assert_eq!(dir.stat(c"file").unwrap().mode, 0o600);
    assert!(dir.read(c"to-file").is_err());
    assert!(dir.create(c"to-file", 0o600).is_err());
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_pipe_is_no_regular_file_and_does_not_block() {
    let (path, dir) = scratch("pipe");
    dir.fifo(c"pipe", 0o600).unwrap();
    assert!(dir.read(c"pipe").is_err());
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn content_is_copied() {
    let (path, dir) = scratch("copy");
    let mut from = dir.create(c"a", 0o644).unwrap();
    let text = vec![7u8; 300_000];
    from.write_all(&text).unwrap();
    let from = dir.read(c"a").unwrap();
    let to = dir.create(c"b", 0o644).unwrap();
    copy_content(&from, &to, 300_000).unwrap();
    assert_eq!(std::fs::read(path.join("b")).unwrap(), text);
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn set_id_bits_survive_the_owner() {
    let (path, dir) = scratch("setid");
    let file = dir.create(c"a", 0o600).unwrap();
    let own = dir.stat(c"a").unwrap();
    set_file(&file, own.uid, own.gid, 0o4755, 1_000_000_000, 5).unwrap();
    let stat = dir.stat(c"a").unwrap();
    assert_eq!(
        (stat.mode, stat.mtime, stat.mtime_nsec),
        (0o4755, 1_000_000_000, 5)
    );
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn modes_are_set_in_both_ways_and_never_through_links() {
    let (path, dir) = scratch("modes");
    dir.make_dir(c"dir", 0o700).unwrap();
    dir.create(c"file", 0o600).unwrap();
    dir.symlink(c"file", c"link").unwrap();
    for set in [change_mode, change_mode_before_6_6] {
        for (name, mode) in [(c"file", 0o751), (c"dir", 0o755), (c"file", 0o0)] {
            set(dir.as_fd(), name, mode).unwrap();
            assert_eq!(dir.stat(name).unwrap().mode & 0o7777, mode, "{name:?}");
        }
        assert!(set(dir.as_fd(), c"link", 0o777).is_err());
        assert_eq!(dir.stat(c"file").unwrap().mode & 0o7777, 0);
        set(dir.as_fd(), c"file", 0o600).unwrap();
    }
    std::fs::remove_dir_all(path).unwrap();
}
