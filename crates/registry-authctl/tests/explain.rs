//! `registry-authctl explain`: the policy's own table through the real binary and a real Redis, and what it
//! says of records that let nobody in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Ran, Redis};
use serde_json::{Value, json};

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
        "allowed: alice may push team/app\nrule:    grant team/** pull,push of @team\nbackend: r1:5000 (of \
         @team)\n"
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

/// What an access token may do is what its scopes say and its user may; each of the two is named when it
/// refuses.
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
    redis.run::<()>(&["RPUSH", "P:backends", "no/where"]);
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

/// A robot that may only push: docker asks HEAD first, and gets an answer.
#[test]
fn a_pull_that_is_refused_where_a_push_is_allowed_leaves_head() {
    let redis = Redis::start();
    redis.add("robot");
    redis.tool(&["grant", "add", "robot", "team/*", "push"]).ok();
    let explain = |action: &str, repository: &str| {
        redis.tool(&["explain", "--user", "robot", "--action", action, repository])
    };
    let ran = explain("pull", "team/app");
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.contains("HEAD of manifests and blobs is allowed"),
        "{ran:?}"
    );
    for (action, repository) in [
        ("pull", "other/app"),
        ("push", "team/app"),
        ("delete", "team/app"),
        ("pull", "robot/x"),
    ] {
        assert!(
            !explain(action, repository).out.contains("HEAD"),
            "{action} {repository}"
        );
    }
    let head = |action: &str, repository: &str| {
        let args = [
            "--json", "explain", "--user", "robot", "--action", action, repository,
        ];
        let json: serde_json::Value = serde_json::from_str(&redis.tool(&args).out).unwrap();
        json["head"].as_bool().unwrap()
    };
    assert!(head("pull", "team/app") && head("pull", "robot/x"));
    assert!(!head("pull", "other/app") && !head("delete", "team/app"));
    // A denial of pull does not take HEAD from who may push; one of both does.
    redis.tool(&["grant", "add", "robot", "!team/*", "pull"]).ok();
    assert!(head("pull", "team/app"));
    redis.tool(&["grant", "add", "robot", "!team/*", "push"]).ok();
    assert!(!head("pull", "team/app"));
}

#[test]
fn joining_a_group_with_backends_says_what_moves_and_explain_shows_it() {
    let redis = Redis::start();
    redis.add("alice");
    redis.tool(&["group", "add", "team"]).ok();
    redis.tool(&["group", "add", "plain"]).ok();
    redis.tool(&["backend", "set", "default", "home:1"]).ok();
    let ran = redis.tool(&["backend", "set", "@team", "away:1"]);
    assert!(
        ran.err.contains("members of team") && ran.err.contains("their own repositories included"),
        "{ran:?}"
    );
    assert_eq!(redis.tool(&["group", "join", "plain", "alice"]).err, "");
    let ran = redis.tool(&["group", "join", "team", "alice"]);
    assert!(
        ran.err.contains("goes to away:1 (of @team)") && ran.err.contains("home:1 (everybody's)"),
        "{ran:?}"
    );
    let explain = ["explain", "--user", "alice", "--action", "pull", "alice/app"];
    let out = redis.tool(&explain).ok();
    assert!(
        out.contains("backend: away:1 (of @team)") && out.contains("in place of home:1 (everybody's)"),
        "{out}"
    );
    let json = redis.tool(&[&explain[..], &["--json"]].concat()).json();
    assert_eq!(json["backends_in_place_of"], serde_json::json!(["home:1"]));
    // With backends of her own, a group moves nothing.
    redis.tool(&["group", "leave", "team", "alice"]).ok();
    redis.tool(&["backend", "set", "alice", "own:1"]).ok();
    assert_eq!(redis.tool(&["group", "join", "team", "alice"]).err, "");
    assert!(!redis.tool(&explain).ok().contains("in place of"));
}

#[test]
fn a_registrys_address_in_a_pattern_is_remarked_on() {
    let redis = Redis::start();
    redis.add("alice");
    redis.add("jane.doe");
    let pattern = "registry.example.com/team/**";
    let said = "registry.example.com looks like a registry's address";
    assert!(
        redis
            .tool(&["grant", "add", "alice", pattern, "pull"])
            .err
            .contains(said)
    );
    let scope = format!("{pattern}:pull");
    assert!(
        redis
            .tool(&["token", "create", "alice", "--scope", &scope])
            .err
            .contains(said)
    );
    let ran = redis.tool(&["explain", "--user", "alice", "--action", "pull", "team/app"]);
    assert!(ran.err.contains(said), "{ran:?}");
    assert!(
        redis
            .tool(&["grant", "add", "alice", "localhost/x", "pull"])
            .err
            .contains("localhost")
    );
    let explain = [
        "explain",
        "--user",
        "jane.doe",
        "--action",
        "pull",
        "jane.doe/app",
    ];
    assert_eq!(redis.tool(&explain).err, "");
    // Users may have such names, and names such segments.
    for pattern in ["jane.doe/*", "team/app.v2", "v1.2"] {
        assert_eq!(
            redis.tool(&["grant", "add", "alice", pattern, "pull"]).err,
            "",
            "{pattern}"
        );
    }
    let err = redis
        .tool(&["grant", "add", "alice", "localhost:5000/team/*", "pull"])
        .fails(2);
    assert!(err.contains("host:port"), "{err}");
}

#[test]
fn a_group_that_does_not_exist_is_told() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&["HSET", "P:user:alice", "groups", "gone"]);
    let explain = ["explain", "--user", "alice", "--action", "pull", "alice/app"];
    let ran = redis.tool(&explain);
    assert!(ran.err.contains("the group gone does not exist"), "{ran:?}");
    let json = redis.tool(&[&explain[..], &["--json"]].concat()).json();
    assert_eq!(json["unknown_groups"], serde_json::json!(["gone"]));
}

/// As the module chooses: `t/balance.t` holds the module to the same function.
#[test]
fn of_several_backends_it_says_which_one_a_repository_has() {
    let redis = Redis::start();
    redis.add("alice");
    redis.tool(&["backend", "set", "alice", "r1:5000"]).ok();
    let explain = |repository: &str, json: bool| {
        let mut arguments = vec!["explain", "--user", "alice", "--action", "push", repository];
        arguments.extend(json.then_some("--json"));
        redis.tool(&arguments)
    };
    assert_eq!(explain("alice/app", true).json()["backend"], "r1:5000");
    assert!(!explain("alice/app", false).ok().contains("goes to"));
    let mut homes = std::collections::BTreeSet::new();
    for number in 0..20 {
        let repository = format!("alice/app{number}");
        let mut found = [
            ["r1:5000", "r2:5000", "r3:5000"],
            ["r3:5000", "r1:5000", "r2:5000"],
        ]
        .map(|[one, two, three]| {
            redis.tool(&["backend", "set", "alice", one, two, three]).ok();
            let json = explain(&repository, true).json();
            json["backend"].as_str().unwrap().to_owned()
        })
        .to_vec();
        found.dedup();
        assert_eq!(found.len(), 1, "the order does not matter");
        let line = format!(
            "         {repository} goes to {}; with balance=turn to each of them\n",
            found[0]
        );
        assert!(explain(&repository, false).ok().contains(&line), "{line}");
        homes.extend(found);
    }
    assert_eq!(homes.len(), 3, "each has some");
}

#[test]
fn who_names_a_repository_of_nobody_is_shown_where_the_own_ones_are() {
    let redis = Redis::start();
    redis.add("alice");
    redis.add("bob");
    redis.run::<()>(&["HSET", "P:group:public", "grant:library/*", "pull"]);
    let explain = |repository, more: &[&str]| {
        let args = ["explain", "--user", "alice", "--action", "push", repository];
        redis.tool(&[&args[..], more].concat())
    };
    for (repository, hint) in [
        (
            "app",
            "alice's own repositories are alice/..., for example alice/app",
        ),
        (
            "apps/one/two",
            "alice's own repositories are alice/..., for example alice/one/two",
        ),
    ] {
        let ran = explain(repository, &[]);
        assert_eq!(ran.status, 1);
        assert!(ran.out.contains(hint), "{ran:?}");
        let json: Value = serde_json::from_str(&explain(repository, &["--json"]).out).unwrap();
        assert_eq!(json["hint"], hint);
    }
    // Bob's are his, and what is her own needs no hint; nor is anything her own where that is off.
    for (repository, more) in [
        ("bob/app", &[][..]),
        ("alice/app", &[]),
        ("app", &["--own-namespace", "off"]),
    ] {
        assert!(
            !explain(repository, more).out.contains("own repositories"),
            "{repository}"
        );
    }
}
