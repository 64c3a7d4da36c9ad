//! Patterns and grants: matching against a naive reference, and what must not parse.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use registry_auth::grant::{Grant, InvalidGrant};
use registry_auth::pattern::Pattern;
use registry_auth::scope::Actions;
use registry_auth::{Action, RepositoryName};
use std::time::{Duration, Instant};

fn matches(pattern: &str, name: &str) -> bool {
    Pattern::parse(pattern)
        .expect(pattern)
        .matches(&RepositoryName::parse(name.as_bytes()).expect(name))
}

#[test]
fn stars() {
    for (pattern, name, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("ab", "a", false),
        ("a/*", "a/b", true),
        ("a/*", "a/b/c", false),
        ("a/*", "a", false),
        ("a/**", "a/b/c", true),
        ("a/**", "a", false),
        ("a/**", "ab/c", false),
        ("*", "a", true),
        ("*", "a/b", false),
        ("**", "a/b/c", true),
        ("**/x", "a/b/x", true),
        ("**/x", "x", true),
        ("**/x", "ax", false),
        ("a**/x", "ax", false),
        ("**/x", "a/xx", false),
        ("**x", "x", true),
        ("*/*", "a/b", true),
        ("*/*", "a", false),
        ("*/*", "a/b/c", false),
        ("a/*/c", "a/b/c", true),
        ("a/*/c", "a/b/b/c", false),
        ("a/**/c", "a/b/b/c", true),
        ("a/**/c", "a/c", true),
        ("a/**/c", "a/xc", false),
        ("a/**/c", "ac", false),
        ("a/**/**/c", "a/c", true),
        ("a*/**/c", "ab/c", true),
        ("**/a/**/c", "a/c", true),
        ("**/*", "a", true),
        ("**/**", "a", true),
        ("a*", "a", true),
        ("a*b*c", "axbxc", true),
        ("a*b*c", "ab/c", false),
        ("**a*b", "x/y/ab", true),
        ("**a*b", "x/a/b", false),
        ("a**b", "ab", true),
        ("a**b", "a/x/b", true),
        ("*-dev/**", "team-dev/x/y", true),
        ("a*/**/x*y/**/z*", "ab/xy/z", true),
        ("a*/**/x*y/**/z*", "ab/c/xay/d/zz", true),
        ("a*/**/x*y/**/z*", "ab/x/y/z", false),
        ("a*/**/x*y/**/z*", "ab/c/xay/dz", false),
        ("a*/**/x*y/**/z*", "ab/cxay/z", false),
        ("**/**/x", "x", true),
        ("a*ab", "aab", true),
        ("a*ab", "ab", false),
        ("a*b*ab", "ab/ab", false),
        ("a**b**ab", "ab/ab", true),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

/// A pattern that can match no legal name is a mistake: refused, so that a mistyped denial is seen.
#[test]
fn patterns_that_match_no_name_do_not_parse() {
    let long = "a".repeat(256);
    for bad in [
        "", "/", "/a", "a/", "a//b", "A", "A*", "*A", "a b", "a..b", "a._b", "-a", "a-", "a___b", "*//",
        "**/", "/**", "***", "a***", "****", "a/**/", "a?", "[a]", "{a,b}", "!a", "a\0", "é", "a:b", "*.",
        ".*", "*/.*", "**_", "a.*.", "%61", &long,
    ] {
        assert!(Pattern::parse(bad).is_err(), "{bad}");
    }
    for good in [
        "a",
        "*",
        "**",
        "a/*",
        "a/**",
        "*.*",
        "a.*",
        "a-*",
        "*_",
        "a_*",
        "**/**",
        "*/*/*",
        "a*-",
        "**-x",
        &"a".repeat(255),
        &format!("**{}", "a".repeat(253)),
    ] {
        assert_eq!(
            Pattern::parse(good).is_ok(),
            !matches!(good, "*_" | "a*-"),
            "{good}"
        );
    }
}

/// Most patterns of many lack a piece of a name, and are put aside without their stars being tried.
#[test]
fn what_lacks_a_piece_costs_a_look() {
    let name = RepositoryName::parse_owned(format!("team{}xyx/zz", "a/".repeat(30))).unwrap();
    let patterns = |text: &dyn Fn(usize) -> String| -> Vec<Pattern> {
        (0..1_000).map(|at| Pattern::parse(&text(at)).unwrap()).collect()
    };
    let lacking = patterns(&|at| format!("team*{at}/**/x*y{at}/**/z*"));
    let having = patterns(&|at| format!("team*/**/a*{}", "/**".repeat(at % 20 + 1) + "/x*z/**z"));
    let time = |patterns: &[Pattern]| {
        let once = || {
            let started = Instant::now();
            assert!(!patterns.iter().any(|pattern| pattern.matches(&name)));
            started.elapsed()
        };
        (0..20).map(|_| once()).min().unwrap()
    };
    let (lacking, having) = (time(&lacking), time(&having));
    assert!(lacking * 5 < having, "{lacking:?} {having:?}");
}

/// Stars that could match in very many ways cost no more than pattern × name steps.
#[test]
fn no_blow_up() {
    let name = format!("{}b", "a".repeat(254));
    let started = Instant::now();
    for pattern in [
        format!("{}c", "*a".repeat(120)),
        format!("{}c", "**a".repeat(80)),
        format!("{}c", "**a*a".repeat(50)),
    ] {
        assert!(!matches(&pattern, &name));
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn grants_parse() {
    let grant = Grant::parse("grant:!secret/**", "*").unwrap();
    assert!(grant.deny && grant.actions == Actions::ALL && grant.pattern.as_str() == "secret/**");
    assert_eq!(grant.field(), "grant:!secret/**");
    let grant = Grant::parse("grant:team/*", " pull , push ").unwrap();
    assert!(!grant.deny && grant.actions.contains(Action::Push) && !grant.actions.contains(Action::Delete));
    assert_eq!(
        (grant.field().as_str(), grant.actions.to_string().as_str()),
        ("grant:team/*", "pull,push")
    );
    for (field, value, error) in [
        ("team/*", "pull", InvalidGrant::Field),
        ("Grant:a", "pull", InvalidGrant::Field),
        ("grant:", "pull", InvalidGrant::Pattern),
        ("grant:!", "pull", InvalidGrant::Pattern),
        ("grant:!!a", "pull", InvalidGrant::Pattern),
        ("grant: a", "pull", InvalidGrant::Pattern),
        ("grant:a", "", InvalidGrant::Actions),
        ("grant:a", "pull,", InvalidGrant::Actions),
        ("grant:a", "pull push", InvalidGrant::Actions),
        ("grant:a", "Pull", InvalidGrant::Actions),
        ("grant:a", "pull,*", InvalidGrant::Actions),
        ("grant:a", "!pull", InvalidGrant::Actions),
    ] {
        assert_eq!(Grant::parse(field, value), Err(error), "{field} {value}");
    }
}

/// By definition: `*` is any run within a segment, `**` any run, and a segment `**/` may be absent.
fn naive(pattern: &[u8], name: &[u8]) -> bool {
    naive_from(pattern, name, true)
}

fn naive_from(pattern: &[u8], name: &[u8], begins_segment: bool) -> bool {
    match pattern {
        [b'*', b'*', b'/', rest @ ..] if begins_segment && naive_from(rest, name, true) => true,
        [] => name.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=name.len()).any(|at| naive_from(rest, &name[at..], false)),
        [b'*', rest @ ..] => {
            (0..=name.len()).any(|at| !name[..at].contains(&b'/') && naive_from(rest, &name[at..], false))
        }
        [byte, rest @ ..] => name.first() == Some(byte) && naive_from(rest, &name[1..], *byte == b'/'),
    }
}

/// Every legal name of up to six bytes over an alphabet with one of each class.
fn short_names() -> Vec<String> {
    let mut all = vec![String::new()];
    let mut names = Vec::new();
    for _ in 0..6 {
        all = all
            .iter()
            .flat_map(|text| "a._-/".chars().map(move |c| format!("{text}{c}")))
            .collect();
        names.extend(
            all.iter()
                .filter(|text| RepositoryName::parse(text.as_bytes()).is_ok())
                .cloned(),
        );
    }
    names
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 2048,
        ..ProptestConfig::default()
    })]

    #[test]
    fn as_the_naive_reference(
        pattern in "([ab]|[ab]|/[ab]|\\*|\\*\\*|/\\*|\\*/|\\*\\*/|/\\*\\*/){1,7}",
        name in "[ab]{1,3}(/[ab]{1,3}){0,3}",
    ) {
        if let Ok(parsed) = Pattern::parse(&pattern) {
            let name = RepositoryName::parse(name.as_bytes()).unwrap();
            let expected = naive(pattern.as_bytes(), name.as_str().as_bytes());
            prop_assert_eq!(parsed.matches(&name), expected, "{} {}", pattern, name);
        }
    }

    /// `parse` refuses exactly what matches no name (short patterns have short witnesses).
    #[test]
    fn parse_refuses_exactly_the_hopeless(pattern in "[a._/*-]{0,4}") {
        prop_assume!(!pattern.contains("***"));
        thread_local!(static NAMES: Vec<String> = short_names());
        let hope = NAMES.with(|names| names.iter().any(|name| naive(pattern.as_bytes(), name.as_bytes())));
        prop_assert_eq!(Pattern::parse(&pattern).is_ok(), hope, "{}", pattern);
    }

    #[test]
    fn any_text_does_no_harm(text in "\\PC{0,30}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(pattern.as_str(), &text);
        }
    }
}

#[test]
fn patterns_overlap_where_some_name_matches_both() {
    for (one, two, expected) in [
        ("a", "a", true),
        ("a", "b", false),
        ("team/*", "team/app", true),
        ("team/*", "team/**", true),
        ("team/*", "team/a/b", false),
        ("team/*", "alice/**", false),
        ("team/**", "**/base", true),
        ("*/base", "team/*/base", false),
        ("a/**/z", "a/z", true),
        ("a/**/z", "a/*", true),
        ("**/z", "z", true),
        ("a*", "*b", true),
        ("a*c", "a*d", false),
        ("*", "a/**", false),
        ("**", "a/b/c", true),
    ] {
        let (one, two) = (Pattern::parse(one).unwrap(), Pattern::parse(two).unwrap());
        assert_eq!(one.overlaps(&two), expected, "{one} {two}");
        assert_eq!(two.overlaps(&one), expected, "{two} {one}");
    }
}

proptest! {
    #[test]
    fn what_matches_both_makes_them_overlap(
        name in "[ab](/[ab]){0,3}",
        one in "([ab*]|\\*\\*)(/([ab*]|\\*\\*)){0,3}",
        two in "([ab*]|\\*\\*)(/([ab*]|\\*\\*)){0,3}",
    ) {
        let name = RepositoryName::parse(name.as_bytes()).unwrap();
        let (one, two) = (Pattern::parse(&one).unwrap(), Pattern::parse(&two).unwrap());
        if one.matches(&name) && two.matches(&name) {
            prop_assert!(one.overlaps(&two));
        }
    }
}
