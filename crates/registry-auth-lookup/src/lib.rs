//! The store: what Redis knows about users, asked on a helper thread; and what changes there, told by Redis.
//!
//! nginx's worker hands [`Job`]s to a [`Store`] and later drains [`Event`]s; only a `u64` ticket crosses
//! between the two, never a pointer of nginx.
//!
//! Reading order: `messages` (what crosses) → `queue::jobs` → `store` (the thread) → `lookup` →
//! `lookup::questions_and_replies` → `lookup::assemble` → `verify::verdict` → `queue::events` (the queue
//! back).
//!
//! # What the store's Redis user must be allowed
//! It only reads, unless [`LookupOptions`] have it record the last use of access tokens, or replace weak
//! password hashes. With ACLs (Redis 6 and later), for the prefix `P`:
//! ```text
//! ACL SETUSER gate on >password resetkeys ~P:* resetchannels -@all +hgetall +hmget +lrange +ping +select
//! +hello +client|tracking
//! ```
//! `%R~P:*` instead of `~P:*` from Redis 7 on, so that nothing could be written even by mistake. Without
//! `ping` or `select` (only needed for a database other than 0) it works the same, and from 7.2 on
//! `client|setinfo` lets the connection show who it is; without `hello` or `client|tracking` only what is
//! published on the channel `P:changes` is reported of changes, which takes `&P:changes +subscribe`, and
//! without these nothing ([`Event::Connected`] says so), and the log says it once. Recording the last use
//! takes `%W~P:token-use +hset` (before Redis 7 `+hset`, which with `~P:*` is good for all of these keys);
//! without it, the log says so once for each connection. Replacing weak password hashes takes `+watch +multi
//! +exec +hset` and `%W~P:user:*` and `%W~P:passwords`; without them, the log says so once a minute while
//! weak hashes are used.
#![forbid(unsafe_code)]

mod activity;
mod bounded;
mod last_use;
mod lookup;
mod messages;
mod options;
mod rehash;
mod single_flight;
mod store;
mod unreadable;

/// Between nginx's thread and the helper: jobs there, events back; a pending job is one under way.
mod queue {
    pub(crate) mod basis;
    pub(crate) mod events;
    pub(crate) mod jobs;
    pub(crate) mod pending;
    pub(crate) mod recent_changes;
}

/// Whether a job's proof is right: hashed by the pool where that is slow, against a decoy where there is no
/// hash.
mod verify {
    pub(crate) mod decoy;
    pub(crate) mod pool;
    pub(crate) mod stored_hash;
    pub(crate) mod verdict;
}

pub use activity::Activity;
pub use messages::{Completion, Event, Job, Keyspace, Outcome, Proof};
pub use options::{Hashing, LookupOptions, Spawn, Work, own_thread};
pub use registry_auth_redis::connection::tracking::Changed;
pub use registry_auth_redis::{Changes, Rung};
pub use store::{StartError, Store};
