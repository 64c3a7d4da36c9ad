//! The replies to one space's questions, sorted to the users who were asked for.
//!
//! Used by `lookup` only. Invariant: whoever was asked for is in the [`Part`], in the order of the questions.

use crate::lookup::reply_cache::{Familiar, Replies};
use crate::lookup::shared::{self, Shared, Whose};
use crate::lookup::{users_without_password, Context};
use crate::messages::{By, Keyspace};
use crate::queue::pending::{Subject, Waiting};
use crate::single_flight::Flight;
use redis::{ServerError, Value};
use registry_auth::Record;
use registry_auth_redis::log::Level;
use registry_auth_redis::schema::keys::{Keys, PUBLIC};
use registry_auth_redis::schema::record::{self, Unreadable};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What is asked about one user of one space, or about its defaults only.
pub(crate) struct Asked {
    pub(crate) subject: Subject,
    /// The jobs that wait for it.
    pub(crate) flight: Flight<Waiting>,
    /// What is remembered of the user.
    pub(crate) familiar: Option<Arc<Familiar>>,
    /// Whether an access token was sent: the same is asked for whoever the user is then.
    pub(crate) by_token: bool,
}

impl Asked {
    /// Whether the user had a password of their own the last time: `P:passwords` is not asked then, in the hope that it is so still.
    pub(crate) fn has_password(&self) -> bool {
        !self.by_token && self.familiar.as_ref().is_some_and(|familiar| familiar.own)
    }
}

/// What one space's jobs are answered with.
pub(crate) struct Part {
    /// Prefix of the keys.
    pub(crate) space: Option<Arc<Keyspace>>,
    pub(crate) records: Arc<Records>,
    pub(crate) users: Vec<User>,
}

/// What the users of one space share.
pub(crate) struct Records {
    /// `P:backends`.
    pub(crate) defaults: Shared,
    /// `P:group:public`.
    pub(crate) public: Shared,
    /// The groups of all users of the part, by name; without `public`.
    pub(crate) groups: HashMap<Box<str>, Shared>,
}

impl Records {
    /// A group of which somebody here is a member.
    pub(crate) fn group(&self, name: &str) -> Option<&Shared> {
        match name {
            PUBLIC => Some(&self.public),
            name => self.groups.get(name),
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Shared> {
        [&self.defaults, &self.public]
            .into_iter()
            .chain(self.groups.values())
    }
}

/// What all jobs of one user are answered with.
pub(crate) struct User {
    pub(crate) asked: Asked,
    /// Whether the password is in `P:user:<name>`, so that `P:passwords` plays no role.
    pub(crate) own_password: bool,
    pub(crate) entry: Entry,
    /// What the entry was read from, where that may be remembered.
    pub(crate) replies: Option<Replies>,
}

pub(crate) enum Entry {
    /// No user was asked for.
    Anonymous,
    Known(Record),
    /// Known, and what it was the last time.
    Familiar(Arc<Familiar>),
    Nobody,
    /// `P:passwords` has to be asked after all.
    Again,
    /// Everybody who waits has sent an access token, and none is this user's; what was looked at, to look again for who joins.
    NoToken(Value),
    Bad,
    Unavailable,
}

/// Takes from `replies` what `lookup::questions` asked for all of `asked`, which is of one space.
pub(crate) fn read(context: &Context, asked: Vec<Asked>, replies: &mut impl Iterator<Item = Value>) -> Part {
    let space = asked.first().map(|asked| Arc::clone(&asked.subject.space));
    let prefix = space.as_ref().map_or("", |space| &space.prefix);
    let keys = Keys::new(prefix);
    let count = users_without_password(&asked).count();
    let mut next = || replies.next().unwrap_or_default();
    let defaults = shared::read(context, prefix, Whose::Everybody, next());
    let public = shared::read(context, prefix, Whose::Group(PUBLIC), next());
    let passwords = if count == 0 {
        Ok(Vec::new())
    } else {
        record::from_passwords(next(), count)
    };
    let mut passwords = passwords.map(Vec::into_iter);
    let answer = |asked: Asked| {
        let without = |asked, entry| User {
            asked,
            own_password: true,
            entry,
            replies: None,
        };
        // Nobody waits for what is not read yet.
        if context.completions.is_closed() {
            return without(asked, Entry::Unavailable);
        }
        let Some(user) = asked.subject.user() else {
            return without(asked, Entry::Anonymous);
        };
        let was_asked = !asked.has_password();
        let item = match &mut passwords {
            _ if !was_asked => Ok(Value::Nil),
            Ok(items) => Ok(items.next().unwrap_or_default()),
            Err(why) => Err(why.clone()),
        };
        let reply = next();
        // Who has guessed an access token learns nothing by the rest of a record: whether there is one, how much is in it and in its
        // groups, whether it can be read.
        let is_wrong = |waiting: &Waiting| is_wrong_token(&waiting.by, &reply);
        let is_refused = matches!(&reply, Value::ServerError(error) if error.code() != "WRONGTYPE");
        if !is_refused && asked.flight.all(is_wrong) {
            return without(asked, Entry::NoToken(reply));
        }
        let mut replies = None;
        if let Ok(item) = &item {
            let seen = context.familiars.replies(&reply, item);
            if let Some(familiar) = asked.familiar.as_ref().filter(|familiar| familiar.is(seen)) {
                return User {
                    own_password: familiar.own,
                    entry: Entry::Familiar(Arc::clone(familiar)),
                    asked,
                    replies: None,
                };
            }
            replies = Some(seen);
        }
        let (mut entry, own_password) = merge(context, keys, user, reply, item.and_then(record::password));
        if !was_asked && !own_password {
            entry = Entry::Again;
        }
        User {
            asked,
            own_password,
            entry,
            replies,
        }
    };
    let users = asked.into_iter().map(answer).collect();
    let groups = HashMap::new();
    Part {
        space,
        records: Arc::new(Records {
            defaults,
            public,
            groups,
        }),
        users,
    }
}

/// Whether it is an access token that is not in this reply.
pub(crate) fn is_wrong_token(by: &By, reply: &Value) -> bool {
    matches!(by, By::AccessToken(digest) if !record::has_token(reply, digest))
}

impl User {
    /// The names of the groups that the user is in.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        let (known, familiar) = match &self.entry {
            Entry::Known(record) => (Some(record), None),
            Entry::Familiar(familiar) => (None, Some(familiar)),
            _ => (None, None),
        };
        let known = known
            .into_iter()
            .flat_map(|record| &record.groups)
            .map(String::as_str);
        let familiar = familiar.into_iter().flat_map(|familiar| familiar.groups.iter());
        known.chain(familiar.map(|name| &**name))
    }
}

impl Part {
    /// The groups that have to be asked for, each once.
    pub(crate) fn groups(&self) -> BTreeSet<&str> {
        let all = self.users.iter().flat_map(User::groups);
        all.filter(|name| *name != PUBLIC).collect()
    }

    /// The users who are in no group but `public`, apart from the others.
    pub(crate) fn split_off_groupless(&mut self) -> Self {
        let in_group = |user: &User| user.groups().any(|name| name != PUBLIC);
        let (members, groupless) = std::mem::take(&mut self.users).into_iter().partition(in_group);
        self.users = members;
        Self {
            space: self.space.clone(),
            records: Arc::clone(&self.records),
            users: groupless,
        }
    }

    /// A group that was mistyped, or removed: its members have less than somebody thinks.
    fn log_no_group(&self, context: &Context, name: &str) {
        let key = Keys::new(self.prefix()).group(name);
        let member = |user: &&User| user.groups().any(|group| group == name);
        let user = self.users.iter().find(member);
        let user = user.map_or("", |user| user.asked.subject.name());
        let message = format!(
            "record {}: there is no group {name}",
            Keys::new(self.prefix()).user(user)
        );
        context.log.write_of_kind("no group", &key, Level::Warn, &message);
    }

    pub(crate) fn prefix(&self) -> &str {
        self.space.as_ref().map_or("", |space| &space.prefix)
    }

    /// Takes what was asked for all of [`Part::groups`], in their order.
    pub(crate) fn read_groups(&mut self, context: &Context, replies: &mut impl Iterator<Item = Value>) {
        let mut groups = HashMap::new();
        for name in self.groups() {
            let reply = replies.next().unwrap_or_default();
            if record::is_nothing(&reply) {
                self.log_no_group(context, name);
            }
            groups.insert(
                name.into(),
                shared::read(context, self.prefix(), Whose::Group(name), reply),
            );
        }
        if !groups.is_empty() {
            self.records = Arc::new(Records {
                defaults: self.records.defaults.clone(),
                public: self.records.public.clone(),
                groups,
            });
        }
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
    let mut skipped = false;
    let own = record::from_hash_noting(reply, &mut skipped);
    if skipped {
        log_skipped(context, &keys.user(user));
    }
    let own = match own {
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

/// One line per key and while.
pub(crate) fn log_skipped(context: &Context, key: &str) {
    context.log.write_once(
        &format!("{key} backends"),
        Level::Error,
        &format!("record {key}: {}", record::SKIPPED),
    );
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

/// Logs that the record of this user cannot be used.
pub(crate) fn log_bad(context: &Context, subject: &Subject, own_password: bool, why: &str) {
    let key = hash_key(&subject.space.prefix, subject.name(), own_password);
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
