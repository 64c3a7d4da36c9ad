//! Rules 2 and 3 of the security model: no decoder may find a `mount` or `from` in what `strip` leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use registry_auth::route::Mount;
use registry_auth::route::mount::{MOUNT, NS, classify, has, is_form, strip};

fn stripped(args: &str) -> String {
    let mut out = Vec::new();
    strip(args.as_bytes(), MOUNT, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn only_mount_and_from_go() {
    for (args, left) in [
        ("", ""),
        ("mount=a&from=b", ""),
        ("from=b", ""),
        ("mount", ""),
        ("a=1&mount=x", "a=1"),
        ("mount=x&a=1", "a=1"),
        ("a=1&mount=x&b=2", "a=1&b=2"),
        ("a=1&mount=x&from=y", "a=1"),
        ("a=1;from=x;b=%2F+", "a=1;b=%2F+"),
        ("a=1;from=x&b", "a=1;b"),
        ("&&mount=x&&", "&&&"),
        ("a=from&b=mount=c", "a=from&b=mount=c"),
        (
            "_state=a%2Fb-_%3D&digest=sha256%3Aab",
            "_state=a%2Fb-_%3D&digest=sha256%3Aab",
        ),
        ("digest-algorithm=sha512&FROM=x", "digest-algorithm=sha512"),
        ("%66rom=x&n=1", "n=1"),
        ("n=1&m%6funt=x", "n=1"),
        ("from[]=x&from.=y&+from=z&from%20=w&from%00=v", ""),
        ("a&mount=x#&from=y", "a&"),
        ("a=1#from=x", "a=1"),
        ("a=1?from=x&b=2", "a=1?b=2"),
        ("?from=x", ""),
        ("%2566rom=x", ""),
        ("%zz=x&%6=y&a=%zz", "a=%zz"),
        ("formation=1&fromage=2&amount=3", "formation=1&fromage=2&amount=3"),
    ] {
        assert_eq!(stripped(args), left, "{args}");
    }
}

#[test]
fn only_ns_goes() {
    for (args, left) in [
        ("", ""),
        ("ns=docker.io", ""),
        ("ns", ""),
        ("n=5&ns=docker.io&last=a", "n=5&last=a"),
        ("digest=sha256%3Aab&ns=x", "digest=sha256%3Aab"),
        ("NS=x&n%73=y&%6Es=z&ns[]=a&+ns=b", ""),
        ("a=1;ns=x", "a=1"),
        ("#ns=x&?ns=y", "#"),
        ("%zzns=x&n=1", "n=1"),
        // Other words, and values.
        (
            "n=1&nsx=2&dns=3&s=4&insns=5&mount=a&from=b&a=ns",
            "n=1&nsx=2&dns=3&s=4&insns=5&mount=a&from=b&a=ns",
        ),
    ] {
        let mut out = Vec::new();
        strip(args.as_bytes(), NS, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), left, "{args}");
        assert_eq!(has(args.as_bytes(), NS), args != left, "{args}");
    }
}

#[test]
fn strip_appends() {
    let mut out = b"/v2/a/blobs/uploads/?".to_vec();
    strip(b"mount=x", MOUNT, &mut out);
    assert_eq!(
        out, b"/v2/a/blobs/uploads/?",
        "what was there before is not touched"
    );
}

#[test]
fn forms_are_told() {
    for form in [
        "application/x-www-form-urlencoded",
        "APPLICATION/X-WWW-FORM-URLENCODED; charset=utf-8",
        " application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "Multipart/Related",
        "text/plain, multipart/form-data",
    ] {
        assert!(is_form(form.as_bytes()), "{form}");
    }
    for other in [
        "",
        "application/octet-stream",
        "application/json",
        "x-www-form",
        "text/multipart",
    ] {
        assert!(!is_form(other.as_bytes()), "{other}");
    }
}

/// Go's `url.ParseQuery`, with `;` as a separator as it was before Go 1.17, or not as since.
fn go_query(args: &[u8], semicolon: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let separates = |byte: &u8| *byte == b'&' || semicolon && *byte == b';';
    let pair = |part: &[u8]| {
        if part.is_empty() || part.contains(&b';') {
            return None;
        }
        let at = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
        Some((
            go_unescape(&part[..at])?,
            go_unescape(part.get(at + 1..).unwrap_or_default())?,
        ))
    };
    args.split(separates).filter_map(pair).collect()
}

fn go_unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'%' => {
                let hex = std::str::from_utf8(text.get(at + 1..at + 3)?).ok()?;
                if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return None;
                }
                decoded.push(u8::from_str_radix(hex, 16).unwrap());
                at += 2;
            }
            b'+' => decoded.push(b' '),
            byte => decoded.push(byte),
        }
        at += 1;
    }
    Some(decoded)
}

/// A decoder that forgives everything: any separator, broken escapes kept, case and space ignored.
fn forgiving_keys(args: &[u8]) -> Vec<String> {
    let key = |part: &[u8]| {
        let key = part.split(|byte| *byte == b'=').next().unwrap();
        let decoded = go_unescape(key).unwrap_or_else(|| key.to_vec());
        String::from_utf8_lossy(&decoded)
            .trim_matches(char::is_whitespace)
            .to_lowercase()
    };
    args.split(|byte| matches!(byte, b'&' | b';' | b'#' | b'?'))
        .map(key)
        .collect()
}

fn parameters() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "mount",
        "from",
        "Mount",
        "%66rom",
        "m%6Funt",
        "from[]",
        "%2566rom",
        "digest",
        "a",
        "_state",
        "fr",
        "om",
        "mou",
        "nt",
        "=",
        "=",
        "=",
        "&",
        "&",
        "&",
        ";",
        "#",
        "?",
        "+",
        "%",
        "%2",
        "%00",
        "%3D",
        "%26",
        "bob/app",
        "bob%2Fapp",
        "sha256:0123456789abcdef",
    ]);
    let known = prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![4 => known, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 8192,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nobody_reads_a_mount_out_of_what_is_left(args in parameters()) {
        let mut left = Vec::new();
        strip(&args, MOUNT, &mut left);
        prop_assert_eq!(classify(&left), Mount::Absent);
        for semicolon in [false, true] {
            for (key, _) in go_query(&left, semicolon) {
                prop_assert!(key != b"mount" && key != b"from", "{:?}", String::from_utf8_lossy(&left));
            }
        }
        for key in forgiving_keys(&left) {
            prop_assert!(key != "mount" && key != "from");
        }
    }

    /// What is left are parameters of the query, whole, in order, each with a separator that it had.
    #[test]
    fn other_bytes_stay(args in parameters()) {
        let mut left = Vec::new();
        strip(&args, MOUNT, &mut left);
        let separates = |byte: &u8| matches!(byte, b'&' | b';' | b'#' | b'?');
        let mut parts = args.split(separates);
        for part in left.split(separates).filter(|part| !part.is_empty()) {
            prop_assert!(parts.any(|candidate| candidate == part));
        }
        if classify(&args) == Mount::Absent {
            prop_assert_eq!(&left, &args);
        }
        let mut again = Vec::new();
        strip(&left, MOUNT, &mut again);
        prop_assert_eq!(again, left);
    }

    /// What is kept reads alike for everybody: one `from` of that name, and one `mount`.
    #[test]
    fn a_kept_mount_is_read_alike(args in parameters()) {
        if let Mount::From(name) = classify(&args) {
            for semicolon in [false, true] {
                let query = go_query(&args, semicolon);
                let values = |wanted: &[u8]| {
                    let found = query.iter().filter(|(key, _)| key == wanted);
                    found.map(|(_, value)| value.clone()).collect::<Vec<_>>()
                };
                prop_assert_eq!(values(b"from"), vec![name.as_str().as_bytes().to_vec()]);
                prop_assert_eq!(values(b"mount").len(), 1);
            }
            let keys = forgiving_keys(&args);
            prop_assert_eq!(keys.iter().filter(|key| *key == "from").count(), 1);
            prop_assert_eq!(keys.iter().filter(|key| *key == "mount").count(), 1);
        }
    }
}
