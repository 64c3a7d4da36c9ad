//! Records that many users share: everybody's backends, and those of groups.
//!
//! Read by `questions_and_replies`, used by `assemble`.

use crate::lookup::encode::{Encoder, has_names};
use crate::lookup::reply_cache::{ReplyCache, SharedKey};
use crate::messages::Outcome;
use crate::unreadable::{log_bad, log_refused, log_skipped};
use redis::Value;
use registry_auth::Record;
use registry_auth::codec::RecordRef;
use registry_auth_redis::schema::keys::{KeyNames, PUBLIC};
use registry_auth_redis::schema::record::{self, Unreadable};
use std::collections::HashMap;
use std::sync::Arc;

/// What a shared record is for one pipeline.
#[derive(Clone)]
pub(crate) enum SharedRecord {
    /// All backends are addresses.
    Encoded(Arc<[u8]>),
    /// Some are names.
    HasNames(Record),
    /// The outcome of each job that needs the record.
    Failed(Outcome),
}

impl SharedRecord {
    /// Whether the record names backends. One that cannot be read counts as one without: each job that needs
    /// it fails in any case.
    pub(crate) fn has_backends(&self) -> bool {
        match self {
            Self::Encoded(encoded) => RecordRef::decode(encoded).is_ok_and(|record| record.has_peers()),
            Self::HasNames(_) => true,
            Self::Failed(_) => false,
        }
    }
}

/// What the users of one keyspace share.
pub(crate) struct SharedRecords {
    /// `P:backends`.
    pub(crate) defaults: SharedRecord,
    /// `P:group:public`.
    pub(crate) public: SharedRecord,
    /// The groups of all users of the keyspace here, by name; without `public`.
    pub(crate) groups: HashMap<Box<str>, SharedRecord>,
}

impl SharedRecords {
    /// A group of which somebody here is a member.
    pub(crate) fn group(&self, name: &str) -> Option<&SharedRecord> {
        match name {
            PUBLIC => Some(&self.public),
            name => self.groups.get(name),
        }
    }
}

/// Reads the reply to `LRANGE P:backends 0 -1` or `HGETALL P:group:<name>`.
pub(crate) fn read(
    cache: &ReplyCache,
    encoder: &Encoder,
    prefix: &str,
    key: SharedKey<'_>,
    reply: Value,
) -> SharedRecord {
    let tag = cache.tag(&reply);
    if let Some(encoded) = cache.shared(prefix, key, tag) {
        return SharedRecord::Encoded(encoded);
    }
    let name = match key {
        SharedKey::Backends => KeyNames::new(prefix).backends(),
        SharedKey::Group(name) => KeyNames::new(prefix).group(name),
    };
    let bad = |why: &str| {
        log_bad(&encoder.log, &name, why);
        SharedRecord::Failed(Outcome::BadRecord)
    };
    let mut skipped = None;
    let read = match key {
        SharedKey::Backends => record::from_list_noting(reply, &mut skipped),
        // A group that is not there gives nobody anything.
        SharedKey::Group(_) => record::from_hash_noting(reply, &mut skipped).map(Option::unwrap_or_default),
    };
    if let Some(backend) = skipped {
        log_skipped(&encoder.log, &name, &backend);
    }
    let mut record = match read {
        Ok(record) => record,
        Err(Unreadable::Refused(error)) => {
            log_refused(&encoder.log, &error);
            return SharedRecord::Failed(Outcome::Unavailable);
        }
        Err(Unreadable::Bad(why)) => return bad(&why),
    };
    if has_names(&record) {
        return SharedRecord::HasNames(record);
    }
    let Some(encoded) = encoder.encode(&mut record, &mut Vec::new()) else {
        return bad("it is too large");
    };
    cache.put_shared(prefix, key, tag, Arc::clone(&encoded));
    SharedRecord::Encoded(encoded)
}
