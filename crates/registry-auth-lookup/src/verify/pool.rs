//! The pool for slow password hashes: `threads` threads behind a queue of `queue` places.
//!
//! Only `verify` uses it. Invariants: a full queue refuses at once, so that a flood of logins costs memory
//! for `queue` passwords and no more; the helper thread itself never computes a slow hash (rules 20 and 21 of
//! the security model); and the queue is shared fairly: networks take turns, whatever each has waiting, and
//! one of them holds at most a quarter of the places. So a flood delays its own sender, and others by one
//! hash for each network that floods. Which user a login is for, and whether there is one, plays no role in
//! who waits. What nobody waits for is computed when nobody waits, and takes no place.

use crate::activity::Activity;
use crate::options::Hashing;
use registry_auth::Network;
use registry_auth_redis::log::{Level, Log};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// One network holds one place in so many.
const SHARE: usize = 4;

/// Something to compute; dropping it unrun must answer its job.
pub(crate) trait Work: Send + Sized + 'static {
    /// Computes it; what is left to be computed of it for which nobody waits.
    fn run(self) -> Option<Self>;

    /// Whether somebody waits for it. Asked for before it is computed, and before others are refused for it.
    fn is_wanted(&self) -> bool;
}

/// The helper's end. Dropping it lets the threads end.
pub(crate) struct Pool<W> {
    queue: Arc<Queue<W>>,
    stopped: Arc<AtomicBool>,
}

struct Queue<W> {
    turns: Mutex<Turns<W>>,
    activity: Arc<Activity>,
    /// Rings for each work that comes, and when no more does.
    bell: Condvar,
}

/// What waits, by whom it came from.
struct Turns<W> {
    /// Whoever has something waiting, each once, in the order in which they are next.
    order: VecDeque<Network>,
    waiting: HashMap<Network, VecDeque<W>>,
    /// What nobody waits for.
    later: VecDeque<W>,
    length: usize,
    places: usize,
    closed: bool,
}

impl<W> Turns<W> {
    fn new(places: usize) -> Self {
        Self {
            order: VecDeque::new(),
            waiting: HashMap::new(),
            later: VecDeque::new(),
            length: 0,
            places,
            closed: false,
        }
    }

    /// Queues `work`, or gives it back where there is no place for it.
    fn push(&mut self, from: Network, work: W) -> Result<(), W> {
        let held = self.waiting.get(&from).map_or(0, VecDeque::len);
        if self.length >= self.places || held >= (self.places / SHARE).max(1) {
            return Err(work);
        }
        if held == 0 {
            self.order.push_back(from);
        }
        self.waiting.entry(from).or_default().push_back(work);
        self.length += 1;
        Ok(())
    }

    /// Takes what nobody wants out of the queue.
    fn unwanted(&mut self, is_wanted: impl Fn(&W) -> bool) -> Vec<W> {
        let mut unwanted = Vec::new();
        for works in self.waiting.values_mut() {
            let (wanted, others) = std::mem::take(works).into_iter().partition(&is_wanted);
            *works = wanted;
            unwanted.extend::<VecDeque<W>>(others);
        }
        self.waiting.retain(|_, works| !works.is_empty());
        self.order.retain(|from| self.waiting.contains_key(from));
        self.length -= unwanted.len();
        unwanted
    }

    /// The next work of whose turn it is, or else one that nobody waits for.
    fn pop(&mut self) -> Option<W> {
        let Some(from) = self.order.pop_front() else {
            return self.later.pop_front();
        };
        let works = self.waiting.get_mut(&from)?;
        let work = works.pop_front()?;
        match works.is_empty() {
            true => drop(self.waiting.remove(&from)),
            false => self.order.push_back(from),
        }
        self.length -= 1;
        Some(work)
    }
}

impl<W> Queue<W> {
    /// Nothing here unwinds half-way: go on after a panic.
    fn lock(&self) -> MutexGuard<'_, Turns<W>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work; `None` when there is none and no more will come.
    fn take(&self) -> Option<W> {
        let mut turns = self.lock();
        loop {
            if let Some(work) = turns.pop() {
                self.activity.set_queued(turns.length);
                return Some(work);
            }
            if turns.closed {
                return None;
            }
            turns = self.bell.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<W: Work> Pool<W> {
    /// Starts the threads; they inherit the caller's signal mask and open files. They are never joined: a
    /// hash cannot be interrupted.
    pub(crate) fn start(hashing: Hashing, log: &Log, activity: &Arc<Activity>) -> io::Result<Self> {
        let pool = Self {
            queue: Arc::new(Queue {
                turns: Mutex::new(Turns::new(hashing.queue)),
                activity: Arc::clone(activity),
                bell: Condvar::new(),
            }),
            stopped: Arc::new(AtomicBool::new(false)),
        };
        for number in 0..hashing.threads.max(1) {
            let (queue, stopped, log) = (Arc::clone(&pool.queue), Arc::clone(&pool.stopped), log.clone());
            thread::Builder::new()
                .name(format!("auth-hash-{number}"))
                .spawn(move || compute(&queue, &stopped, &log))?;
        }
        Ok(pool)
    }

    /// Queues `work` that came from this network, or gives it back when its share of the queue, or all of it,
    /// is full.
    pub(crate) fn submit(&self, from: Network, work: W) -> Result<(), W> {
        let mut turns = self.queue.lock();
        let Err(work) = turns.push(from, work) else {
            self.queue.activity.set_queued(turns.length);
            drop(turns);
            self.queue.bell.notify_one();
            return Ok(());
        };
        let unwanted = turns.unwanted(W::is_wanted);
        let pushed = turns.push(from, work);
        self.queue.activity.set_queued(turns.length);
        drop(turns);
        // Which answers their jobs, and takes other locks.
        drop(unwanted);
        pushed
    }

    /// Queues work that nobody waits for. The caller sees that it is not too much.
    pub(crate) fn submit_later(&self, work: W) {
        self.queue.lock().later.push_back(work);
        self.queue.bell.notify_one();
    }
}

impl<W> Pool<W> {
    /// What is queued is dropped; what is being computed ends by itself.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

impl<W> Drop for Pool<W> {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.bell.notify_all();
    }
}

fn compute<W: Work>(queue: &Queue<W>, stopped: &AtomicBool, log: &Log) {
    log.tell_panics();
    while let Some(work) = queue.take() {
        if stopped.load(Ordering::Relaxed) || !work.is_wanted() {
            continue;
        }
        let began = Instant::now();
        queue.activity.hash_began();
        let run = catch_unwind(AssertUnwindSafe(|| work.run()));
        queue.activity.hash_ended(began.elapsed());
        match run {
            // This thread takes it, or another that has nothing to do.
            Ok(left) => queue.lock().later.extend(left),
            Err(_) => log.write_once(
                "hash panic",
                Level::Error,
                "verifying a password panicked (please report the line before); its request got 503",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SHARE, Turns};
    use registry_auth::Network;
    use std::collections::HashMap;

    fn network(number: u8) -> Network {
        Network::V4([192, 0, 2, number])
    }

    /// What comes out, in turn: who, and which of theirs.
    fn all(turns: &mut Turns<(u8, u32)>) -> Vec<(u8, u32)> {
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn networks_take_turns_and_each_has_its_own_order() {
        let mut turns = Turns::new(64);
        for which in 0..3 {
            turns.push(network(1), (1, which)).unwrap();
        }
        turns.push(network(2), (2, 0)).unwrap();
        turns.push(network(3), (3, 0)).unwrap();
        turns.push(network(3), (3, 1)).unwrap();
        let order = [(1, 0), (2, 0), (3, 0), (1, 1), (3, 1), (1, 2)];
        assert_eq!(all(&mut turns), order);
        assert!(turns.waiting.is_empty() && turns.order.is_empty() && turns.length == 0);
    }

    #[test]
    fn who_comes_behind_a_flood_waits_for_one_of_it() {
        let mut turns = Turns::new(256);
        let queued = (0..1_000).filter(|which| turns.push(network(1), (1, *which)).is_ok());
        assert_eq!(queued.count(), 256 / SHARE);
        turns.push(network(2), (2, 0)).unwrap();
        assert_eq!((turns.pop(), turns.pop()), (Some((1, 0)), Some((2, 0))));
        // And what comes while the flood goes on, again.
        turns.push(network(1), (1, 1_000)).unwrap();
        turns.push(network(2), (2, 1)).unwrap();
        assert_eq!((turns.pop(), turns.pop()), (Some((1, 1)), Some((2, 1))));
    }

    #[test]
    fn what_nobody_wants_any_more_makes_room() {
        let mut turns = Turns::new(8);
        for which in 0..2 {
            turns.push(network(1), (1, which)).unwrap();
            turns.push(network(2), (2, which)).unwrap();
        }
        assert_eq!(turns.push(network(1), (1, 2)), Err((1, 2)));
        let gone = turns.unwanted(|(from, which)| *from == 2 && *which == 1);
        assert_eq!(gone.len(), 3);
        assert_eq!((turns.length, turns.order.len(), turns.waiting.len()), (1, 1, 1));
        turns.push(network(1), (1, 2)).unwrap();
        assert_eq!(all(&mut turns), [(2, 1), (1, 2)]);
    }

    #[test]
    fn what_nobody_waits_for_comes_last_and_takes_no_place() {
        let mut turns = Turns::new(4);
        turns.later.extend((0..100).map(|which| (0, which)));
        for number in 1..=4 {
            turns.push(network(number), (number, 0)).unwrap();
        }
        assert_eq!(turns.push(network(5), (5, 0)), Err((5, 0)));
        for number in 1..=4 {
            assert_eq!(turns.pop(), Some((number, 0)));
        }
        assert_eq!(turns.pop(), Some((0, 0)));
        turns.push(network(5), (5, 0)).unwrap();
        assert_eq!((turns.pop(), turns.pop()), (Some((5, 0)), Some((0, 1))));
        assert_eq!(all(&mut turns).len(), 98);
    }

    #[test]
    fn one_holds_a_quarter_at_most_and_all_together_no_more_than_there_is() {
        for places in [1, 2, 3, 4, 7, 8, 16] {
            let mut turns = Turns::new(places);
            let mut held = HashMap::new();
            for number in 0..40 {
                let from = (number % 20) as u8;
                match turns.push(network(from), (from, number)) {
                    Ok(()) => *held.entry(from).or_insert(0) += 1,
                    Err(work) => assert_eq!(work, (from, number), "it comes back"),
                }
            }
            assert!(
                held.values().all(|count| *count <= (places / SHARE).max(1)),
                "{places}"
            );
            assert_eq!(held.values().sum::<usize>(), places);
            assert_eq!(all(&mut turns).len(), places);
        }
    }
}
