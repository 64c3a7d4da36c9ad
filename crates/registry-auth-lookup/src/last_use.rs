//! When access tokens were last used: a remark for people, by day, in `P:token-use`.
//!
//! Called by `verify`, on the helper, for each right access token. These days and better hashes (`rehash`)
//! are all that the module ever writes, and only where [`crate::LookupOptions`] say so. Invariants: no job
//! waits for a write, and none fails with one; a token's day is written once by each worker, or again where
//! the worker's memory of days was full; what Redis refuses is logged once and not tried again on the same
//! connection.
//!
//! A write that comes just after its token was revoked leaves a field that nobody reads: ids are not used
//! again.

use redis::{ServerError, Value};
use registry_auth_redis::connection::cluster::is_elsewhere;
use registry_auth_redis::connection::open::describe;
use registry_auth_redis::connection::supervisor::{Link, Live};
use registry_auth_redis::log::{Level, Log};
use registry_auth_redis::schema::keys::{KeyNames, use_field};
use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time;

const DAY: u64 = 86_400;
/// Tokens whose day is remembered; one more forgets all, which costs a command for each.
const TOKENS: usize = 16_384;

pub(crate) struct LastUses {
    link: Link,
    /// Limit of a write.
    limit: Duration,
    log: Log,
    written: Mutex<Written>,
    hasher: RandomState,
}

impl LastUses {
    pub(crate) fn new(link: Link, limit: Duration, log: Log) -> Arc<Self> {
        Arc::new(Self {
            link,
            limit,
            log,
            written: Mutex::default(),
            hasher: RandomState::new(),
        })
    }

    /// The token has just been found, good until `expires`. Spawns a task if there is something to write: to
    /// be called on the helper.
    pub(crate) fn used(self: &Arc<Self>, prefix: &str, user: &str, id: &str, expires: u64) {
        let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else {
            return;
        };
        let now = now.as_secs();
        // Whoever asked refuses it; that is no use of it.
        if expires <= now {
            return;
        }
        let note = Note {
            day: now - now % DAY,
            token: self.hasher.hash_one((prefix, user, id)),
        };
        if !self.lock().begin(note) {
            return;
        }
        let live = self.link.up();
        let Some(live) = live.filter(|live| self.lock().refused != live.epoch) else {
            return self.lock().forget(note);
        };
        let key = KeyNames::new(prefix).token_use();
        let field = use_field(user, id);
        tokio::spawn(Arc::clone(self).write(live, key, field, note));
    }

    async fn write(self: Arc<Self>, mut live: Live, key: String, field: String, note: Note) {
        let mut command = redis::cmd("HSET");
        command.arg(&key).arg(&field).arg(note.day);
        let written = live.connection.send_packed_command(&command);
        match time::timeout(self.limit, written).await {
            // The slot is at another node, or on its way there: as good as gone.
            Ok(Ok(Value::ServerError(error))) if is_elsewhere(&error) => self.lock().forget(note),
            Ok(Ok(Value::ServerError(error))) => self.refused(live.epoch, &key, error, note),
            Ok(Ok(_)) => {}
            // The connection is slow or gone, which others notice: the token's next use is written.
            Ok(Err(_)) | Err(_) => self.lock().forget(note),
        }
    }

    fn refused(&self, epoch: u64, key: &str, error: ServerError, note: Note) {
        let is_new = {
            let mut written = self.lock();
            written.forget(note);
            std::mem::replace(&mut written.refused, epoch) != epoch
        };
        if is_new {
            let message = format!(
                "the last use of access tokens is not recorded in {key}, as Redis refuses it: {}",
                describe(&error.into())
            );
            self.log.write_once(key, Level::Notice, &message);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That a token was used on a day.
#[derive(Debug, Clone, Copy)]
struct Note {
    /// Its first second.
    day: u64,
    /// The keyed hash of prefix, user and id. Two tokens of one hash cost one of them its remark.
    token: u64,
}

/// What was written on the present day.
#[derive(Default)]
struct Written {
    day: u64,
    tokens: HashSet<u64>,
    /// The connection on which Redis last refused; they count from 1.
    refused: u64,
}

impl Written {
    /// Whether this is to be written. It counts as written from here on, so that it is not written twice at
    /// the same time.
    fn begin(&mut self, note: Note) -> bool {
        if self.day != note.day || self.tokens.len() >= TOKENS {
            self.tokens.clear();
            self.day = note.day;
        }
        self.tokens.insert(note.token)
    }

    /// It was not written after all.
    fn forget(&mut self, note: Note) {
        if self.day == note.day {
            self.tokens.remove(&note.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DAY, Note, TOKENS, Written};

    #[test]
    fn a_token_is_written_once_a_day() {
        let mut written = Written::default();
        let note = |day: u64, token| Note {
            day: day * DAY,
            token,
        };
        assert!(written.begin(note(1, 7)));
        assert!(!written.begin(note(1, 7)));
        assert!(written.begin(note(1, 8)));
        assert!(written.begin(note(2, 7)));
        assert!(!written.begin(note(2, 7)));
        assert!(written.begin(note(2, 8)));
        // A clock that is set back.
        assert!(written.begin(note(1, 7)));
        assert!(!written.begin(note(1, 7)));
    }

    #[test]
    fn what_was_not_written_is_written_next_time() {
        let mut written = Written::default();
        let note = Note { day: DAY, token: 7 };
        assert!(written.begin(note));
        written.forget(note);
        assert!(written.begin(note));
        // That yesterday's was not written says nothing about today's.
        let next = Note {
            day: 2 * DAY,
            token: 7,
        };
        assert!(written.begin(next));
        written.forget(note);
        assert!(!written.begin(next));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut written = Written::default();
        for token in 0..10 * TOKENS as u64 {
            assert!(written.begin(Note { day: DAY, token }));
            assert!(written.tokens.len() <= TOKENS);
        }
    }
}
