//! The administrator's side of the store: typed, atomic changes for the command-line tool.
//!
//! Invariants: a change is one command or one transaction, so that an interrupted tool leaves nothing half-done; what
//! depends on what was there before watches it (`WATCH`), so that two administrators cannot undo each other's work
//! unseen. The module's own connection never writes.

mod backends;
mod users;

pub use backends::Subject;
pub use users::{PasswordSet, Stored, UserEntry};

use crate::connection::{self, describe, Failure};
use crate::{Endpoint, InvalidEndpoint};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, ServerError, Value};
use std::fmt;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time;

/// How often a transaction is tried when others change the same keys meanwhile.
const ATTEMPTS: u32 = 16;

/// Why a change or a question failed. `Display` is for people at a terminal and says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum AdminError {
    /// User and password of the endpoint do not go together.
    Endpoint(InvalidEndpoint),
    /// No connection, or lost, or no answer in time.
    Unreachable {
        /// Where (without password).
        endpoint: String,
        /// What happened.
        why: String,
    },
    /// Redis answered with an error: no permission, loading, read-only...
    Refused(String),
    /// A key holds something else than what belongs there.
    BadRecord {
        /// The key.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The user exists already.
    Exists(String),
    /// There is no such user.
    NoUser(String),
    /// The user has no password that could be unlocked.
    NoPassword(String),
    /// Others kept changing the same keys.
    Contended,
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => write!(f, "{error}"),
            Self::Unreachable { endpoint, why } => {
                write!(f, "cannot reach {endpoint}: {why}; is it running, and is --redis (REGISTRY_AUTH_REDIS) right?")
            }
            Self::Refused(why) => write!(f, "Redis refuses: {why}"),
            Self::BadRecord { key, why } => write!(
                f,
                "the key {key} cannot be used: {why}; look at it with redis-cli, and rename or delete it"
            ),
            Self::Exists(user) => {
                write!(
                    f,
                    "user {user} exists already; to change the password: registry-authctl user passwd {user}"
                )
            }
            Self::NoUser(user) => {
                write!(
                    f,
                    "there is no user {user}; to create one: registry-authctl user add {user}"
                )
            }
            Self::NoPassword(user) => {
                write!(
                    f,
                    "user {user} has no password; to set one: registry-authctl user passwd {user}"
                )
            }
            Self::Contended => f.write_str("somebody else is changing the same data; try again"),
        }
    }
}

impl std::error::Error for AdminError {}

/// A connection of one administrator, and the prefix of the keys it is for.
pub struct Admin {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    endpoint: String,
    prefix: String,
    limit: Duration,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("endpoint", &self.endpoint)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Admin {
    /// Connects and logs in; `limit` holds for this and for each later round trip. Must be called within a tokio
    /// runtime with I/O and time.
    ///
    /// # Errors
    /// [`AdminError::Endpoint`], [`AdminError::Unreachable`], [`AdminError::Refused`] (a wrong log-in).
    pub async fn connect(endpoint: &Endpoint, prefix: &str, limit: Duration) -> Result<Self, AdminError> {
        endpoint.check().map_err(AdminError::Endpoint)?;
        let (connection, driver) =
            connection::open(endpoint, limit)
                .await
                .map_err(|failure| match failure {
                    Failure::Redis(error) if !error.is_io_error() => AdminError::Refused(describe(&error)),
                    failure => AdminError::Unreachable {
                        endpoint: endpoint.to_string(),
                        why: failure.to_string(),
                    },
                })?;
        Ok(Self {
            connection,
            driver,
            endpoint: endpoint.to_string(),
            prefix: prefix.to_owned(),
            limit,
        })
    }

    /// One command. A reply of the wrong type is blamed on `key`.
    async fn ask<T: FromRedisValue>(&self, key: &str, command: &Cmd) -> Result<T, AdminError> {
        let mut connection = self.connection.clone();
        let reply = time::timeout(self.limit, command.query_async::<T>(&mut connection)).await;
        reply
            .map_err(|_| self.timed_out())?
            .map_err(|error| self.failed(key, &error))
    }

    /// One transaction; `None` when a watched key was changed.
    async fn transact(&self, key: &str, changes: &Pipeline) -> Result<Option<Vec<Value>>, AdminError> {
        let mut connection = self.connection.clone();
        let reply = time::timeout(self.limit, changes.query_async::<Value>(&mut connection)).await;
        match reply
            .map_err(|_| self.timed_out())?
            .map_err(|error| self.failed(key, &error))?
        {
            Value::Nil => Ok(None),
            Value::Array(replies) => Ok(Some(replies)),
            _ => Err(AdminError::Refused(
                "a transaction was answered with something else".to_owned(),
            )),
        }
    }

    async fn watch(&self, keys: &[&str]) -> Result<(), AdminError> {
        self.ask("", redis::cmd("WATCH").arg(keys)).await
    }

    async fn unwatch(&self) -> Result<(), AdminError> {
        self.ask("", &redis::cmd("UNWATCH")).await
    }

    fn timed_out(&self) -> AdminError {
        AdminError::Unreachable {
            endpoint: self.endpoint.clone(),
            why: "no answer in time".to_owned(),
        }
    }

    fn failed(&self, key: &str, error: &RedisError) -> AdminError {
        // The error of a command in a transaction is inside the error of the transaction.
        if let Some((_, error)) = error
            .clone()
            .into_server_errors()
            .and_then(|errors| errors.first().cloned())
        {
            return refused(key, &error);
        }
        if error.is_io_error() || error.is_connection_dropped() {
            return AdminError::Unreachable {
                endpoint: self.endpoint.clone(),
                why: describe(error),
            };
        }
        AdminError::Refused(describe(error))
    }
}

fn refused(key: &str, error: &ServerError) -> AdminError {
    let hint = match error.code() {
        "WRONGTYPE" => {
            let why = "it is not of the type that belongs there";
            return AdminError::BadRecord {
                key: key.to_owned(),
                why,
            };
        }
        "READONLY" => " (this is a replica: name its master)",
        "NOPERM" => " (this Redis user lacks the right)",
        "LOADING" => " (try again in a moment)",
        _ => "",
    };
    AdminError::Refused(format!(
        "{} {}{hint}",
        error.code(),
        error.details().unwrap_or_default()
    ))
}
