//! What lists in the making may take of a worker.

use proptest::prelude::*;
use registry_auth::share::{Held, OF_ONE, PLACES, Places, SLICE, Time};
use std::time::Duration;

#[test]
fn one_owner_has_a_quarter_of_the_places() {
    let mut places = Places::default();
    assert!((0..OF_ONE).all(|_| places.begin("alice")));
    assert!(!places.begin("alice"));
    assert!(places.begin("bob"));
    places.end("alice", Held::Nothing);
    assert!(places.begin("alice"));
    assert!(!places.begin("alice"));
}

#[test]
fn so_many_pages_come_and_no_more() {
    let mut places = Places::default();
    assert!((0..PLACES + 9).all(|number| places.begin(&number.to_string())));
    assert!((0..PLACES).all(|_| places.hold(Held::Nothing, Held::Page)));
    assert!(!places.hold(Held::Nothing, Held::Page));
    // One that only waited leaves no room.
    places.end("40", Held::Nothing);
    assert!(!places.hold(Held::Nothing, Held::Page));
    places.end("0", Held::Page);
    assert!(places.hold(Held::Nothing, Held::Page) && !places.hold(Held::Nothing, Held::Page));
}

#[test]
fn a_registry_that_users_name_has_half_of_what_is_left() {
    let mut places = Places::default();
    let mut filled = |backend: &[u8]| {
        let pages = (0..PLACES).filter(|_| places.fill(Held::Nothing, Some(backend)));
        (pages.count(), places.fill(Held::Nothing, Some(backend)))
    };
    assert_eq!(filled(b"a"), (PLACES / 2, false));
    assert_eq!(filled(b"b"), (PLACES / 4, false));
    assert_eq!(filled(b"c"), (PLACES / 8, false));
    assert_eq!(filled(b"a"), (0, false));
    places.end_page(b"a");
    places.end("", Held::Page);
    assert!(places.fill(Held::Nothing, Some(b"d")));
    // Where nginx.conf names it, it is everybody's.
    let others = (0..PLACES).filter(|_| places.fill(Held::Nothing, None));
    assert_eq!(others.count(), PLACES / 8);
    assert!(!places.fill(Held::Nothing, Some(b"e")));
}

#[test]
fn a_list_between_two_pages_leaves_most_of_its_place() {
    let mut places = Places::default();
    for _ in 0..PLACES {
        assert!(places.hold(Held::Nothing, Held::Page) && places.hold(Held::Page, Held::Names));
    }
    assert!((0..PLACES - PLACES / 6 - 1).all(|_| places.hold(Held::Nothing, Held::Page)));
    assert!(!places.hold(Held::Nothing, Held::Page) && !places.hold(Held::Names, Held::Page));
    // Names have a bound, too.
    let names = (0..10 * PLACES).filter(|_| places.hold(Held::Nothing, Held::Names));
    assert!(names.count() < PLACES);
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
                true => *of_owner += usize::from(places.begin(&owner.to_string())),
                false if *of_owner > 0 => {
                    places.end(&owner.to_string(), Held::Nothing);
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
