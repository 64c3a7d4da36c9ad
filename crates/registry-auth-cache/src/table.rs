//! The entries of a block: found by their key in a hash bucket, evicted from the end of a list when there is
//! no room.
//!
//! Used by `records` and `failures`; `cache` sets the dirty flag around every change. Guarantee: every loop
//! has a bound, so that it ends in a damaged block too.

use crate::keys::EntryKey;
use crate::layout::{EVICTED, List, PLACES, SLOT, WATCHERS, entry, root, watcher};
use crate::memory::{Memory, Numbers, Write};

/// Entries of a bucket that are looked at, at most. No undamaged bucket has more: there are about as many
/// buckets as entries fit into the block, and the hash has a secret key.
const MAX_CHAIN: usize = 4096;
/// Records that are evicted for a new one, at most. The lock must not be held for long, and a large record in
/// a block full of small ones must not cost many of those. A record that finds no room after that is not
/// kept.
const MAX_EVICTIONS: usize = 8;
/// Counters whose period is over that are removed at a time: more than are added at a time.
const SWEPT: usize = 2;
/// Seconds in which an entry is moved to the front of its list at most once: a move is a dozen writes to
/// shared memory.
const TOUCH_INTERVAL: u32 = 1;

/// The entries of a locked block.
pub struct Table<'m, M> {
    /// The block.
    pub memory: &'m mut M,
    /// The offset of the root.
    pub root: usize,
}

/// Where an entry lies, all in bytes from the block's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The offset of the entry.
    pub entry: usize,
    /// The offset of its value.
    pub value: usize,
    /// Bytes of value.
    pub length: usize,
}

/// Where an entry lay, and by what it is seen to be the same still: for whoever comes back to it under
/// another lock. The default refers to none.
#[derive(Clone, Copy, Default)]
pub struct EntryRef {
    at: usize,
    hash: u64,
    expires: u64,
}

/// What an entry is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A record.
    Record,
    /// A user that does not exist.
    UnknownUser,
    /// A counter of failed logins.
    Failures,
}

/// An entry that is to be inserted.
pub struct NewEntry<'k> {
    /// Its kind, which decides on its list.
    pub kind: EntryKind,
    /// Its key.
    pub key: EntryKey<'k>,
    /// Bytes of value.
    pub length: usize,
    /// When it expires, in milliseconds.
    pub expires: u64,
}

impl<M: Memory> Table<'_, M> {
    /// The entry of a key.
    #[inline]
    pub fn find(&self, EntryKey { key, hash }: EntryKey<'_>) -> Option<Location> {
        let bytes = self.memory.bytes();
        let mut at = bytes.get_u32(self.bucket(hash)) as usize;
        for _ in 0..MAX_CHAIN {
            if at == 0 {
                return None;
            }
            let header: &[u8; entry::SIZE] = bytes.get(at..)?.first_chunk()?;
            let length = usize::from(header.get_u16(entry::KEY_LENGTH));
            if header.get_u64(entry::HASH) == hash && bytes.slice(at + entry::SIZE, length) == key {
                let value = at + entry::SIZE + length;
                return Some(Location {
                    entry: at,
                    value,
                    length: header.get_u32(entry::VALUE_LENGTH) as usize,
                });
            }
            at = header.get_u32(entry::NEXT) as usize;
        }
        None
    }

    /// The value of an entry.
    pub fn value(&self, at: Location) -> &[u8] {
        self.memory.bytes().slice(at.value, at.length)
    }

    /// When an entry expires, in milliseconds.
    pub fn expires(&self, at: Location) -> u64 {
        self.memory.bytes().get_u64(at.entry + entry::EXPIRES)
    }

    /// Refers to the entry at this offset, which is then found again without its key.
    pub fn refer(&self, at: usize) -> EntryRef {
        let bytes = self.memory.bytes();
        EntryRef {
            at,
            hash: bytes.get_u64(at + entry::HASH),
            expires: bytes.get_u64(at + entry::EXPIRES),
        }
    }

    /// The entry that is referred to, if it has neither been removed nor put anew with another expiry.
    #[inline]
    pub fn follow(&self, noted: EntryRef) -> Option<Location> {
        let bytes = self.memory.bytes();
        // Whatever else lies there now, nobody can have it look like this hash: its key is secret.
        let is_same = noted.hash != 0
            && bytes.get_u64(noted.at + entry::HASH) == noted.hash
            && bytes.get_u64(noted.at + entry::EXPIRES) == noted.expires;
        is_same.then(|| self.location(noted.at))
    }

    /// Removes the entry of this key, if there is one, and adds a new one. Gives the offset of its value,
    /// which the caller must write; `None` where there is no room, though the entries that were used longest
    /// ago were evicted.
    pub fn replace(&mut self, new: &NewEntry<'_>, now: u64) -> Option<usize> {
        if let Some(earlier) = self.find(new.key) {
            self.remove(earlier);
        }
        self.insert(new, now).map(|at| at.value)
    }

    /// Adds an entry for a key that has none, in front of its list.
    fn insert(&mut self, new: &NewEntry<'_>, now: u64) -> Option<Location> {
        let EntryKey { key, hash } = new.key;
        let key_length = u16::try_from(key.len()).ok()?;
        let value_length = u32::try_from(new.length).ok()?;
        let size = entry::SIZE.checked_add(key.len())?.checked_add(new.length)?;
        let list = match new.kind {
            EntryKind::Record => List::for_record(size),
            EntryKind::UnknownUser => List::UNKNOWN,
            EntryKind::Failures => List::FAILURES,
        };
        let at = match new.kind {
            EntryKind::Record => self.room(size, now)?,
            EntryKind::UnknownUser | EntryKind::Failures => self.slot(list, size, now)?,
        };
        let bucket = self.bucket(hash);
        let memory = &mut *self.memory;
        let next = memory.bytes().get_u32(bucket);
        memory.put_u32(at + entry::NEXT, next);
        memory.put_u64(at + entry::HASH, hash);
        memory.put_u64(at + entry::EXPIRES, new.expires);
        memory.put_u16(at + entry::KEY_LENGTH, key_length);
        memory.put_u32(at + entry::VALUE_LENGTH, value_length);
        memory.put(at + entry::SIZE, key);
        memory.put_u32(bucket, at as u32);
        self.link_first(list, at, now);
        Some(Location {
            entry: at,
            value: at + entry::SIZE + key.len(),
            length: new.length,
        })
    }

    /// Has an entry expire at another time, in milliseconds.
    pub fn set_expires(&mut self, at: Location, expires: u64) {
        self.memory.put_u64(at.entry + entry::EXPIRES, expires);
    }

    /// Moves a counter of failed logins to those that have reached their limit. Those have a quarter of all
    /// slots. When there are more, the one that reached its limit first gives way to a block of the network
    /// that its client lies in: its period is nearest to its end.
    pub fn block(&mut self, at: Location, now: u64) {
        if self.list(at) == List::BLOCKED {
            return;
        }
        if self.count(List::BLOCKED) >= (self.slots() / 4).max(1) {
            match self.last(List::BLOCKED) {
                0 => {}
                last => self.widen(self.location(last), now),
            }
        }
        self.unlink(at.entry);
        self.link_first(List::BLOCKED, at.entry, now);
        self.add_to_place(self.place(at), 1);
    }

    /// Removes a few counters that have reached their limit and whose period is over, those that reached it
    /// first.
    pub fn sweep_blocked(&mut self, now: u64) {
        for _ in 0..SWEPT {
            if let Some(at) = self.next_swept(now) {
                self.remove_at(at);
            }
        }
    }

    /// The offset of the entry that [`Table::sweep_blocked`] would remove first.
    pub fn next_swept(&self, now: u64) -> Option<usize> {
        let at = self.last(List::BLOCKED);
        let expires = self.memory.bytes().get_u64(at + entry::EXPIRES);
        (at != 0 && expires <= now).then_some(at)
    }

    /// The list that holds an entry.
    pub fn list(&self, at: Location) -> List {
        List::of(self.memory.bytes().get_u16(at.entry + entry::LIST))
    }

    /// The place of a counter's network, with which its value begins.
    fn place(&self, at: Location) -> u8 {
        self.value(at).first().copied().unwrap_or_default()
    }

    /// Adds to the number of blocks at a network's place.
    pub fn add_to_place(&mut self, place: u8, more: u32) {
        let at = self.root + root::PLACES + 4 * (usize::from(place) % PLACES);
        let number = self.memory.bytes().get_u32(at);
        self.memory.put_u32(at, number.wrapping_add(more));
    }

    fn slots(&self) -> u32 {
        self.memory.bytes().get_u32(self.root + root::SLOTS)
    }

    /// Where an entry lies that begins at this offset.
    fn location(&self, at: usize) -> Location {
        let bytes = self.memory.bytes();
        Location {
            entry: at,
            value: at + entry::SIZE + usize::from(bytes.get_u16(at + entry::KEY_LENGTH)),
            length: bytes.get_u32(at + entry::VALUE_LENGTH) as usize,
        }
    }

    /// Notes that an entry was used.
    pub fn touch(&mut self, at: Location, now: u64) {
        if !self.is_touched(at, now) {
            let list = self.unlink(at.entry);
            self.link_first(list, at.entry, now);
        }
    }

    /// As [`Table::touch`], but however short the last move is ago: so a client that tries a thousand logins
    /// within a second does not push out the counters of others that were used in the same second.
    pub fn move_to_front(&mut self, at: Location, now: u64) {
        let list = self.unlink(at.entry);
        self.link_first(list, at.entry, now);
    }

    /// Whether [`Table::touch`] would change nothing.
    #[inline]
    pub fn is_touched(&self, at: Location, now: u64) -> bool {
        self.age(at.entry, now) < TOUCH_INTERVAL
    }

    /// Removes an entry and frees its memory.
    pub fn remove(&mut self, at: Location) {
        self.remove_at(at.entry);
    }

    /// The number of entries of a list.
    pub fn count(&self, list: List) -> u32 {
        self.memory.bytes().get_u32(self.root + list.at() + 8)
    }

    fn remove_at(&mut self, at: usize) {
        let bytes = self.memory.bytes();
        let next = bytes.get_u32(at + entry::NEXT);
        let mut link = self.bucket(bytes.get_u64(at + entry::HASH));
        let mut found = false;
        for _ in 0..MAX_CHAIN {
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
        self.memory.put_u64(at + entry::HASH, 0);
        if list == List::BLOCKED {
            let place = self.place(self.location(at));
            self.add_to_place(place, u32::MAX);
        }
        match list.is_negative() {
            true => {
                let free = self.memory.bytes().get_u32(self.root + root::FREE_SLOTS);
                self.memory.put_u32(at + entry::NEXT, free);
                self.memory.put_u32(self.root + root::FREE_SLOTS, at as u32);
            }
            false => self.memory.free(at as u32),
        }
    }

    fn bucket(&self, hash: u64) -> usize {
        let bytes = self.memory.bytes();
        let mask = bytes.get_u32(self.root + root::BUCKET_MASK);
        bytes.get_u32(self.root + root::BUCKETS) as usize + 4 * (hash as u32 & mask) as usize
    }

    /// The offset of room for a record. Eviction alternates between the record that was used longest ago of
    /// all, so that sizes that are not used any more give way, and the one of the same size that was used
    /// longest ago, which is sure to make room.
    fn room(&mut self, size: usize, now: u64) -> Option<usize> {
        let same = List::for_record(size);
        for turn in 0..MAX_EVICTIONS {
            if let Some(at) = self.memory.allocate(size) {
                return Some(at as usize);
            }
            let oldest = List::records()
                .map(|list| self.last(list))
                .filter(|last| *last != 0);
            let oldest = oldest.max_by_key(|last| self.age(*last, now))?;
            let evicted = match self.last(same) {
                same if turn % 2 == 1 && same != 0 => same,
                _ => oldest,
            };
            self.remove_at(evicted);
            self.add_to_counter(EVICTED, 1);
        }
        self.memory.allocate(size).map(|at| at as usize)
    }

    /// The offset of a slot for a negative entry of this list, whose last entry is evicted if need be. Half
    /// of the slots are for users that do not exist, half for counters. A counter that has reached its limit
    /// gives way only where there are no others.
    fn slot(&mut self, list: List, size: usize, now: u64) -> Option<usize> {
        if size > SLOT {
            return None;
        }
        let blocked = match list {
            List::UNKNOWN => 0,
            _ => self.count(List::BLOCKED),
        };
        if self.count(list).wrapping_add(blocked) >= self.slots() / 2 {
            match (self.last(list), self.last(List::BLOCKED)) {
                (0, last) if last != 0 && blocked != 0 => self.widen(self.location(last), now),
                (0, _) => return None,
                (last, _) => self.remove_at(last),
            }
        }
        let bytes = self.memory.bytes();
        let at = bytes.get_u32(self.root + root::FREE_SLOTS) as usize;
        let next = bytes.get_u32(at + entry::NEXT);
        if at == 0 {
            return None;
        }
        self.memory.put_u32(self.root + root::FREE_SLOTS, next);
        Some(at)
    }

    fn last(&self, list: List) -> usize {
        self.memory.bytes().get_u32(self.root + list.at() + 4) as usize
    }

    /// Seconds since an entry was moved to the front of its list.
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

/// The numbers of the root.
impl<M: Memory> Table<'_, M> {
    /// The `u64` at this offset of the root.
    #[inline]
    pub(crate) fn number(&self, at: usize) -> u64 {
        self.memory.bytes().get_u64(self.root + at)
    }

    pub(crate) fn set_number(&mut self, at: usize, number: u64) {
        self.memory.put_u64(self.root + at, number);
    }

    /// Begins an epoch in which no earlier record is found, fresh or stale.
    pub(crate) fn invalidate_all(&mut self) {
        self.raise(root::EPOCH);
        self.raise_generations();
        self.set_number(root::FLOOR, self.number(root::EPOCH));
        self.set_number(root::UNHEARD, 0);
        self.end_doubt();
    }

    /// There is no record left of which any watcher might have missed a change.
    pub(crate) fn end_doubt(&mut self) {
        self.set_number(root::DOUBT, 0);
        for index in 0..WATCHERS {
            let at = watcher::place(self.root, index) + watcher::STATE;
            if self.memory.bytes().get_u32(at) == watcher::NEW {
                self.memory.put_u32(at, watcher::FULL);
            }
        }
    }

    /// Makes all copies of records outside of the block old.
    pub(crate) fn raise_generations(&mut self) {
        self.raise(root::SHARED_GENERATION);
        self.raise(root::GENERATION);
    }

    /// Adds 1 to the `u64` at this offset of the root.
    pub(crate) fn raise(&mut self, at: usize) {
        self.set_number(at, self.number(at).wrapping_add(1));
    }

    /// The offset of a counter from the block's start.
    pub(crate) fn counter(&self, index: usize) -> usize {
        self.memory.bytes().get_u32(self.root + root::COUNTERS) as usize + 8 * index
    }

    pub(crate) fn add_to_counter(&mut self, index: usize, more: u64) {
        let at = self.counter(index);
        let number = self.memory.bytes().get_u64(at);
        self.memory.put_u64(at, number.wrapping_add(more));
    }
}

fn seconds(milliseconds: u64) -> u32 {
    (milliseconds / 1000) as u32
}
