//! Device nodes, pipes, directories and links in a tree, as a table names them. Every path is looked up beneath the
//! tree, links on the way included; the last part is never followed.

use crate::error::{At, PathError};
use jaula_sys::dir::{Dir, Kind};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A character device of this major and minor number.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
    /// A directory.
    Directory,
    /// A file that is there: only its owner and mode are set.
    File,
    /// A symbolic link with this text.
    Link(PathBuf),
    /// Another name of a file of the tree.
    HardLink(PathBuf),
}

/// One thing to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where, absolute in the tree.
    pub path: PathBuf,
    /// What.
    pub kind: NodeKind,
    /// Permission bits; of no meaning for links.
    pub mode: u32,
    /// User and group; of no meaning for links.
    pub owner: (u32, u32),
}

/// Makes one. A node of the same kind and number that is there gets owner and mode; anything else of the name is an
/// error.
///
/// # Errors
/// [`PathError`] with the path in the tree. Only root of the host may make devices (mknod(2)).
pub fn make(tree: &Path, node: &Node) -> Result<(), PathError> {
    let root = Dir::open(tree).at("open", tree)?;
    make_in(&root, node).at("make", &node.path)
}

/// The directory of a path, and its last part.
fn place<'p>(root: &Dir, path: &'p Path) -> io::Result<(Dir, &'p OsStr)> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    Ok((root.open_dir_in_root(dir)?, name))
}

fn make_in(root: &Dir, node: &Node) -> io::Result<()> {
    if let NodeKind::Directory = node.kind {
        directories(root, &node.path)?;
    }
    let (dir, name) = place(root, &node.path)?;
    let (kind, number) = match &node.kind {
        NodeKind::Character(major, minor) => (Kind::CharDevice, (*major, *minor)),
        NodeKind::Block(major, minor) => (Kind::BlockDevice, (*major, *minor)),
        NodeKind::Fifo => (Kind::Fifo, (0, 0)),
        NodeKind::Directory => (Kind::Directory, (0, 0)),
        NodeKind::File => (Kind::File, (0, 0)),
        NodeKind::Link(to) => {
            return match dir.make_link(to.as_os_str(), name) {
                // The same link is as good.
                Err(error)
                    if dir
                        .read_link(name)
                        .is_ok_and(|there| there == to.as_os_str()) =>
                {
                    drop(error);
                    Ok(())
                }
                other => other,
            };
        }
        NodeKind::HardLink(to) => {
            let (from, old) = place(root, to)?;
            return from.hard_link_to(old, &dir, name);
        }
    };
    match dir.meta(name) {
        Ok(there) if there.kind == kind && there.node == number => {}
        Ok(there) if there.kind == kind && matches!(kind, Kind::Directory | Kind::File) => {}
        Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() != ErrorKind::NotFound || kind == Kind::File => {
            return Err(error);
        }
        Err(_) => dir.make_node(name, kind, 0o600, number)?,
    }
    dir.set_owner(name, node.owner.0, node.owner.1)?;
    dir.set_mode(name, node.mode)
}

/// Makes a directory and those above it.
fn directories(root: &Dir, path: &Path) -> io::Result<()> {
    let mut dir = root.open_dir_in_root(Path::new("/"))?;
    let mut so_far = PathBuf::from("/");
    for part in path.components().skip(1) {
        so_far.push(part);
        match root.open_dir_in_root(&so_far) {
            Ok(found) => dir = found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                dir.make_dir(part, 0o755)?;
                dir = root.open_dir_in_root(&so_far)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

    fn node(path: &str, kind: NodeKind, mode: u32) -> Node {
        let own = std::fs::metadata("/proc/self").unwrap();
        Node {
            path: path.into(),
            kind,
            mode,
            owner: (own.uid(), own.gid()),
        }
    }

    #[test]
    fn what_anybody_may_make() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        make(dir.path(), &node("/dev/pts/x", NodeKind::Directory, 0o1777)).unwrap();
        assert_eq!(at("dev/pts/x").metadata().unwrap().mode() & 0o7777, 0o1777);
        make(dir.path(), &node("/dev/pipe", NodeKind::Fifo, 0o640)).unwrap();
        make(dir.path(), &node("/dev/pipe", NodeKind::Fifo, 0o600)).unwrap();
        let pipe = at("dev/pipe").metadata().unwrap();
        assert!(pipe.file_type().is_fifo() && pipe.mode() & 0o777 == 0o600);
        make(
            dir.path(),
            &node("/dev/fd", NodeKind::Link("/proc/self/fd".into()), 0),
        )
        .unwrap();
        assert_eq!(
            std::fs::read_link(at("dev/fd")).unwrap(),
            Path::new("/proc/self/fd")
        );
        std::fs::write(at("file"), "x").unwrap();
        make(dir.path(), &node("/file", NodeKind::File, 0o750)).unwrap();
        assert_eq!(at("file").metadata().unwrap().mode() & 0o777, 0o750);
        make(
            dir.path(),
            &node("/other", NodeKind::HardLink("/file".into()), 0),
        )
        .unwrap();
        assert_eq!(at("other").metadata().unwrap().nlink(), 2);
        assert!(make(dir.path(), &node("/none", NodeKind::File, 0o644)).is_err());
        assert!(make(dir.path(), &node("/file", NodeKind::Fifo, 0o644)).is_err());
    }

    #[test]
    fn links_of_a_tree_do_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        let outside = dir.path().join("outside");
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "x").unwrap();
        std::fs::set_permissions(outside.join("file"), std::fs::Permissions::from_mode(0o600))
            .unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("dev")).unwrap();
        std::os::unix::fs::symlink(outside.join("file"), tree.join("link")).unwrap();
        for (path, kind) in [
            ("/dev/pipe", NodeKind::Fifo),
            ("/dev/../../outside/pipe", NodeKind::Fifo),
            ("/dev/file", NodeKind::File),
            ("/link", NodeKind::File),
            ("/here", NodeKind::HardLink("/dev/file".into())),
        ] {
            assert!(make(&tree, &node(path, kind, 0o777)).is_err(), "{path}");
        }
        let names = std::fs::read_dir(&outside).unwrap().count();
        let file = outside.join("file").metadata().unwrap();
        assert_eq!((names, file.mode() & 0o777, file.nlink()), (1, 0o600, 1));
    }
}
