//! A batch of questions: one pipeline to Redis, its replies to records, passwords verified, answers posted.
//!
//! Spawned by `runtime` per batch. Invariants: one round trip whatever the number of jobs, and one more for those whose users
//! are in groups; a user, a group and defaults that several jobs ask for are asked and encoded once; one user's bad record, slow hash or unresolvable backend delays
//! or fails no other user; the mark that tells how old an answer may be is noted before the question is sent.

pub(crate) mod assemble;
pub(crate) mod questions_and_replies;
pub(crate) mod reply_cache;
pub(crate) mod resolver;
pub(crate) mod shared;

use crate::lookup::assemble::Settling;
use crate::lookup::questions_and_replies::{Asked, Entry, Part, User};
use crate::lookup::reply_cache::Familiars;
use crate::lookup::resolver::Resolver;
use crate::lookup::shared::{Shared, SharedCache};
use crate::messages::By;
use crate::queue::events::{Completions, Mark};
use crate::queue::pending::{Answer, Waiting};
use crate::single_flight::Flights;
use crate::verify::verdict::Passwords;
use redis::{Cmd, Pipeline, Value};
use registry_auth_redis::connection::open::describe;
use registry_auth_redis::connection::supervisor::Link;
use registry_auth_redis::log::{Level, Log};
use registry_auth_redis::schema::keys::{Keys, PUBLIC};
use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{self, Instant};

/// Users asked for in one pipeline, and in all pipelines at a time; the others wait for their turn. What Redis answers about them takes
/// many times the room of a record while it is read.
pub(crate) const TOGETHER: usize = 128;
pub(crate) const AT_A_TIME: usize = 512;

/// What every lookup needs; lives as long as the helper.
pub(crate) struct Context {
    pub(crate) link: Link,
    /// Limit of a lookup's Redis part.
    pub(crate) timeout: Duration,
    pub(crate) passwords: Passwords,
    pub(crate) completions: Arc<Completions>,
    pub(crate) log: Log,
    pub(crate) resolver: Arc<Resolver>,
    /// What is being asked.
    pub(crate) underway: Arc<Flights<Waiting>>,
    pub(crate) shared: SharedCache,
    pub(crate) familiars: Arc<Familiars>,
    /// [`AT_A_TIME`]
    pub(crate) turns: Semaphore,
}

impl Context {
    /// A question about the job's user, unless one is under way that it can wait for.
    ///
    /// That one may have been asked before this job came. It is no older for that than what a cache would tell, as the
    /// answer is checked against changes when it is posted; without tracking only jobs of one batch share a question.
    pub(crate) fn board(&self, mut job: Waiting, batch: u64) -> Option<Asked> {
        job.batch = batch;
        let shared = self.completions.tracking();
        let same =
            |a: &Waiting, b: &Waiting| (shared || a.batch == b.batch) && a.subject.key() == b.subject.key();
        let subject = job.subject.clone();
        let by_token = matches!(job.by, By::AccessToken(_));
        // The prefix is nearly always the same: not worth hashing.
        let flight = self.underway.board(subject.name(), job, same)?;
        let familiar = subject.user().and_then(|user| {
            let key = (&*subject.space.prefix, user);
            self.familiars.find(flight.hash(), key)
        });
        Some(Asked {
            subject,
            flight,
            familiar,
            by_token,
        })
    }
}

/// Answers a whole batch, of [`TOGETHER`] at most.
pub(crate) async fn run(context: Arc<Context>, mut asked: Vec<Asked>) {
    let deadline = Instant::now() + context.timeout;
    let count = u32::try_from(asked.len()).unwrap_or(u32::MAX);
    let Ok(Ok(_turn)) = time::timeout_at(deadline, context.turns.acquire_many(count)).await else {
        return;
    };
    // Equal spaces become neighbours: `parts` relies on it.
    asked.sort_unstable_by(space_order);
    let pipeline = questions(&asked);
    let Some((replies, mark)) = exchange(&context, &pipeline, deadline).await else {
        return;
    };
    let mut replies = replies.into_iter();
    let mut answers = Vec::with_capacity(asked.len());
    let mut read = Vec::with_capacity(1);
    while !asked.is_empty() {
        let length = parts(&asked).next().map_or(0, <[Asked]>::len);
        let rest = asked.split_off(length);
        read.push(questions_and_replies::read(&context, asked, &mut replies));
        asked = rest;
    }
    let pipeline = group_questions(&read);
    if !pipeline.is_empty() {
        // Who is in no group need not wait.
        for part in &mut read {
            answer(&context, part.split_off_groupless(), mark, deadline, &mut answers);
        }
        context.completions.post(std::mem::take(&mut answers));
        // What the groups say may be newer than the mark; then all is asked for once more.
        let Some((replies, _)) = exchange(&context, &pipeline, deadline).await else {
            return;
        };
        let mut replies = replies.into_iter();
        for part in &mut read {
            part.read_groups(&context, &mut replies);
        }
    }
    for part in read {
        answer(&context, part, mark, deadline, &mut answers);
    }
    context.completions.post(answers);
}

/// Nearly always there is one space only, and its jobs share it. (The salt plays no role in a question.)
fn space_order(a: &Asked, b: &Asked) -> Ordering {
    let (a, b) = (&a.subject.space, &b.subject.space);
    if Arc::ptr_eq(a, b) {
        return Ordering::Equal;
    }
    a.prefix.cmp(&b.prefix)
}

/// The questions of each space.
fn parts(asked: &[Asked]) -> impl Iterator<Item = &[Asked]> {
    asked.chunk_by(|a, b| space_order(a, b).is_eq())
}

/// The users of one space.
fn users(part: &[Asked]) -> impl Iterator<Item = &str> {
    users_of(part.iter())
}

/// Those of them whose password may be in `P:passwords`.
pub(crate) fn users_without_password(part: &[Asked]) -> impl Iterator<Item = &str> {
    users_of(part.iter().filter(|asked| !asked.has_password()))
}

fn users_of<'a>(asked: impl Iterator<Item = &'a Asked>) -> impl Iterator<Item = &'a str> {
    asked.filter_map(|asked| asked.subject.user())
}

/// For each space: `LRANGE P:backends`, `HGETALL P:group:public`, `HMGET P:passwords` of its users but those who had a password of
/// their own the last time, `HGETALL P:user:<name>` of each user.
fn questions(asked: &[Asked]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(asked.len() + 3);
    for part in parts(asked) {
        let Some(first) = part.first() else { continue };
        let keys = Keys::new(&first.subject.space.prefix);
        pipeline
            .add_command(command("LRANGE", &keys.backends(), 2))
            .arg("0")
            .arg("-1");
        pipeline.add_command(command("HGETALL", &keys.group(PUBLIC), 0));
        if users_without_password(part).next().is_some() {
            pipeline.add_command(command("HMGET", &keys.passwords(), part.len()));
            for user in users_without_password(part) {
                pipeline.arg(user);
            }
        }
        let mut key = String::new();
        for user in users(part) {
            keys.write_user(user, &mut key);
            pipeline.add_command(command("HGETALL", &key, 0));
        }
    }
    pipeline
}

/// `HGETALL P:group:<name>` of each group that a user is in.
fn group_questions(read: &[Part]) -> Pipeline {
    let mut pipeline = Pipeline::new();
    let mut key = String::new();
    for part in read {
        for name in part.groups() {
            Keys::new(part.prefix()).write_group(name, &mut key);
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
async fn exchange(context: &Context, pipeline: &Pipeline, deadline: Instant) -> Option<(Vec<Value>, Mark)> {
    for _ in 0..2 {
        let mut live = context.link.live(deadline).await?;
        let mark = context.completions.mark(live.epoch);
        let sent = Instant::now();
        let replies = live.connection.send_packed_commands(pipeline, 0, pipeline.len());
        match time::timeout_at(deadline, replies).await {
            Ok(Ok(replies)) if replies.len() == pipeline.len() => {
                if replies.iter().any(is_logged_out) {
                    context.link.broken(live.epoch);
                }
                context.link.answered();
                return Some((replies, mark));
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
fn answer(context: &Arc<Context>, part: Part, mark: Mark, deadline: Instant, answers: &mut Vec<Answer>) {
    let lacks_names =
        |shared: &Shared| matches!(shared, Shared::Names(record) if assemble::lacks_names(context, record));
    if part.records.all().any(lacks_names) {
        tokio::spawn(resolve_first(Arc::clone(context), part, mark, deadline));
        return;
    }
    let mut settling = Settling::new(context, mark, &part.records);
    for user in part.users {
        if context.completions.is_closed() {
            // Dropped, and so answered.
            return;
        }
        if matches!(&user.entry, Entry::Known(record) if assemble::lacks_names(context, record)) {
            let alone = Part {
                space: part.space.clone(),
                records: Arc::clone(&part.records),
                users: vec![user],
            };
            tokio::spawn(resolve_first(Arc::clone(context), alone, mark, deadline));
        } else {
            settling.user(user, answers);
        }
    }
}

/// Resolves all names of `part`, at most until `deadline`, then answers its jobs.
async fn resolve_first(context: Arc<Context>, part: Part, mark: Mark, deadline: Instant) {
    let shared = part.records.all().filter_map(|shared| match shared {
        Shared::Names(record) => Some(record),
        _ => None,
    });
    let own = part.users.iter().filter_map(|user: &User| match &user.entry {
        Entry::Known(record) => Some(record),
        _ => None,
    });
    let names = own.chain(shared).flat_map(|record| &record.backends);
    let asked = names.map(|peer| context.resolver.resolve(&peer.name, deadline));
    futures_util::future::join_all(asked).await;
    let mut settling = Settling::new(&context, mark, &part.records);
    let mut answers = Vec::new();
    for user in part.users {
        settling.user(user, &mut answers);
    }
    context.completions.post(answers);
}
