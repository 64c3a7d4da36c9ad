//! Redis as the module and the tool know it: the [`schema`] of the data, and the [`connection`] that reads it
//! and tells what changes.
//!
//! `registry-auth-lookup` (the module) and `registry-auth-admin` (the tool) stand on this crate and know
//! nothing of each other.
#![forbid(unsafe_code)]

pub mod log;
pub mod wake;

/// The data in Redis: [`keys`](schema::keys) names it, [`record`](schema::record) reads it.
pub mod schema {
    pub mod keys;
    pub mod record;
}

/// The connection to Redis, from the bottom up: [`endpoint`](connection::endpoint) says where Redis is,
/// [`tracking`](connection::tracking) hears what it says unasked, [`open`](connection::open) comes from an
/// address to a connection that is logged in, [`supervisor`](connection::supervisor) keeps one open.
pub mod connection {
    pub mod endpoint;
    pub mod open;
    pub mod supervisor;
    pub mod tracking;
}

mod secret;

pub use connection::endpoint::{Endpoint, InvalidEndpoint};
pub use secret::Secret;
