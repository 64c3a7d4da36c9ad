//! How many requests were decided how, and what the worker has done for them.
//!
//! Counted in the worker, without a lock; `totals` adds it to the zone's numbers once in a while. The numbers
//! of the counters are those of `registry-auth-metrics`.

use registry_auth::route::RouteKind;
use registry_auth::{Action, RequestResult};
use registry_auth_cache::{COUNTERS, EVICTED};
use registry_auth_metrics::counters::{self, CacheState, END};

use crate::ffi::event::{Deferred, Idle, NginxThread};
use crate::worker::state::{Counters, WORKER};

/// Milliseconds after which what was counted is in the zone.
const DELAY: usize = 1000;

const _: () = assert!(END <= EVICTED);

/// Begins to count, where there is a zone; `add_up` is called a moment after something was counted.
pub fn start(thread: NginxThread, add_up: fn(&mut Idle)) {
    let counters = Counters {
        numbers: [0; COUNTERS],
        later: Deferred::new(thread, add_up),
    };
    WORKER.with(|worker| worker.counters.replace(Some(counters)));
}

/// Counts no more.
pub fn stop() {
    WORKER.with(|worker| worker.counters.take());
}

/// Counts the decision about a request.
#[inline]
pub fn count_decision(
    (kind, action): (RouteKind, Option<Action>),
    result: Option<RequestResult>,
    cache: Option<CacheState>,
) {
    with_counters(|counters| {
        if let Some(result) = result {
            add_to(counters, counters::decision(kind, action, result), 1);
        }
        if let Some(cache) = cache {
            add_to(counters, counters::cache(cache), 1);
        }
        counters.later.post_in(DELAY);
    });
}

/// Counts something else, by the number of its counter.
pub fn count(index: usize) {
    add(index, 1);
}

/// Adds to a counter, by its number.
pub fn add(index: usize, more: u64) {
    with_counters(|counters| {
        add_to(counters, index, more);
        counters.later.post_in(DELAY);
    });
}

#[inline]
fn with_counters(f: impl FnOnce(&mut Counters)) {
    WORKER.with(|worker| {
        if let Some(counters) = worker.counters.borrow_mut().as_mut() {
            f(counters);
        }
    });
}

#[inline]
fn add_to(counters: &mut Counters, index: usize, more: u64) {
    if let Some(number) = counters.numbers.get_mut(index) {
        *number += more;
    }
}

/// Takes what was counted, together with `more`; `None` where nothing is counted.
pub fn take(more: impl FnOnce(&mut dyn FnMut(usize, u64))) -> Option<[u64; COUNTERS]> {
    let mut taken = None;
    with_counters(|counters| {
        more(&mut |index, more| add_to(counters, index, more));
        taken = Some(std::mem::replace(&mut counters.numbers, [0; COUNTERS]));
    });
    taken
}

/// Has `add_up` called again, though nothing more is counted.
pub fn add_up_again() {
    with_counters(|counters| counters.later.post_in(DELAY));
}
