//! What lists in the making may take of a worker.

use proptest::prelude::*;
use registry_auth::share::{OF_ONE, PLACES, Places, SLICE, Share, Time};
use std::time::Duration;

#[test]
fn one_owner_has_a_quarter_of_the_places() {
    let mut places = Places::default();
    assert!((0..OF_ONE).all(|_| places.begin("alice")));
    assert!(!places.begin("alice"));
    assert!(places.begin("bob"));
    places.end("alice", &Share::default());
    assert!(places.begin("alice"));
    assert!(!places.begin("alice"));
}

/// A list of which a page of this registry comes, where there is room for it.
fn filled(places: &mut Places, backend: Option<&[u8]>) -> Option<Share> {
    let mut share = Share::default();
    places.fill(&mut share, backend).then_some(share)
}

#[test]
fn so_many_pages_come_and_no_more() {
    let mut places = Places::default();
    assert!((0..PLACES + 9).all(|number| places.begin(&number.to_string())));
    let pages: Vec<Share> = (0..PLACES).map_while(|_| filled(&mut places, None)).collect();
    assert_eq!(pages.len(), PLACES);
    assert_eq!(filled(&mut places, None), None);
    // One that only waited leaves no room.
    places.end("40", &Share::default());
    assert_eq!(filled(&mut places, None), None);
    places.end("0", &pages[0]);
    assert!(filled(&mut places, None).is_some());
    assert_eq!(filled(&mut places, None), None);
}

/// How many pages of a registry come at a time, with those that come already.
fn room(places: &mut Places, backend: &[u8]) -> Vec<Share> {
    std::iter::from_fn(|| filled(places, Some(backend))).collect()
}

#[test]
fn a_registry_that_users_name_has_half_of_what_is_left() {
    let mut places = Places::default();
    let of_a = room(&mut places, b"a");
    assert_eq!(of_a.len(), PLACES / 2);
    assert_eq!(room(&mut places, b"b").len(), PLACES / 4);
    assert_eq!(room(&mut places, b"c").len(), PLACES / 8);
    assert_eq!(room(&mut places, b"a").len(), 0);
    places.end("", &of_a[0]);
    assert!(filled(&mut places, Some(b"d")).is_some());
    // Where nginx.conf names it, it is everybody's.
    let others = std::iter::from_fn(|| filled(&mut places, None));
    assert_eq!(others.count(), PLACES / 8);
    assert_eq!(filled(&mut places, Some(b"e")), None);
}

#[test]
fn a_registry_that_hangs_after_its_first_pages_leaves_half() {
    let mut places = Places::default();
    let mut held = Vec::new();
    // Each list has a page, and waits for the next one.
    while let Some(mut share) = filled(&mut places, Some(b"a")) {
        places.keep_names(&mut share);
        held.push(share);
        assert!(held.len() <= 6 * PLACES);
    }
    assert!(held.len() >= 2 * PLACES, "{}", held.len());
    assert_eq!(room(&mut places, b"b").len(), PLACES / 4);
    // What another registry has is no reason to refuse the next page of a list.
    let mut other = Share::default();
    assert!(places.fill(&mut other, Some(b"c")));
    places.keep_names(&mut other);
    assert!(places.fill(&mut other, Some(b"c")));
    // All of it is given back.
    for share in held {
        places.end("", &share);
    }
    assert!(room(&mut places, b"a").len() >= PLACES / 4);
}

#[test]
fn a_list_goes_on_from_one_registry_to_another() {
    let mut places = Places::default();
    let mut share = Share::default();
    for backend in [Some(&b"a"[..]), Some(b"b"), None, Some(b"a")] {
        assert!(places.fill(&mut share, backend) && share.is_page());
        places.keep_names(&mut share);
        assert!(!share.is_page());
    }
    places.end("", &share);
    assert_eq!(room(&mut places, b"b").len(), PLACES / 2);
}

#[test]
fn a_list_between_two_pages_leaves_most_of_its_place() {
    let mut places = Places::default();
    let mut names = Vec::new();
    for _ in 0..PLACES {
        let mut share = filled(&mut places, None).unwrap();
        places.keep_names(&mut share);
        names.push(share);
    }
    assert!((0..PLACES - PLACES / 6 - 1).all(|_| filled(&mut places, None).is_some()));
    assert_eq!(filled(&mut places, None), None);
    assert!(!places.fill(&mut names[0], None) && !names[0].is_page());
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
                    places.end(&owner.to_string(), &Share::default());
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
