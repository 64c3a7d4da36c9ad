//! Transactions whose changes depend on what Redis holds before.
//!
//! Used by all changes of this crate. Invariant: a change is committed only if nobody changed a watched key
//! meanwhile, and only for a user or group that exists.

use crate::client::{ATTEMPTS, Admin};
use crate::error::AdminError;
use crate::subject::Subject;
use redis::Pipeline;

impl Admin {
    /// Lets `decide` read what it needs and add changes to a transaction, and commits it if nobody changed
    /// one of the watched keys meanwhile; else all of it again. What Redis refuses is blamed on the first of
    /// them.
    pub(crate) async fn commit<T>(
        &self,
        watched: &[&str],
        decide: impl AsyncFn(&mut Pipeline) -> Result<T, AdminError>,
    ) -> Result<T, AdminError> {
        let key = watched.first().copied().unwrap_or_default();
        for _ in 0..ATTEMPTS {
            self.watch(watched).await?;
            let mut changes = redis::pipe();
            let done = decide(&mut changes).await;
            if done.is_err() || changes.is_empty() {
                // Or the next transaction on this connection would depend on these keys.
                self.unwatch().await?;
                return done;
            }
            if self.transact(key, &changes).await?.is_some() {
                return done;
            }
        }
        Err(AdminError::Contended)
    }

    /// As [`Admin::commit`], of changes to a subject, who must exist: one who is removed meanwhile must not
    /// come back as a record with nothing but the change.
    pub(crate) async fn edit<T>(
        &self,
        subject: &Subject,
        decide: impl AsyncFn(&mut Pipeline) -> Result<T, AdminError>,
    ) -> Result<T, AdminError> {
        let (key, passwords) = (subject.key(self.keys()), self.keys().passwords());
        let keys = [key.as_str(), passwords.as_str()];
        let watched = match subject {
            Subject::User(_) => &keys[..],
            Subject::Group(_) | Subject::Default => &keys[..1],
        };
        let decide = async |changes: &mut Pipeline| {
            self.must_exist(subject).await?;
            decide(changes).await
        };
        self.commit(watched, decide).await
    }

    /// Whether there is such a user or group. `public` and `default` always are.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::NoGroup`].
    pub(crate) async fn must_exist(&self, subject: &Subject) -> Result<(), AdminError> {
        match subject {
            Subject::User(name) => match self.user_find(name.as_name()).await? {
                Some(_) => Ok(()),
                None => Err(AdminError::NoUser(name.as_str().to_owned())),
            },
            Subject::Group(name) if !name.is_public() => {
                let key = subject.key(self.keys());
                match self.ask(&key, redis::cmd("EXISTS").arg(&key)).await? {
                    true => Ok(()),
                    false => Err(AdminError::NoGroup(name.as_str().to_owned())),
                }
            }
            Subject::Group(_) | Subject::Default => Ok(()),
        }
    }
}
