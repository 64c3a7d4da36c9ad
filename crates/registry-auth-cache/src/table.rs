//! Entries in buckets and on LRU lists: found by key, evicted from a list's tail when there is no room.
//!
//! Used by `records` and `failures`, under the dirty flag of `cache`. Every loop is bounded, so that a damaged chain ends.

use crate::counters::EVICTED;
use crate::layout::{entry, root, List, PLACES, SLOT};
use crate::memory::{Memory, Numbers, Write};

/// No chain is longer: the buckets are as many as entries fit, and hashed with a secret key.
const CHAIN: usize = 4096;
/// Facts that make room for one, at most: the lock must not be held for long, and one that finds no room (a large one in a block
/// full of small ones) must not cost many others. What found no room is simply not kept.
const EVICTIONS: usize = 8;
/// Counters whose period is over that are taken out at a time: more than come.
const SWEPT: usize = 2;
/// An entry is moved to its list's front at most once in this many seconds: a move is a dozen writes to shared memory.
const TOUCH: u32 = 1;

/// The table of a locked block whose root lies at `root`.
pub struct Table<'m, M> {
    pub memory: &'m mut M,
    pub root: usize,
}

/// Where an entry lies, and what its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub entry: usize,
    /// Where its value lies, and the value's length.
    pub value: usize,
    pub length: usize,
}

/// What is to be inserted.
pub struct New<'k> {
    pub list: List,
    pub hash: u64,
    pub key: &'k [u8],
    /// Bytes of value.
    pub length: usize,
    /// Milliseconds.
    pub expires: u64,
}

impl<M: Memory> Table<'_, M> {
    /// The entry of `key`, whose hash is `hash`.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<At> {
        let bytes = self.memory.bytes();
        let mut at = bytes.get_u32(self.bucket(hash)) as usize;
        for _ in 0..CHAIN {
            if at == 0 {
                return None;
            }
            let header: &[u8; entry::SIZE] = bytes.get(at..)?.first_chunk()?;
            let length = usize::from(header.get_u16(entry::KEY_LENGTH));
            if header.get_u64(entry::HASH) == hash && bytes.slice(at + entry::SIZE, length) == key {
                let value = at + entry::SIZE + length;
                return Some(At {
                    entry: at,
                    value,
                    length: header.get_u32(entry::VALUE_LENGTH) as usize,
                });
            }
            at = header.get_u32(entry::NEXT) as usize;
        }
        None
    }

    /// The entry's value.
    pub fn value(&self, at: At) -> &[u8] {
        self.memory.bytes().slice(at.value, at.length)
    }

    /// When the entry expires, in milliseconds.
    pub fn expires(&self, at: At) -> u64 {
        self.memory.bytes().get_u64(at.entry + entry::EXPIRES)
    }

    /// Adds an entry for a key that has none, in front of its list; the value is the caller's to write. What was used longest ago
    /// makes room. `None` when even that is not enough.
    pub fn insert(&mut self, new: &New<'_>, now: u64) -> Option<At> {
        let key_length = u16::try_from(new.key.len()).ok()?;
        let value_length = u32::try_from(new.length).ok()?;
        let size = entry::SIZE.checked_add(new.key.len())?.checked_add(new.length)?;
        let at = match new.list.is_of_strangers() {
            true => self.slot(new.list, size)?,
            false => self.room(size, now)?,
        };
        let bucket = self.bucket(new.hash);
        let memory = &mut *self.memory;
        let next = memory.bytes().get_u32(bucket);
        memory.put_u32(at + entry::NEXT, next);
        memory.put_u64(at + entry::HASH, new.hash);
        memory.put_u64(at + entry::EXPIRES, new.expires);
        memory.put_u16(at + entry::KEY_LENGTH, key_length);
        memory.put_u32(at + entry::VALUE_LENGTH, value_length);
        memory.put(at + entry::SIZE, new.key);
        memory.put_u32(bucket, at as u32);
        self.link_first(new.list, at, now);
        Some(At {
            entry: at,
            value: at + entry::SIZE + new.key.len(),
            length: new.length,
        })
    }

    /// The entry expires at another time.
    pub fn refresh(&mut self, at: At, expires: u64) {
        self.memory.put_u64(at.entry + entry::EXPIRES, expires);
    }

    /// Moves a counter of failed logins to those that have reached their limit. They have a quarter of the strangers' slots: beyond
    /// that, the one that came there first goes, whose period is nearest to its end.
    pub fn block(&mut self, at: At, now: u64) {
        if self.list(at) == List::BLOCKED {
            return;
        }
        if self.count(List::BLOCKED) >= (self.slots() / 4).max(1) {
            match self.last(List::BLOCKED) {
                0 => {}
                last => self.remove_at(last),
            }
        }
        self.unlink(at.entry);
        self.link_first(List::BLOCKED, at.entry, now);
        self.add_to_place(at.value, 1);
    }

    /// Takes out the counters that have reached their limit and whose period is over: of those that came there first, a few.
    pub fn sweep_blocked(&mut self, now: u64) {
        for _ in 0..SWEPT {
            if let Some(at) = self.swept(now) {
                self.remove_at(at);
            }
        }
    }

    /// What [`Table::sweep_blocked`] would take out first.
    pub fn swept(&self, now: u64) -> Option<usize> {
        let at = self.last(List::BLOCKED);
        let expires = self.memory.bytes().get_u64(at + entry::EXPIRES);
        (at != 0 && expires <= now).then_some(at)
    }

    /// The list that the entry is in.
    pub fn list(&self, at: At) -> List {
        List::of(self.memory.bytes().get_u16(at.entry + entry::LIST))
    }

    /// Adds to how many counters of a network's place are blocked; the number of the place is at the beginning of their value.
    fn add_to_place(&mut self, value: usize, more: u32) {
        let place = self.memory.bytes().get_u32(value) as usize % PLACES;
        let at = self.root + root::PLACES + 4 * place;
        let number = self.memory.bytes().get_u32(at);
        self.memory.put_u32(at, number.wrapping_add(more));
    }

    fn slots(&self) -> u32 {
        self.memory.bytes().get_u32(self.root + root::SLOTS_IN_ALL)
    }

    /// Notes that the entry was used.
    pub fn touch(&mut self, at: At, now: u64) {
        if !self.is_touched(at, now) {
            let list = self.unlink(at.entry);
            self.link_first(list, at.entry, now);
        }
    }

    /// As `touch`, but at any time: so that whoever comes a thousand times in a second pushes out nobody who came then.
    pub fn bring_first(&mut self, at: At, now: u64) {
        let list = self.unlink(at.entry);
        self.link_first(list, at.entry, now);
    }

    /// Whether `touch` would change nothing.
    #[inline]
    pub fn is_touched(&self, at: At, now: u64) -> bool {
        self.age(at.entry, now) < TOUCH
    }

    /// Takes the entry out and frees it.
    pub fn remove(&mut self, at: At) {
        self.remove_at(at.entry);
    }

    /// How many entries a list has.
    pub fn count(&self, list: List) -> u32 {
        self.memory.bytes().get_u32(self.root + list.at() + 8)
    }

    fn remove_at(&mut self, at: usize) {
        let bytes = self.memory.bytes();
        let next = bytes.get_u32(at + entry::NEXT);
        let mut link = self.bucket(bytes.get_u64(at + entry::HASH));
        let mut found = false;
        for _ in 0..CHAIN {
            let here = bytes.get_u32(link) as usize;
            found = here == at;
            if found || here == 0 {
                break;
            }
            link = here + entry::NEXT;
        }
        if found {
            self.memory.put_u32(link, next);
        }
        let list = self.unlink(at);
        if list == List::BLOCKED {
            let key = self.memory.bytes().get_u16(at + entry::KEY_LENGTH);
            self.add_to_place(at + entry::SIZE + usize::from(key), u32::MAX);
        }
        match list.is_of_strangers() {
            true => {
                let free = self.memory.bytes().get_u32(self.root + root::SLOTS);
                self.memory.put_u32(at + entry::NEXT, free);
                self.memory.put_u32(self.root + root::SLOTS, at as u32);
            }
            false => self.memory.free(at as u32),
        }
    }

    fn bucket(&self, hash: u64) -> usize {
        let bytes = self.memory.bytes();
        let mask = bytes.get_u32(self.root + root::BUCKET_MASK);
        bytes.get_u32(self.root + root::BUCKETS) as usize + 4 * (hash as u32 & mask) as usize
    }

    /// Room for a fact. Eviction takes turns: what was used longest ago of all, so that sizes that are used no more give way; then
    /// what was used longest ago of the same size, which is sure to make room.
    fn room(&mut self, size: usize, now: u64) -> Option<usize> {
        let same = List::of_facts(size);
        for turn in 0..EVICTIONS {
            if let Some(at) = self.memory.allocate(size) {
                return Some(at as usize);
            }
            let oldest = List::facts()
                .map(|list| self.last(list))
                .filter(|last| *last != 0);
            let oldest = oldest.max_by_key(|last| self.age(*last, now))?;
            let evicted = match self.last(same) {
                same if turn % 2 == 1 && same != 0 => same,
                _ => oldest,
            };
            self.remove_at(evicted);
            self.add(EVICTED, 1);
        }
        self.memory.allocate(size).map(|at| at as usize)
    }

    /// A slot for a stranger, evicting one of the same list if need be. Half of the slots are for users who do not exist, half for
    /// counters, of which those that have reached their limit are evicted only where there are no others.
    fn slot(&mut self, list: List, size: usize) -> Option<usize> {
        if size > SLOT {
            return None;
        }
        let blocked = match list {
            List::UNKNOWN => 0,
            _ => self.count(List::BLOCKED),
        };
        if self.count(list).wrapping_add(blocked) >= self.slots() / 2 {
            match (self.last(list), self.last(List::BLOCKED)) {
                (0, last) if last != 0 && blocked != 0 => self.remove_at(last),
                (0, _) => return None,
                (last, _) => self.remove_at(last),
            }
        }
        let bytes = self.memory.bytes();
        let at = bytes.get_u32(self.root + root::SLOTS) as usize;
        let next = bytes.get_u32(at + entry::NEXT);
        if at == 0 {
            return None;
        }
        self.memory.put_u32(self.root + root::SLOTS, next);
        Some(at)
    }

    fn last(&self, list: List) -> usize {
        self.memory.bytes().get_u32(self.root + list.at() + 4) as usize
    }

    /// Seconds since the entry was moved to its list's front.
    fn age(&self, at: usize, now: u64) -> u32 {
        seconds(now).wrapping_sub(self.memory.bytes().get_u32(at + entry::TOUCHED))
    }

    fn link_first(&mut self, list: List, at: usize, now: u64) {
        let ends = self.root + list.at();
        let memory = &mut *self.memory;
        let (first, count) = (memory.bytes().get_u32(ends), memory.bytes().get_u32(ends + 8));
        memory.put_u32(at + entry::TOUCHED, seconds(now));
        memory.put_u16(at + entry::LIST, list.number());
        memory.put_u32(at + entry::NEWER, 0);
        memory.put_u32(at + entry::OLDER, first);
        match first {
            0 => memory.put_u32(ends + 4, at as u32),
            first => memory.put_u32(first as usize + entry::NEWER, at as u32),
        }
        memory.put_u32(ends, at as u32);
        memory.put_u32(ends + 8, count.wrapping_add(1));
    }

    fn unlink(&mut self, at: usize) -> List {
        let memory = &mut *self.memory;
        let bytes = memory.bytes();
        let list = List::of(bytes.get_u16(at + entry::LIST));
        let ends = self.root + list.at();
        let (newer, older) = (bytes.get_u32(at + entry::NEWER), bytes.get_u32(at + entry::OLDER));
        let count = bytes.get_u32(ends + 8);
        match newer {
            0 => memory.put_u32(ends, older),
            newer => memory.put_u32(newer as usize + entry::OLDER, older),
        }
        match older {
            0 => memory.put_u32(ends + 4, newer),
            older => memory.put_u32(older as usize + entry::NEWER, newer),
        }
        memory.put_u32(ends + 8, count.wrapping_sub(1));
        list
    }
}

fn seconds(milliseconds: u64) -> u32 {
    (milliseconds / 1000) as u32
}
