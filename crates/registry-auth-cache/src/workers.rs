//! What each worker has now, such as requests that wait: a few numbers of each, which the status page adds
//! up.
//!
//! Called by the nginx module. A worker that was killed leaves its numbers behind, so its process is looked
//! for by id and start time before they count. Guarantee: a row belongs to one worker only; what does not fit
//! is not shown.

use crate::cache::Cache;
use crate::layout::{GAUGES, WORKERS, root, worker};
use crate::memory::{Memory, Numbers, Write};
use crate::watchers::Process;

impl<M: Memory> Cache<'_, M> {
    /// The worker `me` has this now. A process that dies here leaves numbers that are not its own behind, and
    /// those count for nobody.
    pub fn set_gauges(&mut self, me: Process, gauges: [u32; GAUGES], is_alive: impl Fn(Process) -> bool) {
        let rows = || (0..WORKERS).filter_map(|index| self.row(index));
        let mine = rows().find(|(_, process)| *process == me);
        let free = || rows().find(|(_, process)| process.id == 0);
        let left = || rows().find(|(_, process)| !is_alive(*process));
        let Some((at, _)) = mine.or_else(free).or_else(left) else {
            return;
        };
        let memory = &mut *self.table.memory;
        memory.put_u32(at + worker::ID, me.id);
        memory.put_u64(at + worker::STARTED, me.started_at);
        for (index, gauge) in gauges.into_iter().enumerate() {
            memory.put_u32(at + worker::GAUGES + 4 * index, gauge);
        }
    }

    /// The worker `me` ends, and has nothing any more.
    pub fn remove_gauges(&mut self, me: Process) {
        let mine = (0..WORKERS).filter_map(|index| self.row(index));
        let mine: Vec<usize> = mine
            .filter(|(_, process)| *process == me)
            .map(|(at, _)| at)
            .collect();
        for at in mine {
            self.table.memory.put_u32(at + worker::ID, 0);
        }
    }

    /// How many workers are alive, and what they have together.
    pub fn gauges(&self, is_alive: impl Fn(Process) -> bool) -> (u32, [u64; GAUGES]) {
        let (mut count, mut sums) = (0, [0; GAUGES]);
        let rows = (0..WORKERS).filter_map(|index| self.row(index));
        for (at, _) in rows.filter(|(_, process)| process.id != 0 && is_alive(*process)) {
            count += 1;
            for (index, sum) in sums.iter_mut().enumerate() {
                let gauge = self.table.memory.bytes().get_u32(at + worker::GAUGES + 4 * index);
                *sum += u64::from(gauge);
            }
        }
        (count, sums)
    }

    /// The offset of a row, and the worker in it.
    fn row(&self, index: usize) -> Option<(usize, Process)> {
        let bytes = self.table.memory.bytes();
        let first = bytes.get_u32(self.table.root + root::WORKERS) as usize;
        if first == 0 {
            return None;
        }
        let at = first + worker::SIZE * index;
        let process = Process {
            id: bytes.get_u32(at + worker::ID),
            started_at: bytes.get_u64(at + worker::STARTED),
        };
        Some((at, process))
    }
}
