//! What all lists that a worker makes for its clients may take of it: a number of places, and time.
//!
//! Called by the nginx module for catalogues and searches, with its clock. Guarantees: no more places are
//! filled than there are, and no owner has all of them; within one tick of the clock, no more time is given
//! than a slice, however many lists want it.

use std::collections::HashMap;
use std::time::Duration;

/// The largest number of lists of which something has come, and takes memory, at a time.
pub const PLACES: usize = 32;
/// The largest number of lists that are made for one owner at a time, whether something has come or not.
pub const OF_ONE: usize = PLACES / 4;
/// For how long all lists are read within one tick of the clock, which is a millisecond.
pub const SLICE: Duration = Duration::from_micros(1_000);
/// For how long one list is read while others wait.
pub const TURN: Duration = Duration::from_micros(250);

/// The places for lists that are being made, by owner. One for which a registry is awaited takes none of the
/// [`PLACES`]: a registry that hangs would take them from the users of others.
#[derive(Default)]
pub struct Places {
    filled: usize,
    by_owner: HashMap<Box<str>, usize>,
}

impl Places {
    /// Takes a place for one more list of this owner, which the caller must give back. False where the owner
    /// has all that one may have.
    #[must_use]
    pub fn take(&mut self, owner: &str) -> bool {
        let of_owner = self.by_owner.get(owner).copied().unwrap_or(0);
        if of_owner >= OF_ONE {
            return false;
        }
        self.by_owner.insert(owner.into(), of_owner + 1);
        true
    }

    /// Fills a place that was taken: something of the list comes. False where [`PLACES`] are filled.
    #[must_use]
    pub fn fill(&mut self) -> bool {
        if self.filled >= PLACES {
            return false;
        }
        self.filled += 1;
        true
    }

    /// Gives back one place of the owner, which was filled or not.
    pub fn give_back(&mut self, owner: &str, is_filled: bool) {
        self.filled -= usize::from(is_filled);
        let Some(of_owner) = self.by_owner.get_mut(owner) else {
            return;
        };
        *of_owner -= 1;
        if *of_owner == 0 {
            self.by_owner.remove(owner);
        }
    }
}

/// The time that is left of a tick of the clock.
#[derive(Default)]
pub struct Time {
    tick: u64,
    used: Duration,
}

impl Time {
    /// How much of the slice of this tick is left.
    pub fn left(&mut self, tick: u64) -> Duration {
        if self.tick != tick {
            *self = Self {
                tick,
                used: Duration::ZERO,
            };
        }
        SLICE.saturating_sub(self.used)
    }

    /// Uses up time of the tick that [`Time::left`] was called with last.
    pub fn spend(&mut self, time: Duration) {
        self.used = self.used.saturating_add(time);
    }
}
