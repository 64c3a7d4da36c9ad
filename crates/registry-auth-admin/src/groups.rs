//! Groups and their members. Called by the tool's `group` and by its imports.
//!
//! A group exists while `P:group:<name>` does. Redis keeps no empty hash, so a new group gets a field `name`,
//! which nobody reads. A user's record names the user's groups, so that a lookup is one round trip.

use crate::client::{ATTEMPTS, Admin, unreadable};
use crate::error::AdminError;
use crate::subject::{GroupName, Subject};
use crate::walk::{Progress, Walk};
use redis::Value;
use registry_auth::{Record, UserName};
use registry_auth_redis::schema::keys::field;
use registry_auth_redis::schema::record;
use std::collections::{BTreeMap, BTreeSet};

/// What keeps a group without grants and backends.
const NAME: &str = field::NAME;

/// A group, without its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// The name.
    pub name: String,
    /// How many grants and backends it has; `None` when the record cannot be read.
    pub counts: Option<(usize, usize)>,
}

impl Admin {
    /// Creates a group. Returns who is in it already (in records that were made otherwise, or by a removal
    /// that was interrupted).
    ///
    /// # Errors
    /// [`AdminError::GroupExists`].
    pub async fn group_add(
        &self,
        group: &GroupName,
        progress: Progress<'_>,
    ) -> Result<Vec<String>, AdminError> {
        let key = self.keys().group(group.as_str());
        let mut changes = redis::pipe();
        changes.cmd("HSET").arg(&key);
        changes.arg(NAME).arg(group.as_str());
        for _ in 0..ATTEMPTS {
            self.watch(&[&key]).await?;
            if self.ask(&key, redis::cmd("EXISTS").arg(&key)).await? {
                self.unwatch().await?;
                return Err(AdminError::GroupExists(group.as_str().to_owned()));
            }
            if self.transact(&key, &changes).await?.is_some() {
                return self.group_members(group, progress).await;
            }
        }
        Err(AdminError::Contended)
    }

    /// All groups by name.
    ///
    /// # Errors
    /// Of the connection only.
    pub async fn group_list(&self, progress: Progress<'_>) -> Result<Vec<GroupEntry>, AdminError> {
        let keys = self.keys();
        let mut groups = BTreeMap::new();
        let mut walk = Walk::new(self, keys.groups_pattern());
        let question = |questions: &mut redis::Pipeline, key: &str| {
            questions.cmd("HGETALL").arg(key);
        };
        while let Some(page) = walk.next(question, progress).await? {
            for (key, reply) in page {
                let Some(name) = keys.group_of(&key) else { continue };
                let counts = match record::from_hash(reply) {
                    Ok(Some(record)) => Some((record.grants.len(), record.backends.len())),
                    // Removed meanwhile.
                    Ok(None) => continue,
                    Err(_) => None,
                };
                groups.insert(name.to_owned(), counts);
            }
        }
        Ok(groups
            .into_iter()
            .map(|(name, counts)| GroupEntry { name, counts })
            .collect())
    }

    /// Grants and backends of a group.
    ///
    /// # Errors
    /// [`AdminError::NoGroup`], [`AdminError::BadRecord`].
    pub async fn group_show(&self, group: &GroupName) -> Result<Record, AdminError> {
        let key = self.keys().group(group.as_str());
        let reply: Value = self.ask(&key, redis::cmd("HGETALL").arg(&key)).await?;
        match record::from_hash(reply).map_err(|why| unreadable(&key, why))? {
            Some(record) => Ok(record),
            None => {
                self.must_exist(&Subject::Group(group.clone())).await?;
                Ok(Record::default())
            }
        }
    }

    /// Who is in the group, by name. Reads all users.
    ///
    /// # Errors
    /// Of the connection only.
    pub async fn group_members(
        &self,
        group: &GroupName,
        progress: Progress<'_>,
    ) -> Result<Vec<String>, AdminError> {
        let keys = self.keys();
        let mut members = BTreeSet::new();
        let mut walk = Walk::new(self, keys.users_pattern());
        let question = |questions: &mut redis::Pipeline, key: &str| {
            questions.cmd("HGET").arg(key).arg(field::GROUPS);
        };
        while let Some(page) = walk.next(question, progress).await? {
            for (key, reply) in page {
                let Value::BulkString(groups) = reply else {
                    continue;
                };
                let mut groups = groups.split(u8::is_ascii_whitespace);
                if groups.any(|name| name == group.as_str().as_bytes()) {
                    members.extend(keys.user_of(&key).map(str::to_owned));
                }
            }
        }
        Ok(members.into_iter().collect())
    }

    /// Removes a group: first its grants and backends, at once for everybody, then its name from the records
    /// of its members, who are returned. Where that was interrupted, it is completed by calling it again.
    ///
    /// # Errors
    /// [`AdminError::NoGroup`].
    pub async fn group_remove(
        &self,
        group: &GroupName,
        progress: Progress<'_>,
    ) -> Result<Vec<String>, AdminError> {
        let key = self.keys().group(group.as_str());
        let removed = self.delete(&key).await?;
        // Everyone is in `public`, and no record says so.
        if group.is_public() {
            return Ok(Vec::new());
        }
        let members = self.group_members(group, progress).await?;
        if !removed && members.is_empty() {
            return Err(AdminError::NoGroup(group.as_str().to_owned()));
        }
        for member in &members {
            // A name that is illegal can come from redis-cli only, and cannot log in.
            let Ok(user) = UserName::parse(member.as_bytes()) else {
                continue;
            };
            match self.group_leave(group.as_str(), user).await {
                Ok(_) | Err(AdminError::NoUser(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(members)
    }

    /// Puts a user into a group, as the last of the user's. False when the user was in it before.
    ///
    /// # Errors
    /// [`AdminError::NoUser`], [`AdminError::NoGroup`].
    pub async fn group_join(&self, group: &GroupName, user: UserName<'_>) -> Result<bool, AdminError> {
        let keys = self.keys();
        let key = keys.user(user.as_str());
        let group_key = keys.group(group.as_str());
        self.edit(&Subject::User(user.to_owned()), async |changes| {
            // Or the user would be in a group that is removed meanwhile.
            self.watch(&[&group_key]).await?;
            self.must_exist(&Subject::Group(group.clone())).await?;
            let mut groups = self.groups_of(&key).await?;
            if groups.iter().any(|name| name == group.as_str()) {
                return Ok(false);
            }
            groups.push(group.as_str().to_owned());
            changes.cmd("HSET").arg(&key).arg(field::GROUPS);
            changes.arg(groups.join(" "));
            Ok(true)
        })
        .await
    }

    /// Takes a user out of a group, whose name may be an illegal one, so that a record can be repaired. False
    /// when the user is not in it.
    ///
    /// # Errors
    /// [`AdminError::NoUser`].
    pub async fn group_leave(&self, group: &str, user: UserName<'_>) -> Result<bool, AdminError> {
        let key = self.keys().user(user.as_str());
        self.edit(&Subject::User(user.to_owned()), async |changes| {
            let mut groups = self.groups_of(&key).await?;
            let before = groups.len();
            groups.retain(|name| name != group);
            if groups.len() == before {
                return Ok(false);
            }
            if groups.is_empty() {
                changes.cmd("HDEL").arg(&key).arg(field::GROUPS);
            } else {
                changes.cmd("HSET").arg(&key).arg(field::GROUPS);
                changes.arg(groups.join(" "));
            }
            Ok(true)
        })
        .await
    }

    async fn groups_of(&self, key: &str) -> Result<Vec<String>, AdminError> {
        let groups: Option<Vec<u8>> = self
            .ask(key, redis::cmd("HGET").arg(key).arg(field::GROUPS))
            .await?;
        let groups = String::from_utf8(groups.unwrap_or_default()).map_err(|_| AdminError::BadRecord {
            key: key.to_owned(),
            why: "field groups is not UTF-8".to_owned(),
        })?;
        Ok(groups.split_ascii_whitespace().map(str::to_owned).collect())
    }
}
