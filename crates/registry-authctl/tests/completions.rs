//! The completions, in each shell as somebody who presses Tab there.
//!
//! A line is completed and then carried out: what the tool then says shows how the shell completed it.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod common;

use common::terminal::Terminal;
use common::{Ran, Redis, binary};
use std::path::Path;

/// An interactive shell in which the completions are loaded, as a package or the user loads them.
fn shell(redis: &Redis, name: &str, home: &Path) -> Terminal {
    let tool = Path::new(env!("CARGO_BIN_EXE_registry-authctl"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", tool.display(), std::env::var("PATH").unwrap());
    let (url, home) = (redis.url(), home.display().to_string());
    let environment = [
        ("PATH", path.as_str()),
        ("HOME", &home),
        ("TERM", "dumb"),
        ("REGISTRY_AUTH_REDIS", &url),
        ("REGISTRY_AUTH_PREFIX", "P"),
        ("NO_COLOR", "1"),
        ("XDG_CONFIG_HOME", &home),
        ("XDG_DATA_HOME", &home),
    ];
    let (command, setup): (&[&str], &str) = match name {
        "bash" => (
            &["bash", "--norc", "--noprofile", "-i"],
            "source <(registry-authctl completions bash)",
        ),
        "zsh" => (
            &["zsh", "-f", "-i"],
            "autoload -Uz compinit; compinit -u -D; source <(registry-authctl completions zsh)",
        ),
        _ => (
            &["fish", "--no-config", "--interactive"],
            "registry-authctl completions fish | source",
        ),
    };
    let mut terminal = Terminal::run(command, &environment);
    // Typed as text, or the echo of the line would be taken for the answer.
    terminal.types(&format!("{setup}; echo rea''dy\n"));
    terminal.sees("ready");
    terminal
}

#[test]
fn every_shell_completes_verbs_options_and_what_redis_has() {
    let redis = Redis::start();
    redis.add("alice");
    redis.run::<()>(&["HSET", "P:passwords", "oldest", "x"]);
    redis.tool(&["group", "add", "builders"]).ok();
    redis
        .tool(&["grant", "add", "@builders", "builders/**", "pull,push"])
        .ok();
    for name in ["bash", "zsh", "fish"] {
        let home = tempfile::TempDir::new().unwrap();
        let mut terminal = shell(&redis, name, home.path());
        for (typed, said) in [
            // A verb, an option and its value.
            (
                "registry-authctl user pas\t--help\n",
                "Usage: registry-authctl user passwd",
            ),
            (
                "registry-authctl explain --us\tali\t--action pul\talice/x\n",
                "alice may pull alice/x",
            ),
            ("registry-authctl completi\tfis\t\n", "complete --keep-order"),
            // Users of both kinds, groups and subjects.
            ("registry-authctl user show ali\t\n", "user:     alice"),
            ("registry-authctl user show old\t\n", "user:     oldest"),
            ("registry-authctl group show buil\t\n", "group:    builders"),
            ("registry-authctl grant list @buil\t\n", "builders/** pull,push"),
            ("registry-authctl grant list @\t\n", "builders/** pull,push"),
            ("registry-authctl --prefix P user show ali\t\n", "user:     alice"),
        ] {
            terminal.shown.clear();
            terminal.types(typed);
            terminal.sees(said);
        }
    }
}

/// What the tool answers bash for the last of these words.
fn complete(url: &str, words: &[&str]) -> String {
    let index = (words.len() - 1).to_string();
    let output = binary()
        .env("_REGISTRY_AUTHCTL_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", index)
        .env("REGISTRY_AUTH_REDIS", url)
        .env("REGISTRY_AUTH_PREFIX", "P")
        .arg("--")
        .args(words)
        .output()
        .unwrap();
    let ran = Ran::of(&output);
    assert_eq!(ran.err, "");
    ran.ok()
}

#[test]
fn a_name_that_a_shell_would_carry_out_is_not_offered() {
    let redis = Redis::start();
    for user in ["plain", "$(touch x)", "a;b", "two words", "`x`", "@team"] {
        redis.add(user);
    }
    let offered = complete(&redis.url(), &["registry-authctl", "user", "show", ""]);
    let names: Vec<&str> = offered.lines().filter(|line| !line.starts_with('-')).collect();
    assert_eq!(names, ["plain"]);
    // Characters that mean something in a pattern of Redis do not.
    assert!(!complete(&redis.url(), &["registry-authctl", "user", "show", "*"]).contains("plain"));
}

/// Where Redis is not reached, verbs are completed none the less, and nothing is said.
#[test]
fn without_redis_nothing_is_in_the_way() {
    let nowhere = "redis://127.0.0.1:1";
    assert_eq!(complete(nowhere, &["registry-authctl", "user", "pas"]), "passwd");
    assert_eq!(complete(nowhere, &["registry-authctl", "user", "show", "a"]), "");
}
