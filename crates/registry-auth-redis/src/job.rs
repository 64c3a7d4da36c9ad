//! What crosses between nginx's thread and the helper: jobs there, completions back, tied by a ticket.
//!
//! The ticket is opaque here: the caller chooses it and gets it back exactly once.

use crate::Secret;
use std::fmt;
use std::sync::Arc;

/// Where a location's users live: one per distinct (`registry_auth_prefix`, `registry_auth_salt`), shared by all
/// jobs of that location. It is also the scope within which an unknown user's dummy hash is chosen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Space {
    /// `registry_auth_prefix`, `P` in the interface: keys are `P:user:<name>`, `P:passwords`, `P:backends`.
    pub prefix: Box<str>,
    /// `registry_auth_salt`: put before the password of a bare SHA-1 digest (the 2014 gate's form).
    pub salt: Box<[u8]>,
}

impl fmt::Debug for Space {
    /// The salt is left out: the 2014 gate's users may share one secret salt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// One question of a waiting request.
#[derive(Debug)]
pub struct Job {
    /// Comes back in the [`Completion`]; unique among the jobs under way.
    pub ticket: u64,
    /// Whose keys are asked.
    pub space: Arc<Space>,
    /// The user who claims to be there; `None` when only the defaults are wanted (anonymous).
    pub user: Option<Box<str>>,
    /// The password to verify; not looked at when `user` is `None`.
    pub password: Secret,
}

/// The answer to one [`Job`]: exactly one per job submitted before [`crate::Store::stop`].
#[derive(Debug, Clone)]
pub struct Completion {
    /// The job's ticket.
    pub ticket: u64,
    /// What was found.
    pub outcome: Outcome,
}

/// What the store knows. Records are in the layout of `registry_auth::codec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The user has a record. Jobs of one batch may share the allocations.
    Known {
        /// The user's record (password hash, groups, backends with resolved addresses, grants).
        user: Arc<[u8]>,
        /// A record holding only `P:backends`.
        defaults: Arc<[u8]>,
        /// Whether the password is this user's and the account is not locked.
        verified: bool,
    },
    /// No such user, found out at the cost of a wrong password; or no user was asked for.
    Unknown {
        /// A record holding only `P:backends`.
        defaults: Arc<[u8]>,
    },
    /// The hashing queue is full: try later (429).
    Busy,
    /// Redis could not be asked: unreachable, timed out, loading, or refusing us (503).
    Unavailable,
    /// A record that this user needs cannot be read; the log names the key (503).
    BadRecord,
}
