//! The ACL lines of the documentation: each verb works with the tool's, the module's reads everything and
//! writes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::Redis;

/// The lines as the documentation has them, for the prefix P.
fn acl_line(user: &str) -> Vec<String> {
    const PAGES: [&str; 2] = [
        include_str!("../../../docs/reference/data-model.md"),
        include_str!("../../../docs/registry-authctl.md"),
    ];
    let start = format!("ACL SETUSER {user} ");
    let line = PAGES
        .iter()
        .flat_map(|page| page.lines())
        .map(str::trim)
        .find(|line| line.starts_with(&start))
        .expect("one of the pages has the line");
    line.replace("docker-registry:", "P:")
        .replace(">password", ">pw")
        .split(' ')
        .map(str::to_owned)
        .collect()
}

fn start() -> Redis {
    let redis = Redis::start();
    for user in ["gate", "authctl"] {
        let line = acl_line(user);
        redis.run::<()>(&line.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let token = format!("sha256={} expires=1800000000 scope=a:pull", "0f".repeat(32));
    redis.run::<()>(&["HSET", "P:user:alice", "token:old", &token]);
    redis
}

/// Every verb that asks Redis, in an order in which each finds what it needs.
const VERBS: &[&[&str]] = &[
    &["user", "add", "alice", "--password-stdin", "--hash", "bcrypt"],
    &["user", "passwd", "alice", "--password-stdin", "--hash", "bcrypt"],
    &["user", "list"],
    &["user", "show", "alice"],
    &["user", "lock", "alice"],
    &["user", "unlock", "alice"],
    &["user", "unlock", "alice"],
    &["group", "add", "team"],
    &["group", "list"],
    &["group", "join", "team", "alice"],
    &["group", "show", "team"],
    &["grant", "add", "@team", "team/**", "pull,push"],
    &["grant", "add", "alice", "mine/*", "pull"],
    &["grant", "add", "public", "base/*", "pull"],
    &["grant", "list", "alice"],
    &["grant", "remove", "@team", "team/**", "push"],
    &["grant", "remove", "alice", "mine/*"],
    &["token", "create", "alice", "--scope", "mine/*:pull"],
    &["token", "list", "alice"],
    &["token", "list"],
    &["user", "rename", "alice", "zora"],
    &["user", "rename", "zora", "alice"],
    &["token", "revoke", "alice", "old"],
    &["backend", "set", "default", "r:1"],
    &["backend", "set", "alice", "r:1"],
    &["backend", "set", "@team", "r:1", "r:2"],
    &["backend", "list", "default"],
    &["backend", "list", "alice"],
    &["explain", "--user", "alice", "--action", "pull", "team/x"],
    &["explain", "--action", "pull", "base/x"],
    &["check"],
    &["import-htpasswd", "-"],
    &["import-htpasswd", "-", "--apply"],
    &["migrate"],
    &["migrate", "--apply"],
    &["backend", "clear", "alice"],
    &["backend", "clear", "@team"],
    &["backend", "clear", "default"],
    &["group", "leave", "team", "alice"],
    &["group", "remove", "team"],
    &["user", "remove", "alice"],
];

fn input(verb: &[&str]) -> &'static str {
    match verb.first() {
        Some(&"import-htpasswd") => "zoe:$2y$10$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC\n",
        _ => "password",
    }
}

#[test]
fn every_verb_works_with_the_tools_line() {
    let redis = start();
    let stored = "$2y$10$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC";
    redis.run::<()>(&["HSET", "P:passwords", "old", stored, "zoe", stored]);
    for verb in VERBS {
        let ran = redis.tool_as("authctl", verb, Some(input(verb)));
        assert_eq!(ran.status, 0, "{verb:?}: {ran:?}");
    }
    // And nothing outside the prefix.
    let url = format!("redis://authctl:pw@127.0.0.1:{}", redis.port);
    let err = common::run(
        &[
            "--redis", &url, "--prefix", "Q", "backend", "set", "default", "r:1",
        ],
        None,
    )
    .fails(1);
    assert!(err.contains("NOPERM"), "{err}");
}

#[test]
fn no_right_is_missing_from_the_line_for_nothing() {
    // Each right of the line is needed by some verb: without it, one fails or `check` finds something.
    // PING and SELECT are for the connection, which does without; HELLO is only looked at by Redis 6.
    let rights: Vec<String> = acl_line("authctl")
        .into_iter()
        .filter(|word| word.starts_with('+') && !["+ping", "+select", "+hello"].contains(&word.as_str()))
        .collect();
    assert!(rights.len() > 10, "{rights:?}");
    for right in rights {
        let redis = start();
        let stored = "$2y$10$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC";
        redis.run::<()>(&["HSET", "P:passwords", "old", stored, "zoe", stored]);
        redis.run::<()>(&["ACL", "SETUSER", "authctl", &right.replacen('+', "-", 1)]);
        let needed = VERBS.iter().any(|verb| {
            let ran = redis.tool_as("authctl", verb, Some(input(verb)));
            ran.status != 0 || ran.out.contains("INFO was refused")
        });
        // Without it everything works, but nginx does not hear of changes over the channel.
        let check = redis.tool_as("authctl", &["check", "--json"], None);
        let is_silent = check.out.replace(' ', "").contains("\"may_publish\":false");
        assert_eq!(is_silent, right == "+publish", "{right}: {check:?}");
        assert!(needed || is_silent, "{right}");
    }
}

#[test]
fn without_transactions_nothing_is_changed() {
    let redis = start();
    redis.add("alice");
    redis.run::<()>(&["ACL", "SETUSER", "authctl", "-multi"]);
    let before = redis.dump();
    for verb in [
        &["user", "lock", "alice"][..],
        &["user", "remove", "alice"],
        &["backend", "set", "default", "r:1"],
        &["import-htpasswd", "-", "--apply"],
    ] {
        let err = redis.tool_as("authctl", verb, Some(input(verb))).fails(1);
        assert!(
            err.contains("'multi'") && !err.contains("panicked"),
            "{verb:?}: {err}"
        );
    }
    assert_eq!(redis.dump(), before);
}

#[test]
fn the_modules_line_writes_nothing() {
    let redis = start();
    redis.add("alice");
    redis.tool(&["group", "add", "team"]).ok();
    redis.tool(&["group", "join", "team", "alice"]).ok();
    redis.run::<()>(&["HSET", "P:passwords", "old", "x"]);
    let before = redis.dump();
    for verb in VERBS {
        let ran = redis.tool_as("gate", verb, Some(input(verb)));
        // These ask what the module asks.
        if verb.starts_with(&["explain"])
            || verb.starts_with(&["grant", "list"])
            || verb.starts_with(&["backend", "list", "default"])
        {
            assert!(!ran.err.contains("NOPERM"), "{ran:?}");
            continue;
        }
        assert_eq!(ran.status, 1, "{verb:?}: {ran:?}");
        // `check` goes on, and reports it.
        let said = if verb == &["check"] { &ran.out } else { &ran.err };
        assert!(
            said.contains("lacks the right") && said.contains("docs/registry-authctl.md"),
            "{verb:?}: {ran:?}"
        );
    }
    assert_eq!(redis.dump(), before);
}
