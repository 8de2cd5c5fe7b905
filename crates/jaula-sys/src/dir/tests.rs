use super::*;

#[test]
fn extended_attributes_that_were_set_are_read() -> io::Result<()> {
    // Where everything can be written and the file system has attributes.
    let path = std::env::current_dir()?.join(format!(".jaula-xattr-{}", std::process::id()));
    let file = File::create(&path)?;
    let set = set_xattr(file.as_fd(), OsStr::new("user.jaula.b"), b"two")
        .and_then(|()| set_xattr(file.as_fd(), OsStr::new("user.jaula.a"), b""));
    let found = xattrs(file.as_fd());
    std::fs::remove_file(&path)?;
    if set.is_err_and(|error| error.kind() == io::ErrorKind::Unsupported) {
        return Ok(());
    }
    let mut found = found?;
    found.retain(|(name, _)| name.as_encoded_bytes().starts_with(b"user.jaula."));
    let wanted = [("user.jaula.a", &b""[..]), ("user.jaula.b", b"two")];
    let wanted = wanted.map(|(name, value)| (OsString::from(name), value.to_vec()));
    assert_eq!(found, wanted);
    Ok(())
}

#[test]
fn no_link_is_followed_out() -> io::Result<()> {
    let base = std::env::temp_dir().join(format!("jaula-dir-{}", std::process::id()));
    std::fs::create_dir(&base)?;
    let dir = Dir::open(&base)?;
    dir.make_dir("inside", 0o755)?;
    dir.make_link(OsStr::new("/etc"), "out")?;
    dir.make_link(OsStr::new("../../../etc"), "up")?;
    for walk in [true, false] {
        for path in [
            "out",
            "up",
            "out/hosts",
            "../etc",
            "/etc",
            "inside/../../etc",
        ] {
            let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::DIRECTORY;
            let opened = match walk {
                true => dir.walk(Path::new(path), flags, Mode::empty()),
                false => dir.walk_by_component(Path::new(path), flags, Mode::empty()),
            };
            assert!(opened.is_err(), "{path} was opened (openat2: {walk})");
        }
    }
    assert!(dir.open_dir("inside").is_ok());
    assert!(
        dir.walk_by_component(Path::new("inside"), OFlags::PATH, Mode::empty())
            .is_ok()
    );
    assert_eq!(
        dir.open_dir_in_root(Path::new("out"))
            .err()
            .and_then(|e| e.raw_os_error()),
        Some(2)
    );
    std::fs::remove_dir_all(&base)
}
