//! Records as a cache stores them: backends with their addresses, encoded.
//!
//! Used by all of `lookup`.

use crate::lookup::resolver::Resolver;
use registry_auth::{Peer, Record, codec};
use registry_auth_redis::log::{Level, Log};
use std::sync::Arc;

/// Whether some backend of a record that is not encoded yet is a name, not an address.
pub(crate) fn has_names(record: &Record) -> bool {
    record.backends.iter().any(|peer| peer.addresses.is_empty())
}

/// What encodes records.
pub(crate) struct Encoder {
    /// Where addresses come from.
    pub(crate) resolver: Arc<Resolver>,
    /// Where it is said that there are none.
    pub(crate) log: Log,
}

impl Encoder {
    /// Whether some backend's name has to be asked for first.
    pub(crate) fn lacks_names(&self, record: &Record) -> bool {
        let is_lacking = |peer: &Peer| peer.addresses.is_empty() && self.resolver.known(&peer.name).is_none();
        record.backends.iter().any(is_lacking)
    }

    /// The record with its backends' addresses, encoded; `None` when it is too large.
    pub(crate) fn encode(&self, record: &mut Record, buffer: &mut Vec<u8>) -> Option<Arc<[u8]>> {
        for peer in &mut record.backends {
            if peer.addresses.is_empty() {
                peer.addresses = self.resolver.known(&peer.name).unwrap_or_default();
                // More than the layout holds, and than anybody has.
                peer.addresses.truncate(u8::MAX.into());
            }
            if peer.addresses.is_empty() {
                let message = format!("backend {} has no address", peer.name);
                self.log.write_once(&peer.name, Level::Error, &message);
            }
        }
        buffer.clear();
        codec::encode(record, buffer).ok()?;
        Some(Arc::from(buffer.as_slice()))
    }
}
