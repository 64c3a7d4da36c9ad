//! Reads every record as the module would, and says what is wrong with each: what the tool's `check` reports.
//!
//! Invariant: what `record` cannot read is reported, whatever the reason; no hash is ever part of a report.

use crate::client::{Admin, unreadable};
use crate::error::AdminError;
use crate::finding::{Counts, Finding, Problem};
use crate::owned::{is_owned, names_an_owner};
use crate::reply::fields;
use crate::strength::{Rating, rate};
use crate::subject::{GroupName, Subject};
use crate::token_owners::{Entries, Holders, held_tokens};
use crate::walk::{Progress, Walk, share};
use redis::Value;
use registry_auth::codec::encode;
use registry_auth::pattern::{Pattern, address_of};
use registry_auth::{Record, UserName, password};
use registry_auth_redis::schema::keys::PUBLIC;
use registry_auth_redis::schema::keys::{KeyNames, field};
use registry_auth_redis::schema::record::{self, Unreadable};
use std::collections::{BTreeMap, BTreeSet};

/// Characters of a digest that a finding shows.
const SHOWN: usize = 10;

struct Inspection<'a> {
    keys: KeyNames<'a>,
    now: u64,
    found: &'a mut dyn FnMut(Finding),
    counts: Counts,
    /// Users of `P:passwords`.
    old: BTreeSet<String>,
    /// Users seen, as a scan may tell a key twice.
    seen: BTreeSet<String>,
    groups: BTreeSet<String>,
    /// Group → the keys of those who are in it.
    members: BTreeMap<String, Vec<String>>,
    /// Rights, with whose they are, that are for repositories of one owner each.
    rights: Vec<(String, Pattern)>,
    /// Patterns that begin like an address, with the keys that they are in.
    addresses: BTreeSet<(String, String)>,
    /// What `P:token-owners` says. `None` where it cannot be read.
    owners: Option<Entries>,
    holders: Holders,
    /// Live access tokens: the digest, the key that it is in, its id.
    tokens: Vec<(String, String, String)>,
}

impl Admin {
    /// Reads everything under the prefix and reports each problem. `now`: seconds since 1970.
    ///
    /// # Errors
    /// Of the connection only.
    pub async fn inspect(
        &self,
        now: u64,
        found: &mut dyn FnMut(Finding),
        progress: Progress<'_>,
    ) -> Result<Counts, AdminError> {
        let mut inspection = Inspection {
            keys: self.keys(),
            now,
            found,
            counts: Counts::default(),
            old: BTreeSet::new(),
            seen: BTreeSet::new(),
            groups: BTreeSet::from([PUBLIC.to_owned()]),
            members: BTreeMap::new(),
            rights: Vec::new(),
            addresses: BTreeSet::new(),
            owners: None,
            holders: Holders::default(),
            tokens: Vec::new(),
        };
        self.inspect_defaults(&mut inspection).await?;
        self.inspect_token_use(&mut inspection).await?;
        self.inspect_token_owners(&mut inspection).await?;
        self.inspect_passwords(&mut inspection, progress).await?;
        let question = |questions: &mut redis::Pipeline, key: &str| {
            questions.cmd("HGETALL").arg(key);
        };
        let mut walk = Walk::new(self, self.keys().groups_pattern());
        while let Some(page) = walk
            .next(question, &|share| progress((1.0 + share) / 3.0))
            .await?
        {
            for (key, reply) in page {
                inspection.group(&key, reply);
            }
        }
        let mut walk = Walk::new(self, self.keys().users_pattern());
        while let Some(page) = walk
            .next(question, &|share| progress((2.0 + share) / 3.0))
            .await?
        {
            for (key, reply) in page {
                inspection.user(&key, reply);
            }
        }
        Ok(inspection.finish())
    }

    async fn inspect_defaults(&self, inspection: &mut Inspection<'_>) -> Result<(), AdminError> {
        let key = self.keys().backends();
        let mut question = redis::pipe();
        question.cmd("LRANGE").arg(&key).arg(0).arg(-1);
        let reply = self.ask_all(&question).await?.into_iter().next();
        let mut skipped = None;
        match record::from_list_noting(reply.unwrap_or_default(), &mut skipped) {
            Ok(defaults) => {
                inspection.counts.defaults = defaults.backends.len();
                inspection.note_several(&key, "default", &defaults);
                if skipped.is_some() {
                    inspection.report(&key, Problem::SkippedBackend(None));
                }
            }
            Err(Unreadable::Bad(why)) => inspection.unreadable(&key, &why),
            Err(why) => return Err(unreadable(&key, why)),
        }
        Ok(())
    }

    async fn inspect_token_use(&self, inspection: &mut Inspection<'_>) -> Result<(), AdminError> {
        let key = self.keys().token_use();
        let mut question = redis::pipe();
        question.cmd("HSCAN").arg(&key).arg(0).arg("COUNT").arg(1);
        if let Some(Value::ServerError(_)) = self.ask_all(&question).await?.first() {
            inspection.report(&key, Problem::TokenUse("it is not a hash"));
        }
        Ok(())
    }

    /// Before the records: whoever creates a token meanwhile has not removed one.
    async fn inspect_token_owners(&self, inspection: &mut Inspection<'_>) -> Result<(), AdminError> {
        match self.all_owners().await {
            Err(AdminError::BadRecord { key, .. }) => {
                inspection.report(&key, Problem::TokenOwners("it is not a hash"));
            }
            owners => inspection.owners = Some(owners?),
        }
        Ok(())
    }

    async fn inspect_passwords(
        &self,
        inspection: &mut Inspection<'_>,
        progress: Progress<'_>,
    ) -> Result<(), AdminError> {
        let key = self.keys().passwords();
        let mut cursor = 0;
        loop {
            let page = self.old_passwords(cursor).await;
            let (next, page) = match page {
                Err(AdminError::BadRecord { .. }) => {
                    inspection.unreadable(&key, "it is not a hash");
                    return Ok(());
                }
                page => page?,
            };
            for (name, hash) in page {
                inspection.old_password(&name, &hash);
            }
            cursor = next;
            progress(share(cursor) / 3.0);
            if cursor == 0 {
                return Ok(());
            }
        }
    }
}

impl Inspection<'_> {
    fn report(&mut self, key: &str, problem: Problem) {
        (self.found)(Finding {
            key: key.to_owned(),
            problem,
        });
    }

    fn unreadable(&mut self, key: &str, why: &str) {
        self.report(key, Problem::Unreadable(why.to_owned()));
    }

    fn old_password(&mut self, name: &[u8], hash: &[u8]) {
        let key = self.keys.passwords();
        let shown = String::from_utf8_lossy(name).into_owned();
        // As `user_list` counts: a name that is not UTF-8 is nobody's.
        if std::str::from_utf8(name).is_ok() && !self.old.insert(shown.clone()) {
            return;
        }
        if UserName::parse(name).is_err() {
            return self.report(&key, Problem::Name(shown));
        }
        match std::str::from_utf8(hash) {
            Ok(hash) => self.hash(&key, &shown, hash),
            Err(_) => self.unreadable(&key, &format!("the password hash of {shown} is not UTF-8")),
        }
    }

    fn hash(&mut self, key: &str, user: &str, hash: &str) {
        self.counts.locked += usize::from(password::is_locked(hash));
        let user = user.to_owned();
        match rate(hash) {
            Rating::Good => {}
            Rating::Weak(why) => self.report(key, Problem::Weak { user, why }),
            Rating::Unusable(why) => self.report(key, Problem::Hash { user, why }),
        }
    }

    fn group(&mut self, key: &str, reply: Value) {
        let Some(name) = self.keys.group_of(key).map(str::to_owned) else {
            return;
        };
        if !self.groups.insert(name.clone()) && name != PUBLIC {
            return;
        }
        self.counts.groups += 1;
        let record = self.read(key, reply);
        if let Some(record) = &record {
            let subject = Subject::label(&name);
            self.note_rights(&subject, record);
            self.note_addresses(key, record);
            self.note_several(key, &subject, record);
        }
        if GroupName::parse(&name).is_err() {
            self.report(key, Problem::Name(name));
        }
    }

    fn note_addresses(&mut self, key: &str, record: &Record) {
        let scopes = record.tokens.iter().flat_map(|token| &token.scopes);
        let patterns = record
            .grants
            .iter()
            .chain(scopes)
            .map(|grant| grant.pattern.as_str());
        let addresses = patterns.filter(|pattern| address_of(pattern).is_some());
        self.addresses
            .extend(addresses.map(|pattern| (key.to_owned(), pattern.to_owned())));
    }

    fn note_several(&mut self, key: &str, subject: &str, record: &Record) {
        let backends: Vec<String> = record.backends.iter().map(|peer| peer.name.clone()).collect();
        if backends.len() > 1 {
            let subject = subject.to_owned();
            self.report(key, Problem::Several { subject, backends });
        }
    }

    fn note_rights(&mut self, subject: &str, record: &Record) {
        self.counts.with_backends += usize::from(!record.backends.is_empty());
        let rights = record.grants.iter().filter(|grant| !grant.deny);
        let owned = rights.filter(|grant| names_an_owner(&grant.pattern));
        self.rights
            .extend(owned.map(|grant| (subject.to_owned(), grant.pattern.clone())));
    }

    fn user(&mut self, key: &str, reply: Value) {
        let Some(name) = self.keys.user_of(key).map(str::to_owned) else {
            return;
        };
        if !self.seen.insert(name.clone()) {
            return;
        }
        if UserName::parse(name.as_bytes()).is_err() {
            return self.report(key, Problem::Name(name));
        }
        self.holders.note(&name, &held_tokens(&reply));
        let Some(record) = self.read(key, reply) else {
            return;
        };
        self.note_rights(&name, &record);
        self.note_addresses(key, &record);
        self.note_several(key, &name, &record);
        match &record.password {
            Some(hash) => self.hash(key, &name, hash),
            None if self.old.contains(&name) => {}
            None => self.counts.no_password += 1,
        }
        if record.password.is_some() && self.old.contains(&name) {
            self.report(&self.keys.passwords(), Problem::Superseded(name));
        }
        for token in record.tokens {
            match token.expires <= self.now {
                true => self.report(key, Problem::ExpiredToken(token.id)),
                false => self
                    .tokens
                    .push((token.digest.to_hex(), key.to_owned(), token.id)),
            }
        }
        for group in record.groups {
            self.members.entry(group).or_default().push(key.to_owned());
        }
    }

    /// The record, or a report for each field that the module cannot read.
    fn read(&mut self, key: &str, reply: Value) -> Option<Record> {
        for (name, value) in fields(&reply) {
            let shown = String::from_utf8_lossy(name).into_owned();
            let alone = Value::Array(vec![Value::BulkString(name.to_vec()), value.clone()]);
            let mut skipped = None;
            if let Err(Unreadable::Bad(why)) = record::from_hash_noting(alone, &mut skipped) {
                self.unreadable(key, &why);
            } else if skipped.is_some() {
                self.report(key, Problem::SkippedBackend(Some(shown)));
            } else if !is_known(&shown) {
                self.report(key, Problem::UnknownField(shown));
            }
        }
        let is_hash = matches!(reply, Value::Array(_) | Value::Map(_));
        match record::from_hash(reply) {
            Ok(Some(record)) => {
                if encode(&record, &mut Vec::new()).is_err() {
                    self.unreadable(key, "it is too large: a field is longer than the module takes");
                }
                Some(record)
            }
            // Removed meanwhile.
            Ok(None) => None,
            Err(Unreadable::Bad(why)) => {
                if !is_hash {
                    self.unreadable(key, &why);
                }
                None
            }
            Err(Unreadable::Refused(error)) => {
                self.unreadable(key, &format!("Redis refuses: {}", error.code()));
                None
            }
        }
    }

    /// Sets what is said of access tokens against where they are.
    fn compare_owners(&mut self) {
        let Some(owners) = self.owners.take() else { return };
        let lacking: BTreeSet<String> = self.holders.lacking(&owners).into_values().flatten().collect();
        for (digest, key, id) in std::mem::take(&mut self.tokens) {
            if lacking.contains(&digest) {
                self.report(&key, Problem::NoOwner(id));
            }
        }
        for (digest, user) in owners {
            if !self.holders.is_held(&digest) {
                let token = digest.chars().take(SHOWN).collect();
                let key = self.keys.token_owners();
                self.report(&key, Problem::OwnerOfNothing { token, user });
            }
        }
    }

    fn finish(mut self) -> Counts {
        let members = std::mem::take(&mut self.members);
        for (group, keys) in members {
            if !self.groups.contains(&group) {
                for key in keys {
                    self.report(&key, Problem::UnknownGroup(group.clone()));
                }
            }
        }
        self.compare_owners();
        for (key, pattern) in std::mem::take(&mut self.addresses) {
            let is_user = |name: &str| self.seen.contains(name) || self.old.contains(name);
            if address_of(&pattern).is_some_and(|first| !is_user(first)) {
                self.report(&key, Problem::Address(pattern));
            }
        }
        for (subject, pattern) in std::mem::take(&mut self.rights) {
            let all = self.seen.union(&self.old);
            let owners: Vec<String> = all
                .filter(|user| **user != subject && is_owned(&pattern, user))
                .cloned()
                .collect();
            for user in owners {
                let key = self.keys.user(&user);
                let (subject, pattern) = (subject.clone(), pattern.as_str().to_owned());
                self.report(
                    &key,
                    Problem::Owned {
                        user,
                        subject,
                        pattern,
                    },
                );
            }
        }
        self.counts.users = self.seen.union(&self.old).count();
        self.counts.old = self.old.len();
        self.counts
    }
}

/// Whether somebody reads this field.
fn is_known(name: &str) -> bool {
    [field::PASSWORD, field::GROUPS, field::BACKENDS, field::NAME].contains(&name)
        || [field::GRANT, field::TOKEN, field::NOTE]
            .iter()
            .any(|kind| name.starts_with(kind))
}
