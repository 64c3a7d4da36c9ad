//! The layout of the block: where each field of the root and of an entry lies.
//!
//! Used by every file that reads or writes the block. Whoever changes an offset or a size must raise
//! [`VERSION`]: a process that finds a block of another version empties it. Offsets are bytes; a `u32` link
//! is an offset from the block's start, and 0 links to nothing.

/// The first 8 bytes of a root: they tell that the block belongs to this crate.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"rga-zone");
/// The version of the layout.
pub const VERSION: u32 = 11;

/// How many workers can be written down as watchers at a time. Further workers serve requests, but do not
/// keep the records alive over a reload.
pub const WATCHERS: usize = 64;

/// The number of places by which blocked networks are noted, so that a worker can see without the lock
/// whether a network may be blocked. A power of 2. More places would not fit the smallest block: nginx's
/// allocator gives whole pages to whatever is larger than half a page.
pub const PLACES: usize = 64;

/// The number of places by which the last changes of keys are noted: a record that was read before a change
/// of its own or of another key of its place is not put after it.
pub const CHANGED: usize = 64;

/// The number of counters that all workers add to: a block of its own, which takes half a page of nginx's
/// allocator at most, as the root does.
pub const COUNTERS: usize = 224;
/// The index of the one counter that the cache itself adds to: records that were evicted.
pub const EVICTED: usize = COUNTERS - 1;

/// How many workers can say what they have now. What further workers have is not shown.
pub const WORKERS: usize = 64;
/// How many numbers each of them has.
pub const GAUGES: usize = 4;

/// The offset of [`crate::Cache::generation`] from the block's root: 8 bytes, aligned to 8, so that a reader
/// without the lock never sees half of a write.
pub const GENERATION: usize = root::GENERATION;
/// The offset of the number of the doubt in which the records are, which is read as [`GENERATION`]; 0 without
/// one.
pub const DOUBT: usize = root::DOUBT;
/// The same of the number for [`crate::Hears::OwnReads`].
pub const UNHEARD: usize = root::UNHEARD;

/// The root: there is one in a block.
pub mod root {
    /// `u64`: [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// `u32`: [`super::VERSION`].
    pub const VERSION: usize = 8;
    /// `u32`: not 0 while a change is under way.
    pub const DIRTY: usize = 12;
    /// 16 bytes: the key that hashes entry keys; 16 bytes: the key that makes tags.
    pub const KEYS: usize = 16;
    /// `u64`: records of an earlier epoch are not fresh.
    pub const EPOCH: usize = 48;
    /// `u64`: records of an epoch before this one are not even stale.
    pub const FLOOR: usize = 56;
    /// `u64`: as `FLOOR`, for records whose password came out of the one hash of all passwords.
    pub const PASSWORDS_EPOCH: usize = 64;
    /// `u64`: since when changes may have been missed, in milliseconds; 0 while a worker watches.
    pub const LOST_SINCE: usize = 72;
    /// `u32`: the number of buckets, less 1; the number is a power of 2.
    pub const BUCKET_MASK: usize = 80;
    /// `u32`: where the buckets are, each the `u32` offset of its first entry.
    pub const BUCKETS: usize = 84;
    /// `u32`: the first free slot for a negative entry; each free slot begins with the `u32` offset of the
    /// next one.
    pub const FREE_SLOTS: usize = 88;
    /// `u32`: the number of slots, free or not.
    pub const SLOTS: usize = 92;
    /// The lists, most recently used entry first, see [`super::List`]: each `u32` first, `u32` last, `u32`
    /// count, `u32` unused and 0. After the count of [`super::List::BLOCKED`] stands that of the blocks of
    /// wider networks.
    pub const LISTS: usize = 96;
    /// [`super::WATCHERS`] times [`super::watcher::SIZE`]: the workers that Redis tells of changes.
    pub const WATCHERS: usize = LISTS + 16 * super::LISTS;
    /// `u64`: where the records come from, see `Cache::bind_source`; 0 in a new block.
    pub const SOURCE: usize = WATCHERS + super::watcher::SIZE * super::WATCHERS;
    /// `u64`: another number after each change that makes any record old; see `Cache::generation`.
    pub const GENERATION: usize = SOURCE + 8;
    /// `u64`: another number after each change that may concern more users than one; see
    /// `Cache::shared_generation`.
    pub const SHARED_GENERATION: usize = GENERATION + 8;
    /// [`super::PLACES`] times `u32`: how many counters of [`super::List::BLOCKED`], and how many blocks of
    /// wider networks, belong to networks of this place.
    pub const PLACES: usize = SHARED_GENERATION + 8;
    /// `u64`: since when is counted, in seconds since 1970; 0 in a new block.
    pub const SINCE: usize = PLACES + 4 * super::PLACES;
    /// `u64`: the number of the doubt in which the records are, see `watchers`; 0 without one.
    pub const DOUBT: usize = SINCE + 8;
    /// `u64`: when the doubt ends at the latest, in milliseconds.
    pub const DOUBT_ENDS: usize = DOUBT + 8;
    /// `u64`: as `DOUBT`, where a worker is lost that alone heard of changes of what it had read.
    pub const UNHEARD: usize = DOUBT_ENDS + 8;
    /// `u64`: the number of the last doubt.
    pub const DOUBTS: usize = UNHEARD + 8;
    /// `u64`: records that had expired by then, in milliseconds, are not even stale.
    pub const NOT_STALE: usize = DOUBTS + 8;
    /// `u64`: the epoch in which a record was put last.
    pub const LAST_PUT: usize = NOT_STALE + 8;
    /// [`super::CHANGED`] times `u32`: the lower half of the generation that the last change of a key of this
    /// place made.
    pub const CHANGED: usize = LAST_PUT + 8;
    /// `u32`: where the counters are, [`super::COUNTERS`] times `u64`.
    pub const COUNTERS: usize = CHANGED + 4 * super::CHANGED;
    /// `u32`: where the rows of the workers are, [`super::WORKERS`] times [`super::worker::SIZE`]; 0 where
    /// the block had no room for them.
    pub const WORKERS: usize = COUNTERS + 4;
    /// `u32`: where the sets of blocks of wider networks are, each [`super::BLOCKS_IN_SET`] times
    /// [`super::wide::SIZE`]; 0 where the block had no room for them.
    pub const WIDE: usize = WORKERS + 4;
    /// `u32`: the number of sets.
    pub const WIDE_SETS: usize = WIDE + 4;
    /// `u32`: the number of the set that is swept next, which may be larger than that of the sets.
    pub const WIDE_TURN: usize = WIDE_SETS + 4;
    /// The size of the root.
    pub const SIZE: usize = WIDE_TURN + 4;
}

/// The value of a counter of failed logins, see `failures`.
pub mod counter {
    /// `u8`: the place of the client's network, see [`super::root::PLACES`].
    pub const PLACE: usize = 0;
    /// [`super::WIDER`] times `u8`: those of the wider networks. One more byte is unused.
    pub const WIDER_PLACES: usize = 1;
    /// `u16`: the number of failed logins.
    pub const FAILED: usize = 4;
    /// `u16`: the number of logins that failed or are under way.
    pub const ALL: usize = 6;
    /// [`super::WIDER`] times `u64`: the hashes of the wider networks' keys.
    pub const WIDER_KEYS: usize = 8;
    /// The size of a counter for all users. One for a user goes on with the tags of passwords.
    pub const SIZE: usize = WIDER_KEYS + 8 * super::WIDER;
    const _: () = assert!(WIDER_PLACES + super::WIDER < FAILED);
}

/// How many networks wider than the client's own can be blocked.
pub const WIDER: usize = 2;

/// A block of a wider network, see `wider`.
pub mod wide {
    /// `u64`: the hash of the network's key; 0 where there is no block.
    pub const KEY: usize = 0;
    /// `u64`: that of the next wider network; 0 without one.
    pub const WIDER: usize = 8;
    /// `u64`: when it ends, in milliseconds.
    pub const ENDS: usize = 16;
    /// `u16`: logins of one client for one user that have failed or were under way.
    pub const OF_USER: usize = 24;
    /// `u16`: the same for all users.
    pub const OF_ADDRESS: usize = 26;
    /// Two times `u8`: the places of both networks.
    pub const PLACES: usize = 28;
    /// The size of a block.
    pub const SIZE: usize = 32;
}

/// The number of blocks of wider networks that share a set.
pub const BLOCKS_IN_SET: usize = 8;
/// The share of the block that is for them: one byte in this number.
pub const WIDE_SHARE: usize = 64;

/// A worker that Redis tells of changes.
pub mod watcher {
    /// `u32`: the process id; 0 in a place that is free.
    pub const ID: usize = 0;
    /// `u32`: what the worker hears, see `watchers`: [`FULL`], [`NEW`], or another number.
    pub const STATE: usize = 4;
    /// `u64`: when the process was started.
    pub const STARTED: usize = 8;
    /// The size of a place.
    pub const SIZE: usize = 16;

    /// The state of a worker that hears of all changes, and may answer for others.
    pub const FULL: u32 = 1;
    /// The same of one that came when the records were in doubt.
    pub const NEW: u32 = 2;

    /// Where a place is, in a block with its root at `root`.
    pub fn place(root: usize, index: usize) -> usize {
        root + super::root::WATCHERS + SIZE * index
    }
}

/// What a worker has now.
pub mod worker {
    /// `u32`: the process id; 0 in a row that is free.
    pub const ID: usize = 0;
    /// `u64`: when the process was started.
    pub const STARTED: usize = 8;
    /// [`super::GAUGES`] times `u32`.
    pub const GAUGES: usize = 16;
    /// The size of a row.
    pub const SIZE: usize = GAUGES + 4 * super::GAUGES;
}

/// An entry: header, key, value.
pub mod entry {
    /// `u32`: the next entry of the same bucket.
    pub const NEXT: usize = 0;
    /// `u32`: the entry of the same list that was used just after this one.
    pub const NEWER: usize = 4;
    /// `u32`: the entry of the same list that was used just before this one.
    pub const OLDER: usize = 8;
    /// `u32`: when the entry was last moved to the front of its list, in seconds.
    pub const TOUCHED: usize = 12;
    /// `u64`: the hash of the key; 0 once the entry is removed, for whoever has noted where it lay.
    pub const HASH: usize = 16;
    /// `u64`: when the entry expires, in milliseconds.
    pub const EXPIRES: usize = 24;
    /// `u16`: bytes of key.
    pub const KEY_LENGTH: usize = 32;
    /// `u16`: the list that holds the entry.
    pub const LIST: usize = 34;
    /// `u32`: bytes of value.
    pub const VALUE_LENGTH: usize = 36;
    /// The size of the header: the key follows, then the value.
    pub const SIZE: usize = 40;
}

/// The size of a slot for a negative entry. Slots are set aside when the block is set up. So negative
/// entries, which any client can cause, never push out records, and records never push out them, however the
/// block's allocator groups sizes.
pub const SLOT: usize = 512;
/// The share of the block that is for negative entries: one byte in this number.
pub const NEGATIVE_SHARE: usize = 8;
/// The fewest slots of a small block, unless they were more than a quarter of it: one client alone needs two
/// counters.
pub const MIN_SLOTS: usize = 12;

/// The number of lists.
pub const LISTS: usize = 9;
/// The largest size whose records have a list of their own; all larger records share one list.
const LARGEST: usize = 2048;

/// A list of entries in the order of their last use. Records have one list for each size that an allocator
/// such as nginx's keeps apart (a power of 2): only evicting an entry of the same size is sure to make room.
///
/// The other lists hold negative entries: users that do not exist, and counters of failed logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List(usize);

impl List {
    /// Users that do not exist.
    pub const UNKNOWN: List = List(6);
    /// Counters of failed logins that have not reached their limit.
    pub const FAILURES: List = List(7);
    /// Counters that have reached their limit, in the order in which they reached it. They are not moved when
    /// used, and nothing that clients do pushes them out while there are other counters. One that gives way
    /// leaves a block of a wider network, see `wider`.
    pub const BLOCKED: List = List(8);

    /// The list for a record whose entry has this size: up to 128 bytes, up to 256, and so on.
    pub fn for_record(size: usize) -> List {
        List(size.clamp(128, LARGEST + 1).next_power_of_two().trailing_zeros() as usize - 7)
    }

    /// The lists of records.
    pub fn records() -> impl Iterator<Item = List> {
        (0..Self::UNKNOWN.0).map(List)
    }

    /// The list of a number that was read from an entry.
    pub fn of(number: u16) -> List {
        List(usize::from(number) % LISTS)
    }

    /// The number of the list, to be written to an entry.
    pub fn number(self) -> u16 {
        self.0 as u16
    }

    /// Whether the list holds negative entries.
    pub fn is_negative(self) -> bool {
        self.0 >= Self::UNKNOWN.0
    }

    /// The offset of the list's ends from the root.
    pub fn at(self) -> usize {
        root::LISTS + 16 * self.0
    }
}
