//! What `inspect` reports: what can be wrong, and how much there is.
//!
//! Read by the tool's `check`, which puts it into words. Guarantee: no finding holds a hash.

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The key.
    pub key: String,
    /// What.
    pub problem: Problem,
}

/// What can be wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The module refuses the record as a whole. With the field, where it is one field.
    Unreadable(String),
    /// A backend of a list is skipped; requests go to the others. With the field, where the list is one.
    SkippedBackend(Option<String>),
    /// A grant's or an access token's pattern begins like the address of a registry, and no user has that
    /// name.
    Address(String),
    /// The password hash is of no known form, damaged or beyond the limits: 503 for every login.
    Hash {
        /// Whose.
        user: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The password hash is guessed fast if it leaks.
    Weak {
        /// Whose.
        user: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The user is in a group that does not exist, which grants nothing.
    UnknownGroup(String),
    /// A field that the module does not read.
    UnknownField(String),
    /// No client can send this user name, so nobody can log in with it.
    Name(String),
    /// A password of `P:passwords` that plays no role: the user's record has one.
    Superseded(String),
    /// An access token that is good no longer: its id.
    ExpiredToken(String),
    /// The last use of access tokens cannot be recorded.
    TokenUse(&'static str),
    /// An access token that `P:token-owners` says to be nobody's: its id. It is good only with its user's
    /// name.
    NoOwner(String),
    /// An entry of `P:token-owners` for a token that nobody has.
    OwnerOfNothing {
        /// The beginning of the digest.
        token: String,
        /// The user whom the entry names.
        user: String,
    },
    /// Nobody's access tokens can be found without their users' names.
    TokenOwners(&'static str),
    /// The user owns, by the name, repositories that a grant of somebody else is for.
    Owned {
        /// Who.
        user: String,
        /// Whose grant.
        subject: String,
        /// Its pattern.
        pattern: String,
    },
    /// Somebody has several backends, which must share what `balance=` of the module needs.
    Several {
        /// Who: a user, `@team`, `public` or `default`.
        subject: String,
        /// As stored.
        backends: Vec<String>,
    },
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Users, wherever they are stored.
    pub users: usize,
    /// Users whose password is in `P:passwords`.
    pub old: usize,
    /// Users who have no password and cannot log in.
    pub no_password: usize,
    /// Locked accounts.
    pub locked: usize,
    /// Groups, `public` included where it is stored.
    pub groups: usize,
    /// Everybody's backends.
    pub defaults: usize,
    /// Users and groups who have backends.
    pub with_backends: usize,
}
