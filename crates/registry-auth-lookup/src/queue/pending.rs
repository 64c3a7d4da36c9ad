//! A job under way, from the channel to its answer.
//!
//! Made by `store`, answered through an [`Outbox`]. Invariant: however its owner ends (return, panic, an
//! aborted task, a queue that is dropped) a job gets an answer, and one only: [`PendingJob`] that is dropped
//! without one is `Unavailable`. An answer that was made of a key before a change is never posted behind that
//! change as one that may be kept: its job is asked again and, where changes come faster than answers, gets
//! what was read after it came, which is right for it and for nobody else.

use crate::messages::{Job, Keyspace, Outcome, Proof};
use crate::queue::basis::{Basis, LookupKey, ReadMark};
use crate::queue::events::EventQueue;
use crate::verify::stored_hash::HashResult;
use registry_auth::codec::AccountState;
use registry_auth::{Network, TokenDigest};
use registry_auth_redis::Secret;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

/// How often a job is asked for in the hope of an answer that can be kept. Each time costs a round trip, and
/// more than a few in a row mean a key that is written all the time.
const TRIES: u8 = 3;

/// A job that waits for its answer.
pub(crate) struct PendingJob {
    ticket: u64,
    /// With the job's own salt.
    pub(crate) space: Arc<Keyspace>,
    /// Whom the lookup is about.
    pub(crate) key: LookupKey,
    pub(crate) password: Secret,
    pub(crate) proof: Proof,
    pub(crate) from: Network,
    pub(crate) verified: Option<AccountState>,
    /// What an earlier try found out about the password.
    pub(crate) hash_result: Option<HashResult>,
    /// The batch in which it was last asked for.
    pub(crate) batch: u64,
    /// The number of the first mark after it came.
    pub(crate) came: u64,
    /// When its caller waits for Redis no longer; not known until it is asked for.
    pub(crate) deadline: Option<Instant>,
    tries: u8,
    answered: bool,
    events: Arc<EventQueue>,
}

impl PendingJob {
    pub(crate) fn new(job: Job, events: &Arc<EventQueue>) -> Self {
        let key = LookupKey {
            space: Arc::clone(&job.space),
            user: job.user,
        };
        Self {
            ticket: job.ticket,
            space: job.space,
            key,
            password: job.password,
            proof: job.proof,
            from: job.from,
            verified: job.verified,
            hash_result: None,
            batch: 0,
            came: 0,
            deadline: None,
            tries: 0,
            answered: false,
            events: Arc::clone(events),
        }
    }

    /// The access token whose owner is wanted, where that is all that is asked.
    pub(crate) fn ownerless_token(&self) -> Option<&TokenDigest> {
        match (&self.key.user, &self.proof) {
            (None, Proof::AccessToken(digest)) => Some(digest),
            _ => None,
        }
    }

    /// Whether somebody waits for the answer.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.events.is_cancelled(self.ticket)
    }

    /// Its ticket: whoever takes it posts the answer.
    fn answered(&mut self) -> u64 {
        self.answered = true;
        self.ticket
    }

    /// Whether it has been asked for so often that it takes what it gets: its question is its own then, as
    /// one that is under way may have been sent before it came.
    pub(crate) fn is_tired(&self) -> bool {
        self.tries >= TRIES
    }

    /// Whether an answer that was read then is right for it, whatever has changed since.
    fn is_served_by(&self, mark: &ReadMark) -> bool {
        self.is_tired() && mark.number >= self.came
    }
}

impl Drop for PendingJob {
    fn drop(&mut self) {
        if !self.answered {
            self.events.post_unavailable(self.ticket);
        }
    }
}

/// Jobs from the channel; those that nobody takes are answered, too.
pub(crate) struct Arrivals {
    /// The last first.
    jobs: Vec<Job>,
    events: Arc<EventQueue>,
}

impl Arrivals {
    pub(crate) fn new(mut jobs: Vec<Job>, events: &Arc<EventQueue>) -> Self {
        jobs.reverse();
        Self {
            jobs,
            events: Arc::clone(events),
        }
    }
}

impl Iterator for Arrivals {
    type Item = PendingJob;

    fn next(&mut self) -> Option<PendingJob> {
        let job = self.jobs.pop()?;
        Some(PendingJob::new(job, &self.events))
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// An answer that is ready. Dropped unposted it is `Unavailable`.
pub(crate) struct JobAnswer {
    pub(crate) job: PendingJob,
    pub(crate) outcome: Outcome,
    /// `None` for an outcome that tells nothing about any key.
    pub(crate) basis: Option<Basis>,
}

/// Where the helper's threads put answers.
pub(crate) struct Outbox {
    pub(crate) events: Arc<EventQueue>,
    /// Jobs to be asked again go back to the helper. Used on the store's threads only.
    again: UnboundedSender<Vec<PendingJob>>,
}

impl Outbox {
    pub(crate) fn new(events: Arc<EventQueue>, again: UnboundedSender<Vec<PendingJob>>) -> Self {
        Self { events, again }
    }

    /// Posts the answers that still hold, with at most one wake-up; the others' jobs are asked again.
    pub(crate) fn post(&self, mut answers: Vec<JobAnswer>) {
        self.events.write(|queue| {
            queue.reserve(answers.len());
            for answer in &mut answers {
                let job = &answer.job;
                let (current, overtaken) = match &answer.basis {
                    Some(basis) if queue.is_current(&job.key, basis) => (Some(basis.mark), None),
                    Some(basis) => (None, Some(basis.mark)),
                    None => (None, None),
                };
                if overtaken.is_some_and(|mark| !job.is_served_by(&mark)) {
                    continue;
                }
                let outcome = std::mem::replace(&mut answer.outcome, Outcome::Unavailable);
                let ticket = answer.job.answered();
                queue.complete(ticket, outcome, current);
            }
        });
        let jobs = answers.into_iter().map(|answer| answer.job);
        self.retry(jobs.filter(|job| !job.answered));
    }

    /// Has jobs asked again, as if they had come now. Those of a store that is stopped meanwhile are
    /// `Unavailable`.
    pub(crate) fn retry(&self, jobs: impl Iterator<Item = PendingJob>) {
        let anew = |mut job: PendingJob| {
            job.tries = job.tries.saturating_add(1);
            job.deadline = None;
            job
        };
        self.ask(jobs.map(anew).collect());
    }

    /// Has those of the jobs asked again who shared another's question, which has run out of time, and have
    /// some left. The others are `Unavailable`.
    pub(crate) fn retry_in_time(&self, jobs: impl Iterator<Item = PendingJob>) {
        let now = Instant::now();
        let in_time = |job: &PendingJob| job.deadline.is_some_and(|deadline| deadline > now);
        self.ask(jobs.filter(in_time).collect());
    }

    fn ask(&self, jobs: Vec<PendingJob>) {
        if !jobs.is_empty() {
            // What nobody takes any more is dropped, and so answered.
            drop(self.again.send(jobs));
        }
    }
}
