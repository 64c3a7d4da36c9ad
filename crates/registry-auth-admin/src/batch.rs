//! Passwords of many users at once: imports, and moving those of `P:passwords`.
//!
//! A batch is one transaction that watches all it depends on. Invariant: every user is changed whole or not
//! at all, whenever the tool or Redis ends; a locked account stays locked, and everything but the password
//! stays as it is.

use crate::client::{ATTEMPTS, Admin, unreadable};
use crate::error::AdminError;
use redis::{Pipeline, Value};
use registry_auth::password::{self, Form};
use registry_auth::{UserName, UserNameBuf};
use registry_auth_redis::schema::keys::field;
use registry_auth_redis::schema::record;
use std::ops::Range;

/// A password to be stored.
#[derive(Debug, Clone, Copy)]
pub struct NewPassword<'a> {
    /// Whose.
    pub user: UserName<'a>,
    /// Its hash.
    pub hash: &'a str,
}

impl<'a> NewPassword<'a> {
    /// The password of a hash, for a user.
    pub fn new(user: &'a UserNameBuf, hash: &'a str) -> Self {
        let user = user.as_name();
        Self { user, hash }
    }
}

/// What is done with users who have a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced, unless it is stored better than the new one.
    Replace,
    /// It stays.
    Keep,
    /// It is replaced, whatever it is.
    Force,
}

/// What becomes of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// There was no password.
    New,
    /// There was another password. True: the account is locked and stays so.
    Changed(bool),
    /// There was this one.
    Unchanged,
    /// There was another one, which stays, as asked.
    Kept,
    /// There was an argon2 hash, which stays: the new one is guessed faster if it leaks.
    Stronger,
    /// Moved from `P:passwords` to `P:user:<name>`.
    Moved,
    /// The record has a password already, which wins: the one of `P:passwords` was only removed.
    Superseded,
    /// The record cannot be read; it stays as it is.
    Bad(String),
}

/// The passwords of one user.
struct Held {
    /// That of `P:user:<name>`, or why there is none.
    own: Result<Option<String>, String>,
    /// That of `P:passwords`.
    old: Result<Option<String>, String>,
}

impl Admin {
    /// Stores the passwords, or only says what would become of each user. Users must not be named twice.
    ///
    /// # Errors
    /// [`AdminError::BadRecord`] when `P:passwords` is no hash; of the connection.
    pub async fn passwords_put(
        &self,
        batch: &[NewPassword<'_>],
        existing: Existing,
        apply: bool,
    ) -> Result<Vec<Put>, AdminError> {
        let names: Vec<&str> = batch.iter().map(|new| new.user.as_str()).collect();
        let hash = |at: usize| batch.get(at).map_or("", |new| new.hash);
        self.batch(&names, apply, |at, held, plan| {
            let (own, old) = match (&held.own, &held.old) {
                (Ok(own), Ok(old)) => (own, old),
                (Err(why), _) | (_, Err(why)) => return Put::Bad(why.clone()),
            };
            let Some(before) = own.as_ref().or(old.as_ref()) else {
                plan.set(at, hash(at).to_owned());
                return Put::New;
            };
            let locked = password::is_locked(before);
            if before.trim_start_matches('!') == hash(at).trim_start_matches('!')
                && locked >= password::is_locked(hash(at))
            {
                return Put::Unchanged;
            }
            match existing {
                Existing::Keep => return Put::Kept,
                Existing::Replace if is_weaker(hash(at), before) => return Put::Stronger,
                Existing::Replace | Existing::Force => {}
            }
            plan.set(
                at,
                match locked {
                    true => format!("!{}", hash(at).trim_start_matches('!')),
                    false => hash(at).to_owned(),
                },
            );
            if old.is_some() {
                plan.drop_old(at);
            }
            Put::Changed(locked)
        })
        .await
    }

    /// Moves passwords from `P:passwords` to the users' records, or only says what would become of each.
    ///
    /// # Errors
    /// As [`Admin::passwords_put`].
    pub async fn passwords_move(&self, users: &[UserName<'_>], apply: bool) -> Result<Vec<Put>, AdminError> {
        let names: Vec<&str> = users.iter().map(UserName::as_str).collect();
        self.batch(&names, apply, |at, held, plan| match (&held.own, &held.old) {
            (Err(why), _) | (_, Err(why)) => Put::Bad(why.clone()),
            // Somebody else did it meanwhile.
            (Ok(_), Ok(None)) => Put::Unchanged,
            (Ok(Some(_)), Ok(Some(_))) => {
                plan.drop_old(at);
                Put::Superseded
            }
            (Ok(None), Ok(Some(old))) => {
                plan.set(at, old.clone());
                plan.drop_old(at);
                Put::Moved
            }
        })
        .await
    }

    /// How many passwords `P:passwords` has.
    ///
    /// # Errors
    /// As [`Admin::passwords_put`].
    pub async fn old_passwords_count(&self) -> Result<u64, AdminError> {
        let key = self.keys().passwords();
        self.ask(&key, redis::cmd("HLEN").arg(&key)).await
    }

    /// Passwords of `P:passwords` from a cursor on, first 0, and the next cursor, at the end 0. Redis may
    /// return one twice.
    ///
    /// # Errors
    /// As [`Admin::passwords_put`].
    pub async fn old_passwords(&self, cursor: u64) -> Result<(u64, Vec<super::users::Field>), AdminError> {
        let key = self.keys().passwords();
        let mut scan = redis::cmd("HSCAN");
        scan.arg(&key).arg(cursor).arg("COUNT").arg(super::walk::PAGE);
        self.ask(&key, &scan).await
    }

    /// Lets `decide` plan for each user, and carries that out if `apply` says so. Where others keep changing
    /// some of the keys, in ever smaller parts.
    async fn batch(
        &self,
        names: &[&str],
        apply: bool,
        decide: impl Fn(usize, &Held, &mut Plan) -> Put,
    ) -> Result<Vec<Put>, AdminError> {
        let mut put = vec![Put::Unchanged; names.len()];
        let mut parts: Vec<(Range<usize>, u32)> = vec![(0..names.len(), 0)];
        while let Some((part, tries)) = parts.pop() {
            let (Some(named), Some(put)) = (names.get(part.clone()), put.get_mut(part.clone())) else {
                continue;
            };
            let held = self.held(named, apply).await?;
            let mut plan = Plan::default();
            for ((at, put), held) in part.clone().zip(put).zip(&held) {
                *put = decide(at, held, &mut plan);
            }
            let changes = plan.changes(self, names);
            if !apply {
                continue;
            }
            if changes.is_empty() {
                self.unwatch().await?;
                continue;
            }
            if self.transact("", &changes).await?.is_some() {
                continue;
            }
            if part.len() > 1 {
                let middle = part.start + part.len() / 2;
                parts.push((middle..part.end, 0));
                parts.push((part.start..middle, 0));
            } else if tries < ATTEMPTS {
                parts.push((part, tries + 1));
            } else {
                return Err(AdminError::Contended);
            }
        }
        Ok(put)
    }

    async fn held(&self, names: &[&str], watch: bool) -> Result<Vec<Held>, AdminError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let passwords = self.keys().passwords();
        let own: Vec<String> = names.iter().map(|name| self.keys().user(name)).collect();
        let mut questions = redis::pipe();
        if watch {
            questions.cmd("WATCH").arg(&passwords).arg(&own);
        }
        questions.cmd("HMGET").arg(&passwords).arg(names);
        for key in &own {
            questions.cmd("HGET").arg(key).arg(field::PASSWORD);
        }
        let mut replies = self.ask_all(&questions).await?.into_iter();
        if watch {
            replies.next();
            self.watched();
        }
        let old = record::from_passwords(replies.next().unwrap_or_default(), names.len())
            .map_err(|why| unreadable(&passwords, why))?;
        let read = |value: Value| match record::password(value) {
            Ok(hash) => Ok(hash),
            Err(record::Unreadable::Bad(why)) => Err(why),
            Err(record::Unreadable::Refused(_)) => Err("it is not a hash".to_owned()),
        };
        Ok(replies
            .zip(old)
            .map(|(own, old)| Held {
                own: read(own),
                old: read(old),
            })
            .collect())
    }
}

/// Whether the new hash is guessed faster than the stored one, if either leaks. Only of good argon2 hashes it
/// is said: nothing else makes memory the price of a guess as they do, except scrypt.
fn is_weaker(new: &str, stored: &str) -> bool {
    let form = |hash: &str| Form::of(hash.trim_start_matches('!'));
    form(stored) == Some(Form::Argon2)
        && password::weakness(stored).is_none()
        && (form(new) != Some(Form::Argon2) || password::weakness(new).is_some())
}

/// The changes of a batch.
#[derive(Default)]
struct Plan {
    set: Vec<(usize, String)>,
    drop_old: Vec<usize>,
}

impl Plan {
    fn set(&mut self, at: usize, hash: String) {
        self.set.push((at, hash));
    }

    fn drop_old(&mut self, at: usize) {
        self.drop_old.push(at);
    }

    /// First what is stored, then what is removed.
    fn changes(self, admin: &Admin, names: &[&str]) -> Pipeline {
        let mut changes = redis::pipe();
        for (at, hash) in self.set {
            if let Some(name) = names.get(at) {
                let key = admin.keys().user(name);
                changes.cmd("HSET").arg(key).arg(field::PASSWORD).arg(hash);
            }
        }
        let old: Vec<&str> = self
            .drop_old
            .iter()
            .filter_map(|at| names.get(*at).copied())
            .collect();
        if !old.is_empty() {
            changes.cmd("HDEL").arg(admin.keys().passwords()).arg(old);
        }
        changes
    }
}
