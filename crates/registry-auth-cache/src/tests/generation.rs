//! The number that tells whoever has copied a fact that it may be old.

use super::slab::Slab;
use super::{SMALL, check, fact, fresh, keys, leave, open, put, user_key, watch};
use crate::worker_cache::Validity;
use crate::{Cache, Found, GENERATION, Memory, NewRecord, Process, SecretKeys};

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
    const ONE_USER: bool = false;
    const SHARED: bool = true;
    let changes: [(&str, bool, Change); 9] = [
        ("a user changed", ONE_USER, |cache| {
            cache.invalidate_user(fact(&user_key(1)))
        }),
        ("a user who is not here changed", ONE_USER, |cache| {
            cache.invalidate_user(fact(&user_key(2)))
        }),
        ("a group changed", SHARED, |cache| cache.invalidate(fact(b"g"))),
        ("a group that is not here changed", SHARED, |cache| {
            cache.invalidate(fact(b"h"))
        }),
        ("the passwords changed", SHARED, |cache| {
            cache.invalidate_passwords()
        }),
        ("everything changed", SHARED, |cache| cache.invalidate_all()),
        ("changes may be missed", SHARED, |cache| cache.mark_all_stale(1)),
        ("it is about another Redis", SHARED, |cache| cache.bind_source(7)),
        ("nobody has been on guard", SHARED, |cache| {
            watch(cache, Process { id: 1, started_at: 1 }, |_| false);
        }),
    ];
    for (name, is_shared, change) in changes {
        let mut slab = Slab::new(SMALL);
        let mut cache = open(&mut slab);
        cache.put_user(fact(&user_key(1)), &put(&[1; 60], "password"), 0);
        cache.put_record(fact(b"g"), &[2; 20], 60_000, 0);
        let before = cache.generations();
        change(&mut cache);
        let after = cache.generations();
        assert_ne!(after.of_all, before.of_all, "{name}");
        assert_eq!(after.shared != before.shared, is_shared, "{name}");
    }
}

/// A worker's copy of user 1, who is then looked for again.
#[test]
fn a_copy_is_confirmed_while_the_block_says_the_same() {
    type Change = fn(&mut Cache<'_, Slab>);
    const RECORD: [u8; 60] = [1; 60];
    let alice = || put(&RECORD, "password");
    let changes: [(&str, bool, Change); 7] = [
        ("nothing changed", true, |_| {}),
        ("another user changed", true, |cache| {
            cache.invalidate_user(fact(&user_key(2)))
        }),
        ("the user changed and changed back", true, |cache| {
            cache.invalidate_user(fact(&user_key(1)));
            cache.put_user(fact(&user_key(1)), &put(&RECORD, "password"), 1);
        }),
        ("the user changed", false, |cache| {
            cache.invalidate_user(fact(&user_key(1)))
        }),
        ("the user has another record", false, |cache| {
            cache.invalidate_user(fact(&user_key(1)));
            cache.put_user(fact(&user_key(1)), &put(&[3; 60], "password"), 1);
        }),
        ("a group changed", false, |cache| cache.invalidate(fact(b"g"))),
        ("the user was evicted", false, |cache| {
            cache.table.remove(cache.table.find(fact(&user_key(1))).unwrap())
        }),
    ];
    for (name, is_confirmed, change) in changes {
        let mut slab = Slab::new(SMALL);
        let mut cache = open(&mut slab);
        cache.put_user(fact(&user_key(1)), &alice(), 0);
        let tag = keys().unwrap().tag(b"password");
        let validity = Validity::new(tag, 0, cache.generations(), 60_000, 100);
        change(&mut cache);
        let confirmed = match cache.find_user(fact(&user_key(1)), tag, fresh(2)) {
            Found::Verified(found) => cache.confirm(found, &RECORD, &validity, 2),
            _ => false,
        };
        assert_eq!(confirmed, is_confirmed, "{name}");
        // Where the entry is another, that is the one whose use is noted from then on.
        assert_eq!(cache.note_use(&validity, 20_000), is_confirmed, "{name}");
    }
}

/// A worker's copy of user 1, where the worker knows the place of the record.
#[test]
fn the_use_of_a_copy_is_noted_where_nothing_has_changed() {
    type Change = fn(&mut Cache<'_, Slab>);
    let user = || user_key(1);
    let changes: [(&str, bool, Change); 10] = [
        ("nothing changed", true, |_| {}),
        ("others were put and evicted", true, |cache| {
            cache.put_user(fact(&user_key(2)), &put(&[1; 60], "password"), 1);
            cache.table.remove(cache.table.find(fact(&user_key(2))).unwrap());
        }),
        ("another user changed", false, |cache| {
            cache.invalidate_user(fact(&user_key(2)))
        }),
        ("the user changed", false, |cache| {
            cache.invalidate_user(fact(&user_key(1)))
        }),
        ("a group changed", false, |cache| cache.invalidate(fact(b"g"))),
        ("the user was put again", false, |cache| {
            let later = NewRecord {
                expires: 61_000,
                ..put(&[1; 60], "password")
            };
            cache.put_user(fact(&user_key(1)), &later, 1);
        }),
        ("the user was put at once with another record", false, |cache| {
            cache.put_user(fact(&user_key(1)), &put(&[3; 60], "password"), 0);
        }),
        ("the user was evicted", false, |cache| {
            cache.table.remove(cache.table.find(fact(&user_key(1))).unwrap())
        }),
        (
            "another user has the place of the one that was evicted",
            false,
            |cache| {
                let at = cache.table.find(fact(&user_key(1))).unwrap();
                cache.table.remove(at);
                cache.put_user(fact(&user_key(2)), &put(&[1; 60], "password"), 1);
                assert_eq!(cache.table.find(fact(&user_key(2))), Some(at));
            },
        ),
        ("the user does not exist any more", false, |cache| {
            cache.put_unknown_user(fact(&user_key(1)), keys().unwrap().tag(b"password"), 60_000, 1)
        }),
    ];
    for (name, is_noted, change) in changes {
        let mut slab = Slab::new(SMALL);
        let mut cache = open(&mut slab);
        cache.put_user(fact(&user()), &put(&[1; 60], "password"), 0);
        let tag = keys().unwrap().tag(b"password");
        let Found::Verified(found) = cache.find_user(fact(&user()), tag, fresh(0)) else {
            panic!("just put");
        };
        let validity = Validity::new(tag, 0, cache.generations(), 60_000, 100);
        validity.refer_to(cache.refer(found));
        change(&mut cache);
        assert_eq!(cache.note_use(&validity, 20_000), is_noted, "{name}");
        if let Some(at) = cache.table.find(fact(&user())) {
            assert_eq!(cache.table.is_touched(at, 20_000), is_noted, "{name}");
        }
        check(&mut slab);
        // What nobody has put has no entry.
        let nowhere = Validity::new(tag, 0, open(&mut slab).generations(), 60_000, 100);
        assert!(!open(&mut slab).note_use(&nowhere, 20_000), "{name}");
    }
}

#[test]
fn what_is_found_or_put_leaves_it_alone() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    watch(&mut cache, Process { id: 1, started_at: 1 }, |_| true);
    let before = cache.generation();
    cache.put_user(fact(&user_key(1)), &put(&[1; 60], "password"), 0);
    cache.put_record(fact(b"d"), &[2; 20], 60_000, 0);
    cache.find_user(fact(&user_key(1)), keys().unwrap().tag(b"password"), fresh(1));
    watch(&mut cache, Process { id: 2, started_at: 1 }, |_| true);
    leave(&mut cache, Process { id: 2, started_at: 1 });
    assert_eq!(cache.generation(), before);
    // What many requests have waited for, each of them puts.
    cache.put_user(fact(&user_key(1)), &put(&[1; 60], "another password"), 1);
    assert_eq!(cache.generation(), before);
}

/// Nobody has heard of a change yet, or nobody does: it was read with the next question.
#[test]
fn another_record_in_the_place_of_a_current_one_changes_it() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    cache.put_user(fact(&user_key(1)), &put(&[1; 60], "password"), 0);
    let before = cache.generations();
    cache.put_user(fact(&user_key(1)), &put(&[3; 60], "password"), 0);
    let after = cache.generations();
    assert_ne!(after.of_all, before.of_all);
    assert_eq!(after.shared, before.shared, "it is about one user");
    // Where the change was heard of, that was it.
    cache.invalidate_user(fact(&user_key(1)));
    let heard = cache.generations();
    cache.put_user(fact(&user_key(1)), &put(&[1; 60], "password"), 1);
    assert_eq!(cache.generations(), heard);
}

#[test]
fn a_block_that_was_set_up_anew_has_another_one() {
    let mut slab = Slab::new(SMALL);
    let before = open(&mut slab).generation();
    slab.reset();
    let fresh = || Some(SecretKeys::new([9; 32]));
    assert_ne!(Cache::open(&mut slab, fresh).unwrap().generation(), before);
}
