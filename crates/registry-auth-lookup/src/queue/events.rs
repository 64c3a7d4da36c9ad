//! The queue from the helper back to nginx's thread: answers, and what changes, in one order.
//!
//! Invariants: an answer is never posted behind a change of a key that it was made of before the change; such a job is
//! asked again. `wake` is called when a queue goes from empty to non-empty, not otherwise; after
//! [`Completions::close`] has returned `wake` is never called again (its file descriptor may be closed by then).

use crate::bounded::allocated;
use crate::messages::{Completion, Event, Job, Outcome};
use crate::queue::pending::{Answer, Waiting};
use crate::queue::recent_changes::{Key, Recent};
use registry_auth_redis::connection::tracking::{Changed, Watcher};
use registry_auth_redis::schema::keys::PUBLIC;
use registry_auth_redis::wake::Wake;
use registry_auth_redis::Secret;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// Bytes of changes kept for a worker that does not drain them; beyond that it is told that everything has changed.
const CHANGES: usize = 2 << 20;
/// Jobs for which an empty list keeps room; a longer one, of a burst, is freed.
const SPARE: usize = 4096;

/// When something is read: the connection, and the last change before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    epoch: u64,
    sequence: u64,
}

pub(crate) struct Completions {
    queue: Mutex<Queue>,
    /// An empty list of jobs, to be filled again.
    spare: Mutex<Vec<Job>>,
    wake: Arc<Wake>,
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
    pub(crate) fn new(wake: Arc<Wake>, tracking: bool, again: UnboundedSender<Vec<Waiting>>) -> Self {
        Self {
            queue: Mutex::default(),
            spare: Mutex::default(),
            wake,
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

    /// Lets `change` add events, and wakes the worker when they are the first.
    fn write(&self, change: impl FnOnce(&mut Queue)) {
        let was_first = {
            let mut queue = lock(&self.queue);
            let was_empty = queue.events.is_empty();
            change(&mut queue);
            was_empty && !queue.events.is_empty()
        };
        if was_first {
            self.wake.wake();
        }
    }

    /// Appends everything that is there. Swaps the allocations when `out` is empty.
    pub(crate) fn drain(&self, out: &mut Vec<Event>) {
        let mut queue = lock(&self.queue);
        queue.changes = 0;
        take(&mut queue.events, out);
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
        self.wake.close();
    }

    /// Whether the store is being stopped: whoever works through many jobs asks between one and the next, as the worker waits.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

impl Watcher for Completions {
    fn armed(&self, epoch: u64, tracking: bool) {
        self.write(|queue| {
            queue.armed = epoch;
            queue.recent.everything();
            queue.events.push(Event::Armed { tracking });
        });
    }

    /// Tells it once, if it was armed.
    fn lost(&self, epoch: u64) {
        self.write(|queue| {
            if queue.armed == epoch {
                queue.armed = 0;
                queue.events.push(Event::Lost);
            }
        });
    }

    /// Before it is armed nothing is known, after its loss nothing is kept.
    fn changed(&self, epoch: u64, changed: Vec<Changed>) {
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

    fn flushed(&self, epoch: u64) {
        self.write(|queue| {
            if queue.armed == epoch {
                queue.recent.everything();
                queue.push_flushed();
            }
        });
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
        let wake = Wake::new(Box::new(|| ()));
        let completions = Self::new(Arc::new(wake), tracking, again);
        (completions, tests::Helper { receiver })
    }
}

#[cfg(test)]
mod tests;
