//! The queue from the helper back to nginx's thread: answers, and what changes, in one order.
//!
//! Written by `pending` (answers) and by the connection (changes). Invariant: `wake` is called when the queue
//! goes from empty to non-empty, not otherwise; after [`EventQueue::close`] has returned it is never called
//! again.

use crate::bounded::allocated;
use crate::messages::{Completion, Event, Outcome};
use crate::queue::basis::{Basis, LookupKey, ReadMark};
use crate::queue::recent_changes::RecentChanges;
use registry_auth_redis::Rung;
use registry_auth_redis::connection::tracking::{Changed, Watcher};
use registry_auth_redis::wake::Wake;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Bytes of changes kept for a worker that does not drain them; beyond that it hears that everything has
/// changed.
const CHANGES: usize = 2 << 20;

/// Cancelled jobs remembered. One more forgets all.
const GONE: usize = 65_536;

pub(crate) struct EventQueue {
    queue: Mutex<Queue>,
    wake: Arc<Wake>,
    tracking: bool,
    closed: AtomicBool,
    gone: Gone,
    /// The last number that Redis is to be asked for, see [`crate::Store::prove`].
    to_prove: AtomicU64,
    /// For whoever waits for events without an event loop.
    came: Condvar,
}

/// The tickets of jobs under way whose callers are gone. Forgetting one costs a hash, no more.
#[derive(Default)]
struct Gone {
    tickets: Mutex<HashSet<u64>>,
    /// How many there are: nearly always none, which costs no lock.
    count: AtomicUsize,
}

impl Gone {
    fn change<T>(&self, change: impl FnOnce(&mut HashSet<u64>) -> T) -> T {
        let mut tickets = lock(&self.tickets);
        let done = change(&mut tickets);
        self.count.store(tickets.len(), Ordering::Relaxed);
        done
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }
}

/// What is in the queue, under its lock.
#[derive(Default)]
pub(crate) struct Queue {
    events: Vec<Event>,
    /// Bytes of the changed keys in `events`.
    changes: usize,
    recent: RecentChanges,
    /// The connection in use; 0 for none.
    connection: u64,
    /// Whether answers are checked against changes.
    tracking: bool,
    /// The number of the last mark.
    marked: u64,
    /// Whether somebody waits without an event loop: to notify nobody would cost a system call, too.
    is_waited_for: bool,
}

/// A panic while a lock was held leaves a whole list behind (pushes do not unwind half-way): go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventQueue {
    pub(crate) fn new(wake: Arc<Wake>, tracking: bool) -> Self {
        Self {
            queue: Mutex::new(Queue {
                tracking,
                ..Queue::default()
            }),
            wake,
            tracking,
            closed: AtomicBool::new(false),
            gone: Gone::default(),
            to_prove: AtomicU64::new(0),
            came: Condvar::new(),
        }
    }

    /// Whether answers are checked against changes, so that jobs may share what was asked before they came.
    pub(crate) fn tracking(&self) -> bool {
        self.tracking
    }

    /// To be noted before Redis is asked on the connection of `epoch`.
    pub(crate) fn mark(&self, epoch: u64) -> ReadMark {
        let mut queue = lock(&self.queue);
        queue.marked += 1;
        ReadMark {
            epoch,
            sequence: queue.recent.sequence(),
            number: queue.marked,
        }
    }

    /// The number of the next mark: what is read from there on is newer than a job that comes now.
    pub(crate) fn next_mark(&self) -> u64 {
        lock(&self.queue).marked + 1
    }

    /// Answers a job of which nothing is known.
    pub(crate) fn post_unavailable(&self, ticket: u64) {
        self.write(|queue| queue.complete(ticket, Outcome::Unavailable, None));
    }

    /// Lets `change` add events, and wakes the worker when they are the first.
    pub(crate) fn write(&self, change: impl FnOnce(&mut Queue)) {
        let (was_first, is_waited_for) = {
            let mut queue = lock(&self.queue);
            let was_empty = queue.events.is_empty();
            change(&mut queue);
            (was_empty && !queue.events.is_empty(), queue.is_waited_for)
        };
        if was_first {
            if is_waited_for {
                self.came.notify_all();
            }
            self.wake.wake();
        }
    }

    /// Waits for the first event, until `deadline` at most.
    pub(crate) fn wait(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut queue = lock(&self.queue);
        queue.is_waited_for = true;
        let is_empty = |queue: &mut Queue| queue.events.is_empty();
        // A panic elsewhere is no reason to wait.
        let waited = self.came.wait_timeout_while(queue, left, is_empty);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.is_waited_for = false;
    }

    /// Redis is to be asked whether it has told all until now.
    pub(crate) fn prove(&self, number: u64) {
        self.to_prove.store(number, Ordering::Relaxed);
    }

    /// The last number that Redis is to be asked for.
    pub(crate) fn to_prove(&self) -> u64 {
        self.to_prove.load(Ordering::Relaxed)
    }

    /// Appends everything that is there. Swaps the allocations when `out` is empty.
    pub(crate) fn drain(&self, out: &mut Vec<Event>) {
        let mut queue = lock(&self.queue);
        queue.changes = 0;
        if !self.gone.is_empty() {
            let answered = queue.events.iter().filter_map(|event| match event {
                Event::Completion(done) => Some(done.ticket),
                _ => None,
            });
            self.gone
                .change(|gone| answered.for_each(|ticket| _ = gone.remove(&ticket)));
        }
        take(&mut queue.events, out);
    }

    /// Nobody waits for the answer to this job any more.
    pub(crate) fn cancel(&self, ticket: u64) {
        self.gone.change(|gone| {
            if gone.len() >= GONE {
                gone.clear();
            }
            gone.insert(ticket)
        });
    }

    /// Whether nobody waits for the answer to this job.
    pub(crate) fn is_cancelled(&self, ticket: u64) -> bool {
        !self.gone.is_empty() && lock(&self.gone.tickets).contains(&ticket)
    }

    /// Nothing wakes the worker any more, and what is under way is not worth any more work.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.wake.close();
    }

    /// Whether the store is being stopped: whoever works through many jobs asks between one and the next, as
    /// the worker waits.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

impl Watcher for EventQueue {
    fn connected(&self, epoch: u64, rung: Rung, server: &str) {
        self.write(|queue| {
            queue.connection = epoch;
            queue.recent.all_changed();
            let server = server.into();
            queue.events.push(Event::Connected { rung, server });
        });
    }

    /// An event for a connection that was in use only, and once.
    fn connection_lost(&self, epoch: u64) {
        self.write(|queue| {
            if queue.connection == epoch {
                queue.connection = 0;
                queue.events.push(Event::ConnectionLost);
            }
        });
    }

    /// Before it is in use nothing is known, after its loss nothing is kept.
    fn changed(&self, epoch: u64, changed: Vec<Changed>) {
        if changed.is_empty() {
            return;
        }
        self.write(|queue| {
            if queue.connection == epoch {
                changed.iter().for_each(|key| queue.recent.changed(key));
                queue.push_changed(changed);
            }
        });
    }

    fn all_changed(&self, epoch: u64) {
        self.write(|queue| {
            if queue.connection == epoch {
                queue.recent.all_changed();
                queue.push_all_changed();
            }
        });
    }

    fn failed_over(&self, _: u64) {
        self.write(|queue| queue.events.push(Event::FailedOver));
    }

    fn proved(&self, epoch: u64, number: u64) {
        self.write(|queue| {
            if queue.connection == epoch {
                queue.events.push(Event::Proved(number));
            }
        });
    }
}

impl Queue {
    /// Makes room for this many answers more.
    pub(crate) fn reserve(&mut self, answers: usize) {
        self.events.reserve(answers);
    }

    /// Whether nothing that an answer was made of has changed since it was read.
    pub(crate) fn is_current(&self, key: &LookupKey, basis: &Basis) -> bool {
        !self.recent.since(basis.mark.sequence, basis.keys(key))
    }

    /// Answers a job. `mark` is when that was read, where it may be kept for others.
    pub(crate) fn complete(&mut self, ticket: u64, outcome: Outcome, mark: Option<ReadMark>) {
        self.events.push(Event::Completion(Completion {
            ticket,
            outcome,
            cacheable: mark.is_some_and(|mark| !self.tracking || mark.epoch == self.connection),
        }));
    }

    fn push_changed(&mut self, mut changed: Vec<Changed>) {
        // A list that grows has up to twice the room that it needs.
        let bytes = |changed: &Changed| 2 * size_of::<Changed>() + allocated(changed.name().len());
        self.changes = self.changes.saturating_add(changed.iter().map(bytes).sum());
        if self.changes > CHANGES {
            return self.push_all_changed();
        }
        match self.events.last_mut() {
            Some(Event::Changed(last)) => last.append(&mut changed),
            _ => self.events.push(Event::Changed(changed)),
        }
    }

    fn push_all_changed(&mut self) {
        // Nothing can have been kept since the last one.
        if !matches!(self.events.last(), Some(Event::AllChanged)) {
            self.events.push(Event::AllChanged);
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
mod tests;
