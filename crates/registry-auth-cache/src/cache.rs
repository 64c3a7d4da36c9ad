//! The whole cache in a locked block: its root, its keys, and the rules that make all of it old at once.

use std::hash::Hasher;
use std::sync::atomic::{compiler_fence, Ordering};

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::layout::{entry, root, List, FEWEST_SLOTS, MAGIC, SLOT, STRANGERS_SHARE, VERSION};
use crate::memory::{Memory, Numbers, Write};
use crate::records::Tag;
use crate::table::Table;

/// Bytes of block for each bucket: about what a user takes, so that chains stay short.
const BYTES_PER_BUCKET: usize = 256;

/// Where [`Cache::generation`] lies, in bytes from the block's root: 8 bytes, aligned, whole at any time.
pub const GENERATION: usize = root::GENERATION;

/// A cache in a block that the caller has locked.
pub struct Cache<'m, M: Memory> {
    pub(crate) table: Table<'m, M>,
}

/// The secret keys of a block, made at random when it was set up: what hashes entries to buckets, and what stands for a
/// credential that was verified. A worker keeps a copy, to hash before it locks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keys([u8; 32]);

impl Keys {
    /// Keys of 32 random bytes.
    pub fn new(random: [u8; 32]) -> Keys {
        Keys(random)
    }

    /// The secret behind them, to derive other keys from.
    pub fn secret(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of an entry's key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let [secret, _] = self.halves();
        SipHasher13::new_with_key(secret).hash(key)
    }

    /// What stands for a credential, and for nothing else without the key: SipHash-2-4 with 128 bits.
    #[inline]
    pub fn tag(&self, credential: &[u8]) -> Tag {
        let [_, secret] = self.halves();
        Tag(SipHasher24::new_with_key(secret).hash(credential).as_u128())
    }

    /// As [`Keys::tag`], for a credential (without NUL bytes, as headers are) that was verified with a salt of the configuration:
    /// under another salt the same one is another credential.
    #[inline]
    pub fn salted_tag(&self, salt: &[u8], credential: &[u8]) -> Tag {
        if salt.is_empty() {
            return self.tag(credential);
        }
        let [_, secret] = self.halves();
        let mut hasher = SipHasher24::new_with_key(secret);
        hasher.write(credential);
        hasher.write(salt);
        // The salt's length says where the credential ends, and its NUL bytes that there is a salt at all.
        hasher.write(&(salt.len() as u64).to_le_bytes());
        Tag(hasher.finish128().as_u128())
    }

    /// What stands for a user's password that was sent under a salt, however it was spelled: never the tag of a header, in which no NUL
    /// can be, nor of another user's.
    pub fn password_tag(&self, salt: &[u8], user: &str, password: &[u8]) -> Tag {
        let [_, secret] = self.halves();
        let mut hasher = SipHasher24::new_with_key(secret);
        hasher.write(user.as_bytes());
        // No name has one.
        hasher.write(&[0]);
        hasher.write(password);
        hasher.write(salt);
        hasher.write(&(password.len() as u64).to_le_bytes());
        hasher.write(&(salt.len() as u64).to_le_bytes());
        Tag(hasher.finish128().as_u128())
    }

    #[inline]
    fn halves(&self) -> [&[u8; 16]; 2] {
        match (self.0.first_chunk(), self.0.last_chunk()) {
            (Some(first), Some(last)) => [first, last],
            _ => [&[0; 16]; 2],
        }
    }
}

impl<'m, M: Memory> Cache<'m, M> {
    /// The cache in `memory`; what cannot be used (new, of another layout, left half-changed by a process that died) is emptied
    /// first, with keys that `fresh` makes. `None` where the block is too small, or `fresh` has no random numbers.
    #[inline]
    pub fn open(memory: &'m mut M, fresh: impl FnOnce() -> Option<Keys>) -> Option<Self> {
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
        Self::set_up(memory, fresh()?)
    }

    #[cold]
    fn set_up(memory: &'m mut M, keys: Keys) -> Option<Self> {
        memory.reset();
        let length = memory.bytes().len();
        let buckets = (length / BYTES_PER_BUCKET).next_power_of_two() / 2;
        let slots = match length / STRANGERS_SHARE / SLOT {
            // A smaller one is of no use anyway.
            slots if length >= 4 * FEWEST_SLOTS * SLOT => slots.max(FEWEST_SLOTS),
            slots => slots,
        };
        let at = memory.allocate(root::SIZE)?;
        let root = at as usize;
        memory.put(root, &[0; root::SIZE]);
        let first = memory.allocate(4 * buckets)?;
        memory
            .bytes_mut()
            .get_mut(first as usize..)?
            .get_mut(..4 * buckets)?
            .fill(0);
        memory.put_u32(root + root::BUCKETS, first);
        memory.put_u32(
            root + root::BUCKET_MASK,
            u32::try_from(buckets).ok()?.checked_sub(1)?,
        );
        Self::set_up_slots(memory, root, slots)?;
        memory.put(root + root::KEYS, &keys.0);
        // 1, so that an entry of all zeroes is of no epoch.
        memory.put_u64(root + root::EPOCH, 1);
        memory.put_u64(root + root::FLOOR, 1);
        memory.put_u64(root + root::PASSWORDS_EPOCH, 1);
        // Nobody who noted a number of the block as it was before takes this one for it.
        memory.put_u64(root + root::GENERATION, keys.hash(b"generation"));
        memory.put_u32(root + root::VERSION, VERSION);
        memory.put_u64(root + root::MAGIC, MAGIC);
        compiler_fence(Ordering::SeqCst);
        memory.set_root(at);
        Some(Cache {
            table: Table { memory, root },
        })
    }

    /// Sets the strangers' slots aside.
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
        memory.put_u32(root + root::SLOTS, first as u32);
        memory.put_u32(root + root::SLOTS_IN_ALL, slots as u32);
        Some(())
    }

    /// The block's keys.
    pub fn keys(&self) -> Keys {
        let bytes = self.table.memory.bytes().slice(self.table.root + root::KEYS, 32);
        Keys(bytes.first_chunk().copied().unwrap_or_default())
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

    /// Another number after each change that makes any fact old, and after the block was set up anew. Whoever has copied a fact may
    /// go on with the copy, within its time, while this number is the one that stood when it was found; so it is all that needs to
    /// be looked at then, and that without the lock: see [`GENERATION`].
    pub fn generation(&self) -> u64 {
        self.number(root::GENERATION)
    }

    /// How many entries there are: facts, and strangers.
    pub fn counts(&self) -> (u32, u32) {
        let facts = List::facts()
            .map(|list| self.table.count(list))
            .fold(0, u32::wrapping_add);
        let strangers = [List::UNKNOWN, List::FAILURES, List::BLOCKED]
            .map(|list| self.table.count(list))
            .into_iter()
            .fold(0, u32::wrapping_add);
        (facts, strangers)
    }

    /// Changes may have been missed from now on: no fact is fresh any more, all may still be served stale.
    pub fn forget_freshness(&mut self, now: u64) {
        self.change(|table| {
            table.raise(root::EPOCH);
            table.raise(root::GENERATION);
            if table.number(root::LOST) == 0 {
                table.set_number(root::LOST, now.max(1));
            }
        });
    }

    /// Changes were missed, or everything changed: no fact is of use any more.
    pub fn forget_all(&mut self) {
        self.change(Table::forget_all);
    }

    /// The one hash of all passwords changed: no fact that came out of it is of use any more.
    pub fn forget_passwords(&mut self) {
        self.table.raise(root::PASSWORDS_EPOCH);
        self.table.raise(root::GENERATION);
    }

    pub(crate) fn number(&self, at: usize) -> u64 {
        self.table.number(at)
    }

    /// Runs a change under the dirty flag: should the process die in it, whoever opens the block next empties it.
    pub(crate) fn change<T>(&mut self, change: impl FnOnce(&mut Table<'m, M>) -> T) -> T {
        let dirty = self.table.root + root::DIRTY;
        self.table.memory.put_u32(dirty, 1);
        // The compiler must not move the change's writes across the flag's; other processors see both only after the lock's own
        // barrier, and a process that dies does not reorder what it has written.
        compiler_fence(Ordering::SeqCst);
        let result = change(&mut self.table);
        compiler_fence(Ordering::SeqCst);
        self.table.memory.put_u32(dirty, 0);
        result
    }
}

impl<M: Memory> Table<'_, M> {
    /// A number of the root.
    #[inline]
    pub(crate) fn number(&self, at: usize) -> u64 {
        self.memory.bytes().get_u64(self.root + at)
    }

    pub(crate) fn set_number(&mut self, at: usize, number: u64) {
        self.memory.put_u64(self.root + at, number);
    }

    pub(crate) fn forget_all(&mut self) {
        self.raise(root::EPOCH);
        self.raise(root::GENERATION);
        self.set_number(root::FLOOR, self.number(root::EPOCH));
    }

    pub(crate) fn raise(&mut self, epoch: usize) {
        self.set_number(epoch, self.number(epoch).wrapping_add(1));
    }
}
