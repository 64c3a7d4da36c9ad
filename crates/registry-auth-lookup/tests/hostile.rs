//! What becomes of lookups where a server of Redis's protocol does not keep to it, or means ill: an answer
//! comes to no end, or is too large, or has our log-in in it.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod common;

use common::{Gate, SHA1_SECRET, Server, is_known, options, tracked, verified};
use registry_auth_lookup::{Changes, Event, LookupOptions, Outcome, Rung};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Answers each command by its words, on the connection of this number: as Redis does where that says `None`.
type Answer = fn(number: usize, words: &[String]) -> Option<String>;

/// A server that has one user, alice.
fn server(answer: Answer) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let made = AtomicUsize::new(0);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let number = made.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || serve(stream, |words| answer(number, words)));
        }
    });
    port
}

/// Until either end of the connection is gone.
fn serve(stream: TcpStream, answer: impl Fn(&[String]) -> Option<String>) -> Option<()> {
    let mut to = stream.try_clone().ok()?;
    let mut from = BufReader::new(stream);
    let mut is_resp3 = false;
    loop {
        let words = words(&mut from)?;
        is_resp3 |= words.first().is_some_and(|word| word == "HELLO");
        let said = answer(&words).unwrap_or_else(|| honest(&words, is_resp3));
        to.write_all(said.as_bytes()).ok()?;
    }
}

fn words(from: &mut impl BufRead) -> Option<Vec<String>> {
    let mut line = String::new();
    let mut number = |from: &mut dyn BufRead| {
        line.clear();
        from.read_line(&mut line).ok()?;
        line.get(1..)?.trim().parse::<usize>().ok()
    };
    let count = number(from)?;
    let word = |_| {
        let mut word = vec![0; number(from)? + 2];
        from.read_exact(&mut word).ok()?;
        word.truncate(word.len() - 2);
        String::from_utf8(word).ok()
    };
    (0..count).map(word).collect()
}

fn honest(words: &[String], is_resp3: bool) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let hash = |fields: usize| match is_resp3 {
        true => format!("%{fields}\r\n"),
        false => format!("*{}\r\n", 2 * fields),
    };
    match words[..] {
        ["HELLO", ..] => "%1\r\n+role\r\n+master\r\n".to_owned(),
        ["PING"] => "+PONG\r\n".to_owned(),
        ["SUBSCRIBE", _] => "*3\r\n$9\r\nsubscribe\r\n$9\r\nP:changes\r\n:1\r\n".to_owned(),
        ["LRANGE", ..] => "*0\r\n".to_owned(),
        ["HMGET", _, ..] => format!("*{}\r\n{}", words.len() - 2, "$-1\r\n".repeat(words.len() - 2)),
        ["HGETALL", "P:user:alice"] => {
            let password = format!("$8\r\npassword\r\n${}\r\n{SHA1_SECRET}\r\n", SHA1_SECRET.len());
            hash(1) + &password
        }
        ["HGETALL", _] => hash(0),
        _ => "+OK\r\n".to_owned(),
    }
}

/// With nginx's own limits.
fn brisk(options: LookupOptions) -> LookupOptions {
    LookupOptions {
        timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_millis(500),
        ..options
    }
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// The connection is left on which bob is asked about, and the next one is used.
fn is_left(answer: Answer, why: &str) {
    let port = server(answer);
    for options in [options(&url(port)), tracked(&url(port))] {
        let mut gate = Gate::with(brisk(options));
        assert_eq!(gate.ask("bob", "secret"), Outcome::Unavailable);
        assert!(verified(&gate.ask_until("alice", "secret", is_known)));
        gate.logged(why);
    }
}

/// On each second connection, so that each gate meets it once.
fn about_bob(number: usize, words: &[String], answer: &str) -> Option<String> {
    (number.is_multiple_of(2) && words.last().is_some_and(|word| word == "P:user:bob"))
        .then(|| answer.to_owned())
}

/// All that comes later is a part of it, whatever it says: answers, and what changes.
#[test]
fn a_connection_is_left_whose_answer_has_no_end() {
    let why = "for 1.5s its answer came with less than 64 KiB a second";
    is_left(|n, words| about_bob(n, words, "*1000000\r\n"), why);
    is_left(|n, words| about_bob(n, words, "%100000\r\n"), why);
    is_left(|n, words| about_bob(n, words, "$30000000\r\n"), why);
    // As much as would be thrown away.
    is_left(|n, words| about_bob(n, words, "*1100000\r\n"), why);
    is_left(|n, words| about_bob(n, words, "$40000000\r\n"), why);
}

/// Who is known stays known, as the connection stays; and the record is not asked for each time.
#[test]
fn a_record_that_is_too_large_is_unreadable_and_nobody_else_notices() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    for (number, field) in [(0, "password"), (1, "x"), (2, "y")] {
        let value = if number == 0 {
            SHA1_SECRET.to_owned()
        } else {
            "x".repeat(20 << 20)
        };
        redis.run_args(&["HSET", "P:user:bob", field, &value]);
    }
    let many = "for i = 1, 140000 do redis.call('HSET', KEYS[1], i, 1) end";
    redis.run_args(&["EVAL", many, "1", "P:user:carol"]);
    for (options, name) in [
        (options(&redis.url()), "bob"),
        (tracked(&redis.url()), "bob"),
        (tracked(&redis.url()), "carol"),
    ] {
        let mut gate = Gate::with(options);
        assert!(verified(&gate.ask_until("alice", "secret", is_known)));
        gate.ask_until(name, "secret", |outcome| *outcome == Outcome::BadRecord);
        let said = gate.logged(&format!("record P:user:{name} cannot be read"));
        assert!(
            said.contains("it is larger than 32 MiB, or has more than 262144 values"),
            "{said}"
        );
        let (before, asked) = (redis.calls("hgetall"), 20);
        for _ in 0..asked {
            assert_eq!(gate.ask(name, "wrong"), Outcome::BadRecord);
            assert!(verified(&gate.ask("alice", "secret")));
        }
        // Of everybody's group each time, and of alice: twice only, of the other, if that takes 10 s.
        let calls = redis.calls("hgetall") - before;
        assert!(calls < 3 * asked + asked / 2, "{calls}");
        assert_not_lost(&gate);
    }
}

/// The connection is the first one.
#[track_caller]
fn assert_not_lost(gate: &Gate) {
    let lost = |event: &Event| matches!(event, Event::ConnectionLost);
    assert!(!gate.events.iter().any(lost), "{:?}", gate.events);
    assert!(
        !gate.log.iter().any(|line| line.message.contains("lost")),
        "{:?}",
        gate.log
    );
}

/// Redis, behind a line of so many bytes a second.
fn slow_line(redis: u16, rate: usize) -> u16 {
    let line = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = line.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in line.incoming() {
            let (mut client, mut server) =
                (client.unwrap(), TcpStream::connect(("127.0.0.1", redis)).unwrap());
            let (mut to, mut from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || {
                let mut part = vec![0; rate / 50];
                while let Ok(read @ 1..) = server.read(&mut part) {
                    if client.write_all(part.get(..read).unwrap()).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_secs(1).mul_f64(read as f64 / rate as f64));
                }
            });
        }
    });
    port
}

/// It takes 5 s. Who is known stays known, and the others are answered when it is there.
#[test]
fn a_large_answer_on_a_slow_line_is_no_silence() {
    let redis = Server::start();
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    redis.run_args(&[
        "HSET",
        "P:user:bob",
        "password",
        SHA1_SECRET,
        "x",
        &"x".repeat(2_000_000),
    ]);
    let mut gate = Gate::with(brisk(tracked(&url(slow_line(redis.port, 400_000)))));
    assert!(gate.armed());
    assert_eq!(gate.ask("bob", "secret"), Outcome::Unavailable);
    assert!(verified(&gate.ask_until("alice", "secret", is_known)));
    assert_not_lost(&gate);
}

#[test]
fn an_answer_that_is_too_large_is_not_awaited() {
    for answer in [
        (|n, words| about_bob(n, words, "$30000000000\r\n")) as Answer,
        |n, words| about_bob(n, words, "*9223372036854775807\r\n"),
        |n, words| about_bob(n, words, "|9223372036854775807\r\n"),
        |n, words| about_bob(n, words, "=-1\r\n$99999999999\r\n"),
    ] {
        is_left(answer, "an answer of the server is larger than 512 MiB");
    }
}

/// It tells, and so is not silent, but answers nothing from then on.
#[test]
fn a_connection_is_left_on_which_nothing_is_answered() {
    static TELLS: AtomicUsize = AtomicUsize::new(0);
    let port = server(|number, words| {
        let is_about_bob = words.last().is_some_and(|word| word == "P:user:bob");
        if number > 0 || !is_about_bob && TELLS.load(Ordering::SeqCst) == 0 {
            return None;
        }
        TELLS.store(1, Ordering::SeqCst);
        Some(String::new())
    });
    let there = telling(port, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$10\r\nP:user:bob\r\n");
    let mut gate = Gate::with(brisk(tracked(&url(there))));
    assert!(gate.armed());
    assert_eq!(gate.ask("bob", "secret"), Outcome::Unavailable);
    gate.told(|event| matches!(event, Event::ConnectionLost));
    gate.logged("has answered nothing for 4s");
    assert!(verified(&gate.ask_until("alice", "secret", is_known)));
}

/// The same on the connection on which Redis publishes what changes, the second one.
#[test]
fn a_connection_for_changes_is_left_on_which_nothing_is_answered() {
    let port = server(|number, words| {
        let is_mute = number == 1 && words.first().is_some_and(|word| word == "PING");
        is_mute.then(String::new)
    });
    let there = telling(
        port,
        "*3\r\n$7\r\nmessage\r\n$9\r\nP:changes\r\n$10\r\nP:user:bob\r\n",
    );
    let mut gate = Gate::with(LookupOptions {
        changes: Some(Changes::Channel),
        ..brisk(options(&url(there)))
    });
    assert_eq!(gate.rung(), Rung::Channel);
    gate.logged("the connection for changes: it says things, but has answered nothing for 4s");
    gate.told(|event| matches!(event, Event::ConnectionLost));
}

/// Leads to a server, and says this in the pauses of its answers where changes are to be told.
fn telling(port: u16, change: &'static str) -> u16 {
    let valve = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = valve.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in valve.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            std::thread::spawn(move || pass(client, server, change));
        }
    });
    there
}

fn pass(client: TcpStream, server: TcpStream, change: &'static str) -> Option<()> {
    let (mut to, mut from) = (server.try_clone().ok()?, client.try_clone().ok()?);
    let tells = Arc::new(AtomicBool::new(false));
    let is_telling = Arc::clone(&tells);
    std::thread::spawn(move || speak(server, client, change, &is_telling));
    let mut buffer = [0; 4096];
    loop {
        let read = from.read(&mut buffer).ok().filter(|read| *read > 0)?;
        let words = buffer.get(..read)?;
        let wants = |word: &[u8]| words.windows(word.len()).any(|part| part == word);
        to.write_all(words).ok()?;
        if wants(b"TRACKING") || wants(b"SUBSCRIBE") {
            tells.store(true, Ordering::SeqCst);
        }
    }
}

/// Passes on what comes, and in the pauses says that something changes.
fn speak(mut server: TcpStream, mut client: TcpStream, change: &str, tells: &AtomicBool) -> Option<()> {
    let pause = Duration::from_millis(100);
    server.set_read_timeout(Some(pause)).ok()?;
    let mut buffer = [0; 4096];
    loop {
        match server.read(&mut buffer) {
            Ok(0) => return None,
            Ok(read) => client.write_all(buffer.get(..read)?).ok()?,
            Err(_) if tells.load(Ordering::SeqCst) => client.write_all(change.as_bytes()).ok()?,
            Err(_) => {}
        }
    }
}

/// Redis repeats the words of a command that it does not know, and others may repeat any.
#[test]
fn no_log_line_has_the_password_that_a_server_repeats() {
    let repeats: [Answer; 8] = [
        |_, words| {
            let is_log_in = words.first().is_some_and(|word| word == "HELLO");
            let words = words.get(1..)?.join("' '");
            is_log_in
                .then(|| format!("-ERR unknown command 'HELLO', with args beginning with: '{words}' \r\n"))
        },
        |_, words| Some(format!("-ERR what is {}\r\n", words.join(" "))),
        |_, words| Some(format!("-WRONGPASS {}\r\n", words.join(" "))),
        |_, words| Some(format!("-NOPROTO {}\r\n", words.join(" "))),
        // What it has heard it may say later.
        |_, words| (words.first()? == "PING").then(|| "-ERR AUTH gate very-secret\r\n".to_owned()),
        |_, words| (words.first()? == "CLIENT").then(|| "-ERR AUTH gate very-secret\r\n".to_owned()),
        |_, words| (words.first()? == "HGETALL").then(|| "-ERR AUTH gate very-secret\r\n".to_owned()),
        |_, words| (words.first()? == "HGETALL").then(|| "-very-secret\r\n".to_owned()),
    ];
    let said = ["no RESP3", "log-in", "cannot connect", "log-in"];
    let later = ["cannot connect", "not shown", "Redis refuses", "Redis refuses"];
    for (answer, said) in repeats.into_iter().zip(said.into_iter().chain(later)) {
        let url = format!("redis://gate:very-secret@127.0.0.1:{}", server(answer));
        let mut gate = Gate::with(brisk(tracked(&url)));
        gate.submit("alice", "secret");
        let log = gate.logged(said);
        assert!(!log.contains("very-secret"), "{log}");
    }
}

/// A server whose administrator has taken HELLO away.
#[test]
fn redis_without_hello_is_used_and_the_password_is_not_in_the_log() {
    let redis = Server::with(&["--rename-command", "HELLO", ""]);
    redis.run_args(&[
        "ACL",
        "SETUSER",
        "gate",
        "on",
        ">very-secret",
        "~*",
        "&*",
        "+@all",
    ]);
    redis.run_args(&["HSET", "P:user:alice", "password", SHA1_SECRET]);
    let url = format!("redis://gate:very-secret@127.0.0.1:{}", redis.port);
    let mut gate = Gate::with(tracked(&url));
    let log = gate.logged("no RESP3: ERR unknown command 'HELLO'");
    assert!(!log.contains("very-secret"), "{log}");
    assert!(verified(&gate.ask_until("alice", "secret", is_known)));
}
