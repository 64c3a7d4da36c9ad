//! A grant: who has it may do these actions to the repositories of a pattern, or, as a denial, may not.
//!
//! Parsed by the store from the fields of a Redis hash, made by the tool. Invariant: pattern and actions are legal; a
//! field that does not parse makes the whole record unreadable, since it might have been a denial.

use crate::pattern::{InvalidPattern, Pattern};
use crate::scope::{Actions, InvalidActions};
use std::fmt;

/// What the name of a grant's field begins with.
pub const FIELD_PREFIX: &str = "grant:";

/// A right, or the lack of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The repositories.
    pub pattern: Pattern,
    /// Whether it denies: a denial wins over every right.
    pub deny: bool,
    /// The actions, at least one.
    pub actions: Actions,
}

/// The field is no grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidGrant {
    /// The name of the field is not `grant:<pattern>` or `grant:!<pattern>`.
    Field,
    /// The pattern is none, or matches no legal name.
    Pattern,
    /// The value is no list of actions.
    Actions,
}

impl fmt::Display for InvalidGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field => f.write_str("field is not grant:<pattern>"),
            Self::Pattern => InvalidPattern.fmt(f),
            Self::Actions => InvalidActions.fmt(f),
        }
    }
}

impl std::error::Error for InvalidGrant {}

impl Grant {
    /// Parses a field such as `grant:!secret/**` and its value such as `pull,push`.
    pub fn parse(field: &str, value: &str) -> Result<Self, InvalidGrant> {
        let pattern = field.strip_prefix(FIELD_PREFIX).ok_or(InvalidGrant::Field)?;
        Self::from_parts(pattern, value)
    }

    /// Parses a pattern, with `!` in front for a denial, and actions.
    pub fn from_parts(pattern: &str, actions: &str) -> Result<Self, InvalidGrant> {
        let (deny, pattern) = match pattern.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        Ok(Self {
            pattern: Pattern::parse(pattern).map_err(|_| InvalidGrant::Pattern)?,
            deny,
            actions: Actions::parse(actions).map_err(|_| InvalidGrant::Actions)?,
        })
    }

    /// The name of the field it is stored under.
    pub fn field(&self) -> String {
        format!(
            "{FIELD_PREFIX}{}{}",
            if self.deny { "!" } else { "" },
            self.pattern
        )
    }
}
