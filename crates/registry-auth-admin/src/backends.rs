//! Backends: to which registries the requests of a user, of a group or of everybody go.
//!
//! Called by the tool. Invariant: only a [`BackendName`], which is a legal `host:port`, is written.

use crate::client::Admin;
use crate::error::AdminError;
use crate::subject::Subject;
use registry_auth::backend::{Backend, InvalidBackend};
use registry_auth_redis::schema::keys::field;

/// A backend as it is stored: `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendName(String);

impl BackendName {
    /// Parses `registry-1:5000`, `10.0.0.5:5000` or `[fd00::5]:5000`, whose text is kept as it is. Without a
    /// port it is port 80, as of what is stored, and the text gets it.
    ///
    /// # Errors
    /// [`InvalidBackend`].
    pub fn parse(text: &str) -> Result<Self, InvalidBackend> {
        if Backend::parse(text).is_ok() {
            return Ok(Self(text.to_owned()));
        }
        let Backend { port, .. } = Backend::stored(text)?;
        Ok(Self(format!("{text}:{port}")))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Admin {
    /// The backends as stored, in order.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::NoGroup`]; [`AdminError::BadRecord`] when the key is of another
    /// type.
    pub async fn backends_list(&self, subject: &Subject) -> Result<Vec<String>, AdminError> {
        let key = subject.key(self.keys());
        if *subject == Subject::Default {
            return self
                .ask(&key, redis::cmd("LRANGE").arg(&key).arg(0).arg(-1))
                .await;
        }
        let backends: Option<String> = self
            .ask(&key, redis::cmd("HGET").arg(&key).arg(field::BACKENDS))
            .await?;
        if backends.is_none() {
            self.must_exist(subject).await?;
        }
        Ok(backends
            .unwrap_or_default()
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect())
    }

    /// Replaces the backends by these, at least one.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::NoGroup`]; [`AdminError::BadRecord`] when the key is of another
    /// type.
    pub async fn backends_set(&self, subject: &Subject, backends: &[BackendName]) -> Result<(), AdminError> {
        let key = subject.key(self.keys());
        let names: Vec<&str> = backends.iter().map(BackendName::as_str).collect();
        if *subject == Subject::Default {
            let mut changes = redis::pipe();
            changes.cmd("DEL").arg(&key);
            changes.cmd("RPUSH").arg(&key).arg(&names);
            return self.transact(&key, &changes).await.map(drop);
        }
        let list = names.join(" ");
        self.edit(subject, async |changes| {
            changes.cmd("HSET").arg(&key).arg(field::BACKENDS).arg(&list);
            Ok(())
        })
        .await
    }

    /// Removes the backends: those of a wider scope hold then.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::NoGroup`]; [`AdminError::BadRecord`] when the key is of another
    /// type.
    pub async fn backends_clear(&self, subject: &Subject) -> Result<(), AdminError> {
        let key = subject.key(self.keys());
        if *subject == Subject::Default {
            return self.delete(&key).await.map(drop);
        }
        self.edit(subject, async |changes| {
            changes.cmd("HDEL").arg(&key).arg(field::BACKENDS);
            Ok(())
        })
        .await
    }
}
