//! The watchers: the workers that Redis tells of changes, and the source that the records come from.
//!
//! Called by the nginx module when a worker starts, ends, gains or loses its connection to Redis, and once in
//! a while in between. Guarantee: a record is found, fresh or stale, only if since it was read some worker
//! has heard of every change, up to the moment from which those hear that are left.
//!
//! A worker that begins to watch has missed what changed before. Another one may have heard of it; but that
//! it is written down here proves nothing: its connection may have been silent for seconds without its
//! knowledge. So the records are in *doubt* until a worker that was watching all the time has asked Redis
//! something after the doubt began, and has been answered: on that connection, all earlier changes came
//! before the answer. If no such worker is left, or none answers in time, all records are invalidated. While
//! there is a doubt, no stale record is found. No clock is compared: what a worker asks after it has read
//! the doubt's number here is asked after the doubt began.
//!
//! A worker that was killed is still written down here, so its process is looked for by id and start time:
//! ids are used again.

use crate::cache::Cache;
use crate::layout::{WATCHERS, root, watcher};
use crate::memory::{Memory, Numbers, Write};
use crate::table::Table;

/// The source of a block that was set up anew, see [`Cache::bind_source`]. No configuration has it.
pub const UNBOUND: u64 = 0;

/// Milliseconds for which records are in doubt at most.
const DOUBT: u64 = 4_000;

/// Written where no watcher is.
const NO_PROCESS: Process = Process { id: 0, started_at: 0 };

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// The process id, never 0.
    pub id: u32,
    /// When it was started, in any unit that is the same for all processes.
    pub started_at: u64,
}

/// Of which changes a worker hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// Of every change.
    All,
    /// Of the next change of what it has read itself.
    OwnReads,
    /// Of those that somebody publishes. All others count when a record has expired.
    Published,
    /// Of none: they count when a record has expired.
    Nothing,
}

/// What is written down of a watcher.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum State {
    /// Hears of all changes, and all that it missed before is known: it may answer for others.
    Full = watcher::FULL,
    /// Hears of all changes, but came when there were records of which it knows nothing.
    New = watcher::NEW,
    OwnReads,
    Published,
    Nothing,
}

impl State {
    fn number(self) -> u32 {
        self as u32
    }

    fn of(number: u32) -> Option<Self> {
        [
            Self::Full,
            Self::New,
            Self::OwnReads,
            Self::Published,
            Self::Nothing,
        ]
        .into_iter()
        .find(|state| state.number() == number)
    }
}

/// A place for a watcher, and who is there.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    process: Process,
    state: Option<State>,
}

impl Place {
    fn is_taken(&self) -> bool {
        self.process.id != 0
    }
}

impl<M: Memory> Cache<'_, M> {
    /// Redis tells the worker `me` of changes from now on. All records are invalidated, or in doubt until
    /// another worker that hears of all changes has vouched for them. Returns whether there was a place to
    /// write the worker down: without one, nobody notices its death.
    pub fn add_watcher(
        &mut self,
        me: Process,
        hears: Hears,
        now: u64,
        is_alive: impl Fn(Process) -> bool,
    ) -> bool {
        let is_empty = self.number(root::LAST_PUT) < self.number(root::FLOOR);
        let is_any = |state| {
            let mut others = self.places().filter(|place| place.process != me);
            others.any(|place| place.state == Some(state) && is_alive(place.process))
        };
        let (state, is_kept) = match hears {
            // Where there are no records, those that are under way must not come, either.
            Hears::All if is_empty || !is_any(State::Full) => (State::Full, false),
            Hears::All => (State::New, true),
            Hears::OwnReads => (State::OwnReads, false),
            Hears::Published => (State::Published, false),
            Hears::Nothing => (State::Nothing, is_any(State::Nothing)),
        };
        let mine = self.places().find(|place| place.process == me);
        let place = mine
            .or_else(|| self.places().find(|place| !place.is_taken()))
            .or_else(|| self.places().find(|place| !is_alive(place.process)));
        self.change(|table| {
            if !is_kept {
                table.invalidate_all();
            }
            if state == State::New {
                let number = next_doubt(table);
                table.set_number(root::DOUBT, number);
                table.set_number(root::DOUBT_ENDS, now.saturating_add(DOUBT));
            }
            table.set_number(root::LOST_SINCE, 0);
            if let Some(place) = place {
                write_watcher(table, place.at, me, Some(state));
            }
        });
        // It may have been the one that others hoped for.
        self.settle(now, is_alive);
        place.is_some()
    }

    /// Redis does not tell the worker `me` of changes any more: the worker ends.
    pub fn remove_watcher(&mut self, me: Process, now: u64, is_alive: impl Fn(Process) -> bool) {
        self.strike(me);
        self.settle(now, is_alive);
    }

    /// The worker `me`, which heard of these changes, has lost its connection to Redis at `now`: no record is
    /// fresh any more, but all of them may be used as stale ones, except those in doubt.
    pub fn lose_watcher(&mut self, me: Process, hears: Hears, now: u64, is_alive: impl Fn(Process) -> bool) {
        self.strike(me);
        self.mark_all_stale(now);
        self.change(|table| match hears {
            Hears::All => {}
            // Nobody else hears of what this one has read. If another worker reaches Redis after this, that
            // is no outage, in which it may be used.
            Hears::OwnReads => {
                let number = next_doubt(table);
                table.set_number(root::UNHEARD, number);
            }
            // What had expired by then may have changed long before the outage.
            Hears::Published | Hears::Nothing => {
                let before = table.number(root::NOT_STALE);
                table.set_number(root::NOT_STALE, before.max(now));
            }
        });
        self.settle(now, is_alive);
    }

    /// The number of a doubt that the worker `me` can end: by asking Redis something from now on, and
    /// [`Cache::vouch`] with this number when Redis has answered.
    pub fn question(&self, me: Process) -> Option<u64> {
        let me = self.places().find(|place| place.process == me)?;
        let (doubt, unheard) = (self.number(root::DOUBT), self.number(root::UNHEARD));
        let doubt = if me.state == Some(State::Full) { doubt } else { 0 };
        Some(doubt.max(unheard)).filter(|number| *number != 0)
    }

    /// Redis has answered to the worker `me` what it has asked after [`Cache::question`] gave `number`, and
    /// all changes that came before the answer have been heeded.
    pub fn vouch(&mut self, me: Process, number: u64) {
        let Some(me) = self.places().find(|place| place.process == me) else {
            return;
        };
        let (doubt, unheard) = (self.number(root::DOUBT), self.number(root::UNHEARD));
        self.change(|table| {
            if unheard != 0 && number >= unheard {
                table.invalidate_all();
            } else if doubt != 0 && number >= doubt && me.state == Some(State::Full) {
                table.end_doubt();
            }
        });
    }

    /// Invalidates all records if they are in doubt, and nobody can vouch for them any more, or could but has
    /// not in time.
    pub fn settle(&mut self, now: u64, is_alive: impl Fn(Process) -> bool) {
        if self.number(root::DOUBT) == 0 {
            return;
        }
        let is_full = |place: Place| place.state == Some(State::Full) && is_alive(place.process);
        if now >= self.number(root::DOUBT_ENDS) || !self.places().any(is_full) {
            self.invalidate_all();
        }
    }

    /// The workers that hear of changes of their own reads only. Where one is dead, [`Cache::bury`] it.
    pub fn own_readers(&self) -> Vec<Process> {
        let readers = self.places().filter(|place| place.state == Some(State::OwnReads));
        readers.map(|place| place.process).collect()
    }

    /// This worker is dead, and nobody hears of changes of what it has read.
    pub fn bury(&mut self, dead: Process) {
        if self.own_readers().contains(&dead) {
            self.strike(dead);
            self.invalidate_all();
        }
    }

    /// How many workers that are alive Redis tells of changes.
    pub fn watchers(&self, is_alive: impl Fn(Process) -> bool) -> usize {
        self.places()
            .filter(|place| place.is_taken() && is_alive(place.process))
            .count()
    }

    /// Binds the block to a source: a number for the Redis that is asked and the keys that are watched there.
    /// If the block was bound to another source, all records are invalidated and all watchers removed: after
    /// a reload the workers of the earlier configuration, which may ask another Redis, go on for a while.
    pub fn bind_source(&mut self, source: u64) {
        if self.is_bound_to(source) {
            return;
        }
        self.change(|table| {
            table.invalidate_all();
            for index in 0..WATCHERS {
                write_watcher(table, watcher::place(table.root, index), NO_PROCESS, None);
            }
            table.set_number(root::SOURCE, source);
        });
    }

    /// Whether the block is bound to `source`. A worker of another source must neither use nor put anything.
    #[inline]
    pub fn is_bound_to(&self, source: u64) -> bool {
        self.number(root::SOURCE) == source
    }

    fn strike(&mut self, process: Process) {
        let place = self.places().find(|place| place.process == process);
        if let Some(place) = place {
            self.change(|table| write_watcher(table, place.at, NO_PROCESS, None));
        }
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        (0..WATCHERS).map(|index| {
            let at = watcher::place(self.table.root, index);
            let bytes = self.table.memory.bytes();
            Place {
                at,
                process: Process {
                    id: bytes.get_u32(at + watcher::ID),
                    started_at: bytes.get_u64(at + watcher::STARTED),
                },
                state: State::of(bytes.get_u32(at + watcher::STATE)),
            }
        })
    }
}

fn next_doubt<M: Memory>(table: &mut Table<'_, M>) -> u64 {
    table.raise(root::DOUBTS);
    table.number(root::DOUBTS)
}

fn write_watcher<M: Memory>(table: &mut Table<'_, M>, at: usize, process: Process, state: Option<State>) {
    table.memory.put_u32(at + watcher::ID, process.id);
    table
        .memory
        .put_u32(at + watcher::STATE, state.map_or(0, State::number));
    table.memory.put_u64(at + watcher::STARTED, process.started_at);
}
