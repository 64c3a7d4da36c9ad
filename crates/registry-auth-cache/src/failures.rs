//! Failed logins: how many different wrong passwords one client address has tried for one user in a period.
//!
//! A client that repeats one wrong password counts once, however often it asks: most clients do (containerd five times a
//! request). Nobody else's failures count: the address is part of the key.

use crate::cache::Cache;
use crate::layout::List;
use crate::memory::{Memory, Numbers};
use crate::subjects::{replace, Fact, Tag};

/// Most that can be configured: each takes 8 bytes.
pub const MOST: u32 = 1000;

/// A value: `u32` count, `u32` unused, then so many `u64`, half a tag each.
const COUNT: usize = 0;
const TAGS: usize = 8;

/// The limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// Different wrong passwords that are borne; one more is refused.
    pub number: u32,
    /// Milliseconds from the first of them until all are forgotten.
    pub period: u64,
}

impl<M: Memory> Cache<'_, M> {
    /// Milliseconds for which the client must wait, if the limit is reached.
    pub fn blocked(&self, who: Fact<'_>, limit: Failures, now: u64) -> Option<u64> {
        let at = self.table.find(who.hash, who.key)?;
        let left = self.table.expires(at).checked_sub(now).filter(|left| *left > 0)?;
        let (value, _) = self.table.value_at(at);
        (self.table.memory.get_u32(value + COUNT) >= limit.number).then_some(left)
    }

    /// Counts a wrong password, unless it has been counted.
    pub fn failed(&mut self, who: Fact<'_>, tag: Tag, limit: Failures, now: u64) {
        let half = tag.0 as u64;
        let number = limit.number.clamp(1, MOST);
        self.change(|table| {
            let current = table.find(who.hash, who.key).filter(|at| now < table.expires(*at));
            let value = match current {
                Some(at) => table.value_at(at).0,
                None => {
                    let length = TAGS + 8 * number as usize;
                    let expires = now.saturating_add(limit.period);
                    let Some(value) = replace(table, List::Strangers, who, length, expires, now) else { return };
                    table.memory.put_u32(value + COUNT, 0);
                    value
                }
            };
            let count = table.memory.get_u32(value + COUNT);
            let known = (0..count as usize).any(|index| table.memory.get_u64(value + TAGS + 8 * index) == half);
            // Its room is for as many as the limit was when it was made.
            let room = current.map_or(number, |at| ((table.value_at(at).1 - TAGS) / 8) as u32);
            if !known && count < room {
                table.memory.put_u64(value + TAGS + 8 * count as usize, half);
                table.memory.put_u32(value + COUNT, count + 1);
            }
        });
    }
}
