//! Who stands guard: the workers whom Redis tells of every change, so that what is in the block is not old.
//!
//! Facts survive a reload because some worker was told of changes all the time. A worker that begins asks whether another one
//! has been on guard; if none was, changes may have been missed and every fact goes. A worker that was killed is still written
//! down here; so its process is looked for, by id and by the time at which it began, since ids are used again.

use crate::cache::Cache;
use crate::layout::{root, GUARDS};
use crate::memory::{Memory, Numbers, Write};
use crate::table::Table;

/// A process: its id, and when it began in whatever unit its system counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// The id, never 0.
    pub id: u32,
    /// When it began.
    pub began: u64,
}

impl<M: Memory> Cache<'_, M> {
    /// This worker is told of changes from now on. All facts go unless another living one has been all along.
    pub fn guard(&mut self, me: Process, is_alive: impl Fn(Process) -> bool) {
        let guards: Vec<(usize, Process)> = (0..GUARDS).map(|index| self.guard_at(index)).collect();
        let is_other = |guard: &Process| guard.id != 0 && *guard != me && is_alive(*guard);
        let was_guarded = guards.iter().any(|(_, guard)| is_other(guard));
        let mine = guards.iter().find(|(_, guard)| *guard == me);
        let place = mine.or_else(|| guards.iter().find(|(_, guard)| !is_other(guard)));
        self.change(|table| {
            if !was_guarded {
                table.forget_all();
            }
            table.set_number(root::LOST, 0);
            if let Some((at, _)) = place {
                write_guard(table, *at, me);
            }
        });
    }

    /// Makes the block one of facts about `subject`, which stands for where they come from and what is watched there. If it was
    /// about something else all facts go, and the guards of them: after a reload the workers of the earlier configuration, which
    /// may ask another Redis, work on for a while.
    pub fn be_about(&mut self, subject: u64) {
        if self.is_about(subject) {
            return;
        }
        self.change(|table| {
            table.forget_all();
            for index in 0..GUARDS {
                let at = table.root + root::GUARDS + 16 * index;
                write_guard(table, at, Process { id: 0, began: 0 });
            }
            table.set_number(root::ABOUT, subject);
        });
    }

    /// Whether the block's facts are about `subject`: else nothing may be taken from it or put there.
    #[inline]
    pub fn is_about(&self, subject: u64) -> bool {
        self.number(root::ABOUT) == subject
    }

    /// This worker is told of changes no more.
    pub fn leave(&mut self, me: Process) {
        for index in 0..GUARDS {
            let (at, guard) = self.guard_at(index);
            if guard == me {
                self.change(|table| write_guard(table, at, Process { id: 0, began: 0 }));
            }
        }
    }

    fn guard_at(&self, index: usize) -> (usize, Process) {
        let at = self.table.root + root::GUARDS + 16 * index;
        let bytes = self.table.memory.bytes();
        (
            at,
            Process {
                id: bytes.get_u32(at),
                began: bytes.get_u64(at + 8),
            },
        )
    }
}

fn write_guard<M: Memory>(table: &mut Table<'_, M>, at: usize, guard: Process) {
    table.memory.put_u32(at, guard.id);
    table.memory.put_u64(at + 8, guard.began);
}
