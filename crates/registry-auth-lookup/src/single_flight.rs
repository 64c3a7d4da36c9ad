//! Single flight: who wants what is already being done waits for it.
//!
//! Used by `lookup` (one question to Redis for each user) and by `verdict` (one hash for each password).
//! Invariant: however the one who does it ends (return, panic, an aborted task), everybody who waits is let
//! go: by [`Flight::finish`], or dropped with the [`Flight`].

use hashbrown::HashTable;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{collections::hash_map::RandomState, hash::BuildHasher};

/// What is under way. `T` is somebody who waits.
pub(crate) struct SingleFlight<T> {
    table: Mutex<Table<T>>,
    hasher: RandomState,
}

struct Table<T> {
    groups: HashTable<Group<T>>,
    /// The number of the next group.
    next: u64,
}

struct Group<T> {
    number: u64,
    hash: u64,
    first: T,
    /// Mostly nobody: no allocation.
    joined: Vec<T>,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        let table = Table {
            groups: HashTable::new(),
            next: 0,
        };
        Self {
            table: Mutex::new(table),
            hasher: RandomState::new(),
        }
    }
}

impl<T> SingleFlight<T> {
    fn lock(&self) -> MutexGuard<'_, Table<T>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `item` joins those who wait for the `same`, or else is the first: then the caller does it, and
    /// finishes the flight. Items that are the same must have equal `key`s.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: impl Hash,
        item: T,
        same: impl Fn(&T, &T) -> bool,
    ) -> Option<Flight<T>> {
        let hash = self.hasher.hash_one(key);
        let mut table = self.lock();
        if let Some(group) = table
            .groups
            .find_mut(hash, |group| group.hash == hash && same(&group.first, &item))
        {
            group.joined.push(item);
            return None;
        }
        let number = table.next;
        table.next += 1;
        let group = Group {
            number,
            hash,
            first: item,
            joined: Vec::new(),
        };
        table.groups.insert_unique(hash, group, |group| group.hash);
        drop(table);
        let flights = Arc::clone(self);
        Some(Flight {
            flights,
            hash,
            number,
            finished: false,
        })
    }

    fn take(&self, hash: u64, number: u64) -> Option<Group<T>> {
        let mut table = self.lock();
        let found = table.groups.find_entry(hash, |group| group.number == number);
        Some(found.ok()?.remove().0)
    }
}

/// The duty to do it. Dropped, it drops those who wait.
pub(crate) struct Flight<T> {
    flights: Arc<SingleFlight<T>>,
    hash: u64,
    number: u64,
    finished: bool,
}

impl<T> Flight<T> {
    /// The hash of what it is about: the same for equal keys.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether something holds of everybody who waits for it by now.
    pub(crate) fn all(&self, is: impl Fn(&T) -> bool) -> bool {
        let table = self.flights.lock();
        let group = table.groups.find(self.hash, |group| group.number == self.number);
        group.is_some_and(|group| is(&group.first) && group.joined.iter().all(is))
    }

    /// Everybody who waits for it; from here on nobody joins.
    pub(crate) fn finish(mut self) -> impl Iterator<Item = T> {
        let group = self.flights.take(self.hash, self.number);
        self.finished = true;
        let (first, joined) = match group {
            Some(group) => (Some(group.first), group.joined),
            None => (None, Vec::new()),
        };
        first.into_iter().chain(joined)
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        if !self.finished {
            // The lock is free again before anybody is dropped.
            drop(self.flights.take(self.hash, self.number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SingleFlight;
    use std::sync::Arc;

    fn same(a: &Arc<str>, b: &Arc<str>) -> bool {
        a == b
    }

    #[test]
    fn equals_join_and_others_do_not() {
        let flights = Arc::new(SingleFlight::default());
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let first = flights.join(1, Arc::clone(&a), same).unwrap();
        assert!(flights.join(1, Arc::clone(&a), same).is_none());
        // The same hash is not the same.
        let other = flights.join(1, Arc::clone(&b), same).unwrap();
        assert!(flights.join(1, Arc::clone(&a), same).is_none());
        assert_eq!(first.finish().count(), 3);
        assert_eq!(other.finish().collect::<Vec<_>>(), [Arc::clone(&b)]);
        assert!(flights.join(1, a, same).is_some(), "a new flight after the last");
    }

    #[test]
    fn a_dropped_flight_drops_its_passengers() {
        let flights = Arc::new(SingleFlight::default());
        let passenger: Arc<str> = "a".into();
        let first = flights.join(1, Arc::clone(&passenger), same);
        flights.join(1, Arc::clone(&passenger), same);
        assert_eq!(Arc::strong_count(&passenger), 3);
        drop(first);
        assert_eq!(Arc::strong_count(&passenger), 1);
        assert!(flights.join(1, passenger, same).is_some());
    }
}
