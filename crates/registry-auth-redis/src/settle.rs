//! Answers the jobs of one space once all names they need are resolved (or cannot be).
//!
//! Used by `lookup`. Invariant: a record is encoded once, however many jobs share it.

use crate::completions::Batch;
use crate::defaults::Defaults;
use crate::job::Outcome;
use crate::log::Level;
use crate::lookup::Context;
use crate::reply::{self, Entry};
use crate::verify::Check;
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

pub(crate) struct Settling<'a> {
    context: &'a Context,
    /// Encoded, or what those get who need them.
    defaults: Result<Arc<[u8]>, Outcome>,
    buffer: Vec<u8>,
}

impl<'a> Settling<'a> {
    pub(crate) fn new(context: &'a Context, defaults: &Defaults) -> Self {
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
            defaults,
            buffer,
        }
    }

    /// Jobs that only want the defaults.
    pub(crate) fn nobody(&mut self, batch: &mut Batch, jobs: usize) {
        for _ in 0..jobs {
            let unknown = |defaults| Outcome::Unknown { defaults };
            batch.answer(self.defaults.clone().map_or_else(|outcome| outcome, unknown));
        }
    }

    /// All jobs of one user.
    pub(crate) fn user(&mut self, batch: &mut Batch, user: reply::User) {
        let check = match user.entry {
            Entry::Unavailable => Err(Outcome::Unavailable),
            Entry::Bad => Err(Outcome::BadRecord),
            // 401 in any case: unreadable defaults do not matter.
            Entry::Nobody => self
                .defaults_or_none()
                .map(|defaults| Check::nobody(self.context, batch, defaults)),
            Entry::Known(mut record) => self.known(batch, &mut record, user.own_password),
        };
        for _ in 0..user.jobs {
            match &check {
                Ok(check) => check.answer(self.context, batch),
                Err(outcome) => batch.answer(outcome.clone()),
            }
        }
    }

    fn known(&mut self, batch: &Batch, record: &mut Record, own_password: bool) -> Result<Check, Outcome> {
        // Unreadable defaults fail those who would get them, rather than send them to some other registry.
        let defaults = if record.backends.is_empty() {
            self.defaults.clone()?
        } else {
            self.defaults_or_none()?
        };
        let Some(encoded) = encode(self.context, record, &mut self.buffer) else {
            reply::log_bad(self.context, batch.current(), own_password, "it is too large");
            return Err(Outcome::BadRecord);
        };
        Ok(Check::known(
            self.context,
            batch,
            record,
            own_password,
            encoded,
            defaults,
        ))
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
