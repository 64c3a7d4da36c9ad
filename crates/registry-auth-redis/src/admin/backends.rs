//! Whose requests go to which registry: the `backends` of a user, of a group, of everybody.

use super::{Admin, AdminError, ATTEMPTS};
use crate::schema::{field, Keys};
use redis::Cmd;
use registry_auth::{InvalidName, UserName};
use std::fmt;

/// Who a backend is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// `alice`.
    User(UserName<'a>),
    /// `@team`. Group names follow the rules of user names.
    Group(UserName<'a>),
    /// `default`: everybody who has none of their own.
    Default,
}

impl<'a> Subject<'a> {
    /// Parses `alice`, `@team` or `default`.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn parse(text: &'a str) -> Result<Self, InvalidName> {
        match text.strip_prefix('@') {
            Some(group) => UserName::parse(group.as_bytes()).map(Self::Group),
            None if text == "default" => Ok(Self::Default),
            None => UserName::parse(text.as_bytes()).map(Self::User),
        }
    }

    fn key(&self, keys: Keys<'_>) -> String {
        match self {
            Self::User(name) => keys.user(name.as_str()),
            Self::Group(name) => keys.group(name.as_str()),
            Self::Default => keys.backends(),
        }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "{name}"),
            Self::Group(name) => write!(f, "@{name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Admin {
    /// The backends as stored, in order.
    ///
    /// # Errors
    /// [`AdminError::NoUser`]; [`AdminError::BadRecord`] when the key is of another type.
    pub async fn backends_list(&self, subject: Subject<'_>) -> Result<Vec<String>, AdminError> {
        let key = subject.key(Keys::new(&self.prefix));
        if let Subject::Default = subject {
            return self
                .ask(&key, redis::cmd("LRANGE").arg(&key).arg(0).arg(-1))
                .await;
        }
        let backends: Option<String> = self
            .ask(&key, redis::cmd("HGET").arg(&key).arg(field::BACKENDS))
            .await?;
        if let (None, Subject::User(name)) = (&backends, subject) {
            self.must_exist(name).await?;
        }
        Ok(backends
            .unwrap_or_default()
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect())
    }

    /// Replaces the backends. `backends` must be parsed `host:port`s (see `registry_auth::backend`), at least one.
    ///
    /// # Errors
    /// [`AdminError::NoUser`]; [`AdminError::BadRecord`] when the key is of another type.
    pub async fn backends_set(&self, subject: Subject<'_>, backends: &[&str]) -> Result<(), AdminError> {
        let key = subject.key(Keys::new(&self.prefix));
        if let Subject::Default = subject {
            let mut changes = redis::pipe();
            changes.atomic().cmd("DEL").arg(&key);
            changes.cmd("RPUSH").arg(&key).arg(backends);
            return self.transact(&key, &changes).await.map(drop);
        }
        let mut change = redis::cmd("HSET");
        change.arg(&key).arg(field::BACKENDS).arg(backends.join(" "));
        self.change_hash(subject, &key, change).await
    }

    /// Removes the backends: those of a wider scope hold then.
    ///
    /// # Errors
    /// [`AdminError::NoUser`]; [`AdminError::BadRecord`] when the key is of another type.
    pub async fn backends_clear(&self, subject: Subject<'_>) -> Result<(), AdminError> {
        let key = subject.key(Keys::new(&self.prefix));
        if let Subject::Default = subject {
            return self.ask(&key, redis::cmd("DEL").arg(&key)).await;
        }
        let mut change = redis::cmd("HDEL");
        change.arg(&key).arg(field::BACKENDS);
        self.change_hash(subject, &key, change).await
    }

    /// A user who is removed meanwhile must not come back as a record with backends only.
    async fn change_hash(&self, subject: Subject<'_>, key: &str, change: Cmd) -> Result<(), AdminError> {
        let mut changes = redis::pipe();
        changes.atomic().add_command(change);
        let passwords = Keys::new(&self.prefix).passwords();
        for _ in 0..ATTEMPTS {
            if let Subject::User(name) = subject {
                self.watch(&[key, &passwords]).await?;
                if let Err(error) = self.must_exist(name).await {
                    self.unwatch().await?;
                    return Err(error);
                }
            }
            if self.transact(key, &changes).await?.is_some() {
                return Ok(());
            }
        }
        Err(AdminError::Contended)
    }

    async fn must_exist(&self, name: UserName<'_>) -> Result<(), AdminError> {
        match self.user_find(name).await? {
            Some(_) => Ok(()),
            None => Err(AdminError::NoUser(name.as_str().to_owned())),
        }
    }
}
