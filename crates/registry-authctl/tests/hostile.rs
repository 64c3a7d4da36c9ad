//! What the tool says where a server of Redis's protocol means ill: an answer is too large, a scan comes to
//! no end, the password is repeated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Ran, Redis, run};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// A server that answers so to each command by its words, and else as Redis does that is empty.
fn server(answer: fn(&[&str]) -> Option<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://gate:very-secret@{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, answer));
        }
    });
    url
}

fn serve(stream: TcpStream, answer: fn(&[&str]) -> Option<String>) -> Option<()> {
    let mut to = stream.try_clone().ok()?;
    let mut from = BufReader::new(stream);
    loop {
        let mut line = String::new();
        let mut number = |from: &mut BufReader<TcpStream>| {
            line.clear();
            from.read_line(&mut line).ok()?;
            line.get(1..)?.trim().parse::<usize>().ok()
        };
        let words: Option<Vec<String>> = (0..number(&mut from)?)
            .map(|_| {
                let mut word = vec![0; number(&mut from)? + 2];
                from.read_exact(&mut word).ok()?;
                word.truncate(word.len() - 2);
                String::from_utf8(word).ok()
            })
            .collect();
        let words = words?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = answer(&words).unwrap_or_else(|| {
            match words[0] {
                "PING" => "+PONG\r\n",
                "SCAN" | "HSCAN" => "*2\r\n$1\r\n0\r\n*0\r\n",
                "LRANGE" | "HGETALL" => "*0\r\n",
                _ => "+OK\r\n",
            }
            .to_owned()
        });
        to.write_all(said.as_bytes()).ok()?;
    }
}

fn list(answer: fn(&[&str]) -> Option<String>) -> Ran {
    run(&["--redis", &server(answer), "user", "list"], None)
}

#[test]
fn an_answer_that_is_far_too_large_is_named() {
    let said = list(|words| (words[0] == "HSCAN").then(|| "$99999999999\r\n".to_owned())).fails(1);
    assert!(
        said.contains("an answer of the server is larger than 512 MiB"),
        "{said}"
    );
    let said = list(|words| (words[0] == "AUTH").then(|| "$99999999999\r\n".to_owned())).fails(1);
    assert!(
        said.contains("an answer of the server is larger than 512 MiB"),
        "{said}"
    );
}

#[test]
fn a_scan_that_comes_to_no_end_is_given_up() {
    for answer in [
        (|words| (words[0] == "SCAN").then(|| "*2\r\n$2\r\n17\r\n*0\r\n".to_owned()))
            as fn(&[&str]) -> Option<String>,
        |words| (words[0] == "HSCAN").then(|| "*2\r\n$2\r\n17\r\n*0\r\n".to_owned()),
        // Two cursors that lead to each other.
        |words| {
            let next = if words.contains(&"17") { "18" } else { "17" };
            (words[0] == "SCAN").then(|| format!("*2\r\n$2\r\n{next}\r\n*0\r\n"))
        },
    ] {
        let said = list(answer).fails(1);
        assert!(
            said.contains("its scan comes to no end: it named a cursor twice"),
            "{said}"
        );
    }
}

#[test]
fn no_error_shows_the_password() {
    for answer in [
        (|words| (words[0] == "PING").then(|| "-ERR AUTH gate very-secret\r\n".to_owned()))
            as fn(&[&str]) -> Option<String>,
        |words| (words[0] == "HSCAN").then(|| "-NOPERM gate very-secret\r\n".to_owned()),
        |words| (words[0] == "SCAN").then(|| "-very-secret\r\n".to_owned()),
    ] {
        let said = list(answer).fails(1);
        assert!(
            said.contains("its words are not shown") && !said.contains("very-secret"),
            "{said}"
        );
    }
}

/// Which the module cannot read either.
#[test]
fn a_record_that_is_too_large_is_named() {
    let redis = Redis::start();
    redis.add("alice");
    redis.add("bob");
    for field in ["x", "y"] {
        redis.run::<()>(&["HSET", "P:user:bob", field, &"x".repeat(20 << 20)]);
    }
    let said = redis.tool(&["user", "show", "bob"]).fails(1);
    assert!(
        said.contains("P:user:bob") && said.contains("it is larger than 32 MiB"),
        "{said}"
    );
    assert!(redis.tool(&["user", "show", "alice"]).ok().contains("alice"));
    let checked = redis.tool(&["check"]);
    assert!(checked.out.contains("P:user:bob"), "{}", checked.out);
}
