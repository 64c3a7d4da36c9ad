//! Failed logins: how many different wrong passwords one client address has tried for one user in a period.
//!
//! A client that repeats one wrong password counts once, however often it asks: most clients do (containerd five times a
//! request). Nobody else's failures count: the address is part of the key.

use crate::cache::{Cache, Keys};
use crate::layout::{entry, SLOT};
use crate::memory::{Memory, Numbers, Write};
use crate::subjects::{replace, Fact, Kind, Tag};

/// Most that can be configured.
pub const MOST: u32 = 100;

/// A value: `u32` count, then room for [`MOST`] times `u16`, a part of a tag each, whatever the limit: it may change over a
/// reload. So one wrong password in 65,536 is taken for another one and not counted, but nobody can tell which.
const COUNT: usize = 0;
const TAGS: usize = 4;
const LENGTH: usize = TAGS + 2 * MOST as usize;
/// Longest key that is kept as it is; a tag stands for a longer one.
const KEY: usize = 64;
const _: () = assert!(entry::SIZE + KEY + LENGTH <= SLOT);

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
        let digest = digest(&self.keys(), who.key);
        let who = Fact {
            key: digest.as_ref().map_or(who.key, |digest| digest),
            ..who
        };
        let at = self.table.find(who.hash, who.key)?;
        let left = self.table.expires(at).checked_sub(now).filter(|left| *left > 0)?;
        let count = self.table.memory.bytes().get_u32(at.value + COUNT);
        // Where the configured period became shorter, so does the wait.
        (count >= number(limit)).then_some(left.min(limit.period))
    }

    /// Counts a wrong password, unless it has been counted.
    pub fn failed(&mut self, who: Fact<'_>, tag: Tag, limit: Failures, now: u64) {
        let digest = digest(&self.keys(), who.key);
        let who = Fact {
            key: digest.as_ref().map_or(who.key, |digest| digest),
            ..who
        };
        let part = tag.half() as u16;
        self.change(|table| {
            let current = table
                .find(who.hash, who.key)
                .filter(|at| now < table.expires(*at));
            let value = match current {
                Some(at) => {
                    table.touch(at, now);
                    at.value
                }
                None => {
                    let expires = now.saturating_add(limit.period);
                    let Some(value) = replace(table, Kind::Failures, who, LENGTH, expires, now) else {
                        return;
                    };
                    table.memory.put_u32(value + COUNT, 0);
                    value
                }
            };
            let bytes = table.memory.bytes();
            let count = bytes.get_u32(value + COUNT).min(MOST);
            let at = value + TAGS + 2 * count as usize;
            let known = (0..count as usize).any(|index| bytes.get_u16(value + TAGS + 2 * index) == part);
            if !known && count < MOST {
                table.memory.put_u16(at, part);
                table.memory.put_u32(value + COUNT, count + 1);
            }
        });
    }
}

/// The limit's number, within what can be counted.
fn number(limit: Failures) -> u32 {
    limit.number.clamp(1, MOST)
}

/// What stands for a key that is too long.
fn digest(keys: &Keys, key: &[u8]) -> Option<[u8; 16]> {
    (key.len() > KEY).then(|| keys.tag(key).0.to_ne_bytes())
}
