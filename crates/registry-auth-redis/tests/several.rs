//! Several addresses: the master is asked, and no other; and who it is may change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Certificates, GATE, Kept, Server, greet};
use registry_auth_redis::{Endpoint, Passwords, Secret};
use std::time::{Duration, Instant};
use testkit::{PATIENCE, free_port};

/// A master and its replica, which is in sync.
fn pair() -> (Server, Server) {
    let (master, replica) = (Server::start(), Server::start());
    follow(&replica, &master);
    (master, replica)
}

fn follow(replica: &Server, master: &Server) {
    replica.run(&format!("REPLICAOF 127.0.0.1 {}", master.port));
    let until = Instant::now() + PATIENCE;
    while !format!("{:?}", replica.run("INFO replication")).contains("master_link_status:up") {
        assert!(Instant::now() < until, "the replica is not in sync");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn of(ports: &[u16]) -> Endpoint {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    Endpoint::parse(&format!("redis://{}", hosts.join(","))).unwrap()
}

#[test]
fn of_several_the_master_is_asked() {
    let (master, replica) = pair();
    for order in [
        [master.port, replica.port, free_port()],
        [free_port(), replica.port, master.port],
    ] {
        let kept = Kept::new(of(&order));
        kept.comes_to(master.port);
    }
}

#[test]
fn a_server_that_says_nothing_delays_nobody() {
    let (master, replica) = pair();
    // Accepts connections, and answers nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let begun = Instant::now();
    greet(
        &of(&[silent.local_addr().unwrap().port(), replica.port, master.port]),
        PATIENCE,
    )
    .unwrap();
    assert!(begun.elapsed() < PATIENCE / 4, "{:?}", begun.elapsed());
}

#[test]
fn a_master_that_becomes_a_replica_is_left() {
    let (old, new) = pair();
    let kept = Kept::new(of(&[old.port, new.port]));
    kept.comes_to(old.port);
    new.run("REPLICAOF NO ONE");
    old.run(&format!("REPLICAOF 127.0.0.1 {}", new.port));
    kept.comes_to(new.port);
    kept.says(&["connection lost", "it is a replica"]);
    let (_, epoch) = kept.ask("PING").unwrap();
    assert!(epoch > 1, "a new connection is a new epoch");
}

#[test]
fn a_master_that_dies_is_replaced_by_one_that_is_made() {
    let (mut old, new) = pair();
    let kept = Kept::new(of(&[old.port, new.port]));
    kept.comes_to(old.port);
    old.kill();
    kept.says(&[
        "none of them is a master",
        "it is a replica",
        "Connection refused",
    ]);
    assert!(kept.ask("PING").is_none(), "a replica is not read");
    new.run("REPLICAOF NO ONE");
    kept.comes_to(new.port);
}

#[test]
fn the_users_rights_are_enough_to_learn_who_is_the_master() {
    let other = ["--user", "none", "on", ">pw", "~P:*", "+ping", "--port", "PORT"];
    let users = [&GATE[..], &other].concat();
    let (master, replica) = (Server::with(&users), Server::with(&users));
    replica.run(&format!("REPLICAOF 127.0.0.1 {}", master.port));
    let passwords = || Passwords::one(Secret::new(b"pw")).unwrap();
    let endpoint = of(&[replica.port, master.port]).with_passwords(passwords());
    assert_eq!(greet(&endpoint.clone().with_user("gate"), PATIENCE), Ok(()));
    let kept = Kept::new(endpoint.clone().with_user("gate"));
    while kept.ask("PING").is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // Redis lets everybody say HELLO.
    assert_eq!(greet(&endpoint.with_user("none"), PATIENCE), Ok(()));
}

#[test]
fn several_over_tls() {
    let certificates = Certificates::with_ca();
    certificates.issue("server", "ca", &["subjectAltName=DNS:localhost"]);
    let server = certificates.server("server", &["--tls-auth-clients", "no"]);
    let url = format!("rediss://localhost:{},localhost:{}", free_port(), server.port);
    let endpoint = Endpoint::parse(&url).unwrap();
    let endpoint = endpoint
        .with_tls(common::trusting(&certificates, "ca.pem"))
        .unwrap();
    assert_eq!(greet(&endpoint, PATIENCE), Ok(()));
}
