//! The counters that all workers add to: the numbers of the status page.
//!
//! Called by the nginx module. The counters live as long as the block, so they survive a reload, and begin at
//! 0 when the block is set up anew. The caller decides what each counter means, except
//! [`EVICTED`](crate::EVICTED).

use crate::cache::Cache;
use crate::layout::{COUNTERS, root};
use crate::memory::{Memory, Numbers};

impl<M: Memory> Cache<'_, M> {
    /// The current numbers.
    pub fn counters(&self) -> [u64; COUNTERS] {
        let mut numbers = [0; COUNTERS];
        let bytes = self.table.memory.bytes();
        for (index, number) in numbers.iter_mut().enumerate() {
            *number = bytes.get_u64(self.table.counter(index));
        }
        numbers
    }

    /// Adds to the counters. This touches no entry and writes each number whole, so a process that dies here
    /// damages nothing.
    pub fn add_counters(&mut self, more: &[u64; COUNTERS]) {
        for (index, more) in more.iter().enumerate().filter(|(_, more)| **more > 0) {
            self.table.add_to_counter(index, *more);
        }
    }

    /// Since when is counted, in seconds since 1970: since `now`, where nobody has said so yet.
    pub fn counting_since(&mut self, now: u64) -> u64 {
        match self.number(root::SINCE) {
            0 => {
                self.table.set_number(root::SINCE, now);
                now
            }
            since => since,
        }
    }
}
