//! The shared zone, seen from a worker: what is known without asking, and what becomes of answers and of news from Redis.
//!
//! Only nginx's thread comes here. Records are copied out before the lock is released. A fact is trusted only while Redis tells
//! this worker of changes (or can tell nobody, and the time to live is all there is); see `completions` for who calls what.

use std::cell::RefCell;

use registry_auth::codec::{self, RecordRef};
use registry_auth::UserName;
use registry_auth_cache::{Cache, Fact, Failures, Found, Keys, Known, Moment, Process, Put, Tag};
use registry_auth_redis::{Changed, Outcome, Space};

use crate::ffi::event;
use crate::ffi::request::{Kept, Request};
use crate::ffi::shm::{Locked, Zone};
use crate::process;

/// Milliseconds for which a user who does not exist is remembered, at most: the only facts that strangers can make.
const UNKNOWN: u64 = 10_000;
/// Longest key of an entry: longer names are not cached.
const KEY: usize = 512;

/// `registry_auth_cache`.
#[derive(Clone, Copy)]
pub struct Options {
    /// Where.
    pub zone: Zone,
    /// Milliseconds for which an answer is fresh.
    pub ttl: u64,
    /// Milliseconds for which it is borne while Redis is unreachable.
    pub stale: u64,
}

/// What a worker knows of its zone.
struct Worker {
    options: Options,
    /// A copy of the zone's keys, to hash before locking.
    keys: Keys,
    me: Process,
    /// Whether facts can be trusted now.
    trusted: bool,
}

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// What the zone says to a request.
pub enum Answer {
    /// There is no zone, or the request cannot be looked up in it.
    None,
    /// Nothing: the store is to be asked, and its answer put with this.
    Miss(Miss),
    /// The user is verified.
    Verified {
        /// The user's record.
        record: Kept,
        /// The defaults' record, where the user's has no backend.
        defaults: Option<Kept>,
    },
    /// No such user, or not this password.
    Wrong,
    /// Nobody was asked for; the defaults.
    Defaults(Kept),
}

/// What a miss leaves behind for the answer that is to be put.
#[derive(Clone, Copy)]
pub struct Miss {
    /// The zone's epoch: an answer asked for in an earlier one is not put.
    epoch: u64,
    /// Stands for the credential.
    tag: Option<Tag>,
    keys: Keys,
}

/// How old an answer may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// As fresh as Redis itself.
    Fresh,
    /// Redis is unreachable.
    Stale,
}

/// Whose entry it is.
#[derive(Clone, Copy)]
enum Kind {
    User = b'u' as isize,
    Group = b'g' as isize,
    Defaults = b'd' as isize,
    Failures = b'f' as isize,
}

/// Starts with the zone of the configuration.
pub fn start(options: Options) {
    let keys = with_zone(options.zone, |cache| cache.keys());
    WORKER.set(keys.map(|keys| Worker {
        options,
        keys,
        me: process::me(),
        trusted: false,
    }));
}

/// Leaves the zone to the other workers.
pub fn stop() {
    if let Some(worker) = WORKER.take() {
        with_zone(worker.options.zone, |cache| cache.leave(worker.me));
    }
}

/// Whether old answers are borne while Redis is unreachable.
pub fn is_stale_allowed() -> bool {
    WORKER.with_borrow(|worker| worker.as_ref().is_some_and(|worker| worker.options.stale > 0))
}

/// Seconds for which this client has to wait before it may try another password for this user.
pub fn blocked(request: &Request, space: &Space, user: UserName<'_>, limit: Failures) -> Option<u32> {
    let mut left = None;
    with_worker_zone(|worker, cache| {
        let mut buffer = [0; KEY];
        let key = failure_key(&mut buffer, request, space, user.as_str().as_bytes());
        let fact = key.map(|key| Fact {
            key,
            hash: worker.keys.hash(key),
        });
        left = fact.and_then(|fact| cache.blocked(fact, limit, event::now()));
    });
    left.map(|left| u32::try_from(left.div_ceil(1000)).unwrap_or(u32::MAX))
}

/// Counts a wrong password.
pub fn failed(request: &Request, space: &Space, user: &[u8], miss: &Miss, limit: Failures) {
    with_worker_zone(|worker, cache| {
        let mut buffer = [0; KEY];
        let key = failure_key(&mut buffer, request, space, user);
        if let (Some(key), Some(tag)) = (key, miss.tag) {
            cache.failed(
                Fact {
                    key,
                    hash: worker.keys.hash(key),
                },
                tag,
                limit,
                event::now(),
            );
        }
    });
}

/// Who failed: the user and, behind a NUL, the client.
fn failure_key<'b>(
    buffer: &'b mut [u8; KEY],
    request: &Request,
    space: &Space,
    user: &[u8],
) -> Option<&'b [u8]> {
    let who = [user, b"\0", request.client()].concat();
    entry_key(buffer, Kind::Failures, &space.prefix, &who)
}

/// What is known of a user and the header that holds their credential; without a user, the defaults.
pub fn find(request: &Request, space: &Space, user: Option<UserName<'_>>, header: &[u8], age: Age) -> Answer {
    WORKER.with_borrow_mut(|worker| match worker {
        Some(worker) => worker
            .find(request, space, user, header, age)
            .unwrap_or(Answer::None),
        None => Answer::None,
    })
}

/// Keeps what the store answered to a request that had missed.
pub fn put(space: &Space, user: Option<&[u8]>, miss: &Miss, outcome: &Outcome) {
    WORKER.with_borrow(|worker| {
        if let Some(worker) = worker {
            worker.put(space, user, miss, outcome);
        }
    });
}

/// Redis tells this worker of every change from now on, or of none ever.
pub fn armed() {
    WORKER.with_borrow_mut(|worker| {
        if let Some(worker) = worker {
            with_zone(worker.options.zone, |cache| {
                cache.guard(worker.me, process::is_alive)
            });
            worker.trusted = true;
        }
    });
}

/// Redis tells this worker nothing any more.
pub fn lost() {
    WORKER.with_borrow_mut(|worker| {
        if let Some(worker) = worker {
            worker.trusted = false;
            with_zone(worker.options.zone, |cache| {
                cache.leave(worker.me);
                cache.forget_freshness(event::now());
            });
        }
    });
}

/// Everything has changed.
pub fn flushed() {
    with_worker_zone(|_, cache| cache.forget_all());
}

/// These keys have changed.
pub fn changed(keys: &[Changed]) {
    with_worker_zone(|worker, cache| {
        for key in keys {
            let (kind, prefix, name): (_, &str, &str) = match key {
                Changed::User { prefix, name } => (Kind::User, prefix, name),
                Changed::Group { prefix, name } => (Kind::Group, prefix, name),
                Changed::Backends { prefix } => (Kind::Defaults, prefix, ""),
                Changed::Passwords { .. } => {
                    cache.forget_passwords();
                    continue;
                }
            };
            let mut buffer = [0; KEY];
            if let Some(key) = entry_key(&mut buffer, kind, prefix, name.as_bytes()) {
                cache.forget(Fact {
                    key,
                    hash: worker.keys.hash(key),
                });
            }
        }
    });
}

impl Worker {
    fn find(
        &mut self,
        request: &Request,
        space: &Space,
        user: Option<UserName<'_>>,
        header: &[u8],
        age: Age,
    ) -> Option<Answer> {
        let (mut user_key, mut defaults_key) = ([0; KEY], [0; KEY]);
        let user_key = match user {
            Some(user) => Some(entry_key(
                &mut user_key,
                Kind::User,
                &space.prefix,
                user.as_str().as_bytes(),
            )?),
            None => None,
        };
        let defaults_key = entry_key(&mut defaults_key, Kind::Defaults, &space.prefix, b"")?;
        let now = event::now();
        let moment = match age {
            Age::Fresh => Moment::Fresh(now),
            Age::Stale => Moment::Stale {
                now,
                bearable: self.options.stale,
            },
        };
        // Hashed before the lock; once more in the rare case that the zone was set up anew since.
        for _ in 0..2 {
            let keys = self.keys;
            let asked = user_key.map(|key| {
                (
                    Fact {
                        key,
                        hash: keys.hash(key),
                    },
                    keys.salted_tag(&space.salt, header),
                )
            });
            let mut zone = self.options.zone.lock();
            let mut cache = open(&mut zone)?;
            if !cache.has_keys(&keys) {
                self.keys = cache.keys();
                continue;
            }
            let miss = Miss {
                epoch: cache.epoch(),
                tag: asked.map(|(_, tag)| tag),
                keys,
            };
            if age == Age::Fresh && !self.trusted {
                return Some(Answer::Miss(miss));
            }
            let defaults = Fact {
                key: defaults_key,
                hash: 0,
            };
            let found = match asked {
                Some((fact, tag)) => known(request, &mut cache, fact, tag, defaults, moment),
                None => fact(request, &mut cache, defaults, moment).map(Answer::Defaults),
            };
            return Some(found.unwrap_or(Answer::Miss(miss)));
        }
        None
    }

    fn put(&self, space: &Space, user: Option<&[u8]>, miss: &Miss, outcome: &Outcome) {
        let (Outcome::Known { defaults, .. } | Outcome::Unknown { defaults }) = outcome else {
            return;
        };
        // All that takes long is done before the lock.
        let known = match outcome {
            Outcome::Known {
                user: record,
                verified,
                from_passwords,
                ..
            } => {
                let Some((record, password)) = without_password(record) else {
                    return;
                };
                Some((record, miss.keys.tag(&password), *verified, *from_passwords))
            }
            _ => None,
        };
        let (mut defaults_key, mut user_key) = ([0; KEY], [0; KEY]);
        let fact = |key| Fact {
            key,
            hash: miss.keys.hash(key),
        };
        let defaults_fact = entry_key(&mut defaults_key, Kind::Defaults, &space.prefix, b"").map(fact);
        let user_fact = user
            .and_then(|user| entry_key(&mut user_key, Kind::User, &space.prefix, user))
            .map(fact);

        let now = event::now();
        let expires = now.saturating_add(self.options.ttl);
        let mut zone = self.options.zone.lock();
        let Some(mut cache) = open(&mut zone) else { return };
        if !self.trusted || cache.epoch() != miss.epoch || !cache.has_keys(&miss.keys) {
            return;
        }
        if let Some(fact) = defaults_fact {
            cache.put_fact(fact, defaults, expires, now);
        }
        let (Some(fact), Some(tag)) = (user_fact, miss.tag) else {
            return;
        };
        match &known {
            Some((record, binding, verified, from_passwords)) => {
                let (binding, verified, from_passwords) = (*binding, *verified, *from_passwords);
                cache.put_user(
                    fact,
                    &Put {
                        record,
                        binding,
                        from_passwords,
                        tag,
                        verified,
                        expires,
                    },
                    now,
                );
            }
            None => cache.put_unknown(fact, now.saturating_add(self.options.ttl.min(UNKNOWN)), now),
        }
    }
}

/// What the zone knows of a user; `None` is a miss.
fn known(
    request: &Request,
    cache: &mut Cache<'_, Locked>,
    user: Fact<'_>,
    tag: Tag,
    defaults: Fact<'_>,
    moment: Moment,
) -> Option<Answer> {
    let record = match cache.user(user, tag, moment) {
        Found::Verified(record) => record,
        Found::Wrong => return Some(Answer::Wrong),
        Found::Nothing | Found::Unverified => return None,
    };
    let has_peers = RecordRef::decode(cache.record(record)).ok()?.has_peers();
    let record = copy(request, cache, record)?;
    // Whether the request will want a backend is not known yet: a user without one of their own needs the defaults.
    let defaults = match has_peers {
        true => None,
        false => Some(fact(request, cache, defaults, moment)?),
    };
    Some(Answer::Verified { record, defaults })
}

fn fact(request: &Request, cache: &mut Cache<'_, Locked>, fact: Fact<'_>, moment: Moment) -> Option<Kept> {
    let hash = cache.keys().hash(fact.key);
    let found = cache.fact(Fact { hash, ..fact }, moment)?;
    copy(request, cache, found)
}

fn copy(request: &Request, cache: &Cache<'_, Locked>, known: Known) -> Option<Kept> {
    request.keep(cache.record(known))
}

/// A record as it is kept: without the stored password, which nobody needs once it is verified, but for the mark of a locked
/// account; and the password, to bind credentials to.
fn without_password(record: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let view = RecordRef::decode(record).ok()?;
    let password = view.password_bytes().unwrap_or_default().to_vec();
    let mut owned = view.to_record().ok()?;
    owned.password = view.is_locked().then(|| "!".to_owned());
    let mut kept = Vec::with_capacity(record.len());
    codec::encode(&owned, &mut kept).ok()?;
    Some((kept, password))
}

/// The key of an entry, in `buffer`; `None` where it does not fit.
fn entry_key<'b>(buffer: &'b mut [u8; KEY], kind: Kind, prefix: &str, name: &[u8]) -> Option<&'b [u8]> {
    let length = 2 + prefix.len() + name.len();
    let (kind_at, rest) = buffer.get_mut(..length)?.split_first_mut()?;
    *kind_at = kind as u8;
    let (prefix_at, rest) = rest.split_at_mut_checked(prefix.len())?;
    prefix_at.copy_from_slice(prefix.as_bytes());
    // No prefix and no name has a NUL.
    let (nul, name_at) = rest.split_first_mut()?;
    *nul = 0;
    name_at.copy_from_slice(name);
    buffer.get(..length)
}

fn open<'z>(zone: &'z mut Locked) -> Option<Cache<'z, Locked>> {
    Cache::open(zone, || {
        let mut random = [0; 32];
        // Without random numbers there is no secret key, and so no cache.
        getrandom::fill(&mut random).ok().map(|()| Keys::new(random))
    })
}

fn with_zone<T>(zone: Zone, f: impl FnOnce(&mut Cache<'_, Locked>) -> T) -> Option<T> {
    let mut zone = zone.lock();
    open(&mut zone).map(|mut cache| f(&mut cache))
}

fn with_worker_zone(f: impl FnOnce(&Worker, &mut Cache<'_, Locked>)) {
    WORKER.with_borrow_mut(|worker| {
        if let Some(worker) = worker {
            let mut zone = worker.options.zone.lock();
            if let Some(mut cache) = open(&mut zone) {
                if !cache.has_keys(&worker.keys) {
                    worker.keys = cache.keys();
                }
                f(worker, &mut cache);
            }
        }
    });
}
