//! The watchers: the workers that Redis tells of every change, and the source that the records come from.
//!
//! Called by the nginx module when a worker starts, ends, and gains or loses its connection to Redis.
//! Guarantee: records survive a reload only if some worker was told of changes all the time. A worker that
//! begins to watch looks for another one that is watching. If there is none, changes may have been missed,
//! and all records are invalidated. A worker that was killed is still written down here, so its process is
//! looked for by id and start time: ids are used again.

use crate::cache::Cache;
use crate::layout::{WATCHERS, root};
use crate::memory::{Memory, Numbers, Write};
use crate::table::Table;

/// The source of a block that was set up anew, see [`Cache::bind_source`]. No configuration has it.
pub const UNBOUND: u64 = 0;

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

impl<M: Memory> Cache<'_, M> {
    /// Redis tells the worker `me` of every change from now on. All records are invalidated, unless another
    /// worker that is alive has been watching.
    pub fn add_watcher(&mut self, me: Process, is_alive: impl Fn(Process) -> bool) {
        let watchers: Vec<(usize, Process)> = (0..WATCHERS).map(|index| self.watcher(index)).collect();
        let is_other = |watcher: &Process| watcher.id != 0 && *watcher != me && is_alive(*watcher);
        let was_watched = watchers.iter().any(|(_, watcher)| is_other(watcher));
        let mine = watchers.iter().find(|(_, watcher)| *watcher == me);
        let place = mine.or_else(|| watchers.iter().find(|(_, watcher)| !is_other(watcher)));
        self.change(|table| {
            if !was_watched {
                table.invalidate_all();
            }
            table.set_number(root::LOST_SINCE, 0);
            if let Some((at, _)) = place {
                write_watcher(table, *at, me);
            }
        });
    }

    /// Redis does not tell the worker `me` of changes any more.
    pub fn remove_watcher(&mut self, me: Process) {
        for index in 0..WATCHERS {
            let (at, watcher) = self.watcher(index);
            if watcher == me {
                self.change(|table| write_watcher(table, at, NO_PROCESS));
            }
        }
    }

    /// How many workers that are alive Redis tells of changes.
    pub fn watchers(&self, is_alive: impl Fn(Process) -> bool) -> usize {
        let watchers = (0..WATCHERS).map(|index| self.watcher(index).1);
        watchers
            .filter(|watcher| watcher.id != 0 && is_alive(*watcher))
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
                let at = table.root + root::WATCHERS + 16 * index;
                write_watcher(table, at, NO_PROCESS);
            }
            table.set_number(root::SOURCE, source);
        });
    }

    /// Whether the block is bound to `source`. A worker of another source must neither use nor put anything.
    #[inline]
    pub fn is_bound_to(&self, source: u64) -> bool {
        self.number(root::SOURCE) == source
    }

    /// The place of this index, and the watcher in it.
    fn watcher(&self, index: usize) -> (usize, Process) {
        let at = self.table.root + root::WATCHERS + 16 * index;
        let bytes = self.table.memory.bytes();
        let process = Process {
            id: bytes.get_u32(at),
            started_at: bytes.get_u64(at + 8),
        };
        (at, process)
    }
}

fn write_watcher<M: Memory>(table: &mut Table<'_, M>, at: usize, watcher: Process) {
    table.memory.put_u32(at, watcher.id);
    table.memory.put_u64(at + 8, watcher.started_at);
}
