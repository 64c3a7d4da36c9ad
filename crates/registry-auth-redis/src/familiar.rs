//! Users whose data is what it was when they were last asked for: what was made of it is made once.
//!
//! Used by `reply` and `settle`, on the helper. Redis is asked all the same; only reading, encoding and, for fast forms, verifying
//! are spared. Invariants: what is remembered is used for an identical reply only, compared whole, and never where a name has to be
//! resolved, so that it cannot be out of date; of a password only a keyed tag is kept, and only of a right one.

use crate::verify::Hash;
use crate::waiting::GroupNames;
use crate::Secret;
use hashbrown::HashTable;
use redis::Value;
use siphasher::sip128::SipHasher24;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Users remembered; one more forgets all.
const USERS: usize = 16_384;
/// Bytes of replies that are remembered of one user: more than this are read anew.
const LARGEST: usize = 16_384;

/// A user's replies, and what they come to.
pub(crate) struct Familiar {
    /// `HGETALL P:user:<name>`
    reply: Value,
    /// The user's item of `HMGET P:passwords`.
    password: Value,
    /// Whether the password is in `P:user:<name>`.
    pub(crate) own: bool,
    /// The record, encoded.
    pub(crate) record: Arc<[u8]>,
    /// Whether it names backends.
    pub(crate) has_backends: bool,
    /// The names of the groups in it.
    pub(crate) groups: GroupNames,
    pub(crate) hash: Arc<Hash>,
    /// The tag of the password that was last right.
    right: Mutex<Option<u128>>,
}

/// What a reader has in hand before the replies are read.
pub(crate) struct Replies {
    pub(crate) reply: Value,
    pub(crate) password: Value,
}

impl Familiar {
    pub(crate) fn new(
        replies: Replies,
        own: bool,
        record: Arc<[u8]>,
        has_backends: bool,
        groups: GroupNames,
        hash: Arc<Hash>,
    ) -> Self {
        Self {
            reply: replies.reply,
            password: replies.password,
            own,
            record,
            has_backends,
            groups,
            hash,
            right: Mutex::default(),
        }
    }

    /// Whether these replies are those of the last time. `P:passwords` plays no role for a user with a password of their own.
    pub(crate) fn is(&self, reply: &Value, password: &Value) -> bool {
        self.reply == *reply && (self.own || self.password == *password)
    }

    pub(crate) fn is_right(&self, tag: u128) -> bool {
        *lock(&self.right) == Some(tag)
    }

    pub(crate) fn was_right(&self, tag: u128) {
        *lock(&self.right) = Some(tag);
    }
}

/// All who are remembered, by prefix and name.
pub(crate) struct Familiars {
    table: Mutex<HashTable<Place>>,
    /// Of tags; known to nobody.
    key: [u8; 16],
}

struct Place {
    hash: u64,
    prefix: Box<str>,
    user: Box<str>,
    familiar: Arc<Familiar>,
}

impl Familiars {
    /// Nobody yet. `None` where the system has no random numbers.
    pub(crate) fn new() -> Option<Self> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).ok()?;
        Some(Self {
            table: Mutex::default(),
            key,
        })
    }

    /// Stands for a password under a salt; only who knows the key can make one.
    pub(crate) fn tag(&self, password: &Secret, salt: &[u8]) -> u128 {
        use std::hash::Hasher;
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(password.expose());
        hasher.write(salt);
        // Says where the one ends and the other begins.
        hasher.write_usize(salt.len());
        siphasher::sip128::Hasher128::finish128(&hasher).as_u128()
    }

    /// What is remembered of a user. `hash` is the same for equal names.
    pub(crate) fn find(&self, hash: u64, key: (&str, &str)) -> Option<Arc<Familiar>> {
        let table = lock(&self.table);
        table.find(hash, is(key)).map(|place| Arc::clone(&place.familiar))
    }

    /// Remembers a user no more.
    pub(crate) fn forget(&self, hash: u64, key: (&str, &str)) {
        if let Ok(place) = lock(&self.table).find_entry(hash, is(key)) {
            place.remove();
        }
    }

    /// Remembers a user in place of what was known.
    pub(crate) fn put(&self, hash: u64, (prefix, user): (&str, &str), familiar: Arc<Familiar>) {
        let mut table = lock(&self.table);
        if let Some(place) = table.find_mut(hash, is((prefix, user))) {
            place.familiar = familiar;
            return;
        }
        if table.len() >= USERS {
            table.clear();
        }
        let place = Place {
            hash,
            prefix: prefix.into(),
            user: user.into(),
            familiar,
        };
        table.insert_unique(hash, place, |place| place.hash);
    }
}

impl Replies {
    /// Copies of both, unless they are large.
    pub(crate) fn of(reply: &Value, password: &Value) -> Option<Self> {
        (size(reply) + size(password) <= LARGEST).then(|| Self {
            reply: reply.clone(),
            password: password.clone(),
        })
    }
}

/// Bytes of a reply, about.
fn size(value: &Value) -> usize {
    32 + match value {
        Value::BulkString(bytes) => bytes.len(),
        Value::SimpleString(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Map(items) => items.iter().map(|(name, value)| size(name) + size(value)).sum(),
        _ => 0,
    }
}

fn is<'k>((prefix, user): (&'k str, &'k str)) -> impl Fn(&Place) -> bool + 'k {
    move |place| &*place.user == user && &*place.prefix == prefix
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Familiar, Familiars, Replies, USERS};
    use crate::verify::Hash;
    use crate::Secret;
    use redis::Value;
    use std::sync::Arc;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn familiar(reply: &Value) -> Arc<Familiar> {
        let replies = Replies::of(reply, &Value::Nil).unwrap();
        let hash = Arc::new(Hash::of(Some("x".to_owned()), || None));
        Arc::new(Familiar::new(
            replies,
            true,
            Arc::default(),
            true,
            Arc::default(),
            hash,
        ))
    }

    #[test]
    fn only_the_same_replies_of_the_same_user_are_familiar() {
        let familiars = Familiars::new().unwrap();
        let reply = Value::Map(vec![(bulk("password"), bulk("x"))]);
        let other = Value::Map(vec![(bulk("password"), bulk("y"))]);
        familiars.put(1, ("P", "alice"), familiar(&reply));
        let known = familiars.find(1, ("P", "alice")).unwrap();
        assert!(known.is(&reply, &Value::Nil) && !known.is(&other, &Value::Nil));
        assert!(known.is(&reply, &bulk("x")), "the password is the user's own");
        for key in [("P", "bob"), ("Q", "alice")] {
            assert!(familiars.find(1, key).is_none());
        }
        familiars.put(1, ("P", "alice"), familiar(&other));
        assert!(!familiars.find(1, ("P", "alice")).unwrap().is(&reply, &Value::Nil));
        familiars.forget(1, ("P", "alice"));
        assert!(familiars.find(1, ("P", "alice")).is_none());
    }

    #[test]
    fn a_tag_is_that_of_one_password_under_one_salt() {
        let familiars = Familiars::new().unwrap();
        let tag =
            |password: &str, salt: &str| familiars.tag(&Secret::new(password.as_bytes()), salt.as_bytes());
        assert_eq!(tag("secret", "s"), tag("secret", "s"));
        for (password, salt) in [
            ("secret", ""),
            ("secrets", ""),
            ("secre", "ts"),
            ("", "secrets"),
            ("Secret", "s"),
        ] {
            assert_ne!(tag(password, salt), tag("secret", "s"), "{password} {salt}");
        }
        let others = Familiars::new().unwrap();
        assert_ne!(others.tag(&Secret::new(b"secret"), b"s"), tag("secret", "s"));
        let known = familiar(&Value::Nil);
        assert!(!known.is_right(tag("secret", "s")));
        known.was_right(tag("secret", "s"));
        assert!(known.is_right(tag("secret", "s")) && !known.is_right(tag("other", "s")));
    }

    #[test]
    fn they_are_bounded_in_number_and_size() {
        let familiars = Familiars::new().unwrap();
        for number in 0..USERS as u64 + 10 {
            familiars.put(number, ("P", &number.to_string()), familiar(&Value::Nil));
            assert!(familiars.table.lock().unwrap().len() <= USERS);
        }
        assert!(Replies::of(&bulk(&"x".repeat(20_000)), &Value::Nil).is_none());
    }
}
