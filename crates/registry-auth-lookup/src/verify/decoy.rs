//! The decoy: which hash the password of an unknown user is verified against, so that 'no such user' takes as
//! long as 'wrong password'.
//!
//! Used by `stored_hash` and `verdict`. Rule 12 of the security model asks that both cost the same. They can
//! only do so exactly where all users of a space have one form of hash; where forms are mixed, every choice
//! of a decoy tells users of the other forms apart from unknown ones. What is chosen here is the form that
//! most of the users seen lately have, because then
//! - it is exact for one form (also the 2014 gate's SHA-1, where argon2 for unknown users would stand out);
//! - the fewest users stand out where forms are mixed (until they change their passwords);
//! - nobody can steer it: each user counts once, however often somebody tries that name. 'The form verified
//!   last' would be steerable: ask an unknown name, then alice, then the first name again; if its time
//!   changed, the first does not exist.
//!
//! Before any user has been seen it is argon2id as the tool makes it. Each worker learns by itself.

use registry_auth::password::{self, Form};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Users remembered per space. A window rather than all: after a change of forms the old one is forgotten.
const WINDOW: usize = 64;
/// Verifications that are all looked at, and then every how many: a look costs more than the fast hash
/// itself.
const CALLS: usize = 1024;
const SAMPLE: usize = 16;
/// Spaces remembered: as many as there are prefixes in nginx.conf.
const SPACES: usize = 256;

/// What all spaces have learnt.
#[derive(Default)]
pub(crate) struct Decoys {
    spaces: Mutex<HashMap<Box<str>, SeenUsers>>,
    hasher: RandomState,
    calls: AtomicUsize,
}

#[derive(Default)]
struct SeenUsers {
    /// A ring of the users seen lately: hash of the name, and class of their stored hash.
    seen: Vec<(u64, Class)>,
    next: usize,
    /// The most frequent class and a stored hash of it, whose digest plays no role: the comparison's result
    /// is discarded.
    like: Option<(Class, Arc<str>)>,
}

/// Hashes of one class cost the same: the form and, for slow forms, a hash of the text of the cost
/// parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Class(Form, u64);

/// The text without salt and digest: `$2y$10`, `$argon2id$v=19$m=19456,t=2,p=1`, `$6$rounds=5000`. Nothing
/// for the fast forms, which cost the same whatever their salt.
fn cost(form: Form, stored: &str) -> &str {
    if !form.is_slow() {
        return "";
    }
    // bcrypt writes salt and digest as one field.
    let fields = if form == Form::Bcrypt { 1 } else { 2 };
    let end = stored
        .rmatch_indices('$')
        .nth(fields - 1)
        .map_or(stored.len(), |(at, _)| at);
    stored.get(..end).unwrap_or(stored)
}

impl Decoys {
    /// A user's hash has been verified, successfully or not: `stored` (without the `!` of a locked account)
    /// is one that exists in this space.
    pub(crate) fn saw(&self, prefix: &str, user: &str, stored: &str) {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        if calls >= CALLS && !calls.is_multiple_of(SAMPLE) {
            return;
        }
        let Some(class) = self.class(stored) else { return };
        let name = self.hasher.hash_one(user);
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        if !spaces.contains_key(prefix) {
            if spaces.len() >= SPACES {
                return;
            }
            spaces.insert(prefix.into(), SeenUsers::default());
        }
        if let Some(space) = spaces.get_mut(prefix) {
            space.saw(name, class, stored);
        }
    }

    fn class(&self, stored: &str) -> Option<Class> {
        let form = Form::of(stored)?;
        let cost = cost(form, stored);
        Some(Class(
            form,
            if cost.is_empty() {
                0
            } else {
                self.hasher.hash_one(cost)
            },
        ))
    }

    /// The hash to measure an unknown user against; `None` for the tool's argon2id.
    pub(crate) fn like(&self, prefix: &str) -> Option<Arc<str>> {
        let spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        spaces
            .get(prefix)?
            .like
            .as_ref()
            .map(|(_, stored)| Arc::clone(stored))
    }
}

impl SeenUsers {
    fn saw(&mut self, name: u64, class: Class, stored: &str) {
        if let Some((_, known)) = self.seen.iter_mut().find(|(known, _)| *known == name) {
            if *known == class {
                return;
            }
            *known = class;
        } else if self.seen.len() < WINDOW {
            self.seen.push((name, class));
        } else if let Some(oldest) = self.seen.get_mut(self.next) {
            *oldest = (name, class);
            self.next = (self.next + 1) % WINDOW;
        }
        let count = |class: Class| self.seen.iter().filter(|(_, known)| *known == class).count();
        // Only more than the present choice replaces it: no flapping between equals.
        if self
            .like
            .as_ref()
            .is_none_or(|(present, _)| count(class) > count(*present))
        {
            self.like = Some((class, stored.into()));
        }
    }
}

/// Whether this decoy has to go through the hashing pool.
pub(crate) fn is_slow(like: Option<&str>) -> bool {
    like.is_none_or(password::is_slow)
}

#[cfg(test)]
mod tests {
    use super::{Decoys, WINDOW, is_slow};

    const SHA1: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    const BCRYPT: &str = "$2y$10$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC";

    #[test]
    fn a_class_is_form_and_cost() {
        let decoys = Decoys::default();
        let same = |a, b| decoys.class(a) == decoys.class(b);
        assert!(same(SHA1, "0000000000000000000000000000000000000000"));
        assert!(same("$2y$10$aaaa", "$2y$10$bbbb"));
        assert!(!same("$2y$10$aaaa", "$2y$12$aaaa"));
        assert!(same(
            "$argon2id$v=19$m=19456,t=2,p=1$a$b",
            "$argon2id$v=19$m=19456,t=2,p=1$c$d"
        ));
        assert!(!same(
            "$argon2id$v=19$m=19456,t=2,p=1$a$b",
            "$argon2id$v=19$m=8,t=2,p=1$a$b"
        ));
        assert!(same("$6$saltsalt$abc", "$6$pepper$def"));
        assert!(!same("$6$saltsalt$abc", "$6$rounds=9999$saltsalt$abc"));
        assert!(!same("$5$saltsalt$abc", "$6$saltsalt$abc"));
        assert!(!same("{SHA}x", SHA1));
    }

    #[test]
    fn nothing_seen_is_the_tools_form() {
        let decoys = Decoys::default();
        assert_eq!(decoys.like("P"), None);
        assert!(is_slow(None) && is_slow(Some(BCRYPT)) && !is_slow(Some(SHA1)));
    }

    #[test]
    fn spaces_do_not_mix() {
        let decoys = Decoys::default();
        decoys.saw("P", "alice", SHA1);
        assert_eq!(decoys.like("P").as_deref(), Some(SHA1));
        assert_eq!(decoys.like("Q"), None);
    }

    #[test]
    fn a_user_counts_once_however_often_tried() {
        let decoys = Decoys::default();
        decoys.saw("P", "alice", SHA1);
        decoys.saw("P", "bob", SHA1);
        for _ in 0..1000 {
            decoys.saw("P", "carol", BCRYPT);
        }
        assert_eq!(decoys.like("P").as_deref(), Some(SHA1));
    }

    #[test]
    fn the_majority_follows_a_migration() {
        let decoys = Decoys::default();
        for n in 0..WINDOW {
            decoys.saw("P", &n.to_string(), SHA1);
        }
        for n in 0..WINDOW {
            decoys.saw("P", &n.to_string(), BCRYPT);
        }
        assert_eq!(decoys.like("P").as_deref(), Some(BCRYPT));
        for n in 0..2 * WINDOW {
            decoys.saw("P", &(n + 1000).to_string(), SHA1);
        }
        assert_eq!(decoys.like("P").as_deref(), Some(SHA1));
    }
}
