//! Replies of Redis that are what they were the last time: what was made of them is made once.
//!
//! Used by all of `lookup`, on the helper. Redis is asked all the same; only reading, encoding and, for fast
//! forms, verifying are spared. Invariants: what is remembered is used for an identical reply to the same
//! question only, and never where a name has to be resolved, so that it cannot be out of date; of a reply
//! only a keyed tag is kept (a reply is many small allocations, and takes four times as much memory as what
//! is made of it). All of it together takes [`MAX_BYTES`] at most.

use crate::bounded::{Bounded, Item, allocated};
use crate::queue::basis::GroupNames;
use crate::verify::stored_hash::StoredHash;
use redis::Value;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of all that is remembered: about 12,000 users with a few grants each, who come in turn.
pub(crate) const MAX_BYTES: usize = 12 << 20;
/// Bytes of a user's record that is remembered: a larger one is read anew.
const LARGEST: usize = 16_384;
/// What counts an `Arc`'s owners.
const COUNTS: usize = 2 * size_of::<usize>();

/// A key that many users share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SharedKey<'a> {
    /// `P:backends`
    Backends,
    /// `P:group:<name>`
    Group(&'a str),
}

/// The tags of a user's replies.
#[derive(Clone, Copy)]
pub(crate) struct UserTags {
    /// Of `HGETALL P:user:<name>`.
    pub(crate) record: u128,
    /// Of the user's item of `HMGET P:passwords`.
    pub(crate) password: u128,
}

/// What a user's replies come to.
pub(crate) struct RememberedUser {
    pub(crate) tags: UserTags,
    /// Whether the password is in `P:user:<name>`.
    pub(crate) own_password: bool,
    /// The record, encoded.
    pub(crate) record: Arc<[u8]>,
    /// Whether it names backends.
    pub(crate) has_backends: bool,
    /// The names of the groups in it.
    pub(crate) groups: GroupNames,
    pub(crate) hash: Arc<StoredHash>,
}

impl RememberedUser {
    /// Whether these replies are those of the last time. `P:passwords` plays no role for a user with a
    /// password of their own.
    pub(crate) fn matches(&self, tags: UserTags) -> bool {
        self.tags.record == tags.record && (self.own_password || self.tags.password == tags.password)
    }

    /// The bytes that it takes in all, about.
    fn bytes(&self) -> usize {
        let groups = self
            .groups
            .iter()
            .map(|name| size_of::<Box<str>>() + allocated(name.len()));
        let groups = groups.sum::<usize>();
        allocated(COUNTS + size_of::<Self>())
            + allocated(COUNTS + self.record.len())
            + if groups > 0 { COUNTS + groups } else { 0 }
            + allocated(COUNTS + size_of::<StoredHash>())
            + allocated(self.hash.len())
    }
}

/// All that is remembered.
pub(crate) struct ReplyCache {
    table: Mutex<Bounded<CachedReply>>,
    hasher: RandomState,
    /// Of tags; known to nobody.
    key: [u8; 16],
}

struct CachedReply {
    hash: u64,
    prefix: Box<str>,
    /// Of the user or the group; empty for everybody's backends.
    name: Box<str>,
    made: Made,
}

/// What was made of a reply.
enum Made {
    User(Arc<RememberedUser>),
    Group(u128, Arc<[u8]>),
    Backends(u128, Arc<[u8]>),
}

impl CachedReply {
    fn is_user(&self, (prefix, user): (&str, &str)) -> bool {
        matches!(self.made, Made::User(_)) && &*self.name == user && &*self.prefix == prefix
    }

    fn is_shared(&self, prefix: &str, key: SharedKey<'_>) -> bool {
        let is_it = match (&self.made, key) {
            (Made::Backends(..), SharedKey::Backends) => true,
            (Made::Group(..), SharedKey::Group(name)) => &*self.name == name,
            _ => false,
        };
        is_it && &*self.prefix == prefix
    }
}

impl Item for CachedReply {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn elsewhere(&self) -> usize {
        let made = match &self.made {
            Made::User(user) => user.bytes(),
            Made::Group(_, encoded) | Made::Backends(_, encoded) => allocated(COUNTS + encoded.len()),
        };
        allocated(self.prefix.len()) + allocated(self.name.len()) + made
    }
}

impl ReplyCache {
    /// Nothing yet. `None` where the system has no random numbers.
    pub(crate) fn new() -> Option<Self> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).ok()?;
        Some(Self {
            table: Mutex::new(Bounded::new(MAX_BYTES)),
            hasher: RandomState::new(),
            key,
        })
    }

    fn table(&self) -> MutexGuard<'_, Bounded<CachedReply>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tag of a reply, and of no other: the key is secret, so that nobody can look for two that have the
    /// same.
    pub(crate) fn tag(&self, reply: &Value) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        write(&mut hasher, reply);
        hasher.finish128().as_u128()
    }

    /// What is remembered of a user, of that prefix and name. `hash` is the same for equal names.
    pub(crate) fn user(&self, hash: u64, key: (&str, &str)) -> Option<Arc<RememberedUser>> {
        match &self.table().find(hash, |entry| entry.is_user(key))?.made {
            Made::User(user) => Some(Arc::clone(user)),
            _ => None,
        }
    }

    /// Remembers a user no more.
    pub(crate) fn forget_user(&self, hash: u64, key: (&str, &str)) {
        self.table().remove(hash, |entry| entry.is_user(key));
    }

    /// Remembers a user in place of what was known, unless the record is too large.
    pub(crate) fn put_user(&self, hash: u64, (prefix, name): (&str, &str), user: RememberedUser) {
        if user.record.len() > LARGEST {
            return self.forget_user(hash, (prefix, name));
        }
        let entry = CachedReply {
            hash,
            prefix: prefix.into(),
            name: name.into(),
            made: Made::User(Arc::new(user)),
        };
        self.table().put(entry, |entry| entry.is_user((prefix, name)));
    }

    /// What a shared key's reply was encoded to, if it is the one of this tag.
    pub(crate) fn shared(&self, prefix: &str, key: SharedKey<'_>, tag: u128) -> Option<Arc<[u8]>> {
        let hash = self.hasher.hash_one((prefix, key));
        let mut table = self.table();
        match &table.find(hash, |entry| entry.is_shared(prefix, key))?.made {
            Made::Group(known, encoded) | Made::Backends(known, encoded) if *known == tag => {
                Some(Arc::clone(encoded))
            }
            _ => None,
        }
    }

    /// Remembers what a shared key's reply was encoded to, in place of what was known.
    pub(crate) fn put_shared(&self, prefix: &str, key: SharedKey<'_>, tag: u128, encoded: Arc<[u8]>) {
        let (name, made) = match key {
            SharedKey::Backends => ("", Made::Backends(tag, encoded)),
            SharedKey::Group(name) => (name, Made::Group(tag, encoded)),
        };
        let entry = CachedReply {
            hash: self.hasher.hash_one((prefix, key)),
            prefix: prefix.into(),
            name: name.into(),
            made,
        };
        self.table().put(entry, |entry| entry.is_shared(prefix, key));
    }
}

/// Writes a reply so that no two are written alike: what it is, how many bytes or items there are, and these.
fn write(hasher: &mut SipHasher24, value: &Value) {
    let mut head = |kind: u8, length: usize| hasher.write_u64(u64::from(kind) << 56 | length as u64);
    match value {
        Value::Nil => head(0, 0),
        Value::BulkString(bytes) => {
            head(1, bytes.len());
            hasher.write(bytes);
        }
        Value::SimpleString(text) => {
            head(2, text.len());
            hasher.write(text.as_bytes());
        }
        Value::Array(items) => {
            head(3, items.len());
            items.iter().for_each(|item| write(hasher, item));
        }
        Value::Map(items) => {
            head(4, items.len());
            for (name, value) in items {
                write(hasher, name);
                write(hasher, value);
            }
        }
        // None of these is in a reply that can be read, and so in none that is remembered.
        other => {
            let text = format!("{other:?}");
            head(5, text.len());
            hasher.write(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, MAX_BYTES, RememberedUser, ReplyCache, SharedKey, UserTags};
    use crate::verify::stored_hash::StoredHash;
    use redis::Value;
    use std::hash::BuildHasher;
    use std::sync::Arc;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn tags(cache: &ReplyCache, record: &Value, password: &str) -> UserTags {
        UserTags {
            record: cache.tag(record),
            password: cache.tag(&bulk(password)),
        }
    }

    fn user(cache: &ReplyCache, reply: &Value, own_password: bool, record: &[u8]) -> RememberedUser {
        RememberedUser {
            tags: tags(cache, reply, "x"),
            own_password,
            record: record.into(),
            has_backends: true,
            groups: Arc::default(),
            hash: Arc::new(StoredHash::of(Some("x".to_owned()), || None)),
        }
    }

    #[test]
    fn only_the_same_replies_of_the_same_user_are_remembered() {
        let cache = ReplyCache::new().unwrap();
        let reply = Value::Map(vec![(bulk("password"), bulk("x"))]);
        let other = Value::Map(vec![(bulk("password"), bulk("y"))]);
        let matches = |user: &RememberedUser, reply: &Value, password: &str| {
            user.matches(tags(&cache, reply, password))
        };
        cache.put_user(1, ("P", "alice"), user(&cache, &reply, true, b""));
        let known = cache.user(1, ("P", "alice")).unwrap();
        assert!(matches(&known, &reply, "x") && !matches(&known, &other, "x"));
        assert!(matches(&known, &reply, "y"), "the password is the user's own");
        for key in [("P", "bob"), ("Q", "alice")] {
            assert!(cache.user(1, key).is_none());
        }
        cache.put_user(1, ("P", "alice"), user(&cache, &other, false, b""));
        let known = cache.user(1, ("P", "alice")).unwrap();
        assert!(!matches(&known, &reply, "x"));
        assert!(matches(&known, &other, "x") && !matches(&known, &other, "y"));
        cache.forget_user(1, ("P", "alice"));
        assert!(cache.user(1, ("P", "alice")).is_none());
    }

    #[test]
    fn replies_that_differ_in_anything_are_told_apart() {
        let cache = ReplyCache::new().unwrap();
        let all = [
            Value::Nil,
            Value::Okay,
            bulk(""),
            bulk("a"),
            bulk("ab"),
            Value::SimpleString("a".to_owned()),
            Value::Array(Vec::new()),
            Value::Array(vec![bulk("a"), bulk("b")]),
            Value::Array(vec![bulk("ab"), bulk("")]),
            Value::Array(vec![bulk("b"), bulk("a")]),
            Value::Array(vec![Value::Array(vec![bulk("a")]), bulk("b")]),
            Value::Array(vec![Value::Array(vec![bulk("a"), bulk("b")])]),
            Value::Map(Vec::new()),
            Value::Map(vec![(bulk("a"), bulk("b"))]),
            Value::Map(vec![(bulk("b"), bulk("a"))]),
            Value::Map(vec![(bulk("a"), bulk("b")), (bulk("c"), Value::Nil)]),
        ];
        for (number, one) in all.iter().enumerate() {
            for (other_number, other) in all.iter().enumerate() {
                assert_eq!(
                    cache.tag(one) == cache.tag(other),
                    number == other_number,
                    "{number} {other_number}"
                );
            }
        }
        let others = ReplyCache::new().unwrap();
        assert_ne!(others.tag(&bulk("a")), cache.tag(&bulk("a")));
    }

    #[test]
    fn a_shared_reply_is_that_of_one_key() {
        let cache = ReplyCache::new().unwrap();
        cache.put_shared("P", SharedKey::Group("team"), 2, Arc::from(*b"team"));
        cache.put_shared("P", SharedKey::Backends, 2, Arc::from(*b"all"));
        let text = |prefix: &str, key, tag| cache.shared(prefix, key, tag);
        assert_eq!(
            text("P", SharedKey::Group("team"), 2).as_deref(),
            Some(&b"team"[..])
        );
        assert_eq!(text("P", SharedKey::Backends, 2).as_deref(), Some(&b"all"[..]));
        assert!(text("P", SharedKey::Group("team"), 3).is_none());
        assert!(text("P", SharedKey::Group("other"), 2).is_none());
        assert!(
            text("Q", SharedKey::Group("team"), 2).is_none() && text("Q", SharedKey::Backends, 2).is_none()
        );
        // A group and a user of one name are two things, whatever their hashes.
        let hash = cache.hasher.hash_one(("P", SharedKey::Group("team")));
        assert!(cache.user(hash, ("P", "team")).is_none());
        cache.put_user(hash, ("P", "team"), user(&cache, &Value::Nil, true, b""));
        assert_eq!(
            text("P", SharedKey::Group("team"), 2).as_deref(),
            Some(&b"team"[..])
        );
    }

    #[test]
    fn ten_thousand_users_who_come_in_turn_are_known_again() {
        let cache = ReplyCache::new().unwrap();
        let hash = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=".to_owned();
        for round in 0..3 {
            for number in 0..10_000_u64 {
                let name = format!("user{number}");
                let key = ("docker-registry", &*name);
                assert_eq!(cache.user(number, key).is_some(), round > 0, "{name}");
                if round == 0 {
                    let mut one = user(&cache, &Value::Nil, true, &[0; 100]);
                    one.hash = Arc::new(StoredHash::of(Some(hash.clone()), || None));
                    cache.put_user(number, key, one);
                }
            }
        }
    }

    #[test]
    fn it_is_bounded_in_bytes() {
        for length in [100, 4000, LARGEST] {
            let cache = ReplyCache::new().unwrap();
            let record = vec![0; length];
            for number in 0..20_000_u64 {
                let name = number.to_string();
                cache.put_user(
                    number,
                    ("P", &name),
                    user(&cache, &Value::Nil, true, &record[..length / 2]),
                );
                cache.put_shared("P", SharedKey::Group(&name), 1, record.as_slice().into());
                assert!(cache.shared("P", SharedKey::Group(&name), 1).is_some());
            }
            let table = cache.table();
            assert!(
                (MAX_BYTES / 5..=MAX_BYTES).contains(&table.bytes()),
                "{length}: {}",
                table.bytes()
            );
            assert!(
                table.len() * length >= MAX_BYTES / 16,
                "{length}: {}",
                table.len()
            );
        }
        let cache = ReplyCache::new().unwrap();
        let large = user(&cache, &Value::Nil, true, &[0; LARGEST + 1]);
        cache.put_user(1, ("P", "alice"), large);
        assert!(cache.user(1, ("P", "alice")).is_none());
    }
}
