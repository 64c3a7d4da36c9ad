//! The queue from the helper back to nginx's thread: answers, and what changes, in one order.
//!
//! Invariants: an answer is never posted behind a change of a key that it was made of before the change; such a job is
//! asked again. `wake` is called when a queue goes from empty to non-empty, not otherwise; after
//! [`Completions::close`] has returned `wake` is never called again (its file descriptor may be closed by then).

use crate::bounded::allocated;
use crate::job::{Changed, Completion, Event, Job, Outcome};
use crate::log::LogLine;
use crate::recent::{Key, Recent};
use crate::schema::PUBLIC;
use crate::waiting::{Answer, Waiting};
use crate::Secret;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// Log lines kept for a worker that does not drain them; more are dropped.
const LOG_LINES: usize = 256;
/// Bytes of changes kept for a worker that does not drain them; beyond that it is told that everything has changed.
const CHANGES: usize = 2 << 20;
/// Jobs for which an empty list keeps room; a longer one, of a burst, is freed.
const SPARE: usize = 4096;

/// Called from the helper and the hashing threads; must be quick and must not block.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

/// When something is read: the connection, and the last change before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    epoch: u64,
    sequence: u64,
}

pub(crate) struct Completions {
    queue: Mutex<Queue>,
    log: Mutex<Vec<LogLine>>,
    /// An empty list of jobs, to be filled again.
    spare: Mutex<Vec<Job>>,
    /// Apart from `queue`, so that a worker woken by the write does not find the queue locked by its waker.
    wake: Mutex<Option<Wake>>,
    /// Jobs to be asked again go back to the helper. Used on the store's threads only.
    again: UnboundedSender<Vec<Waiting>>,
    tracking: bool,
    closed: AtomicBool,
}

#[derive(Default)]
struct Queue {
    events: Vec<Event>,
    /// Bytes of the changed keys in `events`.
    changes: usize,
    recent: Recent,
    /// The connection that was last armed and is not lost; 0 for none.
    armed: u64,
}

/// A panic while a lock was held leaves a whole list behind (pushes do not unwind half-way): go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Completions {
    pub(crate) fn new(wake: Wake, tracking: bool, again: UnboundedSender<Vec<Waiting>>) -> Self {
        Self {
            queue: Mutex::default(),
            log: Mutex::default(),
            spare: Mutex::default(),
            wake: Mutex::new(Some(wake)),
            again,
            tracking,
            closed: AtomicBool::new(false),
        }
    }

    /// Whether answers are checked against changes, so that jobs may share what was asked before they came.
    pub(crate) fn tracking(&self) -> bool {
        self.tracking
    }

    /// To be noted before Redis is asked on the connection of `epoch`.
    pub(crate) fn mark(&self, epoch: u64) -> Mark {
        let sequence = lock(&self.queue).recent.sequence();
        Mark { epoch, sequence }
    }

    /// Posts the answers that still hold, with at most one wake-up; the others' jobs are asked again.
    pub(crate) fn post(&self, mut answers: Vec<Answer>) {
        self.write(|queue| {
            queue.events.reserve(answers.len());
            for answer in &mut answers {
                if !queue.holds(answer) {
                    continue;
                }
                let epoch = answer.basis.as_ref().map(|basis| basis.mark.epoch);
                let (ticket, spent) = answer.waiting.answered();
                queue.events.push(Event::Completion(Completion {
                    ticket,
                    spent,
                    outcome: std::mem::replace(&mut answer.outcome, Outcome::Unavailable),
                    cacheable: epoch.is_some_and(|epoch| !self.tracking || epoch == queue.armed),
                }));
            }
        });
        let waiting = answers.into_iter().map(|answer| answer.waiting);
        self.retry(waiting.filter(|waiting| !waiting.is_answered()));
    }

    /// Has jobs asked again. Those of a store that is stopped meanwhile are `Unavailable`, as is a job that has been asked too often.
    pub(crate) fn retry(&self, jobs: impl Iterator<Item = Waiting>) {
        let mut stale = Vec::new();
        for mut job in jobs {
            if job.may_try_again() {
                stale.push(job);
            }
        }
        if !stale.is_empty() {
            // What nobody takes any more is dropped, and so answered.
            drop(self.again.send(stale));
        }
    }

    pub(crate) fn post_unavailable(&self, ticket: u64, spent: Secret) {
        self.write(|queue| {
            queue.events.push(Event::Completion(Completion {
                ticket,
                spent,
                outcome: Outcome::Unavailable,
                cacheable: false,
            }));
        });
    }

    /// The connection of `epoch` is ready to be used.
    pub(crate) fn armed(&self, epoch: u64, tracking: bool) {
        self.write(|queue| {
            queue.armed = epoch;
            queue.recent.everything();
            queue.events.push(Event::Armed { tracking });
        });
    }

    /// The connection of `epoch` is of no use any more. Tells it once, if it was armed.
    pub(crate) fn lost(&self, epoch: u64) {
        self.write(|queue| {
            if queue.armed == epoch {
                queue.armed = 0;
                queue.events.push(Event::Lost);
            }
        });
    }

    /// Keys changed, as told on the connection of `epoch`. (Before it is armed nothing is known, after its loss nothing
    /// is kept.)
    pub(crate) fn changed(&self, epoch: u64, changed: Vec<Changed>) {
        if changed.is_empty() {
            return;
        }
        self.write(|queue| {
            if queue.armed == epoch {
                changed.iter().for_each(|key| queue.recent.changed(key));
                queue.push_changed(changed);
            }
        });
    }

    /// All keys changed.
    pub(crate) fn flushed(&self, epoch: u64) {
        self.write(|queue| {
            if queue.armed == epoch {
                queue.recent.everything();
                queue.push_flushed();
            }
        });
    }

    /// Lets `change` add events, and wakes the worker when they are the first.
    fn write(&self, change: impl FnOnce(&mut Queue)) {
        let was_first = {
            let mut queue = lock(&self.queue);
            let was_empty = queue.events.is_empty();
            change(&mut queue);
            was_empty && !queue.events.is_empty()
        };
        if was_first {
            self.wake();
        }
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
        let mut queue = lock(&self.queue);
        queue.changes = 0;
        take(&mut queue.events, out);
    }

    pub(crate) fn drain_log(&self, out: &mut Vec<LogLine>) {
        take(&mut lock(&self.log), out);
    }

    /// Keeps the memory of a list that is done with; one is enough.
    pub(crate) fn give_back(&self, jobs: Vec<Job>) {
        if jobs.capacity() <= SPARE {
            *lock(&self.spare) = jobs;
        }
    }

    /// An empty list, perhaps one that was given back.
    pub(crate) fn spare(&self) -> Vec<Job> {
        std::mem::take(&mut *lock(&self.spare))
    }

    /// Nothing wakes the worker any more, and what is under way is not worth any more work.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        lock(&self.wake).take();
    }

    /// Whether the store is being stopped: whoever works through many jobs asks between one and the next, as the worker waits.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

impl Queue {
    /// Whether nothing that the answer was made of has changed since it was read.
    fn holds(&self, answer: &Answer) -> bool {
        let Some(basis) = &answer.basis else {
            return true;
        };
        let (prefix, user) = answer.waiting.subject.key();
        let keys = [
            Some(Key::Backends(prefix)),
            Some(Key::Group(prefix, PUBLIC)),
            user.map(|user| Key::User(prefix, user)),
            basis.passwords.then_some(Key::Passwords(prefix)),
        ];
        let groups = basis.groups.iter().map(|group| Key::Group(prefix, group));
        let keys = keys.into_iter().flatten().chain(groups);
        !self.recent.since(basis.mark.sequence, keys)
    }

    fn push_changed(&mut self, mut changed: Vec<Changed>) {
        // A list that grows has up to twice the room that it needs.
        let bytes = |changed: &Changed| 2 * size_of::<Changed>() + allocated(changed.name().len());
        self.changes = self.changes.saturating_add(changed.iter().map(bytes).sum());
        if self.changes > CHANGES {
            return self.push_flushed();
        }
        match self.events.last_mut() {
            Some(Event::Changed(last)) => last.append(&mut changed),
            _ => self.events.push(Event::Changed(changed)),
        }
    }

    fn push_flushed(&mut self) {
        // Nothing can have been kept since the last one.
        if !matches!(self.events.last(), Some(Event::Flushed)) {
            self.events.push(Event::Flushed);
        }
    }
}

fn take<T>(from: &mut Vec<T>, out: &mut Vec<T>) {
    if out.is_empty() {
        std::mem::swap(from, out);
    } else {
        out.append(from);
    }
}

#[cfg(test)]
impl Completions {
    /// One that wakes nobody, and the helper's end of its channel.
    pub(crate) fn alone(tracking: bool) -> (Self, tests::Helper) {
        let (again, receiver) = tokio::sync::mpsc::unbounded_channel();
        let completions = Self::new(Box::new(|| ()), tracking, again);
        (completions, tests::Helper { receiver })
    }
}

#[cfg(test)]
mod tests;
