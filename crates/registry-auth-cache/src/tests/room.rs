//! How many fit, who makes room for whom, and what becomes of blocks that are too small.

use super::slab::Slab;
use super::{SMALL, check, fact, is_verified, keys, open, put, user_key};
use crate::{Cache, Memory};

#[test]
fn ten_megabytes_hold_25_000_users() {
    const SIZE: usize = 10 * 1024 * 1024;
    let mut slab = Slab::new(SIZE);
    let mut cache = open(&mut slab);
    let mut users = 0;
    let held = loop {
        cache.put_user(fact(&user_key(users)), &put(&[1; 60], "password"), 0);
        users += 1;
        let facts = cache.counts().0 as usize;
        if facts < users {
            break facts;
        }
    };
    check(&mut slab);
    println!("{held} users in 10 MB: {} bytes a user", SIZE / held);
    assert!(held >= 25_000);
    assert!(SIZE / held <= 400);
}

#[test]
fn any_block_works_or_is_too_small() {
    let mut working = None;
    for size in (0..80 * 1024).step_by(1_000) {
        let mut slab = Slab::new(size);
        let Some(mut cache) = Cache::open(&mut slab, keys) else {
            assert_eq!(working, None, "a larger block works where a smaller one did");
            assert_eq!(slab.root(), 0);
            continue;
        };
        working = working.or(Some(size));
        for user in 0..500 {
            cache.put_user(fact(&user_key(user)), &put(&[1; 60], "password"), 0);
            cache.put_unknown_user(
                fact(&user_key(user + 1_000)),
                keys().unwrap().tag(b"a"),
                60_000,
                0,
            );
            assert!(is_verified(&mut cache, &user_key(user), "password", 1), "{size}");
        }
        check(&mut slab);
    }
    println!("works from {working:?} bytes");
    assert!(working.unwrap() <= SMALL);
}

#[test]
fn what_was_used_last_survives() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let mut users = 0;
    while cache.counts().0 as usize == users {
        cache.put_user(fact(&user_key(users)), &put(&[1; 60], "password"), 0);
        users += 1;
    }
    // User 0 had to go; 1 to 10 are asked for, in turn, so that it is 11's turn.
    let held = users - 1;
    for user in 1..=10 {
        assert!(is_verified(
            &mut cache,
            &user_key(user),
            "password",
            1_000 * user as u64
        ));
    }
    // To be put again is to be used.
    cache.put_user(fact(&user_key(12)), &put(&[1; 60], "password"), 15_000);
    // Wrong passwords keep nobody.
    assert!(!is_verified(&mut cache, &user_key(11), "wrong", 20_000));
    let in_turn = (11..=held).filter(|user| *user != 12);
    for (new, user) in in_turn.enumerate() {
        cache.put_user(fact(&user_key(10_000 + new)), &put(&[1; 60], "password"), 30_000);
        assert!(!is_verified(&mut cache, &user_key(user), "password", 30_000));
    }
    assert!(is_verified(&mut cache, &user_key(12), "password", 30_000));
    assert_eq!(cache.counts().0 as usize, held);
    for user in 1..=10 {
        assert!(is_verified(&mut cache, &user_key(user), "password", 30_000));
    }
    check(&mut slab);
}

#[test]
fn large_record_costs_few_small_ones() {
    let mut slab = Slab::new(256 * 1024);
    let mut cache = open(&mut slab);
    let mut users = 0;
    while cache.counts().0 as usize == users {
        cache.put_user(fact(&user_key(users)), &put(&[1; 60], "password"), 0);
        users += 1;
    }
    // Used in an order that leaves no page to be free soon.
    for user in 0..users {
        is_verified(
            &mut cache,
            &user_key(user * 331 % users),
            "password",
            2_000 + user as u64,
        );
    }
    let mut large = |user: usize| {
        let before = cache.counts().0;
        cache.put_user(
            fact(&user_key(user)),
            &put(&[1; 600], "password"),
            10_000 + user as u64,
        );
        assert!(before <= cache.counts().0 + 8);
        is_verified(&mut cache, &user_key(user), "password", 10_000)
    };
    // Large ones get in after a while, and from then on make room for each other.
    assert!((0..200).any(|_| large(90_000)));
    assert!((90_000..90_200).all(large));
    check(&mut slab);
}

#[test]
fn what_fits_nowhere_is_not_kept() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    cache.put_user(fact(&user_key(1)), &put(&[1; 60], "password"), 0);
    cache.put_user(fact(&user_key(1)), &put(&vec![1; 100_000], "password"), 0);
    assert!(!is_verified(&mut cache, &user_key(1), "password", 1));
    // Nor is a key that no header can describe; but what was known of it goes.
    let long = vec![b'x'; 70_000];
    cache.put_record(fact(&long), b"record", 60_000, 0);
    cache.put_unknown_user(fact(&[b'x'; 600]), keys().unwrap().tag(b"a"), 60_000, 0);
    assert_eq!(cache.counts().1, 0);
    check(&mut slab);
}
