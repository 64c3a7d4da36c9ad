//! Replies of Redis become records. The redis crate's types end here.
//!
//! Used by `registry-auth-lookup` for the module and by `registry-auth-admin` for the tool. Invariant: what
//! cannot be read whole is an error, never a record with something missing (a grant that is skipped might
//! have been a denial). But a backend that cannot be one is skipped, and told, where there are others beside
//! it: they are as good as they were without it. Fields that are not known here are ignored: later versions
//! may store more.

use crate::connection::open::TOO_LARGE;
use crate::schema::keys::field;
use redis::{ServerError, Value};
use registry_auth::backend::Backend;
use registry_auth::grant::{Grant, InvalidGrant};
use registry_auth::token::access_token;
use registry_auth::{Peer, Record, StoredToken, TokenDigest, UserName, UserNameBuf};

/// Why a reply is no record.
#[derive(Debug, Clone)]
pub enum Unreadable {
    /// Redis refuses or cannot answer: says nothing about the key.
    Refused(ServerError),
    /// The key holds something else. The text names the field and what was found, never a password, a hash or
    /// a digest.
    Bad(String),
}

impl Unreadable {
    fn bad(why: impl Into<String>) -> Self {
        Self::Bad(why.into())
    }

    fn from_error(error: ServerError, wrong_type: &'static str) -> Self {
        match error.code() {
            "WRONGTYPE" => Self::bad(wrong_type),
            TOO_LARGE => Self::bad(error.details().unwrap_or_default()),
            _ => Self::Refused(error),
        }
    }
}

/// The reply to `HGETALL P:user:<name>` (or `P:group:<name>`); `None` when there is no such key. Of the
/// backends only those have an address that are written as one.
pub fn from_hash(reply: Value) -> Result<Option<Record>, Unreadable> {
    from_hash_noting(reply, &mut None)
}

/// The same, which notes the first backend that was skipped, quoted for people.
pub fn from_hash_noting(reply: Value, skipped: &mut Option<String>) -> Result<Option<Record>, Unreadable> {
    let mut record = Record::default();
    let mut read = |name: Value, value: Value| {
        let Value::BulkString(name) = name else {
            return Err(Unreadable::bad("the name of a field is not a string"));
        };
        // Also where the field is not known.
        if let Value::ServerError(error) = value {
            return Err(Unreadable::from_error(error, "it is not a hash"));
        }
        read_field(&mut record, &name, value, skipped)
    };
    match reply {
        // RESP2: name, value, name, value...
        Value::Array(items) if items.is_empty() => return Ok(None),
        // What is missing might be a denial.
        Value::Array(items) if items.len() % 2 != 0 => {
            return Err(Unreadable::bad("the last field has no value"));
        }
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
        Value::ServerError(error) => return Err(Unreadable::from_error(error, "it is not a hash")),
        // That there is none is an empty hash: `Nil` is an answer to something else.
        _ => return Err(Unreadable::bad("it is not a hash")),
    }
    Ok(Some(record))
}

/// The record of a user: that of `P:user:<name>`, and where it has no password the one of `P:passwords`,
/// which
/// `password` reads only then. And whether the password is the record's own. `None` for a user of neither.
pub fn with_password<E>(
    own: Option<Record>,
    password: impl FnOnce() -> Result<Option<String>, E>,
) -> Result<Option<(Record, bool)>, E> {
    match own {
        Some(own) if own.password.is_some() => Ok(Some((own, true))),
        own => Ok(match (own, password()?) {
            (None, None) => None,
            (own, password) => Some((
                Record {
                    password,
                    ..own.unwrap_or_default()
                },
                false,
            )),
        }),
    }
}

/// Whether the reply to `HGETALL` says that there is no such key.
pub fn is_nothing(reply: &Value) -> bool {
    match reply {
        Value::Array(items) => items.is_empty(),
        Value::Map(items) => items.is_empty(),
        _ => false,
    }
}

fn read_field(
    record: &mut Record,
    name: &[u8],
    value: Value,
    skipped: &mut Option<String>,
) -> Result<(), Unreadable> {
    if name == field::PASSWORD.as_bytes() {
        record.password = Some(text(value, "field password: the hash is not UTF-8")?);
    } else if name == field::GROUPS.as_bytes() {
        let groups = text(value, "field groups: it is not UTF-8")?;
        record.groups = groups
            .split_ascii_whitespace()
            .map(group)
            .collect::<Result<_, _>>()?;
    } else if name == field::BACKENDS.as_bytes() {
        let backends = text(value, "field backends: it is not UTF-8")?;
        record.backends = peers(backends.split_ascii_whitespace(), skipped)
            .map_err(|why| Unreadable::Bad(format!("field backends: {why}")))?;
    } else if name.starts_with(field::GRANT.as_bytes()) {
        let bad = |why: &str| format!("field {}: {why}", shortened(&String::from_utf8_lossy(name)));
        let actions = text_or(value, || bad("the actions are not UTF-8"))?;
        let field = std::str::from_utf8(name);
        let field = field.map_err(|_| Unreadable::Bad(bad("the pattern is not UTF-8")))?;
        let grant = Grant::parse(field, &actions).map_err(|why| {
            Unreadable::Bad(match why {
                InvalidGrant::Actions => bad(&format!("it is {}, and {why}", quoted(&actions))),
                InvalidGrant::Field | InvalidGrant::Pattern => bad(&why.to_string()),
            })
        });
        record.grants.push(grant?);
    } else if name.starts_with(field::TOKEN.as_bytes()) {
        let name = std::str::from_utf8(name).unwrap_or(field::TOKEN);
        // Of an illegal id nothing is shown: it may be the token itself.
        let bad = |why: &str| match access_token::is_field(name) {
            true => format!("field {name}: {why}"),
            false => format!("a field token:...: {why}"),
        };
        let token = text_or(value, || bad("it is not UTF-8"))?;
        let token = StoredToken::parse(name, &token).map_err(|why| Unreadable::Bad(bad(&why.to_string())));
        record.tokens.push(token?);
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
        Value::Array(items) if items.len() == 1 => items.into_iter().next().unwrap_or(Value::Nil),
        Value::ServerError(error) => return Err(Unreadable::from_error(error, "it is not a hash")),
        _ => return Err(Unreadable::bad("it is not a hash")),
    };
    if item == Value::Nil {
        return Ok(None);
    }
    let name = text(item, "the owner of an access token is not UTF-8")?;
    let parsed = UserName::parse(name.as_bytes());
    let name = parsed.map_err(|_| {
        Unreadable::Bad(format!(
            "the owner of an access token, {}, is no legal name",
            quoted(&name)
        ))
    })?;
    Ok(Some(name.to_owned()))
}

/// A comma in a name is refused: what is meant is two groups, one of which may deny something.
fn group(name: &str) -> Result<String, Unreadable> {
    if name.contains(',') {
        let why = "has a comma, and names are separated by spaces";
        return Err(Unreadable::Bad(format!("field groups: {} {why}", quoted(name))));
    }
    UserName::parse(name.as_bytes()).map_err(|_| {
        Unreadable::Bad(format!(
            "field groups: {} is no legal name of a group",
            quoted(name)
        ))
    })?;
    Ok(name.to_owned())
}

/// The peers of a list, without those that cannot be one, or why the list cannot be read: where that would
/// leave none. Who has backends of their own is not to be sent to those of others.
fn peers<'n>(
    names: impl Iterator<Item = &'n str>,
    skipped: &mut Option<String>,
) -> Result<Vec<Peer>, String> {
    let mut peers = Vec::new();
    let mut bad = None;
    for name in names {
        match Backend::stored(name) {
            Ok(backend) => peers.push(Peer {
                name: name.to_owned(),
                addresses: backend.address().into_iter().collect(),
            }),
            Err(_) => bad = bad.or(Some(name)),
        }
    }
    match bad {
        Some(name) if peers.is_empty() => Err(format!("{} is neither host:port nor host", quoted(name))),
        _ => {
            *skipped = skipped.take().or(bad.map(quoted));
            Ok(peers)
        }
    }
}

/// The reply to `LRANGE P:backends 0 -1`: a record with nothing but backends, with addresses as in
/// [`from_hash`].
pub fn from_list(reply: Value) -> Result<Record, Unreadable> {
    from_list_noting(reply, &mut None)
}

/// The same, which notes the first backend that was skipped, quoted for people.
pub fn from_list_noting(reply: Value, skipped: &mut Option<String>) -> Result<Record, Unreadable> {
    let items = match reply {
        Value::Array(items) => items,
        Value::ServerError(error) => return Err(Unreadable::from_error(error, "it is not a list")),
        _ => return Err(Unreadable::bad("it is not a list")),
    };
    let names = items
        .into_iter()
        .map(|item| text(item, "an entry of the list is not UTF-8"))
        .collect::<Result<Vec<String>, _>>()?;
    Ok(Record {
        backends: peers(names.iter().map(|name| name.trim_ascii()), skipped).map_err(Unreadable::Bad)?,
        ..Record::default()
    })
}

/// The reply to `HMGET P:passwords user...`: one item for each user asked for.
pub fn from_passwords(reply: Value, users: usize) -> Result<Vec<Value>, Unreadable> {
    match reply {
        Value::Array(items) if items.len() == users => Ok(items),
        Value::ServerError(error) => Err(Unreadable::from_error(error, "it is not a hash")),
        _ => Err(Unreadable::bad("it is not a hash")),
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
    text_or(value, || otherwise.to_owned())
}

fn text_or(value: Value, otherwise: impl FnOnce() -> String) -> Result<String, Unreadable> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| Unreadable::Bad(otherwise())),
        Value::SimpleString(text) => Ok(text),
        // The redis crate's name for the simple string "OK".
        Value::Okay => Ok("OK".to_owned()),
        Value::ServerError(error) => Err(Unreadable::Refused(error)),
        _ => Err(Unreadable::Bad(otherwise())),
    }
}

/// Characters of a name or a value that are quoted.
const QUOTED: usize = 60;

/// What was found, for people who look for it. What has an `@` may be a URL with a password.
fn quoted(text: &str) -> String {
    match text.contains('@') {
        true => "what is there (not shown: it has an @)".to_owned(),
        false => format!("\"{}\"", shortened(text)),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Unreadable, from_hash, from_hash_noting, from_list, from_list_noting, from_passwords, password,
        token_owner,
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
    }

    #[test]
    fn half_an_answer_and_an_answer_to_something_else_are_no_record() {
        let denial_without_value = array(&["password", "{SHA}x", "grant:!secret/**"]);
        let nested = Value::Array(vec![Value::Array(Vec::new())]);
        for reply in [denial_without_value, array(&["password"]), nested, Value::Nil] {
            let read = from_hash(reply.clone());
            assert!(matches!(read, Err(Unreadable::Bad(_))), "{reply:?}");
        }
        assert!(matches!(from_list(Value::Nil), Err(Unreadable::Bad(_))));
        for reply in [Value::Nil, Value::Array(Vec::new()), array(&["alice", "bob"])] {
            let owner = token_owner(reply.clone());
            assert!(matches!(owner, Err(Unreadable::Bad(_))), "{reply:?}");
        }
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
    fn what_is_wrong_names_the_field_and_what_was_found_but_no_secret() {
        let digest = "0f".repeat(32);
        let secret = format!("sha256={digest}");
        let long = "x".repeat(500);
        for (name, value, said) in [
            (
                "grant:a/**",
                "fly",
                "field grant:a/**: it is \"fly\", and actions must be pull, push, delete, separated by \
                 commas, or *",
            ),
            (
                "grant:Upper/**",
                "pull",
                "field grant:Upper/**: pattern matches no repository name",
            ),
            (
                "groups",
                "team,ops other",
                "field groups: \"team,ops\" has a comma, and names are separated by spaces",
            ),
            (
                "groups",
                "te:am",
                "field groups: \"te:am\" is no legal name of a group",
            ),
            (
                "backends",
                "http://b:80",
                "field backends: \"http://b:80\" is neither host:port nor host",
            ),
            (
                "backends",
                "http://u:hunter2@b",
                "field backends: what is there (not shown: it has an @) is neither host:port nor host",
            ),
            (
                "backends",
                &long,
                &format!(
                    "field backends: \"{}...\" is neither host:port nor host",
                    "x".repeat(60)
                ),
            ),
            (
                "token:ci",
                &secret,
                "field token:ci: its value lacks sha256=, expires= or scope=",
            ),
            (
                "token:rga_secret",
                &secret,
                "a field token:...: its id is not lower case letters, digits and -",
            ),
        ] {
            let Err(Unreadable::Bad(why)) = from_hash(array(&[name, value])) else {
                panic!("{name} {value} is read");
            };
            assert_eq!(why, said);
            assert!(
                !why.contains(&digest) && !why.contains("rga_") && !why.contains("hunter2"),
                "{why}"
            );
        }
        let hash = Value::Array(vec![bulk("password"), Value::BulkString(b"{SHA}\xff".to_vec())]);
        let Err(Unreadable::Bad(why)) = from_hash(hash) else {
            panic!("it is read");
        };
        assert_eq!(why, "field password: the hash is not UTF-8");
    }

    #[test]
    fn a_bad_backend_is_skipped_where_there_is_a_good_one() {
        let mut skipped = None;
        let user = array(&["backends", "a:1 http://b:80 [::1]"]);
        let record = from_hash_noting(user, &mut skipped).unwrap().unwrap();
        let names: Vec<_> = record.backends.iter().map(|peer| peer.name.as_str()).collect();
        assert_eq!(
            (names, skipped.as_deref()),
            (vec!["a:1", "[::1]"], Some("\"http://b:80\""))
        );
        let mut skipped = None;
        assert!(
            from_hash_noting(array(&["backends", ""]), &mut skipped)
                .unwrap()
                .is_some_and(|record| record.backends.is_empty())
        );
        assert_eq!(skipped, None);
    }

    #[test]
    fn defaults() {
        let record = from_list(array(&["a:1", "b:2"])).unwrap();
        assert_eq!(record.backends.len(), 2);
        assert!(record.password.is_none() && record.groups.is_empty());
        let mut skipped = None;
        let record = from_list_noting(array(&["a:1", "b", "c:0", "unix:/x"]), &mut skipped).unwrap();
        let names: Vec<_> = record.backends.iter().map(|peer| peer.name.as_str()).collect();
        assert_eq!((names, skipped.as_deref()), (vec!["a:1", "b"], Some("\"c:0\"")));
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
