//! From what was found to the rows of the table.

use super::columns::{Col, MOST};
use super::filter::Filter;
use super::{Asked, End, Tree};
use crate::compat::smartcols::{Row, Table};
use crate::compat::util_linux::utf8;
use jaula_engine::namespaces::{self, Namespace, NsKind, Process, Snapshot, Wanted};
use jaula_engine::probe::{output_width, user_names};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;

/// The width of the terminal that standard output is; 80 where it does not tell.
pub(super) fn terminal() -> Option<usize> {
    let [_, stdout, _] = crate::output::terminals();
    let told = || output_width().filter(|width| *width > 0);
    let columns = || std::env::var("COLUMNS").ok()?.parse::<usize>().ok();
    stdout.then(|| {
        told()
            .or_else(columns)
            .filter(|width| *width > 0)
            .unwrap_or(80)
    })
}

/// What lsns(8) lists.
pub(super) fn listing(asked: &Asked) -> Result<Vec<u8>, End> {
    list(asked, |columns| look(asked, columns))
}

/// The whole listing of what `look` finds for these columns.
///
/// # Errors
/// When the columns, the filter or the namespace that is named cannot be had.
pub fn list(
    asked: &Asked,
    look: impl FnOnce(&[Col]) -> Result<Snapshot, End>,
) -> Result<Vec<u8>, End> {
    // Columns that only the filter needs stand behind the others and are not shown.
    let mut columns = asked.columns.clone();
    let mut places = Vec::new();
    let mut unknown = false;
    for name in asked.filter.iter().flat_map(|filter| &filter.names) {
        let Some(col) = Col::of_name(name.as_bytes()) else {
            crate::compat::util_linux::complain(super::NAME, &format!("unknown column: {name}"));
            unknown = true;
            continue;
        };
        let place = columns.iter().position(|known| *known == col);
        places.push(place.unwrap_or_else(|| {
            columns.push(col);
            columns.len().saturating_sub(1)
        }));
    }
    if unknown {
        return Err(End::Message("failed to initialize filter".to_owned()));
    }
    if columns.len() > MOST {
        let text = format!(
            "too many columns specified, the limit is {} columns",
            MOST - 1
        );
        return Err(End::Message(text));
    }
    let snapshot = look(&columns)?;
    let mut lister = Lister {
        asked,
        columns: &columns,
        places: &places,
        snapshot: &snapshot,
        users: user_names(),
        rows: Vec::new(),
        of_namespace: HashMap::new(),
        of_process: HashMap::new(),
    };
    if asked.namespace != 0 {
        let Some(namespace) = snapshot.namespace(asked.namespace) else {
            return Err(End::Message(format!(
                "not found namespace: {}",
                asked.namespace
            )));
        };
        lister.processes(namespace)?;
    } else {
        lister.namespaces()?;
    }
    let rows = lister.rows;
    Ok(table(asked, rows).text(asked.form()))
}

fn look(asked: &Asked, columns: &[Col]) -> Result<Snapshot, End> {
    let mut kinds = [asked.kinds.is_empty(); 8];
    for kind in &asked.kinds {
        if let Some(wanted) = kinds.get_mut(kind.index()) {
            *wanted = true;
        }
    }
    let wanted = Wanted {
        kinds,
        ancestors: matches!(asked.tree, Some(Tree::Owner | Tree::Parent)),
        all_mounts: false,
        net_numbers: columns.contains(&Col::Netnsid),
        all_commands: asked.namespace != 0,
    };
    namespaces::scan(&wanted).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        End::Message(format!("{error}{}", cause.unwrap_or_default()))
    })
}

fn table(asked: &Asked, rows: Vec<Row>) -> Table {
    let columns = asked.columns.iter().map(|col| {
        let mut column = col.column();
        column.cut &= !asked.no_truncate;
        column.lines &= !asked.no_wrap;
        match asked.tree {
            Some(Tree::Process) => column.tree = *col == Col::Command,
            Some(_) if *col == Col::Ns => (column.tree, column.right) = (true, false),
            _ => {}
        }
        column
    });
    Table {
        name: "namespaces",
        columns: columns.collect(),
        rows,
        headings: !asked.no_headings,
        utf8: utf8(),
    }
}

struct Lister<'a> {
    asked: &'a Asked,
    columns: &'a [Col],
    /// For each name of the filter, its place in the columns.
    places: &'a [usize],
    snapshot: &'a Snapshot,
    users: HashMap<u32, String>,
    rows: Vec<Row>,
    /// The row of a namespace, in the trees of namespaces.
    of_namespace: HashMap<u64, usize>,
    /// The last row of a process, in the tree of processes.
    of_process: HashMap<u32, usize>,
}

impl<'a> Lister<'a> {
    fn namespaces(&mut self) -> Result<(), End> {
        let snapshot = self.snapshot;
        for namespace in &snapshot.namespaces {
            let of_pid = |at: &usize| {
                let process = snapshot.processes.get(*at);
                process.is_some_and(|process| i128::from(process.pid) == self.asked.pid)
            };
            if self.asked.pid != 0 && !namespace.processes.iter().any(of_pid) {
                continue;
            }
            if self.asked.persistent && !namespace.processes.is_empty() {
                continue;
            }
            if !self.asked.kinds.is_empty() && !self.asked.kinds.contains(&namespace.kind) {
                continue;
            }
            if self.of_namespace.contains_key(&namespace.inode) {
                continue;
            }
            // Those it hangs below come first, the uppermost before all.
            let mut above = Vec::new();
            let mut at = namespace;
            while let Some(next) = self.before(at) {
                if above.len() > snapshot.namespaces.len() {
                    break;
                }
                above.push(next);
                at = next;
            }
            for namespace in above.into_iter().rev().chain([namespace]) {
                self.add(namespace, snapshot.first(namespace))?;
            }
        }
        Ok(())
    }

    /// The namespace that has to stand in the tree before this one, when it does not yet.
    fn before(&self, namespace: &Namespace) -> Option<&'a Namespace> {
        let snapshot = self.snapshot;
        let missing = |found: &&Namespace| !self.of_namespace.contains_key(&found.inode);
        let owner = || snapshot.namespace(namespace.owner);
        match self.asked.tree? {
            Tree::Process => None,
            Tree::Owner => owner().filter(missing),
            Tree::Parent => match snapshot.namespace(namespace.parent) {
                Some(parent) => Some(parent).filter(missing),
                None => owner().filter(missing),
            },
        }
    }

    fn processes(&mut self, namespace: &Namespace) -> Result<(), End> {
        let snapshot = self.snapshot;
        for at in &namespace.processes {
            let Some(process) = snapshot.processes.get(*at) else {
                continue;
            };
            if self.of_process.contains_key(&process.pid) {
                continue;
            }
            let mut above = Vec::new();
            if self.asked.tree == Some(Tree::Process) {
                let mut at = process;
                while let Some(parent) = snapshot.process(at.ppid).filter(|parent| {
                    let slot = namespace.kind.index();
                    parent.pid != at.pid
                        && !self.of_process.contains_key(&parent.pid)
                        && parent.namespaces.get(slot) == Some(&namespace.inode)
                }) {
                    if above.len() > snapshot.processes.len() {
                        break;
                    }
                    above.push(parent);
                    at = parent;
                }
            }
            for process in above.into_iter().rev().chain([process]) {
                self.add(namespace, Some(process))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, namespace: &Namespace, process: Option<&Process>) -> Result<(), End> {
        let parent = match self.asked.tree {
            Some(Tree::Process) => {
                let parent = process.and_then(|process| self.snapshot.process(process.ppid));
                parent.and_then(|parent| self.of_process.get(&parent.pid))
            }
            Some(Tree::Parent) => self.of_namespace.get(&namespace.parent),
            Some(Tree::Owner) => self.of_namespace.get(&namespace.owner),
            None => None,
        };
        let parent = parent.copied();
        let mut cells: Vec<_> = self
            .columns
            .iter()
            .map(|col| self.cell(*col, namespace, process))
            .collect();
        if let Some(filter) = &self.asked.filter
            && !self.passes(filter, &cells)?
        {
            return Ok(());
        }
        cells.truncate(self.asked.columns.len());
        let row = self.rows.len();
        self.rows.push(Row {
            cells: cells.into_iter().map(Option::unwrap_or_default).collect(),
            parent,
        });
        match (self.asked.tree, process) {
            (Some(Tree::Owner | Tree::Parent), _) => {
                self.of_namespace.insert(namespace.inode, row);
            }
            (_, Some(process)) => {
                self.of_process.insert(process.pid, row);
            }
            _ => {}
        }
        Ok(())
    }

    fn passes(&self, filter: &Filter, cells: &[Option<Vec<u8>>]) -> Result<bool, End> {
        let cell = |name: usize| {
            let place = self.places.get(name).copied().unwrap_or(usize::MAX);
            let number = self.columns.get(place).is_some_and(|col| col.number());
            (cells.get(place).cloned().flatten(), number)
        };
        let failed = |_| End::Message("failed to apply filter: Invalid argument".to_owned());
        filter.passes(&cell).map_err(failed)
    }

    /// What stands in a column; none where nothing does.
    fn cell(&self, col: Col, namespace: &Namespace, process: Option<&Process>) -> Option<Vec<u8>> {
        let uid = || process.map_or(namespace.owner_uid, |process| process.uid);
        let unknown = process.is_none() && namespace.kind != NsKind::User;
        if unknown && self.asked.known_users_only && matches!(col, Col::Uid | Col::User) {
            return None;
        }
        let text = match col {
            Col::Ns => namespace.inode.to_string(),
            Col::Type => namespace.kind.to_string(),
            Col::Nprocs => namespace.processes.len().to_string(),
            Col::Pid => process?.pid.to_string(),
            Col::Ppid => process?.ppid.to_string(),
            Col::Path => {
                let path = namespaces::path_of(process?.pid, namespace.kind);
                return Some(path.as_os_str().as_bytes().to_vec());
            }
            Col::Command => match process {
                Some(process) => return Some(process.command.clone()),
                None => format!("({})", self.asked.held.get(&namespace.inode)?),
            },
            Col::Held => self.asked.held.get(&namespace.inode)?.clone(),
            Col::Uid => uid().to_string(),
            Col::User => match self.users.get(&uid()) {
                Some(name) => name.clone(),
                None => uid().to_string(),
            },
            Col::Netnsid => match namespace
                .net_number
                .filter(|_| namespace.kind == NsKind::Net)?
            {
                -1 => "unassigned".to_owned(),
                number => number.to_string(),
            },
            Col::Nsfs => return self.mounts(namespace),
            Col::Pns => namespace.parent.to_string(),
            Col::Ons => namespace.owner.to_string(),
        };
        Some(text.into_bytes())
    }

    fn mounts(&self, namespace: &Namespace) -> Option<Vec<u8>> {
        let mut targets: Vec<&[u8]> = Vec::new();
        for seen in self.snapshot.mounts_of(namespace) {
            let target = seen.mount.target.as_os_str().as_bytes();
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        let separator: &[u8] = if self.asked.no_wrap { b"," } else { b"\n" };
        (!targets.is_empty()).then(|| targets.join(separator))
    }
}
