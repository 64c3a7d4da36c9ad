//! `registry-authctl import-htpasswd` and `migrate`: dry runs, what stays, and what an interruption leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Ran, Redis, binary};
use serde_json::json;
use std::fmt::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// "secret".
const SHA: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
/// "one".
const BCRYPT: &str = "$2y$04$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC";
/// Of no known password; beyond the limits.
const COSTLY: &str = "$2y$31$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC";
/// sha1("secret"), without salt.
const LEGACY: &str = "e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4";

struct File(tempfile::TempDir);

impl File {
    fn new(content: &str) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join("htpasswd"), content).unwrap();
        Self(dir)
    }

    fn import(&self, redis: &Redis, args: &[&str]) -> Ran {
        let path = self.0.path().join("htpasswd");
        redis.tool(&[&["import-htpasswd", path.to_str().unwrap()], args].concat())
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "P:user:bob", "password", "{SHA}x"]);
    redis.run::<()>(&["HSET", "P:user:carol", "password", SHA]);
    redis.run::<()>(&["SET", "P:user:odd", "x"]);
    let before = redis.run::<Vec<String>>(&["HGETALL", "P:user:bob"]);
    let file = File::new(&format!(
        "# users\nalice:{BCRYPT}\nbob:{SHA}\ncarol:{SHA}\n\nplain:secret\nalice:{SHA}\nodd:{SHA}\n"
    ));
    let ran = file.import(&redis, &[]);
    assert_eq!(ran.status, 1, "{ran:?}");
    for part in [
        "line 2: new alice",
        "line 3: changed bob",
        "line 6: refused plain: ",
        "line 7: refused alice: the same user as line 2",
        "line 8: refused odd: the record cannot be read",
        "new: 1, changed: 1, unchanged: 1, refused: 3",
        "add --apply",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(!ran.out.contains("secret"), "{}", ran.out);
    assert_eq!(redis.run::<Vec<String>>(&["HGETALL", "P:user:bob"]), before);
    assert!(!redis.run::<bool>(&["EXISTS", "P:user:alice"]));
    let ran = file.import(&redis, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&json["applied"], &json["new"]),
        (&json!(false), &json!(["alice"]))
    );
    assert_eq!(json["refused"].as_array().unwrap().len(), 3);
    assert_eq!(json["refused"][0]["line"], json!(6));
}

#[test]
fn applied_users_log_in_and_a_second_time_nothing_changes() {
    let redis = Redis::start();
    let file = File::new(&format!("alice:{BCRYPT}\nbob:{SHA}\n"));
    assert_eq!(
        file.import(&redis, &["--apply"]).ok(),
        "new: 2, changed: 0, unchanged: 0, refused: 0\nhashes: bcrypt: 1, sha: 1\n"
    );
    assert_eq!(redis.login("alice", "one"), Some(true));
    assert_eq!(redis.login("bob", "secret"), Some(true));
    assert_eq!(
        file.import(&redis, &["--apply"]).ok(),
        "new: 0, changed: 0, unchanged: 2, refused: 0\nhashes: bcrypt: 1, sha: 1\n"
    );
}

/// What the module would answer with 503 is not imported; what is guessed fast is, with a warning.
#[test]
fn costly_and_damaged_hashes_are_refused_and_weak_ones_told() {
    let redis = Redis::start();
    let good = BCRYPT.replacen("$04$", "$10$", 1);
    let phc = "$c29tZXNhbHQwMA$1CB7TWsCiDvsK0PwBxuxJijzR9L1KJh54Zl6dLxc6v0";
    let file = File::new(&format!(
        "good:{good}\nweak:{BCRYPT}\nsha:{SHA}\ncostly:{COSTLY}\n\
         memory:$argon2id$v=19$m=4194304,t=1,p=1{phc}\n\
         twice:$argon2id$v=19$m=8,t=1,p=1,m=4194304{phc}\nargon:$argon2id$v=19$m=19456,t=2,p=1{phc}\n\
         rounds:$pbkdf2-sha256$i=1000{phc}\n"
    ));
    let ran = file.import(&redis, &[]);
    assert_eq!(ran.status, 1, "{ran:?}");
    for part in [
        "line 1: new good\n",
        "line 2: new weak (weak: bcrypt of a cost below 10)",
        "line 3: new sha (weak: SHA-1 without salt)",
        "line 4: refused costly: the password hash is too costly",
        "line 5: refused memory: the password hash is too costly",
        "line 6: refused twice: the password hash is damaged",
        "line 7: new argon\n",
        "line 8: new rounds (weak: PBKDF2 of fewer than 600,000 rounds)",
        "new: 5, changed: 0, unchanged: 0, refused: 3",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(ran.err.contains("3 of the hashes are weak"), "{}", ran.err);
    for hash in ["$2y$", "$argon2", "{SHA}", "n4Uf8cs"] {
        assert!(
            !ran.out.contains(hash) && !ran.err.contains(hash),
            "{hash}: {ran:?}"
        );
    }
    assert_eq!(file.import(&redis, &["--apply"]).status, 1);
    let mut stored: Vec<String> = redis.run(&["KEYS", "*"]);
    stored.sort_unstable();
    assert_eq!(
        stored,
        ["argon", "good", "rounds", "sha", "weak"].map(|user| format!("P:user:{user}"))
    );
    // Weak ones are reported again, as they still are.
    let ran = file.import(&redis, &["--apply", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["unchanged"], json!(5));
    let weak: Vec<_> = json["weak"]
        .as_array()
        .unwrap()
        .iter()
        .map(|weak| &weak["line"])
        .collect();
    assert_eq!(weak, [&json!(2), &json!(3), &json!(8)]);
    assert_eq!(json["refused"][0]["user"], json!("costly"));
}

#[test]
fn all_but_the_password_stays_and_locked_accounts_stay_locked() {
    let redis = Redis::start();
    redis.run::<()>(&[
        "HSET",
        "P:user:alice",
        "password",
        "!{SHA}x",
        "groups",
        "team",
        "backends",
        "r:1",
        "grant:a/b",
        "pull",
    ]);
    redis.run::<()>(&["HSET", "P:passwords", "old", LEGACY, "same", SHA, "stays", "x"]);
    let file = File::new(&format!("alice:{SHA}\nold:{BCRYPT}\nsame:{SHA}\n"));
    assert!(
        file.import(&redis, &[])
            .ok()
            .contains("changed alice (locked, stays so)")
    );
    file.import(&redis, &["--apply"]).ok();
    assert_eq!(
        redis.dump(),
        [
            format!("P:passwords: same={SHA} stays=x"),
            format!("P:user:alice: backends=r:1 grant:a/b=pull groups=team password=!{SHA}"),
            format!("P:user:old: password={BCRYPT}"),
        ]
    );
    assert_eq!(redis.login("alice", "secret"), Some(false));
    assert_eq!(redis.login("old", "one"), Some(true));
    // A file that locks does lock.
    File::new(&format!("old:!{BCRYPT}\n"))
        .import(&redis, &["--apply"])
        .ok();
    assert_eq!(redis.login("old", "one"), Some(false));
}

#[test]
fn a_file_can_come_through_a_pipe_or_not_be_there() {
    let redis = Redis::start();
    let args = [
        "--redis",
        &redis.url(),
        "--prefix",
        "P",
        "import-htpasswd",
        "-",
        "--apply",
    ];
    common::run(&args, Some(&format!("alice:{SHA}"))).ok();
    assert_eq!(redis.login("alice", "secret"), Some(true));
    let err = redis.tool(&["import-htpasswd", "/nowhere/file"]).fails(1);
    assert!(err.contains("/nowhere/file: No such file"), "{err}");
}

#[test]
fn users_who_have_a_password_stay_if_asked_and_a_good_hash_is_not_replaced_by_a_weaker_one() {
    let redis = Redis::start();
    let argon = |memory: u32| {
        format!(
            "$argon2id$v=19$m={memory},t=2,p=1$c29tZXNhbHQwMA$1CB7TWsCiDvsK0PwBxuxJijzR9L1KJh54Zl6dLxc6v0"
        )
    };
    let (good, weak, better) = (argon(19456), argon(1024), argon(65536));
    let start = || {
        for (user, hash) in [
            ("bob", SHA),
            ("good", &good),
            ("locked", &format!("!{good}")),
            ("weak", &weak),
        ] {
            redis.run::<()>(&["HSET", &format!("P:user:{user}"), "password", hash]);
        }
    };
    let file = File::new(&format!(
        "bob:{BCRYPT}\ngood:{BCRYPT}\nlocked:{SHA}\nweak:{BCRYPT}\nnew:{BCRYPT}\n"
    ));
    start();
    let ran = file.import(&redis, &["--apply"]);
    assert_eq!(ran.status, 1);
    for part in [
        "line 2: refused good: the argon2 hash that is stored is stronger; --force",
        "line 3: refused locked: the argon2 hash",
        "new: 1, changed: 2, unchanged: 0, refused: 2\nhashes: bcrypt: 4, sha: 1",
    ] {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
    assert_eq!(redis.run::<String>(&["HGET", "P:user:good", "password"]), good);
    assert_eq!(redis.run::<String>(&["HGET", "P:user:weak", "password"]), BCRYPT);
    start();
    let ran = file.import(&redis, &["--keep", "--apply"]).ok();
    assert!(
        ran.contains("new: 0, changed: 0, unchanged: 1, kept: 4, refused: 0"),
        "{ran}"
    );
    assert_eq!(redis.run::<String>(&["HGET", "P:user:bob", "password"]), SHA);
    file.import(&redis, &["--force", "--apply"]).ok();
    assert_eq!(redis.run::<String>(&["HGET", "P:user:good", "password"]), BCRYPT);
    assert_eq!(
        redis.run::<String>(&["HGET", "P:user:locked", "password"]),
        format!("!{SHA}")
    );
    file.import(&redis, &["--force", "--keep"]).fails(2);
    // A better one replaces it.
    redis.run::<()>(&["HSET", "P:user:good", "password", &good]);
    File::new(&format!("good:{better}\n"))
        .import(&redis, &["--apply"])
        .ok();
    assert_eq!(redis.run::<String>(&["HGET", "P:user:good", "password"]), better);
}

#[test]
fn a_file_in_utf_16_is_named() {
    let redis = Redis::start();
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("htpasswd");
    let utf16: Vec<u8> = format!("\u{feff}alice:{SHA}\r\n")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    std::fs::write(&path, utf16).unwrap();
    let err = redis.tool(&["import-htpasswd", path.to_str().unwrap()]).fails(1);
    assert!(err.contains("UTF-16") && err.contains("iconv"), "{err}");
}

#[test]
fn a_reserved_name_stays_where_it_is() {
    let redis = Redis::start();
    redis.run::<()>(&["HSET", "P:passwords", "default", SHA, "@team", SHA, "alice", SHA]);
    let ran = redis.tool(&["migrate", "--apply"]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.contains("refused default: this name is reserved") && ran.out.contains("refused @team"),
        "{ran:?}"
    );
    assert!(!redis.run::<bool>(&["EXISTS", "P:user:default"]));
    let mut left: Vec<String> = redis.run(&["HKEYS", "P:passwords"]);
    left.sort_unstable();
    assert_eq!(left, ["@team", "default"]);
}

/// Users of `big`; enough to be stopped in the middle.
const MANY: usize = 60_000;

fn big() -> File {
    let mut lines = String::new();
    for n in 0..MANY {
        writeln!(lines, "u{n:06}:{SHA}").unwrap();
    }
    File::new(&lines)
}

fn count(redis: &Redis) -> usize {
    redis.run::<usize>(&["DBSIZE"])
}

/// Starts an import.
fn start(redis: &Redis, file: &File) -> std::process::Child {
    let url = redis.url();
    let mut command = binary();
    command.args(["--redis", &url, "--prefix", "P", "import-htpasswd", "--apply"]);
    command.arg(file.0.path().join("htpasswd"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Starts an import and returns once it has written some users.
fn halfway(redis: &Redis, file: &File) -> std::process::Child {
    let child = start(redis, file);
    let until = Instant::now() + common::PATIENCE;
    while count(redis) == 0 {
        assert!(Instant::now() < until, "nothing was imported in time");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

/// Every user is whole, and the same command again completes them.
fn is_completed(redis: &Redis, file: &File) {
    let some = count(redis);
    assert!(some > 0 && some < MANY, "{some}: not in the middle");
    assert!(
        redis
            .dump()
            .iter()
            .all(|line| line.ends_with(&format!(": password={SHA}")))
    );
    let out = file.import(redis, &["--apply"]).ok();
    assert_eq!(
        out,
        format!(
            "new: {}, changed: 0, unchanged: {some}, refused: 0\nhashes: sha: {MANY}\n",
            MANY - some
        )
    );
    assert_eq!(count(redis), MANY);
}

#[test]
fn an_import_that_is_interrupted_leaves_whole_users_and_is_completed_by_the_next() {
    let redis = Redis::start();
    let file = big();
    let child = halfway(&redis, &file);
    std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    let err = Ran::of(&child.wait_with_output().unwrap()).fails(1);
    assert!(
        err.contains("interrupted") && err.contains("same command again"),
        "{err}"
    );
    is_completed(&redis, &file);
}

#[test]
fn an_import_that_is_killed_leaves_whole_users_and_is_completed_by_the_next() {
    let redis = Redis::start();
    let file = big();
    let mut child = halfway(&redis, &file);
    child.kill().unwrap();
    child.wait().unwrap();
    is_completed(&redis, &file);
}

#[test]
fn an_import_that_loses_redis_says_how_far_it_came() {
    let mut redis = Redis::start();
    let file = big();
    let child = halfway(&redis, &file);
    redis.kill();
    let err = Ran::of(&child.wait_with_output().unwrap()).fails(1);
    assert!(
        err.contains("cannot reach redis://") && err.contains("same command again"),
        "{err}"
    );
}

#[test]
fn a_lock_in_the_middle_of_an_import_is_not_undone() {
    let redis = Redis::start();
    // The last to be written: all of the import is before it.
    let last = format!("u{:06}", MANY - 1);
    redis.run::<()>(&["HSET", &format!("P:user:{last}"), "password", BCRYPT]);
    let file = big();
    let child = start(&redis, &file);
    redis.tool(&["user", "lock", &last]).ok();
    Ran::of(&child.wait_with_output().unwrap()).ok();
    assert_eq!(redis.login(&last, "secret"), Some(false));
    assert_eq!(redis.login(&last, "one"), Some(false));
}

#[test]
fn the_2014_gates_passwords_move_and_hold() {
    let redis = Redis::start();
    redis.run::<()>(&[
        "HSET",
        "P:passwords",
        "old",
        LEGACY,
        "locked",
        &format!("!{SHA}"),
        "both",
        BCRYPT,
        "a/b",
        SHA,
        "plain",
        "secret",
        "costly",
        COSTLY,
    ]);
    redis.run::<()>(&["HSET", "P:user:both", "password", SHA]);
    redis.run::<()>(&["HSET", "P:user:old", "grant:x", "pull"]);
    redis.run::<()>(&["RPUSH", "P:backends", "r:1"]);
    let before: Vec<String> = redis.run(&["HKEYS", "P:passwords"]);
    let ran = redis.tool(&["migrate"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    for part in [
        "would move old",
        "would move locked",
        "superseded both",
        "refused a/b: ",
        "refused plain: ",
        "refused costly: ",
        "would move: 2, superseded: 1, refused: 3",
        "add --apply",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(
        ran.err.contains("1 of them is a SHA-1 digest") && ran.err.contains("registry_auth_salt"),
        "{}",
        ran.err
    );
    assert!(!ran.out.contains("secret"));
    assert_eq!(redis.run::<Vec<String>>(&["HKEYS", "P:passwords"]), before);

    let ran = redis.tool(&["migrate", "--apply", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["moved"].as_array().unwrap().len(), 2);
    assert_eq!(json["sha1"], json!(1));
    let mut left: Vec<String> = redis.run(&["HKEYS", "P:passwords"]);
    left.sort_unstable();
    assert_eq!(left, ["a/b", "costly", "plain"]);
    assert_eq!(redis.login("old", "secret"), Some(true));
    assert_eq!(redis.run::<String>(&["HGET", "P:user:old", "grant:x"]), "pull");
    assert_eq!(
        redis.run::<String>(&["HGET", "P:user:locked", "password"]),
        format!("!{SHA}")
    );
    assert_eq!(redis.login("both", "secret"), Some(true));
    assert_eq!(
        redis.run::<Vec<String>>(&["LRANGE", "P:backends", "0", "-1"]),
        ["r:1"]
    );
}

#[test]
fn many_passwords_move_and_nobody_is_out_for_a_moment() {
    let redis = Redis::start();
    let mut many = redis::pipe();
    for n in 0..20_000 {
        many.cmd("HSET")
            .arg("P:passwords")
            .arg(format!("u{n:05}"))
            .arg(LEGACY)
            .ignore();
    }
    let client = redis::Client::open(redis.url()).unwrap();
    many.exec(&mut client.get_connection().unwrap()).unwrap();
    let child = binary()
        .args(["--redis", &redis.url(), "--prefix", "P", "migrate", "--apply"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One atomic look, as the module's: the password is in one place or the other.
    let both = "return redis.call('HEXISTS', 'P:passwords', ARGV[1]) + \
                redis.call('HEXISTS', 'P:user:' .. ARGV[1], 'password')";
    let mut connection = client.get_connection().unwrap();
    let mut looks = 0;
    while !redis.run::<Vec<String>>(&["HKEYS", "P:passwords"]).is_empty() {
        for n in (0..20_000).step_by(997) {
            let mut look = redis::cmd("EVAL");
            look.arg(both).arg(0).arg(format!("u{n:05}"));
            let places: i32 = look.query(&mut connection).unwrap();
            assert_eq!(places, 1, "u{n:05}");
            looks += 1;
        }
    }
    assert!(looks > 0);
    let out = Ran::of(&child.wait_with_output().unwrap()).ok();
    assert_eq!(out, "moved: 20000, superseded: 0, refused: 0\n");
    assert_eq!(redis.login("u19999", "secret"), Some(true));
}
