//! What the lists that a worker makes may take of it, all together: places, of which nobody has all, and time.
//!
//! Called by the nginx module for catalogues and searches, with its clock. Invariants: no more places are taken than there are; of one
//! tick of the clock no more time is given than a slice, however many ask for it.

use std::collections::HashMap;
use std::time::Duration;

/// Lists in the making, at most.
pub const PLACES: usize = 32;
/// Of one owner, at most.
pub const OF_ONE: usize = PLACES / 4;
/// How long lists are read in a tick of the clock, which is a millisecond.
pub const SLICE: Duration = Duration::from_micros(1_000);
/// How long one of them is read, where others wait.
pub const TURN: Duration = Duration::from_micros(250);

/// Places for lists in the making, by owner.
#[derive(Default)]
pub struct Places {
    taken: usize,
    by_owner: HashMap<Box<str>, usize>,
}

impl Places {
    /// Takes a place for one more list of this owner, to be given back. Whether there was one.
    #[must_use]
    pub fn take(&mut self, owner: &str) -> bool {
        let of_owner = self.by_owner.get(owner).copied().unwrap_or(0);
        if self.taken >= PLACES || of_owner >= OF_ONE {
            return false;
        }
        self.taken += 1;
        self.by_owner.insert(owner.into(), of_owner + 1);
        true
    }

    /// Gives back one that the owner has.
    pub fn give_back(&mut self, owner: &str) {
        let Some(of_owner) = self.by_owner.get_mut(owner) else {
            return;
        };
        self.taken -= 1;
        *of_owner -= 1;
        if *of_owner == 0 {
            self.by_owner.remove(owner);
        }
    }
}

/// The time of a tick.
#[derive(Default)]
pub struct Time {
    tick: u64,
    used: Duration,
}

impl Time {
    /// What is left of this tick's slice.
    pub fn left(&mut self, tick: u64) -> Duration {
        if self.tick != tick {
            *self = Self {
                tick,
                used: Duration::ZERO,
            };
        }
        SLICE.saturating_sub(self.used)
    }

    /// Takes time of the tick that was last asked about.
    pub fn spend(&mut self, time: Duration) {
        self.used = self.used.saturating_add(time);
    }
}
