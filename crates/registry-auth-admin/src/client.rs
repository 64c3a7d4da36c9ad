//! One administrator's connection: commands, pipelines and transactions, and what their failures mean.
//!
//! Used by all of this crate. Invariant: a transaction is carried out whole or not at all, also where an ACL
//! refuses a part of it.

use crate::error::{AdminError, greeting, refused};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, ServerError, Value};
use registry_auth_redis::Endpoint;
use registry_auth_redis::connection::locate::open;
use registry_auth_redis::connection::open::{Failure, describe, explain, has_answered};
use registry_auth_redis::schema::keys::KeyNames;
use registry_auth_redis::schema::record::Unreadable;
use std::fmt;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time;

/// How often a transaction is tried when others change the same keys meanwhile.
pub(crate) const ATTEMPTS: u32 = 16;

/// A connection of one administrator, and the prefix of the keys it is for.
pub struct Admin {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) driver: JoinHandle<()>,
    pub(crate) endpoint: Endpoint,
    pub(crate) prefix: String,
    pub(crate) limit: Duration,
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
    /// Connects and logs in; `limit` holds for this and for each later round trip. Must be called within a
    /// tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`AdminError::Endpoint`], [`AdminError::Unreachable`], [`AdminError::Unusable`],
    /// [`AdminError::Refused`] (a wrong log-in).
    pub async fn connect(endpoint: &Endpoint, prefix: &str, limit: Duration) -> Result<Self, AdminError> {
        endpoint.check().map_err(AdminError::Endpoint)?;
        let (connection, driver) = open(endpoint, limit).await.map_err(|failure| match failure {
            Failure::Redis(error) if !error.is_io_error() => greeting(&error),
            failure if has_answered(&failure) => AdminError::Unusable {
                endpoint: endpoint.to_string(),
                why: explain(endpoint, &failure),
            },
            failure => AdminError::Unreachable {
                endpoint: endpoint.to_string(),
                why: explain(endpoint, &failure),
            },
        })?;
        Ok(Self {
            connection,
            driver,
            endpoint: endpoint.clone(),
            prefix: prefix.to_owned(),
            limit,
        })
    }

    /// One command. A reply of the wrong type is blamed on `key`.
    pub(crate) async fn ask<T: FromRedisValue>(&self, key: &str, command: &Cmd) -> Result<T, AdminError> {
        let mut connection = self.connection.clone();
        let reply = time::timeout(self.limit, command.query_async::<T>(&mut connection)).await;
        reply
            .map_err(|_| self.timed_out())?
            .map_err(|error| self.failed(key, &error))
    }

    /// Independent questions in one round trip. Only the reply that a key is of another type is left to the
    /// caller: it says something about that key, every other error something about all of them.
    pub(crate) async fn ask_all(&self, questions: &mut Pipeline) -> Result<Vec<Value>, AdminError> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        questions.ignore_errors();
        let mut connection = self.connection.clone();
        let reply = time::timeout(self.limit, questions.query_async::<Value>(&mut connection)).await;
        let reply = reply
            .map_err(|_| self.timed_out())?
            .map_err(|error| self.failed("", &error))?;
        let Value::Array(replies) = reply else {
            return Err(AdminError::Refused(
                "a pipeline was answered with something else".to_owned(),
            ));
        };
        for reply in &replies {
            if let Value::ServerError(error) = reply
                && error.code() != "WRONGTYPE"
            {
                return Err(refused("", error));
            }
        }
        Ok(replies)
    }

    /// One transaction; `None` when a watched key was changed. MULTI goes ahead alone: sent together with the
    /// changes and refused (an ACL without it), the changes would be carried out one by one.
    pub(crate) async fn transact(
        &self,
        key: &str,
        changes: &Pipeline,
    ) -> Result<Option<Vec<Value>>, AdminError> {
        self.ask::<()>(key, &redis::cmd("MULTI")).await?;
        let mut all = changes.clone();
        all.cmd("EXEC").ignore_errors();
        let mut connection = self.connection.clone();
        let reply = time::timeout(self.limit, all.query_async::<Value>(&mut connection)).await;
        let odd = || AdminError::Refused("a transaction was answered with something else".to_owned());
        let reply = reply
            .map_err(|_| self.timed_out())?
            .map_err(|error| self.failed(key, &error))?;
        let Value::Array(mut replies) = reply else {
            return Err(odd());
        };
        match replies.pop() {
            Some(Value::Nil) => Ok(None),
            Some(Value::Array(done)) => match done.iter().find_map(server_error) {
                Some(error) => Err(refused(key, error)),
                None => Ok(Some(done)),
            },
            // The first that was refused says why all of it was.
            Some(Value::ServerError(error)) => Err(refused(
                key,
                replies.iter().find_map(server_error).unwrap_or(&error),
            )),
            _ => Err(odd()),
        }
    }

    pub(crate) async fn watch(&self, keys: &[&str]) -> Result<(), AdminError> {
        self.ask("", redis::cmd("WATCH").arg(keys)).await
    }

    pub(crate) fn keys(&self) -> KeyNames<'_> {
        KeyNames::new(&self.prefix)
    }

    pub(crate) async fn unwatch(&self) -> Result<(), AdminError> {
        self.ask("", &redis::cmd("UNWATCH")).await
    }

    pub(crate) fn timed_out(&self) -> AdminError {
        AdminError::Unreachable {
            endpoint: self.endpoint.to_string(),
            why: "no answer in time".to_owned(),
        }
    }

    pub(crate) fn failed(&self, key: &str, error: &RedisError) -> AdminError {
        // Redis' own words, where there are some.
        if let Some((_, error)) = error
            .clone()
            .into_server_errors()
            .and_then(|errors| errors.first().cloned())
        {
            return refused(key, &error);
        }
        if error.is_io_error() || error.is_connection_dropped() {
            return AdminError::Unreachable {
                endpoint: self.endpoint.to_string(),
                why: describe(error),
            };
        }
        AdminError::Refused(describe(error))
    }
}

pub(crate) fn server_error(reply: &Value) -> Option<&ServerError> {
    match reply {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

pub(crate) fn unreadable(key: &str, why: Unreadable) -> AdminError {
    match why {
        Unreadable::Bad(why) => AdminError::BadRecord {
            key: key.to_owned(),
            why,
        },
        Unreadable::Refused(error) => refused(key, &error),
    }
}
