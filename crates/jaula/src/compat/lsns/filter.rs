//! Filters of rows: the language of scols-filter(5).

mod lex;
mod regular;

use lex::Token;
use regular::Regular;

/// A filter has no more parts: more are a mistake.
const PARTS: usize = 1000;
/// Nor more levels of parentheses and negations.
const DEPTH: usize = 200;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Number,
    Float,
    Truth,
}

/// A value; none where the cell is empty.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(Option<String>),
    Number(Option<u64>),
    Float(Option<f64>),
    Truth(Option<bool>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Debug)]
enum Node {
    Value(Value),
    /// A column, by its place in [`Filter::names`].
    Column(usize),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Compare(Order, Box<Node>, Box<Node>),
    Matches(bool, Box<Node>, Regular),
}

/// A filter.
#[derive(Debug)]
pub struct Filter {
    root: Node,
    /// The columns it names, as typed.
    pub names: Vec<String>,
}

/// A value that cannot be compared: a text is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incomparable;

/// What a column's cell holds, and whether the column has numbers.
pub type Cell = (Option<Vec<u8>>, bool);

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// What is wrong with it, in the words of the tools.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            tokens: lex::tokens(text)?,
            at: 0,
            names: Vec::new(),
            parts: 0,
        };
        let root = parser.logical(0)?;
        match parser.peek() {
            Token::End => Ok(Self {
                root,
                names: parser.names,
            }),
            other => Err(unexpected(other)),
        }
    }

    /// Whether a row passes; `cell` gives the cell of a named column.
    ///
    /// # Errors
    /// When a cell cannot be read as what it is compared with.
    pub fn passes(&self, cell: &dyn Fn(usize) -> Cell) -> Result<bool, Incomparable> {
        self.root.truth(cell)
    }
}

fn unexpected(token: &Token) -> String {
    format!("syntax error, unexpected {}", token.name())
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    names: Vec<String>,
    parts: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = self.at.saturating_add(1);
        token
    }

    fn part(&mut self, depth: usize) -> Result<(), String> {
        self.parts = self.parts.saturating_add(1);
        if self.parts > PARTS || depth > DEPTH {
            return Err("memory exhausted".to_owned());
        }
        Ok(())
    }

    /// `and` and `or` bind alike, from the left.
    fn logical(&mut self, depth: usize) -> Result<Node, String> {
        let mut left = self.comparison(depth)?;
        loop {
            let and = match self.peek() {
                Token::And => true,
                Token::Or => false,
                _ => return Ok(left),
            };
            self.next();
            self.part(depth)?;
            let right = Box::new(self.comparison(depth)?);
            left = if and {
                Node::And(Box::new(left), right)
            } else {
                Node::Or(Box::new(left), right)
            };
        }
    }

    fn comparison(&mut self, depth: usize) -> Result<Node, String> {
        let mut left = self.unary(depth)?;
        loop {
            let order = match self.peek() {
                Token::Compare(order) => Some(*order),
                Token::Matches(_) => None,
                _ => return Ok(left),
            };
            let operator = self.next();
            self.part(depth)?;
            let right = self.unary(depth)?;
            left = match (order, operator, right) {
                (Some(order), _, right) => Node::Compare(order, Box::new(left), Box::new(right)),
                (None, Token::Matches(wanted), Node::Value(Value::Text(Some(pattern)))) => {
                    Node::Matches(wanted, Box::new(left), Regular::new(&pattern)?)
                }
                // The tool has no words for that.
                _ => return Err("(null)".to_owned()),
            };
        }
    }

    fn unary(&mut self, depth: usize) -> Result<Node, String> {
        self.part(depth)?;
        Ok(match self.next() {
            Token::Not => Node::Not(Box::new(self.unary(depth.saturating_add(1))?)),
            Token::Open => {
                let inner = self.logical(depth.saturating_add(1))?;
                match self.next() {
                    Token::Close => inner,
                    other => return Err(unexpected(&other)),
                }
            }
            Token::Number(number) => Node::Value(Value::Number(Some(number))),
            Token::Float(number) => Node::Value(Value::Float(Some(number))),
            Token::Truth(truth) => Node::Value(Value::Truth(Some(truth))),
            Token::Text(text) => Node::Value(Value::Text(Some(text))),
            Token::Name(name) => {
                let at = self.names.iter().position(|known| *known == name);
                Node::Column(at.unwrap_or_else(|| {
                    self.names.push(name);
                    self.names.len().saturating_sub(1)
                }))
            }
            other => return Err(unexpected(&other)),
        })
    }
}

impl Node {
    fn truth(&self, cell: &dyn Fn(usize) -> Cell) -> Result<bool, Incomparable> {
        Ok(match self {
            Self::Value(value) => value.truth(),
            Self::Column(_) => self.value(cell)?.truth(),
            Self::Not(inner) => !inner.truth(cell)?,
            Self::And(left, right) => left.truth(cell)? && right.truth(cell)?,
            Self::Or(left, right) => left.truth(cell)? || right.truth(cell)?,
            Self::Compare(order, left, right) => {
                let (l, r) = (left.value(cell)?, right.value(cell)?);
                let kind = common(left, &l, right, &r);
                l.cast(kind)?.compare(*order, &r.cast(kind)?)
            }
            Self::Matches(wanted, left, pattern) => {
                let l = left.value(cell)?;
                // The pattern is a text, so the other side becomes one, unless both are columns' own types.
                let Value::Text(text) = l.cast(Type::Text)? else {
                    return Err(Incomparable);
                };
                pattern.matches(&text.unwrap_or_default()) == *wanted
            }
        })
    }

    fn value(&self, cell: &dyn Fn(usize) -> Cell) -> Result<Value, Incomparable> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::Column(at) => {
                let (bytes, number) = cell(*at);
                let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
                let value = Value::Text(text);
                if number {
                    value.cast(Type::Number)
                } else {
                    Ok(value)
                }
            }
            other => Ok(Value::Truth(Some(other.truth(cell)?))),
        }
    }
}

/// The type in which two values are compared: that of what was typed goes before that of a column, and a fraction
/// before a whole number.
fn common(left: &Node, l: &Value, right: &Node, r: &Value) -> Type {
    let (lt, rt) = (l.kind(), r.kind());
    let column = |node: &Node| matches!(node, Node::Column(_));
    let kind = if column(left) && !column(right) {
        rt
    } else {
        lt
    };
    if kind == Type::Number && (lt == Type::Float || rt == Type::Float) {
        return Type::Float;
    }
    kind
}

impl Value {
    fn kind(&self) -> Type {
        match self {
            Self::Text(_) => Type::Text,
            Self::Number(_) => Type::Number,
            Self::Float(_) => Type::Float,
            Self::Truth(_) => Type::Truth,
        }
    }

    fn truth(&self) -> bool {
        match self {
            Self::Text(text) => text.as_ref().is_some_and(|text| !text.is_empty()),
            Self::Number(number) => number.is_some_and(|number| number != 0),
            Self::Float(number) => number.is_some_and(|number| number != 0.0),
            Self::Truth(truth) => truth.unwrap_or(false),
        }
    }

    fn cast(&self, to: Type) -> Result<Self, Incomparable> {
        Ok(match (self, to) {
            (Self::Text(text), Type::Text) => Self::Text(text.clone()),
            (Self::Text(None), Type::Number) => Self::Number(None),
            (Self::Text(Some(text)), Type::Number) => {
                Self::Number(Some(text.parse().map_err(|_| Incomparable)?))
            }
            (Self::Text(None), Type::Float) => Self::Float(None),
            (Self::Text(Some(text)), Type::Float) => {
                Self::Float(Some(text.parse().map_err(|_| Incomparable)?))
            }
            (Self::Text(text), Type::Truth) => Self::Truth(text.as_ref().map(|text| {
                text == "1" || text.eq_ignore_ascii_case("true") || text.starts_with(['y', 'Y'])
            })),
            (Self::Number(number), Type::Text) => {
                Self::Text(number.map(|number| number.to_string()))
            }
            (Self::Number(number), Type::Number) => Self::Number(*number),
            (Self::Number(number), Type::Float) => Self::Float(number.map(|number| number as f64)),
            (Self::Number(number), Type::Truth) => Self::Truth(number.map(|number| number > 0)),
            (Self::Float(number), Type::Text) => {
                Self::Text(number.map(|number| number.to_string()))
            }
            (Self::Float(number), Type::Number) => Self::Number(number.map(|number| number as u64)),
            (Self::Float(number), Type::Float) => Self::Float(*number),
            (Self::Float(number), Type::Truth) => Self::Truth(number.map(|number| number > 0.0)),
            (Self::Truth(truth), Type::Text) => Self::Text(truth.map(|truth| truth.to_string())),
            (Self::Truth(truth), Type::Number) => Self::Number(truth.map(u64::from)),
            (Self::Truth(truth), Type::Float) => {
                Self::Float(truth.map(|truth| if truth { 1.0 } else { 0.0 }))
            }
            (Self::Truth(truth), Type::Truth) => Self::Truth(*truth),
        })
    }

    /// Both are of one type. Nothing compares with an empty number; an empty text is less than any.
    fn compare(&self, order: Order, other: &Self) -> bool {
        let found = match (self, other) {
            (Self::Text(l), Self::Text(r)) => Some(l.cmp(r)),
            (Self::Number(Some(l)), Self::Number(Some(r))) => Some(l.cmp(r)),
            (Self::Float(Some(l)), Self::Float(Some(r))) => l.partial_cmp(r),
            (Self::Truth(Some(l)), Self::Truth(Some(r))) => Some(l.cmp(r)),
            _ => None,
        };
        found.is_some_and(|found| match order {
            Order::Eq => found.is_eq(),
            Order::Ne => found.is_ne(),
            Order::Lt => found.is_lt(),
            Order::Le => found.is_le(),
            Order::Gt => found.is_gt(),
            Order::Ge => found.is_ge(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(text: &str) -> Result<bool, Incomparable> {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        filter.passes(&|at| match filter.names[at].as_str() {
            "PID" => (Some(b"42".to_vec()), true),
            "NONE" => (None, true),
            "COMMAND" => (Some(b" sleep 100 ".to_vec()), false),
            _ => (None, false),
        })
    }

    #[test]
    fn rows_pass_as_scols_filter_says() {
        for text in [
            "PID == 42",
            "PID eq 42 and COMMAND",
            "PID > 41.5",
            "PID == \"42\"",
            "PID < 1K",
            "COMMAND == 'sleep 100'",
            "COMMAND =~ \"^sl[e]+p [0-9]{3}$\"",
            "COMMAND !~ \"x\" && PID",
            "!(PID == 1) || false",
            "not PID == 42",
            "NSFS < \"a\"",
            "true and (PID ge 42) and PID le 42 and PID ne 1 and PID lt 43 and PID gt 41",
            // From the left, both alike: (true or false) and true.
            "true or false and true",
            "PID =~ '^4'",
        ] {
            let expected = text != "not PID == 42";
            assert_eq!(passes(text), Ok(expected), "{text}");
        }
        for text in [
            "NONE == 0",
            "NONE != 0",
            "NONE",
            "NSFS == \"\"",
            "PID != 42",
            "false",
        ] {
            assert_eq!(passes(text), Ok(false), "{text}");
        }
        assert_eq!(passes("COMMAND > 5"), Err(Incomparable));
    }

    #[test]
    fn mistakes_are_told_in_the_tools_words() {
        for (text, said) in [
            ("", "syntax error, unexpected end of file"),
            ("PID ==", "syntax error, unexpected end of file"),
            ("PID 5", "syntax error, unexpected NUMBER"),
            ("(PID", "syntax error, unexpected end of file"),
            ("PID)", "syntax error, unexpected ')'"),
            ("== 5", "syntax error, unexpected EQ"),
            ("PID =~ 5", "(null)"),
        ] {
            assert_eq!(
                Filter::parse(text).map(|_| ()),
                Err(said.to_owned()),
                "{text}"
            );
        }
        for text in [
            "PID @ 5",
            "PID = 5",
            "'open",
            "PID =~ '('",
            "99999999999999999999",
        ] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
        let deep = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
        assert!(Filter::parse(&deep).is_err());
        assert!(Filter::parse(&"!".repeat(5000)).is_err());
    }
}
