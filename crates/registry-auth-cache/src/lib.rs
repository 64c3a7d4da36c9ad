//! What the workers of one nginx share: records, credentials that were verified, and failed logins, in a block of memory.
//!
//! Pure: the block, its allocator, its lock and the clock are the caller's ([`Memory`]). Everything is found by offsets that are
//! checked at each step, with no pointers in the block, so that a damaged one can make a wrong miss but never a wrong access;
//! that it is damaged (a process died half-way) is told by a flag around every change, and then it is emptied.
//!
//! Reading order: [`memory`] (the block), `layout` (what lies where), `table` (buckets and the LRU list), [`records`] and
//! [`failures`] (what is kept), [`counters`], [`Cache`] (the whole); [`worker_cache`] and [`interner`] (what a
//! worker keeps outside of the block).
#![forbid(unsafe_code)]

pub mod counters;
pub mod failures;
pub mod interner;
pub mod memory;
pub mod records;
pub mod watchers;
pub mod worker_cache;

#[cfg(test)]
extern crate self as registry_auth_cache;

mod cache;
mod layout;
mod table;
#[cfg(test)]
mod tests;

pub use cache::{Cache, Keys, GENERATION};
pub use failures::{Attempt, Failures, Guesser, Reserved, Settled};
pub use interner::Copies;
pub use memory::Memory;
pub use records::{Fact, Found, Known, Moment, Put, Tag};
pub use watchers::Process;
pub use worker_cache::Memo;
