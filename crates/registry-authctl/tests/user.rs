//! `registry-authctl user`: each verb, and what the module then makes of the account.

mod common;

use common::{Ran, Redis, binary, run};
use serde_json::json;

#[test]
fn added_users_log_in_with_their_password_only() {
    let redis = Redis::start();
    let out = redis
        .tool_stdin(&["user", "add", "alice"], "correct horse\n")
        .ok();
    assert_eq!(out, "user alice added\n");
    let hash: String = redis.run(&["HGET", "P:user:alice", "password"]);
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert_eq!(redis.login("alice", "correct horse"), Some(true));
    assert_eq!(redis.login("alice", "correct horse\n"), Some(false));

    redis
        .tool_stdin(&["user", "add", "bob", "--hash", "bcrypt"], "correct horse\r\n")
        .ok();
    let hash: String = redis.run(&["HGET", "P:user:bob", "password"]);
    assert!(hash.starts_with("$2y$12$"), "{hash}");
    assert_eq!(redis.login("bob", "correct horse"), Some(true));
    // Same password, fresh salt.
    redis
        .tool_stdin(&["user", "add", "carol", "--hash", "bcrypt"], "correct horse")
        .ok();
    let other: String = redis.run(&["HGET", "P:user:carol", "password"]);
    assert_ne!(hash, other);
}

#[test]
fn an_existing_user_is_not_added_again() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "P:passwords", "old", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="]);
    redis.add("alice");
    for user in ["alice", "old"] {
        let err = redis.tool_stdin(&["user", "add", user], "two").fails(1);
        assert!(
            err.contains(&format!("registry-authctl user passwd {user}")),
            "{err}"
        );
    }
    assert_eq!(redis.login("alice", "one"), Some(true));
    assert_eq!(redis.login("old", "secret"), Some(true));
}

#[test]
fn groups_set_beforehand_stay() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "P:user:alice", "groups", "team"]);
    redis.add("alice");
    assert_eq!(redis.run::<String>(&["HGET", "P:user:alice", "groups"]), "team");
    assert_eq!(redis.login("alice", "one"), Some(true));
}

#[test]
fn passwd_replaces_the_password_wherever_it_was() {
    let redis = Redis::start();
    let err = redis.tool_stdin(&["user", "passwd", "alice"], "x").fails(1);
    assert!(err.contains("registry-authctl user add alice"), "{err}");
    redis.run::<()>(&[
        "HSET",
        "P:passwords",
        "alice",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "bob",
        "x",
    ]);
    redis.tool_stdin(&["user", "passwd", "alice"], "new").ok();
    assert_eq!(redis.login("alice", "new"), Some(true));
    assert_eq!(redis.login("alice", "secret"), Some(false));
    assert_eq!(redis.run::<Vec<String>>(&["HKEYS", "P:passwords"]), ["bob"]);
}

#[test]
fn a_locked_user_stays_locked_until_unlocked() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "P:passwords", "old", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="]);
    redis.add("alice");
    for (user, password) in [("alice", "one"), ("old", "secret")] {
        assert_eq!(
            redis.tool(&["user", "lock", user]).ok(),
            format!("user {user} locked\n")
        );
        assert_eq!(redis.login(user, password), Some(false));
        assert_eq!(
            redis.tool(&["user", "lock", user]).ok(),
            format!("user {user} was locked before\n")
        );
        assert_eq!(
            redis.tool(&["user", "unlock", user]).ok(),
            format!("user {user} unlocked\n")
        );
        assert_eq!(redis.login(user, password), Some(true));
        assert_eq!(
            redis.tool(&["user", "unlock", user]).ok(),
            format!("user {user} was not locked\n")
        );
    }
    redis.tool(&["user", "lock", "alice"]).ok();
    let ran = redis.tool_stdin(&["user", "passwd", "alice"], "two");
    assert!(ran.err.contains("alice is locked"), "{ran:?}");
    ran.ok();
    assert_eq!(redis.login("alice", "two"), Some(false));
    redis.tool(&["user", "unlock", "alice"]).ok();
    assert_eq!(redis.login("alice", "two"), Some(true));
}

#[test]
fn a_user_without_a_password_can_be_locked_but_not_unlocked() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "P:user:alice", "groups", "team"]);
    redis.tool(&["user", "lock", "alice"]).ok();
    let err = redis.tool(&["user", "unlock", "alice"]).fails(1);
    assert!(err.contains("user passwd alice"), "{err}");
    assert!(
        redis
            .tool(&["user", "unlock", "nobody"])
            .fails(1)
            .contains("no user nobody")
    );
}

#[test]
fn removed_users_are_gone_from_both_places() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&["HSET", "P:passwords", "alice", "x", "bob", "y"]);
    assert_eq!(
        redis.tool(&["user", "remove", "alice"]).ok(),
        "user alice removed\n"
    );
    assert_eq!(redis.login("alice", "one"), None);
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), ["P:passwords"]);
    redis.tool(&["user", "remove", "bob"]).ok();
    assert!(
        redis
            .tool(&["user", "remove", "alice"])
            .fails(1)
            .contains("no user alice")
    );
}

#[test]
fn the_list_has_everybody_of_this_prefix_once() {
    let redis = Redis::start();
    assert_eq!(redis.tool(&["user", "list"]).ok(), "");
    assert_eq!(redis.tool(&["--json", "user", "list"]).json(), json!([]));
    let mut many = redis::pipe();
    for n in 0..2500 {
        many.cmd("HSET")
            .arg(format!("P:user:many{n:05}"))
            .arg("password")
            .arg("x")
            .ignore();
    }
    let client = redis::Client::open(redis.url()).unwrap();
    many.exec(&mut client.get_connection().unwrap()).unwrap();
    redis.run::<()>(&["HSET", "P:user:alice", "password", "!$2y$12$x", "groups", "team"]);
    redis.run::<()>(&["HSET", "P:user:zoe", "groups", "team"]);
    redis.run::<()>(&["HSET", "P:passwords", "alice", "x", "bob", "{SHA}x"]);
    redis.run::<()>(&["SET", "P:user:strange", "x"]);
    redis.run::<()>(&["HSET", "Q:user:other", "password", "x"]);
    redis.run::<()>(&["HSET", "P:group:team", "backends", "a:1"]);
    let out = redis.tool(&["user", "list"]).ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2500 + 4);
    assert!(
        lines.contains(&"alice\t(locked)") && lines.contains(&"bob"),
        "{out}"
    );
    assert!(
        lines.contains(&"zoe\t(no password)") && lines.contains(&"strange\t(cannot be read)"),
        "{out}"
    );
    let mut sorted = lines.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, lines);
    let list = redis.tool(&["user", "list", "--json"]).json();
    assert_eq!(
        list[0],
        json!({"user": "alice", "locked": true, "hash": "bcrypt", "stored": "user", "weak": null,
               "token_last_use": null})
    );
    assert_eq!(
        list[1],
        json!({"user": "bob", "locked": false, "hash": "sha", "stored": "passwords", "weak": null,
               "token_last_use": null})
    );
}

#[test]
fn a_prefix_with_glob_characters_is_taken_literally() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "a*:user:alice", "password", "x"]);
    redis.run::<()>(&["HSET", "ab:user:bob", "password", "x"]);
    let out = run(&["--redis", &redis.url(), "--prefix", "a*", "user", "list"], None).ok();
    assert_eq!(out, "alice\n");
}

#[test]
fn show_tells_everything_but_the_hash() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&[
        "HSET",
        "P:user:alice",
        "groups",
        "team ops",
        "backends",
        "r1:5000 10.0.0.1:5000",
        "grant:team/**",
        "pull,push",
        "grant:!secret/**",
        "*",
    ]);
    let out = redis.tool(&["user", "show", "alice"]).ok();
    for part in [
        "bcrypt",
        "team ops",
        "r1:5000 10.0.0.1:5000",
        "team/** pull,push",
        "deny:     secret/** *",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("tokens:"), "{out}");
    let json = redis.tool(&["--json", "user", "show", "alice"]).json();
    assert_eq!(json["tokens"], json!(0));
    assert_eq!(json["groups"], json!(["team", "ops"]));
    assert_eq!(json["backends"], json!(["r1:5000", "10.0.0.1:5000"]));
    assert_eq!(json["hash"], json!("bcrypt"));
    assert_eq!(json["grants"].as_array().unwrap().len(), 2);
    assert!(!out.contains("$2y$") && !json.to_string().contains("$2y$"));
    assert!(
        redis
            .tool(&["user", "show", "bob"])
            .fails(1)
            .contains("no user bob")
    );
}

#[test]
fn passwords_that_cannot_be_sent_are_refused_and_nothing_is_stored() {
    let redis = Redis::start();
    let long = "x".repeat(5000);
    let token = registry_auth::AccessToken::generate(|bytes| {
        bytes.fill(7);
        Ok::<(), ()>(())
    })
    .unwrap();
    for password in [
        token.expose(),
        "",
        "\n",
        "two\nlines",
        "tab\tinside",
        "nul\0",
        long.as_str(),
    ] {
        redis.tool_stdin(&["user", "add", "alice"], password).fails(1);
    }
    let err = redis
        .tool_stdin(&["user", "add", "alice", "--hash", "bcrypt"], &long[..73])
        .fails(1);
    assert!(err.contains("--hash argon2id"), "{err}");
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
    redis
        .tool_stdin(&["user", "add", "alice", "--hash", "bcrypt"], &long[..72])
        .ok();
    assert_eq!(redis.login("alice", &long[..72]), Some(true));
    // Without a terminal and without --password-stdin nothing is read by accident.
    let err = redis.tool(&["user", "add", "bob"]).fails(1);
    assert!(err.contains("--password-stdin"), "{err}");
}

#[test]
fn illegal_and_reserved_names_are_usage_errors() {
    for name in ["", "a:b", "a/b", "new\nline", "default", "public", "@team"] {
        let err = run(
            &[
                "--redis",
                "redis://127.0.0.1:1",
                "user",
                "add",
                name,
                "--password-stdin",
            ],
            Some("x"),
        )
        .fails(2);
        assert!(err.contains("name"), "{name:?}: {err}");
    }
    // The 2014 gate may have had such a user: it can be removed.
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "P:passwords", "default", "x"]);
    redis.tool(&["user", "remove", "default"]).ok();
}

#[test]
fn a_name_that_is_no_path_segment_is_remarked_upon() {
    let redis = Redis::start();
    let ran = redis.tool_stdin(&["user", "add", "Alice", "--hash", "bcrypt"], "x");
    assert!(ran.err.contains("Alice is no legal part"), "{ran:?}");
    assert_eq!(ran.ok(), "user Alice added\n");
}

#[test]
fn a_short_password_takes_a_word_more() {
    let redis = Redis::start();
    redis.add("bob");
    for verb in [["user", "add", "alice"], ["user", "passwd", "bob"]] {
        for password in ["x", "seven77", "\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}"] {
            let args = [&verb[..], &["--password-stdin", "--hash", "bcrypt"]].concat();
            let err = redis.tool_with(&args, Some(password)).fails(1);
            assert!(
                err.contains("fewer than 8 characters") && err.contains("--allow-weak"),
                "{err}"
            );
        }
    }
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), ["P:user:bob"]);
    assert_eq!(redis.login("bob", "one"), Some(true));
    let args = ["user", "add", "alice", "--password-stdin", "--hash", "bcrypt"];
    redis.tool_with(&args, Some("eight888")).ok();
    assert_eq!(redis.login("alice", "eight888"), Some(true));
    let args = [
        "user",
        "passwd",
        "bob",
        "--password-stdin",
        "--hash",
        "bcrypt",
        "--allow-weak",
    ];
    redis.tool_with(&args, Some("x")).ok();
    assert_eq!(redis.login("bob", "x"), Some(true));
}

#[test]
fn a_name_that_grants_of_others_cover_is_not_given_away() {
    let redis = Redis::start();
    redis.add("bob");
    redis.tool(&["group", "add", "devs"]).ok();
    redis
        .tool(&["grant", "add", "@devs", "team/**", "pull,push"])
        .ok();
    redis.tool(&["grant", "add", "public", "library/*", "pull"]).ok();
    redis.tool(&["grant", "add", "bob", "tools-*/x", "pull"]).ok();
    redis.tool(&["grant", "add", "bob", "**", "pull"]).ok();
    for (name, grant) in [
        ("team", "team/** (pull,push) of @devs"),
        ("library", "library/* (pull) of public"),
        ("tools-a", "tools-*/x (pull) of bob"),
    ] {
        let before = redis.dump();
        let err = redis
            .tool_stdin(&["user", "add", name, "--hash", "bcrypt"], "x")
            .fails(1);
        assert!(
            err.contains(grant) && err.contains("--own-namespace-anyway"),
            "{err}"
        );
        assert_eq!(redis.dump(), before);
    }
    redis
        .tool_stdin(&["user", "add", "carol", "--hash", "bcrypt"], "x")
        .ok();
    redis
        .tool_stdin(
            &[
                "user",
                "add",
                "team",
                "--hash",
                "bcrypt",
                "--own-namespace-anyway",
            ],
            "x",
        )
        .ok();
    assert_eq!(redis.login("team", "x"), Some(true));
}

#[test]
fn who_is_missing_is_created_only_where_something_is_given() {
    let redis = Redis::start();
    for (args, advice) in [
        (&["user", "remove", "nobody"][..], "user list"),
        (&["user", "lock", "nobody"], "user list"),
        (&["user", "show", "nobody"], "user list"),
        (&["grant", "list", "nobody"], "user list"),
        (&["token", "list", "nobody"], "user list"),
        (&["group", "remove", "nothing"], "group list"),
        (&["backend", "clear", "@nothing"], "group list"),
        (&["grant", "add", "nobody", "a/*", "pull"], "user add nobody"),
        (&["backend", "set", "@nothing", "a:1"], "group add nothing"),
    ] {
        let err = redis.tool(args).fails(1);
        let advice = format!("registry-authctl {advice}\n");
        assert!(err.ends_with(&advice), "{args:?}: {err}");
    }
}

#[test]
fn the_environment_says_where() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "E:user:alice", "password", "x"]);
    let output = binary()
        .args(["user", "list"])
        .env("REGISTRY_AUTH_REDIS", redis.url())
        .env("REGISTRY_AUTH_PREFIX", "E")
        .output()
        .unwrap();
    assert_eq!(Ran::of(&output).ok(), "alice\n");
    let help = binary()
        .arg("--help")
        .env("REGISTRY_AUTH_REDIS", "redis://:hunter2@h")
        .output()
        .unwrap();
    assert!(!Ran::of(&help).ok().contains("hunter2"));
}

#[test]
fn many_administrators_at_once_lose_nothing() {
    let redis = Redis::start();
    let redis = &redis;
    // Of many who add the same user one succeeds, and its password is the one that holds.
    let added: Vec<bool> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn(move || {
                    redis
                        .tool_stdin(&["user", "add", "alice", "--hash", "bcrypt"], &format!("pw{n}"))
                        .status
                        == 0
                })
            })
            .collect();
        tries.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    assert_eq!(added.iter().filter(|added| **added).count(), 1, "{added:?}");
    let winner = added.iter().position(|added| *added).unwrap();
    assert_eq!(redis.login("alice", &format!("pw{winner}")), Some(true));
}

#[test]
fn a_renamed_user_keeps_all_that_was_stored() {
    let redis = Redis::start();
    redis.add("alice");
    redis.add("bob");
    redis.tool(&["group", "add", "team"]).ok();
    redis.tool(&["group", "join", "team", "alice"]).ok();
    redis.tool(&["grant", "add", "alice", "team/**", "pull"]).ok();
    redis.tool(&["backend", "set", "alice", "r:1"]).ok();
    let secret = redis
        .tool(&["token", "create", "alice", "--scope", "**:pull", "--note", "x"])
        .ok();
    let id = registry_auth::TokenDigest::of(secret.trim().as_bytes())
        .unwrap()
        .to_id();
    redis.run::<()>(&["HSET", "P:token-use", &format!("alice:{id}"), "1700006400"]);
    let record = |user: &str| {
        let mut fields: Vec<String> = redis.run(&["HGETALL", &format!("P:user:{user}")]);
        fields.sort_unstable();
        fields
    };
    let before = record("alice");
    let ran = redis.tool(&["user", "rename", "alice", "carol"]);
    assert!(ran.err.contains("grant add carol 'alice/**'"), "{ran:?}");
    assert_eq!(ran.ok(), "user alice is now carol\n");
    assert_eq!(record("carol"), before);
    assert_eq!(record("alice"), [""; 0]);
    assert_eq!(
        redis.run::<Vec<String>>(&["HGETALL", "P:token-use"]),
        [format!("carol:{id}"), "1700006400".to_owned()]
    );
    assert_eq!(redis.login("carol", "one"), Some(true));
    assert_eq!(redis.login("carol", secret.trim()), Some(true));
    assert_eq!(redis.login("alice", "one"), None);
    // One of the 2014 gate stays in its list.
    redis.run::<()>(&["HSET", "P:passwords", "old", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="]);
    redis.tool(&["user", "rename", "old", "older"]).ok();
    assert_eq!(redis.run::<Vec<String>>(&["HKEYS", "P:passwords"]), ["older"]);
    assert_eq!(redis.login("older", "secret"), Some(true));
    // Nobody's place is taken, not that of a record without a password either.
    redis.run::<()>(&["HSET", "P:user:empty", "grant:a/*", "pull"]);
    let before = redis.dump();
    for (new, status, said) in [
        ("bob", 1, "exists already"),
        ("older", 1, "exists already"),
        ("empty", 1, "exists already"),
        ("carol", 1, "exists already"),
        ("team", 1, "--own-namespace-anyway"),
        ("public", 2, "reserved"),
        ("a/b", 2, "name"),
    ] {
        let err = redis.tool(&["user", "rename", "carol", new]).fails(status);
        assert!(err.contains(said), "{new}: {err}");
    }
    assert!(
        redis
            .tool(&["user", "rename", "gone", "x"])
            .fails(1)
            .contains("no user gone")
    );
    assert_eq!(redis.dump(), before);
}

#[test]
fn a_terminal_gets_a_table_of_the_users() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&[
        "HSET",
        "P:user:a-long-name",
        "password",
        "!{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    ]);
    redis.run::<()>(&["HSET", "P:user:robot", "groups", "team"]);
    redis.run::<()>(&["HSET", "P:token-use", "robot:a", "86400", "robot:b", "1700006400"]);
    let (tool, url) = (env!("CARGO_BIN_EXE_registry-authctl"), redis.url());
    let command = [tool, "--redis", &url, "--prefix", "P", "user", "ls"];
    let mut terminal = common::terminal::Terminal::run(&command, &[("NO_COLOR", "1")]);
    assert!(terminal.ends().success());
    terminal.sees("2023-11-15");
    let lines: Vec<Vec<&str>> = terminal
        .shown
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines,
        [
            vec!["USER", "PASSWORD", "STATE", "TOKEN", "USED"],
            vec!["a-long-name", "sha", "(weak)", "locked"],
            vec!["alice", "bcrypt", "(weak)"],
            vec!["robot", "none", "2023-11-15"],
        ]
    );
    // A program gets what it got.
    assert_eq!(
        redis.tool(&["user", "list"]).ok(),
        "a-long-name\t(locked)\nalice\nrobot\t(no password)\n"
    );
}

#[test]
fn a_user_without_a_password_logs_in_by_access_tokens_only() {
    let redis = Redis::start();
    let ran = redis.tool(&["user", "add", "ci", "--no-password"]);
    assert!(ran.err.contains("registry-authctl token create ci"), "{ran:?}");
    assert_eq!(ran.ok(), "user ci added\n");
    for password in ["", "ci", "secret"] {
        assert_ne!(redis.login("ci", password), Some(true), "{password:?}");
    }
    let token = redis
        .tool(&["token", "create", "ci", "--scope", "ci/*:pull"])
        .ok();
    assert_eq!(redis.login("ci", token.trim()), Some(true));
    redis.tool(&["user", "add", "ci", "--no-password"]).fails(1);

    // Neither the checks nor the locks take the user for a broken one.
    assert!(!redis.tool(&["check"]).out.contains("P:user:ci"));
    redis.tool(&["user", "add", "robot", "--no-password"]).ok();
    redis.tool(&["user", "lock", "robot"]).ok();
    assert_eq!(
        redis.tool(&["user", "unlock", "robot"]).ok(),
        "user robot unlocked\n"
    );
    assert_eq!(
        redis.tool(&["user", "unlock", "robot"]).ok(),
        "user robot was not locked\n"
    );
    assert!(
        redis
            .tool(&["user", "show", "robot"])
            .ok()
            .contains("password: none")
    );

    // A password may come later.
    redis.tool_stdin(&["user", "passwd", "robot"], "one").ok();
    assert_eq!(redis.login("robot", "one"), Some(true));
    run(
        &["user", "add", "x", "--no-password", "--password-stdin"],
        Some("one"),
    )
    .fails(2);
}
