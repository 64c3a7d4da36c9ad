//! Access tokens: their form, their digests, and how they are stored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use registry_auth::token::access_token::digest_of_value;
use registry_auth::token::access_token::parse_scope;
use registry_auth::{AccessToken, BearerToken, StoredToken, TokenDigest};

/// A token of these bytes in turn.
fn generated(bytes: &[u8]) -> AccessToken {
    let mut turn = bytes.iter().cycle().copied();
    let token = AccessToken::generate(|to| {
        to.fill_with(|| turn.next().unwrap());
        Ok::<_, ()>(())
    });
    token.unwrap()
}

#[test]
fn a_token_is_a_mark_32_characters_and_a_checksum() {
    let token = generated(&[0, 61, 62, 10]);
    let text = token.expose();
    assert_eq!(text.len(), 42);
    assert!(text.starts_with("rga_0z0A0z0A"), "{text}");
    assert!(text[4..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(TokenDigest::of(text.as_bytes()), Some(token.digest()));
    assert_eq!(token.digest().to_id().len(), 10);
}

/// CRC-32 (ISO-HDLC) of `rga_` and 32 zeros, in base 62.
#[test]
fn the_checksum_is_the_known_one() {
    let crc = crc32_bitwise(b"rga_00000000000000000000000000000000");
    let text = generated(&[0]).expose().to_owned();
    let digits = text[36..].bytes().fold(0_u64, |sum, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'Z' => digit - b'A' + 10,
            _ => digit - b'a' + 36,
        };
        sum * 62 + u64::from(value)
    });
    assert_eq!(digits, u64::from(crc));
}

fn crc32_bitwise(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

/// No character is likelier: bytes of 248 and more are drawn again.
#[test]
fn high_bytes_are_not_used() {
    assert_eq!(generated(&[255, 250, 248, 1]).expose(), generated(&[1]).expose());
}

#[test]
fn an_error_of_the_source_is_an_error() {
    assert!(AccessToken::generate(|_| Err("no random numbers")).is_err());
}

#[test]
fn whatever_is_not_quite_a_token_is_a_password() {
    let text = generated(&[7, 99, 3]).expose().to_owned();
    let mut others = vec![
        String::new(),
        "rga_".to_owned(),
        text[1..].to_owned(),
        format!("{text}0"),
    ];
    for at in 0..text.len() {
        let mut other = text.clone().into_bytes();
        other[at] = if other[at] == b'5' { b'6' } else { b'5' };
        others.push(String::from_utf8(other).unwrap());
        others.push(text[..at].to_owned());
    }
    for other in others {
        assert_eq!(TokenDigest::of(other.as_bytes()), None, "{other}");
    }
}

/// What begins as an access token is never handed to the reader of JWTs, and nothing else is looked up.
#[test]
fn a_bearer_token_is_told_by_its_beginning() {
    let token = generated(&[7, 99, 3]);
    let text = token.expose();
    assert_eq!(
        BearerToken::of(text.as_bytes()),
        BearerToken::AccessToken(token.digest())
    );
    for malformed in ["rga_", "rga_a.b.c", &text[..41], &format!("{text}0")] {
        assert_eq!(
            BearerToken::of(malformed.as_bytes()),
            BearerToken::Malformed,
            "{malformed}"
        );
    }
    for other in ["", "rga", "RGA_", "eyJhbGciOiJIUzI1NiJ9.e30.x", &text[1..]] {
        assert_eq!(
            BearerToken::of(other.as_bytes()),
            BearerToken::Signed(other.as_bytes()),
            "{other}"
        );
    }
}

#[test]
fn the_digest_is_read_of_a_field_that_is_damaged_elsewhere() {
    let digest = generated(&[1]).digest();
    let hex = digest.to_hex();
    assert_eq!(
        digest_of_value(&format!("sha256={hex} expires=never")),
        Some(digest)
    );
    assert_eq!(digest_of_value(&format!("only=x sha256={hex}")), Some(digest));
    assert_eq!(digest_of_value(&format!("sha256={}", &hex[1..])), None);
    assert_eq!(digest_of_value("expires=1"), None);
}

const FIELD: &str = "token:ci-1";

fn value() -> String {
    format!(
        "sha256={} expires=1800000000 created=1700000000 scope=team/*:pull scope=a/b:*",
        "0f".repeat(32)
    )
}

#[test]
fn a_field_is_read_and_written() {
    let token = StoredToken::parse(FIELD, &value()).unwrap();
    assert_eq!(
        (token.id.as_str(), token.expires, token.created),
        ("ci-1", 1_800_000_000, 1_700_000_000)
    );
    let scopes: Vec<String> = token
        .scopes
        .iter()
        .map(|scope| format!("{}:{}", scope.pattern, scope.actions))
        .collect();
    assert_eq!(scopes, ["team/*:pull", "a/b:*"]);
    assert_eq!((token.field(), token.value()), (FIELD.to_owned(), value()));
}

#[test]
fn a_malformed_field_is_refused() {
    for field in [
        "token:",
        "token",
        "tokens:a",
        "token:A",
        "token:a b",
        "token:a_b",
        &format!("token:{}", "a".repeat(33)),
    ] {
        assert!(StoredToken::parse(field, &value()).is_err(), "{field}");
    }
    let sha = format!("sha256={}", "0f".repeat(32));
    for value in [
        String::new(),
        format!("{sha} expires=1"),
        format!("{sha} scope=a:pull"),
        "expires=1 scope=a:pull".to_owned(),
        format!("{sha} {sha} expires=1 scope=a:pull"),
        format!("{sha} expires=1 expires=1 scope=a:pull"),
        format!("{sha} expires=+1 scope=a:pull"),
        format!("{sha} expires=-1 scope=a:pull"),
        format!("{sha} expires= scope=a:pull"),
        format!("{sha} expires=99999999999999999999 scope=a:pull"),
        format!("{sha} expires=1 scope=!a:pull"),
        format!("{sha} expires=1 scope=a"),
        format!("{sha} expires=1 scope=A:pull"),
        format!("{sha} expires=1 scope=a:fly"),
        format!("{sha} expires=1 scope=a:pull only=tuesdays"),
        format!("{sha} expires=1 scope=a:pull read"),
        format!("{}+0 expires=1 scope=a:pull", &sha[..sha.len() - 2]),
        format!("{sha}0f expires=1 scope=a:pull"),
    ] {
        assert!(StoredToken::parse(FIELD, &value).is_err(), "{value}");
    }
}

#[test]
fn a_scope_is_a_pattern_and_actions() {
    let scope = parse_scope("team/**:pull,push").unwrap();
    assert_eq!(
        (scope.pattern.as_str(), scope.actions.to_string().as_str()),
        ("team/**", "pull,push")
    );
    for text in [
        "", ":", "team/*", "team/*:", ":pull", "!a:pull", "a b:pull", "a:b:c",
    ] {
        assert!(parse_scope(text).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A JWT of any header and claims has no beginning of an access token, and is none; an access token has
    /// no parts, and is no JWT. So no text is both, whichever reader looks first.
    #[test]
    fn no_bearer_token_is_of_both_kinds(
        header in "\\{\"[ -~]{0,40}\\}",
        claims in "[ -~]{0,80}",
        signature in proptest::collection::vec(any::<u8>(), 0..64),
        bytes in proptest::collection::vec(0_u8..248, 1..64),
    ) {
        use base64::{engine::general_purpose::URL_SAFE_NO_PAD, Engine};
        let jwt = format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims),
            URL_SAFE_NO_PAD.encode(signature)
        );
        prop_assert_eq!(BearerToken::of(jwt.as_bytes()), BearerToken::Signed(jwt.as_bytes()));
        let token = generated(&bytes);
        prop_assert_eq!(
            BearerToken::of(token.expose().as_bytes()),
            BearerToken::AccessToken(token.digest())
        );
        prop_assert!(!token.expose().contains('.'));
        let first = URL_SAFE_NO_PAD.decode(&token.expose()[..4]).unwrap();
        prop_assert_ne!(first[0], b'{');
        prop_assert!(!first[0].is_ascii_whitespace());
    }

    /// Whatever comes, it is read in one way: as an access token exactly where Basic would take it for one.
    #[test]
    fn bearer_and_basic_take_the_same_for_access_tokens(text in "(rga_)?[0-9A-Za-z._-]{0,50}") {
        let read = BearerToken::of(text.as_bytes());
        prop_assert_eq!(
            TokenDigest::of(text.as_bytes()),
            match read { BearerToken::AccessToken(digest) => Some(digest), _ => None }
        );
        prop_assert_eq!(text.starts_with("rga_"), !matches!(read, BearerToken::Signed(_)));
    }

    #[test]
    fn each_token_is_told_from_others(
        bytes in prop::collection::vec(0_u8..248, 32),
        other in prop::collection::vec(0_u8..248, 32),
    ) {
        let (a, b) = (generated(&bytes), generated(&other));
        prop_assert_eq!(TokenDigest::of(a.expose().as_bytes()), Some(a.digest()));
        prop_assert_eq!(a.expose() == b.expose(), a.digest() == b.digest());
    }

    #[test]
    fn no_text_panics(field in "token:\\PC{0,40}", value in "\\PC{0,200}") {
        let _ = (StoredToken::parse(&field, &value), TokenDigest::of(value.as_bytes()), parse_scope(&value));
    }
}
