//! One copy of each record that concerns several users, in the memory of one worker.
//!
//! Called by the nginx module when it copies records of groups and defaults out of the block. What the worker
//! keeps about ten thousand users of a group refers to one copy of the group's record, which is in the
//! processor's caches when the next of these users comes. Guarantee: all copies that are counted here take
//! [`MAX_BYTES`] at most. A copy that is in use is counted as long as it is in use, also after the record has
//! changed. Whoever gets a copy that is not counted here learns its size ([`Interned::unshared`]) and must
//! count it.

use std::collections::HashMap;
use std::sync::Arc;

use registry_auth::heap::allocated;

/// Bytes of all copies, at most.
pub const MAX_BYTES: usize = 2 << 20;
/// Bytes of a record that is kept, at most.
const MAX_RECORD_BYTES: usize = 64 << 10;
/// After a search for copies that nobody uses has found too few, so many requests are refused before the next
/// search: a search goes through all copies.
const PAUSE: u32 = 256;

/// The last copy of each record, by the hash of its key ([`crate::SecretKeys::hash`]), and earlier copies
/// that are in use.
#[derive(Default)]
pub struct Interner {
    last: HashMap<u64, Arc<[u8]>>,
    earlier: Vec<Arc<[u8]>>,
    bytes: usize,
    pause: u32,
}

/// A copy of a record.
pub struct Interned {
    /// The copy.
    pub record: Arc<[u8]>,
    /// The bytes of memory that the copy takes, where it is not counted in the interner; else 0.
    pub unshared: usize,
}

impl Interner {
    /// A copy of this record: the one that others have, if they have one. `hash` is the hash of the record's
    /// key.
    pub fn intern(&mut self, hash: u64, record: &[u8]) -> Interned {
        if let Some(kept) = self.last.get(&hash).filter(|kept| ***kept == *record) {
            return Interned {
                record: Arc::clone(kept),
                unshared: 0,
            };
        }
        let copy: Arc<[u8]> = record.into();
        let size = size(&copy);
        if record.len() > MAX_RECORD_BYTES || !self.has_room(size) {
            return Interned {
                record: copy,
                unshared: size,
            };
        }
        self.bytes += size;
        if let Some(earlier) = self.last.insert(hash, Arc::clone(&copy)) {
            self.earlier.push(earlier);
        }
        Interned {
            record: copy,
            unshared: 0,
        }
    }

    /// Whether there is room for so many bytes. Copies that nobody uses are dropped if need be.
    fn has_room(&mut self, size: usize) -> bool {
        if self.bytes + size <= MAX_BYTES {
            return true;
        }
        self.pause = self.pause.saturating_sub(1);
        if self.pause > 0 {
            return false;
        }
        self.last.retain(|_, copy| Arc::strong_count(copy) > 1);
        self.earlier.retain(|copy| Arc::strong_count(copy) > 1);
        self.bytes = self.last.values().chain(&self.earlier).map(self::size).sum();
        let has_room = self.bytes + size <= MAX_BYTES;
        if !has_room {
            self.pause = PAUSE;
        }
        has_room
    }
}

/// The bytes of memory that a copy takes, with its place in the interner.
fn size(copy: &Arc<[u8]>) -> usize {
    const PLACE: usize = 2 * size_of::<(u64, Arc<[u8]>)>();
    PLACE + allocated(2 * size_of::<usize>() + copy.len())
}

#[cfg(test)]
mod tests {
    use super::{Interner, MAX_BYTES, MAX_RECORD_BYTES, PAUSE};
    use std::sync::Arc;

    #[test]
    fn one_copy_as_long_as_the_record_stays_the_same() {
        let mut interner = Interner::default();
        let one = interner.intern(1, b"one");
        assert!(Arc::ptr_eq(&one.record, &interner.intern(1, b"one").record));
        let changed = interner.intern(1, b"two");
        assert_eq!((&*one.record, &*changed.record), (&b"one"[..], &b"two"[..]));
        assert!(Arc::ptr_eq(&changed.record, &interner.intern(1, b"two").record));
        // Keys that share a hash get their own record all the same.
        assert_eq!(&*interner.intern(1, b"one").record, b"one");
    }

    #[test]
    fn what_nobody_uses_makes_room() {
        for length in [10, 1000, MAX_RECORD_BYTES] {
            let mut interner = Interner::default();
            let record = vec![0; length];
            for hash in 0..3 * (MAX_BYTES / length.max(100)) as u64 {
                assert_eq!(interner.intern(hash, &record).unshared, 0);
                assert!(interner.bytes <= MAX_BYTES);
            }
        }
        let mut interner = Interner::default();
        assert!(interner.intern(0, &[0; MAX_RECORD_BYTES + 1]).unshared > MAX_RECORD_BYTES);
        assert!(interner.last.is_empty());
    }

    #[test]
    fn what_is_in_use_counts_though_the_record_has_changed() {
        let mut interner = Interner::default();
        let mut held = Vec::new();
        for version in 0_u32..2_000 {
            held.push(interner.intern(1, &version.to_ne_bytes().repeat(1000)));
            let shared = held.iter().filter(|copy| copy.unshared == 0);
            assert!(shared.map(|copy| copy.record.len()).sum::<usize>() <= MAX_BYTES);
        }
        assert!(
            held.iter().any(|copy| copy.unshared > 0),
            "who holds them counts them"
        );
        // As soon as they are not, new ones are shared again.
        held.clear();
        let shared = (0..=PAUSE).filter(|_| interner.intern(1, &[0; 5000]).unshared == 0);
        assert!(shared.count() > 0);
        assert!(interner.bytes < MAX_BYTES / 2);
    }
}
