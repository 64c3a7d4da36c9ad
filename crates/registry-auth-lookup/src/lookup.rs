//! A batch of questions: one pipeline to Redis, its replies to records, passwords verified, answers posted.
//!
//! Spawned by `store` for each batch. Invariants: one round trip whatever the number of jobs, and one more
//! for those whose users are in groups; a user, a group and defaults that several jobs ask for are asked and
//! encoded once; one user's bad record, slow hash or unresolvable backend delays or fails no other user; the
//! mark that tells how old an answer may be is noted before the question is sent.

pub(crate) mod assemble;
pub(crate) mod encode;
pub(crate) mod large_keys;
pub(crate) mod questions_and_replies;
pub(crate) mod reply_cache;
pub(crate) mod resolver;
pub(crate) mod shared_records;
pub(crate) mod token_owners;

use crate::activity::Activity;
use crate::lookup::assemble::{Assembly, Tools};
use crate::lookup::encode::Encoder;
use crate::lookup::large_keys::LargeKeys;
use crate::lookup::questions_and_replies::{
    KeyspaceReply, Question, Reader, UserState, group_questions, questions, sort,
};
use crate::lookup::reply_cache::ReplyCache;
use crate::lookup::shared_records::SharedRecord;
use crate::messages::Proof;
use crate::queue::basis::ReadMark;
use crate::queue::pending::{JobAnswer, Outbox, PendingJob};
use crate::single_flight::SingleFlight;
use crate::verify::verdict::Passwords;
use redis::{Pipeline, RedisResult, Value};
use registry_auth_redis::connection::cluster::Redirected;
use registry_auth_redis::connection::open::describe;
use registry_auth_redis::connection::supervisor::{Link, Live};
use registry_auth_redis::log::Level;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{self, Instant};

/// Users asked for in one pipeline, and in all pipelines at a time; the others wait for their turn. What
/// Redis answers about them takes many times the room of a record while it is read.
pub(crate) const TOGETHER: usize = 128;
pub(crate) const AT_A_TIME: usize = 512;

/// Pipelines that are waited for when nobody waits for their replies any more, to learn what was too large.
pub(crate) const LATE: usize = 16;
/// For how long.
const LATE_FOR: Duration = Duration::from_secs(30);

/// What every lookup needs; lives as long as the helper.
pub(crate) struct Lookups {
    pub(crate) link: Link,
    /// Limit of a lookup's Redis part.
    pub(crate) timeout: Duration,
    pub(crate) activity: Arc<Activity>,
    pub(crate) passwords: Passwords,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) encoder: Encoder,
    /// What is being asked.
    pub(crate) under_way: Arc<SingleFlight<PendingJob>>,
    pub(crate) cache: ReplyCache,
    /// [`AT_A_TIME`]
    pub(crate) turns: Semaphore,
    pub(crate) large_keys: Arc<LargeKeys>,
    /// [`LATE`]
    pub(crate) late: Arc<Semaphore>,
}

impl Lookups {
    /// A question about the job's user, unless one is under way that it can wait for.
    ///
    /// The question under way may have been sent before this job came. Its answer is no older than a cached
    /// one, as it is checked against changes when it is posted; without tracking only jobs of one batch share
    /// a question.
    pub(crate) fn question(&self, mut job: PendingJob, batch: &Batch) -> Option<Question> {
        job.batch = batch.number;
        job.came = batch.came;
        let deadline = *job.deadline.get_or_insert(batch.deadline);
        let shared = self.outbox.events.tracking();
        let same = |a: &PendingJob, b: &PendingJob| {
            (a.batch == b.batch || shared && !b.is_tired()) && a.key.names() == b.key.names()
        };
        let key = job.key.clone();
        let by_token = matches!(job.proof, Proof::AccessToken(_));
        // The prefix is nearly always the same: not worth hashing.
        let flight = self.under_way.join(key.name(), job, same)?;
        let remembered = key.user().and_then(|user| {
            let names = (&*key.space.prefix, user);
            self.cache.user(flight.hash(), names)
        });
        Some(Question {
            key,
            flight,
            deadline,
            remembered,
            by_token,
        })
    }

    /// What holds for jobs that are asked for now.
    pub(crate) fn batch(&self, number: u64) -> Batch {
        Batch {
            number,
            came: self.outbox.events.next_mark(),
            deadline: Instant::now() + self.timeout,
        }
    }

    /// Nothing was read before the deadline. Those whose question was another's may have time left.
    fn give_up(&self, questions: impl Iterator<Item = Question>, deadline: Instant) {
        if deadline <= Instant::now() {
            let jobs = questions.flat_map(|question| question.flight.finish());
            self.outbox.retry_in_time(jobs);
        }
    }

    fn tools(&self) -> Tools<'_> {
        Tools {
            passwords: &self.passwords,
            outbox: &self.outbox,
            cache: &self.cache,
            encoder: &self.encoder,
        }
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            cache: &self.cache,
            encoder: &self.encoder,
            events: &self.outbox.events,
        }
    }
}

/// What is common to jobs that are asked for at the same time.
pub(crate) struct Batch {
    number: u64,
    /// The number of the first mark from then on.
    came: u64,
    /// Until when those wait who have just come.
    deadline: Instant,
}

/// Answers a whole batch, of [`TOGETHER`] at most.
pub(crate) async fn run(lookups: Arc<Lookups>, mut batch: Vec<Question>) {
    // Whoever has less time than others gives them another chance.
    let Some(deadline) = batch.iter().map(|question| question.deadline).min() else {
        return;
    };
    let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
    let Ok(Ok(_turn)) = time::timeout_at(deadline, lookups.turns.acquire_many(count)).await else {
        return lookups.give_up(batch.into_iter(), deadline);
    };
    sort(&mut batch);
    let pipeline = questions(&batch);
    let Some((replies, mut mark)) = exchange(&lookups, pipeline, deadline).await else {
        return lookups.give_up(batch.into_iter(), deadline);
    };
    let mut answers = Vec::with_capacity(batch.len());
    let mut read = lookups.reader().read(batch, &mut replies.into_iter());
    let pipeline = group_questions(&read);
    if !pipeline.is_empty() {
        // Who is in no group need not wait.
        for part in &mut read {
            answer(&lookups, part.split_off_groupless(), mark, deadline, &mut answers);
        }
        lookups.outbox.post(std::mem::take(&mut answers));
        // What the groups say may be newer than the mark; then all is asked for once more.
        let Some((replies, later)) = exchange(&lookups, pipeline, deadline).await else {
            let users = read.into_iter().flat_map(|part| part.users);
            return lookups.give_up(users.map(|user| user.question), deadline);
        };
        mark = mark.and(later);
        lookups.reader().read_groups(&mut read, &mut replies.into_iter());
    }
    for part in read {
        answer(&lookups, part, mark, deadline, &mut answers);
    }
    lookups.outbox.post(answers);
}

/// Sends the pipeline and waits for its replies, until `deadline` at most: that fails the lookup, and is no
/// reason to leave the connection, which the supervisor watches. Asks a second time when the connection turns
/// out to be dead (Redis was restarted, or closed an idle connection), or another node has the slot, and a
/// new one is there in time; reading twice does no harm.
async fn exchange(
    lookups: &Lookups,
    pipeline: Pipeline,
    deadline: Instant,
) -> Option<(Vec<Value>, ReadMark)> {
    let pipeline = Arc::new(pipeline);
    for _ in 0..2 {
        let asked = Instant::now();
        let live = lookups.link.live(deadline).await?;
        let mut mark = lookups.outbox.events.mark(live.epoch);
        let rest = lookups.large_keys.rest(&pipeline);
        let questions = rest.as_ref().map_or(&pipeline, |rest| &rest.pipeline);
        match ask(lookups, &live, questions, deadline).await? {
            Ok(mut replies) if replies.len() == questions.len() => {
                let link = &lookups.link;
                match link.follow(live.epoch, questions, &mut replies, deadline).await {
                    Redirected::No => {}
                    Redirected::Followed => mark = mark.elsewhere(),
                    Redirected::Moved if link.replaced(live.epoch, deadline).await => continue,
                    Redirected::Moved | Redirected::Moving => return None,
                }
                if replies.iter().any(is_logged_out) {
                    lookups.link.broken(live.epoch);
                }
                lookups.large_keys.note(questions, &mut replies);
                if let Some(rest) = rest {
                    rest.complete(&mut replies);
                }
                lookups.link.answered();
                lookups.activity.looked_up(asked.elapsed());
                return Some((replies, mark));
            }
            Err(error) if error.is_connection_dropped() => {}
            Err(error) => {
                let message = format!("a lookup in Redis failed: {}", describe(&error));
                let log = &lookups.encoder.log;
                log.write_once("exchange", Level::Error, &message);
                lookups.link.broken(live.epoch);
            }
            Ok(_) => lookups.link.broken(live.epoch),
        }
        if !lookups.link.replaced(live.epoch, deadline).await {
            return None;
        }
    }
    None
}

/// The replies on a connection; `None` at the deadline. What comes later is looked at all the same: a value
/// that is too large to come in time is too large the next time, too.
async fn ask(
    lookups: &Lookups,
    live: &Live,
    questions: &Arc<Pipeline>,
    deadline: Instant,
) -> Option<RedisResult<Vec<Value>>> {
    let mut replies = Box::pin({
        let (mut connection, questions) = (live.connection.clone(), Arc::clone(questions));
        async move {
            connection
                .send_packed_commands(&questions, 0, questions.len())
                .await
        }
    });
    if let Ok(replies) = time::timeout_at(deadline, &mut replies).await {
        return Some(replies);
    }
    if let Ok(turn) = Arc::clone(&lookups.late).try_acquire_owned() {
        let (large_keys, questions) = (Arc::clone(&lookups.large_keys), Arc::clone(questions));
        tokio::spawn(async move {
            if let Ok(Ok(mut replies)) = time::timeout(LATE_FOR, replies).await {
                large_keys.note(&questions, &mut replies);
            }
            drop(turn);
        });
    }
    None
}

/// A password was set while we were connected: a new connection logs in with what we have, or says why not.
fn is_logged_out(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.code() == "NOAUTH")
}

/// Answers what can be answered without DNS; the rest waits for its names in a task of its own.
fn answer(
    lookups: &Arc<Lookups>,
    mut part: KeyspaceReply,
    mark: ReadMark,
    deadline: Instant,
    answers: &mut Vec<JobAnswer>,
) {
    let encoder = &lookups.encoder;
    let lacks_names = |shared: &SharedRecord| match shared {
        SharedRecord::HasNames(record) => encoder.lacks_names(record),
        _ => false,
    };
    // Everybody needs these.
    if [&part.shared.defaults, &part.shared.public]
        .into_iter()
        .any(lacks_names)
    {
        tokio::spawn(resolve_first(Arc::clone(lookups), part, mark, deadline));
        return;
    }
    let users = std::mem::take(&mut part.users);
    let mut assembly = Assembly::new(lookups.tools(), mark, &part.shared);
    for user in users {
        if lookups.outbox.events.is_closed() {
            // Dropped, and so answered.
            return;
        }
        let lacks_own = matches!(&user.state, UserState::Known(record) if encoder.lacks_names(record));
        if lacks_own || part.groups_of(&user).any(lacks_names) {
            let alone = part.of(vec![user]);
            tokio::spawn(resolve_first(Arc::clone(lookups), alone, mark, deadline));
        } else {
            assembly.user(user, answers);
        }
    }
}

/// Resolves all names of `part`, at most until `deadline`, then answers its jobs.
async fn resolve_first(lookups: Arc<Lookups>, part: KeyspaceReply, mark: ReadMark, deadline: Instant) {
    let everybodys = [&part.shared.defaults, &part.shared.public];
    let groups = part.users.iter().flat_map(|user| part.groups_of(user));
    let shared = everybodys.into_iter().chain(groups);
    let shared = shared.filter_map(|shared| match shared {
        SharedRecord::HasNames(record) => Some(record),
        _ => None,
    });
    let own = part.users.iter().filter_map(|user| match &user.state {
        UserState::Known(record) => Some(record),
        _ => None,
    });
    let peers = own.chain(shared).flat_map(|record| &record.backends);
    let names = peers.filter(|peer| peer.addresses.is_empty());
    let asked = names.map(|peer| lookups.encoder.resolver.resolve(&peer.name, deadline));
    futures_util::future::join_all(asked).await;
    let mut assembly = Assembly::new(lookups.tools(), mark, &part.shared);
    let mut answers = Vec::new();
    for user in part.users {
        assembly.user(user, &mut answers);
    }
    lookups.outbox.post(answers);
}
