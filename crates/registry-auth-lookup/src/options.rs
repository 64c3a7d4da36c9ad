//! How a [`crate::Store`] is to work: what nginx.conf says, and what its owner provides.

use registry_auth::token::SigningKeys;
use registry_auth_redis::{Changes, Endpoint};
use std::io;
use std::os::fd::BorrowedFd;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How a [`crate::Store`] is to work.
pub struct LookupOptions {
    /// Which Redis.
    pub endpoint: Endpoint,
    /// Limit of one lookup's Redis part, a connection attempt that it waits for included (`timeout=`).
    pub timeout: Duration,
    /// Limit of one attempt to connect (`connect_timeout=`).
    pub connect_timeout: Duration,
    /// `registry_auth_hashing`.
    pub hashing: Hashing,
    /// Every `registry_auth_prefix` in use: the keys whose changes are reported.
    pub prefixes: Vec<Box<str>>,
    /// How changes are to be told ([`crate::Event`]); `None`: events are completions only.
    pub changes: Option<Changes>,
    /// Whether the last use of access tokens is to be recorded in `P:token-use`.
    pub last_use: bool,
    /// Whether a weak password hash is to be replaced by argon2id when its owner logs in
    /// (`registry_auth_rehash`).
    pub rehash: bool,
    /// The keys of tokens that stay valid where a hash is replaced.
    pub token_keys: Option<SigningKeys>,
    /// Called, from any thread, when [`crate::Store::drain`] or [`crate::Store::drain_log`] has something
    /// after having had nothing. Must not block or panic. Never called again once [`crate::Store::stop`] has
    /// returned.
    pub wake: Box<dyn Fn() + Send + Sync>,
    /// Starts the helper's thread: [`own_thread`], or what changes something of it first, as the table of
    /// open files; all threads of the store inherit that.
    pub spawn: Spawn,
}

/// What a thread does.
pub type Work = Box<dyn FnOnce() + Send>;

/// Starts a thread of that name. In it the descriptor has to stay open, and what [`LookupOptions::wake`]
/// needs.
pub type Spawn = Box<dyn FnOnce(&str, BorrowedFd<'_>, Work) -> io::Result<JoinHandle<()>>>;

/// A thread like any other.
#[must_use]
pub fn own_thread() -> Spawn {
    Box::new(|name, _, work| thread::Builder::new().name(name.to_owned()).spawn(work))
}

/// The pool for slow password hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashing {
    /// Threads; 0 is taken as 1.
    pub threads: usize,
    /// Passwords that may wait for a thread, a quarter of them from one network; one more is answered
    /// [`crate::Outcome::Busy`].
    pub queue: usize,
}

impl Default for Hashing {
    fn default() -> Self {
        Self {
            threads: 1,
            queue: 256,
        }
    }
}
