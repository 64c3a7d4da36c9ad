//! The question for a password, on real terminals: what is typed is not shown, and whatever ends the tool,
//! the terminal echoes again.

mod common;

use common::Redis;
use common::terminal::Terminal;
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;

/// The tool on a terminal of its own.
fn tool(redis: &Redis, args: &[&str]) -> Terminal {
    let url = redis.url();
    let options = ["--redis", &url, "--prefix", "P"];
    let command = [&[env!("CARGO_BIN_EXE_registry-authctl")], &options[..], args].concat();
    Terminal::run(&command, &[])
}

#[test]
fn signals_end_the_question_and_the_terminal_echoes_again() {
    let redis = Redis::start();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        for question in [1, 2] {
            let mut terminal = tool(&redis, &["user", "add", "alice"]);
            terminal.asked("Password of alice: ");
            if question == 2 {
                terminal.types("correct horse\n");
                terminal.asked("Again: ");
            }
            terminal.signal(signal);
            let status = terminal.ends();
            // The shell sees that it was a signal.
            assert_eq!(status.signal(), Some(signal.as_raw()), "{status:?}");
            assert!(terminal.echoes(), "{signal:?} at question {question}");
            assert!(!terminal.shown.contains("correct horse"), "{}", terminal.shown);
        }
    }
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
}

#[test]
fn ctrl_c_interrupts_and_the_terminal_echoes_again() {
    let redis = Redis::start();
    let mut terminal = tool(&redis, &["user", "add", "alice"]);
    terminal.asked("Password of alice: ");
    terminal.types("secr\x03");
    assert_eq!(terminal.ends().signal(), Some(Signal::INT.as_raw()));
    assert!(terminal.echoes());
}

#[test]
fn ctrl_d_says_that_nothing_was_typed() {
    let redis = Redis::start();
    let mut terminal = tool(&redis, &["user", "add", "alice"]);
    terminal.asked("Password of alice: ");
    terminal.types("\x04");
    terminal.sees("no password was typed; nothing was changed");
    assert_eq!(terminal.ends().code(), Some(1));
    assert!(terminal.echoes());
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
}

#[test]
fn what_is_typed_is_asked_twice_and_not_shown() {
    let redis = Redis::start();
    let mut terminal = tool(&redis, &["user", "add", "alice", "--hash", "bcrypt"]);
    terminal.asked("Password of alice: ");
    terminal.types("open sesame\n");
    terminal.asked("Again: ");
    terminal.types("open sesame\n");
    terminal.sees("user alice added");
    assert!(terminal.ends().success());
    assert!(!terminal.shown.contains("sesame"), "{}", terminal.shown);
    assert_eq!(redis.login("alice", "open sesame"), Some(true));
    let mut terminal = tool(&redis, &["user", "passwd", "alice"]);
    terminal.asked("Password of alice: ");
    terminal.types("open sesame 1\n");
    terminal.asked("Again: ");
    terminal.types("open sesame 2\n");
    terminal.sees("the passwords differ");
    assert_eq!(terminal.ends().code(), Some(1));
    assert_eq!(redis.login("alice", "open sesame"), Some(true));
}
