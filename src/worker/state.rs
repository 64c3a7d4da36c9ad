//! What a worker process has for all requests, in one place: [`Worker`], which only nginx's thread uses.
//!
//! The modules beside this one say what is done with each part; [`super::start`] and [`super::stop`] in which
//! order they begin and end. Each part is borrowed by itself, since a request that one of them resumes may
//! use the others.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;

use registry_auth::cursor::CursorKeys;
use registry_auth::repeats::Repeats;
use registry_auth::share::{Places, Time};
use registry_auth::token::SigningKeys;
use registry_auth_cache::{COUNTERS, Interner, Process, SecretKeys, WorkerCache};
use registry_auth_lookup::{Event, Job, Store};
use registry_auth_metrics::Changes;
use registry_auth_usage::Counts;

use crate::conf::CacheOptions;
use crate::ffi::event::{Deferred, EventFd, NginxThread};
use crate::ffi::log::Level;
use crate::ffi::request::Request;
use crate::ffi::shm::Zone;
use crate::request::identity::Identity;

thread_local! {
    /// [`super::stop`] drops its parts. The end of the thread does not: to have it do so would cost each look
    /// at them 10 instructions.
    pub(super) static WORKER: ManuallyDrop<Worker> = const {
        ManuallyDrop::new(Worker {
            token_keys: RefCell::new(TokenKeys::NONE),
            store: RefCell::new(None),
            log: RefCell::new(None),
            turns: RefCell::new(None),
            cache: RefCell::new(None),
            counters: RefCell::new(None),
            usage: RefCell::new(None),
        })
    };
}

/// The parts of a worker; `None` before they are started, where they are not configured, and when they have
/// stopped.
pub(super) struct Worker {
    pub(super) token_keys: RefCell<TokenKeys>,
    pub(super) store: RefCell<Option<StoreQueue>>,
    pub(super) log: RefCell<Option<LimitedLog>>,
    pub(super) turns: RefCell<Option<Turns>>,
    pub(super) cache: RefCell<Option<ZoneCache>>,
    pub(super) counters: RefCell<Option<Counters>>,
    pub(super) usage: RefCell<Option<UsageCounters>>,
}

/// The helper thread, and what goes to it and comes from it.
pub(super) struct StoreQueue {
    pub(super) store: Store,
    /// The jobs of this round of the event loop.
    pub(super) batch: Vec<Job>,
    /// Room for the helper's events; the helper gets it back in exchange for the next ones.
    pub(super) events: Vec<Event>,
    pub(super) flush: Deferred,
    /// The next look whether the zone's records are in doubt, and how many of the next come quickly.
    pub(super) look: Deferred,
    pub(super) quick_looks: u32,
    /// Milliseconds for which a request waits at most.
    pub(super) wait: u64,
    /// Which Redis, without a password.
    pub(super) server: Arc<str>,
    /// The address of the one that this worker is connected to, where it hears of changes.
    pub(super) address: Option<Arc<str>>,
    /// How many questions are not answered yet.
    pub(super) waiting: u32,
    // After the store, which notifies it.
    pub(super) _event_fd: EventFd,
}

/// The zone, and what this worker knows of it.
pub(super) struct ZoneCache {
    pub(super) options: CacheOptions,
    /// A copy of the zone's keys, to hash before locking.
    pub(super) keys: SecretKeys,
    /// The identity that the zone gave for each header.
    pub(super) worker_cache: WorkerCache<Identity>,
    /// Copies of the records of groups and defaults, to which several identities refer.
    pub(super) interner: Interner,
    pub(super) me: Process,
    /// A number for the Redis that is asked and the prefixes that are watched.
    pub(super) source: u64,
    /// Whether the zone's records can be trusted now: Redis tells this worker of changes.
    pub(super) trusted: bool,
    /// How Redis tells this worker of changes.
    pub(super) changes: Changes,
}

/// What was counted and is not yet in the zone.
pub(super) struct Counters {
    pub(super) numbers: [u64; COUNTERS],
    pub(super) later: Deferred,
}

/// What is counted by user and by repository, and is not yet in its zone: that of one user in one repository.
pub(super) struct UsageCounters {
    pub(super) zone: Zone,
    /// How many names are shown.
    pub(super) top: usize,
    /// Whether there are several prefixes, in each of which one name is another user.
    pub(super) has_prefixes: bool,
    /// Whose requests these are; the anonymous has an identity without a name.
    pub(super) user: Option<Rc<Identity>>,
    pub(super) repository: Vec<u8>,
    pub(super) counts: Counts,
    /// Whether one of the answers shows that there is such a repository.
    pub(super) is_there: bool,
    pub(super) later: Deferred,
}

/// Which lines of the error log were written how often.
pub(super) struct LimitedLog {
    pub(super) repeats: Repeats<Level>,
    pub(super) later: Deferred,
    pub(super) thread: NginxThread,
}

/// The lists that are being made, and whose turn it is.
pub(super) struct Turns {
    pub(super) places: Places,
    pub(super) time: Time,
    /// Those that wait to be read, the next one first. Some may be gone.
    pub(super) queue: VecDeque<QueuedTurn>,
    /// The next turns.
    pub(super) later: Deferred,
}

/// A request that waits for its turn.
pub(super) struct QueuedTurn {
    pub(super) ticket: u64,
    pub(super) on_turn: fn(&mut Request),
}

/// The keys of tokens and of the catalogue's cursors.
pub(super) struct TokenKeys {
    /// What this worker signs tokens with, and verifies them.
    pub(super) signing: Signing,
    /// For the catalogue's cursors, where no zone has a secret for them.
    pub(super) cursors: Option<Rc<CursorKeys>>,
}

/// The keys of tokens.
pub(super) enum Signing {
    /// The configuration's keys.
    Configured(Rc<SigningKeys>),
    /// The zone's, and the secret that they were made of: a zone that is set up anew has another.
    Zone(Option<([u8; 32], Rc<SigningKeys>)>),
}

impl TokenKeys {
    pub(super) const NONE: Self = Self {
        signing: Signing::Zone(None),
        cursors: None,
    };
}
