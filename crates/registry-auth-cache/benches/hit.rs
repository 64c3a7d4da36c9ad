//! The instructions that a hit takes: hashes and tag of a typical user, opening the block, finding and
//! verifying the user, reading the record. `cargo bench -p registry-auth-cache`; needs valgrind.

// A failure here is a bug of the benchmark.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, dead_code)]

#[path = "../../registry-auth/benches/callgrind/mod.rs"]
mod callgrind;
#[path = "../src/tests/slab.rs"]
mod slab;

use std::hint::black_box;

use registry_auth_cache::{Cache, EntryKey, Found, Freshness, Memory, NewRecord, SecretKeys};

const USERS: usize = 10_000;
const HITS: usize = 1_000;

fn main() {
    match callgrind::is_counted() {
        true => work(),
        false => callgrind::report(&["hit"], HITS as u64).expect("a count"),
    }
}

/// Calls `hit` so often as [`HITS`] says, for users in turn.
fn work() {
    let mut slab = slab::Slab::new(10 * 1024 * 1024);
    let keys = SecretKeys::new(std::array::from_fn(|index| index as u8));
    let users: Vec<(Vec<u8>, Vec<u8>)> = (0..USERS)
        .map(|user| {
            let key = format!("udocker-registry\0user{user:06}").into_bytes();
            (key, format!("Basic dXNlcj{user:06}c2VjcmV0cGFzcw==").into_bytes())
        })
        .collect();
    let mut cache = Cache::open(&mut slab, || Some(keys)).expect("a block that is large enough");
    for (key, header) in &users {
        let new = NewRecord {
            record: &[1; 60],
            binding: keys.tag(b"stored"),
            from_passwords: false,
            tag: keys.salted_tag(b"", header),
            verified: Some(true),
            expires: 60_000,
        };
        cache.put_user(
            EntryKey {
                key,
                hash: keys.hash(key),
            },
            &new,
            1_000,
        );
    }
    let found = (0..HITS).map(|turn| &users[turn * 331 % USERS]);
    let bytes: usize = found
        .map(|(key, header)| hit(&mut slab, &keys, key, header))
        .sum();
    assert_eq!(bytes, HITS * 60);
}

/// A hit, as a worker does it. The number of bytes of the record.
#[inline(never)]
fn hit<M: Memory>(memory: &mut M, keys: &SecretKeys, key: &[u8], header: &[u8]) -> usize {
    let user = EntryKey {
        key,
        hash: keys.hash(key),
    };
    let tag = keys.salted_tag(b"", header);
    let Some(mut cache) = Cache::open(memory, || None) else {
        return 0;
    };
    if !cache.has_keys(keys) {
        return 0;
    }
    match cache.find_user(user, tag, Freshness::Fresh(1_500)) {
        Found::Verified(record) => black_box(cache.record_bytes(record)).len(),
        _ => 0,
    }
}
