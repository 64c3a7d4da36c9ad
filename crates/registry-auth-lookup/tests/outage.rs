//! What the store answers while Redis is not well: gone, frozen, loading, refusing, talking nonsense; and
//! afterwards.

mod common;

use common::{
    Gate, PATIENCE, SHA1_SECRET, Server, Valve, free_port, is_known, options, silent_resolver, tracked,
    user_record, verified,
};
use registry_auth_lookup::{Changes, Event, LookupOptions, Outcome};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// "secret".
const BCRYPT4: &str = "$2y$04$Mo48JQKGRfxFnUWs7/UG5.7sWoAaxykOwteCStsC8fJDO9fjAaHte";

/// Short limits, as in nginx's default, where the test waits for them.
fn brisk(url: &str) -> LookupOptions {
    LookupOptions {
        timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_millis(500),
        ..options(url)
    }
}

fn alice(redis: &Server) {
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
}

#[test]
fn the_first_request_waits_for_the_first_connection() {
    let redis = Server::start();
    alice(&redis);
    for _ in 0..20 {
        assert!(verified(&Gate::new(&redis.url()).ask("alice", "secret")));
    }
}

#[test]
fn refused_then_there_then_gone_then_back_and_empty() {
    let port = free_port();
    let dir = Arc::new(TempDir::new().unwrap());
    let mut gate = Gate::new(&format!("redis://127.0.0.1:{port}"));
    assert_eq!(gate.ask("alice", "secret"), Outcome::Unavailable);
    gate.logged("Error: redis://127.0.0.1");
    // While down: at once, not at the timeout (2 s here).
    let since = Instant::now();
    for _ in 0..10 {
        assert_eq!(gate.ask("alice", "secret"), Outcome::Unavailable);
    }
    assert!(since.elapsed() < Duration::from_secs(10));

    let mut redis = Server::on(port, &dir, &[]);
    alice(&redis);
    let outcome = gate.ask_until("alice", "secret", |outcome| *outcome != Outcome::Unavailable);
    assert!(verified(&outcome));
    gate.logged("is reachable again");

    redis.kill();
    let outcome = gate.ask("alice", "secret");
    assert_eq!(outcome, Outcome::Unavailable);
    gate.logged("connection lost");

    // An empty Redis is up: then it is the truth that there is no alice.
    let _redis = Server::on(port, &dir, &[]);
    let outcome = gate.ask_until("alice", "secret", |outcome| *outcome != Outcome::Unavailable);
    assert!(matches!(outcome, Outcome::Unknown), "{outcome:?}");
}

#[test]
fn recovery_takes_two_seconds_at_most() {
    let port = free_port();
    let dir = Arc::new(TempDir::new().unwrap());
    let mut gate = Gate::with(brisk(&format!("redis://127.0.0.1:{port}")));
    // Long enough for the pauses between attempts to have grown to their longest.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(gate.ask("alice", "secret"), Outcome::Unavailable);
    let _redis = Server::on(port, &dir, &[]);
    let since = Instant::now();
    // Nobody's defaults: an unknown user would cost a hash as well.
    while gate.ask_nobody() == Outcome::Unavailable {
        assert!(since.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    // Twice the promise, for a busy machine.
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
}

#[test]
fn frozen_is_unavailable_within_the_timeout_and_recovers() {
    let redis = Server::start();
    alice(&redis);
    let mut gate = Gate::with(brisk(&redis.url()));
    assert!(verified(&gate.ask_until("alice", "secret", is_known)));
    redis.freeze();
    let since = Instant::now();
    let tickets: Vec<u64> = (0..20).map(|_| gate.submit("alice", "secret")).collect();
    for ticket in tickets {
        assert_eq!(gate.wait(ticket), Outcome::Unavailable);
    }
    assert!(since.elapsed() < PATIENCE / 4, "{:?}", since.elapsed());
    // It accepts connections still (the kernel does), but that is not being up.
    for _ in 0..3 {
        assert_eq!(gate.ask("alice", "secret"), Outcome::Unavailable);
    }
    let log = gate.logged("cannot connect: timed out");
    assert!(log.contains("connection lost: silent for 1.5s"), "{log}");
    redis.thaw();
    let since = Instant::now();
    assert!(verified(&gate.ask_until("alice", "secret", is_known)));
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
}

/// Asks for alice every 20 ms while Redis sleeps for `nap`, and a moment longer. What has failed, with the
/// time from each question to the end of the nap.
fn ask_through(gate: &mut Gate, redis: &Server, nap: Duration) -> Vec<Duration> {
    redis.freeze();
    let begun = Instant::now();
    let mut tickets = Vec::new();
    while begun.elapsed() < nap {
        tickets.push((gate.submit("alice", "secret"), Instant::now()));
        std::thread::sleep(Duration::from_millis(20));
    }
    redis.thaw();
    let end = Instant::now();
    for _ in 0..20 {
        tickets.push((gate.submit("alice", "secret"), Instant::now()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let failed = tickets.into_iter().filter_map(|(ticket, asked)| {
        let outcome = gate.wait(ticket);
        (outcome == Outcome::Unavailable).then(|| end.saturating_duration_since(asked))
    });
    failed.collect()
}

/// A lookup's limit is no limit for the server: one that sleeps has lost nothing, and nobody who can still be
/// answered in time is refused.
#[test]
fn a_server_that_sleeps_fails_what_runs_out_of_time_and_nothing_else() {
    let redis = Server::start();
    alice(&redis);
    let mut gate = Gate::with(LookupOptions {
        changes: Some(Changes::Auto),
        ..brisk(&redis.url())
    });
    assert!(gate.armed());
    for nap in [600, 3000].map(Duration::from_millis) {
        let failed = ask_through(&mut gate, &redis, nap);
        assert!(!failed.is_empty(), "it did sleep");
        // Half a second is the limit; the rest is for a busy machine.
        let early = failed.iter().filter(|left| **left < Duration::from_millis(400));
        assert_eq!(early.count(), 0, "{failed:?}");
        // What is known stays good: no loss is reported, and what has changed meanwhile is.
        assert!(gate.events.is_empty(), "{nap:?}: {:?}", gate.events);
    }
    redis.run_args(&["HSET", "P:user:alice", "groups", "team"]);
    gate.told(|event| matches!(event, Event::Changed(_)));
    assert!(gate.events.is_empty(), "{:?}", gate.events);
    gate.logged("is reachable again");
}

#[test]
fn a_server_that_sleeps_for_longer_is_left() {
    let redis = Server::start();
    alice(&redis);
    let mut gate = Gate::with(LookupOptions {
        changes: Some(Changes::Auto),
        ..brisk(&redis.url())
    });
    assert!(gate.armed());
    redis.freeze();
    let since = Instant::now();
    gate.told(|event| matches!(event, Event::ConnectionLost));
    let lost = since.elapsed();
    // A second and a half, and as much hope as there is; doubled for a busy machine.
    assert!((3..8).contains(&lost.as_secs()), "{lost:?}");
    assert_eq!(gate.ask("alice", "secret"), Outcome::Unavailable);
    redis.thaw();
    assert!(gate.armed());
    assert!(verified(&gate.ask_until("alice", "secret", is_known)));
}

/// Another server that answers takes the place of one that is silent, and the log says so.
#[test]
fn a_silent_connection_is_replaced_by_one_that_answers() {
    let redis = Server::start();
    alice(&redis);
    let valve = Valve::new(redis.port);
    let mut gate = Gate::with(LookupOptions {
        changes: Some(Changes::Auto),
        ..brisk(&format!("redis://127.0.0.1:{}", valve.port))
    });
    assert!(gate.armed());
    assert!(verified(&gate.ask("alice", "secret")));
    valve.close_present();
    let since = Instant::now();
    gate.told(|event| matches!(event, Event::ConnectionLost));
    assert!(gate.armed());
    let replaced = since.elapsed();
    assert!(replaced < Duration::from_secs(3), "{replaced:?}");
    assert!(verified(&gate.ask("alice", "secret")));
    assert_eq!(gate.events.len(), 0, "{:?}", gate.events);
}

#[test]
fn a_freeze_is_noticed_without_any_request() {
    let redis = Server::start();
    let mut gate = Gate::with(brisk(&redis.url()));
    gate.logged("connected to");
    redis.freeze();
    gate.logged("connection lost: silent for 1.5s");
}

#[test]
fn stop_is_prompt_while_redis_hangs() {
    let redis = Server::start();
    let mut gate = Gate::with(LookupOptions {
        timeout: PATIENCE,
        ..options(&redis.url())
    });
    gate.logged("connected to");
    redis.freeze();
    gate.submit("alice", "secret");
    std::thread::sleep(Duration::from_millis(100));
    let since = Instant::now();
    gate.store.stop();
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
}

#[test]
fn nobody_is_woken_after_stop() {
    let redis = Server::start();
    let wakes = Arc::new(AtomicUsize::new(0));
    let stopped = Arc::new(AtomicBool::new(false));
    for _ in 0..20 {
        stopped.store(false, Ordering::SeqCst);
        let (seen, after) = (Arc::clone(&wakes), Arc::clone(&stopped));
        let wake = Box::new(move || {
            seen.fetch_add(1, Ordering::SeqCst);
            assert!(!after.load(Ordering::SeqCst), "woken after stop");
        });
        let mut gate = Gate::new(&redis.url());
        let mut store = registry_auth_lookup::Store::start(LookupOptions {
            wake,
            ..options(&redis.url())
        })
        .unwrap();
        for _ in 0..50 {
            store.submit(vec![gate.job(Some("mallory"), "x")]);
        }
        std::thread::sleep(Duration::from_millis(10));
        store.stop();
        stopped.store(true, Ordering::SeqCst);
        // Answers that nobody is woken for are there nevertheless.
        let mut done = Vec::new();
        store.drain(&mut done);
        assert!(done.len() <= 50);
    }
    assert!(wakes.load(Ordering::SeqCst) > 0);
}

#[test]
fn killed_connections_fail_no_request_while_redis_is_up() {
    let redis = Server::start();
    alice(&redis);
    let mut gate = Gate::new(&redis.url());
    for _ in 0..10 {
        assert!(verified(&gate.ask("alice", "secret")));
        redis.run("CLIENT KILL TYPE normal SKIPME yes");
    }
    assert!(verified(&gate.ask("alice", "secret")));
}

#[test]
fn a_missing_or_wrong_login_is_unavailable_and_said() {
    let redis = Server::with(&["--requirepass", "sesame"]);
    alice(&redis);
    let mut gate = Gate::new(&redis.url());
    assert_eq!(gate.ask("alice", "secret"), Outcome::Unavailable);
    gate.logged("NOAUTH");

    let mut gate = Gate::new(&format!("redis://:hunter2@127.0.0.1:{}", redis.port));
    assert_eq!(gate.ask("alice", "secret"), Outcome::Unavailable);
    let log = gate.logged("cannot connect");
    assert!(log.contains("log-in") || log.contains("WRONGPASS"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");

    let mut gate = Gate::new(&format!("redis://:sesame@127.0.0.1:{}", redis.port));
    assert!(verified(&gate.ask("alice", "secret")));
    // The password is changed under a connection that lives on, which then is killed.
    redis.run("CONFIG SET requirepass other");
    let mut admin = redis::Client::open(format!("redis://:other@127.0.0.1:{}", redis.port))
        .unwrap()
        .get_connection()
        .unwrap();
    redis::cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .exec(&mut admin)
        .unwrap();
    gate.logged("connection lost");
    assert_eq!(gate.ask("alice", "secret"), Outcome::Unavailable);
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("requirepass")
        .arg("sesame")
        .exec(&mut admin)
        .unwrap();
    assert!(verified(&gate.ask_until("alice", "secret", is_known)));
}

#[test]
fn a_forbidden_command_is_unavailable_and_said() {
    let redis = Server::start();
    alice(&redis);
    redis.run_args(&[
        "ACL", "SETUSER", "gate", "on", ">pw", "~*", "-@all", "+lrange", "+ping",
    ]);
    let mut gate = Gate::new(&format!("redis://gate:pw@127.0.0.1:{}", redis.port));
    assert_eq!(gate.ask("alice", "secret"), Outcome::Unavailable);
    let log = gate.logged("Redis refuses: NOPERM");
    assert!(log.contains("hgetall"), "{log}");
    // The right is given, the connection is the same.
    redis.run("ACL SETUSER gate +hgetall +hmget");
    assert!(verified(&gate.ask("alice", "secret")));
}

#[test]
fn while_redis_loads_its_data_nobody_is_unknown() {
    let mut redis = Server::start();
    alice(&redis);
    let mut filler = redis::pipe();
    for n in 0..3000 {
        filler.cmd("SET").arg(format!("filler:{n}")).arg("x").ignore();
    }
    filler.exec(&mut redis.connection()).unwrap();
    redis.run("SAVE");
    let (port, dir) = redis.kill();
    // 3,000 keys of 1 ms each.
    let slow = [
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let _redis = Server::on(port, &dir, &slow);
    let mut gate = Gate::new(&format!("redis://127.0.0.1:{port}"));
    let mut unavailable = 0;
    let outcome = gate.ask_until("alice", "secret", |outcome| {
        unavailable += usize::from(*outcome == Outcome::Unavailable);
        *outcome != Outcome::Unavailable
    });
    assert!(verified(&outcome));
    assert!(unavailable > 0, "Redis had loaded before we asked");
    gate.logged("LOADING");
}

#[test]
fn a_server_that_talks_nonsense_is_unavailable() {
    for nonsense in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "*2\r\n$-5\r\n",
        "$999999999999999999999\r\n",
        "\0\0\0\0",
        "+OK\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                std::thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                        let _ = stream.write_all(nonsense.as_bytes());
                    }
                });
            }
        });
        let mut gate = Gate::with(brisk(&format!("redis://127.0.0.1:{port}")));
        for _ in 0..3 {
            assert_eq!(gate.ask("alice", "secret"), Outcome::Unavailable, "{nonsense:?}");
        }
        let log = gate.logged("redis://127.0.0.1");
        assert!(!log.contains("400 Bad"), "replies are not quoted: {log}");
    }
}

#[test]
fn whatever_happens_each_job_is_answered_once() {
    let mut redis = Server::start();
    let mut gate = Gate::with(brisk(&redis.url()));
    let fill = |redis: &Server| {
        alice(redis);
        redis.run_args(&[
            "HSET",
            "P:user:bob",
            "password",
            BCRYPT4,
            "backends",
            "localhost:5000",
        ]);
        redis.run("SET P:user:bad x");
        redis.run("RPUSH P:backends localhost:5001");
    };
    fill(&redis);
    let mut tickets = Vec::new();
    let mut flood = |gate: &mut Gate, milliseconds: u64| {
        let until = Instant::now() + Duration::from_millis(milliseconds);
        while Instant::now() < until {
            let jobs = ["alice", "bob", "bad", "mallory"].map(|user| gate.job(Some(user), "secret"));
            tickets.extend(jobs.iter().map(|job| job.ticket));
            gate.store.submit(jobs.into());
            gate.collect();
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    for _ in 0..2 {
        flood(&mut gate, 200);
        redis.run("CLIENT KILL TYPE normal SKIPME yes");
        flood(&mut gate, 200);
        redis.freeze();
        flood(&mut gate, 800);
        redis.thaw();
        flood(&mut gate, 200);
        let (port, dir) = redis.kill();
        flood(&mut gate, 300);
        redis = Server::on(port, &dir, &[]);
        fill(&redis);
        flood(&mut gate, 200);
    }
    // `wait` fails for a ticket that is never answered, `collect` for one that is answered twice.
    let answers: Vec<Outcome> = tickets.into_iter().map(|ticket| gate.wait(ticket)).collect();
    for kind in [Outcome::Unavailable, Outcome::BadRecord] {
        assert!(answers.contains(&kind), "{kind:?}");
    }
    assert!(
        answers
            .iter()
            .any(|outcome| is_known(outcome) && verified(outcome))
    );
    assert!(verified(&gate.ask_until("bob", "secret", is_known)));
}

/// Twenty users have backends whose names nobody answers, one is in a group of that kind, and Redis, which
/// has a name of its own, hangs up now and then: nobody else notices.
#[test]
fn names_that_nobody_answers_concern_nobody_else() {
    let Some(_silent) = silent_resolver("names_that_nobody_answers_concern_nobody_else") else {
        return;
    };
    let redis = Server::start();
    let users = (0..20).map(|n| (format!("u{n}"), format!("registry{n}.invalid:5000")));
    let good = [("bob", "127.0.0.1:5000"), ("carol", "localhost:5000")];
    let good = good.map(|(user, backend)| (user.to_owned(), backend.to_owned()));
    for (user, backend) in users.chain(good) {
        let key = format!("P:user:{user}");
        redis.run_args(&["HSET", &key, "password", SHA1_SECRET, "backends", &backend]);
    }
    redis.run_args(&["HSET", "P:group:team", "backends", "team.invalid:5000"]);
    redis.run_args(&["HSET", "P:user:member", "password", SHA1_SECRET, "groups", "team"]);
    let url = format!("redis://localhost:{}", redis.port);
    let mut gate = Gate::with(LookupOptions {
        changes: Some(Changes::Auto),
        ..brisk(&url)
    });
    assert!(gate.armed());
    let mut longest = Duration::ZERO;
    for round in 0..60 {
        for user in (0..20).map(|n| format!("u{n}")).chain(["member".to_owned()]) {
            gate.submit(&user, "secret");
        }
        if round % 10 == 5 {
            redis.run("CLIENT KILL TYPE normal SKIPME yes");
        }
        for user in ["bob", "carol"] {
            let since = Instant::now();
            let outcome = gate.ask(user, "secret");
            longest = longest.max(since.elapsed());
            assert!(verified(&outcome), "{user} in round {round}");
            let backends = user_record(&outcome).backends;
            assert!(!backends[0].addresses.is_empty(), "{user} in round {round}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("the longest of 120 took {longest:?}");
    // Less than they would wait for a name.
    assert!(longest < Duration::from_millis(400), "{longest:?}");
}

#[test]
fn a_connection_to_another_server_than_before_is_a_failover() {
    let (mut first, second) = (Server::start(), Server::start());
    second.freeze();
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{}", first.port, second.port);
    let mut gate = Gate::with(tracked(&url));
    let next = |gate: &mut Gate| {
        let told = gate.told(|event| matches!(event, Event::FailedOver | Event::Connected { .. }));
        matches!(told, Event::FailedOver)
    };
    assert!(!next(&mut gate), "the first connection");
    first.run("CLIENT KILL TYPE normal SKIPME yes");
    assert!(!next(&mut gate), "the same server again");
    second.thaw();
    first.kill();
    assert!(next(&mut gate), "another server");
    assert!(!next(&mut gate), "one connection, one failover");
}
