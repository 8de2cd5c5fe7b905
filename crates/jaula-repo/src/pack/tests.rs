//! Images come back through the readers of this crate, and are the same however they are made.

use super::*;
use crate::disk::{DiskTree, ROOT};
use crate::image_kind::ImageKind;
use std::io::Cursor;

/// Bytes of files by their place in the list.
pub(crate) struct Bytes(pub Vec<Vec<u8>>);

impl Content for Bytes {
    fn open<'a>(&'a mut self, item: usize) -> io::Result<Box<dyn Source + 'a>> {
        Ok(Box::new(Cursor::new(self.0[item].as_slice())))
    }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// A tree with every kind of thing, sizes around every border, and a large directory.
pub(crate) fn tree() -> (Vec<Item>, Bytes) {
    let (mut items, mut bytes) = (vec![Item::root()], vec![Vec::new()]);
    let mut add = |parent: usize, name: &[u8], kind, more: &dyn Fn(&mut Item), content: Vec<u8>| {
        let mut item = Item {
            parent,
            name: name.to_vec(),
            kind,
            mode: 0o644,
            mtime: 1_700_000_000,
            size: content.len() as u64,
            ..Item::root()
        };
        more(&mut item);
        items.push(item);
        bytes.push(content);
        items.len() - 1
    };
    let plain = |_: &mut Item| {};
    let dir = add(0, b"dir", NodeKind::Directory, &|i| i.mode = 0o1777, vec![]);
    let below = add(
        dir,
        b"below",
        NodeKind::Directory,
        &|i| (i.uid, i.gid) = (70_000, 4_000_000_000),
        vec![],
    );
    for (number, size) in [
        0usize, 1, 3900, 4032, 4033, 4095, 4096, 4097, 8192, 131_071, 131_072, 131_073, 400_000,
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("file-{number:02}");
        add(
            below,
            name.as_bytes(),
            NodeKind::File,
            &plain,
            noise(size, number as u64 + 1),
        );
    }
    add(dir, b"empty", NodeKind::Directory, &plain, vec![]);
    let mut holes = vec![0u8; 700_000];
    holes[500_000] = 1;
    add(dir, b"holes", NodeKind::File, &plain, holes);
    let many = add(0, b"many", NodeKind::Directory, &plain, vec![]);
    for number in 0..700 {
        let name = format!("{number:03}-{}", "n".repeat(number % 200));
        add(
            many,
            name.as_bytes(),
            NodeKind::File,
            &plain,
            format!("{number}").into_bytes(),
        );
    }
    add(
        many,
        &[b'x'; 255],
        NodeKind::File,
        &plain,
        b"long name".to_vec(),
    );
    add(
        many,
        b"zz\n\xff",
        NodeKind::File,
        &plain,
        b"odd name".to_vec(),
    );
    let first = add(
        0,
        b"one",
        NodeKind::File,
        &|i| {
            i.mode = 0o4755;
            i.xattrs = vec![
                (
                    b"security.capability".to_vec(),
                    vec![1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                ),
                (b"user.note".to_vec(), b"hello".to_vec()),
            ];
        },
        noise(9000, 99),
    );
    add(0, b"pipe", NodeKind::Fifo, &plain, vec![]);
    add(0, b"sock", NodeKind::Socket, &plain, vec![]);
    add(
        0,
        b"sym",
        NodeKind::Symlink,
        &|i| (i.target, i.mode) = (b"dir/below".to_vec(), 0o777),
        vec![],
    );
    add(
        0,
        b"symlong",
        NodeKind::Symlink,
        &|i| (i.target, i.mode) = (vec![b'l'; 4000], 0o777),
        vec![],
    );
    add(
        0,
        b"tty",
        NodeKind::CharDevice,
        &|i| i.device = (5, 300),
        vec![],
    );
    add(
        0,
        b"two",
        NodeKind::File,
        &|i| i.same_as = Some(first),
        vec![],
    );
    add(
        0,
        b"vda",
        NodeKind::BlockDevice,
        &|i| i.device = (254, 1),
        vec![],
    );
    let later = add(0, b"later", NodeKind::Directory, &plain, vec![]);
    add(
        later,
        b"third",
        NodeKind::File,
        &|i| i.same_as = Some(first),
        vec![],
    );
    let deep = (0..40).fold(0, |parent, _| {
        add(
            parent,
            b"zdeep",
            NodeKind::Directory,
            &|i| i.mode = 0o700,
            vec![],
        )
    });
    add(deep, b"bottom", NodeKind::File, &plain, b"reached".to_vec());
    // What a first name says holds for all of them.
    let model = items[first].clone();
    for item in items.iter_mut().filter(|item| item.same_as.is_some()) {
        *item = Item {
            parent: item.parent,
            name: item.name.clone(),
            same_as: item.same_as,
            ..model.clone()
        };
    }
    (items, Bytes(bytes))
}

/// Everything of an image, by walking it: path, attributes, content.
fn walked(tree: &mut dyn DiskTree) -> Vec<(Vec<u8>, String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![(Vec::new(), ROOT)];
    let mut numbers = std::collections::BTreeMap::new();
    while let Some((path, node)) = left.pop() {
        let a = tree.attributes(node).unwrap();
        let mut content = Vec::new();
        match a.kind {
            NodeKind::File => {
                content = vec![0; a.size as usize];
                assert_eq!(tree.read(node, 0, &mut content).unwrap(), content.len());
            }
            NodeKind::Symlink => content = tree.read_link(node).unwrap(),
            NodeKind::Directory => {
                tree.read_dir(node, 0, &mut |entry| {
                    let mut below = path.clone();
                    below.push(b'/');
                    below.extend_from_slice(&entry.name);
                    left.push((below, entry.node));
                    true
                })
                .unwrap();
            }
            _ => {}
        }
        let same = numbers.len();
        let same = *numbers.entry(a.ino).or_insert(same);
        let _ = same;
        let links = if a.kind == NodeKind::Directory {
            0
        } else {
            a.nlink
        };
        let text = format!(
            "{:?} {:o} {}:{} {} {} {:?}",
            a.kind, a.mode, a.uid, a.gid, a.mtime, links, a.device
        );
        found.push((path, text, content));
    }
    found.sort();
    found
}

/// The same of a list.
fn expected(items: &[Item], bytes: &Bytes) -> Vec<(Vec<u8>, String, Vec<u8>)> {
    let links = link_counts(items);
    let mut paths: Vec<Vec<u8>> = Vec::new();
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let mut path = Vec::new();
        if index > 0 {
            path.extend_from_slice(&paths[item.parent]);
            path.push(b'/');
            path.extend_from_slice(&item.name);
        }
        paths.push(path.clone());
        let first = item.same_as.unwrap_or(index);
        let content = match item.kind {
            NodeKind::Symlink => item.target.clone(),
            _ => bytes.0[first].clone(),
        };
        let links = if item.kind == NodeKind::Directory {
            0
        } else {
            links[first]
        };
        let device = matches!(item.kind, NodeKind::CharDevice | NodeKind::BlockDevice)
            .then_some(item.device);
        let text = format!(
            "{:?} {:o} {}:{} {} {} {:?}",
            item.kind, item.mode, item.uid, item.gid, item.mtime, links, device
        );
        found.push((path, text, content));
    }
    found.sort();
    found
}

fn squashfs(
    items: &[Item],
    bytes: &mut Bytes,
    compression: squashfs::Compression,
    threads: usize,
) -> Vec<u8> {
    let options = squashfs::Options {
        compression,
        time: 5,
        threads,
    };
    let (out, packed) = squashfs::write(
        items,
        bytes,
        Cursor::new(Vec::new()),
        &options,
        &mut |_, _, _| {},
    )
    .unwrap();
    assert_eq!(packed.items as usize, items.len());
    out.into_inner()
}

#[test]
fn a_squashfs_comes_back_whole_in_every_compression() {
    let (items, mut bytes) = tree();
    let wanted = expected(&items, &bytes);
    for compression in [
        squashfs::Compression::Gzip,
        squashfs::Compression::Xz,
        squashfs::Compression::Zstd,
    ] {
        let image = squashfs(&items, &mut bytes, compression, 2);
        assert_eq!(ImageKind::sniff(&image), Some(ImageKind::Squashfs));
        assert_eq!(image.len() % 4096, 0);
        let mut tree = crate::disk::open(ImageKind::Squashfs, image).unwrap();
        let found = walked(&mut *tree);
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(&wanted) {
            assert_eq!(
                (String::from_utf8_lossy(&found.0), &found.1),
                (String::from_utf8_lossy(&wanted.0), &wanted.1)
            );
            assert!(found.2 == wanted.2, "{}", String::from_utf8_lossy(&found.0));
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (items, mut bytes) = tree();
    let one = squashfs(&items, &mut bytes, squashfs::Compression::Zstd, 1);
    let five = squashfs(&items, &mut bytes, squashfs::Compression::Zstd, 5);
    assert!(one == five);
}

/// Holes that are known of are not read, and give the same image as zeros.
#[test]
fn known_holes_are_passed_over() {
    struct Sparse(u64);
    impl Content for Sparse {
        fn open<'a>(&'a mut self, _: usize) -> io::Result<Box<dyn Source + 'a>> {
            let mut all = vec![0u8; self.0 as usize];
            all[1_000_000] = 7;
            Ok(Box::new(Cursor::new(all)))
        }
        fn data(&mut self, _: usize) -> io::Result<Option<Vec<(u64, u64)>>> {
            Ok(Some(vec![(999_424, 1_003_520)]))
        }
    }
    let size = 3_000_001u64;
    let file = Item {
        name: b"f".to_vec(),
        kind: NodeKind::File,
        size,
        ..Item::root()
    };
    let items = [Item::root(), file];
    let options = squashfs::Options {
        compression: Default::default(),
        time: 0,
        threads: 2,
    };
    let tell = &mut |_, _, _| {};
    let (sparse, _) = squashfs::write(
        &items,
        &mut Sparse(size),
        Cursor::new(Vec::new()),
        &options,
        tell,
    )
    .unwrap();
    let mut all = vec![0u8; size as usize];
    all[1_000_000] = 7;
    let mut bytes = Bytes(vec![Vec::new(), all]);
    let (plain, _) =
        squashfs::write(&items, &mut bytes, Cursor::new(Vec::new()), &options, tell).unwrap();
    assert!(sparse.into_inner() == plain.into_inner());
}

#[test]
fn a_list_that_is_no_tree_is_refused() {
    let file = |parent| Item {
        parent,
        name: b"f".to_vec(),
        kind: NodeKind::File,
        ..Item::root()
    };
    let lists = [
        vec![],
        vec![file(0)],
        vec![Item::root(), file(1)],
        vec![Item::root(), file(0), file(1)],
        vec![
            Item::root(),
            Item {
                name: b"a/b".to_vec(),
                ..file(0)
            },
        ],
        vec![
            Item::root(),
            Item {
                name: b"..".to_vec(),
                ..file(0)
            },
        ],
        vec![
            Item::root(),
            Item {
                same_as: Some(0),
                ..file(0)
            },
        ],
    ];
    for list in lists {
        assert!(
            matches!(children(&list), Err(PackError::NoTree)),
            "{list:?}"
        );
    }
}

#[test]
fn a_file_that_shrinks_is_told() {
    let file = Item {
        name: b"f".to_vec(),
        kind: NodeKind::File,
        size: 10,
        ..Item::root()
    };
    let items = [Item::root(), file];
    let mut bytes = Bytes(vec![vec![], vec![1, 2, 3]]);
    let tell = &mut |_, _, _| {};
    let cpio = cpio::write(&items, &mut bytes, Vec::new(), tell);
    assert!(matches!(cpio, Err(PackError::Changed { item: 1 })));
    let options = squashfs::Options {
        compression: Default::default(),
        time: 0,
        threads: 2,
    };
    let image = squashfs::write(&items, &mut bytes, Cursor::new(Vec::new()), &options, tell);
    assert!(matches!(image, Err(PackError::Changed { item: 1 })));
    let options = erofs::Options {
        time: 0,
        uuid: [0; 16],
    };
    let image = erofs::write(&items, &mut bytes, Cursor::new(Vec::new()), &options, tell);
    assert!(matches!(image, Err(PackError::Changed { item: 1 })));
}

#[test]
fn a_cpio_has_what_the_format_can_hold() {
    let (items, mut bytes) = tree();
    let (archive, packed) = cpio::write(&items, &mut bytes, Vec::new(), &mut |_, _, _| {}).unwrap();
    assert_eq!(packed.xattrs, 2);
    assert_eq!(archive.len() % 512, 0);
    let large = Item {
        name: b"f".to_vec(),
        kind: NodeKind::File,
        size: 1 << 32,
        ..Item::root()
    };
    let refused = cpio::write(
        &[Item::root(), large],
        &mut bytes,
        Vec::new(),
        &mut |_, _, _| {},
    );
    assert!(matches!(refused, Err(PackError::Limit { item: 1, .. })));
}
