//! Answers the jobs of one space once all names they need are resolved (or cannot be).
//!
//! Used by `lookup`. Invariant: a record is encoded once, however many jobs share it.

use crate::completions::Mark;
use crate::defaults::Defaults;
use crate::familiar::{Familiar, Replies};
use crate::job::Outcome;
use crate::log::Level;
use crate::lookup::Context;
use crate::reply::{self, Asked, Entry, User};
use crate::verify::Check;
use crate::waiting::{Answer, Basis, Subject};
use registry_auth::backend::Backend;
use registry_auth::{codec, Record};
use std::sync::Arc;

/// Whether some backend is a name, not an address.
pub(crate) fn has_names(record: &Record) -> bool {
    let is_address = |name: &str| Backend::parse(name).is_ok_and(|backend| backend.address().is_some());
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
    needs_defaults: bool,
    /// `None`: better not.
    replies: Option<Replies>,
}

pub(crate) struct Settling<'a> {
    context: &'a Context,
    mark: Mark,
    /// Encoded, or what those get who need them.
    defaults: Result<Arc<[u8]>, Outcome>,
    buffer: Vec<u8>,
}

impl<'a> Settling<'a> {
    pub(crate) fn new(context: &'a Context, mark: Mark, defaults: &Defaults) -> Self {
        let mut buffer = Vec::with_capacity(256);
        let defaults = match defaults {
            Defaults::Encoded(encoded) => Ok(Arc::clone(encoded)),
            Defaults::Names(record) => {
                encode(context, &mut record.clone(), &mut buffer).ok_or(Outcome::BadRecord)
            }
            Defaults::Failed(outcome) => Err(outcome.clone()),
        };
        Self {
            context,
            mark,
            defaults,
            buffer,
        }
    }

    /// All jobs of one user, or those that only want the defaults.
    pub(crate) fn user(&mut self, user: User, answers: &mut Vec<Answer>) {
        let Asked { subject, flight } = user.asked;
        let passwords = &self.context.passwords;
        let verifier = &passwords.verifier;
        let check = match user.entry {
            Entry::Unavailable => Err(Outcome::Unavailable),
            Entry::Bad => Err(Outcome::BadRecord),
            Entry::Anonymous => Err(self.anonymous()),
            // 401 in any case: unreadable defaults do not matter.
            Entry::Nobody => self
                .defaults_or_none()
                .map(|defaults| Check::nobody(verifier, &subject, defaults, self.mark)),
            Entry::Known(record) => {
                let remembered = Remembered {
                    hash: flight.hash(),
                    needs_defaults: record.backends.is_empty(),
                    // What a name stands for may change without a reply that does.
                    replies: user.replies.filter(|_| !has_names(&record)),
                };
                self.known(record, &subject, user.own_password)
                    .inspect(|check| self.remember(&subject, check, remembered))
            }
            Entry::Familiar(familiar) => self
                .defaults_for(familiar.needs_defaults)
                .map(|defaults| Check::familiar(familiar, defaults, self.mark)),
        };
        let outcome = match check {
            Ok(check) => return passwords.answer(check, flight.land(), answers),
            Err(outcome) => outcome,
        };
        let is_read = !matches!(outcome, Outcome::Unavailable);
        let basis = is_read.then_some(Basis {
            mark: self.mark,
            passwords: subject.user.is_some(),
        });
        answers.extend(flight.land().map(|waiting| Answer {
            waiting,
            outcome: outcome.clone(),
            basis,
        }));
    }

    fn anonymous(&self) -> Outcome {
        let unknown = |defaults| Outcome::Unknown { defaults };
        self.defaults.clone().map_or_else(|outcome| outcome, unknown)
    }

    fn known(&mut self, mut record: Record, subject: &Subject, own_password: bool) -> Result<Check, Outcome> {
        let defaults = self.defaults_for(record.backends.is_empty())?;
        let Some(encoded) = encode(self.context, &mut record, &mut self.buffer) else {
            reply::log_bad(self.context, subject, own_password, "it is too large");
            return Err(Outcome::BadRecord);
        };
        Ok(Check::known(
            &self.context.passwords.verifier,
            subject,
            record.password,
            own_password,
            encoded,
            defaults,
            self.mark,
        ))
    }

    fn remember(&self, subject: &Subject, check: &Check, remembered: Remembered) {
        if let (Some(replies), Some((record, own, stored))) = (remembered.replies, check.parts()) {
            let familiar = Familiar::new(replies, own, record, remembered.needs_defaults, stored);
            let key = (&*subject.space.prefix, subject.name());
            let familiars = &self.context.familiars;
            familiars.put(remembered.hash, key, Arc::new(familiar));
        }
    }

    /// Unreadable defaults fail those who would get them, rather than send them to some other registry.
    fn defaults_for(&mut self, needs_defaults: bool) -> Result<Arc<[u8]>, Outcome> {
        match needs_defaults {
            true => self.defaults.clone(),
            false => self.defaults_or_none(),
        }
    }

    fn defaults_or_none(&mut self) -> Result<Arc<[u8]>, Outcome> {
        match &self.defaults {
            Ok(defaults) => Ok(Arc::clone(defaults)),
            Err(_) => {
                encode(self.context, &mut Record::default(), &mut self.buffer).ok_or(Outcome::BadRecord)
            }
        }
    }
}
