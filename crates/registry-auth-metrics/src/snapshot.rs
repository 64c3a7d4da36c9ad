//! All that is shown: numbers of all workers, of the zone that they share, and of the worker that answers.
//!
//! Filled in by the nginx module, read by the forms.

use crate::counters::{self, CLASSES, CacheState};
use registry_auth::RequestResult;

/// All that is shown.
#[derive(Clone, Debug, Default)]
pub struct Snapshot<'a> {
    /// The module's version.
    pub version: &'a str,
    /// nginx's version.
    pub nginx: &'a str,
    /// The time, in seconds since 1970.
    pub now: u64,
    /// Since when is counted.
    pub since: u64,
    /// The counters of all workers, by the numbers of [`counters`].
    pub counters: &'a [u64],
    /// What all workers have now.
    pub gauges: Gauges,
    /// The zone that they share.
    pub zone: Zone<'a>,
    /// Redis, as the worker that answers sees it.
    pub redis: Redis<'a>,
}

/// What all workers together have now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Workers.
    pub workers: u64,
    /// Those that are connected to Redis.
    pub connected: u64,
    /// Requests that wait for Redis, or for a password to be verified.
    pub waiting: u64,
    /// Passwords that wait to be hashed.
    pub hashes_queued: u64,
    /// Passwords that are being hashed.
    pub hashes_running: u64,
    /// Catalogues and searches in the making.
    pub lists: u64,
}

/// The zone of `registry_auth_cache`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Zone<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes in free pages.
    pub free: u64,
    /// Records in it.
    pub records: u64,
    /// Users that do not exist, and counters of failed logins, in it.
    pub negative_entries: u64,
    /// Records that made room for others.
    pub evicted: u64,
}

/// How the module learns of changes in Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Changes {
    /// It does not: there is no connection.
    #[default]
    Unreachable,
    /// Redis tells of each.
    Tracking,
    /// Redis tells of each change of what was asked for.
    PlainTracking,
    /// Redis tells of those that `registry-authctl` publishes.
    Channel,
    /// It does not: records are looked up again when their time is over.
    Expiry,
}

impl Changes {
    /// The value of the label `changes`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "none",
            Self::Tracking => "tracking",
            Self::PlainTracking => "plain-tracking",
            Self::Channel => "channel",
            Self::Expiry => "expiry",
        }
    }

    /// The same in words.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Unreachable => "no connection",
            Self::Tracking => "tells of changes",
            Self::PlainTracking => "tells of changes, key by key",
            Self::Channel => "tells of the tool's changes only",
            Self::Expiry => "tells of no changes: records expire",
        }
    }
}

/// Redis, as the worker that answers sees it.
#[derive(Clone, Debug, Default)]
pub struct Redis<'a> {
    /// The URL, without a password.
    pub server: &'a str,
    /// The address of the server that it leads to: one of several, or what sentinels have named. Empty where
    /// there is no connection.
    pub address: &'a str,
    /// How it tells of changes.
    pub changes: Changes,
}

impl Snapshot<'_> {
    pub(crate) fn counter(&self, index: usize) -> u64 {
        self.counters.get(index).copied().unwrap_or_default()
    }

    /// Decisions that came to this result.
    pub(crate) fn decisions(&self, result: RequestResult) -> u64 {
        let indexes = (0..CLASSES.len()).map(|class| counters::first_of(class) + result as usize);
        indexes.map(|index| self.counter(index)).sum()
    }

    pub(crate) fn all_decisions(&self) -> u64 {
        RequestResult::ALL
            .iter()
            .map(|result| self.decisions(*result))
            .sum()
    }

    pub(crate) fn cached(&self, state: CacheState) -> u64 {
        self.counter(counters::cache(state))
    }
}
