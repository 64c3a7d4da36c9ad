//! The queue from the helper back to nginx's thread.
//!
//! Invariants: `wake` is called when a queue goes from empty to non-empty, not otherwise; after [`Completions::close`]
//! has returned `wake` is never called again (its file descriptor may be closed by then).

use crate::job::{Completion, Job, Outcome};
use crate::log::LogLine;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Log lines kept for a worker that does not drain them; more are dropped.
const LOG_LINES: usize = 256;

/// Called from the helper and the hashing threads; must be quick and must not block.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

pub(crate) struct Completions {
    done: Mutex<Vec<Completion>>,
    log: Mutex<Vec<LogLine>>,
    /// Apart from `done`, so that a worker woken by the write does not find the queue locked by its waker.
    wake: Mutex<Option<Wake>>,
}

/// A panic while a lock was held leaves a whole list behind (pushes do not unwind half-way): go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Completions {
    pub(crate) fn new(wake: Wake) -> Self {
        Self {
            done: Mutex::default(),
            log: Mutex::default(),
            wake: Mutex::new(Some(wake)),
        }
    }

    /// Moves `answers` into the queue; `answers` is left empty.
    pub(crate) fn post(&self, answers: &mut Vec<Completion>) {
        if answers.is_empty() {
            return;
        }
        let was_empty = {
            let mut done = lock(&self.done);
            let was_empty = done.is_empty();
            if was_empty && done.capacity() < answers.len() {
                std::mem::swap(&mut *done, answers);
            } else {
                done.append(answers);
            }
            was_empty
        };
        if was_empty {
            self.wake();
        }
    }

    pub(crate) fn post_one(&self, completion: Completion) {
        self.post(&mut vec![completion]);
    }

    pub(crate) fn post_log(&self, line: LogLine) {
        let was_empty = {
            let mut log = lock(&self.log);
            let was_empty = log.is_empty();
            if log.len() < LOG_LINES {
                log.push(line);
            }
            was_empty
        };
        if was_empty {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(wake) = lock(&self.wake).as_ref() {
            wake();
        }
    }

    /// Appends everything that is there. Swaps the allocations when `out` is empty.
    pub(crate) fn drain(&self, out: &mut Vec<Completion>) {
        take(&mut lock(&self.done), out);
    }

    pub(crate) fn drain_log(&self, out: &mut Vec<LogLine>) {
        take(&mut lock(&self.log), out);
    }

    /// Nothing wakes the worker any more.
    pub(crate) fn close(&self) {
        lock(&self.wake).take();
    }
}

fn take<T>(from: &mut Vec<T>, out: &mut Vec<T>) {
    if out.is_empty() {
        std::mem::swap(from, out);
    } else {
        out.append(from);
    }
}

/// Jobs being answered, in order. However its owner ends (return, panic, an aborted task) every job gets an answer:
/// those without one are `Unavailable`. The answers of a batch are posted together, with at most one wake-up.
pub(crate) struct Batch {
    /// May be put into another order before the first answer.
    pub(crate) jobs: Vec<Job>,
    /// How many of `jobs` are answered or delegated.
    done: usize,
    answers: Vec<Completion>,
    completions: Arc<Completions>,
}

impl Batch {
    pub(crate) fn new(jobs: Vec<Job>, completions: Arc<Completions>) -> Self {
        let answers = Vec::with_capacity(jobs.len());
        Self {
            jobs,
            done: 0,
            answers,
            completions,
        }
    }

    /// The next job to be answered.
    pub(crate) fn current(&self) -> Option<&Job> {
        self.jobs.get(self.done)
    }

    /// Answers the current job.
    pub(crate) fn answer(&mut self, outcome: Outcome) {
        if let Some(job) = self.current() {
            let ticket = job.ticket;
            self.answers.push(Completion { ticket, outcome });
            self.done += 1;
        }
    }

    /// Hands the current job over to whoever answers the ticket.
    pub(crate) fn delegate(&mut self) -> Option<(Ticket, &mut Job)> {
        let job = self.jobs.get_mut(self.done)?;
        self.done += 1;
        let completions = Arc::clone(&self.completions);
        Some((
            Ticket {
                ticket: job.ticket,
                answered: false,
                completions,
            },
            job,
        ))
    }

    /// Moves the next `count` jobs into a batch of their own.
    pub(crate) fn split(&mut self, count: usize) -> Self {
        let end = self.jobs.len().min(self.done + count);
        let jobs = self.jobs.drain(self.done..end).collect();
        Self::new(jobs, Arc::clone(&self.completions))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let unanswered = self.jobs.drain(self.done..);
        self.answers.extend(unanswered.map(|job| Completion {
            ticket: job.ticket,
            outcome: Outcome::Unavailable,
        }));
        self.completions.post(&mut self.answers);
    }
}

/// One job that is answered apart from its batch (a slow hash, a backend's name): dropped without an answer it is
/// `Unavailable`.
pub(crate) struct Ticket {
    ticket: u64,
    answered: bool,
    completions: Arc<Completions>,
}

impl Ticket {
    pub(crate) fn answer(mut self, outcome: Outcome) {
        self.answered = true;
        self.completions.post_one(Completion {
            ticket: self.ticket,
            outcome,
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            self.completions.post_one(Completion {
                ticket: self.ticket,
                outcome: Outcome::Unavailable,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Completions};
    use crate::job::{Completion, Job, Outcome, Space};
    use crate::Secret;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;

    fn counted() -> (Arc<AtomicUsize>, Arc<Completions>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&wakes);
        let completions = Completions::new(Box::new(move || {
            seen.fetch_add(1, Ordering::SeqCst);
        }));
        (wakes, Arc::new(completions))
    }

    fn job(ticket: u64) -> Job {
        let space = Arc::new(Space {
            prefix: "P".into(),
            salt: Box::default(),
        });
        Job {
            ticket,
            space,
            user: None,
            password: Secret::new(b""),
        }
    }

    #[test]
    fn wakes_only_from_empty() {
        let (wakes, completions) = counted();
        completions.post_one(Completion {
            ticket: 1,
            outcome: Outcome::Busy,
        });
        completions.post_one(Completion {
            ticket: 2,
            outcome: Outcome::Busy,
        });
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        let mut out = Vec::new();
        completions.drain(&mut out);
        assert_eq!(out.iter().map(|c| c.ticket).collect::<Vec<_>>(), [1, 2]);
        completions.post_one(Completion {
            ticket: 3,
            outcome: Outcome::Busy,
        });
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
        completions.drain(&mut out);
        assert_eq!(out.len(), 3);
    }

    #[test]
    fn no_wake_after_close() {
        let (wakes, completions) = counted();
        completions.close();
        completions.post_one(Completion {
            ticket: 1,
            outcome: Outcome::Busy,
        });
        assert_eq!(wakes.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn split_and_delegated_jobs_are_answered_once() {
        let (_, completions) = counted();
        let mut batch = Batch::new((1..=5).map(job).collect(), Arc::clone(&completions));
        batch.answer(Outcome::Busy);
        let (ticket, _) = batch.delegate().unwrap();
        drop(batch.split(2));
        batch.answer(Outcome::BadRecord);
        drop(batch);
        ticket.answer(Outcome::Busy);
        let mut out = Vec::new();
        completions.drain(&mut out);
        out.sort_by_key(|completion| completion.ticket);
        let outcomes: Vec<_> = out.into_iter().map(|c| (c.ticket, c.outcome)).collect();
        use Outcome::{BadRecord, Busy, Unavailable};
        assert_eq!(
            outcomes,
            [
                (1, Busy),
                (2, Busy),
                (3, Unavailable),
                (4, Unavailable),
                (5, BadRecord)
            ]
        );
    }

    #[test]
    fn a_panic_answers_every_job() {
        let (wakes, completions) = counted();
        let batch = Batch::new(vec![job(1), job(2), job(3)], Arc::clone(&completions));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let mut batch = batch;
            batch.answer(Outcome::Busy);
            panic!("on purpose");
        }));
        assert!(result.is_err());
        let mut out = Vec::new();
        completions.drain(&mut out);
        let outcomes: Vec<_> = out.into_iter().map(|c| (c.ticket, c.outcome)).collect();
        assert_eq!(
            outcomes,
            [
                (1, Outcome::Busy),
                (2, Outcome::Unavailable),
                (3, Outcome::Unavailable)
            ]
        );
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
    }
}
