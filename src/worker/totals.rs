//! The numbers of all workers: what this one has counted goes into the zone, with what it has now.
//!
//! Called a moment after something was counted, by the status page, and when a worker begins and ends.

use registry_auth_cache::GAUGES;

use crate::ffi::event::NginxThread;
use crate::worker::{cache, counters, store, turns};

/// Begins to count, where there is a zone.
pub fn start(thread: NginxThread) {
    counters::start(thread, |_| add_up());
    // It is a worker from the beginning.
    add_up();
}

/// Leaves what was counted in the zone.
pub fn stop() {
    add_up();
    cache::remove_gauges();
    counters::stop();
}

/// Adds what was counted to the zone's numbers, and says what the worker has now.
pub fn add_up() {
    let lists = u32::try_from(turns::count()).unwrap_or(u32::MAX);
    let mut gauges: [u32; GAUGES] = [0, 0, 0, lists];
    let numbers = counters::take(|add| {
        store::with_activity(|activity, waiting| {
            activity.take(add);
            let (queued, running) = activity.hashing();
            gauges = [waiting, queued, running, lists];
        });
    });
    let Some(numbers) = numbers else { return };
    cache::add_up(&numbers, gauges);
    // When there is nothing any more, that is to be seen, though nothing is counted.
    if gauges.iter().any(|gauge| *gauge > 0) {
        counters::add_up_again();
    }
}
