//! Sharing, keys and credentials, rule by rule.

use super::slab::Slab;
use super::{SMALL, check, fact, fresh, is_verified, keys, open, put, user_key};
use crate::layout::root;
use crate::memory::Write;
use crate::{Cache, EntryKey, Found, Freshness, Memory, NewRecord, SecretKeys};

#[test]
fn openings_of_one_block_share() {
    let mut slab = Slab::new(SMALL);
    open(&mut slab).put_user(fact(&user_key(1)), &put(b"record", "password"), 0);
    let other = || panic!("a block that is in order needs no keys");
    let mut cache = Cache::open(&mut slab, other).unwrap();
    let tag = keys().unwrap().tag(b"password");
    let Found::Verified(known) = cache.find_user(fact(&user_key(1)), tag, fresh(1)) else {
        panic!("not there")
    };
    assert_eq!(cache.record_bytes(known), b"record");
    assert!(cache.has_keys(&keys().unwrap()));
}

#[test]
fn keys_are_new_after_a_reset() {
    let mut slab = Slab::new(SMALL);
    let first = open(&mut slab).keys();
    slab.reset();
    let mut cache = Cache::open(&mut slab, || Some(SecretKeys::new([9; 32]))).unwrap();
    assert!(!cache.has_keys(&first));
    assert!(cache.keys() == SecretKeys::new([9; 32]));
    // So a worker's old tags and hashes find nothing.
    cache.put_record(
        EntryKey {
            key: b"defaults",
            hash: cache.keys().hash(b"defaults"),
        },
        b"record",
        60_000,
        0,
    );
    assert!(
        cache
            .find_record(
                EntryKey {
                    key: b"defaults",
                    hash: first.hash(b"defaults")
                },
                fresh(1)
            )
            .is_none()
    );
}

#[test]
fn no_random_numbers_no_cache() {
    let mut slab = Slab::new(SMALL);
    assert!(Cache::open(&mut slab, || None).is_none());
    open(&mut slab);
    let at = slab.root() as usize + root::DIRTY;
    slab.put_u32(at, 1);
    assert!(
        Cache::open(&mut slab, || None).is_none(),
        "a dirty block is not served"
    );
    assert_eq!(open(&mut slab).counts(), (0, 0));
}

#[test]
fn keys_are_told_apart_in_full() {
    let keys = |changed: usize| SecretKeys::new(std::array::from_fn(|index| u8::from(index == changed)));
    let none = keys(99);
    for changed in 0..32 {
        assert!(keys(changed) != none);
        let (hash, tag) = (
            keys(changed).hash(b"x") != none.hash(b"x"),
            { keys(changed).tag(b"x").0 } != { none.tag(b"x").0 },
        );
        assert_eq!((hash, tag), (changed < 16, changed >= 16));
    }
}

#[test]
fn salts_and_credentials_do_not_run_together() {
    let keys = keys().unwrap();
    let salts: [&[u8]; 6] = [b"", b"s", b"sa", b"salt", b"\0", b"\0\0\0\0\0\0\0\0\0"];
    let credentials: [&[u8]; 6] = [
        b"Basic abcdef",
        b"Basic abcde",
        b"Basic abcdefs",
        b"Basic abcdefsa",
        b"Basic",
        b"",
    ];
    let mut tags: Vec<u128> = Vec::new();
    for salt in salts {
        tags.extend(credentials.map(|credential| keys.salted_tag(salt, credential).0));
    }
    let count = tags.len();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), count);
    assert!({ keys.salted_tag(b"", b"Basic x").0 } == { keys.tag(b"Basic x").0 });
}

#[test]
fn four_robots_share_an_account() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    for robot in ["a", "b", "c", "d"] {
        cache.put_user(fact(&user_key(1)), &put(b"record", robot), 0);
    }
    assert!(
        ["a", "b", "c", "d"]
            .iter()
            .all(|robot| is_verified(&mut cache, &user_key(1), robot, 1))
    );
    // The fifth one takes the place of whoever was verified longest ago.
    cache.put_user(fact(&user_key(1)), &put(b"record", "a"), 0);
    cache.put_user(fact(&user_key(1)), &put(b"record", "e"), 0);
    let there = ["a", "b", "c", "d", "e"].map(|robot| is_verified(&mut cache, &user_key(1), robot, 1));
    assert_eq!(there, [true, false, true, true, true]);
    check(&mut slab);
}

#[test]
fn another_stored_password_drops_all_credentials() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    cache.put_user(fact(&user_key(1)), &put(b"record", "old"), 0);
    let binding = keys().unwrap().tag(b"another");
    // With the same record, or another.
    for record in [b"record", b"Record"] {
        cache.put_user(fact(&user_key(1)), &put(b"record", "old"), 0);
        cache.put_user(
            fact(&user_key(1)),
            &NewRecord {
                binding,
                verified: Some(false),
                ..put(record, "x")
            },
            0,
        );
        assert!(!is_verified(&mut cache, &user_key(1), "old", 1));
    }
    check(&mut slab);
}

#[test]
fn another_record_keeps_the_credentials() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    cache.put_user(fact(&user_key(1)), &put(b"record", "a"), 0);
    cache.put_user(fact(&user_key(1)), &put(b"a longer record", "b"), 0);
    assert!(is_verified(&mut cache, &user_key(1), "a", 1));
    assert!(is_verified(&mut cache, &user_key(1), "b", 1));
    check(&mut slab);
}

#[test]
fn what_turned_out_wrong_is_right_no_more() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let key = user_key(1);
    let (password, tag) = ("password", keys().unwrap().tag(b"password"));
    cache.put_user(fact(&key), &put(b"record", password), 0);
    cache.put_user(
        fact(&key),
        &NewRecord {
            verified: Some(false),
            ..put(b"record", password)
        },
        0,
    );
    assert!(matches!(cache.find_user(fact(&key), tag, fresh(1)), Found::Wrong));
    // And what turned out right is wrong no more, though four others push it out.
    cache.put_user(fact(&key), &put(b"record", password), 0);
    assert!(is_verified(&mut cache, &key, password, 1));
    for robot in ["a", "b", "c", "d"] {
        cache.put_user(fact(&key), &put(b"record", robot), 0);
    }
    assert!(matches!(
        cache.find_user(fact(&key), tag, fresh(1)),
        Found::Unverified
    ));
}

#[test]
fn empty_places_for_tags_verify_nothing() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let key = user_key(1);
    cache.put_user(fact(&key), &put(b"record", "password"), 0);
    for password in 0..1_000u32 {
        let tag = keys().unwrap().tag(&password.to_le_bytes());
        assert!(matches!(
            cache.find_user(fact(&key), tag, fresh(1)),
            Found::Unverified
        ));
    }
}

#[test]
fn passwords_in_one_hash_are_forgotten_together() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    cache.put_user(
        fact(&user_key(1)),
        &NewRecord {
            from_passwords: true,
            ..put(b"record", "a")
        },
        0,
    );
    cache.put_user(fact(&user_key(2)), &put(b"record", "a"), 0);
    cache.put_unknown_user(fact(&user_key(3)), keys().unwrap().tag(b"a"), 60_000, 0);
    cache.invalidate_passwords();
    assert!(!is_verified(&mut cache, &user_key(1), "a", 1));
    assert!(is_verified(&mut cache, &user_key(2), "a", 1));
    let tag = keys().unwrap().tag(b"a");
    assert!(matches!(
        cache.find_user(fact(&user_key(3)), tag, fresh(1)),
        Found::Missing
    ));
}

#[test]
fn user_who_no_longer_exists() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let tag = keys().unwrap().tag(b"a");
    cache.put_user(fact(&user_key(1)), &put(b"record", "a"), 0);
    cache.put_unknown_user(fact(&user_key(1)), keys().unwrap().tag(b"a"), 60_000, 0);
    assert!(matches!(
        cache.find_user(fact(&user_key(1)), tag, fresh(1)),
        Found::Wrong
    ));
    assert_eq!(cache.counts(), (0, 1));
    cache.put_user(fact(&user_key(1)), &put(b"record", "a"), 0);
    assert!(is_verified(&mut cache, &user_key(1), "a", 1));
    assert_eq!(cache.counts(), (1, 0));
    check(&mut slab);
}

#[test]
fn expired_is_not_fresh() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    cache.put_user(fact(&user_key(1)), &put(b"record", "a"), 0);
    assert!(is_verified(&mut cache, &user_key(1), "a", 59_999));
    assert!(!is_verified(&mut cache, &user_key(1), "a", 60_000));
}

#[test]
fn clock_that_jumps_back_harms_nothing() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    for user in 0..400 {
        let now = [50_000, 1_000, u64::MAX, 0][user % 4];
        cache.put_user(fact(&user_key(user)), &put(&[1; 60], "a"), now);
        assert!(is_verified(&mut cache, &user_key(user), "a", 0));
    }
    check(&mut slab);
}

#[test]
fn who_is_vouched_for_needs_no_credential_and_leaves_none() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let (key, token) = (user_key(1), keys().unwrap().tag(b"token"));
    assert!(matches!(
        cache.find_preverified_user(fact(&key), token, fresh(1)),
        Found::Missing
    ));
    cache.put_user(fact(&key), &put(b"record", "a"), 0);
    let Found::Verified(known) = cache.find_preverified_user(fact(&key), token, fresh(1)) else {
        panic!("a known user");
    };
    assert_eq!(cache.record_bytes(known), b"record");
    // What is put for a token neither makes it a password, nor takes a robot's place.
    for robot in ["b", "c", "d"] {
        cache.put_user(fact(&key), &put(b"record", robot), 0);
    }
    for record in [&b"record"[..], b"another"] {
        let vouched = NewRecord {
            tag: token,
            verified: None,
            ..put(record, "a")
        };
        cache.put_user(fact(&key), &vouched, 0);
        assert!(matches!(
            cache.find_user(fact(&key), token, fresh(1)),
            Found::Unverified
        ));
        for robot in ["a", "b", "c", "d"] {
            assert!(is_verified(&mut cache, &key, robot, 1), "{robot}");
        }
    }
    // A user who is gone.
    cache.put_unknown_user(fact(&key), token, 60_000, 0);
    assert!(matches!(
        cache.find_preverified_user(fact(&key), token, fresh(1)),
        Found::Wrong
    ));
    let other = keys().unwrap().tag(b"other");
    assert!(matches!(
        cache.find_preverified_user(fact(&key), other, fresh(1)),
        Found::Unverified
    ));
}

#[test]
fn what_was_right_is_known_after_its_time_and_after_changes_as_long_as_the_password_is_the_same() {
    type Change = fn(&mut Cache<'_, Slab>);
    let changes: [(&str, Change); 4] = [
        ("the record changed", |cache| {
            cache.invalidate_user(fact(&user_key(1)))
        }),
        ("some password changed", |cache| cache.invalidate_passwords()),
        ("everything may have changed", |cache| cache.invalidate_all()),
        ("changes may have been missed", |cache| cache.mark_all_stale(1)),
    ];
    let tag = |password: &str| keys().unwrap().tag(password.as_bytes());
    let from_passwords = |password| NewRecord {
        from_passwords: true,
        ..put(b"record", password)
    };
    for (name, change) in changes {
        let mut slab = Slab::new(SMALL);
        let mut cache = open(&mut slab);
        cache.put_user(fact(&user_key(1)), &from_passwords("a"), 0);
        let wrong = NewRecord {
            verified: Some(false),
            ..from_passwords("b")
        };
        cache.put_user(fact(&user_key(1)), &wrong, 0);
        change(&mut cache);
        assert!(!is_verified(&mut cache, &user_key(1), "a", 1), "{name}");
        let known = cache.find_once_verified(fact(&user_key(1)), tag("a"));
        assert_eq!(
            known.map(|known| cache.record_bytes(known)),
            Some(&b"record"[..]),
            "{name}"
        );
        for other in ["b", "c"] {
            assert!(
                cache.find_once_verified(fact(&user_key(1)), tag(other)).is_none(),
                "{name}"
            );
        }
        assert!(cache.find_once_verified(fact(&user_key(2)), tag("a")).is_none());
        check(&mut slab);
    }
    // Another stored password ends it, as does the user's end.
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    cache.put_user(fact(&user_key(1)), &put(b"record", "a"), 0);
    cache.invalidate_user(fact(&user_key(1)));
    let another = NewRecord {
        binding: keys().unwrap().tag(b"another"),
        ..put(b"record", "b")
    };
    cache.put_user(fact(&user_key(1)), &another, 0);
    assert!(cache.find_once_verified(fact(&user_key(1)), tag("a")).is_none());
    assert!(cache.find_once_verified(fact(&user_key(1)), tag("b")).is_some());
    cache.invalidate_user(fact(&user_key(1)));
    cache.put_unknown_user(fact(&user_key(1)), tag("c"), 60_000, 0);
    assert!(cache.find_once_verified(fact(&user_key(1)), tag("b")).is_none());
    check(&mut slab);
}

#[test]
fn a_users_change_makes_the_record_old_and_stale_as_well() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let tag = keys().unwrap().tag(b"a");
    cache.put_user(fact(&user_key(1)), &put(b"record", "a"), 0);
    let before = cache.generation();
    cache.invalidate_user(fact(&user_key(1)));
    assert_ne!(cache.generation(), before);
    let stale = Freshness::Stale {
        now: 1,
        max_stale: u64::MAX,
    };
    for moment in [fresh(1), stale] {
        assert!(matches!(
            cache.find_user(fact(&user_key(1)), tag, moment),
            Found::Missing
        ));
    }
    // A user of whom nothing was right leaves nothing.
    let wrong = NewRecord {
        verified: Some(false),
        ..put(b"record", "a")
    };
    cache.put_user(fact(&user_key(2)), &wrong, 0);
    cache.invalidate_user(fact(&user_key(2)));
    assert_eq!(cache.counts(), (1, 0));
    check(&mut slab);
}

#[test]
fn a_password_has_one_tag_for_each_user_and_salt() {
    let keys = keys().unwrap();
    let mut tags: Vec<u128> = vec![keys.tag(b"alicesecret").0, keys.tag(b"alice\0secret").0];
    for (salt, user, password) in [
        ("", "alice", "secret"),
        ("", "alices", "ecret"),
        ("", "alice", "secrets"),
        ("s", "alice", "secret"),
        ("t", "alice", "secret"),
        ("ts", "alice", "secre"),
        ("", "bob", "secret"),
    ] {
        tags.push(keys.password_tag(salt.as_bytes(), user, password.as_bytes()).0);
    }
    let count = tags.len();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), count);
}
