//! The columns of lsns(8).

use crate::compat::smartcols::Column;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Col {
    /// The inode.
    Ns,
    /// The kind.
    Type,
    /// A file by which it can be opened.
    Path,
    /// The number of processes in it.
    Nprocs,
    /// The lowest process number in it.
    Pid,
    /// That process's parent.
    Ppid,
    /// That process's command line.
    Command,
    /// That process's user, by number.
    Uid,
    /// That process's user, by name.
    User,
    /// The number by which the caller's network namespace knows it.
    Netnsid,
    /// Where it is mounted.
    Nsfs,
    /// The namespace above it.
    Pns,
    /// The namespace that owns it.
    Ons,
    /// What keeps it besides processes: not a column of lsns(8).
    Held,
}

/// A heading, a width, an alignment, whether numbers are in it, and what help says.
type Info = (&'static str, usize, bool, bool, &'static str);

impl Col {
    /// All of them, in the order of the help text.
    pub const ALL: [Self; 13] = [
        Self::Ns,
        Self::Type,
        Self::Path,
        Self::Nprocs,
        Self::Pid,
        Self::Ppid,
        Self::Command,
        Self::Uid,
        Self::User,
        Self::Netnsid,
        Self::Nsfs,
        Self::Pns,
        Self::Ons,
    ];

    /// Those of `jaula ns ls`.
    pub const NATIVE: [Self; 14] = [
        Self::Ns,
        Self::Type,
        Self::Path,
        Self::Nprocs,
        Self::Pid,
        Self::Ppid,
        Self::Command,
        Self::Uid,
        Self::User,
        Self::Netnsid,
        Self::Nsfs,
        Self::Pns,
        Self::Ons,
        Self::Held,
    ];

    const fn info(self) -> Info {
        match self {
            Self::Ns => ("NS", 10, true, true, "namespace identifier (inode number)"),
            Self::Type => ("TYPE", 5, false, false, "kind of namespace"),
            Self::Path => ("PATH", 0, false, false, "path to the namespace"),
            Self::Nprocs => (
                "NPROCS",
                5,
                true,
                true,
                "number of processes in the namespace",
            ),
            Self::Pid => ("PID", 5, true, true, "lowest PID in the namespace"),
            Self::Ppid => ("PPID", 5, true, true, "PPID of the PID"),
            Self::Command => ("COMMAND", 0, false, false, "command line of the PID"),
            Self::Uid => ("UID", 0, true, true, "UID of the PID"),
            Self::User => ("USER", 0, false, false, "username of the PID"),
            Self::Netnsid => (
                "NETNSID",
                0,
                true,
                false,
                "namespace ID as used by network subsystem",
            ),
            Self::Nsfs => (
                "NSFS",
                0,
                false,
                false,
                "nsfs mountpoint (usually used network subsystem)",
            ),
            Self::Pns => (
                "PNS",
                10,
                true,
                true,
                "parent namespace identifier (inode number)",
            ),
            Self::Ons => (
                "ONS",
                10,
                true,
                true,
                "owner namespace identifier (inode number)",
            ),
            Self::Held => ("HELD", 0, false, false, "what keeps it besides processes"),
        }
    }

    /// The heading.
    pub const fn name(self) -> &'static str {
        self.info().0
    }

    /// Whether its cells are numbers.
    pub const fn number(self) -> bool {
        self.info().3
    }

    /// What the help text says.
    pub const fn help(self) -> &'static str {
        self.info().4
    }

    /// As a table has it when nothing is asked for.
    pub fn column(self) -> Column {
        let (name, hint, right, number, _) = self.info();
        Column {
            name,
            hint,
            right,
            cut: self == Self::Command,
            tree: false,
            lines: self == Self::Nsfs,
            number,
        }
    }

    /// By its heading, in any case; those of lsns(8).
    pub fn of_name(name: &[u8]) -> Option<Self> {
        Self::among(&Self::ALL, name)
    }

    fn among(known: &[Self], name: &[u8]) -> Option<Self> {
        let same = |col: &&Self| col.name().as_bytes().eq_ignore_ascii_case(name);
        known.iter().find(same).copied()
    }
}

/// How many columns can be asked for.
pub const MOST: usize = Col::ALL.len() * 2;

/// A list of columns that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadList {
    /// This name, with all behind it, is not known.
    Unknown(Vec<u8>),
    /// Empty, or with an empty name, or too long: the tool says nothing.
    Form,
}

/// Reads a list of known columns: `A,B`, or `+A,B` to add to those there are.
///
/// # Errors
/// When a name is not known, or the list is none.
pub fn list(text: &[u8], known: &[Col], columns: &mut Vec<Col>) -> Result<(), BadList> {
    let names = match text.strip_prefix(b"+") {
        Some(more) => more,
        None => {
            columns.clear();
            text
        }
    };
    if names.is_empty() {
        return Err(BadList::Form);
    }
    let mut rest = names;
    while !rest.is_empty() {
        if columns.len() >= MOST {
            return Err(BadList::Form);
        }
        let comma = rest.iter().position(|byte| *byte == b',');
        // A comma that ends the list belongs to the last name.
        let length = comma.filter(|at| at + 1 < rest.len()).unwrap_or(rest.len());
        let (name, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        if name.is_empty() {
            return Err(BadList::Form);
        }
        match Col::among(known, name) {
            Some(col) => columns.push(col),
            None => return Err(BadList::Unknown(rest.to_vec())),
        }
        rest = behind.get(1..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_tool_reads_them() {
        let read = |text: &str| {
            let mut columns = vec![Col::Path];
            list(text.as_bytes(), &Col::ALL, &mut columns).map(|()| columns)
        };
        assert_eq!(read("ns,Type"), Ok(vec![Col::Ns, Col::Type]));
        assert_eq!(read("+pid"), Ok(vec![Col::Path, Col::Pid]));
        for form in ["", "+", "ns,,pid", ",ns"] {
            assert_eq!(read(form), Err(BadList::Form), "{form}");
        }
        assert_eq!(read("ns,x,pid"), Err(BadList::Unknown(b"x,pid".to_vec())));
        assert_eq!(read("ns,"), Err(BadList::Unknown(b"ns,".to_vec())));
        assert_eq!(read(&["ns"; 27].join(",")), Err(BadList::Form));
    }
}
