//! Content by digest: where it lies, whose it is, and which requests nginx answers as a registry does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::{Component, Path};

use proptest::prelude::*;
use registry_auth::blob::{
    BackendName, Conditions, Content, ContentKind, LINK, Layout, Owner, cache_key, content, names,
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

fn key(backends: &[&str], default: &str, repository: &str, digest: &str, kind: ContentKind) -> Vec<u8> {
    let digest = digest.as_bytes();
    let names = backends.iter().map(|name| name.as_bytes());
    cache_key(
        names,
        default.as_bytes(),
        repository.as_bytes(),
        Content { kind, digest },
        7,
    )
}

#[test]
fn a_key_names_the_set_of_backends_the_repository_and_the_digest() {
    let whole = key(
        &["b:1", "a:1", "b:1"],
        "registry",
        "x/y",
        "sha256:0",
        ContentKind::Blob,
    );
    assert_eq!(whole, b"backends a:1,b:1 x/y@sha256:0");
    assert_eq!(
        whole,
        key(&["A:1", "b:1"], "other", "x/y", "sha256:0", ContentKind::Blob)
    );
    assert_eq!(
        key(&[], "registry", "x", "sha256:0", ContentKind::Blob),
        b"default registry x@sha256:0"
    );
    let manifest = key(&[], "registry", "x", "sha256:0", ContentKind::Manifest);
    assert_eq!(manifest, b"default registry x@sha256:0 manifest 0000000000000007");
}

/// Backends, the default one, a repository, a digest, and whether it is a manifest's.
type Parts = (Vec<String>, String, String, String, bool);

/// Names, digests and backends of few letters, so that they collide where that is possible.
fn parts() -> impl Strategy<Value = Parts> {
    (
        prop::collection::vec("[ab]{1,2}:[12]", 0..3),
        "[ab]{1,2}",
        "[ab]{1,2}(/[ab]{1,2})?",
        "sha256:[ab]{1,2}",
        any::<bool>(),
    )
}

proptest! {
    #[test]
    fn two_keys_are_equal_only_where_all_that_they_name_is(one in parts(), two in parts()) {
        let of = |(backends, default, repository, digest, is_manifest): &Parts| {
            let names: Vec<&str> = backends.iter().map(String::as_str).collect();
            let kind = if *is_manifest { ContentKind::Manifest } else { ContentKind::Blob };
            key(&names, default, repository, digest, kind)
        };
        let named = |(backends, default, repository, digest, is_manifest): &Parts| {
            let set: BTreeSet<String> = backends.iter().cloned().collect();
            let default = set.is_empty().then(|| default.clone());
            (set, default, repository.clone(), digest.clone(), *is_manifest)
        };
        prop_assert_eq!(of(&one) == of(&two), named(&one) == named(&two));
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
