//! Users whose data is what it was when they were last asked for: what was made of it is made once.
//!
//! Used by `reply` and `settle`, on the helper. Redis is asked all the same; only reading, encoding and, for fast forms, verifying
//! are spared. Invariants: what is remembered is used for an identical reply only, and never where a name has to be resolved, so that
//! it cannot be out of date; of a reply, as of a password, only a keyed tag is kept (a reply is many small allocations, and takes
//! four times as much memory as what is made of it), and only of a right password. Bounded in bytes.

use crate::bounded::{allocated, Bounded, Item};
use crate::queue::pending::GroupNames;
use crate::verify::verdict::Hash;
use redis::Value;
use registry_auth_redis::Secret;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of all that is remembered.
pub(crate) const MOST: usize = 6 << 20;
/// Bytes of a record that is remembered: a larger one is read anew.
const LARGEST: usize = 16_384;
/// What counts an `Arc`'s owners.
const COUNTS: usize = 2 * size_of::<usize>();

/// A user's replies, and what they come to.
pub(crate) struct Familiar {
    replies: Replies,
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

/// What stands for a user's replies: see [`Familiars::replies`].
#[derive(Clone, Copy)]
pub(crate) struct Replies {
    /// `HGETALL P:user:<name>`
    reply: u128,
    /// The user's item of `HMGET P:passwords`.
    password: u128,
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
            replies,
            own,
            record,
            has_backends,
            groups,
            hash,
            right: Mutex::default(),
        }
    }

    /// Whether these replies are those of the last time. `P:passwords` plays no role for a user with a password of their own.
    pub(crate) fn is(&self, replies: Replies) -> bool {
        self.replies.reply == replies.reply && (self.own || self.replies.password == replies.password)
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
            + allocated(COUNTS + size_of::<Hash>())
            + allocated(self.hash.len())
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
    table: Mutex<Bounded<Place>>,
    /// Of tags; known to nobody.
    key: [u8; 16],
}

struct Place {
    hash: u64,
    prefix: Box<str>,
    user: Box<str>,
    familiar: Arc<Familiar>,
}

impl Item for Place {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn elsewhere(&self) -> usize {
        allocated(self.prefix.len()) + allocated(self.user.len()) + self.familiar.bytes()
    }
}

impl Familiars {
    /// Nobody yet. `None` where the system has no random numbers.
    pub(crate) fn new() -> Option<Self> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).ok()?;
        Some(Self {
            table: Mutex::new(Bounded::new(MOST)),
            key,
        })
    }

    /// Stands for a password under a salt; only who knows the key can make one.
    pub(crate) fn tag(&self, password: &Secret, salt: &[u8]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(password.expose());
        hasher.write(salt);
        // Says where the one ends and the other begins.
        hasher.write_usize(salt.len());
        hasher.finish128().as_u128()
    }

    /// What stands for a user's replies, and for no others: the key is secret, so that nobody can look for two that have the same.
    pub(crate) fn replies(&self, reply: &Value, password: &Value) -> Replies {
        let tag = |value| {
            let mut hasher = SipHasher24::new_with_key(&self.key);
            write(&mut hasher, value);
            hasher.finish128().as_u128()
        };
        Replies {
            reply: tag(reply),
            password: tag(password),
        }
    }

    /// What is remembered of a user. `hash` is the same for equal names.
    pub(crate) fn find(&self, hash: u64, key: (&str, &str)) -> Option<Arc<Familiar>> {
        let mut table = lock(&self.table);
        table.find(hash, is(key)).map(|place| Arc::clone(&place.familiar))
    }

    /// Remembers a user no more.
    pub(crate) fn forget(&self, hash: u64, key: (&str, &str)) {
        lock(&self.table).remove(hash, is(key));
    }

    /// Remembers a user in place of what was known, unless it is too large.
    pub(crate) fn put(&self, hash: u64, (prefix, user): (&str, &str), familiar: Arc<Familiar>) {
        if familiar.record.len() > LARGEST {
            return self.forget(hash, (prefix, user));
        }
        let place = Place {
            hash,
            prefix: prefix.into(),
            user: user.into(),
            familiar,
        };
        lock(&self.table).put(place, is((prefix, user)));
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

fn is<'k>((prefix, user): (&'k str, &'k str)) -> impl Fn(&Place) -> bool + 'k {
    move |place| &*place.user == user && &*place.prefix == prefix
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Familiar, Familiars, LARGEST, MOST};
    use crate::verify::verdict::Hash;
    use redis::Value;
    use registry_auth_redis::Secret;
    use std::sync::Arc;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn familiar(familiars: &Familiars, reply: &Value, own: bool, record: &[u8]) -> Arc<Familiar> {
        let replies = familiars.replies(reply, &bulk("x"));
        let hash = Arc::new(Hash::of(Some("x".to_owned()), || None));
        Arc::new(Familiar::new(
            replies,
            own,
            record.into(),
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
        let is = |familiar: &Familiar, reply: &Value, password: &str| {
            familiar.is(familiars.replies(reply, &bulk(password)))
        };
        familiars.put(1, ("P", "alice"), familiar(&familiars, &reply, true, b""));
        let known = familiars.find(1, ("P", "alice")).unwrap();
        assert!(is(&known, &reply, "x") && !is(&known, &other, "x"));
        assert!(is(&known, &reply, "y"), "the password is the user's own");
        for key in [("P", "bob"), ("Q", "alice")] {
            assert!(familiars.find(1, key).is_none());
        }
        familiars.put(1, ("P", "alice"), familiar(&familiars, &other, false, b""));
        let known = familiars.find(1, ("P", "alice")).unwrap();
        assert!(!is(&known, &reply, "x") && is(&known, &other, "x") && !is(&known, &other, "y"));
        familiars.forget(1, ("P", "alice"));
        assert!(familiars.find(1, ("P", "alice")).is_none());
    }

    #[test]
    fn replies_that_differ_in_anything_are_told_apart() {
        let familiars = Familiars::new().unwrap();
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
                let (one, other) = (
                    familiars.replies(one, &Value::Nil),
                    familiars.replies(other, &Value::Nil),
                );
                assert_eq!(
                    one.reply == other.reply,
                    number == other_number,
                    "{number} {other_number}"
                );
            }
        }
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
        let known = familiar(&familiars, &Value::Nil, true, b"");
        assert!(!known.is_right(tag("secret", "s")));
        known.was_right(tag("secret", "s"));
        assert!(known.is_right(tag("secret", "s")) && !known.is_right(tag("other", "s")));
    }

    #[test]
    fn they_are_bounded_in_bytes() {
        for length in [100, 4000, LARGEST] {
            let familiars = Familiars::new().unwrap();
            let record = vec![0; length];
            for number in 0..20_000 {
                let one = familiar(&familiars, &Value::Nil, true, &record);
                familiars.put(number, ("P", &number.to_string()), one);
            }
            let table = familiars.table.lock().unwrap();
            assert!(table.bytes() <= MOST, "{length}: {}", table.bytes());
            assert!(table.len() * length >= MOST / 16, "{length}: {}", table.len());
        }
        let familiars = Familiars::new().unwrap();
        let large = familiar(&familiars, &Value::Nil, true, &[0; LARGEST + 1]);
        familiars.put(1, ("P", "alice"), large);
        assert!(familiars.find(1, ("P", "alice")).is_none());
    }
}
