//! How many requests were decided how, and what the zone did for them.
//!
//! Counted in the worker, without a lock, and added to the zone's numbers once in a while: `status` shows those.

use std::cell::RefCell;

use registry_auth_cache::{COUNTERS, EVICTED};

use crate::ffi::event::{Deferred, NginxThread};
use crate::worker::cache;

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

struct Worker {
    numbers: [u64; COUNTERS],
    later: Deferred,
}

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// Begins to count, where there is a zone.
pub fn start(thread: NginxThread) {
    WORKER.set(Some(Worker {
        numbers: [0; COUNTERS],
        later: Deferred::new(thread, |_| add_up()),
    }));
}

/// Leaves what was counted in the zone.
pub fn stop() {
    add_up();
    WORKER.set(None);
}

/// Counts a decision.
pub fn count(result: &str, cache: &str) {
    WORKER.with_borrow_mut(|worker| {
        let Some(worker) = worker else { return };
        let result = RESULTS.iter().position(|known| *known == result);
        let cache = CACHE.iter().position(|known| *known == cache);
        for index in [result, cache.map(|index| RESULTS.len() + index)]
            .into_iter()
            .flatten()
        {
            if let Some(number) = worker.numbers.get_mut(index) {
                *number += 1;
            }
        }
        worker.later.post_in(DELAY);
    });
}

/// Adds what was counted to the zone's numbers.
pub fn add_up() {
    let numbers = WORKER.with_borrow_mut(|worker| {
        let worker = worker.as_mut()?;
        Some(std::mem::replace(&mut worker.numbers, [0; COUNTERS]))
    });
    if let Some(numbers) = numbers {
        cache::count(&numbers);
    }
}
