//! The block: a header, and for users and for repositories a sketch each, of equal size.

use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use crate::table::{Added, BUCKET, Counts, ENTRY, MAX_NAME, PLACE, Row, Sketch, get, get_u32, put, put_u32};
use crate::top::Top;

/// The first 8 bytes, with the version of the layout.
const MAGIC: u64 = u64::from_ne_bytes(*b"rgausge1");

/// The header.
mod header {
    /// `u64`
    pub(super) const MAGIC: usize = 0;
    /// `u64`: the size of the block that was set up.
    pub(super) const SIZE: usize = 8;
    /// `u32`: not 0 while names change places.
    pub(super) const DIRTY: usize = 16;
    /// `u32`: entries of each sketch.
    pub(super) const CAPACITY: usize = 20;
    /// `u64`: the secret seed of all hashes.
    pub(super) const SEED: usize = 24;
    /// `u64`: since when is counted, in seconds since 1970.
    pub(super) const SINCE: usize = 32;
    /// Twice `u32`: entries in use.
    pub(super) const USED: usize = 40;
    /// Six times `u64`: what all requests came to.
    pub(super) const TOTAL: usize = 48;
    pub(super) const LENGTH: usize = 96;
}

/// A sketch of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// By user; the anonymous is the empty name, which has no place here.
    Users,
    /// By repository.
    Repositories,
}

/// The block cannot be used: it is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidBlock;

/// Bytes that a block takes with so many places of each kind.
pub fn least_size(places: usize) -> usize {
    header::LENGTH + 2 * (places * (ENTRY + PLACE) + BUCKET * places.next_power_of_two())
}

/// The counters in a locked block.
pub struct Usage<'m> {
    bytes: &'m mut [u8],
    capacity: usize,
}

impl<'m> Usage<'m> {
    /// Opens the counters of a block. One that is new, of another layout or of another size is set up, with
    /// as many places as it has room for; `now` is when that is, and `seed` is random.
    ///
    /// # Errors
    /// [`InvalidBlock`] where there is no room for a place.
    #[inline]
    pub fn open(bytes: &'m mut [u8], seed: impl FnOnce() -> u64, now: u64) -> Result<Self, InvalidBlock> {
        let is_ours = get(bytes, header::MAGIC) == MAGIC && get(bytes, header::SIZE) == bytes.len() as u64;
        if !is_ours {
            set_up(bytes, seed(), now)?;
        }
        let capacity = get_u32(bytes, header::CAPACITY) as usize;
        let mut usage = Self { bytes, capacity };
        if get_u32(usage.bytes, header::DIRTY) != 0 {
            usage.repair();
        }
        Ok(usage)
    }

    /// Counts what was done, by this user and in this repository. An empty name has no place; the total has
    /// all.
    pub fn add(&mut self, user: &[u8], repository: &[u8], counts: &Counts) {
        self.count(user, repository, counts, true);
    }

    /// The same of a repository that there may not be: it gets no place, and none is taken for it.
    pub fn add_to_known(&mut self, user: &[u8], repository: &[u8], counts: &Counts) {
        self.count(user, repository, counts, false);
    }

    fn count(&mut self, user: &[u8], repository: &[u8], counts: &Counts, is_there: bool) {
        let fields = [
            counts.requests,
            counts.pulls,
            counts.pushes,
            counts.bytes_in,
            counts.bytes_out,
        ];
        for (index, more) in fields.into_iter().enumerate() {
            let at = header::TOTAL + 8 * index;
            let sum = get(self.bytes, at).wrapping_add(more);
            put(self.bytes, at, sum);
        }
        self.add_to(Table::Users, user, counts, true);
        self.add_to(Table::Repositories, repository, counts, is_there);
    }

    fn add_to(&mut self, table: Table, name: &[u8], counts: &Counts, has_place: bool) {
        if name.is_empty() || name.len() > MAX_NAME {
            return;
        }
        let Some(mut sketch) = self.sketch(table) else {
            return;
        };
        if let Added::New { hash } = sketch.add(name, counts)
            && has_place
        {
            put_u32(self.bytes, header::DIRTY, 1);
            compiler_fence(Ordering::SeqCst);
            if let Some(mut sketch) = self.sketch(table) {
                sketch.place(name, hash, counts);
                let used = sketch.used;
                put_u32(self.bytes, header::USED + 4 * table as usize, used);
            }
            compiler_fence(Ordering::SeqCst);
            put_u32(self.bytes, header::DIRTY, 0);
        }
    }

    /// The names with the most requests, at most so many of them.
    pub fn top(&mut self, table: Table, count: usize) -> Vec<Row> {
        let mut top = Top::new(count);
        self.look(table, 0..self.capacity, &mut top);
        top.into_rows()
    }

    /// Looks at these places alone for names with many requests, of which `top` keeps the most. Answers how
    /// many places are in use. Between two looks, names may move.
    pub fn look(&mut self, table: Table, places: Range<usize>, top: &mut Top) -> usize {
        let Some(mut sketch) = self.sketch(table) else {
            return 0;
        };
        let used = sketch.used as usize;
        top.expect(used);
        sketch.look(places, top);
        used
    }

    /// What all requests came to, also of names that have no place.
    pub fn total(&self) -> Counts {
        let field = |index: usize| get(self.bytes, header::TOTAL + 8 * index);
        Counts {
            requests: field(0),
            pulls: field(1),
            pushes: field(2),
            bytes_in: field(3),
            bytes_out: field(4),
            last_pull: 0,
        }
    }

    /// Since when is counted, in seconds since 1970.
    pub fn since(&self) -> u64 {
        get(self.bytes, header::SINCE)
    }

    /// How many names of each kind have a place.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// A process has died while names changed places. Where it was about to use another one, that is free.
    #[cold]
    fn repair(&mut self) {
        for table in [Table::Users, Table::Repositories] {
            let Some(mut sketch) = self.sketch(table) else {
                continue;
            };
            sketch.rebuild();
            let used = sketch.used;
            put_u32(self.bytes, header::USED + 4 * table as usize, used);
        }
        put_u32(self.bytes, header::DIRTY, 0);
    }

    #[inline]
    fn sketch(&mut self, table: Table) -> Option<Sketch<'_>> {
        let used = get_u32(self.bytes, header::USED + 4 * table as usize);
        let used = used.min(u32::try_from(self.capacity).unwrap_or(u32::MAX));
        let seed = get(self.bytes, header::SEED);
        let (entries, heap) = (ENTRY * self.capacity, PLACE * self.capacity);
        let part = self.bytes.get_mut(start_of(table, self.capacity)..)?;
        let (buckets, rest) = part.split_at_mut_checked(size_of_buckets(self.capacity))?;
        let (entries, rest) = rest.split_at_mut_checked(entries)?;
        let (heap, _) = rest.split_at_mut_checked(heap)?;
        Some(Sketch {
            buckets,
            entries,
            heap,
            used,
            seed,
        })
    }
}

fn size_of_buckets(capacity: usize) -> usize {
    BUCKET * capacity.next_power_of_two()
}

/// Where a sketch begins, with its buckets.
fn start_of(table: Table, capacity: usize) -> usize {
    header::LENGTH + table as usize * (size_of_buckets(capacity) + capacity * (ENTRY + PLACE))
}

#[cold]
fn set_up(bytes: &mut [u8], seed: u64, now: u64) -> Result<(), InvalidBlock> {
    let mut capacity = bytes.len() / 2 / (ENTRY + PLACE + BUCKET);
    while capacity > 0 && least_size(capacity) > bytes.len() {
        // The number of buckets is a power of 2: a few places fewer may halve it.
        capacity -= 1 + (least_size(capacity) - bytes.len()) / 2 / (ENTRY + PLACE + 2 * BUCKET);
    }
    if capacity == 0 {
        return Err(InvalidBlock);
    }
    // What no entry in use refers to is never read: a large block is not written to all at once.
    bytes.get_mut(..header::LENGTH).ok_or(InvalidBlock)?.fill(0);
    for table in [Table::Users, Table::Repositories] {
        let buckets = bytes.get_mut(start_of(table, capacity)..).ok_or(InvalidBlock)?;
        buckets
            .get_mut(..size_of_buckets(capacity))
            .ok_or(InvalidBlock)?
            .fill(0);
    }
    put_u32(
        bytes,
        header::CAPACITY,
        u32::try_from(capacity).map_err(|_| InvalidBlock)?,
    );
    put(bytes, header::SIZE, bytes.len() as u64);
    put(bytes, header::SEED, seed);
    put(bytes, header::SINCE, now);
    compiler_fence(Ordering::SeqCst);
    put(bytes, header::MAGIC, MAGIC);
    Ok(())
}
