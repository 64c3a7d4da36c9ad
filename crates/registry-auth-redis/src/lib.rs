//! The store: what Redis knows about users, asked on a helper thread; and what changes there, told by Redis.
//!
//! nginx's worker hands [`Job`]s to a [`Store`] and later drains [`Event`]s; only a `u64` ticket crosses
//! between the two, never a pointer of nginx. The command-line tool uses [`admin`] on the same schema and records.
//!
//! Reading order: [`job`] (what crosses) → `inbox` → `runtime` (the thread) → `connection` → `tracking` → `lookup` → `record` →
//! `settle` → `verify` → `completions` (the queue back).
//!
//! # What the store's Redis user must be allowed
//! It only reads, unless [`Options`] have it record the last use of access tokens, or replace weak password hashes. With ACLs (Redis 6 and later), for the prefix `P`:
//! ```text
//! ACL SETUSER gate on >password resetkeys ~P:* resetchannels -@all +hgetall +hmget +lrange +ping +select +hello +client|tracking
//! ```
//! `%R~P:*` instead of `~P:*` from Redis 7 on, so that nothing could be written even by mistake. Without `ping`
//! or `select` (only needed for a database other than 0) it works the same, and from 7.2 on `client|setinfo` lets the
//! connection show who it is; without `hello` or
//! `client|tracking` nothing is told of changes ([`Event::Armed`] says so), and the log says it once. Recording the last use takes
//! `%W~P:token-use +hset` (before Redis 7 `+hset`, which with `~P:*` is good for all of these keys); without it, the log says so once
//! for each connection. Replacing weak password hashes takes `+watch +multi +exec +hset` and `%W~P:user:*` and `%W~P:passwords`; without
//! them, the log says so once a minute while weak hashes are used.
#![forbid(unsafe_code)]

pub mod admin;
pub mod endpoint;
pub mod job;
pub mod log;
pub mod schema;
pub mod secret;

mod bounded;
mod completions;
mod connection;
mod dummy;
mod familiar;
mod flight;
mod hashing;
mod inbox;
mod last_use;
mod lookup;
mod recent;
mod record;
mod rehash;
mod reply;
mod resolve;
mod runtime;
mod settle;
mod shared;
mod tracking;
mod verify;
mod waiting;
mod wake;

pub use admin::{Admin, AdminError};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use job::{By, Completion, Event, Job, Keyspace, Outcome};
pub use log::{Level, LogLine};
pub use runtime::{own_thread, Hashing, Options, Spawn, StartError, Store, Work};
pub use secret::Secret;
pub use tracking::Changed;
