//! What is counted, and what counting leaves alone.

use super::slab::Slab;
use super::{SMALL, check, fact, open, put, user_key};
use crate::{COUNTERS, EVICTED};

#[test]
fn numbers_add_up_and_are_there_for_the_next_who_opens() {
    let mut slab = Slab::new(SMALL);
    let mut more = [0; COUNTERS];
    more[2] = 3;
    open(&mut slab).add_counters(&more);
    more[0] = 1;
    open(&mut slab).add_counters(&more);
    let numbers = open(&mut slab).counters();
    assert_eq!((numbers[0], numbers[1], numbers[2]), (1, 0, 6));
    check(&mut slab);
}

#[test]
fn each_fact_that_makes_room_is_counted() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let mut puts = 0;
    while puts < 1_000 {
        cache.put_user(fact(&user_key(puts)), &put(&[1; 60], "password"), 0);
        puts += 1;
    }
    let held = cache.counts().0 as usize;
    assert_eq!(cache.counters()[EVICTED], (puts - held) as u64);
}
