//! The encoded record: what goes in comes out, and no bytes at all can do harm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use registry_auth::codec::{InvalidRecord, Peer, Record, RecordRef, VERSION, encode};
use registry_auth::grant::Grant;
use registry_auth::token::access_token::parse_scope;
use registry_auth::{AccessToken, StoredToken};
use std::net::SocketAddr;

fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(record, &mut bytes).unwrap();
    bytes
}

/// The record, with its grants in an order that does not depend on how it was made.
fn sorted(mut record: Record) -> Record {
    let key = |grant: &Grant| {
        let actions = grant.actions.to_string();
        (!grant.deny, grant.pattern.to_string(), actions)
    };
    record.grants.sort_by_key(key);
    record.grants.dedup();
    for token in &mut record.tokens {
        token.scopes.sort_by_key(key);
        token.scopes.dedup();
    }
    record
}

fn token(id: &str, expires: u64) -> StoredToken {
    let secret = AccessToken::generate(|bytes| {
        bytes.fill(expires as u8);
        Ok::<_, ()>(())
    });
    StoredToken {
        id: id.to_owned(),
        digest: secret.unwrap().digest(),
        expires,
        created: 0,
        scopes: vec![parse_scope("team/*:pull").unwrap(), parse_scope("a/b:*").unwrap()],
    }
}

fn sample() -> Record {
    Record {
        password: Some("$2y$05$x".into()),
        groups: vec!["team".into(), "ops".into()],
        backends: vec![
            Peer {
                name: "a.example:5000".into(),
                addresses: vec!["10.0.0.1:5000".parse().unwrap()],
            },
            Peer {
                name: "[::1]:80".into(),
                addresses: vec!["[::1]:80".parse().unwrap(), "1.2.3.4:80".parse().unwrap()],
            },
            Peer {
                name: "gone:1".into(),
                addresses: vec![],
            },
        ],
        grants: vec![
            Grant::parse("grant:!secret/**", "*").unwrap(),
            Grant::parse("grant:team/*", "pull,push").unwrap(),
        ],
        tokens: vec![token("ci", 7), token("deploy", 9)],
    }
}

#[test]
fn views_read_what_was_written() {
    let bytes = encoded(&sample());
    let view = RecordRef::decode(&bytes).unwrap();
    assert_eq!(view.password(), Some("$2y$05$x"));
    assert!(!view.is_locked() && view.has_peers());
    assert_eq!(
        view.groups().collect::<Result<Vec<_>, _>>().unwrap(),
        ["team", "ops"]
    );
    let peers: Vec<_> = view
        .peers()
        .map(|peer| std::str::from_utf8(peer.unwrap().name).unwrap())
        .collect();
    assert_eq!(peers, ["a.example:5000", "[::1]:80", "gone:1"]);
    assert_eq!(view.denials().count(), 1);
    assert_eq!(view.rights().count(), 1);
    assert_eq!(sorted(view.to_record().unwrap()), sorted(sample()));
}

#[test]
fn a_token_is_found_by_its_digest_and_by_its_id() {
    let bytes = encoded(&sample());
    let view = RecordRef::decode(&bytes).unwrap();
    for (id, expires) in [("ci", 7), ("deploy", 9)] {
        let digest = token(id, expires).digest;
        let found = view.token(digest).unwrap().unwrap();
        assert_eq!((found.id, found.expires), (id, expires));
        assert_eq!(view.token_named(id).unwrap().unwrap().expires, expires);
    }
    assert!(view.token(token("other", 8).digest).unwrap().is_none());
    assert!(view.token_named("c").unwrap().is_none());
}

#[test]
fn a_sealed_record_says_all_but_the_password() {
    for stored in [Some("$2y$05$x"), Some("!$2y$05$x"), Some(""), None] {
        let record = Record {
            password: stored.map(str::to_owned),
            ..sample()
        };
        let (whole, mut sealed, mut again) = (encoded(&record), Vec::new(), Vec::new());
        let view = RecordRef::decode(&whole).unwrap();
        view.seal(&mut sealed).unwrap();
        let seen = RecordRef::decode(&sealed).unwrap();
        assert!(seen.state() == view.state());
        assert_eq!(seen.password(), None);
        assert_eq!(seen.is_locked(), view.is_locked());
        assert!(seen.grants().eq(view.grants()) && seen.groups().eq(view.groups()));
        assert_eq!(seen.tokens().count(), 2);
        assert_eq!(seen.to_record(), Err(InvalidRecord));
        assert!(!sealed.windows(4).any(|bytes| bytes == b"$2y$"));
        seen.seal(&mut again).unwrap();
        assert_eq!(again, sealed);
    }
}

#[test]
fn the_state_is_that_of_the_password_and_not_of_the_lock() {
    let state = |stored: &str| {
        let record = Record {
            password: Some(stored.to_owned()),
            ..Record::default()
        };
        RecordRef::decode(&encoded(&record)).unwrap().state()
    };
    assert!(state("{SHA}x") == state("!{SHA}x"));
    assert!(state("{SHA}x") != state("{SHA}y"));
    assert!(state("") == RecordRef::EMPTY.state());
}

/// What was verified is bound to the password and to the tokens: a revoked one must not live on.
#[test]
fn credentials_change_with_the_password_and_with_any_token() {
    let credentials = |record: &Record| {
        let (bytes, mut out) = (encoded(record), Vec::new());
        RecordRef::decode(&bytes).unwrap().write_credentials(&mut out);
        out
    };
    let before = credentials(&sample());
    let mut changed = [sample(), sample(), sample(), sample()];
    changed[0].password = Some("$2y$05$y".into());
    changed[1].tokens.pop();
    changed[2].tokens[0].expires += 1;
    changed[3].tokens[0].scopes.pop();
    for record in changed {
        assert_ne!(credentials(&record), before);
    }
    let mut same = sample();
    same.grants.clear();
    assert_eq!(credentials(&same), before);
}

#[test]
fn the_empty_record() {
    let bytes = encoded(&Record::default());
    assert_eq!(bytes.len(), 24);
    let view = RecordRef::decode(&bytes).unwrap();
    assert_eq!(view.to_record().unwrap(), Record::default());
    assert_eq!(RecordRef::EMPTY.to_record().unwrap(), Record::default());
    assert!(!view.has_peers() && !view.is_locked());
}

#[test]
fn no_password_and_an_empty_one_differ() {
    let record = Record {
        password: Some(String::new()),
        ..Record::default()
    };
    assert_eq!(RecordRef::decode(&encoded(&record)).unwrap().password(), Some(""));
}

#[test]
fn a_lock_is_seen() {
    let record = Record {
        password: Some("!{SHA}x".into()),
        ..Record::default()
    };
    assert!(RecordRef::decode(&encoded(&record)).unwrap().is_locked());
}

/// A longer header than bytes, trailing bytes, another version, unknown flags: nothing is read.
#[test]
fn damaged_headers_are_refused() {
    let bytes = encoded(&sample());
    for length in 0..bytes.len() {
        assert!(RecordRef::decode(&bytes[..length]).is_err(), "{length}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(RecordRef::decode(&longer).is_err());
    for (at, value) in [
        (0, VERSION + 1),
        (0, 0),
        (1, 3),
        (1, 4),
        (1, 0x80),
        (1, 0),
        (4, 0xff),
        (7, 0xff),
        (19, 0xff),
        (23, 0xff),
    ] {
        let mut damaged = bytes.clone();
        damaged[at] = value;
        assert!(RecordRef::decode(&damaged).is_err(), "byte {at} = {value}");
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_leaves_the_buffer() {
    let long = "x".repeat(256);
    for record in [
        Record {
            groups: vec![long.clone()],
            ..Record::default()
        },
        Record {
            password: Some("x".repeat(65_536)),
            ..Record::default()
        },
        Record {
            backends: vec![Peer {
                name: long,
                addresses: vec![],
            }],
            ..Record::default()
        },
        Record {
            backends: vec![Peer {
                name: "a:1".into(),
                addresses: vec!["1.2.3.4:5".parse().unwrap(); 256],
            }],
            ..Record::default()
        },
    ] {
        let mut out = b"before".to_vec();
        assert_eq!(encode(&record, &mut out), Err(InvalidRecord));
        assert_eq!(out, b"before");
    }
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from),
    ]
}

fn any_record() -> impl Strategy<Value = Record> {
    let peer = ("\\PC{0,20}", prop::collection::vec(any_address(), 0..4))
        .prop_map(|(name, addresses)| Peer { name, addresses });
    let grant = (
        "[a-z]{1,5}(/[a-z]{1,5}){0,3}(/\\*{1,2})?",
        any::<bool>(),
        prop::sample::select(vec!["*", "pull", "push,delete"]),
    )
        .prop_map(|(pattern, deny, actions)| {
            let mut grant = Grant::from_parts(&pattern, actions).unwrap();
            grant.deny = deny;
            grant
        });
    let scope = prop::sample::select(vec!["team/*:pull", "team/*:*", "**:push,delete", "a/b:pull"]);
    let token = (
        "[a-z0-9-]{1,32}",
        any::<[u8; 8]>(),
        any::<u64>(),
        prop::collection::vec(scope, 1..4),
    );
    let token = token.prop_map(|(id, seed, expires, scopes)| {
        let mut turn = seed.into_iter().cycle().zip(0_u8..=247);
        let secret = AccessToken::generate(|bytes| {
            let (seed, number) = turn.next().ok_or(())?;
            bytes.fill((seed ^ number) % 248);
            Ok::<_, ()>(())
        });
        StoredToken {
            id,
            digest: secret.unwrap().digest(),
            expires,
            created: 0,
            scopes: scopes
                .into_iter()
                .map(|scope| parse_scope(scope).unwrap())
                .collect(),
        }
    });
    (
        prop::option::of("\\PC{0,100}"),
        prop::collection::vec("\\PC{0,20}", 0..5),
        prop::collection::vec(peer, 0..5),
        prop::collection::vec(grant, 0..8),
        prop::collection::vec(token, 0..3),
    )
        .prop_map(|(password, groups, backends, grants, tokens)| Record {
            password,
            groups,
            backends,
            grants,
            tokens,
        })
}

/// Reads everything there is; no panic.
fn read_all(bytes: &[u8]) {
    if let Ok(view) = RecordRef::decode(bytes) {
        let _ = (
            view.password(),
            view.is_locked(),
            view.groups().count(),
            view.grants().count(),
            view.tokens().count(),
            view.token_named("ci"),
        );
        let mut sealed = Vec::new();
        view.seal(&mut sealed).unwrap();
        assert!(RecordRef::decode(&sealed).unwrap().state() == view.state());
        for peer in view.peers().flatten() {
            let _ = peer.addresses().count();
        }
        if let Ok(record) = view.to_record() {
            let again = RecordRef::decode(&encoded(&record)).unwrap().to_record();
            assert_eq!(again.map(sorted), Ok(sorted(record)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn round_trip(record in any_record()) {
        let bytes = encoded(&record);
        let read = RecordRef::decode(&bytes).unwrap().to_record().unwrap();
        prop_assert_eq!(sorted(read), sorted(record));
    }

    #[test]
    fn random_bytes_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..200), version: bool) {
        if let (Some(first), true) = (bytes.first_mut(), version) {
            *first = VERSION;
        }
        read_all(&bytes);
    }

    #[test]
    fn damaged_records_do_no_harm(
        record in any_record(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoded(&record);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        read_all(&bytes);
    }

    #[test]
    fn cut_records_are_refused(record in any_record(), at: prop::sample::Index) {
        let bytes = encoded(&record);
        prop_assert_eq!(RecordRef::decode(&bytes[..at.index(bytes.len())]).err(), Some(InvalidRecord));
    }
}
