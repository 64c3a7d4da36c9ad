//! `registry-authctl grant`: sets of actions, denials, and records that somebody else damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Redis, run};
use serde_json::json;

#[test]
fn actions_are_added_and_taken_away() {
    let redis = Redis::start();
    redis.add("alice");
    let add = |pattern, actions| redis.tool(&["grant", "add", "alice", pattern, actions]).ok();
    assert_eq!(add("team/**", "pull"), "alice may pull team/**\n");
    assert_eq!(add("team/**", "delete"), "alice may pull,delete team/**\n");
    assert_eq!(add("team/**", "pull"), "alice may pull,delete team/**\n");
    assert_eq!(add("!team/x", "*"), "alice may not * team/x\n");
    assert_eq!(
        redis.tool(&["grant", "list", "alice"]).ok(),
        "!team/x *\nteam/** pull,delete\n"
    );
    assert_eq!(
        redis.tool(&["grant", "list", "alice", "--json"]).json(),
        json!({"subject": "alice", "grants": [
            {"pattern": "team/x", "actions": "*", "deny": true},
            {"pattern": "team/**", "actions": "pull,delete", "deny": false},
        ]})
    );
    let remove = |args: &[&str]| redis.tool(&[&["grant", "remove", "alice"], args].concat());
    assert_eq!(
        remove(&["team/**", "pull"]).ok(),
        "grant team/** of alice is now delete\n"
    );
    assert!(remove(&["team/**", "push"]).fails(1).contains("grant list alice"));
    assert_eq!(
        remove(&["team/**", "delete,push"]).ok(),
        "grant team/** of alice removed\n"
    );
    assert_eq!(remove(&["!team/x"]).ok(), "grant !team/x of alice removed\n");
    assert!(remove(&["!team/x"]).fails(1).contains("no such grant"));
    assert_eq!(redis.run::<Vec<String>>(&["HKEYS", "P:user:alice"]), ["password"]);
}

#[test]
fn groups_and_everyone_have_grants_too() {
    let redis = Redis::start();
    redis.tool(&["group", "add", "team"]).ok();
    redis.tool(&["grant", "add", "@team", "team/*", "push,pull"]).ok();
    redis.tool(&["grant", "add", "public", "base/*", "pull"]).ok();
    assert_eq!(
        redis.dump(),
        [
            "P:group:public: grant:base/*=pull",
            "P:group:team: grant:team/*=pull,push name=team"
        ]
    );
    assert_eq!(redis.tool(&["grant", "list", "@public"]).ok(), "base/* pull\n");
    // A group outlives its last grant; for public there is nothing to outlive.
    redis.tool(&["grant", "remove", "@team", "team/*"]).ok();
    redis.tool(&["grant", "remove", "public", "base/*"]).ok();
    assert_eq!(redis.dump(), ["P:group:team: name=team"]);
}

#[test]
fn what_is_no_pattern_or_no_action_is_a_usage_error() {
    let here = ["--redis", "redis://127.0.0.1:1", "grant", "add"];
    for pattern in [
        "", "!", "Team/**", "a//b", "/a", "a/", "a***", "a b", "!!a", "ü/*",
    ] {
        let err = run(&[&here[..], &["alice", pattern, "pull"]].concat(), None).fails(2);
        assert!(err.contains("matches no repository"), "{pattern:?}: {err}");
    }
    for actions in ["", "read", "pull,", "pull push", "PULL", "**"] {
        let err = run(&[&here[..], &["alice", "a/*", actions]].concat(), None).fails(2);
        assert!(err.contains("pull, push, delete"), "{actions:?}: {err}");
    }
    let err = run(&[&here[..], &["default", "a/*", "pull"]].concat(), None).fails(2);
    assert!(err.contains("public"), "{err}");
}

#[test]
fn a_damaged_record_can_be_repaired() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&[
        "HSET",
        "P:user:alice",
        "grant:Team/**",
        "pull",
        "grant:a/*",
        "fly",
        "grant:b",
        "pull",
    ]);
    let out = redis.tool(&["grant", "list", "alice"]).ok();
    assert!(
        out.contains("Team/** pull  (unreadable") && out.contains("a/* fly  (unreadable"),
        "{out}"
    );
    assert!(out.contains("\nb pull\n"), "{out}");
    let err = redis.tool(&["grant", "remove", "alice", "a/*", "pull"]).fails(1);
    assert!(err.contains("name no actions"), "{err}");
    redis.tool(&["grant", "remove", "alice", "Team/**"]).ok();
    redis.tool(&["grant", "add", "alice", "a/*", "pull"]).ok();
    assert_eq!(redis.tool(&["grant", "list", "alice"]).ok(), "a/* pull\nb pull\n");
    redis.tool(&["user", "show", "alice"]).ok();
}

#[test]
fn escape_sequences_from_redis_do_not_reach_the_terminal() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&["HSET", "P:user:alice", "grant:\u{1b}[2Jx", "\u{1b}]0;y\u{7}"]);
    redis.run::<()>(&["HSET", "P:user:\u{1b}[31mbob", "groups", "\u{202e}x"]);
    for verb in [&["grant", "list", "alice"][..], &["user", "list"], &["check"]] {
        let out = redis.tool(verb).out;
        assert!(
            !out.contains('\u{1b}') && !out.contains('\u{7}') && !out.contains('\u{202e}'),
            "{out:?}"
        );
    }
}

#[test]
fn many_administrators_at_once_lose_no_action() {
    let redis = Redis::start();
    redis.add("alice");
    std::thread::scope(|scope| {
        for actions in ["pull", "push", "delete"] {
            let redis = &redis;
            scope.spawn(move || redis.tool(&["grant", "add", "alice", "x/*", actions]).ok());
        }
    });
    assert_eq!(redis.tool(&["grant", "list", "alice"]).ok(), "x/* *\n");
}

#[test]
fn who_names_a_group_for_a_user_or_a_user_for_a_group_is_told() {
    let redis = Redis::start();
    redis.add("alice");
    redis.tool(&["group", "add", "team"]).ok();
    for (verb, hint) in [
        (
            &["grant", "add", "team", "x/*", "pull"][..],
            "there is no user team, but there is a group team, which is written @team",
        ),
        (&["grant", "list", "team"], "which is written @team"),
        (&["grant", "remove", "team", "x/*"], "which is written @team"),
        (&["backend", "set", "team", "r:1"], "which is written @team"),
        (&["backend", "list", "team"], "which is written @team"),
        (&["backend", "clear", "team"], "which is written @team"),
        (
            &["grant", "add", "@alice", "x/*", "pull"],
            "there is no group alice, but there is a user alice, who is written without @",
        ),
        (&["backend", "set", "@alice", "r:1"], "who is written without @"),
        (
            &["user", "show", "team"],
            "but there is a group team: registry-authctl group show team",
        ),
        (&["user", "lock", "team"], "registry-authctl group show team"),
        (&["user", "remove", "team"], "registry-authctl group show team"),
        (
            &["token", "create", "team", "--scope", "a:pull"],
            "registry-authctl group show team",
        ),
        (&["token", "list", "team"], "registry-authctl group show team"),
        (
            &["group", "show", "alice"],
            "but there is a user alice: registry-authctl user show alice",
        ),
        (&["group", "join", "alice", "team"], "there is a group team"),
        (&["group", "remove", "alice"], "registry-authctl user show alice"),
    ] {
        let err = redis.tool(verb).fails(1);
        assert!(
            err.contains(hint) && !err.contains("to create one"),
            "{verb:?}: {err}"
        );
    }
    let err = redis.tool(&["grant", "add", "dev", "x/*", "pull"]).fails(1);
    assert!(
        err.contains("there is no user dev; to create one: registry-authctl user add dev"),
        "{err}"
    );
}
