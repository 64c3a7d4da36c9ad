//! Facts survive a reload because some worker was told of changes all the time, and only then.

use super::slab::Slab;
use super::{SMALL, check, fact, is_verified, keys, leave, open, put, user_key, vouch, watch};
use crate::layout::WATCHERS;
use crate::{Found, Freshness, Process};

const OLD: Process = Process {
    id: 10,
    started_at: 1,
};
const NEW: Process = Process {
    id: 11,
    started_at: 2,
};

/// A cache that `OLD` guards, with user 1.
fn guarded() -> Slab {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    watch(&mut cache, OLD, |_| true);
    cache.put_user(fact(&user_key(1)), &put(b"record", "password"), 0);
    slab
}

fn is_there(slab: &mut Slab) -> bool {
    let there = is_verified(&mut open(slab), &user_key(1), "password", 1);
    check(slab);
    there
}

fn is_stale_there(slab: &mut Slab, now: u64) -> bool {
    let tag = keys().unwrap().tag(b"password");
    let found = open(slab).find_user(fact(&user_key(1)), tag, Freshness::Stale { now, max_stale: 1000 });
    matches!(found, Found::Verified(_))
}

#[test]
fn reload_new_arms_before_old_leaves() {
    let mut slab = guarded();
    watch(&mut open(&mut slab), NEW, |_| true);
    leave(&mut open(&mut slab), OLD);
    assert!(is_there(&mut slab));
    // And so on, over generations.
    watch(&mut open(&mut slab), OLD, |other| other == NEW);
    leave(&mut open(&mut slab), NEW);
    assert!(is_there(&mut slab));
}

#[test]
fn reload_with_a_gap() {
    let mut slab = guarded();
    leave(&mut open(&mut slab), OLD);
    watch(&mut open(&mut slab), NEW, |_| true);
    assert!(!is_there(&mut slab));
    assert!(!is_stale_there(&mut slab, 1));
}

#[test]
fn killed_worker_stood_no_guard() {
    let mut slab = guarded();
    watch(&mut open(&mut slab), NEW, |other| other != OLD);
    assert!(!is_there(&mut slab));
    assert!(!is_stale_there(&mut slab, 1));
}

#[test]
fn reused_id_is_another_process() {
    let mut slab = guarded();
    // Some process has the id now, but it started_at later.
    let reused = Process {
        id: OLD.id,
        started_at: 99,
    };
    watch(&mut open(&mut slab), NEW, |other| other == reused);
    assert!(!is_there(&mut slab));
    // Or it is the new worker itself that has it.
    let mut slab = guarded();
    watch(&mut open(&mut slab), reused, |other| other == reused);
    assert!(!is_there(&mut slab));
}

#[test]
fn oneself_is_no_other_guard() {
    let mut slab = guarded();
    watch(&mut open(&mut slab), OLD, |_| true);
    assert!(!is_there(&mut slab));
}

#[test]
fn leaving_takes_only_ones_own_place() {
    let mut slab = guarded();
    leave(&mut open(&mut slab), NEW);
    leave(
        &mut open(&mut slab),
        Process {
            id: OLD.id,
            started_at: 99,
        },
    );
    watch(&mut open(&mut slab), NEW, |_| true);
    assert!(is_there(&mut slab));
}

#[test]
fn places_of_the_dead_are_used_again() {
    let mut slab = guarded();
    // Each generation lives until it has vouched for the records to the next one, and is then killed.
    for started_at in 0..3 * WATCHERS as u64 {
        let (last, me) = (
            Process {
                id: 10,
                started_at: 1 + started_at,
            },
            Process {
                id: 10,
                started_at: 2 + started_at,
            },
        );
        watch(&mut open(&mut slab), me, |other| other == last);
        vouch(&mut open(&mut slab), last);
        assert!(is_there(&mut slab), "generation {started_at}");
    }
}

#[test]
fn more_guards_than_places() {
    let mut slab = guarded();
    for id in 100..100 + 2 * WATCHERS as u32 {
        watch(&mut open(&mut slab), Process { id, started_at: 1 }, |_| true);
    }
    assert!(is_there(&mut slab));
    for id in 100..100 + 2 * WATCHERS as u32 {
        leave(&mut open(&mut slab), Process { id, started_at: 1 });
    }
    leave(&mut open(&mut slab), OLD);
    watch(&mut open(&mut slab), NEW, |_| true);
    assert!(!is_there(&mut slab));
}

#[test]
fn stale_is_bounded_by_the_loss() {
    let mut slab = guarded();
    open(&mut slab).mark_all_stale(5_000);
    // A second worker notices later; the bound is the first one's.
    open(&mut slab).mark_all_stale(5_500);
    assert!(!is_there(&mut slab));
    assert!(is_stale_there(&mut slab, 5_999));
    assert!(!is_stale_there(&mut slab, 6_000));
}

#[test]
fn stale_is_bounded_by_the_time_to_live() {
    let mut slab = guarded();
    open(&mut slab).mark_all_stale(59_500);
    assert!(is_stale_there(&mut slab, 60_499));
    assert!(!is_stale_there(&mut slab, 60_500));
}

#[test]
fn forgotten_is_never_stale() {
    let mut slab = guarded();
    let mut cache = open(&mut slab);
    cache.mark_all_stale(10);
    cache.invalidate(fact(&user_key(1)));
    assert!(!is_stale_there(&mut slab, 11));
    let mut slab = guarded();
    open(&mut slab).invalidate_all();
    assert!(!is_stale_there(&mut slab, 11));
}

#[test]
fn put_after_a_loss_is_fresh_again() {
    let mut slab = guarded();
    let mut cache = open(&mut slab);
    cache.mark_all_stale(10);
    watch(&mut cache, OLD, |_| true);
    cache.put_user(fact(&user_key(1)), &put(b"record", "password"), 20);
    assert!(is_there(&mut slab));
    open(&mut slab).mark_all_stale(50_000);
    assert!(is_stale_there(&mut slab, 50_999));
    assert!(!is_stale_there(&mut slab, 51_000));
}

#[test]
fn facts_about_something_else_go_and_so_do_their_guards() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let other = Process { id: 9, started_at: 9 };
    cache.bind_source(1);
    watch(&mut cache, other, |_| true);
    cache.put_user(fact(&user_key(1)), &put(b"record", "a"), 0);
    cache.bind_source(1);
    assert!(is_verified(&mut cache, &user_key(1), "a", 1));

    // A reload to another Redis, while the guard of the first one is still there.
    cache.bind_source(2);
    assert!(cache.is_bound_to(2) && !cache.is_bound_to(1));
    assert!(!is_verified(&mut cache, &user_key(1), "a", 1));
    cache.put_user(fact(&user_key(1)), &put(b"record", "b"), 0);
    watch(
        &mut cache,
        Process {
            id: 10,
            started_at: 1,
        },
        |_| true,
    );
    assert!(
        !is_verified(&mut cache, &user_key(1), "b", 1),
        "nobody has watched over it"
    );
}

/// A worker that finds its zone emptied must be able to tell that it is nobody's.
#[test]
fn a_block_set_up_anew_is_about_nothing() {
    let mut slab = Slab::new(SMALL);
    open(&mut slab).bind_source(1);
    assert!(open(&mut slab).is_bound_to(1));
    crate::Memory::reset(&mut slab);
    assert!(open(&mut slab).is_bound_to(crate::UNBOUND));
}
