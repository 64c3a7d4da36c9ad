//! What the store tells of changes, and that no answer comes behind a change that it does not know; single
//! flight.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Gate, PATIENCE, SHA1_SECRET, Server, options, space, tracked, user_record, verified};
use registry_auth_lookup::{Changed, Changes, Event, Hashing, LookupOptions, Outcome};
use registry_auth_redis::log::Level;
use registry_auth_redis::{Passwords, Secret};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Both of "secret"; some tens and some hundreds of milliseconds in a debug build, at least.
const BCRYPT10: &str = "$2y$10$WUo.7pn3Sc75mPC//vSPF.gxkXgM6N7M.a.rJUOhUB5JPs2dlqSq2";
const BCRYPT12: &str = "$2y$12$Mo48JQKGRfxFnUWs7/UG5.IrfUPkcd3hhKjF3KpzvqIyQS07lt/wC";

fn p() -> Arc<str> {
    "P".into()
}

fn user(name: &str) -> Changed {
    Changed::User {
        prefix: p(),
        name: name.into(),
    }
}

fn is_lost(event: &Event) -> bool {
    matches!(event, Event::ConnectionLost)
}

/// The keys of the next `Changed`.
fn changed(gate: &mut Gate) -> Vec<Changed> {
    match gate.told(|event| matches!(event, Event::Changed(_))) {
        Event::Changed(keys) => keys,
        _ => unreachable!(),
    }
}

fn wait_for_calls(redis: &Server, hgetall: u64) {
    let until = Instant::now() + PATIENCE;
    while redis.calls("hgetall") < hgetall {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_proof_comes_behind_all_changes_from_before_its_question() {
    let redis = Server::start();
    let mut gate = Gate::with(tracked(&redis.url()));
    assert!(gate.armed());
    for number in 1..=50 {
        redis.run("HSET P:user:alice password x");
        gate.store.prove(number);
        // Forgets what stands before it, so that a change behind the proof would be there for the next.
        let told = gate.told(|event| matches!(event, Event::Changed(_) | Event::Proved(_)));
        assert!(matches!(told, Event::Changed(_)), "{number}: {told:?}");
        let told = gate.told(|event| matches!(event, Event::Changed(_) | Event::Proved(_)));
        assert!(
            matches!(told, Event::Proved(proved) if proved == number),
            "{number}: {told:?}"
        );
    }
}

#[test]
fn nothing_is_proved_by_a_silent_connection() {
    let redis = Server::start();
    let mut gate = Gate::with(tracked(&redis.url()));
    assert!(gate.armed());
    redis.freeze();
    gate.store.prove(1);
    let told = gate.told(|event| is_lost(event) || matches!(event, Event::Proved(_)));
    assert!(is_lost(&told), "{told:?}");
}

#[test]
fn changes_are_told_on_an_idle_connection() {
    let redis = Server::start();
    let mut gate = Gate::with(tracked(&redis.url()));
    assert!(gate.armed());
    redis.run("HSET P:user:alice password x");
    assert_eq!(changed(&mut gate), [user("alice")]);
    redis.run("HSET P:passwords alice x");
    assert_eq!(changed(&mut gate), [Changed::Passwords { prefix: p() }]);
    redis.run("RPUSH P:backends h:1");
    assert_eq!(changed(&mut gate), [Changed::Backends { prefix: p() }]);
    redis.run("SADD Q:user:alice x");
    redis.run("SET P:other x");
    redis.run("HSET P:group:team backends h:1");
    let team = Changed::Group {
        prefix: p(),
        name: "team".into(),
    };
    assert_eq!(changed(&mut gate), [team]);
    redis.run("PEXPIRE P:user:alice 50");
    assert_eq!(changed(&mut gate), [user("alice")]);
    std::thread::sleep(Duration::from_millis(100));
    redis.run("GET P:user:alice");
    assert_eq!(changed(&mut gate), [user("alice")], "expired");
    redis.run("FLUSHALL");
    gate.told(|event| matches!(event, Event::AllChanged));
    redis.run("FLUSHDB ASYNC");
    gate.told(|event| matches!(event, Event::AllChanged));
}

#[test]
fn prefixes_that_overlap_are_all_told() {
    let redis = Server::start();
    let prefixes = ["a", "a:b", "c"].map(Box::from).to_vec();
    let mut gate = Gate::with(LookupOptions {
        prefixes,
        ..tracked(&redis.url())
    });
    assert!(gate.armed());
    for prefix in ["a", "a:b", "c"] {
        redis.run(&format!("HSET {prefix}:passwords alice x"));
        let prefix = prefix.into();
        assert_eq!(changed(&mut gate), [Changed::Passwords { prefix }]);
    }
}

#[test]
fn without_tracking_there_are_only_completions() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    let mut gate = Gate::with(options(&redis.url()));
    assert!(verified(&gate.ask("alice", "secret")));
    redis.run("HSET P:user:alice groups team");
    redis.run("CLIENT KILL TYPE normal SKIPME yes");
    assert!(verified(&gate.ask("alice", "secret")));
    assert!(gate.events.is_empty(), "{:?}", gate.events);
}

#[test]
fn each_connection_is_armed_anew() {
    let mut redis = Server::start();
    let mut gate = Gate::with(tracked(&redis.url()));
    assert!(gate.armed());
    for n in 0..5 {
        redis.run("CLIENT KILL TYPE normal SKIPME yes");
        gate.told(is_lost);
        assert!(gate.armed());
        redis.run(&format!("HSET P:user:alice groups g{n}"));
        assert_eq!(changed(&mut gate), [user("alice")]);
    }
    let (port, dir) = redis.kill();
    gate.told(is_lost);
    let redis = Server::on(port, &dir, &[]);
    assert!(gate.armed());
    redis.run("HSET P:user:alice groups team");
    assert_eq!(changed(&mut gate), [user("alice")]);
    assert!(!gate.events.iter().any(is_lost), "once for each connection");
}

#[test]
fn a_frozen_server_is_a_loss_without_any_request() {
    let redis = Server::start();
    let mut gate = Gate::with(LookupOptions {
        timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_millis(500),
        ..tracked(&redis.url())
    });
    assert!(gate.armed());
    redis.freeze();
    let since = Instant::now();
    gate.told(is_lost);
    // A second until it is asked, half a second to answer; doubled for a busy machine.
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    redis.thaw();
    assert!(gate.armed());
    redis.run("HSET P:user:alice groups team");
    assert_eq!(changed(&mut gate), [user("alice")]);
    assert!(!gate.events.iter().any(is_lost));
}

/// A user of Redis as the crate's documentation says, without what `less` names.
fn restricted(redis: &Server, less: &str) -> LookupOptions {
    let documentation = include_str!("../src/lib.rs");
    let command: Vec<&str> = documentation
        .lines()
        .skip_while(|line| !line.starts_with("//! ACL SETUSER "))
        .take_while(|line| *line != "//! ```")
        .flat_map(|line| line.trim_start_matches("//! ").split(' '))
        .filter(|word| *word != less)
        .collect();
    redis.run_args(&command);
    let mut options = tracked(&redis.url());
    let endpoint = options.endpoint.with_user("gate");
    options.endpoint = endpoint.with_passwords(Passwords::one(Secret::new(b"password")).unwrap());
    options
}

#[test]
fn the_documented_acl_is_enough() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    redis.run("ACL SETUSER default -@all +@admin +@connection +hset");
    let mut gate = Gate::with(restricted(&redis, ""));
    assert!(gate.armed());
    assert!(verified(&gate.ask("alice", "secret")));
    redis.run("HSET P:user:alice groups team");
    assert_eq!(changed(&mut gate), [user("alice")]);
}

fn warnings(gate: &Gate) -> usize {
    gate.log.iter().filter(|line| line.level == Level::Warn).count()
}

/// Everything but changes works, and that is said once.
fn goes_on_untracked(redis: &Server, gate: &mut Gate) {
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    for _ in 0..3 {
        assert!(!gate.armed());
        let ticket = gate.submit("alice", "secret");
        let done = gate.completion(ticket);
        assert!(verified(&done.outcome) && done.cacheable);
        redis.run("CLIENT KILL TYPE normal SKIPME yes");
        gate.told(is_lost);
    }
    gate.logged("does not tell what changes");
    assert_eq!(warnings(gate), 1, "{:?}", gate.log);
}

#[test]
fn an_acl_without_tracking_is_said_once() {
    let redis = Server::start();
    let mut gate = Gate::with(restricted(&redis, "+client|tracking"));
    goes_on_untracked(&redis, &mut gate);
    gate.logged("NOPERM");
}

#[test]
fn a_right_to_track_that_is_given_later_is_used() {
    let redis = Server::start();
    let mut gate = Gate::with(restricted(&redis, "+client|tracking"));
    assert!(!gate.armed());
    redis.run("ACL SETUSER gate +client|tracking");
    assert!(gate.armed());
    assert!(!gate.events.iter().any(is_lost), "on the same connection");
    gate.logged(" tells what changes");
    redis.run("HSET P:user:alice groups team");
    assert_eq!(changed(&mut gate), [user("alice")]);
}

#[test]
fn a_server_without_resp3_is_said_once() {
    let redis = Server::with(&["--rename-command", "HELLO", ""]);
    let mut gate = Gate::with(LookupOptions {
        changes: Some(Changes::Tracking),
        ..tracked(&redis.url())
    });
    goes_on_untracked(&redis, &mut gate);
    redis.run("HSET P:user:alice groups team");
    assert!(!gate.armed());
    assert_eq!(user_record(&gate.ask("alice", "secret")).groups, ["team"]);
}

/// Passes bytes on and closes on HELLO, as proxies do with what they do not know.
fn proxy(to: u16) -> u16 {
    fn pass(mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if buffer[..read].windows(5).any(|word| word == b"HELLO")
                || to.write_all(&buffer[..read]).is_err()
            {
                break;
            }
        }
        let _ = from.shutdown(std::net::Shutdown::Both);
        let _ = to.shutdown(std::net::Shutdown::Both);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else {
                continue;
            };
            let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || pass(client, server));
            std::thread::spawn(move || pass(server2, client2));
        }
    });
    port
}

#[test]
fn a_proxy_that_hangs_up_on_hello_is_served_in_resp2() {
    let redis = Server::start();
    let mut gate = Gate::with(tracked(&format!("redis://127.0.0.1:{}", proxy(redis.port))));
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    assert!(!gate.armed());
    assert!(verified(&gate.ask("alice", "secret")));
    assert_eq!(warnings(&gate), 1, "{:?}", gate.log);
}

#[test]
fn an_answer_that_a_change_overtakes_is_read_again() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", BCRYPT12, "groups", "old"]);
    redis.run_args(&["HSET", "P:user:bob", "password", BCRYPT12, "groups", "old"]);
    let mut gate = Gate::with(tracked(&redis.url()));
    assert!(gate.armed());
    let (alice, bob) = (gate.submit("alice", "secret"), gate.submit("bob", "secret"));
    wait_for_calls(&redis, 2);
    // While they are hashed, one after the other.
    redis.run("HSET P:user:bob groups new");
    redis.run("HSET P:user:alice groups new");
    assert_eq!(user_record(&gate.wait(alice)).groups, ["new"]);
    let done = gate.completion(bob);
    assert_eq!(user_record(&done.outcome).groups, ["new"]);
    assert!(verified(&done.outcome) && done.cacheable);
    // A change of the password itself decides anew.
    let before = redis.calls("hgetall");
    let ticket = gate.submit("alice", "secret");
    wait_for_calls(&redis, before + 1);
    redis.run("HSET P:user:alice password !");
    assert!(!verified(&gate.wait(ticket)));
}

/// Somebody changes `P:passwords` as fast as Redis takes it: whoever has to be asked for is, and answered.
#[test]
fn a_storm_of_changes_refuses_nobody() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:passwords", "alice", SHA1_SECRET]);
    let mut gate = Gate::with(tracked(&redis.url()));
    assert!(gate.armed());
    let is_over = Arc::new(AtomicBool::new(false));
    let (over, mut connection) = (Arc::clone(&is_over), redis.connection());
    let storm = std::thread::spawn(move || {
        let mut pipe = redis::pipe();
        for n in 0..1000 {
            pipe.cmd("HSET").arg("P:passwords").arg("bob").arg(n).ignore();
        }
        let mut changes = 0;
        while !over.load(Ordering::Relaxed) {
            pipe.exec(&mut connection).unwrap();
            changes += 1000;
        }
        changes
    });
    let since = Instant::now();
    let (mut kept, mut asked) = (0, 0);
    while since.elapsed() < Duration::from_secs(3) {
        let ticket = gate.submit("alice", "secret");
        let done = gate.completion(ticket);
        assert!(verified(&done.outcome), "after {asked}: {done:?}");
        (kept, asked) = (kept + usize::from(done.cacheable), asked + 1);
        gate.events.clear();
    }
    is_over.store(true, Ordering::Relaxed);
    let changes = storm.join().unwrap();
    println!("{changes} changes in 3 s, {asked} answers, {kept} to be kept");
    assert!(asked > 50 && kept < asked, "{kept} of {asked}");
}

#[test]
fn what_was_read_on_a_lost_connection_is_not_to_be_kept() {
    let mut redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", BCRYPT12]);
    let mut gate = Gate::with(tracked(&redis.url()));
    assert!(gate.armed());
    let ticket = gate.submit("alice", "secret");
    wait_for_calls(&redis, 1);
    redis.kill();
    let done = gate.completion(ticket);
    assert!(verified(&done.outcome));
    assert!(!done.cacheable);
    gate.told(is_lost);
}

#[test]
fn equal_questions_are_asked_once() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    let mut gate = Gate::with(LookupOptions {
        timeout: PATIENCE,
        ..tracked(&redis.url())
    });
    assert!(gate.armed());
    redis.freeze();
    let mut tickets = Vec::new();
    for n in 0..50 {
        // The salt plays no role in what is asked.
        gate.space = space("P", if n % 2 == 0 { "" } else { "pepper" });
        tickets.push((
            n,
            gate.submit("alice", if n % 5 == 0 { "wrong" } else { "secret" }),
        ));
        std::thread::sleep(Duration::from_millis(2));
    }
    redis.thaw();
    for (n, ticket) in tickets {
        assert_eq!(verified(&gate.wait(ticket)), n % 2 == 0 && n % 5 != 0, "{n}");
    }
    assert_eq!(redis.calls("hgetall"), 2, "the user, and public");
    assert!(verified(&{
        gate.space = space("P", "");
        gate.ask("alice", "secret")
    }));
    assert_eq!(redis.calls("hgetall"), 4, "nothing is kept");
}

#[test]
fn equal_passwords_are_hashed_once() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", BCRYPT10]);
    let mut options = tracked(&redis.url());
    options.hashing = Hashing { threads: 1, queue: 1 };
    let mut gate = Gate::with(options);
    assert!(gate.armed());
    let slow = gate.submit("alice", "wrong");
    wait_for_calls(&redis, 2);
    // Until it is in hand.
    std::thread::sleep(Duration::from_millis(50));
    let tickets: Vec<u64> = (0..40).map(|_| gate.submit("alice", "secret")).collect();
    // A second password at a time does not find a place, forty jobs with the same do.
    for ticket in tickets {
        assert!(verified(&gate.wait(ticket)));
    }
    assert!(matches!(gate.wait(slow), Outcome::Known { verified: false, .. }));
}

#[test]
fn those_who_wait_share_a_failure_and_nobody_hangs() {
    let redis = Server::start();
    let mut gate = Gate::with(LookupOptions {
        timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_millis(500),
        ..tracked(&redis.url())
    });
    assert!(gate.armed());
    redis.freeze();
    let tickets: Vec<u64> = (0..20).map(|_| gate.submit("alice", "secret")).collect();
    for ticket in tickets {
        assert_eq!(gate.wait(ticket), Outcome::Unavailable);
    }
    redis.thaw();
    gate.ask_until("alice", "x", |outcome| matches!(outcome, Outcome::Unknown));
}
