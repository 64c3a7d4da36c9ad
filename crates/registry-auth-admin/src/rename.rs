//! A user under another name: all that is stored moves, at once.
//!
//! Invariant: nobody else has the new name, not even a record without a password: its grants were meant for
//! somebody else.

use crate::client::Admin;
use crate::error::AdminError;
use crate::token_owners::{digests, held_tokens};
use redis::{Pipeline, Value};
use registry_auth::UserName;
use registry_auth_redis::schema::keys::use_field;

impl Admin {
    /// Moves everything that is stored for the user, with the days on which access tokens were last used.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::Exists`]; [`AdminError::BadRecord`] when a key is of another
    /// type.
    pub async fn user_rename(&self, old: UserName<'_>, new: UserName<'_>) -> Result<(), AdminError> {
        let (from, to) = (self.keys().user(old.as_str()), self.keys().user(new.as_str()));
        let (passwords, token_use) = (self.keys().passwords(), self.keys().token_use());
        self.commit(&[&from, &to, &passwords], async |changes: &mut Pipeline| {
            if self.account(new).await?.exists {
                return Err(AdminError::Exists(new.as_str().to_owned()));
            }
            let account = self.account(old).await?;
            if !account.exists {
                return Err(AdminError::NoUser(old.as_str().to_owned()));
            }
            let reply: Value = self.ask(&from, redis::cmd("HGETALL").arg(&from)).await?;
            let tokens = held_tokens(&reply);
            let ids: Vec<&str> = tokens.iter().map(|token| token.id.as_str()).collect();
            let fields: Vec<super::users::Field> =
                redis::from_redis_value(reply).map_err(|error| self.failed(&from, &error.into()))?;
            if !fields.is_empty() {
                changes.cmd("HSET").arg(&to).arg(&fields);
                changes.cmd("DEL").arg(&from);
            }
            if let Some(hash) = &account.old {
                changes.cmd("HSET").arg(&passwords).arg(new.as_str()).arg(hash);
                changes.cmd("HDEL").arg(&passwords).arg(old.as_str());
            }
            let days = match ids.is_empty() {
                true => None,
                false => self.uses(old, &ids).await?,
            };
            for (id, day) in ids.iter().zip(days.unwrap_or_default()) {
                if let Some(day) = day {
                    changes
                        .cmd("HSET")
                        .arg(&token_use)
                        .arg(use_field(new.as_str(), id))
                        .arg(day);
                    changes
                        .cmd("HDEL")
                        .arg(&token_use)
                        .arg(use_field(old.as_str(), id));
                }
            }
            self.note_owner(new, &digests(&tokens), changes).await
        })
        .await
    }
}
