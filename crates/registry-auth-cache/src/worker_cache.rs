//! What one worker keeps in its own memory about credentials that it has seen: for a short time, what the
//! block said.
//!
//! Called by the nginx module once a request, before it looks into the block: a hit takes no lock and copies
//! nothing. Only the keyed tag of a credential is kept, never the credential. Guarantees: a hit is as good as
//! a find in the block, because it is compared with the block's generation ([`crate::Cache::generation`]);
//! the block notes after [`NOTE_INTERVAL_MS`] that an entry is in use, so that it knows which users are
//! still active when it has to make room, and confirms it after a change of anybody's record; all entries
//! take [`MAX_BYTES`] at most; and an entry that finds no room replaces a few others, so that no request pays
//! for many.
//!
//! With many users, no request finds its own entry in the processor's caches. What counts then is the number
//! of places in memory that are read, and whether one leads to the next: here a set, and the entry itself.

use std::cell::Cell;
use std::rc::Rc;

use crate::cache::Generations;
use crate::keys::Tag;
use crate::table::EntryRef;

/// The number of sets, each of [`WAYS`] entries. The tag of a credential decides on its set.
const SETS: usize = 1 << 13;
const WAYS: usize = 4;
/// Milliseconds after which the block must note that an entry is in use.
pub const NOTE_INTERVAL_MS: u64 = 10_000;
/// Bytes of all entries and the sets, at most.
pub const MAX_BYTES: usize = 10 << 20;
/// Bytes of one entry, at most; a larger one is not kept.
pub const MAX_ENTRY_BYTES: usize = 64 << 10;

/// A worker's own cache of entries `T`: what the block said about credentials.
pub struct WorkerCache<T> {
    sets: Vec<Set<T>>,
    /// Bytes of all entries, without the sets.
    size: usize,
    turn: usize,
    /// The set that is emptied next to make room.
    hand: usize,
}

/// Halves of tags and what they lead to, together in one line of the processor's cache.
#[repr(align(64))]
struct Set<T> {
    tags: [u64; WAYS],
    entries: [Option<Rc<T>>; WAYS],
}

/// An entry that knows how long it may be used.
pub trait Timestamped {
    /// The credential that the entry is about, and how long the entry may be used.
    fn validity(&self) -> &Validity;
}

/// The credential that an entry is about, and how long the entry may be used. The default is never valid.
#[derive(Clone, Default)]
#[repr(C)] // What each request reads comes first.
pub struct Validity {
    tag: Tag,
    generation: Cell<u64>,
    /// When the block must note the entry's use again; not after `expires`.
    note_at: Cell<u64>,
    expires: u64,
    /// The block's when the entry was made.
    shared_generation: u64,
    /// The user's record in the block.
    entry: Cell<EntryRef>,
    size: usize,
}

impl Validity {
    /// Of what the block said about the credential `tag` at the time `now`, in these generations. `expires`
    /// is when the records expire (both times in milliseconds of the same clock), `size` the bytes of memory
    /// that the entry takes.
    pub fn new(tag: Tag, now: u64, block: Generations, expires: u64, size: usize) -> Self {
        let validity = Self {
            tag,
            expires,
            shared_generation: block.shared,
            size,
            ..Self::default()
        };
        validity.renew(now, block);
        validity
    }

    /// Has [`crate::Cache::note_use`] look here for the user's record, which the entry is a copy of.
    pub fn refer_to(&self, entry: EntryRef) {
        self.entry.set(entry);
    }

    pub(crate) fn entry(&self) -> EntryRef {
        self.entry.get()
    }

    /// Whether nothing has changed in the block since it confirmed the entry.
    pub(crate) fn is_current(&self, block: Generations) -> bool {
        self.generation.get() == block.of_all
    }

    /// Has the entry used for another while, if nothing that it shares with other users has changed: the
    /// block says of the user at the time `now` what the entry says. Whether that is so.
    pub(crate) fn renew(&self, now: u64, block: Generations) -> bool {
        if self.shared_generation != block.shared {
            return false;
        }
        let next = now.saturating_add(NOTE_INTERVAL_MS);
        self.note_at.set(self.expires.min(next));
        self.generation.set(block.of_all);
        true
    }
}

/// What a worker's cache has for a credential.
pub enum Lookup<'c, T> {
    /// Nothing.
    Miss,
    /// An entry that is not valid: the block must be asked.
    Stale(&'c Rc<T>),
    /// An entry that is valid if the block confirms it: [`crate::Cache::confirm`].
    Due(&'c Rc<T>),
    /// An entry of which the block is to note that it is in use: [`crate::Cache::note_use`]. Nothing has
    /// changed; where the block has no such record any more, this is as [`Lookup::Due`].
    Unnoted(&'c Rc<T>),
    /// A valid entry.
    Hit(&'c Rc<T>),
}

impl<T> Default for WorkerCache<T> {
    fn default() -> Self {
        Self {
            sets: Vec::new(),
            size: 0,
            turn: 0,
            hand: 0,
        }
    }
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self {
            tags: [0; WAYS],
            entries: [const { None }; WAYS],
        }
    }
}

impl<T: Timestamped> WorkerCache<T> {
    /// The entry about the credential of this tag, and whether it is valid at the time `now`. `generation`
    /// gives the block's current generation, or `None` where no entry may be used; it is called only for an
    /// entry that has not expired.
    #[inline]
    pub fn get(&self, tag: Tag, now: u64, generation: impl FnOnce() -> Option<u64>) -> Lookup<'_, T> {
        let Some(entry) = self.find(tag) else {
            return Lookup::Miss;
        };
        let validity = entry.validity();
        if now >= validity.expires {
            return Lookup::Stale(entry);
        }
        match generation() {
            Some(current) if current == validity.generation.get() => match now < validity.note_at.get() {
                true => Lookup::Hit(entry),
                false => Lookup::Unnoted(entry),
            },
            Some(_) => Lookup::Due(entry),
            None => Lookup::Stale(entry),
        }
    }

    #[inline]
    fn find(&self, tag: Tag) -> Option<&Rc<T>> {
        let set = self.sets.get(set(tag))?;
        let way = set.tags.iter().position(|half| *half == tag.half())?;
        set.entries
            .get(way)?
            .as_ref()
            .filter(|entry| entry.validity().tag == tag)
    }

    /// Keeps an entry. It replaces an earlier one about the same credential, and entries about others if
    /// there is no room.
    pub fn insert(&mut self, entry: Rc<T>) {
        let &Validity { tag, size, .. } = entry.validity();
        if size > MAX_ENTRY_BYTES {
            return;
        }
        for _ in 0..SETS {
            if self.size + size <= MAX_BYTES - SETS * size_of::<Set<T>>() {
                break;
            }
            self.make_room();
        }
        if self.sets.is_empty() {
            self.sets.resize_with(SETS, Set::default);
        }
        self.turn = self.turn.wrapping_add(1);
        let Some(set) = self.sets.get_mut(set(tag)) else {
            return;
        };
        let same = set.tags.iter().position(|half| *half == tag.half());
        let free = || set.entries.iter().position(Option::is_none);
        let way = same.or_else(free).unwrap_or(self.turn % WAYS);
        let (Some(half), Some(place)) = (set.tags.get_mut(way), set.entries.get_mut(way)) else {
            return;
        };
        *half = tag.half();
        self.size += size;
        self.size -= place.replace(entry).map_or(0, |earlier| earlier.validity().size);
    }

    /// Empties the next set. Nothing is known about which entries are used more often than others, and which
    /// set comes next is chance.
    fn make_room(&mut self) {
        self.hand = (self.hand + 1) % SETS;
        let Some(set) = self.sets.get_mut(self.hand) else {
            return;
        };
        for entry in set.entries.iter_mut().filter_map(Option::take) {
            self.size -= entry.validity().size;
        }
    }

    /// Drops all entries.
    pub fn clear(&mut self) {
        self.sets.clear();
        self.size = 0;
    }
}

fn set(tag: Tag) -> usize {
    tag.half() as usize % SETS
}

#[cfg(test)]
mod tests {
    use super::{
        Generations, Lookup, MAX_BYTES, MAX_ENTRY_BYTES, NOTE_INTERVAL_MS, SETS, Timestamped, Validity, WAYS,
        WorkerCache,
    };
    use crate::keys::Tag;
    use std::rc::Rc;

    struct Record {
        validity: Validity,
        text: &'static str,
    }

    impl Timestamped for Record {
        fn validity(&self) -> &Validity {
            &self.validity
        }
    }

    fn generations(of_all: u64, shared: u64) -> Generations {
        Generations { of_all, shared }
    }

    fn validity(tag: u128, now: u64, expires: u64, size: usize) -> Validity {
        Validity::new(Tag(tag), now, generations(7, 3), expires, size)
    }

    /// An entry of generation 7.
    fn record(tag: u128, now: u64, expires: u64, text: &'static str) -> Rc<Record> {
        let validity = validity(tag, now, expires, 100);
        Rc::new(Record { validity, text })
    }

    fn found(cache: &WorkerCache<Record>, tag: u128, now: u64, generation: u64) -> &'static str {
        match cache.get(Tag(tag), now, || Some(generation)) {
            Lookup::Miss => "miss",
            Lookup::Stale(_) => "stale",
            Lookup::Due(_) => "due",
            Lookup::Unnoted(_) => "unnoted",
            Lookup::Hit(record) => record.text,
        }
    }

    #[test]
    fn an_entry_is_valid_in_its_time_and_generation() {
        let mut cache = WorkerCache::default();
        assert_eq!(found(&cache, 1, 0, 7), "miss");
        cache.insert(record(1, 0, 500, "alice"));
        assert_eq!(found(&cache, 1, 499, 7), "alice");
        assert_eq!(found(&cache, 1, 500, 7), "stale");
        // The block may know that the record is the same in the new generation.
        assert_eq!(found(&cache, 1, 499, 8), "due");
        assert!(matches!(cache.get(Tag(1), 499, || None), Lookup::Stale(_)));
        // However long the records last, the block notes now and then that they are in use.
        const NEXT: u64 = NOTE_INTERVAL_MS;
        cache.insert(record(1, 500, 2 * NEXT, "alice"));
        assert_eq!(found(&cache, 1, 499 + NEXT, 7), "alice");
        assert_eq!(found(&cache, 1, 500 + NEXT, 7), "unnoted");
        let Lookup::Due(alice) = cache.get(Tag(1), 600 + NEXT, || Some(8)) else {
            panic!("it is due");
        };
        assert!(!alice.validity.renew(600 + NEXT, generations(8, 4)));
        assert_eq!(found(&cache, 1, 600 + NEXT, 8), "due");
        assert!(alice.validity.renew(600 + NEXT, generations(8, 3)));
        assert_eq!(found(&cache, 1, 600 + NEXT, 7), "due");
        assert_eq!(found(&cache, 1, 2 * NEXT - 1, 8), "alice");
        // But never beyond their end.
        assert_eq!(found(&cache, 1, 2 * NEXT, 8), "stale");
        let never = Rc::new(Record {
            validity: Validity::default(),
            text: "never",
        });
        cache.insert(never);
        assert_eq!(found(&cache, 0, 0, 0), "stale");
    }

    #[test]
    fn tags_that_share_a_half_are_different() {
        let mut cache = WorkerCache::default();
        cache.insert(record(1, 0, 500, "alice"));
        let other = 1 | 1 << 64;
        assert_eq!(found(&cache, other, 0, 7), "miss");
        cache.insert(record(other, 0, 500, "bob"));
        assert_eq!(found(&cache, other, 0, 7), "bob");
        assert_eq!(found(&cache, 1, 0, 7), "miss");
        // The tag that an empty place seems to have.
        assert_eq!(found(&cache, 0, 0, 7), "miss");
    }

    #[test]
    fn a_new_entry_replaces_the_one_about_the_same_credential() {
        let mut cache = WorkerCache::default();
        cache.insert(record(1, 0, 500, "alice"));
        cache.insert(record(1, 0, 500, "bob"));
        assert_eq!(found(&cache, 1, 0, 7), "bob");
        assert_eq!(cache.size, 100);
    }

    #[test]
    fn a_full_set_takes_one_more_for_another() {
        let mut cache = WorkerCache::default();
        let tags: Vec<u128> = (0..=WAYS).map(|n| 5 + (n * SETS) as u128).collect();
        for tag in &tags {
            cache.insert(record(*tag, 0, 500, "record"));
            assert_eq!(found(&cache, *tag, 0, 7), "record");
        }
        let there = tags.iter().filter(|tag| found(&cache, **tag, 0, 7) == "record");
        assert_eq!(there.count(), WAYS);
        assert_eq!(cache.size, 100 * WAYS);
    }

    #[test]
    fn the_size_is_that_of_all_entries_and_few_are_dropped() {
        let sized = |tag: u128, size: usize| {
            let validity = validity(tag, 0, 500, size);
            Rc::new(Record {
                validity,
                text: "record",
            })
        };
        let mut cache = WorkerCache::default();
        for n in 0..30 * (MAX_BYTES / MAX_ENTRY_BYTES) as u128 {
            cache.insert(sized(n, MAX_ENTRY_BYTES));
            if n % 50 == 0 {
                let kept = cache.sets.iter().flat_map(|set| set.entries.iter().flatten());
                let sum: usize = kept.map(|entry| entry.validity.size).sum();
                assert_eq!(cache.size, sum);
                assert!(sum + SETS * size_of::<super::Set<Record>>() <= MAX_BYTES);
            }
            assert_eq!(found(&cache, n, 0, 7), "record");
        }
        // No more were dropped than had to be: no four of these are in one set.
        assert!(cache.size > MAX_BYTES / 2 - 4 * MAX_ENTRY_BYTES, "{}", cache.size);
        let before = cache.size;
        cache.insert(sized(1 << 20, MAX_ENTRY_BYTES + 1));
        assert_eq!((cache.size, found(&cache, 1 << 20, 0, 7)), (before, "miss"));
        cache.clear();
        assert_eq!((cache.size, found(&cache, 1, 0, 7)), (0, "miss"));
    }
}
