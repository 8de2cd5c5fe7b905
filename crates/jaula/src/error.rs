//! What a verb answers when it cannot: one type, printed by one function ([`crate::output::Output::error`]).

use std::error::Error;
use std::fmt;

/// What kind of end it was; decides the exit code (chroot(1), "Exit status").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The arguments make no sense.
    Usage,
    /// jaula could not do what was asked.
    Failed,
    /// The program is there and cannot be executed.
    NotExecutable,
    /// There is no such program in the jail.
    NotFound,
}

impl Kind {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Usage | Self::Failed => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
        }
    }
}

/// Why a verb did not do its work.
#[derive(Debug)]
pub struct CommandError {
    /// What kind.
    pub kind: Kind,
    /// What was attempted on what, `cannot …`, without a final stop.
    pub attempt: String,
    /// Its cause; the chain of sources is printed below the attempt, each thing said once.
    pub source: Option<Box<dyn Error + 'static>>,
    /// What the user may do about it, the likeliest first.
    pub hints: Vec<String>,
}

impl CommandError {
    /// The arguments make no sense.
    pub fn usage(attempt: impl Into<String>) -> Self {
        Self {
            kind: Kind::Usage,
            attempt: attempt.into(),
            source: None,
            hints: Vec::new(),
        }
    }

    /// jaula could not do what was asked.
    pub fn failed(attempt: impl Into<String>) -> Self {
        Self {
            kind: Kind::Failed,
            attempt: attempt.into(),
            source: None,
            hints: Vec::new(),
        }
    }

    /// With the error that caused it.
    #[must_use]
    pub fn because(mut self, source: impl Error + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// With one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The first line, without `error: `.
    pub fn headline(&self) -> &str {
        &self.attempt
    }

    /// The lines below the first: the causes from the outermost to the innermost. A cause whose text the line
    /// above it already holds is not said again.
    pub fn causes(&self) -> Vec<String> {
        let mut said: Vec<String> = vec![self.attempt.clone()];
        let mut next: Option<&dyn Error> = self.source.as_deref();
        // A chain longer than this would be a loop in somebody's `source()`.
        for _ in 0..32 {
            let Some(cause) = next else { break };
            let text = cause.to_string();
            if !text.trim().is_empty() && !said.iter().any(|line| line.contains(text.trim())) {
                said.push(text);
            }
            next = cause.source();
        }
        said.remove(0);
        said
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.attempt)
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Link {
        said: &'static str,
        #[source]
        below: Option<Box<Link>>,
    }

    #[test]
    fn each_cause_is_said_once() {
        let inner = Link {
            said: "permission denied",
            below: None,
        };
        let middle = Link {
            said: "open /x: permission denied",
            below: Some(Box::new(inner)),
        };
        let outer = Link {
            said: "read the index",
            below: Some(Box::new(middle)),
        };
        let error = CommandError::failed("cannot build debian").because(outer);
        assert_eq!(
            error.causes(),
            ["read the index", "open /x: permission denied"]
        );
        assert_eq!(error.kind.code(), 125);
    }
}
