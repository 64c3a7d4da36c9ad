//! What the store's threads have done and have to do, in numbers, for the status page.
//!
//! Written by the helper and by the hashing threads, read by nginx's thread about once a second. Relaxed
//! everywhere: each number is by itself.

use registry_auth_metrics::counters::{self, Histogram};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// What the store's threads have done and have to do.
pub struct Activity {
    /// By the numbers of [`counters`].
    done: [AtomicU64; counters::END],
    /// Passwords that wait to be hashed.
    queued: AtomicU32,
    /// Passwords that are being hashed.
    running: AtomicU32,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            done: [const { AtomicU64::new(0) }; counters::END],
            queued: AtomicU32::new(0),
            running: AtomicU32::new(0),
        }
    }
}

impl Activity {
    /// Gives what was done since the last call to `add`: the number of a counter, and how much it has grown.
    pub fn take(&self, mut add: impl FnMut(usize, u64)) {
        for histogram in [counters::LOOKUPS, counters::HASHES] {
            for index in histogram.counters() {
                let done = self.done.get(index);
                let more = done.map_or(0, |done| done.swap(0, Ordering::Relaxed));
                if more > 0 {
                    add(index, more);
                }
            }
        }
    }

    /// How many passwords wait to be hashed, and how many are being hashed.
    pub fn hashing(&self) -> (u32, u32) {
        (
            self.queued.load(Ordering::Relaxed),
            self.running.load(Ordering::Relaxed),
        )
    }

    /// Redis has answered a batch of lookups after this time.
    pub(crate) fn looked_up(&self, time: Duration) {
        self.observe(counters::LOOKUPS, time);
    }

    /// So many passwords wait.
    pub(crate) fn set_queued(&self, length: usize) {
        self.queued
            .store(u32::try_from(length).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// A password is being hashed.
    pub(crate) fn hash_began(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// It was, in this time.
    pub(crate) fn hash_ended(&self, time: Duration) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.observe(counters::HASHES, time);
    }

    fn observe(&self, histogram: Histogram, time: Duration) {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        for (index, more) in [
            (histogram.bucket(microseconds), 1),
            (histogram.sum(), microseconds),
        ] {
            if let Some(done) = self.done.get(index) {
                done.fetch_add(more, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Activity;
    use registry_auth_metrics::counters::{HASHES, LOOKUPS};
    use std::time::Duration;

    #[test]
    fn each_time_is_taken_once_in_its_bucket_with_its_sum() {
        let activity = Activity::default();
        activity.looked_up(Duration::from_micros(500));
        activity.looked_up(Duration::from_micros(501));
        activity.hash_began();
        activity.hash_ended(Duration::from_secs(60));
        let mut seen = Vec::new();
        activity.take(|index, more| seen.push((index, more)));
        let expected = [
            (LOOKUPS.bucket(1), 1),
            (LOOKUPS.bucket(1000), 1),
            (LOOKUPS.sum(), 1001),
            (HASHES.bucket(u64::MAX), 1),
            (HASHES.sum(), 60_000_000),
        ];
        assert_eq!(seen, expected);
        activity.take(|index, _| panic!("{index} again"));
        assert_eq!(activity.hashing(), (0, 0));
    }
}
