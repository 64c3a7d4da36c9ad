//! The results of V1's search, made of a registry's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

use registry_auth::listing::{PAGE_BYTES, Reading};
use registry_auth::search::{RESULTS, Search};
use serde_json::{Value, json};

/// What a client gets of a registry's answer that comes in pieces, where it may know these; `None` where it
/// is no answer.
fn searched(body: &str, may_know: impl Fn(&str) -> bool) -> Option<Value> {
    let mut search = Search::default();
    for piece in body.as_bytes().chunks(5) {
        search.feed(piece).ok()?;
        search.read(|name| may_know(name.as_str()), || true).ok()?;
    }
    search.complete();
    let read = search.read(|name| may_know(name.as_str()), || true).ok()?;
    assert_eq!(read, Reading::End);
    Some(serde_json::from_slice(&search.to_json()).unwrap())
}

#[test]
fn results_are_those_that_may_be_known() {
    let body = json!({
        "num_results": 4,
        "query": "a\u{e4}\"",
        "results": [
            {"name": "alice/app", "description": "hers", "star_count": 7, "x": {"name": "bob/x"}},
            {"description": null, "name": "bob/app"},
            {"name": "library/os", "description": ""},
            {"name": "os2"},
        ],
    });
    let all = searched(&body.to_string(), |_| true).unwrap();
    assert_eq!(all["num_results"], 4);
    assert_eq!(all["query"], "a\u{e4}\"");
    let some = searched(&body.to_string(), |name| {
        name != "bob/app" && name != "library/os"
    })
    .unwrap();
    let expected =
        json!([{"name": "alice/app", "description": "hers"}, {"name": "os2", "description": null}]);
    assert_eq!(
        (some["num_results"].as_u64(), &some["results"]),
        (Some(2), &expected)
    );
    // A name of one segment is in `library/`.
    let library = searched(&body.to_string(), |name| name.starts_with("library/")).unwrap();
    assert_eq!(library["num_results"], 2);
    assert_eq!(library["results"][1]["name"], "os2");
    let none = searched(&body.to_string(), |_| false).unwrap();
    assert_eq!(
        none,
        json!({"num_results": 0, "query": "a\u{e4}\"", "results": []})
    );
}

#[test]
fn what_is_no_list_of_results_is_none() {
    for body in [
        "",
        "[]",
        "null",
        "{\"results\":[\"a\"]}",
        "{\"results\":[{}]}",
        "{\"results\":[{\"name\":1}]}",
        "{\"results\":[{\"name\":null}]}",
        "{\"results\":[{\"name\":\"a\",\"name\":\"b\"}]}",
        "{\"results\":{\"name\":\"a\"}}",
        "{\"results\":[],\"results\":[]}",
        "{\"query\":[],\"results\":[]}",
        "{\"results\":[]",
        "<html>",
    ] {
        assert_eq!(searched(body, |_| true), None, "{body}");
    }
    for (body, number) in [
        ("{}", 0),
        ("{\"results\":null}", 0),
        // No repository may be called so, and nobody could be asked about it.
        (
            "{\"query\":null,\"results\":[{\"name\":\"../x\"},{\"name\":\"Upper/x\"},{\"name\":\"a/b\"}]}",
            1,
        ),
    ] {
        assert_eq!(searched(body, |_| true).unwrap()["num_results"], number, "{body}");
    }
}

#[test]
fn results_are_bounded() {
    let results: Vec<Value> = (0..5_000)
        .map(|number| json!({"name": format!("a/r{number}")}))
        .collect();
    let found = searched(&json!({ "results": results }).to_string(), |_| true).unwrap();
    assert_eq!(found["num_results"], RESULTS);
    let mut search = Search::default();
    assert!(search.feed(&vec![b' '; PAGE_BYTES]).is_ok());
    assert!(search.feed(b" ").is_err());
}
