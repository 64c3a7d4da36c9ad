//! Where a `Location` leads: hostile ones, and what a client's own parser makes of those that are let
//! through.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use registry_auth::redirect::{
    Elsewhere, Here, Place, StorageHost, StorageHosts, path_here, redirect_here, upload_here,
};
use url::Url;

const HOST: &str = "registry.example:5000";

fn here(location: &str) -> Option<&str> {
    path_here(location.as_bytes(), HOST.as_bytes()).map(|path| std::str::from_utf8(path).unwrap())
}

#[test]
fn what_leads_to_this_server_is_a_path() {
    for (location, path) in [
        ("/v1/users/", "/v1/users/"),
        ("/", "/"),
        ("/v1/search?q=a//b", "/v1/search?q=a//b"),
        ("http://registry.example:5000/v1/users/", "/v1/users/"),
        (
            "https://registry.example:5000/v1/users/?a=b#c",
            "/v1/users/?a=b#c",
        ),
        ("HTTPS://Registry.Example:5000/v1/", "/v1/"),
        ("https://registry.example:5000/a//b", "/a//b"),
    ] {
        assert_eq!(here(location), Some(path), "{location}");
    }
}

#[test]
fn whatever_else_leads_away() {
    for location in [
        "",
        "http://other.example/v1/",
        "https://other.example:5000/v1/",
        "//other.example/v1/",
        "//registry.example:5000/v1/",
        "///other.example/v1/",
        "/\\other.example/v1/",
        "\\\\other.example/v1/",
        "/\t/other.example/",
        "/ /other.example/",
        " //other.example/",
        "\t//other.example/",
        "https:other.example/v1/",
        "https:/other.example/v1/",
        "https:///other.example/v1/",
        "https:\\\\other.example/",
        "ftp://registry.example:5000/",
        "javascript://registry.example:5000/%0aalert(1)",
        "data:text/html,x",
        "//",
        "registry.example:5000/v1/",
        "other.example:5000/v1/",
        "v1/users",
        "../v1/users",
        "?a=b",
        "#a",
        "https://registry.example/v1/",
        "https://registry.example:50000/v1/",
        "https://registry.example:5000@other.example/v1/",
        "https://user:password@registry.example:5000/v1/",
        "https://registry.example:5000.other.example/v1/",
        "https://registry.example:5000:80/v1/",
        "https://registry.example:5000\\@other.example/v1/",
        "https://registry.example:5000",
        "https://registry.example:5000?x",
        "https://registry.example:5000#x",
        "https://registry.example:5000//other.example/",
        "https://registry.example:5000/\u{e9}",
        "https://registry.example:5000/a\u{0}b",
        "https://registry.example:5000/a\r\nb",
        "https://xregistry.example:5000/",
        "https://",
        "http:/",
    ] {
        assert_eq!(here(location), None, "{location:?}");
    }
}

/// Without a `Host`, there is nothing to compare with: a path alone stays.
#[test]
fn a_client_without_a_host() {
    assert_eq!(path_here(b"https:///v1/", b""), None);
    assert_eq!(path_here(b"/v1/", b""), Some(&b"/v1/"[..]));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 8192,
        ..ProptestConfig::default()
    })]

    /// The parser of browsers, which reads more into a URL than Go's, ends at this server, too.
    #[test]
    fn a_client_stays_at_this_server(
        parts in prop::collection::vec(
            prop_oneof![
                8 => prop::sample::select(vec![
                    "http:", "https:", "/", "//", "\\", HOST, "REGISTRY.example:5000", "registry.example",
                    "other.example", "@", ":", ":80", "a", "v1", "..", ".", "?", "#", "%2f", " ", "\t", "\n",
                    "é", ";", "javascript:",
                ]).prop_map(str::to_owned),
                1 => "[ -~]{0,3}",
            ],
            0..8,
        ),
        host in prop::sample::select(vec![HOST, "", "registry.example"]),
    ) {
        let location = parts.concat();
        let Some(path) = path_here(location.as_bytes(), host.as_bytes()) else { return Ok(()) };
        let path = std::str::from_utf8(path).unwrap();
        let own = if host.is_empty() { HOST } else { host };
        let base = Url::parse(&format!("https://{own}/v1/repositories/a/b/images")).unwrap();
        for led in [location.as_str(), path] {
            let led = base.join(led).unwrap();
            prop_assert_eq!(led.host_str(), base.host_str(), "{:?}", &location);
            prop_assert!(led.port() == base.port(), "{:?}", &location);
            prop_assert!(led.username().is_empty() && led.password().is_none(), "{:?}", &location);
        }
        let on = base.join(path).unwrap();
        prop_assert_eq!(on.scheme(), "https", "{:?}", location);
    }
}

#[test]
fn a_path_is_of_an_upload_or_a_blob_or_of_the_registry() {
    for (path, place) in [
        ("/v2/", Place::Registrys),
        ("/v2/a/manifests/v1", Place::Registrys),
        ("/v2/a/tags/list", Place::Registrys),
        ("/v2/a/b/blobs/sha256:abcd", Place::Blob),
        ("/v2/blobs/blobs/sha256:abcd", Place::Blob),
        ("/v2/a/blobs/uploads/", Place::Upload),
        ("/v2/a/blobs/uploads", Place::Upload),
        ("/v2/a/blobs/uploads/sha256:abcd", Place::Upload),
        // Of a repository that is called so: nothing leads elsewhere.
        ("/v2/a/blobs/uploads/manifests/v1", Place::Upload),
        ("/v2/a/blobs/tags/list", Place::Registrys),
        ("/v2/a/blobs/sha256:abcd/tags/list", Place::Registrys),
        ("/v2/a/blobs/abcd", Place::Registrys),
        ("/v2/a/blobs/", Place::Registrys),
    ] {
        assert_eq!(Place::of(path.as_bytes()), place, "{path}");
    }
}

#[test]
fn a_redirect_of_what_is_read_stays_here() {
    for (location, expected) in [
        ("/v2/a/manifests/v1", Some(Here::AsWritten)),
        ("v1?a=b:c", Some(Here::AsWritten)),
        (
            "http://registry.example:5000/v2/a",
            Some(Here::Path(&b"/v2/a"[..])),
        ),
        ("HTTPS://Registry.example:5000/v2/a", Some(Here::Path(b"/v2/a"))),
        ("https://registry.example/v2/a", None),
        ("https://evil.example/v2/a", None),
        ("//evil.example/v2/a", None),
        ("evil:x", None),
        ("", None),
        ("/v2/ a", None),
    ] {
        let here = redirect_here(location.as_bytes(), HOST.as_bytes());
        assert_eq!(here, expected, "{location}");
    }
}

#[test]
fn blobs_lie_at_the_hosts_that_are_named() {
    let named = [
        "one.example",
        "two.example:9000",
        "*.three.example",
        "[fd00::1]",
        "10.0.0.1:80",
    ];
    let hosts: StorageHosts = named
        .iter()
        .map(|host| StorageHost::parse(host.as_bytes()).unwrap())
        .collect();
    for (location, may) in [
        ("https://one.example/b?c=d", true),
        ("HTTPS://ONE.example:443", true),
        ("http://one.example:80?x", true),
        ("https://one.example:80/b", false),
        ("https://one.example:9000/b", false),
        ("https://a.one.example/b", false),
        ("https://one.example./b", false),
        ("https://two.example:9000/b", true),
        ("https://two.example/b", false),
        ("https://a.three.example/b", true),
        ("https://a.b.three.example/b", true),
        ("https://three.example/b", false),
        ("https://.three.example/b", false),
        ("https://athree.example/b", false),
        ("http://[fd00::1]/b", true),
        ("http://[fd00::2]/b", false),
        ("http://10.0.0.1/b", true),
        ("https://10.0.0.1/b", false),
        ("https://one.example@evil.example/b", false),
        ("https://one.example:443@evil.example/b", false),
        ("https://one.example\\.evil.example/b", false),
        ("https://one.example%2e.evil.example/b", false),
        ("//one.example/b", false),
        ("ftp://one.example/b", false),
        ("https:one.example/b", false),
        ("/b", false),
        ("", false),
    ] {
        let place = Elsewhere::of(location.as_bytes());
        assert_eq!(place.is_some_and(|place| hosts.permit(&place)), may, "{location}");
    }
    let nobody = StorageHosts::default();
    assert!(!nobody.permit(&Elsewhere::of(b"https://one.example/").unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 8192,
        ..ProptestConfig::default()
    })]

    /// The parser of browsers finds the host that is named, too, or this server, where a redirect stays.
    #[test]
    fn a_reader_goes_where_it_may(
        location in concat!(
            "(https?:|ftp:|HTTPS:)?/{0,3}",
            "(one\\.example|reg\\.example|evil\\.example|@|:|\\.|443|5000|[a-z]){0,4}",
            "(/v2/|/|\\?|#|\\\\|[a-z:@]){0,5}",
        ),
    ) {
        let hosts: StorageHosts = StorageHost::parse(b"one.example").into_iter().collect();
        let base = Url::parse("https://reg.example:5000/v2/a/blobs/sha256:a").unwrap();
        match redirect_here(location.as_bytes(), b"reg.example:5000") {
            Some(Here::AsWritten) => {
                let led = base.join(&location).unwrap();
                prop_assert_eq!(led.host_str(), Some("reg.example"), "{}", location);
                prop_assert_eq!((led.scheme(), led.port()), ("https", Some(5000)), "{}", location);
            }
            Some(Here::Path(path)) => {
                let led = base.join(std::str::from_utf8(path).unwrap()).unwrap();
                prop_assert_eq!(led.host_str(), Some("reg.example"), "{}", location);
                prop_assert_eq!((led.scheme(), led.port()), ("https", Some(5000)), "{}", location);
            }
            None => {}
        }
        if let Some(place) = Elsewhere::of(location.as_bytes())
            && hosts.permit(&place)
        {
            let led = base.join(&location).unwrap();
            prop_assert_eq!(led.host_str(), Some("one.example"), "{}", location);
            prop_assert_eq!(led.port(), None, "{}", location);
            prop_assert_eq!(led.scheme() == "https", place.is_encrypted, "{}", location);
        }
    }
}

/// An upload goes on here: as the registry has written it, or at the path of the URL; or not at all.
#[test]
fn an_upload_goes_on_here() {
    for (location, expected) in [
        ("/v2/a/blobs/uploads/1?_state=x", Some(Here::AsWritten)),
        (
            "https://registry.example:5000/v2/a/blobs/uploads/1",
            Some(Here::AsWritten),
        ),
        ("HTTPS://REGISTRY.example:5000/v2/a", Some(Here::AsWritten)),
        ("1234?_state=x:y", Some(Here::AsWritten)),
        ("?_state=x", Some(Here::AsWritten)),
        ("http://registry.example:5000/v2/a", Some(Here::Path(b"/v2/a"))),
        ("https://evil.example/v2/a?b=c", Some(Here::Path(b"/v2/a?b=c"))),
        (
            "https://registry.example:5000@evil.example/v2/a",
            Some(Here::Path(b"/v2/a")),
        ),
        ("https://registry.example/v2/a", Some(Here::Path(b"/v2/a"))),
        ("https://evil.example/upload", None),
        ("https://evil.example", None),
        ("https://evil.example//v2/a", None),
        ("https://evil.example\\/v2/a", None),
        ("//evil.example/v2/a", None),
        ("ftp://evil.example/v2/a", None),
        ("javascript:x", None),
        ("/v2/a b", None),
        ("/\t/evil.example/", None),
        ("\\\\evil.example/v2/", None),
        ("", None),
    ] {
        assert_eq!(
            upload_here(location.as_bytes(), HOST.as_bytes()),
            expected,
            "{location}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 4096,
        ..ProptestConfig::default()
    })]

    /// No client that resolves URLs as browsers do is led to another host, or out of https.
    #[test]
    fn no_upload_leads_away(
        location in concat!(
            "(https?:|ftp:|HTTPS:)?/{0,3}(reg\\.example|evil\\.example|@|:|5000|[a-z]){0,4}",
            "(/v2/|/|\\?|#|\\\\|[a-z:@]){0,5}",
        ),
    ) {
        let base = url::Url::parse("https://reg.example:5000/v2/alice/app/blobs/uploads/1").unwrap();
        let meant = match upload_here(location.as_bytes(), b"reg.example:5000") {
            None => return Ok(()),
            Some(Here::AsWritten) => base.join(&location),
            Some(Here::Path(path)) => base.join(std::str::from_utf8(path).unwrap()),
        };
        let meant = meant.unwrap();
        prop_assert_eq!(meant.scheme(), "https", "{}", location);
        prop_assert_eq!(meant.host_str(), Some("reg.example"), "{}", location);
        prop_assert_eq!(meant.port(), Some(5000), "{}", location);
    }
}
