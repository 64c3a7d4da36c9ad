//! The names with the most requests of those that were offered: no more are kept than will be shown.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashSet};

use crate::table::Row;

/// What is kept.
pub struct Top {
    /// The least of them on top.
    rows: BinaryHeap<Reverse<Ranked>>,
    count: usize,
}

impl Top {
    /// Keeps at most so many.
    pub fn new(count: usize) -> Self {
        Self {
            rows: BinaryHeap::new(),
            count,
        }
    }

    /// Offers a name with so many requests, which `row` makes where it is kept.
    pub(crate) fn offer(&mut self, requests: u64, row: impl FnOnce() -> Row) {
        if self.rows.len() < self.count {
            return self.rows.push(Reverse(Ranked(row())));
        }
        if let Some(mut least) = self.rows.peek_mut()
            && least.0.0.counts.requests < requests
        {
            *least = Reverse(Ranked(row()));
        }
    }

    /// What was kept, the most requests first, each name once.
    pub fn into_rows(self) -> Vec<Row> {
        let rows = self.rows.into_sorted_vec();
        let mut rows: Vec<Row> = rows.into_iter().map(|Reverse(Ranked(row))| row).collect();
        // One that has moved between two looks may be there twice.
        let mut seen = HashSet::new();
        rows.retain(|row| seen.insert(row.name.clone()));
        rows
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
