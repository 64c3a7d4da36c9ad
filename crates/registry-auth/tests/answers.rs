//! What a refusal looks like on the wire: the tables of docs/reference/answers.md, and a challenge that stays
//! one line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use registry_auth::denial::{Denial, Reason};
use registry_auth::{challenge, denial::LogLevel};

#[test]
fn who_is_shut_out_learns_for_how_long() {
    let message = |seconds| Denial::too_many_failures(seconds).message;
    assert_eq!(message(297), "too many failed logins, try again in 297 seconds");
    assert_eq!(message(1), "too many failed logins, try again in 1 second");
}

#[test]
fn the_table_of_answers() {
    for (denial, status, code, retry_after, result, level) in [
        (
            Denial::unauthenticated(),
            401,
            "UNAUTHORIZED",
            None,
            "unauthenticated",
            LogLevel::Info,
        ),
        (
            Denial::bad_credentials(),
            401,
            "UNAUTHORIZED",
            None,
            "unauthenticated",
            LogLevel::Notice,
        ),
        (
            Denial::new(Reason::Denied, "no"),
            403,
            "DENIED",
            None,
            "denied",
            LogLevel::Info,
        ),
        (
            Denial::name_invalid(),
            400,
            "NAME_INVALID",
            None,
            "invalid",
            LogLevel::Info,
        ),
        (
            Denial::new(Reason::FormBody, "no"),
            400,
            "BLOB_UPLOAD_INVALID",
            None,
            "invalid",
            LogLevel::Info,
        ),
        (
            Denial::foreign_redirect(),
            502,
            "UNKNOWN",
            None,
            "unavailable",
            LogLevel::Error,
        ),
        (
            Denial::malformed_answer(),
            502,
            "UNKNOWN",
            None,
            "unavailable",
            LogLevel::Error,
        ),
        (
            Denial::misconfigured(),
            500,
            "UNKNOWN",
            None,
            "unavailable",
            LogLevel::Error,
        ),
        (
            Denial::unsupported(),
            404,
            "UNSUPPORTED",
            None,
            "invalid",
            LogLevel::Info,
        ),
        (
            Denial::too_many_failures(7),
            429,
            "TOOMANYREQUESTS",
            Some(7),
            "throttled",
            LogLevel::Warn,
        ),
        (
            Denial::hashing_busy(),
            429,
            "TOOMANYREQUESTS",
            Some(1),
            "throttled",
            LogLevel::Warn,
        ),
        (
            Denial::lists_busy(),
            429,
            "TOOMANYREQUESTS",
            Some(1),
            "throttled",
            LogLevel::Warn,
        ),
        (
            Denial::unavailable(),
            503,
            "UNAVAILABLE",
            Some(1),
            "unavailable",
            LogLevel::Error,
        ),
        (
            Denial::bad_record(),
            503,
            "UNAVAILABLE",
            Some(10),
            "unavailable",
            LogLevel::Error,
        ),
        (
            Denial::no_backend(),
            503,
            "UNAVAILABLE",
            Some(10),
            "unavailable",
            LogLevel::Error,
        ),
        (
            Denial::no_usable_backend(),
            503,
            "UNAVAILABLE",
            Some(10),
            "unavailable",
            LogLevel::Error,
        ),
    ] {
        assert_eq!((denial.status(), denial.code()), (status, code));
        assert_eq!(
            (denial.retry_after(), denial.result().as_str()),
            (retry_after, result),
            "{code}"
        );
        assert_eq!(denial.log_level(), level, "{code}");
        assert_eq!(denial.challenges(), status == 401, "{code}");
    }
}

fn json(message: &str) -> String {
    let mut out = Vec::new();
    Denial::new(Reason::Denied, message.to_owned()).write_json(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_body_is_oci_json() {
    assert_eq!(
        json("alice may not push x"),
        "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"alice may not push x\",\"detail\":{}}]}\n"
    );
    assert_eq!(
        json("a\"b\\c\n\u{1}é"),
        "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"a\\\"b\\\\c\\u000a\\u0001é\",\"detail\":{}}]}\n"
    );
}

fn challenge(realm: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    challenge::basic(realm, &mut out);
    out
}

/// Rule 13 of the security model: a realm out of a variable stays within its quotes and on its line.
#[test]
fn realms_are_escaped() {
    assert_eq!(challenge(b"Registry"), b"Basic realm=\"Registry\"");
    assert_eq!(challenge(b""), b"Basic realm=\"\"");
    assert_eq!(challenge(b"a\"b\\c"), b"Basic realm=\"a\\\"b\\\\c\"");
    assert_eq!(
        challenge(b"a\r\nSet-Cookie: x\0\x7f"),
        b"Basic realm=\"aSet-Cookie: x\""
    );
    assert_eq!(
        challenge(b"\", Bearer realm=\"x"),
        b"Basic realm=\"\\\", Bearer realm=\\\"x\""
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_realm_is_one_quoted_string(realm in prop::collection::vec(any::<u8>(), 0..40)) {
        let header = challenge(&realm);
        prop_assert!(!header.iter().any(u8::is_ascii_control));
        let inside = header.strip_prefix(b"Basic realm=\"").unwrap().strip_suffix(b"\"").unwrap();
        let mut bytes = inside.iter();
        while let Some(byte) = bytes.next() {
            prop_assert!(*byte != b'"');
            if *byte == b'\\' {
                prop_assert!(matches!(bytes.next(), Some(b'"' | b'\\')));
            }
        }
    }
}
