//! Content by digest: where it lies, whose it is, and which requests nginx answers as a registry does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::{Component, Path};

use proptest::prelude::*;
use registry_auth::blob::{
    AnswerHead, BackendName, Conditions, Content, ContentKind, LINK, Layout, Owner, Registry, cache_key,
    content, may_be_kept, names,
};
use registry_auth::route::{self, Method, Request, RouteOptions};

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn digest() -> String {
    format!("sha256:{HEX}")
}

#[test]
fn only_a_path_of_the_repository_names_its_content() {
    let digest = digest();
    for (path, kind) in [
        (format!("/v2/a/b/blobs/{digest}"), Some(ContentKind::Blob)),
        (format!("/v2/a/b/manifests/{digest}"), Some(ContentKind::Manifest)),
        ("/v2/a/b/manifests/latest".into(), None),
        ("/v2/a/b/blobs/uploads/".into(), None),
        (format!("/v2/a/b/blobs/uploads/{digest}"), None),
        (format!("/v2/a/b/c/blobs/{digest}"), None),
        (format!("/v2/a/blobs/{digest}"), None),
        (format!("/v2/a/b/blobs/{digest}/"), None),
        (format!("/v2/a/b/blobs/{digest}/x"), None),
        (format!("/v2/a/b/blobs//{digest}"), None),
        (format!("/v2/a/b/_ext/blobs/{digest}"), None),
        (format!("/v2/a/b/referrers/{digest}"), None),
        (format!("/v1/a/b/blobs/{digest}"), None),
        (format!("v2/a/b/blobs/{digest}"), None),
        (format!("/v2/a/b/blobs/{HEX}"), None),
    ] {
        let found = content(path.as_bytes(), b"a/b");
        assert_eq!(found.map(|content| content.kind), kind, "{path}");
        if let Some(found) = found {
            assert_eq!(found.digest, digest.as_bytes());
        }
    }
    assert_eq!(content(format!("/v2//blobs/{digest}").as_bytes(), b""), None);
}

#[test]
fn a_blob_lies_where_the_registry_puts_it() {
    let places = Layout::Distribution.places(b"a/b", digest().as_bytes()).unwrap();
    let link = format!("docker/registry/v2/repositories/a/b/_layers/sha256/{HEX}/link");
    assert_eq!(places.link.as_deref(), Some(link.as_str()));
    assert_eq!(
        places.data,
        format!("docker/registry/v2/blobs/sha256/01/{HEX}/data")
    );
    let places = Layout::Oci.places(b"a/b", digest().as_bytes()).unwrap();
    assert_eq!(places.link, None);
    assert_eq!(places.data, format!("a/b/blobs/sha256/{HEX}"));
}

#[test]
fn a_digest_that_registries_do_not_write_so_has_no_place() {
    for digest in [
        format!("sha256:{}", HEX.to_ascii_uppercase()),
        format!("sha256:{}", &HEX[1..]),
        format!("sha256:{HEX}0"),
        format!("sha256:{}/", &HEX[1..]),
        format!("sha512:{HEX}{HEX}"),
        format!("sha256+x:{HEX}"),
        HEX.to_owned(),
        String::new(),
    ] {
        for layout in [Layout::Distribution, Layout::Oci] {
            assert_eq!(layout.places(b"a/b", digest.as_bytes()), None, "{digest}");
        }
        assert!(!names(digest.as_bytes(), digest.as_bytes()), "{digest}");
    }
}

#[test]
fn a_link_names_its_digest_or_nothing() {
    let digest = digest();
    assert!(names(digest.as_bytes(), digest.as_bytes()));
    assert_eq!(digest.len(), LINK);
    for link in [
        "",
        HEX,
        "sha256:",
        "../../../etc/passwd",
        &digest[..LINK - 1],
        &format!("{digest}\n"),
        &format!(" {digest}"),
        &format!("sha256:{}", "f".repeat(64)),
        &format!("SHA256:{HEX}"),
    ] {
        assert!(!names(link.as_bytes(), digest.as_bytes()), "{link:?}");
    }
}

fn owner(backends: &[&str]) -> Owner {
    Owner::Backends(
        backends
            .iter()
            .map(|name| BackendName::parse(name.as_bytes()).unwrap())
            .collect(),
    )
}

#[test]
fn a_folder_is_used_where_all_backends_have_it() {
    let has = |owner: &Owner, backends: &[&str]| owner.has(backends.iter().map(|name| name.as_bytes()));
    let two = owner(&["a:5000", "Registry:80"]);
    for (backends, expected) in [
        (&["a:5000"][..], true),
        (&["A:5000"], true),
        (&["a:5000", "registry:80"], true),
        (&["registry"], true),
        (&["registry:080"], false),
        (&["a:5000", "b:5000"], false),
        (&["b:5000"], false),
        (&["a"], false),
        (&["a:50"], false),
        (&[""], false),
        (&[], false),
    ] {
        assert_eq!(has(&two, backends), expected, "{backends:?}");
    }
    assert!(has(&Owner::Default, &[]));
    assert!(!has(&Owner::Default, &["a:5000"]));
    assert!(!has(&Owner::Backends(Vec::new()), &[]));
}

#[test]
fn two_folders_for_the_same_requests_are_seen() {
    let (one, two, other) = (owner(&["a:1", "b:1"]), owner(&["c:1", "B:1"]), owner(&["c:1"]));
    assert_eq!(one.shared_with(&two).as_deref(), Some("to \"b:1\""));
    assert_eq!(one.shared_with(&other), None);
    assert_eq!(one.shared_with(&Owner::Default), None);
    assert_eq!(Owner::Default.shared_with(&one), None);
    assert_eq!(
        Owner::Default.shared_with(&Owner::Default).as_deref(),
        Some("without backends of their own")
    );
}

#[test]
fn a_backend_of_a_folder_has_a_port() {
    for name in ["a:5000", "10.0.0.1:80", "[::1]:5000"] {
        assert_eq!(BackendName::parse(name.as_bytes()).unwrap().to_string(), name);
    }
    for name in [
        "",
        "a",
        "a:",
        "a:0",
        "http://a:5000",
        "a:5000/",
        "$x:5000",
        "a:b:1",
    ] {
        assert_eq!(BackendName::parse(name.as_bytes()), None, "{name}");
    }
}

fn conditions(headers: &[(&str, &str)]) -> Option<Conditions> {
    Conditions::parse(|name| {
        let of_name = move |(found, _): &&(&str, &str)| found.as_bytes() == name;
        headers.iter().filter(of_name).map(|(_, value)| value.as_bytes())
    })
}

#[test]
fn one_range_that_the_file_has_is_answered_here() {
    for (range, fits) in [
        ("bytes=0-", true),
        ("bytes=0-0", true),
        ("bytes=99-", true),
        ("bytes=99-99", true),
        ("bytes=0-1000000", true),
        ("bytes=-1", true),
        ("bytes=-100", true),
        ("bytes=-1000", true),
        ("bytes=100-", false),
        ("bytes=100-200", false),
        ("bytes=5-4", false),
    ] {
        assert_eq!(conditions(&[("range", range)]).unwrap().fit(100), fits, "{range}");
        assert!(!conditions(&[("range", range)]).unwrap().fit(0), "{range}");
    }
    assert!(conditions(&[]).unwrap().fit(1));
    assert!(!conditions(&[]).unwrap().fit(0));
}

#[test]
fn a_range_that_servers_read_differently_goes_to_the_registry() {
    for range in [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=-0",
        "bytes=--1",
        "bytes=+1-",
        "bytes= 0-1",
        "bytes=0 -1",
        "bytes=0-1,",
        "bytes=0-1,2-3",
        "bytes=0-1-2",
        "bytes=a-b",
        "bytes=0x0-",
        "BYTES=0-1",
        "items=0-1",
        "bytes=0-9999999999999999999",
        "bytes=1-99999999999999999999999999",
    ] {
        assert_eq!(conditions(&[("range", range)]), None, "{range}");
    }
    assert_eq!(
        conditions(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]),
        None
    );
}

#[test]
fn validators_as_they_should_be_are_answered_here_and_others_are_not() {
    for (name, value, expected) in [
        ("if-none-match", "*", true),
        ("if-none-match", "\"a\"", true),
        ("if-none-match", "W/\"a\"", true),
        ("if-none-match", "\"a\", W/\"b\" ,\"c\"", true),
        ("if-none-match", "", false),
        ("if-none-match", "a", false),
        ("if-none-match", "\"a", false),
        ("if-none-match", "\"a\" b", false),
        ("if-none-match", "\"a\",", false),
        ("if-none-match", "* ,\"a\"", false),
        ("if-none-match", "w/\"a\"", false),
        ("if-none-match", "\"a b\"", false),
        ("if-range", "\"a\"", true),
        ("if-range", "W/\"a\"", false),
        ("if-range", "\"a\"b", false),
        ("if-range", "Sat, 29 Oct 1994 19:43:31 GMT", false),
        ("if-match", "\"a\"", false),
        ("if-match", "", false),
        ("if-modified-since", "Sat, 29 Oct 1994 19:43:31 GMT", false),
        ("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT", false),
    ] {
        assert_eq!(
            conditions(&[(name, value)]).is_some(),
            expected,
            "{name}: {value}"
        );
    }
    assert_eq!(conditions(&[("if-range", "\"a\""), ("if-range", "\"a\"")]), None);
}

/// What a key of these tests names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    prefix: String,
    upstream: String,
    host: String,
    backends: Vec<String>,
    repository: String,
    digest: String,
    kind: ContentKind,
}

impl Named {
    fn key(&self) -> Vec<u8> {
        let backends: Vec<&[u8]> = self.backends.iter().map(|name| name.as_bytes()).collect();
        let registry = Registry {
            prefix: self.prefix.as_bytes(),
            upstream: self.upstream.as_bytes(),
            host: self.host.as_bytes(),
            backends: &backends,
        };
        let digest = self.digest.as_bytes();
        let kind = self.kind;
        cache_key(registry, self.repository.as_bytes(), Content { kind, digest }, 7)
    }
}

#[test]
fn a_key_names_the_registry_the_repository_and_the_digest() {
    let named = |host: &str, backends: &[&str], kind| Named {
        prefix: "docker-registry".into(),
        upstream: "registries".into(),
        host: host.into(),
        backends: backends.iter().map(|name| (*name).into()).collect(),
        repository: "x/y".into(),
        digest: "sha256:0".into(),
        kind,
    };
    for (named, expected) in [
        (
            named("r.example:5000", &["b:1", "A:1", "b:1"], ContentKind::Blob),
            "docker-registry registries r.example:5000 a:1,b:1 x/y@sha256:0",
        ),
        (
            named("", &[], ContentKind::Blob),
            "docker-registry registries % - x/y@sha256:0",
        ),
        (
            named("a %\n", &[], ContentKind::Manifest),
            "docker-registry registries a%20%25%0a - x/y@sha256:0 manifest 0000000000000007",
        ),
    ] {
        assert_eq!(String::from_utf8(named.key()).unwrap(), expected);
    }
}

/// Names, digests and backends of few letters, so that they collide where that is possible.
fn named() -> impl Strategy<Value = Named> {
    (
        ["[ab]{1,2}", "[ab]{1,2}", "[ab% -]{0,2}"],
        prop::collection::vec("[ab]{1,2}:[12]", 0..3),
        "[ab]{1,2}(/[ab]{1,2})?",
        "sha256:[ab]{1,2}",
        prop_oneof![Just(ContentKind::Blob), Just(ContentKind::Manifest)],
    )
        .prop_map(
            |([prefix, upstream, host], backends, repository, digest, kind)| Named {
                prefix,
                upstream,
                host,
                backends,
                repository,
                digest,
                kind,
            },
        )
}

#[test]
fn only_a_whole_and_plain_answer_is_kept() {
    const NOTHING: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let something = digest();
    let other = format!("sha256:{}", "f".repeat(64));
    let of_sha512 = format!("sha512:{}", "f".repeat(128));
    let two = format!("{something}, {other}");
    let answer = AnswerHead {
        status: 200,
        length: Some(1),
        is_encoded: false,
        is_part: false,
        digest: Some(something.as_bytes()),
    };
    let says = |digest| AnswerHead { digest, ..answer };
    let status = |status| AnswerHead { status, ..answer };
    for (head, expected) in [
        (answer, true),
        (says(Some(of_sha512.as_bytes())), true),
        (says(Some(other.as_bytes())), false),
        (says(Some(two.as_bytes())), false),
        (says(Some(b"something")), false),
        (says(Some(b"")), false),
        (says(None), false),
        (
            AnswerHead {
                length: None,
                ..answer
            },
            false,
        ),
        (
            AnswerHead {
                length: Some(0),
                ..answer
            },
            false,
        ),
        (
            AnswerHead {
                is_encoded: true,
                ..answer
            },
            false,
        ),
        (
            AnswerHead {
                is_part: true,
                ..answer
            },
            false,
        ),
        (status(206), false),
        (status(307), false),
        (status(404), false),
    ] {
        assert_eq!(may_be_kept(head, something.as_bytes()), expected, "{head:?}");
    }
    let of_length = |length, digest: &str| {
        let head = AnswerHead {
            length: Some(length),
            digest: Some(digest.as_bytes()),
            ..answer
        };
        may_be_kept(head, digest.as_bytes())
    };
    assert!(of_length(0, NOTHING));
    assert!(!of_length(1, NOTHING));
    for empty in ["sha384", "sha512"] {
        assert!(!of_length(0, &format!("{empty}:{}", "0".repeat(96))));
    }
}

proptest! {
    #[test]
    fn two_keys_are_equal_only_where_all_that_they_name_is(one in named(), two in named()) {
        let set = |named: &Named| -> BTreeSet<String> { named.backends.iter().cloned().collect() };
        let is_same = set(&one) == set(&two) && {
            let backends = one.backends.clone();
            one == Named { backends, ..two.clone() }
        };
        prop_assert_eq!(one.key() == two.key(), is_same);
    }

    #[test]
    fn a_path_that_was_decided_about_leads_nowhere_but_to_its_repository(
        name in "[a-z0-9]{1,3}(([._-]|__)[a-z0-9]{1,2})?(/[a-z0-9]{1,3}){0,3}",
        reference in "(sha256:[0-9a-f]{63,65}|sha256:[0-9a-fA-F]{64}|[a-z.]{1,5}|sha512:[0-9a-f]{8})",
        kind in "(blobs|manifests|blobs/uploads|tags|_layers)",
    ) {
        let path = format!("/v2/{name}/{kind}/{reference}");
        let request = Request::from_target(Method::Get, path.as_bytes(), path.as_bytes(), None);
        let Ok(route) = route::parse(&request, &RouteOptions { v1_images: true }) else { return Ok(()) };
        let Some(repository) = route.repository() else { return Ok(()) };
        let Some(found) = content(path.as_bytes(), repository.as_bytes()) else { return Ok(()) };
        prop_assert_eq!(repository.as_str(), name.as_str());
        for layout in [Layout::Distribution, Layout::Oci] {
            let Some(places) = layout.places(repository.as_bytes(), found.digest) else { continue };
            for place in places.link.iter().chain([&places.data]) {
                let mut parts = Path::new(place).components();
                prop_assert!(parts.all(|part| matches!(part, Component::Normal(_))), "{}", place);
                prop_assert!(!place.contains("//") && !place.contains('\0'));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_as_conditions(range: Vec<u8>, tags: Vec<u8>, size: u64) {
        let read = Conditions::parse(|name| match name {
            b"range" => Some(&range[..]).into_iter(),
            b"if-none-match" => Some(&tags[..]).into_iter(),
            _ => None.into_iter(),
        });
        if let Some(conditions) = read {
            prop_assert!(range.starts_with(b"bytes="));
            let _ = conditions.fit(size);
        }
    }
}
