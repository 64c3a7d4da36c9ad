//! The shared zone, seen from a worker: what is known without asking, and what becomes of answers and of news
//! from Redis.
//!
//! `lookup` asks the zone and puts into it, by the keys of `key`; `failures` counts failed logins there. Only
//! nginx's thread comes here. Records are copied out before the lock is released, and a worker goes by its
//! copy while the zone's generation stands. A fact is trusted only while Redis tells this worker of changes
//! (or can tell nobody, and the time to live is all there is); see `store` for who calls what.

use std::rc::Rc;
use std::sync::Arc;

use registry_auth::codec::AccountState;
use registry_auth::{Denial, TokenDigest, UserNameBuf};
use registry_auth_cache::worker_cache::Lookup;
use registry_auth_cache::{
    COUNTERS, Cache, DOUBT, GAUGES, GENERATION, Hears, Interner, Mark, SecretKeys, Tag, UNBOUND, UNHEARD,
    WorkerCache,
};
use registry_auth_lookup::{Changed, Keyspace, Outcome, Rung};
use registry_auth_metrics::Changes;

use crate::conf::CacheOptions;
use crate::ffi::event;
use crate::ffi::shm::{Locked, Zone};
use crate::request::credential::Credential;
use crate::request::identity::Identity;
use crate::worker::process;
use crate::worker::state::{WORKER, ZoneCache};
use key::{EntryKind, Key, entry, write_key};

pub mod failures;
mod key;
mod lookup;

/// Lends the zone's cache to `f`, to look at; `None` where there is none.
#[inline]
fn with_cache<T>(f: impl FnOnce(&ZoneCache) -> Option<T>) -> Option<T> {
    WORKER.with(|worker| worker.cache.borrow().as_ref().and_then(f))
}

/// Lends the zone's cache to `f`; `None` where there is none.
#[inline]
fn with_cache_mut<T>(f: impl FnOnce(&mut ZoneCache) -> Option<T>) -> Option<T> {
    WORKER.with(|worker| worker.cache.borrow_mut().as_mut().and_then(f))
}

/// What the zone says to a request.
pub enum ZoneAnswer {
    /// There is no zone, or the request cannot be looked up in it.
    None,
    /// Nothing: the store is to be asked, and its answer put with this.
    Miss(Miss),
    /// The user, verified; or the anonymous, where nobody was asked for.
    Known(Rc<Identity>),
    /// No such user, or not this password.
    Wrong,
    /// What was sent was right, and is good no more.
    Denied(Denial),
}

/// What this worker makes of a header before it asks the zone.
pub enum Header {
    /// It is to be read.
    Unread,
    /// This is who the zone said that it comes from, and may say so no more. Its credential is the same:
    /// reading a header costs as much as all the rest of a cached request.
    Past(Rc<Identity>),
    /// The zone said not long ago whose it is, and that still holds.
    Known(Rc<Identity>),
}

/// What a miss leaves behind for the answer that is to be put.
#[derive(Clone, Copy)]
pub struct Miss {
    /// What has changed since this is not put: an answer may be older than a change of which another worker
    /// has heard.
    mark: Mark,
    tags: Tags,
    /// The stored password for which this one was found to be right before.
    verified: Option<AccountState>,
}

impl Miss {
    /// Fingerprints of what was sent.
    pub fn tags(&self) -> Tags {
        self.tags
    }

    /// The fingerprint of the stored password for which this one was found to be right before.
    pub fn verified(&self) -> Option<AccountState> {
        self.verified
    }
}

/// The fingerprint of what was sent.
#[derive(Clone, Copy)]
pub struct Tags {
    /// For the header, or what a form has in its place: a worker knows it by that, without reading it.
    pub header: Tag,
    /// For the user and the password in it, however they were spelled; or for the header, where there is
    /// none.
    pub credential: Tag,
}

impl From<Tag> for Tags {
    fn from(tag: Tag) -> Self {
        Self {
            header: tag,
            credential: tag,
        }
    }
}

/// How old an answer may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// As fresh as Redis itself.
    Fresh,
    /// Redis is unreachable.
    Stale,
}

/// Starts with the zone of the configuration, whose records come from `source`.
pub fn start(options: CacheOptions, source: u64) {
    let keys = with_zone(&options.zone, |cache| {
        cache.bind_source(source);
        cache.keys()
    });
    let cache = keys.map(|keys| ZoneCache {
        options,
        keys,
        worker_cache: WorkerCache::default(),
        interner: Interner::default(),
        me: process::me(),
        source,
        trusted: false,
        changes: Changes::Unreachable,
    });
    WORKER.with(|worker| worker.cache.replace(cache));
}

/// Leaves the zone to the other workers.
pub fn stop() {
    if let Some(ours) = WORKER.with(|worker| worker.cache.take()) {
        with_zone(&ours.options.zone, |cache| {
            if !cache.is_bound_to(ours.source) {
                return;
            }
            cache.remove_watcher(ours.me, event::now(), process::is_alive);
            // Redis tells no other worker of what this one has put.
            if ours.changes == Changes::PlainTracking {
                cache.invalidate_all();
            }
        });
    }
}

/// Whether old answers are used while Redis cannot be reached.
pub fn is_stale_allowed() -> bool {
    with_cache(|ours| (ours.options.stale > 0).then_some(())).is_some()
}

/// Whether what the zone has is used without asking Redis.
pub fn is_trusted() -> bool {
    with_cache(|ours| ours.trusted.then_some(())).is_some()
}

/// What is known of a header (an empty one: of none) in this space without asking the zone; `None` where
/// there is no zone.
pub fn header(space: &Arc<Keyspace>, header: &[u8]) -> Option<(Tag, Header)> {
    with_cache(|ours| {
        let tag = ours.keys.salted_tag(&space.salt, header);
        // What was said goes with the loss of Redis, which changes the generation; no worker goes by anything
        // while it is lost.
        let generation = || {
            if ours.trusted {
                ours.options.zone.peek(GENERATION)
            } else {
                None
            }
        };
        let known = |identity: &Rc<Identity>, is_current| match is_current {
            true => Header::Known(Rc::clone(identity)),
            false => Header::Past(Rc::clone(identity)),
        };
        let header = match ours.worker_cache.get(tag, event::now(), generation) {
            Lookup::Hit(identity) if identity.is_of(space) => known(identity, true),
            Lookup::Unnoted(identity) if identity.is_of(space) => {
                known(identity, ours.note_use(identity) || ours.confirm(space, identity))
            }
            Lookup::Due(identity) if identity.is_of(space) => known(identity, ours.confirm(space, identity)),
            Lookup::Stale(identity) if identity.is_of(space) => known(identity, false),
            Lookup::Hit(_) | Lookup::Unnoted(_) | Lookup::Due(_) | Lookup::Stale(_) | Lookup::Miss => {
                Header::Unread
            }
        };
        Some((tag, header))
    })
}

/// The fingerprint of a header in this space; `None` where there is no zone.
pub fn tag(space: &Keyspace, header: &[u8]) -> Option<Tag> {
    with_cache(|ours| Some(ours.keys.salted_tag(&space.salt, header)))
}

/// The fingerprint of a user's password in this space; `None` where there is no zone.
pub fn password_tag(space: &Keyspace, user: &str, password: &[u8]) -> Option<Tag> {
    with_cache(|ours| Some(ours.keys.password_tag(&space.salt, user, password)))
}

/// Adds to the zone's counters, and says there what this worker has now.
pub fn add_up(more: &[u64; COUNTERS], gauges: [u32; GAUGES]) {
    with_cache(|ours| {
        with_zone(&ours.options.zone, |cache| {
            cache.counting_since(event::unix_seconds());
            cache.add_counters(more);
            cache.set_gauges(ours.me, gauges, process::is_alive);
        })
    });
}

/// This worker has nothing any more.
pub fn remove_gauges() {
    with_cache(|ours| with_zone(&ours.options.zone, |cache| cache.remove_gauges(ours.me)));
}

/// What the zone holds.
pub struct Census {
    /// The zone's name.
    pub name: Rc<str>,
    /// Its counters.
    pub counters: [u64; COUNTERS],
    /// Since when they count.
    pub since: u64,
    /// How many workers there are, how many of them Redis tells of changes, and what they have together.
    pub workers: (u32, usize, [u64; GAUGES]),
    /// The number of records.
    pub records: u32,
    /// The number of negative entries: users that do not exist, and counters of failed logins.
    pub negative_entries: u32,
    /// Bytes of free pages, and of all.
    pub pages: (u64, u64),
    /// How Redis tells this worker of changes.
    pub changes: Changes,
}

/// What the zone of this worker holds; `None` where there is none.
pub fn census() -> Option<Census> {
    with_cache(|ours| {
        let mut zone = ours.options.zone.lock()?;
        let pages = zone.pages();
        let mut cache = open(&mut zone)?;
        let (records, negative_entries) = cache.counts();
        let (workers, gauges) = cache.gauges(process::is_alive);
        Some(Census {
            name: Rc::clone(&ours.options.name),
            counters: cache.counters(),
            since: cache.counting_since(event::unix_seconds()),
            workers: (workers, cache.watchers(process::is_alive), gauges),
            records,
            negative_entries,
            pages,
            changes: ours.changes,
        })
    })
}

/// What the zone knows of the user of a credential.
pub fn find(space: &Arc<Keyspace>, credential: &Credential, tags: Tags, age: Age) -> ZoneAnswer {
    with_cache_mut(|ours| ours.find(space, credential, tags, age)).unwrap_or(ZoneAnswer::None)
}

/// Whose the access token was the last time. That user is let in only where the zone knows that the token is
/// in the user's record.
pub fn token_owner(space: &Keyspace, digest: &TokenDigest, age: Age) -> Option<UserNameBuf> {
    with_cache(|ours| ours.token_owner(space, digest, age))
}

/// Keeps whose the access token is said to be, for its next request in any worker. It lets nobody in, and
/// nobody is refused by it, so that no news from Redis needs to concern it: `registry-auth-lookup`'s
/// `token_owners` says why.
pub fn put_token_owner(space: &Keyspace, digest: &TokenDigest, user: &UserNameBuf) {
    with_cache(|ours| {
        ours.put_token_owner(space, digest, user);
        Some(())
    });
}

/// A secret that the workers share, and nobody else knows; `None` where there is no zone.
pub fn token_secret() -> Option<[u8; 32]> {
    with_cache(|ours| Some(*ours.keys.secret()))
}

/// The same, before the worker has begun with the zone.
pub fn token_secret_of(options: &CacheOptions) -> Option<[u8; 32]> {
    with_zone(&options.zone, |cache| *cache.keys().secret())
}

/// Keeps what the store answered to a request that had missed.
pub fn put(space: &Keyspace, credential: &Credential, miss: &Miss, outcome: &Outcome) {
    with_cache(|ours| {
        ours.put(space, credential, miss, outcome);
        Some(())
    });
}

/// Redis tells this worker of changes from now on in this way, if it tells of them at all.
pub fn tracking_started(rung: Rung) {
    with_cache_mut(|ours| {
        ours.changes = match rung {
            Rung::Broadcast => Changes::Tracking,
            Rung::Tracking => Changes::PlainTracking,
            Rung::Channel => Changes::Channel,
            Rung::Ttl => Changes::Expiry,
        };
        let hears = ours.hears()?;
        let watched = with_zone(&ours.options.zone, |cache| ours.watch(cache, hears));
        ours.trusted = watched.unwrap_or(false);
        Some(())
    });
}

/// Redis does not tell this worker of changes any more.
pub fn tracking_lost() {
    with_cache_mut(|ours| {
        ours.trusted = false;
        let hears = ours.hears();
        ours.changes = Changes::Unreachable;
        let hears = hears?;
        with_zone(&ours.options.zone, |cache| {
            if cache.is_bound_to(ours.source) {
                cache.lose_watcher(ours.me, hears, event::now(), process::is_alive);
            }
        })
    });
}

/// To be called once in a while: whether the zone's records are in doubt, and this worker can end that by
/// asking Redis for a sign of life. Then [`proved`] is to be called with this number when it has come.
pub fn question() -> Option<u64> {
    with_cache(|ours| {
        let zone = &ours.options.zone;
        let is_set = |offset| zone.peek(offset).is_some_and(|number| number != 0);
        let question = (is_set(DOUBT) || is_set(UNHEARD))
            .then(|| {
                with_zone(zone, |cache| {
                    if !cache.is_bound_to(ours.source) {
                        return None;
                    }
                    cache.settle(event::now(), process::is_alive);
                    cache.question(ours.me)
                })
            })
            .flatten()
            .flatten();
        if ours.changes == Changes::PlainTracking {
            ours.bury_the_dead();
        }
        question
    })
}

/// Redis has answered to this worker what it has asked after [`question`] gave this number, and what had
/// changed before has been heeded.
pub fn proved(number: u64) {
    with_cache(|ours| {
        with_zone(&ours.options.zone, |cache| {
            if cache.is_bound_to(ours.source) {
                cache.vouch(ours.me, number);
            }
        })
    });
}

/// Everything has changed.
pub fn invalidate_all() {
    with_worker_zone(|_, cache| cache.invalidate_all());
}

/// These keys have changed.
pub fn changed(changes: &[Changed]) {
    with_worker_zone(|keys, cache| {
        let mut key = Key::new();
        for change in changes {
            match change {
                Changed::User { prefix, name } => {
                    write_key(&mut key, EntryKind::User, prefix, name);
                    cache.invalidate_user(entry(keys, &key));
                    continue;
                }
                Changed::Group { prefix, name } => write_key(&mut key, EntryKind::Group, prefix, name),
                Changed::Backends { prefix } => write_key(&mut key, EntryKind::Defaults, prefix, ""),
                Changed::Passwords { .. } => {
                    cache.invalidate_passwords();
                    continue;
                }
            }
            cache.invalidate(entry(keys, &key));
        }
    });
}

impl ZoneCache {
    /// Of which changes this worker hears; `None` while Redis cannot be reached.
    fn hears(&self) -> Option<Hears> {
        match self.changes {
            Changes::Tracking => Some(Hears::All),
            Changes::PlainTracking => Some(Hears::OwnReads),
            Changes::Channel => Some(Hears::Published),
            Changes::Expiry => Some(Hears::Nothing),
            Changes::Unreachable => None,
        }
    }

    /// Nobody hears of changes of what a worker had read that was killed. Processes are looked for without
    /// the lock.
    fn bury_the_dead(&self) {
        let zone = &self.options.zone;
        let readers = with_zone(zone, |cache| cache.own_readers()).unwrap_or_default();
        for dead in readers.into_iter().filter(|reader| !process::is_alive(*reader)) {
            with_zone(zone, |cache| cache.bury(dead));
        }
    }

    /// Takes over the keys of a zone that was set up anew, because a process died in the middle of a change.
    /// The zone is not bound to a source yet: the first worker that notices binds it, and it fills again. Nor
    /// does it know who watches: each worker that puts something there has to be written down before.
    fn adopt(&mut self, cache: &mut Cache<'_, Locked<'_>>) {
        self.keys = cache.keys();
        self.worker_cache.clear();
        self.interner = Interner::default();
        if cache.is_bound_to(UNBOUND) {
            cache.bind_source(self.source);
        }
        if let Some(hears) = self.hears() {
            self.trusted = self.watch(cache, hears);
        }
    }

    /// Writes down that Redis tells this worker of changes. Whether the zone's records can be trusted then.
    fn watch(&self, cache: &mut Cache<'_, Locked<'_>>, hears: Hears) -> bool {
        if !cache.is_bound_to(self.source) {
            return false;
        }
        let is_known = cache.add_watcher(self.me, hears, event::now(), process::is_alive);
        // Where others hear of nothing that this worker reads, they must notice its death.
        is_known || hears != Hears::OwnReads
    }
}

fn open<'m, 'z>(zone: &'m mut Locked<'z>) -> Option<Cache<'m, Locked<'z>>> {
    Cache::open(zone, || {
        let mut random = [0; 32];
        // Without random numbers there is no secret key, and so no cache.
        getrandom::fill(&mut random)
            .ok()
            .map(|()| SecretKeys::new(random))
    })
}

fn with_zone<T>(zone: &Zone, f: impl FnOnce(&mut Cache<'_, Locked<'_>>) -> T) -> Option<T> {
    let mut zone = zone.lock()?;
    open(&mut zone).map(|mut cache| f(&mut cache))
}

fn with_worker_zone<T>(f: impl FnOnce(&SecretKeys, &mut Cache<'_, Locked<'_>>) -> T) -> Option<T> {
    with_cache_mut(|ours| {
        let zone = ours.options.zone.clone();
        let mut zone = zone.lock()?;
        let mut cache = open(&mut zone)?;
        if !cache.has_keys(&ours.keys) {
            ours.adopt(&mut cache);
        }
        Some(f(&ours.keys, &mut cache))
    })
}
