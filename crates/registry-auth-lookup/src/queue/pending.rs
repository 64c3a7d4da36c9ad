//! A job under way, from the channel to its answer.
//!
//! Made by `runtime`, answered through `completions`. Invariant: however its owner ends (return, panic, an aborted task,
//! a queue that is dropped) a job gets an answer, and one only: [`Waiting`] that is dropped without one is
//! `Unavailable`.

use crate::messages::{By, Job, Keyspace, Outcome};
use crate::queue::events::{Completions, Mark};
use crate::verify::verdict::Proof;
use registry_auth::codec::State;
use registry_auth::{Network, UserNameBuf};
use registry_auth_redis::Secret;
use std::sync::Arc;

/// How often an answer may be overtaken by a change before the job is given up: each time costs a round trip, so that
/// more than a few in a row means a key that is written all the time.
const TRIES: u8 = 10;

/// Whom a lookup is about. The salt of the space plays no role in it.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) space: Arc<Keyspace>,
    /// `None`: only the defaults are wanted.
    pub(crate) user: Option<UserNameBuf>,
}

impl Subject {
    pub(crate) fn key(&self) -> (&str, Option<&str>) {
        (&self.space.prefix, self.user())
    }

    /// The user's name.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_ref().map(UserNameBuf::as_str)
    }

    /// The user's name; empty where none was asked for.
    pub(crate) fn name(&self) -> &str {
        self.user().unwrap_or_default()
    }
}

/// A job that waits for its answer.
pub(crate) struct Waiting {
    ticket: u64,
    /// With the job's own salt.
    pub(crate) space: Arc<Keyspace>,
    pub(crate) subject: Subject,
    pub(crate) password: Secret,
    pub(crate) by: By,
    pub(crate) from: Network,
    pub(crate) verified: Option<State>,
    /// What an earlier try found out about the password.
    pub(crate) proof: Option<Proof>,
    /// The batch in which it was last asked for.
    pub(crate) batch: u64,
    tries: u8,
    answered: bool,
    completions: Arc<Completions>,
}

impl Waiting {
    pub(crate) fn new(job: Job, completions: &Arc<Completions>) -> Self {
        let subject = Subject {
            space: Arc::clone(&job.space),
            user: job.user,
        };
        Self {
            ticket: job.ticket,
            space: job.space,
            subject,
            password: job.password,
            by: job.by,
            from: job.from,
            verified: job.verified,
            proof: None,
            batch: 0,
            tries: 0,
            answered: false,
            completions: Arc::clone(completions),
        }
    }

    /// Its ticket and its password, once: whoever takes them posts the answer.
    pub(crate) fn answered(&mut self) -> (u64, Secret) {
        self.answered = true;
        (self.ticket, std::mem::take(&mut self.password))
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answered
    }

    /// Counts a try; false when it was the last.
    pub(crate) fn may_try_again(&mut self) -> bool {
        self.tries += 1;
        self.tries < TRIES
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            let (ticket, password) = self.answered();
            self.completions.post_unavailable(ticket, password);
        }
    }
}

/// Jobs from the channel; those that nobody takes are answered, too.
pub(crate) struct Arrivals {
    /// The last first.
    jobs: Vec<Job>,
    completions: Arc<Completions>,
}

impl Arrivals {
    pub(crate) fn new(mut jobs: Vec<Job>, completions: &Arc<Completions>) -> Self {
        jobs.reverse();
        Self {
            jobs,
            completions: Arc::clone(completions),
        }
    }
}

impl Iterator for Arrivals {
    type Item = Waiting;

    fn next(&mut self) -> Option<Waiting> {
        let job = self.jobs.pop()?;
        Some(Waiting::new(job, &self.completions))
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.for_each(drop);
        self.completions.give_back(std::mem::take(&mut self.jobs));
    }
}

/// An answer that is ready. Dropped unposted it is `Unavailable`.
pub(crate) struct Answer {
    pub(crate) waiting: Waiting,
    pub(crate) outcome: Outcome,
    /// `None` for an outcome that tells nothing about any key.
    pub(crate) basis: Option<Basis>,
}

/// Which state of which keys an answer was made of: always `P:backends` and `P:group:public` and, where a user was asked for,
/// `P:user:<name>`.
#[derive(Debug, Clone)]
pub(crate) struct Basis {
    /// Noted before Redis was asked.
    pub(crate) mark: Mark,
    /// And `P:passwords`.
    pub(crate) passwords: bool,
    /// And `P:group:<name>` of these.
    pub(crate) groups: GroupNames,
}

/// Of one user, in order; most have none.
pub(crate) type GroupNames = Arc<[Box<str>]>;
