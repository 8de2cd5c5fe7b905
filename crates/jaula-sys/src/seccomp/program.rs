//! Filters from rules: a tree over the numbers of each entry, whose leaves are answers or tests of arguments.
//!
//! Conditional jumps of classic BPF reach 255 instructions, so a branch jumps over the left half with an unconditional
//! one, which reaches everywhere. Arguments have 64 bits and the machine 32: they are compared in halves.

use super::{ALLOW, ARCH, AT_LEAST, EQUAL, Filter, KILL, LOAD, NUMBER, RET_ERRNO, RETURN, op};

const JUMP: u16 = 0x05;
const GREATER: u16 = 0x25;
const AND: u16 = 0x54;

/// The most instructions that the kernel takes (BPF_MAXINSNS).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// What is answered to a call (seccomp(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// SECCOMP_RET_KILL_PROCESS
    KillProcess,
    /// SECCOMP_RET_KILL_THREAD
    KillThread,
    /// SECCOMP_RET_TRAP
    Trap,
    /// SECCOMP_RET_ERRNO
    Errno(u16),
    /// SECCOMP_RET_TRACE
    Trace(u16),
    /// SECCOMP_RET_USER_NOTIF
    Notify,
    /// SECCOMP_RET_LOG
    Log,
    /// SECCOMP_RET_ALLOW
    Allow,
}

impl Answer {
    /// The number by which the filter gives it.
    pub fn code(self) -> u32 {
        match self {
            Self::KillProcess => KILL,
            Self::KillThread => 0,
            Self::Trap => 0x0003_0000,
            Self::Errno(errno) => RET_ERRNO | u32::from(errno),
            Self::Trace(message) => 0x7ff0_0000 | u32::from(message),
            Self::Notify => 0x7fc0_0000,
            Self::Log => 0x7ffc_0000,
            Self::Allow => ALLOW,
        }
    }
}

/// How an argument is compared, all 64 bits of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Equal.
    Eq(u64),
    /// Not equal.
    Ne(u64),
    /// Less.
    Lt(u64),
    /// Less or equal.
    Le(u64),
    /// Greater.
    Gt(u64),
    /// Greater or equal.
    Ge(u64),
    /// Equal to the second in the bits of the first.
    Masked(u64, u64),
}

/// An answer under conditions, which must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Argument, 0 to 5, and comparison.
    pub conditions: Vec<(u8, Compare)>,
    /// The answer.
    pub answer: Answer,
}

/// An entry into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// x86-64; the numbers of x32 are answered ENOSYS.
    X86_64,
    /// i386.
    I386,
    /// arm64.
    Aarch64,
}

impl Entry {
    /// The number of the architecture (linux/audit.h).
    pub fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
        }
    }
}

/// The rules of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which.
    pub entry: Entry,
    /// By number, ascending, each once; the first rule that fits answers.
    pub calls: Vec<(u32, Vec<Rule>)>,
    /// What answers when none fits.
    pub default: Answer,
    /// From this number on, the answer is ENOSYS.
    pub newer: Option<u32>,
}

/// SECCOMP_FILTER_FLAG_* that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// Log what is not allowed.
    pub log: bool,
    /// No mitigation against speculative reads of memory.
    pub spec_allow: bool,
    /// All threads.
    pub tsync: bool,
}

/// Why rules make no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// More instructions than the kernel takes.
    #[error("the filter has {0} instructions or more, and the kernel takes 4096")]
    Instructions(usize),
    /// A table out of order, at this number.
    #[error("call {0} is not in order")]
    Order(u32),
}

type Code = Vec<libc::sock_filter>;

/// What is answered to a call: at once, or after tests.
type Leaf<'a> = (&'a [Rule], Answer);

impl Filter {
    /// The filter of rules. An entry that no table is for ends the process.
    pub fn from_rules(tables: &[Table], flags: Flags) -> Result<Self, Unfit> {
        let mut code: Code = vec![op(LOAD, ARCH, 0, 0)];
        for table in tables {
            let part = part(table)?;
            // Past this table's part, which no conditional jump may reach.
            code.push(op(EQUAL, table.entry.audit(), 1, 0));
            code.push(op(JUMP, part.len() as u32, 0, 0));
            code.extend(part);
        }
        code.push(op(RETURN, KILL, 0, 0));
        if code.len() > MAX_INSTRUCTIONS {
            return Err(Unfit::Instructions(code.len()));
        }
        let flags =
            u32::from(flags.tsync) | u32::from(flags.log) << 1 | u32::from(flags.spec_allow) << 2;
        Ok(Self(code, flags))
    }

    /// How many instructions it has.
    pub fn instructions(&self) -> usize {
        self.0.len()
    }
}

fn part(table: &Table) -> Result<Code, Unfit> {
    let mut code = vec![op(LOAD, NUMBER, 0, 0)];
    let enosys = Answer::Errno(libc::ENOSYS as u16);
    let end = match table.entry {
        Entry::X86_64 => Some(0x4000_0000),
        _ => None,
    };
    let end = [end, table.newer].into_iter().flatten().min();
    if let Some(end) = end {
        code.push(op(AT_LEAST, end, 0, 1));
        code.push(op(RETURN, enosys.code(), 0, 0));
    }
    let leaves = leaves(table)?;
    tree(&leaves, &mut code)?;
    Ok(code)
}

/// Where each stretch of numbers that are answered alike begins.
fn leaves(table: &Table) -> Result<Vec<(u32, Leaf<'_>)>, Unfit> {
    let rest: Leaf<'_> = (&[], table.default);
    let mut leaves = vec![(0u32, rest)];
    let mut next = 0u32;
    for (number, rules) in &table.calls {
        if *number < next || *number == u32::MAX {
            return Err(Unfit::Order(*number));
        }
        let leaf: Leaf<'_> = match rules.as_slice() {
            [first, ..] if first.conditions.is_empty() => (&[], first.answer),
            rules => (rules, table.default),
        };
        put(&mut leaves, *number, leaf);
        next = number + 1;
        put(&mut leaves, next, rest);
    }
    Ok(leaves)
}

fn put<'a>(leaves: &mut Vec<(u32, Leaf<'a>)>, from: u32, leaf: Leaf<'a>) {
    // One that begins where the last one does takes its place.
    if leaves.last().is_some_and(|(last, _)| *last == from) {
        leaves.pop();
    }
    if leaves.last().is_none_or(|(_, last)| *last != leaf) {
        leaves.push((from, leaf));
    }
}

/// The tree over stretches in ascending order; the number is in the accumulator.
fn tree(leaves: &[(u32, Leaf<'_>)], code: &mut Code) -> Result<(), Unfit> {
    match leaves {
        [] => code.push(op(RETURN, KILL, 0, 0)),
        [(_, (rules, answer))] => {
            for rule in *rules {
                conditional(rule, code);
            }
            code.push(op(RETURN, answer.code(), 0, 0));
        }
        _ => {
            let (below, above) = leaves.split_at(leaves.len() / 2);
            let Some((from, _)) = above.first() else {
                return Ok(());
            };
            let mut left = Code::new();
            tree(below, &mut left)?;
            match u8::try_from(left.len()) {
                Ok(way) => code.push(op(AT_LEAST, *from, way, 0)),
                Err(_) => {
                    code.push(op(AT_LEAST, *from, 0, 1));
                    code.push(op(JUMP, left.len() as u32, 0, 0));
                }
            }
            code.extend(left);
            tree(above, code)?;
        }
    }
    if code.len() > MAX_INSTRUCTIONS {
        return Err(Unfit::Instructions(code.len()));
    }
    Ok(())
}

/// The tests of a rule and its answer; what does not fit goes on after it.
fn conditional(rule: &Rule, code: &mut Code) {
    let mut tests = Code::new();
    // Jumps that leave the rule, by instruction: whether it is the one for true.
    let mut leaving: Vec<(usize, bool)> = Vec::new();
    for (arg, compare) in &rule.conditions {
        let low = 16 + 8 * u32::from(*arg);
        test(low, *compare, &mut tests, &mut leaving);
    }
    tests.push(op(RETURN, rule.answer.code(), 0, 0));
    let end = tests.len();
    for (at, if_true) in leaving {
        // At most 16 conditions of 5 instructions: it fits. Were it not so, the process would be ended.
        let way = u8::try_from(end - at - 1);
        if let Some(jump) = tests.get_mut(at) {
            match way {
                Ok(way) if if_true => jump.jt = way,
                Ok(way) => jump.jf = way,
                Err(_) => *jump = op(RETURN, KILL, 0, 0),
            }
        }
    }
    code.extend(tests);
}

/// One comparison: goes on after itself when it holds, else leaves.
fn test(low: u32, compare: Compare, code: &mut Code, leaving: &mut Vec<(usize, bool)>) {
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let mut jump = |code: &mut Code, instruction: libc::sock_filter, leave: Option<bool>| {
        if let Some(if_true) = leave {
            leaving.push((code.len(), if_true));
        }
        code.push(instruction);
    };
    let load = |at| op(LOAD, at, 0, 0);
    // Of a comparison by size: whether the low half may be equal, and whether it is meant or its opposite.
    let by_size =
        |value: u64,
         or_equal: bool,
         opposite: bool,
         code: &mut Code,
         jump: &mut dyn FnMut(&mut Code, libc::sock_filter, Option<bool>)| {
            let (high, lower) = halves(value);
            let code_low = if or_equal { AT_LEAST } else { GREATER };
            code.push(load(low + 4));
            if opposite {
                // Greater in the high half leaves; less holds.
                jump(code, op(GREATER, high, 0, 0), Some(true));
                code.push(op(EQUAL, high, 0, 2));
                code.push(load(low));
                jump(code, op(code_low, lower, 0, 0), Some(true));
            } else {
                code.push(op(GREATER, high, 3, 0));
                jump(code, op(EQUAL, high, 0, 0), Some(false));
                code.push(load(low));
                jump(code, op(code_low, lower, 0, 0), Some(false));
            }
        };
    match compare {
        Compare::Eq(value) => {
            let (high, lower) = halves(value);
            code.push(load(low + 4));
            jump(code, op(EQUAL, high, 0, 0), Some(false));
            code.push(load(low));
            jump(code, op(EQUAL, lower, 0, 0), Some(false));
        }
        Compare::Ne(value) => {
            let (high, lower) = halves(value);
            code.push(load(low + 4));
            code.push(op(EQUAL, high, 0, 2));
            code.push(load(low));
            jump(code, op(EQUAL, lower, 0, 0), Some(true));
        }
        Compare::Masked(mask, value) => {
            let ((mask_high, mask_low), (high, lower)) = (halves(mask), halves(value & mask));
            code.push(load(low + 4));
            code.push(op(AND, mask_high, 0, 0));
            jump(code, op(EQUAL, high, 0, 0), Some(false));
            code.push(load(low));
            code.push(op(AND, mask_low, 0, 0));
            jump(code, op(EQUAL, lower, 0, 0), Some(false));
        }
        Compare::Gt(value) => by_size(value, false, false, code, &mut jump),
        Compare::Ge(value) => by_size(value, true, false, code, &mut jump),
        Compare::Le(value) => by_size(value, false, true, code, &mut jump),
        Compare::Lt(value) => by_size(value, true, true, code, &mut jump),
    }
}

#[cfg(test)]
mod tests;
