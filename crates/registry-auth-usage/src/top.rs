//! The names with the most requests of those that were offered: no more are kept than will be shown.

use std::cmp::{Ordering, Reverse};
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasher, RandomState};

use crate::table::Row;

/// What is kept, and then put in order.
pub struct Top {
    /// The least of them on top.
    kept: BinaryHeap<Reverse<Ranked>>,
    count: usize,
    /// Those that have left the heap, the least of them first.
    sorted: Vec<Row>,
    /// What is in order: the most requests first, each name once.
    rows: Vec<Row>,
    /// Where in `rows` a name is, by its hash.
    places: HashMap<u64, usize>,
    hashes: RandomState,
}

impl Top {
    /// Keeps at most so many.
    pub fn new(count: usize) -> Self {
        Self {
            kept: BinaryHeap::new(),
            count,
            sorted: Vec::new(),
            rows: Vec::new(),
            places: HashMap::new(),
            hashes: RandomState::new(),
        }
    }

    /// Makes room for as many as will be kept, where so many are offered: else room that grows is copied each
    /// time, all in one look.
    pub(crate) fn expect(&mut self, offered: usize) {
        let more = offered.min(self.count).saturating_sub(self.kept.len());
        self.kept.reserve(more);
    }

    /// Offers a name with so many requests, which `row` makes where it is kept.
    pub(crate) fn offer(&mut self, requests: u64, row: impl FnOnce() -> Row) {
        if self.kept.len() < self.count {
            return self.kept.push(Reverse(Ranked(row())));
        }
        if let Some(mut least) = self.kept.peek_mut()
            && least.0.0.counts.requests < requests
        {
            *least = Reverse(Ranked(row()));
        }
    }

    /// Puts what was kept in order, for as long as `go_on` says. Whether all of it is.
    pub fn order(&mut self, mut go_on: impl FnMut() -> bool) -> bool {
        if self.sorted.is_empty() && self.rows.is_empty() {
            self.sorted.reserve_exact(self.kept.len());
            self.rows.reserve_exact(self.kept.len());
            self.places.reserve(self.kept.len());
        }
        while go_on() {
            if let Some(Reverse(Ranked(row))) = self.kept.pop() {
                self.sorted.push(row);
            } else if let Some(row) = self.sorted.pop() {
                self.add(row);
            } else {
                return true;
            }
        }
        false
    }

    /// A row that has no more requests than those before it. One that has moved between two looks may have
    /// been seen twice.
    fn add(&mut self, row: Row) {
        match self.places.entry(self.hashes.hash_one(&row.name)) {
            Entry::Occupied(place)
                if self
                    .rows
                    .get(*place.get())
                    .is_some_and(|seen| seen.name == row.name) => {}
            Entry::Occupied(_) => self.rows.push(row),
            Entry::Vacant(place) => {
                place.insert(self.rows.len());
                self.rows.push(row);
            }
        }
    }

    /// What was kept, the most requests first, each name once.
    pub fn into_rows(mut self) -> Vec<Row> {
        self.order(|| true);
        self.rows
    }
}

/// A row by its requests; of as many, by the name.
struct Ranked(Row);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, two) = (&self.0, &other.0);
        (one.counts.requests, &two.name).cmp(&(two.counts.requests, &one.name))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}
