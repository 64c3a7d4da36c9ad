//! A guessed access token tells nothing of the user whose it is said to be: it costs the same work whoever
//! that is, and its answer is the same. Counted is what Redis was asked, as a time would tell something else
//! on each machine.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Gate, PATIENCE, SHA1_SECRET, Server, tracked, verified};
use registry_auth::{AccessToken, StoredToken, TokenDigest};
use registry_auth_lookup::{Outcome, Proof};
use std::time::Instant;

fn digest(seed: u8) -> TokenDigest {
    let token = AccessToken::generate(|bytes| {
        bytes.fill(seed);
        Ok::<(), ()>(())
    });
    token.unwrap().digest()
}

fn store(redis: &Server, user: &str, seed: u8) {
    let stored = StoredToken {
        id: format!("t{seed}"),
        digest: digest(seed),
        expires: u64::MAX,
        created: 0,
        scopes: vec![registry_auth::token::access_token::parse_scope("**:*").unwrap()],
    };
    redis.run_args(&[
        "HSET",
        &format!("P:user:{user}"),
        &stored.field(),
        &stored.value(),
    ]);
}

fn ask(gate: &mut Gate, user: &str, seed: u8) -> Outcome {
    let mut job = gate.job(Some(user), "");
    job.proof = Proof::AccessToken(Box::new(digest(seed)));
    let ticket = job.ticket;
    gate.store.submit(vec![job]);
    gate.wait(ticket)
}

/// What Redis was asked since the last look, by command.
fn asked(redis: &Server) -> Vec<String> {
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query(&mut redis.connection())
        .unwrap();
    redis.run("CONFIG RESETSTAT");
    let calls = |line: &str| {
        let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let is_ours = ["hgetall", "hmget", "lrange"].contains(&command);
        is_ours.then(|| format!("{command} {}", rest.split(',').next().unwrap_or_default()))
    };
    let mut all: Vec<String> = stats.lines().filter_map(calls).collect();
    all.sort();
    all
}

/// Users of every kind, whose right token is number 1 where they have one.
fn users(redis: &Server) -> [&'static str; 8] {
    for user in ["small", "member", "large", "locked", "damaged"] {
        redis.run_args(&["HSET", &format!("P:user:{user}"), "password", SHA1_SECRET]);
        store(redis, user, 1);
    }
    redis.run("HSET P:passwords old x");
    redis.run("HSET P:user:member groups crew");
    redis.run("HSET P:group:crew grant:crew/** pull");
    for number in 0..200 {
        redis.run_args(&["HSET", "P:user:large", &format!("grant:team{number}/**"), "pull"]);
    }
    redis.run_args(&["HSET", "P:user:locked", "password", &format!("!{SHA1_SECRET}")]);
    redis.run("HSET P:user:damaged grant:x fly");
    redis.run("SET P:user:string x");
    [
        "small", "member", "large", "locked", "damaged", "string", "old", "nobody",
    ]
}

#[test]
fn a_wrong_one_costs_and_tells_the_same_whoever_the_user_is() {
    let redis = Server::start();
    let users = users(&redis);
    let mut gate = Gate::with(tracked(&redis.url()));
    gate.armed();
    // Known users may be remembered, and that must not show either.
    for user in ["small", "member", "large"] {
        assert!(verified(&ask(&mut gate, user, 1)), "{user}");
        assert!(verified(&gate.ask(user, "secret")), "{user}");
    }
    asked(&redis);
    for seed in [2, 3] {
        for user in users {
            assert_eq!(ask(&mut gate, user, seed), Outcome::NoToken, "{user}");
            assert_eq!(asked(&redis), ["hgetall 2", "hmget 1", "lrange 1"], "{user}");
        }
    }
    gate.collect();
    assert!(
        !gate
            .log
            .iter()
            .any(|line| line.message.contains("cannot be read")),
        "nothing else was read"
    );
}

#[test]
fn a_right_one_is_as_good_as_it_was_and_a_record_that_cannot_be_read_fails_it() {
    let redis = Server::start();
    users(&redis);
    let mut gate = Gate::with(tracked(&redis.url()));
    for (user, good) in [("small", true), ("member", true), ("large", true)] {
        assert_eq!(verified(&ask(&mut gate, user, 1)), good, "{user}");
    }
    assert_eq!(ask(&mut gate, "damaged", 1), Outcome::BadRecord);
    assert_eq!(ask(&mut gate, "locked", 1), Outcome::NoToken);
}

/// Jobs for one user share a question: one with a wrong token takes along neither a password nor a right
/// token, and the reverse.
#[test]
fn who_shares_a_question_is_answered_by_what_each_sent() {
    let redis = Server::start();
    users(&redis);
    let mut gate = Gate::with(tracked(&redis.url()));
    gate.armed();
    let until = Instant::now() + PATIENCE;
    for round in 0..200 {
        assert!(Instant::now() < until);
        let user = ["small", "member", "large"][round % 3];
        let tickets: Vec<(u64, u8)> = (0..6)
            .map(|number| {
                let kind = (number + round as u8) % 3;
                let mut job = gate.job(Some(user), "secret");
                if kind > 0 {
                    job.proof = Proof::AccessToken(Box::new(digest(kind)));
                }
                let ticket = job.ticket;
                gate.store.submit(vec![job]);
                (ticket, kind)
            })
            .collect();
        for (ticket, kind) in tickets {
            match (kind, gate.wait(ticket)) {
                (2, outcome) => assert_eq!(outcome, Outcome::NoToken),
                (_, outcome) => assert!(verified(&outcome), "{kind}"),
            }
        }
    }
}

/// Asks whose a token is.
fn owner(gate: &mut Gate, seed: u8) -> Outcome {
    let mut job = gate.job(None, "");
    job.proof = Proof::AccessToken(Box::new(digest(seed)));
    let ticket = job.ticket;
    gate.store.submit(vec![job]);
    gate.wait(ticket)
}

fn enter(redis: &Server, user: &str, seed: u8) {
    redis.run_args(&["HSET", "P:token-owners", &digest(seed).to_hex(), user]);
}

#[test]
fn the_owner_of_a_token_is_asked_for_in_one_question_and_proves_nothing() {
    let redis = Server::start();
    users(&redis);
    enter(&redis, "small", 1);
    enter(&redis, "nobody", 2);
    enter(&redis, "small", 3);
    let mut gate = Gate::with(tracked(&redis.url()));
    gate.armed();
    asked(&redis);
    let named = |name: &str| {
        Outcome::Owner(
            registry_auth::UserName::parse(name.as_bytes())
                .unwrap()
                .to_owned(),
        )
    };
    assert_eq!(owner(&mut gate, 1), named("small"));
    assert_eq!(
        owner(&mut gate, 2),
        named("nobody"),
        "who has no record, is said all the same"
    );
    assert_eq!(owner(&mut gate, 9), Outcome::NoToken);
    assert_eq!(asked(&redis), ["hmget 3"], "and nothing else was asked");
    // Only the record decides.
    assert!(verified(&ask(&mut gate, "small", 1)));
    assert_eq!(ask(&mut gate, "small", 3), Outcome::NoToken);
    assert_eq!(ask(&mut gate, "nobody", 2), Outcome::NoToken);
}

/// Another token's entry is no news: it would make the answers of everybody old each time a token is created.
#[test]
fn a_change_of_the_owners_is_not_told() {
    let redis = Server::start();
    users(&redis);
    let mut gate = Gate::with(tracked(&redis.url()));
    gate.armed();
    enter(&redis, "small", 1);
    redis.run("HSET P:user:small note:x y");
    let told = gate.told(|event| matches!(event, registry_auth_lookup::Event::Changed(_)));
    let registry_auth_lookup::Event::Changed(changed) = told else {
        unreachable!()
    };
    let names: Vec<&str> = changed.iter().map(registry_auth_lookup::Changed::name).collect();
    assert_eq!(names, ["small"]);
    assert!(matches!(owner(&mut gate, 1), Outcome::Owner(_)));
}

#[test]
fn owners_that_cannot_be_read_fail_closed() {
    let mut redis = Server::start();
    enter(&redis, "il:legal", 1);
    let mut gate = Gate::with(tracked(&redis.url()));
    assert_eq!(owner(&mut gate, 1), Outcome::BadRecord);
    assert!(
        gate.logged("P:token-owners")
            .contains("the owner of an access token, \"il:legal\", is no legal name")
    );
    redis.run("DEL P:token-owners");
    assert_eq!(owner(&mut gate, 1), Outcome::NoToken);
    redis.run("SET P:token-owners x");
    assert_eq!(owner(&mut gate, 1), Outcome::BadRecord);
    let (port, _dir) = redis.kill();
    assert_ne!(port, 0);
    assert_eq!(owner(&mut gate, 1), Outcome::Unavailable);
}

/// More at once than one pipeline takes, mixed with users: each is answered once, by what it sent.
#[test]
fn many_at_once_are_each_answered() {
    let redis = Server::start();
    users(&redis);
    // As many as there are different tokens of one character repeated.
    for seed in 0..62 {
        enter(&redis, &format!("user{seed}"), seed);
    }
    let mut gate = Gate::with(tracked(&redis.url()));
    gate.armed();
    let mut jobs = Vec::new();
    let mut tickets = Vec::new();
    for seed in (0..62).cycle().take(200) {
        let mut job = gate.job(None, "");
        job.proof = Proof::AccessToken(Box::new(digest(seed)));
        tickets.push((job.ticket, Some(seed)));
        jobs.push(job);
        let job = gate.job(Some("small"), "secret");
        tickets.push((job.ticket, None));
        jobs.push(job);
    }
    gate.store.submit(jobs);
    for (ticket, seed) in tickets {
        match (seed, gate.wait(ticket)) {
            (Some(seed), Outcome::Owner(user)) => assert_eq!(user.as_str(), format!("user{seed}")),
            (None, outcome) => assert!(verified(&outcome)),
            (Some(seed), outcome) => panic!("{seed}: {outcome:?}"),
        }
    }
}
