//! Whose repositories a grant is for: a user owns `<name>/**` by the name, so one who is added as `team` gets
//! all that a group was granted as `team/**`.
//!
//! Only patterns that say something about the first segment count: whoever may do something everywhere (`**`,
//! `*/base`) says nothing about a name.

use crate::client::Admin;
use crate::error::AdminError;
use crate::subject::Subject;
use crate::walk::{Progress, Walk};
use redis::Pipeline;
use registry_auth::pattern::Pattern;
use registry_auth::{RepositoryName, UserName};
use registry_auth_redis::schema::record;

/// A right to repositories that a user would own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignGrant {
    /// Whose it is: `bob`, `@team`, `public`.
    pub subject: String,
    /// What it is for.
    pub pattern: String,
    /// What it allows.
    pub actions: String,
}

/// The pattern of the owners, where that of the repositories has more than one segment.
fn owners(pattern: &Pattern) -> Option<&str> {
    match pattern.as_str().split_once('/') {
        Some((owners, _)) => Some(owners),
        None => Some(pattern.as_str()).filter(|all| all.contains("**")),
    }
}

/// Whether the pattern is for repositories of certain owners.
pub(crate) fn names_an_owner(pattern: &Pattern) -> bool {
    owners(pattern).is_some_and(|owners| owners.contains(|c| c != '*'))
}

/// Whether a user of this name would own what the pattern is for, or a part of it.
pub(crate) fn is_owned(pattern: &Pattern, name: &str) -> bool {
    // The first segment alone is a pattern, too.
    let owners = owners(pattern).and_then(|owners| Pattern::parse(owners).ok());
    let name = RepositoryName::parse(name.as_bytes()).ok();
    owners
        .zip(name)
        .is_some_and(|(owners, name)| owners.matches(&name))
}

impl Admin {
    /// Rights of others to repositories that a user of this name would own. Reads all groups and users.
    ///
    /// # Errors
    /// Of the connection only: a record that cannot be read grants nothing.
    pub async fn foreign_grants(
        &self,
        name: UserName<'_>,
        progress: Progress<'_>,
    ) -> Result<Vec<ForeignGrant>, AdminError> {
        let mut found = Vec::new();
        if !name.is_path_segment() {
            return Ok(found);
        }
        let keys = self.keys();
        let question = |questions: &mut Pipeline, key: &str| {
            questions.cmd("HGETALL").arg(key);
        };
        for (half, pattern) in [(0.0, keys.groups_pattern()), (0.5, keys.users_pattern())] {
            let mut walk = Walk::new(self, pattern);
            while let Some(page) = walk.next(question, &|share| progress(half + share / 2.0)).await? {
                for (key, reply) in page {
                    let subject = match (keys.group_of(&key), keys.user_of(&key)) {
                        (Some(group), _) => Subject::label(group),
                        (None, Some(user)) if user != name.as_str() => user.to_owned(),
                        _ => continue,
                    };
                    let grants = record::from_hash(reply).ok().flatten().unwrap_or_default().grants;
                    let owned = grants
                        .iter()
                        .filter(|grant| !grant.deny && names_an_owner(&grant.pattern))
                        .filter(|grant| is_owned(&grant.pattern, name.as_str()));
                    found.extend(owned.map(|grant| ForeignGrant {
                        subject: subject.clone(),
                        pattern: grant.pattern.as_str().to_owned(),
                        actions: grant.actions.to_string(),
                    }));
                }
            }
        }
        found.sort_unstable_by(|a, b| (&a.subject, &a.pattern).cmp(&(&b.subject, &b.pattern)));
        found.dedup();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::{is_owned, names_an_owner};
    use registry_auth::pattern::Pattern;

    #[test]
    fn a_pattern_names_owners_by_its_first_segment() {
        for (pattern, owner, named) in [
            ("team/**", "team", true),
            ("team/app", "team", true),
            ("team-*/app", "team-a", true),
            ("team**", "team", true),
            ("team*", "team", false),
            ("team/**", "tea", false),
            ("team/**", "teams", false),
            // These say nothing about a name.
            ("**", "team", false),
            ("*/base", "team", false),
            ("**/team/x", "team", false),
            // A repository without an owner.
            ("team", "team", false),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(
                names_an_owner(&pattern) && is_owned(&pattern, owner),
                named,
                "{pattern} {owner}"
            );
        }
    }
}
