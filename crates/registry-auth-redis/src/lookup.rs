//! A batch of jobs: one pipeline to Redis, its replies to records, passwords verified, answers posted.
//!
//! Spawned by `runtime` per batch. Invariants: one round trip whatever the number of jobs; users and defaults that
//! several jobs ask for are asked and encoded once; one user's bad record, slow hash or unresolvable backend delays
//! or fails no other user.

use crate::completions::{Batch, Completions};
use crate::connection::{describe, Link};
use crate::defaults::{Defaults, DefaultsCache};
use crate::dummy::Dummies;
use crate::hashing::Pool;
use crate::job::Job;
use crate::log::{Level, Log};
use crate::reply::{self, Entry, Part};
use crate::resolve::Resolver;
use crate::schema::Keys;
use crate::settle::{self, Settling};
use crate::verify::Slow;
use redis::{Cmd, Pipeline, Value};
use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{self, Instant};

/// What every lookup needs; lives as long as the helper.
pub(crate) struct Context {
    pub(crate) link: Link,
    /// Limit of a lookup's Redis part.
    pub(crate) timeout: Duration,
    pub(crate) pool: Pool<Slow>,
    pub(crate) completions: Arc<Completions>,
    pub(crate) log: Log,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) dummies: Arc<Dummies>,
    pub(crate) defaults: DefaultsCache,
}

/// Answers a whole batch.
pub(crate) async fn run(context: Arc<Context>, mut batch: Batch) {
    let deadline = Instant::now() + context.timeout;
    // Equal spaces, and in them equal users, become neighbours: `parts` and `users` rely on it.
    batch
        .jobs
        .sort_unstable_by(|a, b| space_order(a, b).then_with(|| a.user.cmp(&b.user)));
    let pipeline = questions(&batch.jobs);
    let Some(replies) = exchange(&context, &pipeline, deadline).await else {
        return;
    };
    let mut replies = replies.into_iter();
    let parts: Vec<Part> = parts(&batch.jobs)
        .map(|jobs| reply::read(&context, jobs, &mut replies))
        .collect();
    for part in parts {
        answer(&context, &mut batch, part, deadline);
    }
}

/// Nearly always there is one space only, and its jobs share it.
fn space_order(a: &Job, b: &Job) -> Ordering {
    if Arc::ptr_eq(&a.space, &b.space) {
        return Ordering::Equal;
    }
    a.space.cmp(&b.space)
}

/// The jobs of each space.
fn parts(jobs: &[Job]) -> impl Iterator<Item = &[Job]> {
    jobs.chunk_by(|a, b| space_order(a, b).is_eq())
}

/// The jobs of each user of one space; those without a user are left out.
pub(crate) fn users(part: &[Job]) -> impl Iterator<Item = (&str, usize)> {
    part.chunk_by(|a, b| a.user == b.user)
        .filter_map(|jobs| Some((jobs.first()?.user.as_deref()?, jobs.len())))
}

/// For each space: `LRANGE P:backends`, `HMGET P:passwords` of all its users, `HGETALL P:user:<name>` of each.
fn questions(jobs: &[Job]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(jobs.len() + 2);
    for part in parts(jobs) {
        let Some(first) = part.first() else { continue };
        let keys = Keys::new(&first.space.prefix);
        pipeline
            .add_command(command("LRANGE", &keys.backends(), 2))
            .arg("0")
            .arg("-1");
        if users(part).next().is_none() {
            continue;
        }
        pipeline.add_command(command("HMGET", &keys.passwords(), part.len()));
        for (user, _) in users(part) {
            pipeline.arg(user);
        }
        let mut key = String::new();
        for (user, _) in users(part) {
            keys.write_user(user, &mut key);
            pipeline.add_command(command("HGETALL", &key, 0));
        }
    }
    pipeline
}

/// A command with room for `more` short arguments, so that it is allocated once.
fn command(name: &str, key: &str, more: usize) -> Cmd {
    let mut command = Cmd::with_capacity(2 + more, name.len() + key.len() + 16 * more);
    command.arg(name).arg(key);
    command
}

/// Sends the pipeline and waits for its replies. Asks a second time when the connection turns out to be dead (Redis
/// was restarted, or closed an idle connection) and a new one is there in time; reading twice does no harm.
async fn exchange(context: &Context, pipeline: &Pipeline, deadline: Instant) -> Option<Vec<Value>> {
    for _ in 0..2 {
        let mut live = context.link.live(deadline).await?;
        let sent = Instant::now();
        let replies = live.connection.send_packed_commands(pipeline, 0, pipeline.len());
        match time::timeout_at(deadline, replies).await {
            Ok(Ok(replies)) if replies.len() == pipeline.len() => {
                if replies.iter().any(is_logged_out) {
                    context.link.broken(live.epoch);
                }
                context.link.answered();
                return Some(replies);
            }
            Ok(Err(error)) if error.is_connection_dropped() => {
                if !context.link.replaced(live.epoch, deadline).await {
                    return None;
                }
            }
            Ok(Err(error)) => {
                context
                    .log
                    .write_once("exchange", Level::Error, &format!("Redis: {}", describe(&error)));
                context.link.broken(live.epoch);
                return None;
            }
            Ok(Ok(_)) => {
                context.link.broken(live.epoch);
                return None;
            }
            Err(_) => {
                // Not when most of the time went into waiting for the connection.
                if sent.elapsed() >= context.timeout / 2 {
                    context.link.broken(live.epoch);
                }
                return None;
            }
        }
    }
    None
}

/// A password was set while we were connected: a new connection logs in with what we have, or says why not.
fn is_logged_out(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.code() == "NOAUTH")
}

/// Answers what can be answered without DNS; the rest waits for its names in a task of its own.
fn answer(context: &Arc<Context>, batch: &mut Batch, mut part: Part, deadline: Instant) {
    if matches!(&part.defaults, Defaults::Names(defaults) if settle::lacks_names(context, defaults)) {
        let jobs = batch.split(part.jobs());
        tokio::spawn(resolve_first(Arc::clone(context), jobs, part, deadline));
        return;
    }
    let users = std::mem::take(&mut part.users);
    let mut settling = Settling::new(context, &part.defaults);
    settling.nobody(batch, part.anonymous);
    for user in users {
        if matches!(&user.entry, Entry::Known(record) if settle::lacks_names(context, record)) {
            let jobs = batch.split(user.jobs);
            let alone = Part {
                anonymous: 0,
                defaults: part.defaults.clone(),
                users: vec![user],
            };
            tokio::spawn(resolve_first(Arc::clone(context), jobs, alone, deadline));
        } else {
            settling.user(batch, user);
        }
    }
}

/// Resolves all names of `part`, at most until `deadline`, then answers its jobs, which are all of `batch`.
async fn resolve_first(context: Arc<Context>, mut batch: Batch, part: Part, deadline: Instant) {
    let defaults = match &part.defaults {
        Defaults::Names(record) => Some(record),
        _ => None,
    };
    let records = part.users.iter().filter_map(|user| match &user.entry {
        Entry::Known(record) => Some(record),
        _ => None,
    });
    let names = records.chain(defaults).flat_map(|record| &record.backends);
    let asked = names.map(|peer| context.resolver.resolve(&peer.name, deadline));
    futures_util::future::join_all(asked).await;
    let mut settling = Settling::new(&context, &part.defaults);
    settling.nobody(&mut batch, part.anonymous);
    for user in part.users {
        settling.user(&mut batch, user);
    }
}
