//! What lists in the making may take of a worker.

use proptest::prelude::*;
use registry_auth::share::{Places, Time, OF_ONE, PLACES, SLICE};
use std::time::Duration;

#[test]
fn one_owner_has_a_quarter_of_the_places() {
    let mut places = Places::default();
    assert!((0..OF_ONE).all(|_| places.take("alice")));
    assert!(!places.take("alice"));
    assert!(places.take("bob"));
    places.give_back("alice", false);
    assert!(places.take("alice"));
    assert!(!places.take("alice"));
}

#[test]
fn so_many_places_are_filled_and_no_more() {
    let mut places = Places::default();
    let all = (0..PLACES + 9).all(|number| places.take(&number.to_string()));
    assert!(all);
    assert!((0..PLACES).all(|_| places.fill()));
    assert!(!places.fill());
    // One that only waited leaves no room.
    places.give_back("40", false);
    assert!(!places.fill());
    places.give_back("0", true);
    assert!(places.fill() && !places.fill());
}

#[test]
fn a_tick_has_one_slice_and_the_next_one_another() {
    let mut time = Time::default();
    assert_eq!(time.left(7), SLICE);
    time.spend(SLICE / 4);
    assert_eq!(time.left(7), SLICE / 4 * 3);
    time.spend(SLICE * 2);
    assert_eq!(time.left(7), Duration::ZERO);
    assert_eq!(time.left(8), SLICE);
}

proptest! {
    #[test]
    fn no_owner_ever_has_more_than_a_quarter(
        steps in prop::collection::vec((any::<bool>(), 0_u8..6), 0..400),
    ) {
        let mut places = Places::default();
        let mut taken = [0_usize; 6];
        for (takes, owner) in steps {
            let of_owner = &mut taken[usize::from(owner)];
            match takes {
                true => *of_owner += usize::from(places.take(&owner.to_string())),
                false if *of_owner > 0 => {
                    places.give_back(&owner.to_string(), false);
                    *of_owner -= 1;
                }
                false => {}
            }
            prop_assert!(*of_owner <= OF_ONE);
        }
    }

    #[test]
    fn however_many_ask_a_tick_gives_a_slice(asked in prop::collection::vec(0_u64..2_000, 0..300)) {
        let mut time = Time::default();
        let mut given = Duration::ZERO;
        for micros in asked {
            let turn = Duration::from_micros(micros).min(time.left(1));
            time.spend(turn);
            given += turn;
        }
        prop_assert!(given <= SLICE);
    }
}
