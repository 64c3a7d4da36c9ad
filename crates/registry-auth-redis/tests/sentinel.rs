//! Redis Sentinel: the master is found, and followed wherever it goes. Outages are measured against
//! Sentinel's own share of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{GATE, Kept, Server, greet};
use redis::Value;
use registry_auth_redis::{Endpoint, Passwords, Secret};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{PATIENCE, eventually, free_port};

/// A master, a replica, and three sentinels.
struct Group {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

/// What is written into each sentinel's configuration, besides.
#[derive(Default)]
struct Options<'o> {
    sentinel: &'o str,
    server: &'o [&'o str],
}

impl Group {
    fn start(options: &Options<'_>) -> Self {
        let servers = vec![Server::with(options.server), Server::with(options.server)];
        servers[1].run(&format!("REPLICAOF 127.0.0.1 {}", servers[0].port));
        let mut group = Self {
            servers,
            sentinels: Vec::new(),
        };
        for _ in 0..3 {
            group.add_sentinel(options.sentinel);
        }
        let until = Instant::now() + PATIENCE;
        while !group.is_ready() {
            assert!(Instant::now() < until, "the sentinels do not find each other");
            thread::sleep(Duration::from_millis(50));
        }
        group
    }

    fn add_sentinel(&mut self, more: &str) {
        let settings = format!(
            "sentinel monitor m 127.0.0.1 {} 2\nsentinel down-after-milliseconds m 1000\nsentinel \
             failover-timeout m 4000\n{more}\n",
            self.servers[0].port
        );
        self.sentinels.push(Server::sentinel(&settings));
    }

    fn is_ready(&self) -> bool {
        self.sentinels.iter().all(|sentinel| {
            let said = self.said(sentinel, "SENTINEL MASTER m");
            field(&said, "num-slaves") == Some("1") && field(&said, "num-other-sentinels") == Some("2")
        })
    }

    fn said(&self, sentinel: &Server, command: &str) -> Vec<String> {
        match sentinel.run(command) {
            Value::Array(fields) => fields.iter().map(text).collect(),
            _ => Vec::new(),
        }
    }

    fn url(&self, sentinels: &[u16]) -> Endpoint {
        let hosts: Vec<String> = sentinels.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Endpoint::parse(&format!("redis+sentinel://{}/m", hosts.join(","))).unwrap()
    }

    fn ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(|sentinel| sentinel.port).collect()
    }

    fn endpoint(&self) -> Endpoint {
        self.url(&self.ports())
    }

    /// When a majority of the sentinels names this master.
    fn names(&self, port: u16) -> Instant {
        let until = Instant::now() + PATIENCE;
        loop {
            let named = |sentinel: &&Server| {
                field(&self.said(sentinel, "SENTINEL MASTER m"), "port") == Some(&port.to_string())
            };
            if self.sentinels.iter().filter(named).count() > 1 {
                return Instant::now();
            }
            assert!(Instant::now() < until, "no failover");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}

fn field<'f>(fields: &'f [String], name: &str) -> Option<&'f str> {
    let at = fields.iter().step_by(2).position(|field| field == name)?;
    fields.get(2 * at + 1).map(String::as_str)
}

#[test]
fn the_master_is_found_by_a_majority() {
    let mut group = Group::start(&Options::default());
    Kept::new(group.endpoint()).comes_to(group.servers[0].port);
    assert_eq!(greet(&group.endpoint(), PATIENCE), Ok(()));
    // One that knows is one of one.
    assert_eq!(greet(&group.url(&group.ports()[..1]), PATIENCE), Ok(()));
    let other = Endpoint::parse(&format!(
        "redis+sentinel://127.0.0.1:{}/other",
        group.sentinels[0].port
    ))
    .unwrap();
    let said = greet(&other, Duration::from_secs(1)).unwrap_err();
    assert!(said.contains("No such master with that name"), "{said}");
    // With one of three gone there is still a majority, and with two there is none.
    group.sentinels[0].kill();
    assert_eq!(greet(&group.endpoint(), PATIENCE), Ok(()));
    group.sentinels[1].kill();
    let said = greet(&group.endpoint(), Duration::from_secs(1)).unwrap_err();
    for word in ["1 of 3 sentinels", "2 are needed", "Connection refused"] {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
}

#[test]
fn a_master_that_is_killed_or_frozen_is_left_as_soon_as_there_is_another() {
    for is_frozen in [false, true] {
        let mut group = Group::start(&Options::default());
        let kept = Kept::new(group.endpoint());
        kept.comes_to(group.servers[0].port);
        if is_frozen {
            group.servers[0].freeze();
        } else {
            group.servers[0].kill();
        }
        let other = group.servers[1].port;
        let named = group.names(other);
        kept.comes_to(other);
        let late = named.elapsed();
        assert!(
            late < Duration::from_secs(1),
            "{late:?} after the sentinels knew (frozen: {is_frozen})"
        );
        println!("frozen: {is_frozen}: {late:?} after the sentinels knew");
    }
}

/// Says that it is over when it drops, also where a test fails.
struct Ends<'f>(&'f AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Looks up while something happens, and a second longer; none may fail.
fn nothing_fails_while(kept: &Kept, happens: impl FnOnce()) {
    let (is_over, failed, asked) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                asked.fetch_add(1, Ordering::Relaxed);
                // As a lookup is: it waits for a connection, and asks again on the next when that is gone.
                if kept.lookup(Duration::from_millis(500)).is_none() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let _until = Ends(&is_over);
        thread::sleep(Duration::from_millis(300));
        happens();
        thread::sleep(Duration::from_secs(1));
    });
    let (failed, asked) = (failed.into_inner(), asked.into_inner());
    assert_eq!(failed, 0, "of {asked}: {:?}", kept.log());
    assert!(asked > 100);
}

#[test]
fn a_planned_failover_fails_nothing() {
    let group = Group::start(&Options::default());
    let kept = Kept::new(group.endpoint());
    kept.comes_to(group.servers[0].port);
    nothing_fails_while(&kept, || {
        group.sentinels[0].run("SENTINEL FAILOVER m");
        group.names(group.servers[1].port);
        kept.comes_to(group.servers[1].port);
    });
}

#[test]
fn a_master_that_was_replaced_is_left_though_it_answers() {
    let group = Group::start(&Options {
        sentinel: "sentinel auth-user m s\nsentinel auth-pass m pw",
        // Who fails to log in is the default user.
        server: &[
            "--user", "s", "on", ">pw", "~*", "&*", "+@all", "--user", "default", "on", "nopass", "~*", "&*",
            "+@all", "-ping",
        ],
    });
    let kept = Kept::new(group.endpoint());
    let (old, new) = (&group.servers[0], &group.servers[1]);
    kept.comes_to(old.port);
    nothing_fails_while(&kept, || {
        // To the sentinels it is dead now; we may still ask it, and it believes to be the master.
        old.run("ACL SETUSER s off");
        old.run("CLIENT KILL USER s");
        let named = group.names(new.port);
        kept.comes_to(new.port);
        let late = named.elapsed();
        assert!(
            late < Duration::from_millis(1500),
            "{late:?} after the sentinels knew"
        );
    });
    let said = format!("{:?}", old.run("INFO replication"));
    assert!(said.contains("role:master"), "{said}");
    kept.says(&["connection lost", "the sentinels name another master"]);
}

#[test]
fn sentinels_have_users_of_their_own() {
    let group = Group::start(&Options {
        sentinel: "user gate on >sentinel-password resetkeys +sentinel|master +sentinel|myid +ping +hello",
        server: &GATE,
    });
    let passwords = |text: &[u8]| Passwords::one(Secret::new(text)).unwrap();
    let endpoint = group
        .endpoint()
        .with_user("gate")
        .with_passwords(passwords(b"pw"));
    let right = endpoint
        .clone()
        .with_sentinel_login(Some("gate"), Some(passwords(b"sentinel-password")));
    assert_eq!(right.check(), Ok(()));
    assert_eq!(greet(&right, PATIENCE), Ok(()));
    let wrong = endpoint.with_sentinel_login(Some("gate"), Some(passwords(b"wrong")));
    let said = greet(&wrong, Duration::from_secs(1)).unwrap_err();
    assert!(
        said.contains("0 of 3 sentinels") && said.contains("the log-in was refused"),
        "{said}"
    );
}

/// A server that says what a sentinel does.
struct Voice {
    port: u16,
    asked: Arc<AtomicUsize>,
    is_silent: Arc<AtomicBool>,
}

impl Voice {
    /// Listens at these addresses, with one port, and names this master. It says that it is the sentinel of
    /// this id, or that the user may not know.
    fn at(addresses: &[&str], id: Option<&str>, master: u16, epoch: u64) -> Self {
        let (port, listeners) = loop {
            let port = free_port();
            let bound: Result<Vec<_>, _> = addresses
                .iter()
                .map(|at| TcpListener::bind((*at, port)))
                .collect();
            if let Ok(bound) = bound {
                break (port, bound);
            }
        };
        let voice = Self {
            port,
            asked: Arc::default(),
            is_silent: Arc::default(),
        };
        let bulk = |word: &str| format!("${}\r\n{word}\r\n", word.len());
        let (master, epoch) = (master.to_string(), epoch.to_string());
        let fields = ["ip", "127.0.0.1", "port", &master, "config-epoch", &epoch].map(bulk);
        let id = id.map_or("-NOPERM this user may not\r\n".to_owned(), bulk);
        let answer = format!("*6\r\n{}{id}", fields.concat());
        for listener in listeners {
            let (asked, is_silent, answer) = (voice.asked.clone(), voice.is_silent.clone(), answer.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (asked, is_silent, answer) = (asked.clone(), is_silent.clone(), answer.clone());
                    thread::spawn(move || speak(stream, &answer, &asked, &is_silent));
                }
            });
        }
        voice
    }
}

/// Both questions come at once.
fn speak(mut stream: TcpStream, answer: &str, asked: &AtomicUsize, is_silent: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        let is_question = buffer[..read].windows(8).any(|word| word == b"SENTINEL");
        if is_silent.load(Ordering::SeqCst) || !is_question {
            continue;
        }
        asked.fetch_add(1, Ordering::SeqCst);
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn sentinels(hosts: &[String]) -> Endpoint {
    Endpoint::parse(&format!("redis+sentinel://{}/m", hosts.join(","))).unwrap()
}

/// One that was cut off from the others still names the old master. The URL has it twice: by two addresses,
/// by its name and its address, by an address in IPv4 and what that is in IPv6.
#[test]
fn a_sentinel_has_one_voice_whatever_it_is_called() {
    let old = Server::start();
    let gone = format!("127.0.0.1:{}", free_port());
    for (first, second, id) in [
        ("127.0.0.1", "[::1]", Some("a")),
        ("[::1]", "localhost", Some("a")),
        ("127.0.0.1", "[::ffff:127.0.0.1]", None),
    ] {
        let voice = Voice::at(&["127.0.0.1", "::1"], id, old.port, 1);
        let url = [first, second].map(|host| format!("{host}:{}", voice.port));
        let said = greet(
            &sentinels(&[&url[..], std::slice::from_ref(&gone)].concat()),
            BRIEFLY,
        )
        .unwrap_err();
        for words in ["1 of 3 sentinels", "2 are needed", "is the same sentinel as"] {
            assert!(said.contains(words), "{words:?} is missing: {said}");
        }
    }
    // They are two where each has an id of its own.
    let two = ["a", "b"].map(|id| Voice::at(&["127.0.0.1"], Some(id), old.port, 1));
    let url = two.map(|voice| format!("127.0.0.1:{}", voice.port));
    assert_eq!(greet(&sentinels(&[&url[..], &[gone]].concat()), PATIENCE), Ok(()));
}

/// For a connection that is not to be had.
const BRIEFLY: Duration = Duration::from_secs(1);

/// The ids of sentinels are no secret.
#[test]
fn a_sentinel_takes_no_voice_from_one_whose_id_it_says() {
    let (ours, other) = (Server::start(), Server::start());
    let liars = ["a", "b"].map(|id| Voice::at(&["127.0.0.1"], Some(id), other.port, 9));
    let honest = ["a", "b", "c"].map(|id| Voice::at(&["127.0.0.1"], Some(id), ours.port, 7));
    let voices = liars.iter().chain(&honest);
    let endpoint = sentinels(
        &voices
            .map(|voice| format!("127.0.0.1:{}", voice.port))
            .collect::<Vec<_>>(),
    );
    // Any of them may be heard first.
    for _ in 0..20 {
        assert_eq!(greet(&endpoint, PATIENCE), Ok(()));
    }
}

/// Whatever epoch it says the answer has.
#[test]
fn a_sentinel_that_differs_from_most_is_not_believed() {
    let (ours, other) = (Server::start(), Server::start());
    let liar = Voice::at(&["127.0.0.1"], Some("c"), other.port, u64::MAX);
    let honest = ["a", "b"].map(|id| Voice::at(&["127.0.0.1"], Some(id), ours.port, 7));
    let ports = [liar.port, honest[0].port, honest[1].port];
    let kept = Kept::new(sentinels(&ports.map(|port| format!("127.0.0.1:{port}"))));
    kept.comes_to(ours.port);
    let before = liar.asked.load(Ordering::SeqCst);
    eventually("it is asked again", || {
        (liar.asked.load(Ordering::SeqCst) > before + 4).then_some(())
    });
    let said = kept.log().join("\n");
    assert!(!said.contains("name another master"), "{said}");
    // Nor where one of the others says nothing.
    honest[0].is_silent.store(true, Ordering::SeqCst);
    ours.run("CLIENT KILL TYPE normal");
    kept.says(&[
        "cannot connect",
        "1 of 3 sentinels",
        &format!("it names 127.0.0.1:{}", other.port),
    ]);
}
