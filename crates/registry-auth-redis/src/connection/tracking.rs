//! Who tells of changes: Redis itself, which says on a connection which keys change (RESP3, `CLIENT
//! TRACKING`), or who changes them, on the channel `P:changes`.
//!
//! `ladder` starts it on each connection before anything is asked there. Invariant: a message that is not
//! understood counts as 'everything has changed'.
//!
//! Redis never reports SWAPDB. The time to live of a cache limits that.

use crate::connection::open::Target;
use crate::schema::keys::{KeyNames, Known};
use redis::{Cmd, PushInfo, PushKind, Value};
use registry_auth::UserName;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Changes of one message that are heeded one by one. More of them are a change of everything: whoever may
/// publish can cost a cache, and no memory.
const MOST: usize = 16_384;

/// A key that has changed. Other keys under the prefix are never told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Changed {
    /// `P:user:<name>`
    User {
        /// `P`, what the names of its keys begin with.
        prefix: Arc<str>,
        /// The user.
        name: Box<str>,
    },
    /// `P:group:<name>`
    Group {
        /// `P`.
        prefix: Arc<str>,
        /// The group.
        name: Box<str>,
    },
    /// `P:passwords`: concerns every answer with `from_passwords`, and every unknown user.
    Passwords {
        /// `P`.
        prefix: Arc<str>,
    },
    /// `P:backends`: concerns all defaults.
    Backends {
        /// `P`.
        prefix: Arc<str>,
    },
}

impl Changed {
    /// The name in it that has memory of its own.
    pub fn name(&self) -> &str {
        match self {
            Self::User { name, .. } | Self::Group { name, .. } => name,
            Self::Passwords { .. } | Self::Backends { .. } => "",
        }
    }
}

/// `changes=`: which rungs are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Changes {
    /// All of them.
    #[default]
    Auto,
    /// Redis's own, by `CLIENT TRACKING`.
    Tracking,
    /// The channel `P:changes`.
    Channel,
}

impl FromStr for Changes {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "tracking" => Ok(Self::Tracking),
            "channel" => Ok(Self::Channel),
            _ => Err(()),
        }
    }
}

/// What tells of changes, from the best on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// `CLIENT TRACKING ON BCAST`: Redis tells each connection of each change of each key.
    Broadcast,
    /// `CLIENT TRACKING ON`: Redis tells each connection that has read a key of its next change.
    Tracking,
    /// The channel `P:changes`: `registry-authctl` tells what it changes, and others may not.
    Channel,
    /// Nothing: what is known ends with its time to live.
    Ttl,
}

impl Rung {
    /// Its name, as status and check give it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broadcast => "tracking",
            Self::Tracking => "plain-tracking",
            Self::Channel => "channel",
            Self::Ttl => "expiry",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who wants to know what changes. Called in the order of the connection's stream.
pub trait Watcher: Send + Sync {
    /// The connection of `epoch` is ready to be used, `rung` is how it tells what changes, and `server` the
    /// address, or the path, that it leads to. Once more for a connection whose rung has become a better one.
    fn connected(&self, epoch: u64, rung: Rung, server: &str);

    /// The connection of `epoch` is of no use any more.
    fn connection_lost(&self, epoch: u64);

    /// Keys changed, as told on the connection of `epoch`.
    fn changed(&self, epoch: u64, changed: Vec<Changed>);

    /// All keys changed.
    fn all_changed(&self, epoch: u64);

    /// The connection of `epoch`, which is about to be used, leads to another server than the last one.
    fn failed_over(&self, epoch: u64) {
        let _ = epoch;
    }

    /// On the connection of `epoch` Redis has answered a question that was asked after
    /// [`Link::prove`](crate::connection::supervisor::Link::prove) with `number`: the watcher has heard of
    /// all changes until then of which the connection tells.
    fn proved(&self, epoch: u64, number: u64) {
        let _ = (epoch, number);
    }
}

/// What is tracked, and who gets to know.
pub struct Tracking {
    watcher: Arc<dyn Watcher>,
    /// All that are in use, overlapping or not.
    prefixes: Vec<Arc<str>>,
    changes: Changes,
}

impl Tracking {
    /// Tells `watcher` of changes of the keys under `prefixes`, in one of the ways of `changes`.
    #[must_use]
    pub fn new(watcher: Arc<dyn Watcher>, prefixes: &[Box<str>], changes: Changes) -> Self {
        let mut prefixes: Vec<Arc<str>> = prefixes.iter().map(|prefix| Arc::from(&**prefix)).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        Self {
            watcher,
            prefixes,
            changes,
        }
    }

    pub(crate) fn changes(&self) -> Changes {
        self.changes
    }

    /// The channels of all prefixes.
    pub(crate) fn channels(&self) -> Vec<String> {
        self.prefixes
            .iter()
            .map(|prefix| KeyNames::new(prefix).changes())
            .collect()
    }

    /// `CLIENT TRACKING ON`.
    pub(crate) fn plain(&self) -> Cmd {
        let mut command = redis::cmd("CLIENT");
        command.arg("TRACKING").arg("ON");
        command
    }

    /// `CLIENT TRACKING ON BCAST PREFIX P: ...`. Redis refuses prefixes that overlap: a shorter one covers
    /// them.
    pub(crate) fn broadcast(&self) -> Cmd {
        let mut command = self.plain();
        command.arg("BCAST");
        let mut prefixes: Vec<String> = self.prefixes.iter().map(|p| KeyNames::new(p).common()).collect();
        // In order, a prefix is behind the one that covers it, and only such are between the two.
        prefixes.sort_unstable();
        let mut last: Option<String> = None;
        for prefix in prefixes {
            if last.as_ref().is_some_and(|last| prefix.starts_with(last)) {
                continue;
            }
            command.arg("PREFIX").arg(&prefix);
            last = Some(prefix);
        }
        command
    }

    /// The connection of `epoch`, which leads to `server`, is ready to be used, and `rung` is how it tells
    /// what changes.
    pub(crate) fn connected(&self, epoch: u64, rung: Rung, server: &Target) {
        self.watcher.connected(epoch, rung, &server.to_string());
    }

    /// On the connection of `epoch` nothing that was told so far can be relied on.
    pub(crate) fn all_changed(&self, epoch: u64) {
        self.watcher.all_changed(epoch);
    }

    /// The connection of `epoch` leads to another server than the last one in use.
    pub(crate) fn failed_over(&self, epoch: u64) {
        self.watcher.failed_over(epoch);
    }

    /// The connection of `epoch` has been answered what was asked on it after `number` came.
    pub(crate) fn proved(&self, epoch: u64, number: u64) {
        self.watcher.proved(epoch, number);
    }

    /// The connection of `epoch` is given up.
    pub(crate) fn connection_lost(&self, epoch: u64) {
        self.watcher.connection_lost(epoch);
    }

    /// Called by the connection of `epoch` for each message that Redis pushes, in the order of the stream.
    pub(crate) fn on_push(&self, epoch: u64, push: PushInfo) {
        match push.kind {
            PushKind::Invalidate => match self.changed(push.data) {
                Some(changed) => self.watcher.changed(epoch, changed),
                None => self.watcher.all_changed(epoch),
            },
            PushKind::Disconnection => self.watcher.connection_lost(epoch),
            _ => {}
        }
    }

    /// Called for each message on a channel `P:changes`: names of keys, one a line, or anything else for all
    /// of them.
    pub(crate) fn on_message(&self, epoch: u64, message: &[u8]) {
        match self.published(message) {
            Some(changed) => self.watcher.changed(epoch, changed),
            None => self.watcher.all_changed(epoch),
        }
    }

    /// The keys of a message; `None` when it is about all keys, or about many, or not understood.
    fn published(&self, message: &[u8]) -> Option<Vec<Changed>> {
        let message = std::str::from_utf8(message)
            .ok()
            .filter(|text| !text.is_empty())?;
        let mut changed = Vec::new();
        for (number, key) in message.lines().enumerate() {
            if number >= MOST {
                return None;
            }
            let before = changed.len();
            changed.extend(self.prefixes.iter().filter_map(|prefix| of(prefix, key)));
            let is_uncached = |prefix: &Arc<str>| {
                let keys = KeyNames::new(prefix);
                [keys.token_use(), keys.token_owners()]
                    .iter()
                    .any(|name| name == key)
            };
            let is_understood = match changed.get(before..) {
                None | Some([]) => self.prefixes.iter().any(is_uncached),
                Some(named) => named.iter().all(is_one),
            };
            if !is_understood {
                return None;
            }
        }
        Some(changed)
    }

    /// The keys of an invalidation; `None` when it is about all keys, or about many.
    fn changed(&self, data: Vec<Value>) -> Option<Vec<Changed>> {
        let Some(Value::Array(keys)) = data.into_iter().next() else {
            return None;
        };
        if keys.len() > MOST {
            return None;
        }
        let mut changed = Vec::with_capacity(keys.len());
        for key in keys {
            let Value::BulkString(key) = key else { return None };
            // A key that is not UTF-8 is none of ours.
            if let Ok(key) = std::str::from_utf8(&key) {
                changed.extend(self.prefixes.iter().filter_map(|prefix| of(prefix, key)));
            }
        }
        Some(changed)
    }
}

/// Whether a change that somebody has written down is about one user, one group or one key: not where it
/// looks like a pattern, or has a blank at its end.
fn is_one(changed: &Changed) -> bool {
    match changed {
        Changed::User { name, .. } | Changed::Group { name, .. } => {
            UserName::parse(name.as_bytes()).is_ok()
                && name.trim().len() == name.len()
                && !name.contains(['*', '?', '['])
        }
        Changed::Passwords { .. } | Changed::Backends { .. } => true,
    }
}

/// Which of the schema's keys `key` is under `prefix`.
fn of(prefix: &Arc<str>, key: &str) -> Option<Changed> {
    let known = KeyNames::new(prefix).known(key)?;
    let prefix = Arc::clone(prefix);
    Some(match known {
        Known::User(name) => Changed::User {
            prefix,
            name: name.into(),
        },
        Known::Group(name) => Changed::Group {
            prefix,
            name: name.into(),
        },
        Known::Passwords => Changed::Passwords { prefix },
        Known::Backends => Changed::Backends { prefix },
    })
}

#[cfg(test)]
mod tests {
    use super::{Changed, Changes, MOST, Rung, Tracking, Watcher};
    use redis::Value;
    use std::sync::Arc;

    struct Nobody;

    impl Watcher for Nobody {
        fn connected(&self, _: u64, _: Rung, _: &str) {}
        fn connection_lost(&self, _: u64) {}
        fn changed(&self, _: u64, _: Vec<Changed>) {}
        fn all_changed(&self, _: u64) {}
    }

    fn tracking(prefixes: &[&str]) -> Tracking {
        let prefixes: Vec<Box<str>> = prefixes.iter().map(|prefix| Box::from(*prefix)).collect();
        Tracking::new(Arc::new(Nobody), &prefixes, Changes::Auto)
    }

    fn command(prefixes: &[&str]) -> String {
        let packed = tracking(prefixes).broadcast().get_packed_command();
        let packed = String::from_utf8(packed).unwrap();
        let words: Vec<&str> = packed
            .split("\r\n")
            .filter(|word| !word.starts_with(['$', '*']))
            .collect();
        words.join(" ").trim_end().to_owned()
    }

    #[test]
    fn prefixes_that_overlap_are_left_out() {
        assert_eq!(command(&["P"]), "CLIENT TRACKING ON BCAST PREFIX P:");
        assert_eq!(
            command(&["b", "a", "a:x", "ab", "a", "a:x:y", "a0"]),
            "CLIENT TRACKING ON BCAST PREFIX a0: PREFIX a: PREFIX ab: PREFIX b:"
        );
        assert_eq!(command(&["", ":x"]), "CLIENT TRACKING ON BCAST PREFIX :");
    }

    fn changes(prefixes: &[&str], keys: &[&str]) -> Option<Vec<Changed>> {
        let keys = keys.iter().map(|key| Value::BulkString(key.as_bytes().to_vec()));
        tracking(prefixes).changed(vec![Value::Array(keys.collect())])
    }

    #[test]
    fn keys_are_those_of_the_schema() {
        let prefix: Arc<str> = "P".into();
        let p = || Arc::clone(&prefix);
        assert_eq!(
            changes(
                &["P", "Q"],
                &[
                    "P:user:alice",
                    "P:group:team",
                    "P:passwords",
                    "P:backends",
                    "P:other",
                    "Q",
                    "P:user"
                ]
            )
            .unwrap(),
            [
                Changed::User {
                    prefix: p(),
                    name: "alice".into()
                },
                Changed::Group {
                    prefix: p(),
                    name: "team".into()
                },
                Changed::Passwords { prefix: p() },
                Changed::Backends { prefix: p() },
            ]
        );
    }

    #[test]
    fn a_key_may_be_one_of_two_prefixes() {
        let changed = changes(&["a", "a:user"], &["a:user:passwords"]).unwrap();
        let user = Changed::User {
            prefix: "a".into(),
            name: "passwords".into(),
        };
        let passwords = Changed::Passwords {
            prefix: "a:user".into(),
        };
        assert_eq!(changed, [user, passwords]);
    }

    #[test]
    fn what_is_not_understood_is_everything() {
        let tracking = tracking(&["P"]);
        assert_eq!(tracking.changed(vec![Value::Nil]), None);
        assert_eq!(tracking.changed(Vec::new()), None);
        assert_eq!(tracking.changed(vec![Value::Array(vec![Value::Int(1)])]), None);
        let bytes = Value::Array(vec![Value::BulkString(vec![0xff])]);
        assert_eq!(tracking.changed(vec![bytes]), Some(Vec::new()));
    }

    #[test]
    fn a_message_names_keys_and_anything_else_is_everything() {
        let tracking = tracking(&["P", "Q"]);
        let prefix: Arc<str> = "P".into();
        let alice = Changed::User {
            prefix: Arc::clone(&prefix),
            name: "alice".into(),
        };
        let passwords = Changed::Passwords { prefix };
        assert_eq!(
            tracking
                .published(b"P:user:alice\nP:token-use\nP:passwords")
                .unwrap(),
            [alice.clone(), passwords]
        );
        assert_eq!(tracking.published(b"P:user:alice\n").unwrap(), [alice]);
        assert_eq!(
            tracking.published(b"P:token-use\nQ:token-owners"),
            Some(Vec::new())
        );
        for odd in [
            &b"*"[..],
            b"",
            b"\n",
            b"P:*",
            b"P:user:*",
            b"P:user:a*",
            b"P:user:",
            b"P:user:a/b",
            b"P:user:alice ",
            b" P:user:alice",
            b"P:user:alice\r",
            b"P:user:alice\0",
            b"P:group: team",
            b"P:passwords ",
            b"P:users:alice",
            b"P:other",
            b"p:user:alice",
            b"alice",
            b"R:user:alice",
            b"P",
            b"\xff",
            b"P:user:alice\n\nP:passwords",
        ] {
            assert_eq!(tracking.published(odd), None, "{odd:?}");
        }
    }
    #[test]
    fn many_changes_in_one_message_are_everything() {
        let tracking = tracking(&["P"]);
        let lines = |count: usize| "P:user:alice\n".repeat(count);
        let published = |count| tracking.published(lines(count).as_bytes()).map(|keys| keys.len());
        assert_eq!(published(MOST), Some(MOST));
        assert_eq!(published(MOST + 1), None);
        let keys = |count| vec![Value::BulkString(b"P:user:alice".to_vec()); count];
        let changed = |count| {
            tracking
                .changed(vec![Value::Array(keys(count))])
                .map(|keys| keys.len())
        };
        assert_eq!(changed(MOST), Some(MOST));
        assert_eq!(changed(MOST + 1), None);
    }
}
