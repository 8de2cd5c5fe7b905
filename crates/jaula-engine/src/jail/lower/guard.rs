//! The chosen protections: filters from rules, Landlock, descriptors that stay, devices.

use super::{ANY, DEV, JailError, Lowering, PROC, text};
use jaula_plan::binfmt::Interpreter;
use jaula_plan::landlock;
use jaula_plan::seccomp::{Abi, Action, Clause, Rules, Test};
use jaula_plan::setup_op::FilterPlan;
use jaula_sys::beneath::Links;
use jaula_sys::child::{Op, PlaceKind};
use jaula_sys::landlock::Ruleset;
use jaula_sys::mount::attr;
use jaula_sys::seccomp::program::{self, Answer, Compare, Entry, Flags, Rule, Unfit};
use jaula_sys::seccomp::{Filter, Options};
use std::path::Path;

impl Lowering<'_> {
    pub(super) fn profile(&mut self, name: &str, rules: &Rules) -> Result<(), JailError> {
        self.last(Op::Seccomp(profile_filter(name, rules)?));
        Ok(())
    }

    /// The mount has to stay as long as the registration: it is put where it belongs, and the closed view of the
    /// system's settings is laid over it afterwards.
    pub(super) fn interpret(&mut self, interpreter: &Interpreter) -> Result<(), JailError> {
        let text = text(interpreter.registration().unwrap_or_default())?;
        let attrs = attr::NOSUID | attr::NODEV | attr::NOEXEC;
        self.new_fs(c"binfmt_misc", &[], attrs, ANY)?;
        self.attach(ANY, PROC, "sys/fs/binfmt_misc", Links::Refuse)?;
        self.first(Op::Interpret { slot: ANY, text });
        Ok(())
    }

    pub(super) fn record(&mut self, users: bool) -> Result<(), JailError> {
        // The list of calls is constant, so it always fits.
        let filter = jaula_sys::notify::filter(users).ok_or(JailError::NoRecord)?;
        self.last(Op::Listen(filter));
        Ok(())
    }

    pub(super) fn landlock(&mut self, set: &landlock::Ruleset) -> Result<(), JailError> {
        self.last(Op::Landlock(landlock_ruleset(set)?));
        Ok(())
    }

    pub(super) fn keep(&mut self, keep: &[u32]) -> Result<(), JailError> {
        let fd = |number: &u32| {
            i32::try_from(*number)
                .ok()
                .filter(|fd| jaula_sys::process::was_inherited(*fd))
                .ok_or(JailError::NoDescriptor { fd: *number })
        };
        let keep = keep.iter().map(fd).collect::<Result<_, _>>()?;
        self.last(Op::CloseBut(keep));
        Ok(())
    }

    pub(super) fn device(&mut self, at: &Path) -> Result<(), JailError> {
        let inside = text(at.strip_prefix("/dev").unwrap_or(at))?;
        self.first(Op::OpenDevice {
            path: text(at)?,
            slot: ANY,
        });
        self.first(Op::SetAttr {
            slot: ANY,
            set: attr::NOSUID | attr::NOEXEC,
            recursive: false,
        });
        self.first(Op::Place {
            dir: DEV,
            path: inside.clone(),
            like: PlaceKind::Like(ANY, 0o644),
            parents: 0o755,
        });
        self.first(Op::Attach {
            slot: ANY,
            dir: DEV,
            path: inside,
            links: Links::Refuse,
        });
        Ok(())
    }
}

/// The default list as a filter.
pub(crate) fn default_filter(plan: &FilterPlan) -> Filter {
    Filter::new(Options {
        no_sync: plan.no_sync,
        mounts: plan.mounts,
    })
}

/// A profile as a filter.
pub(crate) fn profile_filter(name: &str, rules: &Rules) -> Result<Filter, JailError> {
    filter(rules).map_err(|source| JailError::Filter {
        name: name.to_owned(),
        source,
    })
}

/// What the kernel is told of Landlock's rules.
pub(crate) fn landlock_ruleset(set: &landlock::Ruleset) -> Result<Ruleset, JailError> {
    let path =
        |(path, rights): &(std::path::PathBuf, u64)| Ok::<_, JailError>((text(path)?, *rights));
    Ok(Ruleset {
        handled_files: set.handled_files,
        handled_net: set.handled_net,
        scoped: set.scoped,
        paths: set.paths.iter().map(path).collect::<Result<_, _>>()?,
        ports: set.ports.clone(),
    })
}

/// The program of rules.
pub(in crate::jail) fn filter(rules: &Rules) -> Result<Filter, Unfit> {
    let answer = |action| match action {
        Action::KillProcess => Answer::KillProcess,
        Action::KillThread => Answer::KillThread,
        Action::Trap => Answer::Trap,
        Action::Errno(errno) => Answer::Errno(errno),
        Action::Trace(message) => Answer::Trace(message),
        Action::Log => Answer::Log,
        Action::Allow => Answer::Allow,
    };
    let compare = |test| match test {
        Test::Eq(value) => Compare::Eq(value),
        Test::Ne(value) => Compare::Ne(value),
        Test::Lt(value) => Compare::Lt(value),
        Test::Le(value) => Compare::Le(value),
        Test::Gt(value) => Compare::Gt(value),
        Test::Ge(value) => Compare::Ge(value),
        Test::Masked { mask, value } => Compare::Masked(mask, value),
    };
    let rule = |clause: &Clause| Rule {
        conditions: clause
            .conditions
            .iter()
            .map(|c| (c.arg, compare(c.test)))
            .collect(),
        answer: answer(clause.action),
    };
    let table = |table: &jaula_plan::seccomp::Table| program::Table {
        entry: match table.abi {
            Abi::X86_64 => Entry::X86_64,
            Abi::I386 => Entry::I386,
            Abi::Aarch64 => Entry::Aarch64,
        },
        calls: table
            .calls
            .iter()
            .map(|call| (call.number, call.clauses.iter().map(rule).collect()))
            .collect(),
        default: answer(table.default),
        newer: table.newer,
    };
    let tables: Vec<program::Table> = rules.tables.iter().map(table).collect();
    let flags = Flags {
        log: rules.flags.log,
        spec_allow: rules.flags.spec_allow,
        tsync: rules.flags.tsync,
    };
    Filter::from_rules(&tables, flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaula_plan::seccomp::{Profile, Target, compile};
    use jaula_plan::setup_op::CapSet;

    fn code(action: Action) -> u32 {
        match action {
            Action::KillProcess => 0x8000_0000,
            Action::KillThread => 0,
            Action::Trap => 0x0003_0000,
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::Trace(message) => 0x7ff0_0000 | u32::from(message),
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }

    /// From the file to the program: every number of both entries, at the edges of every argument that is looked at.
    #[test]
    fn a_profile_means_the_same_as_its_program() {
        let shipped = include_str!("../../../../jaula-plan/src/seccomp/shipped.json");
        let mut asked = 0u32;
        for caps in [0, CapSet::DEFAULT.0, u64::MAX] {
            let target = Target {
                native: Abi::X86_64,
                caps: CapSet(caps),
                kernel: (6, 1),
                best_effort: false,
            };
            let rules = compile(&Profile::parse("shipped", shipped).unwrap(), &target).unwrap();
            let program = filter(&rules).unwrap();
            assert!(program.instructions() < 600, "{}", program.instructions());
            let values = [
                0,
                1,
                2,
                10,
                11,
                12,
                13,
                0x11,
                0x1000_0000,
                0x1000_0011,
                0x7e02_0000,
                0xffff_fffe,
                0xffff_ffff,
                0x1_0000_0000,
                0x1_0000_000b,
                u64::MAX,
            ];
            for (abi, audit) in [
                (Abi::X86_64, 0xc000_003eu32),
                (Abi::I386, 0x4000_0003),
                (Abi::Aarch64, 0xc000_00b7),
            ] {
                for number in (0..600).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0001, u32::MAX]) {
                    for value in values {
                        for other in [0, value] {
                            let args = [value, other, other, other, other, other];
                            let found = program.answer(audit, number, args);
                            let meant = code(rules.answer(abi, number, args));
                            assert_eq!(found, Some(meant), "{abi:?} {number} {args:x?}");
                            asked += 1;
                        }
                    }
                }
            }
        }
        assert!(asked > 150_000, "{asked}");
    }
}
