//! All keys of a pattern, a page at a time, with the reply to one command for each key.
//!
//! SCAN never blocks Redis for long. What changes meanwhile may or may not be seen; a key may be seen twice.

use crate::client::Admin;
use crate::error::{AdminError, MOVING};
use redis::{Pipeline, Value};
use std::time::Duration;
use tokio::time;

/// Keys asked for at once.
pub(crate) const PAGE: usize = 1000;
/// How often a walk is begun again while keys are on their way to another node, and after which pause.
const AGAIN: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// Called with the share of a long work that is done, from 0 to 1.
pub type Progress<'p> = &'p dyn Fn(f64);

/// For work that nobody watches.
pub const UNSEEN: Progress<'static> = &|_| {};

/// A walk over the keys of a pattern.
pub(crate) struct Walk<'a> {
    admin: &'a Admin,
    pattern: String,
    /// `None` when all were seen.
    cursor: Option<u64>,
    /// The number of the connection.
    number: u64,
    /// How often it was begun again.
    again: u32,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(admin: &'a Admin, pattern: String) -> Self {
        Self {
            admin,
            pattern,
            cursor: Some(0),
            number: admin.number(),
            again: 0,
        }
    }

    /// The next keys, each with the reply to the one command that `question` adds for it. A reply may be an
    /// error.
    pub(crate) async fn next(
        &mut self,
        question: impl Fn(&mut Pipeline, &str),
        progress: Progress<'_>,
    ) -> Result<Option<Vec<(String, Value)>>, AdminError> {
        let Some(cursor) = self.cursor else {
            return Ok(None);
        };
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&self.pattern);
        scan.arg("COUNT").arg(PAGE);
        let (next, page): (u64, Vec<Vec<u8>>) = self.admin.ask("", &scan).await?;
        if !self.admin.is_whole(self.number).await? {
            return self.begin_again().await.map(Some);
        }
        self.cursor = (next != 0).then_some(next);
        progress(share(next));
        // A key that is not UTF-8 belongs to no user that could be asked for.
        let keys: Vec<String> = page
            .into_iter()
            .filter_map(|key| String::from_utf8(key).ok())
            .collect();
        let mut questions = redis::pipe();
        for key in &keys {
            question(&mut questions, key);
        }
        let replies = self.admin.ask_all(&questions).await?;
        Ok(Some(keys.into_iter().zip(replies).collect()))
    }

    /// The keys are on their way to another node of the Cluster, or there by now.
    async fn begin_again(&mut self) -> Result<Vec<(String, Value)>, AdminError> {
        if self.again == AGAIN {
            return Err(AdminError::Refused(MOVING.to_owned()));
        }
        self.again += 1;
        time::sleep(PAUSE).await;
        self.cursor = Some(0);
        self.number = self.admin.number();
        Ok(Vec::new())
    }
}

/// How much of a walk is done: Redis counts its cursor up from the highest bit down.
pub(crate) fn share(cursor: u64) -> f64 {
    match cursor {
        0 => 1.0,
        cursor => cursor.reverse_bits() as f64 / u64::MAX as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn the_share_follows_the_cursor() {
        // The cursors of a table of eight buckets, in the order of a scan.
        let shares: Vec<f64> = [4, 2, 6, 1, 5, 3, 7, 0].into_iter().map(share).collect();
        assert!(shares.is_sorted(), "{shares:?}");
        assert!((shares[3] - 0.5).abs() < 1e-9 && (shares[7] - 1.0).abs() < 1e-9);
    }
}
