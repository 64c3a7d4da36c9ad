//! Which keys changed lately: so that an answer read before a change is not given after it.
//!
//! Used by `events` under its lock. Invariant: what is not remembered any more counts as changed, so that the
//! memory is bounded and forgetting costs a lookup, never a wrong answer.

use registry_auth_redis::connection::tracking::Changed;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Keys remembered. A lookup takes less than a millisecond; more changes than this meanwhile make it be asked
/// again.
const KEYS: usize = 4096;

/// A key of the schema, as in [`Changed`]; the first text is the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key<'a> {
    User(&'a str, &'a str),
    Group(&'a str, &'a str),
    Passwords(&'a str),
    Backends(&'a str),
}

impl<'a> From<&'a Changed> for Key<'a> {
    fn from(changed: &'a Changed) -> Self {
        match changed {
            Changed::User { prefix, name } => Key::User(prefix, name),
            Changed::Group { prefix, name } => Key::Group(prefix, name),
            Changed::Passwords { prefix } => Key::Passwords(prefix),
            Changed::Backends { prefix } => Key::Backends(prefix),
        }
    }
}

#[derive(Default)]
pub(crate) struct RecentChanges {
    /// Counts changes.
    sequence: u64,
    /// Everything has changed at this number, or may have.
    floor: u64,
    /// Keyed hash of the key to the number of its last change. Two keys of one hash only cost a lookup.
    keys: HashMap<u64, u64>,
    hasher: RandomState,
}

impl RecentChanges {
    /// The number of the last change: to be noted before Redis is asked.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn changed(&mut self, changed: &Changed) {
        if self.keys.len() >= KEYS {
            // Numbers are distinct: at least half of the keys go.
            self.floor = self.floor.max(self.sequence.saturating_sub(KEYS as u64 / 2));
            let floor = self.floor;
            self.keys.retain(|_, number| *number > floor);
        }
        self.sequence += 1;
        self.keys
            .insert(self.hasher.hash_one(Key::from(changed)), self.sequence);
    }

    pub(crate) fn all_changed(&mut self) {
        self.sequence += 1;
        self.floor = self.sequence;
        self.keys.clear();
    }

    /// Whether one of `keys` has changed, or may have, since `noted`. Costs a comparison when nothing has
    /// changed at all.
    pub(crate) fn since<'a>(&self, noted: u64, keys: impl IntoIterator<Item = Key<'a>>) -> bool {
        if self.sequence == noted {
            return false;
        }
        let newer = |key| {
            let number = self.keys.get(&self.hasher.hash_one(key));
            number.is_some_and(|number| *number > noted)
        };
        self.floor > noted || keys.into_iter().any(newer)
    }
}

#[cfg(test)]
mod tests {
    use super::{KEYS, Key, RecentChanges};
    use registry_auth_redis::connection::tracking::Changed;

    fn user(name: &str) -> Changed {
        Changed::User {
            prefix: "P".into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_key_counts_from_its_change_on() {
        let mut recent = RecentChanges::default();
        let before = recent.sequence();
        recent.changed(&user("alice"));
        let after = recent.sequence();
        assert!(recent.since(before, [Key::User("P", "alice")]));
        assert!(!recent.since(after, [Key::User("P", "alice")]));
        recent.changed(&Changed::Backends { prefix: "P".into() });
        assert!(!recent.since(after, [Key::User("P", "alice")]));
        for other in [
            Key::User("P", "bob"),
            Key::User("Q", "alice"),
            Key::Group("P", "alice"),
            Key::Passwords("P"),
        ] {
            assert!(!recent.since(before, [other]), "{other:?}");
        }
        assert!(recent.since(after, [Key::User("P", "bob"), Key::Backends("P")]));
    }

    #[test]
    fn everything_is_every_key() {
        let mut recent = RecentChanges::default();
        recent.changed(&user("alice"));
        let before = recent.sequence();
        recent.all_changed();
        assert!(recent.since(before, [Key::User("P", "bob")]));
        assert!(!recent.since(recent.sequence(), [Key::User("P", "bob")]));
    }

    #[test]
    fn what_is_forgotten_counts_as_changed() {
        let mut recent = RecentChanges::default();
        recent.changed(&user("alice"));
        let noted = 0;
        for n in 0..10 * KEYS {
            recent.changed(&user(&n.to_string()));
            assert!(recent.keys.len() <= KEYS);
            assert!(recent.since(noted, [Key::User("P", "alice")]), "{n}");
        }
        let late = recent.sequence();
        recent.changed(&user("bob"));
        assert!(!recent.since(late, [Key::User("P", "alice")]));
    }
}
