//! The number that tells whoever has copied a fact that it may be old.

use super::slab::Slab;
use super::{SMALL, fact, fresh, keys, open, put, user_key};
use crate::{Cache, GENERATION, Keys, Memory, Process};

/// The number as it is read without the lock.
fn peek(slab: &Slab) -> u64 {
    let at = slab.root() as usize + GENERATION;
    u64::from_ne_bytes(slab.bytes()[at..at + 8].try_into().unwrap())
}

#[test]
fn it_lies_where_it_is_read_without_the_lock() {
    let mut slab = Slab::new(SMALL);
    let generation = open(&mut slab).generation();
    assert_eq!(peek(&slab), generation);
    assert_eq!((slab.root() as usize + GENERATION) % 8, 0);
}

#[test]
fn whatever_makes_a_fact_old_changes_it() {
    type Change = fn(&mut Cache<'_, Slab>);
    let changes: [(&str, Change); 7] = [
        ("a user changed", |cache| cache.invalidate(fact(&user_key(1)))),
        ("a user who is not here changed", |cache| {
            cache.invalidate(fact(&user_key(2)))
        }),
        ("the passwords changed", |cache| cache.invalidate_passwords()),
        ("everything changed", |cache| cache.invalidate_all()),
        ("changes may be missed", |cache| cache.mark_all_stale(1)),
        ("it is about another Redis", |cache| cache.bind_source(7)),
        ("nobody has been on guard", |cache| {
            cache.add_watcher(Process { id: 1, started_at: 1 }, |_| false);
        }),
    ];
    for (name, change) in changes {
        let mut slab = Slab::new(SMALL);
        let mut cache = open(&mut slab);
        cache.put_user(fact(&user_key(1)), &put(&[1; 60], "password"), 0);
        let before = cache.generation();
        change(&mut cache);
        assert_ne!(cache.generation(), before, "{name}");
    }
}

#[test]
fn what_is_found_or_put_leaves_it_alone() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    cache.add_watcher(Process { id: 1, started_at: 1 }, |_| true);
    let before = cache.generation();
    cache.put_user(fact(&user_key(1)), &put(&[1; 60], "password"), 0);
    cache.put_record(fact(b"d"), &[2; 20], 60_000, 0);
    cache.find_user(fact(&user_key(1)), keys().unwrap().tag(b"password"), fresh(1));
    cache.add_watcher(Process { id: 2, started_at: 1 }, |_| true);
    cache.remove_watcher(Process { id: 2, started_at: 1 });
    assert_eq!(cache.generation(), before);
}

#[test]
fn a_block_that_was_set_up_anew_has_another_one() {
    let mut slab = Slab::new(SMALL);
    let before = open(&mut slab).generation();
    slab.reset();
    let fresh = || Some(Keys::new([9; 32]));
    assert_ne!(Cache::open(&mut slab, fresh).unwrap().generation(), before);
}
