//! A store is stopped within 100 ms, whatever it is doing: nginx's worker waits for that before it exits.
//!
//! A machine that is busy with other tests may keep a thread waiting for that long, so a state is tried a few
//! times, until it is in time. What is too slow by itself is too slow each time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Gate, PATIENCE, SHA1_SECRET, Server, free_port, silent_resolver, tracked};
use registry_auth::UserName;
use registry_auth_lookup::{Hashing, Job, LookupOptions, Proof};
use registry_auth_redis::Secret;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What `Store::stop` promises.
const PROMISE: Duration = Duration::from_millis(100);
const TRIES: usize = 3;

/// Stops stores in a state that `reach` brings about, until one is in time.
fn stop(reach: impl Fn() -> Gate) {
    let mut took = Vec::new();
    while took.last().is_none_or(|took| *took > PROMISE) {
        assert!(took.len() < TRIES, "{took:?}");
        let mut gate = reach();
        let since = Instant::now();
        gate.store.stop();
        took.push(since.elapsed());
    }
}

/// Patient ones: nothing ends by itself while it is stopped.
fn patient(url: &str) -> LookupOptions {
    LookupOptions {
        timeout: PATIENCE,
        connect_timeout: PATIENCE,
        ..tracked(url)
    }
}

/// Users of as many grants, whose passwords are fast.
fn users(redis: &Server, users: usize, grants: usize) {
    let mut connection = redis.connection();
    for first in (0..users).step_by(500) {
        let mut pipe = redis::pipe();
        for user in first..users.min(first + 500) {
            let command = pipe.cmd("HSET").arg(format!("P:user:u{user}"));
            command.arg("password").arg(SHA1_SECRET);
            for grant in 0..grants {
                command
                    .arg(format!("grant:team{user}/project{grant}/**"))
                    .arg("pull,push");
            }
            command.ignore();
        }
        pipe.exec(&mut connection).unwrap();
    }
}

#[test]
fn nothing_to_do() {
    let redis = Server::start();
    stop(|| {
        let mut gate = Gate::with(patient(&redis.url()));
        gate.logged("connected to");
        gate
    });
}

#[test]
fn nobody_listens() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    stop(|| {
        let mut gate = Gate::with(patient(&url));
        gate.logged("cannot connect");
        gate
    });
}

#[test]
fn connecting_to_one_that_never_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    stop(|| {
        let mut gate = Gate::with(patient(&url));
        for _ in 0..100 {
            gate.submit("alice", "secret");
        }
        std::thread::sleep(Duration::from_millis(50));
        gate
    });
}

#[test]
fn connecting_to_a_full_queue() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts: after these the system answers no more.
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        held.push(stream);
    }
    stop(|| {
        let mut gate = Gate::with(patient(&format!("redis://{address}")));
        gate.submit("alice", "secret");
        std::thread::sleep(Duration::from_millis(50));
        gate
    });
}

#[test]
fn redis_is_frozen() {
    let redis = Server::start();
    users(&redis, 1000, 1);
    stop(|| {
        redis.thaw();
        let mut gate = Gate::with(patient(&redis.url()));
        gate.logged("connected to");
        redis.freeze();
        for user in 0..1000 {
            gate.submit(&format!("u{user}"), "secret");
        }
        std::thread::sleep(Duration::from_millis(50));
        gate
    });
    redis.thaw();
}

#[test]
fn hashing() {
    let redis = Server::start();
    // Of unknown names, in the form of the tool: some 30 ms each.
    stop(|| {
        let mut gate = Gate::with(LookupOptions {
            hashing: Hashing {
                threads: 4,
                queue: 256,
            },
            ..patient(&redis.url())
        });
        gate.logged("connected to");
        for user in 0..300 {
            gate.submit(&format!("nobody{user}"), "secret");
        }
        std::thread::sleep(Duration::from_millis(50));
        gate
    });
}

#[test]
fn many_large_users_are_remembered() {
    const USERS: usize = 4_000;
    let redis = Server::start();
    users(&redis, USERS, 100);
    stop(|| {
        let mut gate = Gate::with(patient(&redis.url()));
        gate.logged("connected to");
        for first in (0..USERS).step_by(500) {
            let users = first..first + 500;
            let jobs: Vec<Job> = users
                .map(|user| gate.job(Some(&format!("u{user}")), "secret"))
                .collect();
            let tickets: Vec<u64> = jobs.iter().map(|job| job.ticket).collect();
            gate.store.submit(jobs);
            for ticket in tickets {
                gate.wait(ticket);
            }
        }
        gate
    });
}

#[test]
fn more_jobs_are_under_way_than_it_can_answer_in_that_time() {
    const USERS: u64 = 500;
    let redis = Server::start();
    users(&redis, USERS as usize, 100);
    stop(|| {
        let mut gate = Gate::with(patient(&redis.url()));
        gate.logged("connected to");
        for first in (0..20_000).step_by(100) {
            let jobs = (first..first + 100).map(|ticket| Job {
                ticket,
                space: Arc::clone(&gate.space),
                user: Some(
                    UserName::parse(format!("u{}", ticket % USERS).as_bytes())
                        .unwrap()
                        .to_owned(),
                ),
                password: Secret::new(format!("{ticket}").as_bytes()),
                proof: Proof::Password,
                from: registry_auth::Network::Local,
                verified: None,
            });
            gate.store.submit(jobs.collect());
        }
        std::thread::sleep(Duration::from_millis(50));
        gate
    });
}

#[test]
fn names_are_resolved_by_a_server_that_never_answers() {
    let Some(_silent) = silent_resolver("names_are_resolved_by_a_server_that_never_answers") else {
        return;
    };
    // The name of Redis itself.
    stop(|| {
        let mut gate = Gate::with(patient("redis://redis.invalid"));
        gate.submit("alice", "secret");
        std::thread::sleep(Duration::from_millis(50));
        gate
    });
    // Those of backends.
    let redis = Server::start();
    redis.run_args(&["RPUSH", "P:backends", "registry.invalid:5000"]);
    for user in 0..20 {
        let (key, backend) = (format!("P:user:u{user}"), format!("registry{user}.invalid:5000"));
        redis.run_args(&["HSET", &key, "password", SHA1_SECRET, "backends", &backend]);
    }
    stop(|| {
        let mut gate = Gate::with(patient(&redis.url()));
        gate.logged("connected to");
        for user in 0..20 {
            gate.submit(&format!("u{user}"), "secret");
        }
        std::thread::sleep(Duration::from_millis(50));
        gate
    });
}
