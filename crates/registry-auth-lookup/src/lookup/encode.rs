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

#[cfg(test)]
mod tests {
    use super::{Encoder, has_names};
    use redis::Value;
    use registry_auth::Record;
    use registry_auth_redis::log::{Log, LogQueue};
    use registry_auth_redis::schema::record::from_hash;
    use registry_auth_redis::wake::Wake;
    use std::sync::Arc;

    fn record(backends: &str) -> Record {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let reply = Value::Map(vec![(bulk("backends"), bulk(backends))]);
        from_hash(reply).unwrap().unwrap()
    }

    #[tokio::test]
    async fn addresses_need_no_resolver() {
        let queue = LogQueue::new(Arc::new(Wake::new(Box::new(|| ()))));
        let encoder = Encoder {
            resolver: Arc::default(),
            log: Log::new(Arc::new(queue)),
        };
        let mut addresses = record("127.0.0.1:80 [::1]:80 10.0.0.5");
        assert!(!has_names(&addresses) && !encoder.lacks_names(&addresses));
        encoder.encode(&mut addresses, &mut Vec::new()).unwrap();
        let found: Vec<String> = addresses
            .backends
            .iter()
            .flat_map(|peer| &peer.addresses)
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["127.0.0.1:80", "[::1]:80", "10.0.0.5:80"]);
        for names in ["localhost:80", "127.0.0.1:80 localhost", "localhost:80 [::1]:80"] {
            let names = record(names);
            assert!(has_names(&names) && encoder.lacks_names(&names), "{names:?}");
        }
    }
}
