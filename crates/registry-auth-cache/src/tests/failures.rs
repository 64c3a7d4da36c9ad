//! Different wrong passwords are counted, for a client and a user, in a period.

use super::slab::Slab;
use super::{check, fact, is_verified, keys, open, put, user_key, SMALL};
use crate::failures::MOST;
use crate::subjects::Tag;
use crate::{Cache, Failures, Memory};

const LIMIT: Failures = Failures {
    number: 3,
    period: 10_000,
};

fn tag(password: u32) -> Tag {
    keys().unwrap().tag(&password.to_le_bytes())
}

fn fail<M: Memory>(cache: &mut Cache<'_, M>, who: &[u8], passwords: std::ops::Range<u32>, now: u64) {
    for password in passwords {
        cache.failed(fact(who), tag(password), LIMIT, now);
    }
}

#[test]
fn limit_is_reached_with_the_last_that_is_borne() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    fail(&mut cache, b"alice\x001.2.3.4", 0..2, 0);
    assert_eq!(cache.blocked(fact(b"alice\x001.2.3.4"), LIMIT, 0), None);
    fail(&mut cache, b"alice\x001.2.3.4", 2..3, 1_000);
    assert_eq!(
        cache.blocked(fact(b"alice\x001.2.3.4"), LIMIT, 4_000),
        Some(6_000)
    );
    assert_eq!(cache.blocked(fact(b"alice\x001.2.3.5"), LIMIT, 4_000), None);
    assert_eq!(cache.blocked(fact(b"bob\x001.2.3.4"), LIMIT, 4_000), None);
    check(&mut slab);
}

#[test]
fn one_wrong_password_counts_once() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    for now in 0..1_000 {
        fail(&mut cache, b"who", 7..9, now);
    }
    assert_eq!(cache.blocked(fact(b"who"), LIMIT, 1_000), None);
}

#[test]
fn period_ends_though_failures_go_on() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    fail(&mut cache, b"who", 0..50, 0);
    fail(&mut cache, b"who", 50..60, 9_999);
    assert_eq!(cache.blocked(fact(b"who"), LIMIT, 9_999), Some(1));
    assert_eq!(cache.blocked(fact(b"who"), LIMIT, 10_000), None);
    fail(&mut cache, b"who", 0..2, 10_000);
    assert_eq!(cache.blocked(fact(b"who"), LIMIT, 10_000), None);
    fail(&mut cache, b"who", 2..3, 10_001);
    assert_eq!(cache.blocked(fact(b"who"), LIMIT, 10_001), Some(9_999));
    check(&mut slab);
}

#[test]
fn limit_may_change_over_a_reload() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    fail(&mut cache, b"who", 0..3, 0);
    let larger = Failures {
        number: 5,
        period: 10_000,
    };
    assert_eq!(cache.blocked(fact(b"who"), larger, 1), None);
    cache.failed(fact(b"who"), tag(3), larger, 1);
    assert_eq!(cache.blocked(fact(b"who"), larger, 1), None);
    cache.failed(fact(b"who"), tag(4), larger, 1);
    assert_eq!(cache.blocked(fact(b"who"), larger, 1), Some(9_999));
    let smaller = Failures {
        number: 1,
        period: 500,
    };
    assert_eq!(cache.blocked(fact(b"who"), smaller, 1), Some(500));
}

#[test]
fn limits_beyond_what_can_be_counted() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let none = Failures {
        number: 0,
        period: 10_000,
    };
    assert_eq!(cache.blocked(fact(b"who"), none, 0), None);
    fail(&mut cache, b"who", 0..1, 0);
    assert!(cache.blocked(fact(b"who"), none, 0).is_some());
    let huge = Failures {
        number: u32::MAX,
        period: u64::MAX,
    };
    fail(&mut cache, b"who", 1..2 * MOST + 10, 0);
    assert!(cache.blocked(fact(b"who"), huge, 0).is_some());
    check(&mut slab);
}

#[test]
fn long_names_are_counted_apart() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let [one, other] = ["a", "b"].map(|last| ["x".repeat(500).as_bytes(), last.as_bytes()].concat());
    fail(&mut cache, &one, 0..3, 0);
    assert!(cache.blocked(fact(&one), LIMIT, 0).is_some());
    assert!(cache.blocked(fact(&other), LIMIT, 0).is_none());
    check(&mut slab);
}

#[test]
fn spray_of_users_and_addresses_is_bounded() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    for user in 0..20 {
        cache.put_user(fact(&user_key(user)), &put(&[1; 60], "password"), 0);
    }
    fail(&mut cache, b"who", 0..3, 0);
    for number in 0..5_000u32 {
        cache.put_unknown(
            fact(format!("nobody{number}").as_bytes()),
            keys().unwrap().tag(b"a"),
            60_000,
            0,
        );
        assert!(cache.counts().1 <= SMALL as u32 / 8 / 312);
    }
    assert!(
        cache.blocked(fact(b"who"), LIMIT, 0).is_some(),
        "unknown users push out no failures"
    );
    for number in 0..5_000u32 {
        fail(&mut cache, format!("client{number}").as_bytes(), 0..1, 0);
        assert!(cache.counts().1 <= SMALL as u32 / 8 / 312);
    }
    assert!((0..20).all(|user| is_verified(&mut cache, &user_key(user), "password", 1)));
    check(&mut slab);
}

#[test]
fn facts_push_out_no_failures() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    fail(&mut cache, b"who", 0..3, 0);
    for user in 0..2_000 {
        cache.put_user(fact(&user_key(user)), &put(&[1; 60 + 13], "password"), 0);
    }
    assert!(cache.blocked(fact(b"who"), LIMIT, 0).is_some());
    check(&mut slab);
}

#[test]
fn who_fails_again_stays_longest() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    fail(&mut cache, b"who", 0..3, 0);
    // Half of a small block's slots are for failures: six.
    for number in 1..9u32 {
        let now = 1_000 * u64::from(number);
        fail(&mut cache, format!("client{number}").as_bytes(), 0..1, now);
        fail(&mut cache, b"who", 0..1, now);
    }
    assert!(cache.blocked(fact(b"who"), LIMIT, 8_000).is_some());
    check(&mut slab);
}
