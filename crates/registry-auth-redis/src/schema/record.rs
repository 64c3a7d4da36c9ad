//! Replies of Redis become records. The redis crate's types end here.
//!
//! Used by `registry-auth-lookup` for the module and by `registry-auth-admin` for the tool. Invariant: what
//! cannot be read whole is an error, never a record with something missing (a grant that is skipped might
//! have been a denial). But a backend that cannot be one is skipped, and told, where there are others beside
//! it: they are as good as they were without it. Fields that are not known here are ignored: later versions
//! may store more.

use crate::schema::keys::field;
use redis::{ServerError, Value};
use registry_auth::backend::Backend;
use registry_auth::grant::Grant;
use registry_auth::{Peer, Record, StoredToken, TokenDigest, UserName, UserNameBuf};

/// Why a reply is no record.
#[derive(Debug, Clone)]
pub enum Unreadable {
    /// Redis refuses or cannot answer: says nothing about the key.
    Refused(ServerError),
    /// The key holds something else. The text names the field, never its value (it may be a hash).
    Bad(&'static str),
}

impl Unreadable {
    fn from_error(error: ServerError, wrong_type: &'static str) -> Self {
        if error.code() == "WRONGTYPE" {
            Self::Bad(wrong_type)
        } else {
            Self::Refused(error)
        }
    }
}

/// What is said of a backend that was skipped.
pub const SKIPPED: &str = "a backend is neither host:port nor host, and is skipped";

/// The reply to `HGETALL P:user:<name>` (or `P:group:<name>`); `None` when there is no such key. The backends
/// have no addresses yet.
pub fn from_hash(reply: Value) -> Result<Option<Record>, Unreadable> {
    from_hash_noting(reply, &mut false)
}

/// The same, which notes whether a backend was skipped.
pub fn from_hash_noting(reply: Value, skipped: &mut bool) -> Result<Option<Record>, Unreadable> {
    let mut record = Record::default();
    let mut read = |name: Value, value: Value| {
        let Value::BulkString(name) = name else {
            return Err(Unreadable::Bad("a field name is not a string"));
        };
        read_field(&mut record, &name, value, skipped)
    };
    match reply {
        // RESP2: name, value, name, value...
        Value::Array(items) if items.is_empty() => return Ok(None),
        Value::Array(items) => {
            let mut items = items.into_iter();
            while let (Some(name), Some(value)) = (items.next(), items.next()) {
                read(name, value)?;
            }
        }
        // RESP3.
        Value::Map(items) if items.is_empty() => return Ok(None),
        Value::Map(items) => items
            .into_iter()
            .try_for_each(|(name, value)| read(name, value))?,
        Value::Nil => return Ok(None),
        Value::ServerError(error) => return Err(Unreadable::from_error(error, "it is not a hash")),
        _ => return Err(Unreadable::Bad("it is not a hash")),
    }
    Ok(Some(record))
}

/// Whether the reply to `HGETALL` says that there is no such key.
pub fn is_nothing(reply: &Value) -> bool {
    match reply {
        Value::Array(items) => items.is_empty(),
        Value::Map(items) => items.is_empty(),
        _ => false,
    }
}

fn read_field(record: &mut Record, name: &[u8], value: Value, skipped: &mut bool) -> Result<(), Unreadable> {
    if name == field::PASSWORD.as_bytes() {
        record.password = Some(text(value, "the password hash is not UTF-8")?);
    } else if name == field::GROUPS.as_bytes() {
        let groups = text(value, "field groups is not UTF-8")?;
        record.groups = groups
            .split_ascii_whitespace()
            .map(group)
            .collect::<Result<_, _>>()?;
    } else if name == field::BACKENDS.as_bytes() {
        let backends = text(value, "field backends is not UTF-8")?;
        record.backends = peers(backends.split_ascii_whitespace(), skipped)?;
    } else if name.starts_with(field::GRANT.as_bytes()) {
        let name =
            std::str::from_utf8(name).map_err(|_| Unreadable::Bad("a grant's pattern is not UTF-8"))?;
        let actions = text(value, "a grant's actions are not UTF-8")?;
        record.grants.push(
            Grant::parse(name, &actions)
                .map_err(|_| Unreadable::Bad("a grant has no legal pattern or no legal actions"))?,
        );
    } else if name.starts_with(field::TOKEN.as_bytes()) {
        let name =
            std::str::from_utf8(name).map_err(|_| Unreadable::Bad("an access token's id is not UTF-8"))?;
        let token = text(value, "an access token is not UTF-8")?;
        record.tokens.push(
            StoredToken::parse(name, &token).map_err(|_| Unreadable::Bad("an access token is malformed"))?,
        );
    }
    Ok(())
}

/// Whether an access token is in the reply to `HGETALL P:user:<name>`: nothing else is read of it. What
/// cannot be read is not in it.
pub fn has_token(reply: &Value, digest: &TokenDigest) -> bool {
    let is = |(name, value): (&Value, &Value)| {
        let (Value::BulkString(name), Value::BulkString(value)) = (name, value) else {
            return false;
        };
        if !name.starts_with(field::TOKEN.as_bytes()) {
            return false;
        }
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            return false;
        };
        StoredToken::parse(name, value).is_ok_and(|token| token.digest == *digest)
    };
    match reply {
        Value::Array(items) => items
            .chunks_exact(2)
            .any(|pair| matches!(pair, [name, value] if is((name, value)))),
        Value::Map(items) => items.iter().any(|(name, value)| is((name, value))),
        _ => false,
    }
}

/// The reply to `HMGET P:token-owners <digest>`: whose access token it is, if anybody's.
pub fn token_owner(reply: Value) -> Result<Option<UserNameBuf>, Unreadable> {
    let item = match reply {
        Value::Array(items) => items.into_iter().next().unwrap_or(Value::Nil),
        Value::ServerError(error) => return Err(Unreadable::from_error(error, "it is not a hash")),
        _ => return Err(Unreadable::Bad("it is not a hash")),
    };
    if item == Value::Nil {
        return Ok(None);
    }
    let name = text(item, "a user's name is not UTF-8")?;
    let name = UserName::parse(name.as_bytes());
    let name = name.map_err(|_| Unreadable::Bad("a user's name is not legal"))?;
    Ok(Some(name.to_owned()))
}

/// A comma in a name is refused: what is meant is two groups, one of which may deny something.
fn group(name: &str) -> Result<String, Unreadable> {
    if name.contains(',') {
        return Err(Unreadable::Bad(
            "field groups has a comma, and names are separated by spaces",
        ));
    }
    UserName::parse(name.as_bytes()).map_err(|_| Unreadable::Bad("a group's name is not legal"))?;
    Ok(name.to_owned())
}

/// The peers of a list, without those that cannot be one. Where that would leave none, the list cannot be
/// read: who has backends of their own is not to be sent to those of others.
fn peers<'n>(names: impl Iterator<Item = &'n str>, skipped: &mut bool) -> Result<Vec<Peer>, Unreadable> {
    let mut peers = Vec::new();
    let mut is_any_bad = false;
    for name in names {
        match Backend::stored(name) {
            Ok(_) => peers.push(Peer {
                name: name.to_owned(),
                addresses: Vec::new(),
            }),
            Err(_) => is_any_bad = true,
        }
    }
    if is_any_bad && peers.is_empty() {
        return Err(Unreadable::Bad("no backend is host:port or host"));
    }
    *skipped |= is_any_bad;
    Ok(peers)
}

/// The reply to `LRANGE P:backends 0 -1`: a record with nothing but backends, without addresses yet.
pub fn from_list(reply: Value) -> Result<Record, Unreadable> {
    from_list_noting(reply, &mut false)
}

/// The same, which notes whether a backend was skipped.
pub fn from_list_noting(reply: Value, skipped: &mut bool) -> Result<Record, Unreadable> {
    let items = match reply {
        Value::Array(items) => items,
        Value::Nil => Vec::new(),
        Value::ServerError(error) => return Err(Unreadable::from_error(error, "it is not a list")),
        _ => return Err(Unreadable::Bad("it is not a list")),
    };
    let names = items
        .into_iter()
        .map(|item| text(item, "a backend is not UTF-8"))
        .collect::<Result<Vec<String>, _>>()?;
    Ok(Record {
        backends: peers(names.iter().map(|name| name.trim_ascii()), skipped)?,
        ..Record::default()
    })
}

/// The reply to `HMGET P:passwords user...`: one item for each user asked for.
pub fn from_passwords(reply: Value, users: usize) -> Result<Vec<Value>, Unreadable> {
    match reply {
        Value::Array(items) if items.len() == users => Ok(items),
        Value::ServerError(error) => Err(Unreadable::from_error(error, "it is not a hash")),
        _ => Err(Unreadable::Bad("it is not a hash")),
    }
}

/// One item of [`from_passwords`].
pub fn password(item: Value) -> Result<Option<String>, Unreadable> {
    match item {
        Value::Nil => Ok(None),
        item => text(item, "the password hash is not UTF-8").map(Some),
    }
}

fn text(value: Value, otherwise: &'static str) -> Result<String, Unreadable> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| Unreadable::Bad(otherwise)),
        Value::SimpleString(text) => Ok(text),
        // The redis crate's name for the simple string "OK".
        Value::Okay => Ok("OK".to_owned()),
        Value::ServerError(error) => Err(Unreadable::Refused(error)),
        _ => Err(Unreadable::Bad(otherwise)),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Unreadable, from_hash, from_hash_noting, from_list, from_list_noting, from_passwords, password,
    };
    use redis::Value;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn array(items: &[&str]) -> Value {
        Value::Array(items.iter().map(|item| bulk(item)).collect())
    }

    #[test]
    fn a_user_in_both_protocols() {
        let token = format!("sha256={} expires=1800000000 scope=team/*:pull", "0f".repeat(32));
        let fields = [
            ("password", "{SHA}x"),
            ("groups", "team  other"),
            ("backends", "a:1 [::1]:2"),
            ("grant:!secret/**", "*"),
            ("token:ci", &token),
            ("colour", "blue"),
        ];
        let flat: Vec<&str> = fields.iter().flat_map(|(name, value)| [*name, *value]).collect();
        let resp2 = from_hash(array(&flat)).unwrap().unwrap();
        let map = fields
            .iter()
            .map(|(name, value)| (bulk(name), bulk(value)))
            .collect();
        assert_eq!(from_hash(Value::Map(map)).unwrap().unwrap(), resp2);
        assert_eq!(resp2.password.as_deref(), Some("{SHA}x"));
        assert_eq!(resp2.groups, ["team", "other"]);
        let names: Vec<_> = resp2.backends.iter().map(|peer| peer.name.as_str()).collect();
        assert_eq!(names, ["a:1", "[::1]:2"]);
        assert!(resp2.grants[0].deny);
        assert_eq!(resp2.tokens[0].id, "ci");
    }

    #[test]
    fn no_key_is_no_user() {
        assert!(from_hash(array(&[])).unwrap().is_none());
        assert!(from_hash(Value::Map(Vec::new())).unwrap().is_none());
        assert!(from_hash(Value::Nil).unwrap().is_none());
    }

    #[test]
    fn a_malformed_field_fails_the_whole_record() {
        for fields in [
            ["grant:Upper/**", "pull"],
            ["grant:a/**", "fly"],
            ["backends", "unix:/run/x.sock"],
            ["backends", "a:0 http://b:80"],
            ["groups", "te:am"],
            ["groups", "team,ops"],
            ["groups", "team, ops"],
            ["token:ci", "sha256=0f expires=1 scope=a:pull"],
            ["token:", "expires=1"],
        ] {
            assert!(
                matches!(from_hash(array(&fields)), Err(Unreadable::Bad(_))),
                "{fields:?}"
            );
        }
        let bad = Value::Array(vec![bulk("password"), Value::BulkString(vec![0xff])]);
        assert!(matches!(from_hash(bad), Err(Unreadable::Bad(_))));
        assert!(matches!(from_hash(Value::Int(1)), Err(Unreadable::Bad(_))));
    }

    #[test]
    fn a_bad_backend_is_skipped_where_there_is_a_good_one() {
        let mut skipped = false;
        let user = array(&["backends", "a:1 http://b:80 [::1]"]);
        let record = from_hash_noting(user, &mut skipped).unwrap().unwrap();
        let names: Vec<_> = record.backends.iter().map(|peer| peer.name.as_str()).collect();
        assert_eq!((names, skipped), (vec!["a:1", "[::1]"], true));
        let mut skipped = false;
        assert!(
            from_hash_noting(array(&["backends", ""]), &mut skipped)
                .unwrap()
                .is_some_and(|record| record.backends.is_empty())
        );
        assert!(!skipped);
    }

    #[test]
    fn defaults() {
        let record = from_list(array(&["a:1", "b:2"])).unwrap();
        assert_eq!(record.backends.len(), 2);
        assert!(record.password.is_none() && record.groups.is_empty());
        let mut skipped = false;
        let record = from_list_noting(array(&["a:1", "b", "c:0", "unix:/x"]), &mut skipped).unwrap();
        let names: Vec<_> = record.backends.iter().map(|peer| peer.name.as_str()).collect();
        assert_eq!((names, skipped), (vec!["a:1", "b"], true));
        assert!(matches!(
            from_list(array(&["c:0", "/x"])),
            Err(Unreadable::Bad(_))
        ));
        assert!(from_list(array(&[])).unwrap().backends.is_empty());
    }

    #[test]
    fn passwords_answer_each_user() {
        let items = from_passwords(Value::Array(vec![bulk("x"), Value::Nil]), 2).unwrap();
        let hashes: Vec<_> = items.into_iter().map(|item| password(item).unwrap()).collect();
        assert_eq!(hashes, [Some("x".to_owned()), None]);
        assert!(from_passwords(Value::Array(vec![bulk("x")]), 2).is_err());
    }
}
