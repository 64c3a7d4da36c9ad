//! `registry-authctl group`: each verb, and what it leaves in Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Redis, run};
use serde_json::json;

#[test]
fn a_group_is_there_from_add_to_remove() {
    let redis = Redis::start();
    assert_eq!(redis.tool(&["group", "list"]).ok(), "");
    assert_eq!(redis.tool(&["group", "add", "team"]).ok(), "group team added\n");
    assert_eq!(redis.dump(), ["P:group:team: name=team"]);
    let err = redis.tool(&["group", "add", "@team"]).fails(1);
    assert!(err.contains("registry-authctl group show team"), "{err}");
    assert_eq!(
        redis.tool(&["group", "list"]).ok(),
        "team\tgrants: 0, backends: 0\n"
    );
    redis.run::<()>(&["SET", "P:group:odd", "x"]);
    redis.run::<()>(&["HSET", "P:group:ops", "grant:a", "pull", "backends", "a:1 b:2"]);
    assert!(redis.tool(&["group", "list"]).ok().contains("odd\t(unreadable"));
    assert_eq!(
        redis.tool(&["group", "list", "--json"]).json(),
        json!([
            {"group": "odd", "grants": null, "backends": null, "readable": false},
            {"group": "ops", "grants": 1, "backends": 2, "readable": true},
            {"group": "team", "grants": 0, "backends": 0, "readable": true},
        ])
    );
    assert_eq!(
        redis.tool(&["group", "remove", "team"]).ok(),
        "group team removed; members: 0\n"
    );
    assert!(
        redis
            .tool(&["group", "remove", "team"])
            .fails(1)
            .contains("no group team")
    );
}

#[test]
fn users_join_and_leave_in_order() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&["HSET", "P:passwords", "old", "x"]);
    for group in ["team", "ops"] {
        redis.tool(&["group", "add", group]).ok();
    }
    let join = |group, user| redis.tool(&["group", "join", group, user]).ok();
    assert_eq!(join("team", "alice"), "alice is in group team\n");
    assert_eq!(join("@ops", "alice"), "alice is in group ops\n");
    assert_eq!(join("team", "alice"), "alice was before in group team\n");
    join("team", "old");
    assert_eq!(
        redis.run::<String>(&["HGET", "P:user:alice", "groups"]),
        "team ops"
    );
    assert_eq!(redis.login("alice", "one"), Some(true));
    // The 2014 gate's password stays where it is.
    assert_eq!(redis.run::<Vec<String>>(&["HKEYS", "P:passwords"]), ["old"]);
    assert_eq!(
        redis.tool(&["group", "show", "team", "--json"]).json(),
        json!({"group": "team", "members": ["alice", "old"], "backends": [], "grants": []})
    );
    let leave = |group, user| redis.tool(&["group", "leave", group, user]).ok();
    assert_eq!(leave("team", "alice"), "alice is no longer in group team\n");
    assert_eq!(leave("@team", "alice"), "alice was not in group team\n");
    assert_eq!(redis.run::<String>(&["HGET", "P:user:alice", "groups"]), "ops");
    leave("ops", "alice");
    assert!(!redis.run::<bool>(&["HEXISTS", "P:user:alice", "groups"]));
    let json = redis.tool(&["group", "join", "ops", "alice", "--json"]).json();
    assert_eq!(
        json,
        json!({"group": "ops", "user": "alice", "member": true, "changed": true})
    );
    let err = redis.tool(&["group", "join", "nowhere", "alice"]).fails(1);
    assert!(
        err.contains("no group nowhere") && err.contains("group add nowhere"),
        "{err}"
    );
}

#[test]
fn removing_a_group_takes_its_members_out() {
    let redis = Redis::start();
    redis.tool(&["group", "add", "team"]).ok();
    redis.tool(&["grant", "add", "@team", "team/**", "*"]).ok();
    let mut many = redis::pipe();
    for n in 0..1500 {
        let key = format!("P:user:many{n:04}");
        many.cmd("HSET").arg(key).arg("groups").arg("a team b").ignore();
    }
    let client = redis::Client::open(redis.url()).unwrap();
    many.exec(&mut client.get_connection().unwrap()).unwrap();
    redis.run::<()>(&["HSET", "P:user:other", "groups", "teams"]);
    assert_eq!(
        redis.tool(&["group", "remove", "team"]).ok(),
        "group team removed; members: 1500\n"
    );
    assert!(!redis.run::<bool>(&["EXISTS", "P:group:team"]));
    let dump = redis.dump();
    assert_eq!(
        dump.iter().filter(|line| line.ends_with(" groups=a b")).count(),
        1500
    );
    assert!(dump.contains(&"P:user:other: groups=teams".to_owned()));
}

#[test]
fn a_removal_that_was_interrupted_is_completed_by_the_next() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&["HSET", "P:user:alice", "groups", "team"]);
    // The group itself is gone already.
    assert_eq!(
        redis.tool(&["group", "remove", "team"]).ok(),
        "group team removed; members: 1\n"
    );
    // And the tool says who is left in it when the name is used again.
    redis.run::<()>(&["HSET", "P:user:alice", "groups", "team"]);
    let ran = redis.tool(&["group", "add", "team"]);
    assert!(ran.err.contains("already in it: alice"), "{ran:?}");
    ran.ok();
}

#[test]
fn everyone_is_in_public_and_nobody_joins_or_leaves_it() {
    let redis = Redis::start();
    redis.add("alice");
    for verb in ["join", "leave"] {
        let err = redis.tool(&["group", verb, "public", "alice"]).fails(2);
        assert!(err.contains("public"), "{err}");
    }
    assert!(
        redis
            .tool(&["group", "add", "public"])
            .fails(2)
            .contains("everyone is in")
    );
    assert!(
        redis
            .tool(&["group", "show", "public"])
            .ok()
            .contains("everyone, the anonymous included")
    );
    redis.tool(&["grant", "add", "public", "base/*", "pull"]).ok();
    redis.tool(&["group", "remove", "public"]).ok();
    assert!(!redis.run::<bool>(&["EXISTS", "P:group:public"]));
}

#[test]
fn names_that_could_not_stand_in_a_list_of_groups_are_refused() {
    for name in ["", "@", "a b", "a:b", "a/b", "tab\there", "default", "@@x"] {
        let err = run(&["--redis", "redis://127.0.0.1:1", "group", "add", name], None).fails(2);
        assert!(err.contains("name"), "{name:?}: {err}");
    }
    // But they can be taken out of a record that somebody else wrote.
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&["HSET", "P:user:alice", "groups", "team te:am"]);
    redis.tool(&["group", "leave", "te:am", "alice"]).ok();
    assert_eq!(redis.run::<String>(&["HGET", "P:user:alice", "groups"]), "team");
}

#[test]
fn many_administrators_at_once_lose_no_membership() {
    let redis = Redis::start();
    redis.add("alice");
    let groups: Vec<String> = (0..6).map(|n| format!("g{n}")).collect();
    for group in &groups {
        redis.tool(&["group", "add", group]).ok();
    }
    std::thread::scope(|scope| {
        for group in &groups {
            scope.spawn(|| redis.tool(&["group", "join", group, "alice"]).ok());
        }
    });
    let stored: String = redis.run(&["HGET", "P:user:alice", "groups"]);
    let mut stored: Vec<&str> = stored.split(' ').collect();
    stored.sort_unstable();
    assert_eq!(stored, groups);
}
