//! Whose requests go to which registry: the `backends` of a user, of a group, of everybody.

use crate::client::Admin;
use crate::error::AdminError;
use crate::subject::Subject;
use registry_auth_redis::schema::keys::field;

impl Admin {
    /// The backends as stored, in order.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::NoGroup`]; [`AdminError::BadRecord`] when the key is of another
    /// type.
    pub async fn backends_list(&self, subject: Subject<'_>) -> Result<Vec<String>, AdminError> {
        let key = subject.key(self.keys());
        if let Subject::Default = subject {
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

    /// Replaces the backends. `backends` must be parsed `host:port`s (see `registry_auth::backend`), at least
    /// one.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::NoGroup`]; [`AdminError::BadRecord`] when the key is of another
    /// type.
    pub async fn backends_set(&self, subject: Subject<'_>, backends: &[&str]) -> Result<(), AdminError> {
        let key = subject.key(self.keys());
        if let Subject::Default = subject {
            let mut changes = redis::pipe();
            changes.cmd("DEL").arg(&key);
            changes.cmd("RPUSH").arg(&key).arg(backends);
            return self.transact(&key, &changes).await.map(drop);
        }
        let list = backends.join(" ");
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
    pub async fn backends_clear(&self, subject: Subject<'_>) -> Result<(), AdminError> {
        let key = subject.key(self.keys());
        if let Subject::Default = subject {
            return self.ask(&key, redis::cmd("DEL").arg(&key)).await;
        }
        self.edit(subject, async |changes| {
            changes.cmd("HDEL").arg(&key).arg(field::BACKENDS);
            Ok(())
        })
        .await
    }
}
