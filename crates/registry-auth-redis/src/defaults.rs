//! Everybody's backends, `P:backends`: asked with every pipeline, and nearly always what they were before.
//!
//! Used by `reply` and `settle`. Invariant: what is remembered is only used for an identical reply, and only where no
//! name has to be resolved, so that it can never be out of date.

use crate::job::Outcome;
use crate::log::Level;
use crate::lookup::Context;
use crate::record::{self, Unreadable};
use crate::reply::log_refused;
use crate::schema::Keys;
use crate::settle;
use redis::Value;
use registry_auth::Record;
use std::sync::{Arc, Mutex, PoisonError};

/// Prefixes remembered: as many as there are in nginx.conf.
const PREFIXES: usize = 64;

/// What the defaults are for one pipeline.
#[derive(Clone)]
pub(crate) enum Defaults {
    /// All backends are addresses.
    Encoded(Arc<[u8]>),
    /// Some are names.
    Names(Record),
    /// For those who need them.
    Failed(Outcome),
}

/// The last reply of each prefix that needed no names, and its encoding.
#[derive(Default)]
pub(crate) struct DefaultsCache(Mutex<Vec<Known>>);

/// Prefix, reply, encoding.
type Known = (Box<str>, Value, Arc<[u8]>);

impl DefaultsCache {
    fn find(&self, prefix: &str, reply: &Value) -> Option<Arc<[u8]>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (.., encoded) = known
            .iter()
            .find(|(key, same, _)| &**key == prefix && same == reply)?;
        Some(Arc::clone(encoded))
    }

    fn put(&self, prefix: &str, reply: Value, encoded: Arc<[u8]>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(key, ..)| &**key != prefix);
        if known.len() < PREFIXES {
            known.push((prefix.into(), reply, encoded));
        }
    }
}

/// Reads the reply to `LRANGE P:backends 0 -1`.
pub(crate) fn read(context: &Context, prefix: &str, reply: Value) -> Defaults {
    if let Some(encoded) = context.defaults.find(prefix, &reply) {
        return Defaults::Encoded(encoded);
    }
    let mut record = match record::from_list(reply.clone()) {
        Ok(record) => record,
        Err(Unreadable::Refused(error)) => {
            log_refused(context, &error);
            return Defaults::Failed(Outcome::Unavailable);
        }
        Err(Unreadable::Bad(why)) => return bad(context, prefix, why),
    };
    if settle::has_names(&record) {
        return Defaults::Names(record);
    }
    match settle::encode(context, &mut record, &mut Vec::new()) {
        Some(encoded) => {
            context.defaults.put(prefix, reply, Arc::clone(&encoded));
            Defaults::Encoded(encoded)
        }
        None => bad(context, prefix, "it is too large"),
    }
}

fn bad(context: &Context, prefix: &str, why: &str) -> Defaults {
    let key = Keys::new(prefix).backends();
    context
        .log
        .write_once(&key, Level::Error, &format!("record {key} cannot be read: {why}"));
    Defaults::Failed(Outcome::BadRecord)
}
