//! As much of SQLite's file format (sqlite.org/fileformat2) as two tables of rpm's need: `Name`, which leads from names
//! to numbers, and `Packages`, which has a header for each number. Indices are not used but for the tables' own order.

use super::{MOST_HEADER, MOST_SAME, RpmError, big, read_exact};
use crate::disk::ReadAt;

const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
/// Trees of 64-KiB pages with more levels than this have more pages than a file.
const MOST_DEPTH: usize = 32;
/// Rows that are looked at of one table.
const MOST_ROWS: usize = 4_000_000;
/// Bytes of a row that is no header.
const MOST_ROW: usize = 1 << 20;

/// The database.
#[derive(Debug)]
pub struct Sqlite<D: ReadAt> {
    data: D,
    page: usize,
    usable: usize,
}

/// A value of a row.
#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    /// Null, and numbers that are none of ours.
    Other,
    Number(i64),
    Bytes(&'a [u8]),
}

/// What is done with each row; whether it goes on.
type EachRow<'a> = dyn FnMut(i64, &[u8]) -> Result<bool, RpmError> + 'a;

impl<D: ReadAt> Sqlite<D> {
    pub fn open(data: D) -> Result<Self, RpmError> {
        let mut start = [0; 100];
        read_exact(&data, 0, &mut start)?;
        let short = |at| {
            Some(usize::from(u16::from_be_bytes([
                byte(&start, at)?,
                byte(&start, at + 1)?,
            ])))
        };
        let page = match short(16) {
            Some(1) => 65_536,
            Some(page) if page.is_power_of_two() && page >= 512 => page,
            _ => return Err(RpmError::Damaged("it has no size of pages")),
        };
        let kept = byte(&start, 20).map_or(0, usize::from);
        let usable = page.saturating_sub(kept);
        if usable < 480 || big(&start, 56) != Some(1) {
            return Err(RpmError::Damaged("its pages or texts are of another form"));
        }
        Ok(Self { data, page, usable })
    }

    /// The headers of packages of this name.
    pub fn headers(&self, name: &[u8]) -> Result<Vec<Vec<u8>>, RpmError> {
        let (mut names, mut packages) = (None, None);
        self.rows(1, MOST_ROW, &mut |_, row| {
            let values = values(row)?;
            if let [
                Value::Bytes(b"table"),
                Value::Bytes(called),
                _,
                Value::Number(root),
                ..,
            ] = values.as_slice()
            {
                let root = u32::try_from(*root).ok();
                match *called {
                    b"Name" => names = root,
                    b"Packages" => packages = root,
                    _ => {}
                }
            }
            Ok(true)
        })?;
        let (Some(names), Some(packages)) = (names, packages) else {
            return Err(RpmError::Damaged("it has no table of packages"));
        };
        let mut numbers = Vec::new();
        self.rows(names, MOST_ROW, &mut |_, row| {
            let values = values(row)?;
            if let [Value::Bytes(key), Value::Number(number), ..] = values.as_slice()
                && *key == name
            {
                numbers.push(*number);
            }
            match numbers.len() > MOST_SAME {
                true => Err(RpmError::TooMuch("packages of one name")),
                false => Ok(true),
            }
        })?;
        let mut found = Vec::new();
        for number in numbers {
            match self.row(packages, number)? {
                Some(header) => found.push(header),
                None => return Err(RpmError::Damaged("a name leads to no package")),
            }
        }
        Ok(found)
    }

    fn load(&self, number: u32) -> Result<Vec<u8>, RpmError> {
        let before = number
            .checked_sub(1)
            .ok_or(RpmError::Damaged("a page is none"))?;
        let mut page = vec![0; self.page];
        let at = u64::from(before).saturating_mul(self.page as u64);
        read_exact(&self.data, at, &mut page)?;
        Ok(page)
    }

    /// All rows of a table in the order of their numbers, until one is the last.
    fn rows(&self, root: u32, most: usize, each: &mut EachRow<'_>) -> Result<(), RpmError> {
        let mut left = MOST_ROWS;
        // Pages to be looked at, the next one last, each with its depth.
        let mut open = vec![(root, 0usize)];
        while let Some((number, depth)) = open.pop() {
            if depth > MOST_DEPTH || open.len() > MOST_ROWS {
                return Err(RpmError::TooMuch("pages"));
            }
            let page = Page::new(self.load(number)?, number)?;
            if page.kind == INTERIOR {
                let deeper = depth.saturating_add(1);
                open.push((page.right()?, deeper));
                for cell in (0..page.cells).rev() {
                    let at = page.cell(cell)?;
                    let child = big(&page.bytes, at).ok_or(CUT)?;
                    open.push((child, deeper));
                }
                // A page is looked at for at least one of its cells.
                left = left.checked_sub(1).ok_or(RpmError::TooMuch("rows"))?;
                continue;
            }
            for cell in 0..page.cells {
                left = left.checked_sub(1).ok_or(RpmError::TooMuch("rows"))?;
                let (number, row) = self.payload(&page, cell, most)?;
                if !each(number, &row)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The blob of one row of the table of packages.
    fn row(&self, root: u32, wanted: i64) -> Result<Option<Vec<u8>>, RpmError> {
        let mut number = root;
        for _ in 0..MOST_DEPTH {
            let page = Page::new(self.load(number)?, number)?;
            if page.kind == LEAF {
                for cell in 0..page.cells {
                    let at = page.cell(cell)?;
                    let (_, after) = varint(&page.bytes, at)?;
                    if varint(&page.bytes, after)?.0 == wanted {
                        let (_, row) = self.payload(&page, cell, MOST_HEADER)?;
                        return match values(&row)?.as_slice() {
                            [_, Value::Bytes(blob)] => Ok(Some(blob.to_vec())),
                            _ => Err(RpmError::Damaged("a package has no header")),
                        };
                    }
                }
                return Ok(None);
            }
            let mut next = page.right()?;
            for cell in 0..page.cells {
                let at = page.cell(cell)?;
                let (key, _) = varint(&page.bytes, at.saturating_add(4))?;
                if wanted <= key {
                    next = big(&page.bytes, at).ok_or(CUT)?;
                    break;
                }
            }
            number = next;
        }
        Err(RpmError::TooMuch("pages"))
    }

    /// The number and the bytes of a row; what has no place in its page is in a chain of others.
    fn payload(&self, page: &Page, cell: usize, most: usize) -> Result<(i64, Vec<u8>), RpmError> {
        let (length, at) = varint(&page.bytes, page.cell(cell)?)?;
        let (number, at) = varint(&page.bytes, at)?;
        let length = usize::try_from(length).map_err(|_| CUT)?;
        if length > most {
            return Err(RpmError::TooMuch("bytes of one row"));
        }
        let here = self.local(length);
        let end = at.checked_add(here).ok_or(CUT)?;
        let mut row = page.bytes.get(at..end).ok_or(CUT)?.to_vec();
        let mut next = match here < length {
            true => big(&page.bytes, end).ok_or(CUT)?,
            false => 0,
        };
        while row.len() < length {
            let more = self.load(next)?;
            next = big(&more, 0).ok_or(CUT)?;
            let rest = length.saturating_sub(row.len());
            let piece = more.get(4..self.usable).ok_or(CUT)?;
            row.extend_from_slice(piece.get(..rest).unwrap_or(piece));
        }
        Ok((number, row))
    }

    /// How much of a row is in its own page.
    fn local(&self, length: usize) -> usize {
        let most = self.usable.saturating_sub(35);
        if length <= most {
            return length;
        }
        let least = (self.usable.saturating_sub(12).saturating_mul(32) / 255).saturating_sub(23);
        let over = length.saturating_sub(least);
        let rest = over.checked_rem(self.usable.saturating_sub(4)).unwrap_or(0);
        let here = least.saturating_add(rest);
        if here <= most { here } else { least }
    }
}

const CUT: RpmError = RpmError::Damaged("a page is cut off");

struct Page {
    bytes: Vec<u8>,
    kind: u8,
    cells: usize,
    /// Where its head begins: the first page has the file's before it.
    head: usize,
}

fn byte(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

impl Page {
    fn new(bytes: Vec<u8>, number: u32) -> Result<Self, RpmError> {
        let head = if number == 1 { 100 } else { 0 };
        let kind = byte(&bytes, head).ok_or(CUT)?;
        if kind != LEAF && kind != INTERIOR {
            return Err(RpmError::Damaged("a page is of no table"));
        }
        let mut page = Self {
            bytes,
            kind,
            cells: 0,
            head,
        };
        page.cells = page.short(head.saturating_add(3))?;
        Ok(page)
    }

    fn short(&self, at: usize) -> Result<usize, RpmError> {
        let pair = byte(&self.bytes, at).zip(byte(&self.bytes, at.saturating_add(1)));
        let (high, low) = pair.ok_or(CUT)?;
        Ok(usize::from(u16::from_be_bytes([high, low])))
    }

    fn right(&self) -> Result<u32, RpmError> {
        big(&self.bytes, self.head.saturating_add(8)).ok_or(CUT)
    }

    /// Where a cell begins.
    fn cell(&self, number: usize) -> Result<usize, RpmError> {
        let head = if self.kind == INTERIOR { 12 } else { 8 };
        let at = self.head.saturating_add(head);
        self.short(at.saturating_add(number.saturating_mul(2)))
    }
}

/// A number of one to nine bytes, and where what follows begins.
fn varint(bytes: &[u8], at: usize) -> Result<(i64, usize), RpmError> {
    let mut value = 0u64;
    let mut next = at;
    for count in 1..=9u32 {
        let byte = byte(bytes, next).ok_or(CUT)?;
        next = next.saturating_add(1);
        if count == 9 {
            return Ok(((value << 8 | u64::from(byte)).cast_signed(), next));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok((value.cast_signed(), next))
}

/// The values of a row.
fn values(row: &[u8]) -> Result<Vec<Value<'_>>, RpmError> {
    let (head, mut at) = varint(row, 0)?;
    let head = usize::try_from(head).map_err(|_| CUT)?;
    let mut body = row.get(head..).ok_or(CUT)?;
    let mut values = Vec::new();
    while at < head {
        let (kind, next) = varint(row, at)?;
        at = next;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).map_err(|_| CUT)?,
            5 => 6,
            6 | 7 => 8,
            12.. => usize::try_from((kind - 12) / 2).map_err(|_| CUT)?,
            _ => return Err(CUT),
        };
        let (value, rest) = body.split_at_checked(length).ok_or(CUT)?;
        body = rest;
        values.push(match kind {
            8 => Value::Number(0),
            9 => Value::Number(1),
            1..=6 => {
                let sign = if value.first().is_some_and(|first| *first & 0x80 != 0) {
                    -1
                } else {
                    0
                };
                let whole = value
                    .iter()
                    .fold(sign, |whole: i64, byte| whole << 8 | i64::from(*byte));
                Value::Number(whole)
            }
            12.. => Value::Bytes(value),
            _ => Value::Other,
        });
    }
    Ok(values)
}
