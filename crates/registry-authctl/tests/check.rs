//! `registry-authctl check`: each thing it looks for, and that it changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::Redis;
use serde_json::{json, Value};

const BCRYPT: &str = "$2y$10$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC";

#[test]
fn nothing_wrong_is_exit_status_0() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "P:user:alice", "password", BCRYPT, "groups", "team"]);
    redis.run::<()>(&["HSET", "P:passwords", "old", BCRYPT]);
    redis.tool(&["group", "add", "team"]).ok();
    let before = redis.dump();
    let out = redis.tool(&["check"]).ok();
    assert_eq!(redis.dump(), before);
    assert!(
        out.contains("Redis 7.") && out.contains("nothing is wrong"),
        "{out}"
    );
    assert!(
        out.contains("users: 2 (locked: 0, without a password: 0, with one in P:passwords: 1), groups: 1"),
        "{out}"
    );
    let json = redis.tool(&["check", "--json"]).json();
    assert_eq!((&json["ok"], &json["findings"]), (&json!(true), &json!([])));
    assert_eq!(json["redis"]["tracking"], json!(true));
}

/// The findings that name `place`.
fn findings(redis: &Redis, place: &str) -> Vec<(String, String)> {
    let ran = redis.tool(&["check", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    let all = json["findings"].as_array().unwrap().clone();
    let bad = all.iter().any(|found| found["level"] != json!("remark"));
    assert_eq!(
        (ran.status, &json["ok"]),
        (i32::from(bad), &json!(!bad)),
        "{json}"
    );
    let mut found = Vec::new();
    for finding in &all {
        for place_found in finding["where"].as_array().unwrap() {
            let place_found = place_found.as_str().unwrap();
            if place_found.starts_with(place) {
                found.push((
                    finding["level"].as_str().unwrap().to_owned(),
                    place_found.to_owned(),
                ));
            }
        }
    }
    found
}

#[test]
fn every_kind_of_bad_record_is_found() {
    let redis = Redis::start();
    for (command, place, level, why) in [
        (&["SET", "P:user:a1", "x"][..], "P:user:a1", "error", "not a hash"),
        (
            &["HSET", "P:user:a2", "password", BCRYPT, "grant:Team/**", "pull"],
            "P:user:a2",
            "error",
            "field grant:Team/**",
        ),
        (
            &["HSET", "P:user:a3", "password", BCRYPT, "grant:a", "fly"],
            "P:user:a3",
            "error",
            "field grant:a",
        ),
        (
            &["HSET", "P:user:a4", "password", BCRYPT, "backends", "r1 r2:1"],
            "P:user:a4",
            "error",
            "field backends",
        ),
        (
            &["HSET", "P:user:a5", "password", BCRYPT, "groups", "te:am"],
            "P:user:a5",
            "error",
            "field groups",
        ),
        (
            &["HSET", "P:user:a6", "password", "plain text"],
            "a6",
            "error",
            "not known",
        ),
        (
            &["HSET", "P:user:a7", "password", BCRYPT, "groups", "gone"],
            "P:user:a7",
            "warning",
            "gone",
        ),
        (
            &["HSET", "P:user:a8", "password", BCRYPT, "group", "team"],
            "P:user:a8",
            "warning",
            "group",
        ),
        (
            &["HSET", "P:user:a/b", "password", BCRYPT],
            "P:user:a/b",
            "warning",
            "a/b",
        ),
        (&["SET", "P:group:g1", "x"], "P:group:g1", "error", "not a hash"),
        (
            &["HSET", "P:group:g2", "grant:x/", "pull"],
            "P:group:g2",
            "error",
            "field grant:x/",
        ),
        (
            &[
                "HSET",
                "P:passwords",
                "old",
                "e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4",
            ],
            "old",
            "warning",
            "SHA-1",
        ),
        (
            &["HSET", "P:passwords", "c:d", BCRYPT],
            "P:passwords",
            "warning",
            "c:d",
        ),
        (
            &["RPUSH", "P:backends", "nowhere"],
            "P:backends",
            "error",
            "host:port",
        ),
    ] {
        redis.run::<()>(command);
        let found = findings(&redis, place);
        assert!(
            found
                .iter()
                .any(|(found, place)| found == level && place.contains(why)),
            "{command:?}: {found:?}"
        );
    }
    // One that is in both places, which is no harm.
    redis.run::<()>(&["HSET", "P:user:twice", "password", BCRYPT]);
    redis.run::<()>(&["HSET", "P:passwords", "twice", BCRYPT]);
    assert_eq!(
        findings(&redis, "twice"),
        [("remark".to_owned(), "twice".to_owned())]
    );
    // No hash is ever told.
    let out = redis.tool(&["check", "--json"]).out;
    assert!(!out.contains("$2y$") && !out.contains("plain text"), "{out}");
    // P:passwords and P:backends of a wrong type do not hide the rest.
    redis.run::<()>(&["SET", "P:passwords", "x"]);
    redis.run::<()>(&["SET", "P:backends", "x"]);
    for key in ["P:passwords", "P:backends", "P:user:a1"] {
        assert!(
            findings(&redis, key).iter().any(|(level, _)| level == "error"),
            "{key}"
        );
    }
}

#[test]
fn a_long_list_is_cut_short_for_people_only() {
    let redis = Redis::start();
    for n in 0..25 {
        redis.run::<()>(&["HSET", &format!("P:user:u{n:02}"), "password", "{SHA}x"]);
    }
    let ran = redis.tool(&["check"]);
    assert!(
        ran.out.contains("warning: 25 passwords") && ran.out.contains("and 15 more"),
        "{ran:?}"
    );
    assert_eq!(findings(&redis, "u").len(), 25);
}

#[test]
fn a_redis_that_drops_records_is_an_error() {
    let redis = Redis::start_with(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]);
    let ran = redis.tool(&["check"]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.contains("error: maxmemory-policy is allkeys-lru") && ran.out.contains("noeviction"),
        "{ran:?}"
    );
    // What expires only where it is told to drops nothing of ours.
    redis.run::<()>(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    redis.tool(&["check"]).ok();
}

#[test]
fn missing_tracking_and_a_missing_info_are_told_apart_from_the_rest() {
    let redis = Redis::start();
    redis.run::<()>(&[
        "ACL", "SETUSER", "plain", "on", ">pw", "~P:*", "-@all", "+scan", "+hscan", "+lrange", "+hgetall",
        "+select",
    ]);
    let ran = redis.tool_as("plain", &["check"], None);
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.contains("does not tell this Redis user what changes")
            && ran.out.contains("+client|tracking")
            && ran
                .out
                .contains("remark: version and maxmemory-policy are unknown"),
        "{ran:?}"
    );
}
