//! The route table of `routes.txt`, and properties of all paths: what the gate authorises is what a registry
//! reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use regex::bytes::Regex;
use registry_auth::route::{self, Api, Method, Mount, Need, Request, Route, RouteOptions};
use registry_auth::{Denial, RepositoryName};
use std::collections::BTreeMap;
use std::sync::LazyLock;

const ALL_ON: RouteOptions = RouteOptions { v1_images: true };

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// One line of the table.
struct Row {
    line: String,
    method: String,
    target: String,
    decided: String,
    content_type: Option<String>,
    answer: String,
}

impl Row {
    fn ask(&self, method: Method, options: &RouteOptions) -> String {
        let content_type = self.content_type.as_deref().map(str::as_bytes);
        let (target, decided) = (self.target.as_bytes(), self.decided.as_bytes());
        describe(route::parse(
            &Request::from_target(method, target, decided, content_type),
            options,
        ))
    }
}

fn describe(result: Result<Route<'_>, Denial>) -> String {
    let route = match result {
        Ok(route) => route,
        Err(denial) => return format!("{} {}", denial.status(), denial.code()),
    };
    let need = match &route.need {
        Need::Nothing => "none".into(),
        Need::Login => "login".into(),
        Need::Catalog => "catalog".into(),
        Need::Search => "search".into(),
        Need::Images(action) => format!("images {action}"),
        Need::Repository(scope) => format!("{} {}", scope.action, scope.repository),
        Need::Existence(repository) => format!("exists {repository}"),
        Need::Unknown(unknown) => {
            let denial = Denial::unknown(*unknown);
            format!("{} {}", denial.status(), denial.code())
        }
    };
    match &route.mount {
        Mount::Absent => need,
        Mount::Strip => need + " mount=strip",
        Mount::From(other) => format!("{need} mount={other}"),
    }
}

fn rows() -> Vec<Row> {
    let lines = include_str!("routes.txt").lines();
    lines
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '=']))
        .map(row)
        .collect()
}

fn row(line: &str) -> Row {
    let (request, answer) = line.split_once(" -> ").expect(line);
    let mut words = request.split_whitespace().map(fill);
    let (method, target) = (words.next().unwrap(), words.next().expect(line));
    let mut decided = target.split('?').next().unwrap().to_owned();
    let mut content_type = None;
    for word in words {
        if let Some(path) = word.strip_prefix("decided=") {
            decided = path.replace("\\0", "\0").replace("\\s", " ");
        } else {
            content_type = Some(word.strip_prefix("type=").expect(line).to_owned());
        }
    }
    Row {
        line: line.to_owned(),
        method,
        target,
        decided,
        content_type,
        answer: fill(answer),
    }
}

fn fill(word: &str) -> String {
    let hex = "0123456789abcdef".repeat(4);
    let name = |length: usize| format!("alice/{}", "n".repeat(length - "alice/".len()));
    word.replace("{d}", &format!("sha256:{hex}"))
        .replace("{d%}", &format!("sha256%3A{hex}"))
        .replace("{d%a}", &format!("sha256%3a{hex}"))
        .replace("{512}", &format!("sha512:{hex}{hex}"))
        .replace("{n255}", &name(255))
        .replace("{n256}", &name(256))
        .replace("{s247}", &"s".repeat(247))
        .replace("{s248}", &"s".repeat(248))
        .replace("{t128}", &"t".repeat(128))
        .replace("{t129}", &"t".repeat(129))
}

fn method(name: &str) -> Method {
    assert!(METHODS.contains(&name), "{name}");
    Method::of(name.as_bytes())
}

#[test]
fn each_line_of_the_table_holds() {
    let rows = rows();
    assert!(rows.len() > 250, "the table was read");
    let wrong = rows.iter().filter_map(|row| {
        let answer = row.ask(method(&row.method), &ALL_ON);
        (answer != row.answer).then(|| format!("{}: {answer}", row.line))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
}

/// A request that fits no route is refused. A refused path is refused with every method, and a served one
/// with every method that has no line.
#[test]
fn a_method_without_a_line_is_refused() {
    let mut lines: BTreeMap<(String, String), Vec<Row>> = BTreeMap::new();
    for row in rows() {
        let path = row.target.split('?').next().unwrap().to_owned();
        lines.entry((path, row.decided.clone())).or_default().push(row);
    }
    let mut tried = 0;
    for rows in lines.values() {
        for name in METHODS {
            if rows.iter().all(|row| row.method != name) {
                let answer = rows[0].ask(method(name), &ALL_ON);
                assert!(answer.starts_with('4'), "{name} {}: {answer}", rows[0].target);
                let served = rows.iter().any(|row| !row.answer.starts_with('4'));
                assert!(
                    !served || answer == "404 UNSUPPORTED",
                    "{name} {}: {answer}",
                    rows[0].target
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 800, "all methods were tried: {tried}");
}

#[test]
fn turned_off_routes_are_refused() {
    let off = RouteOptions { v1_images: false };
    for row in rows() {
        let answer = row.ask(method(&row.method), &off);
        match row.answer.as_str() {
            _ if row.target.starts_with("/v1/images/") => {
                assert_eq!(answer, "404 UNSUPPORTED", "{}", row.line)
            }
            same => assert_eq!(answer, same, "{}", row.line),
        }
    }
}

/// A raw path in dispute is refused whatever path nginx decided on.
#[test]
fn a_raw_path_with_an_escape_never_stands_for_itself() {
    for row in rows()
        .iter()
        .filter(|row| row.target.split('?').next().unwrap().contains(['%', '\\', '#']))
    {
        let path = row.target.split('?').next().unwrap();
        let request = Request::from_target(method(&row.method), path.as_bytes(), path.as_bytes(), None);
        assert!(route::parse(&request, &ALL_ON).is_err(), "{path}");
    }
}

/// distribution's `routeDescriptors`, in its order, as gorilla/mux anchors them.
static DISTRIBUTION: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let component = "[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*";
    let domain_part = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let domain = format!(r"(?:{domain_part}(?:\.{domain_part})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?");
    let name = format!("(?P<name>(?:{domain}/)?{component}(?:/{component})*)");
    let tag = r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}";
    let digest = "[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+";
    [
        "/tags/list".to_owned(),
        format!("/manifests/(?:{tag}|{digest})"),
        format!("/blobs/(?:{digest})"),
        "/blobs/uploads/".to_owned(),
        "/blobs/uploads/[a-zA-Z0-9-_.=]+".to_owned(),
    ]
    .map(|tail| Regex::new(&format!("^/v2/{name}{tail}$")).unwrap())
    .to_vec()
});

/// The name that distribution reads out of a path, and the index of the route.
fn distribution(path: &[u8]) -> Option<(usize, &[u8])> {
    let mut routes = DISTRIBUTION.iter().enumerate();
    routes.find_map(|(index, route)| Some((index, route.captures(path)?.name("name")?.as_bytes())))
}

/// Paths out of the words that could be mistaken for one another.
fn tricky_path() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        6 => prop::sample::select(vec![
            "alice", "bob", "a", "blobs", "uploads", "manifests", "tags", "list", "referrers", "_x",
            "_catalog", "latest", "sha256:0123456789abcdef0123456789abcdef", "", ".", "..", "a..b", "a-",
            "A", "a:5000", "%2e%2e", "a%2fb",
        ]).prop_map(str::to_owned),
        1 => "[a-z0-9._:%-]{0,6}",
    ];
    prop::collection::vec(word, 1..9).prop_map(|words| format!("/v2/{}", words.join("/")))
}

fn any_method() -> impl Strategy<Value = Method> {
    prop::sample::select(Method::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 4096,
        ..ProptestConfig::default()
    })]

    /// Rule 1 of the security model: the repository that is authorised is the one that distribution would
    /// serve.
    #[test]
    fn distribution_reads_the_same_name(path in tricky_path(), method in any_method()) {
        let request = Request::from_target(method, path.as_bytes(), path.as_bytes(), None);
        let route = route::parse(&request, &ALL_ON);
        if let Some(repository) = route.as_ref().ok().and_then(Route::repository) {
            // distribution redirects an upload's path without its slash to the one with it.
            let slash = if path.ends_with("/blobs/uploads") { "/" } else { "" };
            if let Some((_, name)) = distribution(format!("{path}{slash}").as_bytes()) {
                prop_assert_eq!(repository.as_str().as_bytes(), name);
            } else {
                // Routes that distribution does not have: referrers and extensions.
                prop_assert!(path.contains("/referrers/") || path.contains("/_"), "{}", path);
            }
        }
    }

    /// And what distribution would serve of a legal name is on the table with some method.
    #[test]
    fn what_distribution_serves_has_a_row(path in tricky_path()) {
        if let Some((_, name)) = distribution(path.as_bytes()) {
            let served = Method::ALL.into_iter().any(|method| {
                let request = Request::from_target(method, path.as_bytes(), path.as_bytes(), None);
                route::parse(&request, &ALL_ON).is_ok_and(|route| !matches!(route.need, Need::Unknown(_)))
            });
            let dots = path.ends_with("/.") || path.ends_with("/..");
            prop_assert_eq!(served, RepositoryName::parse(name).is_ok() && !dots, "{}", path);
        }
    }

    /// A raw path that differs from the decided one is refused, whatever the two are.
    #[test]
    fn differing_paths_are_refused(raw in tricky_path(), decided in tricky_path(), method in any_method()) {
        prop_assume!(raw != decided);
        let request = Request::from_target(method, raw.as_bytes(), decided.as_bytes(), None);
        prop_assert!(route::parse(&request, &ALL_ON).is_err());
    }

    /// A route made of its parts parses back into them.
    #[test]
    fn route_round_trip(
        name in concat!(
            "[a-z0-9]{1,3}((\\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}",
            "(/[a-z0-9]{1,3}((\\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}){0,4}",
        ),
        tag in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}",
    ) {
        let path = format!("/v2/{name}/manifests/{tag}");
        let request = Request::from_target(Method::Put, path.as_bytes(), path.as_bytes(), None);
        let route = route::parse(&request, &ALL_ON).unwrap();
        prop_assert_eq!(describe(Ok(route)), format!("push {name}"));
    }

    /// Any bytes at all: no panic, and a repository only of a legal name that the path holds.
    #[test]
    fn any_bytes(raw in prop::collection::vec(any::<u8>(), 0..80), method in any_method()) {
        let mut path = b"/v1/".to_vec();
        path.extend(&raw);
        for path in [&raw[..], &path[..]] {
            let request = Request::from_target(method, path, path, None);
            if let Ok(route) = route::parse(&request, &ALL_ON)
                && let Some(name) = route.repository() {
                    let name = name.as_bytes();
                    let is_legal = match route.api {
                        Api::V1 => RepositoryName::from_v1(name).is_ok(),
                        Api::V2 | Api::Ping => RepositoryName::parse(name).is_ok(),
                    };
                    prop_assert!(is_legal);
                }
        }
    }
}

#[test]
fn the_reference_is_what_follows_the_repository() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    for (path, reference) in [
        ("/v2/a/manifests/v1".to_owned(), Some("v1")),
        (format!("/v2/a/manifests/manifests/{digest}"), Some(&*digest)),
        (format!("/v2/a/blobs/{digest}"), Some(&*digest)),
        (format!("/v2/a/referrers/{digest}"), Some(&*digest)),
        ("/v1/repositories/a/b/tags/list".to_owned(), Some("list")),
        ("/v1/repositories/a/tags/v1/json".to_owned(), Some("v1")),
        ("/v1/repositories/a/b/images".to_owned(), None),
        ("/v2/a/tags/list".to_owned(), None),
        ("/v2/a/blobs/uploads/".to_owned(), None),
        ("/v2/a/blobs/uploads/x".to_owned(), None),
        ("/v2/".to_owned(), None),
        ("/v2/_catalog".to_owned(), None),
        ("/nothing".to_owned(), None),
    ] {
        assert_eq!(
            route::reference(path.as_bytes()),
            reference.map(str::as_bytes),
            "{path}"
        );
    }
}
