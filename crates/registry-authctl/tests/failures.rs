//! What goes wrong, for verbs that read and verbs that write: each with a message that says what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Ran, Redis, binary, free_port};
use std::io::Read;
use std::net::TcpListener;
use std::process::Stdio;

/// One of each kind that needs Redis.
const VERBS: &[&[&str]] = &[
    &["user", "list"],
    &["group", "add", "team"],
    &["grant", "add", "public", "a", "pull"],
    &["token", "create", "alice", "--scope", "a:pull"],
    &["token", "list", "alice"],
    &["token", "revoke", "alice", "x"],
    &["backend", "set", "default", "r:1"],
    &["explain", "--action", "pull", "a"],
    &["check"],
    &["migrate"],
    &["import-htpasswd", "-", "--apply"],
];
const IMPORT: &str = "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n";

/// Those of [`VERBS`] that write.
fn writing() -> impl Iterator<Item = &'static &'static [&'static str]> {
    VERBS
        .iter()
        .filter(|verb| verb.contains(&"add") || verb.contains(&"set") || verb.contains(&"--apply"))
}

fn at(url: &str, verb: &[&str]) -> Ran {
    common::run(&[&["--redis", url, "--prefix", "P"], verb].concat(), Some(IMPORT))
}

#[test]
fn no_redis() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    for verb in VERBS {
        let err = at(&url, verb).fails(1);
        assert!(
            err.contains("cannot reach redis://") && err.contains("is it running"),
            "{verb:?}: {err}"
        );
    }
    let err = at("redis+unix:///nowhere/redis.sock", &["check"]).fails(1);
    assert!(err.contains("/nowhere/redis.sock"), "{err}");
}

#[test]
fn something_else_listens_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let err = at(&format!("redis://127.0.0.1:{port}"), &["check"]).fails(1);
    assert!(
        err.contains("not Redis' protocol") || err.contains("cannot use"),
        "{err}"
    );
}

#[test]
fn a_password_that_is_missing_or_wrong() {
    let redis = Redis::start();
    redis.run::<()>(&["ACL", "SETUSER", "default", "on", ">pw", "allkeys", "+@all"]);
    for verb in VERBS {
        let err = at(&redis.url(), verb).fails(1);
        assert!(
            err.contains("NOAUTH") && err.contains("give the password"),
            "{verb:?}: {err}"
        );
        let err = at(&format!("redis://:hunter2@127.0.0.1:{}", redis.port), verb).fails(1);
        assert!(
            err.contains("WRONGPASS") || err.contains("log-in was refused"),
            "{verb:?}: {err}"
        );
        assert!(
            err.contains("password in the URL") && !err.contains("hunter2"),
            "{err}"
        );
    }
}

#[test]
fn a_full_redis() {
    let redis = Redis::start();
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    for verb in writing() {
        let err = at(&redis.url(), verb).fails(1);
        assert!(
            err.contains("OOM") && err.contains("maxmemory"),
            "{verb:?}: {err}"
        );
    }
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
}

#[test]
fn a_replica() {
    let redis = Redis::start();
    redis.run::<()>(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    for verb in writing() {
        let err = at(&redis.url(), verb).fails(1);
        assert!(
            err.contains("READONLY") && err.contains("master"),
            "{verb:?}: {err}"
        );
    }
    let ran = redis.tool(&["check"]);
    assert!(
        ran.status == 1 && ran.out.contains("warning: this is a replica"),
        "{ran:?}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let redis = Redis::start();
    let mut many = redis::pipe();
    for n in 0..20_000 {
        let key = format!("P:user:a-rather-long-name-{n:06}");
        many.cmd("HSET").arg(key).arg("password").arg("{SHA}x").ignore();
    }
    let client = redis::Client::open(redis.url()).unwrap();
    many.exec(&mut client.get_connection().unwrap()).unwrap();
    for (args, status) in [
        (&["user", "list"][..], 0),
        (&["user", "list", "--json"], 0),
        (&["check", "--json"], 1),
        (&["completions", "bash"], 0),
        (&["man"], 0),
        (&["--help"], 0),
    ] {
        let mut child = binary()
            .args(["--redis", &redis.url(), "--prefix", "P"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(
            (child.wait().unwrap().code(), err.as_str()),
            (Some(status), ""),
            "{args:?}"
        );
    }
}

#[test]
fn colours_are_for_terminals_only() {
    let redis = Redis::start();
    redis.add("alice");
    let verb = "explain --user alice --action pull alice/x";
    let piped = redis.tool(&verb.split(' ').collect::<Vec<_>>()).ok();
    assert!(
        piped.starts_with("allowed: ") && !piped.contains('\u{1b}'),
        "{piped:?}"
    );
    let on_terminal = |environment: &str| {
        let tool = env!("CARGO_BIN_EXE_registry-authctl");
        let line = format!("{environment} {tool} --redis {} --prefix P {verb}", redis.url());
        let output = std::process::Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .output()
            .expect("script(1) is installed");
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = on_terminal("");
    assert!(shown.contains("\u{1b}[32mallowed"), "{shown:?}");
    let shown = on_terminal("NO_COLOR=1");
    assert!(
        shown.starts_with("allowed: ") && !shown.contains('\u{1b}'),
        "{shown:?}"
    );
}

#[test]
fn shells_and_man_are_told_of_the_tool() {
    for shell in ["bash", "zsh", "fish"] {
        let script = common::run(&["completions", shell], None).ok();
        // What they complete is tried in the shells themselves (completions.rs).
        assert!(script.contains("_REGISTRY_AUTHCTL_COMPLETE"), "{shell}: {script}");
    }
    common::run(&["completions", "tcsh"], None).fails(2);
    let page = common::run(&["man"], None).ok();
    assert!(
        page.contains(".TH REGISTRY-AUTHCTL 1")
            && page.contains("REGISTRY_AUTH_REDIS")
            && page.contains("NO_COLOR"),
        "{page}"
    );
    let dir = tempfile::TempDir::new().unwrap();
    let folder = dir.path().join("share/man/man1");
    common::run(&["man", folder.to_str().unwrap()], None).ok();
    for page in [
        "registry-authctl.1",
        "registry-authctl-user-add.1",
        "registry-authctl-explain.1",
        "registry-authctl-token-create.1",
    ] {
        assert!(folder.join(page).is_file(), "{page}");
    }
    let err = common::run(&["man", "/dev/null/x"], None).fails(1);
    assert!(err.contains("/dev/null/x"), "{err}");
}

#[test]
fn the_terminal_shows_how_far_an_import_is_and_nothing_else_does() {
    let redis = Redis::start();
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("htpasswd");
    // Not weak, or that would be remarked on.
    let bcrypt = "$2y$10$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC";
    let lines: String = (0..200_000).map(|n| format!("u{n:06}:{bcrypt}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let tool = env!("CARGO_BIN_EXE_registry-authctl");
    let line = format!(
        "{tool} --redis {} --prefix P import-htpasswd {} --apply",
        redis.url(),
        file.display()
    );
    let output = std::process::Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("importing") && shown.contains("/200,000"),
        "{}",
        &shown[..shown.len().min(2000)]
    );
    assert!(
        shown
            .trim_end()
            .ends_with("new: 200000, changed: 0, unchanged: 0, refused: 0\r\nhashes: bcrypt: 200000")
    );
    let ran = redis.tool(&["import-htpasswd", file.to_str().unwrap(), "--apply"]);
    assert_eq!(ran.err, "");
}
