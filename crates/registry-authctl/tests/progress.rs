//! A bar for what takes long: on a terminal, and nowhere else.

mod common;

use common::Redis;
use common::terminal::Terminal;

/// A Redis with a user, which answers nothing for longer than the tool waits with its bar.
fn slow() -> Redis {
    let redis = Redis::start();
    redis.add("alice");
    let _: () = redis.run(&["CLIENT", "PAUSE", "900", "ALL"]);
    redis
}

#[test]
fn what_takes_long_shows_a_bar_on_a_terminal() {
    let redis = slow();
    let url = redis.url();
    let tool = env!("CARGO_BIN_EXE_registry-authctl");
    let mut terminal = Terminal::run(
        &[tool, "--redis", &url, "--prefix", "P", "group", "add", "team"],
        &[("TERM", "xterm")],
    );
    terminal.sees("reading users");
    terminal.sees("group team added");
    assert!(terminal.ends().success());
}

#[test]
fn elsewhere_there_is_none() {
    let redis = slow();
    let ran = redis.tool(&["group", "add", "team"]);
    assert_eq!(ran.err, "");
    assert_eq!(ran.ok(), "group team added\n");
}
