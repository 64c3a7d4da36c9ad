//! Random operations against a reference that is too simple to be wrong: maps that forget nothing on their
//! own.
//!
//! The cache may forget, so each answer must be one that the reference gives. In a block with room for all it
//! must be the same.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::slab::Slab;
use super::{Client, SMALL, check, client, fact, keys, open};
use crate::Tag;
use crate::failures::RETRY_INTERVAL_MS;
use crate::worker_cache::Validity;
use crate::{Attempt, FailureLimits, Found, Freshness, Hears, LoginResult, NewRecord, Process, Reservation};

const LIMIT: FailureLimits = FailureLimits {
    per_user: 3,
    per_address: 7,
    period: 5_000,
};

#[derive(Clone, Debug)]
enum Op {
    PutUser {
        user: u8,
        record: u16,
        stored: u8,
        from_passwords: bool,
        password: u8,
        verified: bool,
        ttl: u16,
    },
    PutRecord {
        user: u8,
        record: u16,
        ttl: u16,
    },
    PutUnknown {
        user: u8,
        password: u8,
        ttl: u16,
    },
    Forget(u8),
    WasRight {
        user: u8,
        password: u8,
    },
    ForgetPasswords,
    ForgetAll,
    ForgetFreshness,
    Guard(u8),
    Vouch(u8),
    Leave(u8),
    Die(u8),
    User {
        user: u8,
        password: u8,
        stale: Option<u16>,
    },
    /// One of the copies that were made of what was found, whichever, is used again.
    UseCopy(usize),
    FindRecord {
        user: u8,
        stale: Option<u16>,
    },
    Attempt {
        who: Who,
        password: u8,
    },
    /// One of those under way, whichever.
    Settle {
        which: usize,
        settled: LoginResult,
    },
    Blocked {
        who: Who,
        password: u8,
    },
    Wait(u16),
}

/// A user, and the address that a login comes from.
type Who = (u8, u8);

const USERS: u8 = 24;
const ADDRESSES: u8 = 3;
const PASSWORDS: u8 = 7;

fn op() -> impl Strategy<Value = Op> {
    let (user, password) = (0..USERS, 0..PASSWORDS);
    let stale = || proptest::option::weighted(0.4, 0..4000u16);
    let ttl = || 1..6000u16;
    // Few users, so that limits are reached.
    let who = || (0..USERS / 4, 0..ADDRESSES);
    let settled = prop_oneof![
        4 => Just(LoginResult::Wrong),
        1 => Just(LoginResult::Right),
        1 => Just(LoginResult::Undecided),
    ];
    prop_oneof![
        12 => (user.clone(), any::<u16>(), 0..2u8, any::<bool>(), password.clone(), any::<bool>(), ttl())
            .prop_map(|(user, record, stored, from_passwords, password, verified, ttl)| Op::PutUser {
                user, record, stored, from_passwords, password, verified, ttl
            }),
        4 => (user.clone(), any::<u16>(), ttl())
            .prop_map(|(user, record, ttl)| Op::PutRecord { user, record, ttl }),
        4 => (user.clone(), password.clone(), ttl())
            .prop_map(|(user, password, ttl)| Op::PutUnknown { user, password, ttl }),
        3 => user.clone().prop_map(Op::Forget),
        6 => (user.clone(), password.clone()).prop_map(|(user, password)| Op::WasRight { user, password }),
        1 => Just(Op::ForgetPasswords),
        1 => Just(Op::ForgetAll),
        1 => Just(Op::ForgetFreshness),
        1 => (0..3u8).prop_map(Op::Guard),
        1 => (0..3u8).prop_map(Op::Vouch),
        1 => (0..3u8).prop_map(Op::Leave),
        1 => (0..3u8).prop_map(Op::Die),
        16 => (user.clone(), password.clone(), stale())
            .prop_map(|(user, password, stale)| Op::User { user, password, stale }),
        6 => any::<usize>().prop_map(Op::UseCopy),
        6 => (user.clone(), stale()).prop_map(|(user, stale)| Op::FindRecord { user, stale }),
        8 => (who(), password.clone()).prop_map(|(who, password)| Op::Attempt { who, password }),
        7 => (any::<usize>(), settled).prop_map(|(which, settled)| Op::Settle { which, settled }),
        4 => (who(), password).prop_map(|(who, password)| Op::Blocked { who, password }),
        4 => (0..3000u16).prop_map(Op::Wait),
    ]
}

/// What the reference knows of a key.
struct Entry {
    /// `None`: there is no such user.
    record: Option<Vec<u8>>,
    is_user: bool,
    stored: u8,
    right: Vec<u8>,
    wrong: Vec<u8>,
    epoch: u64,
    passwords_epoch: Option<u64>,
    expires: u64,
}

#[derive(Default)]
struct Reference {
    now: u64,
    entries: HashMap<u8, Entry>,
    epoch: u64,
    floor: u64,
    passwords_epoch: u64,
    lost: Option<u64>,
    /// Those that may vouch for others, and those for whom nobody has yet.
    guards: HashSet<u8>,
    newcomers: HashSet<u8>,
    dead: HashSet<u8>,
    doubt_ends: Option<u64>,
    last_put: u64,
    /// When which passwords failed.
    failures: HashMap<Who, Vec<(u64, u8)>>,
    counters: HashMap<Who, Counter>,
    addresses: HashMap<u8, Total>,
    under_way: Vec<(Who, u8, Reservation)>,
    /// Whose they are, what they hold, when they expire, and what was noted of each.
    copies: Vec<(u8, Vec<u8>, u64, Validity)>,
}

/// What counts for a client and a user, if nothing was forgotten.
#[derive(Default)]
struct Counter {
    ends: u64,
    failed: HashSet<u8>,
    under_way: HashSet<u8>,
}

/// What counts for a client.
#[derive(Default)]
struct Total {
    ends: u64,
    failed: u32,
    all: u32,
}

impl Reference {
    fn usable(&self, user: u8, moment: Freshness) -> Option<&Entry> {
        let found = self.entries.get(&user)?;
        let timely = match moment {
            Freshness::Fresh(now) => now < found.expires && found.epoch == self.epoch,
            Freshness::Stale { now, max_stale } => {
                let until = found
                    .expires
                    .min(self.lost.unwrap_or(u64::MAX))
                    .saturating_add(max_stale);
                now < until && found.epoch >= self.floor && self.doubt_ends.is_none()
            }
        };
        let current = found
            .passwords_epoch
            .is_none_or(|epoch| epoch == self.passwords_epoch);
        (timely && current).then_some(found)
    }

    #[allow(clippy::too_many_arguments, reason = "an operation and its parts")]
    fn put_user(
        &mut self,
        user: u8,
        record: Vec<u8>,
        stored: u8,
        from_passwords: bool,
        password: u8,
        verified: bool,
        ttl: u16,
    ) {
        let earlier = self
            .entries
            .remove(&user)
            .filter(|entry| entry.is_user && entry.stored == stored);
        let (mut right, mut wrong) = earlier
            .map(|entry| (entry.right, entry.wrong))
            .unwrap_or_default();
        right.retain(|known| *known != password);
        wrong.retain(|known| *known != password);
        match verified {
            true => right.insert(0, password),
            false => wrong.insert(0, password),
        }
        right.truncate(4);
        wrong.truncate(2);
        self.last_put = self.epoch;
        let passwords_epoch = from_passwords.then_some(self.passwords_epoch);
        let (epoch, expires) = (self.epoch, self.now + u64::from(ttl));
        let record = Some(record);
        self.entries.insert(
            user,
            Entry {
                record,
                is_user: true,
                stored,
                right,
                wrong,
                epoch,
                passwords_epoch,
                expires,
            },
        );
    }

    fn put_plain(&mut self, user: u8, record: Option<Vec<u8>>, ttl: u16) {
        self.last_put = self.epoch;
        let passwords_epoch = record.is_none().then_some(self.passwords_epoch);
        let (epoch, expires) = (self.epoch, self.now + u64::from(ttl));
        let (right, wrong) = Default::default();
        self.entries.insert(
            user,
            Entry {
                record,
                is_user: false,
                stored: 0,
                right,
                wrong,
                epoch,
                passwords_epoch,
                expires,
            },
        );
    }

    fn put_unknown(&mut self, user: u8, password: u8, ttl: u16) {
        let earlier = self.entries.remove(&user).filter(|entry| entry.record.is_none());
        let mut wrong = earlier.map(|entry| entry.wrong).unwrap_or_default();
        wrong.retain(|known| *known != password);
        wrong.insert(0, password);
        wrong.truncate(2);
        self.put_plain(user, None, ttl);
        if let Some(entry) = self.entries.get_mut(&user) {
            entry.wrong = wrong;
        }
    }

    fn forget_all(&mut self) {
        self.epoch += 1;
        self.floor = self.epoch;
        self.end_doubt();
    }

    fn end_doubt(&mut self) {
        self.doubt_ends = None;
        self.guards.extend(self.newcomers.drain());
    }

    fn settle(&mut self) {
        let is_guarded = self.guards.difference(&self.dead).next().is_some();
        if self
            .doubt_ends
            .is_some_and(|ends| ends <= self.now || !is_guarded)
        {
            self.forget_all();
        }
    }

    /// The counters of a client, which begin anew where they are over.
    fn open(&mut self, who: Who) -> (&mut Counter, &mut Total) {
        let ends = self.now + LIMIT.period;
        let counter = self.counters.entry(who).or_default();
        if counter.ends <= self.now {
            *counter = Counter {
                ends,
                ..Counter::default()
            };
        }
        let total = self.addresses.entry(who.1).or_default();
        if total.ends <= self.now {
            *total = Total {
                ends,
                ..Total::default()
            };
        }
        (counter, total)
    }

    /// Where nothing counts any more, no period is under way.
    fn close(&mut self, who: Who) {
        let is_nothing = |counter: &mut Counter| counter.failed.is_empty() && counter.under_way.is_empty();
        if self.counters.get_mut(&who).is_some_and(is_nothing) {
            self.counters.remove(&who);
        }
        if self.addresses.get(&who.1).is_some_and(|total| total.all == 0) {
            self.addresses.remove(&who.1);
        }
    }

    fn blocked(&self, who: Who) -> Option<u64> {
        let counter = self
            .counters
            .get(&who)
            .filter(|counter| counter.failed.len() >= LIMIT.per_user as usize)
            .map(|counter| counter.ends);
        let total = self
            .addresses
            .get(&who.1)
            .filter(|total| total.failed >= LIMIT.per_address)
            .map(|total| total.ends);
        let left = |ends: u64| ends.checked_sub(self.now).filter(|left| *left > 0);
        counter.and_then(left).max(total.and_then(left))
    }

    /// How long a password has to wait, be it right.
    fn wait(&self, who: Who, password: u8) -> Option<u64> {
        let counter = self.counters.get(&who).filter(|counter| counter.ends > self.now);
        let total = self.addresses.get(&who.1).filter(|total| total.ends > self.now);
        let is_counted =
            |counter: &Counter| counter.failed.contains(&password) || counter.under_way.contains(&password);
        let all = counter.map_or(0, |counter| counter.failed.len() + counter.under_way.len());
        let is_full =
            all >= LIMIT.per_user as usize || total.is_some_and(|total| total.all >= LIMIT.per_address);
        match self.blocked(who) {
            None if counter.is_some_and(is_counted) => None,
            None => is_full.then_some(RETRY_INTERVAL_MS),
            left => left,
        }
    }

    /// Whether the login may be tried, and whether it counts from now on.
    fn attempt(&mut self, who: Who, password: u8) -> Result<bool, u64> {
        if let Some(left) = self.blocked(who) {
            return Err(left);
        }
        let (counter, total) = self.open(who);
        if counter.failed.contains(&password) || counter.under_way.contains(&password) {
            return Ok(false);
        }
        let all = counter.failed.len() + counter.under_way.len();
        if all >= LIMIT.per_user as usize || total.all >= LIMIT.per_address {
            self.close(who);
            return Err(RETRY_INTERVAL_MS);
        }
        counter.under_way.insert(password);
        total.all += 1;
        Ok(true)
    }

    fn come_to(&mut self, who: Who, password: u8, began: (u64, u64), is_ours: bool, settled: LoginResult) {
        let (counter, total) = self.open(who);
        let in_period = (
            is_ours && began.0 == counter.ends,
            match is_ours {
                true => began.1 == total.ends,
                false => total.ends <= counter.ends,
            },
        );
        match settled {
            LoginResult::Wrong => {
                let was_under_way = counter.under_way.remove(&password);
                if counter.failed.insert(password) {
                    total.failed += 1;
                    total.all = match was_under_way {
                        true => total.all.max(total.failed),
                        false => total.all + 1,
                    };
                }
                let now = self.now;
                self.failures.entry(who).or_default().push((now, password));
            }
            LoginResult::Right | LoginResult::Undecided => {
                let is_open = settled == LoginResult::Undecided;
                if !is_open {
                    counter.failed.remove(&password);
                }
                if (!is_open || in_period.0) && counter.under_way.remove(&password) && in_period.1 {
                    total.all = total.failed.max(total.all.saturating_sub(1));
                }
            }
        }
        self.close(who);
    }

    /// How many different passwords failed since then.
    fn failures_since(&self, who: Who, since: u64) -> usize {
        let log = self.failures.get(&who).into_iter().flatten();
        log.filter(|(at, _)| *at >= since)
            .map(|(_, password)| password)
            .collect::<HashSet<_>>()
            .len()
    }

    /// Whether one has reached a limit since then.
    fn has_failed(&self, who: Who, since: u64) -> bool {
        self.failures_since(who, since) >= LIMIT.per_user as usize
            || self.failures_of(who.1, since) >= LIMIT.per_address as usize
    }

    /// How often one failed since then, whatever the user.
    fn failures_of(&self, address: u8, since: u64) -> usize {
        let logs = self.failures.iter().filter(|((_, other), _)| *other == address);
        logs.flat_map(|(_, log)| log)
            .filter(|(at, _)| *at >= since)
            .count()
    }
}

/// A key: some are long.
fn key(user: u8) -> Vec<u8> {
    format!("uprefix\0{}{user}", "x".repeat(usize::from(user % 5) * 30)).into_bytes()
}

/// Some names are long.
fn client_of((user, address): Who) -> Client {
    let user = "x".repeat(usize::from(user % 5) * 30) + &user.to_string();
    client(&user, &format!("10.0.0.{address}"))
}

/// Which process represents which guard.
fn process(guard: u8) -> Process {
    Process {
        id: 100 + u32::from(guard),
        started_at: 7,
    }
}

fn tag(password: u8) -> Tag {
    keys().unwrap().tag(&[b'p', password])
}

/// Few different records, so that some are put again; some large, so that they are of different sizes.
fn record(user: u8, seed: u16) -> Vec<u8> {
    let length = match seed % 8 {
        0 => 5000,
        1 => 700,
        2 => 300,
        _ => 60 + usize::from(seed % 5),
    };
    vec![user.wrapping_mul(31) ^ (seed % 16) as u8; length]
}

fn is_alive(dead: &HashSet<u8>, process: Process) -> bool {
    process.started_at == 7 && !dead.contains(&((process.id - 100) as u8))
}

fn run(size: usize, ops: &[Op], is_exact: bool) {
    let mut slab = Slab::new(size);
    let mut reference = Reference {
        epoch: 1,
        floor: 1,
        passwords_epoch: 1,
        ..Reference::default()
    };
    for op in ops {
        step(&mut slab, &mut reference, op, is_exact);
        check(&mut slab);
    }
}

fn step(slab: &mut Slab, reference: &mut Reference, op: &Op, is_exact: bool) {
    let mut cache = open(slab);
    let now = reference.now;
    let moment = |stale: Option<u16>| match stale {
        None => Freshness::Fresh(now),
        Some(max_stale) => Freshness::Stale {
            now,
            max_stale: u64::from(max_stale),
        },
    };
    let facts = cache.counts().0;
    match *op {
        Op::PutUser {
            user,
            record: seed,
            stored,
            from_passwords,
            password,
            verified,
            ttl,
        } => {
            let record = record(user, seed);
            let put = NewRecord {
                record: &record,
                binding: keys().unwrap().tag(&[b's', stored]),
                from_passwords,
                tag: tag(password),
                verified: Some(verified),
                expires: now + u64::from(ttl),
            };
            cache.put_user(fact(&key(user)), &put, now);
            reference.put_user(user, record, stored, from_passwords, password, verified, ttl);
        }
        Op::PutRecord {
            user,
            record: seed,
            ttl,
        } => {
            // Long enough to tell it from an unknown user.
            let record = record(user, seed);
            cache.put_record(
                fact(&[b"g", key(user).as_slice()].concat()),
                &record,
                now + u64::from(ttl),
                now,
            );
            reference.put_plain(user + USERS, Some(record), ttl);
        }
        Op::PutUnknown { user, password, ttl } => {
            let was_fact = reference.entries.get(&user).is_some_and(|entry| entry.is_user);
            cache.put_unknown_user(fact(&key(user)), tag(password), now + u64::from(ttl), now);
            reference.put_unknown(user, password, ttl);
            let pushed_out = facts - cache.counts().0;
            assert!(pushed_out <= u32::from(was_fact), "a stranger pushed out a fact");
        }
        Op::Forget(user) => {
            cache.invalidate_user(fact(&key(user)));
            match reference.entries.get_mut(&user) {
                // Of no epoch; what was right is known.
                Some(entry) if entry.is_user && !entry.right.is_empty() => entry.epoch = 0,
                _ => drop(reference.entries.remove(&user)),
            }
        }
        Op::WasRight { user, password } => {
            let entry = reference.entries.get(&user).filter(|entry| entry.is_user);
            let expected = entry.filter(|entry| entry.right.contains(&password));
            match cache.find_once_verified(fact(&key(user)), tag(password)) {
                Some(known) => assert_eq!(
                    Some(cache.record_bytes(known)),
                    expected.and_then(|entry| entry.record.as_deref())
                ),
                None => assert!(!is_exact || expected.is_none()),
            }
        }
        Op::ForgetPasswords => {
            cache.invalidate_passwords();
            reference.passwords_epoch += 1;
        }
        Op::ForgetAll => {
            cache.invalidate_all();
            reference.forget_all();
        }
        Op::ForgetFreshness => {
            cache.mark_all_stale(now);
            reference.epoch += 1;
            // 0 is none: a loss at 0 counts from 1.
            reference.lost.get_or_insert(now.max(1));
        }
        Op::Guard(guard) => {
            reference.dead.remove(&guard);
            let dead = reference.dead.clone();
            cache.add_watcher(process(guard), Hears::All, now, |other| is_alive(&dead, other));
            reference.guards.remove(&guard);
            reference.newcomers.remove(&guard);
            let is_guarded = reference.guards.difference(&dead).next().is_some();
            if is_guarded && reference.last_put >= reference.floor {
                reference.newcomers.insert(guard);
                reference.doubt_ends = Some(now + 4000);
            } else {
                reference.forget_all();
                reference.guards.insert(guard);
            }
            reference.lost = None;
            reference.settle();
        }
        Op::Vouch(guard) => {
            let number = cache.question(process(guard));
            let may = reference.guards.contains(&guard) && reference.doubt_ends.is_some();
            assert_eq!(number.is_some(), may);
            if let Some(number) = number {
                cache.vouch(process(guard), number);
                reference.end_doubt();
            }
        }
        Op::Leave(guard) => {
            let dead = reference.dead.clone();
            cache.remove_watcher(process(guard), now, |other| is_alive(&dead, other));
            reference.guards.remove(&guard);
            reference.newcomers.remove(&guard);
            reference.settle();
        }
        Op::Die(guard) => {
            reference.dead.insert(guard);
        }
        Op::User {
            user,
            password,
            stale,
        } => {
            let expected = reference.usable(user, moment(stale));
            let found = cache.find_user(fact(&key(user)), tag(password), moment(stale));
            let is_right = expected.is_some_and(|entry| entry.right.contains(&password));
            let is_wrong = expected.is_some_and(|entry| entry.wrong.contains(&password));
            match found {
                Found::Verified(known) => {
                    assert!(is_right);
                    assert_eq!(
                        Some(cache.record_bytes(known)),
                        expected.and_then(|entry| entry.record.as_deref())
                    );
                    if stale.is_none() {
                        let validity =
                            Validity::new(tag(password), now, cache.generations(), known.expires, 1);
                        validity.refer_to(cache.refer(known));
                        let copy = cache.record_bytes(known).to_vec();
                        reference.copies.push((user, copy, known.expires, validity));
                    }
                }
                Found::Wrong => assert!(is_wrong),
                Found::Unverified => assert!(expected.is_some() && !(is_exact && (is_right || is_wrong))),
                Found::Missing => assert!(!is_exact || expected.is_none()),
            }
        }
        Op::UseCopy(which) => {
            let Some((user, copy, expires, validity)) = reference
                .copies
                .get(which % reference.copies.len().max(1))
                .filter(|(_, _, expires, _)| now < *expires)
            else {
                return;
            };
            if cache.note_use(validity, now) {
                let expected = reference.usable(*user, moment(None));
                assert_eq!(expected.map(|entry| entry.expires), Some(*expires));
                assert_eq!(expected.and_then(|entry| entry.record.as_ref()), Some(copy));
                let at = cache.table.find(fact(&key(*user))).expect("it was there");
                assert!(cache.table.is_touched(at, now));
            }
        }
        Op::FindRecord { user, stale } => {
            let expected = reference.usable(user + USERS, moment(stale));
            match cache.find_record(fact(&[b"g", key(user).as_slice()].concat()), moment(stale)) {
                Some(known) => {
                    assert_eq!(
                        Some(cache.record_bytes(known)),
                        expected.and_then(|entry| entry.record.as_deref())
                    )
                }
                None => assert!(!is_exact || expected.is_none()),
            }
        }
        Op::Attempt { who, password } => {
            let attempt = cache.begin_login(&client_of(who).login(), tag(password), LIMIT, now);
            let expected = reference.attempt(who, password);
            if is_exact {
                let counts = match attempt {
                    Attempt::Allowed(reserved) => Ok(reserved != Reservation::default()),
                    Attempt::Wait(left) => Err(left),
                };
                assert_eq!(counts, expected);
            }
            if let Attempt::Allowed(reserved) = attempt {
                reference.under_way.push((who, password, reserved));
            }
            assert_eq!(cache.counts().0, facts, "a stranger pushed out a fact");
        }
        Op::Settle { which, settled } => {
            if reference.under_way.is_empty() {
                return;
            }
            let which = which % reference.under_way.len();
            let (who, password, reserved) = reference.under_way.swap_remove(which);
            cache.finish_login(
                &client_of(who).login(),
                tag(password),
                reserved,
                settled,
                LIMIT,
                now,
            );
            let periods = reserved.periods();
            reference.come_to(
                who,
                password,
                periods.unwrap_or_default(),
                periods.is_some(),
                settled,
            );
            assert_eq!(cache.counts().0, facts, "a stranger pushed out a fact");
        }
        Op::Blocked { who, password } => {
            let wait = cache.wait_for(&client_of(who).login(), Some(tag(password)), LIMIT, now);
            if is_exact {
                assert_eq!(wait, reference.wait(who, password));
            }
            let blocked = cache.blocked_for(&client_of(who).login(), LIMIT, now);
            if let Some(left) = blocked {
                assert!(left > 0 && left <= LIMIT.period);
                let began = (now + left).saturating_sub(LIMIT.period);
                // In a small block, a client of the same network may be the one.
                let mut clients = reference.failures.keys().copied();
                assert!(clients.any(|client| reference.has_failed(client, began)));
                assert!(!is_exact || reference.has_failed(who, began));
            }
            if is_exact {
                assert_eq!(blocked, reference.blocked(who));
            }
        }
        Op::Wait(milliseconds) => reference.now += u64::from(milliseconds),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_large_block_answers_as_the_reference(ops in prop::collection::vec(op(), 1..400)) {
        run(1024 * 1024, &ops, true);
    }

    #[test]
    fn a_small_block_never_answers_more_than_the_reference(ops in prop::collection::vec(op(), 1..400)) {
        run(SMALL, &ops, false);
    }
}
