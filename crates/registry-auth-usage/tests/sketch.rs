//! What Space-Saving promises, for any requests; and that a block survives the death of a process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use registry_auth_usage::{Counts, InvalidBlock, MAX_NAME, Row, Table, Top, Usage, least_size};
use std::collections::{HashMap, HashSet};

const DIRTY: usize = 16;

fn open(block: &mut [u8]) -> Usage<'_> {
    Usage::open(block, || 7, 1000).unwrap()
}

fn one(bytes: u64) -> Counts {
    Counts {
        requests: 1,
        pulls: bytes % 2,
        bytes_out: bytes,
        last_pull: bytes,
        ..Counts::default()
    }
}

fn add(to: &mut Counts, more: &Counts) {
    to.requests += more.requests;
    to.pulls += more.pulls;
    to.bytes_out += more.bytes_out;
    to.last_pull = to.last_pull.max(more.last_pull);
}

fn by_name(rows: Vec<Row>) -> HashMap<String, Row> {
    rows.into_iter().map(|row| (row.name.clone(), row)).collect()
}

#[test]
fn while_there_is_a_place_for_each_name_all_is_exact() {
    let mut block = vec![0xa5; least_size(64)];
    let mut usage = open(&mut block);
    assert_eq!(usage.capacity(), 64);
    for round in 0..10 {
        for user in 0..64 {
            usage.add(format!("user{user}").as_bytes(), b"team/app", &one(round));
        }
    }
    let rows = by_name(usage.top(Table::Users, 1000));
    assert_eq!(rows.len(), 64);
    let expected = Counts {
        requests: 10,
        pulls: 5,
        bytes_out: 45,
        last_pull: 9,
        ..Counts::default()
    };
    assert!(rows.values().all(|row| row.missed == 0 && row.counts == expected));
    let repositories = usage.top(Table::Repositories, 1000);
    assert_eq!(repositories.len(), 1);
    assert_eq!(
        (repositories[0].counts.requests, repositories[0].counts.bytes_out),
        (640, 2880)
    );
    assert_eq!((usage.total().requests, usage.since()), (640, 1000));
    assert_eq!(usage.top(Table::Users, 3).len(), 3);
}

#[test]
fn names_of_any_length_and_content_keep_apart() {
    let mut block = vec![0; least_size(8)];
    let mut usage = open(&mut block);
    let longest = vec![b'x'; MAX_NAME];
    for name in [&longest[..], &longest[1..], b"a", b"a\0", b"\0"] {
        usage.add(name, b"", &one(1));
    }
    usage.add(&[b'x'; MAX_NAME + 1], b"", &one(1));
    usage.add(b"", b"", &one(1));
    assert_eq!(usage.top(Table::Users, 10).len(), 5);
    assert_eq!(usage.top(Table::Repositories, 10), []);
    assert_eq!(usage.total().requests, 7);
}

#[test]
fn a_hundred_thousand_users_and_a_thousand_repositories_take_no_more_room() {
    let mut block = vec![0; 1 << 20];
    let mut usage = open(&mut block);
    let capacity = usage.capacity() as u64;
    assert!(capacity > 1000, "{capacity}");
    let mut steady = 0;
    for request in 0..400_000_u64 {
        // Every tenth request is one user's; all others are different ones, in turn.
        let user = if request % 10 == 0 {
            "steady".to_owned()
        } else {
            format!("user{}", request % 100_000)
        };
        steady += u64::from(request % 10 == 0);
        usage.add(
            user.as_bytes(),
            format!("team/app{}", request % 1000).as_bytes(),
            &one(1),
        );
    }
    let rows = by_name(usage.top(Table::Users, 100_000));
    assert_eq!(rows.len() as u64, capacity);
    // It has come early enough to have missed nothing.
    assert_eq!(
        (rows["steady"].counts.requests, rows["steady"].missed),
        (steady, 0)
    );
    assert!(rows.values().all(|row| row.missed <= 400_000 / capacity));
    let repositories = usage.top(Table::Repositories, 100_000);
    assert_eq!(repositories.len(), 1000);
    assert!(
        repositories
            .iter()
            .all(|row| row.missed == 0 && row.counts.requests == 400)
    );
}

#[test]
fn what_may_not_exist_takes_no_place_and_counts_where_it_has_one() {
    let mut block = vec![0; least_size(4)];
    let mut usage = open(&mut block);
    usage.add_to_known(b"alice", b"a", &one(1));
    usage.add(b"alice", b"a", &one(1));
    for number in 0..100 {
        usage.add_to_known(b"alice", format!("none{number}").as_bytes(), &one(1));
    }
    usage.add_to_known(b"alice", b"a", &one(1));
    let repositories = usage.top(Table::Repositories, 9);
    assert_eq!(repositories.len(), 1);
    assert_eq!((repositories[0].counts.requests, repositories[0].missed), (2, 0));
    assert_eq!(usage.top(Table::Users, 9)[0].counts.requests, 103);
    assert_eq!(usage.total().requests, 103);
}

#[test]
fn slices_show_what_one_look_shows_and_a_name_that_moves_once() {
    let mut block = vec![0; least_size(100)];
    let mut usage = open(&mut block);
    for name in 0..100_u64 {
        for _ in 0..=(name * 37 % 100) {
            usage.add(format!("user{name}").as_bytes(), b"", &one(1));
        }
    }
    let mut top = Top::new(7);
    for from in (0..usage.capacity()).step_by(10) {
        assert_eq!(usage.look(Table::Users, from..from + 10, &mut top), 100);
    }
    // Put in order a step at a time, and then of a piece.
    let mut steps = 0..3;
    assert!(!top.order(|| steps.next().is_some()));
    let rows = top.into_rows();
    assert_eq!(rows, usage.top(Table::Users, 7));
    let requests: Vec<u64> = rows.iter().map(|row| row.counts.requests).collect();
    assert_eq!(requests, [100, 99, 98, 97, 96, 95, 94]);
    let mut twice = Top::new(7);
    usage.look(Table::Users, 0..100, &mut twice);
    usage.look(Table::Users, 0..100, &mut twice);
    assert_eq!(twice.into_rows(), rows[..4]);
    assert_eq!(usage.top(Table::Users, 0), []);
}

#[test]
fn a_block_is_used_as_it_is_until_its_size_changes() {
    let mut block = vec![0; least_size(16)];
    open(&mut block).add(b"alice", b"a", &one(1));
    let kept = || panic!("it is set up already");
    let mut usage = Usage::open(&mut block, kept, 2000).unwrap();
    assert_eq!((usage.since(), usage.top(Table::Users, 9).len()), (1000, 1));
    block.truncate(least_size(8));
    assert_eq!(open(&mut block).top(Table::Users, 9), []);
    assert_eq!(Usage::open(&mut [0; 100], || 1, 0).err(), Some(InvalidBlock));
    assert_eq!(Usage::open(&mut [], || 1, 0).err(), Some(InvalidBlock));
}

#[test]
fn to_set_up_a_large_block_writes_to_little_of_it() {
    let mut block = vec![0xa5; 1 << 20];
    let capacity = open(&mut block).capacity();
    let changed = block.iter().filter(|byte| **byte != 0xa5).count();
    assert!(
        changed <= least_size(0) + 2 * 4 * capacity.next_power_of_two(),
        "{changed}"
    );
    // What lies in the rest of it is nobody's, also after the death of a process.
    open(&mut block).add(b"alice", b"a", &one(1));
    block[DIRTY] = 1;
    let names: Vec<String> = open(&mut block)
        .top(Table::Users, 9)
        .into_iter()
        .map(|row| row.name)
        .collect();
    assert_eq!(names, ["alice"]);
}

/// The requests: a name, and how often in a row.
fn requests() -> impl Strategy<Value = Vec<(u8, u8)>> {
    let names = prop_oneof![0..200_u8, 0..10_u8, Just(3_u8)];
    proptest::collection::vec((names, 1..4_u8), 0..600)
}

proptest! {
    #[test]
    fn what_is_shown_is_never_too_much_and_too_little_by_what_was_missed(
        requests in requests(),
        places in 1..40_usize,
    ) {
        let mut block = vec![0; least_size(places)];
        let mut usage = open(&mut block);
        let (mut truth, mut sum) = (HashMap::<String, Counts>::new(), 0);
        for (name, times) in requests {
            let name = format!("name{name}");
            for bytes in 0..u64::from(times) {
                usage.add(name.as_bytes(), name.as_bytes(), &one(bytes));
                add(truth.entry(name.clone()).or_default(), &one(bytes));
                sum += 1;
            }
        }
        prop_assert_eq!(usage.total().requests, sum);
        let places = usage.capacity() as u64;
        for table in [Table::Users, Table::Repositories] {
            let rows = by_name(usage.top(table, usize::MAX));
            prop_assert_eq!(rows.len() as u64, places.min(truth.len() as u64));
            for (name, row) in &rows {
                let (shown, real) = (row.counts, truth[name]);
                prop_assert!(shown.requests <= real.requests && real.requests <= shown.requests + row.missed);
                prop_assert!(shown.pulls <= real.pulls && shown.bytes_out <= real.bytes_out);
                prop_assert!(row.missed <= sum / places);
                prop_assert!(row.missed > 0 || shown == real);
            }
            for (name, real) in &truth {
                prop_assert!(real.requests <= sum / places || rows.contains_key(name), "{} is missing", name);
            }
        }
    }

    #[test]
    fn a_process_may_die_at_any_write(
        before in requests(),
        after in requests(),
        places in 1..20_usize,
        cut in 0..2000_usize,
    ) {
        let mut block = vec![0; least_size(places)];
        for (name, _) in &before {
            open(&mut block).add(format!("name{name}").as_bytes(), b"x", &one(1));
        }
        // One more name is placed, and only the first bytes of what that changes are written.
        let old = block.clone();
        open(&mut block).add(b"late", b"late", &one(1));
        let changed: Vec<usize> = (0..block.len()).filter(|at| old[*at] != block[*at]).collect();
        let count = cut % (changed.len() + 1);
        let kept: HashSet<usize> = changed.iter().copied().take(count).collect();
        for at in changed.into_iter().filter(|at| !kept.contains(at)) {
            block[at] = old[at];
        }
        block[DIRTY] = 1;
        for (name, _) in &after {
            open(&mut block).add(format!("name{name}").as_bytes(), b"x", &one(1));
        }
        let mut usage = open(&mut block);
        let places = usage.capacity();
        for table in [Table::Users, Table::Repositories] {
            let rows = usage.top(table, usize::MAX);
            let count = rows.len();
            prop_assert!(count <= places);
            prop_assert_eq!(by_name(rows).len(), count, "each name has one place");
        }
    }

    #[test]
    fn no_damage_makes_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 400..1200),
        at in 0..4000_usize,
    ) {
        let mut block = vec![0; least_size(5)];
        for name in 0..9_u8 {
            open(&mut block).add(&[name + 1], &[name + 1], &one(1));
        }
        let at = at % block.len();
        let end = block.len().min(at + bytes.len());
        block[at..end].copy_from_slice(&bytes[..end - at]);
        for name in 0..20_u8 {
            if let Ok(mut usage) = Usage::open(&mut block, || 3, 0) {
                usage.add(&[name + 1], b"x", &one(1));
                usage.top(Table::Users, 100);
            }
        }
    }
}
