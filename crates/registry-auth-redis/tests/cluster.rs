//! Redis Cluster: the node that has the slot is found, and followed wherever the slot goes. Outages are
//! measured against the Cluster's own share of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Kept, Load, Server, greet};
use redis::Value;
use registry_auth_redis::schema::keys::slot;
use registry_auth_redis::{Endpoint, Passwords, Secret};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use testkit::{PATIENCE, eventually};

const PREFIX: &str = "{P}";
/// There is one.
const ALICE: &str = "{P}:user:alice";
/// There is none.
const BOB: &str = "{P}:user:bob";
/// The limit of a lookup.
const LIMIT: Duration = Duration::from_millis(500);
/// What may be added to the Cluster's own share of an outage.
const ADDED: Duration = Duration::from_millis(500);

/// Masters, of which the first has all the slots that the others do not need, and its replicas.
struct Cluster {
    nodes: Vec<Server>,
    masters: usize,
}

impl Cluster {
    /// Three masters, and so many replicas of the first.
    fn start(replicas: usize, options: &[&str]) -> Self {
        let mut cluster = Self {
            nodes: Vec::new(),
            masters: 3,
        };
        for _ in 0..3 + replicas {
            cluster.nodes.push(Self::node(options));
        }
        let mut first = 0;
        // The slot of the prefix is the first node's.
        for (at, last) in [(0, slot(PREFIX).unwrap() + 1), (1, 16000), (2, 16383)] {
            cluster.nodes[at].run(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            cluster.nodes[at].run(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1));
            first = last + 1;
        }
        for at in 1..cluster.nodes.len() {
            cluster.meet(at);
        }
        cluster.is_known_to_all();
        let first = cluster.id(0);
        for at in 3..cluster.nodes.len() {
            cluster.nodes[at].run(&format!("CLUSTER REPLICATE {first}"));
            eventually("the replica is in sync", || {
                cluster
                    .said(at, "INFO replication")
                    .contains("master_link_status:up")
                    .then_some(())
            });
        }
        cluster.are_all("cluster_state:ok");
        cluster.nodes[0].run(&format!("HSET {ALICE} password x"));
        cluster.agrees_on(cluster.nodes[0].port);
        cluster
    }

    fn node(options: &[&str]) -> Server {
        Server::cluster_node(&[&["--cluster-node-timeout", "1000"], options].concat())
    }

    fn meet(&self, at: usize) {
        let (first, bus) = (&self.nodes[0], self.said(0, "CONFIG GET cluster-port"));
        let bus = bus.split('"').rfind(|word| word.parse::<u16>().is_ok()).unwrap();
        self.nodes[at].run(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", first.port));
    }

    fn is_known_to_all(&self) {
        let count = format!("cluster_known_nodes:{}", self.nodes.len());
        self.are_all(&count);
    }

    fn are_all(&self, word: &str) {
        for at in 0..self.nodes.len() {
            eventually(word, || {
                self.said(at, "CLUSTER INFO").contains(word).then_some(())
            });
        }
    }

    fn said(&self, at: usize, command: &str) -> String {
        let said = self.nodes[at].run(command);
        format!("{said:?}")
    }

    fn id(&self, at: usize) -> String {
        text(&self.nodes[at].run("CLUSTER MYID"))
    }

    fn endpoint(&self, at: &[usize]) -> Endpoint {
        let hosts = at.iter().map(|at| format!("127.0.0.1:{}", self.nodes[*at].port));
        let url = format!("redis+cluster://{}", hosts.collect::<Vec<_>>().join(","));
        Endpoint::parse(&url).unwrap().with_prefix(PREFIX).unwrap()
    }

    /// A connection that is kept, and is one to the first node now.
    fn kept(&self) -> Kept {
        let kept = Kept::of(self.endpoint(&[0, 1, 2]), PREFIX);
        kept.comes_to(self.nodes[0].port);
        kept
    }

    /// Who has the slot, as this node says.
    fn owner(&self, at: usize) -> u16 {
        let slot = i64::from(slot(PREFIX).unwrap());
        let Value::Array(ranges) = self.nodes[at].run("CLUSTER SLOTS") else {
            panic!()
        };
        for range in ranges {
            let Value::Array(range) = range else { panic!() };
            let [Value::Int(first), Value::Int(last), Value::Array(node), ..] = &range[..] else {
                panic!()
            };
            if (*first..=*last).contains(&slot) {
                let Value::Int(port) = node[1] else { panic!() };
                return port.try_into().unwrap();
            }
        }
        0
    }

    /// When both other masters say that this one has the slot.
    fn agrees_on(&self, port: u16) -> Instant {
        let until = Instant::now() + PATIENCE;
        while self.owner(1) != port || self.owner(2) != port {
            assert!(Instant::now() < until, "no failover");
            std::thread::sleep(Duration::from_millis(5));
        }
        Instant::now()
    }

    /// The node tells of a change within 100 ms of its acknowledgement. Of several, as a machine may be busy
    /// for a moment.
    fn tells_of_a_write(&self, at: usize, kept: &Kept) {
        std::thread::sleep(Duration::from_millis(200));
        let mut took: Vec<Duration> = (0..3)
            .map(|_| {
                let since = Instant::now();
                self.nodes[at].run(&format!("HSET {ALICE} password y"));
                let acknowledged = Instant::now();
                let told = eventually("Redis tells of the change", || kept.told(since));
                told.saturating_duration_since(acknowledged)
            })
            .collect();
        took.sort_unstable();
        assert!(took[1] < Duration::from_millis(100), "{took:?}");
    }

    fn moves(&self, from: usize, to: usize, meanwhile: impl FnOnce()) {
        let slot = slot(PREFIX).unwrap();
        let (old, new) = (self.id(from), self.id(to));
        self.nodes[to].run(&format!("CLUSTER SETSLOT {slot} IMPORTING {old}"));
        self.nodes[from].run(&format!("CLUSTER SETSLOT {slot} MIGRATING {new}"));
        std::thread::sleep(Duration::from_millis(300));
        let port = self.nodes[to].port;
        self.nodes[from].run(&format!("MIGRATE 127.0.0.1 {port} {ALICE} 0 1000"));
        meanwhile();
        for at in [to, from].into_iter().chain(1..self.masters) {
            self.nodes[at].run(&format!("CLUSTER SETSLOT {slot} NODE {new}"));
        }
    }
}

/// Options of redis-server: the user `gate`, with the rights that the module needs.
fn gate() -> Vec<&'static str> {
    let user = "--user gate on >pw ~{P}:* +hgetall +hmget +lrange +ping +hello +client|tracking \
                +cluster|slots +asking";
    user.split_ascii_whitespace().collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}

fn nothing_failed(load: &Load, kept: &Kept) {
    let why: Vec<&String> = load.failed.iter().map(|(_, why)| why).collect();
    assert_eq!(
        load.failed.len(),
        0,
        "of {}: {why:?}, {:?}",
        load.asked,
        kept.log()
    );
    assert!(load.asked > 200, "{}", load.asked);
}

#[test]
fn the_node_that_has_the_slot_is_found_from_any() {
    let mut cluster = Cluster::start(1, &[]);
    for at in [&[0][..], &[1], &[2], &[3], &[0, 1, 2, 3]] {
        let kept = Kept::of(cluster.endpoint(at), PREFIX);
        kept.comes_to(cluster.nodes[0].port);
    }
    // With one of three gone there is still a majority, and with two there is none.
    cluster.nodes[2].kill();
    assert_eq!(greet(&cluster.endpoint(&[1, 2]), PATIENCE), Ok(()));
    cluster.nodes[1].kill();
    let said = greet(&cluster.endpoint(&[0, 1, 2]), Duration::from_secs(1)).unwrap_err();
    for word in ["of 3 masters", "2 are needed", "Connection refused"] {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
}

#[test]
fn nodes_that_the_url_does_not_name_are_learned() {
    let mut cluster = Cluster::start(0, &[]);
    let kept = Kept::of(cluster.endpoint(&[1]), PREFIX);
    kept.comes_to(cluster.nodes[0].port);
    cluster.nodes[1].kill();
    let (_, first) = kept.ask("PING").unwrap();
    cluster.nodes[0].run("CLIENT KILL TYPE normal");
    eventually("there is a new connection", || {
        kept.ask("PING").filter(|(_, epoch)| *epoch > first)
    });
}

#[test]
fn the_users_rights_are_enough() {
    let cluster = Cluster::start(0, &gate());
    let passwords = |text: &[u8]| Passwords::one(Secret::new(text)).unwrap();
    let endpoint = cluster.endpoint(&[1]).with_user("gate");
    let right = endpoint.clone().with_passwords(passwords(b"pw"));
    let kept = Kept::of(right, PREFIX);
    eventually("a connection is there", || kept.ask("PING"));
    let said = greet(&endpoint.with_passwords(passwords(b"no")), Duration::from_secs(1)).unwrap_err();
    assert!(said.contains("no node of the Cluster says"), "{said}");
    assert!(said.contains("the log-in was refused"), "{said}");
    cluster.nodes.iter().for_each(|node| {
        node.run("ACL SETUSER gate -cluster|slots");
    });
    let right = cluster
        .endpoint(&[1])
        .with_user("gate")
        .with_passwords(passwords(b"pw"));
    let said = greet(&right, Duration::from_secs(1)).unwrap_err();
    assert!(
        said.contains("NOPERM") && said.contains("cluster|slots"),
        "{said}"
    );
}

#[test]
fn an_owner_that_is_killed_or_frozen_is_left_as_soon_as_there_is_another() {
    for is_frozen in [false, true] {
        let mut cluster = Cluster::start(1, &[]);
        let kept = cluster.kept();
        let other = cluster.nodes[3].port;
        let (begun, mut named) = (Instant::now(), None);
        let load = kept.load(&[ALICE, BOB], LIMIT, || {
            if is_frozen {
                cluster.nodes[0].freeze();
            } else {
                cluster.nodes[0].kill();
            }
            named = Some(cluster.agrees_on(other));
            kept.comes_to(other);
        });
        let named = named.unwrap();
        let last = load.failed.iter().map(|(when, _)| *when).max().unwrap();
        let late = last.saturating_duration_since(named);
        println!(
            "frozen: {is_frozen}: the Cluster took {:?}, and we {late:?} more; {} of {} failed",
            named - begun,
            load.failed.len(),
            load.asked
        );
        assert!(
            late < ADDED + LIMIT,
            "{late:?} (frozen: {is_frozen}): {:?}",
            kept.log()
        );
        cluster.tells_of_a_write(3, &kept);
        if is_frozen {
            // It comes back as a master, until it hears that it is none.
            let load = kept.load(&[ALICE, BOB], LIMIT, || cluster.nodes[0].thaw());
            nothing_failed(&load, &kept);
            kept.comes_to(other);
        }
    }
}

#[test]
fn a_planned_failover_fails_nothing() {
    let cluster = Cluster::start(1, &[]);
    let kept = cluster.kept();
    let load = kept.load(&[ALICE, BOB], LIMIT, || {
        cluster.nodes[3].run("CLUSTER FAILOVER");
        kept.comes_to(cluster.nodes[3].port);
    });
    nothing_failed(&load, &kept);
    cluster.tells_of_a_write(3, &kept);
}

#[test]
fn a_slot_that_moves_fails_nothing() {
    let cluster = Cluster::start(0, &gate());
    let passwords = Passwords::one(Secret::new(b"pw")).unwrap();
    let endpoint = cluster.endpoint(&[0, 1, 2]).with_user("gate");
    let kept = Kept::of(endpoint.with_passwords(passwords), PREFIX);
    eventually("a connection is there", || kept.ask("PING"));
    let load = kept.load(&[ALICE, BOB], LIMIT, || {
        cluster.moves(0, 1, || std::thread::sleep(Duration::from_secs(1)));
    });
    nothing_failed(&load, &kept);
    // Of a second and a bit, and half of them before.
    assert!(load.followed > 100, "{} of {}", load.followed, load.asked);
    cluster.tells_of_a_write(1, &kept);
}

#[test]
fn that_there_is_no_key_is_not_believed_once_its_slot_is_on_its_way() {
    let cluster = Cluster::start(0, &[]);
    let kept = cluster.kept();
    let begun = Instant::now();
    cluster.moves(0, 1, || {
        // Redis tells of the key that goes, and before that of nothing.
        let told = eventually("there is a first change", || kept.told(begun));
        let last = Instant::now();
        let slot = slot(PREFIX).unwrap();
        cluster.nodes[0].run(&format!("CLUSTER SETSLOT {slot} STABLE"));
        std::thread::sleep(Duration::from_millis(1200));
        assert!(kept.told(last).is_none(), "{:?}", told - begun);
        cluster.nodes[0].run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", cluster.id(1)));
        eventually("there is another change", || kept.told(last));
    });
}

#[test]
fn a_slot_may_go_to_a_node_that_is_new() {
    let mut cluster = Cluster::start(0, &[]);
    let kept = Kept::of(cluster.endpoint(&[1]), PREFIX);
    kept.comes_to(cluster.nodes[0].port);
    cluster.nodes.push(Cluster::node(&[]));
    cluster.meet(3);
    cluster.is_known_to_all();
    cluster.are_all("cluster_state:ok");
    let load = kept.load(&[ALICE, BOB], LIMIT, || {
        cluster.moves(0, 3, || ());
        kept.comes_to(cluster.nodes[3].port);
    });
    nothing_failed(&load, &kept);
    cluster.tells_of_a_write(3, &kept);
}

#[test]
fn an_owner_that_was_replaced_is_left_though_it_answers() {
    let cluster = Cluster::start(1, &["--cluster-require-full-coverage", "no"]);
    let kept = cluster.kept();
    let (old, new) = (&cluster.nodes[0], &cluster.nodes[3]);
    let load = kept.load(&[ALICE, BOB], LIMIT, || {
        // It hears no more of the others.
        for at in 1..4 {
            old.run(&format!("CLUSTER FORGET {}", cluster.id(at)));
        }
        new.run("CLUSTER FAILOVER TAKEOVER");
        let named = cluster.agrees_on(new.port);
        kept.comes_to(new.port);
        let late = named.elapsed();
        assert!(
            late < Duration::from_millis(1500),
            "{late:?} after the others knew"
        );
    });
    assert_eq!(cluster.owner(0), old.port, "it believes to have the slot");
    nothing_failed(&load, &kept);
    kept.says(&["connection lost", "name another that has the slot"]);
    cluster.tells_of_a_write(3, &kept);
}

/// A node of a Cluster that means ill names others without an end, each of which names more: all of them are
/// this one, at other addresses of this machine. How many connections there were, and how many at a time.
fn liar() -> (u16, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (made, most, open) = (Arc::default(), Arc::default(), Arc::new(AtomicUsize::new(0)));
    let (count, peak) = (Arc::<AtomicUsize>::clone(&made), Arc::<AtomicUsize>::clone(&most));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let number = count.fetch_add(1, Ordering::SeqCst);
            peak.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let open = Arc::clone(&open);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    let asked = buffer[..read].windows(5).filter(|word| *word == b"SLOTS");
                    for _ in asked {
                        let _ = stream.write_all(others(22 * number, port).as_bytes());
                    }
                }
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (port, made, most)
}

/// CLUSTER SLOTS: the first of these nodes has the slots, the next 8 are replicas, the others are masters.
fn others(from: usize, port: u16) -> String {
    let node = |n: usize| {
        let address = format!("127.0.{}.{}", n / 250 % 200, 2 + n % 250);
        format!("*2\r\n${}\r\n{address}\r\n:{port}\r\n", address.len())
    };
    let nodes: String = (from..from + 9).map(node).collect();
    let masters = (from + 9..from + 22).map(|n| format!("*3\r\n:20000\r\n:20000\r\n{}", node(n)));
    format!(
        "*14\r\n*11\r\n:0\r\n:16383\r\n{nodes}{}",
        masters.collect::<String>()
    )
}

#[test]
fn one_node_does_not_have_us_connect_to_any_number_of_others() {
    let (port, made, most) = liar();
    let endpoint = Endpoint::parse(&format!("redis+cluster://127.0.0.1:{port}")).unwrap();
    let kept = Kept::of(endpoint.with_prefix("{P}").unwrap(), "{P}");
    eventually("it has asked again and again", || {
        (made.load(Ordering::SeqCst) > 600).then_some(())
    });
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 128, "{most} connections at a time");
    kept.says(&["masters name a node that has slot"]);
}
