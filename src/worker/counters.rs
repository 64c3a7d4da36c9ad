//! How many requests were decided how, and what the zone did for them.
//!
//! Counted in the worker, without a lock, and added to the zone's numbers once in a while: `status` shows
//! those.

use registry_auth_cache::{COUNTERS, EVICTED};

use crate::ffi::event::{Deferred, NginxThread};
use crate::worker::cache;
use crate::worker::state::{Counters, WORKER};

/// Milliseconds after which what was counted is in the zone.
const DELAY: usize = 1000;

/// The values of `$registry_auth_result`, in the order of their counters.
pub const RESULTS: [&str; 7] = [
    "granted",
    "anonymous",
    "unauthenticated",
    "denied",
    "invalid",
    "throttled",
    "unavailable",
];
/// The values of `$registry_auth_cache`, whose counters follow.
pub const CACHE: [&str; 4] = ["HIT", "MISS", "STALE", "BYPASS"];

const _: () = assert!(RESULTS.len() + CACHE.len() <= EVICTED);

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
pub fn count(result: &str, cache: &str) {
    WORKER.with(|worker| {
        let mut counters = worker.counters.borrow_mut();
        let Some(counters) = counters.as_mut() else { return };
        let result = RESULTS.iter().position(|known| *known == result);
        let cache = CACHE.iter().position(|known| *known == cache);
        for index in [result, cache.map(|index| RESULTS.len() + index)]
            .into_iter()
            .flatten()
        {
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
