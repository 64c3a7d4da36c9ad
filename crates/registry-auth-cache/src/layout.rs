//! What lies where in the block. A change here is a change of [`VERSION`]: a block of another version is emptied.
//!
//! Offsets in bytes. `u32` links are offsets from the block's start, 0 for none.

/// Says that a block is one of ours.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"rga-zone");
/// The layout's version.
pub const VERSION: u32 = 1;

/// Workers that can stand guard at a time; more of them work, but count for nothing.
pub const GUARDS: usize = 64;

/// The root: one a block.
pub mod root {
    /// `u64`: [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// `u32`: [`super::VERSION`].
    pub const VERSION: usize = 8;
    /// `u32`: not 0 while a change is under way.
    pub const DIRTY: usize = 12;
    /// 16 bytes: the key of the buckets' hash.
    pub const BUCKET_KEY: usize = 16;
    /// 16 bytes: the key of the credentials' tags.
    pub const TAG_KEY: usize = 32;
    /// `u64`: facts of an earlier epoch are not fresh.
    pub const EPOCH: usize = 48;
    /// `u64`: facts of an epoch before this one are not even stale.
    pub const FLOOR: usize = 56;
    /// `u64`: as `EPOCH`, for facts that came out of the one hash of all passwords.
    pub const PASSWORDS_EPOCH: usize = 64;
    /// Two lists, most recently used first: see [`super::List`]. Each has `u32` first, `u32` last, `u32` count, `u32` unused.
    pub const LISTS: usize = 72;
    /// `u32`: how many buckets, less 1; their number is a power of 2.
    pub const BUCKET_MASK: usize = 104;
    /// `u32`: where the buckets are, each the `u32` offset of its first entry.
    pub const BUCKETS: usize = 108;
    /// `u64`: since when changes may have been missed, in milliseconds; 0 while a guard stands.
    pub const LOST: usize = 112;
    /// [`super::GUARDS`] times `u32` process id, `u32` unused, `u64` when it began: the workers whom Redis tells of changes.
    pub const GUARDS: usize = 120;
    /// The root's size.
    pub const SIZE: usize = GUARDS + 16 * super::GUARDS;
}

/// An entry: header, key, value.
pub mod entry {
    /// `u32`: the next one of the same bucket.
    pub const NEXT: usize = 0;
    /// `u32`: the one of the same list that was used just after.
    pub const NEWER: usize = 4;
    /// `u32`: the one of the same list that was used just before.
    pub const OLDER: usize = 8;
    /// `u32`: the upper half of the key's hash.
    pub const HASH: usize = 12;
    /// `u32`: the list it is in.
    pub const LIST: usize = 16;
    /// `u32`: when it was last moved to the list's front, in seconds.
    pub const TOUCHED: usize = 20;
    /// `u32`: bytes of key.
    pub const KEY_LENGTH: usize = 24;
    /// `u32`: bytes of value.
    pub const VALUE_LENGTH: usize = 28;
    /// `u64`: milliseconds at which it expires.
    pub const EXPIRES: usize = 32;
    /// The header's size: the key follows, then the value.
    pub const SIZE: usize = 40;
}

/// The two lists. What strangers can make grow is kept apart, so that it never pushes out what was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Records of users, groups and defaults.
    Facts = 0,
    /// Unknown users and failed logins: at most a share of all.
    Strangers = 1,
}

impl List {
    /// The list of a number read from an entry.
    pub fn of(number: u32) -> List {
        match number {
            0 => List::Facts,
            _ => List::Strangers,
        }
    }

    /// Where its part of the root begins.
    pub fn at(self) -> usize {
        root::LISTS + 16 * self as usize
    }
}
