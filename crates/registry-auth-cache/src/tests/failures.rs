//! Different wrong passwords are counted, for a client and a user and for a client alone, in a period.

use proptest::prelude::*;

use super::slab::Slab;
use super::{SMALL, check, client, fact, is_verified, keys, open, put, user_key};
use crate::Tag;
use crate::failures::{MAX_PER_ADDRESS, MAX_PER_USER, RETRY_INTERVAL_MS, may_any_be_blocked, may_be_blocked};
use crate::layout::MIN_SLOTS;
use crate::memory::Numbers;
use crate::{Attempt, Cache, FailureLimits, LoginResult, Memory, Reservation};

const LIMIT: FailureLimits = FailureLimits {
    per_user: 3,
    per_address: 8,
    period: 10_000,
};

fn tag(password: u32) -> Tag {
    keys().unwrap().tag(&password.to_le_bytes())
}

fn fail<M: Memory>(
    cache: &mut Cache<'_, M>,
    (user, address): (&str, &str),
    passwords: std::ops::Range<u32>,
    now: u64,
) {
    for password in passwords {
        cache.count_failure(&client(user, address).login(), tag(password), LIMIT, now);
    }
}

fn blocked<M: Memory>(cache: &mut Cache<'_, M>, (user, address): (&str, &str), now: u64) -> Option<u64> {
    cache.blocked_for(&client(user, address).login(), LIMIT, now)
}

fn attempt<M: Memory>(
    cache: &mut Cache<'_, M>,
    (user, address): (&str, &str),
    password: u32,
    now: u64,
) -> Attempt {
    cache.begin_login(&client(user, address).login(), tag(password), LIMIT, now)
}

/// What was reserved for a login that may go on.
fn begun<M: Memory>(cache: &mut Cache<'_, M>, who: (&str, &str), password: u32, now: u64) -> Reservation {
    match attempt(cache, who, password, now) {
        Attempt::Allowed(reserved) => reserved,
        Attempt::Wait(left) => panic!("{who:?} has to wait for {left}"),
    }
}

fn settle<M: Memory>(
    cache: &mut Cache<'_, M>,
    (user, address): (&str, &str),
    (password, reserved): (u32, Reservation),
    settled: LoginResult,
    now: u64,
) {
    let who = client(user, address);
    cache.finish_login(&who.login(), tag(password), reserved, settled, LIMIT, now);
}

/// As a worker asks, without the lock.
fn is_noted(slab: &Slab, address: &str) -> bool {
    let who = client("", address);
    let peek = |at: usize| Some(slab.bytes().get_u64(slab.root() as usize + at));
    let login = who.login();
    let networks = [login.network, login.wider[0].network, login.wider[1].network];
    let is_noted = may_be_blocked(peek, |index| networks[index]);
    assert!(may_any_be_blocked(peek) || !is_noted);
    is_noted
}

const ALICE: (&str, &str) = ("alice", "1.2.3.4");

#[test]
fn limit_is_reached_with_the_last_that_is_borne() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    fail(&mut cache, ALICE, 0..2, 0);
    assert_eq!(blocked(&mut cache, ALICE, 0), None);
    fail(&mut cache, ALICE, 2..3, 1_000);
    assert_eq!(blocked(&mut cache, ALICE, 4_000), Some(6_000));
    assert_eq!(blocked(&mut cache, ("alice", "1.2.3.5"), 4_000), None);
    assert_eq!(blocked(&mut cache, ("bob", "1.2.3.4"), 4_000), None);
    check(&mut slab);
}

#[test]
fn one_wrong_password_counts_once() {
    let mut slab = Slab::new(1024 * 1024);
    let mut cache = open(&mut slab);
    for now in 0..1_000 {
        fail(&mut cache, ALICE, 7..9, now);
    }
    assert_eq!(blocked(&mut cache, ALICE, 1_000), None);
    // Nor does it count more than once for the client.
    fail(&mut cache, ("bob", "1.2.3.4"), 0..3, 1_000);
    fail(&mut cache, ("carol", "1.2.3.4"), 0..2, 1_000);
    assert_eq!(blocked(&mut cache, ("dave", "1.2.3.4"), 1_000), None);
    fail(&mut cache, ("carol", "1.2.3.4"), 2..3, 1_000);
    assert!(blocked(&mut cache, ("dave", "1.2.3.4"), 1_000).is_some());
}

#[test]
fn a_client_has_a_limit_for_all_users_together() {
    let mut slab = Slab::new(1024 * 1024);
    let mut cache = open(&mut slab);
    for user in 0..7 {
        fail(&mut cache, (&format!("user{user}"), "1.2.3.4"), 0..1, 0);
    }
    assert_eq!(blocked(&mut cache, ("alice", "1.2.3.4"), 4_000), None);
    fail(&mut cache, ("user7", "1.2.3.4"), 0..1, 1_000);
    // From the first of them on, and for users who were never tried.
    assert_eq!(blocked(&mut cache, ("alice", "1.2.3.4"), 4_000), Some(6_000));
    assert_eq!(blocked(&mut cache, ("alice", "1.2.3.5"), 4_000), None);
    assert_eq!(blocked(&mut cache, ("alice", "1.2.3.4"), 10_000), None);
    check(&mut slab);
}

#[test]
fn what_is_under_way_counts() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let under_way = [0, 1, 2].map(|password| (password, begun(&mut cache, ALICE, password, 0)));
    assert_eq!(attempt(&mut cache, ALICE, 3, 1), Attempt::Wait(RETRY_INTERVAL_MS));
    // The same password again is no other one.
    assert_eq!(begun(&mut cache, ALICE, 1, 1), Reservation::default());
    assert_eq!(blocked(&mut cache, ALICE, 1), None);
    // Two turn out wrong, of one nothing was found out: one more may be tried.
    settle(&mut cache, ALICE, under_way[0], LoginResult::Wrong, 2);
    settle(&mut cache, ALICE, under_way[1], LoginResult::Wrong, 2);
    settle(&mut cache, ALICE, under_way[2], LoginResult::Undecided, 2);
    assert_eq!(blocked(&mut cache, ALICE, 3), None);
    let last = (3, begun(&mut cache, ALICE, 3, 3));
    assert_eq!(attempt(&mut cache, ALICE, 4, 3), Attempt::Wait(RETRY_INTERVAL_MS));
    settle(&mut cache, ALICE, last, LoginResult::Wrong, 4);
    assert_eq!(attempt(&mut cache, ALICE, 4, 4), Attempt::Wait(9_996));
    check(&mut slab);
}

/// What is said of a password that is known to be right.
fn waits<M: Memory>(cache: &mut Cache<'_, M>, (user, address): (&str, &str), password: u32) -> Option<u64> {
    cache.wait_for(&client(user, address).login(), Some(tag(password)), LIMIT, 1)
}

#[test]
fn a_right_password_waits_as_wrong_ones_do_while_logins_are_under_way() {
    const RIGHT: u32 = 99;
    const RETRY: Option<u64> = Some(RETRY_INTERVAL_MS);
    let mut slab = Slab::new(1024 * 1024);
    let mut cache = open(&mut slab);
    let under_way = [0, 1, 2].map(|password| {
        assert_eq!(waits(&mut cache, ALICE, RIGHT), None);
        (password, begun(&mut cache, ALICE, password, 0))
    });
    // It would be told from the wrong ones, none of which is looked at.
    assert_eq!(waits(&mut cache, ALICE, RIGHT), RETRY);
    assert_eq!(attempt(&mut cache, ALICE, 3, 1), Attempt::Wait(RETRY_INTERVAL_MS));
    assert_eq!(
        cache.wait_for(&client(ALICE.0, ALICE.1).login(), None, LIMIT, 1),
        RETRY
    );
    // Those under way are looked at anyhow, and other users and clients have nothing to do with it.
    assert_eq!(waits(&mut cache, ALICE, 2), None);
    assert_eq!(waits(&mut cache, ("bob", "1.2.3.4"), RIGHT), None);
    assert_eq!(waits(&mut cache, ("alice", "1.2.3.5"), RIGHT), None);
    assert!(is_noted(&slab, "1.2.3.4"));
    assert!(!is_noted(&slab, "1.2.3.5"));
    // With one place left it may go on; what the others come to makes no difference.
    let mut cache = open(&mut slab);
    settle(&mut cache, ALICE, under_way[0], LoginResult::Wrong, 1);
    assert_eq!(waits(&mut cache, ALICE, RIGHT), RETRY);
    settle(&mut cache, ALICE, under_way[1], LoginResult::Undecided, 1);
    assert_eq!(waits(&mut cache, ALICE, RIGHT), None);
    // Noted as long as anything counts.
    assert!(is_noted(&slab, "1.2.3.4"));
    let mut cache = open(&mut slab);
    settle(&mut cache, ALICE, under_way[2], LoginResult::Right, 1);
    for (password, name) in ["b", "c", "d", "e", "f", "g", "h"].into_iter().enumerate() {
        assert_eq!(waits(&mut cache, ALICE, RIGHT), None);
        begun(&mut cache, (name, "1.2.3.4"), password as u32, 1);
    }
    assert_eq!(waits(&mut cache, ALICE, RIGHT), RETRY, "for all users together");
    assert_eq!(waits(&mut cache, ("h", "1.2.3.4"), 6), None);
    assert!(is_noted(&slab, "1.2.3.4"));
    check(&mut slab);
}

#[test]
fn what_is_under_way_counts_for_all_users_together() {
    let mut slab = Slab::new(1024 * 1024);
    let mut cache = open(&mut slab);
    let users: Vec<String> = (0..8).map(|user| format!("user{user}")).collect();
    let under_way: Vec<Reservation> = users
        .iter()
        .map(|user| begun(&mut cache, (user, "1.2.3.4"), 0, 0))
        .collect();
    assert_eq!(attempt(&mut cache, ALICE, 0, 0), Attempt::Wait(RETRY_INTERVAL_MS));
    begun(&mut cache, ("alice", "1.2.3.5"), 0, 0);
    for (user, reserved) in users.iter().zip(under_way) {
        settle(
            &mut cache,
            (user, "1.2.3.4"),
            (0, reserved),
            LoginResult::Right,
            1,
        );
    }
    begun(&mut cache, ALICE, 0, 1);
    check(&mut slab);
}

#[test]
fn a_right_password_leaves_nothing_behind() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    for user in 0..1_000 {
        let (user, now) = (format!("user{user}"), u64::from(user % 3 == 0));
        let reserved = begun(&mut cache, (&user, "1.2.3.4"), 7, now);
        assert_eq!(cache.counts().1, 2);
        settle(
            &mut cache,
            (&user, "1.2.3.4"),
            (7, reserved),
            LoginResult::Right,
            now,
        );
        assert_eq!(cache.counts().1, 0);
    }
    check(&mut slab);
}

#[test]
fn a_login_that_nobody_waits_for_counts_until_its_period_is_over() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    for password in 0..3 {
        begun(&mut cache, ALICE, password, 0);
    }
    assert_eq!(
        attempt(&mut cache, ALICE, 3, 9_999),
        Attempt::Wait(RETRY_INTERVAL_MS)
    );
    // It may be tried again, and is right then.
    let again = begun(&mut cache, ALICE, 2, 9_999);
    settle(&mut cache, ALICE, (2, again), LoginResult::Right, 9_999);
    begun(&mut cache, ALICE, 3, 9_999);
    assert_eq!(
        attempt(&mut cache, ALICE, 4, 9_999),
        Attempt::Wait(RETRY_INTERVAL_MS)
    );
    begun(&mut cache, ALICE, 4, 10_000);
    check(&mut slab);
}

#[test]
fn what_was_reserved_is_given_back_in_its_own_period_only() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let earlier = begun(&mut cache, ALICE, 1, 0);
    // The same password, under way in the next period.
    begun(&mut cache, ALICE, 1, 10_000);
    begun(&mut cache, ALICE, 2, 10_000);
    begun(&mut cache, ALICE, 3, 10_000);
    settle(&mut cache, ALICE, (1, earlier), LoginResult::Undecided, 10_001);
    assert_eq!(
        attempt(&mut cache, ALICE, 4, 10_001),
        Attempt::Wait(RETRY_INTERVAL_MS)
    );
    // A wrong one of the earlier period counts in this one.
    let mut cache = open(&mut slab);
    let earlier = begun(&mut cache, ("bob", "1.2.3.5"), 1, 0);
    settle(
        &mut cache,
        ("bob", "1.2.3.5"),
        (1, earlier),
        LoginResult::Wrong,
        10_000,
    );
    fail(&mut cache, ("bob", "1.2.3.5"), 2..4, 10_000);
    assert_eq!(blocked(&mut cache, ("bob", "1.2.3.5"), 10_000), Some(10_000));
    check(&mut slab);
}

#[test]
fn who_did_not_reserve_gives_nothing_back() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    for password in 0..3 {
        begun(&mut cache, ALICE, password, 0);
    }
    let second = begun(&mut cache, ALICE, 1, 0);
    settle(&mut cache, ALICE, (1, second), LoginResult::Undecided, 0);
    assert_eq!(attempt(&mut cache, ALICE, 3, 0), Attempt::Wait(RETRY_INTERVAL_MS));
    // But what it finds out holds.
    settle(&mut cache, ALICE, (1, second), LoginResult::Right, 0);
    begun(&mut cache, ALICE, 3, 0);
    check(&mut slab);
}

#[test]
fn one_of_two_logins_with_a_right_password_gives_back_what_the_other_reserved() {
    let mut slab = Slab::new(1024 * 1024);
    let mut cache = open(&mut slab);
    // The client of the first one may be gone; or it comes to its end later.
    let users: Vec<String> = (0..50).map(|user| format!("user{user}")).collect();
    for (now, user) in (0..).zip(&users) {
        let who = (user.as_str(), "1.2.3.4");
        let first = begun(&mut cache, who, 0, now);
        let second = begun(&mut cache, who, 0, now);
        settle(&mut cache, who, (0, second), LoginResult::Right, now);
        settle(&mut cache, who, (0, first), LoginResult::Right, now);
    }
    assert_eq!(cache.counts().1, 0);
    // Not in a period of the client that began later: it is counted there no more.
    begun(&mut cache, ("early", "1.2.3.4"), 0, 0);
    begun(&mut cache, ALICE, 1, 9_000);
    let others = [2, 3].map(|password| (password, begun(&mut cache, ("bob", "1.2.3.4"), password, 11_000)));
    let again = begun(&mut cache, ALICE, 1, 11_000);
    settle(&mut cache, ALICE, (1, again), LoginResult::Right, 11_000);
    for other in others {
        settle(
            &mut cache,
            ("bob", "1.2.3.4"),
            other,
            LoginResult::Undecided,
            11_000,
        );
    }
    assert_eq!(cache.counts().1, 1, "the early one's, whose period is over");
    check(&mut slab);
}

#[test]
fn period_ends_though_failures_go_on() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    fail(&mut cache, ALICE, 0..50, 0);
    fail(&mut cache, ALICE, 50..60, 9_999);
    assert_eq!(blocked(&mut cache, ALICE, 9_999), Some(1));
    assert_eq!(blocked(&mut cache, ALICE, 10_000), None);
    fail(&mut cache, ALICE, 0..2, 10_000);
    assert_eq!(blocked(&mut cache, ALICE, 10_000), None);
    fail(&mut cache, ALICE, 2..3, 10_001);
    assert_eq!(blocked(&mut cache, ALICE, 10_001), Some(9_999));
    check(&mut slab);
}

#[test]
fn limit_may_change_over_a_reload_and_differ_between_locations() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let who = client("alice", "1.2.3.4");
    fail(&mut cache, ALICE, 0..3, 0);
    let larger = FailureLimits { per_user: 5, ..LIMIT };
    assert_eq!(cache.blocked_for(&who.login(), larger, 1), None);
    cache.count_failure(&who.login(), tag(3), larger, 1);
    assert_eq!(cache.blocked_for(&who.login(), larger, 1), None);
    cache.count_failure(&who.login(), tag(4), larger, 1);
    assert_eq!(cache.blocked_for(&who.login(), larger, 1), Some(9_999));
    let smaller = FailureLimits {
        per_user: 1,
        period: 500,
        ..LIMIT
    };
    assert_eq!(cache.blocked_for(&who.login(), smaller, 1), Some(500));
    // Who has not reached the limit where it was counted is noted where it is lower.
    cache.count_failure(&client("bob", "5.6.7.8").login(), tag(0), larger, 1);
    assert!(!is_noted(&slab, "5.6.7.8"));
    let mut cache = open(&mut slab);
    assert_eq!(
        cache.blocked_for(&client("bob", "5.6.7.8").login(), smaller, 1),
        Some(500)
    );
    assert!(is_noted(&slab, "5.6.7.8"));
    check(&mut slab);
}

#[test]
fn limits_beyond_what_can_be_counted() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let who = client("alice", "1.2.3.4");
    let none = FailureLimits {
        per_user: 0,
        per_address: 0,
        period: 10_000,
    };
    assert_eq!(cache.blocked_for(&who.login(), none, 0), None);
    fail(&mut cache, ALICE, 0..1, 0);
    assert!(cache.blocked_for(&who.login(), none, 0).is_some());
    let huge = FailureLimits {
        per_user: u32::MAX,
        per_address: u32::MAX,
        period: u64::MAX,
    };
    fail(&mut cache, ALICE, 1..2 * MAX_PER_USER + 10, 0);
    assert!(cache.blocked_for(&who.login(), huge, 0).is_some());
    for password in 0..MAX_PER_ADDRESS {
        let user = format!("user{password}");
        cache.count_failure(&client(&user, "5.6.7.8").login(), tag(password), huge, 0);
    }
    assert!(
        cache
            .blocked_for(&client("bob", "5.6.7.8").login(), huge, 0)
            .is_some()
    );
    check(&mut slab);
}

#[test]
fn long_names_are_counted_apart() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let [one, other] = ["a", "b"].map(|last| "x".repeat(500) + last);
    fail(&mut cache, (&one, "a"), 0..3, 0);
    assert!(blocked(&mut cache, (&one, "a"), 0).is_some());
    assert!(blocked(&mut cache, (&other, "a"), 0).is_none());
    check(&mut slab);
}

#[test]
fn who_is_blocked_is_seen_without_the_lock() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    fail(&mut cache, ALICE, 0..2, 0);
    assert!(!is_noted(&slab, "1.2.3.4"));
    fail(&mut open(&mut slab), ALICE, 2..3, 0);
    assert!(is_noted(&slab, "1.2.3.4"));
    // Others are not, but for those who happen to share the place.
    let noted = (0..640).filter(|other| is_noted(&slab, &format!("10.0.0.{other}")));
    assert!((1..40).contains(&noted.count()));
    // Once the period is over, the next look takes it out.
    assert_eq!(blocked(&mut open(&mut slab), ALICE, 9_999), Some(1));
    assert!(is_noted(&slab, "1.2.3.4"));
    assert_eq!(blocked(&mut open(&mut slab), ("bob", "5.6.7.8"), 10_000), None);
    assert!(!is_noted(&slab, "1.2.3.4"));
    check(&mut slab);
}

#[test]
fn made_up_names_push_out_no_counter_that_has_reached_its_limit() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    fail(&mut cache, ALICE, 0..3, 0);
    for number in 0..5_000u32 {
        let (user, address) = (format!("nobody{number}"), format!("10.0.{number}"));
        fail(&mut cache, (&user, &address), 0..1, u64::from(number));
    }
    assert_eq!(blocked(&mut cache, ALICE, 5_000), Some(5_000));
    check(&mut slab);
}

#[test]
fn counters_at_their_limit_are_bounded() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    for number in 0..1_000u32 {
        let address = format!("10.0.{number}");
        fail(&mut cache, ("alice", &address), 0..3, u64::from(number));
        assert!(blocked(&mut cache, ("alice", &address), 1_000).is_some());
        assert!(cache.counts().1 <= MIN_SLOTS as u32);
    }
    // And those that are not at it have room.
    fail(&mut cache, ("bob", "1.2.3.4"), 0..2, 1_000);
    assert_eq!(blocked(&mut cache, ("bob", "1.2.3.4"), 1_000), None);
    fail(&mut cache, ("bob", "1.2.3.4"), 2..3, 1_000);
    assert!(blocked(&mut cache, ("bob", "1.2.3.4"), 1_000).is_some());
    check(&mut slab);
}

#[test]
fn a_right_password_where_the_limit_is_higher_hides_no_block() {
    let mut slab = Slab::new(1024 * 1024);
    let mut cache = open(&mut slab);
    for number in 0..8 {
        fail(&mut cache, (&format!("nobody{number}"), "1.2.3.4"), 0..1, 0);
    }
    assert!(blocked(&mut cache, ALICE, 1).is_some());
    // As of a login with a user and a password of one's own, elsewhere.
    let higher = FailureLimits {
        per_address: 100,
        ..LIMIT
    };
    let own = client("mallory", "1.2.3.4");
    let Attempt::Allowed(reserved) = cache.begin_login(&own.login(), tag(1), higher, 1) else {
        panic!("the limit is higher");
    };
    cache.finish_login(&own.login(), tag(1), reserved, LoginResult::Right, higher, 1);
    assert!(blocked(&mut cache, ALICE, 1).is_some());
    assert!(is_noted(&slab, "1.2.3.4"));
    check(&mut slab);
}

#[test]
fn blocks_without_room_block_the_network() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let address = |number: u32| format!("10.{}.{}.{}", number % 2, number / 2 % 3, number / 6);
    for number in 0..1_000 {
        fail(&mut cache, ("alice", &address(number)), 0..3, u64::from(number));
    }
    for number in 0..1_000 {
        let left = blocked(&mut cache, ("alice", &address(number)), 1_000);
        assert!(
            left >= Some(9_000 + u64::from(number)),
            "{} {left:?}",
            address(number)
        );
        assert!(left <= Some(10_000));
    }
    // Of the same networks: for all users. Others are not concerned.
    assert!(blocked(&mut cache, ("bob", "10.1.2.250"), 1_000).is_some());
    assert_eq!(blocked(&mut cache, ("alice", "10.2.0.1"), 1_000), None);
    assert_eq!(blocked(&mut cache, ("alice", "1.2.3.4"), 1_000), None);
    check(&mut slab);
    // Without the lock, too.
    assert!((0..1_000).all(|number| is_noted(&slab, &address(number))));
    // All is over with the period of the last, and nothing is left of it.
    let mut cache = open(&mut slab);
    for number in 0..1_000 {
        assert_eq!(blocked(&mut cache, ("alice", &address(number)), 10_999), None);
    }
    check(&mut slab);
    assert!((0..1_000).all(|number| !is_noted(&slab, &address(number))));
}

#[test]
fn a_block_of_a_network_goes_by_the_limits_of_each_location() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    for number in 0..10 {
        fail(&mut cache, ("alice", &format!("10.0.0.{number}")), 0..3, 0);
    }
    let who = client("bob", "10.0.0.99");
    assert_eq!(cache.blocked_for(&who.login(), LIMIT, 1_000), Some(9_000));
    let shorter = FailureLimits { period: 500, ..LIMIT };
    assert_eq!(cache.blocked_for(&who.login(), shorter, 1_000), Some(500));
    let higher = FailureLimits { per_user: 4, ..LIMIT };
    assert_eq!(cache.blocked_for(&who.login(), higher, 1_000), None);
    check(&mut slab);
}

#[test]
fn logins_under_way_without_room_block_the_network_too() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let address = |number: u32| format!("10.0.{}.{number}", number % 3);
    for number in 0..100 {
        for password in 0..3 {
            let _ = attempt(&mut cache, ("alice", &address(number)), password, 0);
        }
    }
    assert!((0..100).all(|number| waits(&mut cache, ("alice", &address(number)), 99).is_some()));
    assert_eq!(waits(&mut cache, ("alice", "10.1.0.1"), 99), None);
    check(&mut slab);
}

#[test]
fn a_large_block_has_room_for_many_networks() {
    let mut slab = Slab::new(1024 * 1024);
    let mut cache = open(&mut slab);
    let address = |number: u32| format!("10.{}.{}.1", number / 100, number % 100);
    for number in 0..150 {
        fail(&mut cache, ("alice", &address(number)), 0..3, 0);
    }
    assert!((0..150).all(|number| blocked(&mut cache, ("alice", &address(number)), 1).is_some()));
    // None was so crowded that a wider one is blocked.
    assert!((0..2).all(|number| blocked(&mut cache, ("alice", &format!("10.{number}.200.1")), 1).is_none()));
    check(&mut slab);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever is blocked stays so until the period is over, whoever else fails how often, as long as there
    /// are no more of the widest networks than the smallest block has room for in a set.
    #[test]
    fn nobody_is_free_before_the_period_is_over(
        steps in prop::collection::vec((0..8u8, 0..20u8, 0..20u8, 0..4u8, 1..4u32, 0..40u64), 1..200)
    ) {
        let mut slab = Slab::new(SMALL);
        let mut cache = open(&mut slab);
        let (mut until, mut now) = (std::collections::HashMap::new(), 0);
        for (outer, inner, host, user, passwords, wait) in steps {
            now += wait;
            let (user, address) = (format!("user{user}"), format!("10.{outer}.{inner}.{host}"));
            fail(&mut cache, (&user, &address), 0..passwords, now);
            if let Some(left) = blocked(&mut cache, (&user, &address), now) {
                until.insert((user, address), now + left);
            }
            until.retain(|_, until| now < *until);
            for ((user, address), until) in &until {
                let left = blocked(&mut cache, (user, address), now);
                prop_assert!(left >= Some(until - now), "{user} {address} {left:?} {until} {now}");
            }
        }
        check(&mut slab);
    }
}

#[test]
fn spray_of_users_and_addresses_is_bounded() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    for user in 0..20 {
        cache.put_user(fact(&user_key(user)), &put(&[1; 60], "password"), 0);
    }
    fail(&mut cache, ALICE, 0..3, 0);
    for number in 0..5_000u32 {
        cache.put_unknown_user(
            fact(format!("nobody{number}").as_bytes()),
            keys().unwrap().tag(b"a"),
            60_000,
            0,
        );
        assert!(cache.counts().1 <= MIN_SLOTS as u32);
    }
    assert!(
        blocked(&mut cache, ALICE, 0).is_some(),
        "unknown users push out no failures"
    );
    for number in 0..5_000u32 {
        fail(&mut cache, ("alice", &format!("client{number}")), 0..1, 0);
        assert!(cache.counts().1 <= MIN_SLOTS as u32);
    }
    assert!((0..20).all(|user| is_verified(&mut cache, &user_key(user), "password", 1)));
    check(&mut slab);
}

#[test]
fn facts_push_out_no_failures() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    fail(&mut cache, ALICE, 0..3, 0);
    for user in 0..2_000 {
        cache.put_user(fact(&user_key(user)), &put(&[1; 60 + 13], "password"), 0);
    }
    assert!(blocked(&mut cache, ALICE, 0).is_some());
    check(&mut slab);
}

#[test]
fn who_fails_again_stays_longest() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let period = |cache: &mut Cache<'_, Slab>, now| blocked(cache, ALICE, now);
    fail(&mut cache, ALICE, 0..2, 0);
    // Half of a small block's slots are for failures: six, two for each client here.
    for number in 1..9u32 {
        let now = 1_000 * u64::from(number);
        fail(&mut cache, ("alice", &format!("client{number}")), 0..1, now);
        fail(&mut cache, ALICE, 0..1, now);
    }
    fail(&mut cache, ALICE, 2..3, 9_000);
    assert_eq!(period(&mut cache, 9_000), Some(1_000));
    check(&mut slab);
}
