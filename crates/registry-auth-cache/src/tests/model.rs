//! Random operations against a reference that is too simple to be wrong: maps that forget nothing on their own.
//!
//! The cache may forget, so each answer must be one that the reference gives. In a block with room for all it must be the same.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::slab::Slab;
use super::{check, fact, keys, open, SMALL};
use crate::subjects::Tag;
use crate::{Failures, Found, Moment, Process, Put};

const LIMIT: Failures = Failures {
    number: 3,
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
    PutFact {
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
    ForgetPasswords,
    ForgetAll,
    ForgetFreshness,
    Guard(u8),
    Leave(u8),
    Die(u8),
    User {
        user: u8,
        password: u8,
        stale: Option<u16>,
    },
    Fact {
        user: u8,
        stale: Option<u16>,
    },
    Failed {
        user: u8,
        password: u8,
    },
    Blocked(u8),
    Wait(u16),
}

const USERS: u8 = 24;
const PASSWORDS: u8 = 7;

fn op() -> impl Strategy<Value = Op> {
    let (user, password) = (0..USERS, 0..PASSWORDS);
    let stale = || proptest::option::weighted(0.4, 0..4000u16);
    let ttl = || 1..6000u16;
    prop_oneof![
        12 => (user.clone(), any::<u16>(), 0..2u8, any::<bool>(), password.clone(), any::<bool>(), ttl()).prop_map(
            |(user, record, stored, from_passwords, password, verified, ttl)| Op::PutUser {
                user, record, stored, from_passwords, password, verified, ttl
            }
        ),
        4 => (user.clone(), any::<u16>(), ttl()).prop_map(|(user, record, ttl)| Op::PutFact { user, record, ttl }),
        4 => (user.clone(), password.clone(), ttl()).prop_map(|(user, password, ttl)| Op::PutUnknown { user, password, ttl }),
        3 => user.clone().prop_map(Op::Forget),
        1 => Just(Op::ForgetPasswords),
        1 => Just(Op::ForgetAll),
        1 => Just(Op::ForgetFreshness),
        1 => (0..3u8).prop_map(Op::Guard),
        1 => (0..3u8).prop_map(Op::Leave),
        1 => (0..3u8).prop_map(Op::Die),
        16 => (user.clone(), password.clone(), stale())
            .prop_map(|(user, password, stale)| Op::User { user, password, stale }),
        6 => (user.clone(), stale()).prop_map(|(user, stale)| Op::Fact { user, stale }),
        5 => (user.clone(), password).prop_map(|(user, password)| Op::Failed { user, password }),
        4 => user.prop_map(Op::Blocked),
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
    guards: HashSet<u8>,
    dead: HashSet<u8>,
    /// When which passwords failed.
    failures: HashMap<u8, Vec<(u64, u8)>>,
    /// When the period of the failures ends, if nothing was forgotten.
    periods: HashMap<u8, u64>,
}

impl Reference {
    fn usable(&self, user: u8, moment: Moment) -> Option<&Entry> {
        let found = self.entries.get(&user)?;
        let timely = match moment {
            Moment::Fresh(now) => now < found.expires && found.epoch == self.epoch,
            Moment::Stale { now, bearable } => {
                let until = found
                    .expires
                    .min(self.lost.unwrap_or(u64::MAX))
                    .saturating_add(bearable);
                now < until && found.epoch >= self.floor
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
    }

    fn failed(&mut self, user: u8, password: u8) {
        let log = self.failures.entry(user).or_default();
        let end = self.periods.entry(user).or_default();
        if *end <= self.now {
            *end = self.now + LIMIT.period;
        }
        log.push((self.now, password));
    }

    /// How many different passwords failed since then.
    fn failures_since(&self, user: u8, since: u64) -> usize {
        let log = self.failures.get(&user).into_iter().flatten();
        log.filter(|(at, _)| *at >= since)
            .map(|(_, password)| password)
            .collect::<HashSet<_>>()
            .len()
    }
}

/// A key: some are long.
fn key(user: u8) -> Vec<u8> {
    format!("uprefix\0{}{user}", "x".repeat(usize::from(user % 5) * 30)).into_bytes()
}

/// Not the key of a fact.
fn failure_key(user: u8) -> Vec<u8> {
    [b"f", key(user).as_slice()].concat()
}

/// Which process stands for which guard.
fn process(guard: u8) -> Process {
    Process {
        id: 100 + u32::from(guard),
        began: 7,
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
        None => Moment::Fresh(now),
        Some(bearable) => Moment::Stale {
            now,
            bearable: u64::from(bearable),
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
            let put = Put {
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
        Op::PutFact {
            user,
            record: seed,
            ttl,
        } => {
            // Long enough to tell it from an unknown user.
            let record = record(user, seed);
            cache.put_fact(
                fact(&[b"g", key(user).as_slice()].concat()),
                &record,
                now + u64::from(ttl),
                now,
            );
            reference.put_plain(user + USERS, Some(record), ttl);
        }
        Op::PutUnknown { user, password, ttl } => {
            let was_fact = reference.entries.get(&user).is_some_and(|entry| entry.is_user);
            cache.put_unknown(fact(&key(user)), tag(password), now + u64::from(ttl), now);
            reference.put_unknown(user, password, ttl);
            let pushed_out = facts - cache.counts().0;
            assert!(pushed_out <= u32::from(was_fact), "a stranger pushed out a fact");
        }
        Op::Forget(user) => {
            cache.forget(fact(&key(user)));
            reference.entries.remove(&user);
        }
        Op::ForgetPasswords => {
            cache.forget_passwords();
            reference.passwords_epoch += 1;
        }
        Op::ForgetAll => {
            cache.forget_all();
            reference.forget_all();
        }
        Op::ForgetFreshness => {
            cache.forget_freshness(now);
            reference.epoch += 1;
            // 0 is none: a loss at 0 counts from 1.
            reference.lost.get_or_insert(now.max(1));
        }
        Op::Guard(guard) => {
            let dead = reference.dead.clone();
            cache.guard(process(guard), |other| {
                other.began == 7 && !dead.contains(&((other.id - 100) as u8))
            });
            reference.dead.remove(&guard);
            if !reference
                .guards
                .iter()
                .any(|other| *other != guard && !dead.contains(other))
            {
                reference.forget_all();
            }
            reference.lost = None;
            reference.guards.insert(guard);
        }
        Op::Leave(guard) => {
            cache.leave(process(guard));
            reference.guards.remove(&guard);
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
            let found = cache.user(fact(&key(user)), tag(password), moment(stale));
            let is_right = expected.is_some_and(|entry| entry.right.contains(&password));
            let is_wrong = expected.is_some_and(|entry| entry.wrong.contains(&password));
            match found {
                Found::Verified(known) => {
                    assert!(is_right);
                    assert_eq!(
                        Some(cache.record(known)),
                        expected.and_then(|entry| entry.record.as_deref())
                    );
                }
                Found::Wrong => assert!(is_wrong),
                Found::Unverified => assert!(expected.is_some() && !(is_exact && (is_right || is_wrong))),
                Found::Nothing => assert!(!is_exact || expected.is_none()),
            }
        }
        Op::Fact { user, stale } => {
            let expected = reference.usable(user + USERS, moment(stale));
            match cache.fact(fact(&[b"g", key(user).as_slice()].concat()), moment(stale)) {
                Some(known) => {
                    assert_eq!(
                        Some(cache.record(known)),
                        expected.and_then(|entry| entry.record.as_deref())
                    )
                }
                None => assert!(!is_exact || expected.is_none()),
            }
        }
        Op::Failed { user, password } => {
            cache.failed(fact(&failure_key(user)), tag(password), LIMIT, now);
            reference.failed(user, password);
            assert_eq!(cache.counts().0, facts, "a stranger pushed out a fact");
        }
        Op::Blocked(user) => {
            let blocked = cache.blocked(fact(&failure_key(user)), LIMIT, now);
            if let Some(left) = blocked {
                assert!(left > 0 && left <= LIMIT.period);
                let began = (now + left).saturating_sub(LIMIT.period);
                assert!(reference.failures_since(user, began) >= LIMIT.number as usize);
            }
            if is_exact {
                let left = reference
                    .periods
                    .get(&user)
                    .map_or(0, |end| end.saturating_sub(now));
                let since = (now + left).saturating_sub(LIMIT.period);
                let is_blocked = left > 0 && reference.failures_since(user, since) >= LIMIT.number as usize;
                assert_eq!(blocked, is_blocked.then_some(left));
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
