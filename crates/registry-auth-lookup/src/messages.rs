//! What crosses between nginx's thread and the helper: jobs there, events back.
//!
//! A job's answer is tied to it by a ticket, which is opaque here: the caller chooses it and gets it back
//! exactly once. Events are in an order that a cache can simply follow: put on [`Event::Completion`], delete
//! on [`Event::Changed`], empty it on the others. What a completion tells is never older than a change that
//! stands before it in the queue.

use registry_auth::codec::AccountState;
use registry_auth::{Network, TokenDigest, UserNameBuf};
use registry_auth_redis::connection::tracking::Changed;
use registry_auth_redis::{Rung, Secret};
use std::fmt;
use std::sync::Arc;

/// Where a location's users live: one per distinct (`registry_auth_prefix`, `registry_auth_salt`), shared by
/// all jobs of that location. It is also the scope within which an unknown user's dummy hash is chosen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keyspace {
    /// `registry_auth_prefix`, `P` in the interface: keys are `P:user:<name>`, `P:passwords`, `P:backends`.
    pub prefix: Box<str>,
    /// `registry_auth_salt`: put before the password of a bare SHA-1 digest (the 2014 gate's form).
    pub salt: Box<[u8]>,
}

impl fmt::Debug for Keyspace {
    /// The salt is left out: the 2014 gate's users may share one secret salt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyspace")
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
    pub space: Arc<Keyspace>,
    /// The user who claims to be there; `None` when only the defaults are wanted (anonymous) or, with an
    /// access token, when it is to be found out whose the token is.
    pub user: Option<UserNameBuf>,
    /// The password to verify; not looked at when `user` is `None`.
    pub password: Secret,
    /// What the user is to be verified by.
    pub proof: Proof,
    /// Where it came from: networks take turns where passwords have to wait to be hashed.
    pub from: Network,
    /// The fingerprint of the stored password for which this very password was found to be right before: as
    /// long as that is stored for the user, it is not hashed again.
    pub verified: Option<AccountState>,
}

/// What proves who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The job's password.
    Password,
    /// An access token of the user, which stands in their record: nothing has to be hashed for it. Boxed, as
    /// it is rare, and jobs are moved often.
    AccessToken(Box<TokenDigest>),
    /// Somebody else has verified the user: only whether the account is there, and not locked, is to be found
    /// out.
    PreVerified,
}

/// What the helper tells, in the order of the connection's stream. Without tracking
/// ([`crate::LookupOptions`]) there are only completions.
#[derive(Debug, Clone)]
pub enum Event {
    /// A job is answered.
    Completion(Completion),
    /// These keys have changed: whatever is known about them is old.
    Changed(Vec<Changed>),
    /// FLUSHALL or FLUSHDB: everything has changed.
    AllChanged,
    /// The connection is gone, or frozen and given up: changes are not told from here to the next
    /// [`Event::Connected`]. Once for each of those.
    ConnectionLost,
    /// Connected. Whatever was known before is suspect.
    Connected {
        /// How changes from here on are reported. With [`Rung::Ttl`] they are not: only a time to live limits
        /// the age of what is known.
        rung: Rung,
        /// The address of the server, or the path of its socket: which of several, and under Sentinel the
        /// master.
        server: Arc<str>,
    },
    /// The connection that is about to be told of leads to another server than the one before.
    FailedOver,
    /// Redis has answered what was asked after [`crate::Store::prove`] with this number: all changes from
    /// before the call have been told.
    Proved(u64),
}

/// The answer to one [`Job`]: exactly one per job submitted before [`crate::Store::stop`].
#[derive(Debug, Clone)]
pub struct Completion {
    /// The job's ticket.
    pub ticket: u64,
    /// What was found.
    pub outcome: Outcome,
    /// Whether the outcome may be kept for later requests: every change since it was read has been told, or
    /// will be in a later event (or tracking is not possible: then for the time to live). False when the
    /// connection on which it was read is lost.
    pub cacheable: bool,
}

/// What the store knows. Records are in the layout of `registry_auth::codec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The user has a record. Jobs of one batch may share the allocations.
    Known {
        /// The user's record (password hash, groups, backends with resolved addresses, grants).
        user: Arc<[u8]>,
        /// The records of the user's groups, in the user's order; that of a group which does not exist is
        /// empty.
        groups: Arc<[Arc<[u8]>]>,
        /// `P:group:public`; empty where there is none.
        public: Arc<[u8]>,
        /// A record holding only `P:backends`; `None` where it cannot be read and is not needed.
        defaults: Option<Arc<[u8]>>,
        /// Whether the password, or what else was to prove it, is this user's and the account is not locked.
        verified: bool,
        /// Whether `P:passwords` was looked at, as `P:user:<name>` has no password: a change of it concerns
        /// this user.
        from_passwords: bool,
    },
    /// No such user, found out at the cost of a wrong password.
    Unknown,
    /// The access token is none of this user's, if there is such a user. Neither the outcome nor the time
    /// that it takes shows whether there is one, as nothing but the user's access tokens was looked at.
    NoToken,
    /// The user whom `P:token-owners` names for the access token, where the job names none. That proves
    /// nothing: the user's record has yet to be asked for. A token without such a user is
    /// [`Outcome::NoToken`].
    Owner(UserNameBuf),
    /// No user was asked for.
    Anonymous {
        /// `P:group:public`; empty where there is none.
        public: Arc<[u8]>,
        /// A record holding only `P:backends`; `None` where it cannot be read and is not needed.
        defaults: Option<Arc<[u8]>>,
    },
    /// The hashing queue is full: try later (429).
    Busy,
    /// Redis could not be asked: unreachable, timed out, loading, or refusing us (503).
    Unavailable,
    /// A record that this user needs cannot be read; the log names the key (503).
    BadRecord,
}
