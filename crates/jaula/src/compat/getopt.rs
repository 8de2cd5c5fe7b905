//! Options as getopt_long(3) of the GNU C library reads them, with its messages: the old tools' users and scripts
//! count on abbreviations (`--map-r`), attached arguments (`-S0`, `--wd=/`), clusters (`-Urm`), and on where reading
//! stops.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What an option wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// No argument.
    Nothing,
    /// An argument, attached or the next word.
    Required,
    /// An argument when one is attached: `-mFILE`, `--mount=FILE`; never the next word.
    Optional,
}

/// One option of a tool's table.
#[derive(Debug, Clone, Copy)]
pub struct Opt<T> {
    /// Its letter.
    pub short: Option<u8>,
    /// Its long name, without dashes.
    pub long: Option<&'static str>,
    /// What it wants.
    pub takes: Takes,
    /// What it is for the tool. Two names with the same key and the same wants are one option, as for getopt.
    pub key: T,
}

/// An option with a letter and a long name.
pub const fn both<T: Copy>(short: u8, long: &'static str, takes: Takes, key: T) -> Opt<T> {
    Opt {
        short: Some(short),
        long: Some(long),
        takes,
        key,
    }
}

/// An option with a long name only.
pub const fn long<T: Copy>(long: &'static str, takes: Takes, key: T) -> Opt<T> {
    Opt {
        short: None,
        long: Some(long),
        takes,
        key,
    }
}

/// An option with a letter only.
pub const fn short<T: Copy>(short: u8, takes: Takes, key: T) -> Opt<T> {
    Opt {
        short: Some(short),
        long: None,
        takes,
        key,
    }
}

/// Where options may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Before the first word that is none (`+` in getopt's string): the rest is a program and its arguments.
    First,
    /// Anywhere before `--`.
    Anywhere,
}

/// Words that make no sense. Its text is what getopt says after the program's name and a colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Complaint {
    /// A long option that the tool has not, as written.
    Unrecognized(OsString),
    /// A letter that the tool has not.
    Invalid(u8),
    /// An abbreviation of several, as written, and what it could be.
    Ambiguous(OsString, Vec<&'static str>),
    /// A long option without its argument.
    LongWants(&'static str),
    /// A letter without its argument.
    ShortWants(u8),
    /// A long option with an argument that it does not take.
    Refuses(&'static str),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrecognized(word) => write!(f, "unrecognized option '--{}'", word.display()),
            Self::Invalid(letter) => write!(f, "invalid option -- '{}'", char::from(*letter)),
            Self::Ambiguous(word, names) => {
                write!(
                    f,
                    "option '--{}' is ambiguous; possibilities:",
                    word.display()
                )?;
                names.iter().try_for_each(|name| write!(f, " '--{name}'"))
            }
            Self::LongWants(name) => write!(f, "option '--{name}' requires an argument"),
            Self::ShortWants(letter) => {
                write!(
                    f,
                    "option requires an argument -- '{}'",
                    char::from(*letter)
                )
            }
            Self::Refuses(name) => write!(f, "option '--{name}' doesn't allow an argument"),
        }
    }
}

/// An option as it was met, with its argument.
pub type Met<T> = (T, Option<OsString>);

/// Reads words one option at a time. After a complaint the tools stop; reading on is possible.
#[derive(Debug)]
pub struct Reader<'a, T> {
    table: &'a [Opt<T>],
    order: Order,
    words: &'a [OsString],
    /// What is left of a cluster of letters.
    letters: &'a [u8],
    operands: Vec<OsString>,
}

impl<'a, T: Copy + PartialEq> Reader<'a, T> {
    /// For the words after the program's name.
    pub fn new(words: &'a [OsString], table: &'a [Opt<T>], order: Order) -> Self {
        Self {
            table,
            order,
            words,
            letters: &[],
            operands: Vec::new(),
        }
    }

    /// The words that are no options, in their order; to be asked for when there is no option left.
    pub fn operands(mut self) -> Vec<OsString> {
        self.operands.extend_from_slice(self.words);
        self.operands
    }

    fn letter(&mut self, letter: u8, rest: &'a [u8]) -> Result<Met<T>, Complaint> {
        self.letters = rest;
        let known = self.table.iter().find(|opt| opt.short == Some(letter));
        // Both are part of getopt's own language and never options.
        let Some(opt) = known.filter(|_| !matches!(letter, b':' | b';')) else {
            return Err(Complaint::Invalid(letter));
        };
        let argument = match opt.takes {
            Takes::Nothing => None,
            Takes::Required | Takes::Optional if !rest.is_empty() => {
                self.letters = &[];
                Some(OsString::from_vec(rest.to_vec()))
            }
            Takes::Optional => None,
            Takes::Required => Some(self.word().ok_or(Complaint::ShortWants(letter))?),
        };
        Ok((opt.key, argument))
    }

    fn long(&mut self, written: &[u8]) -> Result<Met<T>, Complaint> {
        let equals = written.iter().position(|byte| *byte == b'=');
        let (name, attached) = match equals.and_then(|at| written.split_at_checked(at)) {
            Some((name, value)) => (name, value.get(1..)),
            None => (written, None),
        };
        let (opt, full) = self.named(name, written)?;
        let argument = match (opt.takes, attached) {
            (Takes::Nothing, Some(_)) => return Err(Complaint::Refuses(full)),
            (Takes::Nothing | Takes::Optional, None) => None,
            (Takes::Required | Takes::Optional, Some(value)) => {
                Some(OsString::from_vec(value.to_vec()))
            }
            (Takes::Required, None) => Some(self.word().ok_or(Complaint::LongWants(full))?),
        };
        Ok((opt.key, argument))
    }

    /// The option of this name, or the only one that begins so.
    fn named(&self, name: &[u8], written: &[u8]) -> Result<(&'a Opt<T>, &'static str), Complaint> {
        let named = self.table.iter().filter_map(|opt| Some((opt, opt.long?)));
        if let Some(exact) = named.clone().find(|(_, long)| long.as_bytes() == name) {
            return Ok(exact);
        }
        let mut begins = named.filter(|(_, long)| long.as_bytes().starts_with(name));
        let word = || OsStr::from_bytes(written).to_owned();
        let first = begins
            .next()
            .ok_or_else(|| Complaint::Unrecognized(word()))?;
        let others = begins.filter(|(opt, _)| (opt.takes, opt.key) != (first.0.takes, first.0.key));
        let others: Vec<_> = others.map(|(_, long)| long).collect();
        if others.is_empty() {
            return Ok(first);
        }
        let names = std::iter::once(first.1).chain(others).collect();
        Err(Complaint::Ambiguous(word(), names))
    }

    fn word(&mut self) -> Option<OsString> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first.clone())
    }
}

impl<'a, T: Copy + PartialEq> Iterator for Reader<'a, T> {
    type Item = Result<Met<T>, Complaint>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((letter, rest)) = self.letters.split_first() {
            return Some(self.letter(*letter, rest));
        }
        loop {
            let (word, rest) = self.words.split_first()?;
            let bytes = word.as_bytes();
            match bytes {
                b"--" => {
                    self.words = rest;
                    let after = std::mem::take(&mut self.words);
                    self.operands.extend_from_slice(after);
                    return None;
                }
                [b'-', b'-', written @ ..] => {
                    self.words = rest;
                    return Some(self.long(written));
                }
                [b'-', letter, letters @ ..] => {
                    self.words = rest;
                    return Some(self.letter(*letter, letters));
                }
                _ if self.order == Order::First => return None,
                _ => {
                    self.words = rest;
                    self.operands.push(word.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Opt<char>] = &[
        both(b'h', "help", Takes::Nothing, 'h'),
        both(b'm', "mount", Takes::Optional, 'm'),
        long("mount-proc", Takes::Optional, 'P'),
        long("map-user", Takes::Required, 'u'),
        long("map-users", Takes::Required, 'U'),
        long("map-root-user", Takes::Nothing, 'r'),
        short(b'r', Takes::Nothing, 'r'),
        both(b'S', "setuid", Takes::Required, 'S'),
        long("colour", Takes::Optional, 'c'),
        long("color", Takes::Optional, 'c'),
    ];

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ')
            .filter(|w| !w.is_empty())
            .map(OsString::from)
            .collect()
    }

    /// The options met, `k` or `k=argument`, complaints in brackets, then the operands after a bar.
    fn read(line: &str, order: Order) -> String {
        let words = words(line);
        let mut reader = Reader::new(&words, TABLE, order);
        let mut said = Vec::new();
        for met in &mut reader {
            said.push(match met {
                Ok((key, None)) => key.to_string(),
                Ok((key, Some(argument))) => format!("{key}={}", argument.display()),
                Err(complaint) => format!("[{complaint}]"),
            });
        }
        let operands = reader.operands();
        said.push("|".into());
        said.extend(operands.iter().map(|o| o.display().to_string()));
        said.join(" ")
    }

    #[test]
    fn letters_cluster_and_take_what_is_attached() {
        assert_eq!(read("-rm -S0 -S 1", Order::First), "r m S=0 S=1 |");
        assert_eq!(read("-rm/f -rSx", Order::First), "r m=/f r S=x |");
        // Optional arguments are never the next word.
        assert_eq!(read("-m /f", Order::First), "m | /f");
    }

    #[test]
    fn long_options_may_be_abbreviated() {
        assert_eq!(
            read("--map-r --set=4 --set 5 --mount=x", Order::First),
            "r S=4 S=5 m=x |"
        );
        // An exact name wins over those it begins.
        assert_eq!(read("--map-user 3 --mount y", Order::First), "u=3 m | y");
        // Two spellings of one option are not ambiguous.
        assert_eq!(read("--colo=a", Order::First), "c=a |");
        assert_eq!(
            read("--map=x", Order::First),
            "[option '--map=x' is ambiguous; possibilities: '--map-user' '--map-users' '--map-root-user'] |"
        );
    }

    #[test]
    fn complaints_are_the_c_librarys() {
        let cases = [
            ("--x=1", "[unrecognized option '--x=1'] |"),
            ("-x", "[invalid option -- 'x'] |"),
            ("-rxm", "r [invalid option -- 'x'] m |"),
            ("-S", "[option requires an argument -- 'S'] |"),
            ("--setu", "[option '--setuid' requires an argument] |"),
            ("--hel=1", "[option '--help' doesn't allow an argument] |"),
            ("-:", "[invalid option -- ':'] |"),
        ];
        for (line, said) in cases {
            assert_eq!(read(line, Order::First), said, "{line}");
        }
    }

    #[test]
    fn reading_stops_where_the_tool_says() {
        assert_eq!(read("-r sh -c -m", Order::First), "r | sh -c -m");
        assert_eq!(read("-r -- -m", Order::First), "r | -m");
        assert_eq!(read("-r - -m", Order::First), "r | - -m");
        assert_eq!(read("a -r b -- -m c", Order::Anywhere), "r | a b -m c");
        assert_eq!(read("-S -- -r", Order::First), "S=-- r |");
        assert_eq!(read("", Order::First), "|");
    }
}
