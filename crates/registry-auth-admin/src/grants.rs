//! Grants of users and groups, one field of the record each.
//!
//! Invariant: only legal grants are written. What is there may be anything, and can be seen and removed.

use crate::client::Admin;
use crate::error::AdminError;
use crate::subject::Subject;
use registry_auth::grant::{Grant, InvalidGrant};
use registry_auth::scope::{Action, Actions};
use registry_auth_redis::schema::keys::field;

/// A grant as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGrant {
    /// The pattern, `!` in front where it denies.
    pub pattern: String,
    /// The actions.
    pub actions: String,
    /// What the module makes of it. One that it cannot read makes the whole record unreadable.
    pub grant: Result<Grant, InvalidGrant>,
}

impl Admin {
    /// The grants as stored, by pattern.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::NoGroup`]; [`AdminError::BadRecord`] when the key is of another
    /// type.
    pub async fn grants_list(&self, subject: &Subject) -> Result<Vec<StoredGrant>, AdminError> {
        let key = subject.key(self.keys());
        let fields: Vec<(Vec<u8>, Vec<u8>)> = self.ask(&key, redis::cmd("HGETALL").arg(&key)).await?;
        if fields.is_empty() {
            self.must_exist(subject).await?;
        }
        let mut grants: Vec<StoredGrant> = fields
            .iter()
            .filter_map(|(name, value)| {
                let name = String::from_utf8_lossy(name);
                let actions = String::from_utf8_lossy(value).into_owned();
                let pattern = name.strip_prefix(field::GRANT)?.to_owned();
                let grant = Grant::from_parts(&pattern, &actions);
                Some(StoredGrant {
                    pattern,
                    actions,
                    grant,
                })
            })
            .collect();
        grants.sort_unstable_by(|a, b| a.pattern.cmp(&b.pattern));
        Ok(grants)
    }

    /// Adds the actions of `grant` to those that its pattern has; returns all of them. Actions that cannot be
    /// read are replaced.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::NoGroup`]; [`AdminError::BadRecord`] when the key is of another
    /// type.
    pub async fn grant_add(&self, subject: &Subject, grant: &Grant) -> Result<Actions, AdminError> {
        let key = subject.key(self.keys());
        let name = grant.field();
        self.edit(subject, async |changes| {
            let before = self.actions(&key, &name).await?;
            let before = before.and_then(|text| Actions::parse(&text).ok());
            let after = select(|action| {
                grant.actions.contains(action) || before.is_some_and(|before| before.contains(action))
            })
            .unwrap_or(grant.actions);
            if before != Some(after) {
                changes.cmd("HSET").arg(&key).arg(&name).arg(after.to_string());
            }
            Ok(after)
        })
        .await
    }

    /// Takes actions from a pattern, or all of it; returns those that are left. The pattern may be an illegal
    /// one, so that a record can be repaired.
    ///
    /// # Errors
    /// [`AdminError::NoGrant`], and as [`Admin::grant_add`]; [`AdminError::BadRecord`] when some actions are
    /// to be taken from what cannot be read.
    pub async fn grant_remove(
        &self,
        subject: &Subject,
        pattern: &str,
        actions: Option<Actions>,
    ) -> Result<Option<Actions>, AdminError> {
        let key = subject.key(self.keys());
        let name = format!("{}{pattern}", field::GRANT);
        self.edit(subject, async |changes| {
            let no_grant = || AdminError::NoGrant {
                subject: subject.to_string(),
                pattern: pattern.to_owned(),
            };
            let before = self.actions(&key, &name).await?.ok_or_else(no_grant)?;
            let left = match actions {
                None => None,
                Some(actions) => {
                    let before = Actions::parse(&before).map_err(|_| AdminError::BadRecord {
                        key: key.clone(),
                        why: "this grant's actions are none; name no actions to remove all of it".to_owned(),
                    })?;
                    if !Action::ALL
                        .iter()
                        .any(|a| actions.contains(*a) && before.contains(*a))
                    {
                        return Err(no_grant());
                    }
                    select(|action| before.contains(action) && !actions.contains(action))
                }
            };
            match left {
                Some(left) => changes.cmd("HSET").arg(&key).arg(&name).arg(left.to_string()),
                None => changes.cmd("HDEL").arg(&key).arg(&name),
            };
            Ok(left)
        })
        .await
    }

    async fn actions(&self, key: &str, name: &str) -> Result<Option<String>, AdminError> {
        let value: Option<Vec<u8>> = self.ask(key, redis::cmd("HGET").arg(key).arg(name)).await?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }
}

/// The set of the actions that `wanted` wants; `None` for none.
fn select(wanted: impl Fn(Action) -> bool) -> Option<Actions> {
    let words: Vec<&str> = Action::ALL
        .into_iter()
        .filter(|action| wanted(*action))
        .map(Action::as_str)
        .collect();
    Actions::parse(&words.join(",")).ok()
}
