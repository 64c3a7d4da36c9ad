//! Rendezvous hashing: each promise of the module's invariant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use registry_auth::rendezvous::{rank, weight};
use std::cmp::Reverse;

/// The backends in the order in which the key tries them.
fn order(key: &str, backends: &[String]) -> Vec<String> {
    let mut order = backends.to_vec();
    order.sort_by_key(|name| Reverse(rank(key.as_bytes(), name.as_bytes(), name.as_bytes())));
    order
}

fn backends(count: usize) -> Vec<String> {
    (1..=count)
        .map(|number| format!("10.0.0.{number}:5000"))
        .collect()
}

/// Other machines, and other versions of this, must choose the same: what was pushed is there.
#[test]
fn the_choice_never_changes() {
    let choice = |key: &str| {
        order(key, &backends(5))
            .concat()
            .replace("10.0.0.", "")
            .replace(":5000", " ")
    };
    assert_eq!(
        ["", "alice", "bob", "carol", "team/app", "library/ubuntu"].map(choice),
        GOLDEN
    );
}

const GOLDEN: [&str; 6] = [
    "3 1 5 2 4 ",
    "1 3 4 2 5 ",
    "3 1 5 4 2 ",
    "1 5 3 4 2 ",
    "2 1 3 5 4 ",
    "3 4 1 5 2 ",
];

#[test]
fn parts_do_not_run_into_each_other() {
    assert_ne!(weight(b"ab", b"c", b"d"), weight(b"a", b"bc", b"d"));
    assert_ne!(weight(b"a", b"bc", b"d"), weight(b"a", b"b", b"cd"));
    assert_ne!(weight(b"", b"a", b""), weight(b"a", b"", b""));
}

/// What was pushed to a backend is found there after it got another address, as a container does.
#[test]
fn a_name_keeps_its_keys_whatever_its_address() {
    let names = ["one:5000", "two:5000", "three:5000"];
    let first = |key: &str, address: &str| {
        let rank = |name: &&&str| {
            rank(
                key.as_bytes(),
                name.as_bytes(),
                format!("{address}{name}").as_bytes(),
            )
        };
        names.iter().max_by_key(rank).unwrap()
    };
    for key in 0..100 {
        let key = format!("team/app{key}");
        assert_eq!(first(&key, "10.0.0.1"), first(&key, "10.0.0.2"), "{key}");
    }
}

/// Of a name with several addresses each has its share of the keys.
#[test]
fn the_addresses_of_a_name_are_told_apart() {
    let order = |key: i32| {
        let of = |address| rank(format!("app{key}").as_bytes(), b"registry:5000", address);
        of(b"10.0.0.1:5000") > of(b"10.0.0.2:5000")
    };
    let first = (0..1000).filter(|key| order(*key)).count();
    assert!((400..600).contains(&first), "{first}");
}

/// 10,000 keys over five backends: each has about a fifth, and as the second choice a fifth of the others' as
/// well.
#[test]
fn keys_are_spread_evenly() {
    let backends = backends(5);
    let mut counts = [[0_i32; 5]; 5];
    for key in 0..10_000 {
        let order = order(&format!("user{key}"), &backends);
        let at = |rank: usize| backends.iter().position(|name| *name == order[rank]).unwrap();
        counts[at(0)][at(1)] += 1;
    }
    for (first, row) in counts.iter().enumerate() {
        let all: i32 = row.iter().sum();
        assert!((1800..2200).contains(&all), "{first}: {all}");
        for (second, count) in row.iter().enumerate().filter(|(second, _)| *second != first) {
            assert!((400..600).contains(count), "{first}, then {second}: {count}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_the_list_does_not_matter(key in "[a-z/]{0,12}", count in 1_usize..8, turn in 0_usize..8) {
        let list = backends(count);
        let mut turned = list.clone();
        turned.rotate_left(turn % count);
        turned.reverse();
        prop_assert_eq!(order(&key, &list), order(&key, &turned));
    }

    /// A backend that goes takes its own keys along, and no others; where it comes back, so do they.
    #[test]
    fn a_backend_that_goes_moves_its_own_keys_only(
        key in "[a-z/]{0,12}",
        count in 2_usize..8,
        gone in 0_usize..8,
    ) {
        let list = backends(count);
        let mut rest = list.clone();
        let gone = rest.remove(gone % count);
        let mut expected = order(&key, &list);
        expected.retain(|name| *name != gone);
        prop_assert_eq!(order(&key, &rest), expected);
    }
}
