//! One administrator's connection: commands, pipelines and transactions, and what their failures mean.
//!
//! Used by all of this crate. Invariant: a transaction is carried out whole or not at all, also where an ACL
//! refuses a part of it.

use crate::error::{AdminError, MOVING, WRONG_KEY, greeting, refused};
use crate::seat::{PARTS, Seat};
use redis::{Arg, Cmd, FromRedisValue, Pipeline, RedisError, ServerError, Value};
use registry_auth_redis::Endpoint;
use registry_auth_redis::connection::cluster::{Redirected, is_elsewhere};
use registry_auth_redis::connection::locate::open_with_detour;
use registry_auth_redis::connection::open::{Failure, TOO_LARGE, cut, describe, explain, has_answered};
use registry_auth_redis::schema::keys::KeyNames;
use registry_auth_redis::schema::record::Unreadable;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::{self, Instant};

/// How often a transaction is tried when others change the same keys meanwhile.
pub(crate) const ATTEMPTS: u32 = 16;
/// Between attempts, while the keys are on their way to another node.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection of one administrator, and the prefix of the keys it is for.
pub struct Admin {
    seat: Mutex<Seat>,
    pub(crate) endpoint: Endpoint,
    pub(crate) prefix: String,
    pub(crate) limit: Duration,
    may_publish: OnceLock<bool>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("endpoint", &self.endpoint)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
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
        let endpoint = endpoint.clone().with_prefix(prefix).map_err(AdminError::Prefix)?;
        let seat = sit(&endpoint, limit, 0).await?;
        Ok(Self {
            seat: Mutex::new(seat),
            endpoint,
            prefix: prefix.to_owned(),
            limit,
            may_publish: OnceLock::new(),
        })
    }

    /// One command. A reply of the wrong type is blamed on `key`.
    pub(crate) async fn ask<T: FromRedisValue>(&self, key: &str, command: &Cmd) -> Result<T, AdminError> {
        match self.reply(command).await? {
            Value::ServerError(error) => Err(refused(key, &error)),
            reply => redis::from_redis_value(reply).map_err(|error| self.failed(key, &error.into())),
        }
    }

    /// The reply to one command.
    pub(crate) async fn reply(&self, command: &Cmd) -> Result<Value, AdminError> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command.clone());
        let (replies, is_followed) = self.exchange(&commands).await?;
        let reply = replies.into_iter().next().unwrap_or_default();
        if let Some((kind, cursor)) = cursor(command) {
            let is_first = cursor == b"0";
            // The cursor of one node means something else at another, where less would be found.
            if kind == Scan::OfKey && !self.seat().scan(is_first, is_followed) {
                return Err(AdminError::Refused(MOVING.to_owned()));
            }
            if !next_cursor(&reply).is_none_or(|next| self.seat().goes_on(is_first, next)) {
                let why = format!(
                    "its scan comes to no end: it named a cursor twice, or more than {PARTS} of them; is it \
                     a Redis?"
                );
                return Err(self.unusable(why));
            }
        }
        Ok(reply)
    }

    /// The replies to commands, and whether some are of another node. Those that send elsewhere are followed,
    /// or waited for: what is left of them when the time is over, is left.
    async fn exchange(&self, commands: &Pipeline) -> Result<(Vec<Value>, bool), AdminError> {
        let deadline = Instant::now() + self.limit;
        loop {
            let mut replies = self.send(commands).await?;
            let detour = self.seat().detour();
            match detour.follow(commands, &mut replies, deadline).await {
                Redirected::No => return Ok((replies, false)),
                Redirected::Followed => return Ok((replies, true)),
                redirected => {
                    if !self.redirect(redirected == Redirected::Moved, deadline).await? {
                        return Ok((replies, false));
                    }
                }
            }
        }
    }

    async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, AdminError> {
        let mut connection = self.seat().connection();
        let replies = connection.send_packed_commands(commands, 0, commands.len());
        let replies = time::timeout(self.limit, replies).await;
        let mut replies = replies
            .map_err(|_| self.timed_out())?
            .map_err(|error| self.failed("", &error))?;
        for reply in &mut replies {
            if let Some(error) = cut(reply) {
                *reply = Value::ServerError(error.clone());
            }
        }
        Ok(replies)
    }

    /// Connects to the node that the keys are at now, or waits for them to get there; false when the time is
    /// over.
    async fn redirect(&self, has_moved: bool, deadline: Instant) -> Result<bool, AdminError> {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        // A node may know of the move before the others do.
        time::sleep(PAUSE).await;
        if has_moved {
            let number = self.number();
            let seat = sit(&self.endpoint, self.limit, number + 1).await?;
            self.seat().replace(seat);
        }
        Ok(true)
    }

    /// Whether all keys are, and were since the connection of this number, at the node that is asked: SCAN
    /// tells of no other. To be asked when it has answered.
    pub(crate) async fn is_whole(&self, number: u64) -> Result<bool, AdminError> {
        if !self.endpoint.is_cluster() {
            return Ok(true);
        }
        let mut question = Pipeline::with_capacity(1);
        question.cmd("HMGET").arg(self.keys().nothing()).arg("field");
        let (_, is_followed) = self.exchange(&question).await?;
        Ok(!is_followed && self.number() == number)
    }

    /// Counts the connections.
    pub(crate) fn number(&self) -> u64 {
        self.seat().number()
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Independent questions in one round trip. Only the reply that a key is of another type, or too
    /// large, is left to the caller: it says something about that key, every other error something about all
    /// of them.
    pub(crate) async fn ask_all(&self, questions: &Pipeline) -> Result<Vec<Value>, AdminError> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let (replies, _) = self.exchange(questions).await?;
        for reply in &replies {
            if let Value::ServerError(error) = reply
                && !matches!(error.code(), "WRONGTYPE" | TOO_LARGE)
            {
                return Err(refused("", error));
            }
        }
        Ok(replies)
    }

    /// Whether this Redis user may publish what it changes; found out by a message that says nothing.
    pub(crate) async fn may_publish(&self) -> Result<bool, AdminError> {
        if let Some(known) = self.may_publish.get() {
            return Ok(*known);
        }
        let mut nothing = redis::cmd("PUBLISH");
        nothing.arg(self.keys().changes()).arg("");
        let may = self.answer(&nothing).await?.is_ok();
        Ok(*self.may_publish.get_or_init(|| may))
    }

    /// The news of a transaction, for gates to which Redis does not tell what changes. `None` where it
    /// changes nothing that they keep.
    fn news(&self, changes: &Pipeline) -> Option<Cmd> {
        let mut changed = BTreeSet::new();
        for command in changes.cmd_iter() {
            let mut words = command.args_iter().filter_map(|word| match word {
                Arg::Simple(word) => std::str::from_utf8(word).ok(),
                _ => None,
            });
            let keys = if words.next() == Some("DEL") {
                usize::MAX
            } else {
                1
            };
            let names = self.keys();
            changed.extend(words.take(keys).filter(|key| names.known(key).is_some()));
        }
        let news: Vec<&str> = changed.into_iter().collect();
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.keys().changes()).arg(news.join("\n"));
        (!news.is_empty()).then_some(publish)
    }

    /// One transaction, which publishes what it changes; `None` when a watched key was changed, or is at
    /// another node now. MULTI goes ahead alone: sent together with the changes and refused (an ACL without
    /// it), the changes would be carried out one by one.
    pub(crate) async fn transact(
        &self,
        key: &str,
        changes: &Pipeline,
    ) -> Result<Option<Vec<Value>>, AdminError> {
        let deadline = Instant::now() + self.limit;
        let mut news = self.news(changes);
        if news.is_some() && !self.may_publish().await? {
            news = None;
        }
        let mut all = changes.clone();
        let answers = all.len();
        if let Some(news) = news {
            all.add_command(news);
        }
        all.cmd("EXEC");
        let (replies, done) = loop {
            let (has_watched, is_guarded) = self.seat().take_watch();
            if has_watched && !is_guarded {
                return Ok(None);
            }
            self.ask::<()>(key, &redis::cmd("MULTI")).await?;
            let mut replies = self.send(&all).await?;
            let done = replies.pop();
            let mut refusals = replies.iter().chain(&done).filter_map(server_error);
            let Some(redirected) = refusals.find(|error| is_elsewhere(error)) else {
                break (replies, done);
            };
            // None of it was carried out.
            let has_moved = redirected.code() == "MOVED";
            if !self.redirect(has_moved, deadline).await? {
                break (replies, done);
            }
            if has_watched {
                return Ok(None);
            }
        };
        let odd = || AdminError::Refused("a transaction was answered with something else".to_owned());
        match done {
            Some(Value::Nil) => Ok(None),
            Some(Value::Array(mut done)) => match done.iter().find_map(server_error) {
                Some(error) => Err(refused(key, error)),
                None => {
                    done.truncate(answers);
                    Ok(Some(done))
                }
            },
            // The first that was refused says why all of it was.
            Some(Value::ServerError(error)) => Err(refused(
                key,
                replies.iter().find_map(server_error).unwrap_or(&error),
            )),
            _ => Err(odd()),
        }
    }

    /// Removes a key, in a transaction of its own; whether it was there.
    pub(crate) async fn delete(&self, key: &str) -> Result<bool, AdminError> {
        let mut changes = redis::pipe();
        changes.cmd("DEL").arg(key);
        let done = self.transact(key, &changes).await?.unwrap_or_default();
        Ok(done.first().is_some_and(|removed| *removed != Value::Int(0)))
    }

    pub(crate) async fn watch(&self, keys: &[&str]) -> Result<(), AdminError> {
        self.ask::<()>("", redis::cmd("WATCH").arg(keys)).await?;
        self.watched();
        Ok(())
    }

    /// WATCH was sent, and so the next transaction has to be on this connection.
    pub(crate) fn watched(&self) {
        self.seat().watch();
    }

    pub(crate) fn keys(&self) -> KeyNames<'_> {
        KeyNames::new(&self.prefix)
    }

    pub(crate) async fn unwatch(&self) -> Result<(), AdminError> {
        self.seat().take_watch();
        self.ask("", &redis::cmd("UNWATCH")).await
    }

    fn unusable(&self, why: String) -> AdminError {
        AdminError::Unusable {
            endpoint: self.endpoint.to_string(),
            why,
        }
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
            if let Some(why) = self.seat().why_ended() {
                return self.unusable(why);
            }
            return AdminError::Unreachable {
                endpoint: self.endpoint.to_string(),
                why: describe(error),
            };
        }
        AdminError::Refused(describe(error))
    }
}

/// What is scanned.
#[derive(PartialEq, Eq)]
enum Scan {
    AllKeys,
    OfKey,
}

/// The cursor of a SCAN or an HSCAN.
fn cursor(command: &Cmd) -> Option<(Scan, &[u8])> {
    let mut words = command.args_iter();
    let (scan, cursor) = match words.next()? {
        Arg::Simple(b"SCAN") => (Scan::AllKeys, words.next()?),
        Arg::Simple(b"HSCAN") => (Scan::OfKey, words.nth(1)?),
        _ => return None,
    };
    match cursor {
        Arg::Simple(cursor) => Some((scan, cursor)),
        _ => None,
    }
}

/// Where a scan is to be sent on.
fn next_cursor(reply: &Value) -> Option<u64> {
    match reply {
        Value::Array(parts) => redis::from_redis_value_ref(parts.first()?).ok(),
        _ => None,
    }
}

/// Connects, as the `number`th time.
async fn sit(endpoint: &Endpoint, limit: Duration, number: u64) -> Result<Seat, AdminError> {
    let opened = open_with_detour(endpoint, limit).await;
    let (connection, driver, detour, ending) = opened.map_err(|failure| match failure {
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
    Ok(Seat::new(connection, driver, detour, ending, number))
}

pub(crate) fn server_error(reply: &Value) -> Option<&ServerError> {
    match reply {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

pub(crate) fn unreadable(key: &str, why: Unreadable) -> AdminError {
    match why {
        // To delete the key would be to delete the account.
        Unreadable::Bad(why) if why.starts_with("field ") => AdminError::BadRecord {
            key: key.to_owned(),
            why: format!("{why}; set it anew, or remove the field: redis-cli HDEL {key} FIELD"),
        },
        Unreadable::Bad(why) => AdminError::BadRecord {
            key: key.to_owned(),
            why: format!("{why}; {WRONG_KEY}"),
        },
        Unreadable::Refused(error) => refused(key, &error),
    }
}
