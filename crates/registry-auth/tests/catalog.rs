//! A client's page of the catalogue, made of a registry's pages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

use proptest::prelude::*;
use registry_auth::catalog::{has_next, Catalog, Progress, PAGE, PAGE_BYTES};
use registry_auth::Reason;

/// A registry that makes pages as distribution does, `limit` names at most.
struct Registry {
    names: Vec<String>,
    limit: usize,
    asked: usize,
}

impl Registry {
    fn page(&mut self, args: &str) -> (Vec<u8>, bool) {
        self.asked += 1;
        let value = |key: &str| {
            let mut values = args
                .split('&')
                .filter_map(|part| part.strip_prefix(key)?.strip_prefix('='));
            values.next().map(str::to_owned)
        };
        let n: usize = value("n").unwrap().parse().unwrap();
        assert_eq!(n, PAGE);
        let last = value("last").unwrap_or_default();
        let after: Vec<&String> = self.names.iter().filter(|name| **name > last).collect();
        let shown = &after[..after.len().min(n).min(self.limit)];
        let body = serde_json::json!({ "repositories": shown }).to_string();
        (body.into_bytes(), shown.len() < after.len())
    }
}

/// One request of a client: the names and the next page's query.
fn ask(
    registry: &mut Registry,
    args: &str,
    may_know: impl Fn(&str) -> bool,
) -> (Vec<String>, Option<String>) {
    let mut catalog = Catalog::new(args.as_bytes()).unwrap();
    loop {
        let (body, more) = registry.page(&catalog.args());
        for piece in body.chunks(7) {
            catalog.feed(piece).unwrap();
        }
        if catalog.end(more, |name| may_know(name.as_str())).unwrap() == Progress::Done {
            break;
        }
    }
    let json: serde_json::Value = serde_json::from_slice(&catalog.to_json()).unwrap();
    let names = json["repositories"].as_array().unwrap();
    let names = names
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let next = catalog.link().map(|link| {
        let args = link.strip_prefix("</v2/_catalog?").unwrap();
        args.strip_suffix(">; rel=\"next\"").unwrap().to_owned()
    });
    (names, next)
}

/// All requests of a client that follows the links.
fn walk(registry: &mut Registry, n: usize, may_know: impl Fn(&str) -> bool + Copy) -> Vec<String> {
    let (mut all, mut args) = (Vec::new(), format!("n={n}"));
    loop {
        let (names, next) = ask(registry, &args, may_know);
        assert!(names.len() <= n);
        assert!(
            next.is_none() || names.len() == n,
            "a short page ends a client's paging"
        );
        all.extend(names);
        match next {
            Some(next) => args = next,
            None => return all,
        }
    }
}

#[test]
fn a_page_is_filled_over_the_registrys_pages() {
    let names = (0..5_000).map(|number| format!("r{number:05}/x")).collect();
    let mut registry = Registry {
        names,
        limit: 1_000,
        asked: 0,
    };
    let some = |name: &str| name.ends_with("00/x");
    let (names, next) = ask(&mut registry, "n=30", some);
    assert_eq!((names.len(), names[29].as_str()), (30, "r02900/x"));
    assert_eq!(next.as_deref(), Some("last=r02900/x&n=30"));
    assert_eq!(
        registry.asked, 4,
        "up to the first name of the next page, and no further"
    );
    let (names, next) = ask(&mut registry, "last=r02900/x&n=30", some);
    assert_eq!((names.len(), next), (20, None));
    assert_eq!(ask(&mut registry, "", |_| false), (Vec::new(), None));
}

#[test]
fn n_and_last_are_read_and_bounded() {
    let args = |query: &str| Catalog::new(query.as_bytes()).map(|catalog| catalog.args());
    for query in [
        "",
        "n=5",
        "n=1000000",
        "n=99999999999999999999999",
        "x=y",
        "last=",
        "n=5&N=6&nn=7",
    ] {
        assert_eq!(args(query).unwrap(), "n=1000", "{query}");
    }
    assert_eq!(args("last=a%2Fb&n=1").unwrap(), "n=1000&last=a/b");
    assert_eq!(
        args("last=a%26n%3D7%0d%0aX").unwrap(),
        "n=1000&last=a%26n%3D7%0D%0AX"
    );
    let long = format!("last={}", "a".repeat(1_025));
    for query in [
        "n=",
        "n=0",
        "n=-1",
        "n=+5",
        "n=1.5",
        "n=x",
        "n=1&n=2",
        "last=a&last=a",
        "last=%ff",
        &long,
    ] {
        let denial = args(query).unwrap_err();
        assert_eq!(
            (denial.status(), denial.reason),
            (400, Reason::PaginationNumber),
            "{query}"
        );
    }
}

#[test]
fn what_is_no_page_is_malformed() {
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"repositories\":[\"a\"",
        "{\"repositories\":[1]}",
        "{\"repositories\":\"a\"}",
        "{\"repositories\":[\"a\"]}x",
        "{\"repositories\":[\"a\"],}",
        "<html>",
        "{\"repositories\":[\"\\x\"]}",
        "{\"repositories\":[\"a\"],\"repositories\":[\"b\"]}",
    ] {
        let mut catalog = Catalog::new(b"").unwrap();
        catalog.feed(body.as_bytes()).unwrap();
        assert!(catalog.end(false, |_| true).is_err(), "{body}");
    }
    let mut catalog = Catalog::new(b"").unwrap();
    assert!(catalog.feed(&vec![b' '; PAGE_BYTES + 1]).is_err());
}

#[test]
fn other_members_white_space_and_escapes_are_read() {
    for (body, expected) in [
        (
            " {\n\"a\" : [1,{\"b\":null}], \"repositories\" : [ \"x\\u002fy\" ,\"z\" ] } ",
            "x/y z",
        ),
        ("{\"repositories\":null}", ""),
        ("{}", ""),
        // No repository may be called so, and nobody could be asked about it.
        ("{\"repositories\":[\"Upper\",\"../x\",\"ok\",\"\"]}", "ok"),
    ] {
        let mut catalog = Catalog::new(b"").unwrap();
        catalog.feed(body.as_bytes()).unwrap();
        assert_eq!(catalog.end(false, |_| true), Ok(Progress::Done), "{body}");
        let json: serde_json::Value = serde_json::from_slice(&catalog.to_json()).unwrap();
        let names: Vec<&str> = json["repositories"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        assert_eq!(names.join(" "), expected, "{body}");
    }
}

/// A registry that repeats itself, or never ends, does not keep anybody busy for ever.
#[test]
fn it_comes_to_an_end() {
    let mut catalog = Catalog::new(b"").unwrap();
    let page = |catalog: &mut Catalog, name: &str, more: bool| {
        catalog
            .feed(format!("{{\"repositories\":[\"{name}\"]}}").as_bytes())
            .unwrap();
        catalog.end(more, |_| false)
    };
    assert_eq!(page(&mut catalog, "a", true), Ok(Progress::Ask));
    assert!(page(&mut catalog, "a", true).is_err());
    let mut catalog = Catalog::new(b"").unwrap();
    let asked = (0..10_000)
        .take_while(|number| page(&mut catalog, &number.to_string(), true).is_ok())
        .count();
    assert_eq!(asked, 999);
    let mut catalog = Catalog::new(b"").unwrap();
    catalog.feed(b"{\"repositories\":[]}").unwrap();
    assert_eq!(
        catalog.end(true, |_| true),
        Ok(Progress::Done),
        "an empty page is the last"
    );
}

#[test]
fn links_say_whether_there_is_another_page() {
    for yes in [
        "</v2/_catalog?last=b&n=2>; rel=\"next\"",
        "<x>;rel=next",
        "<x>; title=\"a\"; REL=\"prev next\"",
    ] {
        assert!(has_next(yes.as_bytes()), "{yes}");
    }
    for no in [
        "",
        "<rel=next>",
        "<x>; rel=\"prev\"",
        "<x>; rel=\"nextx\"",
        "next",
    ] {
        assert!(!has_next(no.as_bytes()), "{no}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever follows the links sees each name that he may know once, in order, and no other.
    #[test]
    fn every_name_is_seen_once(
        names in prop::collection::btree_set("[a-z]{1,3}(/[a-z]{1,2})?", 0..60), n in 1usize..9, limit in 1usize..9, known in any::<u64>(),
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let may_know = |name: &str| name.bytes().fold(known, |hash, byte| hash.rotate_left(5) ^ u64::from(byte)) % 3 == 0;
        let mut registry = Registry { names: names.clone(), limit, asked: 0 };
        let expected: Vec<String> = names.into_iter().filter(|name| may_know(name)).collect();
        prop_assert_eq!(walk(&mut registry, n, may_know), expected);
    }

    #[test]
    fn no_bytes_do_harm(args in prop::collection::vec(any::<u8>(), 0..40), body in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(mut catalog) = Catalog::new(&args) {
            catalog.feed(&body).unwrap();
            let _ = catalog.end(true, |_| true);
            let _ = (catalog.to_json(), catalog.link(), has_next(&body));
        }
    }
}
