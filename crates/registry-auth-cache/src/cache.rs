//! The whole cache in a locked block: its root, its keys, and the rules that make all of it old at once.

use siphasher::sip::SipHasher13;
use siphasher::sip128::SipHasher24;

use crate::layout::{root, List, MAGIC, VERSION};
use crate::memory::{Memory, Numbers};
use crate::subjects::Tag;
use crate::table::Table;

/// Bytes of block for each bucket: about what a user takes, so that chains stay short.
const BYTES_PER_BUCKET: usize = 256;

/// What no `Authorization` header begins with, so that a salt's tag is never a credential's.
const SALT: &[u8] = b"\0salt\0";

/// A cache in a block that the caller has locked.
pub struct Cache<'m, M: Memory> {
    pub(crate) table: Table<'m, M>,
}

/// The secret keys of a block, made at random when it was set up: what hashes entries to buckets, and what stands for a
/// credential that was verified. A worker keeps a copy, to hash before it locks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    bucket: [u8; 16],
    tag: [u8; 16],
}

impl Keys {
    /// Keys of 32 random bytes.
    pub fn new(random: [u8; 32]) -> Keys {
        let (bucket, tag) = random.split_at(16);
        let half = |bytes: &[u8]| bytes.first_chunk().copied().unwrap_or_default();
        Keys { bucket: half(bucket), tag: half(tag) }
    }

    /// The hash of an entry's key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        SipHasher13::new_with_key(&self.bucket).hash(key)
    }

    /// What stands for a credential, and for nothing else without the key: SipHash-2-4 with 128 bits.
    #[inline]
    pub fn tag(&self, credential: &[u8]) -> Tag {
        Tag(SipHasher24::new_with_key(&self.tag).hash(credential).as_u128())
    }

    /// As [`Keys::tag`], for a credential that was verified with a salt of the configuration: under another salt the same one is
    /// another credential. The two tags are independent, so that their sum is as good as a tag of both.
    #[inline]
    pub fn salted_tag(&self, salt: &[u8], credential: &[u8]) -> Tag {
        let tag = self.tag(credential);
        if salt.is_empty() {
            return tag;
        }
        let mut salted = Vec::with_capacity(SALT.len() + salt.len());
        salted.extend_from_slice(SALT);
        salted.extend_from_slice(salt);
        Tag(tag.0 ^ self.tag(&salted).0)
    }
}

impl<'m, M: Memory> Cache<'m, M> {
    /// The cache in `memory`; what cannot be used (new, of another layout, left half-changed by a process that died) is emptied
    /// first, with keys that `fresh` makes. `None` where the block is too small, or `fresh` has no random numbers.
    #[inline]
    pub fn open(memory: &'m mut M, fresh: impl FnOnce() -> Option<Keys>) -> Option<Self> {
        let root = memory.root() as usize;
        if root != 0
            && memory.get_u64(root + root::MAGIC) == MAGIC
            && memory.get_u32(root + root::VERSION) == VERSION
            && memory.get_u32(root + root::DIRTY) == 0
        {
            return Some(Cache { table: Table { memory, root } });
        }
        Self::set_up(memory, fresh()?)
    }

    #[cold]
    fn set_up(memory: &'m mut M, keys: Keys) -> Option<Self> {
        memory.reset();
        let buckets = (memory.bytes().len() / BYTES_PER_BUCKET).next_power_of_two() / 2;
        let at = memory.allocate(root::SIZE)?;
        let root = at as usize;
        memory.put(root, &[0; root::SIZE]);
        let first = memory.allocate(4 * buckets)?;
        let zeroes = memory.bytes_mut().get_mut(first as usize..)?.get_mut(..4 * buckets)?;
        zeroes.fill(0);
        memory.put_u32(root + root::BUCKETS, first);
        memory.put_u32(root + root::BUCKET_MASK, u32::try_from(buckets).ok()?.checked_sub(1)?);
        memory.put(root + root::BUCKET_KEY, &keys.bucket);
        memory.put(root + root::TAG_KEY, &keys.tag);
        // 1, so that an entry of all zeroes is of no epoch.
        memory.put_u64(root + root::EPOCH, 1);
        memory.put_u64(root + root::FLOOR, 1);
        memory.put_u64(root + root::PASSWORDS_EPOCH, 1);
        memory.put_u32(root + root::VERSION, VERSION);
        memory.put_u64(root + root::MAGIC, MAGIC);
        memory.set_root(at);
        Some(Cache { table: Table { memory, root } })
    }

    /// The block's keys.
    pub fn keys(&self) -> Keys {
        keys(self.table.memory, self.table.root)
    }

    /// Whether a copy of the keys is this block's.
    #[inline]
    pub fn has_keys(&self, copy: &Keys) -> bool {
        self.keys() == *copy
    }

    /// Facts that are put now belong to this epoch. An answer that was asked for in an earlier one is not put.
    pub fn epoch(&self) -> u64 {
        self.number(root::EPOCH)
    }

    /// How many entries there are: facts, and strangers.
    pub fn counts(&self) -> (u32, u32) {
        (self.table.count(List::Facts), self.table.count(List::Strangers))
    }

    /// Changes may have been missed from now on: no fact is fresh any more, all may still be served stale.
    pub fn forget_freshness(&mut self, now: u64) {
        self.raise(root::EPOCH);
        if self.number(root::LOST) == 0 {
            self.table.memory.put_u64(self.table.root + root::LOST, now.max(1));
        }
    }

    /// Changes were missed, or everything changed: no fact is of use any more.
    pub fn forget_all(&mut self) {
        self.raise(root::EPOCH);
        let epoch = self.epoch();
        self.table.memory.put_u64(self.table.root + root::FLOOR, epoch);
    }

    /// The one hash of all passwords changed: no fact that came out of it is of use any more.
    pub fn forget_passwords(&mut self) {
        self.raise(root::PASSWORDS_EPOCH);
    }

    fn raise(&mut self, epoch: usize) {
        let next = self.number(epoch).wrapping_add(1);
        self.table.memory.put_u64(self.table.root + epoch, next);
    }

    pub(crate) fn number(&self, at: usize) -> u64 {
        self.table.memory.get_u64(self.table.root + at)
    }

    /// Runs a change under the dirty flag: should the process die in it, whoever opens the block next empties it.
    pub(crate) fn change<T>(&mut self, change: impl FnOnce(&mut Table<'m, M>) -> T) -> T {
        let dirty = self.table.root + root::DIRTY;
        self.table.memory.put_u32(dirty, 1);
        // The compiler must not move the change's writes across the flag's; other processors see both only after the lock's own
        // barrier, and a process that dies does not reorder what it has written.
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        let result = change(&mut self.table);
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        self.table.memory.put_u32(dirty, 0);
        result
    }
}

fn keys<M: Memory>(memory: &M, root: usize) -> Keys {
    let key = |at: usize| memory.slice(root + at, 16).first_chunk().copied().unwrap_or_default();
    Keys { bucket: key(root::BUCKET_KEY), tag: key(root::TAG_KEY) }
}

/// The hash of an entry's key, by the block's own keys.
pub(crate) fn bucket_hash<M: Memory>(memory: &M, root: usize, key: &[u8]) -> u64 {
    keys(memory, root).hash(key)
}
