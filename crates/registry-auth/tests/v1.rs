//! V1 paths, whose patterns overlap in docker-archive/docker-registry: what the gate authorises is what that
//! registry reads, in whichever order it tries its patterns. Not among them is its `PUT
//! /v1/repositories/<path>`, which takes any path at all: it comes after all others, as Werkzeug tries the
//! longer pattern first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use regex::Regex;
use registry_auth::route::{self, Method, Need, Request, RouteOptions};
use std::sync::LazyLock;

/// Its patterns: a `path` is anything without a slash in front, a `string` has no slash.
static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        "/images",
        "/auth",
        "/properties",
        "/tags",
        "/json",
        "/tags/[^/]+/json",
        "/tags/[^/]+",
        "/",
    ]
    .map(|tail| Regex::new(&format!("^/v1/repositories/([^/].*?){tail}$")).unwrap())
    .to_vec()
});

/// Every name that some pattern reads out of a path, in the longer form.
fn readings(path: &str) -> Vec<String> {
    let names = PATTERNS
        .iter()
        .filter_map(|pattern| Some(pattern.captures(path)?[1].to_owned()));
    names
        .map(|name| {
            if name.contains('/') {
                name
            } else {
                format!("library/{name}")
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 8192,
        ..ProptestConfig::default()
    })]

    #[test]
    fn one_reading_only(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "alice", "app", "tags", "json", "images", "auth", "properties", "latest", "_app", "a..b", "-",
                "",
            ]),
            1..7,
        ),
        method in prop::sample::select(vec![Method::Get, Method::Put, Method::Delete]),
    ) {
        let path = format!("/v1/repositories/{}", words.join("/"));
        let request = Request::from_target(method, path.as_bytes(), path.as_bytes(), None);
        let Ok(route) = route::parse(&request, &RouteOptions { v1_images: true }) else { return Ok(()) };
        let Need::Repository(scope) = &route.need else { return Ok(()) };
        let ours = scope.repository.as_str();
        let readings = readings(&path);
        prop_assert!(readings.iter().any(|name| name == ours), "{} {:?}", path, readings);
        for other in readings.iter().filter(|name| *name != ours) {
            // `<name>/tags/<tag>/json` also reads as the json of a repository `<name>/tags/<tag>`, which no
            // request could have made: that name holds a word.
            prop_assert!(path.ends_with("/json") && method == Method::Get, "{} {}", path, other);
            let made = format!("/v1/repositories/{other}/");
            let push = Request::from_target(Method::Put, made.as_bytes(), made.as_bytes(), None);
            prop_assert!(route::parse(&push, &RouteOptions { v1_images: true }).is_err(), "{}", other);
        }
    }
}
