//! `registry-authctl explain`: the policy's own table through the real binary and a real Redis, and what it says of
//! records that let nobody in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Ran, Redis};
use serde_json::{json, Value};

/// The table of the crate that decides; its head says how it is written.
const TABLE: &str = include_str!("../../registry-auth/tests/policy.txt");

/// Writes the records of a block, as a user of redis-cli would.
#[derive(Default)]
struct Block {
    own: String,
    users: Vec<String>,
    groups: Vec<String>,
}

impl Block {
    fn describe(&mut self, redis: &Redis, line: &str) -> bool {
        let Some((head, rest)) = line.split_once(' ') else {
            return false;
        };
        let record = |key: &str, grants: &str| {
            for grant in grants.split(';').map(str::trim).filter(|grant| !grant.is_empty()) {
                let (pattern, actions) = grant.split_once(' ').unwrap();
                redis.run::<()>(&["HSET", key, &format!("grant:{pattern}"), actions]);
            }
        };
        match head {
            "own" => self.own = rest.to_owned(),
            "user" => {
                let (name, grants) = rest.split_once(':').unwrap();
                redis.add(name);
                record(&format!("P:user:{name}"), grants);
                self.users.push(name.to_owned());
            }
            "group" => {
                let (name, grants) = rest.split_once(':').unwrap();
                record(&format!("P:group:{name}"), grants);
                if name != "public" {
                    self.groups.push(name.to_owned());
                }
            }
            _ => return false,
        }
        // All users of a block are in all its groups.
        if !self.groups.is_empty() {
            for user in &self.users {
                redis.run::<()>(&[
                    "HSET",
                    &format!("P:user:{user}"),
                    "groups",
                    &self.groups.join(" "),
                ]);
            }
        }
        true
    }
}

#[test]
fn the_policys_table_is_explained_as_it_is_decided() {
    let redis = Redis::start();
    let mut block = Block::default();
    let mut cases = 0;
    for line in TABLE.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with("==") {
            redis.run::<()>(&["FLUSHALL"]);
            block = Block::default();
            continue;
        }
        if block.describe(&redis, line) {
            continue;
        }
        let (question, answer) = line.split_once(" -> ").unwrap();
        let mut words = question.split(' ');
        let mut word = || words.next().unwrap();
        let (who, action, repository) = (word(), word(), word());
        let mut args = vec!["explain", "--json", "--own-namespace", &block.own];
        args.extend(["--action", action, repository]);
        if who != "-" {
            args.extend(["--user", who]);
        }
        let ran = redis.tool(&args);
        assert_eq!(
            ran.status,
            i32::from(!answer.starts_with("yes")),
            "{line}: {ran:?}"
        );
        assert_eq!(as_in_table(&ran), answer, "{line}: {ran:?}");
        cases += 1;
    }
    assert!(cases >= 60, "{cases}");
}

fn as_in_table(ran: &Ran) -> String {
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    let verdict = if json["allowed"] == json!(true) {
        "yes"
    } else {
        "no"
    };
    let rule = match json["rule"].as_str().unwrap() {
        "none" => "nothing".to_owned(),
        "own" => "own".to_owned(),
        kind => {
            let source = json["source"].as_str().unwrap().trim_start_matches('@');
            let not = if kind == "denial" { "!" } else { "" };
            format!("{source} {not}{}", json["grant"]["pattern"].as_str().unwrap())
        }
    };
    format!("{verdict} {rule}")
}

fn explain(redis: &Redis, args: &[&str]) -> (i32, Value) {
    let ran = redis.tool(&[&["explain", "--json"], args].concat());
    (ran.status, serde_json::from_str(&ran.out).expect("JSON"))
}

#[test]
fn a_person_reads_the_rule_and_the_backend() {
    let redis = Redis::start();
    redis.add("alice");
    redis.tool(&["group", "add", "team"]).ok();
    redis.tool(&["group", "join", "team", "alice"]).ok();
    redis
        .tool(&["grant", "add", "@team", "team/**", "pull,push"])
        .ok();
    redis.tool(&["backend", "set", "@team", "r1:5000"]).ok();
    let ask = ["explain", "--user", "alice", "--action", "push", "team/app"];
    assert_eq!(
        redis.tool(&ask).ok(),
        "allowed: alice may push team/app\nrule:    grant team/** pull,push of @team\nbackend: r1:5000 (of @team)\n"
    );
    let ran = redis.tool(&["explain", "--user", "alice", "--action", "delete", "team/app"]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.starts_with(
            "refused: alice may not delete team/app (403 DENIED)\nrule:    no grant allows it\n"
        ),
        "{ran:?}"
    );
}

#[test]
fn backends_of_the_user_the_groups_in_order_public_and_everybody() {
    let redis = Redis::start();
    redis.add("alice");
    let of = || {
        let (_, json) = explain(&redis, &["--user", "alice", "--action", "pull", "alice/x"]);
        (json["backends"].clone(), json["backends_of"].clone())
    };
    assert_eq!(of(), (json!([]), Value::Null));
    redis.run::<()>(&["RPUSH", "P:backends", "d:1", "d:2"]);
    assert_eq!(of(), (json!(["d:1", "d:2"]), json!("default")));
    redis.run::<()>(&["HSET", "P:group:public", "backends", "p:1"]);
    assert_eq!(of(), (json!(["p:1"]), json!("public")));
    redis.run::<()>(&["HSET", "P:user:alice", "groups", "none first second"]);
    redis.run::<()>(&["HSET", "P:group:second", "backends", "s:1"]);
    assert_eq!(of(), (json!(["s:1"]), json!("@second")));
    redis.run::<()>(&["HSET", "P:group:first", "backends", "f:1"]);
    assert_eq!(of(), (json!(["f:1"]), json!("@first")));
    redis.run::<()>(&["HSET", "P:user:alice", "backends", "a:1"]);
    assert_eq!(of(), (json!(["a:1"]), json!("user")));
}

#[test]
fn who_cannot_log_in_may_nothing() {
    let redis = Redis::start();
    let own = ["--user", "alice", "--action", "pull", "alice/x"];
    let (status, json) = explain(&redis, &own);
    assert_eq!(
        (status, &json["rule"], &json["status"]),
        (1, &json!("unknown user"), &json!(401))
    );
    redis.run::<()>(&["HSET", "P:user:alice", "groups", "team"]);
    let (status, json) = explain(&redis, &own);
    assert_eq!((status, &json["rule"]), (1, &json!("no password")));
    redis.run::<()>(&["HSET", "P:passwords", "alice", "{SHA}x"]);
    assert_eq!(explain(&redis, &own).0, 0);
    redis.tool(&["user", "lock", "alice"]).ok();
    let (status, json) = explain(&redis, &own);
    assert_eq!(
        (status, &json["rule"], &json["status"]),
        (1, &json!("locked"), &json!(401))
    );
    let ran = redis.tool(&["explain", "--action", "pull", "alice/x"]);
    assert!(ran.out.contains("(401 UNAUTHORIZED)"), "{ran:?}");
}

/// What an access token may do is what its scopes say and its user may; each of the two is named when it refuses.
#[test]
fn an_access_token_may_do_what_both_it_and_its_user_may() {
    let redis = Redis::start();
    // No password: a robot.
    redis.run::<()>(&[
        "HSET",
        "P:user:ci",
        "groups",
        "team",
        "grant:!ci/frozen/*",
        "push",
    ]);
    redis.run::<()>(&["HSET", "P:group:team", "grant:team/**", "pull,push"]);
    let field = |expires: &str, scope: &str| format!("sha256={} expires={expires} {scope}", "0f".repeat(32));
    let good = field("9000000000", "scope=team/*:pull scope=ci/**:* scope=other/*:*");
    redis.run::<()>(&[
        "HSET",
        "P:user:ci",
        "token:good",
        &good,
        "token:late",
        &field("1700000000", "scope=**:*"),
    ]);
    let asked = |token: &str, action: &str, repository: &str| {
        explain(
            &redis,
            &["--user", "ci", "--token", token, "--action", action, repository],
        )
    };
    for (action, repository, status, rule) in [
        ("pull", "team/app", 0, "grant"),
        ("push", "team/app", 1, "token"),
        ("pull", "team/a/b", 1, "token"),
        ("push", "ci/app", 0, "own"),
        ("push", "ci/frozen/app", 1, "denial"),
        ("pull", "other/app", 1, "none"),
        ("pull", "nobody/app", 1, "none"),
    ] {
        let (exit, json) = asked("good", action, repository);
        assert_eq!(
            (exit, &json["rule"]),
            (status, &json!(rule)),
            "{action} {repository}: {json}"
        );
        assert_eq!(json["token"], json!("good"));
        assert_eq!(json["status"], if status == 0 { Value::Null } else { json!(403) });
    }
    let ask = ["explain", "--user", "ci", "--token", "good", "--action"];
    let ran = redis.tool(&[&ask[..], &["push", "team/app"]].concat());
    assert!(
        ran.out.starts_with(
            "refused: ci may not push team/app with token good (403 DENIED)\n\
             rule:    ci may, but the access token is for team/*:pull ci/**:* other/*:* only\n"
        ),
        "{ran:?}"
    );
    let out = redis.tool(&[&ask[..], &["pull", "team/app"]].concat()).ok();
    assert!(
        out.starts_with(
            "allowed: ci may pull team/app with token good\nrule:    grant team/** pull,push of @team\n"
        ),
        "{out}"
    );
    for (token, rule) in [
        ("late", "expired token"),
        ("x", "unknown token"),
        ("", "unknown token"),
    ] {
        let (exit, json) = asked(token, "pull", "ci/app");
        assert_eq!(
            (exit, &json["rule"], &json["status"]),
            (1, &json!(rule), &json!(401)),
            "{json}"
        );
    }
    // Without a token it is the password that there is none of.
    let (_, json) = explain(&redis, &["--user", "ci", "--action", "pull", "ci/app"]);
    assert_eq!(json["rule"], json!("no password"));
    redis.tool(&["user", "lock", "ci"]).ok();
    assert_eq!(asked("good", "pull", "ci/app").1["rule"], json!("locked"));
    redis
        .tool(&["explain", "--token", "good", "--action", "pull", "ci/app"])
        .fails(2);
    let secret = redis
        .tool(&["token", "create", "ci", "--scope", "ci/*:pull"])
        .ok();
    let err = redis
        .tool(&[
            "explain",
            "--user",
            "ci",
            "--token",
            secret.trim(),
            "--action",
            "pull",
            "ci/app",
        ])
        .fails(2);
    assert!(!err.contains("rga_"), "{err}");
}

#[test]
fn what_the_module_cannot_read_allows_nothing() {
    let redis = Redis::start();
    redis.add("alice");
    let own = ["--user", "alice", "--action", "pull", "alice/x"];
    let refused = |key: &str| {
        let (status, json) = explain(&redis, &own);
        assert_eq!(
            (status, &json["rule"], &json["status"]),
            (1, &json!("unreadable"), &json!(503)),
            "{json}"
        );
        assert!(json["why"].as_str().unwrap().contains(key), "{json}");
    };
    redis.run::<()>(&["HSET", "P:user:alice", "grant:Team", "pull"]);
    refused("P:user:alice");
    redis.run::<()>(&["HDEL", "P:user:alice", "grant:Team"]);
    redis.run::<()>(&["HSET", "P:user:alice", "groups", "team"]);
    redis.run::<()>(&["SET", "P:group:team", "x"]);
    refused("P:group:team");
    redis.run::<()>(&["DEL", "P:group:team"]);
    redis.run::<()>(&["SET", "P:group:public", "x"]);
    refused("P:group:public");
    redis.run::<()>(&["DEL", "P:group:public"]);
    redis.run::<()>(&["RPUSH", "P:backends", "nowhere"]);
    refused("P:backends");
    // Who has backends does not need everybody's.
    redis.run::<()>(&["HSET", "P:user:alice", "backends", "a:1"]);
    let ran = redis.tool(&[&["explain"], &own[..]].concat());
    assert!(ran.err.contains("group team does not exist"), "{ran:?}");
    ran.ok();
}

#[test]
fn what_is_no_name_or_no_action_is_a_usage_error() {
    let redis = Redis::start();
    for name in ["Alice/app", "a/app:latest", "host:5000/a", "a//b", ""] {
        let err = redis.tool(&["explain", "--action", "pull", name]).fails(2);
        assert!(err.contains("not a repository's name"), "{name}: {err}");
    }
    redis.tool(&["explain", "--action", "read", "a"]).fails(2);
    assert!(redis.tool(&["explain", "a"]).fails(2).contains("--action"));
}
