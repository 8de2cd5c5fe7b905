//! Writes a small squashfs image without compression, so that each byte can be altered.

/// Bytes of the super block.
pub const SUPER_BLOCK: usize = 96;
const BLOCK: u32 = 4096;

/// What an item is.
pub enum What {
    File(Vec<u8>),
    /// A file that is as long as said, and nothing but holes.
    Holes(u64),
    Link(&'static str),
    Dir(Vec<(&'static str, What)>),
    /// The directory that the image's root is: a loop.
    Root,
}

#[derive(Default)]
struct Writer {
    data: Vec<u8>,
    inodes: Vec<u8>,
    directories: Vec<u8>,
    number: u32,
}

fn head(kind: u16, mode: u16, number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for half in [kind, mode, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(1_700_000_000u32.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes
}

impl Writer {
    fn next(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    /// Its offset in the table, type and number.
    fn item(&mut self, what: &What) -> (u16, u16, u32) {
        match what {
            What::File(content) => {
                let start = SUPER_BLOCK as u32 + self.data.len() as u32;
                let mut sizes = Vec::new();
                for block in content.chunks(BLOCK as usize) {
                    sizes.extend((block.len() as u32 | 1 << 24).to_le_bytes());
                    self.data.extend(block);
                }
                let number = self.next();
                let at = self.inodes.len() as u16;
                self.inodes.extend(head(2, 0o644, number));
                for word in [start, u32::MAX, 0, content.len() as u32] {
                    self.inodes.extend(word.to_le_bytes());
                }
                self.inodes.extend(sizes);
                (at, 2, number)
            }
            What::Holes(size) => {
                let number = self.next();
                let at = self.inodes.len() as u16;
                self.inodes.extend(head(9, 0o644, number));
                for word in [SUPER_BLOCK as u64, *size, *size] {
                    self.inodes.extend(word.to_le_bytes());
                }
                for word in [1, u32::MAX, 0, u32::MAX] {
                    self.inodes.extend(word.to_le_bytes());
                }
                let blocks = size.div_ceil(u64::from(BLOCK)).min(1000);
                self.inodes.extend(vec![0; blocks as usize * 4]);
                (at, 2, number)
            }
            What::Link(target) => {
                let number = self.next();
                let at = self.inodes.len() as u16;
                self.inodes.extend(head(3, 0o777, number));
                self.inodes.extend(1u32.to_le_bytes());
                self.inodes.extend((target.len() as u32).to_le_bytes());
                self.inodes.extend(target.as_bytes());
                (at, 3, number)
            }
            // Where the root will be is not known yet: the caller puts it right.
            What::Root => (0, 1, 1),
            What::Dir(items) => {
                let mut entries = Vec::new();
                for (name, what) in items {
                    let (at, kind, number) = self.item(what);
                    entries.extend(at.to_le_bytes());
                    entries.extend((number as i16).to_le_bytes());
                    entries.extend(kind.to_le_bytes());
                    entries.extend((name.len() as u16 - 1).to_le_bytes());
                    entries.extend(name.as_bytes());
                }
                let offset = self.directories.len() as u16;
                let size = if items.is_empty() {
                    3
                } else {
                    for word in [items.len() as u32 - 1, 0, 0] {
                        self.directories.extend(word.to_le_bytes());
                    }
                    self.directories.extend(&entries);
                    entries.len() as u16 + 12 + 3
                };
                let number = self.next();
                let at = self.inodes.len() as u16;
                self.inodes.extend(head(1, 0o755, number));
                self.inodes.extend(0u32.to_le_bytes());
                self.inodes.extend(2u32.to_le_bytes());
                self.inodes.extend(size.to_le_bytes());
                self.inodes.extend(offset.to_le_bytes());
                self.inodes.extend(0u32.to_le_bytes());
                (at, 1, number)
            }
        }
    }
}

/// A metadata block as it is.
fn stored(bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() <= 8192, "the writer makes one block a table");
    let mut block = (bytes.len() as u16 | 0x8000).to_le_bytes().to_vec();
    block.extend(bytes);
    block
}

/// The image of a tree.
pub fn write(items: Vec<(&'static str, What)>) -> Vec<u8> {
    let mut writer = Writer::default();
    let (root, ..) = writer.item(&What::Dir(items));
    let inodes = SUPER_BLOCK + writer.data.len();
    let inode_table = stored(&writer.inodes);
    let directories = inodes + inode_table.len();
    let directory_table = stored(&writer.directories);
    let ids = directories + directory_table.len();
    let id_block = stored(&0u32.to_le_bytes());
    let id_table = ids + id_block.len();
    let used = id_table + 8;
    let mut image = b"hsqs".to_vec();
    for word in [writer.number, 1_700_000_000, BLOCK, 0] {
        image.extend(word.to_le_bytes());
    }
    for half in [1u16, 12, 0, 1, 4, 0] {
        image.extend(half.to_le_bytes());
    }
    let none = u64::MAX;
    for long in [
        u64::from(root),
        used as u64,
        id_table as u64,
        none,
        inodes as u64,
        directories as u64,
        none,
        none,
    ] {
        image.extend(long.to_le_bytes());
    }
    assert_eq!(image.len(), SUPER_BLOCK);
    image.extend(writer.data);
    image.extend(inode_table);
    image.extend(directory_table);
    image.extend(id_block);
    image.extend((ids as u64).to_le_bytes());
    image
}
