//! Assembles the answers to the jobs of one keyspace, once all names that they need are resolved (or cannot
//! be).
//!
//! Used by `lookup`. Invariant: a record is encoded once, however many jobs share it.

use crate::lookup::encode::{Encoder, has_names};
use crate::lookup::questions_and_replies::{Question, UserReply, UserState, is_wrong_token};
use crate::lookup::reply_cache::{RememberedUser, ReplyCache, UserTags};
use crate::lookup::shared_records::{SharedRecord, SharedRecords};
use crate::messages::Outcome;
use crate::queue::basis::{Basis, GroupNames, LookupKey, ReadMark};
use crate::queue::pending::{JobAnswer, Outbox, PendingJob};
use crate::single_flight::Flight;
use crate::unreadable::{hash_key, log_bad};
use crate::verify::verdict::{Common, Passwords, Verdict};
use redis::Value;
use registry_auth::Record;
use std::sync::Arc;

/// What answers are assembled with.
#[derive(Clone, Copy)]
pub(crate) struct Tools<'a> {
    pub(crate) passwords: &'a Passwords,
    pub(crate) outbox: &'a Outbox,
    pub(crate) cache: &'a ReplyCache,
    pub(crate) encoder: &'a Encoder,
}

/// What is needed to know a user again.
struct ToRemember {
    hash: u64,
    tags: UserTags,
    has_backends: bool,
    groups: GroupNames,
}

/// The answers of one keyspace in the making.
pub(crate) struct Assembly<'a> {
    tools: Tools<'a>,
    mark: ReadMark,
    shared: &'a SharedRecords,
    /// The encoded defaults, or the outcome of each job that needs them; `public` likewise.
    defaults: Result<Arc<[u8]>, Outcome>,
    public: Result<Arc<[u8]>, Outcome>,
    buffer: Vec<u8>,
}

impl<'a> Assembly<'a> {
    /// Of what was asked for after `mark` was noted.
    pub(crate) fn new(tools: Tools<'a>, mark: ReadMark, shared: &'a SharedRecords) -> Self {
        let mut buffer = Vec::with_capacity(256);
        Self {
            tools,
            mark,
            shared,
            defaults: encoded(tools.encoder, &shared.defaults, &mut buffer),
            public: encoded(tools.encoder, &shared.public, &mut buffer),
            buffer,
        }
    }

    /// Answers all jobs of one user, or those of the anonymous.
    pub(crate) fn user(&mut self, user: UserReply, answers: &mut Vec<JobAnswer>) {
        let names = match &user.state {
            UserState::Remembered(known) => Arc::clone(&known.groups),
            _ => user.groups().map(Box::from).collect(),
        };
        let Question { key, flight, .. } = user.question;
        let passwords = self.tools.passwords;
        let verdict = match user.state {
            UserState::Unavailable => Err(Outcome::Unavailable),
            UserState::Unreadable => Err(Outcome::BadRecord),
            UserState::Retry => {
                let names = (&*key.space.prefix, key.name());
                self.tools.cache.forget_user(flight.hash(), names);
                return self.tools.outbox.retry(flight.finish());
            }
            UserState::NoToken(reply) => return self.no_token(flight, &reply, answers),
            UserState::Anonymous => Err(self.anonymous()),
            // 401 in any case: what is unreadable does not matter.
            UserState::Unknown => Ok(Verdict::unknown(&passwords.verifier, &key, self.mark)),
            UserState::Known(record) => {
                // What a name resolves to may change without a reply that does.
                let tags = user.tags.filter(|_| !has_names(&record));
                let to_remember = tags.map(|tags| ToRemember {
                    hash: flight.hash(),
                    tags,
                    has_backends: !record.backends.is_empty(),
                    groups: Arc::clone(&names),
                });
                self.known(record, &key, user.own_password, &names)
                    .inspect(|verdict| self.remember(&key, verdict, to_remember))
            }
            UserState::Remembered(known) => self.common(&names, known.has_backends).map(|common| {
                let (record, hash) = (Arc::clone(&known.record), Arc::clone(&known.hash));
                Verdict::known(record, known.own_password, hash, common, self.mark)
            }),
        };
        let outcome = match verdict {
            Ok(verdict) => return passwords.answer(verdict, flight.finish(), answers),
            Err(outcome) => outcome,
        };
        let is_read = !matches!(outcome, Outcome::Unavailable);
        let basis = is_read.then_some(Basis {
            mark: self.mark,
            passwords: key.user.is_some(),
            groups: names,
        });
        answers.extend(flight.finish().map(|job| JobAnswer {
            job,
            outcome: outcome.clone(),
            basis: basis.clone(),
        }));
    }

    /// Answers the jobs whose access tokens are not in this reply; the others, which joined them meanwhile,
    /// get a question of their own.
    fn no_token(&self, flight: Flight<PendingJob>, reply: &Value, answers: &mut Vec<JobAnswer>) {
        let (wrong, others): (Vec<_>, Vec<_>) =
            flight.finish().partition(|job| is_wrong_token(&job.proof, reply));
        answers.extend(wrong.into_iter().map(|job| JobAnswer {
            job,
            outcome: Outcome::NoToken,
            basis: Some(Basis {
                mark: self.mark,
                passwords: false,
                groups: Arc::default(),
            }),
        }));
        self.tools.outbox.retry(others.into_iter());
    }

    fn anonymous(&mut self) -> Outcome {
        match self.common(&Arc::default(), false) {
            Ok(Common { public, defaults, .. }) => Outcome::Anonymous { public, defaults },
            Err(outcome) => outcome,
        }
    }

    fn known(
        &mut self,
        mut record: Record,
        key: &LookupKey,
        own_password: bool,
        names: &GroupNames,
    ) -> Result<Verdict, Outcome> {
        let common = self.common(names, !record.backends.is_empty())?;
        let encoder = self.tools.encoder;
        let Some(encoded) = encoder.encode(&mut record, &mut self.buffer) else {
            let key = hash_key(&key.space.prefix, key.name(), own_password);
            log_bad(&encoder.log, &key, "it is too large");
            return Err(Outcome::BadRecord);
        };
        let hash = self.tools.passwords.verifier.hash(key, record.password);
        Ok(Verdict::known(encoded, own_password, hash, common, self.mark))
    }

    fn remember(&self, key: &LookupKey, verdict: &Verdict, to_remember: Option<ToRemember>) {
        let Some((to_remember, (record, own_password, hash))) = to_remember.zip(verdict.parts()) else {
            return;
        };
        let user = RememberedUser {
            tags: to_remember.tags,
            own_password,
            record,
            has_backends: to_remember.has_backends,
            groups: to_remember.groups,
            hash,
        };
        let names = (&*key.space.prefix, key.name());
        self.tools.cache.put_user(to_remember.hash, names, user);
    }

    /// What concerns a user of these groups. A group that cannot be read fails its members, for it might have
    /// denied something; unreadable defaults fail those who would get them, rather than send them to some
    /// other registry.
    fn common(&mut self, names: &GroupNames, has_backends: bool) -> Result<Common, Outcome> {
        let public = self.public.clone()?;
        let mut elsewhere = has_backends || self.shared.public.has_backends();
        let mut groups = Vec::new();
        for name in names.iter() {
            let group = self.shared.group(name).ok_or(Outcome::Unavailable)?;
            elsewhere |= group.has_backends();
            groups.push(encoded(self.tools.encoder, group, &mut self.buffer)?);
        }
        let defaults = match &self.defaults {
            Err(_) if elsewhere => None,
            defaults => Some(defaults.clone()?),
        };
        Ok(Common {
            names: Arc::clone(names),
            // An empty one costs no allocation so.
            groups: if groups.is_empty() {
                Arc::default()
            } else {
                groups.into()
            },
            public,
            defaults,
        })
    }
}

/// A shared record's encoding, or the outcome of each job that needs the record.
fn encoded(encoder: &Encoder, shared: &SharedRecord, buffer: &mut Vec<u8>) -> Result<Arc<[u8]>, Outcome> {
    match shared {
        SharedRecord::Encoded(encoded) => Ok(Arc::clone(encoded)),
        SharedRecord::HasNames(record) => encoder
            .encode(&mut record.clone(), buffer)
            .ok_or(Outcome::BadRecord),
        SharedRecord::Failed(outcome) => Err(outcome.clone()),
    }
}
