//! Which addresses could not be connected to lately: what nginx's round robin knows as `max_fails=1
//! fail_timeout=10s`.
//!
//! Used by the nginx module, whose workers share the numbers, so that all of them pass the repositories of a
//! backend that is down to the same next one. One request at a time tries whether it is back. Invariant: what
//! is said of an address is a hint. Two that share a bucket may hide each other's outage; an address that
//! answers is never held back for longer than [`PAUSE`], as a turn that was not used is given back.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

/// Milliseconds after a failure until the address is tried again.
pub const PAUSE: u64 = 10_000;
/// Bits of a time in milliseconds: 34 years. The others tell addresses apart that share a bucket.
const TIME: u32 = 40;

/// The numbers in which outages are noted; all zeros at first.
#[derive(Clone, Copy)]
pub struct Outages<'n>(pub &'n [AtomicU64]);

/// Where an address is noted, and by what mark.
struct Bucket<'n> {
    number: &'n AtomicU64,
    mark: u64,
}

/// The time in a number, without the mark.
fn time(number: u64) -> u64 {
    number & !(u64::MAX << TIME)
}

impl Bucket<'_> {
    /// Until when the address is not to be tried; `None` where it is not known to have failed.
    fn until(&self) -> Option<u64> {
        self.noted().map(time)
    }

    fn noted(&self) -> Option<u64> {
        let number = self.number.load(Ordering::Relaxed);
        (number & (u64::MAX << TIME) == self.mark).then_some(number)
    }

    fn note(&self, now: u64) -> u64 {
        self.note_until(now + PAUSE)
    }

    fn note_until(&self, until: u64) -> u64 {
        self.mark | time(until)
    }
}

impl<'n> Outages<'n> {
    /// `None` where there are no numbers: nothing is known then.
    fn bucket(self, address: &[u8]) -> Option<Bucket<'n>> {
        let mut hasher = SipHasher13::new();
        hasher.write(address);
        let hash = hasher.finish();
        let at = usize::try_from(hash & u64::from(u32::MAX)).ok()?;
        Some(Bucket {
            number: self.0.get(at.checked_rem(self.0.len())?)?,
            // Never that of an empty bucket.
            mark: (hash | 1 << 63) & (u64::MAX << TIME),
        })
    }

    /// Whether the address could not be connected to, and has not been since.
    pub fn has_failed(self, address: &[u8]) -> bool {
        self.bucket(address)
            .is_some_and(|bucket| bucket.noted().is_some())
    }

    /// Whether [`Outages::may_try`] would say so: nobody's turn is taken.
    pub fn is_due(self, address: &[u8], now: u64) -> bool {
        let until = self.bucket(address).and_then(|bucket| bucket.until());
        until.is_none_or(|until| until <= now)
    }

    /// Whether a request may go to the address at this time (in milliseconds). One that has failed is tried
    /// by one request once in a [`PAUSE`]: the caller's, if this is true.
    pub fn may_try(self, address: &[u8], now: u64) -> bool {
        let Some(bucket) = self.bucket(address) else {
            return true;
        };
        match bucket.noted() {
            Some(noted) if time(noted) <= now => bucket
                .number
                .compare_exchange(noted, bucket.note(now), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok(),
            Some(_) => false,
            None => true,
        }
    }

    /// The request that has had the turn to try the address since this time (in milliseconds) has not used
    /// it: another one may.
    pub fn gave_up(self, address: &[u8], since: u64) {
        if let Some(bucket) = self.bucket(address) {
            // Where it is another one's turn meanwhile, it stays so.
            let _ = bucket.number.compare_exchange(
                bucket.note(since),
                bucket.note_until(since),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// The address could not be connected to at this time (in milliseconds).
    pub fn failed(self, address: &[u8], now: u64) {
        if let Some(bucket) = self.bucket(address) {
            bucket.number.store(bucket.note(now), Ordering::Relaxed);
        }
    }

    /// The address was connected to.
    pub fn reached(self, address: &[u8]) {
        let Some(bucket) = self.bucket(address) else {
            return;
        };
        if let Some(noted) = bucket.noted() {
            // Where it has failed once more meanwhile, that is what holds.
            let _ = bucket
                .number
                .compare_exchange(noted, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}
