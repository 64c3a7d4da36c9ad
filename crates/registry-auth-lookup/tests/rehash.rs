//! Weak password hashes: which are replaced, by what, and that nothing else changes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Gate, PATIENCE, SHA1_SECRET, Server, options, tracked, verified};
use registry_auth::password;
use registry_auth_lookup::{Changed, Event, Hashing, LookupOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

fn bcrypt(password: &str, cost: u32) -> String {
    password::hash_bcrypt(password.as_bytes(), cost, &[7; 16]).unwrap()
}

fn rehashing(options: LookupOptions) -> Gate {
    Gate::with(LookupOptions {
        rehash: true,
        ..options
    })
}

fn get(redis: &Server, key: &str, field: &str) -> Option<String> {
    let mut get = redis::cmd("HGET");
    get.arg(key).arg(field);
    get.query(&mut redis.connection()).unwrap()
}

fn set(redis: &Server, user: &str, password: &str) {
    redis.run_args(&["HSET", &format!("P:user:{user}"), "password", password]);
}

/// The stored hash, once it is argon2id as the tool makes it.
fn replaced(redis: &Server, key: &str, field: &str) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let stored = get(redis, key, field).unwrap();
        if stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") {
            return stored;
        }
        assert!(Instant::now() < until, "{key} {field} is still {stored}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_weak_becomes_argon2id_and_nothing_else_of_the_record_changes() {
    let redis = Server::start();
    let mut gate = rehashing(options(&redis.url()));
    for (user, stored) in [
        ("sha1", SHA1_SECRET.to_owned()),
        ("sha", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=".to_owned()),
        ("bcrypt", bcrypt("secret", 4)),
    ] {
        let key = format!("P:user:{user}");
        redis.run_args(&[
            "HSET",
            &key,
            "password",
            &stored,
            "grant:team/*",
            "pull",
            "note:x",
            "n",
        ]);
        assert!(!verified(&gate.ask(user, "wrong")), "{user}");
        assert_eq!(get(&redis, &key, "password").as_deref(), Some(&*stored), "{user}");
        assert!(verified(&gate.ask(user, "secret")), "{user}");
        let new = replaced(&redis, &key, "password");
        assert_eq!(password::verify(&new, b"secret", b""), Ok(true));
        assert!(verified(&gate.ask(user, "secret")) && !verified(&gate.ask(user, "wrong")));
        assert_eq!(get(&redis, &key, "grant:team/*").as_deref(), Some("pull"));
        assert_eq!(get(&redis, &key, "note:x").as_deref(), Some("n"));
        // It is good now, and stays.
        assert_eq!(replaced(&redis, &key, "password"), new);
    }
    assert_eq!(redis.calls("exec"), 3);
}

#[test]
fn a_hash_of_the_2014_gate_is_replaced_where_it_is() {
    let redis = Server::start();
    let digest = "0".repeat(40);
    let mut gate = rehashing(options(&redis.url()));
    redis.run_args(&["HSET", "P:passwords", "alice", SHA1_SECRET, "bob", &digest]);
    assert!(verified(&gate.ask("alice", "secret")));
    replaced(&redis, "P:passwords", "alice");
    assert_eq!(get(&redis, "P:user:alice", "password"), None);
    assert_eq!(get(&redis, "P:passwords", "bob").as_deref(), Some(&*digest));
    assert!(verified(&gate.ask("alice", "secret")));
}

#[test]
fn what_is_good_locked_or_cut_by_bcrypt_stays_and_nothing_does_where_it_is_off() {
    let redis = Server::start();
    let long = "a".repeat(73);
    let argon = password::hash_argon2id(b"secret", &[1; 16]).unwrap();
    let stored = [
        ("argon2", "secret", argon),
        ("bcrypt", "secret", bcrypt("secret", 10)),
        ("locked", "secret", format!("!{SHA1_SECRET}")),
        ("long", long.as_str(), bcrypt(&long[..72], 4)),
    ];
    let mut gate = rehashing(options(&redis.url()));
    let mut off = Gate::new(&redis.url());
    for (user, password, hash) in &stored {
        set(&redis, user, hash);
        assert_eq!(verified(&gate.ask(user, password)), *user != "locked", "{user}");
    }
    set(&redis, "off", SHA1_SECRET);
    assert!(verified(&off.ask("off", "secret")));
    // What is asked for later is done later.
    set(&redis, "last", SHA1_SECRET);
    assert!(verified(&gate.ask("last", "secret")));
    replaced(&redis, "P:user:last", "password");
    for (user, _, hash) in &stored {
        assert_eq!(
            get(&redis, &format!("P:user:{user}"), "password").as_deref(),
            Some(&**hash),
            "{user}"
        );
    }
    assert_eq!(
        get(&redis, "P:user:off", "password").as_deref(),
        Some(SHA1_SECRET)
    );
    assert_eq!(redis.calls("watch"), 1);
}

/// Passes on what two say to each other; before a `word` of the client's goes on, `meanwhile` is done,
/// `times` at most.
fn between(
    redis: &Server,
    word: &'static str,
    times: usize,
    meanwhile: impl Fn() + Send + Sync + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (own, port) = (listener.local_addr().unwrap().port(), redis.port);
    let (meanwhile, done) = (
        std::sync::Arc::new(meanwhile),
        std::sync::Arc::new(std::sync::Mutex::new(0)),
    );
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut back, mut answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut answers, &mut back);
                let _ = back.shutdown(Shutdown::Both);
            });
            let (meanwhile, done) = (meanwhile.clone(), done.clone());
            thread::spawn(move || {
                let mut chunk = [0; 65_536];
                while let Ok(length @ 1..) = client.read(&mut chunk) {
                    let said = &chunk[..length];
                    if said.windows(word.len()).any(|some| some == word.as_bytes()) {
                        let mut done = done.lock().unwrap();
                        if *done < times {
                            *done += 1;
                            meanwhile();
                        }
                    }
                    if server.write_all(said).is_err() {
                        break;
                    }
                }
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    own
}

#[test]
fn a_password_that_is_changed_meanwhile_is_not_overwritten() {
    let redis = Server::start();
    let other = bcrypt("other", 4);
    for word in ["WATCH", "HMGET\r\n$12\r\nP:user:alice", "MULTI", "HSET", "EXEC"] {
        set(&redis, "alice", SHA1_SECRET);
        let (port, hash) = (redis.port, other.clone());
        let proxy = between(&redis, word, 1, move || {
            let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
            let mut admin = client.get_connection().unwrap();
            let change = redis::cmd("HSET")
                .arg(&["P:user:alice", "password", &hash])
                .exec(&mut admin);
            change.unwrap();
        });
        let before = redis.calls("watch");
        let mut gate = rehashing(options(&format!("redis://127.0.0.1:{proxy}")));
        assert!(verified(&gate.ask("alice", "secret")), "{word}");
        let until = Instant::now() + PATIENCE;
        while get(&redis, "P:user:alice", "password").as_deref() != Some(&*other) {
            assert!(Instant::now() < until, "{word} was never sent");
            thread::sleep(Duration::from_millis(10));
        }
        // The other password's hash is weak as well: it is replaced at the owner's next login, and by what it
        // is a hash of.
        let settled = Instant::now() + Duration::from_millis(300);
        while Instant::now() < settled {
            assert_eq!(
                get(&redis, "P:user:alice", "password").as_deref(),
                Some(&*other),
                "{word}"
            );
            thread::sleep(Duration::from_millis(20));
        }
        assert!(redis.calls("watch") > before, "{word}");
        assert!(!verified(&gate.ask("alice", "secret")), "{word}");
        gate.collect();
        assert!(
            gate.log.iter().all(|line| !line.message.contains("rehash")),
            "{word}: {:?}",
            gate.log
        );
    }
}

#[test]
fn a_change_of_another_field_meanwhile_is_kept_and_the_hash_replaced_all_the_same() {
    let redis = Server::start();
    set(&redis, "alice", SHA1_SECRET);
    let port = redis.port;
    let proxy = between(&redis, "EXEC", 2, move || {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let mut admin = client.get_connection().unwrap();
        let mut change = redis::cmd("HINCRBY");
        change.arg("P:user:alice").arg("note:x").arg(1);
        change.exec(&mut admin).unwrap();
    });
    let mut gate = rehashing(options(&format!("redis://127.0.0.1:{proxy}")));
    assert!(verified(&gate.ask("alice", "secret")));
    replaced(&redis, "P:user:alice", "password");
    assert_eq!(get(&redis, "P:user:alice", "note:x").as_deref(), Some("2"));
    assert_eq!(redis.calls("exec"), 3);
}

#[test]
fn many_logins_at_once_are_one_hash_and_one_change_that_others_are_told() {
    let redis = Server::start();
    set(&redis, "alice", SHA1_SECRET);
    let mut gate = rehashing(tracked(&redis.url()));
    let mut other = Gate::with(tracked(&redis.url()));
    assert!(gate.armed() && other.armed());
    let tickets: Vec<u64> = (0..50).map(|_| gate.submit("alice", "secret")).collect();
    for ticket in tickets {
        assert!(verified(&gate.wait(ticket)));
    }
    let told = other.told(|event| matches!(event, Event::Changed(_)));
    let Event::Changed(keys) = told else {
        unreachable!()
    };
    assert!(
        matches!(&keys[..], [Changed::User { name, .. }] if &**name == "alice"),
        "{keys:?}"
    );
    replaced(&redis, "P:user:alice", "password");
    assert!(verified(&other.ask("alice", "secret")));
    assert_eq!(redis.calls("multi"), 1);
}

#[test]
fn a_full_pool_leaves_the_hash_and_a_later_login_replaces_it() {
    let redis = Server::start();
    // Half a second of the only thread, and no place behind it.
    let costly =
        "$argon2id$v=19$m=262144,t=4,p=1$AQEBAQEBAQEBAQEBAQEBAQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    set(&redis, "busy", costly);
    set(&redis, "busy2", costly);
    set(&redis, "alice", SHA1_SECRET);
    let mut gate = rehashing(LookupOptions {
        hashing: Hashing { threads: 1, queue: 1 },
        ..options(&redis.url())
    });
    let mut busy = vec![gate.submit("busy", "x")];
    thread::sleep(Duration::from_millis(100));
    busy.push(gate.submit("busy2", "x"));
    let begun = Instant::now();
    assert!(verified(&gate.ask("alice", "secret")));
    let waited = begun.elapsed();
    for ticket in busy {
        assert!(!verified(&gate.wait(ticket)));
    }
    assert_eq!(redis.calls("watch"), 0, "after {waited:?}");
    assert!(verified(&gate.ask("alice", "secret")));
    replaced(&redis, "P:user:alice", "password");
}

#[test]
fn a_refusal_is_said_once_a_while_with_what_to_do_and_the_documented_rights_are_enough() {
    let redis = Server::start();
    // The line of docs/reference/data-model.md for Redis 7.
    let rights =
        "on >pw %R~P:* resetchannels -@all +hgetall +hmget +lrange +ping +select +hello +client|tracking";
    redis.run(&format!("ACL SETUSER gate {rights}"));
    redis.run(&format!(
        "ACL SETUSER may {rights} +watch +multi +exec +hset %W~P:user:* %W~P:passwords"
    ));
    for user in ["alice", "bob"] {
        set(&redis, user, SHA1_SECRET);
    }
    redis.run_args(&["HSET", "P:passwords", "carol", SHA1_SECRET]);
    let url = |user: &str| format!("redis://{user}:pw@127.0.0.1:{}", redis.port);
    let mut gate = rehashing(tracked(&url("gate")));
    assert!(verified(&gate.ask("alice", "secret")));
    let log = gate.logged("NOPERM");
    assert!(
        log.contains("Warn: weak password hashes stay, as Redis does not let registry_auth_rehash"),
        "{log}"
    );
    assert!(log.contains("+watch +multi +exec +hset"), "{log}");
    for user in ["alice", "bob", "carol", "alice"] {
        assert!(verified(&gate.ask(user, "secret")), "{user}");
    }
    gate.settle();
    let lines = gate.log.iter().filter(|line| line.message.contains("rehash"));
    assert_eq!(lines.count(), 1, "{:?}", gate.log);
    assert_eq!(
        get(&redis, "P:user:alice", "password").as_deref(),
        Some(SHA1_SECRET)
    );
    // Each right is needed: without it nothing is written.
    for right in ["watch", "multi", "exec", "hset"] {
        redis.run(&format!("ACL SETUSER may -{right}"));
        let mut gate = rehashing(tracked(&url("may")));
        assert!(verified(&gate.ask("alice", "secret")), "{right}");
        gate.logged("NOPERM");
        assert_eq!(
            get(&redis, "P:user:alice", "password").as_deref(),
            Some(SHA1_SECRET),
            "{right}"
        );
        redis.run(&format!("ACL SETUSER may +{right}"));
    }
    let mut gate = rehashing(tracked(&url("may")));
    assert!(verified(&gate.ask("alice", "secret")) && verified(&gate.ask("carol", "secret")));
    replaced(&redis, "P:user:alice", "password");
    replaced(&redis, "P:passwords", "carol");
    gate.logged("is replaced");
}
