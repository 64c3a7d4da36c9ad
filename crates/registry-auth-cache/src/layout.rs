//! What lies where in the block. A change here is a change of [`VERSION`]: a block of another version is emptied.
//!
//! Offsets in bytes. `u32` links are offsets from the block's start, 0 for none.

/// Says that a block is one of ours.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"rga-zone");
/// The layout's version.
pub const VERSION: u32 = 5;

/// Workers that can stand guard at a time; more of them work, but count for nothing.
pub const GUARDS: usize = 64;

/// Networks are told apart by so many places where it is noted, to be read without the lock, whether any of them is blocked. A power
/// of 2. More would take the smallest block's room: nginx's allocator has whole pages for what is larger than half of one.
pub const PLACES: usize = 64;

/// The root: one a block.
pub mod root {
    /// `u64`: [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// `u32`: [`super::VERSION`].
    pub const VERSION: usize = 8;
    /// `u32`: not 0 while a change is under way.
    pub const DIRTY: usize = 12;
    /// 16 bytes: the key of the buckets' hash; 16 bytes: the key of the credentials' tags.
    pub const KEYS: usize = 16;
    /// `u64`: facts of an earlier epoch are not fresh.
    pub const EPOCH: usize = 48;
    /// `u64`: facts of an epoch before this one are not even stale.
    pub const FLOOR: usize = 56;
    /// `u64`: as `FLOOR`, for facts that came out of the one hash of all passwords.
    pub const PASSWORDS_EPOCH: usize = 64;
    /// `u64`: since when changes may have been missed, in milliseconds; 0 while a guard stands.
    pub const LOST: usize = 72;
    /// `u32`: how many buckets, less 1; their number is a power of 2.
    pub const BUCKET_MASK: usize = 80;
    /// `u32`: where the buckets are, each the `u32` offset of its first entry.
    pub const BUCKETS: usize = 84;
    /// `u32`: the first free slot for a stranger; each holds the next one's offset in its first 4 bytes.
    pub const SLOTS: usize = 88;
    /// `u32`: how many slots there are, free or not.
    pub const SLOTS_IN_ALL: usize = 92;
    /// Lists, most recently used first: see [`super::List`]. Each has `u32` first, `u32` last, `u32` count, `u32` unused.
    pub const LISTS: usize = 96;
    /// [`super::GUARDS`] times `u32` process id, `u32` unused, `u64` when it began: the workers whom Redis tells of changes.
    pub const GUARDS: usize = LISTS + 16 * super::LISTS;
    /// `u64`: what the facts are about, see `Cache::be_about`; 0 in a new block.
    pub const ABOUT: usize = GUARDS + 16 * super::GUARDS;
    /// [`crate::counters::COUNTERS`] times `u64`: see `counters`.
    pub const COUNTERS: usize = ABOUT + 8;
    /// `u64`: another one after each change that makes any fact old; see `Cache::generation`.
    pub const GENERATION: usize = COUNTERS + 8 * crate::counters::COUNTERS;
    /// [`super::PLACES`] times `u32`: how many counters of [`super::List::BLOCKED`] are of networks whose hash leads there.
    pub const PLACES: usize = GENERATION + 8;
    /// The root's size.
    pub const SIZE: usize = PLACES + 4 * super::PLACES;
}

/// An entry: header, key, value.
pub mod entry {
    /// `u32`: the next one of the same bucket.
    pub const NEXT: usize = 0;
    /// `u32`: the one of the same list that was used just after.
    pub const NEWER: usize = 4;
    /// `u32`: the one of the same list that was used just before.
    pub const OLDER: usize = 8;
    /// `u32`: when it was last moved to the list's front, in seconds.
    pub const TOUCHED: usize = 12;
    /// `u64`: the key's hash.
    pub const HASH: usize = 16;
    /// `u64`: milliseconds at which it expires.
    pub const EXPIRES: usize = 24;
    /// `u16`: bytes of key.
    pub const KEY_LENGTH: usize = 32;
    /// `u16`: the list it is in.
    pub const LIST: usize = 34;
    /// `u32`: bytes of value.
    pub const VALUE_LENGTH: usize = 36;
    /// The header's size: the key follows, then the value.
    pub const SIZE: usize = 40;
}

/// An entry of a stranger has a slot of this size, set aside when the block was set up. So strangers never push out facts, nor
/// facts them, however the block's allocator keeps sizes apart.
pub const SLOT: usize = 512;
/// One byte of the block in so many is for strangers.
pub const STRANGERS_SHARE: usize = 8;
/// And so many slots in a small block, up to a quarter of it: a client alone has two counters.
pub const FEWEST_SLOTS: usize = 12;

/// How many lists there are.
pub const LISTS: usize = 9;
/// The largest size whose facts have a list of their own; all larger ones share one.
const LARGEST: usize = 2048;

/// A list of entries in the order of their last use. Facts have one for each size that an allocator like nginx's keeps apart (a
/// power of 2), since only one of the same size is sure to make room when it is evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List(usize);

impl List {
    /// Users who do not exist.
    pub const UNKNOWN: List = List(6);
    /// Failed logins, and those under way, that have not reached their limit.
    pub const FAILURES: List = List(7);
    /// Failed logins that have: whatever strangers do, these stay. In the order in which they came here.
    pub const BLOCKED: List = List(8);

    /// The list for facts whose entry has this size: up to 128 bytes, 256 and so on.
    pub fn of_facts(size: usize) -> List {
        List(size.clamp(128, LARGEST + 1).next_power_of_two().trailing_zeros() as usize - 7)
    }

    /// The facts' lists.
    pub fn facts() -> impl Iterator<Item = List> {
        (0..Self::UNKNOWN.0).map(List)
    }

    /// The list of a number read from an entry.
    pub fn of(number: u16) -> List {
        List(usize::from(number) % LISTS)
    }

    /// Its number, for an entry.
    pub fn number(self) -> u16 {
        self.0 as u16
    }

    /// Whether it is one of strangers.
    pub fn is_of_strangers(self) -> bool {
        self.0 >= Self::UNKNOWN.0
    }

    /// Where its part of the root begins.
    pub fn at(self) -> usize {
        root::LISTS + 16 * self.0
    }
}
