//! [`Cache`]: a block that the caller has locked. Opening and setting up the block, and invalidating all of
//! it at once.
//!
//! Called by the nginx module under the lock of its zone. `records`, `failures`, `watchers` and `counters`
//! add the methods for what is kept. Guarantees: a block that cannot be trusted is emptied before it is used,
//! and after [`Cache::invalidate_all`] no earlier record is found, fresh or stale.

use std::sync::atomic::{Ordering, compiler_fence};

use crate::keys::{EntryKey, SecretKeys};
use crate::layout::{
    BLOCKS_IN_SET, CHANGED, COUNTERS, List, MAGIC, MIN_SLOTS, NEGATIVE_SHARE, SLOT, VERSION, WIDE_SHARE,
    WORKERS, entry, root, wide, worker,
};
use crate::memory::{Memory, Numbers, Write};
use crate::table::Table;

/// Bytes of block for each bucket: about what one user takes, so that chains stay short.
const BYTES_PER_BUCKET: usize = 256;

/// What a copy of a user's record, with those of groups and defaults, is compared with: has anything changed
/// since?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generations {
    /// [`Cache::generation`].
    pub of_all: u64,
    /// As `of_all`, but the same after a change of one user's record alone: the copies of other users'
    /// records, of groups and of defaults are then still what the block says.
    pub shared: u64,
}

/// What the caller notes before it asks the store: what has changed since is not put, as the answer may be
/// older.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    epoch: u64,
    generation: u64,
    passwords_epoch: u64,
}

/// A cache in a block that the caller has locked.
///
/// ```
/// use registry_auth_cache::{Cache, EntryKey, Found, Freshness, SecretKeys, NewRecord};
/// # mod block { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/block/mod.rs")); }
/// # use block::Block;
///
/// let keys = SecretKeys::new([7; 32]); // random bytes, really
/// let mut block = Block::new(256 * 1024); // a `Memory`
/// let mut cache = Cache::open(&mut block, || Some(keys)).expect("the block is large enough");
///
/// let alice = EntryKey { key: b"alice", hash: keys.hash(b"alice") };
/// let tag = keys.tag(b"Basic YWxpY2U6c2VjcmV0");
/// assert!(matches!(cache.find_user(alice, tag, Freshness::Fresh(1_000)), Found::Missing));
///
/// let new = NewRecord {
///     record: b"grants and backends",
///     binding: keys.tag(b"the stored password hash"),
///     from_passwords: false,
///     tag,
///     verified: Some(true),
///     expires: 60_000,
/// };
/// cache.put_user(alice, &new, 1_000);
/// let Found::Verified(record) = cache.find_user(alice, tag, Freshness::Fresh(2_000)) else { panic!() };
/// assert_eq!(cache.record_bytes(record), b"grants and backends");
///
/// cache.invalidate_user(alice);
/// assert!(matches!(cache.find_user(alice, tag, Freshness::Fresh(2_000)), Found::Missing));
/// ```
pub struct Cache<'m, M: Memory> {
    pub(crate) table: Table<'m, M>,
}

/// Bytes of a block that has room for records beside all the rest; and of one that has room for what workers
/// have now, too. nginx makes no zone with less than 32 KiB.
const LEAST: usize = 16 * 1024;
const FOR_WORKERS: usize = 24 * 1024;

/// So many bytes of 0.
fn allocate_zeroes(memory: &mut impl Memory, size: usize) -> Option<u32> {
    let at = memory.allocate(size)?;
    let bytes = memory.bytes_mut().get_mut(at as usize..)?.get_mut(..size)?;
    bytes.fill(0);
    Some(at)
}

impl<'m, M: Memory> Cache<'m, M> {
    /// Opens the cache in `memory`. A block that cannot be used (it is new, of another layout, or a process
    /// died while it changed it) is set up anew, with the keys that `new_keys` makes. `None` where the block
    /// is too small, or `new_keys` gives none because there are no random numbers.
    #[inline]
    pub fn open(memory: &'m mut M, new_keys: impl FnOnce() -> Option<SecretKeys>) -> Option<Self> {
        let root = memory.root() as usize;
        let usable = |bytes: &[u8]| {
            let header = bytes.slice(root, root::KEYS);
            header.get_u64(root::MAGIC) == MAGIC
                && header.get_u32(root::VERSION) == VERSION
                && header.get_u32(root::DIRTY) == 0
        };
        if root != 0 && usable(memory.bytes()) {
            return Some(Cache {
                table: Table { memory, root },
            });
        }
        Self::set_up(memory, new_keys()?)
    }

    #[cold]
    fn set_up(memory: &'m mut M, keys: SecretKeys) -> Option<Self> {
        let length = memory.bytes().len();
        if length < LEAST {
            return None;
        }
        memory.reset();
        let buckets = (length / BYTES_PER_BUCKET).next_power_of_two() / 2;
        let slots = match length / NEGATIVE_SHARE / SLOT {
            // A smaller block is of no use anyway.
            slots if length >= 4 * MIN_SLOTS * SLOT => slots.max(MIN_SLOTS),
            slots => slots,
        };
        let at = memory.allocate(root::SIZE)?;
        let root = at as usize;
        memory.put(root, &[0; root::SIZE]);
        let counters = allocate_zeroes(memory, 8 * COUNTERS)?;
        memory.put_u32(root + root::COUNTERS, counters);
        let first = allocate_zeroes(memory, 4 * buckets)?;
        memory.put_u32(root + root::BUCKETS, first);
        memory.put_u32(
            root + root::BUCKET_MASK,
            u32::try_from(buckets).ok()?.checked_sub(1)?,
        );
        Self::set_up_slots(memory, root, slots)?;
        // Records matter more than what is shown.
        let workers = match length >= FOR_WORKERS {
            true => allocate_zeroes(memory, WORKERS * worker::SIZE).unwrap_or_default(),
            false => 0,
        };
        memory.put_u32(root + root::WORKERS, workers);
        let sets = (length / WIDE_SHARE / (BLOCKS_IN_SET * wide::SIZE)).max(1);
        let first = allocate_zeroes(memory, sets * BLOCKS_IN_SET * wide::SIZE).unwrap_or_default();
        memory.put_u32(root + root::WIDE, first);
        memory.put_u32(root + root::WIDE_SETS, u32::try_from(sets).ok()?);
        memory.put(root + root::KEYS, keys.secret());
        // 1, so that an entry of all zeroes belongs to no epoch.
        memory.put_u64(root + root::EPOCH, 1);
        memory.put_u64(root + root::FLOOR, 1);
        memory.put_u64(root + root::PASSWORDS_EPOCH, 1);
        // A worker that has noted a generation of the block as it was before must not meet the same number
        // again.
        let generation = keys.hash(b"generation");
        memory.put_u64(root + root::GENERATION, generation);
        for place in 0..CHANGED {
            memory.put_u32(root + root::CHANGED + 4 * place, generation as u32);
        }
        memory.put_u64(root + root::SHARED_GENERATION, keys.hash(b"shared generation"));
        memory.put_u32(root + root::VERSION, VERSION);
        memory.put_u64(root + root::MAGIC, MAGIC);
        compiler_fence(Ordering::SeqCst);
        memory.set_root(at);
        Some(Cache {
            table: Table { memory, root },
        })
    }

    /// Sets the slots for negative entries aside.
    fn set_up_slots(memory: &mut M, root: usize, slots: usize) -> Option<()> {
        if slots < 2 {
            return None;
        }
        let first = memory.allocate(slots * SLOT)? as usize;
        for index in 0..slots {
            let next = match index + 1 < slots {
                true => first + (index + 1) * SLOT,
                false => 0,
            };
            memory.put_u32(first + index * SLOT + entry::NEXT, next as u32);
        }
        memory.put_u32(root + root::FREE_SLOTS, first as u32);
        memory.put_u32(root + root::SLOTS, slots as u32);
        Some(())
    }

    /// The secret keys of the block.
    pub fn keys(&self) -> SecretKeys {
        let bytes = self.table.memory.bytes().slice(self.table.root + root::KEYS, 32);
        SecretKeys::new(bytes.first_chunk().copied().unwrap_or_default())
    }

    /// Whether `copy` is a copy of the block's keys.
    #[inline]
    pub fn has_keys(&self, copy: &SecretKeys) -> bool {
        self.keys() == *copy
    }

    /// The epoch of records that are put now.
    pub(crate) fn epoch(&self) -> u64 {
        self.number(root::EPOCH)
    }

    /// To be noted before the store is asked.
    pub fn mark(&self) -> Mark {
        Mark {
            epoch: self.epoch(),
            generation: self.generation(),
            passwords_epoch: self.number(root::PASSWORDS_EPOCH),
        }
    }

    /// Whether anything of what was asked for after `mark` may be put: no worker has missed changes since,
    /// nor heard that everything has changed.
    pub fn is_current(&self, mark: &Mark) -> bool {
        mark.epoch == self.epoch()
    }

    /// Whether the one hash of all passwords has not changed since `mark`.
    pub fn has_same_passwords(&self, mark: &Mark) -> bool {
        mark.passwords_epoch == self.number(root::PASSWORDS_EPOCH)
    }

    /// Whether no worker has heard of a change of this key since `mark`. A worker that asks the store may not
    /// have: its connection may have fallen silent just after the answer.
    pub fn is_unchanged(&self, key: EntryKey<'_>, mark: &Mark) -> bool {
        let changed = self.table.memory.bytes().get_u32(self.place_of_change(key));
        // Numbers of which only the lower half is kept: the later one is less than half of all ahead.
        changed.wrapping_sub(mark.generation as u32) as i32 <= 0
    }

    /// Notes that a key has changed.
    pub(crate) fn note_change(&mut self, key: EntryKey<'_>) {
        let (at, generation) = (self.place_of_change(key), self.generation() as u32);
        self.table.memory.put_u32(at, generation);
    }

    fn place_of_change(&self, key: EntryKey<'_>) -> usize {
        self.table.root + root::CHANGED + 4 * (key.hash as usize % CHANGED)
    }

    /// A number that differs after each change that makes any record old, and after the block was set up
    /// anew. A worker that has copied a record may use the copy until it expires, as long as this number is
    /// the one that it read when it found the record. It can read the number without the lock, at the offset
    /// [`GENERATION`](crate::GENERATION).
    pub fn generation(&self) -> u64 {
        self.number(root::GENERATION)
    }

    /// Both generations, for a worker that copies what it has found.
    pub fn generations(&self) -> Generations {
        Generations {
            of_all: self.generation(),
            shared: self.number(root::SHARED_GENERATION),
        }
    }

    /// The number of records, and the number of negative entries (users that do not exist, and counters of
    /// failed logins).
    pub fn counts(&self) -> (u32, u32) {
        let records = List::records()
            .map(|list| self.table.count(list))
            .fold(0, u32::wrapping_add);
        let negative = [List::UNKNOWN, List::FAILURES, List::BLOCKED]
            .map(|list| self.table.count(list))
            .into_iter()
            .fold(0, u32::wrapping_add);
        (records, negative)
    }

    /// Changes may be missed from `now` on: no record is fresh any more, but all of them may be used as stale
    /// ones.
    pub fn mark_all_stale(&mut self, now: u64) {
        self.change(|table| {
            table.raise(root::EPOCH);
            table.raise_generations();
            if table.number(root::LOST_SINCE) == 0 {
                table.set_number(root::LOST_SINCE, now.max(1));
            }
        });
    }

    /// Changes were missed, or everything has changed: no record is found any more.
    pub fn invalidate_all(&mut self) {
        self.change(Table::invalidate_all);
    }

    /// The one hash of all passwords has changed: no record whose password came out of it is found any more.
    pub fn invalidate_passwords(&mut self) {
        self.table.raise(root::PASSWORDS_EPOCH);
        self.table.raise_generations();
    }

    pub(crate) fn number(&self, at: usize) -> u64 {
        self.table.number(at)
    }

    /// Runs a change with the dirty flag set: if the process dies in it, whoever opens the block next empties
    /// it.
    pub(crate) fn change<T>(&mut self, change: impl FnOnce(&mut Table<'m, M>) -> T) -> T {
        let dirty = self.table.root + root::DIRTY;
        self.table.memory.put_u32(dirty, 1);
        // The compiler must not move a write of the change across a write of the flag. No fence for the
        // processor is needed: other processors look only after the lock's own barrier, and when a process
        // dies, the writes that it has made are seen in their order.
        compiler_fence(Ordering::SeqCst);
        let result = change(&mut self.table);
        compiler_fence(Ordering::SeqCst);
        self.table.memory.put_u32(dirty, 0);
        result
    }
}
