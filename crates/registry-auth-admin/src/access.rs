//! All records that decide about one user, or about the anonymous: what the tool's `explain` judges.
//!
//! Read with the functions that the module's lookups use, so that both see the same.

use crate::client::{Admin, unreadable};
use crate::error::AdminError;
use redis::Value;
use registry_auth::{Record, UserName};
use registry_auth_redis::schema::keys::PUBLIC;
use registry_auth_redis::schema::record;

/// The records that speak for somebody.
#[derive(Debug, Clone)]
pub struct AccessRecords {
    /// The user's own, with the password of `P:passwords` where it has none; empty for the anonymous.
    pub user: Record,
    /// Those of the groups, in order, `public` last.
    pub groups: Vec<GroupRecord>,
    /// Everybody's backends, or why they cannot be read: that matters only to who has no others.
    pub backends: Result<Vec<String>, String>,
}

/// A group of a user.
#[derive(Debug, Clone)]
pub struct GroupRecord {
    /// The name.
    pub name: String,
    /// `None` when there is no such group: it grants nothing.
    pub record: Option<Record>,
}

impl Admin {
    /// What is stored for this user and its groups, or for the anonymous.
    ///
    /// # Errors
    /// [`AdminError::NoUser`]; [`AdminError::BadRecord`], where the module refuses everything.
    pub async fn access(&self, user: Option<UserName<'_>>) -> Result<AccessRecords, AdminError> {
        let keys = self.keys();
        let public = keys.group(PUBLIC);
        let mut questions = redis::pipe();
        questions.cmd("LRANGE").arg(keys.backends()).arg(0).arg(-1);
        questions.cmd("HGETALL").arg(&public);
        if let Some(user) = user {
            questions.cmd("HGETALL").arg(keys.user(user.as_str()));
            questions.cmd("HMGET").arg(keys.passwords()).arg(user.as_str());
        }
        let mut replies = self.ask_all(&questions).await?.into_iter();
        let mut next = || replies.next().unwrap_or_default();
        let backends = record::from_list(next());
        let public_record = record::from_hash(next()).map_err(|why| unreadable(&public, why))?;
        let record = match user {
            Some(user) => self.user_record(user, next(), next())?,
            None => Record::default(),
        };
        let mut groups = self.group_records(&record.groups).await?;
        groups.push(GroupRecord {
            name: PUBLIC.to_owned(),
            record: public_record,
        });
        Ok(AccessRecords {
            user: record,
            groups,
            backends: match backends {
                Ok(defaults) => Ok(defaults.backends.into_iter().map(|peer| peer.name).collect()),
                Err(why) => Err(unreadable(&keys.backends(), why).to_string()),
            },
        })
    }

    /// `P:user:<name>`, and where that has no password the one of `P:passwords`.
    fn user_record(&self, user: UserName<'_>, own: Value, old: Value) -> Result<Record, AdminError> {
        let keys = self.keys();
        let key = keys.user(user.as_str());
        let own = record::from_hash(own).map_err(|why| unreadable(&key, why))?;
        let password = || {
            record::from_passwords(old, 1)
                .and_then(|items| record::password(items.into_iter().next().unwrap_or_default()))
                .map_err(|why| unreadable(&keys.passwords(), why))
        };
        match record::with_password(own, password)? {
            Some((record, _)) => Ok(record),
            None => Err(AdminError::NoUser(user.as_str().to_owned())),
        }
    }

    async fn group_records(&self, names: &[String]) -> Result<Vec<GroupRecord>, AdminError> {
        let keys = self.keys();
        let mut questions = redis::pipe();
        for name in names {
            questions.cmd("HGETALL").arg(keys.group(name));
        }
        let replies = self.ask_all(&questions).await?;
        let read = |(name, reply): (&String, Value)| {
            let record = record::from_hash(reply).map_err(|why| unreadable(&keys.group(name), why))?;
            Ok(GroupRecord {
                name: name.clone(),
                record,
            })
        };
        // `public` is named last whoever else is; a user who is put into it gains nothing.
        names
            .iter()
            .zip(replies)
            .filter(|(name, _)| *name != PUBLIC)
            .map(read)
            .collect()
    }
}
