//! Copies that one worker makes of records which concern several users: one of each, as long as the record stays the same.
//!
//! Beside [`crate::Memo`], in the worker's own memory: what is remembered of ten thousand users of a group refers to one copy of the
//! group's record, which is in the processor's caches when the next of them comes. Bounded in bytes. A copy that somebody refers to
//! takes its room for so long, also when the record has changed: so what is not counted here is counted nowhere, and whoever gets a copy
//! of their own is told.

use std::collections::HashMap;
use std::sync::Arc;

use crate::worker_cache::allocated;

/// Bytes of all copies.
pub const MOST: usize = 2 << 20;
/// Bytes of a record; a larger one is not kept.
const LARGEST: usize = 64 << 10;
/// Where nothing could be thrown away, nobody looks again for so many copies: a look goes through all of them.
const PAUSE: u32 = 256;

/// The last copy of each record, by the hash of its key ([`crate::Keys::hash`]), and earlier ones that are in use.
#[derive(Default)]
pub struct Copies {
    last: HashMap<u64, Arc<[u8]>>,
    earlier: Vec<Arc<[u8]>>,
    bytes: usize,
    pause: u32,
}

/// A copy of a record.
pub struct Copy {
    /// It.
    pub record: Arc<[u8]>,
    /// The bytes that it takes, if nobody else has it.
    pub own: usize,
}

impl Copies {
    /// A copy of this record, perhaps one that others have.
    pub fn of(&mut self, hash: u64, record: &[u8]) -> Copy {
        if let Some(kept) = self.last.get(&hash).filter(|kept| ***kept == *record) {
            return Copy {
                record: Arc::clone(kept),
                own: 0,
            };
        }
        let copy: Arc<[u8]> = record.into();
        let size = size(&copy);
        if record.len() > LARGEST || !self.has_room(size) {
            return Copy {
                record: copy,
                own: size,
            };
        }
        self.bytes += size;
        if let Some(earlier) = self.last.insert(hash, Arc::clone(&copy)) {
            self.earlier.push(earlier);
        }
        Copy { record: copy, own: 0 }
    }

    /// Whether there is room for so many bytes; what nobody refers to makes room.
    fn has_room(&mut self, size: usize) -> bool {
        if self.bytes + size <= MOST {
            return true;
        }
        self.pause = self.pause.saturating_sub(1);
        if self.pause > 0 {
            return false;
        }
        self.last.retain(|_, copy| Arc::strong_count(copy) > 1);
        self.earlier.retain(|copy| Arc::strong_count(copy) > 1);
        self.bytes = self.last.values().chain(&self.earlier).map(self::size).sum();
        let has_room = self.bytes + size <= MOST;
        if !has_room {
            self.pause = PAUSE;
        }
        has_room
    }
}

/// What a copy takes, with its place here.
fn size(copy: &Arc<[u8]>) -> usize {
    const PLACE: usize = 2 * size_of::<(u64, Arc<[u8]>)>();
    PLACE + allocated(2 * size_of::<usize>() + copy.len())
}

#[cfg(test)]
mod tests {
    use super::{Copies, LARGEST, MOST, PAUSE};
    use std::sync::Arc;

    #[test]
    fn one_copy_as_long_as_the_record_stays_the_same() {
        let mut copies = Copies::default();
        let one = copies.of(1, b"one");
        assert!(Arc::ptr_eq(&one.record, &copies.of(1, b"one").record));
        let changed = copies.of(1, b"two");
        assert_eq!((&*one.record, &*changed.record), (&b"one"[..], &b"two"[..]));
        assert!(Arc::ptr_eq(&changed.record, &copies.of(1, b"two").record));
        // Keys that share a hash get their own record all the same.
        assert_eq!(&*copies.of(1, b"one").record, b"one");
    }

    #[test]
    fn what_nobody_uses_makes_room() {
        for length in [10, 1000, LARGEST] {
            let mut copies = Copies::default();
            let record = vec![0; length];
            for hash in 0..3 * (MOST / length.max(100)) as u64 {
                assert_eq!(copies.of(hash, &record).own, 0);
                assert!(copies.bytes <= MOST);
            }
        }
        let mut copies = Copies::default();
        assert!(copies.of(0, &[0; LARGEST + 1]).own > LARGEST);
        assert!(copies.last.is_empty());
    }

    #[test]
    fn what_is_in_use_counts_though_the_record_has_changed() {
        let mut copies = Copies::default();
        let mut held = Vec::new();
        for version in 0_u32..2_000 {
            held.push(copies.of(1, &version.to_ne_bytes().repeat(1000)));
            let shared = held.iter().filter(|copy| copy.own == 0);
            assert!(shared.map(|copy| copy.record.len()).sum::<usize>() <= MOST);
        }
        assert!(held.iter().any(|copy| copy.own > 0), "they are the holders'");
        // As soon as they are not, new ones are shared again.
        held.clear();
        let shared = (0..=PAUSE).filter(|_| copies.of(1, &[0; 5000]).own == 0);
        assert!(shared.count() > 0);
        assert!(copies.bytes < MOST / 2);
    }
}
