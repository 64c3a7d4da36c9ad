//! What may be done to a repository: an action, a set of actions, and the scope that a request needs.
//!
//! Used by `route` for what a request needs, and by `grant` for what a user may do. Invariant: [`Actions`]
//! that were read from a record hold at least one action.

use crate::name::RepositoryName;
use std::fmt;

/// One kind of access to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// Reading manifests, blobs, tags, referrers.
    Pull = 1,
    /// Writing manifests and blobs, upload sessions included.
    Push = 2,
    /// Deleting manifests and blobs. Push does not include it.
    Delete = 4,
}

impl Action {
    /// All actions, in the order in which they are printed.
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// The word in grants, logs and `$registry_auth_action`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a list of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("actions must be pull, push, delete, separated by commas, or *")]
pub struct InvalidActions;

/// A set of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Actions(u8);

impl Actions {
    /// Every action (`*`).
    pub const ALL: Self = Self(7);

    /// Parses `pull,push` or `*`. Spaces around a word are allowed.
    ///
    /// # Errors
    /// [`InvalidActions`] for an unknown or a missing word.
    pub fn parse(text: &str) -> Result<Self, InvalidActions> {
        if text.trim() == "*" {
            return Ok(Self::ALL);
        }
        let mut set = 0;
        for word in text.split(',') {
            let action = Action::ALL
                .into_iter()
                .find(|action| action.as_str() == word.trim());
            set |= action.ok_or(InvalidActions)? as u8;
        }
        Ok(Self(set))
    }

    /// The set with this one action.
    pub fn only(action: Action) -> Self {
        Self(action as u8)
    }

    /// Whether the action is in the set.
    #[inline]
    pub fn contains(self, action: Action) -> bool {
        self.0 & action as u8 != 0
    }

    /// The set, with this action added.
    #[must_use]
    pub fn with(self, action: Action) -> Self {
        Self(self.0 | action as u8)
    }

    /// The actions of the set, in the order in which they are printed.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .into_iter()
            .filter(move |action| self.contains(*action))
    }

    /// The bits as stored in a record.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// The set of these bits; `None` for the empty set or unknown bits.
    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        (bits != 0 && bits <= Self::ALL.0).then_some(Self(bits))
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("*");
        }
        let mut separator = "";
        for action in self.iter() {
            write!(f, "{separator}{action}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// An action on a repository: what a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The repository.
    pub repository: RepositoryName<'a>,
    /// The action on it.
    pub action: Action,
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.action, self.repository)
    }
}
