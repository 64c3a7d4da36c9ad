//! Answers the jobs of one space once all names they need are resolved (or cannot be).
//!
//! Used by `lookup`. Invariant: a record is encoded once, however many jobs share it.

use crate::lookup::questions_and_replies::{self, is_wrong_token, Asked, Entry, Records, User};
use crate::lookup::reply_cache::{Familiar, Replies};
use crate::lookup::shared::Shared;
use crate::lookup::Context;
use crate::messages::Outcome;
use crate::queue::events::Mark;
use crate::queue::pending::{Answer, Basis, GroupNames, Subject, Waiting};
use crate::single_flight::Flight;
use crate::verify::verdict::{Check, Common};
use redis::Value;
use registry_auth::backend::Backend;
use registry_auth::{codec, Record};
use registry_auth_redis::log::Level;
use std::sync::Arc;

/// Whether some backend is a name, not an address.
pub(crate) fn has_names(record: &Record) -> bool {
    let is_address = |name: &str| Backend::stored(name).is_ok_and(|backend| backend.address().is_some());
    !record.backends.iter().all(|peer| is_address(&peer.name))
}

/// Whether some backend's name has to be asked for first.
pub(crate) fn lacks_names(context: &Context, record: &Record) -> bool {
    record
        .backends
        .iter()
        .any(|peer| context.resolver.known(&peer.name).is_none())
}

/// The record with its backends' addresses, encoded; `None` when it is too large.
pub(crate) fn encode(context: &Context, record: &mut Record, buffer: &mut Vec<u8>) -> Option<Arc<[u8]>> {
    for peer in &mut record.backends {
        peer.addresses = context.resolver.known(&peer.name).unwrap_or_default();
        // More than the layout holds, and than anybody has.
        peer.addresses.truncate(u8::MAX.into());
        if peer.addresses.is_empty() {
            let message = format!("backend {} has no address", peer.name);
            context.log.write_once(&peer.name, Level::Error, &message);
        }
    }
    buffer.clear();
    codec::encode(record, buffer).ok()?;
    Some(Arc::from(buffer.as_slice()))
}

/// What is needed to know a user again.
struct Remembered {
    hash: u64,
    has_backends: bool,
    groups: GroupNames,
    /// `None`: better not.
    replies: Option<Replies>,
}

pub(crate) struct Settling<'a> {
    context: &'a Context,
    mark: Mark,
    records: &'a Records,
    /// Each encoded, or what those get who need it.
    defaults: Result<Arc<[u8]>, Outcome>,
    public: Result<Arc<[u8]>, Outcome>,
    buffer: Vec<u8>,
}

impl<'a> Settling<'a> {
    pub(crate) fn new(context: &'a Context, mark: Mark, records: &'a Records) -> Self {
        let mut buffer = Vec::with_capacity(256);
        Self {
            context,
            mark,
            records,
            defaults: encoded(context, &records.defaults, &mut buffer),
            public: encoded(context, &records.public, &mut buffer),
            buffer,
        }
    }

    /// All jobs of one user, or those of the anonymous.
    pub(crate) fn user(&mut self, user: User, answers: &mut Vec<Answer>) {
        let names = match &user.entry {
            Entry::Familiar(familiar) => Arc::clone(&familiar.groups),
            _ => user.groups().map(Box::from).collect(),
        };
        let Asked { subject, flight, .. } = user.asked;
        let passwords = &self.context.passwords;
        let verifier = &passwords.verifier;
        let check = match user.entry {
            Entry::Unavailable => Err(Outcome::Unavailable),
            Entry::Bad => Err(Outcome::BadRecord),
            Entry::Again => {
                let key = (&*subject.space.prefix, subject.name());
                self.context.familiars.forget(flight.hash(), key);
                return self.context.completions.retry(flight.land());
            }
            Entry::NoToken(reply) => return self.no_token(flight, &reply, answers),
            Entry::Anonymous => Err(self.anonymous()),
            // 401 in any case: what is unreadable does not matter.
            Entry::Nobody => Ok(Check::nobody(verifier, &subject, self.mark)),
            Entry::Known(record) => {
                let remembered = Remembered {
                    hash: flight.hash(),
                    has_backends: !record.backends.is_empty(),
                    groups: Arc::clone(&names),
                    // What a name stands for may change without a reply that does.
                    replies: user.replies.filter(|_| !has_names(&record)),
                };
                self.known(record, &subject, user.own_password, &names)
                    .inspect(|check| self.remember(&subject, check, remembered))
            }
            Entry::Familiar(familiar) => self
                .common(&names, familiar.has_backends)
                .map(|common| Check::familiar(familiar, common, self.mark)),
        };
        let outcome = match check {
            Ok(check) => return passwords.answer(check, flight.land(), answers),
            Err(outcome) => outcome,
        };
        let is_read = !matches!(outcome, Outcome::Unavailable);
        let basis = is_read.then_some(Basis {
            mark: self.mark,
            passwords: subject.user.is_some(),
            groups: names,
        });
        answers.extend(flight.land().map(|waiting| Answer {
            waiting,
            outcome: outcome.clone(),
            basis: basis.clone(),
        }));
    }

    /// Answers who has sent access tokens that are not in this reply; who has joined them with something else asks again.
    fn no_token(&self, flight: Flight<Waiting>, reply: &Value, answers: &mut Vec<Answer>) {
        let (wrong, others): (Vec<_>, Vec<_>) = flight
            .land()
            .partition(|waiting| is_wrong_token(&waiting.by, reply));
        answers.extend(wrong.into_iter().map(|waiting| Answer {
            waiting,
            outcome: Outcome::NoToken,
            basis: Some(Basis {
                mark: self.mark,
                passwords: false,
                groups: Arc::default(),
            }),
        }));
        self.context.completions.retry(others.into_iter());
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
        subject: &Subject,
        own_password: bool,
        names: &GroupNames,
    ) -> Result<Check, Outcome> {
        let common = self.common(names, !record.backends.is_empty())?;
        let Some(encoded) = encode(self.context, &mut record, &mut self.buffer) else {
            questions_and_replies::log_bad(self.context, subject, own_password, "it is too large");
            return Err(Outcome::BadRecord);
        };
        Ok(Check::known(
            &self.context.passwords.verifier,
            subject,
            record.password,
            own_password,
            encoded,
            common,
            self.mark,
        ))
    }

    fn remember(&self, subject: &Subject, check: &Check, remembered: Remembered) {
        if let (Some(replies), Some((record, own, stored))) = (remembered.replies, check.parts()) {
            let (has_backends, groups) = (remembered.has_backends, remembered.groups);
            let familiar = Familiar::new(replies, own, record, has_backends, groups, stored);
            let key = (&*subject.space.prefix, subject.name());
            let familiars = &self.context.familiars;
            familiars.put(remembered.hash, key, Arc::new(familiar));
        }
    }

    /// What concerns a user of these groups. A group that cannot be read fails its members, for it might have denied something;
    /// unreadable defaults fail those who would get them, rather than send them to some other registry.
    fn common(&mut self, names: &GroupNames, has_backends: bool) -> Result<Common, Outcome> {
        let public = self.public.clone()?;
        let mut elsewhere = has_backends || self.records.public.has_backends();
        let mut groups = Vec::new();
        for name in names.iter() {
            let group = self.records.group(name).ok_or(Outcome::Unavailable)?;
            elsewhere |= group.has_backends();
            groups.push(encoded(self.context, group, &mut self.buffer)?);
        }
        let defaults = match &self.defaults {
            Err(_) if elsewhere => None,
            defaults => Some(defaults.clone()?),
        };
        Ok(Common {
            names: Arc::clone(names),
            // An empty one costs no allocation so.
            groups: match groups.is_empty() {
                true => Arc::default(),
                false => groups.into(),
            },
            public,
            defaults,
        })
    }
}

/// A shared record's encoding, or what those get who need it.
fn encoded(context: &Context, shared: &Shared, buffer: &mut Vec<u8>) -> Result<Arc<[u8]>, Outcome> {
    match shared {
        Shared::Encoded(encoded) => Ok(Arc::clone(encoded)),
        Shared::Names(record) => encode(context, &mut record.clone(), buffer).ok_or(Outcome::BadRecord),
        Shared::Failed(outcome) => Err(outcome.clone()),
    }
}
