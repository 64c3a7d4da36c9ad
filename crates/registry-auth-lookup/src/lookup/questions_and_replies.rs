//! What Redis is asked about users, and its replies, sorted to the users who were asked for.
//!
//! Used by `lookup`. Questions and replies are in this one file as their orders must agree: [`questions`] and
//! [`Reader::read`], [`group_questions`] and [`Reader::read_groups`]. Invariant: whoever was asked for is in
//! a [`KeyspaceReply`], in the order of the questions.

use crate::lookup::encode::Encoder;
use crate::lookup::reply_cache::{RememberedUser, ReplyCache, SharedKey, UserTags};
use crate::lookup::shared_records::{self, SharedRecord, SharedRecords};
use crate::messages::{Keyspace, Proof};
use crate::queue::basis::LookupKey;
use crate::queue::events::EventQueue;
use crate::queue::pending::PendingJob;
use crate::single_flight::Flight;
use crate::unreadable::{log_bad, log_refused, log_skipped};
use redis::{Cmd, Pipeline, Value};
use registry_auth::Record;
use registry_auth_redis::log::{Level, Log};
use registry_auth_redis::schema::keys::{KeyNames, PUBLIC};
use registry_auth_redis::schema::record::{self, Unreadable};
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tokio::time::Instant;

/// What is asked about one user of one keyspace, or about its defaults only.
pub(crate) struct Question {
    /// Whom it is about.
    pub(crate) key: LookupKey,
    /// The jobs that wait for it.
    pub(crate) flight: Flight<PendingJob>,
    /// Until when the first of them waits.
    pub(crate) deadline: Instant,
    /// What is remembered of the user.
    pub(crate) remembered: Option<Arc<RememberedUser>>,
    /// Whether an access token was sent: the same is asked for whoever the user is then.
    pub(crate) by_token: bool,
}

impl Question {
    /// Whether the user had a password of their own the last time: `P:passwords` is not asked then, in the
    /// hope that it is so still.
    fn has_password(&self) -> bool {
        !self.by_token && self.remembered.as_ref().is_some_and(|user| user.own_password)
    }
}

/// Equal keyspaces become neighbours, as all of this file relies on. Nearly always there is one only, and its
/// jobs share it. (The salt plays no role in a question.)
pub(crate) fn sort(questions: &mut [Question]) {
    questions.sort_unstable_by(keyspace_order);
}

fn keyspace_order(a: &Question, b: &Question) -> Ordering {
    let (a, b) = (&a.key.space, &b.key.space);
    if Arc::ptr_eq(a, b) {
        return Ordering::Equal;
    }
    a.prefix.cmp(&b.prefix)
}

/// The questions of each keyspace.
fn by_keyspace(questions: &[Question]) -> impl Iterator<Item = &[Question]> {
    questions.chunk_by(|a, b| keyspace_order(a, b).is_eq())
}

fn users<'a>(questions: impl Iterator<Item = &'a Question>) -> impl Iterator<Item = &'a str> {
    questions.filter_map(|question| question.key.user())
}

/// Those of the users whose password may be in `P:passwords`.
fn users_without_password(questions: &[Question]) -> impl Iterator<Item = &str> {
    users(questions.iter().filter(|question| !question.has_password()))
}

/// For each keyspace: `LRANGE P:backends`, `HGETALL P:group:public`, `HMGET P:passwords` of its users but
/// those who had a password of their own the last time, `HGETALL P:user:<name>` of each user.
pub(crate) fn questions(sorted: &[Question]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(sorted.len() + 3);
    for part in by_keyspace(sorted) {
        let Some(first) = part.first() else { continue };
        let keys = KeyNames::new(&first.key.space.prefix);
        pipeline
            .add_command(command("LRANGE", &keys.backends(), 2))
            .arg("0")
            .arg("-1");
        pipeline.add_command(command("HGETALL", &keys.group(PUBLIC), 0));
        if users_without_password(part).next().is_some() {
            pipeline.add_command(command("HMGET", &keys.passwords(), part.len()));
            for user in users_without_password(part) {
                pipeline.arg(user);
            }
        }
        let mut key = String::new();
        for user in users(part.iter()) {
            keys.write_user(user, &mut key);
            pipeline.add_command(command("HGETALL", &key, 0));
        }
    }
    pipeline
}

/// `HGETALL P:group:<name>` of each group that a user is in.
pub(crate) fn group_questions(replies: &[KeyspaceReply]) -> Pipeline {
    let mut pipeline = Pipeline::new();
    let mut key = String::new();
    for part in replies {
        for name in part.groups() {
            KeyNames::new(part.prefix()).write_group(name, &mut key);
            pipeline.add_command(command("HGETALL", &key, 0));
        }
    }
    pipeline
}

/// A command with room for `more` short arguments, so that it is allocated once.
fn command(name: &str, key: &str, more: usize) -> Cmd {
    let mut command = Cmd::with_capacity(2 + more, name.len() + key.len() + 16 * more);
    command.arg(name).arg(key);
    command
}

/// What one keyspace's jobs are answered with.
pub(crate) struct KeyspaceReply {
    space: Option<Arc<Keyspace>>,
    pub(crate) shared: Arc<SharedRecords>,
    pub(crate) users: Vec<UserReply>,
}

/// What all jobs of one user are answered with.
pub(crate) struct UserReply {
    pub(crate) question: Question,
    /// Whether the password is in `P:user:<name>`, so that `P:passwords` plays no role.
    pub(crate) own_password: bool,
    pub(crate) state: UserState,
    /// Of what the state was read from, where that may be remembered.
    pub(crate) tags: Option<UserTags>,
}

/// What Redis says of a user.
pub(crate) enum UserState {
    /// No user was asked for.
    Anonymous,
    /// There is one, with this record.
    Known(Record),
    /// There is one, and all is what it was the last time.
    Remembered(Arc<RememberedUser>),
    /// There is none.
    Unknown,
    /// `P:passwords` has to be asked after all.
    Retry,
    /// All jobs that wait have access tokens, and none is this user's; the reply of Redis is kept to look
    /// again in it for each job that joins them.
    NoToken(Value),
    /// The log names the key.
    Unreadable,
    /// Redis refuses, or the store is being stopped.
    Unavailable,
}

/// Whether it is an access token that is not in this reply.
pub(crate) fn is_wrong_token(proof: &Proof, reply: &Value) -> bool {
    matches!(proof, Proof::AccessToken(digest) if !record::has_token(reply, digest))
}

impl UserReply {
    /// The names of the groups that the user is in.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        let (known, remembered) = match &self.state {
            UserState::Known(record) => (Some(record), None),
            UserState::Remembered(user) => (None, Some(user)),
            _ => (None, None),
        };
        let known = known
            .into_iter()
            .flat_map(|record| &record.groups)
            .map(String::as_str);
        let remembered = remembered.into_iter().flat_map(|user| user.groups.iter());
        known.chain(remembered.map(|name| &**name))
    }
}

impl KeyspaceReply {
    /// The groups that have to be asked for, each once.
    fn groups(&self) -> BTreeSet<&str> {
        let all = self.users.iter().flat_map(UserReply::groups);
        all.filter(|name| *name != PUBLIC).collect()
    }

    /// The records of a user's groups.
    pub(crate) fn groups_of<'a>(&'a self, user: &'a UserReply) -> impl Iterator<Item = &'a SharedRecord> {
        user.groups().filter_map(|name| self.shared.group(name))
    }

    /// The same for some of the users.
    pub(crate) fn of(&self, users: Vec<UserReply>) -> Self {
        Self {
            space: self.space.clone(),
            shared: Arc::clone(&self.shared),
            users,
        }
    }

    /// The users who are in no group but `public`, apart from the others.
    pub(crate) fn split_off_groupless(&mut self) -> Self {
        let in_group = |user: &UserReply| user.groups().any(|name| name != PUBLIC);
        let (members, groupless) = std::mem::take(&mut self.users).into_iter().partition(in_group);
        self.users = members;
        self.of(groupless)
    }

    /// A group that was mistyped, or removed: its members have less than somebody thinks.
    fn log_no_group(&self, log: &Log, name: &str) {
        let key = KeyNames::new(self.prefix()).group(name);
        let member = |user: &&UserReply| user.groups().any(|group| group == name);
        let user = self.users.iter().find(member);
        let user = user.map_or("", |user| user.question.key.name());
        let message = format!(
            "record {}: there is no group {name}, so that it gives nothing; to create it: registry-authctl \
             group add {name}; to take the user out: registry-authctl group leave {name} {user}",
            KeyNames::new(self.prefix()).user(user)
        );
        log.write_of_kind("no group", &key, Level::Warn, &message);
    }

    fn prefix(&self) -> &str {
        self.space.as_ref().map_or("", |space| &space.prefix)
    }
}

/// What reads replies.
pub(crate) struct Reader<'a> {
    pub(crate) cache: &'a ReplyCache,
    pub(crate) encoder: &'a Encoder,
    /// Says whether somebody waits for what is read.
    pub(crate) events: &'a EventQueue,
}

impl Reader<'_> {
    /// Takes what [`questions`] asked from `replies`.
    pub(crate) fn read(
        &self,
        mut sorted: Vec<Question>,
        replies: &mut impl Iterator<Item = Value>,
    ) -> Vec<KeyspaceReply> {
        let mut read = Vec::with_capacity(1);
        while !sorted.is_empty() {
            let length = by_keyspace(&sorted).next().map_or(0, <[Question]>::len);
            let rest = sorted.split_off(length);
            read.push(self.read_keyspace(sorted, replies));
            sorted = rest;
        }
        read
    }

    fn read_keyspace(
        &self,
        questions: Vec<Question>,
        replies: &mut impl Iterator<Item = Value>,
    ) -> KeyspaceReply {
        let space = questions.first().map(|first| Arc::clone(&first.key.space));
        let prefix = space.as_ref().map_or("", |space| &space.prefix);
        let count = users_without_password(&questions).count();
        let mut next = || replies.next().unwrap_or_default();
        let defaults = self.shared(prefix, SharedKey::Backends, next());
        let public = self.shared(prefix, SharedKey::Group(PUBLIC), next());
        let passwords = if count == 0 {
            Ok(Vec::new())
        } else {
            record::from_passwords(next(), count)
        };
        let mut passwords = passwords.map(Vec::into_iter);
        let read = |question: Question| {
            // Nobody waits for what is not read yet.
            if self.events.is_closed() {
                return without_record(question, UserState::Unavailable);
            }
            if question.key.user().is_none() {
                return without_record(question, UserState::Anonymous);
            }
            let item = match &mut passwords {
                _ if question.has_password() => Ok(Value::Nil),
                Ok(items) => Ok(items.next().unwrap_or_default()),
                Err(why) => Err(why.clone()),
            };
            self.read_user(question, next(), item)
        };
        let users = questions.into_iter().map(read).collect();
        KeyspaceReply {
            space,
            shared: Arc::new(SharedRecords {
                defaults,
                public,
                groups: HashMap::new(),
            }),
            users,
        }
    }

    /// The reply to `HGETALL P:user:<name>`, and the user's item of `HMGET P:passwords`.
    fn read_user(&self, question: Question, reply: Value, item: Result<Value, Unreadable>) -> UserReply {
        // Who has guessed an access token learns nothing by the rest of a record: whether there is one, how
        // much is in it and in its groups, whether it can be read.
        let is_wrong = |job: &PendingJob| is_wrong_token(&job.proof, &reply);
        let is_refused = matches!(&reply, Value::ServerError(error) if error.code() != "WRONGTYPE");
        if !is_refused && question.flight.all(is_wrong) {
            return without_record(question, UserState::NoToken(reply));
        }
        let tags = item.as_ref().ok().map(|item| UserTags {
            record: self.cache.tag(&reply),
            password: self.cache.tag(item),
        });
        let remembered = question.remembered.as_ref();
        if let Some(user) = remembered.filter(|user| tags.is_some_and(|tags| user.matches(tags))) {
            return UserReply {
                own_password: user.own_password,
                state: UserState::Remembered(Arc::clone(user)),
                question,
                tags: None,
            };
        }
        let (mut state, own_password) = self.merge(&question.key, reply, item.and_then(record::password));
        if question.has_password() && !own_password {
            state = UserState::Retry;
        }
        UserReply {
            question,
            own_password,
            state,
            tags,
        }
    }

    /// `P:user:<name>`, and where that has no password the one of `P:passwords`. And whether it has one.
    fn merge(
        &self,
        key: &LookupKey,
        reply: Value,
        password: Result<Option<String>, Unreadable>,
    ) -> (UserState, bool) {
        let keys = KeyNames::new(&key.space.prefix);
        let mut skipped = None;
        let own = record::from_hash_noting(reply, &mut skipped);
        if let Some(backend) = skipped {
            log_skipped(&self.encoder.log, &keys.user(key.name()), &backend);
        }
        let own = match own {
            Ok(own) => own,
            Err(why) => return (self.unreadable(&keys.user(key.name()), why), true),
        };
        match record::with_password(own, || password) {
            Ok(Some((record, is_own))) => (UserState::Known(record), is_own),
            Ok(None) => (UserState::Unknown, false),
            Err(why) => (self.unreadable(&keys.passwords(), why), false),
        }
    }

    fn unreadable(&self, key: &str, why: Unreadable) -> UserState {
        match why {
            Unreadable::Bad(why) => {
                log_bad(&self.encoder.log, key, &why);
                UserState::Unreadable
            }
            Unreadable::Refused(error) => {
                log_refused(&self.encoder.log, &error);
                UserState::Unavailable
            }
        }
    }

    fn shared(&self, prefix: &str, key: SharedKey<'_>, reply: Value) -> SharedRecord {
        shared_records::read(self.cache, self.encoder, prefix, key, reply)
    }

    /// Takes what [`group_questions`] asked for all of `read` from `replies`.
    pub(crate) fn read_groups(&self, read: &mut [KeyspaceReply], replies: &mut impl Iterator<Item = Value>) {
        for part in read {
            let mut groups = HashMap::new();
            for name in part.groups() {
                let reply = replies.next().unwrap_or_default();
                if record::is_nothing(&reply) {
                    part.log_no_group(&self.encoder.log, name);
                }
                let group = self.shared(part.prefix(), SharedKey::Group(name), reply);
                groups.insert(name.into(), group);
            }
            if !groups.is_empty() {
                part.shared = Arc::new(SharedRecords {
                    defaults: part.shared.defaults.clone(),
                    public: part.shared.public.clone(),
                    groups,
                });
            }
        }
    }
}

/// A user of whose record nothing was read.
fn without_record(question: Question, state: UserState) -> UserReply {
    UserReply {
        question,
        own_password: true,
        state,
        tags: None,
    }
}
