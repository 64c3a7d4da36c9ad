//! `registry-authctl check`: each thing it looks for, and that it changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::Redis;
use serde_json::{Value, json};

const BCRYPT: &str = "$2y$10$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC";

const EXPIRED: &str =
    "sha256=0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f expires=1700000000 scope=a:pull";

const SHA: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

#[test]
fn nothing_wrong_is_exit_status_0() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "P:user:alice", "password", BCRYPT, "groups", "team"]);
    redis.run::<()>(&["HSET", "P:passwords", "old", BCRYPT]);
    redis.run::<()>(&["HSET", "P:user:alice", "token:ci", &EXPIRED.replace("=17", "=99")]);
    redis.run::<()>(&["HSET", "P:token-use", "alice:ci", "1700006400"]);
    redis.run::<()>(&["HSET", "P:token-owners", &"0f".repeat(32), "alice"]);
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

/// What `P:token-owners` says is compared with the records; that lets nobody in, and so nothing is wrong by
/// it.
#[test]
fn owners_of_access_tokens_that_do_not_agree_with_the_records_are_remarked_on() {
    let redis = Redis::start();
    let remark = |place: &str| ("remark".to_owned(), place.to_owned());
    for user in ["alice", "bob"] {
        redis.run::<()>(&["HSET", &format!("P:user:{user}"), "password", BCRYPT]);
    }
    let live = EXPIRED.replace("=17", "=99");
    redis.run::<()>(&["HSET", "P:user:alice", "token:ci", &live]);
    redis.run::<()>(&["HSET", "P:user:bob", "token:old", &EXPIRED.replace("0f", "0e")]);
    assert_eq!(findings(&redis, "P:user:alice"), [remark("P:user:alice: ci")]);
    assert_eq!(
        findings(&redis, "P:user:bob"),
        [remark("P:user:bob: old")],
        "as expired, once"
    );
    // Of a user who has it no more, as after a rename by an earlier version.
    redis.run::<()>(&["HSET", "P:token-owners", &"0f".repeat(32), "bob"]);
    assert_eq!(findings(&redis, "P:user:alice"), [remark("P:user:alice: ci")]);
    redis.run::<()>(&[
        "HSET",
        "P:token-owners",
        &"0f".repeat(32),
        "alice",
        &"ab".repeat(32),
        "bob",
    ]);
    assert_eq!(findings(&redis, "P:user:alice"), []);
    assert_eq!(
        findings(&redis, "P:token-owners"),
        [remark("P:token-owners: ababababab… of bob")]
    );
    // In a record that cannot be read it is no less there.
    redis.run::<()>(&["HSET", "P:user:alice", "grant:x", "fly"]);
    assert_eq!(findings(&redis, "P:token-owners").len(), 1);
    redis.run::<()>(&["DEL", "P:token-owners"]);
    redis.run::<()>(&["SET", "P:token-owners", "x"]);
    let warning = (
        "warning".to_owned(),
        "P:token-owners: it is not a hash".to_owned(),
    );
    assert_eq!(findings(&redis, "P:token-owners"), [warning]);
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
            &["HSET", "P:user:a4", "password", BCRYPT, "backends", "r/1 r2:1"],
            "P:user:a4",
            "warning",
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
            "unknown form",
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
        (
            &[
                "HSET",
                "P:user:a9",
                "password",
                BCRYPT,
                "token:ci",
                "sha256=0f expires=1 scope=a:pull",
            ],
            "P:user:a9",
            "error",
            "field token:ci: sha256= is not 64 hex digits",
        ),
        (
            &["HSET", "P:user:b1", "password", BCRYPT, "token:ci", EXPIRED],
            "P:user:b1",
            "remark",
            "P:user:b1: ci",
        ),
        (
            &["SET", "P:token-use", "x"],
            "P:token-use",
            "warning",
            "not a hash",
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
            &["RPUSH", "P:backends", "no/where"],
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

/// A hash is rated by form and cost: what is below OWASP's minimum is a warning, what the module refuses an
/// error.
#[test]
fn hashes_are_rated_by_their_cost() {
    let redis = Redis::start();
    let phc = "$c29tZXNhbHQwMA$1CB7TWsCiDvsK0PwBxuxJijzR9L1KJh54Zl6dLxc6v0";
    let bcrypt = |cost: &str| BCRYPT.replacen("$10$", cost, 1);
    let sha512 = |settings: &str| format!("$6${settings}salt${}", "x".repeat(86));
    for (n, (stored, level, why)) in [
        (bcrypt("$10$"), "", ""),
        (bcrypt("$09$"), "warning", "cost below 10"),
        (bcrypt("$15$"), "", ""),
        (bcrypt("$16$"), "error", "too costly"),
        (format!("!{}", bcrypt("$09$")), "warning", "cost below 10"),
        (format!("$argon2id$v=19$m=19456,t=2,p=1{phc}"), "", ""),
        (
            format!("$argon2id$v=19$m=4096,t=3,p=1{phc}"),
            "warning",
            "less than 19 MiB",
        ),
        (
            format!("$argon2id$v=19$m=4194304,t=1,p=1{phc}"),
            "error",
            "too costly",
        ),
        (
            format!("$argon2id$v=19$m=19456,t=2,p=1,m=8{phc}"),
            "error",
            "damaged",
        ),
        (format!("$scrypt$ln=17,r=8,p=1{phc}"), "", ""),
        (format!("$scrypt$ln=15,r=8,p=1{phc}"), "warning", "ln=17"),
        (format!("$scrypt$ln=20,r=8,p=1{phc}"), "error", "too costly"),
        (format!("$pbkdf2-sha256$i=600000{phc}"), "", ""),
        (format!("$pbkdf2-sha256$i=29000{phc}"), "warning", "600,000"),
        (format!("$pbkdf2-sha256$i=50000000{phc}"), "error", "too costly"),
        (sha512(""), "", ""),
        (sha512("rounds=4999$"), "warning", "5,000"),
        (sha512("rounds=9999999$"), "error", "too costly"),
        (format!("$apr1$salt${}", "x".repeat(22)), "warning", "MD5"),
        ("{SHA}x".to_owned(), "error", "damaged"),
    ]
    .into_iter()
    .enumerate()
    {
        // In the record, and in P:passwords.
        let (new, old) = (format!("n{n:02}"), format!("o{n:02}"));
        redis.run::<()>(&["HSET", &format!("P:user:{new}"), "password", &stored]);
        redis.run::<()>(&["HSET", "P:passwords", &old, &stored]);
        for user in [new, old] {
            let found = findings(&redis, &format!("{user}:"));
            let as_expected = match found.as_slice() {
                [] => level.is_empty(),
                [(found, place)] => found == level && place.contains(why),
                _ => false,
            };
            assert!(as_expected, "{stored}: {found:?}");
        }
    }
    let out = redis.tool(&["check", "--json"]).out;
    assert!(!out.contains("$2y$") && !out.contains("c29tZXNhbHQwMA"), "{out}");
}

#[test]
fn a_long_list_is_cut_short_for_people_only() {
    let redis = Redis::start();
    for n in 0..25 {
        redis.run::<()>(&["HSET", &format!("P:user:u{n:02}"), "password", SHA]);
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
    redis.run::<()>(&["HSET", "P:user:alice", "password", BCRYPT]);
    // A policy that drops only keys with an expiry drops nothing of ours.
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

/// `check` with the URL of the module: what is stored cannot be looked through, but all else is reported.
#[test]
fn with_the_modules_redis_user_all_is_told_that_can_be() {
    let redis = Redis::start();
    redis.add("alice");
    let module = [
        "ACL",
        "SETUSER",
        "gate",
        "on",
        ">pw",
        "~P:*",
        "-@all",
        "+hgetall",
        "+hmget",
        "+lrange",
        "+ping",
        "+select",
        "+hello",
        "+client|tracking",
    ];
    redis.run::<()>(&module);
    let ran = redis.tool_as("gate", &["check"], None);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.out.contains("tells this Redis user what changes")
            && ran.out.contains("was not looked through")
            && ran.out.contains("NOPERM")
            && !ran.out.contains("nothing is wrong")
            && !ran.out.contains("users:"),
        "{ran:?}"
    );
    let ran = redis.tool_as("gate", &["check", "--json"], None);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&json["redis"]["tracking"], &json["users"]),
        (&json!(true), &json!(null))
    );
    // A user who could not even look somebody up.
    redis.run::<()>(&["ACL", "SETUSER", "gate", "-hmget", "-client|tracking"]);
    let out = redis.tool_as("gate", &["check"], None).out;
    assert!(
        out.contains("may not HMGET as the module does") && out.contains("does not tell this Redis user"),
        "{out}"
    );
}

/// `check` says which way of telling changes this Redis user and server allow.
#[test]
fn the_way_in_which_changes_are_told_is_named() {
    let redis = Redis::start();
    redis.add("alice");
    let acl = "ACL SETUSER gate on >pw ~P:* resetchannels -@all +hgetall +hmget +lrange +ping +select +hello";
    let acl: Vec<&str> = acl.split(' ').collect();
    redis.run::<()>(&acl);
    let changes = |more: &[&str]| {
        redis.run::<()>(&[&["ACL", "SETUSER", "gate"], more].concat());
        let text = redis.tool_as("gate", &["check"], None).out;
        let json: Value =
            serde_json::from_str(&redis.tool_as("gate", &["check", "--json"], None).out).unwrap();
        let (way, publishes) = (
            json["redis"]["changes"].clone(),
            json["redis"]["may_publish"].clone(),
        );
        assert!(
            text.contains(&format!("(changes: {})", way.as_str().unwrap())),
            "{text}"
        );
        (way, publishes, text)
    };
    let (way, publishes, text) = changes(&["-subscribe"]);
    assert_eq!((way, publishes), (json!("expiry"), json!(false)));
    assert!(
        text.contains("&P:changes and +subscribe") && text.contains("+publish"),
        "{text}"
    );
    let (way, publishes, text) = changes(&["&P:changes", "+subscribe"]);
    assert_eq!((way, publishes), (json!("channel"), json!(false)));
    assert!(
        text.contains("NOPERM") && text.contains("on the channel P:changes"),
        "{text}"
    );
    let (way, publishes, text) = changes(&["+publish"]);
    assert_eq!((way, publishes), (json!("channel"), json!(true)));
    assert!(!text.contains("may not PUBLISH"), "{text}");
    let (way, _, text) = changes(&["+client|tracking", "-publish"]);
    assert_eq!(way, json!("tracking"));
    assert!(!text.contains("PUBLISH"), "it is not needed: {text}");
}

/// Gates to which Redis does not tell what changes hear it from the tool.
#[test]
fn each_change_is_published_as_it_is_made() {
    let redis = Redis::start();
    let mut listener = redis.connection();
    let mut channel = listener.as_pubsub();
    channel.subscribe("P:changes").unwrap();
    channel
        .set_read_timeout(Some(std::time::Duration::from_secs(10)))
        .unwrap();
    let mut news = || loop {
        let message: String = channel.get_message().unwrap().get_payload().unwrap();
        // What the tool says to find out whether it may.
        if !message.is_empty() {
            return message;
        }
    };
    redis.add("alice");
    for (verb, keys) in [
        ("grant add alice team/x pull", "P:user:alice"),
        ("group add team", "P:group:team"),
        ("group join team alice", "P:user:alice"),
        ("backend set default 127.0.0.1:5000", "P:backends"),
        ("backend clear default", "P:backends"),
        ("user lock alice", "P:user:alice"),
        (
            "token create alice --scope team/x:pull --expires 5d",
            "P:user:alice",
        ),
        ("user remove alice", "P:passwords\nP:user:alice"),
        ("group remove team", "P:group:team"),
    ] {
        redis.tool(&verb.split(' ').collect::<Vec<_>>()).ok();
        assert_eq!(news(), keys, "{verb}");
    }
    // Without the right to publish all works the same.
    let acl = "ACL SETUSER plain on >pw ~P:* resetchannels -@all +@all -publish";
    redis.run::<()>(&acl.split(' ').collect::<Vec<_>>());
    redis.tool_as("plain", &["group", "add", "other"], None).ok();
    redis.tool(&["group", "add", "more"]).ok();
    assert_eq!(news(), "P:group:more");
}

#[test]
fn nothing_under_a_prefix_is_told() {
    let redis = Redis::start();
    redis.add("alice");
    let url = redis.url();
    let ran = common::run(&["--redis", &url, "--prefix", "other", "check"], None);
    // A new installation is in order.
    assert_eq!(ran.status, 0);
    assert!(
        ran.out
            .contains("remark: there are no users under the prefix other yet; if there should be")
            && ran.out.contains(
                "backends: none, so that all requests go to the upstream's own server lines \
                if it has any, and get 503"
            )
            && !ran.out.contains("nothing is wrong"),
        "{ran:?}"
    );
    redis.run::<()>(&["HSET", "P:user:alice", "password", BCRYPT]);
    let out = redis.tool(&["check"]).ok();
    assert!(
        out.contains("backends: none") && out.contains("nothing is wrong"),
        "{out}"
    );
    redis.tool(&["backend", "set", "default", "a:1", "b:2"]).ok();
    redis.tool(&["backend", "set", "alice", "a:1"]).ok();
    let out = redis.tool(&["check"]).ok();
    assert!(
        out.contains("backends: 2 of everybody; users and groups with their own: 1"),
        "{out}"
    );
}

/// Two records with three bad fields are two records, one is one, and users are as many as `user list` has.
#[test]
fn counts_are_of_what_they_name() {
    let redis = Redis::start();
    redis.run::<()>(&[
        "HSET", "P:user:a", "password", BCRYPT, "grant:X", "pull", "grant:y", "fly",
    ]);
    redis.run::<()>(&["HSET", "P:user:b", "password", BCRYPT, "grant:y", "fly"]);
    redis.run::<()>(&["HSET", "P:user:c", "password", SHA]);
    redis.run::<()>(&["SET", "P:user:odd", "x"]);
    redis.run::<()>(&["HSET", "P:user:x:y", "password", BCRYPT]);
    redis.run::<()>(&["HSET", "P:passwords", "d", BCRYPT, "e:f", BCRYPT, "c", BCRYPT]);
    let out = redis.tool(&["check"]).out;
    for said in [
        "3 records that cannot be read: requests that need them",
        "1 password that is guessed fast if its hash leaks",
        "2 names that no client can send",
        "1 password in P:passwords that has no effect",
    ] {
        assert!(out.contains(said), "{said}: {out}");
    }
    let listed = redis.tool(&["user", "list"]).ok();
    assert_eq!(listed.lines().count(), 7, "{listed}");
    assert!(out.contains("users: 7 "), "{out}");
}

#[test]
fn a_comma_between_groups_is_a_malformed_record() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "P:user:alice", "password", BCRYPT, "groups", "team,ops"]);
    assert!(
        findings(&redis, "P:user:alice")
            .iter()
            .any(|(level, place)| level == "error" && place.contains("comma") && place.contains("spaces"))
    );
    let err = redis.tool(&["user", "show", "alice"]).fails(1);
    assert!(err.contains("P:user:alice") && err.contains("comma"), "{err}");
    let out = redis.tool(&["explain", "--user", "alice", "--action", "pull", "alice/app"]);
    assert!(out.out.contains("503") && out.out.contains("comma"), "{out:?}");
    redis.tool(&["group", "add", "team"]).ok();
    redis.tool(&["group", "add", "a,b"]).fails(2);
    // The tool repairs it.
    redis.tool(&["group", "leave", "team,ops", "alice"]).ok();
    redis.tool(&["group", "join", "team", "alice"]).ok();
    redis.tool(&["user", "show", "alice"]).ok();
}

#[test]
fn users_who_own_by_name_what_others_were_granted_are_remarked_on() {
    let redis = Redis::start();
    for user in ["team", "bob", "library"] {
        redis.run::<()>(&["HSET", &format!("P:user:{user}"), "password", BCRYPT]);
    }
    redis.tool(&["group", "add", "team"]).ok();
    redis
        .tool(&["grant", "add", "@team", "team/**", "pull,push"])
        .ok();
    redis.tool(&["grant", "add", "public", "library/*", "pull"]).ok();
    // A grant to the owner, one to everything, and a denial say nothing.
    redis.tool(&["grant", "add", "bob", "bob/x", "pull"]).ok();
    redis.tool(&["grant", "add", "team", "**", "pull"]).ok();
    redis.tool(&["grant", "add", "public", "!bob/**", "delete"]).ok();
    assert_eq!(
        findings(&redis, "team:"),
        [("remark".to_owned(), "team: team/** of @team".to_owned())]
    );
    assert_eq!(
        findings(&redis, "library:"),
        [("remark".to_owned(), "library: library/* of public".to_owned())]
    );
    assert_eq!(findings(&redis, "bob:"), []);
    redis.tool(&["check"]).ok();
}

#[test]
fn patterns_that_begin_with_an_address_are_remarked_on_unless_a_user_has_that_name() {
    let redis = Redis::start();
    let user = "P:user:alice";
    let token = EXPIRED
        .replace("=17", "=99")
        .replace("scope=a:", "scope=localhost/x:");
    redis.run::<()>(&[
        "HSET",
        user,
        "password",
        BCRYPT,
        "grant:registry.example.com/team/*",
        "pull",
    ]);
    redis.run::<()>(&[
        "HSET",
        user,
        "token:ci",
        &token,
        "grant:**/a.b",
        "pull",
        "grant:*.x/y",
        "pull",
    ]);
    redis.run::<()>(&[
        "HSET",
        user,
        "grant:bob.smith/app",
        "pull",
        "grant:carol.j/app",
        "pull",
        "grant:a",
        "pull",
    ]);
    redis.run::<()>(&["HSET", "P:group:team", "grant:!10.0.0.5/x", "*"]);
    redis.run::<()>(&["HSET", "P:user:bob.smith", "password", BCRYPT]);
    redis.run::<()>(&["HSET", "P:passwords", "carol.j", BCRYPT]);
    redis.run::<()>(&["HSET", "P:token-owners", &"0f".repeat(32), "alice"]);
    let mut found = Vec::new();
    for place in ["P:user:alice", "P:group:team"] {
        found.extend(findings(&redis, place));
    }
    let expected = [
        "P:user:alice: localhost/x",
        "P:user:alice: registry.example.com/team/*",
        "P:group:team: 10.0.0.5/x",
    ];
    assert_eq!(
        found,
        expected.map(|place| ("remark".to_owned(), place.to_owned()))
    );
    let out = redis.tool(&["check"]).ok();
    assert!(
        out.contains("3 patterns that begin with what looks like a registry's address"),
        "{out}"
    );
}

#[test]
fn sets_of_several_backends_are_remarked_on_with_what_they_must_share() {
    let redis = Redis::start();
    for user in ["alice", "bob"] {
        redis.run::<()>(&["HSET", &format!("P:user:{user}"), "password", BCRYPT]);
    }
    redis.tool(&["group", "add", "team"]).ok();
    redis.tool(&["backend", "set", "bob", "r1:5000"]).ok();
    assert!(!redis.tool(&["check"]).ok().contains("several"));
    for subject in ["alice", "@team", "default"] {
        redis
            .tool(&["backend", "set", subject, "r1:5000", "r2:5000"])
            .ok();
        assert_eq!(
            findings(&redis, &format!("{subject}:")),
            [("remark".to_owned(), format!("{subject}: r1:5000 r2:5000"))]
        );
    }
    let out = redis.tool(&["check"]).ok();
    assert!(
        out.contains("remark: 3 sets of several backends; with balance=repository (the default)")
            && out.contains("nothing is wrong"),
        "{out}"
    );
}
