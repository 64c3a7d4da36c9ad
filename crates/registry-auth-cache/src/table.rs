//! Entries in buckets and on LRU lists: found by key, evicted from a list's tail when the block is full.
//!
//! Used by `subjects` and `failures`, under the dirty flag of `cache`. Every loop is bounded, so that a damaged chain ends.

use crate::layout::{entry, root, List};
use crate::memory::{Memory, Numbers};

/// One of this many entries, at most, may be a stranger's.
const STRANGERS_SHARE: u32 = 8;
/// Strangers who always may stay: a small block must still count failed logins.
const STRANGERS_LEAST: u32 = 64;
/// No chain is longer: the buckets are as many as entries fit, and hashed with a secret key.
const CHAIN: usize = 4096;
/// Entries that make room for one, at most: where the block's allocator keeps sizes apart, those of another size may not help
/// at once, and the lock must not be held for long. What found no room is simply not kept.
const EVICTIONS: usize = 64;
/// An entry is moved to its list's front at most once in this many seconds: a move is a dozen writes to shared memory.
const TOUCH: u32 = 1;

/// The table of a locked block whose root lies at `root`.
pub struct Table<'m, M> {
    pub memory: &'m mut M,
    pub root: usize,
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(pub usize);

impl<M: Memory> Table<'_, M> {
    /// The entry of `key`, whose hash is `hash`.
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<At> {
        let mut at = self.memory.get_u32(self.bucket(hash)) as usize;
        for _ in 0..CHAIN {
            if at == 0 {
                return None;
            }
            if self.memory.get_u32(at + entry::HASH) == high(hash) && self.key(At(at)) == key {
                return Some(At(at));
            }
            at = self.memory.get_u32(at + entry::NEXT) as usize;
        }
        None
    }

    /// The entry's key.
    pub fn key(&self, at: At) -> &[u8] {
        let length = self.memory.get_u32(at.0 + entry::KEY_LENGTH) as usize;
        self.memory.slice(at.0 + entry::SIZE, length)
    }

    /// Where the entry's value lies, and its length.
    pub fn value_at(&self, at: At) -> (usize, usize) {
        let key = self.memory.get_u32(at.0 + entry::KEY_LENGTH) as usize;
        (at.0 + entry::SIZE + key, self.memory.get_u32(at.0 + entry::VALUE_LENGTH) as usize)
    }

    /// The entry's value.
    pub fn value(&self, at: At) -> &[u8] {
        let (at, length) = self.value_at(at);
        self.memory.slice(at, length)
    }

    /// When the entry expires, in milliseconds.
    pub fn expires(&self, at: At) -> u64 {
        self.memory.get_u64(at.0 + entry::EXPIRES)
    }

    /// Adds an entry for a key that has none, in front of its list; the value, of `length` bytes, is the caller's to write. What
    /// was used longest ago makes room. `None` when even that is not enough.
    pub fn insert(&mut self, list: List, hash: u64, key: &[u8], length: usize, expires: u64, now: u64) -> Option<At> {
        if list == List::Strangers {
            self.limit_strangers();
        }
        let size = entry::SIZE.checked_add(key.len())?.checked_add(length)?;
        let at = self.room(size)?;
        let bucket = self.bucket(hash);
        let memory = &mut *self.memory;
        let next = memory.get_u32(bucket);
        memory.put_u32(at + entry::NEXT, next);
        memory.put_u32(at + entry::HASH, high(hash));
        memory.put_u32(at + entry::LIST, list as u32);
        memory.put_u32(at + entry::TOUCHED, seconds(now));
        memory.put_u32(at + entry::KEY_LENGTH, u32::try_from(key.len()).ok()?);
        memory.put_u32(at + entry::VALUE_LENGTH, u32::try_from(length).ok()?);
        memory.put_u64(at + entry::EXPIRES, expires);
        memory.put(at + entry::SIZE, key);
        memory.put_u32(bucket, at as u32);
        self.link_first(list, at);
        let count = list.at() + 8;
        self.add(count, 1);
        Some(At(at))
    }

    /// The entry is as good as new.
    pub fn refresh(&mut self, at: At, expires: u64) {
        self.memory.put_u64(at.0 + entry::EXPIRES, expires);
    }

    /// Notes that the entry was used.
    pub fn touch(&mut self, at: At, now: u64) {
        if self.is_touched(at, now) {
            return;
        }
        let list = List::of(self.memory.get_u32(at.0 + entry::LIST));
        self.memory.put_u32(at.0 + entry::TOUCHED, seconds(now));
        self.unlink(list, at.0);
        self.link_first(list, at.0);
    }

    /// Whether `touch` would change nothing.
    pub fn is_touched(&self, at: At, now: u64) -> bool {
        seconds(now).wrapping_sub(self.memory.get_u32(at.0 + entry::TOUCHED)) < TOUCH
    }

    /// Takes the entry out and frees it.
    pub fn remove(&mut self, at: At) {
        let hash_high = self.memory.get_u32(at.0 + entry::HASH);
        // The bucket follows from the low half, which is not kept: from the key, then.
        let hash = crate::cache::bucket_hash(self.memory, self.root, self.key(at));
        debug_assert_eq!(high(hash), hash_high);
        let mut link = self.bucket(hash);
        for _ in 0..CHAIN {
            let here = self.memory.get_u32(link) as usize;
            if here == 0 || here == at.0 {
                break;
            }
            link = here + entry::NEXT;
        }
        if self.memory.get_u32(link) as usize == at.0 {
            let next = self.memory.get_u32(at.0 + entry::NEXT);
            self.memory.put_u32(link, next);
        }
        let list = List::of(self.memory.get_u32(at.0 + entry::LIST));
        self.unlink(list, at.0);
        self.add(list.at() + 8, u32::MAX);
        self.memory.free(at.0 as u32);
    }

    /// How many entries a list has.
    pub fn count(&self, list: List) -> u32 {
        self.memory.get_u32(self.root + list.at() + 8)
    }

    fn bucket(&self, hash: u64) -> usize {
        let mask = self.memory.get_u32(self.root + root::BUCKET_MASK);
        self.memory.get_u32(self.root + root::BUCKETS) as usize + 4 * (hash as u32 & mask) as usize
    }

    /// Room for an entry, evicting as need be: strangers first.
    fn room(&mut self, size: usize) -> Option<usize> {
        for _ in 0..EVICTIONS {
            if let Some(at) = self.memory.allocate(size) {
                return Some(at as usize);
            }
            let last = |list: List| self.memory.get_u32(self.root + list.at() + 4) as usize;
            let oldest = match (last(List::Strangers), last(List::Facts)) {
                (0, 0) => return None,
                (0, fact) => fact,
                (stranger, _) => stranger,
            };
            self.remove(At(oldest));
        }
        None
    }

    fn limit_strangers(&mut self) {
        let most = (self.count(List::Facts) / STRANGERS_SHARE).max(STRANGERS_LEAST);
        // One at a time: the list grows by one at a time.
        if self.count(List::Strangers) >= most {
            let last = self.memory.get_u32(self.root + List::Strangers.at() + 4) as usize;
            if last != 0 {
                self.remove(At(last));
            }
        }
    }

    fn link_first(&mut self, list: List, at: usize) {
        let ends = self.root + list.at();
        let memory = &mut *self.memory;
        let first = memory.get_u32(ends);
        memory.put_u32(at + entry::NEWER, 0);
        memory.put_u32(at + entry::OLDER, first);
        match first {
            0 => memory.put_u32(ends + 4, at as u32),
            first => memory.put_u32(first as usize + entry::NEWER, at as u32),
        }
        memory.put_u32(ends, at as u32);
    }

    fn unlink(&mut self, list: List, at: usize) {
        let ends = self.root + list.at();
        let memory = &mut *self.memory;
        let (newer, older) = (memory.get_u32(at + entry::NEWER), memory.get_u32(at + entry::OLDER));
        match newer {
            0 => memory.put_u32(ends, older),
            newer => memory.put_u32(newer as usize + entry::OLDER, older),
        }
        match older {
            0 => memory.put_u32(ends + 4, newer),
            older => memory.put_u32(older as usize + entry::NEWER, newer),
        }
    }

    fn add(&mut self, at: usize, amount: u32) {
        let sum = self.memory.get_u32(self.root + at).wrapping_add(amount);
        self.memory.put_u32(self.root + at, sum);
    }
}

fn high(hash: u64) -> u32 {
    (hash >> 32) as u32
}

fn seconds(milliseconds: u64) -> u32 {
    (milliseconds / 1000) as u32
}
