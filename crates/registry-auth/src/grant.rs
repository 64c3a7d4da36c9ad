//! A grant: it gives the right to some actions on the repositories of a pattern, or, as a denial, takes it
//! away.
//!
//! Parsed by the store from the fields of a Redis hash, made by the tool. Invariant: the pattern and the
//! actions are legal. A field that cannot be parsed makes the whole record unreadable, because it might have
//! been a denial.

use crate::pattern::{InvalidPattern, Pattern};
use crate::scope::{Actions, InvalidActions};

/// The beginning of the name of a field that holds a grant.
pub const FIELD_PREFIX: &str = "grant:";

/// A right, or a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The repositories.
    pub pattern: Pattern,
    /// Whether it denies: a denial wins over every right.
    pub deny: bool,
    /// The actions, at least one.
    pub actions: Actions,
}

/// Why a field is not a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrant {
    /// The name of the field is not `grant:<pattern>` or `grant:!<pattern>`.
    #[error("field is not grant:<pattern>")]
    Field,
    /// The pattern is malformed, or matches no legal name.
    #[error("{InvalidPattern}")]
    Pattern,
    /// The value is not a list of actions.
    #[error("{InvalidActions}")]
    Actions,
}

impl Grant {
    /// Parses a field such as `grant:!secret/**`, with its value such as `pull,push`.
    ///
    /// # Errors
    /// [`InvalidGrant`]: which part is wrong.
    pub fn parse(field: &str, value: &str) -> Result<Self, InvalidGrant> {
        let pattern = field.strip_prefix(FIELD_PREFIX).ok_or(InvalidGrant::Field)?;
        Self::from_parts(pattern, value)
    }

    /// Parses a pattern, with `!` in front for a denial, and its actions.
    ///
    /// # Errors
    /// [`InvalidGrant`]: which part is wrong.
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

    /// The name of the field that stores the grant.
    pub fn field(&self) -> String {
        format!(
            "{FIELD_PREFIX}{}{}",
            if self.deny { "!" } else { "" },
            self.pattern
        )
    }
}
