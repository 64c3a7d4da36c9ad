//! Locked accounts: a `!` in front of the password's hash, or in its place where there is none.
//!
//! Invariant: unlocking makes of an account what it was before it was locked, or nothing.

use crate::client::Admin;
use crate::error::AdminError;
use crate::users::Account;
use redis::Pipeline;
use registry_auth::{UserName, password};
use registry_auth_redis::schema::keys::field;

impl Admin {
    /// Locks the account: the hash stays, with a `!` in front. False when it was locked before.
    ///
    /// # Errors
    /// [`AdminError::NoUser`].
    pub async fn user_lock(&self, name: UserName<'_>) -> Result<bool, AdminError> {
        self.change(name, |account, pipeline, own, passwords| {
            if !account.exists {
                return Err(AdminError::NoUser(name.as_str().to_owned()));
            }
            let hash = account.hash().unwrap_or_default();
            if password::is_locked(hash) {
                return Ok(false);
            }
            put(pipeline, account, name, (own, passwords), &format!("!{hash}"));
            Ok(true)
        })
        .await
    }

    /// Unlocks the account. False when it was not locked.
    ///
    /// # Errors
    /// [`AdminError::NoUser`]; [`AdminError::NoPassword`] when nothing but the lock is there: no access token
    /// that was locked with it, and not the mark of a user who was created without a password.
    pub async fn user_unlock(&self, name: UserName<'_>) -> Result<bool, AdminError> {
        let (own, passwords) = (self.keys().user(name.as_str()), self.keys().passwords());
        self.commit(&[&own, &passwords], async |changes| {
            let account = self.account(name).await?;
            if !account.exists {
                return Err(AdminError::NoUser(name.as_str().to_owned()));
            }
            let no_password = || AdminError::NoPassword(name.as_str().to_owned());
            let needs_none = async || {
                let mark = redis::cmd("HEXISTS").arg(&own).arg(field::NAME).to_owned();
                Ok::<_, AdminError>(self.ask(&own, &mark).await? || !self.held_tokens(name).await?.is_empty())
            };
            let Some(hash) = account.hash() else {
                return needs_none().await?.then_some(false).ok_or_else(no_password);
            };
            if !password::is_locked(hash) {
                return Ok(false);
            }
            let bare = hash.trim_start_matches('!');
            if !bare.is_empty() {
                put(changes, &account, name, (&own, &passwords), bare);
            } else if account.own.is_some() && account.old.is_none() && needs_none().await? {
                // No password comes to light that the lock hid: there was none.
                changes.cmd("HDEL").arg(&own).arg(field::PASSWORD);
            } else {
                return Err(no_password());
            }
            Ok(true)
        })
        .await
    }
}

/// Writes the hash where the account's hash is.
fn put(changes: &mut Pipeline, account: &Account, name: UserName<'_>, keys: (&str, &str), hash: &str) {
    let (own, passwords) = keys;
    if account.own.is_none() && account.old.is_some() {
        changes.cmd("HSET").arg(passwords).arg(name.as_str()).arg(hash);
    } else {
        changes.cmd("HSET").arg(own).arg(field::PASSWORD).arg(hash);
    }
}
