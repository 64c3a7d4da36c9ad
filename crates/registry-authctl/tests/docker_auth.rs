//! `registry-authctl import-docker-auth`: what becomes of a configuration of docker_auth, and what explain
//! then says.

mod common;

use common::{Ran, Redis};
use serde_json::json;

/// "one", at bcrypt's lowest cost.
const HASH: &str = "$2y$04$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC";

/// As its documentation has them.
const CONFIG: &str = r#"
server: { addr: ":5001" }
token: { issuer: "Acme auth server", expiration: 900 }
users:
  "admin": { password: "HASH" }
  "alice":
    password: "HASH"
    labels: { group: ["team"] }
  "bob": { password: "HASH" }
  "": {}
acl:
  - match: { account: "admin" }
    actions: ["*"]
    comment: "Admin has full access to everything."
  - match: { account: "bob", name: "test-*" }
    actions: ["*"]
  - match: { account: "/.+/", name: "${account}/*" }
    actions: ["*"]
  - match: { name: "${labels:group}/*", account: "/.+/" }
    actions: ["push", "pull"]
  - match: { account: "/^al/" }
    actions: ["delete"]
  - match: { account: "" , name: "library/*" }
    actions: ["pull"]
"#;

fn import(redis: &Redis, args: &[&str]) -> Ran {
    let args = [&["import-docker-auth", "-"], args].concat();
    redis.tool_with(&args, Some(&CONFIG.replace("HASH", HASH)))
}

#[test]
fn a_dry_run_says_all_that_would_be_done_as_commands() {
    let redis = Redis::start();
    let ran = import(&redis, &[]);
    assert_eq!(ran.status, 1, "{ran:?}");
    for part in [
        "new alice",
        "registry-authctl group add team",
        "registry-authctl group join team alice",
        "registry-authctl grant add @team 'team/*' 'pull,push'",
        "registry-authctl grant add admin '**' '*'",
        "refused acl entry 5: accounts by a pattern",
        "refused acl entry 6: an earlier entry allows less",
        "users: 3 new, 0 changed, 0 unchanged or kept; groups: 1; grants: 3; without an equal, or refused: 2",
        "add --apply",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(
        !ran.out.contains("$2y$") && !ran.err.contains("registry_auth_own_namespace"),
        "{ran:?}"
    );
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
}

#[test]
fn what_is_applied_decides_as_docker_auth_does_and_a_second_time_nothing_changes() {
    let redis = Redis::start();
    assert_eq!(import(&redis, &["--apply"]).status, 1);
    assert_eq!(redis.login("alice", "one"), Some(true));
    for (user, action, repository, allowed) in [
        ("admin", "delete", "any/thing", true),
        ("alice", "push", "team/app", true),
        ("alice", "delete", "team/app", false),
        ("alice", "push", "alice/app", true),
        ("bob", "push", "test-1", true),
        ("bob", "push", "team/app", false),
    ] {
        let ran = redis.tool(&["explain", "--user", user, "--action", action, repository]);
        assert_eq!(ran.status == 0, allowed, "{user} {action} {repository}: {ran:?}");
    }
    let before = redis.dump();
    let ran = import(&redis, &["--apply", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["new"], &json["unchanged"]), (&json!([]), &json!(3)));
    assert_eq!(redis.dump(), before);
}

#[test]
fn a_file_that_is_none_is_an_error_that_names_it() {
    let redis = Redis::start();
    for text in ["", "[a", "just text"] {
        let err = redis
            .tool_with(&["import-docker-auth", "-", "--apply"], Some(text))
            .fails(1);
        assert!(err.starts_with("registry-authctl: -: "), "{err}");
    }
    let err = redis.tool(&["import-docker-auth", "/nowhere/file"]).fails(1);
    assert!(err.contains("/nowhere/file"), "{err}");
}
