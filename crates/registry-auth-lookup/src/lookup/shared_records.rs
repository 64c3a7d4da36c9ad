//! Records that many users share, everybody's backends and those of groups: nearly always what they were before.
//!
//! Used by `reply` and `settle`. Invariant: what is remembered is only used for an identical reply, and only where no
//! name has to be resolved, so that it can never be out of date. Bounded in bytes.

use crate::bounded::{allocated, Bounded, Item};
use crate::lookup::assemble;
use crate::lookup::questions_and_replies::{log_refused, log_skipped};
use crate::lookup::Context;
use crate::messages::Outcome;
use redis::Value;
use registry_auth::codec::RecordRef;
use registry_auth::Record;
use registry_auth_redis::log::Level;
use registry_auth_redis::schema::keys::Keys;
use registry_auth_redis::schema::record::{self, Unreadable};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of all that is remembered. A reply takes about four times as much as what is encoded of it.
pub(crate) const MOST: usize = 4 << 20;

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

    fn read(self, reply: Value, skipped: &mut bool) -> Result<Record, Unreadable> {
        match self {
            Self::Everybody => record::from_list_noting(reply, skipped),
            // A group that is not there gives nobody anything.
            Self::Group(_) => Ok(record::from_hash_noting(reply, skipped)?.unwrap_or_default()),
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
pub(crate) struct SharedCache {
    places: Mutex<Bounded<Place>>,
    hasher: RandomState,
}

impl Default for SharedCache {
    fn default() -> Self {
        Self {
            places: Mutex::new(Bounded::new(MOST)),
            hasher: RandomState::new(),
        }
    }
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

impl Item for Place {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn elsewhere(&self) -> usize {
        let group = self.group.as_ref().map_or(0, |group| allocated(group.len()));
        let encoded = 2 * size_of::<usize>() + self.encoded.len();
        allocated(self.prefix.len()) + group + elsewhere(&self.reply) + allocated(encoded)
    }
}

/// Bytes of a reply, but for its own place.
fn elsewhere(value: &Value) -> usize {
    match value {
        Value::BulkString(bytes) => allocated(bytes.capacity()),
        Value::SimpleString(text) => allocated(text.capacity()),
        Value::Array(items) => {
            let places = allocated(items.capacity() * size_of::<Value>());
            places + items.iter().map(elsewhere).sum::<usize>()
        }
        Value::Map(items) => {
            let places = allocated(items.capacity() * size_of::<(Value, Value)>());
            let both = |(name, value): &(Value, Value)| elsewhere(name) + elsewhere(value);
            places + items.iter().map(both).sum::<usize>()
        }
        _ => 0,
    }
}

impl SharedCache {
    fn find(&self, prefix: &str, whose: Whose<'_>, reply: &Value) -> Option<Arc<[u8]>> {
        let hash = self.hasher.hash_one((prefix, whose));
        let mut places = self.lock();
        let place = places.find(hash, |place| place.is(prefix, whose))?;
        (place.reply == *reply).then(|| Arc::clone(&place.encoded))
    }

    fn put(&self, prefix: &str, whose: Whose<'_>, reply: Value, encoded: Arc<[u8]>) {
        let place = Place {
            hash: self.hasher.hash_one((prefix, whose)),
            prefix: prefix.into(),
            group: match whose {
                Whose::Everybody => None,
                Whose::Group(name) => Some(name.into()),
            },
            reply,
            encoded,
        };
        self.lock().put(place, |place| place.is(prefix, whose));
    }

    fn lock(&self) -> MutexGuard<'_, Bounded<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the reply to `LRANGE P:backends 0 -1` or `HGETALL P:group:<name>`.
pub(crate) fn read(context: &Context, prefix: &str, whose: Whose<'_>, reply: Value) -> Shared {
    if let Some(encoded) = context.shared.find(prefix, whose, &reply) {
        return Shared::Encoded(encoded);
    }
    let mut skipped = false;
    let read = whose.read(reply.clone(), &mut skipped);
    if skipped {
        log_skipped(context, &whose.key(prefix));
    }
    let mut record = match read {
        Ok(record) => record,
        Err(Unreadable::Refused(error)) => {
            log_refused(context, &error);
            return Shared::Failed(Outcome::Unavailable);
        }
        Err(Unreadable::Bad(why)) => return bad(context, prefix, whose, why),
    };
    if assemble::has_names(&record) {
        return Shared::Names(record);
    }
    match assemble::encode(context, &mut record, &mut Vec::new()) {
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

#[cfg(test)]
mod tests {
    use super::{SharedCache, Whose, MOST};
    use redis::Value;
    use std::sync::Arc;

    fn group(fields: usize) -> Value {
        let text = |text: String| Value::BulkString(text.into_bytes());
        let field = |n| {
            (
                text(format!("grant:team/project{n}/**")),
                text("pull,push".to_owned()),
            )
        };
        Value::Map((0..fields).map(field).collect())
    }

    #[test]
    fn they_are_bounded_in_bytes() {
        for fields in [1, 10, 1000] {
            let shared = SharedCache::default();
            for number in 0..40_000 / fields {
                let (name, reply) = (format!("group{number}"), group(fields));
                let encoded: Arc<[u8]> = vec![0; 30 * fields].into();
                shared.put("P", Whose::Group(&name), reply.clone(), encoded);
                assert!(shared.find("P", Whose::Group(&name), &reply).is_some());
            }
            let places = shared.lock();
            assert!(
                (MOST / 5..=MOST).contains(&places.bytes()),
                "{fields}: {}",
                places.bytes()
            );
        }
    }

    #[test]
    fn an_identical_reply_of_the_same_key_only() {
        let shared = SharedCache::default();
        shared.put("P", Whose::Group("team"), group(2), Arc::default());
        let has = |prefix: &str, whose, reply: &Value| shared.find(prefix, whose, reply).is_some();
        assert!(has("P", Whose::Group("team"), &group(2)) && !has("P", Whose::Group("team"), &group(3)));
        assert!(!has("Q", Whose::Group("team"), &group(2)) && !has("P", Whose::Everybody, &group(2)));
    }
}
