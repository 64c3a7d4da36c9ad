//! Copies that one worker makes of records which concern several users: one of each, as long as the record stays the same.
//!
//! Beside [`crate::Memo`], in the worker's own memory: what is remembered of ten thousand users of a group refers to one copy of the
//! group's record, which is in the processor's caches when the next of them comes. Bounded in number and size.

use std::collections::HashMap;
use std::sync::Arc;

/// Copies that are kept; what is in use beyond that is not shared with others.
const MOST: usize = 256;
/// Bytes of a record; a larger one is not kept.
const LARGEST: usize = 4096;

/// The last copy of each record, by the hash of its key ([`crate::Keys::hash`]).
#[derive(Default)]
pub struct Copies(HashMap<u64, Arc<[u8]>>);

impl Copies {
    /// A copy of this record, perhaps one that others have.
    pub fn of(&mut self, hash: u64, record: &[u8]) -> Arc<[u8]> {
        if let Some(kept) = self.0.get(&hash).filter(|kept| ***kept == *record) {
            return Arc::clone(kept);
        }
        let copy: Arc<[u8]> = record.into();
        if record.len() <= LARGEST {
            if self.0.len() == MOST {
                self.0.clear();
            }
            self.0.insert(hash, Arc::clone(&copy));
        }
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::{Copies, LARGEST, MOST};
    use std::sync::Arc;

    #[test]
    fn one_copy_as_long_as_the_record_stays_the_same() {
        let mut copies = Copies::default();
        let one = copies.of(1, b"one");
        assert!(Arc::ptr_eq(&one, &copies.of(1, b"one")));
        let changed = copies.of(1, b"two");
        assert_eq!((&*one, &*changed), (&b"one"[..], &b"two"[..]));
        assert!(Arc::ptr_eq(&changed, &copies.of(1, b"two")));
        // Keys that share a hash get their own record all the same.
        assert_eq!(&*copies.of(1, b"one"), b"one");
    }

    #[test]
    fn bounded_in_number_and_size() {
        let mut copies = Copies::default();
        let large = vec![0; LARGEST + 1];
        assert_eq!(*copies.of(0, &large), large);
        assert!(copies.0.is_empty());
        for hash in 0..3 * MOST as u64 {
            assert_eq!(&*copies.of(hash, b"record"), b"record");
            assert!((1..=MOST).contains(&copies.0.len()));
        }
    }
}
