//! A table with a bound in bytes: what was used lately is kept, the rest gives way by halves.
//!
//! Used by `lookup::reply_cache`; the other bounded memories count their bytes by [`allocated`]. There are
//! two generations. What is new, or found in the old one, goes into the young one; as soon as that has half
//! of the bytes it becomes the old one, and what was old is dropped. So nothing is in order of its use, which
//! would cost each find more than it does now, and what is used more often than half a table of others comes
//! is never dropped.
//!
//! Invariant: items, and the tables that they lie in, take no more than the bound. What is larger than an
//! eighth of it is not kept.

use hashbrown::HashTable;
pub(crate) use registry_auth::heap::allocated;

/// What is kept.
pub(crate) trait Item {
    /// The same for what is found by the same key; kept with the item, as it is asked for each time the table
    /// grows.
    fn hash(&self) -> u64;

    /// The bytes that it takes elsewhere than in its own place.
    fn elsewhere(&self) -> usize;
}

/// A table of items that take `most` bytes.
pub(crate) struct Bounded<T> {
    young: Generation<T>,
    old: Generation<T>,
    most: usize,
}

struct Generation<T> {
    items: HashTable<T>,
    elsewhere: usize,
}

impl<T> Default for Generation<T> {
    fn default() -> Self {
        Self {
            items: HashTable::new(),
            elsewhere: 0,
        }
    }
}

impl<T: Item> Generation<T> {
    fn bytes(&self) -> usize {
        self.items.allocation_size() + self.elsewhere
    }

    fn insert(&mut self, item: T) {
        self.elsewhere += item.elsewhere();
        self.items.insert_unique(item.hash(), item, T::hash);
    }

    fn take(&mut self, hash: u64, is: impl Fn(&T) -> bool) -> Option<T> {
        let found = self.items.find_entry(hash, is).ok()?;
        let item = found.remove().0;
        self.elsewhere = self.elsewhere.saturating_sub(item.elsewhere());
        Some(item)
    }
}

impl<T: Item> Bounded<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            young: Generation::default(),
            old: Generation::default(),
            most,
        }
    }

    /// The item of this hash for which `is` holds.
    pub(crate) fn find(&mut self, hash: u64, is: impl Fn(&T) -> bool) -> Option<&T> {
        if self.young.items.find(hash, &is).is_none() {
            let item = self.old.take(hash, &is)?;
            self.insert(item);
        }
        self.young.items.find(hash, is)
    }

    /// Keeps an item in place of the one for which `is` holds.
    pub(crate) fn put(&mut self, item: T, is: impl Fn(&T) -> bool) {
        self.remove(item.hash(), is);
        if item.elsewhere() <= self.most / 8 {
            self.insert(item);
        }
    }

    pub(crate) fn remove(&mut self, hash: u64, is: impl Fn(&T) -> bool) {
        let young = self.young.take(hash, &is);
        if young.is_none() {
            drop(self.old.take(hash, is));
        }
    }

    fn insert(&mut self, item: T) {
        let room = item.elsewhere() + size_of::<T>();
        // A table doubles when it is full: the step counts before it is taken.
        let grown = match self.young.items.len() < self.young.items.capacity() {
            true => self.young.bytes(),
            false => self.young.bytes() + self.young.items.allocation_size(),
        };
        if !self.young.items.is_empty() && grown + room > self.most / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(item);
    }

    /// The bytes of all of them, and of the table.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.young.bytes() + self.old.bytes()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.items.len() + self.old.items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounded, Item};

    /// A number that takes some bytes.
    struct Number(u64, usize);

    impl Item for Number {
        fn hash(&self) -> u64 {
            // Of two numbers, so that a hash alone finds nothing.
            self.0 / 2
        }

        fn elsewhere(&self) -> usize {
            self.1
        }
    }

    const MOST: usize = 1 << 20;

    fn is(number: u64) -> impl Fn(&Number) -> bool {
        move |item| item.0 == number
    }

    fn put(table: &mut Bounded<Number>, number: u64, bytes: usize) {
        table.put(Number(number, bytes), is(number));
    }

    fn has(table: &mut Bounded<Number>, number: u64) -> bool {
        table
            .find(number / 2, is(number))
            .is_some_and(|item| item.0 == number)
    }

    #[test]
    fn what_is_put_is_found_until_it_is_removed() {
        let mut table = Bounded::new(MOST);
        for number in 0..100 {
            put(&mut table, number, 10);
        }
        assert!((0..100).all(|number| has(&mut table, number)) && !has(&mut table, 100));
        table.remove(3, is(6));
        assert!(!has(&mut table, 6) && has(&mut table, 7));
        assert_eq!(table.len(), 99);
    }

    #[test]
    fn one_that_is_put_anew_is_in_place_of_the_earlier_one() {
        let mut table = Bounded::new(MOST);
        put(&mut table, 1, 1000);
        put(&mut table, 1, 20);
        assert_eq!(table.len(), 1);
        assert_eq!(table.young.elsewhere + table.old.elsewhere, 20);
    }

    #[test]
    fn the_bound_is_met_with_small_and_with_large_items_and_used_by_a_fifth_at_least() {
        for bytes in [0, 1, 100, 5000, MOST / 8] {
            let mut table = Bounded::new(MOST);
            let mut most = 0;
            for number in 0..50_000 {
                put(&mut table, number, bytes);
                assert!(has(&mut table, number));
                most = most.max(table.bytes());
            }
            assert!(most <= MOST, "{bytes}: {most}");
            assert!(table.bytes() >= MOST / 5, "{bytes}: {}", table.bytes());
        }
    }

    #[test]
    fn what_is_too_large_is_not_kept_nor_what_was_in_its_place() {
        let mut table = Bounded::new(MOST);
        put(&mut table, 1, 10);
        put(&mut table, 1, MOST / 8 + 1);
        assert!(!has(&mut table, 1));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn what_is_used_is_kept_while_others_come() {
        let mut table = Bounded::new(MOST);
        put(&mut table, 0, 1000);
        for number in 1..100_000 {
            put(&mut table, number, 1000);
            assert!(number % 100 != 0 || has(&mut table, 0), "{number}");
        }
        assert!(!has(&mut table, 1));
    }
}
