//! `registry-authctl backend`, and what goes wrong with Redis: for every verb the same.

mod common;

use common::{Redis, free_port, run};
use serde_json::json;

#[test]
fn everybodys_backends() {
    let redis = Redis::start();
    assert_eq!(redis.tool(&["backend", "list", "default"]).ok(), "");
    let out = redis
        .tool(&["backend", "set", "default", "r1:5000", "10.0.0.1:5000"])
        .ok();
    assert_eq!(out, "backends of default: r1:5000 10.0.0.1:5000\n");
    // The 2014 gate's own key, in the order given.
    assert_eq!(
        redis.run::<Vec<String>>(&["LRANGE", "P:backends", "0", "-1"]),
        ["r1:5000", "10.0.0.1:5000"]
    );
    redis.tool(&["backend", "set", "default", "[fd00::1]:5000"]).ok();
    assert_eq!(
        redis.tool(&["backend", "list", "default"]).ok(),
        "[fd00::1]:5000\n"
    );
    let json = redis.tool(&["backend", "list", "default", "--json"]).json();
    assert_eq!(
        json,
        json!({"subject": "default", "backends": ["[fd00::1]:5000"]})
    );
    redis.tool(&["backend", "clear", "default"]).ok();
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
}

/// Where each has a storage of its own, `balance=turn` would break every push.
#[test]
fn who_sets_several_backends_learns_what_they_must_share() {
    let redis = Redis::start();
    redis.add("alice");
    let ran = redis.tool(&["backend", "set", "alice", "r1:5000"]);
    assert!(!ran.err.contains("balance"), "{}", ran.err);
    for subject in ["alice", "default", "public"] {
        let ran = redis.tool(&["backend", "set", subject, "r1:5000", "r2:5000"]);
        assert!(
            ran.err.contains(
                "note: several backends: with balance=repository (the default) each repository has \
                    one of them"
            ) && ran
                .err
                .contains("balance=turn all must have the same storage and the same http.secret"),
            "{}",
            ran.err
        );
        assert_eq!(ran.ok(), format!("backends of {subject}: r1:5000 r2:5000\n"));
    }
}

#[test]
fn a_users_backends() {
    let redis = Redis::start();
    redis.add("alice");
    redis
        .tool(&["backend", "set", "alice", "r1:5000", "r2:5000"])
        .ok();
    assert_eq!(
        redis.run::<String>(&["HGET", "P:user:alice", "backends"]),
        "r1:5000 r2:5000"
    );
    assert_eq!(
        redis.tool(&["backend", "list", "alice"]).ok(),
        "r1:5000\nr2:5000\n"
    );
    redis.tool(&["backend", "clear", "alice"]).ok();
    assert_eq!(redis.tool(&["backend", "list", "alice"]).ok(), "");
    assert_eq!(redis.login("alice", "one"), Some(true));
}

#[test]
fn a_user_of_the_2014_gate_gets_a_backend_and_keeps_the_password() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "P:passwords", "old", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="]);
    redis.tool(&["backend", "set", "old", "r1:5000"]).ok();
    assert_eq!(redis.login("old", "secret"), Some(true));
    redis.tool(&["backend", "clear", "old"]).ok();
    assert_eq!(redis.login("old", "secret"), Some(true));
}

#[test]
fn a_groups_backends() {
    let redis = Redis::start();
    redis.tool(&["group", "add", "team"]).ok();
    redis.tool(&["backend", "set", "@team", "r1:5000"]).ok();
    assert_eq!(
        redis.run::<String>(&["HGET", "P:group:team", "backends"]),
        "r1:5000"
    );
    assert_eq!(redis.tool(&["backend", "list", "@team"]).ok(), "r1:5000\n");
    redis.tool(&["backend", "clear", "@team"]).ok();
    assert_eq!(redis.tool(&["backend", "list", "@team"]).ok(), "");
    // Everyone's group is there without being made.
    redis.tool(&["backend", "set", "public", "r2:5000"]).ok();
    assert_eq!(
        redis.run::<String>(&["HGET", "P:group:public", "backends"]),
        "r2:5000"
    );
}

#[test]
fn nobody_is_created_by_a_backend() {
    let redis = Redis::start();
    for verb in [
        &["backend", "set", "bob", "r1:5000"][..],
        &["backend", "list", "bob"],
        &["backend", "clear", "bob"],
        &["group", "join", "team", "bob"],
        &["group", "leave", "team", "bob"],
        &["grant", "add", "bob", "x", "pull"],
        &["grant", "list", "bob"],
        &["grant", "remove", "bob", "x"],
    ] {
        let err = redis.tool(verb).fails(1);
        assert!(err.contains("no user bob"), "{err}");
    }
    for verb in [
        &["backend", "set", "@team", "r1:5000"][..],
        &["backend", "list", "@team"],
        &["backend", "clear", "@team"],
        &["group", "show", "team"],
        &["group", "remove", "team"],
        &["grant", "add", "@team", "x", "pull"],
        &["grant", "list", "@team"],
        &["grant", "remove", "@team", "x"],
    ] {
        let err = redis.tool(verb).fails(1);
        assert!(err.contains("no group team"), "{err}");
    }
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
}

#[test]
fn what_is_no_backend_is_a_usage_error() {
    for backend in [
        "r1:0",
        "r1:70000",
        ":5000",
        "unix:/run/docker.sock",
        "http://r1:5000",
        "r1:5000/x",
        "a b:1",
        "",
    ] {
        let args = [
            "--redis",
            "redis://127.0.0.1:1",
            "backend",
            "set",
            "default",
            "good:1",
            backend,
        ];
        let err = run(&args, None).fails(2);
        assert!(err.contains("host:port"), "{backend:?}: {err}");
    }
    run(&["backend", "set", "default"], None).fails(2);
    run(&["backend", "set", "@", "r1:5000"], None).fails(2);
    run(&["backend"], None).fails(2);
}

#[test]
fn keys_of_a_wrong_type_are_named() {
    let redis = Redis::start();
    redis.run::<()>(&["SET", "P:user:alice", "x"]);
    for verb in [
        &["user", "show", "alice"][..],
        &["user", "lock", "alice"],
        &["backend", "set", "alice", "r1:5000"],
        &["backend", "list", "alice"],
    ] {
        let err = redis.tool(verb).fails(1);
        assert!(err.contains("P:user:alice"), "{verb:?}: {err}");
    }
    redis.run::<()>(&["SET", "P:backends", "x"]);
    assert!(
        redis
            .tool(&["backend", "list", "default"])
            .fails(1)
            .contains("P:backends")
    );
    redis.run::<()>(&["SET", "P:passwords", "x"]);
    assert!(redis.tool(&["user", "list"]).fails(1).contains("P:passwords"));
    assert_eq!(redis.run::<String>(&["GET", "P:user:alice"]), "x");
}

#[test]
fn an_unreadable_grant_does_not_keep_the_password_from_being_changed() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&["HSET", "P:user:alice", "grant:Not/Legal", "pull"]);
    let said = redis.tool(&["user", "show", "alice"]).fails(1);
    assert!(said.contains("field grant:Not/Legal"), "{said}");
    // What helps without taking the account away.
    assert!(
        said.contains("redis-cli HDEL P:user:alice FIELD") && !said.contains("delete it"),
        "{said}"
    );
    redis
        .tool_stdin(&["user", "passwd", "alice", "--hash", "bcrypt"], "two")
        .ok();
    redis.run::<()>(&["HDEL", "P:user:alice", "grant:Not/Legal"]);
    assert_eq!(redis.login("alice", "two"), Some(true));
}

#[test]
fn no_redis_is_said_with_where_and_without_password() {
    let port = free_port();
    let url = format!("redis://:hunter2@127.0.0.1:{port}");
    let err = run(&["--redis", &url, "user", "list"], None).fails(1);
    assert!(
        err.contains(&format!("cannot reach redis://127.0.0.1:{port}/0")),
        "{err}"
    );
    assert!(
        err.contains("REGISTRY_AUTH_REDIS") && !err.contains("hunter2"),
        "{err}"
    );
    for url in [
        "redis+cluster://:hunter2@h/0",
        "http://:hunter2@h",
        "h:1:hunter2",
        "redis://hunter2@h",
    ] {
        let err = run(&["--redis", url, "user", "list"], None).fails(2);
        assert!(err.contains("--redis") && !err.contains("hunter2"), "{err}");
    }
    let err = run(&["--redis", "redis+cluster://:hunter2@h", "user", "list"], None).fails(2);
    assert!(
        err.contains("--prefix docker-registry") && err.contains("\"{docker-registry}\""),
        "{err}"
    );
    assert!(!err.contains("hunter2"), "{err}");
}

#[test]
fn a_wrong_login_and_a_missing_right_are_said() {
    let redis = Redis::start();
    redis.run::<()>(&[
        "ACL",
        "SETUSER",
        "reader",
        "on",
        ">pw",
        "~*",
        "-@all",
        "+@read",
        "+@connection",
        "+@transaction",
    ]);
    let err = run(
        &[
            "--redis",
            &format!("redis://reader:no@127.0.0.1:{}", redis.port),
            "user",
            "list",
        ],
        None,
    )
    .fails(1);
    assert!(err.contains("Redis refuses"), "{err}");
    let url = format!("redis://reader:pw@127.0.0.1:{}", redis.port);
    run(&["--redis", &url, "user", "list"], None).ok();
    for verb in [
        &["backend", "set", "default", "r1:5000"][..],
        &["backend", "set", "public", "r1:5000"],
        &["backend", "clear", "default"],
    ] {
        let err = run(&[&["--redis", &url][..], verb].concat(), None).fails(1);
        assert!(err.contains("lacks the right"), "{verb:?}: {err}");
    }
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
}

#[test]
fn a_backend_without_a_port_is_at_port_80_as_a_stored_one_is() {
    let redis = Redis::start();
    let out = redis
        .tool(&["backend", "set", "default", "10.0.0.2", "r1", "[fd00::5]"])
        .ok();
    assert_eq!(out, "backends of default: 10.0.0.2:80 r1:80 [fd00::5]:80\n");
    assert_eq!(
        redis.run::<Vec<String>>(&["LRANGE", "P:backends", "0", "-1"]),
        ["10.0.0.2:80", "r1:80", "[fd00::5]:80"]
    );
}
