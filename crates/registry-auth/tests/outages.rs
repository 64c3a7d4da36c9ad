//! Backends that are down: each promise of the module's invariant.
#![allow(clippy::unwrap_used)]

use registry_auth::outages::{Outages, PAUSE};
use std::sync::atomic::{AtomicU64, Ordering};

const A: &[u8] = b"10.0.0.1:5000";
const B: &[u8] = b"10.0.0.2:5000";

fn numbers(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

#[test]
fn an_address_that_failed_is_left_alone_for_a_while_and_others_are_not() {
    let numbers = numbers(512);
    let outages = Outages(&numbers);
    assert!(outages.may_try(A, 5) && !outages.has_failed(A));
    outages.failed(A, 5);
    assert!(outages.has_failed(A) && !outages.has_failed(B));
    assert!(!outages.may_try(A, 5) && !outages.may_try(A, 4 + PAUSE));
    assert!(outages.may_try(B, 5));
}

#[test]
fn one_request_at_a_time_tries_whether_it_is_back() {
    let numbers = numbers(512);
    let outages = Outages(&numbers);
    outages.failed(A, 0);
    assert!(outages.may_try(A, PAUSE));
    assert!(!outages.may_try(A, PAUSE), "another one's turn");
    assert!(outages.has_failed(A), "nobody knows yet");
    assert!(outages.may_try(A, 2 * PAUSE), "the first one never came back");
}

#[test]
fn a_turn_that_was_not_used_is_given_back() {
    let numbers = numbers(512);
    let outages = Outages(&numbers);
    outages.failed(A, 0);
    outages.gave_up(A, 5);
    assert!(!outages.is_due(A, PAUSE - 1), "nobody had a turn");
    assert!(outages.may_try(A, PAUSE));
    outages.gave_up(A, PAUSE);
    assert!(outages.is_due(A, PAUSE) && outages.may_try(A, PAUSE + 1));
    outages.gave_up(A, PAUSE);
    assert!(!outages.is_due(A, PAUSE + 1), "another one's turn");
}

#[test]
fn to_look_whether_an_address_may_be_tried_takes_nobodys_turn() {
    let numbers = numbers(512);
    let outages = Outages(&numbers);
    assert!(outages.is_due(A, 0));
    outages.failed(A, 0);
    assert!(!outages.is_due(A, PAUSE - 1));
    assert!(outages.is_due(A, PAUSE) && outages.is_due(A, PAUSE) && outages.may_try(A, PAUSE));
    assert!(!outages.is_due(A, PAUSE));
}

#[test]
fn an_address_that_was_reached_is_as_before() {
    let numbers = numbers(512);
    let outages = Outages(&numbers);
    outages.reached(A);
    outages.failed(A, 0);
    outages.reached(B);
    assert!(outages.has_failed(A));
    outages.reached(A);
    assert!(!outages.has_failed(A) && outages.may_try(A, 1));
    assert!(numbers.iter().all(|number| number.load(Ordering::Relaxed) == 0));
}

/// A later failure in the place of an earlier one: at worst, the earlier one is tried in vain.
#[test]
fn addresses_that_share_a_place_do_not_hold_each_other_back() {
    let numbers = numbers(1);
    let outages = Outages(&numbers);
    outages.failed(A, 0);
    assert!(outages.may_try(B, 1) && !outages.has_failed(B));
    outages.failed(B, 0);
    assert!(outages.may_try(A, 1) && !outages.may_try(B, 1));
    outages.reached(A);
    assert!(outages.has_failed(B));
}

#[test]
fn without_numbers_nothing_is_known() {
    let outages = Outages(&[]);
    outages.failed(A, 0);
    assert!(outages.may_try(A, 0) && !outages.has_failed(A));
}
