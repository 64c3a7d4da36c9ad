//! Names of repositories and users: the grammar of the OCI distribution specification and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use regex::bytes::Regex;
use registry_auth::{InvalidName, RepositoryName, UserName};
use std::sync::LazyLock;

/// The specification's grammar, word for word.
static GRAMMAR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$").unwrap()
});

#[test]
fn names_are_at_most_255_bytes() {
    for (length, legal) in [(1, true), (254, true), (255, true), (256, false), (10_000, false)] {
        assert_eq!(
            RepositoryName::parse("a".repeat(length).as_bytes()).is_ok(),
            legal,
            "{length}"
        );
    }
}

#[test]
fn a_v1_name_of_one_segment_is_in_library() {
    for (v1, name) in [
        ("ubuntu", "library/ubuntu"),
        ("alice/app", "alice/app"),
        ("library/x", "library/x"),
        ("_app", "library/_app"),
        ("alice/_app", "alice/_app"),
        ("alice/app_", "alice/app_"),
        ("alice/a..b", "alice/a..b"),
        ("-a/.b/...", "-a/.b/..."),
    ] {
        assert_eq!(RepositoryName::from_v1(v1.as_bytes()).unwrap().as_str(), name);
    }
    assert_eq!(
        RepositoryName::from_v1("a".repeat(247).as_bytes())
            .unwrap()
            .as_str()
            .len(),
        255
    );
    let bad = [
        "", "/", "/a", "a/", "a//b", "A", ".", "..", "a/.", "a/..", "./a", "../a", "a/../b", "a:b", "a%2fb",
        "a b", "a\0", "é",
    ];
    let long = ["a".repeat(248), format!("a/{}", "b".repeat(254))];
    for bad in bad.into_iter().chain(long.iter().map(String::as_str)) {
        assert_eq!(RepositoryName::from_v1(bad.as_bytes()), Err(InvalidName), "{bad}");
    }
}

#[test]
fn owned_names_are_checked_alike() {
    assert_eq!(
        RepositoryName::parse_owned("a/b".into()),
        RepositoryName::parse(b"a/b")
    );
    assert_eq!(RepositoryName::parse_owned("a//b".into()), Err(InvalidName));
    assert_eq!(
        RepositoryName::parse(b"a/b").unwrap().into_owned().to_string(),
        "a/b"
    );
}

#[test]
fn user_names() {
    for good in [
        "alice",
        "Alice",
        "a.b-c_d",
        "alice@example.org",
        "élodie",
        "a b",
        "robot$ci",
        &"u".repeat(255),
    ] {
        assert_eq!(UserName::parse(good.as_bytes()).unwrap().as_str(), good);
    }
    for bad in [
        "",
        "a:b",
        "a/b",
        "/",
        "a\0",
        "a\n",
        "\u{1b}[1m",
        "a\u{7f}",
        "a\u{9b}",
        &"u".repeat(256),
    ] {
        assert_eq!(UserName::parse(bad.as_bytes()), Err(InvalidName), "{bad:?}");
    }
    assert_eq!(UserName::parse(b"\xff"), Err(InvalidName));
}

#[test]
fn only_a_legal_segment_owns_a_namespace() {
    for (name, owns) in [
        ("alice", true),
        ("a.b", true),
        ("Alice", false),
        ("a..b", false),
        ("-a", false),
        ("é", false),
    ] {
        assert_eq!(
            UserName::parse(name.as_bytes()).unwrap().is_path_segment(),
            owns,
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 4096,
        ..ProptestConfig::default()
    })]

    #[test]
    fn near_names_by_the_grammar(text in "[a-c0-1A._/%-]{0,12}") {
        let parsed = RepositoryName::parse(text.as_bytes());
        prop_assert_eq!(parsed.is_ok(), GRAMMAR.is_match(text.as_bytes()), "{}", text);
        if let Ok(name) = parsed {
            prop_assert_eq!(name.as_str(), &text);
        }
    }

    #[test]
    fn any_bytes_by_the_grammar(bytes in prop::collection::vec(any::<u8>(), 0..8)) {
        prop_assert_eq!(RepositoryName::parse(&bytes).is_ok(), GRAMMAR.is_match(&bytes));
    }

    #[test]
    fn legal_names_parse(
        name in concat!(
            "[a-z0-9]{1,3}((\\.|_|__|-{1,3})[a-z0-9]{1,3}){0,3}",
            "(/[a-z0-9]{1,3}((\\.|_|__|-{1,3})[a-z0-9]{1,3}){0,3}){0,5}",
        ),
    ) {
        prop_assert!(RepositoryName::parse(name.as_bytes()).is_ok());
    }
}
