//! How a request was decided, and where its answer came from, in one word each: `$registry_auth_result`,
//! `$registry_auth_source`, and what is counted.
//!
//! A result is given by a [`Permit`](crate::Permit) or a [`Denial`](crate::Denial).

/// How a request was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestResult {
    /// A verified user may do it.
    Granted,
    /// Everybody may do it, and no user was verified.
    Anonymous,
    /// Credentials are missing or wrong.
    Unauthenticated,
    /// The user has no right to it.
    Denied,
    /// The request cannot be understood.
    Invalid,
    /// There were too many requests of its kind.
    Throttled,
    /// It could not be decided, or no registry can be asked.
    Unavailable,
}

impl RequestResult {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Granted,
        Self::Anonymous,
        Self::Unauthenticated,
        Self::Denied,
        Self::Invalid,
        Self::Throttled,
        Self::Unavailable,
    ];

    /// The value of `$registry_auth_result`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Anonymous => "anonymous",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Where the answer to a granted request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The registry's own disk.
    Store,
    /// nginx's cache.
    Cache,
    /// The registry.
    Backend,
}

impl Source {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Store, Self::Cache, Self::Backend];

    /// The value of `$registry_auth_source`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Cache => "cache",
            Self::Backend => "backend",
        }
    }
}
