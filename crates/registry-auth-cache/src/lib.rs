//! The cache that all workers of one nginx share: account records, verified credentials and failed logins, in
//! one block of memory. Beside it, what a single worker keeps of them in its own memory.
//!
//! The nginx module is the only caller. It gives the block, the block's allocator, the lock and the time
//! ([`Memory`]); this crate does no I/O and reads no clock. Everything in the block is found by offsets, and
//! each offset is checked before it is used: the block holds no pointers. So a damaged block can lead to a
//! wrong miss, but never to a wrong permission. A flag is set around every change; if a process dies in the
//! middle of a change, the next process finds the flag set and empties the block.
//!
//! Times are milliseconds of one clock that the caller chooses, and sizes are bytes, unless a comment says
//! otherwise.
//!
//! Files, lowest first; each uses only those before it:
//!
//! | file | contents |
//! |---|---|
//! | [`memory`] | the block and its allocator, as the caller gives them |
//! | `layout` | the offsets of everything in the block |
//! | [`keys`] | the secret keys of a block, and what is computed with them |
//! | `table` | entries: hash buckets, lists in order of use, eviction |
//! | `wider` | blocks of wider networks, where there is no room for those of addresses |
//! | `cache` | [`Cache`]: opening a block, and invalidating all of it |
//! | [`records`], [`failures`], [`watchers`], [`counters`], [`workers`] | what is kept in a block |
//! | [`interner`], [`worker_cache`] | what one worker keeps outside of the block |
#![forbid(unsafe_code)]

pub mod counters;
pub mod failures;
pub mod interner;
pub mod keys;
pub mod memory;
pub mod records;
pub mod watchers;
pub mod worker_cache;
pub mod workers;

#[cfg(test)]
extern crate self as registry_auth_cache;

mod cache;
mod layout;
mod table;
#[cfg(test)]
mod tests;
mod wider;

pub use cache::{Cache, Generations, Mark};
pub use failures::{Attempt, FailureLimits, LoginKeys, LoginResult, Reservation};
pub use interner::Interner;
pub use keys::{EntryKey, SecretKeys, Tag};
pub use layout::{COUNTERS, DOUBT, EVICTED, GAUGES, GENERATION, UNHEARD, WIDER};
pub use memory::Memory;
pub use records::{Found, FoundRecord, Freshness, NewRecord};
pub use table::EntryRef;
pub use watchers::{Hears, Process, UNBOUND};
pub use wider::WiderNetwork;
pub use worker_cache::WorkerCache;
