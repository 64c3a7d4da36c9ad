//! One sketch: names with their counts, found by a hash, and the one with the fewest requests by a heap.
//!
//! The heap is lazy: a count may have grown since its place in the heap was chosen. The top is the least of
//! all when its own count has not; if it has, it sinks, and the next is looked at. So a request that finds
//! its name costs nothing there. Used by `block`, which knows where the parts lie. Every read is checked, so
//! that a damaged block can lead to wrong numbers only.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use foldhash::fast::FixedState;

use crate::top::Top;

/// The longest name, in bytes; what is longer is not counted.
pub const MAX_NAME: usize = 255;

/// Entries of a bucket that are looked at, at most.
const MAX_CHAIN: usize = 64;

/// Where the fields of an entry are.
mod entry {
    /// `u32`: the next entry of the same bucket, counted from 1; 0 for none.
    pub(super) const NEXT: usize = 0;
    /// `u16`: bytes of the name; 0 in an entry that is free.
    pub(super) const LENGTH: usize = 4;
    /// `u64`: the hash of the name.
    pub(super) const HASH: usize = 8;
    /// `u64`: requests that the sketch assumes: those seen, and those that may have been missed.
    pub(super) const COUNT: usize = 16;
    /// `u64`: those that may have been missed.
    pub(super) const MISSED: usize = 24;
    pub(super) const PULLS: usize = 32;
    pub(super) const PUSHES: usize = 40;
    pub(super) const BYTES_IN: usize = 48;
    pub(super) const BYTES_OUT: usize = 56;
    pub(super) const LAST_PULL: usize = 64;
    pub(super) const NAME: usize = 72;
}

/// The size of an entry.
pub(crate) const ENTRY: usize = (entry::NAME + MAX_NAME).next_multiple_of(8);
/// The size of a place in the heap: `u64` count, `u32` entry, counted from 0, `u32` unused.
pub(crate) const PLACE: usize = 16;
/// The size of a bucket: `u32`, the first entry, counted from 1.
pub(crate) const BUCKET: usize = 4;

type Entry = [u8; ENTRY];

/// What was done: in one request, or in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Images pulled.
    pub pulls: u64,
    /// Images pushed.
    pub pushes: u64,
    /// Bytes that came from clients.
    pub bytes_in: u64,
    /// Bytes that went to clients.
    pub bytes_out: u64,
    /// When an image was pulled last, in seconds since 1970; 0 for never.
    pub last_pull: u64,
}

/// A name, and what was done by it or to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The user, or the repository.
    pub name: String,
    /// What was counted since it has its place.
    pub counts: Counts,
    /// How many requests before that may be missing, at most.
    pub missed: u64,
}

/// The parts of a sketch, lent for one change.
pub(crate) struct Sketch<'m> {
    /// Heads of chains; a power of 2 of them.
    pub(crate) buckets: &'m mut [u8],
    pub(crate) entries: &'m mut [u8],
    pub(crate) heap: &'m mut [u8],
    /// Entries in use.
    pub(crate) used: u32,
    pub(crate) seed: u64,
}

/// What [`Sketch::add`] came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// The name had a place.
    Found,
    /// It needs one: [`Sketch::place`].
    New {
        /// The hash of the name.
        hash: u64,
    },
}

impl Sketch<'_> {
    /// Adds to the counts of a name that has a place.
    #[inline]
    pub(crate) fn add(&mut self, name: &[u8], more: &Counts) -> Added {
        let hash = self.hash(name);
        let mut at = self.bucket(hash);
        for _ in 0..MAX_CHAIN {
            let Some(entry) = self.entry(at) else { break };
            if get(entry, entry::HASH) == hash && name_of(entry) == name {
                add_counts(entry, more);
                return Added::Found;
            }
            at = get_u32(entry, entry::NEXT);
        }
        Added::New { hash }
    }

    /// Gives a name that has none a place: a free one, or that of the name with the fewest requests.
    pub(crate) fn place(&mut self, name: &[u8], hash: u64, counts: &Counts) -> Option<()> {
        let capacity = u32::try_from(self.entries.len() / ENTRY).ok()?;
        let is_free = self.used < capacity;
        let (at, missed) = if is_free {
            self.used += 1;
            (self.used, 0)
        } else {
            self.take_least()?
        };
        let next = self.bucket(hash);
        let entry = self.entry(at)?;
        entry.fill(0);
        put_u32(entry, entry::NEXT, next);
        entry
            .get_mut(entry::LENGTH..)?
            .first_chunk_mut()
            .map(|to: &mut [u8; 2]| *to = (name.len() as u16).to_ne_bytes())?;
        put(entry, entry::HASH, hash);
        put(entry, entry::COUNT, missed);
        put(entry, entry::MISSED, missed);
        entry
            .get_mut(entry::NAME..)?
            .get_mut(..name.len())?
            .copy_from_slice(name);
        add_counts(entry, counts);
        let count = get(entry, entry::COUNT);
        self.set_bucket(self.bucket_at(hash), at);
        let moved = (count, at - 1);
        if is_free {
            self.set_heap(at - 1, moved);
            self.rise(at - 1);
        } else {
            self.set_heap(0, moved);
            self.sink(0);
        }
        Some(())
    }

    /// Frees the place of the name with the fewest requests: which, and how many they are. It stays on top of
    /// the heap.
    fn take_least(&mut self) -> Option<(u32, u64)> {
        for _ in 0..=self.used {
            let (count, index) = self.heap_entry(0);
            let entry = self.entry(index + 1)?;
            let now = get(entry, entry::COUNT);
            if now <= count {
                let hash = get(entry, entry::HASH);
                self.unlink(index + 1, hash);
                return Some((index + 1, now));
            }
            self.set_heap(0, (now, index));
            self.sink(0);
        }
        None
    }

    /// Builds buckets and heap anew from the entries.
    pub(crate) fn rebuild(&mut self) {
        self.buckets.fill(0);
        let capacity = u32::try_from(self.entries.len() / ENTRY).unwrap_or(u32::MAX);
        let mut kept = 0;
        for at in 1..=self.used.min(capacity) {
            let Some(entry) = self.entry(at) else { break };
            let is_sound = !name_of(entry).is_empty();
            let copy = *entry;
            if !is_sound {
                continue;
            }
            kept += 1;
            let hash = self.hash(name_of(&copy));
            let bucket = self.bucket_at(hash);
            let next = self.bucket(hash);
            if let Some(entry) = self.entry(kept) {
                *entry = copy;
                put(entry, entry::HASH, hash);
                put_u32(entry, entry::NEXT, next);
            }
            self.set_bucket(bucket, kept);
            self.set_heap(kept - 1, (get(&copy, entry::COUNT), kept - 1));
        }
        self.used = kept;
        for index in (0..kept / 2).rev() {
            self.sink(index);
        }
    }

    /// Shows the names of these places, counted from 0, to `top`.
    pub(crate) fn look(&mut self, places: Range<usize>, top: &mut Top) {
        let used = (self.used as usize).min(self.entries.len() / ENTRY);
        let places = places.start.min(used)..places.end.min(used);
        for at in places {
            let Some(entry) = u32::try_from(at + 1).ok().and_then(|at| self.entry(at)) else {
                return;
            };
            let missed = get(entry, entry::MISSED);
            let requests = get(entry, entry::COUNT).saturating_sub(missed);
            // Most do not come so far that their name is read.
            top.offer(requests, || Row {
                name: String::from_utf8_lossy(name_of(entry)).into_owned(),
                counts: Counts {
                    requests,
                    pulls: get(entry, entry::PULLS),
                    pushes: get(entry, entry::PUSHES),
                    bytes_in: get(entry, entry::BYTES_IN),
                    bytes_out: get(entry, entry::BYTES_OUT),
                    last_pull: get(entry, entry::LAST_PULL),
                },
                missed,
            });
        }
    }

    #[inline]
    fn hash(&self, name: &[u8]) -> u64 {
        let mut hasher = FixedState::with_seed(self.seed).build_hasher();
        hasher.write(name);
        hasher.finish()
    }

    #[inline]
    fn bucket_at(&self, hash: u64) -> usize {
        let count = self.buckets.len() / BUCKET;
        BUCKET * (hash as usize & count.saturating_sub(1))
    }

    #[inline]
    fn bucket(&self, hash: u64) -> u32 {
        let bytes = self
            .buckets
            .get(self.bucket_at(hash)..)
            .and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    fn set_bucket(&mut self, at: usize, entry: u32) {
        if let Some(to) = self.buckets.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *to = entry.to_ne_bytes();
        }
    }

    /// The entry of this number, counted from 1.
    #[inline]
    fn entry(&mut self, at: u32) -> Option<&mut Entry> {
        let start = (at as usize).checked_sub(1)?.checked_mul(ENTRY)?;
        self.entries.get_mut(start..)?.first_chunk_mut()
    }

    fn unlink(&mut self, at: u32, hash: u64) {
        let Some(next) = self.entry(at).map(|entry| get_u32(entry, entry::NEXT)) else {
            return;
        };
        let mut here = self.bucket(hash);
        if here == at {
            return self.set_bucket(self.bucket_at(hash), next);
        }
        for _ in 0..self.used {
            let Some(entry) = self.entry(here) else { return };
            let follows = get_u32(entry, entry::NEXT);
            if follows == at {
                return put_u32(entry, entry::NEXT, next);
            }
            here = follows;
        }
    }

    /// A place of the heap: the count by which it was chosen, and the entry, counted from 0.
    fn heap_entry(&self, index: u32) -> (u64, u32) {
        let start = index as usize * PLACE;
        let place: Option<&[u8; PLACE]> = self.heap.get(start..).and_then(|rest| rest.first_chunk());
        place.map_or((u64::MAX, u32::MAX), |place| (get(place, 0), get_u32(place, 8)))
    }

    fn set_heap(&mut self, index: u32, (count, entry): (u64, u32)) {
        let start = index as usize * PLACE;
        let place: Option<&mut [u8; PLACE]> =
            self.heap.get_mut(start..).and_then(|rest| rest.first_chunk_mut());
        if let Some(place) = place {
            put(place, 0, count);
            put_u32(place, 8, entry);
        }
    }

    fn sink(&mut self, mut index: u32) {
        let moved = self.heap_entry(index);
        loop {
            let (left, right) = (2 * index + 1, 2 * index + 2);
            if left >= self.used {
                break;
            }
            let mut least = (self.heap_entry(left), left);
            if right < self.used {
                let other = self.heap_entry(right);
                if other.0 < least.0.0 {
                    least = (other, right);
                }
            }
            if moved.0 <= least.0.0 {
                break;
            }
            self.set_heap(index, least.0);
            index = least.1;
        }
        self.set_heap(index, moved);
    }

    fn rise(&mut self, mut index: u32) {
        let moved = self.heap_entry(index);
        while index > 0 {
            let parent = (index - 1) / 2;
            let above = self.heap_entry(parent);
            if above.0 <= moved.0 {
                break;
            }
            self.set_heap(index, above);
            index = parent;
        }
        self.set_heap(index, moved);
    }
}

#[inline]
fn name_of(entry: &Entry) -> &[u8] {
    let length = entry.get(entry::LENGTH..).and_then(|rest| rest.first_chunk());
    let length = length.map_or(0, |length| usize::from(u16::from_ne_bytes(*length)));
    entry
        .get(entry::NAME..)
        .and_then(|rest| rest.get(..length))
        .unwrap_or_default()
}

#[inline]
fn add_counts(entry: &mut Entry, more: &Counts) {
    for (at, more) in [
        (entry::COUNT, more.requests),
        (entry::PULLS, more.pulls),
        (entry::PUSHES, more.pushes),
        (entry::BYTES_IN, more.bytes_in),
        (entry::BYTES_OUT, more.bytes_out),
    ] {
        let sum = get(entry, at).wrapping_add(more);
        put(entry, at, sum);
    }
    if more.last_pull > get(entry, entry::LAST_PULL) {
        put(entry, entry::LAST_PULL, more.last_pull);
    }
}

#[inline]
pub(crate) fn get(bytes: &[u8], at: usize) -> u64 {
    let number = bytes.get(at..).and_then(|rest| rest.first_chunk());
    number.map_or(0, |number| u64::from_ne_bytes(*number))
}

#[inline]
pub(crate) fn put(bytes: &mut [u8], at: usize, number: u64) {
    if let Some(to) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *to = number.to_ne_bytes();
    }
}

#[inline]
pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let number = bytes.get(at..).and_then(|rest| rest.first_chunk());
    number.map_or(0, |number| u32::from_ne_bytes(*number))
}

#[inline]
pub(crate) fn put_u32(bytes: &mut [u8], at: usize, number: u32) {
    if let Some(to) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *to = number.to_ne_bytes();
    }
}
