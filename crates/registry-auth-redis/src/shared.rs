//! Records that many users share, everybody's backends and those of groups: nearly always what they were before.
//!
//! Used by `reply` and `settle`. Invariant: what is remembered is only used for an identical reply, and only where no
//! name has to be resolved, so that it can never be out of date.

use crate::job::Outcome;
use crate::log::Level;
use crate::lookup::Context;
use crate::record::{self, Unreadable};
use crate::reply::log_refused;
use crate::schema::Keys;
use crate::settle;
use hashbrown::HashTable;
use redis::Value;
use registry_auth::codec::RecordRef;
use registry_auth::Record;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Records remembered; one more forgets all.
const RECORDS: usize = 4096;

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whose<'a> {
    /// `P:backends`
    Everybody,
    /// `P:group:<name>`
    Group(&'a str),
}

impl Whose<'_> {
    fn key(self, prefix: &str) -> String {
        match self {
            Self::Everybody => Keys::new(prefix).backends(),
            Self::Group(name) => Keys::new(prefix).group(name),
        }
    }

    fn read(self, reply: Value) -> Result<Record, Unreadable> {
        match self {
            Self::Everybody => record::from_list(reply),
            // A group that is not there gives nobody anything.
            Self::Group(_) => Ok(record::from_hash(reply)?.unwrap_or_default()),
        }
    }
}

/// What a shared record is for one pipeline.
#[derive(Clone)]
pub(crate) enum Shared {
    /// All backends are addresses.
    Encoded(Arc<[u8]>),
    /// Some are names.
    Names(Record),
    /// For those who need it.
    Failed(Outcome),
}

impl Shared {
    /// Whether it names backends. What cannot be read counts as one that does not: it fails who needs it in any case.
    pub(crate) fn has_backends(&self) -> bool {
        match self {
            Self::Encoded(encoded) => RecordRef::decode(encoded).is_ok_and(|record| record.has_peers()),
            Self::Names(_) => true,
            Self::Failed(_) => false,
        }
    }
}

/// The last reply of each shared key that needed no names, and its encoding.
#[derive(Default)]
pub(crate) struct SharedCache {
    places: Mutex<HashTable<Place>>,
    hasher: RandomState,
}

struct Place {
    hash: u64,
    prefix: Box<str>,
    /// `None` for everybody's backends.
    group: Option<Box<str>>,
    reply: Value,
    encoded: Arc<[u8]>,
}

impl Place {
    fn is(&self, prefix: &str, whose: Whose<'_>) -> bool {
        let same = match whose {
            Whose::Everybody => self.group.is_none(),
            Whose::Group(name) => self.group.as_deref() == Some(name),
        };
        same && &*self.prefix == prefix
    }
}

impl SharedCache {
    fn find(&self, prefix: &str, whose: Whose<'_>, reply: &Value) -> Option<Arc<[u8]>> {
        let hash = self.hasher.hash_one((prefix, whose));
        let places = self.lock();
        let place = places.find(hash, |place| place.is(prefix, whose))?;
        (place.reply == *reply).then(|| Arc::clone(&place.encoded))
    }

    fn put(&self, prefix: &str, whose: Whose<'_>, reply: Value, encoded: Arc<[u8]>) {
        let hash = self.hasher.hash_one((prefix, whose));
        let mut places = self.lock();
        if let Some(place) = places.find_mut(hash, |place| place.is(prefix, whose)) {
            (place.reply, place.encoded) = (reply, encoded);
            return;
        }
        if places.len() >= RECORDS {
            places.clear();
        }
        let place = Place {
            hash,
            prefix: prefix.into(),
            group: match whose {
                Whose::Everybody => None,
                Whose::Group(name) => Some(name.into()),
            },
            reply,
            encoded,
        };
        places.insert_unique(hash, place, |place| place.hash);
    }

    fn lock(&self) -> MutexGuard<'_, HashTable<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the reply to `LRANGE P:backends 0 -1` or `HGETALL P:group:<name>`.
pub(crate) fn read(context: &Context, prefix: &str, whose: Whose<'_>, reply: Value) -> Shared {
    if let Some(encoded) = context.shared.find(prefix, whose, &reply) {
        return Shared::Encoded(encoded);
    }
    let mut record = match whose.read(reply.clone()) {
        Ok(record) => record,
        Err(Unreadable::Refused(error)) => {
            log_refused(context, &error);
            return Shared::Failed(Outcome::Unavailable);
        }
        Err(Unreadable::Bad(why)) => return bad(context, prefix, whose, why),
    };
    if settle::has_names(&record) {
        return Shared::Names(record);
    }
    match settle::encode(context, &mut record, &mut Vec::new()) {
        Some(encoded) => {
            context.shared.put(prefix, whose, reply, Arc::clone(&encoded));
            Shared::Encoded(encoded)
        }
        None => bad(context, prefix, whose, "it is too large"),
    }
}

fn bad(context: &Context, prefix: &str, whose: Whose<'_>, why: &str) -> Shared {
    let key = whose.key(prefix);
    context
        .log
        .write_once(&key, Level::Error, &format!("record {key} cannot be read: {why}"));
    Shared::Failed(Outcome::BadRecord)
}
