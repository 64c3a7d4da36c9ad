//! Arbitrary bytes in the block: wrong answers at most, but no panic, no endless loop and nothing outside the
//! block.

use proptest::prelude::*;

use super::slab::Slab;
use super::{SMALL, client, fact, is_verified, keys, leave, put, user_key, watch};
use crate::layout::{MAGIC, SLOT, VERSION, root};
use crate::memory::Write;
use crate::{Attempt, Cache, FailureLimits, Freshness, LoginResult, Memory, Process, Reservation};

const LIMIT: FailureLimits = FailureLimits {
    per_user: 3,
    per_address: 5,
    period: 5_000,
};

/// Everything that can be done.
fn use_all(slab: &mut Slab) {
    let Some(mut cache) = Cache::open(slab, keys) else {
        return;
    };
    let tag = keys().unwrap().tag(b"password");
    for user in 0..12 {
        let key = user_key(user);
        for moment in [
            Freshness::Fresh(1),
            Freshness::Stale {
                now: u64::MAX,
                max_stale: u64::MAX,
            },
        ] {
            if let crate::Found::Verified(known) = cache.find_user(fact(&key), tag, moment) {
                cache.record_bytes(known);
            }
            if let Some(known) = cache.find_record(fact(&key), moment) {
                cache.record_bytes(known);
            }
        }
        cache.put_user(fact(&key), &put(&[1; 100], "password"), 70_000);
        cache.put_record(fact(&user_key(user + 10)), &[2; 700], 1, 0);
        cache.put_unknown_user(fact(&user_key(user + 20)), keys().unwrap().tag(b"a"), 1, 0);
        for name in [user, user + 30] {
            let who = client(&name.to_string(), &(name % 3).to_string());
            if let Attempt::Allowed(reserved) = cache.begin_login(&who.login(), tag, LIMIT, 3) {
                cache.finish_login(&who.login(), tag, reserved, LoginResult::Right, LIMIT, 3);
            }
            cache.count_failure(&who.login(), tag, LIMIT, 3);
            let _ = cache.blocked_for(&who.login(), LIMIT, 4);
        }
        cache.invalidate(fact(&key));
    }
    let me = Process { id: 1, started_at: 1 };
    watch(&mut cache, me, |_| false);
    leave(&mut cache, me);
    cache.invalidate_passwords();
    cache.mark_all_stale(u64::MAX);
    cache.invalidate_all();
    cache.counts();
}

fn filled() -> Slab {
    let mut slab = Slab::new(SMALL);
    let mut cache = super::open(&mut slab);
    for user in 0..60 {
        cache.put_user(fact(&user_key(user)), &put(&[7; 80], "password"), 0);
        cache.put_unknown_user(fact(&user_key(user + 100)), keys().unwrap().tag(b"a"), 1, 0);
        let who = client(&(user % 40).to_string(), &(user % 3).to_string());
        cache.count_failure(&who.login(), keys().unwrap().tag(&[user as u8]), LIMIT, 3);
    }
    slab.strict = false;
    slab
}

fn mend_header(slab: &mut Slab) {
    let root = slab.root() as usize;
    slab.put_u64(root + root::MAGIC, MAGIC);
    slab.put_u32(root + root::VERSION, VERSION);
    slab.put_u32(root + root::DIRTY, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn some_bytes(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200)) {
        let mut slab = filled();
        let length = slab.bytes().len();
        for (at, byte) in damage {
            slab.bytes_mut()[at.index(length)] = byte;
        }
        mend_header(&mut slab);
        use_all(&mut slab);
    }

    /// Links that lead somewhere plausible: into entries, in circles.
    #[test]
    fn some_links(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..60),
    ) {
        let mut slab = filled();
        let length = slab.bytes().len() / 8;
        for (at, to) in damage {
            slab.put_u32(8 * at.index(length), 8 * to.index(length) as u32);
        }
        mend_header(&mut slab);
        use_all(&mut slab);
    }

    #[test]
    fn the_roots_numbers(damage in prop::collection::vec((16..root::SIZE / 4, any::<u32>()), 1..8)) {
        let mut slab = filled();
        let root = slab.root() as usize;
        for (at, number) in damage {
            slab.put_u32(root + 4 * (at % (root::WATCHERS / 4)), number);
        }
        mend_header(&mut slab);
        use_all(&mut slab);
    }

    #[test]
    fn all_bytes(seed in any::<u64>(), is_magic_right in any::<bool>()) {
        let mut slab = filled();
        let mut state = seed | 1;
        slab.bytes_mut().fill_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        if is_magic_right {
            mend_header(&mut slab);
        }
        use_all(&mut slab);
    }

    #[test]
    fn a_root_anywhere(at in any::<u32>()) {
        let mut slab = filled();
        slab.set_root(at);
        use_all(&mut slab);
    }
}

#[test]
fn every_entry_in_a_circle() {
    let mut slab = filled();
    let words = slab.bytes().len() / 4;
    // Each word is a link to the block's middle.
    let middle = (slab.bytes().len() / 16 * 8) as u32;
    let root = slab.root() as usize;
    for at in (0..words).filter(|at| 4 * at < root || 4 * at >= root + root::LISTS) {
        slab.put_u32(4 * at, middle);
    }
    use_all(&mut slab);
}

#[test]
fn another_version_or_magic_is_emptied() {
    for (at, what) in [
        (root::VERSION, VERSION + 1),
        (root::VERSION, VERSION - 1),
        (root::MAGIC, 0),
        (root::MAGIC + 4, 1),
        (root::DIRTY, 1),
    ] {
        let mut slab = filled();
        slab.strict = true;
        let root = slab.root() as usize;
        slab.put_u32(root + at, what);
        let mut cache = super::open(&mut slab);
        assert_eq!(cache.counts(), (0, 0));
        assert!(!is_verified(&mut cache, &user_key(59), "password", 1));
        cache.put_user(fact(&user_key(1)), &put(b"record", "password"), 0);
        super::check(&mut slab);
        assert!(is_verified(
            &mut super::open(&mut slab),
            &user_key(1),
            "password",
            1
        ));
    }
}

#[test]
fn count_of_failures_beyond_its_room() {
    let mut slab = Slab::new(SMALL);
    let mut cache = super::open(&mut slab);
    let who = client("who", "a");
    cache.count_failure(&who.login(), keys().unwrap().tag(b"1"), LIMIT, 0);
    let at = cache.table.find(who.login().user).unwrap();
    slab.put_u32(at.value + 4, u32::MAX);
    let behind = at.entry + SLOT..at.entry + 3 * SLOT;
    let before = slab.bytes()[behind.clone()].to_vec();
    // Not a loop of four thousand million turns, nor a write behind the entry.
    for password in [b"1", b"2"] {
        let mut cache = super::open(&mut slab);
        let reserved = Reservation::default();
        for settled in [LoginResult::Undecided, LoginResult::Right, LoginResult::Wrong] {
            let tag = keys().unwrap().tag(password);
            cache.finish_login(&who.login(), tag, reserved, settled, LIMIT, 0);
        }
    }
    assert!(slab.bytes()[behind] == before);
}
