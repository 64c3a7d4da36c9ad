//! Weak password hashes, each replaced by argon2id when its owner logs in (`registry_auth_rehash`).
//!
//! Called by `verify` for each right password, only where [`crate::LookupOptions`] say so. Invariants: no
//! login waits for the new hash, and none fails with it; the pool computes the hash when no login waits
//! there; what is stored is replaced only if it still is the hash that the password was right for, in the key
//! and field where it was found (`WATCH`, `MULTI`), and nothing else of the record is touched; what Redis
//! refuses is said, and not tried again, for a while.
//!
//! `WATCH` belongs to a connection, and so does `MULTI`: on the one that all lookups share both would concern
//! whatever is sent between. So each replacement has a connection of its own, one at a time; each hash is
//! replaced once in its life.

use crate::messages::Keyspace;
use crate::verify::stored_hash::StoredHash;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use registry_auth::password;
use registry_auth::token::SigningKeys;
use registry_auth_redis::connection::cluster;
use registry_auth_redis::connection::locate::open;
use registry_auth_redis::connection::open::{AbortOnDrop, Failure, within};
use registry_auth_redis::log::{Level, Log};
use registry_auth_redis::schema::keys::{KeyNames, field};
use registry_auth_redis::{Endpoint, Secret};
use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Users whose hashes are being replaced at the same time; one more is left for the next login.
const UNDERWAY: usize = 256;
/// How often it is tried for one user when other fields of the same key are changed meanwhile.
const ATTEMPTS: u32 = 4;
/// For how long nothing is tried after Redis has refused it.
const PAUSE: Duration = Duration::from_secs(60);

/// What replaces hashes; one for the helper and the hashing threads.
pub(crate) struct Renewals {
    endpoint: Endpoint,
    connect_timeout: Duration,
    /// Limit of the exchange with Redis.
    limit: Duration,
    log: Log,
    /// The helper's runtime.
    helper: Handle,
    state: Mutex<RehashState>,
    /// Whose turn it is to connect.
    turn: tokio::sync::Mutex<()>,
    hasher: RandomState,
    /// The keys of tokens that stay valid.
    keys: Option<SigningKeys>,
}

#[derive(Default)]
struct RehashState {
    /// Keyed hashes of prefix and user. Two users of one hash wait for each other's next login.
    underway: HashSet<u64>,
    /// When Redis last refused.
    refused: Option<Instant>,
}

impl RehashState {
    /// Whether this is to be done; it counts as under way from here on.
    fn begin(&mut self, user: u64) -> bool {
        if self.refused.is_some_and(|at| at.elapsed() < PAUSE) || self.underway.len() >= UNDERWAY {
            return false;
        }
        self.underway.insert(user)
    }
}

impl Renewals {
    /// To be called on the helper, within its runtime.
    pub(crate) fn new(
        endpoint: Endpoint,
        connect_timeout: Duration,
        limit: Duration,
        log: Log,
        helper: Handle,
        keys: Option<SigningKeys>,
    ) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            connect_timeout,
            limit,
            log,
            helper,
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            hasher: RandomState::new(),
            keys,
        })
    }

    /// What is to be done for a user whose password has just been found right for this hash; `None`: nothing.
    pub(crate) fn begin(
        self: &Arc<Self>,
        space: &Keyspace,
        user: &str,
        own: bool,
        hash: &StoredHash,
        password: &Secret,
    ) -> Option<Renewal> {
        let old = hash.unlocked()?;
        if !password::is_to_be_renewed(old, password.expose()) {
            return None;
        }
        let number = self.hasher.hash_one((&*space.prefix, user));
        if !self.lock().begin(number) {
            return None;
        }
        let mark = self
            .keys
            .as_ref()
            .and_then(|keys| keys.mark(&space.prefix, user, old));
        let keys = KeyNames::new(&space.prefix);
        let (key, name) = match own {
            true => (keys.user(user), field::PASSWORD),
            false => (keys.passwords(), user),
        };
        Some(Renewal {
            renewals: Arc::clone(self),
            number,
            key,
            field: name.into(),
            old: old.into(),
            mark,
            password: password.clone(),
        })
    }

    fn refused(&self, failure: &Failure) {
        self.lock().refused = Some(Instant::now());
        let what = match failure {
            Failure::Redis(error) if error.code() == Some("NOPERM") => {
                "the Redis user of nginx needs +hmget +watch +multi +exec +hset and the right to write \
                 P:user:* and P:passwords"
            }
            _ => "it is tried again at a later login",
        };
        let message = format!(
            "weak password hashes stay, as Redis does not let registry_auth_rehash replace them \
             ({failure}): {what}"
        );
        self.log.write_once("rehash", Level::Warn, &message);
    }

    fn lock(&self) -> MutexGuard<'_, RehashState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One hash to be replaced. Dropped, it is left for the next login.
pub(crate) struct Renewal {
    renewals: Arc<Renewals>,
    number: u64,
    key: String,
    field: Box<str>,
    old: Box<str>,
    /// What keeps tokens valid that were issued before.
    mark: Option<[u8; 16]>,
    password: Secret,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.renewals.lock().underway.remove(&self.number);
    }
}

impl Renewal {
    /// Computes the new hash, on a thread of the pool, and has the helper store it.
    pub(crate) fn run(mut self) {
        let Some(new) = self.new_hash() else { return };
        let helper = self.renewals.helper.clone();
        helper.spawn(self.store(new));
    }

    fn new_hash(&mut self) -> Option<String> {
        let password = std::mem::take(&mut self.password);
        let new = if let Some(mark) = self.mark {
            password::rehash_argon2id(password.expose(), random()?, mark)
        } else {
            password::hash_argon2id(password.expose(), &random()?)
        };
        new.ok()
    }

    async fn store(self, new: String) {
        let renewals = &self.renewals;
        let _turn = renewals.turn.lock().await;
        match self.replace(&new).await {
            Ok(true) => {
                let message = format!(
                    "the weak password hash of {} {} is replaced",
                    self.key, self.field
                );
                renewals.log.write(Level::Info, &message);
            }
            // Somebody has changed it: what is there now is what they want.
            Ok(false) => {}
            // The slot is on its way to another node: it is tried again at the next login.
            Err(failure) if is_elsewhere(&failure) => {}
            Err(failure) => renewals.refused(&failure),
        }
    }

    /// Stores the new hash if the old one is there; whether it was.
    async fn replace(&self, new: &str) -> Result<bool, Failure> {
        let renewals = &self.renewals;
        let (connection, driver) = open(&renewals.endpoint, renewals.connect_timeout).await?;
        // Whatever is not finished ends with the connection.
        let _driver = AbortOnDrop(Some(driver));
        within(renewals.limit, async {
            for _ in 0..ATTEMPTS {
                if let Some(is_replaced) = self.attempt(connection.clone(), new).await? {
                    return Ok(is_replaced);
                }
            }
            Ok(false)
        })
        .await
    }

    /// `None`: somebody has changed the key meanwhile. Each command waits for the answer to the one before:
    /// sent together with a `WATCH` or a `MULTI` that is refused, the change would be carried out unguarded.
    async fn attempt(
        &self,
        mut connection: MultiplexedConnection,
        new: &str,
    ) -> Result<Option<bool>, Failure> {
        let mut ask = async |command: &Cmd| match connection.send_packed_command(command).await {
            Ok(Value::ServerError(error)) => Err(Failure::Redis(error.into())),
            Ok(value) => Ok(value),
            Err(error) => Err(Failure::Redis(error)),
        };
        ask(redis::cmd("WATCH").arg(&self.key)).await?;
        let stored = ask(redis::cmd("HMGET").arg(&self.key).arg(&*self.field)).await?;
        let is_old = |value: &Value| matches!(value, Value::BulkString(text) if text == self.old.as_bytes());
        if !matches!(&stored, Value::Array(items) if items.iter().any(is_old)) {
            return Ok(Some(false));
        }
        ask(&redis::cmd("MULTI")).await?;
        ask(redis::cmd("HSET").arg(&self.key).arg(&*self.field).arg(new)).await?;
        match ask(&redis::cmd("EXEC")).await? {
            Value::Nil => Ok(None),
            Value::Array(done) => match done.into_iter().next() {
                Some(Value::ServerError(error)) => Err(Failure::Redis(error.into())),
                _ => Ok(Some(true)),
            },
            _ => Err(Failure::Closed),
        }
    }
}

fn is_elsewhere(failure: &Failure) -> bool {
    matches!(failure, Failure::Redis(error) if cluster::is_redirection(error))
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{PAUSE, RehashState, UNDERWAY};
    use std::time::Instant;

    #[test]
    fn a_user_is_begun_once_at_a_time() {
        let mut state = RehashState::default();
        assert!(state.begin(7) && !state.begin(7) && state.begin(8));
        state.underway.remove(&7);
        assert!(state.begin(7));
    }

    #[test]
    fn so_many_at_a_time_and_no_more() {
        let mut state = RehashState::default();
        let begun = (0..10 * UNDERWAY as u64).filter(|user| state.begin(*user));
        assert_eq!(begun.count(), UNDERWAY);
    }

    #[test]
    fn nothing_is_begun_for_a_while_after_a_refusal() {
        let mut state = RehashState {
            refused: Some(Instant::now()),
            ..RehashState::default()
        };
        assert!(!state.begin(7));
        state.refused = Instant::now().checked_sub(PAUSE);
        assert!(state.begin(7));
    }
}
