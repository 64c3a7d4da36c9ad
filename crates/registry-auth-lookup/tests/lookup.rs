//! What the store answers while Redis is well: records, password forms, defaults, bad records, the hashing
//! pool.

mod common;

use common::{
    Gate, SHA1_SECRET, Server, defaults_record, groups_of, is_known, options, space, user_record, verified,
};
use registry_auth::Network;
use registry_auth::codec::AccountState;
use registry_auth_lookup::{Event, Hashing, Job, LookupOptions, Outcome};
use registry_auth_redis::{Passwords, Secret};
use std::time::{Duration, Instant};

/// All of "secret".
const SHA: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
const SSHA: &str = "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0";
const BCRYPT4: &str = "$2y$04$Mo48JQKGRfxFnUWs7/UG5.7sWoAaxykOwteCStsC8fJDO9fjAaHte";
const BCRYPT10: &str = "$2y$10$WUo.7pn3Sc75mPC//vSPF.gxkXgM6N7M.a.rJUOhUB5JPs2dlqSq2";
const ARGON2: &str = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$TnDEl2tJgYtaYZt0/5f59Jf56vkIG4EtQACv6SLO2cI";
/// SHA-1 of "pepper:secret".
const SALTED: &str = "b7d984a49bf04676f05a92a52f777052a3f554ea";

#[test]
fn each_form_verifies_its_password_and_no_other() {
    let redis = Server::start();
    for (user, hash) in [
        ("hex", SHA1_SECRET),
        ("sha", SHA),
        ("ssha", SSHA),
        ("bcrypt", BCRYPT4),
        ("argon2", ARGON2),
    ] {
        redis.run_args(&["HSET", &format!("P:user:{user}"), "password", hash]);
        redis.run_args(&["HSET", "P:passwords", &format!("old-{user}"), hash]);
    }
    let mut gate = Gate::new(&redis.url());
    for form in ["hex", "sha", "ssha", "bcrypt", "argon2"] {
        for user in [form.to_owned(), format!("old-{form}")] {
            assert!(verified(&gate.ask(&user, "secret")), "{user}");
            assert!(!verified(&gate.ask(&user, "Secret")), "{user}");
            assert!(!verified(&gate.ask(&user, "")), "{user}");
            assert!(!verified(&gate.ask(&user, "secret\0junk")), "{user}");
        }
    }
}

#[test]
fn the_2014_gates_salt_goes_before_the_password() {
    let redis = Server::start();
    redis.run_args(&["HSET", "docker-registry:passwords", "user1", SALTED]);
    redis.run("LPUSH docker-registry:backends 127.0.0.1:5000");
    let mut gate = Gate::new(&redis.url());
    gate.space = space("docker-registry", "pepper:");
    let outcome = gate.ask("user1", "secret");
    assert!(verified(&outcome));
    assert_eq!(user_record(&outcome).password.as_deref(), Some(SALTED));
    assert_eq!(defaults_record(&outcome).backends[0].name, "127.0.0.1:5000");
    gate.space = space("docker-registry", "");
    assert!(!verified(&gate.ask("user1", "secret")));
}

/// Who came before is known again by the replies of Redis: what differs in them, or in what was asked,
/// decides anew.
#[test]
fn who_is_known_again_is_known_by_all_that_matters() {
    let redis = Server::start();
    redis.run_args(&[
        "HSET",
        "P:user:alice",
        "password",
        SHA1_SECRET,
        "backends",
        "127.0.0.1:5001",
    ]);
    let mut gate = Gate::new(&redis.url());
    let three_times = |gate: &mut Gate, password: &str, right: bool| {
        for _ in 0..3 {
            assert_eq!(verified(&gate.ask("alice", password)), right, "{password}");
        }
    };
    three_times(&mut gate, "secret", true);
    three_times(&mut gate, "wrong", false);
    three_times(&mut gate, "secret", true);

    gate.space = space("P", "pepper:");
    three_times(&mut gate, "secret", false);
    redis.run_args(&["HSET", "P:user:alice", "password", SALTED]);
    three_times(&mut gate, "secret", true);
    gate.space = space("P", "");
    three_times(&mut gate, "secret", false);

    redis.run_args(&["HSET", "P:user:alice", "password", &format!("!{SHA1_SECRET}")]);
    three_times(&mut gate, "secret", false);
    redis.run_args(&["HDEL", "P:user:alice", "password"]);
    three_times(&mut gate, "secret", false);
    redis.run_args(&["HSET", "P:passwords", "alice", SHA1_SECRET]);
    three_times(&mut gate, "secret", true);
    redis.run_args(&["HSET", "P:user:alice", "grant:team/**", "pull"]);
    three_times(&mut gate, "secret", true);
    assert_eq!(user_record(&gate.ask("alice", "secret")).grants.len(), 1);
    redis.run_args(&["HSET", "P:user:alice", "grant:team/**", "fly"]);
    assert_eq!(gate.ask("alice", "secret"), Outcome::BadRecord);
}

/// `P:passwords` is not asked about who had a password of their own; when that goes, it is asked after all.
#[test]
fn a_password_that_moves_to_the_old_hash_is_found_there() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    redis.run_args(&["HSET", "P:passwords", "alice", SALTED]);
    let mut gate = Gate::new(&redis.url());
    for _ in 0..3 {
        assert!(verified(&gate.ask("alice", "secret")));
        redis.run("CONFIG RESETSTAT");
    }
    assert!(verified(&gate.ask("alice", "secret")));
    let stats = format!("{:?}", redis.run("INFO commandstats"));
    assert!(!stats.contains("cmdstat_hmget"), "{stats}");
    for (command, right) in [
        (vec!["HDEL", "P:user:alice", "password"], false),
        (vec!["HSET", "P:passwords", "alice", SHA1_SECRET], true),
        (vec!["DEL", "P:passwords"], false),
        (vec!["HSET", "P:user:alice", "password", SHA1_SECRET], true),
        (vec!["DEL", "P:user:alice"], false),
    ] {
        redis.run_args(&command);
        for _ in 0..2 {
            let outcome = gate.ask("alice", "secret");
            let may = matches!(outcome, Outcome::Known { verified: true, .. });
            assert_eq!(may, right, "{command:?}");
        }
    }
    assert_eq!(gate.ask("alice", "secret"), Outcome::Unknown);
}

/// Some users of one batch are in groups, some are not, some share them.
#[test]
fn members_and_others_of_one_batch_get_their_own() {
    let redis = Server::start();
    for n in 0..40 {
        let groups = match n % 4 {
            0 => "even four",
            2 => "even",
            _ => "public",
        };
        redis.run_args(&[
            "HSET",
            &format!("P:user:u{n}"),
            "password",
            SHA1_SECRET,
            "groups",
            groups,
        ]);
    }
    for group in ["even", "four", "public"] {
        redis.run_args(&[
            "HSET",
            &format!("P:group:{group}"),
            &format!("grant:{group}/*"),
            "pull",
        ]);
    }
    let mut gate = Gate::new(&redis.url());
    for _ in 0..3 {
        let jobs: Vec<Job> = (0..40)
            .map(|n| gate.job(Some(&format!("u{n}")), "secret"))
            .collect();
        let tickets: Vec<u64> = jobs.iter().map(|job| job.ticket).collect();
        gate.store.submit(jobs);
        for (n, ticket) in tickets.into_iter().enumerate() {
            let outcome = gate.wait(ticket);
            assert!(verified(&outcome), "{n}");
            let expected: &[&str] = match n % 4 {
                0 => &["even/*", "four/*"],
                2 => &["even/*"],
                _ => &["public/*"],
            };
            assert_eq!(
                groups_of(&outcome),
                (
                    expected.iter().map(|name| (*name).to_owned()).collect(),
                    "public/*".to_owned()
                )
            );
        }
    }
}

#[test]
fn a_users_record_comes_whole_and_its_password_wins() {
    let redis = Server::start();
    redis.run_args(&[
        "HSET",
        "P:user:alice",
        "password",
        SHA1_SECRET,
        "groups",
        "team ops",
        "backends",
        "127.0.0.1:5001 [::1]:5002",
        "grant:team/**",
        "pull,push",
        "grant:!secret/**",
        "*",
        "colour",
        "blue",
    ]);
    redis.run_args(&["HSET", "P:passwords", "alice", SSHA, "bob", SHA]);
    redis.run("HSET P:user:bob groups team");
    let mut gate = Gate::new(&redis.url());
    let outcome = gate.ask("alice", "secret");
    assert!(verified(&outcome));
    let alice = user_record(&outcome);
    assert_eq!(alice.password.as_deref(), Some(SHA1_SECRET));
    assert_eq!(alice.groups, ["team", "ops"]);
    assert_eq!(alice.backends[0].addresses, ["127.0.0.1:5001".parse().unwrap()]);
    assert_eq!(alice.backends[1].addresses, ["[::1]:5002".parse().unwrap()]);
    assert_eq!(alice.grants.len(), 2);
    // Where P:user:<name> has no password, P:passwords is asked.
    let outcome = gate.ask("bob", "secret");
    assert!(verified(&outcome));
    assert_eq!(user_record(&outcome).groups, ["team"]);
}

#[test]
fn locked_users_and_users_without_a_password_are_never_verified() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", &format!("!{SHA1_SECRET}")]);
    redis.run_args(&["HSET", "P:user:bob", "password", &format!("!{BCRYPT4}")]);
    redis.run("HSET P:user:carol groups team");
    redis.run("HSET P:user:dave password !");
    let mut gate = Gate::new(&redis.url());
    gate.ask("alice", "secret"); // from here on dummies are SHA-1
    for user in ["alice", "bob", "carol", "dave"] {
        assert!(!verified(&gate.ask(user, "secret")), "{user}");
        assert!(!verified(&gate.ask(user, "")), "{user}");
    }
}

#[test]
fn the_anonymous_get_the_defaults() {
    let redis = Server::start();
    redis.run("RPUSH P:backends 127.0.0.1:5000 127.0.0.1:5001");
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    let mut gate = Gate::new(&redis.url());
    gate.ask("alice", "secret");
    assert_eq!(gate.ask("mallory", "secret"), Outcome::Unknown);
    let outcome = gate.ask_nobody();
    assert!(matches!(outcome, Outcome::Anonymous { .. }));
    let names: Vec<_> = defaults_record(&outcome)
        .backends
        .into_iter()
        .map(|peer| peer.name)
        .collect();
    assert_eq!(names, ["127.0.0.1:5000", "127.0.0.1:5001"]);
}

#[test]
fn groups_come_in_the_users_order_and_public_for_everyone() {
    let redis = Server::start();
    redis.run_args(&[
        "HSET",
        "P:user:alice",
        "password",
        SHA1_SECRET,
        "groups",
        "team ops none public",
    ]);
    redis.run_args(&["HSET", "P:user:bob", "password", SHA1_SECRET]);
    redis.run_args(&[
        "HSET",
        "P:group:team",
        "grant:team/**",
        "pull",
        "backends",
        "127.0.0.1:5001",
    ]);
    redis.run_args(&["HSET", "P:group:ops", "grant:!team/secret", "*"]);
    redis.run_args(&["HSET", "P:group:public", "grant:base/*", "pull"]);
    let mut gate = Gate::new(&redis.url());
    let public = "base/*".to_owned();
    for _ in 0..2 {
        let (groups, of_all) = groups_of(&gate.ask("alice", "secret"));
        assert_eq!(groups, ["team/** 127.0.0.1:5001", "!team/secret", "", "base/*"]);
        assert_eq!(of_all, public);
        assert_eq!(
            groups_of(&gate.ask("bob", "secret")),
            (Vec::new(), public.clone())
        );
        assert_eq!(groups_of(&gate.ask_nobody()), (Vec::new(), public.clone()));
    }
    redis.run_args(&["DEL", "P:group:team", "P:group:public"]);
    let (groups, of_all) = groups_of(&gate.ask("alice", "secret"));
    assert_eq!((groups[0].as_str(), of_all.as_str()), ("", ""));
}

#[test]
fn a_group_that_cannot_be_read_fails_its_members_only() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET, "groups", "team"]);
    redis.run_args(&["HSET", "P:user:bob", "password", SHA1_SECRET]);
    redis.run_args(&["HSET", "P:group:team", "grant:team/**", "fly"]);
    let mut gate = Gate::new(&redis.url());
    assert_eq!(gate.ask("alice", "secret"), Outcome::BadRecord);
    assert!(verified(&gate.ask("bob", "secret")));
    let log = gate.logged("P:group:team");
    let said = "record P:group:team cannot be read: field grant:team/**: it is \"fly\", and actions must be \
                pull, push, delete, separated by commas, or *; requests that need it are refused (503) until \
                it is repaired: registry-authctl check lists all that is wrong";
    assert!(log.contains(said), "{log}");
    redis.run("DEL P:group:team");
    assert!(verified(&gate.ask("alice", "secret")));

    redis.run("SET P:group:public x");
    assert_eq!(
        gate.ask("bob", "secret"),
        Outcome::BadRecord,
        "it may have denied something"
    );
    assert_eq!(gate.ask_nobody(), Outcome::BadRecord);
    assert_eq!(gate.ask("mallory", "secret"), Outcome::Unknown, "401 in any case");
}

#[test]
fn defaults_matter_to_those_only_who_have_no_others() {
    let redis = Server::start();
    redis.run("SET P:backends x");
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET, "groups", "team"]);
    redis.run_args(&["HSET", "P:user:bob", "password", SHA1_SECRET]);
    redis.run_args(&["HSET", "P:group:team", "backends", "localhost:5001"]);
    let mut gate = Gate::new(&redis.url());
    assert!(verified(&gate.ask("alice", "secret")));
    assert_eq!(gate.ask("bob", "secret"), Outcome::BadRecord);
    redis.run("HSET P:group:public backends 127.0.0.1:5002");
    assert!(verified(&gate.ask("bob", "secret")));
    let outcome = gate.ask_nobody();
    assert!(
        matches!(outcome, Outcome::Anonymous { defaults: None, .. }),
        "{outcome:?}"
    );
}

#[test]
fn names_are_resolved_and_a_bad_name_harms_nobody() {
    let redis = Server::start();
    redis.run("RPUSH P:backends localhost:5000");
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    redis.run_args(&[
        "HSET",
        "P:user:bob",
        "password",
        SHA1_SECRET,
        "backends",
        "no-such-host.invalid:5000",
    ]);
    let mut gate = Gate::new(&redis.url());
    let outcome = gate.ask("alice", "secret");
    let localhost = &defaults_record(&outcome).backends[0];
    assert_eq!(localhost.name, "localhost:5000");
    assert!(
        localhost
            .addresses
            .iter()
            .any(|address| address.ip().is_loopback() && address.port() == 5000)
    );
    let outcome = gate.ask("bob", "secret");
    assert!(verified(&outcome));
    assert_eq!(user_record(&outcome).backends[0].addresses, []);
    gate.logged("backend no-such-host.invalid:5000 has no address");
}

#[test]
fn a_batch_of_many_is_answered_once_each() {
    let redis = Server::start();
    redis.run("RPUSH P:backends 127.0.0.1:5000");
    redis.run("RPUSH Q:backends 127.0.0.1:6000");
    for n in 0..50 {
        redis.run_args(&["HSET", &format!("P:user:u{n}"), "password", SHA1_SECRET]);
    }
    redis.run_args(&["HSET", "Q:passwords", "u0", SHA]);
    let mut gate = Gate::new(&redis.url());
    gate.ask("u0", "secret");
    let (p, q) = (space("P", ""), space("Q", ""));
    let mut expected = Vec::new();
    for round in 0..4 {
        let mut jobs = Vec::new();
        for n in 0..60 {
            let user = format!("u{n}");
            let right = n % 3 != 0;
            let mut job = gate.job(
                (n % 10 != 9).then_some(&user),
                if right { "secret" } else { "wrong" },
            );
            job.space = if round % 2 == 0 || n % 7 != 0 {
                p.clone()
            } else {
                q.clone()
            };
            expected.push((
                job.ticket,
                n,
                right,
                job.user.is_some(),
                job.space.prefix == p.prefix,
            ));
            jobs.push(job);
        }
        gate.store.submit(jobs);
    }
    for (ticket, n, right, asked, in_p) in expected {
        let outcome = gate.wait(ticket);
        let port = if in_p { 5000 } else { 6000 };
        if outcome != Outcome::Unknown {
            let defaults = defaults_record(&outcome);
            assert_eq!(defaults.backends[0].addresses[0].port(), port, "{n}");
        }
        let exists = asked && (if in_p { n < 50 } else { n == 0 });
        match outcome {
            Outcome::Known { verified, .. } => assert_eq!((exists, right), (true, verified), "{n}"),
            Outcome::Unknown => assert!(asked && !exists, "{n}"),
            other => assert!(!asked, "{n}: {other:?}"),
        }
    }
}

#[test]
fn one_batch_is_one_wake_up() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    let mut gate = Gate::new(&redis.url());
    gate.ask("alice", "secret");
    gate.settle();
    let before = gate.wake_count;
    let jobs: Vec<Job> = (0..100).map(|_| gate.job(Some("alice"), "secret")).collect();
    let tickets: Vec<u64> = jobs.iter().map(|job| job.ticket).collect();
    gate.store.submit(jobs);
    for ticket in tickets {
        assert!(verified(&gate.wait(ticket)));
    }
    assert_eq!(gate.wake_count - before, 1);
}

#[test]
fn a_bad_record_fails_its_user_only_and_is_logged_once() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    redis.run("SET P:user:wrongtype x");
    redis.run_args(&[
        "HSET",
        "P:user:grant",
        "password",
        SHA1_SECRET,
        "grant:Not/Legal",
        "pull",
    ]);
    redis.run_args(&[
        "HSET",
        "P:user:actions",
        "password",
        SHA1_SECRET,
        "grant:a/**",
        "fly",
    ]);
    redis.run_args(&[
        "HSET",
        "P:user:backend",
        "password",
        SHA1_SECRET,
        "backends",
        "unix:/run/docker.sock",
    ]);
    redis.run("HSET P:user:form password $9$unheardof$x");
    redis.run("HSET P:user:cost password $2y$31$abcdefghijklmnopqrstuuZXkYh0000000000000000000000000000");
    redis.run("HSET P:passwords oldform plaintext-xyzzy");
    redis.run_args(&["HSET", "P:user:empty", "password", ""]);
    redis
        .connection()
        .send_packed_command(
            &redis::cmd("HSET")
                .arg("P:user:bytes")
                .arg("password")
                .arg(b"\xff\xfe")
                .get_packed_command(),
        )
        .unwrap();
    let mut gate = Gate::new(&redis.url());
    let bad = [
        "wrongtype",
        "grant",
        "actions",
        "backend",
        "form",
        "cost",
        "oldform",
        "empty",
        "bytes",
    ];
    for _ in 0..2 {
        let mut jobs: Vec<Job> = bad.iter().map(|user| gate.job(Some(user), "secret")).collect();
        jobs.push(gate.job(Some("alice"), "secret"));
        let tickets: Vec<u64> = jobs.iter().map(|job| job.ticket).collect();
        gate.store.submit(jobs);
        for (user, ticket) in bad.iter().zip(&tickets) {
            assert_eq!(gate.wait(*ticket), Outcome::BadRecord, "{user}");
        }
        assert!(verified(&gate.wait(tickets[bad.len()])));
    }
    let log = gate.logged("P:user:bytes");
    for user in bad {
        let key = if user == "oldform" {
            "P:passwords (field oldform)".into()
        } else {
            format!("P:user:{user} ")
        };
        assert_eq!(log.matches(&key).count(), 1, "{user}:\n{log}");
    }
    for secret in [SHA1_SECRET, "unheardof", "xyzzy", "abcdefghij", "secret"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn unreadable_shared_keys_fail_those_who_need_them() {
    let redis = Server::start();
    redis.run("SET P:passwords x");
    redis.run("SET P:backends x");
    redis.run_args(&[
        "HSET",
        "P:user:alice",
        "password",
        SHA1_SECRET,
        "backends",
        "127.0.0.1:5000",
    ]);
    redis.run_args(&["HSET", "P:user:bob", "password", SHA1_SECRET]);
    redis.run("HSET P:user:carol backends 127.0.0.1:5000");
    let mut gate = Gate::new(&redis.url());
    assert!(verified(&gate.ask("alice", "secret")));
    assert_eq!(
        gate.ask("bob", "secret"),
        Outcome::BadRecord,
        "would get the defaults"
    );
    assert_eq!(
        gate.ask("carol", "secret"),
        Outcome::BadRecord,
        "would get her password there"
    );
    assert_eq!(
        gate.ask("mallory", "secret"),
        Outcome::BadRecord,
        "nobody knows whether he exists"
    );
    let log = gate.logged("P:passwords");
    assert!(log.contains("record P:backends cannot be read"), "{log}");
}

#[test]
fn a_full_queue_is_busy_and_fast_forms_go_on() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    redis.run_args(&["HSET", "S:user:slow", "password", BCRYPT10]);
    let mut options = options(&redis.url());
    options.hashing = Hashing { threads: 1, queue: 2 };
    let mut gate = Gate::with(options);
    assert!(verified(&gate.ask("alice", "secret")));
    let (p, s) = (space("P", ""), space("S", ""));
    gate.space = s;
    let flood: Vec<Job> = (0..40)
        .map(|n| gate.job(Some("slow"), &format!("wrong{n}")))
        .collect();
    let tickets: Vec<u64> = flood.iter().map(|job| job.ticket).collect();
    gate.store.submit(flood);
    // An unknown user costs what the users of its space cost: there a slow hash, so Busy; here SHA-1, so an
    // answer. ("zed": jobs of one pipeline are answered by name.)
    let unknown = gate.submit("zed", "x");
    gate.space = p;
    assert!(matches!(gate.ask("mallory", "x"), Outcome::Unknown));
    assert!(verified(&gate.ask("alice", "secret")));
    assert_eq!(gate.wait(unknown), Outcome::Busy);
    let outcomes: Vec<Outcome> = tickets.into_iter().map(|ticket| gate.wait(ticket)).collect();
    let busy = outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::Busy)
        .count();
    let hashed = outcomes.iter().filter(|outcome| is_known(outcome)).count();
    assert_eq!(busy + hashed, 40);
    assert!(
        (1..=4).contains(&hashed),
        "{hashed} hashed, one thread and two places"
    );
    // The queue is free again.
    assert!(verified(&gate.ask("alice", "secret")));
}

/// A flood delays its sender: another network's login has its own turn, and its own places in the queue.
#[test]
fn a_flood_of_one_network_leaves_room_for_others() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:slow", "password", BCRYPT10]);
    let mut options = options(&redis.url());
    options.hashing = Hashing { threads: 1, queue: 8 };
    let mut gate = Gate::with(options);
    let flood: Vec<Job> = (0..40)
        .map(|n| gate.job(Some(&format!("nobody{n}")), "wrong"))
        .collect();
    let tickets: Vec<u64> = flood.iter().map(|job| job.ticket).collect();
    gate.store.submit(flood);
    let others: Vec<Job> = (1..=3)
        .map(|n| Job {
            from: Network::V4([192, 0, 2, n]),
            ..gate.job(Some("slow"), &format!("wrong{n}"))
        })
        .collect();
    let theirs: Vec<u64> = others.iter().map(|job| job.ticket).collect();
    gate.store.submit(others);
    for ticket in theirs {
        let outcome = gate.wait(ticket);
        assert!(is_known(&outcome), "{outcome:?}");
    }
    let outcomes: Vec<Outcome> = tickets.into_iter().map(|ticket| gate.wait(ticket)).collect();
    let is_busy = |outcome: &&Outcome| **outcome == Outcome::Busy;
    // One is computed, two wait; a third one perhaps, where the first was done soon.
    assert!(outcomes.iter().filter(is_busy).count() >= 36, "{outcomes:?}");
}

/// What was found to be right is not hashed again as long as the stored password is the same: told so, a
/// wrong one is right.
#[test]
fn what_was_verified_is_not_hashed_again() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", BCRYPT10]);
    redis.run_args(&["HSET", "P:passwords", "bob", BCRYPT10]);
    redis.run_args(&["HSET", "P:user:carol", "password", &format!("!{BCRYPT10}")]);
    let mut gate = Gate::new(&redis.url());
    let mut ask = |user: &str, verified: Option<AccountState>| {
        let job = Job {
            verified,
            ..gate.job(Some(user), "not the password")
        };
        let ticket = job.ticket;
        gate.store.submit(vec![job]);
        gate.wait(ticket)
    };
    let (same, other) = (
        AccountState::of(BCRYPT10.as_bytes()),
        AccountState::of(b"$2y$10$another"),
    );
    assert!(verified(&ask("alice", Some(same))));
    assert!(verified(&ask("bob", Some(same))));
    for (user, state) in [
        ("alice", None),
        ("alice", Some(other)),
        ("bob", Some(other)),
        ("carol", Some(same)),
    ] {
        assert!(!verified(&ask(user, state)), "{user}");
    }
    assert_eq!(ask("mallory", Some(same)), Outcome::Unknown);
}

/// Rule 24 of the security model: a hash beyond the limits is refused before any hashing, with the key and
/// not the hash in the log; a locked account is locked, whatever its hash costs.
#[test]
fn a_hash_beyond_the_limits_is_refused_at_once() {
    let phc = "$c29tZXNhbHQwMA$1CB7TWsCiDvsK0PwBxuxJijzR9L1KJh54Zl6dLxc6v0";
    let costly = [
        format!("$argon2id$v=19$m=4194304,t=1,p=1{phc}"),
        format!("$argon2id$v=19$m=65536,t=1000000,p=1{phc}"),
        format!("$scrypt$ln=30,r=8,p=1{phc}"),
        format!("$scrypt$ln=1,r=8,p=2000000{phc}"),
        format!("$pbkdf2-sha256$i=4294967295{phc}"),
        "$2y$31$aky.GgNMbO/PJ//DTe9iTOaLL1mXsxQisCwzQ2w4fx.Pzn0i2OfHW".to_owned(),
        format!("$6$rounds=999999999$saltsalt${}", "x".repeat(86)),
        // Within the limits by the parameter's first value only.
        format!("$argon2id$v=19$m=8,t=1,p=1,t=4294967295{phc}"),
    ];
    let redis = Server::start();
    for (n, stored) in costly.iter().enumerate() {
        redis.run_args(&["HSET", &format!("P:user:costly{n}"), "password", stored]);
        redis.run_args(&[
            "HSET",
            &format!("P:user:locked{n}"),
            "password",
            &format!("!{stored}"),
        ]);
    }
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    let mut options = options(&redis.url());
    options.hashing = Hashing { threads: 1, queue: 1 };
    let mut gate = Gate::with(options);
    assert!(verified(&gate.ask("alice", "secret")));
    let started = Instant::now();
    for (n, stored) in costly.iter().enumerate() {
        // More than the queue has places for: none of them is Busy.
        let asked: Vec<u64> = (0..4)
            .map(|_| gate.submit(&format!("costly{n}"), "secret"))
            .collect();
        for ticket in asked {
            assert_eq!(gate.wait(ticket), Outcome::BadRecord, "{stored}");
        }
        let locked = gate.ask(&format!("locked{n}"), "secret");
        assert!(is_known(&locked) && !verified(&locked), "{stored}");
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let log = gate.logged("P:user:costly7");
    for n in 0..costly.len() {
        assert_eq!(
            log.matches(&format!("P:user:costly{n} ")).count(),
            1,
            "once: {log}"
        );
    }
    assert!(
        log.contains("P:user:costly0 cannot be read: the password hash is too costly"),
        "{log}"
    );
    assert!(!log.contains("locked"), "{log}");
    for part in [
        "$argon2",
        "$scrypt",
        "$2y",
        "rounds",
        "c29tZXNhbHQwMA",
        "1CB7TWsC",
        "secret",
    ] {
        assert!(!log.contains(part), "{part}: {log}");
    }
}

#[test]
fn a_unix_socket_a_database_and_an_acl_user_without_ping() {
    let redis = Server::start();
    redis.run_args(&[
        "ACL",
        "SETUSER",
        "gate",
        "on",
        ">pw",
        "resetkeys",
        "%R~P:*",
        "-@all",
        "+hgetall",
        "+hmget",
        "+lrange",
        "+select",
    ]);
    let mut connection = redis.connection();
    redis::pipe()
        .cmd("SELECT")
        .arg("3")
        .ignore()
        .cmd("HSET")
        .arg("P:user:alice")
        .arg("password")
        .arg(SHA1_SECRET)
        .ignore()
        .exec(&mut connection)
        .unwrap();
    let socket = redis.dir.path().join("sock").display().to_string();
    let mut options = options(&format!("redis+unix://{socket}?db=3"));
    options.endpoint = options
        .endpoint
        .with_user("gate")
        .with_passwords(Passwords::one(Secret::new(b"pw")).unwrap());
    let mut gate = Gate::with(options);
    assert!(verified(&gate.ask("alice", "secret")));
    assert!(verified(
        &Gate::new(&format!("{}/3", redis.url())).ask("alice", "secret")
    ));
    assert!(matches!(
        Gate::new(&redis.url()).ask("alice", "secret"),
        Outcome::Unknown
    ));
}

#[test]
fn jobs_and_options_show_no_secret() {
    let mut gate = Gate::new("redis://u:hidden@127.0.0.1:1");
    gate.space = space("P", "pepper");
    let shown = format!("{:?} {:?}", gate.job(Some("alice"), "hidden"), gate.store);
    assert!(!shown.contains("hidden") && !shown.contains("pepper"), "{shown}");
    assert!(shown.contains("alice"));
}

#[test]
fn nginxs_signals_never_reach_the_helper() {
    let redis = Server::start();
    let mut gate = Gate::new(&redis.url());
    gate.ask("mallory", "x"); // argon2id, on the pool
    let mut seen = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let Ok(status) = std::fs::read_to_string(task.unwrap().path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        let name = field("Name:");
        if name.starts_with("registry-auth") && !name.contains("tests") || name.starts_with("auth-hash") {
            let blocked = u64::from_str_radix(&field("SigBlk:"), 16).unwrap();
            for signal in [1, 2, 3, 10, 12, 13, 14, 15, 17, 28] {
                assert!(
                    blocked >> (signal - 1) & 1 == 1,
                    "{name}: signal {signal} is not blocked"
                );
            }
            seen.push(name);
        }
    }
    assert!(
        seen.iter().any(|name| name.starts_with("registry-auth")),
        "{seen:?}"
    );
    assert!(seen.iter().any(|name| name.starts_with("auth-hash")), "{seen:?}");
    // The starting thread has its own mask back.
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let blocked = status.lines().find(|line| line.starts_with("SigBlk:")).unwrap();
    assert_eq!(
        u64::from_str_radix(blocked.split_whitespace().nth(1).unwrap(), 16).unwrap(),
        0
    );
}

#[test]
fn stop_is_prompt_while_a_hash_is_computed() {
    let redis = Server::start();
    redis.run("HSET P:user:slow password $2y$16$abcdefghijklmnopqrstuuZXkYh0000000000000000000000000000");
    let mut gate = Gate::new(&redis.url());
    gate.submit("slow", "x");
    std::thread::sleep(Duration::from_millis(300));
    let since = Instant::now();
    gate.store.stop();
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    // A question to a stopped store gets an answer, though nobody is woken for it.
    let late = gate.submit("slow", "x");
    let mut done = Vec::new();
    gate.store.drain(&mut done);
    let is_late = |event: &Event| match event {
        Event::Completion(done) => done.ticket == late && done.outcome == Outcome::Unavailable,
        _ => false,
    };
    assert!(done.iter().any(is_late), "{done:?}");
}

/// A client that has hung up costs no hash, unless somebody else waits for the same one.
#[test]
fn a_password_that_nobody_waits_for_is_not_hashed() {
    const BCRYPT12: &str = "$2y$12$Mo48JQKGRfxFnUWs7/UG5.IrfUPkcd3hhKjF3KpzvqIyQS07lt/wC";
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", BCRYPT12]);
    let mut gate = Gate::with(LookupOptions {
        hashing: Hashing {
            threads: 1,
            queue: 32,
        },
        ..options(&redis.url())
    });
    let since = Instant::now();
    assert!(verified(&gate.ask("alice", "secret")));
    let one = since.elapsed();
    let since = Instant::now();
    let begun = gate.submit("alice", "one that is being hashed");
    let shared = [gate.submit("alice", "shared"), gate.submit("alice", "shared")];
    // As many as one network may have in the queue, and more.
    let gone: Vec<u64> = (0..6)
        .map(|n| gate.submit("alice", &format!("gone {n}")))
        .collect();
    std::thread::sleep(one / 4);
    gone.iter()
        .chain(&shared[..1])
        .for_each(|ticket| gate.store.cancel(*ticket));
    // They make room for those who wait.
    let others: Vec<u64> = (0..2)
        .map(|n| gate.submit("alice", &format!("other {n}")))
        .collect();
    for ticket in [begun].into_iter().chain(shared).chain(others) {
        assert!(!verified(&gate.wait(ticket)));
    }
    let took = since.elapsed();
    assert!(took < one * 7, "four hashes of {one:?} each took {took:?}");
    // Each has its answer, for whatever it is good.
    for ticket in gone {
        assert_eq!(gate.wait(ticket), Outcome::Unavailable);
    }
    assert!(
        verified(&gate.ask("alice", "secret")),
        "a ticket is cancelled once"
    );
}
