//! Any bytes as a token of the token endpoint, an access token, a stored one, a resource scope: no panic, and
//! nothing that was not signed is taken for a token. Claims of any content, signed, are read as they are, or
//! refused.
#![no_main]

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use registry_auth::token::access_token::{parse_scope, StoredToken};
use registry_auth::token::{verify, SigningKeys, TokenKind, Audience};
use registry_auth::{RecordRef, Resource, TokenDigest};
use sha2::Sha256;

const SECRET: &[u8] = b"a secret of more than 32 characters";
const HEADER: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9";
const AUDIENCE: Audience<'static> = Audience { kind: TokenKind::Access, prefix: "P", service: "s" };

fuzz_target!(|data: &[u8]| {
    let keys = SigningKeys::new([SECRET]).expect("a key");
    assert!(verify(&keys, &AUDIENCE, data, 1_800_000_000, true).is_err());
    let text = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(data));
    assert!(verify(&keys, &AUDIENCE, text.as_bytes(), 1_800_000_000, true).is_err());
    let mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any length").chain_update(&text).finalize();
    let signed = format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.into_bytes()));
    if let Ok(claims) = verify(&keys, &AUDIENCE, signed.as_bytes(), 1_800_000_000, false) {
        assert!(claims.expires > 1_800_000_000);
        let _ = claims.is_of(&keys, "P", RecordRef::EMPTY.state());
    }
    let _ = TokenDigest::of(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = (Resource::parse(text), parse_scope(text));
        if let Ok(token) = StoredToken::parse("token:x", text) {
            assert_eq!(StoredToken::parse(&token.field(), &token.value()), Ok(token));
        }
    }
});
