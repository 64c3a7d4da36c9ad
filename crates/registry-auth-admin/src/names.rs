//! Names of users and groups that begin with a given text: what the tool offers a shell for completion.
//!
//! SCAN never blocks Redis for long; it ends when there are enough names.

use crate::client::Admin;
use crate::error::AdminError;
use crate::walk::PAGE;
use registry_auth_redis::schema::keys::literally;
use std::collections::BTreeSet;

impl Admin {
    /// Users whose names begin so, about `most` of them, by name.
    ///
    /// # Errors
    /// [`AdminError::BadRecord`] when `P:passwords` is no hash; of the connection.
    pub async fn users_beginning(&self, beginning: &str, most: usize) -> Result<Vec<String>, AdminError> {
        let keys = self.keys();
        let (passwords, mut found, mut cursor) = (keys.passwords(), BTreeSet::new(), 0u64);
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(&passwords).arg(cursor).arg("MATCH");
            scan.arg(format!("{}*", literally(beginning)))
                .arg("COUNT")
                .arg(PAGE);
            let (next, page): (u64, Vec<super::users::Field>) = self.ask(&passwords, &scan).await?;
            found.extend(
                page.into_iter()
                    .filter_map(|(name, _)| String::from_utf8(name).ok()),
            );
            cursor = next;
            if cursor == 0 || found.len() >= most {
                break;
            }
        }
        self.scan_names(
            &keys.users_beginning(beginning),
            |key| keys.user_of(key),
            found,
            most,
        )
        .await
    }

    /// Groups whose names begin so, about `most` of them, by name.
    ///
    /// # Errors
    /// Of the connection.
    pub async fn groups_beginning(&self, beginning: &str, most: usize) -> Result<Vec<String>, AdminError> {
        let keys = self.keys();
        let pattern = keys.groups_beginning(beginning);
        self.scan_names(&pattern, |key| keys.group_of(key), BTreeSet::new(), most)
            .await
    }

    async fn scan_names(
        &self,
        pattern: &str,
        name_of: impl Fn(&str) -> Option<&str>,
        mut found: BTreeSet<String>,
        most: usize,
    ) -> Result<Vec<String>, AdminError> {
        let mut cursor = 0u64;
        while found.len() < most {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(PAGE);
            let (next, page): (u64, Vec<Vec<u8>>) = self.ask("", &scan).await?;
            for key in page {
                found.extend(
                    std::str::from_utf8(&key)
                        .ok()
                        .and_then(&name_of)
                        .map(str::to_owned),
                );
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        Ok(found.into_iter().collect())
    }
}
