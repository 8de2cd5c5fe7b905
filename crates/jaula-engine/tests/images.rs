//! Trees as images of file systems, cpio archives and OCI image layouts: what is in them is what is in the tree, by
//! other programs, by the kernel and by our own readers; the same bytes each time; nothing half-made.

use jaula_engine::export::{About, ExportError, ExportTarget, export};
use jaula_engine::fault::{Faults, Mode};
use jaula_engine::store::Store;
use jaula_engine::{Kind, Silent};
use jaula_plan::output::{BlockCompression, OutputKind};
use jaula_plan::step::Compression;
use jaula_repo::disk::{DiskTree, NodeKind, ROOT};
use jaula_repo::image_kind::ImageKind;
use jaula_testkit::skip;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

type Fallible = Result<(), Box<dyn std::error::Error>>;

const KINDS: [OutputKind; 8] = [
    OutputKind::Squashfs(BlockCompression::Zstd),
    OutputKind::Squashfs(BlockCompression::Gzip),
    OutputKind::Squashfs(BlockCompression::Xz),
    OutputKind::Ext4,
    OutputKind::Erofs,
    OutputKind::Cpio(Compression::None),
    OutputKind::OciDirectory(Compression::Gzip),
    OutputKind::OciArchive(Compression::Zstd),
];

fn done(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!(
            "{command:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        )),
    }
}

fn tree(base: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let root = base.join("tree");
    fs::create_dir_all(root.join("usr/bin"))?;
    fs::create_dir_all(root.join("etc/empty"))?;
    fs::create_dir_all(root.join("many"))?;
    fs::write(root.join("etc/os-release"), "ID=debian\n")?;
    let mut state = 88_172_645_463_325_252_u64;
    let noise: Vec<u8> = (0..300_000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    fs::write(root.join("usr/bin/true"), &noise)?;
    fs::hard_link(root.join("usr/bin/true"), root.join("usr/bin/again"))?;
    fs::hard_link(root.join("usr/bin/true"), root.join("etc/third"))?;
    fs::set_permissions(root.join("usr/bin/true"), PermissionsExt::from_mode(0o4755))?;
    fs::set_permissions(root.join("etc/empty"), PermissionsExt::from_mode(0o1777))?;
    symlink("usr/bin", root.join("bin"))?;
    symlink("x".repeat(180), root.join("etc/long-target"))?;
    fs::write(root.join("etc/na\nme"), "odd")?;
    fs::write(root.join("x".repeat(255)), "long")?;
    for (number, size) in [0usize, 1, 4000, 4096, 4097, 131_072, 140_000]
        .into_iter()
        .enumerate()
    {
        fs::write(root.join(format!("etc/size-{number}")), &noise[..size])?;
    }
    for number in 0..400 {
        fs::write(
            root.join(format!("many/file-{number:03}")),
            number.to_string(),
        )?;
    }
    done(Command::new("mkfifo").arg(root.join("etc/pipe")))?;
    std::os::unix::net::UnixListener::bind(root.join("etc/socket"))?;
    let sparse = fs::File::create(root.join("etc/sparse"))?;
    sparse.set_len(3 << 20)?;
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 2 << 20)?;
    drop(sparse);
    for path in facts(&root)?.keys() {
        done(
            Command::new("touch")
                .args(["-h", "-d", "@1700000000"])
                .arg(root.join(path)),
        )?;
    }
    Ok(root)
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Path → type and mode, owner, size, time, names, content. Without sockets, which no output holds.
fn facts(root: &Path) -> Result<BTreeMap<PathBuf, String>, std::io::Error> {
    let mut found = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full)?;
        let mut content = String::new();
        if meta.is_file() {
            content = sum(&fs::read(&full)?);
        } else if meta.is_symlink() {
            content = sum(fs::read_link(&full)?.as_os_str().as_bytes());
        } else if meta.is_dir() {
            for entry in fs::read_dir(&full)? {
                left.push(path.join(entry?.file_name()));
            }
        }
        if meta.mode() & 0o170_000 == 0o140_000 {
            continue;
        }
        let links = if meta.is_dir() { 0 } else { meta.nlink() };
        let text = fact(
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            links,
            &content,
        );
        found.insert(path, text);
    }
    Ok(found)
}

fn fact(mode: u32, uid: u32, gid: u32, mtime: i64, links: u64, content: &str) -> String {
    format!("{mode:o} {uid}:{gid} {mtime} {links} {content}")
}

/// The same of an image, through our own reader.
fn facts_of_image(kind: ImageKind, bytes: Vec<u8>) -> BTreeMap<PathBuf, String> {
    let mut image = jaula_repo::disk::open(kind, bytes).expect("an image");
    let mut found = BTreeMap::new();
    let mut left = vec![(PathBuf::new(), ROOT)];
    while let Some((path, node)) = left.pop() {
        let about = image.attributes(node).expect("a node");
        let (bits, content) = match about.kind {
            NodeKind::File => {
                let mut content = vec![0; about.size as usize];
                assert_eq!(
                    image.read(node, 0, &mut content).expect("bytes"),
                    content.len()
                );
                (0o100_000, sum(&content))
            }
            NodeKind::Symlink => (0o120_000, sum(&image.read_link(node).expect("a link"))),
            NodeKind::Directory => {
                below(&mut *image, node, &path, &mut left);
                (0o040_000, String::new())
            }
            NodeKind::Fifo => (0o010_000, String::new()),
            other => panic!("{other:?}"),
        };
        let links = if about.kind == NodeKind::Directory {
            0
        } else {
            about.nlink.into()
        };
        let text = fact(
            bits | about.mode,
            about.uid,
            about.gid,
            about.mtime,
            links,
            &content,
        );
        found.insert(path, text);
    }
    found
}

fn below(image: &mut dyn DiskTree, node: u64, path: &Path, left: &mut Vec<(PathBuf, u64)>) {
    let mut each = |entry: &jaula_repo::disk::DiskEntry| {
        left.push((
            path.join(std::ffi::OsStr::from_bytes(&entry.name)),
            entry.node,
        ));
        true
    };
    image.read_dir(node, 0, &mut each).expect("a directory");
}

/// The same of a cpio archive.
fn facts_of_cpio(bytes: &[u8]) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut by_number: BTreeMap<u32, String> = BTreeMap::new();
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        assert_eq!(&bytes[at..at + 6], b"070701");
        let field = |n: usize| {
            let from = at + 6 + 8 * n;
            u32::from_str_radix(
                std::str::from_utf8(&bytes[from..from + 8]).expect("text"),
                16,
            )
            .expect("a number")
        };
        let (size, name_size) = (field(6) as usize, field(11) as usize);
        let name = &bytes[at + 110..at + 110 + name_size - 1];
        if name == b"TRAILER!!!" {
            break;
        }
        let start = (at + 110 + name_size).next_multiple_of(4);
        let content = &bytes[start..start + size];
        let mode = field(1);
        let content = match mode & 0o170_000 {
            0o100_000 | 0o120_000 => sum(content),
            _ => String::new(),
        };
        let links = if mode & 0o170_000 == 0o040_000 {
            0
        } else {
            field(4)
        };
        // Of several names the last has the bytes.
        if size > 0 || !by_number.contains_key(&field(0)) {
            by_number.insert(field(0), content);
        }
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(name));
        let path = if path == Path::new(".") {
            PathBuf::new()
        } else {
            path
        };
        entries.push((path, field(0), mode, field(2), field(3), field(5), links));
        at = (start + size).next_multiple_of(4);
    }
    for (path, number, mode, uid, gid, mtime, links) in entries {
        let text = fact(
            mode,
            uid,
            gid,
            mtime.into(),
            links.into(),
            &by_number[&number],
        );
        found.insert(path, text);
    }
    found
}

fn write(store: &Store, root: &Path, path: &Path, kind: OutputKind) -> Result<(), ExportError> {
    let target = ExportTarget::of(kind, path.to_owned(), None).expect("a target");
    let about = About {
        arch: "amd64".to_owned(),
        ..About::default()
    };
    export(store, &target.plan(root)?, &about, &Silent)
}

fn compare(found: &BTreeMap<PathBuf, String>, wanted: &BTreeMap<PathBuf, String>, what: &str) {
    for (path, fact) in wanted {
        assert_eq!(found.get(path), Some(fact), "{what}: {path:?}");
    }
    let more: Vec<_> = found
        .keys()
        .filter(|path| !wanted.contains_key(*path))
        .collect();
    assert!(more.is_empty(), "{what}: {more:?}");
}

#[test]
fn every_image_holds_the_tree() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    let root = tree(base)?;
    let wanted = facts(&root)?;
    let store = Store::open(base.join("store"))?;
    for kind in KINDS {
        let (one, two) = (base.join("one"), base.join("two"));
        write(&store, &root, &one, kind)?;
        write(&store, &root, &two, kind)?;
        if kind.is_directory() {
            assert_eq!(
                facts(&one)?.keys().collect::<Vec<_>>(),
                facts(&two)?.keys().collect::<Vec<_>>()
            );
            fs::remove_dir_all(&one)?;
            fs::remove_dir_all(&two)?;
            continue;
        }
        let bytes = fs::read(&one)?;
        assert!(
            bytes == fs::read(&two)?,
            "{kind}: two images of one tree differ"
        );
        match kind {
            OutputKind::Squashfs(_) => compare(
                &facts_of_image(ImageKind::Squashfs, bytes),
                &wanted,
                "squashfs",
            ),
            OutputKind::Ext4 => {
                let mut found = facts_of_image(ImageKind::Ext4, bytes);
                assert!(found.remove(Path::new("lost+found")).is_some());
                compare(&found, &wanted, "ext4");
                // 3 MiB of zeros are a hole.
                assert!(fs::metadata(&one)?.blocks() * 512 < 6 << 20);
            }
            OutputKind::Cpio(_) => compare(&facts_of_cpio(&bytes), &wanted, "cpio"),
            _ => {}
        }
        fs::remove_file(&one)?;
        fs::remove_file(&two)?;
    }
    let left: Vec<_> = fs::read_dir(base)?
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    Ok(())
}

#[test]
fn the_tools_of_each_kind_find_nothing_wrong() {
    if let Some(reason) = the_tools_of_each_kind_find_nothing_wrong_or_not().expect("no error") {
        skip!("{reason}");
    }
}

fn the_tools_of_each_kind_find_nothing_wrong_or_not()
-> Result<Option<&'static str>, Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(base)?) != 0 {
        return Ok(Some("only root's unsquashfs gives set-id bits back"));
    }
    let root = tree(base)?;
    let wanted = facts(&root)?;
    let store = Store::open(base.join("store"))?;
    let has = |tool: &str| Command::new(tool).arg("-V").output().is_ok();
    if !["unsquashfs", "fsck.erofs", "e2fsck"].into_iter().all(has) {
        return Ok(Some("unsquashfs, fsck.erofs or e2fsck is not there"));
    }
    for kind in &KINDS[..5] {
        let image = base.join("image");
        write(&store, &root, &image, *kind)?;
        let out = base.join("out");
        match kind {
            OutputKind::Ext4 => drop(done(Command::new("e2fsck").arg("-fn").arg(&image))?),
            OutputKind::Erofs => {
                done(
                    Command::new("fsck.erofs")
                        .arg("--preserve")
                        .arg(format!("--extract={}", out.display()))
                        .arg(&image),
                )?;
            }
            _ => drop(done(
                Command::new("unsquashfs")
                    .arg("-no-progress")
                    .arg("-d")
                    .arg(&out)
                    .arg(&image),
            )?),
        }
        if out.exists() {
            let mut found = facts(&out)?;
            if *kind == OutputKind::Erofs {
                // What it extracts has no hard links, no set-id bits and not always its time.
                let plain = |text: &String| {
                    let words: Vec<&str> = text.split(' ').collect();
                    let mode = u32::from_str_radix(words[0], 8).unwrap_or(0) & 0o170_777;
                    format!("{mode:o} {} {}", words[1], words[4])
                };
                found.values_mut().for_each(|text| *text = plain(text));
                let wanted: BTreeMap<_, _> = wanted
                    .iter()
                    .map(|(path, text)| (path.clone(), plain(text)))
                    .collect();
                compare(&found, &wanted, "erofs");
            } else {
                compare(&found, &wanted, "unsquashfs");
            }
            fs::remove_dir_all(&out)?;
        }
    }
    Ok(None)
}

/// The kernel's own drivers, in a mount namespace.
#[test]
fn the_kernel_mounts_every_kind() {
    if let Some(reason) = the_kernel_mounts_every_kind_or_not().expect("no error") {
        skip!("{reason}");
    }
}

fn the_kernel_mounts_every_kind_or_not() -> Result<Option<&'static str>, Box<dyn std::error::Error>>
{
    if fs::metadata("/proc/self")?.uid() != 0 || !Path::new("/dev/loop-control").exists() {
        return Ok(Some("loop devices are root's"));
    }
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    let root = tree(base)?;
    // As root: a device, and an attribute that only root can set.
    done(
        Command::new("mknod")
            .arg(root.join("etc/null"))
            .args(["c", "1", "3"]),
    )?;
    done(
        Command::new("chown")
            .arg("70000:4000000000")
            .arg(root.join("etc/size-1")),
    )?;
    let capable = Command::new("setcap")
        .args(["cap_net_raw+ep"])
        .arg(root.join("many/file-001"))
        .status();
    let capable = capable.is_ok_and(|status| status.success());
    done(
        Command::new("touch")
            .args(["-d", "@1700000000"])
            .arg(root.join("etc")),
    )?;
    let store = Store::open(base.join("store"))?;
    let known = fs::read_to_string("/proc/filesystems")?;
    let mut mounted = 0;
    for (kind, name) in [
        (OutputKind::Squashfs(BlockCompression::Zstd), "squashfs"),
        (OutputKind::Squashfs(BlockCompression::Xz), "squashfs"),
        (OutputKind::Ext4, "ext4"),
        (OutputKind::Erofs, "erofs"),
    ] {
        if !known.contains(name) {
            continue;
        }
        let (image, at) = (base.join("image"), base.join("mnt"));
        fs::create_dir_all(&at)?;
        write(&store, &root, &image, kind)?;
        let list = r#"cd "$1" && find . -path ./lost+found -prune -o -path ./etc/socket -prune -o \
            -type d -printf '%P %y %m %U:%G %Ts\n' -o -printf '%P %y %m %U:%G %Ts %n %s %l\n' | LC_ALL=C sort
            ls -lR --time-style=+ etc | grep '^[bc]'; getcap many/file-001; find . -path ./lost+found -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"#;
        let script = format!(
            "mount --make-rprivate / && mount -t {name} -o loop,ro \"$2\" \"$1\" && {list}"
        );
        let mount = done(
            Command::new("unshare")
                .args(["--mount", "sh", "-c", &script, "sh"])
                .arg(&at)
                .arg(&image),
        )?;
        let plain = done(Command::new("sh").args(["-c", list, "sh"]).arg(&root))?;
        let mut lines = mount.lines().zip(plain.lines());
        let other = lines.find(|(mount, plain)| mount != plain);
        assert_eq!(other, None, "{kind}");
        assert_eq!(mount.len(), plain.len(), "{kind}");
        assert!(!capable || plain.contains("cap_net_raw"), "{plain}");
        assert!(plain.contains("70000:4000000000"));
        mounted += 1;
    }
    if mounted == 0 {
        return Ok(Some("this kernel has none of squashfs, ext4 and erofs"));
    }
    Ok(None)
}

/// Every blob has the digest and size that are said of it, and the layer is the tree.
#[test]
fn an_oci_layout_is_what_its_index_says() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    let root = tree(base)?;
    let store = Store::open(base.join("store"))?;
    for (how, media) in [
        (Compression::Gzip, "tar+gzip"),
        (Compression::Zstd, "tar+zstd"),
        (Compression::None, "tar"),
    ] {
        let dir = base.join("layout");
        write(&store, &root, &dir, OutputKind::OciDirectory(how))?;
        let json = |path: &Path| -> serde_json::Value {
            serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
        };
        assert_eq!(json(&dir.join("oci-layout"))["imageLayoutVersion"], "1.0.0");
        let blob = |descriptor: &serde_json::Value| {
            let digest = descriptor["digest"]
                .as_str()
                .expect("a digest")
                .strip_prefix("sha256:")
                .expect("SHA-256");
            let path = dir.join("blobs/sha256").join(digest);
            let bytes = fs::read(&path).expect("the blob");
            let found: String = Sha256::digest(&bytes)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(found, digest);
            assert_eq!(descriptor["size"], bytes.len());
            (path, bytes)
        };
        let index = json(&dir.join("index.json"));
        assert_eq!(index["schemaVersion"], 2);
        assert_eq!(index["manifests"][0]["platform"]["architecture"], "amd64");
        let (manifest, _) = blob(&index["manifests"][0]);
        let manifest = json(&manifest);
        assert_eq!(
            manifest["layers"][0]["mediaType"],
            format!("application/vnd.oci.image.layer.v1.{media}")
        );
        let (config, _) = blob(&manifest["config"]);
        let (layer, bytes) = blob(&manifest["layers"][0]);
        let mut plain = Vec::new();
        jaula_repo::compress::Decoder::new(bytes.as_slice())?.read_to_end(&mut plain)?;
        let found: String = Sha256::digest(&plain)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            json(&config)["rootfs"]["diff_ids"][0],
            format!("sha256:{found}")
        );
        assert_eq!(fs::read_dir(dir.join("blobs/sha256"))?.count(), 3);
        let out = base.join("out");
        fs::create_dir(&out)?;
        done(
            Command::new("tar")
                .arg("-xpf")
                .arg(&layer)
                .arg("-C")
                .arg(&out),
        )?;
        compare(&facts(&out)?, &facts(&root)?, media);
        fs::remove_dir_all(&out)?;
        fs::remove_dir_all(&dir)?;
    }
    // The archive of a layout holds the same files, and nothing of who made it.
    let archive = base.join("a.oci.tar");
    write(
        &store,
        &root,
        &archive,
        OutputKind::OciArchive(Compression::Gzip),
    )?;
    let list = done(
        Command::new("tar")
            .arg("--numeric-owner")
            .arg("-tvf")
            .arg(&archive),
    )?;
    assert!(
        list.lines()
            .all(|line| line.contains(" 0/0 ") && line.contains("1970-01-01")),
        "{list}"
    );
    assert!(
        list.contains("./oci-layout") && list.contains("./index.json"),
        "{list}"
    );
    Ok(())
}

#[test]
fn hostile_trees_are_written_or_refused() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    let store = Store::open(base.join("store"))?;
    // Deeper than a path can be long and than a process may have descriptors.
    let deep = base.join("deep");
    done(Command::new("python3").args(["-c", "import os,sys\nos.mkdir(sys.argv[1]); os.chdir(sys.argv[1])\nfor _ in range(600):\n os.mkdir('d'*200); os.chdir('d'*200)\nopen('file','w').write('bottom')"]).arg(&deep))?;
    for kind in [
        OutputKind::Squashfs(BlockCompression::Zstd),
        OutputKind::Erofs,
        OutputKind::Tar(Compression::None),
    ] {
        let image = base.join("deep.image");
        write(&store, &deep, &image, kind)?;
        let bytes = fs::read(&image)?;
        if matches!(kind, OutputKind::Squashfs(_)) {
            let mut image = jaula_repo::disk::open(ImageKind::Squashfs, bytes)?;
            let mut node = ROOT;
            for _ in 0..600 {
                node = image
                    .lookup(node, "d".repeat(200).as_bytes())?
                    .ok_or("a level is missing")?;
            }
            assert!(image.lookup(node, b"file")?.is_some());
        }
        fs::remove_file(&image)?;
    }
    done(Command::new("rm").arg("-r").arg(&deep))?;

    // A terabyte on one block: kept as a hole where that can be, refused where it would be zeros.
    let bomb = base.join("bomb");
    fs::create_dir(&bomb)?;
    let file = fs::File::create(bomb.join("huge"))?;
    file.set_len(1 << 40)?;
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", (1 << 40) - 3)?;
    for kind in [
        OutputKind::Squashfs(BlockCompression::Zstd),
        OutputKind::Ext4,
    ] {
        let image = base.join("bomb.image");
        write(&store, &bomb, &image, kind)?;
        assert!(fs::metadata(&image)?.blocks() * 512 < 64 << 20, "{kind}");
        fs::remove_file(&image)?;
    }
    for kind in [
        OutputKind::Tar(Compression::Zstd),
        OutputKind::Cpio(Compression::None),
        OutputKind::Erofs,
        OutputKind::OciDirectory(Compression::Gzip),
    ] {
        let refused =
            write(&store, &bomb, &base.join("bomb.image"), kind).expect_err("too many zeros");
        assert!(
            matches!(refused, ExportError::Holes { .. }),
            "{kind}: {refused}"
        );
        assert!(!refused.hints().is_empty() && !base.join("bomb.image").exists());
    }

    // A name that is no UTF-8: ext4's writer has no room for it, the others do.
    let odd = base.join("odd");
    fs::create_dir(&odd)?;
    fs::write(odd.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "x")?;
    let refused =
        write(&store, &odd, &base.join("odd.image"), OutputKind::Ext4).expect_err("no room");
    assert!(
        matches!(refused, ExportError::Limit { .. }) && refused.kind() == Kind::User,
        "{refused}"
    );
    write(
        &store,
        &odd,
        &base.join("odd.image"),
        OutputKind::Squashfs(BlockCompression::Zstd),
    )?;
    write(&store, &odd, &base.join("odd.image"), OutputKind::Erofs)?;
    Ok(())
}

#[test]
fn what_is_there_and_is_no_file_stays() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    let root = tree(base)?;
    let store = Store::open(base.join("store"))?;
    fs::create_dir_all(base.join("dir/full"))?;
    done(Command::new("mkfifo").arg(base.join("pipe")))?;
    symlink("nowhere", base.join("link"))?;
    for (name, kind) in [
        ("dir", OutputKind::Ext4),
        ("pipe", OutputKind::Erofs),
        ("link", OutputKind::Tar(Compression::None)),
        ("dir", OutputKind::OciDirectory(Compression::Gzip)),
        ("pipe", OutputKind::OciDirectory(Compression::Gzip)),
    ] {
        let refused = write(&store, &root, &base.join(name), kind).expect_err("taken");
        assert_eq!(refused.kind(), Kind::User, "{name}: {refused}");
        assert!(!refused.hints().is_empty(), "{refused}");
    }
    // A size that is too small says so, and leaves what was there.
    fs::write(base.join("old.ext4"), "old")?;
    let small =
        ExportTarget::of(OutputKind::Ext4, base.join("old.ext4"), Some(1 << 20)).expect("a target");
    let refused =
        export(&store, &small.plan(&root)?, &About::default(), &Silent).expect_err("too small");
    assert!(matches!(refused, ExportError::Size { .. }), "{refused}");
    assert_eq!(fs::read(base.join("old.ext4"))?, b"old");
    let right = ExportTarget::of(OutputKind::Ext4, base.join("old.ext4"), Some(96 << 20))
        .expect("a target");
    export(&store, &right.plan(&root)?, &About::default(), &Silent)?;
    assert_eq!(fs::metadata(base.join("old.ext4"))?.len(), 96 << 20);
    Ok(())
}

/// Failing after every possible number of points: the place is as it was, or the whole output is there.
#[test]
fn a_failed_image_leaves_all_or_nothing() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let root = scratch.path().join("tree");
    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/file"), "content")?;
    for kind in [
        OutputKind::Squashfs(BlockCompression::Gzip),
        OutputKind::Ext4,
        OutputKind::OciDirectory(Compression::None),
        OutputKind::OciArchive(Compression::None),
    ] {
        for point in 0..40 {
            let base = tempfile::tempdir()?;
            let out = base.path().join("out");
            let faults = Arc::new(Faults::after(point, Mode::Fail));
            let store = Store::open(base.path().join("store"))?.with_faults(faults.clone());
            let done = write(&store, &root, &out, kind);
            if !faults.struck() {
                done?;
                assert!(point > 2, "{kind}: only {point} points were passed");
                break;
            }
            assert!(done.is_err(), "{kind} at point {point}");
            let left: Vec<_> = fs::read_dir(base.path())?
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            let whole = out.exists();
            assert_eq!(
                left.len(),
                1 + usize::from(whole),
                "{kind} at point {point}: {left:?}"
            );
            assert!(point < 39, "{kind} passes no end of points");
        }
    }
    Ok(())
}

/// No room: a clear error, and what was there before is still there.
#[test]
fn a_full_disk_leaves_nothing_half() {
    jaula_testkit::kernel_test!(Mounts);
    let scratch = tempfile::tempdir().expect("a directory");
    let base = scratch.path();
    let root = tree(base).expect("a tree");
    let out = base.join("out");
    fs::create_dir(&out).expect("made");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=200k", "none"])
        .arg(&out)
        .status();
    assert!(mounted.is_ok_and(|status| status.success()));
    let store = Store::open(base.join("store")).expect("opens");
    for kind in KINDS {
        let path = out.join("image");
        if !kind.is_directory() {
            fs::write(&path, "old").expect("written");
        }
        let error = write(&store, &root, &path, kind).expect_err("full");
        assert_eq!(error.kind(), Kind::DiskFull, "{kind}: {error}");
        let left: Vec<_> = fs::read_dir(&out)
            .expect("read")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(
            left.len(),
            usize::from(!kind.is_directory()),
            "{kind}: {left:?}"
        );
        if !kind.is_directory() {
            assert_eq!(fs::read(&path).expect("read"), b"old");
            fs::remove_file(&path).expect("removed");
        }
    }
}
