//! Access tokens of users, one field of the record each, and when each was last used.
//!
//! Invariants: only what the module can read is written, and nothing of a secret but its SHA-256. What is
//! there may be anything, and can be seen and revoked. `P:token-use` is a remark: whatever is wrong with it
//! keeps no token from being revoked.

use crate::client::{Admin, unreadable};
use crate::error::AdminError;
use crate::reply::fields;
use crate::subject::Subject;
use crate::token_owners::{HeldToken, held_tokens};
use crate::walk::{PAGE, Progress, Walk};
use redis::{Pipeline, Value};
use registry_auth::token::access_token::{InvalidToken, digest_of_value};
use registry_auth::{StoredToken, TokenDigest, UserName};
use registry_auth_redis::schema::keys::{field, use_field};
use registry_auth_redis::schema::record;
use std::collections::BTreeMap;

/// Access tokens that a user may have: the module looks through all of them.
pub const MOST_TOKENS: usize = 64;

/// An access token as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEntry {
    /// By which it is revoked.
    pub id: String,
    /// What the module makes of it. One that it cannot read makes the whole record unreadable.
    pub token: Result<StoredToken, InvalidToken>,
    /// When it was last used.
    pub last_use: LastUse,
    /// What it is for, in the words of who created it.
    pub note: Option<String>,
}

/// The access tokens of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserTokens {
    /// Whose.
    pub user: String,
    /// The oldest first, those that cannot be read at the end.
    pub tokens: Vec<TokenEntry>,
}

/// When an access token was last used, as far as is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastUse {
    /// On the day that begins at this second since 1970.
    Day(u64),
    /// Not since it is recorded.
    Never,
    /// Nothing is recorded, or not to be read.
    Unknown,
}

impl Admin {
    /// Stores an access token of a user.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::TooManyTokens`], [`AdminError::TokenExists`];
    /// [`AdminError::BadRecord`] when the module could not read the record, so that the token would be of no
    /// use.
    pub async fn token_add(
        &self,
        user: UserName<'_>,
        token: &StoredToken,
        note: Option<&str>,
    ) -> Result<(), AdminError> {
        let key = self.keys().user(user.as_str());
        self.edit(&Subject::User(user.to_owned()), async |changes| {
            let reply: Value = self.ask(&key, redis::cmd("HGETALL").arg(&key)).await?;
            let record = record::from_hash(reply).map_err(|why| unreadable(&key, why))?;
            let tokens = record.unwrap_or_default().tokens;
            if tokens.iter().any(|other| other.id == token.id) {
                return Err(AdminError::TokenExists {
                    user: user.as_str().to_owned(),
                    id: token.id.clone(),
                });
            }
            if tokens.len() >= MOST_TOKENS {
                return Err(AdminError::TooManyTokens {
                    user: user.as_str().to_owned(),
                    most: MOST_TOKENS,
                });
            }
            let digest = [token.digest.to_hex()];
            // An error where that key cannot be used: the token would be good by Basic only.
            self.owners(&digest).await?;
            self.note_owner(user, &digest, changes).await?;
            changes
                .cmd("HSET")
                .arg(&key)
                .arg(token.field())
                .arg(token.value());
            // Not in the token's own field: the module refuses a record in which that has a word more.
            if let Some(note) = note {
                changes.arg(note_field(&token.id)).arg(note);
            }
            Ok(())
        })
        .await
    }

    /// A user's access tokens as stored, the oldest first, those that cannot be read at the end.
    ///
    /// # Errors
    /// [`AdminError::NoUser`]; [`AdminError::BadRecord`] when the key is of another type.
    pub async fn tokens_list(&self, user: UserName<'_>) -> Result<Vec<TokenEntry>, AdminError> {
        let key = self.keys().user(user.as_str());
        let fields: Vec<(Vec<u8>, Vec<u8>)> = self.ask(&key, redis::cmd("HGETALL").arg(&key)).await?;
        if fields.is_empty() {
            self.must_exist(&Subject::User(user.to_owned())).await?;
        }
        let fields = fields
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()));
        self.with_uses(user, entries(fields)).await
    }

    /// The access tokens of all users who have some, by user.
    ///
    /// # Errors
    /// Of the connection only: a record that is no hash has no tokens.
    pub async fn tokens_of_all(&self, progress: Progress<'_>) -> Result<Vec<UserTokens>, AdminError> {
        let keys = self.keys();
        let mut all = BTreeMap::new();
        let mut walk = Walk::new(self, keys.users_pattern());
        let question = |questions: &mut Pipeline, key: &str| {
            questions.cmd("HGETALL").arg(key);
        };
        while let Some(page) = walk.next(question, progress).await? {
            for (key, reply) in page {
                let Some(user) = keys.user_of(&key) else { continue };
                let tokens = entries(fields(&reply).into_iter().filter_map(bytes));
                if !tokens.is_empty() {
                    all.insert(user.to_owned(), tokens);
                }
            }
        }
        let mut found = Vec::new();
        for (user, mut tokens) in all {
            // A name that is illegal can come from redis-cli only, and cannot log in.
            if let Ok(name) = UserName::parse(user.as_bytes()) {
                tokens = self.with_uses(name, tokens).await?;
            }
            found.push(UserTokens { user, tokens });
        }
        Ok(found)
    }

    async fn with_uses(
        &self,
        user: UserName<'_>,
        mut tokens: Vec<TokenEntry>,
    ) -> Result<Vec<TokenEntry>, AdminError> {
        let ids: Vec<&str> = tokens.iter().map(|entry| entry.id.as_str()).collect();
        let uses = self.last_uses(user, &ids).await?;
        for (entry, last_use) in tokens.iter_mut().zip(uses) {
            entry.last_use = last_use;
        }
        Ok(tokens)
    }

    /// When each user last used some access token, as far as is recorded.
    ///
    /// # Errors
    /// Of the connection only.
    pub(crate) async fn last_use_of_all(&self) -> Result<BTreeMap<String, u64>, AdminError> {
        let key = self.keys().token_use();
        let (mut days, mut cursor) = (BTreeMap::new(), 0u64);
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(&key).arg(cursor).arg("COUNT").arg(PAGE);
            let answer: Result<(u64, Vec<super::users::Field>), _> = self.ask(&key, &scan).await;
            let (next, page) = match answer {
                Err(AdminError::BadRecord { .. } | AdminError::Refused(_) | AdminError::Forbidden(_)) => {
                    return Ok(days);
                }
                answer => answer?,
            };
            for (name, day) in page {
                let name = std::str::from_utf8(&name)
                    .ok()
                    .and_then(|name| name.split_once(':'));
                let day: Option<u64> = std::str::from_utf8(&day).ok().and_then(|day| day.parse().ok());
                if let (Some((user, _)), Some(day)) = (name, day) {
                    let last: &mut u64 = days.entry(user.to_owned()).or_default();
                    *last = day.max(*last);
                }
            }
            cursor = next;
            if cursor == 0 {
                return Ok(days);
            }
        }
    }

    /// Removes an access token, and what is known of its use. The id may be an illegal one, so that a record
    /// can be repaired.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::NoToken`]; [`AdminError::BadRecord`] when the key is of another
    /// type.
    pub async fn token_revoke(&self, user: UserName<'_>, id: &str) -> Result<(), AdminError> {
        let key = self.keys().user(user.as_str());
        let name = format!("{}{id}", field::TOKEN);
        self.edit(&Subject::User(user.to_owned()), async |changes| {
            let before: Option<Vec<u8>> = self.ask(&key, redis::cmd("HGET").arg(&key).arg(&name)).await?;
            let Some(before) = before else {
                return Err(AdminError::NoToken {
                    user: user.as_str().to_owned(),
                    id: id.to_owned(),
                });
            };
            let digest = std::str::from_utf8(&before).ok().and_then(digest_of_value);
            let digest: Vec<String> = digest.into_iter().map(TokenDigest::to_hex).collect();
            self.forget_owner(user, &digest, changes).await?;
            changes.cmd("HDEL").arg(&key).arg(&name).arg(note_field(id));
            self.forget_uses(user, &[id], changes).await
        })
        .await
    }

    /// A user's access tokens, whatever they are worth; none where the key is of another type.
    pub(crate) async fn held_tokens(&self, user: UserName<'_>) -> Result<Vec<HeldToken>, AdminError> {
        let mut question = redis::pipe();
        question.cmd("HGETALL").arg(self.keys().user(user.as_str()));
        let reply = self.ask_all(&question).await?.into_iter().next();
        Ok(held_tokens(&reply.unwrap_or_default()))
    }

    /// Adds to a transaction that what is known of the use of these tokens is forgotten. Not where that key
    /// cannot be used, or the transaction would fail with it.
    pub(crate) async fn forget_uses(
        &self,
        user: UserName<'_>,
        ids: &[&str],
        changes: &mut Pipeline,
    ) -> Result<(), AdminError> {
        if !ids.is_empty() && self.uses(user, ids).await?.is_some() {
            let fields: Vec<String> = ids.iter().map(|id| use_field(user.as_str(), id)).collect();
            changes.cmd("HDEL").arg(self.keys().token_use()).arg(fields);
        }
        Ok(())
    }

    /// When these tokens were last used.
    async fn last_uses(&self, user: UserName<'_>, ids: &[&str]) -> Result<Vec<LastUse>, AdminError> {
        let unknown = vec![LastUse::Unknown; ids.len()];
        if ids.is_empty() {
            return Ok(unknown);
        }
        let Some(uses) = self.uses(user, ids).await? else {
            return Ok(unknown);
        };
        // Where nobody's use is recorded, that of these says nothing.
        let key = self.keys().token_use();
        let recorded: bool = self.ask(&key, redis::cmd("EXISTS").arg(&key)).await?;
        let read = |day: Option<Vec<u8>>| match day {
            Some(day) => std::str::from_utf8(&day)
                .ok()
                .and_then(|day| day.parse().ok())
                .map_or(LastUse::Unknown, LastUse::Day),
            None if recorded => LastUse::Never,
            None => LastUse::Unknown,
        };
        Ok(uses.into_iter().map(read).collect())
    }

    /// What `P:token-use` has of these tokens; `None` where it is of another type, or Redis refuses.
    pub(crate) async fn uses(
        &self,
        user: UserName<'_>,
        ids: &[&str],
    ) -> Result<Option<Vec<Option<Vec<u8>>>>, AdminError> {
        let key = self.keys().token_use();
        let mut question = redis::cmd("HMGET");
        question.arg(&key);
        for id in ids {
            question.arg(use_field(user.as_str(), id));
        }
        match self.ask(&key, &question).await {
            Ok(uses) => Ok(Some(uses)),
            Err(AdminError::BadRecord { .. } | AdminError::Refused(_) | AdminError::Forbidden(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The field of what a token is for.
fn note_field(id: &str) -> String {
    format!("{}{id}", field::NOTE)
}

/// A field whose value is a string, as all are.
fn bytes<'f>((name, value): (&'f [u8], &'f Value)) -> Option<(&'f [u8], &'f [u8])> {
    match value {
        Value::BulkString(value) => Some((name, value)),
        _ => None,
    }
}

/// The access tokens among the fields of a record, the oldest first; of their use nothing is known here.
fn entries<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Vec<TokenEntry> {
    let (mut tokens, mut notes) = (Vec::new(), BTreeMap::new());
    for (name, value) in fields {
        let name = String::from_utf8_lossy(name);
        if let Some(id) = name.strip_prefix(field::NOTE) {
            notes.insert(id.to_owned(), String::from_utf8_lossy(value).into_owned());
        } else if let Some(id) = name.strip_prefix(field::TOKEN) {
            let value = std::str::from_utf8(value).map_err(|_| InvalidToken::NO_TEXT);
            tokens.push(TokenEntry {
                id: id.to_owned(),
                token: value.and_then(|value| StoredToken::parse(&name, value)),
                last_use: LastUse::Unknown,
                note: None,
            });
        }
    }
    for entry in &mut tokens {
        entry.note = notes.remove(&entry.id);
    }
    let age = |entry: &TokenEntry| entry.token.as_ref().map_or(u64::MAX, |token| token.created);
    tokens.sort_unstable_by(|a, b| (age(a), &a.id).cmp(&(age(b), &b.id)));
    tokens
}
