//! Identifier maps (user_namespaces(7)) as unshare(1) composes them.

use std::fmt;

/// Whose identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Users'.
    Users,
    /// Groups'.
    Groups,
}

impl Which {
    /// The file of the user's subordinate identifiers (subuid(5), subgid(5)).
    pub const fn subordinate(self) -> &'static str {
        match self {
            Self::Users => "/etc/subuid",
            Self::Groups => "/etc/subgid",
        }
    }

    /// The map's name in `/proc/PID`.
    pub const fn map(self) -> &'static str {
        match self {
            Self::Users => "uid_map",
            Self::Groups => "gid_map",
        }
    }

    /// The caller's own map.
    pub const fn own_map(self) -> &'static str {
        match self {
            Self::Users => "/proc/self/uid_map",
            Self::Groups => "/proc/self/gid_map",
        }
    }

    /// The set-user-id program that writes the map for those who may not.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Users => "newuidmap",
            Self::Groups => "newgidmap",
        }
    }
}

/// `count` identifiers: from `inside` on they are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First inside.
    pub inside: u32,
    /// First outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.count)
    }
}

/// A block of identifiers that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The user's first subordinate block, from 0 on inside.
    Auto,
    /// The user's first subordinate block, with the numbers it has outside.
    Subids,
    /// All that the caller has.
    All,
    /// This one.
    Range(IdRange),
}

impl Choice {
    /// As `--map-users` takes it: `auto`, `subids`, `all`, `INNER:OUTER:COUNT`, or the older `OUTER,INNER,COUNT`.
    /// Numbers are digits and fit in 32 bits.
    pub fn parse(text: &str) -> Option<Self> {
        let three = |separator: char| {
            let mut numbers = text.split(separator).map(parse_id);
            let three = (numbers.next()??, numbers.next()??, numbers.next()??);
            numbers.next().is_none().then_some(three)
        };
        match text {
            "auto" => Some(Self::Auto),
            "subids" => Some(Self::Subids),
            "all" => Some(Self::All),
            _ => three(':')
                .or_else(|| three(',').map(|(outside, inside, count)| (inside, outside, count)))
                .map(|(inside, outside, count)| {
                    Self::Range(IdRange {
                        inside,
                        outside,
                        count,
                    })
                }),
        }
    }
}

/// An identifier in decimal digits: no sign, no space, nothing that wraps round.
pub fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// What the host says, as far as the choices need it. An errno where a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MapFacts {
    /// The caller's name.
    pub user: Option<String>,
    /// The text of [`Which::subordinate`].
    pub subordinate: Option<Result<Vec<u8>, i32>>,
    /// The text of [`Which::own_map`].
    pub own: Option<Result<Vec<u8>, i32>>,
}

/// There is no such map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The caller has no line in passwd(5).
    #[error("user {0} does not exist")]
    NoUser(u32),
    /// A file could not be read.
    #[error("cannot read {file} (errno {errno})")]
    Unreadable {
        /// Which.
        file: &'static str,
        /// What the kernel said.
        errno: i32,
    },
    /// The caller has no subordinate identifiers.
    #[error("no line for user {user} in {file}")]
    NoLine {
        /// The caller.
        user: String,
        /// Where it would be.
        file: &'static str,
    },
    /// A line of the caller is damaged.
    #[error("a number of the caller's line is none: {text}")]
    Damaged {
        /// What is no number.
        text: String,
    },
    /// It is longer than the kernel takes.
    #[error("the map of {0:?} is too large")]
    TooLarge(Which),
}

/// The most that the kernel takes of a map (user_namespaces(7): less than a page).
const MAP_LIMIT: usize = 4096;

/// A block whose place inside may be open.
struct Block {
    inside: Option<u32>,
    outside: u32,
    count: u32,
}

/// The ranges of the choices in their order, first the `single` one, `(inside, outside)`, around which they are cut
/// so that nothing is mapped twice: what would overlap moves up by one, and the topmost identifier is lost when the
/// single one lies in, or at the end of, a block whose place was given.
pub fn compose(
    which: Which,
    choices: &[Choice],
    single: Option<(u32, u32)>,
    uid: u32,
    facts: &MapFacts,
) -> Result<Vec<IdRange>, MapError> {
    let mut ranges = Vec::new();
    if let Some((inside, outside)) = single {
        ranges.push(IdRange {
            inside,
            outside,
            count: 1,
        });
    }
    for choice in choices {
        for block in blocks(which, *choice, uid, facts)? {
            ranges.extend(cut(&block, single));
        }
    }
    let length: usize = ranges
        .iter()
        .map(|r| format!("{} {} {}\n", r.inside, r.outside, r.count).len())
        .sum();
    if length > MAP_LIMIT {
        return Err(MapError::TooLarge(which));
    }
    Ok(ranges)
}

fn blocks(
    which: Which,
    choice: Choice,
    uid: u32,
    facts: &MapFacts,
) -> Result<Vec<Block>, MapError> {
    match choice {
        Choice::Range(range) => Ok(vec![Block {
            inside: Some(range.inside),
            outside: range.outside,
            count: range.count,
        }]),
        Choice::Auto => {
            let (outside, count) = subordinate(which, uid, facts)?;
            Ok(vec![Block {
                inside: None,
                outside,
                count,
            }])
        }
        Choice::Subids => {
            let (outside, count) = subordinate(which, uid, facts)?;
            Ok(vec![Block {
                inside: Some(outside),
                outside,
                count,
            }])
        }
        Choice::All => own(which, facts),
    }
}

fn text<'a>(
    file: &'static str,
    read: Option<&'a Result<Vec<u8>, i32>>,
) -> Result<&'a [u8], MapError> {
    match read {
        Some(Ok(text)) => Ok(text),
        Some(Err(errno)) => Err(MapError::Unreadable {
            file,
            errno: *errno,
        }),
        None => Ok(&[]),
    }
}

/// The first line that is the caller's, by name or by number. A name that is no number is not user 0's.
fn subordinate(which: Which, uid: u32, facts: &MapFacts) -> Result<(u32, u32), MapError> {
    let user = facts.user.as_deref().ok_or(MapError::NoUser(uid))?;
    let file = which.subordinate();
    let text = String::from_utf8_lossy(text(file, facts.subordinate.as_ref())?);
    let mut lines = text.lines().filter_map(|line| {
        let (owner, rest) = line.split_once(':')?;
        let own = owner == user || parse_id(owner) == Some(uid);
        own.then(|| rest.split_once(':')).flatten()
    });
    let number = |text: &str| {
        parse_id(text).ok_or_else(|| MapError::Damaged {
            text: text.to_owned(),
        })
    };
    match lines.next() {
        Some((first, count)) => Ok((number(first)?, number(count)?)),
        None => Err(MapError::NoLine {
            user: user.to_owned(),
            file,
        }),
    }
}

fn own(which: Which, facts: &MapFacts) -> Result<Vec<Block>, MapError> {
    let text = String::from_utf8_lossy(text(which.own_map(), facts.own.as_ref())?);
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(parse_id);
        let (first, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(Block {
            inside: Some(first),
            outside: first,
            count,
        })
    };
    Ok(text.lines().filter_map(line).collect())
}

/// A block without what the single mapping takes, in at most three pieces.
fn cut(block: &Block, single: Option<(u32, u32)>) -> Vec<IdRange> {
    let (inside, outside) = (
        u64::from(block.inside.unwrap_or(0)),
        u64::from(block.outside),
    );
    let mut count = u64::from(block.count);
    let range = |inside: u64, outside: u64, count: u64| {
        let number = |n: u64| u32::try_from(n).ok();
        Some(IdRange {
            inside: number(inside)?,
            outside: number(outside)?,
            count: number(count).filter(|count| *count > 0)?,
        })
    };
    let Some((one_inside, one_outside)) = single else {
        return range(inside, outside, count).into_iter().collect();
    };
    let (one_inside, one_outside) = (u64::from(one_inside), u64::from(one_outside));
    let touches = |first: u64, one: u64| (first..=first + count).contains(&one);
    if block.inside.is_some() && (touches(inside, one_inside) || touches(outside, one_outside)) {
        count = count.saturating_sub(1);
    }
    // How far into the block the single identifier lies on either side: there that side skips one.
    let at_inside = one_inside.saturating_sub(inside).min(count);
    let at_outside = one_outside.saturating_sub(outside).min(count);
    let mut pieces = Vec::new();
    let (mut next_inside, mut next_outside) = (inside, outside);
    for end in [at_inside.min(at_outside), at_inside.max(at_outside), count] {
        next_inside += u64::from(next_inside == one_inside);
        next_outside += u64::from(next_outside == one_outside);
        let done: u64 = pieces.iter().map(|(_, _, count)| count).sum();
        let length = end - done;
        pieces.push((next_inside, next_outside, length));
        next_inside += length;
        next_outside += length;
    }
    pieces
        .into_iter()
        .filter_map(|(inside, outside, count)| range(inside, outside, count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(subordinate: &str, own: &str) -> MapFacts {
        MapFacts {
            user: Some("ana".into()),
            subordinate: Some(Ok(subordinate.into())),
            own: Some(Ok(own.into())),
        }
    }

    /// The composed map of user 1000 as a line.
    fn map(choices: &[&str], single: Option<(u32, u32)>) -> String {
        let choices: Vec<_> = choices
            .iter()
            .map(|text| Choice::parse(text).unwrap())
            .collect();
        let facts = facts(
            "bob:1:2\nana:100000:65536\nana:5:5\n",
            "         0          7 10\n 20 0 5\n",
        );
        let ranges = compose(Which::Users, &choices, single, 1000, &facts).unwrap();
        let texts: Vec<_> = ranges.iter().map(IdRange::to_string).collect();
        texts.join(" ")
    }

    #[test]
    fn both_orders_of_a_range_mean_the_same() {
        assert_eq!(Choice::parse("0:100:5"), Choice::parse("100,0,5"));
        for wrong in [
            "",
            "1",
            "1:2",
            "1:2:3:4",
            "1,2",
            "1,2:3",
            "a:1:1",
            "-1:0:1",
            "+1:0:1",
            " 1:0:1",
            "4294967296:0:1",
            "1:2:",
            "::",
            "AUTO",
        ] {
            assert_eq!(Choice::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn blocks_are_cut_around_the_single_identifier() {
        assert_eq!(map(&["auto"], None), "0:100000:65536");
        assert_eq!(map(&["auto"], Some((0, 1000))), "0:1000:1 1:100000:65536");
        assert_eq!(
            map(&["auto"], Some((1000, 1000))),
            "1000:1000:1 0:100000:1000 1001:101000:64536"
        );
        assert_eq!(map(&["subids"], None), "100000:100000:65536");
        assert_eq!(map(&["all"], None), "0:0:10 20:20:5");
        assert_eq!(map(&["0:100:10"], Some((0, 1000))), "0:1000:1 1:100:9");
        // The single one lies inside on both sides, at different places.
        assert_eq!(
            map(&["0:1000:10"], Some((5, 1002))),
            "5:1002:1 0:1000:2 2:1003:3 6:1006:4"
        );
        assert_eq!(
            map(&["0:1:1", "5:100:2"], Some((9, 1000))),
            "9:1000:1 0:1:1 5:100:2"
        );
    }

    #[test]
    fn nothing_is_mapped_twice_and_nothing_out_of_range() {
        for inside in 0..14_u32 {
            for outside in 95..114_u32 {
                let block = Choice::Range(IdRange {
                    inside: 2,
                    outside: 100,
                    count: 8,
                });
                let single = Some((inside, outside));
                let map = compose(Which::Users, &[block], single, 0, &MapFacts::default()).unwrap();
                let ids = |side: fn(&IdRange) -> u32| {
                    let each = |r: &IdRange| side(r)..side(r) + r.count;
                    let mut all: Vec<_> = map.iter().flat_map(each).collect();
                    all.sort_unstable();
                    let before = all.len();
                    all.dedup();
                    assert_eq!(before, all.len(), "{map:?}");
                };
                ids(|r| r.inside);
                ids(|r| r.outside);
            }
        }
        let top = Choice::Range(IdRange {
            inside: u32::MAX,
            outside: 0,
            count: u32::MAX,
        });
        assert!(compose(Which::Users, &[top], Some((0, 0)), 0, &MapFacts::default()).is_ok());
    }

    #[test]
    fn the_line_is_the_callers_own() {
        let of = |text: &str, user: &str, uid: u32| {
            let facts = MapFacts {
                user: Some(user.into()),
                subordinate: Some(Ok(text.into())),
                own: None,
            };
            subordinate(Which::Groups, uid, &facts)
        };
        assert_eq!(of("1000:7:3\n", "ana", 1000), Ok((7, 3)));
        // A name is not the number 0.
        let none = of("bob:7:3\n", "root", 0).unwrap_err();
        assert_eq!(none.to_string(), "no line for user root in /etc/subgid");
        assert!(of("ana:x:3\n", "ana", 1000).is_err());
        assert!(of("ana:-7:3\n", "ana", 1000).is_err());
        assert!(of("", "ana", 1000).is_err());
        let nobody = MapFacts::default();
        assert_eq!(
            subordinate(Which::Users, 5, &nobody),
            Err(MapError::NoUser(5))
        );
    }

    #[test]
    fn a_map_longer_than_the_kernel_takes_is_refused() {
        let many: Vec<_> = (0..400)
            .map(|n| {
                Choice::Range(IdRange {
                    inside: n * 10,
                    outside: 1_000_000 + n * 10,
                    count: 10,
                })
            })
            .collect();
        assert_eq!(
            compose(Which::Users, &many, None, 0, &MapFacts::default()),
            Err(MapError::TooLarge(Which::Users))
        );
    }
}
