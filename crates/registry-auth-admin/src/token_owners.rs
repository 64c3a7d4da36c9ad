//! `P:token-owners`: in whose record an access token is, for clients that send the token without a name.
//!
//! Invariants: whatever stores or removes a token changes its entry in the same transaction; whatever is
//! wrong with this key keeps no token from being revoked, and no user from being removed or renamed. An entry
//! is a hint: the module believes the record alone, so that one too many lets nobody in. Tokens that were
//! created before there was this key have none until [`Admin::token_owners_mend`].

use crate::client::Admin;
use crate::error::AdminError;
use crate::reply::fields;
use crate::walk::{PAGE, Progress, Walk};
use redis::{Pipeline, Value};
use registry_auth::token::access_token::digest_of_value;
use registry_auth::{TokenDigest, UserName};
use registry_auth_redis::schema::keys::field;
use std::collections::{BTreeMap, BTreeSet};

/// What [`Admin::token_owners_mend`] has done, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnersMended {
    /// Tokens whose user was entered.
    pub added: usize,
    /// Entries without a token.
    pub removed: usize,
}

/// A token of a record, as far as it can be read.
pub(crate) struct HeldToken {
    /// By which it is revoked.
    pub(crate) id: String,
    /// `None` where that cannot be read.
    pub(crate) digest: Option<TokenDigest>,
}

/// An entry, as HSCAN tells it.
type Pair = (Vec<u8>, Vec<u8>);

/// What `P:token-owners` says: digest → user.
pub(crate) type Entries = BTreeMap<String, String>;

/// In whose records access tokens are: digest → users, one of whom is enough.
#[derive(Default)]
pub(crate) struct Holders(BTreeMap<String, BTreeSet<String>>);

impl Holders {
    /// Notes the tokens of a user.
    pub(crate) fn note(&mut self, user: &str, tokens: &[HeldToken]) {
        for digest in digests(tokens) {
            self.0.entry(digest).or_default().insert(user.to_owned());
        }
    }

    /// Whether anybody has this token.
    pub(crate) fn is_held(&self, digest: &str) -> bool {
        self.0.contains_key(digest)
    }

    /// The tokens for which no entry names a user who has them, by user.
    pub(crate) fn lacking(&self, entries: &Entries) -> BTreeMap<&str, Vec<String>> {
        let mut lacking: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (digest, users) in &self.0 {
            let is_right = entries.get(digest).is_some_and(|user| users.contains(user));
            if let Some(user) = users.first().filter(|_| !is_right) {
                lacking.entry(user).or_default().push(digest.clone());
            }
        }
        lacking
    }
}

/// The access tokens in the reply to HGETALL, whatever else is wrong with them.
pub(crate) fn held_tokens(reply: &Value) -> Vec<HeldToken> {
    let token = |(name, value): (&[u8], &Value)| {
        let id = std::str::from_utf8(name).ok()?.strip_prefix(field::TOKEN)?;
        let digest = match value {
            Value::BulkString(value) => std::str::from_utf8(value).ok().and_then(digest_of_value),
            _ => None,
        };
        Some(HeldToken {
            id: id.to_owned(),
            digest,
        })
    };
    fields(reply).into_iter().filter_map(token).collect()
}

/// The digests among them, as they are stored.
pub(crate) fn digests(tokens: &[HeldToken]) -> Vec<String> {
    let digests = tokens.iter().filter_map(|token| token.digest);
    digests.map(TokenDigest::to_hex).collect()
}

impl Admin {
    /// Whom these tokens are said to belong to.
    ///
    /// # Errors
    /// [`AdminError::BadRecord`] when the key is of another type.
    pub(crate) async fn owners(&self, digests: &[String]) -> Result<Vec<Option<Vec<u8>>>, AdminError> {
        if digests.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.keys().token_owners();
        self.ask(&key, redis::cmd("HMGET").arg(&key).arg(digests)).await
    }

    /// The same; `None` where the key cannot be used: a transaction would fail with it.
    async fn usable_owners(&self, digests: &[String]) -> Result<Option<Vec<Option<Vec<u8>>>>, AdminError> {
        match self.owners(digests).await {
            Ok(owners) => Ok(Some(owners)),
            Err(AdminError::BadRecord { .. } | AdminError::Refused(_) | AdminError::Forbidden(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds to a transaction that these tokens are no longer said to be this user's.
    pub(crate) async fn forget_owner(
        &self,
        user: UserName<'_>,
        digests: &[String],
        changes: &mut Pipeline,
    ) -> Result<(), AdminError> {
        let owners = self.usable_owners(digests).await?.unwrap_or_default();
        let is_users = |owner: &Option<Vec<u8>>| owner.as_deref() == Some(user.as_str().as_bytes());
        let entries = digests.iter().zip(&owners).filter(|(_, owner)| is_users(owner));
        let entries: Vec<&String> = entries.map(|(digest, _)| digest).collect();
        if !entries.is_empty() {
            changes.cmd("HDEL").arg(self.keys().token_owners()).arg(entries);
        }
        Ok(())
    }

    /// Adds to a transaction that these tokens are this user's, whose record has them from then on.
    pub(crate) async fn note_owner(
        &self,
        user: UserName<'_>,
        digests: &[String],
        changes: &mut Pipeline,
    ) -> Result<(), AdminError> {
        if digests.is_empty() || self.usable_owners(digests).await?.is_none() {
            return Ok(());
        }
        changes.cmd("HSET").arg(self.keys().token_owners());
        for digest in digests {
            changes.arg(digest).arg(user.as_str());
        }
        Ok(())
    }

    /// All entries.
    ///
    /// # Errors
    /// [`AdminError::BadRecord`] when the key is of another type.
    pub(crate) async fn all_owners(&self) -> Result<Entries, AdminError> {
        let key = self.keys().token_owners();
        let (mut entries, mut cursor) = (Entries::new(), 0u64);
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(&key).arg(cursor).arg("COUNT").arg(PAGE);
            let (next, page): (u64, Vec<Pair>) = self.ask(&key, &scan).await?;
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            entries.extend(page.into_iter().map(|(digest, user)| (text(digest), text(user))));
            cursor = next;
            if cursor == 0 {
                return Ok(entries);
            }
        }
    }

    /// Makes the entries agree with the records, or only counts what that takes.
    ///
    /// # Errors
    /// [`AdminError::BadRecord`] when the key is of another type; of the connection.
    pub async fn token_owners_mend(
        &self,
        apply: bool,
        progress: Progress<'_>,
    ) -> Result<OwnersMended, AdminError> {
        let mut mended = OwnersMended::default();
        let entries = self.all_owners().await?;
        // After the entries: the token of an entry that was seen is there by then, unless it was removed.
        let keys = self.keys();
        let mut holders = Holders::default();
        let mut walk = Walk::new(self, keys.users_pattern());
        let question = |questions: &mut Pipeline, key: &str| {
            questions.cmd("HGETALL").arg(key);
        };
        while let Some(page) = walk.next(question, progress).await? {
            for (key, reply) in page {
                if let Some(user) = keys.user_of(&key) {
                    holders.note(user, &held_tokens(&reply));
                }
            }
        }
        for (user, lacking) in holders.lacking(&entries) {
            let Ok(user) = UserName::parse(user.as_bytes()) else {
                continue;
            };
            mended.added += match apply {
                true => self.owner_enter(user, &lacking).await?,
                false => lacking.len(),
            };
        }
        for (digest, user) in &entries {
            if holders.is_held(digest) {
                continue;
            }
            let is_removed = match apply {
                true => self.owner_remove(digest, user).await?,
                false => true,
            };
            mended.removed += usize::from(is_removed);
        }
        Ok(mended)
    }

    /// Enters those of the tokens that the user has by now; their number.
    async fn owner_enter(&self, user: UserName<'_>, lacking: &[String]) -> Result<usize, AdminError> {
        let own = self.keys().user(user.as_str());
        self.commit(&[&own], async |changes: &mut Pipeline| {
            let reply: Value = self.ask(&own, redis::cmd("HGETALL").arg(&own)).await?;
            let mut held = digests(&held_tokens(&reply));
            held.retain(|digest| lacking.contains(digest));
            self.note_owner(user, &held, changes).await?;
            Ok(held.len())
        })
        .await
    }

    /// Removes an entry, unless its user has the token by now, as after a rename in the meantime.
    async fn owner_remove(&self, digest: &str, user: &str) -> Result<bool, AdminError> {
        let owners = self.keys().token_owners();
        let own = self.keys().user(user);
        self.commit(&[&owners, &own], async |changes: &mut Pipeline| {
            let now: Option<Vec<u8>> = self
                .ask(&owners, redis::cmd("HGET").arg(&owners).arg(digest))
                .await?;
            if now.as_deref() != Some(user.as_bytes()) {
                return Ok(false);
            }
            let mut question = redis::pipe();
            question.cmd("HGETALL").arg(&own);
            let reply = self.ask_all(&question).await?.into_iter().next();
            let held = digests(&held_tokens(&reply.unwrap_or_default()));
            if held.iter().any(|held| held == digest) {
                return Ok(false);
            }
            changes.cmd("HDEL").arg(&owners).arg(digest);
            Ok(true)
        })
        .await
    }
}
