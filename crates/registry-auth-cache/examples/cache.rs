//! Keeps a user's record, finds it again, and invalidates it: `cargo run -p registry-auth-cache --example
//! cache`.

mod block;

use block::Block;
use registry_auth_cache::{Cache, EntryKey, Found, Freshness, Memory, NewRecord, SecretKeys};

fn main() -> Result<(), &'static str> {
    // The module takes 32 random bytes. A worker keeps a copy of the keys, so that it can hash before it
    // locks the block.
    let keys = SecretKeys::new(std::array::from_fn(|index| index as u8));
    let key = b"user alice";
    let alice = EntryKey {
        key,
        hash: keys.hash(key),
    };
    let right = keys.tag(b"Basic YWxpY2U6cmlnaHQ=");
    let wrong = keys.tag(b"Basic YWxpY2U6d3Jvbmc=");

    let mut block = Block::new(256 * 1024);
    let mut cache = Cache::open(&mut block, || Some(keys)).ok_or("the block is too small")?;
    println!("at first:       {}", describe(&mut cache, alice, right, 1_000));

    let new = NewRecord {
        record: b"grants and backends",
        binding: keys.tag(b"the stored password hash"),
        from_passwords: false,
        tag: right,
        verified: Some(true),
        expires: 60_000,
    };
    cache.put_user(alice, &new, 1_000);
    println!("right password: {}", describe(&mut cache, alice, right, 2_000));
    println!("wrong password: {}", describe(&mut cache, alice, wrong, 2_000));
    println!("a minute later: {}", describe(&mut cache, alice, right, 61_000));

    cache.invalidate_user(alice);
    println!("after a change: {}", describe(&mut cache, alice, right, 2_000));
    Ok(())
}

fn describe<M: Memory>(
    cache: &mut Cache<'_, M>,
    user: EntryKey<'_>,
    tag: registry_auth_cache::Tag,
    now: u64,
) -> String {
    match cache.find_user(user, tag, Freshness::Fresh(now)) {
        Found::Missing => "ask Redis".to_owned(),
        Found::Unverified => "a user that is known, and a password that must be verified".to_owned(),
        Found::Wrong => "401".to_owned(),
        Found::Verified(record) => String::from_utf8_lossy(cache.record_bytes(record)).into_owned(),
    }
}
