//! How Redis tells what changes: each rung of the ladder, by servers, users and proxies that allow no better
//! one; and that a change of which it tells counts at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Gate, PATIENCE, SHA1_SECRET, Server, free_port, tracked, user_record, verified};
use registry_auth_lookup::{Changed, Changes, Event, LookupOptions, Rung};
use registry_auth_redis::log::Level;
use registry_auth_redis::{Passwords, Secret};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// From a change that Redis has acknowledged to its event.
const TOLD: Duration = Duration::from_millis(100);

fn user(name: &str) -> Changed {
    Changed::User {
        prefix: "P".into(),
        name: name.into(),
    }
}

fn with(url: &str, changes: Changes) -> LookupOptions {
    LookupOptions {
        changes: Some(changes),
        ..tracked(url)
    }
}

/// The options with a user of Redis who may do what lookups need, and `more`.
fn as_user(redis: &Server, mut options: LookupOptions, more: &str) -> LookupOptions {
    let acl =
        "ACL SETUSER gate on >password resetkeys ~P:* resetchannels -@all +hgetall +hmget +lrange +ping";
    redis.run(&format!("{acl} {more}"));
    let endpoint = options.endpoint.with_user("gate");
    options.endpoint = endpoint.with_passwords(Passwords::one(Secret::new(b"password")).unwrap());
    options
}

/// What the tool does: a change, and its news, in one transaction.
fn change_and_publish(redis: &Server, name: &str, groups: &str) {
    let key = format!("P:user:{name}");
    redis::pipe()
        .atomic()
        .cmd("HSET")
        .arg(&key)
        .arg("groups")
        .arg(groups)
        .cmd("PUBLISH")
        .arg("P:changes")
        .arg(&key)
        .exec(&mut redis.connection())
        .unwrap();
}

/// Some changes, each told, most within the promised time after the server's own, and each answer after it a
/// new one.
fn tells(gate: &mut Gate, change: impl Fn(&str)) {
    let mut took = Vec::new();
    for n in 0..5 {
        assert!(verified(&gate.ask("alice", "secret")));
        gate.events.clear();
        let groups = format!("g{n}");
        let since = Instant::now();
        change(&groups);
        let acknowledged = since.elapsed();
        let told = gate.told(|event| matches!(event, Event::Changed(_)));
        took.push(since.elapsed().saturating_sub(acknowledged));
        assert!(matches!(told, Event::Changed(keys) if keys == [user("alice")]));
        assert_eq!(user_record(&gate.ask("alice", "secret")).groups, [groups]);
    }
    // Of a machine that is busy for a moment, that says nothing.
    took.sort_unstable();
    assert!(took[took.len() / 2] < TOLD, "{took:?}");
}

fn alice(redis: &Server) {
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
}

/// Lines of the log about how Redis tells what changes.
fn remarks(gate: &mut Gate) -> Vec<(Level, String)> {
    gate.settle();
    let lines = gate
        .log
        .iter()
        .filter(|line| line.message.contains(" what changes"));
    let others = gate
        .log
        .iter()
        .filter(|line| line.message.contains(" what registry-authctl changes"));
    lines
        .chain(others)
        .map(|line| (line.level, line.message.clone()))
        .collect()
}

#[test]
fn broadcast_tells_all_and_is_said_once() {
    let redis = Server::start();
    alice(&redis);
    for changes in [Changes::Auto, Changes::Tracking] {
        let mut gate = Gate::with(with(&redis.url(), changes));
        assert_eq!(gate.rung(), Rung::Broadcast);
        tells(&mut gate, |groups| {
            drop(redis.run_args(&["HSET", "P:user:alice", "groups", groups]))
        });
        redis.run("CLIENT KILL TYPE normal SKIPME yes");
        assert_eq!(gate.rung(), Rung::Broadcast);
        let remarks = remarks(&mut gate);
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert_eq!(remarks[0].0, Level::Notice);
    }
}

/// Between a client and a Redis, what a server without BCAST, or without TRACKING, is like: it refuses a
/// command that has one of these words.
fn refusing(to: u16, words: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", to)).unwrap());
            let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
            std::thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                while let Ok(read @ 1..) = client.read(&mut buffer) {
                    let sent = &buffer[..read];
                    let has = |word: &&str| sent.windows(word.len()).any(|part| part == word.as_bytes());
                    // Nothing else is under way: this is asked by itself.
                    let passed = match words.iter().any(has) {
                        true => client.write_all(b"-ERR syntax error\r\n"),
                        false => server.write_all(sent),
                    };
                    if passed.is_err() {
                        break;
                    }
                }
                let _ = server.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    port
}

#[test]
fn a_server_without_bcast_tells_of_what_was_asked_for() {
    let redis = Server::start();
    alice(&redis);
    let url = format!("redis://127.0.0.1:{}", refusing(redis.port, &["BCAST"]));
    for changes in [Changes::Auto, Changes::Tracking] {
        let mut gate = Gate::with(with(&url, changes));
        assert_eq!(gate.rung(), Rung::Tracking);
        tells(&mut gate, |groups| {
            drop(redis.run_args(&["HSET", "P:user:alice", "groups", groups]))
        });
        // Of other keys of the answer, and of an empty one, too.
        gate.ask("alice", "secret");
        redis.run("RPUSH P:backends h:1");
        let backends = Changed::Backends { prefix: "P".into() };
        gate.told(|event| matches!(event, Event::Changed(keys) if *keys == [backends.clone()]));
        gate.ask("nobody", "secret");
        redis.run("HSET P:user:nobody groups x");
        gate.told(|event| matches!(event, Event::Changed(keys) if *keys == [user("nobody")]));
        redis.run("DEL P:user:nobody P:backends");
        let remarks = remarks(&mut gate);
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(remarks[0].1.contains("(ERR syntax error)"), "{remarks:?}");
    }
}

#[test]
fn the_channel_tells_what_is_published() {
    let redis = Server::start();
    alice(&redis);
    let options = as_user(
        &redis,
        with(&redis.url(), Changes::Auto),
        "+hello &P:changes +subscribe",
    );
    let mut gate = Gate::with(options);
    assert_eq!(gate.rung(), Rung::Channel);
    tells(&mut gate, |groups| change_and_publish(&redis, "alice", groups));
    redis.run("PUBLISH P:changes *");
    gate.told(|event| matches!(event, Event::AllChanged));
    redis.run("PUBLISH Q:changes P:user:alice");
    gate.settle();
    assert!(gate.events.is_empty(), "{:?}", gate.events);
    let remarks = remarks(&mut gate);
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert!(
        remarks[0].0 == Level::Warn && remarks[0].1.contains("NOPERM"),
        "{remarks:?}"
    );
}

#[test]
fn the_channel_can_be_asked_for_and_its_loss_is_a_loss() {
    let redis = Server::start();
    alice(&redis);
    let mut gate = Gate::with(with(&redis.url(), Changes::Channel));
    assert_eq!(gate.rung(), Rung::Channel);
    for _ in 0..3 {
        tells(&mut gate, |groups| change_and_publish(&redis, "alice", groups));
        redis.run("CLIENT KILL TYPE pubsub");
        gate.told(|event| matches!(event, Event::ConnectionLost));
        assert_eq!(gate.rung(), Rung::Channel);
        tells(&mut gate, |groups| change_and_publish(&redis, "alice", groups));
        redis.run("CLIENT KILL TYPE normal SKIPME yes");
        gate.told(|event| matches!(event, Event::ConnectionLost));
        assert_eq!(gate.rung(), Rung::Channel);
    }
    assert_eq!(remarks(&mut gate).len(), 1);
}

#[test]
fn a_sleep_leaves_the_channel_as_it_was() {
    let redis = Server::start();
    alice(&redis);
    let mut gate = Gate::with(LookupOptions {
        timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_millis(500),
        ..with(&redis.url(), Changes::Channel)
    });
    assert_eq!(gate.rung(), Rung::Channel);
    for nap in [600, 3000] {
        redis.freeze();
        std::thread::sleep(Duration::from_millis(nap));
        redis.thaw();
        tells(&mut gate, |groups| change_and_publish(&redis, "alice", groups));
    }
    gate.settle();
    assert!(gate.events.is_empty(), "{:?}", gate.events);
}

#[test]
fn a_user_without_any_right_to_hear_lives_by_ttl_until_given_one() {
    let redis = Server::start();
    alice(&redis);
    let mut gate = Gate::with(as_user(&redis, with(&redis.url(), Changes::Auto), "+hello"));
    assert_eq!(gate.rung(), Rung::Ttl);
    let ticket = gate.submit("alice", "secret");
    let done = gate.completion(ticket);
    assert!(verified(&done.outcome) && done.cacheable);
    // On the same connection, step by step.
    redis.run("ACL SETUSER gate &P:changes +subscribe");
    assert_eq!(gate.rung(), Rung::Channel);
    tells(&mut gate, |groups| change_and_publish(&redis, "alice", groups));
    redis.run("ACL SETUSER gate +client|tracking");
    assert_eq!(gate.rung(), Rung::Broadcast);
    gate.events.clear();
    tells(&mut gate, |groups| {
        drop(redis.run_args(&["HSET", "P:user:alice", "groups", groups]))
    });
    assert!(
        !gate
            .events
            .iter()
            .any(|event| matches!(event, Event::ConnectionLost))
    );
    let levels: Vec<Level> = gate
        .log
        .iter()
        .filter(|line| line.message.contains("tell"))
        .map(|line| line.level)
        .collect();
    assert_eq!(levels, [Level::Warn, Level::Warn, Level::Notice]);
}

#[test]
fn what_is_not_wanted_is_not_used() {
    let redis = Server::start();
    // Tracking only, and no right to it.
    let options = with(&redis.url(), Changes::Tracking);
    let mut gate = Gate::with(as_user(&redis, options, "+hello &P:changes +subscribe"));
    assert_eq!(gate.rung(), Rung::Ttl);
    // The channel only, and no right to it.
    let options = with(&redis.url(), Changes::Channel);
    let mut gate = Gate::with(as_user(&redis, options, "+hello +client|tracking"));
    assert_eq!(gate.rung(), Rung::Ttl);
}

#[test]
fn resp2_has_the_channel() {
    let redis = Server::with(&["--rename-command", "HELLO", ""]);
    alice(&redis);
    let mut gate = Gate::with(tracked(&redis.url()));
    assert_eq!(gate.rung(), Rung::Channel);
    tells(&mut gate, |groups| change_and_publish(&redis, "alice", groups));
    let remarks = remarks(&mut gate);
    assert!(
        remarks.len() == 1 && remarks[0].1.contains("no RESP3"),
        "{remarks:?}"
    );
}

/// A proxy of a Debian package, in front of a Redis.
struct Proxy {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    /// Starts a program with `conf`, in which `PORT` is its port.
    fn start(program: &str, arguments: &[&str], conf: &str) -> Self {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let file = dir.path().join("conf");
        std::fs::write(&file, conf.replace("PORT", &port.to_string())).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(&file).current_dir(dir.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "{program} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self {
            child,
            port,
            _dir: dir,
        }
    }
}

/// twemproxy knows neither HELLO, CLIENT nor SUBSCRIBE, and hangs up on each of them.
#[test]
fn twemproxy_is_served_by_ttl_and_keeps_its_connection() {
    let redis = Server::start();
    alice(&redis);
    let conf = format!(
        "pool:\n  listen: 127.0.0.1:PORT\n  hash: fnv1a_64\n  distribution: ketama\n  redis: true\n  \
         servers:\n   - 127.0.0.1:{}:1\n",
        redis.port
    );
    let stats = free_port().to_string();
    let arguments = ["-o", "log", "-p", "pid", "-s", &stats, "-a", "127.0.0.1", "-c"];
    let proxy = Proxy::start("/usr/sbin/nutcracker", &arguments, &conf);
    let mut gate = Gate::with(tracked(&format!("redis://127.0.0.1:{}", proxy.port)));
    assert_eq!(gate.rung(), Rung::Ttl);
    assert!(verified(&gate.ask("alice", "secret")));
    redis.run("HSET P:user:alice groups team");
    assert_eq!(user_record(&gate.ask("alice", "secret")).groups, ["team"]);
    // For longer than it takes until a better rung is looked for.
    let until = Instant::now() + Duration::from_secs(12);
    while Instant::now() < until {
        assert!(verified(&gate.ask("alice", "secret")));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(gate.events.is_empty(), "{:?}", gate.events);
    let remarks = remarks(&mut gate);
    assert!(remarks.len() == 1 && remarks[0].0 == Level::Warn, "{remarks:?}");
}

/// HAProxy passes all on, and ends connections on which nothing is said for long.
#[test]
fn haproxy_changes_nothing() {
    let redis = Server::start();
    alice(&redis);
    let conf = format!(
        "defaults\n mode tcp\n timeout connect 1s\n timeout client 2s\n timeout server 2s\n\
         frontend in\n bind 127.0.0.1:PORT\n default_backend redis\n\
         backend redis\n server one 127.0.0.1:{}\n",
        redis.port
    );
    let proxy = Proxy::start("/usr/sbin/haproxy", &["-db", "-f"], &conf);
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    for (changes, rung) in [
        (Changes::Auto, Rung::Broadcast),
        (Changes::Channel, Rung::Channel),
    ] {
        let mut gate = Gate::with(with(&url, changes));
        assert_eq!(gate.rung(), rung);
        // Its patience is shorter than this.
        std::thread::sleep(Duration::from_secs(4));
        tells(&mut gate, |groups| change_and_publish(&redis, "alice", groups));
        gate.settle();
        let lost = gate
            .events
            .iter()
            .any(|event| matches!(event, Event::ConnectionLost));
        assert!(!lost, "{:?}", gate.events);
    }
}
