//! Rule 10 of the security model: whatever is no valid Basic header is refused with 401 and never taken for
//! anonymous.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use registry_auth::credentials::{Buffer, Credentials, parse};

/// `user`, password; `None` for anonymous; the status of a refusal.
fn ask(header: Option<&[u8]>) -> Result<Option<(String, Vec<u8>)>, u16> {
    let mut buffer = Buffer::new();
    match parse(header, &mut buffer) {
        Ok(Credentials::None) => Ok(None),
        Ok(Credentials::Basic { user, password }) => {
            Ok(Some((user.as_str().to_owned(), password.as_bytes().to_vec())))
        }
        Err(denial) => Err(denial.status()),
    }
}

fn basic(text: impl AsRef<[u8]>) -> Vec<u8> {
    format!("Basic {}", STANDARD.encode(text)).into_bytes()
}

fn known(user: &str, password: impl AsRef<[u8]>) -> Result<Option<(String, Vec<u8>)>, u16> {
    Ok(Some((user.to_owned(), password.as_ref().to_vec())))
}

#[test]
fn good_headers() {
    assert_eq!(ask(None), Ok(None));
    assert_eq!(ask(Some(b"Basic Og==")), Ok(None), "podman's anonymous");
    assert_eq!(ask(Some(b"Basic YWxpY2U6c2VjcmV0")), known("alice", "secret"));
    assert_eq!(ask(Some(b"bAsIc YWxpY2U6c2VjcmV0")), known("alice", "secret"));
    assert_eq!(ask(Some(b"Basic   YWxpY2U6c2VjcmV0")), known("alice", "secret"));
    assert_eq!(ask(Some(&basic("alice:a:b:"))), known("alice", "a:b:"));
    assert_eq!(ask(Some(&basic("alice: "))), known("alice", " "));
    assert_eq!(ask(Some(&basic("élodie:ä€"))), known("élodie", "ä€"));
    assert_eq!(ask(Some(&basic(b"alice:\xe4\xff"))), known("alice", b"\xe4\xff"));
}

#[test]
fn everything_else_is_401() {
    let long = |length: usize| {
        let mut header = basic(format!("alice:{}", "p".repeat(length / 4 * 3)));
        header.truncate(length);
        header
    };
    let user256 = format!("{}:secret", "u".repeat(256));
    let headers: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"Basic".to_vec(),
        b"Basic ".to_vec(),
        b"Basic  ".to_vec(),
        b"BasicYWxpY2U6c2VjcmV0".to_vec(),
        b"Basic \x0cOg==".to_vec(),
        b"Basic \tYWxpY2U6c2VjcmV0".to_vec(),
        b"Basic\tYWxpY2U6c2VjcmV0".to_vec(),
        b" Basic YWxpY2U6c2VjcmV0".to_vec(),
        b"Basic YWxpY2U6c2VjcmV0 ".to_vec(),
        b"Basic YWxpY2U6c2VjcmV0, Basic YWxpY2U6c2VjcmV0".to_vec(),
        b"Basic YWxpY2U6c2VjcmV".to_vec(),
        b"Basic YWxpY2U6c2Vjcm-_".to_vec(),
        b"Basic Og=".to_vec(),
        b"Basic Og".to_vec(),
        b"Basic Oh==".to_vec(),
        b"Basic ====".to_vec(),
        b"Basic YW\0pY2U6c2VjcmV0".to_vec(),
        b"Bearer YWxpY2U6c2VjcmV0".to_vec(),
        b"Digest username=alice".to_vec(),
        b"Negotiate YWxpY2U6c2VjcmV0".to_vec(),
        b"\xff\xfe".to_vec(),
        basic("alice"),
        basic(""),
        basic("alice:"),
        basic(":secret"),
        basic("::"),
        basic("alice:secret\0"),
        basic("alice:secret\0junk"),
        basic("alice\0:secret"),
        basic("alice:sec\nret"),
        basic("alice:sec\rret"),
        basic("al\tice:secret"),
        basic("alice:secret\x7f"),
        basic("al\u{85}ice:secret"),
        basic("alice/bob:secret"),
        basic(b"al\xffice:secret"),
        basic(&user256),
        basic(format!("alice:{}", "p".repeat(3072 - 6))),
        basic(format!("alice:{}", "p".repeat(3072 - 6))),
        long(4097),
        long(5000),
        long(100_000),
    ];
    for header in headers {
        assert_eq!(
            ask(Some(&header)),
            Err(401),
            "{:?}",
            String::from_utf8_lossy(&header)
        );
    }
}

#[test]
fn the_longest_header_is_read() {
    let password = "p".repeat((4096 - 6) / 4 * 3 - 6);
    let header = basic(format!("alice:{password}"));
    assert!(header.len() <= 4096 && header.len() > 4090);
    assert_eq!(ask(Some(&header)), known("alice", &password));
    assert!(ask(Some(&basic(format!("{}:x", "u".repeat(255))))).is_ok());
}

#[test]
fn a_buffer_serves_many_requests() {
    let mut buffer = Buffer::new();
    assert!(parse(Some(&basic("alice:a long password")), &mut buffer).is_ok());
    assert!(parse(Some(b"Basic !"), &mut buffer).is_err());
    match parse(Some(&basic("bob:x")), &mut buffer) {
        Ok(Credentials::Basic { user, password }) => {
            assert_eq!((user.as_str(), password.as_bytes()), ("bob", &b"x"[..]));
        }
        _ => panic!("bob's credentials are read"),
    };
    assert!(matches!(parse(None, &mut buffer), Ok(Credentials::None)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn round_trip(user in "[^\\p{Cc}:/]{1,60}", password in "[^\\p{Cc}]{1,60}") {
        prop_assert_eq!(ask(Some(&basic(format!("{user}:{password}")))), known(&user, password));
    }

    /// What is accepted holds no control byte and names somebody; any bytes are 401 otherwise.
    #[test]
    fn any_bytes(
        prefix in prop::sample::select(vec!["", "Basic ", "basic  "]),
        rest in prop::collection::vec(any::<u8>(), 0..60),
        encode: bool,
    ) {
        let rest = if encode { STANDARD.encode(&rest).into_bytes() } else { rest };
        let header = [prefix.as_bytes(), &rest].concat();
        match ask(Some(&header)) {
            Ok(Some((user, password))) => {
                prop_assert!(!user.is_empty() && !password.is_empty());
                prop_assert!(!user.chars().any(char::is_control));
                prop_assert!(!password.iter().any(u8::is_ascii_control));
            }
            Ok(None) => prop_assert_eq!(&rest, b"Og=="),
            Err(status) => prop_assert_eq!(status, 401),
        }
    }
}
