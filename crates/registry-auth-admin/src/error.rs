//! Why a change or a question failed, in words that say what to do.
//!
//! Returned by all of this crate, printed by the tool. Guarantee: no message holds a password.

use redis::{ErrorKind, RedisError, ServerError};
use registry_auth_redis::connection::open::{TOO_LARGE, describe, said};
use registry_auth_redis::{InvalidEndpoint, InvalidPrefix};
use std::fmt;

/// Why a change or a question failed. `Display` is for people at a terminal and says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum AdminError {
    /// User and password of the endpoint do not go together.
    Endpoint(InvalidEndpoint),
    /// The prefix cannot be in the Cluster of the endpoint.
    Prefix(InvalidPrefix),
    /// No connection, or lost, or no answer in time.
    Unreachable {
        /// Where (without password).
        endpoint: String,
        /// What happened.
        why: String,
    },
    /// A server answers, but not as it should: its certificate is not taken, it hangs up.
    Unusable {
        /// Where (without password).
        endpoint: String,
        /// What happened, and what to do.
        why: String,
    },
    /// Redis answered with an error: loading, read-only...
    Refused(String),
    /// This Redis user may not do that.
    Forbidden(String),
    /// A key holds something else than what belongs there.
    BadRecord {
        /// The key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The group exists already.
    GroupExists(String),
    /// There is no such group.
    NoGroup(String),
    /// The subject has no such grant.
    NoGrant {
        /// Whose.
        subject: String,
        /// Its pattern.
        pattern: String,
    },
    /// The user exists already.
    Exists(String),
    /// There is no such user.
    NoUser(String),
    /// The user has no password that could be unlocked.
    NoPassword(String),
    /// The user has no access token of this id.
    NoToken {
        /// Whose.
        user: String,
        /// Its id.
        id: String,
    },
    /// The user has an access token of this id already.
    TokenExists {
        /// Whose.
        user: String,
        /// Its id.
        id: String,
    },
    /// The user has as many access tokens as one may have.
    TooManyTokens {
        /// The user.
        user: String,
        /// As many as one may have.
        most: usize,
    },
    /// Others kept changing the same keys.
    Contended,
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => write!(f, "{error}"),
            Self::Unreachable { endpoint, why } => {
                write!(
                    f,
                    "cannot reach {endpoint}: {why}; is it running, and is --redis (REGISTRY_AUTH_REDIS) \
                     right?"
                )
            }
            Self::Unusable { endpoint, why } => write!(f, "cannot use {endpoint}: {why}"),
            Self::Refused(why) | Self::Forbidden(why) => write!(f, "Redis refuses: {why}"),
            Self::BadRecord { key, why } => write!(f, "the key {key} cannot be used: {why}"),
            Self::GroupExists(group) => {
                write!(
                    f,
                    "group {group} exists already; to see it: registry-authctl group show {group}"
                )
            }
            Self::NoGroup(group) => {
                write!(f, "there is no group {group}")
            }
            Self::NoGrant { subject, pattern } => write!(
                f,
                "{subject} has no such grant for {pattern}; to see those there are: \
                 registry-authctl grant list {subject}"
            ),
            Self::Exists(user) => {
                write!(
                    f,
                    "user {user} exists already; to change the password: registry-authctl user passwd {user}"
                )
            }
            Self::NoUser(user) => {
                write!(f, "there is no user {user}")
            }
            Self::NoPassword(user) => {
                write!(
                    f,
                    "user {user} has no password; to set one: registry-authctl user passwd {user}"
                )
            }
            Self::NoToken { user, id } => write!(
                f,
                "{user} has no access token {id}; to see those there are: registry-authctl token list {user}"
            ),
            Self::TokenExists { user, id } => {
                write!(
                    f,
                    "{user} has an access token {id} already, by an odd chance: try again"
                )
            }
            Self::TooManyTokens { user, most } => write!(
                f,
                "{user} has {most} access tokens, which is the most; to see which of them have expired: \
                 registry-authctl token list {user}, and to make room: registry-authctl token revoke {user} \
                 ID"
            ),
            Self::Prefix(why) => why.fmt(f),
            Self::Contended => f.write_str("somebody else is changing the same data; try again"),
        }
    }
}

impl std::error::Error for AdminError {}

/// What to do about a key that is none of ours.
pub(crate) const WRONG_KEY: &str = "look at it with redis-cli, and rename or delete it";

/// Redis answered this about `key`.
pub(crate) fn refused(key: &str, error: &ServerError) -> AdminError {
    if error.code() == "WRONGTYPE" {
        return AdminError::BadRecord {
            key: key.to_owned(),
            why: format!("it is not of the type that belongs there; {WRONG_KEY}"),
        };
    }
    if error.code() == TOO_LARGE {
        return AdminError::BadRecord {
            key: key.to_owned(),
            why: format!("{}; {WRONG_KEY}", error.details().unwrap_or_default()),
        };
    }
    let why = format!("{}{}", said(error), hint(error.code()));
    match error.code() {
        "NOPERM" => AdminError::Forbidden(why),
        _ => AdminError::Refused(why),
    }
}

/// Redis answered this to the log-in, or to the first question after it.
pub(crate) fn greeting(error: &RedisError) -> AdminError {
    let code = match error.kind() {
        ErrorKind::AuthenticationFailed => "WRONGPASS",
        _ => error.code().unwrap_or_default(),
    };
    AdminError::Refused(format!("{}{}", describe(error), hint(code)))
}

/// What is said of keys that are at two nodes for now.
pub(crate) const MOVING: &str =
    "the keys are on their way to another node of the Cluster: try again when that is done";

/// What to do about it.
fn hint(code: &str) -> &'static str {
    match code {
        "READONLY" => " (this is a replica: name its master)",
        "NOPERM" => {
            " (this Redis user lacks the right: docs/registry-authctl.md has the ACL line that \
             registry-authctl needs)"
        }
        "NOAUTH" => " (give the password: REGISTRY_AUTH_REDIS=redis://[user]:password@host:port)",
        "WRONGPASS" => " (see user and password in the URL; special characters must be percent-encoded)",
        "LOADING" | "BUSY" => " (try again in a moment)",
        "OOM" => " (Redis is full: raise its maxmemory or remove data)",
        "MISCONF" => " (Redis cannot save to its disk: see its log)",
        "MOVED" | "ASK" | "TRYAGAIN" => {
            " (the keys are on their way to another node of the Cluster: try again when that is done)"
        }
        "NOREPLICAS" | "MASTERDOWN" => " (see the state of its replication)",
        _ => "",
    }
}
