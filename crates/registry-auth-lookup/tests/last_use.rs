//! When access tokens were last used: what is written, how often, and that no lookup depends on it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Gate, SHA1_SECRET, Server, options, tracked, verified};
use registry_auth::{AccessToken, TokenDigest};
use registry_auth_lookup::{LookupOptions, Outcome, Proof};
use std::borrow::Borrow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// The first second of this day.
fn today() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now - now % DAY
}

/// Stores a token of this user; its digest.
fn token(redis: &Server, user: &str, id: &str, seed: u8, expires: u64) -> TokenDigest {
    let token = AccessToken::generate(|bytes| {
        bytes.fill(seed);
        Ok::<(), ()>(())
    });
    let digest = token.unwrap().digest();
    let stored = registry_auth::StoredToken {
        id: id.to_owned(),
        digest,
        expires,
        created: 0,
        scopes: vec![registry_auth::token::access_token::parse_scope("**:*").unwrap()],
    };
    redis.run_args(&[
        "HSET",
        &format!("P:user:{user}"),
        &stored.field(),
        &stored.value(),
    ]);
    digest
}

fn ask(gate: &mut Gate, user: &str, by: impl Borrow<Proof>) -> Outcome {
    let mut job = gate.job(Some(user), "");
    job.proof = by.borrow().clone();
    let ticket = job.ticket;
    gate.store.submit(vec![job]);
    gate.wait(ticket)
}

fn noted(options: LookupOptions) -> Gate {
    Gate::with(LookupOptions {
        last_use: true,
        ..options
    })
}

fn get(redis: &Server, field: &str) -> Option<u64> {
    let mut get = redis::cmd("HGET");
    get.arg("P:token-use").arg(field);
    get.query(&mut redis.connection()).unwrap()
}

/// The field, once it is there.
fn written(redis: &Server, field: &str) -> u64 {
    let until = Instant::now() + common::PATIENCE;
    loop {
        if let Some(day) = get(redis, field) {
            return day;
        }
        assert!(Instant::now() < until, "{field} is not written");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_first_use_of_a_day_is_written_and_no_other() {
    let redis = Server::start();
    let first = Proof::AccessToken(Box::new(token(&redis, "alice", "a1", 1, u64::MAX)));
    let second = Proof::AccessToken(Box::new(token(&redis, "alice", "a2", 2, u64::MAX)));
    let other = Proof::AccessToken(Box::new(token(&redis, "bob", "a1", 3, u64::MAX)));
    for options in [options(&redis.url()), tracked(&redis.url())] {
        redis.run("DEL P:token-use");
        let before = redis.calls("hset");
        let mut gate = noted(options);
        for _ in 0..20 {
            assert!(verified(&ask(&mut gate, "alice", &first)));
        }
        assert!((today() - DAY..=today()).contains(&written(&redis, "alice:a1")));
        assert!(verified(&ask(&mut gate, "alice", &second)));
        assert!(verified(&ask(&mut gate, "bob", &other)));
        written(&redis, "alice:a2");
        written(&redis, "bob:a1");
        assert_eq!(redis.calls("hset"), before + 3);
    }
}

#[test]
fn what_is_no_use_is_not_written() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    redis.run_args(&["HSET", "P:user:locked", "password", &format!("!{SHA1_SECRET}")]);
    let good = token(&redis, "alice", "good", 1, u64::MAX);
    let expired = token(&redis, "alice", "late", 2, 1_700_000_000);
    let locked = token(&redis, "locked", "x", 3, u64::MAX);
    let before = redis.calls("hset");
    let mut gate = noted(options(&redis.url()));
    assert!(verified(&gate.ask("alice", "secret")));
    ask(&mut gate, "alice", Proof::PreVerified);
    // Whether it has expired is the caller's to see.
    ask(&mut gate, "alice", Proof::AccessToken(Box::new(expired)));
    for (user, token) in [("alice", locked), ("locked", locked), ("bob", good)] {
        let outcome = ask(&mut gate, user, Proof::AccessToken(Box::new(token)));
        assert_eq!(outcome, Outcome::NoToken, "{user}");
    }
    // Nor is anything where it is off.
    let mut silent = Gate::new(&redis.url());
    assert!(verified(&ask(
        &mut silent,
        "alice",
        Proof::AccessToken(Box::new(good))
    )));
    // Sent last, it is written last.
    assert!(verified(&ask(
        &mut gate,
        "alice",
        Proof::AccessToken(Box::new(good))
    )));
    written(&redis, "alice:good");
    assert_eq!(redis.calls("hset"), before + 1);
}

#[test]
fn a_refusal_is_said_once_and_not_tried_again_on_this_connection() {
    let redis = Server::start();
    // The line of docs/reference/data-model.md for Redis 7, without what the last use needs.
    let rights =
        "on >pw %R~P:* resetchannels -@all +hgetall +hmget +lrange +ping +select +hello +client|tracking";
    redis.run(&format!("ACL SETUSER gate {rights}"));
    let good: Vec<TokenDigest> = (1..9)
        .map(|n| token(&redis, "alice", &format!("a{n}"), n, u64::MAX))
        .collect();
    let url = format!("redis://gate:pw@127.0.0.1:{}", redis.port);
    let mut gate = noted(tracked(&url));
    for digest in good.iter().chain(&good) {
        assert!(verified(&ask(
            &mut gate,
            "alice",
            Proof::AccessToken(Box::new(*digest))
        )));
    }
    let log = gate.logged("NOPERM");
    assert!(
        log.contains("Notice: the last use of access tokens is not recorded in P:token-use"),
        "{log}"
    );
    for digest in &good {
        assert!(verified(&ask(
            &mut gate,
            "alice",
            Proof::AccessToken(Box::new(*digest))
        )));
    }
    // The right is given, and taken from nothing else.
    redis.run("ACL SETUSER gate +hset %W~P:token-use");
    assert!(verified(&ask(
        &mut gate,
        "alice",
        Proof::AccessToken(Box::new(good[0]))
    )));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(get(&redis, "alice:a1"), None, "tried again on this connection");
    let user = redis::Client::open(url.as_str()).unwrap();
    let mut user = user.get_connection().unwrap();
    let denied = redis::cmd("HSET")
        .arg(&["P:user:alice", "password", "x"])
        .exec(&mut user);
    assert_eq!(denied.unwrap_err().code(), Some("NOPERM"));
    // The next connection is another matter.
    redis.run("CLIENT KILL USER gate");
    gate.ask_until("alice", "", common::is_known);
    assert!(verified(&ask(
        &mut gate,
        "alice",
        Proof::AccessToken(Box::new(good[0]))
    )));
    written(&redis, "alice:a1");
    gate.collect();
    let lines = gate.log.iter().filter(|line| line.message.contains("last use"));
    assert_eq!(lines.count(), 1, "{:?}", gate.log);
}

#[test]
fn a_replica_and_a_key_of_another_type_refuse_it_too() {
    let redis = Server::start();
    let good = Proof::AccessToken(Box::new(token(&redis, "alice", "a", 1, u64::MAX)));
    redis.run("SET P:token-use x");
    let mut gate = noted(options(&redis.url()));
    assert!(verified(&ask(&mut gate, "alice", &good)));
    gate.logged("WRONGTYPE");
    redis.run("DEL P:token-use");
    redis.run_args(&["REPLICAOF", "127.0.0.1", "1"]);
    let mut gate = noted(options(&redis.url()));
    assert!(verified(&ask(&mut gate, "alice", &good)));
    gate.logged("READONLY");
}
