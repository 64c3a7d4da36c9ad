//! The number of each counter that the workers share, and how counters are named.
//!
//! The nginx module counts by these numbers and adds what it has counted to its shared memory; the forms of
//! this crate read them. The memory outlives a reload, so whoever gives a number another meaning must raise
//! the version of the memory's layout (`registry-auth-cache`).

use registry_auth::route::RouteKind;
use registry_auth::{Action, RequestResult, Source};

/// What the cache did for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheState {
    /// It knew the answer.
    Hit,
    /// The store was asked.
    Miss,
    /// It knew an old answer, which was used as Redis could not be asked.
    Stale,
    /// There is none.
    Bypass,
}

impl CacheState {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Hit, Self::Miss, Self::Stale, Self::Bypass];

    /// The value of `$registry_auth_cache`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss => "MISS",
            Self::Stale => "STALE",
            Self::Bypass => "BYPASS",
        }
    }
}

const RESULTS: usize = RequestResult::ALL.len();

/// What requests ask for: each route with each action that it has, in the order of their numbers. A request
/// that is on no route comes first.
pub const CLASSES: [(RouteKind, Option<Action>); 22] = [
    (RouteKind::None, None),
    (RouteKind::Ping, None),
    (RouteKind::Login, None),
    (RouteKind::Token, None),
    (RouteKind::Catalog, None),
    (RouteKind::Search, None),
    (RouteKind::Unknown, None),
    (RouteKind::Manifest, Some(Action::Pull)),
    (RouteKind::Manifest, Some(Action::Push)),
    (RouteKind::Manifest, Some(Action::Delete)),
    (RouteKind::Blob, Some(Action::Pull)),
    (RouteKind::Blob, Some(Action::Delete)),
    (RouteKind::Upload, Some(Action::Push)),
    (RouteKind::Tags, Some(Action::Pull)),
    (RouteKind::Referrers, Some(Action::Pull)),
    (RouteKind::Extension, Some(Action::Pull)),
    (RouteKind::Repository, Some(Action::Pull)),
    (RouteKind::Repository, Some(Action::Push)),
    (RouteKind::Repository, Some(Action::Delete)),
    (RouteKind::Image, Some(Action::Pull)),
    (RouteKind::Image, Some(Action::Push)),
    (RouteKind::Image, Some(Action::Delete)),
];

/// For each kind of route and each action, none of them first, the counter of the first result.
const FIRST: [[u8; ACTIONS]; RouteKind::ALL.len()] = firsts();
/// The number of an action is a power of 2.
const ACTIONS: usize = Action::Delete as usize + 1;

// Run by the compiler, which refuses an index out of bounds.
#[allow(clippy::indexing_slicing)]
const fn firsts() -> [[u8; ACTIONS]; RouteKind::ALL.len()] {
    let mut table = [[0; ACTIONS]; RouteKind::ALL.len()];
    let mut index = 0;
    while index < CLASSES.len() {
        let (kind, action) = CLASSES[index];
        let action = match action {
            None => 0,
            Some(action) => action as usize,
        };
        table[kind as usize][action] = (index * RESULTS) as u8;
        index += 1;
    }
    table
}

const _: () = assert!(CLASSES.len() * RESULTS <= 256);

/// The counter of decisions about a request of this kind and action that came to this result. What no route
/// has counts as a request on no route.
#[inline]
pub fn decision(kind: RouteKind, action: Option<Action>, result: RequestResult) -> usize {
    let actions = FIRST.get(kind as usize);
    let first = actions.and_then(|firsts| firsts.get(action.map_or(0, |action| action as usize)));
    usize::from(first.copied().unwrap_or_default()) + result as usize
}

/// The counter of the first result of [`CLASSES`]`[class]`.
pub(crate) fn first_of(class: usize) -> usize {
    class * RESULTS
}

/// The counter of what the cache did.
#[inline]
pub fn cache(state: CacheState) -> usize {
    CACHE + state as usize
}

const CACHE: usize = CLASSES.len() * RESULTS;
/// The counter of answers from this source.
#[inline]
pub fn source(source: Source) -> usize {
    SOURCES + source as usize
}

/// The counter of bytes of answers from this source.
#[inline]
pub fn source_bytes(source: Source) -> usize {
    SOURCES + Source::ALL.len() + source as usize
}

const SOURCES: usize = CACHE + CacheState::ALL.len();
/// Connections to Redis that were made.
pub const CONNECTIONS: usize = SOURCES + 2 * Source::ALL.len();
/// Connections to Redis that were lost.
pub const OUTAGES: usize = CONNECTIONS + 1;
/// Connections to Redis that led to another server than the one before.
pub const FAILOVERS: usize = OUTAGES + 1;
/// Users who could not be looked up: Redis was not reached, did not answer in time, or refused.
pub const FAILED_LOOKUPS: usize = FAILOVERS + 1;
/// Passwords that were not verified as too many others waited.
pub const REFUSED_HASHES: usize = FAILED_LOOKUPS + 1;
/// Pages of catalogues and searches that registries were asked for.
pub const CATALOG_PAGES: usize = REFUSED_HASHES + 1;
/// How long lookups took.
pub const LOOKUPS: Histogram = Histogram {
    first: CATALOG_PAGES + 1,
    bounds: &[
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    ],
};
/// How long slow password hashes took.
pub const HASHES: Histogram = Histogram {
    first: LOOKUPS.end(),
    bounds: &[
        5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    ],
};
/// Where the numbers of this crate end. What else is counted in the same memory comes after them.
pub const END: usize = HASHES.end();

/// How often something took how long: one counter for each bound, one for what took longer, and one for the
/// sum.
#[derive(Clone, Copy, Debug)]
pub struct Histogram {
    first: usize,
    /// Microseconds, which the values of a counter do not exceed.
    bounds: &'static [u32],
}

impl Histogram {
    const fn end(self) -> usize {
        self.first + self.bounds.len() + 2
    }

    /// The counter of values like this one.
    pub fn bucket(self, microseconds: u64) -> usize {
        let below = self
            .bounds
            .partition_point(|bound| u64::from(*bound) < microseconds);
        self.first + below
    }

    /// The counter of the sum of all values, in microseconds.
    pub const fn sum(self) -> usize {
        self.first + self.bounds.len() + 1
    }

    /// All counters of it.
    pub fn counters(self) -> std::ops::Range<usize> {
        self.first..self.end()
    }

    /// Each bound, in microseconds, with its counter; the last one has no bound.
    pub(crate) fn buckets(self) -> impl Iterator<Item = (Option<u32>, usize)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(self.first..)
    }
}
