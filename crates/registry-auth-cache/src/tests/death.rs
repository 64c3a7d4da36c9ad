//! A process that dies at any of its writes: the next one finds the cache as it was, as it would be, or
//! empty; never in between.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::slab::Slab;
use super::{SMALL, check, client, fact, is_verified, keys, open, put, user_key, watch};
use crate::{Attempt, Cache, FailureLimits, Freshness, LoginResult, Memory, Process};

/// A block whose process dies at its nth write; what it writes with that one never arrives.
struct Mortal<'s> {
    slab: &'s mut Slab,
    left: usize,
}

impl Mortal<'_> {
    fn write(&mut self) -> &mut Slab {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            // Not panic!(): nothing is to be printed.
            None => resume_unwind(Box::new(())),
        }
        self.slab
    }
}

impl Memory for Mortal<'_> {
    fn bytes(&self) -> &[u8] {
        self.slab.bytes()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.write().bytes_mut()
    }
    fn allocate(&mut self, size: usize) -> Option<u32> {
        self.write().allocate(size)
    }
    fn free(&mut self, at: u32) {
        self.write().free(at);
    }
    fn root(&self) -> u32 {
        self.slab.root()
    }
    fn set_root(&mut self, at: u32) {
        self.write().set_root(at);
    }
    fn reset(&mut self) {
        self.write().reset();
    }
}

/// Users 0 to 9, of whom all but 5 stay as they are; 5 has passwords `old`, then `new`.
fn filled() -> Slab {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    watch(&mut cache, Process { id: 1, started_at: 1 }, |_| true);
    for user in 0..10 {
        cache.put_user(fact(&user_key(user)), &put(&[user as u8; 60], "old"), 0);
    }
    cache.put_record(fact(b"defaults"), b"backends", 60_000, 0);
    cache.put_unknown_user(fact(b"nobody"), keys().unwrap().tag(b"a"), 60_000, 0);
    cache.count_failure(&client("who", "a").login(), keys().unwrap().tag(b"1"), LIMIT, 0);
    slab
}

const LIMIT: FailureLimits = FailureLimits {
    per_user: 2,
    per_address: 20,
    period: 60_000,
};

/// Runs `operation` with a death at each of its writes, and `after` on what is left of the cache each time,
/// with whether it was emptied. How many writes there were.
fn at_each_write(
    before: impl Fn() -> Slab,
    operation: impl Fn(&mut Cache<'_, Mortal<'_>>),
    after: impl Fn(&mut Cache<'_, Slab>, bool),
) -> usize {
    for left in 0.. {
        let mut slab = before();
        let mut mortal = Mortal {
            slab: &mut slab,
            left,
        };
        let lived = catch_unwind(AssertUnwindSafe(|| {
            let mut cache = Cache::open(&mut mortal, keys).unwrap();
            operation(&mut cache);
        }));
        check(&mut slab);
        let mut cache = open(&mut slab);
        let is_empty = cache.counts() == (0, 0);
        after(&mut cache, is_empty);
        check(&mut slab);
        // The block is of use again.
        let mut cache = open(&mut slab);
        cache.put_user(fact(&user_key(99)), &put(b"record", "again"), 1);
        assert!(is_verified(&mut cache, &user_key(99), "again", 1));
        check(&mut slab);
        if lived.is_ok() {
            return left;
        }
    }
    unreachable!("operations end");
}

#[test]
fn set_up() {
    let writes = at_each_write(|| Slab::new(SMALL), |_| (), |_, is_empty| assert!(is_empty));
    assert!(writes > 10);
}

#[test]
fn set_up_in_place_of_a_dirty_one() {
    let before = || {
        let mut slab = filled();
        let at = slab.root() as usize + crate::layout::root::DIRTY;
        slab.bytes_mut()[at] = 1;
        slab
    };
    at_each_write(before, |_| (), |_, is_empty| assert!(is_empty));
}

#[test]
fn put_user_in_place_of_another() {
    let binding = keys().unwrap().tag(b"new stored");
    let writes = at_each_write(
        filled,
        |cache| {
            let put = crate::NewRecord {
                binding,
                ..put(&[55; 300], "new")
            };
            cache.put_user(fact(&user_key(5)), &put, 2_000);
        },
        |cache, is_empty| {
            let (old, new) = (
                is_verified(cache, &user_key(5), "old", 2_000),
                is_verified(cache, &user_key(5), "new", 2_000),
            );
            // The very last write may be lost with nothing else.
            assert!(!(old && new));
            assert!(is_empty || old || new);
            assert_eq!(is_verified(cache, &user_key(4), "old", 2_000), !is_empty);
        },
    );
    assert!(writes > 20);
}

#[test]
fn put_user_again() {
    at_each_write(
        filled,
        |cache| cache.put_user(fact(&user_key(5)), &put(&[5; 60], "second"), 2_000),
        |cache, is_empty| assert_eq!(is_verified(cache, &user_key(5), "old", 2_000), !is_empty),
    );
}

#[test]
fn put_that_evicts() {
    let full = || {
        let mut slab = filled();
        let mut cache = open(&mut slab);
        for user in 10..200 {
            cache.put_user(fact(&user_key(user)), &put(&[1; 60], "old"), 0);
        }
        cache.put_user(fact(&user_key(5)), &put(&[5; 60], "old"), 0);
        slab
    };
    at_each_write(
        full,
        |cache| cache.put_user(fact(&user_key(300)), &put(&[9; 600], "new"), 2_000),
        |cache, is_empty| assert_eq!(is_verified(cache, &user_key(5), "old", 2_000), !is_empty),
    );
}

#[test]
fn hit_that_moves_to_the_front() {
    at_each_write(
        filled,
        |cache| assert!(is_verified(cache, &user_key(5), "old", 30_000)),
        |cache, is_empty| assert_eq!(is_verified(cache, &user_key(5), "old", 30_000), !is_empty),
    );
}

#[test]
fn forget() {
    at_each_write(
        filled,
        |cache| cache.invalidate(fact(&user_key(5))),
        |cache, is_empty| assert_eq!(is_verified(cache, &user_key(4), "old", 0), !is_empty),
    );
}

#[test]
fn forget_all_leaves_nothing_half_forgotten() {
    at_each_write(
        filled,
        |cache| cache.invalidate_all(),
        |cache, _| {
            let tag = keys().unwrap().tag(b"old");
            let is_fresh = is_verified(cache, &user_key(5), "old", 0);
            let stale = Freshness::Stale {
                now: 0,
                max_stale: 1000,
            };
            let is_stale = matches!(
                cache.find_user(fact(&user_key(5)), tag, stale),
                crate::Found::Verified(_)
            );
            assert_eq!(is_fresh, is_stale);
        },
    );
}

#[test]
fn forget_freshness_leaves_no_unbounded_staleness() {
    at_each_write(
        filled,
        |cache| cache.mark_all_stale(1_000),
        |cache, _| {
            let tag = keys().unwrap().tag(b"old");
            let is_fresh = is_verified(cache, &user_key(5), "old", 2_000);
            let stale = Freshness::Stale {
                now: 2_500,
                max_stale: 1000,
            };
            assert!(
                is_fresh
                    || !matches!(
                        cache.find_user(fact(&user_key(5)), tag, stale),
                        crate::Found::Verified(_)
                    )
            );
        },
    );
}

#[test]
fn guard() {
    let me = Process { id: 2, started_at: 2 };
    at_each_write(
        filled,
        |cache| watch(cache, me, |_| false),
        |cache, is_empty| {
            // It stands guard only over what was not missed.
            let stood = std::cell::Cell::new(false);
            let facts_stay = is_verified(cache, &user_key(5), "old", 0);
            watch(cache, Process { id: 3, started_at: 3 }, |other| {
                stood.set(stood.get() || other == me);
                other == me
            });
            assert!(is_empty || !(stood.get() && facts_stay));
        },
    );
}

#[test]
fn failed() {
    at_each_write(
        filled,
        |cache| {
            cache.count_failure(
                &client("who", "a").login(),
                keys().unwrap().tag(b"2"),
                LIMIT,
                2_000,
            )
        },
        |cache, is_empty| {
            let blocked = cache.blocked_for(&client("who", "a").login(), LIMIT, 2_000);
            assert!(!is_empty || blocked.is_none());
        },
    );
}

#[test]
fn attempt_and_what_it_comes_to() {
    for settled in [LoginResult::Right, LoginResult::Undecided, LoginResult::Wrong] {
        at_each_write(
            filled,
            |cache| {
                let (who, tag) = (client("who", "a"), keys().unwrap().tag(b"2"));
                let Attempt::Allowed(reserved) = cache.begin_login(&who.login(), tag, LIMIT, 1_000) else {
                    panic!("one is accepted yet")
                };
                cache.finish_login(&who.login(), tag, reserved, settled, LIMIT, 2_000);
            },
            |cache, is_empty| {
                let blocked = cache.blocked_for(&client("who", "a").login(), LIMIT, 2_000);
                assert!(settled == LoginResult::Wrong && !is_empty || blocked.is_none());
            },
        );
    }
}

#[test]
fn unknown() {
    at_each_write(
        filled,
        |cache| cache.put_unknown_user(fact(&user_key(5)), keys().unwrap().tag(b"a"), 60_000, 0),
        |cache, is_empty| assert_eq!(is_verified(cache, &user_key(4), "old", 0), !is_empty),
    );
}
