//! `registry-authctl token`: the secret is shown once and never stored, and each verb does what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Ran, Redis, binary, run};
use registry_auth::{StoredToken, TokenDigest};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The tokens of a record, as the module reads them.
fn stored(redis: &Redis, user: &str) -> Vec<StoredToken> {
    let fields: BTreeMap<String, String> = redis.run(&["HGETALL", &format!("P:user:{user}")]);
    let tokens = fields.iter().filter(|(name, _)| name.starts_with("token:"));
    tokens
        .map(|(name, value)| StoredToken::parse(name, value).unwrap())
        .collect()
}

fn create(redis: &Redis, user: &str, scope: &str) -> Ran {
    redis.tool(&["token", "create", user, "--scope", scope])
}

/// A field of a token by hand.
fn by_hand(redis: &Redis, user: &str, id: &str, rest: &str) {
    let value = format!("sha256={} {rest}", "0f".repeat(32));
    redis.run::<()>(&["HSET", &format!("P:user:{user}"), &format!("token:{id}"), &value]);
}

#[test]
fn the_secret_is_printed_once_and_only_its_digest_is_stored() {
    let redis = Redis::start();
    redis.add("alice");
    let before = now();
    let ran = redis.tool(&[
        "token",
        "create",
        "alice",
        "--scope",
        "team/*:push,pull",
        "--scope",
        "alice/**:*",
        "--expires",
        "30d",
    ]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let secret = ran.out.strip_suffix('\n').unwrap();
    let digest = TokenDigest::of(secret.as_bytes()).expect("standard output is the token alone");
    let tokens = stored(&redis, "alice");
    let [token] = &tokens[..] else {
        panic!("{tokens:?}")
    };
    assert_eq!((token.digest, &token.id), (digest, &digest.to_id()));
    assert!((before..=now()).contains(&token.created));
    assert_eq!(token.expires, token.created + 30 * DAY);
    let field: String = redis.run(&["HGET", "P:user:alice", &token.field()]);
    assert!(
        field.ends_with(" scope=team/*:pull,push scope=alice/**:*"),
        "{field}"
    );
    // Nothing of the secret, in whatever place: its mark, its middle, its checksum.
    let all = redis.dump().join("\n");
    for part in ["rga_", secret, &secret[4..20], &secret[20..36], &secret[36..]] {
        assert!(!all.contains(part), "{part}: {all}");
    }
    assert!(
        ran.err.contains(&token.id) && ran.err.contains("team/*:pull,push") && ran.err.contains(" UTC"),
        "{ran:?}"
    );
    assert!(!ran.err.contains("rga_"), "{ran:?}");
    for verb in [
        &["token", "list", "alice"][..],
        &["user", "show", "alice"],
        &["check", "--json"],
    ] {
        let ran = redis.tool(verb);
        assert!(
            !ran.out.contains("rga_") && !ran.out.contains("sha256"),
            "{ran:?}"
        );
        assert!(
            !ran.out.contains(field.split([' ', '=']).nth(1).unwrap()),
            "{ran:?}"
        );
    }
    // The password stays what it was.
    assert_eq!(redis.login("alice", "one"), Some(true));
}

#[test]
fn who_has_it_logs_in_until_it_is_revoked_or_the_user_locked() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&["HSET", "P:user:ci", "groups", "team"]);
    redis.run::<()>(&["HSET", "P:passwords", "old", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="]);
    for user in ["alice", "ci", "old"] {
        let secret = create(&redis, user, "a:pull").ok();
        let secret = secret.trim();
        assert_eq!(redis.login(user, secret), Some(true), "{user}");
        for other in ["alice", "ci", "old"].into_iter().filter(|other| *other != user) {
            assert_eq!(redis.login(other, secret), Some(false), "{other}");
        }
        redis.tool(&["user", "lock", user]).ok();
        assert_eq!(redis.login(user, secret), Some(false), "{user}, locked");
        redis.tool(&["user", "unlock", user]).ok();
        assert_eq!(redis.login(user, secret), Some(true), "{user}, unlocked");
        if user != "ci" {
            redis
                .tool_stdin(&["user", "passwd", user, "--hash", "bcrypt"], "new")
                .ok();
            assert_eq!(redis.login(user, secret), Some(true), "{user}, another password");
        }
        let id = stored(&redis, user)[0].id.clone();
        redis.tool(&["token", "revoke", user, &id]).ok();
        assert_eq!(redis.login(user, secret), Some(false), "{user}, revoked");
    }
}

/// Unlocking is for who has something to log in with, and brings no password to light that the lock has
/// hidden.
#[test]
fn a_robot_without_a_password_is_unlocked_to_what_it_was() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "P:user:ci", "groups", "team"]);
    by_hand(&redis, "ci", "x", "expires=9000000000 scope=a:pull");
    let before = redis.dump();
    redis.tool(&["user", "lock", "ci"]).ok();
    assert_eq!(redis.tool(&["user", "unlock", "ci"]).ok(), "user ci unlocked\n");
    assert_eq!(
        redis.tool(&["user", "unlock", "ci"]).ok(),
        "user ci was not locked\n"
    );
    assert_eq!(redis.dump(), before);
    redis.tool(&["user", "lock", "ci"]).ok();
    redis.run::<()>(&["HSET", "P:passwords", "ci", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="]);
    let err = redis.tool(&["user", "unlock", "ci"]).fails(1);
    assert!(err.contains("user passwd ci"), "{err}");
    assert_eq!(redis.login("ci", "secret"), Some(false));
}

#[test]
fn json_has_all_of_it_on_standard_output() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&["HSET", "P:user:alice", "grant:base/*", "pull"]);
    let ran = redis.tool(&[
        "--json",
        "token",
        "create",
        "alice",
        "--scope",
        "base/*:pull",
        "--expires",
        "1h",
    ]);
    assert_eq!(ran.err, "");
    let json = ran.json();
    let digest = TokenDigest::of(json["token"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(
        (&json["user"], &json["id"]),
        (&json!("alice"), &json!(digest.to_id()))
    );
    assert_eq!(
        json["scopes"],
        json!([{ "pattern": "base/*", "actions": "pull" }])
    );
    let (created, expires) = (
        json["created"].as_u64().unwrap(),
        json["expires"].as_u64().unwrap(),
    );
    assert_eq!(expires, created + 3600);
    let list = redis.tool(&["--json", "token", "list", "alice"]).json();
    assert_eq!(
        list,
        json!({ "user": "alice", "tokens": [{ "id": digest.to_id(), "created": created, "expires": expires,
                "scopes": json["scopes"], "expired": false, "last_use": null, "note": null }] })
    );
    let revoked = redis
        .tool(&["--json", "token", "revoke", "alice", &digest.to_id()])
        .json();
    assert_eq!(
        revoked,
        json!({ "user": "alice", "id": digest.to_id(), "revoked": true })
    );
}

#[test]
fn without_a_time_it_is_good_for_90_days() {
    let redis = Redis::start();
    redis.add("alice");
    create(&redis, "alice", "a/*:pull").ok();
    let tokens = stored(&redis, "alice");
    assert_eq!(tokens[0].expires - tokens[0].created, 90 * DAY);
}

#[test]
fn scopes_and_times_that_cannot_be_are_usage_errors() {
    let refused = |args: &[&str]| {
        let verb = ["--redis", "redis://127.0.0.1:1", "token", "create", "alice"];
        run(&[&verb[..], args].concat(), None).fails(2)
    };
    for (scope, why) in [
        ("", "PATTERN:ACTIONS"),
        ("team/*", "PATTERN:ACTIONS"),
        (":pull", "matches no repository"),
        ("Team/*:pull", "matches no repository"),
        ("team/***:pull", "matches no repository"),
        ("repository:team/app:pull", "matches no repository"),
        ("team/*:", "actions"),
        ("team/*:read", "actions"),
        ("!team/*:pull", "denies nothing"),
    ] {
        let err = refused(&["--scope", scope]);
        assert!(err.contains("--scope") && err.contains(why), "{scope}: {err}");
    }
    assert!(refused(&[]).contains("--scope"), "a scope is required");
    for time in ["", "90", "59m", "0d", "11y", "never", "1.5d"] {
        let err = refused(&["--scope", "a:pull", "--expires", time]);
        assert!(
            err.contains("--expires") && err.contains("1h to 10y"),
            "{time}: {err}"
        );
    }
    refused(&["--scope", "a:pull", "--expires", "-1d"]);
}

#[test]
fn a_user_must_exist_with_or_without_a_password() {
    let redis = Redis::start();
    let err = create(&redis, "nobody", "a:pull").fails(1);
    assert!(err.contains("there is no user nobody"), "{err}");
    for verb in [
        &["token", "list", "nobody"][..],
        &["token", "revoke", "nobody", "x"],
    ] {
        assert!(redis.tool(verb).fails(1).contains("there is no user nobody"));
    }
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
    // A robot that only has tokens.
    redis.run::<()>(&["HSET", "P:user:ci", "groups", "team"]);
    create(&redis, "ci", "a:pull").ok();
    assert_eq!(stored(&redis, "ci").len(), 1);
    // A user of the 2014 gate: the password stays where it is.
    redis.run::<()>(&["HSET", "P:passwords", "old", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="]);
    create(&redis, "old", "a:pull").ok();
    assert_eq!(stored(&redis, "old").len(), 1);
    assert_eq!(redis.run::<Vec<String>>(&["HKEYS", "P:passwords"]), ["old"]);
    assert_eq!(redis.login("old", "secret"), Some(true));
    // Its record holds nothing but the token: without it, the user is as before.
    let id = stored(&redis, "old")[0].id.clone();
    redis.tool(&["token", "revoke", "old", &id]).ok();
    assert_eq!(redis.run::<i32>(&["EXISTS", "P:user:old"]), 0);
    assert_eq!(redis.login("old", "secret"), Some(true));
}

#[test]
fn a_record_that_cannot_be_read_gets_no_token() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&["HSET", "P:user:alice", "grant:Team", "pull"]);
    let before = redis.dump();
    let err = create(&redis, "alice", "a:pull").fails(1);
    assert!(err.contains("P:user:alice") && err.contains("grant"), "{err}");
    assert_eq!(redis.dump(), before);
    redis.run::<()>(&["SET", "P:user:bob", "x"]);
    assert!(create(&redis, "bob", "a:pull").fails(1).contains("P:user:bob"));
}

#[test]
fn the_list_tells_times_and_what_cannot_be_read() {
    let redis = Redis::start();
    redis.add("alice");
    assert_eq!(redis.tool(&["token", "list", "alice"]).ok(), "");
    by_hand(
        &redis,
        "alice",
        "new",
        "expires=9000000000 created=1772323200 scope=a/*:pull scope=b:push",
    );
    by_hand(
        &redis,
        "alice",
        "old",
        "expires=1700000000 created=1690000000 scope=a/*:*",
    );
    by_hand(&redis, "alice", "hand", "expires=9000000000 scope=a:pull");
    by_hand(&redis, "alice", "Bad\u{1b}", "expires=1 scope=a:pull");
    let unknown = [
        "hand  a:pull  created: unknown  expires: 2255-03-14  last use: unknown",
        "old  a/*:*  created: 2023-07-22  expires: 2023-11-14 (expired)  last use: unknown",
        "new  a/*:pull b:push  created: 2026-03-01  expires: 2255-03-14  last use: unknown",
        "Bad\\u{1b}  (unreadable, so that all of the record is refused; to remove it: token revoke)",
    ];
    let out = redis.tool(&["token", "list", "alice"]).ok();
    assert_eq!(out.lines().collect::<Vec<_>>(), unknown);
    // Where some use is recorded, none is one, too.
    redis.run::<()>(&[
        "HSET",
        "P:token-use",
        "alice:old",
        "1699920000",
        "alice:hand",
        "soon",
    ]);
    let out = redis.tool(&["token", "list", "alice"]).ok();
    let uses: Vec<&str> = out
        .lines()
        .map(|line| line.rsplit("last use: ").next().unwrap())
        .collect();
    assert_eq!(uses[..3], ["unknown", "2023-11-14", "never"]);
    let json = redis.tool(&["--json", "token", "list", "alice"]).json();
    let tokens = json["tokens"].as_array().unwrap();
    assert_eq!(tokens[1]["last_use"], json!(1_699_920_000));
    assert_eq!(tokens[2]["last_use"], json!("never"));
    assert_eq!(tokens[1]["expired"], json!(true));
    assert_eq!(
        (&tokens[0]["last_use"], &tokens[0]["created"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(tokens[3], json!({ "id": "Bad\u{1b}", "unreadable": true }));
    redis.run::<()>(&["SET", "P:token-use", "x"]);
    assert_eq!(
        redis
            .tool(&["token", "list", "alice"])
            .ok()
            .lines()
            .collect::<Vec<_>>(),
        unknown
    );
}

#[test]
fn a_revoked_token_is_gone_with_its_last_use() {
    let redis = Redis::start();
    redis.add("alice");
    redis.add("bob");
    for (user, id) in [
        ("alice", "a"),
        ("alice", "b"),
        ("bob", "a"),
        ("alice", "bad token"),
    ] {
        by_hand(&redis, user, id, "expires=9000000000 scope=a:pull");
        redis.run::<()>(&["HSET", "P:token-use", &format!("{user}:{id}"), "1699920000"]);
    }
    for id in ["a", "bad token"] {
        let out = redis.tool(&["token", "revoke", "alice", id]).ok();
        assert_eq!(out, format!("token {id} of alice revoked\n"));
    }
    assert_eq!(
        redis.dump()[0],
        "P:token-use: alice:b=1699920000 bob:a=1699920000"
    );
    let ids: Vec<String> = stored(&redis, "alice")
        .into_iter()
        .map(|token| token.id)
        .collect();
    assert_eq!(ids, ["b"]);
    let before = redis.dump();
    for id in ["a", "A", "", "password"] {
        let err = redis.tool(&["token", "revoke", "alice", id]).fails(1);
        assert!(err.contains("registry-authctl token list alice"), "{id}: {err}");
    }
    assert_eq!(redis.dump(), before);
    // What is wrong with the record of uses keeps no token alive.
    redis.run::<()>(&["SET", "P:token-use", "x"]);
    redis.tool(&["token", "revoke", "alice", "b"]).ok();
    assert!(stored(&redis, "alice").is_empty());
}

#[test]
fn a_token_in_place_of_its_id_is_not_repeated() {
    let redis = Redis::start();
    redis.add("alice");
    let secret = create(&redis, "alice", "a:pull").ok();
    let err = redis.tool(&["token", "revoke", "alice", secret.trim()]).fails(2);
    assert!(err.contains("token list") && !err.contains("rga_"), "{err}");
}

#[test]
fn a_removed_user_leaves_nothing() {
    let redis = Redis::start();
    redis.add("alice");
    create(&redis, "alice", "a:pull").ok();
    by_hand(&redis, "alice", "x", "expires=9000000000 scope=a:pull");
    let out = redis.tool(&["user", "show", "alice"]).ok();
    assert!(out.contains("tokens:   2"), "{out}");
    assert_eq!(
        redis.tool(&["--json", "user", "show", "alice"]).json()["tokens"],
        json!(2)
    );
    redis.run::<()>(&[
        "HSET",
        "P:token-use",
        "alice:x",
        "1699920000",
        "bob:x",
        "1699920000",
    ]);
    redis.tool(&["user", "remove", "alice"]).ok();
    assert_eq!(redis.dump(), ["P:token-use: bob:x=1699920000"]);
    // Nor does one whose record is of another type.
    redis.run::<()>(&["SET", "P:user:bob", "x"]);
    redis.tool(&["user", "remove", "bob"]).ok();
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "P:user:*"]), [""; 0]);
}

#[test]
fn a_user_has_at_most_64() {
    let redis = Redis::start();
    redis.add("alice");
    for n in 0..63 {
        by_hand(
            &redis,
            "alice",
            &format!("t{n}"),
            "expires=1700000000 scope=a:pull",
        );
    }
    create(&redis, "alice", "a:pull").ok();
    let err = create(&redis, "alice", "a:pull").fails(1);
    assert!(
        err.contains("64") && err.contains("registry-authctl token revoke alice ID"),
        "{err}"
    );
    redis.tool(&["token", "revoke", "alice", "t7"]).ok();
    create(&redis, "alice", "a:pull").ok();
    assert_eq!(stored(&redis, "alice").len(), 64);
}

#[test]
fn many_at_once_lose_nothing_and_keep_the_limit() {
    let redis = Redis::start();
    redis.add("alice");
    for n in 0..61 {
        by_hand(
            &redis,
            "alice",
            &format!("t{n}"),
            "expires=1700000000 scope=a:pull",
        );
    }
    let redis = &redis;
    let created: Vec<Ran> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| create(redis, "alice", "a:pull")))
            .collect();
        tries.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    let done: Vec<&Ran> = created.iter().filter(|ran| ran.status == 0).collect();
    assert_eq!(done.len(), 3, "{created:?}");
    let tokens = stored(redis, "alice");
    assert_eq!(tokens.len(), 64);
    for ran in done {
        let digest = TokenDigest::of(ran.out.trim().as_bytes()).unwrap();
        assert!(tokens.iter().any(|token| token.digest == digest));
    }
}

#[test]
fn what_nobody_could_read_is_revoked() {
    let redis = Redis::start();
    redis.add("alice");
    for json in [&[][..], &["--json"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let child = binary()
            .args(["--redis", &redis.url(), "--prefix", "P"])
            .args(["token", "create", "alice", "--scope", "a:pull"])
            .args(json)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let ran = Ran::of(&child);
        assert!(ran.status == 1 && ran.err.contains("was revoked"), "{ran:?}");
        assert!(stored(&redis, "alice").is_empty());
    }
}

#[test]
fn a_note_says_what_a_token_is_for_and_goes_with_it() {
    let redis = Redis::start();
    redis.add("alice");
    let create = ["token", "create", "alice", "--scope", "alice/*:pull", "--note"];
    redis
        .tool(&[&create[..], &["nightly build of app"]].concat())
        .ok();
    let id = stored(&redis, "alice")[0].id.clone();
    let out = redis.tool(&["token", "list", "alice"]).ok();
    assert!(out.contains("note: nightly build of app"), "{out}");
    let json = redis.tool(&["token", "ls", "alice", "--json"]).json();
    assert_eq!(json["tokens"][0]["note"], json!("nightly build of app"));
    // The module reads the record none the less, and check finds nothing odd.
    assert_eq!(redis.login("alice", "one"), Some(true));
    redis.run::<()>(&["HSET", "P:user:alice", "password", "!"]);
    redis.tool(&["check"]).ok();
    redis.tool(&["token", "rm", "alice", &id]).ok();
    assert_eq!(redis.run::<Vec<String>>(&["HKEYS", "P:user:alice"]), ["password"]);
    for bad in ["", " ", "two\nlines", &"x".repeat(201)] {
        redis.tool(&[&create[..], &[bad]].concat()).fails(2);
    }
}

#[test]
fn the_tokens_of_all_and_those_that_end_soon() {
    let redis = Redis::start();
    for user in ["alice", "bob", "nobody"] {
        redis.add(user);
    }
    assert_eq!(redis.tool(&["token", "list"]).ok(), "");
    for (user, time) in [("alice", "7d"), ("alice", "90d"), ("bob", "1y")] {
        redis
            .tool(&["token", "create", user, "--scope", "a/*:pull", "--expires", time])
            .ok();
    }
    redis.run::<()>(&[
        "HSET",
        "P:user:bob",
        "token:old",
        &format!("sha256={} expires=1700000000 scope=a:pull", "0f".repeat(32)),
    ]);
    redis.run::<()>(&["SET", "P:user:odd", "x"]);
    let users = |args: &[&str]| -> Vec<String> {
        let out = redis.tool(&[&["token", "list"], args].concat()).ok();
        out.lines()
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(users(&[]), ["alice", "alice", "bob", "bob"]);
    assert_eq!(users(&["--expiring", "14d"]), ["alice", "bob"]);
    assert_eq!(users(&["--expiring", "1h"]), ["bob"]);
    let json = redis
        .tool(&["token", "list", "--expiring", "14d", "--json"])
        .json();
    assert_eq!(
        (&json[0]["user"], &json[1]["user"]),
        (&json!("alice"), &json!("bob"))
    );
    assert_eq!(json[1]["tokens"][0]["expired"], json!(true));
    let out = redis.tool(&["token", "list", "alice", "--expiring", "14d"]).ok();
    assert_eq!(out.lines().count(), 1, "{out}");
}

#[test]
fn a_secret_that_leaked_is_found_and_revoked() {
    let redis = Redis::start();
    redis.add("alice");
    redis.add("ci");
    create(&redis, "alice", "alice/*:pull").ok();
    let secret = create(&redis, "ci", "ci/*:pull").ok();
    let id = stored(&redis, "ci")[0].id.clone();
    let find =
        |args: &[&str], input: &str| redis.tool_with(&[&["token", "find"], args].concat(), Some(input));
    let out = find(&[], &format!("  {secret}")).ok();
    assert!(
        out.contains("token of ci: ") && out.contains(&format!("token revoke ci {id}")),
        "{out}"
    );
    assert!(!out.contains(secret.trim()));
    assert_eq!(redis.login("ci", secret.trim()), Some(true));
    let json = find(&["--json", "--revoke"], &secret).json();
    assert_eq!(
        (&json[0]["user"], &json[0]["id"], &json[0]["revoked"]),
        (&json!("ci"), &json!(id), &json!(true))
    );
    assert_eq!(redis.login("ci", secret.trim()), Some(false));
    assert_eq!(stored(&redis, "alice").len(), 1);
    assert!(
        find(&[], &secret)
            .fails(1)
            .contains("no user has this access token")
    );
    let err = find(&[], "hunter2").fails(1);
    assert!(
        err.contains("this is no access token") && !err.contains("hunter2"),
        "{err}"
    );
}

/// `P:token-owners`, with users by the ids of their tokens.
fn owners(redis: &Redis) -> BTreeMap<String, String> {
    let entries: BTreeMap<String, String> = redis.run(&["HGETALL", "P:token-owners"]);
    let id = |(digest, user): (String, String)| {
        assert_eq!(digest.len(), 64, "{digest}");
        (digest[..10].to_owned(), user)
    };
    entries.into_iter().map(id).collect()
}

fn id_of(ran: Ran) -> String {
    TokenDigest::of(ran.ok().trim().as_bytes()).unwrap().to_id()
}

#[test]
fn whose_a_token_is_is_stored_with_it_and_goes_with_it() {
    let redis = Redis::start();
    redis.add("alice");
    redis.add("bob");
    let [one, two, bobs] = ["alice", "alice", "bob"].map(|user| id_of(create(&redis, user, "a:pull")));
    let said = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = |(id, user): &(&str, &str)| ((*id).to_owned(), (*user).to_owned());
        pairs.iter().map(owned).collect()
    };
    assert_eq!(
        owners(&redis),
        said(&[(&one, "alice"), (&two, "alice"), (&bobs, "bob")])
    );
    redis.tool(&["token", "revoke", "alice", &one]).ok();
    assert_eq!(owners(&redis), said(&[(&two, "alice"), (&bobs, "bob")]));
    redis.tool(&["user", "rename", "alice", "carol"]).ok();
    assert_eq!(owners(&redis), said(&[(&two, "carol"), (&bobs, "bob")]));
    // A token whose field is damaged is not said to be anybody's any more, either.
    let field = format!("token:{two}");
    let value: String = redis.run(&["HGET", "P:user:carol", &field]);
    redis.run::<()>(&["HSET", "P:user:carol", &field, &format!("{value} only=tuesdays")]);
    redis.tool(&["token", "revoke", "carol", &two]).ok();
    redis.tool(&["user", "remove", "bob"]).ok();
    assert_eq!(owners(&redis), said(&[]));
}

#[test]
fn a_key_of_another_type_keeps_no_token_from_being_revoked_but_one_from_being_created() {
    let redis = Redis::start();
    redis.add("alice");
    let [one, _] = [0, 1].map(|_| id_of(create(&redis, "alice", "a:pull")));
    redis.run::<()>(&["DEL", "P:token-owners"]);
    redis.run::<()>(&["SET", "P:token-owners", "x"]);
    let ran = create(&redis, "alice", "a:pull");
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.err.contains("P:token-owners"), "{ran:?}");
    assert_eq!(stored(&redis, "alice").len(), 2);
    redis.tool(&["token", "revoke", "alice", &one]).ok();
    redis.tool(&["user", "rename", "alice", "carol"]).ok();
    assert_eq!(stored(&redis, "carol").len(), 1);
    redis.tool(&["user", "remove", "carol"]).ok();
    assert_eq!(stored(&redis, "carol").len(), 0);
}

#[test]
fn migrate_enters_what_is_missing_and_removes_what_is_in_vain() {
    let redis = Redis::start();
    redis.add("alice");
    redis.add("bob");
    let [one, two, bobs] = ["alice", "alice", "bob"].map(|user| id_of(create(&redis, user, "a:pull")));
    let right = owners(&redis);
    let digests: BTreeMap<String, String> = redis.run(&["HGETALL", "P:token-owners"]);
    let whole = |id: &str| {
        digests
            .keys()
            .find(|digest| digest.starts_with(id))
            .unwrap()
            .clone()
    };
    // One is missing, one is of somebody who has it not, and one is of nobody's token.
    redis.run::<()>(&["HDEL", "P:token-owners", &whole(&one)]);
    redis.run::<()>(&[
        "HSET",
        "P:token-owners",
        &whole(&bobs),
        "alice",
        &"ab".repeat(32),
        "bob",
    ]);
    let before = redis.dump();
    let out = redis.tool(&["migrate"]).ok();
    assert!(
        out.contains("access tokens to add: 2, entries without a token to remove: 1"),
        "{out}"
    );
    assert!(out.contains("add --apply"), "{out}");
    assert_eq!(redis.dump(), before);
    let json = redis.tool(&["migrate", "--apply", "--json"]).json();
    assert_eq!(json["token_owners"], json!({ "added": 2, "removed": 1 }));
    assert_eq!(owners(&redis), right);
    assert!(right.contains_key(&two));
    let out = redis.tool(&["migrate", "--apply"]).ok();
    assert!(!out.contains("token-owners"), "{out}");
}

#[test]
fn scopes_for_which_the_owner_has_no_right_are_remarked_on() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&[
        "HSET",
        "P:user:alice",
        "groups",
        "team",
        "grant:!team/secret",
        "*",
    ]);
    redis.run::<()>(&["HSET", "P:group:team", "grant:team/**", "pull"]);
    redis.run::<()>(&["HSET", "P:group:public", "grant:open/*", "pull"]);
    for (scope, lacking) in [
        ("alice/*:pull,push", ""),
        ("*/app:push", ""),
        ("team/*:pull", ""),
        ("open/base:pull", ""),
        (
            "team/*:pull,push",
            "alice has no right to push team/*, so that the token has none either",
        ),
        ("other/x:pull,push", "alice has no right to pull or push other/x"),
        ("team/secret:pull", "alice has no right to pull team/secret"),
    ] {
        let ran = create(&redis, "alice", scope);
        assert_eq!(ran.status, 0, "{scope}: {ran:?}");
        assert_eq!(
            ran.err.contains("no right"),
            !lacking.is_empty(),
            "{scope}: {ran:?}"
        );
        assert!(ran.err.contains(lacking), "{scope}: {ran:?}");
    }
    let ran = create(&redis, "alice", "team/*:pull,push");
    assert!(
        ran.err.contains("registry-authctl grant add alice 'team/*' push"),
        "{ran:?}"
    );
}
