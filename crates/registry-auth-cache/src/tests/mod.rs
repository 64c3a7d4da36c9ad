//! Tests of the cache over a block with an allocator like nginx's.
//!
//! `model`: random operations against a simple reference. `death`: a process that dies at any write.
//! `damage`: arbitrary bytes. The others: rules one by one. [`check`] is what holds of every block that is
//! not dirty.

mod counters;
mod damage;
mod death;
mod failures;
mod generation;
mod hearing;
mod model;
mod room;
mod rules;
mod slab;
mod watchers;
mod workers;

use std::collections::HashSet;

use crate::layout::{BLOCKS_IN_SET, LISTS, List, PLACES, SLOT, entry, root, wide};
use crate::memory::Numbers;
use crate::{
    Cache, EntryKey, Freshness, Hears, LoginKeys, Memory, NewRecord, Process, SecretKeys, WiderNetwork,
};
use slab::Slab;

/// A zone as small as nginx makes one.
const SMALL: usize = 32 * 1024;

fn keys() -> Option<SecretKeys> {
    Some(SecretKeys::new(std::array::from_fn(|index| index as u8 * 7 + 1)))
}

fn open<M: Memory>(memory: &mut M) -> Cache<'_, M> {
    Cache::open(memory, keys).unwrap()
}

fn fact(key: &[u8]) -> EntryKey<'_> {
    EntryKey {
        key,
        hash: keys().unwrap().hash(key),
    }
}

/// The key of a user as the module makes it.
fn user_key(number: usize) -> Vec<u8> {
    format!("udocker-registry\0user{number:06}").into_bytes()
}

/// The keys of a client's counters for a user.
struct Client {
    user: Vec<u8>,
    address: Vec<u8>,
    wider: [Vec<u8>; 2],
}

fn client(user: &str, address: &str) -> Client {
    Client {
        user: format!("fP\0{user}\0{address}").into_bytes(),
        address: format!("fP\0\0{address}").into_bytes(),
        wider: [1, 2].map(|less| {
            let parts: Vec<&str> = address.split('.').collect();
            let kept = parts.len().saturating_sub(less);
            format!("fP\0\0{}.", parts[..kept].join(".")).into_bytes()
        }),
    }
}

impl Client {
    fn login(&self) -> LoginKeys<'_> {
        LoginKeys {
            user: fact(&self.user),
            address: fact(&self.address),
            network: keys().unwrap().hash(&self.address),
            wider: self.wider.each_ref().map(|key| WiderNetwork {
                key: keys().unwrap().hash(key),
                network: keys().unwrap().hash(key),
            }),
        }
    }
}

/// A verified credential, expiring at 60 s.
fn put<'r>(record: &'r [u8], password: &str) -> NewRecord<'r> {
    let keys = keys().unwrap();
    let binding = keys.tag(b"stored");
    NewRecord {
        record,
        binding,
        from_passwords: false,
        tag: keys.tag(password.as_bytes()),
        verified: Some(true),
        expires: 60_000,
    }
}

/// A worker that hears of all changes.
fn watch<M: Memory>(cache: &mut Cache<'_, M>, me: Process, is_alive: impl Fn(Process) -> bool) {
    cache.add_watcher(me, Hears::All, 0, is_alive);
}

/// Redis has answered this worker, which vouches for the records if they are in doubt.
fn vouch<M: Memory>(cache: &mut Cache<'_, M>, me: Process) {
    if let Some(number) = cache.question(me) {
        cache.vouch(me, number);
    }
}

/// As a worker leaves, which vouches for the records first.
fn leave<M: Memory>(cache: &mut Cache<'_, M>, me: Process) {
    vouch(cache, me);
    cache.remove_watcher(me, 0, |_| true);
}

fn fresh(now: u64) -> Freshness {
    Freshness::Fresh(now)
}

/// Whether a user is there, verified with this password at this time.
fn is_verified<M: Memory>(cache: &mut Cache<'_, M>, key: &[u8], password: &str, now: u64) -> bool {
    let tag = keys().unwrap().tag(password.as_bytes());
    matches!(
        cache.find_user(fact(key), tag, fresh(now)),
        crate::Found::Verified(_)
    )
}

/// Every entry is in one bucket, its own, and in one list, in both directions; counts are right; each slot is
/// an entry or free; each blocked counter is counted at its network's place; and nothing else is allocated
/// than the facts, the root, the buckets and the slots.
fn check(slab: &mut Slab) {
    open(slab);
    let live = slab.live();
    let cache = open(slab);
    let (bytes, root) = (cache.table.memory.bytes(), cache.table.root);
    assert_eq!(bytes.get_u32(root + root::DIRTY), 0);
    let mut in_buckets = HashSet::new();
    let buckets = bytes.get_u32(root + root::BUCKETS) as usize;
    let mask = bytes.get_u32(root + root::BUCKET_MASK);
    for index in 0..=mask {
        let mut at = bytes.get_u32(buckets + 4 * index as usize) as usize;
        while at != 0 {
            assert!(in_buckets.insert(at), "an entry in two places");
            let key = bytes.slice(
                at + entry::SIZE,
                usize::from(bytes.get_u16(at + entry::KEY_LENGTH)),
            );
            assert!(!key.is_empty());
            assert_eq!(
                bytes.get_u64(at + entry::HASH) as u32 & mask,
                index,
                "in another bucket than its own"
            );
            at = bytes.get_u32(at + entry::NEXT) as usize;
        }
    }
    let mut places = [0; PLACES];
    let (mut in_lists, mut facts) = (HashSet::new(), 0);
    for number in 0..LISTS {
        let list = List::of(number as u16);
        let (mut at, mut newer, mut count) = (bytes.get_u32(root + list.at()) as usize, 0, 0);
        while at != 0 {
            assert!(in_lists.insert(at), "an entry in two lists");
            assert_eq!(bytes.get_u32(at + entry::NEWER) as usize, newer);
            assert_eq!(bytes.get_u16(at + entry::LIST), list.number());
            let size = entry::SIZE
                + usize::from(bytes.get_u16(at + entry::KEY_LENGTH))
                + bytes.get_u32(at + entry::VALUE_LENGTH) as usize;
            if list == List::BLOCKED {
                let key = usize::from(bytes.get_u16(at + entry::KEY_LENGTH));
                places[usize::from(bytes[at + entry::SIZE + key])] += 1;
            }
            match list.is_negative() {
                true => assert!(size <= SLOT),
                false => assert_eq!(List::for_record(size), list),
            }
            newer = at;
            at = bytes.get_u32(at + entry::OLDER) as usize;
            count += 1;
        }
        assert_eq!(bytes.get_u32(root + list.at() + 4) as usize, newer);
        assert_eq!(cache.table.count(list), count);
        facts += if list.is_negative() { 0 } else { count as usize };
    }
    assert_eq!(in_buckets, in_lists);
    let (first, sets) = (
        bytes.get_u32(root + root::WIDE) as usize,
        bytes.get_u32(root + root::WIDE_SETS) as usize,
    );
    let blocks =
        (0..if first == 0 { 0 } else { sets * BLOCKS_IN_SET }).map(|index| first + wide::SIZE * index);
    let blocks: Vec<usize> = blocks.filter(|at| bytes.get_u64(at + wide::KEY) != 0).collect();
    assert_eq!(cache.table.wide_blocks() as usize, blocks.len());
    for at in blocks {
        places[usize::from(bytes[at + wide::PLACES])] += 1;
    }
    let noted = std::array::from_fn(|place| bytes.get_u32(root + root::PLACES + 4 * place));
    assert_eq!(places, noted);
    let (slots, mut free) = (bytes.get_u32(root + root::SLOTS) as usize, 0);
    let mut at = bytes.get_u32(root + root::FREE_SLOTS) as usize;
    while at != 0 {
        assert!(!in_lists.contains(&at), "a slot both free and taken");
        free += 1;
        assert!(free <= slots);
        at = bytes.get_u32(at + entry::NEXT) as usize;
    }
    assert_eq!(free + in_lists.len() - facts, slots);
    let workers = usize::from(bytes.get_u32(root + root::WORKERS) != 0);
    let wide = usize::from(first != 0);
    assert_eq!(live, facts + 4 + workers + wide);
}
