//! Passwords in files: two of them, and new ones, without a reload.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Kept, Server, greet};
use registry_auth_redis::{Endpoint, Passwords};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testkit::PATIENCE;

fn gate(server: &Server, file: &Path) -> Endpoint {
    let endpoint = Endpoint::parse(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    endpoint
        .with_user("gate")
        .with_passwords(Passwords::in_file(file).unwrap())
}

#[test]
fn the_second_password_is_tried_after_the_first() {
    let server = Server::start();
    server.run("ACL SETUSER gate on >new ~* +@all");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    for (content, is_right) in [
        ("new\n", true),
        ("old\nnew\n", true),
        ("new\nold\n", true),
        ("old\nolder\n", false),
    ] {
        fs::write(&file, content).unwrap();
        let answer = greet(&gate(&server, &file), PATIENCE);
        assert_eq!(answer.is_ok(), is_right, "{content:?}: {answer:?}");
        if let Err(said) = answer {
            assert!(said.contains("the log-in was refused"), "{said}");
        }
    }
    // Servers without users have a word of their own for it.
    server.run("CONFIG SET requirepass secret");
    let endpoint = Endpoint::parse(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    fs::write(&file, "old\nsecret\n").unwrap();
    assert_eq!(
        greet(
            &endpoint.with_passwords(Passwords::in_file(&file).unwrap()),
            PATIENCE
        ),
        Ok(())
    );
}

#[test]
fn a_password_is_changed_without_a_reload() {
    let server = Server::start();
    server.run("ACL SETUSER gate on >old ~* +@all");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "old\n").unwrap();
    let kept = Kept::new(gate(&server, &file));
    let answers = |after: u64| {
        let until = Instant::now() + PATIENCE;
        loop {
            match kept.ask("ACL WHOAMI") {
                Some((_, epoch)) if epoch > after => return epoch,
                _ => assert!(Instant::now() < until, "{:?}", kept.log()),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let first = answers(0);
    server.run("ACL SETUSER gate resetpass >new");
    fs::write(&file, "new\n").unwrap();
    server.run("CLIENT KILL USER gate");
    let second = answers(first);
    // A file that is gone leaves what was read with the configuration.
    server.run("ACL SETUSER gate resetpass >old");
    fs::remove_file(&file).unwrap();
    server.run("CLIENT KILL USER gate");
    answers(second);
}
