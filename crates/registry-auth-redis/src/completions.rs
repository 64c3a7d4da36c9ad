//! The queue from the helper back to nginx's thread.
//!
//! Invariants: `wake` is called when a queue goes from empty to non-empty, not otherwise; after [`Completions::close`]
//! has returned `wake` is never called again (its file descriptor may be closed by then).

use crate::job::{Completion, Event, Job, Outcome};
use crate::log::LogLine;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Log lines kept for a worker that does not drain them; more are dropped.
const LOG_LINES: usize = 256;

/// Called from the helper and the hashing threads; must be quick and must not block.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

pub(crate) struct Completions {
    done: Mutex<Vec<Event>>,
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
    pub(crate) fn post(&self, answers: &mut Vec<Event>) {
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
        self.post(&mut vec![Event::Completion(completion)]);
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
    pub(crate) fn drain(&self, out: &mut Vec<Event>) {
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
    answers: Vec<Event>,
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
            self.answers.push(Event::Completion(Completion {
                ticket,
                outcome,
                cacheable: true,
            }));
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
        self.answers.extend(unanswered.map(|job| {
            Event::Completion(Completion {
                ticket: job.ticket,
                outcome: Outcome::Unavailable,
                cacheable: false,
            })
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
            cacheable: true,
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            self.completions.post_one(Completion {
                ticket: self.ticket,
                outcome: Outcome::Unavailable,
                cacheable: false,
            });
        }
    }
}
