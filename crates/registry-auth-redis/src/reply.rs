//! The replies to one space's questions, sorted to the users who asked.
//!
//! Used by `lookup` only. Invariant: every job of the space is in exactly one place of the [`Part`], in their order.

use crate::defaults::{self, Defaults};
use crate::job::Job;
use crate::log::Level;
use crate::lookup::{users, Context};
use crate::record::{self, Unreadable};
use crate::schema::Keys;
use redis::{ServerError, Value};
use registry_auth::Record;

/// What one space's jobs are answered with.
pub(crate) struct Part {
    /// Jobs without a user; they come first.
    pub(crate) anonymous: usize,
    /// `P:backends`.
    pub(crate) defaults: Defaults,
    pub(crate) users: Vec<User>,
}

/// What all jobs of one user are answered with.
pub(crate) struct User {
    pub(crate) jobs: usize,
    /// Whether the password is in `P:user:<name>`, not in `P:passwords`: for the log.
    pub(crate) own_password: bool,
    pub(crate) entry: Entry,
}

pub(crate) enum Entry {
    Known(Record),
    Nobody,
    Bad,
    Unavailable,
}

impl Part {
    pub(crate) fn jobs(&self) -> usize {
        self.anonymous + self.users.iter().map(|user| user.jobs).sum::<usize>()
    }
}

/// Takes from `replies` what `lookup::questions` asked for these jobs.
pub(crate) fn read(context: &Context, jobs: &[Job], replies: &mut impl Iterator<Item = Value>) -> Part {
    let prefix = jobs.first().map_or("", |job| &job.space.prefix);
    let keys = Keys::new(prefix);
    let anonymous = jobs.iter().take_while(|job| job.user.is_none()).count();
    let asked = users(jobs).count();
    let mut next = || replies.next().unwrap_or_default();
    let defaults = defaults::read(context, prefix, next());
    let passwords = if asked == 0 {
        Ok(Vec::new())
    } else {
        record::from_passwords(next(), asked)
    };
    let mut passwords = passwords.map(Vec::into_iter);
    let mut answer = |(user, jobs)| {
        let password = match &mut passwords {
            Ok(items) => record::password(items.next().unwrap_or_default()),
            Err(why) => Err(why.clone()),
        };
        let (entry, own_password) = merge(context, keys, user, next(), password);
        User {
            jobs,
            own_password,
            entry,
        }
    };
    Part {
        anonymous,
        defaults,
        users: users(jobs).map(&mut answer).collect(),
    }
}

/// `P:user:<name>`, and where that has no password the one of `P:passwords`.
fn merge(
    context: &Context,
    keys: Keys<'_>,
    user: &str,
    reply: Value,
    password: Result<Option<String>, Unreadable>,
) -> (Entry, bool) {
    let own = match record::from_hash(reply) {
        Ok(own) => own,
        Err(why) => return (log_unreadable(context, &keys.user(user), why), true),
    };
    if own.as_ref().is_some_and(|own| own.password.is_some()) {
        return (own.map_or(Entry::Nobody, Entry::Known), true);
    }
    let entry = match (own, password) {
        (_, Err(why)) => log_unreadable(context, &keys.passwords(), why),
        (None, Ok(None)) => Entry::Nobody,
        (own, Ok(password)) => Entry::Known(Record {
            password,
            ..own.unwrap_or_default()
        }),
    };
    (entry, false)
}

/// One line per key and while, and what to answer.
fn log_unreadable(context: &Context, key: &str, why: Unreadable) -> Entry {
    match why {
        Unreadable::Bad(why) => {
            context
                .log
                .write_once(key, Level::Error, &format!("record {key} cannot be read: {why}"));
            Entry::Bad
        }
        Unreadable::Refused(error) => {
            log_refused(context, &error);
            Entry::Unavailable
        }
    }
}

pub(crate) fn log_refused(context: &Context, error: &ServerError) {
    let message = format!(
        "Redis refuses: {} {}",
        error.code(),
        error.details().unwrap_or_default()
    );
    context
        .log
        .write_once(error.code(), Level::Error, message.trim_end());
}

/// Logs that the hash of this job's user cannot be used.
pub(crate) fn log_bad(context: &Context, job: Option<&Job>, own_password: bool, why: &str) {
    let Some((job, user)) = job.and_then(|job| Some((job, job.user.as_deref()?))) else {
        return;
    };
    let key = hash_key(&job.space.prefix, user, own_password);
    context
        .log
        .write_once(&key, Level::Error, &format!("record {key} cannot be read: {why}"));
}

/// The key that holds the user's password hash.
pub(crate) fn hash_key(prefix: &str, user: &str, own_password: bool) -> String {
    if own_password {
        Keys::new(prefix).user(user)
    } else {
        format!("{} (field {user})", Keys::new(prefix).passwords())
    }
}
