//! The Redis server itself: its latency and version, whether it may drop records, whether it reports changes.
//!
//! Called by the tool's `check`. Guarantee: it changes nothing, and what Redis refuses is part of the answer.

use crate::client::Admin;
use crate::error::AdminError;
use redis::{Cmd, Value};
use registry_auth_redis::connection::ladder::probe;
use registry_auth_redis::connection::open::describe;
use registry_auth_redis::{Changes, Rung};
use std::time::{Duration, Instant};

/// What [`Admin::health`] found. What the Redis user may not ask is `None`.
#[derive(Debug, Clone)]
pub struct Health {
    /// Of one round trip, the fastest of a few.
    pub latency: Duration,
    /// `7.0.15`.
    pub version: Option<String>,
    /// `maxmemory-policy`.
    pub policy: Option<String>,
    /// `master` or `slave`.
    pub role: Option<String>,
    /// Why INFO could not be asked.
    pub refused: Option<String>,
    /// How Redis tells what changes to a gate of this Redis user, and why not better.
    pub changes: (Rung, Vec<String>),
    /// Where it publishes what it changes.
    pub channel: String,
    /// Whether this Redis user may publish what it changes.
    pub may_publish: bool,
    /// What the module's lookups ask and this Redis user may not, with Redis' words.
    pub lookups: Vec<(&'static str, String)>,
}

/// Round trips of which the fastest counts.
const PINGS: u32 = 5;

impl Admin {
    /// Asks the server about itself.
    ///
    /// # Errors
    /// Of the connection only: what is refused is part of the answer.
    pub async fn health(&self) -> Result<Health, AdminError> {
        let mut latency = Duration::MAX;
        for _ in 0..PINGS {
            let asked = Instant::now();
            // An answer is an answer: a restricted user may not PING.
            let _any = self.answer(&redis::cmd("PING")).await?;
            latency = latency.min(asked.elapsed());
        }
        let (info, refused) = match self.answer(&redis::cmd("INFO")).await? {
            Ok(value) => (text(value), None),
            Err(why) => (String::new(), Some(why)),
        };
        let field = |name: &str| {
            let mut lines = info.lines();
            lines
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        Ok(Health {
            latency,
            version: field("redis_version"),
            policy: field("maxmemory_policy"),
            role: field("role"),
            refused,
            changes: self.changes().await,
            channel: self.keys().changes(),
            may_publish: self.may_publish().await?,
            lookups: self.lookups().await?,
        })
    }

    /// Asks for nobody, with each command that the module's lookups have.
    async fn lookups(&self) -> Result<Vec<(&'static str, String)>, AdminError> {
        let keys = self.keys();
        let mut refused = Vec::new();
        let mut ask = async |command: &Cmd, name: &'static str| {
            let answer = self.answer(command).await?;
            refused.extend(
                answer
                    .err()
                    .filter(|why| why.contains("NOPERM"))
                    .map(|why| (name, why)),
            );
            Ok::<_, AdminError>(())
        };
        ask(redis::cmd("HGETALL").arg(keys.user("")), "HGETALL").await?;
        ask(redis::cmd("HMGET").arg(keys.passwords()).arg(""), "HMGET").await?;
        ask(redis::cmd("LRANGE").arg(keys.backends()).arg(0).arg(0), "LRANGE").await?;
        Ok(refused)
    }

    /// Tries on connections of their own, as the module does.
    async fn changes(&self) -> (Rung, Vec<String>) {
        let prefixes = [self.prefix.as_str().into()];
        let probed = probe(&self.endpoint, &prefixes, Changes::Auto, self.limit).await;
        probed.unwrap_or_else(|failure| (Rung::Ttl, vec![failure.to_string()]))
    }

    /// The reply, or what Redis said instead.
    pub(crate) async fn answer(&self, command: &Cmd) -> Result<Result<Value, String>, AdminError> {
        Ok(match self.reply(command).await? {
            Value::ServerError(error) => Err(describe(&error.into())),
            value => Ok(value),
        })
    }
}

fn text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::VerbatimString { text, .. } => text,
        _ => String::new(),
    }
}
