//! The connection that an administrator has now, and what holds on it: Redis knows by the connection which
//! keys are watched.
//!
//! Used by `client`. In a Cluster the connection is replaced when the keys have moved to another node.

use redis::aio::MultiplexedConnection;
use registry_auth_redis::connection::cluster::Detour;
use registry_auth_redis::connection::open::Ending;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Parts of a scan: with 1000 keys each, as many as no Redis holds.
pub(crate) const PARTS: usize = 1 << 20;

pub(crate) struct Seat {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    detour: Arc<Detour>,
    ending: Ending,
    number: u64,
    /// The first connection on which keys are watched for the next transaction.
    watched: Option<u64>,
    /// The connection on which a hash is being scanned, and whether by a detour.
    scanned: (u64, bool),
    cursors: Cursors,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Seat {
    pub(crate) fn new(
        connection: MultiplexedConnection,
        driver: JoinHandle<()>,
        detour: Arc<Detour>,
        ending: Ending,
        number: u64,
    ) -> Self {
        Self {
            connection,
            driver,
            detour,
            ending,
            number,
            watched: None,
            scanned: (number, false),
            cursors: Cursors::default(),
        }
    }

    pub(crate) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    pub(crate) fn detour(&self) -> Arc<Detour> {
        Arc::clone(&self.detour)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Keys are watched on this connection from now on.
    pub(crate) fn watch(&mut self) {
        self.watched.get_or_insert(self.number);
    }

    /// Whether keys were watched, and whether all are on this connection. None is any more, as after a
    /// transaction.
    pub(crate) fn take_watch(&mut self) -> (bool, bool) {
        let watched = self.watched.take();
        (watched.is_some(), watched == Some(self.number))
    }

    /// A part of a hash was scanned, perhaps its first; whether that was where the part before was.
    pub(crate) fn scan(&mut self, is_first: bool, by_detour: bool) -> bool {
        let here = (self.number, by_detour);
        if is_first {
            self.scanned = here;
        }
        self.scanned == here
    }

    /// As [`Cursors::goes_on`].
    pub(crate) fn goes_on(&mut self, is_first: bool, next: u64) -> bool {
        self.cursors.goes_on(is_first, next)
    }

    /// Why the connection has ended, where more is known than that.
    pub(crate) fn why_ended(&self) -> Option<String> {
        self.ending.why()
    }

    /// Another connection, on which nothing is watched or scanned; that something was is not forgotten.
    pub(crate) fn replace(&mut self, mut other: Self) {
        (other.watched, other.scanned) = (self.watched, self.scanned);
        std::mem::swap(&mut other.cursors, &mut self.cursors);
        *self = other;
    }
}

/// The cursors that the scan under way has had. There is one at a time: none is within another.
#[derive(Default)]
struct Cursors(HashSet<u64>);

impl Cursors {
    /// A scan was sent on by this cursor, from another or, at first, from 0; whether it may come to an end.
    fn goes_on(&mut self, is_first: bool, next: u64) -> bool {
        if is_first {
            self.0.clear();
        }
        next == 0 || self.0.insert(next) && self.0.len() <= PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursors, PARTS};

    #[test]
    fn a_scan_has_so_many_cursors_and_each_once() {
        let mut cursors = Cursors::default();
        assert!(cursors.goes_on(true, 5) && cursors.goes_on(false, 7) && !cursors.goes_on(false, 5));
        // The next one begins anew.
        assert!(cursors.goes_on(true, 5) && cursors.goes_on(false, 0));
        let most = PARTS as u64;
        assert!(cursors.goes_on(true, 1) && (2..=most).all(|next| cursors.goes_on(false, next)));
        assert!(!cursors.goes_on(false, most + 1));
    }
}
