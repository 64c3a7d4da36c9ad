//! Numbers that all workers add to: what the status page shows.
//!
//! They live as long as the block, so over reloads, and begin anew with it. What each one means is the caller's, but the last: facts
//! that had to make room.

use crate::cache::Cache;
use crate::layout::root;
use crate::memory::{Memory, Numbers, Write};
use crate::table::Table;

/// How many there are.
pub const COUNTERS: usize = 16;
/// The one that the cache keeps itself: facts that were evicted.
pub const EVICTED: usize = COUNTERS - 1;

impl<M: Memory> Cache<'_, M> {
    /// The numbers.
    pub fn counters(&self) -> [u64; COUNTERS] {
        let mut numbers = [0; COUNTERS];
        let bytes = self.table.memory.bytes();
        for (index, number) in numbers.iter_mut().enumerate() {
            *number = bytes.get_u64(self.table.counter(index));
        }
        numbers
    }

    /// Adds to them. No entry is touched, and each number is whole at any time: a process that dies here damages nothing.
    pub fn count(&mut self, more: &[u64; COUNTERS]) {
        for (index, more) in more.iter().enumerate() {
            self.table.add(index, *more);
        }
    }
}

impl<M: Memory> Table<'_, M> {
    fn counter(&self, index: usize) -> usize {
        self.root + root::COUNTERS + 8 * index
    }

    pub(crate) fn add(&mut self, index: usize, more: u64) {
        let at = self.counter(index);
        let number = self.memory.bytes().get_u64(at);
        self.memory.put_u64(at, number.wrapping_add(more));
    }
}
