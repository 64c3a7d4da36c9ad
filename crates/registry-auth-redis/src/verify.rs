//! Is it this user's password? Fast forms are verified at once, slow ones on the hashing pool.
//!
//! Used by `lookup`. Invariants: whoever is refused has cost what a wrong password costs (security row 12: unknown,
//! locked or without a password); a hash that cannot be used is a bad record, not a wrong password.

use crate::completions::{Batch, Ticket};
use crate::dummy::{self, Dummies};
use crate::hashing::Work;
use crate::job::{Job, Outcome, Space};
use crate::log::{Level, Log};
use crate::lookup::Context;
use crate::reply::hash_key;
use crate::Secret;
use registry_auth::password::{self, InvalidHash};
use registry_auth::Record;
use std::sync::Arc;

/// How all jobs of one user are answered, but for the password that each brings.
#[derive(Clone)]
pub(crate) struct Check {
    hash: Hash,
    /// Whether verifying goes through the pool.
    slow: bool,
    /// Encoded; `None` for a user who does not exist.
    record: Option<Arc<[u8]>>,
    defaults: Arc<[u8]>,
}

#[derive(Clone)]
enum Hash {
    /// The user's, without the `!` of a locked account.
    Stored {
        stored: Arc<str>,
        locked: bool,
        own: bool,
    },
    /// There is none: some other hash is verified for its cost; `None` is the tool's argon2id.
    Dummy(Option<Arc<str>>),
}

impl Check {
    /// For a user who has a record.
    pub(crate) fn known(
        context: &Context,
        batch: &Batch,
        user: &Record,
        own: bool,
        record: Arc<[u8]>,
        defaults: Arc<[u8]>,
    ) -> Self {
        // (An empty text is a hash of no form, not 'no password'.)
        let hash = match user.password.as_deref() {
            None => Hash::Dummy(like(context, batch)),
            Some(stored) => match (stored.trim_start_matches('!'), password::is_locked(stored)) {
                ("", true) => Hash::Dummy(like(context, batch)),
                (bare, locked) => Hash::Stored {
                    stored: bare.into(),
                    locked,
                    own,
                },
            },
        };
        Self::new(hash, Some(record), defaults)
    }

    /// For a user who does not exist.
    pub(crate) fn nobody(context: &Context, batch: &Batch, defaults: Arc<[u8]>) -> Self {
        Self::new(Hash::Dummy(like(context, batch)), None, defaults)
    }

    fn new(hash: Hash, record: Option<Arc<[u8]>>, defaults: Arc<[u8]>) -> Self {
        let slow = match &hash {
            Hash::Stored { stored, .. } => password::is_slow(stored),
            Hash::Dummy(like) => dummy::is_slow(like.as_deref()),
        };
        Self {
            hash,
            slow,
            record,
            defaults,
        }
    }

    /// Answers the batch's current job, now or from the pool.
    pub(crate) fn answer(&self, context: &Context, batch: &mut Batch) {
        if self.slow {
            let Some((ticket, job)) = batch.delegate() else {
                return;
            };
            let slow = Slow {
                check: self.clone(),
                ticket,
                space: Arc::clone(&job.space),
                user: job.user.take().unwrap_or_default(),
                password: job.password.take(),
                dummies: Arc::clone(&context.dummies),
                log: context.log.clone(),
            };
            if let Err(slow) = context.pool.submit(slow) {
                slow.ticket.answer(Outcome::Busy);
            }
        } else if let Some(Job {
            space,
            user,
            password,
            ..
        }) = batch.current()
        {
            let user = user.as_deref().unwrap_or_default();
            let outcome = self.outcome(space, user, password, &context.dummies, &context.log);
            batch.answer(outcome);
        }
    }

    fn outcome(&self, space: &Space, user: &str, given: &Secret, dummies: &Dummies, log: &Log) -> Outcome {
        match self.verify(space, user, given, dummies) {
            Ok(verified) => self.found(verified),
            Err(InvalidHash) => {
                let own = !matches!(self.hash, Hash::Stored { own: false, .. });
                let key = hash_key(&space.prefix, user, own);
                let message = format!("record {key} cannot be read: {InvalidHash}");
                log.write_once(&key, Level::Error, &message);
                Outcome::BadRecord
            }
        }
    }

    fn verify(
        &self,
        space: &Space,
        user: &str,
        given: &Secret,
        dummies: &Dummies,
    ) -> Result<bool, InvalidHash> {
        match &self.hash {
            Hash::Stored { stored, locked, .. } => {
                let right = password::verify(stored, given.expose(), &space.salt)?;
                dummies.saw(&space.prefix, user, stored);
                Ok(right && !locked)
            }
            Hash::Dummy(like) => {
                password::dummy(like.as_deref(), given.expose(), &space.salt);
                Ok(false)
            }
        }
    }

    fn found(&self, verified: bool) -> Outcome {
        let defaults = Arc::clone(&self.defaults);
        match &self.record {
            Some(user) => Outcome::Known {
                user: Arc::clone(user),
                defaults,
                verified,
            },
            None => Outcome::Unknown { defaults },
        }
    }
}

fn like(context: &Context, batch: &Batch) -> Option<Arc<str>> {
    context.dummies.like(&batch.current()?.space.prefix)
}

/// A check on its way through the hashing pool.
pub(crate) struct Slow {
    check: Check,
    ticket: Ticket,
    space: Arc<Space>,
    user: Box<str>,
    password: Secret,
    dummies: Arc<Dummies>,
    log: Log,
}

impl Work for Slow {
    fn run(self) {
        let outcome = self
            .check
            .outcome(&self.space, &self.user, &self.password, &self.dummies, &self.log);
        self.ticket.answer(outcome);
    }
}
