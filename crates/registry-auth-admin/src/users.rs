//! Users: their names and passwords, and whether they are locked. Called by the tool's `user`.
//!
//! A password is in `P:user:<name>` or, from the 2014 gate, in `P:passwords`; the former wins. Invariant: a
//! change leaves exactly one of them.

use crate::client::{Admin, unreadable};
use crate::error::AdminError;
use crate::token_owners::digests;
use crate::walk::{PAGE, Progress, Walk};
use redis::{Pipeline, Value};
use registry_auth::password::{self, Form};
use registry_auth::{Record, UserName};
use registry_auth_redis::schema::keys::field;
use registry_auth_redis::schema::record;
use std::collections::BTreeMap;

/// A field of a hash, as HSCAN tells it.
pub type Field = (Vec<u8>, Vec<u8>);

/// Where a user's password is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// In `P:user:<name>`.
    Record,
    /// In `P:passwords`, as the 2014 gate has it.
    Passwords,
    /// Nowhere: the user cannot log in.
    Nowhere,
    /// In what is no readable `P:user:<name>`, as a key of another type: the user cannot log in.
    Unreadable,
}

/// What [`Admin::user_passwd`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordSet {
    /// The account was locked, and still is.
    pub locked: bool,
}

/// A user, without the password hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEntry {
    /// The name.
    pub name: String,
    /// Where the password is.
    pub stored: Stored,
    /// The form of its hash; `None` when there is none or it is of no known form.
    pub form: Option<Form>,
    /// Whether a `!` is in front of it.
    pub locked: bool,
    /// Why the hash is guessed fast if it leaks.
    pub weak: Option<&'static str>,
    /// The day on which an access token of the user was last used, as its first second since 1970; only
    /// [`Admin::user_list`] asks.
    pub last_use: Option<u64>,
}

impl UserEntry {
    fn new(name: &str, stored: Stored, hash: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            stored: if hash.is_some() { stored } else { Stored::Nowhere },
            form: hash.and_then(Form::of),
            locked: hash.is_some_and(password::is_locked),
            weak: hash.and_then(password::weakness),
            last_use: None,
        }
    }
}

/// A user's password as it is now.
pub(crate) struct Account {
    /// Whether there is anything of this user.
    pub(crate) exists: bool,
    /// The password of `P:user:<name>`.
    pub(crate) own: Option<String>,
    /// That of `P:passwords`.
    pub(crate) old: Option<String>,
}

impl Account {
    /// The one that holds.
    pub(crate) fn hash(&self) -> Option<&str> {
        self.own.as_deref().or(self.old.as_deref())
    }
}

impl Admin {
    /// Creates a user who logs in with the password of `hash`. Groups, backends and grants that were stored
    /// for the name beforehand stay.
    ///
    /// # Errors
    /// [`AdminError::Exists`] when the name has a password already.
    pub async fn user_add(&self, name: UserName<'_>, hash: &str) -> Result<(), AdminError> {
        self.change(name, |account, pipeline, own, _| {
            if account.hash().is_some() {
                return Err(AdminError::Exists(name.as_str().to_owned()));
            }
            pipeline.cmd("HSET").arg(own).arg(field::PASSWORD).arg(hash);
            Ok(())
        })
        .await
    }

    /// Creates a user without a password, who logs in with access tokens only.
    ///
    /// # Errors
    /// [`AdminError::Exists`] when there is anything of this name.
    pub async fn user_add_without_password(&self, name: UserName<'_>) -> Result<(), AdminError> {
        self.change(name, |account, pipeline, own, _| {
            if account.exists {
                return Err(AdminError::Exists(name.as_str().to_owned()));
            }
            pipeline.cmd("HSET").arg(own).arg(field::NAME).arg(name.as_str());
            Ok(())
        })
        .await
    }

    /// Replaces the password. It goes into `P:user:<name>`, and out of `P:passwords`. A locked account stays
    /// locked.
    ///
    /// # Errors
    /// [`AdminError::NoUser`].
    pub async fn user_passwd(&self, name: UserName<'_>, hash: &str) -> Result<PasswordSet, AdminError> {
        self.change(name, |account, pipeline, own, passwords| {
            if !account.exists {
                return Err(AdminError::NoUser(name.as_str().to_owned()));
            }
            let locked = account.hash().is_some_and(password::is_locked);
            let hash = format!("{}{hash}", if locked { "!" } else { "" });
            pipeline.cmd("HSET").arg(own).arg(field::PASSWORD).arg(hash);
            if account.old.is_some() {
                pipeline.cmd("HDEL").arg(passwords).arg(name.as_str());
            }
            Ok(PasswordSet { locked })
        })
        .await
    }

    /// Removes everything that is stored for the user.
    ///
    /// # Errors
    /// [`AdminError::NoUser`].
    pub async fn user_remove(&self, name: UserName<'_>) -> Result<(), AdminError> {
        let (own, passwords) = (self.keys().user(name.as_str()), self.keys().passwords());
        let tokens = self.held_tokens(name).await?;
        let ids: Vec<&str> = tokens.iter().map(|token| token.id.as_str()).collect();
        let mut changes = redis::pipe();
        changes.cmd("DEL").arg(&own);
        changes.cmd("HDEL").arg(&passwords).arg(name.as_str());
        self.forget_uses(name, &ids, &mut changes).await?;
        self.forget_owner(name, &digests(&tokens), &mut changes).await?;
        let removed = self.transact(&passwords, &changes).await?.unwrap_or_default();
        if removed.iter().all(|count| *count == Value::Int(0)) {
            return Err(AdminError::NoUser(name.as_str().to_owned()));
        }
        Ok(())
    }

    /// All users by name. Reads pages with SCAN, so Redis is never blocked for long; what changes meanwhile
    /// may or may not be seen.
    ///
    /// # Errors
    /// [`AdminError::BadRecord`] when `P:passwords` is no hash; a user's record that is no hash counts as no
    /// password.
    pub async fn user_list(&self, progress: Progress<'_>) -> Result<Vec<UserEntry>, AdminError> {
        let mut users = BTreeMap::new();
        let passwords = self.keys().passwords();
        let mut cursor = 0u64;
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(&passwords).arg(cursor).arg("COUNT").arg(PAGE);
            let (next, page): (u64, Vec<Field>) = self.ask(&passwords, &scan).await?;
            for (name, hash) in page {
                if let Ok(name) = std::str::from_utf8(&name) {
                    let hash = String::from_utf8_lossy(&hash);
                    users.insert(
                        name.to_owned(),
                        UserEntry::new(name, Stored::Passwords, Some(&hash)),
                    );
                }
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let keys = self.keys();
        let mut walk = Walk::new(self, keys.users_pattern());
        let question = |questions: &mut Pipeline, key: &str| {
            questions.cmd("HGET").arg(key).arg(field::PASSWORD);
        };
        while let Some(page) = walk.next(question, progress).await? {
            for (key, hash) in page {
                let Some(name) = keys.user_of(&key) else { continue };
                let entry = match record::password(hash) {
                    Err(_) => UserEntry {
                        stored: Stored::Unreadable,
                        ..UserEntry::new(name, Stored::Nowhere, None)
                    },
                    Ok(None) if users.contains_key(name) => continue,
                    Ok(hash) => UserEntry::new(name, Stored::Record, hash.as_deref()),
                };
                users.insert(name.to_owned(), entry);
            }
        }
        for (user, day) in self.last_use_of_all().await? {
            if let Some(entry) = users.get_mut(&user) {
                entry.last_use = Some(day);
            }
        }
        Ok(users.into_values().collect())
    }

    /// What is stored for one user; the record's password is left out.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::BadRecord`].
    pub async fn user_show(&self, name: UserName<'_>) -> Result<(UserEntry, Record), AdminError> {
        let (own, passwords) = (self.keys().user(name.as_str()), self.keys().passwords());
        let reply: Value = self.ask(&own, redis::cmd("HGETALL").arg(&own)).await?;
        let old: Option<Vec<u8>> = self
            .ask(&passwords, redis::cmd("HGET").arg(&passwords).arg(name.as_str()))
            .await?;
        let record = record::from_hash(reply).map_err(|why| unreadable(&own, why))?;
        let old = old.map(|hash| String::from_utf8_lossy(&hash).into_owned());
        let Some((mut record, is_own)) = record::with_password(record, || Ok::<_, AdminError>(old))? else {
            return Err(AdminError::NoUser(name.as_str().to_owned()));
        };
        let stored = if is_own { Stored::Record } else { Stored::Passwords };
        let hash = record.password.take();
        Ok((UserEntry::new(name.as_str(), stored, hash.as_deref()), record))
    }

    /// What there is of this user; `None` for nothing. Unlike [`Admin::user_show`] it looks at the password
    /// only, so a grant that cannot be read does not keep an administrator from changing the password.
    ///
    /// # Errors
    /// [`AdminError::BadRecord`] when a key is of another type.
    pub async fn user_find(&self, name: UserName<'_>) -> Result<Option<UserEntry>, AdminError> {
        let account = self.account(name).await?;
        let stored = if account.own.is_some() {
            Stored::Record
        } else {
            Stored::Passwords
        };
        Ok(account
            .exists
            .then(|| UserEntry::new(name.as_str(), stored, account.hash())))
    }

    pub(crate) async fn account(&self, name: UserName<'_>) -> Result<Account, AdminError> {
        let (own_key, passwords) = (self.keys().user(name.as_str()), self.keys().passwords());
        let utf8 = |key: &str, hash: Option<Vec<u8>>| {
            let bad = || AdminError::BadRecord {
                key: key.to_owned(),
                why: "the password hash is not UTF-8".to_owned(),
            };
            hash.map(|hash| String::from_utf8(hash).map_err(|_| bad()))
                .transpose()
        };
        let own = self
            .ask(&own_key, redis::cmd("HGET").arg(&own_key).arg(field::PASSWORD))
            .await?;
        let own = utf8(&own_key, own)?;
        let old = self
            .ask(&passwords, redis::cmd("HGET").arg(&passwords).arg(name.as_str()))
            .await?;
        let old = utf8(&passwords, old)?;
        let record: bool = self.ask(&own_key, redis::cmd("EXISTS").arg(&own_key)).await?;
        Ok(Account {
            exists: record || old.is_some(),
            own,
            old,
        })
    }

    /// As [`Admin::commit`], of changes to an account.
    pub(crate) async fn change<T>(
        &self,
        name: UserName<'_>,
        decide: impl Fn(&Account, &mut Pipeline, &str, &str) -> Result<T, AdminError>,
    ) -> Result<T, AdminError> {
        let (own, passwords) = (self.keys().user(name.as_str()), self.keys().passwords());
        let decide = async |changes: &mut Pipeline| {
            let account = self.account(name).await?;
            decide(&account, changes, &own, &passwords)
        };
        self.commit(&[&own, &passwords], decide).await
    }
}
