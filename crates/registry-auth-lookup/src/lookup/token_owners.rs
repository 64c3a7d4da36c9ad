//! Whose an access token is that was sent without a user's name (`Bearer rga_…`): `P:token-owners` is asked.
//!
//! Spawned by `store` for jobs that name no user. Invariant: an entry lets nobody in. Its user is asked for
//! next, as one who sends that user's name with the token, and only a record that holds the token proves
//! anything.
//!
//! Hence a change of `P:token-owners` makes no answer old, and the watcher ignores it
//! (`schema::keys::Known`). The key changes whenever any token of anybody is created: heeding that would have
//! every cached token asked for anew. What a cache keeps of an entry can only be wrong in two ways. The token
//! is in another record now (`user rename`) or in none (`token revoke`): then the record of the kept user has
//! changed, which the watcher heeds, and the module, which no longer finds the token there, asks this key
//! anew. Or an administrator has removed the entry alone, by hand: then the token is as good as before, by
//! Basic at once and by Bearer until the kept entry ends with the cache's `ttl`. That there is no entry is
//! never kept.

use crate::lookup::{Lookups, exchange};
use crate::messages::Outcome;
use crate::queue::pending::{JobAnswer, PendingJob};
use crate::unreadable::{log_bad, log_refused};
use redis::{Pipeline, Value};
use registry_auth_redis::log::Log;
use registry_auth_redis::schema::keys::KeyNames;
use registry_auth_redis::schema::record::{self, Unreadable};
use std::sync::Arc;
use tokio::time::Instant;

/// Answers a batch, of `TOGETHER` at most. A job that gets no answer here is `Unavailable`.
pub(crate) async fn run(lookups: Arc<Lookups>, jobs: Vec<PendingJob>) {
    let deadline = Instant::now() + lookups.timeout;
    let mut pipeline = Pipeline::with_capacity(jobs.len());
    for job in &jobs {
        let Some(digest) = job.ownerless_token() else {
            return;
        };
        let key = KeyNames::new(&job.space.prefix).token_owners();
        // HGET is one right more than the module's Redis user needs for all the rest.
        pipeline.cmd("HMGET").arg(key).arg(digest.to_hex());
    }
    let Some((replies, _)) = exchange(&lookups, pipeline, deadline).await else {
        return;
    };
    let answer = |(job, reply): (PendingJob, Value)| JobAnswer {
        outcome: outcome(&lookups.encoder.log, &job, reply),
        job,
        basis: None,
    };
    let answers = jobs.into_iter().zip(replies).map(answer).collect();
    lookups.outbox.post(answers);
}

fn outcome(log: &Log, job: &PendingJob, reply: Value) -> Outcome {
    match record::token_owner(reply) {
        Ok(Some(user)) => Outcome::Owner(user),
        Ok(None) => Outcome::NoToken,
        Err(Unreadable::Bad(why)) => {
            log_bad(log, &KeyNames::new(&job.space.prefix).token_owners(), &why);
            Outcome::BadRecord
        }
        Err(Unreadable::Refused(error)) => {
            log_refused(log, &error);
            Outcome::Unavailable
        }
    }
}
