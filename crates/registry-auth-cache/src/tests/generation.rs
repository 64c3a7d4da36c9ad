//! The number that tells whoever has copied a fact that it may be old.

use super::slab::Slab;
use super::{fact, fresh, keys, open, put, user_key, SMALL};
use crate::{Cache, Keys, Memory, Process, GENERATION};

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
        ("a user changed", |cache| cache.forget(fact(&user_key(1)))),
        ("a user who is not here changed", |cache| {
            cache.forget(fact(&user_key(2)))
        }),
        ("the passwords changed", |cache| cache.forget_passwords()),
        ("everything changed", |cache| cache.forget_all()),
        ("changes may be missed", |cache| cache.forget_freshness(1)),
        ("it is about another Redis", |cache| cache.be_about(7)),
        ("nobody has been on guard", |cache| {
            cache.guard(Process { id: 1, began: 1 }, |_| false);
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
    cache.guard(Process { id: 1, began: 1 }, |_| true);
    let before = cache.generation();
    cache.put_user(fact(&user_key(1)), &put(&[1; 60], "password"), 0);
    cache.put_fact(fact(b"d"), &[2; 20], 60_000, 0);
    cache.user(fact(&user_key(1)), keys().unwrap().tag(b"password"), fresh(1));
    cache.guard(Process { id: 2, began: 1 }, |_| true);
    cache.leave(Process { id: 2, began: 1 });
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
