//! Tokens of the token endpoint: what is signed is what is read, and nothing else is (rule 8 of the security
//! model). Their resource scopes and the challenge that asks for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use registry_auth::codec::{AccountState, Record, RecordRef, encode};
use registry_auth::resource::{Resource, scope_of};
use registry_auth::route::{self, Method, Request, RouteOptions};
use registry_auth::token::access_token::StoredToken;
use registry_auth::token::{
    Audience, Issue, MAX_ACCESS, MAX_LIFE, MAX_TOKEN, REFRESH_LIFE, SigningKeys, TokenError, TokenKind,
    UPLOAD_GRACE, bound_to, sign, verify,
};
use registry_auth::token::{Authorization, TokenRequest};
use registry_auth::{Access, Action, Denial, RepositoryName, UserName, challenge, password};
use serde_json::{Value, json};
use sha2::Sha256;

const SECRET: &[u8] = b"a secret of more than 32 characters";
const NOW: u64 = 1_800_000_000;
const AUDIENCE: Audience<'static> = Audience {
    kind: TokenKind::Access,
    prefix: "P",
    service: "registry.example",
};

fn keys(secrets: &[&[u8]]) -> SigningKeys {
    SigningKeys::new(secrets.iter().copied()).unwrap()
}

fn state(stored: &str) -> AccountState {
    let record = Record {
        password: Some(stored.to_owned()),
        ..Record::default()
    };
    let mut bytes = Vec::new();
    encode(&record, &mut bytes).unwrap();
    RecordRef::decode(&bytes).unwrap().state()
}

fn access() -> Access {
    let mut access = Access::default();
    access.add(&RepositoryName::parse(b"team/app").unwrap(), Action::Pull);
    access.add(&RepositoryName::parse(b"team/app").unwrap(), Action::Push);
    access.add_images(Action::Pull);
    access.catalog = true;
    access
}

fn signed_at(audience: &Audience<'_>, now: u64, expires: u64) -> String {
    signed_in(audience, state("{SHA}x"), now, expires)
}

/// A token of alice's, issued while her account is in this state.
fn signed_in(audience: &Audience<'_>, state: AccountState, now: u64, expires: u64) -> String {
    let access = access();
    let issue = Issue {
        user: Some(UserName::parse(b"alice").unwrap()),
        state,
        access_token: Some("ci"),
        access: &access,
        now,
        expires,
    };
    sign(&keys(&[SECRET]), audience, &issue).unwrap()
}

fn signed() -> String {
    signed_at(&AUDIENCE, NOW, NOW + 3600)
}

fn refused(token: &str) -> Option<TokenError> {
    verify(&keys(&[SECRET]), &AUDIENCE, token.as_bytes(), NOW, false).err()
}

/// A token of any header and body, signed with the right key.
fn forged(header: &Value, body: &Value) -> String {
    forged_with(SECRET, header, body)
}

fn forged_with(secret: &[u8], header: &Value, body: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(body));
    let mac = Hmac::<Sha256>::new_from_slice(secret)
        .unwrap()
        .chain_update(&text);
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// What a good token says.
fn body() -> Value {
    let token = signed();
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

/// In the order in which it is signed.
fn header() -> String {
    signed().split('.').next().unwrap().to_owned()
}

fn with_body(body: &Value) -> String {
    let text = format!("{}.{}", header(), URL_SAFE_NO_PAD.encode(body.to_string()));
    let mac = Hmac::<Sha256>::new_from_slice(SECRET)
        .unwrap()
        .chain_update(&text);
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[test]
fn what_is_signed_is_read() {
    let keys = keys(&[SECRET]);
    let claims =
        verify(&keys, &AUDIENCE, signed().as_bytes(), NOW, false).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(claims.user.as_ref().unwrap().as_name().as_str(), "alice");
    assert_eq!(claims.access, access());
    assert_eq!(claims.access_token.as_deref(), Some("ci"));
    assert_eq!(claims.expires, NOW + 3600);
    assert!(claims.is_of(&keys, "P", state("{SHA}x")));
    assert!(
        claims.is_of(&keys, "P", state("!{SHA}x")),
        "a lock is the policy's to see"
    );
    assert!(!claims.is_of(&keys, "P", state("{SHA}y")), "another password");
    assert!(!claims.is_of(&keys, "Q", state("{SHA}x")), "another prefix");
    assert_eq!(
        refused(&with_body(&body())),
        None,
        "the forger of these tests can sign"
    );
}

/// What a token of this kind of alice's is bound to, whose password and whose access tokens (id, secret) are
/// these; of `ci`, if it is issued for that.
fn bound(kind: TokenKind, password: &str, tokens: &[(&str, u8)], id: Option<&str>) -> AccountState {
    let stored = |(id, secret): &(&str, u8)| {
        let value = format!(
            "sha256={} expires=1 scope=a:pull",
            format!("{secret:02x}").repeat(32)
        );
        StoredToken::parse(&format!("token:{id}"), &value).unwrap()
    };
    let record = Record {
        password: Some(password.to_owned()),
        tokens: tokens.iter().map(stored).collect(),
        ..Record::default()
    };
    let mut bytes = Vec::new();
    encode(&record, &mut bytes).unwrap();
    let record = RecordRef::decode(&bytes).unwrap();
    let token = id.map(|id| record.token_named(id).unwrap().unwrap());
    bound_to(kind, &record, token.as_ref())
}

/// What is issued for an access token ends with its secret, though one of the same id is there again, and
/// with the password; a refresh token with the secret only.
#[test]
fn a_token_ends_with_the_secrets_that_it_was_got_with() {
    let keys = keys(&[SECRET]);
    let issued = |kind, id| {
        let audience = Audience { kind, ..AUDIENCE };
        let access = access();
        let issue = Issue {
            user: Some(UserName::parse(b"alice").unwrap()),
            state: bound(kind, "{SHA}x", &[("ci", 1), ("other", 2)], id),
            access_token: id,
            access: &access,
            now: NOW,
            expires: NOW + 3600,
        };
        let token = sign(&keys, &audience, &issue).unwrap();
        verify(&keys, &audience, token.as_bytes(), NOW, false).unwrap_or_else(|why| panic!("{why}"))
    };
    for (kind, id, ends_with_password, ends_with_secret) in [
        (TokenKind::Access, None, true, false),
        (TokenKind::Access, Some("ci"), true, true),
        (TokenKind::Refresh, None, true, false),
        (TokenKind::Refresh, Some("ci"), false, true),
    ] {
        let claims = issued(kind, id);
        let goes_on =
            |password, tokens: &[(&str, u8)]| claims.is_of(&keys, "P", bound(kind, password, tokens, id));
        let case = format!("{kind:?} {id:?}");
        assert!(goes_on("{SHA}x", &[("ci", 1), ("other", 2)]), "{case}");
        assert!(
            goes_on("{SHA}x", &[("ci", 1), ("third", 3)]),
            "{case}: another token changes nothing"
        );
        assert_eq!(
            goes_on("{SHA}y", &[("ci", 1)]),
            !ends_with_password,
            "{case}: another password"
        );
        assert_eq!(
            goes_on("{SHA}x", &[("ci", 3)]),
            !ends_with_secret,
            "{case}: another secret"
        );
        assert_eq!(
            goes_on("{SHA}x", &[("ci", 2)]),
            !ends_with_secret,
            "{case}: the other token's secret"
        );
    }
}

/// The tag of the account tells nothing of the stored password to who has the token.
#[test]
fn the_most_that_is_granted_fits_into_a_token() {
    let mut access = access();
    for number in 0.. {
        let mut more = access.clone();
        for action in Action::ALL {
            more.add(
                &RepositoryName::parse(format!("a/{number}").as_bytes()).unwrap(),
                action,
            );
        }
        if more.size() > MAX_ACCESS {
            break;
        }
        access = more;
    }
    let user = "u".repeat(255);
    let issue = Issue {
        user: Some(UserName::parse(user.as_bytes()).unwrap()),
        state: state("{SHA}x"),
        access_token: Some("a token of a long name, thirty-two"),
        access: &access,
        now: NOW,
        expires: NOW + 60,
    };
    let token = sign(&keys(&[SECRET]), &AUDIENCE, &issue).unwrap();
    assert!(
        token.len() < MAX_TOKEN && token.len() > MAX_TOKEN / 2,
        "{}",
        token.len()
    );
    assert_eq!(refused(&token), None);
}

#[test]
fn a_token_holds_nothing_of_the_password() {
    let body = body().to_string();
    assert!(!body.contains("SHA") && !body.contains("secret"));
    let access = access();
    let other = Issue {
        user: Some(UserName::parse(b"alice").unwrap()),
        state: state("{SHA}x"),
        access_token: Some("ci"),
        access: &access,
        now: NOW,
        expires: NOW + 3600,
    };
    let other = sign(&keys(&[b"another secret of 32 characters!!"]), &AUDIENCE, &other).unwrap();
    let other: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(other.split('.').nth(1).unwrap()).unwrap()).unwrap();
    assert_ne!(other["acc"], self::body()["acc"], "it depends on the key");
}

#[test]
fn what_a_token_takes_in_memory_grows_with_what_it_is_good_for() {
    let size = |count: usize| {
        let mut access = Access::default();
        for number in 0..count {
            access.add(
                &RepositoryName::parse(format!("team/app{number}").as_bytes()).unwrap(),
                Action::Pull,
            );
        }
        let issue = Issue {
            user: Some(UserName::parse(b"alice").unwrap()),
            state: state("{SHA}x"),
            access_token: Some("ci"),
            access: &access,
            now: NOW,
            expires: NOW + 3600,
        };
        let token = sign(&keys(&[SECRET]), &AUDIENCE, &issue).unwrap();
        let claims = verify(&keys(&[SECRET]), &AUDIENCE, token.as_bytes(), NOW, false);
        claims.unwrap_or_else(|why| panic!("{why}")).size()
    };
    assert!((10..300).contains(&size(0)), "{}", size(0));
    let names = 50 * "team/app10".len();
    assert!(
        (names..10 * names).contains(&(size(50) - size(0))),
        "{}",
        size(50)
    );
}

#[test]
fn the_first_key_signs_and_all_verify() {
    let token = signed();
    let rotated = keys(&[b"the new secret of many characters", SECRET]);
    let claims =
        verify(&rotated, &AUDIENCE, token.as_bytes(), NOW, false).unwrap_or_else(|why| panic!("{why}"));
    assert!(claims.is_of(&rotated, "P", state("{SHA}x")));
    assert!(
        verify(
            &keys(&[b"the new secret of many characters"]),
            &AUDIENCE,
            token.as_bytes(),
            NOW,
            false
        )
        .is_err()
    );
    assert!(SigningKeys::new([]).is_none());
}

#[test]
fn time_is_checked() {
    let at =
        |now, is_upload| verify(&keys(&[SECRET]), &AUDIENCE, signed().as_bytes(), now, is_upload).map(|_| ());
    assert_eq!(at(NOW + 3599, false), Ok(()));
    assert_eq!(at(NOW + 3600, false), Err(TokenError::Expired));
    assert_eq!(at(NOW - 60, false), Ok(()), "another machine's clock");
    assert_eq!(at(NOW - 61, false), Err(TokenError::Invalid));
    // An upload that has begun may finish.
    assert_eq!(at(NOW + 3600, true), Ok(()));
    assert_eq!(at(NOW + 3600 + UPLOAD_GRACE, true), Err(TokenError::Expired));
    // Nobody is given a token for so long.
    for (kind, longest) in [(TokenKind::Access, MAX_LIFE), (TokenKind::Refresh, REFRESH_LIFE)] {
        let audience = Audience { kind, ..AUDIENCE };
        let verified = |life| {
            let token = signed_at(&audience, NOW, NOW + life);
            verify(&keys(&[SECRET]), &audience, token.as_bytes(), NOW, false).map(|_| ())
        };
        assert_eq!(verified(longest), Ok(()));
        assert_eq!(verified(longest + 61), Err(TokenError::Invalid));
        assert_eq!(verified(u64::MAX - NOW), Err(TokenError::Invalid));
    }
}

#[test]
fn a_token_is_good_for_one_kind_prefix_and_service() {
    let token = signed();
    for audience in [
        Audience {
            kind: TokenKind::Refresh,
            ..AUDIENCE
        },
        Audience {
            prefix: "Q",
            ..AUDIENCE
        },
        Audience {
            prefix: "",
            ..AUDIENCE
        },
        Audience {
            service: "other",
            ..AUDIENCE
        },
        Audience {
            service: "",
            ..AUDIENCE
        },
    ] {
        let verified = verify(&keys(&[SECRET]), &audience, token.as_bytes(), NOW, false).map(|_| ());
        assert_eq!(verified, Err(TokenError::Invalid), "{audience:?}");
    }
    let refresh = signed_at(
        &Audience {
            kind: TokenKind::Refresh,
            ..AUDIENCE
        },
        NOW,
        NOW + 3600,
    );
    assert_eq!(
        refused(&refresh),
        Some(TokenError::Invalid),
        "a refresh token opens nothing"
    );
}

/// alg none, other algorithms, keys of the sender's own: a header that is not ours to the byte is not parsed.
#[test]
fn no_other_header_is_looked_at() {
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("mine"), "alg": "HS256"});
    for header in [
        json!({"alg": "none", "typ": "JWT"}),
        json!({"alg": "None", "typ": "JWT"}),
        json!({"alg": "HS384", "typ": "JWT"}),
        json!({"alg": "HS512", "typ": "JWT"}),
        json!({"alg": "RS256", "typ": "JWT"}),
        json!({"alg": "ES256", "typ": "JWT"}),
        json!({"alg": "EdDSA", "typ": "JWT"}),
        json!({"alg": "hs256", "typ": "JWT"}),
        json!({"alg": "HS256", "typ": "at+jwt"}),
        json!({"typ": "JWT"}),
        json!({"alg": "HS256", "typ": "JWT", "kid": "../../dev/null"}),
        json!({"alg": "HS256", "typ": "JWT", "kid": "' OR 1=1"}),
        json!({"alg": "HS256", "typ": "JWT", "jwk": jwk}),
        json!({"alg": "HS256", "typ": "JWT", "jku": "https://evil.example/keys"}),
        json!({"alg": "HS256", "typ": "JWT", "x5u": "https://evil.example/c.pem"}),
        json!({"alg": "HS256", "typ": "JWT", "x5c": ["MII="]}),
        json!({"alg": "HS256", "typ": "JWT", "crit": ["exp"]}),
        json!({"alg": "HS256", "typ": "JWT", "b64": false}),
        json!([]),
    ] {
        for secret in [SECRET, b"mine", b""] {
            let token = forged_with(secret, &header, &body());
            assert_eq!(refused(&token), Some(TokenError::Invalid), "{header}");
        }
    }
    let (text, _) = signed()
        .rsplit_once('.')
        .map(|(text, mac)| (text.to_owned(), mac.to_owned()))
        .unwrap();
    for unsigned in [
        format!("{text}."),
        text.clone(),
        format!("{text}.."),
        format!("{text}.AAAA"),
    ] {
        assert_eq!(refused(&unsigned), Some(TokenError::Invalid), "{unsigned}");
    }
}

#[test]
fn a_wrong_key_signs_nothing() {
    for secret in [&b""[..], b"mine", &SECRET[1..], b"P", b"registry.example"] {
        let text = with_body(&body());
        let (text, _) = text.rsplit_once('.').unwrap();
        let mac = Hmac::<Sha256>::new_from_slice(secret).unwrap().chain_update(text);
        let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        assert_eq!(refused(&token), Some(TokenError::Invalid));
    }
}

/// Even signed with our key: what is not just what we say is refused.
#[test]
fn a_claim_is_what_we_write_or_the_token_is_refused() {
    for (name, value) in [
        ("iss", json!("evil")),
        ("iss", json!(["registry-auth/access/P"])),
        ("iss", Value::Null),
        ("aud", json!("other")),
        ("aud", json!(["registry.example"])),
        ("aud", Value::Null),
        ("exp", json!(NOW - 1)),
        ("exp", json!(NOW + 10 * MAX_LIFE)),
        ("exp", json!("1800003600")),
        ("exp", json!(-1)),
        ("exp", json!(1.8e9)),
        ("exp", Value::Null),
        ("nbf", json!(NOW + 3600)),
        ("nbf", Value::Null),
        ("sub", json!("al:ice")),
        ("sub", json!("a/b")),
        ("sub", json!(1)),
        (
            "access",
            json!([{"type": "repository", "name": "Team", "actions": ["pull"]}]),
        ),
        (
            "access",
            json!([{"type": "repository", "name": "team/*", "actions": ["pull"]}]),
        ),
        (
            "access",
            json!([{"type": "repository", "name": "a", "actions": ["fly"]}]),
        ),
        (
            "access",
            json!([{"type": "repository", "name": "a", "actions": []}]),
        ),
        (
            "access",
            json!([{"type": "server", "name": "a", "actions": ["pull"]}]),
        ),
        (
            "access",
            json!([{"type": "repository", "name": "a", "actions": ["pull"], "unless": "x"}]),
        ),
        ("access", json!({})),
        ("acc", Value::Null),
        ("admin", json!(true)),
    ] {
        let mut body = body();
        body[name] = value.clone();
        assert!(refused(&with_body(&body)).is_some(), "{name} {value}");
        body.as_object_mut().unwrap().remove(name);
        if name != "admin" {
            assert!(refused(&with_body(&body)).is_some(), "no {name}");
        }
    }
    let twice = body().to_string().replacen('{', r#"{"sub":"bob","#, 1);
    let text = format!("{}.{}", header(), URL_SAFE_NO_PAD.encode(twice));
    let mac = Hmac::<Sha256>::new_from_slice(SECRET)
        .unwrap()
        .chain_update(&text);
    let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
    assert!(refused(&token).is_some(), "a claim that is there twice");
    assert!(refused(&forged(&json!({}), &json!({}))).is_some());
}

#[test]
fn a_truncated_or_changed_token_is_refused() {
    let token = signed();
    for length in 0..token.len() {
        assert!(refused(&token[..length]).is_some(), "{length}");
    }
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(refused(std::str::from_utf8(&changed).unwrap()).is_some(), "{at}");
    }
    for more in ["=", ".", ".x", " ", "\n"] {
        assert!(refused(&format!("{token}{more}")).is_some());
    }
    assert!(refused(&format!("{token}{}", "A".repeat(8192))).is_some());
}

#[test]
fn the_anonymous_has_no_name() {
    let access = access();
    let issue = Issue {
        user: None,
        state: RecordRef::EMPTY.state(),
        access_token: None,
        access: &access,
        now: NOW,
        expires: NOW + 60,
    };
    let keys = keys(&[SECRET]);
    let token = sign(&keys, &AUDIENCE, &issue).unwrap();
    let claims = verify(&keys, &AUDIENCE, token.as_bytes(), NOW, false).unwrap_or_else(|why| panic!("{why}"));
    assert!(claims.user.is_none() && claims.access_token.is_none());
    assert!(claims.is_of(&keys, "P", RecordRef::EMPTY.state()));
}

#[test]
fn resource_scopes_are_distributions() {
    let repository = |name: &'static str, actions| {
        let name = RepositoryName::parse(name.as_bytes()).unwrap();
        Some(Resource::Repository(
            name,
            registry_auth::Actions::parse(actions).unwrap(),
        ))
    };
    for (text, parsed) in [
        (
            "repository:team/app:pull,push",
            repository("team/app", "pull,push"),
        ),
        ("repository:team/app:*", repository("team/app", "*")),
        ("repository:a:pull", repository("a", "pull")),
        ("repository(plugin):a/b:pull", repository("a/b", "pull")),
        ("repository:a:pull,fly", repository("a", "pull")),
        ("registry:catalog:*", Some(Resource::Catalog)),
        ("repository:Team:pull", None),
        ("repository:a:fly", None),
        ("repository:a:", None),
        ("repository::pull", None),
        ("repository:a*:pull", None),
        ("repository:host:5000/a:pull", None),
        ("repository", None),
        ("registry:catalog:pull", None),
        ("registry:other:*", None),
        ("server:a:pull", None),
        ("", None),
        ("::", None),
    ] {
        assert_eq!(Resource::parse(text), parsed, "{text}");
    }
}

#[test]
fn a_challenge_asks_for_the_scope_of_the_request() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let scope = |method, target: &str| {
        let path = target.split('?').next().unwrap();
        let request = Request::from_target(method, target.as_bytes(), path.as_bytes(), None);
        scope_of(&route::parse(&request, &RouteOptions { v1_images: true }).unwrap())
    };
    for (method, target, expected) in [
        (Method::Get, "/v2/".to_owned(), ""),
        (
            Method::Get,
            "/v2/a/b/manifests/x".to_owned(),
            "repository:a/b:pull",
        ),
        (
            Method::Put,
            "/v2/a/b/manifests/x".to_owned(),
            "repository:a/b:pull,push",
        ),
        (
            Method::Delete,
            "/v2/a/b/manifests/x".to_owned(),
            "repository:a/b:delete",
        ),
        (Method::Get, "/v2/_catalog".to_owned(), "registry:catalog:*"),
        (
            Method::Post,
            "/v2/a/b/blobs/uploads/".to_owned(),
            "repository:a/b:pull,push",
        ),
        (
            Method::Post,
            format!("/v2/a/b/blobs/uploads/?mount={digest}&from=c/d"),
            "repository:a/b:pull,push repository:c/d:pull",
        ),
        (
            Method::Get,
            "/v1/repositories/ubuntu/tags".to_owned(),
            "repository:library/ubuntu:pull",
        ),
        (
            Method::Put,
            "/v1/images/abc/layer".to_owned(),
            "registry:images:push",
        ),
        (Method::Get, "/v1/users".to_owned(), ""),
    ] {
        assert_eq!(scope(method, &target), expected, "{method:?} {target}");
    }
}

#[test]
fn a_bearer_challenge_is_one_line() {
    let bearer = |realm: &str, scope: &str, error| {
        let mut out = Vec::new();
        challenge::bearer(realm.as_bytes(), b"s", scope.as_bytes(), error, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        bearer("https://r/token", "", None),
        r#"Bearer realm="https://r/token",service="s""#
    );
    assert_eq!(
        bearer("r", "repository:a:pull", Some("insufficient_scope")),
        r#"Bearer realm="r",service="s",scope="repository:a:pull",error="insufficient_scope""#
    );
    assert_eq!(
        bearer("a\"b\\\r\nX: y", "", None),
        r#"Bearer realm="a\"b\\X: y",service="s""#
    );
}

fn form(body: &str) -> Result<TokenRequest, Denial> {
    TokenRequest::from_form(
        b"application/x-www-form-urlencoded; charset=utf-8",
        body.as_bytes(),
        "s",
    )
}

#[test]
fn a_get_asks_for_scopes() {
    let query = "account=alice&client_id=docker&offline_token=true&service=s&\
                 scope=repository%3Aa%2Fb%3Apull%2Cpush+repository:c:pull&scope=repository:D:pull&\
                 scope=registry:catalog:*";
    let request = TokenRequest::from_query(query.as_bytes(), "s").unwrap_or_else(|why| panic!("{why}"));
    let scopes = [
        "repository:a/b:pull,push",
        "repository:c:pull",
        "registry:catalog:*",
    ];
    let expected: Vec<_> = scopes
        .iter()
        .map(|scope| Resource::parse(scope).unwrap())
        .collect();
    assert_eq!(request.resources(), expected);
    assert!(request.is_offline && matches!(request.authorization, Authorization::Header));
    let user = |name: &'static str| Some(UserName::parse(name.as_bytes()).unwrap());
    assert_eq!(request.check_account(user("alice")), Ok(()));
    assert_eq!(request.check_account(None), Ok(()));
    assert_eq!(request.check_account(user("bob")).unwrap_err().status(), 400);
    for query in [
        "",
        "service=",
        "service=s",
        // As clients that write challenges in lower case send it back.
        "service=S",
        "scope=",
        "scope=x",
        "offline_token=false",
        "password=p&username=u",
    ] {
        let request = TokenRequest::from_query(query.as_bytes(), "s").unwrap_or_else(|why| panic!("{why}"));
        assert!(
            request.resources().is_empty()
                && !request.is_offline
                && matches!(request.authorization, Authorization::Header)
        );
    }
    for query in [
        "service=other",
        "service=s&service=s",
        "account=a&account=b",
        &"scope=a&".repeat(65),
        &format!("scope={}", "a+".repeat(65)),
    ] {
        let status = TokenRequest::from_query(query.as_bytes(), "s")
            .err()
            .map(|denial| denial.status());
        assert_eq!(status, Some(400), "{query}");
    }
    let scopes = "scope=a&".repeat(65);
    let why = TokenRequest::from_query(scopes.as_bytes(), "s").err().unwrap();
    assert_eq!(why.message, "more than 64 scopes");
    assert!(TokenRequest::from_query(b"service=our+registry", "Our Registry").is_ok());
    assert!(TokenRequest::from_query(b"service=Our%20Registry", "Our Registry").is_ok());
}

#[test]
fn a_form_holds_the_credentials() {
    let basic = |body: &str| match form(body).map(|request| request.authorization) {
        Ok(Authorization::Basic(header)) => Some(String::from_utf8(header.to_vec()).unwrap()),
        _ => None,
    };
    // RFC 7617, section 2.
    let body = "grant_type=password&username=Aladdin&password=open+sesame&service=s&client_id=c&\
                scope=repository:a:pull";
    assert_eq!(basic(body).as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    assert_eq!(
        basic("grant_type=password&username=a&password=%3a%26"),
        Some(format!("Basic {}", "YTo6Jg=="))
    );
    match form("grant_type=refresh_token&refresh_token=x.y.z&access_type=offline")
        .map(|request| (request.is_offline, request.authorization))
    {
        Ok((true, Authorization::Refresh(header))) => assert_eq!(&header[..], b"Bearer x.y.z"),
        _ => panic!("a refresh token"),
    }
    for (body, status) in [
        ("", 400),
        ("username=a&password=b", 400),
        (
            "grant_type=password&grant_type=password&username=a&password=b",
            400,
        ),
        ("grant_type=password&username=a&username=b&password=c", 400),
        ("grant_type=password&username=a&password=c&password=d", 400),
        ("grant_type=password&username=a&password=b&refresh_token=x", 400),
        ("grant_type=refresh_token", 400),
        ("grant_type=authorization_code&code=x", 400),
        ("grant_type=password&username=a&password=b&service=other", 400),
        ("grant_type=password&password=b", 401),
        ("grant_type=password&username=a:b&password=c", 401),
        ("grant_type=password&username=a%00b&password=c", 401),
    ] {
        assert_eq!(
            form(body).err().map(|denial| denial.status()),
            Some(status),
            "{body}"
        );
    }
    for content_type in [
        "",
        "text/plain",
        "application/json",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencodedx",
    ] {
        let refused = TokenRequest::from_form(
            content_type.as_bytes(),
            b"grant_type=password&username=a&password=b",
            "s",
        );
        assert_eq!(
            refused.err().map(|denial| denial.status()),
            Some(400),
            "{content_type}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(token in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,60}") {
        let keys = keys(&[SECRET]);
        let mut headed = b"eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.".to_vec();
        headed.extend_from_slice(&token);
        for token in [token, headed] {
            prop_assert!(verify(&keys, &AUDIENCE, &token, NOW, true).is_err());
        }
        let _ = Resource::parse(&text);
    }

    #[test]
    fn any_user_and_access_survive(
        name in "[^\\x00-\\x1f\\x7f:/\\p{Cc}]{1,60}",
        repository in "[a-z]{1,9}(/[a-z]{1,9}){0,3}",
        service in "\\PC{0,20}",
    ) {
        let mut access = Access::default();
        access.add(&RepositoryName::parse(repository.as_bytes()).unwrap(), Action::Delete);
        let audience = Audience { service: &service, ..AUDIENCE };
        let issue = Issue {
            user: Some(UserName::parse(name.as_bytes()).unwrap()),
            state: state("x"),
            access_token: None,
            access: &access,
            now: NOW,
            expires: NOW + 60,
        };
        let keys = keys(&[SECRET]);
        let token = sign(&keys, &audience, &issue).unwrap();
        let claims = verify(&keys, &audience, token.as_bytes(), NOW, false)
            .map_err(|why| TestCaseError::fail(why.to_string()))?;
        prop_assert_eq!(claims.user.as_ref().unwrap().as_name().as_str(), name.as_str());
        prop_assert_eq!(&claims.access, &access);
        prop_assert!(claims.is_of(&keys, "P", state("x")));
    }
}

#[test]
fn a_token_outlives_a_better_hash_of_the_same_password() {
    let (keys, others) = (
        keys(&[SECRET]),
        keys(&[b"another secret of more than 32 characters"]),
    );
    let token = signed_at(&AUDIENCE, NOW, NOW + 300);
    let claims = verify(&keys, &AUDIENCE, token.as_bytes(), NOW, false).unwrap();
    let is_of = |stored: &str| claims.is_of(&keys, AUDIENCE.prefix, state(stored));
    let rehash = |mark| password::rehash_argon2id(b"x", [7; 8], mark).unwrap();
    let mark = |keys: &SigningKeys, user, stored| keys.mark(AUDIENCE.prefix, user, stored).unwrap();
    let new = rehash(mark(&keys, "alice", "{SHA}x"));
    assert!(is_of("{SHA}x") && is_of(&new) && is_of(&format!("!{new}")));
    // Another password's, another user's, and one that was made with another key.
    assert!(!is_of("{SHA}y"));
    assert!(!is_of(&rehash(mark(&keys, "alice", "{SHA}y"))));
    assert!(!is_of(&rehash(mark(&keys, "bob", "{SHA}x"))));
    assert!(!is_of(&rehash(mark(&others, "alice", "{SHA}x"))));
    // What everybody can read in a token is no mark, and neither is a salt of others'.
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    let tag = URL_SAFE_NO_PAD.decode(payload["acc"].as_str().unwrap()).unwrap();
    assert!(!is_of(&rehash(tag.try_into().unwrap())));
    let salt = new.split('$').nth(4).unwrap();
    assert!(!is_of(
        &new.replace(salt, &salt.replace("cmVuZXdlZA", "cmVuZXdlZB"))
    ));
    // A token that is issued afterwards is of the new hash, locked or not, and of no other.
    let later = signed_in(&AUDIENCE, state(&new), NOW, NOW + 300);
    let claims = verify(&keys, &AUDIENCE, later.as_bytes(), NOW, false).unwrap();
    let is_of = |stored: &str| claims.is_of(&keys, AUDIENCE.prefix, state(stored));
    assert!(is_of(&new) && is_of(&format!("!{new}")));
    assert!(!is_of("{SHA}x") && !is_of(&rehash(mark(&keys, "alice", "{SHA}y"))));
}

#[test]
fn another_password_under_the_salt_of_a_better_hash_is_another() {
    let mark = keys(&[SECRET]).mark(AUDIENCE.prefix, "alice", "{SHA}x").unwrap();
    let hash = |password| password::rehash_argon2id(password, [7; 8], mark).unwrap();
    let record = |stored: String| {
        let record = Record {
            password: Some(stored),
            ..Record::default()
        };
        let (mut bytes, mut sealed) = (Vec::new(), Vec::new());
        encode(&record, &mut bytes).unwrap();
        RecordRef::decode(&bytes).unwrap().seal(&mut sealed).unwrap();
        (bytes, sealed)
    };
    let bound = |bytes: &[u8]| {
        let (record, mut out) = (RecordRef::decode(bytes).unwrap(), Vec::new());
        record.write_credentials(&mut out);
        assert!(
            record.state() == AccountState::of(hash(b"x").as_bytes()),
            "what tokens are bound to"
        );
        (record.hash_state(), out)
    };
    let ((one, sealed), (other, sealed_other)) = (record(hash(b"x")), record(hash(b"y")));
    assert!(bound(&one) != bound(&other) && bound(&one).1 != bound(&other).1);
    assert!(bound(&one) == bound(&sealed) && bound(&other) == bound(&sealed_other));
    assert!(bound(&record(format!("!{}", hash(b"x"))).1) == bound(&one));
    let mut again = Vec::new();
    RecordRef::decode(&sealed).unwrap().seal(&mut again).unwrap();
    assert_eq!(again, sealed);
}
