//! The connection that an administrator has now, and what holds on it: Redis knows by the connection which
//! keys are watched.
//!
//! Used by `client`. In a Cluster the connection is replaced when the keys have moved to another node.

use redis::aio::MultiplexedConnection;
use registry_auth_redis::connection::cluster::Detour;
use std::sync::Arc;
use tokio::task::JoinHandle;

pub(crate) struct Seat {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    detour: Arc<Detour>,
    number: u64,
    /// The first connection on which keys are watched for the next transaction.
    watched: Option<u64>,
    /// The connection on which a hash is being scanned, and whether by a detour.
    scanned: (u64, bool),
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
        number: u64,
    ) -> Self {
        Self {
            connection,
            driver,
            detour,
            number,
            watched: None,
            scanned: (number, false),
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

    /// Another connection, on which nothing is watched or scanned; that something was is not forgotten.
    pub(crate) fn replace(&mut self, mut other: Self) {
        (other.watched, other.scanned) = (self.watched, self.scanned);
        *self = other;
    }
}
