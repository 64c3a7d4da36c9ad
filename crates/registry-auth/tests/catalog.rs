//! A client's page of the catalogue, made of a registry's pages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

use proptest::prelude::*;
use registry_auth::catalog::{Catalog, PAGE, Progress, REQUESTS, by_path, has_next};
use registry_auth::cursor::{CursorKeys, NONCE};
use registry_auth::listing::{Malformed, PAGE_BYTES, Reading, TEXT_BYTES};
use registry_auth::{Reason, RepositoryName};

fn keys() -> CursorKeys {
    CursorKeys::derived([&[7; 32][..]]).unwrap()
}

fn catalog(args: &[u8]) -> Catalog {
    Catalog::new(args, |sealed| keys().open(sealed)).unwrap()
}

fn link(catalog: &Catalog) -> Option<String> {
    catalog.link(|name| keys().seal(name, [1; NONCE]))
}

/// The registry's page has come, and is read in one go.
fn end(catalog: &mut Catalog, more: bool, may_know: impl Fn(&str) -> bool) -> Result<Progress, Malformed> {
    catalog.complete();
    let read = catalog.read(|name| may_know(name.as_str()), || true)?;
    assert_eq!(read, Reading::End);
    catalog.end(more)
}

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
        let after: Vec<&String> = self
            .names
            .iter()
            .filter(|name| by_path(name, &last).is_gt())
            .collect();
        let shown = &after[..after.len().min(n).min(self.limit)];
        let body = serde_json::json!({ "repositories": shown }).to_string();
        (body.into_bytes(), shown.len() < after.len())
    }
}

/// The names that a client is shown, and the next page's query.
fn shown(catalog: &Catalog) -> (Vec<String>, Option<String>) {
    let json: serde_json::Value = serde_json::from_slice(&catalog.to_json()).unwrap();
    let names = json["repositories"].as_array().unwrap();
    let names = names
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let next = link(catalog).map(|link| {
        let args = link.strip_prefix("</v2/_catalog?").unwrap();
        args.strip_suffix(">; rel=\"next\"").unwrap().to_owned()
    });
    (names, next)
}

/// One request of a client: the names and the next page's query.
fn ask(
    registry: &mut Registry,
    args: &str,
    may_know: impl Fn(&str) -> bool,
) -> (Vec<String>, Option<String>) {
    let mut catalog = catalog(args.as_bytes());
    let before = registry.asked;
    loop {
        let (body, more) = registry.page(&catalog.args());
        for piece in body.chunks(7) {
            catalog.feed(piece).unwrap();
            // In between, as it comes.
            let read = catalog.read(|name| may_know(name.as_str()), || true);
            assert_eq!(read, Ok(Reading::Dry));
        }
        if end(&mut catalog, more, &may_know).unwrap() == Progress::Done {
            break;
        }
    }
    assert!(registry.asked - before <= REQUESTS);
    shown(&catalog)
}

/// All requests of a client that follows the links.
fn walk(registry: &mut Registry, n: usize, may_know: impl Fn(&str) -> bool + Copy) -> Vec<String> {
    let (mut all, mut args) = (Vec::new(), format!("n={n}"));
    loop {
        let (names, next) = ask(registry, &args, may_know);
        assert!(names.len() <= n);
        assert!(
            next.is_none() || names.len() == n || registry.asked.is_multiple_of(REQUESTS),
            "a page is short only where the registry was asked often"
        );
        registry.asked = 0;
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
    let args = |query: &str| Catalog::new(query.as_bytes(), |_| None).map(|catalog| catalog.args());
    for query in [
        "",
        "n=5",
        "n=1000000",
        "n=99999999999999999999999",
        "x=y",
        "last=",
        "n=5&N=6&nn=7",
        // As distribution has it: as if it were not there.
        "n=",
        "n=-1",
        "n=1.5",
        "n=x",
        "n=0",
    ] {
        assert_eq!(args(query).unwrap(), "n=1000", "{query}");
    }
    assert_eq!(args("last=a%2Fb&n=1").unwrap(), "n=1000&last=a/b");
    assert_eq!(
        args("last=a%26n%3D7%0d%0aX").unwrap(),
        "n=1000&last=a%26n%3D7%0D%0AX"
    );
    let long = format!("last={}", "a".repeat(1_025));
    for query in ["n=1&n=2", "last=a&last=a", "last=%ff", &long] {
        let denial = args(query).unwrap_err();
        assert_eq!(
            (denial.status(), denial.reason),
            (400, Reason::PaginationNumber),
            "{query}"
        );
    }
}

#[test]
fn who_asks_for_no_names_gets_none() {
    let mut none = catalog(b"n=0");
    none.feed(br#"{"repositories":["a","b"]}"#).unwrap();
    assert_eq!(end(&mut none, true, |_| true), Ok(Progress::Done));
    assert_eq!(none.to_json(), b"{\"repositories\":[]}\n");
    assert_eq!(none.link(|_| panic!("nothing is sealed")), None);
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
        let mut catalog = catalog(b"");
        catalog.feed(body.as_bytes()).unwrap();
        assert!(end(&mut catalog, false, |_| true).is_err(), "{body}");
    }
    let deep = format!("{{\"x\":{}", "[".repeat(100));
    let mut catalog = catalog(b"");
    catalog.feed(deep.as_bytes()).unwrap();
    assert!(catalog.read(|_| true, || true).is_err());
}

/// Whatever is read of it meanwhile, and whatever it is made of.
#[test]
fn a_page_of_more_than_a_mebibyte_is_refused() {
    let mut catalog = catalog(b"");
    let mut piece = b"{\"x\":[1".to_vec();
    piece.resize(8_192, b' ');
    catalog.feed(&piece).unwrap();
    let mut size = piece.len();
    let piece = b",123".repeat(2_048);
    while catalog.feed(&piece).is_ok() {
        size += piece.len();
        assert_eq!(catalog.read(|_| true, || true), Ok(Reading::Dry));
    }
    assert_eq!(size, PAGE_BYTES);
}

/// Of a name, of what is skipped, and of white space; also while it comes.
#[test]
fn a_text_of_more_than_64_kibibytes_is_refused() {
    let (long, fits) = ("y".repeat(TEXT_BYTES + 4_096), "y".repeat(TEXT_BYTES - 8_192));
    for (start, end) in [
        ("{\"repositories\":[\"", "\"]}"),
        ("{\"x\":\"", "\"}"),
        ("{\"", "\":1}"),
    ] {
        let mut refused = catalog(b"");
        refused.feed(format!("{start}{long}").as_bytes()).unwrap();
        let error = refused.read(|_| true, || true).unwrap_err();
        assert_eq!(error.why(), "a text in it is too long", "{start}");
        let mut read = catalog(b"");
        read.feed(format!("{start}{fits}{end}").as_bytes()).unwrap();
        read.complete();
        assert_eq!(read.read(|_| true, || true), Ok(Reading::End), "{start}");
    }
    let mut blank = catalog(b"");
    blank.feed(&vec![b' '; TEXT_BYTES + 4_096]).unwrap();
    assert!(blank.read(|_| true, || true).is_err());
}

/// What a registry sends is read in steps that the caller ends: a name at a time, or some bytes.
#[test]
fn reading_pauses_where_the_caller_wants() {
    let mut catalog = catalog(b"");
    let names: Vec<String> = (0..100).map(|number| format!("r{number:03}")).collect();
    let body = serde_json::json!({ "x": "y".repeat(60_000), "repositories": names }).to_string();
    catalog.feed(body.as_bytes()).unwrap();
    let (mut pauses, mut asked) = (0, Vec::new());
    loop {
        let before = asked.len();
        let read = catalog.read(
            |name| {
                asked.push(name.to_string());
                true
            },
            || false,
        );
        assert!(asked.len() - before <= 1, "one name, and it pauses");
        match read.unwrap() {
            Reading::Paused => pauses += 1,
            other => {
                assert_eq!(other, Reading::Dry);
                break;
            }
        }
    }
    assert_eq!(asked, names);
    assert!(pauses > 100 + 60_000 / 4_096, "{pauses}");
    assert_eq!(end(&mut catalog, false, |_| true), Ok(Progress::Done));
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
        let mut catalog = catalog(b"");
        catalog.feed(body.as_bytes()).unwrap();
        assert_eq!(end(&mut catalog, false, |_| true), Ok(Progress::Done), "{body}");
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
    let page = |catalog: &mut Catalog, name: &str, more: bool| {
        let body = format!("{{\"repositories\":[\"{name}\"]}}");
        catalog.feed(body.as_bytes()).unwrap();
        end(catalog, more, |_| false)
    };
    let mut repeated = catalog(b"");
    assert_eq!(page(&mut repeated, "a", true), Ok(Progress::Ask));
    assert!(page(&mut repeated, "a", true).is_err());
    let mut empty = catalog(b"");
    empty.feed(b"{\"repositories\":[]}").unwrap();
    assert_eq!(
        end(&mut empty, true, |_| true),
        Ok(Progress::Done),
        "an empty page is the last"
    );
    let mut endless = catalog(b"n=3");
    for number in 1..REQUESTS {
        assert_eq!(
            page(&mut endless, &format!("secret/{number}"), true),
            Ok(Progress::Ask)
        );
    }
    assert_eq!(page(&mut endless, "secret/last", true), Ok(Progress::Done));
}

/// The answer says where to go on, but not after which name.
#[test]
fn a_link_does_not_name_what_is_hidden() {
    let unfinished = |may_know: fn(&str) -> bool| {
        let mut catalog = catalog(b"n=300");
        for number in 0..REQUESTS {
            let body = format!("{{\"repositories\":[\"secret/{number:03}\"]}}");
            catalog.feed(body.as_bytes()).unwrap();
            end(&mut catalog, true, may_know).unwrap();
        }
        let link = link(&catalog).unwrap();
        let args = link.strip_prefix("</v2/_catalog?").unwrap();
        args.strip_suffix(">; rel=\"next\"").unwrap().to_owned()
    };
    let args = unfinished(|_| false);
    assert!(!args.contains("secret") && args.ends_with("&n=300"), "{args}");
    assert_eq!(catalog(args.as_bytes()).args(), "n=1000&last=secret/049");
    let others = Catalog::new(args.as_bytes(), |sealed| {
        CursorKeys::derived([&[8; 32][..]]).unwrap().open(sealed)
    });
    assert_eq!(
        others.err().map(|denial| denial.reason),
        Some(Reason::PaginationNumber)
    );
    // What was shown may be named.
    assert_eq!(unfinished(|_| true), "last=secret/049&n=300");
    assert!(unfinished(|name| name != "secret/049").starts_with("last=%7E"));
}

#[test]
fn cursors_open_as_they_were_sealed() {
    let old = [8; 32];
    let both = CursorKeys::derived([&[7; 32][..], &old]).unwrap();
    let sealed = |name: &str| keys().seal(name, [3; NONCE]).unwrap();
    for name in ["a", "a/b", &"x".repeat(1_024)] {
        assert_eq!(both.open(&sealed(name)).as_deref(), Some(name));
        let before = CursorKeys::derived([&old[..]]).unwrap().seal(name, [3; NONCE]);
        assert_eq!(both.open(&before.unwrap()).as_deref(), Some(name), "an older key");
        assert_eq!(
            keys().open(&both.seal(name, [4; NONCE]).unwrap()).as_deref(),
            Some(name)
        );
    }
    assert_eq!(
        sealed("a").len(),
        sealed("a/much/longer/name").len(),
        "lengths show in steps"
    );
    assert_ne!(sealed("a"), keys().seal("a", [4; NONCE]).unwrap());
    assert!(CursorKeys::derived([]).is_none());
    let mut changed = sealed("a").into_bytes();
    for at in 0..changed.len() {
        let byte = changed[at];
        changed[at] = if byte == b'A' { b'B' } else { b'A' };
        assert_eq!(keys().open(std::str::from_utf8(&changed).unwrap()), None, "{at}");
        changed[at] = byte;
    }
    for other in ["", "~", "~AAAA", "a/b", "~~", "~\u{e4}"] {
        assert_eq!(keys().open(other), None, "{other}");
    }
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
        names in prop::collection::btree_set("[a-z]{1,3}(/[a-z]{1,2})?", 0..60),
        n in 1usize..9,
        limit in 1usize..9,
        known in any::<u64>(),
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let mix = |hash: u64, byte| hash.rotate_left(5) ^ u64::from(byte);
        let may_know = |name: &str| name.bytes().fold(known, mix) % 3 == 0;
        let mut registry = Registry { names: names.clone(), limit, asked: 0 };
        let expected: Vec<String> = names.into_iter().filter(|name| may_know(name)).collect();
        prop_assert_eq!(walk(&mut registry, n, may_know), expected);
    }

    /// However a page is cut, paused and spelled, it is read as serde reads it.
    #[test]
    fn a_page_is_what_serde_says(
        names in prop::collection::vec("[a-z]{1,9}|\\PC{0,4}", 0..20),
        before in "\\PC{0,9}",
        size in 1usize..30,
        pause in any::<u64>(),
    ) {
        let page = serde_json::json!({
            "a": { "b": [before, 1.5, null, true] }, "repositories": names, "z": -1,
        });
        let pretty = serde_json::to_string_pretty(&page);
        let mut read = Vec::new();
        let mut catalog = catalog(b"");
        let mut turn = pause;
        let mut drain = |catalog: &mut Catalog| loop {
            let mut take = |name: &RepositoryName<'_>| {
                read.push(name.to_string());
                true
            };
            let state = catalog.read(&mut take, || { turn = turn.rotate_left(1); turn & 1 == 1 });
            match state.unwrap() {
                Reading::Paused => turn = turn.wrapping_add(1),
                other => break other,
            }
        };
        for piece in pretty.unwrap().as_bytes().chunks(size) {
            catalog.feed(piece).unwrap();
            prop_assert_eq!(drain(&mut catalog), Reading::Dry);
        }
        catalog.complete();
        prop_assert_eq!(drain(&mut catalog), Reading::End);
        let legal = |name: &String| RepositoryName::parse(name.as_bytes()).is_ok();
        prop_assert_eq!(read, names.into_iter().filter(legal).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_do_harm(
        args in prop::collection::vec(any::<u8>(), 0..40),
        body in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        if let Ok(mut catalog) = Catalog::new(&args, |sealed| keys().open(sealed)) {
            catalog.feed(&body).unwrap();
            catalog.complete();
            let _ = catalog.read(|_| true, || true);
            let _ = catalog.end(true);
            let _ = (catalog.to_json(), link(&catalog), has_next(&body));
        }
    }
}

/// One request of a client, of whose backends some are down: the answer, the next page's query, and how often
/// they were asked.
fn ask_merged(
    registries: &mut [Registry],
    args: &str,
    down: &[usize],
    may_know: impl Fn(&str) -> bool,
) -> (Vec<String>, Option<String>, bool) {
    let names: Vec<String> = (0..registries.len())
        .map(|at| format!("registry{at}:5000"))
        .collect();
    let mut catalog = catalog(args.as_bytes());
    let asked = |registries: &[Registry]| registries.iter().map(|registry| registry.asked).sum::<usize>();
    let before = asked(registries);
    loop {
        let at = catalog
            .among(names.iter().map(String::as_bytes), |_| false)
            .unwrap();
        let progress = match down.contains(&at) {
            true => catalog.leave_out().unwrap(),
            false => {
                let (body, more) = registries[at].page(&catalog.args());
                catalog.feed(&body).unwrap();
                end(&mut catalog, more, &may_know).unwrap()
            }
        };
        if progress == Progress::Done {
            break;
        }
    }
    assert!(asked(registries) - before <= REQUESTS);
    let (names, next) = shown(&catalog);
    (names, next, catalog.is_incomplete())
}

fn registry(names: &[String], limit: usize) -> Registry {
    let mut names = names.to_vec();
    names.sort_by(|one, other| by_path(one, other));
    names.dedup();
    Registry {
        names,
        limit,
        asked: 0,
    }
}

#[test]
fn the_order_is_that_of_folders() {
    let mut names = ["a-b", "a/b", "a", "ab", "a/b-c", "a/b/c", "a.b"];
    names.sort_by(|one, other| by_path(one, other));
    assert_eq!(names, ["a", "a/b", "a/b/c", "a/b-c", "a-b", "a.b", "ab"]);
}

fn among(catalog: &mut Catalog, names: &[&str], down: &[bool]) -> Result<usize, Malformed> {
    catalog.among(names.iter().map(|name| name.as_bytes()), |at| {
        down.get(at) == Some(&true)
    })
}

#[test]
fn registries_that_are_known_to_be_down_are_left_out_unless_all_are() {
    for (down, first, incomplete) in [
        ([false, false], 0, false),
        ([true, false], 1, true),
        ([true, true], 0, false),
    ] {
        let mut catalog = catalog(b"");
        assert_eq!(among(&mut catalog, &["a:1", "b:1"], &down), Ok(first));
        assert_eq!(catalog.is_incomplete(), incomplete);
    }
}

#[test]
fn an_address_of_a_name_of_which_another_one_answers_is_not_missed() {
    let mut catalog = catalog(b"");
    let names = ["a:1", "a:1", "b:1"];
    assert_eq!(among(&mut catalog, &names, &[]), Ok(0));
    assert_eq!(catalog.leave_out(), Ok(Progress::Ask));
    assert!(catalog.is_incomplete());
    assert_eq!(among(&mut catalog, &names, &[]), Ok(1));
    catalog.feed(b"{}").unwrap();
    assert_eq!(end(&mut catalog, false, |_| true), Ok(Progress::Ask));
    assert!(!catalog.is_incomplete());
    assert_eq!(among(&mut catalog, &names, &[]), Ok(2));
    assert_eq!(catalog.leave_out(), Ok(Progress::Done));
    assert!(catalog.is_incomplete());
}

#[test]
fn backends_that_change_within_a_list_are_an_error() {
    let mut catalog = catalog(b"");
    assert_eq!(among(&mut catalog, &["a:1", "b:1"], &[]), Ok(0));
    assert_eq!(among(&mut catalog, &["a:1", "b:1"], &[]), Ok(0));
    assert!(among(&mut catalog, &["a:1", "c:1"], &[]).is_err());
    assert!(among(&mut catalog, &["a:1"], &[]).is_err());
    assert!(among(&mut self::catalog(b""), &["a:1"; REQUESTS + 1], &[]).is_err());
    assert!(among(&mut self::catalog(b""), &["a:1"; REQUESTS], &[]).is_ok());
}

#[test]
fn a_list_in_another_order_is_noticed() {
    for (names, expected) in [(r#"["a/b","a-b"]"#, false), (r#"["a-b","a/b"]"#, true)] {
        let mut catalog = catalog(b"");
        among(&mut catalog, &["a:1", "b:1"], &[]).unwrap();
        catalog
            .feed(format!(r#"{{"repositories":{names}}}"#).as_bytes())
            .unwrap();
        end(&mut catalog, false, |_| true).unwrap();
        assert_eq!(catalog.is_disordered(), expected);
    }
}

/// A merged page takes no more memory than another one: what is beyond it is forgotten.
#[test]
fn of_many_lists_no_more_names_are_kept_than_are_wanted() {
    let all: Vec<String> = (0..3_000).map(|number| format!("x/{number:05}")).collect();
    let mut registries: Vec<Registry> = (0..3)
        .map(|at| {
            registry(
                &all.iter().skip(at).step_by(3).cloned().collect::<Vec<_>>(),
                1_000,
            )
        })
        .collect();
    let (names, next, _) = ask_merged(&mut registries, "n=10", &[], |_| true);
    assert_eq!(names, all[..10]);
    assert_eq!(next.as_deref(), Some("last=x/00009&n=10"));
    assert!(registries.iter().all(|registry| registry.asked == 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever lies where, in one storage or in several, and however pages are cut: who goes from link to
    /// link sees the union of what they may know, in order, each once.
    #[test]
    fn the_pages_of_several_registries_are_their_union(
        lists in prop::collection::vec(prop::collection::vec("[ab]([-./]?[ab]){0,3}", 0..40), 2..5),
        limit in 1_usize..9,
        n in 1_usize..12,
        hidden in "[ab]",
        down in prop::option::of(0_usize..5),
    ) {
        let may_know = |name: &str| !name.ends_with(&hidden);
        let mut registries: Vec<Registry> = lists.iter().map(|list| registry(list, limit)).collect();
        let down: Vec<usize> = down.into_iter().filter(|at| *at < lists.len()).collect();
        let mut expected: Vec<String> = lists.iter().enumerate()
            .filter(|(at, _)| !down.contains(at))
            .flat_map(|(_, list)| list.clone())
            .filter(|name| may_know(name))
            .collect();
        expected.sort_by(|one, other| by_path(one, other));
        expected.dedup();
        let (mut seen, mut args) = (Vec::new(), format!("n={n}"));
        for _ in 0..200 {
            let (names, next, is_incomplete) = ask_merged(&mut registries, &args, &down, may_know);
            prop_assert!(names.len() <= n);
            prop_assert_eq!(is_incomplete, !down.is_empty());
            seen.extend(names);
            match next {
                Some(next) => args = next,
                None => break,
            }
        }
        prop_assert_eq!(seen, expected);
    }
}
