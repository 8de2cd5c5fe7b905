//! The bytes of one file into another.

use rustix::io::Errno;
use std::fs::File;
use std::io;

/// Makes `to`, empty so far, share the blocks of `from` where the file system can (ioctl_ficlone(2)), else copies
/// the bytes, holes kept.
pub fn copy_contents(from: &File, to: &File, size: u64) -> io::Result<()> {
    if size == 0 || rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut at = 0u64;
    while at < size {
        let data = match rustix::fs::seek(from, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data,
            // Only a hole is left.
            Err(Errno::NXIO) => break,
            Err(_) => at,
        };
        let end = rustix::fs::seek(from, rustix::fs::SeekFrom::Hole(data))
            .unwrap_or(size)
            .min(size);
        copy_range(from, to, data, end)?;
        at = end.max(data.saturating_add(1));
    }
    to.set_len(size)
}

/// The parts of a file that are not holes, as far as the file system tells (lseek(2), `SEEK_DATA`): from where to
/// where, in order. None when it does not tell, or when there are more than `most`.
///
/// # Errors
/// When the file cannot be looked at.
pub fn data_parts(file: &File, size: u64, most: usize) -> io::Result<Option<Vec<(u64, u64)>>> {
    let mut parts = Vec::new();
    let mut at = 0u64;
    while at < size {
        let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?.min(size);
        if parts.len() >= most || end <= start {
            return Ok(None);
        }
        parts.push((start, end));
        at = end;
    }
    rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0))?;
    Ok(Some(parts))
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let (mut read_at, mut write_at) = (start, start);
    let mut space = Vec::new();
    while read_at < end {
        let rest = usize::try_from(end.saturating_sub(read_at))
            .unwrap_or(usize::MAX)
            .min(64 << 20);
        if space.is_empty() {
            match rustix::fs::copy_file_range(
                from,
                Some(&mut read_at),
                to,
                Some(&mut write_at),
                rest,
            ) {
                Ok(0) => return Ok(()),
                Ok(_) => continue,
                Err(Errno::INTR) => continue,
                Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
                    space.resize(256 << 10, 0u8);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let rest = rest.min(space.len());
        let got = from.read_at(space.get_mut(..rest).unwrap_or_default(), read_at)?;
        if got == 0 {
            return Ok(());
        }
        to.write_all_at(space.get(..got).unwrap_or_default(), write_at)?;
        read_at = read_at.saturating_add(got as u64);
        write_at = read_at;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_kept() -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let base = std::env::temp_dir().join(format!("jaula-holes-{}", std::process::id()));
        std::fs::create_dir(&base)?;
        let dir = crate::dir::Dir::open(&base)?;
        let file = dir.create_file("a", 0o600)?;
        file.write_all_at(b"start", 0)?;
        file.write_all_at(b"end", 8 << 20)?;
        let size = file.metadata()?.len();
        let to = dir.create_file("b", 0o600)?;
        copy_contents(&dir.open_file("a")?, &to, size)?;
        assert_eq!(
            std::fs::read(base.join("a"))?,
            std::fs::read(base.join("b"))?
        );
        assert!(dir.meta("b")?.disk < 1 << 20);
        std::fs::remove_dir_all(&base)
    }
}
