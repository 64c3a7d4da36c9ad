//! Changes to the hash of one user or group that depend on what is there.

use super::subject::{Subject, PUBLIC};
use super::{Admin, AdminError, ATTEMPTS};
use crate::schema::Keys;
use redis::Pipeline;

impl Admin {
    /// Lets `decide` read what it needs and add changes to a transaction, and commits it if nobody changed the subject
    /// meanwhile; else all of it again. The subject must exist: one who is removed meanwhile must not come back as a
    /// record with nothing but the change.
    pub(super) async fn edit<T>(
        &self,
        subject: Subject<'_>,
        decide: impl AsyncFn(&mut Pipeline) -> Result<T, AdminError>,
    ) -> Result<T, AdminError> {
        let keys = Keys::new(&self.prefix);
        let key = subject.key(keys);
        for _ in 0..ATTEMPTS {
            if let Subject::User(_) = subject {
                self.watch(&[&key, &keys.passwords()]).await?;
            } else {
                self.watch(&[&key]).await?;
            }
            let mut changes = redis::pipe();
            let done = match self.must_exist(subject).await {
                Ok(()) => decide(&mut changes).await,
                Err(error) => Err(error),
            };
            if done.is_err() || changes.is_empty() {
                // Or the next transaction on this connection would depend on these keys.
                self.unwatch().await?;
                return done;
            }
            if self.transact(&key, &changes).await?.is_some() {
                return done;
            }
        }
        Err(AdminError::Contended)
    }

    /// Whether there is such a user or group. `public` and `default` always are.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::NoGroup`].
    pub(super) async fn must_exist(&self, subject: Subject<'_>) -> Result<(), AdminError> {
        match subject {
            Subject::User(name) => match self.user_find(name).await? {
                Some(_) => Ok(()),
                None => Err(AdminError::NoUser(name.as_str().to_owned())),
            },
            Subject::Group(name) if name.as_str() != PUBLIC => {
                let key = subject.key(Keys::new(&self.prefix));
                match self.ask(&key, redis::cmd("EXISTS").arg(&key)).await? {
                    true => Ok(()),
                    false => Err(AdminError::NoGroup(name.as_str().to_owned())),
                }
            }
            Subject::Group(_) | Subject::Default => Ok(()),
        }
    }
}
