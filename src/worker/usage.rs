//! What is counted by user and by repository (`registry_auth_usage`), in a zone of its own.
//!
//! Called by the log phase, once for each request that was let through. Requests of one client to one
//! repository come in a row, as of a pull: what is the same as before is added up here, without a lock, and
//! goes into the zone with the next that is not, or a moment later. What is shown is collected in slices of
//! time. Only nginx's thread comes here.

use std::borrow::Cow;
use std::rc::Rc;

use registry_auth::UserName;
use registry_auth_cache::Memory;
use registry_auth_metrics::usage::Usage as Shown;
use registry_auth_usage::{Counts, Row, Table, Top, Usage};

use crate::conf::UsageOptions;
use crate::ffi::event::{self, Deferred, NginxThread};
use crate::ffi::shm::Zone;
use crate::request::identity::Identity;
use crate::worker::state::{UsageCounters, WORKER};

/// Milliseconds after which what was counted is in the zone.
const DELAY: usize = 1000;
/// What nginx gives of a zone comes in pages of so many bytes, or of a multiple of that.
const PAGE: usize = 4096;

/// Begins to count. `has_prefixes`: whether the users of several prefixes are to be told apart.
pub fn start(thread: NginxThread, options: &UsageOptions, has_prefixes: bool) {
    let counters = UsageCounters {
        zone: options.zone.clone(),
        top: options.top,
        has_prefixes,
        user: None,
        repository: Vec::new(),
        counts: Counts::default(),
        is_there: false,
        later: Deferred::new(thread, |_| flush()),
    };
    WORKER.with(|worker| worker.usage.replace(Some(counters)));
}

/// Leaves what was counted in the zone.
pub fn stop() {
    flush();
    WORKER.with(|worker| worker.usage.take());
}

/// What is counted, for one request.
pub struct Counting<'w>(&'w mut UsageCounters);

/// Lends what is counted to `f`, where anything is.
#[inline]
pub fn with(f: impl FnOnce(&mut Counting<'_>)) {
    WORKER.with(|worker| {
        if let Some(usage) = worker.usage.borrow_mut().as_mut() {
            f(&mut Counting(usage));
        }
    });
}

impl Counting<'_> {
    /// The counts of a user in a repository (an empty one: in none), to be added to. `is_there` says whether
    /// the answer shows that there is such a repository: one that there may not be takes nobody's place.
    // A call with all that it saves is a fifth of what a request is counted by.
    #[inline(always)]
    pub fn of(
        &mut self,
        user: Option<&Rc<Identity>>,
        repository: &[u8],
        is_there: impl FnOnce() -> bool,
    ) -> &mut Counts {
        let usage = &mut *self.0;
        if usage.counts.requests == 0 || !usage.is_of(user) || !is_same(&usage.repository, repository) {
            usage.begin(user, repository);
        }
        usage.is_there = usage.is_there || is_there();
        &mut usage.counts
    }
}

/// Whether two names are the same. Most are short: two numbers of each tell, without a call.
#[inline(always)]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let ends = |name: &[u8]| match name.len() {
        8..=16 => name
            .first_chunk::<8>()
            .copied()
            .zip(name.last_chunk::<8>().copied()),
        _ => None,
    };
    one.len() == other.len()
        && match (ends(one), ends(other)) {
            (Some(ends), Some(others)) => ends == others,
            _ => one == other,
        }
}

/// Puts into the zone what is not there yet.
fn flush() {
    WORKER.with(|worker| {
        if let Some(usage) = worker.usage.borrow_mut().as_mut() {
            usage.flush();
        }
    });
}

/// Places that are looked at while the zone is locked: the other workers count meanwhile.
const SLICE: usize = 512;

/// What is counted, being collected to be shown. There may be millions of names, and all are looked at.
pub struct Collecting {
    zone: Zone,
    since: u64,
    total: Counts,
    users: Names,
    repositories: Names,
}

/// The names of one table with the most requests.
struct Names {
    table: Table,
    top: Top,
    /// The places before this one were looked at.
    looked: usize,
    /// Whether those are all.
    is_seen: bool,
}

impl Collecting {
    /// Begins; `None` where nothing is counted.
    pub fn new() -> Option<Self> {
        WORKER.with(|worker| {
            let mut usage = worker.usage.borrow_mut();
            let ours = usage.as_mut()?;
            ours.flush();
            let (since, total) = with_zone(&ours.zone, |usage| (usage.since(), usage.total()))?;
            Some(Self {
                zone: ours.zone.clone(),
                since,
                total,
                users: Names::new(Table::Users, ours.top),
                repositories: Names::new(Table::Repositories, ours.top),
            })
        })
    }

    /// Collects for as long as `go_on` says. Whether that was all; `None` where the zone is gone.
    pub fn collect(&mut self, mut go_on: impl FnMut() -> bool) -> Option<bool> {
        Some(
            self.users.collect(&self.zone, &mut go_on)?
                && self.repositories.collect(&self.zone, &mut go_on)?,
        )
    }

    /// What was collected, which is with the caller from then on.
    pub fn take(&mut self) -> Shown {
        Shown {
            since: self.since,
            total: self.total,
            users: self.users.take(),
            repositories: self.repositories.take(),
        }
    }
}

impl Names {
    fn new(table: Table, count: usize) -> Self {
        Self {
            table,
            top: Top::new(count),
            looked: 0,
            is_seen: false,
        }
    }

    fn collect(&mut self, zone: &Zone, go_on: &mut impl FnMut() -> bool) -> Option<bool> {
        while !self.is_seen {
            if !go_on() {
                return Some(false);
            }
            let places = self.looked..self.looked + SLICE;
            self.looked = places.end;
            self.is_seen =
                with_zone(zone, |usage| usage.look(self.table, places, &mut self.top))? <= self.looked;
        }
        Some(self.top.order(go_on))
    }

    fn take(&mut self) -> Vec<Row> {
        std::mem::replace(&mut self.top, Top::new(0)).into_rows()
    }
}

impl UsageCounters {
    /// Begins with another user or repository.
    #[cold]
    #[inline(never)]
    fn begin(&mut self, user: Option<&Rc<Identity>>, repository: &[u8]) {
        self.flush();
        self.user = user.map(Rc::clone);
        self.repository.clear();
        self.repository.extend_from_slice(repository);
        self.later.post_in(DELAY);
    }

    /// Whether it is this user's requests that are added up. With a cache, one in a row with others is the
    /// same to the place in memory, and no name need be compared.
    #[inline(always)]
    fn is_of(&mut self, user: Option<&Rc<Identity>>) -> bool {
        match (&self.user, user) {
            (Some(ours), Some(user)) => Rc::ptr_eq(ours, user) || self.is_by_name(user),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether this is the same user from another place in memory, whose place is known from then on.
    #[cold]
    #[inline(never)]
    fn is_by_name(&mut self, user: &Rc<Identity>) -> bool {
        let is_same = |ours: &Rc<Identity>| ours.user() == user.user() && ours.is_of(user.space());
        if !self.user.as_ref().is_some_and(is_same) {
            return false;
        }
        self.user = Some(Rc::clone(user));
        true
    }

    fn flush(&mut self) {
        let mut counts = std::mem::take(&mut self.counts);
        let user = self.user.take();
        let is_there = std::mem::take(&mut self.is_there);
        if counts.pulls > 0 {
            // A second ago at most, and no earlier than any before it.
            counts.last_pull = event::unix_seconds();
        }
        if counts.requests > 0 {
            let name = user.as_ref().and_then(|identity| identity.user());
            let name = name.as_ref().map_or("", UserName::as_str);
            let prefix = user.as_ref().filter(|_| self.has_prefixes);
            let prefix = prefix.map(|identity| &*identity.space().prefix);
            let (name, repository) = (
                prefixed(prefix, name.as_bytes()),
                prefixed(prefix, &self.repository),
            );
            with_zone(&self.zone, |usage| match is_there {
                true => usage.add(&name, &repository, &counts),
                false => usage.add_to_known(&name, &repository, &counts),
            });
        }
    }
}

/// A name behind its prefix, where it has one. An empty name, as of the anonymous, stays empty.
fn prefixed<'n>(prefix: Option<&str>, name: &'n [u8]) -> Cow<'n, [u8]> {
    match prefix.filter(|_| !name.is_empty()) {
        Some(prefix) => Cow::Owned([prefix.as_bytes(), b":", name].concat()),
        None => Cow::Borrowed(name),
    }
}

/// Lends the counters of a zone, which are set up when it is new, to `f`.
fn with_zone<T>(zone: &Zone, f: impl FnOnce(&mut Usage<'_>) -> T) -> Option<T> {
    let mut locked = zone.lock()?;
    let root = match locked.root() {
        0 => {
            let pages = locked.bytes().len() / PAGE * PAGE;
            let root = locked.allocate(pages)?;
            // What was there is not ours.
            locked.bytes_mut().get_mut(root as usize..)?.get_mut(..8)?.fill(0);
            locked.set_root(root);
            root
        }
        root => root,
    };
    let block = locked.bytes_mut().get_mut(root as usize..)?;
    let seed = || {
        let mut random = [0; 8];
        // Without random numbers, who names things could choose which of them share a bucket: that costs
        // time, and a little.
        let _ = getrandom::fill(&mut random);
        u64::from_ne_bytes(random)
    };
    let mut usage = Usage::open(block, seed, event::unix_seconds()).ok()?;
    Some(f(&mut usage))
}
