//! How many requests were decided how, what the zone did for them, and where their answers came from.
//!
//! Counted in the worker, without a lock, and added to the zone's numbers once in a while: `status` shows
//! those.

use registry_auth::{RequestResult, Source};
use registry_auth_cache::{COUNTERS, EVICTED};

use crate::ffi::event::{Deferred, NginxThread};
use crate::worker::cache;
use crate::worker::state::{Counters, WORKER};

/// Milliseconds after which what was counted is in the zone.
const DELAY: usize = 1000;

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

/// The counters of [`RequestResult`] come first, in their order; this is the first of those of
/// [`CacheState`].
pub const FIRST_OF_CACHE: usize = RequestResult::ALL.len();

/// And that of those of [`Source`].
pub const FIRST_OF_SOURCE: usize = FIRST_OF_CACHE + CacheState::ALL.len();

const _: () = assert!(FIRST_OF_SOURCE + Source::ALL.len() <= EVICTED);

/// Begins to count, where there is a zone.
pub fn start(thread: NginxThread) {
    let counters = Counters {
        numbers: [0; COUNTERS],
        later: Deferred::new(thread, |_| add_up()),
    };
    WORKER.with(|worker| worker.counters.replace(Some(counters)));
}

/// Leaves what was counted in the zone.
pub fn stop() {
    add_up();
    WORKER.with(|worker| worker.counters.take());
}

/// Counts a decision.
pub fn count(result: Option<RequestResult>, cache: Option<CacheState>) {
    let result = result.map(|result| result as usize);
    let cache = cache.map(|state| FIRST_OF_CACHE + state as usize);
    add([result, cache]);
}

/// Counts where an answer came from.
pub fn count_source(source: Source) {
    add([Some(FIRST_OF_SOURCE + source as usize), None]);
}

#[inline]
fn add(indices: [Option<usize>; 2]) {
    WORKER.with(|worker| {
        let mut counters = worker.counters.borrow_mut();
        let Some(counters) = counters.as_mut() else { return };
        for index in indices.into_iter().flatten() {
            if let Some(number) = counters.numbers.get_mut(index) {
                *number += 1;
            }
        }
        counters.later.post_in(DELAY);
    });
}

/// Adds what was counted to the zone's numbers.
pub fn add_up() {
    let numbers = WORKER.with(|worker| {
        let mut counters = worker.counters.borrow_mut();
        Some(std::mem::replace(&mut counters.as_mut()?.numbers, [0; COUNTERS]))
    });
    if let Some(numbers) = numbers {
        cache::count(&numbers);
    }
}
