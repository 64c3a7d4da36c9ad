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

/// The connection to Redis, from the bottom up: [`endpoint`](connection::endpoint) says where Redis is (its
/// `url`, [`passwords`](connection::passwords) and [`tls`](connection::tls)), `names` finds its addresses,
/// [`tracking`](connection::tracking) hears what it says unasked, [`open`](connection::open) comes from an
/// address to a connection that is logged in, [`locate`](connection::locate) says to which server, with
/// `sentinel` and [`cluster`](connection::cluster) (both ask a `panel`),
/// [`ladder`](connection::ladder) finds how it tells what changes,
/// [`supervisor`](connection::supervisor) keeps one open.
pub mod connection {
    pub mod cluster;
    pub mod endpoint;
    mod fault;
    pub mod files;
    mod frames;
    pub mod ladder;
    pub mod locate;
    mod names;
    pub mod open;
    mod panel;
    pub mod passwords;
    mod pulse;
    mod sentinel;
    pub mod supervisor;
    pub mod tls;
    pub mod tracking;
    mod url;
}

mod secret;

pub use connection::endpoint::{Endpoint, InvalidEndpoint, InvalidPrefix};
pub use connection::passwords::Passwords;
pub use connection::tls::{Chain, InvalidTls, Key, Setting, TlsOptions, Trusted};
pub use connection::tracking::{Changes, Rung};
pub use secret::Secret;
