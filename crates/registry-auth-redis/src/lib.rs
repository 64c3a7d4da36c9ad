//! The store: what Redis knows about users, asked on a helper thread.
//!
//! nginx's worker hands [`Job`]s to a [`Store`] and later drains [`Completion`]s; only a `u64` ticket crosses
//! between the two, never a pointer of nginx. The command-line tool uses [`admin`] on the same schema and records.
//!
//! Reading order: [`job`] (what crosses) → `runtime` (the thread) → `connection` → `lookup` → `record` → `hashing`.
#![forbid(unsafe_code)]

pub mod admin;
pub mod endpoint;
pub mod job;
pub mod log;
pub mod schema;
pub mod secret;

mod completions;
mod connection;
mod defaults;
mod dummy;
mod hashing;
mod lookup;
mod record;
mod reply;
mod resolve;
mod runtime;
mod settle;
mod verify;

pub use admin::{Admin, AdminError};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use job::{Completion, Job, Outcome, Space};
pub use log::{Level, LogLine};
pub use runtime::{Hashing, Options, StartError, Store};
pub use secret::Secret;
