use super::*;

/// A generator of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One that is likely near another: halves of few values.
    fn value(&mut self) -> u64 {
        const HALVES: [u64; 6] = [0, 1, 2, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff];
        let mut half = || HALVES.get(self.below(6) as usize).copied().unwrap_or(0);
        half() << 32 | half()
    }

    fn answer(&mut self) -> Answer {
        match self.below(7) {
            0 => Answer::KillProcess,
            1 => Answer::KillThread,
            2 => Answer::Trap,
            3 => Answer::Errno(self.below(100) as u16),
            4 => Answer::Trace(self.below(100) as u16),
            5 => Answer::Log,
            _ => Answer::Allow,
        }
    }

    fn compare(&mut self) -> Compare {
        let value = self.value();
        match self.below(7) {
            0 => Compare::Eq(value),
            1 => Compare::Ne(value),
            2 => Compare::Lt(value),
            3 => Compare::Le(value),
            4 => Compare::Gt(value),
            5 => Compare::Ge(value),
            _ => Compare::Masked(self.value(), value),
        }
    }

    fn rules(&mut self) -> Vec<Rule> {
        let rule = |this: &mut Self| Rule {
            conditions: (0..this.below(4))
                .map(|_| (this.below(6) as u8, this.compare()))
                .collect(),
            answer: this.answer(),
        };
        (0..1 + self.below(4)).map(|_| rule(self)).collect()
    }

    fn table(&mut self, entry: Entry, calls: u64) -> Table {
        let mut numbers: Vec<u32> = (0..calls).map(|_| self.below(500) as u32).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Table {
            entry,
            calls: numbers
                .into_iter()
                .map(|number| (number, self.rules()))
                .collect(),
            default: self.answer(),
            newer: (self.below(2) == 0).then(|| 300 + self.below(300) as u32),
        }
    }
}

/// The meaning of rules, said without a program.
fn meant(table: &Table, number: u32, args: [u64; 6]) -> u32 {
    let enosys = Answer::Errno(38).code();
    if table.newer.is_some_and(|from| number >= from)
        || table.entry == Entry::X86_64 && number >= 0x4000_0000
    {
        return enosys;
    }
    let holds = |(arg, compare): &(u8, Compare)| {
        let arg = args[usize::from(*arg)];
        match *compare {
            Compare::Eq(value) => arg == value,
            Compare::Ne(value) => arg != value,
            Compare::Lt(value) => arg < value,
            Compare::Le(value) => arg <= value,
            Compare::Gt(value) => arg > value,
            Compare::Ge(value) => arg >= value,
            Compare::Masked(mask, value) => arg & mask == value & mask,
        }
    };
    let rules = table.calls.iter().find(|(known, _)| *known == number);
    let rule =
        rules.and_then(|(_, rules)| rules.iter().find(|rule| rule.conditions.iter().all(holds)));
    rule.map_or(table.default, |rule| rule.answer).code()
}

#[test]
fn a_program_answers_what_its_rules_mean() {
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let (mut longest, mut asked) = (0, 0);
    for round in 0..60 {
        let calls = [0, 1, 5, 40, 120][round % 5];
        let tables = [
            numbers.table(Entry::X86_64, calls),
            numbers.table(Entry::I386, calls / 2),
        ];
        let filter = Filter::from_rules(&tables, Flags::default()).unwrap();
        longest = longest.max(filter.instructions());
        for table in &tables {
            let edges = [
                0x3fff_ffff,
                0x4000_0000,
                0x4000_0001,
                0x7fff_ffff,
                u32::MAX - 1,
                u32::MAX,
            ];
            for number in (0..600).chain(edges) {
                for _ in 0..12 {
                    let args = [(); 6].map(|()| numbers.value());
                    let found = filter.answer(table.entry.audit(), number, args);
                    assert_eq!(
                        found,
                        Some(meant(table, number, args)),
                        "{number} {args:x?} {table:?}"
                    );
                    asked += 1;
                }
            }
        }
        // An entry that there are no rules for.
        assert_eq!(filter.answer(Entry::Aarch64.audit(), 1, [0; 6]), Some(KILL));
    }
    // Long enough that jumps do not reach over a half.
    assert!(longest > 1500 && asked > 500_000, "{longest} {asked}");
}

#[test]
fn every_comparison_at_every_edge() {
    let values = [
        0,
        1,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0001,
        0x7fff_ffff_ffff_ffff,
        u64::MAX - 1,
        u64::MAX,
    ];
    for value in values {
        let list = [
            Compare::Eq(value),
            Compare::Ne(value),
            Compare::Lt(value),
            Compare::Le(value),
            Compare::Gt(value),
            Compare::Ge(value),
            Compare::Masked(0xffff_0000_ffff, value),
            Compare::Masked(0, value),
            Compare::Masked(u64::MAX, value),
        ];
        for compare in list {
            for arg in 0..6u8 {
                let table = Table {
                    entry: Entry::X86_64,
                    calls: vec![(
                        7,
                        vec![Rule {
                            conditions: vec![(arg, compare)],
                            answer: Answer::Trap,
                        }],
                    )],
                    default: Answer::Allow,
                    newer: None,
                };
                let filter =
                    Filter::from_rules(std::slice::from_ref(&table), Flags::default()).unwrap();
                let near = values
                    .iter()
                    .flat_map(|v| [v.wrapping_sub(1), *v, v.wrapping_add(1)]);
                for asked in near {
                    let mut args = [0x55; 6];
                    args[usize::from(arg)] = asked;
                    let found = filter.answer(table.entry.audit(), 7, args);
                    assert_eq!(
                        found,
                        Some(meant(&table, 7, args)),
                        "{compare:x?} {asked:x}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_the_kernel_would_not_take_is_told() {
    let rule = |n: u64| Rule {
        conditions: vec![(0, Compare::Eq(n)), (1, Compare::Eq(n))],
        answer: Answer::Trap,
    };
    let mut table = Table {
        entry: Entry::X86_64,
        calls: (0..100)
            .map(|number| {
                (
                    number,
                    (0..20).map(|n| rule(n + u64::from(number))).collect(),
                )
            })
            .collect(),
        default: Answer::Allow,
        newer: None,
    };
    let long = Filter::from_rules(std::slice::from_ref(&table), Flags::default());
    assert!(
        matches!(long, Err(Unfit::Instructions(4097..))),
        "{:?}",
        long.map(|f| f.instructions())
    );
    table.calls = vec![(5, vec![rule(0)]), (5, vec![rule(1)])];
    let order = Filter::from_rules(std::slice::from_ref(&table), Flags::default());
    assert_eq!(order.err(), Some(Unfit::Order(5)));
}
